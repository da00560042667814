"""Photographs of telephones: AVIF is Pillow's, HEIC needs a package of its own, which the error line names."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageFile

from fedsq_flwr.data import image_files
from fedsq_flwr.data.image_files import read_image
from fedsq_flwr.data.image_paths import find_images
from fedsq_flwr.errors import DataError

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def complaint(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path)
    return str(caught.value)


@pytest.fixture
def without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


@pytest.mark.usefixtures("without_the_package")
@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.hif", "a.jpg"])
@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1", b"msf1"])
def test_without_the_package_the_line_says_how_to_install_it(tmp_path: Path, name: str, brand: bytes) -> None:
    (tmp_path / name).write_bytes(HEIC.replace(b"heic", brand, 1))
    assert find_images(tmp_path) == [tmp_path / name]
    assert complaint(tmp_path / name).endswith("it is a HEIC photograph, which needs: pip install 'fedsq-flwr[heic]'")


class Heif(ImageFile.ImageFile):
    """Stands in for the package's plugin: two pixels."""

    format = "HEIF"

    def _open(self) -> None:
        self._size, self._mode = (2, 1), "RGB"
        self.tile = [("raw", (0, 0, 2, 1), len(HEIC), "RGB")]


@pytest.fixture
def with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("pillow_heif")
    package.register_heif_opener = lambda: Image.register_open("HEIF", Heif)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    monkeypatch.setattr(Image, "ID", Image.ID.copy())
    monkeypatch.setattr(Image, "OPEN", Image.OPEN.copy())


@pytest.mark.usefixtures("with_the_package")
@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_with_the_package_it_is_read_whatever_its_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HEIC + bytes([255, 0, 51, 0, 255, 51]))
    image = read_image(tmp_path / name)
    assert image[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])


@pytest.mark.usefixtures("with_the_package")
def test_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(HEIC)
    assert "cannot be read as an image" in complaint(tmp_path / "a.heic")


def test_avif_is_read_where_pillow_can(tmp_path: Path) -> None:
    if "AVIF" not in image_files.FORMATS:
        pytest.skip("this Pillow reads no AVIF")
    Image.new("RGB", (16, 16), (0, 255, 0)).save(tmp_path / "a.avif")
    assert read_image(tmp_path / "a.avif")[:, 3, 3].tolist() == pytest.approx([0, 1, 0], abs=0.05)


def test_where_pillow_cannot_the_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "FORMATS", tuple(name for name in image_files.FORMATS if name != "AVIF"))
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x18ftypavif" + bytes(20))
    assert "it is AVIF, which this Pillow cannot read; pip install 'pillow>=11.3'" in complaint(tmp_path / "a.avif")

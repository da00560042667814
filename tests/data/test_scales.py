"""Black is 0 and white is 1, whatever the numbers in the file; where black and white are not known, it is refused."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fedsq_flwr.data.image_files import decode_rgb, read_image
from fedsq_flwr.errors import DataError
from tests.data.crafted import GREY, png, tiff


def complaint(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def greys(path: Path) -> list[float]:
    image = read_image(path)
    assert image.shape[0] == 1
    return image.flatten().tolist()


def as_numbers(*values: float) -> list[float]:
    return torch.tensor(values).tolist()


@pytest.mark.parametrize(("depth", "row"), [(1, b"\x40"), (2, b"\x30"), (4, b"\x0f"), (8, b"\0\xff")])
def test_few_bits_reach_from_black_to_white(tmp_path: Path, depth: int, row: bytes) -> None:
    assert greys(png(tmp_path / "a.png", (2, 1), depth, GREY, [row])) == [0, 1]
    assert greys(tiff(tmp_path / "a.tif", (2, 1), [depth], row)) == [0, 1]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_sixteen_bits_in_either_order_of_bytes(tmp_path: Path, big: bool, orientation: int) -> None:
    content = struct.pack(f"{'>' if big else '<'}2H", 65535, 256)
    path = tiff(tmp_path / "a.tif", (2, 1), [16], content, big=big, tags={274: [orientation]})
    assert sorted(greys(path)) == as_numbers(256 / 65535, 1)


def test_twelve_bits_have_a_white_of_their_own(tmp_path: Path) -> None:
    assert greys(tiff(tmp_path / "a.tif", (2, 1), [12], b"\xff\xf8\x00")) == as_numbers(1, 2048 / 4095)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"P5 2 1 100\n" + bytes([100, 0]), [1, 0]),
        (b"P5 2 1 1000\n" + struct.pack(">2H", 1000, 0), [1, 0]),
        (b"P5 2 1 65535\n" + struct.pack(">2H", 65535, 1), [1, 1 / 65535]),
        (b"P2 2 1 7\n7 0\n", [1, 0]),
        (b"P1 2 1\n0 1\n", [1, 0]),
    ],
)
def test_a_grey_map_states_its_white(tmp_path: Path, content: bytes, expected: list[float]) -> None:
    (tmp_path / "a.pgm").write_bytes(content)
    assert greys(tmp_path / "a.pgm") == as_numbers(*expected)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_values_are_refused(tmp_path: Path, bits: int, big: bool) -> None:
    content = (5).to_bytes(bits // 8, "big" if big else "little")
    told = complaint(tiff(tmp_path / "a.tif", (1, 1), [bits], content, big=big, tags={339: [2]}))
    assert "black and white are unknown" in told


def test_values_of_32_bits_are_refused_even_if_they_are_small(tmp_path: Path) -> None:
    told = complaint(tiff(tmp_path / "a.tif", (1, 1), [32], struct.pack("<I", 5)))
    assert told.endswith("has values of more than 16 bits, whose black and white are unknown")


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", ".jpg"), ("CMYK", ".tif"), ("LAB", ".tif"), ("YCbCr", ".tif")])
def test_colours_other_than_red_green_and_blue_are_refused(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new(mode, (4, 4)).save(path)
    assert mode in complaint(path)
    with pytest.raises(DataError, match=mode):
        decode_rgb(path.read_bytes(), 4, "image 7")


def test_premultiplied_grey_is_refused(tmp_path: Path) -> None:
    assert "of the kind La" in complaint(tiff(tmp_path / "a.tif", (1, 1), [8, 8], b"\x05\xff", tags={338: [1]}))


def test_signed_values_in_a_published_set_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", (1, 1), [8], b"\x05", tags={339: [2]})
    with pytest.raises(DataError, match=r"^image 7: cannot be read as an image: has signed values"):
        decode_rgb(path.read_bytes(), 1, "image 7")


@pytest.mark.parametrize("suffix", [".apng", ".gif", ".webp", ".mpo", ".jpg", ".avif"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, suffix: str) -> None:
    red, green = (Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0)))
    path, kind = tmp_path / f"a{suffix}", {".apng": "PNG", ".jpg": "MPO"}.get(suffix)
    try:
        red.save(path, format=kind, save_all=True, append_images=[green])
    except (OSError, ValueError, KeyError):
        pytest.skip(f"this Pillow writes no {suffix}")
    image = read_image(path)
    assert (image - torch.tensor([1.0, 0, 0])[:, None, None]).abs().max() < 0.05


def test_every_value_of_16_bits_keeps_its_place(tmp_path: Path) -> None:
    values = np.array([[0, 1, 255, 256, 32767, 65534, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert greys(tmp_path / "a.png") == (values[0].astype(np.float32) / np.float32(65535)).tolist()

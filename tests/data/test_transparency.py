"""A picture with a pixel that is not wholly opaque is refused, however its file says so; an opaque one is taken."""

import struct
from pathlib import Path

import pytest
from PIL import Image

from fedsq_flwr.data.image_files import read_image
from fedsq_flwr.errors import DataError
from tests.data.crafted import COLOUR, COLOUR_ALPHA, GREY, GREY_ALPHA, PALETTE, png, tiff


def shorts(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def is_taken(path: Path) -> bool:
    try:
        read_image(path)
    except DataError as error:
        assert str(error) == (
            f"{path}: cannot be read as an image: has transparent pixels; put it on a background first"
        )
        return False
    return True


@pytest.mark.parametrize(
    ("depth", "row", "present", "absent"),
    [
        (1, b"\x40", 1, None),  # 0, 1
        (1, b"\x00", 0, 1),
        (2, b"\x1b", 3, None),  # 0, 1, 2, 3
        (2, b"\x1b", 1, None),
        (2, b"\x00", 0, 3),
        (4, b"\x7e", 7, 6),
        (4, b"\x7e", 14, 0),
        (8, b"\x32\xff", 50, 51),
        (8, b"\x32\xff", 255, 0),
        (16, shorts(65535, 32768), 32768, 32769),
        (16, shorts(65535, 32768), 65535, 255),
        (16, shorts(65535, 32768), 32768, 128),
    ],
)
def test_the_grey_that_means_transparent(
    tmp_path: Path, depth: int, row: bytes, present: int, absent: int | None
) -> None:
    size = (len(row) * 8 // depth, 1)
    assert not is_taken(png(tmp_path / "a.png", size, depth, GREY, [row], tRNS=shorts(present)))
    if absent is not None:
        assert is_taken(png(tmp_path / "b.png", size, depth, GREY, [row], tRNS=shorts(absent)))


@pytest.mark.parametrize("depth", [8, 16])
def test_the_colour_that_means_transparent(tmp_path: Path, depth: int) -> None:
    colour = (1, 2, 3) if depth == 8 else (65535, 1, 258)
    row = bytes(colour) if depth == 8 else shorts(*colour)
    assert not is_taken(png(tmp_path / "a.png", (1, 1), depth, COLOUR, [row], tRNS=shorts(*colour)))
    other = (1, 2, 4) if depth == 8 else (1, 1, 258)
    assert is_taken(png(tmp_path / "b.png", (1, 1), depth, COLOUR, [row], tRNS=shorts(*other)))


@pytest.mark.parametrize(("depth", "row"), [(1, b"\x40"), (2, b"\x10"), (4, b"\x01"), (8, b"\x00\x01")])
@pytest.mark.parametrize("opacity", [0, 128, 254])
def test_an_entry_of_a_palette_counts_where_a_pixel_has_it(
    tmp_path: Path, depth: int, row: bytes, opacity: int
) -> None:
    palette = bytes(range(12))
    chunks = {"PLTE": palette[: 3 * 2], "tRNS": bytes([255, opacity])}
    assert not is_taken(png(tmp_path / "a.png", (2, 1), depth, PALETTE, [row], **chunks))
    assert is_taken(png(tmp_path / "b.png", (2, 1), depth, PALETTE, [bytes(len(row))], **chunks))


@pytest.mark.parametrize(("kind", "colours"), [(GREY_ALPHA, 1), (COLOUR_ALPHA, 3)])
@pytest.mark.parametrize("depth", [8, 16])
def test_alpha_in_png(tmp_path: Path, kind: int, colours: int, depth: int) -> None:
    white = 2**depth - 1
    for alpha, opaque in ((white, True), (0, False), (white // 2, False)):
        row = b"".join(value.to_bytes(depth // 8, "big") for value in (*[white] * colours, alpha))
        assert is_taken(png(tmp_path / "a.png", (1, 1), depth, kind, [row])) == opaque


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("big", [False, True])
def test_alpha_in_tiff(tmp_path: Path, colours: int, big: bool) -> None:
    for alpha, opaque in ((255, True), (254, False), (0, False)):
        photometric = 1 if colours == 1 else 2
        content = bytes([9] * colours + [alpha])
        path = tmp_path / "a.tif"
        tiff(path, (1, 1), [8] * (colours + 1), content, photometric=photometric, big=big, tags={338: [2]})
        assert is_taken(path) == opaque


def test_a_palette_with_alpha_in_tiff(tmp_path: Path) -> None:
    for alpha, opaque in ((255, True), (254, False)):
        tags = {338: [2], 320: [257 * (place % 256) for place in range(768)]}
        tiff(tmp_path / "a.tif", (1, 1), [8, 8], bytes([9, alpha]), photometric=3, tags=tags)
        assert is_taken(tmp_path / "a.tif") == opaque


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif", ".tif", ".avif"])
def test_alpha_in_any_format(tmp_path: Path, suffix: str) -> None:
    for alpha, opaque in ((255, True), (0, False)):
        path = tmp_path / f"a{suffix}"
        try:
            Image.new("RGBA", (16, 16), (9, 9, 9, alpha)).save(path)
        except (OSError, KeyError, ValueError):
            pytest.skip(f"this Pillow writes no {suffix}")
        assert is_taken(path) == opaque

"""Image files of every kind become the same pixels; what is not sure to be right is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from fedsq_flwr.data.image_files import read_image
from fedsq_flwr.data.image_paths import find_images
from fedsq_flwr.errors import DataError

GREY = np.arange(0, 240, 4, dtype=np.uint8).reshape(6, 10)
EXPECTED = torch.from_numpy(GREY.astype(np.float32) / 255)[None]


@pytest.mark.parametrize("name", ["grey.png", "grey.bmp", "grey.tif", "grey.pgm", "grey.gif"])
def test_grey_images_keep_their_values(tmp_path, name):
    Image.fromarray(GREY).save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == torch.float32
    assert torch.equal(image.mean(0, keepdim=True), EXPECTED)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colours_and_opaque_images_keep_their_values(tmp_path, mode):
    Image.fromarray(GREY).convert(mode).save(tmp_path / "image.png")
    image = read_image(tmp_path / "image.png")
    assert image.shape == (3, 6, 10)
    assert all(torch.equal(channel[None], EXPECTED) for channel in image)


def test_the_order_of_colours_is_red_green_blue(tmp_path):
    Image.new("RGB", (2, 3), (255, 51, 0)).save(tmp_path / "image.png")
    assert torch.equal(read_image(tmp_path / "image.png")[:, 0, 0], torch.tensor([1.0, 0.2, 0.0]))


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_are_kept(tmp_path, name):
    deep = (GREY.astype(np.uint16) * 257) + 1
    Image.fromarray(deep).save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert torch.equal(image, torch.from_numpy((deep / 65535).astype(np.float32))[None])


def test_black_and_white_is_zero_and_one(tmp_path):
    Image.fromarray(GREY > 100).save(tmp_path / "image.png")
    assert torch.equal(read_image(tmp_path / "image.png")[0], torch.from_numpy(GREY > 100).float())


def test_a_photograph_is_turned_upright(tmp_path):
    image = Image.fromarray(GREY)
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    image.save(tmp_path / "image.png", exif=exif)
    assert torch.equal(read_image(tmp_path / "image.png"), torch.rot90(EXPECTED, -1, (1, 2)))


def test_jpeg_is_read_even_under_another_suffix(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "image.png", format="JPEG", quality=100)
    assert (read_image(tmp_path / "image.png") - EXPECTED).abs().max() < 0.05


def test_what_is_not_sure_to_be_right_is_refused_by_name(tmp_path):
    transparent = Image.fromarray(GREY).convert("RGBA")
    transparent.putpixel((0, 0), (0, 0, 0, 254))
    transparent.save(tmp_path / "a.png")
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "b.tif")
    Image.fromarray(GREY).save(tmp_path / "whole.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-30])
    (tmp_path / "d.jpg").write_text("no image")
    (tmp_path / "e.png").write_bytes(b"")
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "f.tif")
    for name, told in [
        ("a.png", "transparent pixels"),
        ("b.tif", "floating-point values"),
        ("c.png", "cannot be read as an image"),
        ("d.jpg", "is no image in a known format"),
        ("e.png", "is no image in a known format"),
        ("f.tif", "more than 16 bits"),
        ("g.png", "cannot be read as an image"),
    ]:
        with pytest.raises(DataError, match=told) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_images_are_found_in_subfolders_and_sorted_by_path(tmp_path):
    for name in ("b.png", "a/z.JPG", "a/b/c.gif", "a.png", "notes.txt", ".hidden.png", ".git/x.png", "B.tiff"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["B.tiff", "a.png", "a/b/c.gif", "a/z.JPG", "b.png"]


def test_metadata_that_make_no_sense_are_one_line_too(tmp_path):
    image = Image.fromarray(GREY)
    exif = image.getexif()
    exif[0x010F], exif[0x0112] = "maker", 6
    image.save(tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes()
    resolution_in_words = content.replace(b"\x01\x0f\x00\x02", b"\x01\x1a\x00\x02")
    assert resolution_in_words != content
    (tmp_path / "a.jpg").write_bytes(resolution_in_words)
    with pytest.raises(DataError, match=r"a\.jpg: cannot be read as an image: bad operand type"):
        read_image(tmp_path / "a.jpg")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="holds no image"):
        find_images(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        find_images(tmp_path / "nowhere")

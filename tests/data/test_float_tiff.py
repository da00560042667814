"""Floating-point images: taken where the file states its black and white, refused where it does not."""

import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fedsq_flwr.data.float_tiff import float_pixels, write_floats
from fedsq_flwr.data.image_files import read_image
from fedsq_flwr.errors import DataError

RAMP = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)
PIXELS = hnp.arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32))
FEW = settings(deadline=None, max_examples=50)


def save(path, values, **tags):
    names = {"black": 340, "white": 341, "photometric": 262, "orientation": 274}
    Image.fromarray(values).save(path, tiffinfo={names[name]: value for name, value in tags.items()})


def complaint(path):
    with pytest.raises(DataError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be read as an image: ")
    assert "\n" not in message
    return message


@given(pixels=PIXELS)
@FEW
def test_what_is_written_is_read_back_to_the_bit(tmp_path_factory, pixels):
    path = tmp_path_factory.getbasetemp() / "image.tif"
    write_floats(path, pixels)
    assert read_image(path).numpy().tobytes() == pixels.tobytes()


def test_values_between_0_and_1_are_taken_as_they_are_stored(tmp_path):
    save(tmp_path / "a.tif", RAMP, black=0.0, white=1.0)
    image = read_image(tmp_path / "a.tif")
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.from_numpy(RAMP)[None])


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_a_compressed_file_with_tags_in_single_precision_is_read(tmp_path, compression):
    Image.fromarray(RAMP).save(tmp_path / "a.tif", tiffinfo={340: 0.0, 341: 1.0}, compression=compression)
    content = (tmp_path / "a.tif").read_bytes()
    white = struct.pack("<HHL", 341, 11, 1)  # Pillow writes a 0 here, whatever it was told, where it compresses
    content = content.replace(white + struct.pack("<f", 0), white + struct.pack("<f", 1))
    (tmp_path / "a.tif").write_bytes(content)
    assert torch.equal(read_image(tmp_path / "a.tif"), torch.from_numpy(RAMP)[None])


def test_other_limits_become_0_and_1(tmp_path):
    save(tmp_path / "a.tif", RAMP * 3000 - 1000, black=-1000.0, white=2000.0)
    image = read_image(tmp_path / "a.tif")
    assert image.flatten()[[0, -1]].tolist() == [0, 1]
    torch.testing.assert_close(image, torch.from_numpy(RAMP)[None])


@given(values=hnp.arrays(np.float32, SHAPES, elements=st.floats(-1e6, 1e6, width=32)), margin=st.floats(0.1, 1e6))
@FEW
def test_pixels_lie_between_0_and_1_whatever_the_limits(values, margin):
    pixels = float_pixels(values, {340: (float(values.min()),), 341: (float(values.max()) + margin,)})
    assert pixels.dtype == np.float32
    assert pixels.min() == 0
    assert pixels.max() <= 1


def test_limits_that_no_float32_equals_do_not_exclude_what_is_rounded_to_them():
    values = np.array([[0.1, 0.7]], np.float32)  # a little above 0.1, and a little below 0.7
    assert float_pixels(values, {340: (0.1,), 341: (0.7,)}).tolist() == [[0, 1]]


def test_a_floating_point_image_is_turned_upright(tmp_path):
    save(tmp_path / "a.tif", RAMP, black=0.0, white=1.0, orientation=6)
    assert torch.equal(read_image(tmp_path / "a.tif"), torch.rot90(torch.from_numpy(RAMP)[None], -1, (1, 2)))


@pytest.mark.parametrize(
    ("tags", "lacking"),
    [
        ({}, "the TIFF tag SMinSampleValue (340) and the tag SMaxSampleValue (341)"),
        ({"black": 0.0}, "the TIFF tag SMaxSampleValue (341)"),
        ({"white": 1.0}, "the TIFF tag SMinSampleValue (340)"),
    ],
)
def test_without_both_tags_it_is_refused_and_what_is_missing_is_named(tmp_path, tags, lacking):
    save(tmp_path / "a.tif", RAMP, **tags)
    told = complaint(tmp_path / "a.tif")
    assert told.endswith(f"black and white are unknown: it lacks {lacking}")


@pytest.mark.parametrize(
    ("black", "white"), [(1.0, 0.0), (1.0, 1.0), (0.0, np.nan), (-3e38, 3e38), (0.0, 1e300), ((0.0, 0.0), 1.0)]
)
def test_limits_that_are_no_range_are_refused(tmp_path, black, white):
    save(tmp_path / "a.tif", RAMP, black=black, white=white)
    assert "no black below its white" in complaint(tmp_path / "a.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.001, 1.001])
def test_values_outside_the_limits_are_refused(tmp_path, value):
    values = RAMP.copy()
    values[2, 3] = value
    save(tmp_path / "a.tif", values, black=0.0, white=1.0)
    assert "not finite, or not between its black 0.0 and its white 1.0" in complaint(tmp_path / "a.tif")


def test_a_format_that_has_no_such_tags_is_refused(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.pgm", format="PPM")
    assert "it lacks the TIFF tag" in complaint(tmp_path / "a.pgm")


@pytest.mark.parametrize("values", [RAMP, (RAMP * 60000).astype(np.uint16)])
def test_values_that_run_from_white_to_black_are_refused(tmp_path, values):
    save(tmp_path / "a.tif", values, black=0.0, white=1.0)
    image = bytearray((tmp_path / "a.tif").read_bytes())
    place = image.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01")  # tag 262, one short: 1
    image[place + 8] = 0
    (tmp_path / "a.tif").write_bytes(image)
    assert "from white to black" in complaint(tmp_path / "a.tif")

"""Images that are prepared batch by batch equal those that are prepared at once, to the bit."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsq_flwr.data.images import LabelledImages, prepare_parts
from fedsq_flwr.data.pipelines import InputPipeline, PreparedImages, to_pixels
from fedsq_flwr.gating import digest

COUNT = 23
STATISTICS = {1: (0.1307, 0.3081), 3: ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))}


def stored(dtype: torch.dtype, channels: int = 3, size: tuple[int, int] = (16, 16)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(256, (COUNT, channels, *size), generator=generator)
    return values.to(torch.uint8) if dtype == torch.uint8 else values.float() / 255


def pipeline(size: int = 16, channels: int = 3) -> InputPipeline:
    return InputPipeline(size, channels, *STATISTICS[channels])


def labelled(images: Tensor) -> LabelledImages:
    return LabelledImages(images, torch.arange(len(images)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(("before", "after"), [((16, 16), 16), ((16, 16), 37), ((28, 28), 12), ((9, 14), 11)])
@pytest.mark.parametrize(("had", "wanted"), [(1, 1), (3, 3), (1, 3), (3, 1)])
def test_lazy_batches_equal_the_eager_tensor_to_the_bit(
    dtype: torch.dtype, before: tuple[int, int], after: int, had: int, wanted: int
) -> None:
    raw, fit = stored(dtype, had, before), pipeline(after, wanted)
    eager = fit(raw)
    lazy = PreparedImages(raw, fit)
    assert len(lazy) == COUNT
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    for places in (*order.split(8), *order[:3].split(1), slice(None), slice(4, 9), slice(20, 40)):
        batch = lazy[places]
        assert batch.dtype == torch.float32
        assert batch.is_contiguous()
        assert torch.equal(batch, eager[places])


def test_a_byte_stands_for_its_value_over_255_in_float32() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)
    expected = np.arange(256).astype(np.float32) / np.float32(255)
    assert np.array_equal(to_pixels(values).flatten().numpy(), expected)
    floats = torch.rand(2, 1, 3, 3)
    assert to_pixels(floats) is floats


def test_bytes_and_the_same_pixels_as_floats_give_the_same_bits() -> None:
    for size in (16, 24):
        assert torch.equal(pipeline(size)(stored(torch.uint8)), pipeline(size)(stored(torch.float32)))


def test_parts_share_the_stored_images_and_keep_their_order() -> None:
    raw = stored(torch.uint8)
    whole = labelled(raw)
    lazy = LabelledImages(PreparedImages(raw, pipeline()), whole.labels)
    part = lazy.subset([7, 3, 3, 11]).subset(torch.tensor([2, 3, 0]))
    assert part.labels.tolist() == [3, 11, 7]
    assert torch.equal(part.images[:], pipeline()(raw[[3, 11, 7]]))
    assert torch.equal(part.images[torch.tensor([2, 0])], pipeline()(raw[[7, 3]]))
    raw[7] = 0  # seen through the part: nothing was copied
    assert torch.equal(part.images[2:], pipeline()(torch.zeros_like(raw[:1])))


def test_the_name_says_which_images_and_which_pipeline() -> None:
    raw = stored(torch.uint8)
    lazy = PreparedImages(raw, pipeline())
    same = [PreparedImages(raw.clone(), pipeline()), lazy.subset(torch.arange(COUNT)), lazy.to(lazy.device)]
    others = [
        PreparedImages(raw, pipeline(20)),
        PreparedImages(raw, InputPipeline(16, 3, 0.5, 0.5)),
        PreparedImages(stored(torch.float32), pipeline()),
        lazy.subset(torch.arange(5)),
        lazy.subset(torch.arange(COUNT).flip(0)),
    ]
    assert {digest(images) for images in same} == {digest(lazy)}
    assert len({digest(images) for images in (lazy, *others)}) == 1 + len(others)


def test_gates_cached_by_version_0_1_are_found_by_the_same_name() -> None:
    assert InputPipeline(16, 1, (0.1307,), 0.3081).key == (
        "InputPipeline(size=16, channels=1, mean=(0.1307,), deviation=0.3081)"
    )


def test_images_move_without_those_that_they_share_with_other_parts() -> None:
    part = PreparedImages(stored(torch.uint8), pipeline()).subset(torch.tensor([4, 2]))
    moved = part.to(torch.device("meta"))
    assert moved.device.type == "meta"
    assert (len(moved), moved.digest) == (2, part.digest)
    assert moved[:].shape == (2, 3, 16, 16)
    assert part.to(torch.device("cpu")) is part


def test_a_task_is_prepared_at_once_where_it_fits_and_lazily_where_not() -> None:
    parts, fit = [labelled(stored(torch.uint8)), labelled(stored(torch.uint8)[:5])], pipeline(20)
    room = (COUNT + 5) * 3 * 20 * 20 * 4
    at_once = prepare_parts(parts, fit, keep_bytes=room)
    lazily = prepare_parts(parts, fit, keep_bytes=room - 1)
    assert all(isinstance(part.images, Tensor) for part in at_once)
    assert all(isinstance(part.images, PreparedImages) for part in lazily)
    for first, second in zip(at_once, lazily, strict=True):
        assert torch.equal(first.images[:], second.images[:])
        assert torch.equal(first.labels, second.labels)

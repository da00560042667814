"""From stored images to what a backbone wants: size, channels, normalisation."""

import pytest
import torch
from torch import Tensor

from fedsq_flwr.data.images import LabelledImages, prepare_parts
from fedsq_flwr.data.pipelines import InputPipeline


def images(tensor: Tensor) -> LabelledImages:
    return LabelledImages(tensor, torch.arange(len(tensor)))


def prepared(tensor: Tensor, *, size: int = 4, channels: int = 1, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return InputPipeline(size, channels, mean, std)(tensor)


def test_pixels_are_normalised_by_mean_and_std() -> None:
    pixels = torch.tensor([0.0, 0.5, 1.0, 0.25]).view(1, 1, 2, 2)
    expected = torch.tensor([-1.0, 1.0, 3.0, 0.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(prepared(pixels, size=2, mean=0.25, std=0.25), expected)


def test_each_channel_may_have_its_own_mean_and_std() -> None:
    pixels = torch.full((2, 3, 4, 4), 0.5)
    result = InputPipeline(4, 3, mean=(0.0, 0.25, 0.5), std=(1.0, 0.25, 2.0))(pixels)
    assert [result[:, channel].unique().tolist() for channel in range(3)] == [[0.5], [1.0], [0.0]]


def test_one_number_and_a_list_of_it_give_the_same_bits() -> None:
    pixels = torch.rand(4, 3, 4, 4)
    one = InputPipeline(4, 3, mean=0.1307, std=0.3081)(pixels)
    assert torch.equal(one, (pixels - 0.1307) / 0.3081)
    for values in ([0.1307], [0.1307] * 3):
        assert torch.equal(one, InputPipeline(4, 3, mean=values, std=[0.3081] * len(values))(pixels))


@pytest.mark.parametrize(("before", "after"), [((8, 8), 16), ((28, 28), 16), ((5, 9), 7), ((16, 16), 16)])
def test_images_are_resized_to_a_square(before: tuple[int, int], after: int) -> None:
    assert prepared(torch.rand(3, 1, *before), size=after).shape == (3, 1, after, after)


def test_resizing_keeps_a_flat_image_flat_and_stays_within_range() -> None:
    torch.testing.assert_close(prepared(torch.full((1, 1, 8, 8), 0.3), size=13), torch.full((1, 1, 13, 13), 0.3))
    enlarged = prepared(torch.rand(4, 1, 8, 8), size=16)
    assert 0 <= enlarged.min() <= enlarged.max() <= 1


def test_shrinking_averages_and_does_not_skip_pixels() -> None:
    stripes = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(4).expand(1, 1, 16, 16)
    assert prepared(stripes.contiguous(), size=4).mean().item() == pytest.approx(0.25, abs=0.05)


def test_an_image_of_the_right_size_is_not_touched() -> None:
    tensor = torch.rand(2, 1, 4, 4)
    assert torch.equal(prepared(tensor), tensor)


def test_one_channel_becomes_several_by_repetition() -> None:
    tensor = torch.rand(2, 1, 4, 4)
    result = prepared(tensor, channels=3)
    assert result.shape == (2, 3, 4, 4)
    assert all(torch.equal(result[:, channel], tensor[:, 0]) for channel in range(3))
    assert result.is_contiguous()


def test_several_channels_become_one_by_their_mean() -> None:
    tensor = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(prepared(tensor), tensor.mean(1, keepdim=True))


def test_labels_stay_and_the_input_is_left_as_it_is() -> None:
    data = images(torch.rand(3, 1, 4, 4))
    kept = data.images.clone()
    (result,) = prepare_parts([data], InputPipeline(8, 3, mean=0.5, std=0.5), keep_bytes=2**20)
    assert isinstance(result.images, Tensor)
    assert torch.equal(result.labels, data.labels)
    assert torch.equal(data.images, kept)


def test_a_sample_looks_the_same_in_any_batch() -> None:
    tensor = torch.rand(9, 1, 8, 8)
    assert torch.equal(prepared(tensor, size=16)[4:], prepared(tensor[4:], size=16))


def test_a_subset_has_the_samples_in_the_order_asked_for() -> None:
    data = images(torch.arange(5.0).view(5, 1, 1, 1))
    for places in ([3, 0, 3], torch.tensor([3, 0, 3])):
        chosen = data.subset(places)
        assert chosen.images.flatten().tolist() == [3, 0, 3]
        assert chosen.labels.tolist() == [3, 0, 3]
    assert len(data.subset([])) == 0
    assert data.subset([]).images.shape == (0, 1, 1, 1)


def test_samples_move_to_a_device_together() -> None:
    moved = images(torch.rand(2, 1, 4, 4)).to(torch.device("meta"))
    assert moved.images.device.type == moved.labels.device.type == "meta"

"""Views of images: what they are, how they are drawn, and that they are part of training only."""

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, GateCache, QuantitativeCopy, bind
from fedsq_flwr.learning import AUGMENTATIONS, TrainingSettings, train_locally
from fedsq_flwr.learning.augmentation import FlipAndCrop

SETTINGS = TrainingSettings(epochs=3, batch_size=8, learning_rate=0.05)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cropped(image: Tensor, top: int, left: int, border: int) -> Tensor:
    """Cut out by hand: ``(C, H, W)``."""
    channels, height, width = image.shape
    framed = torch.zeros(channels, height + 2 * border, width + 2 * border)
    framed[:, border : border + height, border : border + width] = image
    return framed[:, top : top + height, left : left + width]


def test_flips_are_those_of_the_prepared_batch() -> None:
    images, views = torch.randn(6, 3, 5, 7, generator=generator()), torch.tensor([0, 1, 1, 0, 1, 0])
    before = images.clone()
    result = AUGMENTATIONS["flip"].apply(images, views)
    for image, view, found in zip(images, views, result, strict=True):
        assert torch.equal(found, torch.flip(image, (-1,)) if view else image)
    assert torch.equal(images, before)


def test_crops_are_cut_from_a_border_of_zeros_an_eighth_wide() -> None:
    images = torch.randn(4, 2, 32, 32, generator=generator())
    places = [(0, 0, 0), (4, 4, 1), (8, 0, 1), (3, 7, 0)]
    views = torch.tensor([(top * 9 + left) * 2 + flipped for top, left, flipped in places])
    result = AUGMENTATIONS["flip_crop"].apply(images, views)
    for image, (top, left, flipped), found in zip(images, places, result, strict=True):
        expected = cropped(image, top, left, border=4)
        assert torch.equal(found, expected.flip(-1) if flipped else expected)
    assert torch.equal(result[1], images[1].flip(-1))  # the middle: not moved


@pytest.mark.parametrize(("size", "views"), [(32, 2 * 9 * 9), (16, 2 * 5 * 5), (224, 2 * 57 * 57), (7, 2)])
def test_the_border_grows_with_the_image_and_every_view_is_drawn_alike(size: int, views: int) -> None:
    drawn = FlipAndCrop().draw(200 * views, torch.Size((1, size, size)), generator())
    assert drawn.min() == 0
    assert drawn.max() == views - 1
    assert drawn.float().mean().item() == pytest.approx((views - 1) / 2, rel=0.2)
    image = torch.randn(1, 1, size, size, generator=generator())
    assert FlipAndCrop().apply(image, torch.tensor([views - 1])).shape == image.shape


def test_half_of_the_samples_are_flipped_and_each_draw_differs() -> None:
    flip, source = AUGMENTATIONS["flip"], generator()
    first, second = (flip.draw(1000, torch.Size((1, 8, 8)), source) for _ in range(2))
    assert first.float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(first, second)
    assert set(first.tolist()) == {0, 1}


def test_only_what_can_be_kept_says_how_many_views_it_has() -> None:
    assert {name: augmentation.views for name, augmentation in AUGMENTATIONS.items()} == {
        "none": 1,
        "flip": 2,
        "flip_crop": None,
    }


class Recorder(QuantitativeCopy):
    """Keeps what it is shown."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen = [*getattr(self, "seen", []), images.detach().clone()]
        return super().forward(images)


def seen(network: nn.Module, images: Tensor, labels: Tensor, augmentation: str, seed: int = 3) -> Tensor:
    model = Recorder(network)
    settings = TrainingSettings(epochs=2, batch_size=8, learning_rate=0.0, augmentation=augmentation)
    train_locally(model, images, labels, settings, seed=seed)
    return torch.cat(model.seen)


@pytest.mark.parametrize("augmentation", ["flip", "flip_crop"])
def test_training_varies_images_by_its_seed_and_leaves_their_order(
    augmentation: str, network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    plain = seen(network, images, labels, "none")
    varied = seen(network, images, labels, augmentation)
    assert torch.equal(varied, seen(network, images, labels, augmentation))
    assert not torch.equal(varied, seen(network, images, labels, augmentation, seed=4))
    unlike = [not torch.equal(a, b) for a, b in zip(plain, varied, strict=True)]
    assert 10 < sum(unlike) <= 42
    if augmentation == "flip":  # each is the image that no augmentation shows at this place, or its mirror image
        mirrored = [torch.equal(a.flip(-1), b) for a, b in zip(plain, varied, strict=True)]
        assert mirrored == unlike
        assert mirrored[:21] != mirrored[21:]  # drawn for every epoch
        assert sum(unlike) < 32


@pytest.mark.parametrize("augmentation", ["none", "flip"])
def test_kept_gates_of_all_views_change_no_number(
    augmentation: str, network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    settings = TrainingSettings(epochs=3, batch_size=8, learning_rate=0.05, augmentation=augmentation)
    named, cache = AUGMENTATIONS[augmentation], GateCache()
    states, losses = [], []
    for keeper in (None, cache, cache):
        dual = DualCopy(network)
        gates = bind(keeper, dual, images, view=named.view, views=named.views)
        losses.append(train_locally(dual, images, labels, settings, seed=1, gates=gates).loss)
        states.append(dual.quantitative_state())
    assert losses[0] == losses[1] == losses[2]
    for state in states[1:]:
        assert all(torch.equal(states[0][name], state[name]) for name in state)
    rows = cache.misses
    assert rows == len(images) if augmentation == "none" else len(images) < rows <= 2 * len(images)
    assert cache.hits == 2 * 3 * len(images) - rows


def test_gates_of_too_many_views_are_not_kept(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    named = AUGMENTATIONS["flip_crop"]
    assert bind(GateCache(), DualCopy(network), images, view=named.view, views=named.views) is None


def test_gates_kept_of_other_views_are_refused(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    dual = DualCopy(network)
    for augmentation, view in (("flip", ""), ("flip_crop", "flip")):
        settings = TrainingSettings(epochs=1, batch_size=8, learning_rate=0.05, augmentation=augmentation)
        gates = bind(GateCache(), dual, images, view=view, views=2)
        with pytest.raises(ValueError, match=f"augmentation={augmentation}: its gates cannot be kept as view"):
            train_locally(dual, images, labels, settings, seed=1, gates=gates)


def test_lazily_prepared_images_train_to_the_same_bits(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    class Lazy:
        """What `LazyImages` ask for, over a tensor."""

        device, digest = images.device, "these images"

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, places: Tensor | slice) -> Tensor:
            return images[places]

        def subset(self, places: Tensor) -> "Lazy":
            raise NotImplementedError

        def to(self, device: torch.device) -> "Lazy":
            return self

    states = []
    for held in (images, Lazy()):
        dual = DualCopy(network)
        train_locally(dual, held, labels, SETTINGS, seed=1, gates=bind(GateCache(), dual, held))
        states.append(dual.quantitative_state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])

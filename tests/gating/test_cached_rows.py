"""The gate cache gives the rows of the images that are asked for, under the structure in force, or an error."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import BoundGates, DualCopy, GateCache, GateMismatchError
from tests.gating.gated_networks import build, perturb

COUNT = 24
IMAGES = torch.randn(COUNT, 2, 8, 8, generator=torch.Generator().manual_seed(0))
ALL = torch.arange(COUNT)


class Between(nn.Module):
    """``function`` between a convolution and the last ReLU."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.fc = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.function(self, F.relu(self.first(x)))).mean((2, 3)))


class SequenceFirst(nn.Module):
    """(positions, images, channels), as `nn.Transformer` wants it; 16 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix, self.fc = nn.Conv2d(2, 8, 2, 2), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.mix(self.patches(x).flatten(2).permute(2, 0, 1))).mean(0))


def dual_of(network: nn.Module) -> DualCopy:
    return DualCopy(network.eval())


def between(function: Callable[[nn.Module, Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Between(function)


def two_images_in_a_row(n: nn.Module, x: Tensor) -> Tensor:
    even = torch.cat([x, x[: len(x) % 2]])
    return F.relu(even.view(-1, 8, 8, 8)).view(even.shape)[: len(x)]


NOT_BY_IMAGE: dict[str, Callable[[], nn.Module]] = {
    "sequence first": SequenceFirst,
    "channels first": between(lambda n, x: F.relu(n.second(x).transpose(0, 1)).transpose(0, 1)),
    "images and channels in one axis": between(lambda n, x: F.relu(n.second(x).flatten(0, 1)).view(x.shape)),
    "two images in a row": between(two_images_in_a_row),
    "turned round": between(lambda n, x: F.relu(n.second(x).flip(0)).flip(0)),
    "rolled": between(lambda n, x: F.relu(n.second(x).roll(1, 0)).roll(-1, 0)),
    "sorted": between(lambda n, x: n.second(x)[x.sum((1, 2, 3)).argsort()]),
    "pooled in another order": between(lambda n, x: F.max_pool2d(x.flip(0), 2).flip(0)),
    "in chunks": between(lambda n, x: torch.cat([F.relu(n.second(part)) for part in x.chunk(2)])),
    "one by one": between(lambda n, x: torch.cat([F.relu(n.second(part)) for part in x.split(1)])),
    "a gate of no image": between(lambda n, x: n.second(x) * F.relu(n.second.bias.sum() + 9)),
    "a gate of each channel": between(lambda n, x: n.second(x) + F.relu(n.second.bias)[:, None, None]),
    "less the mean of the batch": between(lambda n, x: n.second(x) - x.mean(0)),
    "divided by the batch size": between(lambda n, x: n.second(x) * 8 / len(x)),
    "a branch for large batches": between(lambda n, x: n.second(x) * (2 if len(x) > 12 else 1)),
    "a layer for large batches": between(lambda n, x: F.relu(n.second(x)) if len(x) > 12 else n.second(x)),
}


@pytest.mark.parametrize("size", [16, 8])
@pytest.mark.parametrize("case", NOT_BY_IMAGE)
def test_gates_that_are_not_those_of_one_image_are_refused_and_nothing_is_kept(case: str, size: int) -> None:
    torch.manual_seed(0)
    dual = dual_of(NOT_BY_IMAGE[case]())
    cache = GateCache()
    kept = cache.bind(dual, data="", samples=COUNT)
    for _ in range(2):
        with pytest.raises(GateMismatchError, match="do without the gate cache") as caught:
            kept.of(ALL[:size], IMAGES[:size])
        assert "\n" not in str(caught.value)
    assert (cache.hits, cache.misses, cache.nbytes) == (0, 0, 0)
    dual(IMAGES)  # without the cache it works


def positions_behind(n: nn.Module, x: Tensor) -> Tensor:
    return F.relu(n.second(x).flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


BY_IMAGE: dict[str, Callable[[], nn.Module]] = {
    "nothing between": between(lambda n, x: n.second(x)),
    "positions behind": between(positions_behind),
    "another order that gates do not see": between(lambda n, x: n.second(x.flip(0)).flip(0)),
    "another axis first that gates do not see": between(lambda n, x: n.second(x.transpose(0, 1).transpose(0, 1))),
    "a layer whose gates are all closed": between(lambda n, x: n.second(F.relu(x - 1e9))),
}


@pytest.mark.parametrize("case", BY_IMAGE)
@pytest.mark.parametrize("form", ["float32", "float64", "autocast", "channels last"])
def test_gates_by_image_are_kept_and_equal_to_the_bit(case: str, form: str) -> None:
    torch.manual_seed(0)
    dual, images = dual_of(BY_IMAGE[case]()), IMAGES
    perturb(dual.quantitative)
    if form == "float64":
        dual, images = dual.double(), images.double()
    if form == "channels last":
        images = images.contiguous(memory_format=torch.channels_last)
    cache = GateCache()
    kept = cache.bind(dual, data="", samples=COUNT)
    with torch.autocast("cpu", torch.bfloat16, enabled=form == "autocast"):
        for batch in (*ALL.split(8), *torch.randperm(COUNT).split(8)):
            assert torch.equal(dual(images[batch], kept.of(batch, images[batch])), dual(images[batch]))
    assert (cache.hits, cache.misses) == (COUNT, COUNT)


def test_a_network_is_checked_once_whatever_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[DualCopy] = []
    monkeypatch.setattr("fedsq_flwr.gating.cache.check_rows", lambda dual, images: checked.append(dual))
    dual, cache = dual_of(Between(lambda n, x: x)), GateCache()
    for data in ("one", "another"):
        cache.bind(dual, data=data, samples=COUNT).of(ALL, IMAGES)
        perturb(dual.quantitative)
        dual.refresh_structure()
    assert len(checked) == 1
    cache.bind(dual, data="", samples=COUNT).of(ALL, IMAGES[..., :6])
    assert len(checked) == 2


@pytest.fixture
def dual() -> DualCopy:
    return DualCopy(build("residual add"))


@pytest.fixture
def kept(dual: DualCopy) -> BoundGates:
    kept = GateCache().bind(dual, data="", samples=COUNT)
    kept.of(ALL[:16], IMAGES[:16])  # the others are computed when they are asked for
    return kept


MASK = torch.zeros(COUNT, dtype=torch.bool)
MASK[[3, 9, 11, 20, 23]] = True
INDICES: dict[str, object] = {
    "int64": torch.tensor([5, 3, 9]),
    "int32": torch.tensor([5, 3, 9], dtype=torch.int32),
    "the same twice": torch.tensor([4, 4]),
    "a mask": MASK,
    "a mask of numpy": MASK.numpy(),
    "a list of flags": MASK.tolist(),
    "a list": [5, 3, 20],
    "an array": np.array([5, 3, 20]),
    "a range": range(3, 9),
    "a slice": slice(4, 20, 2),
    "the whole slice": slice(None),
    "negative": torch.tensor([-1, -COUNT, 2]),
    "a negative list": [-1],
}


@pytest.mark.parametrize("case", INDICES)
def test_what_picks_images_picks_their_rows(case: str, dual: DualCopy, kept: BoundGates) -> None:
    index = INDICES[case]
    for _ in range(2):
        assert torch.equal(kept.of(index, IMAGES[index]).rows, dual.gates(IMAGES).rows[index])


BAD_INDICES: dict[str, tuple[object, str]] = {
    "none at all": (None, "samples: "),
    "empty": (torch.tensor([], dtype=torch.int64), "samples: "),
    "an empty mask": (torch.zeros(COUNT, dtype=torch.bool), "samples: "),
    "one number": (5, "samples: "),
    "a scalar": (torch.tensor(5), "samples: "),
    "floating-point": (torch.tensor([1.0, 2.0]), "samples: "),
    "floating-point list": ([1.0, 2.0], "samples: "),
    "too large": (torch.tensor([1, COUNT]), f"samples: .*{COUNT} is out of bounds"),
    "too small": (torch.tensor([1, -COUNT - 1]), "samples: .* out of bounds"),
    "two axes": (torch.tensor([[1, 2]]), "samples: "),
    "a short mask": (MASK[:5], "samples: "),
    "a text": ("ab", "samples: "),
    "another number of images": (MASK, "samples: they pick .*each of 2 images"),
}


@pytest.mark.parametrize("case", BAD_INDICES)
def test_what_picks_no_row_for_each_image_is_refused(case: str, kept: BoundGates) -> None:
    index, message = BAD_INDICES[case]
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        kept.of(index, IMAGES[:2])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "views", [torch.tensor([-1, 0]), torch.tensor([0, 2]), torch.tensor([0]), torch.tensor([0.0, 1.0]), MASK[:2], 1]
)
def test_views_that_are_not_there_are_refused(views: object, dual: DualCopy) -> None:
    kept = GateCache().bind(dual, data="", samples=COUNT, views=2)
    with pytest.raises(ValueError, match=r"^views: must be 2 whole numbers from 0 to 1"):
        kept.of([0, 1], IMAGES[:2], views)


@pytest.mark.parametrize(
    ("options", "message"), [({"samples": -1}, "samples=-1"), ({"samples": 3, "views": 0}, "views=0")]
)
def test_sizes_that_make_no_sense_are_refused(options: dict[str, int], message: str, dual: DualCopy) -> None:
    with pytest.raises(ValueError, match=message):
        GateCache().bind(dual, data="", **options)


def test_a_copy_without_gates_in_force_binds_none(dual: DualCopy) -> None:
    dual.gated = False
    with pytest.raises(ValueError, match="not gated"):
        GateCache().bind(dual, data="", samples=COUNT)


def refresh(dual: DualCopy) -> None:
    perturb(dual.quantitative)
    dual.refresh_structure()


def load(dual: DualCopy) -> None:
    dual.load_structural_state({name: tensor + 0.1 for name, tensor in dual.structural_state().items()})


def load_whole(dual: DualCopy) -> None:
    other = DualCopy(dual.to_plain())
    refresh(other)
    dual.load_state_dict(other.state_dict())


def replace_tensor(dual: DualCopy) -> None:
    dual.structural.a.weight = dual.structural.a.weight * 2


#: How a structure may change while gates are bound.
STRUCTURE_CHANGES: dict[str, Callable[[DualCopy], object]] = {
    "refreshed": refresh,
    "loaded": load,
    "loaded as a whole": load_whole,
    "written to": lambda dual: dual.structural.a.weight.add_(0.1),
    "another tensor": replace_tensor,
    "another layer": lambda dual: dual.structural.set_submodule("a", nn.Conv2d(6, 6, 3, padding=1, bias=False)),
    "another stride": lambda dual: setattr(dual.structural.a, "dilation", (2, 2)),
    "another option": lambda dual: setattr(dual, "pool_gates", False),
    "another precision": lambda dual: dual.half().float(),
    "released": lambda dual: setattr(dual, "gated", False),
}


@pytest.mark.parametrize("change", STRUCTURE_CHANGES)
def test_gates_that_were_bound_under_another_structure_are_refused(
    change: str, dual: DualCopy, kept: BoundGates
) -> None:
    STRUCTURE_CHANGES[change](dual)
    for samples in (ALL[:8], ALL[16:]):
        with pytest.raises(GateMismatchError, match=r"the structure is no longer .* bind anew") as caught:
            kept.of(samples, IMAGES[samples])
        assert "\n" not in str(caught.value)


def test_gates_that_are_bound_anew_are_those_of_the_new_structure(dual: DualCopy, tmp_path: Path) -> None:
    cache = GateCache(directory=tmp_path)
    cache.bind(dual, data="", samples=COUNT).of(ALL, IMAGES)
    refresh(dual)
    kept = cache.bind(dual, data="", samples=COUNT)
    for _ in range(2):
        assert torch.equal(kept.of(ALL, IMAGES).rows, dual.gates(IMAGES).rows)


def test_what_does_not_change_the_structure_leaves_gates_bound(dual: DualCopy, kept: BoundGates) -> None:
    dual.train()(IMAGES).sum().backward()
    perturb(dual.quantitative)
    dual.replace_head(3)
    dual.learn_head_only()
    dual.gates(IMAGES)
    assert torch.equal(kept.of(ALL, IMAGES).rows, dual.eval().gates(IMAGES).rows)


def test_a_structure_that_its_own_passes_change_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)
            self.register_buffer("passes", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.passes += 1
            return self.fc(F.relu(x))

    kept = GateCache().bind(dual_of(Counting()), data="", samples=8)
    with pytest.raises(GateMismatchError, match="the structure is no longer"):
        kept.of(ALL[:8], torch.randn(8, 4))

"""The probe finds what a network computes otherwise in training mode, with gradients, in another batch or call."""

import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from fedsq_flwr.gating import DualCopy, UnsupportedActivationError, check_affine

IMAGES = torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(0))
Between = Callable[[nn.Module, Tensor], Tensor]


class Net(nn.Module):
    """``between`` stands between two gated layers."""

    def __init__(self, between: Between, **layers: nn.Module) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.fc = nn.Linear(4, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.between(self, F.relu(self.a(x)))).mean((2, 3)))


class OwnBatchNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean((0, 2, 3))[:, None, None])
            return x - x.mean((0, 2, 3), keepdim=True)
        return x - self.mean


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return x


def dual_of(between: Between, **layers: nn.Module) -> DualCopy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DualCopy(Net(between, **layers).eval())


def skipped_at_random(n: nn.Module, x: Tensor) -> Tensor:
    return x if n.training and torch.rand(()) < 2 else F.relu(n.b(x))


def mixed_up(n: nn.Module, x: Tensor) -> Tensor:
    return n.b((x + x[torch.randperm(len(x))]) / 2 if n.training else x)


TRAINING = "in training mode"
GRADIENTS = "with gradients"
BATCH = "in a batch of another size"
EARLIER = "earlier passes"

OTHERWISE: dict[str, tuple[str, Between]] = {
    "a factor in training": (TRAINING, lambda n, x: n.b(x) * (2 if n.training else 1)),
    "another layer in training": (TRAINING, lambda n, x: n.b(x) if n.training else n.c(x)),
    "another activation in training": (TRAINING, lambda n, x: F.gelu(n.b(x)) if n.training else n.b(x)),
    "one more gate in training": (TRAINING, lambda n, x: F.relu(n.b(x)) if n.training else n.b(x)),
    "a gate less in training": (TRAINING, lambda n, x: n.b(x) if n.training else F.relu(n.b(x))),
    "a layer that is skipped at random": (TRAINING, skipped_at_random),
    "chance from elsewhere": (TRAINING, lambda n, x: n.b(x) * (random.random() if n.training else 1)),  # noqa: S311
    "a mean of the batch in training": (TRAINING, lambda n, x: n.b(x) - (x.mean(0) if n.training else 0)),
    "images mixed at random": (TRAINING, mixed_up),
    "noise that is not affine": (TRAINING, lambda n, x: n.b(x) + (torch.randn_like(x) * x * x if n.training else 0)),
    "a factor with gradients": (GRADIENTS, lambda n, x: n.b(x) * (2 if torch.is_grad_enabled() else 1)),
    "another layer with gradients": (GRADIENTS, lambda n, x: n.b(x) if torch.is_grad_enabled() else n.c(x)),
    "another gate with gradients": (GRADIENTS, lambda n, x: n.b(x) if torch.is_grad_enabled() else F.relu(n.b(x))),
    "another layer where weights learn": (GRADIENTS, lambda n, x: n.b(x) if n.b.weight.requires_grad else n.c(x)),
    "another layer where inputs have a history": (GRADIENTS, lambda n, x: n.b(x) if x.requires_grad else n.c(x)),
    "a factor for large batches": (BATCH, lambda n, x: n.b(x) * (2 if len(x) > 4 else 1)),
    "a factor for small batches": (BATCH, lambda n, x: n.b(x) * (2 if len(x) < 3 else 1)),
    "a factor for single images": (BATCH, lambda n, x: n.b(x) * (2 if len(x) == 1 else 1)),
    "a term for odd batches": (BATCH, lambda n, x: n.b(x) + len(x) % 2),
    "another layer for large batches": (BATCH, lambda n, x: n.b(x) if len(x) > 4 else n.c(x)),
    "one more gate for large batches": (BATCH, lambda n, x: F.relu(n.b(x)) if len(x) > 4 else n.b(x)),
    "a count of the passes": (EARLIER, lambda n, x: n.counting(n.b(x))),
    "a written parameter": (EARLIER, lambda n, x: n.b(x) + n.c.bias.data.add_(1)[:, None, None] * 0),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERWISE)
def test_what_is_computed_otherwise_is_refused_with_the_name_of_the_layer(case: str) -> None:
    circumstances, between = OTHERWISE[case]
    dual = dual_of(between, counting=Counting())
    with pytest.raises(UnsupportedActivationError, match=rf"^layer '\w+' .*{circumstances}") as caught:
        check_affine(dual, IMAGES)
    assert "\n" not in str(caught.value)


def test_a_batch_norm_of_ones_own_is_refused_by_its_name() -> None:
    with pytest.raises(UnsupportedActivationError, match=r"^layer 'norm' computes something else in training mode"):
        check_affine(dual_of(lambda n, x: n.norm(n.b(x)), norm=OwnBatchNorm()), IMAGES)


def scaled_noise(n: nn.Module, x: Tensor) -> Tensor:
    return n.b(x) + 0.1 * torch.randn_like(x) if n.training else n.b(x)


ALIKE: dict[str, Between] = {
    "dropout": lambda n, x: n.drop(n.b(x)),
    "functional dropout": lambda n, x: F.dropout(n.b(x), 0.5, n.training),
    "batch norm": lambda n, x: n.norm(n.b(x)),
    "stochastic depth": lambda n, x: x + n.depth(n.b(x)),
    "noise in training": scaled_noise,
    "a value that is never used": lambda n, x: n.b(x) + 0 * (1.0 if n.training else 2.0),
    "the batch size as a divisor": lambda n, x: n.b(x) * 3 / len(x),
    "gradients that are switched on": lambda n, x: torch.enable_grad()(n.b)(x),
    "a fixed number of images": lambda n, x: n.b(x.view(2, 4, 6, 6)),
}


@pytest.mark.parametrize("case", ALIKE)
def test_dropout_batch_norm_and_what_is_computed_alike_pass(case: str) -> None:
    layers = {"drop": nn.Dropout2d(0.5), "norm": nn.BatchNorm2d(4), "depth": StochasticDepth(0.5, "row")}
    check_affine(dual_of(ALIKE[case], **layers), IMAGES)


@pytest.mark.parametrize("output", [lambda x: {"out": x, "more": [x]}, lambda x: (x, None)], ids=["dict", "tuple"])
def test_a_network_may_give_more_than_logits(output: Callable[[Tensor], object]) -> None:
    class Several(Net):
        def forward(self, x: Tensor) -> object:
            return output(super().forward(x))

    check_affine(DualCopy(Several(lambda n, x: n.b(x)).eval()), IMAGES)


def test_the_probe_leaves_the_generators_of_all_devices_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reseeded: list[int] = []
    monkeypatch.setattr(torch, "manual_seed", reseeded.append)
    check_affine(dual_of_seeded(), IMAGES)
    assert reseeded == []


def dual_of_seeded() -> DualCopy:
    torch.default_generator.manual_seed(0)
    return DualCopy(Net(ALIKE["functional dropout"]).eval())

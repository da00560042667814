"""The fingerprint names what determines the gates, all of it and nothing else."""

import copy
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from fedsq_flwr.gating.fingerprint import structure_fingerprint
from tests.gating.gated_networks import BUILDERS, batch_for, build, perturb


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2, padding=1),
        nn.Flatten(),
        nn.Linear(36, 5),
    ).eval()


def add(value: float, name: str) -> Callable[[nn.Sequential], None]:
    def change(network: nn.Sequential) -> None:
        network.state_dict()[name].view(-1)[-1].add_(value)

    return change


def replace(place: int, module: nn.Module) -> Callable[[nn.Sequential], None]:
    def change(network: nn.Sequential) -> None:
        if list(module.parameters()):
            module.load_state_dict(network[place].state_dict())
        network[place] = module.eval()

    return change


CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "a weight": add(1e-6, "0.weight"),
    "a bias": add(1e-6, "0.bias"),
    "a batch norm's scale": add(1e-6, "1.weight"),
    "a running mean": add(1e-6, "1.running_mean"),
    "a running variance": add(1e-6, "1.running_var"),
    "a stride": replace(0, nn.Conv2d(2, 4, 3, stride=1, padding=1)),
    "a padding": replace(0, nn.Conv2d(2, 4, 3, stride=2, padding=0)),
    "a padding mode": replace(0, nn.Conv2d(2, 4, 3, stride=2, padding=1, padding_mode="circular")),
    "a pooling's size": replace(3, nn.MaxPool2d(3, padding=1)),
    "the batch norm's epsilon": replace(1, nn.BatchNorm2d(4, eps=1e-3)),
    "another pooling": replace(3, nn.AvgPool2d(2, padding=1)),
    "a ReLU left out": replace(2, nn.Identity()),
    "an added layer": lambda network: network.insert(3, nn.ReLU()),
    "an added layer at the end": lambda network: network.append(nn.ReLU()),
    "a missing layer": lambda network: network.pop(2),
    "another dtype": lambda network: network.double(),
}

HEAD_CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "a head's weight": add(1.0, "5.weight"),
    "a head's bias": add(1.0, "5.bias"),
    "a head for other classes": lambda network: network.append(nn.Linear(36, 9)) and network.pop(5),
    "the mode": lambda network: network.train(),
    "the count of batches": lambda network: network[1].num_batches_tracked.add_(7),
    "what learns": lambda network: network.requires_grad_(False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_changes_with_what_determines_the_gates(change: str) -> None:
    network = layers()
    before = DualCopy(network).fingerprint
    with torch.no_grad():
        CHANGES[change](network)
    assert DualCopy(network).fingerprint != before


@pytest.mark.parametrize("change", HEAD_CHANGES)
def test_it_does_not_change_with_what_gates_do_not_depend_on(change: str) -> None:
    network = layers()
    before = DualCopy(network).fingerprint
    with torch.no_grad():
        HEAD_CHANGES[change](network)
    assert DualCopy(network).fingerprint == before


def test_it_changes_with_the_pooling_option() -> None:
    assert DualCopy(layers()).fingerprint != DualCopy(layers(), pool_gates=False).fingerprint


def test_it_changes_with_two_values_swapped() -> None:
    network = layers()
    before = DualCopy(network).fingerprint
    with torch.no_grad():
        network[0].bias.copy_(network[0].bias.flip(0))
    assert DualCopy(network).fingerprint != before


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((6,), (1, 6))])
def test_it_changes_with_a_shape_that_leaves_every_byte_in_place(shapes: tuple[tuple[int, ...], ...]) -> None:
    networks = []
    for shape in shapes:
        networks.append(nn.Module())
        networks[-1].weight = nn.Parameter(torch.arange(6.0).view(shape))
    one, other = (DualCopy(network).fingerprint for network in networks)
    assert one != other


def test_it_changes_with_a_dtype_that_leaves_every_byte_in_place() -> None:
    networks = [nn.Module(), nn.Module()]
    networks[0].weight = nn.Parameter(torch.zeros(6))
    networks[1].register_buffer("weight", torch.zeros(6, dtype=torch.int32))
    one, other = (DualCopy(network).fingerprint for network in networks)
    assert one != other


def test_it_changes_with_a_blocks_stride_that_only_the_block_knows() -> None:
    network = build("CIFAR ResNet-8")
    before = DualCopy(network).fingerprint
    network.layer2[0].stride = 3
    assert DualCopy(network).fingerprint != before


class Holder(nn.Module):
    """A module that holds ``value`` as its attribute, and a subclass that differs in a class attribute."""

    kind = "plain"

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x


#: Pairs of values that may stand for other gates.
ATTRIBUTES: dict[str, tuple[object, object]] = {
    "a flag": (True, False),
    "a flag and a number": (True, 1),
    "a whole number": (2, 3),
    "a number": (0.1, 0.1 + 1e-12),
    "a whole and another number": (1, 1.0),
    "a string": ("same", "valid"),
    "none": (None, 0),
    "a tuple": ((1, 2), (1, 3)),
    "a nested tuple": (((1, 2), "a"), ((1, 2), "b")),
    "a longer tuple": ((1,), (1, 1)),
    "a list": ([1, 2], [2, 1]),
    "a number of numpy": (np.float64(1.0), np.float64(2.0)),
    "a tensor": (torch.zeros(3), torch.ones(3)),
}


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_it_changes_with_a_public_attribute(case: str) -> None:
    one, other = (DualCopy(nn.Sequential(Holder(value), nn.Linear(2, 2))) for value in ATTRIBUTES[case])
    before = one.fingerprint
    assert before != other.fingerprint
    one.structural[0].value = ATTRIBUTES[case][1]
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.AvgPool2d(2, ceil_mode=True), nn.AvgPool2d(2)),
        (nn.AvgPool2d(3, padding=1, count_include_pad=False), nn.AvgPool2d(3, padding=1)),
        (
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Upsample(scale_factor=2, mode="bilinear"),
        ),
    ],
    ids=lambda module: type(module).__name__,
)
def test_it_changes_with_what_a_layer_of_torch_does_not_show(one: nn.Module, other: nn.Module) -> None:
    assert one.extra_repr() == other.extra_repr()
    assert DualCopy(nn.Sequential(one)).fingerprint != DualCopy(nn.Sequential(other)).fingerprint


def test_it_changes_with_an_attribute_of_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    before = DualCopy(nn.Sequential(Holder(1))).fingerprint
    monkeypatch.setattr(Holder, "kind", "strided")
    assert DualCopy(nn.Sequential(Holder(1))).fingerprint != before


@pytest.mark.parametrize(
    ("name", "values"), [("_value", (1, 2)), ("device", ("cpu", "cuda:0")), ("unknown", ({}, {1}))]
)
def test_it_does_not_change_with_other_attributes(name: str, values: tuple[object, object]) -> None:
    dual = DualCopy(nn.Sequential(Holder(1), nn.Linear(2, 2)))
    found = set()
    for value in values:
        setattr(dual.structural[0], name, value)
        found.add(dual.fingerprint)
    assert len(found) == 1


class Remembering(nn.Module):
    """Sets what many networks set in their forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 4, 3), nn.Linear(4, 2)
        self.height, self.calls = None, 0

    def forward(self, x: Tensor) -> Tensor:
        self.height, self.calls, self.batch = x.shape[2], self.calls + 1, len(x)
        self.features = F.relu(self.conv(x))
        return self.fc(self.features.mean((2, 3)))


def test_it_does_not_change_with_what_passes_leave_behind() -> None:
    torch.manual_seed(0)
    server, silo = DualCopy(Remembering()), DualCopy(Remembering())
    before = server.fingerprint
    for count, size in ((8, 6), (9, 7)):
        server(torch.randn(count, 2, size, size)).sum().backward()
        server.gates(torch.randn(count, 2, size, size))
        assert server.fingerprint == before
    perturb(server.quantitative)
    server.refresh_structure()
    assert server.fingerprint != before
    silo.load_structural_state(server.structural_state())
    assert silo.fingerprint == server.fingerprint


def counted(network: nn.Module) -> nn.Module:
    """Fill a network with values that no version of torch draws otherwise."""
    for place, (_, tensor) in enumerate(sorted(network.state_dict().items())):
        if tensor.is_floating_point():
            tensor.copy_((torch.arange(tensor.numel(), dtype=torch.float64).view(tensor.shape) % 7 + place) / 8)
    return network.eval()


#: What version 0.1 computed, with and without pooling gates.
OF_VERSION_0_1: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "layers": (
        layers,
        "9f06ba785278940c7b50dce6c3f04ca8dde4ed9de4d7598fa539e6efbc898bea",
        "61a6f8f15bce7ebccb3ca874d4c80cc541e87870d94f476ba54b65233c7dfab8",
    ),
    "CIFAR ResNet-8": (
        BUILDERS["CIFAR ResNet-8"],
        "fb6ffa669d80ea557bd5711d9ef4c1b848d91cb19299b739bcec1ada9edcc922",
        "1d427b2b4527535908c2cbb5055bc1d1906bb6e8a9e7db46954cedd4306abd3c",
    ),
    "residual add": (
        BUILDERS["residual add"],
        "df8e3206a55f04b02655fb1edd043ada04b9653a8abb7897fb6734dc35bd8f17",
        "f0f21f765f5eec3fb29bea4439ffc45abd51d4bc5ff9f9dd11af528b7905ce27",
    ),
    "tied weights": (
        BUILDERS["tied weights"],
        "48e88b0a93683c5a8aa52c45511ce56faaa6a5dada0576d667c9f178fd624184",
        "7c78074b0b50ce328fb938dab078fd5a908cc6f1db6e35a7fbbc82ec46fdbf6a",
    ),
}


@pytest.mark.parametrize("name", OF_VERSION_0_1)
def test_structures_of_version_0_1_are_known_by_their_fingerprints(name: str) -> None:
    build_it, *old = OF_VERSION_0_1[name]
    for pool_gates, value in zip((True, False), old, strict=True):
        dual = DualCopy(counted(build_it()), pool_gates=pool_gates)
        assert dual.fingerprint != value
        assert dual.has_fingerprint(value)
        assert dual.has_fingerprint(dual.fingerprint)
        dual.structural.state_dict()[next(iter(dual.structural_state()))].view(-1)[0] += 1
        assert not dual.has_fingerprint(value)


def test_a_copy_without_gates_in_force_has_the_empty_fingerprint_only() -> None:
    dual = DualCopy(layers())
    before = dual.fingerprint
    dual.gated = False
    for model in (dual, QuantitativeCopy(layers())):
        assert model.has_fingerprint("")
        assert not model.has_fingerprint(before)
        assert not model.has_fingerprint(None)


def test_a_named_head_is_the_one_left_out() -> None:
    one, other = layers(), layers()
    with torch.no_grad():
        other[0].weight.add_(1.0)
    assert DualCopy(one, head="0").fingerprint == DualCopy(other, head="0").fingerprint
    assert DualCopy(one, head="5").fingerprint != DualCopy(other, head="5").fingerprint


def test_a_layer_whose_name_begins_like_the_heads_is_not_left_out() -> None:
    network = nn.Module()
    network.fc1, network.fc = nn.Linear(4, 4), nn.Linear(4, 2)
    before = DualCopy(network, head="fc").fingerprint
    with torch.no_grad():
        network.fc1.weight.add_(1.0)
    assert DualCopy(network, head="fc").fingerprint != before


def test_it_does_not_change_with_anything_that_happens_to_the_quantitative_copy(
    dual: DualCopy, images: Tensor, labels: Tensor
) -> None:
    before = dual.fingerprint
    dual.train()
    F.cross_entropy(dual(images), labels).backward()
    torch.optim.SGD(dual.parameters(), 0.5).step()
    perturb(dual.quantitative)
    dual.load_quantitative_state({name: tensor + 1 for name, tensor in dual.quantitative_state().items()})
    dual.replace_head(3)
    dual.eval()
    assert dual.fingerprint == before


def test_it_does_not_depend_on_the_batch_norm_policy() -> None:
    assert DualCopy(layers(), batch_norm="frozen").fingerprint == DualCopy(layers()).fingerprint


def test_it_is_64_hexadecimal_digits_and_needs_no_pass() -> None:
    class Unrunnable(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("a forward pass was made")

    assert re.fullmatch("[0-9a-f]{64}", DualCopy(Unrunnable(nn.Linear(2, 2))).fingerprint)


@pytest.mark.parametrize("name", ["CIFAR ResNet-8", "torchvision ResNet-18", "tied weights", "residual add"])
def test_copies_have_the_same_fingerprint(name: str) -> None:
    network = build(name)
    dual = DualCopy(network)
    expected = dual.fingerprint
    assert DualCopy(network).fingerprint == expected
    assert copy.deepcopy(dual).fingerprint == expected
    assert pickle.loads(pickle.dumps(dual)).fingerprint == expected  # noqa: S301
    assert DualCopy(copy.deepcopy(network)).fingerprint == expected
    assert DualCopy(dual.to_plain()).fingerprint == expected


def test_every_process_finds_the_same_fingerprint() -> None:
    program = (
        "from fedsq_flwr.models import build_backbone; from fedsq_flwr.gating import DualCopy;"
        "print(DualCopy(build_backbone('resnet20', in_channels=1, classes=5, seed=3)).fingerprint)"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    from fedsq_flwr.models import build_backbone

    here = DualCopy(build_backbone("resnet20", in_channels=1, classes=5, seed=3)).fingerprint
    assert elsewhere.stdout.strip() == here


def test_without_data_there_is_an_error_and_no_fingerprint_of_nothing() -> None:
    with pytest.raises(NotImplementedError, match="meta"):
        _ = DualCopy(layers()).to("meta").fingerprint


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_does_not_change_with_the_device() -> None:
    assert DualCopy(layers()).cuda().fingerprint == DualCopy(layers()).fingerprint


def test_equal_fingerprints_mean_equal_gates() -> None:
    one, other = build("CIFAR ResNet-8"), build("CIFAR ResNet-8")
    other.fc = nn.Linear(64, 3)
    images, _ = batch_for(one)
    a, b = DualCopy(one), DualCopy(other)
    assert a.fingerprint == b.fingerprint
    assert all(torch.equal(x, y) for x, y in zip(a.gates(images).masks(), b.gates(images).masks(), strict=True))


def test_what_was_hashed_before_is_not_hashed_again_and_every_change_is_seen(
    monkeypatch: pytest.MonkeyPatch, dual: DualCopy
) -> None:
    hashed: list[str] = []

    def counting(network: nn.Module, **options: object) -> str:
        hashed.append(structure_fingerprint(network, **options))
        return hashed[-1]

    monkeypatch.setattr("fedsq_flwr.gating.fingerprint.structure_fingerprint", counting)
    first = dual.fingerprint
    assert (dual.fingerprint, len(hashed)) == (first, 1)
    changes = [
        lambda: dual.structural.a.weight.add_(1),
        lambda: dual.structural.load_state_dict(dual.quantitative.state_dict()),
        lambda: setattr(dual.structural.a, "weight", dual.structural.a.weight * 2),
        lambda: setattr(dual.structural.a, "stride", (2, 2)),
        lambda: setattr(dual, "pool_gates", False),
        dual.refresh_structure,
    ]
    for change in changes:
        with torch.no_grad():
            change()
        assert dual.fingerprint == structure_fingerprint(dual.structural, head=dual.head, pool_gates=dual.pool_gates)
    assert len(hashed) == 1 + len(changes)


def test_a_copy_has_a_fingerprint_of_its_own(dual: DualCopy) -> None:
    assert dual.fingerprint
    for other in (copy.deepcopy(dual), pickle.loads(pickle.dumps(dual))):  # noqa: S301 - our own
        assert other.fingerprint == dual.fingerprint
        other.structural.a.weight.add_(1)
        assert other.fingerprint != dual.fingerprint


class Applying(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.fc, self.function = nn.Linear(4, 4), nn.Linear(4, 2), function

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.function(self.a(x)))


def test_functions_that_a_module_holds_are_covered() -> None:
    """They have the same regimes, so that rows of one would fit another."""
    torch.manual_seed(0)
    network = Applying(F.relu)
    functions = [
        *(F.relu, torch.relu, F.hardshrink, F.threshold),
        *(lambda x: F.threshold(x, 0.5, 0.0), lambda x: F.threshold(x, 0.25, 0.0), lambda x: F.hardshrink(x + 0)),
        *(partial(F.hardshrink, lambd=0.5), partial(F.hardshrink, lambd=0.25)),
    ]
    found = []
    for function in functions:
        network.function = function
        found.append(structure_fingerprint(network, head="fc", pool_gates=True))
    assert len(set(found)) == len(found)
    network.function = F.relu
    assert structure_fingerprint(network, head="fc", pool_gates=True) == found[0]

"""A dual copy survives copying, pickling, threads, autocast, and what torch wraps around networks."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fedsq_flwr.gating import DualCopy
from tests.gating.gated_networks import SMALL, Residual, batch_for, build, perturb, same_bits

PICKLABLE = ["linear layers", "residual add", "CIFAR ResNet-8", "torchvision ResNet-18", "tied weights"]


def moved(name: str) -> DualCopy:
    dual = DualCopy(build(name))
    perturb(dual.quantitative)
    return dual


@pytest.mark.parametrize("name", SMALL)
def test_a_deep_copy_gives_the_same_logits_and_is_its_own(name: str) -> None:
    dual = moved(name)
    images, _ = batch_for(dual.quantitative)
    expected = dual(images)
    copied = copy.deepcopy(dual)
    assert same_bits(expected, copied(images))
    perturb(copied.quantitative)
    assert same_bits(expected, dual(images))


@pytest.mark.parametrize("name", PICKLABLE)
def test_a_pickled_copy_gives_the_same_logits(name: str) -> None:
    dual = moved(name)
    images, _ = batch_for(dual.quantitative)
    copied = pickle.loads(pickle.dumps(dual))  # noqa: S301
    assert same_bits(dual(images), copied(images))
    assert list(copied.structural.parameters()) == []


def test_gates_survive_pickling_and_copying(dual: DualCopy, images: Tensor) -> None:
    gates = dual.gates(images)
    for copied in (copy.deepcopy(gates), pickle.loads(pickle.dumps(gates))):  # noqa: S301
        assert same_bits(dual(images), dual(images, gates=copied))


def test_tied_weights_stay_tied_in_the_quantitative_copy() -> None:
    dual = copy.deepcopy(DualCopy(build("tied weights")))
    assert dual.quantitative.b.weight is dual.quantitative.c.weight


def test_a_whole_state_dict_carries_both_copies(dual: DualCopy, images: Tensor) -> None:
    perturb(dual.quantitative)
    network = build("residual add")
    perturb(network, seed=7)
    other = DualCopy(network)
    other.load_state_dict(dual.state_dict())
    assert same_bits(other(images), dual(images))
    assert other.fingerprint == dual.fingerprint


def test_threads_do_not_see_each_others_gates() -> None:
    duals = [moved(name) for name in ("residual add", "CIFAR ResNet-8", "pool: nn.MaxPool2d", "linear layers")]
    batches = [batch_for(dual.quantitative)[0] for dual in duals]
    expected = [dual(images) for dual, images in zip(duals, batches, strict=True)]

    def run(place: int) -> bool:
        return all(torch.equal(duals[place](batches[place]), expected[place]) for _ in range(20))

    with ThreadPoolExecutor(len(duals)) as pool:
        assert all(pool.map(run, range(len(duals))))


@pytest.mark.parametrize(
    "name",
    ["residual add", "ReLU first and last", "CIFAR ResNet-20", "pool: nn.MaxPool2d", "relu: written to afterwards"],
)
def test_bfloat16_autocast_works_forward_and_backward(name: str) -> None:
    dual = DualCopy(build(name))
    images, labels = batch_for(dual.quantitative)
    exact = dual(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gates = dual.gates(images)
        logits, from_gates = dual(images), dual(images, gates=gates)
        plain = dual.quantitative(images)
    F.cross_entropy(logits.float(), labels).backward()

    assert logits.dtype == from_gates.dtype == torch.bfloat16
    assert torch.equal(logits, from_gates)
    assert torch.equal(logits, plain)
    torch.testing.assert_close(logits.float(), exact, rtol=0.1, atol=0.1)
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in dual.parameters())


@pytest.mark.parametrize("kind", ["autocast", "float32"])
def test_gates_made_in_one_precision_serve_in_the_other(dual: DualCopy, images: Tensor, kind: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "autocast"):
        gates = dual.gates(images)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind != "autocast"):
        assert dual(images, gates=gates).isfinite().all()


def test_gates_made_without_gradients_serve_in_training(dual: DualCopy, images: Tensor) -> None:
    with torch.no_grad():
        gates = dual.gates(images)
    dual(images, gates=gates).sum().backward()
    assert all(parameter.grad is not None for parameter in dual.parameters())


def test_a_pass_in_inference_mode_gives_the_same_logits(dual: DualCopy, images: Tensor) -> None:
    expected = dual(images)
    with torch.inference_mode():
        assert torch.equal(dual(images), expected)


def test_gates_made_in_inference_mode_serve_in_training(dual: DualCopy, images: Tensor) -> None:
    with torch.inference_mode():
        gates = dual.gates(images)
    dual(images, gates=gates).sum().backward()
    assert all(parameter.grad is not None for parameter in dual.parameters())


class Checkpointed(Residual):
    """Its middle is computed again in the backward pass, where no gate is at hand."""

    reentrant = False

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = checkpoint(self.middle, x, use_reentrant=self.reentrant)
        return self.fc(F.adaptive_avg_pool2d(self.relu(y + x), 1).flatten(1))

    def middle(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.norm(self.a(x))))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_gives_the_right_gradients_or_an_error(reentrant: bool) -> None:
    network = Checkpointed().eval()
    network.reentrant = reentrant
    images, _ = batch_for(network)
    reference = Residual().eval()
    reference.load_state_dict(network.state_dict())
    gradients = []
    for each in (reference, network):
        dual = DualCopy(each)
        perturb(dual.quantitative)
        try:
            dual(images).sum().backward()
        except (RuntimeError, ValueError):
            return
        gradients.append(dual.quantitative.a.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kept", [False, True])
def test_a_whole_dual_copy_inside_a_checkpoint_has_the_right_gradients(
    dual: DualCopy, images: Tensor, kept: bool
) -> None:
    perturb(dual.quantitative)
    gates = dual.gates(images) if kept else None
    gradients = []
    for run in (dual, lambda *inputs: checkpoint(dual, *inputs, use_reentrant=False)):
        dual.zero_grad()
        run(images, gates).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in dual.parameters()])
    assert all(same_bits(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_dual_copy_gives_the_logits_of_the_plain_call(dual: DualCopy, images: Tensor) -> None:
    perturb(dual.quantitative)
    expected = dual(images)
    torch.testing.assert_close(torch.compile(dual, backend="eager")(images), expected)


def test_another_torch_function_mode_around_it_changes_nothing(dual: DualCopy, images: Tensor) -> None:
    expected = dual(images)
    with torch.device("cpu"):
        assert same_bits(dual(images), expected)


def test_a_dual_copy_within_a_larger_module_takes_part_in_its_modes(network: nn.Module) -> None:
    outer = nn.Sequential(DualCopy(network))
    outer.train()
    assert not outer[0].structural.training
    assert outer[0].quantitative.training

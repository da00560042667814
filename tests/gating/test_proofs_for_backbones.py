"""METHOD, statement by statement, for every backbone of the field."""

import copy
import math
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr import models
from fedsq_flwr.gating import DualCopy, GateMismatchError, Gates, check_affine
from fedsq_flwr.gating.record import record_packed
from fedsq_flwr.gating.replay import Replaying
from tests.gating.backbones import BACKBONES, Backbone, torchvision_model
from tests.gating.gated_networks import CLASSES, as_if_learnt, learnable_layers, perturb, same_bits
from tests.gating.test_equal_at_the_start import logits_and_gradients


def with_marks(names: Iterable[str]) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) if BACKBONES[name].large else name for name in names]


@pytest.fixture(scope="module", params=with_marks(name for name in BACKBONES if BACKBONES[name].every_statement))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return BACKBONES[request.param]


@pytest.fixture(scope="module")
def network(backbone: Backbone) -> nn.Module:
    return as_if_learnt(backbone.build)


@pytest.fixture(scope="module")
def images(backbone: Backbone) -> Tensor:
    return images_for(backbone)


def images_for(backbone: Backbone) -> Tensor:
    return torch.randn(8, 3, backbone.size, backbone.size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.arange(8) % CLASSES


@pytest.fixture(scope="module")
def dual(network: nn.Module) -> DualCopy:
    """At the start; no test changes it."""
    return DualCopy(network)


@pytest.fixture(scope="module")
def trained(network: nn.Module, images: Tensor, labels: Tensor) -> DualCopy:
    """After a step of training; no test changes it."""
    model = DualCopy(network).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    F.cross_entropy(model(images), labels).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    return model.eval()


def same_gates(a: Gates, b: Gates) -> bool:
    return all(map(torch.equal, [*a.masks(), *a.winners()], [*b.masks(), *b.winners()]))


def test_every_relu_and_max_pooling_is_a_gate(dual: DualCopy, images: Tensor, backbone: Backbone) -> None:
    check_gates(dual, images, backbone)


def check_gates(dual: DualCopy, images: Tensor, backbone: Backbone) -> None:
    gates = dual.gates(images)
    assert (len(gates.masks()), len(gates.winners())) == (backbone.relus, backbone.pools)
    assert all(0 < mask.float().mean() < 1 for mask in gates.masks())


def test_at_the_start_output_and_every_gradient_equal_the_plain_networks_to_the_bit(
    network: nn.Module, dual: DualCopy, images: Tensor, labels: Tensor
) -> None:
    check_equality(network, dual, images, labels)
    network.zero_grad()
    dual.zero_grad()


def check_equality(network: nn.Module, dual: DualCopy, images: Tensor, labels: Tensor) -> None:
    logits, gradients = logits_and_gradients(network, network, images, labels)
    dual_logits, dual_gradients = logits_and_gradients(dual, dual.quantitative, images, labels)
    assert same_bits(logits, dual_logits)
    assert gradients.keys() == dual_gradients.keys()
    assert [name for name in gradients if not same_bits(gradients[name], dual_gradients[name])] == []


@pytest.mark.parametrize("name", with_marks(name for name in BACKBONES if not BACKBONES[name].every_statement))
def test_relatives_of_a_proven_backbone_are_gated_equal_at_the_start_and_affine_in_every_layer(
    name: str, labels: Tensor
) -> None:
    backbone = BACKBONES[name]
    network, images = as_if_learnt(backbone.build), images_for(backbone)
    dual = DualCopy(network)
    check_gates(dual, images, backbone)
    check_equality(network, dual, images, labels)
    check_affine(dual, images)


@pytest.mark.slow
def test_with_linear_layers_of_full_width_the_equality_at_the_start_holds_too(labels: Tensor) -> None:
    network = as_if_learnt(torchvision_model("alexnet"))
    check_equality(network, DualCopy(network), images_for(BACKBONES["alexnet"]), labels)


def test_it_is_affine_in_the_images_and_in_every_layer_by_itself(trained: DualCopy, images: Tensor) -> None:
    check_affine(trained, images)


def test_the_average_of_two_models_that_differ_in_one_layer_averages_their_outputs(
    trained: DualCopy, images: Tensor
) -> None:
    network, pair = copy.deepcopy(trained.quantitative).double(), images[:2]
    gates = trained.gates(pair).calls()

    def under_fixed_gates() -> Tensor:
        with Replaying(gates, pool_gates=True):
            return network(pair.double())

    layers = learnable_layers(network)
    for layer in (layers[0], layers[len(layers) // 2], layers[-1]):
        assert averaging_gap(network, layer, under_fixed_gates) < 1e-7, (
            layer
        )  # deep VGGs hardly move: many digits cancel
    assert averaging_gap(network, layers[0], lambda: network(pair.double())) > 1e-3


def averaging_gap(network: nn.Module, layer: str, run: Callable[[], Tensor]) -> float:
    """How far the output of the average is from the average of the outputs, next to the outputs' distance."""
    parameters = list(network.get_submodule(layer).parameters(recurse=False))
    start, ends, outputs = [p.detach().clone() for p in parameters], [], []
    with torch.no_grad():
        for seed in (1, 2):
            perturb(network, seed=seed, only=layer)
            ends.append([p.clone() for p in parameters])
            outputs.append(run())
            list(map(Tensor.copy_, parameters, start))
        for parameter, a, b in zip(parameters, *ends, strict=True):
            parameter.copy_((a + b) / 2)
        average = run()
        list(map(Tensor.copy_, parameters, start))
    a, b = outputs
    return float((average - (a + b) / 2).norm() / (a - b).norm())


def test_training_moves_no_gate_although_it_moves_the_networks_own(
    dual: DualCopy, trained: DualCopy, images: Tensor
) -> None:
    before, after = dual.gates(images), trained.gates(images)
    own = Gates.join(record_packed(trained.quantitative, images, pool_gates=True), len(images))
    assert same_gates(before, after)
    assert not same_gates(before, own)
    assert not torch.equal(trained(images), trained.quantitative(images))


def test_training_gives_the_structural_copy_no_gradient_and_moves_none_of_its_bits(
    network: nn.Module, trained: DualCopy
) -> None:
    assert list(trained.structural.parameters()) == []
    assert all(buffer.grad is None and not buffer.requires_grad for buffer in trained.structural.buffers())
    expected, found = network.state_dict(), trained.structural.state_dict()
    assert expected.keys() == found.keys()
    assert all(same_bits(expected[name], found[name]) for name in expected)
    moved = [n for n, p in trained.quantitative.named_parameters() if not torch.equal(p, network.get_parameter(n))]
    # Dead units' weights have no reason to move, nor has a shift that the next batch norm takes back.
    shifts = [name for name, _ in network.named_parameters() if name not in moved and name.endswith(".bias")]
    assert len(moved) > 0.9 * (len(list(network.parameters())) - len(shifts))
    assert len(shifts) < 0.2 * len(list(network.parameters()))


def test_the_winners_of_max_pooling_are_the_structural_copys(
    trained: DualCopy, images: Tensor, backbone: Backbone
) -> None:
    passed: list[tuple[Tensor, Tensor]] = []
    pools = [module for module in trained.quantitative.modules() if isinstance(module, nn.MaxPool2d)]
    handles = [p.register_forward_hook(lambda _, args, output: passed.append((args[0], output))) for p in pools]
    gates = trained.gates(images)
    trained(images, gates=gates)
    for handle in handles:
        handle.remove()

    assert len(passed) == len(gates.winners()) == backbone.pools
    for (value, output), winners in zip(passed, gates.winners(), strict=True):
        assert torch.equal(output.flatten(2), value.flatten(2).gather(2, winners.flatten(2)))


def test_kept_gates_give_the_logits_of_fresh_ones(trained: DualCopy, images: Tensor) -> None:
    assert same_bits(trained(images), trained(images, gates=trained.gates(images)))


def test_the_state_that_travels_gives_the_same_logits_in_a_deep_copy(
    dual: DualCopy, trained: DualCopy, images: Tensor
) -> None:
    state, elsewhere = trained.quantitative_state(), copy.deepcopy(dual)
    elsewhere.load_quantitative_state(state)
    assert same_bits(trained(images), elsewhere(images))
    assert all(same_bits(state[name], tensor) for name, tensor in elsewhere.quantitative_state().items())
    assert not any(a.data_ptr() == b.data_ptr() for a, b in zip(dual.buffers(), elsewhere.buffers(), strict=True))


def test_pickling_dtypes_and_modes_change_nothing(trained: DualCopy, images: Tensor) -> None:
    copied = pickle.loads(pickle.dumps(trained))  # noqa: S301
    copied.double().float().train().eval().to("cpu")
    assert same_bits(trained(images), copied(images))
    assert copied.fingerprint == trained.fingerprint
    assert not any(module.training for module in copied.train().structural.modules())
    assert list(copied.structural.parameters()) == []


@contextmanager
def written(tensor: Tensor, change: Callable[[Tensor], object]) -> Iterator[None]:
    """Change ``tensor`` for a while."""
    kept = tensor.clone()
    with torch.no_grad():
        change(tensor)
        yield
        tensor.copy_(kept)


def next_value(tensor: Tensor) -> None:
    last = tensor.view(-1)[-1:]
    last.copy_(torch.nextafter(last, torch.tensor(math.inf)))


def test_the_fingerprint_changes_with_what_determines_the_gates(dual: DualCopy) -> None:
    structural, before = dual.structural, dual.fingerprint
    modules = dict(structural.named_modules())
    first = next(module for module in modules.values() if isinstance(module, nn.Conv2d))
    found: dict[str, str] = {}
    with written(first.weight, next_value):
        found["a weight"] = dual.fingerprint
    for norm in [module for module in modules.values() if isinstance(module, nn.BatchNorm2d)][-1:]:
        for statistic in (norm.running_mean, norm.running_var):
            with written(statistic, next_value):
                found[f"a running statistic of shape {tuple(statistic.shape)}, {len(found)}"] = dual.fingerprint
    stride, first.stride = first.stride, (5, 5)
    found["a stride"] = dual.fingerprint
    first.stride = stride
    name, relu = next(
        (name, module) for name, module in modules.items() if isinstance(module, nn.ReLU | nn.ReLU6 | nn.MaxPool2d)
    )
    structural.set_submodule(name, nn.Identity())
    found["a layer"] = dual.fingerprint
    structural.set_submodule(name, relu)
    dual.pool_gates = False
    found["the pooling option"] = dual.fingerprint
    dual.pool_gates = True

    assert dual.fingerprint == before
    assert len({before, *found.values()}) == 1 + len(found), found


def test_the_fingerprint_does_not_change_with_what_gates_do_not_depend_on(dual: DualCopy, trained: DualCopy) -> None:
    before = dual.fingerprint
    assert trained.fingerprint == before
    assert trained.train().fingerprint == before
    assert trained.eval().fingerprint == before
    counters = [b for name, b in dual.structural.named_buffers() if name.endswith("num_batches_tracked")]
    for counter in counters[:1]:
        with written(counter, lambda tensor: tensor.add_(7)):
            assert dual.fingerprint == before
    if dual.head is not None:
        with written(dual.structural.get_submodule(dual.head).weight, lambda tensor: tensor.add_(1)):
            assert dual.fingerprint == before


def test_every_backbone_that_a_run_can_name_is_among_the_proven() -> None:
    assert models.BACKBONES.keys() <= BACKBONES.keys()


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_the_head_of_a_squeezenet_is_a_gated_convolution_which_is_kept_and_not_replaced(name: str) -> None:
    network = as_if_learnt(BACKBONES[name].build)
    assert DualCopy(network).head is None
    for head, reason in ((None, "no linear layer"), ("classifier.1", "not a Conv2d")):
        with pytest.raises(ValueError, match=reason) as caught:
            DualCopy(network, head=head).replace_head(3)
        assert "\n" not in str(caught.value)


def test_auxiliary_heads_that_run_in_training_only_are_an_error_there() -> None:
    network = as_if_learnt(torchvision_model("googlenet", init_weights=False)).train()
    with pytest.raises(GateMismatchError):
        DualCopy(network)(torch.randn(8, 3, 64, 64))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["resnet20", "resnet18", "vgg11_bn", "alexnet", "mobilenet_v2", "every activation"])
def test_on_a_gpu_the_fingerprint_is_the_same_and_the_output_is_the_plain_networks(name: str) -> None:
    images, dual = images_for(BACKBONES[name]), DualCopy(as_if_learnt(BACKBONES[name].build))
    moved = copy.deepcopy(dual).cuda()
    assert moved.fingerprint == dual.fingerprint
    torch.testing.assert_close(moved(images.cuda()), moved.quantitative(images.cuda()))
    gates = dual.gates(images)
    torch.testing.assert_close(
        moved(images.cuda(), gates=gates).cpu(), dual(images, gates=gates), rtol=1e-2, atol=1e-2
    )

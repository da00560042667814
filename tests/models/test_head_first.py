"""Head-first: only the head learns; the body has no gradient and none of its bits moves."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import QuantitativeCopy
from tests.gating.gated_networks import batch_for, build, same_bits


def tensors(model: QuantitativeCopy) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.quantitative.state_dict().items()}


def step(model: QuantitativeCopy, images: Tensor, labels: Tensor) -> None:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, 0.1, weight_decay=0.1)
    F.cross_entropy(model.train()(images), labels).backward()
    optimizer.step()


@pytest.mark.parametrize("batch_norm", ["batch", "frozen", "local"])
@pytest.mark.parametrize("name", ["residual add", "relu: dropout", "pool: nn.MaxPool2d", "linear layers"])
def test_only_the_heads_bits_move(model_class: type[QuantitativeCopy], batch_norm: str, name: str) -> None:
    model = model_class(build(name), batch_norm=batch_norm)
    images, labels = batch_for(model.quantitative)
    before = tensors(model)

    model.learn_head_only()
    step(model, images, labels)

    moved = {name for name, tensor in tensors(model).items() if not same_bits(tensor, before[name])}
    assert moved == model.head_state().keys() == {f"{model.head}.weight", f"{model.head}.bias"}
    for name, parameter in model.quantitative.named_parameters():
        assert (parameter.grad is not None) is (name in moved)


def test_afterwards_all_learn_again_that_did_before(
    model_class: type[QuantitativeCopy], images: Tensor, labels: Tensor
) -> None:
    network = build("residual add")
    network.stem.weight.requires_grad_(False)  # the user's own choice stays
    model = model_class(network)
    before = tensors(model)
    for head_only in (True, True, False, False):
        model.learn_head_only(head_only)
    step(model, images, labels)
    moved = {name for name, tensor in tensors(model).items() if not same_bits(tensor, before[name])}
    assert before.keys() - moved == {"stem.weight"}
    assert all(module.training for module in model.quantitative.modules())


def test_the_body_stays_in_evaluation_mode(model_class: type[QuantitativeCopy]) -> None:
    model = model_class(build("relu: dropout"))
    model.learn_head_only()
    for mode in (True, False, True):
        model.train(mode)
        training = {name for name, module in model.quantitative.named_modules() if module.training}
        assert training == ({"fc"} if mode else set())


def test_a_copy_made_meanwhile_can_learn_again_by_itself(model: QuantitativeCopy) -> None:
    import copy

    model.learn_head_only()
    twin = copy.deepcopy(model)
    twin.learn_head_only(False)
    assert all(parameter.requires_grad for parameter in twin.parameters())
    assert sum(parameter.requires_grad for parameter in model.parameters()) == 2


@pytest.mark.parametrize("start", ["zeros", "normal"])
def test_the_first_step_of_a_new_head_is_the_mean_of_the_features_by_class(
    model_class: type[QuantitativeCopy], start: str
) -> None:
    """With a head of zeros all classes are equally likely, so the gradient is known by hand."""
    model = model_class(build("residual add"))
    images, labels = batch_for(model.quantitative)
    model.replace_head(3, start, torch.Generator().manual_seed(0))
    labels = labels % 3
    features = features_of(model, images)
    start_weight = model.quantitative.fc.weight.detach().clone()
    by_hand = (F.softmax(features @ start_weight.T, 1) - F.one_hot(labels, 3)).T @ features / len(labels)

    model.learn_head_only()
    F.cross_entropy(model.train()(images), labels).backward()

    torch.testing.assert_close(model.quantitative.fc.weight.grad, by_hand)
    if start == "zeros":
        third = (torch.full((len(labels), 3), 1 / 3) - F.one_hot(labels, 3)).T @ features / len(labels)
        torch.testing.assert_close(by_hand, third)


def features_of(model: QuantitativeCopy, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook: Callable[..., None] = lambda module, args: seen.append(args[0].detach())  # noqa: E731
    with torch.no_grad():
        handle = model.quantitative.fc.register_forward_pre_hook(hook)
        model.eval()(images)
    handle.remove()
    return seen[0]


def test_a_network_without_a_head_cannot_learn_it_first(model_class: type[QuantitativeCopy]) -> None:
    model = model_class(nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Flatten()))
    assert model.head_state() == {}
    with pytest.raises(ValueError, match="name its head"):
        model.learn_head_only()

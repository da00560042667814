"""Loss and accuracy, as worked out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy
from fedsq_flwr.learning import evaluate


class Fixed(nn.Module):
    """Takes its images for logits."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


LOGITS = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 3.0], [1.0, 0.0]]).view(4, 2, 1, 1)
LABELS = torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize("batch_size", [1, 3, 4, 256])
def test_loss_and_accuracy_are_the_means_over_samples_whatever_the_batches(batch_size: int) -> None:
    losses = [math.log(1 + math.exp(-2)), math.log(2), math.log(1 + math.exp(-3)), math.log(1 + math.exp(1))]
    result = evaluate(Fixed(), LOGITS, LABELS, batch_size=batch_size)
    assert result.loss == pytest.approx(sum(losses) / 4, rel=1e-6)
    assert result.accuracy == 3 / 4  # a tie goes to the first class
    assert result.examples == 4


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored(network, images, labels, training: bool) -> None:
    model = DualCopy(network).train(training)
    evaluate(model, images, labels)
    assert model.training is training
    assert all(module.training is training for module in model.quantitative.modules())
    assert not model.structural.training


def test_the_batch_norm_policy_is_restored_with_the_mode(network, images, labels) -> None:
    model = DualCopy(network, batch_norm="frozen").train()
    evaluate(model, images, labels)
    assert model.training
    assert not model.quantitative[1].training


def test_evaluation_is_without_dropout_and_moves_no_statistic(network, images, labels) -> None:
    model = DualCopy(network).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert evaluate(model, images, labels) == evaluate(model, images, labels)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert evaluate(model, images, labels) == evaluate(model.eval(), images, labels)


def test_the_batch_size_does_not_change_the_result(network, images, labels) -> None:
    model = DualCopy(network)
    whole, parts = evaluate(model, images, labels), evaluate(model, images, labels, batch_size=8)
    assert whole.accuracy == parts.accuracy
    assert whole.loss == pytest.approx(parts.loss, rel=1e-5)


def test_no_gradients_are_kept(network, images, labels) -> None:
    seen: list[Tensor] = []
    network.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    evaluate(network, images, labels)
    assert not seen[0].requires_grad


def test_in_bfloat16_the_logits_are_rounded_and_the_loss_is_not(network, images, labels) -> None:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(images)
    result = evaluate(network, images, labels, precision="bfloat16")
    assert logits.dtype == torch.bfloat16
    assert result.loss == pytest.approx(F.cross_entropy(logits.float(), labels).item(), rel=1e-6)
    assert result.loss != evaluate(network, images, labels).loss


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(ValueError, match="there are no samples"):
        evaluate(Fixed(), LOGITS[:0], LABELS[:0])

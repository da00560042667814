"""Loss and accuracy of a model on samples that it does not learn from."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fedsq_flwr.gating import BoundGates, Images
from fedsq_flwr.learning.measures import Predictions
from fedsq_flwr.learning.precision import autocast


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy, share of right answers, and number of samples; the predictions, where they are wanted."""

    loss: float
    accuracy: float
    examples: int
    predictions: Predictions | None = field(default=None, compare=False, repr=False)


def evaluate(
    model: nn.Module,
    images: Images,
    labels: Tensor,
    *,
    batch_size: int = 256,
    precision: str = "float32",
    gates: BoundGates | None = None,
    predictions: bool = False,
) -> Evaluation:
    """Evaluate ``model`` in evaluation mode, without gradients; the mode it was in is restored.

    Parameters
    ----------
    model : nn.Module
        Maps images to logits.
    images : Tensor or LazyImages
        ``(N, C, H, W)``, prepared, on the model's device; N >= 1.
    labels : Tensor
        ``(N,)``, likewise.
    batch_size : int
        Samples at a time.
    precision : {"float32", "bfloat16"}
        Of the forward pass.
    gates : BoundGates, optional
        Cached gates, indexed like ``images``; for a `DualCopy`.
    predictions : bool
        Whether the result is to hold the predictions.

    Raises
    ------
    ValueError
        If there are no samples.
    """
    if len(labels) == 0:
        raise ValueError("nothing to evaluate: there are no samples")
    was_training = model.training
    model.eval()
    loss, correct = 0.0, 0
    kept: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(labels), batch_size):
            batch = slice(start, start + batch_size)
            inputs = images[batch]
            with autocast(images.device, precision):
                if gates is None:
                    logits = model(inputs)
                else:
                    logits = model(inputs, gates.of(torch.arange(start, start + len(inputs)), inputs))
            loss += float(F.cross_entropy(logits.float(), labels[batch], reduction="sum"))
            correct += int((logits.argmax(1) == labels[batch]).sum())
            if predictions:
                kept.append(logits.float())
    model.train(was_training)
    told = predictions_of(torch.cat(kept), labels) if predictions else None
    return Evaluation(loss / len(labels), correct / len(labels), len(labels), told)


def predictions_of(logits: Tensor, labels: Tensor) -> Predictions:
    """Return what a model said, by its logits ``(N, K)``, of samples with ``labels`` ``(N,)``."""
    said = labels.cpu().numpy(), logits.argmax(1).cpu().numpy(), logits.softmax(1).cpu().numpy()
    return Predictions(*said)

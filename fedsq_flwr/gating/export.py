"""Either form of a trained network as a program of its own, by `torch.export`.

Saved by `torch.export.save` and loaded again, the program needs torch alone: not this package, nor the
class of the network. Non-strict export traces with Python's own function modes at work, so that gates
recorded and replayed become plain operators of the graph (`threshold_backward`, `gather`).
"""

import copy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.models.quantitative import QuantitativeCopy


def export_dual(dual: DualCopy, images: Tensor) -> ExportedProgram:
    """Export the dual form: images to logits under the gates of the structural copy, which is part of it.

    Parameters
    ----------
    dual : DualCopy
        Exported in evaluation mode; left as it is.
    images : Tensor
        An example, ``(N, C, H, W)`` with N >= 2, on the device to export for. Only its shape and dtype
        matter. The program takes any N >= 1, and C, H and W as they are here.

    Raises
    ------
    ValueError
        If the example holds fewer than 2 images.

    Notes
    -----
    A network that branches on values of the images is refused by `torch.export` with an error of its own: one
    graph cannot hold both branches.
    """
    return _export(dual, images)


def export_plain(model: QuantitativeCopy, images: Tensor) -> ExportedProgram:
    """Export the plain form: the quantitative copy with its own ReLUs, without the structural copy.

    Parameters and errors are those of `export_dual`; any `QuantitativeCopy` will do.
    """
    return _export(model.to_plain(), images)


def _export(network: nn.Module, images: Tensor) -> ExportedProgram:
    if len(images) < 2:
        raise ValueError(f"{len(images)} example images: at least 2 are needed, or the batch size would be fixed")
    evaluated = copy.deepcopy(network).eval()
    with torch.no_grad():
        return torch.export.export(evaluated, (images,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False)

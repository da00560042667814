"""Either form of a trained network, dual or plain, as a program of its own, by `torch.export`.

A program that `torch.export.save` wrote needs only torch when it is loaded: neither this package nor the class of
the network. Non-strict export runs Python's function modes while it traces. Recording and replaying gates
therefore become plain operators of the graph (`threshold_backward`, `gather`).
"""

import copy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.models.quantitative import QuantitativeCopy


def export_dual(dual: DualCopy, images: Tensor) -> ExportedProgram:
    """Export the dual form: images to logits under the gates of the structural copy, which the program contains.

    Parameters
    ----------
    dual : DualCopy
        Exported in evaluation mode; it is not changed.
    images : Tensor
        An example, ``(N, C, H, W)`` with N >= 2, on the device to export for. Only its shape and dtype
        matter. The program takes any N >= 1, and the C, H and W of the example.

    Raises
    ------
    ValueError
        If the example holds fewer than 2 images.

    Notes
    -----
    `torch.export` refuses a network that branches on values of the images, with an error of its own: one graph
    cannot hold both branches.
    """
    return _export(dual, images)


def export_plain(model: QuantitativeCopy, images: Tensor) -> ExportedProgram:
    """Export the plain form: the quantitative copy with its own ReLUs, without the structural copy.

    Parameters and errors are those of `export_dual`, with any `QuantitativeCopy` as the model.
    """
    return _export(model.to_plain(), images)


def _export(network: nn.Module, images: Tensor) -> ExportedProgram:
    if len(images) < 2:
        raise ValueError(f"{len(images)} example images: at least 2 are needed, or the batch size would be fixed")
    evaluated = copy.deepcopy(network).eval()
    with torch.no_grad():
        return torch.export.export(evaluated, (images,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False)

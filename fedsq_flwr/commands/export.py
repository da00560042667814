"""``fedsq export``: the model of a run as a program that needs torch alone."""

import json
from io import BytesIO
from pathlib import Path

import torch

from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.commands.output import check_target, write_output
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.gating import DualCopy, export_dual, export_plain
from fedsq_flwr.records.restoring import restore

NOTES = "fedsq.json"


def export(checkpoint: Path, form: str | None, output: Path) -> Path:
    """Export the model of a run, and return where it is.

    The program maps images as the input pipeline gives them, ``(N, C, H, W)`` float32 with any N, to
    logits. What a user needs to make such images, and the names of the classes, lie in it as
    ``fedsq.json``.

    Parameters
    ----------
    checkpoint : Path
        A run's directory, or one of its ``checkpoints``.
    form : {"dual", "plain"}, optional
        By default as the method trains.
    output : Path
        A file whose name ends in ``.pt2``.

    Raises
    ------
    FedSQError
        If the checkpoint cannot be restored, or the file cannot be written.
    """
    if output.suffix != ".pt2":
        raise ConfigurationError(f"--output={output}: must end in .pt2")
    check_target(output)
    restored = restore(checkpoint)
    # A program has weights in torch's own format: `torch.export` cannot save any other without a warning.
    restored.model.to(memory_format=torch.contiguous_format)
    network = restored.network(form).to(memory_format=torch.contiguous_format)
    backbone = restored.settings.backbone
    example = torch.zeros(8, backbone.in_channels, backbone.image_size, backbone.image_size)
    if isinstance(network, DualCopy):
        form, program = "dual", export_dual(network, example)
    else:
        form, program = "plain", export_plain(restored.model, example)
    mean, std = normalisation(backbone)
    notes = {
        "form": form,
        "round": restored.round,
        "classes": restored.class_names,
        "in_channels": backbone.in_channels,
        "image_size": backbone.image_size,
        "mean": mean,
        "std": std,
    }
    content = BytesIO()
    torch.export.save(program, content, extra_files={NOTES: json.dumps(notes)})
    write_output(output, content.getvalue())
    return output

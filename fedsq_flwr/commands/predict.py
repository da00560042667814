"""``fedsq predict``: classify a folder of images with the model of a run, and score a folder of classes."""

import csv
import json
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from fedsq_flwr.assembly.data import image_fitter
from fedsq_flwr.commands.output import check_target, write_output
from fedsq_flwr.commands.scoring import print_score, score
from fedsq_flwr.data.image_files import read_image
from fedsq_flwr.data.image_folder import Fit
from fedsq_flwr.data.image_paths import find_images
from fedsq_flwr.files import plain
from fedsq_flwr.learning.precision import autocast, choose_device
from fedsq_flwr.records.restoring import restore

BATCH = 256


def predict(checkpoint: Path, folder: Path, form: str | None, output: Path | None) -> None:
    """Write classes and probabilities of all images of ``folder`` as CSV, sorted by path.

    If subfolders are named as classes, the images in them are scored: the measures go to the standard error, and
    beside ``output`` into a file of its name that ends in ``.measures.json``.

    Parameters
    ----------
    checkpoint : Path
        A run's directory, or one of its ``checkpoints``.
    folder : Path
        Searched for images, in subfolders too.
    form : {"dual", "plain"}, optional
        By default as the method trains.
    output : Path, optional
        The file to write; the standard output by default. All images are read before anything is written.

    Raises
    ------
    FedSQError
        If the checkpoint cannot be restored, or the images cannot be read.
    """
    check_target(output)
    paths = find_images(folder)
    restored = restore(checkpoint)
    fit, device = image_fitter(restored.settings), choose_device("auto")
    network = restored.network(form).to(device)
    parts = []
    with torch.no_grad():
        for first in range(0, len(paths), BATCH):
            images = _read(fit, paths[first : first + BATCH]).to(device)
            with autocast(device, restored.settings.executor.precision):
                logits = network(images)
            parts.append(logits.float().cpu())
    files, logits = [path.relative_to(folder) for path in paths], torch.cat(parts)
    table = _csv([file.as_posix() for file in files], restored.class_names, logits.softmax(1))
    told = score(files, restored.class_names, logits, restored.settings.seed)
    if output is None:
        sys.stdout.buffer.write(table)  # UTF-8 whatever the terminal's locale
        sys.stdout.flush()
    else:
        write_output(output, table)
        if told is not None:
            write_output(output.with_suffix(".measures.json"), f"{json.dumps(plain(told), indent=2)}\n".encode())
    if told is not None:
        print_score(told, Console(stderr=True))


def _read(fit: Fit, paths: Sequence[Path]) -> Tensor:
    """Read images and fit each to the backbone, as the run did: ``(N, C, H, W)``."""
    return torch.cat([fit(read_image(path)[None]) for path in paths])


def _csv(files: Sequence[str], classes: Sequence[str], probabilities: Tensor) -> bytes:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "predicted", *classes])
    for file, row, best in zip(files, probabilities.tolist(), probabilities.argmax(1).tolist(), strict=True):
        writer.writerow([file, classes[best], *(f"{probability:.6f}" for probability in row)])
    return text.getvalue().encode("utf-8", "surrogateescape")  # names of files are bytes, not all of them UTF-8

"""The score of predictions on a folder of classes, whose subfolders are named as the classes of the run."""

from collections.abc import Sequence
from pathlib import PurePath

import torch
import torch.nn.functional as F  # noqa: N812
from rich.console import Console
from rich.text import Text
from torch import Tensor

from fedsq_flwr.files import Count, FileModel, Several
from fedsq_flwr.learning.evaluation import predictions_of
from fedsq_flwr.records.results import measured_on_test
from fedsq_flwr.records.summary import Interval, TestMeasures
from fedsq_flwr.report import numerals
from fedsq_flwr.report.measure_tables import NAMES, written


class Score(FileModel):
    """What the JSON file of a score holds: the measures over the images that lie in the folder of a class.

    ``measures`` is null where the model has diverged; ``others`` counts the images in no folder of a class.
    """

    class_names: Several[str]
    images: Count
    others: Count
    loss: float | None
    accuracy: float
    measures: TestMeasures | None


def score(files: Sequence[PurePath], class_names: Sequence[str], logits: Tensor, seed: int) -> Score | None:
    """Return the score of predictions; None if no image lies in the folder of a class.

    Parameters
    ----------
    files : sequence of PurePath
        Of the images, from the folder that was given: the first part of each names its class.
    class_names : sequence of str
        In the order of the logits.
    logits : Tensor
        ``(N, K)``, float32, on the CPU.
    seed : int
        Of the bootstrap.
    """
    number = {name: label for label, name in enumerate(class_names)}
    labels = [number.get(file.parts[0], -1) if len(file.parts) > 1 else -1 for file in files]
    known = torch.tensor([place for place, label in enumerate(labels) if label >= 0], dtype=torch.long)
    if not len(known):
        return None
    said, truth = logits[known], torch.tensor(labels)[known]
    predictions = predictions_of(said, truth)
    return Score(
        class_names=tuple(class_names),
        images=len(known),
        others=len(files) - len(known),
        loss=float(F.cross_entropy(said, truth)) if predictions.are_finite else None,
        accuracy=float((predictions.labels == predictions.predicted).mean()),
        measures=measured_on_test(predictions, seed),
    )


def print_score(told: Score, console: Console) -> None:
    """Print a line for each measure, with its interval, and what is left out or undefined."""
    lines = [f"scored {numerals.count(told.images, 'image')} by the folders of their classes"]
    if told.others:
        lines.append(f"{numerals.count(told.others, 'image')} in no folder of a class: not scored")
    ends: dict[str, Interval] = told.measures.intervals if told.measures else {}
    for key, name in NAMES.items():
        value = getattr(told, key) if key in ("accuracy", "loss") else getattr(told.measures, key, None)
        lines.append(f"  {name:<18} {numerals.accuracy(value)}  {written(ends.get(key))}".rstrip())
    absent = [
        name
        for name, recall in zip(told.class_names, told.measures.recalls if told.measures else (), strict=False)
        if recall is None
    ]
    if absent:
        lines.append(f"  AUROC is undefined: {numerals.count(len(absent), 'class')} without an image ({absent[0]})")
    for line in lines:
        console.print(Text(line), soft_wrap=True, highlight=False)

"""The silo's images: their folder's layout, and that each can be read."""

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedsq_flwr.data.folder_layout import find_classes, find_gaps, find_parts, find_samples
from fedsq_flwr.data.image_files import read_image
from fedsq_flwr.data.names import check_names
from fedsq_flwr.errors import DataError
from fedsq_flwr.silos.checks.finding import Finding, fail, ok, warn

_NAME = "data"
#: What a silo reads of its folder; a part ``test`` is left alone.
_PARTS = ("train", "validation")
_NAMED_FILES = 5
_NAMED_CLASSES = 12
_TELL_EVERY = 100


@dataclass(frozen=True)
class Contents:
    """What a folder holds that a silo can use."""

    class_names: tuple[str, ...]
    images: int
    train: int


def check_images(
    folder: Path, classes: Sequence[str] | None, unreadable: str, tell: Callable[[str], None]
) -> tuple[Finding, Contents | None]:
    """Find the images of ``folder`` and read every one.

    Parameters
    ----------
    folder : Path
        The silo's own.
    classes : sequence of str, optional
        Those of the run.
    unreadable : {"fail", "skip"}
        What the run does about files that cannot be read.
    tell : callable
        Told how far it is.
    """
    try:
        there = find_parts(folder)
        class_names = find_classes(there) if classes is None else tuple(classes)
        check_names(class_names, "data.classes")
        if "train" not in there:
            raise DataError(f"{folder}: holds {' and '.join(there)}, but not train")
        samples = {part: find_samples(there[part], class_names) for part in _PARTS if part in there}
        gaps = [f"{part}: {gap}" for part in samples for gap in find_gaps(there[part], (), _paths(samples[part]))]
    except DataError as error:
        return fail(_NAME, error, "", f"ls -l {shlex.quote(str(folder))}"), None
    counted, problems = _read(samples, class_names, tell)
    contents = Contents(class_names, sum(count.total() for count in counted.values()), counted["train"].total())
    told = [_of_part(part, count, class_names) for part, count in counted.items()] + gaps
    if problems:
        total = contents.images + len(problems)
        told.append(f"{len(problems):,} of {total:,} files cannot be read, the first being")
        told += problems[:_NAMED_FILES]
    look = f"find {shlex.quote(str(folder))} -type f -exec file {{}} +"
    if empty := [part for part, count in counted.items() if not count]:
        told.append(f"no image of {' and '.join(empty)} can be read")
        return fail(_NAME, "\n".join(told), "put images there that can be read", look), contents
    if problems:
        outcome = "leaves them out" if unreadable == "skip" else "fails here unless it has data.unreadable=skip"
        return warn(_NAME, "\n".join(told), f"repair or remove them; a run {outcome}", look), contents
    if gaps:
        return warn(
            _NAME, "\n".join(told), "see that nothing is left out that was meant to be an image", look
        ), contents
    return ok(_NAME, "\n".join(told)), contents


def _paths(samples: Sequence[tuple[Path, int]]) -> list[Path]:
    return [path for path, _ in samples]


def _read(
    samples: Mapping[str, Sequence[tuple[Path, int]]], class_names: Sequence[str], tell: Callable[[str], None]
) -> tuple[dict[str, Counter[str]], list[str]]:
    """Return the readable images of each part by class, and what is wrong with the others."""
    total, done = sum(map(len, samples.values())), 0
    counted: dict[str, Counter[str]] = {part: Counter() for part in samples}
    problems = []
    for part, found in samples.items():
        for path, label in found:
            if done % _TELL_EVERY == 0:
                tell(f"reading the images, {done:,} of {total:,}")
            done += 1
            try:
                read_image(path)
            except DataError as error:
                problems.append(str(error))
            else:
                counted[part][class_names[label]] += 1
    return counted, problems


def _of_part(part: str, counted: Counter[str], class_names: Sequence[str]) -> str:
    counts = [counted[name] for name in class_names]
    each = ", ".join(f"{name}={count:,}" for name, count in zip(class_names, counts, strict=True))
    if len(class_names) > _NAMED_CLASSES:
        each = f"{len(class_names):,} classes, each {min(counts):,} to {max(counts):,}"
    return f"{part} {sum(counts):,}: {each}"

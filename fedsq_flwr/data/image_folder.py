"""Images of a user's own, read from a folder and fitted to the backbone one by one."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from fedsq_flwr.data.folder_layout import PARTS, find_classes, find_gaps, find_parts, find_samples
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.names import check_names, shown
from fedsq_flwr.errors import DataError

log = logging.getLogger(__name__)

#: From images between 0 and 1, ``(N, C, H, W)``, to fitted ones, which are all of one shape.
Fit = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ImageFolder:
    """What was read of a folder.

    Attributes
    ----------
    path : Path
        The folder.
    parts : mapping of str to LabelledImages
        By ``train``, ``validation``, ``test``, where there are such; fitted, in the order of `find_samples`.
    class_names : tuple of str
        What the labels are places in.
    skipped : mapping of str to tuple of Path
        For each of the parts, the files that could not be read and were left out.
    files : mapping of str to tuple of Path
        For each of the parts, the files of its images, in their order.
    gaps : mapping of str to tuple of str
        For each of the parts, what of it gives no image though it might have been meant to, see `find_gaps`.
    """

    path: Path
    parts: Mapping[str, LabelledImages]
    class_names: tuple[str, ...]
    skipped: Mapping[str, tuple[Path, ...]]
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    gaps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_folder(
    folder: Path,
    *,
    classes: Sequence[str] | None,
    unreadable: str,
    fit: Fit,
    parts: Sequence[str] = PARTS,
) -> ImageFolder:
    """Read the ``parts`` that a folder has; the others are not looked at where ``classes`` are given.

    Only fitted images are held in memory, and one that is not. They equal, to the bit, those that ``fit``
    gives for all images of a size at once.

    Parameters
    ----------
    folder : Path
        Laid out as `folder_layout` says.
    classes : sequence of str, optional
        Names of the classes, in the order of the labels; a class may lack images. By default those that the
        folder has in any of its parts, sorted.
    unreadable : {"fail", "skip"}
        What to do about a file that cannot be read: end with its error, or log it and leave it out.
    fit : callable
        Fits images to the backbone.
    parts : sequence of str
        Which of ``train``, ``validation`` and ``test`` are wanted.

    Raises
    ------
    DataError
        If the folder is laid out otherwise or has none of the parts, if a file cannot be read, or none of a
        part can.
    """
    there = find_parts(folder)
    wanted = {name: path for name, path in there.items() if name in parts}
    if not wanted:
        raise DataError(f"{shown(folder)}: holds {' and '.join(there)}, but not {' or '.join(parts)}")
    class_names = find_classes(there) if classes is None else tuple(classes)
    check_names(class_names, "data.classes")
    samples = {name: find_samples(path, class_names) for name, path in wanted.items()}
    read = {name: read_samples(wanted[name], samples[name], skip=unreadable == "skip", fit=fit) for name in wanted}
    files = {name: _without(samples[name], skipped) for name, (_, skipped) in read.items()}
    # Where the classes are agreed, a folder may lack some of them; else all are to be learnt.
    learnt = {"train": class_names if classes is None else ()}
    return ImageFolder(
        path=folder,
        parts={name: images for name, (images, _) in read.items()},
        class_names=class_names,
        skipped={name: skipped for name, (_, skipped) in read.items()},
        files=files,
        gaps={name: tuple(find_gaps(wanted[name], learnt.get(name, ()), files[name])) for name in wanted},
    )


def _without(samples: Sequence[tuple[Path, int]], skipped: tuple[Path, ...]) -> tuple[Path, ...]:
    left_out = set(skipped)
    return tuple(path for path, _ in samples if path not in left_out)


def read_samples(
    part: Path, samples: Sequence[tuple[Path, int]], *, skip: bool, fit: Fit
) -> tuple[LabelledImages, tuple[Path, ...]]:
    """Read images with their labels, in this order; return them, and the files that were left out.

    Parameters
    ----------
    part : Path
        Their folder, for errors.
    samples : sequence of (Path, int)
        Each file, and its label.
    skip : bool
        Leave out what cannot be read.
    fit : callable
        Fits images to the backbone.

    Raises
    ------
    DataError
        If a file cannot be read, or none can.
    """
    from fedsq_flwr.data.image_files import read_image  # Pillow: only where there are files to read

    images = None
    labels: list[int] = []
    skipped: list[Path] = []
    for path, label in samples:
        try:
            raw = read_image(path)
        except DataError as error:
            if not skip:
                raise
            log.warning("%s; it is left out", error)
            skipped.append(path)
            continue
        fitted = fit(raw[None])
        if images is None:  # room for all at once: a list of them would have to be copied in the end
            images = fitted.new_empty((len(samples), *fitted.shape[1:]))
        images[len(labels)] = fitted[0]
        labels.append(label)
    if images is None:
        raise DataError(f"{shown(part)}: none of its {len(samples)} images can be read")
    log.info("read %d images of %s, left out %d", len(labels), shown(part), len(skipped))
    return LabelledImages(images[: len(labels)], torch.tensor(labels)), tuple(skipped)

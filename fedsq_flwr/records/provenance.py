"""Where the numbers of a run come from: when, by which command and commit, on what machine, from which data."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import fedsq_flwr
from fedsq_flwr.data import FederatedData, LabelledImages, ServerData
from fedsq_flwr.data.pipelines import PreparedImages
from fedsq_flwr.invocation import command_line
from fedsq_flwr.records.summary import Provenance
from fedsq_flwr.settings.run import RunSettings

_CHUNK = 1024  # images that are looked at together
_GIT_SECONDS = 10.0


def provenance_of(settings: RunSettings, task: ServerData) -> Provenance:
    """Return where the numbers of a run that ends now come from.

    Parameters
    ----------
    settings : RunSettings
        The run's.
    task : ServerData
        Its data.
    """
    commit, clean = commit_of(Path(fedsq_flwr.__file__).parent)
    return Provenance(
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=command_line(),
        commit=commit,
        clean=clean,
        processor=_processor(),
        cores=os.cpu_count(),
        data=settings.data.title,
        data_sha256=data_digest(task),
    )


def commit_of(package: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the checkout that a package lies in, and whether the checkout is as committed.

    Both are None where git tracks no such package: one that is installed may lie in another project's checkout.
    """

    def git(*words: str) -> list[str]:
        command = ["git", "--no-optional-locks", "-C", str(package), *words]
        told = subprocess.run(  # noqa: S603 - a fixed command
            command, check=True, capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS
        )
        return told.stdout.splitlines()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        oid, *changes = git("status", "--porcelain=v2", "--branch", "--untracked-files=all", ".", ":/conf")
    except (OSError, subprocess.SubprocessError, ValueError):  # no git, no checkout, or somebody else's
        return None, None
    commit = oid.removeprefix("# branch.oid ")
    if commit == "(initial)":
        return None, None
    return commit, all(line.startswith("# ") for line in changes)


def data_digest(task: ServerData) -> str | None:
    """Return the sha256 of all samples of a task, whatever their partition; None where the server has no sample.

    A sample is its image, as the run holds it, and its label. The digests of the samples are sorted, so that their
    order does not matter.
    """
    sets = [task.validation, task.test]
    if isinstance(task, FederatedData):
        sets += [*task.train, *task.held_out]
    samples = sorted(digest for each in sets for digest in _sample_digests(each))
    return hashlib.sha256(b"".join(samples)).hexdigest() if samples else None


def _sample_digests(samples: LabelledImages) -> Iterator[bytes]:
    images = samples.images
    for start in range(0, len(samples), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        held = images.stored(chunk) if isinstance(images, PreparedImages) else images[chunk]
        pixels = held.detach().cpu().contiguous().numpy()
        for image, label in zip(pixels, samples.labels[chunk].tolist(), strict=True):
            yield hashlib.sha256(b"%d|" % label + image.tobytes()).digest()


def _processor() -> str | None:
    """Return the processor's name; Python knows the architecture only on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None) or platform.processor() or platform.machine() or None

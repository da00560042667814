"""Damage to the files of a finished run: whoever reads them next says so in one line, or has what was there.

Usage: ``python -m scripts.soak.files [--count N] [--seed N]``. Each time one or two files of a copy of the run are
cut, flipped, replaced, swapped or turned into something else. Then the run is resumed, shown, compared, restored for
predictions, started from and reused, as the commands do. Two things are faults: an error that is not one line, and a
result other than that of the whole run.
"""

import argparse
import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsq_flwr.assembly.parts import Parts, load_parts
from fedsq_flwr.data import read_partition
from fedsq_flwr.errors import FedSQError
from fedsq_flwr.executors.inprocess import run_inprocess
from fedsq_flwr.models import locate_weights, state_digest
from fedsq_flwr.records.history import HISTORY, History, line_text
from fedsq_flwr.records.lock import hold
from fedsq_flwr.records.restoring import restore
from fedsq_flwr.records.status import run_status
from fedsq_flwr.records.summary import read_failure, read_summary
from fedsq_flwr.report import page as page_module
from fedsq_flwr.report import write_report
from fedsq_flwr.report.comparison import collect, compare
from fedsq_flwr.report.comparison.writing import markdown, runs_csv
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings

SMALL = (
    *("executor=inprocess", "executor.workers=1", "silos=2", "rounds=2", "data.limit=120", "data.test_limit=30"),
    *("backbone.weights=random", "backbone.image_size=8", "partition.alpha=5", "method=fedadam"),
)
_LONGEST_LINE, _SLOWEST, _LARGEST = 1000, 60.0, 2**30

CONTENTS: tuple[bytes, ...] = (
    *(b"", b"null\n", b"[]\n", b"{}\n", b"3\n", b'"text"\n', b"\xff\xfe\x00{}\n", b"\x00" * 100 + b"\n", b"\n\n\n"),
    *(b"[" * 50_000 + b"\n", b'{"a":' * 50_000 + b"\n", b'{"round": ' + b"9" * 5_000 + b"}\n", b"a: &a [*a, *a]\n"),
    *(b'{"round": "\\ud800"}\n', b"- " * 20_000 + b"\n", b"PK\x03\x04" + b"x" * 100, b"\x80\x04]\x94."),
)
VALUES = (None, True, -1, 0, 0.5, 10**30, 10**400, 1e308, float("nan"), float("inf"), "", "text", [], {}, "a\nb")


@dataclass
class Whole:
    """A finished run, another one, and what must come out of each use of the first."""

    place: Path
    donor: Path
    settings: RunSettings
    parts: Parts
    expected: dict[str, Any]


def make_runs(work: Path) -> Whole:
    """Run two federations that differ in their seed."""
    settings = [compose_settings([*SMALL, f"seed={seed}", f"output={work / f'run-{seed}'}"]) for seed in (0, 1)]
    for each in settings:
        run_inprocess(each, lambda _: None)
    place, donor = (Path(each.output) for each in settings)
    (place / "failure.json").write_text('{"error": "of an earlier attempt"}\n')
    (place / "trackers.json").write_text('{"one": {"run": "x", "round": 2}}\n')
    whole = Whole(place, donor, settings[0], load_parts(settings[0]), {})
    copy = shutil.copytree(place, work / "whole")
    whole.expected = {name: use(copy, whole) for name, use in USES.items()}
    shutil.rmtree(copy)
    return whole


def resume(place: Path, whole: Whole) -> Any:
    """Resume the run, whose rounds are all there; return all its numbers."""
    with hold(place):
        run_inprocess(whole.settings.changed(output=str(place), resume=True), lambda _: None, whole.parts)
    summary = read_summary(place).model_dump()
    return [
        *map(line_text, History(place / HISTORY).read()),
        str({**summary, "wall_seconds": None}),
        model(place, whole),
    ]


def model(place: Path, _: Whole) -> Any:
    """Restore the best and the last model; return all that predictions depend on."""
    found = []
    for name in ("best", "last"):
        restored = restore(place / "checkpoints" / name)
        backbone = restored.settings.backbone
        inputs = backbone.image_size, backbone.in_channels, backbone.mean, backbone.std
        found.append([state_digest(restored.model.state_dict()), restored.round, restored.class_names, inputs])
        restored.network(None)
    return str(found)


def show(place: Path, _: Whole) -> None:
    """Show the run, and compare it with others."""
    comparison = compare(collect([place]))
    markdown(comparison)
    runs_csv(comparison)
    write_report(place)


def look(place: Path, whole: Whole) -> None:
    """Look how far the run came, as a sweep does."""
    read_failure(place)
    run_status(place, whole.settings)


def start_from(place: Path, whole: Whole) -> None:
    """Take the run's model and its partition for another run."""
    locate_weights(whole.settings.backbone.name, str(place))
    read_partition(place)


#: Resuming comes last: it mends files.
USES: dict[str, Callable[[Path, Whole], Any]] = {
    "predict": model,
    "report": show,
    "status": look,
    "start from": start_from,
    "resume": resume,
}


def _is_damageable(path: Path) -> bool:
    """Tell whether a path is a file of the run that is not damaged beyond reading yet."""
    return path.is_file() and not path.name.startswith(".") and path.stat().st_size < _LARGEST


def damage(draw: random.Random, place: Path, donor: Path) -> str:
    """Damage a file of the run in ``place``, and say how."""
    files = sorted(path for path in place.rglob("*") if _is_damageable(path))
    path = draw.choice(files)
    how = draw.choice(list(DAMAGES))
    DAMAGES[how](draw, path, donor / path.relative_to(place))
    return f"{path.relative_to(place)}: {how}"


def _cut(draw: random.Random, path: Path, _: Path) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size + 1))


def _flip(draw: random.Random, path: Path, _: Path) -> None:
    content = bytearray(path.read_bytes())
    for _number in range(draw.choice((1, 1, 1, 4))):
        if content:
            # Half of them in the beginning, where the headers are.
            content[draw.randrange(min(len(content), draw.choice((2_000, len(content)))))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _replace(draw: random.Random, path: Path, _: Path) -> None:
    path.write_bytes(draw.choice(CONTENTS))


def _insert(draw: random.Random, path: Path, _: Path) -> None:
    content = path.read_bytes()
    at = draw.choice((0, len(content), draw.randrange(len(content) + 1)))
    path.write_bytes(content[:at] + draw.choice(CONTENTS)[:200] + content[at:])


def _remove(_draw: random.Random, path: Path, _: Path) -> None:
    path.unlink()


def _foreign(_draw: random.Random, path: Path, other: Path) -> None:
    if other.is_file():
        shutil.copy(other, path)


def _swap(draw: random.Random, path: Path, _: Path) -> None:
    root = next(parent for parent in path.parents if (parent / "checkpoints").exists())
    other = draw.choice(sorted(each for each in root.rglob("*") if _is_damageable(each)))
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def _lines(draw: random.Random, path: Path, _: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    if lines:
        at = draw.randrange(len(lines))
        change = draw.randrange(4)
        if change == 0:
            del lines[at]
        elif change == 1:
            lines.insert(at, lines[at])
        elif change == 2:
            draw.shuffle(lines)
        else:
            lines[at] = lines[at].replace(b"\n", b"\r\n")
    path.write_bytes(b"".join(lines))


def _value(draw: random.Random, path: Path, other: Path) -> None:
    """Change a value of a file of JSON; flip other files."""
    try:
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        at = draw.randrange(len(lines))
        content = json.loads(lines[at])
    except ValueError:
        return _flip(draw, path, other)
    level, key = content, None
    while isinstance(level, dict | list) and level:
        inner, key = level, draw.choice(list(level)) if isinstance(level, dict) else draw.randrange(len(level))
        level = inner[key]
        if draw.random() < 0.3:
            break
    if key is not None:
        inner[key] = draw.choice(VALUES)
    lines[at] = json.dumps(content)
    path.write_text("\n".join(lines) + "\n")
    return None


def _turn(draw: random.Random, path: Path, _: Path) -> None:
    path.unlink()
    kind = draw.randrange(5)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 2**40)


DAMAGES: dict[str, Callable[[random.Random, Path, Path], None]] = {
    "cut": _cut,
    "flipped": _flip,
    "other content": _replace,
    "inserted": _insert,
    "removed": _remove,
    "of another run": _foreign,
    "swapped": _swap,
    "other lines": _lines,
    "another value": _value,
    "no file": _turn,
}


def faults_of(whole: Whole, copy: Path, told: Counter[str]) -> list[str]:
    """Use a damaged copy in all ways, and return what is not as it should be."""
    found = []
    for name, use in USES.items():
        begun = time.monotonic()
        try:
            given = use(copy, whole)
            told[f"{name}: whole"] += 1
            if given != whole.expected[name]:
                found.append(f"{name}: another result, in silence")
        except FedSQError as error:
            told[f"{name}: one line"] += 1
            if "\n" in str(error) or len(str(error)) > _LONGEST_LINE:
                found.append(f"{name}: not one line: {str(error)[:300]!r}")
        except Exception:  # noqa: BLE001 - what is looked for
            found.append(f"{name}: {traceback.format_exc()}")
        if time.monotonic() - begun > _SLOWEST:
            found.append(f"{name}: took {time.monotonic() - begun:.0f} s")
    return found


def soak(whole: Whole, work: Path, count: int, seed: int, told: Counter[str]) -> list[str]:
    """Damage the run ``count`` times, and return the faults that came up, each with the damage."""
    draw, found = random.Random(seed), []
    for number in range(count):
        copy = shutil.copytree(whole.place, work / f"copy-{number}")
        damages = [damage(draw, copy, whole.donor)]
        if draw.random() < 0.2:
            damages.append(damage(draw, copy, whole.donor))
        for fault in faults_of(whole, copy, told):
            found.append(f"{number}: {'; '.join(damages)}: {fault}")
            print(found[-1], flush=True)
        shutil.rmtree(copy)
        if (number + 1) % 100 == 0:
            print(f"{number + 1} damages, {len(found)} faults", flush=True)
    return found


def main() -> int:
    """Soak; print the faults, and how often what was told."""
    parser = argparse.ArgumentParser(prog="soak.files", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1500, help="damages (default: 1500)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    print(f"seed {chosen.seed}, {chosen.count} damages")
    told: Counter[str] = Counter()
    page_module.__dict__["_figures"] = lambda _: []  # matplotlib would take most of the time
    with tempfile.TemporaryDirectory() as made:
        found = soak(make_runs(Path(made)), Path(made), chosen.count, chosen.seed, told)
    print(", ".join(f"{name} {count}" for name, count in sorted(told.items())))
    print(f"{len(found)} faults")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

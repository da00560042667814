"""Run the same configurations with two checkouts and compare every number of every round, and the final weights.

Usage: ``scripts/same-numbers OTHER_CHECKOUT [--only NAME ...] [--work FOLDER]``. Each checkout must be installed in
its own ``.venv``. Timings, paths and versions are left out: these may differ between two runs of one
version.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.same_numbers.configurations import CONFIGURATIONS, Configuration, in_words_of_0_1, make_folder

HERE = Path(__file__).parents[2]
#: Fields of a line of the history and of the summary that are no result of the training.
LEFT_OUT = frozenset({"seconds", "train_seconds", "exchange_seconds", "wall_seconds", "versions", "weights"})


def main() -> int:
    """Compare, and print a line for each configuration."""
    parser = argparse.ArgumentParser(prog="same-numbers", description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path, metavar="OTHER_CHECKOUT")
    parser.add_argument("--only", nargs="*", metavar="NAME", help=f"of {', '.join(CONFIGURATIONS)}")
    parser.add_argument("--work", type=Path, help="keep the runs here; those of OTHER_CHECKOUT are reused")
    chosen = parser.parse_args()
    names = chosen.only or list(CONFIGURATIONS)
    with tempfile.TemporaryDirectory() as made:
        work = (chosen.work or Path(made)).absolute()
        folder = make_folder(work / "images")
        differing = 0
        for name in names:
            theirs = run(chosen.other.absolute(), CONFIGURATIONS[name], work / "other" / name, folder, old=True)
            ours = run(HERE, CONFIGURATIONS[name], work / "this" / name, folder, old=False)
            found = list(differences(results(theirs), results(ours)))
            numbers = sum(1 for _ in leaves(results(ours)))
            print(f"{name}: {f'{len(found)} differences' if found else 'equal'} ({numbers} numbers)", flush=True)
            for line in found[:10]:
                print(f"    {line}")
            differing += bool(found)
    return min(differing, 1)


def run(checkout: Path, configuration: Configuration, output: Path, folder: Path, *, old: bool) -> Path:
    """Run a configuration with a checkout, unless it was run before, and return the run's directory."""
    if (output / "summary.json").exists():
        if old:
            return output
        raise SystemExit(f"{output}: holds a run of this version; remove it")
    words = [word.replace("FOLDER", str(folder)) for word in configuration.overrides]
    if old and not (checkout / "conf").is_dir():
        words = [in_words_of_0_1(word) for word in words]
    command = [str(checkout / ".venv/bin/fedsq"), *configuration.command, *words, f"output={output}"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with status {done.returncode}: {done.stderr.strip()}")
    return output


def results(directory: Path) -> dict[str, Any]:
    """Return all that a run found: its rounds, its summary, and the digests of its checkpoints' tensors."""
    lines = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    summary = json.loads((directory / "summary.json").read_text())
    return {
        "rounds": {str(line["round"]): line for line in lines},
        "summary": summary,
        "checkpoints": {name: tensors(directory / "checkpoints" / name) for name in ("last", "best")},
    }


def tensors(checkpoint: Path) -> dict[str, list[float]]:
    """Return all values of a checkpoint's files: safetensors, read without torch's help."""
    from safetensors.numpy import load_file

    return {
        f"{file.name}/{name}": values.ravel().tolist()
        for file in sorted(checkpoint.glob("*.safetensors"))
        for name, values in load_file(file).items()
    }


def leaves(found: Mapping[str, Any] | list[Any] | Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value with its path."""
    if isinstance(found, Mapping):
        for name, value in found.items():
            if name not in LEFT_OUT:
                yield from leaves(value, f"{path}/{name}")
    elif isinstance(found, list):
        for place, value in enumerate(found):
            yield from leaves(value, f"{path}/{place}")
    else:
        yield path, found


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each value that one side lacks or has otherwise."""
    before, now = dict(leaves(theirs)), dict(leaves(ours))
    for path in [*before, *(path for path in now if path not in before)]:
        if path not in now:
            yield f"{path}: {before[path]} is gone"
        elif path not in before:
            yield f"{path}: {now[path]} is new"
        elif before[path] != now[path]:
            yield f"{path}: {before[path]} -> {now[path]}"


if __name__ == "__main__":
    sys.exit(main())

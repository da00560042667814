"""Runs that take a second or two: few samples, random weights. What a run leaves behind is looked at."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.data import DataSource, load_source
from fedsq_flwr.settings.data import DataSettings

#: A small federation with random weights; all samples that are not needed for training are for validation.
SMALL = (
    "executor=inprocess",
    "silos=3",
    "rounds=2",
    "validation_fraction=0.9",
    "backbone.weights=random",
    "backbone.image_size=8",
    "partition.alpha=5",
    "learning_rate=0.02",
)


@pytest.fixture
def pages() -> None:
    """Runs of this test draw their report, which takes a fifth of their time; those of other tests do not."""


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Run `fedsq run` with small settings, 200 digits and overrides; return the run's directory."""
    monkeypatch.chdir(tmp_path)
    few_digits(monkeypatch)
    without_pages(request, monkeypatch)
    return partial(run_in, tmp_path, (*SMALL, "validation_fraction=0.2"))


@pytest.fixture
def run_all_digits(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """As `run`, with all digits, as a process of its own would see them."""
    monkeypatch.chdir(tmp_path)
    without_pages(request, monkeypatch)
    return partial(run_in, tmp_path, SMALL)


def run_in(parent: Path, small: tuple[str, ...], *overrides: str, name: str = "run", status: int = 0) -> Path:
    """Run; where ``overrides`` choose a partition, ``small`` says nothing about that of the defaults."""
    if any(override.startswith("partition=") for override in overrides):
        small = tuple(word for word in small if not word.startswith("partition."))
    assert main(["run", *small, f"output={parent / name}", *overrides]) == status
    return parent / name


def without_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pages" not in request.fixturenames:
        for module in ("job", "apps.callbacks"):
            monkeypatch.setattr(f"fedsq_flwr.{module}.report_run", lambda *_: None)


def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(data: DataSettings, cache: Path) -> DataSource:
        whole = load_source(data, cache)
        return replace(whole, pool=whole.pool.subset(range(200)), test=whole.test.subset(range(40)))

    monkeypatch.setattr("fedsq_flwr.assembly.data.load_source", load)


def read_summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


def read_history(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]

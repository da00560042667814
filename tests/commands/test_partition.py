"""`fedsq partition`: what a run would share out, without one."""

import json
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from tests.data.folders import make
from tests.endtoend.conftest import SMALL as SMALL_DIRICHLET
from tests.endtoend.conftest import few_digits, run_in

SMALL = tuple(word for word in SMALL_DIRICHLET if not word.startswith("partition."))


@pytest.fixture(autouse=True)
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few_digits(monkeypatch)


def test_it_prints_the_counts_and_leaves_nothing_behind(tmp_path, capsys) -> None:
    assert main(["partition", *SMALL, "validation_fraction=0.2", "partition=shards", "silos=4"]) == 0
    told = capsys.readouterr().out
    assert [line.split()[-1] for line in told.splitlines()[1:5]] == ["40"] * 4
    assert told.splitlines()[-1] == "2 shards a silo, seed 0: 40 samples a silo"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_it_draws_the_same_picture_each_time(tmp_path, suffix: str, magic: bytes) -> None:
    for name in ("a", "b"):
        assert main(["partition", *SMALL, "validation_fraction=0.2", "--output", f"{name}.{suffix}"]) == 0
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert first.startswith(magic)


def test_what_it_keeps_is_what_a_run_would_and_what_a_run_takes(tmp_path, capsys) -> None:
    small = (*SMALL, "validation_fraction=0.2")
    assert main(["partition", *small, "--output", "kept.json"]) == 0
    assert capsys.readouterr().out.endswith("\nkept.json\n")
    drawn = run_in(tmp_path, small, "rounds=1", name="drawn")
    taken = run_in(tmp_path, small, "rounds=1", "partition=file", "partition.file=kept.json", name="taken")
    kept, first, second = (
        json.loads(path.read_text())
        for path in (tmp_path / "kept.json", drawn / "partition.json", taken / "partition.json")
    )
    assert kept == first
    assert second == {**first, "file": str(tmp_path / "kept.json")}


def test_what_is_wrong_is_one_line(capsys) -> None:
    assert main(["partition", *SMALL, "--output", "picture.gif"]) == 1
    assert capsys.readouterr().err == "fedsq: --output=picture.gif: must end in .json, .png, .svg\n"
    assert main(["partition", *SMALL, "partition.alpha=0"]) == 1
    assert capsys.readouterr().err.startswith("fedsq: partition.alpha=0: ")


def test_names_of_classes_are_no_markup(tmp_path, capsys) -> None:
    make(tmp_path / "images", {f"{name}/{place}.png": 1 for name in ("[b]", "<i>") for place in range(20)})
    folder = ("data=imagefolder", f"data.path={tmp_path}/images", "validation_fraction=0.2")
    assert main(["partition", *SMALL, *folder, "partition.min_size=2", "silos=2"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["silo", "<i>", "[b]", "samples"]

"""What is missing or another run's, when a run is to go on: one line that says so, and nothing is written over."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedsq_flwr.errors import ConfigurationError, FedSQError
from fedsq_flwr.models.weights import read_weights, save_weights
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.status import BEST, LAST, RunStatus, run_status
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from tests.records.test_directory import TASK, round_of


def settings_in(place: Path, **changes: object) -> RunSettings:
    words = ["rounds=3", "silos=2", "backbone.mean=[0.5]", "backbone.std=[0.5]", "backbone.weights=random"]
    return compose_settings([*words, "method=fedavg", f"output={place}"]).changed(**changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds, of which the second is the best."""
    place = tmp_path_factory.mktemp("made") / "run"
    leave(place, 1.0)
    return place


def leave(place: Path, value: float, rounds: int = 3) -> None:
    directory = RunDirectory(place)
    directory.open(settings_in(place), TASK)
    for number in range(1, rounds + 1):
        directory.keep(round_of(number), {"w": torch.full((8,), value)}, None, {"m": torch.full((8,), value)})


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


def content(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def lines_of(run: Path) -> list[str]:
    return (run / "history.jsonl").read_text().splitlines(keepends=True)


def write_lines(run: Path, lines: list[str]) -> None:
    (run / "history.jsonl").write_text("".join(lines))


def another(run: Path, rounds: int = 3) -> Path:
    place = run.parent / "another"
    leave(place, 2.0, rounds)
    return place


def change_round(run: Path, number: int, **fields: object) -> None:
    lines = lines_of(run)
    lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), **fields}) + "\n"
    write_lines(run, lines)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no history": (lambda run: (run / "history.jsonl").unlink(), "history.jsonl holds round 0, but"),
    "an empty history": (lambda run: write_lines(run, []), "history.jsonl holds round 0, but"),
    "a history cut at a line": (lambda run: write_lines(run, lines_of(run)[:1]), "history.jsonl holds round 1, but"),
    "a history cut within a line": (
        lambda run: write_lines(run, [*lines_of(run)[:1], lines_of(run)[1][:9]]),
        "history.jsonl holds round 1, but",
    ),
    "a history without its first round": (lambda run: write_lines(run, lines_of(run)[1:]), "lacks round 1"),
    "a history without its second round": (lambda run: write_lines(run, lines_of(run)[::2]), "lacks round 2"),
    "another accuracy of an earlier round": (
        lambda run: change_round(run, 1, accuracy=0.51),
        "history.jsonl was changed after round 3 was kept",
    ),
    "another accuracy of the last round": (
        lambda run: change_round(run, 3, accuracy=0.51),
        "history.jsonl was changed after round 3 was kept",
    ),
    "a history that is a loop of links": (
        lambda run: ((run / "history.jsonl").unlink(), (run / "history.jsonl").symlink_to("history.jsonl")),
        "history.jsonl",
    ),
    "no last checkpoint": (lambda run: (run / LAST).unlink(), "last/quantitative.safetensors is missing"),
    "no folder of the last checkpoint": (lambda run: shutil.rmtree(run / "checkpoints/last"), "is missing"),
    "no checkpoints": (lambda run: shutil.rmtree(run / "checkpoints"), "is missing"),
    "neither history nor last checkpoint": (
        lambda run: ((run / "history.jsonl").unlink(), shutil.rmtree(run / "checkpoints/last")),
        "is missing",
    ),
    "no best checkpoint": (lambda run: (run / BEST).unlink(), "best/quantitative.safetensors does not exist"),
    "the last checkpoint for the best": (
        lambda run: shutil.copy(run / LAST, run / BEST),
        "best/quantitative.safetensors is of round 3, but the best is round 2",
    ),
    "the best checkpoint for the last": (
        lambda run: shutil.copy(run / BEST, run / LAST),
        "history.jsonl holds round 3, but the checkpoint to resume from is of round 2",
    ),
    "another run's last checkpoint": (
        lambda run: (
            change_round(run, 3, seconds=7.5),
            shutil.copytree(another(run) / "checkpoints/last", run / "checkpoints/last", dirs_exist_ok=True),
        ),
        "history.jsonl was changed after round 3",
    ),
    "another run's memory of the server": (
        lambda run: shutil.copy(another(run) / "checkpoints/last/server-3.safetensors", run / "checkpoints/last"),
        "server-3.safetensors is not the one that was written with",
    ),
    "no memory of the server": (
        lambda run: (run / "checkpoints/last/server-3.safetensors").unlink(),
        "server-3.safetensors does not exist",
    ),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_run_that_lacks_something_does_not_go_on_in_silence(run: Path, damage, told: str) -> None:
    damage(run)
    before = content(run)
    with pytest.raises(FedSQError) as caught:
        RunDirectory(run).open(settings_in(run, rounds=4, resume=True), TASK)
    assert told in str(caught.value)
    assert str(run) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert content(run) == before


@pytest.mark.parametrize("left", ["history.jsonl", "summary.json", LAST, BEST])
def test_what_took_work_is_not_written_over(made: Path, tmp_path: Path, left: str) -> None:
    place = tmp_path / "run"
    (place / left).parent.mkdir(parents=True)
    (place / left).write_text("x")
    for check in (RunDirectory(place).check, lambda settings: RunDirectory(place).open(settings, TASK)):
        with pytest.raises(ConfigurationError, match="holds a run already"):
            check(settings_in(place))


def test_a_round_whose_line_was_not_written_is_resumed_by_a_sweep(run: Path) -> None:
    (run / "history.jsonl").unlink()
    assert run_status(run, settings_in(run, rounds=4)) is RunStatus.BROKEN_OFF


def test_a_checkpoint_of_version_0_1_has_no_digest_of_its_metadata(run: Path) -> None:
    state, metadata = read_weights(run / LAST)
    kept = {
        name: value for name, value in metadata.items() if name in ("line", "server", "mean", "std", "input_size")
    }
    save_weights(run / LAST, state, kept)
    assert RunDirectory(run).open(settings_in(run, rounds=4, resume=True), TASK).round == 4

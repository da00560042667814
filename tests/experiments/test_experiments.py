"""The planned experiments: valid settings, tuned alike, one run at a time, kept as they end, and gone on with."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fedsq_flwr.settings.composition import compose_settings
from scripts.experiments import __main__ as command
from scripts.experiments import plans, runner
from scripts.experiments.plans import PLANS, Run, best_of, reported
from scripts.experiments.results import RESULTS, read_results, table
from scripts.experiments.runner import StoppedError, next_run, run_plans, words_of

#: What `fedsq run` leaves, by a script in its place; with `rounds=9` it fails, with `rounds=8` it is stopped.
STAND_IN = """
import json, os, signal, sys
from pathlib import Path
words = dict(word.split("=", 1) for word in sys.argv[1:])
if words["rounds"] == "9":
    sys.exit("fedsq: the round failed")
if words["rounds"] == "8":
    os.kill(os.getpid(), signal.SIGTERM)
directory = Path(words["output"].strip("'"))
(directory / "checkpoints").mkdir(parents=True)
found = {"averaging": {"relative": 0.5}, "drift": {"mean": 2.0}, "flip_rate": 0.1,
         "layers": [{"layer": "relu", "flip_rate": 0.1}]}
lines = [{"accuracy": a, "test_accuracy": a, "diagnostics": found} for a in (0.25, 0.75)]
(directory / "history.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
names = ("test_accuracy", "final_accuracy", "silo_accuracy_worst", "fingerprint", "weights_sha256", "versions")
summary = {**dict.fromkeys(names, 0.75), "best_accuracy": 0.75, "rounds_to_best": 2, "wall_seconds": 60.0}
(directory / "summary.json").write_text(json.dumps(summary))
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(textwrap.dedent(STAND_IN))
    monkeypatch.setattr(runner, "FEDSQ", (sys.executable, str(script)))


def run(seed: int, rounds: int = 2) -> Run:
    return Run({"experiment": "digits", "seed": seed, "rounds": rounds})


def test_what_is_missing_is_run_in_its_order_and_each_line_is_kept_as_it_ends(tmp_path: Path) -> None:
    run_plans([lambda _: [run(0), run(1, rounds=9)], lambda _: [run(0), run(2)]], tmp_path, hours=1)
    found = read_results(tmp_path / RESULTS)
    assert list(found) == [run(0).name, run(1, rounds=9).name, run(2).name]
    first, failed, _ = found.values()
    assert failed["error"] == "fedsq: the round failed"
    assert (first["mean"], first["best"], first["last"], first["gap"], first["flips"]) == (
        0.5,
        0.75,
        0.75,
        [0.5] * 2,
        0.1,
    )
    assert first["minutes"] == 1.0
    assert not (tmp_path / run(0).name / "checkpoints").exists()
    before = (tmp_path / RESULTS).read_text()
    run_plans([lambda _: [run(0), run(1, rounds=9)]], tmp_path, hours=1)
    assert (tmp_path / RESULTS).read_text() == before
    assert "| 2, 1 failed | 0.500 (0.000) | 0.750 (0.000) |" in table(
        [first, {**failed, "settings": first["settings"]}, found[run(2).name]]
    )


def test_a_run_that_was_stopped_has_no_line_and_is_the_next(tmp_path: Path) -> None:
    planned = [run(0), run(1, rounds=8), run(2)]
    with pytest.raises(StoppedError, match="was stopped; the same command goes on"):
        run_plans([lambda _: planned], tmp_path, hours=1)
    assert list(read_results(tmp_path / RESULTS)) == [run(0).name]
    assert next_run([lambda _: planned], tmp_path) == planned[1]
    assert "resume=true" in words_of(planned[1], tmp_path)


def test_no_run_is_begun_that_exceeds_the_hours_of_all_starts(tmp_path: Path, capsys) -> None:
    planned = [run(seed) for seed in range(3)]
    run_plans([lambda _: planned], tmp_path, hours=1.6 / 60)
    assert "2 minutes are used; " in capsys.readouterr().out
    assert list(read_results(tmp_path / RESULTS)) == [run(0).name, run(1).name]


def test_the_best_candidate_is_that_of_the_best_accuracy_then_of_the_mean_and_none_that_failed() -> None:
    candidates = plans.at_rates({"experiment": "digits"}, (0.1, 0.2, 0.4))
    assert best_of(candidates, [0], {}) == candidates[0]

    def found(*figures: dict) -> dict:
        return {Run({**c, "seed": 0}).name: each for c, each in zip(candidates, figures, strict=True)}

    lower, higher = {"best": 0.5, "mean": 0.4}, {"best": 0.5, "mean": 0.45}
    assert best_of(candidates, [0], found(lower, higher, {"error": "diverged"})) == candidates[1]
    assert best_of(candidates, [0], found(lower, higher, {"best": 0.6, "mean": 0.1})) == candidates[2]
    assert best_of(candidates, [0, 1], found(lower, higher, lower)) == candidates[0]  # seed 1 is missing


def test_a_seed_without_a_partition_is_replaced_by_the_next() -> None:
    arms = plans.at_rates({"experiment": "digits"}, (0.1, 0.2))
    assert reported(arms, {}) == list(range(10, 20))
    failed = {Run({**arms[1], "seed": seed}).name: {"error": "no draw gave every silo enough"} for seed in (12, 20)}
    diverged = {Run({**arms[0], "seed": 13}).name: {"error": "diverged"}}
    assert reported(arms, failed | diverged) == [10, 11, *range(13, 20), 21]


@pytest.mark.parametrize("name", PLANS)
def test_planned_runs_are_valid_and_no_two_have_one_name(name: str, tmp_path: Path) -> None:
    planned = PLANS[name]({})
    assert len({each.name for each in planned}) == len(planned)
    assert all(len(each.name) < 250 for each in planned)
    alone = {Run({**each.settings, "seed": 0, "learning_rate": 0.1}).name: each for each in planned if each.settings}
    (tmp_path / Run(plans.PRETRAINING).name).mkdir()
    for each in alone.values():
        settings = compose_settings(words_of(each, tmp_path))
        assert settings.executor.name == "inprocess"
        assert settings.resume


def test_lists_and_tables_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["experiments", "list", "axes", "--output", str(tmp_path)])
    before = signal.getsignal(signal.SIGTERM)
    assert command.main() == 0
    assert signal.getsignal(signal.SIGTERM) is before
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("axes: 108 runs, 0 ended; the others take ")
    assert second.endswith("min experiment=digits,partition.alpha=0.1,method=fedsq,learning_rate=0.1,seed=0")


def test_the_runner_ends_its_run_when_it_is_ended(tmp_path: Path) -> None:
    code = (
        "import sys, signal, threading, os, time\n"
        "from pathlib import Path\n"
        "from scripts.experiments import runner, __main__ as command\n"
        "runner.FEDSQ = (sys.executable, '-c', 'import time; time.sleep(60)')\n"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()\n"
        f"sys.argv = ['experiments', 'run', 'axes', '--output', {str(tmp_path)!r}]\n"
        "sys.exit(command.main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=runner.HERE, timeout=30, check=False)
    assert ended.returncode == 143
    assert json.dumps(read_results(tmp_path / RESULTS)) == "{}"

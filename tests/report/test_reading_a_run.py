"""Reading a run's directory."""

import html
import json
import math

import pytest

from fedsq_flwr.errors import ConfigurationError, DataError
from fedsq_flwr.privacy.accounting import Mechanism
from fedsq_flwr.privacy.ledger import Ledger
from fedsq_flwr.report import read_run
from fedsq_flwr.report.page import render


def fails(directory, *words, error=DataError):
    """Reading fails with one line that has all these words."""
    with pytest.raises(error) as caught:
        read_run(directory)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_reads_what_a_run_wrote(make_run):
    files = make_run(rounds=10, silos=10)
    files.drop(3, 4, "weight nan")
    run = read_run(files.write())

    assert run.finished
    assert run.notes == ()
    assert run.settings.method.name == "fedsq"
    assert [line.round for line in run.rounds] == list(range(1, 11))
    assert run.rounds[2].dropped[0].silo == 4
    assert run.rounds[2].replies == 9
    assert run.rounds[4].silo_accuracies[3] == files.history[4]["silo_accuracies"]["3"]
    assert run.summary.best_accuracy == files.summary["best_accuracy"]
    assert run.summary.per_silo[7].train == files.summary["per_silo"][7]["train"]
    assert run.summary.evaluated_silos[0].accuracy == files.summary["silo_accuracy_worst"]
    assert run.partition.counts[2] == tuple(files.partition["counts"][2])


def test_a_run_that_died_tells_what_its_servers_noise_was_spent_on(make_run):
    pytest.importorskip("dp_accounting", reason="the extra privacy is not installed")
    files = make_run()
    files.summary = None
    ledger = Ledger(files.directory / "privacy")
    spent = ledger.charge("silo", Mechanism(3.0, 0.5, 10), 4, delta=1e-5, limit=99.0)
    run = read_run(files.write())
    assert run.summary.privacy == spent
    assert f"epsilon {spent.epsilon:.3g}" in render(run, [], [])
    assert "unit silo, delta 1e-05, by the server's noise" in html.unescape(render(run, [], []))


def test_a_run_that_died_is_told_from_its_history(make_run):
    files = make_run()
    whole = read_run(files.write())
    files.stop_after(4)
    (files.directory / "summary.json").unlink()
    (files.directory / "failure.json").write_text('{"error": "round 5: 0 usable replies"}')
    run = read_run(files.write())

    assert not run.finished
    assert run.failure == "round 5: 0 usable replies"
    assert whole.failure is None
    best = max(files.history, key=lambda line: line["accuracy"])
    assert run.best_round == run.summary.rounds_to_best == best["round"]
    assert run.summary.test_accuracy == best["test_accuracy"]
    assert run.summary.final_accuracy == files.history[-1]["test_accuracy"]
    assert run.summary.bytes_up == sum(line["bytes_up"] for line in files.history)
    assert run.summary.wall_seconds == pytest.approx(sum(line["seconds"] for line in files.history))
    # Silos as the summary has them, but for the accuracies of another round.
    assert [(silo.silo, silo.train, silo.held_out) for silo in run.summary.per_silo] == [
        (silo.silo, silo.train, silo.held_out) for silo in whole.summary.per_silo
    ]


def test_the_first_of_equally_good_rounds_is_the_best(make_run):
    files = make_run(rounds=4)
    files.stop_after(4)
    for line in files.history[1:]:
        line["accuracy"] = 0.9
    assert read_run(files.write()).best_round == 2


def test_the_summary_of_a_shorter_run_is_not_the_summary_of_this_one(make_run):
    files = make_run(rounds=10)
    files.summary["rounds"] = 6  # resumed for ten rounds, died before it could write
    files.history = files.history[:8]
    run = read_run(files.write())
    assert not run.finished
    assert run.summary.best_accuracy == max(line["accuracy"] for line in files.history)


def test_half_a_last_line_is_left_out(make_run):
    directory = make_run(rounds=5).write()
    history = directory / "history.jsonl"
    history.write_text(history.read_text()[:-40])
    run = read_run(directory)
    assert [line.round for line in run.rounds] == [1, 2, 3, 4]
    assert not run.finished
    assert "cut short" in run.notes[0]


def test_a_round_done_again_counts_once(make_run):
    files = make_run(rounds=3)
    files.history.append({**files.history[2], "accuracy": 0.123})
    run = read_run(files.write())
    assert len(run.rounds) == 3
    assert run.rounds[2].accuracy == 0.123


def test_null_and_nan_are_told_apart(make_run):
    files = make_run(rounds=2)
    files.history[0].update(
        train_loss=math.nan, silo_accuracies={}, silo_accuracy_mean=None, silo_accuracy_worst=None
    )
    line = read_run(files.write()).rounds[0]
    assert math.isnan(line.train_loss)
    assert line.silo_accuracy_worst is None


def test_only_the_promised_fields_are_needed(make_run):
    files = make_run(rounds=2)
    promised = ("round", "train_loss", "loss", "accuracy", "test_accuracy", "seconds", "replies")
    files.history = [{name: line[name] for name in promised} for line in files.history]
    assert read_run(files.write()).rounds[1].bytes_up is None


def test_without_partition_the_run_is_still_read(make_run):
    files = make_run()
    files.stop_after(3)
    directory = files.write()
    (directory / "partition.json").unlink()
    run = read_run(directory)
    assert run.partition is None
    assert run.summary.per_silo[0].train is None
    assert "partition.json" in run.notes[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"round": 2, "loss"', ("line 2", "not JSON")),
        ("[]", ("line 2", "object")),
        ('{"round": 2}', ("line 2", "'train_loss'", "missing")),
        ('{"round": true}', ("line 2", "'round'", "True")),
    ],
)
def test_a_broken_line_is_named(make_run, line, words):
    directory = make_run(rounds=3).write()
    history = directory / "history.jsonl"
    lines = history.read_text().splitlines()
    lines[1] = line
    history.write_text("\n".join(lines) + "\n")
    fails(directory, "history.jsonl", *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, ("'schema'", "2")),
        ({"best_accuracy": "high"}, ("'best_accuracy'", "'high'")),
        ({"versions": None}, ("'versions'",)),
        ({"per_silo": [{"silo": "x\ny"}]}, ("'per_silo'", "'silo'")),
    ],
)
def test_a_wrong_field_of_the_summary_is_named(make_run, change, words):
    files = make_run(rounds=2)
    files.summary.update(change)
    fails(files.write(), "summary.json", *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"counts": [[1, 2], [3]]}, ("'counts'", "equally long")),
        ({"counts": []}, ("'counts'",)),
        ({"held_out": [1]}, ("'held_out'", "10 numbers")),
        ({"class_names": ["a"]}, ("'counts'", "1 numbers")),
        ({"indices": [[0]] * 10}, ("'indices'", "as many samples of each silo")),
    ],
)
def test_a_wrong_partition_is_named(make_run, change, words):
    files = make_run(rounds=1)
    files.partition.update(change)
    fails(files.write(), "partition.json", *words)


def test_missing_and_unreadable_files_are_named(make_run, tmp_path):
    fails(tmp_path / "nowhere", "nowhere", "there is no such directory")
    directory = make_run(rounds=1).write()
    (directory / "summary.json").write_text("{")
    fails(directory, "summary.json", "not JSON")
    (directory / "history.jsonl").write_text("")
    fails(directory, "history.jsonl", "no round")
    (directory / "history.jsonl").write_bytes(b"\xff\xfe\n")
    fails(directory, "history.jsonl", "not JSON")
    (directory / "history.jsonl").unlink()
    fails(directory, "history.jsonl", "no round is recorded")
    (directory / "config.yaml").write_text("a: [")
    fails(directory, "config.yaml", "cannot be read as settings", error=ConfigurationError)
    (directory / "config.yaml").write_text("rounds: 3")
    fails(directory, "config.yaml", "experiment", "must be given", error=ConfigurationError)


def test_silos_of_the_history_are_numbers(make_run):
    files = make_run(rounds=1)
    files.history[0]["silo_accuracies"] = {"first": 0.5}
    fails(files.write(), "line 1", "'first'")
    files.history[0]["silo_accuracies"] = json.loads('{"10": 0.5, "9": 0.4}')
    assert list(read_run(files.write()).rounds[0].silo_accuracies) == [9, 10]

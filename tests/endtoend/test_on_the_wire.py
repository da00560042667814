"""What travels rounded, and how often silos evaluate: settings that hold wherever the silos run."""

import pytest

from tests.endtoend.conftest import read_history, read_summary


def test_rounded_to_half_the_bits_half_the_bytes_travel_and_the_run_goes_on_alike(run):
    exact = run(name="exact")
    for wire in ("float16", "bfloat16"):
        rounded = run(f"wire_dtype={wire}", name=wire)
        for name in ("bytes_up", "bytes_down"):
            assert read_summary(rounded)[name] / read_summary(exact)[name] == pytest.approx(0.5, abs=0.03)
        losses = [[line["train_loss"] for line in read_history(directory)] for directory in (exact, rounded)]
        assert losses[0] != losses[1]
        assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_another_wire_cannot_be_resumed_with(run, capsys):
    run(name="run")
    run("wire_dtype=float16", "resume=true", "rounds=3", name="run", status=1)
    assert "wire_dtype: differs from the run" in capsys.readouterr().err


def test_silos_evaluate_after_every_kth_round_and_after_the_last(run, pages):
    every = run("rounds=5", name="every")
    second = run("rounds=5", "evaluate_every=2", name="second")
    assert read_summary(every)["weights_sha256"] == read_summary(second)["weights_sha256"]
    lines = read_history(second)
    assert [bool(line["silo_accuracies"]) for line in lines] == [False, True, False, True, True]
    assert [line["silo_accuracies"] for line in lines if line["silo_accuracies"]] == [
        line["silo_accuracies"] for line in read_history(every) if line["round"] in (2, 4, 5)
    ]
    assert lines[0]["bytes_down"] < lines[1]["bytes_down"] * 0.6
    assert all(line["accuracy"] is not None for line in lines)  # the server evaluates every round all the same
    assert (second / "report.html").is_file()

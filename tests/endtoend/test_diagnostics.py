"""Diagnostics of a run: they change no number, mean the same for every method, and survive a resumption."""

import pytest

from fedsq_flwr.report import read_run
from tests.endtoend.conftest import read_history, read_summary
from tests.endtoend.test_inprocess import timeless

PLAIN = ("plain_best_accuracy", "plain_test_accuracy", "plain_final_accuracy", "plain_final_validation_accuracy")


@pytest.mark.parametrize("method", ["fedsq", "fedavg"])
def test_they_change_no_number_and_are_the_same_in_a_resumed_run(run, pages, method):
    whole = run("diagnostics=true", f"method={method}", "fraction_train=0.7", name="whole")
    run(f"method={method}", "fraction_train=0.7", "rounds=1", name="broken")  # without them
    resumed = run("diagnostics=true", f"method={method}", "fraction_train=0.7", "resume=true", name="broken")
    with_them, without = timeless(read_history(whole)), timeless(read_history(resumed))
    assert "diagnostics" not in without[0]
    assert without[1] == with_them[1]  # FedAvg's gates are still compared with those of the very start
    first, second = (line["diagnostics"] for line in with_them)
    assert without[0] == {key: value for key, value in with_them[0].items() if key != "diagnostics"}
    assert read_summary(whole)["weights_sha256"] == read_summary(resumed)["weights_sha256"]

    assert first["images"] == second["images"] == 40  # the validation set is smaller than asked for
    assert len(first["layers"]) == 19
    # Fixed gates stay as they are; the network's own move away from them.
    assert [x["density"] for x in first["layers"]] == [x["density"] for x in second["layers"]]
    assert 0 < first["flip_rate"] < second["flip_rate"] < 0.5
    assert first["averaging"]["states"] == 2
    assert first["averaging"]["gap"] > 0
    assert first["drift"]["mean"] > first["drift"]["of_mean"] > 0

    diagnostics = read_run(resumed).rounds[1].diagnostics
    assert diagnostics is not None
    assert diagnostics.averaging.relative == second["averaging"]["relative"]
    for directory in (whole, resumed):
        page = (directory / "report.html").read_text()
        assert "Flipped gates by layer and round" in page
        assert "Averaging gap and drift by round" in page


def test_every_method_is_compared_with_its_fixed_gates_or_with_its_start(run):
    settings = ("diagnostics=true", "diagnostics_size=16", "rounds=1")
    methods = ("fedsq", "fedprox", "fedsq_random_gates")
    found = {
        method: read_history(run(*settings, f"method={method}", name=method))[0]["diagnostics"] for method in methods
    }
    densities = {method: [x["density"] for x in diagnostics["layers"]] for method, diagnostics in found.items()}
    assert densities["fedsq"] == densities["fedprox"] != densities["fedsq_random_gates"]
    assert found["fedsq_random_gates"]["flip_rate"] > 2 * found["fedsq"]["flip_rate"]


def test_accuracies_of_the_plain_form_are_there_for_fixed_gates_only(run, pages, capsys):
    fixed = run("rounds=1", name="fixed")
    assert "test with its own ReLUs" in capsys.readouterr().out
    summary = read_summary(fixed)
    assert all(0 <= summary[key] <= 1 for key in (*PLAIN, "final_validation_accuracy"))
    page = (fixed / "report.html").read_text()
    assert "in place of the fixed gates (the plain form)" in page
    assert "Flipped gates" not in page
    own = run("rounds=1", "method=fedavg", name="own")
    assert "own ReLUs" not in capsys.readouterr().out
    assert [read_summary(own)[key] for key in PLAIN] == [None] * 4
    assert "the plain form" not in (own / "report.html").read_text()


def test_too_small_a_probe_is_refused(run, capsys):
    run("diagnostics=true", "diagnostics_size=7", status=1)
    assert "diagnostics_size=7: must be at least 8" in capsys.readouterr().err

"""A real federation with one private silo: it takes part until its epsilon is spent, and its log holds together."""

import json
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.records.own_figures import OwnRun
from tests.silos.federation import SILOS, history
from tests.silos.processes import SILO

pytest.importorskip("dp_accounting", reason="the extra privacy is not installed")
pytestmark = pytest.mark.slow

PRIVATE = 1
PRIVACY = ("unit=record", "clip=1", "noise_multiplier=3", "delta=1e-4", "max_epsilon=1.6", "min_samples=10")


def test_a_private_silo_takes_part_until_it_refuses_by_name(
    federation, start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [
        [*words, f"state_dir={tmp_path}/state-{silo}", "keep_reports=1"]
        for silo, words in enumerate(federation.silos)
    ]
    own[PRIVATE] += [f"privacy.{word}" for word in PRIVACY]
    own[0] += ["name=north", "local_model=true", "keep_predictions=true"]
    own[2] += ["keep_models=0"]
    silos = [start(*SILO, *words) for words in own]
    for silo in silos:
        silo.wait_for(" ready\n")
    output = tmp_path / "run"
    policies = ["rounds=3", "batch_norm=frozen", "executor.structure=own", "method.weighting=uniform"]
    policies += ["method.privacy=fixed_clipping", "method.noise_multiplier=0.01", "max_update_ratio=0"]
    assert main(["run", *federation.run, *policies, f"output='{output}'"]) == 0

    first, *_, last = history(output)
    assert first["dropped"] == []
    assert [each["reason"] for each in last["dropped"] if each["silo"] == PRIVATE] == [
        "privacy.max_epsilon=1.6: would be exceeded by what is asked"
    ]
    assert set(first["silo_accuracies"]) == {str(silo) for silo in range(SILOS) if silo != PRIVATE}
    assert "(unit record, delta 0.0001)" in silos[PRIVATE].said()

    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert (summary["privacy"]["unit"], summary["privacy"]["delta"]) == ("silo", 1e-5)  # the server's own
    audits = summary["audits"]
    assert [each["silo"] for each in audits] == list(range(SILOS))
    assert first["silo_names"] == {"0": "north"}
    assert "silo 0 (north): run " in silos[0].said()
    received = {silo: sorted((tmp_path / f"state-{silo}").glob("models/*")) for silo in range(SILOS)}
    assert [len(found) for found in received.values()] == [1, 1, 0]
    pages = [next((tmp_path / f"state-{silo}").glob("reports/*/report.html")) for silo in range(SILOS)]
    assert "Gained by the federation" in pages[0].read_text()
    assert (pages[0].parent / "predictions.csv").read_text().startswith("file,class,round,predicted,local_predicted,")
    exact = [line.federated for line in OwnRun(pages[PRIVATE].parent).rounds()]
    assert all(figures is not None for figures in exact)  # of a silo that told no accuracy
    assert "epsilon of all runs" in pages[PRIVATE].read_text()
    assert main(["report", f"{tmp_path}/state-2"]) == 0
    capsys.readouterr()
    images = next(word for word in own[PRIVATE] if word.startswith("data_path=")).removeprefix("data_path=")
    predictions = []
    for model in (output, received[PRIVATE][0]):  # the private silo's own images, in the server's run and at the silo
        assert main(["predict", str(model), images]) == 0
        predictions.append(capsys.readouterr().out)
    assert predictions[0] == predictions[1]

    for silo in range(SILOS):  # with privacy or without
        assert main(["audit", f"{tmp_path}/state-{silo}/privacy/audit.jsonl", "--run", str(output)]) == 0
        told = capsys.readouterr().out
        assert f"agrees with the {audits[silo]['lines']} lines that silo {silo} told the server of" in told
        assert "ledger: agrees\n" in told
        assert ("unit record" in told) == (silo == PRIVATE)

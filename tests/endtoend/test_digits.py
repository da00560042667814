"""The embedded default experiment: it learns, and it learns because of the gates' source."""

import pytest

from fedsq_flwr.cli import main
from tests.endtoend.conftest import read_summary


@pytest.mark.slow
def test_fedsq_adapts_the_pretrained_network_and_random_gates_do_visibly_worse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for method in ("fedsq", "fedsq_random_gates"):
        assert main(["run", "executor=inprocess", f"method={method}", f"output={method}"]) == 0
    fedsq, random_gates = read_summary(tmp_path / "fedsq"), read_summary(tmp_path / "fedsq_random_gates")
    assert fedsq["final_accuracy"] >= 0.90
    assert fedsq["accuracy_auc"] > random_gates["accuracy_auc"] + 0.1

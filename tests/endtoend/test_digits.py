"""The embedded default experiment: it learns, and it learns because of the gates' source."""

from statistics import fmean

import pytest

from fedsq_flwr.cli import main
from tests.endtoend.conftest import read_history, read_summary


@pytest.mark.slow
def test_fedsq_adapts_the_pretrained_network_and_random_gates_do_visibly_worse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for method, rounds in (("fedsq", 10), ("fedsq_random_gates", 4)):
        run = ["run", "executor=inprocess", f"method={method}", f"rounds={rounds}", f"output={method}"]
        assert main(run) == 0
    assert read_summary(tmp_path / "fedsq")["final_accuracy"] >= 0.90
    # The mean over the first four rounds: a single round is noisy.
    pretrained, random = (
        fmean(line["accuracy"] for line in read_history(tmp_path / name)[:4])
        for name in ("fedsq", "fedsq_random_gates")
    )
    assert pretrained > random + 0.1

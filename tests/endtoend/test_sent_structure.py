"""``executor.structure=sent``: silos without weights are sent the structure once, and no number changes."""

import pytest

from fedsq_flwr.executors.grid import InProcessGrid
from tests.endtoend.conftest import read_history, read_summary


@pytest.fixture
def structures(monkeypatch):
    """The silo of each message that holds a structure, in order."""
    seen = []
    carry = InProcessGrid.send_and_receive

    def listen(self, messages, *, timeout=None):
        messages = list(messages)
        seen.extend(
            self._contexts[m.metadata.dst_node_id].node_config["partition-id"]
            for m in messages
            if "structure" in m.content
        )
        return carry(self, messages, timeout=timeout)

    monkeypatch.setattr(InProcessGrid, "send_and_receive", listen)
    return seen


def refuse(*_):
    raise AssertionError("a silo loads weights")


@pytest.mark.parametrize("method", ["fedsq", "fedavg", "fedsq_random_gates"])
def test_silos_load_no_weights_and_the_numbers_are_the_same_to_the_bit(run, monkeypatch, structures, method):
    own = run(f"method={method}", name="own")
    assert structures == []
    monkeypatch.setattr("fedsq_flwr.assembly.model.load_network", refuse)
    sent = run(f"method={method}", "executor.structure=sent", name="sent")
    assert read_summary(own)["weights_sha256"] == read_summary(sent)["weights_sha256"]
    assert read_summary(own)["fingerprint"] == read_summary(sent)["fingerprint"]
    # FedAvg has no structure; random gates are drawn by each silo from the run's seed.
    assert structures == ([0, 1, 2] if method == "fedsq" else [])


def test_the_bytes_of_the_structure_are_in_the_first_round_only(run):
    own, sent = (read_history(run(f"executor.structure={kind}", name=kind)) for kind in ("own", "sent"))
    assert sent[0]["bytes_down"] > own[0]["bytes_down"] + 3 * 250_000 * 4
    assert sent[1]["bytes_down"] == own[1]["bytes_down"]


def test_a_refreshed_structure_is_sent_as_well(run, structures):
    run("executor.structure=sent", "method.refresh_every=1")
    assert structures == [0, 1, 2, 0, 1, 2]


def test_it_is_resumed_with_the_same_numbers(run):
    whole = run("executor.structure=sent", "rounds=3", name="whole")
    run("executor.structure=sent", "rounds=2", name="half")
    resumed = run("executor.structure=sent", "rounds=3", "resume=true", name="half")
    assert read_summary(whole)["weights_sha256"] == read_summary(resumed)["weights_sha256"]


@pytest.mark.parametrize("batch_norm", ["local", "frozen"])
def test_statistics_that_do_not_travel_need_weights_of_the_silos_own(run, capsys, batch_norm):
    run("executor.structure=sent", f"batch_norm={batch_norm}", status=1)
    assert capsys.readouterr().err == (
        f"fedsq: executor.structure=sent: must be own with batch_norm={batch_norm}, "
        "whose statistics are those of the silo's own weights\n"
    )

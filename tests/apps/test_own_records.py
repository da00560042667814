"""What a silo records for itself: exact figures beside whatever it tells, a local model, a page."""

import csv
import json
import os
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict
from sklearn.metrics import f1_score

from fedsq_flwr import DualCopy, QuantitativeCopy
from fedsq_flwr.apps.own_records import OwnRecords
from fedsq_flwr.cli import main
from fedsq_flwr.errors import DataError
from fedsq_flwr.federation.local_model import LocalModel
from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.federation.silo import RoundOrders, Silo
from fedsq_flwr.learning import TrainingResult, derive_seed, evaluate, train_locally
from fedsq_flwr.learning.measures import bootstrap_mean
from fedsq_flwr.privacy.audit import AuditLog
from fedsq_flwr.privacy.guard import PrivacyGuard, PrivacyTerms
from fedsq_flwr.privacy.ledger import Ledger
from fedsq_flwr.records.own_figures import About, OwnRound, OwnRun
from fedsq_flwr.report.site import write_site_report
from tests.federation.silos import SETTINGS, network, samples

CLASSES = ("cat", "dog", "<hen>")
PRIVACY = PrivacyTerms(unit="silo", clip=1, noise_multiplier=3, delta=1e-5, max_epsilon=1000)


def records(state: Path, run: str = "77", **options) -> OwnRecords:
    about = About(
        run=run,
        silo=1,
        silos=2,
        name="north",
        method="fedsq",
        backbone="toy",
        rounds=2,
        class_names=CLASSES,
        train=len(samples(1)[1]),
        held_out=len(samples(2)[1]),
    )
    return OwnRecords(state / "reports" / run, about, **{"seed": 3, "most": 50, **options})


def silo_of(model, observer=None, **options):
    parts = {"train": samples(1), "held_out": samples(2), "settings": SETTINGS, "number": 1, "seed": 3}
    return Silo(model, **parts, observer=observer, **options)


def federated_rounds(silo, rounds=2):
    """Train and evaluate as a server with this silo and another one would; return the replies."""
    model, replies = silo.model, []
    state = {name: tensor.clone() for name, tensor in model.quantitative_state().items()}
    for number in range(1, rounds + 1):
        orders = RoundOrders(number, model.fingerprint)
        reply = silo.train(state, orders)
        # The other silo's share.
        state = {name: t * 0.5 if t.is_floating_point() else t for name, t in reply.state.items()}
        replies += [reply, silo.evaluate(state, orders)]
    return replies, state


def told(replies):
    return [(reply.loss, getattr(reply, "accuracy", None), reply.examples) for reply in replies]


def memory(model_class, batch_norm):
    context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
    return SiloMemory(context, model_class(network(), batch_norm=batch_norm))


@pytest.mark.parametrize("batch_norm", ["batch", "frozen", "local"])
@pytest.mark.parametrize("model_class", [DualCopy, QuantitativeCopy])
def test_who_watches_changes_no_number(tmp_path, model_class, batch_norm):
    (plain, state), (watched, other) = (
        federated_rounds(
            silo_of(model_class(network(), batch_norm=batch_norm), observer, memory=memory(model_class, batch_norm))
        )
        for observer in (None, records(tmp_path, local=True))
    )
    assert told(plain) == told(watched)
    assert all(torch.equal(tensor, other[name]) for name, tensor in state.items())
    assert plain[1].predictions is watched[1].predictions is None  # no more leaves either


def test_the_local_model_has_the_same_start_and_as_many_steps(tmp_path):
    model, by_hand = DualCopy(network()), DualCopy(network())
    silo = silo_of(model, records(tmp_path, local=True))
    federated_rounds(silo)
    for number in (1, 2):
        train_locally(by_hand, *samples(1), SETTINGS.of_round(number), seed=derive_seed(3, "train", number, 1))
    expected = evaluate(by_hand, *samples(2))
    last = OwnRun(tmp_path / "reports" / "77").rounds()[-1]
    assert (last.local.loss, last.local.accuracy) == (expected.loss, expected.accuracy)
    assert (last.local_first, last.local_rounds) == (1, 2)
    assert last.gain == pytest.approx(last.federated.accuracy - last.local.accuracy)
    assert last.gain_interval[0] <= last.gain <= last.gain_interval[1]


def test_a_round_that_is_trained_again_counts_once_for_the_local_model(tmp_path):
    model = QuantitativeCopy(network())
    start = {name: tensor.clone() for name, tensor in model.quantitative_state().items()}
    for _ in range(2):
        silo_of(model, records(tmp_path, local=True)).train(start, RoundOrders(1))
    silo_of(model, records(tmp_path, local=True)).evaluate(start, RoundOrders(1))
    assert OwnRun(tmp_path / "reports" / "77").rounds()[0].local_rounds == 1


def test_a_private_silo_has_exact_figures_of_its_own_and_tells_none(tmp_path):
    pytest.importorskip("dp_accounting", reason="the extra privacy is not installed")
    guard = PrivacyGuard(PRIVACY, Ledger())
    model = QuantitativeCopy(network(), batch_norm="frozen")
    replies, state = federated_rounds(silo_of(model, records(tmp_path, local=True), privacy=guard))
    assert told(replies[1::2]) == [(0.0, 0.0, 0)] * 2
    model.load_quantitative_state(state)
    expected = evaluate(model, *samples(2))
    own = OwnRun(tmp_path / "reports" / "77").rounds()[-1]
    assert (own.federated.loss, own.federated.accuracy) == (expected.loss, expected.accuracy)
    assert own.train_loss > 0


def test_predictions_are_kept_by_file_and_measures_are_those_of_scikit_learn(tmp_path):
    model, files = QuantitativeCopy(network()), [f"cat/{n}.png" for n in range(len(samples(2)[1]))]
    federated_rounds(silo_of(model, records(tmp_path, local=True, files=files)))
    rows = list(csv.DictReader(StringIO((tmp_path / "reports" / "77" / "predictions.csv").read_text())))
    assert [row["file"] for row in rows] == files
    own = OwnRun(tmp_path / "reports" / "77").rounds()[-1].federated
    truth, said = [row["class"] for row in rows], [row["predicted"] for row in rows]
    assert own.accuracy == np.mean([a == b for a, b in zip(truth, said, strict=True)])
    assert own.measures.macro_f1 == pytest.approx(f1_score(truth, said, average="macro"))
    assert own.loss_interval[0] < own.loss < own.loss_interval[1]
    assert "local_predicted" in rows[0]


def test_a_full_disk_costs_the_silo_its_page_and_the_run_nothing(tmp_path, caplog):
    (tmp_path / "reports").write_text("in the way")
    replies, _ = federated_rounds(silo_of(QuantitativeCopy(network()), records(tmp_path, local=True)))
    assert len(replies) == 4
    assert "site report: the training was not recorded" in caplog.text


def test_an_error_of_torchs_costs_the_silo_its_page_and_the_run_nothing(tmp_path, caplog, monkeypatch):
    def out_of_memory(*_):
        raise RuntimeError("CUDA out of memory")

    own = records(tmp_path, local=True)
    monkeypatch.setattr(LocalModel, "train", out_of_memory)
    replies, _ = federated_rounds(silo_of(QuantitativeCopy(network()), own))
    assert len(replies) == 4
    assert "site report: the local model was not trained: CUDA out of memory" in caplog.text


def test_the_operator_is_told_that_training_diverged(tmp_path, caplog):
    for loss in (2.5, float("nan"), float("inf")):
        records(tmp_path).trained(RoundOrders(4, ""), TrainingResult(loss, 10, 1.0))
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"round 4: training diverged (loss {loss}), as from too large a rate" for loss in ("nan", "inf")]


def test_the_newest_runs_are_kept_and_what_is_no_run_stays(tmp_path):
    (tmp_path / "reports" / "mine").mkdir(parents=True)
    for number, run in enumerate(("8", "9", "7", "6")):
        federated_rounds(silo_of(QuantitativeCopy(network()), records(tmp_path, run, most=2)), rounds=1)
        for path in (tmp_path / "reports" / run).iterdir():
            os.utime(path, (number, number))
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {"7", "6", "mine"}
    federated_rounds(silo_of(QuantitativeCopy(network()), records(tmp_path, "7", most=1)))  # goes on
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {"7", "6", "mine"}


def test_half_a_line_is_cut_off_and_lines_of_a_round_add_up(tmp_path):
    run = OwnRun(tmp_path)
    run.add(OwnRound(round=1, train_loss=2.0))
    with (tmp_path / "rounds.jsonl").open("a") as file:
        file.write('{"round": 2, "tr')
    run.add(OwnRound(round=1, train_seconds=3.0))
    run.add(OwnRound(round=1, train_loss=1.0))
    assert run.rounds() == [OwnRound(round=1, train_loss=1.0, train_seconds=3.0)]
    (tmp_path / "rounds.jsonl").write_text('{"round": -1}\n')
    with pytest.raises(DataError, match="line 1"):
        run.rounds()


def test_the_page_has_the_figures_and_what_left_of_its_run_alone(tmp_path):
    silo = silo_of(DualCopy(network()), records(tmp_path, local=True, files=[str(n) for n in range(16)]))
    federated_rounds(silo)
    audit = AuditLog(Ledger(tmp_path / "privacy"))
    for run in (77, 78):
        audit.append("answered", {"run": run, "kind": "train", "bytes_out": 1234567})
        audit.append("refused", {"run": run, "kind": "train", "reason": "privacy.max_epsilon", "bytes_out": 20})
    page = write_site_report(tmp_path)
    text = page.read_text()
    assert page == tmp_path / "reports" / "77" / "report.html"
    for part in ("Silo 1 (north): fedsq with toy", "1,234,567", "This silo&#39;s model alone", "Gained", "77"):
        assert part.replace("&#39;", "'") in text.replace("&#39;", "'")
    assert "<hen>" not in text
    assert text.count("1,234,567") == 1
    assert json.loads((page.parent / "about.json").read_text())["name"] == "north"
    assert (page.parent / "figures" / "accuracy.csv").exists()
    log = tmp_path / "privacy" / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"1234567", b"1"))
    for words in ([tmp_path], [page.parent, "--pdf"]):
        assert main(["report", *map(str, words)]) == 0
        assert "does not hold together" in page.read_text()
    assert (page.parent / "figures" / "loss.pdf").exists()
    assert main(["report", str(tmp_path), "--target", "0.5"]) == 1


def test_without_figures_there_is_no_page(tmp_path):
    with pytest.raises(DataError, match="has no run's figures"):
        write_site_report(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        write_site_report(tmp_path, "5")


def test_the_interval_of_a_mean_holds_the_mean():
    values = np.random.default_rng(0).normal(1.0, 2.0, 400)
    low, high = bootstrap_mean(values, 1)
    assert (low, high) == bootstrap_mean(values, 1)
    assert high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)

"""Every method runs end to end, from the same start and on the same order of samples, and can be repeated."""

from pathlib import Path

import pytest

from fedsq_flwr.assembly.data import load_server_data
from fedsq_flwr.assembly.model import build_model
from fedsq_flwr.cli import main
from fedsq_flwr.federation import silo as core
from fedsq_flwr.learning import derive_seed, evaluate
from fedsq_flwr.models import state_digest
from fedsq_flwr.records.checkpoints import Checkpoints
from fedsq_flwr.records.config import read_config
from fedsq_flwr.settings.composition import compose_settings, conf_directory
from tests.endtoend.conftest import read_history, read_summary

METHODS = sorted(path.stem for path in (conf_directory() / "method").glob("*.yaml"))


def numbers(directory: Path) -> list[dict]:
    """All that must be equal in a repeated or resumed run (a late structure is handed out again)."""
    return [
        {key: value for key, value in line.items() if "seconds" not in key and "bytes" not in key}
        for line in read_history(directory)
    ]


def start_of(model) -> str:
    """All that a model starts from; the counts of batches are used by nothing."""
    state = model.quantitative.state_dict()
    return state_digest({name: tensor for name, tensor in state.items() if "num_batches" not in name})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_from_the_same_start_with_the_same_draws(run, pages, method, monkeypatch):
    trained = []

    def train(model, *args, seed, **options):
        trained.append((seed, start_of(model)))
        return real(model, *args, seed=seed, **options)

    real = core.train_locally
    monkeypatch.setattr(core, "train_locally", train)
    silos = 1 if method.startswith("centralised") else 2
    directory = run(f"method={method}", "executor.workers=1", f"silos={silos}")
    lines, summary = read_history(directory), read_summary(directory)
    assert (summary["method"], summary["silos"]) == (method, silos)
    assert all(line["dropped"] == [] and line["replies"] == silos for line in lines)
    assert all(0 <= line["accuracy"] <= 1 for line in lines)
    assert (len(summary["fingerprint"]) == 64) == (read_config(directory / "config.yaml").method.gates != "none") or (
        method == "fedsq_frozen_later"  # not within two rounds
    )
    assert (directory / "report.html").is_file()

    draws = [derive_seed(0, "train", number, silo) for number in (1, 2) for silo in range(silos)]
    assert [seed for seed, _ in trained] == draws
    settings = read_config(directory / "config.yaml")
    fedavg = settings.changed(method=compose_settings(["method=fedavg"]).method)
    assert {digest for _, digest in trained[:silos]} == {start_of(build_model(fedavg, 10))}


#: The server's noise does not drown a signal that nobody needs.
PRIVATE = (
    *("method=fedsq", "method.privacy=adaptive_clipping", "method.noise_multiplier=0.001"),
    *("method.weighting=uniform", "batch_norm=frozen", "max_update_ratio=0"),
)


@pytest.mark.parametrize("method", [("method=fedadam",), ("method=local_only",), PRIVATE], ids=" ".join)
def test_what_the_server_remembers_survives_a_resumed_run(run, method):
    if method is PRIVATE:
        pytest.importorskip("dp_accounting", reason="the extra privacy is not installed")
    plan = (*method, "silos=3", "fraction_train=0.7")
    whole = run("rounds=3", *plan, name="whole")
    run("rounds=1", *plan, name="broken")
    resumed = run("rounds=3", *plan, "resume=true", name="broken")
    assert numbers(resumed) == numbers(whole)
    assert read_summary(resumed)["weights_sha256"] == read_summary(whole)["weights_sha256"]
    assert read_summary(resumed).get("privacy") == read_summary(whole).get("privacy")
    assert ("privacy" in read_summary(whole)) == (method is PRIVATE)
    assert [file.name for file in (resumed / "checkpoints/last").glob("server-*")] == ["server-3.safetensors"]
    assert not list((resumed / "checkpoints/best").glob("server-*"))


def test_a_checkpoint_whose_memory_is_gone_is_not_resumed(run, capsys):
    directory = run("method=fedadam", "silos=2", "rounds=1")
    (directory / "checkpoints/last/server-1.safetensors").unlink()
    run("method=fedadam", "silos=2", "rounds=2", "resume=true", status=1)
    assert "server-1.safetensors does not exist" in capsys.readouterr().err


def test_with_a_rate_that_falls_rounds_may_not_change(run, capsys):
    run("silos=2", "rounds=1", "learning_rate_schedule=cosine")
    run("silos=2", "rounds=2", "learning_rate_schedule=cosine", "resume=true", status=1)
    assert "fedsq: rounds: differs from the run" in capsys.readouterr().err


def test_without_a_shared_model_the_accuracies_are_the_mean_of_the_silos_models(run, pages, tmp_path, capsys):
    directory = run("method=local_only", "silos=2")
    line, config = read_history(directory)[-1], read_config(directory / "config.yaml")
    server = Checkpoints(directory / "checkpoints").load_server("last")
    accuracies, test = [], load_server_data(config).test
    for silo in ("0", "1"):
        model = build_model(config, 10)
        model.load_quantitative_state({key[2:]: value for key, value in server.items() if key[0] == silo})
        accuracies.append(evaluate(model, test.images, test.labels).accuracy)
    assert line["test_accuracy"] == pytest.approx(sum(accuracies) / 2)

    assert "mean over the silos&#39; own models" in (directory / "report.html").read_text()
    assert main(["export", str(directory), "--output", str(tmp_path / "model.pt2")]) == 1
    assert "of local_only, where each silo has a model of its own" in capsys.readouterr().err

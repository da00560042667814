"""Every method starts from the same quantitative copy; only the gates differ."""

import hashlib
import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from fedsq_flwr.assembly.model import build_model, training_settings
from fedsq_flwr.assembly.network import describe_weights, load_network, load_start
from fedsq_flwr.errors import ConfigurationError, WeightsError
from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from fedsq_flwr.learning import TrainingSettings
from fedsq_flwr.models import build_backbone, save_weights, state_digest
from fedsq_flwr.settings.composition import compose_settings, conf_directory

METHODS = sorted(file.stem for file in conf_directory().glob("method/*.yaml"))
IMAGES = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all: what is made once serves every test here."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("head", ["zeros", "keep"])
def test_all_methods_start_from_the_same_quantitative_state(settings, head: str) -> None:
    digests = {
        method: state_digest(
            build_model(settings(f"method={method}", f"backbone.head={head}"), 10).quantitative.state_dict()
        )
        for method in METHODS
    }
    assert len(digests) >= 5
    assert len(set(digests.values())) == 1


def test_the_start_is_the_same_each_time_and_another_with_another_seed(settings) -> None:
    def start(*overrides: str) -> str:
        return state_digest(build_model(settings("backbone.head=normal", *overrides), 10).quantitative_state())

    torch.manual_seed(1)
    first = start()
    torch.manual_seed(2)
    assert start() == first
    assert start("seed=1") != first


def test_the_pretrained_weights_do_not_depend_on_the_runs_seed(settings) -> None:
    first, other = (build_model(settings(f"seed={seed}"), 10) for seed in (0, 1))
    assert state_digest(first.quantitative_state()) == state_digest(other.quantitative_state())
    assert first.fingerprint == other.fingerprint


def test_own_pooling_leaves_the_winners_to_the_quantitative_copy(settings) -> None:
    fixed, own = (build_model(settings(f"method={method}"), 10) for method in ("fedsq", "fedsq_own_pooling"))
    assert (fixed.pool_gates, own.pool_gates) == (True, False)
    assert fixed.fingerprint != own.fingerprint


def test_early_and_late_gates_are_a_part_each(settings) -> None:
    choices = ("method.gated_to=0.3333", "method=fedsq_late_gates", "method=fedsq")
    early, late, whole = (build_model(settings(choice), 10) for choice in choices)
    assert (early.gated_part, late.gated_part, whole.gated_part) == ((0.0, 0.3333), (0.6667, 1.0), (0.0, 1.0))
    assert early.fingerprint == late.fingerprint == whole.fingerprint  # the same gates; some are not applied


def test_without_gates_the_model_is_the_quantitative_copy_alone(settings) -> None:
    model = build_model(settings("method=fedavg"), 10)
    assert type(model) is QuantitativeCopy
    assert model.fingerprint == ""


def test_the_gates_of_fedsq_are_those_of_the_pretrained_network(settings) -> None:
    config = settings()
    model = build_model(config, 10)
    assert isinstance(model, DualCopy)
    network = load_network(config, 10)
    assert model.fingerprint == DualCopy(network).fingerprint
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.gates(IMAGES).masks(), DualCopy(network).gates(IMAGES).masks(), strict=True)
    )


def test_random_gates_have_another_fingerprint_and_the_same_start(settings) -> None:
    fixed, control = build_model(settings(), 10), build_model(settings("method=fedsq_random_gates"), 10)
    assert isinstance(control, DualCopy)
    assert control.fingerprint != fixed.fingerprint
    assert state_digest(control.quantitative_state()) == state_digest(fixed.quantitative_state())
    assert not torch.equal(control.gates(IMAGES).masks()[0], fixed.gates(IMAGES).masks()[0])


def test_random_gates_depend_on_the_runs_seed_only(settings) -> None:
    first, again, other = (
        build_model(settings("method=fedsq_random_gates", f"seed={seed}"), 10).fingerprint for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_random_weights_and_random_gates_are_different_networks(settings) -> None:
    model = build_model(settings("method=fedsq_random_gates", "backbone.weights=random"), 10)
    assert not torch.equal(model.structural.conv1.weight, model.quantitative.conv1.weight)
    same = build_model(settings("backbone.weights=random"), 10)
    assert torch.equal(same.structural.conv1.weight, same.quantitative.conv1.weight)


@pytest.mark.parametrize("method", METHODS)
def test_a_task_may_have_other_classes_than_the_source(settings, method: str) -> None:
    model = build_model(settings(f"method={method}"), 7)
    assert model(IMAGES).shape == (8, 7)


@pytest.mark.parametrize("method", ["fedavg", "fedsq", "fedsq_random_gates"])
def test_a_pretrained_head_of_other_classes_cannot_be_kept(settings, method: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"backbone\.head=keep: the pretrained head has 10 classes, the data 7"
    ):
        build_model(settings(f"method={method}", "backbone.head=keep"), 7)


def test_the_head_is_as_the_setting_says(settings) -> None:
    zeros, normal, kept = (build_model(settings(f"backbone.head={head}"), 10) for head in ("zeros", "normal", "keep"))
    assert not zeros.quantitative.fc.weight.any()
    assert normal.quantitative.fc.weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert torch.equal(kept.quantitative.fc.weight, load_network(settings(), 10).fc.weight)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_norm", ["batch", "frozen"])
def test_the_batch_norm_policy_is_the_same_for_every_method(settings, method: str, batch_norm: str) -> None:
    model = build_model(settings(f"method={method}", f"batch_norm={batch_norm}"), 10)
    assert model.batch_norm == batch_norm
    assert any("running" in name for name in model.quantitative_state()) is (batch_norm == "batch")


def test_models_are_built_in_evaluation_mode(settings) -> None:
    assert not build_model(settings(), 10).training
    assert not load_network(settings(), 10).training


def own_weights(path: Path, classes: int = 10) -> nn.Module:
    network = build_backbone("resnet20", in_channels=1, classes=classes, seed=77)
    save_weights(path, network.state_dict(), {})
    return network


def test_weights_from_a_file_are_taken(settings, tmp_path: Path, source: list[int]) -> None:
    path = tmp_path / "own.safetensors"
    network = own_weights(path)
    loaded = load_network(settings(f"backbone.weights='{path}'"), 10)
    assert state_digest(loaded.state_dict()) == state_digest(network.state_dict())
    assert source == []


def test_a_home_directory_in_a_files_name_is_expanded(settings, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    network = own_weights(tmp_path / "own.safetensors")
    loaded = load_network(settings("backbone.weights='~/own.safetensors'"), 10)
    assert state_digest(loaded.state_dict()) == state_digest(network.state_dict())


def test_weights_of_another_network_are_refused_by_name(settings, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_weights(path, {"conv1.weight": torch.zeros(1)}, {})
    with pytest.raises(WeightsError, match="missing bn1"):
        build_model(settings(f"backbone.weights='{path}'"), 10)


@pytest.mark.parametrize("classes", [4, 100])
@pytest.mark.parametrize("method", ["fedavg", "fedsq", "fedsq_random_gates"])
def test_a_file_with_a_head_of_another_size_is_taken_where_the_head_is_new(
    settings, tmp_path: Path, method: str, classes: int
) -> None:
    path = tmp_path / "own.safetensors"
    network = own_weights(path, classes)
    model = build_model(settings(f"method={method}", f"backbone.weights='{path}'"), 10)
    assert model(IMAGES).shape == (8, 10)
    assert torch.equal(model.quantitative.layer3[2].conv2.weight, network.layer3[2].conv2.weight)


def test_a_head_of_another_size_or_none_cannot_be_kept(settings, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    network = own_weights(path, 100)
    config = settings(f"backbone.weights='{path}'", "backbone.head=keep")
    with pytest.raises(
        ConfigurationError, match=r"^backbone\.head=keep: the pretrained head has 100 classes, the data 10"
    ):
        load_network(config, 10)
    save_weights(path, {n: t for n, t in network.state_dict().items() if not n.startswith("fc.")}, {})
    with pytest.raises(ConfigurationError, match=r"^backbone\.head=keep: the pretrained head is absent, the data"):
        load_network(config, 10)


def test_a_kept_head_of_another_name_is_taken(settings, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    network = build_backbone("resnet20", in_channels=1, classes=10, seed=77)
    save_weights(path, {n.replace("fc.", "linear."): t for n, t in network.state_dict().items()}, {})
    model = build_model(settings(f"backbone.weights='{path}'", "backbone.head=keep"), 10)
    assert torch.equal(model.quantitative.fc.weight, network.fc.weight)


def test_what_was_adapted_is_logged_and_recorded(settings, tmp_path: Path, caplog) -> None:
    path = tmp_path / "own.safetensors"
    network = build_backbone("resnet20", in_channels=1, classes=7, seed=77)
    said = {"mean": "[0.5]", "std": "[0.25]", "input_size": "16", "licence": "MIT"}
    save_weights(path, {f"module.{n}": t for n, t in network.state_dict().items()}, said)
    config = settings(f"backbone.weights='{path}'")
    with caplog.at_level(logging.INFO):
        start = load_start(config, 10)
    assert any("prefix module. removed" in message for message in caplog.messages)
    record = describe_weights(config, start)
    assert record == {
        "source": "local file",
        "file": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "MIT",
        "input_size": 16,
        "mean": [0.5],
        "std": [0.25],
        "classes": 7,
        "adapted": [
            "prefix module. removed",
            "left out fc.bias, fc.weight",
            "head other size (7 classes)",
        ],
    }
    json.dumps(record)


def test_of_random_weights_only_the_normalisation_is_recorded(settings) -> None:
    config = settings("backbone.weights=random")
    record = describe_weights(config, load_start(config, 10))
    assert record == {"source": "random", "mean": [0.1307], "std": [0.3081]}


def test_a_file_that_is_not_what_torchvision_publishes_is_told(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    published = build_backbone("resnet18", in_channels=3, classes=1000, seed=1)
    torch.save(published.state_dict(), path)
    config = compose_settings(["backbone=resnet18", "backbone.image_size=32"])
    model = build_model(config, 10)
    assert torch.equal(model.quantitative.layer4[1].conv2.weight, published.layer4[1].conv2.weight)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    record = describe_weights(config, load_start(config, 10))
    assert any("is not what was published" in message for message in caplog.messages)
    assert (record["classes"], record["input_size"]) == (1000, 224)
    assert "head other size (1000 classes)" in record["adapted"]


@pytest.mark.parametrize(
    ("overrides", "epochs", "steps"),
    [([], 1, 0), (["local_epochs=3"], 3, 0), (["local_epochs=0.5"], 0.5, 0), (["local_steps=7"], 0, 7)],
)
def test_a_silo_trains_as_the_settings_say(overrides: list[str], epochs: float, steps: int) -> None:
    config = compose_settings(
        [*overrides, "batch_size=7", "learning_rate=0.25", "momentum=0.5", "weight_decay=0.125",
         "executor.precision=bfloat16"]
    )  # fmt: skip
    assert training_settings(config) == TrainingSettings(
        epochs=epochs,
        steps=steps,
        batch_size=7,
        learning_rate=0.25,
        momentum=0.5,
        weight_decay=0.125,
        precision="bfloat16",
        rounds=10,
    )

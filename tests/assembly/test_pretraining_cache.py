"""Pretrained weights are made once, checked when they are used again, and made anew when they are not right."""

import json
import logging
from pathlib import Path

import pytest
import torch

from fedsq_flwr.assembly.network import load_network
from fedsq_flwr.assembly.pretraining import pretrained_file
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.models import save_weights, state_digest
from fedsq_flwr.models.weights import read_weights


def digest(path: Path) -> str:
    return state_digest(read_weights(path)[0])


def test_pretraining_is_done_once(settings, source: list[int]) -> None:
    config = settings()
    first = pretrained_file(config)
    written = first.stat().st_mtime_ns
    assert pretrained_file(settings()) == first
    load_network(config, 10)
    assert len(source) == 1
    assert first.stat().st_mtime_ns == written


def test_the_file_is_in_the_cache_and_says_how_it_was_made(settings, cache: Path) -> None:
    path = pretrained_file(settings())
    assert path.parent == cache
    assert path.name.startswith("resnet20-mnist-")
    _, metadata = read_weights(path)
    assert '"epochs": 1' in metadata["recipe"]
    assert torch.__version__ in metadata["recipe"]


def test_the_recipe_has_the_text_of_version_0_1_so_that_its_files_are_found(settings) -> None:
    _, metadata = read_weights(pretrained_file(settings()))
    assert '"deviation": 0.3081, "mean": 0.1307' in metadata["recipe"]
    assert json.loads(metadata["recipe"])["pipeline"][1] == {"mean": 0.1307, "deviation": 0.3081}


@pytest.mark.parametrize(
    "override",
    [
        "backbone.pretraining.epochs=2",
        "backbone.pretraining.batch_size=16",
        "backbone.pretraining.learning_rate=0.2",
        "backbone.pretraining.seed=1",
        "backbone.in_channels=3",
        "backbone.image_size=9",
        "backbone.name=resnet32",
    ],
)
def test_another_recipe_has_a_file_and_weights_of_its_own(settings, source: list[int], override: str) -> None:
    first, other = pretrained_file(settings()), pretrained_file(settings(override))
    assert first != other
    assert len(source) == 2
    assert digest(first) != digest(other)


@pytest.mark.parametrize(
    "override", ["seed=1", "method=fedavg", "batch_norm=frozen", "backbone.head=normal", "learning_rate=0.5"]
)
def test_settings_outside_the_recipe_share_the_file(settings, source: list[int], override: str) -> None:
    assert pretrained_file(settings()) == pretrained_file(settings(override))
    assert len(source) == 1


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_file_is_made_again_with_a_warning(settings, source: list[int], caplog, damage: str) -> None:
    path = pretrained_file(settings())
    whole, expected = path.read_bytes(), digest(path)
    path.write_bytes({"flipped": whole[:-1] + bytes([whole[-1] ^ 1]), "cut": whole[:-9], "empty": b""}[damage])
    caplog.clear()

    with caplog.at_level(logging.WARNING):
        assert pretrained_file(settings()) == path

    (warning,) = caplog.messages
    assert str(path) in warning
    assert "it is made again" in warning
    assert len(source) == 2
    assert digest(path) == expected


@pytest.mark.parametrize("metadata", [{"recipe": "another"}, {}])
def test_a_file_of_another_recipe_is_not_used(settings, source: list[int], caplog, metadata: dict[str, str]) -> None:
    path = pretrained_file(settings())
    expected = digest(path)
    save_weights(path, {name: tensor + 1 for name, tensor in read_weights(path)[0].items()}, metadata)
    caplog.clear()

    with caplog.at_level(logging.WARNING):
        load_network(settings(), 10)

    assert any("another recipe" in message for message in caplog.messages)
    assert len(source) == 2
    assert digest(path) == expected


def test_pretraining_runs_on_one_thread_whatever_the_process_uses(settings, source: list[int]) -> None:
    with torch_threads(2):
        path = pretrained_file(settings())
        assert torch.get_num_threads() == 2
    assert source == [1]
    two_threads = digest(path)
    path.unlink()
    assert digest(pretrained_file(settings())) == two_threads


def test_the_network_has_the_files_weights_and_has_learnt(settings) -> None:
    config = settings()
    network = load_network(config, 10)
    assert state_digest(network.state_dict()) == digest(pretrained_file(config))
    assert network.bn1.num_batches_tracked.item() == 2
    assert network.fc.out_features == 10


def test_an_interrupted_pretraining_leaves_no_file(settings, cache: Path, monkeypatch) -> None:
    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedsq_flwr.assembly.pretraining.pretrain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrained_file(settings())
    assert not list(cache.glob("*"))


def test_the_log_tells_how_many_images_and_each_epoch(settings, caplog) -> None:
    with caplog.at_level(logging.INFO):
        pretrained_file(settings("backbone.pretraining.epochs=2"))
    assert [message.partition(":")[0] for message in caplog.messages if "epoch" in message] == [
        "pretraining epoch 1/2",
        "pretraining epoch 2/2",
    ]

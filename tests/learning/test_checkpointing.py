"""A training that was interrupted goes on to the bit, and only where it is the same training."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.federation.silo import RoundOrders, Silo
from fedsq_flwr.gating import DualCopy, GateCache, QuantitativeCopy
from fedsq_flwr.learning import TrainingSettings
from fedsq_flwr.learning.checkpointing import Progress, TrainingCheckpoint

SETTINGS = TrainingSettings(epochs=2.5, batch_size=6, learning_rate=0.1)  # 10 steps of 21 images


class KilledError(Exception):
    """The process ends."""


class Killing(TrainingCheckpoint):
    """Writes after each step, and lets the process end after some of them."""

    def __init__(self, path: Path, steps: int) -> None:
        super().__init__(path, 0.0)
        self._end = steps

    def write(self, progress: Progress, *parts: Any) -> None:
        super().write(progress, *parts)
        if progress.steps == self._end:
            raise KilledError


@pytest.fixture
def train(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[..., tuple[bytes, float]]:
    """Train a silo that was just started; return the bits of its reply, and the loss."""

    def train(
        checkpoint: TrainingCheckpoint | None,
        settings: TrainingSettings = SETTINGS,
        kind: type[QuantitativeCopy] = DualCopy,
        batch_norm: str = "batch",
        start: float = 0.0,
        server_round: int = 1,
        mu: float = 0.0,
        cached: bool = False,
        head_only: bool = False,
        more: int = 0,
        used: bool = False,
    ) -> tuple[bytes, float]:
        model = kind(network, batch_norm=batch_norm)
        state = {n: t + start if t.is_floating_point() else t.clone() for n, t in model.quantitative_state().items()}
        if used:
            model.train()(images)  # what a message finds in a model does not matter
        samples = images[: 21 - more], labels[: 21 - more]
        one = Silo(
            model,
            train=samples,
            held_out=samples,
            settings=settings,
            number=0,
            seed=0,
            gates=GateCache() if cached else None,
            checkpoint=checkpoint,
        )
        orders = RoundOrders(server_round, model.fingerprint, head_only=head_only, proximal_mu=mu)
        reply = one.train(state, orders)
        return b"".join(tensor.numpy().tobytes() for tensor in reply.state.values()), reply.loss

    return train


WAYS: dict[str, dict[str, Any]] = {
    "fixed gates": {},
    "cached gates, flips": {"cached": True, "settings": replace(SETTINGS, augmentation="flip")},
    "flips and crops, FedProx": {"mu": 0.5, "settings": replace(SETTINGS, augmentation="flip_crop")},
    "own ReLUs, no momentum": {"kind": QuantitativeCopy, "settings": replace(SETTINGS, momentum=0.0)},
    "head only, frozen": {"head_only": True, "batch_norm": "frozen"},
    "steps, weight decay": {"settings": replace(SETTINGS, epochs=0, steps=10, weight_decay=0.1)},
    "bfloat16": {"settings": replace(SETTINGS, precision="bfloat16")},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_training_that_is_interrupted_at_any_step_ends_as_without(
    train, tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    expected, path = train(None, **WAYS[way]), tmp_path / "state" / "silo-0.pt"
    assert train(TrainingCheckpoint(path, 0.0), **WAYS[way]) == expected
    path.unlink()
    for steps in range(1, 11):
        with pytest.raises(KilledError):
            train(Killing(path, steps), used=steps % 2 == 0, **WAYS[way])
        assert caplog.text.count("training goes on after step ") == (steps - 1) + (steps - 1) // 3
        if steps % 3 == 0:
            assert train(TrainingCheckpoint(path, 1e9), **WAYS[way]) == expected
    assert train(TrainingCheckpoint(path, 1e9), **WAYS[way]) == expected


OTHERS: dict[str, dict[str, Any]] = {
    "model": {"start": 0.01},
    "round": {"server_round": 2},
    "settings": {"settings": replace(SETTINGS, learning_rate=0.05)},
    "orders": {"mu": 0.5},
    "images": {"more": 1},
}


@pytest.mark.parametrize("other", [*OTHERS, "run"])
def test_another_training_begins_at_the_start_and_removes_what_was_kept(train, tmp_path: Path, other: str) -> None:
    path, given = tmp_path / "silo-0.pt", OTHERS.get(other, {})
    with pytest.raises(KilledError):
        train(Killing(path, 5))
    run = "2 digest" if other == "run" else ""
    assert train(TrainingCheckpoint(path, 1e9, run), **given) == train(None, **given)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"\x80\x04}."])
def test_a_file_that_cannot_be_read_costs_a_line_and_the_training_begins_again(
    train, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "silo-0.pt"
    path.write_bytes(content)
    assert train(TrainingCheckpoint(path, 1e9)) == train(None)
    assert "silo-0.pt: cannot be read (" in caplog.text
    assert not path.exists()


def test_a_disk_that_is_full_ends_no_training(train, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert train(TrainingCheckpoint(tmp_path / "file" / "silo-0.pt", 0.0)) == train(None)
    assert "the training in progress cannot be kept: " in caplog.text


def test_the_seconds_of_all_attempts_are_told(train, tmp_path: Path) -> None:
    path = tmp_path / "silo-0.pt"
    with pytest.raises(KilledError):
        train(Killing(path, 5))
    kept = torch.load(path, weights_only=True)
    assert 0 < kept["seconds"] < 60
    torch.save({**kept, "seconds": 1000.0}, path)
    checkpoint = TrainingCheckpoint(path, 0.0)
    train(checkpoint)
    assert torch.load(path, weights_only=True)["seconds"] > 1000

"""Event files, read back by TensorBoard's own reader."""

from pathlib import Path

import pytest

pytest.importorskip("tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fedsq_flwr.trackers.tensorboard import TensorBoard


def read(directory: Path) -> EventAccumulator:
    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    return events


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 6)) for event in events.Scalars(tag)]


def test_figures_come_back_and_a_resumed_run_adds_to_them(tmp_path: Path) -> None:
    first = TensorBoard(tmp_path)
    assert first.start("name", {"method.mu": 0.1}, None) == "tensorboard"
    first.round(1, {"accuracy": 0.25})
    assert scalars(read(tmp_path), "accuracy") == [(1, 0.25)]  # on the disk while the run goes on
    first.fail("interrupted")

    second = TensorBoard(tmp_path)
    second.start("name", {"method.mu": 0.1}, "tensorboard")
    second.round(2, {"accuracy": 0.5})
    second.finish({"summary/best_accuracy": 0.5})
    events = read(tmp_path)
    assert scalars(events, "accuracy") == [(1, 0.25), (2, 0.5)]
    assert scalars(events, "summary/best_accuracy") == [(2, 0.5)]
    (text, *_) = events.Tensors("settings/text_summary")
    assert b"| method.mu | 0.1 |" in text.tensor_proto.string_val[0]
    (outcome,) = events.Tensors("outcome/text_summary")
    assert outcome.tensor_proto.string_val[0] == b"interrupted"

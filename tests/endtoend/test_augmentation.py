"""Augmented and lazily prepared images in whole runs, to the bit."""

import numpy as np
import pytest
import torch

from fedsq_flwr.data import DataSource, LabelledImages
from fedsq_flwr.settings.composition import compose_settings
from tests.endtoend.conftest import read_history, read_summary

LINE = "an image has too many views to keep its gates"


def numbers(directory):
    lines = [{k: v for k, v in line.items() if "seconds" not in k} for line in read_history(directory)]
    return lines, read_summary(directory)["weights_sha256"]


def test_flipped_gates_that_are_kept_change_no_bit(run):
    flip = ("silos=2", "rounds=1", "local_epochs=2", "data.augmentation=flip")
    kept, without = run(*flip, name="kept"), run(*flip, "executor.gate_cache_bytes=0", name="without")
    assert numbers(kept) == numbers(without)
    assert LINE not in (kept / "run.log").read_text()


def test_a_resumed_run_ends_as_an_uninterrupted_one(run):
    flip = ("silos=2", "data.augmentation=flip")
    whole = run("rounds=2", *flip, "executor.workers=2", name="whole")
    run("rounds=1", *flip, name="broken")
    assert numbers(run("rounds=2", *flip, "resume=true", name="broken")) == numbers(whole)


def test_every_method_takes_augmented_images_and_the_log_says_whose_gates_are_not_kept(run):
    crop, plain = ("silos=2", "rounds=1", "data.augmentation=flip_crop"), ("silos=2", "rounds=1")
    fixed, own = run(*crop, name="fixed"), run(*crop, "method=fedavg", name="own")
    assert LINE in (fixed / "run.log").read_text()
    assert LINE not in (own / "run.log").read_text()
    assert numbers(fixed) != numbers(run(*plain, name="plain"))


def test_images_are_not_flipped_by_default(tmp_path):
    for chosen in ([], ["data=imagefolder", f"data.path={tmp_path}"]):
        assert compose_settings(chosen).data.augmentation == "none"


@pytest.fixture
def colours(monkeypatch):
    """Make the task 200 images in colour, as bytes or as the same pixels in floats, with a validation set."""

    def set_up(dtype):
        def part(count, seed):
            draw = np.random.default_rng(seed)
            values = torch.from_numpy(draw.integers(0, 256, (count, 3, 12, 12), dtype=np.uint8))
            labels = torch.from_numpy(draw.integers(0, 4, count))
            return LabelledImages(values if dtype == torch.uint8 else values.float() / 255, labels)

        source = DataSource(part(120, 0), part(40, 1), ("a", "b", "c", "d"), part(40, 2))
        monkeypatch.setattr("fedsq_flwr.assembly.data.load_source", lambda *_: source)

    return set_up


def test_images_prepared_lazily_give_the_bits_of_those_prepared_at_once(run, colours, monkeypatch):
    settings = ("data.augmentation=flip", "rounds=1", "backbone.in_channels=3", "diagnostics=true", "silos=2")
    colours(torch.float32)
    at_once = run(*settings, name="at_once")
    colours(torch.uint8)
    assert numbers(run(*settings, name="bytes_at_once")) == numbers(at_once)
    monkeypatch.setattr("fedsq_flwr.assembly.data.KEEP_PREPARED_BYTES", 0)
    assert numbers(run(*settings, "executor.workers=2", name="lazily")) == numbers(at_once)

"""The task of a run: fitted to the backbone, shared out by the settings."""

import pytest
import torch

from fedsq_flwr.assembly.data import load_task
from fedsq_flwr.data.sources import load_digits
from fedsq_flwr.errors import DataError
from fedsq_flwr.settings.composition import compose_settings


def test_images_are_as_the_backbone_wants_them() -> None:
    task = load_task(compose_settings(["backbone.image_size=12", "backbone.in_channels=3"]), 10)
    for part in [task.validation, task.test, *task.train]:
        assert part.images.shape[1:] == (3, 12, 12)
    assert task.train[0].images.min().item() == pytest.approx(-0.1307 / 0.3081, rel=1e-4)


def test_the_digits_are_split_as_the_design_says() -> None:
    task = load_task(compose_settings(), 10)
    assert len(task.test) == 360
    assert len(task.validation) == 144
    assert sum(map(len, [*task.train, *task.held_out])) == 1797 - 360 - 144
    assert torch.equal(task.test.labels, load_digits().test.labels)
    assert task.class_names == tuple("0123456789")


def test_the_number_of_silos_is_the_one_asked_for() -> None:
    assert len(load_task(compose_settings(), 3).train) == 3


@pytest.mark.parametrize(
    "override",
    ["seed=1", "partition=iid", "partition.alpha=5.0", "validation_fraction=0.2", "data.held_out_fraction=0.3"],
)
def test_every_setting_of_the_split_has_an_effect(override: str) -> None:
    default, changed = load_task(compose_settings(), 10), load_task(compose_settings([override]), 10)
    assert (default.indices, [len(part) for part in default.train]) != (
        changed.indices,
        [len(part) for part in changed.train],
    )


@pytest.mark.parametrize("override", ["method=fedavg", "backbone.image_size=8", "learning_rate=0.5"])
def test_what_does_not_concern_the_split_does_not_change_it(override: str) -> None:
    assert load_task(compose_settings([override]), 10).indices == load_task(compose_settings(), 10).indices


def test_too_many_silos_are_refused_in_one_line() -> None:
    with pytest.raises(DataError, match=r"silos=200 with partition\.min_size=10 need 2000 samples; there are 1293"):
        load_task(compose_settings(["silos=200"]), 200)

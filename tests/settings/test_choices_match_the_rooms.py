"""The words that the settings allow are those that the rooms implement."""

import pytest
from fedsq_flwr.config.allowed import CHOICES
from fedsq_flwr.config.allowed import TRACKERS as TRACKERS_ALLOWED
from fedsq_flwr.config.backbones import NETWORKS
from fedsq_flwr.data.partition_plan import PARTITIONS

from fedsq_flwr.data import PUBLISHED, SOURCES
from fedsq_flwr.federation.aggregation import AGGREGATIONS
from fedsq_flwr.job import EXECUTORS
from fedsq_flwr.learning import AUGMENTATIONS
from fedsq_flwr.learning.precision import PRECISIONS
from fedsq_flwr.learning.schedule import SCHEDULES
from fedsq_flwr.models import BACKBONES
from fedsq_flwr.models.batch_norm import POLICIES
from fedsq_flwr.models.head import INITIALISATIONS
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.trackers.registry import TRACKERS

IMPLEMENTED = {
    "backbone.name": BACKBONES,
    "data.name": [*SOURCES, *PUBLISHED, "imagefolder"],
    "data.augmentation": AUGMENTATIONS,
    "partition.name": [*PARTITIONS, "file"],
    "batch_norm": POLICIES,
    "backbone.head": [*INITIALISATIONS, "keep"],
    "executor.precision": PRECISIONS,
    "executor.name": EXECUTORS,
    "method.aggregation": AGGREGATIONS,
    "learning_rate_schedule": SCHEDULES,
}


@pytest.mark.parametrize("setting", IMPLEMENTED)
def test_the_choices_are_what_is_implemented(setting: str) -> None:
    assert set(CHOICES[setting]) == set(IMPLEMENTED[setting])
    assert len(CHOICES[setting]) == len(IMPLEMENTED[setting])


def test_the_trackers_that_may_be_listed_are_those_there_are() -> None:
    assert set(TRACKERS_ALLOWED) == set(TRACKERS)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_a_file_of_settings_that_composes(name: str) -> None:
    backbone = compose_settings([f"backbone={name}"]).backbone
    assert backbone.name == name
    assert (backbone.weights == "IMAGENET1K_V1") is NETWORKS[name].torchvision
    assert (backbone.mean, backbone.std) == (None, None)

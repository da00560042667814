"""The words that the settings allow are those that the rooms implement."""

from typing import get_args

import pytest

from fedsq_flwr.data import PUBLISHED, load_source
from fedsq_flwr.data.partitioners import candidates
from fedsq_flwr.federation.aggregation import build_aggregation
from fedsq_flwr.federation.central_privacy import build_wrapper
from fedsq_flwr.learning import AUGMENTATIONS
from fedsq_flwr.learning.precision import PRECISIONS
from fedsq_flwr.learning.schedule import SCHEDULES
from fedsq_flwr.models import BACKBONES
from fedsq_flwr.models.batch_norm import POLICIES
from fedsq_flwr.models.head import INITIALISATIONS
from fedsq_flwr.settings.backbone import TorchvisionBackbone
from fedsq_flwr.settings.base import Settings
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.data import ImageFolderData, PublishedData
from fedsq_flwr.settings.fields import catalogue, tags_of, variants_of
from fedsq_flwr.settings.method import NoPrivacy
from fedsq_flwr.settings.partition import SavedPartition
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.trackers.registry import TRACKERS

IMPLEMENTED = {
    "backbone.name": BACKBONES,
    "data.augmentation": AUGMENTATIONS,
    "batch_norm": POLICIES,
    "backbone.head": [*INITIALISATIONS, "keep"],
    "executor.precision": PRECISIONS,
    "learning_rate_schedule": SCHEDULES,
    "trackers": TRACKERS,
}
CATALOGUE = catalogue(RunSettings)


def choices(setting: str) -> list[str]:
    """Return the words that the settings allow, in any variant."""
    annotations = {info.annotation: info for info in CATALOGUE[setting].fields.values()}
    literals = (get_args(kind)[0] if setting == "trackers" else kind for kind in annotations)
    return [word for literal in literals for word in get_args(literal)]


@pytest.mark.parametrize("setting", IMPLEMENTED)
def test_the_choices_are_what_is_implemented(setting: str) -> None:
    assert sorted(choices(setting)) == sorted(IMPLEMENTED[setting])


def variants(group: str, field: str) -> list[type[Settings]]:
    return [each for each in variants_of(group_class(group).model_fields[field]) if issubclass(each, Settings)]


def group_class(group: str) -> type[Settings]:
    (owner,) = variants_of(RunSettings.model_fields[group])
    assert issubclass(owner, Settings)
    return owner


@pytest.mark.parametrize("variant", variants("method", "central_privacy"))
def test_every_privacy_of_the_server_is_implemented(variant: type[Settings]) -> None:
    assert variant in {*build_wrapper.registry, NoPrivacy}


@pytest.mark.parametrize("variant", variants("method", "averaging"))
def test_every_aggregation_is_implemented(variant: type[Settings]) -> None:
    assert build_aggregation.dispatch(variant) is not build_aggregation.dispatch(object)


@pytest.mark.parametrize("variant", variants_of(RunSettings.model_fields["partition"]))
def test_every_partition_is_implemented_but_for_a_saved_one(variant: type[Settings]) -> None:
    implemented = candidates.dispatch(variant) is not candidates.dispatch(object)
    assert implemented is (variant is not SavedPartition)  # which is read, and not drawn


@pytest.mark.parametrize("variant", variants_of(RunSettings.model_fields["data"]))
def test_every_data_set_is_implemented(variant: type[Settings]) -> None:
    implemented = load_source.dispatch(variant) is not load_source.dispatch(object)
    assert implemented is (variant is not ImageFolderData)  # which is read for the backbone
    if issubclass(variant, PublishedData):
        assert set(tags_of(variant, "name")) <= PUBLISHED.keys()


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_a_file_of_settings_that_composes(name: str) -> None:
    backbone = compose_settings([f"backbone={name}"]).backbone
    assert backbone.name == name
    assert (backbone.weights == "IMAGENET1K_V1") is isinstance(backbone, TorchvisionBackbone)
    assert (backbone.mean, backbone.std) == (None, None)

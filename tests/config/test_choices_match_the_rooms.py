"""The words that the settings allow are those that the rooms implement."""

import pytest

from fedsq_flwr.backbones import BACKBONES
from fedsq_flwr.config.validation import CHOICES
from fedsq_flwr.data import SOURCES
from fedsq_flwr.data.partitions import PARTITIONS
from fedsq_flwr.gating.batch_norm import POLICIES
from fedsq_flwr.gating.head import INITIALISATIONS
from fedsq_flwr.job import EXECUTORS
from fedsq_flwr.learning.precision import PRECISIONS

IMPLEMENTED = {
    "backbone.name": BACKBONES,
    "data.name": SOURCES,
    "partition.name": PARTITIONS,
    "batch_norm": POLICIES,
    "backbone.head": [*INITIALISATIONS, "keep"],
    "executor.precision": PRECISIONS,
    "executor.name": EXECUTORS,
}


@pytest.mark.parametrize("setting", IMPLEMENTED)
def test_the_choices_are_what_is_implemented(setting: str) -> None:
    assert set(CHOICES[setting]) == set(IMPLEMENTED[setting])
    assert len(CHOICES[setting]) == len(IMPLEMENTED[setting])

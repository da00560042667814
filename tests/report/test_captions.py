"""Sentences that depend on the run."""

import pytest

from fedsq_flwr.files import check_as
from fedsq_flwr.report.captions import about_partition, of_partition
from fedsq_flwr.settings.partition_file import PartitionFile
from fedsq_flwr.settings.run import RunSettings

KINDS = {
    "iid": "equal random shares",
    "dirichlet": "Dirichlet, alpha 0.5",
    "pathological": "2 classes a silo",
    "shards": "2 shards a silo",
    "quantity": "sizes by Dirichlet, alpha 0.5",
    "natural": "natural groups",
}
DRAWN = {"alpha": 0.5, "classes_per_silo": 2, "shards_per_silo": 2, "seed": 4, "class_names": ["a", "b"]}
DRAWN |= {"validation": 1, "test": 1, "counts": [[3, 0], [1, 2]], "held_out": [0, 0]}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_partition_is_named_with_its_parameter(name: str) -> None:
    assert about_partition(RunSettings.parse({"experiment": "digits", "partition": {"name": name}})) == KINDS[name]
    drawn = DRAWN | {"name": name}
    assert f"({KINDS[name]}, seed 4): " in of_partition(check_as(PartitionFile, drawn, "it"))
    reused = drawn | {"file": "p.json"}
    assert f"({KINDS[name]}, seed 4; of another run, reused): " in of_partition(check_as(PartitionFile, reused, "it"))


def test_a_reused_partition_is_told_in_the_head_too() -> None:
    saved = {"experiment": "digits", "partition": {"name": "file", "file": "/p.json"}}
    assert about_partition(RunSettings.parse(saved)) == "the partition of another run"

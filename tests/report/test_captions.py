"""Sentences that depend on the run."""

from dataclasses import replace

import pytest

from fedsq_flwr.report.captions import about_partition, of_partition
from fedsq_flwr.report.records import Partition
from fedsq_flwr.report.rundir import read_run

KINDS = {
    "iid": "equal random shares",
    "dirichlet": "Dirichlet, alpha 0.5",
    "pathological": "2 classes a silo",
    "shards": "1 shard a silo",
    "quantity": "sizes by Dirichlet, alpha 0.5",
    "natural": "natural groups",
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_partition_is_named_with_its_parameter(make_run, name: str) -> None:
    own = {"partition": name, "alpha": 0.5, "classes_per_silo": 2, "shards_per_silo": 1}
    assert about_partition(replace(read_run(make_run().write()).settings, **own)) == KINDS[name]
    drawn = Partition(name, 0.5, 2, 1, 4, None, ("a", "b"), ((3, 0), (1, 2)), (0, 0), None, None)
    assert f"({KINDS[name]}, seed 4): " in of_partition(drawn)
    assert f"({KINDS[name]}, seed 4; of another run, reused): " in of_partition(replace(drawn, file="p.json"))


def test_a_reused_partition_is_told_in_the_head_too(make_run) -> None:
    settings = read_run(make_run().write()).settings
    assert about_partition(replace(settings, partition="file")) == "the partition of another run"

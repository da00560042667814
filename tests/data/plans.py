"""Partition plans for tests."""

from fedsq_flwr.data import PartitionPlan


def plan(name: str = "dirichlet", silos: int = 10, min_size: int = 1, **parameters: float) -> PartitionPlan:
    """Return a plan with the parameters of the defaults, where no others are given."""
    settings = {"alpha": 0.5, "classes_per_silo": 2, "shards_per_silo": 2, "merge_groups": False, **parameters}
    return PartitionPlan(name, silos, min_size, **settings)

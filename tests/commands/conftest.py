"""A short run with a few digits, made once, whose model is then used."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsq_flwr.learning.threads import torch_threads
from tests.endtoend.conftest import SMALL, few_digits, run_in


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with runs of two methods, and of two with gates that change; not to be changed."""
    parent = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(parent)
        few_digits(patch)
        wanted = {
            "fedsq": ["method=fedsq"],
            "fedavg": ["method=fedavg"],
            "refreshed": ["method.refresh_every=1"],
            "released": ["method.release_after=1"],
        }
        for name, overrides in wanted.items():
            run_in(parent, (*SMALL, "validation_fraction=0.2", *overrides), name=name)
    return parent


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are faster on one thread, by far on a busy machine."""
    with torch_threads(1):
        yield

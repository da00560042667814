"""``executor.kernels``: compiled kernels are taken where they are; where they are not, a run begins all the same."""

from pathlib import Path

import pytest

from fedsq_flwr.assembly.model import prepare_torch
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.gating.packed import native


@pytest.fixture
def damaged(cache: Path) -> Path:
    cache.mkdir()
    native.library(cache).write_bytes(b"of another machine")
    return cache


def test_auto_goes_on_without_kernels_that_are_not_there(settings, cache: Path, caplog) -> None:
    prepare_torch(settings())
    assert not native.is_loaded()
    assert not caplog.records
    assert not cache.exists()


def test_auto_tells_once_of_kernels_that_cannot_be_loaded_and_goes_on(settings, damaged: Path, caplog) -> None:
    for _ in range(3):  # as at each message
        prepare_torch(settings())
    (record,) = caplog.records
    assert record.getMessage().startswith(f"executor.kernels=auto: {native.library(damaged)} cannot be loaded")


@pytest.mark.usefixtures("damaged")
def test_native_kernels_that_cannot_be_loaded_end_the_run_in_one_line(settings) -> None:
    with pytest.raises(ConfigurationError, match=r"executor\.kernels=native: .* cannot be loaded") as caught:
        prepare_torch(settings("executor.kernels=native"))
    assert "\n" not in str(caught.value)

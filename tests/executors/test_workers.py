"""How many silos train side by side in one process."""

import os

import pytest

from fedsq_flwr.executors.inprocess import workers_of
from fedsq_flwr.settings.composition import compose_settings


@pytest.mark.parametrize("backbone", ["alexnet", "vgg11", "squeezenet1_1", "googlenet"])
def test_silos_with_dropout_train_one_after_the_other(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads share the generator that dropout draws from, so the numbers would depend on who comes first."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert workers_of(compose_settings([f"backbone={backbone}", "executor=inprocess"])) == 1


def test_others_train_side_by_side_as_the_cores_allow_or_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for overrides, workers in [([], 8), (["executor.threads=3"], 2), (["executor.workers=5"], 5)]:
        assert workers_of(compose_settings(["executor=inprocess", *overrides])) == workers

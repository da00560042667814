"""Small sweeps: directories with runs below them whose accuracies are given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import RunFiles


class Sweep:
    """Runs below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def files(
        self,
        name: str,
        method: str = "fedsq",
        seed: int = 0,
        accuracies: Sequence[float] = (0.5, 0.8, 0.7),
        tests: Sequence[float] | None = None,
        **settings: Any,
    ) -> RunFiles:
        """Make a run's files; ``settings`` are others, a double underscore for the dot in their names."""
        files = RunFiles(self.directory / name, len(accuracies), 2, 2)
        tests = accuracies if tests is None else tests
        for line, accuracy, test in zip(files.history, accuracies, tests, strict=True):
            line.update(accuracy=accuracy, test_accuracy=test)
        best = max(range(len(accuracies)), key=lambda place: (accuracies[place], -place))
        files.summary.update(
            method=method,
            seed=seed,
            best_accuracy=accuracies[best],
            rounds_to_best=best + 1,
            accuracy_auc=sum(accuracies) / len(accuracies),
            test_accuracy=tests[best],
            final_accuracy=tests[-1],
        )
        gates = "pretrained" if method.startswith("fedsq") else "none"
        files.set(method__name=method, method__gates=gates, seed=seed, **settings)
        return files

    def add(self, name: str, method: str = "fedsq", seed: int = 0, **how: Any) -> Path:
        """Write a run."""
        return self.files(name, method, seed, **how).write()


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """An empty sweep."""
    return Sweep(tmp_path / "sweep")

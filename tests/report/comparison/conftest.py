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
        files.config = files.config.replace("name: fedsq", f"name: {method}").replace("seed: 0", f"seed: {seed}")
        for dotted, value in settings.items():
            *group, last = dotted.split("__")
            files.config = _set(files.config, group, last, value)
        return files

    def add(self, name: str, method: str = "fedsq", seed: int = 0, **how: Any) -> Path:
        """Write a run."""
        return self.files(name, method, seed, **how).write()


def _set(config: str, group: list[str], name: str, value: Any) -> str:
    """Set a line of the settings, or add it."""
    lines = config.splitlines()
    start = lines.index(f"{group[0]}:") + 1 if group else 0
    indent = "  " if group else ""
    for place in range(start, len(lines)):
        if group and not lines[place].startswith(indent):
            break
        if lines[place].startswith(f"{indent}{name}:"):
            lines[place] = f"{indent}{name}: {value}"
            return "\n".join(lines) + "\n"
    lines.insert(start, f"{indent}{name}: {value}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """An empty sweep."""
    return Sweep(tmp_path / "sweep")

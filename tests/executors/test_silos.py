"""The executor of real silos: what is said of a run that did not complete."""

from pathlib import Path

import pytest

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors import silos
from fedsq_flwr.settings.composition import compose_settings


class Commands:
    """Stands for Flower's commands: the run that they start is over, with a status."""

    def __init__(self, home: Path, status: str) -> None:
        self.home, self._status = home, status

    def __enter__(self) -> "Commands":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def connect(self, *_: object, **__: object) -> None:
        pass

    def run(self, *_: object) -> "Commands":
        return self

    def poll(self) -> int:
        return 0

    def final_status(self, _: object) -> str:
        return self._status


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("finished:stopped", "the run was stopped there (flwr stop) (status: finished:stopped;"),
        ("finished:failed", "no reason given (status: finished:failed;"),
    ],
)
def test_how_a_run_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, told: str) -> None:
    monkeypatch.setattr(silos, "FlowerCommands", lambda *_: Commands(tmp_path, status))
    overrides = ["executor=silos", "executor.superlink=127.0.0.1:9093", f"output={tmp_path}", "data.path=x"]
    with pytest.raises(RunFailedError) as raised:
        silos.run_silos(compose_settings([*overrides, "data=imagefolder"], files=False), lambda _: None)
    assert str(raised.value).startswith(told)

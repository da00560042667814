"""The executor with a toy app in the real thing: `flwr run`, a SuperLink, Ray."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors.flower_app import FlowerApp
from fedsq_flwr.executors.processes import is_alive
from fedsq_flwr.executors.simulation import run_simulation
from fedsq_flwr.records.history import Line
from fedsq_flwr.settings.run import RunSettings

CHECKOUT = Path(__file__).parents[2]
TOY = FlowerApp("toyapp.server_app:app", "toyapp.client_app:app")

pytestmark = pytest.mark.slow


class Watcher:
    """Keeps the lines it is told, and every process that runs below this one meanwhile."""

    def __init__(self, then: Any = None) -> None:
        self.lines: list[Line] = []
        self.processes: set[psutil.Process] = set()
        self.home: Path | None = None
        self.told_at = 0.0
        self._then = then

    def __call__(self, line: Line) -> None:
        self.lines.append(line)
        self.told_at = time.monotonic()
        self.processes |= set(psutil.Process().children(recursive=True))
        for process in self.processes:
            if any("flower-superlink" in word for word in process.cmdline()):
                self.home = Path(process.environ()["FLWR_HOME"])
        if self._then is not None:
            self._then(line)

    def assert_nothing_is_left(self) -> None:
        assert self.home is not None
        assert not self.home.exists()
        names = {process.name() if is_alive(process) else "" for process in self.processes}
        assert names == {""}
        assert psutil.Process().children(recursive=True) == []


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSettings:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    # What would lead a run astray if it were not kept from it.
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "not here"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    output = tmp_path / "a run"
    output.mkdir()
    executor = {"name": "simulation", "client_cpus": 1, "client_gpus": 0.0, "threads": 2}
    told = {"experiment": "ends", "silos": 3, "rounds": 1, "output": str(output), "executor": executor}
    return RunSettings.parse(told)


def test_a_run_that_completes(settings: RunSettings) -> None:
    output = Path(settings.output)
    (output / "history.jsonl").write_text('{"round": 0, "of": "an earlier run"}\n')
    named = r"""it's "so" = [1, {a: 2}] # $HOME \n \" é"""
    settings = settings.changed(
        rounds=2, experiment=f"{named}\nand more", data={"classes": ["a=b c", "[1, 2]", named]}
    )
    watcher = Watcher()

    run_simulation(settings, watcher, app=TOY)

    assert [line.round for line in watcher.lines] == [1, 2]
    assert [line.replies for line in watcher.lines] == [3, 3]  # silos
    assert json.loads((output / "processes.json").read_text())["threads"] == [2, 2, 2]
    received = json.loads((output / "received.json").read_text())
    assert received == {"settings": settings.to_json()}
    assert RunSettings.from_json(received["settings"]) == settings
    log = (output / "flower.log").read_text()
    assert "Starting Flower SuperLink" in log
    assert "Starting Flower Simulation" in log
    assert "\x1b" not in log
    watcher.assert_nothing_is_left()


def test_a_server_app_that_raises(settings: RunSettings) -> None:
    (Path(settings.output) / "failure.json").write_text('{"error": "of an earlier attempt"}')
    watcher = Watcher()
    with pytest.raises(RunFailedError) as raised:
        run_simulation(settings.changed(experiment="raise"), watcher, app=TOY)
    log = Path(settings.output) / "flower.log"
    assert str(raised.value) == f"ValueError: boom, and (status: finished:failed; log: {log})"
    assert "ValueError: boom, and\na second line" in log.read_text()
    watcher.assert_nothing_is_left()


def test_a_simulation_that_is_killed(settings: RunSettings) -> None:
    told = Path(settings.output) / "processes.json"
    watcher = Watcher(lambda _: psutil.Process(json.loads(told.read_text())["server"]).kill())
    with pytest.raises(RunFailedError, match=r"^flwr-simulation ended in mid-run \(status: running; log: .*log\)$"):
        run_simulation(settings.changed(experiment="wait"), watcher, app=TOY)
    assert time.monotonic() - watcher.told_at < 20
    watcher.assert_nothing_is_left()


def test_ctrl_c(settings: RunSettings) -> None:
    watcher = Watcher(lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run_simulation(settings.changed(experiment="wait"), watcher, app=TOY)
    assert time.monotonic() - watcher.told_at < 15
    watcher.assert_nothing_is_left()


RUN = """
import sys
from fedsq_flwr.executors.simulation import run_simulation
from fedsq_flwr.settings.run import RunSettings
from tests.executors.test_simulation import TOY
run_simulation(RunSettings.from_json(sys.argv[1]), lambda line: print(line.round, flush=True), app=TOY)
"""


def test_a_run_that_is_killed_leaves_nothing(settings: RunSettings) -> None:
    told = settings.changed(experiment="wait").to_json()
    with subprocess.Popen([sys.executable, "-c", RUN, told], cwd=CHECKOUT, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"1\n"
        below = set(psutil.Process(run.pid).children(recursive=True))
        (home,) = (each.environ()["FLWR_HOME"] for each in below if "flower-superlink" in each.cmdline()[1])
        run.kill()
    assert len(below) > 5
    deadline = time.monotonic() + 60
    while any(map(is_alive, below)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {process.name() for process in below if is_alive(process)} == set()
    while Path(home).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(home).exists()


def test_an_app_that_cannot_be_found(settings: RunSettings) -> None:
    with pytest.raises(RunFailedError, match=r"^No module named 'nowhere' \(status: none; log: .*log\)$"):
        run_simulation(settings, Watcher(), app=FlowerApp("nowhere.app:app", TOY.clientapp))
    assert psutil.Process().children(recursive=True) == []

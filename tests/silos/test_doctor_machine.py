"""`fedsq doctor` on the silo's machine: disk, memory, device, and what is installed."""

import os
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.silos.checks import versions
from fedsq_flwr.silos.checks.finding import Mark
from fedsq_flwr.silos.checks.machine import check_device, check_disk, check_memory
from fedsq_flwr.silos.checks.versions import check_versions
from tests.silos.joining import silo_of


def test_a_disk_with_room_is_left_as_it_was(tmp_path: Path) -> None:
    finding = check_disk(silo_of(tmp_path, gate_cache_bytes=1))
    assert finding.mark == Mark.OK
    assert finding.found.startswith(f"{tmp_path / 'state'}, ")
    assert list(tmp_path.iterdir()) == []


def test_a_state_dir_that_is_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("mine")
    finding = check_disk(silo_of(tmp_path))
    assert finding.mark == Mark.FAIL
    assert "cannot be written to: Not a directory" in finding.found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_dir_that_is_closed_fails(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)
    assert check_disk(silo_of(tmp_path)).mark == Mark.FAIL


def test_too_little_room_for_gates_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3000))
    finding = check_disk(silo_of(tmp_path, gate_cache_bytes=7000))
    assert finding.mark == Mark.WARN
    assert "gate_cache_bytes" in finding.advice
    (tmp_path / "state" / "gates").mkdir(parents=True)
    (tmp_path / "state" / "gates" / "kept").write_bytes(b"0" * 5000)  # of the 7,000
    assert check_disk(silo_of(tmp_path, gate_cache_bytes=7000)).mark == Mark.OK


def test_images_are_compared_with_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    run = compose_settings(["backbone=resnet18"])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**9))
    finding = check_memory(run, 1000)  # of 3 x 224 x 224 pixels, 4 bytes each
    assert (finding.mark, finding.found) == (
        Mark.OK,
        "1,000 images of 224 px take 602 MB, 1,000 MB are free",
    )
    assert check_memory(run, 2000).mark == Mark.WARN


def test_the_device_is_chosen_as_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    silo = silo_of(tmp_path, device="cpu")
    assert check_device(silo, 1).found == "cpu, 1 thread on 2 cores"
    assert check_device(silo, None).found == "cpu, 2 cores"
    crowded = check_device(silo, 4)
    assert (crowded.mark, crowded.advice) == (Mark.WARN, "more threads than cores are slow: set threads: 2")
    finding = check_device(silo_of(tmp_path, device="cuda:99"), 1)
    assert finding.mark == Mark.FAIL
    assert finding.found.startswith("device=cuda:99: 'cuda:99' cannot be used here")


def test_what_is_installed_here_will_do() -> None:
    finding = check_versions()
    assert finding.mark == Mark.OK
    assert finding.found.startswith("python 3.")
    assert f"flwr {metadata.version('flwr')}, fedsq-flwr " in finding.found


@pytest.mark.parametrize(
    ("name", "installed", "told"),
    [("flwr", "1.9", "flwr 1.9 is not <1.43,>=1.41"), ("rich", None, "rich is missing")],
)
def test_a_package_of_another_version_fails(
    monkeypatch: pytest.MonkeyPatch, name: str, installed: str | None, told: str
) -> None:
    def pretended(original: Callable[[str], str]) -> Callable[[str], str]:
        def version(asked: str) -> str:
            if asked != name:
                return original(asked)
            if installed is None:
                raise metadata.PackageNotFoundError(name)
            return installed

        return version

    monkeypatch.setattr(versions, "version", pretended(metadata.version))
    finding = check_versions()
    assert finding.mark == Mark.FAIL
    assert finding.found.splitlines()[1] == told


def test_builds_and_prereleases_of_a_right_version_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {"torch": "2.9.0+cu130", "flwr": "1.42.0.dev20260101"}
    monkeypatch.setattr(versions, "version", lambda name: odd.get(name) or metadata.version(name))
    assert check_versions().mark == Mark.OK


def test_another_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions.platform, "python_version", lambda: "3.10.2")
    assert "python 3.10.2 is not >=3.11" in check_versions().found

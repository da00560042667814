"""The directory of a sweep's job says what makes it another job, and fits any file system."""

import json
from pathlib import Path

import pytest

from fedsq_flwr.settings.job_names import job_name, named_among


def test_a_job_is_named_by_its_overrides_in_order():
    assert job_name(["seed=1", "method=fedsq"]) == "method=fedsq,seed=1"


@pytest.mark.parametrize(
    "override",
    [
        "executor=inprocess",
        "executor.workers=1",
        "executor.kernels=native",
        "+executor.gate_cache_bytes=0",
        "executor.round_timeout=3",
        "output=x",
        "cache_dir=x",
        "resume=true",
    ],
)
def test_what_changes_no_number_does_not_name_a_job(override):
    assert job_name(["seed=1", override]) == "seed=1"
    assert job_name([override]) == "defaults"


@pytest.mark.parametrize("override", ["executor.threads=2", "executor.precision=bfloat16", "executor.device=cuda"])
def test_what_of_the_executor_can_change_numbers_does(override):
    assert job_name([override]) == override


FIRST = ["data.limit=40", "method=fedsq", "seed=1", "executor=inprocess"]


def leave_job(directory: Path, name: str, overrides: list[str]) -> None:
    (directory / name / ".hydra").mkdir(parents=True)
    (directory / name / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))


def test_a_job_is_named_by_what_differs_and_nothing_else(tmp_path: Path) -> None:
    assert named_among(FIRST, ["seed", "method"], tmp_path) == "method=fedsq,seed=1"
    assert named_among(["+data.limit=40", "seed=1"], ["seed"], tmp_path) == "seed=1"
    assert named_among(["method=fedsq"], ["seed"], tmp_path) == "defaults"


def test_a_job_finds_its_directory_again(tmp_path: Path) -> None:
    leave_job(tmp_path, "seed=1", FIRST)
    same = ["executor=simulation", *FIRST[:3]]  # in another order, with another executor
    assert named_among(same, ["seed"], tmp_path) == "seed=1"


@pytest.mark.parametrize("other", [["data.limit=50", *FIRST[1:]], FIRST[1:], [*FIRST, "rounds=3"]])
def test_a_name_that_is_taken_by_another_job_is_not_used(tmp_path: Path, other: list[str]) -> None:
    leave_job(tmp_path, "seed=1", FIRST)
    assert named_among(other, ["seed"], tmp_path) == job_name(other) != "seed=1"


@pytest.mark.parametrize("content", [None, "{", "seed: 1"])
def test_a_directory_of_unknown_overrides_is_another_jobs(tmp_path: Path, content: str | None) -> None:
    leave_job(tmp_path, "seed=1", FIRST)
    path = tmp_path / "seed=1" / ".hydra" / "overrides.yaml"
    path.unlink() if content is None else path.write_text(content)
    assert named_among(FIRST, ["seed"], tmp_path) == "data.limit=40,method=fedsq,seed=1"


@pytest.mark.parametrize("name", ["data.limit=40,method=fedsq,seed=1", "method=fedsq,seed=1", "method=fedsq"])
def test_a_job_that_was_named_by_more_or_less_is_found(tmp_path: Path, name: str) -> None:
    leave_job(tmp_path, name, FIRST)
    assert named_among(FIRST, ["seed"], tmp_path) == name
    assert named_among([*FIRST[:2], "seed=2"], ["seed"], tmp_path) == "seed=2"


def test_a_path_gives_no_directories_and_stays_distinct():
    names = {job_name([f"data.path={path}"]) for path in ("/a/b", "/a_b", "a/b")}
    assert len(names) == 3
    assert not any("/" in name for name in names)


def test_a_name_is_never_too_long_and_stays_distinct():
    names = {job_name([f"experiment={'é' * 300}", f"seed={seed}"]) for seed in range(3)}
    assert len(names) == 3
    assert all(len(name.encode()) <= 200 for name in names)

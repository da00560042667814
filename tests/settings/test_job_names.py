"""The directory of a sweep's job says what makes it another job, and fits any file system."""

import pytest

from fedsq_flwr.settings.job_names import job_name


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


def test_a_path_gives_no_directories_and_stays_distinct():
    names = {job_name([f"data.path={path}"]) for path in ("/a/b", "/a_b", "a/b")}
    assert len(names) == 3
    assert not any("/" in name for name in names)


def test_a_name_is_never_too_long_and_stays_distinct():
    names = {job_name([f"experiment={'é' * 300}", f"seed={seed}"]) for seed in range(3)}
    assert len(names) == 3
    assert all(len(name.encode()) <= 200 for name in names)

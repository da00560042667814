"""The benchmark for GPUs, its logic on a CPU: it has not been run on a GPU by its authors."""

import pytest

from scripts.benchmarks import gpu


def test_it_checks_and_measures_within_seconds_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.run((), 1, False, device="cpu", smoke=True)
    told = capsys.readouterr().out
    assert "| gates of the whole network that flip | 0 of" in told
    assert told.count("| 16 | ") == len(gpu.SMOKE.silos) * 2
    assert [line.split(" | ")[0] for line in told.splitlines()[-2:]] == ["| 1", "| 2"]


def test_a_gate_that_the_device_applies_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    apply, passes = gpu.applied, iter(range(1000))
    monkeypatch.setattr(gpu, "applied", lambda *args: tuple(t + next(passes) for t in apply(*args)))
    with pytest.raises(AssertionError, match="gate of bn1"):
        gpu.run((), 1, False, device="cpu", smoke=True)

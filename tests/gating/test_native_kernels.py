"""The optional C++ kernels: equal to pure torch to the bit, and refused in one line where they cannot be had."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedsq_flwr.gating.packed import native


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not (shutil.which("g++") and shutil.which("ninja")), reason="no C++ compiler, or no ninja")
def test_native_kernels_change_no_bit(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gating.native_check", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "cases equal to the bit" in done.stdout


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(native.NativeKernelsError, match="need ninja and no-such-compiler, which"):
        native.load(tmp_path)
    assert not native.is_loaded()


def test_compiled_kernels_are_taken_only_where_they_are_and_a_damaged_library_is_named(tmp_path: Path) -> None:
    assert not native.load_compiled(tmp_path)
    native.library(tmp_path).write_bytes(b"of another machine")
    with pytest.raises(native.NativeKernelsError, match=r"\.so cannot be loaded: .*; delete it"):
        native.load_compiled(tmp_path)
    assert not native.is_loaded()

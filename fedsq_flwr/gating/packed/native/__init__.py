"""Optional C++ kernels for packed gates on a CPU: the operations of ``bits.py``, each in one pass over memory.

The kernels save time where activations are large and convolutions small (figures: docs/explanation/results.md). They
change no bit of the results. torch's own extension builder compiles them on the machine that uses them, for which
it needs a C++ compiler and ninja. Without the kernels everything works in pure torch.
"""

import hashlib
import platform
import shutil
import tempfile
from pathlib import Path

import torch

from fedsq_flwr.gating.packed.native.source import SOURCE

_NAME = "fedsq_gate_bits"


class NativeKernelsError(RuntimeError):
    """The kernels cannot be compiled or loaded on this machine; the message says why."""


def is_loaded() -> bool:
    """Return whether this process has loaded the kernels."""
    return torch._C._dispatch_has_kernel("fedsq_flwr::gate")


def library(directory: Path) -> Path:
    """Return where the compiled library is in ``directory``: of this source, this torch and this kind of CPU."""
    source = hashlib.sha256(SOURCE.encode()).hexdigest()[:12]
    return directory / f"gate-kernels-{source}-torch-{torch.__version__}-{platform.machine()}.so"


def load_compiled(directory: Path) -> bool:
    """Load the library of ``directory`` into this process, if it is there; return whether the kernels are loaded.

    Raises
    ------
    NativeKernelsError
        If it is there and cannot be loaded.
    """
    path = library(directory)
    if not is_loaded() and path.is_file():
        try:
            torch.ops.load_library(path)  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError) as error:
            raise NativeKernelsError(f"{path} cannot be loaded: {str(error).splitlines()[0]}; delete it") from error
    return is_loaded()


def load(directory: Path) -> None:
    """Load the kernels into this process; compile them first unless ``directory`` has them.

    Processes may compile at once: each compiles in a folder of its own, and the finished library takes its place.

    Parameters
    ----------
    directory : Path
        Directory of the compiled library; created if it does not exist. Compiling takes half a minute.

    Raises
    ------
    NativeKernelsError
        If there is no compiler or no ninja, compilation fails, or the directory cannot be written.
    """
    if load_compiled(directory):
        return
    from torch.utils import cpp_extension

    compiler: str = cpp_extension.get_cxx_compiler()  # type: ignore[no-untyped-call]
    missing = [tool for tool in ("ninja", compiler) if shutil.which(tool) is None]
    if missing:
        raise NativeKernelsError(f"the native kernels need {' and '.join(missing)}, which is not installed")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix="gate-kernels-") as build:
            cpp_extension.load_inline(  # type: ignore[no-untyped-call]
                name=_NAME,
                cpp_sources=[SOURCE],
                extra_cflags=["-O3", "-ffp-contract=off"],
                build_directory=build,
                is_python_module=False,
                no_implicit_headers=True,
            )
            (Path(build) / f"{_NAME}.so").replace(library(directory))
    except (RuntimeError, OSError) as error:
        raise NativeKernelsError(f"the native kernels could not be compiled: {str(error).splitlines()[0]}") from error

"""Optional C++ kernels for packed gates on a CPU: the operations of ``bits.py``, each in one pass over memory.

The kernels save time where activations are large and convolutions small (figures: docs/explanation/results.md). They
change no bit of the results. torch's own extension builder compiles them on the machine that uses them, for which
it needs a C++ compiler and ninja. Without the kernels everything works in pure torch.
"""

import shutil
from pathlib import Path

import torch

from fedsq_flwr.gating.packed.native.source import SOURCE


class NativeKernelsError(RuntimeError):
    """The kernels cannot be compiled on this machine; the message says why."""


def is_loaded() -> bool:
    """Return whether this process has loaded the kernels."""
    return torch._C._dispatch_has_kernel("fedsq_flwr::gate")


def load(directory: Path) -> None:
    """Load the kernels into this process; compile them first unless ``directory`` has them.

    Parameters
    ----------
    directory : Path
        Directory of the compiled library; created if it does not exist. Compiling takes half a minute.

    Raises
    ------
    NativeKernelsError
        If there is no compiler or no ninja, or compilation fails.
    """
    if is_loaded():
        return
    from torch.utils import cpp_extension

    compiler: str = cpp_extension.get_cxx_compiler()  # type: ignore[no-untyped-call]
    missing = [tool for tool in ("ninja", compiler) if shutil.which(tool) is None]
    if missing:
        raise NativeKernelsError(f"the native kernels need {' and '.join(missing)}, which is not installed")
    build = directory / f"gate-kernels-torch-{torch.__version__}"
    build.mkdir(parents=True, exist_ok=True)
    try:
        cpp_extension.load_inline(  # type: ignore[no-untyped-call]
            name="fedsq_gate_bits",
            cpp_sources=[SOURCE],
            extra_cflags=["-O3", "-ffp-contract=off"],
            build_directory=str(build),
            is_python_module=False,
            no_implicit_headers=True,
        )
    except (RuntimeError, OSError) as error:
        raise NativeKernelsError(f"the native kernels could not be compiled: {str(error).splitlines()[0]}") from error

"""Devices and precision, chosen in one place."""

import os
from contextlib import AbstractContextManager

import torch

PRECISIONS = ("float32", "bfloat16")


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA, else Apple's MPS, else the CPU.

    Raises
    ------
    ValueError
        If the name is unknown, or the device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("no device to train on")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{name!r} cannot be used here ({reason}); allowed are auto, cpu, cuda, mps") from error
    return device


def make_deterministic(deterministic: bool) -> None:
    """Let torch use in this process only operations that give the same bits in each run, or any operations again.

    Such an operation that has no deterministic form on a GPU then raises RuntimeError. cuBLAS needs a workspace of a
    fixed size, which it reads from the environment when it is first used.
    """
    if deterministic == torch.are_deterministic_algorithms_enabled():
        return  # torch's call imports its compiler, which takes seconds
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the autocast context for ``precision``; for ``float32`` it changes nothing."""
    context: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"
    )
    return context

"""Devices and precision, chosen in one place."""

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


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the autocast context for ``precision``; for ``float32`` it changes nothing."""
    context: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"
    )
    return context

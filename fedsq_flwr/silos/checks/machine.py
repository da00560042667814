"""The silo's machine: room on its disk and in its memory, and its device."""

import getpass
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import psutil

from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.report.numerals import count, traffic
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import SiloSettings
from fedsq_flwr.silos.checks.finding import Finding, fail, ok, warn

_DISK, _MEMORY, _DEVICE = "disk", "memory", "device"
_FLOAT = 4  # bytes of a pixel that is fitted


def check_disk(silo: SiloSettings) -> Finding:
    """See that files can be written in ``state_dir`` or where it would be made, and that there is room for gates."""
    state = Path(silo.state_dir)
    nearest = state
    try:
        nearest = next(folder for folder in (state, *state.absolute().parents) if folder.exists())
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"0")
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        command = f"sudo install -d -m 700 -o {getpass.getuser()} {shlex.quote(str(state))}"
        told = f"state_dir={state}: {nearest} cannot be written to: {error.strerror}"
        return fail(_DISK, told, "make it this user's:", command)
    kept = sum(file.stat().st_blocks * 512 for file in (state / "gates").rglob("*"))
    wanted = max(0, silo.gate_cache_bytes - kept)
    told = f"{state}, {traffic(free)} free"
    if free < wanted:
        advice = f"gates may take {traffic(wanted)}: make room, or set gate_cache_bytes lower"
        return warn(_DISK, told, advice, f"df -h {shlex.quote(str(nearest))}")
    return ok(_DISK, told)


def check_memory(run: RunSettings, images: int) -> Finding:
    """Compare the memory that the silo's images take, once fitted, with what is free."""
    backbone = run.backbone
    wanted = images * backbone.in_channels * backbone.image_size**2 * _FLOAT
    free = psutil.virtual_memory().available
    told = f"{count(images, 'image')} of {backbone.image_size} px take {traffic(wanted)}, {traffic(free)} are free"
    if wanted > free:
        return warn(_MEMORY, told, "use a machine with more memory, or fewer images", "free -h")
    return ok(_MEMORY, told)


def check_device(silo: SiloSettings, threads: int | None) -> Finding:
    """Choose the device as a run would; ``threads`` are those of a run at this silo, if it is known."""
    try:
        device = choose_device(silo.device)
    except ValueError as error:
        code = "import torch; print(torch.__version__, torch.cuda.is_available())"
        look = shlex.join([sys.executable, "-c", code])
        return fail(_DEVICE, f"device={silo.device}: {error}", "see what torch finds, or set device: cpu", look)
    cores = os.cpu_count() or 1
    if threads is None:
        return ok(_DEVICE, f"{device}, {count(cores, 'core')}")
    told = f"{device}, {count(threads, 'thread')} on {count(cores, 'core')}"
    if threads > cores:
        return warn(_DEVICE, told, f"more threads than cores are slow: set threads: {cores}", "nproc")
    return ok(_DEVICE, told)

"""``executor``: where the silos run, and what each of them is given."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fedsq_flwr.settings.base import Settings, Text
from fedsq_flwr.settings.fields import Fact

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/\[\]]+):(\d{1,5})")


def is_address(text: str) -> bool:
    """Tell whether a text is ``HOST:PORT``."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and 0 < int(found[2]) < 65536


def _check_device(text: str) -> str:
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text) is None:
        raise ValueError("allowed are auto, cpu, cuda, cuda:N and mps")
    return text


#: A device by its name in torch, or ``auto``: CUDA, else Apple's MPS, else the CPU.
Device = Annotated[Text, AfterValidator(_check_device)]


def _check_address(text: str) -> str:
    if not is_address(text):
        raise ValueError("must be HOST:PORT")
    return text


#: ``HOST:PORT``.
Address = Annotated[Text, AfterValidator(_check_address)]


class ExecutorSettings(Settings):
    """What every executor has settings for."""

    name: str
    threads: Annotated[int, Field(ge=1), Fact.LAST_BITS] = 1
    """Torch threads of a silo at work; the number of threads is part of what fixes the numbers."""
    device: Annotated[Device, Fact.LAST_BITS, Fact.RESUMABLE] = "auto"
    """Device to train and evaluate on: auto, cpu, cuda, cuda:N or mps."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of training and evaluation; bfloat16 is autocast."""
    memory_format: Annotated[Literal["auto", "contiguous", "channels_last"], Fact.LAST_BITS] = "auto"
    """Memory format of weights, activations and gates; auto: on a CPU the one that was faster for the backbone."""
    deterministic: Annotated[bool, Fact.LAST_BITS, Fact.RESUMABLE] = False
    """Whether torch may use operations only that give the same bits again; on a CPU all that are used do anyway."""
    kernels: Annotated[Literal["auto", "torch", "native"], Fact.NO_NUMBER] = "auto"
    """What applies the gates: torch alone, native C++ that is compiled on first use, or that if it is compiled."""
    structure: Annotated[Literal["own", "sent"], Fact.NO_NUMBER] = "own"
    """Where silos have the structural copy from: their own weights, or the server, once."""
    gate_cache_bytes: Annotated[int, Field(ge=0), Fact.NO_NUMBER] = 2**30
    """Bytes that a process may keep of cached gates; 0: none."""
    gate_cache_device_bytes: Annotated[int, Field(ge=0), Fact.NO_NUMBER] = 2**31
    """Bytes of an accelerator's memory that a process may keep of cached gates; beyond, they are on the host."""
    gate_cache_dir: Annotated[Text | None, Fact.PATH, Fact.NO_NUMBER] = None
    """Folder for cached gates, which other processes then share; null: memory."""
    round_timeout: Annotated[float, Field(gt=0), Fact.NO_NUMBER] = 3600.0
    """Seconds to wait for the replies of a round."""
    join_timeout: Annotated[float, Field(gt=0), Fact.NO_NUMBER] = 600.0
    """Seconds to wait for silos to connect, and to say which silo they are."""


class Simulation(ExecutorSettings):
    """Flower's simulation: each silo is a Ray actor, started by ``flwr run``."""

    name: Annotated[Literal["simulation"], Fact.NO_NUMBER] = "simulation"
    client_cpus: Annotated[int, Field(ge=1), Fact.NO_NUMBER] = 1
    """CPUs that Ray reserves for a silo at work."""
    client_gpus: Annotated[float, Field(ge=0), Fact.NO_NUMBER] = 0.0
    """Fraction of a GPU that Ray reserves for a silo at work."""
    ray_address: Annotated[Address | None, Fact.PLACE, Fact.NO_NUMBER] = None
    """``HOST:PORT`` of a Ray cluster that is there already; null: this machine, with a Ray of the run's own."""


class InProcess(ExecutorSettings):
    """Server and silos in one process: no Ray, no start-up."""

    name: Annotated[Literal["inprocess"], Fact.NO_NUMBER] = "inprocess"
    workers: Annotated[int, Field(ge=0), Fact.NO_NUMBER] = 0
    """Silos that train side by side; 0: as the cores allow."""


class RealSilos(ExecutorSettings):
    """Real silos: processes of their own, connected to a SuperLink that is there already."""

    name: Annotated[Literal["silos"], Fact.NO_NUMBER] = "silos"
    superlink: Annotated[Address | None, Fact.PLACE, Fact.NO_NUMBER] = None
    """``HOST:PORT`` of the SuperLink."""
    root_certificates: Annotated[Text | None, Fact.PATH, Fact.NO_NUMBER] = None
    """File of the authority that the SuperLink is verified by; null: the authorities of the system."""
    insecure: Annotated[bool, Fact.NO_NUMBER] = False
    """Plain HTTP, for trials on one machine."""
    reply_fraction: Annotated[float, Field(gt=0, le=1), Fact.NOT_COMPARED, Fact.RESUMABLE] = 0.5
    """Fraction of the silos asked whose replies suffice for a round to wait no longer than ``reply_grace`` for the
    others; 1: it waits for all."""
    reply_grace: Annotated[float, Field(ge=0), Fact.NOT_COMPARED, Fact.RESUMABLE] = 60.0
    """Seconds that each of the others has beyond 1.25 times what it took last, or may take by its size."""
    send_model: Annotated[Literal["none", "best", "final"], Fact.NO_NUMBER] = "best"
    """Model that silos are sent at the end; where each silo has a model or a batch norm of its own, none is."""
    model_every: Annotated[int, Field(ge=0), Fact.NO_NUMBER] = 0
    """Rounds after which silos are sent that model during the run, too; 0: at its end only."""


#: A choice of ``executor``, told apart by its name.
AnyExecutor = Annotated[Simulation | InProcess | RealSilos, Field(discriminator="name")]

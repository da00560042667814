"""The check of a Ray cluster before a run: each machine of it has what the run needs, and the same of it.

The check is a process of its own, since a process that has used Ray keeps Ray's threads and signal handlers.
"""

import hashlib
import logging
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fedsq_flwr
from fedsq_flwr.errors import ConfigurationError, FedSQError, RunFailedError
from fedsq_flwr.settings.executor import Simulation
from fedsq_flwr.settings.run import RunSettings

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 10.0
_FREE_SECONDS = 20.0  # that the resources of a run which has just ended may take to be free again
_PACKAGES = ("flwr", "numpy", "torch", "torchvision")

#: What a machine has for a run, under the names that an error line uses.
Facts = Mapping[str, str]


def check_cluster(settings: RunSettings, environment: Mapping[str, str]) -> None:
    """Check the cluster at ``executor.ray_address`` in a process with ``environment``.

    Raises
    ------
    RunFailedError
        If there is no cluster, or one of its machines lacks something, which the one line names.
    """
    done = subprocess.run(  # noqa: S603 - no shell
        [sys.executable, "-c", f"from {__name__} import main; main()"],  # as -m, `examine` would be of `__main__`
        input=settings.to_json(),
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RunFailedError(_last_line(done.stderr) or "the check of the Ray cluster ended with no reason given")
    for line in done.stdout.splitlines():
        log.warning("%s", line)


def examine(told: str) -> Facts:
    """Return what this machine has for the run of the settings ``told``; the check calls it on each node.

    Raises
    ------
    FedSQError
        If data, weights, kernels or the device cannot be had here.
    """
    from fedsq_flwr.assembly.model import prepare_torch
    from fedsq_flwr.assembly.parts import load_parts
    from fedsq_flwr.data.federated import labels_digest
    from fedsq_flwr.learning.precision import choose_device
    from fedsq_flwr.learning.threads import torch_threads
    from fedsq_flwr.models.weights import state_digest

    settings = RunSettings.from_json(told)
    try:
        choose_device(settings.executor.device)
    except ValueError as error:
        raise ConfigurationError(f"executor.device={error}") from error
    prepare_torch(settings)
    with torch_threads(settings.executor.threads):
        parts = load_parts(settings)
    labels = [part.labels for part in (parts.data.validation, parts.data.test, *getattr(parts.data, "train", ()))]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "code of fedsq_flwr": _code_digest(Path(fedsq_flwr.__file__).parent),
        f"data {settings.data.name}": " ".join(map(labels_digest, labels)),
        f"weights {settings.backbone.weights}": state_digest(parts.start.network.state_dict()),
        "niceness": str(os.nice(0)),
    }


def differences(here: Facts, there: Facts) -> list[str]:
    """Say in which facts a node differs from the machine that starts the run."""
    differ = [name for name in here if name != "niceness" and there.get(name) != here[name]]
    digests = [name for name in differ if len(here[name]) >= 64]
    return [
        f"the {name} is not the same as here" if name in digests else f"{name} {there.get(name)} is not {here[name]}"
        for name in differ
    ]


def silos_at(resources: Mapping[str, float], executor: Simulation) -> int:
    """Return how many silos work side by side on a node of these Ray resources, as Flower reckons it."""
    silos = int(resources.get("CPU", 0) / executor.client_cpus)
    return min(silos, int(resources.get("GPU", 0) / executor.client_gpus)) if executor.client_gpus else silos


def _check(settings: RunSettings, executor: Simulation) -> list[str]:
    """Check all nodes; return what slows the run, a line each."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    _connect(executor)
    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node for node in known if node["Alive"] and silos_at(node["Resources"], executor)]
    _check_free(executor, sum(silos_at(node["Resources"], executor) for node in nodes), ray.available_resources)
    remote = ray.remote(num_cpus=executor.client_cpus, num_gpus=executor.client_gpus, max_retries=0)(examine)
    told, here = settings.to_json(), examine(settings.to_json())
    asked = {
        f"node {node['NodeManagerAddress']} ({node['NodeID'][:8]})": remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(told)
        for node in nodes
    }
    found = {}
    for name, facts in asked.items():
        try:
            found[name] = ray.get(facts, timeout=executor.join_timeout)
        except ray.exceptions.GetTimeoutError as error:
            late = f"{name}: no answer in executor.join_timeout={executor.join_timeout:g} s"
            raise RunFailedError(f"{late}; if it is busy, start Ray there with RAY_worker_niceness=0") from error
        except ray.exceptions.RayTaskError as error:
            raise RunFailedError(f"{name}: {_last_line(str(error.cause))}") from error
        except ray.exceptions.RayError as error:
            raise RunFailedError(f"{name}: {_last_line(str(error))}") from error
    return list(_complaints(here, found))


def _complaints(here: Facts, found: Mapping[str, Facts]) -> Iterable[str]:
    for name, there in found.items():
        if differ := differences(here, there):
            raise RunFailedError(f"{name}: {'; '.join(differ)}")
        if int(there["niceness"]) > 0:
            yield f"{name}: works at niceness {there['niceness']}: start Ray there with RAY_worker_niceness=0"


def _connect(executor: Simulation) -> None:
    import ray

    told = f"executor.ray_address={executor.ray_address}"
    host, _, port = str(executor.ray_address).rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        # As Flower does it.
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        ray.init(
            executor.ray_address, runtime_env={"env_vars": path}, logging_level=logging.ERROR, log_to_driver=False
        )
    except OSError as error:  # Ray itself would try for minutes
        raise RunFailedError(f"{told}: no Ray cluster answers there ({error})") from error
    except RuntimeError as error:  # another version of Ray or of Python, among others
        raise RunFailedError(f"{told}: {' '.join(str(error).split())}") from error


def _check_free(executor: Simulation, silos: int, free: Any) -> None:
    """Wait for the resources that Flower reserves: all that there are. It would wait for them without end."""
    told = f"executor.ray_address={executor.ray_address}"
    if not silos:
        wanted = f"executor.client_cpus={executor.client_cpus} and executor.client_gpus={executor.client_gpus:g}"
        raise RunFailedError(f"{told}: no node has {wanted}")
    deadline = time.monotonic() + _FREE_SECONDS
    while silos_at(free(), executor) < silos:
        if time.monotonic() > deadline:
            few = f"other work holds some of the {silos * executor.client_cpus} CPUs that the run reserves"
            raise RunFailedError(f"{told}: {few}; start the run when that has ended")
        time.sleep(0.5)


def _code_digest(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"|{path.relative_to(package).as_posix()}|".encode() + path.read_bytes())
    return digest.hexdigest()


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def main() -> None:
    """Check the cluster that the settings on the standard input name; the last line of stderr says what is wrong."""
    settings = RunSettings.from_json(sys.stdin.read())
    if not isinstance(settings.executor, Simulation):
        raise TypeError(f"expected the settings of a simulation, got {type(settings.executor)}")
    try:
        slow = _check(settings, settings.executor)
    except FedSQError as error:
        sys.exit(str(error))
    sys.stdout.write("".join(f"{line}\n" for line in slow))

"""The environment of a run's processes, and the paths of Flower's commands."""

import os
import shutil
import site
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import fedsq_flwr
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.invocation import COMMAND, command_line

# Would send the run to another Ray than the settings name, or open the SuperLink's old ports, which are fixed.
_DROPPED = ("RAY_ADDRESS", "FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_INTERNAL_GRPC_FLEET_API")

_FIXED = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    # Without it each run resolves and installs the app's dependencies afresh, over the network.
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # The silos are the work, not the background of it; Ray starts them at nice 15.
    "RAY_worker_niceness": "0",
    # Ray starts spare workers that Flower's actors, having a runtime environment, cannot use.
    "RAY_prestart_worker_first_driver": "0",
}


def isolated_environment(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, changed so that a run keeps to ``home`` and to loopback.

    Parameters
    ----------
    home : Path
        The run's own directory: Flower's home and Ray's temporary directory.
    variables : Mapping[str, str]
        Variables that win over everything else.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    scripts = str(Path(command_path("flower-superlink")).parent)
    environment["PATH"] = _joined(os.pathsep, scripts, environment.get("PATH"))
    for name in ("NO_PROXY", "no_proxy"):  # Flower's HTTP client obeys proxies even for loopback
        environment[name] = _joined(",", "127.0.0.1", environment.get(name))
    source = str(Path(fedsq_flwr.__file__).parent.parent)
    if source not in (*site.getsitepackages(), site.getusersitepackages()):  # a checkout
        environment["PYTHONPATH"] = _joined(os.pathsep, source, environment.get("PYTHONPATH"))
    if (command := command_line()) is not None:
        environment[COMMAND] = command
    return environment | _FIXED | {"FLWR_HOME": str(home), "RAY_TMPDIR": str(home)} | dict(variables)


def command_path(name: str) -> str:
    """Return the path of one of Flower's commands, of the same installation as this Python.

    Raises
    ------
    RunFailedError
        It is not installed.
    """
    places = [str(Path(sys.executable).parent), sysconfig.get_path("scripts"), os.environ.get("PATH", "")]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise RunFailedError(f"the command {name} is not installed beside {sys.executable}")
    return found


def _joined(separator: str, first: str, rest: str | None) -> str:
    return f"{first}{separator}{rest}" if rest else first

"""Whether the packages installed here are those that this program needs."""

import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from fedsq_flwr.silos.checks.finding import Finding, fail, ok, warn

_NAME = "versions"
_OWN = "fedsq-flwr"
_TOLD = ("torch", "flwr", _OWN)


def check_versions() -> Finding:
    """Compare what is installed with what the package says that it requires."""
    python = platform.python_version()
    told = ", ".join([f"python {python}", *(f"{name} {_installed(name) or 'missing'}" for name in _TOLD)])
    try:
        wanted = requires(_OWN) or []
        wanted_python = metadata(_OWN)["Requires-Python"]
    except PackageNotFoundError:
        advice = f"{_OWN} is not installed, so that nothing says which are needed"
        return warn(_NAME, told, advice, _install(_OWN))
    fits = SpecifierSet(wanted_python).contains(python, prereleases=True)
    wrong = [] if fits else [f"python {python} is not {wanted_python}"]
    bad = {text: complaint for text in wanted if (complaint := _complaint(Requirement(text)))}
    if wrong + list(bad.values()):
        advice = f"install {_OWN} again, with what it requires"
        command = _install(*(f"{each.name}{each.specifier}" for each in map(Requirement, bad))) if bad else ""
        return fail(_NAME, f"{told}\n{'; '.join([*wrong, *bad.values()])}", advice, command)
    return ok(_NAME, told)


def _complaint(wanted: Requirement) -> str:
    """Say what is wrong with the installed package; nothing if it is right, or wanted elsewhere only."""
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return ""
    found = _installed(wanted.name)
    if found is None:
        return f"{wanted.name} is missing"
    # Builds of torch are called 2.6.0+cpu, and a release that is not final yet may well do.
    fits = wanted.specifier.contains(found, prereleases=True)
    return "" if fits else f"{wanted.name} {found} is not {wanted.specifier}"


def _install(*packages: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", "install", *packages])


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

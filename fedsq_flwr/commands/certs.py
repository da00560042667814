"""``fedsq certs``: an authority, the server's certificate and node keys of silos, in one directory."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.silos.certificates import read_certificate
from fedsq_flwr.silos.hosts import alternative_names, host_names
from fedsq_flwr.silos.key_files import NewFile, write_new, write_over
from fedsq_flwr.silos.keys import node_key_files
from fedsq_flwr.silos.pem_files import (
    AUTHORITY,
    SERVER,
    authority_files,
    check_server,
    read_authority,
    renewed_server_file,
    server_files,
)
from fedsq_flwr.silos.signing import SERVER_DAYS, new_authority

KEYS = "keys"
# What runs beside Flower's SuperLink, its own helper process among it, calls it by these.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SILO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WHERE = (
    "ca.crt goes to the server and every silo, server.* to the server, a key to its silo, its .pub to the server.",
    "Better: make each key at its silo (ssh-keygen -t ecdsa -b 384 -N '' -f node), and let only node.pub travel.",
    "Keep ca.key offline: whoever has it can pose as the server.",
)


def certs(directory: Path, hosts: Sequence[str], silos: Sequence[str], days: int | None, renew: bool) -> list[str]:
    """Make the requested files that do not exist yet; return lines that say what was made and where it goes.

    Everything is checked before the first file is written.

    Parameters
    ----------
    directory : Path
        It is made if it is not there, and so is an authority.
    hosts : sequence of str
        Names and addresses of the server. None: its certificate is left alone.
    silos : sequence of str
        Names of silos to make a node key for.
    days : int, optional
        How long the server's certificate is valid.
    renew : bool
        Replace the server's certificate by a later one for the same key, and the same hosts if none are given.

    Raises
    ------
    ConfigurationError
        If a value is not allowed, a file to be made is there already, or the authority cannot sign.
    """
    _check(directory, hosts, silos, days, renew)
    names = [*hosts, *_LOOPBACK] if hosts else []
    new: list[NewFile] = []
    renewed: list[NewFile] = []
    if not (directory / AUTHORITY).exists():
        authority = new_authority()
        new += authority_files(directory, authority)
        new += server_files(directory, authority, names, days or SERVER_DAYS)
    elif renew:
        names = names or list(host_names(check_server(directory)))
        renewed.append(renewed_server_file(directory, read_authority(directory), names, days or SERVER_DAYS))
    elif names and (directory / SERVER).exists():
        _check_kept(directory, names, days)
    elif names:
        new += server_files(directory, read_authority(directory), names, days or SERVER_DAYS)
    for silo in silos:
        new += node_key_files(directory / KEYS / silo)
    write_new(new)
    for file in renewed:
        write_over(file)
    lines = [str(file.path) for file in (*renewed, *new)]
    if names:
        server = read_certificate(directory / SERVER)
        lines.append(f"{directory / SERVER} is good until {server.not_after:%Y-%m-%d} for {', '.join(server.hosts)}")
    return [*lines, *_WHERE]


def _check(directory: Path, hosts: Sequence[str], silos: Sequence[str], days: int | None, renew: bool) -> None:
    try:
        usable = not directory.exists() or (directory.is_dir() and os.access(directory, os.R_OK | os.W_OK | os.X_OK))
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be used: {error.strerror}") from error
    if not usable:
        raise ConfigurationError(f"{directory} is no directory that can be read and written")
    if hosts:
        alternative_names(hosts)
    elif not renew and not silos:
        raise ConfigurationError("nothing is asked for: give --host, --silo or --renew")
    elif not renew and days is not None:
        raise ConfigurationError(f"--days={days}: is for the server's certificate; give --host or --renew, too")
    if (renew or not hosts) and not (directory / AUTHORITY).exists():
        raise ConfigurationError(f"{directory / AUTHORITY} does not exist; --host without --renew makes it")
    if days is not None and days < 1:
        raise ConfigurationError(f"--days={days}: must be at least 1")
    for silo, times in Counter(silos).items():
        if not _SILO.fullmatch(silo) or silo.endswith(".pub"):
            raise ConfigurationError(
                f"--silo={silo}: names a file, so letters, digits, '.', '_' and '-' are allowed, at most 64, not .pub"
            )
        if times > 1:
            raise ConfigurationError(f"--silo={silo}: is given {times} times")


def _check_kept(directory: Path, hosts: Sequence[str], days: int | None) -> None:
    """Raise an error if the existing server certificate is not the requested one."""
    held = host_names(check_server(directory))
    missing = [str(name.value) for name in alternative_names(hosts) if str(name.value) not in held]
    if missing:
        raise ConfigurationError(f"{directory / SERVER} is not good for {', '.join(missing)}; --renew replaces it")
    if days is not None:
        raise ConfigurationError(f"--days={days}: {directory / SERVER} exists; --renew replaces it")

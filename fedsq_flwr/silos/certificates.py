"""Certificates of a federation: its authority's, and its server's; made, and read."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from fedsq_flwr.silos.hosts import host_names
from fedsq_flwr.silos.key_files import write_new
from fedsq_flwr.silos.pem_files import (
    AUTHORITY,
    SERVER,
    authority_files,
    load_certificate,
    read_authority,
    server_files,
)
from fedsq_flwr.silos.signing import AUTHORITY_DAYS, SERVER_DAYS, is_authority, new_authority


@dataclass(frozen=True)
class Certificate:
    """What a certificate says; ``hosts`` are the names and addresses that it is good for."""

    subject: str
    issuer: str
    hosts: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    is_authority: bool


def make_authority(directory: Path, days: int = AUTHORITY_DAYS, valid_from: datetime | None = None) -> Path:
    """Write ``ca.crt`` and ``ca.key``, and return the path of the first.

    Raises
    ------
    ConfigurationError
        If one of them is there already, or cannot be written.
    """
    write_new(authority_files(directory, new_authority(days, valid_from)))
    return directory / AUTHORITY


def issue_server_certificate(
    directory: Path, hosts: Iterable[str], days: int = SERVER_DAYS, valid_from: datetime | None = None
) -> Path:
    """Write ``server.crt``, signed by the authority of the directory, and ``server.key``.

    Parameters
    ----------
    directory : Path
        Holds ``ca.crt`` and ``ca.key``.
    hosts : iterable of str
        Names and IP addresses that the server is reached by.
    days : int
        How long it is valid.
    valid_from : datetime, optional
        By default now, and somewhat earlier for clocks that are behind.

    Returns
    -------
    Path
        That of ``server.crt``.

    Raises
    ------
    ConfigurationError
        If a host or the days are not allowed, the authority cannot sign, or a file is there already.
    """
    write_new(server_files(directory, read_authority(directory), hosts, days, valid_from))
    return directory / SERVER


def read_certificate(path: Path) -> Certificate:
    """Read what a certificate says, without asking whether it is to be trusted.

    Raises
    ------
    ConfigurationError
        If the file is missing, or is no certificate.
    """
    return describe(load_certificate(path))


def describe(certificate: x509.Certificate) -> Certificate:
    """Say what a certificate says."""
    return Certificate(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        hosts=host_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_authority=is_authority(certificate),
    )

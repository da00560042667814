"""The names and addresses that a server is reached by, as a certificate holds them."""

import ipaddress
import re
from collections.abc import Iterable

from cryptography import x509

from fedsq_flwr.errors import ConfigurationError

_ALLOWED = "allowed is a name or an address alone, without scheme, port or path"
# Underscores are no part of host names proper, but container networks give them.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


def alternative_names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    """Tell DNS names and IP addresses apart, each once and in the order given.

    Raises
    ------
    ConfigurationError
        If there is none, or one of them is neither a name nor an address.
    """
    names = list(dict.fromkeys(_alternative_name(host) for host in hosts))
    if not names:
        raise ConfigurationError(f"--host: none is given; {_ALLOWED}")
    return names


def host_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the names and addresses that a certificate is good for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress))


def _alternative_name(host: str) -> x509.GeneralName:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _dns_name(host)
    if address.is_unspecified:
        raise ConfigurationError(f"--host={host}: is where a server listens, not where silos reach it")
    if "%" in host:  # a certificate has no room for it
        raise ConfigurationError(f"--host={host}: an address with a zone means another machine on each silo")
    return x509.IPAddress(address)


def _dns_name(host: str) -> x509.DNSName:
    name = host.lower()
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        hint = "" if host.isascii() else "; names beyond ASCII are written as xn--..."
        raise ConfigurationError(f"--host={host}: {_ALLOWED}{hint}")
    if labels[-1].isdigit():
        raise ConfigurationError(f"--host={host}: is no IP address, and no name ends in a number")
    return x509.DNSName(name)

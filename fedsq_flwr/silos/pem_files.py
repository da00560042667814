"""What an authority's directory holds: ``ca.*`` and ``server.*``, read, or made ready to be written."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.silos.key_files import PUBLIC, SECRET, NewFile, check_secret, read_file
from fedsq_flwr.silos.signing import SERVER_DAYS, Authority, is_authority, sign_server

AUTHORITY, AUTHORITY_KEY = "ca.crt", "ca.key"
SERVER, SERVER_KEY = "server.crt", "server.key"


def load_certificate(path: Path) -> x509.Certificate:
    """Read a certificate.

    Raises
    ------
    ConfigurationError
        If the file is missing, or holds none.
    """
    try:
        certificate = x509.load_pem_x509_certificate(read_file(path))
        list(certificate.extensions)  # read only now, and kept
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ConfigurationError(f"{path} is no certificate: allowed is PEM") from error
    return certificate


def read_authority(directory: Path) -> Authority:
    """Read ``ca.crt`` and ``ca.key``.

    Raises
    ------
    ConfigurationError
        If one of them is missing, is not what it should be, or does not belong to the other.
    """
    certificate = load_certificate(directory / AUTHORITY)
    if not is_authority(certificate):
        raise ConfigurationError(f"{directory / AUTHORITY} is not the certificate of an authority")
    path = directory / AUTHORITY_KEY
    if not path.exists():
        raise ConfigurationError(f"{path} does not exist; put it back for as long as there is something to sign")
    try:
        key = load_pem_private_key(read_file(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path} is no private key: allowed is PEM without a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ConfigurationError(f"{path} is a private key of another kind: allowed are EC and RSA")
    if key.public_key() != certificate.public_key():
        raise ConfigurationError(f"{path} is not the key of {directory / AUTHORITY}")
    check_secret(path)
    return Authority(certificate, key)


def check_server(directory: Path) -> x509.Certificate:
    """Return the server's certificate that is there, if it is the authority's.

    Raises
    ------
    ConfigurationError
        If it is missing, or somebody else's.
    """
    certificate = load_certificate(directory / SERVER)
    try:
        certificate.verify_directly_issued_by(load_certificate(directory / AUTHORITY))
    except (ValueError, TypeError, InvalidSignature) as error:
        raise ConfigurationError(f"{directory / SERVER} is not signed by {directory / AUTHORITY}") from error
    return certificate


def authority_files(directory: Path, authority: Authority) -> list[NewFile]:
    """Return the two files of an authority, not yet written."""
    return [
        NewFile(directory / AUTHORITY_KEY, _private(authority.key), SECRET),
        NewFile(directory / AUTHORITY, _public(authority.certificate), PUBLIC),
    ]


def server_files(
    directory: Path,
    authority: Authority,
    hosts: Iterable[str],
    days: int = SERVER_DAYS,
    valid_from: datetime | None = None,
) -> list[NewFile]:
    """Return the two files of a server with a new key, not yet written."""
    key = ec.generate_private_key(ec.SECP384R1())
    certificate = sign_server(authority, hosts, key.public_key(), days, valid_from)
    return [
        NewFile(directory / SERVER_KEY, _private(key), SECRET),
        NewFile(directory / SERVER, _public(certificate), PUBLIC),
    ]


def renewed_server_file(directory: Path, authority: Authority, hosts: Iterable[str], days: int) -> NewFile:
    """Return a later ``server.crt`` for the same key, not yet written.

    The key's public half is taken from the certificate that is there, so the private one can stay on the
    server, and fits the old certificate as well as the new one.
    """
    certificate = sign_server(authority, hosts, check_server(directory).public_key(), days)
    return NewFile(directory / SERVER, _public(certificate), PUBLIC)


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)

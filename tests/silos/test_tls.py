"""TLS on the loopback takes the right server, and refuses all others."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256

from fedsq_flwr.silos.certificates import issue_server_certificate
from fedsq_flwr.silos.pem_files import authority_files
from fedsq_flwr.silos.signing import Authority

# As OpenSSL numbers them (X509_V_ERR_...).
NOT_YET_VALID, EXPIRED, UNKNOWN_ISSUER, OTHER_NAME, OTHER_ADDRESS = 9, 10, 20, 62, 64


@contextmanager
def tls_server(directory: Path) -> Iterator[int]:
    """Answer one TLS handshake on the loopback; gives the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")

    def answer() -> None:
        with suppress(OSError):  # the other side hangs up where it refuses
            accepted, _ = listening.accept()
            with accepted, context.wrap_socket(accepted, server_side=True) as secured:
                secured.sendall(b"hello")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join()


def strictest(authority: Path) -> ssl.SSLContext:
    """The default of Python 3.13, which keeps to RFC 5280."""
    context = ssl.create_default_context(cafile=authority / "ca.crt")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def as_flower_does(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=(authority / "ca.crt").read_text("ascii"))
    return context


def greet(directory: Path, context: ssl.SSLContext, host: str) -> bytes:
    with (
        tls_server(directory) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        return secured.recv(5)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("trusting", [strictest, as_flower_does])
def test_a_silo_that_trusts_the_authority_reaches_the_server_by_name_and_by_address(
    authority: Path, server: Path, trusting: Callable[[Path], ssl.SSLContext], host: str
) -> None:
    assert greet(server, trusting(authority), host) == b"hello"


@pytest.mark.parametrize(
    ("fixture", "host", "code"),
    [
        ("server_elsewhere", "localhost", OTHER_NAME),
        ("server_elsewhere", "127.0.0.1", OTHER_ADDRESS),
        ("foreign_authority", "localhost", UNKNOWN_ISSUER),
        ("expired_server", "localhost", EXPIRED),
        ("future_server", "localhost", NOT_YET_VALID),
    ],
)
@pytest.mark.parametrize("trusting", [strictest, as_flower_does])
def test_a_wrong_server_is_refused(
    authority: Path,
    request: pytest.FixtureRequest,
    trusting: Callable[[Path], ssl.SSLContext],
    fixture: str,
    host: str,
    code: int,
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        greet(request.getfixturevalue(fixture), trusting(authority), host)
    assert caught.value.verify_code == code


def test_an_authority_of_ones_own_with_an_rsa_key_signs_too(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the hospital's")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now - timedelta(1), now + timedelta(9))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        # Not the hash of the key that is usual: the chain must be found all the same.
        .add_extension(x509.SubjectKeyIdentifier(b"seven"), critical=False)
    )
    for file in authority_files(tmp_path, Authority(builder.sign(key, SHA256()), key)):
        file.path.write_bytes(file.content)
        file.path.chmod(0o600)
    issue_server_certificate(tmp_path, ["localhost"], days=3)
    assert greet(tmp_path, as_flower_does(tmp_path), "localhost") == b"hello"

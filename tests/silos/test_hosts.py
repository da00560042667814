"""Names and addresses of a server, as its certificate holds them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.silos.certificates import read_certificate
from tests.silos.conftest import certified


def test_names_and_addresses_of_a_server_are_told_apart(authority: Path, tmp_path: Path) -> None:
    hosts = ("Fed.Example.org", "192.0.2.7", "2001:db8::7", "my_server", "fed.example.org")
    directory = certified(authority, tmp_path / "certs", hosts, days=30)
    told = read_certificate(directory / "server.crt")
    assert told.hosts == ("fed.example.org", "192.0.2.7", "2001:db8::7", "my_server")
    assert told.issuer == read_certificate(authority / "ca.crt").subject
    assert not told.is_authority
    assert told.not_after - datetime.now(UTC) < timedelta(days=30)
    extensions = x509.load_pem_x509_certificate((directory / "server.crt").read_bytes()).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fed.example.org", "my_server"]
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("", "allowed is a name or an address alone"),
        ("a b", "allowed is a name or an address alone"),
        ("https://fed.example.org", "without scheme, port or path"),
        ("fed.example.org:9092", "without scheme, port or path"),
        ("[::1]", "without scheme, port or path"),
        ("fed.example.org/", "without scheme, port or path"),
        ("*.example.org", "allowed is"),
        ("fed..org", "allowed is"),
        ("-fed.org", "allowed is"),
        ("a" * 64, "allowed is"),
        ("a\n", "allowed is"),
        ("spital-zürich.ch", "xn--"),
        ("0.0.0.0", "is where a server listens"),  # noqa: S104
        ("::", "is where a server listens"),
        ("fe80::1%eth0", "zone"),
        ("10.0.0.256", "is no IP address"),
    ],
)
def test_what_is_neither_a_name_nor_an_address_is_refused(
    authority: Path, tmp_path: Path, host: str, told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        certified(authority, tmp_path / "certs", ("localhost", host))
    assert str(caught.value).startswith(f"--host={host.strip()}")
    assert told in str(caught.value)
    assert not (tmp_path / "certs" / "server.crt").exists()


def test_a_certificate_needs_a_host(authority: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--host: none is given"):
        certified(authority, tmp_path / "certs", ())

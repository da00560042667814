"""Certificates in memory: an authority's own, and those of servers that it signs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.silos.hosts import alternative_names

AUTHORITY_DAYS, SERVER_DAYS = 3650, 365
# A silo whose clock is behind refuses a certificate that is not valid yet. The hour gives nothing away, since the
# key did not exist then.
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Authority:
    """An authority's own certificate, and the key that it signs with."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_authority(days: int = AUTHORITY_DAYS, valid_from: datetime | None = None) -> Authority:
    """Make an authority with a key of its own, which may sign servers and no other authorities."""
    key = ec.generate_private_key(ec.SECP384R1())
    # A name of its own: two authorities can then be told apart in an error or a list.
    name = _name(f"FedSQ authority {x509.random_serial_number():x}"[:32])
    builder = (
        _builder(key.public_key(), days, valid_from)
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA384()), key)


def sign_server(
    authority: Authority,
    hosts: Iterable[str],
    public_key: CertificatePublicKeyTypes,
    days: int,
    valid_from: datetime | None = None,
) -> x509.Certificate:
    """Certify that ``public_key`` is that of a server which is reached by ``hosts``.

    Raises
    ------
    ConfigurationError
        If a host is no name or address, or the authority does not last that many days.
    """
    names = x509.SubjectAlternativeName(alternative_names(hosts))
    issuer = authority.certificate
    left = (issuer.not_valid_after_utc - (valid_from or datetime.now(UTC))).days
    if not 1 <= days <= left:
        allowed = f"allowed is 1 to {left}" if left >= 1 else "make a new one in another directory"
        raise ConfigurationError(
            f"--days={days}: the authority ends on {issuer.not_valid_after_utc:%Y-%m-%d}; {allowed}"
        )
    builder = (
        _builder(public_key, days, valid_from)
        .subject_name(_name("FedSQ server"))
        .issuer_name(issuer.subject)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_issuers_key(authority), critical=False)
    )
    return builder.sign(authority.key, hashes.SHA384())


def is_authority(certificate: x509.Certificate) -> bool:
    """Say whether a certificate is one that may sign others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _builder(
    public_key: CertificatePublicKeyTypes, days: int, valid_from: datetime | None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid_from or now - _CLOCK_SKEW)
        .not_valid_after((valid_from or now) + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _issuers_key(authority: Authority) -> x509.AuthorityKeyIdentifier:
    """Name the issuer's key as the issuer's certificate does, so that a chain is found through the two."""
    try:
        own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    """Return the one use: signing certificates (and lists of revoked ones), or handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

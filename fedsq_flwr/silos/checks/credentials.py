"""What a silo and its server trust each other by: the silo's key, and the certificate of the authority."""

import hashlib
from base64 import b64decode, b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.silo import SiloSettings
from fedsq_flwr.silos.certificates import read_certificate
from fedsq_flwr.silos.checks.dates import of_dates
from fedsq_flwr.silos.checks.finding import Finding, fail, ok, warn
from fedsq_flwr.silos.keys import read_node_key

_KEY, _AUTHORITY = "key", "authority"


def check_key(silo: SiloSettings) -> tuple[Finding, tuple[EllipticCurvePrivateKey, EllipticCurvePublicKey] | None]:
    """Read the silo's key, if it has one."""
    if silo.private_key is None and silo.insecure:
        return ok(_KEY, "none, with insecure=true"), None
    if silo.private_key is None:
        advice = "the server must take silos without keys, as one for trials does; this makes a key:"
        return warn(_KEY, "private_key=null", advice, "ssh-keygen -t ecdsa -b 384 -N '' -f node"), None
    path = Path(silo.private_key)
    try:
        keys = read_node_key(path)
    except ConfigurationError as error:
        return fail(_KEY, error), None
    return ok(_KEY, f"{path}\n{public_digest(keys[1])}"), keys


def public_digest(key: EllipticCurvePublicKey) -> str:
    """Return what ``ssh-keygen -l`` says of a public key, so that two people can compare theirs."""
    blob = b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    return f"SHA256:{b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def check_authority(silo: SiloSettings) -> Finding:
    """Read the certificate of the authority that the server is verified by, and look at its dates."""
    if silo.insecure:
        return ok(_AUTHORITY, "none, with insecure=true")
    if silo.root_certificates is None:
        return ok(_AUTHORITY, "those that Python trusts anyway (root_certificates=null)")
    try:
        certificate = read_certificate(Path(silo.root_certificates))
    except ConfigurationError as error:
        return fail(_AUTHORITY, error)
    return of_dates(_AUTHORITY, certificate, "get the ca.crt of the server's new authority from its operator")

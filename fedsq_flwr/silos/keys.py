"""Node keys: the key pairs by which a server knows its silos."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.silos.key_files import PUBLIC, SECRET, NewFile, check_secret, read_file, write_new

# The format has no other elliptic curves for signing with ECDSA, and Flower takes all of these.
_ALLOWED = (
    "allowed is an OpenSSH private key on a NIST curve without a passphrase (ssh-keygen -t ecdsa -b 256, 384 or 521)"
)


def make_node_key(path: Path) -> Path:
    """Write a new private key to ``path``, as ``ssh-keygen -t ecdsa -b 384`` does.

    Returns
    -------
    Path
        That of the public key, ``path`` with ``.pub`` after its name: what ``flwr supernode register`` reads.

    Raises
    ------
    ConfigurationError
        If one of the two is there already, or cannot be written.
    """
    private, public = node_key_files(path)
    write_new([private, public])
    return public.path


def node_key_files(path: Path) -> tuple[NewFile, NewFile]:
    """Return the private and the public file of a new key, not yet written."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    # The name after the key is a comment, for whoever gets public keys from many silos.
    named = b"%b %b\n" % (public, os.fsencode(path.name))
    return NewFile(path, private, SECRET), NewFile(path.with_name(f"{path.name}.pub"), named, PUBLIC)


def read_node_key(path: Path) -> tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey]:
    """Read a node key, with what Flower would find wrong about it only later, or not at all.

    Returns
    -------
    tuple
        The private and the public key.

    Raises
    ------
    ConfigurationError
        If the file is missing, holds no OpenSSH private key on a NIST curve, needs a passphrase, or is open
        to others.
    """
    try:
        key = load_ssh_private_key(read_file(path), None)
    except TypeError as error:  # cryptography's for a passphrase that is needed
        raise ConfigurationError(
            f"{path} needs a passphrase, which nobody types at a silo: ssh-keygen -p -N '' -f {path} takes it off"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path} is no node key: {_ALLOWED}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{path} is a private key of another kind: {_ALLOWED}")
    check_secret(path)
    return key, key.public_key()

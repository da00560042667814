"""Node keys: what Flower and OpenSSH load, and what is refused before a silo starts."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.primitives.asymmetric import bytes_to_public_key

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.silos.keys import make_node_key, read_node_key

needs_ssh_keygen = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")


def ssh_keygen(path: Path, *arguments: str, passphrase: str = "") -> None:
    subprocess.run(["ssh-keygen", "-q", "-N", passphrase, "-f", str(path), *arguments], check=True, timeout=20)


def test_flower_loads_both_halves_and_they_belong_together(node_keys: Path) -> None:
    private = serialization.load_ssh_private_key((node_keys / "a").read_bytes(), None)  # as flower-supernode does
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(private.curve, ec.SECP384R1)
    assert bytes_to_public_key(try_load_public_key(node_keys / "a.pub")) == private.public_key()


def test_a_key_is_read_back_and_every_key_is_another(node_keys: Path) -> None:
    private, public = read_node_key(node_keys / "a")
    assert private.public_key() == public
    assert public != read_node_key(node_keys / "b")[1]


@needs_ssh_keygen
def test_openssh_reads_both_halves_and_the_silos_name(node_keys: Path) -> None:
    told = subprocess.check_output(["ssh-keygen", "-l", "-f", node_keys / "a"], text=True)
    assert told.startswith("384 SHA256:")
    assert told.endswith(" a (ECDSA)\n")
    derived = subprocess.check_output(["ssh-keygen", "-y", "-f", node_keys / "a"], text=True)
    assert derived.split()[:2] == (node_keys / "a.pub").read_text().split()[:2]


def test_the_private_half_is_its_owners_alone(node_keys: Path) -> None:
    assert (node_keys / "a").stat().st_mode & 0o777 == 0o600
    assert (node_keys / "a.pub").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["node", "node.pub"])
def test_neither_half_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigurationError, match=f"{name} exists"):
        make_node_key(tmp_path / "node")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@needs_ssh_keygen
@pytest.mark.parametrize("bits", ["256", "384", "521"])
def test_keys_that_were_made_at_the_silo_are_read(tmp_path: Path, bits: str) -> None:
    ssh_keygen(tmp_path / "node", "-t", "ecdsa", "-b", bits)
    private, _ = read_node_key(tmp_path / "node")
    assert private.key_size == int(bits)


@needs_ssh_keygen
@pytest.mark.parametrize(
    ("cipher", "told"),
    [
        ("aes256-ctr", r"node needs a passphrase, .*: ssh-keygen -p -N '' -f .*node takes it off"),
        (
            "chacha20-poly1305@openssh.com",
            r"node is no node key: .* without a passphrase",
        ),
    ],
)
def test_a_key_with_a_passphrase_is_refused(tmp_path: Path, cipher: str, told: str) -> None:
    ssh_keygen(tmp_path / "node", "-t", "ecdsa", "-b", "384", "-Z", cipher, passphrase="secret")  # noqa: S106
    with pytest.raises(ConfigurationError, match=told):
        read_node_key(tmp_path / "node")


@pytest.mark.parametrize("kind", ["words", "nothing", "public", "pem", "ed25519"])
def test_what_is_no_openssh_key_on_a_nist_curve_is_refused(tmp_path: Path, node_keys: Path, kind: str) -> None:
    private, _ = read_node_key(node_keys / "a")
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    path = tmp_path / "node"
    path.write_bytes(
        {
            "words": b"words",
            "nothing": b"",
            "public": (node_keys / "a.pub").read_bytes(),
            "pem": private.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, none),
            "ed25519": ed25519.Ed25519PrivateKey.generate().private_bytes(
                pem, serialization.PrivateFormat.OpenSSH, none
            ),
        }[kind]
    )
    with pytest.raises(ConfigurationError, match=r"node is .*allowed is an OpenSSH private key on a NIST curve"):
        read_node_key(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o660])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node"
    make_node_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError) as caught:
        read_node_key(path)
    assert str(caught.value) == f"{path} is open to others (mode {mode:o}): chmod 600 {path}"
    path.chmod(0o400)
    read_node_key(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="node does not exist"):
        read_node_key(tmp_path / "node")

"""What certificates hold, how their files are written, and who may not sign."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.silos.certificates import issue_server_certificate, make_authority, read_certificate
from fedsq_flwr.silos.pem_files import authority_files
from fedsq_flwr.silos.signing import new_authority
from tests.silos.conftest import certified


def test_keys_are_their_owners_alone_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: Callable[[int], None]
) -> None:
    def no_chmod(*_: object, **__: object) -> None:
        raise AssertionError("the mode comes a moment late")

    umask(0)
    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(f"os.{name}", no_chmod)
    directory = make_authority(tmp_path / "certs").parent
    issue_server_certificate(directory, ["localhost"])
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "server.crt": 0o644, "server.key": 0o600}
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    before = os.umask(0o077)
    yield os.umask
    os.umask(before)


def test_an_authority_signs_certificates_for_ten_years_and_no_other_authorities(authority: Path) -> None:
    told = read_certificate(authority / "ca.crt")
    assert told.is_authority
    assert told.subject == told.issuer
    assert told.hosts == ()
    now = datetime.now(UTC)
    assert told.not_before < now - timedelta(minutes=50)  # for clocks that are behind
    assert timedelta(days=3649) < told.not_after - now < timedelta(days=3651)
    extensions = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes()).extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.path_length == 0
    assert extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
def test_an_authority_overwrites_nothing_and_leaves_no_half(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigurationError, match=f"{name} exists"):
        make_authority(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["server.crt", "server.key"])
def test_a_server_certificate_overwrites_nothing_not_even_a_link_to_nowhere(
    authority: Path, tmp_path: Path, name: str
) -> None:
    directory = make_authority(tmp_path).parent
    (directory / name).symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match=f"{name} exists"):
        issue_server_certificate(directory, ["localhost"])
    assert sorted(path.name for path in directory.iterdir()) == sorted(["ca.crt", "ca.key", name])


def test_files_are_written_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def full(path: Path, flags: int, mode: int = 0o777) -> int:
        if path.name == "ca.crt":
            raise OSError(28, "No space left on device")
        return real(path, flags, mode)

    monkeypatch.setattr("os.open", full)
    with pytest.raises(ConfigurationError, match=r"ca\.crt cannot be written: No space left on device"):
        make_authority(tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("days", [0, -1, 3651, 10**9])
def test_a_server_certificate_lasts_a_day_at_least_and_no_longer_than_its_authority(
    authority: Path, tmp_path: Path, days: int
) -> None:
    with pytest.raises(ConfigurationError, match=rf"--days={days}: .*allowed is 1 to 36(49|50)"):
        certified(authority, tmp_path / "certs", days=days)


def test_an_authority_that_is_over_signs_nothing(tmp_path: Path) -> None:
    make_authority(tmp_path, days=5, valid_from=datetime.now(UTC) - timedelta(days=6))
    with pytest.raises(ConfigurationError, match="make a new one in another directory"):
        issue_server_certificate(tmp_path, ["localhost"])


@pytest.mark.parametrize("content", [b"", b"words", b"\xff\x00", None], ids=["empty", "words", "bytes", "a key"])
def test_a_file_that_is_no_certificate_is_named(authority: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.crt"
    path.write_bytes((authority / "ca.key").read_bytes() if content is None else content)
    with pytest.raises(ConfigurationError, match=r"x\.crt is no certificate: allowed is PEM"):
        read_certificate(path)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"x\.crt does not exist"):
        read_certificate(tmp_path / "x.crt")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        read_certificate(tmp_path)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (b"words", "is no private key"),
        ("encrypted", "is no private key: allowed is PEM without a passphrase"),
        ("ed25519", "allowed are EC and RSA"),
        ("another", r"is not the key of .*ca\.crt"),
        ("open", r"is open to others \(mode 644\): chmod 600 "),
        (None, "does not exist; put it back"),
    ],
)
def test_an_authority_that_cannot_sign_says_why(
    authority: Path, tmp_path: Path, key: bytes | str | None, told: str
) -> None:
    path = tmp_path / "ca.key"
    (tmp_path / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())
    own = load_pem_private_key((authority / "ca.key").read_bytes(), None)
    contents = {
        "encrypted": own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        "ed25519": ed25519.Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
        "another": authority_files(tmp_path, new_authority())[0].content,
        "open": (authority / "ca.key").read_bytes(),
    }
    if key is not None:
        path.write_bytes(contents[key] if isinstance(key, str) else key)
        path.chmod(0o644 if key == "open" else 0o600)
    with pytest.raises(ConfigurationError, match=told) as caught:
        issue_server_certificate(tmp_path, ["localhost"])
    assert str(path) in str(caught.value)
    assert not (tmp_path / "server.crt").exists()


def test_a_servers_certificate_is_no_authority(server: Path, tmp_path: Path) -> None:
    for name, source in (("ca.crt", "server.crt"), ("ca.key", "server.key")):
        (tmp_path / name).write_bytes((server / source).read_bytes())
    with pytest.raises(ConfigurationError, match=r"ca\.crt is not the certificate of an authority"):
        issue_server_certificate(tmp_path, ["localhost"])

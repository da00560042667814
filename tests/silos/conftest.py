"""Certificates and keys, made once: right ones, and those that must be refused. None is to be changed."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.superlink import LocalSuperLink
from fedsq_flwr.silos.certificates import issue_server_certificate, make_authority
from fedsq_flwr.silos.keys import make_node_key
from tests.silos.federation import Federation, make_federation
from tests.silos.processes import Process

LOOPBACK = ("localhost", "127.0.0.1")


def certified(authority: Path, directory: Path, hosts: tuple[str, ...] = LOOPBACK, **period: object) -> Path:
    """A directory with a copy of the authority, and a server's certificate that it signed."""
    directory.mkdir(mode=0o700)
    for name in ("ca.crt", "ca.key"):
        shutil.copy2(authority / name, directory / name)
    issue_server_certificate(directory, hosts, **period)
    return directory


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with `ca.crt` and `ca.key` that silos trust."""
    return make_authority(tmp_path_factory.mktemp("authority")).parent


@pytest.fixture(scope="session")
def server(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `server.crt` and `server.key` for localhost and 127.0.0.1, and the authority."""
    return certified(authority, tmp_path_factory.mktemp("server") / "certs")


@pytest.fixture(scope="session")
def server_elsewhere(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `server`, for another name and address."""
    return certified(authority, tmp_path_factory.mktemp("elsewhere") / "certs", ("fed.example.org", "192.0.2.1"))


@pytest.fixture(scope="session")
def expired_server(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `server`, over since yesterday."""
    start = datetime.now(UTC) - timedelta(days=10)
    return certified(authority, tmp_path_factory.mktemp("expired") / "certs", days=9, valid_from=start)


@pytest.fixture(scope="session")
def future_server(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `server`, valid from tomorrow."""
    start = datetime.now(UTC) + timedelta(days=1)
    return certified(authority, tmp_path_factory.mktemp("future") / "certs", days=9, valid_from=start)


@pytest.fixture(scope="session")
def foreign_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another authority, which no silo trusts, and its `server.crt` for localhost and 127.0.0.1."""
    directory = make_authority(tmp_path_factory.mktemp("foreign")).parent
    return issue_server_certificate(directory, LOOPBACK).parent


@pytest.fixture(scope="session")
def node_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the node keys `a`, `b` and `unregistered`, and `a.pub` and so on."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("a", "b", "unregistered"):
        make_node_key(directory / name)
    return directory


@pytest.fixture(scope="module")
def superlink(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSuperLink]:
    """Flower's own SuperLink, which speaks TLS and knows no key yet."""
    with (
        RunLog(tmp_path_factory.mktemp("superlink") / "superlink.log") as log,
        LocalSuperLink(log, {}, certificates=server) as superlink,
    ):
        yield superlink


@pytest.fixture(scope="module")
def federation(superlink: LocalSuperLink, authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """Three silos that the SuperLink knows; none is started."""
    return make_federation(superlink, authority, tmp_path_factory.mktemp("federation"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start Python processes, which end with the test."""
    processes: list[Process] = []

    def start(*arguments: str, folder: Path | None = None, **variables: str) -> Process:
        processes.append(Process(folder or tmp_path / f"process-{len(processes)}", *arguments, **variables))
        return processes[-1]

    yield start
    for process in processes:
        process.stop()


def listing(directory: Path) -> dict[str, tuple[int, bytes]]:
    """The mode and content of everything below a directory, to see whether anything changed."""
    return {
        path.relative_to(directory).as_posix(): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in directory.rglob("*")
    }

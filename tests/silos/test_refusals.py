"""A silo and a SuperLink that do not come together: who is refused, by whom, and in which words.

Flower's real SuperLink, real TLS, and `fedsq silo` as a process of its own where it matters.
"""

import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from flwr.proto import fleet_pb2, message_pb2, run_pb2
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.date import now
from flwr.supernode import node_auth_http_interceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.superlink import LocalSuperLink, free_port
from fedsq_flwr.silos.keys import read_node_key
from fedsq_flwr.silos.link import KeyPair, Link
from tests.silos.fleet import Fleet
from tests.silos.processes import SILO, Process

KEYS = ("a", "b", "unregistered")


@pytest.fixture(scope="module")
def known(superlink: LocalSuperLink, node_keys: Path) -> LocalSuperLink:
    """The SuperLink, once it knows the keys ``a`` and ``b``."""
    for name in ("a", "b"):
        superlink.register(node_keys / f"{name}.pub")
    return superlink


@pytest.fixture
def key(node_keys: Path) -> Callable[[str], KeyPair]:
    return lambda name: read_node_key(node_keys / name)


@pytest.fixture
def words(tmp_path: Path, authority: Path, node_keys: Path) -> Callable[..., list[str]]:
    """The settings of a silo that trusts the authority and has a key, as words; later ones win."""

    def words(address: str, key: str = "a", *more: str) -> list[str]:
        (tmp_path / "images").mkdir(exist_ok=True)
        paths = [f"data_path={tmp_path}/images", f"state_dir={tmp_path}/state"]
        known = [f"private_key={node_keys / key}", f"root_certificates={authority / 'ca.crt'}"]
        return [f"superlink={address}", "silo=0", "silos=1", *paths, *known, *more]

    return words


@pytest.fixture(scope="session")
def secrets(node_keys: Path, server: Path, authority: Path) -> list[str]:
    """What no output may hold: each line of each private key, and the numbers that they stand for."""
    paths = [*(node_keys / name for name in KEYS), server / "server.key", authority / "ca.key"]
    lines = [line for path in paths for line in path.read_text().splitlines() if not line.startswith("---")]
    numbers = [read_node_key(node_keys / name)[0].private_numbers().private_value for name in KEYS]
    return [*(line for line in lines if len(line) > 8), *(form(n) for n in numbers for form in (str, "{:x}".format))]


def only_line(process: Process) -> str:
    """The one line that a process ended with; a connection that was reset may have been tried again before."""
    assert process.ends() == 1, process.complained()
    (line,) = process.complained().splitlines()
    assert line.startswith("fedsq: ")
    assert not [told for told in process.said().splitlines() if "cannot be reached (" not in told]
    return line.removeprefix("fedsq: ")


def refused(link: Link) -> str:
    with pytest.raises(RunFailedError) as caught, link:
        pass
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_a_key_that_is_not_registered_is_refused_with_one_line_and_status_1(known, start, words, secrets) -> None:
    silo = start(*SILO, *words(known.address, "unregistered"))
    line = only_line(silo)
    assert line.startswith(f"superlink={known.address}: does not know this silo: private_key is not registered there")
    assert "flwr supernode register" in line
    assert not [secret for secret in secrets if secret in line]


def test_a_silo_without_a_key_is_refused_where_keys_are_asked_for(known, authority) -> None:
    told = refused(Link(known.address, keys=None, root_certificates=str(authority / "ca.crt")))
    assert "private_key" in told


def test_a_second_silo_with_the_same_key_is_refused_while_the_first_is_connected(known, authority, key) -> None:
    trusted = {"root_certificates": str(authority / "ca.crt")}
    with Link(known.address, keys=key("a"), **trusted):
        assert "is of a silo that is connected already, or was until a minute ago" in refused(
            Link(known.address, keys=key("a"), **trusted)
        )
    with Link(known.address, keys=key("a"), **trusted):
        pass


WRONG_CERTIFICATES = {
    "expired_server": "certificate has expired",
    "future_server": "certificate is not yet valid",
    "foreign_authority": "unable to get local issuer certificate",
    "server_elsewhere": "IP address mismatch, certificate is not valid for '127.0.0.1'.",
}


@pytest.mark.parametrize("certificates", WRONG_CERTIFICATES)
def test_a_server_whose_certificate_is_wrong_is_refused_before_it_is_told_anything(
    authority, key, request: pytest.FixtureRequest, certificates: str
) -> None:
    with Fleet(request.getfixturevalue(certificates)) as fleet:
        told = refused(Link(fleet.address, keys=key("a"), root_certificates=str(authority / "ca.crt")))
        assert told == f"superlink={fleet.address}: its certificate is refused: {WRONG_CERTIFICATES[certificates]}"
        assert fleet.asked == []


def test_a_certificate_for_another_name_is_refused(authority, server_elsewhere, key) -> None:
    with Fleet(server_elsewhere) as fleet:
        address = fleet.address.replace("127.0.0.1", "localhost")
        told = refused(Link(address, keys=key("a"), root_certificates=str(authority / "ca.crt")))
    assert told.endswith("Hostname mismatch, certificate is not valid for 'localhost'.")


def test_without_an_authority_of_its_own_a_silo_asks_the_systems_and_refuses_ours(server, key) -> None:
    with Fleet(server) as fleet:
        assert "its certificate is refused" in refused(Link(fleet.address, keys=key("a")))


def test_a_wrong_certificate_ends_the_process_with_one_line_and_status_1(start, words, expired_server) -> None:
    with Fleet(expired_server) as fleet:
        line = only_line(start(*SILO, *words(fleet.address)))
    assert line == f"superlink={fleet.address}: its certificate is refused: certificate has expired"


def test_plain_http_to_a_superlink_that_speaks_tls_is_refused(known, start, words) -> None:
    line = only_line(start(*SILO, *words(known.address)[:5], "insecure=true"))
    assert line.startswith(f"superlink={known.address}: does not answer over plain HTTP; leave insecure out")


def test_tls_to_a_superlink_that_speaks_plain_http_is_refused(authority, key, tmp_path: Path) -> None:
    with RunLog(tmp_path / "log") as log, LocalSuperLink(log, {}) as plain:
        told = refused(Link(plain.address, keys=key("a"), root_certificates=str(authority / "ca.crt")))
    assert told.startswith(f"superlink={plain.address}: does not speak TLS as it should (")
    assert told.endswith("; is it plain HTTP?")


def test_a_key_that_others_may_read_is_refused_before_anything_is_sent(start, words, node_keys, tmp_path) -> None:
    open_key = tmp_path / "open"
    open_key.write_bytes((node_keys / "a").read_bytes())
    open_key.chmod(0o640)
    line = only_line(start(*SILO, *words("127.0.0.1:1", "a", f"private_key={open_key}")))
    assert line == f"{open_key} is open to others (mode 640): chmod 600 {open_key}"


def openssh(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, path: Path) -> Path:
    none = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.write_bytes(key.private_bytes(pem, form, none))
    path.chmod(0o600)
    path.with_name(f"{path.name}.pub").write_bytes(public)
    return path


def test_a_key_of_another_kind_is_refused_at_the_silo_and_at_the_server(known, start, words, tmp_path) -> None:
    path = openssh(ed25519.Ed25519PrivateKey.generate(), tmp_path / "other")
    line = only_line(start(*SILO, *words(known.address, "a", f"private_key={path}")))
    assert line.startswith(
        f"{path} is a private key of another kind: allowed is an OpenSSH private key on a NIST curve"
    )
    with pytest.raises(RunFailedError, match="is not registered"):
        known.register(path.with_name("other.pub"))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_registered_key_on_another_nist_curve_is_taken(known, authority, tmp_path, curve) -> None:
    path = openssh(ec.generate_private_key(curve), tmp_path / "node")
    known.register(path.with_name("node.pub"))
    with Link(known.address, keys=read_node_key(path), root_certificates=str(authority / "ca.crt")) as link:
        assert link.receive() is None


def test_a_silo_does_not_load_torch_before_it_is_wanted(known, start, words) -> None:
    """It takes seconds, and whoever mistypes an address should not wait for them."""
    script = (
        "import sys; from fedsq_flwr.cli import main; status = main(sys.argv[1:]);"
        "print(sorted({'torch', 'torchvision', 'ray'} & sys.modules.keys()), 'flwr' in sys.modules);"
        "sys.exit(status)"
    )
    silo = start("-c", script, "silo", *words(known.address, "unregistered"))
    assert silo.ends() == 1
    assert silo.said() == "[] True\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_silo_that_is_told_to_stop_leaves_cleanly_with_status_0(
    known, start, words, authority, key, secrets, number: signal.Signals
) -> None:
    silo = start(*SILO, *words(known.address))
    silo.wait_for(" ready\n")
    command, environment = silo.command_line(), silo.environment()
    silo.send(number)
    assert silo.ends() == 0
    assert silo.complained() == ""
    told = silo.said()
    assert f"silo 0 of 1 is connected to {known.address} (node " in told
    assert "stopped: " in told.splitlines()[-1]
    with Link(known.address, keys=key("a"), root_certificates=str(authority / "ca.crt")):
        pass  # the other one is not connected any more
    for text in (told, command, environment):
        assert not [secret for secret in secrets if secret in text]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_silo_that_waits_for_its_superlink_can_be_told_to_stop(start, words, number: signal.Signals) -> None:
    address = f"127.0.0.1:{free_port()}"
    silo = start(*SILO, *words(address))
    silo.wait_for(f"{address} cannot be reached (")
    silo.send(number)
    assert silo.ends() == 0
    assert silo.complained() == ""
    assert len(silo.said().splitlines()) == 2


def test_what_flower_logs_in_a_silos_process_is_in_its_log_once(known, start, words) -> None:
    """Flower adds a handler for standard error when it is imported."""
    script = (
        "import sys, logging; from fedsq_flwr.cli import main; status = main(sys.argv[1:]);"
        "logging.getLogger('flwr').info('quiet'); logging.getLogger('flwr').warning('aloud'); sys.exit(status)"
    )
    silo = start("-c", script, "silo", *words(known.address, "unregistered"))
    assert silo.ends() == 1
    assert [line.partition(" WARNING ")[2] for line in silo.said().splitlines()] == ["silo 0: aloud"]
    (line,) = silo.complained().splitlines()
    assert line.startswith("fedsq: ")


#: Calls that a node makes in its own name.
IN_A_NAME = {
    "PullMessages": lambda node: fleet_pb2.PullMessagesRequest(node=Node(node_id=node)),
    "PushMessages": lambda node: fleet_pb2.PushMessagesRequest(node=Node(node_id=node)),
    "PullObject": lambda node: message_pb2.PullObjectRequest(node=Node(node_id=node), run_id=1, object_id="0"),
    "PushObject": lambda node: message_pb2.PushObjectRequest(node=Node(node_id=node), run_id=1, object_id="0"),
    "GetRun": lambda node: run_pb2.GetRunRequest(node=Node(node_id=node), run_id=1),
    "SendNodeHeartbeat": lambda node: SendNodeHeartbeatRequest(node=Node(node_id=node), heartbeat_interval=30),
    "DeactivateNode": lambda node: fleet_pb2.DeactivateNodeRequest(node_id=node),
    "UnregisterNode": lambda node: fleet_pb2.UnregisterNodeFleetRequest(node_id=node),
}


@pytest.fixture
def ask(known, authority, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Make one call that the given keys sign, so many seconds ago; gives the status of the answer."""

    def ask(keys: KeyPair, call: str, node: int, ago: float = 0.0) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(node_auth_http_interceptor, "now", lambda: now() - timedelta(seconds=ago))
            with FleetHttpClient.from_server_address(
                known.address, False, str(authority / "ca.crt"), interceptors=[NodeAuthHttpInterceptor(*keys)]
            ) as client:
                try:
                    getattr(client, call)(IN_A_NAME[call](node))
                except httpx.HTTPStatusError as error:
                    return error.response.status_code
        return 200

    return ask


@pytest.fixture
def nodes(known, authority, key) -> Iterator[tuple[int, int]]:
    """The ids of two nodes that are connected, with the keys ``a`` and ``b``."""
    trusted = {"root_certificates": str(authority / "ca.crt")}
    with (
        Link(known.address, keys=key("a"), **trusted) as first,
        Link(known.address, keys=key("b"), **trusted) as second,
    ):
        yield first.node_id, second.node_id
        assert second.receive() is None  # whatever was asked in its name, it is connected still


OLDEST = TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE


@pytest.mark.parametrize(
    ("ago", "status"),
    [(0, 200), (OLDEST - 10, 200), (OLDEST + 1, 401), (86400, 401), (-SYSTEM_TIME_TOLERANCE - 5, 401)],
)
def test_a_request_that_is_sent_again_later_is_refused(ask, key, nodes, ago: float, status: int) -> None:
    """Whoever got hold of a signed request could repeat it for five minutes, and not after."""
    assert ask(key("a"), "PullMessages", nodes[0], ago) == status


@pytest.mark.parametrize("call", IN_A_NAME)
def test_a_registered_silo_cannot_speak_for_another_one(ask, key, nodes, call: str) -> None:
    assert ask(key("a"), call, nodes[1]) == 401


def test_a_signature_by_another_key_is_refused(ask, key, nodes) -> None:
    forged = (key("unregistered")[0], key("a")[1])
    assert ask(forged, "PullMessages", nodes[0]) == 401
    assert ask(key("unregistered"), "PullMessages", nodes[0]) == 401

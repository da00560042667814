"""`fedsq doctor` at the server: its certificate, its clock, and whether it knows the silo."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors.superlink import free_port
from fedsq_flwr.silos.checks.admission import check_admission
from fedsq_flwr.silos.checks.finding import Mark
from fedsq_flwr.silos.checks.server import Contact, check_clock, check_server, check_unverified
from fedsq_flwr.silos.keys import read_node_key
from fedsq_flwr.silos.link import Link
from tests.silos.conftest import certified
from tests.silos.joining import Answers, server_at, silo_of

UNKNOWN_KEY = Answers(status=412, code=2004)
KEYS_ONLY = Answers(status=412, code=2001)
ANYBODY = Answers(status=200, code=None)


def seen(authority: Path, certificates: Path, folder: Path, answers: Answers | None = None):
    with server_at(certificates, answers) as address:
        return check_server(silo_of(folder, superlink=address, root_certificates=str(authority / "ca.crt")))


def test_a_right_server_is_named_with_its_last_day(authority: Path, server: Path, tmp_path: Path) -> None:
    finding, contact = seen(authority, server, tmp_path)
    assert finding.mark == Mark.OK
    assert finding.found == f"CN=FedSQ server, valid until {datetime.now(UTC) + timedelta(days=365):%Y-%m-%d}"
    assert contact is not None
    assert contact.clock_ahead == pytest.approx(0, abs=2.5)


def test_a_certificate_that_ends_soon_is_warned_of(authority: Path, tmp_path: Path) -> None:
    soon = certified(authority, tmp_path / "soon", days=9)
    finding, contact = seen(authority, soon, tmp_path)
    assert (finding.mark, contact is not None) == (Mark.WARN, True)
    assert finding.found.endswith("8 days are left")
    assert "fedsq certs DIR --renew" in finding.advice


@pytest.mark.parametrize(
    ("fixture", "told", "advice"),
    [
        ("expired_server", "certificate has expired", "--renew"),
        ("future_server", "certificate is not yet valid", f"clock right? It says {datetime.now(UTC):%Y-%m-%d}"),
        ("foreign_authority", "unable to get local issuer certificate", "must be the ca.crt of this server's"),
        ("server_elsewhere", "certificate is not valid for 'localhost'", "superlink must name the server as"),
    ],
)
def test_a_wrong_server_is_told_with_what_it_shows(
    authority: Path, tmp_path: Path, request: pytest.FixtureRequest, fixture: str, told: str, advice: str
) -> None:
    finding, contact = seen(authority, request.getfixturevalue(fixture), tmp_path)
    assert finding.mark == Mark.FAIL
    assert contact is not None  # so that its clock is compared, which may be why
    assert contact.clock_ahead is not None
    assert finding.command.startswith(f"curl -v --cacert {authority / 'ca.crt'} https://")
    refused, shown = finding.found.splitlines()
    assert told in refused
    assert shown.startswith("CN=FedSQ server for ")
    assert "signed by CN=FedSQ authority" in shown
    assert advice in finding.advice


def test_without_an_authority_a_server_is_looked_at_and_not_trusted(server: Path, tmp_path: Path) -> None:
    with server_at(server) as address:
        finding, contact = check_unverified(silo_of(tmp_path, superlink=address))
    assert (finding.mark, finding.found) == (Mark.SKIP, f"{address} answers; not verified: needs authority")
    assert contact is not None
    finding, contact = check_unverified(silo_of(tmp_path, superlink=f"127.0.0.1:{free_port()}"))
    assert ("does not answer" in finding.found, contact) == (True, None)


def test_an_address_that_the_certificate_does_not_name(
    authority: Path, server_elsewhere: Path, tmp_path: Path
) -> None:
    with server_at(server_elsewhere) as address:
        numeric = address.replace("localhost", "127.0.0.1")
        silo = silo_of(tmp_path, superlink=numeric, root_certificates=str(authority / "ca.crt"))
        finding, _ = check_server(silo)
    assert "IP address mismatch" in finding.found
    assert "for fed.example.org, 192.0.2.1" in finding.found


def test_plain_http_is_warned_of(tmp_path: Path) -> None:
    with server_at(None) as address:
        finding, contact = check_server(silo_of(tmp_path, superlink=address, insecure=True))
    assert finding.mark == Mark.WARN
    assert "nothing is encrypted" in finding.found
    assert contact is not None
    assert contact.certificate is None


def test_plain_http_against_tls_and_the_other_way_round(authority: Path, server: Path, tmp_path: Path) -> None:
    with server_at(server) as address:
        finding, _ = check_server(silo_of(tmp_path, superlink=address, insecure=True))
    assert (finding.mark, finding.advice) == (Mark.FAIL, "")
    with server_at(None) as address:
        silo = silo_of(tmp_path, superlink=address, root_certificates=str(authority / "ca.crt"))
        finding, _ = check_server(silo)
    assert (finding.mark, finding.advice) == (Mark.FAIL, "")
    assert "is it plain HTTP?" in finding.found


def test_nobody_listens(tmp_path: Path) -> None:
    finding, contact = check_server(silo_of(tmp_path, superlink=f"127.0.0.1:{free_port()}", insecure=True))
    assert (finding.mark, contact) == (Mark.FAIL, None)
    assert "cannot be reached: [Errno 111] Connection refused" in finding.found
    assert finding.advice == "does it run, and does no firewall stand between?"


@pytest.mark.parametrize(
    ("ahead", "mark", "told"),
    [
        (0.4, Mark.OK, "as the server's"),
        (-100, Mark.OK, "100 s behind the server's"),
        (3, Mark.WARN, "3 s ahead of the server's; allowed are 5 s ahead and 305 s behind"),
        (6, Mark.FAIL, "6 s ahead of the server's; allowed are 5 s ahead and 305 s behind"),
        (-200, Mark.WARN, "200 s behind the server's; allowed are 5 s ahead and 305 s behind"),
        (-400, Mark.FAIL, "400 s behind the server's; allowed are 5 s ahead and 305 s behind"),
        (None, Mark.WARN, "could not be compared: the server's answer has no date"),
    ],
)
def test_flower_takes_a_clock_that_is_behind_far_more_than_one_that_is_ahead(
    ahead: float | None, mark: Mark, told: str
) -> None:
    finding = check_clock(Contact(None, ahead))
    assert (finding.mark, finding.found) == (mark, told)
    assert bool(finding.advice) == (mark != Mark.OK)


@pytest.mark.parametrize(("date", "ahead"), [("later", -1000.0), (None, None), ("senseless", None)])
def test_the_servers_clock_is_read_off_its_answer(tmp_path: Path, date: str | None, ahead: float | None) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=1000), usegmt=True)
    with server_at(None, Answers(date=later if date == "later" else date)) as address:
        _, contact = check_server(silo_of(tmp_path, superlink=address, insecure=True))
    assert contact is not None
    assert contact.clock_ahead == (None if ahead is None else pytest.approx(ahead, abs=2.5))


@pytest.mark.parametrize(("answers", "known"), [(Answers(), True), (UNKNOWN_KEY, False), (ANYBODY, True)])
def test_a_link_asks_whether_its_key_is_known(node_keys: Path, answers: Answers, known: bool) -> None:
    with server_at(None, answers) as address:
        assert Link(address, keys=read_node_key(node_keys / "a"), insecure=True).is_known() is known


@pytest.mark.parametrize("answers", [Answers(status=200), Answers(status=401, code=0), Answers(code=1)])
def test_what_is_not_an_answer_to_that_is_refused(node_keys: Path, answers: Answers) -> None:
    with server_at(None, answers) as address:
        link = Link(address, keys=read_node_key(node_keys / "a"), insecure=True)
        with pytest.raises(RunFailedError, match=f"superlink={address}: "):
            link.is_known()


def test_a_link_gives_up_when_its_patience_is_over() -> None:
    link = Link(f"127.0.0.1:{free_port()}", keys=None, insecure=True, patience=0.2)
    with pytest.raises(RunFailedError, match=r"cannot be reached: .*Connection refused"), link:
        pass


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_is_given_up(node_keys: Path, status: int) -> None:
    with server_at(None, Answers(status=status, code=0)) as address:
        link = Link(address, keys=read_node_key(node_keys / "a"), insecure=True, patience=0.2)
        with pytest.raises(RunFailedError, match=f"answers {status}: "):
            link.is_known()


def test_an_unknown_key_is_to_be_registered(node_keys: Path, tmp_path: Path) -> None:
    with server_at(None, UNKNOWN_KEY) as address:
        silo = silo_of(tmp_path, superlink=address, insecure=True, private_key="/keys/node")
        finding = check_admission(silo, read_node_key(node_keys / "a"))
    assert (finding.mark, finding.found) == (Mark.FAIL, "the server does not know this silo's key")
    assert finding.command == "flwr supernode register /keys/node.pub federation"


def test_a_known_key_is_asked_for_once(node_keys: Path, tmp_path: Path) -> None:
    answers = Answers()
    with server_at(None, answers) as address:
        silo = silo_of(tmp_path, superlink=address, insecure=True)
        assert check_admission(silo, read_node_key(node_keys / "a")).mark == Mark.OK
    assert answers.asked == 1


def test_without_a_key_the_silo_connects_and_leaves(tmp_path: Path) -> None:
    with server_at(None, ANYBODY) as address:
        finding = check_admission(silo_of(tmp_path, superlink=address, insecure=True), None)
    assert (finding.mark, finding.found) == (Mark.OK, "the server takes silos without keys")


def test_a_server_that_wants_keys_says_so(tmp_path: Path) -> None:
    with server_at(None, KEYS_ONLY) as address:
        finding = check_admission(silo_of(tmp_path, superlink=address, insecure=True), None)
    assert finding.mark == Mark.FAIL
    assert finding.found.endswith("private_key must be given")

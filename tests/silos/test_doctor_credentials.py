"""`fedsq doctor` on the silo's key and the authority's certificate."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedsq_flwr.silos.certificates import make_authority
from fedsq_flwr.silos.checks.credentials import check_authority, check_key, public_digest
from fedsq_flwr.silos.checks.finding import Mark
from fedsq_flwr.silos.keys import make_node_key, read_node_key
from tests.silos.joining import silo_of


def test_a_right_key_is_told_as_ssh_keygen_tells_it(node_keys: Path, tmp_path: Path) -> None:
    finding, keys = check_key(silo_of(tmp_path, private_key=str(node_keys / "a")))
    assert finding.mark == Mark.OK
    assert keys is not None
    assert finding.found.splitlines() == [str(node_keys / "a"), public_digest(keys[1])]
    if shutil.which("ssh-keygen"):
        told = subprocess.check_output(["ssh-keygen", "-l", "-f", node_keys / "a.pub"], text=True)
        assert told.split()[1] == public_digest(read_node_key(node_keys / "a")[1])


def test_a_key_that_others_can_read_fails(tmp_path: Path) -> None:
    make_node_key(tmp_path / "node")
    (tmp_path / "node").chmod(0o644)
    finding, keys = check_key(silo_of(tmp_path, private_key=str(tmp_path / "node")))
    assert (finding.mark, keys) == (Mark.FAIL, None)
    assert finding.found.endswith(f"chmod 600 {tmp_path / 'node'}")


def test_without_a_key_the_server_must_take_such_silos(tmp_path: Path) -> None:
    finding, _ = check_key(silo_of(tmp_path))
    assert finding.mark == Mark.WARN
    assert "must take silos without keys" in finding.advice
    assert check_key(silo_of(tmp_path, insecure=True))[0].mark == Mark.OK


def test_the_authority_is_named_with_its_last_day(authority: Path, tmp_path: Path) -> None:
    finding = check_authority(silo_of(tmp_path, root_certificates=str(authority / "ca.crt")))
    assert finding.mark == Mark.OK
    assert finding.found.startswith("CN=FedSQ authority ")
    assert finding.found.endswith(f"valid until {datetime.now(UTC) + timedelta(days=3650):%Y-%m-%d}")


@pytest.mark.parametrize(
    ("starts", "days", "mark", "told"),
    [
        (-9, 10, Mark.WARN, ": 0 days are left"),
        (-9, 8, Mark.FAIL, ": is over"),
        (1, 9, Mark.FAIL, "UTC"),
    ],
)
def test_an_authority_out_of_its_time(tmp_path: Path, starts: int, days: int, mark: Mark, told: str) -> None:
    made = make_authority(tmp_path / "ca", days=days, valid_from=datetime.now(UTC) + timedelta(days=starts))
    finding = check_authority(silo_of(tmp_path, root_certificates=str(made)))
    assert finding.mark == mark
    assert finding.found.endswith(told)
    assert ("clock" if starts > 0 else "ca.crt") in finding.advice


def test_what_is_no_certificate_fails(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("words")
    finding = check_authority(silo_of(tmp_path, root_certificates=str(tmp_path / "ca.crt")))
    assert finding.mark == Mark.FAIL
    assert "is no certificate" in finding.found


def test_no_authority_of_ones_own_is_no_fault(tmp_path: Path) -> None:
    assert check_authority(silo_of(tmp_path)).mark == Mark.OK
    assert check_authority(silo_of(tmp_path, insecure=True)).mark == Mark.OK

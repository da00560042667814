"""`fedsq doctor`: all checks in a row, as they are printed, and what its exit status says."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsq_flwr.assembly.model import build_model
from fedsq_flwr.assembly.network import random_network
from fedsq_flwr.cli import main
from fedsq_flwr.commands.doctor import lines_of
from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.superlink import LocalSuperLink, free_port
from fedsq_flwr.gating import DualCopy
from fedsq_flwr.models import save_weights
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.silos import examination
from fedsq_flwr.silos.checks.finding import Finding, fail, ok, skip, warn
from fedsq_flwr.silos.keys import read_node_key
from fedsq_flwr.silos.link import Link
from tests.data.folders import make
from tests.silos.conftest import listing

CHECKS = [
    *("versions", "settings", "run", "key", "authority", "server", "clock", "admission"),
    *("data", "memory", "weights", "gates", "disk", "device", "step"),
]
FILES = {f"{part}/{name}/{place}.png": place for part in ("train", "validation") for name in "ab" for place in (1, 2)}


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def silo(tmp_path: Path) -> list[str]:
    """Settings of a silo with images and weights of its own, whose server does not run."""
    make(tmp_path / "data", FILES)
    save_weights(tmp_path / "w.safetensors", random_network(compose_settings(), 2, "start").state_dict(), {})
    settings = {
        "superlink": f"127.0.0.1:{free_port()}",
        "silo": 0,
        "silos": 2,
        "insecure": True,
        "data_path": tmp_path / "data",
        "weights": tmp_path / "w.safetensors",
        "state_dir": tmp_path / "state",
        "device": "cpu",
        "gate_cache_bytes": 1,
    }
    return [f"{name}={value}" for name, value in settings.items()]


def marks(printed: str) -> dict[str, str]:
    """The mark of each check, in their order."""
    found = re.findall(r"^(ok|warn|FAIL|skip) +(\w+) ", printed, re.MULTILINE)
    return {check: mark for mark, check in found}


def test_a_finding_is_a_line_with_its_advice_below() -> None:
    lines = [line.plain for line in lines_of(warn("clock", "3 s ahead", "set it right"), 80)]
    assert lines == ["warn clock     3 s ahead", "               -> set it right"]


def test_what_is_long_is_wrapped_and_paths_and_sums_stay_whole() -> None:
    path, words, digits = "/a/very" + "/deep" * 20, "word " * 20, "0" * 64
    first, *rest = (line.plain for line in lines_of(fail("data", f"{path}: {words}\n{digits}", words), 80))
    assert first == f"FAIL data      {path}:"
    assert [len(line) for line in rest if len(line) > 80] == []
    advice = rest.index(" " * 15 + digits) + 1
    assert rest[0].startswith(" " * 15 + "word")
    assert rest[advice].startswith(" " * 15 + "-> word")
    assert rest[advice + 1].startswith(" " * 18 + "word")


def test_a_command_is_a_line_of_its_own_and_whole() -> None:
    command = "curl -v https://" + "word " * 30 + "end"
    *_, last = (line.plain for line in lines_of(fail("server", "away", "see:", command), 80))
    assert last == " " * 15 + command


def test_nothing_found_steers_the_terminal() -> None:
    (line,) = lines_of(ok("server", "CN=\x1b[2J\udcff"), 80)
    assert line.plain == "ok   server    CN= [2J"


def test_all_problems_come_in_one_go(silo: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = listing(tmp_path)
    assert main(["doctor", *silo, "device=cuda:99", "--run", "data.classes=[a,c]"]) == 1
    printed, told = capsys.readouterr()
    found = marks(printed)
    assert list(found) == CHECKS
    assert [check for check, mark in found.items() if mark == "FAIL"] == ["server", "data", "device"]
    assert [check for check, mark in found.items() if mark == "skip"] == ["clock", "admission", "memory", "step"]
    assert told == "fedsq: not ready to join: 3 checks failed (server, data, device)\n"
    assert "\x1b" not in printed
    assert [line for line in printed.splitlines() if len(line) > 80 and "/" not in line] == []
    assert f"\n{' ' * 15}curl -v http://127.0.0.1:" in printed
    assert f"\n{' ' * 15}ls -l {tmp_path / 'data'}\n" in printed
    assert listing(tmp_path) == before


def test_without_settings_the_rest_is_skipped(silo: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *silo, "silo=7"]) == 1
    found = marks(capsys.readouterr().out)
    assert list(found) == CHECKS
    assert list(found.values()) == ["ok", "FAIL", *["skip"] * 13]


@pytest.mark.parametrize(
    ("name", "also"),
    [
        ("data_path", ["data"]),
        ("private_key", ["key"]),
        ("root_certificates", ["authority"]),
        ("weights", ["weights"]),
    ],
)
def test_a_file_that_is_missing_leaves_what_does_not_need_it(
    silo: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, also: list[str]
) -> None:
    secure = [] if name in ("data_path", "weights") else ["insecure=false"]
    assert main(["doctor", *silo, *secure, f"{name}={tmp_path}/none"]) == 1
    found = marks(capsys.readouterr().out)
    assert list(found) == CHECKS
    failed = {check for check, mark in found.items() if mark == "FAIL"}
    assert failed - {"server"} == {"settings", *also}
    assert [found[check] for check in ("run", "disk", "device", "step")] == ["ok"] * 4


def test_what_needs_the_run_is_skipped_without_it(silo: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *silo, "--run", "nonsense=1"]) == 1
    printed, _ = capsys.readouterr()
    assert "nonsense: there is no such setting" in " ".join(printed.split())
    assert [check for check, mark in marks(printed).items() if mark == "skip"] == [
        "clock", "admission", "memory", "weights", "gates", "step",
    ]  # fmt: skip


def test_an_authority_that_is_none_leaves_the_server_out(
    silo: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").write_text("words")
    assert main(["doctor", *silo, "insecure=false", f"root_certificates={tmp_path / 'ca.crt'}"]) == 1
    found = marks(capsys.readouterr().out)
    assert [found[check] for check in ("key", "authority", "server", "clock", "admission")] == [
        "warn", "FAIL", "skip", "skip", "skip",
    ]  # fmt: skip


def test_packages_that_do_not_load_are_a_finding(
    silo: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[Finding]:
        yield skip("key", "nothing")
        raise ImportError("no module of this version")

    monkeypatch.setattr(examination, "_connection", broken)
    assert main(["doctor", *silo]) == 1
    printed, told = capsys.readouterr()
    assert "FAIL imports   no module of this version\n               -> see versions" in printed
    assert marks(printed)["device"] == "ok"
    assert "1 check failed (imports)" in told


@pytest.fixture(scope="module")
def superlink(
    server: Path, node_keys: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, RunLog]]:
    """A real SuperLink that speaks TLS and knows the key `a`; its address, and its log."""
    log = RunLog(tmp_path_factory.mktemp("superlink") / "superlink.log")
    with log, LocalSuperLink(log, {}, certificates=server) as started:
        started.register(node_keys / "a.pub")
        yield started.address, log


def comings_and_goings(log: RunLog) -> int:
    time.sleep(0.5)  # its lines come through a pipe
    return sum("ctivated node_id" in line for line in log.recent())


@pytest.mark.slow
def test_a_silo_that_can_join_and_one_that_is_not_registered(
    superlink: tuple[str, RunLog],
    silo: list[str],
    authority: Path,
    node_keys: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    address, log = superlink
    before, connected = listing(tmp_path), comings_and_goings(log)
    trusting = [f"superlink={address}", "insecure=false", f"root_certificates={authority / 'ca.crt'}"]
    run = ["--run", "data.classes=[a,b]"]

    assert main(["doctor", *silo, *trusting, f"private_key={node_keys / 'a'}", *run]) == 0
    printed, told = capsys.readouterr()
    assert marks(printed) == dict.fromkeys(CHECKS, "ok")
    assert printed.endswith("\nready to join\n")
    assert told == ""
    servers = build_model(compose_settings([f"backbone.weights={tmp_path / 'w.safetensors'}"]), 2)
    assert isinstance(servers, DualCopy)
    assert f"{' ' * 15}{servers.fingerprint}\n" in printed

    assert main(["doctor", *silo, *trusting, f"private_key={node_keys / 'unregistered'}", *run]) == 1
    printed, told = capsys.readouterr()
    assert marks(printed) == dict.fromkeys(CHECKS, "ok") | {"admission": "FAIL"}
    assert "the server does not know this silo's key" in printed
    assert told == "fedsq: not ready to join: 1 check failed (admission)\n"

    assert main(["doctor", *silo, *trusting, *run]) == 1  # no key
    printed, _ = capsys.readouterr()
    assert "private_key must be given" in " ".join(printed.split())

    assert main(["doctor", *silo, f"superlink={address}", *run]) == 1
    printed, _ = capsys.readouterr()
    assert "leave insecure out if it speaks TLS" in " ".join(printed.split())

    assert comings_and_goings(log) == connected  # no run could have taken any of these for a silo
    assert listing(tmp_path) == before


@pytest.mark.slow
def test_a_silo_that_is_connected_is_not_disturbed(
    superlink: tuple[str, RunLog], silo: list[str], authority: Path, node_keys: Path
) -> None:
    address, log = superlink
    keys, root = read_node_key(node_keys / "a"), str(authority / "ca.crt")
    with Link(address, keys=keys, root_certificates=root) as running:
        trusting = [f"superlink={address}", "insecure=false", f"root_certificates={root}"]
        before = comings_and_goings(log)
        assert main(["doctor", *silo, *trusting, f"private_key={node_keys / 'a'}"]) == 0
        assert running.receive() is None
        assert comings_and_goings(log) == before

"""`fedsq certs`: makes what is missing, overwrites nothing, and says where each file goes."""

import subprocess
import sys
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.silos.certificates import read_certificate
from fedsq_flwr.silos.keys import read_node_key
from fedsq_flwr.silos.pem_files import check_server, load_certificate
from tests.silos.conftest import listing

HOST = ("--host", "fed.example.org")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@pytest.fixture
def made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A directory with an authority, a server's certificate and the key of a silo."""
    assert main(["certs", str(tmp_path / "certs"), *HOST, "--silo", "a"]) == 0
    capsys.readouterr()
    return tmp_path / "certs"


def names(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def test_one_call_makes_all_that_a_federation_needs(tmp_path, capsys):
    directory = tmp_path / "certs"
    assert main(["certs", str(directory), *HOST, "--host", "192.0.2.7", "--silo", "a", "--silo", "b"]) == 0
    wanted = {"ca.crt", "ca.key", "server.crt", "server.key", "keys/a", "keys/a.pub", "keys/b", "keys/b.pub"}
    assert names(directory) == wanted
    printed = capsys.readouterr().out.splitlines()
    assert {str(directory / name) for name in wanted} <= set(printed)
    assert "ca.crt goes to the server and every silo" in "".join(printed)
    assert "Keep ca.key offline" in "".join(printed)

    check_server(directory)
    assert read_certificate(directory / "server.crt").hosts == ("fed.example.org", "192.0.2.7", *LOOPBACK)
    secret = [path for path in directory.rglob("*") if path.stat().st_mode & 0o077 == 0]
    assert {path.relative_to(directory).as_posix() for path in secret} == {
        "ca.key",
        "server.key",
        "keys",
        "keys/a",
        "keys/b",
    }
    assert directory.stat().st_mode & 0o777 == 0o700
    read_node_key(directory / "keys" / "b")


@pytest.mark.parametrize("again", [HOST, ()], ids=["the same host", "no host"])
def test_a_later_call_adds_the_key_of_a_silo_and_keeps_the_rest(made, again):
    before = listing(made)
    (made / "ca.key").rename(made.parent / "offline")
    assert main(["certs", str(made), *again, "--silo", "b"]) == 0
    (made.parent / "offline").rename(made / "ca.key")
    after = listing(made)
    assert set(after) - set(before) == {"keys/b", "keys/b.pub"}
    assert {name: after[name] for name in before} == before


def test_an_authority_that_is_there_signs_for_a_server_without_a_certificate(made):
    for name in ("server.crt", "server.key"):
        (made / name).unlink()
    authority = (made / "ca.crt").read_bytes()
    assert main(["certs", str(made), "--host", "other.example.org", "--days", "7"]) == 0
    assert (made / "ca.crt").read_bytes() == authority
    assert check_server(made).serial_number
    assert read_certificate(made / "server.crt").hosts == ("other.example.org", *LOOPBACK)


@pytest.mark.parametrize(("again", "hosts"), [((), "fed.example.org"), (("--host", "new.org"), "new.org")])
def test_renewing_replaces_the_certificate_and_nothing_else(made, capsys, again, hosts):
    before, old = listing(made), load_certificate(made / "server.crt")
    (made / "server.key").rename(made.parent / "on the server")
    assert main(["certs", str(made), "--renew", *again, "--days", "500"]) == 0
    (made.parent / "on the server").rename(made / "server.key")
    new, after = check_server(made), listing(made)
    assert new.public_key() == old.public_key()
    assert new.not_valid_after_utc > old.not_valid_after_utc
    assert read_certificate(made / "server.crt").hosts == (hosts, *LOOPBACK)
    assert {name for name in after if after[name] != before.get(name)} == {"server.crt"}
    assert capsys.readouterr().out.startswith(f"{made / 'server.crt'}\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing is asked for: give --host, --silo or --renew"),
        (["--silo", "a"], "keys/a exists, and is not overwritten"),
        (["--silo", "b", "--silo", "a"], "keys/a exists"),
        (["--renew", "--silo", "a"], "keys/a exists"),
        (["--silo", "b", "--silo", "b"], "--silo=b: is given 2 times"),
        (["--silo", "../b"], "--silo=../b: names a file, so"),
        (["--silo", ""], "--silo=: names a file, so"),
        (["--silo", "a b"], "--silo=a b: names a file, so"),
        (["--silo", "b.pub"], "--silo=b.pub: names a file, so"),
        (["--silo", "b", "--host", "new.org"], "server.crt is not good for new.org; --renew replaces it"),
        (["--silo", "b", *HOST, "--days", "9"], "--days=9: "),
        (["--silo", "b", "--days", "9"], "--days=9: is for the server's certificate"),
        (["--renew", "--days", "0"], "--days=0: must be at least 1"),
        (["--renew", "--days", "9999"], "--days=9999: the authority ends on 20"),
        (["--silo", "b", "--host", "http://x"], "--host=http://x: allowed is a name or an address alone"),
        (["--silo", "b", "--host", "x:9092"], "--host=x:9092: allowed is a name or an address alone"),
    ],
)
def test_what_is_refused_is_told_in_one_line_and_changes_nothing(made, capsys, arguments, told):
    before = listing(made)
    assert main(["certs", str(made), *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert listing(made) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--silo", "a"], "ca.crt does not exist; --host without --renew makes it"),
        (["--renew", *HOST], "ca.crt does not exist; --host without --renew makes it"),
        ([*HOST, "--days", "4000"], "--days=4000: the authority ends on"),
        ([*HOST, "--silo", "-x"], "--silo"),
        (["--host", ""], "--host=: allowed is"),
    ],
)
def test_what_is_refused_at_first_makes_no_directory(tmp_path, capsys, arguments, told):
    try:
        status = main(["certs", str(tmp_path / "certs"), *arguments])
    except SystemExit as exit:  # argparse's
        status = exit.code
    assert status != 0
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("file", "file is no directory that can be read and written"),
        ("file/certs", "certs/ca.key cannot be written: Not a directory"),
        ("x" * 300, "x cannot be used: File name too long"),
    ],
)
def test_a_directory_that_cannot_be_is_named(tmp_path, capsys, name, told):
    (tmp_path / "file").write_text("mine")
    assert main(["certs", str(tmp_path / name), *HOST]) == 1
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_leftovers_of_another_authority_are_not_mixed_with_a_new_one(made, capsys):
    for name in ("ca.crt", "ca.key"):
        (made / name).unlink()
    before = listing(made)
    assert main(["certs", str(made), *HOST]) == 1
    assert "exists, and is not overwritten" in capsys.readouterr().err
    assert listing(made) == before


@pytest.mark.parametrize("arguments", [["--renew"], [*HOST, "--silo", "b"]])
def test_a_certificate_of_another_authority_is_neither_renewed_nor_kept(
    made,
    tmp_path,
    capsys,
    arguments,
):
    assert main(["certs", str(tmp_path / "other"), *HOST]) == 0
    (made / "server.crt").write_bytes((tmp_path / "other" / "server.crt").read_bytes())
    before = listing(made)
    assert main(["certs", str(made), *arguments]) == 1
    assert f"{made / 'server.crt'} is not signed by {made / 'ca.crt'}" in capsys.readouterr().err
    assert listing(made) == before


def test_the_command_needs_neither_torch_nor_flower(tmp_path):
    script = (
        "import sys\nfrom fedsq_flwr.cli import main\n"
        f"assert main(['certs', {str(tmp_path / 'certs')!r}, '--host', 'x', '--silo', 'a']) == 0\n"
        "assert not {'torch', 'flwr'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

"""The examples for machines of one's own: systemd units, nginx, and settings."""

import inspect
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
from flwr.superlink.main import create_app
from flwr.supernode import fleet_http_client

from fedsq_flwr.executors.environment import _FIXED
from fedsq_flwr.settings.silo import SiloSettings
from fedsq_flwr.settings.silo_file import read_silo_settings
from tests.packaging.deployment import EXAMPLES, commands, options, unit

UNITS = sorted(EXAMPLES.glob("*.service"))
NGINX = (EXAMPLES / "nginx.conf").read_text()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_start_commands_that_there_are_as_a_user_who_may_do_little(path):
    settings = unit(path)
    (started,) = settings["ExecStart"]
    program = Path(started.split()[0])
    assert program.name in commands() | {"nginx"}
    assert settings["User"] == ["fedsq"]
    assert settings["CapabilityBoundingSet"] == [""]
    for name in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "PrivateDevices", "RestrictSUIDSGID"):
        assert settings[name] == ["yes"]
    assert settings["ProtectSystem"] == ["strict"]
    assert settings["Restart"] == ["always"]
    assert settings["UMask"] == ["0077"]  # what passes the server lies in its database for a while


def test_there_is_a_unit_for_the_server_its_door_and_a_silo():
    assert [path.stem for path in UNITS] == ["fedsq-door", "fedsq-silo", "fedsq-superlink"]


@pytest.mark.parametrize("name", ["fedsq-superlink", "fedsq-silo"])
def test_units_give_flowers_variables(name):
    given = dict(
        pair.split("=", 1) for line in unit(EXAMPLES / f"{name}.service")["Environment"] for pair in line.split()
    )
    wanted = {
        key: value for key, value in _FIXED.items() if key in ("FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK")
    }
    assert wanted.items() <= given.items()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(tmp_path):
    for path in UNITS:  # with programs that are here, since it looks for them
        here = re.sub(r"/usr/sbin/nginx", "/bin/true", path.read_text().replace("/opt/fedsq", sys.prefix))
        (tmp_path / path.name).write_text(here)
    files = [str(tmp_path / path.name) for path in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_settings_of_a_silo_are_settings_and_can_be_read(tmp_path):
    text = (EXAMPLES / "silo.yaml").read_text()
    with_hints = re.sub(r"^# (\w+: \S+ +#)", r"\1", text, flags=re.M)  # what stands as a comment is one, too
    given = yaml.safe_load(with_hints)
    assert given.keys() == SiloSettings.model_fields.keys() - {"insecure"}
    for name in ("node", "ca.crt", "weights"):
        (tmp_path / name).touch()
    there = [f"private_key={tmp_path}/node", f"root_certificates={tmp_path}/ca.crt", f"data_path={tmp_path}"]
    (tmp_path / "silo.yaml").write_text(with_hints)
    config = read_silo_settings([str(tmp_path / "silo.yaml"), *there, f"weights={tmp_path}/weights"])
    assert (config.silo, config.silos, config.superlink) == (0, 2, "server.example.org:9092")
    assert config.gate_cache_bytes == SiloSettings.model_fields["gate_cache_bytes"].default
    assert read_silo_settings([str(EXAMPLES / "silo.yaml"), *there]).weights is None
    (folder,) = unit(EXAMPLES / "fedsq-silo.service")["RuntimeDirectory"]
    assert config.health_file == f"/run/{folder}/health"


def test_the_command_line_of_flower_finds_the_superlink_behind_the_door():
    (started,) = unit(EXAMPLES / "fedsq-superlink.service")["ExecStart"]
    told = options(started.split())
    address = f"{told['--host']}:{told['--port']}"
    connection = tomllib.loads((EXAMPLES / "config.toml").read_text())["superlink"]
    assert connection["federation"] == {"address": address, "root-certificates": "/etc/fedsq/ca.crt"}
    assert f"server {address};" in NGINX
    assert "listen 9092 ssl;" in NGINX
    assert "superlink: server.example.org:9092" in (EXAMPLES / "silo.yaml").read_text()


def test_the_door_passes_all_that_silos_ask_for_and_nothing_else_that_a_superlink_answers():
    """Who may call the Control API may run code on the server, and nothing there asks who calls."""
    (pattern,) = re.findall(r"location ~ (\S+) \{", NGINX)
    others = re.findall(r"location (?!~)(.*?) \{\s*(.*?);", NGINX)
    assert others == [("/", "return 404")]
    assert NGINX.count("proxy_pass ") == 1
    asked = set(re.findall(r'"(/v1/[a-z/-]+)"', inspect.getsource(fleet_http_client)))
    assert len(asked) > 8
    assert all(re.search(pattern, path) for path in asked)
    answered = set(create_app().openapi()["paths"])
    assert any(path.startswith("/v1/control/") for path in answered)
    assert any(path.startswith("/v1/runtime/") for path in answered)
    assert {path for path in answered if re.search(pattern, path)} == {
        path for path in answered if path.startswith("/v1/fleet/")
    }


def test_the_door_takes_the_pieces_that_models_travel_in():
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", NGINX)
    assert int(megabytes) * 2**20 > FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE + 2**20

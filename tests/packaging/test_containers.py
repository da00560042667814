"""Dockerfile and compose.yaml, held to what this package and Flower are. What they build is not built here."""

import os
import re
import subprocess
import time
import tomllib

import pytest

from fedsq_flwr.executors.environment import _FIXED, command_path
from tests.packaging.deployment import (
    CHECKOUT,
    EXAMPLES,
    commands,
    compose,
    environment,
    instructions,
    options,
    unit,
)

DOCKERFILE = CHECKOUT / "Dockerfile"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
SERVICES = compose()["services"]


def said(word: str) -> list[str]:
    return [rest for instruction, rest in instructions(DOCKERFILE) if instruction == word]


def test_what_is_copied_into_the_image_is_there_and_not_ignored():
    sources = {source for rest in said("COPY") if "--from" not in rest for source in rest.split()[:-1]}
    ignored = (CHECKOUT / ".dockerignore").read_text().split()
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "README.md", "LICENSE", *wheel["packages"], *wheel["force-include"]}
    assert sources == {"constraints.txt", *needed}
    for source in sources:
        assert (CHECKOUT / source).exists()
        assert f"!{source}" in ignored


def test_every_install_from_an_index_is_constrained():
    installs = [
        step for rest in said("RUN") for step in re.split(r"&&|;", rest) if " install " in step and "pip" in step
    ]
    assert len(installs) == 4
    for step in installs:
        assert "-c constraints.txt" in step or ("--no-deps" in step and "/wheels/" in step)


def test_the_image_has_the_version_of_the_package():
    version = PROJECT["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in said("LABEL")[0]
    tags = {service["image"] for name, service in SERVICES.items() if name != "door"}
    assert tags == {f"fedsq:${{FEDSQ_TAG:-{version}}}"}
    for text in (DOCKERFILE, CHECKOUT / "docs" / "how-to" / "deploy.md"):
        assert set(re.findall(r"fedsq:(\d[\d.]*\d)", text.read_text())) == {version}
    assert re.findall(r"-t (fedsq\S*)", DOCKERFILE.read_text()) == [f"fedsq:{version}", f"fedsq:{version}-cuda"]


def test_base_images_are_of_an_exact_tag_and_take_a_digest():
    defaults = dict(rest.split("=", 1) for rest in said("ARG") if "=" in rest)
    bases = {rest.partition(" ")[0] for rest in said("FROM")}
    assert bases == {"python:${PYTHON_TAG}${PYTHON_DIGEST:+@${PYTHON_DIGEST}}"}
    assert re.fullmatch(r"\d+\.\d+\.\d+-slim-\w+", defaults["PYTHON_TAG"])
    assert defaults["PYTHON_DIGEST"] == '""'
    exact = r"nginx:\d+\.\d+\.\d+-alpine\d+\.\d+" + re.escape("${NGINX_DIGEST:+@${NGINX_DIGEST}}")
    assert re.fullmatch(exact, SERVICES["door"]["image"])


def test_the_build_for_cpus_is_the_default_in_both_files():
    defaults = dict(rest.split("=", 1) for rest in said("ARG") if "=" in rest)
    index = defaults["TORCH_INDEX"].strip('"')
    assert index.endswith("/whl/cpu")
    assert SERVICES["silo-a"]["build"]["args"]["TORCH_INDEX"] == f"${{TORCH_INDEX-{index}}}"
    assert set(SERVICES["silo-a"]["build"]["args"]) <= {rest.partition("=")[0] for rest in said("ARG")}


def test_flowers_variables_are_those_of_every_other_run():
    mine = environment(DOCKERFILE)
    flowers = {name: value for name, value in _FIXED.items() if name.startswith("FLWR_")}
    assert flowers.items() <= mine.items()
    assert mine["RAY_USAGE_STATS_ENABLED"] == "0"


def test_nothing_runs_as_root_and_all_with_the_same_number():
    (user,) = said("USER")
    number, group = user.split(":")
    assert number == group != "0"
    assert f"--uid {number} " in " ".join(said("RUN"))
    assert SERVICES["door"]["user"] == user
    assert f"owner {number}" in (CHECKOUT / "compose.yaml").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_services_can_do_little_and_come_back_by_themselves(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert "latest" not in service["image"]
    assert not any(
        volume.get("read_only") is not True for volume in service.get("volumes", []) if isinstance(volume, dict)
    )


def test_commands_are_those_of_the_image():
    (entry,) = said("ENTRYPOINT")
    assert re.findall(r"[\w-]+", entry) == ["fedsq"]
    assert SERVICES["superlink"]["entrypoint"] == ["flower-superlink"]
    assert {"fedsq", "flower-superlink", "flwr"} <= commands()
    for silo in ("silo-a", "silo-b"):
        assert SERVICES[silo]["command"][:2] == ["silo", "/etc/fedsq/silo.yaml"]


def test_what_services_refer_to_is_there():
    whole = compose()
    for service in SERVICES.values():
        for kind in ("secrets", "configs"):
            assert {item["source"] for item in service.get(kind, [])} <= whole[kind].keys()
        named = [volume.split(":")[0] for volume in service.get("volumes", []) if isinstance(volume, str)]
        assert {*named} <= whole["volumes"].keys()
        assert {*service["networks"]} <= whole["networks"].keys()
    files = [item["file"] for kind in ("secrets", "configs") for item in whole[kind].values()]
    for file in files:
        assert file.startswith("./federation/") or (CHECKOUT / file).is_file()


def test_keys_are_secrets_and_each_is_in_the_containers_that_need_it_only():
    held = {name: {item["source"] for item in service.get("secrets", [])} for name, service in SERVICES.items()}
    assert held == {
        "superlink": {"server.key"},
        "door": {"server.key"},
        "silo-a": {"silo-a"},
        "silo-b": {"silo-b"},
    }
    assert not any(
        "ca.key" in line.partition("#")[0] for line in (CHECKOUT / "compose.yaml").read_text().splitlines()
    )


def test_the_superlink_is_reached_through_the_door_only():
    whole = compose()
    superlink, door = SERVICES["superlink"], SERVICES["door"]
    assert "ports" not in superlink
    assert list(superlink["networks"]) == ["inner"]
    assert whole["networks"]["inner"]["internal"] is True
    assert {name for name, service in SERVICES.items() if "inner" in service["networks"]} == {"superlink", "door"}
    address = superlink["networks"]["inner"]["ipv4_address"]
    # Both are fixed: the engine would give the SuperLink's to a door that starts first.
    assert address != door["networks"]["inner"]["ipv4_address"]
    assert f"s/127.0.0.1:9093/{address}:9093/" in door["command"][-1]
    assert door["ports"] == ["9092:9092"]


def test_the_superlink_is_started_as_the_service_starts_it():
    (started,) = unit(EXAMPLES / "fedsq-superlink.service")["ExecStart"]
    there, here = options(started.split()), options(SERVICES["superlink"]["command"])
    assert there.pop("--host") == "127.0.0.1"
    assert here.pop("--host") == "0.0.0.0"  # noqa: S104 - of a container that only the door reaches
    assert there == here


@pytest.mark.slow
def test_flower_knows_the_options():
    told = subprocess.run([command_path("flower-superlink"), "--help"], capture_output=True, text=True, check=True)
    for name in options(SERVICES["superlink"]["command"]):
        assert name in told.stdout


def test_files_are_mounted_where_settings_look_for_them():
    targets = {item["target"] for item in SERVICES["silo-a"]["secrets"] + SERVICES["silo-a"]["configs"]}
    silo = (EXAMPLES / "silo.yaml").read_text()
    assert targets == {"/etc/fedsq/node", "/etc/fedsq/ca.crt", "/etc/fedsq/silo.yaml"}
    for path in ("/etc/fedsq/node", "/etc/fedsq/ca.crt", SERVICES["silo-a"]["volumes"][1]["target"]):
        assert f": {path} " in silo
    state = environment(DOCKERFILE)["FLWR_HOME"]
    assert f"{state}/config.toml" in {item["target"] for item in SERVICES["superlink"]["configs"]}


@pytest.mark.parametrize(("age", "status"), [(30, 0), (180, 1), (None, 1)])
@pytest.mark.parametrize("silo", ["silo-a", "silo-b"])
def test_a_silo_is_healthy_as_long_as_its_health_file_is_young(tmp_path, silo, age, status):
    (name,) = (word for word in SERVICES[silo]["command"] if word.startswith("health_file="))
    shell, command = SERVICES[silo]["healthcheck"]["test"]
    place = name.removeprefix("health_file=")
    assert (shell, place in command) == ("CMD-SHELL", True)
    if age is not None:
        (tmp_path / "health").touch()
        os.utime(tmp_path / "health", (time.time() - age,) * 2)
    here = command.replace("$$", "$").replace(place, str(tmp_path / "health"))
    assert subprocess.run(["sh", "-c", here], capture_output=True, check=False).returncode == status

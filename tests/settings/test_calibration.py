"""`calibration=FILE`: the values of the method in force, unless the command line says otherwise."""

import os
from pathlib import Path

import pytest

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.silo import for_real_silos

FILE = """
schema: 1
methods:
  fedsq: {learning_rate: 0.25, batch_norm: frozen, diagnostics: true, min_available_silos: null}
  fedavg: {learning_rate: 0.125}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "it's a file.yaml"
    path.write_text(FILE)
    return path


def named(file: Path) -> str:
    return "calibration='" + str(file).replace("'", "\\'") + "'"


def complaint(file: Path, *overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        compose_settings([named(file), *overrides])
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_the_values_of_the_method_in_force_are_used(file: Path) -> None:
    fedsq, fedavg = (compose_settings([named(file), f"method={method}"]) for method in ("fedsq", "fedavg"))
    assert (fedsq.learning_rate, fedsq.batch_norm, fedsq.diagnostics) == (0.25, "frozen", True)
    assert (fedavg.learning_rate, fedavg.batch_norm, fedavg.diagnostics) == (0.125, "batch", False)
    assert fedsq.calibration is None  # it has done its work; what counts are the values


def test_what_the_command_line_sets_stays(file: Path) -> None:
    config = compose_settings([named(file), "learning_rate=0.5"])
    assert (config.learning_rate, config.batch_norm) == (0.5, "frozen")


def test_the_settings_are_those_of_a_run_that_is_told_the_same_values(file: Path) -> None:
    plain = ["learning_rate=0.25", "batch_norm=frozen", "diagnostics=true", "output=runs/same"]
    assert compose_settings([named(file), "output=runs/same"]) == compose_settings(plain)


def test_what_is_wrong_with_the_file_is_told_in_one_line(file: Path, tmp_path: Path) -> None:
    assert "has no values for fedprox, only for fedsq, fedavg" in complaint(file, "method=fedprox")
    assert "there is no such file" in complaint(tmp_path / "nothing.yaml")
    for text, told in {
        "a: [": "cannot be read",
        "rounds: 3": "is not a file of fedsq calibrate",
        "- 1": "is not a file of fedsq calibrate",
        "schema: 2\nmethods: {}": "is not a file of fedsq calibrate",
        "schema: 1\nmethods: {fedsq: 3}": "fedsq needs settings, each with one value",
        "schema: 1\nmethods: {fedsq: {seed: [1]}}": "fedsq needs settings, each with one value",
        "schema: 1\nmethods: {fedsq: {learning_rte: 1}}": "learning_rte: there is no such setting",
        "schema: 1\nmethods: {fedsq: {learning_rate: fast}}": "learning_rate",
        "schema: 1\nmethods: {fedsq: {learning_rate: -1}}": "learning_rate=-1: must be above 0",
    }.items():
        file.write_text(text)
        assert told in complaint(file)


def test_a_silo_is_told_no_file_of_the_servers(file: Path) -> None:
    assert str(file.parent) not in for_real_silos(compose_settings([named(file), "executor=silos"])).to_json()


LEVELS = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\n".join(["a0: &a0 [x]", *LEVELS]), "has an alias of YAML"),
        ("[" * 100_000, "more than 20 lists and mappings"),
        (f"schema: {'9' * 5_000}", "cannot be read"),
        ("schema: 1\nmethods: {fedsq: {learning_rate: '\xff'", "cannot be read"),
        ("3", "cannot be read"),
        ("schema: 1\nmethods: {fedsq: [1]}", "fedsq needs settings"),
    ],
    ids=["aliases", "deep", "many digits", "no text", "a number", "a list"],
)
def test_a_file_that_is_no_calibration_is_told_at_once(file: Path, text: str, told: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    assert told in complaint(file)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "huge"])
def test_what_is_no_file_is_no_calibration(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "calibration.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        file.touch()
        os.truncate(file, 2**40)
    assert f"calibration={file}: " in complaint(file)

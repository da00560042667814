"""Settings written to a file and read back."""

from pathlib import Path

import pytest

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.records.config import read_config, write_config
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.method import PretrainedGates


@pytest.mark.parametrize("overrides", [[], ["method=fedprox", "partition=iid", "output='a ${silos} \"b\"'"]])
def test_settings_are_read_back_as_they_were_written(tmp_path: Path, overrides: list[str]) -> None:
    config = compose_settings(overrides)
    write_config(tmp_path / "config.yaml", config)
    assert read_config(tmp_path / "config.yaml") == config


def test_values_are_written_resolved(tmp_path: Path) -> None:
    write_config(tmp_path / "config.yaml", compose_settings(["silos=7", "min_replies=${silos}"]))
    assert "min_replies: 7" in (tmp_path / "config.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content",
    [b"rounds: [unclosed", b"rounds: 3\nrounds: 4\n", b"\x00", b"rounds: \xff", b"- 1\n- 2\n"],
    ids=["unclosed", "twice", "a zero byte", "no text", "a list"],
)
def test_a_file_that_cannot_be_read_as_settings_is_one_line_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "just words", "rounds: 3\n"])
def test_a_file_that_lacks_settings_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_lacks_a_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_config(path, compose_settings())
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\nlearning_rate: 0.1\n", "\n"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"{path}.*learning_rate"):
        read_config(path)


def test_a_run_of_an_older_version_is_read_with_what_was_done_then() -> None:
    settings = read_config(Path(__file__).parent / "older" / "before_gated_from.yaml")
    assert settings.method.name == "fedsq"
    assert isinstance(settings.method.gating, PretrainedGates)
    assert (settings.method.gating.gated_from, settings.method.gating.gated_to) == (0.0, 1.0)
    assert (settings.fraction_train, settings.fraction_evaluate) == (1.0, 1.0)
    assert (settings.local_epochs, settings.local_steps) == (1.0, 0)


def test_a_run_by_steps_is_read_as_it_was_written(tmp_path: Path) -> None:
    settings = compose_settings(["local_steps=7"])
    write_config(tmp_path / "config.yaml", settings)
    assert read_config(tmp_path / "config.yaml") == settings


def test_a_run_of_an_older_version_that_used_a_removed_setting_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    text = (Path(__file__).parent / "older" / "before_gated_from.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("release_over: 0", "release_over: 3"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"method\.release_over=3: was removed"):
        read_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.yaml: there is no such file"):
        read_config(tmp_path / "config.yaml")


def test_a_bad_value_in_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_config(path, compose_settings())
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("rounds: 10", "rounds: 0"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="rounds=0: must be at least 1"):
        read_config(path)
    path.write_text(text.replace("rounds: 10", "round: 10"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="round: there is no such setting; did you mean rounds"):
        read_config(path)

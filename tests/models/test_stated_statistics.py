"""Mean, std and input size that a file or a model's folder states are held to what the settings are held to."""

import json
from pathlib import Path

import pytest
import torch

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models import locate_weights, save_weights
from fedsq_flwr.models.hub_layout import read_configuration

STATE = {"a": torch.ones(1)}
#: What a number below 0 or beside all numbers may look like, as JSON.
NEVER = ["NaN", "Infinity", "-Infinity", "1e39", "1e999", "9" * 400, "true", "null", '"0.5"', "{}", "[]", "[[0.5]]"]
NEVER += ["[0.5, NaN, 0.5]", "[0.5, null, 0.5]", "half", "", "[0.5", "0.5, 0.5", "[" * 5000]
NEVER_STD = ["0", "-1", "-0.0", "1e-60", "[0.2, 0, 0.2]", "[0.2, -0.2, 0.2]"]


def problem(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        locate_weights("resnet20", str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250 + len(str(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("mean", "std", "deviation") for value in NEVER]
    + [(name, value) for name in ("std", "deviation") for value in NEVER_STD],
)
def test_metadata_that_nothing_can_be_normalised_by_are_refused(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "own.safetensors"
    save_weights(path, STATE, {"mean": "0.5", "std": "0.5"} | {name: value} if name != "deviation" else {name: value})
    told = problem(path)
    assert f"weights file {path}: its metadata cannot be read: {'std' if name == 'deviation' else name}=" in told
    assert "above 0" in told or name == "mean"


@pytest.mark.parametrize("value", ["0", "-1", "big", "1.5", "true", "[32]", "NaN", ""])
def test_an_input_size_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    save_weights(tmp_path / "own.safetensors", STATE, {"input_size": value})
    assert "must be a whole number of pixels above 0" in problem(tmp_path / "own.safetensors")


def test_mean_and_std_for_other_numbers_of_channels_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "own.safetensors", STATE, {"mean": "[0.5, 0.5, 0.5]", "std": "[0.2, 0.2]"})
    assert "mean has 3 values and std 2" in problem(tmp_path / "own.safetensors")


@pytest.mark.parametrize(
    ("mean", "std"), [("0", "1"), ("[-3, 0, 0.5]", "2"), ("0.5", "[1, 1e-30, 3]"), ("[0.5]", "[1]")]
)
def test_what_is_allowed_is_taken_as_it_is(tmp_path: Path, mean: str, std: str) -> None:
    save_weights(tmp_path / "own.safetensors", STATE, {"mean": mean, "std": std})
    file = locate_weights("resnet20", str(tmp_path / "own.safetensors"))
    for found, told in ((file.mean, json.loads(mean)), (file.std, json.loads(std))):
        assert list(found or ()) == (told if isinstance(told, list) else [told])


@pytest.mark.parametrize(
    "told",
    [
        '{"mean": [NaN, 0, 0]}',
        '{"std": [0.2, 0, 0.2]}',
        '{"std": -1}',
        '{"mean": "half"}',
        '{"input_size": [3, 0, 0]}',
        '{"input_size": []}',
        '{"input_size": 224}',
        '{"input_size": {"a": 1}}',
        "[1]",
        '"text"',
    ],
)
def test_a_models_configuration_is_held_to_the_same(tmp_path: Path, told: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(f'{{"pretrained_cfg": {told}}}')
    with pytest.raises(WeightsError, match=rf"^{path}: cannot be read as a model's configuration: ") as caught:
        read_configuration(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"3", b"[" * 5000])
def test_a_configuration_that_is_no_mapping_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as a model's configuration"):
        read_configuration(tmp_path / "config.json")

"""Checkpoints of other people's programs: their suffixes, their names for the tensors, and what else is in them."""

import argparse
import collections
import datetime
import fractions
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models import build_backbone, load_weights, locate_weights, save_weights, state_digest
from fedsq_flwr.models.torch_files import TORCH_SUFFIXES, read_tensors
from fedsq_flwr.models.weights import SUFFIX
from fedsq_flwr.settings.backbone import SUFFIXES

STATE = build_backbone("resnet20", in_channels=1, classes=10, seed=1).state_dict()
FEW = {"a": torch.ones(2)}
OTHER = {"a": torch.zeros(2)}


def problem(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    assert len(message) < 450 + len(str(path))
    return message


def loads(path: Path) -> bool:
    own = build_backbone("resnet20", in_channels=1, classes=10, seed=0)
    load_weights(own, locate_weights("resnet20", str(path)).path, head="fc")
    return state_digest(own.state_dict()) == state_digest(STATE)


def test_the_settings_name_the_suffixes_that_are_read() -> None:
    assert (SUFFIX, *TORCH_SUFFIXES) == SUFFIXES


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.th", "a.bin", "last.ckpt", "model.pth.tar", "a.tar", "A.PTH"])
def test_a_file_of_torch_save_may_have_any_of_its_usual_suffixes(tmp_path: Path, name: str) -> None:
    torch.save({"state_dict": STATE, "epoch": 3}, tmp_path / name)
    assert loads(tmp_path / name)


def test_safetensors_may_be_written_in_capitals(tmp_path: Path) -> None:
    save_weights(tmp_path / "A.SAFETENSORS", STATE, {"mean": "0.5", "std": "0.5"})
    assert loads(tmp_path / "A.SAFETENSORS")
    assert locate_weights("resnet20", str(tmp_path / "A.SAFETENSORS")).mean == (0.5,)


def test_another_suffix_is_refused_with_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").touch()
    assert ".safetensors, .pth" in problem(tmp_path / "weights.h5")


@pytest.mark.parametrize(
    "key",
    ["state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "ema", "model_ema"],
)
@pytest.mark.parametrize("inner", [None, "state_dict", "module"])
def test_the_tensors_are_found_under_the_names_that_programs_give_them(
    tmp_path: Path, key: str, inner: str | None
) -> None:
    state = FEW if inner is None else {inner: FEW, "decay": 0.999}
    torch.save({"epoch": 3, "optimizer": {"state": {}}, key: state}, tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth")["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "content",
    [
        {"ema": OTHER, "state_dict": FEW},
        {"model_ema": OTHER, "model": FEW},
        {"state_dict_ema": OTHER, "state_dict": FEW},
        {"ema": OTHER, "net": FEW},
        {"model": {"name": "resnet20"}, "net": FEW},
        {"model": {"model": {}}, "model_state_dict": FEW},
        {"state_dict": {}, "model": FEW},
    ],
)
def test_of_several_the_networks_own_tensors_are_taken(tmp_path: Path, content: dict[str, object]) -> None:
    torch.save(content, tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth")["a"].tolist() == [1, 1]


def test_a_checkpoint_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, object] = {}
    content["state_dict"] = content
    torch.save(content, tmp_path / "a.pth")
    assert "'state_dict' is a dict, not a tensor by name" in problem(tmp_path / "a.pth")


def test_tensors_under_another_name_are_told_with_the_names_that_are_known(tmp_path: Path) -> None:
    torch.save({"generator": FEW}, tmp_path / "a.pth")
    assert "'generator' is a dict, not a tensor by name; the network's may lie under state_dict" in problem(
        tmp_path / "a.pth"
    )


@pytest.mark.parametrize("prefix", ["net.", "encoder.", "network.", "module.encoder.", "model.net."])
def test_a_prefix_of_a_wrapper_is_removed(tmp_path: Path, prefix: str) -> None:
    torch.save({prefix + name: tensor for name, tensor in STATE.items()}, tmp_path / "a.pth")
    assert loads(tmp_path / "a.pth")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
@pytest.mark.parametrize(
    ("beside", "culprit"),
    [
        (np.float64(93.1), "multiarray.scalar"),
        (np.ones(2), "multiarray._reconstruct"),
        (Path("runs"), "PosixPath"),
        (datetime.date(2024, 1, 1), "datetime.date"),
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (collections.defaultdict(list), "collections.defaultdict"),
        (fractions.Fraction(1, 2), "fractions.Fraction"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
def test_what_beside_the_tensors_needs_code_is_named_with_the_way_out(
    tmp_path: Path, beside: object, culprit: str, zipped: bool
) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": FEW, "best": beside}, path, _use_new_zipfile_serialization=zipped)
    told = problem(path)
    assert f"{culprit}, which is no tensor" in told
    assert 'torch.save(content["state_dict"], OTHER)' in told


def archive() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        file.addfile(tarfile.TarInfo("weights"))
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        b"<!DOCTYPE html><html>404</html>",
        pickle.dumps(FEW["a"].tolist(), protocol=4),
        archive(),
        b"PK\x03\x04",
    ],
    ids=["nothing", "a pointer", "a page", "a pickle", "an archive", "a start"],
)
@pytest.mark.parametrize("name", ["a.pth", "a.ckpt", "a.pth.tar"])
def test_what_torch_did_not_save_is_one_line(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    problem(tmp_path / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder as the hub lays it out."""
    save_weights(tmp_path / "model.safetensors", STATE, {})
    told = {"mean": [0.1], "std": [0.2], "input_size": [1, 28, 28], "license": "mit"}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": told}))
    return tmp_path


def test_a_folder_as_of_the_hub_is_its_file_with_what_its_configuration_says(folder: Path) -> None:
    file = locate_weights("resnet20", str(folder))
    assert (file.path, file.mean, file.std) == (folder / "model.safetensors", (0.1,), (0.2,))
    assert (file.input_size, file.licence) == (28, "mit")
    assert locate_weights("resnet20", str(file.path)) == file  # as a run is pinned


def test_without_safetensors_the_folders_pickle_is_taken(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(STATE, folder / "pytorch_model.bin")
    file = locate_weights("resnet20", str(folder))
    assert (file.path.name, file.mean) == ("pytorch_model.bin", (0.1,))
    assert loads(folder)


def test_what_the_file_says_itself_wins_over_the_configuration(folder: Path) -> None:
    save_weights(folder / "model.safetensors", STATE, {"mean": "0.7", "std": "0.8"})
    assert locate_weights("resnet20", str(folder)).mean == (0.7,)


def test_a_configuration_beside_a_file_of_another_name_is_none_of_its(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "own.safetensors")
    assert locate_weights("resnet20", str(folder / "own.safetensors")).mean is None


@pytest.mark.parametrize("place", [".", "checkpoints/best"])
def test_a_runs_directory_is_told_from_a_models_by_what_it_holds(folder: Path, place: str) -> None:
    (folder / place).mkdir(parents=True, exist_ok=True)
    save_weights(folder / place / "quantitative.safetensors", STATE, {})
    assert locate_weights("resnet20", str(folder)).path == folder / place / "quantitative.safetensors"


@pytest.mark.parametrize("holds", [(), ("config.json",), ("model.safetensors.index.json",), ("weights.pth",)])
def test_a_directory_that_is_neither_is_one_line(tmp_path: Path, holds: tuple[str, ...]) -> None:
    for name in holds:
        (tmp_path / name).touch()
    with pytest.raises(WeightsError) as caught:
        locate_weights("resnet20", str(tmp_path))
    assert str(caught.value) == (
        f"backbone.weights={tmp_path}: is no run's directory: it holds no checkpoints/best/quantitative.safetensors; "
        "and no folder as of the hub: it holds no model.safetensors or pytorch_model.bin"
    )

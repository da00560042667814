"""Weights from a local file, torchvision's cache and the hub's cache, with what they say of themselves."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models import build_backbone, load_weights, locate_weights, save_weights, state_digest
from fedsq_flwr.settings.backbone import TorchvisionName

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMALL = build_backbone("squeezenet1_1", in_channels=3, classes=10, seed=1).state_dict()


def problem(backbone: str, name: str) -> str:
    with pytest.raises(WeightsError) as caught:
        locate_weights(backbone, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_local_file_may_say_how_its_images_were_normalised(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    said = {"mean": "[0.5, 0.4, 0.3]", "std": "0.25", "input_size": "32", "licence": "MIT"}
    save_weights(path, SMALL, said)
    file = locate_weights("squeezenet1_1", str(path))
    assert (file.path, file.source) == (path, "local file")
    assert (file.mean, file.std) == ((0.5, 0.4, 0.3), (0.25,))
    assert (file.input_size, file.licence) == (32, "MIT")


def test_a_file_of_version_0_1_calls_the_std_deviation(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_weights(path, SMALL, {"mean": "[0.5]", "deviation": "[0.25]"})
    assert locate_weights("squeezenet1_1", str(path)).std == (0.25,)
    save_weights(path, SMALL, {"mean": "[0.5]", "deviation": "[0.25]", "std": "[0.75]"})
    assert locate_weights("squeezenet1_1", str(path)).std == (0.75,)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_local_file_may_say_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"own{suffix}"
    if suffix == ".pth":
        torch.save(SMALL, path)
    else:
        save_weights(path, SMALL, {})
    file = locate_weights("squeezenet1_1", str(path))
    assert (file.mean, file.std, file.input_size, file.licence) == (None, None, None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("mean", "half"), ("mean", '["a"]'), ("std", "half"), ("deviation", "[null]"), ("input_size", "big")],
)
def test_metadata_that_cannot_be_read_are_one_line(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "own.safetensors"
    save_weights(path, SMALL, {name: value})
    assert f"weights file {path}: its metadata cannot be read" in problem("squeezenet1_1", str(path))


def test_a_missing_or_broken_local_file_is_one_line(tmp_path: Path) -> None:
    assert "does not exist" in problem("resnet18", str(tmp_path / "none.pth"))
    (tmp_path / "empty.safetensors").touch()
    assert "cannot be read as safetensors" in problem("resnet18", str(tmp_path / "empty.safetensors"))


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's cache of downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_torchvisions_weights_are_taken_from_torchs_cache(checkpoints: Path) -> None:
    path = checkpoints / "squeezenet1_1-b8a52dc0.pth"
    torch.save(SMALL, path)
    file = locate_weights("squeezenet1_1", "IMAGENET1K_V1")
    assert (file.path, file.sha256_begins) == (path, "b8a52dc0")
    assert file.source.startswith("torchvision squeezenet1_1 IMAGENET1K_V1, https://")
    assert (file.mean, file.std, file.input_size) == (*IMAGENET, 224)
    own = build_backbone("squeezenet1_1", in_channels=3, classes=10, seed=0)
    assert load_weights(own, file.path, head="classifier.1").adapted == []
    assert state_digest(own.state_dict()) == state_digest(SMALL)


def test_an_unknown_name_is_answered_with_those_that_torchvision_has() -> None:
    assert problem("resnet50", "IMAGENET1K_V9") == (
        "backbone.weights=IMAGENET1K_V9: allowed for resnet50 are IMAGENET1K_V1, IMAGENET1K_V2; or the path of a run "
        "or of a file of weights, which ends in .safetensors, .pth, .pt, .th, .bin, .ckpt, .tar"
    )


@pytest.mark.parametrize("name", ["resnet20", "efficientnet_lite0"])
def test_a_network_that_torchvision_has_not_is_told_what_else_is_allowed(name: str) -> None:
    assert problem(name, "weights").startswith(f"backbone.weights=weights: allowed for {name} are no names of torch")


def test_weights_without_a_classifier_are_not_offered() -> None:
    assert "allowed for vgg16 are IMAGENET1K_V1; or" in problem("vgg16", "IMAGENET1K_FEATURES")


@pytest.mark.parametrize("name", get_args(TorchvisionName))
def test_torchvision_has_weights_for_each_of_its_networks(name: str) -> None:
    assert "IMAGENET1K_V1" in problem(name, "NOTHING")


def test_without_a_network_the_line_says_what_to_do(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object, **_kwargs: object) -> None:
        raise OSError("Name or service\nnot known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refused)
    message = problem("resnet18", "IMAGENET1K_V1")
    assert "backbone.weights=IMAGENET1K_V1" in message
    assert f"{checkpoints / 'resnet18-f37072fd.pth'} is not there and cannot be downloaded" in message
    assert "the path of a local file" in message


def test_what_is_downloaded_must_have_the_published_hash(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        asked.append((url, hash_prefix))
        torch.save(SMALL, path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    file = locate_weights("squeezenet1_1", "IMAGENET1K_V1")
    assert file.path.is_file()
    ((url, digits),) = asked
    assert url.endswith("/squeezenet1_1-b8a52dc0.pth")
    assert digits == "b8a52dc0"


def test_googlenets_images_are_normalised_outside_as_torchvision_does_inside(checkpoints: Path) -> None:
    from torchvision.models import googlenet

    (checkpoints / "googlenet-1378be20.pth").touch()
    file = locate_weights("googlenet", "IMAGENET1K_V1")
    assert file.mean == file.std == (0.5, 0.5, 0.5)
    ours = build_backbone("googlenet", in_channels=3, classes=10, seed=0).eval()
    theirs = googlenet(weights=None, num_classes=10, aux_logits=False, transform_input=True, init_weights=False)
    theirs.load_state_dict(ours.state_dict())
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in IMAGENET)
    with torch.no_grad():
        torch.testing.assert_close(ours((pixels - 0.5) / 0.5), theirs.eval()((pixels - mean) / std))


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A snapshot of owner/name in the hub's cache; the hub itself is out of reach."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "v1").write_text(COMMIT)
    found = repository / "snapshots" / COMMIT
    found.mkdir(parents=True)
    return found


@pytest.mark.parametrize(
    "name", ["hf:owner/name", "hf:owner/name@v1", f"hf:owner/name/model.safetensors@{COMMIT}", "hf:owner/name@main"]
)
def test_the_hubs_weights_are_named_by_their_commit(snapshot: Path, name: str) -> None:
    save_weights(snapshot / "model.safetensors", SMALL, {"mean": "0.1", "std": "0.2"})
    file = locate_weights("squeezenet1_1", name)
    assert file.path == snapshot / "model.safetensors"
    assert file.source == f"hf:owner/name/model.safetensors@{COMMIT}"
    assert locate_weights("squeezenet1_1", file.source) == file


def test_a_file_within_a_folder_of_the_hub_may_be_named(snapshot: Path) -> None:
    (snapshot / "sub").mkdir()
    save_weights(snapshot / "sub" / "other.safetensors", SMALL, {})
    file = locate_weights("squeezenet1_1", "hf:owner/name/sub/other.safetensors@v1")
    assert file.source == f"hf:owner/name/sub/other.safetensors@{COMMIT}"


def test_safetensors_are_preferred_to_pickles(snapshot: Path) -> None:
    torch.save(SMALL, snapshot / "pytorch_model.bin")
    assert locate_weights("squeezenet1_1", "hf:owner/name").path.name == "pytorch_model.bin"
    save_weights(snapshot / "model.safetensors", SMALL, {})
    assert locate_weights("squeezenet1_1", "hf:owner/name").path.name == "model.safetensors"


def test_the_repositorys_configuration_says_how_images_were_normalised(snapshot: Path) -> None:
    save_weights(snapshot / "model.safetensors", SMALL, {})
    told = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "input_size": [3, 160, 160], "license": "apache-2.0"}
    (snapshot / "config.json").write_text(json.dumps({"architecture": "any", "pretrained_cfg": told}))
    file = locate_weights("squeezenet1_1", "hf:owner/name")
    assert (file.mean, file.std) == ((0.5,) * 3, (0.25,) * 3)
    assert (file.input_size, file.licence) == (160, "apache-2.0")


@pytest.mark.parametrize("content", ["{", "[]", '{"pretrained_cfg": {"mean": ["a"]}}'])
def test_a_configuration_that_cannot_be_read_is_one_line(snapshot: Path, content: str) -> None:
    save_weights(snapshot / "model.safetensors", SMALL, {})
    (snapshot / "config.json").write_text(content)
    assert "cannot be read as a model's configuration" in problem("squeezenet1_1", "hf:owner/name")


@pytest.mark.parametrize("name", ["hf:owner/name", "hf:owner/absent", "hf:owner/name/other.safetensors@v7"])
def test_what_is_not_in_the_hubs_cache_is_one_line_that_says_what_to_do(snapshot: Path, name: str) -> None:
    message = problem("squeezenet1_1", name)
    assert f"backbone.weights={name}" in message
    assert "not in the hub's cache, and the hub cannot be reached" in message
    assert "give backbone.weights its path" in message


@pytest.mark.parametrize("name", ["hf:owner", "hf:owner/name@", "hf:owner/name@a@b", "hf:/name"])
def test_a_malformed_name_of_the_hub_is_refused(name: str) -> None:
    assert "write hf:owner/name" in problem("squeezenet1_1", name)

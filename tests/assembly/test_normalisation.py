"""Images are normalised as the weights want them."""

from pathlib import Path

import pytest
import torch

from fedsq_flwr.assembly.data import load_task
from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.data.sources import load_digits
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.models import save_weights
from fedsq_flwr.settings.composition import compose_settings

MNIST = (0.1307,), (0.3081,)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def of(*overrides: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return normalisation(compose_settings(overrides).backbone)


def test_mnists_weights_want_mnists() -> None:
    assert of() == MNIST
    assert of("backbone.in_channels=3") == MNIST


def test_torchvisions_weights_want_imagenets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth").touch()
    assert of("backbone=resnet18") == IMAGENET


def test_random_weights_want_those_of_the_weights_they_stand_in_for() -> None:
    assert of("backbone.weights=random") == MNIST
    assert of("backbone=resnet18", "backbone.weights=random") == IMAGENET
    with pytest.raises(ConfigurationError, match=r"^backbone\.mean=null: .*give backbone\.mean and backbone\.std, a"):
        of("backbone.weights=random", "backbone.in_channels=4")


@pytest.mark.parametrize("weights", ["mnist", "random"])
def test_settings_win(weights: str) -> None:
    own = ["backbone.mean=[0.1,0.2,0.3]", "backbone.std=[2]", "backbone.in_channels=3"]
    assert of(f"backbone.weights={weights}", *own) == ((0.1, 0.2, 0.3), (2.0,))


def test_a_file_states_them_or_the_settings_must(tmp_path: Path) -> None:
    said, silent = tmp_path / "said.safetensors", tmp_path / "silent.safetensors"
    save_weights(said, {"a": torch.ones(1)}, {"mean": "[0.5]", "std": "[0.25]"})
    save_weights(silent, {"a": torch.ones(1)}, {})
    assert of(f"backbone.weights='{said}'") == ((0.5,), (0.25,))
    with pytest.raises(ConfigurationError, match=r"^backbone\.mean=null: .*silent.safetensors does not state how"):
        of(f"backbone.weights='{silent}'")
    assert of(f"backbone.weights='{silent}'", "backbone.mean=[0]", "backbone.std=[1]") == ((0.0,), (1.0,))


def test_those_of_a_file_must_fit_the_channels(tmp_path: Path) -> None:
    path = tmp_path / "colour.safetensors"
    save_weights(path, {"a": torch.ones(1)}, {"mean": "[0.5, 0.5, 0.5]", "std": "[0.25, 0.25, 0.25]"})
    with pytest.raises(ConfigurationError, match=r"^backbone\.in_channels=1: .*normalised by the mean \[0\.5, 0\.5"):
        of(f"backbone.weights='{path}'")


def test_a_tasks_images_are_normalised_by_channel() -> None:
    task = load_task(
        compose_settings(
            ["backbone.in_channels=3", "backbone.image_size=8", "backbone.mean=[0.1,0.2,0.3]",
             "backbone.std=[1,2,4]"]
        ),
        10,
    )  # fmt: skip
    pixels = load_digits().test.images[:, 0]
    for channel, (mean, std) in enumerate([(0.1, 1), (0.2, 2), (0.3, 4)]):
        torch.testing.assert_close(task.test.images[:, channel], (pixels - mean) / std)

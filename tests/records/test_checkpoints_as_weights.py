"""A run's checkpoint is a file of weights that another run can start from, normalised alike."""

from pathlib import Path

import pytest
import torch

from fedsq_flwr.assembly.network import load_start
from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.data import LabelledImages, ServerData
from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models import build_backbone, locate_weights
from fedsq_flwr.records import RunDirectory
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from tests.records.made import line

STATED = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's directory with a best and a last checkpoint of different networks."""
    pixels = ["backbone.mean=[0.1,0.2,0.3]", "backbone.std=[0.4,0.5,0.6]", "backbone.image_size=24"]
    config = settings("random", *pixels, f"output={tmp_path}/run")
    directory = RunDirectory(config.output)
    directory.open(config, ServerData(LabelledImages.none(), LabelledImages.none(), ("a", "b")))
    for name, seed in (("best", 1), ("last", 2)):
        state = build_backbone("resnet20", in_channels=3, classes=2, seed=seed).state_dict()
        kept = {key: tensor for key, tensor in state.items() if tensor.is_floating_point()}  # as a run keeps it
        directory.checkpoints.save(name, kept, line(seed))
    return directory.path


def settings(weights: str, *overrides: str) -> RunSettings:
    return compose_settings([f"backbone.weights={weights}", "backbone.in_channels=3", *overrides])


@pytest.mark.parametrize(
    ("place", "seed"),
    [(".", 1), ("checkpoints/best", 1), ("checkpoints/last", 2), ("checkpoints/last/quantitative.safetensors", 2)],
)
def test_a_run_or_its_checkpoint_is_where_another_starts(run: Path, place: str, seed: int) -> None:
    config = settings(str(run / place))
    assert normalisation(config.backbone) == STATED
    start = load_start(config, classes=2)
    assert start.file is not None
    assert start.report is not None
    assert (start.file.input_size, start.report.head) == (24, "loaded")
    expected = build_backbone("resnet20", in_channels=3, classes=2, seed=seed).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in start.network.state_dict().items())


def test_a_directory_that_is_no_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"is no run's directory: it holds no checkpoints/best/quant"):
        locate_weights("resnet20", str(tmp_path))

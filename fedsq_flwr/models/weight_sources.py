"""Where weights come from: a local file, a run, an installed package, torchvision, or the Hugging Face hub."""

from pathlib import Path

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.hub_layout import CONFIGURATION, FILES, find_weights, read_configuration
from fedsq_flwr.models.hub_weights import hub_weights
from fedsq_flwr.models.imagenet_weights import IMAGENET, imagenet_weights
from fedsq_flwr.models.torch_files import is_weights_file
from fedsq_flwr.models.torchvision_weights import torchvision_weights
from fedsq_flwr.models.weights import WeightsFile, stated

#: The file of a checkpoint, and the directory of the best round's checkpoint within a run's directory.
CHECKPOINT = "quantitative.safetensors"
BEST = Path("checkpoints", "best")


def locate_weights(backbone: str, name: str) -> WeightsFile:
    """Return the file that ``name`` stands for; it is downloaded if it is not on this machine.

    Parameters
    ----------
    backbone : str
        A name in `BACKBONES`.
    name : str
        One of:

        * the path of a ``.safetensors`` file, or of one that `torch.save` wrote (`TORCH_SUFFIXES`);
        * a run's directory, which stands for the checkpoint of its best round, or ``checkpoints/best`` or
          ``checkpoints/last`` in it;
        * a folder as the hub lays it out: ``model.safetensors`` or ``pytorch_model.bin``, where ``config.json``
          beside it may say how its images were normalised;
        * ``hf:owner/name[/file][@revision]``;
        * ``imagenet``, the weights of EfficientNet-Lite0 that an installed package holds;
        * a name under which torchvision publishes weights of the backbone, such as ``IMAGENET1K_V1``.

    Raises
    ------
    WeightsError
        If there is no such file or name, or it is not on this machine and cannot be downloaded.
    """
    if name.startswith("hf:"):
        return hub_weights(name)
    if name == IMAGENET:
        return imagenet_weights(backbone)
    path = Path(name).expanduser()
    if is_weights_file(path):
        return _local_weights(path)
    if path.is_dir():
        return _local_weights(_within(path))
    return torchvision_weights(backbone, name)


def _within(directory: Path) -> Path:
    """Return the file of weights in a directory: what it holds tells a run from a folder of the hub's layout."""
    for file in (directory / CHECKPOINT, directory / BEST / CHECKPOINT, find_weights(directory)):
        if file is not None and file.is_file():
            return file
    raise WeightsError(
        f"backbone.weights={directory}: is no run's directory: it holds no {BEST / CHECKPOINT}; and no folder as of "
        f"the hub: it holds no {' or '.join(FILES)}"
    )


def _local_weights(path: Path) -> WeightsFile:
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist")
    said = stated(path)
    configuration = path.with_name(CONFIGURATION)
    # A run is pinned to the file in such a folder, which then has to say the same as the folder.
    if path.name in FILES and configuration.is_file() and said.keys().isdisjoint(("mean", "std")):
        said = {**read_configuration(configuration), **said}
    return WeightsFile(path=path, source="local file", **said)

"""Where weights come from: a local file, a run, torchvision's published files, or the Hugging Face hub."""

from pathlib import Path

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.hub_weights import hub_weights
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

        * the path of a ``.safetensors``, ``.pth`` or ``.pt`` file;
        * a run's directory, which stands for the checkpoint of its best round, or ``checkpoints/best`` or
          ``checkpoints/last`` in it;
        * ``hf:owner/name[/file][@revision]``;
        * a name under which torchvision publishes weights of the backbone, such as ``IMAGENET1K_V1``.

    Raises
    ------
    WeightsError
        If there is no such file or name, or it is not on this machine and cannot be downloaded.
    """
    if name.startswith("hf:"):
        return hub_weights(name)
    if Path(name).suffix in (".safetensors", ".pth", ".pt"):
        return _local_weights(Path(name).expanduser())
    if Path(name).expanduser().is_dir():
        return _local_weights(_checkpoint(Path(name).expanduser()))
    return torchvision_weights(backbone, name)


def _checkpoint(directory: Path) -> Path:
    for file in (directory / CHECKPOINT, directory / BEST / CHECKPOINT):
        if file.is_file():
            return file
    raise WeightsError(f"backbone.weights={directory}: is no run's directory: it holds no {BEST / CHECKPOINT}")


def _local_weights(path: Path) -> WeightsFile:
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist")
    return WeightsFile(path=path, source="local file", **stated(path))

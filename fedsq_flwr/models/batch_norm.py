"""The batch-norm policy: one setting, the same for the dual copy and for every baseline.

``batch`` (default): batch statistics in training; running statistics are averaged with the weights and
used in evaluation. ``frozen``: the pretrained statistics stay, scale and shift learn; then training is
affine under fixed gates too, and the statistics need not travel. ``local``: scale, shift and statistics
learn as under ``batch`` but stay at each silo, and all else is averaged (FedBN: Li et al., 2021,
arXiv 2102.07623). The source of FedSQ is silent; the default is our choice.
"""

from torch import nn

POLICIES = ("batch", "frozen", "local")
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
    if policy != "batch":
        return []
    return [
        name for name in _tensors_of_batch_norms(network, parameters=False) if name.rpartition(".")[2] in _STATISTICS
    ]


def staying_tensors(network: nn.Module, policy: str) -> list[str]:
    """Names of the parameters and buffers that each silo keeps to itself: all of batch norm under ``local``."""
    return _tensors_of_batch_norms(network, parameters=True) if policy == "local" else []


def _tensors_of_batch_norms(network: nn.Module, *, parameters: bool) -> list[str]:
    return [
        f"{name}.{tensor}" if name else tensor
        for name, module in network.named_modules()
        if isinstance(module, _BATCH_NORMS)
        for tensor, _ in [*(module.named_parameters() if parameters else []), *module.named_buffers()]
    ]

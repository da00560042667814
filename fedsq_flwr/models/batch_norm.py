"""The batch-norm policy: one setting, the same for the dual copy and for every baseline.

``batch`` (default)
    Training uses batch statistics. The running statistics are averaged with the weights and used in evaluation.
``frozen``
    The pretrained statistics stay; scale and shift learn. Training is then affine under fixed gates too, and
    the statistics need not travel.
``local``
    Scale, shift and statistics learn as under ``batch`` but stay at each silo. Everything else is averaged
    (FedBN: Li et al., 2021, arXiv 2102.07623).

The abstract of FedSQ names no policy. The default is our choice.
"""

from torch import nn

POLICIES = ("batch", "frozen", "local")
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_STATISTICS = ("running_mean", "running_var")


def check_policy(policy: str) -> None:
    """Raise ValueError, which names the policies that are allowed, unless ``policy`` is one of `POLICIES`."""
    if policy not in POLICIES:
        raise ValueError(f"batch_norm={policy!r}: allowed are {', '.join(POLICIES)}")


def apply_policy(network: nn.Module, policy: str) -> None:
    """Put the batch norms into the mode of the policy; call it after each ``network.train()``."""
    if policy == "frozen":
        for module in batch_norms(network).values():
            module.eval()


def batch_norms(network: nn.Module) -> dict[str, nn.Module]:
    """Return the batch norms of ``network`` by name, each once."""
    return {name: module for name, module in network.named_modules() if isinstance(module, _BATCH_NORMS)}


def travelling_buffers(network: nn.Module, policy: str) -> list[str]:
    """Return the names of the buffers that are averaged: under ``batch`` the running statistics, else none.

    ``num_batches_tracked`` never travels: it is an integer, and nothing here uses it.
    """
    if policy != "batch":
        return []
    return [
        name for name in _tensors_of_batch_norms(network, parameters=False) if name.rpartition(".")[2] in _STATISTICS
    ]


def staying_tensors(network: nn.Module, policy: str) -> list[str]:
    """Return the names of the parameters and buffers that stay at each silo: under ``local`` all of batch norm."""
    return _tensors_of_batch_norms(network, parameters=True) if policy == "local" else []


def _tensors_of_batch_norms(network: nn.Module, *, parameters: bool) -> list[str]:
    return [
        f"{name}.{tensor}" if name else tensor
        for name, module in batch_norms(network).items()
        for tensor, _ in [*(module.named_parameters() if parameters else []), *module.named_buffers()]
    ]

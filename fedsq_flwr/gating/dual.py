"""FedSQ's dual copy: a frozen structural copy gives the gates, and a quantitative copy learns under them.

The two copies and the fixed binary gates are from arXiv 2604.02990 (abstract). The forward pass is our reading of
the abstract::

    structural:    z_s = A_l(theta_s) h_s ;  m_l = 1[z_s > 0] ;  h_s = m_l * z_s     (no gradient, eval mode)
    quantitative:  z_q = A_l(theta_q) h_q ;                      h_q = m_l * z_q
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fedsq_flwr.gating.fingerprint import Fingerprint, gate_tensors
from fedsq_flwr.gating.packed.calls import Gate
from fedsq_flwr.gating.packed.gates import Gates
from fedsq_flwr.gating.record import record, record_packed
from fedsq_flwr.gating.replay import Replaying
from fedsq_flwr.gating.support import check_modules
from fedsq_flwr.models.quantitative import QuantitativeCopy, copy_state


class DualCopy(QuantitativeCopy):
    """A pretrained classifier whose ReLU gates and max-pooling winners are fixed by a frozen copy of itself.

    Parameters
    ----------
    network : nn.Module
        Any classifier made of affine layers, ReLUs (modules, functions or methods, in place or not),
        max-poolings, batch norms, dropout and residual adds. It is copied twice and left as it is.
    batch_norm : {"batch", "frozen", "local"}
        The batch-norm policy of the quantitative copy. The structural copy always uses its running statistics.
    pool_gates : bool
        Whether max-pooling winners are taken from the structural copy too. Without them the map is not affine.
    gated_from, gated_to : float
        Where the fixed gates begin and end among all gates, in forward order from the input on, as fractions of
        the number of gates (rounded up). The quantitative copy decides the other gates itself; the map is affine
        only without such gates (our choice, an ablation).
    head : str, optional
        Name of the head; by default the last linear layer. Needed only where the head is to be replaced.

    Attributes
    ----------
    structural : nn.Module
        The frozen copy. Its tensors are buffers, so that `parameters` holds only what learns.
    quantitative : nn.Module
        The copy that learns, and the only one that the rounds send and average.
    gated : bool
        Whether the fixed gates are in force. While it is False, the quantitative copy uses its own ReLUs, and
        the fingerprint is empty.

    Raises
    ------
    UnsupportedActivationError
        If a layer has no binary gates. Functional calls without binary gates raise it in the first pass.
    ValueError
        If the policy or the head's name is unknown, or unless ``0 <= gated_from < gated_to <= 1``.

    Examples
    --------
    >>> import torch, torchvision
    >>> dual = DualCopy(torchvision.models.resnet18(weights=None))
    >>> dual(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 1000])
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        batch_norm: str = "batch",
        pool_gates: bool = True,
        gated_from: float = 0.0,
        gated_to: float = 1.0,
        head: str | None = None,
    ) -> None:
        if not 0 <= gated_from < gated_to <= 1:
            raise ValueError(f"gated_from={gated_from}, gated_to={gated_to}: must be 0 <= gated_from < gated_to <= 1")
        check_modules(network)
        super().__init__(network, batch_norm=batch_norm, head=head)
        self.pool_gates = pool_gates
        self.gated_part = gated_from, gated_to
        self.gated = True
        self.structural = _frozen_copy(network)
        self._fingerprint = Fingerprint()

    def forward(self, images: Tensor, gates: Gates | None = None) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, classes)`` under fixed gates.

        Parameters
        ----------
        images : Tensor
            The batch.
        gates : Gates, optional
            The gates of these images, as `gates` returns them; by default they are computed here.

        Raises
        ------
        GateMismatchError
            If the number, kinds or shapes of the gates do not fit the pass: they are of another branch,
            another network or another batch size. Gates of other images with the same shapes are not
            recognised, so store gates by `fingerprint` and by sample.
        ValueError
            If gates are given while `gated` is False.
        """
        if not self.gated:
            if gates is not None:
                raise ValueError("gates are given, but the dual copy is not gated: its ReLUs are its own")
            return super().forward(images)
        if torch.compiler.is_compiling():  # the tracer does not run function modes
            return torch.compiler.disable(self._forward)(images, gates)  # type: ignore[no-untyped-call, no-any-return]
        return self._forward(images, gates)

    def _forward(self, images: Tensor, gates: Gates | None) -> Tensor:
        calls: Sequence[Gate]
        if gates is None:
            calls, _ = record(self.structural, images, pool_gates=self.pool_gates)
        else:
            calls = gates.to(images.device).calls()
        with Replaying(calls, pool_gates=self.pool_gates, part=self.gated_part):
            return self.quantitative(images)  # type: ignore[no-any-return]

    def gates(self, images: Tensor) -> Gates:
        """Compute the packed gates of ``images``. Use batches of at least 8 images: see docs/explanation/gates.md."""
        return Gates.join(record_packed(self.structural, images, pool_gates=self.pool_gates), len(images))

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """The sha256 of what determines the gates, the same on every silo of a run; empty unless `gated`."""
        if not self.gated:
            return ""
        return self._fingerprint.of(self.structural, head=self.head, pool_gates=self.pool_gates)

    def refresh_structure(self) -> None:
        """Replace the structural copy by a copy of the present quantitative copy; the fingerprint changes."""
        self.structural = _frozen_copy(self.quantitative)

    def structural_state(self) -> dict[str, Tensor]:
        """Return what determines the gates: name -> tensor (not copied), ordered by name, without the head."""
        return dict(gate_tensors(self.structural, head=self.head))

    def load_structural_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state``, as made by `structural_state`, into the structural copy; the fingerprint changes.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a shape differs; then nothing has been copied.
        """
        copy_state("structural state", self.structural_state(), state)

    def train(self, mode: bool = True) -> "DualCopy":
        """Switch the quantitative copy's mode; the structural copy stays in evaluation mode."""
        super().train(mode)
        if hasattr(self, "structural"):  # absent while the constructor of the base class runs
            self.structural.eval()
        return self


def _frozen_copy(network: nn.Module) -> nn.Module:
    """Copy ``network`` in evaluation mode, with every parameter turned into a buffer."""
    frozen = copy.deepcopy(network).eval()
    for module in frozen.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            del module._parameters[name]
            module.register_buffer(name, parameter.detach())
    return frozen

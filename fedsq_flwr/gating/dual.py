"""FedSQ's dual copy: a frozen structural copy gives the gates, and a quantitative copy learns under them.

The two copies and the fixed binary gates are from arXiv 2604.02990 (abstract). The forward pass is our reading of
the abstract::

    structural:    z_s = A_l(theta_s) h_s ;  m_l = 1[z_s > 0] ;  h_s = m_l * z_s     (no gradient, eval mode)
    quantitative:  z_q = A_l(theta_q) h_q ;                      h_q = m_l * z_q

Any piecewise-linear activation is fixed likewise: the structural copy says in which regime an element is, and the
quantitative copy gets the slope and the offset of that regime (see `activations`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from fedsq_flwr.gating.fingerprint import Fingerprint, gate_tensors, structure_fingerprint
from fedsq_flwr.gating.frozen import Thawing, Traces, freeze
from fedsq_flwr.gating.head_check import check_head
from fedsq_flwr.gating.packed.calls import Gate
from fedsq_flwr.gating.packed.gates import Gates
from fedsq_flwr.gating.record import Recording, record, record_packed
from fedsq_flwr.gating.replay import LayerNames, Replaying
from fedsq_flwr.gating.support import UnsupportedActivationError, check_modules
from fedsq_flwr.models.copying import copied
from fedsq_flwr.models.quantitative import QuantitativeCopy, copy_state


class DualCopy(QuantitativeCopy):
    """A pretrained classifier whose gates and max-pooling winners are fixed by a frozen copy of itself.

    Parameters
    ----------
    network : nn.Module
        Any classifier made of affine layers, piecewise-linear activations such as ReLU, ReLU6 or PReLU (modules,
        functions or methods, in place or not), max-poolings, batch norms, dropout and residual adds. It is copied
        twice and left as it is.
    batch_norm : {"batch", "frozen", "local"}
        The batch-norm policy of the quantitative copy. The structural copy always uses its running statistics.
    pool_gates : bool
        Whether max-pooling winners are taken from the structural copy too. Without them the map is not affine.
    gated_from, gated_to : float
        Where the fixed gates begin and end among all gates, in forward order from the input on, as fractions of
        the number of gates (rounded up). The quantitative copy decides the other gates itself; the map is affine
        only without such gates (our choice, an ablation).
    head : str, optional
        Name of the head, after which no gate may come; by default the last linear layer that is registered. The
        first structural pass refuses a network whose forward pass ends with another one.

    Attributes
    ----------
    structural : nn.Module
        The frozen copy. Its tensors are buffers, so that `parameters` holds only what learns. Within a pass of the
        dual copy they are its parameters, so that a network can ask for them. Passes of several threads through one
        structural copy wait for each other.
    quantitative : nn.Module
        The copy that learns, and the only one that the rounds send and average.
    gated : bool
        Whether the fixed gates are in force. While it is False, the quantitative copy uses its own ReLUs, and
        the fingerprint is empty.
    head_fault : str or None
        Why there is no fingerprint, once the first structural pass has shown it: a ReLU follows the last layer.

    Raises
    ------
    UnsupportedActivationError
        If a layer has no fixed linear regimes. Functional calls without them, and gates that depend on the head,
        raise it in the first pass.
    ValueError
        If the policy or the head's name is unknown, if the network cannot be copied, or unless
        ``0 <= gated_from < gated_to <= 1``.

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
        self._thawing, self._traces = Thawing(), Traces()
        self._fingerprint = Fingerprint()
        self._layer_names = LayerNames(self.quantitative)
        self.head_fault: str | None = None
        self._names_head, self._head_is_checked = head is not None, False
        self.register_load_state_dict_post_hook(_freeze_again)  # type: ignore[no-untyped-call]

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
            If the number, kinds, shapes or layers of the gates do not fit the pass: they are of another branch,
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
        calls: Sequence[Gate] = self.calls(images)[0] if gates is None else gates.to(images.device).calls()
        with Replaying(calls, pool_gates=self.pool_gates, part=self.gated_part, layers=self._layers()):
            return self.quantitative(images)  # type: ignore[no-any-return]

    def _layers(self) -> LayerNames:
        if self._layer_names.network is not self.quantitative:
            self._layer_names = LayerNames(self.quantitative)
        return self._layer_names

    def calls(self, images: Tensor) -> tuple[list[Gate], Tensor]:
        """Compute the gates of ``images`` as a pass leaves them, and the output of the structural copy."""
        with self._structural_pass(images):
            return record(self.structural, images, pool_gates=self.pool_gates)

    def gates(self, images: Tensor) -> Gates:
        """Compute the packed gates of ``images``. Use batches of at least 8 images: see docs/explanation/gates.md.

        Raises
        ------
        GateMismatchError
            If the gates do not lie image by image: the first axis of an activation is not the images'.
        """
        with self._structural_pass(images):
            recorded = record_packed(self.structural, images, pool_gates=self.pool_gates)
        return Gates.join(recorded, len(images))

    @contextmanager
    def _structural_pass(self, images: Tensor) -> Iterator[None]:
        with self._thawing.of(self.structural), self._traces.removed(self.structural):
            # Not while a program is exported, nor within the pass of a dual copy around this one.
            if not (self._head_is_checked or torch.compiler.is_exporting() or _is_within_pass()):
                self.head_fault = check_head(
                    self.structural, images, head=self.head, named=self._names_head, pool_gates=self.pool_gates
                )
                self._head_is_checked = True
            yield

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """The sha256 of what determines the gates, the same on every silo of a run; empty unless `gated`.

        Raises
        ------
        UnsupportedActivationError
            If `head_fault` is known.
        """
        if not self.gated:
            return ""
        if self.head_fault is not None:
            raise UnsupportedActivationError(self.head_fault)
        with self._thawing.lock:  # a pass moves tensors
            return self._fingerprint.of(self.structural, head=self.head, pool_gates=self.pool_gates)

    def has_fingerprint(self, value: object) -> bool:
        """Return whether ``value`` is the `fingerprint`, in today's format or in that of version 0.1."""
        if value == self.fingerprint:
            return True
        return self.gated and value == structure_fingerprint(
            self.structural, head=self.head, pool_gates=self.pool_gates, version=1
        )

    def refresh_structure(self) -> None:
        """Replace the structural copy by a copy of the present quantitative copy; the fingerprint changes."""
        refreshed = _frozen_copy(self.quantitative)
        self._traces.carry_over(self.structural, refreshed)
        self.structural = refreshed

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DualCopy":
        """Move or convert both copies. In the meantime frozen tensors are parameters, so that tied ones stay tied."""
        with self._thawing.of(self.structural):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._fingerprint = Fingerprint()
        return self

    def train(self, mode: bool = True) -> "DualCopy":
        """Switch the quantitative copy's mode; the structural copy stays in evaluation mode."""
        super().train(mode)
        if hasattr(self, "structural"):  # absent while the constructor of the base class runs
            self.structural.eval()
        return self


def _is_within_pass() -> bool:
    modes: list[object] = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return any(isinstance(mode, Recording | Replaying) for mode in modes)


def _frozen_copy(network: nn.Module) -> nn.Module:
    """Copy ``network`` in evaluation mode, with every parameter turned into a buffer."""
    frozen = copied(network).eval()
    freeze(frozen)
    return frozen


def _freeze_again(dual: DualCopy, _keys: object) -> None:
    """Keep the structural copy frozen: ``load_state_dict(..., assign=True)`` assigns parameters to it."""
    freeze(dual.structural)

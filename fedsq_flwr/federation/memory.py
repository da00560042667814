"""What a silo keeps from round to round: its own batch norm, and the structures that the server sent.

A process may serve many silos (Ray, one process) or a single message (Flower's SuperNode). So nothing of a silo is
kept in the model between two messages.
"""

import torch
from flwr.app import Context
from torch import Tensor

from fedsq_flwr.federation.arrays import to_arrays, to_state
from fedsq_flwr.federation.contents import array_records
from fedsq_flwr.federation.structures import ContextStructures, Structures
from fedsq_flwr.gating import DualCopy, QuantitativeCopy


class SiloMemory:
    """The memory of one silo in one run.

    Parameters
    ----------
    context : Context
        Flower's context of the message that is being answered; its state is the silo's own, and ends with
        the run.
    start : QuantitativeCopy
        The model as every silo starts with it; it is only read.
    structures : Structures, optional
        Where sent structures are kept; in the context by default.
    """

    def __init__(self, context: Context, start: QuantitativeCopy, structures: Structures | None = None) -> None:
        self._records = context.state
        # A context is of one run; its id is in the name all the same, since statistics of another run would
        # not show as an error.
        self._batch_norm = f"batch-norm-of-run-{context.run_id}"
        self._start = start
        self._structures = structures or ContextStructures(context)

    def load_local(self, model: QuantitativeCopy) -> None:
        """Give ``model`` this silo's own batch norm: as it last kept it, else the start's."""
        kept = array_records(self._records).get(self._batch_norm)
        model.load_local_state(self._start.local_state() if kept is None else to_state(kept))

    def keep_local(self, model: QuantitativeCopy) -> None:
        """Keep the batch norm of ``model`` as this silo's own, where it is local.

        Raises
        ------
        ValueError
            If a value is not finite: the silo would go on with it in every later round.
        """
        state = model.local_state()
        broken = next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)
        if broken is not None:
            raise ValueError(f"the silo's own '{broken}' is not finite after training")
        if state:
            self._records[self._batch_norm] = to_arrays(state)

    def load_structure(self, model: DualCopy, fingerprint: str) -> None:
        """Give ``model`` the structure called ``fingerprint``, if the silo has been sent it or started with it.

        What was kept and turns out to be another one is forgotten, so that it can be sent again.
        """
        if isinstance(self._start, DualCopy) and self._start.fingerprint == fingerprint:
            model.load_structural_state(self._start.structural_state())
            return
        kept = self._structures.load(fingerprint)
        if kept is None:
            return
        if _fits(model.structural_state(), kept):
            model.load_structural_state(kept)
        if model.fingerprint != fingerprint:
            self._structures.discard(fingerprint)


def _fits(own: dict[str, Tensor], kept: dict[str, Tensor]) -> bool:
    return own.keys() == kept.keys() and all(own[name].shape == tensor.shape for name, tensor in kept.items())

"""A bound on how far a reply may move the model: a multiple of what the replies of earlier rounds did."""

import math
import statistics
from collections.abc import Mapping

import torch
from torch import Tensor

#: No training moves a model so far, and the square of it is a number in float32 still.
_LARGEST_NORM = 1e18
_PREFIX = "update-norm/"


class UpdateBound:
    """Judges the updates of replies, each by itself: what the other replies of its round are does not matter.

    The norm of an update is that of what was trained minus what was sent, over all floating-point arrays. The
    reference is the largest median of a round before. A median cannot be moved far by a minority of a round's
    silos, which may all do as they like in the first round. The largest of the medians is robust to rounds in which
    only silos of few samples take part, and to a training that slows down.

    Rounds in which only the head learns have a reference of their own: the first round in which all layers learn
    moves the model much further. Other gates, or none, do not change how many weights learn, and keep the reference.

    Parameters
    ----------
    ratio : float
        The largest norm, in multiples of the reference; 0: no bound.
    """

    def __init__(self, ratio: float) -> None:
        if not 0 <= ratio < math.inf:
            raise ValueError(f"max_update_ratio={ratio}: must be 0 or more, and finite")
        self.ratio = ratio
        self._references: dict[str, float] = {}  # by what learns
        self._learning = ""
        self._norms: list[float] = []

    def begin(self, learning: str) -> None:
        """Begin a round in which ``learning``, such as the head, is what the silos train."""
        self._learning, self._norms = learning, []

    def find_fault(self, norm: float) -> str | None:
        """Return what is wrong with an update of ``norm``, or None; it then counts for the rounds that follow."""
        if not norm < _LARGEST_NORM:
            return f"has an update of norm {norm:.3g}"
        reference = self._references.get(self._learning, 0.0)
        if self.ratio and reference and norm > self.ratio * reference:
            return (
                f"has an update of norm {norm:.3g}, above max_update_ratio={self.ratio:g} times {reference:.3g}, "
                "the largest median of an earlier round"
            )
        self._norms.append(norm)
        return None

    def finish(self) -> None:
        """Let the updates of this round count from now on."""
        if self.ratio and self._norms:
            before = self._references.get(self._learning, 0.0)
            self._references[self._learning] = max(before, statistics.median(self._norms))
        self._norms = []

    def state(self) -> dict[str, Tensor]:
        """Return the references, for a run that goes on; empty before the first round."""
        return {
            f"{_PREFIX}{learning}": torch.tensor(norm, dtype=torch.float64)
            for learning, norm in self._references.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Go on with the references in ``state``; return what else it holds."""
        mine = {name: value for name, value in state.items() if name.startswith(_PREFIX)}
        self._references = {name.removeprefix(_PREFIX): float(value) for name, value in mine.items()}
        return {name: value for name, value in state.items() if name not in mine}

"""What comes out of a round of training is a model like the one that went in, or the run ends."""

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.common import NDArray
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.arrays import is_shared, to_arrays, to_shared_arrays, to_tensor
from fedsq_flwr.federation.faults import describe_arrays
from fedsq_flwr.federation.layers.base import Layer
from fedsq_flwr.federation.layers.one_at_a_time import Aggregated, Kind


class ModelCheck(Layer):
    """Gives the average the names, the order and the dtypes that were sent.

    Averages of integers are floating-point numbers, which are rounded; FedAdam computes in float64.
    """

    def __init__(self, inner: Strategy) -> None:
        super().__init__(inner)
        self._sent: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._shared = False

    def configure(
        self, kind: Kind, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Note what the arrays look like that are sent."""
        if kind == "train":
            self._sent, self._shared = describe_arrays(arrays), is_shared(arrays)
        return super().configure(kind, server_round, arrays, config, grid)

    def finish(self) -> Aggregated:
        """Return the average once it is known to be a model.

        Raises
        ------
        RunFailedError
            If the inner strategy returns no model, another network's, or one that is not finite.
        """
        averaged, metrics = super().finish()
        if self.kind == "evaluate":
            return averaged, metrics
        by, where = type(self.bottom).__name__, f"round {self.server_round}"
        if averaged is None:
            raise RunFailedError(f"{where}: {by} returned no model")
        shapes = {name: shape for name, (_, shape) in describe_arrays(averaged).items()}
        if shapes != {name: shape for name, (_, shape) in self._sent.items()}:
            raise RunFailedError(f"{where}: {by} changed names or shapes of arrays")
        arrays = {}
        for name, (dtype, _) in self._sent.items():
            values = _as_dtype(to_tensor(averaged[name]).numpy(), dtype)
            if values is None:
                raise RunFailedError(f"{where}: the average of array '{name}' by {by} is not finite")
            arrays[name] = torch.from_numpy(np.asarray(values))  # numpy makes a number of an array without axes
        return (to_shared_arrays(arrays) if self._shared else to_arrays(arrays)), metrics


def _as_dtype(values: NDArray, dtype: str) -> NDArray | None:
    """Return ``values`` in ``dtype``, or None if some are not finite, or not finite in that."""
    if np.issubdtype(dtype, np.integer):
        return np.rint(values).astype(dtype) if np.isfinite(values).all() else None
    with np.errstate(over="ignore"):
        cast = values.astype(dtype, copy=False)
    return cast if np.isfinite(cast).all() else None

"""The server's copy of the model: what the rounds start from, and what judges each average."""

import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor, nn

from fedsq_flwr.data import FederatedData
from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from fedsq_flwr.learning import Evaluation, evaluate


class ServerModel:
    """A model that is loaded with each average and evaluated on the server's sets.

    Parameters
    ----------
    model : QuantitativeCopy
        As every silo builds it.
    task : FederatedData
        Gives the validation and test sets.
    device : torch.device
        Where to evaluate.
    precision : str
        ``float32`` or ``bfloat16``.
    """

    def __init__(
        self, model: QuantitativeCopy, task: FederatedData, device: torch.device, precision: str = "float32"
    ) -> None:
        self._model = model.to(device)
        self._sets = {"validation": task.validation.to(device), "test": task.test.to(device)}
        self._precision = precision
        self.fingerprint = model.fingerprint

    def state(self) -> dict[str, Tensor]:
        """Return the quantitative state as it is now, on the CPU, as a copy."""
        return {name: tensor.cpu().clone() for name, tensor in self._model.quantitative_state().items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Load a quantitative state.

        Raises
        ------
        ValueError
            If it is another network's.
        """
        self._model.load_quantitative_state(state)

    def arrays(self) -> ArrayRecord:
        """Return what travels: the quantitative state as named arrays, and nothing else."""
        return ArrayRecord({name: Array(tensor.numpy()) for name, tensor in self.state().items()})

    def evaluate_plain(self, state: dict[str, Tensor]) -> dict[str, Evaluation] | None:
        """Load a state and evaluate its plain form, with its own ReLUs; None if the model has no other form."""
        if not isinstance(self._model, DualCopy):
            return None
        self.load(state)
        return self._evaluate(self._model.to_plain())

    def evaluate(self, arrays: ArrayRecord) -> dict[str, Evaluation]:
        """Load an averaged model and evaluate it on the validation and the test set."""
        self.load({name: torch.from_numpy(array.numpy()) for name, array in arrays.items()})
        return self._evaluate(self._model)

    def _evaluate(self, network: nn.Module) -> dict[str, Evaluation]:
        return {
            name: evaluate(network, data.images, data.labels, precision=self._precision)
            for name, data in self._sets.items()
        }

"""The server's copy of the model: what the rounds start from, and what evaluates each average."""

from collections.abc import Iterable, Mapping
from statistics import fmean

import torch
from flwr.app import ArrayRecord
from torch import Tensor, nn

from fedsq_flwr.data import ServerData
from fedsq_flwr.federation.arrays import to_arrays, to_shared_arrays, to_state
from fedsq_flwr.gating import DualCopy, GateCache, QuantitativeCopy, bind
from fedsq_flwr.gating.schedule import StructureSchedule
from fedsq_flwr.learning import Evaluation, evaluate


class ServerModel:
    """A model that is loaded with each average and evaluated on the server's sets.

    Parameters
    ----------
    model : QuantitativeCopy
        As every silo builds it.
    data : ServerData
        Gives the validation and test sets; those that are empty are not evaluated.
    device : torch.device
        Where to evaluate.
    precision : str
        ``float32`` or ``bfloat16``.
    schedule : StructureSchedule
        Which structure is in force in which round; without effect where there are no fixed gates.
    gates : GateCache, optional
        Keeps the gates of both sets. It changes no number.
    distributes_start : bool
        Silos do not have the structure of the start either.

    Attributes
    ----------
    fingerprint : str
        Of the structure in force; empty where the ReLUs are the network's own.
    """

    def __init__(
        self,
        model: QuantitativeCopy,
        data: ServerData,
        device: torch.device,
        precision: str = "float32",
        *,
        schedule: StructureSchedule = StructureSchedule(),  # noqa: B008 - immutable
        gates: GateCache | None = None,
        distributes_start: bool = False,
    ) -> None:
        self._model = model.to(device)
        sets = {"validation": data.validation, "test": data.test}
        self._sets = {name: samples.to(device) for name, samples in sets.items() if len(samples)}
        self._precision = precision
        self._schedule = schedule
        self._gates = gates
        self._distributes_start = distributes_start
        self._source: int | None = 0
        self.fingerprint = self._own = model.fingerprint

    def state(self) -> dict[str, Tensor]:
        """Return the quantitative state as it is now, on the CPU, as a copy."""
        return {name: tensor.cpu().clone() for name, tensor in self._model.quantitative_state().items()}

    def structure(self) -> dict[str, Tensor] | None:
        """Return the structural state in force if it came up during the run; None if silos have it, or need none."""
        if not isinstance(self._model, DualCopy) or self.fingerprint in ("", self._own):
            return None
        return self._model.structural_state()

    def structure_arrays(self, shared: bool = False) -> ArrayRecord | None:
        """Return a copy of the structural state in force, if it is to be distributed to the silos.

        ``shared`` is as for `arrays`.
        """
        if not isinstance(self._model, DualCopy) or not self.fingerprint:
            return None
        if self.fingerprint == self._own and not self._distributes_start:
            return None
        state = {name: tensor.cpu().clone() for name, tensor in self._model.structural_state().items()}
        return to_shared_arrays(state) if shared else to_arrays(state)

    @property
    def quantitative(self) -> nn.Module:
        """The network that learns, as it is now."""
        return self._model.quantitative

    def load_statistics(self, statistics: Mapping[str, Tensor]) -> None:
        """Start from other running statistics of batch norm, in both copies; the structure is then one of the run's.

        Raises
        ------
        ValueError
            If they are another network's.
        """
        self._model.load_quantitative_state({**self.state(), **statistics})
        if isinstance(self._model, DualCopy):
            self._model.load_structural_state({**self._model.structural_state(), **statistics})
            self._put_in_force(self._source)

    def head_names(self) -> list[str]:
        """Return the names of those arrays that are the head's."""
        return list(self._model.head_state())

    def enter(self, server_round: int) -> None:
        """Put the structure of ``server_round`` in force; the average of the round before it must be loaded.

        Raises
        ------
        ValueError
            If the structure is of an earlier round, which this model has not gone through.
        """
        source = self._schedule.source(server_round)
        if not isinstance(self._model, DualCopy) or source == self._source:
            return
        if source:
            if source != server_round - 1:
                raise ValueError(f"round {server_round} needs the structure of round {source}, which is not here")
            self._model.refresh_structure()
        self._put_in_force(source)

    def resume(self, server_round: int, state: dict[str, Tensor], structure: dict[str, Tensor] | None) -> None:
        """Go on after ``server_round``: load its average, and the structure that was in force in it.

        Raises
        ------
        ValueError
            If either is another network's.
        """
        self._model.load_quantitative_state(state)
        if isinstance(self._model, DualCopy):
            if structure is not None:
                self._model.load_structural_state(structure)
            self._put_in_force(self._schedule.source(server_round))

    def arrays(self, shared: bool = False) -> ArrayRecord:
        """Return what travels: a copy of the quantitative state as named arrays, and nothing else.

        Parameters
        ----------
        shared : bool
            Whether the arrays may refer to tensors of this process, see `to_shared_arrays`.
        """
        return to_shared_arrays(self.state()) if shared else to_arrays(self.state())

    def evaluate_plain(self, state: dict[str, Tensor]) -> dict[str, Evaluation] | None:
        """Load a state and evaluate its plain form, with its own ReLUs; None if the model has no other form."""
        if not isinstance(self._model, DualCopy):
            return None
        self._model.load_quantitative_state(state)
        return self._evaluate(self._model.to_plain(), None)

    def evaluate(self, arrays: ArrayRecord) -> dict[str, Evaluation]:
        """Load an averaged model and evaluate it on those of the validation and test sets that there are.

        Where batch norm is local to the silos, the server's is the start's.
        """
        self._model.load_quantitative_state(to_state(arrays))
        return self._evaluate(self._model, self._gates, predictions=True)

    def evaluate_all(self, arrays: ArrayRecord, models: Iterable[ArrayRecord]) -> dict[str, Evaluation]:
        """Evaluate each of the silos' own ``models`` and return the mean over them; ``arrays`` stay loaded."""
        each = []
        for model in models:
            self._model.load_quantitative_state(to_state(model))
            each.append(self._evaluate(self._model, self._gates))
        self._model.load_quantitative_state(to_state(arrays))
        return {
            name: Evaluation(fmean(e[name].loss for e in each), fmean(e[name].accuracy for e in each), len(data))
            for name, data in self._sets.items()
        }

    def _evaluate(
        self, network: nn.Module, cache: GateCache | None, *, predictions: bool = False
    ) -> dict[str, Evaluation]:
        found = {}
        for name, data in self._sets.items():
            gates = bind(cache, self._model, data.images)
            precision = self._precision
            found[name] = evaluate(
                network, data.images, data.labels, precision=precision, gates=gates, predictions=predictions
            )
        return found

    def _put_in_force(self, source: int | None) -> None:
        if isinstance(self._model, DualCopy):
            self._source, self._model.gated = source, source is not None
            self.fingerprint = self._model.fingerprint

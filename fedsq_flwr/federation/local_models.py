"""No aggregation: each silo's model is its own, from the common start on."""

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from torch import Tensor

from fedsq_flwr.federation.arrays import to_arrays, to_state
from fedsq_flwr.federation.contents import array_records
from fedsq_flwr.federation.layers.one_at_a_time import Aggregated, Kind, MeanOfReplies
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.spool import Models


class LocalModels(FedAvg):
    """A strategy that sends each silo back its own last model, so that nothing is learnt from others.

    The silos train and evaluate as under every method; only the models are their own.

    Parameters
    ----------
    start : ArrayRecord
        The model that a silo starts from, in whatever round it first trains.
    registry : NodeRegistry
        Knows which node is which silo.
    **options
        FedAvg's.

    Attributes
    ----------
    models : Models
        The last model of each silo that has trained, by partition id.
    """

    def __init__(self, start: ArrayRecord, registry: NodeRegistry, **options: Any) -> None:
        super().__init__(**options)
        self.models = Models()
        self._mean = MeanOfReplies(FedAvg(**options))
        self._start = start
        self._registry = registry
        self._kind: Kind = "train"

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Choose silos as FedAvg does, and send each its own model."""
        return self._with_own_models(super().configure_train(server_round, arrays, config, grid))

    def begin(self, kind: Kind, server_round: int) -> None:
        """Begin to take the replies of an exchange."""
        self._kind = kind
        self._mean.begin(kind, server_round)

    def add(self, reply: Message) -> None:
        """Keep the model of a silo that has trained."""
        if self._kind == "train":
            (arrays,) = array_records(reply.content).values()
            self.models[self._registry.silo(reply.metadata.src_node_id)] = arrays
        self._mean.add(reply)

    def finish(self) -> Aggregated:
        """Return the mean of the models, which no silo is sent, and the metrics."""
        return self._mean.finish()

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Choose silos as FedAvg does, and let each evaluate its own model."""
        return self._with_own_models(super().configure_evaluate(server_round, arrays, config, grid))

    def state(self) -> dict[str, Tensor]:
        """Return the silos' models, each array by ``silo/name``."""
        return {
            f"{silo}/{name}": tensor
            for silo, arrays in sorted(self.models.items())
            for name, tensor in to_state(arrays).items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` returned after the round before.

        Raises
        ------
        ValueError
            If a model is not like the start's.
        """
        models: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            number, _, name = key.partition("/")
            models.setdefault(int(number), {})[name] = tensor
        for silo, model in models.items():
            if model.keys() != self._start.keys():
                raise ValueError(f"the model of silo {silo} is another network's")
            self.models[silo] = to_arrays({name: model[name] for name in self._start})

    def _with_own_models(self, messages: Iterable[Message]) -> list[Message]:
        messages = list(messages)
        for message in messages:
            own = self.models.get(self._registry.silo(message.metadata.dst_node_id), self._start)
            message.content = RecordDict({**message.content, self.arrayrecord_key: own})
        return messages

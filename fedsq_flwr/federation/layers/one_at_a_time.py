"""Strategies that take the replies of an exchange one at a time, and Flower's strategies, which want all at once.

An average needs no list of replies. So Flower's averaging strategies are given the mean, which is summed as replies
come: what the server holds does not grow with the number of silos. Any other strategy may look at each reply.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedProx, Strategy
from torch import Tensor

from fedsq_flwr.federation.arrays import to_shared_arrays, to_tensor
from fedsq_flwr.federation.contents import array_records, metric_records
from fedsq_flwr.federation.replies import copy_reply
from fedsq_flwr.flower_internals import aggregate_metricrecords

#: What silos are asked for in an exchange of messages.
Kind = Literal["train", "evaluate"]
#: What came of an exchange: the new model, which there is after training only, and the metrics of the silos.
Aggregated = tuple[ArrayRecord | None, MetricRecord | None]

#: Strategies that do no more with the replies' arrays than average them. A subclass may do more, and is not meant.
_AVERAGING = (FedAvg, FedProx, FedAvgM, FedAdam)


@runtime_checkable
class TakesReplies(Protocol):
    """What is given the replies of an exchange one at a time."""

    def begin(self, kind: Kind, server_round: int) -> None:
        """Begin an exchange; what is left of one that was not finished is dropped."""
        ...

    def add(self, reply: Message) -> None:
        """Take the next reply."""
        ...

    def finish(self) -> Aggregated:
        """Return what came of the replies that were added."""
        ...


def one_at_a_time(strategy: Strategy) -> TakesReplies:
    """Return what gives ``strategy`` the replies of an exchange."""
    if isinstance(strategy, TakesReplies):
        return strategy
    averages = type(strategy) in _AVERAGING
    if averages and getattr(strategy, "train_metrics_aggr_fn", None) is aggregate_metricrecords:
        return MeanOfReplies(strategy)
    return AllAtOnce(strategy)


class AllAtOnce:
    """Gives a strategy all replies of an exchange at once, as Flower's strategies want them.

    The strategy is given copies. Flower refuses a round whose replies do not all have the same metrics. So a metric
    that one reply lacks, or has as a list of another length, is left out of the copies; no reply is lost over it.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._kind: Kind = "train"
        self._server_round = 0
        self._replies: list[Message] = []

    def begin(self, kind: Kind, server_round: int) -> None:
        """See `TakesReplies.begin`."""
        self._kind, self._server_round, self._replies = kind, server_round, []

    def add(self, reply: Message) -> None:
        """Keep ``reply`` until the last one is there."""
        self._replies.append(reply)

    def finish(self) -> Aggregated:
        """Let the strategy aggregate the replies that were added."""
        common = _common_metrics(reply for reply in self._replies if reply.has_content())
        replies = [copy_reply(r, metrics=common) if r.has_content() else r for r in self._replies]
        self._replies = []
        if self._kind == "train":
            return self._strategy.aggregate_train(self._server_round, replies)
        return None, self._strategy.aggregate_evaluate(self._server_round, replies)


class MeanOfReplies(AllAtOnce):
    """Gives a strategy that averages the mean of the replies to training, as one reply with the whole weight.

    The mean is Flower's but for rounding: Flower scales each reply's values by its share of the weight and adds, and
    here values are added with their weights and divided in the end. The metrics are aggregated of all replies.
    """

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(strategy)
        self._sum = WeightedSum()

    def begin(self, kind: Kind, server_round: int) -> None:
        """See `TakesReplies.begin`."""
        super().begin(kind, server_round)
        self._sum = WeightedSum()

    def add(self, reply: Message) -> None:
        """Add the arrays of a reply to training to the sum, and keep the rest of it."""
        if self._kind == "train" and reply.has_content():
            (arrays,) = array_records(reply.content).values()
            self._sum.add(arrays, _weight(reply, self._key))
            reply = copy_reply(reply, arrays=())
        super().add(reply)

    def finish(self) -> Aggregated:
        """Let the strategy aggregate the mean, and the metrics of all replies."""
        replies = [reply for reply in self._replies if reply.has_content()]
        if self._kind == "evaluate" or not replies:
            return super().finish()
        mean = copy.copy(replies[0])
        records = replies[0].content
        (arrays_key,), (metrics_key,) = array_records(records), metric_records(records)
        total = MetricRecord({self._key: self._sum.weight})
        mean.content = RecordDict({arrays_key: self._sum.mean(), metrics_key: total})
        self._sum = WeightedSum()
        arrays, _ = self._strategy.aggregate_train(self._server_round, [mean])
        common = _common_metrics(replies)
        contents = [copy_reply(reply, metrics=common).content for reply in replies]
        return arrays, aggregate_metricrecords(contents, self._key)

    @property
    def _key(self) -> str:
        return str(self._strategy.weighted_by_key)  # type: ignore[attr-defined]


class WeightedSum:
    """A running sum of arrays by name, each with its weight.

    Attributes
    ----------
    weight : float or int
        The sum of the weights.
    """

    def __init__(self) -> None:
        self.weight: float = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, arrays: Mapping[str, Array], weight: float) -> None:
        """Add ``arrays``, which are left as they are, with a weight; sums are in float32 or float64."""
        self.weight += weight
        for name, array in arrays.items():
            values = to_tensor(array)
            if name not in self._sums:
                narrow = values.is_floating_point() and values.itemsize <= torch.float32.itemsize
                self._sums[name] = torch.zeros(values.shape, dtype=torch.float32 if narrow else torch.float64)
            self._sums[name].add_(values, alpha=weight)

    def mean(self) -> ArrayRecord:
        """Return the sum divided by the sum of the weights, as arrays that share the sum's memory."""
        return to_shared_arrays({name: values.div_(self.weight) for name, values in self._sums.items()})


def _weight(reply: Message, key: str) -> float:
    (metrics,) = metric_records(reply.content).values()
    weight: Any = metrics[key]
    return float(weight)


def _common_metrics(replies: Iterable[Message]) -> set[str]:
    """Return the names of the metrics that all of ``replies`` have, each of one kind."""
    kinds = [
        {(name, len(value) if isinstance(value, list) else None) for name, value in record.items()}
        for reply in replies
        for record in metric_records(reply.content).values()
    ]
    return {name for name, _ in set.intersection(*kinds)} if kinds else set()

"""The server's query for the statistics of batch norm: exact sums over the silos' training images.

The server asks once, before the first round, and sees the sums of each silo: counts, sums and sums of squares of each
channel. They are added in the order of the partition ids, so that the order of replies changes no bit.
"""

import logging
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import add
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.asked import Asked
from fedsq_flwr.federation.contents import metric_records
from fedsq_flwr.federation.faults import in_one_line
from fedsq_flwr.federation.protocol import ARRAYS, ASK_STATISTICS, CONFIG, STATISTICS, WEIGHT
from fedsq_flwr.federation.ranges import shown
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.learning.batch_norm_moments import Moments, running_statistics

log = logging.getLogger(__name__)

#: The largest size of a mean or a variance: the running statistics are float32.
_LARGEST = float(torch.finfo(torch.float32).max)
#: By how much rounding may break ``sum^2 <= count * squares``, of the latter.
_ROUNDING = 1e-9


def sums_of(name: str, moments: Moments) -> dict[str, list[float]]:
    """Return what a silo answers of the batch norm ``name``: its sums and its sums of squares, a list each."""
    return {f"{name}:sum": moments.total.tolist(), f"{name}:squares": moments.squares.tolist()}


def ask_statistics(
    grid: Grid,
    nodes: Iterable[int],
    arrays: ArrayRecord,
    config: ConfigRecord,
    *,
    registry: NodeRegistry,
    channels: Mapping[str, int],
    values: Mapping[str, int],
    min_replies: int,
    max_examples: int,
    timeout: float,
) -> dict[str, Tensor]:
    """Return the running statistics of each batch norm over the training samples of all silos.

    Parameters
    ----------
    grid : Grid
        Carries the messages.
    nodes : iterable of int
        Whom to ask.
    arrays : ArrayRecord
        The quantitative state that the silos' network has in the pass.
    config : ConfigRecord
        Holds the settings of the run.
    registry : NodeRegistry
        Knows which node is which silo, and how many samples it named.
    channels, values : mapping of str to int
        The channels of each batch norm, and the values that one image gives to a channel.
    min_replies, max_examples : int
        As for a round.
    timeout : float
        Seconds to wait for the answers.

    Raises
    ------
    RunFailedError
        If fewer than ``min_replies`` answers can be used.
    """
    content = RecordDict({ARRAYS: arrays, CONFIG: config})
    messages = [Message(content, node, ASK_STATISTICS) for node in nodes]
    replies = list(grid.send_and_receive(messages, timeout=timeout))
    asked, found = Asked(messages), dict[int, dict[str, Moments]]()
    faults = {registry.silo(m.metadata.dst_node_id): "did not answer in time" for m in messages}
    for reply in replies:
        node = asked.node(reply)
        if node is None or (silo := registry.silo(node)) in found:
            log.warning("node %d answered what it was not asked, or twice", reply.metadata.src_node_id)
            continue
        try:
            most = registry.examples(node, "train")
            found[silo] = read_moments(reply, channels, values, examples=most, max_examples=max_examples)
            del faults[silo]
        except ValueError as error:
            faults[silo] = in_one_line(str(error))
    for silo, fault in sorted(faults.items()):
        log.warning("statistics: silo %d is left out: it %s", silo, fault)
    if len(found) < min_replies:
        reasons = "; ".join(f"silo {silo}: {fault}" for silo, fault in sorted(faults.items()))
        said = f"{len(found)} usable replies of {len(messages)}, min_replies={min_replies} ({reasons})"
        raise RunFailedError(f"method.gate_statistics=reestimated: {said}")
    pooled = {name: reduce(add, (found[silo][name] for silo in sorted(found))) for name in channels}
    log.info("statistics of batch norm: re-estimated on the training images of %d silos", len(found))
    return running_statistics(pooled)


def read_moments(
    reply: Message,
    channels: Mapping[str, int],
    values: Mapping[str, int],
    *,
    examples: int | None,
    max_examples: int,
) -> dict[str, Moments]:
    """Return the moments of each batch norm in a silo's answer.

    Raises
    ------
    ValueError
        If the answer is an error, or is no sums over so many samples; says what is wrong in a few words.
    """
    if reply.has_error():
        raise ValueError(f"failed: {reply.error.reason}")
    record: Mapping[str, Any] | None = metric_records(reply.content).get(STATISTICS)
    if record is None:
        raise ValueError(f"has no record '{STATISTICS}'")
    count = record.get(WEIGHT)
    if type(count) is not int or not 1 <= count <= max_examples:
        raise ValueError(f"has {WEIGHT} {shown(count)}, not 1 to {max_examples}")
    if examples is not None and count != examples:
        raise ValueError(f"has {WEIGHT} {count}, and named {examples} when it joined")
    wanted = {f"{name}:{kind}" for name in channels for kind in ("sum", "squares")} | {WEIGHT}
    if other := sorted(wanted ^ record.keys()):
        raise ValueError(f"{'lacks' if other[0] in wanted else 'has unknown'} sums '{other[0][:80]}'")
    found = {}
    for name, number in channels.items():
        total, squares = (_read_sums(f"{name}:{kind}", record, number) for kind in ("sum", "squares"))
        found[name] = each = Moments(count * values[name], total, squares)
        _check_moments(name, each)
    return found


def _read_sums(name: str, record: Mapping[str, Any], channels: int) -> Tensor:
    sums = record[name]
    if not isinstance(sums, list) or len(sums) != channels or not all(type(each) is float for each in sums):
        told = len(sums) if isinstance(sums, list) else shown(sums)
        raise ValueError(f"has sums '{name}' of {told} values, not {channels} floating-point numbers")
    return torch.tensor(sums, dtype=torch.float64)


def _check_moments(name: str, moments: Moments) -> None:
    """Check that some values of float32 can have these moments."""
    mean, square = moments.mean(), moments.squares / moments.count
    if not (mean.isfinite().all() and square.isfinite().all()):
        raise ValueError(f"has sums of '{name}' that are not finite")
    if bool((mean.abs() > _LARGEST).any() or (square > _LARGEST).any()):
        raise ValueError(f"has sums of '{name}' whose statistics exceed float32")
    if bool((square < 0).any() or (mean.square() > square * (1 + _ROUNDING)).any()):
        raise ValueError(f"has sums of '{name}' with a negative variance")

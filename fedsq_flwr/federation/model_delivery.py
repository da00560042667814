"""The delivery of a run's model to the silos that it was made with, for their own use.

As with a structure, a silo is asked first: it says whether it keeps the model already, has the structure that belongs
to it, or takes no models. It is sent what it lacks.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from fedsq_flwr.federation.arrays import to_arrays
from fedsq_flwr.federation.asked import Asked
from fedsq_flwr.federation.contents import config_records
from fedsq_flwr.federation.protocol import (
    CONFIG,
    FINGERPRINT,
    GIVE_MODEL,
    MODEL,
    MODEL_CHOICE,
    MODEL_ROUND,
    MODEL_RUN,
    REFUSES,
    SETTINGS,
    SHA256,
    STRUCTURE,
)
from fedsq_flwr.models import state_digest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunModel:
    """A model of a run, as silos are given it.

    Attributes
    ----------
    run : str
        The run's number in Flower, in decimal digits.
    choice : {"best", "final"}
        Which of the run's models it is.
    round : int
        The round that it came out of.
    state : mapping of str to Tensor
        The quantitative state.
    fingerprint : str
        Of the structure that it works under; empty where the ReLUs are the network's own.
    structure : callable
        Returns that structure.
    settings : str
        The run's settings, as real silos are told them, in JSON.
    """

    run: str
    choice: str
    round: int
    state: Mapping[str, Tensor]
    fingerprint: str
    structure: Callable[[], Mapping[str, Tensor]]
    settings: str

    @property
    def offer(self) -> ConfigRecord:
        """What a message says of the model, whether it brings it or not."""
        offer = ConfigRecord({MODEL_RUN: self.run, MODEL_CHOICE: self.choice, MODEL_ROUND: self.round})
        offer[SHA256], offer[SETTINGS] = state_digest(self.state), self.settings
        if self.fingerprint:  # Flower cannot count the bytes of an empty text
            offer[FINGERPRINT] = self.fingerprint
        return offer


@dataclass
class Delivery:
    """What came of a delivery: the nodes that keep the model, those that take none, and why others do not have it."""

    kept: set[int] = field(default_factory=set)
    refusing: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)


def deliver(grid: Grid, nodes: Sequence[int], model: RunModel, timeout: float) -> Delivery:
    """Have ``nodes`` keep ``model``.

    Parameters
    ----------
    grid : Grid
        A `Wire` that packs: the model travels whole, in float32, whatever rounds do.
    nodes : sequence of int
        Those to be asked.
    model : RunModel
        The model.
    timeout : float
        Seconds to wait for the answers to each of up to three messages.
    """
    done, offer = Delivery(), model.offer
    answers = _ask(grid, nodes, RecordDict({CONFIG: offer}), timeout, done)
    wanting = _note(answers, str(offer[SHA256]), done)
    lacking = [node for node in wanting if model.fingerprint and answers[node].get(FINGERPRINT) != model.fingerprint]
    if lacking:
        content = RecordDict({STRUCTURE: to_arrays(dict(model.structure())), CONFIG: offer})
        _ask(grid, lacking, content, timeout, done)
        wanting = [node for node in wanting if node not in done.failed]
    if wanting:
        content = RecordDict({MODEL: to_arrays(dict(model.state)), CONFIG: offer})
        left = _note(_ask(grid, wanting, content, timeout, done), str(offer[SHA256]), done)
        done.failed |= dict.fromkeys(left, "did not keep the model that it was sent")
    return done


def _ask(
    grid: Grid, nodes: Sequence[int], content: RecordDict, timeout: float, done: Delivery
) -> dict[int, ConfigRecord]:
    """Return what each node answers; note why others do not."""
    messages = [Message(content, node, GIVE_MODEL) for node in nodes]
    asked, answers = Asked(messages), dict[int, ConfigRecord]()
    failed = dict.fromkeys(nodes, "did not answer")
    for reply in grid.send_and_receive(messages, timeout=timeout):
        node = asked.node(reply)
        if node is None or node in answers:
            continue
        if reply.has_error():
            failed[node] = reply.error.reason or "failed without a reason"
            continue
        answers[node] = config_records(reply.content).get(CONFIG, ConfigRecord())
    done.failed |= {node: reason for node, reason in failed.items() if node not in answers}
    return answers


def _note(answers: Mapping[int, ConfigRecord], sha256: str, done: Delivery) -> list[int]:
    """Note who keeps the model and who takes none; return the others."""
    done.kept |= {node for node, told in answers.items() if told.get(MODEL) == sha256}
    done.refusing |= {node for node, told in answers.items() if told.get(REFUSES) is True} - done.kept
    return [node for node in answers if node not in done.kept | done.refusing]

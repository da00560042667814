"""A silo that answers each round in another way, some of them wrong: ``python rogue.py STORY [fedsq silo's words]``.

The story is a comma-separated list, a word a round; `WAYS` says what each does. Everything else is the
product's: the settings, the connection, what is asked and how it is answered.
"""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from flwr.app import Array, ArrayRecord, Message, RecordDict

from fedsq_flwr import client_app
from fedsq_flwr.cli import main
from fedsq_flwr.federation.packing import PACKED, pack, unpack
from fedsq_flwr.federation.protocol import ARRAYS, CONFIG, FINGERPRINT, METRICS, ROUND, WEIGHT

#: What an exception's text may hold, and the server must never see.
PRIVATE = "/data/Mueller_Anna_1970/slice.dcm"

log = logging.getLogger("fedsq_flwr.rogue")
_kept: dict[str, RecordDict] = {}


def honest(reply: Message) -> Message:
    """Answer as asked, and remember the first such answer."""
    _kept.setdefault("first", reply.content)
    return reply


def replay(reply: Message) -> Message:
    """Send the first honest answer once more, as it was."""
    return Message(_kept["first"], reply_to=_asked)


def oversize(reply: Message) -> Message:
    """Send ten times the bytes."""
    state = unpack(reply.content[ARRAYS])
    return _with(reply, pack({**state, "more": torch.zeros(9 * len(reply.content[ARRAYS][PACKED].data) // 4)}))


def misname(reply: Message) -> Message:
    """Send an array under another name."""
    state = unpack(reply.content[ARRAYS])
    first = next(iter(state))
    return _with(reply, pack({f"{name}x" if name == first else name: state[name] for name in state}))


def nan(reply: Message) -> Message:
    """Send an array that holds what is no number."""
    state = unpack(reply.content[ARRAYS])
    return _with(reply, pack({name: torch.full_like(array, float("nan")) for name, array in state.items()}))


def reshape(reply: Message) -> Message:
    """Send an array of another shape."""
    state = unpack(reply.content[ARRAYS])
    name = next(name for name in state if state[name].ndim > 1)
    return _with(reply, pack({**state, name: state[name].reshape(-1)}))


def overweigh(reply: Message) -> Message:
    """Claim an infinite number of samples."""
    reply.content[METRICS][WEIGHT] = float("inf")
    return reply


def mistake(reply: Message) -> Message:
    """Name another structure."""
    reply.content[CONFIG][FINGERPRINT] = "f" * 64
    return reply


def garbage(reply: Message) -> Message:
    """Send bytes that are nothing."""
    packed = reply.content[ARRAYS][PACKED]
    return _with(reply, ArrayRecord({PACKED: Array(packed.dtype, packed.shape, packed.stype, b"\xff" * 4096)}))


def dawdle(reply: Message) -> Message:
    """Answer when the round is over."""
    time.sleep(15)
    return reply


def fail(reply: Message) -> Message:
    """Fail over a file whose name is nobody's business."""
    raise OSError(5, "Input/output error", PRIVATE)


def wait(reply: Message) -> Message:
    """Answer once a file ``go-ROUND`` is there, in the current folder."""
    go = Path(f"go-{_asked.content[CONFIG][ROUND]}")
    log.info("waiting for %s", go)
    while not go.exists():
        time.sleep(0.05)
    return reply


WAYS: dict[str, Callable[[Message], Message]] = {
    way.__name__: way
    for way in (honest, replay, oversize, misname, nan, reshape, overweigh, mistake, garbage, dawdle, fail, wait)
}


def _with(reply: Message, arrays: ArrayRecord) -> Message:
    return Message(RecordDict({**reply.content, ARRAYS: arrays}), reply_to=_asked)


if __name__ == "__main__":
    story, answer_train = sys.argv[1].split(","), client_app.answer_train

    def answer(client, message):
        global _asked  # noqa: PLW0603
        _asked = message
        way = story[min(message.content[CONFIG][ROUND], len(story)) - 1]
        return WAYS[way](answer_train(client, message))

    bound = client_app.service.most_bytes

    def read(context):
        log.info("the run config says %s", dict(context.run_config))
        return bound(context)

    client_app.answer_train, client_app.service.most_bytes = answer, read
    sys.exit(main(["silo", *sys.argv[2:]]))

"""Every silo that is asked knows which structure is in force, and has it."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg

from fedsq_flwr import FedSQ
from fedsq_flwr.federation.layers import StructureInForce
from tests.federation.grids import losing, silo_of
from tests.federation.loops import everywhere
from tests.federation.toys import FINGERPRINT, mean_of, sampling, toy_app

STRUCTURE = ArrayRecord({"s": Array(np.arange(3, dtype=np.float32))})


def alone(fingerprint, **options):
    return StructureInForce(FedAvg(**sampling()), fingerprint, **options)


def whole(fingerprint, **options):
    return FedSQ(FedAvg(**sampling()), fingerprint=fingerprint, **options)


def listening(heard, spoil=lambda silo, content: None):
    """The toy app; each round's messages are noted as (kind, round, silo, what is said of the structure)."""
    app = toy_app(spoil)
    for kind in ("train", "evaluate"):
        answer = app._registered_funcs[f"{kind}.default"]

        def listen(message, context, kind=kind, answer=answer):
            config = message.content["config"]
            said = {name: config[name] for name in ("fingerprint", "own-relus") if name in config}
            heard.append((kind, config["server-round"], silo_of(message), said))
            return answer(message, context)

        app._registered_funcs[f"{kind}.default"] = listen
    return app


def sent_structures(grid, monkeypatch):
    """The silos that are sent a structure on ``grid``, as they are sent it."""
    silos, carry = [], grid.send_and_receive

    def listen(messages, *, timeout=None):
        messages = list(messages)
        silos.extend(silo_of(message) for message in messages if "structure" in message.content)
        return carry(messages, timeout=timeout)

    monkeypatch.setattr(grid, "send_and_receive", listen)
    return silos


@everywhere(alone, whole)
@pytest.mark.parametrize(
    ("fingerprint", "said"),
    [
        ("", [{}, {}]),
        (FINGERPRINT, [{"fingerprint": FINGERPRINT}] * 2),
        (lambda number: "a" * 64 if number == 1 else "", [{"fingerprint": "a" * 64}, {"own-relus": True}]),
    ],
    ids=["no fixed gates", "one structure", "released after round 1"],
)
def test_messages_say_what_is_in_force(make_grid, arrays, make, loop, fingerprint, said):
    heard = []
    loop(make(fingerprint), make_grid(listening(heard)), arrays, 2)
    for kind in ("train", "evaluate"):
        for number in (1, 2):
            found = sorted((silo, s) for k, n, silo, s in heard if (k, n) == (kind, number))
            assert found == [(silo, said[number - 1]) for silo in range(4)]


@everywhere(alone, whole)
def test_silos_are_sent_a_structure_once_before_they_need_it(make_grid, arrays, make, loop, monkeypatch):
    grid = make_grid(toy_app())
    sent = sent_structures(grid, monkeypatch)
    strategy = make(
        lambda number: "a" * 64 if number < 3 else "b" * 64,
        structure=lambda number: STRUCTURE if number > 1 else None,
    )
    loop(strategy, grid, arrays, 4)
    assert sorted(sent[:4]) == sorted(sent[4:]) == [0, 1, 2, 3]
    assert all(list(context.state) == [f"structure-{'b' * 64}"] for context in grid._contexts.values())


@everywhere(alone, whole)
@pytest.mark.parametrize("told", [True, False])
def test_a_node_that_went_away_is_sent_it_again_and_no_other(make_grid, arrays, make, loop, monkeypatch, told):
    """It may come back without what it kept. Of one that was only slow nothing is known, and nothing is sent."""
    grid = make_grid(toy_app())
    sent = sent_structures(grid, monkeypatch)
    strategy = make(FINGERPRINT, structure=lambda _: STRUCTURE)
    averaged = loop(strategy, losing(grid, 2, told=told), arrays, 1)
    assert sorted(sent[:4]) == [0, 1, 2, 3]
    assert sent[4:] == ([2] if told else [])
    np.testing.assert_allclose(averaged["w"].numpy(), np.full((2, 3), mean_of(0, 1, 3)), rtol=1e-6)


@everywhere(alone, whole)
def test_silos_that_say_that_they_have_it_are_not_sent_it(make_grid, arrays, make, loop, monkeypatch):
    grid = make_grid(toy_app())
    grid._contexts[1001].state[f"structure-{FINGERPRINT}"] = STRUCTURE
    sent = sent_structures(grid, monkeypatch)
    if make is whole:
        strategy = make(FINGERPRINT, structure=lambda _: STRUCTURE, ask_for_structure=True)
    else:
        from fedsq_flwr.federation.distribution import StructureDistribution

        strategy = make(FINGERPRINT, structure=lambda _: STRUCTURE, distribution=StructureDistribution(10, ask=True))
    loop(strategy, grid, arrays, 2)
    assert sorted(sent) == [0, 2, 3]

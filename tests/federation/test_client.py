import math

import numpy as np
import pytest
import torch
from torch import nn

from fedsq_flwr import DualCopy, FedSQClient, GateCache, QuantitativeCopy
from fedsq_flwr.learning import TrainingSettings

SETTINGS = TrainingSettings(epochs=1, batch_size=4, learning_rate=0.1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def samples(count=10):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, 2, 2, generator=generator), torch.arange(count) % 3


def client(model, held_out=4, silo=0, seed=0):
    return FedSQClient(model, train=samples(), held_out=samples(held_out), settings=SETTINGS, silo=silo, seed=seed)


def arrays(model):
    return [tensor.numpy().copy() for tensor in model.quantitative_state().values()]


def test_fit_trains_and_reports():
    model = DualCopy(network())
    trained, examples, metrics = client(model).fit(
        arrays(model), {"server-round": 1, "fingerprint": model.fingerprint}
    )
    assert examples == 10
    assert metrics.keys() == {"train_loss", "train_seconds"}
    assert [a.shape for a in trained] == [(8, 4), (8,), (3, 8), (3,)]


def test_the_same_round_of_the_same_silo_gives_the_same_bits():
    def fit(server_round, silo, seed):
        model = QuantitativeCopy(network())
        trained, _, _ = client(model, silo=silo, seed=seed).fit(arrays(model), {"server-round": server_round})
        return b"".join(a.tobytes() for a in trained)

    assert fit(1, 0, 0) == fit(1, 0, 0)
    assert len({fit(1, 0, 0), fit(2, 0, 0), fit(1, 1, 0), fit(1, 0, 1)}) == 4


def test_a_silo_with_another_structure_refuses():
    model = DualCopy(network())
    with pytest.raises(ValueError, match="refuses: the server's structural fingerprint is 000000000000"):
        client(model).fit(arrays(model), {"server-round": 1, "fingerprint": "0" * 64})
    with pytest.raises(ValueError, match=r"is none \(no fixed gates\)"):
        client(model).evaluate(arrays(model), {"server-round": 1})


def test_the_proximal_weight_of_the_round_is_used():
    def drift(mu):
        model = QuantitativeCopy(network())
        start = arrays(model)
        trained, _, _ = client(model).fit(start, {"server-round": 1, "proximal-mu": mu})
        return sum(float(np.abs(a - b).sum()) for a, b in zip(trained, start, strict=True))

    assert drift(5.0) < drift(0.0)


def test_arrays_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"another network's \(missing \['1.bias'"):
        client(QuantitativeCopy(network())).check_names(["nothing"])


def test_a_silo_without_held_out_samples_answers_with_none():
    model = QuantitativeCopy(network())
    assert client(model, held_out=0).evaluate(arrays(model), {"server-round": 1}) == (0.0, 0, {"accuracy": 0.0})


def test_evaluation_changes_nothing():
    model = DualCopy(network())
    before = arrays(model)
    loss, examples, metrics = client(model).evaluate(before, {"server-round": 1, "fingerprint": model.fingerprint})
    assert examples == 4
    assert 0.0 <= metrics["accuracy"] <= 1.0
    assert loss > 0
    assert all(np.array_equal(a, b) for a, b in zip(before, arrays(model), strict=True))


def test_kept_gates_change_no_number_and_are_found_again():
    def rounds(gates):
        model = DualCopy(network())
        silo = FedSQClient(
            model, train=samples(), held_out=samples(4), settings=SETTINGS, silo=0, seed=0, gates=gates
        )
        state = arrays(model)
        for number in (1, 2, 3):
            config = {"server-round": number, "fingerprint": model.fingerprint}
            state, _, _ = silo.fit(state, config)
            evaluated = silo.evaluate(state, config)
        return b"".join(a.tobytes() for a in state), evaluated

    cache = GateCache()
    assert rounds(cache) == rounds(None)
    assert (cache.hits, cache.misses) == (2 * 14, 14)


def test_no_gates_are_kept_for_own_relus():
    cache = GateCache()
    for model, config in (
        (QuantitativeCopy(network()), {"server-round": 1}),
        (DualCopy(network()), {"server-round": 1, "own-relus": True}),
    ):
        silo = FedSQClient(
            model, train=samples(), held_out=samples(4), settings=SETTINGS, silo=0, seed=0, gates=cache
        )
        silo.fit(arrays(model), config)
    assert (cache.hits, cache.misses) == (0, 0)


def test_the_rate_of_a_round_is_as_the_schedule_says():
    def trained(server_round, **settings):
        model = QuantitativeCopy(network())
        silo = client(model)
        silo.core.settings = TrainingSettings(epochs=1, batch_size=4, **settings)
        result, _, _ = silo.fit(arrays(model), {"server-round": server_round})
        return b"".join(array.tobytes() for array in result)

    falling = {"learning_rate": 0.1, "schedule": "cosine", "rounds": 4}
    assert trained(1, **falling) == trained(1, learning_rate=0.1)
    assert trained(3, **falling) == trained(3, learning_rate=0.1 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert trained(3, **falling) != trained(3, learning_rate=0.1)

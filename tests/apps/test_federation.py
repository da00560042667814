"""How long a run waits for its silos, and for how many, by its executor."""

from contextlib import nullcontext

import pytest
import torch
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import HttpGrid, InMemoryGrid

from fedsq_flwr.apps import federation, strategy
from fedsq_flwr.apps.connecting import POLL_SECONDS, SIMULATION_POLL_SECONDS, wire_of
from fedsq_flwr.data import LabelledImages, ServerData
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.federation.waiting import Patience
from fedsq_flwr.learning.randomness import SystemRandomness
from fedsq_flwr.settings.composition import compose_settings

REAL = ("executor=silos", "data=imagefolder", "silos=3")


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["executor=inprocess", "silos=3"], 3),
        (["executor=simulation", "silos=3"], 3),
        (["executor=inprocess", "silos=3", "min_available_silos=1"], 1),
        # All must be there when a run of real silos begins. One that has left holds up no later round.
        ([*REAL], 2),
        ([*REAL, "executor.reply_fraction=1"], 3),
        ([*REAL, "executor.reply_fraction=0.1"], 1),
        ([*REAL, "min_available_silos=3"], 3),
    ],
)
def test_a_round_of_real_silos_needs_as_many_as_it_would_wait_for(words: list[str], needed: int) -> None:
    assert strategy._sampling(compose_settings(words))["min_available_nodes"] == needed


def test_the_servers_privacy_is_secret_with_real_silos_and_repeats_in_a_simulation() -> None:
    private = ("method.privacy=fixed_clipping", "method.weighting=uniform", "batch_norm=frozen", "max_update_ratio=0")
    simulated, real = (compose_settings([*words, *private]) for words in (("executor=inprocess", "seed=7"), REAL))
    draws = [strategy._noise(simulated, number).uniform(3).tolist() for number in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert isinstance(strategy._noise(real, 1), SystemRandomness)
    assert strategy._sampling_seed(simulated) == 7
    assert len({strategy._sampling_seed(real) for _ in range(3)}) == 3
    assert strategy._sampling_seed(compose_settings([*REAL, "seed=7"])) == 7  # without privacy


def test_a_clock_leaves_out_real_silos_only() -> None:
    with InProcessGrid(None, silos=1) as grid:
        for executor in ("inprocess", "simulation"):
            assert wire_of(grid, compose_settings([f"executor={executor}", "wire_dtype=bfloat16"])).collector is None
        wire = wire_of(grid, compose_settings([*REAL, "min_replies=2", "executor.reply_grace=7"]))
    assert wire.collector is not None
    assert (wire.collector._poll, wire.collector._patience) == (POLL_SECONDS, Patience(0.5, 7.0, 2))


def test_a_simulation_passes_tensors_and_is_polled_often_but_no_network_is() -> None:
    settings = compose_settings(["executor=simulation"])
    states = LinkStateFactory(FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), ObjectStoreFactory())
    simulated = wire_of(InMemoryGrid(states), settings)
    assert (simulated.takes_shared_arrays, simulated._poll) == (True, SIMULATION_POLL_SECONDS)
    network = wire_of(HttpGrid.__new__(HttpGrid), settings)  # the same settings, by `flwr run` on real silos
    assert (network.takes_shared_arrays, network._poll) == (False, POLL_SECONDS)


@pytest.mark.parametrize(
    ("labels", "words", "told"),
    [
        ([0, 1, 1], ["select_by=auroc"], None),
        ([0, 1, 1], ["select_by=macro_f1"], None),
        ([1, 1], ["select_by=macro_f1"], None),
        ([1, 1], ["select_by=auroc"], "select_by=auroc: is undefined, since the validation set lacks class cat"),
        ([], ["select_by=loss"], None),
        ([], ["select_by=macro_f1"], "select_by=macro_f1: needs silo_measures=counts or confusion where"),
        ([], ["select_by=auroc", "silo_measures=counts"], None),
    ],
)
def test_a_measure_that_would_be_undefined_in_every_round_chooses_none(labels, words, told) -> None:
    validation = LabelledImages(torch.zeros(len(labels), 1, 1, 1), torch.tensor(labels, dtype=torch.long))
    data = ServerData(validation, LabelledImages.none(), ("cat", "dog"))
    with nullcontext() if told is None else pytest.raises(ConfigurationError, match=told):
        federation._check_selection(compose_settings([*REAL, *words]), data)

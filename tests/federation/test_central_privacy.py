"""The server's privacy, on toys: silo k moves nine values by k, a step of length 3 k."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg

from fedsq_flwr import FedSQ
from fedsq_flwr.errors import PrivacyError
from fedsq_flwr.federation.central_privacy import PrivateMean
from fedsq_flwr.learning.randomness import SeededRandomness, SystemRandomness
from fedsq_flwr.privacy.accounting import Mechanism, epsilon_of
from fedsq_flwr.privacy.ledger import Ledger
from fedsq_flwr.settings.method import AdaptiveClipping, ClippedUpdates, FixedClipping
from tests.federation.grids import losing
from tests.federation.loops import our_loop
from tests.federation.toys import FINGERPRINT, sampling, toy_app

pytest.importorskip("dp_accounting", reason="the extra privacy is not installed")

NO_NOISE = 1e-9
both = pytest.mark.parametrize("kind", [FixedClipping, AdaptiveClipping])


def private(settings: ClippedUpdates, ledger: Ledger | None = None, *, fraction=1.0, randomness=None) -> FedSQ:
    randomness = randomness or SeededRandomness
    mean = PrivateMean(settings, FedAvg(**sampling(fraction=fraction)), ledger or Ledger(), randomness)
    return FedSQ(mean, fingerprint=FINGERPRINT, uniform=True)


def moved(strategy: FedSQ, grid, arrays: ArrayRecord, rounds: int = 1) -> float:
    """How far one value came."""
    return float(our_loop(strategy, grid, arrays, rounds)["w"].numpy()[0, 0] - arrays["w"].numpy()[0, 0])


@both
@pytest.mark.parametrize(
    ("lost", "told", "expected"), [(None, False, 3 / 4), (3, False, 2 / 4), (3, True, 2 / 4), (0, True, 3 / 4)]
)
def test_a_silo_that_does_not_answer_counts_as_one_that_did_not_move(make_grid, arrays, kind, lost, told, expected):
    """Clipped to 3, each silo but the first moves all values by 1; the first one answers with what it was sent."""
    grid, ledger = make_grid(toy_app()), Ledger()
    grid = grid if lost is None else losing(grid, lost, told=told)
    found = moved(private(kind(clip=3.0, noise_multiplier=NO_NOISE), ledger), grid, arrays)
    assert found == pytest.approx(expected, rel=1e-5)
    (charge,) = ledger.read().charges
    assert (charge.multiplier, charge.sampling, charge.population, charge.count) == (NO_NOISE / 2, 1, 4, 1)


def test_where_no_silo_moves_there_is_noise_still(make_grid, arrays):
    def stay(silo, content):
        for name in content.get("arrays", {}):
            content["arrays"][name] = arrays[name]

    assert 0.01 < abs(moved(private(FixedClipping()), make_grid(toy_app(stay)), arrays)) < 2


@pytest.mark.parametrize(
    ("settings", "multiplier"),
    [
        (FixedClipping(clip=2.0, noise_multiplier=1.5), 1.5),
        # The clip falls to a tenth of a percent for the next round; the noise is that of the updates' own clip.
        (
            AdaptiveClipping(clip=2.0, noise_multiplier=1.5, target_quantile=0, clip_learning_rate=9, count_noise=1),
            (1.5**-2 - 2.0**-2) ** -0.5,
        ),
    ],
)
def test_the_noise_has_the_size_that_is_counted(make_grid, settings, multiplier):
    """Of the sum of four updates: its standard deviation is the multiplier times the clip."""
    start = ArrayRecord({"w": Array(np.zeros((100, 200), np.float32))})
    noise = our_loop(private(settings), make_grid(toy_app()), start)["w"].numpy() * 4
    assert noise.std() == pytest.approx(multiplier * 2.0, rel=0.03)


@pytest.mark.parametrize("clip", [0.01, 300.0])
def test_the_clip_goes_to_the_quantile_of_the_norms_from_either_side(make_grid, arrays, clip):
    settings = AdaptiveClipping(clip=clip, noise_multiplier=NO_NOISE, count_noise=0.05, clip_learning_rate=1.0)
    strategy = private(settings)
    our_loop(strategy, make_grid(toy_app()), arrays, rounds=40)
    (found,) = (float(value) for name, value in strategy.state().items() if name.endswith("clip"))
    assert 2.5 < found < 6.5  # half of 0, 3, 6 and 9 lie below any clip from 3 to 6


@both
def test_noise_repeats_with_a_seed_and_not_with_the_systems_randomness(make_grid, arrays, kind):
    state = np.random.get_state()[1].tolist()  # Flower's generator

    def run(randomness) -> float:
        return moved(private(kind(), randomness=randomness), make_grid(toy_app()), arrays, rounds=2)

    assert run(SeededRandomness) == run(SeededRandomness)
    assert run(lambda number: SeededRandomness(number + 1)) != run(SeededRandomness)
    assert len({run(lambda _: SystemRandomness()) for _ in range(3)}) == 3
    assert np.random.get_state()[1].tolist() == state


def test_rounds_are_counted_as_drawn_from_the_silos_before_their_noise_is(make_grid, arrays, tmp_path):
    class Drawn(Exception):
        pass

    def draw(number: int) -> SeededRandomness:
        if number == 3:
            raise Drawn
        return SeededRandomness(number)

    ledger = Ledger(tmp_path)
    with pytest.raises(Drawn):
        strategy = private(FixedClipping(delta=1e-4), ledger, fraction=0.5, randomness=draw)
        moved(strategy, make_grid(toy_app()), arrays, rounds=5)
    again = Ledger(tmp_path).read()  # as a run that goes on finds it
    assert again.spent is not None
    assert (again.spent.unit, again.spent.delta) == ("silo", 1e-4)
    assert again.spent.epsilon == epsilon_of({Mechanism(0.5, 0.5, population=4): 3}, 1e-4)


def test_a_run_ends_before_the_round_that_would_exceed_the_limit(make_grid, arrays):
    limit = epsilon_of({Mechanism(0.5, 1.0, population=4): 2}, 1e-5) + 0.1
    settings, ledger = FixedClipping(max_epsilon=limit), Ledger()
    with pytest.raises(PrivacyError, match=r"method\.max_epsilon=\d.*: would be exceeded"):
        moved(private(settings, ledger), make_grid(toy_app()), arrays, rounds=3)
    assert ledger.read().charges[0].count == 2


def test_a_run_that_goes_on_has_the_clip_that_it_had(make_grid, arrays):
    first, second = (private(AdaptiveClipping()) for _ in range(2))
    our_loop(first, make_grid(toy_app()), arrays)
    assert first.state() != second.state()
    second.load_state({name: value.clone() for name, value in first.state().items()})
    assert first.state() == second.state()

"""Which structure is in force in which round."""

from hypothesis import given
from hypothesis import strategies as st

from fedsq_flwr.gating.schedule import StructureSchedule


def sources(rounds: int = 8, **plan: int) -> list[int | None]:
    return [StructureSchedule(**plan).source(server_round) for server_round in range(1, rounds + 1)]


def test_without_a_plan_the_start_stays_in_force() -> None:
    assert sources() == [0] * 8


def test_refreshed_every_third_round() -> None:
    assert sources(refresh_every=3) == [0, 0, 0, 3, 3, 3, 6, 6]


def test_frozen_after_two_rounds() -> None:
    assert sources(freeze_after=2) == [None, None, 2, 2, 2, 2, 2, 2]


def test_released_after_three_rounds() -> None:
    assert sources(release_after=3) == [0, 0, 0, None, None, None, None, None]


def test_frozen_late_and_released() -> None:
    assert sources(4, freeze_after=1, release_after=3) == [None, 1, 1, None]


def test_all_together() -> None:
    assert sources(freeze_after=1, refresh_every=2, release_after=6) == [None, 1, 1, 3, 3, 5, None, None]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 30), st.integers(2, 40))
def test_a_structure_that_comes_into_force_is_the_model_of_the_round_before(
    freeze: int, refresh: int, release: int, server_round: int
) -> None:
    plan = StructureSchedule(freeze, refresh, release)
    before, now = plan.source(server_round - 1), plan.source(server_round)
    assert now in (before, None, server_round - 1)

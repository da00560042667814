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


def test_all_together() -> None:
    assert sources(freeze_after=1, refresh_every=2, release_after=6) == [None, 1, 1, 3, 3, 5, None, None]


def test_released_over_three_rounds_the_gates_decide_less_and_less() -> None:
    plan = StructureSchedule(release_after=2, release_over=3)
    assert [plan.share(server_round) for server_round in range(1, 8)] == [1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert sources(release_after=2, release_over=3) == [0, 0, 0, 0, 0, None, None, None]


def test_before_they_are_frozen_the_gates_decide_nothing() -> None:
    plan = StructureSchedule(freeze_after=1, release_after=3)
    assert [plan.share(server_round) for server_round in range(1, 5)] == [0.0, 1.0, 1.0, 0.0]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 30), st.integers(0, 5), st.integers(2, 40))
def test_a_structure_that_comes_into_force_is_the_model_of_the_round_before(
    freeze: int, refresh: int, release: int, over: int, server_round: int
) -> None:
    plan = StructureSchedule(freeze, refresh, release, over if release else 0)
    before, now = plan.source(server_round - 1), plan.source(server_round)
    assert now in (before, None, server_round - 1)

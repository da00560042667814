"""A short part of the soak of settings: `python -m scripts.soak.configurations` takes longer."""

from scripts.soak.configurations import soak


def test_bad_settings_are_taken_or_refused_in_one_line() -> None:
    outcomes = soak(count=100, seed=7, seconds=60)
    assert sum(outcomes.values()) == 100
    assert outcomes["json refused"] > 20

import math

import pytest

from fedsq_flwr.learning import TrainingSettings
from fedsq_flwr.learning.schedule import rate_factor


def test_a_constant_rate_is_the_rate_to_the_bit() -> None:
    settings = TrainingSettings(epochs=1, batch_size=2, learning_rate=0.1)
    assert all(settings.of_round(number) == settings for number in (1, 7, 1000))


def test_half_a_cosine_falls_from_the_rate_towards_nothing() -> None:
    factors = [rate_factor("cosine", number, 4) for number in (1, 2, 3, 4)]
    assert factors == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])
    settings = TrainingSettings(epochs=1, batch_size=2, learning_rate=0.2, schedule="cosine", rounds=4)
    assert settings.of_round(3).learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize(("schedule", "number"), [("linear", 1), ("cosine", 0), ("cosine", 5)])
def test_what_the_schedule_does_not_know_is_refused(schedule: str, number: int) -> None:
    with pytest.raises(ValueError, match=r"linear|not one of 4 rounds"):
        rate_factor(schedule, number, 4)

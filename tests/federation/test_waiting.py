from itertools import islice

import pytest

from fedsq_flwr.federation.waiting import waits


def test_waits_grow_from_a_twentieth_of_a_second_to_the_longest():
    seconds = list(islice(waits(1.0), 20))
    assert seconds[:3] == pytest.approx([0.05, 0.06, 0.072])
    assert seconds == sorted(seconds)
    assert seconds[-1] == 1.0


def test_no_wait_is_longer_than_the_longest():
    assert list(islice(waits(0.01), 3)) == [0.01, 0.01, 0.01]

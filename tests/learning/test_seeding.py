"""Seeds by purpose, the same on every machine and for good."""

import hashlib

import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsq_flwr.learning import derive_seed
from fedsq_flwr.learning.seeding import generator_for


def test_a_seed_once_derived_stays_what_it_is() -> None:
    """A change here changes the numbers of every run: it needs a new major version."""
    assert derive_seed(0, "train", 1, 2) == 4359563225916841325
    assert derive_seed(0) == 3456079177858693020


def test_it_is_the_start_of_a_sha256() -> None:
    digest = hashlib.sha256(b"7/order").hexdigest()
    assert derive_seed(7, "order") == int(digest[:16], 16) // 2


@given(seed=st.integers(0, 2**64), path=st.lists(st.integers(0, 1000) | st.text("abc", max_size=4), max_size=4))
def test_it_fits_a_generator(seed: int, path: list[int | str]) -> None:
    assert 0 <= derive_seed(seed, *path) < 2**63
    generator_for(seed, *path)


def test_seeds_rounds_silos_and_purposes_all_have_streams_of_their_own() -> None:
    paths = [
        (seed, purpose, number, silo)
        for seed in (0, 1, 11)
        for purpose in ("train", "order")
        for number in (0, 1, 11)
        for silo in (0, 1, 11)
    ]
    assert len({derive_seed(*path) for path in paths}) == len(paths)


def test_a_generator_draws_the_stream_of_its_seed() -> None:
    drawn = torch.rand(3, generator=generator_for(0, "head"))
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(derive_seed(0, "head"))))
    assert not torch.equal(drawn, torch.rand(3, generator=generator_for(1, "head")))

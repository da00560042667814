"""Seeds by purpose, the same on every machine and for good."""

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedsq_flwr.learning import derive_seed
from fedsq_flwr.learning.seeding import generator_for, seed_global_generators


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


def test_seeding_for_the_cpu_reseeds_no_gpu(monkeypatch) -> None:
    def seeded(_seed: int) -> None:
        raise AssertionError("a GPU's generator was reseeded, and nothing restores it")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded)
    with torch.random.fork_rng(devices=[]):
        seed_global_generators(7, torch.device("cpu"))
        drawn = torch.rand(3)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(7)))


@pytest.mark.skipif(torch.cuda.device_count() == 0, reason="no GPU")
def test_seeding_a_gpu_makes_its_draws_repeatable_and_leaves_other_gpus_alone() -> None:
    device = torch.device("cuda", 0)
    others = [torch.cuda.get_rng_state(index) for index in range(1, torch.cuda.device_count())]
    with torch.random.fork_rng(devices=[device]):
        seed_global_generators(7, device)
        first = torch.rand(3, device=device)
        seed_global_generators(7, device)
        assert torch.equal(first, torch.rand(3, device=device))
    assert all(torch.equal(state, torch.cuda.get_rng_state(index)) for index, state in enumerate(others, start=1))

"""The gap between the average's function and the functions' average, and how far states drift."""

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, QuantitativeCopy, averaging_gap, weight_drift
from tests.gating.gated_networks import same_bits

WEIGHTS = (1.0, 2.0, 5.0)


def moved(model: QuantitativeCopy, seed: int, only: str = "") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor + 0.2 * torch.rand(tensor.shape, generator=generator) * name.startswith(only)
        for name, tensor in model.quantitative_state().items()
    }


def states(model: QuantitativeCopy, only: str = "") -> list[tuple[float, dict[str, Tensor]]]:
    return [(weight, moved(model, seed, only)) for seed, weight in enumerate(WEIGHTS)]


def test_gap_and_spread_are_what_the_definition_says(dual: DualCopy, images: Tensor) -> None:
    replies = states(dual)

    def logits(state: dict[str, Tensor]) -> Tensor:
        dual.load_quantitative_state(state)
        return dual.eval()(images).detach()

    each = [logits(state) for _, state in replies]
    mean = sum(w * f for w, f in zip(WEIGHTS, each, strict=True)) / 8
    of_mean = logits({n: sum(w * s[n] for w, s in replies) / 8 for n in replies[0][1]})
    spread = sum(w * (f - mean).norm(dim=1) ** 2 for w, f in zip(WEIGHTS, each, strict=True)).div(8).sqrt().mean()
    found = averaging_gap(dual, replies, images)
    assert found.states == 3
    assert found.gap == pytest.approx(float((of_mean - mean).norm(dim=1).mean()), rel=1e-4)
    assert found.spread == pytest.approx(float(spread), rel=1e-4)
    assert found.relative == found.gap / found.spread


@pytest.mark.parametrize("layer", ["stem", "a.", "b.", "fc"])
def test_under_fixed_gates_states_that_differ_in_one_layer_average_exactly(
    dual: DualCopy, images: Tensor, layer: str
) -> None:
    found = averaging_gap(dual, states(dual, only=layer), images)
    assert found.spread > 1e-2
    assert found.relative < 1e-5


def test_with_its_own_relus_it_does_not(network: nn.Module, images: Tensor) -> None:
    plain = QuantitativeCopy(network)
    assert averaging_gap(plain, states(plain, only="stem"), images).relative > 1e-3


def test_equal_states_have_no_spread_to_relate_to(dual: DualCopy, images: Tensor) -> None:
    state = moved(dual, 0)
    found = averaging_gap(dual, [(1.0, state), (3.0, state)], images)
    assert (found.spread, found.relative) == (0.0, None)
    assert found.gap < 1e-5


def test_the_model_is_as_before_even_after_a_bad_state(dual: DualCopy, images: Tensor) -> None:
    dual.train()
    before = {name: tensor.clone() for name, tensor in dual.state_dict().items()}
    averaging_gap(dual, states(dual), images)
    with pytest.raises(ValueError, match="unknown"):
        averaging_gap(dual, [*states(dual), (1.0, {"x": torch.zeros(1)})], images)
    with pytest.raises(ValueError, match="weight 0"):
        averaging_gap(dual, [(0, moved(dual, 0))], images)
    with pytest.raises(ValueError, match="no states"):
        averaging_gap(dual, [], images)
    assert dual.training
    assert all(same_bits(tensor, before[name]) for name, tensor in dual.state_dict().items())


def test_states_are_taken_one_at_a_time(dual: DualCopy, images: Tensor) -> None:
    assert averaging_gap(dual, iter(states(dual)), images) == averaging_gap(dual, states(dual), images)


def test_drift_is_the_distance_from_the_start() -> None:
    start = {"w": torch.tensor([3.0, 4.0])}
    replies = [(1.0, {"w": torch.tensor([3.0, 8.0]), "mean": torch.ones(1)}), (3.0, {"w": torch.tensor([3.0, 2.0])})]
    found = weight_drift(start, replies)
    assert (found.mean, found.of_mean, found.start) == ((1 * 4 + 3 * 2) / 4, 0.5, 5.0)
    with pytest.raises(ValueError, match="no states"):
        weight_drift(start, [])

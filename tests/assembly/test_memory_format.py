"""``executor.memory_format``: weights and gates lie in it, and nothing that travels or is kept does."""

import pytest
import torch

from fedsq_flwr.assembly.model import build_model, memory_format
from fedsq_flwr.gating import DualCopy, GateCache, digest
from fedsq_flwr.gating.packed.layout import ActivationLayout, is_channels_last

IMAGES = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("executor.device=cpu",), torch.channels_last),
        (("executor.device=cpu", "backbone=resnet18", "backbone.weights=random"), torch.contiguous_format),
        (("executor.memory_format=contiguous",), torch.contiguous_format),
        (
            ("executor.memory_format=channels_last", "backbone=resnet18", "backbone.weights=random"),
            torch.channels_last,
        ),
    ],
)
def test_auto_is_what_was_measured_for_the_backbone(settings, overrides: tuple[str, ...], expected) -> None:
    assert memory_format(settings(*overrides)) is expected


def test_both_copies_and_the_gates_are_in_the_format_and_the_fingerprint_stays(settings) -> None:
    usual, last = (
        build_model(settings(f"executor.memory_format={name}"), 10) for name in ("contiguous", "channels_last")
    )
    assert isinstance(usual, DualCopy)
    assert isinstance(last, DualCopy)
    for copy in (last.structural, last.quantitative):
        assert is_channels_last(copy.get_submodule("layer1.0.conv1").weight)
    assert last.fingerprint == usual.fingerprint
    gates = last.gates(IMAGES)
    assert all(part.channels_last for part in gates.layout if isinstance(part, ActivationLayout))
    assert torch.allclose(last(IMAGES, gates), usual(IMAGES), atol=1e-5)
    usual.load_quantitative_state(last.quantitative_state())
    assert all(tensor.is_contiguous() for tensor in usual.quantitative_state().values())


def test_the_two_formats_do_not_share_cached_rows(settings) -> None:
    cache = GateCache()
    for name in ("contiguous", "channels_last"):
        model = build_model(settings(f"executor.memory_format={name}"), 10)
        assert isinstance(model, DualCopy)
        kept = cache.bind(model, data=digest(IMAGES), samples=8)
        for _ in range(2):
            assert torch.equal(kept.of(slice(None), IMAGES).rows, model.gates(IMAGES).rows)
    assert (cache.hits, cache.misses) == (16, 16)

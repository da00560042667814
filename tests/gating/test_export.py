"""Either form as a program of its own: the same numbers, to the bit, at any batch size."""

from io import BytesIO

import pytest
import torch

from fedsq_flwr.gating import DualCopy, QuantitativeCopy, export_dual, export_plain
from tests.gating.gated_networks import batch_for, build, perturb, same_bits


@pytest.mark.parametrize(
    "name",
    [
        "CIFAR ResNet-8",
        "torchvision ResNet-18",
        "activation: x.clamp(0, 6)",
        "activation: nn.PReLU(channels)",
    ],
)  # ResNet-20: tests/commands
def test_the_loaded_programs_give_the_same_bits_at_other_batch_sizes(name: str) -> None:
    network = build(name)
    dual = DualCopy(network)
    perturb(dual.quantitative, scale=0.05)
    dual.eval()
    images, _ = batch_for(network, count=11)
    with torch.no_grad():
        for program, form in (
            (export_dual(dual, images[:8]), dual),
            (export_plain(dual, images[:8]), dual.to_plain()),
        ):
            file = BytesIO()
            torch.export.save(program, file)
            file.seek(0)
            loaded = torch.export.load(file).module()
            for count in (1, 3, 8, 11):
                assert same_bits(loaded(images[:count]), form(images[:count])), count
        assert not same_bits(dual(images), dual.to_plain()(images))


def test_exporting_leaves_the_model_as_it_is_and_exports_evaluation(dual, images) -> None:
    dual.train()
    program = export_dual(dual, images).module()
    assert dual.training
    with torch.no_grad():
        assert same_bits(program(images), dual.eval()(images))


def test_a_model_without_fixed_gates_has_a_plain_form(network, images) -> None:
    with torch.no_grad():
        assert same_bits(export_plain(QuantitativeCopy(network), images).module()(images), network(images))


def test_one_example_image_is_refused(dual, images) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        export_dual(dual, images[:1])


def test_a_branch_on_the_images_values_is_refused() -> None:
    network = build("data-dependent branch")
    with pytest.raises(Exception, match="data-dependent"):
        export_dual(DualCopy(network), batch_for(network)[0])

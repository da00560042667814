"""Other people's files fit our networks: names and heads are adapted and told, everything else is an error."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models import LoadReport, build_backbone, load_weights, save_weights, state_digest

State = dict[str, Tensor]


def network(classes: int = 10, seed: int = 0) -> nn.Module:
    return build_backbone("resnet20", in_channels=1, classes=classes, seed=seed)


def load(tmp_path: Path, state: State, into: nn.Module | None = None) -> tuple[nn.Module, LoadReport]:
    """Load ``state`` from a file; the head, `fc`, may be replaced."""
    save_weights(tmp_path / "weights.safetensors", state, {})
    into = into or network()
    return into, load_weights(into, tmp_path / "weights.safetensors", head="fc")


def problem(tmp_path: Path, state: State) -> str:
    own = network()
    before = state_digest(own.state_dict())
    with pytest.raises(WeightsError) as caught:
        load(tmp_path, state, own)
    assert state_digest(own.state_dict()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def called(head: str, state: State) -> State:
    return {re.sub(r"^fc\.", f"{head}.", name): tensor for name, tensor in state.items()}


def test_a_file_that_fits_as_it_is_has_nothing_to_tell(tmp_path: Path) -> None:
    published = network(seed=1)
    own, report = load(tmp_path, published.state_dict())
    assert state_digest(own.state_dict()) == state_digest(published.state_dict())
    assert report.adapted == []
    assert (report.loaded, report.head, report.classes) == (len(published.state_dict()), "loaded", 10)


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "backbone.", "_orig_mod.", "_orig_mod.module.", "module.model.backbone."]
)
def test_a_prefix_that_all_names_carry_is_removed_and_told(tmp_path: Path, prefix: str) -> None:
    published = network(seed=1).state_dict()
    own, report = load(tmp_path, {prefix + name: tensor for name, tensor in published.items()})
    assert state_digest(own.state_dict()) == state_digest(published)
    assert report.prefix == prefix
    assert report.adapted == [f"prefix {prefix} removed"]


def test_a_prefix_that_some_names_lack_stays(tmp_path: Path) -> None:
    published = network(seed=1).state_dict()
    some = {name if name == "conv1.weight" else f"module.{name}": tensor for name, tensor in published.items()}
    assert "unknown module.bn1.bias" in problem(tmp_path, some)


@pytest.mark.parametrize("head", ["linear", "classifier", "classifier.6", "head"])
def test_a_head_of_another_name_is_loaded_and_told(tmp_path: Path, head: str) -> None:
    published = network(seed=1).state_dict()
    own, report = load(tmp_path, called(head, published))
    assert state_digest(own.state_dict()) == state_digest(published)
    assert report.adapted == [f"renamed {head}.weight -> fc.weight, {head}.bias -> fc.bias"]


def test_of_two_that_may_be_the_head_neither_is_guessed(tmp_path: Path) -> None:
    published = network(seed=1).state_dict()
    two = {**called("linear", published), "classifier.weight": torch.zeros(10, 64)}
    assert "unknown classifier.weight, linear.bias, linear.weight" in problem(tmp_path, two)


@pytest.mark.parametrize("name", ["fc", "linear"])
def test_a_head_of_another_size_is_left_out_and_told(tmp_path: Path, name: str) -> None:
    published = network(classes=100, seed=1).state_dict()
    own = network()
    head = own.fc.weight.clone()
    _, report = load(tmp_path, called(name, published), own)
    assert torch.equal(own.fc.weight, head)
    assert torch.equal(own.conv1.weight, published["conv1.weight"])
    assert (report.head, report.classes) == ("other size", 100)
    assert set(report.left_out) == {"fc.weight", "fc.bias"}
    assert "head other size (100 classes)" in report.adapted


def test_an_absent_head_is_told(tmp_path: Path) -> None:
    published = {name: t for name, t in network(seed=1).state_dict().items() if not name.startswith("fc.")}
    own, report = load(tmp_path, published)
    assert torch.equal(own.layer3[2].bn2.weight, published["layer3.2.bn2.weight"])
    assert (report.head, report.classes, report.adapted) == ("absent", None, ["head absent"])


def test_a_head_without_a_bias_is_not_half_loaded(tmp_path: Path) -> None:
    published = {name: t for name, t in network(seed=1).state_dict().items() if name != "fc.bias"}
    own = network()
    _, report = load(tmp_path, published, own)
    assert report.head == "other size"
    assert torch.equal(own.fc.weight, network().fc.weight)


def test_absent_counts_of_batches_are_told(tmp_path: Path) -> None:
    published = {name: t for name, t in network(seed=1).state_dict().items() if "num_batches" not in name}
    _, report = load(tmp_path, published)
    assert report.adapted == ["19 num_batches_tracked absent"]


def test_lower_precision_is_converted_and_told(tmp_path: Path) -> None:
    published = {n: t.half() if t.is_floating_point() else t for n, t in network(seed=1).state_dict().items()}
    own, report = load(tmp_path, published)
    assert own.conv1.weight.dtype == torch.float32
    assert torch.equal(own.conv1.weight, published["conv1.weight"].float())
    assert report.adapted == ["converted from torch.float16"]


def test_outside_the_head_nothing_may_be_missing_unknown_or_reshaped(tmp_path: Path) -> None:
    published = network(seed=1).state_dict()
    missing = {name: t for name, t in published.items() if name != "bn1.running_var"}
    assert "missing bn1.running_var, unknown nothing" in problem(tmp_path, missing)
    assert "missing nothing, unknown extra.weight" in problem(tmp_path, {**published, "extra.weight": torch.ones(1)})
    reshaped = {**published, "conv1.weight": torch.zeros(16, 3, 3, 3)}
    assert "'conv1.weight' has shape (16, 3, 3, 3), not (16, 1, 3, 3)" in problem(tmp_path, reshaped)
    whole = {**published, "conv1.weight": torch.zeros(16, 1, 3, 3, dtype=torch.int64)}
    assert "'conv1.weight' is torch.int64, not torch.float32" in problem(tmp_path, whole)
    assert "missing" in problem(tmp_path, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    published = network(seed=1).state_dict()
    published["layer1.0.bn1.bias"][3] = value
    assert "'layer1.0.bn1.bias' holds values that are not finite" in problem(tmp_path, published)


def test_densenets_older_names_are_adapted(tmp_path: Path) -> None:
    published = build_backbone("densenet121", in_channels=3, classes=10, seed=1).state_dict()
    older = {re.sub(r"(denselayer\d+\.(norm|conv))([12])\.", r"\1.\3.", n): t for n, t in published.items()}
    assert older.keys() != published.keys()
    save_weights(tmp_path / "weights.safetensors", older, {})
    own = build_backbone("densenet121", in_channels=3, classes=10, seed=0)
    report = load_weights(own, tmp_path / "weights.safetensors", head="classifier")
    assert state_digest(own.state_dict()) == state_digest(published)
    assert len(report.renamed) == sum(name not in published for name in older)
    assert " more" in report.adapted[0]


def test_googlenets_auxiliary_heads_are_left_out_and_told(tmp_path: Path) -> None:
    from torchvision.models import googlenet

    published = googlenet(weights=None, aux_logits=True, init_weights=False).state_dict()
    save_weights(tmp_path / "weights.safetensors", published, {})
    own = build_backbone("googlenet", in_channels=3, classes=10, seed=0)
    report = load_weights(own, tmp_path / "weights.safetensors", head="fc")
    assert torch.equal(own.conv1.conv.weight, published["conv1.conv.weight"])
    assert {name.partition(".")[0] for name in report.left_out} == {"aux1", "aux2", "fc"}
    assert report.classes == 1000

"""Files of weights: whole or not at all, checked when they are read, and never unpickled."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models import load_weights, save_weights, state_digest
from fedsq_flwr.models.weights import read_weights

#: Hypothesis runs every example in the one directory that pytest makes for the test.
ONE_DIRECTORY = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def states(draw: st.DrawFn) -> dict[str, Tensor]:
    names = draw(st.lists(st.text("abc.0_", min_size=1, max_size=8), max_size=4, unique=True))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    return {
        name: (10 * torch.randn(draw(st.lists(st.integers(0, 4), max_size=3)), generator=generator)).to(
            draw(st.sampled_from(DTYPES))
        )
        for name in names
    }


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def problem(network: nn.Module, path: Path) -> str:
    """Load ``path`` in vain: the message, one line that names the file; the network is left as it was."""
    before = state_digest(network.state_dict())
    with pytest.raises(WeightsError) as caught:
        load_weights(network, path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert state_digest(network.state_dict()) == before
    return str(caught.value)


@given(state=states(), metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
@ONE_DIRECTORY
def test_what_is_saved_is_read_back_to_the_bit(
    tmp_path: Path, state: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, state, metadata)
    read, read_metadata = read_weights(path)
    assert state_digest(read) == state_digest(state)
    assert {**metadata, "digest": state_digest(state)} == read_metadata


def test_a_network_gets_back_its_weights_and_statistics(tmp_path: Path) -> None:
    saved, other = small_network(), small_network()
    with torch.no_grad():
        for tensor in saved.state_dict().values():
            tensor.add_(1)
    save_weights(tmp_path / "weights.safetensors", saved.state_dict(), {})
    load_weights(other, tmp_path / "weights.safetensors")
    assert state_digest(saved.state_dict()) == state_digest(other.state_dict())


@pytest.mark.parametrize(
    "tensor",
    [torch.randn(3, 4).t(), torch.randn(4, 6)[:, ::2], torch.randn(1).expand(5), torch.randn(2, 4, 3, 3).to(
        memory_format=torch.channels_last
    ), torch.randn(3, requires_grad=True)],
    ids=["transposed", "strided", "expanded", "channels last", "learning"],
)  # fmt: skip
def test_any_layout_in_memory_is_saved(tmp_path: Path, tensor: Tensor) -> None:
    save_weights(tmp_path / "weights.safetensors", {"tensor": tensor}, {})
    assert torch.equal(read_weights(tmp_path / "weights.safetensors")[0]["tensor"], tensor)


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    tied = torch.randn(3, 3)
    save_weights(tmp_path / "weights.safetensors", {"a": tied, "b": tied}, {})
    state, _ = read_weights(tmp_path / "weights.safetensors")
    assert torch.equal(state["a"], tied)
    assert torch.equal(state["b"], tied)


def test_directories_are_made(tmp_path: Path) -> None:
    save_weights(tmp_path / "a" / "b" / "weights.safetensors", {"x": torch.ones(1)}, {})
    assert (tmp_path / "a" / "b" / "weights.safetensors").is_file()


def test_the_digest_sees_names_shapes_dtypes_and_bytes() -> None:
    base = {"a": torch.arange(4.0)}
    others = [
        {},
        {"b": torch.arange(4.0)},
        {"a": torch.arange(4.0).view(2, 2)},
        {"a": torch.arange(4.0).double()},
        {"a": torch.arange(4.0).view(torch.int32)},
        {"a": torch.arange(4.0) + 1e-6},
        {**base, "c": torch.empty(0)},
    ]
    assert len({state_digest(state) for state in [base, *others]}) == len(others) + 1


def test_the_digest_does_not_see_the_order_of_names_or_the_layout() -> None:
    a, b = torch.randn(3, 2), torch.randn(2)
    assert state_digest({"a": a, "b": b}) == state_digest({"b": b, "a": a.t().contiguous().t()})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_weights(path, small_network().state_dict(), {"recipe": "a test"})
    return path


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
@ONE_DIRECTORY
def test_a_file_with_one_byte_flipped_is_refused_unless_no_tensor_changed(
    tmp_path: Path, place: int, flip: int
) -> None:
    path, state = tmp_path / "weights.safetensors", small_network().state_dict()
    save_weights(path, state, {"recipe": "a test"})
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= flip
    path.write_bytes(content)
    try:
        read, _ = read_weights(path)
    except WeightsError as error:
        assert str(path) in str(error)
    else:
        assert state_digest(read) == state_digest(state)


def test_a_flipped_bit_in_a_tensor_is_named_damage(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    assert "damaged" in problem(small_network(), saved)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_file_cut_short_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    assert "cannot be read as safetensors" in problem(small_network(), saved)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in problem(small_network(), tmp_path / "nothing.safetensors")
    assert "does not exist" in problem(small_network(), tmp_path)


class Trap:
    """Unpickling one of these would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_no_pickle_is_read(tmp_path: Path, how: str) -> None:
    path, mark = tmp_path / "weights.safetensors", tmp_path / "mark"
    content = {**small_network().state_dict(), "trap": Trap(mark)}
    if how == "torch.save":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    assert "cannot be read as safetensors" in problem(small_network(), path)
    assert not mark.exists()


def change(path: Path, **changes: Tensor | None) -> None:
    state = {**read_weights(path)[0], **{name.replace("__", "."): tensor for name, tensor in changes.items()}}
    save_weights(path, {name: tensor for name, tensor in state.items() if tensor is not None}, {})


def test_a_missing_name_is_named(saved: Path) -> None:
    change(saved, **{"3__bias": None, "1__running_var": None})
    assert "missing 1.running_var, 3.bias, unknown nothing" in problem(small_network(), saved)


def test_an_unknown_name_is_named(saved: Path) -> None:
    change(saved, **{"4__weight": torch.zeros(1)})
    assert "missing nothing, unknown 4.weight" in problem(small_network(), saved)


def test_a_reshaped_tensor_is_named_with_both_shapes(saved: Path) -> None:
    change(saved, **{"3__weight": torch.zeros(5, 8)})
    assert "'3.weight' has shape (5, 8), not (3, 8)" in problem(small_network(), saved)


def test_many_wrong_names_are_counted_and_not_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, {f"x{i}": torch.zeros(1) for i in range(50)}, {})
    message = problem(small_network(), path)
    assert "and 46 more" in message
    assert len(message) < 400 + len(str(path))


def test_counts_of_batches_may_be_absent(saved: Path) -> None:
    change(saved, **{"1__num_batches_tracked": None, "3__bias": torch.full((3,), 9.0)})
    network = small_network()
    network[1].num_batches_tracked.fill_(4)
    load_weights(network, saved)
    assert network[3].bias.tolist() == [9.0] * 3
    assert network[1].num_batches_tracked.item() == 4


def test_a_file_without_a_digest_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "published.safetensors"
    save_file(small_network().state_dict(), path)
    network = small_network()
    nn.init.zeros_(network[0].weight)
    load_weights(network, path)
    assert state_digest(network.state_dict()) == state_digest(small_network().state_dict())


@pytest.mark.parametrize("broken", ["replace", "open"])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    saved: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    before = saved.read_bytes()

    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, broken, interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_weights(saved, {"other": torch.ones(1000)}, {})
    monkeypatch.undo()

    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_an_interrupted_sync_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(saved, {"other": torch.ones(1000)}, {})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]

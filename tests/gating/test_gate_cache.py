"""The gate cache: a hit equals a recomputation to the bit, and nothing wrong is ever handed out."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.gating import BoundGates, DualCopy, GateCache, GateMismatchError, Gates, digest
from fedsq_flwr.learning import TrainingSettings, evaluate, train_locally
from tests.gating.gated_networks import CLASSES, batch_for, build, perturb, same_bits

COUNT = 24
ALL = torch.arange(COUNT)


@pytest.fixture(params=["memory", "disk"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "gates" if request.param == "disk" else None


class CountingCopy(DualCopy):
    """Counts the images that pass through the structural copy."""

    passed = 0

    def gates(self, images: Tensor) -> Gates:
        self.passed += len(images)
        return super().gates(images)


def counting(network: nn.Module) -> CountingCopy:
    return CountingCopy(network)


def bind(cache: GateCache, dual: DualCopy, images: Tensor, **options: str) -> BoundGates:
    return cache.bind(dual, data=digest(images), samples=len(images), **options)


@pytest.mark.parametrize("name", ["CIFAR ResNet-20", "pool: nn.MaxPool2d", "three dimensions", "linear layers"])
def test_a_hit_is_a_recomputation_to_the_bit_in_any_order_and_batch(name: str, directory: Path | None) -> None:
    network = build(name)
    images, _ = batch_for(network, count=COUNT)
    dual = DualCopy(network)
    kept = bind(GateCache(directory=directory), dual, images)
    for batch in torch.randperm(COUNT).split(10):
        kept.of(batch, images[batch])
    for batch in torch.randperm(COUNT).split(9):
        gates, fresh = kept.of(batch, images[batch]), dual.gates(images[batch.repeat(2)])[: len(batch)]
        assert gates.layout == fresh.layout
        assert torch.equal(gates.rows, fresh.rows)


def test_each_sample_is_computed_once(directory: Path | None) -> None:
    dual = counting(build("residual add"))
    images, _ = batch_for(dual.quantitative, count=COUNT)
    cache = GateCache(directory=directory)
    kept = bind(cache, dual, images)
    for start in (0, 8, 4, 16, 0):
        batch = ALL[start : start + 8]
        kept.of(batch, images[batch])
    assert (cache.hits, cache.misses) == (8 + 8, COUNT)
    assert dual.passed == COUNT


def test_few_missing_samples_are_recorded_in_a_batch_of_eight() -> None:
    dual = counting(build("residual add"))
    images, _ = batch_for(dual.quantitative, count=COUNT)
    kept = bind(GateCache(), dual, images)
    kept.of(ALL[:2], images[:2])
    assert dual.passed == 8


def test_samples_beyond_the_budget_are_computed_each_time_and_are_right(directory: Path | None) -> None:
    dual = counting(build("residual add"))
    images, _ = batch_for(dual.quantitative, count=COUNT)
    row = dual.gates(images).rows.shape[1] + (4 if directory else 0)
    cache = GateCache(max_bytes=10 * row, directory=directory)
    kept = bind(cache, dual, images)
    kept.of(ALL, images)
    assert torch.equal(kept.of(ALL, images).rows, dual.gates(images).rows)
    assert (cache.hits, cache.misses) == (10, COUNT + COUNT - 10)
    assert cache.nbytes == 10 * row


def test_nothing_is_kept_with_a_budget_of_zero(directory: Path | None) -> None:
    dual = counting(build("residual add"))
    images, _ = batch_for(dual.quantitative, count=COUNT)
    cache = GateCache(max_bytes=0, directory=directory)
    for _ in range(2):
        assert torch.equal(bind(cache, dual, images).of(ALL, images).rows, dual.gates(images).rows)
    assert (cache.hits, cache.nbytes) == (0, 0)
    assert directory is None or not directory.exists()


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes=-1: must be at least 0"):
        GateCache(max_bytes=-1)


def test_views_data_sets_and_precisions_are_kept_apart(directory: Path | None) -> None:
    network = build("residual add")
    dual, (images, _) = DualCopy(network), batch_for(network, count=COUNT)
    cache = GateCache(directory=directory)
    flipped = images.flip(-1)
    plain, view = bind(cache, dual, images), bind(cache, dual, images, view="flipped")
    for _ in range(2):
        assert torch.equal(plain.of(ALL, images).rows, dual.gates(images).rows)
        assert torch.equal(view.of(ALL, flipped).rows, dual.gates(flipped).rows)
        assert torch.equal(bind(cache, dual, images + 1).of(ALL, images + 1).rows, dual.gates(images + 1).rows)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(plain.of(ALL, images).rows, dual.gates(images).rows)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain.of(ALL, last).rows, dual.gates(last).rows)
    assert cache.hits == 4 * COUNT


def test_a_refreshed_structure_has_gates_of_its_own(directory: Path | None) -> None:
    network = build("residual add")
    dual, (images, _) = DualCopy(network), batch_for(network, count=COUNT)
    cache = GateCache(directory=directory)
    before = bind(cache, dual, images).of(ALL, images)
    perturb(dual.quantitative)
    dual.refresh_structure()
    after = bind(cache, dual, images).of(ALL, images)
    assert torch.equal(after.rows, dual.gates(images).rows)
    assert not torch.equal(before.rows, after.rows)
    assert cache.hits == 0


def test_gates_of_an_old_structure_make_room(directory: Path | None) -> None:
    network = build("residual add")
    dual, (images, _) = DualCopy(network), batch_for(network, count=COUNT)
    row = dual.gates(images).rows.shape[1] + (4 if directory else 0)
    cache = GateCache(max_bytes=COUNT * row, directory=directory)
    bind(cache, dual, images).of(ALL, images)
    bind(cache, dual, images + 1).of(ALL, images + 1)  # of the same structure: finds no room, and drives nothing out
    bind(cache, dual, images).of(ALL, images)
    assert cache.hits == COUNT
    perturb(dual.quantitative)
    dual.refresh_structure()
    for _ in range(2):
        bind(cache, dual, images).of(ALL, images)
    assert cache.hits == 2 * COUNT
    if directory is not None:
        assert sum(file.stat().st_size for file in directory.iterdir()) == COUNT * row


def test_structure_after_structure_only_the_last_ones_file_is_open(tmp_path: Path) -> None:
    """What is open cannot be freed on the disk, and a process may have some thousand files open."""
    dual = DualCopy(build("residual add"))
    images, _ = batch_for(dual.quantitative, count=COUNT)
    cache = GateCache(directory=tmp_path)
    sizes = set()
    for _ in range(4):
        perturb(dual.quantitative)
        dual.refresh_structure()
        kept = bind(cache, dual, images)
        gates = kept.of(ALL, images)
        assert same_bits(kept.of(ALL, images).rows, gates.rows)
        sizes.add(cache.nbytes)
    assert len(list(tmp_path.iterdir())) == 4
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line}
    assert len(mapped) == 1
    assert len(sizes) == 1


def test_a_later_process_finds_what_an_earlier_one_kept(tmp_path: Path) -> None:
    network = build("residual add")
    dual, (images, _) = DualCopy(network), batch_for(network, count=COUNT)
    bind(GateCache(directory=tmp_path), dual, images).of(ALL, images)
    later = GateCache(directory=tmp_path)
    kept = bind(later, dual, images)
    for batch in ALL.split(8):
        assert torch.equal(kept.of(batch, images[batch]).rows, dual.gates(images)[batch].rows)
    assert (later.hits, later.misses) == (COUNT - 8, 8)  # the first batch is computed, and compared


#: Fills file after file, each from the last batch to the first, as soon as it is told to begin.
FILL = """
import sys, torch
from tests.gating.test_gate_cache import ALL, fill
made = torch.load(sys.argv[2], weights_only=False)
print("ready", flush=True)
sys.stdin.readline()
fill(*made, sys.argv[1], ALL.flip(0))
"""


def fill(network: nn.Module, images: Tensor, directory: str, order: Tensor) -> None:
    dual = DualCopy(network)
    fresh, cache = dual.gates(images), GateCache(directory=directory)
    for turn in range(60):
        kept = cache.bind(dual, data=f"images {turn}", samples=COUNT)
        for batch in order.split(8):
            assert torch.equal(kept.of(batch, images[batch]).rows, fresh[batch].rows)


def test_two_processes_may_fill_one_file_at_the_same_time(tmp_path: Path) -> None:
    """As actors of Ray do that share a folder: neither ever gets a row that the other has half written."""
    network = build("residual add")
    images, _ = batch_for(network, count=COUNT)
    made, directory = tmp_path / "made.pt", str(tmp_path / "gates")
    torch.save((network, images), made)
    command = [sys.executable, "-c", FILL, directory, str(made)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("begin\n")
        other.stdin.flush()
        fill(network, images, directory, ALL)
        other.communicate()
    assert other.returncode == 0


@pytest.mark.parametrize("harm", ["cut short", "emptied", "a byte turned", "rows swapped", "longer"])
def test_a_damaged_file_is_noticed_and_filled_again(harm: str, tmp_path: Path) -> None:
    network = build("residual add")
    dual, (images, _) = DualCopy(network), batch_for(network, count=COUNT)
    bind(GateCache(directory=tmp_path), dual, images).of(ALL, images)
    (file,) = tmp_path.iterdir()
    content, stride = bytearray(file.read_bytes()), file.stat().st_size // COUNT
    if harm == "cut short":
        del content[len(content) // 2 :]
    elif harm == "emptied":
        content.clear()
    elif harm == "a byte turned":
        content[stride * 20 + 9] ^= 1
    elif harm == "rows swapped":
        content[:stride], content[stride : 2 * stride] = content[stride : 2 * stride], content[:stride]
    else:
        content += b"more"
    file.write_bytes(content)
    later = GateCache(directory=tmp_path)
    kept = bind(later, dual, images)
    for _ in range(2):
        for batch in ALL.split(8):
            assert torch.equal(kept.of(batch, images[batch]).rows, dual.gates(images)[batch].rows)
    assert 8 <= later.misses <= COUNT


def test_a_file_of_other_gates_is_noticed_and_filled_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a machine would see it whose kernels give other bits: the checksums hold, the gates do not."""
    network = build("residual add")
    dual, (images, _) = DualCopy(network), batch_for(network, count=COUNT)
    kept = bind(GateCache(directory=tmp_path), dual, images)
    kept.of(ALL, images + 1)  # wrong on purpose
    later = GateCache(directory=tmp_path)
    assert torch.equal(bind(later, dual, images).of(ALL, images).rows, dual.gates(images).rows)
    assert "hold other gates than are computed here; they are made again" in caplog.text


def test_a_file_that_is_deleted_while_in_use_does_no_harm(tmp_path: Path) -> None:
    network = build("residual add")
    dual, (images, _) = DualCopy(network), batch_for(network, count=COUNT)
    kept = bind(GateCache(directory=tmp_path), dual, images)
    kept.of(ALL, images)
    next(tmp_path.iterdir()).unlink()
    assert torch.equal(kept.of(ALL, images).rows, dual.gates(images).rows)


def test_a_network_that_branches_on_its_batch_is_refused() -> None:
    network = build("data-dependent branch")
    dual = DualCopy(network)
    high, low = torch.full((8, 7), 9.0), torch.full((8, 7), -9.0)
    images = torch.cat([high, low]) * torch.sign(network.a.weight.sum())
    kept = bind(GateCache(), dual, images)
    with pytest.raises(GateMismatchError, match="do without the gate cache"):
        for batch in torch.arange(16).split(8):
            kept.of(batch, images[batch])


def test_a_network_without_gates_has_empty_rows(directory: Path | None) -> None:
    dual = DualCopy(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval())
    images = torch.randn(COUNT, 2, 2)
    kept = bind(GateCache(directory=directory), dual, images)
    for _ in range(2):
        gates = kept.of(ALL, images)
        assert (len(gates), gates.nbytes) == (COUNT, 0)
        dual(images, gates)


def test_the_name_of_a_data_set_says_what_is_in_it() -> None:
    images = torch.randn(6, 1, 4, 4)
    assert digest(images) == digest(images.clone())
    others = [images + 1, images[:5], images.view(6, 1, 2, 8), images.double(), images.flip(0)]
    assert len({digest(images), *map(digest, others)}) == 6


@pytest.mark.parametrize(("name", "epochs"), [("CIFAR ResNet-8", 3), ("pool: nn.MaxPool2d", 2.5)])
def test_training_and_evaluation_give_the_same_numbers_with_kept_gates(
    name: str, epochs: float, directory: Path | None
) -> None:
    network = build(name)
    images, labels = batch_for(network, count=COUNT)
    cache = GateCache(directory=directory)
    settings = TrainingSettings(epochs=epochs, batch_size=8, learning_rate=0.05)
    states, results = [], []
    for kept in (False, True):
        dual = DualCopy(network)
        dual.replace_head(CLASSES)
        gates = bind(cache, dual, images) if kept else None
        trained = train_locally(dual, images, labels, settings, seed=1, gates=gates)
        results.append((trained.loss, evaluate(dual, images, labels, gates=gates)))
        states.append(dual.quantitative_state())
    assert results[0] == results[1]
    assert all(same_bits(states[0][key], states[1][key]) for key in states[0])
    assert cache.hits >= 2 * COUNT

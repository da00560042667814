"""A step of training with cached gates never reads a value back: on an accelerator, that would wait for it.

The exception is an activation whose bound is a tensor, as in `torch.maximum(x, bound)`: its values are looked at.
"""

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fedsq_flwr.gating import DualCopy, GateCache
from fedsq_flwr.learning import TrainingSettings, train_locally
from tests.gating.gated_networks import CLASSES, batch_for, build

#: Operations whose result the CPU has to wait for, or whose shape depends on values.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "_unique2", "item"}


class Waits(TorchDispatchMode):
    """Counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_mask = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
        if name in WAITING or by_mask:
            self.found[f"{name} by a mask" if by_mask else name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("augmentation", ["none", "flip"])
@pytest.mark.parametrize("name", ["CIFAR ResNet-20", "pool: nn.MaxPool2d"])
def test_training_reads_no_value_before_its_end(name: str, augmentation: str) -> None:
    dual = DualCopy(build(name))
    images, _ = batch_for(dual.quantitative, count=16)
    labels = torch.randint(CLASSES, (16,), generator=torch.Generator().manual_seed(0))
    views = {"none": ("", 1), "flip": ("flip", 2)}[augmentation]
    gates = GateCache().bind(dual, data="images", samples=16, view=views[0], views=views[1])
    for view in range(views[1]):  # every gate is cached
        gates.of(slice(None), images.flip(-1) if view else images, torch.full((16,), view))
    counts = []
    for epochs in (1, 3):
        settings = TrainingSettings(epochs=epochs, batch_size=8, learning_rate=0.01, augmentation=augmentation)
        with Waits() as waits:
            train_locally(dual, images, labels, settings, seed=0, gates=gates)
        counts.append(waits.found)
    assert counts[0] == counts[1] == {"_local_scalar_dense": 1}  # the mean loss, once

"""The optimiser is torch's SGD to the bit, without the compiler that torch's class imports."""

import pytest
import torch

from fedsq_flwr.learning.sgd import SGD


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 5e-4])
def test_a_step_is_that_of_torchs_class_to_the_bit(momentum: float, decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((33, 7), (129,), (3, 3, 3), ())
    ours, theirs = ([torch.full(shape, 0.7, requires_grad=True) for shape in shapes] for _ in range(2))
    optimiser = SGD(ours, 0.013, momentum, decay)
    reference = torch.optim.SGD(theirs, 0.013, momentum=momentum, weight_decay=decay)
    for step in range(4):
        for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            gradient = torch.randn(mine.shape, generator=generator)
            rests = place == 1 and step in (0, 2)  # has no gradient at first, and once it has momentum
            mine.grad, other.grad = (None, None) if rests else (gradient.clone(), gradient)
        optimiser.step()
        reference.step()
        assert all(map(torch.equal, ours, theirs))
    optimiser.zero_grad()
    assert all(parameter.grad is None for parameter in ours)

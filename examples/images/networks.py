"""The networks: a small convolutional network without normalization, and Wide ResNets."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from images.data import N_CLASSES, Source
from robust_lr.exceptions import DataError


class SmallCNN(nn.Module):
    """Three 3x3 convolutions of stride 2, of 8, 16 and 32 channels, and a linear layer: images to logits (B, 10).

    It has no normalization, so too high a learning rate breaks it.
    """

    def __init__(self, n_channels: int, side: int) -> None:
        super().__init__()
        channels, left = (n_channels, 8, 16, 32), -(-side // 8)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(channels))
        self.logits = nn.Linear(channels[-1] * left**2, N_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        for convolution in self.convolutions:
            x = functional.relu(convolution(x))
        return self.logits(x.flatten(1))


class Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, added to the block's input."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(n_in), nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(n_out), nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.shortcut = None if n_in == n_out else nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, n_out, H / stride, W / stride)."""
        ready = functional.relu(self.norm1(x))
        carried = x if self.shortcut is None else self.shortcut(ready)
        return carried + self.conv2(functional.relu(self.norm2(self.conv1(ready))))


class WideResNet(nn.Module):
    """WRN-depth-width: images (B, channels, side, side) to logits (B, 10). The depth is 4 + 6n, n blocks a group."""

    def __init__(self, depth: int, width: int, n_channels: int = 3) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6 or width < 1:
            raise DataError(f"a Wide ResNet has a depth of 10, 16, 22, .. and a width >= 1, got {depth}-{width}")
        channels = (16, 16 * width, 32 * width, 64 * width)
        blocks = [
            Block(channels[group] if i == 0 else channels[group + 1], channels[group + 1], 2 if group and i == 0 else 1)
            for group in range(3)
            for i in range((depth - 4) // 6)
        ]
        self.first, self.blocks = nn.Conv2d(n_channels, 16, 3, padding=1, bias=False), nn.Sequential(*blocks)
        self.norm, self.logits = nn.BatchNorm2d(channels[-1]), nn.Linear(channels[-1], N_CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.logits.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        features = functional.relu(self.norm(self.blocks(self.first(images))))
        return self.logits(features.mean((-2, -1)))


class Normalize(nn.Module):
    """Pixels, uint8 (B, side, side, channels), to a network's input: float32 (B, channels, side, side)."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(source.mean))
        self.register_buffer("std", torch.tensor(source.std))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return each channel minus its mean, in units of its standard deviation; channels last in memory."""
        return ((pixels - self.mean) / self.std).permute(0, 3, 1, 2)


def make_network(name: str, n_channels: int, side: int) -> nn.Module:
    """Return a new network.

    Args:
        name: "cnn", or depth and width of a Wide ResNet such as "16-4".
        n_channels, side: of the images.

    Raises:
        DataError: when there is no such network.
    """
    if name == "cnn":
        return SmallCNN(n_channels, side)
    depth, separator, width = name.partition("-")
    if not (separator and depth.isdecimal() and width.isdecimal()):
        raise DataError(f"a network is cnn, or depth-width of a Wide ResNet such as 16-4, got {name!r}")
    return WideResNet(int(depth), int(width), n_channels)


def title(name: str) -> str:
    """Return what a network is called in text."""
    return "small CNN" if name == "cnn" else f"WRN-{name}"


def n_parameters(name: str, source: Source) -> int:
    """Return the number of trained parameters."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make_network(name, source.n_channels, source.side).parameters())


def operations_per_image(name: str, source: Source) -> int:
    """Return the floating-point operations of a training step per image: forward, and twice that backward."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = make_network(name, source.n_channels, source.side)
        network(torch.empty(1, source.n_channels, source.side, source.side))
    return 3 * counter.get_total_flops()

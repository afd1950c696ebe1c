"""Layers that two or more papers share identically, and their weight initialisation."""

from torch import nn


class ResidualBlock(nn.Module):
    """x + IN(conv3(ReLU(IN(conv3(x))))), no activation after the sum: (B, channels, H, W) -> the same shape.

    Instance norm keeps no running statistics and has no affine part, so train and eval mode are the same function.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x):
        return x + self.body(x)


def halving(channels: list[int], kernel: int) -> list[nn.Module]:
    """DCGAN's convolutions of stride 2, from channels[0] to channels[-1]: batch norm in all but the first, leaky ReLU 0.2."""
    layers = []
    for k, (i, o) in enumerate(zip(channels, channels[1:], strict=False)):
        layers += [nn.Conv2d(i, o, kernel, 2, (kernel - 1) // 2), *([nn.BatchNorm2d(o)] if k else []), nn.LeakyReLU(0.2)]
    return layers


def init_normal(module: nn.Module, std: float) -> nn.Module:
    """Every convolution's and linear layer's weight ~ N(0, std^2), bias 0, in place; draws from torch's default
    generator."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(m.weight, 0.0, std)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    return module

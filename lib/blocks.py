"""Layers that two or more papers share identically, and their weight initialisation."""

import torch
import torch.nn.functional as F
from torch import nn

from lib.winograd import Winograd, pays

THIN_INPUTS = 11  # with fewer, above all with 8, the sum in ThinConv2d costs more than its convolution saves


class LeakyReLU(nn.Module):
    """max(x, slope * x), elementwise, for critics that carry a gradient penalty.

    Same function and same gradients as `torch.nn.LeakyReLU`. That one's second derivative is a tensor of zeros which the
    double backward of a gradient penalty still pushes through every layer below; a product with a constant has none.
    """

    def __init__(self, slope: float):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        one, slope = torch.ones((), dtype=x.dtype, device=x.device), torch.full((), self.slope, dtype=x.dtype, device=x.device)
        return x * torch.where(x.detach() > 0, one, slope)


class Conv3x3(nn.Conv2d):
    """`nn.Conv2d(i, o, 3, 1, 1)`, by Winograd's algorithm where that is faster: (B, i, H, W) -> (B, o, H, W).

    Not for critics: there it has no second derivatives, which a gradient penalty needs.
    """

    def __init__(self, i: int, o: int, bias: bool = True):
        super().__init__(i, o, 3, 1, 1, bias=bias)

    def forward(self, x):
        if not pays(x, self.weight):
            return super().forward(x)
        y = Winograd.apply(x, self.weight)
        return y if self.bias is None else y + self.bias[:, None, None]


class ThinConv2d(nn.Conv2d):
    """`nn.Conv2d(i, o, k, 1, k // 2)` for an odd k and few outputs, such as colours: (B, i, H, W) -> (B, o, H, W).

    A processor computes 8 outputs at once and, with 1 or 3, idles. So there each row of the kernel gets an output of its own; the k of them are
    shifted by their rows and added.
    """

    def __init__(self, i: int, o: int, k: int, bias: bool = True):
        super().__init__(i, o, k, 1, k // 2, bias=bias)

    def forward(self, x):
        (o, i, k, _), (n, _, h, w) = self.weight.shape, x.shape
        if x.device.type != "cpu" or i < THIN_INPUTS:
            return super().forward(x)
        rows = F.conv2d(x, self.weight.permute(2, 0, 1, 3).reshape(k * o, i, 1, k), padding=(0, k // 2)).view(n, k, o, h, w)
        y = sum(F.pad(row, (0, 0, k // 2 - r, r - k // 2)) for r, row in enumerate(rows.unbind(1)))
        return y if self.bias is None else y + self.bias[:, None, None]


class ResidualBlock(nn.Module):
    """x + IN(conv3(ReLU(IN(conv3(x))))), no activation after the sum: (B, channels, H, W) -> the same shape.

    Instance norm keeps no running statistics and has no affine part, so train and eval mode are the same function.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            Conv3x3(channels, channels),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            Conv3x3(channels, channels),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x):
        return x + self.body(x)


def init_normal(module: nn.Module, std: float) -> nn.Module:
    """Every convolution's and linear layer's weight ~ N(0, std^2), bias 0, in place; draws from torch's default generator."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(m.weight, 0.0, std)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    return module

"""ResNet-18: the second attribute judge, and the face recognition network of SaGAN's verification experiments."""

from itertools import pairwise

import numpy as np
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Pre-activation residual block (He et al. 2016, identity mappings): (B, i, H, H) -> (B, o, H/stride, H/stride).

    The shortcut has no weights: average pooling, and zeros for the new channels. (A 1x1 convolution does as well, but
    the gradient of its weights was seen to hang for ever in PyTorch 2.14 with two threads on a CPU without AVX-512.)
    """

    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.stride, self.new = stride, o - i

    def forward(self, x):
        h = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        return h + F.pad(x, (0, 0, 0, 0, 0, self.new))


class ResNet18(nn.Module):
    """Pre-activation ResNet-18 of a given width (64 is the usual one). (B, 3, S, S) in [-1, 1] -> features (B, 8
    width).

    The stem's stride brings any S from 32 on to the 32x32 .. 63x63 that four stages expect.
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        stem = 2 ** max(0, int(np.log2(size / 32)))
        kernel = 2 * int(np.log2(stem)) + 3
        first = nn.Conv2d(3, width, kernel, stem, kernel // 2, bias=False)
        channels = [width, *(width * 2**stage for stage in range(4) for _ in range(2))]
        blocks = [Block(i, o, o // i) for i, o in pairwise(channels)]  # the channels double where the side halves
        self.features = channels[-1]
        last = nn.BatchNorm2d(self.features), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.body = nn.Sequential(first, *blocks, *last)

    def forward(self, x):
        return self.body(x)

"""A start for short trainings: a generator that copies its input."""

import torch
from torch import nn


@torch.no_grad()
def start_as_copy(net: nn.Sequential, noise: float = 0.1) -> None:
    """Set the weights of an image-to-image network so that it nearly returns its input, in place.

    net: a k x k convolution of the image (its first three input planes), n convolutions 4x4 of stride 2, residual blocks whose last layer is an
    instance norm with affine part, n transposed convolutions 4x4 of stride 2, a k x k convolution to three planes and a tanh; ReLU between
    them, no bias and no normalisation outside the blocks (which would take out each colour's mean). The outermost layer must have 6 * 2^n
    channels at least: bright and dark part of three colours, whose pixels the strided layers spread over channels. All other weights stay
    as they are, times `noise`; the blocks start as the identity.
    """
    convs = [m for m in net if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    n = (len(convs) - 2) // 2
    first, last = convs[0], convs[-1]
    if first.out_channels < 6 * 2**n:
        raise ValueError(f"a copy needs {6 * 2**n} channels in the outermost layer, not {first.out_channels}")
    for conv in convs:
        conv.weight.mul_(noise)
    middle = first.kernel_size[0] // 2
    for k in range(6):
        first.weight[k, k % 3, middle, middle] += 1 if k < 3 else -1
        last.weight[k % 3, k, middle, middle] += 1.5 if k < 3 else -1.5  # tanh flattens what is bright or dark: 1.5 is nearest to a copy
    for i, (down, up) in enumerate(zip(convs[1 : n + 1], reversed(convs[n + 1 : -1]), strict=True)):
        for k in range(6 * 4**i):
            for phase in range(4):
                at = (4 * k + phase, k, 1 + phase // 2, 1 + phase % 2)  # pixel (2r + phase // 2, 2c + phase % 2) to and from pixel (r, c)
                down.weight[at] += 1
                up.weight[at] += 1
    for block in net:
        if hasattr(block, "body"):
            nn.init.zeros_(block.body[-1].weight)

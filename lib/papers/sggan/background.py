"""How alike are two small corners of background: three measures of crops that are too small for standard MS-SSIM.

Standard MS-SSIM has five scales and an 11x11 window, for which the smaller side must have 161 pixels; of a 10x10 crop not even the first scale can
be computed. Images are (B, 3, S, S) in [-1, 1] and compared in 0..255. Every measure is (B,) float64, one value per image.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales: Wang, Simoncelli, Bovik 2003
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
WINDOW, SIGMA = 11, 1.5


def corner(x: Tensor, side: int) -> Tensor:
    """The top-left side x side pixels."""
    return x[..., :side, :side]


def _bytes(x: Tensor) -> Tensor:
    """(B, 3, S, S) in [-1, 1] -> (3 B, 1, S, S) float64 in 0..255, not rounded: one picture per colour."""
    return ((x.double() + 1) * 127.5).flatten(0, 1)[:, None]


def _similarity(a: Tensor, b: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM and mean contrast-structure term of each picture (P, 1, S, S), over the places where the whole window fits."""

    def blur(t):
        return F.conv2d(t, kernel)

    mean_a, mean_b = blur(a), blur(b)
    cov = blur(a * b) - mean_a * mean_b
    spread = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    cs = (2 * cov + C2) / (spread + C2)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return (luminance * cs).mean((1, 2, 3)), cs.mean((1, 2, 3))


def _gaussian(side: int) -> Tensor:
    """The window that fits a picture of that side: at most 11x11, its sigma shrunk in proportion. (1, 1, k, k), sums to 1."""
    k = min(WINDOW, side)
    place = torch.arange(k, dtype=torch.float64) - (k - 1) / 2
    line = torch.exp(-(place**2) / (2 * (SIGMA * k / WINDOW) ** 2))
    return (line[:, None] * line / line.sum() ** 2)[None, None]


def msssim_adapt(a: Tensor, b: Tensor) -> np.ndarray:
    """(B,) MS-SSIM with windows that shrink with the picture: definition A.

    Five scales; at each the window is min(11, side) wide, with sigma 1.5 times its share of 11, and only whole windows count. Between scales
    2x2 means, an odd last row or column repeated. Per colour: product of the contrast terms of scales 1-4 (negative ones count as 0) and of the
    SSIM of scale 5, each to the power of its weight; then the mean of the three colours. On 10x10 the scales have sides 10, 5, 3, 2, 1, so that the
    last one sees little but the mean colour. Identical crops give 1.
    """
    one, two = _bytes(a), _bytes(b)
    product = one.new_ones(len(one))
    for scale, weight in enumerate(WEIGHTS):
        ssim, cs = _similarity(one, two, _gaussian(one.shape[-1]))
        product = product * (ssim if scale == len(WEIGHTS) - 1 else cs).clamp_min(0) ** weight
        odd = one.shape[-1] % 2
        one, two = (F.avg_pool2d(F.pad(t, (0, odd, 0, odd), mode="replicate"), 2) for t in (one, two))
    return product.view(len(a), 3).mean(1).numpy()


def ssim7(a: Tensor, b: Tensor) -> np.ndarray:
    """(B,) SSIM of one scale with a uniform 7x7 window (population variances), mean over places and colours: definition B.

    Raises ValueError for a crop below 7x7."""
    if a.shape[-1] < 7:
        raise ValueError(f"ssim7: a crop of {a.shape[-1]} pixels is smaller than the window. Use msssim_adapt or a larger crop.")
    ssim, _ = _similarity(_bytes(a), _bytes(b), torch.full((1, 1, 7, 7), 1 / 49, dtype=torch.float64))
    return ssim.view(len(a), 3).mean(1).numpy()


def crop_l1(a: Tensor, b: Tensor) -> np.ndarray:
    """(B,) mean absolute difference over pixels and colours in 0..255: definition C."""
    return (_bytes(a) - _bytes(b)).abs().view(len(a), -1).mean(1).numpy()

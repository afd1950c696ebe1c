"""A rectangular hole in a square picture, and the composite of a picture with what fills its hole."""

from dataclasses import dataclass
from math import log10

import torch
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """The hole: rows [top, bottom) and columns [left, right) of a size x size picture."""

    top: int
    bottom: int
    left: int
    right: int
    size: int

    def mask(self, like: Tensor | None = None) -> Tensor:
        """(1, 1, S, S): 1 in the hole, 0 elsewhere, of the type and device of `like` (float32 on the CPU if None)."""
        m = torch.zeros(1, 1, self.size, self.size, dtype=getattr(like, "dtype", None), device=getattr(like, "device", None))
        self.crop(m).fill_(1)
        return m

    def crop(self, x: Tensor) -> Tensor:
        """(B, C, S, S) -> the hole's pixels (B, C, h, w), a view."""
        return x[..., self.top : self.bottom, self.left : self.right]

    @property
    def share(self) -> float:
        """The hole's share of the picture."""
        return (self.bottom - self.top) * (self.right - self.left) / self.size**2

    @property
    def offset_db(self) -> float:
        """By how many dB the PSNR of a composite exceeds that of its hole alone: 10 log10(1 / share), the same for every picture."""
        return -10 * log10(self.share)

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) in pixels, where the pixel of row i, column j covers [j, j + 1] x [i, i + 1]."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


def composite(x: Tensor, filled: Tensor, box: Box) -> Tensor:
    """x outside the hole, bit for bit; `filled` inside. Gradients reach `filled` in the hole alone."""
    return torch.where(box.mask(x) > 0, filled, x)

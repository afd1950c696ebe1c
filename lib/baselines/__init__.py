"""Methods that the papers compare with, one file each, with the plain names of `lib.papers`.

Each is trained as any method is (`lib.training.models`), on the faces and the split of the paper that compares with it. Every file cites its
paper and the public code that the details come from. What is claimed about them stands in the papers that compare with them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, H, H), [-1, 1], the edited face. mask: None, these methods have none."""

    image: Tensor
    mask: None = None


def halves(batch) -> tuple[Tensor, Tensor]:
    """The faces of a balanced batch without the attribute, which come first, and those with it."""
    without, having = batch.x.chunk(2)
    return without, having


def one_of_two(x: Tensor, target: Tensor | float, add: Callable[[Tensor], Tensor], remove: Callable[[Tensor], Tensor]) -> Tensor:
    """add(x) where target is 1, remove(x) where it is 0: for methods with one network per direction. Between, the share |2 target - 1| of
    the way from x (a blend of pixels: such methods have no strength). x: (B, 3, H, H); target: number or (B, 1) in [0, 1]."""
    t = torch.as_tensor(target, dtype=x.dtype, device=x.device).expand(len(x), 1)[:, :, None, None]
    up, strength = t > 0.5, (2 * t - 1).abs()
    if bool(up.all()) or not bool(up.any()):  # one direction only: the other network need not run
        y = add(x) if bool(up.all()) else remove(x)
    else:
        y = torch.where(up, add(x), remove(x))
    return torch.lerp(x, y, strength)

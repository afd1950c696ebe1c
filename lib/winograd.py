"""Winograd's algorithm F(4x4, 3x3) for 3x3 convolutions on a processor: four times fewer multiplications, the same result up to rounding.

Each 4x4 pixels of the output are y = A^T [(G w) * (B^T x)], with w the kernel, x the 6x6 tile of the input around them, all of them flat; the product
is elementwise in the 36 entries, and over the channels one matrix product for each of them.
A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4.3.
"""

from functools import lru_cache
from threading import get_ident

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS, PIXELS = 128, 1024  # with fewer of either, on one side or in a batch, the transforms cost what the products save


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution of x with padding 1 can be computed so, and is then faster than torch's own."""
    possible = x.device.type == "cpu" and x.dtype == weight.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    whole = x.shape[2] % 4 == 0 and x.shape[3] % 4 == 0
    return possible and whole and min(weight.shape[:2]) >= CHANNELS and x.numel() // x.shape[1] >= PIXELS


@lru_cache
def _transforms(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A^T (16, 36), B^T (36, 36), G (36, 9)."""
    out = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    tile = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
    kernel = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
    A, B, G = torch.tensor(out).double(), torch.tensor(tile).double(), torch.tensor(kernel).double() / 24
    return tuple(torch.kron(m, m).to(dtype) for m in (A, B, G))


def _tiles(x: Tensor) -> Tensor:
    """B^T x: (n, c, h, w) -> (36, n h w / 16, c), of the 6x6 tiles around each 4x4 pixels. Channels innermost, so that all copies are long."""
    tiles = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).unfold(1, 6, 4).unfold(2, 6, 4)
    return (_transforms(x.dtype)[1] @ tiles.permute(4, 5, 0, 1, 2, 3).reshape(36, -1)).view(36, -1, x.shape[1])


@lru_cache(maxsize=4)
def _place(dtype: torch.dtype, kernels: int, thread: int) -> Tensor:
    """Where a thread's transformed kernels lie until its next ones: new memory would cost more than the transform."""
    return torch.empty(36, kernels, dtype=dtype)


def _kernels(w: Tensor, turned: bool = False) -> Tensor:
    """G w: (o, i, 3, 3) -> (36, o, i); of the kernels turned by 180 degrees, if asked for."""
    G, place = _transforms(w.dtype)[2], _place(w.dtype, w.shape[:2].numel(), get_ident())
    return torch.mm(G.flip(1) if turned else G, w.reshape(-1, 9).T, out=place).view(36, *w.shape[:2])


def _image(products: Tensor, n: int, h: int, w: int) -> Tensor:
    """A^T of the products: (36, n h w / 16, c) -> (n, c, h, w)."""
    y = (_transforms(products.dtype)[0] @ products.reshape(36, -1)).view(4, 4, n, h // 4, w // 4, -1)
    return y.permute(2, 5, 3, 0, 4, 1).reshape(n, -1, h, w)


class Winograd(torch.autograd.Function):
    """(x, weight) -> conv2d(x, weight, padding=1) for 3x3 kernels and sides that 4 divides. Has first derivatives alone: a second one raises."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        n, _, h, w = x.shape
        return _image(_tiles(x) @ _kernels(weight).transpose(1, 2), n, h, w)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """For x the same convolution, of the gradient with the turned kernels; for the weight each transform's transpose, in reverse."""
        (x, weight), (n, o, h, w) = ctx.saved_tensors, grad.shape
        to_x = to_weight = None
        if ctx.needs_input_grad[0]:
            to_x = _image(_tiles(grad) @ _kernels(weight, turned=True), n, h, w)
        if ctx.needs_input_grad[1]:
            A, _, G = _transforms(grad.dtype)
            pixels = grad.reshape(n, o, h // 4, 4, w // 4, 4).permute(3, 5, 0, 2, 4, 1).reshape(16, -1)
            products = (A.T @ pixels).view(36, -1, o)
            to_weight = (G.T @ (products.transpose(1, 2) @ _tiles(x)).view(36, -1)).T.reshape(weight.shape)
        return to_x, to_weight

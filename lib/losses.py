"""Loss terms that several papers cite: pure functions of tensors. Each says how it reduces."""

from collections.abc import Callable

import torch
from torch import Tensor


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference over batch, channels and pixels (not a sum: a sum at 128x128 would be 49,152 times
    larger)."""
    return (a - b).abs().mean()


def interpolate(real: Tensor, fake: Tensor, rng: torch.Generator | None) -> Tensor:
    """eps * real + (1 - eps) * fake with one eps ~ U(0, 1) per sample: (B, C, H, W) -> the same shape, detached."""
    eps = torch.rand(real.shape[0], 1, 1, 1, device=real.device, dtype=real.dtype, generator=rng)
    return (eps * real + (1 - eps) * fake).detach()


def gradient_penalty(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """E[(||grad_x D(x)||_2 - 1)^2], mean over the batch (WGAN-GP, Gulrajani et al. 2017, without its weight).

    x: (B, C, H, W), the interpolated images. A critic with several outputs per image contributes the gradient of
    their *sum* (StarGAN's and its descendants' convention: with P patches P times the gradient of their mean). Keeps
    the graph, so that the result can be minimised over the critic's weights. """
    x = x.detach().requires_grad_(True)
    (grad,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (grad.flatten(1).norm(2, dim=1) - 1).square().mean()

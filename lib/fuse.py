"""Networks compiled into few kernels, for use inside a recorded step: with `STUDY_STEP=compiled` on a GPU, and only where that is faster there.

What is compiled (torch.compile) are the networks that hold instance norms, the generators. Critics have none in these papers, and a gradient penalty
differentiates them twice, which a compiled function does not allow. On a processor compiled generators were slower than plain ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

stock_norm = F.instance_norm


def instance_norm(
    x: Tensor, running_mean=None, running_var=None, weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """`torch.nn.functional.instance_norm` in single steps, which a compiler fuses with what stands around them and which keep the order of x in
    memory: torch's own copies pictures with the colours innermost to and fro. x (B, C, H, W); statistics in float32 at least, the result as x is.
    With running statistics it is torch's own."""
    if running_mean is not None or not use_input_stats or x.dim() != 4:
        return stock_norm(x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    h = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    var, mean = torch.var_mean(h, (2, 3), correction=0, keepdim=True)
    h = (h - mean) * torch.rsqrt(var + eps)
    if weight is not None:
        h = h * weight[:, None, None].to(h.dtype)
    if bias is not None:
        h = h + bias[:, None, None].to(h.dtype)
    return h.to(x.dtype)


def with_norms(modules: dict[str, nn.Module]) -> list[nn.Module]:
    """The networks that hold an instance norm, and their sequences that do: losses call either."""

    def holds(module: nn.Module) -> bool:
        return any(isinstance(m, nn.InstanceNorm2d) for m in module.modules())

    parts = [m for net in modules.values() for m in net.modules() if m is net or isinstance(m, nn.Sequential)]
    return [m for m in parts if holds(m)]


def _innermost(module: nn.Module, args: tuple) -> tuple:
    """The arguments, pictures with the colours innermost in memory: a GPU's convolutions in bf16 want them so."""
    return tuple(a.contiguous(memory_format=torch.channels_last) if isinstance(a, Tensor) and a.dim() == 4 else a for a in args)


@contextmanager
def fused(modules: dict[str, nn.Module], backend: str = "inductor") -> Iterator[None]:
    """Inside it those networks are compiled, have fusible instance norms and are given pictures with the colours innermost; weights, optimisers and
    checkpoints know nothing of it. Raises RuntimeError (torch's own errors are of that kind) where a call cannot be compiled."""
    parts, hooks = with_norms(modules), []
    if not parts:
        raise RuntimeError("no network holds an instance norm")
    try:
        for part in parts:
            part.compile(backend=backend, dynamic=False)
            hooks.append(part.register_forward_pre_hook(_innermost))
        with patch.object(F, "instance_norm", instance_norm):
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for part in parts:
            part._compiled_call_impl = None  # what nn.Module.compile sets; there is no public way back

"""How exactly a training computes: in float32, or its convolutions and matrix products in bf16.

In bf16 (torch.autocast) the weights, their gradients, the optimiser's memory, the statistics of norms and every sum,
mean and loss stay float32. What runs so is the loss of an update, not its backward pass, which repeats the kinds of
the numbers it finds. Edits and their evaluation are float32."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lib.training.config import require

PRECISIONS = ("auto", "float32", "bf16")
# autocast leaves some of these as they are, others on one kind of device
EXACT = {getattr(where, name) for where in (torch, Tensor) for name in ("mean", "sum", "std", "var", "norm")}
EXACT |= {F.normalize, F.softplus, F.softmax, F.log_softmax, F.cross_entropy, F.binary_cross_entropy_with_logits, F.mse_loss, F.l1_loss}


def resolve(precision: str, device: str) -> str:
    """`auto` becomes bf16 where the processor (AVX512-BF16, AMX) or the GPU (compute capability 8) has units for it,
    else float32. Raises ParameterError for a precision that there is not."""
    require(precision in PRECISIONS, "precision", precision, f"one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float32"
    return "bf16" if "avx512_bf16" in cpuinfo() or "amx_bf16" in cpuinfo() else "float32"


def cpuinfo() -> str:
    """What Linux says of the processor; nothing elsewhere."""
    file = Path("/proc/cpuinfo")
    return file.read_text() if file.exists() else ""


class Float32Sums(TorchFunctionMode):
    """Inside it reductions and losses take bf16 numbers as float32, and `torch.autograd.grad` runs without autocast,
    as `backward` does. Norms have statistics of float32 on a GPU; on a processor instance norm has them as a group norm
    of one channel a group, whose kernel is several times faster, too."""

    def __init__(self, device: str):
        super().__init__()
        self.device = device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.autograd.grad:
            with torch.autocast(self.device, enabled=False):
                return func(*args, **kwargs)
        if func is F.instance_norm and self.device == "cpu" and args[0].dtype == torch.bfloat16:
            x = args[0].contiguous()  # PyTorch hands all but the input on by name; no norm of the study keeps running statistics
            return F.group_norm(x, x.shape[1], kwargs["weight"], kwargs["bias"], kwargs["eps"])
        if func in EXACT:
            args = [a.float() if isinstance(a, Tensor) and a.dtype == torch.bfloat16 else a for a in args]
        return func(*args, **kwargs)


def in_bf16(loss: Callable, device: str) -> Callable:
    """The loss of an update, computed in bf16 on a kind of device. No rounded weights are kept between their uses: one
    made without gradient must not serve where a gradient is wanted, nor one made outside a recorded step within it."""

    def of_batch(nets, batch, cfg):
        with torch.autocast(device, torch.bfloat16, cache_enabled=False), Float32Sums(device):
            total, parts = loss(nets, batch, cfg)
        return total.float(), parts

    return of_batch


def at(stage, precision: str, device: torch.device):
    """A stage of training with its updates in this precision."""
    if precision == "float32":
        return stage
    return replace(stage, updates=tuple(replace(u, loss=in_bf16(u.loss, device.type)) for u in stage.updates))

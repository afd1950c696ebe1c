"""Networks as tables, read off the modules: every shape, kernel, stride and count is measured, none is typed."""

from collections.abc import Callable

import pandas as pd
import torch
from torch import nn

LAYERS = {nn.Conv2d: "conv", nn.ConvTranspose2d: "deconv", nn.Linear: "fully connected", nn.Upsample: "upsample"}


@torch.no_grad()
def layer_table(call: Callable[[], object], net: nn.Module, blocks: tuple[type, ...] = ()) -> pd.DataFrame:
    """The layers of `net` in the order in which `call()` runs them: name in the module, kind, kernel, stride, output
    shape (C x H x W), parameters.

    Convolutions, linear layers and enlargements are a line each; so is each module of a type in `blocks`, with all
    inside it.
    """
    rows, hooks, inside = [], [], {id(c) for m in net.modules() if isinstance(m, blocks) for c in m.modules() if c is not m}
    for name, module in net.named_modules():
        if not isinstance(module, (*LAYERS, *blocks)) or id(module) in inside:
            continue

        def ran(m: nn.Module, _, out: torch.Tensor, name: str = name) -> None:
            k, s = getattr(m, "kernel_size", None), getattr(m, "stride", None)
            kernel = f"{k[0]}x{k[1]}" + (f", dilation {m.dilation[0]}" if m.dilation[0] > 1 else "") if k else ""
            stride = f"1/{s[0]}" if isinstance(m, nn.ConvTranspose2d) else str(s[0]) if s else ""
            shape = " x ".join(map(str, out.shape[1:]))
            rows.append((name, LAYERS.get(type(m), type(m).__name__), kernel, stride, shape, sum(p.numel() for p in m.parameters())))

        hooks.append(module.register_forward_hook(ran))
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return pd.DataFrame(rows, columns=["name", "kind", "kernel", "stride", "output", "parameters"])

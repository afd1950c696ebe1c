"""Drawings of networks, made from the modules: every shape, kernel, stride and dilation is read off, none is typed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class Layer:
    """One convolution, enlargement or block as it ran: what it does ('3x3 /2'), and the shape (C, H, W) that it left; or what the first was given."""

    what: str
    shape: tuple[int, int, int]


def words(m: nn.Module) -> str:
    """A convolution as kernel, stride (/2, or x2 where it enlarges) and dilation; an enlargement alone as x2; another module as a block with the
    dilations inside it."""
    if isinstance(m, nn.Upsample):
        return f"x{m.scale_factor:g}"
    if not isinstance(m, CONVOLUTIONS):
        inside = [c.dilation[0] for c in m.modules() if isinstance(c, CONVOLUTIONS)]
        return "block" + (f" d{max(inside)}" if max(inside, default=1) > 1 else "")
    sign = "x" if isinstance(m, nn.ConvTranspose2d) else "/"
    stride = f" {sign}{m.stride[0]}" if m.stride[0] > 1 else ""
    return f"{m.kernel_size[0]}x{m.kernel_size[1]}{stride}" + (f" d{m.dilation[0]}" if m.dilation[0] > 1 else "")


@torch.no_grad()
def trace(call: Callable[[], object], *nets: nn.Module, blocks: tuple[type, ...] = (), given: str = "") -> list[Layer]:
    """The layers of `nets` in the order in which `call()` runs them: their convolutions and enlargements, and the modules of type `blocks` each as
    one layer. given: before them, under this name, what the first of them is given."""
    layers, hooks = [], []

    def ran(m: nn.Module, inputs: tuple, out: Tensor) -> None:
        if given and not layers:
            layers.append(Layer(given, tuple(inputs[0].shape[1:])))
        layers.append(Layer(words(m), tuple(out.shape[1:])))

    def attach(m: nn.Module) -> None:
        if isinstance(m, (*CONVOLUTIONS, nn.Upsample, *blocks)):
            hooks.append(m.register_forward_hook(ran))
            return
        for child in m.children():
            attach(child)

    for net in nets:
        attach(net)
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return layers


def size_of(x: Tensor) -> str:
    """A batch's shape without the batch, as drawings write it: '3 x 64 x 64'."""
    return " x ".join(str(n) for n in x.shape[1:])


def bars(lanes: dict[str, list[Layer]], title: str) -> Figure:
    """Lanes of bars, one a layer: as high as its map (logarithmic), as wide as its channels (logarithmic), with its kernel above and
    channels x height below. The key of a lane is written at its left."""
    longest = max(len(layers) for layers in lanes.values())
    figure = Figure(figsize=(1.6 + 0.62 * longest, 1.85 * len(lanes) + 0.4), layout="constrained")
    axis = figure.subplots()
    for row, (name, layers) in enumerate(lanes.items()):
        middle = -3.2 * row
        axis.text(-0.5, middle, name, ha="right", va="center", fontsize=9)
        for k, layer in enumerate(layers):
            channels, height, _ = layer.shape
            tall, wide = 0.25 + 0.25 * torch.log2(torch.tensor(float(height))).item(), 0.12 + 0.07 * torch.log2(torch.tensor(float(channels))).item()
            axis.add_patch(Rectangle((k - wide / 2, middle - tall / 2), wide, tall, facecolor="#56b4e9", edgecolor="#1f4e79", lw=0.8))
            axis.text(k, middle + tall / 2 + 0.08, layer.what.replace(" ", "\n"), ha="center", va="bottom", fontsize=6.5)
            axis.text(k, middle - tall / 2 - 0.08, f"{channels}\nx{height}", ha="center", va="top", fontsize=6.5)
            if k:
                axis.annotate("", (k - wide / 2, middle), (k - 1 + 0.3, middle), arrowprops={"arrowstyle": "-|>", "lw": 0.7, "color": "0.4"})
    axis.set(xlim=(-0.6, longest - 0.4), ylim=(-3.2 * len(lanes) + 1.2, 2.0))
    axis.set_title(title, fontsize=10)
    axis.axis("off")
    return figure


def flow(nodes: dict[str, tuple[float, float, str]], arrows: list[tuple[str, str, str]], title: str) -> Figure:
    """Boxes and arrows. nodes: name -> (x, y, text) in steps of one box; arrows: (from, to, label)."""
    xs, ys = zip(*[(x, y) for x, y, _ in nodes.values()], strict=True)
    figure = Figure(figsize=(1.75 * (max(xs) - min(xs) + 1), 1.15 * (max(ys) - min(ys) + 1) + 0.4), layout="constrained")
    axis = figure.subplots()
    for name, (x, y, text) in nodes.items():
        network = name.isupper() or name.rstrip("'").isupper()
        box = FancyBboxPatch((x - 0.36, y - 0.24), 0.72, 0.48, boxstyle="round,pad=0.03", fc="#ffe8b3" if network else "#e8f1fa", ec="0.3", lw=0.8)
        axis.add_patch(box)
        axis.text(x, y, text, ha="center", va="center", fontsize=8)
    for start, end, label in arrows:
        (x0, y0, _), (x1, y1, _) = nodes[start], nodes[end]
        across = abs(x1 - x0) >= abs(y1 - y0)
        side = ((0.4 if x1 > x0 else -0.4), 0) if across else (0, (0.28 if y1 > y0 else -0.28))
        tail, head = (x0 + side[0], y0 + side[1]), (x1 - side[0], y1 - side[1])
        axis.annotate("", head, tail, arrowprops={"arrowstyle": "-|>", "lw": 1.0, "color": "0.25", "shrinkA": 0, "shrinkB": 0})
        above = 0.29 if across else 0.06  # a label is wider than the gap between two boxes
        axis.text((tail[0] + head[0]) / 2 + 0.03, (tail[1] + head[1]) / 2 + above, label, fontsize=7, ha="center", va="bottom")
    axis.set(xlim=(min(xs) - 0.55, max(xs) + 0.55), ylim=(min(ys) - 0.45, max(ys) + 0.45))
    axis.set_title(title, fontsize=10)
    axis.axis("off")
    return figure

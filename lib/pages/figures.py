"""Figures: curves, grids of edits, and their display with alternative text. Each takes tensors or frames and returns a Figure."""

import base64
import io
from dataclasses import replace
from itertools import product

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from lib.evaluation.measures import DIRECTIONS, Edited

matplotlib.rcParams["svg.hashsalt"] = "study"


def pixels(x: Tensor) -> np.ndarray:
    """(B, C, H, W) in [-1, 1] -> (B, H, W, 3) uint8; one channel becomes grey."""
    x = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def mask_pixels(b: Tensor) -> np.ndarray:
    """A mask (B, 1, H, W) in [0, 1] as grey, linear, never stretched: a weak mask must look weak."""
    return pixels(2 * b - 1)


def residual_pixels(x: Tensor, y: Tensor) -> np.ndarray:
    """The residual y - x as signed grey, 0.5 + 0.25 (y - x) on the [0, 1] scale: mid-grey where nothing changed, the same scale everywhere."""
    return pixels((y - x) / 2)


def montage(rows: list[tuple[str, list[np.ndarray]]], columns: list[str], inch: float = 0.78) -> Figure:
    """Rows of equally large (H, W, 3) uint8 pictures with a label at the left of each row and above each column; `inch` is a picture's width.

    All pictures are one image on one axis: an axis for each would take a hundred times as long to lay out.
    """
    (high, wide), n = rows[0][1][0].shape[:2], max(len(pictures) for _, pictures in rows)
    gap = max(1, wide // 32)
    down, right = high + gap, wide + gap
    canvas = np.full((down * len(rows) - gap, right * n - gap, 3), 255, np.uint8)
    for i, (_, pictures) in enumerate(rows):
        for k, picture in enumerate(pictures):
            canvas[i * down : i * down + high, k * right : k * right + wide] = picture
    lines = max((label.count("\n") + 1 for label in columns), default=1)
    left, top, edge = 1.25, 0.18 + 0.12 * lines, 0.06  # inches for the labels and around
    width, height = left + inch * n + edge, top + inch * len(rows) * high / wide + edge
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((left / width, edge / height, 1 - (left + edge) / width, 1 - (top + edge) / height))
    axis.imshow(canvas, interpolation="nearest", aspect="auto")
    axis.spines[:].set_visible(False)
    axis.set_yticks([i * down + high / 2 for i in range(len(rows))], [label for label, _ in rows], fontsize=8)
    axis.set_xticks([k * right + wide / 2 for k in range(n)], [*columns[:n], *[""] * (n - len(columns))], fontsize=8)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    return figure


def pictures_of(figure: Figure, size: int) -> list[list[np.ndarray]]:
    """The pictures of a `montage` again, row by row, of `size` pixels a side; places that hold none are white."""
    canvas, step = figure.axes[0].images[0].get_array(), size + max(1, size // 32)
    return [[canvas[i : i + size, k : k + size] for k in range(0, canvas.shape[1], step)] for i in range(0, canvas.shape[0], step)]


def _lines(e: Edited, k: int) -> list[list[np.ndarray]]:
    """Input, edited, mask, residual (and, where known, truth) of the first k test faces of one direction."""
    x, y = e.x[:k], e.y[:k]
    lines = [pixels(x), pixels(y)] + ([mask_pixels(e.mask[:k])] if e.mask is not None else []) + [residual_pixels(x, y)]
    return [list(line) for line in lines + ([pixels(e.truth[:k])] if e.truth is not None else [])]


def edit_grid(edits: dict[tuple[str, int], Edited], k: int = 4) -> Figure:
    """Per attribute a block of rows input, edited, mask, residual (and exact counterfactual on synthetic faces), k faces given the
    attribute and k relieved of it: the first of the seeded test choice, not picked by eye."""
    rows = []
    for a in dict.fromkeys(a for a, _ in edits):
        blocks = [_lines(edits[a, t], k) for t, _ in DIRECTIONS]
        first = edits[a, 1]
        names = ["input", "edited"] + (["mask"] if first.mask is not None else []) + ["residual"] + (["truth"] if first.truth is not None else [])
        short = a.replace("_", " ")
        for i, name in enumerate(names):
            rows.append((f"{short}\n{name}" if i == 0 else name, [p for block in blocks for p in block[i]]))
    return montage(rows, [word for word in ("add", "remove") for _ in range(k)])


def worst(edits: dict[tuple[str, int], Edited], k: int = 4) -> Figure:
    """The k edits of each direction that changed most outside the region: what can go wrong, beside the seeded choice."""
    out = {}
    for key, e in edits.items():
        order = torch.argsort(((e.y - e.x).abs().mean(1, keepdim=True) * ~e.region).flatten(1).sum(1), descending=True)[:k]
        out[key] = replace(e, x=e.x[order], y=e.y[order], region=e.region[order], index=e.index[order.numpy()], mask=None, truth=None)
    return edit_grid(out, k)


def curves(history: pd.DataFrame, groups: dict[str, list[str]]) -> Figure:
    """history.csv as panels: one per group of columns, a colour per stage, a line style per column (mean over 5 logged rows)."""
    stages = list(dict.fromkeys(history["stage"]))
    colours = dict(zip(stages, sns.color_palette("colorblind", len(stages)), strict=True))
    styles = {"-": "solid", "--": "dashed", ":": "dotted"}
    rows = -(-len(groups) // 2)
    figure = Figure(figsize=(8.6, 2.7 * rows + 0.4), layout="constrained")
    for axis, (title, columns) in zip(figure.subplots(rows, 2, squeeze=False).flat, groups.items(), strict=False):
        for (stage, part), (column, style) in product(history.groupby("stage", sort=False), zip(columns, styles, strict=False)):
            axis.plot(part["cycle"], part[column].rolling(5, min_periods=1).mean(), style, color=colours[stage], lw=1.2)
        named = ", ".join(f"{c} {word}" for c, word in zip(columns, styles.values(), strict=False))
        axis.set(title=f"{title} ({named})" if len(columns) > 1 else f"{title} ({columns[0]})", xlabel="cycle")
        sns.despine(ax=axis)
    lines = [Line2D([], [], color=c, label=stage.replace("_", " ")) for stage, c in colours.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(stages), frameon=False, fontsize=9)
    return figure


def dots(rows: pd.DataFrame, title: str, unit: str = "") -> Figure:
    """Values with their 95 % intervals: one line per metric row, one colour per method (column `column`)."""
    names, methods = list(dict.fromkeys(rows["row"])), list(dict.fromkeys(rows["column"]))
    step = min(0.16, 0.8 / len(methods))  # between the methods of a row, whose lines are 1 apart
    figure = Figure(figsize=(7.2, max(0.34, 0.09 * len(methods)) * len(names) + 1.1), layout="constrained")
    axis = figure.subplots()
    for i, (method, colour) in enumerate(zip(methods, sns.color_palette("colorblind", len(methods)), strict=True)):
        part = rows[rows["column"] == method]
        y = np.array([names.index(r) for r in part["row"]]) + step * (i - (len(methods) - 1) / 2)
        spread = np.abs(part[["ci_low", "ci_high"]].to_numpy(float).T - part["value"].to_numpy(float))
        axis.errorbar(part["value"], y, xerr=spread, fmt="o", ms=4, lw=1.2, color=colour, label=method)
    axis.set(yticks=range(len(names)), yticklabels=[n.replace("_", " ") for n in names], title=title, xlabel=unit)
    axis.invert_yaxis()
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(ax=axis)
    return figure


def show(run, figure: Figure, name: str, alt: str, faces: bool = True) -> None:
    """Display a figure with alternative text and keep it as figures/<name>.png (see `Run.figure` for faces that may not be published)."""
    run.figure(figure, name, faces)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None, "Faces": "yes" if faces else "no"})
    encoded = base64.b64encode(data.getvalue()).decode()
    display({"image/png": encoded, "text/plain": alt}, raw=True, metadata={"image/png": {"alt": alt}})


def examples(edits: dict[tuple[str, int], Edited], k: int = 8) -> Tensor:
    """(<= k, 3, S, S): the first test faces of the seeded choice of the first attribute, half without it and half with it."""
    first = next(iter(edits))[0]
    half = k // 2
    return torch.cat([edits[first, 1].x[:half], edits[first, 0].x[:half]])


def strip(edit, attribute: str, x: Tensor, steps: int = 9) -> tuple[np.ndarray, list[str]]:
    """Frames for `widgets.slider`: the faces x (R, 3, S, S) edited at `steps` strengths from 0 to 1. Returns ((R, steps, S, S, 3) uint8, labels)."""
    strengths = np.linspace(0, 1, steps)
    frames = np.stack([pixels(edit(attribute, x, float(s)).image.cpu()) for s in strengths], axis=1)
    return frames, [f"{s:.2f}" for s in strengths]

"""Figures: curves, grids of edits, and their display with alternative text. Each takes tensors or frames and returns a
Figure."""

import base64
import io
from dataclasses import replace
from itertools import groupby, product
from operator import itemgetter
from textwrap import wrap

import matplotlib
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from torch import Tensor

from lib.data import to_uint8
from lib.evaluation.edits import DIRECTIONS, Edited
from lib.pages.tables import direction, spoken

matplotlib.rcParams["figure.dpi"] = 110
TILE, GAP = 96, 3  # pixels of a face and between two, whatever the size of the set
KEY = {  # the legend of every grid: what a row of that name shows
    "mask": "white where the method edits",
    "change": "mid-grey where nothing changed, the same scale everywhere",
    "exact answer": "the same drawn face with this attribute alone changed",
    "region": "white where face and exact answer differ",
}


def pixels(x: Tensor) -> np.ndarray:
    """(B, C, H, W) in [-1, 1] -> (B, H, W, 3) uint8; one channel becomes grey."""
    return to_uint8(x.expand(-1, 3, -1, -1)).transpose(0, 2, 3, 1)


def data_uri(picture: Image.Image, kind: str, **options) -> str:
    """A picture as a data URI, png or webp; options of Pillow's `save`."""
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"


def mask_pixels(b: Tensor) -> np.ndarray:
    """A mask (B, 1, H, W) in [0, 1] as grey, linear, never stretched: a weak mask must look weak."""
    return pixels(2 * b - 1)


def residual_pixels(x: Tensor, y: Tensor) -> np.ndarray:
    """The residual y - x as signed grey, 0.5 + 0.25 (y - x) on the [0, 1] scale: mid-grey where nothing changed, the
    same scale everywhere."""
    return pixels((y - x) / 2)


def montage(rows: list, columns: list[str] | None = None, tile: int = TILE) -> Figure:
    """Rows of pictures. A row is (label at its left, [(H, W, 3) uint8 or None for a white place]), or a list of heads,
    texts above what follows, of which equal neighbours are one; `columns` are the heads on top.

    Pictures are enlarged smoothly to `tile` pixels across (larger ones stay as they are, up to 128) and are one image
    on one axis: an axis for each would take a hundred times as long to lay out. Below stands what the rows named in KEY
    show.
    """
    rows = ([list(columns)] if columns and any(columns) else []) + rows
    lines = [r for r in rows if isinstance(r, tuple)]
    first = next(p for _, pictures in lines for p in pictures if p is not None)
    wide = max(tile, min(first.shape[1], 128))
    high, n = round(wide * first.shape[0] / first.shape[1]), max(len(pictures) for _, pictures in lines)
    heads = [6 + 14 * max(head.count("\n") + 1 for head in r) if isinstance(r, list) else 0 for r in rows]
    tops = np.cumsum([0] + [h or high + GAP for h in heads])
    canvas = np.full((tops[-1] - GAP, (wide + GAP) * n - GAP, 3), 255, np.uint8)
    texts = [f"{name}: {KEY[name]}" for name in dict.fromkeys(label for label, _ in lines) if name in KEY]
    key = [line for text in texts for line in wrap(text, max(24, canvas.shape[1] // 7))]
    left, foot = 14 + 7 * max(len(line) for label, _ in lines for line in label.split("\n")), 4 + 16 * len(key)
    width, height = left + canvas.shape[1] + 4, canvas.shape[0] + foot + 4
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    axis = figure.add_axes((left / width, foot / height, canvas.shape[1] / width, canvas.shape[0] / height))
    for top, head, row in zip(tops, heads, rows, strict=False):
        if head:
            for _, run in groupby(enumerate(row), key=itemgetter(1)):
                places = [k for k, _ in run]
                x = (places[0] + places[-1] + 1) / 2 * (wide + GAP) - GAP / 2
                axis.text(x, top + head - 3, row[places[0]], ha="center", va="bottom", fontsize=9)
            continue
        for k, picture in enumerate(row[1]):
            if picture is not None:
                enlarged = Image.fromarray(picture).resize((wide, high), Image.Resampling.LANCZOS)
                canvas[top : top + high, k * (wide + GAP) : k * (wide + GAP) + wide] = enlarged
    axis.imshow(canvas, interpolation="none", aspect="auto", extent=(0, canvas.shape[1], canvas.shape[0], 0))
    axis.spines[:].set_visible(False)
    ticks = [top + high / 2 for top, head in zip(tops, heads, strict=False) if not head]
    axis.set_yticks(ticks, [label for label, _ in lines], fontsize=9)
    axis.set_xticks([])
    axis.tick_params(length=0)
    for k, line in enumerate(reversed(key)):
        figure.text(left / width, (4 + 16 * k) / height, line, fontsize=8, color="0.35")
    return figure


def edit_grid(edits: dict[tuple[str, int], Edited], k: int = 4) -> Figure:
    """Per attribute a block of rows input, edited, mask, change (and exact answer on synthetic faces), k faces given
    the attribute and k relieved of it: the first of the seeded test choice, not picked by eye."""
    rows = []
    for a in dict.fromkeys(a for a, _ in edits):
        blocks = []
        for e in (edits[a, t] for t, _ in DIRECTIONS):
            block = {"input": pixels(e.x[:k]), "edited": pixels(e.y[:k])}
            block |= {} if e.mask is None else {"mask": mask_pixels(e.mask[:k])}
            block |= {"change": residual_pixels(e.x[:k], e.y[:k])}
            blocks.append(block | ({} if e.truth is None else {"exact answer": pixels(e.truth[:k])}))
        rows.append([direction(a, t) for (t, _), block in zip(DIRECTIONS, blocks, strict=True) for _ in block["input"]])
        rows += [(name, [picture for block in blocks for picture in block[name]]) for name in blocks[0]]
    return montage(rows)


def beside(edits: dict[str, list[Edited]], chosen: list, changes: bool = False, tile: int = TILE) -> Figure:
    """The same faces edited by several methods: inputs, a row a method (with `changes` what it changed below it), and
    the exact answers where all are known.

    edits: {method: some cases as it edited them}; chosen: for each of the cases the faces that are shown, as indices
    or a slice.
    """
    first = list(zip(next(iter(edits.values())), chosen, strict=True))
    rows = [("input", [pixels(e.x[i]) for e, i in first])]
    for method, own in edits.items():
        pairs = list(zip(own, chosen, strict=True))
        rows.append((method, [pixels(e.y[i]) for e, i in pairs]))
        if changes:
            rows.append(("change", [residual_pixels(e.x[i], e.y[i]) for e, i in pairs]))
    if all(e.truth is not None for e, _ in first):
        rows.append(("exact answer", [pixels(e.truth[i]) for e, i in first]))
    heads = [direction(e.attribute, e.target) for e, i in first for _ in e.x[i]]
    return montage([(name, list(np.concatenate(parts))) for name, parts in rows], heads, tile)


def card(edits: dict[object, Edited]) -> Figure:
    """The picture of a paper's card on the index, kept as `card`: a face of every direction, five at most, input above
    edit above exact answer."""
    shown = list(edits.values())[:5]
    return beside({"edited": shown}, [slice(1)] * len(shown), tile=112)


def worst(edits: dict[tuple[str, int], Edited], k: int = 4) -> Figure:
    """The k edits of each direction that changed most outside the region: what can go wrong, beside the seeded choice."""
    out = {}
    for key, e in edits.items():
        order = torch.argsort(((e.y - e.x).abs().mean(1, keepdim=True) * ~e.region).flatten(1).sum(1), descending=True)[:k]
        shown = replace(e.case, x=e.x[order], region=e.region[order], index=e.index[order.numpy()], truth=None, _seen={})
        out[key] = Edited(shown, e.y[order])
    return edit_grid(out, k)


def curves(history: pd.DataFrame, groups: dict[str, list[str]]) -> Figure:
    """history.csv as panels: one per group of columns, a colour per stage, a line style per column (mean over 5 logged
    rows), a dot where training stops."""
    import seaborn as sns  # not above: it takes seconds, and a wrong parameter needs none

    stages = list(dict.fromkeys(history["stage"]))
    colours = dict(zip(stages, sns.color_palette("colorblind", len(stages)), strict=True))
    styles = {"-": "solid", "--": "dashed", ":": "dotted"}
    rows = -(-len(groups) // 2)
    figure = Figure(figsize=(8.6, 2.7 * rows + 0.4), layout="constrained")
    for place, (title, columns) in enumerate(groups.items(), 1):
        axis = figure.add_subplot(rows, 2, place)
        for (stage, part), (column, style) in product(history.groupby("stage", sort=False), zip(columns, styles, strict=False)):
            smooth = part.set_index("cycle")[column].dropna().rolling(5, min_periods=1).mean()
            axis.plot(smooth.index, smooth, style, color=colours[stage], lw=1.2, marker="o", ms=4, markevery=slice(-1, None))
        named = ", ".join(f"{c} {word}" for c, word in zip(columns, styles.values(), strict=False))
        axis.set(xlabel="cycle", ylabel="value")
        axis.set_title(f"{title} ({named if len(columns) > 1 else columns[0]})", fontsize=10)
        sns.despine(ax=axis)
    lines = [Line2D([], [], color=c, label=stage.replace("_", " ")) for stage, c in colours.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(stages), frameon=False, fontsize=9)
    return figure


def dots(rows: pd.DataFrame, title: str, unit: str = "") -> Figure:
    """Values with their 95 % intervals: one line per metric row, one colour per method (column `column`)."""
    import seaborn as sns  # not above: it takes seconds, and a wrong parameter needs none

    names, methods = list(dict.fromkeys(rows["row"])), list(dict.fromkeys(rows["column"]))
    step = min(0.16, 0.8 / len(methods))  # between the methods of a row, whose lines are 1 apart
    figure = Figure(figsize=(7.2, max(0.34, 0.09 * len(methods)) * len(names) + 1.1), layout="constrained")
    axis = figure.subplots()
    for i, (method, colour) in enumerate(zip(methods, sns.color_palette("colorblind", len(methods)), strict=True)):
        part = rows[rows["column"] == method]
        y = np.array([names.index(r) for r in part["row"]]) + step * (i - (len(methods) - 1) / 2)
        spread = np.abs(part[["ci_low", "ci_high"]].to_numpy(float).T - part["value"].to_numpy(float))
        axis.errorbar(part["value"], y, xerr=spread, fmt="o", ms=4, lw=1.2, color=colour, label=method)
    axis.set(yticks=range(len(names)), yticklabels=[spoken(n).replace("_", " ") for n in names], title=title if unit else "", xlabel=unit or title)
    axis.invert_yaxis()
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(ax=axis)
    return figure


def show(figure: Figure, alt: str, faces: bool = True) -> None:
    """Display a figure with alternative text. Faces are shown as WebP, a fifth of PNG's weight; curves and drawings, whose
    edges WebP would blur, as PNG."""
    data, kind = io.BytesIO(), "webp" if faces else "png"
    how = {"pil_kwargs": {"quality": 88}} if faces else {"metadata": {"Software": None, "Faces": "no"}}
    figure.savefig(data, format=kind, dpi=figure.dpi, **how)
    encoded = base64.b64encode(data.getvalue()).decode()
    display({f"image/{kind}": encoded, "text/plain": alt}, raw=True, metadata={f"image/{kind}": {"alt": alt}})


def examples(edits: dict[tuple[str, int], Edited], k: int = 8) -> Tensor:
    """(<= k, 3, S, S): the first test faces of the seeded choice of the first attribute, half without it, half with it."""
    first = next(iter(edits))[0]
    half = k // 2
    return torch.cat([edits[first, 1].x[:half], edits[first, 0].x[:half]])


def strip(edit, attribute: str, x: Tensor, steps: int = 9) -> tuple[np.ndarray, list[str]]:
    """Frames for `sliders.slider`: the faces x (R, 3, S, S) edited at `steps` strengths from 0 to 1. Returns ((R,
    steps, S, S, 3) uint8, labels)."""
    marks = np.linspace(0, 1, steps)
    frames = np.stack([pixels(edit(attribute, x, float(s)).image.cpu()) for s in marks], axis=1)
    return frames, [f"{s:.2f}" for s in marks]

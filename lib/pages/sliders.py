"""Pictures to play with: a slider and a two-dimensional pad over frames computed beforehand; `live`, which asks the
model, for JupyterLab.

`slider` and `pad` return plain HTML around ONE WebP sprite: no script, no style sheet, no event handler. As it stands
it is a labelled filmstrip (JupyterLab, scripts switched off, print). The report's own script turns every
`.study-slider` into range inputs.
"""

import base64
import io
import json
from collections.abc import Callable, Sequence
from html import escape

import ipywidgets
import numpy as np
import torch
from IPython.display import HTML
from PIL import Image
from torch import Tensor

# Best first; the first that stays under SPRITE_BYTES is taken, so that a page holds many strips. Small faces bleed into
# their background under WebP's halved colour resolution: hence lossless where it fits, and sharp_yuv where it does not.
# (Lossless "quality" is effort: more of it takes seconds and saves a few per cent.)
QUALITIES = ({"lossless": True, "quality": 20, "method": 2}, *({"quality": quality, "use_sharp_yuv": True} for quality in (92, 85, 75, 60, 45)))
SPRITE_BYTES = 150_000
WEBP_SIDE = 16_383  # the format's own limit


def slider(frames, labels: Sequence[str], title: str, alt: str, names: Sequence[str] = (), start: int = 0) -> HTML:
    """One picture per value of one quantity.

    frames: (N,H,W,3) uint8 RGB, N >= 2; or (R,N,H,W,3), a list of R rows (faces) of N frames that move together.
    labels: N texts, one per frame ("0.25", "paper's value"). title: caption. alt: what the pictures show, for those who
    cannot see them. names: R texts, one under each row's picture. start: the frame shown first. Raises ValueError for
    another type, shape or number of labels, or an empty title or alt.
    """
    grid = _frames(frames)
    if grid.ndim == 4:
        grid = grid[None]
    rows, columns = grid.shape[:2]
    labels = _labels(labels, columns, "labels")
    names = _labels(names, rows, "names", 1) if names else [""] * rows
    return HTML(_figure(grid, labels, names, "slider", title, alt, start))


def pad(frames, x_labels: Sequence[str], y_labels: Sequence[str], title: str, alt: str) -> HTML:
    """One picture per pair of values of two quantities.

    frames: (Y,X,H,W,3) uint8 RGB, Y rows of X frames, Y, X >= 2. x_labels: X texts; y_labels: Y texts, first row first.
    title, alt, errors: as `slider`.
    """
    grid = _frames(frames)
    if grid.ndim != 5:
        raise ValueError(f"pad: frames have shape {grid.shape}; give (Y,X,H,W,3).")
    y_labels, x_labels = _labels(y_labels, grid.shape[0], "y_labels"), _labels(x_labels, grid.shape[1], "x_labels")
    return HTML(_figure(grid, x_labels, y_labels, "pad", title, alt))


def _frames(frames) -> np.ndarray:
    try:
        grid = np.asarray(frames)
    except ValueError as err:
        raise ValueError(f"frames differ in size: {err}. Give pictures of one size.") from None
    if grid.dtype != np.uint8:
        raise ValueError(f"frames have type {grid.dtype}; give uint8 (for x in [-1,1]: ((x + 1) * 127.5).round().astype('uint8')).")
    if grid.ndim not in (4, 5) or grid.shape[-1] != 3 or 0 in grid.shape:
        raise ValueError(f"frames have shape {grid.shape}; give (N,H,W,3) or rows of such, channels last.")
    return grid


def _labels(labels: Sequence[str], n: int, name: str, least: int = 2) -> list[str]:
    labels = [str(label) for label in labels]
    if len(labels) != n or n < least:
        raise ValueError(f"{name}: {len(labels)} texts for {n} frames; give one for each of at least {least} frames.")
    return labels


def _sprite(grid: np.ndarray) -> str:
    rows, columns, height, width, _ = grid.shape
    sheet = grid.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    if max(sheet.shape) > WEBP_SIDE:
        raise ValueError(f"{columns} x {rows} frames of {width}x{height} make a sprite over {WEBP_SIDE} pixels; give fewer or smaller frames.")
    for quality in QUALITIES:
        buffer = io.BytesIO()
        Image.fromarray(sheet).save(buffer, "WEBP", **quality)
        if buffer.tell() <= SPRITE_BYTES:
            break
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _figure(grid: np.ndarray, x_labels: list[str], y_labels: list[str], kind: str, title: str, alt: str, start: int = 0) -> str:
    if not title.strip() or not alt.strip():
        raise ValueError(f"{kind}: give a title and an alt text.")
    rows, columns, height, width, _ = grid.shape
    shown = max(width, 96)  # pixels per frame in the filmstrip
    cell = 'style="padding:0;text-align:center"'
    # A table keeps labels under and beside their frames even where JupyterLab drops every style of an untrusted output.
    picture = (
        f'<td {cell} colspan="{columns}" rowspan="{rows}"><img src="{_sprite(grid)}" alt="{escape(alt)}" '
        f'width="{shown * columns}" height="{shown * height * rows // width}" '
        f'style="max-width:none;display:block"></td>'
    )
    named = any(y_labels)
    lines = []
    for row, label in enumerate(y_labels):
        head = f'<th scope="row" style="vertical-align:middle">{escape(label)}</th>' if named else ""
        lines.append(f"<tr>{head}{picture if row == 0 else ''}</tr>")
    ticks = "".join(f'<td {cell} width="{shown}">{escape(label)}</td>' for label in x_labels)
    lines.append(f"<tr>{'<td></td>' if named else ''}{ticks}</tr>")
    data = {"kind": kind, "rows": rows, "columns": columns, "width": width, "height": height, "start": start}
    attributes = " ".join(f'data-{key}="{value}"' for key, value in data.items())
    attributes += "".join(f' data-{axis}="{escape(json.dumps(texts))}"' for axis, texts in (("x", x_labels), ("y", y_labels)))
    return (
        f'<figure class="study-slider" {attributes}><figcaption>{escape(title)}</figcaption>'
        f'<div class="study-strip" style="overflow-x:auto"><table style="border-spacing:0">{"".join(lines)}</table></div></figure>'
    )


def live(edit: Callable, attributes: Sequence[str], x: Tensor) -> ipywidgets.Widget:
    """Controls for JupyterLab: choose a face and an attribute, move its strength, see input, edit and mask.

    edit: (attribute, x (1,3,S,S) in [-1,1], strength in [0,1]) -> object with .image and .mask (or None). x: (N,3,S,S),
    the faces to choose from. An error inside an edit raises in the cell: nothing is swallowed.
    """
    face = ipywidgets.IntSlider(0, 0, len(x) - 1, description="face")
    attribute = ipywidgets.Dropdown(options=list(attributes), description="attribute")
    strength = ipywidgets.FloatSlider(1.0, min=0.0, max=1.0, step=0.05, description="strength")
    picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(width="480px"))
    picture.add_class("study-live")

    def draw(_=None) -> None:
        one = x[face.value : face.value + 1]
        result = edit(attribute.value, one, strength.value)
        shown = [one.cpu(), result.image.cpu()] + ([] if result.mask is None else [(2 * result.mask.cpu() - 1).expand(-1, 3, -1, -1)])
        row = ((torch.cat(shown, dim=3)[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(row).resize((row.shape[1] * 160 // row.shape[0], 160), Image.Resampling.LANCZOS).save(buffer, "png")
        picture.value = buffer.getvalue()

    for control in (face, attribute, strength):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([face, attribute, strength]), picture])

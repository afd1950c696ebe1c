"""Pictures to play with: a slider over frames computed beforehand; `live`, which asks the model, for JupyterLab.

`slider` returns plain HTML around ONE WebP sprite: no script, no style sheet, no event handler. As it stands it is a
labelled filmstrip (JupyterLab, scripts switched off, print). The report's own script turns every `.study-slider` into
range inputs.
"""

import json
from collections.abc import Callable, Sequence
from html import escape

import ipywidgets
import numpy as np
from IPython.display import HTML
from PIL import Image
from torch import Tensor

from lib.pages.figures import data_uri, mask_pixels, pixels

# Best first; the first that stays under SPRITE_BYTES is taken. Small faces bleed into their background under WebP's halved
# colour resolution: hence lossless where it fits, and sharp_yuv where it does not.
QUALITIES = ({"lossless": True, "quality": 20, "method": 2}, *({"quality": quality, "use_sharp_yuv": True} for quality in (92, 85, 75, 60, 45)))
SPRITE_BYTES = 150_000


def slider(frames, labels: Sequence[str], title: str, alt: str, names: Sequence[str] = (), start: int = 0) -> HTML:
    """One picture per value of one quantity.

    frames: (N,H,W,3) uint8 RGB, N >= 2; or (R,N,H,W,3), a list of R rows (faces) of N frames that move together.
    labels: N texts, one per frame ("0.25", "paper's value"). title: caption. alt: what the pictures show, for those who
    cannot see them. names: R texts, one under each row's picture. start: the frame shown first.
    """
    grid = np.asarray(frames)
    grid = grid[None] if grid.ndim == 4 else grid
    rows, columns, height, width, _ = grid.shape
    sheet = Image.fromarray(grid.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3))
    for quality in QUALITIES:
        sprite = data_uri(sheet, "webp", **quality)
        if 3 * len(sprite) // 4 <= SPRITE_BYTES:
            break
    shown = max(width, 96)  # pixels per frame in the filmstrip
    cell = 'style="padding:0;text-align:center"'
    # A table keeps labels under and beside their frames even where JupyterLab drops every style of an untrusted output.
    picture = (
        f'<td {cell} colspan="{columns}" rowspan="{rows}"><img src="{sprite}" alt="{escape(alt)}" '
        f'width="{shown * columns}" height="{shown * height * rows // width}" style="max-width:none;display:block"></td>'
    )
    heads = [f'<th scope="row" style="vertical-align:middle">{escape(name)}</th>' for name in names] or [""] * rows
    lines = [f"<tr>{head}{'' if row else picture}</tr>" for row, head in enumerate(heads)]
    ticks = "".join(f'<td {cell} width="{shown}">{escape(label)}</td>' for label in labels)
    lines.append(f"<tr>{'<td></td>' if names else ''}{ticks}</tr>")
    data = {"rows": rows, "columns": columns, "width": width, "height": height, "start": start}
    data |= {"labels": json.dumps(list(labels)), "names": json.dumps(list(names))}
    attributes = " ".join(f'data-{key}="{escape(str(value))}"' for key, value in data.items())
    return HTML(
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
    picture = ipywidgets.HTML()  # no Output widget: notebooks that are executed by the batch hung in one now and then

    def draw(_=None) -> None:
        one = x[face.value : face.value + 1]
        result = edit(attribute.value, one, strength.value)
        shown = [pixels(one.cpu()), pixels(result.image.cpu())] + ([] if result.mask is None else [mask_pixels(result.mask.cpu())])
        row = Image.fromarray(np.concatenate(shown, axis=2)[0])
        picture.value = f'<img alt="input, edit and mask" height="160" src="{data_uri(row, "png")}">'

    for control in (face, attribute, strength):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([face, attribute, strength]), picture])

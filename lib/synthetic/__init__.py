"""Synthetic faces: a renderer that knows the truth about every picture it draws.

parameters.py says what a face is and what changing one attribute means, geometry.py where its parts and landmarks are,
canvas.py how signed-distance shapes are drawn, portrait.py draws a face with them, animals.py cats, dogs and wild
animals.

Frames of reference
    crop   (px, py) in [0, 1], y down: the 178x178 centre square of CelebA's aligned 178x218 images, whatever the resolution.
    head   (x, y) = crop coordinates shifted to the point between the eyes, un-rolled and un-zoomed; unit: the side of the crop. The eyes lie near
           (-.1075, 0) and (.1075, 0), the tip of the nose near (0, .135), the mouth near (0, .23), the chin near (0, .38).
Left and right are the viewer's. Pixel (row i, column j) of a render of `size` covers [j, j + 1] x [i, i + 1] in landmark coordinates.

Determinism: every parameter of face (seed, index) is a hash of (seed, index or identity, parameter's name). Per-pixel arithmetic uses only operations
whose result does not depend on the position in the batch, so that a face is the same tensor, bit for bit, in any batch on the CPU.
"""

import torch.nn.functional as F
from torch import Tensor

from lib.synthetic import canvas, portrait
from lib.synthetic.geometry import landmarks5, landmarks68
from lib.synthetic.parameters import (
    ATTRIBUTES,
    BEARD_PARTS,
    CELEBA_PHI,
    CELEBA_RATES,
    HAIR_COLOURS,
    Faces,
    attributes,
    column,
    counterfactual,
    ranges,
    sample,
)  # fmt: skip

__all__ = [
    "ATTRIBUTES", "BEARD_PARTS", "CELEBA_PHI", "CELEBA_RATES", "HAIR_COLOURS", "Faces", "attributes", "counterfactual",
    "landmarks5", "landmarks68", "ranges", "region", "render", "sample",
]  # fmt: skip

VERSION = 1  # of the pictures: part of every fingerprint, to be raised when a change alters one of them


def render(faces: Faces, size: int, device="cpu") -> Tensor:
    """(B, 3, size, size) float32 in [-1, 1] on `device`. size in pixels, 32 to 512. ValueError: a size outside that range."""
    return canvas.render(portrait.draw, faces, size, device)


def region(faces: Faces, attribute: str, size: int) -> Tensor:
    """(B, 1, size, size) bool: the pixels in which `render(faces)` and the render with `attribute` flipped differ, that is, all an edit may touch.

    Exact by definition: outside it the two pictures are equal bit for bit, whatever the value asked for. ValueError: an unknown attribute.
    """
    flipped = counterfactual(faces, attribute, 1 - faces.state[:, column(attribute)])
    differ = (render(faces, size) != render(flipped, size)).any(1, keepdim=True).float()
    # a difference below the precision of a float leaves holes where a shade fades out: close them (3x3 dilation, then erosion)
    grown = F.max_pool2d(differ, 3, 1, 1)
    return (-F.max_pool2d(-grown, 3, 1, 1)).maximum(differ) > 0

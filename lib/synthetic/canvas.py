"""Drawing: signed distances to coverage, colours, noise, backgrounds, and the loop that draws a batch in chunks.

Pictures are (3, B, h, w) in [0, 1] while they are drawn; masks and shades (B, h, w). `w` is the width over which an edge is blended, in head units.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.synthetic.parameters import uniform


def cover(inside: Tensor, w: Tensor) -> Tensor:
    """Coverage in [0, 1] of a pixel at signed distance `inside` (positive within) from an edge."""
    return (inside / w).add_(0.5).clamp_(0, 1)


def slab(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
    """Coverage of the band between two edges, right for bands thinner than a pixel: a, b signed distances, positive towards the inside."""
    return (cover(a, w) + cover(b, w)).sub_(1).clamp_(min=0)


def line(d: Tensor, half: Tensor | float, w: Tensor) -> Tensor:
    """Coverage of a line of half-thickness `half` at signed distance d from its middle."""
    return slab(half + d, half - d, w)


def bump(q: Tensor) -> Tensor:
    """Smooth hill of squared radius q: 1 at q = 0, exactly 0 from q = 1 on (so that shades end somewhere)."""
    return torch.rsub(q, 1).clamp_(min=0).square_()


def wave(t: Tensor) -> Tensor:
    """Cosine-like wave of period 1 and range [-1, 1], from exactly rounded operations."""
    a = (t - t.round()).abs_().mul_(4).sub_(1)
    return a * (a * a * 0.5 - 1.5)


def paint(img: Tensor, alpha: Tensor, colour: Tensor) -> None:
    """Blend a colour (3, B, 1, 1) or (3, B, h, w) into img in place; alpha 1 covers exactly, alpha 0 leaves the pixel bit for bit."""
    img.lerp_(colour, alpha)


def rgb(values, device) -> Tensor:
    """(3, n, 1, 1) float32 colours from an (n, 3) table, (3, 1, 1, 1) from a single one."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 3).T[:, :, None, None]


def ramp(table, t: Tensor) -> Tensor:
    """(3, B, 1, 1) colour at t (B,) in [0, 1] along a table (n, 3)."""
    position = t.float().clamp(0, 1) * (len(table) - 1)
    low = position.long().clamp(max=len(table) - 2)
    part, colours = (position - low)[:, None, None], rgb(table, t.device)
    return colours[:, low] * (1 - part) + colours[:, low + 1] * part


def pick(table, t: Tensor) -> Tensor:
    """(3, B, 1, 1) colour number floor(t * n) of a table (n, 3)."""
    return rgb(table, t.device)[:, (t * len(table)).long().clamp(max=len(table) - 1)]


def hsv(hue: Tensor, saturation: Tensor | float, value: Tensor | float) -> Tensor:
    """(3, B, 1, 1) float32 colour from hue, saturation and value (B,) in [0, 1]."""
    k = (torch.tensor([[5.0], [3.0], [1.0]], dtype=hue.dtype, device=hue.device) + hue * 6) % 6
    chroma = torch.minimum(k, 4 - k).clamp(0, 1)
    return (value * (1 - saturation * chroma)).float()[:, :, None, None]


@lru_cache(maxsize=16)
def _noise(size: int, cells: float, device: str) -> Tensor:
    """(2 size, 2 size) float32 in [-1, 1]: smooth periodic value noise with `cells` cells to the crop; 0 means white noise, one value per pixel."""
    n = round(2 * cells) if cells else 2 * size
    counter = torch.arange(n * n, dtype=torch.int64)
    grid = (uniform(torch.zeros_like(counter), counter, [f"noise {cells}"])[:, 0] * 2 - 1).view(1, 1, n, n)
    if cells:
        # Pixels are box averages of one fixed field, so that renders of different sizes show the same texture.
        fine = F.interpolate(F.pad(grid, (2, 2, 2, 2), mode="circular"), scale_factor=8, mode="bicubic", align_corners=False)
        grid = F.interpolate(fine[..., 16:-16, 16:-16], size=(2 * size, 2 * size), mode="area").clamp(-1, 1)
    return grid[0, 0].float().to(device).contiguous()


def texture(size: int, cells: float, where: tuple[Tensor, Tensor]) -> Tensor:
    """(B, S, S) windows of the noise, each face at its own place `where` (two (B,) tensors in [0, 1])."""
    windows = _noise(size, cells, str(where[0].device)).unfold(0, size, 1).unfold(1, size, 1)
    return windows[(where[0] * size).long().clamp_(max=size - 1), (where[1] * size).long().clamp_(max=size - 1)]


def cut(box: tuple[float, float, float, float], *fields: Tensor) -> list[Tensor]:
    """Views of the pixels of a box (left, top, right, bottom), given in the crop, of fields (..., S, S)."""
    (left, top), (right, bottom) = ([k * fields[0].shape[-1] for k in corner] for corner in (box[:2], box[2:]))
    return [field[..., int(top) : math.ceil(bottom), int(left) : math.ceil(right)] for field in fields]


def background(p: SimpleNamespace, px: Tensor, py: Tensor, w: Tensor) -> Tensor:
    """(3, B, S, S): a studio gradient, lights out of focus, a wall, a horizon or stripes. p: (B, 1, 1) parameters; px (1, 1, S), py (1, S, 1)."""
    kind = (p.background[:, 0, 0] * 5).long().clamp(max=4)
    _, lights, wall, outdoors, stripes = ((kind == k).nonzero()[:, 0] for k in range(5))
    bx, by = p.background_x, p.background_y
    studio = (kind == 0).float()[:, None, None]
    # a plane and a vignette: sums of a row and a column
    t = 0.5 + 0.30 * bx * (px - 0.5) - (0.75 * studio + 0.2) * (px - 0.5 - 0.2 * bx) ** 2
    t = t + ((0.35 * by - 0.25 * studio) * (py - 0.5) - (0.75 * studio + 0.2) * (py - 0.4) ** 2)
    u, v = bx[lights], by[lights]
    for k, (x, y, r) in enumerate(((0.12, 0.2, 0.11), (0.86, 0.12, 0.15), (0.9, 0.55, 0.09), (0.1, 0.62, 0.13), (0.3, 0.04, 0.08))):
        q = (px - x - 0.08 * (u if k % 2 else v)) ** 2 + (py - y - 0.08 * (v if k % 2 else u)) ** 2
        t[lights] += ((1 - q / (r * (1 + 0.3 * u)) ** 2) * 4).clamp_(0, 1) * 0.22
    edge = px - 0.5 - 0.42 * bx[wall]
    t[wall] += 0.16 * cover(edge, w[wall] * 2) - 0.12 * bump((edge / 0.02) ** 2)
    t[stripes] += 0.09 * wave(px * (5 + 2 * bx[stripes]) + py * 3 * by[stripes])
    tone, hue = p.background_tone[:, 0, 0], p.background_hue[:, 0, 0]
    far = kind == 3
    saturation = torch.where(far, 0.35, 0.10 + 0.35 * (1 - tone.abs()))
    base = hsv(torch.where(far, 0.55 + 0.05 * hue, hue), saturation, torch.where(far, 0.90, 0.62 + 0.30 * tone))
    img = base * (0.55 + 0.9 * t)
    if len(outdoors):
        u, v, tone, hue = bx[outdoors], by[outdoors], tone[outdoors], hue[outdoors]
        horizon = cover(py - 0.45 - 0.2 * v - 0.02 * wave(px * 1.3 + u), w[outdoors] * 8)
        ground = hsv(0.2 + 0.2 * hue, 0.45, 0.42 + 0.18 * tone)
        img[:, outdoors] = img[:, outdoors].lerp(ground * (0.7 + 0.6 * t[outdoors]), horizon)
    return img


CHUNK = 1 << 18  # pixels drawn together: small enough for the cache, large enough to hide the cost of a call


def render(draw, batch, size: int, device) -> Tensor:
    """(B, 3, size, size) in [-1, 1]: what draw(batch, size) gives, (3, B, size, size) in [0, 1], under exposure, colour
    of the light and sensor noise, the same for every attribute. ValueError: a size outside 32 to 512."""
    if not 32 <= size <= 512:
        raise ValueError(f"pictures are drawn at 32 to 512 pixels, got {size}")
    batch, out = batch.to(device), torch.empty(len(batch), 3, size, size, device=device)
    step = max(1, CHUNK // size**2)

    @torch.no_grad()
    def one(start: int) -> None:
        some = batch[start : start + step]
        gain = 1 + 0.08 * some.exposure.double()
        tint = torch.stack([gain * (1 + 0.03 * some.warmth), gain, gain * (1 - 0.04 * some.warmth)])
        where = ((some.texture.double() * 3.3) % 1, (some.texture.double() * 31.7) % 1)
        noise = texture(size, 0, where) * (some.grain * (0.012 * 3**0.5))[:, None, None]
        img = draw(some, size).mul_(tint.float()[:, :, None, None]).add_(noise).mul_(2).sub_(1).clamp_(-1, 1)
        out[start : start + step] = img.transpose(0, 1)

    starts = range(0, len(batch), step)
    threads = torch.get_num_threads() if out.device.type == "cpu" and len(starts) > 1 else 1
    if threads == 1:
        for start in starts:
            one(start)
        return out
    # A thread per chunk, not per operation: thousands of short operations would each wait for the slowest core.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, starts))
    finally:
        torch.set_num_threads(threads)
    return out

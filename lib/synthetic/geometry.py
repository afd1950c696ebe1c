"""Where everything is on a face: one set of measures, from which the pictures and the landmarks are both made."""

import dataclasses
import math
from types import SimpleNamespace

import torch
from torch import Tensor

from lib.synthetic.parameters import COLUMN, Faces

# Hair styles, the first six for Male = 0, the rest for Male = 1: share among their sex; width of the hair over that of the head; volume on top; lower
# end; flare below the eyes; half-width of the opening for the face over that of the head, and whether it is square (0) or round and parted (1);
# waves; curls (0 strands, 1 curls); a bun; how tousled and how short at the sides.
_STYLES = (
    (0.26, 1.13, 0.045, 0.80, 0.25, 0.92, 1.0, 0.000, 0.0, 0.0, 0.0),  # long, straight
    (0.24, 1.20, 0.052, 0.80, 0.35, 0.91, 1.0, 0.014, 0.2, 0.0, 0.0),  # long, wavy
    (0.17, 1.17, 0.050, 0.27, 0.22, 0.90, 0.9, 0.000, 0.0, 0.0, 0.0),  # bob
    (0.13, 1.36, 0.080, 0.36, 0.20, 0.93, 0.5, 0.008, 1.0, 0.0, 0.0),  # curly
    (0.12, 1.04, 0.030, 0.03, 0.00, 0.95, 0.6, 0.000, 0.0, 1.0, 0.0),  # bun
    (0.08, 1.12, 0.050, 0.12, 0.05, 0.92, 0.8, 0.006, 0.2, 0.0, 0.3),  # short
    (0.30, 1.035, 0.036, 0.035, 0.00, 0.95, 0.5, 0.000, 0.0, 0.0, 0.8),  # short
    (0.22, 1.025, 0.070, 0.030, 0.00, 0.95, 0.3, 0.000, 0.0, 0.0, 1.0),  # quiff
    (0.16, 1.12, 0.066, 0.03, 0.00, 0.95, 0.4, 0.006, 1.0, 0.0, 0.0),  # curly
    (0.13, 1.09, 0.052, 0.09, 0.05, 0.93, 0.8, 0.005, 0.2, 0.0, 0.5),  # medium, parted
    (0.14, 1.010, 0.016, 0.030, 0.00, 0.96, 0.3, 0.000, 0.5, 0.0, 0.7),  # crew cut
    (0.05, 1.13, 0.048, 0.80, 0.20, 0.92, 0.9, 0.010, 0.2, 0.0, 0.0),  # long
)


def measure(faces: Faces) -> SimpleNamespace:
    """Where everything is, in head coordinates: namespace of (B,) float64 tensors, attributes in small letters."""
    p = SimpleNamespace(**{f.name: getattr(faces, f.name).double() for f in dataclasses.fields(Faces) if f.metadata})
    g = SimpleNamespace(p=p, **{name.lower(): faces.state[:, k].double() for name, k in COLUMN.items()})
    male, old, smiling, g.receding, g.hat = g.male, 1 - g.young, g.smiling, g.receding_hairline, g.wearing_hat
    g.old = old * (1 + 0.15 * p.age)
    g.smile = smiling * (0.90 + 0.10 * p.smile)
    g.gape = g.mouth_slightly_open * (0.90 + 0.10 * p.gape)
    # frame
    angle = p.roll * math.radians(5)
    g.cos, g.sin, g.scale = angle.cos(), angle.sin(), 1 + 0.03 * p.zoom
    g.cx, g.cy = 0.4975 + 0.008 * p.shift_x, 0.515 + 0.008 * p.shift_y  # between the eyes, as CelebA aligns them
    # head: (x / width)^2 + .6 t^2 + .4 t^4 = 1 with t = y / top above the eyes; below, with s = y / chin and a the jaw's,
    # x = width (1 - taper s) sqrt(1 - a s^2 - (1 - a) s^4)
    g.hx = -0.020 * p.yaw  # the eyes stay in place (CelebA's alignment), so the skull moves
    g.width = 0.226 + 0.014 * p.skull_width + 0.009 * male
    g.top = 0.296 + 0.014 * p.skull_height - 0.008 * p.pitch
    g.chin = 0.384 + 0.020 * p.face_length + 0.018 * male + 0.006 * p.pitch
    g.taper = 0.06 - 0.06 * p.taper - 0.04 * male + 0.04 * (1 - male)
    g.jaw = 1.02 - 0.21 * p.jaw - 0.52 * male + 0.06 * (1 - male) - 0.10 * old
    # eyes
    g.eye_x = 0.1075 + 0.004 * p.eye_spacing
    g.eye_w = 0.0545 + 0.0045 * p.eye_size - 0.002 * male
    g.eye_u = (0.0285 + 0.0040 * p.eye_open - 0.0025 * p.squint - 0.0035 * male) * (1 - 0.18 * g.smile - 0.20 * old)
    g.eye_l = (0.0160 + 0.0020 * p.eye_open - 0.0010 * p.squint) * (1 - 0.38 * g.smile)
    g.eye_tilt = 0.05 + 0.09 * p.eye_tilt
    g.iris = 0.0222 + 0.0010 * p.eye_size
    g.brow_y = 0.0690 + 0.0080 * p.brow_height + 0.005 * p.brow_raise - 0.012 * male + 0.004 * p.pitch
    g.brow_arch = 0.016 + 0.012 * p.brow_arch - 0.007 * male
    g.brow_tilt = 0.04 * p.brow_tilt
    g.brow_h = 0.0074 + 0.0022 * p.brow_width + 0.0062 * male
    # nose
    g.nose_x = 0.016 * p.yaw
    g.nose_y = 0.137 + 0.010 * p.nose_length - 0.008 * p.pitch
    g.nose_w = 0.0430 + 0.0080 * p.nose_width + 0.0035 * male
    # mouth: the line between the lips is mouth_y + drop - (drop + lift) u^2, u = x / mouth_w
    g.mouth_x = 0.007 * p.yaw
    g.mouth_y = 0.232 + 0.007 * p.mouth_height + 0.004 * male - 0.004 * p.pitch
    g.mouth_w = (0.0765 + 0.0070 * p.mouth_width + 0.003 * male) * (1 + 0.32 * g.smile - 0.14 * g.gape * (1 - smiling))
    g.lift = -0.007 + 0.041 * g.smile
    g.drop = 0.002 + 0.010 * g.smile
    g.lip_u = (0.0175 + 0.0040 * p.lips - 0.0025 * male - 0.002 * old) * (1 - 0.22 * g.smile)
    g.lip_l = (0.0235 + 0.0050 * p.lips - 0.003 * male - 0.003 * old) * (1 - 0.15 * g.smile)
    g.open_u = 0.009 * g.gape
    g.open_l = 0.041 * g.gape * (1 - 0.15 * g.smile)
    # hair
    table = torch.tensor(_STYLES, dtype=torch.float64, device=male.device)
    female_style = torch.searchsorted(table[:6, 0].cumsum(0) - 1e-9, p.hair_style).clamp(max=5)
    male_style = torch.searchsorted(table[6:, 0].cumsum(0) - 1e-9, p.hair_style).clamp(max=5) + 6
    style = table[torch.where(male > 0, male_style, female_style)]
    _, side, volume, g.hair_end, g.flare, inner, g.round, g.wave, g.curl, g.bun, g.rough = style.unbind(1)
    g.hair_w = g.width * (side + 0.025 * p.hair_volume * (side - 0.9) * 4)
    g.hair_top = g.top + 0.036 + volume * (1 + 0.2 * p.hair_volume)
    g.hair_end = g.hair_end + 0.02 * p.hair_day * (g.hair_end > 0.1)
    g.cut = torch.where(g.hair_end < 0.035, 0.45, 1.0).double()
    g.part = 0.06 * p.hair_part
    g.open_w = g.width * inner * (1 + 0.07 * g.receding)
    g.open_h = (0.183 + 0.012 * p.hairline + 0.015 * g.round) * (1 + 0.40 * g.receding) * (1 - 0.48 * g.hat * (1 - g.receding))
    g.capped = g.hat * g.receding  # the forehead under the hat is bare then: a band down to the ears still tells the colour of the hair
    g.temple = 0.28 * g.receding - (0.06 + 0.20 * g.hat) * (1 - g.receding) - 0.48 * g.capped
    g.fringe_y = -0.078 + 0.012 * p.fringe
    g.hat_y = -0.160 - 0.006 * p.hairline
    return g


def grid(size: int, cx: Tensor | float, cy: Tensor | float, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
    """The pixels' centres, px (1, 1, S) and py (1, S, 1), and turned and scaled about (cx, cy), x and y (B, S, S)."""
    px = (torch.arange(size, dtype=torch.float32, device=cos.device)[None, None] + 0.5) / size
    py = px.mT
    return px, py, (px - cx) * cos + (py - cy) * sin, (py - cy) * cos - (px - cx) * sin


def each(space: SimpleNamespace, change) -> SimpleNamespace:
    """The namespace with change(tensor) in the place of every tensor, those of `.p` too."""
    pairs = vars(space).items()
    return SimpleNamespace(**{name: change(v) if isinstance(v, Tensor) else each(v, change) for name, v in pairs})


def to_crop(g: SimpleNamespace, points: list[tuple[Tensor, Tensor]], size: int) -> Tensor:
    """(B, n, 2) float32 pixel coordinates of points (x, y), each (B, k) in head coordinates; g: measures (B, 1)."""
    x, y = (torch.cat(axis, 1) for axis in zip(*points, strict=True))
    c, s = g.cos * g.scale, g.sin * g.scale
    return (torch.stack([g.cx + c * x - s * y, g.cy + s * x + c * y], 2) * size).float()


def landmarks5(faces: Faces, size: int) -> Tensor:
    """(B, 5, 2) float32 (x, y): left eye, right eye, tip of the nose, left and right corner of the mouth; pixels of a `size` render."""
    g = each(measure(faces), lambda value: value[:, None])
    corner, zero = g.mouth_y - g.lift, torch.zeros_like(g.width)
    points = [(-g.eye_x, zero), (g.eye_x, zero), (g.nose_x, g.nose_y)]
    return to_crop(g, points + [(g.mouth_x - g.mouth_w, corner), (g.mouth_x + g.mouth_w, corner)], size)


def landmarks68(faces: Faces, size: int) -> Tensor:
    """(B, 68, 2) float32 (x, y) in the iBUG order; pixels of a `size` render.

    0-16 jaw, 17-21 left brow, 22-26 right brow, 27-30 ridge of the nose, 31-35 its base, 36-41 left eye, 42-47 right eye, 48-59 outer and 60-67
    inner contour of the lips. Jaw points are on the outline of the head whether or not hair covers it.
    """
    g = each(measure(faces), lambda value: value[:, None])

    def row(*values):
        return torch.tensor(values, dtype=torch.float64, device=g.width.device)

    s = torch.sin(torch.linspace(0, math.pi / 2, 9, dtype=torch.float64, device=g.width.device))
    half = g.width * (1 - g.taper * s) * (1 - g.jaw * s**2 - (1 - g.jaw) * s**4).clamp(min=0).sqrt()
    depth = g.chin * s
    points = [(g.hx - half, depth), ((g.hx + half)[:, :-1].flip(1), depth[:, :-1].flip(1))]
    u = row(1, 0.5, 0, -0.5, -1)  # brows, from the temple to the nose
    brow_x, brow_y = BROW_X + BROW_W * u, brow_line(g, u)
    points += [(-g.eye_x - brow_x, brow_y), ((g.eye_x + brow_x).flip(1), brow_y.flip(1))]
    t = row(0, 1 / 3, 2 / 3, 1)
    points.append((g.nose_x * t, 0.005 + (g.nose_y - 0.005) * t))
    base = row(0.018, 0.023, 0.026, 0.023, 0.018)
    points.append((g.nose_x + g.nose_w * row(-0.7, -0.35, 0, 0.35, 0.7), g.nose_y + base))
    u = row(1, 0.4, -0.4, -1, -0.4, 0.4)  # eye, from the outer corner over the upper lid; u > 0 is outer
    lid = (1 - u**2) * torch.where(row(0, 1, 1, 0, 0, 0) > 0, -g.eye_u, g.eye_l)
    ex, ey = g.eye_w * u, lid - g.eye_tilt * g.eye_w * u
    order = [3, 2, 1, 0, 5, 4]  # the right eye starts at its inner corner
    points += [(-g.eye_x - ex, ey), ((g.eye_x + ex)[:, order], ey[:, order])]
    for u, upper, lower in (  # the lips
        (row(-1, -0.62, -0.25, 0, 0.25, 0.62, 1), g.lip_u + g.open_u, 0),
        (row(0.62, 0.25, 0, -0.25, -0.62), 0, g.lip_l + g.open_l),
        (row(-0.9, -0.3, 0, 0.3, 0.9), g.open_u, 0),
        (row(0.3, 0, -0.3), 0, g.open_l),
    ):
        middle = g.mouth_y + g.drop - (g.drop + g.lift) * u**2
        points.append((g.mouth_x + g.mouth_w * u, middle + (1 - u**2) * (lower - upper)))
    return to_crop(g, points, size)


BROW_X, BROW_W = 0.008, 0.068  # centre of a brow beyond the eye's centre, half-width


def brow_line(g: SimpleNamespace, u: Tensor) -> Tensor:
    """y of the brow's middle at u in [-1, 1] from the nose to the temple."""
    return g.brow_arch * (u - 0.25) ** 2 * 0.8 - g.brow_y - 0.3 * g.brow_arch + g.brow_tilt * 0.068 * u

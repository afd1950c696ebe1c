"""Three domains of animal faces, cat, dog and wild, in AFHQ's framing, drawn like the faces of people."""

import dataclasses
import math
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from lib.synthetic import canvas
from lib.synthetic.canvas import background, bump, cover, line, paint, rgb, texture, wave
from lib.synthetic.geometry import grid
from lib.synthetic.parameters import Drawn, keys, own, ranges, uniform

DOMAINS: tuple[str, ...] = ("cat", "dog", "wild")


@dataclass(kw_only=True)
class Animals(Drawn):
    """Parameters of B animal faces in AFHQ's framing (the head fills the picture); ranges in `ranges(Animals)`."""

    domain: Tensor  # (B,) int64: place in DOMAINS
    breed: Tensor = own("image", 0, 1, "coat: colours and markings of the domain (wild: tiger, lion or leopard)")
    shade: Tensor = own("image", -1, 1, "dark to light fur")
    markings: Tensor = own("image", 0, 1, "strength of stripes, patches or spots")
    head: Tensor = own("image", -1, 1, "narrow to broad head")
    ears: Tensor = own("image", -1, 1, "small to large ears")
    eyes: Tensor = own("image", 0, 1, "colour of the eyes")
    pupil: Tensor = own("image", -1, 1, "narrow to wide pupils")
    muzzle: Tensor = own("image", -1, 1, "small to large muzzle")
    tongue: Tensor = own("image", 0, 1, "tongue out, on a dog, above .6")
    yaw: Tensor = own("image", -1, 1, "head turned to the left or right")
    pitch: Tensor = own("image", -1, 1, "head up or down")
    roll: Tensor = own("image", -1, 1, "head tilted, at most 8 degrees")
    zoom: Tensor = own("image", -1, 1, "scale, within 6 percent")


def sample(seed: int, index: Tensor | range, domain: str | None = None) -> Animals:
    """Animals (seed, index), each independent of the batch it is drawn in; the domain by a hash, or `domain` for all of them.

    With another domain the same (seed, index) keeps pose, light and background. ValueError: an unknown domain or a negative index.
    """
    if domain is not None and domain not in DOMAINS:
        raise ValueError(f"unknown domain {domain!r}; choose from {', '.join(DOMAINS)}")
    seeds, index = keys(seed, index)
    own = ranges(Animals)
    u = uniform(seeds, index, [f"animal {name}" for name in ["domain", *own]])
    place = (u[:, 0] * len(DOMAINS)).long() if domain is None else torch.full_like(index, DOMAINS.index(domain))
    columns = {name: (low + (high - low) * u[:, k + 1]).float() for k, (name, (_, low, high, _)) in enumerate(own.items())}
    return Animals(seed=seeds, index=index, domain=place, **columns)


# Per domain (cat, dog, wild): half-width and half-height of the head, x and y of the ears, of the eyes, radius of the eyes, y of the nose, its
# half-width, half-width and half-height of the muzzle.
_ANIMAL = (
    (0.340, 0.300, 0.215, -0.235, 0.150, -0.045, 0.066, 0.105, 0.036, 0.120, 0.090),
    (0.265, 0.320, 0.265, -0.170, 0.125, -0.085, 0.046, 0.080, 0.075, 0.165, 0.165),
    (0.330, 0.330, 0.255, -0.265, 0.140, -0.080, 0.044, 0.105, 0.068, 0.165, 0.130),
)
# Four coats per domain: fur, light parts, markings.
_COATS = (
    (((0.55, 0.53, 0.52), (0.93, 0.92, 0.90), (0.26, 0.25, 0.25)), ((0.87, 0.58, 0.30), (0.98, 0.91, 0.80), (0.62, 0.34, 0.13)),
     ((0.16, 0.15, 0.16), (0.26, 0.25, 0.26), (0.08, 0.08, 0.09)), ((0.90, 0.87, 0.82), (0.99, 0.98, 0.96), (0.66, 0.58, 0.50))),
    (((0.72, 0.50, 0.28), (0.93, 0.82, 0.64), (0.42, 0.25, 0.12)), ((0.36, 0.23, 0.15), (0.76, 0.56, 0.38), (0.17, 0.10, 0.07)),
     ((0.93, 0.91, 0.87), (0.99, 0.98, 0.96), (0.45, 0.27, 0.15)), ((0.19, 0.18, 0.19), (0.92, 0.90, 0.87), (0.10, 0.10, 0.11))),
    (((0.90, 0.52, 0.17), (0.99, 0.95, 0.88), (0.10, 0.07, 0.06)), ((0.82, 0.62, 0.34), (0.95, 0.88, 0.74), (0.42, 0.22, 0.09)),
     ((0.88, 0.68, 0.36), (0.98, 0.93, 0.82), (0.20, 0.12, 0.07)), ((0.86, 0.46, 0.15), (0.97, 0.93, 0.85), (0.12, 0.08, 0.06))),
)  # fmt: skip
_ANIMAL_EYES = (
    ((0.55, 0.72, 0.25), (0.88, 0.72, 0.20), (0.35, 0.65, 0.82), (0.75, 0.55, 0.18)),
    ((0.20, 0.11, 0.06), (0.28, 0.16, 0.08), (0.16, 0.09, 0.05), (0.36, 0.22, 0.10)),
    ((0.86, 0.62, 0.15), (0.70, 0.50, 0.14), (0.80, 0.66, 0.26), (0.62, 0.60, 0.22)),
)
_ANIMAL_NOSE = ((0.80, 0.47, 0.46), (0.07, 0.06, 0.07), (0.52, 0.27, 0.23))


def _draw(animals: Animals, size: int) -> Tensor:
    """(3, B, size, size) in [0, 1], before exposure and noise."""
    device, domain = animals.index.device, animals.domain
    p = SimpleNamespace(**{f.name: getattr(animals, f.name)[:, None, None] for f in dataclasses.fields(Animals)})
    cat, dog, wild = ((p.domain == k).float() for k in range(3))
    coat = (animals.breed * 4).long().clamp(max=3)
    lion = wild * (coat == 1).float()[:, None, None]
    leopard = wild * (coat == 2).float()[:, None, None]
    tiger = wild - lion - leopard
    coats = torch.tensor(_COATS, device=device)[domain, coat] * (1 + 0.10 * animals.shade)[:, None, None]
    fur, pale, mark = (coats[:, k].T[:, :, None, None].clamp(0, 1) for k in range(3))
    iris = torch.tensor(_ANIMAL_EYES, device=device)[domain, (animals.eyes * 4).long().clamp(max=3)].T[:, :, None, None]
    nose_colour = rgb(_ANIMAL_NOSE, device)[:, domain]
    hw, hh, ear_x, ear_y, eye_x, eye_y, eye_r, nose_y, nose_w, muz_w, muz_h = torch.tensor(_ANIMAL, device=device)[domain].T[:, :, None, None]

    angle, scale = animals.roll.double() * math.radians(8), 1 + 0.06 * p.zoom
    cos, sin = angle.cos().float()[:, None, None] / scale, angle.sin().float()[:, None, None] / scale
    px, py, x, y = grid(size, 0.5, 0.54, cos, sin)
    w = 1 / size / scale
    img = background(p, px, py, w)
    where = (animals.texture.double(), (animals.texture.double() * 7.77) % 1)
    hair, blobs = texture(size, 70, where), texture(size, 13, where)
    hw = hw * (1 + 0.07 * p.head)
    ax, fuzz = x.abs(), 0.008 * hair

    def fill(inside, colour, shade=1.0, strength=1.0, edge=1.0):
        paint(img, cover(inside, w * edge) * strength, (colour * shade).clamp(0, 1))

    def blob(dx, dy, rx, ry):
        """Inside measure of an ellipse at offset (dx, dy) from its centre."""
        return (1 - (dx / rx).square() - (dy / ry).square()) * (0.5 * ry)

    fine = 1 + 0.13 * hair
    # mane, shoulders, then upright ears behind the head
    mane = blob(x, y - 0.02, hw * 1.42 + 0.03 * blobs, hh * 1.42 + 0.03 * blobs) - (1 - lion) * 9
    fill(torch.maximum(blob(x, y - 0.52, hw * 1.25, hh * 0.8), mane) + fuzz, fur * (1 - lion) + mark * lion, (0.78 + 0.25 * blobs * lion) * fine)
    size_e = 1 + 0.15 * p.ears
    wedge = (y - ear_y + 0.185 * size_e) * 0.52 - (ax - ear_x - 0.12 * (ear_y - y)).abs()
    wedge = torch.minimum(wedge, 0.12 + ear_y - y)
    disc = blob(ax - ear_x, y - ear_y, 0.105 * size_e, 0.105 * size_e)
    upright = torch.where(cat > 0, wedge, disc) - dog * 9
    fill(upright + fuzz, fur, 0.92 * fine)
    fill(upright - 0.032, torch.where(cat > 0, fur * 0.5 + rgb((0.42, 0.24, 0.24), device), mark * 0.6), 1.0, 0.8, 3.0)
    # head: round form, markings, lighter muzzle and cheeks
    tx, ty = x + 0.03 * p.yaw, y + 0.02 * p.pitch  # the features turn with the head
    shape = blob(x, y, hw * (1 + 0.10 * (y > 0.1) * wild), hh) + fuzz
    lit = 1.08 - 0.42 * ((x / hw).square() + (y / hh).square()) * 0.6 + 0.16 * p.light_x * x / hw - 0.06 * y / hh
    stripes = (wave(tx * 9 + 0.25 * wave(ty * 4)) * (ty < -0.10) + wave(ty * 8 - ax * 4 + 0.6 * blobs) * (ax > 0.17)).clamp_(min=0)
    patch = cover(blob(tx - 0.13, ty + 0.08, 0.15 + 0.02 * blobs, 0.17 + 0.02 * blobs), w * 4)
    spots = ((blobs.abs() - 0.30) * 6).clamp_(0, 1) * (ax + (ty < -0.08) * 0.2 > 0.16)
    marks = tiger * (stripes * 1.7).clamp_(max=1) * 0.95 + leopard * spots * 0.9 + cat * stripes * p.markings * 0.7 + dog * patch * p.markings.round()
    skin = fur.lerp(mark, marks.clamp_(0, 1))
    skin = skin.lerp(pale, (bump((ax / 0.24).square() + ((ty - 0.20) / 0.22).square()) * 1.5 * (1 - 0.5 * cat)).clamp_(max=0.85))
    skin = skin.lerp(pale, 0.8 * wild * bump(((ax - 0.14) / 0.10).square() + ((ty + 0.155) / 0.06).square()))
    fill(shape, skin * lit, fine)
    # hanging ears lie over the sides of the head
    hang = blob(ax - ear_x - 0.02 - 0.10 * (y - ear_y).clamp(min=0), y - ear_y - 0.19, 0.088 * size_e, 0.235 * size_e) - (1 - dog) * 9
    fill(hang + fuzz, mark, (1.05 - 0.30 * bump((hang / 0.02).square())) * fine)
    # muzzle, mouth, tongue, whiskers
    mw, mh, my = muz_w * (1 + 0.10 * p.muzzle), muz_h * (1 + 0.10 * p.muzzle), ty - nose_y
    pads = blob(tx.abs() - mw * 0.48, my - mh * 0.55, mw * 0.55, mh * 0.50)
    tongue = blob(tx, my - mh * 1.15, 0.048, 0.085) - (1 - dog * (p.tongue > 0.6)) * 9
    fill(tongue, rgb((0.90, 0.42, 0.46), device), 1 - 0.2 * bump((tx / 0.008).square()))
    chin = blob(tx, my - mh * 0.9, mw * 0.5, mh * 0.35)
    fill(torch.maximum(pads, chin), pale, (0.86 + 0.35 * bump((my / mh - 0.3).square() * 1.6)) * fine, 0.9, 3.0)
    groove = torch.minimum(0.0045 - tx.abs(), torch.minimum(my, mh * 0.62 - my))
    smile = torch.minimum(0.0050 - (my - mh * 0.62 - 0.30 * mw * (1 - (tx.abs() / (mw * 0.45) - 1).square())).abs() * 0.7, mw * 0.85 - tx.abs())
    fill(torch.maximum(groove, smile), mark, 0.35, 0.9)
    dots = bump(((tx.abs() - mw * 0.55) / (mw * 0.3)).square() + ((my - mh * 0.55) / (mh * 0.3)).square())
    fill((wave(tx * 26) + wave(my * 26) - 1.45) * 0.02, mark, 0.5, dots * (1 - dog))
    for slope, drop in ((0.10, 0.02), (-0.06, 0.035), (-0.22, 0.05)):
        hairs = line(my - drop + slope * (tx.abs() - 0.05), 0.0022, w) * (tx.abs() > mw * 0.55) * (tx.abs() < 0.36) * (cat * 0.85 + wild * 0.4)
        paint(img, hairs, rgb((0.97, 0.97, 0.96), device))
    # nose: a rounded triangle with a light
    nose = torch.minimum(blob(tx, my, nose_w, nose_w * 0.72), nose_w * 0.78 - tx.abs() - (my - nose_w * 0.1).clamp(min=0) * 1.1)
    gleam = bump(((tx - 0.01 * p.light_x) / (nose_w * 0.6)).square() + ((my + nose_w * 0.32) / (nose_w * 0.28)).square())
    fill(nose, nose_colour, 0.85 + 0.55 * gleam)
    fill(blob(tx.abs() - nose_w * 0.42, my - nose_w * 0.12, nose_w * 0.2, nose_w * 0.16), mark, 0.15, 0.8)
    # eyes: dark rim, iris, pupil (a slit in cats), catch-light
    ex, ey = tx.abs() - eye_x, ty - eye_y
    ey = ey + (0.22 * cat + 0.15 * wild) * ex
    almond = blob(ex, ey, eye_r * 1.12, eye_r * (0.92 - 0.12 * wild))
    fill(almond + 0.010, mark, 0.28)
    fill(almond, iris, 1.10 - 0.45 * (0.5 - ey / eye_r * 0.8).clamp(0, 1) - 0.3 * bump((almond / 0.012).square()))
    wide, high = (0.24 + 0.10 * p.pupil) * cat + 0.62 * dog + 0.42 * wild, 0.8 * cat + 0.62 * dog + 0.42 * wild
    fill(blob(ex, ey, eye_r * wide, eye_r * high), mark, 0.12)
    fill(blob(tx - tx.sign() * eye_x - 0.014 * p.light_x, ey + eye_r * 0.36, eye_r * 0.22, eye_r * 0.22), pale * 0 + 1)
    return img


def render(animals: Animals, size: int, device="cpu") -> Tensor:
    """(B, 3, size, size) float32 in [-1, 1] on `device`. size in pixels, 32 to 512. ValueError: a size outside that range."""
    return canvas.render(_draw, animals, size, device)

"""A face in layers: background, hair, neck, ears, skin, beard, eyes, mouth, hair before the face, glasses, hat."""

from types import SimpleNamespace

import torch
from torch import Tensor

from lib.synthetic.canvas import background, bump, cover, cut, hsv, line, paint, pick, ramp, rgb, slab, texture, wave
from lib.synthetic.geometry import BROW_W, BROW_X, brow_line, each, grid, measure
from lib.synthetic.parameters import Faces

_SKIN = ((0.945, 0.765, 0.635), (0.915, 0.715, 0.570), (0.870, 0.665, 0.500), (0.790, 0.565, 0.400), (0.670, 0.455, 0.305), (0.540, 0.350, 0.235),
         (0.430, 0.275, 0.190))  # fmt: skip
_PALE = ((1.000, 0.910, 0.860), (0.980, 0.880, 0.828))
_IRIS = ((0.23, 0.12, 0.06), (0.36, 0.20, 0.09), (0.45, 0.33, 0.14), (0.33, 0.42, 0.22), (0.25, 0.47, 0.62), (0.38, 0.55, 0.70), (0.45, 0.50, 0.54))
# Dark and light end of each hair colour, each for the darkest and the lightest shade of it.
_HAIR = {
    "black_hair": (((0.015, 0.014, 0.019), (0.032, 0.029, 0.034)), ((0.125, 0.125, 0.150), (0.165, 0.158, 0.172))),
    "blond_hair": (((0.610, 0.460, 0.210), (0.710, 0.570, 0.330)), ((0.960, 0.810, 0.480), (1.000, 0.940, 0.740))),
    "brown_hair": (((0.195, 0.112, 0.058), (0.265, 0.168, 0.098)), ((0.490, 0.315, 0.180), (0.590, 0.405, 0.250))),
    "gray_hair": (((0.370, 0.380, 0.400), (0.520, 0.528, 0.545)), ((0.760, 0.770, 0.790), (0.940, 0.945, 0.955))),
}
# none of the four: strawberry, copper, auburn, mahogany, wine; dyed rose, teal, lilac or denim
_HAIR_RED = (
    ((0.520, 0.250, 0.150), (0.450, 0.200, 0.070), (0.320, 0.095, 0.045), (0.250, 0.060, 0.045), (0.200, 0.028, 0.058)),
    ((0.930, 0.590, 0.430), (0.880, 0.520, 0.260), (0.710, 0.310, 0.175), (0.570, 0.205, 0.150), (0.480, 0.120, 0.175)),
)
_HAIR_DYED = (
    ((0.560, 0.220, 0.340), (0.060, 0.230, 0.280), (0.240, 0.140, 0.360), (0.090, 0.160, 0.340)),
    ((0.980, 0.630, 0.720), (0.310, 0.660, 0.680), (0.640, 0.500, 0.800), (0.380, 0.540, 0.800)),
)
_LIPSTICK = ((0.86, 0.03, 0.09), (0.95, 0.11, 0.40), (0.98, 0.21, 0.15), (0.64, 0.03, 0.36), (0.72, 0.02, 0.19))
_RIMS = ((0.04, 0.04, 0.05), (0.09, 0.06, 0.05), (0.24, 0.12, 0.05), (0.48, 0.34, 0.08), (0.42, 0.04, 0.07), (0.07, 0.13, 0.36), (0.36, 0.38, 0.42))


_FIXED = {
    "white": (0.97, 0.96, 0.95), "black": (0.02, 0.02, 0.025), "glint": (1.0, 1.0, 1.0), "lash": (0.07, 0.045, 0.04), "mouth": (0.20, 0.045, 0.055),
    "tongue": (0.72, 0.33, 0.35), "teeth": (0.97, 0.955, 0.925), "lens": (0.16, 0.20, 0.24), "blush": (0.38, 0.10, 0.12),
    "silver": (0.74, 0.74, 0.76),
}  # fmt: skip


# --- layers ---


def _hair(g: SimpleNamespace, x: Tensor, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inside measures of the whole head of hair and of what of it lies before the face, and the shade of its strands. g: (B, 1, 1) float32."""
    p = g.p
    sx, hy = x - g.hx, -0.04
    below = (y - hy).clamp(min=0)
    # strands run from the parting over the top and down the sides
    flow = (sx - g.part) / (y + (g.hair_top + 0.13)).clamp_(min=0.06)
    flow = flow + g.wave * 4 * wave(y * 5.5 + p.hair_day) * below + 0.012 * noise
    lock = wave(flow * 3.3 + p.hair_day)
    strand = 0.35 * lock + 0.40 * wave(flow * 9 + 1.1 * lock + p.hair_part) + 0.25 * wave(flow * 26 + 2.3 * lock + y * 1.5)
    strand = strand + g.curl * (1.6 * noise - strand)
    # outline
    wide = g.hair_w * (1 + (g.flare * below).clamp_(max=0.12)) + g.wave * wave(y * 5.5 + p.hair_day + 0.25)
    up = ((y - hy).clamp_(max=0) / (g.hair_top + hy)).square_()
    rho2 = (sx / wide).square_().add_(up * (0.45 + 0.55 * up))
    hull = (1 - rho2) * (0.5 * g.hair_w) + strand * (0.0015 + 0.0085 * g.curl + 0.0075 * g.rough)
    # short hair is combed up and away from the parting, and lies close at the sides
    quiff = 0.020 * bump(((sx + 1.2 * g.part) / 0.13).square() + ((y + g.hair_top) / 0.11).square())
    hull = hull + g.rough * (quiff - 0.010 * (1 + y * 5).clamp_(0, 1))
    hull = torch.minimum(hull, (g.hair_end + 0.015 * strand - y) * g.cut)  # short hair fades out
    bun = (0.075**2 - (sx - 0.4 * g.part) ** 2 - (y + g.hair_top + 0.025) ** 2) / 0.15 - (1 - g.bun) * 9
    # the opening for the face: |q|^4 + |r|^4 = 1; a receding hairline goes up at the temples and leaves a forelock
    temple = bump(((y + 0.108) / 0.078).square())  # seen under a hat too, which presses the hair there forward
    tuft = bump(((y - 0.002) / (0.045 + 0.025 * g.capped)).square())  # before the ears
    q = (sx / (g.open_w * (1 + g.temple * temple - (0.09 + 0.09 * g.hat + 0.04 * g.capped) * tuft))).square_()
    r = (y + 0.02).clamp_(max=0) / g.open_h * (1 + (0.10 * g.part / 0.06) * sx / g.open_w)
    parted = bump(((sx - g.part) / 0.10).square()) * g.round
    r = r * (1 + (0.09 + 0.13 * g.receding - 0.09 * g.round) * bump(q * 4) - 0.16 * parted)
    r = r.square_()
    q4, r4 = q * q, r * r
    outside = (q4 + r4 - 1 + (0.20 + 0.55 * g.round) * (q + r - q4 - r4)) * (0.25 * g.open_w) + (0.004 + 0.004 * g.rough) * strand
    outside = outside - (0.06 * p.hair_day * below).clamp_(-0.02, 0.02)
    front = torch.minimum(hull, outside)
    # bangs
    fy = g.fringe_y + 0.014 * strand + 0.10 * p.fringe_side * sx - 0.020 * q
    fringe = torch.minimum(torch.minimum(fy - y, (0.90 - 0.36 * g.receding) * g.width + 0.008 * strand - sx.abs()), hull) - (1 - g.bangs) * 9
    front = torch.maximum(front, fringe)
    hull = torch.maximum(hull, bun)
    # under a hat only what hangs below it is left
    cut = y - g.hat_y + 0.012 + (1 - g.hat) * 9
    hull, front = torch.minimum(hull, cut), torch.minimum(front, cut)
    shine = bump(((rho2 - 0.66) / 0.30) ** 2) * (1 - 0.6 * g.rough) * (0.16 + 0.10 * p.light_x * sx / g.width)
    shade = 0.40 + 0.24 * strand + shine * (1 + 0.8 * strand) * (1 - 12 * below).clamp_(min=0) - 0.10 * below
    shade = shade - (0.22 * bump((outside / 0.05).square()) + 0.25 * bump(((sx - g.part) / 0.012).square()) * g.round) * (1 - g.bangs * (y < -0.02))
    return hull, front, shade.clamp_(0, 1)


def _head(g: SimpleNamespace, x: Tensor, y: Tensor) -> Tensor:
    """Inside measure of the head: an implicit curve divided by the length of its gradient."""
    s = (y / g.chin).clamp_(min=0)
    up = (y / g.top).clamp_(max=0)
    half = g.width * (1 - g.taper * s)
    sx = (x - g.hx) / half
    s2, up2 = s * s, up * up
    value = 1 - sx * sx - up2 * (0.6 + 0.4 * up2) - s2 * (g.jaw + (1 - g.jaw) * s2)
    slope = (sx / half).abs_() + (up / g.top).abs_() * (0.6 + 0.8 * up2) + s * (g.jaw + 2 * (1 - g.jaw) * s2) / g.chin
    return value / slope.mul_(2).clamp_(min=2.0)


def _skin_shade(g: SimpleNamespace, x: Tensor, y: Tensor, front: Tensor, w: Tensor, spots: Tensor) -> Tensor:
    """(B, S, S) brightness of the head's skin, about .75 where plainly lit: round form, shadows, features."""
    p = g.p
    sx = (x - g.hx) / g.width
    sy = (y - 0.02) * 2.7
    r2 = sx * sx + sy * sy
    hard = 0.8 + 0.25 * p.contrast
    t = 0.88 - hard * (0.27 + 0.08 * g.old) * r2 + hard * (0.20 * p.light_x * sx - (0.08 - 0.05 * p.light_y) * sy)
    t = t + 0.10 * hard * bump(((sx - 0.25 * p.light_x) / 0.55).square() + ((y + 0.12) / 0.085).square())  # light on the forehead
    t = t + (0.012 + 0.02 * g.old) * spots
    t = t - 0.26 * bump(((front - 0.004).clamp_(max=0) / 0.05).square_())  # shadow under the hair
    t = t - g.hat * 0.30 * bump(((y - g.hat_y) / 0.085).clamp_(min=0).square_())

    # nose: dark flank away from the light, ridge, ball, wings, nostrils, shadow below
    v, xn, yy = cut((0.33, 0.44, 0.67, 0.72), t, x, y)
    s, t01 = g.nose_w, ((yy + 0.03) / (g.nose_y + 0.03)).clamp_(0, 1)
    xn = xn - g.nose_x * t01
    ridge = bump(((t01 - 0.6) / 0.62).square())
    u = xn / (0.016 + 0.6 * (s - 0.016) * t01)
    flank = (1 - p.light_x * u.sign()) * bump(((u.abs() - 1.0) / 0.75).square())
    v += ridge * (0.5 + 0.2 * p.nose_bridge) * (0.10 * bump((u / 0.55).square()) - 0.10 * flank)
    dy = yy - g.nose_y
    v += 0.13 * bump(((xn - 0.004 * p.light_x) / 0.022).square() + (dy / 0.022).square())
    v -= 0.20 * bump((xn / (s * 1.15)).square() + ((dy - 0.030) / 0.018).square())
    wing = ((xn.abs() - s * 0.62) / (s * 0.42)).square() + ((dy - 0.008) / 0.021).square()
    v -= 0.26 * bump(((wing - 1.0) / 0.95).square()) * (xn.abs() > s * 0.62) * bump(((dy - 0.012) / 0.030).square())
    v -= 0.50 * cover((1 - ((xn.abs() - s * 0.40) / (s * 0.24)).square() - ((dy - 0.0165) / 0.0060).square()) * 0.004, w * 0.7)

    # cheeks: raised by a smile; the fold from the nose to the mouth, with smile and with age
    v, ax, yy, spots = cut((0.20, 0.50, 0.80, 0.98), t, (x - g.mouth_x).abs(), y, spots)
    v += (0.15 * g.smile + 0.03 + 0.03 * p.cheek) * bump(((ax - 0.130) / 0.062).square() + ((yy - 0.105 + 0.012 * g.smile) / 0.052).square())
    v -= (0.08 * g.smile + 0.05 + 0.13 * g.old) * bump(((ax - 0.165) / 0.05).square() + ((yy - 0.20) / 0.09).square())
    depth = (yy - g.nose_y + 0.012) / 0.125
    fold = g.nose_w + 0.018 + depth * (0.034 + 0.050 * g.smile) + 0.010 * g.smile
    v -= (0.30 * g.smile + 0.44 * g.old) * bump(((ax - fold) / (0.014 + 0.005 * g.old)).square()) * bump(((depth - 0.5) / 0.55).square())
    v -= g.smile * 0.28 * bump(((ax - g.mouth_w - 0.008) / 0.013).square() + ((yy - g.mouth_y + g.lift) / 0.020).square())
    freckled = bump((ax / 0.17).square() + ((yy - 0.085) / 0.065).square())
    v -= (0.6 * (p.freckles - 0.6)).clamp_(min=0) * (spots * 4 - 1.2).clamp_(0, 1) * freckled
    # chin and below the lip; a man's shaven skin is a little darker
    v -= 0.10 * g.male * cover(yy - 0.225 + 0.45 * (ax - 0.08).abs() * (ax < 0.08), 0.05) * (1 - 0.5 * bump((ax / 0.10).square()))
    v -= 0.16 * bump((ax / 0.055).square() + ((yy - g.mouth_y - g.lip_l - g.open_l - 0.016) / 0.014).square())
    v += 0.06 * bump((ax / 0.06).square() + ((yy - g.chin + 0.055) / 0.035).square())
    v -= g.old * 0.26 * bump(((ax - 0.105 + 0.25 * (yy - 0.30)) / 0.014).square()) * bump(((yy - 0.285) / 0.05).square())

    # sockets, bags under the eyes, crow's feet
    v, ex, yy = cut((0.22, 0.38, 0.78, 0.64), t, x.abs() - g.eye_x, y)
    v -= (0.13 + 0.10 * g.old) * bump((ex / 0.085).square() + ((yy + 0.028) / 0.042).square())
    v -= 0.10 * bump(((ex + 0.062) / 0.028).square() + ((yy + 0.01) / 0.045).square())
    bag = (yy - 0.036 - 0.005 * g.old + 2.2 * ex * ex) / (0.0125 + 0.0030 * g.old)
    v -= (0.06 + 0.40 * g.old) * bump((ex / (g.eye_w * 1.05)).square()) * bump(bag.square())
    fan = line(wave((yy + 0.10 * (ex - g.eye_w)) / 0.020 + 0.5) - 1.0, 0.45, 0.5)
    v -= g.old * 0.28 * fan * bump(((ex - g.eye_w - 0.026) / 0.022).square()) * bump(((yy - 0.002) / 0.034).square())
    # lines on the forehead
    v, xx, yy = cut((0.25, 0.26, 0.75, 0.46), t, x - g.hx, y)
    lines = wave((yy + 0.018 * wave(xx * 3.2)) / 0.046)
    v -= g.old * 0.46 * (lines - 0.20).clamp_(min=0) * bump((xx / 0.16).square()) * bump(((yy + 0.130) / 0.060).square())
    v -= g.old * 0.22 * bump(((xx.abs() - 0.014) / 0.006).square()) * bump(((yy + 0.055) / 0.03).square())
    return t


def _eyes(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, w: Tensor) -> None:
    """Lids, whites, irises with catch-lights, lashes and brows, both eyes at once: the right box is mirrored into the left one's frame."""
    p = g.p
    for side, left, right in ((-1.0, 0.27, 0.50), (1.0, 0.495, 0.725)):
        view, ex, dy = cut((left, 0.38, right, 0.585), img, x, y)
        ex = (ex * side - g.eye_x) / (1 - 0.05 * p.yaw * side)  # positive towards the temple
        ey = dy + g.eye_tilt * ex
        u = ex / g.eye_w
        a = 1 - u * u
        upper = -g.eye_u * a * (1 - 0.12 * u)
        lower = g.eye_l * a * (1 + 0.15 * u)
        # eye shadow and the crease of the lid
        shadow = bump(((ex - 0.004) / 0.062).square() + ((ey + 0.026) / 0.026).square())
        paint(view, shadow * g.eyeshadow, c.eyeshadow)
        crease = upper - 0.0115 - 0.003 * p.crease
        paint(view, line(ey - crease, 0.0022, w) * bump((u / 1.15).square()) * (0.42 + 0.25 * p.crease), c.skin_dark)
        # the eye itself
        inside = slab(ey - upper, lower - ey, w) * (a > 0)
        white = c.white * (0.98 - 0.30 * bump(((ey - upper) / 0.014).square()) - 0.14 * u * u)
        gx = ex - 0.0025 - side * 0.011 * p.gaze
        gy = ey + 0.0045
        d2 = gx * gx + gy * gy
        d = (g.iris * g.iris - d2) / (2 * g.iris)
        iris = c.iris * (0.80 + 0.45 * (gy / g.iris).clamp(-1, 1)) * (1 - 0.55 * bump((d / 0.0055).square()))
        eye = white.lerp_(iris, cover(d, w))
        pupil = g.iris * 0.46
        eye.lerp_(c.black, cover((pupil * pupil - d2) / (2 * pupil), w))
        glint = (gx - side * (0.007 * p.light_x)) ** 2 + (gy + 0.0085) ** 2
        eye.lerp_(c.glint, cover((0.0058**2 - glint) / 0.0116, w) * 0.95)
        paint(view, inside, eye)
        # lash lines: a flick at the outer corner, longer and darker on women
        reach = bump((u / 1.28).square()).mul_(1.9).clamp_(max=1)
        lid = upper - 0.16 * g.lash * g.eye_w * (u - 0.75).clamp_(min=0)
        paint(view, line(ey - lid + 0.0015, 0.0021 + 0.0022 * g.lash, w) * reach * (0.72 + 0.23 * g.lash), c.lash)
        paint(view, line(ey - lower, 0.0011, w) * (a > 0) * (0.30 + 0.25 * g.lash), c.lash)
        # brow
        v = (ex - BROW_X) / BROW_W
        by = dy - brow_line(g, v)
        v2 = v * v
        thick = g.brow_h * (1.05 - 0.18 * v - 0.65 * v2 * v2)
        hairs = 0.92 + 0.08 * wave(v * 9 + by * 60)
        paint(view, line(by, thick, w * 1.3) * cover((1 - v.abs()) * BROW_W, w * 2.5) * hairs * g.brow_alpha, c.brow)


def _mouth(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, w: Tensor) -> None:
    """Lips; between them, where the mouth is open, teeth, tongue and the dark."""
    view, u, my = cut((0.34, 0.675, 0.66, 0.86), img, (x - g.mouth_x) / g.mouth_w, y - g.mouth_y)
    a = 1 - u * u
    my = my - g.drop + (g.drop + g.lift) * (u * u)
    bow = 1 - (0.22 + 0.14 * g.p.lip_bow) * bump((u / 0.30).square())
    upper = -(g.lip_u * bow * (1 + 0.25 * a) * 0.86 + g.open_u) * a
    lower = (g.lip_l * (0.72 + 0.28 * a) + g.open_l) * a
    within = (a > -0.05).float()
    lips = slab(my - upper, lower - my, w) * within
    gloss = bump(((u - 0.1 * g.p.light_x) / 0.42).square() + ((my - g.open_l * a - 0.46 * g.lip_l) / 0.0075).square())
    shade = 0.90 - 0.17 * (my < 0) + (0.16 + 0.16 * g.wearing_lipstick) * gloss - 0.10 * u * u
    paint(view, lips * g.lip_alpha, (c.lip * shade).clamp_(max=1))
    # the line where the lips meet, reaching a little beyond the corners
    top, bottom = -g.open_u * a, g.open_l * a
    meet = line(my + 0.4 * (g.open_u - g.open_l) * a, 0.0025 + 0.0012 * g.smile, w) * cover((1.06 - u.abs()) * g.mouth_w, w)
    paint(view, meet * 0.85 * (1 - g.agape), c.mouth)
    opening = slab(my - top, bottom - my, w) * g.agape * within
    inner = c.mouth.expand_as(view).clone()
    tongue = bump((u / 0.62).square() + ((my - bottom) / (0.018 * g.gape + 1e-3)).square())
    inner.lerp_(c.tongue, (tongue * 1.6).clamp_(max=1))
    teeth_low = top + (0.010 + 0.011 * g.smile) * (0.55 + 0.45 * a)
    gaps = 1 - 0.16 * bump((wave(u * (3.2 + 0.6 * a)) - 1).square() * 12)
    inner.lerp_(c.teeth * (gaps * (1 - 0.22 * u * u)), cover(teeth_low - my, w) * cover((0.90 - u.abs()) * g.mouth_w, w * 2))
    paint(view, opening, inner)


def _beard(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, head: Tensor) -> None:
    """Beard along the jaw, sideburns, mustache and goatee, as density of hair; the mouth is painted after it."""
    grain = texture(img.shape[-1], 150, (g.p.texture[:, 0, 0], (g.p.texture[:, 0, 0] * 7.77) % 1))
    view, bx, by, inside, grain = cut((0.20, 0.42, 0.80, 0.98), img, x, y, head, grain)
    hx, mx = (bx - g.hx).abs() / g.width, (bx - g.mouth_x).abs()
    shape = g.p.beard_shape
    dense, soft, q = 0.78 + 0.08 * g.p.beard, 0.016, hx * hx
    # jaw: below a line from the ear to the corner of the mouth, not on the lip; sideburns: from the temple to that line
    cheek = 0.228 - 0.120 * q * q - 0.02 * shape
    lip = bump((mx / 0.085).square() + ((by - 0.185) / 0.05).square()).mul_(1.4).clamp_(max=1)
    bare = bump((mx / 0.062).square() + ((by - g.chin + 0.080) / 0.042).square()).mul_(1.5).clamp_(max=1)  # the goatee's place
    alpha = g.jaw_beard * cover(by - cheek, soft * 2.2) * (0.78 + 0.09 * g.p.beard) * (1 - lip) * (1 - 0.60 * bare)
    side = cover((hx - 0.69 + 0.03 * shape - 0.40 * by.clamp(min=0)) * g.width, soft)
    side = side * slab(by + 0.06, 0.158 + 0.012 * shape - 0.10 * (1 - hx) - by, soft) * g.sideburns
    alpha = torch.maximum(alpha, (dense + 0.20) * side) * cover(inside + 0.004, soft)
    # mustache: two wings from the groove under the nose to beyond the corners of the mouth
    v = mx / (g.mouth_w * (1.04 + 0.10 * shape))
    middle = g.mouth_y - g.lip_u - g.open_u - 0.018 + (0.022 + 0.010 * shape) * v * v
    wings = (0.0205 + 0.0035 * shape) * (1 - 0.55 * v * v) - (by - middle).abs()
    alpha = torch.maximum(alpha, g.mustache * (dense + 0.10) * cover(torch.minimum(wings, (1 - v) * 0.09), soft * 0.75))
    # goatee: chin and the patch below the lip, a little beyond the chin
    gy = by - g.chin + 0.022
    chin = (1 - (mx / ((0.080 + 0.010 * shape) * (1 - 3 * gy.clamp(min=0)))).square() - (gy / (0.068 + 0.006 * shape)).square()) * 0.035
    patch = torch.minimum(0.018 - mx, 0.05 - (by - g.chin + 0.085).abs())
    alpha = torch.maximum(alpha, g.goatee * (dense + 0.16) * cover(torch.maximum(chin, patch), soft))
    tone = c.beard + (c.hair_dark - c.beard) * (0.15 * side)  # sideburns go over into the hair
    paint(view, (alpha * (1 + 0.22 * grain)).clamp_(0, 1), (tone * (1 + 0.32 * grain)).clamp_(0, 1))


def _glasses(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, w: Tensor) -> None:
    """Rims, bridge, temples, tinted lenses with a reflection, and their shadow on the skin."""
    p = g.p
    view, gx, gy, hx = cut((0.20, 0.38, 0.80, 0.66), img, x - 0.3 * g.nose_x, y - 0.010, x - g.hx)
    ax = gx.abs() - g.eye_x - 0.004
    half_w, half_h = 0.080 + 0.006 * p.glasses_size, 0.058 + 0.007 * p.glasses_size - 0.009 * p.glasses_shape
    # rounded rectangle as a superellipse whose exponent goes from 2 (round) to 4
    qx, qy = (ax / half_w).square_(), (gy / half_h).square_()
    square = 0.5 + 0.5 * p.glasses_shape
    f = (1 - square) * (qx + qy) + square * (qx * qx + qy * qy)
    d = (1 - f) * (half_h * 0.5 / (1 + square))
    thick = 0.0080 + 0.0020 * p.glasses_rim
    paint(view, bump(((d + thick + 0.008) / 0.014).square()) * (gy > 0) * 0.35, c.skin_dark)
    lens = cover(d, w)
    paint(view, lens * (0.05 + 0.12 * p.tint * p.tint), c.lens)
    slant = gx * 0.8 + gy - 0.085 * gx.sign()
    streak = line(slant + 0.010, 0.011, w * 2) + line(slant - 0.012, 0.003, w * 2)
    paint(view, lens * streak * 0.40 * bump((gy / half_h).square() * 0.8), c.glint)
    rim = line(d, thick, w)
    bridge = line(gy + 0.016 - 6 * gx * gx, thick * 0.8, w) * (gx.abs() < g.eye_x - half_w + 0.012)
    arms = line(gy + 0.016, thick * 0.75, w) * (ax > half_w * 0.93) * cover(g.width * 1.02 - hx.abs(), w)
    rim = torch.maximum(torch.maximum(rim, bridge), arms)
    paint(view, rim, (c.rim * (1 + 0.5 * bump(((d - thick * 0.4) / (thick * 0.7)).square()) * (gy < 0))).clamp_(max=1))


def _hat(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, w: Tensor) -> None:
    """A knitted beanie with a fold, a cap with a visor, or a hat with a ribbon and a brim."""
    p = g.p
    view, hx, hy = cut((0.0, 0.0, 1.0, 0.52), img, x - g.hx, y)
    kind = (p.hat * 3).long().clamp(max=2)
    beanie, cap, brim = ((kind == k).float() for k in range(3))
    width = g.width * (1.13 - 0.02 * cap - 0.05 * brim)
    edge = g.hat_y + (0.06 * beanie + 0.10 * cap - 0.10 * brim) * (hx / width).square() * 0.5
    up = hy - edge
    tall = g.top + 0.075 + g.hat_y + 0.01 * beanie
    qx, qy = (hx / width).square(), (up.clamp(max=0) / tall).square()
    dent = 0.020 * brim * bump((hx / 0.10).square())
    dome = 1 - torch.where(brim > 0, qx * qx, qx) - torch.where(brim > 0, qy * qy, qy)
    crown = torch.minimum(dome * 0.10 - dent * (qy > 0.3), -up)
    rib = wave(hx * (24 - 8 * hy.abs()) + p.hat_tone)
    shade = 0.86 + 0.20 * p.light_x * hx / width - 0.28 * qx + (0.07 * rib - 0.02) * beanie
    shade = shade - cap * 0.18 * bump((hx.abs() / width - 0.42 * (1 - qy) - 0.02).square() / 0.0006) - 0.25 * cap * bump((hx / 0.006).square())
    paint(view, cover(crown, w), (c.hat * shade).clamp_(0, 1))
    # fold, ribbon; visor or brim with the dark of its underside
    fold = torch.minimum(torch.minimum(up + 0.075 * beanie + 0.052 * brim, -up), 1.03 * width - hx.abs()) - cap * 9
    paint(view, cover(fold, w), (c.hat_band * (shade + 0.05 * rib * beanie)).clamp_(0, 1))
    vx = hx - 0.035 * p.yaw * cap
    reach_w, reach_h = 0.205 * cap + 0.375 * brim + 0.1 * beanie, 0.036 * cap + 0.030 * brim + 0.01 * beanie
    vy = hy - g.hat_y + 0.004 - (0.35 * cap - 0.25 * brim) * vx * vx
    steep = vx.abs() / reach_w.square() + vy.abs() / reach_h.square()
    visor = (1 - (vx / reach_w).square() - (vy / reach_h).square()) / (2 * steep).clamp_(min=9.0) - beanie * 9
    lit = 0.80 - 0.30 * (vy / reach_h).clamp(-1, 1)
    paint(view, cover(visor, w), (c.hat * lit).clamp_(0, 1))


def _neck_and_clothes(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, w: Tensor) -> None:
    """Neck with the shadow of the chin, shoulders, and one of four necklines."""
    p = g.p
    view, nx, ny = cut((0.0, 0.70, 1.0, 1.0), img, x - 0.5 * g.hx, y)
    ax = nx.abs()
    half = 0.118 + 0.010 * p.neck + 0.040 * g.male
    flare = (ny - 0.36).clamp(min=0)
    neck = half + 2.2 * flare * flare * 4 - ax
    below = (ny - g.chin) / 0.12
    shade = 0.52 + 0.22 * below.clamp(0, 1) + 0.12 * p.light_x * nx / half - 0.12 * (nx / half).square().clamp_(max=1)
    apple = g.male * 0.06 * bump((nx / 0.022).square() + ((ny - g.chin - 0.07) / 0.03).square())
    shoulder = ny - 0.395 - 0.01 * p.neck - 0.42 * (ax - 0.13) + 0.015 * g.male
    body = torch.maximum(torch.minimum(neck, ny - 0.15), torch.minimum(shoulder, ny - 0.38))
    paint(view, cover(body, w), c.skin_dark + (c.skin_light - c.skin_dark) * (shade + apple))
    kind = (p.clothes * 4).long().clamp(max=3)
    crew, vee, shirt, low = ((kind == k).float() for k in range(4))
    neckline = 0.455 - 0.055 * crew - 0.020 * shirt + 0.03 * low - (crew * 1.5 - low * 0.2) * (0.02 - ax * ax) - (vee + shirt) * (0.55 * ax - 0.055)
    cloth = torch.minimum(torch.minimum(shoulder + 0.008, ny - neckline), ny - 0.36)
    folds = wave(nx * 5 + ny * 3) * ((ax - 0.1) * 8).clamp_(0, 1)
    fall = 0.92 + 0.16 * p.light_x * nx + 0.10 * folds - 0.22 * bump(((ny - neckline) / 0.02).square())
    paint(view, cover(cloth, w), (c.clothes * fall).clamp_(0, 1))
    collar = slab(ny - neckline + 0.012, neckline + 0.045 - ny, w) * shirt * (ax < 0.2)
    paint(view, collar, (c.clothes * 0.7 + 0.28).clamp_(0, 1))


def _ears(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, w: Tensor) -> None:
    """Two ears with a darker inside; the one on the side that the head turns to is hidden a little."""
    for side, left, right in ((-1.0, 0.16, 0.36), (1.0, 0.64, 0.84)):
        view, ex, ey = cut((left, 0.42, right, 0.68), img, x - g.hx, y)
        ex = ex * side - g.width * 0.985 + 0.010 * g.p.yaw * side
        ey = ey - 0.035 + 0.35 * ex * 0.3
        high, wide = 0.060 + 0.006 * g.p.ear_size, 0.027 + 0.003 * g.p.ear_size
        q = (ex / (wide * (1 - 2.2 * ey))).square() + (ey / high).square()
        shade = 0.70 - 0.30 * bump(((q - 0.30) / 0.32).square()) + 0.10 * g.p.light_x * side
        paint(view, cover((1 - q) * wide * 0.5, w), c.skin_dark + (c.skin_light - c.skin_dark) * shade)


def _scene(faces: Faces) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Namespaces of (B, 1, 1) numbers, the raw parameters in `.p`, and of (3, B, 1, 1) colours; float32, computed in
    float64 where they pass through functions that are not exactly rounded."""
    g = measure(faces)
    p, device = g.p, g.male.device
    pale = (g.pale_skin > 0)[None, :, None, None]
    skin = torch.where(pale, ramp(_PALE, p.tone), ramp(_SKIN, p.tone))
    skin = skin - rgb((0.012, -0.008, -0.004), device) * p.undertone.float()[None, :, None, None]
    c = SimpleNamespace(skin=skin, **{name: rgb(value, device).expand_as(skin) for name, value in _FIXED.items()})
    c.skin_dark = skin * torch.where(pale, rgb((0.60, 0.46, 0.42), device), rgb((0.46, 0.33, 0.29), device))
    c.skin_light = (skin * 1.05 + 0.015).clamp(max=1.0)
    dyed = (p.hair_other > 0.92)[None, :, None, None]  # the rest runs from strawberry over copper and auburn to wine
    dark, light = (
        torch.where(dyed, pick(bright, (p.hair_other - 0.92).clamp(min=0) / 0.0801), ramp(red, p.hair_other / 0.92))
        for red, bright in zip(_HAIR_RED, _HAIR_DYED, strict=True)
    )
    for name, (darks, lights) in _HAIR.items():
        mine = (getattr(g, name) > 0)[None, :, None, None]
        shade = 0.5 + 0.5 * p.hair_shade
        dark = torch.where(mine, ramp(darks, shade), dark)
        light = torch.where(mine, ramp(lights, shade), light)
    c.hair_dark, c.hair_light = dark, (light * (1 + 0.05 * p.hair_shade.float()[None, :, None, None])).clamp(max=1)
    gray, blond = (v.float()[None, :, None, None] for v in (g.gray_hair, g.blond_hair))
    faded = 0.30 * g.old.float()[None, :, None, None]  # brows whiten with age, whatever the colour of the hair
    c.brow = (dark * 0.72 + light * 0.17) * (1 - faded) + 0.62 * faded
    c.beard = dark * (0.58 + 0.20 * gray - 0.16 * blond) + light * (0.05 + 0.12 * gray)  # fair beards are darker
    natural = skin * rgb((0.86, 0.65, 0.61), device) + rgb((0.02, 0.0, 0.0), device)
    painted = (g.wearing_lipstick > 0)[None, :, None, None]
    c.lip = torch.where(painted, pick(_LIPSTICK, p.lipstick), natural)
    c.iris = ramp(_IRIS, p.eye_colour * (1 - 0.8 * p.tone))  # dark skin comes with dark eyes
    g.agape, g.lash, g.brow_alpha = (g.gape > 0).double(), 1 - 0.9 * g.male, 0.80 + 0.12 * g.male
    g.eyeshadow = (0.28 + 0.16 * p.makeup) * (1 - 0.85 * g.male)
    g.blush = (0.13 + 0.09 * p.makeup) * (1 - 0.6 * g.male)
    g.lip_alpha = torch.where(g.wearing_lipstick > 0, 1.0, 0.74 - 0.16 * g.male)
    g.jaw_beard = faces.jaw_beard.double()
    c.rim = pick(_RIMS, p.glasses_colour)
    c.eyeshadow = c.skin_dark * 0.8 + hsv((p.lipstick * 0.4 + 0.7) % 1, 0.5, 0.25)
    c.blush = c.skin * 0.55 + c.blush
    c.hat = hsv(p.hat_hue, 0.30 + 0.35 * (1 - p.hat_tone.abs()), 0.52 + 0.34 * p.hat_tone)
    c.hat_band = c.hat * 0.62 + hsv((p.hat_hue + 0.45) % 1, 0.4, 0.26 + 0.10 * p.hat_tone)
    c.clothes = hsv(p.clothes_hue, 0.25 + 0.35 * (1 - p.clothes_tone.abs()), 0.52 + 0.38 * p.clothes_tone)
    return each(g, lambda value: value.float()[:, None, None]), c


def draw(faces: Faces, size: int) -> Tensor:
    """(3, B, size, size) in [0, 1], before exposure and noise."""
    g, c = _scene(faces)
    p = g.p
    px, py, x, y = grid(size, g.cx, g.cy, g.cos / g.scale, g.sin / g.scale)
    # the edge width is the pixel's, or the blur's where that is wider
    w = torch.maximum(torch.full_like(g.scale, 1 / size), p.blur / 90) / g.scale
    where = (p.texture[:, 0, 0], (p.texture[:, 0, 0] * 7.77) % 1)

    img = background(p, px, py, w)
    hull, front, strands = _hair(g, x, y, texture(size, 34, where))
    hair = c.hair_dark + (c.hair_light - c.hair_dark) * strands
    temples = bump(((x - g.hx).abs() / g.width - 1).div_(0.30).square_() + ((y + 0.035) / 0.105).square()) * (0.55 * g.old * (1 - 0.8 * g.hat))
    hair.lerp_(c.silver * (0.55 + 0.6 * strands), temples)
    paint(img, cover(hull, w * 1.3), hair * 0.80)
    _neck_and_clothes(img, g, c, x, y, w)
    _ears(img, g, c, x, y, w)
    head = _head(g, x, y)
    shade = _skin_shade(g, x, y, front, w, texture(size, 90, where))
    paint(img, cover(head, w), (c.skin_dark + (c.skin_light - c.skin_dark) * shade).clamp_(0, 1))
    view, bx, by = cut((0.22, 0.50, 0.78, 0.78), img, x, y)
    paint(view, bump(((bx.abs() - 0.125) / 0.075).square() + ((by - 0.105) / 0.060).square()) * g.blush, c.blush)

    def on_some(flag, layer, *fields):
        """A layer that few faces have, on those that have it."""
        on = (flag[:, 0, 0] > 0).nonzero()[:, 0]
        if len(on):
            some = img[:, on]
            layer(some, *(each(s, lambda v: v[..., on, :, :]) for s in (g, c)), *(field[on] for field in fields))
            img[:, on] = some

    on_some(g.jaw_beard + g.mustache + g.goatee + g.sideburns, _beard, x, y, head)
    _eyes(img, g, c, x, y, w)
    _mouth(img, g, c, x, y, w)
    paint(img, cover(front, w * 1.2), hair)
    on_some(g.eyeglasses, _glasses, x, y, w)
    on_some(g.hat, _hat, x, y, w)
    return img

"""Synthetic faces: a renderer that knows the truth about every picture it draws.

A face is a row of parameters (`Faces`); `render` composes signed-distance shapes in torch, vectorised over the batch and anti-aliased at any
resolution; `counterfactual` changes one attribute and nothing else; `region` gives the exact pixels that change; landmarks come from the same
geometry. A second family, `sample_animals` and `render_animals`, draws three domains of animal faces.

Frames of reference
    crop   (px, py) in [0, 1], y down: the 178x178 centre square of CelebA's aligned 178x218 images, whatever the resolution.
    head   (x, y) = crop coordinates shifted to the point between the eyes, un-rolled and un-zoomed; unit: the side of the crop. The eyes lie near
           (-.1075, 0) and (.1075, 0), the tip of the nose near (0, .135), the mouth near (0, .23), the chin near (0, .38).
Left and right are the viewer's. Pixel (row i, column j) of a render of `size` covers [j, j + 1] x [i, i + 1] in landmark coordinates.

Determinism: every parameter of face (seed, index) is a hash of (seed, index or identity, parameter's name). Per-pixel arithmetic uses only operations
whose result does not depend on the position in the batch, so that a face is the same tensor, bit for bit, in any batch on the CPU.
"""

import dataclasses
import math
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

# ------------------------------------------------------------------------------------------------------------------------------------- attributes

ATTRIBUTES: tuple[str, ...] = (
    "Young", "Mouth_Slightly_Open", "Smiling", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Receding_Hairline", "Bangs", "Male",
    "No_Beard", "Mustache", "Goatee", "Sideburns", "Eyeglasses", "Pale_Skin", "Wearing_Lipstick", "Wearing_Hat",
)  # fmt: skip
HAIR_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")  # at most one of them is true; none: red, auburn or dyed hair
BEARD_PARTS = ("Mustache", "Goatee", "Sideburns")  # any of them, or a beard along the jaw, makes No_Beard false
_COLUMN = {name: k for k, name in enumerate(ATTRIBUTES)}

# Share of CelebA's 202,599 images that carry the attribute (list_attr_celeba.txt).
CELEBA_RATES: dict[str, float] = {
    "Young": 0.774, "Mouth_Slightly_Open": 0.483, "Smiling": 0.482, "Black_Hair": 0.239, "Blond_Hair": 0.148, "Brown_Hair": 0.205,
    "Gray_Hair": 0.042, "Receding_Hairline": 0.080, "Bangs": 0.152, "Male": 0.417, "No_Beard": 0.835, "Mustache": 0.042, "Goatee": 0.063,
    "Sideburns": 0.057, "Eyeglasses": 0.065, "Pale_Skin": 0.043, "Wearing_Lipstick": 0.472, "Wearing_Hat": 0.048,
}  # fmt: skip

# Pairwise correlation (phi coefficient, in percent) of the same columns, in the order of ATTRIBUTES, measured on rows 000001-010000 of that file.
CELEBA_PHI: tuple[tuple[int, ...], ...] = (
    (100, -1, -3, 12, 6, 11, -39, -20, 3, -29, 12, -13, -9, -8, -22, 4, 25, -4),
    (-1, 100, 53, -4, 9, 0, 1, 1, 2, -11, 9, -5, -6, -7, -1, -5, 12, 2),
    (-3, 53, 100, -1, 9, 2, 1, 0, 7, -15, 11, -5, -7, -7, -6, -7, 19, -7),
    (12, -4, -1, 100, -23, -26, -12, 0, -4, 11, -9, 4, 5, 3, -2, -4, -6, -10),
    (6, 9, 9, -23, 100, -17, -4, -7, 9, -31, 17, -8, -10, -10, -8, 8, 28, -8),
    (11, 0, 2, -26, -17, 100, -11, -11, 7, -11, 7, -6, -5, -3, -8, -2, 10, -10),
    (-39, 1, 1, -12, -4, -11, 100, 25, -6, 19, -1, 2, 1, 1, 16, -1, -17, -4),
    (-20, 1, 0, 0, -7, -11, 25, 100, -12, 13, -6, 5, 7, 3, 9, -4, -14, -6),
    (3, 2, 7, -4, 9, 7, -6, -12, 100, -17, 13, -7, -9, -8, -6, 6, 17, -8),
    (-29, -11, -15, 11, -31, -11, 19, 13, -17, 100, -52, 23, 31, 29, 19, -7, -79, 12),
    (12, 9, 11, -9, 17, 7, -1, -6, 13, -52, 100, -43, -57, -55, -10, 6, 42, -11),
    (-13, -5, -5, 4, -8, -6, 2, 5, -7, 23, -43, 100, 42, 31, 8, -3, -18, 8),
    (-9, -6, -7, 5, -10, -5, 1, 7, -9, 31, -57, 42, 100, 50, 7, -4, -24, 8),
    (-8, -7, -7, 3, -10, -3, 1, 3, -8, 29, -55, 31, 50, 100, 4, -4, -23, 7),
    (-22, -1, -6, -2, -8, -8, 16, 9, -6, 19, -10, 8, 7, 4, 100, -3, -21, 7),
    (4, -5, -7, -4, 8, -2, -1, -4, 6, -7, 6, -3, -4, -4, -3, 100, 5, -1),
    (25, 12, 19, -6, 28, 10, -17, -14, 17, -79, 42, -18, -24, -23, -21, 5, 100, -16),
    (-4, 2, -7, -10, -8, -10, -4, -6, -8, 12, -11, 8, 8, 7, 7, -1, -16, 100),
)  # fmt: skip

# How the natural set is drawn: attributes in this order, each from a logistic regression on the ones before it. Its score equations reproduce the
# pairwise moments, so all 153 correlations come out within .05 of the measured ones. Coefficients fitted on the same 10,000 rows (zero below .15,
# clipped to +-5), intercepts set so that the rates are CELEBA_RATES. A hair colour is only drawn when none before it was; a beard only for men;
# parts of a beard only where No_Beard is false. Column 2: how much of the draw belongs to the identity (1: the same in all images of a person).
_LOGITS: dict[str, tuple[float, float, str]] = {
    "Male": (-0.34, 1.0, ""),
    "Young": (1.94, 0.9, "Male-1.4"),
    "Pale_Skin": (-3.12, 0.6, "Male-0.7 Young+0.3"),
    "Gray_Hair": (-2.53, 0.9, "Male+1.3 Young-4.5 Pale_Skin+0.2"),
    "Blond_Hair": (-0.9, 0.9, "Male-2.9 Young-0.3 Pale_Skin+0.6"),
    "Black_Hair": (-1.71, 0.9, "Male+0.4 Young+0.8 Pale_Skin-0.4"),
    "Brown_Hair": (-0.75, 0.9, "Male-0.7 Young+0.6 Pale_Skin-0.5"),
    "Receding_Hairline": (-1.87, 0.9, "Male+0.3 Young-0.8 Pale_Skin-0.8 Gray_Hair+1.2 Blond_Hair-1.0 Brown_Hair-1.5"),
    "Bangs": (-1.26, 0.5, "Male-1.0 Young-0.3 Pale_Skin+0.5 Gray_Hair-0.4 Blond_Hair+0.3 Brown_Hair+0.5 Receding_Hairline-5.0"),
    "Wearing_Hat": (-2.29, 0.3, "Male+0.9 Pale_Skin-0.2 Gray_Hair-2.7 Blond_Hair-2.9 Black_Hair-2.8 Brown_Hair-2.7 Receding_Hairline-3.7 Bangs-1.7"),
    "Eyeglasses": (-2.44, 0.6, "Male+1.0 Young-1.0 Pale_Skin-0.3 Gray_Hair+0.4 Blond_Hair-0.8 Black_Hair-0.2 Brown_Hair-0.7 Receding_Hairline+0.2 "
                   "Bangs-0.2 Wearing_Hat+0.5"),
    "No_Beard": (0.29, 0.8, "Pale_Skin+0.5 Gray_Hair+1.0 Blond_Hair+0.9 Bangs+1.0 Wearing_Hat-0.4"),
    "Mustache": (-0.67, 0.8, "Young-0.9 Pale_Skin+0.2 Blond_Hair-2.6 Black_Hair+0.3 Brown_Hair-0.3 Receding_Hairline+0.2 Wearing_Hat+0.3 "
                 "Eyeglasses+0.3"),
    "Goatee": (-0.82, 0.8, "Pale_Skin-0.6 Gray_Hair-0.2 Blond_Hair-0.3 Receding_Hairline+0.6 Bangs-0.6 Wearing_Hat+0.2 Mustache+1.1"),
    "Sideburns": (-1.03, 0.8, "Young-0.2 Pale_Skin-0.6 Blond_Hair-0.9 Brown_Hair+0.3 Receding_Hairline-0.3 Eyeglasses-0.4 Mustache+0.2 Goatee+1.2"),
    "Smiling": (0.41, 0.1, "Male-0.6 Young-0.4 Pale_Skin-0.9 Gray_Hair+0.3 Blond_Hair+0.4 Black_Hair+0.2 Bangs+0.2 Wearing_Hat-0.3 Eyeglasses-0.3"),
    "Mouth_Slightly_Open": (-1.32, 0.05, "Pale_Skin-0.3 Blond_Hair+0.2 Receding_Hairline+0.2 Wearing_Hat+0.7 Eyeglasses+0.3 Sideburns-0.2 "
                            "Smiling+2.4"),
    "Wearing_Lipstick": (-1.41, 0.5, "Male-5.0 Young+0.5 Gray_Hair-0.6 Blond_Hair+0.5 Black_Hair+0.5 Brown_Hair+0.2 Receding_Hairline-0.9 Bangs+0.4 "
                         "Wearing_Hat-1.8 Eyeglasses-2.0 No_Beard+1.9 Mustache+1.5 Goatee-1.7 Sideburns-1.7 Smiling+0.7"),
}  # fmt: skip

# Identities come in blocks of 1,024 consecutive indices that share 52 people, in an order shuffled per block, with these numbers of images: mean
# 19.7 and at most 35 as in CelebA (202,599 / 10,177 = 19.9, at most 35). The shape between is ours; CelebA too has most people near its upper end.
_BLOCK_COUNTS = (35, 34, 33, 32, 31, 31, *[30] * 14, 26, 25, 24, 23, 23, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 4,
                 3, 3, 2, 2, 2, 1)  # fmt: skip

# ------------------------------------------------------------------------------------------------------------------------------------ parameters


def _own(scope: str, low: float, high: float, meaning: str):
    """One parameter drawn uniformly from [low, high] per `scope` ("identity" or "image")."""
    return field(metadata={"scope": scope, "low": low, "high": high, "meaning": meaning})


@dataclass
class Faces:
    """Parameters of B faces; every field a tensor (B,) or (B, k), float32 or int64. `faces[idx]` selects, `len(faces)` counts.

    A face carries parameters for everything that an attribute could switch on (its own glasses, hat, beard, grey ...), so that each attribute can
    be changed alone. Ranges are in `PARAMETERS`; parameters from -1 to 1 are relative to an average face.
    """

    seed: Tensor  # (B,) int64
    index: Tensor  # (B,) int64
    identity: Tensor  # (B,) int64
    state: Tensor  # (B, 18) int64 in {0, 1}: the attributes in the order of ATTRIBUTES
    jaw_beard: Tensor  # (B,) int64 in {0, 1}: a beard along the jaw, beside mustache, goatee and sideburns
    noise_rate: Tensor  # (B,) float32 in [0, 1]: probability that `labels` flips a label of this face
    # the person
    skull_width: Tensor = _own("identity", -1, 1, "width of the head")
    skull_height: Tensor = _own("identity", -1, 1, "height of the skull above the eyes")
    face_length: Tensor = _own("identity", -1, 1, "distance from the eyes to the chin")
    jaw: Tensor = _own("identity", -1, 1, "pointed to square jaw")
    taper: Tensor = _own("identity", -1, 1, "width of the lower face")
    neck: Tensor = _own("identity", -1, 1, "width of the neck")
    ear_size: Tensor = _own("identity", -1, 1, "size of the ears")
    tone: Tensor = _own("identity", 0, 1, "skin, light to dark")
    undertone: Tensor = _own("identity", -1, 1, "skin, rosy to olive")
    freckles: Tensor = _own("identity", -1, 1, "freckles, none below .6")
    cheek: Tensor = _own("identity", -1, 1, "flat to full cheeks")
    eye_size: Tensor = _own("identity", -1, 1, "width of the eyes")
    eye_open: Tensor = _own("identity", -1, 1, "height of the eyes")
    eye_spacing: Tensor = _own("identity", -1, 1, "distance between the eyes")
    eye_tilt: Tensor = _own("identity", -1, 1, "outer corners down to up")
    eye_colour: Tensor = _own("identity", 0, 1, "iris: brown, hazel, green, blue, grey")
    crease: Tensor = _own("identity", -1, 1, "single to deep upper lid")
    brow_height: Tensor = _own("identity", -1, 1, "distance from the eye to the brow")
    brow_arch: Tensor = _own("identity", -1, 1, "straight to arched brows")
    brow_width: Tensor = _own("identity", -1, 1, "thin to bushy brows")
    brow_tilt: Tensor = _own("identity", -1, 1, "slope of the brows")
    nose_width: Tensor = _own("identity", -1, 1, "width of the nose")
    nose_length: Tensor = _own("identity", -1, 1, "length of the nose")
    nose_bridge: Tensor = _own("identity", -1, 1, "flat to sharp bridge")
    mouth_width: Tensor = _own("identity", -1, 1, "width of the mouth")
    mouth_height: Tensor = _own("identity", -1, 1, "height of the mouth line")
    lips: Tensor = _own("identity", -1, 1, "thin to full lips")
    lip_bow: Tensor = _own("identity", -1, 1, "flat to marked cupid's bow")
    hairline: Tensor = _own("identity", -1, 1, "low to high hairline")
    hair_style: Tensor = _own("identity", 0, 1, "choice among the hair styles of either sex")
    hair_volume: Tensor = _own("identity", -1, 1, "flat to full hair")
    hair_part: Tensor = _own("identity", -1, 1, "parting, left to right")
    hair_shade: Tensor = _own("identity", -1, 1, "darker to lighter within the hair colour")
    hair_other: Tensor = _own("identity", 0, 1, "which colour when none of the four named ones is true")
    hair_next: Tensor = _own("identity", 0, 1, "which colour is restored when the present one is removed")
    beard: Tensor = _own("identity", -1, 1, "light to dense beard")
    beard_shape: Tensor = _own("identity", -1, 1, "small to large mustache, goatee and sideburns")
    age: Tensor = _own("identity", -1, 1, "how marked the signs of age are")
    glasses_shape: Tensor = _own("identity", -1, 1, "round to rectangular glasses")
    glasses_size: Tensor = _own("identity", -1, 1, "small to large glasses")
    glasses_rim: Tensor = _own("identity", -1, 1, "thin to thick rims")
    glasses_colour: Tensor = _own("identity", 0, 1, "colour of the rims")
    makeup: Tensor = _own("identity", -1, 1, "blush and eye shadow (less of it on men)")
    # the picture
    yaw: Tensor = _own("image", -1, 1, "head turned to the viewer's left or right, about 20 degrees")
    pitch: Tensor = _own("image", -1, 1, "head up or down, about 10 degrees")
    roll: Tensor = _own("image", -1, 1, "head tilted, at most 5 degrees")
    zoom: Tensor = _own("image", -1, 1, "scale, within 3 percent")
    shift_x: Tensor = _own("image", -1, 1, "position, within .008 of the crop")
    shift_y: Tensor = _own("image", -1, 1, "position, within .008 of the crop")
    gaze: Tensor = _own("image", -1, 1, "eyes to the left or right")
    squint: Tensor = _own("image", -1, 1, "eyes wide to narrowed in this picture")
    brow_raise: Tensor = _own("image", -1, 1, "brows lowered to raised in this picture")
    smile: Tensor = _own("image", -1, 1, "how broad the smile is if there is one")
    gape: Tensor = _own("image", -1, 1, "how far the mouth is open if it is")
    light_x: Tensor = _own("image", -1, 1, "light from the left or right")
    light_y: Tensor = _own("image", -1, 1, "light from above or the front")
    contrast: Tensor = _own("image", -1, 1, "soft to hard light")
    warmth: Tensor = _own("image", -1, 1, "cool to warm light")
    exposure: Tensor = _own("image", -1, 1, "darker to brighter picture")
    grain: Tensor = _own("image", 0, 1, "sensor noise, standard deviation 0 to .012 of the full range")
    blur: Tensor = _own("image", 0, 1, "softness of the edges, up to 1/90 of the crop")
    texture: Tensor = _own("image", 0, 1, "which part of the noise pattern is used")
    background: Tensor = _own("image", 0, 1, "studio, lights, wall, outdoors or stripes")
    background_hue: Tensor = _own("image", 0, 1, "hue of the background")
    background_tone: Tensor = _own("image", -1, 1, "dark to light background")
    background_x: Tensor = _own("image", -1, 1, "layout of the background")
    background_y: Tensor = _own("image", -1, 1, "layout of the background")
    clothes: Tensor = _own("image", 0, 1, "crew neck, v-neck, shirt or off the shoulder")
    clothes_hue: Tensor = _own("image", 0, 1, "hue of the clothes")
    clothes_tone: Tensor = _own("image", -1, 1, "dark to light clothes")
    hair_day: Tensor = _own("image", -1, 1, "how the hair falls in this picture")
    fringe: Tensor = _own("image", -1, 1, "short to long bangs")
    fringe_side: Tensor = _own("image", -1, 1, "bangs swept to the left or right")
    lipstick: Tensor = _own("image", 0, 1, "colour of the lipstick: red, pink, coral, plum, berry")
    hat: Tensor = _own("image", 0, 1, "beanie, cap or brimmed hat")
    hat_hue: Tensor = _own("image", 0, 1, "hue of the hat")
    hat_tone: Tensor = _own("image", -1, 1, "dark to light hat")
    tint: Tensor = _own("image", 0, 1, "tint of the lenses")

    def __len__(self) -> int:
        return self.index.shape[0]

    def __getitem__(self, idx) -> "Faces":
        """Faces at `idx`: a slice, or an index or boolean tensor. An integer gives a batch of one."""
        return _each(self, lambda v: v[_batch_index(idx, len(self))])

    def to(self, device) -> "Faces":
        """The same faces with every field on `device`."""
        return _each(self, lambda v: v.to(device))


def _each(batch, change):
    """A dataclass of tensors with `change` applied to every field."""
    return type(batch)(**{f.name: change(getattr(batch, f.name)) for f in dataclasses.fields(batch)})


def _batch_index(idx, length: int):
    return torch.tensor([range(length)[idx]]) if isinstance(idx, int) else idx


def ranges(kind: type = Faces) -> dict[str, tuple[str, float, float, str]]:
    """Drawn parameters of `Faces` (or `Animals`): name -> (scope, low, high, meaning), for sliders and for tests of the extremes."""
    return {f.name: tuple(f.metadata[k] for k in ("scope", "low", "high", "meaning")) for f in dataclasses.fields(kind) if f.metadata}


# -------------------------------------------------------------------------------------------------------------- random numbers without generators

_MASK = 0xFFFFFFFF


def _mix(h: Tensor) -> Tensor:
    """A bijective 32-bit integer hash (constants of Wellons' `lowbias32`) of int64 tensors that hold values below 2**32."""
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & _MASK
    h = ((h ^ (h >> 15)) * 0x846CA68B) & _MASK
    return h ^ (h >> 16)


def _uniform(seed: Tensor, counter: Tensor, names: list[str]) -> Tensor:
    """(B, len(names)) float64 in (0, 1): a hash of (seed, counter, name); seed and counter (B,) int64."""
    h = _mix(seed & _MASK)
    for word in (seed >> 32, counter, counter >> 32):
        h = _mix((h + 0x9E3779B9 & _MASK) ^ (word & _MASK))
    keys = torch.tensor([zlib.crc32(name.encode()) for name in names], dtype=torch.int64, device=seed.device)
    h = _mix(_mix(h[:, None] ^ keys[None]) ^ (keys[None] >> 7))
    return (h.double() + 0.5) / 2**32


def _identity(seed: Tensor, index: Tensor) -> Tensor:
    """(B,) int64: the person in image `index`, by a keyed permutation of each block of 1,024 indices."""
    size = sum(_BLOCK_COUNTS)
    block = index.div(size, rounding_mode="floor")
    keys = (_uniform(seed, block, ["multiplier", "offset"]) * size).long()
    place = ((keys[:, 0] | 1) * (index % size) + keys[:, 1]) % size  # an odd multiplier permutes a power of two
    ends = torch.tensor(_BLOCK_COUNTS, device=seed.device).cumsum(0)
    return block * len(_BLOCK_COUNTS) + torch.searchsorted(ends, place, right=True)


# --------------------------------------------------------------------------------------------------------------------------------------- sampling


def _index(index: Tensor | range) -> Tensor:
    index = torch.as_tensor(list(index) if isinstance(index, range) else index, dtype=torch.int64).reshape(-1)
    if len(index) and int(index.min()) < 0:
        raise ValueError(f"face indices are counted from 0, got {int(index.min())}")
    return index


def _natural(u: Tensor) -> Tensor:
    """(B, 18) int64 attributes with CelebA's rates and correlations from uniforms (B, 18) in the order of _LOGITS."""
    state = torch.zeros(len(u), len(ATTRIBUTES), dtype=torch.float64)
    for k, (name, (intercept, _, terms)) in enumerate(_LOGITS.items()):
        logit = torch.full((len(u),), intercept, dtype=torch.float64)
        for term in terms.split():
            cut = max(term.rfind("+"), term.rfind("-"))
            logit += float(term[cut:]) * state[:, _COLUMN[term[:cut]]]
        drawn = u[:, k] < torch.sigmoid(logit)
        if name in HAIR_COLOURS:
            drawn &= ~(state[:, [_COLUMN[c] for c in HAIR_COLOURS]] > 0).any(1)
        elif name == "No_Beard":
            drawn |= state[:, _COLUMN["Male"]] == 0
        elif name in BEARD_PARTS:
            drawn &= state[:, _COLUMN["No_Beard"]] == 0
        state[:, _COLUMN[name]] = drawn.double()
    return state.long()


def _independent(u: Tensor) -> Tensor:
    """(B, 18) int64 attributes, each true with probability 1/2 and independent but for what logic forbids.

    The hair colour is one of the four named ones or none of them, each with probability 1/5. A beard's parts are true with probability 1/2 given
    No_Beard = 0, hence 1/4 over all faces, and never with No_Beard = 1.
    """
    names = list(_LOGITS)
    state = torch.stack([(u[:, names.index(name)] < 0.5) for name in ATTRIBUTES], 1).long()
    colour = (u[:, names.index("Gray_Hair")] * 5).long()
    for k, name in enumerate(HAIR_COLOURS):
        state[:, _COLUMN[name]] = (colour == k).long()
    for name in BEARD_PARTS:
        state[:, _COLUMN[name]] *= 1 - state[:, _COLUMN["No_Beard"]]
    return state


def sample(seed: int, index: Tensor | range, balanced: bool = False, label_noise: float = 0.0) -> Faces:
    """Faces (seed, index): each depends on its own seed and index only, not on the batch it is drawn in.

    index: (B,) int64 or a range, values >= 0. balanced: attributes independent at 1/2 (see `_independent`) instead of CelebA's rates and
    correlations. label_noise: probability in [0, 1] that `labels` flips an attribute; `attributes` stay true. Faces of the natural and the balanced
    set with the same (seed, index) are the same people in the same pictures and differ in attributes only.
    ValueError: a negative index or a label_noise outside [0, 1].
    """
    if not 0 <= label_noise <= 1:
        raise ValueError(f"label_noise is a probability, got {label_noise}")
    index = _index(index)
    seeds = torch.full_like(index, seed)
    identity = _identity(seeds, index)
    own = ranges()
    columns = {}
    for scope, counter in (("identity", identity), ("image", index)):
        names = [name for name, (s, *_) in own.items() if s == scope]
        u = _uniform(seeds, counter, names)
        columns |= {name: (own[name][1] + (own[name][2] - own[name][1]) * u[:, k]).float() for k, name in enumerate(names)}
    columns["tone"] = columns["tone"].double().pow(1.4).float()  # CelebA has more light than dark skin
    for name in ("yaw", "roll", "pitch", "gaze"):  # most pictures are nearly frontal
        columns[name] = columns[name] * (0.35 + 0.65 * columns[name].abs())
    # Attributes: uniforms whose normal scores are partly the person's and partly the picture's.
    share = torch.tensor([shared for _, shared, _ in _LOGITS.values()], dtype=torch.float64)
    person = torch.special.ndtri(_uniform(seeds, identity, [f"person {name}" for name in _LOGITS]))
    picture = torch.special.ndtri(_uniform(seeds, index, [f"picture {name}" for name in _LOGITS]))
    u = torch.special.ndtr(share.sqrt() * person + (1 - share).sqrt() * picture)
    state = _independent(u) if balanced else _natural(u)
    parts = state[:, [_COLUMN[name] for name in BEARD_PARTS]].any(1)
    jaw = (_uniform(seeds, identity, ["jaw_beard"])[:, 0] < 0.5) | ~parts
    jaw = (jaw & (state[:, _COLUMN["No_Beard"]] == 0)).long()
    rate = torch.full(index.shape, float(label_noise))
    return Faces(seed=seeds, index=index, identity=identity, state=state, jaw_beard=jaw, noise_rate=rate, **columns)


def _attribute(name: str) -> int:
    if name not in _COLUMN:
        raise ValueError(f"unknown attribute {name!r}; the renderer knows {', '.join(ATTRIBUTES)}")
    return _COLUMN[name]


def attributes(faces: Faces) -> Tensor:
    """(B, 18) uint8 in {0, 1}: what the pictures show, in the order of ATTRIBUTES."""
    return faces.state.to(torch.uint8)


def labels(faces: Faces) -> Tensor:
    """(B, 18) uint8: the attributes as an annotator would give them, each flipped with probability `label_noise`, by a hash of (seed, index)."""
    flip = _uniform(faces.seed, faces.index, [f"label {name}" for name in ATTRIBUTES]) < faces.noise_rate[:, None]
    return attributes(faces) ^ flip.to(torch.uint8)


def identities(faces: Faces) -> Tensor:
    """(B,) int64: whose face it is; unique within a seed."""
    return faces.identity


def counterfactual(faces: Faces, attribute: str, value: int | Tensor) -> Faces:
    """The same faces in the same pictures with one attribute set to `value` (0, 1 or a (B,) tensor of them). Others keep theirs, except by logic:

    - a hair colour set to 1 clears the other three; set to 0 on a face that has it, another colour (a named one or none) given by the face's own
      `hair_next` takes its place;
    - Mustache, Goatee or Sideburns set to 1 makes No_Beard 0; set to 0, No_Beard becomes 1 if no beard is left;
    - No_Beard set to 1 removes every part of the beard; set to 0 on a clean face it adds the face's own beard along the jaw.
    A face that already has the value is returned unchanged. ValueError: an unknown attribute or a value other than 0 and 1.
    """
    k = _attribute(attribute)
    value = torch.as_tensor(value, dtype=torch.int64, device=faces.state.device).expand(len(faces))
    if len(value) and not bool(((value == 0) | (value == 1)).all()):
        raise ValueError(f"{attribute} is 0 or 1, got {sorted(set(value.tolist()))}")
    state, jaw = faces.state.clone(), faces.jaw_beard.clone()
    changed = state[:, k] != value
    on, off = changed & (value == 1), changed & (value == 0)
    if attribute in HAIR_COLOURS:
        colours = [_COLUMN[c] for c in HAIR_COLOURS]
        place = HAIR_COLOURS.index(attribute)
        follower = (place + 1 + (faces.hair_next * 3.999).long()) % 5  # one of the four other colours; 4: none of the named ones
        for j, column in enumerate(colours):
            state[:, column] = torch.where(on, 0, torch.where(off, (follower == j).long(), state[:, column]))
    state[:, k] = torch.where(changed, value, state[:, k])
    parts = [_COLUMN[c] for c in BEARD_PARTS]
    if attribute == "No_Beard":
        jaw = torch.where(on, 0, torch.where(off, 1, jaw))
        state[:, parts] = torch.where(on[:, None], 0, state[:, parts])
    elif attribute in BEARD_PARTS:
        state[:, _COLUMN["No_Beard"]] = ((state[:, parts].sum(1) + jaw) == 0).long()
    return dataclasses.replace(faces, state=state, jaw_beard=jaw)

# --------------------------------------------------------------------------------------------------------------------------------------- geometry

_CENTRE = (0.4975, 0.515)  # the point between the eyes in the crop, as CelebA aligns it

# Hair styles, the first six for Male = 0, the rest for Male = 1: share among their sex; width of the hair over that of the head; volume on top; lower
# end; flare below the eyes; half-width of the opening for the face over that of the head, and whether it is square (0) or round and parted (1);
# waves; curls (0 strands, 1 curls); a bun.
_STYLES = (
    (0.26, 1.13, 0.045, 0.80, 0.25, 0.92, 1.0, 0.000, 0.0, 0.0),  # long, straight
    (0.24, 1.20, 0.052, 0.80, 0.35, 0.91, 1.0, 0.014, 0.2, 0.0),  # long, wavy
    (0.17, 1.17, 0.050, 0.27, 0.22, 0.90, 0.9, 0.000, 0.0, 0.0),  # bob
    (0.13, 1.36, 0.080, 0.36, 0.20, 0.93, 0.5, 0.008, 1.0, 0.0),  # curly
    (0.12, 1.04, 0.030, 0.03, 0.00, 0.95, 0.6, 0.000, 0.0, 1.0),  # bun
    (0.08, 1.12, 0.050, 0.12, 0.05, 0.92, 0.8, 0.006, 0.2, 0.0),  # short
    (0.34, 1.045, 0.034, 0.030, 0.00, 0.96, 0.1, 0.000, 0.0, 0.0),  # short
    (0.20, 1.040, 0.062, 0.025, 0.00, 0.96, 0.0, 0.000, 0.0, 0.0),  # quiff
    (0.16, 1.13, 0.066, 0.03, 0.00, 0.95, 0.2, 0.006, 1.0, 0.0),  # curly
    (0.12, 1.10, 0.050, 0.13, 0.05, 0.92, 0.6, 0.006, 0.2, 0.0),  # medium
    (0.13, 1.015, 0.018, 0.020, 0.00, 0.96, 0.0, 0.000, 0.5, 0.0),  # crew cut
    (0.05, 1.13, 0.048, 0.80, 0.20, 0.92, 0.9, 0.010, 0.2, 0.0),  # long
)


def _has(faces: Faces, name: str) -> Tensor:
    return faces.state[:, _COLUMN[name]].double()


def _geometry(faces: Faces) -> SimpleNamespace:
    """Where everything is, in head coordinates: namespace of (B,) float64 tensors, from which both the pictures and the landmarks are made."""
    p = SimpleNamespace(**{f.name: getattr(faces, f.name).double() for f in dataclasses.fields(Faces) if f.metadata})
    male, old, smiling, gaping = _has(faces, "Male"), 1 - _has(faces, "Young"), _has(faces, "Smiling"), _has(faces, "Mouth_Slightly_Open")
    g = SimpleNamespace(p=p, male=male, old=old * (1 + 0.15 * p.age))
    g.smile = smiling * (0.85 + 0.15 * p.smile)
    g.gape = gaping * (0.85 + 0.15 * p.gape)
    for name, key in (("bangs", "Bangs"), ("receding", "Receding_Hairline"), ("hat", "Wearing_Hat"), ("glasses", "Eyeglasses")):
        setattr(g, name, _has(faces, key))
    # frame
    angle = p.roll * math.radians(5)
    g.cos, g.sin, g.scale = angle.cos(), angle.sin(), 1 + 0.03 * p.zoom
    g.cx, g.cy = _CENTRE[0] + 0.008 * p.shift_x, _CENTRE[1] + 0.008 * p.shift_y
    # head: (x / width)^2 + .6 t^2 + .4 t^4 = 1 with t = y / top above the eyes; below, with s = y / chin and a the jaw's,
    # x = width (1 - taper s) sqrt(1 - a s^2 - (1 - a) s^4)
    g.hx = -0.020 * p.yaw  # the eyes stay in place (CelebA's alignment), so the skull moves
    g.width = 0.226 + 0.014 * p.skull_width + 0.006 * male
    g.top = 0.296 + 0.014 * p.skull_height - 0.008 * p.pitch
    g.chin = 0.384 + 0.020 * p.face_length + 0.014 * male + 0.006 * p.pitch
    g.taper = 0.06 - 0.06 * p.taper - 0.04 * male + 0.04 * (1 - male)
    g.jaw = 1.02 - 0.21 * p.jaw - 0.46 * male + 0.06 * (1 - male) - 0.10 * old
    # eyes
    g.eye_x = 0.1075 + 0.004 * p.eye_spacing
    g.eye_w = 0.0545 + 0.0045 * p.eye_size - 0.002 * male
    g.eye_u = (0.0285 + 0.0040 * p.eye_open - 0.0025 * p.squint - 0.0035 * male) * (1 - 0.14 * g.smile - 0.15 * old)
    g.eye_l = (0.0160 + 0.0020 * p.eye_open - 0.0010 * p.squint) * (1 - 0.28 * g.smile)
    g.eye_tilt = 0.05 + 0.09 * p.eye_tilt
    g.iris = 0.0222 + 0.0010 * p.eye_size
    g.brow_y = 0.0690 + 0.0080 * p.brow_height + 0.005 * p.brow_raise - 0.009 * male + 0.004 * p.pitch
    g.brow_arch = 0.016 + 0.012 * p.brow_arch - 0.007 * male
    g.brow_tilt = 0.04 * p.brow_tilt
    g.brow_h = 0.0074 + 0.0022 * p.brow_width + 0.0048 * male
    # nose
    g.nose_x = 0.016 * p.yaw
    g.nose_y = 0.137 + 0.010 * p.nose_length - 0.008 * p.pitch
    g.nose_w = 0.0430 + 0.0080 * p.nose_width + 0.0035 * male
    # mouth: the line between the lips is mouth_y + drop - (drop + lift) u^2, u = x / mouth_w
    g.mouth_x = 0.007 * p.yaw
    g.mouth_y = 0.229 + 0.007 * p.mouth_height + 0.004 * male - 0.004 * p.pitch
    g.mouth_w = (0.0790 + 0.0080 * p.mouth_width + 0.003 * male) * (1 + 0.22 * g.smile - 0.10 * g.gape * (1 - smiling))
    g.lift = -0.004 + 0.022 * g.smile
    g.drop = 0.002 + 0.006 * g.smile
    g.lip_u = (0.0160 + 0.0045 * p.lips - 0.003 * male - 0.002 * old) * (1 - 0.22 * g.smile)
    g.lip_l = (0.0215 + 0.0055 * p.lips - 0.003 * male - 0.003 * old) * (1 - 0.15 * g.smile)
    g.open_u = 0.006 * g.gape
    g.open_l = 0.030 * g.gape * (1 - 0.20 * g.smile)
    # hair
    table = torch.tensor(_STYLES, dtype=torch.float64, device=male.device)
    female_style = torch.searchsorted(table[:6, 0].cumsum(0) - 1e-9, p.hair_style).clamp(max=5)
    male_style = torch.searchsorted(table[6:, 0].cumsum(0) - 1e-9, p.hair_style).clamp(max=5) + 6
    style = table[torch.where(male > 0, male_style, female_style)]
    _, side, volume, g.hair_end, g.flare, inner, g.round, g.wave, g.curl, g.bun = style.unbind(1)
    g.hair_w = g.width * (side + 0.025 * p.hair_volume * (side - 0.9) * 4)
    g.hair_top = g.top + 0.036 + volume * (1 + 0.2 * p.hair_volume)
    g.hair_end = g.hair_end + 0.02 * p.hair_day * (g.hair_end > 0.1)
    g.cut = torch.where(g.hair_end < 0.035, 0.45, 1.0).double()
    g.part = 0.06 * p.hair_part
    g.open_w = g.width * inner * (1 + 0.07 * g.receding)
    g.open_h = (0.183 + 0.012 * p.hairline + 0.015 * g.round) * (1 + 0.36 * g.receding)
    g.temple = 0.26 * g.receding - (0.06 + 0.11 * g.hat) * (1 - g.receding)
    g.fringe_y = -0.078 + 0.012 * p.fringe
    g.hat_y = -0.160 - 0.006 * p.hairline
    return g


def _to_crop(g: SimpleNamespace, x: Tensor, y: Tensor, size: int) -> Tensor:
    """(B, k, 2) float32 pixel coordinates of points (B, k) given in head coordinates."""
    c, s = g.cos[:, None] * g.scale[:, None], g.sin[:, None] * g.scale[:, None]
    return (torch.stack([g.cx[:, None] + c * x - s * y, g.cy[:, None] + s * x + c * y], 2) * size).float()


def _jaw_half_width(g: SimpleNamespace, s: Tensor) -> Tensor:
    """(B, k) half-width of the lower head at y = s * chin, s (k,) in [0, 1]."""
    a = g.jaw[:, None]
    return g.width[:, None] * (1 - g.taper[:, None] * s) * (1 - a * s**2 - (1 - a) * s**4).clamp(min=0).sqrt()


def landmarks5(faces: Faces, size: int) -> Tensor:
    """(B, 5, 2) float32 (x, y): left eye, right eye, tip of the nose, left and right corner of the mouth; pixels of a `size` render."""
    g = _geometry(faces)
    corner = g.mouth_y - g.lift
    x = torch.stack([-g.eye_x, g.eye_x, g.nose_x, g.mouth_x - g.mouth_w, g.mouth_x + g.mouth_w], 1)
    zero = torch.zeros_like(corner)
    return _to_crop(g, x, torch.stack([zero, zero, g.nose_y, corner, corner], 1), size)


def landmarks68(faces: Faces, size: int) -> Tensor:
    """(B, 68, 2) float32 (x, y) in the iBUG order; pixels of a `size` render.

    0-16 jaw, 17-21 left brow, 22-26 right brow, 27-30 ridge of the nose, 31-35 its base, 36-41 left eye, 42-47 right eye, 48-59 outer and 60-67
    inner contour of the lips. Jaw points are on the outline of the head whether or not hair covers it.
    """
    g = _geometry(faces)

    def row(*values):
        return torch.tensor(values, dtype=torch.float64, device=g.width.device)

    def col(v):
        return v[:, None]

    s = torch.sin(torch.linspace(0, math.pi / 2, 9, dtype=torch.float64, device=g.width.device))
    half, depth = _jaw_half_width(g, s), col(g.chin) * s
    xs = [col(g.hx) - half, col(g.hx) + half[:, :-1].flip(1)]
    ys = [depth, depth[:, :-1].flip(1)]
    u = row(1, 0.5, 0, -0.5, -1)  # brows, from the temple to the nose
    brow_x, brow_y = _BROW_X + _BROW_W * u, _brow_line(g.brow_y[:, None], g.brow_arch[:, None], g.brow_tilt[:, None], u)
    xs += [-col(g.eye_x) - brow_x, (col(g.eye_x) + brow_x).flip(1)]
    ys += [brow_y, brow_y.flip(1)]
    t = row(0, 1 / 3, 2 / 3, 1)
    xs += [col(g.nose_x) * t, col(g.nose_x) + col(g.nose_w) * row(-0.7, -0.35, 0, 0.35, 0.7)]
    ys += [0.005 + (col(g.nose_y) - 0.005) * t, col(g.nose_y) + row(0.018, 0.023, 0.026, 0.023, 0.018)]
    u = row(1, 0.4, -0.4, -1, -0.4, 0.4)  # eye, from the outer corner over the upper lid; u > 0 is outer
    lid = (1 - u**2) * torch.where(row(0, 1, 1, 0, 0, 0) > 0, -col(g.eye_u), col(g.eye_l))
    ex, ey = col(g.eye_w) * u, lid - col(g.eye_tilt) * col(g.eye_w) * u
    order = [3, 2, 1, 0, 5, 4]  # the right eye starts at its inner corner
    xs += [-col(g.eye_x) - ex, (col(g.eye_x) + ex)[:, order]]
    ys += [ey, ey[:, order]]

    def lip(u, upper, lower):
        line = col(g.mouth_y + g.drop) - col(g.drop + g.lift) * u**2
        return col(g.mouth_x) + col(g.mouth_w) * u, line + (1 - u**2) * (col(lower) - col(upper))

    zero = torch.zeros_like(g.width)
    for u, upper, lower in (
        (row(-1, -0.62, -0.25, 0, 0.25, 0.62, 1), g.lip_u + g.open_u, zero),
        (row(0.62, 0.25, 0, -0.25, -0.62), zero, g.lip_l + g.open_l),
        (row(-0.9, -0.3, 0, 0.3, 0.9), g.open_u, zero),
        (row(0.3, 0, -0.3), zero, g.open_l),
    ):
        x, y = lip(u, upper, lower)
        xs.append(x)
        ys.append(y)
    return _to_crop(g, torch.cat(xs, 1), torch.cat(ys, 1), size)


_BROW_X, _BROW_W = 0.008, 0.068  # centre of a brow beyond the eye's centre, half-width


def _brow_line(height: Tensor, arch: Tensor, tilt: Tensor, u: Tensor) -> Tensor:
    """y of the brow's middle at u in [-1, 1] from the nose to the temple."""
    return arch * (u - 0.25) ** 2 * 0.8 - height - 0.3 * arch + tilt * 0.068 * u

# ---------------------------------------------------------------------------------------------------------------------------------------- drawing
# Pictures are (3, B, h, w) in [0, 1] while they are drawn; masks and shades (B, h, w). `w` is the width over which an edge is blended, in head units.


def _cover(inside: Tensor, w: Tensor) -> Tensor:
    """Coverage in [0, 1] of a pixel at signed distance `inside` (positive within) from an edge."""
    return (inside / w).add_(0.5).clamp_(0, 1)


def _slab(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
    """Coverage of the band between two edges, right for bands thinner than a pixel: a, b signed distances, positive towards the inside."""
    return (_cover(a, w) + _cover(b, w)).sub_(1).clamp_(min=0)


def _line(d: Tensor, half: Tensor | float, w: Tensor) -> Tensor:
    """Coverage of a line of half-thickness `half` at signed distance d from its middle."""
    return _slab(half + d, half - d, w)


def _bump(q: Tensor) -> Tensor:
    """Smooth hill of squared radius q: 1 at q = 0, exactly 0 from q = 1 on (so that shades end somewhere)."""
    return torch.rsub(q, 1).clamp_(min=0).square_()


def _wave(t: Tensor) -> Tensor:
    """Cosine-like wave of period 1 and range [-1, 1], from exactly rounded operations."""
    a = (t - t.round()).abs_().mul_(4).sub_(1)
    return a * (a * a * 0.5 - 1.5)


def _paint(img: Tensor, alpha: Tensor, colour: Tensor) -> None:
    """Blend a colour (3, B, 1, 1) or (3, B, h, w) into img in place; alpha 1 covers exactly, alpha 0 leaves the pixel bit for bit."""
    img.lerp_(colour, alpha)


def _rgb(values, device) -> Tensor:
    """(n, 3) float32 table of colours."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def _ramp(table: Tensor, t: Tensor) -> Tensor:
    """(3, B, 1, 1) colour at t (B,) in [0, 1] along a table (n, 3)."""
    position = t.float().clamp(0, 1) * (len(table) - 1)
    low = position.long().clamp(max=len(table) - 2)
    part = (position - low)[:, None]
    return (table[low] * (1 - part) + table[low + 1] * part).T[:, :, None, None].contiguous()


def _pick(table: Tensor, t: Tensor) -> Tensor:
    """(3, B, 1, 1) colour number floor(t * n) of a table (n, 3)."""
    return table[(t * len(table)).long().clamp(max=len(table) - 1)].T[:, :, None, None].contiguous()


def _hue(hue: Tensor, saturation: Tensor | float, value: Tensor | float) -> Tensor:
    """(3, B, 1, 1) float32 colour from hue, saturation and value (B,) in [0, 1]."""
    k = (torch.tensor([[5.0], [3.0], [1.0]], dtype=hue.dtype, device=hue.device) + hue * 6) % 6
    chroma = torch.minimum(k, 4 - k).clamp(0, 1)
    return (value * (1 - saturation * chroma)).float()[:, :, None, None]


@lru_cache(maxsize=16)
def _noise(size: int, cells: float, device: str) -> Tensor:
    """(2 size, 2 size) float32 in [-1, 1]: smooth periodic value noise with `cells` cells to the crop; 0 means white noise, one value per pixel."""
    n = round(2 * cells) if cells else 2 * size
    counter = torch.arange(n * n, dtype=torch.int64)
    grid = (_uniform(torch.zeros_like(counter), counter, [f"noise {cells}"])[:, 0] * 2 - 1).view(1, 1, n, n)
    if cells:
        # Pixels are box averages of one fixed field, so that renders of different sizes show the same texture.
        fine = F.interpolate(F.pad(grid, (2, 2, 2, 2), mode="circular"), scale_factor=8, mode="bicubic", align_corners=False)
        grid = F.interpolate(fine[..., 16:-16, 16:-16], size=(2 * size, 2 * size), mode="area").clamp(-1, 1)
    return grid[0, 0].float().to(device).contiguous()


def _texture(size: int, cells: float, where: tuple[Tensor, Tensor], rows: slice = slice(None), cols: slice = slice(None)) -> Tensor:
    """(B, h, w) windows of the noise, each face at its own place `where` (two (B,) tensors in [0, 1])."""
    tile = _noise(size, cells, str(where[0].device))
    windows = tile.unfold(0, size, 1).unfold(1, size, 1)[:, :, rows, cols]
    return windows[(where[0] * size).long().clamp_(max=size - 1), (where[1] * size).long().clamp_(max=size - 1)]


# --- colours ---

_SKIN = ((0.945, 0.765, 0.635), (0.915, 0.715, 0.570), (0.870, 0.665, 0.500), (0.790, 0.565, 0.400), (0.670, 0.455, 0.305), (0.540, 0.350, 0.235),
         (0.430, 0.275, 0.190))  # fmt: skip
_PALE = ((1.000, 0.915, 0.870), (0.985, 0.890, 0.845))
_IRIS = ((0.23, 0.12, 0.06), (0.36, 0.20, 0.09), (0.45, 0.33, 0.14), (0.33, 0.42, 0.22), (0.25, 0.47, 0.62), (0.38, 0.55, 0.70), (0.45, 0.50, 0.54))
# Dark and light end of each hair colour, each for the darkest and the lightest shade of it.
_HAIR = {
    "Black_Hair": (((0.020, 0.018, 0.022), (0.045, 0.035, 0.035)), ((0.170, 0.165, 0.185), (0.215, 0.190, 0.185))),
    "Blond_Hair": (((0.580, 0.440, 0.210), (0.680, 0.550, 0.340)), ((0.930, 0.780, 0.470), (1.000, 0.930, 0.740))),
    "Brown_Hair": (((0.165, 0.095, 0.055), (0.225, 0.140, 0.085)), ((0.470, 0.305, 0.185), (0.560, 0.385, 0.245))),
    "Gray_Hair": (((0.330, 0.335, 0.350), (0.500, 0.505, 0.520)), ((0.720, 0.725, 0.740), (0.930, 0.930, 0.935))),
}
_HAIR_RED = (
    ((0.480, 0.180, 0.050), (0.370, 0.095, 0.035), (0.260, 0.035, 0.045)),
    ((0.960, 0.560, 0.260), (0.820, 0.350, 0.170), (0.620, 0.155, 0.165)),
)
_HAIR_DYED = (
    ((0.560, 0.200, 0.330), (0.050, 0.220, 0.290), (0.210, 0.100, 0.340)),
    ((0.980, 0.600, 0.700), (0.270, 0.640, 0.690), (0.580, 0.410, 0.760)),
)
_LIPSTICK = ((0.80, 0.05, 0.10), (0.90, 0.16, 0.36), (0.93, 0.24, 0.20), (0.55, 0.06, 0.28), (0.66, 0.04, 0.16))
_RIMS = ((0.05, 0.05, 0.06), (0.10, 0.07, 0.06), (0.30, 0.16, 0.07), (0.62, 0.48, 0.22), (0.45, 0.07, 0.09), (0.10, 0.16, 0.36), (0.55, 0.56, 0.58))


def _colours(faces: Faces, g: SimpleNamespace) -> SimpleNamespace:
    """Colours (3, B, 1, 1) of skin, hair, lips and irises, each with its dark and light end."""
    p, device = g.p, faces.index.device
    pale = (_has(faces, "Pale_Skin") > 0)[None, :, None, None]
    skin = torch.where(pale, _ramp(_rgb(_PALE, device), p.tone), _ramp(_rgb(_SKIN, device), p.tone))
    shift = _rgb(((0.012, -0.008, -0.004),), device).T[:, :, None, None]
    skin = skin - shift * p.undertone.float()[None, :, None, None]
    c = SimpleNamespace(skin=skin)
    c.skin_dark = skin * torch.where(pale, *(_rgb((v,), device).T[:, :, None, None] for v in ((0.60, 0.46, 0.42), (0.46, 0.33, 0.29))))
    c.skin_light = (skin * 1.05 + 0.015).clamp(max=1.0)
    dyed = (p.hair_other > 0.93)[None, :, None, None]  # the rest runs from copper over auburn to burgundy
    dark, light = (
        torch.where(dyed, _pick(_rgb(bright, device), (p.hair_other - 0.93).clamp(min=0) / 0.0701), _ramp(_rgb(red, device), p.hair_other / 0.93))
        for red, bright in zip(_HAIR_RED, _HAIR_DYED, strict=True)
    )
    for name, (darks, lights) in _HAIR.items():
        mine = (_has(faces, name) > 0)[None, :, None, None]
        shade = 0.5 + 0.5 * p.hair_shade
        dark = torch.where(mine, _ramp(_rgb(darks, device), shade), dark)
        light = torch.where(mine, _ramp(_rgb(lights, device), shade), light)
    c.hair_dark, c.hair_light = dark, (light * (1 + 0.05 * p.hair_shade.float()[None, :, None, None])).clamp(max=1)
    c.brow = dark * 0.72 + light * 0.17
    c.beard = dark * 0.64 + light * 0.07
    natural = skin * _rgb(((0.84, 0.60, 0.58),), device).T[:, :, None, None] + _rgb(((0.02, 0.0, 0.0),), device).T[:, :, None, None]
    painted = (_has(faces, "Wearing_Lipstick") > 0)[None, :, None, None]
    c.lip = torch.where(painted, _pick(_rgb(_LIPSTICK, device), p.lipstick), natural)
    c.iris = _ramp(_rgb(_IRIS, device), p.eye_colour * (1 - 0.8 * p.tone))  # dark skin comes with dark eyes
    return c


_FIXED = {
    "white": (0.97, 0.96, 0.95), "black": (0.02, 0.02, 0.025), "glint": (1.0, 1.0, 1.0), "lash": (0.07, 0.045, 0.04), "mouth": (0.20, 0.045, 0.055),
    "tongue": (0.72, 0.33, 0.35), "teeth": (0.97, 0.955, 0.925), "lens": (0.16, 0.20, 0.24), "blush": (0.38, 0.10, 0.12),
}  # fmt: skip


# --- layers ---


def _background(p: SimpleNamespace, px: Tensor, py: Tensor, w: Tensor) -> Tensor:
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
    t[wall] += 0.16 * _cover(edge, w[wall] * 2) - 0.12 * _bump((edge / 0.02) ** 2)
    t[stripes] += 0.09 * _wave(px * (5 + 2 * bx[stripes]) + py * 3 * by[stripes])
    tone, hue = p.background_tone[:, 0, 0], p.background_hue[:, 0, 0]
    far = kind == 3
    saturation = torch.where(far, 0.35, 0.10 + 0.35 * (1 - tone.abs()))
    base = _hue(torch.where(far, 0.55 + 0.05 * hue, hue), saturation, torch.where(far, 0.90, 0.62 + 0.30 * tone))
    img = base * (0.55 + 0.9 * t)
    if len(outdoors):
        u, v, tone, hue = bx[outdoors], by[outdoors], tone[outdoors], hue[outdoors]
        horizon = _cover(py - 0.45 - 0.2 * v - 0.02 * _wave(px * 1.3 + u), w[outdoors] * 8)
        ground = _hue(0.2 + 0.2 * hue, 0.45, 0.42 + 0.18 * tone)
        img[:, outdoors] = img[:, outdoors].lerp(ground * (0.7 + 0.6 * t[outdoors]), horizon)
    return img


def _hair(g: SimpleNamespace, x: Tensor, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inside measures of the whole head of hair and of what of it lies before the face, and the shade of its strands. g: (B, 1, 1) float32."""
    p = g.p
    sx, hy = x - g.hx, -0.04
    below = (y - hy).clamp(min=0)
    # strands run from the parting over the top and down the sides
    flow = (sx - g.part) / (y + (g.hair_top + 0.13)).clamp_(min=0.06)
    flow = flow + g.wave * 4 * _wave(y * 5.5 + p.hair_day) * below + 0.012 * noise
    lock = _wave(flow * 3.3 + p.hair_day)
    strand = 0.35 * lock + 0.40 * _wave(flow * 9 + 1.1 * lock + p.hair_part) + 0.25 * _wave(flow * 26 + 2.3 * lock + y * 1.5)
    strand = strand + g.curl * (1.6 * noise - strand)
    # outline
    wide = g.hair_w * (1 + (g.flare * below).clamp_(max=0.12)) + g.wave * _wave(y * 5.5 + p.hair_day + 0.25)
    up = ((y - hy).clamp_(max=0) / (g.hair_top + hy)).square_()
    rho2 = (sx / wide).square_().add_(up * (0.45 + 0.55 * up))
    hull = (1 - rho2) * (0.5 * g.hair_w) + strand * (0.0015 + 0.0110 * g.curl)
    hull = torch.minimum(hull, (g.hair_end + 0.015 * strand - y) * g.cut)  # short hair fades out
    bun = (0.075**2 - (sx - 0.4 * g.part) ** 2 - (y + g.hair_top + 0.025) ** 2) / 0.15 - (1 - g.bun) * 9
    # the opening for the face: |q|^4 + |r|^4 = 1; a receding hairline goes up at the temples and leaves a forelock
    temple = _bump(((y + 0.108) / 0.078).square())  # seen under a hat too, which presses the hair there forward
    tuft = _bump(((y - 0.002) / 0.045).square())  # before the ears
    q = (sx / (g.open_w * (1 + g.temple * temple - 0.09 * tuft))).square_()
    r = (y + 0.02).clamp_(max=0) / g.open_h * (1 + (0.10 * g.part / 0.06) * sx / g.open_w)
    parted = _bump(((sx - g.part) / 0.10).square()) * g.round
    r = r * (1 + (0.09 + 0.13 * g.receding - 0.09 * g.round) * _bump(q * 4) - 0.16 * parted)
    r = r.square_()
    q4, r4 = q * q, r * r
    outside = (q4 + r4 - 1 + (0.20 + 0.55 * g.round) * (q + r - q4 - r4)) * (0.25 * g.open_w) + 0.004 * strand
    outside = outside - (0.06 * p.hair_day * below).clamp_(-0.02, 0.02)
    front = torch.minimum(hull, outside)
    # bangs
    fy = g.fringe_y + 0.014 * strand + 0.10 * p.fringe_side * sx - 0.020 * q
    fringe = torch.minimum(torch.minimum(fy - y, (0.90 - 0.26 * g.receding) * g.width + 0.008 * strand - sx.abs()), hull) - (1 - g.bangs) * 9
    front = torch.maximum(front, fringe)
    hull = torch.maximum(hull, bun)
    # under a hat only what hangs below it is left
    cut = y - g.hat_y + 0.012 + (1 - g.hat) * 9
    hull, front = torch.minimum(hull, cut), torch.minimum(front, cut)
    shine = _bump(((rho2 - 0.66) / 0.30) ** 2) * (0.16 + 0.10 * p.light_x * sx / g.width)
    shade = 0.40 + 0.24 * strand + shine * (1 + 0.8 * strand) * (1 - 12 * below).clamp_(min=0) - 0.10 * below
    shade = shade - (0.22 * _bump((outside / 0.05).square()) + 0.25 * _bump(((sx - g.part) / 0.012).square()) * g.round) * (1 - g.bangs * (y < -0.02))
    return hull, front, shade.clamp_(0, 1)


_FACE_BOX = (0.18, 0.15, 0.82, 0.98)  # left, top, right, bottom: holds every head


def _box(size: int, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
    """Rows and columns of the pixels of a box given in the crop."""
    return slice(int(top * size), math.ceil(bottom * size)), slice(int(left * size), math.ceil(right * size))


def _face_box(size: int, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
    """The same, counted from the corner of _FACE_BOX."""
    rows, cols = _box(size, left, top, right, bottom)
    down, along = int(_FACE_BOX[1] * size), int(_FACE_BOX[0] * size)
    return slice(rows.start - down, rows.stop - down), slice(cols.start - along, cols.stop - along)


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


def _skin_shade(g: SimpleNamespace, x: Tensor, y: Tensor, front: Tensor, size: int, w: Tensor, spots: Tensor) -> Tensor:
    """(B, h, w) brightness of the head's skin, about .75 where plainly lit: round form, shadow of hair and hat, and the shading of each feature."""
    p = g.p
    sx = (x - g.hx) / g.width
    sy = (y - 0.02) * 2.7
    r2 = sx * sx + sy * sy
    hard = 0.8 + 0.25 * p.contrast
    t = 0.88 - hard * 0.27 * r2 + hard * (0.20 * p.light_x * sx - (0.08 - 0.05 * p.light_y) * sy)
    t = t + 0.10 * hard * _bump(((sx - 0.25 * p.light_x) / 0.55).square() + ((y + 0.12) / 0.085).square())  # light on the forehead
    t = t + (0.012 + 0.02 * g.old) * spots
    t = t - 0.26 * _bump(((front - 0.004).clamp_(max=0) / 0.05).square_())  # shadow under the hair
    t = t - g.hat * 0.30 * _bump(((y - g.hat_y) / 0.085).clamp_(min=0).square_())

    # nose: dark flank away from the light, ridge, ball, wings, nostrils, shadow below
    rows, cols = _face_box(size, 0.33, 0.44, 0.67, 0.72)
    v, s = t[:, rows, cols], g.nose_w
    yy, t01 = y[:, rows, cols], ((y[:, rows, cols] + 0.03) / (g.nose_y + 0.03)).clamp_(0, 1)
    xn = x[:, rows, cols] - g.nose_x * t01
    ridge = _bump(((t01 - 0.6) / 0.62).square())
    u = xn / (0.016 + 0.6 * (s - 0.016) * t01)
    flank = (1 - p.light_x * u.sign()) * _bump(((u.abs() - 1.0) / 0.75).square())
    v += ridge * (0.5 + 0.2 * p.nose_bridge) * (0.10 * _bump((u / 0.55).square()) - 0.10 * flank)
    dy = yy - g.nose_y
    v += 0.13 * _bump(((xn - 0.004 * p.light_x) / 0.022).square() + (dy / 0.022).square())
    v -= 0.20 * _bump((xn / (s * 1.15)).square() + ((dy - 0.030) / 0.018).square())
    wing = ((xn.abs() - s * 0.62) / (s * 0.42)).square() + ((dy - 0.008) / 0.021).square()
    v -= 0.26 * _bump(((wing - 1.0) / 0.95).square()) * (xn.abs() > s * 0.62) * _bump(((dy - 0.012) / 0.030).square())
    v -= 0.50 * _cover((1 - ((xn.abs() - s * 0.40) / (s * 0.24)).square() - ((dy - 0.0165) / 0.0060).square()) * 0.004, w * 0.7)

    # cheeks: raised by a smile; the fold from the nose to the mouth, with smile and with age
    rows, cols = _face_box(size, 0.22, 0.50, 0.78, 0.90)
    v, ax, yy, spots_here = t[:, rows, cols], (x[:, rows, cols] - g.mouth_x).abs(), y[:, rows, cols], spots[:, rows, cols]
    v += (0.06 * g.smile + 0.03 + 0.03 * p.cheek) * _bump(((ax - 0.128) / 0.065).square() + ((yy - 0.105 + 0.015 * g.smile) / 0.055).square())
    v -= (0.08 * g.smile + 0.05 + 0.07 * g.old) * _bump(((ax - 0.165) / 0.05).square() + ((yy - 0.20) / 0.09).square())
    depth = (yy - g.nose_y + 0.012) / 0.125
    fold = g.nose_w + 0.018 + depth * (0.034 + 0.016 * g.smile) + 0.012 * g.smile
    v -= (0.17 * g.smile + 0.40 * g.old) * _bump(((ax - fold) / (0.013 + 0.003 * g.old)).square()) * _bump(((depth - 0.5) / 0.55).square())
    v -= g.smile * 0.16 * _bump(((ax - g.mouth_w - 0.008) / 0.012).square() + ((yy - g.mouth_y + g.lift) / 0.020).square())
    freckled = _bump((ax / 0.17).square() + ((yy - 0.085) / 0.065).square())
    v -= (0.6 * (p.freckles - 0.6)).clamp_(min=0) * (spots_here * 4 - 1.2).clamp_(0, 1) * freckled
    # chin and below the lip
    v -= 0.16 * _bump((ax / 0.055).square() + ((yy - g.mouth_y - g.lip_l - g.open_l - 0.016) / 0.014).square())
    v += 0.06 * _bump((ax / 0.06).square() + ((yy - g.chin + 0.055) / 0.035).square())
    v -= g.old * 0.16 * _bump(((ax - 0.105 + 0.25 * (yy - 0.30)) / 0.012).square()) * _bump(((yy - 0.285) / 0.05).square())

    # sockets, bags under the eyes, crow's feet
    rows, cols = _face_box(size, 0.22, 0.38, 0.78, 0.64)
    v, ex, yy = t[:, rows, cols], x[:, rows, cols].abs() - g.eye_x, y[:, rows, cols]
    v -= 0.13 * _bump((ex / 0.085).square() + ((yy + 0.028) / 0.042).square())
    v -= 0.10 * _bump(((ex + 0.062) / 0.028).square() + ((yy + 0.01) / 0.045).square())
    v -= (0.06 + 0.34 * g.old) * _bump((ex / (g.eye_w * 1.05)).square()) * _bump(((yy - 0.036 - 0.004 * g.old + 2.2 * ex * ex) / 0.0125).square())
    fan = _line(_wave((yy + 0.10 * (ex - g.eye_w)) / 0.020 + 0.5) - 1.0, 0.45, 0.5)
    v -= g.old * 0.28 * fan * _bump(((ex - g.eye_w - 0.026) / 0.022).square()) * _bump(((yy - 0.002) / 0.034).square())
    # lines on the forehead
    rows, cols = _face_box(size, 0.25, 0.26, 0.75, 0.46)
    v, xx, yy = t[:, rows, cols], x[:, rows, cols] - g.hx, y[:, rows, cols]
    lines = _wave((yy + 0.018 * _wave(xx * 3.2)) / 0.032)
    v -= g.old * 0.20 * (lines - 0.3).clamp_(min=0) * _bump((xx / 0.15).square()) * _bump(((yy + 0.135) / 0.052).square())
    v -= g.old * 0.22 * _bump(((xx.abs() - 0.014) / 0.006).square()) * _bump(((yy + 0.055) / 0.03).square())
    return t


def _eyes(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, size: int, w: Tensor) -> None:
    """Lids, whites, irises with catch-lights, lashes and brows, both eyes at once: the right box is mirrored into the left one's frame."""
    p = g.p
    for side in (-1.0, 1.0):
        left, right = (0.27, 0.50) if side < 0 else (0.495, 0.725)
        rows, cols = _box(size, left, 0.38, right, 0.585)
        view = img[:, :, rows, cols]
        ex = x[:, rows, cols] * side - g.eye_x  # positive towards the temple
        near = 1 - 0.05 * p.yaw * side
        ex = ex / near
        ey = y[:, rows, cols] + g.eye_tilt * ex
        u = ex / g.eye_w
        a = 1 - u * u
        upper = -g.eye_u * a * (1 - 0.12 * u)
        lower = g.eye_l * a * (1 + 0.15 * u)
        # eye shadow and the crease of the lid
        shadow = _bump(((ex - 0.004) / 0.062).square() + ((ey + 0.026) / 0.026).square())
        _paint(view, shadow * g.eyeshadow, c.eyeshadow)
        crease = upper - 0.0115 - 0.003 * p.crease
        _paint(view, _line(ey - crease, 0.0022, w) * _bump((u / 1.15).square()) * (0.42 + 0.25 * p.crease), c.skin_dark)
        # the eye itself
        inside = _slab(ey - upper, lower - ey, w) * (a > 0)
        white = c.white * (0.98 - 0.30 * _bump(((ey - upper) / 0.014).square()) - 0.14 * u * u)
        gx = ex - 0.0025 - side * 0.011 * p.gaze
        gy = ey + 0.0045
        d2 = gx * gx + gy * gy
        radius = g.iris
        d = (radius * radius - d2) / (2 * radius)
        iris = c.iris * (0.80 + 0.45 * (gy / radius).clamp(-1, 1)) * (1 - 0.55 * _bump((d / 0.0055).square()))
        eye = white.lerp_(iris, _cover(d, w))
        pupil = radius * 0.46
        eye.lerp_(c.black, _cover((pupil * pupil - d2) / (2 * pupil), w))
        glint = (gx - side * (0.007 * p.light_x)) ** 2 + (gy + 0.0085) ** 2
        eye.lerp_(c.glint, _cover((0.0058**2 - glint) / 0.0116, w) * 0.95)
        _paint(view, inside, eye)
        # lash lines: a flick at the outer corner, longer and darker on women
        reach = _bump((u / 1.28).square()).mul_(1.9).clamp_(max=1)
        lid = upper - 0.16 * g.lash * g.eye_w * (u - 0.75).clamp_(min=0)
        _paint(view, _line(ey - lid + 0.0015, 0.0021 + 0.0022 * g.lash, w) * reach * (0.72 + 0.23 * g.lash), c.lash)
        _paint(view, _line(ey - lower, 0.0011, w) * (a > 0) * (0.30 + 0.25 * g.lash), c.lash)
        # brow
        v = (ex - _BROW_X) / _BROW_W
        by = y[:, rows, cols] - _brow_line(g.brow_y, g.brow_arch, g.brow_tilt, v)
        v2 = v * v
        thick = g.brow_h * (1.05 - 0.18 * v - 0.65 * v2 * v2)
        hairs = 0.92 + 0.08 * _wave(v * 9 + by * 60)
        _paint(view, _line(by, thick, w * 1.3) * _cover((1 - v.abs()) * _BROW_W, w * 2.5) * hairs * g.brow_alpha, c.brow)


def _mouth(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, size: int, w: Tensor) -> None:
    """Lips; between them, where the mouth is open, teeth, tongue and the dark."""
    rows, cols = _box(size, 0.34, 0.675, 0.66, 0.86)
    view = img[:, :, rows, cols]
    u = (x[:, rows, cols] - g.mouth_x) / g.mouth_w
    a = 1 - u * u
    my = y[:, rows, cols] - g.mouth_y - g.drop + (g.drop + g.lift) * (u * u)
    bow = 1 - (0.22 + 0.14 * g.p.lip_bow) * _bump((u / 0.30).square())
    upper = -(g.lip_u * bow * (1 + 0.25 * a) * 0.86 + g.open_u) * a
    lower = (g.lip_l * (0.72 + 0.28 * a) + g.open_l) * a
    within = (a > -0.05).float()
    lips = _slab(my - upper, lower - my, w) * within
    gloss = _bump(((u - 0.1 * g.p.light_x) / 0.42).square() + ((my - g.open_l * a - 0.46 * g.lip_l) / 0.0075).square())
    shade = 0.90 - 0.17 * (my < 0) + (0.16 + 0.16 * g.painted) * gloss - 0.10 * u * u
    _paint(view, lips * g.lip_alpha, (c.lip * shade).clamp_(max=1))
    # the line where the lips meet, reaching a little beyond the corners
    top, bottom = -g.open_u * a, g.open_l * a
    _paint(view, _line(my + 0.4 * (g.open_u - g.open_l) * a, 0.0022, w) * _cover((1.06 - u.abs()) * g.mouth_w, w) * 0.75 * (1 - g.agape), c.mouth)
    opening = _slab(my - top, bottom - my, w) * g.agape * within
    inner = c.mouth.expand_as(view).clone()
    tongue = _bump((u / 0.62).square() + ((my - bottom) / (0.018 * g.gape + 1e-3)).square())
    inner.lerp_(c.tongue, (tongue * 1.6).clamp_(max=1))
    teeth_low = top + (0.011 + 0.009 * g.smile) * (0.55 + 0.45 * a)
    gaps = 1 - 0.16 * _bump((_wave(u * (3.2 + 0.6 * a)) - 1).square() * 12)
    inner.lerp_(c.teeth * (gaps * (1 - 0.22 * u * u)), _cover(teeth_low - my, w) * _cover((0.90 - u.abs()) * g.mouth_w, w * 2))
    _paint(view, opening, inner)


def _beard(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, head: Tensor) -> None:
    """Beard along the jaw, sideburns, mustache and goatee, as density of hair; the mouth is painted after it. x, y, head: of _FACE_BOX."""
    size = img.shape[-1]
    rows, cols = _box(size, 0.20, 0.42, 0.80, 0.98)
    view, where = img[:, :, rows, cols], (g.p.texture[:, 0, 0], (g.p.texture[:, 0, 0] * 7.77) % 1)
    grain = _texture(size, 150, where, rows, cols)
    rows, cols = _face_box(size, 0.20, 0.42, 0.80, 0.98)
    bx, by, inside = x[:, rows, cols], y[:, rows, cols], head[:, rows, cols]
    hx = (bx - g.hx).abs() / g.width
    mx = (bx - g.mouth_x).abs()
    shape = g.p.beard_shape
    dense = 0.72 + 0.10 * g.p.beard
    soft = 0.016
    q = hx * hx
    # jaw: below a line from the ear to the corner of the mouth, not on the lip; sideburns: from the temple to that line
    cheek = 0.245 - 0.120 * q * q - 0.02 * shape
    lip = _bump((mx / 0.085).square() + ((by - 0.185) / 0.05).square()).mul_(1.4).clamp_(max=1)
    alpha = g.jaw_beard * _cover(by - cheek, soft * 2.2) * (0.66 + 0.12 * g.p.beard) * (1 - lip)
    side = _cover((hx - 0.68 + 0.04 * shape - 0.50 * by.clamp(min=0)) * g.width, soft * 0.7) * _slab(by + 0.05, 0.145 + 0.012 * shape - by, soft)
    alpha = torch.maximum(alpha, g.sideburns * (dense + 0.20) * side) * _cover(inside + 0.004, soft)
    # mustache: two wings from the groove under the nose to beyond the corners of the mouth
    v = mx / (g.mouth_w * (1.04 + 0.10 * shape))
    middle = g.mouth_y - g.lip_u - g.open_u - 0.018 + (0.022 + 0.010 * shape) * v * v
    wings = (0.0185 + 0.0035 * shape) * (1 - 0.55 * v * v) - (by - middle).abs()
    alpha = torch.maximum(alpha, g.mustache * (dense + 0.10) * _cover(torch.minimum(wings, (1 - v) * 0.09), soft * 0.75))
    # goatee: chin and the patch below the lip, a little beyond the chin
    gy = by - g.chin + 0.022
    chin = (1 - (mx / ((0.080 + 0.010 * shape) * (1 - 3 * gy.clamp(min=0)))).square() - (gy / (0.068 + 0.006 * shape)).square()) * 0.035
    patch = torch.minimum(0.018 - mx, 0.05 - (by - g.chin + 0.085).abs())
    alpha = torch.maximum(alpha, g.goatee * (dense + 0.16) * _cover(torch.maximum(chin, patch), soft))
    _paint(view, (alpha * (1 + 0.22 * grain)).clamp_(0, 1), (c.beard * (1 + 0.32 * grain)).clamp_(0, 1))


def _glasses(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, w: Tensor) -> None:
    """Rims, bridge, temples, tinted lenses with a reflection, and their shadow on the skin."""
    p = g.p
    rows, cols = _box(img.shape[-1], 0.20, 0.38, 0.80, 0.66)
    view, gx, gy = img[:, :, rows, cols], x[:, rows, cols] - 0.3 * g.nose_x, y[:, rows, cols] - 0.010
    ax = gx.abs() - g.eye_x - 0.004
    half_w, half_h = 0.080 + 0.006 * p.glasses_size, 0.058 + 0.007 * p.glasses_size - 0.009 * p.glasses_shape
    # rounded rectangle as a superellipse whose exponent goes from 2 (round) to 4
    qx, qy = (ax / half_w).square_(), (gy / half_h).square_()
    square = 0.5 + 0.5 * p.glasses_shape
    f = (1 - square) * (qx + qy) + square * (qx * qx + qy * qy)
    d = (1 - f) * (half_h * 0.5 / (1 + square))
    thick = 0.0060 + 0.0025 * p.glasses_rim
    _paint(view, _bump(((d + thick + 0.008) / 0.014).square()) * (gy > 0) * 0.22, c.skin_dark)
    lens = _cover(d, w)
    _paint(view, lens * (0.07 + 0.16 * p.tint * p.tint), c.lens)
    slant = gx * 0.8 + gy - 0.085 * gx.sign()
    streak = _line(slant + 0.010, 0.011, w * 2) + _line(slant - 0.012, 0.003, w * 2)
    _paint(view, lens * streak * 0.26 * _bump((gy / half_h).square() * 0.8), c.glint)
    rim = _line(d, thick, w)
    bridge = _line(gy + 0.016 - 6 * gx * gx, thick * 0.8, w) * (gx.abs() < g.eye_x - half_w + 0.012)
    arms = _line(gy + 0.016, thick * 0.75, w) * (ax > half_w * 0.93) * _cover(g.width * 1.02 - (x[:, rows, cols] - g.hx).abs(), w)
    rim = torch.maximum(torch.maximum(rim, bridge), arms)
    _paint(view, rim, (c.rim * (1 + 0.5 * _bump(((d - thick * 0.4) / (thick * 0.7)).square()) * (gy < 0))).clamp_(max=1))


def _hat(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, w: Tensor) -> None:
    """A knitted beanie with a fold, a cap with a visor, or a hat with a ribbon and a brim."""
    p = g.p
    rows, cols = _box(img.shape[-1], 0.0, 0.0, 1.0, 0.52)
    view, hx, hy = img[:, :, rows, cols], x[:, rows, cols] - g.hx, y[:, rows, cols]
    kind = (p.hat * 3).long().clamp(max=2)
    beanie, cap, brim = ((kind == k).float() for k in range(3))
    width = g.width * (1.13 - 0.02 * cap - 0.05 * brim)
    edge = g.hat_y + (0.06 * beanie + 0.10 * cap - 0.10 * brim) * (hx / width).square() * 0.5
    up = hy - edge
    tall = g.top + 0.075 + g.hat_y + 0.01 * beanie
    qx, qy = (hx / width).square(), (up.clamp(max=0) / tall).square()
    dent = 0.020 * brim * _bump((hx / 0.10).square())
    dome = 1 - torch.where(brim > 0, qx * qx, qx) - torch.where(brim > 0, qy * qy, qy)
    crown = torch.minimum(dome * 0.10 - dent * (qy > 0.3), -up)
    rib = _wave(hx * (24 - 8 * hy.abs()) + p.hat_tone)
    shade = 0.86 + 0.20 * p.light_x * hx / width - 0.28 * qx + (0.07 * rib - 0.02) * beanie
    shade = shade - cap * 0.18 * _bump((hx.abs() / width - 0.42 * (1 - qy) - 0.02).square() / 0.0006) - 0.25 * cap * _bump((hx / 0.006).square())
    _paint(view, _cover(crown, w), (c.hat * shade).clamp_(0, 1))
    # fold, ribbon; visor or brim with the dark of its underside
    fold = torch.minimum(torch.minimum(up + 0.075 * beanie + 0.052 * brim, -up), 1.03 * width - hx.abs()) - cap * 9
    _paint(view, _cover(fold, w), (c.hat_band * (shade + 0.05 * rib * beanie)).clamp_(0, 1))
    vx = hx - 0.035 * p.yaw * cap
    reach_w, reach_h = 0.205 * cap + 0.375 * brim + 0.1 * beanie, 0.036 * cap + 0.030 * brim + 0.01 * beanie
    vy = hy - g.hat_y + 0.004 - (0.35 * cap - 0.25 * brim) * vx * vx
    steep = vx.abs() / reach_w.square() + vy.abs() / reach_h.square()
    visor = (1 - (vx / reach_w).square() - (vy / reach_h).square()) / (2 * steep).clamp_(min=9.0) - beanie * 9
    lit = 0.80 - 0.30 * (vy / reach_h).clamp(-1, 1)
    _paint(view, _cover(visor, w), (c.hat * lit).clamp_(0, 1))


def _neck_and_clothes(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, size: int, w: Tensor) -> None:
    """Neck with the shadow of the chin, shoulders, and one of four necklines."""
    p = g.p
    rows, cols = _box(size, 0.0, 0.70, 1.0, 1.0)
    view, nx, ny = img[:, :, rows, cols], x[:, rows, cols] - 0.5 * g.hx, y[:, rows, cols]
    ax = nx.abs()
    half = 0.118 + 0.010 * p.neck + 0.034 * g.male
    flare = (ny - 0.36).clamp(min=0)
    neck = half + 2.2 * flare * flare * 4 - ax
    below = (ny - g.chin) / 0.12
    shade = 0.52 + 0.22 * below.clamp(0, 1) + 0.12 * p.light_x * nx / half - 0.12 * (nx / half).square().clamp_(max=1)
    apple = g.male * 0.06 * _bump((nx / 0.022).square() + ((ny - g.chin - 0.07) / 0.03).square())
    shoulder = ny - 0.395 - 0.01 * p.neck - 0.42 * (ax - 0.13) + 0.015 * g.male
    body = torch.maximum(torch.minimum(neck, ny - 0.15), torch.minimum(shoulder, ny - 0.38))
    _paint(view, _cover(body, w), c.skin_dark + (c.skin_light - c.skin_dark) * (shade + apple))
    kind = (p.clothes * 4).long().clamp(max=3)
    crew, vee, shirt, low = ((kind == k).float() for k in range(4))
    neckline = 0.455 - 0.055 * crew - 0.020 * shirt + 0.03 * low - (crew * 1.5 - low * 0.2) * (0.02 - ax * ax) - (vee + shirt) * (0.55 * ax - 0.055)
    cloth = torch.minimum(torch.minimum(shoulder + 0.008, ny - neckline), ny - 0.36)
    folds = _wave(nx * 5 + ny * 3) * ((ax - 0.1) * 8).clamp_(0, 1)
    fall = 0.92 + 0.16 * p.light_x * nx + 0.10 * folds - 0.22 * _bump(((ny - neckline) / 0.02).square())
    _paint(view, _cover(cloth, w), (c.clothes * fall).clamp_(0, 1))
    collar = _slab(ny - neckline + 0.012, neckline + 0.045 - ny, w) * shirt * (ax < 0.2)
    _paint(view, collar, (c.clothes * 0.7 + 0.28).clamp_(0, 1))


def _ears(img: Tensor, g: SimpleNamespace, c: SimpleNamespace, x: Tensor, y: Tensor, size: int, w: Tensor) -> None:
    """Two ears with a darker inside; the one on the side that the head turns to is hidden a little."""
    for side in (-1.0, 1.0):
        left, right = (0.16, 0.36) if side < 0 else (0.64, 0.84)
        rows, cols = _box(size, left, 0.42, right, 0.68)
        view = img[:, :, rows, cols]
        ex = (x[:, rows, cols] - g.hx) * side - g.width * 0.985 + 0.010 * g.p.yaw * side
        ey = y[:, rows, cols] - 0.035 + 0.35 * ex * 0.3
        high = 0.060 + 0.006 * g.p.ear_size
        wide = 0.027 + 0.003 * g.p.ear_size
        q = (ex / (wide * (1 - 2.2 * ey))).square() + (ey / high).square()
        shade = 0.70 - 0.30 * _bump(((q - 0.30) / 0.32).square()) + 0.10 * g.p.light_x * side
        _paint(view, _cover((1 - q) * wide * 0.5, w), c.skin_dark + (c.skin_light - c.skin_dark) * shade)


@dataclass
class _Scene:
    """Everything per face that a layer needs, packed so that selecting faces is three operations instead of two hundred."""

    names: tuple[str, ...]
    values: Tensor  # (len(names), B, 1, 1) float32: geometry and strengths, then the raw parameters under "p."
    colour_names: tuple[str, ...]
    colours: Tensor  # (len(colour_names), 3, B, 1, 1) float32

    def __getitem__(self, idx) -> "_Scene":
        return _Scene(self.names, self.values[:, idx], self.colour_names, self.colours[:, :, idx])

    def open(self) -> tuple[SimpleNamespace, SimpleNamespace]:
        """Namespaces of (B, 1, 1) numbers (with the raw parameters in `.p`) and of (3, B, 1, 1) colours."""
        g = SimpleNamespace(p=SimpleNamespace())
        for name, value in zip(self.names, self.values.unbind(0), strict=True):
            setattr(g.p if name[:2] == "p." else g, name.removeprefix("p."), value)
        return g, SimpleNamespace(**dict(zip(self.colour_names, self.colours.unbind(0), strict=True)))


def _scene(faces: Faces) -> _Scene:
    """Geometry and colours of the faces, computed in float64 where they pass through functions that are not exactly rounded."""
    g = _geometry(faces)
    p, c = g.p, _colours(faces, g)
    g.agape, g.lash, g.brow_alpha = (g.gape > 0).double(), 1 - 0.9 * g.male, 0.80 + 0.12 * g.male
    g.eyeshadow = (0.16 + 0.16 * p.makeup) * (1 - 0.85 * g.male)
    g.blush = (0.13 + 0.09 * p.makeup) * (1 - 0.6 * g.male)
    g.painted = _has(faces, "Wearing_Lipstick")
    g.lip_alpha = 0.72 + 0.28 * g.painted
    g.jaw_beard = faces.jaw_beard.double()
    for name in BEARD_PARTS:
        setattr(g, name.lower(), _has(faces, name))
    for name, rgb in _FIXED.items():
        setattr(c, name, _rgb((rgb,), p.yaw.device).T[:, :, None, None].expand_as(c.skin))
    c.rim = _pick(_rgb(_RIMS, p.yaw.device), p.glasses_colour)
    c.eyeshadow = c.skin_dark * 0.8 + _hue((p.lipstick * 0.4 + 0.7) % 1, 0.5, 0.25)
    c.blush = c.skin * 0.55 + c.blush
    c.hat = _hue(p.hat_hue, 0.30 + 0.35 * (1 - p.hat_tone.abs()), 0.52 + 0.34 * p.hat_tone)
    c.hat_band = c.hat * 0.62 + _hue((p.hat_hue + 0.45) % 1, 0.4, 0.26 + 0.10 * p.hat_tone)
    c.clothes = _hue(p.clothes_hue, 0.25 + 0.35 * (1 - p.clothes_tone.abs()), 0.52 + 0.38 * p.clothes_tone)
    values = {k: v for k, v in vars(g).items() if isinstance(v, Tensor)} | {f"p.{k}": v for k, v in vars(p).items()}
    packed = torch.stack(list(values.values())).float()[:, :, None, None]
    return _Scene(tuple(values), packed, tuple(vars(c)), torch.stack(list(vars(c).values())))


def _draw(scene: _Scene, size: int) -> Tensor:
    """(3, B, size, size) in [0, 1], before exposure and noise."""
    g, c = scene.open()
    p = g.p
    # frames; the edge width is the pixel's, or the blur's where that is wider
    centre = (torch.arange(size, dtype=torch.float32, device=g.cx.device) + 0.5) / size
    px, py = centre[None, None, :], centre[None, :, None]
    cos, sin = g.cos / g.scale, g.sin / g.scale
    x = (px - g.cx) * cos + (py - g.cy) * sin
    y = (py - g.cy) * cos - (px - g.cx) * sin
    w = torch.maximum(torch.full_like(g.scale, 1 / size), p.blur / 90) / g.scale
    where = (p.texture[:, 0, 0], (p.texture[:, 0, 0] * 7.77) % 1)

    img = _background(p, px, py, w)
    hull, front, strands = _hair(g, x, y, _texture(size, 34, where))
    hair = c.hair_dark + (c.hair_light - c.hair_dark) * strands
    _paint(img, _cover(hull, w * 1.3), hair * 0.80)
    _neck_and_clothes(img, g, c, x, y, size, w)
    _ears(img, g, c, x, y, size, w)
    box = _box(size, *_FACE_BOX)
    head = _head(g, x[:, *box], y[:, *box])
    shade = _skin_shade(g, x[:, *box], y[:, *box], front[:, *box], size, w, _texture(size, 90, where, *box))
    _paint(img[:, :, *box], _cover(head, w), (c.skin_dark + (c.skin_light - c.skin_dark) * shade).clamp_(0, 1))
    rows, cols = _box(size, 0.22, 0.50, 0.78, 0.78)
    spots = _bump(((x[:, rows, cols].abs() - 0.125) / 0.075).square() + ((y[:, rows, cols] - 0.105) / 0.060).square())
    _paint(img[:, :, rows, cols], spots * g.blush, c.blush)

    def on_some(flag, layer, *frames):
        """A layer that few faces have, on those that have it."""
        on = (flag[:, 0, 0] > 0).nonzero()[:, 0]
        if len(on):
            some = img[:, on]
            layer(some, *scene[on].open(), *(frame[on] for frame in frames))
            img[:, on] = some

    on_some(g.jaw_beard + g.mustache + g.goatee + g.sideburns, _beard, x[:, *box], y[:, *box], head)
    _eyes(img, g, c, x, y, size, w)
    _mouth(img, g, c, x, y, size, w)
    _paint(img, _cover(front, w * 1.2), hair)
    on_some(g.glasses, _glasses, x, y, w)
    on_some(g.hat, _hat, x, y, w)
    return img


_FACES_AT_ONCE = 1024  # faces whose geometry is computed together
_CHUNK = 1 << 18  # pixels drawn together: small enough for the cache, large enough to hide the cost of a call


def render(faces: Faces, size: int, device="cpu") -> Tensor:
    """(B, 3, size, size) float32 in [-1, 1] on `device`. size in pixels, 32 to 512. ValueError: a size outside that range."""
    return _render(_scene, _draw, faces, size, device)


def _render(scene, draw, batch: "Faces | Animals", size: int, device) -> Tensor:
    if not 32 <= size <= 512:
        raise ValueError(f"pictures are drawn at 32 to 512 pixels, got {size}")
    out = torch.empty(len(batch), 3, size, size, device=device)
    step = max(1, _CHUNK // size**2)
    threads = torch.get_num_threads() if out.device.type == "cpu" and len(batch) > step else 1
    for first in range(0, len(batch), _FACES_AT_ONCE):
        some, target = batch[first : first + _FACES_AT_ONCE].to(device), out[first : first + _FACES_AT_ONCE]
        parts = scene(some)

        def one(start: int, some=some, target=target, parts=parts) -> None:
            chunk = slice(start, start + step)
            with torch.no_grad():
                _finish(draw(parts[chunk], size), some[chunk], target[chunk])

        starts = range(0, len(some), step)
        if threads == 1:
            for start in starts:
                one(start)
        else:
            # A thread per chunk, not per operation: thousands of short operations would each wait for the slowest core.
            torch.set_num_threads(1)
            try:
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(one, starts))
            finally:
                torch.set_num_threads(threads)
    return out


def _finish(img: Tensor, chunk, out: Tensor) -> None:
    """Exposure, colour of the light and sensor noise, each the same for every attribute; writes [-1, 1] into `out` (B, 3, S, S)."""
    gain = 1 + 0.08 * chunk.exposure.double()
    tint = torch.stack([gain * (1 + 0.03 * chunk.warmth), gain, gain * (1 - 0.04 * chunk.warmth)]).float()[:, :, None, None]
    where = ((chunk.texture.double() * 3.3) % 1, (chunk.texture.double() * 31.7) % 1)
    noise = _texture(out.shape[-1], 0, where) * (chunk.grain * (0.012 * 3**0.5))[:, None, None]
    img.mul_(tint).add_(noise).mul_(2).sub_(1).clamp_(-1, 1)
    out.copy_(img.transpose(0, 1))


def region(faces: Faces, attribute: str, size: int) -> Tensor:
    """(B, 1, size, size) bool: the pixels in which `render(faces)` and the render with `attribute` flipped differ, that is, all an edit may touch.

    Exact by definition: outside it the two pictures are equal bit for bit, whatever the value asked for. ValueError: an unknown attribute.
    """
    flipped = counterfactual(faces, attribute, 1 - faces.state[:, _attribute(attribute)])
    differ = (render(faces, size) != render(flipped, size)).any(1, keepdim=True).float()
    # a difference below the precision of a float leaves holes where a shade fades out: close them (3x3 dilation, then erosion)
    grown = F.max_pool2d(differ, 3, 1, 1)
    return (-F.max_pool2d(-grown, 3, 1, 1)).maximum(differ) > 0


# ---------------------------------------------------------------------------------------------------------------------------------------- animals

ANIMALS: tuple[str, ...] = ("cat", "dog", "wild")


@dataclass
class Animals:
    """Parameters of B animal faces in AFHQ's framing (the head fills the picture); every field a tensor (B,), ranges in `ranges(Animals)`."""

    seed: Tensor  # (B,) int64
    index: Tensor  # (B,) int64
    domain: Tensor  # (B,) int64: place in ANIMALS
    breed: Tensor = _own("image", 0, 1, "coat: colours and markings of the domain (wild: tiger, lion or leopard)")
    shade: Tensor = _own("image", -1, 1, "dark to light fur")
    markings: Tensor = _own("image", 0, 1, "strength of stripes, patches or spots")
    head: Tensor = _own("image", -1, 1, "narrow to broad head")
    ears: Tensor = _own("image", -1, 1, "small to large ears")
    eyes: Tensor = _own("image", 0, 1, "colour of the eyes")
    pupil: Tensor = _own("image", -1, 1, "narrow to wide pupils")
    muzzle: Tensor = _own("image", -1, 1, "small to large muzzle")
    tongue: Tensor = _own("image", 0, 1, "tongue out, on a dog, above .6")
    yaw: Tensor = _own("image", -1, 1, "head turned to the left or right")
    pitch: Tensor = _own("image", -1, 1, "head up or down")
    roll: Tensor = _own("image", -1, 1, "head tilted, at most 8 degrees")
    zoom: Tensor = _own("image", -1, 1, "scale, within 6 percent")
    light_x: Tensor = _own("image", -1, 1, "light from the left or right")
    warmth: Tensor = _own("image", -1, 1, "cool to warm light")
    exposure: Tensor = _own("image", -1, 1, "darker to brighter picture")
    grain: Tensor = _own("image", 0, 1, "sensor noise")
    texture: Tensor = _own("image", 0, 1, "which part of the noise pattern is used")
    background: Tensor = _own("image", 0, 1, "kind of background, as for faces")
    background_hue: Tensor = _own("image", 0, 1, "hue of the background")
    background_tone: Tensor = _own("image", -1, 1, "dark to light background")
    background_x: Tensor = _own("image", -1, 1, "layout of the background")
    background_y: Tensor = _own("image", -1, 1, "layout of the background")

    def __len__(self) -> int:
        return self.index.shape[0]

    def __getitem__(self, idx) -> "Animals":
        """Animals at `idx`: a slice, or an index or boolean tensor. An integer gives a batch of one."""
        return _each(self, lambda v: v[_batch_index(idx, len(self))])

    def to(self, device) -> "Animals":
        """The same animals with every field on `device`."""
        return _each(self, lambda v: v.to(device))


def sample_animals(seed: int, index: Tensor | range, domain: str | None = None) -> Animals:
    """Animals (seed, index), each independent of the batch it is drawn in; the domain by a hash, or `domain` for all of them.

    With another domain the same (seed, index) keeps pose, light and background. ValueError: an unknown domain or a negative index.
    """
    if domain is not None and domain not in ANIMALS:
        raise ValueError(f"unknown domain {domain!r}; choose from {', '.join(ANIMALS)}")
    index = _index(index)
    seeds = torch.full_like(index, seed)
    own = ranges(Animals)
    u = _uniform(seeds, index, [f"animal {name}" for name in ["domain", *own]])
    place = (u[:, 0] * len(ANIMALS)).long() if domain is None else torch.full_like(index, ANIMALS.index(domain))
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


def _draw_animals(animals: Animals, size: int) -> Tensor:
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
    nose_colour = torch.tensor(_ANIMAL_NOSE, device=device)[domain].T[:, :, None, None]
    hw, hh, ear_x, ear_y, eye_x, eye_y, eye_r, nose_y, nose_w, muz_w, muz_h = torch.tensor(_ANIMAL, device=device)[domain].T[:, :, None, None]

    centre = (torch.arange(size, dtype=torch.float32, device=device) + 0.5) / size
    px, py = centre[None, None, :], centre[None, :, None]
    angle, scale = animals.roll.double() * math.radians(8), 1 + 0.06 * p.zoom
    cos, sin = angle.cos().float()[:, None, None] / scale, angle.sin().float()[:, None, None] / scale
    x, y = (px - 0.5) * cos + (py - 0.54) * sin, (py - 0.54) * cos - (px - 0.5) * sin
    w = 1 / size / scale
    img = _background(p, px, py, w)
    where = (animals.texture.double(), (animals.texture.double() * 7.77) % 1)
    hair, blobs = _texture(size, 70, where), _texture(size, 13, where)
    hw = hw * (1 + 0.07 * p.head)
    ax, fuzz = x.abs(), 0.008 * hair

    def rgb(*values):
        return torch.tensor(values, device=device).view(3, 1, 1, 1)

    def paint(inside, colour, shade=1.0, strength=1.0, edge=1.0):
        _paint(img, _cover(inside, w * edge) * strength, (colour * shade).clamp(0, 1))

    def blob(dx, dy, rx, ry):
        """Inside measure of an ellipse at offset (dx, dy) from its centre."""
        return (1 - (dx / rx).square() - (dy / ry).square()) * (0.5 * ry)

    fine = 1 + 0.13 * hair
    # mane, shoulders, then upright ears behind the head
    mane = blob(x, y - 0.02, hw * 1.42 + 0.03 * blobs, hh * 1.42 + 0.03 * blobs) - (1 - lion) * 9
    paint(torch.maximum(blob(x, y - 0.52, hw * 1.25, hh * 0.8), mane) + fuzz, fur * (1 - lion) + mark * lion, (0.78 + 0.25 * blobs * lion) * fine)
    size_e = 1 + 0.15 * p.ears
    wedge = (y - ear_y + 0.185 * size_e) * 0.52 - (ax - ear_x - 0.12 * (ear_y - y)).abs()
    wedge = torch.minimum(wedge, 0.12 + ear_y - y)
    disc = blob(ax - ear_x, y - ear_y, 0.105 * size_e, 0.105 * size_e)
    upright = torch.where(cat > 0, wedge, disc) - dog * 9
    paint(upright + fuzz, fur, 0.92 * fine)
    paint(upright - 0.032, torch.where(cat > 0, fur * 0.5 + rgb(0.42, 0.24, 0.24), mark * 0.6), 1.0, 0.8, 3.0)
    # head: round form, markings, lighter muzzle and cheeks
    tx, ty = x + 0.03 * p.yaw, y + 0.02 * p.pitch  # the features turn with the head
    shape = blob(x, y, hw * (1 + 0.10 * (y > 0.1) * wild), hh) + fuzz
    lit = 1.08 - 0.42 * ((x / hw).square() + (y / hh).square()) * 0.6 + 0.16 * p.light_x * x / hw - 0.06 * y / hh
    stripes = (_wave(tx * 9 + 0.25 * _wave(ty * 4)) * (ty < -0.10) + _wave(ty * 8 - ax * 4 + 0.6 * blobs) * (ax > 0.17)).clamp_(min=0)
    patch = _cover(blob(tx - 0.13, ty + 0.08, 0.15 + 0.02 * blobs, 0.17 + 0.02 * blobs), w * 4)
    spots = ((blobs.abs() - 0.30) * 6).clamp_(0, 1) * (ax + (ty < -0.08) * 0.2 > 0.16)
    marks = tiger * (stripes * 1.7).clamp_(max=1) * 0.95 + leopard * spots * 0.9 + cat * stripes * p.markings * 0.7 + dog * patch * p.markings.round()
    skin = fur.lerp(mark, marks.clamp_(0, 1))
    skin = skin.lerp(pale, (_bump((ax / 0.24).square() + ((ty - 0.20) / 0.22).square()) * 1.5 * (1 - 0.5 * cat)).clamp_(max=0.85))
    skin = skin.lerp(pale, 0.8 * wild * _bump(((ax - 0.14) / 0.10).square() + ((ty + 0.155) / 0.06).square()))
    paint(shape, skin * lit, fine)
    # hanging ears lie over the sides of the head
    hang = blob(ax - ear_x - 0.02 - 0.10 * (y - ear_y).clamp(min=0), y - ear_y - 0.19, 0.088 * size_e, 0.235 * size_e) - (1 - dog) * 9
    paint(hang + fuzz, mark, (1.05 - 0.30 * _bump((hang / 0.02).square())) * fine)
    # muzzle, mouth, tongue, whiskers
    mw, mh, my = muz_w * (1 + 0.10 * p.muzzle), muz_h * (1 + 0.10 * p.muzzle), ty - nose_y
    pads = blob(tx.abs() - mw * 0.48, my - mh * 0.55, mw * 0.55, mh * 0.50)
    tongue = blob(tx, my - mh * 1.15, 0.048, 0.085) - (1 - dog * (p.tongue > 0.6)) * 9
    paint(tongue, rgb(0.90, 0.42, 0.46), 1 - 0.2 * _bump((tx / 0.008).square()))
    chin = blob(tx, my - mh * 0.9, mw * 0.5, mh * 0.35)
    paint(torch.maximum(pads, chin), pale, (0.86 + 0.35 * _bump((my / mh - 0.3).square() * 1.6)) * fine, 0.9, 3.0)
    line = torch.minimum(0.0045 - tx.abs(), torch.minimum(my, mh * 0.62 - my))
    smile = torch.minimum(0.0050 - (my - mh * 0.62 - 0.30 * mw * (1 - (tx.abs() / (mw * 0.45) - 1).square())).abs() * 0.7, mw * 0.85 - tx.abs())
    paint(torch.maximum(line, smile), mark, 0.35, 0.9)
    dots = _bump(((tx.abs() - mw * 0.55) / (mw * 0.3)).square() + ((my - mh * 0.55) / (mh * 0.3)).square())
    paint((_wave(tx * 26) + _wave(my * 26) - 1.45) * 0.02, mark, 0.5, dots * (1 - dog))
    for slope, drop in ((0.10, 0.02), (-0.06, 0.035), (-0.22, 0.05)):
        hairs = _line(my - drop + slope * (tx.abs() - 0.05), 0.0022, w) * (tx.abs() > mw * 0.55) * (tx.abs() < 0.36) * (cat * 0.85 + wild * 0.4)
        _paint(img, hairs, rgb(0.97, 0.97, 0.96))
    # nose: a rounded triangle with a light
    nose = torch.minimum(blob(tx, my, nose_w, nose_w * 0.72), nose_w * 0.78 - tx.abs() - (my - nose_w * 0.1).clamp(min=0) * 1.1)
    gleam = _bump(((tx - 0.01 * p.light_x) / (nose_w * 0.6)).square() + ((my + nose_w * 0.32) / (nose_w * 0.28)).square())
    paint(nose, nose_colour, 0.85 + 0.55 * gleam)
    paint(blob(tx.abs() - nose_w * 0.42, my - nose_w * 0.12, nose_w * 0.2, nose_w * 0.16), mark, 0.15, 0.8)
    # eyes: dark rim, iris, pupil (a slit in cats), catch-light
    ex, ey = tx.abs() - eye_x, ty - eye_y
    ey = ey + (0.22 * cat + 0.15 * wild) * ex
    almond = blob(ex, ey, eye_r * 1.12, eye_r * (0.92 - 0.12 * wild))
    paint(almond + 0.010, mark, 0.28)
    paint(almond, iris, 1.10 - 0.45 * (0.5 - ey / eye_r * 0.8).clamp(0, 1) - 0.3 * _bump((almond / 0.012).square()))
    wide, high = (0.24 + 0.10 * p.pupil) * cat + 0.62 * dog + 0.42 * wild, 0.8 * cat + 0.62 * dog + 0.42 * wild
    paint(blob(ex, ey, eye_r * wide, eye_r * high), mark, 0.12)
    paint(blob(tx - tx.sign() * eye_x - 0.014 * p.light_x, ey + eye_r * 0.36, eye_r * 0.22, eye_r * 0.22), pale * 0 + 1)
    return img


def render_animals(animals: Animals, size: int, device="cpu") -> Tensor:
    """(B, 3, size, size) float32 in [-1, 1] on `device`. size in pixels, 32 to 512. ValueError: a size outside that range."""
    return _render(lambda some: some, _draw_animals, animals, size, device)

"""What a face is: its attributes and parameters, how both are drawn at random, and what it means to change one attribute."""

import dataclasses
import zlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

ATTRIBUTES: tuple[str, ...] = (
    "Young", "Mouth_Slightly_Open", "Smiling", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Receding_Hairline", "Bangs", "Male",
    "No_Beard", "Mustache", "Goatee", "Sideburns", "Eyeglasses", "Pale_Skin", "Wearing_Lipstick", "Wearing_Hat",
)  # fmt: skip
HAIR_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")  # at most one of them is true; none: red, auburn or dyed hair
BEARD_PARTS = ("Mustache", "Goatee", "Sideburns")  # any of them, or a beard along the jaw, makes No_Beard false
COLUMN = {name: k for k, name in enumerate(ATTRIBUTES)}

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


def _mix(h: Tensor) -> Tensor:
    """A bijective 32-bit integer hash (constants of Wellons' `lowbias32`) of int64 tensors of values below 2**32."""
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return h ^ (h >> 16)


def uniform(seed: Tensor, counter: Tensor, names: list[str]) -> Tensor:
    """(B, len(names)) float64 in (0, 1): a hash of (seed, counter, name), without a generator and so the same in any
    batch and on any machine; seed and counter (B,) int64."""
    h = _mix(seed & 0xFFFFFFFF)
    for word in (seed >> 32, counter, counter >> 32):
        h = _mix((h + 0x9E3779B9 & 0xFFFFFFFF) ^ (word & 0xFFFFFFFF))
    keys = torch.tensor([zlib.crc32(name.encode()) for name in names], dtype=torch.int64, device=seed.device)
    h = _mix(_mix(h[:, None] ^ keys[None]) ^ (keys[None] >> 7))
    return (h.double() + 0.5) / 2**32


def own(scope: str, low: float, high: float, meaning: str):
    """One parameter drawn uniformly from [low, high] per `scope` ("identity" or "image")."""
    return field(metadata={"scope": scope, "low": low, "high": high, "meaning": meaning})


@dataclass(kw_only=True)
class Drawn:
    """What every picture has, people's and animals': tensors (B,) or (B, k), float32 or int64. `len` counts; `[...]`
    selects by a slice, an index or a boolean tensor, and by an integer as a batch of one."""

    seed: Tensor  # (B,) int64
    index: Tensor  # (B,) int64
    light_x: Tensor = own("image", -1, 1, "light from the left or right")
    warmth: Tensor = own("image", -1, 1, "cool to warm light")
    exposure: Tensor = own("image", -1, 1, "darker to brighter picture")
    grain: Tensor = own("image", 0, 1, "sensor noise, standard deviation 0 to .012 of the full range")
    texture: Tensor = own("image", 0, 1, "which part of the noise pattern is used")
    background: Tensor = own("image", 0, 1, "studio, lights, wall, outdoors or stripes")
    background_hue: Tensor = own("image", 0, 1, "hue of the background")
    background_tone: Tensor = own("image", -1, 1, "dark to light background")
    background_x: Tensor = own("image", -1, 1, "layout of the background")
    background_y: Tensor = own("image", -1, 1, "layout of the background")

    def __len__(self) -> int:
        return self.index.shape[0]

    def __getitem__(self, idx):
        rows = torch.tensor([range(len(self))[idx]]) if isinstance(idx, int) else idx
        return self._each(lambda v: v[rows])

    def to(self, device):
        """The same with every field on `device`."""
        return self._each(lambda v: v.to(device))

    def _each(self, change):
        return type(self)(**{f.name: change(getattr(self, f.name)) for f in dataclasses.fields(self)})


@dataclass(kw_only=True)
class Faces(Drawn):
    """Parameters of B faces, also for what an attribute could switch on (own glasses, hat, beard ...), so that each can
    be changed alone. Ranges are in `ranges`; parameters from -1 to 1 are relative to an average face."""

    identity: Tensor  # (B,) int64: whose face it is, unique within a seed
    state: Tensor  # (B, 18) int64 in {0, 1}: the attributes in the order of ATTRIBUTES
    jaw_beard: Tensor  # (B,) int64 in {0, 1}: a beard along the jaw, beside mustache, goatee and sideburns
    # the person
    skull_width: Tensor = own("identity", -1, 1, "width of the head")
    skull_height: Tensor = own("identity", -1, 1, "height of the skull above the eyes")
    face_length: Tensor = own("identity", -1, 1, "distance from the eyes to the chin")
    jaw: Tensor = own("identity", -1, 1, "pointed to square jaw")
    taper: Tensor = own("identity", -1, 1, "width of the lower face")
    neck: Tensor = own("identity", -1, 1, "width of the neck")
    ear_size: Tensor = own("identity", -1, 1, "size of the ears")
    tone: Tensor = own("identity", 0, 1, "skin, light to dark")
    undertone: Tensor = own("identity", -1, 1, "skin, rosy to olive")
    freckles: Tensor = own("identity", -1, 1, "freckles, none below .6")
    cheek: Tensor = own("identity", -1, 1, "flat to full cheeks")
    eye_size: Tensor = own("identity", -1, 1, "width of the eyes")
    eye_open: Tensor = own("identity", -1, 1, "height of the eyes")
    eye_spacing: Tensor = own("identity", -1, 1, "distance between the eyes")
    eye_tilt: Tensor = own("identity", -1, 1, "outer corners down to up")
    eye_colour: Tensor = own("identity", 0, 1, "iris: brown, hazel, green, blue, grey")
    crease: Tensor = own("identity", -1, 1, "single to deep upper lid")
    brow_height: Tensor = own("identity", -1, 1, "distance from the eye to the brow")
    brow_arch: Tensor = own("identity", -1, 1, "straight to arched brows")
    brow_width: Tensor = own("identity", -1, 1, "thin to bushy brows")
    brow_tilt: Tensor = own("identity", -1, 1, "slope of the brows")
    nose_width: Tensor = own("identity", -1, 1, "width of the nose")
    nose_length: Tensor = own("identity", -1, 1, "length of the nose")
    nose_bridge: Tensor = own("identity", -1, 1, "flat to sharp bridge")
    mouth_width: Tensor = own("identity", -1, 1, "width of the mouth")
    mouth_height: Tensor = own("identity", -1, 1, "height of the mouth line")
    lips: Tensor = own("identity", -1, 1, "thin to full lips")
    lip_bow: Tensor = own("identity", -1, 1, "flat to marked cupid's bow")
    hairline: Tensor = own("identity", -1, 1, "low to high hairline")
    hair_style: Tensor = own("identity", 0, 1, "choice among the hair styles of either sex")
    hair_volume: Tensor = own("identity", -1, 1, "flat to full hair")
    hair_part: Tensor = own("identity", -1, 1, "parting, left to right")
    hair_shade: Tensor = own("identity", -1, 1, "darker to lighter within the hair colour")
    hair_other: Tensor = own("identity", 0, 1, "which colour when none of the four named ones is true")
    hair_next: Tensor = own("identity", 0, 1, "which colour is restored when the present one is removed")
    beard: Tensor = own("identity", -1, 1, "light to dense beard")
    beard_shape: Tensor = own("identity", -1, 1, "small to large mustache, goatee and sideburns")
    age: Tensor = own("identity", -1, 1, "how marked the signs of age are")
    glasses_shape: Tensor = own("identity", -1, 1, "round to rectangular glasses")
    glasses_size: Tensor = own("identity", -1, 1, "small to large glasses")
    glasses_rim: Tensor = own("identity", -1, 1, "thin to thick rims")
    glasses_colour: Tensor = own("identity", 0, 1, "colour of the rims")
    makeup: Tensor = own("identity", -1, 1, "blush and eye shadow (less of it on men)")
    # the picture
    yaw: Tensor = own("image", -1, 1, "head turned to the viewer's left or right, about 20 degrees")
    pitch: Tensor = own("image", -1, 1, "head up or down, about 10 degrees")
    roll: Tensor = own("image", -1, 1, "head tilted, at most 5 degrees")
    zoom: Tensor = own("image", -1, 1, "scale, within 3 percent")
    shift_x: Tensor = own("image", -1, 1, "position, within .008 of the crop")
    shift_y: Tensor = own("image", -1, 1, "position, within .008 of the crop")
    gaze: Tensor = own("image", -1, 1, "eyes to the left or right")
    squint: Tensor = own("image", -1, 1, "eyes wide to narrowed in this picture")
    brow_raise: Tensor = own("image", -1, 1, "brows lowered to raised in this picture")
    smile: Tensor = own("image", -1, 1, "how broad the smile is if there is one")
    gape: Tensor = own("image", -1, 1, "how far the mouth is open if it is")
    light_y: Tensor = own("image", -1, 1, "light from above or the front")
    contrast: Tensor = own("image", -1, 1, "soft to hard light")
    blur: Tensor = own("image", 0, 1, "softness of the edges, up to 1/90 of the crop")
    clothes: Tensor = own("image", 0, 1, "crew neck, v-neck, shirt or off the shoulder")
    clothes_hue: Tensor = own("image", 0, 1, "hue of the clothes")
    clothes_tone: Tensor = own("image", -1, 1, "dark to light clothes")
    hair_day: Tensor = own("image", -1, 1, "how the hair falls in this picture")
    fringe: Tensor = own("image", -1, 1, "short to long bangs")
    fringe_side: Tensor = own("image", -1, 1, "bangs swept to the left or right")
    lipstick: Tensor = own("image", 0, 1, "colour of the lipstick: red, pink, coral, plum, berry")
    hat: Tensor = own("image", 0, 1, "beanie, cap or brimmed hat")
    hat_hue: Tensor = own("image", 0, 1, "hue of the hat")
    hat_tone: Tensor = own("image", -1, 1, "dark to light hat")
    tint: Tensor = own("image", 0, 1, "tint of the lenses")


def ranges(kind: type = Faces) -> dict[str, tuple[str, float, float, str]]:
    """Drawn parameters of `Faces` (or `Animals`): name -> (scope, low, high, meaning), for sliders and for tests of the extremes."""
    return {f.name: tuple(f.metadata[k] for k in ("scope", "low", "high", "meaning")) for f in dataclasses.fields(kind) if f.metadata}


def _identity(seed: Tensor, index: Tensor) -> Tensor:
    """(B,) int64: the person in image `index`, by a keyed permutation of each block of 1,024 indices."""
    size = sum(_BLOCK_COUNTS)
    block = index.div(size, rounding_mode="floor")
    keys = (uniform(seed, block, ["multiplier", "offset"]) * size).long()
    place = ((keys[:, 0] | 1) * (index % size) + keys[:, 1]) % size  # an odd multiplier permutes a power of two
    ends = torch.tensor(_BLOCK_COUNTS, device=seed.device).cumsum(0)
    return block * len(_BLOCK_COUNTS) + torch.searchsorted(ends, place, right=True)


def keys(seed: int, index: Tensor | range) -> tuple[Tensor, Tensor]:
    """(B,) int64 seeds and indices. ValueError: a negative index."""
    index = torch.as_tensor(list(index) if isinstance(index, range) else index, dtype=torch.int64).reshape(-1)
    if len(index) and int(index.min()) < 0:
        raise ValueError(f"face indices are counted from 0, got {int(index.min())}")
    return torch.full_like(index, seed), index


def _natural(u: Tensor) -> Tensor:
    """(B, 18) int64 attributes with CelebA's rates and correlations from uniforms (B, 18) in the order of _LOGITS."""
    state = torch.zeros(len(u), len(ATTRIBUTES), dtype=torch.float64)
    for k, (name, (intercept, _, terms)) in enumerate(_LOGITS.items()):
        logit = torch.full((len(u),), intercept, dtype=torch.float64)
        for term in terms.split():
            cut = max(term.rfind("+"), term.rfind("-"))
            logit += float(term[cut:]) * state[:, COLUMN[term[:cut]]]
        drawn = u[:, k] < torch.sigmoid(logit)
        if name in HAIR_COLOURS:
            drawn &= ~(state[:, [COLUMN[c] for c in HAIR_COLOURS]] > 0).any(1)
        elif name == "No_Beard":
            drawn |= state[:, COLUMN["Male"]] == 0
        elif name in BEARD_PARTS:
            drawn &= state[:, COLUMN["No_Beard"]] == 0
        state[:, COLUMN[name]] = drawn.double()
    return state.long()


def _independent(u: Tensor) -> Tensor:
    """(B, 18) int64 attributes, each true with probability 1/2 and independent but for what logic forbids: a hair
    colour is one of the four named ones or none, each with probability 1/5; a beard's part is true for half of No_Beard
    = 0."""
    names = list(_LOGITS)
    state = torch.stack([(u[:, names.index(name)] < 0.5) for name in ATTRIBUTES], 1).long()
    colour = (u[:, names.index("Gray_Hair")] * 5).long()
    for k, name in enumerate(HAIR_COLOURS):
        state[:, COLUMN[name]] = (colour == k).long()
    for name in BEARD_PARTS:
        state[:, COLUMN[name]] *= 1 - state[:, COLUMN["No_Beard"]]
    return state


def sample(seed: int, index: Tensor | range, balanced: bool = False) -> Faces:
    """Faces (seed, index): each depends on its own seed and index only, not on the batch it is drawn in.

    index: (B,) int64 or a range, values >= 0. balanced: attributes as `_independent`, not with CelebA's rates and
    correlations; all else is the same for the same (seed, index). ValueError: a negative index.
    """
    seeds, index = keys(seed, index)
    identity = _identity(seeds, index)
    own = ranges()
    columns = {}
    for scope, counter in (("identity", identity), ("image", index)):
        names = [name for name, (s, *_) in own.items() if s == scope]
        u = uniform(seeds, counter, names)
        columns |= {name: (own[name][1] + (own[name][2] - own[name][1]) * u[:, k]).float() for k, name in enumerate(names)}
    columns["tone"] = columns["tone"].double().pow(1.4).float()  # CelebA has more light than dark skin
    for name in ("yaw", "roll", "pitch", "gaze"):  # most pictures are nearly frontal
        columns[name] = columns[name] * (0.35 + 0.65 * columns[name].abs())
    # Attributes: uniforms whose normal scores are partly the person's and partly the picture's.
    share = torch.tensor([shared for _, shared, _ in _LOGITS.values()], dtype=torch.float64)
    person = torch.special.ndtri(uniform(seeds, identity, [f"person {name}" for name in _LOGITS]))
    picture = torch.special.ndtri(uniform(seeds, index, [f"picture {name}" for name in _LOGITS]))
    u = torch.special.ndtr(share.sqrt() * person + (1 - share).sqrt() * picture)
    state = _independent(u) if balanced else _natural(u)
    parts = state[:, [COLUMN[name] for name in BEARD_PARTS]].any(1)
    jaw = (uniform(seeds, identity, ["jaw_beard"])[:, 0] < 0.5) | ~parts
    jaw = (jaw & (state[:, COLUMN["No_Beard"]] == 0)).long()
    return Faces(seed=seeds, index=index, identity=identity, state=state, jaw_beard=jaw, **columns)


def column(name: str) -> int:
    if name not in COLUMN:
        raise ValueError(f"unknown attribute {name!r}; the renderer knows {', '.join(ATTRIBUTES)}")
    return COLUMN[name]


def attributes(faces: Faces) -> Tensor:
    """(B, 18) uint8 in {0, 1}: what the pictures show, in the order of ATTRIBUTES."""
    return faces.state.to(torch.uint8)


def counterfactual(faces: Faces, attribute: str, value: int | Tensor) -> Faces:
    """The same faces in the same pictures with one attribute set to `value` (0, 1 or a (B,) tensor of them). Others keep theirs, except by logic:

    - a hair colour set to 1 clears the other three; set to 0 on a face that has it, another colour (a named one or none) given by the face's own
      `hair_next` takes its place;
    - Mustache, Goatee or Sideburns set to 1 makes No_Beard 0; set to 0, No_Beard becomes 1 if no beard is left;
    - No_Beard set to 1 removes every part of the beard; set to 0 on a clean face it adds the face's own beard along the jaw.
    A face that already has the value is returned unchanged. ValueError: an unknown attribute or a value other than 0 and 1.
    """
    k = column(attribute)
    value = torch.as_tensor(value, dtype=torch.int64, device=faces.state.device).expand(len(faces))
    if len(value) and not bool(((value == 0) | (value == 1)).all()):
        raise ValueError(f"{attribute} is 0 or 1, got {sorted(set(value.tolist()))}")
    state, jaw = faces.state.clone(), faces.jaw_beard
    changed = state[:, k] != value
    if attribute in HAIR_COLOURS:
        colours = [COLUMN[c] for c in HAIR_COLOURS]
        # one of the four other colours; 4: none of the named ones
        follower = (HAIR_COLOURS.index(attribute) + 1 + (faces.hair_next * 3.999).long()) % 5
        others = (follower[:, None] == torch.arange(4, device=follower.device)) & (value == 0)[:, None]
        state[:, colours] = torch.where(changed[:, None], others.long(), state[:, colours])
    state[:, k] = value
    parts = [COLUMN[c] for c in BEARD_PARTS]
    if attribute == "No_Beard":
        jaw = torch.where(changed, 1 - value, jaw)
        state[:, parts] = torch.where((changed & (value == 1))[:, None], 0, state[:, parts])
    elif attribute in BEARD_PARTS:
        state[:, COLUMN["No_Beard"]] = ((state[:, parts].sum(1) + jaw) == 0).long()
    return dataclasses.replace(faces, state=state, jaw_beard=jaw)

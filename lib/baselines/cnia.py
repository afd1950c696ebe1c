"""CNIA-style transfer: the face itself is optimised, by gradient descent on features of phi.

DIAT compares with CNIA in Fig. 6. Its abstract states the idea: an image is optimised so that its VGG-Face features keep the input's identity
and take on the attribute of guided images. Layers, weights and optimiser are not known to us (C1): this is a reconstruction, and every table
calls it "CNIA-style". What a job of this method leaves are pictures: some test faces, optimised.

paper            here        shape, range
x, z             x, z        (B, 3, H, H), [-1, 1]: the input, the image that is optimised
phi_l            phi.maps    l = 3, 4, 5: conv2_1, conv2_2, conv3_1, after the ReLU, over the root mean square of x's
A                guided      (K, 3, H, H): training faces that have the reference attribute
A-bar_l          target      mean of phi_l over the five faces of A most like x
m_l              m           the mask at the size of phi_l: a box by landmarks; 1 everywhere for a global attribute
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.baselines.vgg_face import Phi, features, over_scale
from lib.claims import Deviation
from lib.data import Examples, FaceSet, Split
from lib.data.regions import BOXES
from lib.evaluation.edits import test_index
from lib.evaluation.judges import as_images
from lib.training.config import require_each
from lib.training.loop import Stage, Update

TITLE = "CNIA-style attribute transfer by optimising the image"
CITATION = "After M. Li, W. Zuo, D. Zhang. arXiv 1608.06434, 2016."
LAYERS = (3, 4, 5)
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("pictures",)
SECONDS = 0.5  # processor seconds of a step of profile cpu for 100 faces, one thread, bf16

DEVIATIONS = (
    Deviation("C1", "Layers, weights, optimiser, steps: not known (the full text was not at hand)",
              "conv2_1, conv2_2, conv3_1 over the scale of x's maps; a = 1, b = 0.2, mu = 0.001; Adam 0.02, 500 steps from z = x, clamped",
              "the comparison is with a reconstruction of CNIA, not with CNIA"),  # fmt: skip
    Deviation("C2", "VGG-Face",
              "the same phi as the method it is compared with", "one feature network for both"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """One attribute, given one value. All settings are ours: C1."""

    attribute: str = "Eyeglasses"
    target: int = 0
    start: str = ""  # folder of the trained phi; vgg-face: VGG-Face from its file; empty: an untrained one
    size: int = 128
    faces: int = 100  # test faces: a part of the choice that all methods edit
    steps: int = 500
    lr: float = 0.02
    neighbours: int = 5  # faces of A whose features are averaged
    pool: int = 1_000  # faces of A among which they are looked for
    a: float = 1.0  # weight of the attribute inside the mask
    b: float = 0.2  # weight of the input inside the mask
    mu: float = 1e-3  # weight of the total variation

    def __post_init__(self):
        require_each(self, "at least 1", "faces", "steps", "neighbours", "pool")
        require_each(self, "at least 0", "a", "b", "mu")
        require_each(self, "positive", "lr")


PROFILES = {
    "smoke": lambda: Config(size=32, faces=4, steps=3, neighbours=2, pool=20),
    "cpu": lambda: Config(size=64),
    "gpu": lambda: Config(size=64),
    "paper": Config,
}


class Pictures(nn.Module):
    """z of every face, (n, 3, H, H): x at first."""

    def __init__(self, n: int, size: int):
        super().__init__()
        self.z = nn.Parameter(torch.zeros(n, 3, size, size))


@dataclass
class Nets:
    """The optimised faces, and phi, which only serves."""

    pictures: Pictures
    phi: Phi


def build(cfg: Config) -> Nets:
    """Grey pictures; the first step puts the faces in."""
    return Nets(Pictures(cfg.faces, cfg.size), features(cfg.start).frozen())


def nearest(phi: Phi, x: Tensor, guided: Tensor, k: int, x_side: Tensor, guided_side: Tensor) -> Tensor:
    """(B, k) rows of `guided` most like each x: cosine of mean-pooled phi_5, among faces turned to the same side where
    there are k of them. x_side (B,), guided_side (K,): the sign of the head's turn, as bool."""
    with torch.no_grad():
        u, v = (F.normalize(torch.cat([phi.maps(p)[5].float().mean((2, 3)) for p in t.split(64)]), dim=1) for t in (x, guided))
    same = x_side[:, None] == guided_side[None]
    return (u @ v.T - 4 * (~same).float()).topk(k, dim=1).indices  # another side costs more than any cosine can make up for


def turned_right(points: np.ndarray) -> Tensor:
    """(n,) bool: the nose is right of the middle between the eyes. points: (n, 5, 2)."""
    return torch.from_numpy(points[:, 2, 0] > points[:, :2, 0].mean(1))


def total_variation(z: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, down and across, summed over the batch."""
    return ((z[:, :, 1:] - z[:, :, :-1]).abs().flatten(1).mean(1) + (z[..., 1:] - z[..., :-1]).abs().flatten(1).mean(1)).sum()


def objective(maps: list[Tensor], at_x: list[Tensor], target: list[Tensor], m: Tensor, cfg: Config) -> Tensor:
    """Sum over l of [||(1 - m_l)(phi_l(z) - phi_l(x))||^2 + a ||m_l (phi_l(z) - A-bar_l)||^2 + b ||m_l (phi_l(z) -
    phi_l(x))||^2] / (2 C H W), summed over the batch (each image is its own problem). m: (B, 1, H, H)."""
    total = maps[LAYERS[0]].new_zeros(())
    for l in LAYERS:
        z, x, a = maps[l], at_x[l], target[l]
        m_l = F.interpolate(m, size=z.shape[2:], mode="area")
        kept = ((1 - m_l) * (z - x)).square() + cfg.a * (m_l * (z - a)).square() + cfg.b * (m_l * (z - x)).square()
        total = total + kept.sum() / (2 * z[0].numel())
    return total


def stages(cfg: Config) -> list[Stage]:
    """One step a cycle, on all faces at once. The guided faces are what its training pool finds."""
    known: dict = {}

    def pool(faces: FaceSet, split: Split, seed: int) -> Examples:
        index = test_index(faces, split, cfg.attribute, 1 - cfg.target, cfg.faces)
        have = split.train[faces.column(cfg.attribute)[split.train] == cfg.target][: cfg.pool]
        local = cfg.attribute in BOXES
        m = BOXES[cfg.attribute](faces, index).float() if local else torch.ones(len(index), 1, cfg.size, cfg.size)
        known.update(x=as_images(faces, index), guided=as_images(faces, have), m=m)
        known["sides"] = tuple(turned_right(np.asarray(faces.landmarks)[rows]) for rows in (index, have))
        return Examples(index)

    def loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
        z, n = nets.pictures.z, len(known["x"])
        with torch.no_grad():
            if "at_x" not in known:  # the first step since the training began, or goes on
                known.update((k, known[k].to(z.device)) for k in ("x", "guided", "m"))
                known["at_x"], known["target"] = goal(nets.phi, known["x"], known["guided"], known["sides"], cfg)
            if not z.any():
                z[:n] = known["x"]
            z.clamp_(-1, 1)
        maps = over_scale(nets.phi.maps(z[:n]), known["at_x"])
        total = objective(maps, over_scale(known["at_x"], known["at_x"]), over_scale(known["target"], known["at_x"]), known["m"], cfg)
        return total + cfg.mu * total_variation(z[:n]), {"objective": total.detach() / n}

    update = Update("z", ("pictures",), loss, cfg.lr)
    return [Stage("CNIA-style", "CNIA-style", (cfg.attribute,), (update,), cfg.steps, 1, examples=pool)]


def goal(phi: Phi, x: Tensor, guided: Tensor, sides: tuple[Tensor, Tensor], cfg: Config) -> tuple[list[Tensor], list[Tensor]]:
    """phi of x and A-bar: the maps of its nearest guided faces, averaged."""
    k = min(cfg.neighbours, len(guided))
    rows = nearest(phi, x, guided, k, *(s.to(x.device) for s in sides))
    target = [phi.maps(guided[r]) for r in rows]
    return phi.maps(x), [torch.stack([maps[l].mean(0) for maps in target]) for l in range(6)]

"""CNIA-style transfer: the face itself is optimised, by gradient descent on features of phi.

After M. Li, W. Zuo, D. Zhang: Convolutional Network for Attribute-driven and Identity-preserving Human Face Generation, arXiv 1608.06434 (2016),
which DIAT compares with in Fig. 6. Its abstract states the idea: an image is optimised so that its VGG-Face features keep the input's identity and
take on the attribute of guided images. Layers, weights and optimiser are not known to us: this is a reconstruction, and every table calls it
"CNIA-style". Nothing is trained, so there is no `build` and no `stages`.

paper            here        shape, range
x, z             x, z        (B, 3, H, H), [-1, 1]: the input, the image that is optimised
phi_l            phi.maps    l = 3, 4, 5: conv2_1, conv2_2, conv3_1, after the ReLU, over the root mean square of x's
A                guided      (K, 3, H, H): faces that have the reference attribute
A-bar_l          target      mean of phi_l over the five faces of A most like x
m_l              m           the mask at the size of phi_l; 1 everywhere for a global attribute
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.baselines.vgg_face import Phi, over_scale
from lib.claims import Deviation
from lib.training.config import require

TITLE = "CNIA-style attribute transfer by optimising the image"
CITATION = "After M. Li, W. Zuo, D. Zhang. arXiv 1608.06434, 2016."
LAYERS = (3, 4, 5)

DEVIATIONS = (
    Deviation(
        "C1", paper="Layers, weights, optimiser, steps: not known (the full text was not at hand)",
        ours="conv2_1, conv2_2, conv3_1 over the scale of x's maps; a = 1, b = 0.2, mu = 0.001; Adam 0.02, 500 steps from z = x, clamped",
        why="the comparison is with a reconstruction of CNIA, not with CNIA",
    ),  # fmt: skip
    Deviation(
        "C2", paper="VGG-Face",
        ours="the same phi as the method it is compared with, phi-proxy where VGG-Face's weights are not at hand",
        why="one feature network for both",
    ),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """All values are ours: C1."""

    steps: int = 500
    lr: float = 0.02
    neighbours: int = 5  # faces of A whose features are averaged
    pool: int = 1_000  # faces of A among which they are looked for
    a: float = 1.0  # weight of the attribute inside the mask
    b: float = 0.2  # weight of the input inside the mask
    mu: float = 1e-3  # weight of the total variation

    def __post_init__(self):
        for name in ("steps", "neighbours", "pool"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("a", "b", "mu"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        require(self.lr > 0, "lr", self.lr, "positive")


def nearest(phi: Phi, x: Tensor, guided: Tensor, k: int, x_side: Tensor, guided_side: Tensor) -> Tensor:
    """(B, k) rows of `guided` most like each x: cosine of mean-pooled phi_5, among faces turned to the same side where there are k of them.
    x_side (B,), guided_side (K,): the sign of the head's turn, as bool."""
    with torch.no_grad():
        u, v = (F.normalize(torch.cat([phi.maps(p)[5].mean((2, 3)) for p in t.split(64)]), dim=1) for t in (x, guided))
    same = x_side[:, None] == guided_side[None]
    return (u @ v.T - 4 * (~same).float()).topk(k, dim=1).indices  # another side costs more than any cosine can make up for


def total_variation(z: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, down and across, summed over the batch."""
    return ((z[:, :, 1:] - z[:, :, :-1]).abs().flatten(1).mean(1) + (z[..., 1:] - z[..., :-1]).abs().flatten(1).mean(1)).sum()


def objective(maps: list[Tensor], at_x: list[Tensor], target: list[Tensor], m: Tensor, cfg: Config) -> Tensor:
    """Sum over l of [||(1 - m_l)(phi_l(z) - phi_l(x))||^2 + a ||m_l (phi_l(z) - A-bar_l)||^2 + b ||m_l (phi_l(z) - phi_l(x))||^2] / (2 C H W),
    summed over the batch (each image is its own problem). m: (B, 1, H, H)."""
    total = maps[LAYERS[0]].new_zeros(())
    for l in LAYERS:
        z, x, a = maps[l], at_x[l], target[l]
        m_l = F.interpolate(m, size=z.shape[2:], mode="area")
        kept = ((1 - m_l) * (z - x)).square() + cfg.a * (m_l * (z - a)).square() + cfg.b * (m_l * (z - x)).square()
        total = total + kept.sum() / (2 * z[0].numel())
    return total


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, H, H), [-1, 1], z after the last step. loss: (steps,) the objective per image along the way. mask: none is predicted."""

    image: Tensor
    loss: Tensor
    mask: None = None


def edit(phi: Phi, x: Tensor, guided: Tensor, m: Tensor, cfg: Config, x_side: Tensor, guided_side: Tensor) -> Edit:
    """Optimise a batch of faces towards the attribute of `guided`. Shapes as in the table above; m: (B, 1, H, H) in {0, 1}."""
    k = min(cfg.neighbours, len(guided))
    rows = nearest(phi, x, guided, k, x_side, guided_side)
    with torch.no_grad():
        own = phi.maps(x)
        at_x = over_scale(own, own)[0]
        target = over_scale([t.view(len(x), k, *t.shape[1:]).mean(1) for t in phi.maps(guided[rows.flatten()])], own)[0]
    z = x.clone().requires_grad_(True)
    adam, losses = torch.optim.Adam([z], lr=cfg.lr), []
    for _ in range(cfg.steps):
        value = objective(over_scale(phi.maps(z), own)[0], at_x, target, m.to(x.dtype), cfg) + cfg.mu * total_variation(z)
        adam.zero_grad()
        value.backward()
        adam.step()
        with torch.no_grad():
            z.clamp_(-1, 1)
        losses.append(value.detach() / len(x))
    return Edit(z.detach(), torch.stack(losses))

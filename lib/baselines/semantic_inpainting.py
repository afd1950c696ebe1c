"""Semantic inpainting: the nearest face of a DCGAN fills a hole.

The DCGAN is that of A. Radford, L. Metz, S. Chintala, arXiv 1511.06434. DIAT compares with it on the removal of glasses (Fig. 7): the glasses'
region is cut out of a square face crop and filled.

paper            here        shape, range
y                y           (B, 3, s, s), [-1, 1]: the face crop
M                M           (B, 1, s, s), {0, 1}: 1 where the picture is known
W                W           weights of the known pixels
z                z           (B, 100), [-1, 1]
G(z), D          G, D        DCGAN: (B, 3, s, s) and a logit
"""

from dataclasses import dataclass
from math import log2

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import splu
from torch import Tensor, nn

from lib.claims import Deviation
from lib.data import DataError, Examples, FaceSet, Split
from lib.layers import halving
from lib.training.config import require, require_each
from lib.training.loop import Stage, Update

TITLE = "Semantic image inpainting with a DCGAN"
CITATION = "R. Yeh, C. Chen, T. Y. Lim, M. Hasegawa-Johnson, M. N. Do. arXiv 1607.07539, 2016."
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("G", "D")  # the networks that filling a hole needs
SECONDS = 0.7  # processor seconds of a cycle of profile cpu, one thread, bf16

DEVIATIONS = (
    Deviation("S1", "Prior log(1 - D(G(z))); both public codes use -log D(G(z))",
              "the paper's", "nearly irrelevant: the context is a sum of thousands of terms, the prior of the order of 1"),  # fmt: skip
    Deviation("S2", "DCGAN of 64 x 64",
              "a layer less at 32 x 32", "4 x 4 stays the smallest map"),  # fmt: skip
    Deviation("S3", "One z",
              "several starts per face, the one of the lowest loss is kept", "the objective has many minima"),  # fmt: skip
    Deviation("S4", "Faces cut out and aligned by a face detector's tool",
              "an upright square placed by the five landmarks", "one crop for drawn and for photographed faces"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """The DCGAN: the authors' values at 64 x 64."""

    size: int = 64
    width: int = 64  # channels of D's first layer
    z: int = 100
    batch: int = 64
    cycles: int = 70_000  # 25 epochs of CelebA; each one update of D and two of G
    lr: float = 2e-4
    beta_1: float = 0.5

    def __post_init__(self):
        require(self.size >= 16 and log2(self.size).is_integer(), "size", self.size, "a power of two, at least 16")
        require_each(self, "at least 1", "width", "z", "batch", "cycles")


PROFILES = {
    "smoke": lambda: Config(size=32, width=4, batch=8, cycles=3),
    "cpu": lambda: Config(width=32, cycles=5_000),
    "gpu": lambda: Config(cycles=20_000),
    "paper": Config,
}


@dataclass(frozen=True)
class Search:
    """How a z is sought for a face: the authors' values."""

    lam: float = 0.1
    lr: float = 0.01
    momentum: float = 0.9
    steps: int = 1_000
    starts: int = 64  # z per face: S3

    def __post_init__(self):
        require_each(self, "at least 1", "steps", "starts")


def share_of_paper(cfg: Config) -> float:
    """Images shown to D, over 25 epochs of CelebA."""
    return cfg.cycles * cfg.batch / (25 * 202_599)


class Generator(nn.Module):
    """z -> (B, 3, s, s), [-1, 1]. Shapes for width 64, s = 64."""

    def __init__(self, cfg: Config):
        super().__init__()
        n = int(log2(cfg.size)) - 2
        c = [cfg.width * 2**i for i in reversed(range(n))]  # 512, 256, 128, 64
        self.first, self.channels = nn.Linear(cfg.z, 16 * c[0]), c[0]
        layers = [nn.BatchNorm2d(c[0]), nn.ReLU()]  #                          512 x 4 x 4
        for i, o in zip(c, c[1:], strict=False):
            layers += [nn.ConvTranspose2d(i, o, 5, 2, 2, output_padding=1), nn.BatchNorm2d(o), nn.ReLU()]  # 256 x 8, 128 x 16, 64 x 32
        self.body = nn.Sequential(*layers, nn.ConvTranspose2d(c[-1], 3, 5, 2, 2, output_padding=1), nn.Tanh())  # 3 x 64 x 64

    def forward(self, z: Tensor) -> Tensor:
        return self.body(self.first(z).view(-1, self.channels, 4, 4))


class Discriminator(nn.Module):
    """(B, 3, s, s) -> logit (B, 1). Shapes for width 64, s = 64."""

    def __init__(self, cfg: Config):
        super().__init__()
        c = [3] + [cfg.width * 2**i for i in range(int(log2(cfg.size)) - 2)]  # 64 x 32, 128 x 16, 256 x 8, 512 x 4
        self.body = nn.Sequential(*halving(c, 5), nn.Flatten(), nn.Linear(16 * c[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@dataclass
class Nets:
    """The DCGAN."""

    G: Generator
    D: Discriminator


def build(cfg: Config) -> Nets:
    """DCGAN, weights ~ N(0, 0.02^2)."""
    nets = Nets(Generator(cfg), Discriminator(cfg))
    for m in [*nets.G.modules(), *nets.D.modules()]:
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(m.weight, 0.0, 0.02)
    return nets


def face_boxes(points: np.ndarray) -> np.ndarray:
    """(n, 5, 2) landmarks -> (n, 4) left, top, right, bottom: an upright square about the face, from the brows to the
    chin. In units of the distance between the middles of eyes and mouth: half its side is 1.2, and its centre lies 0.73 below the eyes (S4)."""
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    centre, half = eyes + 0.73 * (mouth - eyes), 1.2 * np.linalg.norm(mouth - eyes, axis=1, keepdims=True)
    return np.concatenate([centre - half, centre + half], 1).astype(np.float32)


def boxed(faces: FaceSet, split: Split, seed: int) -> Examples:
    """All training faces; label: the face box, in pixels of the set. Raises DataError for a set without landmarks."""
    if faces.landmarks is None:
        raise DataError(f"{faces.name}: it has no landmarks to cut faces out by. Add list_landmarks_align_celeba.txt beside the images.")
    return Examples(split.train, face_boxes(np.asarray(faces.landmarks)[split.train]))


def sampled(x: Tensor, place: Tensor) -> Tensor:
    """x (B, C, H, W) at the columns and rows `place` (B, s, 2), -1 .. 1: (B, C, s, s), bilinear; beyond the picture its border goes on."""
    grid = torch.stack(torch.broadcast_tensors(place[:, None, :, 0], place[:, :, None, 1]), -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def crop(x: Tensor, boxes: Tensor, s: int) -> Tensor:
    """The squares `boxes` (B, 4) of x (B, C, H, H), resized to (B, C, s, s)."""
    at = (torch.arange(s, dtype=x.dtype, device=x.device) + 0.5) / s
    corner, side = boxes[:, None, :2].to(x), (boxes[:, None, 2:] - boxes[:, None, :2]).to(x)
    return sampled(x, (corner + at[None, :, None] * side) * 2 / x.shape[-1] - 1)


def paste(x: Tensor, patch: Tensor, boxes: Tensor, where: Tensor) -> Tensor:
    """x with the pixels `where` (B, 1, H, H) replaced by the patch that was cut from `boxes`."""
    at = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device) + 0.5
    corner, side = boxes[:, None, :2].to(x), (boxes[:, None, 2:] - boxes[:, None, :2]).to(x)
    return torch.where(where.bool(), sampled(patch, 2 * (at[None, :, None] - corner) / side - 1), x)


def noise(batch, cfg: Config) -> Tensor:
    """z ~ U(-1, 1), (B, 100)."""
    return torch.rand(len(batch.x), cfg.z, generator=batch.rng, device=batch.x.device) * 2 - 1


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """-E[log D(y)] - E[log(1 - D(G(z)))], on logits; real and generated in batches of their own (batch norm). batch.y:
    face boxes."""
    with torch.no_grad():
        fake = nets.G(noise(batch, cfg))
    value = F.softplus(-nets.D(crop(batch.x, batch.y, cfg.size))).mean() + F.softplus(nets.D(fake)).mean()
    return value, {"adv": value.detach()}


def g_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """-E[log D(G(z))], on logits."""
    value = F.softplus(-nets.D(nets.G(noise(batch, cfg)))).mean()
    return value, {"adv": value.detach()}


def stages(cfg: Config) -> list[Stage]:
    """One DCGAN of face crops; two updates of G to one of D. The attributes are placeholders: `boxed` replaces their values."""
    adam = {"lr": cfg.lr, "betas": (cfg.beta_1, 0.999)}
    updates = (Update("D", ("D",), d_loss, **adam), Update("G", ("G",), g_loss, repeats=2, **adam))
    return [Stage("DCGAN", "DCGAN", ("Eyeglasses",) * 4, updates, cfg.cycles, cfg.batch, examples=boxed)]


def invert(nets: Nets, y: Tensor, M: Tensor, how: Search, seed: int = 0) -> tuple[Tensor, Tensor]:
    """z* = argmin ||W o (G(z) - y)||_1 (a sum, W = M) + lam log(1 - D(G(z))), by descent with Nesterov's momentum, z clipped
    to [-1, 1] after each step. Returns G(z*) (B, 3, s, s) of the best of `starts` z, and its loss (B,). G and D stay in eval mode."""
    B, R = len(y), how.starts
    rng = torch.Generator().manual_seed(seed)
    z = (torch.rand(B * R, nets.G.first.in_features, generator=rng) * 2 - 1).to(y)
    goal, W = y.repeat_interleave(R, 0), M.repeat_interleave(R, 0)
    v = torch.zeros_like(z)

    def loss(z):
        drawn = nets.G(z)
        return (W * (drawn - goal)).abs().flatten(1).sum(1) - how.lam * F.softplus(nets.D(drawn)).flatten(), drawn

    for _ in range(how.steps):
        z.requires_grad_(True)
        (slope,) = torch.autograd.grad(loss(z)[0].sum(), z)
        before, v = v, how.momentum * v - how.lr * slope
        z = (z.detach() - how.momentum * before + (1 + how.momentum) * v).clamp(-1, 1)
    with torch.no_grad():
        value, drawn = loss(z)
    best = value.view(B, R).argmin(1) + R * torch.arange(B, device=y.device)
    return drawn[best], value[best]


def harmonic(x: Tensor, hole: Tensor) -> Tensor:
    """x (B, 3, s, s) with the solution of Laplace's equation in the hole (s, s), bool: there each pixel is the mean of its neighbours."""
    if not hole.any():
        return x
    number, inside = np.arange(hole.numel()).reshape(hole.shape), hole.cpu().numpy().ravel()
    a, b = (np.concatenate([p.ravel(), q.ravel()]) for p, q in ((number[1:], number[:, 1:]), (number[:-1], number[:, :-1])))
    beside = coo_array((np.ones(2 * len(a)), (np.concatenate([a, b]), np.concatenate([b, a])))).tocsr()
    laplacian = (diags_array(beside.sum(1)) - beside).tocsr()[inside]
    values = x.detach().cpu().double().numpy().reshape(-1, len(inside)).T.copy()
    values[inside] = splu(laplacian[:, inside].tocsc()).solve(-(laplacian[:, ~inside] @ values[~inside]))
    return torch.from_numpy(values.T.reshape(x.shape)).to(x)


def poisson(y: Tensor, drawn: Tensor, hole: Tensor) -> Tensor:
    """y with the hole (1, s, s) filled so that gradients there are those of `drawn` and the rim is y's. y, drawn: (3, s, s)."""
    inside = hole[0].bool()
    return torch.where(inside, (drawn + harmonic((y - drawn)[None], inside)[0]).clamp(-1, 1), y)


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, H, H), the face with the blended hole; plain: M y + (1 - M) G(z*) without blending. mask: none is predicted."""

    image: Tensor
    plain: Tensor
    mask: None = None


def edit(nets: Nets, x: Tensor, m: Tensor, boxes: Tensor, size: int, how: Search, seed: int = 0) -> Edit:
    """Cut the mask m (B, 1, H, H) out of the face crops `boxes` (B, 4), size pixels wide, and fill it. x: (B, 3, H, H), [-1, 1]."""
    y, M = crop(x, boxes, size), (crop(m.to(x.dtype), boxes, size) < 0.5).to(x.dtype)
    drawn, _ = invert(nets, y, M, how, seed)
    blended = torch.stack([poisson(p, q, 1 - r) for p, q, r in zip(y, drawn, M, strict=True)])
    return Edit(paste(x, blended, boxes, m), paste(x, M * y + (1 - M) * drawn, boxes, m))

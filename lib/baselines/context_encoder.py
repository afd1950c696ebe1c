"""Context encoder: an encoder of what is around a hole, a decoder of what is in it.

ATI-GAN quotes it (Table 1, CE). What the paper leaves open is taken from its official code (github.com/pathak22/context-encoder), center region.

paper            here        shape, range
x                x           (B, 3, H, H), [-1, 1]: the picture
M-hat            hole        the square that is not shown; the network predicts a square of H / 2, which overlaps its surroundings
F                G           (B, 3, H, H) -> (B, 3, H / 2, H / 2), [-1, 1]
D                D           (B, 3, H / 2, H / 2) -> a logit
lambda_rec, lambda_adv       weights of the squared error and of D
"""

from dataclasses import dataclass
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.claims import Deviation
from lib.layers import halving, init_normal
from lib.training.config import require, require_each
from lib.training.loop import Stage, Update

TITLE = "Context Encoders: Feature Learning by Inpainting"
CITATION = "D. Pathak, P. Krahenbuhl, J. Donahue, T. Darrell, A. A. Efros. CVPR 2016."
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("G",)
SECONDS = 0.46  # processor seconds of one cycle in profile cpu, on one core in bf16

DEVIATIONS = (
    Deviation("E1", "A hole of half the width in the middle, 7 pixels (code: 4) of which are predicted on the known side",
              "the hole of the method that compares, grown to half the width: at 128 pixels 6 known ones all around 52",
              "the same hole for all"),  # fmt: skip
    Deviation("E2", "128x128, 64 channels, a bottleneck of 4,000, 25 epochs",
              "profile `cpu`: 64x64 with a layer less, 32 channels, a bottleneck of 250, fewer updates, whose share is printed",
              "core-hours, and 8 MB a model"),  # fmt: skip
    Deviation("E3", "The hole is filled with the mean colour of ImageNet",
              "mid-grey", "other pictures"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """The authors' values; top, left, side: the hole."""

    size: int = 128
    top: int = 57
    left: int = 38
    side: int = 52
    width: int = 64  # channels of the first layers
    bottleneck: int = 4_000
    lambda_rec: float = 0.999
    lambda_adv: float = 0.001
    overlap: float = 10.0  # weight of the squared error on the known side
    batch: int = 64
    lr: float = 2e-4  # of D; ten times that of G
    beta_1: float = 0.5
    cycles: int = 79_000  # 25 epochs of CelebA

    def __post_init__(self):
        require(self.size >= 32 and log2(self.size).is_integer(), "size", self.size, "a power of two, at least 32")
        require_each(self, "at least 1", "width", "bottleneck", "batch", "cycles")
        require(0 < self.side <= self.size // 2 and self.side % 2 == 0, "side", self.side, "even, at most half the size")
        margin = (self.size // 2 - self.side) // 2
        for name, first in (("top", self.top), ("left", self.left)):
            require(margin <= first <= self.size // 2 + margin, name, first, "such that the predicted square lies inside the picture")


PROFILES = {
    "smoke": lambda: Config(size=32, top=14, left=9, side=14, width=2, bottleneck=8, batch=8, cycles=3),
    "cpu": lambda: Config(size=64, top=29, left=19, side=26, width=32, bottleneck=250, cycles=5_000),
    "gpu": lambda: Config(cycles=10_000),
    "paper": Config,
}


def share_of_paper(cfg: Config) -> float:
    """Images shown to D, over 25 epochs of CelebA."""
    return cfg.cycles * cfg.batch / (25 * 202_599)


def _channels(cfg: Config, layers: int) -> list[int]:
    """Before and after the layers of stride 2, the last with 8 times the width; at 128 pixels 3, 64, 64, 128, 256, 512."""
    return [3] + [cfg.width * 2 ** max(0, i - layers + 4) for i in range(layers)]


class ContextEncoder(nn.Module):
    """F: context -> square. Shapes for 128 pixels, width 64."""

    def __init__(self, cfg: Config):
        super().__init__()
        n = int(log2(cfg.size)) - 2
        c = _channels(cfg, n)
        layers = halving(c, 4)  # 64 x 64, 64 x 32, 128 x 16, 256 x 8, 512 x 4
        layers += [nn.Conv2d(c[-1], cfg.bottleneck, 4), nn.BatchNorm2d(cfg.bottleneck), nn.LeakyReLU(0.2)]  # 4000 x 1
        layers += [nn.ConvTranspose2d(cfg.bottleneck, c[-1], 4), nn.BatchNorm2d(c[-1]), nn.ReLU()]  # 512 x 4
        back = c[::-1][: n - 1]
        for i, o in zip(back, back[1:], strict=False):  # 256 x 8, 128 x 16, 64 x 32
            layers += [nn.ConvTranspose2d(i, o, 4, 2, 1), nn.BatchNorm2d(o), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(back[-1], 3, 4, 2, 1), nn.Tanh())  # 3 x 64
        grown = (cfg.size // 2 - cfg.side) // 2
        self.hole = (slice(cfg.top, cfg.top + cfg.side), slice(cfg.left, cfg.left + cfg.side))
        self.square = tuple(slice(s.start - grown, s.stop + grown) for s in self.hole)
        self.inner = slice(grown, grown + cfg.side)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, H), whole: the hole is emptied first. Returns the square (B, 3, H / 2, H / 2)."""
        context = x.clone()
        context[..., self.hole[0], self.hole[1]] = 0
        return self.net(context)

    def target(self, x: Tensor) -> Tensor:
        """What the square should be."""
        return x[..., self.square[0], self.square[1]]

    def fill(self, x: Tensor) -> Tensor:
        """x with the hole filled; the overlap stays x's."""
        out = x.clone()
        out[..., self.hole[0], self.hole[1]] = self(x)[..., self.inner, self.inner].to(x)
        return out


class Discriminator(nn.Module):
    """(B, 3, H / 2, H / 2) -> logit (B, 1)."""

    def __init__(self, cfg: Config):
        super().__init__()
        c = _channels(cfg, int(log2(cfg.size)) - 3)
        self.net = nn.Sequential(*halving(c, 4), nn.Conv2d(c[-1], 1, 4), nn.Flatten())

    def forward(self, square: Tensor) -> Tensor:
        return self.net(square)


@dataclass
class Nets:
    G: ContextEncoder
    D: Discriminator


def build(cfg: Config) -> Nets:
    """Weights ~ N(0, 0.02^2)."""
    return Nets(init_normal(ContextEncoder(cfg), 0.02), init_normal(Discriminator(cfg), 0.02))


def reconstruction(square: Tensor, target: Tensor, inner: slice, overlap: float) -> Tensor:
    """L_rec: mean squared error over batch, colours and pixels, `overlap` times as heavy on the known side of the hole's rim."""
    weight = torch.full(square.shape[-2:], overlap, device=square.device)
    weight[inner, inner] = 1
    return (weight * (square - target).square()).mean()


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """-E[log D(x)] - E[log(1 - D(F(context)))], on logits; real and predicted squares in batches of their own (batch norm)."""
    with torch.no_grad():
        square = nets.G(batch.x)
    return F.softplus(-nets.D(nets.G.target(batch.x))).mean() + F.softplus(nets.D(square)).mean(), {}


def g_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """lambda_rec L_rec + lambda_adv L_adv, with L_adv = -E[log D(F(context))]."""
    square = nets.G(batch.x)
    rec = cfg.lambda_rec * reconstruction(square, nets.G.target(batch.x), nets.G.inner, cfg.overlap)
    adv = cfg.lambda_adv * F.softplus(-nets.D(square)).mean()
    return rec + adv, {"rec": rec.detach(), "adv": adv.detach()}


def stages(cfg: Config) -> list[Stage]:
    """D, then G, on one batch."""
    betas = (cfg.beta_1, 0.999)
    updates = (Update("D", ("D",), d_loss, cfg.lr, betas), Update("G", ("G",), g_loss, 10 * cfg.lr, betas, fresh=False))
    return [Stage("context encoder", "context encoder", ("Eyeglasses",), updates, cfg.cycles, cfg.batch, flip=True)]  # no loss looks at the label

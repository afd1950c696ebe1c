"""ResGAN: learning residual images, one network per direction of an edit.

Also called ResidualGAN. There is no official code; layer sizes are those on which three public re-implementations agree
(zhangqianhui/Residual_Image_Learning_GAN, veronicachelu/ResidualGAN, MingtaoGuo/Learning-Residual-Images-for-Face-Attribute-Manipulation).

paper               here              shape, range
x_0, x_1            x_0, x_1          (B/2, 3, H, H), [-1, 1]: real faces without and with the attribute
G_0, G_1            G_0, G_1          image transformation networks: G_0 adds the attribute, G_1 removes it
r_0, r_1            r_0, r_1          (B/2, 3, H, H), real: r_i = G_i(x_i), the residual image
x-tilde_0, _1       xt_0, xt_1        x_i + r_i, not clipped
D                   D                 (B, 3) logits of three classes: real without (0), real with (1), generated (2)
phi                 D.phi             (B, 512, H/16, H/16): features inside D, for the perceptual loss
alpha, beta                           weights of the residual's and of the perceptual L1 norm (sums, not means)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.baselines import Edit, halves, one_of_two
from lib.claims import Deviation
from lib.data.sparse import sparse_examples
from lib.layers import init_normal
from lib.training.config import pick, require, require_each
from lib.training.loop import Stage, Update

TITLE = "Learning Residual Images for Face Attribute Manipulation (ResGAN)"
CITATION = "W. Shen, R. Liu. CVPR 2017."
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("G_0", "G_1")  # what edits need
BETWEEN = "input"  # what a target between 0 and 1 does: output and input are blended
SECONDS = 1.0  # processor seconds of one cycle in profile cpu, one thread, bf16
PAPER_STEPS = 62_500  # cycles: D1
NEGATIVE, POSITIVE, GENERATED = 0, 1, 2  # the three classes of D

DEVIATIONS = (
    Deviation("D1", "Batch size and number of iterations: not stated in what is at hand",
              "batches of 16 faces, half with the attribute; 62,500 cycles in profile `paper`",
              "the 1,000,000 images that the compared papers' D sees"),  # fmt: skip
    Deviation("D2", "Sampling and flips: not stated",
              "equal numbers of faces with and without the attribute; flips, unless a paper that compares gives no method any",
              "SG-GAN (Sec. 4.1) trains it on balanced data"),  # fmt: skip
    Deviation("D3", "One update of D, G_0 and G_1 per iteration; which batches: not stated",
              "all three on the same batch", "as the re-implementations"),  # fmt: skip
    Deviation("D4", "Batch norm in D on real and generated faces: together or apart not stated",
              "each of the four kinds of image in a pass of its own", "as the re-implementations"),  # fmt: skip
    Deviation("D5", "alpha = 5e-4 (local) or 5e-6 (gender, age), beta = 0.1 alpha, on sums over a 128x128 image",
              "profile `cpu` multiplies both by 4", "the sums over a 64x64 image have a quarter of the terms (with half the channels phi's "
              "have an eighth, so that beta weighs half as much)"),  # fmt: skip
    Deviation("D6", "64 channels at 128x128",
              "profile `cpu`: 32 channels at 64x64; fewer updates, the share is printed", "core-hours"),  # fmt: skip
    Deviation("D7", "x + r may leave the range of an image",
              "unclipped in every loss, clipped to [-1, 1] in the edited face", "as saving a file does"),  # fmt: skip
    Deviation("D8", "Weight initialisation: not stated",
              "N(0, 0.02^2)", "usual at the time"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """Profile `paper` is the default."""

    attribute: str = "Eyeglasses"  # one model each
    size: int = 128
    width: int = 64  # channels of the first layers of G_0, G_1 and D
    d_layers: int = 5  # stride-2 layers of D; its last kernel is size / 2^d_layers
    norm: str = "batch"  # the paper's; "instance" in one re-implementation
    slope: float = 0.2
    alpha: float = 5e-4  # on the sum over a residual's values: D5
    beta: float = 5e-5  # on the sum over phi's values: D5
    batch: int = 16  # half without, half with the attribute: D1
    lr: float = 2e-4
    beta_1: float = 0.5
    beta_2: float = 0.999
    init_std: float = 0.02  # not stated: D8
    steps: int = PAPER_STEPS  # cycles of one update of D, G_0 and G_1: D1
    flip: bool = True  # not stated: D2
    per_value: int = 0  # only so many labelled faces with and without the attribute; 0: all

    def __post_init__(self):
        steps = 2 ** max(self.d_layers, 2)  # G_0 and G_1 halve twice
        require(self.d_layers >= 2 and self.size % steps == 0, "size", self.size, f"a multiple of {steps}")
        require(self.batch >= 2 and self.batch % 2 == 0, "batch", self.batch, "even: half without, half with the attribute")
        require_each(self, "at least 1", "width", "steps")
        require_each(self, "at least 0", "alpha", "beta", "per_value")
        require_each(self, "in [0, 1)", "slope", "beta_1", "beta_2")
        require_each(self, "positive", "lr", "init_std")
        pick(dict.fromkeys(("batch", "instance")), self.norm, "norm")


def share_of_paper(cfg: Config) -> float:
    """Images shown to one model over those of profile `paper` (D1)."""
    return cfg.steps * cfg.batch / (PAPER_STEPS * 16)


PROFILES = {
    "smoke": lambda: Config(size=32, width=2, d_layers=4, batch=4, steps=2),
    "cpu": lambda: Config(size=64, width=32, alpha=2e-3, beta=2e-4, steps=1_500),
    "gpu": lambda: Config(steps=6_000),
    "paper": Config,
}


def _norm(cfg: Config, d: int) -> nn.Module:
    return nn.BatchNorm2d(d) if cfg.norm == "batch" else nn.InstanceNorm2d(d, affine=True)


class Transformation(nn.Module):
    """G_0 and G_1: a face (B, 3, H, H) -> its residual image r (B, 3, H, H), linear. Shapes are given for width 64, H = 128."""

    def __init__(self, cfg: Config):
        super().__init__()
        w = cfg.width

        def layer(i, o, *convolution):
            return [*convolution, _norm(cfg, o), nn.LeakyReLU(cfg.slope)]

        def up(i, o):
            return layer(i, o, nn.Upsample(scale_factor=2), nn.Conv2d(i, o, 3, 1, 1))

        self.net = nn.Sequential(
            *layer(3, w, nn.Conv2d(3, w, 5, 1, 2)),  #              64 x 128 x 128
            *layer(w, 2 * w, nn.Conv2d(w, 2 * w, 4, 2, 1)),  #     128 x  64 x  64
            *layer(2 * w, 4 * w, nn.Conv2d(2 * w, 4 * w, 4, 2, 1)),  # 256 x 32 x 32
            *up(4 * w, 2 * w),  #                                  128 x  64 x  64
            *up(2 * w, w),  #                                       64 x 128 x 128
            nn.ZeroPad2d((1, 2, 1, 2)),  # a kernel of 4 with stride 1 keeps the size if the margins are 1 and 2
            nn.Conv2d(w, 3, 4, 1, 0),  #                             3 x 128 x 128
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Discriminator(nn.Module):
    """(B, 3, H, H) -> three logits (B, 3). No norm in the first layer; the last kernel covers the whole map."""

    def __init__(self, cfg: Config):
        super().__init__()
        channels = [3] + [cfg.width * 2**i for i in range(cfg.d_layers)]  # 64 x 64 x 64, 128 x 32 x 32, ... 1024 x 4 x 4
        layers = []
        for k, (i, o) in enumerate(zip(channels, channels[1:], strict=False)):
            layers.append(nn.Conv2d(i, o, 4, 2, 1))
            layers += ([_norm(cfg, o)] if k else []) + [nn.LeakyReLU(cfg.slope)]
        before = 1 + [i for i, m in enumerate(layers) if isinstance(m, nn.Conv2d)][-2]  # where phi is read: after that convolution
        self.lower, self.upper = nn.Sequential(*layers[:before]), nn.Sequential(*layers[before:])
        self.head = nn.Conv2d(channels[-1], 3, cfg.size // 2**cfg.d_layers, 1, 0)

    def phi(self, x: Tensor) -> Tensor:
        """(B, 512, H/16, H/16): the output of the last convolution but one, before its norm."""
        return self.lower(x)

    def logits(self, phi: Tensor) -> Tensor:
        """The three logits (B, 3) from phi."""
        return self.head(self.upper(phi)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.phi(x))


@dataclass
class Nets:
    G_0: Transformation
    G_1: Transformation
    D: Discriminator


def build(cfg: Config) -> Nets:
    """The networks of one attribute's model."""
    return Nets(*(init_normal(net, cfg.init_std) for net in (Transformation(cfg), Transformation(cfg), Discriminator(cfg))))


def cls(logits: Tensor, category: int) -> Tensor:
    """Cross-entropy of three classes, -log softmax(D)_category, mean over the batch."""
    return F.cross_entropy(logits, torch.full((len(logits),), category, device=logits.device))


def l1_sum(v: Tensor) -> Tensor:
    """||v||_1: the sum of absolute values of each image's (C, H, W), mean over the batch."""
    return v.abs().flatten(1).sum(1).mean()


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """D tells real faces without (0) and with the attribute (1) from those that either network generated (2)."""
    x_0, x_1 = halves(batch)
    with torch.no_grad():
        xt_0, xt_1 = x_0 + nets.G_0(x_0), x_1 + nets.G_1(x_1)

    real = cls(nets.D(x_0), NEGATIVE) + cls(nets.D(x_1), POSITIVE)
    fake = cls(nets.D(xt_0), GENERATED) + cls(nets.D(xt_1), GENERATED)
    return real + fake, {"real": real.detach(), "fake": fake.detach()}


def g_loss(G: nn.Module, other: nn.Module, D: Discriminator, x: Tensor, source: int, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """One transformation network: its edit shall look like the other class, edited back by the other network like the source class again
    (dual learning: a verdict of D, no comparison of pixels), with a sparse residual and features phi near those of the input."""
    r = G(x)
    xt = x + r
    phi = D.phi(xt)

    gan = cls(D.logits(phi), 1 - source)
    dual = cls(D(xt + other(xt)), source)
    pix = cfg.alpha * l1_sum(r)
    per = cfg.beta * l1_sum(D.phi(x) - phi)
    terms = {"gan": gan, "dual": dual, "pix": pix, "per": per, "residual": r.abs().mean()}
    return gan + dual + pix + per, {k: v.detach() for k, v in terms.items()}


def g_0_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What G_0, which adds the attribute to x_0, minimises."""
    return g_loss(nets.G_0, nets.G_1, nets.D, halves(batch)[0], NEGATIVE, cfg)


def g_1_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What G_1, which removes the attribute from x_1, minimises."""
    return g_loss(nets.G_1, nets.G_0, nets.D, halves(batch)[1], POSITIVE, cfg)


def stages(cfg: Config) -> list[Stage]:
    """The attribute's model: per cycle one update of D, G_0 and G_1 on one batch, half without and half with the attribute."""
    adam = {"lr": cfg.lr, "betas": (cfg.beta_1, cfg.beta_2)}
    updates = (
        Update("D", ("D",), d_loss, **adam),
        Update("G_0", ("G_0",), g_0_loss, fresh=False, part=0.5, **adam),
        Update("G_1", ("G_1",), g_1_loss, fresh=False, part=0.5, **adam),
    )

    a = cfg.attribute

    def pool(faces, split, seed):
        return sparse_examples(faces, split, (a,), cfg.per_value, 0, seed, mixed=False)

    return [Stage(a, a, (a,), updates, cfg.steps, cfg.batch, "balanced", cfg.flip, pool if cfg.per_value else None)]


def sweep(cfg: Config) -> dict[str, Config]:
    """Configurations with weaker sparsity: alpha and beta a tenth and a hundredth of cfg's."""
    return {f"ResGAN, alpha / {k}": replace(cfg, alpha=cfg.alpha / k, beta=cfg.beta / k) for k in (10, 100)}


@torch.no_grad()
def edit(nets: Nets, x: Tensor, target: Tensor | float) -> Edit:
    """x + r, clipped to [-1, 1]. x: (B, 3, H, H), [-1, 1]; target 1 adds the attribute (G_0), 0 removes it (G_1); between, r is scaled."""
    return Edit(one_of_two(x, target, lambda x: x + nets.G_0(x), lambda x: x + nets.G_1(x)).clamp(-1, 1))


def editor(models: dict[str, Nets]) -> Callable:
    """(attribute, x, target) -> Edit, each attribute by its own model."""
    return lambda attribute, x, target: edit(models[attribute], x, target)

"""StarGAN v2: one generator for several domains whose style comes from noise or from a reference image.

What the paper leaves open is taken from its official code (github.com/clovaai/stargan-v2), without the high-pass skips for CelebA-HQ. Domains
are columns of a face set: several that are one-hot, or one attribute, whose absence and presence are two domains.

paper            here          shape, range
x                x             (B, 3, H, H), [-1, 1]: input image
y, y-tilde       y, y_t        (B,), int64: its domain; target domain, that of the reference
z                z             (B, 16), N(0, I): noise
F                M             mapping network (z, y-tilde) -> s
E                E             style encoder (x, y) -> s
s-tilde          s_t           (B, 64): style of the target domain
G, D             G, D          G(x, s) -> (B, 3, H, H); D(x, y) -> (B,), logit of being real in that domain
lambda_sty, _ds, _cyc, _reg    weights of style reconstruction, diversity, cycle and R1
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from math import log2, sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lib.baselines import Edit
from lib.claims import Deviation
from lib.data import FaceSet, Split
from lib.data.lookup import row_finder
from lib.losses import l1
from lib.training.config import listed, require, require_each
from lib.training.loop import Stage, Update

TITLE = "StarGAN v2: Diverse Image Synthesis for Multiple Domains"
CITATION = "Y. Choi, Y. Uh, J. Yoo, J.-W. Ha. CVPR 2020."
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("G_ema", "M_ema", "E_ema")  # what edits need
SECONDS = 2.5  # processor seconds of one cycle of profile cpu, one thread, bf16
BETWEEN = "threshold"  # what a target between 0 and 1 does: it counts as the nearer of both
MODES = ("label", "reference")  # of editing: the style from noise, or from an image
PAPER_STEPS = 100_000  # iterations, each of two updates of D and two of G

DEVIATIONS = (
    Deviation("D1", "Per iteration D and G are updated with styles from noise, then again with styles from references (code)",
              "one update of each on the sum of both losses; as in the code, M and E learn from the part with noise alone",
              "the real images and R1 are then computed once instead of twice; Adam does not see the scale"),  # fmt: skip
    Deviation("D2", "Two references of one domain, from a loader of their own that draws the domains equally often (code)",
              "images of the same batch, another of the same domain for the second where there is one",
              "all methods of this study draw from one batch an update"),  # fmt: skip
    Deviation("D3", "256x256, 64 to 512 channels, 512 units in the mapping network, batch 8",
              "profile `cpu`: 64x64, 32 to 128 channels, 128 units; batch, rates and weights as printed",
              "core-hours; the code's rule for small pictures, 256 channels at 64 pixels, is wider than at 256"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """Profile `paper` is the default: the settings for AFHQ."""

    attributes: str = "cat,dog,wild"  # one-hot columns joined by commas, or one attribute: two domains
    size: int = 256
    width: int = 64  # channels of the first layers: 2^14 / size in the code
    max_width: int = 512
    hidden: int = 512  # units of the mapping network
    noise_length: int = 16
    style: int = 64
    lambda_reg: float = 1.0
    lambda_sty: float = 1.0
    lambda_ds: float = 2.0  # falls to 0 over the training; 1 for CelebA-HQ
    lambda_cyc: float = 1.0
    batch: int = 8
    lr: float = 1e-4
    m_lr: float = 0.01  # times lr: M's
    beta_1: float = 0.0
    beta_2: float = 0.99
    weight_decay: float = 1e-4
    ema: float = 0.999  # of G, M and E, which edit
    g_steps: int = PAPER_STEPS

    def __post_init__(self):
        names = listed(self.attributes)
        require(len(names) > 0 and len(set(names)) == len(names), "attributes", self.attributes, "different names joined by commas")
        require(self.size >= 32 and self.size & (self.size - 1) == 0, "size", self.size, "a power of two, at least 32")
        require_each(self, "at least 1", "width", "max_width", "hidden", "noise_length", "style", "g_steps")
        require(self.batch >= 2, "batch", self.batch, "at least 2: references are other images of the batch")
        require_each(self, "at least 0", "lambda_reg", "lambda_sty", "lambda_ds", "lambda_cyc", "weight_decay")
        require_each(self, "positive", "lr", "m_lr")
        require_each(self, "in [0, 1)", "beta_1", "beta_2", "ema")


def domains_of(cfg: Config) -> int:
    """How many domains there are: one for each of several columns, two for one."""
    return max(2, len(listed(cfg.attributes)))


def domain(labels: Tensor) -> Tensor:
    """Columns (B, n) in {0, 1} -> domains (B,) int64: the place of the 1 among several, the value of a single one."""
    return labels.argmax(1) if labels.shape[1] > 1 else labels[:, 0].long()


def share_of_paper(cfg: Config) -> float:
    """Images shown to G over those of the paper's training."""
    return cfg.g_steps * cfg.batch / (PAPER_STEPS * 8)


PROFILES = {
    "smoke": lambda: Config(attributes="Bangs", size=32, width=2, max_width=4, hidden=4, style=4, batch=4, g_steps=3),
    "cpu": lambda: Config(size=64, width=32, max_width=128, hidden=128, g_steps=2_700),
    "gpu": lambda: Config(size=128, width=64, max_width=256, g_steps=10_000),
    "paper": Config,
}


class ResBlk(nn.Module):
    """[IN], leaky ReLU, conv3x3, [half the size], [IN], leaky ReLU, conv3x3, plus a shortcut, over sqrt(2). (B, i, h, h) -> (B, o, h', h')."""

    def __init__(self, i: int, o: int, norm: bool = False, down: bool = False):
        super().__init__()
        self.act, self.down = nn.LeakyReLU(0.2), down
        self.conv1, self.conv2 = nn.Conv2d(i, i, 3, 1, 1), nn.Conv2d(i, o, 3, 1, 1)
        self.norm1, self.norm2 = (nn.InstanceNorm2d(i, affine=True) if norm else nn.Identity() for _ in range(2))
        self.shortcut = nn.Conv2d(i, o, 1, bias=False) if i != o else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        half = (lambda t: F.avg_pool2d(t, 2)) if self.down else (lambda t: t)
        h = self.conv2(self.act(self.norm2(half(self.conv1(self.act(self.norm1(x)))))))
        return (h + half(self.shortcut(x))) / sqrt(2)


class AdaIN(nn.Module):
    """(1 + gamma(s)) IN(x) + beta(s), gamma and beta one number a channel."""

    def __init__(self, style: int, channels: int):
        super().__init__()
        self.norm, self.fc = nn.InstanceNorm2d(channels), nn.Linear(style, 2 * channels)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        gamma, beta = self.fc(s)[:, :, None, None].chunk(2, dim=1)
        return (1 + gamma) * self.norm(x) + beta


class AdainResBlk(nn.Module):
    """AdaIN, leaky ReLU, [twice the size], conv3x3, AdaIN, leaky ReLU, conv3x3, plus a shortcut, over sqrt(2)."""

    def __init__(self, i: int, o: int, style: int, up: bool = False):
        super().__init__()
        self.act, self.up = nn.LeakyReLU(0.2), up
        self.conv1, self.conv2 = nn.Conv2d(i, o, 3, 1, 1), nn.Conv2d(o, o, 3, 1, 1)
        self.norm1, self.norm2 = AdaIN(style, i), AdaIN(style, o)
        self.shortcut = nn.Conv2d(i, o, 1, bias=False) if i != o else nn.Identity()

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        twice = (lambda t: F.interpolate(t, scale_factor=2, mode="nearest")) if self.up else (lambda t: t)
        h = self.conv1(twice(self.act(self.norm1(x, s))))
        return (self.conv2(self.act(self.norm2(h, s))) + self.shortcut(twice(x))) / sqrt(2)


def widths(cfg: Config, halvings: int) -> list[int]:
    """Channels before and after every halving."""
    return [min(cfg.width * 2**k, cfg.max_width) for k in range(halvings + 1)]


class Generator(nn.Module):
    """G(x, s): (B, 3, H, H), (B, 64) -> (B, 3, H, H), without a last activation. Halved to 16 x 16, two blocks there on either side."""

    def __init__(self, cfg: Config):
        super().__init__()
        c = widths(cfg, int(log2(cfg.size)) - 4)
        steps = list(zip(c, c[1:], strict=False))
        self.first = nn.Conv2d(3, c[0], 3, 1, 1)
        self.encode = nn.Sequential(*[ResBlk(i, o, True, True) for i, o in steps], *[ResBlk(c[-1], c[-1], True) for _ in range(2)])
        ups = [AdainResBlk(o, i, cfg.style, True) for i, o in reversed(steps)]
        self.decode = nn.ModuleList([AdainResBlk(c[-1], c[-1], cfg.style) for _ in range(2)] + ups)
        self.last = nn.Sequential(nn.InstanceNorm2d(c[0], affine=True), nn.LeakyReLU(0.2), nn.Conv2d(c[0], 3, 1))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        h = self.encode(self.first(x))
        for block in self.decode:
            h = block(h, s)
        return self.last(h)


class Mapping(nn.Module):
    """F(z, y): four shared layers, then four of the domain's own. (B, 16), (B,) -> (B, 64)."""

    def __init__(self, cfg: Config):
        super().__init__()

        def layers(i, n):
            return [m for k in range(n) for m in (nn.Linear(cfg.hidden if k else i, cfg.hidden), nn.ReLU())]

        self.shared = nn.Sequential(*layers(cfg.noise_length, 4))
        own = [nn.Sequential(*layers(cfg.hidden, 3), nn.Linear(cfg.hidden, cfg.style)) for _ in range(domains_of(cfg))]
        self.own = nn.ModuleList(own)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = self.shared(z)
        return torch.stack([layer(h) for layer in self.own], dim=1)[torch.arange(len(y), device=y.device), y]


class Trunk(nn.Module):
    """What E and D have alike: halved to 4 x 4, a 4x4 convolution, then one head a domain. (B, 3, H, H), (B,) -> (B, outputs)."""

    def __init__(self, cfg: Config, outputs: int):
        super().__init__()
        c = widths(cfg, int(log2(cfg.size)) - 2)
        blocks = [ResBlk(i, o, False, True) for i, o in zip(c, c[1:], strict=False)]
        act = nn.LeakyReLU(0.2)
        self.shared = nn.Sequential(nn.Conv2d(3, c[0], 3, 1, 1), *blocks, act, nn.Conv2d(c[-1], c[-1], 4), act, nn.Flatten())
        self.own = nn.ModuleList([nn.Linear(c[-1], outputs) for _ in range(domains_of(cfg))])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.shared(x)
        return torch.stack([head(h) for head in self.own], dim=1)[torch.arange(len(y), device=y.device), y]


class Progress(nn.Module):
    """How many updates of G there were."""

    def __init__(self):
        super().__init__()
        self.register_buffer("updates", torch.zeros(()))


@dataclass
class Nets:
    G: Generator
    M: Mapping
    E: Trunk
    D: Trunk
    G_ema: Generator
    M_ema: Mapping
    E_ema: Trunk
    progress: Progress


def build(cfg: Config) -> Nets:
    """The networks, weights ~ N(0, 2 / fan-in), biases 0, as the official code; and the running means of G, M and E, which start as copies."""
    nets = Generator(cfg), Mapping(cfg), Trunk(cfg, cfg.style), Trunk(cfg, 1)
    for m in (m for net in nets for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)):
        nn.init.kaiming_normal_(m.weight, mode="fan_in", nonlinearity="relu")
        if m.bias is not None:
            nn.init.zeros_(m.bias)
    return Nets(*nets, *map(deepcopy, nets[:3]), Progress())


def adversarial(logit: Tensor, real: float) -> Tensor:
    """Eq. (1): -log D for real = 1, -log(1 - D) for 0, of logits; mean over the batch."""
    return F.binary_cross_entropy_with_logits(logit, torch.full_like(logit, real))


def r1(logit: Tensor, x: Tensor) -> Tensor:
    """Half the squared norm of the logit's gradient at real images x, which must require it; mean over the batch (Mescheder et al. 2018)."""
    (grad,) = torch.autograd.grad(logit.sum(), x, create_graph=True)
    return grad.square().flatten(1).sum(1).mean() / 2


def references(y: Tensor, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Places (B,) of two references for every image: a random permutation of the batch, and for each of these another image of its domain, or
    itself where the batch has no other (D2)."""
    first = torch.randperm(len(y), generator=rng, device=y.device)
    score = torch.rand(len(y), len(y), generator=rng, device=y.device)
    same = (y[first][:, None] == y[None]).float() - 0.5 * (first[:, None] == torch.arange(len(y), device=y.device))
    return first, (2 * same + score * (same == 1)).argmax(1)


def noise(batch, cfg: Config) -> Tensor:
    """(B, 16) ~ N(0, I)."""
    return torch.randn(len(batch.x), cfg.noise_length, generator=batch.rng, device=batch.x.device, dtype=batch.x.dtype)


def frozen(net: nn.Module) -> Callable:
    """The network as a function whose weights get no gradient; its inputs do."""
    weights = {name: p.detach() for name, p in net.named_parameters()}
    return lambda *inputs: functional_call(net, weights, inputs)


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What D minimises: eq. (1) for real images, edits from noise and edits from references, and R1, once for both kinds (D1)."""
    y = domain(batch.y)
    first, _ = references(y, batch.rng)
    x, y_t = batch.x.clone().requires_grad_(True), y[first]
    with torch.no_grad():
        styles = nets.M(noise(batch, cfg), y_t), nets.E(batch.x[first], y_t)
        fakes = [nets.G(batch.x, s) for s in styles]
    logit = nets.D(x, y)
    real, reg = adversarial(logit, 1.0), cfg.lambda_reg * r1(logit, x)
    fake = sum(adversarial(nets.D(f, y_t), 0.0) for f in fakes) / 2
    return real + fake + reg, {"real": real.detach(), "fake": fake.detach(), "reg": reg.detach()}


def g_part(nets: Nets, x: Tensor, y: Tensor, y_t: Tensor, s_t: Tensor, s_2: Tensor, E: Callable) -> dict[str, Tensor]:
    """The terms for one source of styles. s_t, s_2: two styles of the target domain; E: that reads styles, with or without learning.

    adv: eq. (1) for G. sty, eq. (2): ||s_t - E(G(x, s_t), y_t)||_1. ds, eq. (3): ||G(x, s_t) - G(x, s_2)||_1, the second without gradient as in
    the code. cyc, eq. (4): ||x - G(G(x, s_t), E(x, y))||_1. Means over all elements. """
    fake = nets.G(x, s_t)
    with torch.no_grad():
        other = nets.G(x, s_2)
    back = nets.G(fake, E(x, y))
    return {"adv": adversarial(nets.D(fake, y_t), 1.0), "sty": l1(E(fake, y_t), s_t), "ds": l1(fake, other), "cyc": l1(back, x)}


def average(nets: Nets, cfg: Config) -> None:
    """Take the present weights of G, M and E, those before this update, into their running means."""
    with torch.no_grad():
        for name in ("G", "M", "E"):
            for mean, p in zip(getattr(nets, f"{name}_ema").parameters(), getattr(nets, name).parameters(), strict=True):
                mean.lerp_(p, 1 - cfg.ema)


def g_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (5): adv + lambda_sty sty - lambda_ds ds + lambda_cyc cyc, for styles from noise, which trains G, M and E, plus the same for styles from
    references, which trains G alone (D1). lambda_ds falls to 0 in equal steps. The terms are without weights, means of the two parts."""
    average(nets, cfg)
    lambda_ds = cfg.lambda_ds * (1 - nets.progress.updates / cfg.g_steps)
    nets.progress.updates += 1
    x, y = batch.x, domain(batch.y)
    first, second = references(y, batch.rng)
    y_t = y[first]
    parts = g_part(nets, x, y, y_t, nets.M(noise(batch, cfg), y_t), nets.M(noise(batch, cfg), y_t), nets.E)
    with torch.no_grad():
        styles = nets.E(x[first], y_t), nets.E(x[second], y_t)
    more = g_part(nets, x, y, y_t, *styles, frozen(nets.E))
    terms = {name: parts[name] + more[name] for name in parts}
    total = terms["adv"] + cfg.lambda_sty * terms["sty"] - lambda_ds * terms["ds"] + cfg.lambda_cyc * terms["cyc"]
    return total, {name: value.detach() / 2 for name, value in terms.items()}


class OwnRates(torch.optim.Adam):
    """Adam whose groups have rates of their own: the common one times the group's `factor`."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] *= group["factor"]  # the training loop sets the common rate before every step
        return super().step(closure)


def stages(cfg: Config) -> list[Stage]:
    """Per cycle one update of D and one of G, M and E on the same batch; M's rate is a hundredth of the others'."""
    of_m = 2 * 4 * (1 + domains_of(cfg))  # weights and biases of four shared layers and four of each domain

    def adam(parameters: list, lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=lr, betas=(cfg.beta_1, cfg.beta_2), weight_decay=cfg.weight_decay)

    def own_rates(parameters: list, lr: float) -> torch.optim.Optimizer:
        groups = [{"params": parameters[:of_m], "factor": cfg.m_lr}, {"params": parameters[of_m:], "factor": 1.0}]
        return OwnRates(groups, lr=lr, betas=(cfg.beta_1, cfg.beta_2), weight_decay=cfg.weight_decay)

    d = Update("D", ("D",), d_loss, cfg.lr, optimiser=adam)
    g = Update("G", ("M", "G", "E"), g_loss, cfg.lr, fresh=False, optimiser=own_rates)
    return [Stage("domains", "domains", listed(cfg.attributes), (d, g), cfg.g_steps, cfg.batch, flip=True)]


def editor(models: dict[str, Nets], faces: FaceSet, split: Split, cfg: Config, mode: str, seed: int = 0) -> Callable:
    """(attribute, x, target) -> Edit on test images: to the domain of that column (target 1), or to the value `target` of a single attribute.

    mode label: the style is made from noise, a function of (seed, row); reference: from a test image of the target domain, drawn likewise, or
    from the argument X_r (B, 3, H, H). """
    nets, names, find = models["domains"], listed(cfg.attributes), row_finder(faces, split.test)
    of = domain(torch.from_numpy(np.stack([faces.column(a) for a in names], axis=1))).numpy()
    pools = {k: split.test[of[split.test] == k] for k in range(domains_of(cfg))}

    @torch.no_grad()
    def apply(attribute: str, x: Tensor, target: Tensor | float, X_r: Tensor | None = None) -> Edit:
        target = torch.as_tensor(target, dtype=x.dtype).cpu().expand(len(x), 1)[:, 0]
        k = np.full(len(x), names.index(attribute)) if len(names) > 1 else (target > 0.5).int().numpy()
        y = torch.from_numpy(k).long().to(x.device)
        draws = [np.random.default_rng([seed, 2, row]) for row in find(x)]
        if mode == "label":
            z = torch.from_numpy(np.stack([rng.standard_normal(cfg.noise_length) for rng in draws])).to(x.device, x.dtype)
            return Edit(nets.G_ema(x, nets.M_ema(z, y)))
        if X_r is None:
            rows = np.array([pools[int(i)][rng.integers(len(pools[int(i)]))] for i, rng in zip(k, draws, strict=True)])
            X_r = torch.from_numpy(faces.images[rows]).to(x.device, x.dtype) / 127.5 - 1
        return Edit(nets.G_ema(x, nets.E_ema(X_r, y)))

    return apply

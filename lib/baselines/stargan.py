"""StarGAN: one generator for several attributes, with a target label vector as input.

What the paper leaves open is taken from its official code (github.com/yunjey/stargan).

paper            here          shape, range
x                x             (B, 3, H, H), [-1, 1]: input face
c' (c_org)       c_org         (B, n), {0, 1}: its labels of the n attributes; a negative value or NaN: not labelled
c  (c_trg)       c             (B, n), [0, 1]: target labels; trained on 0 and 1
G(x, c)          G(x, c)       (B, 3, H, H), [-1, 1]
D_src, D_cls     D(x)[0], [1]  (B, 1, h, h) critic scores; (B, n) logits
x-hat            x_hat         between real and edited faces
lambda_cls, _rec, _gp          weights of classification, reconstruction and gradient penalty
m                m             (B,), {0, 1}: all labels of the image are known (sparse labels: see `labels`)

Sparse labels are not StarGAN's own: SG-GAN (Zhang et al. 2018, Sec. 4.4) trains it on faces of which only some are labelled and "removes
the corresponding reconstruction loss" of the others with a binary mask. With every label known the masked losses are the plain ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.baselines import Edit
from lib.claims import Deviation
from lib.data.sparse import sparse_examples
from lib.losses import gradient_penalty, interpolate
from lib.training.config import listed, pick, require, require_each
from lib.training.loop import Stage, Update

TITLE = "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation"
CITATION = "Y. Choi, M. Choi, M. Kim, J.-W. Ha, S. Kim, J. Choo. CVPR 2018."
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("G",)  # what edits need
BETWEEN = "condition"  # what a target between 0 and 1 does: the condition itself takes it
SECONDS = 2.8  # processor seconds of one cycle in profile cpu, one thread, bf16
PAPER_STEPS = 40_000  # G updates: 200,000 D updates, one G update after every fifth
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")  # mutually exclusive when one of them is chosen

DEVIATIONS = (
    Deviation("D1", "Learning rate: constant, then linear to 0 (paper, and documentation of the code)",
              "as printed", "the code subtracts lr/100,000 only once in 1,000 updates, 0.1 % of the decay asked for"),  # fmt: skip
    Deviation("D2", "Instance norm with running statistics, never switched to evaluation (code)",
              "instance norm without running statistics", "the same function as the code's, in both modes"),  # fmt: skip
    Deviation("D3", "One random target per image for D's and G's update on a batch (code)",
              "a target of its own for each of the two updates, both permutations of the batch's labels",
              "each update draws from the batch's own generator; the targets have the same distribution"),  # fmt: skip
    Deviation("D4", "Test targets start from the labels in the list of attributes (code)",
              "from what the caller takes for a face's own labels, here a judge's verdicts",
              "other sets of faces have no list of labels"),  # fmt: skip
    Deviation("D5", "128x128, 64 channels, six stride-2 layers in D, 40,000 G updates",
              "profile `cpu`: 64x64, 32 channels, five layers in D, so that its heads see 2x2 as printed; fewer updates, the share is printed",
              "core-hours"),  # fmt: skip
    Deviation("D6", "Sparse labels (SG-GAN, Sec. 4.4): only the mask on the reconstruction loss is described",
              "adversarial terms and G's classification on all images; D's classification and the reconstruction on labelled ones, divided by "
              "their number (at least 1); targets from the labelled vectors of the batch, uniform bits in a batch without any",
              "a hidden label may enter no loss"),  # fmt: skip
    Deviation("D7", "Natural sampling, flips",
              "as printed, unless a paper that compares gives all methods another sampler or no flips",
              "the same training data for all"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """Profile `paper` is the default."""

    attributes: str = "Black_Hair,Blond_Hair,Brown_Hair,Male,Young"  # joined by commas: the label vector, in this order
    size: int = 128
    width: int = 64  # channels of the first layers of G and D
    blocks: int = 6  # residual blocks
    d_layers: int = 6  # stride-2 layers of D; the kernel of D_cls is size / 2^d_layers
    slope: float = 0.01  # leaky ReLU of D
    lambda_cls: float = 1.0
    lambda_rec: float = 10.0
    lambda_gp: float = 10.0
    batch: int = 16
    lr: float = 1e-4
    beta_1: float = 0.5
    beta_2: float = 0.999
    n_critic: int = 5  # D updates to one G update
    g_steps: int = PAPER_STEPS  # G updates
    sampler: str = "natural"  # or "balanced" in the first attribute: D7
    flip: bool = True
    labels: str = "all"  # "sparse": some labelled, all others without labels; "labelled": those labelled ones only (D6)
    per_value: int = 0  # labelled faces per value of each attribute; 0: as many as the rarer value has. Not used with labels = "all"
    repeat: int = 0  # how many more times the labelled faces stand in the pool

    def __post_init__(self):
        names = attributes_of(self)
        require(len(names) > 0 and len(set(names)) == len(names), "attributes", self.attributes, "different names joined by commas")
        steps = 2 ** max(self.d_layers, 2)  # G halves twice
        require(self.d_layers >= 1 and self.size % steps == 0, "size", self.size, f"a multiple of {steps}")
        require_each(self, "at least 1", "width", "blocks", "batch", "n_critic", "g_steps")
        require_each(self, "at least 0", "lambda_cls", "lambda_rec", "lambda_gp", "per_value", "repeat")
        require_each(self, "in [0, 1)", "slope", "beta_1", "beta_2")
        require_each(self, "positive", "lr")
        pick(dict.fromkeys(("all", "sparse", "labelled")), self.labels, "labels")
        pick(dict.fromkeys(("natural", "balanced")), self.sampler, "sampler")
        require(not (self.labels == "sparse" and self.sampler == "balanced"), "sampler", self.sampler, "natural where labels are hidden")


def attributes_of(cfg: Config) -> tuple[str, ...]:
    """The attributes of the label vector, in order."""
    return listed(cfg.attributes)


def share_of_paper(cfg: Config) -> float:
    """Images shown to G over those of the paper's training."""
    return cfg.g_steps * cfg.batch / (PAPER_STEPS * 16)


PROFILES = {
    "smoke": lambda: Config(size=32, width=2, blocks=1, d_layers=4, batch=4, n_critic=2, g_steps=2),
    "cpu": lambda: Config(size=64, width=32, d_layers=5, g_steps=2_500),
    "gpu": lambda: Config(g_steps=4_000),
    "paper": Config,
}


class Block(nn.Module):
    """x + IN(conv3(ReLU(IN(conv3(x))))): (B, d, H, H) -> the same shape. Convolutions without bias, the first dilated; affine norms."""

    def __init__(self, d: int, dilation: int = 1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(d, d, 3, 1, dilation, dilation, bias=False), nn.InstanceNorm2d(d, affine=True), nn.ReLU(),
            nn.Conv2d(d, d, 3, 1, 1, bias=False), nn.InstanceNorm2d(d, affine=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Generator(nn.Module):
    """(B, 3, H, H), (B, n) -> (B, 3, H, H) in [-1, 1]. Shapes are given for width 64, H = 128.

    All padding is zeros: the label enters as constant planes, instance norm subtracts what they add, and only the zeros beyond the border
    leave a trace of it. With reflected borders G would not see its target. dilations: one for each residual block; StarGAN has none. """

    def __init__(self, labels: int, w: int, dilations: Sequence[int]):
        super().__init__()

        def layer(kind, i, o, k, s, p):
            return [kind(i, o, k, s, p, bias=False), nn.InstanceNorm2d(o, affine=True), nn.ReLU()]

        self.net = nn.Sequential(
            *layer(nn.Conv2d, 3 + labels, w, 7, 1, 3),  #          64 x 128 x 128
            *layer(nn.Conv2d, w, 2 * w, 4, 2, 1),  #              128 x  64 x  64
            *layer(nn.Conv2d, 2 * w, 4 * w, 4, 2, 1),  #          256 x  32 x  32
            *[Block(4 * w, d) for d in dilations],  #             256 x  32 x  32
            *layer(nn.ConvTranspose2d, 4 * w, 2 * w, 4, 2, 1),  # 128 x  64 x  64
            *layer(nn.ConvTranspose2d, 2 * w, w, 4, 2, 1),  #      64 x 128 x 128
            nn.Conv2d(w, 3, 7, 1, 3, bias=False),  #                3 x 128 x 128
            nn.Tanh(),
        )

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.net(torch.cat([x, c[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1))


class Discriminator(nn.Module):
    """(B, 3, H, H) -> critic scores (B, 1, h, h), logits (B, n); h = H / 2^d_layers. No normalisation."""

    def __init__(self, cfg: Config):
        super().__init__()
        channels = [3] + [cfg.width * 2**i for i in range(cfg.d_layers)]  # 64 x 64 x 64, 128 x 32 x 32, ... 2048 x 2 x 2
        layers = [[nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(cfg.slope)] for i, o in zip(channels, channels[1:], strict=False)]
        self.trunk = nn.Sequential(*[m for layer in layers for m in layer])
        self.src = nn.Conv2d(channels[-1], 1, 3, 1, 1, bias=False)
        self.cls = nn.Conv2d(channels[-1], len(attributes_of(cfg)), cfg.size // 2**cfg.d_layers, 1, 0, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.src(h), self.cls(h).flatten(1)


@dataclass
class Nets:
    G: Generator
    D: Discriminator


def build(cfg: Config) -> Nets:
    """The networks of the joint model, with PyTorch's default initialisation, as the official code."""
    return Nets(Generator(len(attributes_of(cfg)), cfg.width, [1] * cfg.blocks), Discriminator(cfg))


def known(c_org: Tensor) -> Tensor:
    """(B, n) bool: which labels are there. A hidden one is negative or NaN."""
    return c_org >= 0  # NaN compares false


def weighted(per_image: Tensor, m: Tensor) -> Tensor:
    """sum_b m_b v_b / max(1, sum_b m_b) of values and weights (B,); with m = 1 the mean."""
    return (m * per_image).sum() / m.sum().clamp_min(1)


def target_labels(c_org: Tensor, rng: torch.Generator | None) -> Tensor:
    """c_trg: a random permutation of the batch's label vectors. (B, n) -> (B, n).

    Of partly labelled batches only the labelled vectors are used, all equally often up to one; in a batch without any each label is drawn
    from {0, 1} alike. """
    m = known(c_org).all(1)
    # random numbers sort the labelled rows to the front, in random order; the rest of the places repeats them
    order = (torch.rand(len(m), device=m.device, generator=rng) + 2.0 * ~m).argsort()
    places = torch.arange(len(m), device=m.device) % m.sum().clamp_min(1)
    bits = (torch.rand(c_org.shape, device=m.device, generator=rng) < 0.5).to(c_org.dtype)
    return torch.where(m.any(), c_org[order[places]], bits)


def classification(logit: Tensor, c: Tensor, m: Tensor) -> Tensor:
    """Eq. (2), Eq. (3): -log D_cls(c | x), summed over the n attributes, mean over the images with weight m (B,)."""
    return weighted(F.binary_cross_entropy_with_logits(logit, c, reduction="none").sum(1), m)


def reconstruction(x: Tensor, x_back: Tensor, m: Tensor) -> Tensor:
    """Eq. (4): ||x - G(G(x, c), c')||_1, mean absolute difference over pixels and colours, mean over the images with weight m (B,)."""
    return weighted((x - x_back).abs().flatten(1).mean(1), m)


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (5) with Eq. (8): -E[D_src(x)] + E[D_src(G(x, c))] + lambda_gp GP + lambda_cls L_cls^r. The classification of real images only."""
    x, there = batch.x, known(batch.y)
    m = there.all(1).to(x.dtype)
    c_org = torch.where(there, batch.y, 0.0)
    c = target_labels(batch.y, batch.rng)
    with torch.no_grad():
        x_fake = nets.G(x, c)
    scores, logits = nets.D(torch.cat([x, x_fake]))  # no normalisation in D: one call equals two
    real, fake = scores.chunk(2)

    adv = fake.mean() - real.mean()
    gp = cfg.lambda_gp * gradient_penalty(lambda t: nets.D(t)[0], interpolate(x, x_fake, batch.rng))
    cls = cfg.lambda_cls * classification(logits[: len(x)], c_org, m)
    terms = {"adv": adv, "gp": gp, "cls": cls, "labelled": m.mean()}
    return adv + gp + cls, {k: v.detach() for k, v in terms.items()}


def g_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (6) with Eq. (8): -E[D_src(G(x, c))] + lambda_cls L_cls^f + lambda_rec L_rec."""
    x, there = batch.x, known(batch.y)
    c_org, m = torch.where(there, batch.y, 0.0), there.all(1).to(x.dtype)
    c = target_labels(batch.y, batch.rng)
    x_fake = nets.G(x, c)
    fake, logit = nets.D(x_fake)

    adv = -fake.mean()
    cls = cfg.lambda_cls * classification(logit, c, torch.ones_like(m))
    rec = cfg.lambda_rec * reconstruction(x, nets.G(x_fake, c_org), m)
    return adv + cls + rec, {"adv": adv.detach(), "cls": cls.detach(), "rec": rec.detach()}


def lr_factor(cfg: Config) -> Callable[[int], float]:
    """cycle (from 0) -> factor on the learning rate: 1 for half of the training, then linear to 0."""
    iterations = cfg.g_steps * cfg.n_critic
    return lambda cycle: min(1.0, (iterations - cycle * cfg.n_critic) / max(iterations // 2, 1))


def stages(cfg: Config) -> list[Stage]:
    """One joint model: per cycle n_critic updates of D on fresh batches, then one of G on the last of them."""
    adam = {"lr": cfg.lr, "betas": (cfg.beta_1, cfg.beta_2), "schedule": lr_factor(cfg)}
    updates = (Update("D", ("D",), d_loss, repeats=cfg.n_critic, **adam), Update("G", ("G",), g_loss, fresh=False, **adam))
    names = attributes_of(cfg)

    def pool(faces, split, seed):
        return sparse_examples(faces, split, names, cfg.per_value, cfg.repeat, seed, mixed=cfg.labels == "sparse")

    examples = None if cfg.labels == "all" else pool
    return [Stage("joint", "joint", names, updates, cfg.g_steps, cfg.batch, cfg.sampler, cfg.flip, examples)]


def changed_labels(c_org: Tensor, attributes: tuple[str, ...], attribute: str, target: Tensor | float) -> Tensor:
    """Labels (B, n) with one attribute set to target (number or (B, 1)); a hair colour that is chosen (target above 1/2) ends the others."""
    c, i = c_org.clone(), attributes.index(attribute)
    target = torch.as_tensor(target, dtype=c.dtype, device=c.device).expand(len(c), 1)[:, 0]
    if attribute in HAIR:
        for other in (k for k, name in enumerate(attributes) if name in HAIR and k != i):
            c[:, other] = torch.where(target > 0.5, 0.0, c[:, other])
    c[:, i] = target
    return c


@torch.no_grad()
def edit(nets: Nets, x: Tensor, c: Tensor) -> Edit:
    """Faces x (B, 3, H, H) in [-1, 1] with the label vectors c (B, n) in [0, 1]. Values between 0 and 1 were never trained."""
    return Edit(nets.G(x, c))


def editor(models: dict[str, Nets], cfg: Config, labels: Callable[[Tensor], Tensor]) -> Callable:
    """(attribute, x, target) -> Edit. labels: x -> (B, n) own labels of the faces in {0, 1}, of which one is changed (D4)."""
    nets, names = models["joint"], attributes_of(cfg)
    return lambda attribute, x, target: edit(nets, x, changed_labels(labels(x).to(x), names, attribute, target))

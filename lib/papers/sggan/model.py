"""SG-GAN: several attributes from few labels, by one generator with an output for every value of every attribute.

J. Zhang, Y. Shu, S. Xu, G. Cao, F. Zhong, M. Liu, X. Qin: Sparsely Grouped Multi-task Generative Adversarial Networks
for Facial Attribute Manipulation, ACM Multimedia 2018 (arXiv 1805.07509). Section 3 (method), section 4 (experiments),
appendix 6.1 (networks). The claim under test: because G never reads the label of its input, a few labelled images are
enough, and all others still train both networks.

"Grouped" images carry labels, "mixed" images do not.

paper            here            shape, range
x                x               (B, 3, h, w), [-1, 1]: input face
n, m             n, M_VALUES     number of attributes; values of each (2)
c_j              c               (B, n), {0, 1, -1}: value of attribute j, -1 where it is unknown
x-tilde_j^i      x_tilde         (B, n, m, 3, h, w), [-1, 1]: G(x), attribute j set to value i
X-tilde_j^i      X               (B, n, m, 3, h, w): output (j, i) of G for the input x-tilde_j^(1-i)
F                F               (B, 64, h, w), at least 0: last feature map of one output's branch
D, D_adv         D(x)[0]         (B, 1, h/64, w/64): critic scores of patches
D, D_cls         D(x)[1]         (B, n, m): logits, a softmax over m for each attribute
t_j^i            gp              gradient penalty between x and x-tilde_j^i
lambda_adv, lambda_rec, lambda   weights of eqs (7) and (8)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import log2

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, pad, softplus

from lib.claims import Deviation
from lib.data import Examples, FaceSet, Split, sparse
from lib.losses import gradient_penalty, interpolate, l1
from lib.training.config import listed, pick, require, require_each
from lib.training.loop import Stage, Update

TITLE = "Sparsely Grouped Multi-task Generative Adversarial Networks for Facial Attribute Manipulation (SG-GAN)"
CITATION = "J. Zhang, Y. Shu, S. Xu, G. Cao, F. Zhong, M. Liu, X. Qin. ACM Multimedia 2018."
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("G", "D")  # what edits need, and the classifier that few labels taught
BETWEEN = "outputs"  # what a target between 0 and 1 does: its outputs are blended
SECONDS = {f"joint, {n}": 0.55 + 0.45 * n for n in range(1, 6)}  # processor seconds of a cycle, n attributes, profile `cpu`, bf16
PAPER_STEPS = 20_000  # G updates: Sec. 3.2, D1
M_VALUES = 2  # m: every attribute of the experiments has two values


@dataclass(frozen=True)
class Group:
    """One attribute c_j with the values 0 and 1, told by CelebA's columns: 1 where `one` holds, 0 where `zero` holds
    (where `one` does not, if it is empty). Images with both, with neither, or with `excluded` have no value."""

    name: str
    one: str
    zero: str = ""
    excluded: str = ""

    def labels(self, faces: FaceSet) -> np.ndarray:
        """(N,) float32 in {0, 1, -1}. Raises DataError for a set without one of the columns."""
        one = faces.column(self.one) == 1
        zero = faces.column(self.zero) == 1 if self.zero else ~one
        none = (one == zero) | (faces.column(self.excluded) == 1 if self.excluded else False)
        return np.where(none, -1, one).astype(np.float32)


GROUPS = {
    g.name: g
    for g in (
        Group("gender", "Male"),
        Group("smile", "Smiling"),
        Group("hair", "Blond_Hair", "Black_Hair", "Brown_Hair"),
        Group("lipstick", "Wearing_Lipstick"),
        Group("pale", "Pale_Skin"),
    )
}

DEVIATIONS = (  # id, what the paper says and where, what we do, why
    Deviation("D1", "'first 10000 iterations ... next 10000' (Sec. 3.2): of G or of D not stated",
              "iterations are updates of G, each after d_per_g updates of D; profile `cpu` makes 3,200 of them",
              "'the generator is updated once after every five'; how many, core-hours decide"),
    Deviation("D2", "lambda_rec = 10 (Sec. 3.2)", "10 on both terms of eq. (5), for every attribute",
              "as printed; the released code has one mean over all outputs, for four attributes an eighth of the weight"),
    Deviation("D3", "Eq. (8): one real term for m fakes, a penalty that l_D = -l_adv would maximise, all of it in eq. (7)",
              "the real term m times; +10 GP in D's loss; G gets only -E[D] of its outputs",
              "as printed, D plus a constant changes the loss without bound, and D would raise its penalty"),
    Deviation("D4", "Table 5 at 128x128; D_cls output 'h/128'",
              "below 128 fewer stride-2 layers, so that the heads still see 2x2 (3x3 where the size is no power of two)",
              "after six layers a 64x64 image is 1x1, which the printed 2x2 kernel does not fit"),
    Deviation("D5", "which images are labelled, and how often 'many times' (Sec. 4.3) is: not stated",
              "the first K images of every value in one seeded walk; they come again 0, 10 or 50 times (ALL, 5 %, 0.5 %)",
              "the repeats of the released code, without its file order and its repeated unlabelled images"),
    Deviation("D6", "hair: black is c = 0, blond c = 1 (Fig. 1); other hair not stated",
              "no label of this attribute; its mask enters the loss",
              "the released code reads the mask but does not use it, so that all other hair trains as black"),
    Deviation("D7", "'an undersampling procedure' (Sec. 3.2), but in SG-GAN(ALL) 'all samples' have labels (Sec. 4.3)",
              "ALL: K = min(n_0, n_1) labelled per value, the rest stays as mixed images",
              "the first describes the method, the second names an experiment; the released code has no under-sampling"),
    Deviation("D8", "Table 4: 'CONV, ReLU, Instance Normal', one convolution per block, no tanh; initialisation not stated",
              "convolution, instance norm with weights, ReLU; two in a block; tanh as in Sec. 3.2; weights N(0, 0.02^2)",
              "the released code"),
    Deviation("D9", "5,000 random test images (Sec. 4.2), so that people are on both sides; which crop not stated",
              "the study's one split, in which nobody is in two parts, and its one crop",
              "a test on people that were trained on measures less; the released code crops the same square"),
    Deviation("D10", "gradient penalty (Sec. 3.2, by reference to WGAN-GP) of a D whose score is a map of 2x2 patches",
              "the gradient of the sum of the patches' scores, whose norm shall be 1",
              "what the released code's framework does; the mean's gradient would be a quarter of it"),
    Deviation("D11", "accuracy by a ResNet-18 (Sec. 4.3); Inception score of a pretrained network (Table 1)",
              "a ResNet-18 and a network of another build, both trained on this study's faces; an edit must convince both",
              "the paper's own networks are not released"),
    Deviation("D12", "MS-SSIM of the top-left 10x10 pixels (Sec. 4.3)",
              "A: five scales with shrunken windows; B: one scale, 7x7 window; C: mean absolute difference",
              "the standard five scales need 161 pixels"),
    Deviation("D13", "combined edits (Fig. 3): not stated", "one after the other, G(G(x)_gender)_smile",
              "G has no output for two values at once"),
    Deviation("D14", "fresh or shared batches, flips: not stated",
              "a fresh batch for each update of D, G on the last of them; random flips",
              "the released code"),
    Deviation("D15", "5,000 and 500 labelled images per value, 'sparse rates' 0.05 and 0.005 (Sec. 4.3)",
              "these numbers in profile `paper`; elsewhere 5 % and 0.5 % of half the training images",
              "5,000 is 5 % of half of CelebA's training images; smaller sets keep the share"),
    Deviation("D16", "8494, 1000, 100, 10 labelled pale faces (Fig. 5)",
              "these numbers in profile `paper`; elsewhere all that there are, two numbers between, and 10",
              "a smaller set has fewer pale faces; a classifier learns from their number, so the lower end stays as printed"),
    Deviation("D17", "width 64 in G and D, 128x128 pixels (Tables 4, 5)",
              "profile `cpu`: width 16 in both, 64x64; all else as printed",
              "core-hours"),
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What decides one training. Profile `paper` is the default."""

    attributes: str = "gender, smile, hair, lipstick"  # Table 1, Fig. 3: trained jointly
    labels: int = 0  # labelled images per value and attribute; 0: as many as the rarer value has (ALL): Sec. 4.3, D7
    repeats: int = 0  # how often the labelled images come again: not stated, D5
    mixed: bool = True  # whether images without labels train as well: Sec. 3.2
    residual: str = "RRIL"  # Sec. 3.2; RIL or none: Sec. 4.5
    decoder: str = "branches"  # Sec. 3.2; "shared": one for all outputs, which differ in the weights of its norm
    size: int = 128  # Sec. 4.2
    width: int = 64  # channels of G's first layer: Table 4
    d_width: int = 64  # channels of D's first layer: Table 5
    blocks: int = 6  # residual blocks: Table 4
    slope: float = 0.2  # not stated: released code
    adversarial: str = "wgan-gp"  # Eq. (8), Sec. 3.2; or "cross-entropy": Eq. (4)
    lambda_adv: float = 1.0  # Eq. (7), Sec. 3.2
    lambda_rec: float = 10.0  # Eq. (7), Sec. 3.2
    lambda_gp: float = 10.0  # Eq. (8), Sec. 3.2
    batch: int = 8  # Sec. 3.2
    lr: float = 1e-4  # Sec. 3.2
    beta_1: float = 0.5  # Sec. 3.2
    beta_2: float = 0.999  # Sec. 3.2
    init_std: float = 0.02  # not stated: D8
    d_per_g: int = 5  # Sec. 3.2
    g_steps: int = PAPER_STEPS  # Sec. 3.2, D1: constant lr for the first half, linear to 0 over the second
    flip: bool = True  # not stated: D14

    def __post_init__(self):
        groups_of(self)
        down = n_down(self.size)
        fits = self.size >= 32 and self.size % 2**down == 0
        require(fits, "size", self.size, "at least 32 and a power of two, or one and a half of one")
        require_each(self, "at least 1", "width", "d_width", "batch", "d_per_g", "g_steps")
        require_each(self, "at least 0", "labels", "repeats", "blocks", "lambda_adv", "lambda_rec", "lambda_gp")
        require_each(self, "positive", "lr", "init_std")
        require_each(self, "in [0, 1)", "slope", "beta_1", "beta_2")
        pick(dict.fromkeys(("RRIL", "RIL", "none")), self.residual, "residual")
        pick(dict.fromkeys(("branches", "shared")), self.decoder, "decoder")
        pick(dict.fromkeys(("wgan-gp", "cross-entropy")), self.adversarial, "adversarial")


def groups_named(attributes: str) -> tuple[Group, ...]:
    """The groups that a text names, in its order. ParameterError for an empty text, an unknown name or one given twice."""
    names = listed(attributes)
    different = bool(names) and len(set(names)) == len(names)
    require(different, "attributes", attributes, f"different names among {', '.join(GROUPS)}")
    return tuple(pick(GROUPS, name, "attributes") for name in names)


def groups_of(cfg: Config) -> tuple[Group, ...]:
    """The n attributes that a Config trains, j = 0 .. n - 1."""
    return groups_named(cfg.attributes)


def arms(cfg: Config, some: int, few: int) -> dict[str, Config]:
    """The models that train cfg's attributes, by the name that tables give them: fewer labels (Fig. 3, Tables 1, 2), the
    ablation with few labels (Fig. 6, Table 3), without mixed images (Sec. 1), with one shared decoder (Sec. 3.2).

    some, few: labelled images per value, 5,000 and 500 in the paper; how often they come again: D5."""
    sparsest = replace(cfg, labels=few, repeats=50)
    return {
        "SG-GAN(ALL)": cfg,
        "SG-GAN(5 %)": replace(cfg, labels=some, repeats=10),
        "SG-GAN(0.5 %)": sparsest,
        "SG-GAN, RIL": replace(sparsest, residual="RIL"),
        "SG-GAN, no residual": replace(sparsest, residual="none"),
        "SG-GAN, no mixed": replace(sparsest, mixed=False, repeats=0),
        "SG-GAN, shared decoder": replace(cfg, decoder="shared"),
    }


def sweep(cfg: Config, budgets: tuple[int, ...]) -> dict[int, Config]:
    """The models of Fig. 5, pale skin alone, by the number of labelled pale faces (0: all of them). Labelled faces come
    again as in `arms`: never where all are, 10 times the largest number beside, 50 times all others."""
    alone, most = replace(cfg, attributes="pale", labels=0, repeats=0), max(budgets)
    return {k: replace(alone, labels=k, repeats=0 if k == 0 else 10 if k == most else 50) for k in budgets}


def share_of_paper(cfg: Config) -> float:
    """Images this configuration shows to G, over those of the paper."""
    return cfg.g_steps * cfg.batch / (PAPER_STEPS * 8)


def printed_settings(cfg: Config) -> dict[str, object]:
    """The settings that the paper prints (rows of results/paper_values.csv) as this configuration has them."""
    return {
        "network input, width": cfg.size,
        "loss weights, lambda_adv": cfg.lambda_adv,
        "loss weights, lambda_rec": cfg.lambda_rec,
        "gradient penalty, lambda": cfg.lambda_gp,
        "Adam, beta1": cfg.beta_1,
        "Adam, beta2": cfg.beta_2,
        "training, batch size": cfg.batch,
        "training, discriminator updates per generator update": cfg.d_per_g,
        "learning rate, initial": cfg.lr,
        "learning rate, constant iterations": cfg.g_steps // 2,
        "learning rate, decay iterations": cfg.g_steps - cfg.g_steps // 2,
    }


PROFILES = {
    "smoke": lambda: Config("gender, smile", size=32, width=2, d_width=2, blocks=1, batch=4, d_per_g=2, g_steps=3),
    "cpu": lambda: Config(size=64, width=16, d_width=16, g_steps=3_200),  # D1, D17
    "gpu": lambda: Config(g_steps=5_000),
    "paper": Config,
}  # fmt: skip


# ----------------------------------------------------------------------------------------------- networks (Tables 4, 5)


def conv(i: int, o: int, k: int, s: int) -> list[nn.Module]:
    """Convolution that keeps (s = 1) or halves (k = 4, s = 2) the size, instance norm with weights, ReLU."""
    return [nn.Conv2d(i, o, k, s, (k - s + 1) // 2), nn.InstanceNorm2d(o, affine=True), nn.ReLU()]


def deconv(i: int, o: int) -> list[nn.Module]:
    """Transposed convolution 4x4 that doubles the size, instance norm with weights, ReLU."""
    return [nn.ConvTranspose2d(i, o, 4, 2, 1), nn.InstanceNorm2d(o, affine=True), nn.ReLU()]


class Block(nn.Module):
    """x + IN(conv3(ReLU(IN(conv3(x))))), no activation after the sum (D8)."""

    def __init__(self, c: int):
        super().__init__()
        self.body = nn.Sequential(*conv(c, c, 3, 1), *conv(c, c, 3, 1)[:2])

    def forward(self, x):
        return x + self.body(x)


class Branch(nn.Module):
    """The layers of Table 4 that one output (j, i) has to itself. outputs: how many share this branch; what tells them
    apart are the weights of the norm, which each has for itself (planes of labels would not do: the norm takes
    constants out)."""

    def __init__(self, w: int, residual: str, outputs: int = 1):
        super().__init__()
        self.residual = residual
        self.dec2 = nn.ConvTranspose2d(2 * w, w, 4, 2, 1)  #                       64 x 128 x 128
        self.norms = nn.ModuleList(nn.InstanceNorm2d(w, affine=True) for _ in range(outputs))
        self.out = nn.Conv2d(w + (3 if residual == "RRIL" else 0), 3, 7, 1, 3)  #   3 x 128 x 128

    def forward(self, h: Tensor, x: Tensor, k: int) -> Tensor:
        """h (B, 2w, h/2, w/2): what the shared layers made of x; k: number of the output. Returns (B, 3, h, w)."""
        F = self.norms[k % len(self.norms)](self.dec2(h)).relu()
        if self.residual == "RRIL":  # refined residual image learning: Concat(F, x), one more convolution, tanh
            return self.out(torch.cat([F, x], dim=1)).tanh()
        if self.residual == "RIL":  # residual image learning: the sum is the output, nothing after it
            return x + self.out(F).tanh()
        return self.out(F).tanh()


class Generator(nn.Module):
    """Table 4: (B, 3, h, w) -> (B, n, m, 3, h, w), all values of all attributes at once. No label of x enters.
    Shapes are given for w = 64, h = 128."""

    def __init__(self, cfg: Config):
        super().__init__()
        w, self.n = cfg.width, len(groups_of(cfg))
        self.shared = nn.Sequential(
            *conv(3, w, 7, 1),  #                              64 x 128 x 128
            *conv(w, 2 * w, 4, 2),  #                         128 x  64 x  64
            *conv(2 * w, 4 * w, 4, 2),  #                     256 x  32 x  32
            *[Block(4 * w) for _ in range(cfg.blocks)],  #    256 x  32 x  32
            *deconv(4 * w, 2 * w),  #                         128 x  64 x  64
        )
        outputs = self.n * M_VALUES
        own, told = (outputs, 1) if cfg.decoder == "branches" else (1, outputs)
        self.branches = nn.ModuleList(Branch(w, cfg.residual, told) for _ in range(own))

    def output(self, k: int, h: Tensor, x: Tensor) -> Tensor:
        """Output number k = j m + i from h = shared(x): (B, 3, h, w)."""
        return self.branches[k % len(self.branches)](h, x, k)

    def forward(self, x: Tensor) -> Tensor:
        h = self.shared(x)
        outputs = [self.output(k, h, x) for k in range(self.n * M_VALUES)]
        return torch.stack(outputs, dim=1).unflatten(1, (self.n, M_VALUES))

    def back(self, x_tilde: Tensor) -> Tensor:
        """X-tilde (B, n, m, 3, h, w): output (j, i) for the input x-tilde_j^(1-i), all that eq. (5) needs."""
        other = x_tilde.flip(2).flatten(1, 2)  # (B, n m, 3, h, w), at place (j, i) the output of the other value
        h = self.shared(other.flatten(0, 1)).unflatten(0, other.shape[:2])
        outputs = [self.output(k, *parts) for k, parts in enumerate(zip(h.unbind(1), other.unbind(1), strict=True))]
        return torch.stack(outputs, dim=1).unflatten(1, (self.n, M_VALUES))


class Down(nn.Module):
    """Convolution 5x5, stride 2, 'same' as the printed padding means it for an even size: one row before, two rows
    after. LeakyReLU."""

    def __init__(self, i: int, o: int, slope: float):
        super().__init__()
        self.conv, self.act = nn.Conv2d(i, o, 5, 2), nn.LeakyReLU(slope)

    def forward(self, x):
        return self.act(self.conv(pad(x, (1, 2, 1, 2))))


def n_down(size: int) -> int:
    """Stride-2 layers of D: 6 at 128 as printed, 5 at 64, 4 at 32 (D4)."""
    return max(1, int(log2(size)) - 1)


class Discriminator(nn.Module):
    """Table 5: (B, 3, h, w) -> critic scores (B, 1, h/64, w/64), logits (B, n, m). No normalisation.
    Shapes are given for w = 64, h = 128."""

    def __init__(self, cfg: Config):
        super().__init__()
        down = n_down(cfg.size)
        # 64 x 64 x 64, 128 x 32 x 32, 256 x 16 x 16, 512 x 8 x 8, 512 x 4 x 4, 1024 x 2 x 2
        c = [3] + [cfg.d_width * k for k in (1, 2, 4, 8, 8, 8, 8)[: down - 1]] + [cfg.d_width * 16]
        self.trunk = nn.Sequential(*[Down(i, o, cfg.slope) for i, o in zip(c, c[1:], strict=False)])
        self.adv = nn.Conv2d(c[-1], 1, 3, 1, 1)  # 1 x 2 x 2
        self.cls = nn.ModuleList(nn.Conv2d(c[-1], M_VALUES, cfg.size // 2**down) for _ in groups_of(cfg))  # 2 x 1 x 1

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.adv(h), torch.stack([cls(h).flatten(1) for cls in self.cls], dim=1)


@dataclass
class Nets:
    G: Generator
    D: Discriminator


def build(cfg: Config) -> Nets:
    """G and D, weights ~ N(0, init_std^2), biases 0, scales of the instance norms ~ N(1, 0.02^2) (D8)."""
    nets = Nets(Generator(cfg), Discriminator(cfg))
    for module in (*nets.G.modules(), *nets.D.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, cfg.init_std)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.InstanceNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return nets


# ---------------------------------------------------------------------------- losses (Sec. 3.2), sums over attributes j


def d_cls(logits: Tensor, c: Tensor) -> Tensor:
    """Eq. (2): E[-log D(c_j | x)], the mean over the labelled images of the batch (0 where there is none), summed over j.
    logits (B, n, m), c (B, n)."""
    M = (c >= 0).to(logits.dtype)
    ce = cross_entropy(logits.transpose(1, 2), c.clamp_min(0).long(), reduction="none")  # (B, n)
    return ((M * ce).sum(0) / M.sum(0).clamp_min(1)).sum()


def g_cls(logits: Tensor) -> Tensor:
    """Eq. (3): sum over j and i of E[-log D(i | x-tilde_j^i)].

    logits (B, n, m, n, m): of every output by every head, of which head j judges outputs (j, i)."""
    own = torch.stack([logits[:, j, :, j] for j in range(logits.shape[1])], dim=1)  # (B, n, m outputs, m classes)
    return -log_softmax(own, dim=-1).diagonal(dim1=-2, dim2=-1).mean(0).sum()


def vanilla(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. (1) on logits, its two parts: E[log D(x)] and E[log(1 - D(G(z)))], means over batch and patches."""
    return -softplus(-real).mean(), -softplus(fake).mean()


def adv_cross_entropy(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. (4), its two parts, on logits, summed over j: n E[log D(x)] and sum over j, i of E[log(1 - D(x-tilde_j^i))];
    D maximises both, G minimises the second. real (B, 1, k, k), fake (B, n, m, 1, k, k): means over batch and patches."""
    n, m = fake.shape[1:3]
    of_real, of_fake = vanilla(real, fake)
    return n * of_real, n * m * of_fake


def rec(x_tilde: Tensor, X: Tensor) -> Tensor:
    """Eq. (5): sum over j of ||G(G(x)^0)^1 - G(x)^1||_1 + ||G(G(x)^1)^0 - G(x)^0||_1, means over batch, channels and
    pixels. Both (B, n, m, 3, h, w). No term compares an output with x: a G with constant outputs reaches 0, too."""
    return x_tilde.shape[1] * M_VALUES * l1(X, x_tilde)


def adv(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. (8) without its penalty, repaired (D3), its two parts summed over j: n m E[D(x)], -sum_j,i E[D(x-tilde_j^i)].
    real (B, 1, k, k), fake (B, n, m, 1, k, k): means over batch and patches; D(x) counts once for every output."""
    n, m = fake.shape[1:3]
    return n * m * real.mean(), -n * m * fake.mean()


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (6): l_d_cls - l_adv for grouped images, -l_adv for mixed ones, and +lambda GP per output of Eq. (8) (D3)."""
    x, c = batch.x, batch.y
    with torch.no_grad():
        x_tilde = nets.G(x)
    fakes = x_tilde.flatten(0, 2)
    scores, logits = nets.D(torch.cat([x, fakes]))  # no normalisation in D: one call equals two
    real, fake = scores[: len(x)], scores[len(x) :].unflatten(0, x_tilde.shape[:3])

    cls = d_cls(logits[: len(x)], c)  # real images only
    if cfg.adversarial == "wgan-gp":
        l_adv = sum(adv(real, fake))
        outputs = len(fakes) // len(x)
        x_hat = interpolate(x.repeat_interleave(outputs, 0), fakes, batch.rng)
        # the sum over outputs of means over the batch
        gp = cfg.lambda_gp * outputs * gradient_penalty(lambda t: nets.D(t)[0], x_hat)
    else:
        l_adv, gp = sum(adv_cross_entropy(real, fake)), real.new_zeros(())
    with torch.no_grad():
        known = c >= 0
        right = ((logits[: len(x)].argmax(-1) == c) & known).sum() / known.sum().clamp_min(1)
        about = {"gap": real.mean() - fake.mean(), "labelled_share": known.any(1).float().mean(), "accuracy": right}
    return cls - l_adv + gp, {"adv": -l_adv.detach(), "gp": gp.detach(), "cls": cls.detach()} | about


def g_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (7): l_g_cls + lambda_adv l_adv + lambda_rec l_rec; of l_adv only the outputs' part depends on G (D3).

    Both sides of the reconstruction carry gradients. batch.y is not read: grouped and mixed images train G alike."""
    x_tilde = nets.G(batch.x)
    scores, logits = nets.D(x_tilde.flatten(0, 2))
    fake, logits = scores.unflatten(0, x_tilde.shape[:3]), logits.unflatten(0, x_tilde.shape[:3])

    cls = g_cls(logits)
    l_adv = cfg.lambda_adv * (adv if cfg.adversarial == "wgan-gp" else adv_cross_entropy)(fake, fake)[1]
    l_rec = cfg.lambda_rec * rec(x_tilde, nets.G.back(x_tilde))
    with torch.no_grad():
        moved = (x_tilde - batch.x[:, None, None]).abs().mean() / 2  # on the [0, 1] scale
    return cls + l_adv + l_rec, {"adv": l_adv.detach(), "cls": cls.detach(), "rec": l_rec.detach(), "moved": moved}


# ----------------------------------------------------------------------------------- grouped and mixed images, training


def grouped(faces: FaceSet, split: Split, seed: int, cfg: Config) -> np.ndarray:
    """(len(split.train), n) float32 in {0, 1, -1}: the labels that training sees (D5, D7), for baselines the same ones.

    Raises DataError where a value has fewer than cfg.labels training images, or none."""
    labels = {g.name: g.labels(faces) for g in groups_of(cfg)}
    return sparse.kept_labels(faces, split, labels, cfg.labels, seed)


def pool(faces: FaceSet, split: Split, seed: int, cfg: Config) -> Examples:
    """The pool that batches are drawn from: every training image once (only labelled ones if not cfg.mixed), and the
    images with at least one label cfg.repeats times more. Hidden labels are -1 and cannot be reached (D5)."""
    return sparse.pool(split, grouped(faces, split, seed, cfg), cfg.repeats, cfg.mixed)


def pool_facts(faces: FaceSet, split: Split, seed: int, cfg: Config) -> dict[str, float]:
    """What the pool holds: labels per value of each attribute, images with a label, entries, share of labelled ones."""
    c, drawn = grouped(faces, split, seed, cfg), pool(faces, split, seed, cfg)
    out = {f"{g.name}, per value": int((c[:, j] == 1).sum()) for j, g in enumerate(groups_of(cfg))}
    share = float((drawn.labels >= 0).any(1).mean())
    return out | {"labelled images": int((c >= 0).any(1).sum()), "pool": len(drawn.index), "share labelled": share}


def rate(t: int, steps: int) -> float:
    """Factor on the learning rate at iteration t of `steps`: 1 for the first half, then linearly to 0 (Sec. 3.2)."""
    return min(1.0, (steps - t) / (steps / 2))


def stages(cfg: Config) -> list[Stage]:
    """One joint model: per cycle d_per_g updates of D, each on a fresh batch, then one of G on the last one (D14)."""
    adam = {"lr": cfg.lr, "betas": (cfg.beta_1, cfg.beta_2), "schedule": lambda t: rate(t, cfg.g_steps)}
    updates = (Update("D", ("D",), d_loss, repeats=cfg.d_per_g, **adam), Update("G", ("G",), g_loss, fresh=False, **adam))
    columns = tuple(g.one for g in groups_of(cfg))
    drawn = partial(pool, cfg=cfg)
    return [Stage(f"joint, {len(columns)}", "joint", columns, updates, cfg.g_steps, cfg.batch, flip=cfg.flip, examples=drawn)]


# -------------------------------------------------------------------------------------------------------------- editing


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, h, w), [-1, 1] (RIL's sum is clipped). mask: None, SG-GAN has none."""

    image: Tensor
    mask: None = None


@torch.no_grad()
def edit(nets: Nets, x: Tensor, target: Tensor | float, j: int = 0) -> Edit:
    """Edit faces to a value of attribute number j. x: (B, 3, h, w), [-1, 1]; target: number or (B, 1) in [0, 1].

    G has one output per value and no strength: between 0 and 1 the two are blended pixel by pixel, for display."""
    c = torch.as_tensor(target, dtype=x.dtype, device=x.device).expand(len(x), 1)[..., None, None]
    h, zero = nets.G.shared(x), j * M_VALUES
    y = (1 - c) * nets.G.output(zero, h, x) + c * nets.G.output(zero + 1, h, x)
    return Edit(y.clamp(-1, 1))


def edits(cfg: Config) -> dict[str, str]:
    """What a model of this Config edits: CelebA's attribute -> its group's name, which `editor` takes."""
    return {g.one: g.name for g in groups_of(cfg)}


def editor(models: dict[str, Nets], cfg: Config) -> Callable:
    """One function for all attributes of a trained model: (attribute's name, x, target) -> Edit. A tuple of names with
    a tuple of targets is edited one after the other (D13)."""
    number = {g.name: j for j, g in enumerate(groups_of(cfg))}

    def apply(attribute, x: Tensor, target) -> Edit:
        if isinstance(attribute, str):
            return edit(models["joint"], x, target, pick(number, attribute, "attribute"))
        for name, value in zip(attribute, target, strict=True):
            x = apply(name, x, value).image
        return Edit(x)

    return apply


@torch.no_grad()
def d_accuracy(nets: Nets, x: Tensor, c: Tensor) -> np.ndarray:
    """D's own classifier on real faces: (B, n) 1 where it is right, 0 where it is wrong, NaN where c (B, n) is -1."""
    classes = torch.cat([nets.D(part)[1].argmax(-1) for part in x.split(128)])
    return torch.where(c >= 0, (classes == c).double(), torch.nan).cpu().numpy()

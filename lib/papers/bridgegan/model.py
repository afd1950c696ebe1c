"""BridgeGAN: one generator for label-based and reference-based editing of several attributes.

Q. Huang, Z. Zheng, X. Hu, L. Sun, Q. Li: Bridging the Gap between Label- and Reference-based Synthesis in Multi-attribute Image-to-Image
Translation, ICCV 2021, and its supplement, Sections A to D. The claim under test: one style code, mapped from noise or encoded from a reference
image, drives the same generator; both succeed, also on rare attributes, and what was not asked for stays.

One model edits all attributes, another one animals. The supplement prints networks, loss weights and the equations (10) and (11); the
other terms are D1.

paper               here        shape, range
X_s, X_r            X_s, X_r    (B, 3, H, H), [-1, 1]: source and reference image
Y_s, Y_t            Y_s, Y_t    (B, n), {0, 1}: label of the source; target label, in training that of the reference
att_diff            d           (B, n), {-1, 0, 1}: Y_t - Y_s
R                   R           (B, 16), N(0, I): noise of the label-based path
M, E                M, E        mapping network (R, d) and style encoder (X, d), both to (B, 32, H/2, H/2), >= 0
S                   S           (B, 32, H/2, H/2): the style code that SPADE lays into G, of one of three paths:
                    S_rand      E(X_s, -d) + M(R, d), label-based
                    S_ref       E(X_s, -d) + E(X_r, d), reference-based
                    S_int       a S_rand + (1 - a) S_ref, a ~ U(0, 1): between the two
X_g^l, X_g^r, X_g^i X_l, X_r_g, X_i  (B, 3, H, H), [-1, 1]: G(X_s, S) of the three
att_ak              att_ak      (B, n), {-1, 0, 1}: not 0 exactly on the attributes that were not asked for
D, C                D           critic and classifier: one trunk, two heads: (B, 1) score, (B, n) logits
lambda_*            lambda_*    loss weights

A sign convention runs through all of it: E(X, own label - other label). E(X_s, -d) is what the source has and the target lacks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log2

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.claims import Deviation
from lib.data import FaceSet, Split
from lib.data.lookup import row_finder
from lib.losses import gradient_penalty, interpolate, l1
from lib.training.config import pick, require, require_each, selected
from lib.training.loop import Stage, Update

TITLE = "Bridging the Gap between Label- and Reference-based Synthesis in Multi-attribute Image-to-Image Translation (BridgeGAN)"
CITATION = "Q. Huang, Z. Zheng, X. Hu, L. Sun, Q. Li. ICCV 2021."
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("G", "M", "E")  # the networks that edits and their evaluation need
BETWEEN = "condition"  # what a target between 0 and 1 does: the condition itself takes it
WARM_UP = "reconstruction"  # the stage of the first `warm_up` updates
SECONDS = 1.75  # processor seconds of a cycle of profile cpu, one thread, bf16

ATTRIBUTES = (  # in the order of Tables 1 and 2
    "Young", "Mouth_Slightly_Open", "Smiling", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Receding_Hairline", "Bangs", "Male",
    "No_Beard", "Mustache", "Goatee", "Sideburns",
)  # fmt: skip
DOMAINS = ("cat", "dog", "wild")  # AFHQ, Table 3
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
PAPER_STEPS, PAPER_BATCH = 63_100, 48  # G updates (D4), Sec. C

DEVIATIONS = (
    Deviation("D1", paper="Equations (1) to (9) and (12): in the main paper, which was not at hand; the supplement has (10) and (11)",
              ours="the losses of the authors' released code (Huang, BridgeGAN, 2021)",
              why="they agree with the supplement's tables and weights, and with the abstract's words for every term"),
    Deviation("D2", paper="lambda_cyc = lambda_ak = 100 (Sec. C); the released code has 50/3 for each of the two cycle terms and for L_ak",
              ours="as printed, with L_cyc the mean of its two terms; `weights = code` is the other arm",
              why="the paper is the authority; the numbers contradict each other"),
    Deviation("D3", paper="Adversarial loss, gradient penalty, weight of C's own loss, number of D updates per G update: not in the supplement",
              ours="WGAN-GP, weight 10, mean over three kinds of fakes (`cpu`: for D, over one kind a face, drawn anew); weight 1; 5 D updates a G's",
              why="the only branch that the released code implements; one kind has the same mean and takes two fifths of the time"),
    Deviation("D4", paper="Number of iterations: not stated; three days on one V100 (Sec. C)",
              ours="63,100 G updates in profile `paper`: the released code's 100 epochs; fewer elsewhere, the share is printed",
              why="at 0.7 s an update these take three days"),
    Deviation("D5", paper="R: a noise vector of length 16 (Fig. 4); the released code keeps one an image and moves it up the gradient of L_sty",
              ours="R ~ N(0, I), fresh each time", why="Fig. 4 says no more; the code's step works against L_sty, and its test draws N(0, I)"),
    Deviation("D6", paper="Eq. (11): parts A and B 'from att_diff' (Sec. A)", ours="A = 1 - |d|, B = 1 - 2 Y_s as in the released code",
              why="B points from the source's label to the flipped one, against E's convention elsewhere; the words of Sec. A allow both signs"),
    Deviation("D7", paper="Figs 2 to 5 at 128x128 only; 256x256 for animals (Sec. D)",
              ours="S always at H/2, the heads' kernel always 8x8, G's middle 16x16 (32x32 at 256): M and D have log2(H) - 3 blocks that change the "
              "size, G has log2(H) - 4 down and up blocks, at most three",
              why="the smallest change that fits; with three, a small face would be squeezed through 8x8 or 4x4"),
    Deviation("D8", paper="Fig. 3: LReLU beside the last layer (FC) of D and C", ours="none there: a plain score and plain logits",
              why="a rectified critic or logit would be a misprint; the released code has none"),
    Deviation("D9", paper="Strength at test time: not stated",
              ours="d is multiplied by 1.5 for faces, and 1.0 is reported beside it; not for animals",
              why="the released code's setting, as in STGAN, of which it is a descendant"),
    Deviation("D10", paper="What else changes with one attribute: not stated",
              ours="a hair colour given takes the other three, bangs and receding hairline exclude each other, a domain excludes the others",
              why="the released code's rules; those of animals are our own"),
    Deviation("D11", paper="References of Tables 1 and 2: not stated",
              ours="for each source and attribute one random test face that has the target value, seeded; only the flipped attribute in d",
              why="the released test does so; in training d is the full difference of the two labels"),
    Deviation("D12", paper="Crop and split: not stated; the released code crops 170x170 and splits by file order",
              ours="the study's crop, and CelebA's official partition, which is that split; a fifth of the identities of drawn faces tests",
              why="one crop rule and one split serve all methods"),
    Deviation("D13", paper="Accuracy's classifier and the real set of the FID (Tables 1, 2): not stated",
              ours="STGAN's protocol: test faces with one attribute flipped; distance to all real test faces, and to those with the target beside it",
              why="the printed values of methods that hardly edit fit only a distance to all faces"),
    Deviation("D14", paper="Animals: 'strictly in accordance with the requirements of StarGAN-V2' (Sec. D), no further setting",
              ours="the same model with n = 3 one-hot domains and without L_ak",
              why="two of the three domains always differ; the third is absent on both sides, so there is nothing to keep"),
    Deviation("D15", paper="128x128, the widths of Figs 2 to 5, batch 48",
              ours="in profile `cpu`: half of the size and of the channels, a quarter of those inside SPADE, batch 8; weights and rates as printed",
              why="hours on one core instead of days on a V100"),
    Deviation("D16", paper="References: a random permutation of the batch (the released code), which at batch 48 gives every 48th image itself",
              ours="in smaller batches a permutation without fixed points, but for as many batches as keep that share",
              why="in a plain permutation of 8 every 8th pair would be of one image with itself, from which no edit is learned"),
    Deviation("D17", paper="lambda_rec = lambda_cyc = lambda_ak = 100, lambda_sty = 50 from the first update on (Sec. C)",
              ours="`cpu`: a tenth of the four; before that, in the first 600 updates, lambda_rec as printed and the other three 0. The printed "
              "weights are trained beside it: 'BridgeGAN, printed weights'",
              why="with the printed ones L_rec, taken over random R and X_r, teaches G to ignore the code before C can teach it an edit"),
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What one model's training reads. Profile `paper` is the default."""

    attribute: str = "all"  # of ATTRIBUTES, several joined by commas, or all of the task's: one model edits them all
    task: str = "attributes"  # or "domains": animals, D14
    size: int = 128  # Fig. 2
    width: int = 32  # channels of G's first layer: Fig. 2
    style: int = 32  # channels of S: Figs 4, 5
    hidden: int = 128  # channels between S and SPADE's gamma and beta; not stated: SPADE's own
    width_d: int = 16  # channels of D's first layer: Fig. 3
    noise_length: int = 16  # d: Fig. 4
    slope: float = 0.2  # not stated: the released code's default
    weights: str = "supplement"  # or "code": D2
    lambda_gp: float = 10.0  # not stated: D3
    lambda_cls: float = 10.0  # Sec. C: for G, M and E
    lambda_cls_d: float = 1.0  # for D and C; not stated: D3
    lambda_rec: float = 100.0  # Sec. C
    lambda_cyc: float = 100.0  # Sec. C, D2
    lambda_ms: float = 0.005  # Sec. C
    lambda_sty: float = 50.0  # Sec. C
    lambda_ak: float = 100.0  # Sec. C, D2
    batch: int = PAPER_BATCH  # Sec. C
    lr: float = 2e-4  # Sec. C
    beta_1: float = 0.5  # Sec. C
    beta_2: float = 0.999  # Sec. C
    d_per_g: int = 5  # not stated: D3
    d_kinds: int = 3  # kinds of fakes of a face that D sees in an update: all, or 1, drawn for each face (D3)
    g_steps: int = PAPER_STEPS  # G updates; not stated: D4
    warm_up: int = 0  # the first of them, which learn the reconstruction without the bridge: D17

    def __post_init__(self):
        pick(dict.fromkeys(("attributes", "domains")), self.task, "task")
        attributes_of(self)
        require(self.size >= 32 and self.size & (self.size - 1) == 0, "size", self.size, "a power of two, at least 32")
        require_each(self, "at least 1", "width", "hidden", "width_d", "noise_length", "d_per_g", "g_steps")
        require(self.d_kinds in (1, 3), "d_kinds", self.d_kinds, "1 or 3")
        require(0 <= self.warm_up < self.g_steps, "warm_up", self.warm_up, "at least 0 and less than g_steps")
        weights = ("gp", "cls", "cls_d", "rec", "cyc", "ms", "sty", "ak")
        require_each(self, "at least 0", *(f"lambda_{name}" for name in weights))
        require_each(self, "positive", "lr")
        require_each(self, "in [0, 1)", "slope", "beta_1", "beta_2")
        require(self.style >= 2 and self.style % 2 == 0, "style", self.style, "even, at least 2")
        require(self.batch >= 2, "batch", self.batch, "at least 2: references are other images of the batch")
        pick(dict.fromkeys(("supplement", "code")), self.weights, "weights")


def attributes_of(cfg: Config) -> tuple[str, ...]:
    """The labels that a Config's model edits, in the paper's order. Raises ParameterError for others."""
    return selected(cfg.attribute, DOMAINS if cfg.task == "domains" else ATTRIBUTES, "attribute")


def share_of_paper(cfg: Config) -> float:
    """Images this configuration shows to G, over those of PAPER_STEPS updates (D4)."""
    return cfg.g_steps * cfg.batch / (PAPER_STEPS * PAPER_BATCH)


def printed_settings(cfg: Config) -> dict[str, object]:
    """The settings that the paper prints (rows of results/paper_values.csv) as this configuration has them."""
    downs = down_blocks(cfg)
    return {
        "generator G, input width": cfg.size,
        "generator G, down-sampling blocks": downs,
        "generator G, up-sampling blocks": downs,
        "discriminator D and classifier C, shared residual blocks": int(log2(cfg.size)) - 3,
        "mapping network M, up-sampling blocks": int(log2(cfg.size)) - 3,
        "mapping network M, d length of the noise vector": cfg.noise_length,
        "mapping network M, n attributes": len(attributes_of(cfg)),
        "training, batch size": cfg.batch,
        "training, learning rate": cfg.lr,
        "Adam, beta1": cfg.beta_1,
        "Adam, beta2": cfg.beta_2,
        "loss weights, lambda_cls": cfg.lambda_cls,
        "loss weights, lambda_rec": cfg.lambda_rec,
        "loss weights, lambda_cyc": cfg.lambda_cyc,
        "loss weights, lambda_ms": cfg.lambda_ms,
        "loss weights, lambda_sty": cfg.lambda_sty,
        "loss weights, lambda_ak": cfg.lambda_ak,
    }


PROFILES = {
    "smoke": lambda: Config(
        attribute="Mouth_Slightly_Open,Black_Hair,Bangs", size=32, width=2, style=2, hidden=2, width_d=2, batch=4, d_per_g=1, g_steps=3,
        warm_up=1),
    "cpu": lambda: Config(  # D3, D15 to D17
        size=64, width=16, style=16, hidden=32, width_d=8, batch=8, d_kinds=1, g_steps=5_000, warm_up=600, lambda_rec=10.0, lambda_cyc=10.0,
        lambda_sty=5.0, lambda_ak=10.0),
    "gpu": lambda: Config(g_steps=10_000),
    "paper": Config,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ networks (Figs 2 to 5)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm with an affine part. Called with a style code as SPADE is, it ignores it."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-6, affine=True)

    def forward(self, x: Tensor, S: Tensor | None = None) -> Tensor:
        return super().forward(x)


class Spade(nn.Module):
    """SPADE (Park et al. 2019): instance norm without affine part, then x (1 + gamma(S)) + beta(S), pixel by pixel.

    S is resized to x by nearest neighbours; gamma and beta are 3x3 convolutions of ReLU(conv3x3(S)), which has `hidden` channels."""

    def __init__(self, channels: int, style: int, hidden: int):
        super().__init__()
        self.shared = nn.Conv2d(style, hidden, 3, 1, 1)
        self.gamma, self.beta = nn.Conv2d(hidden, channels, 3, 1, 1), nn.Conv2d(hidden, channels, 3, 1, 1)

    def forward(self, x: Tensor, S: Tensor) -> Tensor:
        if x.shape[2] == 2 * S.shape[2]:
            h = double_and_convolve(self.shared, S)
        else:
            h = self.shared(F.interpolate(S, size=x.shape[2:], mode="nearest"))
        weights, biases = zip(*((conv.weight, conv.bias) for conv in (self.gamma, self.beta)), strict=True)
        gamma, beta = F.conv2d(F.relu(h), torch.cat(weights), torch.cat(biases), padding=1).chunk(2, dim=1)  # both at once: faster
        return F.instance_norm(x, eps=1e-6) * (1 + gamma) + beta


class ResBlk(nn.Module):
    """Norm, activation, [twice the size], conv3x3, norm, activation, conv3x3, [half the size], plus a shortcut: the input itself, or a 1x1
    convolution of it (after enlarging, before shrinking). The sum is neither scaled nor activated. (B, i, h, h) -> (B, o, h', h').

    Three steps are computed in another, equal way: the shortcut at the smaller of the two sizes, `double_and_convolve`,
    `convolve_and_halve`."""

    def __init__(self, i: int, o: int, norm: Callable[[int], nn.Module] | None, act: nn.Module, resample: str = ""):
        super().__init__()
        self.norm1, self.norm2 = (norm(i), norm(o)) if norm else (None, None)
        self.conv1, self.conv2 = nn.Conv2d(i, o, 3, 1, 1), nn.Conv2d(o, o, 3, 1, 1)
        self.act, self.up, self.down = act, resample == "up", resample == "down"
        self.shortcut = nn.Conv2d(i, o, 1) if i != o or resample else nn.Identity()

    def forward(self, x: Tensor, S: Tensor | None = None) -> Tensor:
        h = self.act(self.norm1(x, S) if self.norm1 else x)
        h = double_and_convolve(self.conv1, h) if self.up else self.conv1(h)
        h = self.act(self.norm2(h, S) if self.norm2 else h)
        if self.down:
            mean = self.shortcut.weight.expand(-1, -1, 2, 2) / 4  # of 2x2, and the 1x1 convolution, as one
            return convolve_and_halve(self.conv2, h) + F.conv2d(x, mean, self.shortcut.bias, stride=2)
        return self.conv2(h) + (F.interpolate(self.shortcut(x), scale_factor=2, mode="nearest") if self.up else self.shortcut(x))


def shifted(w: Tensor) -> Tensor:
    """(..., 3, 3) kernels -> (..., 4, 4), the sum of each shifted by a pixel down, right, both and not."""
    w = F.pad(w, (1, 1, 1, 1))
    return w[..., 1:, 1:] + w[..., 1:, :-1] + w[..., :-1, 1:] + w[..., :-1, :-1]


def convolve_and_halve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """avg_pool2d(conv(x), 2) for a 3x3 convolution with padding 1, as one 4x4 convolution of stride 2: the same function with fewer than half of
    the multiplications."""
    return F.conv2d(x, shifted(conv.weight) / 4, conv.bias, stride=2, padding=1)


def double_and_convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv(nearest neighbours of x at twice the size), likewise, as one transposed 4x4 convolution of stride 2."""
    return F.conv_transpose2d(x, shifted(conv.weight).flip(2, 3).transpose(0, 1), conv.bias, stride=2, padding=1)


def down_blocks(cfg: Config) -> int:
    """G's down-sampling blocks: 3 (Fig. 2); 1 at 32 pixels, 2 at 64 (D7)."""
    return min(3, int(log2(cfg.size)) - 4)


class Generator(nn.Module):
    """Fig. 2: G(X, S), the image and a style code; it never sees a label. Shapes for w = 32, H = 128.

    S (k B, ...) holds k codes for each of the B images, all first ones first: `encode`, which is before the first SPADE, is computed once an image.
    """

    def __init__(self, cfg: Config):
        super().__init__()
        w, k = cfg.width, down_blocks(cfg)
        c = [w * 2**j for j in range(k + 1)]

        def spade(channels):
            return Spade(channels, cfg.style, cfg.hidden)

        self.first = nn.Conv2d(3, w, 1)  #                                                                        32 x 128 x 128
        self.down = nn.ModuleList([ResBlk(i, o, InstanceNorm, nn.ReLU(), "down") for i, o in zip(c, c[1:], strict=False)])  # 64x64 .. 256x16
        self.middle = nn.ModuleList([ResBlk(c[k], c[k], InstanceNorm, nn.ReLU()), ResBlk(c[k], c[k], spade, nn.ReLU())])  # 256 x 16 x 16
        up = c[::-1]
        self.up = nn.ModuleList([ResBlk(i, o, spade, nn.ReLU(), "up") for i, o in zip(up, up[1:], strict=False)])  # 128x32, 64x64, 32x128
        self.last = nn.Conv2d(w, 3, 1)  #                                                                          3 x 128 x 128

    def encode(self, X: Tensor) -> Tensor:
        """The part without style: (B, 3, 128, 128) -> (B, 256, 16, 16)."""
        h = self.first(X)
        for block in (*self.down, self.middle[0]):
            h = block(h)
        return h

    def decode(self, h: Tensor, S: Tensor) -> Tensor:
        """(B, 256, 16, 16) and (k B, 32, 64, 64) -> (k B, 3, 128, 128)."""
        h = h.repeat(len(S) // len(h), 1, 1, 1)
        for block in (*self.middle[1:], *self.up):
            h = block(h, S)
        return torch.tanh(self.last(F.relu(h)))

    def forward(self, X: Tensor, S: Tensor) -> Tensor:
        return self.decode(self.encode(X), S)


class Mapping(nn.Module):
    """Fig. 4: M(R, d), noise (B, 16) and label difference (B, n) -> (B, 32, H/2, H/2), >= 0."""

    def __init__(self, cfg: Config):
        super().__init__()
        s, ups, norm = cfg.style, int(log2(cfg.size)) - 3, InstanceNorm
        self.fc = nn.Linear(cfg.noise_length + len(attributes_of(cfg)), 32 * s)  #                     1024 = 64 x 4 x 4
        c = [2 * s] + [s] * ups
        self.up = nn.Sequential(*[ResBlk(i, o, norm, nn.ReLU(), "up") for i, o in zip(c, c[1:], strict=False)])  # 32x8x8 .. 32x64x64
        self.last = nn.Sequential(nn.ReLU(), nn.Conv2d(s, s, 1), norm(s), nn.ReLU())  #          32 x 64 x 64

    def forward(self, R: Tensor, d: Tensor) -> Tensor:
        h = self.fc(torch.cat([R, d], dim=1))
        return self.last(self.up(h.reshape(len(h), -1, 4, 4)))


class Encoder(nn.Module):
    """Fig. 5: E(X, d), image and label difference as n constant planes -> (B, 32, H/2, H/2), >= 0.

    A trap: the first layer is a 1x1 convolution and the first block begins with instance norm, so the planes are constant where they are first
    normalised and vanish there. d reaches the code only on the shortcuts, as one shift a channel, and acts at the ReLU behind the last block."""

    def __init__(self, cfg: Config):
        super().__init__()
        s, norm = cfg.style, InstanceNorm
        self.first = nn.Conv2d(3 + len(attributes_of(cfg)), s // 2, 1)  #                               16 x 128 x 128
        blocks = [ResBlk(s // 2, s, norm, nn.ReLU(), "down")] + [ResBlk(s, s, norm, nn.ReLU()) for _ in range(3)]
        self.blocks = nn.Sequential(*blocks)  #                                                          32 x  64 x  64
        self.last = nn.Sequential(nn.ReLU(), nn.Conv2d(s, s, 1), norm(s), nn.ReLU())  #          32 x  64 x  64

    def forward(self, X: Tensor, d: Tensor) -> Tensor:
        planes = d[:, :, None, None].expand(-1, -1, *X.shape[2:])
        return self.last(self.blocks(self.first(torch.cat([X, planes], dim=1))))


class Discriminator(nn.Module):
    """Fig. 3: D and C share the trunk; (B, 3, H, H) -> score (B, 1), logits (B, n). No normalisation. Neither sees a condition."""

    def __init__(self, cfg: Config):
        super().__init__()
        c = [cfg.width_d * 2**j for j in range(int(log2(cfg.size)) - 2)]  #                               16 .. 256

        def head(outputs):
            return nn.Sequential(nn.Conv2d(c[-1], c[-1], 8), nn.LeakyReLU(cfg.slope), nn.Flatten(), nn.Linear(c[-1], outputs))

        blocks = [ResBlk(i, o, None, nn.LeakyReLU(cfg.slope), "down") for i, o in zip(c, c[1:], strict=False)]  # 32x64x64 .. 256x8x8
        self.trunk = nn.Sequential(nn.Conv2d(3, c[0], 1), *blocks, nn.LeakyReLU(cfg.slope))  #               256 x 8 x 8
        self.D, self.C = head(1), head(len(attributes_of(cfg)))

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(X)
        return self.D(h), self.C(h)


@dataclass
class Nets:
    G: Generator
    M: Mapping
    E: Encoder
    D: Discriminator


def build(cfg: Config) -> Nets:
    """The networks, weights Xavier-uniform and biases 0 (the released code's defaults; not stated)."""
    nets = Nets(Generator(cfg), Mapping(cfg), Encoder(cfg), Discriminator(cfg))
    for net in (nets.G, nets.M, nets.E, nets.D):
        for m in net.modules():
            if isinstance(m, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
    return nets


# ------------------------------------------------------------------------------------------------ losses (Secs A, C; D1)


def att_ak(Y_s: Tensor, d: Tensor) -> Tensor:
    """Eq. (11): A * B with A = 1 - |d|, 1 where nothing was asked for, and B = 1 - 2 Y_s, from the source's label to the flipped one (D6).
    (B, n), {-1, 0, 1}."""
    return (1 - d.abs()) * (1 - 2 * Y_s)


def attribute_keeping(E: Encoder, X_s: Tensor, X_l: Tensor, ak: Tensor) -> Tensor:
    """Eq. (10): ||E(X_g^l, att_ak) - E(X_s, att_ak)||_1, mean over the batch and the code. It trains G, M and E."""
    kept, own = E(torch.cat([X_l, X_s]), torch.cat([ak, ak])).chunk(2)
    return l1(kept, own)


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-E[D(X_s)] + E[D(X_g)], the second mean over all three kinds of fakes."""
    return fake.mean() - real.mean()


def classification(logits: Tensor, Y: Tensor) -> Tensor:
    """Sigmoid cross-entropy, mean over batch and attributes: of C(X_s) against Y_s for D, of C(X_g^k) against the full Y_t for G."""
    return F.binary_cross_entropy_with_logits(logits, Y)


def latent_cycle(E: Encoder, X_g: Tensor, d: Tensor, S: Tensor) -> Tensor:
    """||S - E(sg(X_g), d)||_1: the edited image gives back the code it was made with, M(R, d) or E(X_r, d); E(X_s, -d), which the released code adds
    on both sides, cancels. sg stops the gradient at the image, so this term trains E and M, not G. Mean over batch and code."""
    return l1(S, E(X_g.detach(), d))


def mode_seeking(R: Tensor, R_1: Tensor, X_l: Tensor, X_l1: Tensor) -> Tensor:
    """||R_1 - R||_1 / (||sg(X_g^l1) - X_g^l||_1 + 1e-5), both means over the whole batch: smallest where other noise gives another image."""
    return l1(R_1, R) / (l1(X_l1.detach(), X_l) + 1e-5)


def keeping_weights(cfg: Config) -> tuple[float, float]:
    """Weights of each of the two cycle terms, and of L_ak (D2, D14)."""
    cyc, ak = (cfg.lambda_cyc / 2, cfg.lambda_ak) if cfg.weights == "supplement" else (50 / 3, 50 / 3)
    return cyc, 0.0 if cfg.task == "domains" else ak


def pairs(batch) -> tuple[Tensor, ...]:
    """X_s, X_r, Y_s, d: a random permutation of the batch gives every image its reference, and the reference its label. In batches of fewer than 48
    the permutation is one ring through all images, which has no fixed point, but for a share of the batches (D16)."""
    n, draw = len(batch.x), {"generator": batch.rng, "device": batch.x.device}
    pi = torch.randperm(n, **draw)
    ring = torch.empty_like(pi).scatter_(0, pi, pi.roll(1))
    pi = torch.where(torch.rand((), **draw) < n / PAPER_BATCH, pi, ring)
    return batch.x, batch.x[pi], batch.y, batch.y[pi] - batch.y


def normal(batch, cfg: Config) -> Tensor:
    """(B, 16) ~ N(0, I)."""
    return torch.randn(len(batch.x), cfg.noise_length, generator=batch.rng, device=batch.x.device, dtype=batch.x.dtype)


def between(S_rand: Tensor, S_ref: Tensor, rng: torch.Generator) -> Tensor:
    """S_int = a S_rand + (1 - a) S_ref with one a ~ U(0, 1) per sample."""
    a = torch.rand(len(S_rand), 1, 1, 1, generator=rng, device=S_rand.device, dtype=S_rand.dtype)
    return a * S_rand + (1 - a) * S_ref


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What D and C minimise: critic, gradient penalty and classification of the real images. The fakes carry no graph."""
    X_s, X_r, Y_s, d = pairs(batch)
    with torch.no_grad():
        S_s, S_r = nets.E(torch.cat([X_s, X_r]), torch.cat([-d, d])).chunk(2)
        S_rand, S_ref = S_s + nets.M(normal(batch, cfg), d), S_s + S_r
        S = torch.stack([S_rand, S_ref, between(S_rand, S_ref, batch.rng)])
        kind = torch.randint(3, (1, len(d)), generator=batch.rng, device=d.device) if cfg.d_kinds == 1 else torch.arange(3)[:, None]
        S = S[kind, torch.arange(len(d))]
        X_g = nets.G(X_s, S.flatten(0, 1))
    h = nets.D.trunk(torch.cat([X_s, X_g]))
    real, fake = nets.D.D(h).split([len(X_s), len(X_g)])

    adv = critic_loss(real, fake)
    x_hat = interpolate(X_s.repeat(len(S), 1, 1, 1), X_g, batch.rng)
    gp = cfg.lambda_gp * gradient_penalty(lambda x: nets.D.D(nets.D.trunk(x)), x_hat)
    cls = cfg.lambda_cls_d * classification(nets.D.C(h[: len(X_s)]), Y_s)
    return adv + gp + cls, {"adv": adv.detach(), "gp": gp.detach(), "cls": cls.detach(), "gap": -adv.detach()}


def g_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What G, M and E minimise together. `parts` holds every term with its weight, and of the codes E(X_r, d) the mean and the spread: the mean
    difference to their mean over the batch."""
    G, M, E = nets.G, nets.M, nets.E
    X_s, X_r, Y_s, d = pairs(batch)
    Y_t, no = Y_s + d, torch.zeros_like(d)
    R = normal(batch, cfg)
    S_s, S_r, O_s, O_r = E(torch.cat([X_s, X_r, X_s, X_r]), torch.cat([-d, d, no, no])).chunk(4)
    S_l, O_l = M(torch.cat([R, R]), torch.cat([d, no])).chunk(2)
    S_rand, S_ref = S_s + S_l, S_s + S_r
    h = G.encode(X_s)
    S = torch.cat([S_rand, S_ref, between(S_rand, S_ref, batch.rng), O_s + O_l, O_s + O_r])
    X_l, X_r_g, X_i, X_rec_l, X_rec_r = G.decode(h, S).chunk(5)
    with torch.no_grad():
        R_1 = normal(batch, cfg)
        X_l1 = G.decode(h, S_s + M(R_1, d))
    score, logits = nets.D(torch.cat([X_l, X_r_g, X_i]))
    w_cyc, w_ak = keeping_weights(cfg)

    adv = -score.mean()
    cls = cfg.lambda_cls * classification(logits, Y_t.repeat(3, 1))
    rec = cfg.lambda_rec * (l1(X_s, X_rec_l) + l1(X_s, X_rec_r)) / 2
    cyc = w_cyc * (latent_cycle(E, X_l, d, S_l) + latent_cycle(E, X_r_g, d, S_r))
    ak = w_ak * attribute_keeping(E, X_s, X_l, att_ak(Y_s, d)) if w_ak else torch.zeros_like(adv)
    sty = cfg.lambda_sty * l1(S_l, S_r)  # = ||S_rand - S_ref||_1
    ms = cfg.lambda_ms * mode_seeking(R, R_1, X_l, X_l1)
    terms = {"adv": adv, "cls": cls, "rec": rec, "cyc": cyc, "ak": ak, "sty": sty, "ms": ms}
    codes = {"code": S_r.mean(), "spread": l1(S_r, S_r.mean(0, keepdim=True))}
    return sum(terms.values()), {k: v.detach() for k, v in (terms | codes).items()}


def warming_up(cfg: Config) -> Config:
    """What holds in the first `warm_up` updates: the printed weight of L_rec, neither L_cyc nor L_ak nor L_sty (D17)."""
    return replace(cfg, lambda_rec=Config.lambda_rec, lambda_cyc=0.0, lambda_ak=0.0, lambda_sty=0.0, weights="supplement")


def stages(cfg: Config) -> list[Stage]:
    """One model for all attributes: per cycle d_per_g updates of D and C, then one of G, M and E together, each on a fresh batch; with
    another loss in the first `warm_up` cycles (D17)."""
    adam = {"lr": cfg.lr, "betas": (cfg.beta_1, cfg.beta_2)}

    def stage(name: str, loss: Callable, cycles: int) -> Stage:
        updates = (Update("D", ("D",), d_loss, repeats=cfg.d_per_g, **adam), Update("G", ("G", "M", "E"), loss, **adam))
        return Stage(name, cfg.task, attributes_of(cfg), updates, cycles, cfg.batch)

    first = [stage(WARM_UP, lambda nets, batch, cfg: g_loss(nets, batch, warming_up(cfg)), cfg.warm_up)] if cfg.warm_up else []
    return [*first, stage(cfg.task, g_loss, cfg.g_steps - cfg.warm_up)]


# ------------------------------------------------------------------------------------------------ editing


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, H, H), [-1, 1]. mask: this method has none. code: S, (B, 32, H/2, H/2), and of it the source's part, own: E(X_s, -d).
    reference: X_r, None without one."""

    image: Tensor
    mask: None
    code: Tensor
    own: Tensor
    reference: Tensor | None


@torch.no_grad()
def edit(nets: Nets, X_s: Tensor, d: Tensor, R: Tensor | None = None, X_r: Tensor | None = None, a: float = 0.5) -> Edit:
    """Edit X_s by d (B, n), the label difference times the strength: label-based with noise R (B, 16), reference-based with images X_r, or
    with S_int = a S_rand + (1 - a) S_ref where both are given. Raises ValueError if neither is."""
    if R is None and X_r is None:
        raise ValueError("edit: give noise R, reference images X_r, or both.")
    a = (1.0 if X_r is None else 0.0) if R is None or X_r is None else a
    S = own = nets.E(X_s, -d)
    if R is not None:
        S = S + a * nets.M(R, d)
    if X_r is not None:
        S = S + (1 - a) * nets.E(X_r, d)
    return Edit(nets.G(X_s, S), None, S, own, X_r)


def rivals(attribute: str) -> tuple[str, ...]:
    """The labels that become 0 when this one becomes 1 (D10)."""
    for group in (HAIR, DOMAINS, ("Receding_Hairline", "Bangs")):
        if attribute in group:
            return tuple(a for a in group if a != attribute)
    return ()


def difference(Y_s: Tensor, names: tuple[str, ...], chosen: tuple[str, ...], target: Tensor) -> Tensor:
    """d = Y_t - Y_s where Y_t is Y_s with every chosen attribute set to target (B, 1) in [0, 1], and their rivals set to 0 as far as the target
    is 1. Y_s (B, n), columns `names`; rivals that are chosen themselves, or that the model does not know, are left alone."""
    Y_t = Y_s.clone()
    for a in chosen:
        Y_t[:, names.index(a)] = target[:, 0]
    for rival in {r for a in chosen for r in rivals(a)} - set(chosen):
        if rival in names:
            Y_t[:, names.index(rival)] *= 1 - target[:, 0]
    return Y_t - Y_s


MODES = ("label", "reference", "between")


def editor(
    models: dict[str, Nets], faces: FaceSet, split: Split, cfg: Config, mode: str, strength: float | None = None, seed: int = 0,
    opposite: bool = False,
) -> Callable:  # fmt: skip
    """(attribute, x, target) -> Edit, for one attribute or a tuple of them, on test faces whose labels are looked up by their pixels.

    target: a number or (B, 1) in [0, 1]. R and the reference of a face are functions of (seed, its row) and, for references, of the
    attribute: drawn among the test faces that have the target value of all attributes (D11); the argument X_r (B, 3, H, H) is used instead
    of them. a: of S_int. mode: label, reference, or between (S_int). strength: factor of d, 1.5 for faces and 1 for animals unless given
    (D9). opposite: draw references among the faces that have the *other* value, a placebo. Raises ParameterError for another mode,
    DataError for a face that is not in the test split."""
    pick(dict.fromkeys(MODES), mode, "mode")
    strength = (1.0 if cfg.task == "domains" else 1.5) if strength is None else strength
    nets, names, find = models[cfg.task], attributes_of(cfg), row_finder(faces, split.test)
    Y = np.stack([faces.column(a) for a in names], axis=1)

    def reference(row: int, chosen: tuple[str, ...], value: int) -> int:
        columns = [names.index(a) for a in chosen]
        pool = split.test[(Y[split.test][:, columns] == value).all(1)]
        return pool[np.random.default_rng([seed, 1, sum(2**k for k in columns), row]).integers(len(pool))]

    def apply(attribute: str | tuple[str, ...], x: Tensor, target: Tensor | float, X_r: Tensor | None = None, a: float = 0.5) -> Edit:
        chosen = (attribute,) if isinstance(attribute, str) else tuple(attribute)
        rows = find(x)
        target = torch.as_tensor(target, dtype=x.dtype).cpu().expand(len(x), 1)
        d = strength * difference(torch.from_numpy(Y[rows]).to(x.dtype), names, chosen, target).to(x.device)
        R = None
        if mode != "reference":
            R = np.stack([np.random.default_rng([seed, 0, row]).standard_normal(cfg.noise_length) for row in rows])
            R = torch.from_numpy(R).to(x.device, x.dtype)
        if mode != "label" and X_r is None:
            used = np.array([reference(row, chosen, int((t > 0.5) != opposite)) for row, t in zip(rows, target[:, 0], strict=True)])
            X_r = torch.from_numpy(faces.images[used]).to(x.device, x.dtype) / 127.5 - 1
        return edit(nets, x, d, R, X_r, a)

    return apply

"""BridgeGAN: one generator for label-based and reference-based editing of several attributes.

Q. Huang, Z. Zheng, X. Hu, L. Sun, Q. Li: Bridging the Gap between Label- and Reference-based Synthesis in Multi-attribute Image-to-Image
Translation, ICCV 2021, and its supplement, Sections A to D. The claim under test: one style code, mapped from noise or encoded from a reference
image, drives the same generator; both succeed, also on rare attributes, and what was not asked for stays.

One model edits all attributes. The supplement prints networks, loss weights and the equations (10), (11); the other terms are D1.

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

from lib.layers import LeakyReLU
from lib.claims import Claim, Deviation, Test
from lib.data import DataError, FaceSet, Split
from lib.data.lookup import row_finder
from lib.data.splits import RULES
from lib.training.loop import Stage, Update
from lib.losses import gradient_penalty, interpolate, l1
from lib.training.config import pick, require, selected

TITLE = "Bridging the Gap between Label- and Reference-based Synthesis in Multi-attribute Image-to-Image Translation (BridgeGAN)"
CITATION = "Q. Huang, Z. Zheng, X. Hu, L. Sun, Q. Li. ICCV 2021."
ATTRIBUTES = (  # in the order of Tables 1 and 2
    "Young", "Mouth_Slightly_Open", "Smiling", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Receding_Hairline", "Bangs", "Male",
    "No_Beard", "Mustache", "Goatee", "Sideburns",
)  # fmt: skip
DOMAINS = ("cat", "dog", "wild")  # AFHQ, Table 3
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
RARE = ("Gray_Hair", "Receding_Hairline", "Mustache", "Goatee", "Sideburns")  # under 10 % of CelebA's faces
TOGETHER = ("Mouth_Slightly_Open", "Bangs")  # Fig. 12
LABEL, REFERENCE, BETWEEN, STARGAN = "BridgeGAN (label)", "BridgeGAN (reference)", "BridgeGAN (between)", "StarGAN"
PRINTED = {LABEL: "Ours (Label-based)", REFERENCE: "Ours (Reference-based)", STARGAN: "StarGAN"}  # rows of Tables 1 to 3
COMPARED = (  # first minus second, in the claims
    (LABEL, STARGAN), (LABEL, REFERENCE), (REFERENCE, "unedited"), (REFERENCE, LABEL), (BETWEEN, REFERENCE), ("unedited", LABEL),
)  # fmt: skip
PAPER_STEPS = 63_100  # G updates: D4

DEVIATIONS = (
    Deviation(
        "D1", paper="Equations (1) to (9) and (12): in the main paper, which was not at hand; the supplement has (10) and (11)",
        ours="the losses of the authors' released code (Huang, BridgeGAN, 2021)",
        why="they agree with the supplement's tables and weights, and with the abstract's words for every term",
    ),  # fmt: skip
    Deviation(
        "D2", paper="lambda_cyc = lambda_ak = 100 (Sec. C); the released code has 50/3 for each of the two cycle terms and for L_ak",
        ours="as printed, with L_cyc the mean of its two terms; `weights = code` is the other arm",
        why="the paper is the authority; the numbers contradict each other",
    ),  # fmt: skip
    Deviation(
        "D3", paper="Adversarial loss, gradient penalty, weight of C's own loss, number of D updates per G update: not in the supplement",
        ours="WGAN-GP with weight 10, real images X_s, the mean over the three kinds of fakes; weight 1; 5 D updates to one of G",
        why="the only branch that the released code implements",
    ),  # fmt: skip
    Deviation(
        "D4", paper="Number of iterations: not stated; three days on one V100 (Sec. C)",
        ours="63,100 G updates in profile `paper`: the released code's 100 epochs; fewer elsewhere, the share is printed",
        why="at 0.7 s an update these take three days",
    ),  # fmt: skip
    Deviation(
        "D5", paper="R: a noise vector of length 16 (Fig. 4); the released code draws it from a bank and moves it up the gradient of L_sty",
        ours="R ~ N(0, I), fresh each time; `noise = bank` is the code's way, `bank_sign = -1` its descent, the root mean square taken per image",
        why="Fig. 4 says no more; the code's sign works against L_sty, and its test draws N(0, I)",
    ),  # fmt: skip
    Deviation(
        "D6", paper="Eq. (11): parts A and B 'from att_diff' (Sec. A)",
        ours="A = 1 - |d|, B = 1 - 2 Y_s as in the released code; `ak_sign = -1` is the other sign",
        why="B points from the source's label to the flipped one, against E's convention elsewhere; the words of Sec. A allow both",
    ),  # fmt: skip
    Deviation(
        "D7", paper="Figs 2 to 5 at 128x128 only; 256x256 for animals (Sec. D)",
        ours="S always at H/2, so M has log2(H) - 3 up blocks; D has log2(H) - 3 down blocks, so the heads' kernel stays 8x8; G has "
        "log2(H) - 4 down and up blocks, at most three, so its middle stays 16x16 (32x32 at 256)",
        why="the smallest change that fits; with three, a 32 pixel face would be squeezed through 4x4",
    ),  # fmt: skip
    Deviation(
        "D8", paper="Fig. 3: LReLU beside the last layer (FC) of D and C",
        ours="none there: a plain score and plain logits",
        why="a rectified critic or logit would be a misprint; the released code has none",
    ),  # fmt: skip
    Deviation(
        "D9", paper="Strength at test time: not stated",
        ours="d is multiplied by 1.5 for faces, and 1.0 is reported beside it; 1.0 for animals",
        why="the released code's setting, as in STGAN, of which it is a descendant",
    ),  # fmt: skip
    Deviation(
        "D10", paper="What else changes with one attribute: not stated",
        ours="a hair colour given takes the other three, bangs and receding hairline exclude each other, a domain excludes the others",
        why="the released code's rules; those of animals are our own",
    ),  # fmt: skip
    Deviation(
        "D11", paper="References of Tables 1 and 2: not stated",
        ours="for each source and attribute one random test face that has the target value, seeded; only the flipped attribute in d",
        why="the released test does so; in training d is the full difference of the two labels",
    ),  # fmt: skip
    Deviation(
        "D12", paper="Crop and split: not stated; the released code crops 170x170 and splits by file order",
        ours="the study's crop; a random fifth of the identities tests",
        why="one crop rule and one split serve all methods",
    ),  # fmt: skip
    Deviation(
        "D13", paper="Accuracy's classifier and the real set of the FID (Tables 1, 2): not stated",
        ours="STGAN's protocol: every test face with one attribute flipped; distance to all real test faces, and to those with the target beside it",
        why="the printed values of methods that hardly edit fit only a distance to all faces",
    ),  # fmt: skip
    Deviation(
        "D14", paper="Animals: 'strictly in accordance with the requirements of StarGAN-V2' (Sec. D), no further setting",
        ours="the same model with n = 3 one-hot domains and without L_ak",
        why="two of the three domains always differ; the third is absent on both sides, so there is nothing to keep",
    ),  # fmt: skip
    Deviation(
        "D15", paper="128x128, 14 attributes, batch 48, learning rate 0.0002, lambda_cls 10, lambda_cyc and lambda_ak 100, lambda_sty 50 (Sec. C)",
        ours="in profile `cpu`: 32x32, six attributes, 4, 0.002 (falling to 0 over the second half), 6, 2 and 2, 1; weight 10 for C's own loss, 5 "
        "for the penalty; half of the channels of G and of S, all of D's, an eighth between S and SPADE; one D update to one of G; D's means from "
        "one kind of fake an image, drawn at random",
        why="minutes on one core; in few hundred updates the printed weights press the codes together, C learns too late, and many small steps "
        "reconstruct better than fewer large ones",
        effect="one trial each, with the G of D16's first trials: printed weights, eight attributes, rate 0.001: after 100 cycles the mean code had "
        "fallen from 0.67 to 0.31; lambda_cyc and _ak 10, _sty 5, weight 10 for C: to 0.29 after 190 cycles. C's loss on the edits stood above log 2 "
        "both times. Batches of 8, two D updates: mean success and attributes kept, n = 48 a direction, 68 and 80 % after 430 s; of 4, one D update, "
        "lambda_cls 20: 69 and 83 % after 200 s, 68 and 86 % after 400 s of which 200 falling",
    ),  # fmt: skip
    Deviation(
        "D16", paper="G makes the picture anew from its maps (Fig. 2); instance norm in M and E (Figs 4, 5); first weights not stated",
        ours="as printed, from Xavier's weights; in profile `cpu` (g_start = `copy`) 1.5 times the input is added before G's tanh and the last layer "
        "starts ten times smaller; M and E have one norm over all channels, and M starts alike at all places",
        why="a short run cannot learn to bring a face through 16x16: most of its updates went into reconstruction; and instance norm takes from a "
        "code what is the same at every place, so M could speak only in fixed patterns, which G laid on every face as the same bright spots",
        effect="32 pixels, one trial each, label-based edits, mean success and attributes kept, n = 100 to 200 a direction. Printed G, 3,600 "
        "cycles (lambda_cls 30): 59 and 86 %. A G that keeps the picture's size, 12 channels wide, of which six carry the input past its blocks, "
        "strength 2: 68 and 89 % after 1,500 cycles (45), 58 and 88 after 2,400 (50); with one norm over all channels, M alike at all places and "
        "D17's settings, 2,200 cycles (6), whole runs of seeds 0, 1, 2: 74 and 89, 50 and 89, 55 and 82; the same on half of the places that C "
        "sees, drawn at random, 1,000 cycles, seed 1: 48 and 91; with 16 fakes for the critic 46 and 89. The printed G with the input added, 16 "
        "wide, strength 2, 1,000 cycles: 78 and 89 (seed 0), 83 and 91 (1), 67 and 87 (2); 1,500 cycles: 78 and 88 (2), with strength 1.5 76 and "
        "90, with 1.0 67 and 92; codes of 16 instead of 8 channels, 1,000 cycles: 76 and 89 (2), with strength 1.5 74 and 90. Bright and dark "
        "smears remain",
    ),  # fmt: skip
    Deviation(
        "D17", paper="C learns from the batch that critic and G see; R has 16 numbers (Fig. 4)",
        ours="as printed; in profile `cpu` C learns from 32 images an update (batch_c), critic and G from the first 4 of them, and R has 4 numbers",
        why="of 4 images at a time C learns little: it was right on 71 % of the mouths; of 32 on 94 %",
        effect="32 pixels, one trial each with the G that keeps the picture's size and instance norm in M and E: label-based edits, mean success and "
        "attributes kept (seed). C of 4 images, lambda_cls 45, 1,500 cycles (n = 200): 68 and 89 % (0), 39 and 88 (1), 53 and 77 (2). Of 32 (n = "
        "150): 63 and 87 (0), 63 and 85 (1). 4 random numbers besides, 1,400 cycles: 66 and 85 (1), 68 and 87 (2); there G meets C with bright spots "
        "at one place of every face: C sees blond hair in 98 % of them, the judge in 1. lambda_cls 20, penalty 1, 2,800 cycles: 75 and 91 (0), the "
        "spots as before; with 16 images for C, 2,200: 60 and 92 (1); 16 random numbers again, 2,000: 73 and 87 (0); faces moved by up to 4 "
        "pixels, 1,200: 34 and 92 (1)",
    ),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """Profile `paper` is the default. Anything narrower says so in the report."""

    attribute: str = "all"  # of ATTRIBUTES, several joined by commas, or all of the task's: one model edits them all
    task: str = "attributes"  # or "domains": animals, D14
    g_start: str = "random"  # what G starts from; or "copy": its input is added, D16, with its norm in M and E
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
    ak_sign: float = 1.0  # or -1: D6
    noise: str = "normal"  # or "bank": D5
    bank_sign: float = 1.0  # +1 up the gradient as in the code, -1 down: D5
    bank_rows: int = 202_599  # images that a bank has room for: CelebA's
    batch: int = 48  # Sec. C
    batch_c: int | None = None  # images of which C learns, the critic and G see the first `batch`; None: no more than these (D17)
    lr: float = 2e-4  # Sec. C
    beta_1: float = 0.5  # Sec. C
    beta_2: float = 0.999  # Sec. C
    d_per_g: int = 5  # not stated: D3
    kinds: int = 3  # kinds of fakes that D sees of each image, of the three; or 1, drawn at random: D15
    g_steps: int = PAPER_STEPS  # G updates; not stated: D4
    lr_decay: float = 0.0  # share of the updates, the last ones, over which lr falls to 0; Sec. C speaks of none
    strength: float = 1.5  # factor of d at test time; not stated: D9
    # the animals' model
    domains: str = "animals"  # the built-in ones, or a folder in AFHQ's layout
    domain_size: int = 256  # Sec. D
    domain_steps: int = PAPER_STEPS  # not stated: D14
    domain_images: int = 15_000  # built-in animals to render (a folder is read whole)
    # what is not the method: data and evaluation
    baseline_steps: int = 40_000  # G updates of the retrained StarGAN: its paper's
    faces: int = 200_000  # synthetic faces to render (a folder of faces is read whole)
    split: str = "random"  # D12; or "most_images"
    test_images: int = 2_000  # test faces per attribute and direction, at most
    judge_width: int = 64  # channels of the judges' first layer
    judge_steps: int = 20_000  # their SGD steps
    scratch: bool = False  # a run whose numbers mean nothing

    def __post_init__(self):
        pick(dict.fromkeys(("attributes", "domains")), self.task, "task")
        attributes_of(self)
        for name in ("size", "domain_size"):
            value = getattr(self, name)
            require(value >= 32 and value & (value - 1) == 0, name, value, "a power of two, at least 32")
        counts = ("width", "hidden", "width_d", "noise_length", "bank_rows", "d_per_g", "g_steps", "domain_steps", "domain_images", "baseline_steps")
        for name in (*counts, "faces", "test_images", "judge_width", "judge_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.style >= 2 and self.style % 2 == 0, "style", self.style, "even, at least 2")
        require(self.batch >= 2, "batch", self.batch, "at least 2: references are other images of the batch")
        require(self.batch_c is None or self.batch_c >= self.batch, "batch_c", self.batch_c, f"at least batch = {self.batch}")
        for name in ("lambda_gp", "lambda_cls", "lambda_cls_d", "lambda_rec", "lambda_cyc", "lambda_ms", "lambda_sty", "lambda_ak"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in ("lr", "strength"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("slope", "beta_1", "beta_2", "lr_decay"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("ak_sign", "bank_sign"):
            require(abs(getattr(self, name)) == 1, name, getattr(self, name), "1 or -1")
        require(self.kinds in (1, 3), "kinds", self.kinds, "1 or 3")
        pick(dict.fromkeys(("supplement", "code")), self.weights, "weights")
        pick(dict.fromkeys(("normal", "bank")), self.noise, "noise")
        pick(dict.fromkeys(("random", "copy")), self.g_start, "g_start")
        pick(dict.fromkeys(RULES), self.split, "split")


def attributes_of(cfg: Config) -> tuple[str, ...]:
    """The labels that a Config's model edits, in the paper's order. Raises ParameterError for others."""
    return selected(cfg.attribute, DOMAINS if cfg.task == "domains" else ATTRIBUTES, "attribute")


def of_domains(cfg: Config) -> Config:
    """The configuration of the animals' model that belongs to a configuration for faces (D14)."""
    return replace(cfg, task="domains", attribute="all", size=cfg.domain_size, g_steps=cfg.domain_steps, strength=1.0)


def of_stargan(cfg: Config) -> dict[str, object]:
    """The fields of StarGAN's configuration that make it comparable with this one."""
    own = {"attributes": ",".join(attributes_of(cfg)), "size": cfg.size, "d_layers": int(log2(cfg.size)) - 1, "g_steps": cfg.baseline_steps}
    return own | {"sampler": "natural", "scratch": cfg.scratch}


def together_of(cfg: Config) -> tuple[str, str]:
    """The two attributes to change at once: Fig. 12's, or the first two where the model does not edit those. A model of one repeats it."""
    names = attributes_of(cfg)
    return TOGETHER if set(TOGETHER) <= set(names) else (names[0], names[min(1, len(names) - 1)])


def share_of_paper(cfg: Config) -> float:
    """Images this configuration shows to G, over those of PAPER_STEPS updates (D4)."""
    return cfg.g_steps * cfg.batch / (PAPER_STEPS * 48)


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


def paper() -> Config:
    """The paper's settings."""
    return Config()


def gpu() -> Config:
    """64x64 and the paper's widths, all attributes, a few per cent of its updates."""
    return Config(
        size=64, batch=32, g_steps=6_000, domain_size=64, domain_steps=2_500, domain_images=6_000, baseline_steps=4_000, faces=60_000,
        test_images=1_000, judge_width=32, judge_steps=6_000,
    )  # fmt: skip


def cpu() -> Config:
    """Two cores, minutes: small faces, six attributes, narrow networks, few updates (D15 to D17)."""
    return Config(
        attribute="Mouth_Slightly_Open,Black_Hair,Blond_Hair,Gray_Hair,Bangs,No_Beard", size=32, width=16, g_start="copy", style=16, hidden=16,
        noise_length=4, lambda_gp=5.0, lambda_cls=6.0, lambda_cls_d=10.0, lambda_cyc=2.0, lambda_sty=1.0, lambda_ak=2.0, batch=4, batch_c=32,
        lr=2e-3, lr_decay=0.5, d_per_g=1, kinds=1, g_steps=1_400, domain_size=32, domain_steps=120, domain_images=1_500,
        baseline_steps=100, faces=8_000, test_images=200, judge_width=12, judge_steps=700,
    )  # fmt: skip


def smoke() -> Config:
    """Seconds; proves the path. Its numbers mean nothing."""
    return Config(
        attribute="Mouth_Slightly_Open,Black_Hair,Bangs", size=32, width=2, style=2, hidden=2, width_d=2, batch=4, d_per_g=1, g_steps=3,
        domain_size=32, domain_steps=2, domain_images=90, baseline_steps=2, faces=600, test_images=8, judge_width=2, judge_steps=4, scratch=True,
    )  # fmt: skip


PROFILES = {"smoke": smoke, "cpu": cpu, "gpu": gpu, "paper": paper}


# ------------------------------------------------------------------------------------------------ networks (Figs 2 to 5)


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm with an affine part. Called with a style code as SPADE is, it ignores it."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-6, affine=True)

    def forward(self, x: Tensor, S: Tensor | None = None) -> Tensor:
        return super().forward(x)


class JointNorm(nn.GroupNorm):
    """One norm over all channels and places of an image, with an affine part: unlike instance norm it keeps what is the same at every place (D16)."""

    def __init__(self, channels: int):
        super().__init__(1, channels, eps=1e-6)

    def forward(self, x: Tensor, S: Tensor | None = None) -> Tensor:
        return super().forward(x)


class Spade(nn.Module):
    """SPADE (Park et al. 2019): instance norm without affine part, then x (1 + gamma(S)) + beta(S), pixel by pixel.

    S is resized to x by nearest neighbours; gamma and beta are 3x3 convolutions of ReLU(conv3x3(S)), which has `hidden` channels.
    """

    def __init__(self, channels: int, style: int, hidden: int):
        super().__init__()
        self.shared = nn.Conv2d(style, hidden, 3, 1, 1)
        self.gamma, self.beta = nn.Conv2d(hidden, channels, 3, 1, 1), nn.Conv2d(hidden, channels, 3, 1, 1)

    def forward(self, x: Tensor, S: Tensor) -> Tensor:
        h = F.relu(self.shared(F.interpolate(S, size=x.shape[2:], mode="nearest")))
        weights, biases = zip(*((conv.weight, conv.bias) for conv in (self.gamma, self.beta)), strict=True)
        gamma, beta = F.conv2d(h, torch.cat(weights), torch.cat(biases), padding=1).chunk(2, dim=1)  # both at once: faster
        return F.instance_norm(x, eps=1e-6) * (1 + gamma) + beta


class ResBlk(nn.Module):
    """Norm, activation, [twice the size], conv3x3, norm, activation, conv3x3, [half the size], plus a shortcut: the input itself, or a 1x1
    convolution of it (after enlarging, before shrinking). The sum is neither scaled nor activated. (B, i, h, h) -> (B, o, h', h').

    Two steps are computed in another, equal way: a 1x1 convolution at the smaller of the two sizes, and `convolve_and_halve`.
    """

    def __init__(self, i: int, o: int, norm: Callable[[int], nn.Module] | None, act: nn.Module, resample: str = ""):
        super().__init__()
        self.norm1, self.norm2 = (norm(i), norm(o)) if norm else (None, None)
        self.conv1, self.conv2 = nn.Conv2d(i, o, 3, 1, 1), nn.Conv2d(o, o, 3, 1, 1)
        self.act, self.up, self.down = act, resample == "up", resample == "down"
        self.shortcut = nn.Conv2d(i, o, 1) if i != o or resample else nn.Identity()

    def forward(self, x: Tensor, S: Tensor | None = None) -> Tensor:
        h = self.act(self.norm1(x, S) if self.norm1 else x)
        h = self.conv1(larger(h) if self.up else h)
        h = self.act(self.norm2(h, S) if self.norm2 else h)
        if self.down:
            return convolve_and_halve(self.conv2, h) + self.shortcut(smaller(x))
        return self.conv2(h) + (larger(self.shortcut(x)) if self.up else self.shortcut(x))


def larger(x: Tensor) -> Tensor:
    """Twice the size by nearest neighbours."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def smaller(x: Tensor) -> Tensor:
    """Half the size by the mean of 2x2. The second derivative of avg_pool2d is a tensor of zeros, which a gradient penalty would carry through D."""
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def convolve_and_halve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """avg_pool2d(conv(x), 2) for a 3x3 convolution with padding 1, as one 4x4 convolution of stride 2 whose kernel is the mean of the four
    shifted 3x3 kernels: the same function with fewer than half of the multiplications."""
    w = F.pad(conv.weight, (1, 1, 1, 1))
    kernel = (w[..., 1:, 1:] + w[..., 1:, :-1] + w[..., :-1, 1:] + w[..., :-1, :-1]) / 4
    return F.conv2d(x, kernel, conv.bias, stride=2, padding=1)


def down_blocks(cfg: Config) -> int:
    """G's down-sampling blocks: 3 (Fig. 2); 1 at 32 pixels, 2 at 64 (D7)."""
    return min(3, int(log2(cfg.size)) - 4)


class Generator(nn.Module):
    """Fig. 2: G(X, S), the image and a style code; it never sees a label. Shapes for w = 32, H = 128.

    S (k B, ...) holds k codes for each of the B images, all first ones first: what comes before the first SPADE is computed once an image.
    Where it starts as a copy, X itself is added before the tanh (D16).
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
        self.carried = 1.5 if cfg.g_start == "copy" else 0.0  # tanh flattens what is bright or dark: 1.5 is nearest to a copy

    def forward(self, X: Tensor, S: Tensor) -> Tensor:
        h = self.first(X)
        for block in (*self.down, self.middle[0]):
            h = block(h)
        k = len(S) // len(X)
        h = h.repeat(k, 1, 1, 1)
        for block in (*self.middle[1:], *self.up):
            h = block(h, S)
        y = self.last(F.relu(h))
        return torch.tanh(y + self.carried * X.repeat(k, 1, 1, 1) if self.carried else y)


def norm_of_codes(cfg: Config) -> type[nn.Module]:
    """The norm in M and E: instance norm (Figs 4, 5), or one over all channels where G starts as a copy (D16)."""
    return JointNorm if cfg.g_start == "copy" else InstanceNorm


class Mapping(nn.Module):
    """Fig. 4: M(R, d), noise (B, 16) and label difference (B, n) -> (B, 32, H/2, H/2), >= 0."""

    def __init__(self, cfg: Config):
        super().__init__()
        s, ups, norm = cfg.style, int(log2(cfg.size)) - 3, norm_of_codes(cfg)
        self.fc = nn.Linear(cfg.noise_length + len(attributes_of(cfg)), 32 * s)  #                     1024 = 64 x 4 x 4
        c = [2 * s] + [s] * ups
        self.up = nn.Sequential(*[ResBlk(i, o, norm, nn.ReLU(), "up") for i, o in zip(c, c[1:], strict=False)])  # 32x8x8 .. 32x64x64
        self.last = nn.Sequential(nn.ReLU(), nn.Conv2d(s, s, 1), norm(s), nn.ReLU())  #          32 x 64 x 64

    @torch.no_grad()
    def start_alike(self) -> None:
        """Give every place of the 4x4 map the weights of the first, in place (D16)."""
        places = self.fc.weight.view(-1, 16, self.fc.in_features)
        places.copy_(places[:, :1].clone().expand_as(places))

    def forward(self, R: Tensor, d: Tensor) -> Tensor:
        h = self.fc(torch.cat([R, d], dim=1))
        return self.last(self.up(h.reshape(len(h), -1, 4, 4)))


class Encoder(nn.Module):
    """Fig. 5: E(X, d), image and label difference as n constant planes -> (B, 32, H/2, H/2), >= 0.

    A trap: the first layer is a 1x1 convolution and the first block begins with instance norm, so the planes are constant where they are first
    normalised and vanish there. d reaches the code only on the shortcuts, as one shift a channel, and acts at the ReLU behind the last block.
    """

    def __init__(self, cfg: Config):
        super().__init__()
        s, norm = cfg.style, norm_of_codes(cfg)
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
            return nn.Sequential(nn.Conv2d(c[-1], c[-1], 8), LeakyReLU(cfg.slope), nn.Flatten(), nn.Linear(c[-1], outputs))

        blocks = [ResBlk(i, o, None, LeakyReLU(cfg.slope), "down") for i, o in zip(c, c[1:], strict=False)]  # 32x64x64 .. 256x8x8
        self.trunk = nn.Sequential(nn.Conv2d(3, c[0], 1), *blocks, LeakyReLU(cfg.slope))  #               256 x 8 x 8
        self.D, self.C = head(1), head(len(attributes_of(cfg)))

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(X)
        return self.D(h), self.C(h)


class Bank(nn.Module):
    """One noise vector per image, N(0, I) at the start (D5). `transient`: part of an interrupted training, not of its result."""

    transient = True

    def __init__(self, cfg: Config):
        super().__init__()
        self.register_buffer("Z", torch.randn(cfg.bank_rows, cfg.noise_length))


@dataclass
class Nets:
    G: Generator
    M: Mapping
    E: Encoder
    D: Discriminator
    bank: Bank | None = None


def build(cfg: Config) -> Nets:
    """The networks, weights Xavier-uniform and biases 0 (the released code's defaults; not stated); G's and M's as cfg.g_start says."""
    nets = Nets(Generator(cfg), Mapping(cfg), Encoder(cfg), Discriminator(cfg), Bank(cfg) if cfg.noise == "bank" else None)
    for net in (nets.G, nets.M, nets.E, nets.D):
        for m in net.modules():
            if isinstance(m, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
    if cfg.g_start == "copy":
        with torch.no_grad():
            nets.G.last.weight.mul_(0.1)
        nets.M.start_alike()
    return nets


# ------------------------------------------------------------------------------------------------ losses (Secs A, C; D1)


def att_ak(Y_s: Tensor, d: Tensor, sign: float = 1.0) -> Tensor:
    """Eq. (11): A * B with A = 1 - |d|, 1 where nothing was asked for, and B = 1 - 2 Y_s, from the source's label to the flipped one (D6).
    (B, n), {-1, 0, 1}. sign: -1 for B = 2 Y_s - 1."""
    return (1 - d.abs()) * (1 - 2 * Y_s) * sign


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


def latent_cycle(E: Encoder, X_g: Tensor, d: Tensor, S_s: Tensor, S: Tensor) -> Tensor:
    """||S - (E(sg(X_g), d) + S_s)||_1: the edited image gives back the code it was made with. sg stops the gradient at the image, so this term
    trains E and M, not G. Mean over batch and code."""
    return l1(S, E(X_g.detach(), d) + S_s)


def mode_seeking(R: Tensor, R_1: Tensor, X_l: Tensor, X_l1: Tensor) -> Tensor:
    """||R_1 - R||_1 / (||sg(X_g^l1) - X_g^l||_1 + 1e-5), both means over the whole batch: smallest where other noise gives another image."""
    return l1(R_1, R) / (l1(X_l1.detach(), X_l) + 1e-5)


def keeping_weights(cfg: Config) -> tuple[float, float]:
    """Weights of each of the two cycle terms, and of L_ak (D2, D14)."""
    cyc, ak = (cfg.lambda_cyc / 2, cfg.lambda_ak) if cfg.weights == "supplement" else (50 / 3, 50 / 3)
    return cyc, 0.0 if cfg.task == "domains" else ak


def pairs(batch) -> tuple[Tensor, ...]:
    """X_s, X_r, Y_s, d and the rows of X_r: a random permutation of the batch gives every image its reference, and the reference its label."""
    pi = torch.randperm(len(batch.x), generator=batch.rng, device=batch.x.device)
    return batch.x, batch.x[pi], batch.y, batch.y[pi] - batch.y, batch.index[pi]


def normal(batch, cfg: Config) -> Tensor:
    """(B, 16) ~ N(0, I)."""
    return torch.randn(len(batch.x), cfg.noise_length, generator=batch.rng, device=batch.x.device, dtype=batch.x.dtype)


def noise(nets: Nets, batch, X_r: Tensor, d: Tensor, rows: Tensor, cfg: Config, keep: bool) -> Tensor:
    """R (B, 16): fresh N(0, I), or the bank's vectors of the reference images after one step along the gradient g of the mean squared
    difference of M(R, d) and E(X_r, d): clip(R + bank_sign (0.9 / rms(g) + 5) g, -1, 1), kept in the bank if `keep` (D5)."""
    if cfg.noise == "normal":
        return normal(batch, cfg)
    with torch.enable_grad():
        R_0 = nets.bank.Z[rows].to(batch.x.dtype).requires_grad_(True)
        (g,) = torch.autograd.grad(F.mse_loss(nets.M(R_0, d), nets.E(X_r, d).detach()), R_0)
    rms = g.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)
    R = (R_0.detach() + cfg.bank_sign * (0.9 / rms + 5) * g).clamp(-1, 1)
    if keep:
        nets.bank.Z[rows] = R.to(nets.bank.Z.dtype)
    return R


def between(S_rand: Tensor, S_ref: Tensor, rng: torch.Generator) -> Tensor:
    """S_int = a S_rand + (1 - a) S_ref with one a ~ U(0, 1) per sample."""
    a = torch.rand(len(S_rand), 1, 1, 1, generator=rng, device=S_rand.device, dtype=S_rand.dtype)
    return a * S_rand + (1 - a) * S_ref


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What D and C minimise: critic, gradient penalty and classification of the real images. The fakes carry no graph. With kinds = 1 the means over
    the three kinds are estimated from one kind an image, drawn at random. C learns from the whole batch, the critic from its first images (D17)."""
    X_c, Y_c, batch = batch.x, batch.y, batch.first(cfg.batch)
    X_s, X_r, _, d, rows = pairs(batch)
    with torch.no_grad():
        R = noise(nets, batch, X_r, d, rows, cfg, keep=False)
        S_s, S_r = nets.E(torch.cat([X_s, X_r]), torch.cat([-d, d])).chunk(2)
        S_rand, S_ref = S_s + nets.M(R, d), S_s + S_r
        S = torch.stack([S_rand, S_ref, between(S_rand, S_ref, batch.rng)])
        if cfg.kinds == 1:
            one = torch.randint(3, (len(X_s),), generator=batch.rng, device=S.device)
            S = S[one, torch.arange(len(X_s), device=S.device)][None]
        X_k = X_s.repeat(len(S), 1, 1, 1)
        X_g = nets.G(X_s, S.flatten(0, 1))
    score, logits = nets.D(X_c)
    score = score[: cfg.batch]
    fake = nets.D.D(nets.D.trunk(X_g))

    adv = critic_loss(score, fake)
    gp = cfg.lambda_gp * gradient_penalty(lambda x: nets.D.D(nets.D.trunk(x)), interpolate(X_k, X_g, batch.rng))
    cls = cfg.lambda_cls_d * classification(logits, Y_c)
    return adv + gp + cls, {"adv": adv.detach(), "gp": gp.detach(), "cls": cls.detach(), "gap": -adv.detach()}


def g_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What G, M and E minimise together. `parts` holds every term with its weight, and what the two codes have in common."""
    G, M, E = nets.G, nets.M, nets.E
    X_s, X_r, Y_s, d, rows = pairs(batch)
    Y_t, no = Y_s + d, torch.zeros_like(d)
    R = noise(nets, batch, X_r, d, rows, cfg, keep=True)
    S_s, S_r, O_s, O_r = E(torch.cat([X_s, X_r, X_s, X_r]), torch.cat([-d, d, no, no])).chunk(4)
    S_l, O_l = M(torch.cat([R, R]), torch.cat([d, no])).chunk(2)
    S_rand, S_ref = S_s + S_l, S_s + S_r
    S = torch.cat([S_rand, S_ref, between(S_rand, S_ref, batch.rng), O_s + O_l, O_s + O_r])
    X_l, X_r_g, X_i, X_rec_l, X_rec_r = G(X_s, S).chunk(5)
    with torch.no_grad():
        R_1 = normal(batch, cfg)
        X_l1 = G(X_s, S_s + M(R_1, d))
    score, logits = nets.D(torch.cat([X_l, X_r_g, X_i]))
    w_cyc, w_ak = keeping_weights(cfg)

    adv = -score.mean()
    cls = cfg.lambda_cls * classification(logits, Y_t.repeat(3, 1))
    rec = cfg.lambda_rec * (l1(X_s, X_rec_l) + l1(X_s, X_rec_r)) / 2
    cyc = w_cyc * (latent_cycle(E, X_l, d, S_s, S_rand) + latent_cycle(E, X_r_g, d, S_s, S_ref))
    ak = w_ak * attribute_keeping(E, X_s, X_l, att_ak(Y_s, d, cfg.ak_sign)) if w_ak else torch.zeros_like(adv)
    sty = cfg.lambda_sty * l1(S_rand, S_ref)
    ms = cfg.lambda_ms * mode_seeking(R, R_1, X_l, X_l1)
    terms = {"adv": adv, "cls": cls, "rec": rec, "cyc": cyc, "ak": ak, "sty": sty, "ms": ms, "code": S_rand.mean()}
    return adv + cls + rec + cyc + ak + sty + ms, {k: v.detach() for k, v in terms.items()}


def falling(cfg: Config) -> Callable[[int], float] | None:
    """The factor on lr in a cycle, counted from 0: 1, then down to 0 in equal steps over the last lr_decay of them. None where that is 0."""
    last = cfg.lr_decay * cfg.g_steps
    return (lambda cycle: min(1.0, (cfg.g_steps - cycle) / last)) if last else None


def stages(cfg: Config) -> list[Stage]:
    """One model for all attributes: per cycle d_per_g updates of D and C, then one of G, M and E together, each on a fresh batch."""
    adam = {"lr": cfg.lr, "betas": (cfg.beta_1, cfg.beta_2), "schedule": falling(cfg)}
    updates = (Update("D", ("D",), d_loss, repeats=cfg.d_per_g, **adam), Update("G", ("G", "M", "E"), g_loss, images=cfg.batch, **adam))
    return [Stage(cfg.task, cfg.task, attributes_of(cfg), updates, cfg.g_steps, cfg.batch_c or cfg.batch)]


# ------------------------------------------------------------------------------------------------ editing


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, H, H), [-1, 1]. mask: this method has none. code: S, (B, 32, H/2, H/2). reference: X_r, None without one."""

    image: Tensor
    mask: None
    code: Tensor
    reference: Tensor | None


@torch.no_grad()
def edit(nets: Nets, X_s: Tensor, d: Tensor, R: Tensor | None = None, X_r: Tensor | None = None, a: float = 0.5) -> Edit:
    """Edit X_s by d (B, n), the label difference times the strength: label-based with noise R (B, 16), reference-based with images X_r, or
    with S_int = a S_rand + (1 - a) S_ref where both are given. Raises ValueError if neither is."""
    if R is None and X_r is None:
        raise ValueError("edit: give noise R, reference images X_r, or both.")
    a = (1.0 if X_r is None else 0.0) if R is None or X_r is None else a
    S = nets.E(X_s, -d)
    if R is not None:
        S = S + a * nets.M(R, d)
    if X_r is not None:
        S = S + (1 - a) * nets.E(X_r, d)
    return Edit(nets.G(X_s, S), None, S, X_r)


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


def editor(models: dict[str, Nets], faces: FaceSet, split: Split, cfg: Config, mode: str, strength: float | None = None, seed: int = 0) -> Callable:
    """(attribute, x, target) -> Edit, for one attribute or a tuple of them, on test faces whose labels are looked up by their pixels.

    target: a number or (B, 1) in [0, 1]. R and the reference of a face are functions of (seed, its row) and, for references, of the attribute:
    drawn among the test faces that have the target value of all attributes (D11); a fourth argument X_r (B, 3, H, H) is used instead of them.
    mode: label, reference, or between, S_int with a = 1/2. strength: cfg.strength unless given (D9).
    Raises ParameterError for another mode, DataError for a face that is not in the test split or where no test face can be the reference.
    """
    pick(dict.fromkeys(MODES), mode, "mode")
    nets, names, find = models[cfg.task], attributes_of(cfg), row_finder(faces, split.test)
    Y = np.stack([faces.column(a) for a in names], axis=1)
    strength = cfg.strength if strength is None else strength

    def reference(row: int, chosen: tuple[str, ...], value: int) -> int:
        columns = [names.index(a) for a in chosen]
        pool = split.test[(Y[split.test][:, columns] == value).all(1)]
        if not len(pool):
            raise DataError(f"{faces.name}: no test face has {' and '.join(chosen)} = {value}, so none can be the reference. Give more images.")
        return pool[np.random.default_rng([seed, 1, sum(2**k for k in columns), row]).integers(len(pool))]

    def apply(attribute: str | tuple[str, ...], x: Tensor, target: Tensor | float, X_r: Tensor | None = None) -> Edit:
        chosen = (attribute,) if isinstance(attribute, str) else tuple(attribute)
        rows = find(x)
        target = torch.as_tensor(target, dtype=x.dtype).cpu().expand(len(x), 1)
        d = strength * difference(torch.from_numpy(Y[rows]).to(x.dtype), names, chosen, target).to(x.device)
        R = None
        if mode != "reference":
            R = np.stack([np.random.default_rng([seed, 0, row]).standard_normal(cfg.noise_length) for row in rows])
            R = torch.from_numpy(R).to(x.device, x.dtype)
        if mode != "label" and X_r is None:
            used = np.array([reference(row, chosen, int(t > 0.5)) for row, t in zip(rows, target[:, 0], strict=True)])
            X_r = torch.from_numpy(faces.images[used]).to(x.device, x.dtype) / 127.5 - 1
        return edit(nets, x, d, R, X_r)

    return apply


def editors(models: dict[str, Nets], faces: FaceSet, split: Split, cfg: Config, mode: str, draws: int) -> tuple[Callable, ...]:
    """`draws` editors that differ in their noise and references."""
    return tuple(editor(models, faces, split, cfg, mode, seed=k) for k in range(draws))


def methods(models: dict[str, Nets], faces: FaceSet, split: Split, cfg: Config) -> dict[str, Callable]:
    """The editors that Tables 1 and 2 compare: both paths and the code half-way, and both paths at strength 1 (D9)."""
    paths = {LABEL: "label", REFERENCE: "reference"}
    full = {name: editor(models, faces, split, cfg, mode) for name, mode in (paths | {BETWEEN: "between"}).items()}
    return full | {f"{name}, strength 1": editor(models, faces, split, cfg, mode, strength=1.0) for name, mode in paths.items()}


def bridge(models: dict[str, Nets], faces: FaceSet, split: Split, cfg: Config, seed: int = 0) -> Callable:
    """(attribute, x, a) -> Edit that gives the attribute with S_int = a S_rand + (1 - a) S_ref: from the reference (0) to the noise (1)."""
    by_label, by_reference = (editor(models, faces, split, cfg, mode, seed=seed) for mode in ("label", "reference"))
    G = models[cfg.task].G

    def apply(attribute: str | tuple[str, ...], x: Tensor, a: float) -> Edit:
        S_rand, S_ref = (e(attribute, x, 1.0) for e in (by_label, by_reference))
        S = a * S_rand.code + (1 - a) * S_ref.code
        with torch.no_grad():
            return Edit(G(x, S), None, S, S_ref.reference)

    return apply


# ------------------------------------------------------------------------------------------------ claims (criteria fixed before any run)

CLAIMS = (
    Claim(
        "H1",
        "Label-based editing succeeds on every attribute",
        "Table 1: 86.9 % on average, 71.6 % at least",
        "accuracy over the edited attributes at least 75 % in the mean and 50 % for the worst",
        (Test(f"flip_accuracy | mean | {LABEL}", ">=", 0.75), Test(f"flip_accuracy minimum | lowest | {LABEL}", ">=", 0.5)),
    ),
    Claim(
        "H2",
        "On attributes that few faces have it is far ahead of StarGAN",
        "Table 1: 80.5 against 41.6 % over gray hair, receding hairline, mustache, goatee, sideburns",
        "accuracy over those of them that the run edits at least 10 points above the retrained StarGAN's",
        (Test(f"flip_accuracy difference | rare | {LABEL} - {STARGAN}", ">=", 0.1),),
    ),
    Claim(
        "H3",
        "Reference-based editing works, less often than label-based",
        "Table 1: 54.0 against 86.9 % on average",
        "mean accuracy at least 25 points above the unedited floor, and below that of label-based editing",
        (
            Test(f"flip_accuracy difference | mean | {REFERENCE} - unedited", ">=", 0.25),
            Test(f"flip_accuracy difference | mean | {LABEL} - {REFERENCE}", ">", 0.0),
        ),
    ),
    Claim(
        "H4",
        "Attributes that were not asked for are kept",
        "Sec. A, L_ak",
        "at least 90 % of the other verdicts unchanged, in the mean over attributes and directions, label- and reference-based",
        tuple(Test(f"unrelated_kept | mean | {m}", ">=", 0.9) for m in (LABEL, REFERENCE)),
    ),
    Claim(
        "H5",
        "The reference decides how the attribute looks",
        "Figs 11, 12",
        "colour of the attribute's region nearer to the own reference's than chance: the interval of the share above 0.5",
        (Test(f"reference_match | mean | {REFERENCE}", ">", 0.5, "ci_low"),),
    ),
    Claim(
        "H6",
        "Two attributes change at the same time",
        "Fig. 12: mouth open and bangs",
        "the judge sees both in at least half of the faces that had neither, label- and reference-based",
        tuple(Test(f"edit_success | {' and '.join(TOGETHER)} + | {m}", ">=", 0.5) for m in (LABEL, REFERENCE)),
    ),
    Claim(
        "H7",
        "Other noise and other references give other edits",
        "Figs 6 to 10, L_ms",
        "mean difference between draws at least 2/255 on the [0, 1] scale, label- and reference-based",
        tuple(Test(f"diversity_l1 | mean | {m}", ">=", 2 / 255) for m in (LABEL, REFERENCE)),
    ),
    Claim(
        "H8",
        "Edited faces are nearer to real ones than StarGAN's, reference-based ones nearest",
        "Table 2: FID 25.96 (StarGAN), 14.27 (label), 11.39 (reference) on average",
        "mean Frechet distance on the judge's features: label below StarGAN, reference below label",
        (
            Test(f"frechet_judge difference | mean | {LABEL} - {STARGAN}", "<", 0.0),
            Test(f"frechet_judge difference | mean | {REFERENCE} - {LABEL}", "<", 0.0),
        ),
    ),
    Claim(
        "H9",
        "Our reading of Tables 1 and 2: the distance to all faces is smallest where nothing was edited",
        "Tables 1, 2: SMIT succeeds in 27 % and has a mean FID of 12.1",
        "the unedited faces are nearer to all real faces than the label-based edits",
        (Test(f"frechet_judge difference | mean | unedited - {LABEL}", "<", 0.0),),
    ),
    Claim(
        "H10",
        "Codes between the two are as good as the two",
        "abstract: interpolation as an extra image",
        "accuracy half-way at least that of reference-based editing",
        (Test(f"flip_accuracy difference | mean | {BETWEEN} - {REFERENCE}", ">=", 0.0),),
    ),
    Claim(
        "H11",
        "Without a label difference the image is reconstructed",
        "Sec. C, L_rec",
        "mean change at most 4/255 on the [0, 1] scale, label- and reference-based",
        tuple(Test(f"own_label_l1 | mean | {m}", "<=", 4 / 255) for m in (LABEL, REFERENCE)),
    ),
    Claim(
        "H12",
        "Animals become the target's, by label and by reference",
        "Figs 6 to 10",
        "a judge of domains sees the target in at least 75 % of the translations, in the mean over the six tasks",
        tuple(Test(f"domain_accuracy | domains | {m}", ">=", 0.75) for m in (LABEL, REFERENCE)),
    ),
    Claim(
        "H13",
        "Nearer to the target's domain than StarGAN v2",
        "Table 3: 25.87 against 31.07, 26.68 against 33.32 on average",
        "mean Frechet distance over the six tasks below that of a retrained StarGAN v2",
        tuple(Test(f"frechet_judge difference | domains | {m} - StarGAN v2", "<", 0.0) for m in (LABEL, REFERENCE)),
    ),
)

"""DIAT and DIAT-A: a feed-forward network per attribute that gives a face the attribute and leaves it its identity.

M. Li, W. Zuo, D. Zhang: Deep Identity-aware Transfer of Facial Attributes, arXiv 1610.05586 (2016). Sections 3 (DIAT), 4 (DIAT-A) and 5
(experiments). The claim under test: adversarial training against a set of faces that have the attribute transfers it, a loss on features
keeps the identity, and features of the discriminator itself (DIAT-A) serve that better than VGG-Face's.

One model edits one attribute in one direction. Stage one trains T against D, stage two trains E. What no attribute changes (T's pre-training, g, f)
is a model of its own, the task "shared"; the others start from it, as it starts from phi's.

paper            here          shape, range
x                x             (B, 3, H, H), [-1, 1], RGB: a face of the input set, without the reference attribute
a                a             (B, 3, H, H), [-1, 1]: a face of the guided set A, with it
T(x)             Tx            (B, 3, H, H), [-1, 1]: the transformed face
D(x)             sigmoid(D(x)) (B, 1): "is of A rather than transformed"; D returns the logit
phi_l, D_l       maps(x)[l]    feature maps after the l-th convolution and its ReLU, l from 1
g, f             g, f          reconstruction and denoising network, (B, 3, H, H) -> the same
E                E_local, E_global   enhancement network
m                m             (B, 1, H, H), {0, 1}: 1 inside the dilated hull of the attribute's landmarks
y_i              y             (B, 1), {0, 1}: has the reference attribute
lambda, gamma, beta_0..2, w_4, w_5   loss weights
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.baselines import vgg_face
from lib.baselines.vgg_face import PROXY, VGG_FACE, Phi, over_scale
from lib.claims import Deviation
from lib.data import Examples, FaceSet, Split
from lib.papers.diat import landmarks
from lib.training import models
from lib.training.config import pick, require, require_each, selected
from lib.training.loop import Stage, Update

TITLE = "Deep Identity-aware Transfer of Facial Attributes (DIAT, DIAT-A)"
CITATION = "M. Li, W. Zuo, D. Zhang. arXiv 1610.05586, 2016."
SHARED = "shared"  # the task of everything that belongs to no attribute
PAPER_CYCLES = 20_000  # T updates: the paper says "while not converged", D7
TRAINING = 1  # raised when a change alters what is trained
BETWEEN = "outputs"  # what a target between 0 and 1 does: its outputs are blended
KEEPS = ("T", "D", "E_local", "E_global", "f", "phi", "curve")  # the networks that edits, evaluation and the models after it need
SECONDS = {  # processor seconds of a cycle of profile cpu by stage, one thread, bf16; "transform" with D's features (with phi's 0.31)
    "reconstruction": 0.12, "artefacts": 0.16, "denoising": 0.10, "pre-training": 0.026, "transform": 0.20, "enhancement": 0.17,
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """What a model is for: CelebA's attribute, the value it is given, and the landmarks that bound a local change (none: a global one)."""

    attribute: str
    target: int
    hull: tuple[int, ...] = ()

    @property
    def row(self) -> str:
        """Its name in metrics.csv."""
        return f"{self.attribute} {'+' if self.target else '-'}"


TASKS = {  # Secs 5.2, 5.3
    "mouth_open": Task("Mouth_Slightly_Open", 1, landmarks.LIPS),
    "mouth_close": Task("Mouth_Slightly_Open", 0, landmarks.LIPS),
    "eyeglasses_removal": Task("Eyeglasses", 0, landmarks.EYES_AND_BROWS),
    "male_to_female": Task("Male", 0),
    "older_to_younger": Task("Young", 1),
}


@dataclass(frozen=True)
class Variant:
    """identity: features that the identity loss compares ("phi", "D" or "" for none); smooth: with l_smooth; enhance: with stage two."""

    identity: str
    smooth: bool
    enhance: bool


VARIANTS = {  # Sec. 5.1
    "DIAT1": Variant("", False, False),
    "DIAT2": Variant("phi", False, False),
    "DIAT3": Variant("phi", True, False),
    "DIAT": Variant("phi", True, True),
    "DIAT-A0": Variant("D", False, False),
    "DIAT-A": Variant("D", False, True),
}

DEVIATIONS = (
    Deviation("D1", "Eqs (3), (7), (14): E[1 - log D(T(x))], maximised by D",
              "T minimises -log D(T(x)), which is the printed term; D minimises -log(1 - D(T(x)))",
              "printed, D's objective grows without bound as D(T(x)) falls to 0"),
    Deviation("D2", "Eq. (14): the identity loss stands inside D's maximum too (hidden-layer supervision)",
              "D gets no gradient from it; dyn_to_D = 'max' (as printed) is trained beside it",
              "as printed D would make x and T(x) look different"),
    Deviation("D3", "Table 1: deconvolution 3x3, pad 1, stride 2 gives 64 from 32",
              "output padding 1 there, none in the next; deconv1_k = 4 for a 4x4 kernel",
              "the printed kernel gives 63, and the rows below it need 64"),
    Deviation("D4", "Normalisation, activations, residual block, output of T; activations of D, f, E: not stated",
              "T, g, E_global: batch norm and ReLU, tanh; D: ReLU, no norm; f, E_local: ReLU, linear output",
              "the cited lineage (Johnson et al.); the first author's later code has batch norm in T and none in D"),
    Deviation("D5", "phi is VGG-Face, trained on 2.6 million faces",
              "the same five convolutions trained for identity on the study's own faces, `phi-proxy`, named so in every table; "
              "phi = 'vgg-face' takes the weights from a file, and profile `paper` insists on them", "the weights come with no Python package"),
    Deviation("D6", "Scale of phi in l_id and eq. (10); w_4, w_5: not stated",
              "as printed in profile `paper`, phi_0 in VGG's own range; else scale = 'unit': maps over the root mean square of x's in the batch, "
              "the pixel term of eq. (10) a mean; w = 1",
              "lambda = 0.1 multiplies features of the order of 100 in DIAT, of 1 in DIAT-A, so that it cannot mean the same"),
    Deviation("D7", "dstep, tstep, batch, Adam's betas, numbers of iterations: not stated ('while not converged')",
              "1:1 on fresh batches of as many inputs as guided faces, betas 0.9 and 0.999 but in the game (D13); 20,000 cycles in profile `paper`, "
              "the share is printed",
              "the usual GAN; the later code's 24:6 belongs to a Wasserstein critic. Elsewhere D is pre-trained for 200 updates, when it is mostly "
              "right: after 1,500 it is so sure that T never catches up"),
    Deviation("D8", "14 of 62 landmark clusters are excluded by eye (Sec. 5.1)", "the 14 whose centre is turned most to the side",
              "'partially invisible' faces are turned ones; the rule drops 13.0 % of CelebA, as the paper's hats imply"),
    Deviation("D9", "68 landmarks from a deep detector, margin of the mask not stated (Sec. 3.2)",
              "exact landmarks on drawn faces, else a mean shape fitted to five points; margin 0.25 of the eye distance",
              "the detector is not public"),
    Deviation("D10", "Squared norms are sums, content losses means, at 128x128", "sums are multiplied by (128 / size)^2",
              "so that gamma weighs the same at every size"),
    Deviation("D11", "D is pre-trained on the whole set (Sec. 3.1.2)", "half of each batch with the reference attribute, except in profile `paper`",
              "of a natural batch of 16 faces one wears glasses"),
    Deviation("D12", "lambda = 0.1 for DIAT and DIAT-A (Sec. 5.1)",
              "as printed in profile `paper`; at unit scale (D6) 300 for phi and 30 for D, with the printed 0.1 trained beside it",
              "pre-trained features of D are of the order of 0.1, so that the printed term is next to nothing; with 20 and 10, colours drift within "
              "500 cycles"),
    Deviation("D13", "Batch norm in adversarial training, Adam's beta_1 there: not stated",
              "T's batch norms go on as in pre-training; 0.5",
              "with the statistics of pre-training T paints a grid of dots over the face within 1,000 cycles; 0.5 is usual in GANs"),
    Deviation("D14", "Learning rate of T's and D's pre-training, of g and f: not stated",
              "0.0001 in profile `paper`, else 0.001 (D 0.0003); falling linearly to 0", "an epoch at 0.0001 ends long before T returns its input"),
    Deviation("D15", "What E_global starts from (Sec. 3.2): not stated", "T's pre-trained weights, on the faces of T's pre-training",
              "it has T's architecture, and from random ones 3,000 updates leave a picture further from x (25.9 dB) than the blur itself (28.6 dB)"),
    Deviation("D16", "DIAT-A is trained at a rate of 0.00001, a tenth of DIAT's (Sec. 4.2)", "as printed in profile `paper`, else 0.0001",
              "3,000 updates at the printed rate go no further than 300 of these: after 2,000 of them men's lips are red, and no more"),
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What training reads. Profile `paper` is the default; anything narrower says so in the report."""

    task: str = "all"  # one of TASKS, several joined by commas, or all: one model each; or SHARED
    variant: str = "DIAT-A"  # one of VARIANTS: Sec. 5.1
    start: str = ""  # folder of the trained model that it starts from (a task: SHARED's, SHARED: phi's); empty: from random networks
    size: int = 128  # Sec. 5.1
    width: int = 32  # channels of the first layer of T and D: Tables 1, 2
    blocks: int = 5  # residual blocks: Table 1
    hidden: int = 1000  # units of D's first fully connected layer: Table 2
    deconv1_k: int = 3  # Table 1; or 4: D3
    lambda_phi: float = 0.1  # Sec. 5.1, lambda of DIAT
    lambda_D: float = 0.1  # Sec. 5.1, lambda of DIAT-A
    gamma: float = 0.001  # Sec. 5.1
    w_4: float = 1.0  # not stated: D6
    w_5: float = 1.0  # not stated: D6
    beta_0: float = 0.1  # Sec. 5.1
    beta_1: float = 0.5  # Sec. 5.1
    beta_2: float = 1.0  # Sec. 5.1
    sigma: float = 1.8  # Sec. 5.1, at 128 pixels
    margin: float = 0.25  # of the eye distance; not stated: D9
    dyn_to_D: str = "none"  # or max, as printed: D2
    phi: str = VGG_FACE  # Sec. 3.1.1; or phi-proxy: D5
    phi_order: str = "RGB"  # of the input channels of the file's port
    scale: str = "raw"  # of phi_l and D_l in losses; or unit: D6
    inputs: int = 2_000  # Sec. 5.1
    clusters: int = 62  # Sec. 5.1; 0: no face is left out
    dropped: int = 14  # Sec. 5.1: D8
    batch: int = 30  # inputs, and in adversarial training as many guided faces; not stated: D7
    lr: float = 1e-4  # Sec. 3.1.2: T and D of DIAT
    lr_A: float = 1e-5  # Sec. 4.2: T and D of DIAT-A
    lr_E: float = 1e-4  # Sec. 3.2
    lr_pre: float = 1e-4  # of T's pre-training, g and f, falling to 0; not stated: D14
    lr_D_pre: float = 1e-4  # of D's pre-training, falling to 0; not stated: D14
    d_step: int = 1  # Algorithm 1, not stated: D7
    t_step: int = 1  # Algorithm 1, not stated: D7
    pre_cycles: int = 5_800  # of T, an epoch; not stated: D7
    d_pre_cycles: int = 5_800  # of D, an epoch; not stated: D7
    g_cycles: int = 10_000  # not stated: D7
    f_cycles: int = 5_000  # not stated: D7
    cycles: int = PAPER_CYCLES  # not stated: D7; 0: pre-training alone
    e_cycles: int = 10_000  # not stated: D7
    curve: int = 0  # T is kept every so many cycles, to see how soon it succeeds; 0: only at the end
    sampler: str = "natural"  # of D's pre-training: D11

    def __post_init__(self):
        tasks_of(self)
        pick(VARIANTS, self.variant, "variant")
        require(self.size >= 32 and self.size % 32 == 0, "size", self.size, "a multiple of 32, at least 32")
        counts = ("d_step", "t_step", "pre_cycles", "d_pre_cycles", "g_cycles", "f_cycles", "e_cycles")
        weights = ("lambda_phi", "lambda_D", "gamma", "w_4", "w_5", "beta_0", "beta_1", "beta_2", "margin")
        require_each(self, "at least 1", *counts, "width", "blocks", "hidden", "inputs", "batch")
        require_each(self, "at least 0", *weights, "clusters", "dropped", "cycles", "curve")
        require_each(self, "positive", "lr", "lr_A", "lr_E", "lr_pre", "lr_D_pre", "sigma")
        require(self.dropped < self.clusters or not self.clusters, "dropped", self.dropped, "less than clusters")
        for name, options in (("dyn_to_D", ("none", "max")), ("phi", (VGG_FACE, PROXY)), ("phi_order", ("RGB", "BGR")),
                              ("scale", ("raw", "unit")), ("sampler", ("natural", "balanced"))):  # fmt: skip
            pick(dict.fromkeys(options), getattr(self, name), name)
        require(self.deconv1_k in (3, 4), "deconv1_k", self.deconv1_k, "3 or 4")


def tasks_of(cfg: Config) -> tuple[str, ...]:
    """The tasks that a Config names, in the paper's order; none for SHARED. Raises ParameterError for others."""
    return () if cfg.task == SHARED else selected(cfg.task, TASKS, "task")


def attributes_of(cfg: Config) -> tuple[str, ...]:
    """The attributes that the tasks of a Config change."""
    return tuple(dict.fromkeys(TASKS[name].attribute for name in tasks_of(cfg)))


def task_of(cfg: Config) -> Task:
    """The one task of a model's Config. Raises ParameterError for several, and for SHARED."""
    return pick(TASKS, cfg.task, "task of one model")


def shared_of(cfg: Config, start: str = "") -> Config:
    """The Config of what all models of a study share: what it does not read stands at its default, so that it decides nothing."""
    read = ("size", "width", "blocks", "deconv1_k", "w_4", "w_5", "sigma", "phi", "phi_order", "scale", "clusters", "dropped", "batch",
            "lr_pre", "pre_cycles", "g_cycles", "f_cycles")  # fmt: skip
    return Config(task=SHARED, start=start, **{name: getattr(cfg, name) for name in read})


def share_of_paper(cfg: Config) -> float:
    """Input faces this configuration shows to one T in adversarial training, over those of PAPER_CYCLES updates (D7)."""
    return cfg.cycles * cfg.t_step * cfg.batch / (PAPER_CYCLES * 30)


def printed_settings(cfg: Config) -> dict[str, object]:
    """The settings that the paper prints (rows of results/paper_values.csv) as this configuration has them."""
    return {
        "transform network T, residual blocks": cfg.blocks,
        "input, width": cfg.size,
        "first fully connected layer, hidden units": cfg.hidden,
        "DIAT, learning rate": cfg.lr,
        "DIAT-A, learning rate": cfg.lr_A,
        "DIAT3, lambda": cfg.lambda_phi,
        "DIAT3, gamma": cfg.gamma,
        "DIAT-A, lambda": cfg.lambda_D,
        "local enhancement network, beta_0": cfg.beta_0,
        "local enhancement network, beta_1": cfg.beta_1,
        "local enhancement network, beta_2": cfg.beta_2,
        "global enhancement network, sigma of the Gaussian blur": cfg.sigma,
        "k-means, clusters": cfg.clusters,
        "k-means, clusters excluded": cfg.dropped,
        "input set, images": cfg.inputs,
    }


UNIT = {"phi": PROXY, "scale": "unit", "sampler": "balanced"}  # where VGG-Face's weights are not at hand: D5, D6, D11
PROFILES = {
    "smoke": lambda: Config(
        size=32, width=2, blocks=1, hidden=8, batch=4, pre_cycles=3, d_pre_cycles=2, g_cycles=2, f_cycles=2, cycles=3, e_cycles=2,
        inputs=40, clusters=8, dropped=2, **UNIT),
    # half an hour a model: half of the printed widths
    "cpu": lambda: Config(
        size=64, width=16, hidden=500, batch=16, cycles=3_000, pre_cycles=6_000, d_pre_cycles=200, g_cycles=1_500,
        f_cycles=1_000, e_cycles=3_000, lr_A=1e-4, lr_pre=1e-3, lr_D_pre=3e-4, lambda_phi=300.0, lambda_D=30.0, **UNIT,
    ),
    # half of the cycles
    "gpu": lambda: Config(
        size=64, batch=16, cycles=10_000, pre_cycles=4_000, d_pre_cycles=200, g_cycles=2_000, f_cycles=1_000,
        e_cycles=5_000, lr_A=1e-4, lr_pre=1e-3, lr_D_pre=3e-4, lambda_phi=300.0, lambda_D=30.0, **UNIT,
    ),
    "paper": Config,  # needs VGG-Face's weights
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ networks (Tables 1, 2; Secs 3.1.1, 3.2)


class Residual(nn.Module):
    """x + BN(conv3(ReLU(BN(conv3(x))))), nothing after the sum (D4)."""

    def __init__(self, c: int):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1), nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c, 3, 1, 1), nn.BatchNorm2d(c))

    def forward(self, x):
        return x + self.body(x)


def transform_network(cfg: Config) -> nn.Sequential:
    """Table 1: T, and with the same architecture g and E_global. (B, 3, H, H) -> the same, [-1, 1]. Shapes for width 32, H = 128."""
    w = cfg.width
    deconv1 = nn.ConvTranspose2d(4 * w, 2 * w, cfg.deconv1_k, 2, 1, output_padding=1 if cfg.deconv1_k == 3 else 0)  # D3

    def layer(conv):
        return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()]

    return nn.Sequential(
        *layer(nn.Conv2d(3, w, 9, 1, 4)),  #                    32 x 128 x 128
        *layer(nn.Conv2d(w, 2 * w, 3, 2, 1)),  #                64 x  64 x  64
        *layer(nn.Conv2d(2 * w, 4 * w, 3, 2, 1)),  #           128 x  32 x  32
        *[Residual(4 * w) for _ in range(cfg.blocks)],  #      128 x  32 x  32
        *layer(deconv1),  #                                     64 x  64 x  64
        *layer(nn.ConvTranspose2d(2 * w, w, 3, 2, 1)),  #       32 x 127 x 127
        nn.ConvTranspose2d(w, 3, 10, 1, 4),  #                   3 x 128 x 128
        nn.Tanh(),
    )


class Discriminator(nn.Module):
    """Table 2: (B, 3, H, H) -> logit (B, 1). No normalisation, so D_l(x) depends on x alone. Shapes for width 32, H = 128."""

    def __init__(self, cfg: Config):
        super().__init__()
        w = cfg.width
        self.convs = nn.ModuleList([
            nn.Conv2d(3, w, 8, 2, 3),  #             D_1   32 x 64 x 64
            nn.Conv2d(w, w, 3, 1, 1),  #             D_2   32 x 64 x 64
            nn.Conv2d(w, 2 * w, 4, 2, 1),  #         D_3   64 x 32 x 32
            nn.Conv2d(2 * w, 2 * w, 3, 1, 1),  #     D_4   64 x 32 x 32
            nn.Conv2d(2 * w, 4 * w, 4, 2, 1),  #     D_5  128 x 16 x 16
            nn.Conv2d(4 * w, 4 * w, 4, 2, 1),  #          128 x  8 x  8
        ])  # fmt: skip
        self.fc = nn.Sequential(nn.Linear(4 * w * (cfg.size // 16) ** 2, cfg.hidden), nn.ReLU(), nn.Linear(cfg.hidden, 1))

    def maps(self, x: Tensor) -> list[Tensor]:
        """[x, D_1, .. D_6], after each ReLU."""
        out = [x]
        for conv in self.convs:
            out.append(conv(out[-1]).relu())
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.maps(x)[-1].flatten(1))


def denoiser(cfg: Config) -> nn.Sequential:
    """f: "two convolutional layers with 3x3 kernel" (Sec. 3.1.1), 64 channels between (D4)."""
    return nn.Sequential(nn.Conv2d(3, 2 * cfg.width, 3, 1, 1), nn.ReLU(), nn.Conv2d(2 * cfg.width, 3, 3, 1, 1))


def local_enhancer(cfg: Config) -> nn.Sequential:
    """E for local attributes: x and T(x) as six channels, "a fully convolutional network of 4 layers" (Sec. 3.2), 64 channels (D4)."""
    w, relu = 2 * cfg.width, nn.ReLU()
    return nn.Sequential(nn.Conv2d(6, w, 5, 1, 2), relu, nn.Conv2d(w, w, 3, 1, 1), relu, nn.Conv2d(w, w, 3, 1, 1), relu, nn.Conv2d(w, 3, 3, 1, 1))


class Curve(nn.Module):
    """T after every cfg.curve cycles of its training."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.T = nn.ModuleList(transform_network(cfg) for _ in range(cfg.cycles // cfg.curve))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))


@dataclass
class Nets:
    """A model: T, D and, for a variant with stage two, E_local or E_global; or what all models share: T after
    pre-training, g, f (SHARED). A task's model starts from the shared T; f and phi it only uses."""

    T: nn.Module
    D: Discriminator | None = None
    E_local: nn.Module | None = None
    E_global: nn.Module | None = None
    g: nn.Module | None = None
    f: nn.Module | None = None
    phi: Phi | None = None
    curve: Curve | None = None


def build(cfg: Config) -> Nets:
    """The networks of one model, with PyTorch's own initial weights (not stated), or those of the model that cfg.start
    names. E_global has "the same architecture of the transform network" (Sec. 3.2). Raises ModelError if that model,
    DataError if the weights of VGG-Face are not there."""
    if cfg.task == SHARED:
        phi = vgg_face.features(VGG_FACE if cfg.phi == VGG_FACE else cfg.start, cfg.width, cfg.phi_order)
        return Nets(transform_network(cfg), g=transform_network(cfg), f=denoiser(cfg), phi=phi)
    shared = models.opened(sys.modules[__name__], cfg.start)[SHARED] if cfg.start else build(replace(cfg, task=SHARED))
    variant, local = VARIANTS[cfg.variant], bool(task_of(cfg).hull)
    nets = Nets(transform_network(cfg), Discriminator(cfg), f=shared.f, phi=shared.phi)
    nets.T.load_state_dict(shared.T.state_dict())
    nets.f.transient = True  # no part of this model's weights
    nets.D.transient = not variant.enhance and cfg.cycles > 0  # nor is D, where no figure looks into it
    nets.curve = Curve(cfg) if cfg.curve else None
    if variant.enhance and local:
        nets.E_local = local_enhancer(cfg)
    elif variant.enhance:
        nets.E_global = transform_network(cfg)
        nets.E_global.load_state_dict(shared.T.state_dict())  # D15
    return nets


# ------------------------------------------------------------------------------------------------ losses


def norm2(d: Tensor) -> Tensor:
    """||d||_F^2: the sum of squares over colours and pixels (49,152 terms at 128x128), mean over the batch."""
    return d.square().flatten(1).sum(1).mean()


def sums(cfg: Config) -> float:
    """The factor on sums over pixels that keeps their weight at sizes below 128 (D10)."""
    return (128 / cfg.size) ** 2


def content(u: Tensor, v: Tensor) -> Tensor:
    """Eq. (1), of feature maps phi_l, and Eq. (12), of D_l: ||u - v||_F^2 / (2 C H W), mean over the batch."""
    return (u - v).square().mean() / 2


def scaled(maps: list[Tensor], at_x: list[Tensor], cfg: Config) -> list[Tensor]:
    """Feature maps as losses compare them (D6): as they are, or over the root mean square of x's."""
    return over_scale(maps, at_x) if cfg.scale == "unit" else maps


def identity(at_y: list[Tensor], at_x: list[Tensor], cfg: Config) -> Tensor:
    """Eq. (13), of maps of D: sum over l = 4, 5 of w_l times `content` between the maps of T(x) and of x, both as `scaled`."""
    u, v = scaled(at_y, at_x, cfg), scaled(at_x, at_x, cfg)
    return cfg.w_4 * content(u[4], v[4]) + cfg.w_5 * content(u[5], v[5])


def id_phi(phi: Phi, y: Tensor, x: Tensor, cfg: Config) -> Tensor:
    """Eq. (2): the same of phi's maps of y and of x. phi_l(x) is a constant."""
    with torch.no_grad():
        at_x = phi.maps(x)
    return identity(phi.maps(y), at_x, cfg)


def adv_d(real: Tensor, fake: Tensor) -> Tensor:
    """Eq. (3) for D, negated and repaired (D1), on logits: -E[log D(a)] - E[log(1 - D(T(x)))]. Never negative."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def adv_t(fake: Tensor) -> Tensor:
    """Eq. (3) for T, less its constant 1, on logits: -E[log D(T(x))]."""
    return F.softplus(-fake).mean()


def reconstruct(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (4): what g minimises, the content losses of phi_4 and phi_5 between g(x) and x. No pixel term: colours may drift."""
    value = id_phi(nets.phi, nets.g(batch.x), batch.x, cfg)
    return value, {"content": value.detach()}


def denoise(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (5): what f minimises, ||f(g(x)) - x||^2 + ||f(x) - x||^2, sums over pixels; g is frozen."""
    x = batch.x
    nets.g.eval()
    with torch.no_grad():
        gx = nets.g(x)
    noisy, clean = norm2(nets.f(gx) - x), norm2(nets.f(x) - x)
    return noisy + clean, {"noisy": noisy.detach(), "clean": clean.detach()}


def smooth(f: nn.Module, Tx: Tensor) -> Tensor:
    """Eq. (6): ||f(T(x)) - T(x)||_F^2, a sum over pixels."""
    return norm2(f(Tx) - Tx)


def inputs_and_guided(batch) -> tuple[Tensor, Tensor]:
    """x and a: the halves of a balanced batch, without and with the reference attribute."""
    return batch.x.chunk(2)


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (7) and Eq. (14) as D minimises them: the adversarial term alone (D1, D2), unless dyn_to_D puts the identity term back."""
    x, a = inputs_and_guided(batch)
    with torch.no_grad():
        Tx = nets.T(x)
    real, fake = nets.D(torch.cat([a, Tx])).chunk(2)  # no normalisation in D: one call equals two
    adv = adv_d(real, fake)
    total, parts = adv, {"adv": adv, "real": real.sigmoid().mean(), "fake": fake.sigmoid().mean()}
    if cfg.dyn_to_D == "max" and VARIANTS[cfg.variant].identity == "D":
        l_id = cfg.lambda_D * identity(nets.D.maps(Tx), nets.D.maps(x), cfg)
        total, parts["id"] = adv - l_id, l_id
    return total, {k: v.detach() for k, v in parts.items()}


def t_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (7) (DIAT) and Eq. (14) (DIAT-A) as T minimises them: adversarial + lambda identity + gamma smoothness."""
    x, _ = inputs_and_guided(batch)
    variant = VARIANTS[cfg.variant]
    Tx = nets.T(x)
    maps = nets.D.maps(Tx)
    adv = adv_t(nets.D.fc(maps[-1].flatten(1)))
    l_id = l_smooth = adv.new_zeros(())
    if variant.identity == "phi":
        l_id = cfg.lambda_phi * id_phi(nets.phi, Tx, x, cfg)
    if variant.identity == "D":
        with torch.no_grad():
            at_x = nets.D.maps(x)
        l_id = cfg.lambda_D * identity(maps, at_x, cfg)
    if variant.smooth:
        l_smooth = cfg.gamma * sums(cfg) * smooth(nets.f, Tx)
    return adv + l_id + l_smooth, {"adv": adv.detach(), "id": l_id.detach(), "smooth": l_smooth.detach()}


g_loss = t_loss  # the name that every method has


def keep_T(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """No loss, but a note: T as it is now into the next place of nets.curve. Its gradient is 0."""
    nets.curve.T[int(nets.curve.filled)].load_state_dict(nets.T.state_dict())
    nets.curve.filled += 1
    return 0 * next(nets.curve.parameters()).sum(), {}


def rec_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (8): T learns to return its input, ||x - T(x)||_F^2, a sum over pixels, mean over the batch."""
    value = norm2(batch.x - nets.T(batch.x))
    psnr = 10 * torch.log10(4 * batch.x[0].numel() / value.detach().clamp_min(1e-9))
    return value, {"rec": value.detach(), "psnr": psnr}


def dis_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (9): D learns the attribute, (y - D(x))^2 after the sigmoid, mean over the batch."""
    predicted = nets.D(batch.x).sigmoid()
    value = (batch.y - predicted).square().mean()
    return value, {"dis": value.detach(), "accuracy": ((predicted > 0.5) == (batch.y > 0.5)).float().mean().detach()}


def e_local_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (10), the mask inside the norm: outside the hull E(x, T(x)) equals x, inside it its features equal T(x)'s. T is frozen.

    The pixel term is a sum (D10), at unit scale a mean (D6); the content terms, the first of them on pixels, are means."""
    x, m = batch.x, batch.planes
    nets.T.eval()
    with torch.no_grad():
        Tx = nets.T(x)
        target, at_x = nets.phi.maps(m * Tx, 2), nets.phi.maps(x, 2)
    y = nets.E_local(torch.cat([x, Tx], 1))
    at_y = nets.phi.maps(m * y, 2)
    outside = norm2((1 - m) * (y - x)) * (sums(cfg) if cfg.scale == "raw" else 1 / x[0].numel())
    pairs = zip((cfg.beta_0, cfg.beta_1, cfg.beta_2), scaled(at_y, at_x, cfg), scaled(target, at_x, cfg), strict=True)
    inside = sum(b * content(u, v) for b, u, v in pairs)
    return outside + inside, {"outside": outside.detach(), "inside": inside.detach()}


def e_global_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (11): E learns to sharpen, ||E(B(x)) - x||_F^2, a sum over pixels, mean over the batch."""
    value = norm2(nets.E_global(blur(batch.x, cfg)) - batch.x)
    return value, {"deblur": value.detach()}


def blur(x: Tensor, cfg: Config) -> Tensor:
    """B: Gaussian, sigma 1.8 pixels at 128 (in proportion below), cut at 3.3 sigma, reflected at the border. Keeps constants."""
    sigma, r = cfg.sigma * cfg.size / 128, max(1, ceil(6 * cfg.size / 128))
    line = torch.exp(-torch.arange(-r, r + 1, dtype=x.dtype, device=x.device).square() / (2 * sigma**2))
    line = (line / line.sum()).repeat(3, 1)
    x = F.conv2d(F.pad(x, (r, r, 0, 0), mode="reflect"), line[:, None, None, :], groups=3)
    return F.conv2d(F.pad(x, (0, 0, r, r), mode="reflect"), line[:, None, :, None], groups=3)


# ------------------------------------------------------------------------------------------------ data (Sec. 5.1) and stages (Algorithm 1)


def chosen(faces: FaceSet, split: Split, cfg: Config) -> np.ndarray:
    """(N,) bool: the "subset of the aligned CelebA" without its most turned clusters (D8)."""
    return landmarks.frontal(faces, split, cfg.clusters, cfg.dropped) if cfg.clusters else np.ones(len(faces), bool)


def whole_set(task: Task, cfg: Config, faces: FaceSet, split: Split, seed: int) -> Examples:
    """Pre-training: all chosen training faces; label: has the reference attribute."""
    index = split.train[chosen(faces, split, cfg)[split.train]]
    return Examples(index, (faces.column(task.attribute)[index] == task.target)[:, None].astype(np.float32))


def both_sets(task: Task, cfg: Config, faces: FaceSet, split: Split, seed: int) -> Examples:
    """Algorithm 1, line 1: the guided set, all faces with the attribute (label 1), and the input set, 2,000 random ones
    without it (label 0)."""
    whole = whole_set(task, cfg, faces, split, seed)
    without = np.flatnonzero(whole.labels[:, 0] == 0)
    without = np.random.default_rng([seed, 1]).permutation(without)[: cfg.inputs]
    rows = np.concatenate([np.sort(without), np.flatnonzero(whole.labels[:, 0] == 1)])
    return Examples(whole.index[rows], whole.labels[rows])


def masks(task: Task, cfg: Config, points: np.ndarray, size: int) -> Tensor:
    """m: (n, 1, size, size) bool, the hull of the task's landmarks with its margin. points: (n, 68, 2)."""
    eyes = np.linalg.norm(points[:, 42:48].mean(1) - points[:, 36:42].mean(1), axis=1)
    hulls = [landmarks.hull_mask(p[None, list(task.hull)], size, cfg.margin * d) for p, d in zip(points, eyes, strict=True)]
    return torch.cat(hulls)


def inputs_with_masks(task: Task, cfg: Config, faces: FaceSet, split: Split, seed: int) -> Examples:
    """Stage two, local: the input set, each face with its mask."""
    both = both_sets(task, cfg, faces, split, seed)
    index = both.index[both.labels[:, 0] == 0]
    m = masks(task, cfg, landmarks.points68(faces, index)[0], faces.size)
    return Examples(index, np.zeros((len(index), 1), np.float32), m.numpy().astype(np.uint8) * 255)


def stages(cfg: Config) -> list[Stage]:
    """SHARED: T's pre-training, g, f. A task: pre-training of D, Algorithm 1 from the shared T, enhancement.

    Raises DataError if VGG-Face is wanted and its weights are not there."""
    if cfg.phi == VGG_FACE:
        vgg_face.weights_file()

    def pre_training(name: str, net: str, loss, cycles: int, lr: float) -> Update:
        return Update(name, (net,), loss, lr, schedule=lambda cycle: 1 - cycle / cycles)

    if cfg.task == SHARED:
        everything = partial(whole_set, TASKS["male_to_female"], cfg)  # the labels are not used

        def stage(name, update, cycles):
            return Stage(name, SHARED, ("Male",), (update,), cycles, cfg.batch, examples=everything)

        return [
            stage("reconstruction", pre_training("T_pre", "T", rec_loss, cfg.pre_cycles, cfg.lr_pre), cfg.pre_cycles),
            stage("artefacts", pre_training("g", "g", reconstruct, cfg.g_cycles, cfg.lr_pre), cfg.g_cycles),
            stage("denoising", pre_training("f", "f", denoise, cfg.f_cycles, cfg.lr_pre), cfg.f_cycles),
        ]
    variant, out = VARIANTS[cfg.variant], []
    for name in tasks_of(cfg):
        task, at = TASKS[name], (TASKS[name].attribute,)
        whole, both, masked = (partial(pool, task, cfg) for pool in (whole_set, both_sets, inputs_with_masks))
        update = pre_training("D_pre", "D", dis_loss, cfg.d_pre_cycles, cfg.lr_D_pre)
        out.append(Stage("pre-training", name, at, (update,), cfg.d_pre_cycles, cfg.batch, cfg.sampler, examples=whole))
        if cfg.cycles:
            lr = cfg.lr_A if variant.identity == "D" else cfg.lr
            adam = {"lr": lr, "betas": (0.5, 0.999)}  # D13
            game = Update("D", ("D",), d_loss, repeats=cfg.d_step, **adam), Update("T", ("T",), t_loss, repeats=cfg.t_step, **adam)
            if cfg.curve:
                game = *game, Update("curve", ("curve",), keep_T, lr, fresh=False, every=cfg.curve)
            out.append(Stage("transform", name, at, game, cfg.cycles, 2 * cfg.batch, "balanced", examples=both))
        if variant.enhance:
            E, loss, pool = ("E_local", e_local_loss, masked) if task.hull else ("E_global", e_global_loss, whole)
            out.append(Stage("enhancement", name, at, (Update(E, (E,), loss, cfg.lr_E),), cfg.e_cycles, cfg.batch, examples=pool))
    return out


# ------------------------------------------------------------------------------------------------ editing


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, H, H), [-1, 1], the edited face. transformed: T(x), what stage two started from. mask: none, the
    method predicts none."""

    image: Tensor
    transformed: Tensor
    mask: None = None


@torch.no_grad()
def edit(nets: Nets, x: Tensor, cfg: Config, enhance: bool = True) -> Edit:
    """Give faces the reference attribute of the model's task: T(x), then E(x, T(x)) (local) or E(B(T(x))) (global)
    unless the model has no E, or enhance is False. x: (B, 3, H, H), [-1, 1]."""
    Tx = nets.T(x)
    if not enhance or not (nets.E_local or nets.E_global):
        return Edit(Tx, Tx)
    y = nets.E_local(torch.cat([x, Tx], 1)) if nets.E_local else nets.E_global(blur(Tx, cfg))
    return Edit(y.clamp(-1, 1), Tx)


def edits(cfg: Config) -> dict[str, str]:
    """What a model of this Config edits: CelebA's attribute -> its name for `editor`. SHARED edits nothing."""
    return {TASKS[name].attribute: TASKS[name].attribute for name in tasks_of(cfg)}


def editor(trained: dict[str, Nets], cfg: Config, enhance: bool = True) -> Callable:
    """One function for all tasks: (attribute, x, target) -> Edit. A model goes one way: a value of the attribute that no model was trained
    for gives x back. target between 0 and 1 mixes the two pictures pixel by pixel, which was never trained."""

    def towards(attribute: str, x: Tensor, target: float) -> Edit:
        ways = {TASKS[name].target: nets for name, nets in trained.items() if TASKS[name].attribute == attribute}
        at = {value: edit(nets, x, cfg, enhance) for value, nets in ways.items()}
        no, yes = at.get(0, Edit(x, x)), at.get(1, Edit(x, x))
        return Edit(no.image.lerp(yes.image, float(target)), no.transformed.lerp(yes.transformed, float(target)))

    return towards

"""DIAT and DIAT-A: a feed-forward network per attribute that gives a face the attribute and leaves it its identity.

M. Li, W. Zuo, D. Zhang: Deep Identity-aware Transfer of Facial Attributes, arXiv 1610.05586 (2016). Sections 3 (DIAT), 4 (DIAT-A) and 5
(experiments). The claim under test: adversarial training against a set of faces that have the attribute transfers it, a loss on features
keeps the identity, and features of the discriminator itself (DIAT-A) serve that better than VGG-Face's.

One model edits one attribute in one direction. Stage one trains T against D, stage two trains E on what T made. What no attribute changes (T's
pre-training, g, f and the deblurring network) is trained once, as the task "shared".

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

from dataclasses import dataclass
from functools import partial
from math import ceil
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.papers.diat.model import landmarks
from lib.baselines import vgg_face as phi
from lib.claims import Claim, Deviation, Test
from lib.data import Examples, FaceSet, Split
from lib.data.splits import RULES
from lib.training.loop import Stage, Update
from lib.training.config import pick, require, selected
from lib.baselines.vgg_face import PROXY, VGG_FACE, Phi, weights_file

TITLE = "Deep Identity-aware Transfer of Facial Attributes (DIAT, DIAT-A)"
CITATION = "M. Li, W. Zuo, D. Zhang. arXiv 1610.05586, 2016."
SHARED = "shared"  # the task of everything that belongs to no attribute
PAPER_CYCLES = 20_000  # T updates: the paper says "while not converged", D7


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
              "printed, D's objective grows without bound as D(T(x)) falls to 0"),  # fmt: skip
    Deviation("D2", "Eq. (14): the identity loss stands inside D's maximum too",
              "D gets no gradient from it; dyn_to_D = 'max' (as printed) or 'min' put it back",
              "as printed D would make x and T(x) look different; the first author's later code locks D while T learns"),  # fmt: skip
    Deviation("D3", "Table 1: deconvolution 3x3, pad 1, stride 2 gives 64 from 32",
              "output padding 1 there, none in the next: 64, 127, 128; deconv1_k = 4 for a 4x4 kernel",
              "the printed kernel gives 63; 127 and the 10x10 kernel need 64"),  # fmt: skip
    Deviation("D4", "Normalisation, activations, residual block, output of T; activations of D, f, E: not stated",
              "T, g, E_global: batch norm and ReLU, tanh; D: ReLU, no norm; f, E_local: ReLU, linear output",
              "the cited lineage (Johnson et al.); the later code has batch norm in T and none in D"),  # fmt: skip
    Deviation("D5", "phi is VGG-Face, weights of 2.6 million faces",
              "phi = 'vgg-face' where its weights file is given, else phi = 'phi-proxy', named so in every table",
              "the weights come with no Python package; profile `paper` insists on them"),  # fmt: skip
    Deviation("D6", "Scale of phi in l_id and eq. (10); w_4, w_5: not stated",
              "phi_norm = 'unit': phi_l and D_l over their root mean square (1,000 faces; the batch), the pixel term of eq. (10) a weighted mean; "
              "'raw': as printed; w = 1",
              "lambda = 0.1 multiplies features of the order of 100 in DIAT, of 1 in DIAT-A; one number cannot mean the same"),  # fmt: skip
    Deviation("D7", "dstep, tstep, batch, Adam's betas, numbers of iterations: not stated ('while not converged')",
              "1:1 on fresh batches of 30 inputs and 30 guided faces; 0.9, 0.999; 20,000 cycles in profile `paper`, the share is printed",
              "the usual GAN; the later code's 24:6 belongs to a Wasserstein critic"),  # fmt: skip
    Deviation("D8", "14 of 62 landmark clusters are excluded by eye (Sec. 5.1)",
              "the 14 whose centre is turned most to the side",
              "'partially invisible' faces are turned ones; the rule drops 13.0 % of 4,330 CelebA faces, 13.4 % follow from its hats"),  # fmt: skip
    Deviation("D9", "68 landmarks from a deep detector, margin of the mask not stated (Sec. 3.2)",
              "exact landmarks on built-in faces, a landmark file, or a mean shape fitted to five points; margin 0.25 of the eye distance",
              "the detector is not public"),  # fmt: skip
    Deviation("D10", "Squared norms are sums, content losses means, at 128x128",
              "sums are multiplied by (128 / size)^2",
              "so that gamma weighs the same at every size"),  # fmt: skip
    Deviation("D11", "D is pre-trained on the whole set (Sec. 3.1.2)",
              "half of each batch with the reference attribute, in the short profiles",
              "with 6.5 % eyeglasses a short natural run hardly meets one"),  # fmt: skip
    Deviation("D12", "Learning rates 1e-4 and (DIAT-A) 1e-5; lambda = 0.1 for both",
              "as printed in profile `paper`; `cpu`: 3e-4 and 2e-4, 2e-3 outside the adversarial stage; at unit scale lambda 20 (phi) and 10 (D)",
              "a few hundred updates at 1e-5 move nothing; at unit scale 0.1 leaves a picture that shares nothing with its input",
              "glasses, 150 cycles, one trial each, n = 72, T alone: identity kept 0 % with lambda 0, 89 % (20, phi), 36 % (5, D); 16 channels, "
              "n = 76, with E, success and identity kept: lambda 10 (D), 220 cycles 86 and 96 %; 10, 320: 80 and 99 %; 6, 320: 55 and 100 %; "
              "4, 320: 72 and 95 %; 10, 350, D pre-trained for 250 cycles instead of 120, outside 0.5 instead of 0.3: 93 and 100 %"),  # fmt: skip
    Deviation("D13", "Batch norm in adversarial training: not stated",
              "from the end of pre-training on, T's batch norms keep the statistics that they have",
              "T is used with running statistics, which lag behind while it changes on small batches"),  # fmt: skip
    Deviation("D14", "Course of the learning rate: not stated",
              "constant in adversarial training; falling linearly to 0 in all other stages",
              "the running statistics of batch norm must catch up with the weights"),  # fmt: skip
    Deviation("D15", "What E's output is: not stated",
              "E adds what its network makes to its input: to x (local), to B(x) (global)",
              "both learn to return most of their input; short runs cannot learn that from nothing",
              "glasses, one trial each: PSNR to the input 18.4 dB without it (150 cycles at 1e-3), 24.5 dB with it (120 at 2e-3)"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """Profile `paper` is the default. Anything narrower says so in the report."""

    task: str = "all"  # one of TASKS, several joined by commas, or all: one model each
    variant: str = "DIAT-A"  # one of VARIANTS: Sec. 5.1
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
    dyn_to_D: str = "none"  # none, max (printed) or min: D2
    phi: str = VGG_FACE  # Sec. 3.1.1; or phi-proxy: D5
    phi_order: str = "RGB"  # of the input channels of the file's port
    phi_norm: str = "raw"  # or unit: D6
    outside: float = 1.0  # weight of the pixel term of eq. (10) where phi_norm is unit: D6
    phi_size: int = 0  # pictures are enlarged to this side for phi; 0: not. Not stated
    phi_width: int = 64  # of phi-proxy
    phi_steps: int = 20_000  # of phi-proxy
    inputs: int = 2_000  # Sec. 5.1
    clusters: int = 62  # Sec. 5.1; 0: no face is left out
    dropped: int = 14  # Sec. 5.1: D8
    batch: int = 30  # inputs, and as many guided faces; not stated: D7
    lr_pre: float = 1e-4  # Sec. 3.2: E; for pre-training, g and f not stated
    lr: float = 1e-4  # Sec. 3.1.2: T and D of DIAT
    lr_A: float = 1e-5  # Sec. 4.2: T and D of DIAT-A
    d_step: int = 1  # Algorithm 1, not stated: D7
    t_step: int = 1  # Algorithm 1, not stated: D7
    pre_cycles: int = 5_800  # of T, an epoch; not stated: D7
    d_pre_cycles: int = 5_800  # of D, an epoch; not stated: D7
    g_cycles: int = 10_000  # not stated: D7
    f_cycles: int = 5_000  # not stated: D7
    cycles: int = PAPER_CYCLES  # not stated: D7; 0: pre-training alone
    e_cycles: int = 10_000  # not stated: D7
    sampler: str = "natural"  # of D's pre-training: D11
    # what is not the method: comparisons, data and evaluation
    compared: str = "eyeglasses_removal,male_to_female"  # tasks on which the variants are trained too
    lfw: str = ""  # folder of LFW for Figs 8, 9; empty: they are left out
    faces: int = 200_000  # synthetic faces to render (a folder of faces is read whole)
    split: str = "most_images"  # or "random"
    test_images: int = 1_000  # test faces per task, at most
    judge_width: int = 64  # channels of the judges' first layer
    judge_steps: int = 20_000  # their SGD steps
    scratch: bool = False  # a run whose numbers mean nothing

    def __post_init__(self):
        tasks_of(self)
        tasks_of(self, "compared")
        pick(VARIANTS, self.variant, "variant")
        require(self.size >= 32 and self.size % 32 == 0, "size", self.size, "a multiple of 32, at least 32")
        cycles = ("d_step", "t_step", "pre_cycles", "d_pre_cycles", "g_cycles", "f_cycles", "e_cycles", "phi_steps", "judge_steps")
        for name in (*cycles, "width", "blocks", "hidden", "inputs", "batch", "faces", "test_images", "judge_width", "phi_width"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        weights = ("lambda_phi", "lambda_D", "gamma", "w_4", "w_5", "beta_0", "beta_1", "beta_2", "margin", "outside")
        for name in (*weights, "phi_size", "clusters", "dropped", "cycles"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        require(self.dropped < self.clusters or not self.clusters, "dropped", self.dropped, "less than clusters")
        for name in ("lr_pre", "lr", "lr_A", "sigma"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name, options in (("dyn_to_D", ("none", "max", "min")), ("phi", (VGG_FACE, PROXY)), ("phi_order", ("RGB", "BGR")),
                              ("phi_norm", ("raw", "unit")), ("sampler", ("natural", "balanced"))):  # fmt: skip
            pick(dict.fromkeys(options), getattr(self, name), name)
        require(self.deconv1_k in (3, 4), "deconv1_k", self.deconv1_k, "3 or 4")
        pick(dict.fromkeys(RULES), self.split, "split")


def tasks_of(cfg: Config, field: str = "task") -> tuple[str, ...]:
    """The tasks that a Config names, in the paper's order; none for SHARED. Raises ParameterError for others."""
    text = getattr(cfg, field)
    return () if text == SHARED else selected(text, TASKS, field)


def tasks(cfg: Config) -> dict[str, Task]:
    """The tasks of a Config by name."""
    return {name: TASKS[name] for name in tasks_of(cfg)}


def compared(cfg: Config) -> dict[str, Task]:
    """The tasks on which the variants are trained too: those named in cfg.compared that cfg.task has, or else the first that it has."""
    wanted = [name for name in tasks_of(cfg, "compared") if name in tasks_of(cfg)]
    return {name: TASKS[name] for name in wanted or tasks_of(cfg)[:1]}


def on_lfw(cfg: Config) -> dict[str, Task]:
    """The tasks that Sec. 5.4 shows on other photographs, mouth_open and gender, as far as this configuration has them."""
    return {name: TASKS[name] for name in tasks_of(cfg) if name in ("mouth_open", "male_to_female")}


def attributes_of(cfg: Config) -> tuple[str, ...]:
    """The attributes that the tasks of a Config change."""
    return tuple(dict.fromkeys(t.attribute for t in tasks(cfg).values()))


def proxy(cfg: Config) -> phi.Config:
    """How phi-proxy is trained for this configuration."""
    return phi.Config(size=cfg.size, width=cfg.phi_width, steps=cfg.phi_steps, batch=2 * cfg.batch, scratch=cfg.scratch)


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


def paper() -> Config:
    """The paper's settings. Needs VGG-Face's weights."""
    return Config()


def gpu() -> Config:
    """64x64 and the paper's widths, phi-proxy, a quarter of the cycles."""
    return Config(
        size=64, cycles=5_000, pre_cycles=4_000, d_pre_cycles=1_000, g_cycles=1_500, f_cycles=800, e_cycles=2_000, lr_A=1e-4, sampler="balanced",
        phi=PROXY, phi_norm="unit", phi_width=32, phi_steps=4_000, lambda_phi=20.0, lambda_D=10.0, split="random", faces=60_000,
        judge_width=32, judge_steps=6_000,
    )  # fmt: skip


def cpu() -> Config:
    """Two cores, minutes: small faces, narrow networks, few and larger updates (D12)."""
    return Config(
        size=32, width=16, hidden=250, batch=8, pre_cycles=1_000, d_pre_cycles=250, g_cycles=150, f_cycles=250, cycles=350, e_cycles=250,
        lr_pre=2e-3, lr=3e-4, lr_A=2e-4, lambda_phi=20.0, lambda_D=10.0, outside=0.5, sampler="balanced", phi=PROXY, phi_norm="unit",
        phi_width=12, phi_steps=300, compared="eyeglasses_removal", split="random", faces=8_000, test_images=100, judge_width=12,
        judge_steps=700,
    )  # fmt: skip


def smoke() -> Config:
    """Seconds; proves the path. Its numbers mean nothing."""
    return Config(
        size=32, width=2, blocks=1, hidden=8, batch=4, pre_cycles=3, d_pre_cycles=2, g_cycles=2, f_cycles=2, cycles=3, e_cycles=2, sampler="balanced",
        phi=PROXY, phi_norm="unit", phi_width=2, phi_steps=3, compared="eyeglasses_removal", inputs=40, clusters=8, dropped=2,
        split="random", faces=600, test_images=8, judge_width=2, judge_steps=4, scratch=True,
    )  # fmt: skip


PROFILES = {"smoke": smoke, "cpu": cpu, "gpu": gpu, "paper": paper}


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


class Residue(nn.Module):
    """E: the first three channels of its input plus what a network makes of all of them (D15)."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x):
        return x[:, :3] + self.net(x)


def local_enhancer(cfg: Config) -> Residue:
    """E for local attributes: x and T(x) as six channels, "a fully convolutional network of 4 layers" (Sec. 3.2), 64 channels (D4)."""
    w, relu = 2 * cfg.width, nn.ReLU()
    net = nn.Sequential(nn.Conv2d(6, w, 5, 1, 2), relu, nn.Conv2d(w, w, 3, 1, 1), relu, nn.Conv2d(w, w, 3, 1, 1), relu, nn.Conv2d(w, 3, 3, 1, 1))
    return Residue(net)


def global_enhancer(cfg: Config) -> Residue:
    """E for global attributes: "the same architecture of the transform network" (Sec. 3.2)."""
    return Residue(transform_network(cfg))


@dataclass
class Nets:
    """A model: T, D and, for a variant with stage two, E_local; or what all models share: T after pre-training, g, f, E_global (SHARED).
    A task's model starts from the shared T and holds a copy of E_global; g, f and phi it only uses."""

    T: nn.Module
    D: Discriminator | None = None
    E_local: nn.Module | None = None
    E_global: nn.Module | None = None
    g: nn.Module | None = None
    f: nn.Module | None = None
    phi: Phi | None = None


def build(cfg: Config, phi: Phi | None = None, shared: Nets | None = None) -> Nets:
    """The networks of one model, with PyTorch's own initial weights (not stated) where nothing is given. Training needs phi and the shared
    networks; loading and editing do not."""
    if cfg.task == SHARED:
        return Nets(transform_network(cfg), E_global=global_enhancer(cfg), g=transform_network(cfg), f=denoiser(cfg), phi=phi)
    enhance = VARIANTS[cfg.variant].enhance
    nets = Nets(transform_network(cfg), Discriminator(cfg), phi=phi)
    if enhance:
        nets.E_local, nets.E_global = local_enhancer(cfg), global_enhancer(cfg)
    if shared is not None:
        nets.T.load_state_dict(shared.T.state_dict())
        if enhance:
            nets.E_global.load_state_dict(shared.E_global.state_dict())
        nets.g, nets.f = shared.g, shared.f
        nets.g.transient = nets.f.transient = True  # no part of this model's checkpoint
    return nets


# ------------------------------------------------------------------------------------------------ losses


def norm2(d: Tensor) -> Tensor:
    """||d||_F^2: the sum of squares over colours and pixels (49,152 terms at 128x128), mean over the batch."""
    return d.square().flatten(1).sum(1).mean()


def sums(cfg: Config) -> float:
    """The factor on sums over pixels that keeps their weight at sizes below 128 (D10)."""
    return (128 / cfg.size) ** 2


def content(u: Tensor, v: Tensor) -> Tensor:
    """Eq. (1), of feature maps phi_l: ||u - v||_F^2 / (2 C H W), mean over the batch."""
    return (u - v).square().mean() / 2


def id_phi(phi: Phi, Tx: Tensor, x: Tensor, w: tuple[float, float]) -> Tensor:
    """Eq. (2): sum over l = 4, 5 of w_l times the content loss on phi_l. phi_l(x) is a constant."""
    with torch.no_grad():
        at_x = phi.maps(x)
    at_Tx = phi.maps(Tx)
    return w[0] * content(at_Tx[4], at_x[4]) + w[1] * content(at_Tx[5], at_x[5])


def adv_d(real: Tensor, fake: Tensor) -> Tensor:
    """Eq. (3) for D, negated and repaired (D1), on logits: -E[log D(a)] - E[log(1 - D(T(x)))]. Never negative."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def adv_t(fake: Tensor) -> Tensor:
    """Eq. (3) for T, less its constant 1, on logits: -E[log D(T(x))]."""
    return F.softplus(-fake).mean()


def reconstruct(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (4): what g minimises, the content losses of phi_4 and phi_5 between g(x) and x. No pixel term: colours may drift."""
    value = id_phi(nets.phi, nets.g(batch.x), batch.x, (cfg.w_4, cfg.w_5))
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


def dynamic(u: Tensor, v: Tensor) -> Tensor:
    """Eq. (12), of feature maps D_l: ||u - v||_F^2 / (2 C H W), mean over the batch."""
    return content(u, v)


def id_dynamic(at_Tx: list[Tensor], at_x: list[Tensor], w: tuple[float, float]) -> Tensor:
    """Eq. (13): sum over l = 4, 5 of w_l times the loss on D_l, from the maps of T(x) and of x."""
    return w[0] * dynamic(at_Tx[4], at_x[4]) + w[1] * dynamic(at_Tx[5], at_x[5])


def relative(at_Tx: list[Tensor], at_x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Maps of T(x) and of x, both over the root mean square of x's (D6): the unit scale of features that change while D learns."""
    scale = [m.square().mean().sqrt().clamp_min(1e-6).detach() for m in at_x]
    return [m / s for m, s in zip(at_Tx, scale, strict=True)], [m / s for m, s in zip(at_x, scale, strict=True)]


def inputs_and_guided(batch) -> tuple[Tensor, Tensor]:
    """x and a: the halves of a balanced batch, without and with the reference attribute."""
    return batch.x.chunk(2)


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (7) and Eq. (14) as D minimises them: the adversarial term alone (D1, D2), unless dyn_to_D puts the identity term back."""
    x, a = inputs_and_guided(batch)
    nets.T.eval()  # D13
    with torch.no_grad():
        Tx = nets.T(x)
    real, fake = nets.D(torch.cat([a, Tx])).chunk(2)  # no normalisation in D: one call equals two
    adv = adv_d(real, fake)
    total, parts = adv, {"adv": adv, "real": real.sigmoid().mean(), "fake": fake.sigmoid().mean()}
    if cfg.dyn_to_D != "none" and VARIANTS[cfg.variant].identity == "D":
        at_Tx, at_x = nets.D.maps(Tx), nets.D.maps(x)
        identity = cfg.lambda_D * id_dynamic(*(relative(at_Tx, at_x) if cfg.phi_norm == "unit" else (at_Tx, at_x)), (cfg.w_4, cfg.w_5))
        total, parts["id"] = adv + (identity if cfg.dyn_to_D == "min" else -identity), identity
    return total, {k: v.detach() for k, v in parts.items()}


def t_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (7) (DIAT) and Eq. (14) (DIAT-A) as T minimises them: adversarial + lambda identity + gamma smoothness."""
    x, _ = inputs_and_guided(batch)
    v, w = VARIANTS[cfg.variant], (cfg.w_4, cfg.w_5)
    nets.T.eval()  # D13: batch norm's statistics stay, its weights learn
    Tx = nets.T(x)
    maps = nets.D.maps(Tx)
    adv = adv_t(nets.D.fc(maps[-1].flatten(1)))
    identity = regular = adv.new_zeros(())
    if v.identity == "phi":
        identity = cfg.lambda_phi * id_phi(nets.phi, Tx, x, w)
    if v.identity == "D":
        with torch.no_grad():
            at_x = nets.D.maps(x)
        identity = cfg.lambda_D * id_dynamic(*(relative(maps, at_x) if cfg.phi_norm == "unit" else (maps, at_x)), w)
    if v.smooth:
        regular = cfg.gamma * sums(cfg) * smooth(nets.f, Tx)
    return adv + identity + regular, {"adv": adv.detach(), "id": identity.detach(), "smooth": regular.detach()}


def rec_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (8): T learns to return its input, ||x - T(x)||_F^2, a sum over pixels, mean over the batch."""
    value = norm2(batch.x - nets.T(batch.x))
    psnr = 10 * torch.log10(4 * batch.x[0].numel() / value.detach().clamp_min(1e-9))
    return value, {"rec": value.detach(), "psnr": psnr}


def dis_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (9): D learns the attribute, (y - D(x))^2 after the sigmoid, mean over the batch."""
    said = nets.D(batch.x).sigmoid()
    value = (batch.y - said).square().mean()
    return value, {"dis": value.detach(), "accuracy": ((said > 0.5) == (batch.y > 0.5)).float().mean().detach()}


def e_local_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (10), the mask inside the norm: outside the hull E(x, T(x)) equals x, inside it its features equal T(x)'s. T is frozen.

    The pixel term is a sum (D10) where phi is raw, a weighted mean where phi has unit scale (D6); the content terms are means.
    """
    x, m = batch.x, batch.planes
    nets.T.eval()
    with torch.no_grad():
        Tx = nets.T(x)
        wanted = nets.phi.maps(m * Tx, 2)
    y = nets.E_local(torch.cat([x, Tx], 1))
    found = nets.phi.maps(m * y, 2)
    outside = norm2((1 - m) * (y - x)) * (sums(cfg) if cfg.phi_norm == "raw" else cfg.outside / x[0].numel())
    inside = sum(b * content(u, v) for b, u, v in zip((cfg.beta_0, cfg.beta_1, cfg.beta_2), found, wanted, strict=True))
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
    return landmarks.frontal(faces, split, cfg.clusters, cfg.dropped, 0) if cfg.clusters else np.ones(len(faces), bool)


def whole_set(task: Task, cfg: Config, faces: FaceSet, split: Split, seed: int) -> Examples:
    """Pre-training: all chosen training faces; label: has the reference attribute."""
    index = split.train[chosen(faces, split, cfg)[split.train]]
    return Examples(index, (faces.column(task.attribute)[index] == task.target)[:, None].astype(np.float32))


def both_sets(task: Task, cfg: Config, faces: FaceSet, split: Split, seed: int) -> Examples:
    """Algorithm 1, line 1: the guided set, all faces with the attribute (label 1), and the input set, 2,000 random ones without it (label 0)."""
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


def masks_of(cfg: Config):
    """(task, points, size) -> m, with this configuration's margin."""
    return lambda task, points, size: masks(task, cfg, points, size)


def inputs_with_masks(task: Task, cfg: Config, points, faces: FaceSet, split: Split, seed: int) -> Examples:
    """Stage two, local: the input set, each face with its mask."""
    both = both_sets(task, cfg, faces, split, seed)
    index = both.index[both.labels[:, 0] == 0]
    points = landmarks.points68(faces)[0] if points is None else points
    return Examples(index, np.zeros((len(index), 1), np.float32), masks(task, cfg, points[index], faces.size).numpy().astype(np.uint8) * 255)


def stages(cfg: Config, points: np.ndarray | None = None) -> list[Stage]:
    """Per task: pre-training of D, Algorithm 1 from the shared T, enhancement if local. SHARED: T's pre-training, g, f, the deblurring network.

    points: (N, 68, 2) landmarks of the set, None to take what it has. Raises DataError if VGG-Face is wanted and its weights are not there.
    """
    v, size, betas, out = VARIANTS[cfg.variant], 2 * cfg.batch, (0.9, 0.999), []
    if cfg.phi == VGG_FACE:
        weights_file()

    def stage(model, what, attribute, trained, cycles, sampler, examples):
        """A stage of one falling learning rate; trained: (update, network, loss)."""
        name, net, loss = trained
        update = Update(name, (net,), loss, cfg.lr_pre, betas, schedule=lambda cycle: 1 - cycle / cycles)
        out.append(Stage(f"{model}: {what}", model, (attribute,), (update,), cycles, size, sampler, examples=examples))

    if cfg.task == SHARED:
        everything = partial(whole_set, TASKS["male_to_female"], cfg)  # the labels are not used
        for what, trained, cycles in (
            ("reconstruction of x", ("T_pre", "T", rec_loss), cfg.pre_cycles),
            ("artefacts", ("g", "g", reconstruct), cfg.g_cycles),
            ("denoising", ("f", "f", denoise), cfg.f_cycles),
            ("deblurring", ("E_global", "E_global", e_global_loss), cfg.e_cycles),
        ):
            stage(SHARED, what, "Male", trained, cycles, "natural", everything)
    lr = cfg.lr_A if v.identity == "D" else cfg.lr
    for name, task in tasks(cfg).items():
        stage(name, "pre-training", task.attribute, ("D_pre", "D", dis_loss), cfg.d_pre_cycles, cfg.sampler, partial(whole_set, task, cfg))
        if cfg.cycles:
            alternate = Update("D", ("D",), d_loss, lr, betas, repeats=cfg.d_step), Update("T", ("T",), t_loss, lr, betas, repeats=cfg.t_step)
            sets = partial(both_sets, task, cfg)
            out.append(Stage(f"{name}: transform", name, (task.attribute,), alternate, cfg.cycles, size, "balanced", examples=sets))
        if v.enhance and task.hull:
            masked = partial(inputs_with_masks, task, cfg, points)
            stage(name, "enhancement", task.attribute, ("E_local", "E_local", e_local_loss), cfg.e_cycles, "natural", masked)
    return out


def using(phi: Phi, points: np.ndarray | None = None, shared: Nets | None = None) -> SimpleNamespace:
    """This module with phi, the landmarks of the set and the shared networks put in: what `engine.train` and `runs.trained` take."""
    return SimpleNamespace(**globals() | {"build": partial(build, phi=phi, shared=shared), "stages": partial(stages, points=points)})


TABLE_1 = [("9x9x32 conv, pad 4, stride 1", "32 x 128 x 128"), ("3x3x64 conv, pad 1, stride 2", "64 x 64 x 64"),
           ("3x3x128 conv, pad 1, stride 2", "128 x 32 x 32"), *[("Residual block, 128 filters", "128 x 32 x 32")] * 5,
           ("3x3x64 deconv, pad 1, stride 2", "64 x 64 x 64"), ("3x3x32 deconv, pad 1, stride 2", "32 x 127 x 127"),
           ("10x10x3 deconv, pad 4, stride 1", "3 x 128 x 128")]  # fmt: skip
TABLE_2 = [("8x8x32 conv, pad 3, stride 2", "32 x 64 x 64"), ("3x3x32 conv, pad 1, stride 1", "32 x 64 x 64"),
           ("4x4x64 conv, pad 1, stride 2", "64 x 32 x 32"), ("3x3x64 conv, pad 1, stride 1", "64 x 32 x 32"),
           ("4x4x128 conv, pad 1, stride 2", "128 x 16 x 16"), ("4x4x128 conv, pad 1, stride 2", "128 x 8 x 8"),
           ("Fully connected layer with 1000 hidden units", "1000"), ("Fully connected layer with 1 hidden units", "1")]  # fmt: skip


# ------------------------------------------------------------------------------------------------ editing


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, H, H), [-1, 1], the edited face. transformed: T(x), what stage two started from. mask: none, the method predicts none."""

    image: Tensor
    transformed: Tensor
    mask: None = None


@torch.no_grad()
def edit(nets: Nets, x: Tensor, task: str, cfg: Config, enhance: bool = True) -> Edit:
    """Give faces the reference attribute of a task: T(x), then E(x, T(x)) (local) or E(B(T(x))) (global) unless the model has no E, or
    enhance is False. x: (B, 3, H, H), [-1, 1]."""
    Tx = nets.T(x)
    if not enhance or nets.E_local is None:
        return Edit(Tx, Tx)
    y = nets.E_local(torch.cat([x, Tx], 1)) if TASKS[task].hull else nets.E_global(blur(Tx, cfg))
    return Edit(y.clamp(-1, 1), Tx)


def editor(models: dict[str, Nets], cfg: Config, enhance: bool = True):
    """One function for all tasks: (attribute, x, target) -> Edit. A model goes one way: a value of the attribute that no model was trained for
    gives x back. target between 0 and 1 mixes the two pictures pixel by pixel, which was never trained."""

    def towards(attribute: str, x: Tensor, target: float) -> Edit:
        trained = {t.target: name for name, t in TASKS.items() if name in models and t.attribute == attribute}
        at = {value: edit(models[name], x, name, cfg, enhance) for value, name in trained.items()}
        no, yes = at.get(0, Edit(x, x)), at.get(1, Edit(x, x))
        return Edit(no.image.lerp(yes.image, float(target)), no.transformed.lerp(yes.transformed, float(target)))

    return towards


# ------------------------------------------------------------------------------------------------ claims (criteria fixed before any run)

LOCAL = tuple(t.row for t in TASKS.values() if t.hull)
GLOBAL = tuple(t.row for t in TASKS.values() if not t.hull)
GLASSES, GENDER, OPEN = "Eyeglasses -", "Male -", "Mouth_Slightly_Open +"


def _tests(*tests: tuple) -> tuple[Test, ...]:
    return tuple(Test(*t) for t in tests)


CLAIMS = (
    Claim("H1", "The attribute is transferred, in all five tasks", "Secs 5.2, 5.3, Figs 4, 5",
          "the judge sees the reference attribute in at least 80 % (local) and 70 % (global) of edits; read it beside the unedited floor",
          _tests(*((f"edit_success | {r} | DIAT-A", ">=", 0.8 if r in LOCAL else 0.7) for r in LOCAL + GLOBAL))),
    Claim("H2", "Identity is kept in local edits, mostly kept in gender transfer", "Secs 5.2, 5.3",
          "the identity judge sees the same person in at least 95 % (local) and 60 % (gender) of edits",
          _tests(*((f"identity_kept | {r} | DIAT-A", ">=", 0.95 if r in LOCAL else 0.6) for r in (*LOCAL, GENDER)))),
    Claim("H3", "DIAT-A trains in about a third of DIAT's time", "Sec. 5.5",
          "seconds per cycle times cycles to success (within 2 points of the last): DIAT-A over DIAT at most 0.42; up to 0.5 supports it in part",
          _tests(*((f"training time ratio | {GLASSES} | DIAT-A / DIAT", "<=", b) for b in (0.42, 0.5)))),
    Claim("H4", "DIAT-A converges faster", "Secs 4.2, 5.5",
          "cycles to success: DIAT-A over DIAT below 1 for each of three seeds",
          _tests(*((f"cycles to success ratio, seed {s} | {GLASSES} | DIAT-A / DIAT", "<", 1.0) for s in range(3)))),
    Claim("H5", "DIAT-A keeps the colours better than DIAT", "Sec. 5.5, Fig. 11",
          "gender: Lab change in the border frame at least 20 % lower than DIAT3's, and the 95 % interval of the paired difference below 0",
          _tests((f"colour_change ratio | {GENDER} | DIAT-A0 / DIAT3", "<=", 0.8),
                 (f"colour_change difference | {GENDER} | DIAT-A0 - DIAT3", "<", 0.0, "ci_high"))),
    Claim("H6", "DIAT-A adapts the length of the hair", "Sec. 5.5, Fig. 11",
          "gender: change beside the neck larger than DIAT3's, the 95 % interval of the paired difference above 0",
          _tests((f"side_change difference | {GENDER} | DIAT-A0 - DIAT3", ">", 0.0, "ci_low"))),
    Claim("H7", "Enhancement suppresses noise and improves quality", "Sec. 5.5, Fig. 10",
          "glasses and gender: noise of DIAT-A at most 0.8 of DIAT-A0's, Frechet distance at most 1.1 of it",
          _tests(*((f"{m} ratio | {r} | DIAT-A / DIAT-A0", "<=", b) for r in (GLASSES, GENDER)
                   for m, b in (("noise", 0.8), ("frechet_judge", 1.1))))),
    Claim("H8", "The identity loss is indispensable", "Sec. 5.5, Fig. 12",
          "glasses: DIAT3 keeps identity in at least 30 points more of the faces than DIAT1, which succeeds in at least 70 %",
          _tests((f"identity_kept difference | {GLASSES} | DIAT3 - DIAT1", ">=", 0.3), (f"edit_success | {GLASSES} | DIAT1", ">=", 0.7))),
    Claim("H9", "Without perceptual regularisation the results are much poorer", "Sec. 5.5, Fig. 13",
          "glasses: noise of DIAT3 at most 0.8 of DIAT2's", _tests((f"noise ratio | {GLASSES} | DIAT3 / DIAT2", "<=", 0.8))),
    Claim("H10", "4.5 ms a face, more than 100 faces in a second", "Secs 1, 5.2",
          "T and E on a GPU: median at most 4.5 ms at batch 1, at most 10 ms a face at batch 50",
          _tests(("ms_per_image | batch 1 | T and E on cuda", "<=", 4.5), ("ms_per_image | batch 50 | T and E on cuda", "<=", 10.0))),
    Claim("H11", "CNIA takes 30 s a face and looks worse", "Sec. 5.2, Fig. 6",
          "a CNIA-style reconstruction takes at least 1,000 times as long, and DIAT-A's Frechet distance is smaller in at least 4 of 5 tasks",
          _tests(("ms_per_image ratio | all tasks | CNIA-style / DIAT-A", ">=", 1000.0),
                 ("wins | all tasks | DIAT-A against CNIA-style", ">=", 4.0))),
    Claim("H12", "Better than semantic inpainting at removing glasses", "Sec. 5.2, Fig. 7",
          "better in at least 2 of success, identity kept and Frechet distance, on the same faces",
          _tests((f"wins | {GLASSES} | DIAT-A against semantic inpainting", ">=", 2.0))),
    Claim("H13", "The models generalise to LFW", "Sec. 5.4, Figs 8, 9",
          "mouth_open and gender: success falls by at most 15 points from the study's own test faces to LFW",
          _tests(*((f"edit_success drop | {r} (LFW) | DIAT-A", "<=", 0.15) for r in (OPEN, GENDER)))),
    Claim("H14", "Pre-training synchronises T and D", "Sec. 3.1.2",
          "open mouth, before adversarial training: PSNR(T(x), x) at least 28 dB, D right in at least 85 %, mean D(T(x)) below 0.3",
          _tests((f"psnr | {OPEN} | pre-trained", ">=", 28.0), (f"d_accuracy | {OPEN} | pre-trained", ">=", 0.85),
                 (f"d_says_reference | {OPEN} | pre-trained", "<", 0.3))),
)  # fmt: skip

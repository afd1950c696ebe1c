"""SaGAN: attribute editing restricted by a spatial attention mask.

G. Zhang, M. Kan, S. Shan, X. Chen: Generative Adversarial Network with Spatial Attention for Face Attribute Editing,
ECCV 2018. Sections 2 (method), 3 (implementation) and 4 (experiments). The claim under test: an attention mask
confines an edit to the region of its attribute, so that everything else is kept, while the edit itself succeeds.

One model edits one attribute, in both directions.

paper            here          shape, range
I                I             (B, 3, H, H), [-1, 1]: input face
c^g              c_g           (B, 1), {0, 1}: its true label of the one attribute
c                c             (B, 1), [0, 1]: target label; trained on 0 and 1
F_m  (AMN)       F_m           attribute manipulation network: where c enters
F_a  (SAN)       F_a           spatial attention network: never sees c
I_a              I_a           (B, 3, H, H), [-1, 1]: F_m(I, c)
b                b             (B, 1, H, H), [0, 1]: F_a(I)
I-hat            I_hat         (B, 3, H, H), [-1, 1]: the edited face
I-tilde          I_tilde       (B, 3, H, H): between real and edited faces
D_src, D_cls     D(x)[0], [1]  (B, 1, h, h) critic scores of h x h patches; (B, 1) logit of the attribute
lambda_1, lambda_2, lambda_gp  weights of dual and identity reconstruction, and of the gradient penalty
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.claims import Deviation
from lib.layers import ResidualBlock, init_normal
from lib.losses import gradient_penalty, interpolate, l1
from lib.training.config import pick, require, require_each, selected
from lib.training.loop import Stage, Update

TITLE = "Generative Adversarial Network with Spatial Attention for Face Attribute Editing (SaGAN)"
CITATION = "G. Zhang, M. Kan, S. Shan, X. Chen. ECCV 2018."
ATTRIBUTES = ("Eyeglasses", "Mouth_Slightly_Open", "No_Beard", "Smiling")  # Sec. 4.2, Figs 3-7
PAPER_STEPS = 20_833  # G updates of the only documented budget: D2
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("G",)  # the networks that edits and evaluation need
BETWEEN = "condition"  # what a target between 0 and 1 does: the condition itself takes it
SECONDS = 1.1  # processor seconds of a cycle of profile cpu, one thread, bf16

DEVIATIONS = (
    Deviation("D1", "Eqs (1), (3): L_src^D is added and minimised (Sec. 2.1), which would train D backwards",
              "negated, as eq. (12) prints it",
              "sign slip; eq. (12) has the right sign"),  # fmt: skip
    Deviation("D2", "Number of iterations: not stated",
              "20,833 G updates in profile `paper` (1,000,000 images shown to D); fewer elsewhere, the share is "
              "printed",
              "the only documented budget is that of a public re-implementation"),  # fmt: skip
    Deviation("D3", "'all images are resized to 128x128' (Sec. 4.1)",
              "centre square of the full width, then an antialiased bilinear resize",
              "a literal resize squashes the 178x218 faces; one crop rule serves all methods"),  # fmt: skip
    Deviation("D4", "Table 2 at 128x128 only",
              "below 128: fewer stride-2 layers, so that the heads see 2x2 (3x3 where the size is not a power of "
              "two); cls kernel = that size",
              "with six layers at 64x64 the printed 2x2 head kernel does not fit a 1x1 map"),  # fmt: skip
    Deviation("D5", "Table 2, L7: 'I2014'; Sec. 2.1: 'softmax'; 'distinct fully-connected layers'",
              "1024 inputs; one sigmoid (on logits); convolutional heads as in Table 2",
              "misprint; a softmax over the one printed channel is constant"),  # fmt: skip
    Deviation("D6", "||.||_1 in eq. (10): sum or mean not stated",
              "mean over batch, channels and pixels",
              "with sums lambda_1 = 20 and lambda_2 = 100 would outweigh the other terms by a factor of 49,152"),  # fmt: skip
    Deviation("D7", "Leaky ReLU slope, residual block, affine instance norm: not stated",
              "0.2; conv-IN-ReLU-conv-IN with skip; no affine part, convolutions with bias",
              "PatchGAN's slope, which Sec. 3 names; StarGAN's block; the defaults of the time"),  # fmt: skip
    Deviation("D8", "Target label c in training, fresh batches, flips: not stated",
              "c = 1 - c^g; a fresh batch for each of the 3 + 1 updates; no flips",
              "c is binary and c = c^g is what the identity term trains"),  # fmt: skip
    Deviation("D9", "Sampling of rare attributes: not stated",
              "`natural` in profile `paper`; `balanced` (half of each batch has the attribute) elsewhere",
              "with 6.5 % eyeglasses a third of natural batches of 16 hold none"),  # fmt: skip
    Deviation("D10", "GP on the critic's patch map: sum or mean over patches not stated",
              "sum",
              "StarGAN's convention; the patches' mean would shrink the gradient fourfold"),  # fmt: skip
    Deviation("D11", "The 8,177 of 10,177 identities with the most images train (Sec. 4.1)",
              "that rule in profile `paper`, where a quarter of the held-out people validate; elsewhere the set's own "
              "partition, or a random fifth of the identities tests",
              "on a small set the rule leaves too few test faces with a rare attribute"),  # fmt: skip
    Deviation("D12", "128x128 faces, 32 channels (Tables 1, 2)",
              "64x64 and 16 channels in profile `cpu`",
              "a cycle then takes a second of one processor core"),  # fmt: skip
    Deviation("D13", "How the ResNet-18 for face recognition is trained and compared: not stated (Sec. 4.3)",
              "softmax over the training identities, SGD (0.1, momentum 0.9, weight decay 5e-4, a tenth after 50 "
              "and again after 75 % of the steps), cosine of the pooled features; the same number of steps with and "
              "without augmentation",
              "usual settings of the cited network; at equal epochs, three versions of an image would also mean "
              "three times the training"),  # fmt: skip
    Deviation("D14", "How LFW is brought to CelebA's geometry: not stated (Sec. 4.1)",
              "deep-funneled images, the window (29, -7)-(221, 228) of 250x250, then the crop of D3; people who are "
              "in both sets stay",
              "eyes and mouth then lie where CelebA has them"),  # fmt: skip
    Deviation("D15", "Settings and length of the compared methods: not stated, but 'the same training data' (Sec. "
              "4.2)",
              "settings of their own papers and codes, with SaGAN's faces and no flips, StarGAN with SaGAN's "
              "sampler; how many faces each was shown stands where its training is",
              "each method is shown as its authors trained it, on the same faces"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """What training reads. Profile `paper` is the default; anything narrower says so in the report."""

    attribute: str = "all"  # one of ATTRIBUTES, several joined by commas, or all: one model each
    size: int = 128  # Sec. 4.1
    width: int = 32  # channels of L1 in AMN, SAN and D: Tables 1, 2
    blocks: int = 4  # residual blocks: Table 1
    slope: float = 0.2  # not stated: D7
    adversarial: str = "wgan-gp"  # Sec. 3, Eq. (12), Eq. (13); or "cross-entropy": Eq. (1), Eq. (8)
    lambda_1: float = 20.0  # Sec. 3
    lambda_2: float = 100.0  # Sec. 3
    lambda_gp: float = 10.0  # Sec. 3
    batch: int = 16  # Sec. 3
    lr: float = 2e-4  # Sec. 3
    beta_1: float = 0.5  # Sec. 3
    beta_2: float = 0.999  # Sec. 3
    init_std: float = 0.02  # Sec. 3
    d_per_g: int = 3  # Sec. 3
    g_steps: int = PAPER_STEPS  # G updates per attribute; not stated: D2
    sampler: str = "natural"  # not stated: D9
    attention: bool = True  # Eq. (7); False: b := 1 everywhere, F_m alone (an ablation)

    def __post_init__(self):
        attributes_of(self)
        require(self.size >= 32 and self.size % 16 == 0, "size", self.size, "a multiple of 16, at least 32")
        require_each(self, "at least 1", "width", "blocks", "batch", "d_per_g", "g_steps")
        require_each(self, "at least 0", "lambda_1", "lambda_2", "lambda_gp")
        require_each(self, "positive", "lr", "init_std")
        require_each(self, "in [0, 1)", "slope", "beta_1", "beta_2")
        pick(dict.fromkeys(("wgan-gp", "cross-entropy")), self.adversarial, "adversarial")
        pick(dict.fromkeys(("natural", "balanced")), self.sampler, "sampler")


def share_of_paper(cfg: Config) -> float:
    """Images this configuration shows to one model's G, over those of PAPER_STEPS updates (D2)."""
    return cfg.g_steps * cfg.batch / (PAPER_STEPS * 16)


def printed_settings(cfg: Config) -> dict[str, object]:
    """The settings that the paper prints (rows of results/paper_values.csv) as this configuration has them."""
    return {
        "network input, width": cfg.size,
        "AMN, residual blocks": cfg.blocks,
        "weight initialisation, standard deviation": cfg.init_std,
        "Adam, learning rate": cfg.lr,
        "Adam, beta1": cfg.beta_1,
        "Adam, beta2": cfg.beta_2,
        "loss weights, lambda_gp": cfg.lambda_gp,
        "loss weights, lambda_1": cfg.lambda_1,
        "loss weights, lambda_2": cfg.lambda_2,
        "training, batch size": cfg.batch,
        "training, discriminator updates per cycle": cfg.d_per_g,
        "editing, attributes": len(attributes_of(cfg)),
    }


PROFILES = {
    "smoke": lambda: Config(size=32, width=2, blocks=1, batch=4, g_steps=3, sampler="balanced"),
    "cpu": lambda: Config(size=64, width=16, g_steps=5_000, sampler="balanced"),  # an hour and a half a model: D12
    "gpu": lambda: Config(g_steps=6_000, sampler="balanced"),  # about a third of the paper's updates
    "paper": Config,
}


def attributes_of(cfg: Config) -> tuple[str, ...]:
    """The attributes that a Config names, in the paper's order. Raises ParameterError for others."""
    return selected(cfg.attribute, ATTRIBUTES, "attribute")


# ------------------------------------------------------------------------------------------------ networks (Tables 1, 2)


def encoder_decoder(c_in: int, c_out: int, w: int, blocks: int, last: nn.Module) -> nn.Sequential:
    """Table 1, AMN and SAN alike: (B, c_in, H, H) -> (B, c_out, H, H). Shapes are given for w = 32, H = 128.

    All padding is zeros. That matters: c enters AMN as a constant plane, instance norm subtracts what a constant
    plane adds, and only the zeros beyond the border leave a trace of it. With reflected borders AMN would not see its
    label at all. """

    def conv(i, o, k, s, p):
        return [nn.Conv2d(i, o, k, s, p), nn.InstanceNorm2d(o), nn.ReLU()]

    def deconv(i, o):
        return [nn.ConvTranspose2d(i, o, 4, 2, 1), nn.InstanceNorm2d(o), nn.ReLU()]

    return nn.Sequential(
        *conv(c_in, w, 7, 1, 3),  #                                L1     32 x 128 x 128
        *conv(w, 2 * w, 4, 2, 1),  #                               L2     64 x  64 x  64
        *conv(2 * w, 4 * w, 4, 2, 1),  #                           L3    128 x  32 x  32
        *conv(4 * w, 8 * w, 4, 2, 1),  #                           L4    256 x  16 x  16
        *[ResidualBlock(8 * w) for _ in range(blocks)],  #         L5-8  256 x  16 x  16
        *deconv(8 * w, 4 * w),  #                                  L9    128 x  32 x  32
        *deconv(4 * w, 2 * w),  #                                  L10    64 x  64 x  64
        *deconv(2 * w, w),  #                                      L11    32 x 128 x 128
        nn.Conv2d(w, c_out, 7, 1, 3),  #                                L12  c_out x 128 x 128
        last,
    )


class Generator(nn.Module):
    """F_m and F_a, Table 1. Called as G(I, c) it returns I-hat; the parts are methods."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.amn = encoder_decoder(3 + 1, 3, cfg.width, cfg.blocks, nn.Tanh())
        self.san = encoder_decoder(3, 1, cfg.width, cfg.blocks, nn.Sigmoid()) if cfg.attention else None

    def F_m(self, I: Tensor, c: Tensor) -> Tensor:
        """Eq. (5): I_a = F_m(I, c), with c (B, 1) as a constant fourth plane. (B, 3, H, H), [-1, 1]."""
        plane = c[:, :, None, None].expand(-1, -1, *I.shape[2:])
        return self.amn(torch.cat([I, plane], dim=1))

    def F_a(self, I: Tensor) -> Tensor:
        """Eq. (6): b = F_a(I). (B, 1, H, H), [0, 1]; ones in the ablation without attention."""
        return torch.ones_like(I[:, :1]) if self.san is None else self.san(I)

    def forward(self, I: Tensor, c: Tensor) -> Tensor:
        """Eq. (4): I-hat = G(I, c). (B, 3, H, H), [-1, 1]."""
        return compose(self.F_m(I, c), self.F_a(I), I)


def compose(I_a: Tensor, b: Tensor, I: Tensor) -> Tensor:
    """Eq. (7): I-hat = I_a * b + I * (1 - b), b broadcast over the colours. A convex combination: no clipping
    needed."""
    return I_a * b + I * (1 - b)


class Discriminator(nn.Module):
    """Table 2: (B, 3, H, H) -> critic scores (B, 1, h, h), attribute logit (B, 1). No normalisation anywhere (it
    would break the per-image gradient penalty). h = H / 2^n_down with n_down = floor(log2 H) - 1: 2 at 128 (six
    layers, as printed), 64 and 32."""

    def __init__(self, cfg: Config):
        super().__init__()
        n_down = int(log2(cfg.size)) - 1
        channels = [3] + [cfg.width * 2**i for i in range(n_down)]  # 32 x 64 x 64, 64 x 32 x 32, ... 1024 x 2 x 2
        layers = [[nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(cfg.slope)] for i, o in zip(channels, channels[1:], strict=False)]
        self.trunk = nn.Sequential(*[m for layer in layers for m in layer])
        self.src = nn.Conv2d(channels[-1], 1, 3, 1, 1)
        self.cls = nn.Conv2d(channels[-1], 1, cfg.size // 2**n_down, 1, 0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.src(h), self.cls(h).flatten(1)


@dataclass
class Nets:
    G: Generator
    D: Discriminator


def build(cfg: Config) -> Nets:
    """The networks of one attribute's model, initialised N(0, 0.02^2) (Sec. 3)."""
    return Nets(init_normal(Generator(cfg), cfg.init_std), init_normal(Discriminator(cfg), cfg.init_std))


# ------------------------------------------------------------------------------------------------ losses (Secs 2.1, 2.2, 3)


def src_d_cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """Eq. (1) negated (D1), mean over batch and patches, on logits: -E[log D_src(I)] - E[log(1 - D_src(I-hat))]."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def cls_d(logit: Tensor, c_g: Tensor) -> Tensor:
    """Eq. (2): E[-log D_cls(c^g | I)], mean over the batch. Real images only: D_cls never learns from an edited one."""
    return F.binary_cross_entropy_with_logits(logit, c_g)


def src_g_cross_entropy(fake: Tensor) -> Tensor:
    """Eq. (8): E[-log D_src(I-hat)], mean over batch and patches, on logits."""
    return F.softplus(-fake).mean()


def cls_g(logit: Tensor, c: Tensor) -> Tensor:
    """Eq. (9): E[-log D_cls(c | I-hat)], mean over the batch."""
    return F.binary_cross_entropy_with_logits(logit, c)


def reconstruction(I: Tensor, I_dual: Tensor, I_same: Tensor, lambda_1: float, lambda_2: float) -> tuple[Tensor, Tensor]:
    """Eq. (10), its two terms: lambda_1 ||I - G(G(I, c), c^g)||_1 and lambda_2 ||I - G(I, c^g)||_1, as means (D6)."""
    return lambda_1 * l1(I, I_dual), lambda_2 * l1(I, I_same)


def src_d(real: Tensor, fake: Tensor) -> Tensor:
    """Eq. (12), first two terms: -E[D_src(I)] + E[D_src(I-hat)], mean over batch and patches."""
    return fake.mean() - real.mean()


def src_g(fake: Tensor) -> Tensor:
    """Eq. (13): -E[D_src(I-hat)], mean over batch and patches."""
    return -fake.mean()


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (3) with Eq. (12) for L_src: what D minimises. One batch of real faces; their edits carry no graph."""
    I, c_g = batch.x, batch.y
    with torch.no_grad():
        I_hat = nets.G(I, 1 - c_g)
    scores, logits = nets.D(torch.cat([I, I_hat]))  # no normalisation in D: one call equals two
    (real, fake), logit = scores.chunk(2), logits[: len(I)]

    if cfg.adversarial == "wgan-gp":
        adv = src_d(real, fake)
        gp = cfg.lambda_gp * gradient_penalty(lambda x: nets.D(x)[0], interpolate(I, I_hat, batch.rng))
    else:
        adv, gp = src_d_cross_entropy(real, fake), real.new_zeros(())
    cls = cls_d(logit, c_g)
    gap = real.mean() - fake.mean()
    return adv + gp + cls, {"adv": adv.detach(), "gp": gp.detach(), "cls": cls.detach(), "gap": gap.detach()}


def g_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (11): L_adv + L_cls + L_rec, what F_m and F_a minimise together.

    b = F_a(I) does not depend on c, so it is computed once for both edits of I; the way back needs its own mask,
    F_a(I-hat). """
    G, I, c_g = nets.G, batch.x, batch.y
    c = 1 - c_g
    b = G.F_a(I)
    I_a, I_a_same = G.F_m(torch.cat([I, I]), torch.cat([c, c_g])).chunk(2)
    I_hat, I_same = compose(I_a, b, I), compose(I_a_same, b, I)
    I_dual = G(I_hat, c_g)
    fake, logit = nets.D(I_hat)

    adv = src_g(fake) if cfg.adversarial == "wgan-gp" else src_g_cross_entropy(fake)
    cls = cls_g(logit, c)
    rec_dual, rec_same = reconstruction(I, I_dual, I_same, cfg.lambda_1, cfg.lambda_2)
    with torch.no_grad():
        mask = {"mask_mean": b.mean(), "mask_share": (b > 0.1).float().mean(), "mask_saturated": (b > 0.9).float().mean()}
    terms = {"adv": adv.detach(), "cls": cls.detach(), "rec_dual": rec_dual.detach(), "rec_same": rec_same.detach()}
    return adv + cls + rec_dual + rec_same, terms | mask


def stages(cfg: Config) -> list[Stage]:
    """One model per attribute, trained one after the other: per cycle d_per_g updates of D, then one of G (Sec. 3)."""
    adam = {"lr": cfg.lr, "betas": (cfg.beta_1, cfg.beta_2)}
    updates = (Update("D", ("D",), d_loss, repeats=cfg.d_per_g, **adam), Update("G", ("G",), g_loss, **adam))
    return [Stage(a, a, (a,), updates, cfg.g_steps, cfg.batch, cfg.sampler) for a in attributes_of(cfg)]


# ------------------------------------------------------------------------------------------------ editing


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, H, H), [-1, 1], I-hat. mask: (B, 1, H, H), [0, 1], b. attribute_image: (B, 3, H, H), I_a, what b
    lets through."""

    image: Tensor
    mask: Tensor
    attribute_image: Tensor


@torch.no_grad()
def edit(nets: Nets, x: Tensor, target: Tensor | float) -> Edit:
    """Edit faces towards a label. x: (B, 3, H, H), [-1, 1]; target: number or (B, 1) in [0, 1]: 1 adds the attribute,
    0 removes it. Values between were never trained; they go into the condition plane itself."""
    c = torch.as_tensor(target, dtype=x.dtype, device=x.device).expand(len(x), 1)
    I_a, b = nets.G.F_m(x, c), nets.G.F_a(x)
    return Edit(compose(I_a, b, x), b, I_a)


def editor(models: dict[str, Nets]) -> Callable:
    """One function for all attributes: (attribute, x, target) -> Edit, each attribute by its own model."""
    return lambda attribute, x, target: edit(models[attribute], x, target)

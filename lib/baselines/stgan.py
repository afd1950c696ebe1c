"""STGAN: an encoder and a decoder between which selective transfer units pass on what the edit needs, given the difference of the labels.

What the paper leaves open is taken from its official code (github.com/csmliu/STGAN).

paper            here          shape, range
x                x             (B, 3, H, H), [-1, 1]: input face
att_s, att_t     c_org, c      (B, n), {0, 1}: its labels; the target's
att_diff         d             (B, n), [-1, 1]: c - c_org, times 1.5 in edits
G                G             G(x, d) -> (B, 3, H, H); its parts: encoder, units, decoder
D_adv, D_att     D(x)[0], [1]  (B, 1) critic score; (B, n) logits
f_enc^l          f             (B, w 2^l, H / 2^(l+1), ...): feature map of layer l of the encoder
s^l, r^l, z^l    s, r, z       state of a unit, and its gates
lambda_1 .. 3                  weights of D's and G's classification and of the reconstruction
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.baselines import Edit
from lib.baselines.stargan import changed_labels, target_labels
from lib.claims import Deviation
from lib.losses import gradient_penalty, interpolate, l1
from lib.training.config import listed, require, require_each
from lib.training.loop import Stage, Update

TITLE = "STGAN: A Unified Selective Transfer Network for Arbitrary Image Attribute Editing"
CITATION = "M. Liu, Y. Ding, M. Xia, X. Liu, E. Ding, W. Zuo, S. Wen. CVPR 2019."
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("G",)  # what edits need
BETWEEN = "condition"  # what a target between 0 and 1 does: the condition itself takes it
SECONDS = 3.7  # processor seconds of one cycle of profile cpu, one thread, bf16: 1.32 times StarGAN's, both timed in float32
PAPER_STEPS = 182_000 // (32 * 6) * 200  # G updates: 200 epochs of 182,000 images, 32 for each of five updates of D and one of G
STRENGTH = 1.5  # factor of an edit's label difference: the paper's numbers are made with it (code)

DEVIATIONS = (
    Deviation("D1", "128x128, 64 channels, 1,024 units, 189,400 updates of G",
              "profile `cpu`: 64x64, four layers, so that the innermost map has 4x4 places as printed, 28 channels, 512 units",
              "core-hours; with 32 channels the weights would take more than 8 MB"),  # fmt: skip
    Deviation("D2", "Test targets start from the labels in the list of attributes (code)",
              "from what the caller takes for a face's own labels", "other sets of faces have no list of labels"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """Profile `paper` is the default."""

    attributes: str = (  # joined by commas: the label vector, in this order
        "Bald,Bangs,Black_Hair,Blond_Hair,Brown_Hair,Bushy_Eyebrows,Eyeglasses,Male,Mouth_Slightly_Open,Mustache,No_Beard,Pale_Skin,Young"
    )
    size: int = 128
    width: int = 64  # channels of the first layers of encoder and D
    hidden: int = 1024  # units of D's heads
    layers: int = 5  # of encoder, decoder and D; a unit on all but the innermost
    slope: float = 0.2  # leaky ReLU
    lambda_1: float = 1.0
    lambda_2: float = 10.0
    lambda_3: float = 100.0
    lambda_gp: float = 10.0
    batch: int = 32
    lr: float = 2e-4  # a tenth of it in the second half
    beta_1: float = 0.5
    beta_2: float = 0.999
    d_per_g: int = 5
    g_steps: int = PAPER_STEPS

    def __post_init__(self):
        names = listed(self.attributes)
        require(len(names) > 0 and len(set(names)) == len(names), "attributes", self.attributes, "different names joined by commas")
        require_each(self, "at least 2", "layers")
        least = 2 ** (self.layers + 1)  # the innermost map has at least 2 x 2 places: D's norm needs them
        require(self.size % 2**self.layers == 0 and self.size >= least, "size", self.size, f"a multiple of {2**self.layers}, at least {least}")
        require_each(self, "at least 1", "width", "hidden", "batch", "d_per_g", "g_steps")
        require_each(self, "at least 0", "lambda_1", "lambda_2", "lambda_3", "lambda_gp")
        require_each(self, "in [0, 1)", "slope", "beta_1", "beta_2")
        require_each(self, "positive", "lr")


def share_of_paper(cfg: Config) -> float:
    """Images shown to G over those of the paper's training."""
    return cfg.g_steps * cfg.batch / (PAPER_STEPS * 32)


PROFILES = {
    "smoke": lambda: Config(attributes="Eyeglasses,Smiling", size=32, width=2, hidden=4, layers=4, batch=4, d_per_g=2, g_steps=2),
    "cpu": lambda: Config(size=64, width=28, hidden=512, layers=4, g_steps=2_500),
    "gpu": lambda: Config(g_steps=4_000),
    "paper": Config,
}


def planes(x: Tensor, d: Tensor) -> Tensor:
    """Feature maps (B, c, h, h) with the label differences beside them as constant planes: (B, c + n, h, h)."""
    return torch.cat([x, d[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)


class Unit(nn.Module):
    """Selective transfer unit (Sec. 3.3): a gated recurrent unit over the layers, from the innermost outwards.

    s-hat = W_t *T [s, d], r = sigmoid(W_r * [f, s-hat]), z = sigmoid(W_z * [f, s-hat]), s' = r s-hat, f-hat = tanh(W_h * [f, s']),
    f_t = (1 - z) s-hat + z f-hat. f: (B, c, h, h); [s, d]: (B, below, h/2, h/2) -> f_t, which the decoder gets, and s', both (B, c, h, h). """

    def __init__(self, below: int, c: int):
        super().__init__()
        self.W_t = nn.ConvTranspose2d(below, c, 4, 2, 1)
        self.W_r, self.W_z, self.W_h = (nn.Conv2d(2 * c, c, 3, 1, 1) for _ in range(3))

    def forward(self, f: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        s_hat = self.W_t(s)
        both = torch.cat([f, s_hat], dim=1)
        r, z = self.W_r(both).sigmoid(), self.W_z(both).sigmoid()
        s = r * s_hat
        f_hat = self.W_h(torch.cat([f, s], dim=1)).tanh()
        return (1 - z) * s_hat + z * f_hat, s


class Generator(nn.Module):
    """G(x, d): (B, 3, H, H), (B, n) -> (B, 3, H, H) in [-1, 1]. For width 64, H = 128: 64 x 64 x 64 .. 1024 x 4 x 4 and back."""

    def __init__(self, cfg: Config):
        super().__init__()
        n, c = len(listed(cfg.attributes)), [cfg.width * 2**k for k in range(cfg.layers)]

        def layer(kind, i, o, act):
            return nn.Sequential(kind(i, o, 4, 2, 1, bias=False), nn.BatchNorm2d(o, eps=1e-3, momentum=1e-3), act)

        self.encoder = nn.ModuleList([layer(nn.Conv2d, i, o, nn.LeakyReLU(cfg.slope)) for i, o in zip([3, *c], c, strict=False)])
        self.units = nn.ModuleList([Unit(o + n, i) for i, o in zip(c, c[1:], strict=False)])
        # each layer of the decoder sees the one before it, the unit's map beside that, and the labels
        inner = [layer(nn.ConvTranspose2d, c[-1] + n, c[-1], nn.ReLU())]
        inner += [layer(nn.ConvTranspose2d, o + i + n, i, nn.ReLU()) for i, o in reversed(list(zip(c[1:-1], c[2:], strict=True)))]
        self.decoder, self.last = nn.ModuleList(inner), nn.ConvTranspose2d(c[1] + c[0] + n, 3, 4, 2, 1)

    def forward(self, x: Tensor, d: Tensor) -> Tensor:
        maps = []
        for layer in self.encoder:
            maps.append(layer(maps[-1] if maps else x))
        y, s = planes(maps[-1], d), maps[-1]
        for layer, unit, f in zip(self.decoder, reversed(self.units), maps[-2::-1], strict=True):
            passed, s = unit(f, planes(s, d))
            y = planes(torch.cat([layer(y), passed], dim=1), d)
        return self.last(y).tanh()


class Discriminator(nn.Module):
    """(B, 3, H, H) -> critic scores (B, 1), logits (B, n). Instance norm in every layer, then two heads of two linear layers each."""

    def __init__(self, cfg: Config):
        super().__init__()
        c, layers = [3] + [cfg.width * 2**k for k in range(cfg.layers)], []
        for i, o in zip(c, c[1:], strict=False):
            layers += [nn.Conv2d(i, o, 4, 2, 1, bias=False), nn.InstanceNorm2d(o, eps=1e-6, affine=True), nn.LeakyReLU(cfg.slope)]
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        flat = c[-1] * (cfg.size // 2**cfg.layers) ** 2
        self.adv, self.att = (
            nn.Sequential(nn.Linear(flat, cfg.hidden), nn.LeakyReLU(cfg.slope), nn.Linear(cfg.hidden, outputs))
            for outputs in (1, len(listed(cfg.attributes)))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.adv(h), self.att(h)


@dataclass
class Nets:
    G: Generator
    D: Discriminator


def build(cfg: Config) -> Nets:
    """The networks, Glorot's uniform initialisation, biases 0: TensorFlow's defaults, which the official code keeps."""
    nets = Nets(Generator(cfg), Discriminator(cfg))
    for m in (m for net in (nets.G, nets.D) for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)):
        nn.init.xavier_uniform_(m.weight)
        if m.bias is not None:
            nn.init.zeros_(m.bias)
    return nets


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What D minimises (Sec. 3.4): -E[D_adv(x)] + E[D_adv(G(x, d))] + lambda_gp GP + lambda_1 L_Datt, the classification of real images, mean
    over batch and attributes."""
    x, c_org = batch.x, batch.y
    with torch.no_grad():
        fake = nets.G(x, target_labels(c_org, batch.rng) - c_org)
    real, logit = nets.D(x)
    adv = nets.D(fake)[0].mean() - real.mean()
    gp = cfg.lambda_gp * gradient_penalty(lambda t: nets.D(t)[0], interpolate(x, fake, batch.rng))
    att = cfg.lambda_1 * F.binary_cross_entropy_with_logits(logit, c_org)
    return adv + gp + att, {"adv": adv.detach(), "gp": gp.detach(), "att": att.detach()}


def g_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What G minimises (Sec. 3.4): -E[D_adv(G(x, d))] + lambda_2 L_Gatt + lambda_3 L_rec, where L_rec = ||x - G(x, 0)||_1
    is a mean."""
    x, c_org = batch.x, batch.y
    c = target_labels(c_org, batch.rng)
    score, logit = nets.D(nets.G(x, c - c_org))
    adv = -score.mean()
    att = cfg.lambda_2 * F.binary_cross_entropy_with_logits(logit, c)
    rec = cfg.lambda_3 * l1(x, nets.G(x, torch.zeros_like(c)))
    return adv + att + rec, {"adv": adv.detach(), "att": att.detach(), "rec": rec.detach()}


def stages(cfg: Config) -> list[Stage]:
    """One joint model: per cycle d_per_g updates of D and one of G, all on fresh batches."""

    def rate(cycle: int) -> float:
        return 1.0 if cycle < cfg.g_steps / 2 else 0.1

    adam = {"lr": cfg.lr, "betas": (cfg.beta_1, cfg.beta_2), "schedule": rate}
    updates = (Update("D", ("D",), d_loss, repeats=cfg.d_per_g, **adam), Update("G", ("G",), g_loss, **adam))
    return [Stage("joint", "joint", listed(cfg.attributes), updates, cfg.g_steps, cfg.batch)]


@torch.no_grad()
def edit(nets: Nets, x: Tensor, d: Tensor) -> Edit:
    """Faces x (B, 3, H, H) in [-1, 1] edited by label differences d (B, n)."""
    return Edit(nets.G(x, d))


def editor(models: dict[str, Nets], cfg: Config, labels: Callable[[Tensor], Tensor]) -> Callable:
    """(attribute, x, target) -> Edit. labels: x -> (B, n) own labels of the faces in {0, 1}, of which one is changed (D2); the difference of
    that attribute is taken STRENGTH times."""
    nets, names = models["joint"], listed(cfg.attributes)

    def apply(attribute: str, x: Tensor, target: Tensor | float) -> Edit:
        own = labels(x).to(x)
        d = changed_labels(own, names, attribute, target) - own
        d[:, names.index(attribute)] *= STRENGTH
        return edit(nets, x, d)

    return apply

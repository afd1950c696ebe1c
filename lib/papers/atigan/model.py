"""ATI-GAN: local attribute transfer as inpainting: a hole is cut into the face, filled, and the filled face is edited.

R. Durall, F.-J. Pfreundt, J. Keuper: Local Facial Attribute Transfer through Inpainting, arXiv 2002.03040, 2020. Sections 3 (method, Figs 2
to 6), 4.2 (training, Algorithm 1), 4.3 (Table 1) and 4.4 (Table 2). The claim under test: inpainting before the transfer makes it local and
successful, and the inpainting itself is far better than that of earlier methods.

One model edits all attributes. Where the paper leaves something open, StarGAN's published code is followed: every training number of
Sec. 4.2 is StarGAN's.

paper            here          shape, range
x                x             (B, 3, H, H), [-1, 1]: real face
M                box, M        (1, 1, H, H), {0, 1}: 1 in the hole
x-bar            x_bar         (B, 3, H, H): (1 - M) x, the hole is mid-grey
x-dot            x_dot         (B, 3, H, H), [-1, 1]: R(x-bar)
x-dot_ct, x_p    (1 - M) x_dot, box.crop(x): contour and patch (the hole's square, (B, 3, h, h))
x-hat            x_hat         (B, 3, H, H): (1 - M) x + M x-dot
x', x''          x1, x2        (B, 3, H, H), [-1, 1]: G(x-hat, c_target), G(x', c_original)
c_original       c_o           (B, 4), {0, 1}: labels, in the order of ATTRIBUTES
c_target         c_t           (B, 4): the labels of another face of the batch
D_g, D_p         D.g, D.p      critics of the whole face (B, 1, 2, 2) and of the patch (B, 1, 1, 1)
D(c | x)         D(x)[2]       (B, 4) logits, from both
x-tilde          x_tilde       between real and generated faces
lambda_ae, _p, _cycle, _gp, _c weights; th_disc: from which iteration on G sees x-hat; n_gen: D updates to one of G
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import floor, log2, log10

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.baselines import stargan
from lib.claims import Deviation
from lib.losses import gradient_penalty, interpolate
from lib.training.config import pick, require, require_each
from lib.training.loop import Stage, Update

TITLE = "Local Facial Attribute Transfer through Inpainting (ATI-GAN)"
CITATION = "R. Durall, F.-J. Pfreundt, J. Keuper. arXiv 2002.03040, 2020."
TRAINING = 2  # raised when a change alters what is trained
KEEPS = ("R", "G", "D")  # D: the labels of a face that brings none, see `editor`
BETWEEN = "condition"  # what a target between 0 and 1 does: the condition itself takes it
# processor seconds of one iteration in profile cpu, on one core in bf16, by stage
SECONDS = {"iteration 0": 0.8, "G on x": 0.33, "G on x-hat": 0.35, "no inpainting": 0.23, "R alone": 0.22}
ATTRIBUTES = ("Eyeglasses", "Mustache", "Smiling", "Young")  # Sec. 4.4
PAPER_ITERATIONS = 200_000  # Sec. 4.2

DEVIATIONS = (
    Deviation("D1", "Algorithm 1, lines 7 to 15: theta <- theta + alpha grad L, for losses that eqs (2), (6) and (11) define for minimisation",
              "descent", "ascent would maximise every loss"),  # fmt: skip
    Deviation("D2", "Eqs (2), (6), (7), (8): R and G minimise E D(x) - E D(G) - lambda GP",
              "R and G minimise -E D(fake) alone; the real term and the gradient penalty are D's, eq. (11)",
              "minimising -lambda GP over R and G would reward them for breaking the constraint"),  # fmt: skip
    Deviation("D3", "Mask 'centered around the tip of the nose' (Sec. 4.1) against 'a central square patch' (Sec. 4.3)",
              "the nose: rows 57 to 109, columns 38 to 90 of 128, scaled; mask = `center` is the other reading",
              "the central square leaves the mouth uncovered, so that Smiling and Mustache could not be inpainted"),  # fmt: skip
    Deviation("D4", "Crop before the resize, and mirrored training faces: not stated",
              "centre square of the full width, antialiased bilinear resize; mirrored with probability 1/2",
              "StarGAN's; the crop is one for all methods of this study"),  # fmt: skip
    Deviation("D5", "Input of R and value of the hole not stated",
              "x-bar, its hole 0 (mid-grey), a plane of ones, and the mask",
              "the coarse network of Yu et al. 2018, which Sec. 3.1 adopts"),  # fmt: skip
    Deviation("D6", "'Mirror padding for all convolution layers' (Sec. 3.1)",
              "in R alone, as `reflect`; G pads with zeros",
              "with reflected borders the label planes become a constant that instance norm removes: G would not see its label"),  # fmt: skip
    Deviation("D7", "Dilations not stated, neither R's nor G's",
              "R: 2, 4, 8, 16 (Yu et al.); G: 1, 2, 4, 8, 4, 2 in the first convolution of each block; both times H / 128, at least 1",
              "a falling tail limits gridding; reflected borders must be narrower than the map"),  # fmt: skip
    Deviation("D8", "What D learns to reject: G(x-hat) (Algorithm 1, line 7), x-hat too (Sec. 3.1), G's second output x'' too (Fig. 2)",
              "half G(x-hat), half x-hat, from the first iteration; d_fakes = 'G' is the algorithm's line",
              "'R is backed up by D as if it were a vanilla GAN' (Sec. 3.1); where D never rejects x-hat, R's score rises without end: to 14 after "
              "1,450 iterations, the hole full of coloured noise"),  # fmt: skip
    Deviation("D9", "||.||_1 in eqs (3) and (4): sum or mean not stated",
              "means, each over what it compares: the patch, which Fig. 4a shows cut out, or the whole picture; l1 = `sum` reads eq. (3) as sums",
              "the lambdas are StarGAN's, whose norms are means; under the sum the critics hardly reach R"),  # fmt: skip
    Deviation("D10", "'10 epochs, then linearly to 0 over the next 10' (Sec. 4.2) are 250,749 iterations, not the 200,000 printed",
              "constant for half of the iterations, then linear to 0", "StarGAN's schedule for the same 200,000"),  # fmt: skip
    Deviation("D11", "Number of layers, widths, heads and slope of D not stated",
              "halvings down to 2x2 (D_g) and 1x1 (D_p), leaky ReLU 0.2, no norm; one convolution without bias per head, the class heads summed",
              "StarGAN's discriminator, but for its slope, 0.01, under which all of D_p's last units fell silent within 2,900 iterations. D_p keeps "
              "half of its 64 channels in profile `cpu`: with 16 it scores G's noise above real patches and never turns round. A sum of two "
              "convolutions is the 'one final convolutional layer to combine both'"),  # fmt: skip
    Deviation("D12", "c_target and cross-entropy's reduction not stated",
              "a permutation of the batch's labels; sum over attributes, mean over the batch",
              "StarGAN's; drawn anew for D's and for G's update"),  # fmt: skip
    Deviation("D13", "Initialisation not stated",
              "R: Glorot's, biases 0 (the default of the framework of Yu et al.); D: He's, biases 0; G: PyTorch's own (StarGAN's)",
              "PyTorch's own shrinks a signal's variance threefold and more in each layer of R and D, none of which is normalised"),  # fmt: skip
    Deviation("D14", "Batches of 16, 200,000 iterations (Sec. 4.2)",
              "so in profile `paper`; shorter profiles print their share, `cpu` takes batches of 8",
              "an iteration on 8 faces costs half as much, and G's updates, a fifth of the iterations, are what a short training lacks"),  # fmt: skip
    Deviation("D15", "2,000 random test images (Sec. 4.1)",
              "the test part of a split without common identities", "random images put the same person on both sides"),  # fmt: skip
    Deviation("D16", "Eq. (10): D's classification of real faces is an expectation over x-hat; footnote 1 has eq. (8) belong to R or G",
              "eq. (10) over x and c_original; eq. (9) is the one that belongs to R or G",
              "both slips contradict the text around them"),  # fmt: skip
    Deviation("D17", "The patch loss 'does not have to be strictly 0' (Sec. 3.1), but lambda_p = 5 weighs the hole more than the contour",
              "5", "Sec. 4.2 prints the number"),  # fmt: skip
    Deviation("D18", "Which checkpoint is evaluated, averaged weights, number of trainings: not stated",
              "the last one, no averaging, one training per seed", "nothing is chosen by its result"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """What training reads. Profile `paper` is the default; the arms of the study change `train`, `th_disc` or `l1`."""

    size: int = 128  # Sec. 4.1
    mask: str = "nose"  # Sec. 4.1; or "center", Sec. 4.3: D3
    r_width: int = 32  # channels of R's first layer: Yu et al., which Sec. 3.1 adopts
    g_width: int = 64  # channels of G's first layer: StarGAN, which Sec. 3.1 adopts
    d_width: int = 64  # channels of D_g's first layer: not stated, D11
    p_width: int = 64  # channels of D_p's first layer: not stated, D11
    blocks: int = 6  # residual blocks of G: Sec. 3.1
    slope: float = 0.2  # leaky ReLU of D: not stated, D11
    lambda_ae: float = 10.0  # Sec. 4.2
    lambda_p: float = 5.0  # Sec. 4.2
    lambda_cycle: float = 10.0  # Sec. 4.2
    lambda_gp: float = 10.0  # Sec. 4.2
    lambda_c: float = 1.0  # Sec. 4.2
    l1: str = "mean"  # the norm of eq. (3); or "sum": D9
    d_fakes: str = "both"  # D rejects G(x-hat) and x-hat; or "G", G(x-hat) alone: D8
    batch: int = 16  # Sec. 4.2
    lr: float = 1e-4  # Sec. 4.2, all three networks
    beta_1: float = 0.5  # Sec. 4.2
    beta_2: float = 0.999  # Sec. 4.2
    n_iter: int = PAPER_ITERATIONS  # Algorithm 1
    n_gen: int = 5  # Algorithm 1
    th_disc: float = 0.25  # share of n_iter, Algorithm 1; 0: G learns on x-hat from the start, 1: on x throughout
    train: str = "all"  # or "R": R alone on L_ae, without critics; or "G": no inpainting, x in the place of x-hat
    flip: bool = True  # mirrored training faces: not stated, D4

    def __post_init__(self):
        require(self.size >= 32 and self.size % 16 == 0, "size", self.size, "a multiple of 16, at least 32")
        require_each(self, "at least 1", "r_width", "g_width", "d_width", "p_width", "blocks", "batch", "n_iter", "n_gen")
        require(self.r_width % 2 == 0, "r_width", self.r_width, "even: R's last hidden layer has half as many channels")
        require_each(self, "at least 0", "lambda_ae", "lambda_p", "lambda_cycle", "lambda_gp", "lambda_c")
        require_each(self, "in [0, 1)", "slope", "beta_1", "beta_2")
        require_each(self, "positive", "lr")
        require(0 <= self.th_disc <= 1, "th_disc", self.th_disc, "in [0, 1]: a share of n_iter")
        for name, options in {"mask": ("nose", "center"), "train": ("all", "R", "G"), "l1": ("mean", "sum"), "d_fakes": ("both", "G")}.items():
            pick(dict.fromkeys(options), getattr(self, name), name)


PROFILES = {
    # proves the path: its numbers mean nothing
    "smoke": lambda: Config(size=32, r_width=2, g_width=2, d_width=2, p_width=2, blocks=1, batch=4, n_iter=24),
    "cpu": lambda: Config(size=64, r_width=16, g_width=32, d_width=16, p_width=32, batch=8, n_iter=12_000),
    "gpu": lambda: Config(n_iter=40_000),
    "paper": Config,
}


def share_of_paper(cfg: Config) -> float:
    """Images this configuration shows to D, over the paper's 200,000 batches of 16."""
    return cfg.n_iter * cfg.batch / (PAPER_ITERATIONS * 16)


def printed_settings(cfg: Config) -> dict[str, object]:
    """The settings that the paper prints (rows of results/paper_values.csv) as this configuration has them."""
    return {
        "generator G, residual blocks": cfg.blocks,
        "network input, width": cfg.size,
        "mask, width": box_of(cfg).side,
        "Adam, beta1": cfg.beta_1,
        "Adam, beta2": cfg.beta_2,
        "training, batch size": cfg.batch,
        "training, iterations": cfg.n_iter,
        "generator G, first iteration on the output of R": threshold(cfg),
        "generator G, discriminator updates per update": cfg.n_gen,
        "learning rate, initial": cfg.lr,
        "loss weights, lambda_ae": cfg.lambda_ae,
        "loss weights, lambda_cycle": cfg.lambda_cycle,
        "loss weights, lambda_gp": cfg.lambda_gp,
        "loss weights, lambda_p": cfg.lambda_p,
        "loss weights, lambda_c": cfg.lambda_c,
    }


# ------------------------------------------------------------------------------------------------ the hole (Sec. 4.1, Fig. 4)


@dataclass(frozen=True)
class Box:
    """The hole: `side` rows from `top` on and as many columns from `left` on, of a size x size picture."""

    top: int
    left: int
    side: int
    size: int

    def mask(self, like: Tensor | None = None) -> Tensor:
        """M (1, 1, S, S): 1 in the hole, 0 elsewhere, of the type and device of `like` (float32 on the CPU if None)."""
        M = torch.zeros(1, 1, self.size, self.size, dtype=getattr(like, "dtype", None), device=getattr(like, "device", None))
        self.crop(M).fill_(1)
        return M

    def crop(self, x: Tensor) -> Tensor:
        """(B, C, S, S) -> the patch x_p (B, C, side, side), a view."""
        return x[..., self.top : self.top + self.side, self.left : self.left + self.side]

    @property
    def offset_db(self) -> float:
        """By how many dB the PSNR of a composite exceeds that of its hole alone: 10 log10 of the picture over the hole, the same for every face."""
        return 20 * log10(self.size / self.side)


def box_of(cfg: Config) -> Box:
    """The hole: 52 x 52 at 128, 26 x 26 at 64, 14 x 14 at 32, left and right alike, so that a mirrored face has the same hole (D3).

    At 128 rows 57 to 109: their middle is where the nose tip lies on average, (63.3, 83.4). """
    side = 2 * floor(13 * cfg.size / 64 + 0.5)
    left = (cfg.size - side) // 2
    return Box(floor(57 * cfg.size / 128 + 0.5) if cfg.mask == "nose" else left, left, side, cfg.size)


def composite(x: Tensor, filled: Tensor, box: Box) -> Tensor:
    """x outside the hole, bit for bit; `filled` inside (Fig. 4b). Gradients reach `filled` in the hole alone."""
    return torch.where(box.mask(x) > 0, filled, x)


# ------------------------------------------------------------------------------------------------ networks (Sec. 3.1)


def scaled(dilations: tuple[int, ...], cfg: Config) -> tuple[int, ...]:
    """Dilations given for 128 pixels, for this size (D7)."""
    return tuple(max(1, d * cfg.size // 128) for d in dilations)


class Reconstructor(nn.Module):
    """R: x-bar -> x-dot, the coarse network of Yu et al. 2018 (Fig. 3). Shapes are given for width 32, H = 128.

    Every convolution has mirrored borders and, but for the last, an ELU; no normalisation; the output is clipped to [-1, 1]. """

    def __init__(self, cfg: Config):
        super().__init__()
        w, self.box = cfg.r_width, box_of(cfg)

        def conv(i, o, k=3, s=1, d=1):
            return [nn.Conv2d(i, o, k, s, d * (k - 1) // 2, d, padding_mode="reflect"), nn.ELU()]

        up = nn.Upsample(scale_factor=2)
        self.net = nn.Sequential(
            *conv(5, w, 5),  #                                                     1      32 x 128 x 128
            *conv(w, 2 * w, s=2), *conv(2 * w, 2 * w),  #                          2-3    64 x  64 x  64
            *conv(2 * w, 4 * w, s=2), *conv(4 * w, 4 * w), *conv(4 * w, 4 * w),  # 4-6   128 x  32 x  32
            *[m for d in scaled((2, 4, 8, 16), cfg) for m in conv(4 * w, 4 * w, d=d)],  # 7-10  128 x  32 x  32
            *conv(4 * w, 4 * w), *conv(4 * w, 4 * w),  #                           11-12 128 x  32 x  32
            up, *conv(4 * w, 2 * w), *conv(2 * w, 2 * w),  #                       13-14  64 x  64 x  64
            up, *conv(2 * w, w), *conv(w, w // 2),  #                              15-16  32, then 16 x 128 x 128
            *conv(w // 2, 3)[:1],  #                                               17      3 x 128 x 128
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, H), whole or masked already: the hole is emptied first. Returns the linear output, before the clip."""
        M = self.box.mask(x).expand(len(x), -1, -1, -1)
        return self.net(torch.cat([x * (1 - M), torch.ones_like(M), M], dim=1))


class Generator(stargan.Generator):
    """G (Fig. 5): x-hat, target label -> x', StarGAN's, which Sec. 3.1 adopts, with dilated convolutions in its residual blocks (D7)."""

    def __init__(self, cfg: Config):
        dilations = scaled((1, 2, 4, 8, 4, 2), cfg)
        super().__init__(len(ATTRIBUTES), cfg.g_width, [dilations[b % 6] for b in range(cfg.blocks)])


class Discriminator(nn.Module):
    """D (Fig. 6): face (B, 3, H, H) -> scores of D_g (B, 1, 2, 2) and D_p (B, 1, 1, 1), logits (B, 4). No normalisation (D11).

    At 128: D_g has six layers of stride 2, 64 x 64 x 64 to 2048 x 2 x 2; D_p five on the 52 x 52 patch, 64 x 26 x 26 to 1024 x 1 x 1. """

    def __init__(self, cfg: Config):
        super().__init__()
        self.box = box_of(cfg)

        def trunk(size: int, layers: int, width: int):
            channels = [3] + [width * 2**i for i in range(layers)]
            pairs = zip(channels, channels[1:], strict=False)
            net = nn.Sequential(*[m for i, o in pairs for m in (nn.Conv2d(i, o, 4, 2, 1), nn.LeakyReLU(cfg.slope))])
            kernel = size // 2**layers  # the map's size: 2 for D_g (3 where the size is no power of two), 1 for D_p
            return net, nn.Conv2d(channels[-1], 1, 3, 1, 1, bias=False), nn.Conv2d(channels[-1], len(ATTRIBUTES), kernel, bias=False)

        self.trunk_g, self.src_g, self.cls_g = trunk(cfg.size, floor(log2(cfg.size)) - 1, cfg.d_width)
        self.trunk_p, self.src_p, self.cls_p = trunk(self.box.side, floor(log2(self.box.side)), cfg.p_width)

    def g(self, x: Tensor) -> Tensor:
        """D_g of faces (B, 3, H, H)."""
        return self.src_g(self.trunk_g(x))

    def p(self, x_p: Tensor) -> Tensor:
        """D_p of patches (B, 3, h, h)."""
        return self.src_p(self.trunk_p(x_p))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h_g, h_p = self.trunk_g(x), self.trunk_p(self.box.crop(x))
        return self.src_g(h_g), self.src_p(h_p), (self.cls_g(h_g) + self.cls_p(h_p)).flatten(1)


@dataclass
class Nets:
    """An arm that does not train R, or R alone, lacks the others."""

    R: Reconstructor | None
    G: Generator | None
    D: Discriminator | None


def build(cfg: Config) -> Nets:
    """The networks that are trained; G with PyTorch's own initialisation, R with Glorot's, D with He's (D13)."""
    R, G, D = Reconstructor(cfg), Generator(cfg), Discriminator(cfg)
    for net, init in ((R, nn.init.xavier_uniform_), (D, partial(nn.init.kaiming_normal_, a=cfg.slope))):
        for m in net.modules():
            if isinstance(m, nn.Conv2d):
                init(m.weight)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
    return {"all": Nets(R, G, D), "R": Nets(R, None, None), "G": Nets(None, G, D)}[cfg.train]


def reconstruct(R: Reconstructor, x: Tensor) -> tuple[Tensor, Tensor]:
    """x-dot = R(x-bar), clipped, and x-hat, which is x outside the hole bit for bit (Fig. 4). Both (B, 3, H, H)."""
    x_dot = R(x).clamp(-1, 1)
    return x_dot, composite(x, x_dot, R.box)


# ------------------------------------------------------------------------------------------------ losses (Sec. 3.1)


def L_ae(x: Tensor, x_dot: Tensor, M: Tensor, lambda_p: float, norm: str = "mean") -> Tensor:
    """Eq. (3): ||x-bar - x-dot_ct||_1 + lambda_p ||x_p - x-dot_p||_1, mean over the batch. norm, D9: "sum", both are sums over the elements of a
    picture; "mean", the first is the mean over the picture, 0 in the hole, the second the mean over the patch alone."""
    error = (x - x_dot).abs()
    contour, patch = ((1 - M) * error).mean(), (M * error).mean()
    if norm == "sum":
        return (contour + lambda_p * patch) * x[0].numel()
    return contour + lambda_p * patch / M.mean()


def L_cycle(x_hat: Tensor, x2: Tensor) -> Tensor:
    """Eq. (4): ||x-hat - x''||_1, mean over batch, colours and pixels."""
    return (x_hat - x2).abs().mean()


def there_and_back(G: Generator, x_hat: Tensor, c_t: Tensor, c_o: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. (5): x' = G(x-hat, c_target), x'' = G(x', c_original)."""
    x1 = G(x_hat, c_t)
    return x1, G(x1, c_o)


def L_adv(scores_g: Tensor, scores_p: Tensor) -> Tensor:
    """Eq. (7) for R and G: L_g + L_p = -E D_g(fake) - E D_p(fake_p), means over batch and map (D2)."""
    return -scores_g.mean() - scores_p.mean()


def critic(real: Tensor, fake: Tensor, penalty: Tensor, lambda_gp: float) -> Tensor:
    """Eq. (8), the form that D *maximises*: E D(x) - E D(fake) - lambda_gp E(||grad D(x-tilde)||_2 - 1)^2; the same for D_g and D_p.

    The gradient is that of the sum over the score map. """
    return real.mean() - fake.mean() - lambda_gp * penalty


def L_class(logits: Tensor, c: Tensor) -> Tensor:
    """Eq. (9): E[-log D(c | fake)], c is c_target for G's faces, c_original for R's; Eq. (10): E[-log D(c_original | x)] over real faces.
    Summed over attributes, mean over the batch."""
    return F.binary_cross_entropy_with_logits(logits, c, reduction="none").sum(1).mean()


def targets(c_o: Tensor, rng: torch.Generator | None) -> Tensor:
    """c_target: a random permutation of the batch's label vectors (D12)."""
    return c_o[torch.rand(len(c_o), device=c_o.device, generator=rng).argsort()]


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (11): -L_adv + lambda_c L_class^r, what D minimises, with Eq. (8) for either critic. The fakes, x' and x-hat (D8), carry no graph.

    Parts: the gap between real and generated scores and the penalty of either critic, and the weighted attribute loss. """
    x, c_o, box, n = batch.x, batch.y, nets.D.box, len(batch.x)
    with torch.no_grad():
        x_hat = x if cfg.train == "G" else reconstruct(nets.R, x)[1]
        fake = nets.G(x_hat, targets(c_o, batch.rng))
        if cfg.train == "all" and cfg.d_fakes == "both":
            fake = torch.cat([fake[: n // 2], x_hat[n // 2 :]])
    scores_g, scores_p, logits = nets.D(torch.cat([x, fake]))  # no normalisation in D: one call equals two

    x_tilde = interpolate(x, fake, batch.rng)
    gp_g, gp_p = gradient_penalty(nets.D.g, x_tilde), gradient_penalty(nets.D.p, box.crop(x_tilde))
    adv = critic(scores_g[:n], scores_g[n:], gp_g, cfg.lambda_gp) + critic(scores_p[:n], scores_p[n:], gp_p, cfg.lambda_gp)
    cls = cfg.lambda_c * L_class(logits[:n], c_o)
    terms = {"gap_g": scores_g[:n].mean() - scores_g[n:].mean(), "gap_p": scores_p[:n].mean() - scores_p[n:].mean(), "gp_g": gp_g, "gp_p": gp_p}
    return -adv + cls, {k: v.detach() for k, v in (terms | {"cls": cls}).items()}


def r_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (2): lambda_ae L_ae + L_adv + lambda_c L_class^f, with Eq. (7) and Eq. (9) on x-hat and c_original: what R minimises.

    D reaches R through the hole alone; the contour is trained by L_ae only and used nowhere. Parts: the weighted terms and `d_share`, D's share
    of the gradient at x-dot (norms: D's over the sum of D's and L_ae's). Where R trains alone, L_ae is all. """
    x, c_o = batch.x, batch.y
    x_dot, x_hat = reconstruct(nets.R, x)
    ae = cfg.lambda_ae * L_ae(x, x_dot, nets.R.box.mask(x), cfg.lambda_p, cfg.l1)
    if cfg.train == "R":
        return ae, {"ae": ae.detach()}
    scores_g, scores_p, logits = nets.D(x_hat)
    adv = L_adv(scores_g, scores_p)
    cls = cfg.lambda_c * L_class(logits, c_o)
    of_d, of_ae = (torch.autograd.grad(part, x_dot, retain_graph=True)[0] for part in (adv + cls, ae))
    through_x_dot = (x_dot * (of_d + of_ae)).sum()  # has the total's gradient for R, without a second way back through D
    total = through_x_dot + (ae + adv + cls - through_x_dot).detach()
    return total, {"ae": ae.detach(), "adv": adv.detach(), "cls": cls.detach(), "d_share": of_d.norm() / (of_d.norm() + of_ae.norm())}


def g_loss(nets: Nets, batch, cfg: Config, on_x: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (6): L_adv + lambda_c L_class^f + lambda_cycle L_cycle, what G minimises. x-hat is a constant: no gradient reaches R.

    on_x: the input is the real face (before th_disc). """
    x, c_o = batch.x, batch.y
    c_t = targets(c_o, batch.rng)
    with torch.no_grad():
        x_hat = x if on_x or cfg.train == "G" else reconstruct(nets.R, x)[1]
    x1, x2 = there_and_back(nets.G, x_hat, c_t, c_o)
    scores_g, scores_p, logits = nets.D(x1)

    adv = L_adv(scores_g, scores_p)
    cls = cfg.lambda_c * L_class(logits, c_t)
    cycle = cfg.lambda_cycle * L_cycle(x_hat, x2)
    return adv + cls + cycle, {"adv": adv.detach(), "cls": cls.detach(), "cycle": cycle.detach()}


# ------------------------------------------------------------------------------------------------ training (Algorithm 1)


def threshold(cfg: Config) -> int:
    """th_disc as a number of iterations."""
    return round(cfg.th_disc * cfg.n_iter)


def lr_factor(i: int, n_iter: int) -> float:
    """Factor on the learning rate in iteration i (from 0): 1 for the first half of n_iter, then linear to 0 (D10)."""
    return min(1.0, 2 * (n_iter - i) / n_iter)


def stages(cfg: Config) -> list[Stage]:
    """Algorithm 1: per iteration D, then R, and G where mod(i, n_gen) = 0, on x before th_disc, on x-hat from there; all on one batch.

    Iteration 0, in which G is updated, is a stage of its own: of the others, counted from 1, G's are then every n_gen-th. D's and R's losses know
    no threshold, so the stages meet after the last iteration in which G is updated on x. """
    last_on_x = (threshold(cfg) - 1) // cfg.n_gen * cfg.n_gen  # negative: none
    parts = {"iteration 0": (0, 1), "G on x": (1, last_on_x + 1), "G on x-hat": (max(1, last_on_x + 1), cfg.n_iter)}
    if cfg.th_disc == 1:
        parts = {"iteration 0": (0, 1), "G on x": (1, cfg.n_iter)}
    if cfg.train == "G":
        parts = {"iteration 0": (0, 1), "no inpainting": (1, cfg.n_iter)}
    if cfg.train == "R":
        parts = {"R alone": (0, cfg.n_iter)}

    def stage(name: str, start: int, stop: int) -> Stage:
        on_x = name == "G on x" or (start == 0 and threshold(cfg) > 0)
        adam = {"lr": cfg.lr, "betas": (cfg.beta_1, cfg.beta_2), "schedule": lambda i: lr_factor(start + i, cfg.n_iter)}
        D = Update("D", ("D",), d_loss, **adam)
        R = Update("R", ("R",), r_loss, fresh=cfg.train == "R", **adam)
        G = Update("G", ("G",), partial(g_loss, on_x=on_x), fresh=False, every=1 if start == 0 else cfg.n_gen, **adam)
        updates = {"all": (D, R, G), "R": (R,), "G": (D, G)}[cfg.train]
        return Stage(name, "ATI-GAN", ATTRIBUTES, updates, stop - start, cfg.batch, flip=cfg.flip)

    return [stage(name, start, stop) for name, (start, stop) in parts.items() if stop > start]


# ------------------------------------------------------------------------------------------------ editing


@dataclass(frozen=True)
class Edit:
    """image: (B, 3, H, H), [-1, 1], x'. inpainted: (B, 3, H, H), x-hat, what G was given. mask: None, G may change every pixel."""

    image: Tensor
    inpainted: Tensor
    mask: None = None


@torch.no_grad()
def edit(nets: Nets, x: Tensor, c: Tensor, cfg: Config) -> Edit:
    """x' = G(x-hat, c). x: (B, 3, H, H), [-1, 1]; c: (B, 4) labels in [0, 1], trained on 0 and 1. Without inpainting (train = "G") G edits x."""
    x_hat = x if cfg.train == "G" else reconstruct(nets.R, x)[1]
    return Edit(nets.G(x_hat, c.to(x)), x_hat)


def edits(cfg: Config) -> dict[str, str]:
    """What a model of this Config edits: CelebA's attribute -> its name for `editor`. R alone edits nothing."""
    return {} if cfg.train == "R" else {a: a for a in ATTRIBUTES}


def editor(models: dict[str, Nets], cfg: Config) -> Callable:
    """(attribute, x, target) -> Edit, with the other attributes as D's classifier sees them in x. target: number or (B, 1) in [0, 1]."""
    nets = models["ATI-GAN"]

    @torch.no_grad()
    def one(attribute: str, x: Tensor, target: Tensor | float) -> Edit:
        c = (nets.D(x)[2] > 0).to(x)
        c[:, ATTRIBUTES.index(attribute)] = torch.as_tensor(target, dtype=x.dtype, device=x.device).expand(len(x), 1)[:, 0]
        return edit(nets, x, c, cfg)

    return one

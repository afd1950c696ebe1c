"""CycleGAN: two unpaired domains, one network per direction, no labels inside the networks.

What the paper leaves open is taken from its official code (github.com/junyanz/pytorch-CycleGAN-and-pix2pix). For an attribute, domain X holds
the faces without it and domain Y those with it.

paper            here            shape, range
x, y             x, y            (B/2, 3, H, H), [-1, 1]: faces without and with the attribute
G : X -> Y       G_AB            adds the attribute
F : Y -> X       G_BA            removes it
D_X, D_Y         D_A, D_B        (B, 1, h, h): scores of patches, least squares
lambda           lambda_cycle    weight of cycle consistency; lambda_identity: of the identity loss
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.baselines import Edit, halves, one_of_two
from lib.claims import Deviation
from lib.layers import init_normal
from lib.losses import l1
from lib.training.config import require, require_each
from lib.training.loop import Stage, Update

TITLE = "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (CycleGAN)"
CITATION = "J.-Y. Zhu, T. Park, P. Isola, A. A. Efros. ICCV 2017."
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("G_AB", "G_BA")  # what edits need
BETWEEN = "input"  # what a target between 0 and 1 does: output and input are blended
SECONDS = 1.2  # processor seconds of one cycle in profile cpu, one thread, bf16
PAPER_STEPS = 62_500  # cycles: D1

DEVIATIONS = (
    Deviation("D1", "Batches of 1, 100 epochs at a constant rate and 100 of linear decay",
              "batches of 16 faces, half of each domain; 62,500 cycles in profile `paper`, linear decay over the second half",
              "200 epochs over CelebA are 38 million images; the compared papers' D sees 1,000,000"),  # fmt: skip
    Deviation("D2", "Random 256x256 crops of 286x286 images, flips",
              "no random crops; flips, unless a paper that compares gives no method any",
              "aligned faces; the same training data for all"),  # fmt: skip
    Deviation("D3", "D's fakes are those of G's update before it (code)",
              "drawn anew from the networks after that update", "updates share a batch, not activations"),  # fmt: skip
    Deviation("D4", "Identity loss: for paintings only (paper), weight 0.5 of the cycle's by default (code)",
              "weight 0.5 of the cycle's", "SaGAN (Sec. 2.3) says that CycleGAN has it"),  # fmt: skip
    Deviation("D5", "64 channels, six residual blocks at 128x128",
              "profile `cpu`: 64x64, 24 channels, six blocks; fewer updates, the share is printed",
              "core-hours, of which more updates are the better use than more channels"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """Profile `paper` is the default."""

    attribute: str = "Eyeglasses"  # one model each
    size: int = 128
    width: int = 64  # channels of the first layers of the generators and the discriminators
    blocks: int = 6  # residual blocks: 6 at 128x128 and below, 9 above
    slope: float = 0.2
    lambda_cycle: float = 10.0
    lambda_identity: float = 0.5  # times lambda_cycle: D4
    pool: int = 50  # past fakes that D is shown
    batch: int = 16  # half of each domain: D1
    lr: float = 2e-4
    beta_1: float = 0.5
    beta_2: float = 0.999
    init_std: float = 0.02
    steps: int = PAPER_STEPS  # cycles of one update of both generators and one of both discriminators: D1
    flip: bool = True  # D2

    def __post_init__(self):
        require(self.size >= 32 and self.size % 8 == 0, "size", self.size, "a multiple of 8, at least 32")
        require(self.batch >= 2 and self.batch % 2 == 0, "batch", self.batch, "even: half of each domain")
        require_each(self, "at least 1", "width", "blocks", "pool", "steps")
        require_each(self, "at least 0", "lambda_cycle", "lambda_identity")
        require_each(self, "in [0, 1)", "slope", "beta_1", "beta_2")
        require_each(self, "positive", "lr", "init_std")


def share_of_paper(cfg: Config) -> float:
    """Images shown to one model over those of profile `paper` (D1)."""
    return cfg.steps * cfg.batch / (PAPER_STEPS * 16)


PROFILES = {
    "smoke": lambda: Config(size=32, width=2, blocks=1, batch=4, pool=3, steps=2),
    "cpu": lambda: Config(size=64, width=24, steps=3_000),  # after 1,200 its faces are blurred: the cycle comes back within .24
    "gpu": lambda: Config(steps=6_000),
    "paper": Config,
}


class Block(nn.Module):
    """x + IN(conv3(ReLU(IN(conv3(x))))) with reflected borders: (B, d, H, H) -> the same shape."""

    def __init__(self, d: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(d, d, 3), nn.InstanceNorm2d(d), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(d, d, 3), nn.InstanceNorm2d(d),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Generator(nn.Module):
    """(B, 3, H, H) -> (B, 3, H, H) in [-1, 1]. Instance norm without affine part. Shapes are given for width 64, H = 128."""

    def __init__(self, cfg: Config):
        super().__init__()
        w = cfg.width

        def layer(convolution, o):
            return [convolution, nn.InstanceNorm2d(o), nn.ReLU()]

        self.net = nn.Sequential(
            nn.ReflectionPad2d(3),
            *layer(nn.Conv2d(3, w, 7), w),  #                                          64 x 128 x 128
            *layer(nn.Conv2d(w, 2 * w, 3, 2, 1), 2 * w),  #                           128 x  64 x  64
            *layer(nn.Conv2d(2 * w, 4 * w, 3, 2, 1), 4 * w),  #                       256 x  32 x  32
            *[Block(4 * w) for _ in range(cfg.blocks)],  #                            256 x  32 x  32
            *layer(nn.ConvTranspose2d(4 * w, 2 * w, 3, 2, 1, output_padding=1), 2 * w),  # 128 x 64 x 64
            *layer(nn.ConvTranspose2d(2 * w, w, 3, 2, 1, output_padding=1), w),  #     64 x 128 x 128
            nn.ReflectionPad2d(3),
            nn.Conv2d(w, 3, 7),  #                                                      3 x 128 x 128
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Discriminator(nn.Module):
    """PatchGAN: (B, 3, H, H) -> scores (B, 1, h, h) of overlapping 70x70 patches; h = H/8 - 2: 14 at 128, 6 at 64, 2 at 32."""

    def __init__(self, cfg: Config):
        super().__init__()
        w = cfg.width
        self.net = nn.Sequential(
            nn.Conv2d(3, w, 4, 2, 1), nn.LeakyReLU(cfg.slope),  #                                        64 x 64 x 64
            nn.Conv2d(w, 2 * w, 4, 2, 1), nn.InstanceNorm2d(2 * w), nn.LeakyReLU(cfg.slope),  #         128 x 32 x 32
            nn.Conv2d(2 * w, 4 * w, 4, 2, 1), nn.InstanceNorm2d(4 * w), nn.LeakyReLU(cfg.slope),  #     256 x 16 x 16
            nn.Conv2d(4 * w, 8 * w, 4, 1, 1), nn.InstanceNorm2d(8 * w), nn.LeakyReLU(cfg.slope),  #     512 x 15 x 15
            nn.Conv2d(8 * w, 1, 4, 1, 1),  #                                                              1 x 14 x 14
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Pool(nn.Module):
    """The last fakes of one domain. Until it is full it keeps every fake and gives it back; then each fake is either given back itself
    or takes the place of a random older one, which is given instead, with probability 1/2 each. Training only."""

    transient = True  # belongs to an interrupted training, not to the model

    def __init__(self, cfg: Config):
        super().__init__()
        self.register_buffer("images", torch.zeros(cfg.pool, 3, cfg.size, cfg.size))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, fakes: Tensor, rng: torch.Generator | None) -> Tensor:
        """(B, 3, H, H) fresh fakes -> as many fakes for D; they go through the pool one after the other."""
        size, device = len(self.images), fakes.device
        places = torch.randint(size, (len(fakes),), device=device, generator=rng)
        swap = torch.rand(len(fakes), device=device, generator=rng) < 0.5
        out = []
        for fake, place, wanted in zip(fakes, places, swap, strict=True):
            full = self.held >= size
            slot = torch.where(full, place, self.held.clamp_max(size - 1))
            old = self.images[slot]
            out.append(torch.where(full & wanted, old, fake))
            self.images[slot] = torch.where(~full | wanted, fake, old)
            self.held += (~full).long()
        return torch.stack(out)


@dataclass
class Nets:
    G_AB: Generator
    G_BA: Generator
    D_A: Discriminator
    D_B: Discriminator
    pool_A: Pool
    pool_B: Pool


def build(cfg: Config) -> Nets:
    """The networks of one attribute's model, initialised N(0, 0.02^2), and two empty pools."""
    nets = (Generator(cfg), Generator(cfg), Discriminator(cfg), Discriminator(cfg))
    return Nets(*(init_normal(net, cfg.init_std) for net in nets), Pool(cfg), Pool(cfg))


def least_squares(scores: Tensor, target: float) -> Tensor:
    """E[(D - target)^2], mean over batch and patches: the adversarial loss that stands in for eq. (1)'s logarithm."""
    return (scores - target).square().mean()


def g_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What both generators minimise together: adversarial, cycle consistency and identity, in both directions."""
    x, y = halves(batch)
    fake_B, fake_A = nets.G_AB(x), nets.G_BA(y)

    adv = least_squares(nets.D_B(fake_B), 1) + least_squares(nets.D_A(fake_A), 1)
    cycle = cfg.lambda_cycle * (l1(nets.G_BA(fake_B), x) + l1(nets.G_AB(fake_A), y))
    identity = cfg.lambda_cycle * cfg.lambda_identity * (l1(nets.G_AB(y), y) + l1(nets.G_BA(x), x))
    return adv + cycle + identity, {"adv": adv.detach(), "cycle": cycle.detach(), "identity": identity.detach()}


def d_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """What both discriminators minimise, halved as in the code: real faces shall score 1, fakes out of the pools 0."""
    x, y = halves(batch)
    with torch.no_grad():
        fake_B, fake_A = nets.G_AB(x), nets.G_BA(y)
    fake_B, fake_A = nets.pool_B(fake_B, batch.rng), nets.pool_A(fake_A, batch.rng)

    real = 0.5 * (least_squares(nets.D_A(x), 1) + least_squares(nets.D_B(y), 1))
    fake = 0.5 * (least_squares(nets.D_A(fake_A), 0) + least_squares(nets.D_B(fake_B), 0))
    return real + fake, {"real": real.detach(), "fake": fake.detach()}


def lr_factor(cfg: Config) -> Callable[[int], float]:
    """cycle (from 0) -> factor on the learning rate: 1 for half of the training, then linear to 0."""
    return lambda cycle: min(1.0, (cfg.steps - cycle) / max(cfg.steps - cfg.steps // 2, 1))


def stages(cfg: Config) -> list[Stage]:
    """The attribute's model: per cycle one update of both generators, then one of both discriminators on the same batch."""
    adam = {"lr": cfg.lr, "betas": (cfg.beta_1, cfg.beta_2), "schedule": lr_factor(cfg)}
    updates = (Update("G", ("G_AB", "G_BA"), g_loss, **adam), Update("D", ("D_A", "D_B"), d_loss, fresh=False, **adam))
    a = cfg.attribute
    return [Stage(a, a, (a,), updates, cfg.steps, cfg.batch, "balanced", cfg.flip)]


@torch.no_grad()
def edit(nets: Nets, x: Tensor, target: Tensor | float) -> Edit:
    """x: (B, 3, H, H), [-1, 1]; target 1 adds the attribute (G_AB), 0 removes it (G_BA); between, the image is blended with the input."""
    return Edit(one_of_two(x, target, nets.G_AB, nets.G_BA))


def editor(models: dict[str, Nets]) -> Callable:
    """(attribute, x, target) -> Edit, each attribute by its own model."""
    return lambda attribute, x, target: edit(models[attribute], x, target)

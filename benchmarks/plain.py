"""The same training steps as public code of these papers writes them, to measure against.

Common to all: torch's own convolutions, LeakyReLU and pooling (the second derivatives of the last two are tensors of zeros that the gradient
penalty carries through the critic), Adam as torch chooses it, every loss read at every step. StarGAN, as its official code: nothing frozen, fakes
made with their graph, real and edited images scored in two calls. SaGAN, as a public re-implementation (its authors published none): what is not
trained is frozen, two calls of the critic, three whole passes through G in its step. The other papers: our losses on those stock parts, nothing
frozen, BridgeGAN's style-free layers once a code.
"""

from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import blocks, winograd
from lib.baselines import stargan
from lib.blocks import Conv3x3, LeakyReLU, ThinConv2d
from lib.losses import gradient_penalty, interpolate, l1
from lib.papers import bridgegan, sagan
from lib.step import Eager


def bridgegan_generator(self, X: Tensor, S: Tensor) -> Tensor:
    """G as it reads in the paper: one image per code."""
    h = self.first(X.repeat(len(S) // len(X), 1, 1, 1))
    for block in (*self.down, *self.middle, *self.up):
        h = block(h, S)
    return torch.tanh(self.last(F.relu(h)))


@contextmanager
def stock():
    """Inside it the papers use torch's own parts."""
    with (
        patch.object(LeakyReLU, "forward", lambda self, x: F.leaky_relu(x, self.slope)),
        patch.object(Conv3x3, "forward", nn.Conv2d.forward),
        patch.object(ThinConv2d, "forward", nn.Conv2d.forward),
        patch.object(bridgegan, "smaller", lambda x: F.avg_pool2d(x, 2)),
        patch.object(bridgegan.Generator, "forward", bridgegan_generator),
    ):
        yield


@contextmanager
def everywhere():
    """Inside it narrow networks too take the ways that otherwise only wide ones take, so that small ones can be compared in their stead."""
    with patch.multiple(winograd, CHANNELS=0, PIXELS=0), patch.object(blocks, "THIN_INPUTS", 0):
        yield


def stargan_d(nets, batch, cfg):
    x, c_org = batch.x, batch.y
    c = stargan.target_labels(c_org, batch.rng)
    real, logits = nets.D(x)
    x_fake = nets.G(x, c)
    fake, _ = nets.D(x_fake.detach())
    adv = fake.mean() - real.mean()
    cls = cfg.lambda_cls * F.binary_cross_entropy_with_logits(logits, c_org, reduction="sum") / len(x)
    gp = cfg.lambda_gp * gradient_penalty(lambda t: nets.D(t)[0], interpolate(x, x_fake, batch.rng))
    return adv + gp + cls, {"adv": adv, "gp": gp, "cls": cls}


def stargan_g(nets, batch, cfg):
    x, c_org = batch.x, batch.y
    c = stargan.target_labels(c_org, batch.rng)
    x_fake = nets.G(x, c)
    fake, logits = nets.D(x_fake)
    adv, cls = -fake.mean(), cfg.lambda_cls * F.binary_cross_entropy_with_logits(logits, c, reduction="sum") / len(x)
    rec = cfg.lambda_rec * l1(x, nets.G(x_fake, c_org))
    return adv + cls + rec, {"adv": adv, "cls": cls, "rec": rec}


def sagan_d(nets, batch, cfg):
    I, c_g = batch.x, batch.y
    I_hat = nets.G(I, 1 - c_g).detach()
    real, logit = nets.D(I)
    fake, _ = nets.D(I_hat)
    adv, cls = sagan.src_d(real, fake), sagan.cls_d(logit, c_g)
    gp = cfg.lambda_gp * gradient_penalty(lambda x: nets.D(x)[0], interpolate(I, I_hat, batch.rng))
    return adv + gp + cls, {"adv": adv, "gp": gp, "cls": cls}


def sagan_g(nets, batch, cfg):
    I, c_g = batch.x, batch.y
    I_hat = nets.G(I, 1 - c_g)
    I_dual, I_same = nets.G(I_hat, c_g), nets.G(I, c_g)
    fake, logit = nets.D(I_hat)
    adv, cls = sagan.src_g(fake), sagan.cls_g(logit, 1 - c_g)
    dual, same = cfg.lambda_1 * l1(I, I_dual), cfg.lambda_2 * l1(I, I_same)
    return adv + cls + dual + same, {"adv": adv, "cls": cls, "rec_dual": dual, "rec_same": same}


LOSSES = {"stargan": {"D": stargan_d, "G": stargan_g}, "sagan": {"D": sagan_d, "G": sagan_g}}
FREEZE = ("sagan", "diat")


class Plain(Eager):
    """Performs updates the plain way; takes batches as `lib.step.Eager` does."""

    def __init__(self, paper: str, nets, modules: dict, stage, cfg, device: torch.device):
        adams = {}
        for update in stage.updates:
            parameters = [p for name in update.trains for p in modules[name].parameters()]
            adams[update.name] = torch.optim.Adam(parameters, lr=update.lr, betas=update.betas)
        super().__init__(nets, modules, adams, cfg)
        self.losses, self.freeze = LOSSES.get(paper, {}), paper in FREEZE

    def take(self, batch) -> None:
        self.batch = replace(batch, kept=None)

    def loss(self, update) -> tuple[Tensor, dict[str, Tensor]]:
        """The update's loss on the batch, on stock parts."""
        for name, module in self.modules.items():
            module.requires_grad_(not self.freeze or name in update.trains)
        with stock():
            return self.losses.get(update.name, update.loss)(self.nets, self.batch.first(update.images), self.cfg)

    def perform(self, update, cycle: int) -> dict[str, float]:
        total, parts = self.loss(update)
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        total.backward()
        self.optimisers[update.name].step()
        return {f"{update.name}/{k}": v.item() for k, v in (parts | {"total": total}).items()}

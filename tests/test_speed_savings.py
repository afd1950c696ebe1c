"""What makes the losses cheaper leaves them and their gradients as they are: against the plain ways, in float64, to 1e-9."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lib import blocks
from lib.baselines import stargan
from lib.data import Batch
from lib.engine import networks
from lib.papers import atigan, bridgegan, sagan, sggan

PAPERS = {m.__name__.rpartition(".")[2]: m for m in (sagan, atigan, sggan, bridgegan, stargan)}


def batch_of(paper, cfg, seed=0):
    """Four random faces with labels that fit the paper."""
    rng = torch.Generator().manual_seed(seed)
    stage = paper.stages(cfg)[0]
    x = torch.rand(4, 3, cfg.size, cfg.size, generator=rng) * 2 - 1
    y = torch.tensor([0.0, 1.0])[torch.arange(4 * len(stage.attributes)).view(4, -1) * 3 % 2]
    return Batch(x, y, torch.arange(4), torch.Generator().manual_seed(seed + 1))


def losses(paper, cfg, nets):
    """{update: (total, gradients of the trained networks)}, all from the same weights and random numbers."""
    out = {}
    for update in paper.stages(cfg)[0].updates:
        for name, module in networks(nets).items():
            module.requires_grad_(name in update.trains)
            module.zero_grad()
        total, _ = update.loss(nets, batch_of(paper, cfg), cfg)
        total.backward()
        trained = [p for name in update.trains for p in networks(nets)[name].parameters()]
        out[update.name] = total.detach(), torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in trained])
    return out


def plain_generator(self, X, S):
    """BridgeGAN's G on one image per code."""
    h = self.first(X.repeat(len(S) // len(X), 1, 1, 1))
    for block in (*self.down, *self.middle, *self.up):
        h = block(h, S)
    return torch.tanh(self.last(F.relu(h)))


@pytest.mark.parametrize("name", PAPERS)
def test_losses_and_gradients_are_those_of_the_plain_ways(name, float64, monkeypatch):
    paper = PAPERS[name]
    cfg = replace(paper.PROFILES["smoke"](), batch=4)
    torch.manual_seed(0)
    nets = paper.build(cfg)
    ours = losses(paper, cfg, nets)
    monkeypatch.setattr(blocks.LeakyReLU, "forward", lambda self, x: F.leaky_relu(x, self.slope))
    monkeypatch.setattr(bridgegan, "smaller", lambda x: F.avg_pool2d(x, 2))
    monkeypatch.setattr(bridgegan.Generator, "forward", plain_generator)
    plain = losses(paper, cfg, nets)
    assert len(ours) >= 2
    for update, (total, grad) in plain.items():
        assert abs(ours[update][0] - total) <= 1e-9 * abs(total)
        assert (ours[update][1] - grad).norm() <= 1e-9 * grad.norm() and grad.norm() > 1e-3

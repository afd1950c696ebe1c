"""What makes the losses cheaper leaves them and their gradients as they are: against the plain ways, in float64, to 1e-9."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import blocks, winograd
from lib.baselines import stargan
from lib.data import Batch
from lib.engine import networks
from lib.papers import atigan, bridgegan, sagan, sggan

PAPERS = {m.__name__.rpartition(".")[2]: m for m in (sagan, atigan, sggan, bridgegan, stargan)}


def batch_of(paper, cfg, seed=0):
    """Four random faces with labels that fit the paper."""
    rng = torch.Generator().manual_seed(seed)
    stage = paper.stages(cfg)[-1]
    x = torch.rand(4, 3, cfg.size, cfg.size, generator=rng) * 2 - 1
    y = torch.tensor([0.0, 1.0])[torch.arange(4 * len(stage.attributes)).view(4, -1) * 3 % 2]
    return Batch(x, y, torch.arange(4), torch.Generator().manual_seed(seed + 1))


def losses(paper, cfg, nets):
    """{update: (total, gradients of the trained networks)}, all from the same weights and random numbers."""
    out = {}
    for update in paper.stages(cfg)[-1].updates:
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
    with pytest.MonkeyPatch.context() as wide:  # the ways of wide networks
        for where, name_of in ((winograd, "CHANNELS"), (winograd, "PIXELS"), (blocks, "THIN_INPUTS")):
            wide.setattr(where, name_of, 0)
        ours = losses(paper, cfg, nets)
    for stock in (blocks.Conv3x3, blocks.ThinConv2d):
        monkeypatch.setattr(stock, "forward", nn.Conv2d.forward)
    monkeypatch.setattr(blocks.LeakyReLU, "forward", lambda self, x: F.leaky_relu(x, self.slope))
    monkeypatch.setattr(bridgegan, "smaller", lambda x: F.avg_pool2d(x, 2))
    monkeypatch.setattr(bridgegan.Generator, "forward", plain_generator)
    plain = losses(paper, cfg, nets)
    assert len(ours) >= 2
    for update, (total, grad) in plain.items():
        assert abs(ours[update][0] - total) <= 1e-9 * abs(total)
        assert (ours[update][1] - grad).norm() <= 1e-9 * grad.norm() and grad.norm() > 1e-3


CONVOLUTIONS = {
    "square": (lambda: blocks.Conv3x3(6, 10), (3, 6, 8, 8)),
    "oblong, one tile high": (lambda: blocks.Conv3x3(5, 3, bias=False), (2, 5, 4, 12)),
    "colours": (lambda: blocks.ThinConv2d(20, 3, 7), (2, 20, 9, 10)),
    "mask, smaller than its kernel": (lambda: blocks.ThinConv2d(17, 1, 7, bias=False), (2, 17, 4, 3)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_and_their_gradients_are_torchs(name, float64, monkeypatch):
    monkeypatch.setattr(winograd, "CHANNELS", 0)
    monkeypatch.setattr(winograd, "PIXELS", 0)
    torch.manual_seed(0)
    make, shape = CONVOLUTIONS[name]
    conv, x = make(), torch.randn(shape, requires_grad=True)
    found = []
    for forward in (type(conv).forward, nn.Conv2d.forward):
        y = forward(conv, x)
        found.append((y.detach(), *torch.autograd.grad(y.pow(3).sum(), (x, *conv.parameters()))))
    for got, wanted in zip(*found, strict=True):
        assert got.shape == wanted.shape and (got - wanted).norm() <= 1e-12 * wanted.norm() and wanted.norm() > 1e-3
    frozen = conv.requires_grad_(False)(x)
    assert torch.allclose(torch.autograd.grad(frozen.pow(3).sum(), x)[0], found[1][1], rtol=1e-12, atol=1e-12)


def test_winograds_way_is_taken_where_it_pays_and_only_there(monkeypatch):
    taken = []
    monkeypatch.setattr(blocks, "Winograd", type("", (), {"apply": lambda x, w: taken.append(tuple(x.shape)) or F.conv2d(x, w, padding=1)}))
    wide, narrow = blocks.Conv3x3(128, 128), blocks.Conv3x3(64, 128)
    for conv, shape in ((wide, (16, 128, 8, 8)), (wide, (15, 128, 8, 8)), (wide, (16, 128, 8, 10)), (narrow, (16, 64, 8, 8))):
        assert conv(torch.zeros(shape)).shape == (shape[0], 128, *shape[2:])
    assert taken == [(16, 128, 8, 8)]
    wide.to(torch.bfloat16)(torch.zeros(16, 128, 8, 8, dtype=torch.bfloat16))
    assert len(taken) == 1


def test_winograds_way_has_no_second_derivative_and_says_so():
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(winograd.Winograd.apply(x, torch.randn(2, 3, 3, 3)).pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_single_precision_keeps_six_digits():
    torch.manual_seed(0)
    conv, x = blocks.Conv3x3(128, 128), torch.randn(16, 128, 8, 8)
    exact = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
    error = (conv(x) - exact).norm() / exact.norm()
    assert 0 < error < 1e-5

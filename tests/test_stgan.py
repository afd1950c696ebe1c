"""STGAN's networks against its public code, its unit and its losses term by term, its edits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import close, count, sigmoid

from lib.baselines import stgan
from lib.data import Batch


def nets_of(cfg=None, seed=0):
    torch.manual_seed(seed)
    return stgan.build(cfg or stgan.PROFILES["smoke"]())


def batch(n=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x, y = torch.rand(n, 3, 32, 32, generator=rng) * 2 - 1, torch.tensor([[0, 1], [1, 0], [0, 0], [1, 1]])[:n]
    return Batch(x.double(), y.double(), torch.arange(n), rng)


def test_parameter_counts_follow_the_official_layers():
    """Counted layer by layer: kernels of 4 (3 in the gates), scale and offset where a norm follows, a bias where none does."""
    nets, n, c = stgan.build(stgan.Config()), 13, [64, 128, 256, 512, 1024]
    encoder = sum(16 * i * o + 2 * o for i, o in zip([3, *c], c, strict=False))
    units = sum(16 * (o + n) * i + i + 3 * (9 * 2 * i * i + i) for i, o in zip(c, c[1:], strict=False))
    decoder = [(1024 + n, 1024), (1024 + 512 + n, 512), (512 + 256 + n, 256), (256 + 128 + n, 128)]
    last = 16 * (128 + 64 + n) * 3 + 3
    assert count(nets.G) == encoder + units + sum(16 * i * o + 2 * o for i, o in decoder) + last
    heads = sum(1024 * 4 * 4 * 1024 + 1024 + 1024 * k + k for k in (1, n))
    assert count(nets.D) == encoder + heads


def test_networks_keep_the_size_and_see_the_labels():
    nets, b = nets_of(), batch()
    x, d = b.x.float(), torch.zeros(4, 2)
    nets.G.eval()
    assert nets.G(x, d).shape == x.shape and nets.G(x, d).abs().max() <= 1
    assert not torch.allclose(nets.G(x, d), nets.G(x, d + 1), atol=1e-4)
    scores, logits = nets.D(x)
    assert scores.shape == (4, 1) and logits.shape == (4, 2)


def test_the_unit_is_its_equations(float64):
    torch.manual_seed(0)
    unit, f, s = stgan.Unit(5, 3), torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)
    s_hat = unit.W_t(s)

    def gate(layer, *maps):
        return layer(torch.cat(maps, 1)).detach().numpy()

    r, z = (sigmoid(gate(w, f, s_hat)) for w in (unit.W_r, unit.W_z))
    state = r * s_hat.detach().numpy()
    new = np.tanh(gate(unit.W_h, f, torch.from_numpy(state)))
    passed = (1 - z) * s_hat.detach().numpy() + z * new
    for ours, expected in zip(unit(f, s), (passed, state), strict=True):
        assert np.abs(ours.detach().numpy() - expected).max() < 1e-12


def bce(logits, labels) -> float:
    p = sigmoid(logits.detach().numpy())
    return float(np.mean(-np.where(labels.numpy() > 0.5, np.log(p), np.log(1 - p))))


def test_losses_term_by_term(float64):
    cfg, nets, b = stgan.PROFILES["smoke"](), nets_of(), batch()
    state = b.rng.get_state()
    c = stgan.target_labels(b.y, b.rng)
    eps = torch.rand(4, 1, 1, 1, generator=b.rng, dtype=b.x.dtype)
    fake = nets.G(b.x, c - b.y).detach()

    b.rng.set_state(state)
    total, parts = stgan.d_loss(nets, b, cfg)
    norms = []
    for i in range(4):
        x = (eps[i] * b.x[i] + (1 - eps[i]) * fake[i])[None].requires_grad_(True)
        nets.D(x)[0].sum().backward()
        norms.append((x.grad.norm().item() - 1) ** 2)
    expected = {"adv": (nets.D(fake)[0].mean() - nets.D(b.x)[0].mean()).item(), "gp": 10 * np.mean(norms), "att": bce(nets.D(b.x)[1], b.y)}
    assert all(close(parts[name], value) for name, value in expected.items()) and close(total, sum(expected.values()))

    b.rng.set_state(state)
    total, parts = stgan.g_loss(nets, b, cfg)
    score, logit = nets.D(fake)
    expected = {"adv": -score.mean().item(), "att": 10 * bce(logit, c), "rec": 100 * (b.x - nets.G(b.x, 0 * c)).abs().mean().item()}
    assert all(close(parts[name], value) for name, value in expected.items()) and close(total, sum(expected.values()))


def test_the_rate_falls_to_a_tenth_and_d_is_updated_five_times():
    (stage,) = stgan.stages(stgan.Config(g_steps=10))
    D, G = stage.updates
    assert (D.repeats, G.repeats, D.betas) == (5, 1, (0.5, 0.999))
    assert [D.rate(cycle) for cycle in (1, 5, 6, 10)] == pytest.approx([2e-4, 2e-4, 2e-5, 2e-5])


def test_edits_change_the_labels_that_they_are_given():
    cfg = replace(stgan.PROFILES["smoke"](), attributes="Black_Hair,Blond_Hair,Smiling")
    own, asked = torch.tensor([[1.0, 0, 0], [1, 0, 1]]), []

    class Spy(stgan.Generator):
        def forward(self, x, d):
            asked.append(d)
            return super().forward(x, d)

    nets = nets_of(cfg)
    nets.G = Spy(cfg)
    edit = stgan.editor({"joint": nets}, cfg, lambda x: own)
    for attribute, target in (("Smiling", 1), ("Blond_Hair", 1), ("Smiling", torch.tensor([[0.5], [0.0]]))):
        edit(attribute, batch(2).x.float(), target)
    assert [d.tolist() for d in asked] == [[[0, 0, 1.5], [0, 0, 0]], [[-1, 1.5, 0], [-1, 1.5, 0]], [[0, 0, 0.75], [0, 0, -1.5]]]

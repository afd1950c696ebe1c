"""StarGAN v2's networks against public figures, its equations, who learns from what, the running means, its edits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import count

from lib.baselines import starganv2
from lib.data import Batch


def batch(n=4, columns=1, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 3, 32, 32, generator=rng) * 2 - 1
    y = F.one_hot(torch.arange(n) % columns, columns).to(x.dtype) if columns > 1 else (torch.arange(n)[:, None] % 2).to(x.dtype)
    return Batch(x, y, torch.arange(n), rng)


def nets_of(cfg=None, seed=0):
    torch.manual_seed(seed)
    return starganv2.build(cfg or starganv2.PROFILES["smoke"]())


def test_parameter_counts_are_the_official_codes():
    """Printed by the official code at 256 pixels with two domains (its generator without the high-pass skips)."""
    nets = starganv2.build(starganv2.Config(attributes="Male"))
    assert (count(nets.G), count(nets.M), count(nets.E), count(nets.D)) == (33_892_995, 2_438_272, 20_916_928, 20_852_290)


def test_heads_are_those_of_the_domain():
    cfg = replace(starganv2.PROFILES["smoke"](), attributes="cat,dog,wild", hidden=32, width=4)
    nets, x, z = nets_of(cfg), batch().x[:3], torch.randn(3, cfg.noise_length)
    y = torch.tensor([2, 0, 1])
    with torch.no_grad():
        for net, given in ((nets.M, z), (nets.E, x), (nets.D, x)):
            shared = net.shared(given)
            expected = torch.stack([net.own[k](h) for k, h in zip(y.tolist(), shared, strict=True)])
            assert torch.allclose(net(given, y), expected, atol=1e-6) and not torch.allclose(net(given, 2 - y), expected)
        assert nets.G(x, nets.E(x, y)).shape == x.shape


def test_adain_is_its_formula(float64):
    torch.manual_seed(1)
    layer, x, s = starganv2.AdaIN(5, 3), torch.randn(2, 3, 4, 4), torch.randn(2, 5)
    gamma, beta = layer.fc(s).chunk(2, 1)
    normed = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    assert (layer(x, s) - ((1 + gamma)[:, :, None, None] * normed + beta[:, :, None, None])).abs().max() < 1e-12


def replay(b, cfg):
    """What the losses draw from a batch's generator, in their order, and the generator as it was."""
    state = b.rng.get_state()
    first, second = starganv2.references(starganv2.domain(b.y), b.rng)
    z = [torch.randn(len(b.x), cfg.noise_length, generator=b.rng, dtype=b.x.dtype) for _ in range(2)]
    b.rng.set_state(state)
    return first, second, z


def bce(logit, real):
    p = 1 / (1 + np.exp(-logit.detach().numpy().ravel()))
    return np.mean(-np.log(p if real else 1 - p))


def test_d_loss_term_by_term(float64):
    cfg, nets, b = starganv2.PROFILES["smoke"](), nets_of(), batch()
    b.x, b.y = b.x.double(), b.y.double()
    first, _, (z, _) = replay(b, cfg)
    total, parts = starganv2.d_loss(nets, b, cfg)
    y, y_t = b.y[:, 0].long(), b.y[first, 0].long()
    fakes = [nets.G(b.x, s) for s in (nets.M(z, y_t), nets.E(b.x[first], y_t))]
    penalty = []
    for i in range(4):
        x = b.x[i : i + 1].clone().requires_grad_(True)
        nets.D(x, y[i : i + 1]).sum().backward()
        penalty.append(0.5 * (x.grad**2).sum().item())
    expected = {"real": bce(nets.D(b.x, y), 1), "fake": np.mean([bce(nets.D(f, y_t), 0) for f in fakes]), "reg": np.mean(penalty)}
    for name, value in expected.items():
        assert parts[name].item() == pytest.approx(value, rel=1e-9), name
    assert total.item() == pytest.approx(sum(expected.values()), rel=1e-9)


@pytest.mark.parametrize("done", [0, 2])
def test_g_loss_term_by_term_and_its_diversity_falls(float64, done):
    cfg, nets, b = replace(starganv2.PROFILES["smoke"](), g_steps=4), nets_of(), batch()
    b.x, b.y, nets.progress.updates = b.x.double(), b.y.double(), torch.tensor(float(done))
    first, second, z = replay(b, cfg)
    total, parts = starganv2.g_loss(nets, b, cfg)
    y, y_t = b.y[:, 0].long(), b.y[first, 0].long()
    terms = {"adv": [], "sty": [], "ds": [], "cyc": []}
    for s, other in ([nets.M(v, y_t) for v in z], [nets.E(b.x[k], y_t) for k in (first, second)]):
        fake = nets.G(b.x, s)
        terms["adv"].append(bce(nets.D(fake, y_t), 1))
        terms["sty"].append((nets.E(fake, y_t) - s).abs().mean().item())
        terms["ds"].append((fake - nets.G(b.x, other)).abs().mean().item())
        terms["cyc"].append((b.x - nets.G(fake, nets.E(b.x, y))).abs().mean().item())
    for name, values in terms.items():
        assert parts[name].item() == pytest.approx(np.mean(values), rel=1e-9), name
    weights = {"adv": 1, "sty": 1, "ds": -2 * (1 - done / 4), "cyc": 1}
    assert total.item() == pytest.approx(sum(w * sum(terms[name]) for name, w in weights.items()), rel=1e-9)
    assert nets.progress.updates == done + 1


def test_m_and_e_learn_from_noise_alone():
    """The part with references passes gradient through E to G, and gives E and M none."""
    nets, b = nets_of(), batch()
    y = starganv2.domain(b.y)
    s = nets.E(b.x, y).detach()
    sum(starganv2.g_part(nets, b.x, y, y, s, s.flip(0), starganv2.frozen(nets.E)).values()).backward()
    assert all(p.grad is None for net in (nets.E, nets.M) for p in net.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in nets.G.parameters())


def test_references_are_of_one_domain_and_differ_where_they_can():
    y = torch.tensor([0, 0, 1, 1, 1, 2])
    for seed in range(20):
        first, second = starganv2.references(y, torch.Generator().manual_seed(seed))
        assert sorted(first.tolist()) == list(range(6)) and torch.equal(y[first], y[second])
        assert ((first != second) == (y[first] != 2)).all()


def test_running_means_and_the_rate_of_m():
    cfg, nets = replace(starganv2.PROFILES["smoke"](), ema=0.75), nets_of()
    before = nets.G_ema.last[2].weight.clone()
    with torch.no_grad():
        nets.G.last[2].weight += 1
    starganv2.average(nets, cfg)
    assert torch.allclose(nets.G_ema.last[2].weight, before + 0.25)
    (stage,) = starganv2.stages(cfg)
    parameters = [p for name in stage.updates[1].trains for p in getattr(nets, name).parameters()]
    optimiser = stage.updates[1].optimiser(parameters, cfg.lr)
    assert [len(g["params"]) for g in optimiser.param_groups] == [len(list(nets.M.parameters())), len(parameters) - len(list(nets.M.parameters()))]
    moved = [(p, p.detach().clone()) for p in (nets.M.shared[0].bias, nets.G.first.bias)]
    for _ in range(2):  # the loop sets the rate anew before every step
        for group in optimiser.param_groups:
            group["lr"] = cfg.lr
        for p in parameters:
            p.grad = torch.ones_like(p)
        optimiser.step()
    steps = [(p - old).abs().mean().item() for p, old in moved]
    assert steps[0] == pytest.approx(cfg.m_lr * steps[1], rel=1e-3) and steps[1] == pytest.approx(2e-4, rel=1e-2)


def test_edits_follow_their_draw_and_their_reference(faces, split):
    cfg = replace(starganv2.PROFILES["smoke"](), hidden=32, width=4)
    models = {"domains": nets_of(cfg)}
    x = torch.from_numpy(faces.images[split.test[:3]].copy()).float() / 127.5 - 1
    by = {mode: starganv2.editor(models, faces, split, cfg, mode) for mode in ("label", "reference")}
    for edit in by.values():
        one = edit("Bangs", x, 1.0).image
        assert torch.equal(edit("Bangs", x, 1.0).image, one) and not torch.equal(edit("Bangs", x, 0.0).image, one)
    given = by["reference"]("Bangs", x, 1.0, x[:1].expand_as(x)).image
    nets = models["domains"]
    with torch.no_grad():
        expected = nets.G_ema(x, nets.E_ema(x[:1].expand_as(x), torch.ones(3, dtype=torch.int64)))
    assert torch.equal(given, expected)
    assert not torch.equal(starganv2.editor(models, faces, split, cfg, "label", seed=1)("Bangs", x, 1.0).image, by["label"]("Bangs", x, 1.0).image)

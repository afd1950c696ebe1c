"""ATI-GAN's networks against Sec. 3.1, its equations recomputed, who trains whom, and Algorithm 1 as the loop walks it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from ledger import equation
from networks import close, count, shapes
from torch import nn

from lib.baselines import stargan
from lib.data import Batch
from lib.papers.atigan import model as atigan
from lib.papers.atigan.model import Box, composite
from lib.training import loop


def small(**fields) -> atigan.Config:
    return replace(atigan.PROFILES["smoke"](), **{"r_width": 4, "g_width": 4, "d_width": 4} | fields)


def batch(size=32, n=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    dtype = torch.get_default_dtype()
    x = (torch.rand(n, 3, size, size, generator=rng) * 2 - 1).to(dtype)
    y = (torch.rand(n, 4, generator=rng) < 0.5).to(dtype)
    return Batch(x, y, torch.arange(len(x)), torch.Generator().manual_seed(seed + 100))


def bce(logits, labels) -> float:
    """Summed over attributes, mean over the batch."""
    z, c = np.asarray(logits), np.asarray(labels)
    return float(-np.log(1 / (1 + np.exp(np.where(c > 0, -z, z)))).sum(1).mean())


# ---------------------------------------------------------------------------------------------------------------- hole and networks


def test_the_hole():
    at = {size: atigan.box_of(small(size=size)) for size in (128, 64, 32)}
    assert at == {128: Box(57, 38, 52, 128), 64: Box(29, 19, 26, 64), 32: Box(14, 9, 14, 32)}
    assert at[128].mask().sum() == 2704 and at[64].mask().sum() == 676
    assert all(torch.equal(box.mask(), box.mask().flip(-1)) for box in at.values())
    assert atigan.box_of(small(size=128, mask="center")) == Box(38, 38, 52, 128)


@pytest.mark.parametrize("size", [128, 64])
def test_layer_tables(size):
    s, cfg = size, atigan.Config(size=size)
    nets = atigan.build(cfg)
    with torch.no_grad():
        half, quarter = s // 2, s // 4
        expected = [(32, s, s)] + [(64, half, half)] * 2 + [(128, quarter, quarter)] * 9
        expected += [(64, half, half)] * 2 + [(32, s, s), (16, s, s), (3, s, s)]
        assert shapes(nets.R.net, torch.zeros(1, 5, s, s), nn.Conv2d) == expected
        expected = [(64, s, s), (128, half, half), (256, quarter, quarter)] + [(256, quarter, quarter)] * 6
        expected += [(128, half, half), (64, s, s), (3, s, s)]
        assert shapes(nets.G.net, torch.zeros(1, 7, s, s), (nn.Conv2d, nn.ConvTranspose2d, stargan.Block)) == expected
        side = 52 if size == 128 else 26
        maps = {128: [64, 32, 16, 8, 4, 2], 64: [32, 16, 8, 4, 2], 52: [26, 13, 6, 3, 1], 26: [13, 6, 3, 1]}
        for trunk, width in ((nets.D.trunk_g, size), (nets.D.trunk_p, side)):
            assert shapes(trunk, torch.zeros(1, 3, width, width), nn.Conv2d) == [(64 * 2**i, h, h) for i, h in enumerate(maps[width])]
        g, p, logits = nets.D(torch.zeros(2, 3, s, s))
    assert g.shape == (2, 1, 2, 2) and p.shape == (2, 1, 1, 1) and logits.shape == (2, 4)
    assert nets.D.cls_g.kernel_size == (2, 2) and nets.D.cls_p.kernel_size == (1, 1)
    dilations = [m.dilation[0] for m in nets.R.net if isinstance(m, nn.Conv2d)]
    assert dilations[6:10] == ([2, 4, 8, 16] if size == 128 else [1, 2, 4, 8]) and set(dilations[:6] + dilations[10:]) == {1}
    in_blocks = [m.body[0].dilation[0] for m in nets.G.net if isinstance(m, stargan.Block)]
    assert in_blocks == ([1, 2, 4, 8, 4, 2] if size == 128 else [1, 1, 2, 4, 2, 1])
    assert all(m.padding_mode == "reflect" for m in nets.R.net if isinstance(m, nn.Conv2d))
    assert all(m.padding_mode == "zeros" for m in nets.G.modules() if isinstance(m, nn.Conv2d))


def test_parameter_counts():
    nets = atigan.build(atigan.Config())
    assert (count(nets.R), count(nets.G), count(nets.D)) == (1_448_227, 8_427_392, 55_913_344)
    assert (count(nets.D.trunk_g), count(nets.D.src_g), count(nets.D.cls_g)) == (44_702_656, 18_432, 32_768)
    nets = atigan.build(atigan.PROFILES["cpu"]())
    assert sum(2 * count(getattr(nets, name)) for name in atigan.KEEPS) < 8e6  # bytes that are kept, in half precision


def test_r_never_sees_the_hole():
    nets, b = atigan.build(small()), batch()
    other = composite(b.x, torch.rand_like(b.x), nets.R.box)
    assert torch.equal(nets.R(b.x), nets.R(other))
    x_dot, x_hat = atigan.reconstruct(nets.R, b.x)
    assert torch.equal(x_hat, torch.where(nets.R.box.mask() > 0, x_dot, b.x))


def test_the_label_reaches_g_only_through_the_zero_border(float64):
    torch.manual_seed(0)
    G, x = atigan.Generator(small(size=64)), batch(64).x
    zero, one = torch.zeros(4, 4), torch.ones(4, 4)
    assert (G(x, zero) - G(x, one)).abs().max() > 1e-2
    for m in G.modules():
        if isinstance(m, nn.Conv2d):
            m.padding_mode = "reflect"
            m._reversed_padding_repeated_twice = [p for p in reversed(m.padding) for _ in range(2)]
    assert (G(x, zero) - G(x, one)).abs().max() < 1e-5


# ---------------------------------------------------------------------------------------------------------------- equations


@equation("atigan", 3)
def test_reconstruction_loss(float64):
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(-1, 1, (2, 3, 8, 8)) for _ in range(2))
    box = Box(2, 3, 4, 8)
    contour = patch = 0.0
    for n, k, i, j in np.ndindex(x.shape):
        error = abs(x[n, k, i, j] - y[n, k, i, j])
        if 2 <= i < 6 and 3 <= j < 7:
            patch += error
        else:
            contour += error
    loss = partial(atigan.L_ae, torch.tensor(x), torch.tensor(y), box.mask().double(), 5.0)
    assert close(loss(), contour / x.size + 5 * patch / (2 * box.mask().sum() * 3)) and close(loss("sum"), (contour + 5 * patch) / 2)
    x = torch.zeros(1, 3, 128, 128)
    worked = atigan.L_ae(x, x + 0.1, atigan.box_of(atigan.Config()).mask().double(), 5.0)
    assert close(worked, 0.1 * 13680 / 16384 + 0.5)


@equation("atigan", 4, 5)
def test_cycle(float64):
    cfg = small(blocks=2)
    G, b = atigan.build(cfg).G, batch(n=2)
    c_t = 1 - b.y
    x1, x2 = atigan.there_and_back(G, b.x, c_t, b.y)

    def tiled(image, c):
        planes = np.stack([np.stack([np.full((32, 32), v) for v in row]) for row in c.numpy()])
        return G.net(torch.cat([image, torch.tensor(planes)], 1))

    assert torch.equal(x1, tiled(b.x, c_t)) and torch.equal(x2, tiled(x1, b.y))
    flat = [abs(p - q) for p, q in zip(b.x.flatten().tolist(), x2.flatten().tolist(), strict=True)]
    assert close(atigan.L_cycle(b.x, x2), sum(flat) / len(flat))


@equation("atigan", 7, 8)
def test_adversarial_terms(float64):
    rng = np.random.default_rng(0)
    g, p, fake = rng.normal(size=(2, 1, 2, 2)), rng.normal(size=(2, 1, 1, 1)), rng.normal(size=(3, 1, 2, 2))
    assert close(atigan.L_adv(torch.tensor(g), torch.tensor(p)), -sum(g.ravel()) / 8 - sum(p.ravel()) / 2)
    assert close(atigan.critic(torch.tensor(g), torch.tensor(fake), torch.tensor(0.3), 10.0), np.mean(g) - np.mean(fake) - 3.0)


@equation("atigan", 9, 10)
def test_classification(float64):
    logits, labels = np.random.default_rng(0).normal(size=(2, 4)), np.array([[1, 0, 0, 1], [0, 1, 0, 0]])
    assert close(atigan.L_class(torch.tensor(logits), torch.tensor(labels, dtype=torch.float64)), bce(logits, labels))


def penalty(net, x) -> float:
    """E(||grad of the summed map|| - 1)^2, face by face."""
    out = []
    for one in x:
        at = one[None].clone().requires_grad_(True)
        net(at).sum().backward()
        out.append((np.sqrt((at.grad.numpy() ** 2).sum()) - 1) ** 2)
    return float(np.mean(out))


@equation("atigan", 11)
@pytest.mark.parametrize("train, fakes", [("all", "both"), ("all", "G"), ("G", "both")])
def test_d_loss(float64, train, fakes):
    cfg = small(lambda_c=3.0, train=train, d_fakes=fakes)
    torch.manual_seed(1)
    nets, b = atigan.build(cfg), batch()
    total, parts = atigan.d_loss(nets, b, cfg)
    rng = torch.Generator().manual_seed(100)
    c_t = b.y[torch.rand(4, generator=rng).argsort()]
    a = torch.rand(4, 1, 1, 1, generator=rng)
    with torch.no_grad():
        x_hat = b.x if train == "G" else atigan.reconstruct(nets.R, b.x)[1]
        x1 = nets.G(x_hat, c_t)
        if (train, fakes) == ("all", "both"):  # D rejects what R made, too
            x1 = torch.stack([x1[0], x1[1], x_hat[2], x_hat[3]])
        real, fake = ([nets.D(f[None]) for f in faces] for faces in (b.x, x1))
    x_tilde = a * b.x + (1 - a) * x1
    expected = 0.0
    for k, (name, net, part) in enumerate((("g", nets.D.g, x_tilde), ("p", nets.D.p, nets.D.box.crop(x_tilde)))):
        gap, gp = np.mean([r[k].mean().item() for r in real]) - np.mean([f[k].mean().item() for f in fake]), penalty(net, part)
        assert close(parts[f"gap_{name}"], gap) and close(parts[f"gp_{name}"], gp)
        expected += -gap + 10 * gp
    cls = 3 * bce([r[2][0].tolist() for r in real], b.y.tolist())
    assert close(parts["cls"], cls) and close(total, expected + cls)


@equation("atigan", 2)
def test_r_loss(float64):
    cfg = small(lambda_c=3.0)
    torch.manual_seed(2)
    nets, b = atigan.build(cfg), batch()
    nets.R.net[-1].weight.data *= 30  # so that some pixels are clipped
    total, parts = atigan.r_loss(nets, b, cfg)
    with torch.no_grad():
        x_dot, x_hat = atigan.reconstruct(nets.R, b.x)
        M = nets.R.box.mask(b.x)
        contour, patch = ((1 - M) * (b.x - x_dot)).abs().mean(), (b.x - x_dot).abs()[M.expand_as(b.x) > 0].mean()
        ae = 10 * float(contour + 5 * patch)
        judged = [nets.D(f[None]) for f in x_hat]
    adv = -np.mean([j[0].mean().item() for j in judged]) - np.mean([j[1].item() for j in judged])
    cls = 3 * bce([j[2][0].tolist() for j in judged], b.y.tolist())
    assert close(parts["ae"], ae) and close(parts["adv"], adv) and close(parts["cls"], cls) and close(total, ae + adv + cls)
    assert x_dot.abs().max() == 1
    alone, terms = atigan.r_loss(nets, b, replace(cfg, train="R"))
    assert close(alone, ae) and terms.keys() == {"ae"}
    assert close(atigan.r_loss(nets, b, replace(cfg, train="R", l1="sum"))[0], 10 * (contour + 5 * patch * M.mean()) * 3 * 32 * 32)
    leaf = x_dot.clone().requires_grad_(True)
    g, p, logits = nets.D(composite(b.x, leaf, nets.R.box))
    of_d = torch.autograd.grad(atigan.L_adv(g, p) + 3 * atigan.L_class(logits, b.y), leaf)[0].norm()
    of_ae = 10 * torch.sign(b.x - x_dot).mul(1 - M + 5 * M / M.mean()).norm() / b.x.numel()
    assert close(parts["d_share"], of_d / (of_d + of_ae))
    g, p, logits = nets.D(atigan.reconstruct(nets.R, b.x)[1])  # R's gradient is that of the plain sum of the terms
    plain = 10 * atigan.L_ae(b.x, atigan.reconstruct(nets.R, b.x)[0], M, 5.0) + atigan.L_adv(g, p) + 3 * atigan.L_class(logits, b.y)
    ours, theirs = (torch.autograd.grad(loss, tuple(nets.R.parameters())) for loss in (total, plain))
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(ours, theirs, strict=True)) and ours[0].abs().max() > 1e-3


@equation("atigan", 6)
@pytest.mark.parametrize("on_x", [False, True])
def test_g_loss(float64, on_x):
    cfg = small(lambda_c=3.0)
    torch.manual_seed(3)
    nets, b = atigan.build(cfg), batch()
    total, parts = atigan.g_loss(nets, b, cfg, on_x=on_x)
    c_t = b.y[torch.rand(4, generator=torch.Generator().manual_seed(100)).argsort()]
    with torch.no_grad():
        x_hat = b.x if on_x else atigan.reconstruct(nets.R, b.x)[1]
        x1 = nets.G(x_hat, c_t)
        x2 = nets.G(x1, b.y)
        judged = [nets.D(f[None]) for f in x1]
    adv = -np.mean([j[0].mean().item() for j in judged]) - np.mean([j[1].mean().item() for j in judged])
    cls, cycle = 3 * bce([j[2][0].tolist() for j in judged], c_t.tolist()), 10 * float((x_hat - x2).abs().mean())
    assert close(parts["adv"], adv) and close(parts["cls"], cls) and close(parts["cycle"], cycle) and close(total, adv + cls + cycle)
    b.rng.manual_seed(100)
    assert close(atigan.g_loss(nets, b, replace(cfg, train="G"))[0], total.detach()) == on_x  # without inpainting it is x


# ---------------------------------------------------------------------------------------------------------------- gradients


def test_the_critics_reach_r_through_the_hole_alone():
    nets, x = atigan.build(small()), batch().x
    x_dot = torch.rand_like(x).requires_grad_(True)
    g, p, _ = nets.D(composite(x, x_dot, nets.R.box))
    atigan.L_adv(g, p).backward()
    M = nets.R.box.mask()
    assert (x_dot.grad * (1 - M)).abs().max() == 0 and (x_dot.grad * M).abs().max() > 0
    x_dot.grad = None
    atigan.L_ae(x, x_dot, M, 0.0).backward()
    assert (x_dot.grad * M).abs().max() == 0 and (x_dot.grad.abs() > 0).masked_select(M < 1).all()


# ---------------------------------------------------------------------------------------------------------------- Algorithm 1


def test_learning_rate():
    n = 200_000
    assert [atigan.lr_factor(i, n) for i in (0, 100_000, 150_000, 200_000)] == [1, 1, 0.5, 0]
    first, on_x, on_x_hat = atigan.stages(atigan.Config())
    assert (first.cycles, on_x.cycles, on_x_hat.cycles) == (1, 49_995, 150_004)
    assert [u.rate(1) for s in (first, on_x, on_x_hat) for u in s.updates] == [1e-4] * 9
    assert on_x_hat.updates[0].rate(100_005) == pytest.approx(5e-5) and on_x_hat.updates[2].rate(150_004) == pytest.approx(1e-9)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [("iteration 0", 1, "DRG"), ("G on x", 0, "DRG"), ("G on x-hat", 19, "DRG")]),
        ({"n_iter": 40}, [("iteration 0", 1, "DRG"), ("G on x", 5, "DRG"), ("G on x-hat", 34, "DRG")]),
        ({"th_disc": 0.0}, [("iteration 0", 1, "DRG"), ("G on x-hat", 19, "DRG")]),
        ({"th_disc": 1.0}, [("iteration 0", 1, "DRG"), ("G on x", 19, "DRG")]),
        ({"train": "R"}, [("R alone", 20, "R")]),
        ({"train": "G"}, [("iteration 0", 1, "DG"), ("no inpainting", 19, "DG")]),
    ],
)
def test_stages(fields, expected):
    found = atigan.stages(small(**{"n_iter": 20} | fields))
    assert [(s.name, s.cycles, "".join(u.name for u in s.updates)) for s in found] == [e for e in expected if e[1]]
    assert {s.name for s in found} <= atigan.SECONDS.keys() and {s.model for s in found} == {"ATI-GAN"}


@pytest.mark.parametrize(("th_disc", "on_x"), [(12 / 45, [True] * 3 + [False] * 6), (0.0, [False] * 9), (1.0, [True] * 9)])
def test_forty_five_iterations(th_disc, on_x, tmp_path, faces, split, monkeypatch):
    """D, R and G on one batch; G where mod(i, 5) = 0, on x before the threshold; each update leaves the other networks bit for bit."""
    moved, iterations = [], []

    def state(nets):
        return {name: torch.cat([p.detach().flatten().clone() for p in net.parameters()]) for name, net in loop.networks(nets).items()}

    perform = loop._perform

    def watched(update, nets, modules, b, *rest):
        before = state(nets)
        out = perform(update, nets, modules, b, *rest)
        moved.append((update.name, {name for name, now in state(nets).items() if not torch.equal(now, before[name])}))
        iterations.append((update.name, tuple(b.index.tolist()), getattr(update.loss, "keywords", {}).get("on_x")))
        return out

    monkeypatch.setattr(loop, "_perform", watched)
    n, cfg = 45, small(n_iter=45, th_disc=th_disc)
    _, report = loop.train(atigan, cfg, faces, split, tmp_path, log_every=1)
    assert all(networks == {name} for name, networks in moved)
    batches = [index for name, index, _ in iterations if name == "D"]
    assert len(set(batches)) == n and batches == [index for name, index, _ in iterations if name == "R"]
    assert [(batches.index(index), on) for name, index, on in iterations if name == "G"] == list(zip(range(0, n, 5), on_x, strict=True))
    assert sum(r["images_seen"]["G"] for r in report.values()) == 9 * cfg.batch


# ---------------------------------------------------------------------------------------------------------------- editing


def test_edit_and_editor():
    cfg = small()
    nets, x = atigan.build(cfg), batch().x
    c = torch.tensor([[1.0, 0, 1, 0]]).expand(4, -1)
    done = atigan.edit(nets, x, c, cfg)
    assert torch.equal(done.inpainted, atigan.reconstruct(nets.R, x)[1]) and torch.equal(done.image, nets.G(done.inpainted, c)) and done.mask is None
    plain = atigan.edit(nets, x, c, replace(cfg, train="G"))
    assert torch.equal(plain.inpainted, x) and torch.equal(plain.image, nets.G(x, c))
    seen = (nets.D(x)[2] > 0).float()
    seen[:, 2] = 0.5
    assert torch.equal(atigan.editor({"ATI-GAN": nets}, cfg)("Smiling", x, 0.5).image, nets.G(done.inpainted, seen))

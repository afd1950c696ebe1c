"""ATI-GAN's networks against Sec. 3.1, its equations recomputed, who trains whom, and Algorithm 1 as the engine walks it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ledger import equation
from torch import nn

from lib.training import loop as engine
from lib.training import runs
from lib.baselines.copying import start_as_copy
from lib.data import Batch, Batches
from lib.papers.atigan.hole import Box, composite
from lib.losses import gradient_penalty
from lib.papers.atigan.model import model as atigan
from lib.training.config import ParameterError
from lib.step import Eager


def small(**fields) -> atigan.Config:
    return replace(atigan.smoke(), **{"r_width": 4, "g_width": 4, "d_width": 4, "r_first": 0} | fields)


def batch(size=32, n=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    dtype = torch.get_default_dtype()
    x = (torch.rand(n, 3, size, size, generator=rng) * 2 - 1).to(dtype)
    y = (torch.rand(n, 4, generator=rng) < 0.5).to(dtype)
    return Batch(x, y, torch.arange(len(x)), torch.Generator().manual_seed(seed + 100))


def count(net) -> int:
    return sum(p.numel() for p in net.parameters())


def shapes(net, x, kinds) -> list[tuple[int, ...]]:
    """Shapes after every layer of these kinds in a Sequential."""
    out = []
    for m in net:
        x = m(x)
        if isinstance(m, kinds):
            out.append(tuple(x.shape[1:]))
    return out


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def bce(logits, labels) -> float:
    """Summed over attributes, mean over the batch."""
    return float(np.mean([sum(-np.log(sigmoid(z if c else -z)) for z, c in zip(zs, cs, strict=True)) for zs, cs in zip(logits, labels, strict=True)]))


def close(a, b, tolerance=1e-10):
    return abs(float(torch.as_tensor(a).detach()) - float(b)) <= tolerance * max(1, abs(float(b)))


# ---------------------------------------------------------------------------------------------------------------- hole


def test_the_hole():
    at = {size: atigan.box_of(small(size=size)) for size in (128, 64, 32)}
    assert at[128] == Box(57, 109, 38, 90, 128) and at[64] == Box(29, 55, 19, 45, 64) and at[32] == Box(14, 28, 9, 23, 32)
    assert at[128].mask().sum() == 2704 and at[64].mask().sum() == 676
    for box in at.values():
        assert torch.equal(box.mask(), box.mask().flip(-1))
    assert at[128].share == at[64].share == 2704 / 16384 and at[128].centre == (64, 83)
    center = atigan.box_of(small(size=128, mask="center"))
    assert center == Box(38, 90, 38, 90, 128)


# ---------------------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("size", [128, 64])
def test_layer_tables(size):
    s, cfg = size, atigan.Config(size=size)
    nets = atigan.build(cfg)
    with torch.no_grad():
        half, quarter = s // 2, s // 4
        wanted = [(32, s, s)] + [(64, half, half)] * 2 + [(128, quarter, quarter)] * 9 + [(64, half, half)] * 2 + [(32, s, s), (16, s, s), (3, s, s)]
        assert shapes(nets.R.net, torch.zeros(1, 5, s, s), nn.Conv2d) == wanted
        wanted = [(64, s, s), (128, half, half), (256, quarter, quarter)] + [(256, quarter, quarter)] * 6
        wanted += [(128, half, half), (64, s, s), (3, s, s)]
        assert shapes(nets.G.net, torch.zeros(1, 7, s, s), (nn.Conv2d, nn.ConvTranspose2d, atigan.DilatedBlock)) == wanted
        side = 52 if size == 128 else 26
        maps = {128: [64, 32, 16, 8, 4, 2], 64: [32, 16, 8, 4, 2], 52: [26, 13, 6, 3, 1], 26: [13, 6, 3, 1]}
        for trunk, width in ((nets.D.trunk_g, size), (nets.D.trunk_p, side)):
            assert shapes(trunk, torch.zeros(1, 3, width, width), nn.Conv2d) == [(64 * 2**i, h, h) for i, h in enumerate(maps[width])]
        g, p, logits = nets.D(torch.zeros(2, 3, s, s))
    assert g.shape == (2, 1, 2, 2) and p.shape == (2, 1, 1, 1) and logits.shape == (2, 4)
    assert nets.D.cls_g.kernel_size == (2, 2) and nets.D.cls_p.kernel_size == (1, 1)
    dilations = [m.dilation[0] for m in nets.R.net if isinstance(m, nn.Conv2d)]
    assert dilations[6:10] == ([2, 4, 8, 16] if size == 128 else [1, 2, 4, 8]) and set(dilations[:6] + dilations[10:]) == {1}
    assert all(m.padding_mode == "reflect" for m in nets.R.net if isinstance(m, nn.Conv2d))
    assert all(m.padding_mode == "zeros" for m in nets.G.modules() if isinstance(m, nn.Conv2d))


def test_parameter_counts():
    nets = atigan.build(atigan.Config())
    assert count(nets.R) == 1_448_227 and count(nets.G) == 8_427_392 and count(nets.D) == 55_913_344
    D = nets.D
    assert (count(D.trunk_g), count(D.src_g), count(D.cls_g)) == (44_702_656, 18_432, 32_768)
    assert (count(D.trunk_p), count(D.src_p), count(D.cls_p)) == (11_146_176, 9_216, 4_096)
    assert count(atigan.build(atigan.Config(size=64)).D) == 13_934_976


def test_the_dilation_of_128_does_not_fit_the_mirrored_map_of_64():
    R = atigan.build(small(size=64)).R
    dilated = [m for m in R.net if isinstance(m, nn.Conv2d)][9]
    assert dilated.dilation == (8, 8)
    with pytest.raises(RuntimeError, match="[Pp]adding size"):
        nn.Conv2d(16, 16, 3, 1, 16, 16, padding_mode="reflect")(torch.zeros(1, 16, 16, 16))
    assert R(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)


def test_r_never_sees_the_hole():
    nets, b = atigan.build(small()), batch()
    box = nets.R.box
    other = composite(b.x, torch.rand_like(b.x), box)
    assert torch.equal(nets.R(b.x), nets.R(other))
    moved = b.x.clone()
    moved[..., 0, 0] += 0.5
    assert not torch.equal(nets.R(b.x), nets.R(moved))


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


@pytest.mark.parametrize("downs", (0, 1, 2))
def test_g_can_start_as_a_copy(downs, float64):
    torch.manual_seed(0)
    G, x, c = atigan.Generator(small(g_width=6 * 2**downs, downs=downs, blocks=2, g_start="copy")), batch().x, torch.zeros(4, 4)
    assert (G(x, c) - x).abs().mean() < 0.15 < 0.5 < (G(x, c) - x.flip(-1)).abs().mean()
    start_as_copy(G.net, noise=0.0)
    torch.testing.assert_close(G(x, c), torch.tanh(1.5 * x), atol=1e-12, rtol=0)  # exact: no pixel lost, none moved
    G = atigan.Generator(small(g_width=6 * 2**downs, downs=downs, blocks=2, g_start="copy"))
    assert not torch.equal(G(x, c), G(x, 1 - c))  # and not without ears for its label
    plain = atigan.Generator(small(g_width=6 * 2**downs, downs=downs, blocks=2))
    assert (plain(x, c) - x).abs().mean() > 0.4
    with pytest.raises(ParameterError, match=f"at least {6 * 2**downs}"):
        small(g_width=6 * 2**downs - 1, downs=downs, g_start="copy")
    with pytest.raises(ValueError, match="outermost layer"):
        start_as_copy(atigan.Generator(small(g_width=5)).net)


def test_the_critics_see_the_same_picture():
    D, x = atigan.build(small()).D, batch().x
    moved = x.clone()
    moved[..., 0, 0] += 0.5  # outside the hole
    assert torch.equal(D(x)[1], D(moved)[1]) and not torch.equal(D(x)[0], D(moved)[0])
    assert torch.equal(D(x)[1], D.p(D.box.crop(x))) and torch.equal(D(x)[0], D.g(x))
    x.requires_grad_(True)
    D(x)[1].sum().backward()
    assert (x.grad * (1 - D.box.mask())).abs().max() == 0 and x.grad.abs().max() > 0


# ---------------------------------------------------------------------------------------------------------------- equations


@equation("atigan", 3)
def test_reconstruction_loss(float64):
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(-1, 1, (2, 3, 8, 8)) for _ in range(2))
    box = Box(2, 6, 3, 7, 8)
    contour = patch = 0.0
    for n, k, i, j in np.ndindex(x.shape):
        if 2 <= i < 6 and 3 <= j < 7:
            patch += abs(x[n, k, i, j] - y[n, k, i, j])
        else:
            contour += abs(x[n, k, i, j] - y[n, k, i, j])
    assert close(atigan.L_ae(torch.tensor(x), torch.tensor(y), box.mask().double(), 5.0), (contour + 5 * patch) / x.size)
    assert close(atigan.L_ae(torch.tensor(x), torch.tensor(y), box.mask().double(), 5.0, "sum"), (contour + 5 * patch) / 2)
    by_parts = contour / (2 * 3 * (64 - 16)) + 5 * patch / (2 * 3 * 16)  # each over its own pixels
    assert close(atigan.L_ae(torch.tensor(x), torch.tensor(y), box.mask().double(), 5.0, "parts"), by_parts)
    cfg = atigan.Config()
    x = torch.zeros(1, 3, 128, 128)
    worked = atigan.L_ae(x, x + 0.1, atigan.box_of(cfg).mask().double(), cfg.lambda_p)
    assert abs(float(worked) - 0.1660) < 1e-4 and close(worked, 0.1 * 13680 / 16384 + 0.5 * 2704 / 16384)


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
    for loss in (atigan.L_class_f, atigan.L_class_r):
        assert close(loss(torch.tensor(logits), torch.tensor(labels, dtype=torch.float64)), bce(logits, labels))
        zero = loss(torch.zeros(3, 4), torch.ones(3, 4))
        assert close(zero, 4 * np.log(2)) and abs(float(zero) - 2.7726) < 1e-4
        sure = torch.tensor([[40.0, -40.0, 40.0, -40.0]])
        assert float(loss(sure, (sure > 0).double())) < 1e-10


def penalty(net, x) -> float:
    """E(||grad of the summed map|| - 1)^2, face by face."""
    out = []
    for one in x:
        at = one[None].clone().requires_grad_(True)
        net(at).sum().backward()
        out.append((np.sqrt((at.grad.numpy() ** 2).sum()) - 1) ** 2)
    return float(np.mean(out))


@equation("atigan", 11)
@pytest.mark.parametrize(("fakes", "on_x"), [("g+r", False), ("g+r", True), ("g", False)])
def test_d_loss(float64, fakes, on_x):
    cfg = small(d_fakes=fakes, lambda_c=3.0)
    torch.manual_seed(1)
    nets, b = atigan.build(cfg), batch()
    total, parts = atigan.d_loss(nets, b, cfg, on_x=on_x)
    rng = torch.Generator().manual_seed(100)
    c_t = b.y[torch.rand(4, generator=rng).argsort()]
    a = torch.rand(4, 1, 1, 1, generator=rng)
    with torch.no_grad():
        x_hat = atigan.reconstruct(nets.R, b.x)[1]
        x1 = nets.G(b.x if on_x else x_hat, c_t)
        shown = [*x1, *x_hat] if fakes == "g+r" else [*x1]
        real, fake = ([nets.D(f[None]) for f in faces] for faces in (b.x, shown))
    faces, partner = (b.x, x1) if fakes == "g" else (b.x[[0, 2, 1, 3]], torch.stack([x1[0], x1[2], x_hat[1], x_hat[3]]))
    x_tilde = a * faces + (1 - a) * partner
    expected, gp = 0.0, {}
    for k, (name, net, part) in enumerate((("g", nets.D.g, x_tilde), ("p", nets.D.p, nets.D.box.crop(x_tilde)))):
        gap = np.mean([r[k].mean().item() for r in real]) - np.mean([f[k].mean().item() for f in fake])
        gp[name] = penalty(net, part)
        assert close(parts[f"gap_{name}"], gap) and close(parts[f"gp_{name}"], gp[name])
        expected += -gap + 10 * gp[name]
    cls = 3 * bce([r[2][0].tolist() for r in real], b.y.tolist())
    assert close(parts["cls"], cls) and close(total, expected + cls)


def test_without_inpainting_d_and_g_see_what_they_see_before_the_threshold(float64):
    nets, cfg = atigan.build(small()), small(d_fakes="g")
    for loss in (atigan.d_loss, atigan.g_loss):
        cases = ((cfg, True), (replace(cfg, train="G", d_fakes="g+r"), False))
        with_r, without = (float(loss(nets, batch(), c, on_x=on)[0].detach()) for c, on in cases)
        assert close(with_r, without) and not close(loss(nets, batch(), cfg)[0], without)


@equation("atigan", 2)
def test_r_loss(float64):
    cfg = small(lambda_c=3.0)
    torch.manual_seed(2)
    nets, b = atigan.build(cfg), batch()
    nets.R.net[-1].weight.data *= 30  # so that some pixels are clipped
    total, parts = atigan.r_loss(nets, b, cfg)
    with torch.no_grad():
        linear = nets.R(b.x)
        x_dot, x_hat = atigan.reconstruct(nets.R, b.x)
        M = nets.R.box.mask(b.x)
        ae = 10 * float(((1 - M) * (b.x - x_dot)).abs().mean() + 5 * (M * (b.x - x_dot)).abs().mean())
        judged = [nets.D(f[None]) for f in x_hat]
    adv = -np.mean([j[0].mean().item() for j in judged]) - np.mean([j[1].item() for j in judged])
    cls = 3 * bce([j[2][0].tolist() for j in judged], b.y.tolist())
    assert close(parts["ae"], ae) and close(parts["adv"], adv) and close(parts["cls"], cls) and close(total, ae + adv + cls)
    assert close(parts["clipped"], np.mean(np.abs(linear.numpy()) > 1), 1e-6) and 0 < parts["clipped"] < 1
    assert x_dot.abs().max() == 1
    alone, terms = atigan.r_loss(nets, b, cfg, alone=True)
    assert close(alone, ae) and terms.keys() == {"ae", "clipped"}
    error, share = (b.x - x_dot).abs(), float(M.mean())
    parts_of = 10 * (float(((1 - M) * error).mean()) / (1 - share) + 5 * float((M * error).mean()) / share)
    assert close(atigan.r_loss(nets, b, replace(cfg, l1="parts"), alone=True)[0], parts_of)
    assert close(atigan.r_loss(nets, b, replace(cfg, l1="sum"), alone=True)[0], ae * 3 * 32 * 32)


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
        one, two = ([nets.D(f[None]) for f in faces] for faces in (x1, x2))
    adv = [-np.mean([j[0].mean().item() for j in judged]) - np.mean([j[1].item() for j in judged]) for judged in (one, two)]
    cls, cycle = 3 * bce([j[2][0].tolist() for j in one], c_t.tolist()), 10 * float((x_hat - x2).abs().mean())
    assert close(parts["adv"], adv[0]) and close(parts["cls"], cls) and close(parts["cycle"], cycle) and close(total, adv[0] + cls + cycle)
    b.rng.manual_seed(100)
    assert close(atigan.g_loss(nets, b, replace(cfg, adv_on_cycle=True), on_x=on_x)[0], sum(adv) + cls + cycle)


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


@pytest.mark.parametrize("alone", [True, False])
def test_clipped_pixels_get_no_gradient(alone):
    nets, b = atigan.build(small()), batch()
    linear = (3 * torch.rand(b.x.shape, generator=torch.Generator().manual_seed(7)) - 1.5).requires_grad_(True)  # a third of it beyond the clip
    atigan.r_loss(nets, replace(b, kept={"R(x)": linear}), small(), alone=alone)[0].backward()
    clipped = linear.detach().abs() > 1
    assert 0.3 < clipped.float().mean() < 0.37
    assert (linear.grad[clipped] == 0).all() and (linear.grad[~clipped] != 0).all()


def test_the_composite_is_exact_outside():
    nets, x = atigan.build(small()), batch().x
    x_dot, x_hat = atigan.reconstruct(nets.R, x)
    M = nets.R.box.mask() > 0
    assert torch.equal(x_hat.masked_select(~M), x.masked_select(~M)) and torch.equal(x_hat.masked_select(M), x_dot.masked_select(M))


def test_who_trains_whom():
    cfg = small()
    nets, b = atigan.build(cfg), batch()
    before = [p.clone() for net in (nets.R, nets.G, nets.D) for p in net.parameters()]
    norms = atigan.gradient_norms(nets, b, cfg)
    assert norms.keys() == {(u, n) for u in "DRG" for n in "RGD"}
    reached = {("D", "D"), ("R", "R"), ("R", "D"), ("G", "G"), ("G", "D")}  # neither L_gen nor L_D reaches R
    assert {pair for pair, value in norms.items() if value > 0} == reached
    assert all(torch.equal(p, q) for p, q in zip(before, (p for net in (nets.R, nets.G, nets.D) for p in net.parameters()), strict=True))
    atigan.g_loss(nets, batch(), cfg)[0].backward()
    expected = torch.cat([p.grad.flatten() for p in nets.G.parameters()]).norm()
    assert norms["G", "G"] == pytest.approx(float(expected), rel=1e-5)


def test_an_end_to_end_loss_would_be_noticed(monkeypatch):
    """The other side of claim H10: were x-hat no constant for G, its loss would reach R."""
    nets = atigan.build(small())
    monkeypatch.setattr(torch, "no_grad", torch.enable_grad)
    assert atigan.gradient_norms(nets, batch(), small())["G", "R"] > 0


def test_each_update_leaves_the_other_networks_bit_for_bit(tmp_path, faces, split, monkeypatch):
    def state(nets):
        return {name: torch.cat([p.detach().flatten().clone() for p in net.parameters()]) for name, net in engine.networks(nets).items()}

    moved, perform = [], Eager.perform

    def watched(self, update, cycle):
        before = state(self.nets)
        out = perform(self, update, cycle)
        moved.append((update.name, {name for name, now in state(self.nets).items() if not torch.equal(now, before[name])}))
        return out

    monkeypatch.setattr(Eager, "perform", watched)
    run = runs.start(atigan, small(n_iter=20), faces, split, profile="smoke", seed=0, run_dir=str(tmp_path))
    try:
        engine.train(atigan, small(n_iter=20), faces, split, run)
    finally:
        runs.release(run.folder)
    assert len(moved) == 44 and all(networks == {name} for name, networks in moved)


def test_gradient_penalty_of_linear_critics(float64):
    x = batch().x
    k = 1 / np.sqrt(3 * 32 * 32)
    assert gradient_penalty(lambda t: k * t.flatten(1).sum(1), x).abs() < 1e-12
    four = gradient_penalty(lambda t: (k * t.flatten(1).sum(1))[:, None].expand(-1, 4) / 4, x)  # the mean of a map of four equal scores
    quarter = gradient_penalty(lambda t: k * t.flatten(1).sum(1) / 4, x)
    assert four.abs() < 1e-12 and close(quarter, (1 / 4 - 1) ** 2)


# ---------------------------------------------------------------------------------------------------------------- Algorithm 1


def test_learning_rate():
    n = 200_000
    assert atigan.lr_factor(0, n) == atigan.lr_factor(100_000, n) == 1 and atigan.lr_factor(150_000, n) == 0.5 and atigan.lr_factor(200_000, n) == 0
    first, second = atigan.stages(atigan.Config())
    assert (first.name, first.cycles, second.name, second.cycles) == ("on x", 50_000, "on x-hat", 150_000)
    assert [u.rate(1) for u in (*first.updates, *second.updates)] == [1e-4] * 6
    assert second.updates[0].rate(100_001) == 5e-5 and second.updates[2].rate(150_000) == pytest.approx(1e-9)


def test_thresholds():
    def names(**f):
        return [(s.name, s.cycles, [u.name for u in s.updates]) for s in atigan.stages(small(n_iter=20, **f))]

    assert names() == [("on x", 5, ["D", "R", "G"]), ("on x-hat", 15, ["D", "R", "G"])]
    assert names(th_disc=0.0) == [("on x-hat", 20, ["D", "R", "G"])] and names(th_disc=1.0) == [("on x", 20, ["D", "R", "G"])]
    assert names(train="R") == [("R alone", 20, ["R"])] and names(train="G") == [("on x", 20, ["D", "G"])]
    assert names(r_first=7)[0] == ("R first", 7, ["R"]) and names(r_first=7)[1:] == names()
    assert names(r_first=7, train="R") == [("R first", 7, ["R"]), ("R alone", 20, ["R"])] and names(r_first=7, train="G") == names(train="G")
    arms = atigan.ablations(small(r_first=32))
    assert {(a.n_iter, a.r_first) for name, a in arms.items() if name != "R, L1 only"} == {(5, 10)}
    assert (arms["R, L1 only"].n_iter, arms["R, L1 only"].r_first) == (16, 32)
    assert {name: (a.train, a.th_disc) for name, a in arms.items()} == {
        "R, L1 only": ("R", 0.25),
        "ATI-GAN, short": ("all", 0.25),
        "ATI-GAN, x-hat from the start": ("all", 0.0),
        "ATI-GAN, x throughout": ("all", 1.0),
        "ATI-GAN, no inpainting": ("G", 0.25),
    }
    assert atigan.ablations(small(ablations=False)) == {}


def test_the_rate_of_r_falls_over_the_second_half_of_all_its_updates():
    first, joint = atigan.stages(small(n_iter=20, r_first=60, lr=0.003, th_disc=0.0))
    arm = atigan.stages(small(n_iter=20, r_first=60, lr=0.003, train="R"))  # as many iterations at every rate
    assert [u.name for u in joint.updates] == ["D", "R", "G"]
    rates = [first.updates[0].rate(c) for c in range(1, 61)] + [joint.updates[1].rate(c) for c in range(1, 21)]
    assert rates == [stage.updates[0].rate(c) for stage in arm for c in range(1, stage.cycles + 1)]
    assert rates == pytest.approx([0.003 * min(1, (80 - k) / 40) for k in range(80)])
    assert joint.updates[0].rate(11) == 0.003 == 2 * joint.updates[0].rate(16)  # D's and G's have no part in it


def test_r_can_start_near_the_identity():
    torch.manual_seed(0)
    plain = atigan.build(small())
    torch.manual_seed(0)
    near = atigan.build(small(r_start="identity"))
    a, b = ([m for m in n.R.net if isinstance(m, nn.Conv2d)] for n in (plain, near))
    for i, (p, q) in enumerate(zip(a, b, strict=True)):
        wanted = p.weight * {0: 1.0, 16: 0.1}.get(i, 0.3)
        if 0 < i < 16:
            for c in range(min(p.out_channels, p.in_channels)):
                wanted[c, c, 1, 1] += 1
        torch.testing.assert_close(q.weight, wanted)
        assert torch.equal(p.bias, q.bias)
    assert torch.equal(plain.D.src_g.weight, near.D.src_g.weight)


@pytest.mark.parametrize("sampler", ["natural", "raked"])
def test_twenty_iterations(sampler, tmp_path, faces, split, monkeypatch):
    """D, R and G on one batch, or, where the faces are raked, R on faces as they come and each on batches of its own; G in the last of five
    iterations, on x before the threshold and on x-hat from there; one optimiser for all."""
    seen = {"D": [], "R": [], "G": []}
    fed = []

    def spy(name, loss):
        def wrapped(nets, b, cfg, **on):
            seen[name].append((tuple(b.index.tolist()), on.get("on_x")))
            if name == "G":
                inner = nets.G.forward
                nets.G.forward = lambda x, c: (fed.append(torch.equal(x, b.x)), inner(x, c))[1]
                result = loss(nets, b, cfg, **on)
                del nets.G.forward
                return result
            return loss(nets, b, cfg, **on)

        return wrapped

    for name, function in (("D", "d_loss"), ("R", "r_loss"), ("G", "g_loss")):
        monkeypatch.setattr(atigan, function, spy(name, getattr(atigan, function)))
    cfg = small(n_iter=20, sampler=sampler)
    run = runs.start(atigan, cfg, faces, split, profile="smoke", seed=0, run_dir=str(tmp_path))
    try:
        engine.train(atigan, cfg, faces, split, run, log_every=1)
    finally:
        runs.release(run.folder)
    assert [len(seen[k]) for k in "DRG"] == [20, 20, 4]
    if sampler == "natural":
        assert [i for i, _ in seen["D"]] == [i for i, _ in seen["R"]] and len({i for i, _ in seen["D"]}) == 20
        assert [i for i, _ in seen["G"]] == [seen["D"][k][0] for k in (4, 9, 14, 19)]
    else:
        steps = {"D": [2 * k + k // 5 for k in range(20)], "R": [2 * k + k // 5 + 1 for k in range(20)], "G": [11 * k + 10 for k in range(4)]}
        pools = {"D": atigan.raked(faces, split, 0), "R": split.train, "G": atigan.raked(faces, split, 0)}
        for name, numbers in steps.items():
            source = Batches(faces, pools[name], atigan.ATTRIBUTES, 4, 0)
            assert [i for i, _ in seen[name]] == [tuple(source(k).index.tolist()) for k in numbers]
    assert [on for _, on in seen["D"]] == [True] * 5 + [False] * 15 and [on for _, on in seen["G"]] == [True, False, False, False]
    assert fed[::2] == [True, False, False, False] and not any(fed[1::2])
    assert run.record["images_seen"] == {"D": 80, "R": 80, "G": 16}


def test_raked_pool(faces, split):
    pool = atigan.raked(faces, split, 0)
    assert len(pool.index) == len(split.train) and np.isin(pool.index, split.train).all()
    share = np.array([faces.column(a)[pool.index].mean() for a in atigan.ATTRIBUTES])
    assert (np.abs(share - 0.5) < 0.06).all()
    assert (pool.index == atigan.raked(faces, split, 0).index).all() and (pool.index != atigan.raked(faces, split, 1).index).any()
    batches = Batches(faces, pool, atigan.ATTRIBUTES, 4, 0)
    assert batches(0).y.shape == (4, 4)


def test_targets_are_a_permutation_of_the_batch():
    y = torch.eye(4).repeat(2, 1)
    drawn = [atigan.targets(y, torch.Generator().manual_seed(s)) for s in range(4)]
    assert all(torch.equal(d.sum(0), y.sum(0)) and d.sum() == 8 for d in drawn) and not all(torch.equal(d, drawn[0]) for d in drawn)


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
    assert torch.equal(atigan.editor({"joint": nets}, cfg)("Smiling", x, 0.5).image, nets.G(done.inpainted, seen))


def test_config_refuses_what_it_cannot_run():
    for fields, message in (
        ({"size": 60}, "multiple of 16"),
        ({"r_width": 3}, "even"),
        ({"mask": "eyes"}, "nose, center"),
        ({"th_disc": 1.5}, "share of n_iter"),
        ({"train": "D"}, "all, R, G"),
        ({"batch": 0}, "batch = 0"),
        ({"r_first": -1}, "r_first = -1"),
        ({"l1": "hole"}, "mean, sum, parts"),
        ({"r_start": "copy"}, "random, identity"),
    ):
        with pytest.raises(ParameterError, match=message):
            small(**fields)


def test_every_claim_names_a_cell_of_the_paper():
    from lib.pages import tables

    printed = tables.printed("atigan", "Table 2")
    assert {(r, c) for r, c, *_ in atigan.TABLE_2} == set(zip(printed["row"], printed["column"], strict=True))
    assert len({c.id for c in atigan.CLAIMS}) == len(atigan.CLAIMS) == 13


def test_r_is_computed_once_for_d_and_for_itself(float64, monkeypatch):
    cfg, asked = small(), []
    torch.manual_seed(0)
    nets, b = atigan.build(cfg), batch()
    plain = nets.R.forward
    monkeypatch.setattr(nets.R, "forward", lambda x: asked.append(torch.is_grad_enabled()) or plain(x))
    found = {}
    for name, kept in (("alone", None), ("shared", {})):
        b.kept, out = kept, []
        b.rng.manual_seed(4)
        for loss, net in ((atigan.d_loss, nets.D), (atigan.r_loss, nets.R)):
            total, _ = loss(nets, b, cfg)
            out += [total.detach(), *torch.autograd.grad(total, list(net.parameters()))]
        found[name] = out
    assert asked == [False, True, True] and b.kept == {}
    for one, other in zip(*found.values(), strict=True):
        assert torch.equal(one, other)
    b.kept = {}
    atigan.d_loss(nets, b, small(train="G"))
    assert b.kept == {}
    natural, raked = (atigan.stages(small(sampler=s))[0] for s in ("natural", "raked"))
    assert {u.name: u.keeps for u in natural.updates} == {"D": ("R",), "R": (), "G": ()}
    assert not any(u.keeps for u in raked.updates)  # R has batches of its own there


def test_runs_that_begin_alike_share_the_updates_of_r_alone(tmp_path, faces, split, monkeypatch):
    performed, honest = [], atigan.r_loss

    def counted(*args, **kwargs):
        performed.append(1)
        return honest(*args, **kwargs)

    monkeypatch.setattr(atigan, "r_loss", counted)
    cfg = small(r_first=6, n_iter=4, r_start="identity")
    main = runs.start(atigan, cfg, faces, split, profile="smoke", seed=0, run_dir=str(tmp_path / "main"))

    def arm(place: str, begun=(), seed=0, **fields):
        beside = runs.start(atigan, cfg, faces, split, profile="smoke", seed=0, run_dir=str(tmp_path / place))
        del performed[:]
        run, models = runs.trained(atigan, replace(cfg, **fields), faces, split, beside, seed, begun)
        return len(performed), engine.weights(models), run

    try:
        engine.train(atigan, cfg, faces, split, main)
        assert len(performed) == 6 + 4
        for fields in ({"train": "R"}, {"th_disc": 0.0}):
            (n, alone, run), (m, shared, other) = arm(f"alone {fields}", (), **fields), arm(f"shared {fields}", [main], **fields)
            assert (n, m) == (10, 4)
            assert run.record["checkpoint_sha256"] == other.record["checkpoint_sha256"] and all(torch.equal(alone[k], shared[k]) for k in alone)
            assert run.record["images_seen"] == other.record["images_seen"] and other.record["images_seen"]["R"] == 10 * cfg.batch
            assert (run.folder / "history.csv").read_bytes() == (other.folder / "history.csv").read_bytes()
        assert arm("another rate", [main], train="R", lr=2e-4)[0] == 10  # it begins otherwise
        del performed[:]
        place = runs.start(atigan, cfg, faces, split, profile="smoke", seed=0, run_dir=str(tmp_path / "several"))
        both = {"first": replace(cfg, train="R", lr=2e-4), "second": replace(cfg, th_disc=1.0, lr=2e-4)}
        assert list(runs.compared(atigan, both, faces, split, place)) == ["first", "second"] and len(performed) == 10 + 4
        assert arm("another seed", [main], seed=1, train="R")[0] == 10
        again = runs.start(atigan, cfg, faces, split, profile="smoke", seed=0, run_dir=str(tmp_path / "main"), force=True)
        assert arm("after force", [again], train="R")[0] == 10  # what is trained anew leaves nothing to go on from
    finally:
        for folder in [*runs._LOCKS]:
            if tmp_path in folder.parents:
                runs.release(folder)

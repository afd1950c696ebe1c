"""BridgeGAN's networks against Figs 2 to 5, its two paths and their sign convention, every loss, the rules of its edits."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ledger import equation
from networks import close, count

from lib.data import Batch, DataError
from lib.papers.bridgegan import model as bridgegan
from lib.training.config import ParameterError

N = 4  # attributes of the small model


def small(**fields) -> bridgegan.Config:
    four = "Mouth_Slightly_Open,Black_Hair,Bangs,No_Beard"
    return replace(bridgegan.PROFILES["smoke"](), **{"attribute": four, "width": 4, "style": 4, "hidden": 4, "width_d": 4} | fields)


def nets_of(cfg=None, seed=0):
    torch.manual_seed(seed)
    return bridgegan.build(cfg or small())


def batch(n=3, seed=0, size=32):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 3, size, size, generator=rng) * 2 - 1
    y = (torch.rand(n, N, generator=rng) > 0.5).to(x.dtype)
    return Batch(x, y, torch.arange(n), rng)


def mean_abs(a, b):
    a, b = (t.detach().numpy().ravel() for t in (a, b))
    return sum(abs(p - q) for p, q in zip(a, b, strict=True)) / a.size


# ---------------------------------------------------------------------------------------------------------------- networks


def test_parameter_counts():
    nets = bridgegan.build(bridgegan.Config())
    assert (count(nets.G), count(nets.M), count(nets.E)) == (7_219_011, 121_888, 71_808)
    assert (count(nets.D.trunk), count(nets.D.D), count(nets.D.C)) == (1_220_064, 4_194_817, 4_198_158)


@pytest.mark.parametrize("size", [32, 64, 256])
def test_other_sizes_keep_the_heads_and_the_codes_place(size):
    cfg = small(size=size)
    nets, d = nets_of(cfg), torch.zeros(1, N)
    with torch.no_grad():
        S = nets.M(torch.zeros(1, 16), d)
        assert S.shape == nets.E(torch.zeros(1, 3, size, size), d).shape == (1, 4, size // 2, size // 2)
        assert nets.G(torch.zeros(1, 3, size, size), S).shape == (1, 3, size, size)
        assert nets.D.trunk(torch.zeros(1, 3, size, size)).shape[2:] == (8, 8)


def test_a_block_is_what_its_words_say(float64):
    """Shortcut after enlarging and before shrinking, as the released code has it."""
    torch.manual_seed(1)
    x = torch.randn(2, 3, 8, 8)
    for resample in ("", "up", "down"):
        block = bridgegan.ResBlk(3, 4, bridgegan.InstanceNorm, torch.nn.ReLU(), resample)
        up = torch.nn.Upsample(scale_factor=2) if resample == "up" else torch.nn.Identity()
        down = torch.nn.AvgPool2d(2) if resample == "down" else torch.nn.Identity()
        h = block.conv1(up(F.relu(F.instance_norm(x, eps=1e-6))))
        expected = down(block.conv2(F.relu(F.instance_norm(h, eps=1e-6)))) + down(block.shortcut(up(x)))
        assert (block(x) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("size", [4, 8, 16])
def test_spade_is_its_formula(float64, size):
    torch.manual_seed(2)
    spade, x, S = bridgegan.Spade(3, 2, 5), torch.randn(2, 3, size, size), torch.randn(2, 2, 8, 8)
    at_x = {4: S[:, :, ::2, ::2], 8: S, 16: S.repeat_interleave(2, 2).repeat_interleave(2, 3)}[size]  # nearest neighbours
    h = F.relu(spade.shared(at_x))
    normed = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-6).sqrt()
    assert (spade(x, S) - (normed * (1 + spade.gamma(h)) + spade.beta(h))).abs().max() < 1e-12


def test_the_label_reaches_the_encoder_only_as_one_shift_a_channel(float64):
    """The trap named in Encoder: behind the blocks, what d does is a constant plane per channel; behind the last ReLU it is not."""
    nets, b = nets_of(), batch()
    b.x = b.x.double()
    first = [nets.E.first(torch.cat([b.x, d[:, :, None, None].expand(-1, -1, 32, 32)], 1)) for d in (torch.zeros(3, N), torch.ones(3, N))]
    apart = nets.E.blocks(first[0]) - nets.E.blocks(first[1])
    assert apart.abs().max() > 1e-2 and apart.std((2, 3)).max() < 1e-10
    code = nets.E(b.x, torch.zeros(3, N)) - nets.E(b.x, torch.ones(3, N))
    assert code.std((2, 3)).max() > 1e-3


# ---------------------------------------------------------------------------------------------------------------- att_ak


@equation("bridgegan", 11)
def test_att_ak_example_and_identities(float64):
    Y_s, Y_t = torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0]])  # Smiling, Bangs, Male: the smile goes
    d = Y_t - Y_s
    assert d.tolist() == [[-1, 0, 0]]
    assert bridgegan.att_ak(Y_s, d).tolist() == [[0, 1, -1]]
    rng = np.random.default_rng(0)
    for _ in range(20):
        s, t = rng.integers(0, 2, (2, 5)), rng.integers(0, 2, (2, 5))
        expected = [[0 if t[i, j] != s[i, j] else (-1 if s[i, j] else 1) for j in range(5)] for i in range(2)]
        d = torch.tensor(t - s, dtype=torch.float64)
        ak = bridgegan.att_ak(torch.tensor(s, dtype=torch.float64), d)
        assert ak.tolist() == expected
        assert (ak * d == 0).all() and (ak.abs() + d.abs() == 1).all()


@equation("bridgegan", 10)
def test_attribute_keeping(float64):
    nets, b, other = nets_of(), batch(2), batch(2, seed=1).x.double()
    x, ak = b.x.double(), torch.tensor([[0.0, 1, -1, 1], [1, 0, 0, -1]])
    expected = np.mean([mean_abs(nets.E(other[i : i + 1], ak[i : i + 1]), nets.E(x[i : i + 1], ak[i : i + 1])) for i in range(2)])
    assert close(bridgegan.attribute_keeping(nets.E, x, other, ak), expected) and expected > 1e-3
    assert bridgegan.attribute_keeping(nets.E, x, x, ak) == 0
    image = other.clone().requires_grad_(True)
    bridgegan.attribute_keeping(nets.E, x, image, ak).backward()
    assert image.grad.abs().max() > 0  # no stop: it trains G too


# ---------------------------------------------------------------------------------------------------------------- losses


def drawn(cfg, seed=0, n=3):
    """The batch of `batch(n, seed)` in float64 and what the losses draw from its generator, in their order."""
    b = batch(n, seed)
    b.x, b.y = b.x.double(), b.y.double()
    state = b.rng.get_state()
    X_r = bridgegan.pairs(b)[1]
    pi = torch.tensor([next(j for j in range(n) if torch.equal(r, b.x[j])) for r in X_r])
    R = torch.randn(n, cfg.noise_length, generator=b.rng, dtype=torch.float64)
    a = torch.rand(n, 1, 1, 1, generator=b.rng, dtype=torch.float64)
    later = torch.Generator()
    later.set_state(b.rng.get_state())
    b.rng.set_state(state)
    return b, pi, R, a, later


def cross_entropy(nets, images, Y) -> list[float]:
    """Of C's logits, term by term."""
    p = 1 / (1 + np.exp(-nets.D(images)[1].detach().numpy()))
    return [-np.log(q if y else 1 - q) for q, y in zip(p.ravel(), Y.numpy().ravel(), strict=True)]


def codes(nets, b, pi, R, a):
    d = b.y[pi] - b.y
    S_s = nets.E(b.x, -d)
    S_rand, S_ref = S_s + nets.M(R, d), S_s + nets.E(b.x[pi], d)
    return d, S_s, S_rand, S_ref, a * S_rand + (1 - a) * S_ref


@pytest.mark.parametrize(("weight", "kinds"), [(1.0, 3), (3.0, 1)])
def test_d_loss_term_by_term(float64, weight, kinds):
    cfg = small(lambda_cls_d=weight, d_kinds=kinds)
    nets, (b, pi, R, a, later) = nets_of(cfg), drawn(cfg)
    total, parts = bridgegan.d_loss(nets, b, cfg)
    _, _, *S = codes(nets, b, pi, R, a)
    fakes = [nets.G(b.x, s).detach() for s in S]
    fakes = fakes if kinds == 3 else [torch.stack([fakes[k][i] for i, k in enumerate(torch.randint(3, (3,), generator=later))])]
    score = [[nets.D(x[None])[0].item() for x in images] for images in (b.x, *fakes)]
    adv = -np.mean(score[0]) + np.mean([np.mean(s) for s in score[1:]])
    assert close(parts["adv"], adv) and close(parts["gap"], -adv)
    u, penalties = torch.rand(3 * kinds, 1, 1, 1, generator=later), []
    for i, (real, fake) in enumerate((r, f) for images in fakes for r, f in zip(b.x, images, strict=True)):
        at = (u[i] * real + (1 - u[i]) * fake)[None].requires_grad_(True)
        nets.D(at)[0].sum().backward()
        penalties.append((np.sqrt((at.grad.numpy() ** 2).sum()) - 1) ** 2)
    assert close(parts["gp"], 10 * np.mean(penalties))
    cls = weight * np.mean(cross_entropy(nets, b.x, b.y))
    assert close(parts["cls"], cls)
    assert close(total, adv + 10 * np.mean(penalties) + cls)


@pytest.mark.parametrize(("weights", "cyc", "ak"), [("supplement", 50.0, 100.0), ("code", 50 / 3, 50 / 3)])
def test_g_loss_term_by_term(float64, weights, cyc, ak):
    cfg = small(weights=weights)
    nets, (b, pi, R, a, later) = nets_of(cfg), drawn(cfg)
    total, parts = bridgegan.g_loss(nets, b, cfg)
    d, S_s, S_rand, S_ref, S_int = codes(nets, b, pi, R, a)
    zero = torch.zeros_like(d)
    X_l, X_r, X_i = (nets.G(b.x, s) for s in (S_rand, S_ref, S_int))
    expected = {"adv": -np.mean([nets.D(x)[0].mean().item() for x in (X_l, X_r, X_i)])}
    expected["cls"] = 10 * np.mean([cross_entropy(nets, x, b.y[pi]) for x in (X_l, X_r, X_i)])
    rec = [nets.G(b.x, nets.E(b.x, zero) + own) for own in (nets.M(R, zero), nets.E(b.x[pi], zero))]
    expected["rec"] = 100 * (mean_abs(b.x, rec[0]) + mean_abs(b.x, rec[1])) / 2
    expected["cyc"] = cyc * (mean_abs(S_rand, nets.E(X_l, d) + S_s) + mean_abs(S_ref, nets.E(X_r, d) + S_s))
    keep = bridgegan.att_ak(b.y, d)
    expected["ak"] = ak * mean_abs(nets.E(X_l, keep), nets.E(b.x, keep))
    expected["sty"] = 50 * mean_abs(nets.M(R, d), nets.E(b.x[pi], d))
    R_1 = torch.randn(3, cfg.noise_length, generator=later)
    expected["ms"] = 0.005 * mean_abs(R, R_1) / (mean_abs(nets.G(b.x, S_s + nets.M(R_1, d)), X_l) + 1e-5)
    for name, value in expected.items():
        assert close(parts[name], value), name
    assert close(total, sum(expected.values()))


def test_the_latent_cycle_stops_at_the_image():
    nets, b = nets_of(), batch()
    d, S = torch.ones(3, N), torch.rand(3, 4, 16, 16, requires_grad=True)
    image = b.x.clone().requires_grad_(True)
    bridgegan.latent_cycle(nets.E, image, d, S).backward()
    assert image.grad is None and S.grad.abs().max() > 0
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in nets.E.parameters())


def test_mode_seeking_stops_at_the_other_image_and_falls_with_difference():
    R, R_1, image = torch.zeros(2, 16), torch.ones(2, 16), torch.zeros(2, 3, 4, 4, requires_grad=True)
    for apart in (0.1, 0.4):
        other = torch.full((2, 3, 4, 4), apart, requires_grad=True)
        value = bridgegan.mode_seeking(R, R_1, image, other)
        assert close(value, 1 / (apart + 1e-5), 1e-6)
    value.backward()
    assert other.grad is None and image.grad.abs().max() > 0


def test_five_updates_of_d_to_one_of_g_m_and_e():
    (stage,) = bridgegan.stages(bridgegan.Config())
    assert [(u.name, u.repeats, u.trains) for u in stage.updates] == [("D", 5, ("D",)), ("G", 1, ("G", "M", "E"))]


@pytest.mark.parametrize("n", [2, 16, 48, 60])
def test_an_image_is_its_own_reference_no_more_often_than_in_a_batch_of_48(n):
    """D16: in the mean one image in 48 up to that batch, and one in n beyond it."""
    b, own = SimpleNamespace(x=torch.arange(n), y=torch.arange(n), rng=torch.Generator().manual_seed(0)), []
    for _ in range(3_000):
        X_s, X_r, _, d = bridgegan.pairs(b)
        assert torch.equal(X_r.sort().values, X_s)
        own.append((d == 0).sum().item())
    assert abs(np.mean(own) - min(1, n / 48)) < 4 * np.std(own) / np.sqrt(len(own))


def test_the_animals_have_no_keeping_term():
    cfg = small(task="domains", attribute="all")
    nets = nets_of(cfg)
    b = batch()
    b.y = torch.eye(3)
    total, parts = bridgegan.g_loss(nets, b, cfg)
    assert parts["ak"] == 0 and torch.isfinite(total)
    assert bridgegan.attributes_of(cfg) == ("cat", "dog", "wild") and nets.D(b.x)[1].shape == (3, 3)


# ---------------------------------------------------------------------------------------------------------------- editing


def test_conflict_rules():
    names = bridgegan.ATTRIBUTES
    Y = torch.zeros(1, 14)
    Y[0, [names.index(a) for a in ("Brown_Hair", "Bangs", "Goatee")]] = 1

    def changed(chosen, target):
        d = bridgegan.difference(Y, names, chosen, torch.tensor([[float(target)]]))[0]
        return {a: int(v) for a, v in zip(names, d.tolist(), strict=True) if v}

    assert changed(("Black_Hair",), 1) == {"Black_Hair": 1, "Brown_Hair": -1}
    assert changed(("Brown_Hair",), 0) == {"Brown_Hair": -1}
    assert changed(("Receding_Hairline",), 1) == {"Receding_Hairline": 1, "Bangs": -1}
    assert changed(("Mouth_Slightly_Open", "Smiling"), 1) == {"Mouth_Slightly_Open": 1, "Smiling": 1}
    assert changed(("Bangs",), 1) == {}  # it has them
    d = bridgegan.difference(torch.tensor([[1.0, 0, 0]]), bridgegan.DOMAINS, ("wild",), torch.ones(1, 1))
    assert d.tolist() == [[-1, 0, 1]]


def test_both_paths_their_strength_and_what_lies_between(faces, split):
    cfg, model = small(), {"attributes": nets_of()}
    x = torch.from_numpy(faces.images[split.test[:4]].copy()).float() / 127.5 - 1
    label, reference, between = (bridgegan.editor(model, faces, split, cfg, mode) for mode in bridgegan.MODES)
    y = [e("Bangs", x, 1.0) for e in (label, reference, between)]
    assert torch.allclose((y[0].code + y[1].code) / 2, y[2].code, atol=1e-6)
    assert y[0].reference is None and y[1].reference.shape == x.shape and torch.equal(y[1].reference, y[2].reference)
    assert torch.equal(label("Bangs", x, 1.0).image, y[0].image)  # seeded: the same again
    assert torch.allclose(label("Bangs", x[2:], 1.0).image, y[0].image[2:], atol=1e-5)  # and for a face alone
    assert not torch.equal(bridgegan.editor(model, faces, split, cfg, "label", seed=1)("Bangs", x, 1.0).image, y[0].image)
    assert not torch.equal(bridgegan.editor(model, faces, split, cfg, "label", strength=1.0)("Bangs", x, 1.0).image, y[0].image)
    ends = [between("Bangs", x, 1.0, a=a).image for a in (0.0, 1.0)]
    assert torch.allclose(ends[0], y[1].image, atol=1e-5) and torch.allclose(ends[1], y[0].image, atol=1e-5)
    placebo = bridgegan.editor(model, faces, split, cfg, "reference", opposite=True)
    drawn_from = (y[1].reference, reference("Bangs", x, 0.0).reference, placebo("Bangs", x, 1.0).reference)
    columns = [faces.column("Bangs")[bridgegan.row_finder(faces, split.test)(r)] for r in drawn_from]
    assert (columns[0] == 1).all() and (columns[1] == 0).all() and (columns[2] == 0).all()
    with pytest.raises(DataError, match="not one of the"):
        label("Bangs", torch.zeros(1, 3, 32, 32), 1.0)
    with pytest.raises(ValueError, match="noise R, reference images X_r, or both"):
        bridgegan.edit(model["attributes"], x, torch.zeros(4, N))
    with pytest.raises(ParameterError, match="mode = 'latent'"):
        bridgegan.editor(model, faces, split, cfg, "latent")

"""SaGAN's networks against Tables 1 and 2, its traps, and what its losses train."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lib.training import loop as engine
from lib.layers import LeakyReLU
from lib.data import FaceSet, split_most_images
from lib.data.crop import Crop
from lib.losses import gradient_penalty, interpolate
from lib.papers.sagan import model as sagan
from lib.training.config import ParameterError


def small(**fields) -> sagan.Config:
    return sagan.Config(**vars(sagan.smoke()) | {"size": 32, "width": 4} | fields)


def batch(size=32, n=2, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    x = (torch.rand(n, 3, size, size, generator=rng) * 2 - 1).to(dtype)
    return SimpleNamespace(x=x, y=(torch.arange(n) % 2)[:, None].to(dtype), rng=rng)


def shapes(net, x) -> list[tuple[int, ...]]:
    """Shapes after every layer that sums, convolves or is a block."""
    out = []
    for m in net:
        x = m(x)
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | sagan.ResidualBlock):
            out.append(tuple(x.shape[1:]))
    return out


def count(net) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("size", [128, 64])
def test_layer_tables(size):
    s = size
    expected = [(32, s, s), (64, s // 2, s // 2), (128, s // 4, s // 4), (256, s // 8, s // 8)] + [(256, s // 8, s // 8)] * 4
    expected += [(128, s // 4, s // 4), (64, s // 2, s // 2), (32, s, s)]
    nets = sagan.build(sagan.Config(size=size))
    with torch.no_grad():
        assert shapes(nets.G.amn, torch.zeros(1, 4, s, s)) == expected + [(3, s, s)]
        assert shapes(nets.G.san, torch.zeros(1, 3, s, s)) == expected + [(1, s, s)]
        trunk = [(32 * 2**i, s // 2 ** (i + 1), s // 2 ** (i + 1)) for i in range(6 if size == 128 else 5)]
        assert shapes(nets.D.trunk, torch.zeros(1, 3, s, s)) == trunk
        src, cls = nets.D(torch.zeros(2, 3, s, s))
    assert trunk[-1][1:] == (2, 2) and src.shape == (2, 1, 2, 2) and cls.shape == (2, 1)


def test_parameter_counts():
    nets = sagan.build(sagan.Config())
    assert (count(nets.G.amn), count(nets.G.san), count(nets.G)) == (6_108_579, 6_103_873, 12_212_452)
    assert (count(nets.D.trunk), count(nets.D.src), count(nets.D.cls), count(nets.D)) == (11_177_440, 9_217, 4_097, 11_190_754)
    at_64 = sagan.build(sagan.Config(size=64))
    assert count(at_64.G) == 12_212_452 and count(at_64.D) == 2_794_466


def test_the_printed_head_kernel_does_not_fit_the_printed_layers_at_64():
    six_layers = sagan.build(sagan.Config(size=128)).D  # Table 2 as printed, given a 64 pixel face
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        six_layers(torch.zeros(1, 3, 64, 64))
    assert sagan.build(sagan.Config(size=64)).D(torch.zeros(1, 3, 64, 64))[1].shape == (1, 1)


@pytest.mark.parametrize("size", [32, 48, 64])
def test_heads_fit_every_size(size):
    src, cls = sagan.build(small(size=size)).D(torch.zeros(3, 3, size, size))
    assert src.shape == ((3, 1, 3, 3) if size == 48 else (3, 1, 2, 2))
    assert cls.shape == (3, 1)


def test_mask_zero_is_the_input_and_mask_one_the_attribute_image():
    I, I_a = batch().x, batch(seed=1).x
    assert torch.equal(sagan.compose(I_a, torch.zeros(2, 1, 32, 32), I), I)
    assert torch.equal(sagan.compose(I_a, torch.ones(2, 1, 32, 32), I), I_a)


def test_edit_is_a_convex_combination():
    I, I_a = batch().x, batch(seed=1).x
    b = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    y = sagan.compose(I_a, b, I)
    assert (torch.minimum(I, I_a) - 2e-7 <= y).all() and (y <= torch.maximum(I, I_a) + 2e-7).all()
    assert ((y - I) - b * (I_a - I)).abs().max() < 2e-7


def test_the_label_reaches_amn_only_through_the_zero_border(float64):
    torch.manual_seed(0)
    G = sagan.Generator(small(size=64))
    x = batch(64, dtype=torch.float64).x
    zero, one = torch.zeros(2, 1), torch.ones(2, 1)
    assert (G.F_m(x, zero) - G.F_m(x, one)).abs().max() > 1e-2
    for m in G.amn.modules():
        if isinstance(m, nn.Conv2d):
            m.padding_mode = "reflect"
            m._reversed_padding_repeated_twice = [p for p in reversed(m.padding) for _ in range(2)]
    first = G.amn[0]
    planes = [first(torch.cat([x, c[:, :, None, None].expand(-1, -1, 64, 64)], 1)) for c in (zero, one)]
    normed = [nn.InstanceNorm2d(planes[0].shape[1])(p) for p in planes]
    # the plane's variance is lost up to rounding of a constant; eps enters equally on both sides
    assert (normed[0] - normed[1]).abs().max() < 1e-10
    assert (G.F_m(x, zero) - G.F_m(x, one)).abs().max() < 1e-10


def test_a_closed_mask_is_absorbing():
    nets = sagan.build(small())
    nets.G.san[-2].bias.data.fill_(-200.0)  # b = sigmoid(-200) = 0
    total, parts = sagan.g_loss(nets, batch(), small())
    assert parts["mask_mean"] == 0 and parts["rec_dual"] == 0 and parts["rec_same"] == 0
    total.backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in nets.G.parameters())
    open_nets = sagan.build(small())
    sagan.g_loss(open_nets, batch(), small())[0].backward()
    assert any((p.grad != 0).any() for p in open_nets.G.parameters())


def test_each_loss_trains_its_own_network():
    nets = sagan.build(small())
    sagan.d_loss(nets, batch(), small())[0].backward()
    assert all(p.grad is None for p in nets.G.parameters())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in nets.D.parameters())
    nets = sagan.build(small())
    before = [p.clone() for p in nets.D.parameters()]
    nets.D.requires_grad_(False)
    optimiser = torch.optim.Adam(nets.G.parameters())
    sagan.g_loss(nets, batch(), small())[0].backward()
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, nets.D.parameters(), strict=True))
    assert all(p.grad is not None for p in nets.G.parameters())


def test_d_cls_never_sees_a_fake():
    nets = sagan.build(small())
    honest = sagan.d_loss(nets, batch(), small())[1]
    noise = batch(seed=9).x
    swapped = sagan.d_loss(SimpleNamespace(G=lambda I, c: noise, D=nets.D), batch(), small())[1]
    assert torch.equal(swapped["cls"], honest["cls"]) and swapped["adv"] != honest["adv"]


@pytest.mark.parametrize(("size", "k"), [(64, 0.0090211), (128, 0.0045105)])
def test_gradient_penalty_of_known_critics(size, k):
    x = batch(size, dtype=torch.float64).x
    assert abs(k - 1 / np.sqrt(3 * size * size)) < 1e-7
    exact = 1 / np.sqrt(3 * size * size)
    assert gradient_penalty(lambda t: exact * t.flatten(1).sum(1), x).abs() < 1e-12
    assert abs(gradient_penalty(lambda t: 3 * exact * t.flatten(1).sum(1), x).item() - 4) < 1e-9  # (3 - 1)^2


def test_four_patches_have_four_times_the_gradient_of_their_mean():
    x = batch(dtype=torch.float64).x

    def patches(t):
        return t.mean((1, 2, 3))[:, None] * torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)

    x.requires_grad_(True)
    of_sum = torch.autograd.grad(patches(x).sum(), x)[0].flatten(1).norm(dim=1)
    of_mean = torch.autograd.grad(patches(x).mean(1).sum(), x)[0].flatten(1).norm(dim=1)
    assert torch.allclose(of_sum / of_mean, torch.full((2,), 4.0, dtype=torch.float64), rtol=1e-12)
    assert torch.allclose(gradient_penalty(patches, x), ((of_sum - 1) ** 2).mean(), rtol=1e-12)


def test_one_epsilon_per_sample():
    real, fake = torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)
    mixed = interpolate(real, fake, torch.Generator().manual_seed(0))
    per_sample = mixed.flatten(1)
    assert (per_sample.max(1).values == per_sample.min(1).values).all() and per_sample[:, 0].unique().numel() == 4
    assert ((0 <= mixed) & (mixed <= 1)).all()


def test_initial_values():
    torch.manual_seed(0)
    cfg = sagan.Config(size=64, adversarial="wgan-gp")
    nets = sagan.build(cfg)
    total, parts = sagan.g_loss(nets, batch(64), cfg)
    assert 0.4 < parts["mask_mean"] < 0.6
    assert 0.59 < parts["cls"] < 0.79 and 0.59 < sagan.cls_d(nets.D(batch(64).x)[1], batch(64).y) < 0.79
    std = torch.cat([p.flatten() for n, p in nets.G.named_parameters() if n.endswith("weight")]).std()
    assert 0.0195 < std < 0.0205
    assert all((p == 0).all() for n, p in nets.G.named_parameters() if n.endswith("bias"))


def test_a_perfect_identity_pays_no_reconstruction():
    nets = sagan.build(small())
    nets.G.san[-2].bias.data.fill_(-200.0)
    total, parts = sagan.g_loss(nets, batch(), small())
    assert torch.isclose(total, parts["adv"] + parts["cls"])


def test_train_and_eval_mode_are_the_same_function_and_images_do_not_mix():
    nets, x = sagan.build(small()), batch(n=3).x
    c = torch.tensor([[0.0], [1.0], [1.0]])
    trained = nets.G.train()(x, c)
    assert torch.equal(trained, nets.G.eval()(x, c))
    assert torch.allclose(trained[:1], nets.G(x[:1], c[:1]), atol=1e-6)
    assert not torch.allclose(trained[:1], trained[1:2], atol=1e-2)


def test_split_of_the_full_celeba():
    """A set with CelebA's published counts: 10,177 identities, of which the 8,177 largest hold 191,649 of 202,599 images."""
    counts = np.full(10_177, 24)  # the real histogram is not public domain knowledge; its two sums are
    counts[8_177:] = 5
    counts[: 191_649 - 23 * 8_177] = 24
    counts[191_649 - 23 * 8_177 : 8_177] = 23
    counts[8_177 : 8_177 + 10_950 - 5 * 2_000] += 1
    assert counts[:8_177].sum() == 191_649 and counts.sum() == 202_599
    identities = np.random.default_rng(0).permutation(np.repeat(np.arange(10_177), counts))
    n = len(identities)
    files = tuple(f"{i:06d}.jpg" for i in range(n))
    empty = np.empty((n, 0), np.uint8)
    whole = FaceSet("celeba", np.empty((n, 0)), empty, (), identities, None, "none", files, Crop(64), "x", False)
    split = split_most_images(whole)
    assert (len(split.train), len(split.test)) == (191_649, 10_950)
    train, test = np.unique(identities[split.train]), np.unique(identities[split.test])
    assert len(train) == 8_177 and len(test) == 2_000 and not np.intersect1d(train, test).size
    assert counts[train].min() >= counts[test].max()


def test_three_updates_of_d_to_one_of_g_on_four_fresh_batches(tmp_path, open_run, faces, split, monkeypatch):
    seen = {"D": [], "G": []}

    def spy(name, loss):
        def wrapped(nets, b, cfg):
            seen[name].append(tuple(b.index.tolist()))
            return loss(nets, b, cfg)

        return wrapped

    run, cfg = open_run(tmp_path, g_steps=2)
    monkeypatch.setattr(sagan, "d_loss", spy("D", sagan.d_loss))
    monkeypatch.setattr(sagan, "g_loss", spy("G", sagan.g_loss))
    engine.train(sagan, cfg, faces, split, run)
    assert (len(seen["D"]), len(seen["G"])) == (6, 2)
    assert len(set(seen["D"] + seen["G"])) == 8
    assert run.record["images_seen"] == {"D": 6 * cfg.batch, "G": 2 * cfg.batch}


def test_verification_pairs():
    identities = np.array([7, 7, 8, 8, 8, 9])  # 3 identities with 2, 3 and 1 images
    targets, queries = sagan.verification_pairs(identities, seed=0)
    assert sorted(identities[targets]) == [7, 8, 9] and len(queries) == 3 and not np.intersect1d(targets, queries).size
    same = identities[queries][:, None] == identities[targets][None]
    assert same.sum() == 3 and (~same).sum() == 6
    assert any((sagan.verification_pairs(identities, s)[0] != targets).any() for s in range(1, 9))
    # the paper's test set: 2,000 people with 10,950 images give 8,950 queries and 17,900,000 pairs
    people = np.repeat(np.arange(2_000), np.r_[np.full(950, 6), np.full(1_050, 5)])
    targets, queries = sagan.verification_pairs(people, 0)
    assert (len(people), len(targets), len(queries), len(targets) * len(queries)) == (10_950, 2_000, 8_950, 17_900_000)


def test_leaky_relu_has_torchs_first_and_second_gradients(float64):
    x = torch.randn(50, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    for ours, theirs in ((LeakyReLU(0.2), nn.LeakyReLU(0.2)),):
        one = [torch.autograd.grad((f(x) ** 3).sum(), x, create_graph=True)[0] for f in (ours, theirs)]
        two = [torch.autograd.grad((g**2).sum(), x)[0] for g in one]
        assert (one[0] - one[1]).abs().max() < 1e-12 and (two[0] - two[1]).abs().max() < 1e-12


def test_config_refuses_what_it_cannot_run():
    for fields, message in (
        ({"attribute": "Glasses"}, "attribute"),
        ({"size": 60}, "multiple of 16"),
        ({"batch": 0}, "batch = 0"),
        ({"slope": 1.5}, "slope"),
        ({"adversarial": "hinge"}, "wgan-gp"),
    ):
        with pytest.raises(ParameterError, match=message):
            small(**fields)
    assert sagan.attributes_of(small(attribute="Smiling, Eyeglasses")) == ("Eyeglasses", "Smiling")


def test_edit_goes_both_ways_and_keeps_to_the_mask():
    nets, x = sagan.build(small()), batch(n=4).x
    up, down = sagan.edit(nets, x, 1), sagan.edit(nets, x, torch.zeros(4, 1))
    assert not torch.equal(up.image, down.image) and torch.equal(up.mask, down.mask)
    assert torch.allclose(up.image - x, up.mask * (up.attribute_image - x), atol=1e-6)
    assert not up.image.requires_grad


def test_without_attention_the_edit_is_the_attribute_image():
    cfg = small(attention=False)
    nets, x = sagan.build(cfg), batch(n=3).x
    out = sagan.edit(nets, x, 1)
    assert nets.G.san is None and (out.mask == 1).all() and torch.equal(out.image, out.attribute_image)
    total, parts = sagan.g_loss(nets, batch(), cfg)
    total.backward()
    assert parts["mask_mean"] == 1 and all(p.grad is not None for p in nets.G.parameters())
    with_mask = sagan.build(small())
    assert count(with_mask.G) - count(nets.G) == count(with_mask.G.san)


def test_ablations_differ_in_one_field_each():
    cfg = sagan.cpu()
    for name, field, value in (("b = 1", "attention", False), ("no identity term", "lambda_2", 0), ("natural sampling", "sampler", "natural")):
        arm = sagan.ablations(cfg)[f"SaGAN, {name}"]
        assert {k for k, v in vars(arm).items() if v != vars(cfg)[k]} == {"attribute", field}
        assert getattr(arm, field) == value and arm.attribute == "Eyeglasses"
    assert "SaGAN, balanced sampling" in sagan.ablations(sagan.paper())
    # without the identity term an edit towards the own label costs nothing
    nets = sagan.build(small())
    assert sagan.g_loss(nets, batch(), small(lambda_2=0.0))[1]["rec_same"] == 0 < sagan.g_loss(nets, batch(), small())[1]["rec_same"]


def test_mask_alarm():
    def stage(name, mask, cls):
        return pd.DataFrame({"stage": name, "G/mask_mean": [0.5] * 8 + [mask] * 2, "G/cls": [0.7] * 8 + [cls] * 2})

    cases = {"healthy": (0.1, 0.4), "closed": (0.001, 2.0), "small but working": (0.001, 0.1), "weak": (0.003, 2.0), "open": (0.95, 0.1)}
    found = sagan.mask_alarm(pd.concat([stage(name, *values) for name, values in cases.items()])).set_index("stage")
    assert list(found.index) == list(cases) and list(found["mean of the mask"]) == [m for m, _ in cases.values()]
    alarms = found["collapse"].to_dict()
    assert alarms == {"healthy": "none", "closed": "ALARM: closed", "small but working": "none", "weak": "none", "open": "ALARM: open everywhere"}

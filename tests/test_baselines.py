"""The methods that the papers compare with: networks, losses, schedules and samples against what their papers and codes fix."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import count, shapes
from torch import nn

from lib.baselines import cyclegan, one_of_two, resgan, stargan
from lib.data import DataError
from lib.data.sparse import HIDDEN, sparse_examples
from lib.training import loop


def batch(size=32, n=4, attributes=1, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    x = (torch.rand(n, 3, size, size, generator=rng) * 2 - 1).to(dtype)
    y = (torch.rand(n, attributes, generator=rng) < 0.5).to(dtype)
    y[:, 0] = torch.arange(n) % 2
    return SimpleNamespace(x=x, y=y, rng=rng)


# --------------------------------------------------------------------------------------------------------------- StarGAN


def names(n: int) -> str:
    return ",".join(("Eyeglasses", "Mouth_Slightly_Open", "No_Beard", "Smiling", "Male")[:n])


def star(n: int = 3, **fields) -> stargan.Config:
    return stargan.Config(**vars(stargan.PROFILES["smoke"]()) | {"attributes": names(n), "width": 4} | fields)


def test_stargan_parameter_counts():
    with torch.device("meta"):
        nets = stargan.build(stargan.Config(attributes=names(5)))
        assert count(nets.G) == 8_430_528 and count(nets.D) == 44_762_048
        assert count(stargan.Discriminator(stargan.Config(attributes=names(4), size=64, d_layers=5))) == 11_171_776


def test_stargan_shapes():
    s, cfg = 128, stargan.Config()
    with torch.device("meta"):
        nets, x = stargan.build(cfg), torch.zeros(2, 3, s, s)
        expected = [(64, s, s), (128, s // 2, s // 2), (256, s // 4, s // 4)] + [(256, s // 4, s // 4)] * 6
        expected += [(128, s // 2, s // 2), (64, s, s), (3, s, s)]
        assert shapes(nets.G.net, torch.zeros(2, 8, s, s), (nn.Conv2d, nn.ConvTranspose2d, stargan.Block)) == expected
        trunk = [(64 * 2**i, s // 2 ** (i + 1), s // 2 ** (i + 1)) for i in range(6)]
        assert shapes(nets.D.trunk, x, nn.Conv2d) == trunk
        src, cls = nets.D(x)
    assert nets.D.cls.kernel_size == (2, 2) and src.shape == (2, 1, 2, 2) and cls.shape == (2, 5)
    assert all(m.bias is None for m in nets.G.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
    assert all(m.bias is not None for m in nets.D.trunk if isinstance(m, nn.Conv2d))
    assert all(m.affine and not m.track_running_stats for m in nets.G.modules() if isinstance(m, nn.InstanceNorm2d))


def test_stargan_targets_are_a_permutation_of_the_batch():
    y = torch.rand(16, 3, generator=torch.Generator().manual_seed(1))  # all different: rows can be told apart
    c = stargan.target_labels(y, torch.Generator().manual_seed(2))
    assert not torch.equal(c, y) and sorted(map(tuple, c.tolist())) == sorted(map(tuple, y.tolist()))


def test_stargan_hair_rule_and_flips():
    have = ("Black_Hair", "Blond_Hair", "Male")
    c = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert stargan.changed_labels(c, have, "Blond_Hair", 1).tolist() == [[0, 1, 1], [0, 1, 0]]
    assert stargan.changed_labels(c, have, "Black_Hair", 0).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert stargan.changed_labels(c, have, "Male", 1 - c[:, 2:]).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert c.tolist() == [[1, 0, 1], [0, 0, 0]]  # the labels given stay


def test_stargan_edit_changes_one_label_of_those_it_is_given():
    cfg, seen = star(), []
    nets, b = stargan.build(cfg), batch(attributes=3)
    spy = SimpleNamespace(G=lambda x, c: seen.append(c) or x, D=nets.D)
    stargan.editor({"joint": spy}, cfg, lambda x: b.y)("No_Beard", b.x, 1)
    assert torch.equal(seen[0][:, :2], b.y[:, :2]) and (seen[0][:, 2] == 1).all()
    edit = stargan.editor({"joint": nets}, cfg, lambda x: b.y)
    one, other = (edit("Eyeglasses", b.x, t).image for t in (0, 1))
    assert (one - other).abs().mean() > 0 and one.shape == b.x.shape and not one.requires_grad


def test_stargan_losses_recomputed_one_image_at_a_time(float64):
    cfg = star(2, lambda_cls=2.0)
    torch.manual_seed(3)
    nets, b = stargan.build(cfg), batch(attributes=2, dtype=torch.float64)
    state = b.rng.get_state()
    total, parts = stargan.d_loss(nets, b, cfg)
    b.rng.set_state(state)
    c = stargan.target_labels(b.y, b.rng)
    eps = torch.rand(4, 1, 1, 1, generator=b.rng)
    fake = nets.G(b.x, c).detach()
    adv, cls, gp = 0.0, 0.0, 0.0
    for n in range(4):
        (real_score, logit), fake_score = nets.D(b.x[n : n + 1]), nets.D(fake[n : n + 1])[0]
        adv += (fake_score.mean() - real_score.mean()).item() / 4
        p = 1 / (1 + np.exp(-logit.detach().numpy()[0]))
        cls += 2 * -sum(np.log(p[k] if b.y[n, k] else 1 - p[k]) for k in range(2)) / 4
        at = (eps[n] * b.x[n] + (1 - eps[n]) * fake[n])[None].requires_grad_(True)
        nets.D(at)[0].sum().backward()
        gp += 10 * (np.sqrt((at.grad.numpy() ** 2).sum()) - 1) ** 2 / 4
    assert np.allclose([parts["adv"], parts["cls"], parts["gp"]], [adv, cls, gp], rtol=1e-9)
    assert abs(total.item() - (adv + cls + gp)) < 1e-9 and parts["labelled"] == 1

    b.rng.set_state(state)
    total, parts = stargan.g_loss(nets, b, cfg)
    b.rng.set_state(state)
    c = stargan.target_labels(b.y, b.rng)
    adv, cls, rec = 0.0, 0.0, 0.0
    for n in range(4):
        y = nets.G(b.x[n : n + 1], c[n : n + 1])
        score, logit = nets.D(y)
        p = 1 / (1 + np.exp(-logit.detach().numpy()[0]))
        adv -= score.mean().item() / 4
        cls += 2 * -sum(np.log(p[k] if c[n, k] else 1 - p[k]) for k in range(2)) / 4
        rec += 10 * np.abs((b.x[n : n + 1] - nets.G(y, b.y[n : n + 1])).detach().numpy()).mean() / 4
    assert np.allclose([parts["adv"], parts["cls"], parts["rec"]], [adv, cls, rec], rtol=1e-9)
    assert abs(total.item() - (adv + cls + rec)) < 1e-9


def test_learning_rates():
    paper = stargan.lr_factor(stargan.Config())
    assert [paper(c) for c in (0, 19_999, 20_000, 30_000)] == [1, 1, 1, 0.5] and 0 < paper(39_999) < 1e-4
    factor = cyclegan.lr_factor(cyclegan.Config(steps=200))
    assert [factor(c) for c in (0, 99, 100, 150)] == [1, 1, 1, 0.5] and 0 < factor(199) <= 0.01
    D, G = stargan.stages(stargan.Config())[0].updates
    assert (D.repeats, D.fresh, G.repeats, G.fresh) == (5, True, 1, False)  # G on the last of five batches


# --------------------------------------------------------------------------------------------------------------- sparse labels


@pytest.mark.parametrize("hidden", [-1.0, float("nan")])
def test_a_batch_without_labels_trains_neither_d_cls_nor_the_reconstruction(hidden):
    cfg, b = star(), batch(attributes=3)
    nets = stargan.build(cfg)
    b.y[:] = hidden
    total, parts = stargan.d_loss(nets, b, cfg)
    total.backward()
    assert parts["cls"] == 0 and parts["labelled"] == 0 and torch.isfinite(total)
    assert (nets.D.cls.weight.grad == 0).all() and (nets.D.src.weight.grad != 0).any()
    nets.D.requires_grad_(False)
    total, parts = stargan.g_loss(nets, b, cfg)
    total.backward()
    assert parts["rec"] == 0 and parts["cls"] > 0 and all(torch.isfinite(p.grad).all() for p in nets.G.parameters())


def test_hidden_labels_are_never_read():
    """Whatever stands in the place of a hidden label, two training steps come out the same."""
    cfg, results = star(), []
    for hidden in (-1.0, float("nan"), -77.0):
        torch.manual_seed(0)
        nets, b = stargan.build(cfg), batch(n=6, attributes=3)
        b.y[[1, 4]] = hidden
        for update in stargan.stages(cfg)[0].updates:
            net = getattr(nets, update.trains[0])
            optimiser = torch.optim.Adam(net.parameters(), 1e-3)
            update.loss(nets, b, cfg)[0].backward()
            optimiser.step()
            optimiser.zero_grad()
        results.append(torch.cat([p.detach().flatten() for net in (nets.G, nets.D) for p in net.parameters()]))
    assert torch.isfinite(results[0]).all() and torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_masked_terms_are_means_over_the_labelled_images(float64):
    rng = torch.Generator().manual_seed(0)
    logit, c = torch.randn(4, 2, generator=rng), torch.ones(4, 2)
    m = torch.tensor([1.0, 0.0, 1.0, 0.0])
    own = F.binary_cross_entropy_with_logits(logit, c, reduction="none").sum(1)
    assert torch.isclose(stargan.classification(logit, c, m), (own[0] + own[2]) / 2)
    x, back = torch.rand(4, 3, 5, 5, generator=rng), torch.rand(4, 3, 5, 5, generator=rng)
    per_image = (x - back).abs().mean((1, 2, 3))
    assert torch.isclose(stargan.reconstruction(x, back, m), (per_image[0] + per_image[2]) / 2)


def test_targets_of_a_sparse_batch_come_from_its_labelled_vectors():
    y = torch.rand(12, 2, generator=torch.Generator().manual_seed(0))
    y[4:] = HIDDEN
    c = stargan.target_labels(y, torch.Generator().manual_seed(1))
    rows = [y[:4].tolist().index(v) for v in c.tolist()]  # ValueError if one is not a labelled vector
    assert np.bincount(rows).tolist() == [3, 3, 3, 3]
    y[:] = HIDDEN
    bits = torch.cat([stargan.target_labels(y, torch.Generator().manual_seed(s)) for s in range(100)])
    assert set(bits.flatten().tolist()) == {0.0, 1.0} and abs(bits.mean() - 0.5) < 0.05


def test_sparse_pools(faces, split):
    pale = ("Pale_Skin",)
    kept, fewer, all_of = (sparse_examples(faces, split, pale, k, repeat=0, seed=0, mixed=False).index for k in (5, 2, 0))
    assert len(kept) == 10 and faces.column("Pale_Skin")[kept].sum() == 5 and np.isin(kept, split.train).all()
    assert np.isin(fewer, kept).all()  # a small choice lies inside a larger one
    share = faces.column("Pale_Skin")[split.train]
    assert len(all_of) == 2 * min(share.sum(), (1 - share).sum())
    pool = sparse_examples(faces, split, pale, 5, repeat=3, seed=0)
    known = pool.labels[:, 0] != HIDDEN
    assert known.sum() == (3 + 1) * 10 and len(known) == len(pool.index) == len(split.train) + 3 * 10
    assert set(pool.index) == set(split.train) and set(pool.index[known]) == set(kept)
    assert np.array_equal(pool.labels[known, 0], faces.column("Pale_Skin")[pool.index[known]])
    with pytest.raises(DataError, match="are asked for, the rarer value has"):
        sparse_examples(faces, split, pale, 10_000, 0, 0)


# --------------------------------------------------------------------------------------------------------------- ResGAN


def res(**fields) -> resgan.Config:
    return resgan.Config(**vars(resgan.PROFILES["smoke"]()) | {"width": 4} | fields)


def test_resgan_parameter_counts_and_shapes():
    with torch.device("meta"):
        for size, kernel in ((128, 4), (64, 2)):
            nets, x = resgan.build(resgan.Config(size=size)), torch.zeros(2, 3, size, size)
            s = size
            assert count(nets.G_0) == count(nets.G_1) == 1_033_795
            assert count(nets.D) - count(nets.D.head) == 11_150_016 and count(nets.D.head) == {4: 49_155, 2: 12_291}[kernel]
            expected = [(64, s, s), (128, s // 2, s // 2), (256, s // 4, s // 4), (128, s // 2, s // 2), (64, s, s), (3, s, s)]
            assert shapes(nets.G_0.net, x, nn.Conv2d) == expected
            down = [(64 * 2**i, s // 2 ** (i + 1), s // 2 ** (i + 1)) for i in range(5)]
            assert shapes([*nets.D.lower, *nets.D.upper], x, nn.Conv2d) == down
            assert nets.D.phi(x).shape == (2, *down[3]) and isinstance(nets.D.upper[0], nn.BatchNorm2d)
            assert nets.D.head.kernel_size == (kernel, kernel) and nets.D(x).shape == (2, 3)
        assert not isinstance(nets.D.lower[1], nn.BatchNorm2d)  # no norm in the first layer
        instance = resgan.build(resgan.Config(norm="instance"))
        assert count(instance.G_0) == 1_033_795 and not any(isinstance(m, nn.BatchNorm2d) for m in instance.G_0.modules())


def test_resgan_losses_recomputed_one_image_at_a_time(float64):
    """Instance norm makes images independent of each other, so that loops can repeat the whole objective."""
    cfg = res(norm="instance", alpha=0.01, beta=0.02)
    torch.manual_seed(0)
    nets, b = resgan.build(cfg), batch(n=6, dtype=torch.float64)
    for net in (nets.G_0, nets.G_1):
        net.net[-1].bias.data.fill_(0.03)

    def ce(image, category):
        z = nets.D(image).detach().numpy()[0]
        return -np.log(np.exp(z[category]) / np.exp(z).sum())

    x_0, x_1 = b.x[:3], b.x[3:]
    total, parts = resgan.d_loss(nets, b, cfg)
    real = np.mean([ce(i[None], 0) for i in x_0]) + np.mean([ce(i[None], 1) for i in x_1])
    fake = np.mean([ce(i[None] + nets.G_0(i[None]), 2) for i in x_0]) + np.mean([ce(i[None] + nets.G_1(i[None]), 2) for i in x_1])
    assert np.allclose([parts["real"], parts["fake"], total.item()], [real, fake, real + fake], rtol=1e-9)

    for loss, faces, G, back, source in ((resgan.g_0_loss, x_0, nets.G_0, nets.G_1, 0), (resgan.g_1_loss, x_1, nets.G_1, nets.G_0, 1)):
        total, parts = loss(nets, b, cfg)
        expected = dict.fromkeys(("gan", "dual", "pix", "per"), 0.0)
        for i in faces.split(1):
            r = G(i)
            edited = i + r
            expected["gan"] += ce(edited, 1 - source) / 3
            expected["dual"] += ce(edited + back(edited), source) / 3  # edited back by the other network
            expected["pix"] += 0.01 * np.abs(r.detach().numpy()).sum() / 3
            expected["per"] += 0.02 * np.abs((nets.D.phi(i) - nets.D.phi(edited)).detach().numpy()).sum() / 3
        for name, value in expected.items():
            assert np.isclose(parts[name].item(), value, rtol=1e-9), name
        assert np.isclose(total.item(), sum(expected.values()), rtol=1e-9) and expected["dual"] != expected["gan"]


# --------------------------------------------------------------------------------------------------------------- CycleGAN


def cycle(**fields) -> cyclegan.Config:
    return cyclegan.Config(**vars(cyclegan.PROFILES["smoke"]()) | {"width": 4} | fields)


def test_cyclegan_parameter_counts_and_shapes():
    with torch.device("meta"):
        for blocks, n in ((6, 7_837_699), (9, 11_378_179)):
            assert count(cyclegan.Generator(cyclegan.Config(blocks=blocks))) == n
        for size, patches in ((128, 14), (64, 6), (32, 2)):
            nets, x, s = cyclegan.build(cyclegan.Config(size=size)), torch.zeros(2, 3, size, size), size
            kinds = (nn.ReLU, cyclegan.Block, nn.Tanh)
            expected = [(64, s, s), (128, s // 2, s // 2)] + [(256, s // 4, s // 4)] * 7 + [(128, s // 2, s // 2), (64, s, s), (3, s, s)]
            assert shapes(nets.G_AB.net, x, kinds) == expected
            assert count(nets.D_A) == count(nets.D_B) == 2_764_737 and nets.D_A(x).shape == (2, 1, patches, patches)
    norms = [m for net in (nets.G_AB, nets.D_A) for m in net.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert len(norms) == 5 + 2 * 6 + 3 and not any(m.affine or m.track_running_stats for m in norms)
    assert [m.padding[0] for m in nets.G_AB.modules() if isinstance(m, nn.ReflectionPad2d)] == [3] + 12 * [1] + [3]


def test_cyclegan_pool():
    pool, rng = cyclegan.Pool(cycle(pool=50, size=32)), torch.Generator().manual_seed(0)

    def images(a, b):
        return torch.arange(a, b, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 32, 32)

    for a in range(0, 48, 16):
        assert torch.equal(pool(images(a, a + 16), rng), images(a, a + 16))  # fresh ones, until 50 are held
    assert pool.held == 48
    out = pool(images(48, 64), rng)[:, 0, 0, 0]
    assert torch.equal(out[:2], torch.tensor([48.0, 49.0])) and pool.held == 50
    older = 0
    for a in range(64, 64 + 16 * 60, 16):
        out = pool(images(a, a + 16), rng)[:, 0, 0, 0]
        fresh = out == torch.arange(a, a + 16)
        older += int((~fresh).sum())
        assert (out <= torch.arange(a, a + 16)).all()  # itself or an older one, never one to come
    assert 0.42 < older / (16 * 60) < 0.58 and pool.images[:, 0, 0, 0].unique().numel() == 50
    assert pool.transient and set(loop.weights({"m": cyclegan.build(cycle())})) == {
        f"m/{n}.{k}" for n in ("G_AB", "G_BA", "D_A", "D_B") for k in getattr(cyclegan.build(cycle()), n).state_dict()
    }


def test_cyclegan_losses_recomputed_one_image_at_a_time(float64):
    cfg = cycle(lambda_cycle=8.0, lambda_identity=0.25)
    torch.manual_seed(0)
    nets, b = cyclegan.build(cfg), batch(n=6, dtype=torch.float64)
    A, B = b.x[:3].split(1), b.x[3:].split(1)

    def mse(net, image, target):
        return ((net(image).detach().numpy() - target) ** 2).mean() / 3

    def gap(a, c):
        return np.abs((a - c).detach().numpy()).mean() / 3

    adv = sum(mse(nets.D_B, nets.G_AB(a), 1) for a in A) + sum(mse(nets.D_A, nets.G_BA(c), 1) for c in B)
    back = sum(gap(nets.G_BA(nets.G_AB(a)), a) for a in A) + sum(gap(nets.G_AB(nets.G_BA(c)), c) for c in B)
    same = sum(gap(nets.G_AB(c), c) for c in B) + sum(gap(nets.G_BA(a), a) for a in A)  # each network leaves its own target domain alone
    total, parts = cyclegan.g_loss(nets, b, cfg)
    assert np.allclose([parts["adv"], parts["cycle"], parts["identity"]], [adv, 8 * back, 2 * same], rtol=1e-9)
    assert np.isclose(total.item(), adv + 8 * back + 2 * same, rtol=1e-9)

    total, parts = cyclegan.d_loss(nets, b, cfg)  # the pools (of 3) are empty, so the fakes are the fresh ones
    real = 0.5 * (sum(mse(nets.D_A, a, 1) for a in A) + sum(mse(nets.D_B, c, 1) for c in B))
    fake = 0.5 * (sum(mse(nets.D_A, nets.G_BA(c), 0) for c in B) + sum(mse(nets.D_B, nets.G_AB(a), 0) for a in A))
    assert np.allclose([parts["real"], parts["fake"], total.item()], [real, fake, real + fake], rtol=1e-9)
    assert nets.pool_A.held == nets.pool_B.held == 3


# --------------------------------------------------------------------------------------------------------------- what all share


@pytest.mark.parametrize("module", [cyclegan, resgan])
def test_methods_with_a_network_per_direction(module):
    x = batch().x
    nets = module.build(module.PROFILES["smoke"]())
    up, down = module.edit(nets, x, 1).image, module.edit(nets, x, torch.zeros(4, 1)).image
    assert up.shape == x.shape and up.abs().max() <= 1 and not up.requires_grad and (up - down).abs().max() > 0
    mixed = one_of_two(x, torch.tensor([[1.0], [0.0], [0.5], [0.75]]), lambda v: v + 1, lambda v: v - 1)
    assert [round(v, 6) for v in (mixed - x).mean((1, 2, 3)).tolist()] == [1, -1, 0, 0.5]
    never = one_of_two(x, 1.0, lambda v: v + 1, None)  # the other network is not run
    assert torch.equal(never, x + 1)


def test_the_residual_weights_follow_the_number_of_pixels():
    small, printed = resgan.PROFILES["cpu"](), resgan.Config()
    assert small.alpha * small.size**2 == printed.alpha * printed.size**2 and small.beta == small.alpha / 10
    assert [round(c.alpha, 9) for c in resgan.sweep(printed).values()] == [5e-5, 5e-6]

"""SG-GAN: networks against Tables 4 and 5, the repaired losses against NumPy, labels that stay hidden, the pool, the schedule."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ledger import equation
from networks import close, count

from lib.data import Batch, Batches, DataError, FaceSet
from lib.data.crop import Crop
from lib.data.sparse import sparse_examples
from lib.papers.sggan import evaluation
from lib.papers.sggan import model as sggan
from lib.training.config import ParameterError


def small(**fields) -> sggan.Config:
    return replace(sggan.PROFILES["smoke"](), **{"width": 3, "d_width": 3, "attributes": "gender, hair"} | fields)


def batch(n=2, attributes=2, size=32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 3, size, size, generator=rng) * 2 - 1
    y = torch.tensor([[1.0, -1.0], [0.0, 1.0]]).repeat(n // 2, 1)[:, :attributes]
    return Batch(x, y, torch.arange(n), torch.Generator().manual_seed(9))


@pytest.fixture
def model(float64):
    torch.manual_seed(3)
    cfg = small(init_std=0.1)
    return cfg, sggan.build(cfg), batch()


def log_softmax(z):
    z = np.asarray(z) - np.max(z)
    return z - np.log(np.exp(z).sum())


def set_of(columns: dict[str, list[int]], size=32) -> FaceSet:
    """A face set with these label columns; pictures of noise."""
    n = len(next(iter(columns.values())))
    images = np.random.default_rng(0).integers(0, 256, (n, 3, size, size), dtype=np.uint8)
    labels = np.array(list(columns.values()), np.uint8).T
    return FaceSet("set", images, labels, tuple(columns), np.arange(n), None, "none", tuple(f"{i}.png" for i in range(n)), Crop(size), "f" * 64, True)


# ---------------------------------------------------------------------------------------------------------------- one input, n m outputs


def test_every_value_of_every_attribute_is_an_output_and_no_label_enters(float64):
    cfg = small(attributes="gender, hair, smile")
    nets, b = sggan.build(cfg), batch(4, 2)
    out = nets.G(b.x)
    assert out.shape == (4, 3, 2, 3, 32, 32) and out.abs().max() <= 1
    flat = out.flatten(1, 2)
    assert all((flat[:, i] - flat[:, j]).abs().max() > 1e-3 for i in range(6) for j in range(i))
    cfg, nets = small(), sggan.build(small())
    losses = [sggan.g_loss(nets, replace(b, y=y), cfg)[0] for y in (b.y, b.y[[1, 0, 3, 2]], b.y * torch.nan)]
    assert losses[0] == losses[1] == losses[2]  # hidden, permuted or broken labels: the same


# ---------------------------------------------------------------------------------------------------------------- the tables


def test_tables_4_and_5_layer_by_layer():
    built = evaluation.layers(sggan.Config())
    line = {name: list(zip(part["kind"], part["kernel"], part["output"], strict=True)) for name, part in built.groupby("network")}
    assert line["G, shared"] == [
        ("conv", "7x7", "64 x 128 x 128"), ("conv", "4x4", "128 x 64 x 64"), ("conv", "4x4", "256 x 32 x 32"),
        *[("Block", "", "256 x 32 x 32")] * 6, ("deconv", "4x4", "128 x 64 x 64"),
    ]  # fmt: skip
    assert line["G, one output"] == [("deconv", "4x4", "64 x 128 x 128"), ("conv", "7x7", "3 x 128 x 128")]
    trunk = ["64 x 64 x 64", "128 x 32 x 32", "256 x 16 x 16", "512 x 8 x 8", "512 x 4 x 4", "1024 x 2 x 2"]
    assert line["D"] == [*(("conv", "5x5", output) for output in trunk), ("conv", "3x3", "1 x 2 x 2"), ("conv", "2x2", "2 x 1 x 1")]
    at_64 = evaluation.layers(sggan.Config(size=64))  # D4: one layer fewer, the same heads
    assert list(at_64[at_64["network"] == "D"]["output"])[3:] == ["512 x 4 x 4", "1024 x 2 x 2", "1 x 2 x 2", "2 x 1 x 1"]


def test_parameter_counts():
    counts = {}
    for attributes in ("hair", "gender, smile, hair", "gender, smile, hair, lipstick"):
        nets = sggan.build(sggan.Config(attributes=attributes))
        counts[len(nets.D.cls)] = (count(nets.G), count(nets.D))
    assert counts == {1: (8_560_120, 23_986_307), 3: (9_124_584, 24_002_695), 4: (9_406_816, 24_010_889)}
    assert count(nets.G.shared) == 8_277_888 and count(nets.G.branches[0]) == 141_116 and len(nets.G.branches) == 8
    assert (count(nets.D.trunk), count(nets.D.cls[0]), count(nets.D.adv)) == (23_968_896, 8_194, 9_217)
    at_64 = sggan.build(sggan.Config(attributes="hair", size=64, residual="none"))
    assert (count(at_64.D), count(at_64.G.branches[0])) == (17_432_195, 140_675)


def test_heads_fit_every_size_and_the_printed_ones_only_128():
    for size in (32, 48, 64):
        adv, cls = sggan.build(small(size=size)).D(torch.zeros(3, 3, size, size))
        assert adv.shape == (3, 1, 2 + (size == 48), 2 + (size == 48)) and cls.shape == (3, 2, 2)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        sggan.build(small(size=128)).D(torch.zeros(1, 3, 64, 64))  # Table 5's six layers, given a 64 pixel face


# ---------------------------------------------------------------------------------------------------------------- SAME padding


def test_stride_two_pads_one_before_and_two_after():
    layer = sggan.Down(1, 1, 0.2)
    layer.conv.weight.data.zero_()[0, 0, 1, 1] = 1  # this tap reads the even places 0, 2, 4, 6; with two rows on either side it would read odd ones
    layer.conv.bias.data.zero_()
    for place, read in ((3, 0), (4, 1)):
        x = torch.zeros(1, 1, 8, 8)
        x[0, 0, place, place] = 1
        y = layer(x)
        assert y.shape == (1, 1, 4, 4) and y.sum() == y[0, 0, 2, 2] == read


# ---------------------------------------------------------------------------------------------------------------- losses


@equation("sggan", 2)
def test_sggan_classification_of_grouped_images():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 2, 2))
    c = np.array([[1, -1], [0, 1], [-1, -1], [1, -1]])
    means = []
    for j in range(2):
        terms = [-log_softmax(logits[b, j])[c[b, j]] for b in range(4) if c[b, j] >= 0]
        means.append(np.mean(terms))
    assert close(sggan.d_cls(torch.tensor(logits), torch.tensor(c, dtype=torch.float64)), sum(means))


def test_no_label_no_loss_and_one_label_its_own_loss(float64):
    cfg, nets = small(), sggan.build(small())
    b = batch()
    b.y = torch.full((2, 2), -1.0)
    logits = nets.D(b.x)[1]
    loss = sggan.d_cls(logits, b.y)
    grads = torch.autograd.grad(loss, list(nets.D.cls.parameters()))
    assert loss == 0 and all((g == 0).all() for g in grads)
    total, parts = sggan.d_loss(nets, b, cfg)
    assert torch.isfinite(total) and parts["cls"] == 0 and parts["labelled_share"] == 0
    b.y[1, 1] = 0.0  # one label of one image: its own cross-entropy, not divided by the batch
    assert close(sggan.d_cls(logits, b.y), -log_softmax(logits[1, 1].detach().numpy())[0])


@equation("sggan", 3)
def test_sggan_classification_of_outputs():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 2, 2, 2, 2))  # image, output (j, i), head, class
    expected = sum(np.mean([-log_softmax(logits[b, j, i, j])[i] for b in range(2)]) for j in range(2) for i in range(2))
    assert close(sggan.g_cls(torch.tensor(logits)), expected)
    assert not close(sggan.g_cls(torch.tensor(logits).flip(2)), expected)  # head i belongs to class i


def log_sigmoid(z):
    return np.log(1 / (1 + np.exp(-z)))


@equation("sggan", 1, 4)
def test_sggan_vanilla_adversarial_loss(model):
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(2, 1, 2, 2)), rng.normal(size=(2, 3, 2, 1, 2, 2))
    of_real, of_fake = sggan.vanilla(torch.tensor(real), torch.tensor(fake))
    assert close(of_real, log_sigmoid(real).mean()) and close(of_fake, np.log(1 - 1 / (1 + np.exp(-fake))).mean())
    per_attribute = [log_sigmoid(real).mean() + sum(log_sigmoid(-fake[:, j, i]).mean() for i in range(2)) for j in range(3)]
    parts = sggan.adv_cross_entropy(torch.tensor(real), torch.tensor(fake))
    assert close(sum(parts), sum(per_attribute)) and close(parts[0], 3 * log_sigmoid(real).mean())
    cfg, nets, b = model
    total, parts = sggan.d_loss(nets, b, replace(cfg, adversarial="cross-entropy"))
    assert parts["gp"] == 0 and parts["adv"] > 0 and close(total, parts["adv"] + parts["cls"])


@equation("sggan", 5)
def test_sggan_reconstruction(model):
    cfg, nets, b = model
    x_tilde = nets.G(b.x)
    X = nets.G.back(x_tilde)
    expected = 0.0
    for j in range(2):
        for i in range(2):  # head i on the image of the other value, compared with output i of x, not with x
            again = nets.G(x_tilde[:, j, 1 - i])[:, j, i]
            assert (X[:, j, i] - again).abs().max() < 1e-12
            expected += np.abs((again - x_tilde[:, j, i]).detach().numpy()).mean()
    assert close(sggan.rec(x_tilde, X).detach(), expected)
    against_x = sum((X[:, j, i] - b.x).abs().mean().detach() for j in range(2) for i in range(2))
    assert not close(sggan.rec(x_tilde, X), against_x)
    sggan.rec(x_tilde, X).backward()  # both sides carry gradients: with one side detached they are others
    both = nets.G.branches[0].out.weight.grad.clone()
    nets.G.zero_grad()
    x_tilde = nets.G(b.x)
    sggan.rec(x_tilde.detach(), nets.G.back(x_tilde)).backward()
    assert (both - nets.G.branches[0].out.weight.grad).abs().max() > 1e-6


@pytest.mark.parametrize("kind", ["constant", "identity"])
def test_a_constant_and_an_identity_generator_have_no_reconstruction_loss(kind):
    G, x = sggan.Generator(small(residual="none" if kind == "constant" else "RIL")), batch().x
    for k, branch in enumerate(G.branches):
        branch.out.weight.data.zero_()
        branch.out.bias.data.fill_(0.1 * k if kind == "constant" else 0.0)
    out = G(x)
    assert sggan.rec(out, G.back(out)) == 0
    assert (out.std(0).max() == 0) if kind == "constant" else torch.equal(out[:, 1, 0], x)


@equation("sggan", 6, 8)
def test_sggan_d_loss(model):
    cfg, nets, b = model
    total, parts = sggan.d_loss(nets, b, cfg)
    fakes = nets.G(b.x).detach().flatten(1, 2)  # (2, n m, ...)
    real = np.mean([nets.D(x[None])[0].mean().item() for x in b.x])
    l_adv = sum(real - np.mean([nets.D(fakes[n, k][None])[0].mean().item() for n in range(2)]) for k in range(4))  # n m real terms
    eps = torch.rand(8, 1, 1, 1, generator=torch.Generator().manual_seed(9))
    penalty = 0.0
    for k in range(4):
        terms = []
        for n in range(2):
            e = eps[n * 4 + k]
            at = (e * b.x[n] + (1 - e) * fakes[n, k])[None].requires_grad_(True)
            nets.D(at)[0].sum().backward()
            terms.append((np.sqrt((at.grad.numpy() ** 2).sum()) - 1) ** 2)
        penalty += 10 * np.mean(terms)
    logits = nets.D(b.x)[1].detach().numpy()
    cls = np.mean([-log_softmax(logits[0, 0])[1], -log_softmax(logits[1, 0])[0]]) - log_softmax(logits[1, 1])[1]  # labels of batch()
    assert close(parts["adv"], -l_adv) and close(parts["gp"], penalty) and close(parts["cls"], cls)
    assert close(total, cls - l_adv + penalty)
    mixed = replace(b, y=torch.full((2, 2), -1.0), rng=torch.Generator().manual_seed(9))
    assert close(sggan.d_loss(nets, mixed, cfg)[0], penalty - l_adv)  # mixed images: -l_adv alone
    assert close(parts["gap"], real - np.mean([nets.D(f[None])[0].mean().item() for f in fakes.flatten(0, 1)]))


@equation("sggan", 7)
def test_sggan_g_loss(model):
    cfg, nets, b = model
    total, parts = sggan.g_loss(nets, b, cfg)
    with torch.no_grad():
        x_tilde = nets.G(b.x)
        adv, cls, rec = 0.0, 0.0, 0.0
        for j in range(2):
            for i in range(2):
                scores, logits = nets.D(x_tilde[:, j, i])
                adv -= scores.mean().item()
                cls += np.mean([-log_softmax(z)[i] for z in logits[:, j].numpy()])
                rec += 10 * (nets.G(x_tilde[:, j, 1 - i])[:, j, i] - x_tilde[:, j, i]).abs().mean().item()
    assert close(parts["adv"], adv) and close(parts["cls"], cls) and close(parts["rec"], rec) and close(total, adv + cls + rec)
    assert close(parts["moved"], (x_tilde - b.x[:, None, None]).abs().mean() / 2)


def test_a_constant_on_the_critic_changes_nothing_but_changes_the_printed_loss(model):
    cfg, nets, b = model
    before, parts = sggan.d_loss(nets, b, cfg)

    def printed(D):  # eq. (8) as printed, one real term against m fakes, for each of n attributes
        real, fake = D(b.x)[0].mean(), D(nets.G(b.x).flatten(0, 2))[0].mean()
        return -(2 * real - 4 * fake)

    as_printed = printed(nets.D)
    with torch.no_grad():
        nets.D.adv.bias += 0.7
    b.rng = torch.Generator().manual_seed(9)
    assert close(sggan.d_loss(nets, b, cfg)[0], before)
    assert close(printed(nets.D), as_printed + 0.7 * 2)  # + c for each of the n = 2 attributes: unbounded below


def test_d_cls_sees_real_images_alone_and_d_scores_them_once(monkeypatch):
    nets, b, sizes = sggan.build(small()), batch(), []
    monkeypatch.setattr(nets.D, "forward", lambda x, f=nets.D.forward: sizes.append(len(x)) or f(x))
    honest = sggan.d_loss(nets, b, small())[1]
    assert sizes == [2 + 2 * 4, 2 * 4]  # x and its 4 outputs each; the points of the penalty
    noise = torch.rand(2, 2, 2, 3, 32, 32)
    swapped = sggan.d_loss(SimpleNamespace(G=lambda x: noise, D=nets.D), b, small())[1]
    assert torch.equal(swapped["cls"], honest["cls"]) and swapped["adv"] != honest["adv"]


# ---------------------------------------------------------------------------------------------------------------- residual learning


def test_residual_variants():
    x = batch().x
    h = torch.zeros(2, 6, 16, 16)
    ril = sggan.Branch(3, "RIL")
    ril.out.weight.data.zero_()
    ril.out.bias.data.zero_()
    assert torch.equal(ril(h, x, 0), x)
    rril = sggan.Branch(3, "RRIL")
    for p in rril.parameters():
        p.data.zero_()  # F = ReLU(0) = 0
    for k in range(3):
        rril.out.weight.data[k, 3 + k, 3, 3] = 1.0
    assert torch.allclose(rril(h, x, 0), x.tanh(), atol=1e-6)
    assert abs(rril(h, torch.ones(2, 3, 32, 32), 0)[0, 0, 16, 16].item() - 0.7616) < 5e-5  # so that white cannot be copied without F
    none = sggan.Branch(3, "none")
    assert torch.equal(none(h, x, 0), none(h, -x, 0)) and not torch.equal(rril(h, x, 0), rril(h, -x, 0))


def test_a_shared_decoder_is_told_its_output():
    nets = sggan.build(small(decoder="shared"))
    out = nets.G(batch().x).flatten(1, 2)
    assert len(nets.G.branches) == 1 and out.shape[1] == 4
    assert all((out[:, i] - out[:, j]).abs().max() > 1e-4 for i in range(4) for j in range(i))


# ---------------------------------------------------------------------------------------------------------------- schedule


def test_learning_rate():
    cfg = sggan.Config()
    (stage,) = sggan.stages(cfg)
    d, g = stage.updates
    for update in (d, g):
        rates = [update.lr * update.schedule(t) for t in (0, 9_999, 10_000, 15_000, 20_000)]
        assert rates == pytest.approx([1e-4, 1e-4, 1e-4, 5e-5, 0.0], abs=1e-12)
    assert (stage.cycles, d.repeats, g.repeats, g.fresh) == (20_000, 5, 1, False)  # G on the last of five batches
    assert (stage.batch, d.betas) == (8, (0.5, 0.999))


# ---------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("labels", [12, 0])
def test_exactly_k_labels_per_value_and_all_others_hidden(faces, split, labels):
    cfg = small(attributes="gender, hair, pale", labels=labels)
    c = sggan.grouped(faces, split, 0, cfg)
    for j, group in enumerate(sggan.groups_of(cfg)):
        known = group.labels(faces)[split.train]
        smallest = min((known == i).sum() for i in (0, 1))
        for i in (0, 1):
            assert (c[:, j] == i).sum() == (labels or smallest)
            assert (known[c[:, j] == i] == i).all()
    assert set(np.unique(c)) == {-1, 0, 1}
    assert not np.array_equal(c, sggan.grouped(faces, split, 1, cfg))  # another seed, other images
    few, many = (sggan.grouped(faces, split, 0, replace(cfg, labels=k)) for k in (4, 12))
    assert (many[few >= 0] == few[few >= 0]).all()  # a small budget lies inside a larger one


def test_pool_size_share_and_hidden_labels(faces, split):
    cfg, R, N = small(attributes="gender, pale", labels=8, repeats=10), 10, len(split.train)
    pool, labelled = sggan.pool(faces, split, 0, cfg), (sggan.grouped(faces, split, 0, cfg) >= 0).any(1)
    union = int(labelled.sum())
    facts = sggan.pool_facts(faces, split, 0, cfg)
    assert 8 * 2 <= union <= 8 * 4 and facts["gender, per value"] == 8 and facts["labelled images"] == union
    assert facts["pool"] == len(pool.index) == N + R * union
    assert facts["share labelled"] == pytest.approx((R + 1) * union / (N + R * union))
    only = sggan.pool(faces, split, 0, replace(cfg, mixed=False, repeats=0))
    assert len(only.index) == union and (only.labels >= 0).any(1).all()
    drawn = [Batches(faces, pool, ("Male", "Pale_Skin"), 8, 0)(i) for i in range(40)]
    known, seen = torch.cat([b.index for b in drawn]), torch.cat([(b.y >= 0).any(1) for b in drawn])
    assert torch.equal(seen, torch.from_numpy(np.isin(known, split.train[labelled]))) and 0.2 < seen.float().mean() < 0.8


def test_the_baselines_see_the_same_labels(faces, split):
    ours = sggan.pool(faces, split, 3, small(attributes="pale", labels=8, repeats=2))
    theirs = sparse_examples(faces, split, ("Pale_Skin",), 8, 2, 3)
    assert np.array_equal(np.sort(ours.index), np.sort(theirs.index))
    for e in (ours, theirs):
        assert (faces.column("Pale_Skin")[e.index][e.labels[:, 0] >= 0] == e.labels[:, 0][e.labels[:, 0] >= 0]).all()
    assert set(ours.index[ours.labels[:, 0] >= 0]) == set(theirs.index[theirs.labels[:, 0] >= 0])


def test_hair_has_two_values_and_all_other_hair_none():
    columns = {"Black_Hair": [1, 0, 1, 0, 0, 1], "Blond_Hair": [0, 1, 0, 0, 1, 1], "Brown_Hair": [0, 0, 1, 0, 1, 0]}
    assert sggan.GROUPS["hair"].labels(set_of(columns)).tolist() == [0, 1, -1, -1, -1, -1]  # black, blond, black + brown, none, blond + brown, both
    assert sggan.GROUPS["gender"].labels(set_of({"Male": [1, 0]})).tolist() == [1, 0]


def test_a_value_without_training_images_is_refused(split):
    with pytest.raises(DataError, match="each value of gender are asked for, the rarer value has 0"):
        sggan.grouped(set_of({"Male": [1] * 6}), SimpleNamespace(train=np.arange(6)), 0, small(attributes="gender"))


# ---------------------------------------------------------------------------------------------------------------- editing, configuration


def test_edits():
    cfg = small()
    nets, x = sggan.build(cfg), batch().x
    edit = sggan.editor({"joint": nets}, cfg)
    with torch.no_grad():
        out = nets.G(x)
    for j, name in enumerate(("gender", "hair")):
        for i in (0, 1):
            assert torch.allclose(edit(name, x, i).image, out[:, j, i], atol=1e-6)
    both = edit(("gender", "hair"), x, (1, 0)).image
    with torch.no_grad():
        assert torch.allclose(both, nets.G(out[:, 0, 1])[:, 1, 0], atol=1e-5)
    half = edit("hair", x, torch.tensor([[0.5], [1.0]])).image
    assert torch.allclose(half[0], (out[0, 1, 0] + out[0, 1, 1]) / 2, atol=1e-6) and torch.allclose(half[1], out[1, 1, 1], atol=1e-6)
    with pytest.raises(ParameterError, match="attribute = 'smile'"):
        edit("smile", x, 1)
    ril = sggan.editor({"joint": sggan.build(replace(cfg, residual="RIL"))}, replace(cfg, residual="RIL"))
    assert ril("hair", torch.ones_like(x), 1).image.max() <= 1


def test_d_accuracy(model):
    cfg, nets, b = model
    c = torch.tensor([[1.0, -1.0], [0.0, 1.0]])
    said = nets.D(b.x)[1].argmax(-1)
    found = sggan.d_accuracy(nets, b.x, c)
    assert np.isnan(found[0, 1]) and [found[0, 0], found[1, 0], found[1, 1]] == [said[0, 0] == 1, said[1, 0] == 0, said[1, 1] == 1]


def test_arms_and_the_sweep():
    cfg = sggan.Config()
    arms = sggan.arms(cfg, 5_000, 500)
    assert arms.pop("SG-GAN(ALL)") == cfg
    assert {name: (arm.labels, arm.repeats) for name, arm in arms.items()} == {
        "SG-GAN(5 %)": (5_000, 10), "SG-GAN(0.5 %)": (500, 50), "SG-GAN, RIL": (500, 50), "SG-GAN, no residual": (500, 50),
        "SG-GAN, no mixed": (500, 0), "SG-GAN, shared decoder": (0, 0),
    }  # fmt: skip
    pale = sggan.sweep(cfg, (0, 1_000, 100, 10))
    assert [(k, arm.labels, arm.repeats) for k, arm in pale.items()] == [(0, 0, 0), (1_000, 1_000, 10), (100, 100, 50), (10, 10, 50)]
    assert {arm.attributes for arm in pale.values()} == {"pale"}

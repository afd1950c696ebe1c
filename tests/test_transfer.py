"""The two comparators of DIAT and the measures of a one-way transfer."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lib.papers.diat.model import landmarks
from lib.evaluation import measures as metrics
from lib.baselines import vgg_face as phi
from lib.papers.diat.model import evaluation as transfer
from lib.baselines import cnia
from lib.baselines import semantic_inpainting as si
from lib.data import DataError
from lib.evaluation.measures import Value
from lib.papers.diat.model import model as diat
from lib.training.config import ParameterError


def picture(n=2, s=32, seed=0, channels=3):
    return torch.rand(n, channels, s, s, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def count(net) -> int:
    return sum(p.numel() for p in net.parameters())


# ------------------------------------------------------------------------------------------------ CNIA-style


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return phi.Phi(4).normalise(picture(40)).given()


def test_cnia_objective_by_hand(net):
    x, z, a = (net.maps(picture(1, seed=s)) for s in (0, 1, 2))
    m = torch.zeros(1, 1, 32, 32)
    m[:, :, 8:24, 8:20] = 1
    cfg = cnia.Config(a=2.0, b=0.5)
    expected = 0.0
    for l in (3, 4, 5):
        side = x[l].shape[-1]
        block = 32 // side
        for c in range(x[l].shape[1]):
            for i in range(side):
                for j in range(side):
                    w = float(m[0, 0, i * block : (i + 1) * block, j * block : (j + 1) * block].mean())
                    u, v, t = (float(k[l][0, c, i, j]) for k in (z, x, a))
                    expected += (((1 - w) * (u - v)) ** 2 + 2 * (w * (u - t)) ** 2 + 0.5 * (w * (u - v)) ** 2) / (2 * x[l][0].numel())
    assert abs(float(cnia.objective(z, x, a, m, cfg)) - expected) < 1e-4 * expected


def test_cnia_moves_towards_the_guides_and_not_without_a_reason(net):
    x, guided, m = picture(2), picture(6, seed=1), torch.ones(2, 1, 32, 32)
    sides = torch.tensor([True, False]), torch.tensor([True, True, True, False, False, False])
    still = cnia.edit(net, x, guided, m, cnia.Config(steps=5, a=0.0, mu=0.0), *sides)
    assert still.loss[0] == 0 and torch.equal(still.image, x)  # a = 0 returns x
    moved = cnia.edit(net, x, guided, m, cnia.Config(steps=15, neighbours=2), *sides)
    assert moved.loss[-1] < 0.9 * moved.loss[0] and moved.image.abs().max() <= 1 and not torch.equal(moved.image, x)
    half = torch.zeros(2, 1, 32, 32)
    half[:, :, :, :8] = 1
    local = cnia.edit(net, x, guided, half, cnia.Config(steps=15, neighbours=2, mu=0.0), *sides).image
    assert (local - x)[..., 24:].abs().mean() < 0.3 * (local - x)[..., :8].abs().mean()


def test_cnia_looks_among_faces_turned_the_same_way(net):
    x = picture(2)
    guided = torch.cat([x, picture(4, seed=3)])  # the faces themselves are the nearest, if they are turned the same way
    side = torch.tensor([True, False])
    found = cnia.nearest(net, x, guided, 1, side, torch.tensor([True, False, True, True, False, False]))
    assert found[:, 0].tolist() == [0, 1]
    found = cnia.nearest(net, x, guided, 2, side, torch.tensor([False, True, True, True, False, False]))
    assert set(found[0].tolist()) <= {1, 2, 3} and set(found[1].tolist()) <= {0, 4, 5}


def test_total_variation():
    flat, step = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    step[..., 2:] = 1
    assert cnia.total_variation(flat) == 0 and torch.isclose(cnia.total_variation(step), torch.tensor(1 / 3))


# ------------------------------------------------------------------------------------------------ semantic inpainting


def test_dcgan_at_64():
    cfg = si.Config()
    nets = si.build(cfg)
    norms = sum(p.numel() for m in nets.G.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    assert count(nets.G) - norms == 5_133_443
    norms = sum(p.numel() for m in nets.D.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    assert count(nets.D) - norms == 4_314_753
    with torch.no_grad():
        made = nets.G(torch.zeros(2, 100))
        assert made.shape == (2, 3, 64, 64) and nets.D(made).shape == (2, 1) and made.abs().max() <= 1
    small = si.PROFILES["smoke"]()
    assert si.build(small).G(torch.zeros(2, 100)).shape == (2, 3, 32, 32)
    (stage,) = si.stages(cfg)
    assert [(u.name, u.repeats) for u in stage.updates] == [("D", 1), ("G", 2)]
    with pytest.raises(ParameterError, match="power of two"):
        si.Config(size=48)


def test_crop_and_paste_undo_each_other():
    x = nn.functional.interpolate(picture(2, 8), size=32, mode="bicubic", align_corners=False).clamp(-1, 1)
    boxes = torch.tensor([[4.0, 6.0, 28.0, 30.0], [0.0, 0.0, 32.0, 32.0]])
    cut = si.crop(x, boxes, 32)
    assert torch.allclose(cut[1], x[1], atol=1e-5)
    inside = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    inside[:, :, 10:26, 8:24] = True
    back = si.paste(torch.zeros_like(x), cut, boxes, inside)
    assert (back - x).abs()[inside.expand_as(x)].mean() < 0.05 and (back[~inside.expand_as(x)] == 0).all()
    whole = si.crop(x, torch.tensor([[4.0, 4.0, 12.0, 12.0]] * 2), 8)
    assert torch.allclose(whole, x[:, :, 4:12, 4:12], atol=1e-5)  # pixel for pixel where the box is as large as the crop


@pytest.fixture(scope="module")
def dcgan():
    torch.manual_seed(0)
    nets = si.build(si.Config(size=32, width=4))
    for p in nets.G.parameters():
        p.data.mul_(8)  # an untrained G is grey everywhere
    nets.G.requires_grad_(False).eval()
    nets.D.requires_grad_(False).eval()
    return nets


def test_inversion_finds_a_generated_face_again(dcgan):
    z = torch.rand(2, 100, generator=torch.Generator().manual_seed(5)) * 2 - 1
    with torch.no_grad():
        y = dcgan.G(z)
    M = torch.ones(2, 1, 32, 32)
    M[:, :, 10:16, 6:26] = 0
    first, start = si.invert(dcgan, y, M, si.Config(size=32, width=4, steps=1, starts=4))
    made, found = si.invert(dcgan, y, M, si.Config(size=32, width=4, steps=30, starts=4))
    assert (found < start).all() and found.sum() < 0.9 * start.sum()
    assert (M * (made - y)).abs().mean() < 0.9 * (M * (first - y)).abs().mean()
    one = si.invert(dcgan, y, M, si.Config(size=32, width=4, steps=30, starts=1))[1]
    assert found.sum() < one.sum()  # the best of four


def test_the_prior_is_nearly_irrelevant(dcgan):
    y, M = picture(2), torch.ones(2, 1, 32, 32)
    with_it, without = (si.invert(dcgan, y, M, si.Config(size=32, width=4, steps=3, starts=1, lam=lam)) for lam in (0.1, 0.0))
    assert ((with_it[1] - without[1]).abs() < 0.01 * without[1]).all() and not torch.equal(with_it[1], without[1])
    assert (with_it[0] - without[0]).abs().mean() < 0.02


def test_weights_of_2017_live_near_the_hole():
    M = torch.ones(1, 1, 64, 64)
    M[:, :, 22:42, 22:42] = 0
    W = si.weights(M, "2017")
    assert torch.equal(si.weights(M, "2016"), M)
    assert abs(((W > 0).sum() / M.sum()).item() - 0.075) < 0.003 and abs(W[0, 0, 32].max().item() - 3 / 7) < 1e-5
    assert (W * (1 - M)).abs().max() == 0


def test_poisson_blending():
    y, hole = picture(1)[0], torch.zeros(1, 32, 32)
    hole[:, 10:20, 8:22] = 1
    same = si.poisson(y, y, hole)
    assert torch.allclose(same, y, atol=1e-5)
    shifted = si.poisson(y * 0.5, y * 0.5 + 0.3, hole)  # another brightness: the rim decides
    assert torch.allclose(shifted, y * 0.5, atol=1e-5)
    known = hole.expand(3, -1, -1) == 0
    filled = si.poisson(y * 0.3, torch.zeros_like(y), hole)
    assert torch.equal(filled[known], (y * 0.3)[known])
    inner = filled[:, 11:19, 9:21]
    around = (filled[:, 10:18, 9:21] + filled[:, 12:20, 9:21] + filled[:, 11:19, 8:20] + filled[:, 11:19, 10:22]) / 4
    assert torch.allclose(inner, around, atol=1e-4)  # no gradients wanted: harmonic
    assert torch.equal(si.poisson(y, y * 0, torch.zeros(1, 32, 32)), y)


def test_inpainting_changes_the_hole_alone(dcgan):
    x, m = picture(2), torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    m[:, :, 12:18, 8:24] = True
    boxes = torch.tensor([[2.0, 4.0, 30.0, 32.0]] * 2)
    made = si.edit(dcgan, x, m, boxes, si.Config(size=32, width=4, steps=2, starts=2))
    outside = ~m.expand_as(x)
    assert torch.equal(made.image[outside], x[outside]) and torch.equal(made.plain[outside], x[outside])
    assert not torch.equal(made.image, x) and made.image.abs().max() <= 1 and made.mask is None


# ------------------------------------------------------------------------------------------------ measures


def test_colours_and_bands():
    grey = torch.zeros(1, 3, 32, 32)
    white, black = grey + 1, grey - 1
    assert np.allclose(transfer.lab(white)[..., 0], 100, atol=0.1) and np.allclose(transfer.lab(black)[..., 0], 0, atol=0.1)
    red = torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert np.allclose(transfer.lab(red)[0, 0, 0], [53.24, 80.09, 67.20], atol=0.2)  # sRGB red in CIE Lab, D65
    everywhere = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    assert np.allclose(transfer.colour_change(white, black, everywhere), 100, atol=0.1)
    changed = grey.clone()
    changed[..., 8:24, 8:24] = 1
    frame = transfer.frame(32, 1)
    assert transfer.colour_change(changed, grey, frame)[0] == 0 and frame.sum() == 32 * 32 - 24 * 24
    bands = transfer.side_bands(128, 1)[0, 0]
    assert bands[64:, :32].all() and bands[64:, 96:].all() and bands.sum() == 2 * 64 * 32


def test_noise_is_measured_and_shades_are_not():
    rng = torch.Generator().manual_seed(0)
    slope = torch.linspace(-0.5, 0.5, 64).expand(1, 3, 64, 64)
    grain = torch.randn(1, 1, 64, 64, generator=rng) * 0.1  # 0.05 on the [0, 1] scale
    assert transfer.noise(slope)[0] < 1e-6 and abs(transfer.noise(slope + grain)[0] - 0.05) < 0.004


def test_ratio_of_paired_means():
    rng = np.random.default_rng(0)
    v = rng.uniform(1, 2, 200)
    found = transfer.ratio(v * 0.5, v)
    assert isinstance(found, Value) and np.allclose(found[:3], 0.5) and found.n == 200
    wide = transfer.ratio(rng.uniform(1, 2, 200), v)
    assert wide.ci_low < wide.value < wide.ci_high and 0.9 < wide.value < 1.1
    assert transfer.ratio(v, v * 0).startswith("unavailable")


class Same:
    """Judges that read a face from its mean: the attribute is brightness, identity its colour."""

    names, id, scores = ("Eyeglasses",), "x", SimpleNamespace(iloc=[{"impostor_99": 0.9}])

    def probabilities(self, x):
        return (x.mean((1, 2, 3)) > 0).float()[:, None].numpy()

    def features(self, x):
        return x.mean((2, 3)).numpy()

    def embed(self, x):
        return nn.functional.normalize(x.mean((2, 3)), dim=1).numpy()


def test_pairs_are_compared_face_by_face(faces, split):
    task = diat.TASKS["eyeglasses_removal"]
    points, _ = landmarks.points68(faces)
    bench = transfer.Bench(faces, split, split, Same(), Same(), points, diat.masks_of(diat.smoke()), 8)
    x = torch.tensor([0.4, 0.2, -0.3]).view(1, 3, 1, 1).expand(8, 3, 32, 32) + 0 * picture(8)
    e = SimpleNamespace(index=np.arange(8), x=x, y=-x, real=picture(8), row=task.row)
    found = transfer.per_face(bench, task, e, -x)
    assert found["edit_success"].all() and not found["identity_kept"].any() and np.allclose(found["identity_cosine"], -1)
    half = torch.cat([-x[:4], x[4:]])
    rows = {(r["metric"], r["column"]): r for r in transfer.against(bench, task, e, half, x, ("A", "B"), "t", ("edit_success", "identity_kept"))}
    assert rows["edit_success difference", "A - B"]["value"] == 0.5 and rows["identity_kept difference", "A - B"]["value"] == -0.5
    assert rows["identity_kept ratio", "A / B"]["value"] == 0.5 and rows["edit_success ratio", "A / B"]["value"] is None
    inside, said = transfer.outside(bench, task, e.index)
    assert inside.shape == (8, 1, 32, 32) and "hull" in said
    assert "frame" in transfer.outside(bench, diat.TASKS["male_to_female"], e.index)[1]


def test_global_attributes_of_real_faces_have_the_whole_picture(faces):
    real = replace(faces, faces=None)
    region, said = metrics.region_of(real, np.arange(3), "Male")
    assert region.shape == (3, 1, 32, 32) and region.all() and "whole picture" in said
    assert not metrics.region_of(real, np.arange(3), "Eyeglasses")[0].all()


def test_layer_tables_are_the_printed_ones():
    nets = diat.build(diat.Config(phi=phi.PROXY))
    one = transfer.layer_table(nets.T, 128, diat.TABLE_1, (diat.Residual,))
    two = transfer.layer_table(nets.D, 128, diat.TABLE_2)
    assert (one["sizes"] == "").all() and (two["sizes"] == "").all() and (len(one), len(two)) == (11, 8)
    assert "output padding 1" in one["here"].iloc[8] and "output padding" not in one["here"].iloc[9]
    small = transfer.layer_table(diat.Discriminator(diat.Config(phi=phi.PROXY, size=64)), 64, diat.TABLE_2)
    assert (small["sizes"] == "differs").sum() == 6


def test_lfw_needs_real_faces(faces):
    assert transfer.lfw_faces("", faces) is None
    with pytest.raises(DataError, match="never seen a photograph"):
        transfer.lfw_faces("somewhere", faces)


def test_strangers_are_those_in_whom_the_judge_sees_no_target(faces, split):
    task, points = diat.TASKS["eyeglasses_removal"], landmarks.points68(faces)[0]
    bench = transfer.Bench(faces, split, split, Same(), Same(), points, diat.masks_of(diat.smoke()), 8)
    x = picture(8)
    e = SimpleNamespace(index=np.arange(8), x=x, y=x.abs(), real=x, row=task.row)  # 'target' 0 means dark for this judge: bright fails
    tasks, edits = {"eyeglasses_removal": task}, {"eyeglasses_removal": e}
    rows, shown = transfer.evaluate_lfw(bench, lambda a, x, t: SimpleNamespace(image=-x), tasks, edits, faces, "t", "A")
    x, y = shown["eyeglasses_removal"]
    assert 0 < len(x) <= 8 and (x.mean((1, 2, 3)) > 0).all() and torch.equal(y, -x)
    found = {r["metric"]: r["value"] for r in rows}
    assert found == {"edit_success": 1.0, "identity_kept": 0.0, "edit_success drop": -1.0} and all("(LFW)" in r["row"] for r in rows)
    (row,), nothing = transfer.evaluate_lfw(bench, None, tasks, edits, None, "t", "A")
    assert row["value"] is None and row["protocol"].startswith("unavailable: no LFW") and not nothing


def test_green_frames():
    x = torch.zeros(1, 3, 32, 32)
    framed = transfer.framed(x, np.array([[4.2, -3.0, 20.9, 40.0]]))
    green = (framed[0, 1] == 1) & (framed[0, 0] == -1)
    assert green[:, 4].all() and green[0, 4:21].all() and green[31, 4:21].all() and green.sum() == 2 * 32 + 2 * 15


def test_sliders_mix_input_and_result():
    x = picture(1)
    edit = transfer.by_name(lambda a, x, t: SimpleNamespace(image=x * 0 + t), {"off": diat.TASKS["eyeglasses_removal"]})
    assert torch.equal(edit("off", x, 0.0).image, x) and (edit("off", x, 1.0).image == 0).all() and edit("off", x, 0.5).mask is None

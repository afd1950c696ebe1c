"""The two comparators of DIAT and the measures of a one-way transfer."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lib.baselines import cnia
from lib.baselines import semantic_inpainting as si
from lib.baselines import vgg_face as phi
from lib.data import DataError
from lib.evaluation.edits import Edited, test_case, test_index
from lib.evaluation.judges import as_images
from lib.papers.diat import evaluation as transfer
from lib.papers.diat import landmarks
from lib.papers.diat import model as diat
from lib.study import make_plan
from lib.training import loop
from lib.training.config import ParameterError


def picture(n=2, s=32, seed=0, channels=3):
    return torch.rand(n, channels, s, s, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# ------------------------------------------------------------------------------------------------ CNIA-style


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return phi.Phi(4).frozen()


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


def optimised(faces, split, **fields):
    """x, the pictures that a CNIA-style optimisation leaves, and its objective along the way."""
    cfg = cnia.Config(size=32, faces=6, pool=20, neighbours=2, **fields)
    (stage,) = cnia.stages(cfg)
    nets, index = cnia.build(cfg), stage.examples(faces, split, 0).index
    (update,), modules = stage.updates, loop.networks(nets)
    adam, path = loop._optimiser(update, modules), []
    for _ in range(cfg.steps):
        path.append(loop._perform(update, nets, modules, None, cfg, adam, cfg.lr)["z/objective"].item())
    return as_images(faces, index), nets.pictures.z.detach(), path


def test_cnia_moves_towards_the_guides_and_not_without_a_reason(faces, split):
    x, still, path = optimised(faces, split, steps=5, a=0.0, mu=0.0)
    assert path[0] == 0 and torch.equal(still, x)  # a = 0 returns x
    x, z, path = optimised(faces, split, attribute="Male", steps=15)
    assert path[-1] < 0.9 * path[0] and not torch.equal(z, x)
    x, z, _ = optimised(faces, split, steps=15, mu=0.0)
    change = (z - x).abs().mean((0, 1))
    assert change[24:].mean() < 0.6 * change[8:16].mean()  # glasses: not the chin


def test_cnia_pictures_stand_beside_their_own_faces(faces, split):
    cfg, case = cnia.Config(attribute="Male", faces=6), test_case(faces, split, "Male", 0, 12)
    z = as_images(faces, test_index(faces, split, "Male", 1, 6))
    job, nets = SimpleNamespace(faces=faces, split=split, cfg=cfg, record={"processor_seconds": 12.0}), SimpleNamespace(pictures=SimpleNamespace(z=z))
    study = SimpleNamespace(jobs={"CNIA-style task": job}, nets=lambda name: nets, cfg=SimpleNamespace(variant="DIAT-A"))
    theirs, own = transfer.optimised(study, "task", Edited(case, case.x)).values()
    assert torch.equal(theirs.y, own.y) and len(own.y) == 6 and theirs.ms == 2000


def test_cnia_looks_among_faces_turned_the_same_way(net):
    x = picture(2)
    guided = torch.cat([x, picture(4, seed=3)])  # the faces themselves are the nearest, if they are turned the same way
    side = torch.tensor([True, False])
    found = cnia.nearest(net, x, guided, 1, side, torch.tensor([True, False, True, True, False, False]))
    assert found[:, 0].tolist() == [0, 1]


# ------------------------------------------------------------------------------------------------ semantic inpainting


def test_dcgan_at_64():
    cfg = si.Config()
    nets = si.build(cfg)
    for net, weights in ((nets.G, 5_133_443), (nets.D, 4_314_753)):
        assert sum(p.numel() for m in net.modules() if not isinstance(m, nn.BatchNorm2d) for p in m.parameters(recurse=False)) == weights
    with torch.no_grad():
        made = nets.G(torch.zeros(2, 100))
        assert made.shape == (2, 3, 64, 64) and nets.D(made).shape == (2, 1) and made.abs().max() <= 1
    (stage,) = si.stages(cfg)
    assert [(u.name, u.repeats) for u in stage.updates] == [("D", 1), ("G", 2)]
    with pytest.raises(ParameterError, match="power of two"):
        si.Config(size=48)


def test_face_boxes_hold_the_face(faces, split):
    boxes, points = si.face_boxes(np.asarray(faces.landmarks)), landmarks.points68(faces, np.arange(600))[0]
    sides = boxes[:, 2:] - boxes[:, :2]
    assert np.allclose(sides[:, 0], sides[:, 1], rtol=1e-4)
    inside = ((boxes[:, None, :2] < points) & (points < boxes[:, None, 2:])).all(-1)
    assert inside.mean() > 0.97 and (sides[:, 0] / np.ptp(points, axis=1).max(1)).mean() < 1.3
    pool = si.boxed(faces, split, 0)
    assert np.array_equal(pool.index, split.train) and np.array_equal(pool.labels, boxes[split.train])
    with pytest.raises(DataError, match="no landmarks to cut faces out by"):
        si.boxed(dataclasses.replace(faces, landmarks=None), split, 0)


@pytest.fixture(scope="module")
def dcgan():
    torch.manual_seed(0)
    nets = si.build(si.Config(size=32, width=4))
    for p in nets.G.parameters():
        p.data.mul_(8)  # an untrained G is grey everywhere
    return loop.for_use({"": nets})[""]


def test_inversion_finds_a_generated_face_again(dcgan):
    z = torch.rand(2, 100, generator=torch.Generator().manual_seed(5)) * 2 - 1
    with torch.no_grad():
        y = dcgan.G(z)
    M = torch.ones(2, 1, 32, 32)
    M[:, :, 10:16, 6:26] = 0
    _, start = si.invert(dcgan, y, M, si.Search(steps=1, starts=4))
    _, found = si.invert(dcgan, y, M, si.Search(steps=30, starts=4))
    assert (found < start).all() and found.sum() < 0.9 * start.sum()
    one = si.invert(dcgan, y, M, si.Search(steps=30, starts=1))[1]
    assert found.sum() < one.sum()  # the best of four


def test_poisson_blending():
    y, hole = picture(1)[0], torch.zeros(1, 32, 32)
    hole[:, 10:20, 8:22] = 1
    same = si.poisson(y, y, hole)
    assert torch.allclose(same, y, atol=1e-5)
    assert torch.allclose(si.poisson(y * 0.5, y * 0.5 + 0.3, hole), y * 0.5, atol=1e-5)  # another brightness: the rim decides
    known = hole.expand(3, -1, -1) == 0
    filled = si.poisson(y * 0.3, torch.zeros_like(y), hole)
    assert torch.equal(filled[known], (y * 0.3)[known])
    inner = filled[:, 11:19, 9:21]
    around = (filled[:, 10:18, 9:21] + filled[:, 12:20, 9:21] + filled[:, 11:19, 8:20] + filled[:, 11:19, 10:22]) / 4
    assert torch.allclose(inner, around, atol=1e-4)  # no gradients wanted: harmonic


def test_inpainting_changes_the_hole_alone(dcgan):
    x, m = picture(2), torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    m[:, :, 12:18, 8:24] = True
    boxes = torch.tensor([[2.0, 4.0, 30.0, 32.0]] * 2)
    made = si.edit(dcgan, x, m, boxes, 32, si.Search(steps=2, starts=2))
    outside = ~m.expand_as(x)
    assert torch.equal(made.image[outside], x[outside]) and torch.equal(made.plain[outside], x[outside])
    assert not torch.equal(made.image, x) and made.image.abs().max() <= 1 and made.mask is None


# ------------------------------------------------------------------------------------------------ measures


def test_colours_and_bands():
    grey = torch.zeros(1, 3, 32, 32)
    white, black = grey + 1, grey - 1
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


def test_when_success_has_settled():
    assert transfer.settled([0.1, 0.89, 0.9, 0.91]) == 1
    assert transfer.settled([0.9, 0.5, 0.9]) == 2  # it must stay there
    assert transfer.settled([0.9, 0.5]) is None and transfer.settled([0.0, 0.0]) is None


def test_layer_tables_are_the_printed_ones():
    built = transfer.architecture(SimpleNamespace(cfg=diat.PROFILES["cpu"]()))
    assert (built["printed output"] == built["as built, 128x128"]).all() and len(built) == 19
    assert built["here"].iloc[10] == "3 x 64 x 64" and built["here"].iloc[1] == "32 x 32 x 32"


# ------------------------------------------------------------------------------------------------ jobs


def test_jobs_name_what_they_start_from(tmp_path):
    plan = make_plan("diat", "synthetic-balanced", "smoke", results=str(tmp_path))
    jobs = plan.jobs
    tasks = [name for name in jobs if name.startswith("DIAT-A ")]
    assert len(tasks) == 5 and all(jobs[name].after == ("phi-proxy", "DIAT, shared") for name in tasks)
    assert jobs["DIAT-A mouth_open"].cfg.start == jobs["DIAT, shared"].path and jobs["DIAT, shared"].cfg.start == jobs["phi-proxy"].path
    assert {"DIAT1 male_to_female", "DIAT2 eyeglasses_removal", "CNIA-style older_to_younger", "DCGAN", "pre-trained mouth_open"} <= jobs.keys()
    assert len({job.id for job in jobs.values()}) == len(jobs)
    longer = make_plan("diat", "synthetic-balanced", "smoke", results=str(plan.results.parent), overrides={"cycles": 5}).jobs
    assert longer["DIAT, shared"].id == jobs["DIAT, shared"].id and longer["DIAT-A mouth_open"].id != jobs["DIAT-A mouth_open"].id
    assert plan.has(*tasks) and not plan.has("DIAT-A mouth_close", "StarGAN")
    assert transfer.own(dataclasses.replace(plan, training=False)) == ["phi-proxy", "DIAT, shared", *tasks]
    few = SimpleNamespace(cfg=plan.cfg, jobs=jobs, has=lambda name: name == "DIAT-A mouth_close")
    assert transfer.own(few) == ["phi-proxy", "DIAT, shared", "DIAT-A mouth_close"]  # the tasks at hand
    blind = dataclasses.replace(plan, faces=dataclasses.replace(plan.faces, landmarks=None))
    with pytest.raises(DataError, match="no landmarks"):
        transfer.jobs(blind)

"""Every equation that a paper's file names in a docstring, recomputed with loops on two samples; and a ledger that
finds the untested ones."""

import ast
import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ledger import TESTED, equation
from networks import close, sigmoid

from lib.papers.sagan import model as sagan
from lib.sources import ROOT


def docstring_equations(paper: str) -> set[int]:
    tree = ast.parse((ROOT / "lib" / "papers" / paper / "model.py").read_text())
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    return {int(n) for node in nodes for n in re.findall(r"Eq\. \((\d+)\)", ast.get_docstring(node) or "")}


def test_every_equation_in_a_docstring_has_a_test():
    for paper in sorted(p.parent.name for p in (ROOT / "lib" / "papers").glob("*/model.py")):
        if (Path(__file__).parent / f"test_{paper}.py").exists():
            importlib.import_module(f"test_{paper}")  # a paper's own tests may hold its equations
        named = docstring_equations(paper)
        assert named, f"{paper} names no equation"
        tested = TESTED.get(paper, set())
        assert named == tested, f"{paper}: named in docstrings {sorted(named)}, tested {sorted(tested)}"


# ---------------------------------------------------------------------------------------------------------------- SaGAN


@pytest.fixture
def pair(float64):
    """A tiny model in float64, two faces, their labels."""
    cfg = sagan.Config(**vars(sagan.PROFILES["smoke"]()) | {"size": 32, "width": 3})
    torch.manual_seed(3)
    nets = sagan.build(cfg)
    rng = torch.Generator().manual_seed(5)
    x = torch.rand(2, 3, 32, 32, generator=rng) * 2 - 1
    return cfg, nets, SimpleNamespace(x=x, y=torch.tensor([[1.0], [0.0]]), rng=rng)


@equation("sagan", 1, 8)
def test_sagan_cross_entropy_forms():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 1, 2, 2)), rng.normal(size=(2, 1, 2, 2))
    terms = [-np.log(sigmoid(r)) for r in real.ravel()], [-np.log(1 - sigmoid(f)) for f in fake.ravel()]
    assert close(sagan.src_d_cross_entropy(torch.tensor(real), torch.tensor(fake)), np.mean(terms[0]) + np.mean(terms[1]))
    assert close(sagan.src_g_cross_entropy(torch.tensor(fake)), np.mean([-np.log(sigmoid(f)) for f in fake.ravel()]))


@equation("sagan", 2, 9)
def test_sagan_attribute_losses():
    logit, label = np.array([[0.7], [-1.3]]), np.array([[1.0], [1.0]])
    expected = np.mean([-np.log(sigmoid(z) if c == 1 else 1 - sigmoid(z)) for z, c in zip(logit.ravel(), label.ravel(), strict=True)])
    flipped = np.mean([-np.log(1 - sigmoid(z)) for z in logit.ravel()])
    for loss in (sagan.cls_d, sagan.cls_g):
        assert close(loss(torch.tensor(logit), torch.tensor(label)), expected)
        assert close(loss(torch.tensor(logit), torch.tensor(1 - label)), flipped)


@equation("sagan", 4, 5, 6, 7)
def test_sagan_generator_is_its_parts(pair):
    cfg, nets, batch = pair
    x, c = batch.x, batch.y
    planes = np.stack([np.full((1, 32, 32), float(v)) for v in c])
    I_a = nets.G.amn(torch.cat([x, torch.tensor(planes)], 1)).detach().numpy()  # eq (5)
    b = nets.G.san(x).detach().numpy()  # eq (6)
    expected = np.empty_like(I_a)
    for n in range(2):
        for k in range(3):
            for i in range(32):
                for j in range(32):
                    expected[n, k, i, j] = I_a[n, k, i, j] * b[n, 0, i, j] + x[n, k, i, j] * (1 - b[n, 0, i, j])  # eq (7)
    assert np.abs(nets.G(x, c).detach().numpy() - expected).max() < 1e-12  # eq (4)
    assert np.abs(nets.G.F_m(x, c).detach().numpy() - I_a).max() < 1e-12
    assert np.abs(nets.G.F_a(x).detach().numpy() - b).max() < 1e-12
    assert 0 < b.min() and b.max() < 1 and I_a.shape == (2, 3, 32, 32) and b.shape == (2, 1, 32, 32)


@equation("sagan", 10)
def test_sagan_reconstruction():
    rng = np.random.default_rng(1)
    x, dual, same = (rng.normal(size=(2, 3, 4, 4)) for _ in range(3))
    expected = [w * sum(abs(a - b) for a, b in zip(x.ravel(), y.ravel(), strict=True)) / x.size for w, y in ((20, dual), (100, same))]
    found = sagan.reconstruction(*(torch.tensor(t) for t in (x, dual, same)), 20.0, 100.0)
    assert close(found[0], expected[0]) and close(found[1], expected[1])


@equation("sagan", 3, 12)
def test_sagan_d_loss(pair):
    cfg, nets, batch = pair
    total, parts = sagan.d_loss(nets, batch, cfg)
    x, c_g = batch.x, batch.y
    rng = torch.Generator().manual_seed(5)
    torch.rand(2, 3, 32, 32, generator=rng)  # the faces, as in the fixture
    eps = torch.rand(2, 1, 1, 1, generator=rng)
    fake = nets.G(x, 1 - c_g).detach()
    adv = -np.mean([nets.D(i[None])[0].mean().item() for i in x]) + np.mean([nets.D(i[None])[0].mean().item() for i in fake])
    penalties = []
    for n in range(2):
        at = (eps[n] * x[n] + (1 - eps[n]) * fake[n])[None].requires_grad_(True)
        nets.D(at)[0].sum().backward()
        penalties.append((np.sqrt((at.grad.numpy() ** 2).sum()) - 1) ** 2)
    cls = np.mean([-np.log(sigmoid(z if c else -z)) for z, c in zip(nets.D(x)[1].detach().numpy().ravel(), (1, 0), strict=True)])
    assert close(parts["adv"], adv) and close(parts["gp"], 10 * np.mean(penalties)) and close(parts["cls"], cls)
    assert close(total, adv + 10 * np.mean(penalties) + cls)
    assert close(parts["gap"], -adv)
    # the cross-entropy arm: eq (3) as first stated
    other, terms = sagan.d_loss(nets, batch, sagan.Config(**vars(cfg) | {"adversarial": "cross-entropy"}))
    scores = [nets.D(t)[0].detach().numpy() for t in (x, fake)]
    expected = np.mean(-np.log(sigmoid(scores[0]))) + np.mean(-np.log(sigmoid(-scores[1])))
    assert close(terms["adv"], expected) and terms["gp"] == 0 and close(other, expected + cls)


@equation("sagan", 11, 13)
def test_sagan_g_loss(pair):
    cfg, nets, batch = pair
    total, parts = sagan.g_loss(nets, batch, cfg)
    x, c_g = batch.x, batch.y
    with torch.no_grad():
        y = nets.G(x, 1 - c_g)
        adv = -np.mean([nets.D(i[None])[0].mean().item() for i in y])
        cls = np.mean([-np.log(sigmoid(z if c else -z)) for z, c in zip(nets.D(y)[1].numpy().ravel(), (0, 1), strict=True)])
        dual = 20 * np.abs((x - nets.G(y, c_g)).numpy()).mean()
        same = 100 * np.abs((x - nets.G(x, c_g)).numpy()).mean()
    for name, expected in (("adv", adv), ("cls", cls), ("rec_dual", dual), ("rec_same", same)):
        assert close(parts[name], expected), name
    assert close(total, adv + cls + dual + same)
    b = nets.G.F_a(x).detach().numpy()
    assert close(parts["mask_mean"], b.mean()) and close(parts["mask_share"], (b > 0.1).mean(), 1e-6)

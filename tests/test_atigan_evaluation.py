"""ATI-GAN's evaluation: Table 2 against what is printed, intervals against known answers, and that every claim asks for rows that there are."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lib.baselines import context_encoder
from lib.evaluation import measures
from lib.evaluation.measures import Value
from lib.pages import tables
from lib.papers.atigan import evaluation, inpainting
from lib.papers.atigan import model as atigan
from lib.training import loop
from lib.training.config import ParameterError


def test_table_2_is_what_the_paper_prints():
    printed = tables.printed("atigan", "Table 2").set_index(["row", "column"])["value"]
    assert {(c[0], c[1]): 100 * c[5] for c in evaluation.TABLE_2} == pytest.approx(printed.to_dict())


def test_what_agrees_with_a_printed_rate():
    assert evaluation.band(0.86, 96) == pytest.approx((0.76, 0.96), abs=1e-3)
    low, high = evaluation.band(0.33, 8)  # 3 of 8 or so: Wilson's interval is wider than ten points
    assert low == pytest.approx(0.137, abs=2e-3) and high == pytest.approx(0.694, abs=2e-3)


def test_difference_of_shares_of_different_faces():
    """Newcombe 1998, method 10: 56 of 70 less 48 of 80."""
    value = evaluation.apart(measures.wilson(56, 70), measures.wilson(48, 80))
    assert value == pytest.approx(Value(0.2, 0.0524, 0.3339, 70), abs=1e-4)


def test_chequerboards_and_nothing_else():
    i, j = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    board, stripes, ramp = (-1) ** (i + j), (-1) ** j, i + 3 * j
    energy = evaluation.chequerboard(torch.stack([board, stripes, ramp])[:, None].expand(-1, 3, -1, -1))
    assert energy == pytest.approx([16, 0, 0])


def test_settings_refuse_what_there_is_not():
    for fields, words in (({"arms": "no G"}, "no inpainting"), ({"rivals": "GL"}, "context encoder"), ({"searched": 65}, "in 1 to 64")):
        with pytest.raises(ParameterError, match=words):
            evaluation.Settings(**fields)


class Stub:
    """Judges that see what the mean colours say."""

    names, trusted = (*atigan.ATTRIBUTES, "Male"), (*atigan.ATTRIBUTES, "Male")
    verification = {"impostor_99": 0.5}
    a = b = identity = SimpleNamespace(id="stub", features=lambda x: x.flatten(1)[:, ::97].numpy(), embed=lambda x: np.ones((len(x), 1)))

    def column(self, name):
        return self.names.index(name)

    def probabilities(self, x):
        p = torch.stack([(6 * x.mean((1, 2, 3)) + k).sigmoid() for k in range(-2, 3)], dim=1).numpy()
        return p, p[:, ::-1].copy()

    def sees(self, x, attribute, target):
        return tuple((p[:, self.column(attribute)] > 0.5) == bool(target) for p in self.probabilities(x))

    def doubts(self, attribute):
        return ""


@pytest.fixture(scope="module")
def study(faces, split):
    cfg = replace(atigan.PROFILES["smoke"](), r_width=4, g_width=4, d_width=4)
    settings = evaluation.Settings(faces=600, inpainted=12, edited=8, seeds=2, rivals="context encoder")
    plan = SimpleNamespace(cfg=cfg, settings=settings, seed=0, profile="smoke")
    plan.job = lambda method, cfg, seed=0: SimpleNamespace(method=method, cfg=cfg, seed=seed)
    jobs, nets = evaluation.jobs(plan), {}
    for name, job in jobs.items():
        torch.manual_seed(job.seed)
        nets[name] = loop.for_use({name: job.method.build(job.cfg)})[name]
    history = pd.DataFrame({"stage": "G on x-hat", "cycle": range(1, 21), "R/d_share": np.linspace(0, 1, 20)})
    return SimpleNamespace(
        **vars(plan), faces=faces, split=split, device="cpu", judges=Stub(), jobs=jobs, nets=nets.get,
        has=jobs.__contains__, history=lambda name: history.copy(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def edits(study):
    return evaluation.edit_all(study)


def test_the_jobs(study):
    assert list(study.jobs) == ["ATI-GAN", "ATI-GAN, seed 1", *evaluation.NAMES.values(), "context encoder"]
    assert study.jobs["ATI-GAN, seed 1"].cfg == study.cfg and study.jobs["ATI-GAN, seed 1"].seed == 1
    assert study.jobs["context encoder"].cfg == context_encoder.PROFILES["smoke"]()  # its hole is ours
    assert study.nets("R, L1 only").G is None and study.nets("ATI-GAN, no inpainting").R is None


def test_edits_turn_one_label_and_r_alone_is_what_g_is_given(study, edits):
    assert {"ATI-GAN", "R alone", "own label", "unedited", "constant G", "counterfactual", "ATI-GAN, no inpainting"} <= edits.keys()
    assert "R, L1 only" not in edits
    e, nets = edits["ATI-GAN"]["Smiling", 1], study.nets("ATI-GAN")
    c = evaluation.own_labels(study.faces, e.index)
    assert (c[:, 2] == 0).all()
    given = edits["R alone"]["Smiling", 1].y
    assert torch.equal(edits["own label"]["Smiling", 1].y, nets.G(given, c))
    c[:, 2] = 1
    assert torch.equal(e.y, nets.G(given, c)) and torch.equal(given, atigan.reconstruct(nets.R, e.x)[1])
    alone = SimpleNamespace(**vars(study) | {"has": evaluation.own(study).__contains__})  # nothing else is trained
    assert edits.keys() - evaluation.edit_all(alone).keys() == edits.keys() & study.jobs.keys() - {"ATI-GAN"}
    assert list(evaluation.fills(alone))[-2:] == ["ridge regression", "R"]


def test_every_claim_asks_for_rows_that_there_are(study, edits, monkeypatch):
    frame = evaluation.per_face(study, edits)
    success = frame.set_index(["method", "attribute", "target", "face"])["edit_success"].astype(float)
    for method, floor in (("ATI-GAN", "R alone"), ("ATI-GAN, no inpainting", "unedited")):
        part = frame[frame["method"] == method].set_index(["attribute", "target", "face"])["beyond_floor"]
        assert (part == (success[method] - success[floor])).all()
    for module in (measures, inpainting):
        monkeypatch.setattr(module, "lpips_distance", lambda a, b: "unavailable: no weights")
    for name in ("fid", "inception_score"):
        monkeypatch.setattr(measures, name, lambda *pictures: "unavailable: no weights")
    rows = evaluation.edit_rows(study, edits, frame) + evaluation.table_1_rows(study)
    transfers = evaluation.table_2_rows(study, frame)
    rows += transfers + evaluation.locality_rows(frame) + evaluation.comparison_rows(study, frame)
    rows += inpainting.mask_rows(study.faces, study.split.test, atigan.box_of(study.cfg), "Fig. 7")
    known = {(r["table"], f"{r['metric']} | {r['row']} | {r['column']}") for r in rows}
    for claim in evaluation.CLAIMS:
        for test in (*claim.tests, *(t for need in claim.needs for t in need.tests)):
            assert (test.table, test.measure) in known or "semantic inpainting" in test.measure, f"{claim.id}: {test.measure}"
    assert next(r for r in rows if r["metric"] == "d_share")["value"] == pytest.approx(np.linspace(0, 1, 20)[-2:].mean())
    table = evaluation.table_2(pd.DataFrame(transfers))
    assert len(table) == 9 and {"both judges", "R alone", "counterfactual", "printed"} <= set(table)
    printed = evaluation.table_1(pd.DataFrame(rows)[lambda f: f["table"] == "Table 1"]).set_index("method")
    assert printed.loc["R", "PSNR, printed"] == 31.8 and printed.loc["context encoder", "PSNR, printed"] == 21.3


def test_an_attribute_that_the_judges_cannot_be_trusted_on_stands_with_its_reason(study, edits, monkeypatch):
    monkeypatch.setattr(Stub, "doubts", lambda self, attribute: "too rarely right" if attribute == "Mustache" else "")
    real = SimpleNamespace(**vars(study) | {"profile": "cpu"})
    frame = evaluation.per_face(real, {method: edits[method] for method in ("ATI-GAN", "R alone", "unedited")})
    assert set(frame["attribute"]) == {"Eyeglasses", "Smiling", "Young"}
    rows = pd.DataFrame(evaluation.table_2_rows(real, frame))
    assert set(rows.loc[rows["value"].isna(), "protocol"]) == {"unavailable: too rarely right"}
    assert list(evaluation.table_2(rows)["both judges"].eq("unavailable")) == [False] * 6 + [True] * 3


def test_figures(study, edits):
    for draw in (evaluation.figure_1, evaluation.figure_2, evaluation.figure_4, evaluation.figure_7):
        assert draw(study).axes
    assert evaluation.figure_8(edits).axes
    layers = evaluation.architecture(study)
    assert set(layers["network"]) == {"R (Fig. 3)", "G (Fig. 5)", "D (Fig. 6)"} and (layers["kind"] == "Block").sum() == study.cfg.blocks
    c_o, c_t = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 0]]), torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0]])
    assert evaluation.turned(c_o, c_t) == ["glasses on\nsmile off", "as it is"]


# ---------------------------------------------------------------------------------------------- context encoder


def test_context_encoder():
    nets = context_encoder.build(context_encoder.Config())
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    shapes = [tuple(m.weight.shape[:2]) for m in nets.G.net if hasattr(m, "kernel_size")]
    assert shapes[:6] == [(64, 3), (64, 64), (128, 64), (256, 128), (512, 256), (4000, 512)]
    with torch.no_grad():
        square, filled = nets.G(x), nets.G.fill(x)
        assert square.shape == (2, 3, 64, 64) and nets.D(square).shape == (2, 1) and nets.G.target(x).shape == square.shape
        hole = atigan.box_of(atigan.Config())
        assert torch.equal(square, nets.G(atigan.composite(x, -x, hole)))  # it never sees the hole
    assert torch.equal(filled * (1 - hole.mask()), x * (1 - hole.mask())) and torch.equal(hole.crop(filled), square[..., 6:58, 6:58])
    error = torch.zeros(1, 3, 8, 8)
    error[..., 0, 0], error[..., 4, 4] = 1, 1
    assert context_encoder.reconstruction(error, error * 0, slice(2, 6), 10.0) == pytest.approx((10 + 1) / 64)

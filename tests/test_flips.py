"""SG-GAN's evaluation: the flip protocol, the measures of background, the Inception score's formula, jobs, tables and claims, on images and
judges that are known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import uniform_filter

from lib.baselines import resgan, stargan
from lib.data import DataError
from lib.evaluation.judges import as_images
from lib.papers.sggan import evaluation, flips
from lib.papers.sggan import model as sggan
from lib.training.config import ParameterError
from lib.training.models import Job

GENDER, HAIR = sggan.GROUPS["gender"], sggan.GROUPS["hair"]
NAMES = ("Male", "Smiling", "Black_Hair", "Blond_Hair", "Pale_Skin")


class Reader:
    """A judge that knows its images: each carries its probabilities in the first pixels of its last row, as a painted code."""

    id, names = "reader", NAMES

    def probabilities(self, x):
        return ((x[:, 0, -1, : len(NAMES)] + 1) / 2).clamp(0, 1).double().numpy()

    def embed(self, x):
        return torch.nn.functional.normalize(x.flatten(1), dim=1).numpy()

    features = embed


class Readers:
    """Both judges and the identity network."""

    a = b = identity = Reader()
    names = trusted = NAMES
    verification = {"impostor_99": 0.9}

    def column(self, name):
        return NAMES.index(name)

    def probabilities(self, x):
        return self.a.probabilities(x), self.b.probabilities(x)


def paint(x, p):
    """The images with the code of probabilities p (n, A)."""
    x = x.clone()
    x[:, 0, -1, : len(NAMES)] = torch.as_tensor(p, dtype=x.dtype) * 2 - 1
    return x


@pytest.fixture
def study(faces, split):
    settings, cfg = evaluation.SETTINGS["smoke"], replace(sggan.PROFILES["smoke"](), attributes="gender, hair")
    return SimpleNamespace(faces=faces, split=split, judges=Readers(), settings=settings, cfg=cfg, device="cpu", seed=0)


@pytest.fixture
def cases(study):
    """Test faces whose unedited pictures carry their true labels, and counterfactuals theirs."""
    known = np.stack([study.faces.column(n) for n in NAMES], 1).astype(float)
    out = flips.cases_of(study, (GENDER, HAIR))
    return {
        key: replace(c, x=paint(c.x, known[c.index]), truth=perfect(key[0], paint(c.truth, known[c.index]), key[1]).image) for key, c in out.items()
    }


def perfect(name, x, target):
    """An edit that writes its target into the code, and changes one pixel."""
    p = Reader().probabilities(x)
    for value in (1 - target, target):
        column, label = flips.attribute_of(sggan.GROUPS[name], value)
        p[:, NAMES.index(column)] = label if value == target else 1 - label if sggan.GROUPS[name].zero else p[:, NAMES.index(column)]
    return stargan.Edit(paint(x, p))


# ---------------------------------------------------------------------------------------------------------------- background


def crop(value) -> torch.Tensor:
    return torch.as_tensor(value, dtype=torch.float64).expand(1, 3, 10, 10) / 127.5 - 1


def test_msssim_of_small_crops_has_its_known_values():
    """Facts of the shrinking-window definition on 10x10x3 crops in 0..255."""
    ramp = (30 + 20 * torch.arange(10.0))[None, None, None, :]
    for a, b, expected in (
        (ramp, ramp, 1.0),
        (ramp, ramp + 20, 0.998959),
        (torch.tensor(100.0), torch.tensor(120.0), 0.997800),
        (torch.tensor(100.0), torch.tensor(200.0), 0.970697),
        (ramp, torch.tensor(120.0), 0.089591),
        (ramp, ramp.flip(-1), 0.0),
    ):
        assert flips.msssim_adapt(crop(a), crop(b))[0] == pytest.approx(expected, abs=6e-7)
    noisy = crop(torch.tensor(128.0)) + torch.randn(40, 3, 10, 10, generator=torch.Generator().manual_seed(0)) * 10 / 127.5
    assert 0.6 < flips.msssim_adapt(crop(torch.tensor(128.0)).expand(40, 3, 10, 10), noisy).mean() < 0.95  # texture counts, colour hardly


def test_ssim7_and_crop_l1_against_scipy():
    a, b = np.random.default_rng(0).uniform(0, 255, (2, 2, 3, 10, 10))

    def mean(v):
        return uniform_filter(v, (0, 0, 7, 7))[..., 3:-3, 3:-3]

    p, q, c1, c2 = mean(a), mean(b), 6.5025, 58.5225
    cov, var = mean(a * b) - p * q, mean(a * a) - p**2 + mean(b * b) - q**2
    expected = ((2 * p * q + c1) * (2 * cov + c2) / ((p**2 + q**2 + c1) * (var + c2))).mean((1, 2, 3))
    one, two = (torch.tensor(v) / 127.5 - 1 for v in (a, b))
    assert flips.ssim7(one, two) == pytest.approx(expected, abs=1e-9)
    assert flips.crop_l1(one, two) == pytest.approx(np.abs(a - b).mean((1, 2, 3)), abs=1e-9)


# ---------------------------------------------------------------------------------------------------------------- scores


def test_inception_score_of_known_probabilities():
    certain = np.eye(4)[np.arange(40) % 4]
    assert flips.inception_score(certain, 1)[0] == pytest.approx(4.0)
    assert flips.inception_score(np.tile([0.2, 0.8], (30, 1)), 3) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-12))
    assert flips.inception_score(np.array([[0.9, 0.1], [0.1, 0.9]]), 1)[0] == pytest.approx(1.444935, abs=1e-6)
    p = np.random.default_rng(0).random((5, 3))
    joint = flips.joint_classes(p)
    assert joint.shape == (5, 8) and joint.sum(1) == pytest.approx(np.ones(5))
    assert joint[:, 7] == pytest.approx(p.prod(1)) and joint[:, 0] == pytest.approx((1 - p).prod(1))


def test_regular_patterns_stand_out_of_a_spectrum():
    noise = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    board = torch.zeros(64, 64)
    board[::2, ::2] = 1
    assert 0.5 < evaluation.spectrum(noise)[1] < 2 and evaluation.spectrum(noise + board)[1] > 10


def test_cases_are_balanced_test_faces_with_their_exact_counterfactuals(study):
    cases = flips.cases_of(study, (GENDER, HAIR))
    assert [(key, c.attribute, c.target) for key, c in cases.items()] == [
        (("gender", 1), "Male", 1), (("gender", 0), "Male", 0), (("hair", 1), "Blond_Hair", 1), (("hair", 0), "Black_Hair", 1),
    ]  # fmt: skip
    for (name, value), case in cases.items():
        assert (sggan.GROUPS[name].labels(study.faces)[case.index] == 1 - value).all() and len(case.index) == len(cases[name, 1 - value].index)
        assert np.isin(case.index, study.split.test).all() and torch.equal(case.x, as_images(study.faces, case.index))
        assert (case.truth - case.x).abs().flatten(1).max(1).values.min() > 0.01 and not ((case.truth - case.x).abs() * ~case.region).any()
    with pytest.raises(DataError, match="faces with value 0 of hair, at least 2 are needed"):
        flips.cases_of(SimpleNamespace(**vars(study) | {"split": SimpleNamespace(test=study.split.test[:1])}), (HAIR,))


def test_the_protocol_scores_a_perfect_edit_an_identity_and_a_constant(study, cases):
    frame = flips.measured(study, {"perfect": perfect}, cases)
    t = pd.DataFrame(flips.group_rows(frame, "T")).set_index(["row", "column", "metric"])["value"]
    for name in ("gender", "hair"):
        for method in ("perfect", "counterfactual", "real faces"):
            assert t[name, method, "edit_success"] == 1, method
        assert t[name, "unedited", "edit_success"] == 0 and t[name, "unedited", "background_c"] == 0
        assert t[name, "unedited", "identity_cosine"] == pytest.approx(1) and t[name, "unedited", "background_a"] == pytest.approx(100)
        assert t[name, "constant G", "identity_cosine"] < 0.99 and t[name, "constant G", "background_c"] > 3
        assert t[name, "perfect", "counterfactual_gain"] < 1 and t[name, "counterfactual", "counterfactual_gain"] == 1
    assert t["gender edit, smile", "perfect", "unrelated_accuracy"] == t["gender edit, smile", "real faces", "unrelated_accuracy"] == 1
    assert t["gender edit, smile", "constant G", "unrelated_accuracy"] < 1
    assert ("gender edit, gender", "perfect", "unrelated_accuracy") not in t.index
    assert set(frame["target"]) == {0, 1} and {"Male", "Blond_Hair", "Black_Hair"} == set(frame["attribute"])


def test_hair_under_another_edit_counts_only_balanced_black_and_blond(study, cases):
    case = cases["gender", 1]
    right = flips.unrelated(study, HAIR, case.index, case.seen("x", study.judges))
    labels, counted = HAIR.labels(study.faces)[case.index], np.isfinite(right)
    assert (labels[counted] >= 0).all() and (labels[counted] == 0).sum() == (labels[counted] == 1).sum() == min((labels == v).sum() for v in (0, 1))
    assert (right[counted] == 1).all()


def test_only_the_rest_of_the_skin_counts_as_tinted(study, cases):
    def tint(name, x, target):
        return stargan.Edit(x + 0.2)

    def noise(name, x, target):
        return stargan.Edit(x + 0.4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))

    frame = flips.measured(study, {"tint": tint, "noise": noise}, {k: c for k, c in cases.items() if k[0] == "hair"}, skin=True)
    shift = frame.groupby("method")["skin_shift"].mean()
    assert shift["tint"] == pytest.approx(0.1, abs=1e-6) and shift["noise"] < 0.03 and shift["unedited"] == 0


def test_differences_and_ratios_are_paired(study, cases):
    def half(name, x, target):
        return stargan.Edit(torch.cat([x[: len(x) // 2], perfect(name, x, target).image[len(x) // 2 :]]))

    frame = flips.measured(study, {"all": perfect, "half": half}, cases)
    (r,) = flips.compared(frame, "T", "gender", "half", "all", ["edit_success"])
    assert (r["row"], r["column"], r["metric"], r["value"]) == ("gender", "half - all", "edit_success difference", -0.5)
    (r,) = flips.compared(frame, "T", "all", "half", "all", ["edit_success"])
    assert r["n"] == sum(len(c.index) for c in cases.values())
    (r,) = flips.compared(frame, "T", "gender", "half", "all", ["unrelated_accuracy smile"])
    assert (r["row"], r["metric"], r["value"]) == ("gender edit, smile", "unrelated_accuracy difference", 0)
    (r,) = flips.compared(frame, "T", "all", "half", "all", ["identity_cosine"], "ratio")
    assert r["column"] == "half / all" and r["value"] == pytest.approx(1, abs=0.05)
    assert flips.compared(frame, "T", "all", "half", "never trained", ["edit_success"]) == []


def test_label_vectors_of_an_edit_at_once(study, monkeypatch):
    columns, seen = ("Male", "Black_Hair", "Blond_Hair", "Smiling"), []
    monkeypatch.setattr(stargan, "edit", lambda nets, x, c: seen.append(c.tolist()) or stargan.Edit(x))
    job = SimpleNamespace(cfg=stargan.Config(attributes=",".join(columns)))
    edit = flips.by_labels(SimpleNamespace(judges=study.judges, jobs={"StarGAN": job}, nets=lambda name: None), "StarGAN")
    x = paint(as_images(study.faces, np.arange(2)), np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 1]]))
    edit("hair", x, 1.0)
    edit("gender", x, 0.0)
    edit(("gender", "hair"), x, (1.0, 0.0))
    assert seen == [[[1, 0, 1, 1], [0, 0, 1, 0]], [[0, 1, 0, 1], [0, 0, 0, 0]], [[1, 1, 0, 1], [1, 1, 0, 0]]]


def test_several_groups_are_edited_one_after_the_other(study, monkeypatch):
    monkeypatch.setattr(resgan, "edit", lambda nets, x, target: stargan.Edit(nets(x, target)))
    edit = flips.by_models({"gender": lambda x, t: x + t, "hair": lambda x, t: x * 2})
    i = int(study.split.test[HAIR.labels(study.faces)[study.split.test] == 0][0])
    x, gender, answer = as_images(study.faces, np.array([i])), int(study.faces.column("Male")[i]), flips.exact(study, i)
    assert torch.equal(edit(("gender", "hair"), x, (1.0, 0.0)).image, (x + 1) * 2) and torch.equal(edit("hair", x, 0.0).image, x * 2)
    one, both = answer("hair", x, 1.0).image, answer(("gender", "hair"), x, (1 - gender, 1.0)).image
    assert both.shape == x.shape and (one - x).abs().max() > 0.1 and (both - one).abs().max() > 0.1
    assert (answer("hair", x, 0.0).image - x).abs().max() < 1 / 127  # it has black hair already


# ---------------------------------------------------------------------------------------------------------------- jobs, tables, claims


def test_what_needs_a_model_that_is_not_at_hand_is_left_out(study, cases):
    study.has, frame = lambda *names: False, flips.measured(study, {evaluation.ALL: perfect}, cases)
    assert evaluation.figure_4(study, cases) == evaluation.figure_5(study) == []
    measured = {r["metric"] for r in evaluation.table_1(study, frame) + evaluation.comparisons(study, frame)}
    assert "is_judge" in measured and not {"best_share", "d_accuracy"} & measured


def test_jobs(faces, split):
    cfg = replace(sggan.PROFILES["smoke"](), attributes="gender, smile, hair, lipstick")
    settings = replace(evaluation.SETTINGS["smoke"], joint="gender, hair, lipstick, pale")
    plan = SimpleNamespace(cfg=cfg, settings=settings, faces=faces, split=split, seed=0, profile="smoke")
    plan.job = lambda method, cfg, **fields: Job(**{"method": method, "cfg": cfg, "faces": faces, "split": split} | fields)
    jobs = evaluation.jobs(plan)
    assert list(jobs)[:7] == list(sggan.arms(sggan.PROFILES["smoke"](), 12, 4)) and len({job.id for job in jobs.values()}) == len(jobs)
    local, spread = jobs["ResidualGAN smile"].cfg, jobs["ResidualGAN gender"].cfg
    assert spread.alpha == pytest.approx(local.alpha / 100) and spread.beta == pytest.approx(local.beta / 100)
    hair = jobs["ResidualGAN hair"].split
    assert np.array_equal(hair.test, split.test) and (HAIR.labels(faces)[hair.train] >= 0).all() and len(hair.train) < len(split.train)
    assert jobs["StarGAN"].cfg.attributes == "Male,Smiling,Blond_Hair,Black_Hair,Wearing_Lipstick"
    assert jobs["SG-GAN, joint"].cfg.attributes == "gender, hair, lipstick, pale"
    assert (jobs["StarGAN(4)"].cfg.labels, jobs["StarGAN(4)"].cfg.per_value, jobs["StarGAN(balance)"].cfg.labels) == ("sparse", 4, "labelled")
    cpu = replace(stargan.PROFILES["cpu"](), g_steps=6_400)  # SG-GAN's share of its own schedule, 3,200 of 20,000, applied to 40,000
    assert sggan.share_of_paper(sggan.PROFILES["cpu"]()) == pytest.approx(stargan.share_of_paper(cpu))


@pytest.mark.parametrize("fields", [{"joint": "beard"}, {"pale_labels": "some"}, {"sweep_steps": 0}], ids=str)
def test_settings_refuse_what_there_is_not(fields):
    with pytest.raises(ParameterError, match="beard|whole numbers|at least 1"):
        evaluation.Settings(**fields)


def test_cells_of_the_printed_tables():
    def r(metric, row, column):
        return {"metric": metric, "row": row, "column": column}

    assert evaluation.cell_1(r("is_judge", "hair", "SG-GAN(5 %)")) == ("SG-GAN(5000)", "Hair Color mean")
    assert evaluation.cell_1(r("is_judge_std", "all", "real faces")) == ("CelebA", "All std")
    assert evaluation.cell_2(r("edit_success", "gender", "SG-GAN(0.5 %)")) == ("SG-GAN(500)", "Gender / Gender")
    assert evaluation.cell_2(r("unrelated_accuracy", "hair edit, smile", "StarGAN")) == ("StarGAN", "Hair Color / Smile")
    assert evaluation.cell_2(r("edit_success", "smile", "StarGAN")) is None and evaluation.cell_2(r("sharpness", "gender", "StarGAN")) is None
    assert evaluation.cell_3(r("edit_success", "smile", "SG-GAN, RIL")) == ("RIL", "Smile")

"""The flip protocol, the three measures of background, and the stand-in for the Inception score, on images and judges that are known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import uniform_filter

from lib.papers.sggan import background
from lib.papers.sggan import evaluation as flips
from lib.evaluation import measures as metrics
from lib.data import DataError
from lib.data.splits import narrowed
from lib.evaluation.judges import as_images
from lib.papers.sggan import model as sggan

GENDER, HAIR, SMILE = (sggan.GROUPS[n] for n in ("gender", "hair", "smile"))
NAMES = ("Male", "Smiling", "Black_Hair", "Blond_Hair", "Pale_Skin")


class Reader:
    """A judge that knows its images: each carries its probabilities in the first pixels of its last row, as a painted code."""

    id = "reader"
    names = NAMES

    def probabilities(self, x):
        return ((x[:, 0, -1, : len(NAMES)] + 1) / 2).clamp(0, 1).double().numpy()

    def trusted(self):
        return NAMES

    def embed(self, x):
        v = torch.nn.functional.normalize(x.flatten(1), dim=1)
        return v.numpy()


def paint(x, p):
    """The images with the code of probabilities p (n, A)."""
    x = x.clone()
    x[:, 0, -1, : len(NAMES)] = torch.as_tensor(p, dtype=x.dtype) * 2 - 1
    return x


@pytest.fixture
def world(faces, split):
    """Test faces whose unedited pictures carry their true labels, and an edit that writes its target."""
    truth = np.stack([faces.column(n) for n in NAMES], 1).astype(float)
    found = flips.cases((GENDER, HAIR), faces, split, 6)
    found = {k: replace(c, x=paint(c.x, truth[c.index]), truth=paint(c.truth, truth[c.index])) for k, c in found.items()}

    def edit(name, x, target):
        y, p = x.clone(), Reader().probabilities(x)
        group = sggan.GROUPS[name]
        p[:, NAMES.index(group.one)] = target
        if group.zero:
            p[:, NAMES.index(group.zero)] = 1 - target
        return flips.Picture(paint(y, p))

    return SimpleNamespace(found=found, edit=edit, faces=faces, judge=Reader())


def flipped(world, **edits):
    return flips.flip(edits, world.found, (GENDER, SMILE, HAIR), world.faces, world.judge, world.judge)


def table(rows):
    return pd.DataFrame(rows).set_index(["row", "column", "metric"])["value"]


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
        assert background.msssim_adapt(crop(a), crop(b))[0] == pytest.approx(expected, abs=6e-7)
    noisy = crop(torch.tensor(128.0)) + torch.randn(40, 3, 10, 10, generator=torch.Generator().manual_seed(0)) * 10 / 127.5
    assert 0.6 < background.msssim_adapt(crop(torch.tensor(128.0)).expand(40, 3, 10, 10), noisy).mean() < 0.95  # texture counts, colour hardly


def test_ssim7_and_crop_l1_against_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 255, (2, 2, 3, 10, 10))
    expected = []
    for n in range(2):
        per_colour = []
        for k in range(3):
            p, q = a[n, k], b[n, k]
            m = {name: uniform_filter(v, 7)[3:-3, 3:-3] for name, v in (("p", p), ("q", q), ("pp", p * p), ("qq", q * q), ("pq", p * q))}
            cov, var = m["pq"] - m["p"] * m["q"], m["pp"] - m["p"] ** 2 + m["qq"] - m["q"] ** 2
            c1, c2 = 6.5025, 58.5225
            per_colour.append(((2 * m["p"] * m["q"] + c1) * (2 * cov + c2) / ((m["p"] ** 2 + m["q"] ** 2 + c1) * (var + c2))).mean())
        expected.append(np.mean(per_colour))
    one, two = (torch.tensor(v) / 127.5 - 1 for v in (a, b))
    assert background.ssim7(one, two) == pytest.approx(expected, abs=1e-9)
    assert background.crop_l1(one, two) == pytest.approx(np.abs(a - b).mean((1, 2, 3)), abs=1e-9)
    assert background.crop_l1(crop(torch.tensor(100.0)), crop(torch.tensor(120.0)))[0] == pytest.approx(20)
    with pytest.raises(ValueError, match="6 pixels is smaller than the window"):
        background.ssim7(one[..., :6, :6], two[..., :6, :6])
    assert background.corner(one, 4).shape == (2, 3, 4, 4) and torch.equal(background.corner(one, 4), one[..., :4, :4])


# ---------------------------------------------------------------------------------------------------------------- scores


def test_is_judge_of_known_probabilities():
    certain = np.eye(4)[np.arange(40) % 4]
    assert flips.is_judge(certain, 1)[0] == pytest.approx(4.0)
    assert flips.is_judge(np.tile([0.2, 0.8], (30, 1)), 3) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-12))
    assert flips.is_judge(np.array([[0.9, 0.1], [0.1, 0.9]]), 1)[0] == pytest.approx(1.444935, abs=1e-6)
    mean, std = flips.is_judge(certain, 10)  # few images in a part: not every class is in it
    assert 1 < mean < 4 and std > 0 and flips.is_judge(certain, 10) == (mean, std)


def test_joint_classes_are_the_products():
    p = np.random.default_rng(0).random((5, len(NAMES)))
    found = flips.joint_classes(p, Reader(), (GENDER, HAIR))
    assert found.shape == (5, 8) and found.sum(1) == pytest.approx(np.ones(5))
    assert found[:, 7] == pytest.approx(p[:, 0] * p[:, 3] * p[:, 2]) and found[:, 0] == pytest.approx((1 - p[:, 0]) * (1 - p[:, 3]) * (1 - p[:, 2]))


# ---------------------------------------------------------------------------------------------------------------- flips


def test_cases_are_balanced_test_faces_with_their_exact_counterfactuals(faces, split, world):
    for name, case in flips.cases((GENDER, HAIR), faces, split, 6).items():
        labels = sggan.GROUPS[name].labels(faces)[case.index]
        assert (labels == 1 - case.target).all() and (case.target == 1).sum() == (case.target == 0).sum() == 6
        assert np.isin(case.index, split.test).all() and torch.equal(case.x, as_images(faces, case.index))
        assert (case.truth - case.x).abs().flatten(1).max(1).values.min() > 0.01 and not ((case.truth - case.x).abs() * ~case.region).any()
    with pytest.raises(DataError, match="test faces with value 0 of hair"):
        flips.cases((HAIR,), faces, SimpleNamespace(test=split.test[:1]), 6)


def test_every_edit_is_asked_for_the_value_that_the_face_does_not_have(world):
    asked = []

    def spy(name, x, target):
        asked.append((name, target, len(x), x))
        return flips.Picture(x)

    for case in world.found.values():
        flips.apply(spy, case)
    assert [a[:3] for a in asked] == [("gender", 1.0, 6), ("gender", 0.0, 6), ("hair", 1.0, 6), ("hair", 0.0, 6)]
    assert torch.equal(asked[0][3], world.found["gender"].x[world.found["gender"].target == 1])


def test_the_protocol_scores_a_perfect_edit_an_identity_and_a_constant(world, faces, split):
    constant = {(n, v): world.found[n].x[world.found[n].target == 1 - v][0] for n in ("gender", "hair") for v in (0, 1)}
    rows = flips.rows(flipped(world, perfect=world.edit, constant=lambda n, x, t: flips.Picture(constant[n, int(t)].expand_as(x))), "T", world.judge)
    t = table(rows)
    for name in ("gender", "hair"):
        assert t[name, "perfect", "flip_accuracy"] == t[name, "constant", "flip_accuracy"] == t[name, "real faces", "flip_accuracy"] == 1
        assert t[name, "identity G", "flip_accuracy"] == 0  # 100 minus the judge's accuracy on real faces
        assert t[f"{name} +", "perfect", "edit_success"] == t[f"{name} -", "perfect", "edit_success"] == 1
        assert t[name, "identity G", "identity_cosine"] == pytest.approx(1) and t[name, "identity G", "change_l1"] == 0
        assert t[name, "constant", "identity_cosine"] < 0.99 and t[name, "constant", "background_l1"] > 3
        assert t[name, "identity G", "background_msssim"] == pytest.approx(1) and t[name, "identity G", "background_l1"] == 0
    assert t["gender edit, smile", "perfect", "unrelated_accuracy"] == t["gender edit, smile", "real faces", "unrelated_accuracy"] == 1
    assert 0 < t["gender edit, smile", "constant", "unrelated_accuracy"] < 1
    assert t["gender", "counterfactual", "counterfactual_psnr"] == 100 and ("gender", "perfect", "ms_per_image") in t.index


def test_flip_accuracy_of_doing_nothing_is_one_minus_the_judges_accuracy(world):
    case = world.found["gender"]
    p = np.full((len(case.index), len(NAMES)), 0.4)
    p[:, 0] = np.where(np.arange(len(case.index)) % 3 == 0, case.target, 1 - case.target)  # the judge is wrong about every third face
    x = paint(case.x, p)
    world.found = {"gender": flips.Case(case.group, case.index, case.target, x, None, None)}
    f = flipped(world)
    real, floor = (f["gender", m].samples["flip_accuracy"] for m in ("real faces", "identity G"))
    assert (real == 1 - floor).all() and floor.mean() == pytest.approx(1 / 3)
    assert ("gender", "counterfactual") not in f


def test_hair_accuracy_under_another_edit_counts_only_balanced_black_and_blond(world, faces):
    f = flipped(world, perfect=world.edit)["gender", "perfect"]
    labels = HAIR.labels(faces)[f.case.index]
    counted = np.isfinite(f.samples["unrelated_accuracy hair"])
    assert (labels[counted] >= 0).all() and (labels[counted] == 0).sum() == (labels[counted] == 1).sum() == min((labels == v).sum() for v in (0, 1))
    assert "unrelated_accuracy gender" not in f.samples


def test_differences_and_ratios_are_paired(world):
    def half(name, x, target):
        y = world.edit(name, x, target).image
        return flips.Picture(torch.cat([x[: len(x) // 2], y[len(x) // 2 :]]))

    f = flipped(world, all=world.edit, half=half)
    rows = pd.DataFrame(flips.difference_rows(f, "T", [("half", "all")], ["flip_accuracy", "unrelated_accuracy smile"])).set_index(["row", "metric"])
    assert rows.loc[("gender", "flip_accuracy difference"), "value"] == -0.5
    assert rows.loc[("gender", "flip_accuracy difference"), "ci_low"] < -0.2 and rows.loc[("gender", "flip_accuracy difference"), "ci_high"] < 0
    assert rows.loc[("gender edit, smile", "unrelated_accuracy difference"), "value"] == 0 and (rows["column"] == "half - all").all()
    pooled = flips.difference_rows(f, "T", [("half", "all")], ["flip_accuracy"], pooled=True)
    assert len(pooled) == 1 and pooled[0]["row"] == "all" and pooled[0]["n"] == sum(len(c.index) for c in world.found.values())
    (ratio,) = flips.ratio_rows(f, "T", "half", "all", "change_l1", pooled=True)
    expected = np.mean([f[n, "half"].samples["change_l1"] for n in world.found]) / np.mean([f[n, "all"].samples["change_l1"] for n in world.found])
    assert ratio["value"] == pytest.approx(expected) and ratio["ci_low"] < expected < ratio["ci_high"]
    assert flips.difference_rows(f, "T", [("half", "never trained")], ["flip_accuracy"]) == []


def test_a_figure_that_no_image_has_says_so(world):
    world.judge.trusted = lambda: ()  # no other verdict may be used
    f = flipped(world, perfect=world.edit)
    rows = pd.DataFrame(flips.rows(f, "T", world.judge)).set_index(["row", "column", "metric"])
    kept = rows.loc[("gender", "perfect", "unrelated_kept")]
    assert np.isnan(kept["value"]) and kept["protocol"].startswith("unavailable: ")
    assert flips.difference_rows(f, "T", [("perfect", "identity G")], ["unrelated_kept"]) == []


def test_label_vectors_of_an_edit_at_once(world):
    columns, seen = ("Male", "Black_Hair", "Blond_Hair", "Smiling"), []
    edit = flips.by_labels(lambda x, c: seen.append(c) or flips.Picture(x), columns, (GENDER, HAIR, SMILE), world.judge)
    x = paint(world.found["hair"].x[:2], np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 1]]))
    edit("hair", x, 1.0)
    edit("gender", x, 0.0)
    edit(("gender", "hair"), x, (1.0, 0.0))
    assert seen[0].tolist() == [[1, 0, 1, 1], [0, 0, 1, 0]] and seen[1].tolist() == [[0, 1, 0, 1], [0, 0, 0, 0]]
    assert seen[2].tolist() == [[1, 1, 0, 1], [1, 1, 0, 0]]


def test_models_of_their_own_are_applied_one_after_the_other(world):
    edit = flips.by_models({"gender": lambda x, t: flips.Picture(x + t), "hair": lambda x, t: flips.Picture(x * 2)})
    x = world.found["hair"].x[:1]
    assert torch.equal(edit(("gender", "hair"), x, (1.0, 0.0)).image, (x + 1) * 2) and torch.equal(edit("hair", x, 0.0).image, x * 2)


def test_a_constant_edit_answers_with_the_clearest_face(world, faces, split):
    p = np.stack([faces.column(n) for n in NAMES], 1).astype(float)
    first = split.train[:20]
    x = paint(as_images(faces, first), 0.2 + 0.6 * p[first] * np.linspace(0, 1, 20)[:, None])
    fake = SimpleNamespace(images=((x + 1) * 127.5).round().byte().numpy())
    edit = flips.constant_edit((GENDER,), fake, SimpleNamespace(train=np.arange(20)), world.judge)
    clearest = int(np.flatnonzero(p[first, 0])[-1])
    y = edit("gender", world.found["gender"].x[:3], 1.0).image
    assert (y - x[clearest]).abs().max() < 1 / 127 and y.shape == (3, 3, 32, 32)


def test_tables_set_the_paper_beside_us():
    rows = [
        metrics.row("T", "gender", "SG-GAN(5 %)", "flip_accuracy", metrics.Value(0.5, 0.4, 0.6, 20), "p"),
        metrics.row("T", "gender edit, hair", "SG-GAN(0.5 %)", "unrelated_accuracy", metrics.Value(0.9, 0.8, 0.95, 20), "p"),
        metrics.row("T", "hair", "ResidualGAN", "background_msssim", 0.7, "p", 20),
        metrics.row("T", "gender", "real faces", "is", "unavailable: no weights", "p"),
        metrics.row("Table 3", "gender", "SG-GAN(0.5 %)", "flip_accuracy", 0.5, "p", 20),
        metrics.row("T", "pale", "StarGAN", "flip_accuracy", 0.5, "p", 20),
    ]
    beside = pd.DataFrame(flips.beside_paper(rows, "sggan", flips.printed_at))
    assert beside["paper_value"].tolist()[:5] == pytest.approx([0.9379, 0.9790, 0.18, 3.83, 0.9326]) and np.isnan(beside["paper_value"][5])
    shown = flips.layout(beside, "T", ["SG-GAN(5 %)", "none"], {"gender": ("flip_accuracy", "gender")}, {"SG-GAN(5 %)": "16; 80"})
    assert shown.to_dict("records") == [{"method": "SG-GAN(5 %)", "gender": "50 [40, 60] | 93.79", "n": 20, "images seen by G; D": "16; 80"}]


def test_cost_and_comparisons():
    record = {"stages": {"a": {"cycles": 3}, "b": {"cycles": 3}}, "seconds": 2.5, "images_seen": {"D": 1200, "G_0": 600, "G_1": 600}}
    assert flips.cost(record) == {"cycles": 6, "seconds": 2.5, "images seen by G": "1,200", "images seen by D": "1,200"}
    row = metrics.row("T", "all", "A - B", "flip_accuracy difference", metrics.Value(-0.25, -0.5, 0.0, 9), "p") | {"paper_value": None}
    shown = flips.comparisons(pd.DataFrame([row]))
    assert shown.to_dict("records") == [{"metric": "flip_accuracy difference", "methods": "A - B", "row": "all", "n": 9, "value": "-25 [-50, 0]"}]


def test_best_share():
    rows = [
        metrics.row("T", g, m, k, v, "p", 5)
        for g, ours, other in (("gender", 2.0, 1.5), ("hair", 1.9, 1.8), ("smile", 1.0, 2.0), ("pale", 3.0, 1.0))
        for m, v0 in (("A", ours), ("B", other))
        for k, v in (("is_judge", v0), ("is_judge_std", 0.2))
    ]
    best, clear = flips.best_rows(pd.DataFrame(rows), "T", "A", ["B", "never trained"])
    assert (best["value"], clear["value"], best["n"]) == (0.75, 0.5, 4)


def test_a_narrowed_split_keeps_its_test_side(faces, split):
    only = narrowed(split, faces, HAIR.labels(faces) >= 0, "those with black or blond hair")
    assert np.array_equal(only.test, split.test) and 0 < len(only.train) < len(split.train) and only.checksum != split.checksum
    assert (HAIR.labels(faces)[only.train] >= 0).all() and "black or blond" in only.rule

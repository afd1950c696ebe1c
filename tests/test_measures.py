"""Measures against worked examples, and edits whose figures are known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lib.data import DataError
from lib.evaluation import edits, measures
from lib.evaluation.judges import Judges
from lib.pages import tables
from lib.papers.sagan import model as sagan


class Oracle:
    """A judge that reads a face's mean brightness: bright means it has the first attribute; the other it always
    sees."""

    names, id = ("Eyeglasses", "Smiling"), "oracle"

    def probabilities(self, x):
        return np.stack([(x.mean((1, 2, 3)) > 0).float().numpy(), np.ones(len(x))], axis=1)

    def features(self, x):
        return x.mean((2, 3)).double().numpy()

    def embed(self, x):
        v = torch.stack([x.mean((1, 2, 3)), torch.ones(len(x))], dim=1)
        return (v / v.norm(dim=1, keepdim=True)).numpy()


class Sceptic(Oracle):
    """The second judge: it sees nothing."""

    def probabilities(self, x):
        return np.zeros((len(x), 2))


def judges(b=Oracle):
    made = Judges(Oracle(), b(), Oracle(), None, None)
    vars(made).update({"trusted": Oracle.names, "verification": {"impostor_99": 0.999}})
    return made


def brighter(attribute, x, target):
    """Brightens or darkens the whole image: what the oracle takes for the attribute."""
    return SimpleNamespace(image=(x + (1.5 if target else -1.5)).clamp(-1, 1), mask=torch.ones(len(x), 1, 32, 32))


def test_intervals():
    value = measures.proportion(np.array([True] * 8 + [False] * 2))
    assert (value.value, value.n) == (0.8, 10)
    assert value[1:3] == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert measures.proportion(np.array([True] * 20)).ci_low == pytest.approx(0.8389, abs=1e-4)
    samples = np.random.default_rng(0).normal(3, 2, 400)
    value = measures.mean(samples)
    assert value.value == pytest.approx(samples.mean()) and value.n == 400
    assert value.ci_high - value.ci_low == pytest.approx(2 * 1.96 * samples.std() / 20, rel=0.1)
    assert measures.mean(samples) == value
    assert measures.mean(np.full(5, 2.0)) == (2.0, 2.0, 2.0, 5)
    with pytest.raises(ValueError, match="not finite"):
        measures.mean(np.array([1.0, np.nan]))


def test_frechet_of_known_gaussians():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4000, 2)) @ np.diag([1.0, 2.0])
    a = (a - a.mean(0)) / a.std(0, ddof=1) * [1, 2]
    a = a @ np.linalg.inv(np.linalg.cholesky(np.cov(a, rowvar=False))).T * [1, 2]  # covariance exactly diag(1, 4)
    b = a * [3, 1] + [2, 0]  # diag(9, 4), mean shifted by 2: 4 + (1 - 3)^2 + 0 = 8
    value = measures.frechet(a, b)
    assert value.value == pytest.approx(8, rel=1e-6) and value.ci_low < 8 < value.ci_high and value.n == 4000
    assert measures.frechet(a, a, 5).value == pytest.approx(0, abs=1e-6)


def test_pixel_metrics():
    x, y = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)
    y[0] += 0.2  # 0.1 on the [0, 1] scale: 20 dB
    assert measures.psnr(x, y) == pytest.approx([20, 100], abs=1e-4)
    assert measures.l1(x, y) == pytest.approx([0.1, 0])
    region = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    region[:, :, :8] = True
    y[0, :, :8] += 0.2
    assert measures.l1(x, y, region) == pytest.approx([0.2, 0]) and measures.l1(x, y, ~region) == pytest.approx([0.1, 0])
    assert measures.l1(x, y, torch.zeros_like(region)) == pytest.approx([0, 0])
    other = torch.zeros_like(region)
    other[:, :, 4:12] = True
    assert measures.iou(region, other) == pytest.approx([1 / 3, 1 / 3]) and measures.iou(region, region) == pytest.approx([1, 1])
    assert measures.roi_mass(region.float() * 0.3, other) == pytest.approx([0.5, 0.5])
    assert measures.roi_mass(torch.zeros(1, 1, 16, 16), region[:1]) == pytest.approx([0])
    assert measures.share(region * 0.5, 0.1) == pytest.approx([0.5, 0.5])


def test_ssim_is_taken_on_the_unit_scale():
    a = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.1
    constant = torch.full_like(a, 0.5)
    c1 = 0.01**2
    shifted = torch.full_like(a, 0.7)  # two flat images: luminance term alone, (2 m1 m2 + c1) / (m1^2 + m2^2 + c1)
    m1, m2 = 0.75, 0.85
    assert measures.ssim(constant, shifted)[0] == pytest.approx((2 * m1 * m2 + c1) / (m1**2 + m2**2 + c1), abs=5e-4)  # 0.946 on [-1, 1]
    assert measures.ssim(a, a)[0] == pytest.approx(1, abs=1e-6)


def test_the_per_face_table_of_an_edit_whose_figures_are_known(faces, split):
    case = edits.test_case(faces, split, "Eyeglasses", 1, 12)
    methods = {"M": edits.apply(brighter, case)} | edits.floors(case, faces, split, judges())
    frame = pd.concat([measures.per_face(name, e, judges()) for name, e in methods.items()])
    assert set(frame["method"]) == {"M", "unedited", "constant G", "mean face", "counterfactual"} and (frame.groupby("method").size() == 12).all()
    of = {name: part.set_index("face") for name, part in frame.groupby("method")}
    assert of["M"]["edit_success"].all() and of["M"]["unrelated_kept"].eq(1).all() and of["constant G"]["edit_success"].all()
    assert of["unedited"]["identity_cosine"].to_numpy() == pytest.approx(1) and of["unedited"]["sharpness"].to_numpy() == pytest.approx(1)
    assert (of["M"]["change_outside_l1"] > 0.2).all() and (of["counterfactual"]["change_outside_l1"] == 0).all()
    assert of["counterfactual"]["counterfactual_gain"].all() and not of["unedited"]["counterfactual_gain"].any()
    assert (of["counterfactual"]["counterfactual_gain_db"] > 10).all() and of["unedited"]["counterfactual_gain_db"].to_numpy() == pytest.approx(0)
    assert (of["M"]["counterfactual_psnr"] < of["unedited"]["counterfactual_psnr"]).all() and (of["counterfactual"]["psnr"] < 100).all()
    assert of["M"]["mask_mean"].eq(1).all() and of["M"]["mask_iou"].mean() == pytest.approx(case.region.float().mean().item(), abs=1e-5)
    assert "mask_mean" in frame and of["unedited"]["mask_mean"].isna().all()
    assert (faces.column("Eyeglasses")[case.index] == 0).all() and np.isin(case.index, split.test).all()


def test_success_needs_both_judges(faces, split):
    case = edits.test_case(faces, split, "Eyeglasses", 1, 12)
    frame = measures.per_face("M", edits.apply(brighter, case), judges(Sceptic))
    assert frame["edit_success_a"].all() and frame["judges_disagree"].all()
    assert not frame["edit_success_b"].any() and not frame["edit_success"].any() and not frame["success_blurred"].any()


def test_the_table_becomes_rows_differences_and_ratios():
    keys = {"attribute": "Smiling", "target": 1}
    lines = [keys | {"method": m, "face": k, "person": k // 2, "edit_success": hit, "change_outside_l1": v}
             for m, hit, v in (("A", True, 0.1), ("B", False, 0.4)) for k in range(40)]  # fmt: skip
    frame = pd.DataFrame(lines)
    rows = pd.DataFrame(measures.summary(frame, "Fig. 4", "test faces")).set_index(["row", "column", "metric"])
    hit = rows.loc[("Smiling +", "A", "edit_success")]
    assert hit["value"] == 1 and hit["n"] == 40 and hit["protocol"] == "both judges see the target, test faces" and hit["table"] == "Fig. 4"
    assert hit["ci_low"] == pytest.approx(measures.wilson(20, 20).ci_low)  # twenty people stand behind the forty faces
    assert measures.difference(frame, "A", "B", "change_outside_l1").value == pytest.approx(-0.3)
    assert measures.difference(frame, "A", "B", "edit_success").value == 1
    assert measures.ratio(frame, "A", ["B"], "change_outside_l1").value == pytest.approx(0.25)
    fewer = frame[(frame["method"] == "A") | (frame["face"] < 10)]
    assert measures.difference(fewer, "A", "B", "edit_success").n == 10  # only edits that both made


def test_an_interval_is_clustered_by_person():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(100), 5)
    samples = rng.normal(size=100)[people] + 0.1 * rng.normal(size=500)
    apart, together = measures.mean(samples), measures.mean(samples, people)
    assert apart.value == together.value and 1.8 < (together.ci_high - together.ci_low) / (apart.ci_high - apart.ci_low) < 2.6
    assert together.ci_high - together.ci_low == pytest.approx(2 * 1.96 * 0.1, rel=0.2)


def test_an_edit_towards_the_own_label(faces, split):
    def edit(attribute, x, target):
        assert target.shape == (len(x), 1) and set(target.unique().tolist()) <= {0.0, 1.0}
        mask = torch.zeros(len(x), 1, 32, 32)
        mask[:, :, : 8 if attribute == "Eyeglasses" else 16] = 1
        return SimpleNamespace(image=x + 0.02, mask=mask)

    frames = [measures.own_label(edit, faces, split, a, 20) for a in ("Eyeglasses", "Smiling")]
    assert frames[0]["own_label_l1"].to_numpy() == pytest.approx(0.01, abs=1e-6)
    assert (frames[0]["face"] == frames[1]["face"]).all() and (frames[1]["mask_share"] - frames[0]["mask_share"]).to_numpy() == pytest.approx(0.25)


def test_blur_lowers_sharpness_and_noise_raises_it():
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    energy = measures.gradient_energy(x)
    assert (measures.gradient_energy(torch.nn.functional.avg_pool2d(x, 3, 1, 1)) < 0.5 * energy).all()
    assert (measures.gradient_energy(x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))) > 1.3 * energy).all()


def test_too_few_test_faces_is_a_clear_error(faces, split):
    with pytest.raises(DataError, match="the test split has 0 faces .* Give more images"):
        edits.test_case(faces, replace(split, test=split.test[:0]), "Eyeglasses", 1, 8)


def test_networks_without_weights_say_so(faces, split):
    case = edits.test_case(faces, split, "Eyeglasses", 1, 8)
    rows = measures.distribution_rows(edits.apply(brighter, case), judges(), "T", "M")
    assert {r["metric"] for r in rows} == {"frechet_judge", "fid", "is", "lpips", "ms_per_image"}
    assert all(r["protocol"].startswith("unavailable: ") for r in rows if r["value"] is None)
    assert next(r for r in rows if r["metric"] == "frechet_judge")["value"] > 0


def test_cost_and_judges_as_rows():
    record = {"images_seen": {"D": 960, "G": 320}, "processor_seconds": 10.0, "precision": "bf16", "hardware": {"cpu": "a processor", "threads": 1}}
    rows = {(r["metric"], r["row"]): r for r in measures.cost_rows(record, "SaGAN")}
    assert rows["images_seen", "D"]["value"] == 960 and rows["processor_seconds", "all"]["value"] == 10
    assert all(r["column"] == "SaGAN" and r["table"] == "training" for r in rows.values())


def test_tables_show_value_interval_and_n():
    figures = {"edit_success": (0.915, 0.85, 0.95), "change_outside_l1": (0.00123, 0.001, 0.0015), "fid": (None, None, None)}
    base = {"table": "T", "row": "A +", "column": "M", "n": 100}
    rows = pd.DataFrame([base | {"metric": k, "value": v, "ci_low": low, "ci_high": high} for k, (v, low, high) in figures.items()])
    frame = tables.compare(rows, ["edit_success", "fid", "change_outside_l1", "lpips"])
    assert list(frame.columns) == ["case", "method", "n", "edit_success", "fid", "change_outside_l1"]
    assert list(frame.iloc[0]) == ["A on", "M", 100, "92 % [85, 95]", "unavailable", "0.00123 [0.001, 0.0015]"]
    assert "…" not in tables.show(pd.DataFrame({"a": ["x" * 300]})).data and "..." not in tables.show(pd.DataFrame({"a": ["x" * 300]})).data


def test_printed_settings_stand_beside_ours():
    frame = tables.against_paper("sagan", sagan.printed_settings(sagan.Config())).set_index("quantity")
    assert (frame["paper"] == frame["here"]).all() and len(frame) == 12
    with pytest.raises(KeyError, match="no sagan row 'x, y'"):
        tables.against_paper("sagan", {"x, y": 1})

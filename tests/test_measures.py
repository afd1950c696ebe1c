"""Metrics against worked examples, and one edit of each kind whose figures are known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lib.evaluation import measures as metrics
from lib.pages import tables
from lib.claims import measures
from lib.data import DataError
from lib.evaluation.judges import as_images
from lib.papers.sagan import model as sagan


class Oracle:
    """A judge that reads a face's mean brightness: bright means it has the attribute; the other attribute is always seen."""

    names, id = ("Eyeglasses", "Smiling"), "oracle"

    def probabilities(self, x):
        return np.stack([(x.mean((1, 2, 3)) > 0).float().numpy(), np.ones(len(x))], axis=1)

    def features(self, x):
        return x.mean((2, 3)).double().numpy()

    def embed(self, x):
        v = torch.stack([x.mean((1, 2, 3)), torch.ones(len(x))], dim=1)
        return (v / v.norm(dim=1, keepdim=True)).numpy()

    def trusted(self):
        return self.names


class Oracle4(Oracle):
    """Knows SaGAN's four attributes and sees none of them."""

    names = sagan.ATTRIBUTES

    def probabilities(self, x):
        return np.zeros((len(x), 4))


def test_intervals():
    value = metrics.proportion(np.array([True] * 8 + [False] * 2))
    assert (value.value, value.n) == (0.8, 10)
    assert value[1:3] == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert metrics.proportion(np.array([True] * 20)).ci_low == pytest.approx(0.8389, abs=1e-4)
    samples = np.random.default_rng(0).normal(3, 2, 400)
    value = metrics.mean(samples)
    assert value.value == pytest.approx(samples.mean()) and value.n == 400
    assert value.ci_high - value.ci_low == pytest.approx(2 * 1.96 * samples.std() / 20, rel=0.1)
    assert metrics.mean(samples) == value
    assert metrics.mean(np.full(5, 2.0)) == (2.0, 2.0, 2.0, 5)
    with pytest.raises(ValueError, match="not finite"):
        metrics.mean(np.array([1.0, np.nan]))


def test_frechet_of_known_gaussians():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4000, 2)) @ np.diag([1.0, 2.0])
    a = (a - a.mean(0)) / a.std(0, ddof=1) * [1, 2]
    a = a @ np.linalg.inv(np.linalg.cholesky(np.cov(a, rowvar=False))).T * [1, 2]  # covariance exactly diag(1, 4)
    b = a * [3, 1] + [2, 0]  # diag(9, 4), mean shifted by 2: 4 + (1 - 3)^2 + 0 = 8
    value = metrics.frechet(a, b)
    assert value.value == pytest.approx(8, rel=1e-6) and value.ci_low < 8 < value.ci_high and value.n == 4000
    assert metrics.frechet(a, a, 5).value == pytest.approx(0, abs=1e-6)


def test_pixel_metrics():
    x, y = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)
    y[0] += 0.2  # 0.1 on the [0, 1] scale: 20 dB
    assert metrics.psnr(x, y) == pytest.approx([20, 100], abs=1e-4)
    assert metrics.l1(x, y) == pytest.approx([0.1, 0])
    region = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    region[:, :, :8] = True
    y[0, :, :8] += 0.2
    assert metrics.l1(x, y, region) == pytest.approx([0.2, 0]) and metrics.l1(x, y, ~region) == pytest.approx([0.1, 0])
    assert metrics.l1(x, y, torch.zeros_like(region)) == pytest.approx([0, 0])
    other = torch.zeros_like(region)
    other[:, :, 4:12] = True
    assert metrics.iou(region, other) == pytest.approx([1 / 3, 1 / 3]) and metrics.iou(region, region) == pytest.approx([1, 1])
    assert metrics.roi_mass(region.float() * 0.3, other) == pytest.approx([0.5, 0.5])
    assert metrics.roi_mass(torch.zeros(1, 1, 16, 16), region[:1]) == pytest.approx([0])
    assert metrics.share(region * 0.5, 0.1) == pytest.approx([0.5, 0.5])


def test_ssim_is_taken_on_the_unit_scale():
    a = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.1
    constant = torch.full_like(a, 0.5)
    c1 = 0.01**2
    shifted = torch.full_like(a, 0.7)  # two flat images: luminance term alone, (2 m1 m2 + c1) / (m1^2 + m2^2 + c1)
    m1, m2 = 0.75, 0.85
    assert metrics.ssim(constant, shifted)[0] == pytest.approx((2 * m1 * m2 + c1) / (m1**2 + m2**2 + c1), abs=5e-4)  # 0.946 on [-1, 1]
    assert metrics.ssim(a, a)[0] == pytest.approx(1, abs=1e-6)


def test_an_edit_whose_figures_are_known(faces, split):
    def edit(attribute, x, target):
        """Brightens or darkens the whole image: what the oracle takes for the attribute."""
        y = (x + (1.5 if target else -1.5)).clamp(-1, 1)
        return SimpleNamespace(image=y, mask=torch.ones(len(x), 1, 32, 32))

    rows, edits = metrics.evaluate(edit, faces, split, Oracle(), Oracle(), ("Eyeglasses",), 12, "T", "M")
    table = pd.DataFrame(rows).set_index(["row", "column", "metric"])["value"]
    for row in ("Eyeglasses +", "Eyeglasses -"):
        assert table[row, "M", "edit_success"] == 1 and table[row, "M", "unrelated_kept"] == 1
        assert table[row, "M", "unedited_floor"] == table[row, "unedited", "edit_success"]
        assert table[row, "unedited", "identity_cosine"] == pytest.approx(1, abs=1e-6)
        assert table[row, "M", "identity_cosine"] < 0.999
        assert table[row, "M", "change_outside_l1"] > 0.2 and table[row, "counterfactual", "change_outside_l1"] == 0
        assert table[row, "counterfactual", "change_inside_l1"] > 0.01
        assert table[row, "M", "counterfactual_psnr"] < table[row, "unedited", "counterfactual_psnr"]
        assert table[row, "M", "mask_mean"] == 1 and table[row, "M", "mask_saturated"] == 1
        e = edits["Eyeglasses", int(row.endswith("+"))]
        assert table[row, "M", "mask_iou"] == pytest.approx(e.region.float().mean().item(), abs=1e-5)
        assert (faces.column("Eyeglasses")[e.index] == 1 - e.target).all() and np.isin(e.index, split.test).all()
        assert len(e.index) == len(e.x) == 12
    assert {r["metric"] for r in rows if r["value"] is None} <= {"lpips", "fid", "is", "counterfactual_lpips"}
    assert all(r["protocol"].startswith("unavailable: ") for r in rows if r["value"] is None)
    again = metrics.evaluate(edit, faces, split, Oracle(), Oracle(), ("Eyeglasses",), 12, "T", "M")[1]
    assert np.array_equal(again["Eyeglasses", 1].index, edits["Eyeglasses", 1].index)


def test_the_exact_counterfactual_scores_as_the_ceiling(faces, split):
    """An oracle that draws the counterfactual leaves nothing outside the region and infinite (capped) PSNR."""
    e = metrics.apply(lambda a, x, t: SimpleNamespace(image=x, mask=None), faces, split, "Eyeglasses", 1, 8)
    assert metrics.l1(e.truth, e.x, ~e.region).max() == 0
    assert metrics.l1(e.truth, e.x, e.region).min() > 0 and metrics.psnr(e.truth, e.truth).min() == pytest.approx(100)
    assert torch.equal(e.x, as_images(faces, e.index)) and metrics.mask_rows(e, "T", "M") == []


def test_own_label_and_paired_masks(faces, split):
    def edit(attribute, x, target):
        assert target.shape == (len(x), 1) and set(target.unique().tolist()) <= {0.0, 1.0}
        share = 0.25 if attribute == "Eyeglasses" else 0.5
        mask = torch.zeros(len(x), 1, 32, 32)
        mask[:, :, : int(32 * share)] = 1
        return SimpleNamespace(image=x + 0.02, mask=mask)

    rows = pd.DataFrame(metrics.own_label_rows(edit, faces, split, ("Eyeglasses", "Smiling"), 20, "T", "M")).set_index(["row", "metric"])
    assert rows.loc[("Eyeglasses", "own_label_l1"), "value"] == pytest.approx(0.01, abs=1e-6)
    assert rows.loc[("Smiling - Eyeglasses", "mask_share difference"), "value"] == pytest.approx(0.25)
    assert rows.loc[("Smiling - Eyeglasses", "mask_share difference"), "ci_low"] > 0
    assert ("Eyeglasses - Smiling", "mask_share difference") not in rows.index


def test_every_claim_about_sagan_alone_can_be_decided(faces, split):
    def edit(attribute, x, target):
        return SimpleNamespace(image=x, mask=torch.full((len(x), 1, 32, 32), 0.5))

    rows = metrics.evaluate(edit, faces, split, Oracle4(), Oracle4(), sagan.ATTRIBUTES, 4, "T", "SaGAN")[0]
    rows += metrics.own_label_rows(edit, faces, split, sagan.ATTRIBUTES, 4, "T", "SaGAN")
    have = measures(pd.DataFrame(rows))
    for claim in sagan.CLAIMS:
        if claim.id in ("H1", "H2", "H5a", "H8"):
            assert all(t.measure in have for t in claim.tests), claim.id


def test_too_few_test_faces_is_a_clear_error(faces, split):
    with pytest.raises(DataError, match="the test split has 0 faces .* Give more images"):
        metrics.apply(lambda a, x, t: None, faces, type(split)(**vars(split) | {"test": split.test[:0]}), "Eyeglasses", 1, 8)


def test_tables_show_value_interval_and_n():
    figures = {"edit_success": (0.915, 0.85, 0.95), "change_outside_l1": (0.00123, 0.001, 0.0015), "fid": (None, None, None)}
    base = {"table": "T", "row": "A +", "column": "M", "n": 100}
    rows = pd.DataFrame([base | {"metric": k, "value": v, "ci_low": low, "ci_high": high} for k, (v, low, high) in figures.items()])
    frame = tables.compare(rows, ["edit_success", "fid", "change_outside_l1", "lpips"])
    assert list(frame.columns) == ["row", "method", "n", "edit_success", "fid", "change_outside_l1"]
    assert list(frame.iloc[0]) == ["A +", "M", 100, "91.5 % [85.0 %, 95.0 %]", "unavailable", "0.00123 [0.001, 0.0015]"]
    assert "…" not in tables.show(pd.DataFrame({"a": ["x" * 300]})).data and "..." not in tables.show(pd.DataFrame({"a": ["x" * 300]})).data


def test_printed_settings_stand_beside_ours():
    frame = tables.against_paper("sagan", sagan.printed_settings(sagan.Config())).set_index("quantity")
    assert (frame["paper"] == frame["here"]).all() and len(frame) == 12
    with pytest.raises(KeyError, match="no sagan row 'x, y'"):
        tables.against_paper("sagan", {"x, y": 1})


def test_cost_rows_add_up_over_models():
    stage = {"cycles": 10, "seconds": 4.0, "images_seen": {"D": 480, "G": 160}, "cycles_per_second": 2.5}
    hardware = {"device": "cpu", "cpu": "a processor", "threads": 1}
    record = {"stages": {"a": stage, "b": stage | {"seconds": 6.0}}, "images_seen": {"D": 960, "G": 320}, "trained": {"hardware": hardware}}
    rows = {(r["metric"], r["row"]): r for r in metrics.cost_rows(record, "SaGAN")}
    assert rows["images_seen", "D"]["value"] == 960 and rows["images_seen", "G"]["value"] == 320
    assert rows["train_seconds", "all"]["value"] == 10 and rows["iterations_per_second", "all"]["value"] == 2
    assert all(r["column"] == "SaGAN" and r["table"] == "training" for r in rows.values())

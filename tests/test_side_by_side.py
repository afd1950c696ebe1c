"""Methods side by side: the same faces for all, differences taken face by face, the rows that claims ask for by name."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lib.evaluation import judges
from lib.evaluation import measures as metrics
from lib.papers.sagan.model import side_by_side
from lib.pages import tables
from lib.claims import verdicts
from lib.papers.sagan import model as sagan

METHODS = ("CycleGAN", "StarGAN", "ResGAN", "SaGAN")
ATTRIBUTES = ("Eyeglasses", "No_Beard")


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    """Networks that need weights from elsewhere are no part of these tests."""
    for name in ("lpips_network", "inception"):
        monkeypatch.setattr(metrics, name, lambda: "unavailable: not part of this test")


def shift(amount, where="everywhere"):
    """An editor that adds `amount` to all pixels, or to the upper half only."""

    def edit(attribute, x, target):
        y = x.clone()
        part = y if where == "everywhere" else y[:, :, : x.shape[2] // 2]
        part += amount
        return SimpleNamespace(image=y, mask=None)

    return edit


@pytest.fixture(scope="module")
def judged(faces, split, tmp_path_factory):
    cache = tmp_path_factory.mktemp("judges")
    return tuple(make(faces, split, width=2, steps=4, cache=cache) for make in (judges.attribute_judge, judges.identity_judge))


@pytest.fixture(scope="module")
def edits(faces, split):
    ours = {(a, t): metrics.apply(shift(0.02), faces, split, a, t, 6) for a in ATTRIBUTES for t in (1, 0)}
    others = {m: side_by_side.same_faces(ours, shift(0.1 * (i + 1))) for i, m in enumerate(METHODS[:3])}
    return others | {"SaGAN": ours}


def test_other_methods_edit_the_same_faces(edits, faces, split):
    own = {k: metrics.apply(shift(0.2), faces, split, *k, 6) for k in edits["SaGAN"]}
    for key, e in edits["StarGAN"].items():
        assert np.array_equal(e.index, own[key].index) and torch.equal(e.x, own[key].x)
        assert torch.equal(e.y, own[key].y) and torch.equal(e.truth, own[key].truth)


def test_rows_of_the_floor_and_the_ceiling_are_not_repeated(edits, faces, judged):
    one = {("Eyeglasses", 1): edits["SaGAN"]["Eyeglasses", 1]}
    rows, made = side_by_side.evaluate(one, {"A": shift(0.1), "B": shift(0.2)}, faces, *judged, "Figs 4-7")
    assert list(made) == ["A", "B"] and {r["column"] for r in rows} == {"A", "B"}
    outside = {(r["row"], r["column"]): r["value"] for r in rows if r["metric"] == "change_outside_l1"}
    assert len(outside) == 2 and abs(outside["Eyeglasses +", "A"] - 0.05) < 1e-6 and abs(outside["Eyeglasses +", "B"] - 0.1) < 1e-6


def test_per_face_agrees_with_the_metric_rows(edits, faces, judged):
    judge, identity = judged
    table = side_by_side.per_face(edits["ResGAN"], judge)
    assert len(table) == sum(len(e.x) for e in edits["ResGAN"].values())
    for attribute, target in (("Eyeglasses", 1), ("No_Beard", 0)):
        e = edits["ResGAN"][attribute, target]
        rows = {r["metric"]: r["value"] for r in metrics.rows(e, faces, judge, identity, "t", "ResGAN") if r["column"] == "ResGAN"}
        part = table[(table["attribute"] == attribute) & (table["sign"] == ("+" if target else "-"))]
        assert part["hit"].mean() == rows["edit_success"] and np.isclose(part["outside"].mean(), rows["change_outside_l1"])
        before, after = (judge.probabilities(t)[:, judge.names.index("Male")] > 0.5 for t in (e.x, e.y))
        assert np.array_equal(part["male_changed"].to_numpy(bool), before != after)


def table_of(values, attribute="Eyeglasses", sign="+", faces=None):
    n = len(values)
    return pd.DataFrame({"attribute": attribute, "sign": sign, "face": range(n) if faces is None else faces, "outside": values, "hit": values})


def test_differences_are_paired_by_face_not_by_place():
    a = table_of([1.0, 2.0, 3.0], faces=[5, 6, 7])
    b = table_of([3.5, 1.5, 2.5], faces=[7, 5, 6])
    value = side_by_side.difference(a, b, "outside")
    assert value == metrics.Value(-0.5, -0.5, -0.5, 3)  # every face by the same amount: no spread
    more = pd.concat([b, table_of([9.0], attribute="Smiling")])  # what only one of them edited does not count
    assert side_by_side.difference(a, more, "outside") == value


def test_ratio_to_the_better_of_the_others():
    rng = np.random.default_rng(0)
    base = rng.uniform(1, 2, 400)
    a, b, c = table_of(base), table_of(4 * base), table_of(10 * base)
    value = side_by_side.ratio(a, [b, c], "outside")
    assert np.isclose(value.value, 0.25) and np.isclose(value.ci_low, 0.25) and np.isclose(value.ci_high, 0.25) and value.n == 400
    noisy = side_by_side.ratio(a, [table_of(rng.permutation(4 * base)), c], "outside")
    assert noisy.ci_low < 0.25 < noisy.ci_high and noisy.ci_high - noisy.ci_low > 0.005


def test_frechet_difference_has_the_sign_of_the_worse_method(edits, judged):
    judge = judged[0]
    e = edits["SaGAN"]["No_Beard", 1]
    good, bad = replace(e, y=e.real[: len(e.x)]), replace(e, y=torch.randn(e.x.shape, generator=torch.Generator().manual_seed(0)))
    value = side_by_side.frechet_difference(bad, good, judge, resamples=20)
    assert value.value > 0 and value.ci_low <= value.value <= value.ci_high
    assert side_by_side.frechet_difference(good, good, judge, resamples=5)[:3] == (0, 0, 0)
    swapped = side_by_side.frechet_difference(good, bad, judge, resamples=5)
    assert np.isclose(swapped.value, -value.value)


def test_the_rows_are_those_that_the_claims_ask_for(edits, judged):
    judge = replace(judged[0], scores=judged[0].scores.assign(balanced_accuracy=0.9))
    faces = {m: side_by_side.per_face(e, judge) for m, e in edits.items()}
    rows = side_by_side.claim_rows(edits, faces, judge, "claims")
    rows += side_by_side.against("SaGAN", "b = 1", faces | {"b = 1": faces["ResGAN"].query("attribute == 'Eyeglasses'")}, "ablations")
    frame = pd.DataFrame(rows)
    decided = verdicts(sagan.CLAIMS, frame).set_index("id")
    for claim in ("H3", "H4", "H6", "H12"):
        assert decided.loc[claim, "verdict"] != "not tested" and "not measured" not in decided.loc[claim, "measured"], claim
    assert "4 of 8 not measured" in decided.loc["H5b", "measured"]  # two of the four attributes were edited
    value = frame.set_index(["metric", "row", "column"])["value"]
    assert np.isclose(value["change_outside_l1 ratio", "SaGAN / min(CycleGAN, StarGAN)", "all"], 0.2)  # 0.02 of 0.1
    assert np.isclose(value["change_outside_l1 ratio", "ResGAN / min(CycleGAN, StarGAN)", "all"], 3.0)
    assert np.isclose(value["change_outside_l1 difference", "all", "SaGAN against ResGAN"], -0.14)
    changed = {m: f[f["attribute"] == "No_Beard"]["male_changed"].mean() for m, f in faces.items()}
    assert np.isclose(value["male_changed minimum", "No_Beard", "all methods"], min(changed.values()))
    assert value["male_changed rank", "No_Beard", "SaGAN"] == 1 + sum(v < changed["SaGAN"] for v in changed.values())
    unsure = replace(judge, scores=judge.scores.assign(balanced_accuracy=0.6))
    male = [r for r in side_by_side.claim_rows(edits, faces, unsure, "claims") if r["metric"].startswith("male")]
    assert male and all(r["value"] is None and "not to be trusted on Male" in r["protocol"] for r in male)


def test_tables_say_how_much_each_method_was_trained():
    stage = {"cycles": 10, "seconds": 1.0, "cycles_per_second": 10}
    records = {
        "StarGAN": {"stages": {"joint": stage | {"images_seen": {"D": 800, "G": 160}}}},
        "ResGAN": {"stages": {"Smiling": stage | {"images_seen": {"D": 64, "G_0": 64, "G_1": 32}}}},
    }
    lines = [("Smiling +", m) for m in ("counterfactual", "ResGAN", "StarGAN", "unedited")] + [("Smiling -", "ResGAN"), ("Smiling", "ResGAN")]
    cost = side_by_side.training(records).set_index("method")
    assert list(cost.loc["StarGAN"]) == [1, 10, "800", "160", 1.0] and list(cost.loc["ResGAN"]) == [1, 10, "64", "64", 1.0]
    rows = [metrics.row("t", row, method, "edit_success", 0.5, "", 3) for row, method in lines]
    frame = side_by_side.beside(tables.compare(pd.DataFrame(rows), ["edit_success"]), records)
    assert list(frame["method"][:4]) == ["unedited", "StarGAN", "ResGAN", "counterfactual"]
    assert list(frame["images seen by D"]) == ["", "800", "64", "", "64", "64"]
    assert list(frame["images seen by G"]) == ["", "160", "64", "", "64", "64"]
    assert list(frame.columns[:4]) == ["row", "method", "images seen by D", "images seen by G"]


def canvas_and_rows(figure):
    (axis,) = figure.axes
    return np.asarray(axis.images[0].get_array()), [t.get_text() for t in axis.get_yticklabels()]


def test_figures(edits, judged):
    canvas, rows = canvas_and_rows(side_by_side.grid(edits, "Eyeglasses", k=2))
    assert rows == ["input", "CycleGAN", "residual", "StarGAN", "residual", "ResGAN", "residual", "SaGAN", "residual", "truth"]
    assert canvas.shape == (10 * 33 - 1, 4 * 33 - 1, 3)  # two faces given it, two relieved of it
    table = side_by_side.per_face(edits["SaGAN"], judged[0])
    order = side_by_side.least_convincing(table, "Eyeglasses")
    part = table[(table["attribute"] == "Eyeglasses") & (table["sign"] == "-")]["confidence"].to_numpy()
    assert (np.diff(part[order[0]]) >= 0).all() and sorted(order[1]) == list(range(6))
    canvas, _ = canvas_and_rows(side_by_side.grid(edits, "Eyeglasses", k=2, order=order))
    for method, row in (("SaGAN", 7), ("CycleGAN", 1)):
        e = edits[method]["Eyeglasses", 1]
        assert np.array_equal(canvas[33 * row : 33 * row + 32, 33:65], side_by_side.pixels(e.y[order[1][1:2]])[0])
    two = {m: edits[m] for m in ("StarGAN", "SaGAN")}
    canvas, rows = canvas_and_rows(side_by_side.whole_or_local(two, [("Eyeglasses", 1), ("Smiling", 0)], k=2))
    assert canvas.shape[1] == 2 * 33 - 1 and rows[0] == "input" and len(rows) == 5  # the attribute that was not edited is left out


def test_show_keeps_both_panels_or_says_why_not(edits, judged, capsys):
    kept = []
    run = SimpleNamespace(figure=lambda figure, name, faces: kept.append((name, faces)))
    table = side_by_side.per_face(edits["SaGAN"], judged[0])
    side_by_side.show(run, edits, table, "Eyeglasses", "fig_4", "words")
    side_by_side.show(run, edits, table, "Smiling", "fig_7", "words")
    assert kept == [("fig_4", True), ("fig_4_worst", True)] and "did not edit Smiling" in capsys.readouterr().out


def test_a_box_around_the_region():
    x, region = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    region[0, 0, 2:5, 3:7] = True
    (picture,) = side_by_side.boxed(x, region)
    red = (picture == side_by_side.RED).all(-1)
    assert red.sum() == 10 and red[2, 3:7].all() and red[4, 3:7].all() and red[3, 3] and red[3, 6] and not red[3, 4:6].any()
    assert np.array_equal(side_by_side.boxed(x, torch.zeros_like(region))[0], side_by_side.pixels(x)[0])


def test_labels_by_the_judge(edits, judged):
    x = edits["SaGAN"]["Eyeglasses", 1].x
    labels = side_by_side.labels_by(judged[0], ("Smiling", "Male"))(x)
    expected = judged[0].probabilities(x) > 0.5
    assert labels.shape == (len(x), 2) and np.array_equal(labels[:, 1].numpy() > 0, expected[:, judged[0].names.index("Male")])

"""Face verification: protocols with known pair counts, ROC figures with known answers, arms that see what they should, LFW's folds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from lib import claims
from lib.pages import figures
from lib.evaluation import judges
from lib.papers.sagan.model import verification
from lib.data import Batches, DataError, load_lfw
from lib.papers.sagan import model as sagan
from lib.evaluation.resnet import ResNet18
from lib.papers.sagan.verification import Arm, Comparisons, Result, Sample


@dataclass
class Edit:
    image: Tensor
    mask: None = None


def paint(attribute, x, target):
    """An 'editor' whose edits can be told apart: the whole face becomes the target, or a tenth more for Smiling."""
    value = torch.as_tensor(target, dtype=x.dtype).expand(len(x), 1)[:, :, None, None]
    return Edit(torch.ones_like(x) * (value + 0.1 * (attribute == "Smiling")))


def keep(attribute, x, target):
    return Edit(x)


# ------------------------------------------------------------------------------------------------ protocols


def test_the_recognition_network_is_a_resnet_18():
    for size in (32, 48, 64, 128):
        assert ResNet18(4, size).eval()(torch.zeros(2, 3, size, size)).shape == (2, 32)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in ResNet18(4, 32).modules()) == 17  # and one linear layer: 18


def test_three_people_with_two_three_and_one_image_give_three_queries():
    people = np.array([7, 7, 9, 9, 9, 4])
    targets, queries = sagan.verification_pairs(people, seed=0)
    assert list(people[targets]) == [4, 7, 9] and len(queries) == 3
    pairs = verification.against_targets(people, targets, queries)
    assert pairs.same.sum() == 3 and (~pairs.same).sum() == 6
    assert pairs.words == "3 genuine and 6 impostor pairs of 3 people, 1 with a single image and so without a query"
    assert not np.intersect1d(targets, queries).size and set(pairs.first) == set(queries) and set(pairs.second) == set(targets)


def test_celebas_pair_counts_follow_from_its_identities():
    """2,000 test identities with 10,950 images: 8,950 queries, 17,900,000 pairs (counted on a set with a tenth of both)."""
    people = np.repeat(np.arange(200), 5)[:1000]
    people = np.concatenate([people, np.arange(95)])
    pairs = verification.against_targets(people, *sagan.verification_pairs(people, seed=1))
    assert pairs.same.sum() == 895 and len(pairs.same) == 179_000 and pairs.alone == 0


def test_pairs_of_one_kind_only_are_refused():
    with pytest.raises(DataError, match="0 genuine and 2 impostor pairs"):
        verification.against_targets(np.array([0, 1, 2]), np.array([0]), np.array([1, 2]))


def test_cosines_are_the_dot_products_of_the_right_rows():
    vectors = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = verification.against_targets(np.array([0, 0, 1, 1, 1]), np.array([0, 2]), np.array([1, 3, 4]))
    expected = [float(vectors[q] @ vectors[t]) for q in (1, 3, 4) for t in (0, 2)]
    assert pairs.cosines(vectors) == pytest.approx(expected, abs=1e-6)


def test_folds_keep_lfws_pairs_and_their_order():
    folds = (np.array([[0, 1, 1], [0, 3, 0]]), np.array([[2, 3, 1], [1, 2, 0]]))
    pairs = verification.in_folds(np.array([5, 5, 6, 6]), folds)
    assert list(pairs.same) == [True, False, True, False] and list(pairs.fold) == [0, 0, 1, 1]
    assert list(pairs.a) == [5, 5, 6, 5] and list(pairs.b) == [5, 6, 6, 6]


def test_lfw_as_it_is_at_hand(real_faces):
    lfw, folds = load_lfw(real_faces / "lfw", 32)
    pairs = verification.in_folds(lfw.identities, folds)
    assert len(pairs.same) == 600 * len(folds) and pairs.same.sum() == 300 * len(folds)
    assert (pairs.same == (pairs.a == pairs.b)).all()


def test_lfw_needs_real_faces(faces):
    assert verification.lfw_of("", faces) is None
    with pytest.raises(DataError, match="have never seen a photograph. Give real faces"):
        verification.lfw_of("lfw", faces)


# ------------------------------------------------------------------------------------------------ figures of merit


def test_measures_of_scores_counted_by_hand():
    same = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    score = np.array([0.9, 0.8, 0.7, 0.3, 0.75, 0.2, 0.1, 0.0])
    found = verification.measures(score, same)
    above = sum(g > i for g in score[same] for i in score[~same])
    assert found["auc"] == pytest.approx(above / 16)  # 14 of 16
    assert found["eer"] == pytest.approx(0.25)  # at 0.7 one of four impostors is in and one of four genuine pairs is out
    assert np.isnan(found["tpr_at_fpr_1e-2"]) and np.isnan(found["tpr_at_fpr_1e-3"])  # four impostors cannot show 1 %


def test_the_rate_is_taken_where_no_more_impostors_are_accepted():
    rng = np.random.default_rng(0)
    impostor, genuine = np.sort(rng.normal(size=2000)), rng.normal(2, 1, 300)
    score, same = np.concatenate([genuine, impostor]), np.arange(2300) < 300
    found = verification.measures(score, same)
    for name, at in verification.RATES.items():
        threshold = impostor[-int(2000 * at) - 1]  # exactly that many impostors lie above it
        assert found[name] == pytest.approx(float((genuine > threshold).mean()))
    assert 0 < found["tpr_at_fpr_1e-3"] < found["tpr_at_fpr_1e-2"] < 1


def test_perfect_and_useless_scores_are_told_apart():
    same = np.arange(4000) % 4 == 0
    assert verification.measures(same.astype(float), same) == {"auc": 1.0, "eer": 0.0, "tpr_at_fpr_1e-2": 1.0, "tpr_at_fpr_1e-3": 1.0}
    useless = verification.measures(np.random.default_rng(1).normal(size=4000), same)
    assert abs(useless["auc"] - 0.5) < 0.03 and abs(useless["eer"] - 0.5) < 0.03 and useless["tpr_at_fpr_1e-2"] < 0.05


def people_with_images(n: int, images: int, spread: float, seed: int):
    """Unit vectors of n people: a centre each, and images around it."""
    rng = np.random.default_rng(seed)
    vectors = np.repeat(rng.normal(size=(n, 16)), images, 0) + spread * rng.normal(size=(n * images, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), np.repeat(np.arange(n), images)


def test_intervals_hold_the_value_and_shrink_with_the_number_of_people(monkeypatch):
    widths = []
    for n in (15, 150):
        vectors, who = people_with_images(n, 3, 1.0, seed=2)
        pairs = verification.against_targets(who, *sagan.verification_pairs(who, 0))
        score = pairs.cosines(vectors)
        draws = verification.resampled([score, score], pairs)
        assert (np.nan_to_num(draws["auc"][:, 0]) == np.nan_to_num(draws["auc"][:, 1])).all()  # the same people in every column
        low, high = np.nanquantile(draws["auc"][:, 0], [0.025, 0.975])
        assert low < verification.measures(score, pairs.same)["auc"] < high
        widths.append(high - low)
    assert widths[1] < 0.6 * widths[0]


def test_a_resample_of_everybody_once_gives_the_value_itself(monkeypatch):
    vectors, who = people_with_images(12, 3, 1.5, seed=3)
    pairs = verification.against_targets(who, *sagan.verification_pairs(who, 0))
    score = pairs.cosines(vectors)

    class Everybody:
        integers = staticmethod(lambda n, size: np.arange(size))
        permutation = staticmethod(lambda a: a)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Everybody)
    draws, value = verification.resampled([score], pairs), verification.measures(score, pairs.same)
    assert draws["auc"][0, 0] == pytest.approx(value["auc"], abs=1e-12) and draws["eer"][0, 0] == pytest.approx(value["eer"], abs=1e-12)
    assert np.isnan(value["tpr_at_fpr_1e-3"]) == (264 * 1e-3 < 1) and draws["tpr_at_fpr_1e-2"][0, 0] == pytest.approx(value["tpr_at_fpr_1e-2"])


def test_gains_are_means_over_seeds_against_the_plain_arm_and_decide_the_claims():
    good, who = people_with_images(40, 4, 0.6, seed=4)
    poor, _ = people_with_images(40, 4, 1.6, seed=4)
    pairs = verification.against_targets(who, *sagan.verification_pairs(who, 0))
    scores = {verification.PLAIN: [pairs.cosines(poor)] * 2, **{a: [pairs.cosines(good), pairs.cosines(poor)] for a in sagan.ATTRIBUTES}}
    out = pd.DataFrame(verification.rows(Result(pairs, scores), "Fig. 10", "CelebA", "toy"))
    have = claims.measures(out)
    one, two = verification.measures(pairs.cosines(good), pairs.same), verification.measures(pairs.cosines(poor), pairs.same)
    for m in verification.MEASURES:
        row = have[f"{m} | CelebA | Smiling"]
        assert row["value"] == pytest.approx((one[m] + two[m]) / 2) and "mean of 2 seeds" in row["protocol"] and row["n"] == 120
        gain = have.get(f"{m} gain | CelebA | Smiling")
        assert gain is None if m == "eer" else gain["value"] == pytest.approx((one[m] - two[m]) / 2)  # a gain is better when it is larger
    assert have["auc gain | CelebA | Smiling"]["ci_low"] > 0 and f"auc gain | CelebA | {verification.PLAIN}" not in have
    decided = claims.verdicts(sagan.CLAIMS, out).set_index("id")
    assert decided.loc["H9", "verdict"] == "reproduced" and decided.loc["H10", "verdict"] == "not tested"


def test_too_few_impostors_for_a_rate_say_so_in_its_row():
    vectors, who = people_with_images(6, 3, 0.5, seed=5)
    pairs = verification.against_targets(who, *sagan.verification_pairs(who, 0))  # 12 queries, 60 impostor pairs
    out = pd.DataFrame(verification.rows(Result(pairs, {verification.PLAIN: [pairs.cosines(vectors)]}), "Fig. 10", "CelebA", "toy"))
    (row,) = out[out["metric"] == "tpr_at_fpr_1e-2"].to_dict("records")
    assert row["value"] is None or np.isnan(row["value"])
    assert row["protocol"] == "unavailable: 60 impostor pairs are too few for this rate"


def test_folds_take_their_threshold_from_the_other_folds():
    """Fold 1 scores everything .5 higher: the threshold of the other fold must fail on it, one of its own would not."""
    same = np.tile([True, False], 20)
    fold = np.repeat([0, 1], 20)
    score = np.where(same, 0.4, 0.1) + 0.5 * fold
    pairs = Comparisons(np.zeros(40, int), np.zeros(40, int), same, np.where(same, 0, 1), np.zeros(40, int), fold)
    found = verification.fold_measures(score, pairs)
    assert list(found["accuracy"]) == [0.5, 0.5] and list(found["auc"]) == [1.0, 1.0]
    out = claims.measures(pd.DataFrame(verification.rows(Result(pairs, {verification.PLAIN: [score]}), "Fig. 11", "LFW", "toy")))
    assert out[f"fold_auc | LFW | {verification.PLAIN}"]["value"] == 1.0 and out[f"fold_auc_std | LFW | {verification.PLAIN}"]["value"] == 0.0
    assert out[f"auc | LFW | {verification.PLAIN}"]["value"] == pytest.approx(0.75)  # over both folds at once 300 of 400 comparisons hold


# ------------------------------------------------------------------------------------------------ arms


def test_every_arm_sees_its_own_mixture(faces, split):
    index, (plain, copies, own, glasses) = split.train[:40], verification.arms(("Eyeglasses",), own_label=("Eyeglasses",))
    assert [a.name for a in (plain, copies, own, glasses)] == [verification.PLAIN, verification.COPIES, "own label only: Eyeglasses", "Eyeglasses"]
    label = faces.column("Eyeglasses")[index]
    for arm, targets in ((plain, [-1]), (copies, [-1, -1, -1]), (own, [-1, label, label]), (glasses, [-1, 0, 1])):
        pool = verification.examples(arm, faces, index)
        assert (pool.index == np.tile(index, len(targets))).all() and pool.labels.dtype == np.float32
        assert (pool.labels[:, 0] == np.concatenate([np.broadcast_to(t, 40) for t in targets])).all()
    pools = [verification.examples(arm, faces, index) for arm in (copies, own, glasses)]
    drawn = [[Batches(faces, p, faces.attribute_names[:1], 8, 0)(step).index.tolist() for step in range(15)] for p in pools]
    assert drawn[0] == drawn[1] == drawn[2]  # paired: the same people in the same order
    assert sorted(sum(drawn[0], [])) == sorted(index.tolist() * 3)  # 15 steps of 8 are one pass over 120


def test_training_edits_exactly_the_examples_that_ask_for_it(faces, split, monkeypatch):
    seen = []

    class Watch(torch.nn.Module):
        features = 4

        def __init__(self, width, size):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4))

        def forward(self, x):
            seen.append(x.detach().clone())
            return x.mean((1, 2, 3))[:, None] * self.weight

    monkeypatch.setattr(verification, "ResNet18", Watch)
    arm = Arm("Smiling", ("image", "without", "with"), "Smiling")
    budget = {"width": 4, "steps": 3, "batch": 16, "seed": 0}
    index = np.sort(split.train[:16])
    small = type(split)(**vars(split) | {"train": index})
    verification.recogniser(arm, faces, small, paint, "paint", **budget)
    x = torch.cat(seen)
    flat = (x == x[:, :1, :1, :1]).flatten(1).all(1)
    assert len(x) == 48 and flat.sum() == 32 and sorted(set(x[flat][:, 0, 0, 0].tolist())) == pytest.approx([0.1, 1.1])
    assert (x[flat][:, 0, 0, 0] > 1).sum() == 16
    whole = {tuple(v) for v in judges.as_images(faces, index).flatten(1)[:, :9].tolist()}
    assert {tuple(v) for v in x[~flat].flatten(1)[:, :9].tolist()} == whole


def test_networks_learn_people_and_are_stored_by_what_made_them(faces, split, tmp_path, monkeypatch):
    test = split.test
    pairs = verification.against_targets(faces.identities[test], *sagan.verification_pairs(faces.identities[test], 0))
    budget = {"width": 4, "batch": 32, "seed": 0, "cache": tmp_path}
    plain = verification.arms(())[0]
    trained = verification.recogniser(plain, faces, split, keep, "", steps=60, **budget)
    fresh = verification.recogniser(plain, faces, split, keep, "", steps=1, **budget)
    result = verification.compare({"trained": [trained], "fresh": [fresh]}, faces, test, pairs)
    auc = {arm: verification.measures(s[0], pairs.same)["auc"] for arm, s in result.scores.items()}
    assert auc["trained"] > max(0.65, auc["fresh"])
    monkeypatch.setattr(verification, "_train", None)  # would fail if it trained again
    again = verification.recogniser(plain, faces, split, keep, "another editor, unused", steps=60, **budget)
    assert (again.embed(judges.as_images(faces, test[:4])) == trained.embed(judges.as_images(faces, test[:4]))).all()
    with pytest.raises(TypeError):  # an arm with edits belongs to its editor
        verification.recogniser(verification.arms(("Smiling",))[-1], faces, split, keep, "a", steps=60, **budget)


# ------------------------------------------------------------------------------------------------ LFW's edits, pictures


class Eye:
    """A judge that sees the first attribute in bright faces and the second in dark ones."""

    id, names = "eye", ("Eyeglasses", "Smiling")

    def probabilities(self, x):
        bright = (x.mean((1, 2, 3)) > 0.05).float().numpy()
        return np.stack([bright, 1 - bright], 1)


def test_faces_are_edited_towards_what_the_judge_does_not_see(faces):
    index = np.arange(60)
    samples = verification.edit_both_ways({"paint": paint, "keep": keep}, faces, index, Eye(), ("Eyeglasses",), 10)
    bright = Eye().probabilities(judges.as_images(faces, index))[:, 0].astype(bool)
    assert 0 < bright.sum() < 60
    up, down = samples
    assert (up.target, down.target) == (1, 0) and len(up.x) == min(10, (~bright).sum()) and len(down.x) == min(10, bright.sum())
    assert not Eye().probabilities(up.x)[:, 0].any() and Eye().probabilities(down.x)[:, 0].all()
    assert (up.edited["paint"] == 1).all() and (down.edited["paint"] == 0).all() and torch.equal(up.edited["keep"], up.x)


def constant(value, n=10):
    return torch.full((n, 3, 8, 8), value)


def test_the_drop_from_one_set_to_the_other_and_its_rank():
    """At home both succeed always; away `good` succeeds in 9 of 10, `bad` in 2 of 10, in both directions."""
    home = [Sample("Eyeglasses", t, constant(float(1 - t)), {"good": constant(float(t)), "bad": constant(float(t))}) for t in (1, 0)]

    def mostly(t, hits):
        return torch.cat([constant(float(t), hits), constant(float(1 - t), 10 - hits)])

    away = [Sample("Eyeglasses", t, constant(float(1 - t)), {"good": mostly(t, 9), "bad": mostly(t, 2)}) for t in (1, 0)]
    out = claims.measures(pd.DataFrame(verification.drop_rows(home, away, Eye())))
    good, bad = out["edit_success drop | LFW | good"], out["edit_success drop | LFW | bad"]
    assert good["value"] == pytest.approx(0.1) and bad["value"] == pytest.approx(0.8)
    assert out["edit_success drop rank | LFW | good"]["value"] == 1 and out["edit_success drop rank | LFW | bad"]["value"] == 2
    assert bad["ci_low"] < 0.8 < bad["ci_high"] and bad["n"] == 20
    assert out["edit_success | Eyeglasses + on LFW | good"]["value"] == pytest.approx(0.9)
    alone = [Sample(s.attribute, s.target, s.x, {"good": s.edited["good"]}) for s in home]
    rows = verification.drop_rows(alone, [Sample(s.attribute, s.target, s.x, {"good": s.edited["good"]}) for s in away], Eye())
    assert not any(r["metric"] == "edit_success drop rank" for r in rows)  # one method has no rank


def test_a_direction_without_faces_is_left_out_of_the_drop():
    nothing = torch.empty(0, 3, 8, 8)
    home = [Sample("Eyeglasses", 1, constant(0.0), {"m": constant(1.0)}), Sample("Eyeglasses", 0, constant(1.0), {"m": constant(0.0)})]
    away = [Sample("Eyeglasses", 1, nothing, {"m": nothing}), Sample("Eyeglasses", 0, constant(1.0), {"m": constant(1.0)})]
    out = claims.measures(pd.DataFrame(verification.drop_rows(home, away, Eye())))
    assert out["edit_success drop | LFW | m"]["value"] == 1.0 and out["edit_success drop | LFW | m"]["protocol"].startswith("mean over 1 ")


def test_shares_of_smiles_and_their_difference(faces):
    light = np.flatnonzero(Eye().probabilities(judges.as_images(faces, np.arange(200)))[:, 0])
    out = claims.measures(pd.DataFrame(verification.share_rows(Eye(), faces, light, faces)))
    everybody = 1 - Eye().probabilities(judges.as_images(faces, np.arange(len(faces))))[:, 0].mean()
    difference = out["smiling share difference | LFW - CelebA | judge"]
    assert out["smiling share | CelebA | judge"]["value"] == 0 and out["smiling share | LFW | judge"]["value"] == pytest.approx(everybody)
    assert difference["value"] == pytest.approx(everybody) and 0 < difference["ci_low"] < everybody < difference["ci_high"]


def test_the_names_of_the_rows_are_those_that_the_claims_ask_for():
    wanted = {t.measure for c in sagan.CLAIMS if c.id in ("H7", "H9", "H10", "H11") for t in c.tests}
    vectors, who = people_with_images(60, 5, 1.0, seed=6)
    pairs = verification.against_targets(who, *sagan.verification_pairs(who, 0))
    scores = {a.name: [pairs.cosines(vectors)] for a in verification.arms(sagan.ATTRIBUTES)}
    rows = verification.rows(Result(pairs, scores), "Fig. 10", "CelebA", "toy") + verification.rows(Result(pairs, scores), "Fig. 11", "LFW", "toy")
    sample = [Sample("Eyeglasses", 1, constant(0.0), {"SaGAN": constant(1.0), "StarGAN": constant(0.0)})]
    rows += verification.drop_rows(sample, sample, Eye())
    rows += [{"metric": "smiling share difference", "row": "LFW - CelebA", "column": "judge", "value": 0}]  # as in the test above
    assert wanted <= {f"{r['metric']} | {r['row']} | {r['column']}" for r in rows}


def test_triples_show_the_image_and_both_edits(faces, split):
    figure, rows = verification.triples(paint, faces, split.train, ("Eyeglasses", "Smiling"), "SaGAN", k=3, n=50)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["image", "Eyeglasses\nremoved", "Eyeglasses\nadded", "Smiling\nremoved", "Smiling\nadded"]
    pictures = np.array(figures.pictures_of(figure))
    assert pictures.shape == (5, 3, 96, 96, 3) and (pictures[1] == 128).all() and (pictures[2] == 255).all() and pictures[0].std() > 10
    assert [r["row"] for r in rows] == ["Eyeglasses", "Smiling"] and all(r["metric"] == "own_label_l1" and 0 < r["value"] < 1 for r in rows)
    assert all(r["value"] == 0 for r in verification.triples(keep, faces, split.train, ("Smiling",), "SaGAN", k=2, n=20)[1])


def test_curves_rise_on_a_logarithmic_grid_and_controls_are_dashed():
    vectors, who = people_with_images(40, 4, 0.8, seed=7)
    pairs = verification.against_targets(who, *sagan.verification_pairs(who, 0))
    drawn = verification.curves(Result(pairs, {verification.PLAIN: [pairs.cosines(vectors)], verification.COPIES: [pairs.cosines(vectors)]}))
    assert set(drawn["arm"]) == {verification.PLAIN, verification.COPIES}
    part = drawn[drawn["arm"] == verification.PLAIN]
    assert part["tpr"].is_monotonic_increasing and part["tpr"].iloc[-1] == 1 and part["fpr"].iloc[0] == pytest.approx(1e-4)
    at = part.iloc[(part["fpr"] - 1e-2).abs().argmin()]
    assert at["tpr"] == pytest.approx(verification.measures(pairs.cosines(vectors), pairs.same)["tpr_at_fpr_1e-2"])
    (axis,) = verification.roc_figure(drawn, "toy").axes
    assert [line.get_linestyle() for line in axis.lines] == ["-", "--"] and axis.get_xscale() == "log"


def tiny_lfw(faces):
    """Synthetic faces in the place of LFW: two folds of four pairs among those who have two images."""
    ids, first, counts = np.unique(faces.identities, return_index=True, return_counts=True)
    a, b = ids[counts >= 2][:4], []
    rows = [np.flatnonzero(faces.identities == who)[:2] for who in a]
    for k in (0, 1):
        same = [[*rows[2 * k + j], 1] for j in (0, 1)]
        b.append(np.array([*same, [rows[0][k], rows[1][k], 0], [rows[2][k], rows[3][k], 0]]))
    return faces, tuple(b)


def test_lfw_gives_figures_9_and_11_or_a_row_that_says_it_is_missing(faces, split, tmp_path):
    networks = verification.train(verification.arms(("Smiling",)), faces, split, paint, "paint", width=2, steps=2, seeds=2, batch=8, cache=tmp_path)
    assert [len(nets) for nets in networks.values()] == [2, 2, 2]
    assert not torch.equal(*(net.body.state_dict()["body.0.weight"] for net in networks[verification.PLAIN]))
    lfw, judge = tiny_lfw(faces), Eye()
    rows, drawn = verification.lfw_pairs(networks, lfw, faces, split.test, judge)
    have = claims.measures(pd.DataFrame(rows))
    assert have["auc | LFW | Smiling"]["n"] == 4 and "LFW View 2, 2 of 10 folds: 4 genuine and 4 impostor" in have["auc | LFW | Smiling"]["protocol"]
    assert "auc gain | LFW | Smiling" in have and "smiling share difference | LFW - CelebA | judge" in have and set(drawn["arm"]) == set(networks)
    assert verification.about(lfw) == f"LFW: 600 images of {len(np.unique(faces.identities))} people; 8 pairs in 2 of View 2's 10 folds"
    assert verification.about(None) == "not run: no LFW folder given"
    rows, samples = verification.lfw_edits({"SaGAN": paint, "StarGAN": keep}, lfw, faces, split.test, judge, ("Eyeglasses",), 6)
    have = claims.measures(pd.DataFrame(rows))
    assert len(samples) == 2 and have["edit_success drop | LFW | SaGAN"]["value"] == 0
    assert all(have[f"edit_success | Eyeglasses {sign} on LFW | SaGAN"]["value"] == 1 for sign in "+-")  # what `paint` paints, Eye sees
    assert all(have[f"edit_success | Eyeglasses {sign} on LFW | StarGAN"]["value"] == 0 for sign in "+-")
    for rows, nothing in (
        verification.lfw_pairs(networks, None, faces, split.test, judge),
        verification.lfw_edits({"SaGAN": paint}, None, faces, split.test, judge, ("Eyeglasses",), 6),
    ):
        assert len(rows) == 1 and rows[0]["protocol"].endswith("no LFW folder given") and len(nothing) == 0


def test_an_empty_table_says_why():
    (row,) = verification.not_run("Fig. 11", "LFW", "auc")
    assert row["protocol"] == "unavailable: not run: no LFW folder given" and row["value"] is None
    assert claims.verdicts(sagan.CLAIMS, pd.DataFrame([row])).set_index("id").loc["H10", "verdict"] == "not tested"


def test_lfw_grid_has_a_block_per_attribute_with_every_method(faces):
    samples = verification.edit_both_ways({"SaGAN": paint, "StarGAN": keep}, faces, np.arange(60), Eye(), ("Eyeglasses", "Smiling"), 5)
    figure = verification.lfw_grid(samples, 2)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["Eyeglasses", "SaGAN", "StarGAN", "Smiling", "SaGAN", "StarGAN"]

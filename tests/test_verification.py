"""Face verification: protocols with known pair counts, ROC figures with known answers, networks that see what they should, LFW's folds."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lib import claims
from lib.data import Batches, DataError, load_lfw
from lib.data.faceset import to_uint8
from lib.data.lfw import lfw_beside
from lib.evaluation import judges
from lib.evaluation.judges import Judge
from lib.evaluation.resnet import ResNet18
from lib.papers.sagan import model as sagan
from lib.papers.sagan import verification
from lib.papers.sagan.verification import COPIES, PLAIN, Comparisons, Result
from lib.training import models
from lib.training.models import Job

# ------------------------------------------------------------------------------------------------ protocols


def test_the_recognition_network_is_a_resnet_18():
    for size in (32, 48, 64, 128):
        assert ResNet18(4, size).eval()(torch.zeros(2, 3, size, size)).shape == (2, 32)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in ResNet18(4, 32).modules()) == 17  # and one linear layer: 18


def test_three_people_with_two_three_and_one_image_give_three_queries():
    people = np.array([7, 7, 9, 9, 9, 4])
    pairs = verification.against_targets(people, 0)
    targets, queries = set(pairs.second), set(pairs.first)
    assert sorted(people[list(targets)]) == [4, 7, 9] and len(queries) == 3 and not targets & queries
    assert any(set(verification.against_targets(people, s).second) != targets for s in range(1, 9))
    assert pairs.words == "3 genuine and 6 impostor pairs of 3 people"
    vectors = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    expected = [float(vectors[q] @ vectors[t]) for q, t in zip(pairs.first, pairs.second, strict=True)]
    assert pairs.cosines(vectors) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(DataError, match="0 genuine and 2 impostor pairs"):
        Comparisons(np.zeros(2, int), np.ones(2, int), np.zeros(2, int), np.ones(2, int))


def test_lfws_pairs_keep_their_order():
    folds = (np.array([[0, 1, 1], [0, 3, 0]]), np.array([[2, 3, 1], [1, 2, 0]]))
    pairs = verification.of_pairs(np.array([5, 5, 6, 6]), folds)
    assert list(pairs.same) == [True, False, True, False]
    assert list(pairs.a) == [5, 5, 6, 5] and list(pairs.b) == [5, 6, 6, 6]


def test_lfw_as_it_is_at_hand(real_faces):
    lfw, folds = load_lfw(real_faces / "lfw", 32)
    pairs = verification.of_pairs(lfw.identities, folds)
    assert len(pairs.same) == 600 * len(folds) and pairs.same.sum() == 300 * len(folds)
    assert (pairs.same == (np.concatenate(folds)[:, 2] == 1)).all()


def test_lfw_needs_real_faces(faces):
    assert lfw_beside(faces, "") is None and verification.on_lfw({}, None) is None
    with pytest.raises(DataError, match="have never seen a photograph. Give real faces"):
        lfw_beside(faces, "lfw")
    with pytest.raises(DataError, match="lfw = 3: it must be the path of a folder"):
        lfw_beside(faces, 3)


# ------------------------------------------------------------------------------------------------ numbers


def test_measures_of_scores_counted_by_hand():
    same = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    score = np.array([0.9, 0.8, 0.7, 0.3, 0.75, 0.2, 0.1, 0.0])
    found = verification.measures(score, same)
    assert found["auc"] == pytest.approx(sum(g > i for g in score[same] for i in score[~same]) / 16)
    assert found["eer"] == pytest.approx(0.25)  # at 0.7 one of four impostors is in and one of four genuine pairs is out
    assert np.isnan(found["tpr_at_fpr_1e-2"]) and np.isnan(found["tpr_at_fpr_1e-3"])  # four impostors cannot show 1 %
    same = np.arange(4000) % 4 == 0
    assert verification.measures(same.astype(float), same) == {"auc": 1.0, "eer": 0.0, "tpr_at_fpr_1e-2": 1.0, "tpr_at_fpr_1e-3": 1.0}
    constant = verification.measures(np.zeros(4000), same)  # equal scores tell nothing, in whatever order
    assert (constant["auc"], constant["eer"], constant["tpr_at_fpr_1e-2"]) == (0.5, 0.5, 0.0)


def test_the_rate_is_taken_where_no_more_impostors_are_accepted():
    rng = np.random.default_rng(0)
    impostor, genuine = np.sort(rng.normal(size=2000)), rng.normal(2, 1, 300)
    found = verification.measures(np.concatenate([genuine, impostor]), np.arange(2300) < 300)
    for name, at in verification.RATES.items():
        threshold = impostor[-int(2000 * at) - 1]  # exactly that many impostors lie above it
        assert found[name] == pytest.approx(float((genuine > threshold).mean()))


def people_with_images(n: int, images: int, spread: float, seed: int):
    """Unit vectors of n people, a centre each and images around it, and every query with every target."""
    rng = np.random.default_rng(seed)
    vectors = np.repeat(rng.normal(size=(n, 16)), images, 0) + spread * rng.normal(size=(n * images, 16))
    who = np.repeat(np.arange(n), images)
    pairs = verification.against_targets(who, 0)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), pairs


def test_intervals_hold_the_value_and_shrink_with_the_number_of_people():
    widths = []
    for n in (15, 150):
        vectors, pairs = people_with_images(n, 3, 1.0, seed=2)
        score = pairs.cosines(vectors)
        draws = verification.resampled([score, score], pairs)
        assert (np.nan_to_num(draws["auc"][:, 0]) == np.nan_to_num(draws["auc"][:, 1])).all()  # the same people in every column
        low, high = np.nanquantile(draws["auc"][:, 0], [0.025, 0.975])
        assert low < verification.measures(score, pairs.same)["auc"] < high
        widths.append(high - low)
    assert widths[1] < 0.6 * widths[0]


def test_a_resample_of_everybody_once_gives_the_value_itself(monkeypatch):
    vectors, pairs = people_with_images(12, 3, 1.5, seed=3)
    score = pairs.cosines(vectors)

    class Everybody:
        integers = staticmethod(lambda n, size: np.arange(size))
        permutation = staticmethod(lambda a: a)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Everybody)
    draws, value = verification.resampled([score], pairs), verification.measures(score, pairs.same)
    assert draws["auc"][0, 0] == pytest.approx(value["auc"], abs=1e-12) and draws["eer"][0, 0] == pytest.approx(value["eer"], abs=1e-12)
    assert draws["tpr_at_fpr_1e-2"][0, 0] == pytest.approx(value["tpr_at_fpr_1e-2"])


def test_gains_are_means_over_seeds_against_three_copies():
    (good, pairs), (poor, _) = people_with_images(40, 4, 0.6, seed=4), people_with_images(40, 4, 1.6, seed=4)
    scores = {arm: [pairs.cosines(poor)] * 2 for arm in (PLAIN, COPIES)} | {"Smiling": [pairs.cosines(good), pairs.cosines(poor)]}
    known = claims.measures(pd.DataFrame(verification.rows(Result(pairs, scores, "CelebA", "toy"), "Fig. 10")))
    one, two = verification.measures(pairs.cosines(good), pairs.same), verification.measures(pairs.cosines(poor), pairs.same)
    for m in verification.MEASURES:
        row, gain = known["Fig. 10", f"{m} | CelebA | Smiling"], known.get(("Fig. 10", f"{m} gain | CelebA | Smiling"))
        assert row["value"] == pytest.approx((one[m] + two[m]) / 2) and row["n"] == 120
        assert gain is None if m == "eer" else gain["value"] == pytest.approx((one[m] - two[m]) / 2)  # a gain is better when it is larger
    assert known["Fig. 10", "auc gain | CelebA | Smiling"]["ci_low"] > 0 == known["Fig. 10", f"auc gain | CelebA | {PLAIN}"]["value"]
    assert known["Fig. 10", "seeds | CelebA | Smiling"]["value"] == 2 and ("Fig. 10", f"auc gain | CelebA | {COPIES}") not in known


def test_too_few_impostors_for_a_rate_say_so_in_its_row():
    vectors, pairs = people_with_images(6, 3, 0.5, seed=5)  # 12 queries, 60 impostor pairs
    out = pd.DataFrame(verification.rows(Result(pairs, {PLAIN: [pairs.cosines(vectors)]}, "CelebA", "toy"), "Fig. 10"))
    (row,) = out[out["metric"] == "tpr_at_fpr_1e-2"].to_dict("records")
    assert pd.isna(row["value"]) and row["protocol"] == "unavailable: 60 impostor pairs are too few for this rate"


# ------------------------------------------------------------------------------------------------ the networks


@pytest.fixture
def glasses(faces, split, tmp_path):
    """A SaGAN job of Eyeglasses, trained for three cycles."""
    job = Job(sagan, sagan.Config(**vars(sagan.PROFILES["smoke"]()) | {"attribute": "Eyeglasses"}), faces, split, results=tmp_path)
    models.train(job)
    return job


def test_edited_versions_stand_behind_the_faces_and_are_made_when_asked_for(faces, split, glasses):
    both, wide = verification.with_edits(faces, split, glasses)
    n, m = len(faces), len(split.train)
    assert len(both) == n + 2 * m and len(wide.train) == 3 * m and (wide.test == split.test).all() and both.faces is None
    assert (both.identities[wide.train] == np.tile(faces.identities[split.train], 3)).all()
    assert "edited" not in vars(both.images) and (both.images[[3, 5]] == faces.images[[3, 5]]).all() and "edited" not in vars(both.images)
    edit, x = sagan.editor(models.load(glasses)), judges.as_images(faces, split.train[[4, 7]])
    for target in (0, 1):
        picked = both.images[np.array([n + target * m + 4, n + target * m + 7])]
        assert np.abs(picked.astype(int) - to_uint8(edit("Eyeglasses", x, target).image)).max() <= 1
    again, _ = verification.with_edits(faces, split, glasses)
    assert again.fingerprint == both.fingerprint != faces.fingerprint
    pool = verification.stages(verification.Config(people=9, size=32))[0].examples(both, wide, 0)
    batch = Batches(both, pool, ("Male",), 16, 0)(0)
    assert batch.x.shape == (16, 3, 32, 32) and (np.unique(faces.identities[split.train])[batch.y[:, 0].long()] == both.identities[batch.index]).all()


def test_all_arms_take_the_same_number_of_updates_and_wait_for_their_editor(faces, split, glasses, tmp_path):
    settings = SimpleNamespace(recogniser_width=2, recogniser_batch=32, recogniser_epochs=10.0, recogniser_seeds=2, verification_people=40)

    def job(method, cfg, **fields):
        return Job(method, cfg, **fields, results=tmp_path)

    found = verification.jobs(SimpleNamespace(settings=settings, faces=faces, split=split, seed=0, job=job), {"SaGAN Eyeglasses": glasses})
    assert list(found) == [f"recogniser, {arm}, seed {seed}" for arm in (PLAIN, COPIES, "Eyeglasses") for seed in (0, 1)]
    assert len({j.id for j in found.values()}) == 6
    assert {j.cfg.steps for j in found.values()} == {-(-10 * len(split.train) // 32)}
    assert [j.after for j in found.values()] == [()] * 4 + [("SaGAN Eyeglasses",)] * 2


def test_networks_learn_people(faces, split, tmp_path):
    pairs = verification.against_targets(faces.identities[split.test], 0)
    cfg = verification.Config(people=len(np.unique(faces.identities[split.train])), size=32, width=4, batch=32, steps=60)
    auc = []
    for steps in (60, 1):
        job = Job(verification, verification.Config(**vars(cfg) | {"steps": steps}), faces, split, results=tmp_path)
        models.train(job, precision="float32")
        (nets,) = models.load(job).values()
        result = verification.compare({PLAIN: [Judge(nets, (), job.id)]}, faces, split.test, pairs, "CelebA", "toy")
        auc.append(verification.measures(result.scores[PLAIN][0], pairs.same)["auc"])
    assert auc[0] > max(0.65, auc[1])


def test_curves_are_means_over_seeds_and_the_control_is_dashed():
    vectors, pairs = people_with_images(40, 4, 0.8, seed=7)
    result = Result(pairs, {arm: [pairs.cosines(vectors)] for arm in (PLAIN, COPIES)}, "CelebA", "toy")
    part = verification.curves(result).query("arm == @PLAIN")
    at = part.iloc[(part["fpr"] - 1e-2).abs().argmin()]
    expected = verification.measures(pairs.cosines(vectors), pairs.same)["tpr_at_fpr_1e-2"]
    assert part["tpr"].is_monotonic_increasing and at["tpr"] == pytest.approx(expected)
    (axis,) = verification.roc(result).axes
    assert [line.get_linestyle() for line in axis.lines] == ["-", "--"] and axis.get_xscale() == "log"

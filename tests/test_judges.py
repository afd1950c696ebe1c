"""Judges: shapes, learning, caching by what made them, and their refusal when too weak."""

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch

from lib.evaluation import judges
from lib.data import Crop, load, make_split


def test_the_networks_take_every_size():
    for size in (32, 48, 64, 128):
        body = judges.FaceNet(4, size).eval()
        assert body(torch.zeros(2, 3, size, size)).shape == (2, 128) == (2, body.features)
        body = judges.PlaceNet(4, size).eval()
        h = body(torch.zeros(2, 3, size, size))
        assert h.shape == (2, 16 * 32) == (2, body.features) and body.pooled(h).shape == (2, 32)


def test_the_attribute_network_knows_where_things_are():
    torch.manual_seed(0)
    x = torch.full((1, 3, 32, 32), -1.0)
    x[..., 4:10, 4:10] = 1
    net = judges.PlaceNet(4, 32).eval()
    with torch.no_grad():
        here, there = net(x), net(x.roll(16, -1))  # two cells of the grid to the right
        assert torch.allclose(net.pooled(here), net.body[:-2](x).mean((2, 3)), atol=1e-6)
        moved, kept = (here - there).abs().max() / here.abs().max(), (net.pooled(here) - net.pooled(there)).abs().max() / net.pooled(here).abs().max()
        assert moved > 4 * kept  # the mean hardly changes, but for the borders


def test_the_judge_of_natural_synthetic_faces_learns_from_their_twins(monkeypatch, tmp_path):
    """The same people in the same pictures, attributes drawn independently, training side only; other sets have no twins."""
    natural = load("synthetic", 32, n=300)
    split, seen = make_split(natural, "random"), []
    monkeypatch.setattr(judges, "_train", lambda body, head, loss, batches, *rest: seen.append(batches(0)))
    judges.attribute_judge(natural, split, 2, 1, cache=tmp_path)
    twins = load("synthetic-balanced", 32, n=300)
    assert (twins.identities == natural.identities).all()
    x, rows = seen[0].x, torch.from_numpy(split.train)

    def found(pool):  # per image of the batch: is it one of the training rows of the pool, as it is or mirrored?
        known = {tuple(v) for v in judges.as_images(pool, rows).flatten(1)[:, :300].tolist()}
        as_is, mirrored = ([tuple(v) for v in images.flatten(1)[:, :300].tolist()] for images in (x, x.flip(3)))
        return [v in known or w in known for v, w in zip(as_is, mirrored, strict=True)]

    assert len(x) == 64 and all(found(twins)) and sum(found(natural)) < 16
    folder = type(natural)(**vars(natural) | {"faces": None, "name": "folder"})
    judges.attribute_judge(folder, split, 2, 1, seed=1, cache=tmp_path)
    x = seen[1].x
    assert all(found(natural))


def test_a_judge_learns_is_scored_on_the_test_split_and_cached(faces, split, tmp_path, monkeypatch):
    judge = judges.attribute_judge(faces, split, 4, 60, cache=tmp_path)
    scores = judge.scores.set_index("attribute")
    assert list(scores.index) == list(judge.names) and (scores["n"] == len(split.test)).all()
    assert scores.loc["Wearing_Hat", "balanced_accuracy"] > 0.7  # easy to see; a coin has 0.5
    x = judges.as_images(faces, split.test[:8])
    assert judge.probabilities(x).shape == (8, len(judge.names)) and judge.features(x).shape == (8, 32)
    monkeypatch.setattr(judges, "_train", None)  # would fail if it trained again
    again = judges.attribute_judge(faces, split, 4, 60, cache=tmp_path)
    assert again.id == judge.id and (again.probabilities(x) == judge.probabilities(x)).all()
    pd.testing.assert_frame_equal(again.scores, judge.scores, check_exact=False)
    with pytest.raises(TypeError):
        judges.attribute_judge(faces, split, 4, 61, cache=tmp_path)  # another budget is another judge


def test_the_identity_judge_is_scored_on_people_it_never_saw(faces, split, tmp_path):
    judge = judges.identity_judge(faces, split, 4, 60, cache=tmp_path)
    row = judge.scores.iloc[0]
    assert row["auc"] > 0.6 and row["genuine"] + row["impostor"] == len(split.test) * (len(split.test) - 1) // 2
    vectors = judge.embed(judges.as_images(faces, split.test[:4]))
    assert (abs((vectors**2).sum(1) - 1) < 1e-5).all()


def test_a_second_process_waits_for_the_judge_that_the_first_trains(faces, split, tmp_path, monkeypatch):
    """Two at once: one training, and both have the same judge."""
    trained, train = [], judges._train
    monkeypatch.setattr(judges, "_train", lambda *args: (trained.append(1), train(*args)))
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: judges.identity_judge(faces, split, 2, 3, cache=tmp_path), range(2)))
    assert len(trained) == 1 and both[0].id == both[1].id
    assert not list(tmp_path.glob(".*"))  # no half-written file


def test_a_weak_judge_is_refused(faces):
    def judge(accuracy, balanced, n=1000):
        names = ("Eyeglasses", "Smiling")
        scores = pd.DataFrame({"attribute": names, "accuracy": accuracy, "balanced_accuracy": balanced, "majority_rate": 0.9, "n": n})
        return judges.Judge("attribute", None, None, names, scores, "x", torch.device("cpu"))

    good = judge((0.97, 0.90), (0.9, 0.9))
    judges.require_strength(good, faces, ("Eyeglasses",))
    assert good.trusted() == ("Eyeglasses", "Smiling")
    with pytest.raises(judges.JudgeTooWeak, match="balanced accuracy 0.600 on Eyeglasses is below 0.75.*Raise judge_steps"):
        judges.require_strength(judge((0.97, 0.9), (0.6, 0.9)), faces, ("Eyeglasses",))
    real = type(faces)(**vars(faces) | {"faces": None, "name": "folder"})
    judges.require_strength(good, real, ("Eyeglasses",))
    with pytest.raises(judges.JudgeTooWeak, match=r"accuracy 0.800 \(n = 1000\) on Smiling is below the reference 0.856"):
        judges.require_strength(judge((0.97, 0.80), (0.9, 0.9)), real, ("Eyeglasses",))
    nearly = judge((0.97, 0.843), (0.9, 0.9))  # enough for small faces, not for the size of the reference
    judges.require_strength(nearly, real, ("Eyeglasses",))
    with pytest.raises(judges.JudgeTooWeak, match="below the reference 0.876"):
        judges.require_strength(nearly, type(real)(**vars(real) | {"crop": Crop(64)}), ("Eyeglasses",))
    judges.require_strength(judge((0.97, 0.80), (0.9, 0.9), n=10), real, ("Eyeglasses",))  # ten faces cannot show it

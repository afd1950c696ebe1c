"""Judges: shapes, learning, caching by what made them, and their refusal when too weak."""

import pandas as pd
import pytest
import torch

from lib import judges
from lib.data import Crop


def test_the_network_takes_every_size_and_has_resnet18s_depth():
    for size in (32, 48, 64, 128):
        body = judges.ResNet18(4, size).eval()
        assert body(torch.zeros(2, 3, size, size)).shape == (2, 32)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in judges.ResNet18(4, 32).modules()) == 17  # and one linear layer: 18


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

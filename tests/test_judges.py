"""Judges: their networks, what they learn from, how bad pictures are made, and when their verdicts do not count."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lib.data import Crop, load, make_split
from lib.evaluation import judges
from lib.training import models


@pytest.fixture(scope="module")
def trained(faces, split, tmp_path_factory):
    """Small judges of the drawn faces, trained for some seconds."""
    found = judges.jobs(faces, split, "smoke", results=tmp_path_factory.mktemp("results"))
    found = {name: replace(job, cfg=replace(job.cfg, width=4, steps=60, batch=32, lr=0.05)) for name, job in found.items()}
    for job in found.values():
        models.train(job, precision="float32")
    return judges.judges_of(found, faces, split)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_networks_take_every_size(size):
    x = torch.zeros(2, 3, size, size)
    places, people, resnet = judges.PlaceNet(4, size).eval(), judges.FaceNet(4, size).eval(), judges.ResNet18(4, size).eval()
    assert people(x).shape == (2, 128) and resnet(x).shape == (2, 32)
    h = places(x)
    assert h.shape == (2, 16 * 32) == (2, places.features) and places.pooled(h).shape == (2, 32)


def test_the_three_jobs_differ_in_build_and_the_attribute_judges_learn_from_twins(faces, split):
    natural = load("synthetic", 32, n=300)
    found = judges.jobs(natural, make_split(natural), "smoke")
    assert list(found) == list(judges.NAMES) and [job.cfg.kind for job in found.values()] == ["places", "resnet18", "identity"]
    twins = found["judge a"].faces
    assert twins.name == "synthetic-balanced" and (twins.identities == natural.identities).all() and found["identity network"].faces is natural
    assert (found["judge a"].split.train == make_split(natural).train).all()
    assert judges.jobs(faces, split, "smoke")["judge a"].faces is faces  # no twins of other sets
    assert len({job.id for job in found.values()}) == 3 and found["judge a"].key == "judges"


def test_they_learn_and_are_scored_on_the_test_part(trained, faces, split):
    scores = trained.scores.set_index(["judge", "attribute"])
    assert set(scores.index.get_level_values(0)) == {"a", "b"} and (scores["n"] == len(split.test)).all()
    for judge in "ab":
        assert scores.loc[(judge, "Wearing_Hat"), "balanced_accuracy"] > 0.6  # easy to see; a coin has 0.5
    x = judges.as_images(faces, split.test[:8])
    for judge in (trained.a, trained.b):
        assert judge.probabilities(x).shape == (8, len(judge.names)) and judge.features(x).shape == (8, 32 if judge is trained.a else 64)
    assert trained.verification["auc"] > 0.55 and abs(np.linalg.norm(trained.identity.embed(x), axis=1) - 1).max() < 1e-5
    seen = trained.sees(x, "Smiling", 1)
    assert all(v.dtype == bool and v.shape == (8,) for v in seen)
    assert [(a == ~b).all() for a, b in zip(seen, trained.sees(x, "Smiling", 0), strict=True)] == [True, True]


def test_augmented_faces_are_the_same_faces_a_little_worse(faces):
    x = judges.as_images(faces, np.arange(64))
    y = judges.augmented(x, torch.Generator().manual_seed(0))
    assert y.shape == x.shape and y.min() >= -1 and y.max() <= 1
    away = (y - x).abs().mean((1, 2, 3))
    assert 0.02 < away.mean() < 0.3 and (away > 0).all()
    assert torch.equal(y, judges.augmented(x, torch.Generator().manual_seed(0)))
    assert not torch.equal(y, judges.augmented(x, torch.Generator().manual_seed(1)))
    flat = torch.full((1, 3, 32, 32), 0.25)
    assert torch.allclose(judges.blurred(flat, 1.3), flat, atol=1e-6)  # a blur keeps what is even
    dot = torch.zeros(1, 3, 33, 33)
    dot[..., 16, 16] = 1
    soft = judges.blurred(dot, 1.0)
    assert float(soft.sum()) == pytest.approx(3, rel=1e-5) and float(soft[0, 0, 16, 16]) == pytest.approx(1 / (2 * np.pi), rel=0.03)


def test_an_attribute_that_a_judge_does_not_know_is_doubted(faces, split):
    def pair(accuracy, balanced, of=faces):
        table = [("a", "Smiling", 0.95, 0.9, 0.5, 1000), ("b", "Smiling", accuracy, balanced, 0.5, 1000)]
        made = judges.Judges(judges.Judge(None, ("Smiling",), "a"), judges.Judge(None, ("Smiling",), "b"), None, of, split)
        made.__dict__["scores"] = pd.DataFrame(table, columns=["judge", "attribute", "accuracy", "balanced_accuracy", "majority_rate", "n"])
        return made

    assert pair(0.9, 0.9).trusted == ("Smiling",) and pair(0.9, 0.9).doubts("Smiling") == ""
    assert "judge b's balanced accuracy on Smiling is 0.600, below 0.75" in pair(0.9, 0.6).doubts("Smiling")
    assert pair(0.9, float("nan")).trusted == ()
    real = replace(faces, faces=None, name="folder", crop=Crop(64))
    assert "judge b's accuracy on Smiling is 0.300 (n = 1000), below the reference 0.876" in pair(0.3, 0.9, of=real).doubts("Smiling")
    assert pair(0.8, 0.9, of=real).trusted == ("Smiling",)  # so few people cannot show it


def test_a_configuration_is_an_attribute_judge_or_an_identity_network():
    for wrong in ({}, {"attributes": "Smiling", "people": 3}, {"kind": "vgg", "attributes": "Smiling"}):
        with pytest.raises(ValueError):
            judges.Config(**wrong)
    rate = judges.schedule(judges.Config(attributes="Smiling", steps=100))
    assert rate(0) == pytest.approx(0.1) and rate(9) == pytest.approx(1) and rate(99) < 0.01

"""What an evaluation leaves, and the study that a notebook opens."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lib.claims import Claim, Test
from lib.data import DataError
from lib.study import Study, make_plan, open_study
from lib.training import models, runs
from lib.training.config import ParameterError


def plan(tmp_path, **parameters):
    return make_plan("sagan", data="synthetic-balanced", profile="smoke", results=str(tmp_path), **parameters)


@pytest.fixture
def run(tmp_path):
    opened = Study(plan(tmp_path, overrides={"attribute": "Eyeglasses"}))
    yield opened
    models.hold(opened.folder).close()


def test_the_id_follows_configuration_settings_and_seed(tmp_path):
    ids = [runs.run_id(plan(tmp_path, **p)) for p in ({}, {}, {"seed": 1}, {"overrides": {"lr": 1e-3}}, {"overrides": {"test_images": 9}})]
    assert ids[0] == ids[1] and len(set(ids)) == 4 and ids[0].startswith("synthetic-balanced-smoke-s0-")


def test_a_plan_names_every_model_and_checks_everything_first(tmp_path):
    made = plan(tmp_path)
    assert {"judge a", "judge b", "identity network"} < set(made.jobs) and not (tmp_path / "scratch").exists()
    assert made.results == tmp_path / "scratch" and all(job.results == made.results for job in made.jobs.values())
    for parameters, message in (
        ({"device": "gpu"}, "it must be cpu, or cuda"),
        ({"precision": "half"}, "one of auto, float32, bf16"),
        ({"overrides": {"atribute": "Smiling"}}, "Did you mean 'attribute'"),
        ({"overrides": {"attribute": "Glasses"}}, "Eyeglasses, Mouth_Slightly_Open"),
        ({"overrides": {"test_images": 1}}, "test_images = 1: it must be at least 2"),
    ):
        with pytest.raises(ParameterError, match=message):
            plan(tmp_path, **parameters)
    for seed in (2**63, -1):
        with pytest.raises(DataError, match="Give an integer from 0 to 9223372036854775807"):
            plan(tmp_path, seed=seed)
    with pytest.raises(DataError, match="none"):
        make_plan("sagan", data=str(tmp_path / "none"))


@pytest.mark.parametrize(
    "paper, change, problem",
    [
        ("atigan", lambda m: {"landmarks": None}, "no landmarks to cut faces out by"),  # a rival's
        ("bridgegan", lambda m: {"attributes": np.ones_like(m.faces.attributes)}, "0 faces with Mouth_Slightly_Open and Bangs = 0"),  # Fig. 12
        ("sagan", lambda m: {"identities": np.arange(600)}, "0 genuine and .* pairs.* -p recogniser_seeds 0"),  # Fig. 10
        ("diat", lambda m: {"identities": np.arange(600)}, "0 of .* training people have two images or more"),  # a judge's
        ("diat", lambda m: {"identities": np.where(np.isin(np.arange(600), m.split.test), -1, m.faces.identities)}, "1 people test"),
    ],
)
def test_what_rivals_judges_and_figures_lack_is_known_from_the_jobs(paper, change, problem, tmp_path):
    made = make_plan(paper, data="synthetic-balanced", profile="smoke", results=str(tmp_path))
    with pytest.raises(DataError, match=problem):
        replace(made, faces=replace(made.faces, **change(made))).jobs  # noqa: B018


def test_a_study_says_what_is_missing_trains_it_once_and_loads_it(tmp_path, capsys, monkeypatch):
    parameters = {"data": "synthetic-balanced", "profile": "smoke", "results": str(tmp_path), "overrides": {"attribute": "Eyeglasses"}}
    study = open_study("sagan", **parameters)
    name = next(iter(study.jobs))
    assert f"{len(study.jobs)} of {len(study.jobs)} models are not trained yet" in capsys.readouterr().out
    nets = study.nets(name)
    assert nets.D is None and name not in study.missing and study.nets(name) is nets
    assert f"{name}: training sagan/" in capsys.readouterr().out
    assert len(study.history(name)) and study.record(name)["status"] == "complete"
    assert study.judges.names
    with pytest.raises(ParameterError, match="model = 'x': it must be one of"):
        study.nets("x")
    models.hold(study.folder).close()
    monkeypatch.setattr(models, "train", None)  # would fail if it trained
    again = open_study("sagan", **parameters)
    assert again.folder == study.folder and again.nets(name) is not nets
    models.hold(again.folder).close()


def test_an_evaluation_begins_with_a_clean_folder_and_one_process_alone(run, tmp_path):
    run.add([{"metric": "m", "value": 1.0, "n": 1}])
    run.figure(Figure(), "curve", "a curve", faces=False)
    assert (run.folder / "metrics.csv").exists() and (run.folder / "figures" / "curve.png").exists()
    models.hold(run.folder).close()
    again = Study(plan(tmp_path, overrides={"attribute": "Eyeglasses"}))
    assert again.folder == run.folder and sorted(p.name for p in again.folder.iterdir()) == ["lock", "run.json"]


def test_the_record_says_what_a_reader_needs(run):
    record = json.loads((run.folder / "run.json").read_text())
    needed = "commit dirty versions hardware fingerprint publishable models share_of_paper split seed started config settings"
    assert not set(needed.split()) - record.keys() and record["status"] == "running" and record["publishable"] is True
    assert record["share_of_paper"] == round(3 * 4 / (20_833 * 16), 5) and "SaGAN Eyeglasses" in record["models"]
    facts = runs.facts(record)
    assert "% of the images" in facts["share of the reference length"] and facts["profile, seed"] == "smoke, 0"
    runs.fail(run.folder, "because")
    assert json.loads((run.folder / "run.json").read_text())["reason"] == "because"
    (run.folder / "run.json").write_text("{")
    runs.fail(run.folder, "nothing to mark")  # half a record stops nobody


def test_metrics_tables_and_claims_are_written(run):
    run.add([{"table": "Fig. 3", "row": "A +", "column": "M", "metric": "edit_success", "value": 0.9, "ci_low": 0.8, "ci_high": 0.95, "n": 50}])
    run.add([{"table": "Fig. 3", "row": "A +", "column": "M", "metric": "fid", "value": None, "n": 50, "protocol": "unavailable: no weights"}])
    stored = pd.read_csv(run.folder / "metrics.csv")
    assert list(stored.columns) == runs.METRIC_COLUMNS and list(stored["value"].fillna(-1)) == [0.9, -1]
    decided = run.claims((Claim("X", "it works", "Sec. 1", "at least .8", (Test("edit_success | A + | M", ">=", 0.8),)),))
    assert list(decided["verdict"]) == ["reproduced"] and pd.read_csv(run.folder / "claims.csv")["n"][0] == 50


def test_faces_that_may_not_be_published_stay_private(run):
    figure = Figure()
    run.entries["publishable"] = False
    run.figure(figure, "face", "a face")
    assert not list(run.folder.rglob("*.png"))
    run.figure(figure, "curve", "a curve", faces=False)
    run.with_images = True
    run.figure(figure, "face", "a face")
    assert sorted(str(p.relative_to(run.folder)) for p in run.folder.rglob("*.png")) == ["figures/curve.png", "private/face.png"]

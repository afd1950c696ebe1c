"""The summary pages against a toy results folder whose answers are known."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from lib.evaluation.measures import over_seeds
from lib.pages import comparison, tables
from lib.pages.comparison import EARLIER, FACES, OTHER, STUDY
from lib.training.runs import METRIC_COLUMNS

WHAT = {"data": "synthetic", "profile": "cpu", "seeds": [0, 1], "papers": ["sagan", "sggan", "diat"]}
WHAT |= {"expected": {paper: {"config": {"width": 1}} for paper in WHAT["papers"]}}


def put(results, paper, seed, values, *, verdicts=("reproduced", "not tested"), name="", width=1, **extra):
    """One run's record: values {(table, row, column, metric): value}."""
    folder = results / paper / (name or f"s{seed}")
    folder.mkdir(parents=True)
    record = {
        "paper": paper, "run_id": folder.name, "title": f"Paper {paper}", "data": "synthetic", "profile": "cpu", "seed": seed, "size": 64,
        "share_of_paper": 0.01, "status": "complete", "finished": f"2026-01-0{seed + 1}T00:00:00", "config": {"width": width},
        "models": {"own": f"{paper}/m{seed}", "rival": f"stargan/m{seed}"}, "question": "Does it edit?", "finding": "It | does.",
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps({k: v for k, v in (record | extra).items() if v is not None}))
    rows = [dict(zip(("table", "row", "column", "metric"), key, strict=True)) | {"value": v, "n": 10} for key, v in values.items()]
    pd.DataFrame(rows, columns=METRIC_COLUMNS).to_csv(folder / "metrics.csv", index=False)
    fixed = {"source": "Sec. 1", "criterion": "c", "measured": "m", "reason": "", "n": 5}
    claims = [{"id": f"H{i}", "claim": f"claim {i}", "verdict": v} | fixed for i, v in enumerate(verdicts)]
    pd.DataFrame(claims).to_csv(folder / "claims.csv", index=False)
    for key in ("own", "rival"):
        place = results / record["models"][key]
        place.mkdir(parents=True, exist_ok=True)
        stage = {"cycles": 100, "seconds": 9, "processor_seconds": 3600, "images_seen": {"D": 480, "G": 96}}
        (place / "model.json").write_text(json.dumps({"stages": {"all": stage}}))


def success(method, *values, directions=("Eyeglasses +", "Eyeglasses -")):
    return {("T", d, method, "edit_success"): v for d, v in zip(directions, values, strict=True)}


@pytest.fixture
def results(tmp_path):
    floor = {("T", "Eyeglasses +", who, "edit_success"): 0.0 for who in ("unedited", "constant G", "counterfactual")}
    change = {("T", "Eyeglasses +", "SaGAN - StarGAN", "change_outside_l1"): -0.1, ("ablations", "Eyeglasses +", "b = 1", "edit_success"): 1.0}
    change |= {("T", d, "SaGAN", "change_outside_l1"): 0.01 for d in ("Eyeglasses +", "Eyeglasses -")}
    rivals = success("StarGAN", 0.5, 0.5) | success("ResGAN", 0.1, 0.6)
    put(tmp_path, "sagan", 0, floor | success("SaGAN", 0.9, 0.7) | rivals | change)
    put(tmp_path, "sagan", 1, success("SaGAN", 0.7, 0.5), verdicts=("not reproduced", "undecided"))
    put(tmp_path, "sggan", 0, success("SG-GAN", 1.0, directions=("Smiling +",)) | success("StarGAN", 0.2, directions=("Smiling +",)))
    put(tmp_path, "sagan", 0, success("SaGAN", 0.0, 0.0), name="tried", width=2, finished="2030-01-01T00:00:00")
    put(tmp_path, "sagan", 5, success("SaGAN", 0.0, 0.0))
    put(tmp_path, "sagan", 0, success("SaGAN", 0.6, 0.8), name="real", data="celeba50k")
    put(tmp_path, "sagan", 0, success("SaGAN", 0.0, 0.0), name="old", models=None)
    put(tmp_path, "diat", 0, success("DIAT", 0.5, 0.5), status="failed")
    return tmp_path


def test_what_belongs_to_the_study_is_what_study_yaml_says(results):
    every, broken = comparison.runs(results, WHAT)
    assert broken == [] and every.set_index("run").loc[["tried", "s5", "real", "old"], "kind"].tolist() == [OTHER, OTHER, FACES, EARLIER]
    found, rows = comparison.select(results, WHAT)
    assert set(found["kind"]) == {STUDY} and found[["paper", "seed"]].values.tolist() == [["sagan", 0], ["sagan", 1], ["sggan", 0]]
    assert set(comparison.edits(rows)["name"]) == {"SaGAN", "StarGAN (in SaGAN's run)", "ResGAN", "SG-GAN", "StarGAN (in SG-GAN's run)"}
    assert comparison.select(results, WHAT, "/somewhere/celeba50k")[0]["run"].tolist() == ["real"]
    put(results, "diat", 0, success("DIAT", 0.5, 0.5), name="mine", data="folder-synthetic mine")
    found, _ = comparison.select(results, WHAT | {"data": "~/synthetic mine/"})  # a folder's runs, named as its reader names them
    assert found["run"].tolist() == ["mine"]
    with pytest.raises(comparison.NothingToCompare, match="no complete run on lfw. There are: .*sagan on celeba50k, cpu"):
        comparison.select(results, WHAT, "lfw")


@pytest.mark.parametrize(
    "file, content",
    [
        *(("run.json", text) for text in ("", '{"paper"', "[1]", '{"paper": "sagan"}', '{"models": {}, "paper": "sagan", "profile": "cpu"}')),
        ("claims.csv", ""), ("metrics.csv", "\0\xff"), ("metrics.csv", None), ("figures/card.png", "\x89PNG"),
    ],
)  # fmt: skip
def test_a_broken_record_is_named_and_stops_nobody(results, file, content):
    put(results, "sagan", 0, success("SaGAN", 0.0, 0.0), name="cut", finished="2031-01-01T00:00:00")
    folder = results / "sagan" / "cut"
    (folder / "figures").mkdir()
    (folder / file).write_text(content) if content is not None else (folder / file).unlink()
    every, broken = comparison.runs(results, WHAT)
    assert len(every) == 8 and len(broken) == 1 and str(folder / "run.json") in broken[0] and "Delete" in broken[0]
    assert comparison.ledger(comparison.select(results, WHAT)[0])["run"].str.contains("cut").sum() == 0


def test_the_leaderboard_averages_directions_then_seeds(results):
    _, rows = comparison.select(results, WHAT)
    board = comparison.leaderboard(rows).set_index("method")
    assert not {"unedited", "constant G", "SaGAN - StarGAN", "b = 1"} & set(board.index)
    assert board.loc["SaGAN", "seeds"] == 2 and board.loc["SaGAN", "directions"] == 2
    v = over_seeds(np.array([0.8, 0.6]))  # mean .7, t interval with one degree of freedom 12.706 * .1
    assert v.value == pytest.approx(0.7) and v.ci_high - v.value == pytest.approx(12.706 * 0.1, rel=1e-3)
    v = over_seeds(np.array([0.8, 0.6, 0.7]))
    assert v.n == 3 and v.ci_high - v.value == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)
    assert board.loc["SaGAN", "edit_success"].startswith("70 % [") and board.loc["ResGAN", "edit_success"] == "35.0 %"
    assert board.loc["SaGAN", "change_outside_l1"] == "0.01" and board.loc["ResGAN", "change_outside_l1"] == ""
    assert set(comparison.leaderboard(rows, ("Smiling",))["method"]) == {"SG-GAN", "StarGAN (in SG-GAN's run)"}
    other = comparison.elsewhere(results, WHAT)
    assert other[["faces", "method", "edit_success"]].values.tolist() == [["celeba50k, 64 px", "SaGAN", tables.number("edit_success", 0.7)]]


def test_training_is_read_from_the_models(results):
    found, _ = comparison.select(results, WHAT)
    cost = comparison.training(results, found)
    first = cost[(cost["in the run of"] == "SaGAN") & (cost["seed"] == 0)].set_index("method")
    assert first.loc["sagan", ["models", "cycles", "processor hours"]].tolist() == [1, "100", "1.00"]
    assert first["share of the reference length"].to_dict() == {"sagan": "1 %", "stargan": ""}
    assert comparison.speed(results)[0].empty and comparison.speed(results)[1].data == ""
    (results / "benchmarks").mkdir()
    (results / "benchmarks" / "speed.json").write_text('{"sagan": {"plain / float32": 1.2}, "machine": {"cpu": "C", "torch": "2"}}')
    table, machine = comparison.speed(results)
    assert table.values.tolist() == [["sagan", 1.2]] and "C with PyTorch 2" in machine.data


def test_the_ledger_counts_seeds_once(results):
    found, _ = comparison.select(results, WHAT)
    claims = comparison.ledger(found)
    mine = claims[claims["paper"] == "sagan"].set_index("id")
    assert mine["verdict"].to_dict() == {"H0": "partly", "H1": "undecided"} and mine["seeds"].tolist() == [2, 2]
    assert mine.loc["H0", "measured"] == "seed 0, reproduced: m; seed 1, not reproduced: m" and mine.loc["H0", "run"] == "s0, s1"
    said = "4 claims from 3 runs: 1 reproduced, 1 partly, 0 not reproduced, 1 undecided, 1 not tested."
    assert comparison.sentence(claims) == f"{said} A claim that several seeds tested is counted once."
    assert comparison.counts(claims).set_index("paper").loc["SG-GAN"].tolist() == ["synthetic, 64 px", 1, 0, 0, 0, 1]
    (heading, own), (other, _) = comparison.by_paper(found, claims)
    assert heading.data.startswith("## Paper sagan") and "[seed 1](../reports/sagan-s1.html)" in heading.data and len(own) == 2
    assert "Paper sggan" in other.data and tables.verdicts(own).data.count("<details>") == 2


def test_a_verdict_over_seeds():
    yes, no, partly, untested, unclear = "reproduced", "not reproduced", "partly", "not tested", "undecided"
    assert [comparison.over_all([v, v]) for v in (yes, no, partly, untested, unclear)] == [yes, no, partly, untested, unclear]
    assert [comparison.over_all(v) for v in ([yes, no], [yes, partly], [no, partly])] == [partly] * 3
    assert [comparison.over_all([v, untested, unclear]) for v in (yes, no, partly)] == [yes, no, partly]
    assert comparison.over_all([untested, unclear]) == unclear


def test_the_findings_of_the_readme_are_written_between_its_marks(results, tmp_path):
    text, (model, evaluation) = comparison.findings(comparison.select(results, WHAT)[0], WHAT), comparison.modules("sagan")
    pages = "[seed 0](reports/sagan-s0.html), [seed 1](reports/sagan-s1.html)"
    assert f"| {model.TITLE} | {evaluation.QUESTION} | It \\| does. | 1 partly, 1 undecided | {pages} |" in text
    assert re.search(r"DIAT-A\) \| .* \| Not tested yet: its models are not trained. \|  \|  \|$", text), "a paper without a run has its row too"
    readme, (start, end) = tmp_path / "README.md", comparison.MARKS
    readme.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    for _ in range(2):  # the second time changes nothing
        comparison.into_readme(text, readme)
        assert readme.read_text() == f"before\n{start}\n{text}\n{end}\nafter\n"
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="around the generated findings"):
        comparison.into_readme(text, readme)


def test_figures_show_every_method(results):
    _, rows = comparison.select(results, WHAT)
    success_of = comparison.by_direction(rows, "edit_success")
    assert list(success_of) == ["glasses on", "glasses off", "smile on"]
    texts = {t.get_text() for t in comparison.heatmap(success_of, "edit success").axes[0].get_yticklabels()}
    assert "SG-GAN" in texts and "SaGAN" in texts
    legend = comparison.pareto(rows).axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["SaGAN"]  # the only one with both figures

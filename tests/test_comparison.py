"""The summary pages against a toy results folder whose answers are known."""

import json

import numpy as np
import pandas as pd
import pytest

from lib.pages import comparison
from lib.pages import tables
from lib.training.runs import METRIC_COLUMNS


def put(results, paper, seed, values, *, verdicts=("reproduced", "not tested"), finished="2026-01-02", status="complete", config=1, **extra):
    """One run's record: values {(table, row, column, metric): value}; runs with the same `config` differ in nothing but the seed."""
    folder = results / paper / f"synthetic-cpu-s{seed}-{finished[-2:]}"
    folder.mkdir(parents=True)
    record = {
        "paper": paper, "run_id": folder.name, "data": "synthetic", "profile": "cpu", "seed": seed, "size": 32, "share_of_paper": 0.01,
        "seconds": 60, "judges": {"attribute": {"id": "j"}}, "status": status, "finished": finished + "T00:00:00",
        "trained": {"hardware": {"cpu": "a processor"}},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record | extra))
    (folder / "config.json").write_text(json.dumps({"paper": paper, "seed": seed, "config": {"width": config}}))
    rows = [dict(zip(("table", "row", "column", "metric"), key, strict=True)) | {"value": v, "n": 10} for key, v in values.items()]
    pd.DataFrame(rows, columns=METRIC_COLUMNS).to_csv(folder / "metrics.csv", index=False)
    claims = [
        {"id": f"H{i}", "claim": "beats StarGAN" if i else "edits", "source": "Sec. 1", "criterion": "c", "measured": "m", "n": 5, "verdict": v}
        for i, v in enumerate(verdicts)
    ]
    pd.DataFrame(claims).to_csv(folder / "claims.csv", index=False)


def success(method, *values, directions=("Eyeglasses +", "Eyeglasses -")):
    return {("T", d, method, "edit_success"): v for d, v in zip(directions, values, strict=True)}


@pytest.fixture
def results(tmp_path):
    floor = {("T", "Eyeglasses +", "unedited", "edit_success"): 0.0}
    difference = {("T", "Eyeglasses +", "SaGAN - StarGAN", "change_outside_l1"): -0.1}
    change = difference | {("T", d, "SaGAN", "change_outside_l1"): 0.01 for d in ("Eyeglasses +", "Eyeglasses -")}
    cost = {("training", "D", "SaGAN", "images_seen"): 480.0, ("training", "all", "SaGAN", "train_seconds"): 9.0}
    cost |= {("training", "D", "ResGAN", "images_seen"): 48.0}
    put(tmp_path, "sagan", 0, floor | success("SaGAN", 0.9, 0.7) | success("StarGAN", 0.5, 0.5) | success("ResGAN", 0.1, 0.6) | change | cost)
    put(tmp_path, "sagan", 1, success("SaGAN", 0.7, 0.5))
    put(tmp_path, "sagan", 1, success("SaGAN", 0.0, 0.0), finished="2026-01-01", config=2)  # an older configuration
    put(tmp_path, "sggan", 0, success("SG-GAN", 1.0, directions=("Smiling +",)) | success("StarGAN", 0.2, directions=("Smiling +",)))
    put(tmp_path, "bridgegan", 0, success("BridgeGAN (label)", 0.6, 0.8), data="synthetic-balanced", finished="2026-01-03")
    put(tmp_path, "stargan", 0, success("StarGAN", 0.5, 0.5), beside="another")
    put(tmp_path, "diat", 0, success("DIAT", 0.5, 0.5), status="failed")
    return tmp_path


def test_runs_are_the_newest_complete_ones_that_stand_for_themselves(results):
    found, rows = comparison.select(results, "synthetic", "cpu")
    assert list(zip(found["paper"], found["seed"], strict=True)) == [("sagan", 0), ("sagan", 1), ("sggan", 0)]
    assert set(rows["name"]) == {"SaGAN", "StarGAN (in sagan's run)", "ResGAN", "SG-GAN", "StarGAN (in sggan's run)", "unedited", "SaGAN - StarGAN"}
    with pytest.raises(comparison.NothingToCompare, match="no complete run of data synthetic, profile gpu. There are: synthetic, cpu"):
        comparison.select(results, "synthetic", "gpu")


def test_the_leaderboard_averages_directions_then_seeds(results):
    _, rows = comparison.select(results, "synthetic", "cpu")
    board = comparison.leaderboard(rows).set_index("method")
    assert not {"unedited", "SaGAN - StarGAN"} & set(board.index) and board.loc["SaGAN", "seeds"] == 2 and board.loc["SaGAN", "directions"] == 2
    # seeds .8 and .6: mean .7, t interval with one degree of freedom 12.706 * .1
    v = comparison.over_seeds(np.array([0.8, 0.6]))
    assert v.value == pytest.approx(0.7) and v.ci_high - v.value == pytest.approx(12.706 * 0.1, rel=1e-3)
    assert board.loc["SaGAN", "edit_success"].startswith("70.0 % [") and board.loc["ResGAN", "edit_success"] == "35.0 %"
    assert board.loc["SaGAN", "change_outside_l1"] == "0.01" and board.loc["ResGAN", "change_outside_l1"] == ""
    only = comparison.leaderboard(rows, ("Smiling",))
    assert set(only["method"]) == {"SG-GAN", "StarGAN (in sggan's run)"}
    cost = comparison.training(rows, comparison.select(results, "synthetic", "cpu")[0])
    assert cost.loc[0, "images seen by D"] == "480" and cost.loc[0, "seconds"] == "9" and list(cost["share of that paper's training"]) == ["1 %", ""]


def test_runs_on_other_faces_have_a_table_of_their_own(results):
    other = comparison.elsewhere(results, "synthetic")
    assert other[["data", "size", "profile", "method"]].values.tolist() == [["synthetic-balanced", 32, "cpu", "BridgeGAN (label)"]]
    assert other["edit_success"].tolist() == [tables.number("edit_success", 0.7)]
    assert set(comparison.elsewhere(results, "synthetic-balanced")["data"]) == {"synthetic"}
    everything, _ = comparison.select(results)
    assert set(everything["paper"]) == {"sagan", "sggan", "bridgegan"}


def test_ranks_and_critical_difference(results):
    _, rows = comparison.select(results, "synthetic", "cpu")
    block = comparison.common_block(rows)
    assert block.shape == (3, 2)
    mean_ranks, _, difference = comparison.ranks(block)
    # Eyeglasses +: SaGAN .8, StarGAN .5, ResGAN .1; -: SaGAN and ResGAN .6 tie, StarGAN .5
    assert mean_ranks.to_dict() == {"SaGAN": 1.25, "ResGAN": 2.25, "StarGAN (in sagan's run)": 2.5}
    assert difference == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 2)), rel=1e-3)  # Demsar's q for three methods
    few = comparison.common_block(rows, least=4)
    assert few.empty and np.isnan(comparison.ranks(few)[2]) and "nothing to rank" in comparison.rank_words(few)
    assert comparison.ranks(1 - block, higher=False)[0].to_dict() == mean_ranks.to_dict()


def test_the_ledger_counts_what_the_runs_decided(results):
    found, _ = comparison.select(results, "synthetic", "cpu")
    claims = comparison.ledger(found)
    said = "4 claims from 3 runs: 2 reproduced, 0 partly, 0 not reproduced, 2 not tested. Claims that several seeds tested are counted once."
    assert len(claims) == 4 and comparison.sentence(claims) == said
    counts = comparison.counts(claims).set_index("paper")
    assert counts.loc["sagan"].tolist() == ["synthetic, 32 px", 1, 0, 0, 1] and counts.loc["sggan"].tolist() == ["synthetic, 32 px", 1, 0, 0, 1]
    assert set(comparison.about_others(claims)["id"]) == {"H1"}
    assert len(comparison.of_paper(claims, "sggan")) == 2 and "no complete run" in comparison.of_paper(claims, "diat").iloc[0, 0]


def test_the_findings_of_the_readme_are_written_between_its_marks(results, tmp_path):
    found = comparison.newest(comparison.runs(results))
    text = comparison.findings(found)
    assert text.startswith("6 claims from 4 runs: 3 reproduced, 0 partly, 0 not reproduced, 3 not tested. Claims that")
    assert "| [sggan](reports/sggan-synthetic-cpu-s0-02.html) | synthetic, 32 px | cpu | 0 | 1 % | 1 | 0 | 0 | 1 |" in text
    readme = tmp_path / "README.md"
    start, end = comparison.MARKS
    readme.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    for _ in range(2):  # the second time changes nothing
        comparison.into_readme(text, readme)
        assert readme.read_text() == f"before\n{start}\n{text}\n{end}\nafter\n"
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="around the generated findings"):
        comparison.into_readme(text, readme)
    assert readme.read_text() == "no marks"


def test_figures_show_every_method(results):
    _, rows = comparison.select(results, "synthetic", "cpu")
    texts = {t.get_text() for t in comparison.heatmap(comparison.by_direction(rows, "edit_success"), "edit success").axes[0].get_yticklabels()}
    assert "SG-GAN" in texts and "SaGAN" in texts
    assert [t.get_text() for t in comparison.pareto(rows).axes[0].get_legend().get_texts()] == ["SaGAN"]  # the only one with both figures
    assert comparison.rank_plot(comparison.common_block(rows), "edit success").axes


def three_seeds(folder, config=(1, 1, 1)):
    """Three seeds of one paper, the last of which finished last; H0 holds in two of them, H1 was tested in one."""
    decided = ("reproduced", "not tested"), ("reproduced", "not reproduced"), ("not reproduced", "not tested")
    values = (0.9, 0.7), (0.7, 0.5), (0.6, 0.8)
    for seed, (verdicts, value, c) in enumerate(zip(decided, values, config, strict=True)):
        other = success("StarGAN", 0.5, 0.1) if seed else success("StarGAN", 0.5, directions=("Eyeglasses +",))
        measured = success("SaGAN", *value) | other
        put(folder, "sagan", seed, measured, verdicts=verdicts, config=c, finished=f"2026-01-0{seed + 1}")
    return comparison.select(folder, "synthetic", "cpu")


def test_three_seeds_of_one_configuration_have_an_interval_and_one_verdict(tmp_path):
    found, rows = three_seeds(tmp_path)
    assert list(found["seed"]) == [0, 1, 2] and comparison.set_aside(tmp_path, found) == "No complete run is left out."
    v = comparison.over_seeds(np.array([0.8, 0.6, 0.7]))
    assert v.n == 3 and (v.value, v.ci_high - v.value) == pytest.approx((0.7, 4.303 * 0.1 / 3**0.5), rel=1e-3)
    board = comparison.leaderboard(rows).set_index("method")
    interval = f"[{tables.number('edit_success', v.ci_low)}, {tables.number('edit_success', v.ci_high)}]"
    assert board.loc["SaGAN", "edit_success"] == f"70.0 % {interval}" and list(board["seeds"]) == [3, 3]
    assert board.loc["StarGAN", "edit_success"].startswith("50.0 % [50.0 %")  # its other direction was not measured with seed 0
    claims = comparison.ledger(found).set_index("id")
    assert claims["verdict"].to_dict() == {"H0": "partly", "H1": "not reproduced"} and claims["seeds"].tolist() == [3, 3]
    assert claims.loc["H0", "measured"] == "seed 0, reproduced: m; seed 1, reproduced: m; seed 2, not reproduced: m"
    assert claims.loc["H0", "run"] == "synthetic-cpu-s0-01, synthetic-cpu-s1-02, synthetic-cpu-s2-03"
    assert comparison.sentence(claims.reset_index()).startswith("2 claims from 3 runs: 0 reproduced, 1 partly, 1 not reproduced, 0 not tested.")
    lines = comparison.findings(found).splitlines()  # one line per run, with its own verdicts
    assert [line[-17:] for line in lines[-3:]] == ["| 1 | 0 | 0 | 1 |", "| 1 | 0 | 1 | 0 |", "| 0 | 0 | 1 | 1 |"]


def test_seeds_of_different_configurations_are_never_put_together(tmp_path):
    found, rows = three_seeds(tmp_path, config=(1, 2, 2))
    assert list(found["seed"]) == [1, 2]
    said = "Left out, as runs of another configuration of the same paper finished later: sagan synthetic-cpu-s0-01 (seed 0)."
    assert comparison.set_aside(tmp_path, found) == said
    assert set(comparison.leaderboard(rows)["seeds"]) == {2} and comparison.ledger(found)["seeds"].tolist() == [2, 2]
    (tmp_path / "sagan" / "synthetic-cpu-s1-02" / "config.json").unlink()  # of a run that does not say how it was configured nothing is assumed
    assert list(comparison.select(tmp_path)[0]["seed"]) == [2]


def test_a_study_of_a_folder_finds_its_runs(tmp_path):
    """`data` of the summaries is what the papers were given; run.json has the folder's name alone."""
    three_seeds(tmp_path)
    (folder,) = {r["data"] for r in map(json.loads, (f.read_text() for f in tmp_path.glob("*/*/run.json")))}
    assert len(comparison.select(tmp_path, f"/somewhere/{folder}")[0]) == 3
    assert comparison.elsewhere(tmp_path, f"/somewhere/{folder}").empty and len(comparison.elsewhere(tmp_path, "/somewhere/other"))
    with pytest.raises(comparison.NothingToCompare):
        comparison.select(tmp_path, f"/{folder}/other")


def test_controls_are_no_methods(tmp_path):
    put(tmp_path, "sggan", 0, success("SG-GAN(ALL)", 0.9, 0.7) | success("constant G", 1.0, 1.0) | success("SG-GAN(joint)", 0.9, 0.7))
    _, rows = comparison.select(tmp_path)
    assert list(comparison.leaderboard(rows)["method"]) == ["SG-GAN(ALL)"]


def test_what_was_trained_beside_a_method_does_not_part_its_seeds(tmp_path):
    three_seeds(tmp_path)
    for seed, beside in enumerate(({"ablations": True}, {"ablations": False}, {"arms": "5 %"})):
        file = tmp_path / "sagan" / f"synthetic-cpu-s{seed}-0{seed + 1}" / "config.json"
        what = json.loads(file.read_text())
        file.write_text(json.dumps(what | {"config": what["config"] | beside}))
    assert list(comparison.select(tmp_path)[0]["seed"]) == [0, 1, 2]
    file.write_text(json.dumps(what | {"config": what["config"] | {"arm": "5 %"}}))  # any other field does
    assert list(comparison.select(tmp_path)[0]["seed"]) == [2]


def test_the_ledger_gives_intervals_and_the_pages_that_decide(tmp_path):
    put(tmp_path, "sagan", 0, success("SaGAN", 0.9, 0.7), verdicts=("partly",))
    (run,) = tmp_path.glob("sagan/*")
    rows = pd.read_csv(run / "metrics.csv")
    said = "edit_success, Eyeglasses +, SaGAN: 0.9 holds; edit_success, Eyeglasses -, SaGAN: 0.7 fails"
    pd.read_csv(run / "claims.csv").assign(measured=said).to_csv(run / "claims.csv")
    rows.assign(ci_low=[0.81234, None], ci_high=[0.95, None]).to_csv(run / "metrics.csv")
    found, _ = comparison.select(tmp_path)
    claims = comparison.ledger(found)
    assert claims["measured"].tolist() == ["edit_success, Eyeglasses +, SaGAN: 0.9 [0.812, 0.95] holds; edit_success, Eyeglasses -, SaGAN: 0.7 fails"]
    page = f'<a href="../reports/sagan-{run.name}.html">{run.name}</a>'
    assert tables.show(claims, comparison.pages(found)).data.count(page) == 1
    other = pd.DataFrame({"run": [f"x-{run.name}", f"{run.name}, {run.name}"]})  # a longer name is another; a line of several seeds names several
    assert tables.show(other, comparison.pages(found)).data.count(page) == 2


def test_a_verdict_over_seeds():
    yes, no, partly, untested = "reproduced", "not reproduced", "partly", "not tested"
    assert [comparison.over_all([v, v]) for v in (yes, no, partly, untested)] == [yes, no, partly, untested]
    assert [comparison.over_all(v) for v in ([yes, no], [yes, partly], [no, partly])] == [partly] * 3
    assert [comparison.over_all([v, untested]) for v in (yes, no, partly)] == [yes, no, partly]

"""Run records: what identifies a run, what is refused, what is written."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from matplotlib.figure import Figure

from lib import sources as provenance
from lib.training import runs
from lib.claims import Claim, Test, verdicts
from lib.data import Split
from lib.data.cache import default_dir
from lib.papers.sagan import model as sagan


def test_the_id_is_stable_and_changes_with_config_seed_and_source(faces, split, tmp_path, monkeypatch):
    cfg = sagan.smoke()
    ids = [runs.run_id(runs.identity(sagan, c, faces, split, "smoke", s, "cpu")) for c, s in ((cfg, 0), (cfg, 0), (cfg, 1), (sagan.cpu(), 0))]
    assert ids[0] == ids[1] and len(set(ids)) == 3
    assert ids[0].startswith("synthetic-balanced-smoke-s0-") and len(ids[0].rsplit("-", 1)[1]) == 8
    used = provenance.sources(sagan.__name__)
    assert {"lib/papers/sagan/model.py", "lib/losses.py", "lib/layers.py", "lib/training/loop.py", "lib/data/batches.py"} <= used.keys()
    assert "lib/pages/figures.py" not in used and "lib/papers/diat/model.py" not in used


def test_comments_and_docstrings_do_not_change_the_source_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / "lib").mkdir()
    hashes = []
    for text in ('"""A."""\nx = 1\n', '"""B."""\n# why\nx = 1\n', "x = 2\n"):
        (tmp_path / "lib" / "one.py").write_text(text)
        hashes.append(provenance.sources("lib.one")["lib/one.py"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_changed_config_is_refused_with_the_differences(tmp_path, open_run):
    open_run(tmp_path, g_steps=3)
    with pytest.raises(runs.RunError, match=r"holds a run of another configuration \(config.g_steps: 3 -> 4; config.lr: 0.0002 -> 0.001\)"):
        open_run(tmp_path, g_steps=4, lr=1e-3)
    run, _ = open_run(tmp_path, g_steps=4, lr=1e-3, force=True)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["g_steps"] == 4
    assert run.record["status"] == "running"


def test_force_leaves_nothing_of_the_old_run(tmp_path, open_run):
    run, _ = open_run(tmp_path, g_steps=3)
    run.add([{"metric": "m", "value": 1.0, "n": 1}])
    for name in ("history.csv", "resume.pt", ".resume.pt.123"):
        (tmp_path / name).write_text("old")
    run.figure(Figure(), "curve", faces=False)
    open_run(tmp_path, g_steps=4, force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "lock", "run.json"]


def test_two_processes_cannot_hold_one_run(tmp_path):
    (tmp_path / "run").mkdir()
    hold = "import sys, time, pathlib; from lib import runs; runs._lock(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True, cwd=runs.ROOT)
    try:
        assert other.stdout.readline().strip() == "held"
        with pytest.raises(runs.RunError, match="another process is working on this run"):
            runs._lock(tmp_path / "run")
    finally:
        other.kill()
        other.wait()
    runs._lock(tmp_path / "run")  # free again
    runs.release(tmp_path / "run")


def test_an_unwritable_folder_is_a_clear_error(tmp_path, open_run):
    (tmp_path / "file").write_text("")
    with pytest.raises(runs.RunError, match="cannot be written .* choose another with run_dir"):
        open_run(tmp_path / "file" / "run")


def test_the_record_says_what_a_reader_needs(tmp_path, open_run, faces, split):
    run, cfg = open_run(tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    wanted = "commit dirty versions hardware fingerprint publishable deviations_documented evaluation crop share_of_paper split seed started"
    for key in wanted.split():
        assert key in record, key
    assert record["share_of_paper"] == round(3 * 4 / (20_833 * 16), 5) and record["publishable"] is True
    run.fail("because")
    assert json.loads((tmp_path / "run.json").read_text())["reason"] == "because"
    (stored,) = [p for p in (default_dir() / "splits").glob("*.json") if p.stem == split.checksum[:16]]
    assert Split.read(stored, faces).checksum == record["split"]["checksum"]
    facts = runs.facts(record)
    assert "% of its images" in facts["share of the paper's training"] and facts["profile, seed"] == "smoke, 0"


def test_metrics_tables_and_claims_are_written(tmp_path, open_run):
    run, _ = open_run(tmp_path)
    run.add([{"table": "Fig. 3", "row": "A +", "column": "M", "metric": "edit_success", "value": 0.9, "ci_low": 0.8, "ci_high": 0.95, "n": 50}])
    run.add([{"table": "Fig. 3", "row": "A +", "column": "M", "metric": "fid", "value": None, "n": 50, "protocol": "unavailable: no weights"}])
    stored = pd.read_csv(tmp_path / "metrics.csv")
    assert list(stored.columns) == runs.METRIC_COLUMNS and list(stored["value"].fillna(-1)) == [0.9, -1]
    decided = run.claims((Claim("X", "it works", "Sec. 1", "at least .8", (Test("edit_success | A + | M", ">=", 0.8),)),))
    assert list(decided["verdict"]) == ["reproduced"] and pd.read_csv(tmp_path / "claims.csv")["n"][0] == 50


def test_faces_that_may_not_be_published_stay_private(tmp_path, open_run):
    run, _ = open_run(tmp_path)
    figure = Figure()
    run.record["publishable"] = False
    run.figure(figure, "face", faces=True)
    assert not list(tmp_path.rglob("*.png"))
    run.figure(figure, "curve", faces=False)
    run.with_images = True
    run.figure(figure, "face", faces=True)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png")) == ["figures/curve.png", "private/face.png"]


def row(metric, value, low=0.0, high=1.0, n=10):
    name, r, c = metric.split(" | ")
    return {"metric": name, "row": r, "column": c, "value": value, "ci_low": low, "ci_high": high, "n": n}


def test_verdicts_are_computed():
    two = (Test("m | a | x", ">=", 0.5), Test("m | b | x", "<", 0.5, "ci_high"))
    claim = (Claim("C", "c", "s", "k", two),)

    def verdict(*rows):
        return verdicts(claim, pd.DataFrame(rows, columns=["metric", "row", "column", "value", "ci_low", "ci_high", "n"])).iloc[0]

    assert verdict()["verdict"] == "not tested"
    both = row("m | a | x", 0.5, n=7), row("m | b | x", 0.2, high=0.4)
    assert verdict(*both)["verdict"] == "reproduced" and verdict(*both)["n"] == 7
    assert verdict(both[0])["verdict"] == "partly"  # the other inequality was not measured
    assert verdict(both[0], row("m | b | x", 0.2, high=0.6))["verdict"] == "partly"
    assert verdict(row("m | a | x", 0.4), row("m | b | x", 0.2, high=0.6))["verdict"] == "not reproduced"
    assert verdict(row("m | a | x", float("nan")))["verdict"] == "not tested"
    assert "fails" in verdict(row("m | a | x", 0.4))["measured"] and "1 of 2 not measured" in verdict(both[0])["measured"]
    with pytest.raises(ValueError, match="no inequality"):
        Test("m | a | x", "==", 1)

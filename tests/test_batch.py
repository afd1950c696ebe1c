"""The study's graph: what belongs to it, what a change reruns, what a job runs, and that a cluster would take it. Nothing is trained here
unless STUDY_SLOW is set."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from lib import run
from lib.sources import ROOT, of_notebook

pytestmark = pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="snakemake is not installed: pip install -e '.[batch]'")


def snakemake(tmp_path, *args, **config):
    """Run snakemake on the project's graph with stamps in tmp_path; returns (exit code, {rule: number of jobs}, output)."""
    given = {"papers": ["sagan"], "results": str(tmp_path / "results")} | config
    file = tmp_path / "study.json"
    file.write_text(json.dumps(given))
    command = [sys.executable, "-m", "snakemake", "-c1", "--nolock", *args, "--configfile", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    text = done.stdout + done.stderr
    jobs = {}
    last = text.rpartition("Job stats:")[2]  # a dry run prints them before and after
    for rule, n in re.findall(r"^(study|data|paper|summary)(?:_\w+)?\s+(\d+)$", last, re.MULTILINE):
        jobs[rule] = jobs.get(rule, 0) + int(n)
    return done.returncode, jobs, text


def test_the_graph_holds_every_paper_seed_and_summary_once(tmp_path):
    code, jobs, text = snakemake(tmp_path, "-n", seeds=[0, 1])
    assert code == 0 and jobs == {"study": 1, "data": 1, "paper": 2, "summary": 3}, text
    every = snakemake(tmp_path, "-n", papers=list(run.PAPERS))[1]
    assert every["paper"] == len(run.PAPERS)
    defaults = re.search(r"^papers: \[(.*)\]", (ROOT / "study.yaml").read_text(), re.MULTILINE)[1].split(", ")
    assert sorted(defaults) == sorted(run.PAPERS), "study.yaml lists the papers that are here"


def test_papers_start_in_the_order_of_the_list(tmp_path):
    for papers in (["sagan", "diat", "atigan"], ["diat", "atigan", "sagan"]):
        text = snakemake(tmp_path, "-n", papers=papers)[2]
        priority = {paper: int(n) for paper, n in re.findall(r"^rule paper_(\w+):.*?priority: (\d+)", text, re.MULTILINE | re.DOTALL)}
        assert sorted(priority, key=priority.get, reverse=True) == papers, text


def test_only_what_a_change_concerns_is_run_again(tmp_path):
    stamps = tmp_path / "results" / ".done"
    stamps.mkdir(parents=True)
    for name in ("data", "sagan-s0", "comparison", "claims", "explorer"):
        (stamps / name).touch()
    assert snakemake(tmp_path, "--touch")[0] == 0
    assert snakemake(tmp_path, "-n")[1] == {}
    for name in ("sagan-s0", "comparison", "claims", "explorer"):  # as after a failure
        (stamps / name).unlink()
    assert snakemake(tmp_path, "-n")[1] == {"study": 1, "paper": 1, "summary": 3}


def test_a_job_depends_on_what_its_notebook_imports():
    sagan = of_notebook(next((ROOT / "notebooks").glob("*_sagan.ipynb")))
    assert {"lib/papers/sagan/model.py", "lib/training/loop.py", "lib/evaluation/judges.py", "notebooks/30_sagan.ipynb"} <= sagan.keys()
    assert not {"lib/papers/diat/model.py", "lib/pages/report.py"} & sagan.keys()
    claims = of_notebook(ROOT / "notebooks" / "91_claims.ipynb")
    assert "lib/pages/comparison.py" in claims and "lib/papers/sagan/model.py" not in claims


def test_a_job_is_the_command_that_a_reader_would_type(tmp_path, monkeypatch):
    more = {"sagan": {"attribute": "Eyeglasses,Smiling", "overrides": {"g_steps": 5, "lr": 1e-4}}}
    code, _, text = snakemake(tmp_path, "-n", "-p", papers=["sagan", "bridgegan"], seeds=[0, 2], profile="smoke", parameters=more)
    assert code == 0, text
    jobs = [shlex.split(words) for words in re.findall(r" -m lib\.run ((?:sagan|bridgegan) .*) 2>&1", text)]
    assert len(jobs) == 4
    asked = []
    monkeypatch.setattr(run, "execute", lambda paper, values, reports: asked.append((paper, values, reports)))

    def both(job: list[str], paper: str, *typed: str) -> None:
        run.main(job)
        run.main([paper, "-p", "profile", "smoke", *typed])
        assert asked[-1] == asked[-2]

    for seed in ("0", "2"):
        (mine,) = [j for j in jobs if j[0] == "sagan" and j[j.index("seed") + 1] == seed]
        extra = ("-p", "overrides", '{"g_steps": 5, "lr": 0.0001}')
        both(mine, "sagan", "-p", "seed", seed, "-p", "attribute", "Eyeglasses,Smiling", *extra)
        assert asked[-1][1]["overrides"] == {"g_steps": 5, "lr": 1e-4} and asked[-1][1]["seed"] == int(seed)
        (mine,) = [j for j in jobs if j[0] == "bridgegan" and j[j.index("seed") + 1] == seed]
        both(mine, "bridgegan", "-p", "seed", seed, "-p", "data", "synthetic-balanced")  # as `balanced` of study.yaml says
    _, _, text = snakemake(tmp_path, "-n", "-p", papers=["bridgegan"], data="/faces of mine")
    (mine,) = [shlex.split(words) for words in re.findall(r" -m lib\.run (bridgegan .*) 2>&1", text)]
    assert mine[mine.index("data") + 1] == "/faces of mine"


@pytest.mark.skipif(not os.environ.get("STUDY_SLOW"), reason="two whole runs and a half, minutes: set STUDY_SLOW=1")
def test_a_run_killed_on_the_command_line_and_ended_by_the_graph_measures_what_a_whole_one_does(tmp_path):
    copy = tmp_path / "copy"
    for name in ("lib", "notebooks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "results" / ".done").mkdir(parents=True)
    for name in ("Snakefile", "study.yaml", "pyproject.toml", "results/paper_values.csv"):
        shutil.copy(ROOT / name, copy / name)
    (copy / "results" / ".done" / "data").touch()
    given = {"data": "synthetic-balanced", "profile": "smoke", "attribute": "Eyeglasses", "g_steps": "40"}
    here = {"cwd": copy, "env": os.environ | {"PYTHONPATH": str(copy)}, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}

    def command(folder):
        options = [text for item in (given | {"run_dir": str(folder)}).items() for text in ("-p", *item)]
        return [sys.executable, "-m", "lib.run", "sagan", *options]

    assert subprocess.run(command(tmp_path / "whole"), **here).returncode == 0
    process = subprocess.Popen(command(tmp_path / "killed"), **here)
    while process.poll() is None and not (tmp_path / "killed" / "history.csv").exists():  # trained, or half-way; the measuring is still to come
        time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert json.loads((tmp_path / "killed" / "run.json").read_text())["status"] == "running", "it was killed too late to test anything"
    study = {"papers": ["sagan"], "data": given["data"], "profile": "smoke"}
    study["parameters"] = {"sagan": {"attribute": given["attribute"], "overrides": {"g_steps": 40}, "run_dir": str(tmp_path / "killed")}}
    (copy / "mine.json").write_text(json.dumps(study))
    graph = [sys.executable, "-m", "snakemake", "-c1", "--nolock", "--configfile", "mine.json", "--", "results/.done/sagan-s0"]
    assert subprocess.run(graph, **here).returncode == 0
    found = [pd.read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "killed")]
    timed = ("train_seconds", "iterations_per_second", "ms_per_image")
    whole, killed = (f[~f["metric"].isin(timed)].reset_index(drop=True) for f in found)
    assert len(whole) > 100
    pd.testing.assert_frame_equal(whole, killed, check_exact=True)
    for name in ("history.csv", "config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_slurm_would_take_the_graph(tmp_path):
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no executor for SLURM: pip install -e '.[cluster]'")
    code, jobs, text = snakemake(tmp_path, "-n", "--executor", "slurm", "--jobs", "4")
    assert code == 0 and jobs["paper"] == 1, text

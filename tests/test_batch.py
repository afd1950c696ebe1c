"""The study's graph: what belongs to it, what a change reruns, and that a cluster would take it. Nothing is trained here."""

import importlib.util
import json
import re
import subprocess
import sys

import pytest

from lib import run
from lib.provenance import ROOT, of_notebook

pytestmark = pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="snakemake is not installed: pip install -e '.[batch]'")


def snakemake(tmp_path, *args, **config):
    """Run snakemake on the project's graph with stamps in tmp_path; returns (exit code, {rule: number of jobs}, output)."""
    given = {"papers": ["sagan"], "results": str(tmp_path / "results")} | config
    file = tmp_path / "study.json"
    file.write_text(json.dumps(given))
    command = [sys.executable, "-m", "snakemake", "-c1", "--nolock", *args, "--configfile", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    text = done.stdout + done.stderr
    jobs = dict(re.findall(r"^(study|data|paper|summary)\s+(\d+)$", text, re.MULTILINE))
    return done.returncode, {rule: int(n) for rule, n in jobs.items()}, text


def test_the_graph_holds_every_paper_seed_and_summary_once(tmp_path):
    code, jobs, text = snakemake(tmp_path, "-n", seeds=[0, 1])
    assert code == 0 and jobs == {"study": 1, "data": 1, "paper": 2, "summary": 3}, text
    every = snakemake(tmp_path, "-n", papers=list(run.PAPERS))[1]
    assert every["paper"] == len(run.PAPERS)
    defaults = re.search(r"^papers: \[(.*)\]", (ROOT / "study.yaml").read_text(), re.MULTILINE)[1].split(", ")
    assert sorted(defaults) == sorted(run.PAPERS), "study.yaml lists the papers that are here"


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
    assert {"lib/papers/sagan.py", "lib/engine.py", "lib/judges.py", "notebooks/30_sagan.ipynb"} <= sagan.keys()
    assert not {"lib/papers/diat.py", "lib/report.py"} & sagan.keys()
    claims = of_notebook(ROOT / "notebooks" / "91_claims.ipynb")
    assert "lib/comparison.py" in claims and "lib/papers/sagan.py" not in claims


def test_slurm_would_take_the_graph(tmp_path):
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no executor for SLURM: pip install -e '.[cluster]'")
    code, jobs, text = snakemake(tmp_path, "-n", "--executor", "slurm", "--jobs", "4")
    assert code == 0 and jobs["paper"] == 1, text

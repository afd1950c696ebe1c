"""Training from the command line and as a graph: two at a time, stopped by Ctrl-C and by kill -9, gone on with, never
twice; a failed job is no done one."""

import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import yaml

from lib import run, train
from lib.sources import ROOT, of_notebook
from lib.training import models
from lib.training.config import read_study

pytestmark = pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="snakemake is not installed: pip install -e '.[batch]'")
ENV = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def study(tmp_path):
    """A study file: two tiny SaGAN models and their judges, everything in tmp_path."""
    entries = {"data": "synthetic-balanced", "profile": "smoke", "device": "cpu", "seeds": [0], "papers": ["sagan"], "balanced": []}
    entries |= {"parameters": {"sagan": {"attribute": "Eyeglasses,Smiling"}}, "results": str(tmp_path / "results")}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(entries))
    return file


def snakemake(study, *args, **popen):
    command = [sys.executable, "-m", "snakemake", "-c2", "--nolock", "--configfile", str(study), *args]
    return subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen)


def planned(study):
    return train.needed(train.plans(["sagan"], read_study(study)))


def test_the_list_says_what_is_trained_and_what_is_left(study, capsys):
    assert train.main(["--study", str(study), "--list"]) == 0
    out = capsys.readouterr().out
    assert "SaGAN Eyeglasses" in out and "judge a" in out and re.search(r"0 of \d+ models trained, 0 begun, .* processor hours to go", out)
    assert train.main(["sagan", "SaGAN Smiling", "--study", str(study)]) == 0
    capsys.readouterr()
    assert train.main(["--study", str(study), "--status"]) == 0
    assert capsys.readouterr().out.startswith("1 of ")
    assert train.main(["sagan", "SaGAN Frowning", "--study", str(study)]) == 2
    assert "no model 'SaGAN Frowning'. There are: " in capsys.readouterr().err


def test_the_graph_trains_two_at_once_stops_and_goes_on(study):
    more = yaml.safe_load(study.read_text())
    more["parameters"]["sagan"]["g_steps"] = 600
    study.write_text(yaml.safe_dump(more))
    jobs = planned(study)
    chosen = [place for place in jobs if place.startswith("sagan/")][:2]
    stamps = [f"{more['results']}/.done/models/{place}" for place in chosen]
    folders = [jobs[place][2].folder for place in chosen]
    for kill in (signal.SIGINT, signal.SIGKILL):
        process = snakemake(study, "--config", "train=true", "--", *stamps, start_new_session=True)
        until = time.time() + 120
        while not all((f / "model.json").exists() for f in folders) and time.time() < until:
            time.sleep(0.2)
        assert all(f.exists() for f in folders), "both trainings run at the same time"
        time.sleep(3)
        os.killpg(process.pid, kill)
        process.communicate(timeout=120)
        assert not any((f / "weights.safetensors").exists() for f in folders), "stopped too late to test anything"
    process = snakemake(study, "--rerun-incomplete", "--config", "train=true", "--", *stamps)
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, out
    assert all(jobs[place][2].trained for place in chosen)
    before = [(f / "weights.safetensors").stat().st_mtime_ns for f in folders]
    for place in chosen:
        models.train(jobs[place][2])  # nothing is trained twice
    assert before == [(f / "weights.safetensors").stat().st_mtime_ns for f in folders]


def test_a_failed_job_is_no_done_job(study, tmp_path):
    """A data folder that does not exist, and a model at which another process works: no stamp, a non-zero exit."""
    place, (_, _, job) = next(iter(planned(study).items()))
    nowhere = tmp_path / "nowhere.yaml"
    nowhere.write_text(yaml.safe_dump(yaml.safe_load(study.read_text()) | {"data": str(tmp_path / "nowhere")}))
    cases = (nowhere, "sagan-s0", (), "no such folder"), (study, f"models/{place}", ("--config", "train=true"), "another process is working there")
    with models.hold(job.folder):
        for file, name, more, problem in cases:
            stamp = tmp_path / "results" / ".done" / name
            process = snakemake(file, *more, "--", str(stamp))
            out, _ = process.communicate(timeout=120)
            assert process.returncode != 0 and not stamp.exists() and problem in out, out


def test_without_models_reproducing_says_what_to_train(study, capfd):
    given = [v for name, value in (("profile", "smoke"), ("results", yaml.safe_load(study.read_text())["results"])) for v in ("-p", name, value)]
    assert run.main(["sagan", "--no-training", *given]) == 1
    assert re.search(r"sagan: (\d+) of \1 models are not trained: .* make train", capfd.readouterr().err)


def test_the_graph_holds_every_paper_seed_and_summary_once(study):
    entries = yaml.safe_load(study.read_text()) | {"papers": list(run.PAPERS), "seeds": [0, 1], "parameters": {}}
    study.write_text(yaml.safe_dump(entries))
    out, _ = snakemake(study, "-n", "-p").communicate(timeout=120)
    asked = [shlex.split(words) for words in re.findall(r" -m lib\.run (.*) 2>&1", out)]
    names = [words[0] for words in asked]
    assert sorted(names) == sorted([*run.PAPERS, *run.PAPERS, "data", *run.SUMMARIES]), out
    assert all("--no-training" in words for words in asked if words[0] in run.PAPERS)
    default = read_study(ROOT / "study.yaml")
    assert sorted(default["papers"]) == sorted(run.PAPERS) and default.keys() == read_study(ROOT / "gpu.yaml").keys()


def test_a_job_depends_on_what_its_notebook_imports():
    sagan = of_notebook(ROOT / "notebooks" / "30_sagan.ipynb")
    assert {"lib/papers/sagan/evaluation.py", "lib/study.py", "lib/evaluation/judges.py", "notebooks/30_sagan.ipynb"} <= set(sagan)
    assert not {"lib/papers/diat/model.py", "lib/pages/report.py"} & set(sagan)


def test_slurm_would_take_the_graph(study):
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no executor for SLURM: pip install -e '.[cluster]'")
    process = snakemake(study, "-n", "--executor", "slurm", "--jobs", "4")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out


def test_half_a_study_file_is_one_sentence(tmp_path, capsys):
    for text, message in (("papers: [sagan", "study.yaml"), ("- a", "not a mapping")):
        (tmp_path / "study.yaml").write_text(text)
        assert train.main(["--study", str(tmp_path / "study.yaml")]) == 2
        assert message in capsys.readouterr().err

"""The list of runs for a GPU: order, time limit, going on, failures, and that its own list holds commands that exist."""

import csv
import os
import re
import tarfile

import pytest

from lib import run, worklist
from lib.papers import atigan, bridgegan, diat, sagan, sggan
from lib.provenance import ROOT

PROBE = """
import pathlib, sys, time
log = pathlib.Path(sys.argv[2])
with log.open("a") as f: f.write(sys.argv[1] + "\\n")
if sys.argv[1] == "breaks" and log.read_text().count("breaks") == 1: sys.exit(1)
if sys.argv[1] == "long" and log.read_text().count("long") == 1:
    try: time.sleep(60)
    except KeyboardInterrupt: log.with_name("saved").touch()
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """(results folder, list file, log of what ran, call of the command line). The commands are those of a small module."""
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(worklist, "LEAST", 0.2)
    log, results, file = tmp_path / "log", tmp_path / "results", tmp_path / "list.yaml"
    steps = "".join(f"- {{name: {n}, minutes: 1, command: 'probe {n} {{log}}'}}\n" for n in ("first", "breaks", "long", "last"))
    file.write_text(f"values: {{log: {log}, absent: ''}}\nsteps:\n{steps}- {{name: faces, minutes: 1, command: 'probe {{absent}} {{log}}'}}\n")
    return results, file, log, lambda *args: worklist.main([str(file), "--results", str(results), *args])


def test_goes_on_where_the_time_ended(project, capsys):
    results, _, log, call = project
    assert call("--minutes", "0.12", "--out", str(results.parent / "out")) == 1  # a step failed, and the time is over as well
    assert log.read_text().split() == ["first", "breaks", "long"]
    assert (log.parent / "saved").exists(), "the running step heard Ctrl-C"
    with (results / "worklist.csv").open() as f:
        assert [(r["step"], r["status"]) for r in csv.DictReader(f)] == [("first", "done"), ("breaks", "failed"), ("long", "stopped")]
    assert call() == 0
    assert log.read_text().split() == ["first", "breaks", "long", "breaks", "long", "last"]
    assert "left out: give --set absent" in capsys.readouterr().out
    assert call() == 0 and log.read_text().split()[6:] == []
    assert call("--only", "first", "--set", "log", str(log.with_name("other"))) == 0 and log.with_name("other").exists()  # another step


def test_time_that_is_over_begins_nothing(project):
    results, _, log, call = project
    assert call("--minutes", "0.001") == 3 and not log.exists()
    assert call("--show") == 0 and not log.exists()
    assert call("--only", "last") == 0 and log.read_text().split() == ["last"]
    assert call("--only", "nothing") == 2


def test_what_is_packed(project):
    results, _, _, call = project
    old, new = results / "sagan" / "old", results / "sagan" / "run"
    for folder in (old, new):
        folder.mkdir(parents=True)
        for name in ("run.json", "checkpoint.safetensors", "explorer.safetensors", "resume.pt"):
            (folder / name).write_text("x")
    os.utime(old / "run.json", (1, 1)), os.utime(old / "explorer.safetensors", (1, 1))
    packed = worklist.pack(results.parent / "out", 1000, results, results.parent / "reports")
    with tarfile.open(packed) as tar:
        assert tar.getnames() == ["results/sagan/run/explorer.safetensors", "results/sagan/run/run.json"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("steps: 3", "has no `steps`"), ("steps: [{name: a}]", "step 1 is"), ("steps: [", "cannot be read"),
     ("steps: [{name: a, minutes: 1, command: x}, {name: a, minutes: 1, command: y}]", "different names")],
)  # fmt: skip
def test_a_bad_list_is_refused(tmp_path, capsys, text, says):
    file = tmp_path / "list.yaml"
    file.write_text(text)
    assert worklist.main([str(file)]) == 2
    error = capsys.readouterr().err
    assert says in error and "list.yaml" in error


def test_a_step_is_run_again_when_its_sources_change(monkeypatch):
    step, seed, other = (worklist.Step("", 1, ("lib.run", *words)) for words in (("sagan",), ("sagan", "-p", "seed", "1"), ("diat",)))
    before = step.code
    assert before == seed.code != other.code
    monkeypatch.setattr(worklist, "of_notebook", lambda path: {"lib/papers/sagan.py": "changed"})
    assert step.code != before


def test_the_list_of_the_study_holds_commands_that_exist():
    given = {"celeba10k": "synthetic", "celeba4k": "synthetic", "lfw": "LFW", "device": "cpu", "profile": "smoke"}
    steps = worklist.read(ROOT / "gpu.yaml", given)
    assert not any(step.missing for step in steps)
    papers = [step for step in steps if step.command[0] == "lib.run"]
    for step in papers:
        name, *words = step.command[1:]
        values = run.parameters(name, [(words[i + 1], words[i + 2]) for i in range(0, len(words), 3)])
        assert values["device"] == "cpu"
    assert {step.command[1] for step in papers} == set(run.PAPERS)
    benchmarks = [step.command for step in steps if step.command[0] == "benchmarks"]
    assert [words[1] for words in benchmarks] == ["train", "train", "train", "gp", "infer", "memory"]
    for module in (atigan, bridgegan, diat, sagan, sggan):
        assert "gpu" in module.PROFILES
    missing = [step.name for step in worklist.read(ROOT / "gpu.yaml", {}) if step.missing]
    assert missing and all(re.search("celeba", name) for name in missing)
    table = (ROOT / "README.md").read_text().partition("| steps, in this order | expected minutes |")[2].partition("\n\n")[0]
    minutes = [float(n) for line in table.splitlines()[2:] for n in re.findall(r"[\d.]+", line.split("|")[2])]
    assert minutes == [step.minutes for step in steps], "README.md gives the list's minutes"

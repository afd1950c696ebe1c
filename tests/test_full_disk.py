"""A disk that is full, a folder that is read-only, a run that somebody else works on: a clear error, and nothing half-written.

A temporary file that is a link to /dev/full fails as on a full disk: the system refuses every byte.
"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from safetensors import SafetensorError

from lib import run
from lib.training import loop as engine
from lib.pages import report
from lib.training import runs
from lib.claims import Claim, Test
from lib.papers.sagan import model as sagan

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
REMEDY = "kept whole. Free space there or make it writable, or choose another run_dir; the same command goes on"
CLAIM = (Claim("X", "it works", "Sec. 1", "at least .8", (Test("edit_success | A + | M", ">=", 0.8),)),)
ROWS = [{"metric": "edit_success", "row": "A +", "column": "M", "value": 0.9, "n": 5}]
WRITERS = {
    "run.json": lambda r: r.update(note="new"),
    "metrics.csv": lambda r: r.add(ROWS),
    "claims.csv": lambda r: r.claims(CLAIM),
    "tables/table_1.csv": lambda r: r.table(r.frame(), "table_1"),
    "figures/curve.png": lambda r: r.figure(Figure(), "curve", faces=False),
}


def fill(file: Path) -> None:
    """The next time this process writes `file` the disk is full."""
    (file.parent / f".{file.name}.{os.getpid()}").symlink_to("/dev/full")


def left(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", WRITERS)
def test_a_record_is_written_whole_or_not_at_all(name, tmp_path, open_run):
    opened, _ = open_run(tmp_path)
    for write in WRITERS.values():
        write(opened)
    before = left(tmp_path)
    fill(tmp_path / name)
    with pytest.raises(runs.RunError, match=f"{tmp_path / name}: No space left on device. .*{REMEDY}"):
        WRITERS[name](opened)
    assert left(tmp_path) == before and not any(p.is_symlink() for p in tmp_path.rglob("*"))
    WRITERS[name](opened)  # there is space again
    assert (left(tmp_path) != before) == (name == "metrics.csv")  # the others hold the same again


def test_final_weights_that_cannot_be_written_leave_the_resume_file(tmp_path, open_run, faces, split, monkeypatch):
    opened, cfg = open_run(tmp_path, g_steps=2)

    def full(tensors, path):
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "save_file", full)
        with pytest.raises(runs.RunError, match=f"checkpoint.safetensors: .*No space left on device .*{REMEDY}"):
            engine.train(sagan, cfg, faces, split, opened)
    assert set(left(tmp_path)) == {"run.json", "config.json", "history.csv", "resume.pt", "lock"}
    monkeypatch.setattr(sagan, "d_loss", None)  # would fail if it trained again
    engine.train(sagan, cfg, faces, split, opened)
    assert opened.finished_weights() and not (tmp_path / "resume.pt").exists()


@pytest.mark.parametrize("name", ["resume.pt", "history.csv"])
def test_a_training_stopped_by_a_full_disk_goes_on_with_the_same_numbers(name, tmp_path, open_run, faces, split, monkeypatch):
    whole, cfg = open_run(tmp_path / "whole", g_steps=4)
    engine.train(sagan, cfg, faces, split, whole)
    stopped, _ = open_run(tmp_path / "stopped", g_steps=4)
    honest, calls = sagan.g_loss, []

    def filling(nets, batch, cfg):
        calls.append(1)
        if len(calls) == 3:
            fill(tmp_path / "stopped" / name)
        return honest(nets, batch, cfg)

    monkeypatch.setattr(sagan, "g_loss", filling)
    with pytest.raises((OSError, RuntimeError)) as caught:
        engine.train(sagan, cfg, faces, split, stopped, save_every=0)
    assert any(words in str(caught.value) for words in runs.UNWRITTEN), caught.value
    assert set(left(tmp_path / "stopped")) == {"run.json", "config.json", "history.csv", "resume.pt", "lock"}
    engine.train(sagan, cfg, faces, split, stopped)
    assert len(calls) == 3 + 2, "it went on after the second cycle"
    assert (tmp_path / "stopped" / "history.csv").read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()
    assert stopped.record["checkpoint_sha256"] == whole.record["checkpoint_sha256"]


@pytest.mark.parametrize("record_too", [False, True])
def test_the_command_line_says_which_folder_and_what_to_do(record_too, tmp_path, monkeypatch, capsys):
    def notebook(name, out, values):
        runs.write_json(tmp_path / "run" / "run.json", {"status": "running", "reason": ""})
        if record_too:
            fill(tmp_path / "run" / "run.json")
        return "RuntimeError: [enforce fail at inline_container.cc:672] . unexpected pos 768 vs 662"

    monkeypatch.setattr(run, "run_notebook", notebook)
    given = {"profile": "smoke", "data": "synthetic-balanced", "run_dir": str(tmp_path / "run"), "attribute": "Eyeglasses"}
    options = [text for name, value in given.items() for text in ("-p", name, value)]
    assert run.main(["sagan", *options, "--reports", str(tmp_path / "reports")]) == 1
    assert (tmp_path / "reports" / "index.html").exists()  # it lists failed runs too
    said = capsys.readouterr().err
    assert f"{tmp_path / 'run'}: a file there could not be written. What was there before is {REMEDY}" in said
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == ("running" if record_too else "failed") and (REMEDY in record["reason"]) != record_too
    assert (f"{tmp_path / 'run' / 'run.json'}: No space left" in said) == record_too
    assert set(left(tmp_path / "run")) == {"run.json", "lock"}


def test_a_run_that_another_process_works_on_is_left_alone(tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    runs.write_json(folder / "run.json", {"status": "running", "reason": ""})
    hold = "import sys, time, pathlib; from lib import runs; runs._lock(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(100)"
    other = subprocess.Popen([sys.executable, "-c", hold, str(folder)], stdout=subprocess.PIPE, text=True, cwd=runs.ROOT)
    try:
        assert other.stdout.readline().strip() == "held"
        given = ("-p", "profile", "smoke", "-p", "data", "synthetic-balanced", "-p", "run_dir", str(folder))
        assert run.main(["sagan", *given]) == 2
        assert f"error: {folder}: another process is working on this run. Wait for it or stop it." in capsys.readouterr().err
        runs.fail(folder, "refused")  # as by a second command that passed the check before the first one's kernel took the folder
        assert json.loads((folder / "run.json").read_text())["status"] == "running"
    finally:
        other.kill()
        other.wait()
    runs.fail(folder, "refused")
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "failed" and record["reason"] == "refused"


def test_a_read_only_folder_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    def read_only(*args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(runs, "open", read_only, raising=False)  # the superuser, as whom tests may run, is stopped by no permission
    monkeypatch.setattr(run, "run_notebook", None)
    assert run.main(["sagan", "-p", "profile", "smoke", "-p", "data", "synthetic-balanced", "-p", "run_dir", str(tmp_path)]) == 2
    assert f"error: {tmp_path}: cannot be written (Read-only file system). Free it or choose another with run_dir." in capsys.readouterr().err
    assert not left(tmp_path)


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "index.html").write_text("old")
    (tmp_path / f"index.html.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'index.html'}'"):
        report.index(tmp_path / "results", tmp_path)
    assert left(tmp_path) == {"index.html": b"old"}

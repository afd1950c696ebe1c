"""A disk that is full, a folder that is read-only: a clear error, and nothing half-written.

A temporary file that is a link to /dev/full fails as on a full disk: the system refuses every byte."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from lib.papers.sagan import model as sagan
from lib.training import models
from lib.training.models import ModelError

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def full(tensors, path: Path) -> None:
    path.write_bytes(b"half")
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("name", ["resume.pt", "history.csv", "model.json", "weights"])
def test_a_training_stopped_by_a_full_disk_goes_on_with_the_same_numbers(name, tmp_path, job, monkeypatch):
    whole, stopped = job(g_steps=4, results=tmp_path / "whole"), job(g_steps=4, results=tmp_path / "stopped")
    models.train(whole)
    honest, calls = sagan.g_loss, []

    def filling(nets, batch, cfg):
        calls.append(1)
        if len(calls) == 3 and name != "weights":
            (stopped.folder / f".{name}.{os.getpid()}").symlink_to("/dev/full")
        return honest(nets, batch, cfg)

    monkeypatch.setattr(sagan, "g_loss", filling)
    with monkeypatch.context() as patch, pytest.raises(ModelError) as caught:
        if name == "weights":  # safetensors goes round the link
            patch.setattr(models, "save_file", full)
        models.train(stopped, save_every=0)
    assert str(stopped.folder) in str(caught.value) and models.REMEDY in str(caught.value)
    assert not stopped.trained and not any(p.is_symlink() or p.name[0] == "." for p in stopped.folder.iterdir())
    models.train(stopped)
    assert stopped.trained and len(calls) < 3 + 4, "it went on"
    for file in ("history.csv", "weights.safetensors"):
        assert (stopped.folder / file).read_bytes() == (whole.folder / file).read_bytes()


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    models.write_json(tmp_path / "run.json", {"status": "running"})
    before = (tmp_path / "run.json").read_bytes()
    (tmp_path / f".run.json.{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(ModelError, match=f"{tmp_path / 'run.json'}: No space left on device. {models.REMEDY}"):
        models.write_json(tmp_path / "run.json", {"status": "complete"})
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"] and (tmp_path / "run.json").read_bytes() == before


def test_a_read_only_folder_is_refused(job, monkeypatch):
    def read_only(*args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(models, "open", read_only, raising=False)  # the superuser, as whom tests may run, is stopped by no permission
    with pytest.raises(ModelError, match=r"cannot be written \(Read-only file system\). Free it or choose another folder."):
        models.train(job())

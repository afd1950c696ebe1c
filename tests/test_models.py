"""Trained models: what decides their id, what they leave, what is refused."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from lib.papers.sagan import model as sagan
from lib.sources import ROOT
from lib.training import loop, models


def test_the_id_follows_what_is_trained_and_nothing_else(job, faces, split, monkeypatch):
    first = job()
    assert first.id == job().id and first.id.startswith("synthetic-balanced-32-s0-")
    others = [job(seed=1), job(lr=1e-3), replace(first, split=replace(split, checksum="x")), replace(first, faces=replace(faces, fingerprint="x"))]
    assert len({first.id, *(other.id for other in others)}) == 5
    monkeypatch.setattr(sagan, "DEVIATIONS", ())  # words do not void an hour of training
    monkeypatch.setattr(sagan, "SECONDS", 99.0)
    assert job().id == first.id
    monkeypatch.setattr(sagan, "TRAINING", 99)
    assert job().id != first.id


def test_a_trained_model_is_loaded_in_half_precision_and_never_trained_again(job, monkeypatch):
    made = job(g_steps=2)
    assert not made.trained and made.done == 0 and made.cycles == 2
    models.train(made)
    record = made.record
    assert made.trained and made.done == 2 and record["status"] == "complete" and record["config"]["g_steps"] == 2
    assert record["weights_sha256"] == models.sha256(made.folder / "weights.safetensors") and record["images_seen"] == {"D": 24, "G": 8}
    assert sorted(p.name for p in made.folder.iterdir()) == ["history.csv", "lock", "model.json", "weights.safetensors"]
    stored = load_file(made.folder / "weights.safetensors")
    assert all(v.dtype == torch.float16 for v in stored.values()) and all(k.startswith("Eyeglasses/G.") for k in stored)
    (nets,) = models.load(made).values()
    assert nets.D is None and not nets.G.training and next(nets.G.parameters()).dtype == torch.float32
    expected = stored["Eyeglasses/G.amn.0.weight"].float()
    assert torch.equal(nets.G.amn[0].weight, expected)
    monkeypatch.setattr(sagan, "d_loss", None)  # would fail if it trained
    models.train(made)
    models.forget(made)
    with pytest.raises(TypeError):
        models.train(made)


def test_files_are_readable_for_others(job):
    made = job(g_steps=1)
    models.train(made)
    assert all(p.stat().st_mode & 0o044 == 0o044 for p in made.folder.iterdir() if p.name != "lock")


def test_a_damaged_or_exchanged_file_is_one_sentence(job):
    made = job(g_steps=1)
    models.train(made)
    file = made.folder / "weights.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    with pytest.raises(models.ModelError, match="not the file that model.json records. Restore it"):
        models.load(made)
    file.write_bytes(whole)
    (made.folder / "model.json").write_text('{"status": "comp')
    assert not made.trained
    with pytest.raises(models.ModelError, match="model.json: not trained, or damaged. Train it: python -m lib.train sagan"):
        models.load(made)


def test_weights_too_large_for_a_repository_are_refused(job, monkeypatch):
    monkeypatch.setattr(models, "MEGABYTES", 0)
    with pytest.raises(models.ModelError, match="more than the 0 that a model may take"):
        models.train(job(g_steps=1))


def test_a_diverged_training_says_so_in_its_record(job, monkeypatch):
    monkeypatch.setattr(sagan, "g_loss", lambda nets, batch, cfg: (nets.G(batch.x, batch.y).mean() * float("nan"), {}))
    made = job(g_steps=12)
    with pytest.raises(loop.TrainingDiverged):
        models.train(made)
    assert made.record["status"] == "failed" and "G/loss = nan" in made.record["reason"] and not made.trained


def test_two_processes_cannot_train_one_model(job):
    made = job()
    lines = ("import sys, time", "from pathlib import Path", "from lib.training.models import hold", "hold(Path(sys.argv[1]))")
    code = "\n".join((*lines, "print(1, flush=True)", "time.sleep(60)"))
    other = subprocess.Popen([sys.executable, "-c", code, str(made.folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert other.stdout.readline().strip() == "1"
        with pytest.raises(models.ModelError, match="another process is working there"):
            models.train(made)
    finally:
        other.kill()
        other.wait()
    models.train(made)  # free again


def test_an_unwritable_folder_is_a_clear_error(job, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(models.ModelError, match="cannot be written"):
        models.train(job(results=tmp_path / "file"))


def test_a_number_that_half_precision_cannot_hold_is_refused():
    with pytest.raises(models.ModelError, match="G.w: a weight that half precision cannot hold"):
        models.half({"G.w": torch.tensor([1e6])})


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"x"'])
def test_half_a_record_is_no_record(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    assert models.read_record(tmp_path / "model.json") is None and models.read_record(tmp_path / "none.json") is None
    (tmp_path / "model.json").write_text(json.dumps({"a": 1}))
    assert models.read_record(tmp_path / "model.json") == {"a": 1}

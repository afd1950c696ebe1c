"""The training loop: resume equals an uninterrupted run bit for bit, whatever stopped it; NaN stops with the term and the cycle."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from lib import engine
from lib.papers import sagan
from lib.runs import ROOT

CHILD = """
import sys
from pathlib import Path
from lib import engine, runs
from lib.data import load, split_most_images
from lib.papers import sagan
import torch

torch.set_num_threads(1)
cache, folder = map(Path, sys.argv[1:3])
faces = load("synthetic-balanced", 32, n=600, cache_dir=cache)
split = split_most_images(faces)
cfg = sagan.Config(**vars(sagan.smoke()) | {"attribute": "Eyeglasses,Smiling", "g_steps": 40})
run = runs.start(sagan, cfg, faces, split, profile="smoke", seed=1, run_dir=str(folder))
print("training", flush=True)
engine.train(sagan, cfg, faces, split, run, save_every=float(sys.argv[3]))
print(run.record["checkpoint_sha256"], flush=True)
"""


def child(cache, folder, save_every="0"):
    command = [sys.executable, "-c", CHILD, str(cache), str(folder), save_every]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_three_times_it_ends_as_if_never_stopped(tmp_path):
    whole = child(tmp_path / "cache", tmp_path / "whole", "1000")
    out, err = whole.communicate(timeout=240)
    assert whole.returncode == 0, err
    wait = random.Random(4)
    for _ in range(3):
        process = child(tmp_path / "cache", tmp_path / "killed")
        assert process.stdout.readline().strip() == "training"
        time.sleep(0.4 + 1.2 * wait.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed" / "checkpoint.safetensors").exists(), "it was killed too late to test anything"
    killed = child(tmp_path / "cache", tmp_path / "killed")
    resumed_out, err = killed.communicate(timeout=240)
    assert killed.returncode == 0, err
    assert (tmp_path / "killed" / "history.csv").read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()
    assert resumed_out.split()[-1] == out.split()[-1]  # the same weights, by hash
    rows = pd.read_csv(tmp_path / "whole" / "history.csv")
    assert list(rows.groupby("stage")["cycle"].max()) == [40, 40] and list(rows["cycle"][:5]) == [1, 10, 20, 30, 40]
    assert not (tmp_path / "killed" / "resume.pt").exists()


def test_interrupt_saves_and_the_same_call_goes_on(tmp_path, open_run, faces, split, monkeypatch):
    whole, cfg = open_run(tmp_path / "whole", g_steps=8)
    engine.train(sagan, cfg, faces, split, whole)
    calls, honest = [], sagan.g_loss

    def interrupted(nets, batch, cfg):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return honest(nets, batch, cfg)

    run, cfg = open_run(tmp_path / "stopped", g_steps=8)
    monkeypatch.setattr(sagan, "g_loss", interrupted)
    with pytest.raises(KeyboardInterrupt, match="after cycle 3 of stage Eyeglasses"):
        engine.train(sagan, cfg, faces, split, run)
    assert (tmp_path / "stopped" / "resume.pt").exists()
    monkeypatch.setattr(sagan, "g_loss", honest)
    engine.train(sagan, cfg, faces, split, run)
    assert (tmp_path / "stopped" / "history.csv").read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()
    assert run.record["checkpoint_sha256"] == whole.record["checkpoint_sha256"]


def test_a_finished_training_is_loaded_not_repeated(tmp_path, open_run, faces, split, monkeypatch):
    run, cfg = open_run(tmp_path, g_steps=2)
    first = engine.weights(engine.train(sagan, cfg, faces, split, run))
    monkeypatch.setattr(sagan, "d_loss", None)  # would fail if it trained
    second = engine.weights(engine.train(sagan, cfg, faces, split, run))
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"broken")
    with pytest.raises(TypeError):  # a checkpoint with another hash is not trusted: it trains again, and d_loss is None
        engine.train(sagan, cfg, faces, split, run)


def test_another_seed_is_another_training_and_the_same_seed_the_same(tmp_path, open_run, faces, split):
    histories = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run, cfg = open_run(tmp_path / name, seed=seed, g_steps=2)
        engine.train(sagan, cfg, faces, split, run)
        histories.append((tmp_path / name / "history.csv").read_text())
    assert histories[0] == histories[1] != histories[2]


def test_nan_stops_and_names_term_stage_and_cycle(tmp_path, open_run, faces, split, monkeypatch):
    honest, calls = sagan.g_loss, []

    def poisoned(nets, batch, cfg):
        total, parts = honest(nets, batch, cfg)
        calls.append(1)
        return (total * float("nan"), parts | {"cls": parts["cls"] * float("nan")}) if len(calls) == 14 else (total, parts)

    run, cfg = open_run(tmp_path, g_steps=30)
    monkeypatch.setattr(sagan, "g_loss", poisoned)
    with pytest.raises(engine.TrainingDiverged, match=r"G/cls = nan, G/total = nan in stage Eyeglasses, cycle 14"):
        engine.train(sagan, cfg, faces, split, run)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == run.record["status"] == "failed" and "G/cls = nan" in record["reason"]
    history = pd.read_csv(tmp_path / "history.csv")
    assert list(history["cycle"]) == [1, 10] and history.notna().all().all()


def test_weights_of_another_configuration_are_refused(tmp_path, open_run, faces, split):
    run, cfg = open_run(tmp_path / "a", g_steps=1)
    weights = engine.weights(engine.train(sagan, cfg, faces, split, run))
    other = {"Eyeglasses": sagan.build(sagan.Config(**vars(cfg) | {"width": 3}))}
    with pytest.raises(ValueError, match="checkpoint.safetensors: it does not hold the networks of this configuration"):
        engine.load_weights(other, weights, "checkpoint.safetensors")

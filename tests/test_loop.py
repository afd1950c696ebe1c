"""The training loop: resume equals an uninterrupted run bit for bit, whatever stopped it; NaN stops with term and cycle."""

import os
import random
import signal
import subprocess
import sys
import time
import types
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lib.data import Batches, DataError, Examples
from lib.papers.sagan import model as sagan
from lib.sources import ROOT
from lib.training import loop

CHILD = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from lib.data import load, make_split
from lib.papers.sagan import model as sagan
from lib.training import models

torch.set_num_threads(1)
faces = load("synthetic-balanced", 32, n=600)
cfg = replace(sagan.PROFILES["smoke"](), attribute="Eyeglasses,Smiling", g_steps=40)
job = models.Job(sagan, cfg, faces, make_split(faces), seed=1, results=Path(sys.argv[1]))
print(job.folder, flush=True)
models.train(job, save_every=float(sys.argv[2]))
print(job.record["weights_sha256"], flush=True)
"""


def child(results, save_every="0"):
    command = [sys.executable, "-c", CHILD, str(results), save_every]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_three_times_it_ends_as_if_never_stopped(tmp_path):
    whole = child(tmp_path / "whole", "1000")
    folder = Path(whole.stdout.readline().strip())
    out, err = whole.communicate(timeout=240)
    assert whole.returncode == 0, err
    wait = random.Random(4)
    for _ in range(3):
        process = child(tmp_path / "killed")
        killed = Path(process.stdout.readline().strip())
        time.sleep(0.4 + 1.2 * wait.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (killed / "weights.safetensors").exists(), "it was killed too late to test anything"
    last = child(tmp_path / "killed")
    resumed, err = last.communicate(timeout=240)
    assert last.returncode == 0, err
    assert (killed / "history.csv").read_bytes() == (folder / "history.csv").read_bytes()
    assert resumed.split()[-1] == out.split()[-1]  # the same weights, by hash
    rows = pd.read_csv(folder / "history.csv")
    assert list(rows.groupby("stage")["cycle"].max()) == [40, 40] and list(rows["cycle"][:5]) == [1, 10, 20, 30, 40]
    assert not list(killed.glob("resume*"))


def test_interrupt_saves_and_the_same_call_goes_on(into, job, faces, split, monkeypatch):
    cfg, whole, run = job(g_steps=8).cfg, into("whole"), into("stopped")
    expected, _ = loop.train(sagan, cfg, faces, split, whole)
    calls, honest = [], sagan.g_loss

    def interrupted(nets, batch, cfg):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return honest(nets, batch, cfg)

    monkeypatch.setattr(sagan, "g_loss", interrupted)
    with pytest.raises(KeyboardInterrupt, match="after cycle 3 of stage Eyeglasses"):
        loop.train(sagan, cfg, faces, split, run)
    assert (run / "resume.pt").exists()
    monkeypatch.setattr(sagan, "g_loss", honest)
    models, report = loop.train(sagan, cfg, faces, split, run)
    assert (run / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()
    assert all(torch.equal(v, loop.weights(expected)[k]) for k, v in loop.weights(models).items())
    assert report["Eyeglasses"]["cycles"] == 8 and report["Eyeglasses"]["images_seen"] == {"D": 8 * 3 * 4, "G": 8 * 4}


@pytest.mark.parametrize("damage", [lambda f: f.write_bytes(f.read_bytes()[:1000]), lambda f: torch.save(torch.ones(3), f)])
def test_a_damaged_snapshot_is_set_aside_and_the_one_before_it_used(damage, into, job, faces, split):
    cfg, whole, run = job(g_steps=6).cfg, into("whole"), into("damaged")
    expected, _ = loop.train(sagan, cfg, faces, split, whole, save_every=0)
    loop.train(sagan, cfg, faces, split, run, save_every=0)
    damage(run / "resume.pt")
    with pytest.warns(UserWarning, match="resume.pt: damaged .* goes on from what was saved before"):
        models, _ = loop.train(sagan, cfg, faces, split, run, save_every=0)
    assert (run / "resume.damaged").exists()
    assert all(torch.equal(v, loop.weights(expected)[k]) for k, v in loop.weights(models).items())


def test_another_seed_is_another_training_and_the_same_seed_the_same(into, job, faces, split):
    histories = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = into(name)
        loop.train(sagan, job(g_steps=2).cfg, faces, split, run, seed)
        histories.append((run / "history.csv").read_text())
    assert histories[0] == histories[1] != histories[2]


def test_nan_stops_and_names_term_stage_and_cycle(into, job, faces, split, monkeypatch):
    honest, calls = sagan.g_loss, []

    def poisoned(nets, batch, cfg):
        total, parts = honest(nets, batch, cfg)
        calls.append(1)
        return (total * float("nan"), parts | {"cls": parts["cls"] * float("nan")}) if len(calls) == 14 else (total, parts)

    run, cfg = into(), job(g_steps=30).cfg
    monkeypatch.setattr(sagan, "g_loss", poisoned)
    with pytest.raises(loop.TrainingDiverged, match=r"G/loss = nan, G/cls = nan in stage Eyeglasses, cycle 14"):
        loop.train(sagan, cfg, faces, split, run)
    history = pd.read_csv(run / "history.csv")
    assert list(history["cycle"]) == [1, 10] and history.notna().all().all()


def test_weights_of_another_configuration_are_refused(into, job, faces, split):
    cfg = job(g_steps=1).cfg
    weights = loop.weights(loop.train(sagan, cfg, faces, split, into())[0])
    other = {"Eyeglasses": sagan.build(sagan.Config(**vars(cfg) | {"width": 3}))}
    with pytest.raises(ValueError, match="checkpoint.safetensors: it does not hold the networks of this configuration"):
        loop.load_weights(other, weights, "checkpoint.safetensors")


class Scale(torch.nn.Module):
    """One weight; pool, if given, holds the number of the last image it saw."""

    def __init__(self, transient=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.transient = transient
        self.register_buffer("last", torch.zeros(()))


@dataclass
class TwoNets:
    a: Scale
    b: Scale


def toy(stages, log):
    """A paper-like module whose losses write down (update, batch rows, learning rates do not matter) and move their
    network's weight."""

    def loss(name):
        def step(nets, batch, cfg):
            log.append((name, batch.index.tolist(), float(torch.rand(1, generator=batch.rng))))
            nets.b.last.fill_(float(batch.index[0]))
            total = getattr(nets, name).weight ** 4 * batch.x.mean().add(3)
            return total, {"w": getattr(nets, name).weight.detach().clone()}

        return step

    paper = types.SimpleNamespace(build=lambda cfg: TwoNets(Scale(), Scale(transient=True)))
    paper.stages = lambda cfg: stages(loop.Update("a", ("a",), loss("a"), 0.1, (0.0, 0.9), repeats=2), loop.Update, loss)
    return paper


def test_updates_share_a_batch_come_rarely_and_follow_their_schedule(into, job, faces, split):
    log = []

    def stages(a, update, loss):
        b = update("b", ("b",), loss("b"), 0.1, (0.0, 0.9), fresh=False, every=3, schedule=lambda k: 1 - k / 10)
        return [loop.Stage("one", "m", ("Smiling",), (a, b), 6, 4)]

    run, cfg = into(), job().cfg
    _, report = loop.train(toy(stages, log), cfg, faces, split, run, log_every=1)
    assert [name for name, *_ in log] == ["a", "a"] * 3 + ["b"] + ["a", "a"] * 3 + ["b"]
    assert log[6][1] == log[5][1] and log[6][2] != log[5][2]  # b saw the batch of the last a, whose generator went on
    seen = [row for name, rows, _ in log if name == "a" for row in rows]
    assert len(set(seen)) == len(seen) == 48  # fresh batches follow each other through the epoch, none is skipped or repeated
    source = Batches(faces, split.train, ("Smiling",), 4, 0)
    assert seen == [r for k in range(12) for r in source(k).index.tolist()]
    rows = pd.read_csv(run / "history.csv")
    assert rows["b/lr"].dropna().tolist() == pytest.approx([0.08, 0.05]) and list(rows.index[rows["b/lr"].notna()] + 1) == [3, 6]
    assert report["one"]["images_seen"] == {"a": 48, "b": 8}


def test_an_update_may_have_a_pool_of_its_own(into, job, faces, split):
    log, few = [], split.train[:12]

    def stages(a, update, loss):
        b = update("b", ("b",), loss("b"), 0.1, (0.0, 0.9), every=2, examples=lambda faces, split, seed: Examples(few))
        return [loop.Stage("one", "m", ("Smiling",), (a, b), 4, 4)]

    run, cfg = into(), job().cfg
    loop.train(toy(stages, log), cfg, faces, split, run)
    assert [name for name, *_ in log] == ["a", "a", "a", "a", "b"] * 2
    whole, own = Batches(faces, split.train, ("Smiling",), 4, 0), Batches(faces, few, ("Smiling",), 4, 0)
    assert [rows for _, rows, _ in log] == [(own if k in (4, 9) else whole)(k).index.tolist() for k in range(10)]


def test_a_stage_of_the_same_model_keeps_optimisers_and_transient_state_is_left_out(into, job, faces, split):
    def two(a, update, loss):
        return [loop.Stage(n, "m", ("Smiling",), (a,), 3, 4) for n in ("one", "two")]

    def one(a, update, loss):
        return [loop.Stage("one", "m", ("Smiling",), (a,), 6, 4)]

    def renamed(a, update, loss):
        return [loop.Stage(n, "m", ("Smiling",), (replace(a, name=n),), 3, 4) for n in ("one", "two")]

    final = {}
    for name, stages in (("two", two), ("one", one), ("renamed", renamed)):
        run, cfg = into(name), job().cfg
        log = []
        models, _ = loop.train(toy(stages, log), cfg, faces, split, run, log_every=1)
        final[name] = float(models["m"].a.weight)
        assert sorted(loop.weights(models)) == ["m/a.last", "m/a.weight"]
        assert sorted(loop.weights(models, transient=True)) == ["m/a.last", "m/a.weight", "m/b.last", "m/b.weight"]
    # two stages in a row are one long stage, batches and Adam's memory included; with a new optimiser they are not
    assert final["two"] == final["one"] and abs(final["renamed"] - final["two"]) > 0.05


def test_examples_replace_the_labels_repeat_and_carry_planes(faces, split):
    rows = np.array([5, 5, 5, 9])
    planes = np.zeros((4, 1, faces.size, faces.size), np.uint8)
    planes[..., :4] = 255  # a mark on the left
    labels = np.array([[-1.0], [-1.0], [-1.0], [1.0]], np.float32)
    source = Batches(faces, Examples(rows, labels, planes), ("Smiling",), 4, 0, flip=True)
    batch = source(0)
    assert sorted(batch.index.tolist()) == [5, 5, 5, 9] and batch.y[batch.index == 9].tolist() == [[1.0]]
    assert (batch.y[batch.index == 5] == -1).all()
    for k in range(4):
        left, right = batch.planes[k, 0, :, 0], batch.planes[k, 0, :, -1]
        assert (left.mean(), right.mean()) == ((0, 1) if batch.flipped[k] else (1, 0))
    assert 0 < sum(int(source(k).flipped.sum()) for k in range(4)) < 16
    with pytest.raises(DataError, match="hidden labels, which cannot be balanced"):
        Batches(faces, Examples(rows, labels), ("Smiling",), 4, 0, "balanced")

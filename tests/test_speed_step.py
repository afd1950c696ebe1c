"""Recorded steps, with a replay that calls again in place of a GPU's: the same numbers as plain steps, in every paper's pattern of updates."""

import json
import random
import types
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lib import engine, runs, step
from lib.baselines import resgan, stargan
from lib.papers import atigan, bridgegan, sagan, sggan
from lib.step import CallAgain, Captured, Eager

CASES = {
    "sagan": (sagan, {"attribute": "Eyeglasses", "g_steps": 6}),
    "atigan": (atigan, {"n_iter": 10, "n_gen": 2, "th_disc": 0.5, "ablations": False}),
    "bridgegan": (bridgegan, {"g_steps": 5, "lr_decay": 0.5}),
    "sggan": (sggan, {"g_steps": 5}),
    "stargan": (stargan, {"g_steps": 5, "n_critic": 2}),
    "resgan": (resgan, {"steps": 5}),
}


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the processor wait for a GPU's value, as a GPU's own debug mode does."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select):
            raise RuntimeError(f"{func} waits for a value")
        return func(*args, **(kwargs or {}))


class Watched(CallAgain):
    """Replays by calling, and looks for such waiting without a GPU."""

    def strict(self):
        return NoWaiting()


@pytest.fixture
def recording(monkeypatch):
    """(recorder) -> every training from here on records its steps with it."""

    def use(recorder):
        monkeypatch.setattr(engine, "stepper", lambda *args: Captured(*args[:4], args[4](), args[5], recorder))

    return use


@pytest.fixture
def begin(faces, split):
    """(paper, folder, **fields) -> a Run of its smoke profile there, and the Config."""
    opened = []

    def start(paper, folder, **fields):
        cfg = replace(paper.PROFILES["smoke"](), **fields)
        run = runs.start(paper, cfg, faces, split, profile="smoke", seed=3, run_dir=str(folder))
        opened.append(run.folder)
        return run, cfg

    yield start
    for folder in opened:
        runs.release(folder)


@pytest.mark.parametrize("name", CASES)
def test_recorded_steps_end_with_the_weights_and_losses_of_plain_ones(name, tmp_path, begin, recording, faces, split):
    paper, fields = CASES[name]
    plain, cfg = begin(paper, tmp_path / "plain", **fields)
    engine.train(paper, cfg, faces, split, plain, log_every=2)
    recording(Watched())
    recorded, cfg = begin(paper, tmp_path / "recorded", **fields)
    engine.train(paper, cfg, faces, split, recorded, log_every=2)
    assert {s["step"] for s in plain.record["stages"].values()} == {"eager"}
    assert {s["step"] for s in recorded.record["stages"].values()} == {"captured"}
    assert min(s["cycles"] for s in recorded.record["stages"].values()) >= 5
    assert (plain.folder / "history.csv").read_bytes() == (recorded.folder / "history.csv").read_bytes()
    assert plain.record["checkpoint_sha256"] == recorded.record["checkpoint_sha256"]


class Counted(torch.nn.Module):
    """One weight, and how many steps it has taken."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.register_buffer("steps", torch.zeros(()))


@dataclass
class OneNet:
    a: Counted


def loss(nets, batch, cfg):
    """Moves with the batch and its random numbers; NaN in the step that cfg.bad names."""
    nets.a.steps += 1
    total = nets.a.weight.square() * (batch.x.mean() + 2 + torch.rand((), generator=batch.rng))
    return total * torch.where(nets.a.steps == cfg.bad, float("nan"), 1.0), {"w": nets.a.weight.detach().clone()}


def toy(of=loss, cycles=8):
    update = engine.Update("a", ("a",), of, 0.05, (0.5, 0.9), repeats=2)
    stage = engine.Stage("one", "m", ("Smiling",), (update,), cycles, 4)
    return types.SimpleNamespace(build=lambda cfg: OneNet(Counted()), stages=lambda cfg: [stage])


@pytest.mark.parametrize("first, then", [("recorded", "recorded"), ("recorded", "plain"), ("plain", "recorded")])
def test_an_interrupted_training_goes_on_in_either_way(first, then, tmp_path, begin, recording, faces, split, monkeypatch):
    whole, _ = begin(sagan, tmp_path / "whole")
    run, _ = begin(sagan, tmp_path / "halves")
    cfg, honest, saved = types.SimpleNamespace(bad=-1), engine.stepper, engine.save_atomically
    engine.train(toy(), cfg, faces, split, whole)

    def until_cycle_3(file, write):
        saved(file, write)
        if file.name == "resume.pt" and torch.load(file, weights_only=True)["cycle"] == 3:
            raise KeyboardInterrupt

    for how, save in ((first, until_cycle_3), (then, saved)):
        monkeypatch.setattr(engine, "save_atomically", save)
        monkeypatch.setattr(engine, "stepper", honest)
        if how == "recorded":
            recording(CallAgain())
        with nullcontext() if save is saved else pytest.raises(KeyboardInterrupt):
            engine.train(toy(), cfg, faces, split, run, save_every=0)
    stage = run.record["stages"]["one"]
    assert stage["cycles"] == 8 and stage["step"] == {"recorded": "captured", "plain": "eager"}[then]
    assert run.record["checkpoint_sha256"] == whole.record["checkpoint_sha256"]
    assert (run.folder / "history.csv").read_bytes() == (whole.folder / "history.csv").read_bytes()


def final(tmp_path, begin, faces, split, name, of=loss, bad=-1):
    run, _ = begin(sagan, tmp_path / name)
    engine.train(toy(of), types.SimpleNamespace(bad=bad), faces, split, run, log_every=3)
    return run.record["stages"]["one"]["step"], run.record["checkpoint_sha256"]


def test_trials_leave_no_trace_and_the_generator_goes_on(tmp_path, begin, recording, faces, split):
    plain = final(tmp_path, begin, faces, split, "plain")
    recording(CallAgain())
    assert final(tmp_path, begin, faces, split, "recorded") == ("captured", plain[1]) and plain[0] == "eager"


def test_nan_in_a_recorded_step_is_found_with_its_term_and_cycle(tmp_path, begin, recording, faces, split):
    recording(CallAgain())
    with pytest.raises(engine.TrainingDiverged, match=r"^a/total = nan in stage one, cycle 4\."):
        final(tmp_path, begin, faces, split, "run", bad=8)  # the second step of cycle 4
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


class Broken(CallAgain):
    """Replays something else than the step."""

    def __init__(self, fault):
        self.fault = fault

    def record(self, work, optimiser, rng):
        if self.fault == "refuses":
            raise RuntimeError("operation not permitted\nwith a long story")

        def replay():
            if self.fault == "same random numbers again":
                rng.manual_seed(rng.initial_seed())
            lr = optimiser.param_groups[0]["lr"]
            rate = lr.clone()
            lr.mul_(self.fault != "no update")
            if self.fault != "does nothing":
                work()
            lr.copy_(rate)

        return replay


@pytest.mark.parametrize("fault", ["refuses", "same random numbers again", "no update", "does nothing"])
def test_a_replay_that_does_not_repeat_the_step_is_not_used(fault, tmp_path, begin, recording, faces, split):
    plain = final(tmp_path, begin, faces, split, "plain")
    recording(Broken(fault))
    how, weights = final(tmp_path, begin, faces, split, "broken")
    reason = "operation not permitted" if fault == "refuses" else "the replay is off by 0."
    assert how.startswith(f"eager (a: {reason}") and how.endswith(")") and "\n" not in how
    assert weights == plain[1]


def test_a_step_that_draws_from_another_generator_stays_plain(tmp_path, begin, recording, faces, split):
    def own(draw):
        return lambda nets, batch, cfg: (loss(nets, batch, cfg)[0] + 0 * float(draw()), {})

    recording(CallAgain())
    for name, draw in (("python", random.random), ("numpy", np.random.rand), ("torch", lambda: torch.rand(()))):
        how, _ = final(tmp_path, begin, faces, split, name, of=own(draw))
        assert how == "eager (a: it draws from a generator that is not the batch's)"


def test_one_plain_update_among_recorded_ones_is_named(faces, split):
    nets, updates = OneNet(Counted()), [engine.Update(n, ("a",), loss, 0.05, (0.5, 0.9)) for n in "ab"]
    modules = engine.networks(nets)
    source = engine.Batches(faces, split.train, ("Smiling",), 4, 0)
    steps = Captured(nets, modules, {u.name: engine._adam(u, modules) for u in updates}, types.SimpleNamespace(bad=-1), source(0), 2, CallAgain())
    assert steps.how == "captured"
    for u, recorder in zip(updates, (CallAgain(), Broken("refuses")), strict=True):
        steps.recorder = recorder
        steps.take(source(0))
        steps.rate(u, 1)
        steps.perform(u, 1)
    assert steps.how == "captured (b: operation not permitted)"


def test_where_there_is_no_gpu_steps_are_plain_and_the_environment_can_ask_for_it(monkeypatch):
    cpu = step.stepper(None, {}, {}, None, None, 1, torch.device("cpu"))
    assert type(cpu) is Eager and cpu.how == "eager"
    monkeypatch.setenv("STUDY_STEP", "eager")
    gpu = step.stepper(None, {}, {}, None, None, 1, torch.device("cuda"))
    assert type(gpu) is Eager and gpu.how == "eager (STUDY_STEP=eager)"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_on_a_gpu_captured_losses_follow_plain_ones(name, tmp_path, begin, faces, split, monkeypatch):
    paper, fields = CASES[name]
    curves = []
    for how in ("eager", "captured"):
        monkeypatch.setenv("STUDY_STEP", how)
        run, cfg = begin(paper, tmp_path / how, **fields)
        run.device = "cuda"
        engine.train(paper, cfg, faces, split, run, log_every=1)
        assert {s["step"].split()[0] for s in run.record["stages"].values()} == {how}
        curves.append(engine.pd.read_csv(run.folder / "history.csv").filter(like="/total").head(5))
    assert np.allclose(*curves, rtol=1e-3, atol=1e-3, equal_nan=True)

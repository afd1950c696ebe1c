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

from lib import engine, fuse, replay, runs, step, transfer
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


class Drawing(torch.nn.Module):
    """A generator with a norm, whose sequence a loss may call as well."""

    def __init__(self):
        super().__init__()
        norm = torch.nn.InstanceNorm2d(4, affine=True)
        self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 1, 1), norm, torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1))

    def forward(self, x):
        return x + self.net(x)


@dataclass
class Painter:
    G: Drawing
    D: torch.nn.Conv2d


def painting(nets, batch, cfg):
    """A score, its gradient penalty, and a reconstruction."""
    fake = nets.G(batch.x + 0.1 * torch.randn(batch.x.shape, generator=batch.rng))
    between = fake.detach().requires_grad_()
    (slope,) = torch.autograd.grad(nets.D(between).square().sum(), between, create_graph=True)
    total = (nets.G.net(fake) - batch.x).abs().mean() + slope.square().mean() - nets.D(fake).mean()
    return total, {"moved": (fake - batch.x).abs().mean().detach()}


def studio():
    updates = tuple(engine.Update(n, (n,), painting, 0.01, (0.5, 0.9)) for n in "DG")
    stage = engine.Stage("one", "m", ("Smiling",), updates, 4, 4)
    return types.SimpleNamespace(build=lambda cfg: Painter(Drawing(), torch.nn.Conv2d(3, 1, 4, 2)), stages=lambda cfg: [stage])


class Clock(CallAgain):
    """Says what each of two recordings of an update takes."""

    def __init__(self, *times):
        self.times = list(times)

    def seconds(self, replay):
        replay()
        return self.times.pop(0)


FASTER = {(3, 2, 1, 4): ("compiled: 1.50", "not compiled: 0.25"), (1, 2, 6, 3): ("not compiled: 0.50", "compiled: 2.00")}


@pytest.mark.parametrize("times, said", FASTER.items())
def test_of_two_recordings_the_faster_is_used_and_both_train_alike(times, said, tmp_path, begin, faces, split, monkeypatch):
    made = []

    def recorded(backend, recorder):
        def stepper(*args):
            made.append(Captured(*args[:4], args[4](), args[5], recorder, backend))
            return made[-1]

        return stepper

    curves = {}
    for name, backend, recorder in (("plain", "", CallAgain()), ("compiled", "aot_eager", Clock(*times))):
        monkeypatch.setattr(engine, "stepper", recorded(backend, recorder))
        run, _ = begin(sagan, tmp_path / name)
        engine.train(studio(), types.SimpleNamespace(), faces, split, run, log_every=1)
        curves[name] = engine.pd.read_csv(run.folder / "history.csv").filter(like="/total")
        how = run.record["stages"]["one"]["step"]
    assert how == f"captured (D: {said[0]} times as fast; G: {said[1]} times as fast)"
    assert np.allclose(*curves.values(), atol=1e-4) and len(curves["plain"]) == 4 and curves["plain"].std().min() > 1e-3
    left = [m for net in made[-1].modules.values() for m in net.modules() if m._compiled_call_impl or m._forward_pre_hooks]
    assert not left and torch.nn.functional.instance_norm is fuse.stock_norm


def test_generators_that_cannot_be_compiled_are_recorded_as_they_are(tmp_path, begin, faces, split, monkeypatch):
    def refuses(graph, inputs):
        raise RuntimeError("no compiler here\nand a long story")

    monkeypatch.setattr(engine, "stepper", lambda *args: Captured(*args[:4], args[4](), args[5], CallAgain(), refuses))
    run, _ = begin(sagan, tmp_path / "run")
    engine.train(studio(), types.SimpleNamespace(), faces, split, run)
    how = run.record["stages"]["one"]["step"]
    assert how.startswith("captured (D: not compiled: ") and "; G: not compiled: " in how and "no compiler here" in how and "\n" not in how
    steps = Captured(OneNet(Counted()), {}, {}, None, engine.Batches(faces, split.train, ("Smiling",), 4, 0)(0), 2, CallAgain(), "aot_eager")
    with pytest.raises(RuntimeError, match="no network holds an instance norm"), fuse.fused(steps.modules):
        pass


def test_the_environment_asks_for_compiled_generators_on_a_gpu(monkeypatch, faces, split):
    monkeypatch.setattr(step, "CudaGraphs", CallAgain)
    like = lambda: engine.Batches(faces, split.train, ("Smiling",), 4, 0)(0)  # noqa: E731
    for value, backend in (("compiled", "inductor"), ("captured", ""), ("", "")):
        monkeypatch.setenv("STUDY_STEP", value)
        steps = step.stepper(None, {}, {}, None, like, 1, torch.device("cuda"))
        assert type(steps) is Captured and steps.backend == backend


@pytest.mark.parametrize("affine", [False, True])
def test_the_fusible_norm_is_torchs_and_keeps_the_order_in_memory(affine, float64):
    torch.manual_seed(0)
    x = (3 * torch.randn(2, 5, 6, 4) + 1).contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = (torch.randn(5, requires_grad=True), torch.randn(5, requires_grad=True)) if affine else (None, None)
    found = []
    for norm in (fuse.stock_norm, fuse.instance_norm):
        y = norm(x, weight=weights[0], bias=weights[1], eps=1e-3)
        found.append((y.detach(), *torch.autograd.grad(y.pow(3).sum(), [t for t in (x, *weights) if t is not None])))
    assert y.is_contiguous(memory_format=torch.channels_last)
    for got, wanted in zip(*found, strict=True):
        assert (got - wanted).norm() <= 1e-12 * wanted.norm() and wanted.norm() > 1e-3
    half = fuse.instance_norm(x.detach().bfloat16())
    assert half.dtype == torch.bfloat16 and torch.allclose(half.double(), fuse.stock_norm(x.detach(), eps=1e-5), atol=0.05)
    kept = torch.zeros(5), torch.ones(5)
    assert torch.equal(fuse.instance_norm(x.detach(), *kept, use_input_stats=False), fuse.stock_norm(x.detach(), *kept, use_input_stats=False))


def test_an_edit_is_recorded_only_on_a_gpu_and_timed_in_every_way_there_is(monkeypatch):
    x = torch.zeros(2, 3, 8, 8)
    with pytest.raises(RuntimeError, match="only what runs on a GPU can be recorded; this is on cpu"):
        replay.recorded(torch.tanh, x)
    assert replay.ways(torch.tanh, x) == ({"": torch.tanh}, "")

    def refuses(work, x):
        raise RuntimeError("it waits for a value\nwhile it is recorded")

    elsewhere = types.SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(replay, "recorded", refuses)
    assert replay.ways(torch.tanh, elsewhere) == ({"": torch.tanh}, "it waits for a value")
    monkeypatch.setattr(replay, "recorded", lambda work, x: torch.sinh)
    assert replay.ways(torch.tanh, elsewhere) == ({"": torch.tanh, "CUDA graph": torch.sinh}, "")
    monkeypatch.setattr(replay, "ways", lambda work, x: ({"": work, "CUDA graph": work}, ""))
    rows = transfer.speed({"T": torch.tanh}, 8, "cpu", batches=(1, 2))
    assert [(r["row"], r["column"]) for r in rows] == [(f"batch {b}", f"T on cpu{way}") for b in (1, 2) for way in ("", ", CUDA graph")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_recorded_edit_gives_the_images_of_the_plain_one():
    net = Drawing().cuda().requires_grad_(False)
    a, b = (torch.rand(2, 3, 16, 16, device="cuda") for _ in range(2))
    edit = replay.recorded(net, a)
    for x in (a, b, a):
        assert torch.allclose(edit(x), net(x), atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_on_a_gpu_captured_losses_follow_plain_ones(name, tmp_path, begin, faces, split, monkeypatch):
    paper, fields = CASES[name]
    curves = []
    for how in ("eager", "captured", "compiled"):
        monkeypatch.setenv("STUDY_STEP", how)
        run, cfg = begin(paper, tmp_path / how, **fields)
        run.device = "cuda"
        engine.train(paper, cfg, faces, split, run, log_every=1)
        assert {s["step"].split()[0] for s in run.record["stages"].values()} == {"eager" if how == "eager" else "captured"}
        curves.append(engine.pd.read_csv(run.folder / "history.csv").filter(like="/total").head(5))
    for curve in curves[1:]:
        assert np.allclose(curves[0], curve, rtol=1e-3, atol=1e-3, equal_nan=True)

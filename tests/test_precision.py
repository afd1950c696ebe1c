"""bf16 training: what is rounded and what is not; close to float32, and neither equal to it nor worse than another seed."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.common import EVERY, case, copy_of
from benchmarks.plain import everywhere
from lib import engine, parallel, precision, run, runs
from lib.baselines import stargan
from lib.data import Batch
from lib.losses import gradient_penalty, interpolate
from lib.papers import sagan
from lib.params import ParameterError
from lib.step import CallAgain, Captured

BF16, FLOAT32 = torch.bfloat16, torch.float32
SMALL = {"sagan": (sagan, {"attribute": "Eyeglasses", "g_steps": 24}), "stargan": (stargan, {"g_steps": 24, "n_critic": 2})}


class Record:
    """A run that keeps its weights and nothing else."""

    def __init__(self, folder, precision, seed=0):
        self.folder, self.device, self.seed, self.precision = folder, "cpu", seed, precision
        folder.mkdir(exist_ok=True)

    def finished_weights(self):
        return None

    def training_done(self, weights, report):
        self.weights, self.report = weights, report


@dataclass
class Toy:
    """A critic with norms that learn, and a convolution that makes pictures."""

    D: nn.Module
    G: nn.Module


def toy(see=lambda *found: None):
    """A WGAN-GP as a paper; `see` is shown what its critic's loss computed."""

    def loss(nets, batch, cfg):
        with torch.no_grad():
            fake = nets.G(batch.x)
        real, made = nets.D(batch.x), nets.D(fake)
        gp = gradient_penalty(nets.D, interpolate(batch.x, fake, batch.rng))
        adv = made.mean() - real.mean()
        see(real, made, gp, adv)
        return adv + gp, {"adv": adv.detach(), "gp": gp.detach()}

    def made(nets, batch, cfg):
        return (nets.G(batch.x) - batch.x).abs().mean() - nets.D(nets.G(batch.x)).mean(), {}

    def build(cfg):
        D = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.InstanceNorm2d(8, affine=True), nn.LeakyReLU(0.1), nn.Conv2d(8, 1, 3), nn.Flatten())
        return Toy(D, nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 3, 1, 1)))

    updates = tuple(engine.Update(n, (n,), of, 1e-3, (0.5, 0.9)) for n, of in (("D", loss), ("G", made)))
    return SimpleNamespace(build=build, stages=lambda cfg: [engine.Stage("one", "m", ("Smiling",), updates, 6, 4)])


def noise(n=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(n, 3, 16, 16, generator=rng) * 2 - 1, torch.zeros(n, 1), torch.arange(n), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("how", precision.PRECISIONS)
def test_products_are_of_bf16_and_all_that_stays_is_float32(how, tmp_path, faces, split, monkeypatch):
    seen, held = [], {}
    monkeypatch.setattr(engine, "_adam", lambda u, m, make=engine._adam: held.setdefault(u.name, make(u, m)))
    record = Record(tmp_path / how, how)
    models = engine.train(toy(lambda *found: seen.append([t.dtype for t in found])), None, faces, split, record)
    assert seen == [[BF16 if how == "bf16" else FLOAT32] * 2 + [FLOAT32] * 2] * 6
    assert {t.dtype for t in record.weights.values() if t.is_floating_point()} == {FLOAT32}
    assert {t.dtype for o in held.values() for memory in o.state.values() for t in memory.values()} == {FLOAT32}
    with torch.no_grad():
        assert models["m"].G(noise().x).dtype == FLOAT32  # edits
    total, parts = precision.at(toy().stages(None)[0], how, torch.device("cpu")).updates[0].loss(models["m"], noise(), None)
    assert {total.dtype, *(v.dtype for v in parts.values())} == {FLOAT32}


def sums(scores):
    return scores.mean(), torch.mean(scores), scores.sum(), scores.std(), F.softplus(scores).mean(), F.normalize(scores, dim=0), scores.norm()


def test_the_means_of_a_critic_are_not_rounded():
    scores = (torch.linspace(-3, 5, 999) ** 3).to(BF16)
    with precision.Float32Sums("cpu"):
        found = sums(scores)
        ce = F.cross_entropy(scores[None], torch.tensor([3])), F.binary_cross_entropy_with_logits(scores, torch.ones(999))
    assert all(a.dtype == FLOAT32 and torch.equal(a, b) for a, b in zip(found, sums(scores.float()), strict=True))
    assert all(t.dtype == FLOAT32 for t in ce)
    rounded = sums(scores)
    assert all(t.dtype == BF16 for t in rounded) and abs(float(rounded[0]) - float(found[0])) > 1e-3


def test_statistics_of_norms_are_float32():
    torch.manual_seed(0)
    x = (torch.randn(4, 3, 32, 32) + 30).to(BF16)
    result_rounded = {"rtol": 2**-8, "atol": 1e-3}
    norms = nn.InstanceNorm2d(3, affine=True), nn.InstanceNorm2d(3), nn.BatchNorm2d(3)
    for norm in norms:
        with precision.Float32Sums("cpu"):
            y = norm(x)
        assert y.dtype == BF16 and torch.allclose(y.float(), norm(x.float()), **result_rounded), norm
    assert norm.running_mean.dtype == FLOAT32 and (norm.running_mean - 30 * (1 - 0.9**2)).abs().max() < 0.01
    assert not torch.allclose(norms[1](x).float(), norms[1](x.float()), **result_rounded)  # torch's own, without weights, on a processor


def test_the_penalty_differentiates_outside_autocast_and_takes_the_norm_of_float32():
    seen = []

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, grad):
            seen.append((torch.is_autocast_enabled("cpu"), grad.dtype))
            return 2 * grad * ctx.saved_tensors[0]

    def loss(nets, batch, cfg):
        assert torch.is_autocast_enabled("cpu")
        return gradient_penalty(lambda x: Square.apply(nets(x)), batch.x), {}

    precision.in_bf16(loss, "cpu")(nn.Conv2d(3, 2, 3), noise(), None)[0].backward()
    assert seen[0] == (False, BF16) and not any(on for on, _ in seen)


def test_weights_that_were_used_without_gradient_still_get_theirs():
    net = nn.Conv2d(3, 2, 3)

    def loss(nets, batch, cfg):
        with torch.no_grad():
            nets(batch.x)
        return nets(batch.x).square().mean(), {}

    precision.in_bf16(loss, "cpu")(net, noise(), None)[0].backward()
    assert net.weight.grad.dtype == FLOAT32 and net.weight.grad.abs().min() > 0


def gradient(what, update, loss):
    """An update's gradient of fresh copies of its networks."""
    one = copy_of(what)
    modules = engine.networks(one.nets)
    for name, module in modules.items():
        module.requires_grad_(name in update.trains)
    loss(one.nets, one.batch(1), one.cfg)[0].backward()
    trained = [p for name in update.trains for p in modules[name].parameters()]
    assert all(p.grad is None or p.grad.dtype == FLOAT32 for p in trained)
    return torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in trained]).double()


@pytest.mark.parametrize("paper", EVERY)
def test_gradients_of_every_method_are_close_to_those_of_float32(paper):
    """Narrow networks on noise: rounding every weight by as much in float32 turns G's gradients as far. Wide ones' layers, too, are taken."""
    what = case(paper, "smoke", batch=4)
    with everywhere():
        for update in what.stage.updates:
            a, b = (gradient(what, update, loss) for loss in (update.loss, precision.in_bf16(update.loss, "cpu")))
            cosine, length = float(F.cosine_similarity(a, b, dim=0)), float(b.norm() / a.norm())
            assert (0.96 if update.name == "D" else 0.9) < cosine < 1 - 1e-7 and 0.8 < length < 1.25, (update.name, cosine, length)


def test_second_derivatives_are_close_to_those_of_float32():
    torch.manual_seed(0)
    critic, found = toy().build(None).D, []
    for way in (lambda loss: loss, lambda loss: precision.in_bf16(loss, "cpu")):
        critic.zero_grad()
        way(lambda nets, batch, cfg: (gradient_penalty(nets, batch.x), {}))(critic, noise(16), None)[0].backward()
        found.append(torch.cat([p.grad.flatten() for p in critic.parameters() if p.grad is not None]))
    assert 0.99 < float(F.cosine_similarity(*found, dim=0)) and not torch.equal(*found)


def curves(paper, cfg, faces, split, record):
    engine.train(paper, cfg, faces, split, record, log_every=1)
    totals = pd.read_csv(record.folder / "history.csv").filter(like="/total")
    return pd.concat([totals.iloc[k : k + 8].mean() for k in range(0, len(totals), 8)], axis=1)


def round_weights(optimiser, args, kwargs):
    """What training would be without weights of float32: small steps get lost."""
    with torch.no_grad():
        for group in optimiser.param_groups:
            for p in group["params"]:
                p.copy_(p.to(BF16))


@pytest.mark.parametrize("name", SMALL)
def test_loss_curves_lie_within_the_spread_of_three_seeds(name, tmp_path, faces, split):
    """Means over eight cycles differ from float32's of the same seed by less than a third of what seeds differ by; with rounded weights by more."""
    paper, fields = SMALL[name]
    cfg = replace(paper.PROFILES["smoke"](), **fields)
    seeds = [curves(paper, cfg, faces, split, Record(tmp_path / f"{seed}", "float32", seed)) for seed in range(3)]
    stacked = pd.concat(seeds).groupby(level=0)
    spread = stacked.max() - stacked.min()
    off = (curves(paper, cfg, faces, split, Record(tmp_path / "bf16", "bf16")) - seeds[0]).abs() / spread
    assert off.shape == (2, 3) and 0 < off.min(axis=None) and off.max(axis=None) < 1 / 3
    if name == "stargan":
        hook = register_optimizer_step_post_hook(round_weights)
        try:
            worse = (curves(paper, cfg, faces, split, Record(tmp_path / "rounded", "bf16")) - seeds[0]).abs() / spread
        finally:
            hook.remove()
        assert worse.max(axis=None) > 1 / 3


@pytest.mark.parametrize("name", SMALL)
def test_recorded_and_interrupted_trainings_end_as_plain_ones(name, tmp_path, faces, split, monkeypatch):
    paper, fields = SMALL[name]
    cfg, trained = replace(paper.PROFILES["smoke"](), **fields | {"g_steps": 4}), {}
    for how in ("plain", "recorded", "interrupted"):
        record = trained[how] = Record(tmp_path / how, "bf16")
        with monkeypatch.context() as patch:
            if how == "recorded":
                patch.setattr(engine, "stepper", lambda *args: Captured(*args[:4], args[4](), args[5], CallAgain()))
            elif how == "interrupted":
                stopped(patch, 2)
                with pytest.raises(KeyboardInterrupt):
                    engine.train(paper, cfg, faces, split, record, log_every=1, save_every=0)
                patch.undo()
            engine.train(paper, cfg, faces, split, record, log_every=1)
        assert {s["step"] for s in record.report.values()} == {"captured" if how == "recorded" else "eager"}
    for how in ("recorded", "interrupted"):
        assert (tmp_path / how / "history.csv").read_bytes() == (tmp_path / "plain" / "history.csv").read_bytes()
        assert all(torch.equal(t, trained[how].weights[k]) for k, t in trained["plain"].weights.items())


def stopped(patch, cycle, save=engine.save_atomically):
    """The process ends when that cycle was saved."""

    def until(file, write):
        save(file, write)
        if file.name == "resume.pt" and torch.load(file, weights_only=True)["cycle"] == cycle:
            raise KeyboardInterrupt

    patch.setattr(engine, "save_atomically", until)


def test_a_run_knows_its_precision_and_so_do_the_methods_beside_it(tmp_path, faces, split, monkeypatch):
    cfg, opened = replace(sagan.smoke(), attribute="Eyeglasses"), []
    ids = [runs.run_id(runs.identity(sagan, cfg, faces, split, "smoke", 0, "cpu", *p)) for p in ((), ("float32",), ("bf16",))]
    assert ids[0] == ids[1] != ids[2]
    given = {"profile": "smoke", "seed": 0, "run_dir": str(tmp_path / "mine")}
    mine = runs.start(sagan, cfg, faces, split, **given, precision="bf16")
    assert (mine.precision, mine.record["precision"], mine.id) == ("bf16", "bf16", ids[2])
    with pytest.raises(runs.RunError, match=r"another configuration \(precision: bf16 -> float32\)"):
        runs.start(sagan, cfg, faces, split, **given)
    monkeypatch.setattr(runs, "train", lambda paper, cfg, faces, split, other, begun: opened.append(other.folder) or {})
    other, _ = runs.trained(stargan, stargan.smoke(), faces, split, mine)
    assert other.precision == "bf16" and "bf16" in runs.facts(mine.record | {"seconds": 0, "peak_memory_mb": 0}).values()
    for folder in (*opened, mine.folder):
        runs.release(folder)
    assert parallel.Follower(tmp_path, "cpu", 0, "bf16").precision == "bf16"


def test_a_precision_that_there_is_not_is_refused(tmp_path, faces, split, capsys):
    with pytest.raises(ParameterError, match="precision = 'fp16': it must be one of float32, bf16."):
        runs.start(sagan, sagan.smoke(), faces, split, profile="smoke", seed=0, run_dir=str(tmp_path / "run"), precision="fp16")
    assert not (tmp_path / "run").exists()
    assert run.main(["sagan", "-p", "profile", "smoke", "-p", "precision", "half"]) == 2
    assert "error: precision = 'half'" in capsys.readouterr().err
    assert run.parameters("sagan", [("precision", "bf16")])["precision"] == "bf16"

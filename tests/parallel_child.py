"""A small WGAN-GP in float64, and its training by the processes that torchrun starts: the other half of test_parallel.py.

    torchrun --nproc_per_node=2 tests/parallel_child.py FOLDER [break]

leaves FOLDER/averaged and FOLDER/apart (the same without averaging gradients); `break`: process 1 fails in the third cycle.
"""

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from torch import nn

from lib import engine, parallel
from lib.blocks import LeakyReLU
from lib.data import load, make_split
from lib.losses import gradient_penalty, interpolate

CYCLES = 5


@dataclass
class Nets:
    G: nn.Module
    D: nn.Module


def build(cfg) -> Nets:
    """A generator of one convolution, a critic of two."""
    critic = nn.Sequential(nn.Conv2d(3, 4, 4, 4), LeakyReLU(0.2), nn.Conv2d(4, 1, 4, 4), nn.Flatten())
    return Nets(nn.Conv2d(4, 3, 3, padding=1).double(), critic.double())


def fake(nets: Nets, batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The faces, and what G makes of them, their label and noise."""
    x = batch.x.double()
    noise = torch.randn(len(x), 1, *x.shape[2:], generator=batch.rng, dtype=x.dtype)
    shade = torch.randint(1, 4, (len(x), 1, 1, 1), generator=batch.rng) * batch.y.double()[:, :, None, None]
    return x, nets.G(torch.cat([x, noise * shade], 1))


def d_loss(nets: Nets, batch, cfg):
    with torch.no_grad():
        x, made = fake(nets, batch)
    gap, penalty = nets.D(made).mean() - nets.D(x).mean(), gradient_penalty(nets.D, interpolate(x, made, batch.rng))
    return gap + 10 * penalty, {"gap": gap.detach(), "gp": penalty.detach()}


def g_loss(nets: Nets, batch, cfg):
    x, made = fake(nets, batch)
    return (made - x).square().mean() - nets.D(made).mean(), {}


def stages(cfg, d=d_loss) -> list[engine.Stage]:
    updates = engine.Update("D", ("D",), d, 1e-3, (0.5, 0.9), repeats=2), engine.Update("G", ("G",), g_loss, 1e-3, (0.5, 0.9), fresh=False)
    return [engine.Stage("only", "m", ("Smiling",), updates, CYCLES, 8, sampler="balanced", flip=True)]


class Record:
    """A run that keeps its weights and nothing else."""

    device, seed, precision = "cpu", 3, "float32"

    def __init__(self, folder: Path):
        self.folder, self.why = folder, ""
        folder.mkdir(parents=True, exist_ok=True)

    def finished_weights(self):
        return None

    def training_done(self, weights: dict, report: dict) -> None:
        torch.save(weights, self.folder / "weights.pt")


if __name__ == "__main__":
    folder, broken = Path(sys.argv[1]), "break" in sys.argv
    faces = load("synthetic-balanced", 32, n=600)
    split = make_split(faces, "random")
    dist.init_process_group("gloo", timeout=parallel.PATIENCE)
    first, calls = dist.get_rank() == 0, []

    def d_or_error(nets, batch, cfg):
        calls.append(len(batch.x))
        if broken and not first and len(calls) == 6:
            raise RuntimeError("broken on purpose")
        return d_loss(nets, batch, cfg)

    def run(name: str):
        place = folder / (name if first else f"follower-{name}")
        place.mkdir(parents=True, exist_ok=True)
        return Record(place) if first else parallel.Follower(place, "cpu", Record.seed, Record.precision)

    paper = SimpleNamespace(build=build, stages=lambda cfg: stages(cfg, d_or_error))
    parallel.train(paper, None, faces, split, run("averaged"), log_every=1, save_every=0)
    assert set(calls) == {4}, "half of a batch of 8"
    parallel.averaged_gradients = lambda world: nullcontext()
    parallel.train(paper, None, faces, split, run("apart"), log_every=1)
    dist.destroy_process_group()

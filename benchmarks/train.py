"""Training steps against the plain loop: `python -m benchmarks train --paper stargan sagan --size 64 --json results/benchmarks/train.json`.

A turn performs every update of the paper's stage `--repeat` times; the seconds of a cycle are those of its updates, as often as a cycle has them.
Both ways start from the same networks and get the same batches of noise, which lie in memory: loading is the matter of `data`. Parity: losses
of the first turns within 1e-3 of each other, and float64 gradients of a narrow copy, computed the ways of the wide networks, within 1e-9.

`--precision bf16`: our steps in bf16, the plain loop in float32 as ever. Rounded trainings drift apart, so their parity is that of two rounds of
updates before the first turn: losses within 2e-2, of which the second round's show that the first one's steps arrived.

`--compiled`: on a GPU, recordings with compiled generators where these are faster (`lib.fuse`); `step` says for which updates they were.
"""

import math
import os
from unittest.mock import patch

import torch

from benchmarks import common
from benchmarks.common import Case, case, rounded, spread
from benchmarks.plain import FREEZE, LOSSES, Plain, everywhere
from lib import precision, winograd
from lib.engine import _adam, networks
from lib.step import SWITCH, Eager, stepper

EXACT, CLOSE, CLOSE_BF16 = 1e-9, 1e-3, 2e-2


def ours_of(what: Case, device: torch.device, rows: int = 1) -> Eager:
    """What the engine would perform the stage's updates with."""
    modules = networks(what.nets)
    optimisers = {u.name: _adam(u, modules) for u in what.stage.updates}
    return stepper(what.nets, modules, optimisers, what.cfg, lambda: what.batch(0, device), rows, device)


def plain_of(paper: str, what: Case, device: torch.device) -> Plain:
    return Plain(paper, what.nets, networks(what.nets), what.stage, what.cfg, device)


def gradients(steps: Eager, loss, update) -> torch.Tensor:
    """The gradient of an update's trained networks, flat."""
    steps.optimisers[update.name].zero_grad()
    loss(update)[0].backward()
    trained = [p for name in update.trains for p in steps.modules[name].parameters()]
    return torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in trained])


def parity(paper: str) -> float:
    """The largest relative difference of a gradient between ours and the plain way, over the updates: float64, the narrow networks of `smoke`."""
    torch.set_default_dtype(torch.float64)
    try:
        one = case(paper, "smoke", batch=4)
        ours, plain, worst = ours_of(one, torch.device("cpu")), plain_of(paper, common.copy_of(one), torch.device("cpu")), 0.0
        for update in one.stage.updates:
            found = []
            for steps in (ours, plain):
                steps.take(one.batch(1, dtype=torch.float64))
                if steps is ours:
                    for name, module in steps.modules.items():
                        module.requires_grad_(name in update.trains)
                loss = plain.loss if steps is plain else lambda u: u.loss(ours.nets, ours.batch.first(u.images), ours.cfg)
                with everywhere():
                    found.append(gradients(steps, loss, update))
            worst = max(worst, float((found[0] - found[1]).norm() / found[1].norm()))
        return worst
    finally:
        torch.set_default_dtype(torch.float32)


def counted(paper: str, what: Case, ours: bool, device: torch.device) -> dict[str, int]:
    """FLOPs of each update for a batch: of the whole batch on a processor, where it decides who takes Winograd's way; for a GPU, where nobody does,
    of two images of it (they are in proportion), counted on the processor."""
    n, fewest = (what.stage.batch, winograd.PIXELS) if device.type == "cpu" else (2, math.inf)
    same, here, out = common.copy_of(what), torch.device("cpu"), {}
    steps = ours_of(same, here) if ours else plain_of(paper, same, here)
    with patch.object(winograd, "PIXELS", fewest):
        for update in same.stage.updates:
            steps.take(same.batch(0, n=n))
            out[update.name] = common.flops(lambda u=update: steps.perform(u, 1)) * what.stage.batch // n
    return out


def two_rounds(steps: Eager, what: Case, device: torch.device) -> list[dict[str, float]]:
    """The losses of all updates, twice, each on the next batch."""
    out = []
    for seed in range(2):
        out.append({})
        for update in what.stage.updates:
            steps.rate(update, 1)
            steps.take(what.batch(seed, device))
            out[-1][update.name] = float(steps.perform(update, 1)[f"{update.name}/total"])
    return out


def measure(paper: str, args) -> tuple[dict, bool]:
    """One paper's entry, and whether the numbers agree."""
    device, about = torch.device(args.device), common.machine(args.device)
    exact = parity(paper)
    what = case(paper, args.profile, args.size, args.batch)
    cases = {"eager": common.copy_of(what), "ours": what}
    what.stage = precision.at(what.stage, args.precision, device)
    work = {name: counted(paper, one, name == "ours", device) for name, one in cases.items()}
    each = {u.name: u.repeats / u.every for u in what.stage.updates}
    for module in (*networks(cases["eager"].nets).values(), *networks(what.nets).values()):
        module.to(device)
    ways = {"eager": plain_of(paper, cases["eager"], device), "ours": ours_of(what, device)}
    first = {name: two_rounds(ways[name], one, device) for name, one in cases.items()} if args.precision != "float32" else {}
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in ways}

    def turn(name: str):
        def take() -> dict[str, tuple[float, float]]:
            steps, out, losses = ways[name], {}, {}
            for update in cases[name].stage.updates:
                steps.rate(update, 1)
                batch = what.batch(len(seen[name]), device)

                def block(update=update, batch=batch):
                    for _ in range(args.repeat):
                        batch.rng.manual_seed(batch.rng.initial_seed())
                        steps.take(batch)
                        last = steps.perform(update, 1)
                    losses[update.name] = last[f"{update.name}/total"]

                out[update.name] = tuple(t / args.repeat for t in common.timed(block, device))
            seen[name].append({k: float(v) for k, v in losses.items()})
            cycle = tuple(sum(each[u] * out[u][k] for u in each) for k in (0, 1))
            return out | {"cycle": cycle}

        return take

    took = common.turns({name: turn(name) for name in ways}, args.pairs)
    off = common.off_by(first["eager"], first["ours"]) if first else common.off_by(seen["eager"][:5], seen["ours"][:5])
    total = {name: sum(each[u] * f for u, f in counts.items()) for name, counts in work.items()}
    wall = {name: spread([t["cycle"][1] for t in took[name]]) for name in ways}
    cpu = {name: spread([t["cycle"][0] for t in took[name]]) for name in ways}
    speed = total["ours"] / (wall if device.type == "cuda" else cpu)["ours"]["median"]
    entry = {
        "paper": common.TITLES[paper], "profile": args.profile, "size": what.cfg.size, "batch": what.stage.batch, "machine": about,
        "precision": args.precision, "cycle": "+".join(f"{n:g} {u}" for u, n in each.items()), "step": ways["ours"].how, "compiled": args.compiled,
        "plain": "its own losses" if paper in LOSSES else "our losses on stock parts",
        "plain_frozen": paper in FREEZE,
        "ratio": common.ratios([t["cycle"] for t in took["eager"]], [t["cycle"] for t in took["ours"]]),
        "ratio_of": {u: common.ratios([t[u] for t in took["eager"]], [t[u] for t in took["ours"]])["processor"] for u in each},
        "seconds_per_cycle": {"processor": cpu, "wall": wall},
        "tflop_per_cycle": {name: rounded(f / 1e12) for name, f in total.items()},
        "tflop_per_second": rounded(speed / 1e12),
        "share_of_h100_floor": {name: rounded(speed / floor) for name, floor in common.FLOORS.items()} if device.type == "cuda" else None,
        "parity": {"gradients_float64": rounded(exact), "losses": rounded(off)},
    }  # fmt: skip
    return entry, exact <= EXACT and off <= (CLOSE_BF16 if first else CLOSE)


def main(argv: list[str]) -> int:
    """The command line."""
    options = common.parser("train", __doc__)
    options.add_argument("--vs", choices=["eager"], default="eager", help="the plain loop, in float32")
    options.add_argument("--precision", choices=precision.PRECISIONS, default="float32", help="of our steps")
    options.add_argument("--compiled", action="store_true", help="try compiled generators on a GPU")
    options.add_argument("--profile", default="paper", help="whose widths and settings are used")
    options.add_argument("--size", type=int, default=64)
    options.add_argument("--batch", type=int, default=None, help="images a batch; the profile's, if not given")
    options.add_argument("--pairs", type=int, default=4, help="turns of each way that count")
    options.add_argument("--repeat", type=int, default=None, help="how often a turn performs each update: 1, on a GPU 30")
    args = options.parse_args(argv)
    args.repeat = args.repeat or (30 if args.device.startswith("cuda") else 1)
    failed, kind = False, [args.precision] * (args.precision != "float32") + ["compiled"] * args.compiled
    for paper in common.chosen(args.paper, common.EVERY):
        with patch.dict(os.environ, {SWITCH: "compiled"} if args.compiled else {}):
            entry, agree = measure(paper, args)
        failed |= not common.recorded(paper, agree, args.json, " ".join([common.key(paper, entry, args), *kind]), entry)
    return int(failed)

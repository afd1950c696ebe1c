"""How fast a training cycle is: `python -m benchmarks.speed sagan` (or several, or all), ours against the plain
float32 loop.

Pairs A B A B in one process, one thread, processor time, the first pair dropped; what is reported are ratios. Plain
is the loop of public code: float32, an Adam that is not fused. The last column is the share of a cycle that
convolutions take, forward and backward: what would be left if everything else were free. Writes
results/benchmarks/speed.json.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from lib.sources import ROOT
from lib.study import make_plan
from lib.training import loop, precision
from lib.training.models import Job, hardware, versions, write_json

CONVOLUTIONS = ("aten::mkldnn_convolution", "aten::convolution_backward", "aten::_slow_conv2d", "aten::cudnn_convolution", "aten::_convolution")


class Cycle:
    """One model of a job with what a cycle of its last stage needs. variant: plain, float32 or bf16."""

    def __init__(self, job: Job, variant: str):
        torch.manual_seed(0)
        self.job, stage = job, job.method.stages(job.cfg)[-1]
        self.nets = job.method.build(job.cfg)
        self.modules = loop.networks(self.nets)
        self.stage = precision.at(stage, "bf16" if variant == "bf16" else "float32", torch.device("cpu"))
        fused = variant != "plain"
        self.optimisers = {u.name: _adam(u, self.modules, fused) for u in stage.updates}
        self.batches = loop._sources(self.stage, job.faces, job.split, 0, torch.device("cpu"))
        self.step = 0

    def __call__(self) -> float:
        """Processor seconds of one cycle."""
        began = time.process_time()
        for update in self.stage.updates:
            for _ in range(update.repeats):
                if update.fresh:
                    batch, self.step = self.batches[update.name](self.step), self.step + 1
                loop._perform(update, self.nets, self.modules, batch, self.job.cfg, self.optimisers[update.name], update.rate(1))
        return time.process_time() - began


def _adam(update: loop.Update, modules: dict, fused: bool) -> torch.optim.Optimizer:
    if update.optimiser is not None:
        return loop._optimiser(update, modules)
    parameters = [p for name in update.trains for p in modules[name].parameters()]
    return torch.optim.Adam(parameters, lr=update.lr, betas=update.betas, fused=fused)


def training(job: Job, pairs: int) -> dict[str, float]:
    """Median seconds of a cycle of each variant, ratios over pairs, and the share of convolutions in ours."""
    bf16 = precision.resolve("auto", "cpu") == "bf16"
    variants = {name: Cycle(job, name) for name in ("plain", "float32", *(["bf16"] if bf16 else []))}
    times = [{name: cycle() for name, cycle in variants.items()} for _ in range(pairs + 1)][1:]
    ours = variants["bf16" if bf16 else "float32"]
    with profile(activities=[ProfilerActivity.CPU]) as found:
        ours()
    spent = {e.key: e.self_cpu_time_total for e in found.key_averages()}
    out = {f"{name}, seconds a cycle": statistics.median(t[name] for t in times) for name in variants}
    out |= {f"plain / {name}": statistics.median(t["plain"] / t[name] for t in times) for name in variants if name != "plain"}
    return out | {"convolutions, share of a cycle": sum(spent.get(c, 0) for c in CONVOLUTIONS) / sum(spent.values())}


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    names = sorted(p.parent.name for p in (ROOT / "lib" / "papers").glob("*/model.py"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.split("\n")[0])
    parser.add_argument("paper", nargs="*", choices=[*names, []], help=f"among {', '.join(names)} (default: all)")
    parser.add_argument("--profile", default="cpu", help="whose sizes are timed")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "speed.json")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    record = json.loads(args.out.read_text()) if args.out.exists() else {}
    for paper in args.paper or names:
        plan = make_plan(paper, profile=args.profile)
        first: dict[str, Job] = {}
        for job in plan.jobs.values():
            if job.key != "judges":
                first.setdefault(job.key, job)
        for key, job in first.items():
            if missing := [name for name in job.after if not plan.jobs[name].trained]:
                print(f"{key}: left out, since it starts from {', '.join(missing)}, not trained yet")
                continue
            record[key] = {"size": job.cfg.size} | {k: round(v, 4) for k, v in training(job, args.pairs).items()}
            print(key, record[key], flush=True)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.out, record | {"machine": hardware("cpu") | versions()})  # what is measured stays, whatever comes
    return 0


if __name__ == "__main__":
    sys.exit(main())

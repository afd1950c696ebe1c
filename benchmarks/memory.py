"""Peak memory of training steps: `python -m benchmarks memory --paper sagan stargan --size 64 --json results/benchmarks/memory.json`.

Each way in a process of its own: two rounds of the updates of the paper's stage. On a GPU the peak of the allocator; on a processor the largest
resident size, and how much of it came after the networks were built. The first step's losses are compared: within 1e-3.
"""

import json
import resource
import subprocess
import sys

import torch

from benchmarks import common
from benchmarks.common import case, rounded
from benchmarks.train import CLOSE, ours_of, plain_of
from lib.engine import networks
from lib.runs import ROOT


def one(paper: str, way: str, args) -> dict:
    """Peak MiB of this process after two rounds, what it held before them, and the first losses."""
    device = torch.device(args.device)
    what = case(paper, args.profile, args.size, args.batch)
    for net in networks(what.nets).values():
        net.to(device)
    steps = ours_of(what, device) if way == "ours" else plain_of(paper, what, device)
    before, losses = resident(device), {}
    for _ in range(2):
        for update in what.stage.updates:
            steps.rate(update, 1)
            steps.take(what.batch(0, device))
            last = steps.perform(update, 1)
            losses.setdefault(update.name, float(last[f"{update.name}/total"]))
    size, batch = what.cfg.size, what.stage.batch
    return {"mib": round(resident(device)), "before": round(before), "losses": losses, "size": size, "batch": batch, "step": steps.how}


def resident(device: torch.device) -> float:
    """Peak so far, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main(argv: list[str]) -> int:
    """The command line."""
    options = common.parser("memory", __doc__)
    options.add_argument("--vs", choices=["eager"], default="eager", help="the plain loop")
    options.add_argument("--profile", default="paper")
    options.add_argument("--size", type=int, default=64)
    options.add_argument("--batch", type=int, default=None)
    options.add_argument("--one", choices=["ours", "eager"], default=None, help="measure this way in this process and print it")
    args = options.parse_args(argv)
    if args.one:
        print(json.dumps(one(args.paper[0], args.one, args)))
        return 0
    failed = False
    for paper in common.chosen(args.paper, common.EVERY):
        about, found = common.machine(args.device), {}
        for way in ("eager", "ours"):
            given = {"paper": paper, "profile": args.profile, "size": args.size, "device": args.device, "one": way} | (
                {"batch": args.batch} if args.batch else {}
            )
            command = [sys.executable, "-m", "benchmarks", "memory", *(text for name, value in given.items() for text in (f"--{name}", str(value)))]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{paper}, {way}: {done.stderr.strip().splitlines()[-1]}")
            found[way] = json.loads(done.stdout.splitlines()[-1])
        off = common.off_by([found["eager"]["losses"]], [found["ours"]["losses"]])
        entry = {
            "paper": common.TITLES[paper], "profile": args.profile, "size": found["ours"]["size"], "batch": found["ours"]["batch"], "machine": about,
            "step": found["ours"]["step"], "peak_mib": {way: found[way]["mib"] for way in found},
            "of_which_steps_mib": {way: found[way]["mib"] - found[way]["before"] for way in found}, "parity": {"losses": rounded(off)},
        }  # fmt: skip
        failed |= not common.recorded(paper, off <= CLOSE, args.json, common.key(paper, entry, args), entry)
    return int(failed)

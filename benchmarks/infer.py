"""An edit: `python -m benchmarks infer --paper all --size 64 --json results/benchmarks/infer.json`.

Milliseconds an image at batches of 1 and of 64, images in memory, networks of a profile with fresh weights (which do not change the time). `plain`
calls the paper's `edit`. On a GPU the same call is also recorded as one CUDA graph, or the entry says why not; on a processor networks without
instance norm are also run with the colours innermost. Parity: those give the images of `plain` within 1e-3 (GPU) or 1e-4 of a [-1, 1] range.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import common
from benchmarks.common import Case, case, rounded
from lib import replay
from lib.engine import networks
from lib.papers import diat

CLOSE = {"cuda": 1e-3, "cpu": 1e-4}


def edits(paper: str, what: Case) -> Callable[[Tensor], Tensor]:
    """x -> the edited images: one attribute, one direction."""
    edit, nets, cfg, names = what.module.edit, what.nets, what.cfg, what.stage.attributes
    if paper in ("sagan", "cyclegan", "resgan", "sggan"):
        return lambda x: edit(nets, x, x.new_ones(len(x), 1)).image  # a number would be copied to the GPU, which no graph can record
    if paper == "stargan":
        return lambda x: edit(nets, x, x.new_ones(len(x), len(names))).image
    if paper == "atigan":
        return lambda x: edit(nets, x, x.new_ones(len(x), len(names)), cfg).image
    if paper == "bridgegan":
        return lambda x: edit(nets, x, x.new_ones(len(x), len(names)), R=x.new_zeros(len(x), cfg.noise_length)).image
    local = next(name for name, task in diat.TASKS.items() if task.hull)
    return lambda x: edit(nets, x, local, cfg).image


def innermost(what: Case) -> Callable[[Tensor], Tensor] | None:
    """What makes an input ready for networks with the colours innermost, once those are so; None where an instance norm would copy them back."""
    modules = [m for net in networks(what.nets).values() for m in net.modules()]
    if any(isinstance(m, nn.InstanceNorm2d) for m in modules):
        return None
    for net in networks(what.nets).values():
        net.to(memory_format=torch.channels_last)
    return lambda x: x.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def measure(paper: str, args) -> tuple[dict, bool]:
    """One paper's entry, and whether the images agree."""
    device, about = torch.device(args.device), common.machine(args.device)
    what = case(paper, args.profile, args.size)
    for net in networks(what.nets).values():
        net.requires_grad_(False).eval().to(device)
    other = common.copy_of(what)
    ready = None if device.type == "cuda" else innermost(other)
    plain, found, off = edits(paper, what), {}, 0.0
    for size in args.batch:
        x = what.batch(0, device, n=size).x
        repeat = args.repeat or max(1, (2000 if device.type == "cuda" else 16) // size)
        known, why = replay.ways(plain, x)  # CycleGAN's choice between its two generators waits for a value, and cannot be recorded
        ways = {name or "plain": partial(work, x) for name, work in known.items()}
        if ready:
            ways["channels last"] = partial(edits(paper, other), ready(x))

        def turn(work, repeat=repeat):
            return lambda: {"edit": common.timed(lambda: [work() for _ in range(repeat)], device)}

        took = common.turns({name: turn(work) for name, work in ways.items()}, args.pairs)
        off = max([off, *(float((work() - ways["plain"]()).abs().max()) for work in ways.values())])
        entry = {}
        for name, times in took.items():
            cpu, wall = ([1000 * t["edit"][k] / repeat / size for t in times] for k in (0, 1))
            entry[name] = {"processor": common.spread(cpu), "wall": common.spread(wall)}
            if name != "plain":
                entry[name]["ratio"] = common.ratios([t["edit"] for t in took["plain"]], [t["edit"] for t in times])
        found[f"batch {size}"] = entry
    count = common.flops(lambda: plain(what.batch(0, device, n=1).x))
    entry = {
        "paper": common.TITLES[paper], "profile": args.profile, "size": what.cfg.size, "machine": about, "gflop_per_image": rounded(count / 1e9),
        "milliseconds_per_image": found, "parity": {"images": rounded(off)},
    }  # fmt: skip
    entry |= {"not captured": why} if why else {}
    return entry, off <= CLOSE[device.type]


def main(argv: list[str]) -> int:
    """The command line."""
    options = common.parser("infer", __doc__)
    options.add_argument("--vs", choices=["eager"], default="eager", help="the paper's own `edit`")
    options.add_argument("--profile", default="paper")
    options.add_argument("--size", type=int, default=64)
    options.add_argument("--batch", type=int, nargs="+", default=[1, 64])
    options.add_argument("--pairs", type=int, default=2, help="turns of each way that count")
    options.add_argument("--repeat", type=int, default=None, help="calls in a turn; as many as make a turn long enough, if not given")
    args = options.parse_args(argv)
    failed = False
    for paper in common.chosen(args.paper, common.EVERY):
        entry, agree = measure(paper, args)
        failed |= not common.recorded(paper, agree, args.json, f"{paper} {entry['size']}px {args.profile} {args.device}", entry)
    return int(failed)

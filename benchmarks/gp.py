"""The gradient penalty alone: `python -m benchmarks gp --paper all --size 64 --json results/benchmarks/gp.json`.

Penalty and its gradients for the weights of the paper's critic, with activations and pooling that leave no zero chain behind, against torch's own
(`benchmarks.plain.stock`). Parity: float64 gradients of the critic of profile `smoke` within 1e-9.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from benchmarks import common
from benchmarks.common import Case, case, rounded
from benchmarks.plain import stock
from lib.losses import gradient_penalty

CRITICS: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "sagan": lambda D: lambda x: D(x)[0],
    "stargan": lambda D: lambda x: D(x)[0],
    "atigan": lambda D: D.g,
    "sggan": lambda D: lambda x: D(x)[0],
    "bridgegan": lambda D: lambda x: D.D(D.trunk(x)),
}
EXACT = 1e-9


def penalise(paper: str, D: nn.Module, x: Tensor) -> float:
    """The penalty, its gradients in D's parameters."""
    D.zero_grad()
    value = gradient_penalty(CRITICS[paper](D), x)
    value.backward()
    return value.item()


def parity(paper: str) -> float:
    """Relative difference of the gradients, float64, a narrow critic."""
    torch.set_default_dtype(torch.float64)
    try:
        small, found = case(paper, "smoke", batch=4), []
        for way in (stock, nullcontext):
            with way():
                penalise(paper, small.nets.D, small.batch(1, dtype=torch.float64).x)
            found.append(torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in small.nets.D.parameters()]))
        return float((found[0] - found[1]).norm() / found[0].norm())
    finally:
        torch.set_default_dtype(torch.float32)


def measure(paper: str, args) -> tuple[dict, bool]:
    """One critic's entry, and whether the gradients agree."""
    device, about, exact = torch.device(args.device), common.machine(args.device), parity(paper)
    what: Case = case(paper, args.profile, args.size)
    D, x = what.nets.D.to(device), what.batch(0, device, n=args.batch).x

    def way(parts):
        def work() -> None:
            with parts():
                for _ in range(args.repeat):
                    penalise(paper, D, x)

        return work

    work = {"eager": way(stock), "ours": way(nullcontext)}
    took = common.turns({n: lambda w=w: {"gp": common.timed(w, device)} for n, w in work.items()}, args.pairs)
    count = {n: common.flops(w) / args.repeat for n, w in work.items()}
    entry = {
        "paper": common.TITLES[paper], "profile": args.profile, "size": what.cfg.size, "batch": args.batch, "machine": about,
        "ratio": common.ratios([t["gp"] for t in took["eager"]], [t["gp"] for t in took["ours"]]),
        "ratio_of_flops": rounded(count["eager"] / count["ours"]),
        "milliseconds": {n: common.spread([1000 * t["gp"][0] / args.repeat for t in took[n]]) for n in took},
        "parity": {"gradients_float64": rounded(exact)},
    }  # fmt: skip
    return entry, exact <= EXACT


def main(argv: list[str]) -> int:
    """The command line."""
    options = common.parser("gp", __doc__, tuple(CRITICS))
    options.add_argument("--vs", choices=["eager"], default="eager", help="torch's own activation and pooling")
    options.add_argument("--profile", default="paper")
    options.add_argument("--size", type=int, default=64)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--pairs", type=int, default=7, help="turns of each way that count")
    options.add_argument("--repeat", type=int, default=1, help="penalties in a turn")
    args = options.parse_args(argv)
    failed = False
    for paper in common.chosen(args.paper, tuple(CRITICS)):
        entry, agree = measure(paper, args)
        failed |= not common.recorded(paper, agree, args.json, common.key(paper, entry, args), entry)
    return int(failed)

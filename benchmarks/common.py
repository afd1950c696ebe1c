"""What the benchmarks share: turns, ratios, FLOPs, records, and the papers with networks and batches to time."""

import argparse
import importlib
import json
import os
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lib.data import Batch
from lib.engine import Stage
from lib.papers import diat
from lib.runs import hardware, write_json

PAPERS = ("sagan", "atigan", "diat", "sggan", "bridgegan")
EVERY = (*PAPERS, "stargan", "cyclegan", "resgan")
TITLES = dict(zip(EVERY, ("SaGAN", "ATI-GAN", "DIAT-A", "SG-GAN", "BridgeGAN", "StarGAN", "CycleGAN", "ResGAN"), strict=True))
FLOORS = {"TF32": 200e12, "bf16": 400e12}  # FLOP/s that large convolutions reach on an H100


# ---------------------------------------------------------------------------------------------- what is timed


@dataclass
class Case:
    """A paper's module, configuration and networks, and the stage whose updates are timed."""

    module: object
    cfg: object
    nets: object
    stage: Stage

    def batch(self, seed: int, device="cpu", dtype=torch.float32, n: int | None = None) -> Batch:
        """n images of noise (the stage's number by default) with labels, half of them with the first attribute, as a balanced sampler has it."""
        n, names = n or self.stage.batch, len(self.stage.attributes)
        rng = torch.Generator().manual_seed(seed)
        x = torch.rand(n, 3, self.cfg.size, self.cfg.size, generator=rng, dtype=dtype) * 2 - 1
        y = torch.stack([(torch.arange(n) >= n // 2) if k == 0 else (torch.arange(n) + k) % 2 > 0 for k in range(names)], 1).to(dtype)
        batch = Batch(x, y, torch.arange(n), None, torch.zeros(n, dtype=torch.bool))
        moved = {name: t.to(device) for name, t in vars(batch).items() if isinstance(t, torch.Tensor)}
        return Batch(**moved, rng=torch.Generator(device).manual_seed(seed))


def case(paper: str, profile: str, size: int | None = None, batch: int | None = None, seed: int = 0) -> Case:
    """A paper or baseline as one of its profiles has it, at another size or batch if given; networks from the seed."""
    module = importlib.import_module(f"lib.{'papers' if paper in PAPERS else 'baselines'}.{paper}")
    fields = {name: value for name, value in (("size", size), ("batch", batch)) if value}
    if paper == "diat":
        fields["phi"] = diat.PROXY  # DIAT-A does not use it, and so needs no file of weights
    cfg = replace(module.PROFILES[profile](), **fields)
    stages = module.stages(cfg)
    most = max(len(s.updates) for s in stages)
    stage = [s for s in stages if len(s.updates) == most][-1]
    torch.manual_seed(seed)
    shared = {"shared": diat.build(replace(cfg, task=diat.SHARED))} if paper == "diat" else {}
    return Case(module, cfg, module.build(cfg, **shared), stage)


def copy_of(what: Case) -> Case:
    """The same with networks of its own."""
    return Case(what.module, what.cfg, deepcopy(what.nets), what.stage)


# ---------------------------------------------------------------------------------------------- times


def timed(work: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """(processor seconds of this process, wall seconds) of a call, with everything that it started on a GPU."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    wait()
    return time.process_time() - cpu, time.perf_counter() - wall


def turns(ways: dict[str, Callable[[], dict[str, tuple[float, float]]]], pairs: int) -> dict[str, list[dict[str, tuple[float, float]]]]:
    """A B A B ...: `pairs` turns of each way after one that is dropped. A turn returns the times of its parts."""
    out: dict[str, list] = {name: [] for name in ways}
    for number in range(pairs + 1):
        for name, way in ways.items():
            took = way()
            if number:
                out[name].append(took)
    return out


def spread(values: list[float]) -> dict[str, float]:
    """Median, range and number."""
    return {"median": rounded(median(values)), "low": rounded(min(values)), "high": rounded(max(values)), "n": len(values)}


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def ratios(slow: list[tuple[float, float]], fast: list[tuple[float, float]]) -> dict[str, dict[str, float]]:
    """How many times faster the second is: per pair of turns, in processor and in wall time."""
    pairs = list(zip(slow, fast, strict=True))
    return {"processor": spread([a[0] / b[0] for a, b in pairs]), "wall": spread([a[1] / b[1] for a, b in pairs])}


# ---------------------------------------------------------------------------------------------- floating point operations


class Flops(TorchDispatchMode):
    """Counts the operations of convolutions and matrix products that run inside it, a multiplication and an addition as two."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def flops(work: Callable[[], object]) -> int:
    """FLOPs of a call."""
    with Flops() as counter:
        work()
    return counter.total


# ---------------------------------------------------------------------------------------------- records


def parser(what: str, doc: str, papers: tuple[str, ...] = EVERY) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    out = argparse.ArgumentParser(prog=f"python -m benchmarks {what}", description=doc.split("\n")[0])
    if papers:
        out.add_argument("--paper", nargs="+", default=["sagan"], choices=[*papers, "all"], help="which; all: every one")
    out.add_argument("--device", default="cpu", help="cpu or cuda")
    out.add_argument("--json", type=Path, default=None, help="file to put the figures into, beside those of other papers and settings")
    return out


def chosen(papers: list[str], every: tuple[str, ...]) -> tuple[str, ...]:
    """The papers that were asked for."""
    return every if "all" in papers else tuple(dict.fromkeys(papers))


def machine(device: str) -> dict:
    """The hardware, and how busy it was."""
    return hardware(device) | {"torch": torch.__version__, "load_average": round(os.getloadavg()[0], 1)}


def off_by(plain: list[dict[str, float]], ours: list[dict[str, float]]) -> float:
    """The largest difference of two lists of losses, as a share of the largest loss beside it."""
    return max(abs(a[u] - b[u]) / max(abs(v) for v in a.values()) for a, b in zip(plain, ours, strict=True) for u in a)


def key(paper: str, entry: dict, args: argparse.Namespace) -> str:
    """What an entry about a paper's training is kept under."""
    return f"{paper} {entry['size']}px batch {entry['batch']} {args.profile} {args.device}"


def recorded(what: str, agree: bool, file: Path | None, key: str, entry: dict) -> bool:
    """Print an entry and whether both ways gave the same numbers; where they did, put it into the JSON file under its key (other keys stay).
    Returns whether it may stand: false makes the command fail."""
    print(json.dumps({key: entry}, indent=1))
    print(f"{what}: parity {'holds' if agree else 'FAILS, so this is not kept'}: {entry['parity']}", flush=True)
    if agree and file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        record = json.loads(file.read_text()) if file.exists() else {}
        write_json(file, dict(sorted((record | {key: entry}).items())))
    return agree

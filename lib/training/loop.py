"""The one training loop. It knows stages, updates and batches, and nothing of any paper.

A cycle performs each `Update` of a stage `repeats` times, on a fresh batch each time. Everything random is a function
of (seed, step), so an interrupted run ends with the same numbers as an uninterrupted one. """

import json
import math
import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lib.data import Batches, Examples, FaceSet, Split
from lib.data.cache import save_atomically
from lib.sources import StudyError
from lib.training import precision


@dataclass(frozen=True)
class Update:
    """One optimiser: which networks of Nets it trains, on which loss, how often in a cycle."""

    name: str
    trains: tuple[str, ...]  # field names of Nets
    loss: Callable  # (nets, batch, cfg) -> (total to minimise, {term: detached scalar})
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    repeats: int = 1
    part: float = 1.0  # share of a batch's images that it is shown (for the record)
    fresh: bool = True  # False takes the batch that the update before it used last in this cycle
    every: int = 1  # performed only in cycles every, 2 every, ... (cycles count from 1)
    examples: Callable[[FaceSet, Split, int], Examples] | None = None  # instead of the stage's, for a fresh update
    schedule: Callable[[int], float] | None = None  # factor on lr by the cycle, from 0 in the stage; None is constant
    optimiser: Callable | None = None  # parameters, lr -> torch optimiser; None is Adam with `betas`

    def rate(self, cycle: int) -> float:
        """The learning rate in a cycle, counted from 1."""
        return self.lr * (self.schedule(cycle - 1) if self.schedule else 1.0)


@dataclass(frozen=True)
class Stage:
    """A stretch of training: `cycles` times all `updates` in order, on batches labelled with `attributes`.

    Stages with the same `model` go on with the same networks; a new name gets new ones from the paper's `build(cfg)`.
    A stage that follows one of the same model keeps the optimiser of every update that has the same name and trains
    the same networks, and goes on with the numbers of its batches. The first update takes a fresh batch in every cycle,
    so that the others can share it."""

    name: str
    model: str
    attributes: tuple[str, ...]
    updates: tuple[Update, ...]
    cycles: int
    batch: int
    sampler: str = "natural"
    flip: bool = False
    examples: Callable[[FaceSet, Split, int], Examples] | None = None  # a pool other than the training split

    def images_seen(self, cycles: int) -> dict[str, int]:
        """How many images each update has been shown after `cycles` cycles."""
        return {u.name: int(cycles // u.every * u.repeats * self.batch * u.part) for u in self.updates}

    def first_step(self, cycle: int) -> int:
        """The number of fresh batches drawn before a cycle (from 1), which is the number of its first batch."""
        return sum((cycle - 1) // u.every * u.repeats for u in self.updates if u.fresh)


SNAPSHOTS = ("resume.pt", "resume.previous.pt")  # of an unfinished training, the newest first


class TrainingDiverged(StudyError):
    """A loss term became NaN or infinite; the message names the term, the stage and the cycle."""

    code = 1


def networks(nets) -> dict[str, nn.Module]:
    """The modules of a Nets dataclass by field name."""
    return {k: v for k, v in vars(nets).items() if isinstance(v, nn.Module)}


def _kept(models: dict, transient: bool) -> dict[str, nn.Module]:
    """'model/net' -> module; those with `transient = True`, which serve training only, where they are asked for."""
    every = {f"{m}/{n}": net for m, nets in models.items() for n, net in networks(nets).items()}
    return {place: net for place, net in every.items() if transient or not getattr(net, "transient", False)}


def weights(models: dict, transient: bool = False) -> dict[str, Tensor]:
    """All weights of {model: Nets} as one flat dict, keyed 'model/net.parameter'."""
    kept = _kept(models, transient).items()
    return {f"{place}.{k}": v.contiguous() for place, net in kept for k, v in net.state_dict().items()}


def load_weights(models: dict, flat: dict[str, Tensor], where: str, transient: bool = False) -> None:
    """Put the flat dict of `weights` back. Raises ValueError naming the file if names or shapes differ."""
    for place, net in _kept(models, transient).items():
        try:
            net.load_state_dict({k.removeprefix(f"{place}."): v for k, v in flat.items() if k.startswith(f"{place}.")})
        except RuntimeError as error:
            raise ValueError(f"{where}: it does not hold the networks of this configuration ({place}): {error}") from None


@contextmanager
def polite_interrupt() -> Iterator[list]:
    """Ctrl-C and SIGTERM append to the yielded list, for the loop to stop between cycles; a second raises at once."""
    asked: list[int] = []

    def note(number, frame):
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


class History:
    """Rows of history.csv and the cycles not yet checked. Values stay on the device until `flush`: one transfer per
    window, no synchronisation inside a cycle."""

    def __init__(self, rows: list[dict]):
        self.rows = rows
        self.pending: list[tuple[str, int, dict[str, Tensor], dict[str, float]]] = []

    def flush(self, every: int) -> None:
        """Check every pending cycle and keep each `every`-th as a row (and the first). Raises TrainingDiverged at the
        first bad one, with all rows before it kept."""
        if not self.pending:
            return
        flat = iter(torch.stack([v.float() for _, _, values, _ in self.pending for v in values.values()]).tolist())
        pending, self.pending = self.pending, []
        for stage, cycle, values, rates in pending:
            row = {name: next(flat) for name in values}
            bad = [n for n, v in row.items() if not math.isfinite(v)]
            if bad:
                raise TrainingDiverged(
                    f"{', '.join(f'{n} = {row[n]}' for n in bad)} in stage {stage}, cycle {cycle}. The curves up to there are kept in "
                    "history.csv; try a smaller learning rate or another seed."
                )
            if cycle == 1 or cycle % every == 0:
                self.rows.append({"stage": stage, "cycle": cycle} | row | rates)

    def write(self, folder: Path) -> None:
        """history.csv, whole; float32 values with the 9 digits that give them back exactly."""
        frame = pd.DataFrame(self.rows)
        save_atomically(folder / "history.csv", lambda p: frame.to_csv(p, index=False, float_format="%.9g"))


def train(
    method, cfg, faces: FaceSet, split: Split, folder: Path, seed: int = 0, device: str = "cpu", exact: str = "float32",
    log_every: int = 10, save_every: float = 60.0,
) -> tuple[dict, dict]:  # fmt: skip
    """Train all of `method.stages(cfg)` on the training split, from the last snapshot in `folder` if there is one.

    Returns ({model: Nets} on the device in eval mode, {stage: cycles, seconds, processor seconds, images seen by each
    update}). exact: float32 or bf16. `resume.pt` is written every `save_every` seconds (0: every cycle) and at the end
    of every stage. Every `log_every`-th cycle becomes a row of history.csv, which holds an update's last repeat; its
    columns are empty where it was not performed. Raises TrainingDiverged, or KeyboardInterrupt after a clean save."""
    device = torch.device(device)
    stages, models = [precision.at(stage, exact, device) for stage in method.stages(cfg)], {}

    def nets_of(model: str):
        if model not in models:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)  # every model starts from the seed alone, whatever was trained before it
                models[model] = method.build(cfg)
            for net in networks(models[model]).values():
                net.to(device).train()
        return models[model]

    file, state = _snapshot(folder, device)
    history, report = History(json.loads(state["rows"])), state["report"]
    for model in state["models"]:
        nets_of(model)
    load_weights(models, state["weights"], str(file), transient=True)

    sources = [_sources(s, faces, split, seed, device) for s in stages]  # bad data stop it here

    def save(number: int, cycle: int, seconds: tuple[float, float], optimisers: dict) -> None:
        history.flush(log_every)
        history.write(folder)
        report[stages[number].name] = {
            "cycles": cycle,
            "seconds": round(seconds[0], 2),
            "processor_seconds": round(seconds[1], 2),
            "images_seen": stages[number].images_seen(cycle),
        }
        snapshot = {
            "stage": number, "cycle": cycle, "seconds": seconds, "rows": json.dumps(history.rows), "report": report,
            "models": list(models), "weights": weights(models, transient=True),
            "optimisers": {n: o.state_dict() for n, o in optimisers.items()},
        }  # fmt: skip
        newest, previous = (folder / name for name in SNAPSHOTS)
        if newest.exists():
            os.replace(newest, previous)

        def write(file: Path) -> None:
            with file.open("wb") as out:  # Python's file says that the disk is full, PyTorch's own does not
                torch.save(snapshot, out)

        save_atomically(newest, write)

    first = [0]  # the number of each stage's first batch
    for a, b in pairwise(stages):
        first.append(first[-1] + a.first_step(a.cycles + 1) if a.model == b.model else 0)
    before: dict[tuple, torch.optim.Optimizer] = {}  # of the last stage
    for number, stage in list(enumerate(stages))[state["stage"] :]:
        nets = nets_of(stage.model)
        modules = networks(nets)
        places = {u.name: (stage.model, u.name, u.trains) for u in stage.updates}
        optimisers = {u.name: before.get(places[u.name]) or _optimiser(u, modules) for u in stage.updates}
        before = {places[name]: optimiser for name, optimiser in optimisers.items()}
        for name, saved in state["optimisers"].items():
            optimisers[name].load_state_dict(saved)
        began = time.perf_counter() - state["seconds"][0], time.process_time() - state["seconds"][1]
        last_save, done = time.perf_counter(), state["cycle"]
        with polite_interrupt() as asked, tqdm(total=stage.cycles, initial=done, desc=stage.name, unit="cycle", mininterval=5) as bar:
            try:
                for cycle in range(done + 1, stage.cycles + 1):
                    values, rates, step = {}, {}, first[number] + stage.first_step(cycle)
                    for update in stage.updates:
                        if cycle % update.every:
                            continue
                        rates[f"{update.name}/lr"] = update.rate(cycle)
                        for _ in range(update.repeats):
                            if update.fresh:
                                batch = sources[number][update.name](step)
                                step += 1
                            values |= _perform(update, nets, modules, batch, cfg, optimisers[update.name], update.rate(cycle))
                    history.pending.append((stage.name, cycle, values, rates))
                    bar.update()
                    if cycle % log_every == 0:
                        history.flush(log_every)
                    if asked or cycle == stage.cycles or time.perf_counter() - last_save >= save_every:
                        spent = time.perf_counter() - began[0], time.process_time() - began[1]
                        save(number, cycle, spent, optimisers)
                        last_save = time.perf_counter()
                    if asked:
                        raise KeyboardInterrupt(f"stopped after cycle {cycle} of stage {stage.name}; the same command goes on from there")
            except TrainingDiverged:
                history.write(folder)
                raise
        for optimiser in optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        sources[number] = batch = None  # what is over gives its memory back
        state = FRESH
    return for_use(models), report


def _perform(update: Update, nets, modules: dict, batch, cfg, optimiser: torch.optim.Optimizer, rate: float) -> dict[str, Tensor]:
    """One update of the networks that it trains. Returns its detached loss terms as '<update>/<term>'."""
    for name, module in modules.items():
        module.requires_grad_(name in update.trains)  # the others still pass gradients through to their inputs
    for group in optimiser.param_groups:
        group["lr"] = rate
    total, parts = update.loss(nets, batch, cfg)
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    optimiser.step()
    return {f"{update.name}/{name}": value for name, value in ({"loss": total.detach()} | parts).items()}


FRESH = {"cycle": 0, "seconds": (0.0, 0.0), "optimisers": {}}  # of a stage that begins


def _snapshot(folder: Path, device: torch.device) -> tuple[Path, dict]:
    """The newest snapshot that can be read, and its file; that of a beginning if there is none. A damaged one is set
    aside with a warning."""
    for name in SNAPSHOTS:
        file = folder / name
        if not file.exists():
            continue
        try:
            state = torch.load(file, map_location=device, weights_only=True)
            if "rows" not in state:
                raise KeyError("rows")  # a file of some other program
            return file, state
        except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            aside = file.with_suffix(".damaged")
            os.replace(file, aside)
            what = f"{file}: damaged ({type(error).__name__}), set aside as {aside.name}"
            warnings.warn(f"{what}; training goes on from what was saved before it.", stacklevel=2)
    return folder, FRESH | {"stage": 0, "models": [], "weights": {}, "rows": "[]", "report": {}}


def _sources(stage: Stage, faces: FaceSet, split: Split, seed: int, device: torch.device) -> dict[str, Batches]:
    """Where each update takes its batches, by its name; those with the same pool from the same place."""

    @cache
    def source(examples) -> Batches:
        pool = examples(faces, split, seed) if examples else split.train
        return Batches(faces, pool, stage.attributes, stage.batch, seed, stage.sampler, stage.flip, device)

    return {u.name: source(u.examples or stage.examples) for u in stage.updates}


def _optimiser(update: Update, modules: dict[str, nn.Module]) -> torch.optim.Optimizer:
    parameters = [p for name in update.trains for p in modules[name].parameters()]
    make = update.optimiser or partial(torch.optim.Adam, betas=update.betas, fused=True)
    return make(parameters, update.lr)


def for_use(models: dict) -> dict:
    """{model: Nets} in evaluation mode, without gradients."""
    for nets in models.values():
        for net in networks(nets).values():
            net.requires_grad_(False).eval()
    return models

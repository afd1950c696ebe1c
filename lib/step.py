"""How one update is performed: plainly, or on a GPU as a recording of its kernels that is replayed.

`Eager` calls the loss, the backward pass and the optimiser. `Captured` does the same on tensors that stay where they are: the batch, the
learning rates and the losses have fixed places, so that each update of a stage can be recorded once as a CUDA graph and then started with a
single call. What is replayed draws the random numbers that the plain update draws, from a generator that is set to the batch's seed in between.

A recording is used only after it has repeated two plain updates; the networks, the optimisers and the generator are put back to where they were
after each trial. Where recording fails, or the replay does not repeat the update, it stays plain and `how` says why. With STUDY_STEP=compiled each
update is also recorded with its generators compiled (`lib.fuse`), and the faster of the two recordings is used.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lib.data import Batch
from lib.fuse import fused

AGREE = 1e-3  # replayed against plain losses, as a share of the largest of them
AGREE_COMPILED = 1e-2  # the same where the generators are compiled: what is fused is rounded less often, which shows in bf16
SWITCH = "STUDY_STEP"  # environment: "eager" performs every update plainly, "compiled" tries compiled generators in the recordings
REPLAYS = 10  # that are timed of each of two recordings


class CallAgain:
    """Replays by calling: the logic of `Captured` wherever there is no GPU."""

    def aside(self):
        """Where trials and recordings run."""
        return nullcontext()

    def strict(self):
        """Raises RuntimeError inside it where the processor would wait for a value, as a step must not that shall be recorded."""
        return nullcontext()

    def record(self, work: Callable[[], None], optimiser: torch.optim.Optimizer, rng: torch.Generator) -> Callable[[], None]:
        """A function that does what `work` does. May leave `work` undone or done once: the caller puts all back."""
        return work

    def seconds(self, replay: Callable[[], None]) -> float:
        """What one replay takes, the mean of REPLAYS."""
        began = time.perf_counter()
        for _ in range(REPLAYS):
            replay()
        return (time.perf_counter() - began) / REPLAYS


class CudaGraphs(CallAgain):
    """Replays CUDA graphs. They are recorded on a stream of their own and share one pool of memory: each starts from the buffers, never from
    what another left in the pool."""

    def __init__(self):
        self.stream, self.pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    @contextmanager
    def aside(self) -> Iterator[None]:
        self.stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            torch.cuda.current_stream().wait_stream(self.stream)

    @contextmanager
    def strict(self) -> Iterator[None]:
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def record(self, work: Callable[[], None], optimiser: torch.optim.Optimizer, rng: torch.Generator) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(rng)
        optimiser.zero_grad(set_to_none=True)  # so that the gradients of the recording live in its pool
        for group in optimiser.param_groups:
            group["capturable"] = True
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                work()
        finally:
            for group in optimiser.param_groups:
                group["capturable"] = False
        return graph.replay

    def seconds(self, replay: Callable[[], None]) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(REPLAYS):
            replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000 / REPLAYS


class Eager:
    """Performs the updates of one stage, each on the batch that was taken last.

    nets: the paper's Nets, modules: its networks by name, optimisers: by the name of the update, cfg: what the losses get.
    """

    def __init__(self, nets, modules: dict, optimisers: dict, cfg, why: str = ""):
        self.nets, self.modules, self.optimisers, self.cfg, self.why = nets, modules, optimisers, cfg, why
        self.batch: Batch | None = None

    @property
    def how(self) -> str:
        """`eager`, and why not otherwise if that needs a word."""
        return f"eager ({self.why})" if self.why else "eager"

    def rate(self, update, cycle: int) -> float:
        """Set the update's learning rate for a cycle, counted from 1, and return it."""
        rate = update.rate(cycle)
        for group in self.optimisers[update.name].param_groups:
            group["lr"], group["betas"] = rate, update.betas
        return rate

    def take(self, batch: Batch) -> None:
        """Make this the batch of the next updates."""
        self.batch = batch

    def perform(self, update, cycle: int) -> dict[str, Tensor]:
        """One update. Returns {update/term: detached scalar on the device}, the terms of the loss and their total."""
        optimiser = self.optimisers[update.name]
        _freeze(self.modules, update.trains + update.keeps)
        total, parts = update.loss(self.nets, self.batch.first(update.images), self.cfg)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        optimiser.step()
        return {f"{update.name}/{k}": v for k, v in parts.items()} | {f"{update.name}/total": total.detach()}


@dataclass(frozen=True)
class Replay:
    """A recorded update. views: per row of the ring its losses as {update/term: scalar}, made once."""

    start: Callable[[], None]
    views: list[dict[str, Tensor]]


class Captured(Eager):
    """The same updates on buffers, each recorded when it is performed first.

    like: a batch of the stage, whose shapes the buffers take. rows: the losses of a cycle stay valid for so many cycles. backend: torch.compile's,
    to try compiled generators; empty: do not.
    """

    def __init__(self, nets, modules: dict, optimisers: dict, cfg, like: Batch, rows: int, recorder: CallAgain, backend: str = ""):
        super().__init__(nets, modules, optimisers, cfg)
        device = like.x.device
        copies = {name: torch.empty_like(t) for name, t in vars(like).items() if isinstance(t, Tensor)}
        self.batch = Batch(**copies, rng=torch.Generator(device), kept=None)  # each recording starts from the buffers alone
        self.rows, self.recorder, self.backend = rows, recorder, backend
        self.row = torch.zeros(1, dtype=torch.int64, device=device)
        # fused Adam reads a learning rate of float32 on a GPU; elsewhere it reads a float, which float64 holds exactly
        kind = torch.float32 if device.type == "cuda" else torch.float64
        self.rates = {name: torch.zeros((), dtype=kind, device=device) for name in optimisers}
        self.replays: dict[str, Replay | None] = {}
        self.plain: dict[str, str] = {}  # updates that are not replayed, and why
        self.compiled: dict[str, str] = {}  # what came of compiling their generators

    @property
    def how(self) -> str:
        """`captured`, or which updates are not, and why; and which of them are compiled."""
        reasons = "; ".join(f"{name}: {why}" for name, why in (self.plain | self.compiled).items())
        return f"{'eager' if self.plain.keys() == self.optimisers.keys() else 'captured'} ({reasons})" if reasons else "captured"

    def rate(self, update, cycle: int) -> float:
        rate = update.rate(cycle)
        self.rates[update.name].fill_(rate)
        for group in self.optimisers[update.name].param_groups:
            group["lr"], group["betas"] = self.rates[update.name], update.betas
        return rate

    def take(self, batch: Batch) -> None:
        for name, there in vars(self.batch).items():
            if isinstance(there, Tensor):
                there.copy_(getattr(batch, name))
        self.batch.rng.manual_seed(batch.rng.initial_seed())

    def perform(self, update, cycle: int) -> dict[str, Tensor]:
        if update.name not in self.replays:
            self.replays[update.name] = self._chosen(update)
        replay = self.replays[update.name]
        if replay is None:
            return super().perform(update, cycle)
        self.row.fill_(cycle % self.rows)
        replay.start()
        return replay.views[cycle % self.rows]

    def _chosen(self, update) -> Replay | None:
        """The replay of an update: as it is or with compiled generators, whichever is faster. None, with the reason in `plain`, if it cannot be."""
        try:
            plain = self._recorded(update, nullcontext, AGREE)
        except RuntimeError as error:
            self.plain[update.name] = reason(error)
            return None
        if not self.backend:
            return plain
        try:
            fast = self._recorded(update, partial(fused, self.modules, self.backend), AGREE_COMPILED)
        except RuntimeError as error:
            self.compiled[update.name] = f"not compiled: {reason(error)}"
            return plain
        with self._undone(self.optimisers[update.name]):
            times = [self.recorder.seconds(replay.start) for replay in (plain, fast)]
        ratio = times[0] / times[1]
        self.compiled[update.name] = f"{'compiled' if ratio > 1 else 'not compiled'}: {ratio:.2f} times as fast"
        return fast if ratio > 1 else plain

    def _recorded(self, update, within: Callable, agree: float) -> Replay:
        """A replay of the update, made inside the context `within()`, that was seen to repeat it. Trains nothing: all is put back. Raises
        RuntimeError if it cannot be recorded, or if its losses are not those of the plain update, within `agree`."""
        optimiser = self.optimisers[update.name]

        def plainly() -> dict[str, Tensor]:
            return Eager.perform(self, update, 0)

        with self.recorder.aside():
            with self._undone(optimiser):
                terms = list(plainly())  # the libraries set themselves up, the optimiser gets its memory
            ring = torch.zeros(self.rows, len(terms), device=self.row.device)
            self.row.zero_()

            def work(within: Callable = within) -> None:
                with within():
                    losses = torch.stack([v.float() for v in plainly().values()])
                ring.index_copy_(0, self.row, losses[None])

            def twice(step: Callable[[], None]) -> Tensor:
                """The losses of two steps from here; the second shows whether the first one's update arrived."""
                out = []
                with self._undone(optimiser):
                    for _ in range(2):
                        step()
                        out.append(ring[0].clone())
                return torch.stack(out)

            try:
                with self._undone(optimiser):
                    work()  # a compiler has its say
                with self.recorder.strict(), _own_randomness():
                    wanted = twice(partial(work, nullcontext))
                with self._undone(optimiser):
                    start = self.recorder.record(work, optimiser, self.batch.rng)
                got = twice(start)
            finally:
                optimiser.zero_grad(set_to_none=True)
        off = float((got - wanted).abs().max() / wanted.abs().max().clamp_min(1e-6))
        if not off <= agree:  # NaN neither
            raise RuntimeError(f"the replay is off by {off:.2g} of the largest loss")
        return Replay(start, [dict(zip(terms, row.unbind(), strict=True)) for row in ring])

    @contextmanager
    def _undone(self, optimiser: torch.optim.Optimizer) -> Iterator[None]:
        """Put back, in place, what an update changes: weights, buffers, the optimiser's memory (to zeros, if it had none), the generator."""
        state = {t: t.detach().clone() for net in self.modules.values() for t in (*net.parameters(), *net.buffers())}
        state |= {t: t.clone() for memory in optimiser.state.values() for t in memory.values()}
        numbers = self.batch.rng.get_state()
        try:
            yield
        finally:
            with torch.no_grad():
                for t, value in state.items():
                    t.copy_(value)
                for memory in optimiser.state.values():
                    for t in memory.values():
                        if t not in state:
                            t.zero_()
            self.batch.rng.set_state(numbers)


def stepper(nets, modules: dict, optimisers: dict, cfg, like: Callable[[], Batch], rows: int, device: torch.device) -> Eager:
    """What performs a stage's updates on this device: `Captured` on a GPU, unless the environment says STUDY_STEP=eager, else `Eager`."""
    if device.type != "cuda" or os.environ.get(SWITCH) == "eager":
        return Eager(nets, modules, optimisers, cfg, why=f"{SWITCH}=eager" if device.type == "cuda" else "")
    backend = "inductor" if os.environ.get(SWITCH) == "compiled" else ""
    return Captured(nets, modules, optimisers, cfg, like(), rows, CudaGraphs(), backend)


def reason(error: RuntimeError) -> str:
    """The first line of an error, with the next if that is where it goes on."""
    first, *rest = str(error).strip().split("\n")
    return (f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first)[:200]


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Raise RuntimeError if numbers were drawn from Python's, NumPy's or PyTorch's own generators: a replay would repeat the first draw."""

    def states() -> tuple:
        return random.getstate(), np.random.get_state()[1].tobytes(), np.random.get_state()[2], torch.get_rng_state().numpy().tobytes()

    before = states()
    yield
    if states() != before:
        raise RuntimeError("it draws from a generator that is not the batch's")


def _freeze(modules: dict, trained: tuple[str, ...]) -> None:
    """Only the trained networks collect gradients; the others still pass them through to their inputs."""
    for name, module in modules.items():
        module.requires_grad_(name in trained)

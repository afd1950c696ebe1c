"""One training on several GPUs, or several processes: `torchrun --nproc_per_node=4 -m lib.parallel sagan -p profile gpu -p device cuda`.

It trains the run that `python -m lib.run` with the same parameters would train, in the same folder; that command then finds the training complete
and does the rest. Every process makes the whole batch of a step and keeps every N-th image of it (the halves of a balanced batch stay halves);
gradients are averaged before each optimiser step, so that all processes hold the same networks, and so are the losses, so that all stop at the
same NaN. Process 0 alone keeps a record.

Why not DistributedDataParallel: it averages while `backward` runs, in networks that are called through its wrapper. The losses here call several
networks, several times, differentiate through the gradient of a critic, and freeze all but one of them. Averaging what `backward` has left is
right for any loss, and takes a hook on the optimisers instead of a wrapper: neither the papers nor the engine know of it.

Exact, up to the rounding of sums: indices, mirroring, and every random number that a loss draws per image (`rand`, `randn`, `randint` along the
first dimension); hence every loss that is a mean over images of terms of one image each, gradient penalties included. Equal in distribution only:
permutations of a batch (labels and references are permuted within a share), means over some images of a batch or statistics of a batch (masked means,
BatchNorm: per share), and what networks remember in buffers (running statistics, pools, banks: each process its own, of which number 0's are kept).
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from tqdm import tqdm

from lib import engine
from lib.data import Batch, DataError, FaceSet, Split
from lib.params import ParameterError, require
from lib.step import SWITCH

PATIENCE = timedelta(minutes=10)  # a process that waits longer than this for another gives up
UNEVEN = "a number of processes that divides every batch (twice that for a balanced sampler)"


class ShareOfRandomness(TorchFunctionMode):
    """Inside it a draw per image from a given generator is this process's part of the draw that one process would make for the whole batch."""

    def __init__(self, rank: int, world: int):
        super().__init__()
        self.rank, self.world = rank, world

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if kwargs.get("generator") is None or func is torch.randperm:
            return func(*args, **kwargs)
        if func in (torch.rand, torch.randn):
            bounds, size = (), args if isinstance(args[0], int) else args[0]
        elif func is torch.randint:
            *bounds, size = args
        else:
            raise NotImplementedError(f"{func.__name__} with a generator: draw with rand, randn or randint, of which a share can be taken.")
        return func(*bounds, (size[0] * self.world, *size[1:]), **kwargs)[self.rank :: self.world]


def share(batch: Batch, rank: int, world: int) -> Batch:
    """Every `world`-th image of a batch, from `rank` on, with the whole batch's generator."""
    return replace(batch, **{name: t[rank::world] for name, t in vars(batch).items() if isinstance(t, Tensor)})


def shared(loss: Callable, rank: int, world: int) -> Callable:
    """The loss on this process's share of the batch. Its value and its terms are the means over all processes, its gradient is the share's."""

    def of_share(nets, batch: Batch, cfg):
        with ShareOfRandomness(rank, world):
            total, parts = loss(nets, share(batch, rank, world), cfg)
        means = torch.stack([v.detach().to(total.dtype) for v in (total, *parts.values())])
        dist.all_reduce(means)
        mean, *others = (means / world).unbind()
        return total + (mean - total.detach()), dict(zip(parts, others, strict=True))

    return of_share


def check_shares(stages: list[engine.Stage], world: int) -> None:
    """Raise ParameterError if a batch cannot be shared out evenly."""
    for stage in stages:
        unit = world * (2 if stage.sampler == "balanced" else 1)
        require(stage.batch % unit == 0, "processes", world, f"{UNEVEN}; stage {stage.name} has {stage.sampler} batches of {stage.batch}")
        part = [u.name for u in stage.updates if u.images not in (None, stage.batch)]
        require(not part, "processes", world, f"1: {', '.join(part)} of stage {stage.name} takes the first images of a batch, which no share has")


@contextmanager
def averaged_gradients(world: int) -> Iterator[None]:
    """Inside it every step of every optimiser is preceded by averaging its gradients over the processes."""

    def average(optimiser, args, kwargs) -> None:
        grads = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        for grad, mean in zip(grads, (flat / world).split([g.numel() for g in grads]), strict=True):
            grad.copy_(mean.view_as(grad))

    hook = register_optimizer_step_pre_hook(average)
    try:
        yield
    finally:
        hook.remove()


class Follower:
    """What `engine.train` needs of a run, in a process that keeps no record. folder: a temporary one."""

    def __init__(self, folder: Path, device: str, seed: int, precision: str):
        self.folder, self.device, self.seed, self.precision = folder, device, seed, precision

    def finished_weights(self) -> None:
        return None

    def training_done(self, weights: dict, report: dict) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass


def train(paper, cfg, faces: FaceSet, split: Split, run, **saving) -> None:
    """`engine.train` by all processes of the default group together; each calls this. run: a Run in process 0, a Follower in the others.
    saving: log_every, save_every. Goes on from process 0's resume.pt; nothing happens where its run has finished training.

    A signal stops process 0 after a cycle, with a save; the others are then ended by torchrun, and so are all if one fails.
    Raises ParameterError if a batch cannot be shared out, and what `engine.train` raises.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    check_shares(paper.stages(cfg), world)
    resume = run.folder / "resume.pt"
    told = [rank == 0 and run.finished_weights() is not None, resume.read_bytes() if rank == 0 and resume.exists() else None]
    dist.broadcast_object_list(told)
    finished, saved = told
    if finished:
        return
    if rank and saved:
        resume.write_bytes(saved)

    def build(cfg):
        nets = paper.build(cfg)
        modules = engine.networks(nets)
        state = [{name: net.state_dict() for name, net in modules.items()}]
        dist.broadcast_object_list(state)  # the same seed gave the same weights; this makes sure of it
        for name, net in modules.items():
            net.load_state_dict(state[0][name])
        return nets

    def stages(cfg) -> list[engine.Stage]:
        return [replace(s, updates=tuple(replace(u, loss=shared(u.loss, rank, world)) for u in s.updates)) for s in paper.stages(cfg)]

    def work() -> None:
        if torch.device(run.device).type == "cuda":
            torch.cuda.set_device(run.device)  # a thread has its own current device
        engine.train(SimpleNamespace(build=build, stages=stages), cfg, faces, split, run, **saving)

    with averaged_gradients(world):
        if rank == 0:
            return work()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with ThreadPoolExecutor(1) as pool:  # outside the main thread the engine leaves the signals ignored
            pool.submit(work).result()


def own_device(device: str) -> str:
    """`cuda` becomes this process's GPU. Raises ParameterError where there are fewer GPUs than processes."""
    if torch.device(device).type != "cuda":
        return device
    here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    require(here <= gpus, "processes", here, f"at most the number of GPUs of this machine, {gpus}")
    return f"cuda:{os.environ['LOCAL_RANK']}"


def main(argv: list[str] | None = None) -> int:
    """The command line, in each process that torchrun starts. Exit codes as those of `python -m lib.run`."""
    from lib import run as command  # these import much that a training does not need
    from lib import runs

    parser = argparse.ArgumentParser(prog="torchrun --nproc_per_node=N -m lib.parallel", description="Train a paper's run with several processes.")
    parser.add_argument("paper", choices=command.PAPERS)
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="as for python -m lib.run")
    args = parser.parse_args(argv)
    if "RANK" not in os.environ:
        parser.error("start it with torchrun: torchrun --nproc_per_node=2 -m lib.parallel ...")
    first = os.environ["RANK"] == "0"
    if not first:
        tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)
    os.environ[SWITCH] = "eager"  # averaging within a recorded step has not been tried
    followed = tempfile.TemporaryDirectory(prefix="follower-")
    try:
        values = command.parameters(args.paper, [tuple(p) for p in args.p])
        device = own_device(values["device"])
        job = command.prepare(args.paper, values)
        whole = "a paper whose networks its Config alone describes (this one's notebook builds them on others that it trains first)"
        require(not hasattr(job.paper, "using"), "paper", args.paper, whole)
        check_shares(job.paper.stages(job.cfg), int(os.environ["WORLD_SIZE"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if device != "cpu" else "gloo", timeout=PATIENCE)
        follower = Follower(Path(followed.name), device, values["seed"], values["precision"])
        run = runs.start(**job.start(values), device=device) if first else follower
        if first:
            print(f"{args.paper}: {run.folder}", flush=True)
            run.update(hardware=run.record["hardware"] | {"processes": dist.get_world_size()})
        try:
            train(job.paper, job.cfg, job.faces, job.split, run)
        except engine.TrainingDiverged as error:
            return _say(first, f"failed: {error}", 1)
        except KeyboardInterrupt:
            return _say(first, f"interrupted; the same command (without force) goes on from {run.folder}", 130)
        except Exception as error:
            run.fail(f"{type(error).__name__}: {error} (if another process ended first, its message is above)")
            if "onnection" not in str(error):
                raise
            return _say(True, f"process {os.environ['RANK']}: lost another process, whose message is above or below", 1)
        return _say(first, f"trained; python -m lib.run {args.paper} with the same parameters goes on from there", 0)
    except (ParameterError, DataError, runs.RunError) as error:
        return _say(first, f"error: {error}", 2)
    finally:
        followed.cleanup()
        if dist.is_initialized():
            dist.destroy_process_group()


def _say(first: bool, text: str, code: int) -> int:
    if first:
        print(text, file=sys.stderr if code else sys.stdout, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())

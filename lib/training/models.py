"""Trained models: what decides one (`Job`), training it, and loading it again.

A model lives in results/<method>/<model id>/: model.json (what was trained, how, where), history.csv (its curves),
weights.safetensors (the networks that edits need, in half precision: every reported number is measured with it) and,
while it is trained, resume.pt."""

import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TextIO

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lib.data import FaceSet, Split
from lib.data.cache import save_atomically
from lib.data.faceset import with_pictures
from lib.sources import ROOT, StudyError
from lib.training import loop
from lib.training.precision import cpuinfo, resolve

RESULTS = ROOT / "results"
RECORDED = ("torch", "torchvision", "numpy", "pandas", "torchmetrics", "lpips", "papermill", "nbconvert")
MEGABYTES = 8  # that a model's weights may take in a repository
LICENCE = {True: "as the study", False: "trained on faces for non-commercial research only"}  # by whether the faces may be published
REMEDY = "What was there before is kept whole. Free space there or make it writable; the same command goes on."


class ModelError(StudyError):
    """A model that cannot be trained, read or written: in use, damaged, or of other networks. Names file and remedy."""


@dataclass(frozen=True, eq=False)
class Job:
    """All that decides one trained model. method: a module with the contract of `lib.papers`; cfg: its Config; after:
    names of jobs of the same study that must be trained before; results: the folder that holds <method>/<id>/."""

    method: ModuleType
    cfg: object
    faces: FaceSet
    split: Split
    seed: int = 0
    after: tuple[str, ...] = ()
    results: Path = RESULTS

    @property
    def key(self) -> str:
        """The method's name: of lib.papers.sagan.model it is sagan, of lib.baselines.stargan stargan."""
        return self.method.__name__.removesuffix(".model").rpartition(".")[2]

    @cached_property
    def decides(self) -> dict:
        """What the id is a hash of."""
        return {
            "method": self.key,
            "training": self.method.TRAINING,
            "config": dataclasses.asdict(self.cfg),
            "fingerprint": self.faces.fingerprint,
            "split": self.split.checksum,
            "seed": self.seed,
        }

    @cached_property
    def id(self) -> str:
        """<data>-<size>-s<seed>-<hash8>."""
        digest = hashlib.sha256(json.dumps(self.decides, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.faces.name}-{self.faces.size}-s{self.seed}-{digest}"

    @property
    def folder(self) -> Path:
        return self.results / self.key / self.id

    @property
    def path(self) -> str:
        """Its folder as the Config of a model that starts from it names it, relative to the project if it is inside."""
        return str(self.folder.relative_to(ROOT) if self.folder.is_relative_to(ROOT) else self.folder)

    @property
    def trained(self) -> bool:
        """Whether its record says that it is complete and its weights are there."""
        record = read_record(self.folder / "model.json")
        return record is not None and record.get("status") == "complete" and (self.folder / "weights.safetensors").exists()

    @property
    def record(self) -> dict:
        """model.json. Raises ModelError where it is missing or damaged."""
        record = read_record(self.folder / "model.json")
        if record is None:
            raise ModelError(f"{self.folder / 'model.json'}: missing or damaged. Train it: python -m lib.train {self.key}")
        return record

    @property
    def history(self) -> pd.DataFrame:
        """history.csv: one row per logged cycle."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def cycles(self) -> int:
        """Cycles of all its stages."""
        return sum(stage.cycles for stage in self.method.stages(self.cfg))

    @property
    def done(self) -> int:
        """Cycles performed so far, from history.csv (all of them where it is trained)."""
        if self.trained:
            return self.cycles
        try:
            return int(self.history.groupby("stage", sort=False)["cycle"].max().sum())
        except (OSError, ValueError, KeyError):  # none yet, or half of one
            return 0

    @property
    def seconds_left(self) -> float:
        """Expected processor seconds of the cycles not yet performed, as the method measured at profile cpu."""
        per = self.method.SECONDS
        whole = sum(s.cycles * (per[s.name] if isinstance(per, dict) else per) for s in self.method.stages(self.cfg))
        return whole * (1 - self.done / max(self.cycles, 1))


def read_record(file: Path) -> dict | None:
    """A json record; None where it is missing or no JSON object, as half of one."""
    try:
        record = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


# ------------------------------------------------------------------------------------------------ training


def train(job: Job, device: str = "cpu", precision: str = "auto", save_every: float = 60.0) -> None:
    """Train a job to its end, from its last snapshot if it was begun; nothing where it is trained already.

    Raises ModelError (another process is at it, the folder cannot be written, the weights are too large),
    TrainingDiverged, or KeyboardInterrupt after a clean save. """
    if job.trained:
        return
    folder = job.folder
    with hold(folder):
        if job.trained:  # by another process, just now
            return
        for left in folder.glob(".*.[0-9]*"):  # half-written files of a killed process
            left.unlink()
        exact = resolve(precision, device)
        record = _begin(job, device, exact)
        try:
            what = job.method, job.cfg, with_pictures(job.faces), job.split
            nets, report = loop.train(*what, folder, job.seed, device, exact, save_every=save_every)
        except loop.TrainingDiverged as error:
            write_json(folder / "model.json", record | {"status": "failed", "reason": str(error)})
            raise
        except OSError as error:
            raise ModelError(f"{folder}: {error.strerror or error}. {REMEDY}") from None
        _finish(job, record, nets, report)


def forget(job: Job) -> None:
    """Throw away what a job has learned. Raises ModelError if another process is at it."""
    if job.folder.exists():
        with hold(job.folder):
            for name in (*loop.SNAPSHOTS, "model.json", "history.csv", "weights.safetensors"):
                (job.folder / name).unlink(missing_ok=True)


def _begin(job: Job, device: str, exact: str) -> dict:
    """Write model.json of a training that begins or goes on. Returns it."""
    before = read_record(job.folder / "model.json") or {}
    record = {
        "status": "training",
        "method": job.key,
        "title": job.method.TITLE,
        "id": job.id,
        **{k: job.decides[k] for k in ("training", "config", "seed")},
        "data": {
            "name": job.faces.name, "fingerprint": job.faces.fingerprint, "images": len(job.faces), "size": job.faces.size,
            "publishable": job.faces.publishable, "licence": LICENCE[job.faces.publishable],
        },
        "split": of_split(job.split),
        "precision": exact,
        "hardware": hardware(device),
        "versions": versions(),
        **code(),
        "share_of_paper": round(job.method.share_of_paper(job.cfg), 5) if hasattr(job.method, "share_of_paper") else None,
        "started": before.get("started", now()),
    }  # fmt: skip
    write_json(job.folder / "model.json", record)
    return record


def _finish(job: Job, record: dict, nets: dict, report: dict) -> None:
    """Keep the weights that edits need, complete the record, and drop the snapshots."""
    file = job.folder / "weights.safetensors"
    kept = {k: v for k, v in loop.weights(nets).items() if k.split("/", 1)[1].split(".", 1)[0] in job.method.KEEPS}

    def write(part: Path) -> None:
        save_file(half(kept), part)
        shutil.copymode(job.folder / "model.json", part)  # safetensors lets only the owner read

    keep(file, write)
    if file.stat().st_size > MEGABYTES << 20:
        size = file.stat().st_size / 2**20
        raise ModelError(f"{file}: {size:.1f} MB, more than the {MEGABYTES} that a model may take. Narrow its networks or keep fewer (KEEPS).")
    gpu = torch.device(record["hardware"]["device"]).type == "cuda"  # else the libraries are counted, too
    peak = torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    seen = pd.DataFrame([stage["images_seen"] for stage in report.values()]).sum()
    record |= {
        "status": "complete",
        "stages": report,
        "images_seen": {update: int(n) for update, n in seen.items()},
        "seconds": round(sum(s["seconds"] for s in report.values()), 1),
        "processor_seconds": round(sum(s["processor_seconds"] for s in report.values()), 1),
        "peak_memory_mb": round(peak / 2**20),
        "weights_sha256": sha256(file),
        "finished": now(),
    }
    write_json(job.folder / "model.json", record)
    for name in loop.SNAPSHOTS:
        (job.folder / name).unlink(missing_ok=True)


def half(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Floating-point tensors in half precision, all on the CPU. Raises ModelError if one does not fit."""
    out = {k: (v.detach().half() if v.is_floating_point() else v).cpu().contiguous() for k, v in weights.items()}
    for name, value in out.items():
        if not value.isfinite().all():
            raise ModelError(f"{name}: a weight that half precision cannot hold.")
    return out


# ------------------------------------------------------------------------------------------------ loading


def load(job: Job, device: str = "cpu") -> dict:
    """`opened` of a job's folder."""
    return opened(job.method, job.path, device)


def opened(method: ModuleType, path: str, device: str = "cpu") -> dict:
    """{model: Nets} of a trained model by its folder (`Job.path`), in evaluation mode, float32; networks that are not
    kept are None. Raises ModelError if it is not trained, or its file is damaged or not the recorded one."""
    folder = ROOT / path
    record, file = read_record(folder / "model.json"), folder / "weights.safetensors"
    if record is None or record.get("status") != "complete":
        remedy = f"Train it: python -m lib.train {folder.parent.name} (or make train)"
        raise ModelError(f"{folder / 'model.json'}: not trained, or damaged. {remedy}")
    if not file.exists() or sha256(file) != record.get("weights_sha256"):
        remedy = f"Restore it (git checkout -- {file}) or train it anew (--forget)"
        raise ModelError(f"{file}: not the file that model.json records. {remedy}.")
    flat = {name: value.float() if value.is_floating_point() else value for name, value in load_file(file).items()}
    cfg, out = method.Config(**record["config"]), {}
    for model in dict.fromkeys(stage.model for stage in method.stages(cfg)):
        with torch.random.fork_rng(devices=[]):
            out[model] = method.build(cfg)
        for name, net in loop.networks(out[model]).items():
            setattr(out[model], name, net.to(device) if name in method.KEEPS else None)
    loop.load_weights(out, flat, str(file))
    return loop.for_use(out)


# ------------------------------------------------------------------------------------------------ files and facts


_LOCKS: dict[Path, TextIO] = {}


def hold(folder: Path) -> TextIO:
    """Make the folder and hold its lock until what this returns is closed (use `with`), or this process ends.
    Raises ModelError if another process holds it, or if it cannot be written."""
    folder = folder.resolve()
    if folder not in _LOCKS or _LOCKS[folder].closed:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = open(folder / "lock", "w")
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelError(f"{folder}: another process is working there. Wait for it or stop it.") from None
        except OSError as error:
            raise ModelError(f"{folder}: cannot be written ({error.strerror}). Free it or choose another folder.") from None
        _LOCKS[folder] = handle
    return _LOCKS[folder]


def keep(path: Path, write: Callable[[Path], None]) -> None:
    """`save_atomically`, with a ModelError where that cannot be done."""
    try:
        save_atomically(path, write)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: {getattr(error, 'strerror', None) or error}. {REMEDY}") from None


def write_json(path: Path, value: dict) -> None:
    keep(path, lambda p: p.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=True) + "\n"))


def sha256(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def of_split(split: Split) -> dict:
    """A split as a record keeps it: its rule, its checksum and the sizes of its parts."""
    sizes = {part: len(getattr(split, part)) for part in ("train", "validation", "test")}
    return {"rule": split.rule, "checksum": split.checksum, **sizes}


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in RECORDED}


def code() -> dict:
    """The commit that runs, and whether it was changed since; nothing without git."""
    git = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, timeout=20)
    try:
        commit = git(["git", "rev-parse", "HEAD"]).stdout.strip()
        return {"commit": commit, "dirty": bool(git(["git", "status", "--porcelain", "--", "lib", "notebooks"]).stdout)}
    except (OSError, subprocess.TimeoutExpired):
        return {"commit": "", "dirty": False}


def hardware(device: str) -> dict:
    """The machine in the words a table needs: device, processor, cores, threads, memory."""
    named = (line.split(":", 1)[1].strip() for line in cpuinfo().splitlines() if line.startswith("model name"))
    cpu = next(named, platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    out = {"device": device, "cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "memory_gb": memory}
    if torch.device(device).type == "cuda":
        out |= {"gpu": torch.cuda.get_device_name(device), "gpu_memory_gb": round(torch.cuda.get_device_properties(device).total_memory / 2**30)}
    return out

"""What a run leaves in results/<paper>/<run id>/, and the refusal to mix two configurations in one folder."""

import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lib.claims import verdicts
from lib.data import FaceSet, Split
from lib.data.cache import default_dir
from lib.training.loop import peak_memory_mb, save_atomically, train
from lib.training.config import ParameterError
from lib.training.precision import check as check_precision
from lib.sources import ROOT, sources

if TYPE_CHECKING:  # Matplotlib takes seconds; only notebooks draw, and they have it
    from matplotlib.figure import Figure

RECORDED = ("torch", "torchvision", "numpy", "pandas", "torchmetrics", "lpips", "papermill", "nbconvert")
METRIC_COLUMNS = ["table", "row", "column", "metric", "value", "ci_low", "ci_high", "n", "protocol", "paper_value"]


REMEDY = "What was there before is kept whole. Free space there or make it writable, or choose another run_dir; the same command goes on."
# how an error says that a file could not be written: the system's words, and those of torch.save, which has its own
UNWRITTEN = ("No space left", "Disk quota", "File too large", "Read-only file system", "PytorchStreamWriter", "inline_container")


class RunError(RuntimeError):
    """A run folder that cannot be used: another configuration's, in use by another process, or not writable."""


def identity(
    paper: ModuleType, cfg, faces: FaceSet, split: Split, profile: str, seed: int, device: str, precision: str = "float32"
) -> dict:  # fmt: skip
    """All that decides what is trained: config, seed, data, split, kind of device, precision, sources. Its hash is part of the run id.
    (The evaluation may be repeated with newer code: run.json says with which.)"""
    return {
        "paper": paper.__name__.rpartition(".")[2],
        "profile": profile,
        "data": faces.name,
        "seed": seed,
        "device": torch.device(device).type,
        "precision": precision,
        "config": dataclasses.asdict(cfg),
        "fingerprint": faces.fingerprint,
        "split": {"rule": split.rule, "tie_rule": split.tie_rule, "checksum": split.checksum},
        "sources": sources(paper.__name__, "lib.data.batches"),
    }


def run_id(what: dict) -> str:
    """<data>-<profile>-s<seed>-<hash8>."""
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return f"{what['data']}-{what['profile']}-s{what['seed']}-{digest}"


def _flat(d: dict, prefix: str = "") -> dict[str, object]:
    out = {}
    for k, v in d.items():
        out |= _flat(v, f"{prefix}{k}.") if isinstance(v, dict) else {f"{prefix}{k}": v}
    return out


def differences(old: dict, new: dict) -> list[str]:
    """'name: old -> new' for every entry in which two identities differ."""
    a, b = _flat(old), _flat(new)
    return [f"{k}: {a.get(k, 'absent')} -> {b.get(k, 'absent')}" for k in sorted(a | b) if a.get(k, "absent") != b.get(k, "absent")]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def made_here() -> dict[str, str]:
    """The commit and the date of a page that is made now."""
    return {"commit": _commit_words(**_code()), "date": _now()}


def _code() -> dict:
    """The commit that runs, and whether it was changed since."""
    return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "--", "lib", "notebooks"))}


def _commit_words(commit: str, dirty: bool) -> str:
    return (commit[:12] or "unknown") + (" with uncommitted changes" if dirty else "")


def _git(*args: str) -> str:
    try:
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def hardware(device: str) -> dict:
    """The machine in the words a table needs: device, processor, cores, threads, memory."""
    cpu = next((line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    memory = next((int(line.split()[1]) >> 20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), None)
    out = {"device": device, "cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "memory_gb": memory}
    if torch.device(device).type == "cuda":
        out |= {"gpu": torch.cuda.get_device_name(device), "gpu_memory_gb": round(torch.cuda.get_device_properties(device).total_memory / 2**30)}
    return out


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def keep(path: Path, write: Callable[[Path], None]) -> None:
    """`save_atomically`, which leaves the old file where the new one cannot be written whole. Raises RunError that says so."""
    try:
        save_atomically(path, write)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: {getattr(error, 'strerror', None) or error}. {REMEDY}") from None


def write_json(path: Path, value: dict) -> None:
    keep(path, lambda p: p.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=True) + "\n"))


def fail(folder: Path, reason: str) -> None:
    """Mark the run in `folder` failed, with the reason, unless it already says how it ended or another process is working on it."""
    file = folder / "run.json"
    try:
        _require_free(folder)
    except RunError:
        return
    if file.exists():
        record = json.loads(file.read_text())
        if record["status"] == "running":
            write_json(file, record | {"status": "failed", "reason": reason, "finished": _now()})


class Run:
    """One run's folder. `record` is run.json; `metrics` the rows so far."""

    def __init__(self, folder: Path, record: dict, with_images: bool, device: str, seed: int, precision: str):
        self.folder, self.record, self.with_images = folder, record, with_images
        self.device, self.seed, self.precision = device, seed, precision
        self.metrics: list[dict] = []
        self._lock = _lock(folder)

    @property
    def id(self) -> str:
        return self.record["run_id"]

    @property
    def publishable(self) -> bool:
        return self.record["publishable"]

    def update(self, **entries) -> None:
        """Put entries into run.json."""
        self.record |= entries
        write_json(self.folder / "run.json", self.record)

    def finished_weights(self) -> dict | None:
        """The weights of a training that was completed in this folder, if the file is there and its hash is the recorded one."""
        file = self.folder / "checkpoint.safetensors"
        if file.exists() and _sha256(file) == self.record.get("checkpoint_sha256"):
            return load_file(file, device="cpu")
        return None

    def training_done(self, weights: dict, report: dict) -> None:
        """Store the final weights and what training cost; the resume file goes."""
        file = self.folder / "checkpoint.safetensors"
        keep(file, lambda p: save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, p))
        seen = pd.DataFrame([stage["images_seen"] for stage in report.values()]).sum()
        self.update(
            stages=report,
            seconds=round(sum(stage["seconds"] for stage in report.values()), 1),
            images_seen={update: int(n) for update, n in seen.items()},
            peak_memory_mb=round(peak_memory_mb(self.device)),
            checkpoint_sha256=_sha256(file),
            trained={k: self.record[k] for k in ("commit", "dirty", "versions", "hardware")},
        )
        (self.folder / "resume.pt").unlink(missing_ok=True)

    def add(self, rows: list[dict]) -> pd.DataFrame:
        """Take metric rows (keys as METRIC_COLUMNS; missing ones empty), write metrics.csv, and return the rows as a frame."""
        frame = pd.DataFrame(rows, columns=METRIC_COLUMNS)
        self.metrics += frame.to_dict("records")
        keep(self.folder / "metrics.csv", lambda p: self.frame().to_csv(p, index=False, float_format="%.6g"))
        return frame

    def frame(self) -> pd.DataFrame:
        """All metric rows so far."""
        return pd.DataFrame(self.metrics, columns=METRIC_COLUMNS)

    def table(self, frame: pd.DataFrame, name: str) -> pd.DataFrame:
        """Write tables/<name>.csv and return the frame."""
        (self.folder / "tables").mkdir(exist_ok=True)
        keep(self.folder / "tables" / f"{name}.csv", lambda p: frame.to_csv(p, index=False, float_format="%.6g"))
        return frame

    def figure(self, figure: "Figure", name: str, faces: bool) -> None:
        """Write figures/<name>.png. A figure that shows faces which may not be published goes to private/ (which git ignores), and only
        if the reader asked for images."""
        show = self.publishable or self.with_images
        keep_figure(figure, name, faces, show, self.folder / ("private" if faces and not self.publishable else "figures"))

    def claims(self, claims) -> pd.DataFrame:
        """Decide the claims from the metrics so far, write claims.csv, and return the frame."""
        frame = verdicts(claims, self.frame())
        keep(self.folder / "claims.csv", lambda p: frame.to_csv(p, index=False))
        return frame

    def fail(self, reason: str) -> None:
        """Mark the run failed."""
        fail(self.folder, reason)
        self.record |= json.loads((self.folder / "run.json").read_text())

    def complete(self) -> str:
        """Mark the run complete and return one sentence about it."""
        self.update(status="complete", reason="", finished=_now())
        return f"{self.record['paper']} run {self.id} is complete: {len(self.metrics)} metric rows."


def keep_figure(figure: "Figure", name: str, faces: bool, show: bool, folder: Path) -> None:
    """Write <folder>/<name>.png, marked with whether it shows faces; nothing if it does and they must not be shown (`show`)."""
    if faces and not show:
        return
    folder.mkdir(parents=True, exist_ok=True)
    about = {"Software": None, "Faces": "yes" if faces else "no"}
    keep(folder / f"{name}.png", lambda p: figure.savefig(p, format="png", dpi=110, metadata=about))


def _sha256(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


_LOCKS: dict[Path, object] = {}


def _lock(folder: Path):
    """Hold folder/lock for the life of this process. Raises RunError if another process holds it, or if it cannot be written."""
    if folder in _LOCKS:
        return _LOCKS[folder]
    try:
        handle = open(folder / "lock", "w")  # noqa: SIM115  held open on purpose
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}). Free it or choose another with run_dir.") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise RunError(f"{folder}: another process is working on this run. Wait for it or stop it.") from None
    _LOCKS[folder] = handle
    return handle


def _require_free(folder: Path) -> None:
    """Raise RunError if another process holds the folder, or if it cannot be written."""
    held = folder in _LOCKS
    _lock(folder)
    if not held:
        release(folder)


def release(folder: Path) -> None:
    """Give up this process's hold on a run folder, so that another may take it."""
    handle = _LOCKS.pop(folder, None)
    if handle:
        handle.close()


def folder_of(what: dict, scratch: bool, results: Path = ROOT / "results") -> Path:
    """results/<paper>/<run id>, or results/scratch/<paper>/<run id> for runs whose numbers mean nothing."""
    return (results / "scratch" if scratch else results) / what["paper"] / run_id(what)


# Patterns of what a run leaves, which a run with force throws away.
WRITTEN = ("resume.pt", "shared-*.pt", "checkpoint.safetensors", "run.json", "history.csv", "metrics.csv", "claims.csv")
WRITTEN += ("figures", "tables", "private")


def check_device(device: str, seed: int) -> None:
    """Raise ParameterError for a device PyTorch does not have here, or a negative seed."""
    if device != "cpu" and not (device.split(":")[0] == "cuda" and torch.cuda.is_available()):
        raise ParameterError(f"device = {device!r}: it must be cpu, or cuda where PyTorch sees a GPU (here it sees {torch.cuda.device_count()}).")
    if seed < 0:
        raise ParameterError(f"seed = {seed}: it must be at least 0.")


def check(folder: Path, what: dict, force: bool) -> None:
    """Raise RunError if the folder cannot be written, is in use by another process, or (unless force) holds another configuration."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}). Free it or choose another with run_dir.") from None
    _require_free(folder)
    if (folder / "config.json").exists() and not force:
        changed = differences(json.loads((folder / "config.json").read_text()), what)
        if changed:
            remedy = "Choose another run_dir, or force = True to replace it."
            raise RunError(f"{folder}: holds a run of another configuration ({'; '.join(changed)}). {remedy}")


def start(
    paper: ModuleType, cfg, faces: FaceSet, split: Split, *, profile: str, seed: int, device: str = "cpu", precision: str = "float32",
    run_dir: str = "", force: bool = False, with_images: bool = False,
) -> Run:  # fmt: skip
    """Open a run's folder: a new one, one to resume, or a finished one to evaluate again.

    run_dir: a folder of your choice instead of results/<paper>/<run id>. Raises RunError if that folder holds another configuration
    (with the list of differences), if it is in use, or if it cannot be written. force: throw away what was trained there.
    """
    check_device(device, seed)
    check_precision(precision)
    what = identity(paper, cfg, faces, split, profile, seed, device, precision)
    folder = Path(run_dir).resolve() if run_dir else folder_of(what, cfg.scratch)
    check(folder, what, force)
    old, record = folder / "config.json", {}
    run = Run(folder, record, with_images, device, seed, precision)
    for left in folder.glob(".*.[0-9]*"):  # half-written files of a killed process
        left.unlink()
    if force:
        for old_file in [file for pattern in WRITTEN for file in folder.glob(pattern)]:
            shutil.rmtree(old_file) if old_file.is_dir() else old_file.unlink(missing_ok=True)
    elif (folder / "run.json").exists():
        record |= json.loads((folder / "run.json").read_text())
    write_json(old, what)
    stored = default_dir() / "splits" / f"{split.checksum[:16]}.json"
    if not stored.exists():
        stored.parent.mkdir(parents=True, exist_ok=True)
        split.save(stored)
    run.update(
        status="running",
        reason="",
        paper=what["paper"],
        title=paper.TITLE,
        citation=paper.CITATION,
        run_id=run_id(what),
        profile=profile,
        data=faces.name,
        seed=seed,
        precision=precision,
        publishable=faces.publishable,
        scratch=cfg.scratch,
        started=_now(),
        finished="",
        **_code(),
        versions={"python": platform.python_version()} | {name: version(name) for name in RECORDED},
        hardware=hardware(device),
        fingerprint=faces.fingerprint,
        images=len(faces),
        size=faces.size,
        crop="centre square of the full width, antialiased bilinear resize",
        evaluation=sources("lib.judges", "lib.metrics"),
        landmarks=faces.landmark_source,
        skipped_images=len(faces.skipped),
        split={"rule": split.rule, "tie_rule": split.tie_rule, "train": len(split.train), "test": len(split.test), "checksum": split.checksum},
        deviations_documented=[d.id for d in paper.DEVIATIONS],
        share_of_paper=round(paper.share_of_paper(cfg), 5),
    )
    return run


def trained(paper: ModuleType, cfg, faces: FaceSet, split: Split, run: Run, seed: int | None = None, begun: Iterable[Run] = ()) -> tuple[Run, dict]:
    """Another method, or another configuration, trained on the same data with `run`'s profile, device, precision and (unless given) seed.

    It gets a folder of its own, beside the run's paper in results/ (inside the run's folder, if that is one of the reader's choice), and is
    loaded instead where it was trained before. begun: runs that may have performed its first stage; those on the same data with the same
    seed, precision and device are asked (`engine.train`). Returns its Run and {model: Nets}. Raises RunError as `start` does.
    """
    seed = run.seed if seed is None else seed
    what = identity(paper, cfg, faces, split, run.record["profile"], seed, run.device, run.precision)
    place = run.folder.parent.parent if run.folder.parent.name == run.record["paper"] else run.folder / "others"
    folder = str(place / what["paper"] / run_id(what))
    new = not (Path(folder) / "run.json").exists()
    other = start(
        paper, cfg, faces, split, profile=what["profile"], seed=seed, device=run.device, precision=run.precision,
        run_dir=folder, with_images=run.with_images,
    )  # fmt: skip
    if new or "beside" in other.record:  # it has no page of its own
        other.update(beside=run.id)  # the last run that used it: an earlier one may be gone
    same = ("seed", "precision", "fingerprint", "split")
    alike = [r.folder for r in begun if r.device == run.device and all(r.record[key] == other.record[key] for key in same)]
    models = train(paper, cfg, faces, split, other, begun=alike)
    other.complete()
    return other, models


def compared(paper: ModuleType, arms: dict, faces: FaceSet, split: Split, run: Run) -> dict[str, tuple[Run, dict]]:
    """`trained` for several configurations {name: cfg} that are compared with `run`, in order. What one has in common with `run` or with one before
    it is performed once. Returns {name: (Run, {model: Nets})}."""
    out = {}
    for name, cfg in arms.items():
        out[name] = trained(paper, cfg, faces, split, run, begun=[run, *(other for other, _ in out.values())])
    return out


def facts(record: dict) -> dict[str, str]:
    """The facts behind a run, from its run.json, in words."""
    r = record | record.get("trained", {})  # where it was trained; the evaluation may have been repeated elsewhere
    out = {
        "run": r["run_id"],
        "commit": _commit_words(r["commit"], r["dirty"]),
        "profile, seed": f"{r['profile']}, {r['seed']}",
        "precision of the training": r.get("precision", "float32"),
        "data": f"{r['data']}: {r['images']} images at {r['size']} pixels, fingerprint {r['fingerprint'][:12]}, landmarks: {r['landmarks']}",
        "split": f"{r['split']['rule']}: {r['split']['train']} train, {r['split']['test']} test images, checksum {r['split']['checksum'][:12]}",
        "hardware": ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in r["hardware"].items()),
        "versions": ", ".join(f"{k} {v}" for k, v in r["versions"].items()),
        "share of the paper's training": f"{100 * r['share_of_paper']:.2g} % of its images, per model",
    }
    if r["finished"]:
        out |= {"training": f"{r['seconds']:.0f} s, peak memory {r['peak_memory_mb']} MB", "date": r["finished"]}
    return out

"""What an evaluation leaves: one executed notebook in results/<paper>/<run id>/. It is cheap, and made again whenever
its code changes."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lib.claims import verdicts
from lib.training.models import code, hardware, hold, keep, now, read_record, release, versions, write_json

if TYPE_CHECKING:  # Matplotlib takes seconds; only notebooks draw, and they have it
    from matplotlib.figure import Figure

METRIC_COLUMNS = ["table", "row", "column", "metric", "value", "ci_low", "ci_high", "n", "protocol", "paper_value"]
LEFT = ("run.json", "metrics.csv", "claims.csv", "figures", "tables", "private")  # of an earlier evaluation, thrown away by the next


def run_id(plan) -> str:
    """<data>-<profile>-s<seed>-<hash8>: the hash is of configuration, settings, data and split, never of source
    text."""
    what = [dataclasses.asdict(plan.cfg), dataclasses.asdict(plan.settings), plan.faces.fingerprint, plan.split.checksum]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return f"{plan.faces.name}-{plan.profile}-s{plan.seed}-{digest}"


class Run:
    """One evaluation's folder. `record` is run.json; `metrics` the rows so far."""

    def __init__(self, folder: Path, record: dict, with_images: bool):
        self.folder, self.record, self.with_images = folder, record, with_images
        self.metrics: list[dict] = []

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

    def add(self, rows: list[dict]) -> pd.DataFrame:
        """Take metric rows (keys as METRIC_COLUMNS; missing ones empty), write metrics.csv, and return the rows as a
        frame."""
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
        """Write figures/<name>.png. A figure that shows faces which may not be published goes to private/ (which git
        ignores), and only if the reader asked for images."""
        show = self.publishable or self.with_images
        keep_figure(figure, name, faces, show, self.folder / ("private" if faces and not self.publishable else "figures"))

    def claims(self, claims) -> pd.DataFrame:
        """Decide the claims from the metrics so far, write claims.csv, and return the frame."""
        frame = verdicts(claims, self.frame())
        keep(self.folder / "claims.csv", lambda p: frame.to_csv(p, index=False))
        return frame

    def complete(self) -> str:
        """Mark the run complete and return one sentence about it."""
        self.update(status="complete", reason="", finished=now())
        return f"{self.record['paper']} run {self.id} is complete: {len(self.metrics)} metric rows."


def start(plan, with_images: bool = False) -> Run:
    """Open the folder of an evaluation and clear what an earlier one left. plan: `lib.study.Plan`. Raises ModelError
    if it is in use."""
    folder = plan.results / plan.name / run_id(plan)
    hold(folder)
    for name in LEFT:
        old = folder / name
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    run = Run(folder, {}, with_images)
    run.update(
        status="running", reason="", paper=plan.name, title=plan.paper.TITLE, citation=plan.paper.CITATION, run_id=folder.name,
        question=getattr(plan.evaluation, "QUESTION", ""), finding="",
        profile=plan.profile, data=plan.faces.name, seed=plan.seed, size=plan.faces.size, images=len(plan.faces),
        fingerprint=plan.faces.fingerprint, landmarks=plan.faces.landmark_source,
        publishable=plan.faces.publishable, scratch=plan.profile == "smoke",
        split={"rule": plan.split.rule, "checksum": plan.split.checksum}
        | {part: len(getattr(plan.split, part)) for part in ("train", "validation", "test")},
        config=dataclasses.asdict(plan.cfg), settings=_without_folders(dataclasses.asdict(plan.settings)),
        share_of_paper=round(plan.paper.share_of_paper(plan.cfg), 5), deviations=[d.id for d in plan.paper.DEVIATIONS],
        models={name: f"{job.key}/{job.id}" for name, job in plan.jobs.items()},
        **code(), versions=versions(), hardware=hardware(plan.device), started=now(), finished="",
    )  # fmt: skip
    return run


def _without_folders(settings: dict) -> dict:
    """Settings as a record keeps them: of a folder its name alone."""
    return {k: Path(v).name if isinstance(v, str) and "/" in v else v for k, v in settings.items()}


def fail(folder: Path, reason: str) -> None:
    """Mark the run in `folder` failed, with the reason, if it says that it is running."""
    record = read_record(folder / "run.json")
    release(folder)
    if record and record.get("status") == "running":
        write_json(folder / "run.json", record | {"status": "failed", "reason": reason, "finished": now()})


def keep_figure(figure: "Figure", name: str, faces: bool, show: bool, folder: Path) -> None:
    """Write <folder>/<name>.png, marked with whether it shows faces; nothing if it does and they must not be shown
    (`show`)."""
    if faces and not show:
        return
    folder.mkdir(parents=True, exist_ok=True)
    about = {"Software": None, "Faces": "yes" if faces else "no"}
    keep(folder / f"{name}.png", lambda p: figure.savefig(p, format="png", dpi=figure.dpi, metadata=about))


def facts(record: dict) -> dict[str, str]:
    """The facts behind a run, from its run.json, in words."""
    r = record
    commit = (r["commit"][:12] or "unknown") + (" with uncommitted changes" if r["dirty"] else "")
    split = r["split"]
    sizes = f"{split['train']} train, {split['validation']} validation, {split['test']} test images"
    return {
        "run": r["run_id"],
        "commit": commit,
        "profile, seed": f"{r['profile']}, {r['seed']}",
        "data": f"{r['data']}: {r['images']} images at {r['size']} pixels, fingerprint {r['fingerprint'][:12]}, landmarks: {r['landmarks']}",
        "split": f"{split['rule']}: {sizes}, checksum {split['checksum'][:12]}",
        "hardware of the evaluation": ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in r["hardware"].items()),
        "versions": ", ".join(f"{k} {v}" for k, v in r["versions"].items()),
        "share of the paper's training": f"{100 * r['share_of_paper']:.2g} % of its images, per model",
        "models": ", ".join(f"{name}: {place}" for name, place in r["models"].items()),
    } | ({"date": r["finished"]} if r["finished"] else {})

"""What an evaluation leaves: one executed notebook in results/<paper>/<run id>/, made again when its code changes."""

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


def of_record(fields) -> dict:
    """A Config or Settings as a record keeps it: of a folder its name alone."""
    return {k: Path(v).name if isinstance(v, str) and "/" in v else v for k, v in vars(fields).items()}


class Run:
    """One evaluation's folder, opened: what an earlier evaluation left is cleared. `entries` is run.json; `metrics` the
    rows so far. Raises ModelError if another process works there."""

    def __init__(self, plan, with_images: bool = False):
        self.plan, self.with_images, self.metrics = plan, with_images, []
        self.folder, self.entries = plan.results / plan.name / run_id(plan), {}
        hold(self.folder)
        for name in LEFT:
            old = self.folder / name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        faces, split = plan.faces, plan.split
        self.update(
            status="running", reason="", paper=plan.name, title=plan.paper.TITLE, citation=plan.paper.CITATION,
            run_id=self.folder.name, question=getattr(plan.evaluation, "QUESTION", ""), finding="",
            profile=plan.profile, data=faces.name, seed=plan.seed, size=faces.size, images=len(faces),
            fingerprint=faces.fingerprint, landmarks=faces.landmark_source, publishable=faces.publishable,
            scratch=plan.profile == "smoke",
            split={"rule": split.rule, "checksum": split.checksum}
            | {part: len(getattr(split, part)) for part in ("train", "validation", "test")},
            config=of_record(plan.cfg), settings=of_record(plan.settings),
            share_of_paper=round(plan.paper.share_of_paper(plan.cfg), 5),
            models={name: f"{job.key}/{job.id}" for name, job in plan.jobs.items()},
            **code(), versions=versions(), hardware=hardware(plan.device), started=now(), finished="",
        )  # fmt: skip

    def update(self, **entries) -> None:
        """Put entries into run.json."""
        self.entries |= entries
        write_json(self.folder / "run.json", self.entries)

    def add(self, rows: list[dict]) -> pd.DataFrame:
        """Take metric rows (keys as METRIC_COLUMNS, or fewer), write metrics.csv, and return the rows as a frame."""
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
        """Write figures/<name>.png, marked with whether it shows faces. One that shows faces which may not be published
        goes to private/ (which git ignores), and only if the reader asked for images."""
        secret = faces and not self.entries["publishable"]
        if secret and not self.with_images:
            return
        folder = self.folder / ("private" if secret else "figures")
        about = {"Software": None, "Faces": "yes" if faces else "no"}
        folder.mkdir(exist_ok=True)
        keep(folder / f"{name}.png", lambda p: figure.savefig(p, format="png", dpi=figure.dpi, metadata=about))

    def claims(self, claims) -> pd.DataFrame:
        """Decide the claims from the metrics so far, write claims.csv, and return the frame."""
        frame = verdicts(claims, self.frame())
        keep(self.folder / "claims.csv", lambda p: frame.to_csv(p, index=False))
        return frame

    def complete(self, finding: str = "") -> str:
        """Mark the run complete, with what was found in a sentence or two for the index, and return one sentence about
        it."""
        self.update(status="complete", reason="", finding=finding or self.entries["finding"], finished=now())
        return f"{self.entries['paper']} run {self.folder.name} is complete: {len(self.metrics)} metric rows."


def fail(folder: Path, reason: str) -> None:
    """Mark the run in `folder` failed, with the reason, if it says that it is running."""
    record = read_record(folder / "run.json")
    release(folder)
    if record and record.get("status") == "running":
        write_json(folder / "run.json", record | {"status": "failed", "reason": reason, "finished": now()})


def facts(r: dict) -> dict[str, str]:
    """The facts behind a run, from its run.json, in words."""
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
        "share of the reference length": f"{100 * r['share_of_paper']:.2g} % of the images shown to a model (paper, or assumed where not stated)",
        "models": ", ".join(f"{name}: {place}" for name, place in r["models"].items()),
    } | ({"date": r["finished"]} if r["finished"] else {})

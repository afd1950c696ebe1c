"""What an evaluation leaves: one executed notebook in results/<paper>/<run id>/, made again when its code changes."""

import dataclasses
import hashlib
import json
from pathlib import Path

from lib.training.models import now, read_record, write_json

METRIC_COLUMNS = ["table", "row", "column", "metric", "value", "ci_low", "ci_high", "n", "protocol", "paper_value"]
LEFT = ("run.json", "metrics.csv", "claims.csv", "figures", "tables", "private")  # of an earlier evaluation, thrown away by the next


def run_id(plan) -> str:
    """<data>-<profile>-s<seed>-<hash8>: the hash is of configuration, settings, data and split."""
    what = [dataclasses.asdict(plan.cfg), dataclasses.asdict(plan.settings), plan.faces.fingerprint, plan.split.checksum]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return f"{plan.faces.name}-{plan.profile}-s{plan.seed}-{digest}"


def of_record(fields) -> dict:
    """A Config or Settings as a record keeps it: of a folder its name alone."""
    return {k: Path(v).name if isinstance(v, str) and "/" in v else v for k, v in vars(fields).items()}


def fail(folder: Path, reason: str) -> None:
    """Mark the run in `folder` failed, with the reason, if it says that it is running."""
    record = read_record(folder / "run.json")
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

"""What a training does, recorded: three cycles of every method from seed 0 in its smoke profile. A loss that differs
from the record means that what is trained has changed: raise the method's TRAINING, so that models trained before are
not taken for new ones, and record it again with `python tests/test_golden.py --record NAME`."""

import importlib
import io
import json
import sys
import tempfile
from dataclasses import asdict, fields, replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from lib.data import load, make_split
from lib.sources import ROOT
from lib.training import loop

RECORD = Path(__file__).parent / "golden.json"
METHODS = {p.parent.name: f"lib.papers.{p.parent.name}.model" for p in sorted((ROOT / "lib" / "papers").glob("*/model.py"))}
METHODS |= {"diat shared": METHODS["diat"]}  # the model that all others of its study start from
METHODS |= {p.stem: f"lib.baselines.{p.stem}" for p in sorted((ROOT / "lib" / "baselines").glob("*.py")) if "\nTRAINING = " in p.read_text()}


def config_of(method, task: str = ""):
    """Its smoke configuration; of a choice of several models the first, or the task."""
    cfg = method.PROFILES["smoke"]()
    if task:
        return replace(cfg, task=task)
    for name, options in (("attribute", "ATTRIBUTES"), ("task", "TASKS")):
        if name in {f.name for f in fields(cfg)} and getattr(cfg, name) == "all":
            cfg = replace(cfg, **{name: next(iter(getattr(method, options)))})
    return cfg


def losses(name: str) -> dict:
    """TRAINING, the configuration, and the loss terms of up to three cycles of every stage."""
    method = importlib.import_module(METHODS[name])
    torch.set_num_threads(1)
    faces = load("synthetic-balanced", 32, n=600)
    cfg = config_of(method, name.partition(" ")[2])

    class Recorder:
        TITLE = method.TITLE
        build = staticmethod(method.build)

        @staticmethod
        def stages(cfg):
            return [replace(stage, cycles=min(stage.cycles, 3)) for stage in method.stages(cfg)]

    with tempfile.TemporaryDirectory() as folder:
        loop.train(Recorder, cfg, faces, make_split(faces), Path(folder), log_every=1)
        text = (Path(folder) / "history.csv").read_text()
    frame = pd.read_csv(io.StringIO(text))
    terms = frame[[c for c in frame if "/" in c and not c.endswith("/lr")]]
    values = {c: [None if pd.isna(v) else float(f"{v:.6g}") for v in terms[c]] for c in terms}
    return {"training": method.TRAINING, "config": asdict(cfg), "losses": values}


@pytest.mark.parametrize("name", METHODS)
def test_training_does_what_it_did(name, own_cache):
    recorded = json.loads(RECORD.read_text()).get(name)
    assert recorded, f"no record yet: python tests/test_golden.py --record {name}"
    now = losses(name)
    remedy = f"raise TRAINING of {METHODS[name]} and record again: python tests/test_golden.py --record {name}"
    assert now["training"] == recorded["training"], remedy
    assert now["config"] == recorded["config"], remedy
    assert now["losses"].keys() == recorded["losses"].keys(), remedy
    for term, values in now["losses"].items():
        expected = [float("nan") if v is None else v for v in recorded["losses"][term]]
        found = [float("nan") if v is None else v for v in values]
        # Adam moves a weight whose gradient is rounding noise as far as any other, so later cycles differ between processors
        for part, rel in ((slice(1), 1e-3), (slice(1, None), 1e-2)):
            assert found[part] == pytest.approx(expected[part], rel=rel, abs=1e-5, nan_ok=True), f"{term}: {remedy}"


if __name__ == "__main__":
    chosen = sys.argv[2:] if sys.argv[1:2] == ["--record"] else []
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for each in chosen or METHODS:
        record[each] = losses(each)
    RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")

"""Run a notebook and make its report: `python -m lib.run sagan -p profile cpu -p seed 1`, `python -m lib.run data -p data FOLDER`,
`python -m lib.run comparison`, `python -m lib.run claims`, `python -m lib.run explorer`, `python -m lib.run speed`.

Adds to papermill what it lacks: unknown and mistyped parameters are refused, the data are read and checked before a kernel starts, a failed
run says why and leaves no report. Exit codes: 0 complete, 1 the run failed, 2 bad parameters or data, 130 interrupted.
"""

import argparse
import importlib
import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import nbformat
import papermill as pm
from traitlets.config import Config as KernelConfig

from lib.pages import report
from lib.training import runs
from lib.data import DataError, FaceSet, Split, load, make_split
from lib.data.splits import require_test_faces
from lib.training.config import ParameterError, check, configure, declared, from_text, unknown

# What only some notebooks need is imported where it is needed: seaborn, SciPy and scikit-learn take seven seconds of a processor, in every process.

REPORTS = runs.ROOT / "reports"
DATA = "data"  # the notebook about the faces themselves
EXPLORER = "explorer"  # the one to play with
PAPERS = tuple(sorted(p.stem for p in (runs.ROOT / "lib" / "papers").glob("*.py") if p.stem != "__init__"))
NAMES = (*PAPERS, DATA, *report.SUMMARIES)


def notebook_of(name: str) -> Path:
    """notebooks/NN_<name>.ipynb of a paper, of `data` or of a summary. Raises ParameterError if there is none (yet)."""
    found = sorted((runs.ROOT / "notebooks").glob(f"[0-9][0-9]_{name}.ipynb"))
    if name not in NAMES or not found:
        raise ParameterError(unknown(name, NAMES).replace("parameter", "paper"))
    return found[0]


def parameters(name: str, given: list[tuple[str, str]]) -> dict:
    """The notebook's declared defaults with the command line's values put in. A name that is not declared but is a field of the paper's
    Config goes into `overrides`. Raises ParameterError."""
    notebook = notebook_of(name)
    names = declared(notebook)
    fields = {} if name not in PAPERS else importlib.import_module(f"lib.papers.{name}").Config.__annotations__
    hints = {n: kind for n, (kind, _) in names.items()}
    values = {n: default for n, (_, default) in names.items()}
    overrides = {}
    for key, text in given:
        if key in hints:
            values[key] = from_text(text, hints[key])
        elif key in fields:
            overrides[key] = from_text(text, fields[key])
        else:
            raise ParameterError(f"{notebook.name}: {unknown(key, [*hints, *(f for f in fields if f not in hints)])}")
    check(values, hints, notebook.name)
    if overrides:
        values["overrides"] = values["overrides"] | overrides
    return values


INTERRUPTED = "KeyboardInterrupt"


def run_notebook(name: str, out: Path, values: dict) -> str:
    """Execute a notebook with papermill into `out`, progress on stderr. Returns '' or what ended it ('ErrorName: message')."""
    source = nbformat.read(notebook_of(name), 4)
    os.environ.pop("MPLBACKEND", None)  # with Agg set, kernels drop their inline figures without a word
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # on a busy machine spinning threads are ten times slower than sleeping ones
    try:
        pm.execute_notebook(
            source, str(out), parameters=values, cwd=str(runs.ROOT), kernel_name="python3", progress_bar=False,
            stderr_file=sys.stderr, stdout_file=sys.stdout, shutdown_kernel="immediate",
            config=KernelConfig({"KernelManager": {"transport_encryption": "auto"}}),
        )  # fmt: skip
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # papermill's own, a dead kernel's, a timeout's: all end the run
        return f"{getattr(error, 'ename', type(error).__name__)}: {getattr(error, 'evalue', error)}"
    return ""


def failed(name: str, folder: Path, reason: str) -> int:
    """Say why a notebook did not end well and where it is. Returns the exit code."""
    print(f"{name}: failed: {reason}\nThe executed notebook with the error: {folder / 'notebook.ipynb'}", file=sys.stderr)
    return 130 if INTERRUPTED in reason else 1


def show_data(values: dict, reports: Path) -> int:
    """The page about a face set: reports/data-<name>-<fingerprint>.html, figures in results/data/. Returns the exit code."""
    from lib.pages import faces as data_views

    faces = load(values["data"], values["size"], n=values["faces"], seed=values["seed"])
    name = f"{faces.name}-{faces.fingerprint[:8]}"
    folder = runs.ROOT / "results" / DATA / name
    folder.mkdir(parents=True, exist_ok=True)
    failure = run_notebook(DATA, folder / "notebook.ipynb", values | {"out": values["out"] or str(folder / "figures")})
    if failure:
        return failed(DATA, folder, failure)
    facts = data_views.facts(faces) | runs.made_here()
    out = publish(folder, f"{DATA}-{name}", "The faces", facts, faces.publishable, values["with_images"], reports)
    print(out)
    return 0


def asked(values: dict) -> str:
    """What a summary is about, in words."""
    return f"{Path(values['data']).name or 'all'}, {values['profile'] or 'all'}"


def show_summary(name: str, values: dict, reports: Path) -> int:
    """The page of a notebook that only reads results/: reports/<name>.html, its figures in results/<name>/. `claims` also
    writes the README's table of findings. Returns the exit code."""
    from lib import speed
    from lib.pages import comparison

    if name == "speed":
        facts = speed.facts()
    else:
        found, _ = comparison.select(runs.ROOT / "results", values["data"], values["profile"])
        facts = {"data, profile": asked(values), "runs": ", ".join(f"{r.paper} {r.run}" for r in found.itertuples())}
    folder = runs.ROOT / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    failure = run_notebook(name, folder / "notebook.ipynb", values | {"out": values["out"] or str(folder)})
    if failure:
        return failed(name, folder, failure)
    print(publish(folder, name, report.SUMMARIES[name], facts | runs.made_here(), True, False, reports))
    if name == "claims" and reports == REPORTS:
        comparison.into_readme(comparison.findings(comparison.newest(comparison.runs(runs.ROOT / "results"))), runs.ROOT / "README.md")
    return 0


def show_explorer(name: str, values: dict, reports: Path) -> int:
    """What the explorer needs in a fresh copy of the project (`explorer.ship`), then reports/explorer.html, whose sliders need no kernel. Returns
    the exit code."""
    from lib.explorer.models import models as explorer

    for written in explorer.ship():
        print(written)
    folder = runs.ROOT / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    failure = run_notebook(name, folder / "notebook.ipynb", values | {"frames": True})
    if failure:
        return failed(name, folder, failure)
    shown = explorer.best(explorer.of_study(explorer.found()[0], values["data"], values["profile"]))
    facts = {"data, profile": asked(values), "runs": ", ".join(r.name for r in shown) or "none yet"}
    print(publish(folder, name, report.SUMMARIES[name], facts | runs.made_here(), True, False, reports))
    return 0


@dataclass(frozen=True)
class Job:
    """What a paper's parameters come to."""

    paper: ModuleType
    cfg: object
    faces: FaceSet
    split: Split

    def start(self, values: dict) -> dict:
        """What `runs.start` is given, save the device."""
        return vars(self) | {name: values[name] for name in ("profile", "seed", "precision", "run_dir", "force", "with_images")}


def prepare(paper: str, values: dict) -> Job:
    """Check the values and read the data. Raises ParameterError or DataError."""
    module = importlib.import_module(f"lib.papers.{paper}")
    runs.check_device(values["device"], values["seed"])
    runs.check_precision(values["precision"])
    cfg = configure(module, values["profile"], {k: v for k, v in values.items() if k in module.Config.__annotations__} | values["overrides"])
    faces = load(values["data"], cfg.size, n=cfg.faces)
    split = make_split(faces, cfg.split)
    for stage in module.stages(cfg):
        for attribute in stage.attributes:
            require_test_faces(faces, split, attribute)
    return Job(module, cfg, faces, split)


def execute(paper: str, values: dict, reports: Path) -> int:
    """Check, run, report. Returns the exit code."""
    job = prepare(paper, values)
    chosen = [values[name] for name in ("profile", "seed", "device", "precision")]
    what = runs.identity(job.paper, job.cfg, job.faces, job.split, *chosen)
    folder = Path(values["run_dir"]).resolve() if values["run_dir"] else runs.folder_of(what, job.cfg.scratch)
    runs.check(folder, what, values["force"])
    print(f"{paper}: {folder}", flush=True)
    values = values | {"run_dir": str(folder)}
    failure = run_notebook(paper, folder / "notebook.ipynb", values)
    record = json.loads((folder / "run.json").read_text()) if (folder / "run.json").exists() else {"status": "failed", "reason": failure}
    if failure or record["status"] != "complete":
        reason = failure or f"the notebook ended but the run is {record['status']}"
        if INTERRUPTED in reason:
            print(f"interrupted; the same command (without force) goes on from {folder}", file=sys.stderr)
            return 130
        if runs.REMEDY not in reason and any(words in reason for words in runs.UNWRITTEN):
            reason = f"{reason.rstrip('.')}. {folder}: a file there could not be written. {runs.REMEDY}"
        try:
            runs.fail(folder, reason)
        except runs.RunError as error:  # the record cannot be written either, and says that the run is still running
            reason += f" {error}"
        code = failed(paper, folder, reason)  # said first: the index may fail to be written for the same reason
        report.index(runs.ROOT / "results", reports)
        return code
    print(make_report(folder, record, values["with_images"], reports))
    return 0


def make_report(folder: Path, record: dict, with_images: bool, reports: Path) -> Path:
    """Render the executed notebook of a complete run. Scratch runs and pages with faces that may not be published go to folders git ignores."""
    place = reports / "scratch" if record["scratch"] else reports
    stem, facts = f"{record['paper']}-{record['run_id']}", runs.facts(record)
    return publish(folder, stem, record["title"], facts, record["publishable"], with_images, reports, place)


def publish(folder: Path, stem: str, title: str, facts: dict, publishable: bool, with_images: bool, reports: Path, place: Path | None = None) -> Path:
    """Render folder/notebook.ipynb as <place>/<stem>.html (place: `reports` unless given) and make the index anew. A page with faces that may
    not be published goes to private/ instead, unless its place is ignored by git already."""
    place = place or reports
    if with_images and not publishable and place == reports:
        place = reports / "private"
    out, home = place / f"{stem}.html", "index.html" if place == reports else "../index.html"
    report.render(folder / "notebook.ipynb", out, title=title, provenance=facts, images=publishable or with_images, home=home)
    report.index(runs.ROOT / "results", reports)
    return out


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lib.run", description="Run a paper's notebook, or the one about the faces, and render its page.")
    parser.add_argument("paper", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a notebook parameter or Config field")
    parser.add_argument("--with-images", action="store_true", help="show faces of a data set that may not be published (pages git ignores)")
    parser.add_argument("--reports", type=Path, default=REPORTS, help="where the page goes (default: reports/)")
    args = parser.parse_args(argv)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    try:
        values = parameters(args.paper, [tuple(p) for p in args.p])
        if args.paper == EXPLORER:
            return show_explorer(args.paper, values, args.reports)
        if args.paper in report.SUMMARIES:
            return show_summary(args.paper, values, args.reports)
        values["with_images"] = values["with_images"] or args.with_images
        return show_data(values, args.reports) if args.paper == DATA else execute(args.paper, values, args.reports)
    except (ParameterError, DataError, runs.RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # of what is written outside the run folder: pages, figures of summaries
        print(f"error: {error}. {runs.REMEDY}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

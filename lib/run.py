"""Run a paper's notebook and make its report: `python -m lib.run sagan -p data synthetic -p profile cpu -p seed 1`.

Adds to papermill what it lacks: unknown and mistyped parameters are refused, the data are read and checked before a kernel starts, a failed
run says why and leaves no report. Exit codes: 0 complete, 1 the run failed, 2 bad parameters or data, 130 interrupted.
"""

import argparse
import importlib
import json
import logging
import os
import sys
from pathlib import Path

import nbformat
import papermill as pm
from traitlets.config import Config as KernelConfig

from lib import report, runs
from lib.data import DataError, load, make_split
from lib.params import ParameterError, check, configure, declared, from_text, unknown

PAPERS = tuple(sorted(p.stem for p in (runs.ROOT / "lib" / "papers").glob("*.py") if p.stem != "__init__"))


def notebook_of(paper: str) -> Path:
    """notebooks/NN_<paper>.ipynb. Raises ParameterError if the paper is unknown or has no notebook yet."""
    found = sorted((runs.ROOT / "notebooks").glob(f"[0-9][0-9]_{paper}.ipynb"))
    if paper not in PAPERS or not found:
        raise ParameterError(f"{unknown(paper, PAPERS)}".replace("parameter", "paper"))
    return found[0]


def parameters(paper: str, given: list[tuple[str, str]]) -> dict:
    """The notebook's declared defaults with the command line's values put in. A name that is not declared but is a field of the paper's
    Config goes into `overrides`. Raises ParameterError."""
    notebook = notebook_of(paper)
    names = declared(notebook)
    config = importlib.import_module(f"lib.papers.{paper}").Config
    fields = {k: v for k, v in config.__annotations__.items() if k not in names}
    hints = {name: kind for name, (kind, _) in names.items()}
    values = {name: default for name, (_, default) in names.items()}
    overrides = dict(values.get("overrides", {}))
    for name, text in given:
        if name in hints:
            values[name] = from_text(text, hints[name])
        elif name in fields:
            overrides[name] = from_text(text, fields[name])
        else:
            raise ParameterError(f"{notebook.name}: {unknown(name, [*hints, *fields])}")
    check(values, hints, notebook.name)
    if values["overrides"] != overrides:
        values["overrides"] = values["overrides"] | overrides
    return values


def execute(paper: str, values: dict, reports: Path) -> int:
    """Check, run, report. Returns the exit code."""
    module = importlib.import_module(f"lib.papers.{paper}")
    cfg = configure(module, values["profile"], {k: v for k, v in values.items() if k in module.Config.__annotations__} | values["overrides"])
    faces = load(values["data"], cfg.size, n=cfg.faces)
    what = runs.identity(module, cfg, faces, make_split(faces, cfg.split), values["profile"], values["seed"])
    folder = Path(values["run_dir"]).resolve() if values["run_dir"] else runs.folder_of(what, cfg.scratch)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{paper}: {folder}", flush=True)
    values = values | {"run_dir": str(folder)}
    source = nbformat.read(notebook_of(paper), 4)
    os.environ.pop("MPLBACKEND", None)  # with Agg set, kernels drop their inline figures without a word
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads make a kernel on a busy machine ten times slower
    failure = None
    try:
        pm.execute_notebook(
            source, str(folder / "notebook.ipynb"), parameters=values, cwd=str(runs.ROOT), kernel_name="python3", progress_bar=False,
            log_output=True, stderr_file=sys.stderr, stdout_file=sys.stdout, shutdown_kernel="immediate",
            config=KernelConfig({"KernelManager": {"transport_encryption": "auto"}}),
        )  # fmt: skip
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from {folder}", file=sys.stderr)
        return 130
    except Exception as error:  # papermill's own, a dead kernel's, a timeout's: all end the run
        failure = f"{getattr(error, 'ename', type(error).__name__)}: {getattr(error, 'evalue', error)}"
    record = json.loads((folder / "run.json").read_text()) if (folder / "run.json").exists() else {"status": "failed", "reason": failure}
    if failure or record["status"] != "complete":
        reason = failure or f"the notebook ended but the run is {record['status']}"
        if "KeyboardInterrupt" in reason:
            print(f"interrupted; the same command goes on from {folder}", file=sys.stderr)
            return 130
        runs.fail(folder, reason)
        print(f"{paper}: failed: {reason}\nThe executed notebook with the error: {folder / 'notebook.ipynb'}", file=sys.stderr)
        return 1
    print(make_report(folder, record, values["with_images"], reports))
    return 0


def make_report(folder: Path, record: dict, with_images: bool, reports: Path) -> Path:
    """Render the executed notebook of a complete run. Scratch runs and pages with faces that may not be published go to folders git ignores."""
    show = record["publishable"] or with_images
    private = with_images and not record["publishable"]
    place = reports / "scratch" if record["scratch"] else reports / "private" if private else reports
    out = place / f"{record['paper']}-{record['run_id']}.html"
    home = "index.html" if place == reports else "../index.html"
    report.render(folder / "notebook.ipynb", out, title=record["title"], provenance=runs.facts(record), images=show, home=home)
    report.index(runs.ROOT / "results", reports)
    return out


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lib.run", description="Reproduce one paper: run its notebook, render its report.")
    parser.add_argument("paper", help=f"one of {', '.join(PAPERS)}")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a notebook parameter or Config field")
    parser.add_argument("--with-images", action="store_true", help="show faces of a data set that may not be published (pages git ignores)")
    parser.add_argument("--reports", type=Path, default=runs.ROOT / "reports", help="where the page goes (default: reports/)")
    args = parser.parse_args(argv)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    try:
        values = parameters(args.paper, [tuple(p) for p in args.p])
        values["with_images"] = values["with_images"] or args.with_images
        return execute(args.paper, values, args.reports)
    except (ParameterError, DataError, runs.RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

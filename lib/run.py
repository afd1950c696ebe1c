"""Run a notebook and make its page: `python -m lib.run sagan -p profile cpu -p seed 1`, `python -m lib.run claims`.

Adds to papermill what it lacks: unknown and mistyped parameters are refused within a second, the data are read and
checked before a kernel starts, a failed run says why and leaves no page. Exit codes: 0 complete, 1 the run failed, 2
bad parameters or data, 130 interrupted."""

import argparse
import logging
import os
import sys
from pathlib import Path

from lib.pages import SUMMARIES
from lib.sources import ROOT, StudyError
from lib.training.config import checked_parameters, notebook_of, read_study

# Everything heavy is imported once the parameters are known to be good: PyTorch, papermill and Matplotlib take seconds.

REPORTS = ROOT / "reports"
PAPERS = tuple(sorted(p.parent.name for p in (ROOT / "lib" / "papers").glob("*/model.py")))
TITLES = {"data": "The faces"} | SUMMARIES
INTERRUPTED = "KeyboardInterrupt"
BESIDE = ("overrides", "with_images", "lfw")  # what a notebook reads itself: a folder of further data is no part of a Config


def plan_of(paper: str, values: dict):
    """The Plan of a paper notebook's parameters, its further data checked. Raises ParameterError or DataError."""
    from lib.data.lfw import lfw_beside
    from lib.study import KINDS, make_plan

    fields = {k: v for k, v in values.items() if k not in (*KINDS, *BESIDE)}
    own = {k: values[k] for k in KINDS if k in values}
    plan = make_plan(paper, **own | {"overrides": fields | values["overrides"]})
    lfw_beside(plan.faces, values.get("lfw", ""))
    return plan


def execute(name: str, out: Path, values: dict) -> str:
    """Execute a notebook with papermill into `out`, progress on stderr. Returns '' or what ended it: 'Name: message'."""
    import nbformat
    import papermill
    from traitlets.config import Config

    out.parent.mkdir(parents=True, exist_ok=True)
    os.environ.pop("MPLBACKEND", None)  # with Agg set, kernels drop their inline figures without a word
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # on a busy machine spinning threads are ten times slower than sleeping ones
    logging.getLogger("papermill").setLevel(logging.WARNING)
    try:
        papermill.execute_notebook(
            nbformat.read(notebook_of(name), 4), str(out), parameters=values, cwd=str(ROOT), kernel_name="python3", progress_bar=False,
            stderr_file=sys.stderr, stdout_file=sys.stdout, shutdown_kernel="immediate",
            config=Config({"KernelManager": {"transport_encryption": "auto"}}),
        )  # fmt: skip
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # papermill's own, a dead kernel's, a timeout's: all end the run
        return f"{getattr(error, 'ename', type(error).__name__)}: {getattr(error, 'evalue', error)}"
    return ""


def run_paper(paper: str, values: dict, reports: Path) -> int:
    """Check, execute, render the page. Returns the exit code: 1 as well where values["training"] is False and a model
    is missing. What needs it is left out; nothing is made where it is the paper's own."""
    from lib.training import runs
    from lib.training.models import hold, read_record

    plan = plan_of(paper, values)
    folder = plan.results / paper / runs.run_id(plan)
    missing = plan.missing  # what cannot be trained on these faces is refused here, not in the notebook
    left_out = {} if plan.training else missing
    if left_out:
        hours = sum(job.seconds_left for job in left_out.values()) / 3600
        said = f"{len(left_out)} of {len(plan.jobs)} models are not trained: {', '.join(left_out)}"
        print(f"{paper}: {said}. make train, about {hours:.0f} hours.", file=sys.stderr)
        if plan.essential & set(left_out):
            return 1
    hold(folder).close()  # refused here if another process is at work in it
    print(f"{paper}: {folder}", flush=True)
    failure = execute(paper, folder / "notebook.ipynb", values)
    record = read_record(folder / "run.json") or {"status": "without a record"}
    if not failure and record["status"] != "complete":
        failure = f"the notebook ended but the run is {record['status']}"
    if failure:
        if INTERRUPTED not in failure:
            runs.fail(folder, failure)
        return failed(paper, folder, failure)
    place = reports / "scratch" if record["scratch"] else reports
    stem, images = f"{paper}-{record['run_id']}", record["publishable"] or values["with_images"]
    head = {name: record.get(name) or "" for name in ("question", "finding")}
    print(publish(folder, stem, record["title"], runs.facts(record), record["publishable"], images, reports, place, **head))
    return 1 if left_out else 0


def run_other(name: str, values: dict, reports: Path) -> int:
    """The page about a face set, reports/data-<name>-<fingerprint>.html, or that of a notebook which reads results/
    alone, reports/<name>.html. `claims` also writes the README's table of findings. Returns the exit code."""
    from lib.data import load, make_split
    from lib.pages import comparison
    from lib.pages import faces as views
    from lib.training.models import code, now

    stem, publishable = name, True
    facts = {"parameters": ", ".join(f"{k} {v}" for k, v in values.items() if v != "") or "none"}
    if name == "data":
        faces = load(values["data"], values["size"], n=values["faces"], seed=values["seed"])
        make_split(faces, values["split"])  # one that cannot be made is refused here
        stem, publishable, facts = f"data-{faces.name}-{faces.fingerprint[:8]}", faces.publishable, views.facts(faces)
    folder = ROOT / "results" / name / stem
    if "out" in values:  # the explorer's page has no kernel behind its sliders
        values["out"] = str(folder)
    failure = execute(name, folder / "notebook.ipynb", values)
    if failure:
        return failed(name, folder, failure)
    facts |= {"commit": code()["commit"][:12], "date": now()}
    print(publish(folder, stem, TITLES[name], facts, publishable, publishable or values["with_images"], reports))
    if name == "claims" and reports == REPORTS:
        study = read_study()
        found, _ = comparison.select(ROOT / "results", study)
        comparison.into_readme(comparison.findings(found, study), ROOT / "README.md")
    return 0


def failed(name: str, folder: Path, reason: str) -> int:
    """Say why a notebook did not end well and where it is. Returns the exit code."""
    if INTERRUPTED in reason:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        return 130
    print(f"{name}: failed: {reason}\nThe executed notebook with the error: {folder / 'notebook.ipynb'}", file=sys.stderr)
    return 1


def publish(
    folder: Path, stem: str, title: str, facts: dict, publishable: bool, images: bool, reports: Path, place: Path | None = None, **head: str
) -> Path:  # fmt: skip
    """Render folder/notebook.ipynb as <place>/<stem>.html (place: `reports` unless given) and make the index anew. A
    page with faces that may not be published goes to private/ instead, unless its place is ignored by git already. head: question and finding."""
    from lib.pages import index, report

    place = place or reports
    if images and not publishable and place == reports:
        place = reports / "private"
    out, home = place / f"{stem}.html", "index.html" if place == reports else "../index.html"
    report.render(folder / "notebook.ipynb", out, title=title, provenance=facts, images=images, home=home, **head)
    if place != reports / "scratch":  # what means nothing changes nothing that is committed
        index.write(ROOT / "results", reports)
    return out


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lib.run", description="Run a notebook and render its page.")
    parser.add_argument("name", help=f"one of {', '.join((*PAPERS, *TITLES))}")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a notebook parameter or Config field")
    parser.add_argument("--with-images", action="store_true", help="show faces that may not be published (on pages that git ignores)")
    parser.add_argument("--no-training", action="store_true", help="train nothing: leave out what needs an untrained model")
    parser.add_argument("--reports", type=Path, default=REPORTS, help="where the page goes (default: reports/)")
    args = parser.parse_args(argv)
    try:
        values = checked_parameters(args.name, [tuple(p) for p in args.p])
        if "with_images" in values:
            values["with_images"] |= args.with_images
        if "training" in values:
            values["training"] &= not args.no_training
        return (run_paper if args.name in PAPERS else run_other)(args.name, values, args.reports)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except OSError as error:  # of what is written outside the run folder: pages, figures of summaries
        print(f"error: {error}. Free space there or make it writable; the same command goes on.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

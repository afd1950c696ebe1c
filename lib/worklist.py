"""Work through a list of commands, in its order, within a time limit: `python -m lib.worklist gpu.yaml --minutes 9 --out DIR`.

For a machine that is there by the minute and has no network. A step that ended well stands in results/worklist.csv, with the hash of the sources that
it ran, and is not run again while they stay the same. When the time is over, the step that is running gets a Ctrl-C: a training saves itself and
the next call goes on with it. A step that fails does not stop the others. Whatever the call changed under results/ and reports/ is
packed into DIR/records.tar.gz, but for checkpoints, which stay where they are.

The list: `values`, the defaults of what {name} stands for in commands, and `steps` of a name, expected minutes and a command, the words behind
`python -m`. A step whose {name} has no value, such as a folder of faces that is not at hand, is left out, and the call says so.
Exit codes: 0 all steps done or left out, 1 a step failed, 2 bad list or option, 3 time is over and steps remain, 130 interrupted.
"""

import argparse
import csv
import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import yaml

from lib.params import ParameterError, require
from lib.provenance import ROOT, of_notebook, sources

LEAST = 30  # seconds: with less left no step is begun
GRACE = 60  # seconds that an interrupted step has to save itself
BULKY = (".safetensors", ".pt", ".npy")  # not packed, except what the explorer plays
COLUMNS = ("step", "command", "sources", "finished", "seconds", "status")


@dataclass(frozen=True)
class Step:
    """command: words after `python -m`, or () where `missing` names a value that nobody gave. minutes: expected, on the machine of the list."""

    name: str
    minutes: float
    command: tuple[str, ...]
    missing: str = ""

    @property
    def code(self) -> str:
        """A hash that changes with any source file that the command runs."""
        module, *words = self.command
        what = words[0] if words else ""
        notebook = next((ROOT / "notebooks").glob(f"[0-9][0-9]_{what}.ipynb"), None) if module == "lib.run" else None
        files = of_notebook(notebook) if notebook else sources(f"benchmarks.{what}" if module == "benchmarks" and what else module)
        return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]


def read(file: Path, given: dict[str, str]) -> list[Step]:
    """The steps of a list with `given` put in over its own values. Raises ParameterError that names the file and what is wrong with it."""
    try:
        text = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ParameterError(f"{file}: cannot be read as a list of steps: {error}. See gpu.yaml for one.") from None
    if not isinstance(text, dict) or not isinstance(text.get("steps"), list):
        raise ParameterError(f"{file}: has no `steps`. See gpu.yaml for what a list holds.")
    values = {name: str(value) for name, value in (text.get("values") or {}).items()} | given
    out = []
    for i, entry in enumerate(text["steps"], 1):
        if not isinstance(entry, dict) or not {"name", "minutes", "command"} <= entry.keys():
            raise ParameterError(f"{file}: step {i} is {entry!r}. Give name, minutes and command.")
        missing = next((name for name in re.findall(r"{(\w+)}", entry["command"]) if not values.get(name)), "")
        words = () if missing else tuple(shlex.split(re.sub(r"{(\w+)}", lambda m: values[m[1]], entry["command"])))
        out.append(Step(str(entry["name"]), float(entry["minutes"]), words, missing))
    names = [step.name for step in out]
    require(len(set(names)) == len(names), "steps", ", ".join(n for n in names if names.count(n) > 1), f"different names in {file}")
    return out


def done(record: Path) -> set[tuple[str, str]]:
    """(command, hash of its sources) of all steps that ended well."""
    if not record.exists():
        return set()
    with record.open(newline="") as f:
        return {(row["command"], row["sources"]) for row in csv.DictReader(f) if row["status"] == "done"}


def note(record: Path, name: str, key: tuple[str, str], seconds: float, status: str) -> None:
    """Add a line to the record. key: command and hash of its sources, as they were when the step began."""
    record.parent.mkdir(parents=True, exist_ok=True)
    new = not record.exists()
    with record.open("a", newline="") as f:
        lines = csv.writer(f, lineterminator="\n")
        if new:
            lines.writerow(COLUMNS)
        lines.writerow((name, *key, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}", f"{seconds:.0f}", status))


def run(step: Step, limit: float) -> str:
    """Run a step for at most `limit` seconds. Returns "done", "failed", or "stopped" where the time was over first. Passes Ctrl-C on."""
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it, and so would the step
    process = subprocess.Popen([sys.executable, "-m", *step.command], cwd=ROOT, start_new_session=True, preexec_fn=hear)
    try:
        return "failed" if process.wait(limit) else "done"
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
        if isinstance(error, KeyboardInterrupt):
            raise
        return "stopped"
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # a kernel that did not hear
        except ProcessLookupError:
            pass


def pack(out: Path, since: float, *places: Path) -> Path:
    """<out>/records.tar.gz of all files under `places` that changed after the time `since`, without what is bulky. Names start at the project."""
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out / "records.tar.gz", "w:gz") as tar:
        for file in sorted(f for place in places for f in place.rglob("*") if f.is_file() and f.stat().st_mtime > since):
            if file.suffix not in BULKY or file.name == "explorer.safetensors" or file.parent.name == "judges":
                tar.add(file, file.relative_to(places[0].parent))
    return out / "records.tar.gz"


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lib.worklist", description="Work through a list of runs within a time limit.")
    parser.add_argument("list", type=Path, help="e.g. gpu.yaml")
    parser.add_argument("--minutes", type=float, default=0, help="stop after these; the same command goes on later (default: when all is done)")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="what {NAME} stands for in the commands")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="only these steps")
    parser.add_argument("--out", type=Path, help="folder for records.tar.gz, what the call left that is worth taking along")
    parser.add_argument("--show", action="store_true", help="show the steps, their minutes and what is done, and run nothing")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    began, record = time.time(), args.results / "worklist.csv"
    end = began + 60 * args.minutes if args.minutes else float("inf")
    try:
        steps = read(args.list, dict(args.set))
        unknown = set(args.only) - {step.name for step in steps}
        require(not unknown, "only", ", ".join(sorted(unknown)), f"among {', '.join(step.name for step in steps)}")
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    steps = [step for step in steps if not args.only or step.name in args.only]
    before, code = done(record), 0
    try:
        for step in steps:
            key = ("", "") if step.missing else (shlex.join(step.command), step.code)
            state = f"left out: give --set {step.missing} ..." if step.missing else "done" if key in before else ""
            if state or args.show:
                print(f"{step.name:28} {step.minutes:5g} min   {state or key[0]}", flush=True)
                continue
            left = end - time.time()
            if left < LEAST:
                print(f"{step.name}: not begun, {max(0, left):.0f} s are left. The same command goes on here.")
                return code or 3
            print(f"{step.name}: python -m {key[0]} (expected: {step.minutes:g} min)", flush=True)
            start = time.time()
            status = run(step, min(left, 1e9))
            took = time.time() - start
            note(record, step.name, key, took, status)
            print(f"{step.name}: {status} after {took / 60:.1f} min", flush=True)
            code = 1 if status == "failed" else code
            if status == "stopped":
                return code or 3
    except KeyboardInterrupt:
        return 130
    finally:
        if args.out:
            print(pack(args.out, began, args.results, args.results.parent / "reports"))
    return code


if __name__ == "__main__":
    sys.exit(main())

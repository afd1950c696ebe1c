"""Train the models that a study needs: `python -m lib.train sagan`, `python -m lib.train sagan "SaGAN Smiling"`,
`python -m lib.train --list`.

Every model is a job of its own. One that is trained already is left alone, an interrupted one goes on from its last
snapshot. `make train` runs what study.yaml needs, one job a core, the longest first. Exit codes: 0 trained, 1 a
training failed, 2 bad parameters or data, 130 interrupted. """

import argparse
import sys
from pathlib import Path

from lib.sources import ROOT
from lib.training.config import ParameterError, checked_parameters


def plans(papers: list[str], study: dict, given: list[tuple[str, str]] = ()) -> list:
    """One Plan a paper and seed. study: the entries of study.yaml. given: the command line's (name, text), instead of
    the study's."""
    from lib.run import plan_of

    out = []
    for paper in papers:
        for seed in study.get("seeds", [0]):
            values = checked_parameters(paper, [(name, str(value)) for name, value in of_study(paper, study, seed).items()])
            values["overrides"] |= study.get("parameters", {}).get(paper, {})
            if given:
                chosen = checked_parameters(paper, given)
                values |= {name: chosen[name] for name, _ in given if name in chosen} | {"overrides": values["overrides"] | chosen["overrides"]}
            out.append(plan_of(paper, values))
    return out


def of_study(paper: str, study: dict, seed: int) -> dict:
    """What study.yaml says of a paper's notebook: data, profile, device, seed."""
    values = {name: study[name] for name in ("data", "profile", "device", "results") if name in study} | {"seed": seed}
    if values.get("data") == "synthetic" and paper in study.get("balanced", ()):
        values["data"] = "synthetic-balanced"
    return values


def needed(plans: list) -> dict[str, tuple]:
    """'<method>/<model id>' -> (plan, name, job) of every model that the plans need, each once, those that others
    wait for first."""
    out = {}
    for plan in plans:
        for name, job in plan.jobs.items():
            out.setdefault(f"{job.key}/{job.id}", (plan, name, job))
    return out


def listing(jobs: dict[str, tuple]):
    """A frame: model, for which paper, cycles done and all, whether it is trained, processor hours that are left."""
    import pandas as pd

    rows = []
    for place, (plan, name, job) in jobs.items():
        left = job.seconds_left / 3600
        state = "trained" if job.trained else "begun" if job.done else "not begun"
        rows.append((name, plan.name, place, f"{job.done:,} of {job.cycles:,}", state, round(left, 2)))
    return pd.DataFrame(rows, columns=["model", "paper", "place", "cycles", "state", "processor hours left"])


def status(jobs: dict[str, tuple]) -> str:
    """One line: trained, begun, hours to go."""
    frame = listing(jobs)
    hours = frame["processor hours left"].sum()
    begun = int((frame["state"] == "begun").sum())
    return f"{int((frame['state'] == 'trained').sum())} of {len(frame)} models trained, {begun} begun, {hours:.1f} processor hours to go"


def train_with_those_before(plan, name: str, retrain: bool = False) -> None:
    """Train a job of a plan, and first those that it waits for."""
    from lib.training import models

    job = plan.jobs[name]
    for other in job.after:
        train_with_those_before(plan, other)
    if not job.trained or retrain:
        print(f"{name}: {job.key}/{job.id}", flush=True)
    models.train(job, plan.device, plan.precision, retrain=retrain)


def read_study(file: Path) -> dict:
    """study.yaml. Raises ParameterError if it is missing or no mapping."""
    import yaml

    try:
        study = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ParameterError(f"{file}: {error}. Give the path of a study file like study.yaml with --study.") from None
    if not isinstance(study, dict):
        raise ParameterError(f"{file}: not a mapping of names to values; see study.yaml.")
    return study


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lib.train", description="Train the models that a study needs, or list them.")
    parser.add_argument("paper", nargs="?", default="", help="only this paper's models (default: all papers of the study file)")
    parser.add_argument("model", nargs="*", help="only models with these names (see --list) or places, e.g. 'SaGAN Smiling'")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a notebook parameter or Config field")
    parser.add_argument("--study", type=Path, default=ROOT / "study.yaml", help="the study file (default: study.yaml)")
    parser.add_argument("--list", action="store_true", help="list every model, trained or not, with the hours that are left")
    parser.add_argument("--status", action="store_true", help="the same in one line")
    parser.add_argument("--forget", action="store_true", help="throw away what the study's models learned, so that make train starts anew")
    parser.add_argument("--retrain", action="store_true", help="train again what is trained already")
    args = parser.parse_args(argv)
    given = [tuple(p) for p in args.p]
    try:
        study = read_study(args.study)
        if args.paper:
            checked_parameters(args.paper, given)  # before anything heavy is imported
        elif given:
            raise ParameterError("-p goes with a paper: python -m lib.train PAPER -p NAME VALUE")
        return run(args, study, given)
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace, study: dict, given: list) -> int:
    """Plan, list or train. Returns the exit code."""
    import torch

    from lib.data import DataError
    from lib.training import loop, models

    torch.set_num_threads(1)  # one thread a job, a job a core
    try:
        jobs = needed(plans([args.paper] if args.paper else study["papers"], study, given))
        if args.list:
            print(listing(jobs).to_string(index=False))
        if args.list or args.status:
            print(status(jobs))
            return 0
        if args.forget:
            for _, _, job in jobs.values():
                models.forget(job)
            return 0
        chosen = {place: entry for place, entry in jobs.items() if not args.model or {place, entry[1]} & set(args.model)}
        if strange := [m for m in args.model if not any(m in (place, entry[1]) for place, entry in jobs.items())]:
            raise ParameterError(f"no model {strange[0]!r}. There are: {', '.join(entry[1] for entry in jobs.values())}.")
        for plan, name, _ in chosen.values():
            train_with_those_before(plan, name, args.retrain)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (models.ModelError, loop.TrainingDiverged) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(error or "interrupted; the same command goes on from there", file=sys.stderr)
        return 130
    print(status(jobs))
    return 0


if __name__ == "__main__":
    sys.exit(main())

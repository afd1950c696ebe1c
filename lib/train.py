"""Train the models that a study needs: `python -m lib.train sagan "SaGAN Smiling"`, `python -m lib.train --list`.

Every model is a job of its own. One that is trained already is left alone, an interrupted one goes on from its last
snapshot. Exit codes: 0 trained, 1 a training failed, 2 bad parameters, data or folders, 130 interrupted."""

import argparse
import json
import sys
from pathlib import Path

from lib.sources import ROOT, StudyError
from lib.training.config import ParameterError, checked_parameters, data_of, read_study


def given_by(paper: str, study: dict, seed: int) -> dict:
    """What study.yaml says of a paper's notebook, with this seed and the parameters of its own."""
    values = {name: study[name] for name in ("profile", "device", "results") if name in study}
    return {"data": data_of(paper, study), "seed": seed} | values | study.get("parameters", {}).get(paper, {})


def plans(papers: list[str], study: dict, given: list[tuple[str, str]] = ()) -> list:
    """One Plan a paper and seed. study: entries of study.yaml; given: the command line's (name, text), before them."""
    from lib.run import plan_of

    out = []
    for paper in papers:
        for seed in study["seeds"]:
            of_study = given_by(paper, study, seed).items()
            texts = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in of_study]
            out.append(plan_of(paper, checked_parameters(paper, [*texts, *given])))
    return out


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
    states = frame["state"].value_counts()
    trained = f"{states.get('trained', 0)} of {len(frame)} models trained, {states.get('begun', 0)} begun"
    return f"{trained}, {frame['processor hours left'].sum():.1f} processor hours to go"


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lib.train", description="Train the models that a study needs, or list them.")
    parser.add_argument("paper", nargs="?", default="", help="only this paper's models (default: all papers of the study file)")
    parser.add_argument("model", nargs="*", help="only models with these names (see --list) or places, e.g. 'SaGAN Smiling'")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a notebook parameter or Config field")
    parser.add_argument("--study", type=Path, default=ROOT / "study.yaml", help="the study file (default: study.yaml)")
    parser.add_argument("--list", action="store_true", help="list every model, trained or not, with the hours that are left")
    parser.add_argument("--status", action="store_true", help="the same in one line")
    parser.add_argument("--forget", action="store_true", help="throw away what these models learned")
    args = parser.parse_intermixed_args(argv)  # names of models may stand behind -p
    given = [tuple(p) for p in args.p]
    try:
        study = read_study() | read_study(args.study)  # as Snakemake takes it
        if args.paper:
            checked_parameters(args.paper, given)  # before anything heavy is imported
        elif given:
            raise ParameterError("-p goes with a paper: python -m lib.train PAPER -p NAME VALUE")
        jobs = needed(plans([args.paper] if args.paper else study["papers"], study, given))
        if args.list:
            print(listing(jobs).to_string(index=False))
        elif not args.status:
            work(jobs, args.model, args.forget)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt as error:
        print(error or "interrupted; the same command goes on from there", file=sys.stderr)
        return 130
    print(status(jobs))
    return 0


def work(jobs: dict[str, tuple], wanted: list[str], forget: bool) -> None:
    """Train the jobs of these names or places (all, if none is given), or forget them."""
    import torch

    from lib.training import models

    torch.set_num_threads(1)  # one thread a job, a job a core
    names = dict.fromkeys(name for _, name, _ in jobs.values())
    if strange := [m for m in wanted if m not in names and m not in jobs]:
        raise ParameterError(f"no model {strange[0]!r}. There are: {', '.join(names)}.")
    for place, (plan, name, job) in jobs.items():
        if wanted and name not in wanted and place not in wanted:
            continue
        if forget:
            models.forget(job)
        else:
            plan.train(name)


if __name__ == "__main__":
    sys.exit(main())

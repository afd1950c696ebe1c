"""The study as a graph: the models, one notebook per (paper, seed), the faces, the comparison, the claims and the explorer. See study.yaml.

    snakemake -c2 --keep-going --config train=true -- models   what is not trained yet, one job a model, the longest first; stops and goes on at any moment
    snakemake -c2 --keep-going             every table, figure and page from the trained models
    snakemake -c2 results/.done/sagan-s0  one paper

A stamp in results/.done/ says that a notebook ended well. It depends on the notebook and on the source files that the notebook imports, so a change
repeats exactly what it concerns. Models depend on nothing but their configuration: a trained one is never trained again.
"""

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from lib.sources import of_notebook
from lib.train import given_by, needed, plans
from lib.training.config import STUDY, check

configfile: "study.yaml"

check({name: value for name, value in config.items() if name != "train"}, STUDY, "the study file")

# Snakemake's own strict mode stays on: without pipefail a failed command in a pipe would count as done.
shell.prefix("set -euo pipefail; export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-1}}; ")

ROOT = Path(workflow.basedir)
RESULTS = config.get("results", "results")
DONE = f"{RESULTS}/.done"
PYTHON = sys.executable


def sources(name):
    """The notebook and every source file it imports."""
    (notebook,) = (ROOT / "notebooks").glob(f"[0-9][0-9]_{name}.ipynb")
    return of_notebook(notebook)


def options(values):
    """-p NAME VALUE for the command line."""
    return [text for name, value in values.items() for text in ("-p", name, value if isinstance(value, str) else json.dumps(value))]


def of_paper(paper, wildcards):
    return options(given_by(paper, config, int(wildcards.seed)))


wildcard_constraints:
    seed=r"\d+",


localrules: study, models,


rule study:
    input:
        expand(f"{DONE}/{{summary}}", summary=["data", "comparison", "claims", "explorer"]),
    default_target: True


# Planning reads the faces, so it is done only where models are asked for.
JOBS = {}
if config.get("train"):
    JOBS = {place: entry for place, entry in needed(plans(config["papers"], config)).items() if not entry[2].trained}


rule models:
    input:
        [f"{DONE}/models/{place}" for place in JOBS],


for place, (plan, name, job) in JOBS.items():

    rule:
        name:
            f"model_{place.replace('/', '_').replace('-', '_')}"
        input:
            [
                f"{DONE}/models/{other.key}/{other.id}"
                for other in map(plan.jobs.get, job.after)
                if f"{other.key}/{other.id}" in JOBS
            ],
        output:
            touch(f"{DONE}/models/{place}"),
        params:
            paper=plan.name,
            place=place,
            options=options(given_by(plan.name, config, plan.seed)),
        log:
            f"{DONE}/models/{place}.log",
        priority: 1 + int(job.seconds_left)
        resources:
            gpu=1 if config["device"].startswith("cuda") else 0,
            mem_mb=4000,
        shell:
            "{PYTHON} -m lib.train {params.paper} {params.place} {params.options:q} 2>&1 | tee {log}"


rule data:
    input:
        sources("data"),
    output:
        touch(f"{DONE}/data"),
    params:
        options=options({"data": config["data"]}),
    log:
        f"{DONE}/data.log",
    priority: 100 # its page is the first to read
    shell:
        "{PYTHON} -m lib.run data {params.options:q} 2>&1 | tee {log}"


for place, paper in enumerate(config["papers"]):

    # Those that study.yaml names first start first.
    rule:
        name:
            f"paper_{paper}"
        input:
            sources(paper),
        output:
            touch(f"{DONE}/{paper}-s{{seed}}"),
        params:
            options=partial(of_paper, paper),
            paper=paper,
        log:
            f"{DONE}/{paper}-s{{seed}}.log",
        priority: len(config["papers"]) - place
        resources:
            gpu=1 if config["device"].startswith("cuda") else 0,
            mem_mb=6000,
        shell:
            "{PYTHON} -m lib.run {params.paper} --no-training {params.options:q} 2>&1 | tee {log}"


rule summary:
    input:
        lambda wildcards: sources(wildcards.summary),
        expand(f"{DONE}/{{paper}}-s{{seed}}", paper=config["papers"], seed=config["seeds"]),
    output:
        touch(f"{DONE}/{{summary}}"),
    wildcard_constraints:
        summary="comparison|claims|explorer",
    log:
        f"{DONE}/{{summary}}.log",
    shell:
        "{PYTHON} -m lib.run {wildcards.summary} 2>&1 | tee {log}"

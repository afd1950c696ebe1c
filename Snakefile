"""The study as a graph: the faces, one notebook per (paper, seed), the comparison, the claims and the explorer. See study.yaml for what belongs to it.

    snakemake -c2 --keep-going            all of it on two cores; what is complete and unchanged is not run again
    snakemake -c2 results/.done/sagan-s0  one paper

A stamp in results/.done/ says that a job ended well, and with which run. A job depends on its notebook and on the source files that the
notebook imports, so a change reruns exactly what it concerns. A training that was interrupted goes on where it was.
"""

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from lib.sources import of_notebook

configfile: "study.yaml"

shell.prefix("export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-1}}; ")  # the networks of profile cpu are too small to share among threads

ROOT = Path(workflow.basedir)
DONE = f"{config['results']}/.done"
PYTHON = sys.executable


def needs(name):
    """The notebook and every source file it imports."""
    (notebook,) = (ROOT / "notebooks").glob(f"[0-9][0-9]_{name}.ipynb")
    return sorted(str(file) for file in of_notebook(notebook))


def options(values):
    """-p NAME VALUE for the command line."""
    return [text for name, value in values.items() for text in ("-p", name, value if isinstance(value, str) else json.dumps(value))]


def of_paper(paper, wildcards):
    common = {name: config[name] for name in ("data", "profile", "device")} | {"seed": wildcards.seed}
    if common["data"] == "synthetic" and paper in config["balanced"]:
        common["data"] = "synthetic-balanced"
    return options(common | config["parameters"].get(paper, {}))


wildcard_constraints:
    seed=r"\d+",


localrules: study,


rule study:
    input:
        expand(f"{DONE}/{{summary}}", summary=["data", "comparison", "claims", "explorer"]),
    default_target: True


rule data:
    input:
        needs("data"),
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
            needs(paper),
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
            "{PYTHON} -m lib.run {params.paper} {params.options:q} 2>&1 | tee {log}"


rule summary:
    input:
        lambda wildcards: needs(wildcards.summary),
        expand(f"{DONE}/{{paper}}-s{{seed}}", paper=config["papers"], seed=config["seeds"]),
    output:
        touch(f"{DONE}/{{summary}}"),
    wildcard_constraints:
        summary="comparison|claims|explorer",
    params:
        options=lambda wildcards: options({n: config[n] for n in ("data", "profile")} if wildcards.summary == "comparison" else {}),
    log:
        f"{DONE}/{{summary}}.log",
    shell:
        "{PYTHON} -m lib.run {wildcards.summary} {params.options:q} 2>&1 | tee {log}"

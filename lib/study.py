"""What a notebook opens: faces, configuration, trained models, judges, and the folder that keeps its results."""

import importlib
import shutil
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType

import pandas as pd
import torch
from matplotlib.figure import Figure

from lib.claims import verdicts
from lib.data import Batch, Batches, FaceSet, Split, load, make_split
from lib.data.checks import beforehand, make_pools
from lib.evaluation import judges
from lib.pages import figures, tables
from lib.training import models, runs
from lib.training.config import ParameterError, check, from_params, pick, require, unknown
from lib.training.models import Job
from lib.training.precision import resolve

KINDS = dict(data=str, profile=str, seed=int, device=str, precision=str, results=str, training=bool, overrides=dict)


@dataclass(frozen=True, eq=False)
class Plan:
    """What a paper's parameters come to: configuration, data and the models of its notebook. Nothing is written."""

    name: str
    paper: ModuleType
    evaluation: ModuleType
    cfg: object
    settings: object
    profile: str
    seed: int
    device: str
    precision: str
    training: bool
    faces: FaceSet
    split: Split
    results: Path

    def job(self, method: ModuleType, cfg, **fields) -> Job:
        """A model trained on this study's faces, split and seed. fields: others of Job, instead of or beside these."""
        return Job(**{"method": method, "cfg": cfg, "faces": self.faces, "split": self.split, "seed": self.seed, "results": self.results} | fields)

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """Name -> Job of every model that the notebook needs: the paper's, those it is compared with, the judges (of
        seed 0). Raises DataError where one of them cannot be trained on these faces."""
        found = self.evaluation.jobs(self) | judges.jobs(self.faces, self.split, self.profile, results=self.results)
        for job in found.values():
            if self.training and not job.trained:
                make_pools(job.faces, job.split, job.seed, job.method.stages(job.cfg))
        return found

    @property
    def missing(self) -> dict[str, Job]:
        """The jobs that are not trained."""
        return {name: job for name, job in self.jobs.items() if not job.trained}

    @property
    def essential(self) -> set[str]:
        """The jobs without which there is no page: the judges and what the evaluation's `own` names; without it all."""
        return {*self.evaluation.own(self), *judges.NAMES} if hasattr(self.evaluation, "own") else set(self.jobs)

    def has(self, *names: str) -> bool:
        """Whether this study has all these models: trained, or to be trained where they are needed."""
        return all(name in self.jobs and (self.training or self.jobs[name].trained) for name in names)

    def train(self, name: str) -> Job:
        """A job of these, trained after those that it waits for. Raises ModelError if it is not and nothing may be."""
        job = pick(self.jobs, name, "model")
        for other in job.after:
            self.train(other)
        if not job.trained:
            if not self.training:
                raise models.ModelError(f"{name} is not trained. Train it: python -m lib.train {job.key} (or make train)")
            hours = f"about {job.seconds_left / 3600:.1g} processor hours at profile cpu's measured speed"
            print(f"{name}: training {job.key}/{job.id}, {hours}", flush=True)
            models.train(job, self.device, self.precision)
        return job


def make_plan(
    paper: str, data: str = "synthetic", profile: str = "cpu", seed: int = 0, device: str = "cpu", precision: str = "auto",
    results: str = "", training: bool = True, overrides: dict | None = None,
) -> Plan:  # fmt: skip
    """Check the parameters and read the data; nothing is written. overrides: fields of the paper's Config or of its
    evaluation's Settings. results: a folder instead of results/. training: False leaves out what is not trained. Raises
    ParameterError or DataError."""
    model, evaluation = (importlib.import_module(f"lib.papers.{paper}.{part}") for part in ("model", "evaluation"))
    overrides = overrides or {}
    values = {"data": data, "profile": profile, "seed": seed, "device": device, "precision": precision, "results": results}
    check(values | {"training": training, "overrides": overrides}, KINDS, paper)
    there = device == "cpu" or device.split(":")[0] == "cuda" and torch.cuda.is_available()
    require(there, "device", device, f"cpu, or cuda where PyTorch sees a GPU (here it sees {torch.cuda.device_count()})")
    resolve(precision, device)
    cfg, settings = pick(model.PROFILES, profile, "profile")(), evaluation.SETTINGS[profile]
    ours = {k: v for k, v in overrides.items() if k in vars(cfg)}
    others = {k: v for k, v in overrides.items() if k not in ours}
    if strange := [k for k in others if k not in vars(settings)]:
        raise ParameterError(f"{paper}: {unknown(strange[0], [*vars(cfg), *vars(settings)])}")
    cfg, settings = from_params(cfg, ours), from_params(settings, others)
    beforehand(data, cfg.size, n=settings.faces, rule=settings.split, seed=seed, stages=model.stages(cfg))
    faces = read_faces(data, cfg.size, n=settings.faces)
    split = make_split(faces, settings.split)
    home = Path(results).resolve() if results else models.RESULTS
    home = home / "scratch" if profile == "smoke" else home  # runs and models whose numbers mean nothing
    return Plan(paper, model, evaluation, cfg, settings, profile, seed, device, precision, training, faces, split, home)


read_faces = lru_cache(maxsize=4)(load)  # once a process: several papers and the judges share a face set


class Study:
    """An open notebook's study: the models, faces and settings of a Plan, whose fields it has, and the folder of its
    results, in which what an earlier evaluation left is cleared. `entries` is run.json; `metrics` the rows so far.
    Raises ModelError if another process works there."""

    def __init__(self, plan: Plan, with_images: bool = False):
        self.plan, self.with_images, self.metrics = plan, with_images, []
        self.folder, self.entries = plan.results / plan.name / runs.run_id(plan), {}
        self._nets: dict[str, dict] = {}
        models.hold(self.folder)
        for name in runs.LEFT:
            old = self.folder / name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        faces = plan.faces
        self.update(
            status="running", reason="", paper=plan.name, title=plan.paper.TITLE, citation=plan.paper.CITATION,
            run_id=self.folder.name, question=getattr(plan.evaluation, "QUESTION", ""), finding="",
            profile=plan.profile, data=faces.name, seed=plan.seed, size=faces.size, images=len(faces),
            fingerprint=faces.fingerprint, landmarks=faces.landmark_source, publishable=faces.publishable,
            scratch=plan.profile == "smoke", split=models.of_split(plan.split),
            config=runs.of_record(plan.cfg), settings=runs.of_record(plan.settings),
            share_of_paper=round(plan.paper.share_of_paper(plan.cfg), 5),
            models={name: f"{job.key}/{job.id}" for name, job in plan.jobs.items()},
            **models.code(), versions=models.versions(), hardware=models.hardware(plan.device),
            started=models.now(), finished="",
        )  # fmt: skip

    def __getattr__(self, name: str):
        return getattr(self.plan, name)  # cfg, settings, faces, split, jobs, seed, device, profile, ...

    def models(self, name: str) -> dict:
        """{model: Nets} of a job, loaded from its weights.safetensors; trained first where that was not done."""
        if name not in self._nets:
            self._nets[name] = models.load(self.plan.train(name), self.device)
        return self._nets[name]

    def nets(self, name: str):
        """The Nets of a job that has one model."""
        (nets,) = self.models(name).values()
        return nets

    def record(self, name: str) -> dict:
        """model.json of a trained job."""
        return self.plan.train(name).record

    def records(self) -> dict[str, dict]:
        """{name: model.json} of every model at hand but the judges."""
        return {name: self.record(name) for name, job in self.jobs.items() if job.method is not judges and self.has(name)}

    def first_batch(self, name: str, stage: int = 0) -> Batch:
        """The first batch that a stage of a job is trained on."""
        job = pick(self.jobs, name, "model")
        own = job.method.stages(job.cfg)[stage]
        pool = own.examples(job.faces, job.split, job.seed) if own.examples else job.split.train
        return Batches(job.faces, pool, own.attributes, own.batch, job.seed, own.sampler, own.flip, self.device)(0)

    def history(self, name: str) -> pd.DataFrame:
        """history.csv of a trained job."""
        return self.plan.train(name).history

    @cached_property
    def judges(self) -> judges.Judges:
        """Both attribute judges and the identity network."""
        found = {name: self.plan.train(name) for name in judges.NAMES}
        return judges.judges_of(found, self.faces, self.split, self.device)

    def update(self, **entries) -> None:
        """Put entries into run.json."""
        self.entries |= entries
        models.write_json(self.folder / "run.json", self.entries)

    def frame(self) -> pd.DataFrame:
        """All metric rows so far."""
        return pd.DataFrame(self.metrics, columns=runs.METRIC_COLUMNS)

    def _keep(self, place: str, frame: pd.DataFrame, **form) -> pd.DataFrame:
        models.keep(self.folder / place, lambda p: frame.to_csv(p, index=False, **form))
        return frame

    def add(self, rows: list[dict]) -> pd.DataFrame:
        """Take metric rows (keys as METRIC_COLUMNS, or fewer), write metrics.csv, and return the rows as a frame."""
        frame = pd.DataFrame(rows, columns=runs.METRIC_COLUMNS)
        self.metrics += frame.to_dict("records")
        self._keep("metrics.csv", self.frame(), float_format="%.6g")
        return frame

    def table(self, frame: pd.DataFrame, name: str):
        """Write tables/<name>.csv and return the frame as HTML."""
        (self.folder / "tables").mkdir(exist_ok=True)
        return tables.show(self._keep(f"tables/{name}.csv", frame, float_format="%.6g"))

    def claims(self, claims) -> pd.DataFrame:
        """Decide the claims from the metrics so far, write claims.csv, and return the frame."""
        return self._keep("claims.csv", verdicts(claims, self.frame()))

    def figure(self, figure: Figure, name: str, alt: str, faces: bool = True) -> None:
        """Show a figure and write figures/<name>.png, marked with whether it shows faces. One that shows faces which
        may not be published goes to private/ (which git ignores), and only if the reader asked for images."""
        secret = faces and not self.entries["publishable"]
        if not secret or self.with_images:
            folder = self.folder / ("private" if secret else "figures")
            how = {"dpi": figure.dpi, "metadata": {"Software": None, "Faces": "yes" if faces else "no"}}
            folder.mkdir(exist_ok=True)
            models.keep(folder / f"{name}.png", lambda p: figure.savefig(p, format="png", **how))
        figures.show(figure, alt, faces)

    def complete(self, method: str = "", table: str = "", more: str = "") -> str:
        """Mark the run complete, and return a sentence about it. method, table: whose edits in which table the index
        speaks of as what was found; more: what it says after that."""
        finding = tables.finding(self.frame(), method, table, self.entries["share_of_paper"]) + more if method else ""
        self.update(status="complete", reason="", finding=finding or self.entries["finding"], finished=models.now())
        return f"{self.entries['paper']} run {self.folder.name} is complete: {len(self.metrics)} metric rows."


def open_study(paper: str, with_images: bool = False, **parameters) -> Study:
    """The study of a paper's notebook, parameters as `make_plan` takes them. Raises ParameterError, DataError or
    ModelError."""
    check({"with_images": with_images}, {"with_images": bool}, paper)  # the text "false" would show all faces
    plan = make_plan(paper, **parameters)
    study = Study(plan, with_images)
    if study.missing:
        hours = sum(job.seconds_left for job in study.missing.values()) / 3600
        few = ", ".join(list(study.missing)[:4]) + (" and others" if len(study.missing) > 4 else "")
        print(f"{len(study.missing)} of {len(study.jobs)} models are not trained yet, about {hours:.2g} processor hours: {few}.")
        what = "They are trained where they are needed below." if plan.training else "What needs them is left out."
        print(f"{what} `make status` lists them; `make train` trains them.")
    return study

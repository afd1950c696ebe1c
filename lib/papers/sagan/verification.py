"""Face verification with and without training faces that SaGAN has edited: Sec. 4.3, Figs 10 and 11.

A recognition network learns to tell the training people apart, from the faces alone or from three versions of each:
itself, and SaGAN's edits of it without and with one attribute. Two faces of people it never saw are then compared by
the cosine of their features. The networks are models like any other (`jobs`), trained by the common loop; all take the
same number of updates.

The control that gains are taken over sees every face three times unedited: at equal updates what separates it from the
plain network is the noise of training, so a gain over it is not one of chance or of repetition."""

import hashlib
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve
from torch import Tensor, nn

from lib.data import DataError, Examples, FaceSet, Split, cache
from lib.data.faceset import to_uint8
from lib.data.lfw import Lfw
from lib.evaluation.edits import SEED
from lib.evaluation.judges import Judge, as_images
from lib.evaluation.measures import Value, row
from lib.evaluation.resnet import ResNet18
from lib.papers.sagan import model as sagan
from lib.training import models
from lib.training.loop import Stage, Update
from lib.training.models import Job

TITLE = "Face recognition network of SaGAN, Sec. 4.3"
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("body",)
SECONDS = 0.3  # processor seconds of an update of profile cpu, one thread, bf16

PLAIN, COPIES = "no augmentation", "x3 copies"
RATES = {"tpr_at_fpr_1e-2": 1e-2, "tpr_at_fpr_1e-3": 1e-3}
MEASURES = ("auc", "eer", *RATES)
GAINED = ("auc", *RATES)  # of which gains over COPIES are reported
NO_LFW = "no LFW folder given"
UNAVAILABLE = "no recognition networks, or no LFW folder given"
RESAMPLES = 200  # of the people compared, for every interval
RESAMPLED_PAIRS = 200_000  # impostor pairs that an interval is computed from, at most; the values themselves use all
GRID = np.geomspace(1e-4, 1, 121)  # false positive rates at which curves are drawn


# ------------------------------------------------------------------------------------------------ the recognition network


@dataclass(frozen=True)
class Config:
    """One network. Of this the paper says only 'ResNet-18' (D13)."""

    people: int  # training identities, its classes
    copies: int = 1  # how many times every training face counts; 3 in the control
    size: int = 128
    width: int = 64  # channels of the first layer: a usual ResNet-18's
    batch: int = 64
    steps: int = 20_000
    lr: float = 0.1  # a tenth of it after 50 and again after 75 % of the updates
    momentum: float = 0.9
    decay: float = 5e-4


@dataclass
class Nets:
    body: ResNet18
    head: nn.Linear


def build(cfg: Config) -> Nets:
    """A pre-activation ResNet-18, and a linear layer to one logit per person."""
    body = ResNet18(cfg.width, cfg.size)
    return Nets(body, nn.Linear(body.features, cfg.people))


def loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Softmax cross-entropy over the training people, mean over the batch."""
    logits, who = nets.head(nets.body(batch.x)).float(), batch.y[:, 0].long()
    return F.cross_entropy(logits, who), {"hit": (logits.argmax(1) == who).float().mean().detach()}


def stages(cfg: Config) -> list[Stage]:
    """One update a cycle. Labels are the people's numbers, in the place of an attribute."""

    def pool(faces: FaceSet, split: Split, seed: int) -> Examples:
        who = np.unique(faces.identities[split.train], return_inverse=True)[1]
        return Examples(np.tile(split.train, cfg.copies), np.tile(who, cfg.copies)[:, None].astype(np.float32))

    def sgd(parameters: list, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=lr, momentum=cfg.momentum, weight_decay=cfg.decay)

    def falling(cycle: int) -> float:
        return 0.1 ** ((cycle >= cfg.steps // 2) + (cycle >= cfg.steps * 3 // 4))

    update = Update("recogniser", ("body", "head"), loss, cfg.lr, schedule=falling, optimiser=sgd)
    return [Stage("recogniser", "recogniser", ("Male",), (update,), cfg.steps, cfg.batch, examples=pool)]


# ------------------------------------------------------------------------------------------------ what it is trained on


class Versions:
    """Images of a set, (N, 3, S, S), and after them those of its training faces edited to 0 and to 1: (N + 2n, 3, S, S)
    uint8 by row.

    Nothing is edited before the first edited row is asked for; then all are, once, into the data cache."""

    def __init__(self, faces: FaceSet, split: Split, job: Job, fingerprint: str):
        self.faces, self.train, self.job, self.fingerprint = faces, split.train, job, fingerprint
        self.shape = (len(faces) + 2 * len(split.train), *faces.images.shape[1:])

    @cached_property
    def edited(self) -> np.ndarray:
        edit, n = sagan.editor(models.load(self.job)), len(self.train)

        def draw(start: int, stop: int) -> np.ndarray:
            rows = np.arange(start, stop)
            target = torch.from_numpy((rows >= n).astype(np.float32))[:, None]
            return to_uint8(edit(self.job.cfg.attribute, as_images(self.faces, self.train[rows % n]), target).image)

        return cache.build(None, f"edited-{self.fingerprint[:16]}", self.fingerprint, 2 * n, self.faces.size, draw, 1)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> np.ndarray:
        rows, n = np.atleast_1d(index), len(self.faces)
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        out[rows < n] = self.faces.images[rows[rows < n]]
        if (rows >= n).any():
            out[rows >= n] = self.edited[rows[rows >= n] - n]
        return out if np.ndim(index) else out[0]


def with_edits(faces: FaceSet, split: Split, job: Job) -> tuple[FaceSet, Split]:
    """The set and the split with two edits of every training face, by the SaGAN of `job`, among the training faces.
    Identities and labels are those of the face that was edited (Sec. 4.3: no attribute classifier is needed, one of the
    two edits gives the face back)."""
    fingerprint = hashlib.sha256(f"{faces.fingerprint} {split.checksum} {job.id}".encode()).hexdigest()
    rows = np.concatenate([np.arange(len(faces)), split.train, split.train])
    edits = np.arange(len(faces), len(rows))
    files = (*faces.files, *(f"{faces.files[i]}, {job.cfg.attribute} = {c}" for c in (0, 1) for i in split.train))
    both = replace(
        faces, name=f"{faces.name}-edited", images=Versions(faces, split, job, fingerprint), attributes=faces.attributes[rows],
        identities=faces.identities[rows], landmarks=None, landmark_source="none", files=files, fingerprint=fingerprint, faces=None, partition=None,
    )  # fmt: skip
    rule = f"{split.rule}; training faces also edited by {job.id}"
    checksum = hashlib.sha256(f"{split.checksum} {fingerprint}".encode()).hexdigest()
    return both, replace(split, train=np.concatenate([split.train, edits]), rule=rule, checksum=checksum)


def jobs(plan, own: dict[str, Job]) -> dict[str, Job]:
    """The networks of all arms, several seeds each: 'recogniser, <arm>, seed <k>'. own: the jobs of SaGAN, whose edits
    the arms named after attributes are trained on. Raises DataError where the test faces make no pairs."""
    test_pairs(plan)
    s, n = plan.settings, len(plan.split.train)
    cfg = Config(
        people=len(np.unique(plan.faces.identities[plan.split.train])), size=plan.faces.size, width=s.recogniser_width,
        batch=min(s.recogniser_batch, n), steps=ceil(s.recogniser_epochs * n / min(s.recogniser_batch, n)),
    )  # fmt: skip
    arms = {PLAIN: (cfg, plan.faces, plan.split, ()), COPIES: (replace(cfg, copies=3), plan.faces, plan.split, ())}
    for name, job in own.items():
        arms[job.cfg.attribute] = (cfg, *with_edits(plan.faces, plan.split, job), (name,))
    here = sys.modules[__name__]
    return {
        f"recogniser, {arm}, seed {seed}": plan.job(here, cfg, faces=faces, split=split, seed=seed, after=after)
        for arm, (cfg, faces, split, after) in arms.items()
        for seed in range(plan.seed, plan.seed + s.recogniser_seeds)
    }


def networks(study) -> dict[str, list[Judge]]:
    """The trained networks of every arm, one per seed: arm -> [Judge], of which `embed` is used. Empty unless all of
    them are at hand: arms with fewer seeds than others would not compare."""
    names = [name for name in study.jobs if name.startswith("recogniser, ")]
    out: dict[str, list[Judge]] = {}
    for name in names if study.has(*names) else ():
        out.setdefault(name.split(", ")[1], []).append(Judge(study.nets(name), (), study.jobs[name].id, study.device))
    return out


# ------------------------------------------------------------------------------------------------ protocols: who is compared with whom


@dataclass(frozen=True, eq=False)
class Comparisons:
    """P pairs of images. first, second (P,) int rows of one array of feature vectors; a, b (P,) int: their identities."""

    first: np.ndarray
    second: np.ndarray
    a: np.ndarray
    b: np.ndarray

    @cached_property
    def same(self) -> np.ndarray:
        """(P,) bool: one person."""
        return self.a == self.b

    def __post_init__(self):
        if not self.same.any() or self.same.all():
            counts = f"{self.same.sum()} genuine and {(~self.same).sum()} impostor pairs"
            remedy = "Give more images of a person and more people, or leave recognition out: -p recogniser_seeds 0"
            raise DataError(f"verification: {counts}, both kinds are needed. {remedy}.")

    def cosines(self, vectors: np.ndarray) -> np.ndarray:
        """(P,) cosines of unit vectors (n, d), in parts, so that memory stays small."""
        parts = np.array_split(np.arange(len(self.same)), ceil(len(self.same) / 2**17))
        return np.concatenate([np.einsum("pd,pd->p", vectors[self.first[p]], vectors[self.second[p]]) for p in parts])

    @property
    def words(self) -> str:
        """How many pairs of which kind, of how many people."""
        people = f"{len(np.union1d(self.a, self.b)):,} people"
        return f"{self.same.sum():,} genuine and {(~self.same).sum():,} impostor pairs of {people}"


def against_targets(identities: np.ndarray, seed: int) -> Comparisons:
    """Sec. 4.3: one random image of each test identity is its target, all its others are queries, and every query is
    compared with every target: one genuine pair a query, the others impostors. identities: (n,)."""
    rng = np.random.default_rng(seed)
    targets = np.array([rng.choice(np.flatnonzero(identities == who)) for who in np.unique(identities)])
    queries = np.setdiff1d(np.arange(len(identities)), targets)
    first, second = np.repeat(queries, len(targets)), np.tile(targets, len(queries))
    a, b = identities[first], identities[second]
    return Comparisons(first, second, a, b)


def of_pairs(identities: np.ndarray, folds: tuple[np.ndarray, ...]) -> Comparisons:
    """LFW's View 2, all folds together, as `load_lfw` returns them. identities (n,)."""
    first, second, _ = np.concatenate(folds).T
    return Comparisons(first, second, identities[first], identities[second])


@dataclass(frozen=True)
class Result:
    """Scores of every arm on one protocol: scores[arm] has one (P,) array per seed. place: CelebA or LFW, as the paper
    calls them; what: in words."""

    pairs: Comparisons
    scores: dict[str, list[np.ndarray]]
    place: str
    what: str


def compare(nets: dict[str, list[Judge]], faces: FaceSet, index: np.ndarray, pairs: Comparisons, place: str, what: str) -> Result:
    """Cosines of the pairs, whose rows count within `index`, for every network."""
    x = as_images(faces, index)
    return Result(pairs, {arm: [pairs.cosines(net.embed(x)) for net in seeds] for arm, seeds in nets.items()}, place, what)


def test_pairs(plan) -> tuple[np.ndarray, Comparisons]:
    """The rows of the test faces of at most `verification_people` people, and every query with every target."""
    people = np.unique(plan.faces.identities[plan.split.test])
    chosen = np.random.default_rng([SEED, 7]).permutation(people)[: plan.settings.verification_people]
    index = plan.split.test[np.isin(plan.faces.identities[plan.split.test], chosen)]
    return index, against_targets(plan.faces.identities[index], SEED)


def on_test_faces(study, nets: dict[str, list[Judge]]) -> Result | None:
    """Fig. 10: `test_pairs`. None without networks."""
    if not nets:
        return None
    index, pairs = test_pairs(study)
    return compare(nets, study.faces, index, pairs, "CelebA", f"test faces of {study.faces.name}")


def on_lfw(nets: dict[str, list[Judge]], lfw: Lfw | None) -> Result | None:
    """Fig. 11: LFW's View 2. None where LFW or the networks are not at hand."""
    if lfw is None or not nets:
        return None
    faces, folds = lfw
    pairs, what = of_pairs(faces.identities, folds), f"LFW View 2, {len(folds)} of 10 folds"
    return compare(nets, faces, np.arange(len(faces)), pairs, "LFW", what)


# ------------------------------------------------------------------------------------------------ numbers


def measures(score: np.ndarray, same: np.ndarray) -> dict[str, float]:
    """MEASURES of pairs' scores; a rate that is less than one impostor pair is nan."""
    fpr, tpr, _ = roc_curve(same, score, drop_intermediate=False)
    few = {name: float("nan") for name, at in RATES.items() if (~same).sum() * at < 1}
    return _of_curve(fpr, tpr) | few


def _of_curve(fpr: np.ndarray, tpr: np.ndarray) -> dict[str, float]:
    """Of a ROC curve from (0, 0) to (1, 1): the area under it; the equal error rate, where as many impostors are accepted
    as genuine pairs refused, between the two nearest points; the share of genuine pairs accepted where at most 1e-2 and
    1e-3 of the impostor pairs are."""
    over = fpr - (1 - tpr)
    k = int(np.argmax(over >= 0))
    share = -over[k - 1] / (over[k] - over[k - 1])
    rates = {name: float(tpr[np.searchsorted(fpr, at, side="right") - 1]) for name, at in RATES.items()}
    return {"auc": float(np.trapezoid(tpr, fpr)), "eer": float(fpr[k - 1] + share * (fpr[k] - fpr[k - 1]))} | rates


def resampled(scores: list[np.ndarray], pairs: Comparisons) -> dict[str, np.ndarray]:
    """Bootstrap over people: metric -> (RESAMPLES, len(scores)), the same resamples for each list of scores, so that
    they can be subtracted.

    A person drawn k times gives k times their genuine pairs, and k l times their impostor pairs with a person drawn l
    times. Of more than RESAMPLED_PAIRS impostor pairs a seeded choice is used. Equal scores are taken in any order."""
    rng = np.random.default_rng([SEED, 3])
    impostors = np.flatnonzero(~pairs.same)
    use = np.concatenate([np.flatnonzero(pairs.same), rng.permutation(impostors)[:RESAMPLED_PAIRS]])
    people, place = np.unique(np.concatenate([pairs.a[use], pairs.b[use]]), return_inverse=True)
    a, b, same = place[: len(use)], place[len(use) :], pairs.same[use]
    orders = [np.argsort(-s[use], kind="stable") for s in scores]
    out = {m: np.full((RESAMPLES, len(scores)), np.nan) for m in MEASURES}
    for i in range(RESAMPLES):
        times = np.bincount(rng.integers(len(people), size=len(people)), minlength=len(people)).astype(float)
        weight = np.where(same, times[a], times[a] * times[b])
        for j, order in enumerate(orders):
            w, genuine = weight[order], same[order]
            tpr, fpr = np.cumsum(w * genuine), np.cumsum(w * ~genuine)
            if not tpr[-1] or not fpr[-1]:
                continue  # nobody with a second image, or one person only, was drawn
            curve = _of_curve(np.concatenate([[0], fpr / fpr[-1]]), np.concatenate([[0], tpr / tpr[-1]]))
            for name, value in curve.items():
                out[name][i, j] = value
    return out


def rows(result: Result | None, table: str) -> list[dict]:
    """Metric rows: how many networks an arm has; every measure of it (mean over seeds) and its gain over COPIES, each
    with an interval over people. n is the number of genuine pairs."""
    if result is None:
        return [row(table, "all", "all", "auc", f"unavailable: {UNAVAILABLE}", "")]
    pairs, n = result.pairs, int(result.pairs.same.sum())
    how, out = f"{result.what}: {pairs.words}; mean over seeds, interval over people", []

    def add(arm: str, metric: str, value: Value | float | str, protocol: str, n: int = n) -> None:
        out.append(row(table, result.place, arm, metric, value, protocol, n))

    flat = [(arm, s) for arm, scores in result.scores.items() for s in scores]
    single, draws = pd.DataFrame([measures(s, pairs.same) for _, s in flat]), resampled([s for _, s in flat], pairs)
    of = {arm: [k for k, (a, _) in enumerate(flat) if a == arm] for arm in result.scores}
    means = {arm: {m: (float(single[m].iloc[own].mean(skipna=False)), draws[m][:, own].mean(1)) for m in MEASURES} for arm, own in of.items()}
    for arm, scores in result.scores.items():
        add(arm, "seeds", float(len(scores)), "networks, trained from different seeds", len(scores))
        for m, (value, spread) in means[arm].items():
            if np.isnan(value):
                add(arm, m, f"unavailable: {int((~pairs.same).sum())} impostor pairs are too few for this rate", "")
                continue
            add(arm, m, Value(value, *_interval(spread), n), how)
            if m in GAINED and COPIES in means and arm != COPIES:
                base, base_spread = means[COPIES][m]
                add(arm, f"{m} gain", Value(value - base, *_interval(spread - base_spread), n), f"minus {COPIES}; {how}")
    return out


def _interval(draws: np.ndarray) -> tuple[float, float]:
    draws = draws[np.isfinite(draws)]
    low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (np.nan, np.nan)
    return float(low), float(high)


# ------------------------------------------------------------------------------------------------ pictures


def curves(result: Result) -> pd.DataFrame:
    """The ROC curve of every arm on GRID: columns arm, fpr, tpr (mean over seeds)."""

    def at_grid(score: np.ndarray) -> np.ndarray:
        fpr, tpr, _ = roc_curve(result.pairs.same, score, drop_intermediate=False)
        return tpr[np.searchsorted(fpr, GRID, side="right") - 1]

    mean = {arm: np.mean([at_grid(s) for s in scores], axis=0) for arm, scores in result.scores.items()}
    return pd.concat([pd.DataFrame({"arm": arm, "fpr": GRID, "tpr": tpr}) for arm, tpr in mean.items()], ignore_index=True)


def figure(study, result: Result | None, name: str) -> None:
    """Figs 10 and 11: the ROC curves, kept as a figure and as a table."""
    if result is None:
        return print(f"Not drawn: {UNAVAILABLE}.")
    print(result.pairs.words)
    study.table(curves(result), name + "_curves")
    study.figure(roc(result), name, f"ROC curves of face verification, {result.what}: every arm; the control is dashed", faces=False)


def roc(result: Result) -> Figure:
    """ROC curves with a logarithmic axis of false positive rates."""
    import seaborn as sns  # not above: it takes seconds, and a wrong parameter needs none

    figure, drawn = Figure(figsize=(8.2, 4.2), layout="constrained"), curves(result)
    axis = figure.subplots()
    for name, colour in zip(result.scores, sns.color_palette("colorblind", len(result.scores)), strict=True):
        part, colour = drawn[drawn["arm"] == name], "black" if name == PLAIN else colour
        axis.plot(part["fpr"], part["tpr"], "--" if name == COPIES else "-", color=colour, lw=1.4, label=name.replace("_", " "))
    axis.set(xscale="log", xlim=(GRID[0], 1), ylim=(0, 1), xlabel="false positive rate", ylabel="true positive rate", title=result.what)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(ax=axis)
    return figure

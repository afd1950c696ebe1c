"""Face verification, with and without training faces that an editor has changed: networks, protocols, ROC figures; and edits of LFW.

A recognition network is trained on the training split: on its images alone, or on three versions of each image in equal parts. All arms take
the same number of SGD steps. Two images are compared by the cosine of their features; the people compared were never seen in training.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor, nn
from tqdm import tqdm

from lib.pages import figures
from lib.evaluation import measures as metrics
from lib.data import Batches, DataError, Examples, FaceSet, Split, load_lfw
from lib.data.cache import default_dir
from lib.training.loop import save_atomically
from lib.evaluation.judges import Judge, as_images
from lib.evaluation.measures import DIRECTIONS, SEED, Value, l1, mean, proportion
from lib.sources import sources
from lib.evaluation.resnet import ResNet18

PLAIN, COPIES = "no augmentation", "x3 copies"
RATES = {"tpr_at_fpr_1e-2": 1e-2, "tpr_at_fpr_1e-3": 1e-3}
MEASURES = ("auc", "eer", *RATES)
SHOWN = ["auc", *RATES]  # columns of tables
GAINS = [f"{m} gain" for m in SHOWN]
RESAMPLES = 200  # of the test identities, for every interval
RESAMPLED_PAIRS = 500_000  # impostor pairs that an interval is computed from, at most; the values themselves use all
ON_LFW = ["fold_accuracy", "fold_accuracy_std", "smiling share", "smiling share difference"]
NO_LFW = "not run: no LFW folder given"


# ------------------------------------------------------------------------------------------------ arms: what a network is trained on


@dataclass(frozen=True)
class Arm:
    """A way to train. Every training image counts once per entry of `versions`: "image" is the image itself, "without" and "with" are its
    edits of `attribute` to 0 and to 1, "own" is its edit to the label that it has."""

    name: str
    versions: tuple[str, ...]
    attribute: str = ""


def arms(attributes: tuple[str, ...], own_label: tuple[str, ...] = ()) -> tuple[Arm, ...]:
    """Without augmentation; two kinds of controls; one arm per attribute with {image, without, with}.

    The controls: every image three times (at equal steps this is the plain arm in another order, so that their difference is the noise of
    training), and, for the attributes of `own_label`, {image, own, own}: re-encoded by the editor, but with nothing edited.
    """
    controls = [Arm(COPIES, ("image",) * 3), *(Arm(f"own label only: {a}", ("image", "own", "own"), a) for a in own_label)]
    return Arm(PLAIN, ("image",)), *controls, *(Arm(a, ("image", "without", "with"), a) for a in attributes)


def examples(arm: Arm, faces: FaceSet, index: np.ndarray) -> Examples:
    """The training pool of an arm over the images `index` (N,): N rows per version, labels (N versions, 1) float32: the value that the arm's
    attribute is to be set to, -1 where the image stays as it is."""
    fixed = {"image": -1.0, "without": 0.0, "with": 1.0}
    targets = [faces.column(arm.attribute)[index] if v == "own" else np.full(len(index), fixed[v]) for v in arm.versions]
    return Examples(np.tile(index, len(arm.versions)), np.concatenate(targets).astype(np.float32)[:, None])


def recogniser(
    arm: Arm, faces: FaceSet, split: Split, edit: Callable, editor_id: str, *, width: int, steps: int, batch: int, seed: int, device="cpu",
    cache: Path | None = None,
) -> Judge:  # fmt: skip
    """A pre-activation ResNet-18 trained to tell the training identities apart: softmax, SGD (0.1, momentum 0.9, weight decay 5e-4), the rate
    divided by 10 after 50 and 75 % of the steps. Returned as a Judge, for its `embed`.

    edit: (attribute, x, target (B, 1)) -> object with .image; editor_id: whatever tells two editors apart (a hash of their weights).
    A network that was trained before is loaded from `cache` (default: verification/ in the data cache).
    """
    classes = np.unique(faces.identities[split.train])
    made_of = [arm.name, arm.versions, arm.attribute, faces.fingerprint, split.checksum, width, steps, batch, seed, torch.device(device).type]
    made_of += [editor_id] * bool(arm.attribute) + [sources(__name__)[f"lib/{name}.py"] for name in ("verification", "resnet")]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    file = (default_dir() / "verification" if cache is None else cache) / f"{key}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the same first weights in every arm
        body = ResNet18(width, faces.size)
        net = nn.ModuleDict({"body": body, "head": nn.Linear(body.features, len(classes))})
    if file.exists():
        net.load_state_dict(load_file(file))
        net.to(device, memory_format=torch.channels_last)
    else:
        pool = examples(arm, faces, split.train)
        batches = Batches(faces, pool, faces.attribute_names[:1], min(batch, len(split.train)), seed, device=device)
        label = torch.from_numpy(np.searchsorted(classes, faces.identities)).to(device)
        net.to(device, memory_format=torch.channels_last)
        _train(net, batches, label, steps, lambda x, target: edit(arm.attribute, x, target).image, arm.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_atomically(file, lambda p: save_file({k: v.cpu().contiguous() for k, v in net.state_dict().items()}, p))
    net.eval().requires_grad_(False)
    return Judge("recogniser", body, net["head"], (), pd.DataFrame(), key, torch.device(device))


def train(
    wanted: tuple[Arm, ...], faces: FaceSet, split: Split, edit: Callable, editor_id: str, *, width: int, steps: int, seeds: int, batch: int = 32,
    device="cpu", cache: Path | None = None,
) -> dict[str, list[Judge]]:  # fmt: skip
    """The networks of all arms: arm's name -> one per seed 0, 1, .. `seeds` - 1 (see `recogniser`)."""
    budget = {"width": width, "steps": steps, "batch": batch, "device": device, "cache": cache}
    return {arm.name: [recogniser(arm, faces, split, edit, editor_id, seed=seed, **budget) for seed in range(seeds)] for arm in wanted}


def _train(net: nn.ModuleDict, batches: Batches, label: Tensor, steps: int, edit: Callable, what: str) -> None:
    net.train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [steps // 2, steps * 3 // 4])
    for step in tqdm(range(steps), desc=f"recogniser, {what}", unit="step", mininterval=5):
        batch = batches(step)
        edited = batch.y[:, 0] >= 0
        with torch.no_grad():
            if edited.any():
                batch.x[edited] = edit(batch.x[edited], batch.y[edited])
        h = net["body"](batch.x.to(memory_format=torch.channels_last))
        loss = F.cross_entropy(net["head"](h), label[batch.index])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    if not torch.isfinite(loss):
        raise RuntimeError(f"recogniser, {what}: training diverged (loss {loss.item()}). Choose another seed.")


# ------------------------------------------------------------------------------------------------ protocols: who is compared with whom


@dataclass(frozen=True, eq=False)
class Comparisons:
    """P pairs of images. first, second (P,) int rows of one array of feature vectors; same (P,) bool: one person; a, b (P,) int: their
    identities; fold (P,) int or None; alone: how many people have one image only and so no genuine pair (None where that is not known)."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    a: np.ndarray
    b: np.ndarray
    fold: np.ndarray | None = None
    alone: int | None = None

    def __post_init__(self):
        if not self.same.any() or self.same.all():
            counts = f"{self.same.sum()} genuine and {(~self.same).sum()} impostor pairs"
            raise DataError(f"verification: {counts}, both kinds are needed. Give more test images.")

    def cosines(self, vectors: np.ndarray) -> np.ndarray:
        """(P,) cosines of unit vectors (n, d), in parts, so that memory stays small."""
        parts = np.array_split(np.arange(len(self.same)), ceil(len(self.same) / 2**17))
        return np.concatenate([np.einsum("pd,pd->p", vectors[self.first[p]], vectors[self.second[p]]) for p in parts])

    @property
    def words(self) -> str:
        """How many pairs of which kind, of how many people."""
        people = f"{len(np.union1d(self.a, self.b)):,} people"
        people += f", {self.alone} with a single image and so without a query" if self.alone else ""
        return f"{self.same.sum():,} genuine and {(~self.same).sum():,} impostor pairs of {people}"


def against_targets(identities: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> Comparisons:
    """Every query with every target (rows of identities (n,)): Q x T pairs."""
    first, second = np.repeat(queries, len(targets)), np.tile(targets, len(queries))
    a, b = identities[first], identities[second]
    return Comparisons(first, second, a == b, a, b, alone=len(np.setdiff1d(b, a)))


def in_folds(identities: np.ndarray, folds: tuple[np.ndarray, ...]) -> Comparisons:
    """LFW's View 2: folds of rows (image, image, 1 for the same person else 0), as `load_lfw` returns them. identities (n,)."""
    pairs = np.concatenate(folds)
    fold = np.repeat(np.arange(len(folds)), [len(f) for f in folds])
    return Comparisons(pairs[:, 0], pairs[:, 1], pairs[:, 2] == 1, identities[pairs[:, 0]], identities[pairs[:, 1]], fold)


Lfw = tuple[FaceSet, tuple[np.ndarray, ...]] | None  # the faces and the folds of `load_lfw`; None: not at hand


def lfw_of(folder: str, faces: FaceSet) -> Lfw:
    """LFW and its folds at the size of `faces`; None for an empty name. Raises DataError with drawn faces, whose editors and judges have
    never seen a photograph, and as `load_lfw` does."""
    if not folder:
        return None
    if faces.faces is not None:
        raise DataError(f"{folder}: networks trained on {faces.name} faces have never seen a photograph. Give real faces as data, or no LFW.")
    return load_lfw(folder, faces.size)


# ------------------------------------------------------------------------------------------------ figures of merit


def measures(score: np.ndarray, same: np.ndarray) -> dict[str, float]:
    """AUC, equal error rate, and the share of genuine pairs accepted where at most 1e-2 and 1e-3 of the impostor pairs are (nan where
    that is less than one pair)."""
    fpr, tpr, _ = roc_curve(same, score, drop_intermediate=False)
    impostors = int((~same).sum())
    out = {"auc": float(roc_auc_score(same, score)), "eer": _eer(fpr, tpr)}
    return out | {name: float(tpr[fpr <= at].max()) if impostors * at >= 1 else float("nan") for name, at in RATES.items()}


def _eer(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """The error rate where as many impostors are accepted as genuine pairs refused, between the two nearest points of the curve."""
    over = fpr - (1 - tpr)
    k = int(np.argmax(over >= 0))  # the curve ends at (1, 1), so there is one; it begins at over = -1
    share = -over[k - 1] / (over[k] - over[k - 1])
    return float(fpr[k - 1] + share * (fpr[k] - fpr[k - 1]))


def resampled(scores: list[np.ndarray], pairs: Comparisons) -> dict[str, np.ndarray]:
    """Bootstrap over people: metric -> (RESAMPLES, len(scores)), the same resamples for each list of scores, so that they can be subtracted.

    A person drawn k times gives k times their genuine pairs, and k l times their impostor pairs with a person drawn l times. Of more than
    RESAMPLED_PAIRS impostor pairs a seeded choice is used. Equal scores are taken in any order.
    """
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
            tpr, fpr = np.concatenate([[0], tpr / tpr[-1]]), np.concatenate([[0], fpr / fpr[-1]])
            out["auc"][i, j], out["eer"][i, j] = np.trapezoid(tpr, fpr), _eer(fpr, tpr)
            for name, at in RATES.items():
                out[name][i, j] = tpr[np.searchsorted(fpr, at, side="right") - 1]
    return out


def fold_measures(score: np.ndarray, pairs: Comparisons) -> dict[str, np.ndarray]:
    """metric -> (folds,): accuracy with the threshold that is best on the other folds (the standard protocol), AUC, TPR at FPR 1e-2."""
    folds, out = np.unique(pairs.fold), {"accuracy": [], "auc": [], "tpr_at_fpr_1e-2": []}
    for k in folds:
        inside = pairs.fold == k
        out["accuracy"].append(np.mean((score[inside] >= _best_threshold(score[~inside], pairs.same[~inside])) == pairs.same[inside]))
        here = measures(score[inside], pairs.same[inside])
        for name in ("auc", "tpr_at_fpr_1e-2"):
            out[name].append(here[name])
    return {name: np.array(values) for name, values in out.items()}


def _best_threshold(score: np.ndarray, same: np.ndarray) -> float:
    """The score from which 'the same person' is right most often (the largest of equals)."""
    fpr, tpr, thresholds = roc_curve(same, score, drop_intermediate=False)
    right = tpr * same.sum() + (1 - fpr) * (~same).sum()
    return float(thresholds[np.argmax(right)])


# ------------------------------------------------------------------------------------------------ rows of metrics.csv


@dataclass(frozen=True)
class Result:
    """Scores of every arm on one protocol: scores[arm] has one (P,) array per seed."""

    pairs: Comparisons
    scores: dict[str, list[np.ndarray]]


def compare(networks: dict[str, list[Judge]], faces: FaceSet, index: np.ndarray, pairs: Comparisons) -> Result:
    """Score the pairs, whose rows count inside `index`, with every network. networks: arm -> one per seed."""
    used = np.unique(np.concatenate([pairs.first, pairs.second]))
    scores = {}
    for arm, nets in networks.items():
        scores[arm] = []
        for net in nets:
            vectors = np.zeros((len(index), net.body.features), np.float32)
            for part in np.array_split(used, ceil(len(used) / 2048)):
                vectors[part] = net.embed(as_images(faces, index[part]))
            scores[arm].append(pairs.cosines(vectors))
    return Result(pairs, scores)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    draws = draws[np.isfinite(draws)]
    return tuple(float(v) for v in np.quantile(draws, [0.025, 0.975])) if len(draws) > 1 else (float("nan"), float("nan"))


def rows(result: Result, table: str, row: str, what: str, reference: str = PLAIN) -> list[dict]:
    """Metric rows of one protocol: every measure of every arm (mean over seeds) and its gain (GAINS) over the arm `reference`, each with an
    interval over people; with folds also their mean and standard deviation. what: the protocol in words. n is the number of genuine pairs."""
    pairs, names = result.pairs, list(result.scores)
    flat = [(arm, s) for arm in names for s in result.scores[arm]]
    single = [measures(s, pairs.same) for _, s in flat]
    draws = resampled([s for _, s in flat], pairs)
    n, seeds = int(pairs.same.sum()), len(result.scores[reference])
    said = f"{what}: {pairs.words}; mean of {seeds} seed{'s' * (seeds > 1)}, interval over people"
    of = {arm: [k for k, (a, _) in enumerate(flat) if a == arm] for arm in names}
    out = []

    def put(arm, metric, value, draws, protocol):
        if draws is not None:
            value = Value(value, *_interval(draws), n)
        out.append(metrics.row(table, row, arm, metric, value, f"{protocol}{said}", n))

    for arm in names:
        for m in MEASURES:
            value, spread = float(np.mean([single[k][m] for k in of[arm]])), draws[m][:, of[arm]].mean(1)
            if np.isnan(value):
                few = f"unavailable: {int((~pairs.same).sum())} impostor pairs are too few for this rate"
                out.append(metrics.row(table, row, arm, m, few, "", n))
                continue
            put(arm, m, value, spread, "")
            if arm != reference and f"{m} gain" in GAINS:
                base = float(np.mean([single[k][m] for k in of[reference]]))
                put(arm, f"{m} gain", value - base, spread - draws[m][:, of[reference]].mean(1), f"minus {reference}; ")
        if pairs.fold is not None:
            seed_folds = [fold_measures(s, pairs) for s in result.scores[arm]]
            for m in seed_folds[0]:
                per_fold = np.mean([f[m] for f in seed_folds], axis=0)
                put(arm, f"fold_{m}", float(per_fold.mean()), None, f"mean of {len(per_fold)} folds; ")
                if len(per_fold) > 1:
                    put(arm, f"fold_{m}_std", float(per_fold.std(ddof=1)), None, f"over {len(per_fold)} folds; ")
    return out


def not_run(table: str, row: str, metric: str, why: str = NO_LFW) -> list[dict]:
    """One row that says why a table is empty."""
    return [metrics.row(table, row, "all", metric, f"unavailable: {why}", "")]


# ------------------------------------------------------------------------------------------------ edits of LFW


@dataclass(frozen=True, eq=False)
class Sample:
    """Faces x (n, 3, S, S) of one set in which the judge sees the attribute at 1 - target, and their edits by method."""

    attribute: str
    target: int
    x: Tensor
    edited: dict[str, Tensor]


def edit_both_ways(editors: dict[str, Callable], faces: FaceSet, index: np.ndarray, judge: Judge, attributes, n: int, device="cpu") -> list[Sample]:
    """Per attribute and direction at most n images of `index` (a seeded choice, the same for all editors) that the judge, not a label, says
    to lack the target: the one rule that serves a set without labels too. editors: method -> (attribute, x, target) -> object with .image."""
    index = np.random.default_rng([SEED, 4]).permutation(index)
    said = np.concatenate([judge.probabilities(as_images(faces, part)) for part in np.array_split(index, ceil(len(index) / 2048))]) > 0.5
    out = []
    for a in attributes:
        for target, _ in DIRECTIONS:
            chosen = np.sort(index[said[:, judge.names.index(a)] != bool(target)][:n])
            x = as_images(faces, chosen)
            edited = {m: torch.cat([edit(a, p.to(device), target).image.cpu() for p in x.split(64)]) if len(x) else x for m, edit in editors.items()}
            out.append(Sample(a, target, x, edited))
    return out


def drop_rows(home: list[Sample], away: list[Sample], judge: Judge, table: str = "Fig. 9") -> list[dict]:
    """Edit success of every method on the test faces (`home`) and on LFW (`away`), one row each per attribute and direction; their mean drop
    (home - LFW) with a bootstrap interval over faces; and, for two methods or more, the rank of that drop (1 = smallest). A direction
    without a face to edit on either side is left out of the drop."""
    hits, out = {}, []
    for place, samples in (("CelebA", home), ("LFW", away)):
        for s in samples:
            for method, y in s.edited.items():
                if not len(s.x):
                    continue
                hit = (judge.probabilities(y)[:, judge.names.index(s.attribute)] > 0.5) == bool(s.target)
                hits[place, method, s.attribute, s.target] = hit
                where = f"{s.attribute} {'+' if s.target else '-'} on {place}"
                protocol = f"{place}: judge {judge.id} sees the target, in faces in which it saw the opposite"
                out.append(metrics.row(table, where, method, "edit_success", proportion(hit), protocol))
    methods = list(home[0].edited)
    both = [(s.attribute, s.target) for s in home if all((p, methods[0], s.attribute, s.target) in hits for p in ("CelebA", "LFW"))]
    drops = {m: _drop([hits["CelebA", m, *k] for k in both], [hits["LFW", m, *k] for k in both]) for m in methods} if both else {}
    for m, drop in drops.items():
        words = f"mean over {len(both)} attribute directions of edit success on CelebA's test faces minus on LFW"
        out.append(metrics.row(table, "LFW", m, "edit_success drop", drop, words))
        if len(drops) > 1:
            rank = 1 + sum(other.value < drop.value for other in drops.values())  # equal drops share a rank
            out.append(metrics.row(table, "LFW", m, "edit_success drop rank", float(rank), f"1 = smallest drop of {', '.join(methods)}", drop.n))
    return out


def _drop(home: list[np.ndarray], away: list[np.ndarray]) -> Value:
    """Mean over directions of (share at home - share away), percentile bootstrap inside every sample. n: LFW faces edited."""
    rng = np.random.default_rng([SEED, 5])
    value = float(np.mean([h.mean() - a.mean() for h, a in zip(home, away, strict=True)]))
    # a resampled share of n verdicts is binomial
    draws = [rng.binomial(len(v), v.mean(), 2000) / len(v) * sign / len(home) for part, sign in ((home, 1), (away, -1)) for v in part]
    low, high = np.quantile(np.sum(draws, 0), [0.025, 0.975])
    return Value(value, float(low), float(high), sum(map(len, away)))


def share_rows(judge: Judge, faces: FaceSet, index: np.ndarray, lfw: FaceSet, attribute: str = "Smiling", table: str = "Fig. 11") -> list[dict]:
    """The judge's share of smiling faces on LFW and on the test faces, and their difference with a bootstrap interval."""
    column = judge.names.index(attribute)
    said = {}
    for place, (s, i) in {"LFW": (lfw, np.arange(len(lfw))), "CelebA": (faces, index)}.items():
        parts = np.array_split(i, ceil(len(i) / 2048))
        said[place] = np.concatenate([judge.probabilities(as_images(s, p))[:, column] for p in parts]) > 0.5
    a, b = (v.astype(float) for v in said.values())
    rng = np.random.default_rng(SEED)
    ends = bootstrap((a, b), lambda u, v, axis: u.mean(axis) - v.mean(axis), n_resamples=2000, method="percentile", rng=rng, batch=50)
    low, high = ends.confidence_interval
    protocol = f"share of faces in which judge {judge.id} sees {attribute}: {len(a)} of LFW, {len(b)} test faces"
    name, value = f"{attribute.lower()} share", Value(float(a.mean() - b.mean()), float(low), float(high), min(len(a), len(b)))
    out = [metrics.row(table, place, "judge", name, proportion(v), protocol) for place, v in said.items()]
    return [*out, metrics.row(table, "LFW - CelebA", "judge", f"{name} difference", value, protocol)]


def about(lfw: Lfw) -> str:
    """What of LFW there is, in a sentence."""
    if lfw is None:
        return NO_LFW
    there, folds = lfw
    pairs = f"{sum(map(len, folds)):,} pairs in {len(folds)} of View 2's 10 folds"
    return f"LFW: {len(there):,} images of {len(np.unique(there.identities)):,} people; {pairs}"


def lfw_edits(editors: dict[str, Callable], lfw: Lfw, faces: FaceSet, index: np.ndarray, judge: Judge, attributes, n: int, device="cpu"):
    """Every method on the test faces `index` and on LFW, at most n faces an attribute and direction. Returns (metric rows, the samples of LFW);
    without LFW one row that says so, and no sample."""
    if lfw is None:
        return not_run("Fig. 9", "LFW", "edit_success drop"), []
    home, away = (edit_both_ways(editors, s, i, judge, attributes, n, device) for s, i in ((faces, index), (lfw[0], np.arange(len(lfw[0])))))
    return drop_rows(home, away, judge), away


def lfw_pairs(networks: dict[str, list[Judge]], lfw: Lfw, faces: FaceSet, index: np.ndarray, judge: Judge) -> tuple[list[dict], pd.DataFrame]:
    """Verification of LFW's pairs, and the judge's share of smiles there and among the test faces `index`. Returns (metric rows, ROC curves);
    without LFW one row that says so, and no curve."""
    if lfw is None:
        return not_run("Fig. 11", "LFW", "auc"), pd.DataFrame()
    there, folds = lfw
    result = compare(networks, there, np.arange(len(there)), in_folds(there.identities, folds))
    return rows(result, "Fig. 11", "LFW", f"LFW View 2, {len(folds)} of 10 folds") + share_rows(judge, faces, index, there), curves(result)


# ------------------------------------------------------------------------------------------------ pictures


def triples(edit: Callable, faces: FaceSet, index: np.ndarray, attributes, method: str, k: int = 8, n: int = 200, device="cpu"):
    """What the networks are trained on. Returns (Figure: the image, and per attribute its versions without and with it, for the first k of
    a seeded choice of training images; metric rows own_label_l1 on n of them: how far the version with the own label is from the image)."""
    chosen = np.random.default_rng([SEED, 6]).permutation(index)[:n]
    x, lines, out = as_images(faces, chosen), [], []
    for a in attributes:
        parts = [[edit(a, p.to(device), target).image.cpu() for p in x.split(64)] for target in (0, 1)]
        versions = [torch.cat(p) for p in parts]
        short = a.replace("_", " ")
        pictures = {"image": x, f"{short}\nremoved": versions[0], f"{short}\nadded": versions[1]}
        lines += [(name, list(figures.pixels(v[:k]))) for name, v in pictures.items() if v is not x or not lines]
        has = torch.from_numpy(faces.column(a)[chosen]).bool()[:, None, None, None]
        value = mean(l1(torch.where(has, versions[1], versions[0]), x))
        protocol = "training faces edited towards the own label, [0, 1] scale"
        out.append(metrics.row("Fig. 8", a, method, "own_label_l1", value, protocol))
    return figures.montage(lines, [""] * min(k, len(x))), out


def lfw_grid(samples: list[Sample], k: int = 4) -> Figure:
    """Per attribute a block of rows: LFW faces, then every method's edits; k given the attribute, k relieved of it."""
    lines = []
    for a in dict.fromkeys(s.attribute for s in samples):
        ways = [s for s in samples if s.attribute == a]
        lines.append((a.replace("_", " "), [p for s in ways for p in figures.pixels(s.x[:k])]))
        lines += [(m, [p for s in ways for p in figures.pixels(s.edited[m][:k])]) for m in ways[0].edited]
    return figures.montage(lines, [word for word in ("add", "remove") for _ in range(k)])


GRID = np.geomspace(1e-4, 1, 121)


def curves(result: Result) -> pd.DataFrame:
    """The ROC curve of every arm on a logarithmic grid of false positive rates: columns arm, fpr, tpr (mean over seeds)."""
    out = []
    for arm, scores in result.scores.items():
        drawn = []
        for s in scores:
            fpr, tpr, _ = roc_curve(result.pairs.same, s, drop_intermediate=False)
            drawn.append(tpr[np.searchsorted(fpr, GRID, side="right") - 1])
        out.append(pd.DataFrame({"arm": arm, "fpr": GRID, "tpr": np.mean(drawn, axis=0)}))
    return pd.concat(out, ignore_index=True)


def roc_figure(drawn: pd.DataFrame, title: str) -> Figure:
    """ROC curves with a logarithmic axis of false positive rates; controls are dashed."""
    figure = Figure(figsize=(8.2, 4.2), layout="constrained")
    axis = figure.subplots()
    names = list(dict.fromkeys(drawn["arm"]))
    for name, colour in zip(names, sns.color_palette("colorblind", len(names)), strict=True):
        part = drawn[drawn["arm"] == name]
        control = name == COPIES or name.startswith("own label only")
        colour = "black" if name == PLAIN else colour
        axis.plot(part["fpr"], part["tpr"], "--" if control else "-", color=colour, lw=1.4, label=name.replace("_", " "))
    axis.set(xscale="log", xlim=(GRID[0], 1), ylim=(0, 1), xlabel="false positive rate", ylabel="true positive rate", title=title)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(ax=axis)
    return figure

"""The one evaluation of every method: torchmetrics and lpips behind one vocabulary (results/README.md defines every name).

Images are (B, 3, S, S) in [-1, 1]; L1 figures are reported on the [0, 1] scale. Every value carries n and its protocol, and a 95 % interval
unless results/README.md says that it has none.
"""

import io
import pickle
import socket
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest, bootstrap
from torch import Tensor

from lib import synthetic
from lib.data import FaceSet, Split, to_uint8
from lib.data.regions import EYE_ATTRIBUTES, LOWER_FACE_ATTRIBUTES, MOUTH_ATTRIBUTES, attribute_box, region_source
from lib.data.splits import require_test_faces
from lib.evaluation.judges import Judge, as_images

SEED = 20_260_101  # of every bootstrap and every choice of test images
WITH_BOX = EYE_ATTRIBUTES + MOUTH_ATTRIBUTES + LOWER_FACE_ATTRIBUTES  # attributes of real faces that a landmark box belongs to
DIRECTIONS = ((1, "+"), (0, "-"))  # target label, sign in tables
# Verdicts that an edit of the key changes by definition; they do not count as unrelated.
ENTAILED = {
    "No_Beard": ("Goatee", "Mustache", "Sideburns"), "Goatee": ("No_Beard",), "Mustache": ("No_Beard",), "Sideburns": ("No_Beard",),
    "Black_Hair": ("Blond_Hair", "Brown_Hair", "Gray_Hair"), "Blond_Hair": ("Black_Hair", "Brown_Hair", "Gray_Hair"),
    "Brown_Hair": ("Black_Hair", "Blond_Hair", "Gray_Hair"), "Gray_Hair": ("Black_Hair", "Blond_Hair", "Brown_Hair"),
}  # fmt: skip


class Value(NamedTuple):
    """A figure with its 95 % interval and the number of images behind it."""

    value: float
    ci_low: float
    ci_high: float
    n: int


def mean(samples: np.ndarray) -> Value:
    """Mean over images (n,), percentile bootstrap over images with 2,000 resamples. Non-finite samples raise ValueError."""
    samples = np.asarray(samples, float)
    if not np.isfinite(samples).all():
        raise ValueError("a mean over images with a value that is not finite")
    if len(samples) < 2 or np.ptp(samples) == 0:
        value = float(samples.mean()) if len(samples) else float("nan")
        return Value(value, value, value, len(samples))
    ci = bootstrap((samples,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(SEED), batch=200).confidence_interval
    return Value(float(samples.mean()), float(ci.low), float(ci.high), len(samples))


def ratio(own: np.ndarray, *others: np.ndarray) -> Value:
    """Mean of `own` (n,) over the mean of the other (the smallest, where there are several), of the same n images: percentile bootstrap over
    images, paired, with 2,000 resamples. No interval (nan) for a single image. A mean of 0 below the line counts as 1e-12."""

    def of_means(a, *rest, axis):
        return a.mean(axis) / np.maximum(np.minimum.reduce([r.mean(axis) for r in rest]), 1e-12)

    data = tuple(np.asarray(v, float) for v in (own, *others))
    value = float(of_means(*data, axis=0))
    if len(own) < 2:
        return Value(value, float("nan"), float("nan"), len(own))
    rng = np.random.default_rng(SEED)
    ci = bootstrap(data, of_means, paired=True, vectorized=True, n_resamples=2000, method="percentile", rng=rng, batch=200).confidence_interval
    return Value(value, float(ci.low), float(ci.high), len(own))


def proportion(hits: np.ndarray) -> Value:
    """Share of True among (n,) verdicts, Wilson interval."""
    hits = np.asarray(hits, bool)
    return wilson(int(hits.sum()), len(hits))


def wilson(hits: int, n: int) -> Value:
    """`hits` of `n` as a share with its Wilson interval."""
    if not n:
        return Value(float("nan"), float("nan"), float("nan"), 0)
    ci = binomtest(hits, n).proportion_ci(method="wilson")
    return Value(hits / n, float(ci.low), float(ci.high), n)


def _gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return features.mean(0), np.cov(features, rowvar=False)


def frechet_value(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance between Gaussians fitted to features (n, d) and (m, d), without an interval."""
    (m1, c1), (m2, c2) = _gaussian(a), _gaussian(b)
    # tr sqrt(C1 C2) as the sum of the root eigenvalues of C1 C2, which are real and not negative but for rounding
    cross = np.sqrt(np.linalg.eigvals(c1 @ c2).real.clip(0)).sum()
    return float(np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2) - 2 * cross)


def frechet(a: np.ndarray, b: np.ndarray, resamples: int = 50) -> Value:
    """Frechet distance between Gaussians fitted to features (n, d) and (m, d); interval from a bootstrap over both sets, shifted so that it
    is centred on the value (resampling biases the distance upwards). n is the smaller set."""
    value, rng = frechet_value(a, b), np.random.default_rng(SEED)
    draws = [frechet_value(a[rng.integers(len(a), size=len(a))], b[rng.integers(len(b), size=len(b))]) for _ in range(resamples)]
    low, high = np.quantile(draws, [0.025, 0.975]) - np.mean(draws) + value
    return Value(value, max(0.0, float(low)), float(high), min(len(a), len(b)))


def _unit(x: Tensor) -> Tensor:
    return ((x + 1) / 2).clamp(0, 1)


def psnr(a: Tensor, b: Tensor) -> np.ndarray:
    """(B,) peak signal-to-noise ratio in dB, peak 2 (the range of [-1, 1]); equal images are capped at 100 dB."""
    from torchmetrics.functional.image import peak_signal_noise_ratio  # torchmetrics is slow to import, as lpips is

    error = (a - b).square().flatten(1).mean(1).clamp_min(4e-10)
    return peak_signal_noise_ratio(error.sqrt()[:, None], torch.zeros(len(a), 1), data_range=2.0, dim=1, reduction="none").numpy()


def ssim(a: Tensor, b: Tensor) -> np.ndarray:
    """(B,) structural similarity on the [0, 1] scale (it is not the same on [-1, 1]), torchmetrics' Gaussian window, sigma 1.5."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    return structural_similarity_index_measure(_unit(a), _unit(b), data_range=1.0, reduction="none").reshape(len(a)).numpy()


def l1(a: Tensor, b: Tensor, where: Tensor | None = None) -> np.ndarray:
    """(B,) mean absolute difference over colours and the pixels `where` (B, 1, S, S) is True (all if None), on the [0, 1] scale.
    An image with no such pixel contributes 0."""
    change = (a - b).abs().mean(1, keepdim=True) / 2
    if where is None:
        return change.flatten(1).mean(1).numpy()
    return ((change * where).flatten(1).sum(1) / where.flatten(1).sum(1).clamp_min(1)).numpy()


def iou(mask: Tensor, region: Tensor) -> np.ndarray:
    """(B,) intersection over union of two boolean (B, 1, S, S); 1 where both are empty."""
    inter, union = (mask & region).flatten(1).sum(1), (mask | region).flatten(1).sum(1)
    return torch.where(union > 0, inter / union.clamp_min(1), 1.0).numpy()


# ---------------------------------------------------------------------------------------------- networks that need weights from elsewhere


@contextmanager
def _quick_and_quiet():
    """Downloads give up after 5 seconds without an answer and say nothing: their messages name folders of this machine."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(5)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        socket.setdefaulttimeout(before)


# no network, a broken download, a damaged cached file, a missing package
UNREADABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, HTTPException, ModuleNotFoundError)


def _unavailable(error: Exception) -> str:
    return f"unavailable: ImageNet weights are neither cached nor reachable ({type(error).__name__})"


@cache
def lpips_network() -> torch.nn.Module | str:
    """LPIPS with AlexNet, or 'unavailable: why' where its weights are neither cached nor to be had within seconds."""
    import lpips  # not above: it takes ten seconds, torchvision's models and torch's compiler with it, and most pages need none

    try:
        with _quick_and_quiet():
            return lpips.LPIPS(net="alex", verbose=False).eval()
    except UNREADABLE as error:
        return _unavailable(error)


@cache
def inception() -> tuple | str:
    """torchmetrics' FrechetInceptionDistance and InceptionScore, their networks loaded once, or 'unavailable: why'."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore

    try:
        with _quick_and_quiet():
            return FrechetInceptionDistance(normalize=True), InceptionScore(normalize=True)
    except UNREADABLE as error:
        return _unavailable(error)


def lpips_distance(a: Tensor, b: Tensor) -> np.ndarray | str:
    """(B,) LPIPS (AlexNet), or 'unavailable: why'. Images below 64 pixels are enlarged to 64, which AlexNet needs."""
    net = lpips_network()
    if isinstance(net, str):
        return net
    if a.shape[-1] < 64:
        a, b = (torch.nn.functional.interpolate(t, size=64, mode="bilinear") for t in (a, b))
    with torch.no_grad():
        return torch.cat([net(x, y).flatten() for x, y in zip(a.split(64), b.split(64), strict=True)]).numpy()


def fid(edited: Tensor, real: Tensor) -> float | str:
    """FID (torchmetrics, Inception pool 2048), or 'unavailable: why'. Biased upwards at small n; no interval."""
    both = inception()
    if isinstance(both, str):
        return both
    metric = both[0]
    metric.reset()
    for part, is_real in ((real, True), (edited, False)):
        for x in part.split(64):
            metric.update(_unit(x), real=is_real)
    return float(metric.compute())


def inception_score(edited: Tensor) -> float | str:
    """Inception Score (torchmetrics, 10 splits), or 'unavailable: why'."""
    both = inception()
    if isinstance(both, str):
        return both
    metric = both[1]
    metric.reset()
    for x in edited.split(64):
        metric.update(_unit(x))
    return float(metric.compute()[0])


# ---------------------------------------------------------------------------------------------- one edit, all figures


@dataclass
class Edited:
    """The test faces of one attribute and direction, and what a method made of them. All tensors on the CPU.

    index (n,) rows of the FaceSet; x, y: input and edit; mask: (n, 1, S, S) in [0, 1] or None; region: the pixels the edit may touch;
    truth: the exact counterfactual or None; real: faces that have the target label; ms: milliseconds per image of the edit.
    """

    attribute: str
    target: int
    index: np.ndarray
    x: Tensor
    y: Tensor
    mask: Tensor | None
    region: Tensor
    region_source: str
    truth: Tensor | None
    real: Tensor
    ms: float

    @property
    def row(self) -> str:
        return f"{self.attribute} {'+' if self.target else '-'}"


def test_index(faces: FaceSet, split: Split, attribute: str, label: int, n: int) -> np.ndarray:
    """At most n test faces with that label: the same seeded choice for every method."""
    have = split.test[faces.column(attribute)[split.test] == label]
    return np.sort(np.random.default_rng([SEED, label]).permutation(have)[:n])


test_index.__test__ = False


def region_of(faces: FaceSet, index: np.ndarray, attribute: str) -> tuple[Tensor, str]:
    """(n, 1, S, S) bool: the pixels an edit may touch, exact on synthetic faces, a landmark box on real ones (the whole picture for an attribute
    that has none, as Male); and where it comes from."""
    if faces.faces is not None:
        parts = [synthetic.region(faces.faces[torch.from_numpy(i)], attribute, faces.size) for i in _chunks(index)]
        return torch.cat(parts), "exact region of the counterfactual"
    if attribute not in WITH_BOX:
        return torch.ones(len(index), 1, faces.size, faces.size, dtype=torch.bool), "the whole picture, for want of a landmark region"
    return attribute_box(faces, index, attribute), f"box around {region_source(faces)}"


def counterfactuals(faces: FaceSet, index: np.ndarray, attribute: str, target: int) -> Tensor | None:
    """(n, 3, S, S): the same synthetic faces drawn with the attribute set to target, else equal. None for real faces."""
    if faces.faces is None:
        return None
    draw = [synthetic.render(synthetic.counterfactual(faces.faces[torch.from_numpy(i)], attribute, target), faces.size) for i in _chunks(index)]
    # test faces come from a uint8 cache, so their counterfactuals are rounded as such a cache would
    return torch.from_numpy(to_uint8(torch.cat(draw))).float() / 127.5 - 1


def _chunks(index: np.ndarray, size: int = 64) -> list[np.ndarray]:
    return [index[i : i + size] for i in range(0, len(index), size)]


def apply(edit: Callable, faces: FaceSet, split: Split, attribute: str, target: int, n: int, device="cpu") -> Edited:
    """Edit at most n test faces whose label is not the target. edit: (attribute, x, target) -> object with .image and .mask.

    Raises DataError if the test split has fewer than two faces of either label.
    """
    require_test_faces(faces, split, attribute)
    index = test_index(faces, split, attribute, 1 - target, n)
    have = test_index(faces, split, attribute, target, n)
    x = as_images(faces, index)
    y, mask, ms = run_edit(edit, attribute, x, target, device)
    region, source = region_of(faces, index, attribute)
    truth = counterfactuals(faces, index, attribute, target)
    return Edited(attribute, target, index, x, y, mask, region, source, truth, as_images(faces, have), ms)


def run_edit(edit: Callable, attribute: str, x: Tensor, target: int, device="cpu") -> tuple[Tensor, Tensor | None, float]:
    """Edit faces x (n, 3, S, S) in batches of 64: (edited faces, masks or None, milliseconds per image), tensors on the CPU."""
    results, seconds = [], 0.0
    for part in x.split(64):
        began = time.perf_counter()
        result = edit(attribute, part.to(device), target)
        results.append((result.image.cpu(), None if result.mask is None else result.mask.cpu()))
        seconds += time.perf_counter() - began
    masks = None if results[0][1] is None else torch.cat([m for _, m in results])
    return torch.cat([y for y, _ in results]), masks, 1000 * seconds / len(x)


def row(table: str, row: str, column: str, metric: str, value: Value | float | str, protocol: str, n: int = 0) -> dict:
    """One line of metrics.csv. value: with interval, a number (n images), or 'unavailable: why', which becomes an empty value and the protocol."""
    base = {"table": table, "row": row, "column": column, "metric": metric, "protocol": protocol}
    if isinstance(value, str):  # "unavailable: why"
        return base | {"value": None, "n": n, "protocol": value}
    if not isinstance(value, Value):
        value = Value(value, float("nan"), float("nan"), n)
    return base | value._asdict()


def rows(
    e: Edited, faces: FaceSet, judge: Judge, identity: Judge, table: str, method: str, device="cpu", references: bool = True
) -> list[dict]:  # fmt: skip
    """All metric rows of one edit: the method's column, the unedited floor and, on synthetic faces, the exact counterfactual as ceiling.
    references: False leaves floor and ceiling out, where another method's rows on the same faces have them."""
    # labels decide which faces are edited; the judge decides what they look like
    assert (faces.column(e.attribute)[e.index] == 1 - e.target).all()
    where = f"{faces.size}x{faces.size}, judge {judge.id}"
    versions = {"unedited": e.x, method: e.y} | ({"counterfactual": e.truth} if e.truth is not None else {})
    if not references:
        versions = {method: e.y}
    others = [a for a in judge.trusted() if a != e.attribute and a not in ENTAILED.get(e.attribute, ())]
    columns = [judge.names.index(a) for a in others]
    before = judge.probabilities(e.x) > 0.5
    real = judge.features(e.real)
    anchor, out = identity.embed(e.x), []

    def put(column, metric, value, protocol):
        out.append(row(table, e.row, column, metric, value, protocol, len(e.x)))

    for column, y in versions.items():
        after = judge.probabilities(y) > 0.5
        hit = proportion(after[:, judge.names.index(e.attribute)] == bool(e.target))
        put(column, "edit_success", hit, f"judge sees the target, {where}")
        if column == "unedited":
            put(method, "unedited_floor", hit, f"judge sees the target in the unedited faces, {where}")
        kept = mean((after == before)[:, columns].mean(1)) if others else "unavailable: the judge is to be trusted on no other attribute"
        put(column, "unrelated_kept", kept, f"share of {len(others)} other verdicts unchanged: {', '.join(others)}; {where}")
        put(column, "identity_cosine", mean((identity.embed(y) * anchor).sum(1)), f"to the input, judge {identity.id}")
        near = frechet(judge.features(y), real)
        put(column, "frechet_judge", near, f"to {len(real)} real test faces that have the target, pooled features, {where}")
        if column != "unedited":
            put(column, "change_inside_l1", mean(l1(y, e.x, e.region)), f"[0, 1] scale, region: {e.region_source}")
            if not e.region.all():
                put(column, "change_outside_l1", mean(l1(y, e.x, ~e.region)), f"[0, 1] scale, outside: {e.region_source}")
            put(column, "psnr", mean(psnr(y, e.x)), "to the input, peak 2, at most 100 dB")
            put(column, "ssim", mean(ssim(y, e.x)), "to the input")
        if column != "counterfactual" and e.truth is not None:
            put(column, "counterfactual_psnr", mean(psnr(y, e.truth)), "to the exact counterfactual, peak 2")
            near = lpips_distance(y, e.truth)
            put(column, "counterfactual_lpips", near if isinstance(near, str) else mean(near), "to the exact counterfactual, AlexNet")
    distance = lpips_distance(e.y, e.x)
    put(method, "lpips", distance if isinstance(distance, str) else mean(distance), "to the input, AlexNet")
    put(method, "fid", fid(e.y, e.real), f"to {len(e.real)} real test faces that have the target")
    put(method, "is", inception_score(e.y), "edited faces")
    put(method, "ms_per_image", e.ms, f"wall time of the edit on {device}, batches of 64, warm-up included")
    return out + mask_rows(e, table, method)


def mask_rows(e: Edited, table: str, method: str) -> list[dict]:
    """Statistics of an attention mask, one direction; nothing for a method without one."""
    if e.mask is None:
        return []
    figures = {"mask_mean": (mean(e.mask.flatten(1).mean(1).numpy()), "mean of b")}
    figures["mask_share"] = (mean(share(e.mask, 0.1)), "share of pixels with b > 0.1")
    figures["mask_saturated"] = (mean(share(e.mask, 0.9)), "share of pixels with b > 0.9")
    figures["mask_roi_mass"] = (mean(roi_mass(e.mask, e.region)), f"share of the mask's mass in: {e.region_source}")
    if e.truth is not None:
        figures["mask_iou"] = (mean(iou(e.mask > 0.1, e.region)), "b > 0.1 against the exact region of the counterfactual")
    return [row(table, e.row, method, k, v, p) for k, (v, p) in figures.items()]


def share(mask: Tensor, threshold: float) -> np.ndarray:
    """(n,) share of each mask's pixels above the threshold."""
    return (mask > threshold).float().flatten(1).mean(1).numpy()


def roi_mass(mask: Tensor, region: Tensor) -> np.ndarray:
    """(n,) share of each mask's mass inside the region; 0 for an empty mask."""
    inside, total = (mask * region).flatten(1).sum(1), mask.flatten(1).sum(1)
    return torch.where(total > 0, inside / total.clamp_min(1e-12), 0.0).numpy()


def own_label_rows(edit: Callable, faces: FaceSet, split: Split, attributes, n: int, table: str, method: str, device="cpu") -> list[dict]:
    """Edits of the same n test faces towards the label they have already: how far the image moves (own_label_l1) and, for a method with
    masks, where they lie and how their sizes compare between attributes, paired by face."""
    index = np.sort(np.random.default_rng([SEED, 2]).permutation(split.test)[:n])
    x, out, size = as_images(faces, index), [], {}
    for a in attributes:
        label = torch.from_numpy(faces.column(a)[index]).float()[:, None]
        parts = [edit(a, p.to(device), c.to(device)) for p, c in zip(x.split(64), label.split(64), strict=True)]
        y = torch.cat([p.image.cpu() for p in parts])
        out.append(row(table, a, method, "own_label_l1", mean(l1(y, x)), "edit towards the own label, [0, 1] scale"))
        if parts[0].mask is not None:
            mask = torch.cat([p.mask.cpu() for p in parts])
            region, source = region_of(faces, index, a)
            size[a] = share(mask, 0.1)
            out.append(row(table, a, method, "mask_share", mean(size[a]), "share of pixels with b > 0.1"))
            inside = mean(roi_mass(mask, region))
            out.append(row(table, a, method, "mask_roi_mass", inside, f"share of the mask's mass in: {source}"))
    for a, b in combinations(size, 2):
        difference = mean(size[b] - size[a])
        out.append(row(table, f"{b} - {a}", method, "mask_share difference", difference, "share of pixels with b > 0.1, paired by face"))
    return out


def judge_rows(judge: Judge, identity: Judge) -> list[dict]:
    """The judges' own scores on held-out real faces, as metric rows of the table `judges`."""
    out = []
    for _, r in judge.scores.iterrows():
        n = int(r["n"])
        figures = {"accuracy": wilson(round(r["accuracy"] * n), n), "balanced_accuracy": r["balanced_accuracy"], "majority_rate": r["majority_rate"]}
        if np.isnan(r["balanced_accuracy"]):
            figures["balanced_accuracy"] = "unavailable: the test split holds only one of its two values"
        out += [row("judges", r["attribute"], f"judge {judge.id}", f"judge_{k}", v, "test split", n) for k, v in figures.items()]
    r = identity.scores.iloc[0]
    pairs = f"verification of unseen identities: {int(r['genuine'])} genuine, {int(r['impostor'])} impostor pairs"
    out.append(row("judges", "identity", f"judge {identity.id}", "auc", float(r["auc"]), pairs, int(r["n"])))
    return out


def cost_rows(record: dict, method: str) -> list[dict]:
    """What a method's training cost, from its run.json: images seen by each of its updates, seconds, cycles per second (the table `training`)."""
    stages = record["stages"].values()
    cycles, seconds = sum(s["cycles"] for s in stages), sum(s["seconds"] for s in stages)
    seen = [row("training", update, method, "images_seen", float(n), "over all its models") for update, n in record["images_seen"].items()]
    where = record["trained"]["hardware"]
    device = f"{where.get('gpu', where['cpu'])}, {where['threads']} threads"
    cost = {"train_seconds": (seconds, f"on {device}"), "iterations_per_second": (cycles / seconds, f"cycles of all its updates, on {device}")}
    return seen + [row("training", "all", method, k, float(v), p) for k, (v, p) in cost.items()]


def summary(rows: pd.DataFrame, method: str) -> str:
    """One sentence on a method's edits, its numbers taken from the rows."""
    r = rows[(rows["metric"] == "edit_success") & (rows["column"] == method)]
    best, least = r.loc[r["value"].idxmax()], r.loc[r["value"].idxmin()]
    return (
        f"{method}: edit success from {100 * least['value']:.0f} % ({least['row']}, n = {least['n']}) to {100 * best['value']:.0f} % "
        f"({best['row']}, n = {best['n']}) over {len(r)} attribute directions."
    )


def evaluate(edit: Callable, faces: FaceSet, split: Split, judge: Judge, identity: Judge, attributes, n: int, table: str, method: str, device="cpu"):
    """Both directions of every attribute. Returns (metric rows, {(attribute, target): Edited})."""
    edits = {(a, t): apply(edit, faces, split, a, t, n, device) for a in attributes for t, _ in DIRECTIONS}
    return [r for e in edits.values() for r in rows(e, faces, judge, identity, table, method, device)], edits



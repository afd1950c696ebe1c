"""The one evaluation of every method: a table with a line per edited face, and its means, differences and ratios.

results/README.md defines every name. Images are (B, 3, S, S) in [-1, 1]; L1 figures are on the [0, 1] scale. Values
carry n, their protocol and a 95 % interval, clustered by person, unless results/README.md says that they have none."""

from collections.abc import Callable
from operator import sub
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from scipy.stats import t as student
from torch import Tensor

from lib.claims import SHARES
from lib.data import FaceSet, Split
from lib.evaluation.edits import SEED, Edited, Seen, judged, region_of, run_edit
from lib.evaluation.judges import Judges, as_images
from lib.evaluation.pretrained import fid, inception_score, lpips_distance

RESAMPLES = 2_000
# Verdicts that an edit of the key changes by definition; they do not count as unrelated.
ENTAILED = {
    "No_Beard": ("Goatee", "Mustache", "Sideburns"), "Goatee": ("No_Beard",), "Mustache": ("No_Beard",), "Sideburns": ("No_Beard",),
    "Black_Hair": ("Blond_Hair", "Brown_Hair", "Gray_Hair"), "Blond_Hair": ("Black_Hair", "Brown_Hair", "Gray_Hair"),
    "Brown_Hair": ("Black_Hair", "Blond_Hair", "Gray_Hair"), "Gray_Hair": ("Black_Hair", "Blond_Hair", "Brown_Hair"),
}  # fmt: skip
PROTOCOLS = {  # what a measure of `per_face` says of itself
    "edit_success": "both judges see the target",
    "edit_success_a": "judge a sees the target",
    "edit_success_b": "judge b sees the target",
    "judges_disagree": "one judge sees the target, the other does not",
    "success_blurred": "both judges see the target after a mild blur",
    "unrelated_kept": "share of the other trusted attributes whose verdict stays, mean of both judges",
    "identity_cosine": "to the input, identity network",
    "identity_kept": "cosine to the input above that of 99 % of the impostor pairs",
    "change_inside_l1": "[0, 1] scale, in the region",
    "change_outside_l1": "[0, 1] scale, outside the region",
    "psnr": "to the input, peak 2, at most 100 dB",
    "ssim": "to the input",
    "sharpness": "gradient energy over the input's",
    "counterfactual_psnr": "to the exact counterfactual, peak 2",
    "counterfactual_gain": "nearer to the exact counterfactual than the input was: L1 in the region",
    "counterfactual_gain_db": "squared error to the exact counterfactual in the region, before over after, in dB (at most 40)",
    "mask_mean": "mean of the mask",
    "mask_share": "share of pixels with a mask above 0.1",
    "mask_saturated": "share of pixels with a mask above 0.9",
    "mask_roi_mass": "share of the mask's mass in the region",
    "mask_iou": "mask above 0.1 against the exact region of the counterfactual",
}


# ------------------------------------------------------------------------------------------------ values with intervals


class Value(NamedTuple):
    """A figure with its 95 % interval and the number of images behind it."""

    value: float
    ci_low: float
    ci_high: float
    n: int


def mean(samples: np.ndarray, people: np.ndarray | None = None) -> Value:
    """Mean over images (n,), bootstrapped as `ratio_of`. Non-finite samples raise ValueError."""
    samples = np.asarray(samples, float)
    if not np.isfinite(samples).all():
        raise ValueError("a mean over images with a value that is not finite")
    if len(samples) < 2 or np.ptp(samples) == 0:
        value = float(samples.mean()) if len(samples) else float("nan")
        return Value(value, value, value, len(samples))
    return ratio_of(samples, np.ones_like(samples), people=people)


def over_seeds(values: np.ndarray, share: bool = False) -> Value:
    """Mean over n seeds with its 95 % t interval, of a share within 0 and 1; a single seed has none (nan)."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return Value(float(values[0]), float("nan"), float("nan"), 1)
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    low, high = np.clip([values.mean() - half, values.mean() + half], *((0, 1) if share else (-np.inf, np.inf)))
    return Value(float(values.mean()), float(low), float(high), len(values))


def ratio_of(own: np.ndarray, *others: np.ndarray, people: np.ndarray | None = None) -> Value:
    """Mean of `own` (n,) over the mean of the other (the smallest, where there are several), of the same n images:
    percentile bootstrap over people (images, if None), paired, 2,000 resamples. No interval (nan) for a single image,
    nan for none. A mean of 0 below the line counts as 1e-12."""
    data = [np.asarray(v, float) for v in (own, *others)]
    if not len(own):
        return mean(data[0])
    value = float(data[0].mean() / max(min(d.mean() for d in data[1:]), 1e-12))
    if len(own) < 2:
        return Value(value, float("nan"), float("nan"), len(own))
    if people is not None:  # a resample draws people, each with all its images
        _, place = np.unique(people, return_inverse=True)
        data = [np.bincount(place, samples) for samples in data]
    n = len(data[0])
    drawn = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)  # how often each
    top, *below = (drawn @ samples for samples in data)
    low, high = np.quantile(top / np.maximum(np.minimum.reduce(below), 1e-12), [0.025, 0.975])
    return Value(value, float(low), float(high), len(own))


def proportion(hits: np.ndarray, people: np.ndarray | None = None) -> Value:
    """Share of True among (n,) verdicts; Wilson interval for as many independent cases as people (images, if None)."""
    hits = np.asarray(hits, bool)
    return wilson(int(hits.sum()), len(hits), len(np.unique(people)) if people is not None else None)


def wilson(hits: int, n: int, independent: int | None = None) -> Value:
    """`hits` of `n` as a share with its Wilson interval. independent: cases that the interval counts, if under n."""
    if not n:
        return Value(float("nan"), float("nan"), float("nan"), 0)
    k = min(n, independent or n)
    ci = binomtest(round(hits * k / n), k).proportion_ci(method="wilson")
    return Value(hits / n, min(float(ci.low), hits / n), max(float(ci.high), hits / n), n)


def apart(a: Value, b: Value) -> Value:
    """The difference of two shares of different faces, with Newcombe's interval from their Wilson intervals."""
    gap = a.value - b.value
    low, high = np.hypot(a.value - a.ci_low, b.ci_high - b.value), np.hypot(a.ci_high - a.value, b.value - b.ci_low)
    return Value(gap, gap - float(low), gap + float(high), min(a.n, b.n))


def frechet_value(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance between Gaussians fitted to features (n, d) and (m, d), without an interval."""
    (m1, r1), (m2, r2) = ((f.mean(0), np.linalg.qr((f - f.mean(0)) / np.sqrt(len(f) - 1), mode="r")) for f in map(np.float64, (a, b)))
    # C = R^T R, so tr sqrt(C1 C2) is the sum of the singular values of R1 R2^T: a tenth of the time of its eigenvalues
    cross = np.linalg.svd(r1 @ r2.T, compute_uv=False).sum()
    return float(np.sum((m1 - m2) ** 2) + np.sum(r1**2) + np.sum(r2**2) - 2 * cross)


def frechet(a: np.ndarray, b: np.ndarray, resamples: int = 50) -> Value:
    """Frechet distance between Gaussians fitted to features (n, d) and (m, d); interval from a bootstrap over both
    sets, shifted so that it is centred on the value (resampling biases the distance upwards). n is the smaller set."""
    value, rng = frechet_value(a, b), np.random.default_rng(SEED)
    draws = [frechet_value(a[rng.integers(len(a), size=len(a))], b[rng.integers(len(b), size=len(b))]) for _ in range(resamples)]
    low, high = np.quantile(draws, [0.025, 0.975]) - np.mean(draws) + value
    return Value(value, max(0.0, float(low)), float(high), min(len(a), len(b)))


def frechet_difference(a: np.ndarray, b: np.ndarray, real: np.ndarray, resamples: int = 200, how: Callable = sub) -> Value:
    """Distance of a to real minus that of b (over it, with how = truediv), features of two methods' edits of the same
    faces (n, d); bootstrap over the faces (the same for both) and the real ones, shifted as in `frechet`."""
    value, rng, draws = how(frechet_value(a, real), max(frechet_value(b, real), 1e-12)), np.random.default_rng(SEED), []
    for _ in range(resamples):
        i, j = rng.integers(len(a), size=len(a)), rng.integers(len(real), size=len(real))
        draws.append(how(frechet_value(a[i], real[j]), max(frechet_value(b[i], real[j]), 1e-12)))
    low, high = np.quantile(draws, [0.025, 0.975]) - np.mean(draws) + value
    return Value(value, float(low), float(high), min(len(a), len(real)))


# ------------------------------------------------------------------------------------------------ pictures compared


def psnr(a: Tensor, b: Tensor) -> np.ndarray:
    """(B,) peak signal-to-noise ratio in dB, peak 2 (the range of [-1, 1]); equal images are capped at 100 dB."""
    return (10 * torch.log10(4 / (a - b).square().flatten(1).mean(1).clamp_min(4e-10))).numpy()


def ssim(a: Tensor, b: Tensor) -> np.ndarray:
    """(B,) structural similarity on the [0, 1] scale (not the same on [-1, 1]), Gaussian window of sigma 1.5."""
    from torchmetrics.functional.image import structural_similarity_index_measure  # torchmetrics is slow to import

    a, b = (((x + 1) / 2).clamp(0, 1) for x in (a, b))
    return structural_similarity_index_measure(a, b, data_range=1.0, reduction="none").reshape(len(a)).numpy()


def l1(a: Tensor, b: Tensor, where: Tensor | None = None) -> np.ndarray:
    """(B,) mean absolute difference over colours and the pixels `where` (B, 1, S, S) is True (all if None), on the
    [0, 1] scale. An image with no such pixel contributes 0."""
    change = (a - b).abs().mean(1, keepdim=True) / 2
    if where is None:
        return change.flatten(1).mean(1).numpy()
    return ((change * where).flatten(1).sum(1) / where.flatten(1).sum(1).clamp_min(1)).numpy()


def iou(mask: Tensor, region: Tensor) -> np.ndarray:
    """(B,) intersection over union of two boolean (B, 1, S, S); 1 where both are empty."""
    inter, union = (mask & region).flatten(1).sum(1), (mask | region).flatten(1).sum(1)
    return torch.where(union > 0, inter / union.clamp_min(1), 1.0).numpy()


def share(mask: Tensor, threshold: float) -> np.ndarray:
    """(n,) share of each mask's pixels above the threshold."""
    return (mask > threshold).float().flatten(1).mean(1).numpy()


def roi_mass(mask: Tensor, region: Tensor) -> np.ndarray:
    """(n,) share of each mask's mass inside the region; 0 for an empty mask."""
    inside, total = (mask * region).flatten(1).sum(1), mask.flatten(1).sum(1)
    return torch.where(total > 0, inside / total.clamp_min(1e-12), 0.0).numpy()


def gradient_energy(x: Tensor) -> np.ndarray:
    """(B,) mean squared difference of neighbouring pixels: blur lowers it, noise and chequerboards raise it."""
    return (x.diff(dim=2).square().flatten(1).mean(1) + x.diff(dim=3).square().flatten(1).mean(1)).numpy()


def gain_db(before: Tensor, after: Tensor, truth: Tensor, where: Tensor) -> np.ndarray:
    """(B,) squared error to the truth over the pixels `where`, of `before` over that of `after`, in dB, within +-40."""
    errors = [F.relu(((x - truth).square().mean(1, keepdim=True) * where).flatten(1).sum(1)).clamp_min(1e-8) for x in (before, after)]
    return (10 * torch.log10(errors[0] / errors[1])).clamp(-40, 40).numpy()


# ------------------------------------------------------------------------------------------------ the per-face table


def per_face(method: str, e: Edited, judges: Judges, after: Seen | None = None) -> pd.DataFrame:
    """One line per edited face: method, attribute, target, face, person, and the measures that PROTOCOLS describes and
    that apply (masks, counterfactuals). after: the judges' view of the edits, where it is known."""
    i, hit = judges.column(e.attribute), bool(e.target)
    before, after = e.case.seen("x", judges), after or judged(e.y, judges)
    a, b = (p[:, i] > 0.5 for p in (after.a, after.b))
    others = [judges.column(name) for name in judges.trusted if name != e.attribute and name not in ENTAILED.get(e.attribute, ())]
    kept = [((p > 0.5) == (q > 0.5))[:, others].mean(1) for p, q in ((after.a, before.a), (after.b, before.b))] if others else None
    cosine = (after.embedding * before.embedding).sum(1)
    columns = {
        "method": method,
        "attribute": e.attribute,
        "target": e.target,
        "face": e.index,
        "person": e.people,
        "edit_success": (a == hit) & (b == hit),
        "edit_success_a": a == hit,
        "edit_success_b": b == hit,
        "judges_disagree": a != b,
        "success_blurred": ((after.blurred_a[:, i] > 0.5) == hit) & ((after.blurred_b[:, i] > 0.5) == hit),
        "confidence": np.minimum(*(p[:, i] if hit else 1 - p[:, i] for p in (after.a, after.b))),
        **({"unrelated_kept": (kept[0] + kept[1]) / 2} if kept else {}),
        "identity_cosine": cosine,
        "identity_kept": cosine > judges.verification["impostor_99"],
        "change_inside_l1": l1(e.y, e.x, e.region),
        **({} if e.region.all() else {"change_outside_l1": l1(e.y, e.x, ~e.region)}),
        "psnr": psnr(e.y, e.x),
        "ssim": ssim(e.y, e.x),
        "sharpness": gradient_energy(e.y) / np.maximum(gradient_energy(e.x), 1e-8),
    }
    if e.truth is not None:
        columns["counterfactual_psnr"] = psnr(e.y, e.truth)
        columns["counterfactual_gain"] = l1(e.y, e.truth, e.region) < l1(e.x, e.truth, e.region)
        columns["counterfactual_gain_db"] = gain_db(e.x, e.y, e.truth, e.region)
    if e.mask is not None:
        columns["mask_mean"] = e.mask.flatten(1).mean(1).numpy()
        columns["mask_share"], columns["mask_saturated"] = share(e.mask, 0.1), share(e.mask, 0.9)
        columns |= {} if e.region.all() else {"mask_roi_mass": roi_mass(e.mask, e.region)}
        columns |= {} if e.truth is None else {"mask_iou": iou(e.mask > 0.1, e.region)}
    return pd.DataFrame(columns)


def row(table: str, row: str, column: str, metric: str, value: Value | float | str, protocol: str, n: int = 0) -> dict:
    """One line of metrics.csv. value: with interval, a number (n images), or 'unavailable: why', which becomes an
    empty value and the protocol."""
    base = {"table": table, "row": row, "column": column, "metric": metric, "protocol": protocol}
    if isinstance(value, str):
        return base | {"value": None, "n": n, "protocol": value}
    value = value if isinstance(value, Value) else Value(value, float("nan"), float("nan"), n)
    return base | value._asdict()


def value_of(frame: pd.DataFrame, measure: str) -> Value:
    """A measure over the lines of a per-face table: verdicts as a share with its Wilson interval, numbers as a mean."""
    samples, people = frame[measure], frame["person"].to_numpy()
    verdicts = measure in SHARES and samples.isin((0, 1)).all()  # whatever their type: a joined frame makes objects of them
    return proportion(samples, people) if verdicts else mean(samples, people)


def summary(frame: pd.DataFrame, table: str, protocol: str = "", measures: list[str] | None = None, protocols: dict | None = None) -> list[dict]:
    """Metric rows of a per-face table: one per (attribute and direction, method, measure), in the table's order.
    protocol: added to what each measure says of itself; protocols: what further measures say."""
    known = PROTOCOLS | (protocols or {})
    out = []
    for (attribute, target, method), part in frame.groupby(["attribute", "target", "method"], sort=False):
        for measure in measures or [c for c in part.columns if c in known]:
            if measure in part and part[measure].notna().all():
                words = ", ".join(filter(None, (known[measure], protocol)))
                out.append(row(table, f"{attribute} {'+' if target else '-'}", method, measure, value_of(part, measure), words))
    return out


def _pairs(frame: pd.DataFrame, methods: list[str], measure: str) -> tuple[list[np.ndarray], np.ndarray]:
    """The measure of several methods on the edits that all made, in one order; and the people. Empty if it lacks."""
    keys = ["attribute", "target", "face", "person"]
    of_all = frame[frame["method"].isin(methods)].reindex(columns=[*keys, "method", measure])
    wide = of_all.pivot_table(index=keys, columns="method", values=measure, aggfunc="first")
    wide = wide.reindex(columns=methods).dropna().reset_index()
    return [wide[m].to_numpy(float) for m in methods], wide["person"].to_numpy()


def difference(frame: pd.DataFrame, a: str, b: str, measure: str) -> Value:
    """Mean over faces of method a minus method b, for the edits that both made, paired by face. Narrow the frame
    first for one attribute. Verdicts that differ nowhere get the interval of no case among as many people."""
    (first, second), people = _pairs(frame, [a, b], measure)
    gap = mean(first - second, people)
    if measure in SHARES and len(first) and gap.ci_low == gap.ci_high:
        room = wilson(0, len(first), len(np.unique(people))).ci_high
        return Value(gap.value, gap.value - room, gap.value + room, gap.n)
    return gap


def ratio(frame: pd.DataFrame, own: str, others: list[str], measure: str) -> Value:
    """`ratio_of` a measure to those of other methods, for the edits that all made."""
    (first, *rest), people = _pairs(frame, [own, *others], measure)
    return ratio_of(first, *rest, people=people)


def compared(
    frame: pd.DataFrame, table: str, place: str, a: str, b: str, measures: tuple[str, ...],
    protocol: str = "paired by face", how: str = "difference",
) -> list[dict]:
    """Metric rows of what method a differs by from method b, paired by face: '<measure> difference' of the column
    'a - b', or with how = "ratio" '<measure> ratio' of 'a / b'."""
    column = f"{a} - {b}" if how == "difference" else f"{a} / {b}"
    values = {m: difference(frame, a, b, m) if how == "difference" else ratio(frame, a, [b], m) for m in measures}
    return [row(table, place, column, f"{m} {how}", value, protocol) for m, value in values.items()]


def distribution_rows(e: Edited, judges: Judges, table: str, method: str) -> list[dict]:
    """What only a set of edits has: Frechet distance on judge b's features to real faces with the target, FID, IS,
    LPIPS, and the edit's time."""
    real, near = e.case.seen("real", judges).features, f"to {len(e.real)} real test faces that have the target"
    distance = lpips_distance(e.y, e.x)
    put = {
        "frechet_judge": (frechet(judges.b.features(e.y), real), f"{near}, features of judge b"),
        "fid": (fid(e.y, e.real), near),
        "is": (inception_score(e.y), "edited faces"),
        "lpips": (distance if isinstance(distance, str) else mean(distance, e.people), "to the input, AlexNet"),
    }
    if np.isfinite(e.ms):
        put["ms_per_image"] = (e.ms, "processor time of the edit (on a GPU wall time), batches of 64")
    return [row(table, e.row, method, metric, value, words, len(e.y)) for metric, (value, words) in put.items()]


def own_label(edit: Callable, faces: FaceSet, split: Split, attribute: str, n: int, device: str = "cpu") -> pd.DataFrame:
    """Edits of n seeded test faces, the same for every attribute, towards the label they have already, one line a face:
    own_label_l1, and for a method with masks mask_share and mask_roi_mass."""
    index = np.sort(np.random.default_rng([SEED, 2]).permutation(split.test)[:n])
    x, label = as_images(faces, index), torch.from_numpy(faces.column(attribute)[index]).float()[:, None]
    y, mask, _ = run_edit(edit, attribute, x, label, device)
    columns = {"attribute": attribute, "face": index, "person": faces.identities[index], "own_label_l1": l1(y, x)}
    if mask is not None:
        region = region_of(faces, index, attribute)[0]
        columns |= {"mask_share": share(mask, 0.1)} | ({} if region.all() else {"mask_roi_mass": roi_mass(mask, region)})
    return pd.DataFrame(columns)


# ------------------------------------------------------------------------------------------------ judges and training, as rows


def judge_rows(judges: Judges) -> list[dict]:
    """The judges' own scores on unedited test faces, as metric rows of the table `judges`."""
    out, people = [], len(np.unique(judges.faces.identities[judges.split.test]))
    for r in judges.scores.itertuples():
        column, n = f"judge {r.judge}", int(r.n)
        balanced = r.balanced_accuracy if np.isfinite(r.balanced_accuracy) else "unavailable: the test split holds only one of its two values"
        out.append(row("judges", r.attribute, column, "judge_accuracy", wilson(round(r.accuracy * n), n, people), "unedited test faces"))
        out.append(row("judges", r.attribute, column, "judge_balanced_accuracy", balanced, "unedited test faces", n))
        out.append(row("judges", r.attribute, column, "judge_majority_rate", r.majority_rate, "unedited test faces", n))
    v = judges.verification
    pairs = f"verification of unseen people: {v['genuine']} genuine, {v['impostor']} impostor pairs"
    return out + [row("judges", "identity", "identity network", "auc", v["auc"], pairs, v["n"])]


def cost_rows(record: dict, method: str) -> list[dict]:
    """The table `training`: images seen by each update of a model and its processor seconds, from its model.json."""
    where = record["hardware"]
    device = f"{where.get('gpu', where['cpu'])}, {where['threads']} threads, {record['precision']}"
    seen = [row("training", update, method, "images_seen", float(n), "over all its stages") for update, n in record["images_seen"].items()]
    return seen + [row("training", "all", method, "processor_seconds", float(record["processor_seconds"]), f"on {device}")]

"""The flip protocol (StarGAN's and SG-GAN's evaluation): every test face is turned to the value that it does not have, and judged.

A *group* is one attribute c_j with two values, told by columns of the face set. An *edit* is (group's name, x, target) -> object
with `.image`; for several groups at once it takes tuples of names and targets. Beside what every method of the study is measured
by, this paper asks for three measures of the background's corner (D12), verdicts on unrelated groups, and the Inception score's
formula on a judge's classes. Measures of crops take (B, 3, S, S) in [-1, 1], compare in 0..255 and return (B,) float64.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from lib import synthetic
from lib.baselines import resgan, stargan
from lib.data.splits import enough_test_faces
from lib.evaluation import edits as editing
from lib.evaluation import measures
from lib.evaluation.edits import SEED, Case, Edited, Seen
from lib.evaluation.judges import as_images
from lib.evaluation.measures import row
from lib.pages import tables
from lib.papers.sggan.model import GROUPS, Group, groups_named, groups_of

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales: Wang, Simoncelli, Bovik 2003
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
WINDOW, SIGMA = 11, 1.5
CORNER, PRINTED_AT = 10, 128  # pixels at the side of the background crop (Sec. 4.3), and the size at which that was printed
Flips = dict[tuple[str, int], Case]  # (group's name, target value) -> the test faces that have the other value
SAY = {
    "background_a": "100 x MS-SSIM of the top-left 10x10 pixels, shrunken windows (A)",
    "background_b": "100 x SSIM of the top-left 10x10 pixels, 7x7 window (B)",
    "background_c": "mean absolute difference of the top-left 10x10 pixels, 0 to 255 (C)",
    "background_c_scaled": "C on the part of the picture that 10 pixels cover at 128",
    "unrelated_accuracy": "both judges see the labelled value of another group",
    "pale_change": "absolute change of the probability of Pale_Skin, mean of both judges",
    "skin_shift": "mean change of the skin outside the edit's own region, [0, 1] scale",
}
MEASURED = (
    "edit_success", "edit_success_a", "edit_success_b", "judges_disagree", "success_blurred", "counterfactual_gain",
    "counterfactual_gain_db", "unrelated_kept", "identity_cosine", "change_inside_l1", "change_outside_l1", "sharpness",
    *SAY,
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------- background


def _bytes(x: Tensor) -> Tensor:
    """(B, 3, S, S) in [-1, 1] -> (3 B, 1, S, S) float64 in 0..255, not rounded: one picture per colour."""
    return ((x.double() + 1) * 127.5).flatten(0, 1)[:, None]


def _similarity(a: Tensor, b: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM and mean contrast-structure term of each picture (P, 1, S, S), over the places where the whole window fits."""
    mean_a, mean_b, aa, bb, ab = (F.conv2d(t, window) for t in (a, b, a * a, b * b, a * b))
    cs = (2 * (ab - mean_a * mean_b) + C2) / (aa - mean_a**2 + bb - mean_b**2 + C2)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return (luminance * cs).mean((1, 2, 3)), cs.mean((1, 2, 3))


def _gaussian(side: int) -> Tensor:
    """The window that fits a picture of that side: at most 11x11, its sigma shrunk in proportion. (1, 1, k, k), sums to 1."""
    k = min(WINDOW, side)
    place = torch.arange(k, dtype=torch.float64) - (k - 1) / 2
    line = torch.exp(-(place**2) / (2 * (SIGMA * k / WINDOW) ** 2))
    return (line[:, None] * line / line.sum() ** 2)[None, None]


def msssim_adapt(a: Tensor, b: Tensor) -> np.ndarray:
    """(B,) MS-SSIM with windows that shrink with the picture: definition A. Identical crops give 1.

    Five scales, 2x2 means between them (an odd last row or column repeated). Per colour the product of the contrast
    terms of scales 1-4 (negative ones count as 0) and of the SSIM of scale 5, each to the power of its weight; then the
    mean of the colours. On 10x10 the scales have sides 10, 5, 3, 2, 1: the last one sees little but the mean colour.
    """
    one, two = _bytes(a), _bytes(b)
    product = one.new_ones(len(one))
    for scale, weight in enumerate(WEIGHTS):
        ssim, cs = _similarity(one, two, _gaussian(one.shape[-1]))
        product = product * (ssim if scale == len(WEIGHTS) - 1 else cs).clamp_min(0) ** weight
        odd = one.shape[-1] % 2
        one, two = (F.avg_pool2d(F.pad(t, (0, odd, 0, odd), mode="replicate"), 2) for t in (one, two))
    return product.view(len(a), 3).mean(1).numpy()


def ssim7(a: Tensor, b: Tensor) -> np.ndarray:
    """(B,) SSIM of one scale with a uniform 7x7 window (population variances), mean over places and colours: definition B."""
    ssim, _ = _similarity(_bytes(a), _bytes(b), torch.full((1, 1, 7, 7), 1 / 49, dtype=torch.float64))
    return ssim.view(len(a), 3).mean(1).numpy()


def crop_l1(a: Tensor, b: Tensor) -> np.ndarray:
    """(B,) mean absolute difference over pixels and colours in 0..255: definition C."""
    return (_bytes(a) - _bytes(b)).abs().view(len(a), -1).mean(1).numpy()


# ---------------------------------------------------------------------------------------------------- edits


def columns_of(groups: Iterable[Group]) -> tuple[str, ...]:
    """The face set's columns that the groups are told by, each once."""
    return tuple(dict.fromkeys(c for g in groups for c in (g.one, g.zero) if c))


def attribute_of(group: Group, value: float) -> tuple[str, int]:
    """The column, and its label, that a group's value is told by: hair 0 is ("Black_Hair", 1), gender 0 ("Male", 0)."""
    if group.zero:
        return (group.one if value > 0.5 else group.zero), 1
    return group.one, int(value > 0.5)


def one_by_one(names, targets) -> list[tuple[str, float]]:
    """[(group's name, target)] of one edit, or of several."""
    return [(names, targets)] if isinstance(names, str) else list(zip(names, targets, strict=True))


def by_labels(study, name: str) -> Callable:
    """StarGAN's edit: judge a's verdicts on the face, in which the edited groups are set, all at once."""
    columns, nets = stargan.attributes_of(study.jobs[name].cfg), study.nets(name)
    places = [study.judges.column(c) for c in columns]

    def apply(names, x: Tensor, targets):
        c = torch.from_numpy(study.judges.a.probabilities(x)[:, places] > 0.5).to(x)
        for group, value in one_by_one(names, targets):
            column, label = attribute_of(GROUPS[group], value)
            c = stargan.changed_labels(c, columns, column, float(label))
        return stargan.edit(nets, x, c)

    return apply


def by_models(nets: dict[str, resgan.Nets]) -> Callable:
    """ResidualGAN's edit: a model for every group, several groups one after the other."""

    def apply(names, x: Tensor, targets):
        for group, value in one_by_one(names, targets):
            out = resgan.edit(nets[group], x, value)
            x = out.image
        return out

    return apply


def exact(study, i: int) -> Callable:
    """The edit that knows the answer: drawn face i, drawn again with other values."""

    def apply(names, x: Tensor, targets):
        face = study.faces.faces[torch.tensor([i])]
        for group, value in one_by_one(names, targets):
            face = synthetic.counterfactual(face, *attribute_of(GROUPS[group], value))
        return stargan.Edit(synthetic.render(face, study.faces.size).to(x))

    return apply


def both_values(plan, group: Group) -> list[np.ndarray]:
    """The test faces with value 0 of a group and those with value 1, in seeded order. DataError under two."""
    faces, split, labels = plan.faces, plan.split, group.labels(plan.faces)
    have = [enough_test_faces(faces, split, labels == v, 2, f"value {v} of {group.name}") for v in (0, 1)]
    return [np.random.default_rng([SEED, v]).permutation(rows) for v, rows in enumerate(have)]


def cases_of(study, groups: Iterable[Group]) -> Flips:
    """The test faces of both directions of every group, equally many, for every method the same. Errors as `both_values`."""
    faces, out = study.faces, {}
    for group in groups:
        have = both_values(study, group)
        k = min(study.settings.test_images, *map(len, have))
        for value in (1, 0):
            index, (column, label) = np.sort(have[1 - value][:k]), attribute_of(group, value)
            region, source = editing.region_of(faces, index, column)
            truth = editing.counterfactuals(faces, index, column, label)
            x, real = as_images(faces, index), as_images(faces, np.sort(have[value][:k]))
            out[group.name, value] = Case(column, label, index, faces.identities[index], x, region, source, truth, real)
    return out


def flipped(edit: Callable, name: str, value: int, case: Case, device: str) -> Edited:
    """A case, edited."""
    return editing.apply(lambda _, x, __: edit(name, x, float(value)), case, device)


# ---------------------------------------------------------------------------------------------------- the per-face table


def measured(study, edits: dict[str, Callable], cases: Flips, skin: bool = False) -> pd.DataFrame:
    """The per-face table of all methods, of `floors`, and of `real faces`, the unedited faces judged by the values that
    they have. skin: also `skin_shift` (drawn faces only)."""
    parts, drawn = [], study.faces.faces is not None
    for (name, value), case in cases.items():
        around = editing.region_of(study.faces, case.index, "Pale_Skin")[0] & ~case.region if skin and drawn else None
        column, label = attribute_of(GROUPS[name], 1 - value)
        versions = {"real faces": Edited(replace(case, attribute=column, target=label, truth=None), case.x)}
        versions |= editing.floors(case, study.faces, study.split, study.judges)
        versions |= {method: flipped(edit, name, value, case, study.device) for method, edit in edits.items()}
        for method, e in versions.items():
            known = {"real faces": "x", "unedited": "x", "counterfactual": "truth"}.get(method)
            after = case.seen(known, study.judges) if known else editing.judged(e.y, study.judges)
            part = measures.per_face(method, e, study.judges, after).assign(group=name, attribute=case.attribute, target=case.target)
            parts.append(part.assign(**extras(study, GROUPS[name], e, after, around)))
    return pd.concat(parts, ignore_index=True)


def extras(study, group: Group, e: Edited, after: Seen, around: Tensor | None) -> dict[str, np.ndarray]:
    """Further columns, see SAY; and judge b's probabilities. around: the skin outside the edit's own region; a tint
    shifts its mean, noise does not."""
    judges, before, out = study.judges, e.case.seen("x", study.judges), {}
    for other in groups_named("gender, smile, hair"):
        if other.name != group.name:
            out[f"unrelated_accuracy {other.name}"] = unrelated(study, other, e.index, after)
    i = judges.column("Pale_Skin")
    out["pale_change"] = (np.abs(after.a - before.a)[:, i] + np.abs(after.b - before.b)[:, i]) / 2
    x, y = (t[..., :CORNER, :CORNER] for t in (e.x, e.y))
    out |= {"background_a": 100 * msssim_adapt(y, x), "background_b": 100 * ssim7(y, x), "background_c": crop_l1(y, x)}
    side = max(2, round(CORNER * study.faces.size / PRINTED_AT))
    out["background_c_scaled"] = crop_l1(e.y[..., :side, :side], e.x[..., :side, :side])
    if around is not None:
        shift = ((e.y - e.x) * around).flatten(2).sum(2) / around.flatten(2).sum(2).clamp_min(1)
        out["skin_shift"] = (shift.abs().mean(1) / 2).numpy()
    return out | {f"p {c}": after.b[:, judges.column(c)] for c in columns_of(groups_of(study.cfg))}


def unrelated(study, other: Group, index: np.ndarray, after: Seen) -> np.ndarray:
    """(n,) whether both judges see the labelled value of a group: NaN without a label, and, so that neither colour of
    hair counts more, for the last faces of the more frequent one."""
    labels, right = other.labels(study.faces)[index], np.full(len(index), np.nan)
    most = min((labels == v).sum() for v in (0, 1)) if other.zero else len(index)
    for value in (0, 1):
        column, label = attribute_of(other, value)
        a, b = ((p[:, study.judges.column(column)] > 0.5) == bool(label) for p in (after.a, after.b))
        counted = np.flatnonzero(labels == value)[:most]
        right[counted] = (a & b)[counted]
    return right


def group_rows(frame: pd.DataFrame, table: str, names: Iterable[str] = MEASURED) -> list[dict]:
    """Metric rows, both directions together: one per group, method and measure; `unrelated_accuracy` has rows 'hair
    edit, smile'."""
    known, out = measures.PROTOCOLS | SAY, []
    unrelated = [c for c in frame if c.startswith("unrelated_accuracy ") and "unrelated_accuracy" in names]
    for (group, method), part in frame.groupby(["group", "method"], sort=False):
        for name in (*(n for n in names if n in part), *unrelated):
            metric, _, other = name.partition(" ")
            kept = part.dropna(subset=[name]).infer_objects()
            if len(kept):
                place, value = f"{group} edit, {other}" if other else group, measures.value_of(kept, name)
                out.append(row(table, place, method, metric, value, f"{known[metric]}; both directions"))
    return out


def compared(frame: pd.DataFrame, table: str, group: str, a: str, b: str, names: Iterable[str], how: str = "difference") -> list[dict]:
    """`<measure> difference` (method a minus method b) or `ratio` of one group, or of all together, paired by face; none
    of what one of the two lacks."""
    part, out = frame if group == "all" else frame[frame["group"] == group], []
    for name in names:
        metric, _, other = name.partition(" ")
        if name in part and {a, b} <= set(part.dropna(subset=[name])["method"]):
            place = f"{group} edit, {other}" if other else group
            (r,) = measures.compared(part, table, place, a, b, (name,), "paired by face, both directions", how)
            out.append(r | {"metric": f"{metric} {how}"})
    return out


def wide(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One measure of many edits: a line per method, a column per row of metrics.csv."""
    part = tables.compare(rows, [metric])
    table = part.pivot(index="method", columns="case", values=metric).loc[part["method"].unique(), part["case"].unique()]
    return table.rename_axis(columns=None).reset_index()


# ---------------------------------------------------------------------------------------------------- Inception's formula


def inception_score(p: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """exp(mean_x KL(p(y|x) || p(y))) of class probabilities p (n, K): mean and standard deviation over `splits` parts
    of a seeded order. 1 where all rows agree, K where every row is certain and all classes are equally frequent."""
    order, scores = np.random.default_rng(SEED).permutation(len(p)), []
    for part in np.array_split(p[order], min(splits, len(p))):
        log = np.log(np.clip(part, 1e-300, None)) - np.log(np.clip(part.mean(0), 1e-300, None))
        scores.append(float(np.exp((part * log).sum(1).mean())))
    return float(np.mean(scores)), float(np.std(scores))


def joint_classes(p: np.ndarray) -> np.ndarray:
    """Probabilities (n, A) of A columns -> (n, 2^A) of all their combinations, taken for independent given the
    image."""
    out = np.ones((len(p), 1))
    for q in p.T:
        out = np.concatenate([out * (1 - q[:, None]), out * q[:, None]], axis=1)
    return out

"""The flip protocol: every test face is edited to the value that it does not have, and judged (StarGAN's and SG-GAN's evaluation).

An attribute here is a *group* of two values, told by columns of the face set: it has `name`, `one`, `zero` (the column of value 0, or '' where
value 0 is the absence of `one`) and `labels(faces)` in {0, 1, -1}; SG-GAN's Group is one. An *edit* is a function (group's name, x, target) ->
object with `.image`; for several groups at once it takes tuples of names and targets.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lib import synthetic
from lib.claims import Claim, Test
from lib.papers.sggan import background
from lib.pages import figures
from lib.evaluation import measures as metrics
from lib.pages import tables
from lib.data import DataError, FaceSet, Split
from lib.data.splits import narrowed
from lib.evaluation.judges import Judge, as_images
from lib.evaluation.measures import Value

CORNER = 10  # pixels at the side of the background crop, whatever the size of the image: SG-GAN, Sec. 4.3
PRINTED_AT = 128  # the size at which that was printed; the scaled crop covers the same part of the picture


@dataclass(frozen=True)
class Picture:
    """What an edit returns: image (B, 3, S, S) in [-1, 1]; mask None."""

    image: Tensor
    mask: None = None


def columns_of(groups: Iterable) -> tuple[str, ...]:
    """The face set's columns that the groups are told by, each once."""
    return tuple(dict.fromkeys(c for g in groups for c in (g.one, g.zero) if c))


def labels_of(groups: Iterable, faces: FaceSet, index: np.ndarray) -> Tensor:
    """(len(index), groups) float32 in {0, 1, -1}."""
    return torch.from_numpy(np.stack([g.labels(faces)[index] for g in groups], 1))


def with_value(split: Split, faces: FaceSet, group) -> Split:
    """The split with only those training images that have a value of the group: for methods that know two classes and no third."""
    return narrowed(split, faces, group.labels(faces) >= 0, f"those with a value of {group.name}")


# ---------------------------------------------------------------------------------------------------------------- edits to compare with


def constant_edit(groups: Iterable, faces: FaceSet, split: Split, judge: Judge, n: int = 500) -> Callable:
    """The generator that answers every face with one and the same picture per value: of the first n training faces the one in which the judge
    sees that value most clearly. It can satisfy a classifier and a cycle of values at once, with no memory of its input."""
    index = split.train[:n]
    x = as_images(faces, index)
    p = judge.probabilities(x)
    best = {(g.name, v): x[int(np.argmax(margin(p, judge, g) * (1 if v else -1)))] for g in groups for v in (0, 1)}

    def apply(attribute, x, target):
        name, value = (attribute, target) if isinstance(attribute, str) else (attribute[-1], target[-1])
        return Picture(best[name, int(value > 0.5)].to(x).expand_as(x))

    return apply


def by_labels(edit: Callable, columns: tuple[str, ...], groups: Iterable, judge: Judge) -> Callable:
    """An edit for a method that takes label vectors, edit(x, c) with c (B, len(columns)): the judge's verdicts on the face, with the columns of
    the edited groups set, all at once. A group with two columns sets both, and clears the other hair colours with them."""
    by_name = {g.name: g for g in groups}
    places = [judge.names.index(c) for c in columns]

    def apply(attribute, x, target):
        pairs = [(attribute, target)] if isinstance(attribute, str) else list(zip(attribute, target, strict=True))
        c = torch.from_numpy((judge.probabilities(x.cpu())[:, places] > 0.5).astype(np.float32)).to(x)
        for name, value in pairs:
            group = by_name[name]
            if group.zero:
                for k, column in enumerate(columns):
                    if column in synthetic.HAIR_COLOURS:
                        c[:, k] = 0
                c[:, columns.index(group.zero)] = 1 - value
            c[:, columns.index(group.one)] = value
        return edit(x, c)

    return apply


def by_models(edits: dict[str, Callable]) -> Callable:
    """An edit for a method with a model for every group: {group's name: (x, target) -> object with .image}. Several groups one after the other."""

    def apply(attribute, x, target):
        pairs = [(attribute, target)] if isinstance(attribute, str) else list(zip(attribute, target, strict=True))
        for name, value in pairs:
            x = edits[name](x, value).image
        return Picture(x)

    return apply


# ---------------------------------------------------------------------------------------------------------------- the judge's view


def margin(p: np.ndarray, judge: Judge, group) -> np.ndarray:
    """(n,) positive where the judge, with probabilities p (n, A), sees value 1: of two columns the likelier, of one its p above 1/2."""
    one = p[:, judge.names.index(group.one)]
    return one - (p[:, judge.names.index(group.zero)] if group.zero else 0.5)


def is_judge(p: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """The formula of the Inception score, exp(mean_x KL(p(y|x) || p(y))), on class probabilities p (n, K): mean and standard deviation over
    `splits` parts of a seeded order. 1 where all rows agree, K where every row is certain and all classes are equally frequent."""
    order = np.random.default_rng(metrics.SEED).permutation(len(p))
    scores = []
    for part in np.array_split(p[order], min(splits, len(p))):
        log = np.log(np.clip(part, 1e-300, None)) - np.log(np.clip(part.mean(0), 1e-300, None))
        scores.append(float(np.exp((part * log).sum(1).mean())))
    return float(np.mean(scores)), float(np.std(scores))


def joint_classes(p: np.ndarray, judge: Judge, groups: Iterable) -> np.ndarray:
    """(n, 2^A) probabilities of every combination of the A columns that the groups name, each column taken for independent given the image."""
    out = np.ones((len(p), 1))
    for column in columns_of(groups):
        q = p[:, judge.names.index(column), None].astype(float)
        out = np.concatenate([out * (1 - q), out * q], axis=1)
    return out


# ---------------------------------------------------------------------------------------------------------------- flipping


@dataclass(frozen=True)
class Case:
    """The test faces of one group. index (n,) rows of the FaceSet; target (n,) the value that each does not have; x (n, 3, S, S); truth: the same
    faces drawn with the other value, and region (n, 1, S, S): where they differ (both None on real faces)."""

    group: object
    index: np.ndarray
    target: np.ndarray
    x: Tensor
    truth: Tensor | None
    region: Tensor | None


def cases(groups: Iterable, faces: FaceSet, split: Split, n: int) -> dict[str, Case]:
    """{group's name: Case}: at most n test faces of either value, equally many, the same seeded choice for every method. Raises DataError if
    a value has fewer than two test faces."""
    out = {}
    for group in groups:
        labels = group.labels(faces)[split.test]
        rows = [np.random.default_rng([metrics.SEED, v]).permutation(split.test[labels == v]) for v in (0, 1)]
        k = min(n, *map(len, rows))
        if k < 2:
            have = f"{len(rows[0])} test faces with value 0 of {group.name} and {len(rows[1])} with value 1"
            raise DataError(f"{faces.name}: {have}, at least 2 of each are needed. Give more images.")
        parts = [np.sort(r[:k]) for r in rows]
        columns = [(group.one, 1), (group.zero or group.one, int(bool(group.zero)))]  # how a face of value 0, and of value 1, is turned over
        drawn = [metrics.counterfactuals(faces, part, *columns[v]) for v, part in enumerate(parts)]
        index = np.concatenate(parts)
        truth = None if drawn[0] is None else torch.cat(drawn)
        x = as_images(faces, index)
        region = None if truth is None else ((truth - x).abs() > 1e-6).any(1, keepdim=True)
        out[group.name] = Case(group, index, np.repeat([1, 0], k), x, truth, region)
    return out


def apply(edit: Callable, case: Case, device="cpu") -> tuple[Tensor, float]:
    """The case's faces, each edited to its target: (n, 3, S, S) and milliseconds per image."""
    out, began = torch.empty_like(case.x), time.perf_counter()
    for value in (1, 0):
        rows = np.flatnonzero(case.target == value)
        for part in np.array_split(rows, -(-len(rows) // 64)):
            out[part] = edit(case.group.name, case.x[part].to(device), float(value)).image.cpu()
    return out, 1000 * (time.perf_counter() - began) / len(out)


@dataclass(frozen=True)
class Flipped:
    """One method's flips of one case: y (n, 3, S, S), probabilities (n, A) of the judge, and per-image samples {metric: (n,)}, NaN where an image
    has no such figure."""

    case: Case
    y: Tensor
    p: np.ndarray
    samples: dict[str, np.ndarray]
    ms: float


def scaled_corner(size: int) -> int:
    """Side of the crop that covers, at this size, what 10 pixels cover at 128; at least 2."""
    return max(2, round(CORNER * size / PRINTED_AT))


def judged(case: Case, y: Tensor, target: np.ndarray, others: Iterable, faces: FaceSet, judge: Judge, identity: Judge, ms: float,
           seen: tuple[np.ndarray, np.ndarray] | None = None) -> Flipped:  # fmt: skip
    """Every figure of images y (n, 3, S, S) that are to show `target` (n,) of the case's group. others: groups that should stay as labelled;
    seen: the judge's probabilities and the identity vectors of the unedited faces, where they are known already."""
    before, anchor = seen or (judge.probabilities(case.x), identity.embed(case.x))
    p = judge.probabilities(y)
    samples = {"flip_accuracy": (margin(p, judge, case.group) > 0) == target}
    for g in others:
        labels = g.labels(faces)[case.index]
        right = np.where(labels < 0, np.nan, (margin(p, judge, g) > 0) == labels)
        if g.zero:  # equally many of both values, the first ones
            k = min((labels == v).sum() for v in (0, 1))
            for v in (0, 1):
                right[np.flatnonzero(labels == v)[k:]] = np.nan
        samples[f"unrelated_accuracy {g.name}"] = right
    own = {case.group.one, case.group.zero}
    rest = [i for i, a in enumerate(judge.names) if a in judge.trusted() and a not in own | {e for o in own for e in metrics.ENTAILED.get(o, ())}]
    samples["unrelated_kept"] = ((p > 0.5) == (before > 0.5))[:, rest].mean(1) if rest else np.full(len(y), np.nan)
    for name, side in (("background", CORNER), ("background_scaled", scaled_corner(faces.size))):
        a, b = background.corner(case.x, side), background.corner(y, side)
        samples |= {f"{name}_msssim": background.msssim_adapt(b, a), f"{name}_l1": background.crop_l1(b, a)}
        if side >= 7:
            samples[f"{name}_ssim7"] = background.ssim7(b, a)
    samples["change_l1"] = metrics.l1(y, case.x)
    samples["identity_cosine"] = (identity.embed(y) * anchor).sum(1)
    if "Pale_Skin" in judge.names and "Pale_Skin" not in own:
        samples["pale_change"] = np.abs(p - before)[:, judge.names.index("Pale_Skin")]
    if case.truth is not None:
        samples["change_outside_l1"] = metrics.l1(y, case.x, ~case.region)
        samples["counterfactual_psnr"] = metrics.psnr(y, case.truth)
    return Flipped(case, y, p, {k: np.asarray(v, float) for k, v in samples.items()}, ms)


def flip(edits: dict[str, Callable], found: dict[str, Case], others: Iterable, faces: FaceSet, judge: Judge, identity: Judge, device="cpu") -> dict:
    """Every method's flips of every case: {(group's name, method): Flipped}, with the rows that make them readable beside them.

    `real faces`: the same faces unedited, against their own values (the judge's accuracy, the ceiling). `identity G`: unedited, against the targets
    (the floor). On synthetic faces `counterfactual`: drawn with the other value. others: the groups whose accuracy is to be kept.
    """
    out = {}
    for name, case in found.items():
        rest = [g for g in others if g.name != name]
        seen = judge.probabilities(case.x), identity.embed(case.x)

        def put(method, y, target, ms=float("nan"), *, case=case, rest=rest, name=name, seen=seen):
            out[name, method] = judged(case, y, target, rest, faces, judge, identity, ms, seen)

        put("real faces", case.x, 1 - case.target)
        put("identity G", case.x, case.target)
        if case.truth is not None:
            put("counterfactual", case.truth, case.target)
        for method, edit in edits.items():
            y, ms = apply(edit, case, device)
            put(method, y, case.target, ms)
    return out


# ---------------------------------------------------------------------------------------------------------------- rows


def _mean(samples: np.ndarray, metric: str) -> Value | str:
    kept = samples[np.isfinite(samples)]
    if not len(kept):
        return "unavailable: no image has this figure (no label, or no other attribute that the judge is trusted on)"
    return metrics.proportion(kept == 1) if metric.startswith(("flip_accuracy", "unrelated_accuracy")) else metrics.mean(kept)


def protocol(metric: str, size: int, judge: Judge) -> str:
    """What a figure of this module was measured on, in words."""
    known = {
        "flip_accuracy": "judge sees the value opposite to the label", "unrelated_accuracy": "judge sees the label's value after the edit",
        "unrelated_kept": "share of the judge's trusted verdicts unchanged", "change_l1": "all pixels, [0, 1] scale, to the input",
        "identity_cosine": "to the input", "pale_change": "absolute change of the judge's probability of Pale_Skin",
        "change_outside_l1": "[0, 1] scale, outside the exact region", "counterfactual_psnr": "to the exact counterfactual, peak 2",
    }  # fmt: skip
    side = scaled_corner(size) if "scaled" in metric else CORNER
    text = known.get(metric.split(" ")[0], f"top-left {side}x{side} pixels, edited against input")
    return f"{text}; {size}x{size}, judge {judge.id}"


def rows(flipped: dict, table: str, judge: Judge) -> list[dict]:
    """Metric rows of every flip: row = group (for unrelated_accuracy 'group edit, other group'), column = method. `edit_success` is flip_accuracy
    for either direction apart, row 'group +' or 'group -'."""
    out = []
    for (name, method), f in flipped.items():
        size = f.y.shape[-1]
        for key, samples in f.samples.items():
            metric, _, other = key.partition(" ")
            row = f"{name} edit, {other}" if other else name
            out.append(metrics.row(table, row, method, metric, _mean(samples, metric), protocol(metric, size, judge)))
        for target, sign in metrics.DIRECTIONS if method != "real faces" else ():
            hit = metrics.proportion(f.samples["flip_accuracy"][f.case.target == target])
            out.append(metrics.row(table, f"{name} {sign}", method, "edit_success", hit, f"judge sees the target; {size}x{size}, judge {judge.id}"))
        if np.isfinite(f.ms):
            out.append(metrics.row(table, name, method, "ms_per_image", f.ms, "wall time of the edit, batches of 64, warm-up included", len(f.y)))
    return out


def score_rows(flipped: dict, table: str, judge: Judge, groups: Iterable, splits: int = 10) -> list[dict]:
    """Table of Inception scores: `is_judge` and its standard deviation over the splits, and `is` where Inception's weights can be had."""
    out, groups = [], list(groups)
    classes = 2 ** len(columns_of(groups))
    for (name, method), f in flipped.items():
        if method == "identity G":  # the same images as the real faces
            continue
        value, spread = is_judge(joint_classes(f.p, judge, groups), splits)
        said = f"{classes} joint classes of {', '.join(g.name for g in groups)}; {splits} splits; judge {judge.id}"
        out.append(metrics.row(table, name, method, "is_judge", value, said, len(f.y)))
        out.append(metrics.row(table, name, method, "is_judge_std", spread, said, len(f.y)))
        out.append(metrics.row(table, name, method, "is", metrics.inception_score(f.y), "flipped faces", len(f.y)))
    return out


def best_rows(frame: pd.DataFrame, table: str, method: str, rivals: Iterable[str]) -> list[dict]:
    """In what share of the attributes `method` has the highest is_judge of itself and its rivals (`best_share`), and in what share it leads by
    more than its own standard deviation (`clear_share`)."""
    wide = frame[(frame["table"] == table) & frame["metric"].isin(("is_judge", "is_judge_std"))]
    wide = wide.pivot_table(index="row", columns=["metric", "column"], values="value", sort=False)
    lead = wide["is_judge"][method] - wide["is_judge"][[r for r in rivals if r in wide["is_judge"]]].max(axis=1)
    said = f"highest is_judge among {method}, {', '.join(rivals)}"
    clear = lead > wide["is_judge_std"][method]
    shares = {"best_share": (lead >= 0, said), "clear_share": (clear, f"{said}, by over 1 standard deviation")}
    return [metrics.row(table, "all", method, k, float(v.mean()), p, len(lead)) for k, (v, p) in shares.items()]


def _paired(flipped: dict, names: Iterable[str], first: str, second: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = (np.concatenate([flipped[name, m].samples[metric] for name in names]) for m in (first, second))
    kept = np.isfinite(a) & np.isfinite(b)
    return a[kept], b[kept]


def _rows(flipped: dict, first: str, second: str, key: str, pooled: bool) -> list[tuple[str, list[str]]]:
    """The rows of a comparison and the groups behind each: those that both methods flipped and that have the figure."""
    groups = dict.fromkeys(name for name, _ in flipped)
    have = [n for n in groups if (n, first) in flipped and (n, second) in flipped and key in flipped[n, first].samples]
    return [("all", have)] if pooled and have else [(n, [n]) for n in have]


def difference_rows(flipped: dict, table: str, pairs: Iterable[tuple[str, str]], wanted: Iterable[str], pooled: bool = False) -> list[dict]:
    """`<metric> difference`, first method minus second, paired by image: one row per group, or one row 'all' over all images of all groups.

    Pairs of which one method was not measured, and figures that an image of the group does not have, are left out."""
    out = []
    for (a, b), key in product(pairs, wanted):
        metric, _, other = key.partition(" ")
        for row, chosen in _rows(flipped, a, b, key, pooled):
            one, two = _paired(flipped, chosen, a, b, key)
            if not len(one):
                continue
            label = f"{row} edit, {other}" if other else row
            said = "first minus second, paired by image" + (f", over {', '.join(chosen)}" if pooled else "")
            out.append(metrics.row(table, label, f"{a} - {b}", f"{metric} difference", metrics.mean(one - two), said))
    return out


def ratio_rows(flipped: dict, table: str, first: str, second: str, metric: str, pooled: bool = False) -> list[dict]:
    """`<metric> ratio`: mean of the first method over mean of the second, bootstrap over images; per group, or over all ('all')."""
    out = []
    for row, chosen in _rows(flipped, first, second, metric, pooled):
        one, two = _paired(flipped, chosen, first, second, metric)
        if not len(two) or not two.mean() > 0:
            continue
        said = "ratio of means, paired bootstrap over images"
        out.append(metrics.row(table, row, f"{first} / {second}", f"{metric} ratio", metrics.ratio(one, two), said))
    return out


def accuracy_rows(right: dict[str, np.ndarray], table: str, pairs: Iterable[tuple[str, str]]) -> list[dict]:
    """`d_accuracy` over all labels of real test faces, and its differences: right {method: (B, n) 1, 0 or NaN where there is no label}."""
    flat = {name: r[np.isfinite(r)] for name, r in right.items()}
    said = "the discriminator's classifier on real test faces, all attributes"
    out = [metrics.row(table, "all", name, "d_accuracy", metrics.proportion(r == 1), said) for name, r in flat.items()]
    for a, b in pairs:
        if a in flat and b in flat:
            out.append(metrics.row(table, "all", f"{a} - {b}", "d_accuracy difference", metrics.mean(flat[a] - flat[b]), f"{said}, paired"))
    return out


# ---------------------------------------------------------------------------------------------------------------- tables


def frame(lines: dict[str, dict]) -> pd.DataFrame:
    """One line per name, from dicts; what a line does not have stays empty."""
    return pd.DataFrame([{"method": name} | facts for name, facts in lines.items()]).astype(object).where(lambda d: d.notna(), "")


def cost(record: dict) -> dict[str, object]:
    """Of a run record: cycles, seconds, and images shown to D and to the generators."""
    stages = record["stages"].values()
    seen = images_seen({"": record})[""].split("; ")
    return {"cycles": sum(s["cycles"] for s in stages), "seconds": record["seconds"], "images seen by G": seen[0], "images seen by D": seen[1]}


def comparisons(frame: pd.DataFrame) -> pd.DataFrame:
    """Metric rows one a line: what is compared, on which rows, value with interval, n."""
    text = [_cell(r.drop("paper_value"), None) for _, r in frame.iterrows()]
    return frame[["metric", "column", "row", "n"]].rename(columns={"column": "methods"}).assign(value=text)


def histories(folders: dict[str, Path]) -> pd.DataFrame:
    """The history.csv of several runs as one frame whose stages are the names, for `figures.curves`."""
    return pd.concat([tables.history(folder).assign(stage=name) for name, folder in folders.items()], ignore_index=True)


def layout(frame: pd.DataFrame, table: str, methods: Iterable[str], columns: dict[str, tuple[str, str]], seen: dict[str, str]) -> pd.DataFrame:
    """A table as a paper lays it out: one line per method; columns: {heading: (metric, row)}. A cell holds our value with its 95 % interval and,
    after a bar, what the paper prints there. n: images behind the line; seen: {method: what it was shown}, the last column."""
    part = frame[frame["table"] == table]
    cells = {(r["metric"], r["row"], r["column"]): r for _, r in part.iterrows()}
    out = []
    for method in methods:
        line = {"method": method}
        for heading, (metric, row) in columns.items():
            found = cells.get((metric, row, method))
            line[heading] = "" if found is None else _cell(found, cells.get((f"{metric}_std", row, method)))
        if any(v for k, v in line.items() if k != "method"):
            n = max(int(cells[m, row, method]["n"]) for m, row in columns.values() if (m, row, method) in cells)
            out.append(line | {"n": n, "images seen by G; D": seen.get(method, "")})
    return pd.DataFrame(out)


TIMES_100 = ("flip_accuracy", "unrelated_accuracy", "edit_success", "unrelated_kept", "d_accuracy", "_msssim", "_ssim7")


def _cell(r, spread) -> str:
    k = 100 if r["metric"].removesuffix(" difference").endswith(TIMES_100) else 1
    if pd.isna(r["value"]):
        return "unavailable"
    text = f"{k * r['value']:.3g}"
    if spread is not None:
        text += f" ± {spread['value']:.2g}"
    elif pd.notna(r["ci_low"]) and r["ci_low"] < r["ci_high"]:
        text += f" [{k * r['ci_low']:.3g}, {k * r['ci_high']:.3g}]"
    return text + (f" | {k * r['paper_value']:.4g}" if pd.notna(r.get("paper_value")) else "")


def beside_paper(rows: list[dict], paper: str, place: Callable[[dict], tuple[str, str, str] | None]) -> list[dict]:
    """The rows with `paper_value` where results/paper_values.csv has a number at place(row), (table, row, column) or None. Percentages and
    hundredfold values become shares, as ours are."""
    printed = tables.printed(paper).set_index(["table", "row", "column"])
    out = []
    for r in rows:
        at = place(r)
        value = float(printed.loc[at, "value"]) if at in printed.index else None
        out.append(r | {"paper_value": value if value is None or r["metric"] == "is" else value / 100})
    return out


def images_seen(records: dict[str, dict]) -> dict[str, str]:
    """{method: 'by G; by D'} from run records; the updates of several generators are added up."""
    out = {}
    for method, record in records.items():
        seen = record["images_seen"]
        out[method] = f"{sum(v for k, v in seen.items() if k != 'D'):,}; {seen['D']:,}"
    return out


# ---------------------------------------------------------------------------------------------------------------- figures


def _own(group, faces: FaceSet, i: int) -> float:
    return max(float(group.labels(faces)[i]), 0.0)  # a face of another hair colour counts as black


def _turned(edit: Callable, x: Tensor, names: tuple[str, ...], own: dict[str, float]) -> Tensor:
    return edit(names, x, tuple(1 - own[n] for n in names)).image if len(names) > 1 else edit(names[0], x, 1 - own[names[0]]).image


def grid(edits: dict[str, Callable], faces: FaceSet, index: np.ndarray, columns: dict[str, tuple[str, ...]], groups: Iterable, device="cpu",
         residual: bool = False) -> Figure:  # fmt: skip
    """For each face a block of rows, one per method: the face, then each column's group (or groups together) turned to the other value.

    residual: as many columns again with twice the mean absolute change over the colours, the same scale everywhere."""
    groups, lines = list(groups), []
    for i in index:
        x = as_images(faces, np.array([i])).to(device)
        own = {g.name: _own(g, faces, i) for g in groups}
        for method, edit in edits.items():
            made = [_turned(edit, x, names, own) for names in columns.values()]
            pictures = [x, *made] + ([2 * (y - x).abs().mean(1, keepdim=True) - 1 for y in made] if residual else [])
            lines.append((method, [figures.pixels(t.cpu())[0] for t in pictures]))
    return figures.montage(lines, ["input", *columns, *([f"|{c}|" for c in columns] if residual else [])])


def budget_grid(edits: dict[tuple[str, str], Callable], faces: FaceSet, index: np.ndarray, group, device="cpu") -> Figure:
    """For each face a block of rows, one per method, columns input and every label budget: the group turned to the other value. edits: {(method,
    budget): edit}; what was not trained stays grey."""
    methods, budgets = (list(dict.fromkeys(k[i] for k in edits)) for i in (0, 1))
    lines = []
    for i in index if edits else ():
        x = as_images(faces, np.array([i])).to(device)
        own = {group.name: _own(group, faces, i)}
        blank = torch.zeros_like(x)
        for m in methods:
            made = [_turned(edits[m, b], x, (group.name,), own) if (m, b) in edits else blank for b in budgets]
            lines.append((m, [figures.pixels(t.cpu())[0] for t in (x, *made)]))
    return figures.montage(lines or [("no run", [figures.pixels(as_images(faces, index[:1]))[0]])], ["input", *budgets])


def shown(found: dict[str, Case], k: int) -> np.ndarray:
    """k test faces for figures, half of either value of the first group: the first of the seeded choice, not picked by eye."""
    case = next(iter(found.values()))
    half = k // 2
    return np.concatenate([case.index[case.target == 1][: k - half], case.index[case.target == 0][:half]])


# --------------------------------------------------------------------------------------------------------------- claims


METHODS = {"SG-GAN(5 %)": "SG-GAN(5000)", "SG-GAN(0.5 %)": "SG-GAN(500)", "real faces": "CelebA"}  # names here: names in the tables
PRINTED = {"gender": "Gender", "smile": "Smile", "hair": "Hair Color", "lipstick": "Lipstick"}


def printed_at(r: dict) -> tuple[str, str, str] | None:
    """Where the paper prints the figure of a metric row: (table, row, column) of results/paper_values.csv; None if it is of no printed kind."""
    edited, _, other = r["row"].partition(" edit, ")
    method, column = METHODS.get(r["column"], r["column"]), PRINTED.get(edited)
    if r["metric"] == "is":
        return ("Table 1", method, "All mean" if method == "CelebA" else f"{column} mean")
    if r["table"] == "Table 3" and r["metric"] == "flip_accuracy":
        return ("Table 3", "RIL" if method == "RIL" else "Refined RIL" if method == "SG-GAN(500)" else method, column)
    what = {"flip_accuracy": column, "unrelated_accuracy": PRINTED.get(other), "background_msssim": "Background"}.get(r["metric"])
    return ("Table 2", method, f"{column} / {what}") if what else None


def _differences(metric: str, op: str, bound: float, pair: str, rows: tuple[str, ...], at: str = "value") -> tuple[Test, ...]:
    return tuple(Test(f"{metric} difference | {row} | {pair}", op, bound, at) for row in rows)


CLAIMS = (
    Claim(
        "H1", "SG-GAN(ALL) obtains the highest Inception score in most cases", "Sec. 4.3, Table 1",
        "highest is_judge of the methods in 3 of 4 attributes, by more than its own standard deviation in 2 of 4 (the printed leads are below one)",
        (Test("best_share | all | SG-GAN(ALL)", ">=", 0.75), Test("clear_share | all | SG-GAN(ALL)", ">=", 0.5)),
    ),
    Claim(
        "H2", "A few labels are enough: gender 99.03, 93.79, 93.36; hair 98.99, 95.72, 88.91 %", "Sec. 4.3, Table 2",
        "target accuracy with all labels at least 50 %; it falls by at most 10 points with 5 % of them, with 0.5 % by 10 (gender) and 15 (hair)",
        tuple(Test(f"flip_accuracy | {g} | SG-GAN(ALL)", ">=", 0.5) for g in ("gender", "hair"))
        + _differences("flip_accuracy", ">=", -0.10, "SG-GAN(5 %) - SG-GAN(ALL)", ("gender", "hair"))
        + _differences("flip_accuracy", ">=", -0.10, "SG-GAN(0.5 %) - SG-GAN(ALL)", ("gender",))
        + _differences("flip_accuracy", ">=", -0.15, "SG-GAN(0.5 %) - SG-GAN(ALL)", ("hair",)),
    ),
    Claim(
        "H3", "Unrelated attributes are kept better than by the baselines", "Sec. 4.3, Table 2",
        "smile is recognised at least as often after a gender edit as with StarGAN and ResidualGAN (printed lead: 1 point)",
        _differences("unrelated_accuracy", ">=", 0.0, "SG-GAN(ALL) - StarGAN", ("gender edit, smile",))
        + _differences("unrelated_accuracy", ">=", 0.0, "SG-GAN(ALL) - ResidualGAN", ("gender edit, smile",)),
    ),
    Claim(
        "H4", "The background is kept best by SG-GAN, then StarGAN, then ResidualGAN", "Sec. 4.3, Table 2",
        "that order by measure A, and the reverse order by measure C, for edits of gender and of hair",
        tuple(
            Test(f"{metric} difference | {edit} | {pair}", op, 0.0)
            for metric, op in (("background_msssim", ">"), ("background_l1", "<"))
            for edit in ("gender", "hair")
            for pair in ("SG-GAN(ALL) - StarGAN", "StarGAN - ResidualGAN")
        ),
    ),
    Claim(
        "H5", "Refined residual learning edits far better than residual learning: 93.26 against 18.77, 82.67 against 23.67, 88.91 against 21.35 %",
        "Sec. 4.5, Table 3", "target accuracy at least 40 points higher for gender, smile and hair",
        _differences("flip_accuracy", ">=", 0.40, "SG-GAN(0.5 %) - RIL", ("gender", "smile", "hair")),
    ),
    Claim(
        "H6", "With residual learning the output comes close to the input", "Sec. 4.5",
        "mean absolute change below half of that of refined residual learning", (Test("change_l1 ratio | all | RIL / SG-GAN(0.5 %)", "<", 0.5),),
    ),
    Claim(
        "H7", "Without residual learning images are blurry and lose what should stay", "Sec. 4.5, Fig. 6",
        "background further from the input and identity cosine lower than with refined residual learning, intervals without 0",
        _differences("background_l1", ">", 0.0, "none - SG-GAN(0.5 %)", ("all",), "ci_low")
        + _differences("identity_cosine", "<", 0.0, "none - SG-GAN(0.5 %)", ("all",), "ci_high"),
    ),
    Claim(
        "H8", "Trained with pale skin, StarGAN tints the skin when it edits hair; SG-GAN does not", "Sec. 4.3, Fig. 4",
        "mean absolute change of the judge's probability of Pale_Skin under a hair edit at least twice SG-GAN's",
        (Test("pale_change ratio | hair | StarGAN(joint) / SG-GAN(joint)", ">=", 2.0),),
    ),
    Claim(
        "H9", "With few labels StarGAN with a masked reconstruction is worse than SG-GAN", "Sec. 4.4, Fig. 5",
        "with 100 and with 10 labelled pale faces: target accuracy not lower, background closer to the input",
        tuple(
            Test(f"{metric} difference | pale | SG-GAN({k}) - StarGAN({k})", op, 0.0)
            for k in (100, 10)
            for metric, op in (("flip_accuracy", ">="), ("background_l1", "<"))
        ),
    ),
    Claim(
        "H10", "Mixed images improve the classifier", "Sec. 1",
        "with mixed images D classifies real test faces better, and target accuracy is higher, 0.5 % of the labels",
        _differences("d_accuracy", ">", 0.0, "SG-GAN(0.5 %) - no mixed", ("all",))
        + _differences("flip_accuracy", ">", 0.0, "SG-GAN(0.5 %) - no mixed", ("all",)),
    ),
    Claim(
        "H11", "An own branch for every output keeps edits from disturbing each other", "Secs 3.2, 4.3",
        "more unrelated verdicts kept than with one shared decoder that is told its output, same losses",
        _differences("unrelated_kept", ">", 0.0, "SG-GAN(ALL) - shared decoder", ("all",)),
    ),
)  # fmt: skip

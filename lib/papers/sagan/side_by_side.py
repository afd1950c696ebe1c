"""Several methods on the same test faces: their edits in one figure, and the paired differences that comparing claims need.

`edits` of a method is {(attribute, target): Edited}; `edits` of several is {method: that}. Every method edits the faces that the first one
was given, in the same order, so that differences are taken face by face.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from lib.pages import figures
from lib.evaluation import measures as metrics
from lib.data import FaceSet
from lib.pages.figures import montage, pixels, residual_pixels
from lib.evaluation.judges import Judge
from lib.evaluation.measures import DIRECTIONS, SEED, Edited, Value

Edits = dict[tuple[str, int], Edited]
RED = np.array([220, 30, 30], np.uint8)


def labels_by(judge: Judge, attributes: tuple[str, ...]) -> Callable:
    """x (B, 3, S, S) -> (B, n) labels {0, 1} as the judge sees them: the own labels of faces that nobody labelled."""
    columns = [judge.names.index(a) for a in attributes]
    return lambda x: torch.from_numpy(judge.probabilities(x.cpu())[:, columns] > 0.5).float()


def same_faces(edits: Edits, edit: Callable, device="cpu") -> Edits:
    """What another method makes of exactly the faces of `edits`."""
    out = {}
    for key, e in edits.items():
        y, mask, ms = metrics.run_edit(edit, e.attribute, e.x, e.target, device)
        out[key] = replace(e, y=y, mask=mask, ms=ms)
    return out


def evaluate(edits: Edits, editors: dict[str, Callable], faces: FaceSet, judge: Judge, identity: Judge, table: str, device="cpu"):
    """Further methods on the faces of `edits`. Returns (metric rows of each method, {method: its edits}). The floor and the ceiling are rows
    of the method that `edits` belongs to, and not repeated."""
    edited = {method: same_faces(edits, edit, device) for method, edit in editors.items()}
    made = [metrics.rows(e, faces, judge, identity, table, m, device, references=False) for m, own in edited.items() for e in own.values()]
    return [r for rows in made for r in rows], edited


# ------------------------------------------------------------------------------------------------ numbers, one line per edited face


def per_face(edits: Edits, judge: Judge) -> pd.DataFrame:
    """One line per edited face: attribute, sign, face (row of the set), confidence (the judge's probability of the target), hit (it is above
    1/2), outside (mean absolute change outside the region, [0, 1] scale), male_changed (the judge's verdict on Male differs from that on
    the input; absent if the judge does not know Male)."""
    parts = []
    for (attribute, target), e in edits.items():
        p, column = judge.probabilities(e.y), judge.names.index(attribute)
        confidence = p[:, column] if target else 1 - p[:, column]
        part = {"attribute": attribute, "sign": "+" if target else "-", "face": e.index, "confidence": confidence, "hit": confidence > 0.5}
        part["outside"] = metrics.l1(e.y, e.x, ~e.region)
        if "Male" in judge.names:
            male = judge.names.index("Male")
            part["male_changed"] = (p[:, male] > 0.5) != (judge.probabilities(e.x)[:, male] > 0.5)
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _paired(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The lines of the edits that both methods made; they must be of the same faces."""
    keys = ["attribute", "sign", "face"]
    b = b.merge(a[keys], on=keys, validate="1:1")
    a = a.merge(b[keys], on=keys, validate="1:1")
    return a, b.set_index(keys).loc[pd.MultiIndex.from_frame(a[keys])].reset_index()


def difference(a: pd.DataFrame, b: pd.DataFrame, column: str) -> Value:
    """Mean over faces of a - b in a column of `per_face`, for the edits that both methods made, paired by face."""
    a, b = _paired(a, b)
    return metrics.mean(a[column].to_numpy(float) - b[column].to_numpy(float))


def ratio(a: pd.DataFrame, others: list[pd.DataFrame], column: str) -> Value:
    """Mean of a column over the smallest of the others' means; percentile bootstrap over faces, the same faces for all methods."""
    return metrics.ratio(a[column].to_numpy(float), *(_paired(a, o)[1][column].to_numpy(float) for o in others))


def frechet_difference(a: Edited, b: Edited, judge: Judge, resamples: int = 200) -> Value:
    """Frechet distance to real faces with the target label: that of a minus that of b, two methods' edits of the same faces. Bootstrap over
    the faces (the same for both) and the real ones, shifted so that the interval is centred on the value, as in `metrics.frechet`."""
    of_a, of_b, real = judge.features(a.y), judge.features(b.y), judge.features(a.real)
    value, rng, draws = metrics.frechet_value(of_a, real) - metrics.frechet_value(of_b, real), np.random.default_rng(SEED), []
    for _ in range(resamples):
        i, j = rng.integers(len(of_a), size=len(of_a)), rng.integers(len(real), size=len(real))
        draws.append(metrics.frechet_value(of_a[i], real[j]) - metrics.frechet_value(of_b[i], real[j]))
    low, high = np.quantile(draws, [0.025, 0.975]) - np.mean(draws) + value
    return Value(value, float(low), float(high), min(len(of_a), len(real)))


def against(ours: str, other: str, faces: dict[str, pd.DataFrame], table: str) -> list[dict]:
    """Edit success and change outside the region, ours minus the other's, over all edits that both made."""
    a, b = faces[ours], faces[other]
    both = sorted(set(a["attribute"]) & set(b["attribute"]))
    how = f"paired by face, both directions of: {', '.join(both)}"
    return [
        metrics.row(table, "all", f"{ours} against {other}", "edit_success difference", difference(a, b, "hit"), how),
        metrics.row(table, "all", f"{ours} against {other}", "change_outside_l1 difference", difference(a, b, "outside"), f"[0, 1] scale, {how}"),
    ]


def claim_rows(edits: dict[str, Edits], faces: dict[str, pd.DataFrame], judge: Judge, table: str) -> list[dict]:
    """The figures that SaGAN's claims about CycleGAN, StarGAN and ResGAN are decided by; of an attribute that was not edited there are none.

    faces: {method: per_face}. Ranks count from 1, the smallest.
    """
    ours = faces["SaGAN"]
    done = list(dict.fromkeys(ours["attribute"]))
    how = f"mean over the faces and both directions of: {', '.join(done)}; [0, 1] scale"
    dense = [faces["CycleGAN"], faces["StarGAN"]]
    out = [
        metrics.row(table, "SaGAN / min(CycleGAN, StarGAN)", "all", "change_outside_l1 ratio", ratio(ours, dense, "outside"), how),
        metrics.row(table, "ResGAN / min(CycleGAN, StarGAN)", "all", "change_outside_l1 ratio", ratio(faces["ResGAN"], dense, "outside"), how),
        *against("SaGAN", "ResGAN", faces, table),
    ]
    for attribute in done:
        for _, sign in DIRECTIONS:
            a, b = (f[(f["attribute"] == attribute) & (f["sign"] == sign)] for f in (ours, faces["StarGAN"]))
            gained = difference(a, b, "hit")
            out.append(metrics.row(table, f"{attribute} {sign}", "SaGAN - StarGAN", "edit_success difference", gained, "paired by face"))
    if "Eyeglasses" in done:
        case, how = ("Eyeglasses", 1), "judge's features, to real test faces that have the target; the same faces"
        value = frechet_difference(edits["ResGAN"][case], edits["SaGAN"][case], judge)
        out.append(metrics.row(table, "Eyeglasses +", "ResGAN - SaGAN", "frechet_judge difference", value, how))
    return out + _male_rows(faces, judge, table)


def _male_rows(faces: dict[str, pd.DataFrame], judge: Judge, table: str) -> list[dict]:
    beards = {m: f[f["attribute"] == "No_Beard"] for m, f in faces.items()}
    if not all(map(len, beards.values())):
        return []
    if "Male" not in judge.trusted():
        why = "unavailable: the judge is not to be trusted on Male"
        return [metrics.row(table, "No_Beard", method, "male_changed", why, "", len(f)) for method, f in beards.items()]
    how = f"judge {judge.id} on input and edit, both directions"
    values = {method: metrics.proportion(f["male_changed"].to_numpy(bool)) for method, f in beards.items()}
    out = [metrics.row(table, "No_Beard", method, "male_changed", v, how) for method, v in values.items()]
    n = values["SaGAN"].n
    out.append(metrics.row(table, "No_Beard", "all methods", "male_changed minimum", min(v.value for v in values.values()), how, n))
    rank = 1 + sum(v.value < values["SaGAN"].value for v in values.values())
    out.append(metrics.row(table, "No_Beard", "SaGAN", "male_changed rank", float(rank), f"among {', '.join(values)}; {how}", n))
    return out


# ------------------------------------------------------------------------------------------------ tables


def images_seen(record: dict, attribute: str) -> tuple[int, int]:
    """Images that D and G of an attribute's model (or of the joint model) were shown in training, from a run.json. Of two generators that take
    turns or halves, the one that was shown more."""
    stage = record["stages"].get(attribute) or record["stages"]["joint"]
    return stage["images_seen"]["D"], max(n for update, n in stage["images_seen"].items() if update != "D")


def training(records: dict[str, dict]) -> pd.DataFrame:
    """One line per method: how many models, what one of them cost (cycles, images that D and G saw), and the seconds of all of them."""
    rows = []
    for method, record in records.items():
        stages = record["stages"]
        first = next(iter(stages))
        d, g = images_seen(record, first)
        rows.append((method, len(stages), stages[first]["cycles"], f"{d:,}", f"{g:,}", round(sum(s["seconds"] for s in stages.values()), 1)))
    columns = ["method", "models", "cycles of a model", "images seen by its D", "images seen by its G", "seconds, all models"]
    return pd.DataFrame(rows, columns=columns)


def beside(frame: pd.DataFrame, records: dict[str, dict]) -> pd.DataFrame:
    """A frame of `tables.compare` with the images that each method's D and G saw in training, its lines sorted by row, then by method: floor,
    the methods in the order of `records` (method -> run.json), ceiling."""
    order = ["unedited", *records, "counterfactual"]
    frame = frame.assign(at=frame["row"].map({r: i for i, r in enumerate(dict.fromkeys(frame["row"]))}), of=frame["method"].map(order.index))
    frame = frame.sort_values(["at", "of"]).drop(columns=["at", "of"]).reset_index(drop=True)
    pairs = zip(frame["method"], frame["row"], strict=True)
    seen = [images_seen(records[m], row.rpartition(" ")[0] or row) if m in records else ("", "") for m, row in pairs]
    frame.insert(2, "images seen by D", [f"{d:,}" if d != "" else "" for d, _ in seen])
    frame.insert(3, "images seen by G", [f"{g:,}" if g != "" else "" for _, g in seen])
    return frame


# ------------------------------------------------------------------------------------------------ figures


def grid(edits: dict[str, Edits], attribute: str, k: int = 3, order: dict[int, np.ndarray] | None = None) -> Figure:
    """Rows input and, per method, edit and residual (one display scale for all), on synthetic faces the exact counterfactual last; k faces
    given the attribute, k relieved of it. The first of the seeded test choice, or of `order`: target -> positions in it."""
    cases = [(attribute, target) for target, _ in DIRECTIONS]
    pick = {target: (np.arange(k) if order is None else order[target])[:k] for target, _ in DIRECTIONS}
    first = next(iter(edits.values()))
    rows = [("input", [p for c in cases for p in pixels(first[c].x[pick[c[1]]])])]
    for method, own in edits.items():
        rows.append((method, [p for c in cases for p in pixels(own[c].y[pick[c[1]]])]))
        rows.append(("residual", [p for c in cases for p in residual_pixels(own[c].x[pick[c[1]]], own[c].y[pick[c[1]]])]))
    if first[cases[0]].truth is not None:
        rows.append(("truth", [p for c in cases for p in pixels(first[c].truth[pick[c[1]]])]))
    return montage(rows, [word for target, word in ((1, "add"), (0, "remove")) for _ in pick[target]])


def least_convincing(faces: pd.DataFrame, attribute: str) -> dict[int, np.ndarray]:
    """Per target the positions of the faces, those first whose edit the judge believes least. faces: `per_face` of one method."""
    part = faces[faces["attribute"] == attribute]
    return {target: np.argsort(part.loc[part["sign"] == sign, "confidence"].to_numpy(), kind="stable") for target, sign in DIRECTIONS}


def show(run, edits: dict[str, Edits], faces: pd.DataFrame, attribute: str, name: str, alt: str) -> None:
    """Display two panels of `grid` and keep them: <name>, the seeded choice, and <name>_worst, the faces whose edit by the method of `faces`
    (its `per_face`) the judge believes least. Says so if the run did not edit the attribute."""
    if (attribute, 1) not in next(iter(edits.values())):
        print(f"This run did not edit {attribute}.")
        return
    figures.show(run, grid(edits, attribute), name, alt)
    figures.show(run, grid(edits, attribute, 2, least_convincing(faces, attribute)), f"{name}_worst", f"The least convincing cases. {alt}")


def boxed(x: torch.Tensor, region: torch.Tensor) -> list[np.ndarray]:
    """Faces (n, 3, S, S) as pictures with the bounding box of their region (n, 1, S, S) in red."""
    out = []
    for picture, inside in zip(pixels(x), region[:, 0].numpy(), strict=True):
        picture = picture.copy()
        if inside.any():
            (top, bottom), (left, right) = ((np.flatnonzero(inside.any(axis))[[0, -1]]) for axis in (1, 0))
            picture[[top, bottom], left : right + 1] = RED
            picture[top : bottom + 1, [left, right]] = RED
        out.append(picture)
    return out


def whole_or_local(edits: dict[str, Edits], cases: list[tuple[str, int]], k: int = 3) -> Figure:
    """The layout of SaGAN's Fig. 1: inputs with the attribute's region boxed in red, then residual and edit of every method, for the first k
    faces of each (attribute, target). If a run edited none of the cases, it shows those that it did edit."""
    first = next(iter(edits.values()))
    chosen = [c for c in cases if c in first] or list(first)
    rows = [("input", [p for c in chosen for p in boxed(first[c].x[:k], first[c].region[:k])])]
    for method, own in edits.items():
        rows.append((f"{method}\nresidual", [p for c in chosen for p in residual_pixels(own[c].x[:k], own[c].y[:k])]))
        rows.append(("edited", [p for c in chosen for p in pixels(own[c].y[:k])]))
    return montage(rows, [first[c].row.replace("_", " ") if i == 0 else "" for c in chosen for i in range(k)], inch=1.0)

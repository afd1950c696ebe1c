"""Does the edited face show the attribute? Asked of a judge, and of people: the user study as a form that keeps its answers.

A *cell* of the table is (row, column, attribute, target label, who): an edit direction, and whose faces count, None or (attribute, value).
The people see one face at a time and say whether it has the attribute, 1 or 0. Among the edited faces stand real ones whose label is known
(catch trials, one in five): they show how far a rater agrees with the labels where nothing was edited.
"""

import csv
import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import bootstrap, spearmanr
from sklearn.metrics import cohen_kappa_score
from torch import Tensor

from lib.evaluation import measures as metrics
from lib.pages import tables
from lib.data import DataError, FaceSet, Split
from lib.data.splits import require_test_faces
from lib.pages.figures import montage, pixels
from lib.papers.atigan.hole import Box
from lib.evaluation.judges import Judge, as_images
from lib.evaluation.measures import Edited, Value

TRIALS = 200  # edited faces of each direction that people are shown, at most: the paper's 10 % of 2,000
CATCH_SHARE = 0.2  # of all faces shown
CAREFUL = 0.8  # a rater who agrees with fewer catch trials is left out
FIELDS = ("set", "rater", "trial", "answer")
NOBODY = "unavailable: no such test face"
ALLOWED = 0.10  # a rate this near the printed one agrees with it, however narrow the printed one's interval


# ---------------------------------------------------------------------------------------------- edits of the table


@dataclass
class Transfer:
    """One direction: the edits, and the faces that the last step of the method was given (`inpainted`; the input itself, for a method
    that does not inpaint)."""

    edited: Edited
    inpainted: Tensor


def own_labels(faces: FaceSet, index: np.ndarray, attributes) -> Tensor:
    """(n, len(attributes)) float32 in {0, 1}."""
    return torch.from_numpy(np.stack([faces.column(a)[index] for a in attributes], axis=1)).float()


def transfers(edit: Callable, faces: FaceSet, split: Split, attributes, box: Box, n: int, device="cpu") -> dict[tuple[str, int], Transfer]:
    """Edit at most n test faces of each direction: their own labels of `attributes` with one of them turned round.

    edit: (x, c) -> object with .image and .inpainted; c (B, len(attributes)). The region of an edit is the hole. Raises DataError if the
    test split has fewer than two faces of a label.
    """
    out = {}
    for i, a in enumerate(attributes):
        require_test_faces(faces, split, a)
        for target, _ in metrics.DIRECTIONS:
            index = metrics.test_index(faces, split, a, 1 - target, n)
            x, c = as_images(faces, index), own_labels(faces, index, attributes)
            c[:, i] = target
            began = time.perf_counter()
            done = [edit(p.to(device), q.to(device)) for p, q in zip(x.split(64), c.split(64), strict=True)]
            ms = 1000 * (time.perf_counter() - began) / len(x)
            y, between = (torch.cat([getattr(d, part).cpu() for d in done]) for part in ("image", "inpainted"))
            real = as_images(faces, metrics.test_index(faces, split, a, target, n))
            truth = metrics.counterfactuals(faces, index, a, target)
            region = (box.mask() > 0).expand(len(x), -1, -1, -1)
            out[a, target] = Transfer(Edited(a, target, index, x, y, None, region, "the hole", truth, real, ms), between)
    return out


def members(cell, index: np.ndarray, faces: FaceSet) -> np.ndarray:
    """(n,) bool: which of the faces `index` count in a cell."""
    return np.ones(len(index), bool) if cell[4] is None else faces.column(cell[4][0])[index] == cell[4][1]


def column_of(cell) -> str:
    """The cell's name in metrics.csv: 'row, column'."""
    return f"{cell[0]}, {cell[1]}"


def hits(judge: Judge, y: Tensor, attribute: str, target: int) -> np.ndarray:
    """(n,) bool: the judge sees the target label."""
    return (judge.probabilities(y)[:, judge.names.index(attribute)] > 0.5) == bool(target)


def printed_interval(rate: float, cell, faces: FaceSet, split: Split, images: int = TRIALS) -> Value:
    """A printed rate (share) with the Wilson interval it can have had: n is how many of `images` random test faces fall into the cell."""
    fits = (faces.column(cell[2])[split.test] == 1 - cell[3]) & members(cell, split.test, faces)
    n = max(1, round(images * float(fits.mean())))
    return metrics.wilson(round(rate * n), n)._replace(value=rate)


def difference(a: np.ndarray, b: np.ndarray) -> Value:
    """Mean of a minus mean of b over different faces, bootstrap over both; n is the smaller. NaN if either is empty."""
    if not len(a) or not len(b):
        return Value(float("nan"), float("nan"), float("nan"), 0)
    value = float(a.mean() - b.mean())
    a, b = a.astype(float), b.astype(float)
    if np.ptp(a) == 0 and np.ptp(b) == 0 or min(len(a), len(b)) < 2:
        return Value(value, value, value, min(len(a), len(b)))
    rng = np.random.default_rng(metrics.SEED)
    ci = bootstrap((a, b), lambda p, q, axis: p.mean(axis) - q.mean(axis), n_resamples=2000, method="percentile", rng=rng).confidence_interval
    return Value(value, float(ci.low), float(ci.high), min(len(a), len(b)))


def rows(done: dict, cells, faces: FaceSet, split: Split, judge: Judge, paper: str, table: str, method: str) -> list[dict]:
    """The table as the judge sees it: per cell success, the two floors (on the input and on the inpainted face) and, on synthetic faces, the
    exact counterfactual; how far success lies beyond what the printed rate allows; and the figures of the claims on asymmetry and rarity."""
    out, found = [], {}
    printed = tables.printed(paper, table).set_index(["row", "column"])["value"]
    where = f"judge sees the target, {faces.size}x{faces.size}, judge {judge.id}"
    for cell in cells:
        row, who, attribute, target, _ = cell
        e, between = done[attribute, target].edited, done[attribute, target].inpainted
        mine = members(cell, e.index, faces)
        seen = {method: e.y, "unedited": e.x, "inpainted": between} | ({} if e.truth is None else {"counterfactual": e.truth})
        rate = float(printed[row, who]) / 100
        found[column_of(cell)] = hits(judge, e.y, attribute, target)[mine]
        for column, y in seen.items():
            value = metrics.proportion(hits(judge, y, attribute, target)[mine]) if mine.any() else NOBODY
            printed_too = {"paper_value": rate} if column == method else {}
            out.append(metrics.row(table, column_of(cell), column, "edit_success", value, where) | printed_too)
        if mine.any():
            can = printed_interval(rate, cell, faces, split)
            low, high = min(can.ci_low, rate - ALLOWED), max(can.ci_high, rate + ALLOWED)
            share = found[column_of(cell)].mean()
            beyond = float(max(low - share, share - high, 0.0))
            note = f"printed {100 * rate:.0f} %; [{low:.3f}, {high:.3f}] agree with it: 10 points, or Wilson for n = {can.n} of {TRIALS} images"
            out.append(metrics.row(table, column_of(cell), method, "edit_success distance", beyond, note, int(mine.sum())))
    return out + asymmetry_rows(found, cells, faces, split, printed, table, method)


def asymmetry_rows(found: dict[str, np.ndarray], cells, faces: FaceSet, split: Split, printed: pd.Series, table: str, method: str) -> list[dict]:
    """Differences between the two directions of an attribute, and between two groups in one direction; and Spearman's rho of success and the
    target's share of the training faces over the cells that have an opposite, ours and the paper's own."""
    out, two_sided = [], []
    for a, b in combinations(cells, 2):
        if a[2] == b[2] and a[3] != b[3] and a[1] == b[1]:
            add, remove = (a, b) if a[3] else (b, a)
            name = f"{a[2]}, {a[1]}: add - remove"
            two_sided += [add, remove]
        elif a[2] == b[2] and a[3] == b[3]:
            add, remove, name = a, b, f"{a[2]} {'added' if a[3] else 'removed'}: {a[1]} - {b[1]}"
        else:
            continue
        value = difference(found[column_of(add)], found[column_of(remove)])
        out.append(metrics.row(table, name, method, "edit_success difference", value if value.n else NOBODY, "different faces"))
    share = [float((faces.column(c[2])[split.train] == c[3]).mean()) for c in two_sided]
    ours = [found[column_of(c)].mean() if len(found[column_of(c)]) else np.nan for c in two_sided]
    for name, rates in ((method, ours), ("paper", [float(printed[c[0], c[1]]) for c in two_sided])):
        known = np.isfinite(rates)
        # ranks of equal values only: no correlation to speak of
        rho = float(spearmanr(np.array(rates)[known], np.array(share)[known]).statistic) if np.ptp(np.array(rates)[known]) else 0.0
        protocol = f"over {known.sum()} cells; share of the target label among the training faces"
        out.append(metrics.row(table, "success and share of the target", name, "spearman", rho, protocol, int(known.sum())))
    return out


def evaluate(done: dict, faces: FaceSet, judge: Judge, identity: Judge, table: str, method: str, device="cpu") -> list[dict]:
    """The study's common metric rows of every direction (`metrics.rows`), the region being the hole."""
    return [r for t in done.values() for r in metrics.rows(t.edited, faces, judge, identity, table, method, device)]


def locality_rows(done: dict, attributes, table: str, method: str) -> list[dict]:
    """Per attribute, both directions together: mean change from the inpainted to the edited face inside and outside the hole, and their ratio."""
    out = []
    for a in attributes:
        both = [done[a, target] for target, _ in metrics.DIRECTIONS]
        inside, outside = (
            np.concatenate([metrics.l1(t.edited.y, t.inpainted, t.edited.region == part) for t in both]) for part in (True, False)
        )
        what = "edited against inpainted face, [0, 1] scale, region: the hole"
        out.append(metrics.row(table, a, method, "change_inside_l1", metrics.mean(inside), what))
        out.append(metrics.row(table, a, method, "change_outside_l1", metrics.mean(outside), what))
        out.append(metrics.row(table, a, method, "change_ratio", float(inside.mean() / max(outside.mean(), 1e-9)), what, len(inside)))
    return out


def against(done: dict[str, dict], base: str, judge: Judge, table: str, name: str) -> list[dict]:
    """Methods on the same test faces: success and change outside the hole of each over all its edits, and the paired differences of `base`
    to every other. done: {method: transfers}; name: the rows' name."""
    success = {m: np.concatenate([hits(judge, t.edited.y, *key) for key, t in d.items()]) for m, d in done.items()}
    outside = {m: np.concatenate([metrics.l1(t.edited.y, t.edited.x, ~t.edited.region) for t in d.values()]) for m, d in done.items()}
    out = []
    for m in done:
        out.append(metrics.row(table, name, m, "edit_success", metrics.proportion(success[m]), f"judge {judge.id}, all directions together"))
        out.append(metrics.row(table, name, m, "change_outside_l1", metrics.mean(outside[m]), "to the input, [0, 1] scale, outside: the hole"))
        if m != base:
            pairs = {"edit_success": success[base].astype(float) - success[m], "change_outside_l1": outside[base] - outside[m]}
            for metric, values in pairs.items():
                out.append(metrics.row(table, name, f"{base} - {m}", f"{metric} difference", metrics.mean(values), "paired by face"))
    return out


# ---------------------------------------------------------------------------------------------- figures


def transfer_grid(edit: Callable, faces: FaceSet, split: Split, attributes, flipped, box: Box, k: int = 6, device="cpu") -> Figure:
    """k test faces, the first of a seeded choice, one a row: original, masked, inpainted, and each attribute of `flipped` turned round.
    edit: as `transfers`."""
    index = np.random.default_rng([metrics.SEED, 5]).permutation(split.test)[:k]
    x, c = as_images(faces, index), own_labels(faces, index, attributes)
    columns = {"original": x, "masked": x * (1 - box.mask())}
    for a in flipped:
        i, turned = attributes.index(a), c.clone()
        turned[:, i] = 1 - turned[:, i]
        done = edit(x.to(device), turned.to(device))
        columns.setdefault("inpainted", done.inpainted.cpu())
        columns[a.replace("_", " ")] = done.image.cpu()
    pictures = {name: pixels(images) for name, images in columns.items()}
    return montage([("", [p[row] for p in pictures.values()]) for row in range(len(index))], list(columns), inch=0.95)


def pairs(done: dict[tuple[str, int], Transfer], k: int = 6) -> Figure:
    """Per direction a row of k pairs, input and edited face, the first of the seeded test choice."""
    rows = []
    for t in done.values():
        e = t.edited
        both = [p for pair in zip(pixels(e.x[:k]), pixels(e.y[:k]), strict=True) for p in pair]
        rows.append((e.row.replace("_", " "), both))
    return montage(rows, ["real", "edited"] * k, inch=0.75)


# ---------------------------------------------------------------------------------------------- the people's part


@dataclass(frozen=True)
class Trial:
    """One question: has this face the attribute? `expected` is the label that the answer is counted against: the target of an edit, the
    known label of a catch trial. `place` is the edit's number in its direction, -1 for a catch trial."""

    id: str
    attribute: str
    target: int
    kind: str  # "edit" or "catch"
    expected: int
    place: int


@dataclass(frozen=True)
class Trials:
    """All questions of a study with their pictures (n, S, S, 3) uint8. `set` is a hash of both: answers to other pictures never mix."""

    trials: tuple[Trial, ...]
    pictures: np.ndarray
    set: str


def make_trials(done: dict[tuple[str, int], Transfer], n: int = TRIALS) -> Trials:
    """At most n edited faces of each direction (all its sources have the opposite label), and catch trials, one face in five: unedited ones,
    half with the attribute and half without."""
    trials, pictures = [], []
    for (attribute, target), t in done.items():
        e = t.edited
        edits = min(n, len(e.y))
        catch = round(edits * CATCH_SHARE / (1 - CATCH_SHARE))
        have = {target: e.real, 1 - target: e.x}
        kinds = [("edit", target, k, e.y[k]) for k in range(edits)]
        for label, faces in have.items():
            k = min(len(faces), (catch + label) // 2)
            kinds += [("catch", label, -1, x) for x in faces[len(faces) - k :]]
        for k, (kind, expected, place, x) in enumerate(kinds):
            trials.append(Trial(f"{attribute}{'+' if target else '-'}{k}", attribute, target, kind, expected, place))
            pictures.append(pixels(x[None])[0])
    stack = np.stack(pictures)
    digest = hashlib.sha256(repr(trials).encode() + stack.tobytes()).hexdigest()[:16]
    return Trials(tuple(trials), stack, digest)


def order(study: Trials, rater: str) -> list[int]:
    """The places of all trials as one rater sees them: attribute by attribute, shuffled inside, differently for each name."""
    seed = int.from_bytes(hashlib.sha256(f"{study.set} {rater}".encode()).digest()[:8], "big")
    shuffled = np.random.default_rng(seed).permutation(len(study.trials))
    names = list(dict.fromkeys(t.attribute for t in study.trials))
    return sorted((int(i) for i in shuffled), key=lambda i: names.index(study.trials[i].attribute))


def read(study: Trials, file: Path) -> pd.DataFrame:
    """The answers given so far: columns rater, trial, answer; of a question answered twice the last answer. Empty if there is no file.

    Raises DataError, naming the line, for answers to other pictures, an unknown trial, or an answer that is not 0 or 1.
    """
    if not file.exists():
        return pd.DataFrame(columns=["rater", "trial", "answer"])
    known, answers = {t.id for t in study.trials}, {}
    with file.open(newline="") as lines:
        reader = csv.DictReader(lines)
        if tuple(reader.fieldnames or ()) != FIELDS:
            raise DataError(f"{file}:1: the columns are {reader.fieldnames}, not {list(FIELDS)}. Move the file away; the form makes a new one.")
        for number, line in enumerate(reader, start=2):
            if line["set"] != study.set:
                raise DataError(
                    f"{file}:{number}: an answer to the pictures {line['set']}, while these are {study.set}: the faces or the edits have changed. "
                    "Move the file away; the form makes a new one."
                )
            if line["trial"] not in known or line["answer"] not in ("0", "1") or not line["rater"]:
                said = ", ".join(f"{k} {line[k]!r}" for k in FIELDS[1:])
                raise DataError(f"{file}:{number}: {said} is no answer to a question of this study. Remove the line.")
            answers[line["rater"], line["trial"]] = int(line["answer"])
    return pd.DataFrame([(r, t, a) for (r, t), a in answers.items()], columns=["rater", "trial", "answer"])


def form(study: Trials, file: Path) -> ipywidgets.Widget:
    """The questionnaire for JupyterLab. A rater types a name and answers; every answer is added to `file` at once, so the form may be closed
    at any time and goes on from there under the same name. "back" shows the face before, whose answer can then be given anew."""
    name = ipywidgets.Text(description="your name", placeholder="any word that you will remember")
    start = ipywidgets.Button(description="start")
    question, progress = ipywidgets.HTML(), ipywidgets.Label()
    picture = ipywidgets.Image(format="png", layout=ipywidgets.Layout(width="320px", height="320px", visibility="hidden"))
    yes, no, back = (ipywidgets.Button(description=text, disabled=True) for text in ("1: yes", "0: no", "back"))
    todo: list[int] = []
    at = 0

    def show() -> None:
        back.disabled = at == 0
        yes.disabled = no.disabled = at >= len(todo)
        if at >= len(todo):
            picture.layout.visibility = "hidden"
            question.value, progress.value = "<b>Thank you, that was the last face.</b>", f"{len(todo)} of {len(todo)} answered"
            return
        trial, buffer = study.trials[todo[at]], io.BytesIO()
        Image.fromarray(study.pictures[todo[at]]).resize((320, 320), Image.Resampling.BICUBIC).save(buffer, "png")
        picture.value, picture.layout.visibility = buffer.getvalue(), "visible"
        question.value = f"<b>Do you see in this face: {trial.attribute.replace('_', ' ')}?</b>"
        progress.value = f"{at} of {len(todo)} answered"

    def begin(_) -> None:
        nonlocal at, todo
        rater = name.value.strip()
        if not rater:
            progress.value = "Please type a name first."
            return
        answered = read(study, file)
        mine = set(answered.loc[answered["rater"] == rater, "trial"])
        todo = sorted(order(study, rater), key=lambda i: study.trials[i].id not in mine)  # answered ones first, so that "back" reaches them
        at = len(mine)
        name.disabled = start.disabled = True
        show()

    def answer(value: int) -> None:
        nonlocal at
        append(study, file, name.value.strip(), study.trials[todo[at]].id, value)
        at += 1
        show()

    def step_back(_) -> None:
        nonlocal at
        at -= 1
        show()

    start.on_click(begin)
    yes.on_click(lambda _: answer(1))
    no.on_click(lambda _: answer(0))
    back.on_click(step_back)
    box = ipywidgets.VBox([ipywidgets.HBox([name, start]), question, picture, ipywidgets.HBox([yes, no, back]), progress])
    box.add_class("study-rating")
    return box


def append(study: Trials, file: Path, rater: str, trial: str, answer: int) -> None:
    """Add one answer to the file, which is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", newline="") as lines:
        writer = csv.writer(lines)
        if lines.tell() == 0:
            writer.writerow(FIELDS)
        writer.writerow((study.set, rater, trial, answer))


def human_rows(study: Trials, file: Path, done: dict, cells, faces: FaceSet, table: str, method: str) -> list[dict]:
    """The people's verdict: `catch_accuracy` of each rater, `kappa` of each two on the edited faces that both saw, and `human_success` per
    cell over the raters with at least CAREFUL catch trials right, each face counting by its raters' mean. Without answers: unavailable."""
    given = read(study, file)
    trial = pd.DataFrame([vars(t) for t in study.trials]).rename(columns={"id": "trial"})
    given = given.merge(trial, on="trial")
    given["right"] = given["answer"] == given["expected"]
    catch, edits = given[given["kind"] == "catch"], given[given["kind"] == "edit"]
    raters = sorted(given["rater"].unique())
    out = [
        metrics.row(table, "catch trials", f"rater {k + 1}", "catch_accuracy", metrics.proportion(part["right"]), "unedited faces, label known")
        for k, r in enumerate(raters)
        if len(part := catch[catch["rater"] == r])
    ]
    careful = [r for r in raters if catch.loc[catch["rater"] == r, "right"].mean() >= CAREFUL]
    for a, b in combinations(raters, 2):
        both = edits[edits["rater"] == a].merge(edits[edits["rater"] == b], on="trial")
        if len(both):
            same = both["answer_x"].nunique() == 1 and both["answer_y"].nunique() == 1
            kappa = "unavailable: both gave one answer throughout" if same else float(cohen_kappa_score(both["answer_x"], both["answer_y"]))
            pair = f"raters {raters.index(a) + 1} and {raters.index(b) + 1}"
            out.append(metrics.row(table, "edited faces", pair, "kappa", kappa, "Cohen's kappa, edited faces that both saw", len(both)))
    protocol = f"{len(careful)} of {len(raters)} raters, those with at least {100 * CAREFUL:.0f} % of catch trials right; mean over faces"
    for cell in cells:
        mine = members(cell, done[cell[2], cell[3]].edited.index, faces)
        part = edits[(edits["attribute"] == cell[2]) & (edits["target"] == cell[3]) & edits["rater"].isin(careful)]
        part = part[mine[part["place"].to_numpy(int)]]
        value = metrics.mean(part.groupby("trial")["right"].mean().to_numpy()) if len(part) else "unavailable: no careful rater has seen them yet"
        out.append(metrics.row(table, column_of(cell), method, "human_success", value, protocol))
    return out


def table_2(frame: pd.DataFrame, cells, paper: str, table: str, method: str) -> pd.DataFrame:
    """One line per cell: the judge's success with its two floors and its ceiling, the people's, and what the paper prints."""
    success = frame[(frame["table"] == table) & (frame["metric"] == "edit_success")]
    people = frame[(frame["table"] == table) & (frame["metric"] == "human_success")].set_index("row")
    printed = tables.printed(paper, table).set_index(["row", "column"])["value"]
    lines = []
    for cell in cells:
        by = {r["column"]: r for _, r in success[success["row"] == column_of(cell)].iterrows()}
        line = {"transfer": cell[0], "who": cell[1], "n": int(by[method]["n"]), "success": tables.cell(by[method])}
        line |= {name: tables.number("edit_success", by[name]["value"]) for name in ("unedited", "inpainted", "counterfactual") if name in by}
        line |= {"people": tables.cell(people.loc[column_of(cell)])} if column_of(cell) in people.index else {}
        lines.append(line | {"printed": f"{printed[cell[0], cell[1]]:.0f} %"})
    return pd.DataFrame(lines)

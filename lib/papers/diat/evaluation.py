"""One-way attribute transfer, judged: success, identity, colour, noise, each face by face, so that two methods can be compared on the same faces.

A *task* is any record with attribute, target (the value it gives), row (its name) and hull (landmarks that bound a local change, if any). An
*editor* is (attribute, x, target) -> object with .image, x (B, 3, S, S) in [-1, 1]. results/README.md defines every metric.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from lib import replay
from lib.pages import figures
from lib.papers.diat.model import landmarks
from lib.evaluation import measures as metrics
from lib.baselines import vgg_face as phi
from lib.training import runs
from lib.baselines import cnia, semantic_inpainting
from lib.data import DataError, FaceSet, Split, load_lfw
from lib.evaluation.judges import Judge, as_images
from lib.evaluation.measures import Edited, Value

FRAME = 16 / 128  # of the side: the border in which a global edit's colours are compared
PEOPLE = "same person: cosine above that of 99 % of the judge's impostor pairs"


@dataclass(frozen=True, eq=False)
class Bench:
    """What every comparison stands on. split: its test side holds the faces that may be edited; training: the split that methods are trained
    on; points: (N, 68, 2) of the set; masks: (task, points (n, 68, 2), size) -> (n, 1, S, S) bool, the region of a local task; n: test
    faces per task."""

    faces: FaceSet
    split: Split
    training: Split
    judge: Judge
    identity: Judge
    points: np.ndarray
    masks: Callable
    n: int
    device: str = "cpu"

    @property
    def same_person(self) -> float:
        """The identity cosine from which two pictures count as the same person: 1 % of impostor pairs reach it."""
        return float(self.identity.scores.iloc[0]["impostor_99"])


def only(split: Split, keep: np.ndarray, why: str) -> Split:
    """The split without the test faces that `keep` (N,) leaves out; its rule says so."""
    return replace(split, test=split.test[keep[split.test]], rule=f"{split.rule}; {why}")


def feature_network(cfg, proxy: phi.Config, faces: FaceSet, split: Split, run: runs.Run) -> phi.Phi:
    """phi as a Config asks for it (fields phi, phi_order, phi_norm, phi_size): VGG-Face from its weights file, or phi-proxy, trained on the
    training split in a folder of its own. Which one it was goes into run.json. Raises DataError where VGG-Face's weights are missing."""
    if cfg.phi == phi.VGG_FACE:
        net, about = phi.vgg_face(phi.weights_file(), cfg.phi_order), {"name": phi.VGG_FACE, "file_sha256": _digest(phi.weights_file())}
    else:
        trained, models = runs.trained(phi, proxy, faces, split, run)
        net, about = models[phi.PROXY].phi, {"name": phi.PROXY, "run": trained.id, "seconds": trained.record["seconds"]}
    net.size = cfg.phi_size
    net = net.given().to(run.device)
    if cfg.phi_norm == "unit":
        net.normalise(as_images(faces, split.train[:1000]).to(run.device))
    run.update(phi=about | {"norm": cfg.phi_norm, "unit": [round(float(u), 5) for u in net.unit]})
    return net


def shared_networks(module: ModuleType, net: phi.Phi, cfg, faces: FaceSet, split: Split, run: runs.Run) -> tuple[runs.Run, object]:
    """What all models of a study share (the task `module.SHARED`), trained in a folder of its own: its run and its networks."""
    own = replace(cfg, task=module.SHARED)
    trained, models = runs.trained(module.using(net), own, faces, split, run)
    run.add(metrics.cost_rows(trained.record, "DIAT, shared"))
    return trained, models[module.SHARED]


def _digest(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


# ---------------------------------------------------------------------------------------------- one face, one number


def lab(x: Tensor) -> np.ndarray:
    """(B, 3, S, S) in [-1, 1], sRGB -> (B, S, S, 3) CIE L*a*b*, L from 0 to 100."""
    unit = ((x.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).contiguous().float().numpy()
    return np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2LAB) for p in unit])


def colour_change(y: Tensor, x: Tensor, where: Tensor) -> np.ndarray:
    """(B,) mean Lab distance between y and x over the pixels `where` (B, 1, S, S)."""
    distance, w = np.linalg.norm(lab(y) - lab(x), axis=-1), where[:, 0].numpy()
    return (distance * w).sum((1, 2)) / np.maximum(w.sum((1, 2)), 1)


def noise(x: Tensor) -> np.ndarray:
    """(B,) standard deviation of the noise after Immerkaer (1996): the mean absolute answer of a mask that planes and straight edges leave
    silent, on the grey picture, [0, 1] scale."""
    mask = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    answer = F.conv2d((x.mean(1, keepdim=True) + 1) / 2, mask)
    return (np.sqrt(np.pi / 2) / 6 * answer.abs().flatten(1).mean(1)).numpy()


def frame(size: int, n: int) -> Tensor:
    """(n, 1, size, size) bool: the border an eighth of the side wide, of which a global edit should leave the colours."""
    b = max(1, round(FRAME * size))
    out = torch.ones(n, 1, size, size, dtype=torch.bool)
    out[:, :, b:-b, b:-b] = False
    return out


def side_bands(size: int, n: int) -> Tensor:
    """(n, 1, size, size) bool: the outer quarters of the columns, lower half: where long hair would hang."""
    out = torch.zeros(n, 1, size, size, dtype=torch.bool)
    q = size // 4
    out[:, :, size // 2 :, :q] = out[:, :, size // 2 :, -q:] = True
    return out


def outside(bench: Bench, task, index: np.ndarray) -> tuple[Tensor, str]:
    """The pixels that a task has no business with, and how they are called: all outside the mask, or the frame of a global one."""
    if task.hull:
        return ~bench.masks(task, bench.points[index], bench.faces.size), "outside the landmark hull with its margin"
    return frame(bench.faces.size, len(index)), "border frame an eighth of the side wide"


def per_face(bench: Bench, task, e: Edited, y: Tensor) -> dict[str, np.ndarray]:
    """Every measure of the pictures y made from e.x, face by face: metric name -> (n,)."""
    column, where = bench.judge.names.index(task.attribute), outside(bench, task, e.index)[0]
    cosine = (bench.identity.embed(y) * bench.identity.embed(e.x)).sum(1)
    return {
        "edit_success": (bench.judge.probabilities(y) > 0.5)[:, column] == bool(task.target),
        "identity_kept": cosine > bench.same_person,
        "identity_cosine": cosine,
        "colour_change": colour_change(y, e.x, where),
        "side_change": metrics.l1(y, e.x, side_bands(bench.faces.size, len(y))),
        "noise": noise(y),
    }


# ---------------------------------------------------------------------------------------------- rows


def _say(bench: Bench, metric: str, task) -> str:
    words = {
        "edit_success": f"judge sees the target, judge {bench.judge.id}",
        "identity_kept": f"{PEOPLE} ({bench.same_person:.3f}), judge {bench.identity.id}",
        "identity_cosine": f"to the input, judge {bench.identity.id}",
        "colour_change": f"mean CIE Lab distance to the input, {outside(bench, task, np.arange(1))[1]}",
        "side_change": "mean absolute change, outer quarters of the columns, lower half, [0, 1] scale",
        "noise": "Immerkaer's estimate on the grey picture, [0, 1] scale",
    }
    return words[metric]


EXTRA = ("identity_kept", "colour_change", "noise", "side_change")


def evaluate(bench: Bench, edit: Callable, tasks: dict, table: str, method: str) -> tuple[list[dict], dict[str, Edited]]:
    """All metric rows of an editor on the tasks, with floor (unedited) and, on synthetic faces, ceiling (counterfactual); and the edits by task."""
    out, edits = [], {}
    for name, task in tasks.items():
        e = metrics.apply(edit, bench.faces, bench.split, task.attribute, task.target, bench.n, bench.device)
        out += metrics.rows(e, bench.faces, bench.judge, bench.identity, table, method, bench.device)
        versions = {"unedited": e.x, method: e.y} | ({"counterfactual": e.truth} if e.truth is not None else {})
        for column, y in versions.items():
            found = per_face(bench, task, e, y)
            out += [metrics.row(table, e.row, column, m, summary(found[m]), _say(bench, m, task)) for m in EXTRA]
        edits[name] = e
    return out, edits


def pictures(bench: Bench, task, e: Edited, y: Tensor, table: str, method: str) -> list[dict]:
    """Metric rows of pictures y made from the faces e.x: every per-face measure, and the Frechet distance to real faces that have the target."""
    found = per_face(bench, task, e, y)
    out = [metrics.row(table, e.row, method, m, summary(v), _say(bench, m, task)) for m, v in found.items()]
    near = metrics.frechet(bench.judge.features(y), bench.judge.features(e.real))
    return [*out, metrics.row(table, e.row, method, "frechet_judge", near, f"to {len(e.real)} real test faces that have the target")]


def summary(v: np.ndarray) -> Value:
    """A share for verdicts, a mean for the rest."""
    return metrics.proportion(v) if v.dtype == bool else metrics.mean(v)


def against(bench: Bench, task, e: Edited, a: Tensor, b: Tensor, names: tuple[str, str], table: str, wanted: tuple[str, ...]) -> list[dict]:
    """First minus second, and first over second, of each wanted measure, on the same faces, paired; intervals by bootstrap over faces."""
    one, two = per_face(bench, task, e, a), per_face(bench, task, e, b)
    out = []
    for m in wanted:
        u, v = one[m].astype(float), two[m].astype(float)
        said = f"paired by face: {_say(bench, m, task)}"
        out.append(metrics.row(table, e.row, f"{names[0]} - {names[1]}", f"{m} difference", metrics.mean(u - v), said))
        out.append(metrics.row(table, e.row, f"{names[0]} / {names[1]}", f"{m} ratio", ratio(u, v), f"of the means, {said}"))
    near = [metrics.frechet(bench.judge.features(y), bench.judge.features(e.real)).value for y in (a, b)]
    said = f"of the distances to {len(e.real)} real test faces that have the target"
    return [*out, metrics.row(table, e.row, f"{names[0]} / {names[1]}", "frechet_judge ratio", near[0] / max(near[1], 1e-12), said, len(a))]


def ratio(u: np.ndarray, v: np.ndarray) -> Value | str:
    """mean(u) / mean(v) of paired samples (n,), percentile bootstrap over pairs; 'unavailable: why' where the second mean is 0."""
    if not v.mean() > 0:
        return "unavailable: the second mean is 0"
    return metrics.ratio(u, v)


def over_the_floor(bench: Bench, tasks: dict, edits: dict[str, Edited], table: str, method: str) -> list[dict]:
    """edit_success minus that of the unedited faces, per task: what the edit itself did."""
    return [r for name, e in edits.items() for r in against(bench, tasks[name], e, e.y, e.x, (method, "unedited"), table, ("edit_success",))]


# ---------------------------------------------------------------------------------------------- the variants

PAIRS = (("DIAT-A", "DIAT-A0"), ("DIAT-A0", "DIAT3"), ("DIAT3", "DIAT1"), ("DIAT3", "DIAT2"))
PAIRED = ("edit_success", "identity_kept", "identity_cosine", "colour_change", "side_change", "noise")


@dataclass
class Studied:
    """Editors of all variants by name, and the runs that trained the separate ones."""

    editors: dict[str, Callable]
    runs: dict[str, runs.Run]


def train_variants(method, module: ModuleType, cfg, models: dict, faces: FaceSet, split: Split, run: runs.Run) -> Studied:
    """DIAT1, DIAT2 and DIAT on the compared tasks, beside `run`, which trained cfg.variant; DIAT3 is DIAT, and DIAT-A0 is DIAT-A, without the last
    step (the same T). method: the paper's module with phi and landmarks put in. What each cost goes into the metrics of `run`."""
    editors, others = {cfg.variant: module.editor(models, cfg)}, {}
    for name in ("DIAT1", "DIAT2", "DIAT"):
        own = replace(cfg, variant=name, task=",".join(module.compared(cfg)))
        others[name], trained = runs.trained(method, own, faces, split, run)
        run.add(metrics.cost_rows(others[name].record, name))
        editors[name] = module.editor(trained, own)
        if name == "DIAT":
            editors["DIAT3"] = module.editor(trained, own, enhance=False)
    if cfg.variant == "DIAT-A":
        editors["DIAT-A0"] = module.editor(models, cfg, enhance=False)
    return Studied(editors, others)


def compare_variants(bench: Bench, studied: Studied, tasks: dict, table: str) -> tuple[list[dict], dict[tuple[str, str], Edited]]:
    """Metric rows of every variant on the tasks, and the edits by (task, variant)."""
    out, made = [], {}
    for (name, task), (who, edit) in ((t, v) for t in tasks.items() for v in sorted(studied.editors.items())):
        e = metrics.apply(edit, bench.faces, bench.split, task.attribute, task.target, bench.n, bench.device)
        out += pictures(bench, task, e, e.y, table, who)
        made[name, who] = e
    return out, made


def paired(bench: Bench, tasks: dict, made: dict[tuple[str, str], Edited], table: str) -> list[dict]:
    """The comparisons of PAIRS, on every measure of PAIRED, for the variants that were made."""
    wanted = [(name, a, b) for name in tasks for a, b in PAIRS if (name, a) in made and (name, b) in made]
    return [r for name, a, b in wanted for r in against(bench, tasks[name], made[name, a], made[name, a].y, made[name, b].y, (a, b), table, PAIRED)]


def variant_grid(made: dict[tuple[str, str], Edited], k: int = 4) -> Figure:
    """Per task a block of rows: k inputs, then what every variant made of them, then, where it is known, the truth."""
    lines = []
    for task in dict.fromkeys(name for name, _ in made):
        of = {who: e for (name, who), e in made.items() if name == task}
        first = next(iter(of.values()))
        block = {"input": first.x} | {who: e.y for who, e in of.items()} | ({"truth": first.truth} if first.truth is not None else {})
        lines += [(f"{task.replace('_', ' ')}\n{label}" if label == "input" else label, list(figures.pixels(x[:k]))) for label, x in block.items()]
    return figures.montage(lines, [])


def initial_state(bench: Bench, method, cfg, name: str, task, run: runs.Run) -> list[dict]:
    """T and D after pre-training alone (0 adversarial cycles): how well T returns its input, how well D knows the attribute, what D says of T(x)."""
    own = replace(cfg, variant="DIAT-A0", task=name, cycles=0)
    _, models = runs.trained(method, own, bench.faces, bench.training, run)
    nets = models[name]
    e = metrics.apply(lambda a, x, t: method.edit(nets, x, name, own), bench.faces, bench.split, task.attribute, task.target, bench.n, bench.device)
    with torch.no_grad():
        with_it, without, made = (nets.D(t.to(bench.device)).sigmoid().cpu().numpy().ravel() for t in (e.real, e.x, e.y))
    accuracy = metrics.proportion(np.concatenate([with_it > 0.5, without < 0.5]))
    found = {
        "psnr": (metrics.mean(metrics.psnr(e.y, e.x)), "T(x) against x, peak 2"),
        "d_accuracy": (accuracy, f"D on {len(with_it)} test faces with the reference attribute and {len(without)} without"),
        "d_says_reference": (metrics.mean(made), "mean of D(T(x))"),
    }
    return [metrics.row("initial state", e.row, "pre-trained", m, v, said) for m, (v, said) in found.items()]


def convergence(bench: Bench, method, cfg, name: str, task, run: runs.Run, studied: Studied, shared: runs.Run, shares=(0.25, 0.5)):
    """How soon DIAT-A and DIAT reach their success on one task: T and D trained anew for shares of cfg.cycles (a shorter run is the beginning of a
    longer one: the same seed draws the same batches), beside the full length of `run` and `studied`. shared: the run that trained g and f.

    Returns (rows, points of the curve). Rows: seconds per cycle, as a ratio; the first length from which success stays within 2 points of the
    last one's, as a ratio; their product, the ratio of training times, in which DIAT's g and f do not count (their seconds are a row of their own).
    """
    if not {"DIAT-A0", "DIAT3"} <= studied.editors.keys():
        why = "unavailable: this run's own variant is not DIAT-A"
        return [metrics.row("training time", task.row, "DIAT-A / DIAT", "training time ratio", why, "")], pd.DataFrame(columns=["variant"])
    points, found = [], {}
    for v, last in (("DIAT-A0", run), ("DIAT3", studied.runs["DIAT"])):
        mine = []
        for share in (*shares, 1.0):
            own, trained, edit = replace(cfg, variant=v, task=name, cycles=max(1, round(share * cfg.cycles))), last, studied.editors[v]
            if share < 1:
                trained, models = runs.trained(method, own, bench.faces, bench.training, run)
                edit = method.editor(models, own)
            e = metrics.apply(edit, bench.faces, bench.split, task.attribute, task.target, bench.n, bench.device)
            s = metrics.proportion(per_face(bench, task, e, e.y)["edit_success"])
            seconds = trained.record["stages"][f"{name}: transform"]["seconds"]
            mine.append({"variant": v, "cycles": own.cycles, "seconds": seconds, "edit success": s.value, "low": s.ci_low, "high": s.ci_high})
        near = [abs(p["edit success"] - mine[-1]["edit success"]) <= 0.02 for p in mine]
        first = next(i for i in range(len(mine)) if all(near[i:]))
        found[v] = mine[-1]["seconds"] / mine[-1]["cycles"], mine[first]["cycles"]
        points += mine
    extra = sum(p["seconds"] for k, p in shared.record["stages"].items() if k.endswith((": artefacts", ": denoising")))
    (step_a, cycles_a), (step_b, cycles_b) = found.values()
    lengths = ", ".join(str(p["cycles"]) for p in points[: len(points) // 2])
    said = f"{name}, wall clock on {run.device}, {torch.get_num_threads()} threads, lengths tried: {lengths} cycles, seed {run.seed}"
    values = (
        ("seconds per cycle ratio", "DIAT-A / DIAT", step_a / step_b),
        (f"cycles to success ratio, seed {run.seed}", "DIAT-A / DIAT", cycles_a / cycles_b),
        ("training time ratio", "DIAT-A / DIAT", step_a / step_b * cycles_a / cycles_b),
        ("seconds for g and f", "DIAT", extra),
    )
    return [metrics.row("training time", task.row, c, m, float(v), said, 1) for m, c, v in values], pd.DataFrame(points)


def timed(module: ModuleType, models: dict, cfg) -> dict[str, Callable]:
    """What `speed` times: T alone and the whole edit of the first model."""
    name, nets = next(iter(models.items()))
    return {label: partial(module.edit, nets, task=name, cfg=cfg, enhance=whole) for label, whole in (("T", False), ("T and E", True))}


def speed(edits: dict[str, Callable], size: int, device: str, batches=(1, 50)) -> list[dict]:
    """Milliseconds per image of functions of x (B, 3, S, S), float32: the median of many calls after a warm-up (500 after 100 on a GPU, 20 after 3 on
    a CPU), the device synchronised before each clock reading. On a GPU each also as one CUDA graph, if it can be recorded."""
    out, (warm_up, repeats) = [], (100, 500) if torch.device(device).type == "cuda" else (3, 20)
    inputs = {b: torch.zeros(b, 3, size, size, device=device) for b in batches}
    all_ways = [(name, b, way, work) for name, edit in edits.items() for b in batches for way, work in replay.ways(edit, inputs[b])[0].items()]
    for name, b, way, edit in all_ways:
        x, times = inputs[b], []
        for i in range(warm_up + repeats):
            began = time.perf_counter()
            edit(x)
            if torch.device(device).type == "cuda":
                torch.cuda.synchronize(device)
            if i >= warm_up:
                times.append(time.perf_counter() - began)
        said = f"median of {repeats} calls after {warm_up}, {size}x{size}, batch {b}, {device}, {torch.get_num_threads()} threads"
        column = f"{name} on {torch.device(device).type}{way and f', {way}'}"
        out.append(metrics.row("speed", f"batch {b}", column, "ms_per_image", 1000 * float(np.median(times)) / b, said, repeats))
    return out


# ---------------------------------------------------------------------------------------------- the two comparators


def few(e: Edited, n: int) -> Edited:
    """The first n test faces of the seeded choice."""
    return replace(e, index=e.index[:n], x=e.x[:n], y=e.y[:n], region=e.region[:n], truth=None if e.truth is None else e.truth[:n])


def turned_right(points: np.ndarray) -> Tensor:
    """(n,) bool: the nose is right of the middle between the eyes. points: (n, 68, 2)."""
    return torch.from_numpy(points[:, 30, 0] > (points[:, 36:48, 0].mean(1)))


def against_cnia(bench: Bench, net: phi.Phi, cfg: cnia.Config, tasks: dict, edits: dict[str, Edited], table: str, method: str, speeds: pd.DataFrame):
    """CNIA-style transfer of the first cfg.test_images test faces of each task beside `method` on the same faces. speeds: rows of `speed`, whose last
    one at batch 1 is the whole method's. Returns (rows, {task: (input, CNIA's picture, the method's)})."""
    ms = float(speeds.loc[speeds["row"] == "batch 1", "value"].iloc[-1])
    out, shown, won, took = [], {}, 0, []
    for name, e in edits.items():
        task, e = tasks[name], few(e, cfg.test_images)
        pool = bench.split.train[bench.faces.column(task.attribute)[bench.split.train] == task.target][: cfg.pool]
        m = bench.masks(task, bench.points[e.index], bench.faces.size) if task.hull else torch.ones(len(e.x), 1, *e.x.shape[2:])
        sides = turned_right(bench.points[e.index]), turned_right(bench.points[pool])
        began = time.perf_counter()
        x, guided, m, *sides = (t.to(bench.device) for t in (e.x, as_images(bench.faces, pool), m.float(), *sides))
        z = cnia.edit(net, x, guided, m, cfg, *sides).image.cpu()
        took.append(1000 * (time.perf_counter() - began) / len(z))
        mine, theirs = pictures(bench, task, e, e.y, table, method), pictures(bench, task, e, z, table, "CNIA-style")
        said = f"{cfg.steps} steps, batch {len(z)}, {bench.device}"
        theirs.append(metrics.row(table, e.row, "CNIA-style", "ms_per_image", took[-1], said, len(z)))
        out += mine + theirs
        won += _closer(mine, theirs)
        shown[name] = (e.x, z, e.y)
    said = f"of {len(edits)} tasks, those with a smaller Frechet distance; at most {cfg.test_images} faces each; CNIA-style is a reconstruction"
    out.append(metrics.row(table, "all tasks", f"{method} against CNIA-style", "wins", float(won), said, len(edits)))
    slower = float(np.mean(took)) / ms
    said = f"{cfg.steps} steps; {method} at batch 1"
    out.append(metrics.row(table, "all tasks", f"CNIA-style / {method}", "ms_per_image ratio", slower, said, len(took)))
    return out, shown


def _closer(mine: list[dict], theirs: list[dict]) -> int:
    a, b = (next(r["value"] for r in rows if r["metric"] == "frechet_judge") for rows in (mine, theirs))
    return int(a < b)


def against_inpainting(bench: Bench, cfg: semantic_inpainting.Config, tasks: dict, edits: dict[str, Edited], table: str, method: str, run: runs.Run):
    """Semantic inpainting of a local task's region (glasses, if among the tasks) beside `method` on the same faces; its DCGAN is trained beside the
    run on square face crops. Returns (rows, figure: input with the crop framed in green, the hole, what filled it, the method)."""
    name = "eyeglasses_removal" if "eyeglasses_removal" in tasks else next((k for k, t in tasks.items() if t.hull), None)
    if name is None:
        return [metrics.row(table, "all tasks", "semantic inpainting", "wins", "unavailable: no local task in this run", "")], panel({})
    task, e, boxes = tasks[name], few(edits[name], cfg.test_images), landmarks.face_boxes(bench.points)
    trained, models = runs.trained(semantic_inpainting.using(boxes), cfg, bench.faces, bench.training, run)
    m = bench.masks(task, bench.points[e.index], bench.faces.size)
    began = time.perf_counter()
    x, hull, squares = (t.to(bench.device) for t in (e.x, m, torch.from_numpy(boxes[e.index])))
    filled = semantic_inpainting.edit(models["DCGAN"], x, hull, squares, cfg)
    ms = 1000 * (time.perf_counter() - began) / len(e.x)
    y, plain = filled.image.cpu(), filled.plain.cpu()
    mine, theirs = pictures(bench, task, e, e.y, table, method), pictures(bench, task, e, y, table, "semantic inpainting")
    of = [{r["metric"]: r["value"] for r in rows} for rows in (mine, theirs)]
    won = sum(of[0][k] > of[1][k] for k in ("edit_success", "identity_kept")) + _closer(mine, theirs)
    share = f"{trained.record['images_seen']['D']} faces shown to its D, {100 * trained.record['share_of_paper']:.2g} % of 25 epochs of CelebA"
    out = [*mine, *theirs, *pictures(bench, task, e, plain, table, "semantic inpainting, not blended")]
    said = f"of edit success, identity kept and Frechet distance, the number in which it is strictly better; DCGAN: {share}"
    out.append(metrics.row(table, e.row, f"{method} against semantic inpainting", "wins", float(won), said, len(e.x)))
    said = f"{cfg.starts} starts, {cfg.steps} steps, {bench.device}"
    out.append(metrics.row(table, e.row, "semantic inpainting", "ms_per_image", ms, said, len(e.x)))
    out += metrics.cost_rows(trained.record, "semantic inpainting")
    hole = torch.where(m, torch.tensor(0.0), e.x)
    return out, panel({"input": framed(e.x, boxes[e.index])[:8], "hole": hole[:8], "inpainting": y[:8], method: e.y[:8]})


# ---------------------------------------------------------------------------------------------- LFW


def lfw_faces(folder: str, faces: FaceSet) -> FaceSet | None:
    """LFW at the size of `faces`; None for an empty name. Raises DataError with drawn faces, whose networks have never seen a photograph."""
    if not folder:
        return None
    if faces.faces is not None:
        raise DataError(f"{folder}: networks trained on {faces.name} faces have never seen a photograph. Give real faces as data, or lfw = ''.")
    return load_lfw(folder, faces.size)[0]


def evaluate_lfw(bench: Bench, edit: Callable, tasks: dict, edits: dict[str, Edited], lfw: FaceSet | None, table: str, method: str):
    """Success on LFW, whose faces have no labels: those in which the judge does not see the target. Beside it the drop from the study's own test
    faces. Returns (rows, {task: (x, y)}); without LFW one row per task that says so."""
    out, shown = [], {}
    for name, task in tasks.items():
        if lfw is None:
            out.append(metrics.row(table, f"{task.row} (LFW)", method, "edit_success", "unavailable: no LFW folder was given", ""))
            continue
        index = np.sort(np.random.default_rng([metrics.SEED, 3]).permutation(len(lfw))[: 6 * bench.n])
        column, x = bench.judge.names.index(task.attribute), as_images(lfw, index)
        x = x[((bench.judge.probabilities(x) > 0.5)[:, column] != bool(task.target))][: bench.n]
        y = torch.cat([edit(task.attribute, p.to(bench.device), task.target).image.cpu() for p in x.split(64)])
        hit = metrics.proportion((bench.judge.probabilities(y) > 0.5)[:, column] == bool(task.target))
        kept = metrics.proportion((bench.identity.embed(y) * bench.identity.embed(x)).sum(1) > bench.same_person)
        said = f"LFW faces in which judge {bench.judge.id} does not see the target"
        own = metrics.proportion(per_face(bench, task, edits[name], edits[name].y)["edit_success"]).value
        out.append(metrics.row(table, f"{task.row} (LFW)", method, "edit_success", hit, said))
        out.append(metrics.row(table, f"{task.row} (LFW)", method, "identity_kept", kept, said))
        drop = own - hit.value
        out.append(metrics.row(table, f"{task.row} (LFW)", method, "edit_success drop", drop, "from the study's own test faces to LFW", hit.n))
        shown[name] = (x, y)
    return out, shown


# ---------------------------------------------------------------------------------------------- tables and figures


def layer_table(net: nn.Module, size: int, printed: list[tuple[str, str]], blocks: tuple[type, ...] = ()) -> pd.DataFrame:
    """A network's convolutions, blocks and linear layers in the order they run, with the shape each one gave, beside the printed rows
    (layer, shape)."""
    found, inner = [], {id(c) for m in net.modules() if isinstance(m, blocks) for c in m.modules() if c is not m}

    def note(m, _, out):
        shape = " x ".join(str(s) for s in out.shape[1:])
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
            kind = "deconv" if isinstance(m, nn.ConvTranspose2d) else "conv"
            k, extra = m.kernel_size[0], f", output padding {m.output_padding[0]}" if any(m.output_padding) else ""
            found.append((f"{kind} {k}x{k}x{m.out_channels}, pad {m.padding[0]}, stride {m.stride[0]}{extra}", shape))
        else:
            kind = f"fully connected, {m.out_features} units" if isinstance(m, nn.Linear) else f"residual block, {out.shape[1]} filters"
            found.append((kind, shape))

    wanted = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, *blocks)
    hooks = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, wanted) and id(m) not in inner]
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    lines = [(*p, *h, "" if p[1] == h[1] else "differs") for p, h in zip(printed, found, strict=True)]
    return pd.DataFrame(lines, columns=["printed", "printed size", "here", "size here", "sizes"])


def pairs(edits: dict[str, Edited], k: int = 6) -> Figure:
    """Per task two columns, input and result, k rows: the first test faces of the seeded choice."""
    lines = [[p for e in edits.values() for p in (*figures.pixels(e.x[i : i + 1]), *figures.pixels(e.y[i : i + 1]))] for i in range(k)]
    names = [word for name in edits for word in (name.replace("_", "\n"), "")]
    return figures.montage([("", line) for line in lines], names)


def panel(lines: dict[str, Tensor], heads: list[str] | None = None) -> Figure:
    """Rows of pictures (n, 3, S, S) with a label each; heads: texts above the columns. An empty figure if there are no rows."""
    if not lines:
        return Figure(figsize=(2, 0.5))
    return figures.montage([(label, list(figures.pixels(x))) for label, x in lines.items()], heads or [])


def side_by_side(shown: dict[str, tuple[Tensor, ...]], labels: tuple[str, ...], k: int = 2) -> Figure:
    """Per task k columns; one row per label, the i-th pictures of every task's tuple."""
    lines = {label: torch.cat([made[i][:k] for made in shown.values()]) for i, label in enumerate(labels)}
    return panel(lines, [name.replace("_", "\n") if i == 0 else "" for name in shown for i in range(k)])


def framed(x: Tensor, boxes: np.ndarray) -> Tensor:
    """x with the outline of each box (n, 4) drawn in green, one pixel wide."""
    out, s = x.clone(), x.shape[-1]
    green = torch.tensor([-1.0, 1.0, -1.0])[:, None]
    for picture, (left, top, right, bottom) in zip(out, np.clip(np.floor(boxes), 0, s - 1).astype(int), strict=True):
        across, down = slice(left, right + 1), slice(top, bottom + 1)
        for rows, columns in ((top, across), (bottom, across), (down, left), (down, right)):
            picture[:, rows, columns] = green
    return out


def two_stages(bench: Bench, module: ModuleType, models: dict, cfg, tasks: dict, edits: dict[str, Edited], k: int = 4) -> Figure:
    """The way of a transfer, first task: input, T(x), the mask that trained E where the task is local, the result."""
    name, task = next(iter(tasks.items()))
    e = few(edits[name], k)
    lines = {"input x": e.x, "stage one: T(x)": module.edit(models[name], e.x.to(bench.device), name, cfg, enhance=False).image.cpu()}
    if task.hull:
        lines["mask m (training only)"] = (2 * bench.masks(task, bench.points[e.index], bench.faces.size).float() - 1).expand(-1, 3, -1, -1)
    return panel(lines | {"stage two: E": e.y})


def compared_features(bench: Bench, models: dict, edits: dict[str, Edited], k: int = 4) -> Figure:
    """What an adaptive identity loss compares, first task: mean absolute difference of D_4 and of D_5 between T(x) and x, over its largest."""
    name, e = next(iter(edits.items()))
    nets, x = models[name], e.x[:k].to(bench.device)
    with torch.no_grad():
        Tx = nets.T(x)
        of_x, of_Tx = nets.D.maps(x), nets.D.maps(Tx)
    lines = {"x": x.cpu(), "T(x)": Tx.cpu()}
    for l in (4, 5):
        d = (of_Tx[l] - of_x[l]).abs().mean(1, keepdim=True)
        grown = F.interpolate(d / d.amax().clamp_min(1e-9), size=x.shape[-1], mode="nearest")
        lines[f"difference of $D_{l}$"] = (2 * grown - 1).expand(-1, 3, -1, -1).cpu()
    return panel(lines)


def first_faces(edits: dict[str, Edited], k: int = 3) -> Tensor:
    """The first k test faces of every task."""
    return torch.cat([e.x[:k] for e in edits.values()])


def by_task(history: pd.DataFrame) -> pd.DataFrame:
    """The adversarial stages of history.csv, each under its task's name."""
    parts = history["stage"].str.split(": ", expand=True)
    return history.assign(stage=parts[0])[parts[1] == "transform"]


def by_name(edit: Callable, tasks: dict) -> Callable:
    """(task name, x, strength) -> object with .image, the edit of that task mixed with its input (1 is the edit), and .mask, None."""

    def mixed(name: str, x: Tensor, strength: float) -> SimpleNamespace:
        y = edit(tasks[name].attribute, x, tasks[name].target).image
        return SimpleNamespace(image=x.lerp(y, strength), mask=None)

    return mixed


def learning_curve(points: pd.DataFrame) -> Figure:
    """Success against cycles, one line per variant, with 95 % intervals."""
    figure = Figure(figsize=(5.6, 3.0), layout="constrained")
    axis = figure.subplots()
    for name, part in points.groupby("variant", sort=False):
        spread = np.abs(part[["low", "high"]].to_numpy().T - part["edit success"].to_numpy())
        axis.errorbar(part["cycles"], part["edit success"], yerr=spread, marker="o", ms=4, lw=1.2, capsize=2, label=name)
    axis.set(xlabel="adversarial cycles", ylabel="edit success", ylim=(-0.03, 1.03))
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return figure

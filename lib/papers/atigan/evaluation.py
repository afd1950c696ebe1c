"""ATI-GAN's evaluation: what is trained for it, its figures, tables, comparisons and claims. Secs 4.3 and 4.4, Figs 1 to 8, Tables 1 and 2.

Every method edits the same test faces. `edits` is {method: {(attribute, target): Edited}}, `frame` the table of `measures.per_face`, one line per
edited face and method. Fills of the hole and their scores are in inpainting.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor

from lib.baselines import context_encoder, semantic_inpainting, stargan
from lib.claims import Claim, Precondition, Test, works
from lib.evaluation import measures
from lib.evaluation.edits import SEED, Edited, floors, run_edit, test_cases
from lib.evaluation.judges import as_images
from lib.evaluation.measures import Value, apart, row
from lib.pages import figures, schematics, tables
from lib.pages.figures import montage, pixels
from lib.papers.atigan import inpainting
from lib.papers.atigan import model as atigan
from lib.papers.atigan.model import ATTRIBUTES, box_of, composite, reconstruct
from lib.training.config import require, require_each, selected
from lib.training.models import Job

OWN = "ATI-GAN"
ARMS = {  # one thing changed: fields of Config
    "L1 only": {"train": "R"},
    "sum norm": {"l1": "sum"},
    "x-hat from the start": {"th_disc": 0.0},
    "x throughout": {"th_disc": 1.0},
    "no inpainting": {"train": "G"},
}
NAMES = {arm: "R, L1 only" if arm == "L1 only" else f"{OWN}, {arm}" for arm in ARMS}  # what jobs and tables call them
RIVALS = {"semantic inpainting": "SIIDGM", "context encoder": "CE"}  # rows of Table 1 that are measured here
# row and column of Table 2, attribute, target label, whose faces (an attribute and its value, or everybody's), printed rate, and how many of 200
# random faces of CelebA can be asked about
TABLE_2 = (
    ("Smiling -> Not-Smiling", "All", "Smiling", 0, None, 0.86, 96),
    ("Not-Smiling -> Smiling", "All", "Smiling", 1, None, 0.88, 104),
    ("Eyeglasses -> Not-Eyeglasses", "All", "Eyeglasses", 0, None, 0.50, 13),
    ("Not-Eyeglasses -> Eyeglasses", "All", "Eyeglasses", 1, None, 0.82, 187),
    ("Young -> Old", "All", "Young", 0, None, 0.85, 155),
    ("Old -> Young", "All", "Young", 1, None, 0.70, 45),
    ("Mustache -> Not-Mustache", "Men", "Mustache", 0, ("Male", 1), 0.33, 8),
    ("Not-Mustache -> Mustache", "Men", "Mustache", 1, ("Male", 1), 0.98, 76),
    ("Not-Mustache -> Mustache", "Women", "Mustache", 1, ("Male", 0), 0.68, 116),
)
CARD = (("Eyeglasses", 1), ("Smiling", 1), ("Mustache", 1), ("Young", 0))  # edits of the main figure
SEEN = (OWN, "unedited", "R alone", "own label", "constant G", "counterfactual")  # columns of our Table 2
PROTOCOLS = {
    "beyond_floor": "success less that of the face G was given (R alone; without inpainting the unedited one), paired by face",
    "outside_hole_l1": "to the input, [0, 1] scale, outside the hole",
    "g_inside_l1": "from x-hat to the edit, [0, 1] scale, in the hole",
    "g_outside_l1": "from x-hat to the edit, [0, 1] scale, outside the hole",
    "hole_sharpness": "gradient energy of the hole over the input's",
    "chequerboard": "energy of the hole's chequerboard frequency over the input's",
}
Edits = dict[tuple[str, int], Edited]
QUESTION = (
    "If the attribute's region is inpainted first, the edit stays local and the old attribute does not show through."
)


def picked(text: str, options, what: str) -> tuple[str, ...]:
    """`selected`, or nothing for an empty text."""
    return selected(text, options, what) if text else ()


@dataclass(frozen=True)
class Settings:
    """What evaluation reads, and what is trained for comparison. Profile `paper` is the default."""

    faces: int = 200_000  # drawn faces to render (a folder of faces is read whole)
    split: str = "official"  # D15
    inpainted: int = 2_000  # test faces of Table 1, at most: Sec. 4.1
    searched: int = 64  # of these, semantic inpainting fills so many, at most 64: each takes a search
    edited: int = 2_000  # test faces of each direction, at most
    seeds: int = 1  # trainings of ATI-GAN, with seeds from the study's own on
    arms: str = "all"  # of ARMS, joined by commas; empty: none
    rivals: str = "all"  # of RIVALS, joined by commas; empty: none

    def __post_init__(self):
        require_each(self, "at least 1", "faces", "seeds")
        require_each(self, "at least 2", "inpainted", "edited")
        require(1 <= self.searched <= 64, "searched", self.searched, "in 1 to 64")
        picked(self.arms, ARMS, "arms")
        picked(self.rivals, RIVALS, "rivals")


SETTINGS = {
    "smoke": Settings(faces=2_000, inpainted=8, searched=4, edited=8, seeds=2),
    "cpu": Settings(faces=40_000, searched=48, edited=200),
    "gpu": Settings(faces=60_000, edited=500),
    "paper": Settings(),
}


# ------------------------------------------------------------------------------------------------ what is trained


def jobs(plan) -> dict[str, Job]:
    """Every model of the notebook: ATI-GAN, of further seeds too, its arms, and the two competitors of Table 1. All are as long as the main one."""
    out = {OWN: plan.job(atigan, plan.cfg)}
    out |= {f"{OWN}, seed {s}": plan.job(atigan, plan.cfg, seed=s) for s in range(plan.seed + 1, plan.seed + plan.settings.seeds)}
    out |= {NAMES[arm]: plan.job(atigan, replace(plan.cfg, **ARMS[arm])) for arm in picked(plan.settings.arms, ARMS, "arms")}
    box = box_of(plan.cfg)
    encoder = replace(context_encoder.PROFILES[plan.profile](), size=box.size, top=box.top, left=box.left, side=box.side)
    rivals = {"semantic inpainting": (semantic_inpainting, semantic_inpainting.PROFILES[plan.profile]())}
    rivals["context encoder"] = context_encoder, encoder
    return out | {name: plan.job(*rivals[name]) for name in picked(plan.settings.rivals, RIVALS, "rivals")}


def own(plan) -> list[str]:
    """The paper's own model without which there is no page."""
    return [OWN]


def own_labels(faces, index: np.ndarray) -> Tensor:
    """(n, 4) float32 in {0, 1}: c_original of the faces `index`."""
    return torch.from_numpy(np.stack([faces.column(a)[index] for a in ATTRIBUTES], axis=1)).float()


def turned(c_o: Tensor, c_t: Tensor) -> list[str]:
    """What a target asks of each face, in words: the attributes whose label differs."""
    pairs = zip(c_o.tolist(), c_t.tolist(), strict=True)
    lines = ([tables.direction(a, int(t)) for a, o, t in zip(ATTRIBUTES, *pair, strict=True) if o != t] for pair in pairs)
    return ["\n".join(words) or "as it is" for words in lines]


def some_faces(study, k: int) -> tuple[Tensor, Tensor]:
    """k test faces of a seeded choice, and their labels."""
    index = np.random.default_rng([SEED, 5]).permutation(study.split.test)[:k]
    return as_images(study.faces, index), own_labels(study.faces, index)


# ------------------------------------------------------------------------------------------------ Table 1


def fills(study) -> dict[str, Callable]:
    """What fills the hole, by name: the simple fills, the competitors and the reconstructors that are at hand."""
    box, out = box_of(study.cfg), inpainting.controls(study.faces, study.split.train, box_of(study.cfg))
    index = inpainting.chosen(study.split.test, study.settings.inpainted)
    if study.has("semantic inpainting"):
        nets, cfg = study.nets("semantic inpainting"), study.jobs["semantic inpainting"].cfg
        boxes = torch.from_numpy(semantic_inpainting.face_boxes(study.faces.landmarks[index[: study.settings.searched]]))
        how = semantic_inpainting.Search(steps=3 if study.profile == "smoke" else 100, starts=1)

        @torch.enable_grad()
        def search(x: Tensor) -> Tensor:
            return semantic_inpainting.edit(nets, x, box.mask(x).expand(len(x), -1, -1, -1) > 0, boxes.to(x), cfg.size, how).image

        out["semantic inpainting"] = search
    if study.has("context encoder"):
        encoder = study.nets("context encoder").G
        out["context encoder"] = lambda x: encoder.fill(x.to(study.device))
    named = {OWN: "R", "R, L1 only": "R, L1 only", "ATI-GAN, sum norm": "R, sum norm"}
    return out | {named[name]: reconstructor(study, name) for name in named if study.has(name)}


def reconstructor(study, name: str) -> Callable[[Tensor], Tensor]:
    """x -> x-dot of a model."""
    R = study.nets(name).R
    return lambda x: reconstruct(R, x.to(study.device))[0]


def table_1_rows(study) -> list[dict]:
    """Every fill on the same test faces, and what decides whether the printed figures can be compared with ours at all."""
    index = inpainting.chosen(study.split.test, study.settings.inpainted)
    out = inpainting.evaluate(
        fills(study), study.faces, index, box_of(study.cfg), study.judges.b.features,
        table="Table 1", own="R", few={"semantic inpainting": study.settings.searched}, twin="R, L1 only",
    )  # fmt: skip
    for name in filter(study.has, (OWN, *RIVALS)):
        job = study.jobs[name]
        out.append(row("Table 1", "training", name, "share_of_paper", job.method.share_of_paper(job.cfg), "images shown over the paper's"))
    share = study.history(OWN)["R/d_share"].dropna()
    last = measures.mean(share.to_numpy()[-max(1, len(share) // 10) :])
    out.append(row("Table 1", "last tenth of training", "R", "d_share", last, "D's share of the gradient at x-dot, logged iterations"))
    out.append(row("faces", "all", "study", "photographs", float(study.faces.faces is None), "1: photographs; 0: drawn faces"))
    return [*out, row("faces", "all", "study", "pixels", float(study.faces.size), "width of a face")]


def table_1(rows: pd.DataFrame) -> pd.DataFrame:
    """The table as the paper sets it, composite: the fills measured here, then what the paper quotes, of other sizes and holes."""
    measured = rows[(rows["row"] == "composite") & rows["metric"].isin(["psnr", "ssim"])]
    printed = tables.printed("atigan", "Table 1").pivot_table(index="row", columns="column", values="value", aggfunc="first", sort=False)
    lines, quotes = [], {"R": "Ours"} | RIVALS
    for name, own in measured.groupby("column", sort=False):
        own = own.set_index("metric", drop=False)
        line = {"method": name, "n": int(own.loc["psnr", "n"]), "PSNR": tables.cell(own.loc["psnr"]), "SSIM": tables.cell(own.loc["ssim"])}
        lines.append(line | ({f"{c}, printed": printed.loc[quotes[name], c] for c in ("PSNR", "SSIM")} if name in quotes else {}))
    for name, v in printed.drop(index="Ours").iterrows():
        lines.append({"method": f"{name} (quoted by the paper)", "PSNR, printed": v["PSNR"], "SSIM, printed": v["SSIM"]})
    return pd.DataFrame(lines).fillna("")


# ------------------------------------------------------------------------------------------------ edits and their measures


def judged(study) -> tuple[str, ...]:
    """The attributes whose edits the judges may decide (in profile smoke, where no judge is any good, all)."""
    return ATTRIBUTES if study.profile == "smoke" else tuple(a for a in ATTRIBUTES if not study.judges.doubts(a))


def edited(study, name: str, case, given: Tensor | None = None, own_label: bool = False) -> Edited:
    """A case edited by a model: the faces' own labels with the case's one turned, or as they are. given: what its G is fed, if it is known."""
    nets, cfg, c = study.nets(name), study.jobs[name].cfg, own_labels(study.faces, case.index)
    if not own_label:
        c[:, ATTRIBUTES.index(case.attribute)] = case.target
    if given is not None:
        cfg = replace(cfg, train="G")
    x = case.x if given is None else given
    return Edited(case, *run_edit(lambda _, x, c: atigan.edit(nets, x, c, cfg), case.attribute, x, c, study.device))


def edit_all(study) -> dict[str, Edits]:
    """{method: {(attribute, target): Edited}} on the same seeded choice of test faces: ATI-GAN; R alone, which is what G is given; G with the
    face's own label; floors and ceiling; further seeds and arms at hand."""
    cases = test_cases(study.faces, study.split, ATTRIBUTES, study.settings.edited)
    fill, box, out = reconstructor(study, OWN), box_of(study.cfg), {}
    editing = [name for name, job in study.jobs.items() if job.method is atigan and job.cfg.train != "R"]
    for key, case in cases.items():
        given = composite(case.x, inpainting.filled(fill, case.x), box)
        versions = {OWN: edited(study, OWN, case), "R alone": Edited(case, given), "own label": edited(study, OWN, case, given, own_label=True)}
        versions |= {name: e for name, e in floors(case, study.faces, study.split, study.judges).items() if name != "mean face"}
        versions |= {name: edited(study, name, case) for name in editing if name != OWN and study.has(name)}
        for method, version in versions.items():
            out.setdefault(method, {})[key] = version
    return out


def chequerboard(x: Tensor) -> np.ndarray:
    """(B,) energy of the highest frequency along both axes at once: mean square of the mixed difference of neighbours."""
    return x.diff(dim=2).diff(dim=3).square().flatten(1).mean(1).numpy()


def per_face(study, edits: dict[str, Edits]) -> pd.DataFrame:
    """The per-face table of all methods on the attributes that judges may decide, with the columns of PROTOCOLS."""
    box, parts = box_of(study.cfg), []
    hole = box.mask() > 0
    for method, own in edits.items():
        for key in (k for k in own if k[0] in judged(study)):
            e, given = own[key], edits["R alone"][key].y
            part = measures.per_face(method, e, study.judges)
            inside, before = box.crop(e.y), box.crop(e.x)
            part["outside_hole_l1"] = measures.l1(e.y, e.x, ~hole)
            part["g_inside_l1"], part["g_outside_l1"] = measures.l1(e.y, given, hole), measures.l1(e.y, given, ~hole)
            part["hole_sharpness"] = measures.gradient_energy(inside) / np.maximum(measures.gradient_energy(before), 1e-8)
            part["chequerboard"] = chequerboard(inside) / np.maximum(chequerboard(before), 1e-8)
            parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    success = frame.set_index(["method", "attribute", "target", "face"])["edit_success"]
    given = frame["method"].map(lambda m: "unedited" if m == "ATI-GAN, no inpainting" else "R alone")
    places = pd.MultiIndex.from_arrays([given, frame["attribute"], frame["target"], frame["face"]])
    frame["beyond_floor"] = frame["edit_success"].astype(float) - success.loc[places].to_numpy(float)
    return frame


def edit_rows(study, edits: dict[str, Edits], frame: pd.DataFrame) -> list[dict]:
    """The table `edits`: every measure of every method, floor and ceiling, the realism of ATI-GAN's edits; and why an attribute is left out."""
    out = measures.summary(frame, "edits", f"{study.cfg.size}x{study.cfg.size}", protocols=PROTOCOLS)
    for e in edits[OWN].values():
        if e.attribute in judged(study):
            out += measures.distribution_rows(e, study.judges, "edits", OWN)
        else:
            out.append(row("edits", e.row, OWN, "edit_success", f"unavailable: {study.judges.doubts(e.attribute)}", ""))
    return out


def name_of(cell) -> str:
    """The cell's name in metrics.csv: 'row, column'."""
    return f"{cell[0]}, {cell[1]}"


def table_2_rows(study, frame: pd.DataFrame) -> list[dict]:
    """Per cell of Table 2 the success of ATI-GAN, by both judges and by each, of the floors and the ceiling, and beyond R alone; and what the
    claims on asymmetry and rarity need."""
    out, rate, words = [], {}, measures.PROTOCOLS | PROTOCOLS
    own = ("edit_success", "edit_success_a", "edit_success_b", "judges_disagree", "beyond_floor")

    def put(name: str, method: str, metric: str, value, protocol: str, **more) -> None:
        out.append(row("Table 2", name, method, metric, value, protocol) | more)

    for cell in TABLE_2:
        name, part = name_of(cell), frame[(frame["attribute"] == cell[2]) & (frame["target"] == cell[3])]
        if cell[4] is not None:
            part = part[study.faces.column(cell[4][0])[part["face"]] == cell[4][1]]
        if part.empty:
            doubt = study.judges.doubts(cell[2]) if cell[2] not in judged(study) else "no such test face"
            put(name, OWN, "edit_success", f"unavailable: {doubt}", "", paper_value=cell[5])
            continue
        rate[cell] = measures.value_of(part[part["method"] == OWN], "edit_success")
        for method, lines in ((m, part[part["method"] == m]) for m in SEEN if (part["method"] == m).any()):
            for measure in own if method == OWN else own[:1]:
                printed = {"paper_value": cell[5]} if (method, measure) == (OWN, "edit_success") else {}
                put(name, method, measure, measures.value_of(lines, measure), words[measure], **printed)
    two_sided = []
    for a, b in combinations(rate, 2):
        if (a[2], a[1]) == (b[2], b[1]):  # the two directions of an attribute
            add, remove = (a, b) if a[3] else (b, a)
            two_sided += [add, remove]
            put(f"{a[2]}, {a[1]}: add - remove", OWN, "edit_success difference", apart(rate[add], rate[remove]), "different faces")
        elif (a[2], a[3]) == (b[2], b[3]):  # one direction, two groups
            put(f"{a[2]} added: {a[1]} - {b[1]}", OWN, "edit_success difference", apart(rate[a], rate[b]), "different faces")
    share = [float((study.faces.column(c[2])[study.split.train] == c[3]).mean()) for c in two_sided]
    for method, values in ((OWN, [rate[c].value for c in two_sided]), ("paper", [c[5] for c in two_sided])):
        rho = float(spearmanr(values, share).statistic) if len(set(values)) > 1 else 0.0  # equal ranks: no correlation to speak of
        half = 1.96 * (1.06 / max(len(values) - 3, 1e-9)) ** 0.5  # Fieller's standard error of its Fisher transform
        ends = np.tanh(np.arctanh(np.clip(rho, -0.999, 0.999)) + np.array([-half, half]))
        how = f"over {len(values)} cells; share of the target label among the training faces"
        put("success and share of the target", method, "spearman", Value(rho, *map(float, ends), len(values)), how)
    return out


def table_2(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per cell: success by both judges, by each, floors and ceiling, success beyond R alone, and what the paper prints."""
    lines = []
    for cell in TABLE_2:
        own = rows[rows["row"] == name_of(cell)]
        at = {(r["column"], r["metric"]): r for _, r in own.iterrows()}
        line = {"transfer": cell[0], "who": cell[1], "n": int(at[OWN, "edit_success"]["n"]), "both judges": tables.cell(at[OWN, "edit_success"])}
        named = {"judge a": (OWN, "edit_success_a"), "judge b": (OWN, "edit_success_b"), "beyond R alone": (OWN, "beyond_floor")}
        named |= {method: (method, "edit_success") for method in SEEN[1:]}
        line |= {name: tables.number(key[1], at[key]["value"]) for name, key in named.items() if key in at}
        lines.append(line | {"printed": f"{100 * cell[5]:.0f} %"})
    return pd.DataFrame(lines).fillna("")


def locality_rows(frame: pd.DataFrame) -> list[dict]:
    """Per attribute, both directions together: what G changes inside and outside the hole, for the edit and for the face's own label."""
    out = []
    for (a, method), part in frame[frame["method"].isin([OWN, "own label"])].groupby(["attribute", "method"], sort=False):
        people = part["person"].to_numpy()
        for measure in ("g_inside_l1", "g_outside_l1", "outside_hole_l1"):
            out.append(row("locality", a, method, measure, measures.value_of(part, measure), PROTOCOLS[measure]))
        ratio = measures.ratio_of(part["g_inside_l1"].to_numpy(), part["g_outside_l1"].to_numpy(), people=people)
        out.append(row("locality", a, method, "change_ratio", ratio, "g_inside_l1 over g_outside_l1"))
    return out


def comparison_rows(study, frame: pd.DataFrame) -> list[dict]:
    """ATI-GAN, further seeds and arms over all their edits, and what ATI-GAN differs by from each arm, paired by face."""
    out, asked = [], ("edit_success", "beyond_floor", "outside_hole_l1", "hole_sharpness")
    named = [m for m in study.jobs if (frame["method"] == m).any()]
    words = "all directions together"
    for m in named:
        part = frame[frame["method"] == m]
        out += [row("comparisons", "all", m, measure, measures.value_of(part, measure), words) for measure in asked]
        if m in NAMES.values():
            out += measures.compared(frame, "comparisons", "all", OWN, m, asked, f"paired by face, {words}")
    rates = [frame.loc[frame["method"] == m, "edit_success"].mean() for m in named if m not in NAMES.values()]
    if len(rates) > 1:
        spread = float(max(rates) - min(rates))
        out.append(row("comparisons", "all", "seeds of ATI-GAN", "edit_success spread", spread, f"largest less smallest, {words}", len(rates)))
    return out


# ------------------------------------------------------------------------------------------------ figures


def steps(study, x: Tensor, c: Tensor, turned: str) -> dict[str, Tensor]:
    """x, x-bar, x-dot, x-hat, x' (one attribute turned) and x'' of test faces; the contour of x-dot; the patches of x, x-dot and x', enlarged."""
    nets, box = study.nets(OWN), box_of(study.cfg)
    c_t = c.clone()
    c_t[:, ATTRIBUTES.index(turned)] = 1 - c_t[:, ATTRIBUTES.index(turned)]
    with torch.no_grad():
        x_dot, x_hat = reconstruct(nets.R, x.to(study.device))
        x1, x2 = atigan.there_and_back(nets.G, x_hat, c_t.to(x_hat), c.to(x_hat))
    around = 1 - box.mask(x_dot)
    out = {"x": x, "x-bar": x * around.cpu(), "x-dot": x_dot, "x-hat": x_hat, "x'": x1, "x''": x2, "x-dot_ct": x_dot * around}
    out |= {f"{n}_p": F.interpolate(box.crop(out[n]), size=box.size, mode="bilinear", align_corners=False) for n in ("x", "x-dot", "x'")}
    return {name: picture.cpu() for name, picture in out.items()}


def by_face(*heads: list[str], columns: list[Tensor]) -> Figure:
    """One line a face, one column for each of the sets of pictures."""
    return montage([*heads, *[("", list(line)) for line in zip(*map(pixels, columns), strict=True)]])


def paired(x: Tensor, y: Tensor) -> list[np.ndarray]:
    """Pictures of x and y in turn."""
    return [picture for pair in zip(pixels(x), pixels(y), strict=True) for picture in pair]


def figure_1(study) -> Figure:
    """Six test faces, one a row: original, masked, inpainted, and glasses, smile, moustache turned into the opposite."""
    x, c = some_faces(study, 6)
    shown = {a: steps(study, x, c, a) for a in ("Eyeglasses", "Smiling", "Mustache")}
    heads = ["original", "masked", "inpainted", *shown]
    return by_face(heads, columns=[*(shown["Smiling"][name] for name in ("x", "x-bar", "x-hat")), *(s["x'"] for s in shown.values())])


def figure_2(study) -> Figure:
    """Fig. 2 as pictures: (a) the reconstructor fills the hole, (c) the generator edits and returns, (b) what D sees of each face."""
    shown = steps(study, *some_faces(study, 3), "Eyeglasses")
    heads = ["real", *["(a) reconstructor R"] * 3, *["(c) generator G"] * 2, *["(b) D: real, and its patch"] * 2, *["(b) D: generated"] * 2]
    names = ["x", "x-bar", "x-dot", "x-hat", "x'", "x''", "x", "x_p", "x'", "x'_p"]
    return by_face(heads, names, columns=[shown[name] for name in names])


def architecture(study) -> pd.DataFrame:
    """Figs 3, 5 and 6: the layers of R, G and D as they run; D's class head is the sum of two convolutions, one on each critic."""
    nets = atigan.build(study.cfg)
    x, c = torch.zeros(1, 3, study.cfg.size, study.cfg.size), torch.zeros(1, len(ATTRIBUTES))
    called = {"R (Fig. 3)": (lambda: nets.R(x), nets.R), "G (Fig. 5)": (lambda: nets.G(x, c), nets.G), "D (Fig. 6)": (lambda: nets.D(x), nets.D)}
    parts = {name: schematics.layer_table(call, net, (stargan.Block,)) for name, (call, net) in called.items()}
    return pd.concat(parts, names=["network"]).reset_index(level=0).reset_index(drop=True)


def figure_4(study) -> Figure:
    """(a) What L_ae compares: x-bar and the contour of x-dot, the patch and that of x-dot (enlarged); (b) how x-hat is made of them."""
    shown, names = steps(study, *some_faces(study, 3), "Eyeglasses"), ["x-bar", "x-dot_ct", "x_p", "x-dot_p", "x-hat"]
    return by_face(["(a) L_ae"] * 4 + ["(b)"], names, columns=[shown[name] for name in names])


def figure_7(study, k: int = 2) -> Figure:
    """The k test faces of which a landmark lies farthest outside the hole, and k at the median, each beside its masked self."""
    index, box = study.split.test[:4], box_of(study.cfg)
    if study.faces.landmarks is not None:
        order = study.split.test[np.argsort(inpainting.beyond(study.faces, study.split.test, box).max(1))]
        index = np.concatenate([order[::-1][:k], order[len(order) // 2 :][:k]])
    x = as_images(study.faces, index)
    return montage([["mask not suitable"] * 2 * k + ["typical"] * 2 * k, ("", paired(x, x * (1 - box.mask())))])


def figure_8(edits: dict[str, Edits], k: int = 6) -> Figure:
    """Per direction a row of k pairs, input and edited face, the first of the seeded test choice."""
    lines = [(tables.direction(*key), paired(e.x[:k], e.y[:k])) for key, e in edits[OWN].items()]
    return montage(lines, ["real", "edited"] * k, tile=72)


def curves(study) -> Figure:
    """Training curves over the iterations of Algorithm 1; D's share of R's gradient among them."""
    history = study.history(OWN)
    first, done = {}, 0
    for stage in atigan.stages(study.cfg):
        first[stage.name], done = done, done + stage.cycles
    history["cycle"] += history["stage"].map(first)
    panels = {"critic gap": ["D/gap_g", "D/gap_p"], "attribute loss": ["D/cls", "G/cls"], "R's attribute loss": ["R/cls"]}
    panels |= {"R's reconstruction": ["R/ae"], "D's share of R's gradient": ["R/d_share"]}
    panels |= {"adversarial loss": ["R/adv", "G/adv"], "cycle loss": ["G/cycle"]}
    return figures.curves(history[history["stage"] != "iteration 0"], panels)


# ------------------------------------------------------------------------------------------------ claims (criteria fixed before any run)


def band(rate: float, n: int) -> tuple[float, float]:
    """What agrees with a printed rate of n faces: 10 points, or its Wilson interval where that is wider."""
    value = measures.wilson(round(rate * n), n)
    return max(0.0, min(value.ci_low, rate - 0.1)), min(1.0, max(value.ci_high, rate + 0.1))


def compared(measure: str, other: str, op: str, bound: float, at: str = "value") -> Test:
    return Test(f"{measure} difference | all | {OWN} - {other}", op, bound, at, "comparisons")


def gap(metric: str, other: str, op: str, bound: float, at: str = "value") -> Test:
    return Test(f"{metric} difference | composite | R - {other}", op, bound, at, "Table 1")


PHOTOGRAPHS = Precondition("the faces are photographs, with real pose", (Test("photographs | all | study", ">=", 1, table="faces"),))
AT_128 = Precondition("faces of 128 pixels", (Test("pixels | all | study", ">=", 128, table="faces"),))
CRITICS = Precondition(
    "D contributes at least a tenth of R's gradient", (Test("d_share | last tenth of training | R", ">=", 0.1, table="Table 1"),)
)
SEEDS = Precondition(
    "two seeds of ATI-GAN differ by at most 3 points", (Test("edit_success spread | all | seeds of ATI-GAN", "<=", 0.03, table="comparisons"),)
)
TRAINED = Precondition("at least 5 % of the paper's training", (Test(f"share_of_paper | training | {OWN}", ">=", 0.05, table="Table 1"),))
RIVALS_TRAINED = Precondition(
    "the competitors have had at least 5 % of their papers' training",
    tuple(Test(f"share_of_paper | training | {name}", ">=", 0.05, table="Table 1") for name in RIVALS),
)


CLAIMS = (
    Claim(
        "H1a", "31.8 dB and SSIM 0.946 on inpainted faces", "Table 1", "composite: 31.8 +- 1.5 dB, SSIM at least 0.93",
        (Test("psnr | composite | R", "in", 30.3, table="Table 1", high=33.3), Test("ssim | composite | R", ">=", 0.93, table="Table 1")),
        (PHOTOGRAPHS, AT_128),
    ),
    Claim(  # the regression is fitted to all faces that R sees
        "H1b", "The inpainting is far better than a simple one", "Table 1", "PSNR of R at least 2 dB above ridge regression, paired by face",
        (gap("psnr", "ridge regression", ">=", 2.0),), (TRAINED,),
    ),
    Claim(
        "H2", "Superior inpainting", "Sec. 1.1, Table 1",
        "PSNR above that of both competitors trained here (95 % interval above 0), lowest Frechet distance of all fills",
        (*(gap("psnr", name, ">", 0.0, "ci_low") for name in RIVALS), Test("frechet_judge rank | composite | R", "<=", 1.0, table="Table 1")),
        (TRAINED, RIVALS_TRAINED),
    ),
    Claim(  # where critics hardly reach R, R with and without them are the same training
        "H3", "The balance of reconstruction and discriminator brings the high PSNR", "Sec. 4.3",
        "PSNR of R above that of R trained with L1 alone: 95 % interval above 0", (gap("psnr", "R, L1 only", ">", 0.0, "ci_low"),), (CRITICS,),
    ),
    Claim(  # people saw photographs; judges see drawn faces
        "H4", "Success rates of the user study", "Table 2",
        "each cell within 10 points of the printed rate, or inside its Wilson interval (200 images)",
        tuple(
            Test(f"edit_success | {name_of(cell)} | {OWN}", "in", band(*cell[5:])[0], table="Table 2", high=band(*cell[5:])[1]) for cell in TABLE_2
        ),
        (PHOTOGRAPHS,),
    ),
    Claim(
        "H5a", "Transfers are not symmetric: adding succeeds more often", "Sec. 4.4, Table 2",
        "success of adding minus removing, eyeglasses and men's moustaches: 95 % interval above 0",
        tuple(
            Test(f"edit_success difference | {name}: add - remove | {OWN}", ">", 0.0, "ci_low", "Table 2")
            for name in ("Eyeglasses, All", "Mustache, Men")
        ),
        (works(OWN),),
    ),
    Claim(
        "H5b", "Women get a moustache less often than men", "Sec. 4.4, Table 2",
        "success of adding a moustache, men minus women: 95 % interval above 0",
        (Test(f"edit_success difference | Mustache added: Men - Women | {OWN}", ">", 0.0, "ci_low", "Table 2"),), (works(OWN),),
    ),
    Claim(  # the paper's own Table 2 gives -.79
        "H5c", "The number of samples with an attribute limits its transfer", "Sec. 4.4",
        "Spearman's rho of success and the target's share of the training faces, over the eight two-sided cells, above 0",
        (Test(f"spearman | success and share of the target | {OWN}", ">", 0.0, table="Table 2"),), (works(OWN),),
    ),
    Claim(  # a G that changes nothing changes nothing outside
        "H6", "The transfer is local", "Abstract, Sec. 1.1",
        "mean |x' - x-hat| at least twice as large inside the hole as outside, and at most 0.02 outside ([0, 1] scale): all but Young",
        tuple(
            Test(f"{metric} | {a} | {OWN}", op, bound, table="locality")
            for a in ATTRIBUTES[:3] for metric, op, bound in (("change_ratio", ">=", 2.0), ("g_outside_l1", "<=", 0.02))
        ),
        (works(OWN),),
    ),
    Claim(  # R alone takes glasses and moustaches off: success counts beyond what G was given
        "H7", "Inpainting helps the transfer", "Title, Sec. 1.1",
        "against the same training without R: success beyond the face that G is given no more than 3 points lower, change outside the hole smaller",
        (
            compared("beyond_floor", "ATI-GAN, no inpainting", ">=", -0.03),
            compared("outside_hole_l1", "ATI-GAN, no inpainting", "<", 0.0, "ci_high"),
        ),
        (works(OWN, "ATI-GAN, no inpainting"), SEEDS),
    ),
    Claim(
        "H8", "Feeding x-hat to G only after a quarter of the iterations ensures reliable gradients", "Sec. 4.2",
        "success no more than 2 points below that of x-hat from the start, and of x throughout, at equal length",
        tuple(compared("edit_success", f"ATI-GAN, {other}", ">=", -0.02) for other in ("x-hat from the start", "x throughout")), (works(OWN), SEEDS),
    ),
    Claim(
        "H9", "A fixed mask is not suitable for some faces", "Fig. 7", "0.5 to 5 % of the test faces have an eye or a mouth corner outside the hole",
        (Test("landmark_outside | eyes or mouth | hole", "in", 0.005, table="Fig. 7", high=0.05),), (PHOTOGRAPHS,),
    ),
    Claim(  # L_gen reaches R nowhere in Algorithm 1; what can be tested is whether what reaches R from D makes its faces more real
        "H10", "The model is end-to-end: informative gradients reach the inpainting and lead to a significant gain", "Secs 1.1, 4.3",
        "Frechet distance of R's composites below that of R trained with L1 alone: 95 % interval below 0",
        (gap("frechet_judge", "R, L1 only", "<", 0.0, "ci_high"),), (CRITICS,),
    ),
)  # fmt: skip

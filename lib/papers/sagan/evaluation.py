"""SaGAN's evaluation: what is trained for it, its figures, tables, comparisons and claims. Figs 1 to 9, Tables 1 and 2;
Sec. 4.3, face verification, is in verification.py.

Every method edits the same test faces. `edits` is {method: {(attribute, target): Edited}}, `frame` the table of
`measures.per_face`, one line per edited face and method.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib.baselines import cyclegan, resgan, stargan
from lib.claims import Claim, Precondition, Test, trusted, works
from lib.data.lfw import Lfw
from lib.evaluation import measures
from lib.evaluation.edits import DIRECTIONS, SEED, Edited, apply, edit_cases, floors, run_edit, test_cases, unlabelled_cases
from lib.evaluation.judges import as_images
from lib.evaluation.measures import apart, compared, row
from lib.pages import figures, tables
from lib.pages.figures import mask_pixels, montage, pixels, residual_pixels
from lib.papers.sagan import model as sagan
from lib.papers.sagan import verification
from lib.papers.sagan.model import ATTRIBUTES, attributes_of
from lib.training.config import require_each
from lib.training.models import Job

RIVALS = ("CycleGAN", "StarGAN", "ResGAN")  # Sec. 4.2
METHODS = (*RIVALS, "SaGAN")  # in the order of Figs 4 to 7
RED = np.array([220, 30, 30], np.uint8)
Edits = dict[tuple[str, int], Edited]
QUESTION = (
    "An attention mask, learned without mask supervision, confines an edit to the region of its "
    "attribute, while the edit still succeeds."
)


@dataclass(frozen=True)
class Settings:
    """What evaluation reads, and what is trained for comparison. Profile `paper` is the default."""

    faces: int = 200_000  # drawn faces to render (a folder of faces is read whole)
    split: str = "most_images"  # Sec. 4.1; or "official": D11
    test_images: int = 2_000  # test faces per attribute and direction, at most
    ablations: bool = True  # train what `ablations` lists
    recogniser_width: int = 64  # channels of the first layer of the recognition networks (Sec. 4.3): a usual ResNet-18's
    recogniser_batch: int = 64
    recogniser_epochs: float = 20.0  # passes over the training faces; not stated: D13
    recogniser_seeds: int = 3  # networks an arm; 0: no recognition
    verification_people: int = 2_000  # test people compared, at most

    def __post_init__(self):
        require_each(self, "at least 2", "test_images")
        require_each(self, "positive", "faces", "recogniser_width", "recogniser_batch", "recogniser_epochs", "verification_people")
        require_each(self, "at least 0", "recogniser_seeds")


SETTINGS = {
    "smoke": Settings(
        faces=600, split="official", test_images=8, recogniser_width=2, recogniser_epochs=0.2, recogniser_seeds=1, verification_people=40
    ),
    "cpu": Settings(faces=40_000, split="official", test_images=128, recogniser_width=16, recogniser_epochs=10.0, verification_people=150),
    "gpu": Settings(faces=60_000, split="official", test_images=500, recogniser_width=32, recogniser_epochs=20.0),
    "paper": Settings(),
}


# ------------------------------------------------------------------------------------------------ what is trained


def ablations(cfg: sagan.Config) -> dict[str, sagan.Config]:
    """Configurations that differ from cfg in one part of the method, each for one attribute: no mask; smaller identity
    weights, for an attribute that they may hold back; the other sampler, for the rarest attribute."""
    attributes, other = attributes_of(cfg), "natural" if cfg.sampler == "balanced" else "balanced"
    one = replace(cfg, attribute="Smiling" if "Smiling" in attributes else attributes[0])
    out = {"SaGAN, b = 1": replace(one, attention=False)}
    out |= {f"SaGAN, lambda_2 = {weight:g}": replace(one, lambda_2=weight) for weight in (0.0, 1.0, 10.0)}
    return out | {f"SaGAN, {other} sampling": replace(cfg, attribute=attributes[0], sampler=other)}


def jobs(plan) -> dict[str, Job]:
    """Every model of the notebook: SaGAN and its rivals on the same faces with the same sampler and flips (D15),
    ablations, recognition networks."""
    cfg, attributes, make = plan.cfg, attributes_of(plan.cfg), plan.profile
    common = {"size": cfg.size, "flip": False}
    own = {f"SaGAN {a}": plan.job(sagan, replace(cfg, attribute=a)) for a in attributes}
    out = dict(own)
    for a in attributes:
        out[f"CycleGAN {a}"] = plan.job(cyclegan, replace(cyclegan.PROFILES[make](), attribute=a, **common))
        out[f"ResGAN {a}"] = plan.job(resgan, replace(resgan.PROFILES[make](), attribute=a, **common))
    names = ",".join(attributes)
    out["StarGAN"] = plan.job(stargan, replace(stargan.PROFILES[make](), attributes=names, sampler=cfg.sampler, **common))
    if plan.settings.ablations:
        out |= {name: plan.job(sagan, arm) for name, arm in ablations(cfg).items()}
        sweep = resgan.sweep(out[f"ResGAN {attributes[0]}"].cfg)
        out |= {name: plan.job(resgan, arm) for name, arm in sweep.items()}
    return out | (verification.jobs(plan, own) if plan.settings.recogniser_seeds else {})


def edited_attributes(plan) -> tuple[str, ...]:
    """The attributes whose SaGAN is at hand, in the paper's order. plan: a Plan or a Study."""
    return tuple(a for a in attributes_of(plan.cfg) if plan.has(f"SaGAN {a}"))


def own(plan) -> list[str]:
    """The paper's own models without which there is no page: those of the attributes at hand, or all if there are none."""
    return [f"SaGAN {a}" for a in edited_attributes(plan) or attributes_of(plan.cfg)]


def editors(study) -> dict[str, Callable]:
    """method -> (attribute, x, target) -> Edit of the methods at hand, in the order of METHODS. What StarGAN must know
    of a face's other labels is judge a's verdict."""
    attributes, out = edited_attributes(study), {}

    def own_labels(x: Tensor) -> Tensor:
        columns = [study.judges.column(a) for a in attributes_of(study.cfg)]
        return torch.from_numpy(study.judges.a.probabilities(x)[:, columns] > 0.5).float().to(x.device)

    for method, make in (("CycleGAN", cyclegan.editor), ("ResGAN", resgan.editor), ("SaGAN", sagan.editor)):
        if study.has(*(f"{method} {a}" for a in attributes)):
            out[method] = make({a: study.nets(f"{method} {a}") for a in attributes})
    if study.has("StarGAN"):
        out["StarGAN"] = stargan.editor(study.models("StarGAN"), study.jobs["StarGAN"].cfg, own_labels)
    return {method: out[method] for method in METHODS if method in out}


def histories(study) -> pd.DataFrame:
    """The training curves of SaGAN's models."""
    return pd.concat([study.history(f"SaGAN {a}") for a in edited_attributes(study)], ignore_index=True)


def records(study) -> dict[str, list[dict]]:
    """What the table of training calls a method -> model.json of all its models; the judges are left out."""
    methods, out = {f"{m} {a}": m for m in METHODS for a in ATTRIBUTES}, {}
    for name, record in study.records().items():
        out.setdefault(methods.get(name, name.split(", seed")[0]), []).append(record)
    return out


# ------------------------------------------------------------------------------------------------ the networks: Tables 1, 2, Fig. 2


def notation(m: nn.Module) -> str:
    """A layer as Tables 1 and 2 write it: 'Conv(I4,O32,K7,P3,S1)'."""
    if isinstance(m, sagan.ResidualBlock):
        return notation(m.body[0]).replace("Conv", "Residual Block")
    kind = "Deconv" if isinstance(m, nn.ConvTranspose2d) else "Conv"
    return f"{kind}(I{m.in_channels},O{m.out_channels},K{m.kernel_size[0]},P{m.padding[0]},S{m.stride[0]})"


def layers(cfg: sagan.Config) -> pd.DataFrame:
    """Tables 1 and 2 as the modules of a configuration are: network, layer, the layer in the paper's notation and its output."""
    nets, lines = sagan.build(replace(cfg, attribute=attributes_of(cfg)[0])), []
    for name, net, planes in (("AMN", nets.G.amn, 4), ("SAN", nets.G.san, 3), ("D", nets.D.trunk, 3)):
        x, own = torch.zeros(1, planes, cfg.size, cfg.size), []
        for module in net:
            x = module(x)
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | sagan.ResidualBlock):
                own.append((name, f"L{len(own) + 1}", notation(module), tuple(x.shape[1:])))
        lines += own
    lines += [("D", head, notation(net), tuple(net(x).shape[1:])) for head, net in (("src", nets.D.src), ("cls", nets.D.cls))]
    table = pd.DataFrame(lines, columns=["network", "layer", "as built", "output"])
    return table.assign(output=[" x ".join(map(str, shape)) for shape in table["output"]])


def architecture(study) -> pd.DataFrame:
    """Tables 1 and 2: the layers of profile `paper`, which are the printed ones (D5), beside this study's."""
    printed = layers(sagan.PROFILES["paper"]()).rename(columns={"as built": "as printed", "output": "output, 128x128"})
    ours = layers(study.cfg).rename(columns={"as built": "here", "output": "output here"})
    return printed.merge(ours, on=["network", "layer"], how="left").fillna("")


def figure_2(study, edits: dict[str, Edits]) -> None:
    """Fig. 2, the generator, as pictures of one face: I, I_a, b, I_a * b, I * (1 - b), I-hat, for adding and
    removing."""
    attribute = next(iter(edits["SaGAN"]))[0]
    nets, lines = study.nets(f"SaGAN {attribute}"), []
    for target, _ in DIRECTIONS:
        x = edits["SaGAN"][attribute, target].x[:1]
        edit = sagan.edit(nets, x.to(study.device), target)
        I_a, b = edit.attribute_image.cpu(), edit.mask.cpu()
        dark = [(v + 1) * w - 1 for v, w in ((I_a, b), (x, 1 - b))]  # black where the weight is 0
        parts = [pixels(x), pixels(I_a), mask_pixels(b), *map(pixels, dark), pixels(edit.image.cpu())]
        lines.append((tables.direction(attribute, target), [p[0] for p in parts]))
    heads = ["I", "I_a = F_m(I, c)", "b = F_a(I)", "I_a b", "I (1 - b)", "I-hat"]
    alt = "One face a row: input, attribute image, mask, what each lets through, and their sum, the edited face"
    study.figure(montage(lines, heads), "fig_2", alt)


# ------------------------------------------------------------------------------------------------ edits and their measures


def edit_all(study, by: dict[str, Callable]) -> dict[str, Edits]:
    """{method: {(attribute, target): Edited}}: all methods on the same seeded choice of test faces, both directions."""
    cases = test_cases(study.faces, study.split, edited_attributes(study), study.settings.test_images)
    return edit_cases(by, cases, study.device)


def per_face(study, edits: dict[str, Edits], references: bool = True) -> pd.DataFrame:
    """The per-face table of all methods and, with `references`, of floors and ceiling; further column male_changed
    (No_Beard only): both judges say another value of Male of the edit than of the input."""
    parts = []
    for key, e in next(iter(edits.values())).items():
        versions = {method: own[key] for method, own in edits.items()}
        versions |= floors(e.case, study.faces, study.split, study.judges) if references else {}
        for method, version in versions.items():
            part = measures.per_face(method, version, study.judges)
            if e.attribute == "No_Beard" and "Male" in study.judges.trusted:
                (a, b), (a_x, b_x) = (study.judges.sees(faces, "Male", 1) for faces in (version.y, e.x))
                part["male_changed"] = (a != a_x) & (b != b_x)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def edit_rows(study, edits: dict[str, Edits], frame: pd.DataFrame) -> list[dict]:
    """The table `edits`: every measure of every method, floor and ceiling, and the realism of the methods' edits."""
    out = measures.summary(frame, "edits", f"{study.cfg.size}x{study.cfg.size}", protocols={"male_changed": "both judges' verdict on Male changes"})
    return out + [r for m, own in edits.items() for e in own.values() for r in measures.distribution_rows(e, study.judges, "edits", m)]


def own_label(study, edit: Callable) -> list[dict]:
    """Edits of the same test faces towards the label they have already: how far the image moves, where the masks lie,
    and how their sizes compare between attributes, paired by face."""
    parts, out = {}, []
    for a in edited_attributes(study):
        parts[a] = measures.own_label(edit, study.faces, study.split, a, study.settings.test_images, study.device)
        for metric in [m for m in ("own_label_l1", "mask_share", "mask_roi_mass") if m in parts[a]]:
            value = measures.mean(parts[a][metric], parts[a]["person"].to_numpy())
            out.append(row("own label", a, "SaGAN", metric, value, "test faces edited towards the label they have"))
    for a, b in (("Eyeglasses", "Mouth_Slightly_Open"), ("Mouth_Slightly_Open", "Smiling")):
        if {a, b} <= set(parts):
            gap = measures.mean(parts[b]["mask_share"] - parts[a]["mask_share"], parts[a]["person"].to_numpy())
            out.append(row("own label", f"{b} - {a}", "SaGAN", "mask_share difference", gap, "share of pixels with b > 0.1, paired by face"))
    return out


def comparisons(study, frame: pd.DataFrame, edits: dict[str, Edits]) -> list[dict]:
    """Paired differences and ratios between methods that the claims are decided by, over all edits and, where a claim
    asks for it, per direction."""
    both, table = "paired by face, both directions of all attributes", "comparisons"
    out = [row(table, "all", m, "edit_success", measures.value_of(frame[frame["method"] == m], "edit_success"), both) for m in edits]
    one = {name.split(" ")[0]: job for name, job in study.jobs.items()}  # a model of each method: all of one are trained alike
    shares = {m: one[m].method.share_of_paper(one[m].cfg) for m in edits}
    out += [row(table, "training", m, "share_of_paper", share, "images shown over its paper's") for m, share in shares.items()]
    for other in (*(m for m in RIVALS if m in edits), "constant G"):
        measured = ("edit_success", "identity_cosine", "change_outside_l1")
        out += compared(frame, table, "all", "SaGAN", other, measured, both)
    for own in ("SaGAN", "ResGAN") if {*RIVALS} <= {*edits} else ():
        value = measures.ratio(frame, own, ["CycleGAN", "StarGAN"], "change_outside_l1")
        out.append(row(table, "all", f"{own} / min(CycleGAN, StarGAN)", "change_outside_l1 ratio", value, both))
    for (a, target), e in edits["SaGAN"].items() if "StarGAN" in edits else ():
        part = frame[(frame["attribute"] == a) & (frame["target"] == target)]
        out += compared(part, table, e.row, "SaGAN", "StarGAN", ("edit_success",))
    if ("Eyeglasses", 1) in edits["SaGAN"] and "ResGAN" in edits:
        ours, theirs = (edits[m]["Eyeglasses", 1] for m in ("SaGAN", "ResGAN"))
        value = measures.frechet_difference(*map(study.judges.b.features, (theirs.y, ours.y, ours.real)))
        words = "features of judge b, the same faces"
        out.append(row(table, "Eyeglasses +", "ResGAN - SaGAN", "frechet_judge difference", value, words))
    return out + gender(frame)


def gender(frame: pd.DataFrame, table: str = "comparisons") -> list[dict]:
    """How often taking off a beard changes the judged gender: in every method, less the same of the exact
    counterfactual, and of SaGAN less the others."""
    if "male_changed" not in frame:
        return []
    beards = frame[(frame["attribute"] == "No_Beard") & (frame["target"] == 1)].astype({"male_changed": bool})
    how, methods = "both judges' verdict on Male changes, beards taken off", list(dict.fromkeys(beards["method"]))
    pairs = [(m, "counterfactual") for m in METHODS if {m, "counterfactual"} <= {*methods}]
    pairs += [("SaGAN", m) for m in RIVALS if m in methods]
    out = []
    for m in methods:
        share = measures.value_of(beards[beards["method"] == m], "male_changed")
        out.append(row(table, "No_Beard", m, "male_changed", share, how))
    for a, b in pairs:
        out += compared(beards, table, "No_Beard", a, b, ("male_changed",), f"{how}, paired by face")
    return out


def ablation_rows(study, edits: dict[str, Edits], frame: pd.DataFrame) -> list[dict]:
    """The table `ablations`: what every arm of `ablations` and of ResGAN's sweep does on the test faces of its
    attribute, beside the full method; and SaGAN's lead over b = 1."""
    parts = []
    for name, job in study.jobs.items():
        if study.has(name) and (name in ablations(study.cfg) or name.startswith("ResGAN, ")):
            edit = job.method.editor(study.models(name))
            own = {key: apply(edit, e.case, study.device) for key, e in edits["SaGAN"].items() if e.attribute == job.cfg.attribute}
            parts.append(per_face(study, {name: own}, references=False))
    if not parts:
        return []
    arms = pd.concat(parts, ignore_index=True)
    full = frame[frame["method"].isin(("SaGAN", "ResGAN")) & frame["attribute"].isin(arms["attribute"])]
    both = pd.concat([full, arms], ignore_index=True)
    names, words = ("edit_success", "change_outside_l1"), "paired by face, both directions"
    lead = compared(both, "ablations", "all", "SaGAN", "SaGAN, b = 1", names, words) if study.has("SaGAN, b = 1") else []
    lead = [r | {"column": "SaGAN - b = 1"} for r in lead]
    return measures.summary(both, "ablations", "test faces of that attribute") + lead


# ------------------------------------------------------------------------------------------------ pictures: Figs 1, 3 to 9


def boxed(x: Tensor, region: Tensor) -> list[np.ndarray]:
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


def figure_1(study, edits: dict[str, Edits], k: int = 3) -> None:
    """Fig. 1: inputs with the region boxed in red, then change and edit of StarGAN and SaGAN, putting on eyeglasses and
    closing the mouth (or whatever was edited)."""
    own = edits["SaGAN"]
    cases = [c for c in (("Eyeglasses", 1), ("Mouth_Slightly_Open", 0)) if c in own] or list(own)[:2]
    lines = [("input", [p for c in cases for p in boxed(own[c].x[:k], own[c].region[:k])])]
    for method in ("StarGAN", "SaGAN") if "StarGAN" in edits else ("SaGAN",):
        shown = [edits[method][c] for c in cases]
        lines.append((f"{method}, change", [p for e in shown for p in residual_pixels(e.x[:k], e.y[:k])]))
        lines.append((method, [p for e in shown for p in pixels(e.y[:k])]))
    alt = "Input with the region boxed, then change and edited face of StarGAN and of SaGAN"
    study.figure(montage(lines, [tables.direction(*c) for c in cases for _ in range(k)]), "fig_1", alt)


def figure_3(study, edits: dict[str, Edits]) -> None:
    """Fig. 3: input, edited face, mask, change, both directions of every attribute, the first of the seeded choice;
    then the faces that changed most outside the region."""
    alt = "Rows per attribute: input, edited by SaGAN, attention mask, change; left columns add the attribute, right columns remove it"
    study.figure(figures.edit_grid(edits["SaGAN"], 4), "fig_3", alt)
    alt = "The test faces that changed most outside the attribute's region: input, edited, change"
    study.figure(figures.worst(edits["SaGAN"], 2), "fig_3_worst", alt)


def figure_4_to_7(study, edits: dict[str, Edits], frame: pd.DataFrame, attribute: str, name: str, k: int = 4) -> None:
    """Figs 4 to 7: the same faces edited by all methods, with the change under each edit: the first of the seeded
    choice, then those that SaGAN's edit convinces the judges least of."""
    if (attribute, 1) not in edits["SaGAN"]:
        return print(f"Not drawn: no model for {attribute} is trained yet.")
    own = frame[(frame["method"] == "SaGAN") & (frame["attribute"] == attribute)]
    worst = {t: np.argsort(own.loc[own["target"] == t, "confidence"].to_numpy(), kind="stable")[:k] for t, _ in DIRECTIONS}
    alt = f"Input, then edited face and change by {', '.join(edits)}: {attribute.replace('_', ' ')}, added at the left, removed at the right"
    study.figure(grid(edits, attribute, {t: slice(k) for t, _ in DIRECTIONS}), name, alt)
    study.figure(grid(edits, attribute, worst), f"{name}_worst", f"The least convincing edits. {alt}")


def grid(edits: dict[str, Edits], attribute: str, chosen: dict[int, object]):
    """Input, then edit and change of every method, and the exact answer where there is one. chosen: which faces of
    either target."""
    ways = [t for t in chosen if (attribute, t) in next(iter(edits.values()))]
    shown = {method: [own[attribute, t] for t in ways] for method, own in edits.items()}
    return figures.beside(shown, [chosen[t] for t in ways], changes=True)


def figure_8(study, edit: Callable, k: int = 8) -> list[dict]:
    """Fig. 8: training faces, and their versions without and with each attribute, on which recognition networks are
    trained (Sec. 4.3). Returns metric rows: how far the version with the own label is from the face."""
    index = np.random.default_rng([SEED, 6]).permutation(study.split.train)[: study.settings.test_images]
    x, out = as_images(study.faces, index), []
    lines = [("training face", list(pixels(x[:k])))]
    for a in edited_attributes(study):
        removed, added = (run_edit(edit, a, x, target, study.device)[0] for target in (0, 1))
        for target, version in ((0, removed), (1, added)):
            lines.append((tables.direction(a, target), list(pixels(version[:k]))))
        has = torch.from_numpy(study.faces.column(a)[index]).bool()[:, None, None, None]
        value = measures.mean(measures.l1(torch.where(has, added, removed), x), study.faces.identities[index])
        out.append(row("Fig. 8", a, "SaGAN", "own_label_l1", value, "training faces edited towards the own label, [0, 1] scale"))
    study.figure(montage(lines), "fig_8", "Training faces; per attribute the same faces with the attribute removed, and with it added")
    return out


# ------------------------------------------------------------------------------------------------ LFW: Fig. 9


def lfw_edits(study, lfw: Lfw | None, by: dict[str, Callable]) -> tuple[list[dict], dict[str, Edits]]:
    """Fig. 9: all methods on LFW and on the test faces, both chosen by one rule that needs no labels (`unlabelled_cases`).
    Returns (metric rows, edits of LFW): success and judged gender in either place, and the drop of success from the
    test faces to LFW; without LFW one row that says so."""
    if lfw is None:
        return [row("Fig. 9", "LFW", "all", "edit_success drop", f"unavailable: {verification.NO_LFW}", "")], {}
    places = {"CelebA": (study.faces, study.split.test), "LFW": (lfw[0], np.arange(len(lfw[0])))}
    edits, frames, out = {}, {}, []
    for place, where in places.items():
        cases = unlabelled_cases(*where, study.judges, edited_attributes(study), study.settings.test_images)
        edits[place] = edit_cases(by, cases, study.device)
        frames[place] = per_face(study, edits[place], references=False)
        rows = measures.summary(frames[place], "Fig. 9", f"{place}, faces in which both judges saw the opposite", ["edit_success", "identity_cosine"])
        out += [r | {"row": f"{r['row']} on {place}"} for r in rows]
        out += [r | {"row": f"No_Beard on {place}"} for r in gender(frames[place], "Fig. 9") if r["column"] in by]
    for m in by:
        home, away = (measures.value_of(f[f["method"] == m], "edit_success") for f in (frames["CelebA"], frames["LFW"]))
        out.append(row("Fig. 9", "LFW", m, "edit_success drop", apart(home, away), "edit success on the test faces minus on LFW, all directions"))
    return out, edits["LFW"]


def figure_9(study, edits: dict[str, Edits], k: int = 4) -> None:
    """Fig. 9: faces of LFW, then every method's edits, per attribute."""
    alt = f"Faces of LFW, then edited face and change by {', '.join(edits)}"
    for attribute in dict.fromkeys(a for a, _ in edits.get("SaGAN", {})):
        study.figure(grid(edits, attribute, {t: slice(k) for t, _ in DIRECTIONS}), f"fig_9_{attribute}", f"{alt}: {attribute.replace('_', ' ')}")


def smiles(study, lfw: Lfw | None) -> list[dict]:
    """The share of faces in which both judges see a smile, on LFW and on the test faces, and their difference: what
    Sec. 4.3 explains Fig. 11 with."""
    if lfw is None:
        return []
    sets = {"LFW": (lfw[0], np.arange(len(lfw[0]))), "CelebA": (study.faces, study.split.test)}
    seen = {place: np.logical_and(*study.judges.sees(as_images(*one), "Smiling", 1)) for place, one in sets.items()}
    shares = {place: measures.proportion(seen[place], faces.identities[index]) for place, (faces, index) in sets.items()}
    out = [row("Fig. 11", place, "judges", "smiling share", share, "both judges see Smiling") for place, share in shares.items()]
    return [*out, row("Fig. 11", "LFW - CelebA", "judges", "smiling share difference", apart(*shares.values()), "both judges see Smiling")]


# ------------------------------------------------------------------------------------------------ claims (criteria fixed before any run)


def _each(metric: str, op: str, bound: float, attributes=ATTRIBUTES, rows=("{a} +", "{a} -"), column="SaGAN", table="edits") -> tuple[Test, ...]:
    return tuple(Test(f"{metric} | {r.format(a=a)} | {column}", op, bound, table=table) for a in attributes for r in rows)


def _overall(metric: str, column: str, op: str, bound: float, at: str = "value") -> Test:
    return Test(f"{metric} | all | {column}", op, bound, at, "comparisons")


def edited(*attributes: str) -> Precondition:
    words = f"SaGAN's edits of {', '.join(attributes)} succeed by both judges at least 60 %"
    return Precondition(words, _each("edit_success", ">=", 0.6, attributes))


def recognises(table: str, place: str) -> Precondition:
    auc, seeds = (Test(f"{m} | {place} | {verification.PLAIN}", ">=", least, table=table) for m, least in (("auc", 0.85), ("seeds", 3)))
    return Precondition("the network without augmentation has an AUC of at least .85, of three seeds", (auc, seeds))


TRUSTED = trusted(ATTRIBUTES)
TRAINED = Precondition("at least 5 % of the paper's training", (Test("share_of_paper | training | SaGAN", ">=", 0.05),))


def long_enough(*methods: str) -> Precondition:
    tests = tuple(Test(f"share_of_paper | training | {m}", ">=", 0.05) for m in methods)
    return Precondition(f"{', '.join(methods)} are trained for at least 5 % of their reference length", tests)


CLAIMS = (
    Claim(
        "H1", "Masks sit on the attribute's region", "Sec. 4.2, Fig. 3",
        "at least 60 % of the mask's mass in the region: Eyeglasses, Mouth_Slightly_Open, both directions",
        _each("mask_roi_mass", ">=", 0.60, ("Eyeglasses", "Mouth_Slightly_Open")), (edited("Eyeglasses", "Mouth_Slightly_Open"),),
    ),
    Claim(
        "H2", "Local attributes have smaller masks than global ones: eyeglasses < open mouth <= smile", "Sec. 4.2",
        "share of b > 0.1, paired by face: the 95 % interval of the first difference above 0, that of the second not below 0",
        (Test("mask_share difference | Mouth_Slightly_Open - Eyeglasses | SaGAN", ">", 0.0, "ci_low"),
         Test("mask_share difference | Smiling - Mouth_Slightly_Open | SaGAN", ">=", 0.0, "ci_low")),
        (edited("Eyeglasses", "Mouth_Slightly_Open", "Smiling"),),
    ),
    Claim(  # a method that edits nothing keeps everything: hence the precondition
        "H3", "SaGAN and ResGAN keep irrelevant pixels; CycleGAN and StarGAN do not", "Sec. 4.2, Figs 4-7",
        "change outside the region: SaGAN at most half of min(CycleGAN, StarGAN), ResGAN below both",
        (_overall("change_outside_l1 ratio", "SaGAN / min(CycleGAN, StarGAN)", "<=", 0.5),
         _overall("change_outside_l1 ratio", "ResGAN / min(CycleGAN, StarGAN)", "<", 1.0)),
        (works(*METHODS), long_enough(*METHODS)),
    ),
    Claim(  # where ResGAN puts on no glasses it has no artefacts of glasses
        "H4", "ResGAN has artefacts on the region, above all for eyeglasses", "Sec. 4.2, Fig. 4",
        "Frechet distance of faces given eyeglasses: ResGAN - SaGAN positive, its 95 % interval without 0",
        (Test("frechet_judge difference | Eyeglasses + | ResGAN - SaGAN", ">", 0.0, "ci_low"),),
        (works("SaGAN", "ResGAN", rows=("Eyeglasses +",), table="edits"), long_enough("SaGAN", "ResGAN")),
    ),
    Claim(  # the floor: one picture for all faces pleases every judge
        "H5a", "Edits succeed", "Sec. 4.2, Figs 3-7",
        "both judges see the target in at least 80 % of edits, each attribute and direction; the person and what lies outside the region are kept "
        "better than by constant G, one picture for all faces",
        (*_each("edit_success", ">=", 0.80), _overall("identity_cosine difference", "SaGAN - constant G", ">", 0.0, "ci_low"),
         _overall("change_outside_l1 difference", "SaGAN - constant G", "<", 0.0, "ci_high")),
        (TRUSTED, TRAINED),
    ),
    Claim(
        "H5b", "Edits succeed as often as StarGAN's", "Sec. 4.2, Figs 4-7",
        "no more than 5 points fewer than StarGAN's, each attribute and direction",
        _each("edit_success difference", ">=", -0.05, column="SaGAN - StarGAN", table="comparisons"),
        (TRUSTED, works("StarGAN"), long_enough("StarGAN")),
    ),
    Claim(  # the reference: how often the same face drawn with the other label is judged another gender
        "H6", "Removing a beard changes gender in all methods, in SaGAN modestly", "Sec. 4.2, Fig. 6",
        "the judged gender changes more often than in the exact counterfactual in every method, less often in SaGAN than in each other",
        (*(Test(f"male_changed difference | No_Beard | {m} - counterfactual", ">", 0.0, table="comparisons") for m in METHODS),
         *(Test(f"male_changed difference | No_Beard | SaGAN - {m}", "<", 0.0, table="comparisons") for m in RIVALS)),
        (edited("No_Beard"), works(*RIVALS, rows=("No_Beard +",), table="edits"), long_enough(*METHODS)),
    ),
    Claim(  # success that rises on LFW is no small drop
        "H7", "On LFW the others degrade, SaGAN does almost as well", "Sec. 4.2, Fig. 9",
        "edit success from CelebA to LFW: SaGAN's changes by at most 5 points, every other falls by more than 5",
        (Test("edit_success drop | LFW | SaGAN", "in", -0.05, table="Fig. 9", high=0.05),
         *(Test(f"edit_success drop | LFW | {m}", ">", 0.05, table="Fig. 9") for m in RIVALS)),
        (works(*METHODS), long_enough(*METHODS)),
    ),
    Claim(  # a generator that does nothing returns every input
        "H8", "Editing towards the label that a face has returns the input", "Sec. 4.3",
        "mean |G(I, c^g) - I| at most 2/255 on the [0, 1] scale, each attribute",
        _each("own_label_l1", "<=", 2 / 255, rows=("{a}",), table="own label"), (edited(*ATTRIBUTES),),
    ),
    Claim(
        "H9", "Augmentation with edits improves verification on CelebA", "Sec. 4.3, Fig. 10",
        "gain of TPR at FPR 1e-3 over x3 copies positive in the mean of three seeds for 4 of 4 attributes",
        tuple(Test(f"tpr_at_fpr_1e-3 gain | CelebA | {a}", ">", 0.0, table="Fig. 10") for a in ATTRIBUTES),
        (recognises("Fig. 10", "CelebA"), edited(*ATTRIBUTES)),
    ),
    Claim(
        "H10", "Augmentation improves verification on LFW, except for smile", "Sec. 4.3, Fig. 11",
        "AUC gain over x3 copies positive for the other three, not positive for Smiling",
        tuple(Test(f"auc gain | LFW | {a}", "<=" if a == "Smiling" else ">", 0.0, table="Fig. 11") for a in ATTRIBUTES),
        (recognises("Fig. 11", "LFW"), edited(*ATTRIBUTES)),
    ),
    Claim(
        "H11", "The reason given: LFW has few smiling faces", "Sec. 4.3",
        "the judges' share of Smiling: LFW - CelebA below 0, its 95 % interval without 0",
        (Test("smiling share difference | LFW - CelebA | judges", "<", 0.0, "ci_high", "Fig. 11"),),
    ),
    Claim(
        "H12", "An attention mask beats a sparse residual", "Secs 1, 2.3",
        "against b = 1 (Smiling) and against ResGAN: no lower edit success and a smaller change outside the region",
        (Test("edit_success difference | all | SaGAN - b = 1", ">=", 0.0, table="ablations"),
         Test("change_outside_l1 difference | all | SaGAN - b = 1", "<", 0.0, "ci_high", "ablations"),
         _overall("edit_success difference", "SaGAN - ResGAN", ">=", 0.0),
         _overall("change_outside_l1 difference", "SaGAN - ResGAN", "<", 0.0, "ci_high")),
        (works("SaGAN", "ResGAN"), edited("Smiling"), long_enough("SaGAN", "ResGAN")),
    ),
)  # fmt: skip

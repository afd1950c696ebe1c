"""SG-GAN's evaluation: what is trained for it, its figures, tables, comparisons and claims. Sec. 4, Figs 1 to 6, Tables 1 to 5.

`edits` is {method: edit}, `cases` the test faces to flip, `frame` the per-face table of all methods: see flips.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.baselines import resgan, stargan
from lib.claims import Claim, Precondition, Test
from lib.data.splits import narrowed
from lib.evaluation import edits as editing
from lib.evaluation import measures
from lib.evaluation.judges import as_images
from lib.evaluation.measures import row
from lib.pages import schematics, tables
from lib.pages.figures import montage, pixels
from lib.papers.sggan import flips
from lib.papers.sggan import model as sggan
from lib.papers.sggan.flips import Flips
from lib.papers.sggan.model import GROUPS, Group, groups_named, groups_of
from lib.training.config import listed, require, require_each
from lib.training.models import Job

ALL, SOME, FEW = "SG-GAN(ALL)", "SG-GAN(5 %)", "SG-GAN(0.5 %)"
RIL, PLAIN, ALONE, SHARED = "SG-GAN, RIL", "SG-GAN, no residual", "SG-GAN, no mixed", "SG-GAN, shared decoder"
ARMS = (ALL, SOME, FEW, RIL, PLAIN, ALONE, SHARED)
MAIN = ("ResidualGAN", "StarGAN", ALL, SOME, FEW)  # the rows of Fig. 3 and of Tables 1 and 2
LOCAL = ("smile", "lipstick")  # ResidualGAN's weight of sparsity is a hundredth on all other attributes: its Sec. 4


@dataclass(frozen=True)
class Settings:
    """What evaluation reads, and what is trained for comparison. Profile `paper` is the default."""

    faces: int = 200_000  # drawn faces to render (a folder of faces is read whole)
    split: str = "official"  # D9
    test_images: int = 2_500  # test faces per group and direction, at most: Sec. 4.2 has 5,000 in all
    labels_some: int = 5_000  # labelled images per value: SG-GAN(5000), Sec. 4.3, D15
    labels_few: int = 500  # SG-GAN(500)
    joint: str = "gender, hair, lipstick, pale"  # Fig. 4
    pale_labels: str = "0, 1000, 100, 10"  # Fig. 5, 0 for all pale faces (8,494 in CelebA): D16
    sweep_steps: int = 20_000  # G updates of each model of Fig. 5

    def __post_init__(self):
        groups_named(self.joint)
        digits = all(text.isdigit() for text in listed(self.pale_labels))
        require(digits, "pale_labels", self.pale_labels, "whole numbers joined by commas")
        require_each(self, "at least 2", "test_images")
        require_each(self, "at least 1", "faces", "labels_some", "labels_few", "sweep_steps")


SETTINGS = {
    "smoke": Settings(1_500, test_images=6, labels_some=12, labels_few=4, joint="smile, pale", pale_labels="0, 4", sweep_steps=2),
    "cpu": Settings(40_000, test_images=100, labels_some=700, labels_few=70, pale_labels="0, 250, 50, 10", sweep_steps=2_000),
    "gpu": Settings(60_000, test_images=500, labels_some=1_000, labels_few=100, pale_labels="0, 300, 55, 10", sweep_steps=2_500),
    "paper": Settings(),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ what is trained


def budgets(study) -> dict[str, int]:
    """The columns of Fig. 5: name -> how many labelled pale faces, 0 for all that there are."""
    return {"all" if k == "0" else k: int(k) for k in listed(study.settings.pale_labels)}


def jobs(plan) -> dict[str, Job]:
    """Every model of the notebook: SG-GAN and its arms; StarGAN, its own schedule shortened by the same factor, a
    ResidualGAN per group with as many updates of its generators as SG-GAN's, both as wide; and Figs 4 and 5. Raises
    DataError where a value of a group has too few test faces."""
    cfg, s = plan.cfg, plan.settings
    for group in (*groups_of(cfg), *groups_named(s.joint), GROUPS["pale"]):
        flips.both_values(plan, group)
    groups, down = groups_of(cfg), {"size": cfg.size, "d_layers": sggan.n_down(cfg.size)}
    out = {name: plan.job(sggan, arm) for name, arm in sggan.arms(cfg, s.labels_some, s.labels_few).items()}
    steps = max(2, round(sggan.share_of_paper(cfg) * stargan.PAPER_STEPS))
    star = replace(stargan.PROFILES[plan.profile](), width=cfg.width, g_steps=steps, sampler="natural", **down)
    res = replace(resgan.PROFILES[plan.profile](), width=cfg.width, steps=cfg.g_steps, **down)

    def residual(group: Group, **fields) -> Job:
        factor = 1.0 if group.name in LOCAL else 0.01
        arm = replace(res, attribute=group.one, alpha=factor * res.alpha, beta=factor * res.beta, **fields)
        known = narrowed(plan.split, plan.faces, group.labels(plan.faces) >= 0, f"those with a value of {group.name}")
        return plan.job(resgan, arm, split=known if group.zero else plan.split)

    out["StarGAN"] = plan.job(stargan, replace(star, attributes=",".join(flips.columns_of(groups))))
    out |= {f"ResidualGAN {g.name}": residual(g) for g in groups}
    out["SG-GAN, joint"] = plan.job(sggan, replace(cfg, attributes=s.joint))
    out["StarGAN, joint"] = plan.job(stargan, replace(star, attributes=",".join(flips.columns_of(groups_named(s.joint)))))
    pale, columns = GROUPS["pale"], budgets(plan)
    star = replace(star, attributes=pale.one, g_steps=s.sweep_steps)
    arms = sggan.sweep(replace(cfg, g_steps=s.sweep_steps), tuple(columns.values()))
    for name, k in columns.items():
        out[f"SG-GAN({name})"] = plan.job(sggan, arms[k])
        out[f"StarGAN({name})"] = plan.job(stargan, replace(star, labels="sparse", per_value=k, repeat=arms[k].repeats))
        out[f"ResidualGAN({name})"] = residual(pale, per_value=k, steps=s.sweep_steps)
    out["StarGAN(balance)"] = plan.job(stargan, replace(star, labels="labelled"))
    return out


def own(plan) -> list[str]:
    """The paper's own model without which there is no page: the one that every figure and most claims are about."""
    return [ALL]


def pools(study) -> pd.DataFrame:
    """What every SG-GAN of this study is trained on: labels per value, labelled images, size of the pool, labelled
    share."""
    own = {name: job.cfg for name, job in study.jobs.items() if job.method is sggan}
    rows = [{"model": name} | sggan.pool_facts(study.faces, study.split, study.seed, cfg) for name, cfg in own.items()]
    return pd.DataFrame(rows).fillna("")


def histories(study) -> pd.DataFrame:
    """The curves of the label budgets and the ablation, as far as they are at hand, named in the column `stage`."""
    names = filter(study.has, (ALL, SOME, FEW, RIL, PLAIN))
    return pd.concat([study.history(name).assign(stage=name) for name in names], ignore_index=True)


# ------------------------------------------------------------------------------------------------ edits


def trained(study, names: Iterable[str]) -> dict[str, Callable]:
    """name -> edit, of those of these models that are at hand. A ResidualGAN is one of pale skin."""
    out = {}
    for name in filter(study.has, names):
        job = study.jobs[name]
        if job.method is sggan:
            out[name] = sggan.editor(study.models(name), job.cfg)
        elif job.method is stargan:
            out[name] = flips.by_labels(study, name)
        else:
            out[name] = flips.by_models({"pale": study.nets(name)})
    return out


def editors(study) -> dict[str, Callable]:
    """method -> edit, of all models at hand that edit this study's groups, those of Fig. 3 first."""
    names = {g.name: f"ResidualGAN {g.name}" for g in groups_of(study.cfg)}
    residual = {group: study.nets(name) for group, name in names.items()} if study.has(*names.values()) else {}
    return ({"ResidualGAN": flips.by_models(residual)} if residual else {}) | trained(study, ("StarGAN", *ARMS))


# ------------------------------------------------------------------------------------------------ tables


def comparisons(study, frame: pd.DataFrame) -> list[dict]:
    """What the claims about Tables 2 and 3 are decided by: differences and ratios, what D's classifier makes of real
    test faces and what mixed images add to that, the share of training."""
    out = []
    for group in frame["group"].unique():
        for a, b in ((SOME, ALL), (FEW, ALL), (FEW, RIL)):
            out += flips.compared(frame, "comparisons", group, a, b, ["edit_success"])
        for a, b in ((ALL, "StarGAN"), (ALL, "ResidualGAN"), ("StarGAN", "ResidualGAN")):
            out += flips.compared(frame, "comparisons", group, a, b, ["unrelated_accuracy smile", "change_outside_l1", "edit_success"])
    for a, b in ((ALL, "constant G"), (FEW, "constant G"), (ALL, "StarGAN"), (PLAIN, FEW), (FEW, ALONE), (ALL, SHARED), (SOME, ALL)):
        names = ["edit_success", "unrelated_kept", "identity_cosine", "change_outside_l1", "sharpness"]
        out += flips.compared(frame, "comparisons", "all", a, b, names)
    out += flips.compared(frame, "comparisons", "all", RIL, FEW, ["change_inside_l1"], "ratio")
    groups, test, device = groups_of(study.cfg), study.split.test, study.device
    x, c = as_images(study.faces, test), torch.from_numpy(np.stack([g.labels(study.faces)[test] for g in groups], 1))
    known, people = (c >= 0).flatten().numpy(), np.repeat(study.faces.identities[test], len(groups))
    models = list(filter(study.has, (ALL, SOME, FEW, ALONE)))
    right = {m: sggan.d_accuracy(study.nets(m), x.to(device), c.to(device)).flatten()[known] for m in models}
    if {FEW, ALONE} <= {*models}:
        right[f"{FEW} - {ALONE}"] = right[FEW] - right[ALONE]
    for column, hits in right.items():
        metric, value = f"d_accuracy{'' if column in models else ' difference'}", measures.mean(hits, people[known])
        out.append(row("comparisons", "all", column, metric, value, "D's classifier on real test faces, all groups"))
    share, protocol = sggan.share_of_paper(study.cfg), "images shown to G over those of the paper's training"
    return [*out, row("comparisons", "all", ALL, "share_of_paper", share, protocol, 1)]


HEADS = {"gender": "Gender", "smile": "Smile", "hair": "Hair Color", "lipstick": "Lipstick"}
PRINTED_AS = {SOME: "SG-GAN(5000)", FEW: "SG-GAN(500)", "real faces": "CelebA"}


def cell_1(r: dict) -> tuple[str, str] | None:
    """Where a metric row belongs in Table 1: (row, column) of results/paper_values.csv."""
    method, what = PRINTED_AS.get(r["column"], r["column"]), {"is_judge": "mean", "is_judge_std": "std"}.get(r["metric"])
    head = "All" if (method, r["row"]) == ("CelebA", "all") else HEADS.get(r["row"])
    return (method, f"{head} {what}") if head and what else None


def cell_2(r: dict) -> tuple[str, str] | None:
    """Where a metric row belongs in Table 2."""
    edited, _, other = r["row"].partition(" edit, ")
    head, method = HEADS.get(edited), PRINTED_AS.get(r["column"], r["column"])
    what = {"edit_success": head, "unrelated_accuracy": HEADS.get(other), "background_a": "Background"}.get(r["metric"])
    return (method, f"{head} / {what}") if edited in ("gender", "hair") and what else None


def cell_3(r: dict) -> tuple[str, str] | None:
    """Where a metric row belongs in Table 3."""
    method = {RIL: "RIL", FEW: "Refined RIL"}.get(r["column"], r["column"])
    return (method, HEADS[r["row"]]) if r["metric"] == "edit_success" and r["row"] in ("gender", "smile", "hair") else None


def table_1(study, frame: pd.DataFrame) -> list[dict]:
    """Table 1: the Inception score's formula on the joint classes of judge b, the ResNet-18 (`is_judge`). If all the
    methods of Fig. 3 are at hand: in what share of the groups SG-GAN(ALL) leads, and by more than its own spread."""
    columns, out, known = [c for c in frame if c.startswith("p ")], [], {}
    protocol = f"{2 ** len(columns)} joint classes of judge b, a ResNet-18; ten splits"
    parts = [*frame.groupby(["group", "method"], sort=False), (("all", "real faces"), frame[frame["method"] == "real faces"])]
    for (group, method), part in parts:
        known[group, method] = value, spread = flips.inception_score(flips.joint_classes(part[columns].to_numpy(float)))
        out += [row("Table 1", group, method, k, v, protocol, len(part)) for k, v in (("is_judge", value), ("is_judge_std", spread))]
    groups = frame["group"].unique() if {*MAIN} <= {*frame["method"]} else ()
    gaps = {g: known[g, ALL][0] - max(known[g, m][0] for m in MAIN if m != ALL) for g in groups}
    hits = {"best_share": [gaps[g] >= 0 for g in groups], "clear_share": [gaps[g] > known[g, ALL][1] for g in groups]}
    said = "highest is_judge of Table 1's rows"
    return out + [row("Table 1", "all", ALL, k, float(np.mean(v)), said, len(v)) for k, v in hits.items() if v]


def realism(study, edits: dict[str, Callable], cases: Flips) -> list[dict]:
    """Frechet distances to real faces with the target, and times, of Fig. 3's methods and one picture for all faces."""
    out = []
    for (name, value), case in cases.items():
        versions = {m: flips.flipped(edits[m], name, value, case, study.device) for m in MAIN if m in edits}
        versions["constant G"] = editing.floors(case, study.faces, study.split, study.judges)["constant G"]
        for method, e in versions.items():
            out += measures.distribution_rows(e, study.judges, "realism", method)
    return out


def layers(cfg: sggan.Config) -> pd.DataFrame:
    """Tables 4 and 5 as the modules of a configuration are, one output's branch: network, layer, kernel, stride,
    output."""
    nets, x = sggan.build(replace(cfg, attributes="hair")), torch.zeros(1, 3, cfg.size, cfg.size)
    h, branch = nets.G.shared(x).detach(), nets.G.branches[0]
    calls = {"G, shared": (nets.G.shared, x), "G, one output": (branch, h, x, 0), "D": (nets.D, x)}
    parts = [schematics.layer_table(partial(*call), call[0], (sggan.Block,)).assign(network=name) for name, call in calls.items()]
    return pd.concat(parts, ignore_index=True)


def architecture(study) -> pd.DataFrame:
    """Tables 4 and 5: the layers at the printed size and width beside this study's (D4, D17)."""
    printed, ours = (layers(cfg).set_index(["network", "name"]) for cfg in (sggan.Config(), study.cfg))
    both = printed[["kind", "kernel", "stride", "output"]].join(ours[["output", "parameters"]], rsuffix=" here", how="outer", sort=False)
    return both.reindex(printed.index.union(ours.index, sort=False)).reset_index().fillna("")


# ------------------------------------------------------------------------------------------------ pictures


def shown(cases: Flips, k: int) -> np.ndarray:
    """k test faces for figures: the first of the seeded choice, half of either value of hair (other faces have no value
    of it), else of the first group."""
    names = [name for name, _ in cases]
    group = "hair" if "hair" in names else names[0]
    return np.concatenate([cases[group, 1].index[: k - k // 2], cases[group, 0].index[: k // 2]])


def pictures(study, cases: Flips, k: int) -> Tensor:
    """(k, 3, S, S): the faces of `shown`, on the study's device."""
    return as_images(study.faces, shown(cases, k)).to(study.device)


def _own(group: str, study, i: int) -> float:
    return max(float(GROUPS[group].labels(study.faces)[i]), 0.0)  # a face of another hair colour counts as black


def grid(study, edits: dict[str, Callable], index: np.ndarray, columns: dict[str, tuple[str, ...]], residual: bool = False):
    """For each face a block of rows, one per method, and the exact answer of a drawn face: the face, then each column's
    groups turned to their other values. residual: as many columns again with twice the mean absolute change over the
    colours."""
    lines = []
    for i in index:
        x = as_images(study.faces, np.array([i])).to(study.device)
        answer = {} if study.faces.faces is None else {"exact answer": flips.exact(study, i)}
        for method, edit in (edits | answer).items():
            ys = [edit(names, x, tuple(1 - _own(name, study, i) for name in names)).image for names in columns.values()]
            changes = [2 * (y - x).abs().mean(1, keepdim=True) - 1 for y in ys] if residual else []
            lines.append((method, [pixels(t.cpu())[0] for t in (x, *ys, *changes)]))
    return montage(lines, ["input", *columns, *([f"|change|,\n{c}" for c in columns] if residual else [])])


def figure_1(study, k: int = 8) -> None:
    """Fig. 1: the data as SG-GAN(5 %) gets them: labelled faces of either value of hair, and mixed ones."""
    group = next((g for g in groups_of(study.cfg) if g.zero), groups_of(study.cfg)[0])
    c = sggan.grouped(study.faces, study.split, study.seed, replace(study.jobs[SOME].cfg, attributes=group.name))[:, 0]
    rows = {f"{group.name}, c = 0": c == 0, f"{group.name}, c = 1": c == 1, "mixed, c unknown": c < 0}
    lines = [(f"{name}\n{have.sum():,} images", list(pixels(as_images(study.faces, study.split.train[have][:k])))) for name, have in rows.items()]
    study.figure(montage(lines), "fig_1", "Rows: labelled faces of either value of one attribute, and mixed faces without labels")


@torch.no_grad()
def figure_2(study, cases: Flips) -> None:
    """Fig. 2: one face through G and D: the feature map F of every output (mean over channels, each on its own scale),
    the output, and what D says of it."""
    nets, x = study.nets(ALL), pictures(study, cases, 1)
    h, tops, outputs, heads = nets.G.shared(x), [], [], []
    scores, logits = nets.D(nets.G(x).flatten(0, 2))
    for k, branch in enumerate(nets.G.branches):
        j, value = divmod(k, sggan.M_VALUES)
        F = branch.norms[0](branch.dec2(h)).relu().mean(1, keepdim=True)
        tops.append(pixels(2 * (F / F.amax().clamp_min(1e-6)).cpu() - 1)[0])
        outputs.append(pixels(branch(h, x, k).cpu())[0])
        p = logits[k, j].softmax(0)[value].item()
        heads.append(f"{groups_of(study.cfg)[j].name} = {value}\nD_cls {p:.2f}\nD_adv {scores[k].mean():.2f}")
    lines = [("F", [None, *tops]), ("output", [pixels(x.cpu())[0], *outputs])]
    alt = "One face: feature map and output of every branch of the generator, with the discriminator's probabilities and scores"
    study.figure(montage(lines, [f"x\n\nD_adv {nets.D(x)[0].mean():.2f}", *heads]), "fig_2", alt)


def figure_3(study, edits: dict[str, Callable], cases: Flips) -> None:
    """Fig. 3: five methods, every group turned to its other value, and two groups at once (D13). Appendix 6.2: more
    faces, SG-GAN(ALL)."""
    groups = [g.name for g in groups_of(study.cfg)]
    pairs = combinations([g for g in groups if g in ("gender", "smile", "hair")], 2)
    columns = {g: (g,) for g in groups} | {f"{a}\n+ {b}": (a, b) for a, b in pairs}
    alt = "Per face one row per method: input, every attribute turned to its other value, two attributes at once"
    study.figure(grid(study, {m: edits[m] for m in MAIN if m in edits}, shown(cases, 4), columns), "fig_3", alt)
    alt = "Twelve faces, a row each: input and every attribute turned to its other value"
    study.figure(grid(study, {ALL: edits[ALL]}, shown(cases, 12), {g: (g,) for g in groups}), "appendix_6_2", alt)


def figure_4(study, cases: Flips) -> list[dict]:
    """Fig. 4: StarGAN and SG-GAN trained jointly with pale skin, and where the picture changed. Returns it in numbers:
    what edits of hair and gender do to the rest of the skin."""
    groups, names = groups_named(study.settings.joint), ("StarGAN, joint", "SG-GAN, joint")
    edits = trained(study, names)
    if not edits:
        return []
    alt = "Per face StarGAN and SG-GAN: every attribute turned to its other value, and where the picture changed"
    study.figure(grid(study, edits, shown(cases, 2), {g.name: (g.name,) for g in groups}, residual=True), "fig_4", alt)
    frame = flips.measured(study, edits, flips.cases_of(study, groups), skin=True)
    out = flips.group_rows(frame, "Fig. 4")
    for group in ("hair", "gender"):
        out += flips.compared(frame, "Fig. 4", group, *names, ["skin_shift", "pale_change"], "ratio")
    return out


def figure_5(study) -> list[dict]:
    """Fig. 5: pale skin turned to its other value, from fewer and fewer labelled faces. Returns it in numbers, with
    SG-GAN against StarGAN for the two smallest numbers of labels."""
    names, lines = budgets(study), []
    edits = trained(study, [f"{m}({k})" for k in names for m in ("ResidualGAN", "SG-GAN")])
    edits |= trained(study, [f"StarGAN({k})" for k in (*names, "balance")])
    if not edits:
        return []
    columns = [k for k in (*names, "balance") if any(name.endswith(f"({k})") for name in edits)]
    cases = flips.cases_of(study, [GROUPS["pale"]])
    for i in shown(cases, 4):
        x = as_images(study.faces, np.array([i])).to(study.device)
        for method in ("ResidualGAN", "StarGAN", "SG-GAN"):
            own = [edits.get(f"{method}({k})") for k in columns]
            ys = [None if edit is None else pixels(edit("pale", x, 1 - _own("pale", study, i)).image.cpu())[0] for edit in own]
            lines += [(method, [pixels(x.cpu())[0], *ys])] if any(own) else []
    alt = "Per face ResidualGAN, StarGAN and SG-GAN: pale skin turned to its other value, per number of labelled faces"
    study.figure(montage(lines, ["input", *columns]), "fig_5", alt)
    frame = flips.measured(study, edits, cases)
    out = flips.group_rows(frame, "Fig. 5")
    fewest, measured = sorted(filter(None, names.values())), ["edit_success", "change_outside_l1", "identity_cosine"]
    for k, place in zip(fewest, ("fewest", "second fewest"), strict=False):
        for r in flips.compared(frame, "Fig. 5", "all", f"SG-GAN({k})", f"StarGAN({k})", measured):
            out.append(r | {"row": f"pale, {place} labels", "column": "SG-GAN - StarGAN"})
    return out


def figure_6(study, edits: dict[str, Callable], cases: Flips) -> None:
    """Fig. 6: without residual learning, with the sum, with the concatenation; few labels."""
    ablation = {words: edits[m] for words, m in (("none", PLAIN), ("RIL", RIL), ("RRIL", FEW)) if m in edits}
    if not ablation:
        return print("Not drawn: no model of Fig. 6 is at hand.")
    alt = "Per face three rows: without, with and with refined residual learning; every attribute turned to its other value"
    study.figure(grid(study, ablation, shown(cases, 4), {g.name: (g.name,) for g in groups_of(study.cfg)}), "fig_6", alt)


def spectrum(t: Tensor) -> tuple[np.ndarray, float]:
    """Mean power spectrum (S, S) of pictures (n, C, S, S), frequency 0 in the middle; and how far its power at periods
    of 2 and 4 pixels stands out: the mean over those frequencies of the power over that of the neighbours. 1: it does
    not."""
    power = torch.fft.fft2(t.mean(1).double()).abs().square().mean(0)
    around = sum(power.roll((a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b) / 8
    step = len(power) // 4
    peaks = (power / around.clamp_min(1e-12))[::step, ::step].flatten()[1:]
    return torch.fft.fftshift(power).numpy(), peaks.mean().item()


def chequerboards(study, edits: dict[str, Callable], cases: Flips, k: int = 32) -> list[dict]:
    """Where regular patterns of two and four pixels come from: spectra of faces, of what edits change, of what an
    untrained G makes of the same faces, and of the gradient that D gives to G."""
    (name, value), case = next(iter(cases.items()))
    x = case.x[:k].to(study.device)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(study.seed)
        untrained = sggan.build(study.cfg).G.to(study.device)(x)[:, 0, value]
    x_d = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(study.nets(ALL).D(x_d)[0].sum(), x_d)
    pictured = {"faces": x, "untrained G": untrained, "gradient of D": slope}
    pictured |= {f"change, {m}": edits[m](name, x, float(value)).image - x for m in MAIN if m in edits}
    spectra = {label: spectrum(t.detach().cpu()) for label, t in pictured.items()}
    tiles = []
    for power, _ in spectra.values():
        log = np.log10(power + 1e-9)
        grey = np.clip((log - np.quantile(log, 0.02)) / max(np.ptp(log), 1e-9) * 255, 0, 255).astype(np.uint8)
        tiles.append(np.repeat(grey[..., None], 3, 2))
    alt = "Power spectra: bright points a quarter and half of the way to the border are patterns of four and two pixels"
    study.figure(montage([("log power", tiles)], [label.replace(", ", ",\n") for label in spectra]), "chequerboards", alt, faces=False)
    protocol = "power at periods of 2 and 4 pixels over that of neighbouring frequencies"
    return [row("chequerboards", name, label, "pattern_peak", peak, protocol, len(x)) for label, (_, peak) in spectra.items()]


# ------------------------------------------------------------------------------------------------ question, finding, claims

QUESTION = "A few labelled faces are enough to train one network that edits several attributes."


def finding(rows: pd.DataFrame, share: float) -> str:
    """What the rows of Table 2 answer, for the index. share: of the paper's training, in [0, 1]."""
    means, outside = (rows[rows["metric"] == name].groupby("column")["value"].mean() for name in ("edit_success", "change_outside_l1"))
    ways = {ALL: "of the edits with all labels", SOME: "with 5 % of them", FEW: "with 0.5 %", "StarGAN": "by StarGAN with all labels"}
    shares = ", ".join(f"{100 * means[method]:.0f} % {words}" for method, words in ways.items() if method in means)
    each = ", ".join(f"{r.row} {100 * r.value:.0f} %" for r in rows[(rows["metric"] == "edit_success") & (rows["column"] == ALL)].itertuples())
    text = f"{tables.trained_for(share)} Both judges see the requested value in {shares} (with all labels: {each})."
    text += f" Outside the region, pixels change on average by {100 * outside[ALL]:.2g} % of the brightness range." if ALL in outside else ""
    return text if SOME in means else f"{text} With fewer labels, which the claim is about, nothing is trained yet."


def _differ(metric: str, op: str, bound: float, pair: str, groups: str, at: str = "value", table: str = "comparisons") -> tuple[Test, ...]:
    return tuple(Test(f"{metric} difference | {g} | {pair}", op, bound, at, table) for g in groups.split("; "))


def works(groups: str, *methods: str, table: str = "Table 2") -> Precondition:
    """Both judges see the target in at least 60 % of the edits: what does not edit keeps everything else."""
    tests = tuple(Test(f"edit_success | {g} | {m}", ">=", 0.6, table=table) for m in methods for g in listed(groups))
    return Precondition(f"edits of {groups} by {', '.join(methods)} succeed by both judges at least 60 %", tests)


def keeps(method: str) -> Precondition:
    """It beats one and the same picture for all faces, which no term of the losses forbids."""
    pair = f"{method} - constant G"
    tests = _differ("identity_cosine", ">", 0.0, pair, "all", "ci_low") + _differ("change_outside_l1", "<", 0.0, pair, "all", "ci_high")
    return Precondition(f"{method} keeps the person, and what lies outside the edit, better than one picture for all faces", tests)


TRAINED = Precondition("at least 5 % of the paper's training", (Test(f"share_of_paper | all | {ALL}", ">=", 0.05, table="comparisons"),))

CLAIMS = (
    Claim(
        "H1", "SG-GAN(ALL) obtains the highest Inception score in most cases", "Sec. 4.3, Table 1",
        "highest is_judge of Table 1's rows in 3 of 4 attributes, in 2 of 4 by more than its own standard deviation (printed leads are below one)",
        (Test(f"best_share | all | {ALL}", ">=", 0.75, table="Table 1"), Test(f"clear_share | all | {ALL}", ">=", 0.5, table="Table 1")),
        (TRAINED, works("gender, smile, hair", ALL), keeps(ALL)),
    ),
    Claim(  # asked of both judges; a method that fails with all labels loses nothing with few
        "H2", "A few labels are enough: gender 99.03, 93.79, 93.36; hair 98.99, 95.72, 88.91 %", "Sec. 4.3, Table 2",
        "success falls by at most 10 points with 5 % of the labels; with 0.5 % by at most 10 (gender) and 15 (hair)",
        _differ("edit_success", ">=", -0.10, f"{SOME} - {ALL}", "gender; hair") + _differ("edit_success", ">=", -0.10, f"{FEW} - {ALL}", "gender")
        + _differ("edit_success", ">=", -0.15, f"{FEW} - {ALL}", "hair"),
        (TRAINED, works("gender, hair", ALL), keeps(ALL)),
    ),
    Claim(
        "H3", "Unrelated attributes are kept better than by the baselines", "Sec. 4.3, Table 2",
        "smile is recognised at least as often after a gender edit as with StarGAN and ResidualGAN (printed lead: 1 point)",
        _differ("unrelated_accuracy", ">=", 0.0, f"{ALL} - StarGAN", "gender edit, smile")
        + _differ("unrelated_accuracy", ">=", 0.0, f"{ALL} - ResidualGAN", "gender edit, smile"),
        (TRAINED, works("gender", ALL, "StarGAN", "ResidualGAN"), keeps(ALL)),
    ),
    Claim(  # outside the exact region: at small sizes hair lies in the printed corner
        "H4", "The background is kept best by SG-GAN, then StarGAN, then ResidualGAN", "Sec. 4.3, Table 2",
        "change outside the edit's region in that order, edits of gender and of hair",
        tuple(t for pair in (f"{ALL} - StarGAN", "StarGAN - ResidualGAN") for t in _differ("change_outside_l1", "<", 0.0, pair, "gender; hair")),
        (TRAINED, works("gender, hair", ALL, "StarGAN", "ResidualGAN"), keeps(ALL)),
    ),
    Claim(  # 30 points, half of the smallest printed lead: a short training may leave RIL above its printed fifth
        "H5", "Refined residual learning edits far better than residual learning: 93.26 against 18.77, 82.67 against 23.67, 88.91 against 21.35 %",
        "Sec. 4.5, Table 3", "success at least 30 points higher for gender, smile and hair",
        _differ("edit_success", ">=", 0.30, f"{FEW} - {RIL}", "gender; smile; hair"),
        (TRAINED, works("gender, smile, hair", FEW), keeps(FEW)),
    ),
    Claim(  # inside the region, where a face repainted all over counts no more than an edit
        "H6", "With residual learning the output comes close to the input", "Sec. 4.5",
        "change inside the edit's region below half of that of refined residual learning",
        (Test(f"change_inside_l1 ratio | all | {RIL} / {FEW}", "<", 0.5, table="comparisons"),), (TRAINED, works("gender, smile, hair", FEW)),
    ),
    Claim(  # blur is measured: gradient energy over the input's
        "H7", "Without residual learning images are blurry and lose what should stay", "Sec. 4.5, Fig. 6",
        "less sharp, more changed outside the region and a lower identity cosine than with refined residual learning, intervals without 0",
        _differ("sharpness", "<", 0.0, f"{PLAIN} - {FEW}", "all", "ci_high")
        + _differ("change_outside_l1", ">", 0.0, f"{PLAIN} - {FEW}", "all", "ci_low")
        + _differ("identity_cosine", "<", 0.0, f"{PLAIN} - {FEW}", "all", "ci_high"),
        (TRAINED, works("gender, smile, hair", FEW, PLAIN)),
    ),
    Claim(  # a tint, not the judge's nervousness about repainted faces
        "H8", "Trained with pale skin, StarGAN tints the skin when it edits hair; SG-GAN does not", "Sec. 4.3, Fig. 4",
        "mean change of the skin outside the hair at least twice SG-GAN's",
        (Test("skin_shift ratio | hair | StarGAN, joint / SG-GAN, joint", ">=", 2.0, table="Fig. 4"),),
        (TRAINED, works("hair", "StarGAN, joint", "SG-GAN, joint", table="Fig. 4")),
    ),
    Claim(  # both start from random weights and make as many updates
        "H9", "With few labels StarGAN with a masked reconstruction is worse than SG-GAN", "Sec. 4.4, Fig. 5",
        "with the two smallest numbers of labelled pale faces: success not lower, what lies outside the skin less changed",
        tuple(t for metric, op in (("edit_success", ">="), ("change_outside_l1", "<"))
              for t in _differ(metric, op, 0.0, "SG-GAN - StarGAN", "pale, second fewest labels; pale, fewest labels", table="Fig. 5")),
        (TRAINED, works("pale", "SG-GAN(all)", "StarGAN(all)", table="Fig. 5")),
    ),
    Claim(
        "H10", "Mixed images improve the classifier", "Sec. 1",
        "with mixed images D classifies real test faces better, and edits succeed more often, 0.5 % of the labels",
        _differ("d_accuracy", ">", 0.0, f"{FEW} - {ALONE}", "all") + _differ("edit_success", ">", 0.0, f"{FEW} - {ALONE}", "all"),
        (TRAINED, works("gender, smile, hair", FEW), keeps(FEW)),
    ),
    Claim(
        "H11", "A separate branch for each output keeps edits from disturbing each other", "Secs 3.2, 4.3",
        "more unrelated verdicts kept than with one shared decoder, same losses",
        _differ("unrelated_kept", ">", 0.0, f"{ALL} - {SHARED}", "all"), (TRAINED, works("gender, smile, hair", ALL, SHARED), keeps(ALL)),
    ),
)  # fmt: skip

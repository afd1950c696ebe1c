"""Animals: BridgeGAN between the domains cat, dog and wild. Section D, Figs 6 to 10, Table 3.

The same model with three one-hot labels (D14), and StarGAN v2's protocol: every val image of a domain to both others, with
several draws of the noise or of references of the target; Frechet distance to all training images of the target.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import combinations, permutations

import numpy as np
import torch

from lib.baselines import starganv2
from lib.data import DataError, FaceSet, Split, domain_names, load_domains
from lib.evaluation import judges
from lib.evaluation.edits import SEED, run_edit
from lib.evaluation.judges import Judge, as_images
from lib.evaluation.measures import Value, frechet_difference, frechet_value, l1, mean, proportion, row
from lib.evaluation.pretrained import fid
from lib.papers.bridgegan import model as bridgegan
from lib.papers.bridgegan.model import DOMAINS
from lib.training.models import Job

LABEL, REFERENCE = "BridgeGAN (label)", "BridgeGAN (reference)"
V2, V2_LABEL, V2_REFERENCE = "StarGAN v2", "StarGAN v2 (label)", "StarGAN v2 (reference)"
ANIMALS, JUDGES = "BridgeGAN, animals", ("domain judge a", "domain judge b")


@lru_cache(maxsize=2)
def read_domains(data: str, size: int, count: int) -> tuple[FaceSet, Split]:
    """`load_domains`, once a process. Raises DataError for domains other than cat, dog and wild, before a picture is read."""
    names = domain_names(data)
    if names != DOMAINS:
        raise DataError(f"{data}: its domains are {', '.join(names)}; the model knows {', '.join(DOMAINS)}. Rename or remove folders.")
    return load_domains(data, size, n=count)


def animals_of(plan) -> tuple[FaceSet, Split]:
    """The animals of a study and their split. Raises DataError if a domain has under two training or val images, or if they may
    not be published while the faces may: one page would show what must not be shown."""
    faces, split = read_domains(plan.settings.domains, plan.settings.domain_size, plan.settings.domain_images)
    if plan.faces.publishable and not faces.publishable:
        raise DataError(f"{faces.name}: these pictures may not be published, those of {plan.faces.name} may. Give built-in sets or folders for both.")
    if min(faces.attributes[rows].sum(0).min() for rows in (split.train, split.test)) < 2:
        raise DataError(f"{faces.name}: a domain has fewer than 2 images in train/ or val/. Give at least 3 and 2 of each.")
    return faces, split


def jobs(plan) -> dict[str, Job]:
    """The animals' model, StarGAN v2 on the same pictures, and two judges of domains, of different build."""
    (faces, split), s = animals_of(plan), plan.settings
    cfg = replace(plan.cfg, task="domains", attribute="all", size=s.domain_size, g_steps=s.domain_steps)  # D14
    out = {ANIMALS: plan.job(bridgegan, cfg, faces=faces, split=split)}
    out[V2] = plan.job(starganv2, rival(plan, ",".join(DOMAINS), s.domain_size, s.domain_rival_steps), faces=faces, split=split)
    budget = vars(judges.PROFILES[plan.profile]()) | {"steps": s.domain_judge_steps, "size": s.domain_size}
    for name, kind in zip(JUDGES, ("places", "resnet18"), strict=True):
        out[name] = plan.job(judges, judges.Config(kind, ",".join(DOMAINS), **budget), faces=faces, split=split, seed=0)
    return out


def rival(plan, attributes: str, size: int, steps: int) -> starganv2.Config:
    """StarGAN v2's configuration for those domains."""
    return replace(starganv2.PROFILES[plan.profile](), attributes=attributes, size=size, g_steps=steps)


def paths(study) -> dict[str, list[Callable]]:
    """Both paths of BridgeGAN and of StarGAN v2, if they are at hand: (domain, x, target) -> Edit, as often as an image
    has translations, with other noise or references each time."""
    place, seeds, out = animals_of(study), range(study.settings.domain_outputs), {}
    for job, method, names in ((ANIMALS, bridgegan, (LABEL, REFERENCE)), (V2, starganv2, (V2_LABEL, V2_REFERENCE))):
        if study.has(job):
            models, cfg = study.models(job), study.jobs[job].cfg
            for name, mode in zip(names, ("label", "reference"), strict=True):
                out[name] = [method.editor(models, *place, cfg, mode, seed=seed) for seed in seeds]
    return out


def referees(study) -> dict[str, Judge]:
    """The two judges of domains, as far as they are at hand."""
    return {m: Judge(study.nets(m), DOMAINS, study.jobs[m].id, study.device) for m in filter(study.has, JUDGES)}


def scores(study) -> list[dict]:
    """How both judges do on val images."""
    faces, split = animals_of(study)
    x, truth, out = as_images(faces, split.test), faces.attributes[split.test].argmax(1), []
    for name, judge in referees(study).items():
        hit = judge.probabilities(x).argmax(1) == truth
        out.append(row("judges", "domains", name, "judge_accuracy", proportion(hit), "unedited val images"))
    return out


def rows(study, by: dict[str, list[Callable]]) -> list[dict]:
    """Table 3, none of it without methods or judges. Per task src2trg and method: `domain_accuracy` (both judges find
    the target likeliest), `frechet_judge` (judge b's features) and `fid` to all training images of the target,
    `diversity_l1` between draws; rows `domains` are over all tasks. Floors: 'unedited', and 'constant G', which answers
    with one training image of the target."""
    (faces, split), judged, n = animals_of(study), [*referees(study).values()], study.settings.domain_sources
    if not by or len(judged) < 2:
        return []
    pools = {d: split.train[faces.column(d)[split.train] == 1] for d in DOMAINS}
    real = {d: as_images(faces, pool) for d, pool in pools.items()}
    near, out, every = {d: judged[1].features(x) for d, x in real.items()}, [], {}
    for source, target in permutations(DOMAINS, 2):
        index = split.test[faces.column(source)[split.test] == 1][:n]
        x, task, wanted = as_images(faces, index), f"{source}2{target}", DOMAINS.index(target)
        versions = {"unedited": [x], "constant G": [real[target][:1].expand_as(x)]}
        versions |= {m: [run_edit(edit, target, x, 1.0, study.device)[0] for edit in edits] for m, edits in by.items()}
        for method, ys in versions.items():
            y, said = torch.cat(ys), f"{len(x)} val images x {len(ys)}"
            hit = np.logical_and(*(judge.probabilities(y).argmax(1) == wanted for judge in judged))
            seen = judged[1].features(y)
            where = f"{said}, to {len(real[target])} training images of the target"
            apart = np.mean([l1(p, q) for p, q in combinations(ys, 2)], axis=0) if len(ys) > 1 else None
            every.setdefault(method, []).append((hit, np.tile(index, len(ys)), frechet_value(seen, near[target]), apart, (seen, near[target])))
            out.append(row("Table 3", task, method, "domain_accuracy", proportion(hit, np.tile(index, len(ys))), f"{said}, both judges"))
            out.append(row("Table 3", task, method, "frechet_judge", every[method][-1][2], f"{where}, features of judge b", len(y)))
            if method in by:
                out.append(row("Table 3", task, method, "fid", fid(y, real[target][:500]), f"{said}, to 500 of these images", len(y)))
            if apart is not None:
                out.append(row("Table 3", task, method, "diversity_l1", mean(apart), f"{said}, pairs of draws"))
    for method, parts in every.items():
        hits, who, distances, apart, _ = zip(*parts, strict=True)
        overall = "over the six tasks"
        out.append(row("Table 3", "domains", method, "domain_accuracy", proportion(np.concatenate(hits), np.concatenate(who)), overall))
        out.append(row("Table 3", "domains", method, "frechet_judge", float(np.mean(distances)), f"mean {overall}", len(hits[0])))
        if apart[0] is not None:
            out.append(row("Table 3", "domains", method, "diversity_l1", mean(np.concatenate(apart)), overall))
    return out + differences(every)


def differences(every: dict[str, list]) -> list[dict]:
    """`frechet_judge difference` between methods, mean over the tasks, with an interval."""
    out = []
    for one, two in ((LABEL, V2_LABEL), (REFERENCE, V2_REFERENCE)):
        if one in every and two in every:
            parts = [frechet_difference(p[-1][0], q[-1][0], p[-1][1], resamples=20) for p, q in zip(every[one], every[two], strict=True)]
            out.append(row("Table 3", "domains", f"{one} - {two}", "frechet_judge difference", averaged(parts), "mean over the six tasks"))
    return out


def averaged(values: list[Value], less: list[Value] | tuple = ()) -> Value:
    """The mean of values, less that of others, with the interval that theirs give it if they are independent."""
    value = np.mean([v.value for v in values]) - (np.mean([v.value for v in less]) if less else 0)
    error = np.sqrt(sum((v.ci_high - v.value) ** 2 for v in (*values, *less))) / len(values)
    return Value(float(value), float(value - error), float(value + error), min(v.n for v in values))


def examples(study, sources: int, references: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Seeded val images: sources of the first domain, references of the others in turn, and each reference's domain."""
    (faces, split), rng = animals_of(study), np.random.default_rng([SEED, 8])
    pools = {d: rng.permutation(split.test[faces.column(d)[split.test] == 1]) for d in DOMAINS}
    chosen = [DOMAINS[1 + k % 2] for k in range(references)]
    return pools[DOMAINS[0]][:sources], np.array([pools[d][k % len(pools[d])] for k, d in enumerate(chosen)]), chosen

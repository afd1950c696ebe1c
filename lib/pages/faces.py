"""The page about a face set: sheets of faces, rates and correlations beside CelebA's, people, the crop rule.

Tables are frames, figures are matplotlib Figures. Sheets show faces, everything else numbers.
"""

import dataclasses

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib import synthetic
from lib.data import FaceSet, Split, eye_box, lower_face, mouth_box, to_uint8
from lib.data.regions import region_source
from lib.evaluation.measures import proportion
from lib.pages import figures
from lib.pages.figures import TILE
from lib.synthetic import animals

SYNTHETIC_ONLY = "This exists for drawn faces only: it needs the parameters that they were drawn from."
LICENCE = {
    True: "Drawn by lib/synthetic, part of this project (MIT licence): the pictures may be shown and passed on.",
    False: "CelebA is for non-commercial research and its images may not be passed on: only numbers are published.",
}


def facts(faces: FaceSet) -> dict[str, object]:
    """What the set is: name -> value."""
    counts = np.unique(faces.identities, return_counts=True)[1]
    return {
        "name": faces.name,
        "faces": len(faces),
        "people": f"{len(counts)} people; images of each: mean {counts.mean():.1f}, median {np.median(counts):g}, max {counts.max()}",
        "crop": str(faces.crop),
        "attributes": ", ".join(faces.attribute_names),
        "landmarks": faces.landmark_source,
        "attribute boxes": region_source(faces),
        "fingerprint": faces.fingerprint,
        "publishable": "yes" if faces.publishable else "no",
        "licence": LICENCE[faces.publishable],
    }


# ---- sheets of faces ----


def _pictures(faces: FaceSet, index) -> list[np.ndarray]:
    return list(np.asarray(faces.images[np.asarray(index, int)]).transpose(0, 2, 3, 1))


def contact_sheet(faces: FaceSet, n: int = 64) -> Figure:
    """The first n faces of the set, eight in a row."""
    pictures = _pictures(faces, range(min(n, len(faces))))
    return figures.montage([("", pictures[i : i + 8]) for i in range(0, len(pictures), 8)])


def choose(faces: FaceSet, attribute: str, value: int, k: int, skip: int = 0) -> np.ndarray:
    """(<= k,) int64: rows whose attribute has the value, each the first of another person, in the order of the set;
    `skip` people (counted round and round) are passed over, so that one sheet shows many."""
    rows = np.flatnonzero(faces.column(attribute) == value)
    rows = np.sort(rows[np.unique(faces.identities[rows], return_index=True)[1]])
    return np.roll(rows, -skip)[:k]


def attribute_sheet(faces: FaceSet, k: int = 3) -> Figure:
    """Per attribute a row: k faces without it, k faces with it."""
    rows = []
    for place, a in enumerate(faces.attribute_names):
        sides = [_pictures(faces, choose(faces, a, value, k, skip=k * place)) for value in (0, 1)]
        rows.append((a.replace("_", " "), sides[0] + [None] * (k - len(sides[0])) + sides[1]))
    return figures.montage(rows, ["without"] * k + ["with"] * k)


def counterfactual_sheet(faces: FaceSet) -> Figure:
    """Synthetic sets: per attribute a face that gains it and one that loses it, each with its counterfactual and the
    exact region."""
    rows = []
    for place, a in enumerate(synthetic.ATTRIBUTES):
        found = [choose(faces, a, value, 1, skip=place) for value in (0, 1)]
        face = faces.faces[torch.from_numpy(np.concatenate(found))]
        flipped = synthetic.counterfactual(face, a, 1 - face.state[:, place])
        drawn = figures.pixels(synthetic.render(face, faces.size)), figures.pixels(synthetic.render(flipped, faces.size))
        triples = [list(t) for t in zip(*drawn, figures.mask_pixels(synthetic.region(face, a, faces.size).float()), strict=True)]
        pictures = [picture for one in found for picture in (triples.pop(0) if len(one) else [None] * 3)]
        rows.append((a.replace("_", " "), pictures))
    return figures.montage(rows, ["without", "added", "region", "with", "removed", "region"])


def animal_sheet(size: int, seed: int, k: int = 8) -> Figure:
    """k animals of each domain of the renderer."""
    drawn = ((d, animals.render(animals.sample(seed, range(k), d), size)) for d in animals.DOMAINS)
    return figures.montage([(d, list(figures.pixels(x))) for d, x in drawn])


def sweep(faces, name: str, steps: int = 7) -> tuple[np.ndarray, list[str]]:
    """Drawn faces (R,) along one parameter of the renderer from its lowest to its highest value, at 96 pixels: frames
    (R, steps, 96, 96, 3) uint8 for `sliders.slider`, and their labels."""
    values = torch.linspace(*synthetic.ranges()[name][1:3], steps)
    repeated = faces[torch.arange(len(faces)).repeat_interleave(steps)]
    moved = dataclasses.replace(repeated, **{name: values.repeat(len(faces))})
    frames = to_uint8(synthetic.render(moved, TILE)).transpose(0, 2, 3, 1).reshape(-1, steps, TILE, TILE, 3)
    return frames, [f"{v:.2f}" for v in values.tolist()]


# ---- numbers ----


def rates(faces: FaceSet) -> pd.DataFrame:
    """Per attribute its share, the Wilson interval (images independent), the half-width of the interval with people
    instead of images independent (people: 1.96 standard errors of the ratio estimator, NaN for a single person), and
    CelebA's share (NaN if not recorded)."""
    who = np.unique(faces.identities, return_inverse=True)[1]
    people, images = who.max() + 1, np.bincount(who)
    lines = []
    for name, column in zip(faces.attribute_names, faces.attributes.T, strict=True):
        share = proportion(column)
        rest = np.bincount(who, column) - share.value * images
        half = 1.96 * np.sqrt(people / (people - 1) * (rest**2).sum()) / len(faces) if people > 1 else np.nan
        celeba = synthetic.CELEBA_RATES.get(name, np.nan)
        lines.append((name, int(column.sum()), share.value, share.ci_low, share.ci_high, half, celeba))
    return pd.DataFrame(lines, columns=["attribute", "faces", "share", "ci_low", "ci_high", "people", "celeba"])


def rates_table(shares: pd.DataFrame) -> pd.DataFrame:
    """`rates` in percent, as text to read."""
    lines = []
    for r in shares.itertuples():
        known = [f"{100 * r.celeba:.1f} %", f"{100 * (r.share - r.celeba):+.1f}"] if not np.isnan(r.celeba) else ["", ""]
        spread = "" if np.isnan(r.people) else f"±\u00a0{100 * r.people:.1f}"
        wilson = f"[{100 * r.ci_low:.1f},\u00a0{100 * r.ci_high:.1f}]"
        lines.append((r.attribute, r.faces, f"{100 * r.share:.1f} %", wilson, spread, *known))
    columns = ["attribute", "faces with it", "share", "Wilson 95 %", "by people, 95 %", "CelebA", "difference (points)"]
    return pd.DataFrame(lines, columns=columns)


def correlations(faces: FaceSet) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(ours, CelebA's): phi coefficients (A, A) of the attributes that both know, or of all of the set's if fewer than
    two are shared. NaN where an attribute is constant or CelebA's is not recorded."""
    shared = [a for a in synthetic.ATTRIBUTES if a in faces.attribute_names]
    names = shared if len(shared) > 1 else list(faces.attribute_names)
    ours = pd.DataFrame({a: faces.column(a).astype(float) for a in names}).corr()
    celeba = pd.DataFrame(np.array(synthetic.CELEBA_PHI) / 100, synthetic.ATTRIBUTES, synthetic.ATTRIBUTES)
    return ours, celeba.reindex(index=names, columns=names)


def correlation_figure(ours: pd.DataFrame, celeba: pd.DataFrame) -> Figure:
    """Both matrices as heatmaps on the same scale from -1 to 1."""
    n = len(ours)
    figure = Figure(figsize=(0.42 * n + 2.6, 0.21 * n + 1.9), layout="constrained")
    for axis, (title, matrix) in zip(figure.subplots(1, 2), {"this set": ours, "CelebA": celeba}.items(), strict=True):
        image = axis.imshow(matrix, vmin=-1, vmax=1, cmap="vlag")
        words = [name.replace("_", " ") for name in matrix]
        axis.set_xticks(range(n), words, rotation=90, fontsize=8)
        axis.set_yticks(range(n), words if axis.get_subplotspec().is_first_col() else [""] * n, fontsize=8)
        axis.set_title(title)
        axis.tick_params(length=0)
        sns.despine(ax=axis, left=True, bottom=True)
    figure.colorbar(image, ax=figure.axes, shrink=0.8, label="phi")
    return figure


def split_table(faces: FaceSet, split: Split) -> pd.DataFrame:
    """The parts of a split: images and people of each."""
    parts = {name: getattr(split, name) for name in ("train", "validation", "test")}
    lines = [(name, len(rows), len(np.unique(faces.identities[rows]))) for name, rows in parts.items()]
    return pd.DataFrame(lines, columns=["part", "images", "people"])


def landmark_figure(faces: FaceSet, k: int = 6) -> Figure:
    """The first k people with their five landmarks and the boxes where an edit of real faces should stay."""
    index = np.sort(np.unique(faces.identities, return_index=True)[1])[:k]
    figure = Figure(figsize=(1.6 * len(index), 1.65), layout="constrained")
    axes = figure.subplots(1, len(index), squeeze=False)[0]
    for axis, i, picture in zip(axes, index, _pictures(faces, index), strict=True):
        axis.imshow(picture, extent=(0, faces.size, faces.size, 0), interpolation="bicubic")
        axis.axis("off")
        for rule, colour in ((eye_box, "#0173b2"), (mouth_box, "#d55e00"), (lower_face, "#029e73")):
            y, x = np.nonzero(rule(faces, [i])[0, 0].numpy())
            axis.add_patch(Rectangle((x.min(), y.min()), np.ptp(x) + 1, np.ptp(y) + 1, fill=False, ec=colour, lw=1.5))
        if faces.landmarks is not None:
            axis.plot(*faces.landmarks[i].T, "w+", ms=7, mew=1.5)
    return figure

"""Filling a square hole of a face: simple fills that any learned one must beat, and how a filled face is scored.

Images are (B, 3, S, S) in [-1, 1]. A *fill* is a function of whole faces that reads only what lies outside the hole (a `lib.hole.Box`) and
returns whole pictures, of which a composite uses the hole alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu
from torch import Tensor

from lib.pages import figures
from lib.evaluation import measures as metrics
from lib.pages import tables
from lib.data import FaceSet, Split, to_uint8
from lib.papers.atigan.hole import Box, composite
from lib.evaluation.judges import Judge, as_images

CONTEXT = 32  # the ridge regression sees the masked face at this size
RIDGE_FACES = 2_500  # training faces of the ridge regression and of the mean face, at most
ALPHAS = tuple(float(a) for a in 10.0 ** np.arange(-1, 4, 0.5))  # candidates for its penalty
RADIUS = 3  # of OpenCV's inpainting, in pixels
SIMPLE = ("harmonic", "OpenCV Telea", "OpenCV Navier-Stokes", "ridge regression")  # they change nothing but the hole
VARIANTS = ("composite", "raw", "hole only")


# ---------------------------------------------------------------------------------------------- fills that need no network


def grey(x: Tensor) -> Tensor:
    """Mid-grey everywhere: what the hole holds before anything fills it."""
    return torch.zeros_like(x)


def harmonic(x: Tensor, box: Box) -> Tensor:
    """In the hole the solution of Laplace's equation, colour by colour, with the pixels around the hole as boundary values (5-point stencil)."""
    h, w = box.bottom - box.top, box.right - box.left
    if box.top < 1 or box.left < 1 or box.bottom >= box.size or box.right >= box.size:
        raise ValueError(f"{box}: a harmonic fill needs a pixel of context on every side of the hole.")
    number = np.arange(h * w).reshape(h, w)
    right = x.detach().cpu().double().numpy()
    edge = np.zeros((*right.shape[:2], h, w))
    edge[..., 0, :] += right[..., box.top - 1, box.left : box.right]
    edge[..., -1, :] += right[..., box.bottom, box.left : box.right]
    edge[..., :, 0] += right[..., box.top : box.bottom, box.left - 1]
    edge[..., :, -1] += right[..., box.top : box.bottom, box.right]
    pairs = np.concatenate([np.stack([number[1:].ravel(), number[:-1].ravel()]), np.stack([number[:, 1:].ravel(), number[:, :-1].ravel()])], axis=1)
    rows, columns = np.concatenate([number.ravel(), *pairs]), np.concatenate([number.ravel(), *pairs[::-1]])
    values = np.concatenate([np.full(h * w, 4.0), np.full(2 * pairs.shape[1], -1.0)])
    solved = splu(coo_array((values, (rows, columns))).tocsc()).solve(edge.reshape(-1, h * w).T)
    out = x.detach().clone()
    out[..., box.top : box.bottom, box.left : box.right] = torch.from_numpy(solved.T.reshape(edge.shape)).to(x)
    return out


def opencv(x: Tensor, box: Box, method: int) -> Tensor:
    """OpenCV's inpainting of 8-bit pictures, radius 3: method cv2.INPAINT_TELEA (fast marching) or cv2.INPAINT_NS (Navier-Stokes)."""
    hole = (box.mask()[0, 0].numpy() * 255).astype(np.uint8)
    pictures = to_uint8(x.detach()).transpose(0, 2, 3, 1)
    filled = np.stack([cv2.inpaint(np.ascontiguousarray(p), hole, RADIUS, method) for p in pictures])
    return torch.from_numpy(filled.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1).to(x)


@dataclass(frozen=True)
class Fitted:
    """The two fills that are fitted to n training faces: their mean (1, 3, S, S), and ridge regression from the masked face at 32 x 32.

    weight: (3 * 32 * 32, 3hw) and offset: (3hw,) map a context to the hole's pixels; alpha is the penalty that was chosen.
    """

    box: Box
    mean: Tensor
    weight: np.ndarray
    offset: np.ndarray
    alpha: float
    n: int

    def mean_face(self, x: Tensor) -> Tensor:
        """The mean training face, whatever x is."""
        return self.mean.to(x).expand_as(x)

    def linear(self, x: Tensor) -> Tensor:
        """The regression's hole, clipped to [-1, 1]; x outside."""
        hole = torch.from_numpy(_context(x, self.box) @ self.weight + self.offset).to(x)
        out = x.detach().clone()
        self.box.crop(out)[:] = hole.reshape(self.box.crop(x).shape).clamp(-1, 1)
        return out


def _context(x: Tensor, box: Box) -> np.ndarray:
    """(B, 3 * 32 * 32): the faces with a mid-grey hole, averaged down to 32 x 32."""
    masked = x.detach().cpu() * (1 - box.mask())
    return F.adaptive_avg_pool2d(masked, CONTEXT).flatten(1).numpy()


def ridge(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Ridge regression of b (n, q) on a (n, p) with an intercept, solved among the n samples: (weight (p, q), offset (q,), alpha). The
    penalty is the one of ALPHAS with the least leave-one-out squared error, means held fixed, over at most 128 of the targets."""
    a0, b0 = a.mean(0), b.mean(0)
    a, b = (a - a0).astype(np.float64), b - b0
    values, vectors = np.linalg.eigh(a @ a.T)
    few = vectors.T @ b[:, :: max(1, b.shape[1] // 128)].astype(np.float64)

    def left_out(alpha: float) -> float:
        inverse = 1 / (values.clip(0) + alpha)
        residual = (vectors * inverse) @ few
        return float(np.square(residual / np.square(vectors).dot(inverse)[:, None]).mean())

    alpha = min(ALPHAS, key=left_out)
    dual = (vectors / (values.clip(0) + alpha)) @ (vectors.T @ b)
    weight = (a.T @ dual).astype(np.float32)
    return weight, (b0 - a0 @ weight).astype(np.float32), alpha


def fit(faces: FaceSet, split: Split, box: Box, n: int = RIDGE_FACES) -> Fitted:
    """Fit mean and ridge regression to at most n training faces (a seeded choice)."""
    index = np.sort(np.random.default_rng([metrics.SEED, 3]).permutation(split.train)[:n])
    x = as_images(faces, index)
    return Fitted(box, x.mean(0, keepdim=True), *ridge(_context(x, box), box.crop(x).flatten(1).numpy()), len(index))


def controls(faces: FaceSet, split: Split, box: Box) -> dict[str, Callable[[Tensor], Tensor]]:
    """The fills that make Table 1 readable, by name. None of them sees the hole."""
    fitted = fit(faces, split, box)
    return {
        "grey": grey,
        "mean face": fitted.mean_face,
        "harmonic": partial(harmonic, box=box),
        "OpenCV Telea": partial(opencv, box=box, method=cv2.INPAINT_TELEA),
        "OpenCV Navier-Stokes": partial(opencv, box=box, method=cv2.INPAINT_NS),
        "ridge regression": fitted.linear,
    }


# ---------------------------------------------------------------------------------------------- scores


def scores(x: Tensor, filled: Tensor, box: Box) -> dict[str, dict[str, np.ndarray]]:
    """PSNR (dB) and SSIM of each face, in three variants: {variant: {"psnr": (B,), "ssim": (B,)}}.

    composite: x outside the hole, `filled` inside, over the whole picture; raw: `filled` as it is, over the whole picture; hole only: the
    hole's pixels alone. PSNR of the first exceeds that of the last by `box.offset_db` exactly (up to the cap of 100 dB).
    """
    pairs = {"composite": (composite(x, filled, box), x), "raw": (filled, x), "hole only": (box.crop(filled), box.crop(x))}
    return {v: {"psnr": metrics.psnr(a, b), "ssim": metrics.ssim(a.contiguous(), b.contiguous())} for v, (a, b) in pairs.items()}


def test_faces(split: Split, n: int) -> np.ndarray:
    """At most n test faces: the same seeded choice for every fill."""
    return np.sort(np.random.default_rng([metrics.SEED, 4]).permutation(split.test)[:n])


test_faces.__test__ = False


def filled(fill: Callable, x: Tensor) -> Tensor:
    """A fill applied in batches of 64 faces, on the CPU."""
    return torch.cat([fill(part).cpu() for part in x.split(64)])


def evaluate(fills: dict[str, Callable], faces: FaceSet, split: Split, box: Box, judge: Judge, n: int, *, table: str, against: str) -> list[dict]:
    """Metric rows of every fill on the same test faces: PSNR and SSIM in the three variants; LPIPS, and the Frechet distance of the judge's
    features, of the composite; and, for each other fill, the paired differences of `against` to it and its rank among all."""
    x = as_images(faces, test_faces(split, n))
    features, out, each, extra = judge.features(x), [], {}, {}
    where = f"{faces.size}x{faces.size}, hole rows {box.top}:{box.bottom}, columns {box.left}:{box.right}"

    def put(variant, name, metric, value, protocol):
        out.append(metrics.row(table, variant, name, metric, value, f"{protocol}, {where}", len(x)))

    for name, fill in fills.items():
        y = filled(fill, x)
        both = composite(x, y, box)
        each[name] = scores(x, y, box)
        for variant in VARIANTS:
            if variant == "raw" and name in SIMPLE:
                continue  # outside the hole they are the original
            for metric, values in each[name][variant].items():
                put(variant, name, metric, metrics.mean(values), "to the original")
        distance = metrics.lpips_distance(both, x)
        extra[name] = {
            "lpips": distance if isinstance(distance, str) else metrics.mean(distance),
            "frechet_judge": metrics.frechet(judge.features(both), features),
        }
        for metric, value in extra[name].items():
            put("composite", name, metric, value, "composite to the original" if metric == "lpips" else f"composites to originals, judge {judge.id}")
    if faces.size == 128 and faces.faces is None and box.top != box.left:  # the printed protocol, as far as it is stated: the hole at the nose
        for metric in ("psnr", "ssim"):
            put("composite", against, f"{metric} on CelebA at 128", metrics.mean(each[against]["composite"][metric]), "to the original")
    for name in fills:
        if name != against:
            for metric in ("psnr", "ssim"):
                difference = metrics.mean(each[against]["composite"][metric] - each[name]["composite"][metric])
                put("composite", f"{against} - {name}", f"{metric} difference", difference, "paired by face")
    for metric in ("lpips", "frechet_judge"):
        values = {name: v[metric] for name, v in extra.items()}
        rank = next((v for v in values.values() if isinstance(v, str)), None)
        if rank is None:
            rank = float(sum(v.value < values[against].value for v in values.values()) + 1)
        put("composite", against, f"{metric} rank", rank, f"1 = smallest of {len(fills)} fills")
    return out


def table_1(rows: pd.DataFrame, paper: str, own: str) -> pd.DataFrame:
    """The table as the paper sets it, composite: the measured fills, then the lines that the paper quotes from elsewhere, marked as such.

    rows: of `evaluate`; own: the name of the paper's method among them, which gets the paper's own figures beside it.
    """
    measured = rows[rows["row"] == "composite"]
    printed = tables.printed(paper, "Table 1").pivot_table(index="row", columns="column", values="value", aggfunc="first", sort=False)
    lines = []
    for name in dict.fromkeys(measured.loc[measured["metric"] == "psnr", "column"]):
        mine = measured[measured["column"] == name].set_index("metric", drop=False)
        line = {"method": name, "n": int(mine.loc["psnr", "n"]), "PSNR": tables.cell(mine.loc["psnr"]), "SSIM": tables.cell(mine.loc["ssim"])}
        lines.append(line | ({f"{c}, printed": printed.loc["Ours", c] for c in ("PSNR", "SSIM")} if name == own else {}))
    quoted = printed.drop(index="Ours")
    for name, v in quoted.iterrows():
        lines.append({"method": f"{name} (reported, other protocol)", "PSNR, printed": v["PSNR"], "SSIM, printed": v["SSIM"]})
    return pd.DataFrame(lines).fillna("")


# ---------------------------------------------------------------------------------------------- the mask and the landmarks


def outside_rows(faces: FaceSet, split: Split, box: Box, table: str) -> list[dict]:
    """How well one hole fits all faces: share of test faces with an eye or a mouth corner outside, and the nose's distance from its centre."""
    if faces.landmarks is None:
        absent = "unavailable: the set has no landmarks"
        return [metrics.row(table, part, "hole", "landmark_outside", absent, "") for part in ("eyes", "mouth", "eyes or mouth")]
    points = faces.landmarks[split.test]
    low, high = np.array((box.left, box.top)), np.array((box.right, box.bottom))
    out = ((points < low) | (points > high)).any(-1)  # (n, 5)
    parts = {"eyes": out[:, :2].any(1), "mouth": out[:, 3:].any(1), "eyes or mouth": out[:, [0, 1, 3, 4]].any(1)}
    where = f"test faces with such a point outside the hole, landmarks: {faces.landmark_source}"
    rows = [metrics.row(table, part, "hole", "landmark_outside", metrics.proportion(hit), where) for part, hit in parts.items()]
    far = nose_distance(faces, split.test, box) * 128 / faces.size
    rows.append(metrics.row(table, "nose", "hole", "landmark_distance_px", metrics.mean(far), "nose tip to the hole's centre, px of a 128 frame"))
    return rows


def nose_distance(faces: FaceSet, index: np.ndarray, box: Box) -> np.ndarray:
    """(n,) distance in pixels of each face's nose tip from the hole's centre."""
    return np.linalg.norm(faces.landmarks[index][:, 2] - np.array(box.centre), axis=1)


def loss_elements(x: Tensor, x_dot: Tensor, box: Box) -> Figure:
    """What the reconstruction loss compares (masked face and contour; patch and reconstructed patch) and how the composite is made of them, for
    one face (1, 3, S, S). Patches are enlarged to the face's size."""
    M = box.mask(x)

    def large(patch: Tensor) -> Tensor:
        return F.interpolate(patch, size=box.size, mode="nearest")

    pictures = [x * (1 - M), x_dot * (1 - M), large(box.crop(x)), large(box.crop(x_dot)), composite(x, x_dot, box)]
    names = ["masked face", "contour of R's", "patch", "patch of R's", "composite"]
    return figures.montage([("", [figures.pixels(p.cpu())[0] for p in pictures])], names, inch=1.3)


def mask_examples(faces: FaceSet, split: Split, box: Box) -> Figure:
    """Two test faces, each beside its masked self: the one whose nose is farthest from the hole's centre, and the median one. Without
    landmarks the first two of the seeded choice."""
    if faces.landmarks is None:
        index = test_faces(split, 2)
        names = ["a test face", "another"]
    else:
        order = split.test[np.argsort(nose_distance(faces, split.test, box))]
        index, names = np.array([order[-1], order[len(order) // 2]]), ["worst mask", "typical mask"]
    x = as_images(faces, index)
    masked = x * (1 - box.mask())
    pictures = [p for pair in zip(figures.pixels(x), figures.pixels(masked), strict=True) for p in pair]
    return figures.montage([("", pictures)], [names[0], "masked", names[1], "masked"], inch=1.4)

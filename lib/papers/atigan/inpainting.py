"""Table 1 and Fig. 7: filling the hole of a face. Simple fills that any learned one must beat, how a filled face is scored, how well one hole
fits all faces.

Images are (B, 3, S, S) in [-1, 1]. A *fill* is a function of whole faces that reads only what lies outside the hole and returns whole pictures,
of which a composite uses the hole alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge, RidgeCV
from torch import Tensor

from lib.baselines.semantic_inpainting import harmonic
from lib.data import FaceSet, to_uint8
from lib.evaluation import measures
from lib.evaluation.edits import SEED
from lib.evaluation.judges import as_images
from lib.evaluation.pretrained import lpips_distance
from lib.papers.atigan.model import Box, composite

CONTEXT = 32  # the ridge regression sees the masked face at this size
ALPHAS = tuple(float(a) for a in 10.0 ** np.arange(-1, 4, 0.5))  # candidates for its penalty
FOR_ALPHA = 3_000  # faces, at most, on which the penalty is chosen
RADIUS = 3  # of OpenCV's inpainting, in pixels
SIMPLE = ("harmonic", "OpenCV Telea", "OpenCV Navier-Stokes", "ridge regression")  # they change nothing but the hole: no raw picture
VARIANTS = ("composite", "raw", "hole only")


# ---------------------------------------------------------------------------------------------- fills that need no network


def opencv(x: Tensor, box: Box, method: int) -> Tensor:
    """OpenCV's inpainting of 8-bit pictures, radius 3: method cv2.INPAINT_TELEA (fast marching) or cv2.INPAINT_NS (Navier-Stokes)."""
    hole = (box.mask()[0, 0].numpy() * 255).astype(np.uint8)
    pictures = to_uint8(x.detach()).transpose(0, 2, 3, 1)
    filled = np.stack([cv2.inpaint(np.ascontiguousarray(p), hole, RADIUS, method) for p in pictures])
    return torch.from_numpy(filled.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1).to(x)


@dataclass(frozen=True)
class Fitted:
    """The two fills that are fitted to n training faces: their mean (1, 3, S, S), and ridge regression from the masked face at 32 x 32."""

    box: Box
    mean: Tensor
    ridge: Ridge
    n: int

    def mean_face(self, x: Tensor) -> Tensor:
        """The mean training face, whatever x is."""
        return self.mean.to(x).expand_as(x)

    def linear(self, x: Tensor) -> Tensor:
        """The regression's hole, clipped to [-1, 1]; x outside."""
        out = x.detach().clone()
        hole = torch.from_numpy(self.ridge.predict(context(x, self.box))).to(x)
        self.box.crop(out)[:] = hole.reshape(self.box.crop(x).shape).clamp(-1, 1)
        return out


def context(x: Tensor, box: Box) -> np.ndarray:
    """(B, 3 * 32 * 32): the faces with a mid-grey hole, averaged down to 32 x 32."""
    return F.adaptive_avg_pool2d(x.detach().cpu() * (1 - box.mask()), CONTEXT).flatten(1).numpy()


def fit(faces: FaceSet, index: np.ndarray, box: Box) -> Fitted:
    """Fit mean face and ridge regression to the faces `index`.

    The penalty is the one of ALPHAS with the least leave-one-out error on at most FOR_ALPHA of them and a sixteenth of the hole's pixels
    (a penalty is noise over prior: it does not grow with the number of faces); the regression then sees all of them. """
    parts = np.array_split(index, max(1, len(index) // 2_000))
    pictures = (as_images(faces, part) for part in parts)
    a, b, sums = zip(*((context(x, box), box.crop(x).flatten(1).numpy(), x.sum(0, keepdim=True)) for x in pictures), strict=True)
    a, b = np.concatenate(a), np.concatenate(b)
    few = np.random.default_rng([SEED, 3]).permutation(len(index))[:FOR_ALPHA]
    alpha = RidgeCV(ALPHAS).fit(a[few], b[few, ::16]).alpha_
    return Fitted(box, sum(sums) / len(index), Ridge(float(alpha), solver="cholesky").fit(a, b), len(index))


def controls(faces: FaceSet, index: np.ndarray, box: Box) -> dict[str, Callable[[Tensor], Tensor]]:
    """The fills that make Table 1 readable, by name; two of them are fitted to the faces `index`. None of them sees the hole."""
    fitted = fit(faces, index, box)
    return {
        "grey": torch.zeros_like,
        "mean face": fitted.mean_face,
        "harmonic": partial(harmonic, hole=box.mask()[0, 0] > 0),
        "OpenCV Telea": partial(opencv, box=box, method=cv2.INPAINT_TELEA),
        "OpenCV Navier-Stokes": partial(opencv, box=box, method=cv2.INPAINT_NS),
        "ridge regression": fitted.linear,
    }


# ---------------------------------------------------------------------------------------------- scores


def scores(x: Tensor, y: Tensor, box: Box, variants: tuple[str, ...] = VARIANTS) -> dict[str, dict[str, np.ndarray]]:
    """PSNR (dB) and SSIM of each filled face y: {variant: {"psnr": (B,), "ssim": (B,)}}.

    composite: x outside the hole, y inside, over the whole picture; raw: y as it is, over the whole picture; hole only: the hole's pixels alone.
    PSNR of the first exceeds that of the last by `box.offset_db` exactly (up to the cap of 100 dB). """
    pairs = {"composite": (composite(x, y, box), x), "raw": (y, x), "hole only": (box.crop(y), box.crop(x))}
    return {v: {"psnr": measures.psnr(*pairs[v]), "ssim": measures.ssim(*(p.contiguous() for p in pairs[v]))} for v in variants}


def chosen(index: np.ndarray, n: int) -> np.ndarray:
    """At most n of the faces `index`: the same seeded choice for every fill."""
    return np.sort(np.random.default_rng([SEED, 4]).permutation(index)[:n])


@torch.no_grad()
def filled(fill: Callable, x: Tensor) -> Tensor:
    """A fill applied in batches of 64 faces, on the CPU."""
    return torch.cat([fill(part).cpu() for part in x.split(64)])


def evaluate(
    fills: dict[str, Callable], faces: FaceSet, index: np.ndarray, box: Box, features: Callable, *,
    table: str, own: str, few: dict[str, int], twin: str = "",
) -> list[dict]:  # fmt: skip
    """Metric rows of every fill on the same faces: PSNR and SSIM in the three variants; LPIPS, and the Frechet distance on `features`, of the
    composite; and, for each other fill, the paired differences of `own` to it. few: slow fills, and how many of the faces they get. twin: the
    fill whose Frechet distance is compared with that of `own`, on the same faces."""
    x, people, out = as_images(faces, index), faces.identities[index], []
    where = f"{faces.size}x{faces.size}, hole of {box.side}x{box.side} from row {box.top} on"
    originals, each, seen, distance = features(x), {}, {}, {}

    def put(variant, name, metric, value, protocol):
        out.append(measures.row(table, variant, name, metric, value, f"{protocol}, {where}", len(each[name]["composite"]["psnr"])))

    for name, fill in fills.items():
        n = few.get(name, len(x))
        y = filled(fill, x[:n])
        each[name] = scores(x[:n], y, box, tuple(v for v in VARIANTS if v != "raw" or name not in SIMPLE))
        for variant, scored in each[name].items():
            for metric, values in scored.items():
                put(variant, name, metric, measures.mean(values, people[:n]), "to the original")
        both = composite(x[:n], y, box)
        lpips = lpips_distance(both, x[:n])
        put("composite", name, "lpips", lpips if isinstance(lpips, str) else measures.mean(lpips, people[:n]), "composite to the original, AlexNet")
        if n == len(x):  # a Frechet distance grows as n shrinks
            seen[name] = features(both)
            distance[name] = measures.frechet(seen[name], originals)
            put("composite", name, "frechet_judge", distance[name], "composites to originals, features of judge b")
    for name in fills:
        n = few.get(name, len(x))
        for metric in ("psnr", "ssim") if name != own else ():
            gap = each[own]["composite"][metric][:n] - each[name]["composite"][metric]
            out.append(measures.row(table, "composite", f"{own} - {name}", f"{metric} difference", measures.mean(gap, people[:n]), "paired by face"))
        if name in seen and name == twin:
            gap = measures.frechet_difference(seen[own], seen[name], originals)
            out.append(measures.row(table, "composite", f"{own} - {name}", "frechet_judge difference", gap, "features of judge b, the same faces"))
    rank = float(sum(v.value < distance[own].value for v in distance.values()) + 1)
    put("composite", own, "frechet_judge rank", rank, f"1 = smallest of {len(distance)} fills")
    return out


# ---------------------------------------------------------------------------------------------- the mask and the landmarks


def beyond(faces: FaceSet, index: np.ndarray, box: Box) -> np.ndarray:
    """(n, 5) how far, in pixels, each landmark (eyes, nose, mouth corners) lies outside the hole; negative: how deep inside."""
    low, points = np.array((box.left, box.top)), faces.landmarks[index]
    return np.maximum(low - points, points - low - box.side).max(-1)


def mask_rows(faces: FaceSet, index: np.ndarray, box: Box, table: str) -> list[dict]:
    """How well one hole fits all faces: share of the faces with an eye or a mouth corner outside, and the nose's distance from its centre."""
    parts = {"eyes": [0, 1], "mouth": [3, 4], "eyes or mouth": [0, 1, 3, 4]}
    if faces.landmarks is None:
        return [measures.row(table, part, "hole", "landmark_outside", "unavailable: the set has no landmarks", "") for part in parts]
    out, people = beyond(faces, index, box) > 0, faces.identities[index]
    where = f"test faces with such a point outside the hole, landmarks: {faces.landmark_source}"
    rows = [measures.row(table, p, "hole", "landmark_outside", measures.proportion(out[:, k].any(1), people), where) for p, k in parts.items()]
    middle = np.array((box.left + box.side / 2, box.top + box.side / 2))
    far = np.linalg.norm(faces.landmarks[index][:, 2] - middle, axis=1) * 128 / faces.size
    return [*rows, measures.row(table, "nose", "hole", "landmark_distance_px", measures.mean(far, people), "to the hole's centre, px of a 128 frame")]

"""Landmarks put to use: head turn and the choice of frontal faces, 68 points, convex-hull masks, face boxes.

Points are (x, y) in the S x S crop, where the pixel of row i, column j covers [j, j + 1] x [i, i + 1]. 68 points are in the iBUG order.
"""

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import ConvexHull
from sklearn.cluster import KMeans
from torch import Tensor

from lib import synthetic
from lib.data import DataError, FaceSet, Split
from lib.data.celeba import FRAME_WIDTH, read_lines
from lib.data.errors import fail

FILE = "landmarks68.txt"  # beside img_align_celeba: one line a face, its file name and 136 numbers, pixels of the 178x218 frame
LIPS = tuple(range(48, 68))
EYES_AND_BROWS = (*range(17, 27), 27, 28, *range(36, 48))


def yaw(points: np.ndarray) -> np.ndarray:
    """(N, 5, 2) -> (N,): how far the nose tip is from the middle between the eyes, over the distance of the eyes, horizontally. 0 for a face
    seen from the front, 0.5 with the nose below an eye; the same for a shifted, scaled or mirrored face."""
    left, right, nose = points[:, 0, 0], points[:, 1, 0], points[:, 2, 0]
    return np.abs(nose - (left + right) / 2) / np.maximum(np.abs(right - left), 1e-6)


@lru_cache(maxsize=8)
def frontal(faces: FaceSet, split: Split, clusters: int, dropped: int, seed: int) -> np.ndarray:
    """(N,) bool: faces outside the `dropped` of `clusters` k-means clusters whose centres are turned most (`yaw`).

    k-means on the ten coordinates of the five landmarks, over S, fitted to the training split; every face belongs to its nearest centre.
    Raises DataError if the set has no landmarks, or fewer training faces than clusters.
    """
    if faces.landmarks is None:
        raise DataError(f"{faces.name}: it has no landmarks to sort turned faces out by. Add list_landmarks_align_celeba.txt, or set clusters = 0.")
    if len(split.train) < clusters:
        raise DataError(f"{faces.name}: {len(split.train)} training faces for {clusters} clusters. Give more images or fewer clusters.")
    points = np.asarray(faces.landmarks, np.float64).reshape(len(faces), 10) / faces.size
    fitted = KMeans(clusters, n_init=1, random_state=seed).fit(points[split.train])
    turned = np.argsort(yaw(fitted.cluster_centers_.reshape(-1, 5, 2)), kind="stable")[len(fitted.cluster_centers_) - dropped :]
    return ~np.isin(fitted.predict(points), turned)


# ------------------------------------------------------------------------------------------------ 68 points


def points68(faces: FaceSet, folder: str = "") -> tuple[np.ndarray, str]:
    """(N, 68, 2) float32 and where they come from: exact on synthetic faces, `folder`/landmarks68.txt where that file is, else approximated
    from the five landmarks. Raises DataError for a file with a missing face or a bad line, and for a set with no landmarks at all."""
    if faces.faces is not None:
        return synthetic.landmarks68(faces.faces, faces.size).numpy(), "exact"
    if folder and (Path(folder) / FILE).is_file():
        return _read68(Path(folder) / FILE, faces), FILE
    if faces.landmarks is None:
        raise DataError(f"{faces.name}: it has no landmarks to make masks from. Add {FILE} or list_landmarks_align_celeba.txt beside the images.")
    return _from_five(np.asarray(faces.landmarks)), f"approximated from five points ({faces.landmark_source}): a mean shape, moved and scaled"


def _read68(path: Path, faces: FaceSet) -> np.ndarray:
    rows = {}
    for number, line in enumerate(read_lines(path), start=1):
        name, *fields = line.split()
        try:
            values = np.array(fields, np.float64)
        except ValueError:
            values = np.empty(0)
        if values.shape != (136,) or not np.isfinite(values).all():
            fail(path, number, f"{len(fields)} fields after the name, 136 finite numbers are needed", "Write name x0 y0 ... x67 y67")
        rows[name] = values.reshape(68, 2)
    missing = [name for name in faces.files if name not in rows]
    if missing:
        fail(path, None, f"it lacks {len(missing)} of the {len(faces)} faces, e.g. {missing[0]}", "Give a line for every image")
    return faces.crop.points(np.stack([rows[name] for name in faces.files]), FRAME_WIDTH, 218).astype(np.float32)


@cache
def _mean_shape() -> tuple[np.ndarray, np.ndarray]:
    """Five and 68 points of the mean of 400 built-in faces, in units of the crop."""
    faces = synthetic.sample(0, range(400))
    return synthetic.landmarks5(faces, 1).mean(0).numpy().astype(float), synthetic.landmarks68(faces, 1).mean(0).numpy().astype(float)


def _from_five(points: np.ndarray) -> np.ndarray:
    """(N, 5, 2) -> (N, 68, 2): the mean shape under the similarity that takes its five points closest (least squares) to each face's."""
    five, many = _mean_shape()
    mean = five.mean(0)
    a, target = (five - mean) @ [1, 1j], points.astype(float) @ [1, 1j]  # as complex numbers a similarity is a product and a sum
    centre = target.mean(1, keepdims=True)
    turn = ((target - centre) * a.conj()).sum(1, keepdims=True) / (a * a.conj()).sum()
    moved = ((many - mean) @ [1, 1j])[None] * turn + centre
    return np.stack([moved.real, moved.imag], -1).astype(np.float32)


def hull_mask(points: np.ndarray, size: int, margin: float) -> Tensor:
    """(n, k, 2) points -> (n, 1, size, size) bool: pixels whose centre is at most `margin` pixels from the points' convex hull."""
    centre = np.arange(size) + 0.5
    pixels = np.stack(np.meshgrid(centre, centre), -1).reshape(-1, 1, 2)
    out = np.zeros((len(points), 1, size, size), bool)
    for mask, p in zip(out, np.asarray(points, np.float64), strict=True):
        hull = ConvexHull(p)
        a, b = p[hull.simplices[:, 0]], p[hull.simplices[:, 1]]
        along = np.clip(((pixels - a) * (b - a)).sum(-1) / ((b - a) ** 2).sum(-1), 0, 1)[..., None]
        distance = np.linalg.norm(pixels - a - along * (b - a), axis=-1).min(1)
        inside = (pixels @ hull.equations[:, :2].T + hull.equations[:, 2] <= 0).all((1, 2))
        mask[0] = (inside | (distance <= margin)).reshape(size, size)
    return torch.from_numpy(out)


def face_boxes(points: np.ndarray, share: float = 0.1) -> np.ndarray:
    """(n, 68, 2) -> (n, 4) left, top, right, bottom: the square around each face's points, its side the larger extent plus `share` of it."""
    low, high = points.min(1), points.max(1)
    half = (high - low).max(1, keepdims=True) * (1 + share) / 2
    return np.concatenate([(low + high) / 2 - half, (low + high) / 2 + half], 1).astype(np.float32)

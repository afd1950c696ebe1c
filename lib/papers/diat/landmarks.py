"""Landmarks put to use: head turn and the choice of frontal faces, 68 points, convex-hull masks.

Points are (x, y) in the S x S crop, where the pixel of row i, column j covers [j, j + 1] x [i, i + 1]. 68 points are in the iBUG order.
"""

from functools import cache, lru_cache

import numpy as np
import torch
from scipy.spatial import ConvexHull
from sklearn.cluster import KMeans
from torch import Tensor

from lib import synthetic
from lib.data import DataError, FaceSet, Split

LIPS = tuple(range(48, 68))
EYES_AND_BROWS = (*range(17, 27), 27, 28, *range(36, 48))


def yaw(points: np.ndarray) -> np.ndarray:
    """(N, 5, 2) -> (N,): how far the nose tip is from the middle between the eyes, over the distance of the eyes, horizontally. 0 for a
    face seen from the front, 0.5 with the nose below an eye; the same for a shifted, scaled or mirrored face."""
    left, right, nose = points[:, 0, 0], points[:, 1, 0], points[:, 2, 0]
    return np.abs(nose - (left + right) / 2) / np.maximum(np.abs(right - left), 1e-6)


@lru_cache(maxsize=8)
def clusters(faces: FaceSet, split: Split, number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """k-means on the ten coordinates of the five landmarks, over S, fitted to the training split: the cluster of every face (N,), and how
    far each cluster's centre is turned (number,).

    Raises DataError if the set has no landmarks, or fewer training faces than clusters."""
    if faces.landmarks is None:
        raise DataError(f"{faces.name}: it has no landmarks to sort turned faces out by. Add list_landmarks_align_celeba.txt, or set clusters = 0.")
    if len(split.train) < number:
        raise DataError(f"{faces.name}: {len(split.train)} training faces for {number} clusters. Give more images or fewer clusters.")
    points = np.asarray(faces.landmarks, np.float64).reshape(len(faces), 10) / faces.size
    fitted = KMeans(number, n_init=1, random_state=seed).fit(points[split.train])
    return fitted.predict(points), yaw(fitted.cluster_centers_.reshape(-1, 5, 2))


def frontal(faces: FaceSet, split: Split, number: int, dropped: int) -> np.ndarray:
    """(N,) bool: faces outside the `dropped` of `number` clusters whose centres are turned most. Raises DataError as `clusters`."""
    of_face, turned = clusters(faces, split, number)
    return ~np.isin(of_face, np.argsort(turned, kind="stable")[number - dropped :])


# ------------------------------------------------------------------------------------------------ 68 points


def points68(faces: FaceSet, index: np.ndarray) -> tuple[np.ndarray, str]:
    """(n, 68, 2) float32 of the faces `index` and where they come from: exact on synthetic faces, else approximated
    from the five landmarks. Raises DataError for a set without landmarks."""
    if faces.faces is not None:
        return synthetic.landmarks68(faces.faces[torch.from_numpy(index)], faces.size).numpy(), "exact"
    if faces.landmarks is None:
        raise DataError(f"{faces.name}: it has no landmarks to make masks from. Add list_landmarks_align_celeba.txt beside the images.")
    five = np.asarray(faces.landmarks)[index]
    return _from_five(five), f"approximated from five points ({faces.landmark_source}): a mean shape, moved and scaled"


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
        box = ((pixels >= p.min(0) - margin) & (pixels <= p.max(0) + margin)).all((1, 2))  # all others are too far
        near = pixels[box]
        along = np.clip(((near - a) * (b - a)).sum(-1) / ((b - a) ** 2).sum(-1), 0, 1)[..., None]
        distance = np.linalg.norm(near - a - along * (b - a), axis=-1).min(1)
        inside = (near @ hull.equations[:, :2].T + hull.equations[:, 2] <= 0).all((1, 2))
        mask[0, box.reshape(size, size)] = inside | (distance <= margin)
    return torch.from_numpy(out)

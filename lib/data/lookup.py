"""Which rows of a set hold given images: for methods whose edit needs the label of the face it is given."""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lib.data.errors import DataError
from lib.data.faceset import FaceSet, to_uint8


def row_finder(faces: FaceSet, index: np.ndarray) -> Callable[[Tensor], np.ndarray]:
    """Returns find(x): (B, 3, S, S) in [-1, 1], images of the rows `index` -> (B,) int64 rows, found by their pixels,
    the first of equal ones. `find` raises DataError for a picture that is not among them."""

    def key(image: np.ndarray) -> bytes:
        return hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()

    rows = {key(faces.images[i]): int(i) for i in reversed(index)}

    def find(x: Tensor) -> np.ndarray:
        found = [rows.get(key(image)) for image in to_uint8(x)]
        if None in found:
            raise DataError(f"{faces.name}: picture {found.index(None)} is not one of the {len(index)} faces with a known label. Edit test faces.")
        return np.array(found, np.int64)

    return find


def label_finder(faces: FaceSet, index: np.ndarray, names: tuple[str, ...]) -> Callable[[Tensor], Tensor]:
    """Returns labels(x): images of the rows `index` -> (B, len(names)) their labels in {0, 1}, on x's device; errors as `row_finder`."""
    find, columns = row_finder(faces, index), np.stack([faces.column(a) for a in names], axis=1)
    return lambda x: torch.from_numpy(columns[find(x)]).to(x.device, x.dtype)

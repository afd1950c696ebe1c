"""Training pools in which only some faces keep their labels."""

import numpy as np

from lib.data.batches import Examples
from lib.data.errors import fail
from lib.data.faceset import FaceSet
from lib.data.splits import Split

HIDDEN = -1.0  # the label of a face whose label is hidden


def labelled_rows(faces: FaceSet, split: Split, attributes, per_value: int, seed: int) -> dict[str, np.ndarray]:
    """Per attribute the rows of training faces that keep its label: `per_value` with each value, or as many as the rarer value has if
    per_value is 0. They are the first hits of one seeded walk through the training faces, so a small choice lies inside a larger one.

    DataError if a value has fewer than per_value training faces, or none.
    """
    walk = np.random.default_rng([seed, 6]).permutation(split.train)
    out = {}
    for name in attributes:
        values = faces.column(name)[walk]
        hits = [walk[values == v] for v in (0, 1)]
        have = min(map(len, hits))
        k = per_value or have
        if not 1 <= k <= have:
            problem = f"{k} labelled training faces with each value of {name} are asked for, the rarer value has {have}"
            fail(faces.name, None, problem, "Ask for fewer, or give more faces")
        out[name] = np.sort(np.concatenate([h[:k] for h in hits]))
    return out


def sparse_examples(faces: FaceSet, split: Split, attributes, per_value: int, repeat: int, seed: int, mixed: bool = True) -> Examples:
    """A pool of all training faces once, and `repeat` times more those that keep a label; every other label is HIDDEN.

    per_value, seed: see `labelled_rows`. mixed: False leaves out the faces without any label. The realised share of examples with a
    label is (repeat + 1) |U| / (N + repeat |U|) for |U| labelled of N training faces.
    """
    kept = labelled_rows(faces, split, attributes, per_value, seed)
    union = np.unique(np.concatenate(list(kept.values())))
    base = split.train if mixed else union
    index = np.concatenate([base, np.tile(union, repeat)]).astype(np.int64)
    labels = np.full((len(index), len(kept)), HIDDEN, np.float32)
    for column, (name, rows) in enumerate(kept.items()):
        known = np.isin(index, rows)
        labels[known, column] = faces.column(name)[index[known]]
    return Examples(index, labels)

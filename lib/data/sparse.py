"""Training pools in which only some faces keep their labels."""

import numpy as np

from lib.data.batches import Examples
from lib.data.errors import fail
from lib.data.faceset import FaceSet
from lib.data.splits import Split

HIDDEN = -1.0  # the label of a face whose label is hidden, or that has none


def kept_labels(faces: FaceSet, split: Split, labels: dict[str, np.ndarray], per_value: int, seed: int) -> np.ndarray:
    """(len(split.train), A) float32 in {0, 1, HIDDEN}: of labels {name: (N,) in {0, 1, HIDDEN}} those that training
    sees.

    Of each name `per_value` training faces with either value, or as many as the rarer value has if per_value is 0: the
    first hits of one seeded walk through the training faces, so that a small choice lies inside a larger one. DataError
    if a value has too few faces, or none.
    """
    walk = np.random.default_rng([seed, 6]).permutation(len(split.train))
    out = np.full((len(walk), len(labels)), HIDDEN, np.float32)
    for a, (name, values) in enumerate(labels.items()):
        hits = [walk[values[split.train][walk] == v] for v in (0, 1)]
        have = min(map(len, hits))
        k = per_value or have
        if not 1 <= k <= have:
            problem = f"{k} labelled training faces with each value of {name} are asked for, the rarer value has {have}"
            fail(faces.name, None, problem, "Ask for fewer, or give more faces")
        for v in (0, 1):
            out[hits[v][:k], a] = v
    return out


def pool(split: Split, kept: np.ndarray, repeat: int, mixed: bool = True) -> Examples:
    """All training faces once (not mixed: those that keep a label), and `repeat` times more those that keep one, with
    the labels `kept`. Mixed, the share with a label is (repeat + 1) |U| / (N + repeat |U|) for |U| of N faces."""
    union = np.flatnonzero((kept != HIDDEN).any(1))
    rows = np.concatenate([np.arange(len(kept)) if mixed else union, np.tile(union, repeat)])
    return Examples(split.train[rows], kept[rows])


def sparse_examples(faces: FaceSet, split: Split, attributes, per_value: int, repeat: int, seed: int, mixed: bool = True) -> Examples:
    """`pool` of `kept_labels` where the labels are the set's own attributes."""
    labels = {name: faces.column(name) for name in attributes}
    return pool(split, kept_labels(faces, split, labels, per_value, seed), repeat, mixed)

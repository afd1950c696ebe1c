"""Identity-disjoint splits: training, validation (for every choice of settings) and test (touched by reported evaluations alone)."""

import hashlib
import itertools
from dataclasses import dataclass, replace

import numpy as np

from lib.data.errors import DataError, fail
from lib.data.faceset import FaceSet

CELEBA, TRAINING, IMAGES = 10_177, 8_177, 191_649  # identities, and those that train in SaGAN section 4.1; their images
RULES = ("official", "random", "most_images", "validation")


@dataclass(frozen=True, eq=False)
class Split:
    """Row indices (int64, ascending) of the three parts of one FaceSet; no identity is in two of them.

    checksum: sha256 hex over the part names, each followed by the file names of the part, one name a line.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    rule: str
    checksum: str


def make_split(faces: FaceSet, rule: str = "official") -> Split:
    """The split of a set by one of RULES.

    official: the partition that the set brings (CelebA's list_eval_partition.txt); `random` for a set without one.
    random: `split_random` with seed 0. most_images: `split_most_images`.
    validation: as official, with the validation part in the place of test, which stays untouched: where settings are chosen. Its checksum is
    official's, so the same models are evaluated.
    DataError: another rule, too few identities, an identity in two parts.
    """
    if rule not in RULES:
        raise DataError(f"split = {rule!r}: it must be one of {', '.join(RULES)}.")
    if rule == "validation":
        whole = make_split(faces)
        return replace(whole, validation=whole.test, test=whole.validation, rule=f"{whole.rule}; validation in place of test")
    if rule == "most_images":
        return split_most_images(faces)
    if rule == "official" and faces.partition is not None:
        return divided(faces, *(np.flatnonzero(faces.partition == part) for part in range(3)), "CelebA's official partition")
    return split_random(faces, 0)


def split_random(faces: FaceSet, seed: int) -> Split:
    """A seeded fifth of the identities (not of the images) tests, a tenth validates; DataError if a part would be empty."""
    ids = np.random.default_rng([seed, 1]).permutation(np.unique(faces.identities))
    test, validation = round(len(ids) * 0.2), round(len(ids) * 0.1)
    if not (test and validation):
        fail(faces.name, None, f"{len(ids)} identities are too few to train, to validate and to test", "Use at least 6 identities")
    rule = f"{test} of {len(ids)} identities test, {validation} validate, drawn with seed {seed}"
    return by_identity(faces, np.split(ids, [test, test + validation])[::-1], rule)


def split_most_images(faces: FaceSet) -> Split:
    """SaGAN section 4.1: TRAINING of CELEBA identities train, by image count descending, then identity ascending. Of
    the others a seeded quarter validates, the rest test. DataError for an empty part, and for as many identities as
    CelebA has of which those that train have not the printed number of images (ties in the order do not change it)."""
    ids, counts = np.unique(faces.identities, return_counts=True)
    order = np.lexsort((ids, -counts))
    ids, counts = ids[order], counts[order]
    k = round(len(ids) * TRAINING / CELEBA)
    if not 1 <= k < len(ids) - 1:
        fail(faces.name, None, f"{k} of {len(ids)} identities train, too few are left", "Use at least 8 identities")
    if len(ids) == CELEBA and counts[:k].sum() != IMAGES:
        fail(faces.name, None, f"{k} identities have {counts[:k].sum()} images, CelebA's {IMAGES}", "Restore identity_CelebA.txt")
    rest = np.random.default_rng([0, 1]).permutation(ids[k:])
    quarter = max(1, round(len(rest) * 0.25))
    rule = f"the {k} of {len(ids)} identities with most images train; {quarter} of the others validate"
    return by_identity(faces, (ids[:k], rest[:quarter], rest[quarter:]), rule)


def by_identity(faces: FaceSet, people, rule: str) -> Split:
    """The Split whose three parts hold all images of three arrays of identities."""
    return divided(faces, *(np.flatnonzero(np.isin(faces.identities, ids)) for ids in people), rule)


def divided(faces: FaceSet, train: np.ndarray, validation: np.ndarray, test: np.ndarray, rule: str) -> Split:
    """A Split from the rows (int64) of its parts. Raises DataError if a part is empty or an identity is in two of them."""
    parts = {"train": np.sort(train), "validation": np.sort(validation), "test": np.sort(test)}
    for name, rows in parts.items():
        if not len(rows):
            fail(faces.name, None, f"the {name} part of the split is empty", f"Give more images{_or_anew(faces)}")
    for a, b in itertools.combinations(parts, 2):
        if shared := np.intersect1d(faces.identities[parts[a]], faces.identities[parts[b]]).tolist():
            problem = f"{len(shared)} identities are in both {a} and {b}, e.g. {shared[0]}"
            fail(faces.name, None, problem, f"Correct the lists{_or_anew(faces)}")
    lines = [line for name, rows in parts.items() for line in (name, *(faces.files[i] for i in rows))]
    return Split(**parts, rule=rule, checksum=hashlib.sha256("\n".join((*lines, "")).encode()).hexdigest())


def narrowed(split: Split, faces: FaceSet, keep: np.ndarray, rule: str) -> Split:
    """The same split with only those training images for which keep (N,) is true; `rule` says in words which. DataError if none is left."""
    rows = split.train[keep[split.train]]
    return divided(faces, rows, split.validation, split.test, f"{split.rule}; of the training images {rule}")


def require_test_faces(faces: FaceSet, split: Split, attribute: str) -> None:
    """Raise DataError unless the test part has two faces with either label (a Frechet distance needs two)."""
    for label in (0, 1):
        enough_test_faces(faces, split, faces.column(attribute) == label, 2, f"{attribute} = {label}")


def enough_test_faces(faces: FaceSet, split: Split, wanted: np.ndarray, least: int, what: str) -> np.ndarray:
    """The rows of the test faces among `wanted` (N,) bool, `what` in words, ascending. DataError for fewer than `least`."""
    rows = split.test[wanted[split.test]]
    if len(rows) < least:
        problem = f"the test split has {len(rows)} faces with {what}, at least {least} are needed"
        fail(faces.name, None, problem, f"Give more images{_or_anew(faces, wanted, least)}")
    return rows


def _or_anew(faces: FaceSet, wanted: np.ndarray | None = None, least: int = 0) -> str:
    """A further remedy for a set with a partition of its own: the random split, if it has `least` test faces among `wanted`."""
    if faces.partition is None or len(np.unique(faces.identities)) < 6:
        return ""
    test = split_random(faces, 0).test
    return ", or divide the people anew: the setting split = random" if wanted is None or wanted[test].sum() >= least else ""

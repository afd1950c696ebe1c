"""Identity-disjoint splits, stored with their file names and a checksum."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.errors import DataError, fail
from lib.data.faceset import FaceSet

CELEBA_IMAGES, CELEBA_IDENTITIES = 202_599, 10_177
CELEBA_TRAIN_IDENTITIES, CELEBA_TRAIN_IMAGES = 8_177, 191_649

RULES = ("most_images", "random")


@dataclass(frozen=True, eq=False)
class Split:
    """Row indices (int64, ascending) of both sides into one FaceSet; no identity is on both sides.

    checksum: sha256 hex over "train\\n", the training file names, "test\\n", the test file names, one name a line.
    """

    train: np.ndarray
    test: np.ndarray
    rule: str
    tie_rule: str
    checksum: str
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write rule, checksum and the file names of both sides as json."""
        record = {"rule": self.rule, "tie_rule": self.tie_rule, "checksum": self.checksum, "train": self.train_files, "test": self.test_files}
        temporary = Path(f"{path}.tmp")
        temporary.write_text(json.dumps(record, indent=0))
        os.replace(temporary, path)

    @staticmethod
    def read(path: Path, faces: FaceSet) -> "Split":
        """Read a stored split; DataError if it was altered, names images that `faces` lacks, or shares an identity between its sides."""
        remedy = "Remove the file to make the split anew"
        try:
            record = json.loads(Path(path).read_text())
            train, test = tuple(record["train"]), tuple(record["test"])
            rule, tie_rule, checksum = record["rule"], record["tie_rule"], record["checksum"]
        except FileNotFoundError:
            fail(path, None, "no such split file", "Make the split first and save it")
        except (ValueError, KeyError, TypeError) as error:
            fail(path, getattr(error, "lineno", None), f"not a split file ({type(error).__name__}: {error})", remedy)
        if _checksum(train, test) != checksum:
            fail(path, None, "the file names do not match the checksum: the file was altered", remedy)
        row = {name: i for i, name in enumerate(faces.files)}
        if missing := [name for name in train + test if name not in row]:
            fail(path, None, f"{len(missing)} of its images are not in the set {faces.name}, e.g. {missing[0]}", "Load the set it was made for")
        sides = [np.array([row[name] for name in names], np.int64) for names in (train, test)]
        split = divided(faces, *sides, rule, tie_rule)
        if split.checksum != checksum:
            fail(path, None, "the file names are not in the order of the set", remedy)
        return split


def split_most_images(faces: FaceSet, train_identities: int | None = None) -> Split:
    """SaGAN section 4.1: the identities with the most images train, the rest test.

    Identities are sorted by (image count descending, identity id ascending). train_identities: how many train; None for 8,177 of
    CelebA's 10,177 and the same share, rounded, of a smaller set. DataError if a side would be empty, or if the full CelebA is given
    and its 8,177 largest identities do not hold 191,649 images (that sum does not depend on how ties are broken).
    """
    ids, counts = np.unique(faces.identities, return_counts=True)
    order = np.lexsort((ids, -counts))
    ids, counts = ids[order], counts[order]
    k = round(len(ids) * CELEBA_TRAIN_IDENTITIES / CELEBA_IDENTITIES) if train_identities is None else train_identities
    if not 1 <= k < len(ids):
        fail(faces.name, None, f"{k} of {len(ids)} identities for training leaves a side empty", f"Give train_identities from 1 to {len(ids) - 1}")
    if (len(faces), len(ids)) == (CELEBA_IMAGES, CELEBA_IDENTITIES) and counts[:CELEBA_TRAIN_IDENTITIES].sum() != CELEBA_TRAIN_IMAGES:
        found = counts[:CELEBA_TRAIN_IDENTITIES].sum()
        problem = f"the {CELEBA_TRAIN_IDENTITIES} largest identities hold {found} images, in CelebA they hold {CELEBA_TRAIN_IMAGES}"
        fail(faces.name, None, problem, "Download identity_CelebA.txt again")
    tied, tied_train = int((counts == counts[k - 1]).sum()), int((counts[:k] == counts[k - 1]).sum())
    tie_rule = f"image count descending, then identity id ascending; {tied_train} of the {tied} identities with {counts[k - 1]} images train"
    chosen = np.isin(faces.identities, ids[:k])
    rule = f"the {k} of {len(ids)} identities with most images train"
    return divided(faces, np.flatnonzero(chosen), np.flatnonzero(~chosen), rule, tie_rule)


def split_random(faces: FaceSet, seed: int, test_fraction: float = 0.2) -> Split:
    """A seeded random share of the identities (not of the images) tests, the rest trains; DataError if a side would be empty."""
    if not 0 < test_fraction < 1:
        raise DataError(f"split_random: test_fraction is {test_fraction}. Give a number between 0 and 1.")
    ids = np.unique(faces.identities)
    k = round(len(ids) * test_fraction)
    if not 1 <= k < len(ids):
        problem = f"{test_fraction} of {len(ids)} identities for testing leaves a side empty"
        fail(faces.name, None, problem, "Use more identities or another test_fraction")
    chosen = np.isin(faces.identities, np.random.default_rng([seed, 1]).permutation(ids)[:k])
    rule = f"{k} of {len(ids)} identities test, drawn with seed {seed}"
    return divided(faces, np.flatnonzero(~chosen), np.flatnonzero(chosen), rule, "none")


def make_split(faces: FaceSet, rule: str) -> Split:
    """The split of a name: "most_images" (`split_most_images`) or "random" (`split_random` with seed 0, a fifth of the identities)."""
    if rule not in RULES:
        raise DataError(f"make_split: rule is {rule!r}. Give one of {', '.join(RULES)}.")
    return split_most_images(faces) if rule == "most_images" else split_random(faces, 0)


def require_test_faces(faces: FaceSet, split: Split, attribute: str) -> None:
    """Raise DataError unless the test split has two faces with either label (a Frechet distance needs two)."""
    for label in (0, 1):
        n = int((faces.column(attribute)[split.test] == label).sum())
        if n < 2:
            raise DataError(f"{faces.name}: the test split has {n} faces with {attribute} = {label}, at least 2 are needed. Give more images.")


def narrowed(split: Split, faces: FaceSet, keep: np.ndarray, rule: str) -> Split:
    """The same split with only those training images for which keep (N,) is true; `rule` says in words which. DataError if none is left."""
    return divided(faces, split.train[keep[split.train]], split.test, f"{split.rule}; of the training images {rule}", split.tie_rule)


def divided(faces: FaceSet, train: np.ndarray, test: np.ndarray, rule: str, tie_rule: str) -> Split:
    """A Split from the rows (int64) of both sides. Raises DataError if a side is empty or an identity is on both."""
    for side, rows in (("train", train), ("test", test)):
        if not len(rows):
            fail(faces.name, None, f"the {side} side of the split is empty", "Use more identities")
    if shared := np.intersect1d(faces.identities[train], faces.identities[test]).tolist():
        fail(faces.name, None, f"{len(shared)} identities are on both sides of the split, e.g. {shared[0]}", "Split by identity")
    train_files, test_files = tuple(faces.files[i] for i in sorted(train)), tuple(faces.files[i] for i in sorted(test))
    return Split(np.sort(train), np.sort(test), rule, tie_rule, _checksum(train_files, test_files), train_files, test_files)


def _checksum(train: tuple[str, ...], test: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(("train", *train, "test", *test, "")).encode()).hexdigest()

"""Labeled Faces in the Wild, deep-funneled: images brought to CelebA's geometry, and the verification pairs of View 2."""

from pathlib import Path

import numpy as np

from lib.data import cache
from lib.data.celeba import read_lines
from lib.data.crop import Crop
from lib.data.errors import DataError, fail
from lib.data.faceset import FaceSet

WINDOW = (29, -7, 221, 228)  # of 250x250: eyes and mouth then lie where CelebA has them, relative to the width

Lfw = tuple[FaceSet, tuple[np.ndarray, ...]]  # what `load_lfw` returns


def lfw_beside(faces: FaceSet, folder: str) -> Lfw | None:
    """`load_lfw` of the folder at the size of `faces`; None for an empty name. Raises DataError with drawn faces, whose
    editors and judges have never seen a photograph."""
    if not folder:
        return None
    if not isinstance(folder, str | Path):
        raise DataError(f"lfw = {folder!r}: it must be the path of a folder.")
    if faces.faces is not None:
        problem = f"networks trained on {faces.name} faces have never seen a photograph"
        raise DataError(f"{folder}: {problem}. Give real faces as data, or no LFW.")
    return load_lfw(folder, faces.size)


def load_lfw(root: Path | str, size: int, *, cache_dir: Path | None = None) -> tuple[FaceSet, tuple[np.ndarray, ...]]:
    """`lfw-deepfunneled/Name/Name_NNNN.jpg` and `pairs.txt` under root as (faces, folds): faces without attributes
    ((N,0)) and landmarks, identities in alphabetical order; folds[k] (2P,3) int64 of rows (image a, image b, 1 for the
    same person else 0), first the P same pairs. DataError for what is missing and for malformed pairs."""
    root, crop = Path(root), Crop(size)
    folder = root / "lfw-deepfunneled"
    if not folder.is_dir():
        fail(folder, None, "no such folder", "Unpack lfw-deepfunneled.tgz here")
    paths = sorted(path for path in folder.glob("*/*.jpg") if path.name[0] != ".")
    if not paths:
        fail(folder, None, "it holds no Name/Name_NNNN.jpg", "Unpack lfw-deepfunneled.tgz again")
    files = tuple(path.name for path in paths)
    folds = _read_pairs(root / "pairs.txt", {name: i for i, name in enumerate(files)})
    fingerprint = cache.fingerprint(f"lfw {cache.VERSION} {WINDOW} {crop}", files, [*paths, root / "pairs.txt"], cache_dir)
    images = cache.decode_all([str(path) for path in paths], crop, "lfw", fingerprint, cache_dir, WINDOW)
    people = np.unique([path.parent.name for path in paths], return_inverse=True)[1]
    none = np.zeros((len(files), 0), np.uint8)
    return FaceSet("lfw", images, none, (), people, None, "none", files, crop, fingerprint, publishable=False), folds


def _read_pairs(path: Path, row: dict[str, int]) -> tuple[np.ndarray, ...]:
    lines = [line.split() for line in read_lines(path)]
    if len(lines[0]) != 2 or not all(field.isascii() and field.isdigit() for field in lines[0]):
        fail(path, 1, f"the header is {' '.join(lines[0])[:40]!r}", "Line 1 must hold the number of folds and of pairs per fold")
    folds, pairs = map(int, lines[0])
    if not folds or not pairs or len(lines) - 1 != folds * 2 * pairs:
        fail(path, 1, f"{folds} folds of 2 x {pairs} pairs need {folds * 2 * pairs} lines, the file has {len(lines) - 1}", "Download it again")

    def image(line: int, name: str, number: str) -> int:
        file = f"{name}_{number.zfill(4)}.jpg"
        if file not in row:
            fail(path, line, f"{file} is not under lfw-deepfunneled", "Restore the image")
        return row[file]

    rows = []
    for i, fields in enumerate(lines[1:]):
        same = i % (2 * pairs) < pairs
        if len(fields) != (3 if same else 4):
            kind = "same-person pair: name, number, number" if same else "different-person pair: name, number, name, number"
            fail(path, i + 2, f"{len(fields)} fields", f"The line must hold a {kind}")
        other = [fields[0], fields[2]] if same else fields[2:]
        rows.append((image(i + 2, *fields[:2]), image(i + 2, *other), same))
    return tuple(np.array(rows, np.int64).reshape(folds, 2 * pairs, 3))

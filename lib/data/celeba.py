"""Reader of CelebA's official layout: labels are parsed and checked completely before any image is decoded.

    img_align_celeba/                     images (also img_align_celeba_png/, and the doubly nested folder of the Kaggle archive)
    list_attr_celeba.txt                  count; attribute names; rows "000001.jpg -1 1 ..." (or 0 and 1 throughout: a warning says so)
    identity_CelebA.txt                   rows "000001.jpg 2880"
    list_eval_partition.txt               rows "000001.jpg 0" (optional)
    list_landmarks_align_celeba.txt       count; names; rows of ten pixel coordinates in the 178x218 frame (optional)

Label files may instead be csv with a header line that begins with image_id, as published on Kaggle, and may lie in Anno/ and Eval/.
Files whose name begins with a dot are overlooked: macOS leaves ._000001.jpg beside 000001.jpg on foreign disks and in archives.
"""

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.data.errors import fail

FRAME_WIDTH = 178  # landmark files use the full-size frame, whatever the size of the images
IMAGES = ("img_align_celeba", "img_align_celeba_png")
IMAGE_FOLDERS = [f"{where}{name}" for name in IMAGES for where in (f"{name}/", "", "Img/")]
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
LANDMARK_FILES = {"list_landmarks_align_celeba": "official", "landmarks5_dlib_estimated": "estimated"}
FROM_ANNO = "Copy it from the folder Anno of the official archive (mmlab.ie.cuhk.edu.hk/projects/CelebA.html)"
REMEDIES = {
    "list_attr_celeba": FROM_ANNO,
    "identity_CelebA": f"Without it no split can keep people apart, and Kaggle's archive lacks it. {FROM_ANNO}",
}


class Folder(NamedTuple):
    """Checked labels of one folder; row i of every array is files[i]. landmarks (N,5,2) float64 in the full 178-wide frame, or None."""

    root: Path
    files: tuple[str, ...]  # as the attribute list names them
    paths: tuple[str, ...]  # where the same images are (.png for a png folder)
    attribute_names: tuple[str, ...]
    attributes: np.ndarray
    identities: np.ndarray
    partition: np.ndarray | None
    landmarks: np.ndarray | None
    landmark_source: str
    label_files: tuple[Path, ...]


class _Table(NamedTuple):
    """A label file: column names (empty without a header) and for every image its line number and fields."""

    path: Path
    names: tuple[str, ...]
    rows: dict[str, tuple[int, tuple[str, ...]]]


def read_folder(root: Path) -> Folder:
    """Read and check all label files and the folder's list of images; no image is opened. Raises DataError."""
    if not root.is_dir():
        if root.is_file():
            fail(root, None, "this is a file, not a folder", "Unpack it and give the folder")
        problem = "no such folder" if root.is_absolute() else f"no such folder in {Path.cwd()}"
        fail(root, None, problem, 'Give the path of a folder in CelebA\'s layout, or "synthetic" for the built-in faces')
    image_dir = _images(root)
    if image_dir is None:
        near = next((p for p in (root.parent, *sorted(root.iterdir())) if p.is_dir() and _images(p)), None)
        fail(root / "img_align_celeba", None, "no such folder", f"Give {near}" if near else "Unpack img_align_celeba.zip here")
    attr = _table(_find(root, "list_attr_celeba"), width=None)
    attributes = _attributes(attr)
    paths = _match_images(attr, image_dir)
    label_files = [attr.path, _find(root, "identity_CelebA")]
    identities = _column(label_files[1], attr, 1, lambda fields: np.int64(int(fields[0])), "an identity is an integer")
    partition = landmarks = None
    if path := _find(root, "list_eval_partition"):
        rule = "a partition is 0 (train), 1 (validation) or 2 (test)"
        partition = _column(path, attr, 1, lambda fields: ("0", "1", "2").index(fields[0]), rule)
        label_files.append(path)
    source = next((path for stem in LANDMARK_FILES if (path := _find(root, stem))), None)
    if source:
        rule = "landmarks are ten finite numbers"
        landmarks = _column(source, attr, 10, lambda fields: np.array(fields, float).reshape(5, 2), rule)
        label_files.append(source)
    kind = LANDMARK_FILES[source.stem] if source else "none"
    return Folder(root, tuple(attr.rows), paths, attr.names, attributes, identities, partition, landmarks, kind, tuple(label_files))


def _images(root: Path) -> Path | None:
    return next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)


def _find(root: Path, stem: str) -> Path | None:
    places = (root / f"{place}{stem}{suffix}" for place in ("", "Anno/", "Eval/") for suffix in (".txt", ".csv"))
    found = next((path for path in places if path.is_file()), None)
    if found is None and stem in REMEDIES:
        fail(root / f"{stem}.txt", None, "no such file", REMEDIES[stem])
    return found


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file without trailing blank ones; DataError if it is empty, unreadable or not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        fail(path, None, f"cannot be read ({error.strerror})", "Check that it is a file and that you may read it")
    if not data.strip():
        fail(path, 1, "the file is empty", "Download it again")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").rstrip().split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fail(path, line, "the file is not UTF-8 text", "Save it as UTF-8, or download it again if it is an archive")


def _table(path: Path, width: int | None) -> _Table:
    """Parse one label file. width: values per row, None to take it from the names line; unless it is 1, a txt begins
    with count and names."""
    lines, is_csv, first = read_lines(path), path.suffix == ".csv", 0
    names = ()
    if is_csv:
        start, *rest = lines[0].split(",")
        names, first = tuple(map(str.strip, rest)), 1
        if start.strip() != "image_id":
            fail(path, 1, f"the csv has no header (its first field is {start!r})", "Put image_id and the column names in line 1")
    elif width != 1:
        count, first = lines[0].strip(), 2
        if not count.isascii() or not count.isdigit():
            fail(path, 1, f"the count line is {count[:40]!r}, not a number", "Line 1 must hold the number of rows, line 2 the names")
        if len(lines) < 2:
            fail(path, 1, "the file ends before the names line", "Restore the names line and the rows")
        names = tuple(lines[1].split())
        if int(count) != len(lines) - 2:
            fail(path, 1, f"the count line says {count}, the file has {len(lines) - 2} rows", "Correct the count or restore the rows")
    if duplicate := next((name for i, name in enumerate(names) if name in names[:i]), None):
        fail(path, first, f"the name {duplicate} occurs twice in the names line", "Every column needs its own name")
    if width is None:
        width = len(names) or fail(path, first, "the file names no attribute", "Restore the names line of the official file")
    if names and len(names) != width:
        fail(path, first, f"{len(names)} column names instead of {width}", "Restore the names line of the official file")
    rows = {}
    for line, text in enumerate(lines[first:], first + 1):
        name, *fields = map(str.strip, text.split(",")) if is_csv else text.split() or [""]
        if not name:
            fail(path, line, "the line is blank or begins with an empty name", "Remove it")
        if name in (".", "..") or "/" in name or "\\" in name or ":" in name:
            fail(path, line, f"the name {name!r} leaves the image folder", "Rows must hold plain file names without a path")
        if name in rows:
            fail(path, line, f"{name} is listed twice (first in line {rows[name][0]})", "Remove one of the two rows")
        if len(fields) != width:
            fail(path, line, f"{len(fields)} values after {name} instead of {width}", "Restore the row")
        rows[name] = line, tuple(fields)
    if not rows:
        fail(path, 1, "the file lists no image", "Restore its rows")
    return _Table(path, names, rows)


def _attributes(attr: _Table) -> np.ndarray:
    values = {field for _, fields in attr.rows.values() for field in fields}
    absent = "0" if "0" in values and values <= {"0", "1"} else "-1"
    if absent == "0":
        warnings.warn(f"{attr.path}: the labels are 0 and 1; 0 is read as CelebA's -1.", stacklevel=2)
    for name, (line, fields) in attr.rows.items():
        if not {"1", absent}.issuperset(fields):
            column = next(i for i, field in enumerate(fields) if field not in ("1", absent))
            remedy = "Attribute values are 1 or -1 (or 1 or 0 in the whole file)"
            fail(attr.path, line, f"{attr.names[column]} of {name} is {fields[column]!r}", remedy)
    return np.array([[field == "1" for field in fields] for _, fields in attr.rows.values()], np.uint8)


def _match_images(attr: _Table, image_dir: Path) -> tuple[str, ...]:
    """Paths of the listed images; DataError if one is missing or one is there that is not listed."""
    is_png = image_dir.name == "img_align_celeba_png"  # its files end in .png although the official lists say .jpg
    with os.scandir(image_dir) as entries:
        present = {e.name for e in entries if os.path.splitext(e.name)[1].lower() in IMAGE_SUFFIXES and e.is_file()}
    names = [os.path.splitext(name)[0] + ".png" if is_png else name for name in attr.rows]
    paths = tuple(os.path.join(image_dir, name) for name in names)
    for name, path, (line, _) in zip(names, paths, attr.rows.values(), strict=True):
        if name not in present:
            what = f"a link to {os.readlink(path)}, where no file is" if os.path.islink(path) else f"listed but absent from {image_dir}"
            fail(attr.path, line, f"{name} is {what}", "Restore the image, or remove its row and lower the count")
    if extra := sorted(name for name in present.difference(names) if name[0] != "."):
        problem = f"the image is not listed in {attr.path.name} ({len(extra)} such files)"
        fail(image_dir / extra[0], None, problem, "Remove it or add its row")
    return paths


def _column(path: Path, attr: _Table, width: int, parse, rule: str) -> np.ndarray:
    """parse(fields) of every row of a file, in the attribute list's order. DataError unless both list the same images,
    and naming the rule where `parse` raises ValueError or OverflowError or gives no finite numbers."""
    table, out = _table(path, width), []
    for name, (line, _) in table.rows.items():
        if name not in attr.rows:
            problem = f"{name} is not listed in {attr.path.name}"
            fail(path, line, problem, "Remove the row or add the image to the attribute list")
    for name, (listed, _) in attr.rows.items():
        if name not in table.rows:
            fail(path, None, f"no row for {name} (line {listed} of {attr.path.name})", "Restore the row")
        line, fields = table.rows[name]
        try:
            out.append(parse(fields))
            if any("_" in field for field in fields) or not np.isfinite(out[-1]).all():  # Python would read 1_0 as 10
                raise ValueError
        except (ValueError, OverflowError):
            fail(path, line, f"{name} has {' '.join(fields)[:60]!r}, but {rule}", "Correct the row")
    return np.array(out)

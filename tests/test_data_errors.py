"""Malformed input: each case gives one error that names the file, the line where there is one, and what to do about it."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_data import celeba_folder, face_set

from lib.baselines.semantic_inpainting import boxed
from lib.data import Batches, Crop, DataError, Examples, beforehand, cache, load, load_domains, load_lfw, outline
from lib.data.splits import make_split, split_most_images, split_random

ATTR, POINTS, IDENTITY, PARTITION = "list_attr_celeba.txt", "list_landmarks_align_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"
IMAGES = "img_align_celeba"


def row(file: str, line: int, new: str | None):
    """Replace a whole line (counted from 1), or remove it (None)."""

    def change(root: Path) -> None:
        lines = (root / file).read_text().split("\n")
        lines[line - 1 : line] = [] if new is None else [new]
        (root / file).write_text("\n".join(lines))

    return change


def remove(name: str):
    return lambda root: shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()


def content(file: str, data: bytes):
    return lambda root: (root / file).write_bytes(data)


def linked(target: str):
    """The first image becomes a link."""
    return lambda root: ((root / IMAGES / "000001.jpg").unlink(), (root / IMAGES / "000001.jpg").symlink_to(target))


def as_csv(file: str, header: str):
    """The rows of a list as csv, under this header."""

    def change(root: Path) -> None:
        rows = [line for line in (root / file).read_text().splitlines() if ".jpg" in line]
        (root / file).unlink()
        (root / file).with_suffix(".csv").write_text("\n".join([header, *(",".join(line.split()) for line in rows)]).lstrip() + "\n")

    return change


def constant(file: str, value: int, rows=range(1, 37)):
    """Every one of these rows gets the same value in all columns."""

    def change(root: Path) -> None:
        lines, changed = [line.split() for line in (root / file).read_text().splitlines()], {f"{k:06d}.jpg" for k in rows}
        lines = [" ".join([name, *(str(value) if name in changed else v for v in values)]) for name, *values in lines]
        (root / file).write_text("\n".join(lines) + "\n")

    return change


# id: (change, file that the message must name, its line or None, what is wrong, remedy)
NAMES, ROW, ESCAPES, NOT_1 = "Eyeglasses Male No_Beard Smiling", "Restore the row", "leaves the image folder", "1 or -1 (or 1 or 0 in the whole file)"
LABEL_ERRORS = {
    "folder missing": (shutil.rmtree, "", None, "no such folder", "Give the path of a folder"),
    "image folder missing": (remove(IMAGES), IMAGES, None, "no such folder", "Unpack img_align_celeba.zip"),
    "attribute list missing": (remove(ATTR), ATTR, None, "no such file", "Copy it from the folder Anno"),
    "identity list missing": (remove(IDENTITY), IDENTITY, None, "no such file", "Kaggle's archive lacks it. Copy it from"),
    "count not a number": (row(ATTR, 1, "twelve"), ATTR, 1, "'twelve', not a number", "Line 1 must hold the number of rows"),
    "count line missing": (row(ATTR, 1, None), ATTR, 1, "not a number", "Line 1 must hold the number of rows"),
    "count wrong": (row(ATTR, 1, "13"), ATTR, 1, "says 13, the file has 12 rows", "Correct the count or restore the rows"),
    "only a count": (content(ATTR, b"0\n"), ATTR, 1, "ends before the names line", "Restore the names line"),
    "no attribute": (content(ATTR, b"1\n\n000001.jpg\n"), ATTR, 2, "names no attribute", "Restore the names line"),
    "empty set": (content(ATTR, b"0\nMale Smiling\n"), ATTR, 1, "lists no image", "Restore its rows"),
    "attribute named twice": (row(ATTR, 2, "Male Male A B"), ATTR, 2, "Male occurs twice", "Every column needs its own name"),
    "too few values": (row(ATTR, 5, "000003.jpg 1 -1 1"), ATTR, 5, "3 values after 000003.jpg instead of 4", ROW),
    "too many values": (row(ATTR, 6, "000004.jpg 1 -1 1 1 1"), ATTR, 6, "5 values after 000004.jpg instead of 4", ROW),
    "value 0": (row(ATTR, 8, "000006.jpg 1 0 1 1"), ATTR, 8, "Male of 000006.jpg is '0'", NOT_1),
    "value not a number": (row(ATTR, 9, "000007.jpg 1 1 1 True"), ATTR, 9, "Smiling of 000007.jpg is 'True'", NOT_1),
    "image listed twice": (row(ATTR, 10, "000007.jpg 1 1 1 1"), ATTR, 10, "listed twice (first in line 9)", "Remove one of the two"),
    "blank line": (row(ATTR, 6, ""), ATTR, 6, "the line is blank", "Remove it"),
    "image absent": (remove(f"{IMAGES}/000009.jpg"), ATTR, 11, "000009.jpg is listed but absent", "Restore the image"),
    "image not listed": (content(f"{IMAGES}/9.jpg", b"x"), f"{IMAGES}/9.jpg", None, "not listed in list_attr_celeba.txt", "add its row"),
    "link to nothing": (linked("/no/place.jpg"), ATTR, 3, "a link to /no/place.jpg, where no file is", "Restore the image"),
    "name goes up": (row(ATTR, 3, "../x.jpg 1 1 1 1"), ATTR, 3, f"'../x.jpg' {ESCAPES}", "plain file names"),
    "name is absolute": (row(ATTR, 4, "/etc/passwd 1 1 1 1"), ATTR, 4, f"'/etc/passwd' {ESCAPES}", "plain file names"),
    "name with a backslash": (row(ATTR, 4, "..\\x.jpg 1 1 1 1"), ATTR, 4, ESCAPES, "plain file names"),
    "name with a drive": (row(IDENTITY, 2, "C:x.jpg 1"), IDENTITY, 2, ESCAPES, "plain file names"),
    "identity row missing": (row(IDENTITY, 5, None), IDENTITY, None, "no row for 000005.jpg (line 7 of list_attr", ROW),
    "identity not an integer": (row(IDENTITY, 4, "000004.jpg 1.5"), IDENTITY, 4, "'1.5', but an identity is an integer", "Correct the row"),
    "identity with an underscore": (row(IDENTITY, 4, "000004.jpg 1_5"), IDENTITY, 4, "an identity is an integer", "Correct the row"),
    "identity out of range": (row(IDENTITY, 4, f"000004.jpg {10**20}"), IDENTITY, 4, "an identity is an integer", "Correct the row"),
    "identity of nobody": (row(IDENTITY, 13, "000013.jpg 5\n"), IDENTITY, 13, "not listed in list_attr", "Remove the row"),
    "partition 3": (row(PARTITION, 2, "000002.jpg 3"), PARTITION, 2, "'3', but a partition is 0 (train)", "Correct the row"),
    "landmarks too few": (row(POINTS, 4, "000002.jpg 1 2 3 4 5 6 7 8 9"), POINTS, 4, "9 values", ROW),
    "landmark not a number": (row(POINTS, 4, "000002.jpg 1 2 3 4 x 6 7 8 9 10"), POINTS, 4, "ten finite numbers", "Correct the row"),
    "landmark not finite": (row(POINTS, 4, "000002.jpg 1 2 3 4 nan 6 7 8 9 10"), POINTS, 4, "ten finite numbers", "Correct the row"),
    "landmark count wrong": (row(POINTS, 1, "10"), POINTS, 1, "says 10, the file has 12 rows", "Correct the count"),
    "landmark names lost": (row(POINTS, 2, "lefteye_x lefteye_y"), POINTS, 2, "2 column names instead of 10", "Restore the names"),
    "csv without header": (as_csv(ATTR, ""), "list_attr_celeba.csv", 1, "the csv has no header", "Put image_id and the column names"),
    "csv row too long": (as_csv(ATTR, "image_id,a,b,c"), "list_attr_celeba.csv", 2, "4 values after 000001.jpg instead of 3", ROW),
    "not text": (content(IDENTITY, b"000001.jpg 1\n000002.jpg \xff\xfe\n"), IDENTITY, 2, "not UTF-8 text", "Save it as UTF-8"),
    "zero bytes": (content(PARTITION, b""), PARTITION, 1, "the file is empty", "Download it again"),
    "only blanks": (content(ATTR, b"\n \n"), ATTR, 1, "the file is empty", "Download it again"),
}


@pytest.mark.parametrize("case", LABEL_ERRORS)
def test_bad_labels_and_lists(case, tmp_path, monkeypatch):
    change, file, line, problem, remedy = LABEL_ERRORS[case]
    root = celeba_folder(tmp_path / "set")
    change(root)
    monkeypatch.setattr(cache, "decode", lambda *_: pytest.fail("an image was decoded before the lists were checked"))
    with pytest.raises(DataError) as caught:
        load(str(root), 16, cache_dir=tmp_path / "c")
    message = str(caught.value)
    assert message.startswith(f"{root / file}:{line}: " if line else f"{root / file}: ")
    assert problem in message and remedy in message and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize(
    "given, problem",
    [
        ("{}/set/img_align_celeba", "no such folder. Give {}/set."),  # the folder of pictures
        ("{}", "no such folder. Give {}/set."),  # the one above
        ("celeba.zip", "celeba.zip: this is a file, not a folder. Unpack it and give the folder."),
        ("faces", "faces: no such folder in {}. Give the path"),  # a relative path from elsewhere
        ("{}/wide", "wide: its images are 109x89, wider than high. Give upright or square ones"),
    ],
)
def test_a_place_that_is_not_the_folder(given, problem, tmp_path, monkeypatch):
    celeba_folder(tmp_path / "set")
    celeba_folder(tmp_path / "wide", size=(109, 89))
    (tmp_path / "celeba.zip").write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        outline(given.format(tmp_path), 16)
    assert problem.format(tmp_path) in str(caught.value)


def save_as(mode: str, size: tuple[int, int] = (89, 109), kind: str = "JPEG"):
    return lambda path: Image.new(mode, size).save(path, kind)


IMAGE_ERRORS = {
    "truncated JPEG": (lambda path: path.write_bytes(path.read_bytes()[:-200]), "cannot be decoded"),
    "truncated in its header": (lambda path: path.write_bytes(path.read_bytes()[:100]), "cannot be decoded"),
    "truncated PNG": (lambda path: (save_as("RGB", kind="PNG")(path), path.write_bytes(path.read_bytes()[:-30])), "cannot be decoded"),
    "not an image": (lambda path: path.write_text("404: Not Found"), "cannot be decoded"),
    "zero bytes": (lambda path: path.write_bytes(b""), "zero bytes"),
    "16 bits": (save_as("I;16", kind="PNG"), "mode I;16, more than 8 bits a colour"),
    "other size": (save_as("RGB", (178, 218)), "the image is 178x218, the others are 89x109"),
    "link to text": (lambda path: (path.unlink(), path.symlink_to(__file__)), f"it is a link to {__file__}"),
}


@pytest.mark.parametrize("case", IMAGE_ERRORS)
def test_bad_image(case, tmp_path):
    damage, problem = IMAGE_ERRORS[case]
    root = celeba_folder(tmp_path / "set")
    path = root / IMAGES / "000005.jpg"
    damage(path)
    with pytest.raises(DataError) as caught:
        load(str(root), 16, cache_dir=tmp_path / "c")
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and problem in message and "\n" not in message
    assert message.endswith("Replace it, or remove it and its rows in all lists.")
    assert {path.suffix for path in (tmp_path / "c").glob("set-*")} == {".lock"}


def test_no_room_for_the_cache(tmp_path, monkeypatch):
    root, needed = celeba_folder(tmp_path / "set"), 12 * 3 * 16 * 16
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(DataError, match="0.00 GB are free. Free some or set STUDY_CACHE"):
        load(str(root), 16, cache_dir=tmp_path / "c")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    assert len(load(str(root), 16, cache_dir=tmp_path / "c")) == 12


def batches(**changes):
    return Batches(**{"faces": face_set(range(12)), "index": range(12), "attributes": ["Eyeglasses"], "batch": 4, "seed": 0} | changes)


def eight(**changes):
    """Four people of two images each."""
    return face_set(**{"identities": [1, 1, 2, 2, 3, 3, 4, 4]} | changes)


CALLS = {
    "size is 0. Give an integer from 8 to 1024": lambda: Crop(0),
    "size is 64.0. Give an integer": lambda: Crop(64.0),
    "an image of 9x8 is wider than high": lambda: Crop(8).apply(Image.new("RGB", (9, 8))),
    "n is 0. Give the number of faces": lambda: load("synthetic", 32, n=0),
    "32 to 512 pixels, got 8. Give a value in that range": lambda: load("synthetic", 8, n=2),
    "seed is 9223372036854775808. Give an integer from 0 to": lambda: load("synthetic", 32, n=2, seed=2**63),
    "n is 20. Give at least 30": lambda: load_domains("animals", 32, n=20),
    "no attribute 'Eyeglases'. Did you mean Eyeglasses?": lambda: face_set([1]).column("Eyeglases"),
    "no attribute 'eyeglasses'. Did you mean Eyeglasses?": lambda: batches(attributes=["eyeglasses"]),
    "no attribute 'Qx'. It has Eyeglasses, Smiling.": lambda: face_set([1]).column("Qx"),
    "3 of 4 identities train, too few are left. Use at least 8": lambda: split_most_images(eight()),
    "1 of 1 identities train, too few are left": lambda: split_most_images(eight(identities=[1] * 8)),
    "5 identities are too few to train, to validate and to test. Use at least 6": lambda: split_random(face_set(range(5)), 0),
    "validation part of the split is empty. Give more images.": lambda: make_split(eight(partition=np.zeros(8, int))),
    "1 identities are in both train and validation, e.g. 2": lambda: make_split(eight(partition=np.array([0, 0, 0, 1, 1, 1, 2, 2]))),
    "split = 'randon': it must be one of official, random, most_images": lambda: make_split(eight(), "randon"),
    "3 images to train on, less than a batch of 4. Use more": lambda: batches(index=[0, 1, 2]),
    "no image of the split has Eyeglasses = 1. Use the natural sampler": lambda: batches(index=[1, 2, 3, 5, 6, 7], sampler="balanced"),
    "no image of the split has Eyeglasses = 0": lambda: batches(index=[0, 4, 8, 8], sampler="balanced"),
    "a balanced batch of 3 images. Give": lambda: batches(batch=3, sampler="balanced"),
    "a natural batch of 0 images. Give": lambda: batches(batch=0),
}


@pytest.mark.parametrize("problem", CALLS)
def test_bad_calls(problem):
    with pytest.raises(DataError) as caught:
        CALLS[problem]()
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "arguments, change, problem",
    [
        ({"batch": 29}, None, "27 images to train on, less than a batch of 29"),
        ({"examples": lambda faces, split, seed: Examples(split.train[:5])}, None, "5 images to train on, less than a batch of 6"),
        ({"batch": 3, "sampler": "balanced"}, None, "a balanced batch of 3 images"),
        ({"seed": 2**64}, None, "seed is 18446744073709551616. Give an integer"),
        ({"attributes": ["smiling"]}, None, "Did you mean Smiling?"),
        ({"attributes": ["No_Beard"]}, row(ATTR, 2, "Eyeglasses Male Beard Smiling"), "no attribute 'No_Beard'. Did you mean Beard?"),
        ({"examples": boxed}, remove(POINTS), "it has no landmarks to cut faces out by. Add list_landmarks"),
        ({"rule": "official"}, constant(PARTITION, 0), "split is empty. Give more images, or divide the people anew: the setting split = random"),
        ({"rule": "official"}, row(PARTITION, 36, "000036.jpg 0"), "are in both train and test, e.g. 12. Correct the lists, or divide"),
        ({"rule": "official"}, constant(ATTR, -1, range(25, 37)), "at least 2 are needed. Give more images, or divide the people anew"),
        ({}, constant(ATTR, -1), "the test split has 0 faces with Smiling = 1, at least 2 are needed. Give more images."),
        ({}, remove(IMAGES), "no such folder"),
    ],
)
def test_what_is_known_beforehand_is_said_without_decoding(arguments, change, problem, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "decode", None)
    root = celeba_folder(tmp_path / "set", n=36)
    stage = {"attributes": ["Smiling"], "batch": 6, "sampler": "natural", "examples": None, "updates": (SimpleNamespace(examples=None),)}
    faces, split = beforehand(str(root), 16, rule="random", stages=[SimpleNamespace(**stage)])
    assert faces.images is None and len(faces) == 36 and len(split.train) == 27
    if change:
        change(root)
    stage |= {name: value for name, value in arguments.items() if name in stage}
    others = {"rule": "random"} | {name: value for name, value in arguments.items() if name not in stage}
    with pytest.raises(DataError) as caught:
        beforehand(str(root), 16, stages=[SimpleNamespace(**stage)], **others)
    assert problem in str(caught.value)
    if "split = random" in problem:
        beforehand(str(root), 16, rule="random", stages=[SimpleNamespace(**stage)])  # the remedy does what it says


# ----------------------------------------------------------------------------------------------------------------------- LFW, AFHQ


@pytest.mark.parametrize(
    "change, file, line, problem",
    [
        (remove("lfw-deepfunneled"), "lfw-deepfunneled", None, "no such folder"),
        (remove("pairs.txt"), "pairs.txt", None, "cannot be read"),
        (row("pairs.txt", 1, "10"), "pairs.txt", 1, "the header is '10'"),
        (row("pairs.txt", 1, "2\t1"), "pairs.txt", 1, "2 folds of 2 x 1 pairs need 4 lines, the file has 2"),
        (row("pairs.txt", 2, "Ann\t1"), "pairs.txt", 2, "2 fields. The line must hold a same-person pair"),
        (row("pairs.txt", 3, "Ann\t1\t2"), "pairs.txt", 3, "3 fields. The line must hold a different-person pair"),
        (row("pairs.txt", 2, "Ann\t1\tx"), "pairs.txt", 2, "Ann_000x.jpg is not under lfw-deepfunneled"),
        (row("pairs.txt", 3, "Ann\t1\tBo\t2"), "pairs.txt", 3, "Bo_0002.jpg is not under lfw-deepfunneled"),
        (content("lfw-deepfunneled/Bo/Bo_0001.jpg", b"x"), "lfw-deepfunneled/Bo/Bo_0001.jpg", None, "cannot be decoded"),
    ],
)
def test_bad_lfw(tmp_path, change, file, line, problem):
    for name in ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bo/Bo_0001.jpg"):
        (tmp_path / "lfw-deepfunneled" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (250, 250)).save(tmp_path / "lfw-deepfunneled" / name)
    (tmp_path / "pairs.txt").write_text("1\t1\nAnn\t1\t2\nAnn\t2\tBo\t1\n")
    change(tmp_path)
    with pytest.raises(DataError) as caught:
        load_lfw(tmp_path, 16, cache_dir=tmp_path / "c")
    assert str(caught.value).startswith(f"{tmp_path / file}:{line}: " if line else f"{tmp_path / file}: ") and problem in str(caught.value)


@pytest.mark.parametrize(
    "change, problem",
    [
        (remove("val"), "val: no such folder"),
        (remove("val/dog"), "train has the domains ['cat', 'dog'], val has ['cat']"),
        (remove("val/dog/0.png"), "dog: it holds no picture"),
        (content("train/cat/0.png", b""), "0.png: the image file has zero bytes"),
        (lambda root: (root / "val/cat/1.png").symlink_to("gone.png"), "val/cat/1.png: cannot be read"),
    ],
)
def test_bad_domains(tmp_path, change, problem):
    for folder in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / folder / "0.png")
    change(tmp_path)
    with pytest.raises(DataError) as caught:
        load_domains(str(tmp_path), 16, cache_dir=tmp_path / "c")
    assert problem in str(caught.value)

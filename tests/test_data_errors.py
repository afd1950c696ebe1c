"""Malformed input: each case gives one error that names the file, the line where there is one, and what to do about it."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_data import celeba_folder, face_set

from lib.data import (
    Batches,
    Crop,
    DataError,
    Examples,
    beforehand,
    cache,
    load,
    load_domains,
    load_lfw,
    make_split,
    outline,
    split_most_images,
    split_random,
)
from lib.data.__main__ import main

ATTR, LANDMARKS, IDENTITY, PARTITION = "list_attr_celeba.txt", "list_landmarks_align_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"
IMAGES = "img_align_celeba"


def swap(file: str, old: str, new: str):
    """Replace the first occurrence of a text in a file of the folder."""

    def change(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))

    return change


def row(file: str, line: int, new: str | None):
    """Replace a whole line (counted from 1), or remove it (None)."""

    def change(root: Path) -> None:
        lines = (root / file).read_text().split("\n")
        lines[line - 1 : line] = [] if new is None else [new]
        (root / file).write_text("\n".join(lines))

    return change


def append(file: str, line: str):
    def change(root: Path) -> None:
        with open(root / file, "a") as stream:
            stream.write(line + "\n")

    return change


def remove(name: str):
    def change(root: Path) -> None:
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()

    return change


def content(file: str, data: bytes):
    return lambda root: (root / file).write_bytes(data)


def copied(root: Path) -> None:
    shutil.copy(root / IMAGES / "000001.jpg", root / IMAGES / "000099.jpg")


def linked(target: str):
    """The first image becomes a link."""

    def change(root: Path) -> None:
        (root / IMAGES / "000001.jpg").unlink()
        (root / IMAGES / "000001.jpg").symlink_to(target)

    return change


def without_header(root: Path) -> None:
    lines = (root / ATTR).read_text().splitlines()[2:]
    (root / ATTR).unlink()
    (root / "list_attr_celeba.csv").write_text("\n".join(",".join(line.split()) for line in lines) + "\n")


def short_csv_row(root: Path) -> None:
    lines = (root / PARTITION).read_text().splitlines()
    (root / PARTITION).unlink()
    lines[4] = lines[4].split()[0]
    (root / "list_eval_partition.csv").write_text("image_id,partition\n" + "\n".join(",".join(line.split()) for line in lines) + "\n")


# id: (change, file that the message must name, its line or None, what is wrong, remedy)
ROW, FILE_NAMES = "Restore the row", "plain file names"
LABEL_ERRORS = {
    "folder missing": (lambda root: shutil.rmtree(root), "", None, "no such folder", "Give the path of a folder"),
    "image folder missing": (remove(IMAGES), IMAGES, None, "no such folder", "Unpack img_align_celeba.zip"),
    "attribute list missing": (remove(ATTR), ATTR, None, "no such file", "Copy it from the folder Anno"),
    "identity list missing": (remove(IDENTITY), IDENTITY, None, "no such file", "Kaggle's archive lacks it. Copy it from the folder Anno"),
    "count not a number": (row(ATTR, 1, "twelve"), ATTR, 1, "'twelve', not a number", "Line 1 must hold the number of rows"),
    "count line missing": (row(ATTR, 1, None), ATTR, 1, "not a number", "Line 1 must hold the number of rows"),
    "count too high": (row(ATTR, 1, "13"), ATTR, 1, "says 13, the file has 12 rows", "Correct the count or restore the rows"),
    "only a count": (content(ATTR, b"0\n"), ATTR, 1, "ends before the names line", "Restore the names line"),
    "no attribute": (content(ATTR, b"1\n\n000001.jpg\n"), ATTR, 2, "names no attribute", "Restore the names line"),
    "empty set": (content(ATTR, b"0\nMale Smiling\n"), ATTR, 1, "lists no image", "Restore its rows"),
    "attribute named twice": (swap(ATTR, "Male", "Smiling"), ATTR, 2, "Smiling occurs twice", "Every column needs its own name"),
    "too few values": (row(ATTR, 5, "000003.jpg 1 -1 1"), ATTR, 5, "3 values after 000003.jpg instead of 4", ROW),
    "too many values": (row(ATTR, 6, "000004.jpg 1 -1 1 1 1"), ATTR, 6, "5 values after 000004.jpg instead of 4", ROW),
    "value 0": (row(ATTR, 8, "000006.jpg 1 0 1 1"), ATTR, 8, "Male of 000006.jpg is '0'", "1 or -1 (or 1 or 0 in the whole file)"),
    "value not a number": (row(ATTR, 9, "000007.jpg 1 1 1 True"), ATTR, 9, "Smiling of 000007.jpg is 'True'", "values are 1 or -1"),
    "image listed twice": (swap(ATTR, "000008.jpg", "000007.jpg"), ATTR, 10, "listed twice (first in line 9)", "Remove one of the two"),
    "blank line": (row(ATTR, 6, ""), ATTR, 6, "the line is blank", "Remove it"),
    "listed image absent": (remove(f"{IMAGES}/000009.jpg"), ATTR, 11, "000009.jpg is listed but absent", "Restore the image"),
    "image not listed": (copied, f"{IMAGES}/000099.jpg", None, "not listed in list_attr_celeba.txt", "Remove it or add its row"),
    "link to nothing": (linked("/no/such/place.jpg"), ATTR, 3, "000001.jpg is a link to /no/such/place.jpg, where no file is", "Restore"),
    "name goes up": (swap(ATTR, "000001.jpg", "../x.jpg"), ATTR, 3, "'../x.jpg' leaves the image folder", FILE_NAMES),
    "name is absolute": (swap(ATTR, "000002.jpg", "/etc/passwd"), ATTR, 4, "'/etc/passwd' leaves the image folder", FILE_NAMES),
    "name with a backslash": (swap(ATTR, "000002.jpg", "..\\x.jpg"), ATTR, 4, "leaves the image folder", FILE_NAMES),
    "name with a drive": (swap(ATTR, "000002.jpg", "C:x.jpg"), ATTR, 4, "leaves the image folder", FILE_NAMES),
    "name is the parent": (swap(ATTR, "000002.jpg", ".."), ATTR, 4, "leaves the image folder", FILE_NAMES),
    "escaping name in another list": (swap(IDENTITY, "000002.jpg", "../2.jpg"), IDENTITY, 2, "leaves the image folder", FILE_NAMES),
    "identity row missing": (row(IDENTITY, 5, None), IDENTITY, None, "no row for 000005.jpg (line 7 of list_attr", ROW),
    "identity not an integer": (row(IDENTITY, 4, "000004.jpg 1.5"), IDENTITY, 4, "'1.5', but an identity is an integer", "Correct the row"),
    "identity with an underscore": (row(IDENTITY, 4, "000004.jpg 1_5"), IDENTITY, 4, "an identity is an integer", "Correct the row"),
    "identity out of range": (row(IDENTITY, 4, f"000004.jpg {10**20}"), IDENTITY, 4, "an identity is an integer", "Correct the row"),
    "identity without value": (row(IDENTITY, 4, "000004.jpg"), IDENTITY, 4, "0 values after 000004.jpg instead of 1", ROW),
    "identity of an unlisted image": (append(IDENTITY, "000013.jpg 5"), IDENTITY, 13, "not listed in list_attr", "Remove the row"),
    "partition 3": (row(PARTITION, 2, "000002.jpg 3"), PARTITION, 2, "'3', but a partition is 0 (train)", "Correct the row"),
    "partition row missing": (row(PARTITION, 12, None), PARTITION, None, "no row for 000012.jpg", ROW),
    "landmark row too short": (row(LANDMARKS, 4, "000002.jpg 1 2 3 4 5 6 7 8 9"), LANDMARKS, 4, "9 values", ROW),
    "landmark not a number": (row(LANDMARKS, 4, "000002.jpg 1 2 3 4 x 6 7 8 9 10"), LANDMARKS, 4, "ten finite numbers", "Correct"),
    "landmark not finite": (row(LANDMARKS, 4, "000002.jpg 1 2 3 4 nan 6 7 8 9 10"), LANDMARKS, 4, "ten finite numbers", "Correct"),
    "landmark count wrong": (row(LANDMARKS, 1, "10"), LANDMARKS, 1, "says 10, the file has 12 rows", "Correct the count"),
    "landmark names lost": (row(LANDMARKS, 2, "lefteye_x lefteye_y"), LANDMARKS, 2, "2 column names instead of 10", "Restore the names"),
    "csv without header": (without_header, "list_attr_celeba.csv", 1, "the csv has no header", "Put image_id and the column names in"),
    "csv row too short": (short_csv_row, "list_eval_partition.csv", 6, "0 values after 000005.jpg instead of 1", ROW),
    "not text": (content(IDENTITY, b"000001.jpg 1\n000002.jpg \xff\xfe\n"), IDENTITY, 2, "not UTF-8 text", "Save it as UTF-8"),
    "zero bytes": (content(PARTITION, b""), PARTITION, 1, "the file is empty", "Download it again"),
    "only blanks": (content(ATTR, b"\n \n"), ATTR, 1, "the file is empty", "Download it again"),
}


def test_the_unchanged_folder_is_good(tmp_path):
    assert len(load(str(celeba_folder(tmp_path / "set")), 16, cache_dir=tmp_path / "c")) == 12


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


@pytest.mark.parametrize("given, near", [("set/img_align_celeba", "set"), ("", "set")])
def test_a_folder_beside_the_right_one_names_it(tmp_path, given, near):
    celeba_folder(tmp_path / "set")
    with pytest.raises(DataError, match=f"no such folder. Give {tmp_path / near}\\."):
        outline(str(tmp_path / given), 16)


def test_an_archive_or_a_relative_path_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "celeba.zip").write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="celeba.zip: this is a file, not a folder. Unpack it"):
        outline("celeba.zip", 16)
    with pytest.raises(DataError, match=f"faces: no such folder in {tmp_path}. Give the path"):
        outline("faces", 16)


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
def test_bad_image(case, tmp_path, capsys, monkeypatch):
    damage, problem = IMAGE_ERRORS[case]
    root = celeba_folder(tmp_path / "set")
    paths = [root / IMAGES / f"{number:06d}.jpg" for number in (5, 7)]
    for path in paths:
        damage(path)
    with pytest.raises(DataError) as caught:
        load(str(root), 16, cache_dir=tmp_path / "c")
    message = str(caught.value)
    assert message.startswith(f"{paths[0]}: ") and problem in message and "\n" not in message
    assert message.endswith("Replace it, or remove it and its rows in all lists.")
    assert not list((tmp_path / "c").glob("*.npy")) + list((tmp_path / "c").glob("*.partial"))
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "c"))
    assert main(["check", str(root), "--size", "16"]) == 1  # names all of them
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith(f"{path}: ") for line, path in zip(lines, paths, strict=False))
    assert lines[2].startswith("2 of 12 images cannot be used. Replace it")


def test_images_wider_than_high(tmp_path):
    with pytest.raises(DataError, match="set: its images are 109x89, wider than high"):
        load(str(celeba_folder(tmp_path / "set", size=(109, 89))), 16, cache_dir=tmp_path / "c")


def test_no_room_for_the_cache(tmp_path, monkeypatch):
    root = celeba_folder(tmp_path / "set")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=12 * 3 * 16 * 16 - 1))
    with pytest.raises(DataError, match="0.00 GB are free. Free some or set STUDY_CACHE"):
        load(str(root), 16, cache_dir=tmp_path / "c")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=12 * 3 * 16 * 16))
    assert len(load(str(root), 16, cache_dir=tmp_path / "c")) == 12


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"size": 0}, "size is 0. Give an integer from 8 to 1024"),
        ({"size": 64.0}, "size is 64.0. Give an integer"),
        ({"data": "synthetic", "size": 32, "n": 0}, "n is 0. Give the number of faces"),
        ({"data": "synthetic", "size": 8, "n": 2}, "32 to 512 pixels, got 8. Give a value in that range"),
        ({"data": "synthetic", "size": 32, "n": 2, "seed": 2**63}, "seed is 9223372036854775808. Give an integer from 0 to"),
        ({"data": "synthetic", "size": 32, "n": 2, "seed": -1}, "seed is -1. Give an integer"),
    ],
)
def test_bad_arguments_of_load(arguments, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load(arguments.pop("data", str(celeba_folder(tmp_path / "set"))), arguments.pop("size"), cache_dir=tmp_path / "c", **arguments)


@pytest.mark.parametrize("mode, size", [("L", (8, 8)), ("RGB", (9, 8))])
def test_crop_refuses(mode, size):
    with pytest.raises(DataError, match="Convert it to RGB|wider than high"):
        Crop(8).apply(Image.new(mode, size))


@pytest.mark.parametrize(
    "name, hint",
    [("Eyeglases", "Did you mean Eyeglasses?"), ("eyeglasses", "Did you mean Eyeglasses?"), ("Qx", "It has Eyeglasses, Smiling.")],
)
def test_unknown_attribute_suggests(name, hint):
    for attempt in (lambda: face_set([1, 2]).column(name), lambda: Batches(face_set([1, 2]), [0, 1], [name], 2, 0)):
        with pytest.raises(DataError) as caught:
            attempt()
        assert f"no attribute {name!r}" in str(caught.value) and str(caught.value).endswith(hint)


@pytest.mark.parametrize(
    "make, changes, problem",
    [
        (lambda faces: split_most_images(faces, 3), {}, "3 of 4 identities for training leaves a part empty"),
        (lambda faces: split_most_images(faces, 0), {}, "0 of 4 identities for training leaves a part empty"),
        (lambda faces: split_random(faces, 0), {}, "4 identities are too few to divide"),
        (split_most_images, {"identities": np.ones(8, np.int64)}, "leaves a part empty"),
        (make_split, {"partition": np.zeros(8, int)}, "validation part of the split is empty. Use more identities or another split rule"),
        (make_split, {"partition": np.array([0, 0, 0, 1, 1, 1, 2, 2])}, "1 identities are in both train and validation, e.g. 2"),
        (lambda faces: make_split(faces, "randon"), {}, "rule is 'randon'. Give one of official, random, most_images"),
    ],
)
def test_bad_splits(make, changes, problem):
    with pytest.raises(DataError, match=problem):
        make(face_set(**{"identities": [1, 1, 2, 2, 3, 3, 4, 4]} | changes))


def relabelled(file: str, value: int):
    """Every row gets the same value in all columns."""

    def change(root: Path) -> None:
        rows = [line.split() for line in (root / file).read_text().splitlines()]
        text = [" ".join([name, *[str(value)] * len(values)]) if ".jpg" in name else " ".join([name, *values]) for name, *values in rows]
        (root / file).write_text("\n".join(text) + "\n")

    return change


@pytest.mark.parametrize(
    "arguments, change, problem",
    [
        ({"batch": 23}, None, "the split has 21 images, less than a batch of 23"),
        ({"examples": lambda faces, split, seed: Examples(split.train[:5])}, None, "the split has 5 images, less than a batch of 6"),
        ({"batch": 3, "sampler": "balanced"}, None, "a balanced batch of 3 images"),
        ({"seed": 2**64}, None, "seed is 18446744073709551616. Give an integer"),
        ({"attributes": ["smiling"]}, None, "Did you mean Smiling?"),
        ({"attributes": ["Smiling", "No_Beard"]}, swap(ATTR, "No_Beard", "Beard"), "no attribute 'No_Beard'. Did you mean Beard?"),
        ({"landmarks": True}, remove(LANDMARKS), "the set has no landmarks, which this method needs. Add list_landmarks"),
        ({"rule": "official"}, relabelled(PARTITION, 0), "the validation part of the split is empty"),
        ({}, relabelled(ATTR, -1), "the test split has 0 faces with Smiling = 1, at least 2 are needed"),
        ({}, remove(IMAGES), "no such folder"),
    ],
)
def test_what_is_known_beforehand_is_said_without_decoding(arguments, change, problem, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "decode", None)
    root = celeba_folder(tmp_path / "set", n=30)
    stage = {"attributes": ["Smiling"], "batch": 6, "sampler": "natural", "examples": None, "updates": (SimpleNamespace(examples=None),)}
    stage |= {name: arguments.pop(name) for name in stage.keys() & arguments}
    given = {"rule": "random", "seed": 0, "landmarks": True}
    faces, split = beforehand(str(root), 16, **given)
    assert faces.images is None and len(faces) == 30 and len(split.train) == 21
    if change:
        change(root)
    with pytest.raises(DataError) as caught:
        beforehand(str(root), 16, stages=[SimpleNamespace(**stage)], **given | arguments)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "arguments, problem",
    [
        ({"index": []}, "the split is empty. Use more"),
        ({"index": [0, 1, 2]}, "3 images, less than a batch of 4. Use a smaller batch"),
        ({"index": [0, 1, 2, 40]}, "from 0 to 40, the set has 12 images"),
        ({"index": [-1, 1, 2, 3]}, "from -1 to 3, the set has 12 images"),
        ({"index": [1, 2, 3, 5, 6, 7], "sampler": "balanced"}, "no image of the split has Eyeglasses = 1. Use the natural sampler"),
        ({"index": [0, 4, 8, 8], "sampler": "balanced"}, "no image of the split has Eyeglasses = 0. Use the natural sampler"),
        ({"batch": 3, "sampler": "balanced"}, "a balanced batch of 3 images. Give"),
        ({"batch": 0}, "a natural batch of 0 images. Give"),
        ({"sampler": "random"}, "sampler is 'random'. Give one of natural, balanced"),
        ({"attributes": "Eyeglasses"}, "Give a sequence of attribute names"),
        ({"attributes": []}, "Give a sequence of attribute names"),
        ({"seed": 1.5}, "seed is 1.5. Give an integer"),
    ],
)
def test_bad_batches(arguments, problem):
    good = {"index": np.arange(12), "attributes": ["Eyeglasses"], "batch": 4, "seed": 0}
    Batches(face_set(np.arange(12)), **good)
    with pytest.raises(DataError, match=problem):
        Batches(face_set(np.arange(12)), **good | arguments)


def test_negative_step():
    with pytest.raises(DataError, match="Steps count from 0"):
        Batches(face_set(np.arange(12)), np.arange(12), ["Smiling"], 4, 0)(-1)


# ----------------------------------------------------------------------------------------------------------------------- LFW, AFHQ, command line


@pytest.fixture
def lfw(tmp_path):
    for person, count in (("Ann", 2), ("Bo", 1)):
        (tmp_path / "lfw-deepfunneled" / person).mkdir(parents=True)
        for k in range(1, count + 1):
            Image.new("RGB", (250, 250)).save(tmp_path / "lfw-deepfunneled" / person / f"{person}_{k:04d}.jpg")
    (tmp_path / "pairs.txt").write_text("1\t1\nAnn\t1\t2\nAnn\t2\tBo\t1\n")
    return tmp_path


@pytest.mark.parametrize(
    "change, file, line, problem",
    [
        (remove("lfw-deepfunneled"), "lfw-deepfunneled", None, "no such folder"),
        (remove("pairs.txt"), "pairs.txt", None, "cannot be read"),
        (row("pairs.txt", 1, "10"), "pairs.txt", 1, "the header is '10'"),
        (row("pairs.txt", 1, "2\t1"), "pairs.txt", 1, "2 folds of 2 x 1 pairs need 4 lines, the file has 2"),
        (row("pairs.txt", 2, "Ann\t1"), "pairs.txt", 2, "2 fields. The line must hold a same-person pair"),
        (row("pairs.txt", 3, "Ann\t1\t2"), "pairs.txt", 3, "3 fields. The line must hold a different-person pair"),
        (row("pairs.txt", 2, "Ann\t1\tx"), "pairs.txt", 2, "the image number is 'x'"),
        (row("pairs.txt", 3, "Ann\t1\tBo\t2"), "pairs.txt", 3, "Bo_0002.jpg is not under lfw-deepfunneled"),
        (lambda root: (root / "lfw-deepfunneled/Bo/Bo_0001.jpg").write_text("x"), "lfw-deepfunneled/Bo/Bo_0001.jpg", None, "cannot be decoded"),
    ],
)
def test_bad_lfw(lfw, change, file, line, problem):
    assert len(load_lfw(lfw, 16, cache_dir=lfw / "good")[0]) == 3
    change(lfw)
    with pytest.raises(DataError) as caught:
        load_lfw(lfw, 16, cache_dir=lfw / "c")
    assert str(caught.value).startswith(f"{lfw / file}:{line}: " if line else f"{lfw / file}: ") and problem in str(caught.value)


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


def test_command_line_prints_the_error_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "c"))
    root = celeba_folder(tmp_path / "set")
    assert main(["check", str(root)]) == 0 and "12 images of 89x109" in capsys.readouterr().out
    row(ATTR, 8, "000006.jpg 1 0 1 1")(root)
    assert main(["check", str(root)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"{root / ATTR}:8: Male of 000006.jpg is '0'. ") and said.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["--n", "0"], "n is 0. Give the number of faces"),
        (["--n", "2", "--size", "16"], "32 to 512 pixels, got 16"),
        (["--n", "2", "--label-noise", "1.5"], "label_noise is a probability, got 1.5"),
    ],
)
def test_command_line_writes_nothing_for_bad_arguments(arguments, problem, tmp_path, capsys):
    assert main(["synthetic", "--out", str(tmp_path / "out"), *arguments]) == 1
    assert problem in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_command_line_writes_into_no_file(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert main(["synthetic", "--n", "2", "--out", str(tmp_path / "out")]) == 1
    assert "this is a file" in capsys.readouterr().err and (tmp_path / "out").read_text() == "mine"

"""Data: crop, reader, cache, splits, batches, regions, further sets. Bad input is in test_data_errors.py."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib import data
from lib.data import Batches, Crop, FaceSet, cache, load, make_split, outline, split_most_images, split_random
from lib.data.__main__ import main, write_folder
from lib.data.errors import DataError

Turn = Image.Transpose
NAMES = ("Eyeglasses", "Male", "No_Beard", "Smiling")
POINTS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
STUDY_DATA = os.environ.get("STUDY_DATA")
ORDERS = [  # of the first and the 78th batch, natural and balanced
    [[403, 540, 303, 530, 260, 521, 442, 405], [581, 397, 551, 235, 138, 416, 188, 418]],
    [[236, 524, 355, 540, 318, 345, 329, 542], [149, 506, 294, 583, 461, 402, 491, 474]],
]
needs_data = pytest.mark.skipif(not STUDY_DATA, reason="STUDY_DATA is not set: no real faces to read")


def celeba_folder(root: Path, n: int = 12, size: tuple[int, int] = (89, 109), suffix: str = ".jpg") -> Path:
    """A small folder in CelebA's layout: random images, identities 1,1,1,2,2,2,..., all five label files."""
    rng = np.random.default_rng(0)
    (root / "img_align_celeba").mkdir(parents=True)
    names = [f"{i + 1:06d}{suffix}" for i in range(n)]
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (7, 6, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(root / "img_align_celeba" / name)
    attributes = rng.choice([-1, 1], (n, len(NAMES)))
    attributes[:4, 0] = 1, -1, 1, -1  # both values, whatever n
    points = np.round([69, 111, 108, 111, 88, 135, 72, 152, 105, 152] + rng.normal(0, 2, (n, 10)), 1)
    write_rows(root / "list_attr_celeba.txt", names, attributes, f"{n}\n{' '.join(NAMES)} \n")
    write_rows(root / "list_landmarks_align_celeba.txt", names, points, f"{n}\n{POINTS} \n")
    write_rows(root / "identity_CelebA.txt", names, np.arange(n)[:, None] // 3 + 1)
    write_rows(root / "list_eval_partition.txt", names, np.arange(n)[:, None] * 3 // n)
    return root


def write_rows(path: Path, names, values, header: str = "", separator: str = " ") -> None:
    rows = [separator.join([name, *map(str, row)]) for name, row in zip(names, values, strict=True)]
    path.write_text(header + "\n".join(rows) + "\n")


def as_folder(faces: FaceSet, root: Path) -> Path:
    """Drawn faces as a folder without a partition, which stands for one that may not be published."""
    write_folder(faces, root)
    (root / "list_eval_partition.txt").unlink()
    return root


def face_set(identities, size: int = 8, **changes) -> FaceSet:
    """A set in memory; image i is filled with the value i and has one pixel of value 255 at its left edge."""
    identities = np.asarray(identities, np.int64)
    n = len(identities)
    images = np.zeros((n, 3, size, size), np.uint8) + (np.arange(n) % 256).astype(np.uint8)[:, None, None, None]
    images[:, :, 0, 0] = 255
    attributes = np.stack([np.arange(n) % 4 == 0, np.arange(n) % 2 == 0], 1).astype(np.uint8)
    files = tuple(f"{i + 1:06d}.jpg" for i in range(n))
    basis = FaceSet("toy", images, attributes, ("Eyeglasses", "Smiling"), identities, None, "none", files, Crop(size), "0" * 64, True)
    return dataclasses.replace(basis, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return celeba_folder(tmp_path_factory.mktemp("set") / "tiny")


# --------------------------------------------------------------------------------------------------------------------------------------- crop


@pytest.mark.parametrize(
    "width, height, box",
    [(178, 218, (0, 20, 178, 198)), (89, 109, (0, 10, 89, 99)), (64, 64, (0, 0, 64, 64)), (192, 235, (0, 21, 192, 213)), (10, 13, (0, 1, 10, 11))],
)
def test_crop_box(width, height, box):
    assert Crop(64).box(width, height) == box


@pytest.mark.parametrize("width, height, size", [(178, 218, 64), (178, 218, 128), (89, 109, 64), (89, 109, 32), (64, 64, 64), (178, 218, 178)])
def test_points_follow_the_image(width, height, size):
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = int(rng.integers(10, width - 10)), int(rng.integers(height // 2 - width // 2 + 10, height // 2 + width // 2 - 10))
        image = Image.new("RGB", (width, height))
        image.putpixel((x, y), (255, 255, 255))
        seen = Crop(size).apply(image).astype(float)[0]
        found = np.array([(seen.sum(0) * (np.arange(size) + 0.5)).sum(), (seen.sum(1) * (np.arange(size) + 0.5)).sum()]) / seen.sum()
        np.testing.assert_allclose(Crop(size).points(np.array([x + 0.5, y + 0.5]), width, height), found, atol=0.25)


def test_crop_is_antialiased_and_leaves_out_what_is_outside_the_square():
    stripes = np.zeros((218, 178, 3), np.uint8)
    stripes[:, ::2] = 255
    out = Crop(32).apply(Image.fromarray(stripes))[:, :, 2:-2]
    assert out.shape == (3, 32, 28) and 110 < out.min() and out.max() < 145  # grey; picking pixels would give 0 and 255
    border = np.zeros((218, 178, 3), np.uint8)
    border[:20] = border[198:] = 255
    assert Crop(64).apply(Image.fromarray(border)).max() == 0


def test_crop_of_a_square_at_its_own_size_changes_nothing():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Crop(48).apply(Image.fromarray(pixels)), pixels.transpose(2, 0, 1))


# ------------------------------------------------------------------------------------------------------------------------------------- reader


def test_reads_the_official_layout(folder, tmp_path):
    faces = load(str(folder), 32, cache_dir=tmp_path)
    assert (len(faces), faces.size, faces.name, faces.publishable, faces.faces) == (12, 32, "tiny", False, None)
    assert faces.attribute_names == NAMES and faces.images.dtype == faces.attributes.dtype == np.uint8 and faces.identities.dtype == np.int64
    assert faces.identities.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    rows = [line.split() for line in (folder / "list_attr_celeba.txt").read_text().splitlines()[2:]]
    assert [["1" if value else "-1" for value in row] for row in faces.attributes] == [row[1:] for row in rows]
    assert faces.column("Smiling").tolist() == faces.attributes[:, 3].tolist()
    for i in (0, 7):
        with Image.open(folder / "img_align_celeba" / faces.files[i]) as image:
            np.testing.assert_array_equal(faces.images[i], Crop(32).apply(image))
    # Landmarks are written in the 178x218 frame; this set is half as wide.
    x, y = map(float, (folder / "list_landmarks_align_celeba.txt").read_text().splitlines()[2].split()[1:3])
    np.testing.assert_allclose(faces.landmarks[0, 0], [x / 178 * 32, (y / 2 - 10) / 89 * 32], rtol=1e-6)
    assert faces.landmarks.shape == (12, 5, 2) and faces.landmark_source == "official"
    assert faces.partition.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    known = outline(str(folder), 32)
    assert known.images is None and known.files == faces.files and np.array_equal(known.landmarks, faces.landmarks)


def as_csv(root: Path) -> None:
    for stem, header in (("list_attr_celeba", 2), ("list_landmarks_align_celeba", 2), ("list_eval_partition", 0)):
        lines = (root / f"{stem}.txt").read_text().splitlines()
        names = lines[1].split() if header else ["partition"]
        rows = [",".join(["image_id", *names]), *(",".join(line.split()) for line in lines[header:])]
        (root / f"{stem}.txt").unlink()
        (root / f"{stem}.csv").write_text("\r\n".join(rows) + "\r\n")


def nest(root: Path) -> None:
    (root / "img_align_celeba").rename(root / "x")
    (root / "img_align_celeba").mkdir()
    (root / "x").rename(root / "img_align_celeba" / "img_align_celeba")


def official_subfolders(root: Path) -> None:
    for path in list(root.glob("*.txt")):
        target = root / ("Eval" if "partition" in path.name else "Anno")
        target.mkdir(exist_ok=True)
        path.rename(target / path.name)
    (root / "Img").mkdir()
    (root / "img_align_celeba").rename(root / "Img" / "img_align_celeba")


def companions(root: Path) -> None:
    """What macOS and Windows leave beside pictures."""
    for path in [*(root / "img_align_celeba").iterdir(), *root.glob("*.txt")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7" + bytes(4092))
    (root / "img_align_celeba" / "Thumbs.db").write_bytes(b"x")
    (root / "img_align_celeba" / ".ipynb_checkpoints").mkdir()


def links(root: Path) -> None:
    """Pictures that lie elsewhere, the folder a link as well."""
    store = root.parent / "store"
    (root / "img_align_celeba").rename(store)
    (root.parent / "links").mkdir()
    for path in store.iterdir():
        (root.parent / "links" / path.name).symlink_to(path)
    (root / "img_align_celeba").symlink_to(root.parent / "links")


def zeros(root: Path) -> None:
    text = (root / "list_attr_celeba.txt").read_text()
    (root / "list_attr_celeba.txt").write_text(text.replace("-1", "0"))


@pytest.mark.parametrize("rearrange", [as_csv, nest, official_subfolders, companions, links, zeros])
@pytest.mark.filterwarnings("ignore:.*the labels are 0 and 1")
def test_published_variants_read_the_same(folder, tmp_path, rearrange):
    other = celeba_folder(tmp_path / "tiny")
    rearrange(other)
    a, b = load(str(folder), 16, cache_dir=tmp_path / "c"), load(str(other), 16, cache_dir=tmp_path / "c")
    for field in ("images", "attributes", "identities", "landmarks", "partition"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert (a.files, a.attribute_names) == (b.files, b.attribute_names)


def test_labels_of_0_and_1_are_converted_aloud(tmp_path):
    zeros(celeba_folder(tmp_path / "set"))
    with pytest.warns(UserWarning, match="the labels are 0 and 1; 0 is read as CelebA's -1"):
        outline(str(tmp_path / "set"), 16)


@pytest.mark.parametrize("orientation, turn", [(1, None), (3, Turn.ROTATE_180), (6, Turn.ROTATE_90), (5, Turn.TRANSPOSE)])
def test_pictures_stand_as_their_exif_orientation_says(tmp_path, orientation, turn):
    root, upright = celeba_folder(tmp_path / "set"), Image.new("RGB", (89, 109), (0, 0, 255))
    upright.paste((255, 0, 0), (0, 0, 89, 55))
    for file in (root / "img_align_celeba").iterdir():
        exif = Image.Exif()
        exif[0x0112] = orientation
        (upright.transpose(turn) if turn is not None else upright).save(file, quality=95, exif=exif)
    faces = load(str(root), 16, cache_dir=tmp_path / "c")
    assert (faces.images[:, 0, 2] > 240).all() and (faces.images[:, 2, -3] > 240).all()
    np.testing.assert_allclose(faces.landmarks, outline(str(celeba_folder(tmp_path / "plain")), 16).landmarks)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_other_modes_of_8_bits_are_read_as_rgb(tmp_path, mode):
    root = celeba_folder(tmp_path / "set", suffix=".tif")
    Image.new("RGB", (89, 109), (90, 90, 90)).convert(mode).save(root / "img_align_celeba" / "000002.tif")
    assert load(str(root), 16, cache_dir=tmp_path / "c").images[1, :, 8, 8].tolist() == [90, 90, 90]


@pytest.mark.parametrize("name", ["synthetic", "synthetic-balanced", "synthetic_v2", "animals"])
def test_a_folder_with_the_name_of_a_built_in_set_is_a_folder(tmp_path, name):
    faces = load(str(celeba_folder(tmp_path / name)), 16, cache_dir=tmp_path / "c")
    assert faces.name == f"folder-{name}" and faces.faces is None and not faces.publishable and len(faces) == 12


def test_a_path_may_be_relative_or_begin_at_home(tmp_path, monkeypatch):
    celeba_folder(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert outline("set", 16).name == outline("~/set", 16).name == outline("./set/", 16).name == "set"


def test_png_folder_with_the_official_jpg_names(tmp_path):
    root = celeba_folder(tmp_path / "png", suffix=".png")
    (root / "img_align_celeba").rename(root / "img_align_celeba_png")
    for path in root.glob("*.txt"):
        path.write_text(path.read_text().replace(".png", ".jpg"))
    assert load(str(root), 16, cache_dir=tmp_path / "c").files[0] == "000001.jpg"


def test_estimated_landmarks_are_used_and_named_only_without_official_ones(folder, tmp_path):
    root = celeba_folder(tmp_path / "tiny")
    (root / "landmarks5_dlib_estimated.txt").write_text((root / "list_landmarks_align_celeba.txt").read_text())
    assert load(str(root), 16, cache_dir=tmp_path / "c").landmark_source == "official"
    (root / "list_landmarks_align_celeba.txt").unlink()
    assert load(str(root), 16, cache_dir=tmp_path / "c").landmark_source == "estimated"
    (root / "landmarks5_dlib_estimated.txt").unlink()
    (root / "list_eval_partition.txt").unlink()
    faces = load(str(root), 16, cache_dir=tmp_path / "c")
    assert faces.landmarks is None and faces.landmark_source == "none" and faces.partition is None


def test_fingerprint_follows_content_crop_and_size_but_not_the_place(folder, tmp_path):
    def fingerprint(root, size=16):
        return load(str(root), size, cache_dir=tmp_path / "c").fingerprint

    same = celeba_folder(tmp_path / "elsewhere" / "tiny")
    base = fingerprint(folder)
    assert fingerprint(same) == base and len(base) == 64
    assert fingerprint(folder, 24) != base
    text = (same / "identity_CelebA.txt").read_text()
    (same / "identity_CelebA.txt").write_text(text.replace("000001.jpg 1", "000001.jpg 2"))
    relabelled = fingerprint(same)
    (same / "identity_CelebA.txt").write_text(text)
    Image.new("RGB", (89, 109)).save(same / "img_align_celeba" / "000003.jpg")
    assert len({base, relabelled, fingerprint(same)}) == 3


# -------------------------------------------------------------------------------------------------------------------------------------- cache

SLOW_BUILD = """
import sys, time
from pathlib import Path
from lib.data import cache, load
real = cache.decode
def decode(*arguments):
    sys.stdout.write("decoding\\n")
    sys.stdout.flush()
    time.sleep(0.05)
    return real(*arguments)
cache.CHUNK, cache.decode = 8, decode
load(sys.argv[1], 16, cache_dir=Path(sys.argv[2]))
"""


def start_slow_build(root: Path, cache_dir: Path) -> subprocess.Popen:
    """A second process that decodes 50 ms an image; returns in the middle of it."""
    command = [sys.executable, "-c", SLOW_BUILD, str(root), str(cache_dir)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True)
    for _ in range(8):
        assert process.stdout.readline() == "decoding\n"
    return process


@pytest.fixture
def decoded(monkeypatch):
    """Names decoded by this process, in small chunks."""
    seen, real = [], cache.decode
    monkeypatch.setattr(cache, "CHUNK", 8)
    monkeypatch.setattr(cache, "decode", lambda path, *rest: seen.append(Path(path).name) or real(path, *rest))
    return seen


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "waited for"])
def test_a_build_of_another_process_is_waited_for_or_made_again_where_it_was_killed(tmp_path, decoded, kill):
    root = celeba_folder(tmp_path / "set", n=60)
    whole = load(str(root), 16, cache_dir=tmp_path / "whole").images
    decoded.clear()
    process = start_slow_build(root, tmp_path / "c")
    if kill:
        process.kill()
        process.wait()
        assert [path.suffix for path in (tmp_path / "c").glob("set-*") if path.suffix != ".lock"] == [".partial"]
    np.testing.assert_array_equal(load(str(root), 16, cache_dir=tmp_path / "c").images, whole)
    assert len(decoded) == (60 if kill else 0)
    assert kill or process.wait() == 0
    assert sorted(path.suffix for path in (tmp_path / "c").glob("set-*")) == [".json", ".lock", ".npy"]


def flip_byte(entry: Path) -> None:
    content = bytearray(entry.read_bytes())
    content[-100] ^= 1
    entry.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip_byte,
        lambda entry: os.truncate(entry, entry.stat().st_size - 500),
        lambda entry: entry.write_bytes(b""),
        lambda entry: entry.with_suffix(".json").unlink(),
        lambda entry: entry.with_suffix(".json").write_text("{"),
        lambda entry: np.save(entry, np.zeros((12, 3, 16, 16), np.float32)),
    ],
    ids=["flipped byte", "truncated", "empty", "no record", "broken record", "other array"],
)
def test_damaged_cache_is_reported_and_built_again(folder, tmp_path, decoded, damage):
    before = np.array(load(str(folder), 16, cache_dir=tmp_path).images)
    load(str(folder), 16, cache_dir=tmp_path)
    assert len(decoded) == 12  # the second load read the cache
    entry = next(tmp_path.glob("*.npy"))
    damage(entry)
    with pytest.warns(UserWarning, match=f"{entry.name}.*built again"):
        after = load(str(folder), 16, cache_dir=tmp_path).images
    np.testing.assert_array_equal(after, before)
    assert len(decoded) == 24


def test_cache_place_and_its_protection_from_commits(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "a" / "b"))
    images = load(str(folder), 16).images
    assert isinstance(images, np.memmap) and Path(images.filename).parent == tmp_path / "a" / "b" and not images.flags.writeable
    assert (tmp_path / "a" / "b" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("suffix", [".bmp", ".png"])
@pytest.mark.parametrize("same_time", [False, True])
def test_a_file_replaced_by_one_of_the_same_size_is_read_again(tmp_path, decoded, suffix, same_time):
    root = celeba_folder(tmp_path / "set", suffix=suffix)
    file = root / "img_align_celeba" / f"000003{suffix}"
    before, stat = load(str(root), 16, cache_dir=tmp_path / "c"), file.stat()
    Image.new("RGB", (89, 109), (0, 255, 0)).save(file)
    file.write_bytes(file.read_bytes().ljust(stat.st_size, b"\0"))  # what follows the picture is not read
    if same_time:  # as rsync and unzip leave it
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = load(str(root), 16, cache_dir=tmp_path / "c")
    assert file.stat().st_size == stat.st_size and after.images[2, :, 8, 8].tolist() == [0, 255, 0]
    assert after.fingerprint != before.fingerprint and len(decoded) == 24
    os.utime(file)  # touched, not changed
    assert load(str(root), 16, cache_dir=tmp_path / "c").fingerprint == after.fingerprint and len(decoded) == 24


# ------------------------------------------------------------------------------------------------------------------------------------- splits


def parts(split) -> list[np.ndarray]:
    return [split.train, split.validation, split.test]


def test_most_images_split_with_ties():
    # images per identity: 7 -> 4, 3 -> 3, 9 and 2 and 5 -> 2, 8, 1, 4 and 6 -> 1
    faces = face_set([7, 7, 7, 7, 3, 3, 3, 9, 9, 2, 2, 5, 5, 8, 1, 4, 6])
    split = split_most_images(faces)
    assert set(faces.identities[split.train]) == {7, 3, 9, 2, 5, 1, 4}  # of the four tied identities the smallest ids
    assert split.train.tolist() == [*range(13), 14, 15]
    assert sorted([*split.validation, *split.test]) == [13, 16] and len(np.unique(faces.identities[split.validation])) == 1
    assert all(rows.dtype == np.int64 for rows in parts(split))
    names = [[faces.files[i] + "\n" for i in rows] for rows in parts(split)]
    text = "".join(["train\n", *names[0], "validation\n", *names[1], "test\n", *names[2]])
    assert split.checksum == hashlib.sha256(text.encode()).hexdigest()
    assert len(split_most_images(face_set(np.arange(100))).train) == round(100 * 8177 / 10177)


def test_as_many_people_as_celeba_train_on_as_many_images_as_printed():
    spare = 191_649 - 8_177 * 23  # 8,177 people with 23 images, some with one more; 2,000 with 5
    people = np.r_[np.repeat(np.arange(8_177), 23), np.arange(spare), np.repeat(np.arange(8_177, 10_177), 5)]
    assert len(split_most_images(face_set(people)).train) == 191_649
    with pytest.raises(DataError, match="have 191648 images, CelebA's 191649. Restore identity_CelebA.txt"):
        split_most_images(face_set(people[1:]))


def test_random_split_is_seeded_and_keeps_identities_apart():
    faces = face_set(np.random.default_rng(0).integers(0, 40, 200))
    a, b, c = split_random(faces, 0), split_random(faces, 0), split_random(faces, 1)
    assert a.checksum == b.checksum != c.checksum
    for split in (a, c):
        people = [set(faces.identities[rows]) for rows in parts(split)]
        assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
        assert sorted(np.concatenate(parts(split))) == list(range(200)) and [len(p) for p in people] == [27, 4, 8]  # of 39


def test_the_official_split_is_the_sets_own_and_random_where_there_is_none():
    faces = face_set(np.arange(12) // 2, partition=np.array([0, 0, 0, 0, 1, 1, 2, 2, 0, 0, 2, 2]))
    assert [rows.tolist() for rows in parts(make_split(faces))] == [[0, 1, 2, 3, 8, 9], [4, 5], [6, 7, 10, 11]]
    none = face_set(np.arange(30) // 2)
    assert make_split(none).checksum == make_split(none, "random").checksum == split_random(none, 0).checksum


def test_choices_are_made_on_the_validation_part():
    faces = face_set(np.arange(30))
    split, chosen = make_split(faces), make_split(faces, "validation")
    assert (chosen.test == split.validation).all() and (chosen.train == split.train).all() and (chosen.validation == split.test).all()
    assert chosen.checksum == split.checksum and "validation in place of test" in chosen.rule  # so the same models are evaluated


# ------------------------------------------------------------------------------------------------------------------------------------ batches


def test_natural_epoch_shows_every_image_once():
    faces = face_set(np.arange(50))
    index = np.arange(50)[::-1][:46]
    batches = Batches(faces, index, ["Smiling"], 8, 0)
    epochs = [np.concatenate([batches(step).index.numpy() for step in range(e * 5, e * 5 + 5)]) for e in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 40 and set(epoch) <= set(index)
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])
    whole = Batches(faces, index, ["Smiling"], 23, 0)
    assert sorted(np.concatenate([whole(2).index, whole(3).index])) == sorted(index)


@pytest.mark.parametrize("sampler", ["natural", "balanced"])
def test_a_batch_depends_on_seed_and_step_alone(sampler):
    faces = face_set(np.arange(60))

    def make(seed):
        return Batches(faces, np.arange(60), ["Eyeglasses", "Smiling"], 8, seed, sampler, flip=True)

    used = make(5)
    seen = [used(step) for step in range(20)]
    for step in (19, 7, 0, 13):
        fresh = make(5)(step)
        for field in ("x", "y", "index", "flipped"):
            assert torch.equal(getattr(fresh, field), getattr(seen[step], field))
        assert torch.equal(torch.rand(4, generator=fresh.rng), torch.rand(4, generator=make(5)(step).rng))
    assert not torch.equal(make(6)(0).index, seen[0].index)
    assert not torch.equal(torch.rand(4, generator=make(5)(1).rng), torch.rand(4, generator=make(5)(2).rng))


def test_batch_content_and_exact_normalisation():
    faces = face_set(np.arange(60))
    batch = Batches(faces, np.arange(10, 60), ["Smiling", "Eyeglasses"], 8, 0)(4)
    expected = faces.images[batch.index.numpy()].astype(np.float32) / np.float32(127.5) - np.float32(1)
    np.testing.assert_array_equal(batch.x.numpy(), expected)
    assert batch.x.dtype == batch.y.dtype == torch.float32 and batch.index.dtype == torch.int64
    assert batch.x.max() == 1 and not batch.flipped.any()
    np.testing.assert_array_equal(batch.y.numpy(), faces.attributes[batch.index.numpy()][:, ::-1])
    np.testing.assert_array_equal(data.to_uint8(batch.x), faces.images[batch.index.numpy()])  # what figures write is what was read


def test_balanced_batches_hold_half_of_each_value_and_use_each_image_equally():
    faces = face_set(np.arange(47))
    batches = Batches(faces, np.arange(47), ["Eyeglasses", "Smiling"], 8, 0, "balanced")
    drawn = [batches(step) for step in range(36)]
    for batch in drawn:
        assert batch.y[:, 0].tolist() == [0] * 4 + [1] * 4 and len(set(batch.index[:4].tolist())) == 4
    ones = np.bincount(np.concatenate([batch.index[4:] for batch in drawn]), minlength=47)[faces.column("Eyeglasses") == 1]
    zeros = np.bincount(np.concatenate([batch.index[:4] for batch in drawn]), minlength=47)[faces.column("Eyeglasses") == 0]
    assert ones.tolist() == [12] * 12 and set(zeros) == {4, 5} and ones.sum() == zeros.sum() == 36 * 4  # 35 images share 144 places


def test_balanced_value_with_fewer_images_than_half_a_batch_repeats_them():
    faces = face_set(np.arange(20))
    index = np.array([0, 4, *np.flatnonzero(faces.column("Eyeglasses") == 0)])
    batch = Batches(faces, index, ["Eyeglasses"], 10, 0, "balanced")(3)
    assert sorted(np.bincount(batch.index[5:].numpy(), minlength=5)[[0, 4]]) == [2, 3]


def test_flips_are_per_image_and_happen_half_the_time():
    faces = face_set(np.arange(64))
    batches = Batches(faces, np.arange(64), ["Smiling"], 16, 0, flip=True)
    flips = []
    for step in range(100):
        batch = batches(step)
        left, right = batch.x[:, 0, 0, 0] == 1, batch.x[:, 0, 0, -1] == 1
        assert torch.equal(left, ~batch.flipped) and torch.equal(right, batch.flipped)
        flips.append(batch.flipped.float())
    flips = torch.stack(flips)
    assert abs(flips.mean() - 0.5) < 4 * 0.5 / 1600**0.5
    assert (flips.mean(1) % 1 != 0).sum() > 90  # not one coin for the whole batch
    assert (flips.mean(0) - 0.5).abs().max() < 0.2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_are_the_same_on_an_accelerator():
    faces = face_set(np.arange(60))
    for step in (0, 9):
        host, device = (Batches(faces, np.arange(5, 60), ["Smiling"], 8, 1, flip=True, device=where)(step) for where in ("cpu", "cuda"))
        assert device.x.is_cuda and torch.equal(device.x.cpu(), host.x) and torch.equal(device.index.cpu(), host.index)


# ------------------------------------------------------------------------------------------------------------------------------------ regions


def test_boxes_by_hand():
    # At 89 px every length of the 178-wide frame is halved: margins 9 x 6 around the eyes, 5 x 7 around the mouth.
    points = np.array([[[30, 40], [50, 41], [40, 52], [32, 60], [48, 62]]], np.float32)
    faces = face_set([1], size=89, landmarks=points, landmark_source="exact")
    expected = np.zeros((89, 89), bool)
    expected[34:47, 21:59] = True
    np.testing.assert_array_equal(data.eye_box(faces)[0, 0], expected)
    expected = np.zeros((89, 89), bool)
    expected[53:69, 27:53] = True
    np.testing.assert_array_equal(data.mouth_box(faces)[0, 0], expected)
    below = data.lower_face(faces)[0, 0]
    assert below.shape == (89, 89) and below[52:].all() and not below[:52].any()
    assert data.region_source(faces) == "landmarks of each face: exact"


def test_region_of_an_attribute_and_selection_of_rows():
    rng = np.random.default_rng(0)
    points = np.array([[25, 33], [39, 33], [31, 42], [26, 48], [37, 48]]) + rng.normal(0, 1, (6, 5, 2))
    faces = face_set(np.arange(6), size=64, landmarks=points.astype(np.float32))
    rows = np.array([4, 1])
    for attribute, box in [("Eyeglasses", data.eye_box), ("Smiling", data.mouth_box), ("Mouth_Slightly_Open", data.mouth_box)] + [
        (name, data.lower_face) for name in ("No_Beard", "Mustache", "Goatee", "Sideburns")
    ]:
        found = data.BOXES[attribute](faces, rows)
        assert found.shape == (2, 1, 64, 64) and found.dtype == torch.bool
        assert torch.equal(found, box(faces)[rows]) and 0 < found.float().mean() < 0.5


def test_without_landmarks_the_mean_face_stands_in_and_says_so():
    faces = face_set(np.arange(3), size=64)
    boxes = data.eye_box(faces)
    assert boxes.shape == (3, 1, 64, 64) and torch.equal(boxes[0], boxes[2])
    y, x = (axis.float() + 0.5 for axis in torch.where(boxes[0, 0]))
    assert abs(x.mean() / 64 - 0.497) < 0.01 and abs(y.mean() / 64 - 0.512) < 0.01
    assert "mean of 100 official CelebA landmarks" in data.region_source(faces)


# ----------------------------------------------------------------------------------------------------------------------------- synthetic faces


@pytest.mark.parametrize("name", ["synthetic", "synthetic-balanced"])
def test_synthetic_set_is_what_the_renderer_draws(name, tmp_path):
    from lib import synthetic

    faces = load(name, 32, n=20, seed=3, cache_dir=tmp_path)
    assert (faces.name, len(faces), faces.publishable, faces.landmark_source) == (name, 20, True, "exact")
    drawn = synthetic.sample(3, range(20), balanced=name == "synthetic-balanced")
    np.testing.assert_array_equal(faces.images, data.to_uint8(synthetic.render(drawn, 32)))
    np.testing.assert_array_equal(faces.attributes, synthetic.attributes(drawn))
    np.testing.assert_array_equal(faces.landmarks, synthetic.landmarks5(faces.faces, 32))
    assert faces.attribute_names == synthetic.ATTRIBUTES and len(faces.faces) == 20
    assert faces.images.dtype == faces.attributes.dtype == np.uint8 and faces.identities.dtype == np.int64 and faces.landmarks.dtype == np.float32


def test_what_trained_models_stand_on_stays_as_it_is():
    """Fingerprint, split and the order of batches decide a model: these may not change without training anew."""
    faces = outline("synthetic-balanced", 32, n=600)
    split = make_split(faces, "random")
    others = [outline("synthetic", 32, n=600), outline("synthetic-balanced", 40, n=600), outline("synthetic-balanced", 32, n=600, seed=1)]
    assert len({set_.fingerprint for set_ in [faces, *others]}) == 4
    assert faces.fingerprint.startswith("59a55667903946a6") and split.checksum.startswith("59e92bf3d52da453")
    orders = []
    for sampler in ("natural", "balanced"):
        batches = Batches(faces, split.train, ["Smiling"], 8, 3, sampler)
        orders.append([split.train[batches.rows(step)].tolist() for step in (0, 77)])
    assert orders == ORDERS


# --------------------------------------------------------------------------------------------------------------------------------- other sets


def test_lfw(tmp_path):
    rng, pixels = np.random.default_rng(0), {}
    for person, count in (("Ann_Lee", 3), ("Bo", 2), ("Cy_X", 1)):
        (tmp_path / "lfw-deepfunneled" / person).mkdir(parents=True)
        for k in range(1, count + 1):
            pixels[f"{person}_{k:04d}.jpg"] = rng.integers(0, 256, (250, 250, 3), dtype=np.uint8)
            Image.fromarray(pixels[f"{person}_{k:04d}.jpg"]).save(tmp_path / "lfw-deepfunneled" / person / f"{person}_{k:04d}.jpg", quality=100)
    (tmp_path / "pairs.txt").write_text("2\t1\nAnn_Lee\t1\t3\nBo\t2\tCy_X\t1\nBo\t1\t2\nAnn_Lee\t2\tBo\t1\n")
    faces, folds = data.load_lfw(tmp_path, 32, cache_dir=tmp_path / "c")
    assert faces.files == tuple(sorted(pixels)) and faces.identities.tolist() == [0, 0, 0, 1, 1, 2]
    assert [fold.tolist() for fold in folds] == [[[0, 2, 1], [4, 5, 0]], [[3, 4, 1], [1, 3, 0]]]
    with Image.open(tmp_path / "lfw-deepfunneled" / "Bo" / "Bo_0001.jpg") as image:
        square = image.crop((29, 14, 221, 206))  # the window (29,-7)-(221,228), then rows 21 to 213 of its 235
        np.testing.assert_array_equal(faces.images[3], np.asarray(square.resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1))


@pytest.mark.parametrize("second", ["val", "test"])
def test_domains(tmp_path, second):
    for part, domain, count in (("train", "cat", 3), ("train", "lynx", 12), (second, "cat", 1), (second, "lynx", 1)):
        (tmp_path / part / domain).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (40, 40), (k, len(part), ord(domain[0]))).save(tmp_path / part / domain / f"{k:02d}.png")
        (tmp_path / part / domain / "._00.png").write_bytes(b"x")
    (tmp_path / "train" / ".cache").mkdir()
    faces, split = data.load_domains(str(tmp_path), 16, cache_dir=tmp_path / "c")
    assert data.domain_names(str(tmp_path)) == faces.attribute_names == ("cat", "lynx") and len(faces) == 17
    assert faces.files[3] == "train/lynx/00.png" and faces.column("lynx").tolist() == [0] * 3 + [1] * 12 + [0, 1]
    colours = [[int(f.split("/")[2][:2]), len(f.split("/")[0]), ord(f.split("/")[1][0])] for f in faces.files]
    assert faces.images[:, :, 8, 8].tolist() == colours
    assert split.validation.tolist() == [1, 4, 14] and split.test.tolist() == [15, 16] and len(split.train) == 12


# ----------------------------------------------------------------------------------------------------------------------------------- real faces


@pytest.fixture(scope="module")
def real_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("real")


@needs_data
def test_real_celeba_subset(real_cache):
    faces = load(os.path.join(STUDY_DATA, "celeba50k"), 32, cache_dir=real_cache)
    assert len(faces) == 52_151 and len(np.unique(faces.identities)) == 9_011 and len(faces.attribute_names) == 40
    assert faces.crop.box(89, 109) == (0, 10, 89, 99) and not faces.publishable and faces.landmark_source == "estimated"
    assert abs(faces.column("Eyeglasses").mean() - 0.0718) < 1e-3 and abs(faces.column("Male").mean() - 0.441) < 1e-3
    assert list(map(len, parts(make_split(faces)))) == [45_281, 4_535, 2_335]
    split = split_most_images(faces)
    assert len(np.unique(faces.identities[split.train])) == round(9_011 * 8_177 / 10_177)
    train, rest = (np.unique(faces.identities[rows], return_counts=True)[1] for rows in (split.train, np.r_[split.validation, split.test]))
    assert train.min() >= rest.max()
    # The boxes sit where the attributes show: mean faces with and without differ there more than elsewhere.
    for attribute, ratio in (("Eyeglasses", 3), ("Mouth_Slightly_Open", 1.5)):
        worn = faces.column(attribute) == 1
        difference = np.abs(faces.images[worn].mean(0) - faces.images[~worn].mean(0)).mean(0)
        inside = data.BOXES[attribute](faces).float().mean(0)[0].numpy() > 0.5
        assert difference[inside].mean() > ratio * difference[~inside].mean()


@needs_data
def test_real_half_size_and_full_size_images_agree(real_cache):
    small, large = (load(os.path.join(STUDY_DATA, name), 32, cache_dir=real_cache) for name in ("celeba50k", "celeba4k"))
    _, a, b = np.intersect1d(small.files, large.files, return_indices=True)
    assert len(a) > 900
    np.testing.assert_array_equal(small.attributes[a], large.attributes[b])
    assert np.median(np.abs(small.landmarks[a] - large.landmarks[b])) < 0.3  # estimated anew on each size
    difference = np.abs(small.images[a].astype(int) - large.images[b]).mean((1, 2, 3))
    assert np.median(difference) < 3 and np.quantile(difference, 0.99) < 8


def test_a_written_folder_passes_the_check_and_names_every_picture_that_cannot_be_used(tmp_path, capsys):
    folder = tmp_path / "faces"
    assert main(["synthetic", "--n", "12", "--size", "32", "--out", str(folder), "--seed", "7"]) == 0
    assert main(["synthetic", "--n", "12", "--size", "32", "--out", str(folder)]) == 1
    assert "not empty" in capsys.readouterr().err
    assert main(["check", str(folder), "--size", "32"]) == 0
    said = capsys.readouterr().out
    assert "12 images" in said and "Eyeglasses" in said
    drawn, read = load("synthetic", 32, n=12, seed=7), load(str(folder), 32)
    for field in ("images", "attributes", "identities"):
        np.testing.assert_array_equal(getattr(read, field), getattr(drawn, field))
    np.testing.assert_allclose(read.landmarks, drawn.landmarks, atol=2e-5)
    assert (read.attribute_names, read.files, read.publishable) == (drawn.attribute_names, drawn.files, False)
    for name in ("000003.png", "000007.png"):
        (folder / "img_align_celeba" / name).write_text("no picture")
    assert main(["check", str(folder), "--size", "32"]) == 1
    said = capsys.readouterr().err
    assert "000003.png" in said and "000007.png" in said and "2 of 12 images" in said

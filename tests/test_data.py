"""Data: crop, reader, cache, splits, batches, regions, further sets. Bad input is in test_data_errors.py."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib import data
from lib.data import Batches, Crop, DataError, FaceSet, Split, cache, load, split_most_images, split_random
from lib.data.__main__ import main, write_synthetic

NAMES = ("Eyeglasses", "Male", "No_Beard", "Smiling")
POINTS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
STUDY_DATA = os.environ.get("STUDY_DATA")
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
    assert (len(faces), faces.size, faces.name, faces.publishable, faces.skipped, faces.faces) == (12, 32, "tiny", False, (), None)
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
    assert faces.landmarks.shape == (12, 5, 2) and faces.landmark_source == "list_landmarks_align_celeba.txt"


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


@pytest.mark.parametrize("rearrange", [as_csv, nest, official_subfolders])
def test_published_variants_read_the_same(folder, tmp_path, rearrange):
    other = celeba_folder(tmp_path / "tiny")
    rearrange(other)
    a, b = load(str(folder), 16, cache_dir=tmp_path / "c"), load(str(other), 16, cache_dir=tmp_path / "c")
    for field in ("images", "attributes", "identities", "landmarks"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert (a.files, a.attribute_names) == (b.files, b.attribute_names)


def test_png_folder_with_the_official_jpg_names(tmp_path):
    root = celeba_folder(tmp_path / "png", suffix=".png")
    (root / "img_align_celeba").rename(root / "img_align_celeba_png")
    for path in root.glob("*.txt"):
        path.write_text(path.read_text().replace(".png", ".jpg"))
    assert load(str(root), 16, cache_dir=tmp_path / "c").files[0] == "000001.jpg"


def test_estimated_landmarks_are_used_and_named_only_without_official_ones(folder, tmp_path):
    root = celeba_folder(tmp_path / "tiny")
    (root / "landmarks5_dlib_estimated.txt").write_text((root / "list_landmarks_align_celeba.txt").read_text())
    assert load(str(root), 16, cache_dir=tmp_path / "c").landmark_source == "list_landmarks_align_celeba.txt"
    (root / "list_landmarks_align_celeba.txt").unlink()
    assert load(str(root), 16, cache_dir=tmp_path / "c").landmark_source == "landmarks5_dlib_estimated.txt"
    (root / "landmarks5_dlib_estimated.txt").unlink()
    (root / "list_eval_partition.txt").unlink()
    faces = load(str(root), 16, cache_dir=tmp_path / "c")
    assert faces.landmarks is None and faces.landmark_source == "none"


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
    with open(sys.argv[3], "a") as log:
        log.write(arguments[0] + "\\n")
    time.sleep(0.02)
    return real(*arguments)
cache.CHUNK, cache.decode = 8, decode
load(sys.argv[1], 16, cache_dir=Path(sys.argv[2]))
"""


def start_slow_build(root: Path, cache_dir: Path, log: Path) -> tuple[subprocess.Popen, Path]:
    """A second process that decodes 8 images per chunk, 20 ms each; returns once 4 chunks are finished."""
    process = subprocess.Popen([sys.executable, "-c", SLOW_BUILD, str(root), str(cache_dir), str(log)], cwd=Path(__file__).parents[1])
    give_up = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < give_up:
        journals = list(cache_dir.glob("*.journal"))
        if journals and journals[0].read_text().count("\n") >= 4:
            return process, journals[0]
        time.sleep(0.01)
    process.kill()
    pytest.fail("the slow build did not get to 4 chunks")


@pytest.fixture
def decoded(monkeypatch):
    """Names decoded by this process, in small chunks."""
    seen, real = [], cache.decode
    monkeypatch.setattr(cache, "CHUNK", 8)
    monkeypatch.setattr(cache, "decode", lambda path, *rest: seen.append(Path(path).name) or real(path, *rest))
    return seen


def test_build_killed_in_the_middle_goes_on_from_its_finished_chunks(tmp_path, decoded):
    root = celeba_folder(tmp_path / "set", n=150)
    whole = load(str(root), 16, cache_dir=tmp_path / "whole")
    assert len(decoded) == 150
    decoded.clear()
    process, journal = start_slow_build(root, tmp_path / "killed", tmp_path / "log")
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = [json.loads(line)["start"] for line in journal.read_text().splitlines() if line.endswith("}")]
    assert 4 <= len(finished) < 19 and not list((tmp_path / "killed").glob("*.npy"))
    resumed = load(str(root), 16, cache_dir=tmp_path / "killed")
    np.testing.assert_array_equal(resumed.images, whole.images)
    redone = {whole.files.index(name) // 8 * 8 for name in decoded}
    assert redone == set(range(0, 150, 8)) - set(finished) and len(decoded) == len(set(decoded))
    assert (tmp_path / "killed" / (journal.stem + ".npy")).read_bytes() == (tmp_path / "whole" / (journal.stem + ".npy")).read_bytes()
    assert sorted(path.suffix for path in (tmp_path / "killed").glob("set-*")) == [".json", ".lock", ".npy"]


def test_two_processes_build_one_cache_once(tmp_path, decoded):
    root = celeba_folder(tmp_path / "set", n=80)
    process, _ = start_slow_build(root, tmp_path / "c", tmp_path / "log")
    faces = load(str(root), 16, cache_dir=tmp_path / "c")  # waits for the other process
    assert process.wait() == 0 and decoded == []
    assert sorted(Path(line).name for line in (tmp_path / "log").read_text().splitlines()) == list(faces.files)
    np.testing.assert_array_equal(faces.images, load(str(root), 16, cache_dir=tmp_path / "own").images)


def interrupt_build(root: Path, cache_dir: Path, monkeypatch, when) -> Path:
    """Let os.replace raise where when(target) is true, as if the process had ended there; returns the entry without its suffix."""
    real = os.replace

    def replace(source, target):
        if when(str(target)):
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", replace)
        load(str(root), 16, cache_dir=cache_dir)
    return next(cache_dir.glob("*.partial")).with_suffix("")


@pytest.mark.parametrize("last", [".json", ".npy"])
def test_build_ended_just_before_its_last_renames_decodes_nothing_again(tmp_path, decoded, monkeypatch, last):
    root = celeba_folder(tmp_path / "set", n=20)
    interrupt_build(root, tmp_path / "c", monkeypatch, lambda target: target.endswith(last))
    decoded.clear()
    faces = load(str(root), 16, cache_dir=tmp_path / "c")
    assert decoded == []
    np.testing.assert_array_equal(faces.images, load(str(root), 16, cache_dir=tmp_path / "own").images)


def test_unfinished_chunk_or_cut_journal_line_is_done_again(tmp_path, decoded, monkeypatch):
    root = celeba_folder(tmp_path / "set", n=20)
    entry = interrupt_build(root, tmp_path / "c", monkeypatch, lambda target: target.endswith(".npy"))
    journal = Path(f"{entry}.journal")
    journal.write_text(journal.read_text()[:-9])  # chunk 16 loses the end of its line
    array = np.load(f"{entry}.partial", mmap_mode="r+")
    array[3] += 1  # chunk 0 has other bytes than its line says
    array.flush()
    decoded.clear()
    faces = load(str(root), 16, cache_dir=tmp_path / "c")
    assert sorted(decoded) == [*faces.files[:8], *faces.files[16:]]
    np.testing.assert_array_equal(faces.images, load(str(root), 16, cache_dir=tmp_path / "own").images)


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
    monkeypatch.delenv("STUDY_CACHE")
    assert cache.default_dir() == Path(__file__).resolve().parents[1] / ".cache"


def test_skip_leaves_out_only_the_bad_images_and_names_them(tmp_path):
    root = celeba_folder(tmp_path / "set", n=40)
    good = load(str(root), 16, cache_dir=tmp_path / "c")
    jpeg = root / "img_align_celeba" / "000002.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:900])
    Image.new("L", (89, 109)).save(root / "img_align_celeba" / "000031.jpg")
    for _ in range(2):  # built, then from the cache
        faces = load(str(root), 16, cache_dir=tmp_path / "c", on_bad_image="skip")
        assert faces.skipped == ("000002.jpg", "000031.jpg") and len(faces) == 38
        keep = np.delete(np.arange(40), [1, 30])
        for field in ("images", "attributes", "identities", "landmarks"):
            np.testing.assert_array_equal(getattr(faces, field), getattr(good, field)[keep])
        assert faces.files == tuple(good.files[i] for i in keep)
    with pytest.raises(DataError, match="000002.jpg"):  # the skipping cache does not hide them from a strict reader
        load(str(root), 16, cache_dir=tmp_path / "c")


# ------------------------------------------------------------------------------------------------------------------------------------- splits


def test_most_images_split_with_ties():
    # images per identity: 7 -> 4, 3 -> 3, 9 and 2 and 5 -> 2, 8 -> 1
    faces = face_set([7, 7, 7, 7, 3, 3, 3, 9, 9, 2, 2, 5, 5, 8])
    split = split_most_images(faces, 3)
    assert set(faces.identities[split.train]) == {7, 3, 2}  # of the three tied identities the smallest id
    assert split.train.tolist() == [0, 1, 2, 3, 4, 5, 6, 9, 10] and split.test.tolist() == [7, 8, 11, 12, 13]
    assert "1 of the 3 identities with 2 images" in split.tie_rule
    assert split.train.dtype == split.test.dtype == np.int64
    names = "train\n" + "".join(faces.files[i] + "\n" for i in split.train) + "test\n" + "".join(faces.files[i] + "\n" for i in split.test)
    assert split.checksum == hashlib.sha256(names.encode()).hexdigest()
    assert len(np.unique(faces.identities[split_most_images(faces).train])) == round(6 * 8177 / 10177) == 5


def full_celeba(train_images: int) -> FaceSet:
    """CelebA's number of images and identities, with a chosen number of images among the 8,177 largest identities."""
    counts = np.full(10_177, 5)
    counts[:8_177] = 23
    counts[:2_000] += 1
    counts[0] += train_images - counts[:8_177].sum()
    counts[8_177:] += np.arange(2_000) < 202_599 - counts.sum()
    return face_set(np.repeat(np.arange(10_177), counts), size=8)


def test_full_celeba_must_have_the_papers_number_of_training_images():
    split = split_most_images(full_celeba(191_649))
    assert (len(split.train), len(split.test)) == (191_649, 10_950)
    with pytest.raises(DataError, match="191650 images, in CelebA they hold 191649"):
        split_most_images(full_celeba(191_650))


def test_random_split_is_seeded_and_keeps_identities_apart():
    faces = face_set(np.random.default_rng(0).integers(0, 40, 200))
    a, b, c = split_random(faces, 0), split_random(faces, 0), split_random(faces, 1)
    assert a.checksum == b.checksum != c.checksum
    for split in (a, c, split_random(faces, 0, 0.5)):
        assert not set(faces.identities[split.train]) & set(faces.identities[split.test])
        assert sorted([*split.train, *split.test]) == list(range(200))
    assert len(np.unique(faces.identities[a.test])) == round(0.2 * len(np.unique(faces.identities)))


def test_split_is_stored_and_read_back(tmp_path):
    faces = face_set(np.arange(30) // 3)
    split = split_random(faces, 3)
    split.save(tmp_path / "split.json")
    back = Split.read(tmp_path / "split.json", faces)
    assert (back.checksum, back.rule, back.tie_rule) == (split.checksum, split.rule, split.tie_rule)
    np.testing.assert_array_equal(back.train, split.train)
    np.testing.assert_array_equal(back.test, split.test)


# ------------------------------------------------------------------------------------------------------------------------------------ batches


def test_natural_epoch_shows_every_image_once():
    faces = face_set(np.arange(50))
    index = np.arange(50)[::-1][:46]
    batches = Batches(faces, index, ["Smiling"], 8, 0)
    assert batches.steps_per_epoch == 5
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


def test_resident_images_give_the_same_batches(monkeypatch):
    faces = face_set(np.arange(5000))
    index = np.arange(4999, 50, -1)
    host = Batches(faces, index, ["Smiling"], 16, 1, flip=True)
    monkeypatch.setattr("lib.data.batches._fits", lambda nbytes, device: nbytes == 4949 * 3 * 8 * 8)
    resident = Batches(faces, index, ["Smiling"], 16, 1, flip=True)
    resident(0)
    resident._host = None  # from here on only the copy can serve
    for step in (0, 9, 400):
        assert torch.equal(resident(step).x, host(step).x) and torch.equal(resident(step).index, host(step).index)


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
        found = data.attribute_box(faces, rows, attribute)
        assert found.shape == (2, 1, 64, 64) and found.dtype == torch.bool
        assert torch.equal(found, box(faces)[rows]) and 0 < found.float().mean() < 0.5
    with pytest.raises(DataError, match="no landmark region is defined for 'Blond_Hair'"):
        data.attribute_box(faces, rows, "Blond_Hair")


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
    assert (faces.name, len(faces), faces.publishable, faces.landmark_source, faces.skipped) == (name, 20, True, "exact", ())
    drawn = synthetic.sample(3, range(20), balanced=name == "synthetic-balanced")
    np.testing.assert_array_equal(faces.images, data.to_uint8(synthetic.render(drawn, 32)))
    np.testing.assert_array_equal(faces.attributes, synthetic.attributes(drawn))
    np.testing.assert_array_equal(faces.landmarks, synthetic.landmarks5(faces.faces, 32))
    assert faces.attribute_names == synthetic.ATTRIBUTES and len(faces.faces) == 20
    assert faces.images.dtype == faces.attributes.dtype == np.uint8 and faces.identities.dtype == np.int64 and faces.landmarks.dtype == np.float32


def test_synthetic_fingerprints(tmp_path):
    def fingerprint(name="synthetic", size=32, n=4, seed=0):
        return load(name, size, n=n, seed=seed, cache_dir=tmp_path).fingerprint

    different = {fingerprint(), fingerprint("synthetic-balanced"), fingerprint(size=40), fingerprint(n=5), fingerprint(seed=1)}
    assert len(different) == 5 and fingerprint() in different


def test_written_synthetic_set_reads_back_identically(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "c"))
    assert main(["synthetic", "--n", "30", "--out", str(tmp_path / "out"), "--size", "32", "--seed", "7"]) == 0
    written = load(str(tmp_path / "out"), 32, cache_dir=tmp_path / "c")
    drawn = load("synthetic", 32, n=30, seed=7, cache_dir=tmp_path / "c")
    for field in ("images", "attributes", "identities"):
        np.testing.assert_array_equal(getattr(written, field), getattr(drawn, field))
    np.testing.assert_allclose(written.landmarks, drawn.landmarks, atol=2e-5)
    assert (written.attribute_names, written.files, written.publishable) == (drawn.attribute_names, drawn.files, False)
    capsys.readouterr()
    assert main(["check", str(tmp_path / "out"), "--size", "32"]) == 0
    said = capsys.readouterr().out
    assert "30 images of 32x32" in said and "Eyeglasses" in said and "box (0, 0, 32, 32)" in said
    assert main(["synthetic", "--n", "2", "--out", str(tmp_path / "out")]) == 1
    assert "not empty" in capsys.readouterr().err


def test_written_label_noise_flips_about_that_share(tmp_path):
    write_synthetic(tmp_path / "noisy", 40, size=32, label_noise=0.2)
    clean = load("synthetic", 32, n=40, cache_dir=tmp_path / "c")
    noisy = load(str(tmp_path / "noisy"), 32, cache_dir=tmp_path / "c")
    np.testing.assert_array_equal(noisy.images, clean.images)
    assert abs((noisy.attributes != clean.attributes).mean() - 0.2) < 4 * 0.4 / noisy.attributes.size**0.5


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


def test_afhq(tmp_path):
    for part, domain, count in (("train", "cat", 3), ("train", "dog", 2), ("val", "cat", 1), ("val", "dog", 1)):
        (tmp_path / part / domain).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (40, 40), (k, len(part), ord(domain[0]))).save(tmp_path / part / domain / f"{k}.png")
    animals = data.load_afhq(tmp_path, 16, cache_dir=tmp_path / "c")
    assert animals.domain_names == ("cat", "dog") and animals.domain.tolist() == [0, 0, 0, 1, 1, 0, 1]
    assert animals.is_train.tolist() == [True] * 5 + [False] * 2 and animals.files[3] == "train/dog/0.png"
    assert animals.images[:, :, 8, 8].tolist() == [[int(f[-5]), len(f.split("/")[0]), ord(f.split("/")[1][0])] for f in animals.files]


# ----------------------------------------------------------------------------------------------------------------------------------- real faces


@pytest.fixture(scope="module")
def real_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("real")


@needs_data
def test_real_celeba_subset(real_cache):
    faces = load(os.path.join(STUDY_DATA, "celeba10k"), 32, cache_dir=real_cache)
    assert len(faces) == 10_000 and len(np.unique(faces.identities)) == 5_429 and len(faces.attribute_names) == 40
    assert faces.crop.box(89, 109) == (0, 10, 89, 99) and not faces.publishable
    assert abs(faces.column("Eyeglasses").mean() - 0.067) < 0.001 and abs(faces.column("Male").mean() - 0.422) < 0.001
    split = split_most_images(faces)
    assert len(np.unique(faces.identities[split.train])) == round(5_429 * 8_177 / 10_177)
    train, test = (np.unique(faces.identities[rows], return_counts=True)[1] for rows in (split.train, split.test))
    assert train.min() >= test.max()
    # The boxes sit where the attributes show: mean faces with and without differ there more than elsewhere.
    for attribute, ratio in (("Eyeglasses", 3), ("Mouth_Slightly_Open", 1.5)):
        worn = faces.column(attribute) == 1
        difference = np.abs(faces.images[worn].mean(0) - faces.images[~worn].mean(0)).mean(0)
        inside = data.attribute_box(faces, None, attribute).float().mean(0)[0].numpy() > 0.5
        assert difference[inside].mean() > ratio * difference[~inside].mean()


@needs_data
def test_real_half_size_and_full_size_images_agree(real_cache):
    small, large = (load(os.path.join(STUDY_DATA, name), 32, cache_dir=real_cache) for name in ("celeba10k", "celeba4k"))
    rows = np.searchsorted(np.array(small.files), np.array(large.files))
    np.testing.assert_array_equal(small.attributes[rows], large.attributes)
    assert np.median(np.abs(small.landmarks[rows] - large.landmarks)) < 0.1  # estimated anew on each size
    difference = np.abs(small.images[rows].astype(int) - large.images).mean((1, 2, 3))
    assert np.median(difference) < 3 and np.quantile(difference, 0.99) < 8

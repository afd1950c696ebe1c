"""The uint8 image cache: decoded once, memory-mapped afterwards; a killed build goes on from its finished chunks.

Files of one cache entry: NAME.npy (the array), NAME.json (fingerprint, shape, a checksum for every chunk; the array counts as finished
only with it), and while building NAME.partial (the array so far), NAME.journal (one line for every finished chunk), NAME.lock.
"""

import fcntl
import functools
import json
import os
import shutil
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from lib.data.crop import Crop
from lib.data.errors import fail

CHUNK = 256  # images per chunk: what a kill can lose per worker, under half a second of work
VERSION = 1  # part of every fingerprint: raise it when decoding or the crop changes


def default_dir() -> Path:
    """$STUDY_CACHE, else .cache/ in the project (the working folder when the package is installed elsewhere)."""
    if os.environ.get("STUDY_CACHE"):
        return Path(os.environ["STUDY_CACHE"])
    project = Path(__file__).resolve().parents[2]
    return (project if (project / "pyproject.toml").is_file() else Path.cwd()) / ".cache"


def decode(path: str, crop: Crop, expected: tuple[int, int] | None, window: tuple[int, int, int, int] | None = None) -> np.ndarray | str:
    """One image -> uint8 (3,S,S), or a sentence that says what is wrong with it.

    expected: (width, height) the image must have, None for any; window: cut this box (it may reach over the edge) before the crop.
    """
    try:
        if not os.path.getsize(path):
            return "the image file has zero bytes"
        with Image.open(path) as image:
            if image.mode != "RGB":
                return f"the image has mode {image.mode} instead of RGB"
            if expected and image.size != expected:
                return f"the image is {image.width}x{image.height}, the others are {expected[0]}x{expected[1]}"
            if image.width > image.height:
                return f"the image is {image.width}x{image.height}, wider than high"
            image.load()
            return crop.apply(image.crop(window) if window else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises for damaged files
        return f"the image cannot be decoded ({str(error).replace(path, os.path.basename(path))})"


def common_size(paths: list[str]) -> tuple[int, int] | None:
    """The most frequent (width, height) among the first 101 readable images; None if none can be opened."""
    sizes = Counter()
    for path in paths[:101]:
        try:
            with Image.open(path) as image:
                sizes[image.size] += 1
        except (OSError, SyntaxError, Image.DecompressionBombError):
            continue  # reported with its name when the image is decoded
    return sizes.most_common(1)[0][0] if sizes else None


def decode_all(
    paths: list[str],
    crop: Crop,
    name: str,
    fingerprint: str,
    cache_dir: Path,
    workers: int = 2,
    skip: bool = False,
    window: tuple[int, int, int, int] | None = None,
) -> tuple[np.ndarray, list[int]]:
    """All images as one (N - len(bad),3,S,S) uint8 memory map and the positions `bad` that were left out (empty unless skip).

    Raises DataError for the first unusable image unless skip, and when no image is usable.
    """
    expected = functools.cache(lambda: common_size(paths))  # only a build needs it

    def decode_chunk(start: int, stop: int) -> tuple[np.ndarray, list[int]]:
        out, bad = np.zeros((stop - start, 3, crop.size, crop.size), np.uint8), []
        for i in range(start, stop):
            image = decode(paths[i], crop, expected(), window)
            if isinstance(image, str):
                if not skip:
                    fail(paths[i], None, image, 'Replace the file or its row in the lists, or load with on_bad_image="skip"')
                bad.append(i)
            else:
                out[i - start] = image
        return out, bad

    entry = f"{name}-{crop.size}-{fingerprint[:16]}" + "-skip" * skip
    return build(cache_dir, entry, fingerprint, len(paths), crop.size, decode_chunk, workers)


def build(
    cache_dir: Path, name: str, fingerprint: str, count: int, size: int, make: Callable[[int, int], tuple[np.ndarray, list[int]]], workers: int
) -> tuple[np.ndarray, list[int]]:
    """The cached (count - len(bad),3,size,size) uint8 array as a read-only memory map, and the positions `bad` that it leaves out.

    make(start, stop) returns the rows [start, stop) and the positions among them that must be left out; it is called once per missing
    chunk, from `workers` threads. (Measured on two cores: a second thread gives x1.5 for 178x218 JPEGs; a second process x1.7, but every process
    would import torch first and a caller's script would need a __main__ guard.) A finished entry that is damaged is reported by a warning
    and built anew. A second process that wants the same entry waits for the first.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    if not (cache_dir / ".gitignore").exists():
        (cache_dir / ".gitignore").write_text("*\n")  # cached faces must not be committed, wherever the cache is put
    array, meta = cache_dir / f"{name}.npy", cache_dir / f"{name}.json"
    with locked(cache_dir / f"{name}.lock"):
        if array.exists():
            found = _open_finished(array, meta, fingerprint)
            if not isinstance(found, str):
                return found
            warnings.warn(f"{array}: {found}; the cache entry is built again.", stacklevel=2)
            array.unlink()
        _build(cache_dir / name, fingerprint, count, size, make, workers)
        found = _open_finished(array, meta, fingerprint)
    if isinstance(found, str):
        fail(array, None, f"just written, yet {found}", "Check the disk and the free space of the cache folder")
    return found


@contextmanager
def locked(path: Path):
    """Hold the lock file `path`, made where it is missing, or wait until another process lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released by the system when the process dies
        yield


def _crc(rows: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(rows))


def _open_finished(array: Path, meta: Path, fingerprint: str) -> tuple[np.ndarray, list[int]] | str:
    """The entry, or what is wrong with it. Every byte is checked: a crc32 of 1 GB costs less than a second."""
    try:
        record = json.loads(meta.read_text())
        images = np.load(array, mmap_mode="r", allow_pickle=False)
        if record["fingerprint"] != fingerprint or list(images.shape) != record["shape"] or images.dtype != np.uint8:
            return "the array and its record do not belong together"
        crcs = [_crc(images[a : a + CHUNK]) for a in range(0, len(images), CHUNK)]
        return (images, record["bad"]) if crcs == record["crc"] else "its content does not match its checksums"
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        return f"it is damaged ({type(error).__name__}: {error})"


def _build(stem: Path, fingerprint: str, count: int, size: int, make, workers: int) -> None:
    partial, journal = Path(f"{stem}.partial"), Path(f"{stem}.journal")
    shape = (count, 3, size, size)
    done = _resume(partial, journal, shape)
    if not done:
        partial.unlink(missing_ok=True)
        needed, free = count * 3 * size * size, shutil.disk_usage(partial.parent).free
        if needed > free:  # writing past the end of a full disk through a memory map would kill the process
            problem = f"the cache needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free"
            fail(partial, None, problem, "Free some or set STUDY_CACHE to another disk")
        np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape).flush()
    images = np.load(partial, mmap_mode="r+")
    _write(journal, "".join(json.dumps(record) + "\n" for record in done.values()))  # without a line that the kill cut short

    def run(start: int) -> dict:
        rows, bad = make(start, min(start + CHUNK, count))
        images[start : start + len(rows)] = rows
        return {"start": start, "crc": _crc(rows), "bad": bad}

    todo = [start for start in range(0, count, CHUNK) if start not in done]
    bar = tqdm(total=count, initial=count - sum(min(CHUNK, count - a) for a in todo), desc=stem.name, unit="img", mininterval=5, disable=count < 2000)
    with bar, ThreadPoolExecutor(workers) as pool, open(journal, "a") as log:
        futures = [pool.submit(run, start) for start in todo]
        try:
            for future in futures:
                record = future.result()
                done[record["start"]] = record
                log.write(json.dumps(record) + "\n")
                log.flush()
                bar.update(min(CHUNK, count - record["start"]))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    images.flush()
    bad = sorted(i for record in done.values() for i in record["bad"])
    final, crcs = partial, [done[start]["crc"] for start in range(0, count, CHUNK)]
    if len(bad) == count:
        fail(stem, None, f"none of the {count} images can be used", "Check that the archive was unpacked completely")
    if bad:
        final = Path(f"{stem}.compact")
        keep = np.delete(np.arange(count), bad)
        compact = np.lib.format.open_memmap(final, mode="w+", dtype=np.uint8, shape=(len(keep), *shape[1:]))
        for a in range(0, len(keep), CHUNK):
            compact[a : a + CHUNK] = images[keep[a : a + CHUNK]]
        compact.flush()
        images, crcs = compact, [_crc(compact[a : a + CHUNK]) for a in range(0, len(keep), CHUNK)]
    # The record first: should the process die in between, the array is still `.partial` and the journal finishes it.
    _write(Path(f"{stem}.json"), json.dumps({"fingerprint": fingerprint, "shape": list(images.shape), "bad": bad, "crc": crcs}))
    os.replace(final, f"{stem}.npy")
    partial.unlink(missing_ok=True)
    journal.unlink()


def _write(path: Path, text: str) -> None:
    temporary = Path(f"{path}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def _resume(partial: Path, journal: Path, shape: tuple[int, ...]) -> dict[int, dict]:
    """Finished chunks of a killed build, by first row; only those whose bytes in the partial array match the journal."""
    try:
        images = np.load(partial, mmap_mode="r", allow_pickle=False)
        lines = journal.read_text().splitlines()
    except (OSError, EOFError, ValueError):
        return {}
    if images.shape != shape or images.dtype != np.uint8:
        return {}
    done = {}
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the line that was being written when the build was killed
        if _crc(images[record["start"] : record["start"] + CHUNK]) == record["crc"]:
            done[record["start"]] = record
    return done

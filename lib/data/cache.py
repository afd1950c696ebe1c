"""The uint8 image cache: decoded once, memory-mapped afterwards; a killed build starts again.

Files of one cache entry: NAME.npy (the array), NAME.json (fingerprint, shape, a checksum for every chunk; the array counts as finished only
with it), NAME.lock, and while building NAME.partial. content-*.txt remember what the bytes of a set's files came to.
"""

import fcntl
import functools
import hashlib
import json
import math
import os
import shutil
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from lib.data.crop import Crop, upright, upright_size
from lib.data.errors import fail
from lib.sources import ROOT

CHUNK = 256  # images per call of a worker and per checksum
REMEDY = "Replace it, or remove it and its rows in all lists"  # for an image that cannot be used
VERSION = 2  # part of every folder's fingerprint: raise it when decoding or the crop changes
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises for damaged files


def folder(cache_dir: Path | None = None) -> Path:
    """The cache's folder, made where it is missing: as given, else $STUDY_CACHE, else .cache/ in the project."""
    place = Path(cache_dir or os.environ.get("STUDY_CACHE") or ROOT / ".cache")
    place.mkdir(parents=True, exist_ok=True)
    if not (place / ".gitignore").exists():
        (place / ".gitignore").write_text("*\n")  # cached faces must not be committed, wherever the cache is put
    return place


def fingerprint(what: str, names: Sequence[str], paths: Sequence[str | Path], cache_dir: Path | None) -> str:
    """sha256 hex over `what`, the names and the bytes of all files, which are read again only where a path, a size or a
    time of change differs from the last call's. DataError for a file that cannot be read."""
    try:
        stats = [(os.path.abspath(path), os.stat(path)) for path in paths]
        listing = "".join(f"{path} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}\n" for path, s in stats)
        known = folder(cache_dir) / f"content-{hashlib.sha256(listing.encode()).hexdigest()[:16]}.txt"
        content = known.read_text() if known.exists() else ""
        if len(content) != 64:
            digest = hashlib.sha256()
            for path in tqdm(paths, desc="reading the files", unit="file", mininterval=5, disable=len(paths) < 20_000):
                digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
            content = digest.hexdigest()
            save_atomically(known, lambda file: file.write_text(content))
    except OSError as error:
        fail(error.filename, None, f"cannot be read ({error.strerror})", "Check that the file is there and that you may read it")
    return hashlib.sha256("\n".join([what, content, *names]).encode()).hexdigest()


def decode(path: str, crop: Crop, expected: tuple[int, int] | None, window: tuple[int, int, int, int] | None = None) -> np.ndarray | str:
    """One image -> uint8 (3,S,S), or a sentence that says what is wrong with it.

    expected: (width, height) the upright image must have, None for any; window: cut this box (it may reach over the edge) before the crop.
    """
    try:
        if not os.path.getsize(path):
            return "the image file has zero bytes"
        with Image.open(path) as image:
            width, height = upright_size(image)
            if image.mode[0] in "IF":
                return f"the image has mode {image.mode}, more than 8 bits a colour"
            if expected and (width, height) != expected:
                return f"the image is {width}x{height}, the others are {expected[0]}x{expected[1]}"
            image = upright(image)
            return crop.apply(image.crop(window) if window else image)
    except UNREADABLE as error:
        place = f", it is a link to {os.path.realpath(path)}" if os.path.islink(path) else ""
        return f"the image cannot be decoded ({str(error).replace(path, os.path.basename(path))}){place}"


def common_size(paths: Sequence[str]) -> tuple[int, int] | None:
    """The most frequent upright (width, height) among the first 101 readable images; None if none can be opened."""
    sizes = Counter()
    for path in paths[:101]:
        try:
            with Image.open(path) as image:
                sizes[upright_size(image)] += 1
        except UNREADABLE:
            continue  # reported with its name when the image is decoded
    return sizes.most_common(1)[0][0] if sizes else None


def decode_all(
    paths: Sequence[str], crop: Crop, name: str, fingerprint: str, cache_dir: Path | None, window=None
) -> np.ndarray:  # fmt: skip
    """All images as one (N,3,S,S) uint8 memory map; window as in `decode`. DataError for the first unusable image."""
    expected = functools.cache(lambda: common_size(paths))  # only a build needs it

    def one(path: str) -> np.ndarray:
        image = decode(path, crop, expected(), window)
        if isinstance(image, str):
            fail(path, None, image, REMEDY)
        return image

    def decode_chunk(start: int, stop: int) -> np.ndarray:
        return np.stack([one(path) for path in paths[start:stop]])

    return build(cache_dir, name, fingerprint, len(paths), crop.size, decode_chunk, workers=2)


def build(
    cache_dir: Path | None, name: str, fingerprint: str, count: int, size: int, make: Callable[[int, int], np.ndarray],
    workers: int = 1,
) -> np.ndarray:  # fmt: skip
    """The cached (count,3,size,size) uint8 array as a read-only memory map. make(start, stop) returns rows, from
    `workers` threads. A damaged entry is reported by a warning and built anew. A second process waits for the first."""
    entry = folder(cache_dir) / f"{name}-{size}-{fingerprint[:16]}"
    array, meta, lock = (entry.with_name(f"{entry.name}.{suffix}") for suffix in ("npy", "json", "lock"))
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released by the system when the process dies
        if array.exists():
            found = _open_finished(array, meta, fingerprint)
            if not isinstance(found, str):
                return found
            warnings.warn(f"{array}: {found}; the cache entry is built again.", stacklevel=2)
            array.unlink()
        _build(array, meta, fingerprint, (count, 3, size, size), make, workers)
        return np.load(array, mmap_mode="r")


def _open_finished(array: Path, meta: Path, fingerprint: str) -> np.ndarray | str:
    """The entry, or what is wrong with it. Every byte is checked: a crc32 of 1 GB costs less than a second."""
    try:
        record = json.loads(meta.read_text())
        images = np.load(array, mmap_mode="r", allow_pickle=False)
        if record["fingerprint"] != fingerprint or list(images.shape) != record["shape"] or images.dtype != np.uint8:
            return "the array and its record do not belong together"
        crcs = [zlib.crc32(images[a : a + CHUNK]) for a in range(0, len(images), CHUNK)]
        return images if crcs == record["crc"] else "its content does not match its checksums"
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        return f"it is damaged ({type(error).__name__}: {error})"


def _build(array: Path, meta: Path, fingerprint: str, shape: tuple[int, ...], make, workers: int) -> None:
    needed, free, count = math.prod(shape), shutil.disk_usage(array.parent).free, shape[0]
    if needed > free:  # writing past the end of a full disk through a memory map would kill the process
        problem = f"the cache needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free"
        fail(array, None, problem, "Free some or set STUDY_CACHE to another disk")
    partial, crcs = array.with_suffix(".partial"), []
    images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)

    def run(start: int) -> int:
        rows = images[start : start + CHUNK]
        rows[:] = make(start, start + len(rows))
        return zlib.crc32(rows)

    with tqdm(total=count, desc=array.stem, unit="img", mininterval=5, disable=count < 2000) as bar, ThreadPoolExecutor(workers) as pool:
        try:
            for crc in pool.map(run, range(0, count, CHUNK)):
                crcs.append(crc)
                bar.update(min(CHUNK, count - bar.n))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            partial.unlink()
            raise
    images.flush()
    record = json.dumps({"fingerprint": fingerprint, "shape": list(shape), "crc": crcs})
    save_atomically(meta, lambda file: file.write_text(record))
    os.replace(partial, array)  # last: a build that is killed before leaves no array


def save_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """`write(temporary)` and then rename: a killed process leaves the old file or the new one, never half of one.
    Raises OSError that names `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)

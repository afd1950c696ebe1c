"""Animal faces in domains: folders {train,val}/{domain}/ as AFHQ has them, or the built-in animals."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data import cache
from lib.data.crop import Crop
from lib.data.errors import DataError, fail
from lib.data.faceset import FaceSet, to_uint8
from lib.data.splits import Split, divided


@dataclass(frozen=True, eq=False)
class DomainSet:
    """images (N,3,S,S) uint8; domain (N,) int64 into domain_names; is_train (N,) bool: from train/ rather than val/; files: paths under the root."""

    images: np.ndarray
    domain: np.ndarray
    domain_names: tuple[str, ...]
    is_train: np.ndarray
    files: tuple[str, ...]
    crop: Crop
    fingerprint: str
    publishable: bool = False


def load_afhq(root: Path | str, size: int, *, cache_dir: Path | None = None, workers: int = 2) -> DomainSet:
    """Read the images (jpg, png) of `{train,val}/{domain}/` under root; both parts need the same domains. Raises DataError."""
    root, crop = Path(root), Crop(size)
    domains: dict[str, list[str]] = {}
    for part in ("train", "val"):
        if not (root / part).is_dir():
            fail(root / part, None, "no such folder", "Give a folder that holds train/ and val/ with one folder per domain")
        domains[part] = sorted(path.name for path in (root / part).iterdir() if path.is_dir())
    if not domains["train"] or domains["train"] != domains["val"]:
        fail(root, None, f"train has the domains {domains['train']}, val has {domains['val']}", "Both need the same, at least one")
    paths = []
    for folder in (root / part / domain for part in domains for domain in domains[part]):
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not found:
            fail(folder, None, "it holds no jpg or png image", "Restore the images or remove the domain from both parts")
        paths += found
    files = tuple(path.relative_to(root).as_posix() for path in paths)
    listing = "".join(f"{name} {path.stat().st_size}\n" for name, path in zip(files, paths, strict=True))
    fingerprint = hashlib.sha256(f"afhq {cache.VERSION}\n{crop}\n{listing}".encode()).hexdigest()
    cache_dir = Path(cache_dir) if cache_dir is not None else cache.default_dir()
    images, _ = cache.decode_all([str(path) for path in paths], crop, "afhq", fingerprint, cache_dir, workers)
    names = tuple(domains["train"])
    domain = np.array([names.index(path.parent.name) for path in paths], np.int64)
    return DomainSet(images, domain, names, np.array([name.startswith("train/") for name in files]), files, crop, fingerprint)


BUILT_IN = "animals"


def load_domains(data: str, size: int, *, n: int = 15_000, seed: int = 0, cache_dir: Path | None = None) -> tuple[FaceSet, Split]:
    """Pictures of several domains as a FaceSet whose attributes are the domains, one-hot, with train/ and val/ as its split.

    data: "animals", n built-in ones of which the last fifth is val, or a folder in AFHQ's layout (n and seed do not concern it). Every picture is
    an identity of its own; there are no landmarks. Raises DataError for bad input, or fewer than 30 built-in animals.
    """
    cache_dir = Path(cache_dir) if cache_dir is not None else cache.default_dir()
    found = _animals(n, size, seed, cache_dir) if data == BUILT_IN else load_afhq(data, size, cache_dir=cache_dir)
    name = BUILT_IN if data == BUILT_IN else Path(data).resolve().name
    one_hot = np.eye(len(found.domain_names), dtype=np.uint8)[found.domain]
    faces = FaceSet(
        name, found.images, one_hot, found.domain_names, np.arange(len(found.files)), None, "none", found.files, found.crop, found.fingerprint,
        found.publishable,
    )  # fmt: skip
    return faces, divided(faces, np.flatnonzero(found.is_train), np.flatnonzero(~found.is_train), "the folders train and val", "none")


def _animals(n: int, size: int, seed: int, cache_dir: Path) -> DomainSet:
    from lib import synthetic
    from lib.synthetic import animals

    if n < 30:
        raise DataError(f"built-in animals: n is {n}. Give at least 30, so that every domain has some in both parts.")
    crop, drawn = Crop(size), animals.sample(seed, range(n))
    fingerprint = hashlib.sha256(f"{BUILT_IN}\n{seed}\n{n}\n{crop}\n{synthetic.VERSION}\n".encode()).hexdigest()

    def draw(start: int, stop: int) -> tuple[np.ndarray, list]:
        return to_uint8(animals.render(drawn[start:stop], size)), []

    images, _ = cache.build(cache_dir, f"{BUILT_IN}-{size}-{fingerprint[:16]}", fingerprint, n, size, draw, workers=1)
    is_train = np.arange(n) < n - n // 5
    names = tuple(animals.DOMAINS)
    parts = np.where(is_train, "train", "val")
    domain = drawn.domain.numpy()
    files = tuple(f"{part}/{names[d]}/{i + 1:06d}.png" for i, (part, d) in enumerate(zip(parts, domain, strict=True)))
    return DomainSet(images, domain, names, is_train, files, crop, fingerprint, publishable=True)

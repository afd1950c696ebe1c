"""Animal faces (AFHQ): folders {train,val}/{domain}/."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data import cache
from lib.data.crop import Crop
from lib.data.errors import fail


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

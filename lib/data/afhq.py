"""Animal faces in domains: folders {train,val}/{domain}/ as AFHQ has them (test/ for val/ in its second version), or the built-in animals."""

import hashlib
from pathlib import Path

import numpy as np

from lib.data import cache
from lib.data.celeba import IMAGE_SUFFIXES
from lib.data.crop import Crop
from lib.data.errors import fail
from lib.data.faceset import FaceSet, name_of, to_uint8
from lib.data.splits import Split, divided

BUILT_IN = "animals"


def domain_names(data: str) -> tuple[str, ...]:
    """The domains of "animals" or of a folder in AFHQ's layout, in alphabetical order; no picture is opened. Raises DataError."""
    if data == BUILT_IN:
        from lib.synthetic import animals

        return tuple(animals.DOMAINS)
    root = Path(data).expanduser()
    parts = _parts(root)
    train, val = (sorted(p.name for p in part.iterdir() if p.is_dir() and p.name[0] != ".") for part in parts)
    if not train or train != val:
        fail(root, None, f"train has the domains {train}, {parts[1].name} has {val}", "Both need the same, at least one")
    return tuple(train)


def load_domains(data: str, size: int, *, n: int = 15_000, cache_dir: Path | None = None) -> tuple[FaceSet, Split]:
    """Pictures of "animals", n built-in ones of which the last fifth is val, or of a folder in AFHQ's layout (without
    n): a FaceSet whose attributes are the domains, one-hot, each picture an identity of its own, without landmarks; and
    its split. DataError for bad input, or fewer than 30 built-in animals."""
    names, crop = domain_names(data), Crop(size)
    if data == BUILT_IN:
        from lib import synthetic
        from lib.synthetic import animals

        if n < 30:
            fail("built-in animals", None, f"n is {n}", "Give at least 30, so that every domain has some in both parts")
        sample, name = animals.sample(0, range(n)), BUILT_IN
        fingerprint = hashlib.sha256(f"{BUILT_IN}\n0\n{n}\n{crop}\n{synthetic.VERSION}\n".encode()).hexdigest()

        def draw(start: int, stop: int) -> np.ndarray:
            return to_uint8(animals.render(sample[start:stop], size))

        images = cache.build(cache_dir, BUILT_IN, fingerprint, n, size, draw)
        parts = np.where(np.arange(n) < n - n // 5, "train", "val")
        places = enumerate(zip(parts, sample.domain, strict=True))
        files = tuple(f"{part}/{names[domain]}/{i + 1:06d}.png" for i, (part, domain) in places)
    else:
        root, paths = Path(data).expanduser(), []
        for folder in (part / domain for part in _parts(root) for domain in names):
            pictures = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != ".")
            if not pictures:
                fail(folder, None, "it holds no picture", "Restore the images or remove the domain from both parts")
            paths += map(str, pictures)
        name, files = name_of(str(root.resolve())), tuple(Path(path).relative_to(root).as_posix() for path in paths)
        fingerprint = cache.fingerprint(f"afhq {cache.VERSION} {crop}", files, paths, cache_dir)
        images = cache.decode_all(paths, crop, "afhq", fingerprint, cache_dir)
    part, domain = np.array([file.split("/")[:2] for file in files]).T
    one_hot = (domain[:, None] == np.array(names)).astype(np.uint8)
    faces = FaceSet(name, images, one_hot, names, np.arange(len(files)), None, "none", files, crop, fingerprint, publishable=data == BUILT_IN)
    validation = np.concatenate([np.flatnonzero((part == "train") & (domain == d))[1::10] for d in names])
    train = np.setdiff1d(np.flatnonzero(part == "train"), validation)
    return faces, divided(faces, train, validation, np.flatnonzero(part != "train"), "every tenth picture of train/ validates, val/ tests")


def _parts(root: Path) -> tuple[Path, Path]:
    """Its folders train and val, or train and test."""
    parts = root / "train", root / "test" if (root / "test").is_dir() else root / "val"
    for part in parts:
        if not part.is_dir():
            fail(part, None, "no such folder", "Give a folder that holds train/ and val/ with one folder per domain")
    return parts

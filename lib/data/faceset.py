"""A set of faces in memory, and `load`, which makes one from a folder or from the built-in renderer."""

import difflib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lib.data import cache, celeba
from lib.data.crop import Crop
from lib.data.errors import DataError, fail

SYNTHETIC = ("synthetic", "synthetic-balanced")


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Faces with labels; row i of every array is the image files[i].

    images (N,3,S,S) uint8, usually a read-only memory map; attributes (N,A) uint8 in {0,1}; identities (N,) int64.
    landmarks (N,5,2) float32 or None: (x,y) in the S x S crop, where the pixel of row i, column j covers [j,j+1] x [i,i+1]; in the order left
    eye, right eye (the viewer's left and right), nose, left and right mouth corner. landmark_source: file name, "exact" or "none".
    fingerprint: sha256 hex of what the set was made from. publishable: whether pictures of these faces may be shown in a committed report.
    partition (N,) int64 or None: the part that the set itself puts an image in, 0 train, 1 validation, 2 test.
    skipped: files left out by choice. faces: the renderer's parameters of all N faces (synthetic sets only).
    """

    name: str
    images: np.ndarray
    attributes: np.ndarray
    attribute_names: tuple[str, ...]
    identities: np.ndarray
    landmarks: np.ndarray | None
    landmark_source: str
    files: tuple[str, ...]
    crop: Crop
    fingerprint: str
    publishable: bool
    skipped: tuple[str, ...] = ()
    faces: "synthetic.Faces | None" = None  # noqa: F821 - imported only when a synthetic set is asked for
    partition: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def size(self) -> int:
        return self.crop.size

    def column(self, name: str) -> np.ndarray:
        """(N,) uint8 in {0,1} of one attribute; DataError with the closest names if the set does not have it."""
        if name not in self.attribute_names:
            by_lower = {known.lower(): known for known in self.attribute_names}
            close = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
            hint = f"Did you mean {' or '.join(close)}" if close else f"It has {', '.join(self.attribute_names)}"
            fail(self.name, None, f"the set has no attribute {name!r}", hint + "?" * bool(close))
        return self.attributes[:, self.attribute_names.index(name)]


def load(
    data: str, size: int, *, n: int = 20000, seed: int = 0, on_bad_image: str = "raise", cache_dir: Path | None = None, workers: int = 2
) -> FaceSet:
    """Read a face set at `size` pixels: "synthetic", "synthetic-balanced" or the path of a folder in CelebA's layout.

    n (faces) and seed concern synthetic sets only. All label files are checked before the first image is decoded; images are decoded
    once, by `workers` threads, into a cache under cache_dir (default: $STUDY_CACHE or .cache/ of the project).
    on_bad_image="skip" leaves out images that cannot be used and lists them in `skipped`. Raises DataError for every kind of bad input.
    """
    crop = Crop(size)
    if on_bad_image not in ("raise", "skip"):
        raise DataError(f"load: on_bad_image is {on_bad_image!r}. Give 'raise' or 'skip'.")
    cache_dir = Path(cache_dir) if cache_dir is not None else cache.default_dir()
    if str(data) in SYNTHETIC:
        return _load_synthetic(str(data), crop, n, seed, cache_dir)
    return _load_folder(Path(data), crop, on_bad_image == "skip", cache_dir, workers)


def _load_folder(root: Path, crop: Crop, skip: bool, cache_dir: Path, workers: int) -> FaceSet:
    folder = celeba.read_folder(root)
    fingerprint = folder.fingerprint(crop)
    paths = [os.path.join(folder.image_dir, name) for name in folder.on_disk]
    images, bad = cache.decode_all(paths, crop, folder.name, fingerprint, cache_dir, workers, skip)
    keep = np.delete(np.arange(len(folder.files)), bad)
    landmarks = None
    if folder.landmarks is not None:
        with Image.open(paths[keep[0]]) as image:  # all have its size
            width, height = image.size
        landmarks = crop.points(folder.landmarks[keep] * (width / celeba.FRAME_WIDTH), width, height).astype(np.float32)
    return FaceSet(
        name=folder.name,
        images=images,
        attributes=folder.attributes[keep],
        attribute_names=folder.attribute_names,
        identities=folder.identities[keep],
        landmarks=landmarks,
        landmark_source=folder.landmark_source,
        files=tuple(folder.files[i] for i in keep),
        crop=crop,
        fingerprint=fingerprint,
        publishable=False,
        skipped=tuple(folder.files[i] for i in bad),
        partition=None if folder.partition is None else folder.partition[keep],
    )


def _load_synthetic(name: str, crop: Crop, n: int, seed: int, cache_dir: Path) -> FaceSet:
    from lib import synthetic

    faces = sample_synthetic(n, crop.size, seed, balanced=name == "synthetic-balanced")
    fingerprint = hashlib.sha256(f"{name}\n{seed}\n{n}\n{crop.size}\n{synthetic.VERSION}\n".encode()).hexdigest()

    def draw(start: int, stop: int) -> tuple[np.ndarray, list]:
        return to_uint8(synthetic.render(faces[start:stop], crop.size)), []

    images, _ = cache.build(cache_dir, f"{name}-{crop.size}-{fingerprint[:16]}", fingerprint, n, crop.size, draw, workers=1)
    return FaceSet(
        name=name,
        images=images,
        attributes=synthetic.attributes(faces).numpy(),
        attribute_names=tuple(synthetic.ATTRIBUTES),
        identities=synthetic.identities(faces).numpy(),
        landmarks=synthetic.landmarks5(faces, crop.size).numpy(),
        landmark_source="exact",
        files=tuple(f"{i + 1:06d}.png" for i in range(n)),
        crop=crop,
        fingerprint=fingerprint,
        publishable=True,
        faces=faces,
    )


def sample_synthetic(n: int, size: int, seed: int, balanced: bool, label_noise: float = 0.0) -> "synthetic.Faces":  # noqa: F821
    """Parameters of n synthetic faces; DataError for a number, size or noise that the renderer does not take."""
    from lib import synthetic

    if not isinstance(n, int) or n < 1:
        raise DataError(f"synthetic faces: n is {n!r}. Give the number of faces, an integer of at least 1.")
    try:
        faces = synthetic.sample(seed, range(n), balanced=balanced, label_noise=label_noise)
        synthetic.render(faces[:1], size)
    except ValueError as error:
        raise DataError(f"synthetic faces: {error}. Give a value in that range.") from error
    return faces


def to_uint8(x) -> np.ndarray:
    """Float tensor in [-1,1] -> uint8 array of the same shape, rounded to nearest: the inverse of u / 127.5 - 1."""
    return ((x + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()

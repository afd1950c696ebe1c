"""A set of faces in memory, and `load`, which makes one from a folder or from the built-in renderer."""

import difflib
import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from lib.data import cache, celeba
from lib.data.crop import Crop
from lib.data.errors import DataError, check_seed, fail

SYNTHETIC = ("synthetic", "synthetic-balanced")


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Faces with labels; row i of every array is the image files[i].

    images (N,3,S,S) uint8, usually a read-only memory map (None in an `outline`); attributes (N,A) uint8 in {0,1}; identities (N,) int64.
    landmarks (N,5,2) float32 or None: (x,y) in the S x S crop, where the pixel of row i, column j covers [j,j+1] x [i,i+1]; in the order left
    eye, right eye (the viewer's left and right), nose, left and right mouth corner. landmark_source: "official", "estimated",
    "exact" or "none".
    fingerprint: sha256 hex of what the set was made from. publishable: whether pictures of these faces may be shown in a committed report.
    partition (N,) int64 or None: the part that the set itself puts an image in, 0 train, 1 validation, 2 test.
    faces: the renderer's parameters of all N faces (synthetic sets only).
    """

    name: str
    images: np.ndarray | None
    attributes: np.ndarray
    attribute_names: tuple[str, ...]
    identities: np.ndarray
    landmarks: np.ndarray | None
    landmark_source: str
    files: tuple[str, ...]
    crop: Crop
    fingerprint: str
    publishable: bool
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
            hint = f"Did you mean {' or '.join(close)}?" if close else f"It has {', '.join(self.attribute_names)}"
            fail(self.name, None, f"the set has no attribute {name!r}", hint)
        return self.attributes[:, self.attribute_names.index(name)]


def load(data: str, size: int, *, n: int = 20000, seed: int = 0, cache_dir: Path | None = None) -> FaceSet:
    """Read a face set at `size` pixels: "synthetic", "synthetic-balanced" or the path of a folder in CelebA's layout. n
    (faces) and seed concern synthetic sets only. Label files are checked before images are decoded, into a cache under
    cache_dir (default: `cache.folder`). Raises DataError."""
    if str(data) in SYNTHETIC:
        return with_pictures(outline(data, size, n=n, seed=seed), cache_dir)
    folder = celeba.read_folder(Path(str(data)).expanduser())
    faces = _labelled(folder, Crop(size))
    names = *folder.files, *(path.name for path in folder.label_files)
    fingerprint = cache.fingerprint(f"celeba {cache.VERSION} {faces.crop}", names, folder.paths + folder.label_files, cache_dir)
    images = cache.decode_all(folder.paths, faces.crop, faces.name, fingerprint, cache_dir)
    return replace(faces, images=images, fingerprint=fingerprint)


def outline(data: str, size: int, *, n: int = 20000, seed: int = 0) -> FaceSet:
    """What `load` gives, without pictures: `images` is None, the `fingerprint` of a folder "". Within seconds: nothing is decoded or drawn,
    and splits and batches can be tried on it. Raises DataError for all that is wrong with a folder's lists, n or seed."""
    if str(data) in SYNTHETIC:
        return _sampled(str(data), Crop(size), n, seed)
    return _labelled(celeba.read_folder(Path(str(data)).expanduser()), Crop(size))


def with_pictures(faces: FaceSet, cache_dir: Path | None = None) -> FaceSet:
    """A built-in set with its pictures, drawn where they were not; any other as it is."""
    if faces.images is not None or faces.name not in SYNTHETIC:
        return faces

    def draw(start: int, stop: int) -> np.ndarray:
        from lib import synthetic

        return to_uint8(synthetic.render(faces.faces[start:stop], faces.size))

    return replace(faces, images=cache.build(cache_dir, faces.name, faces.fingerprint, len(faces), faces.size, draw))


def name_of(data: str) -> str:
    """The name of the set that `load` reads, and so of its runs. A folder's is never taken for that of a built-in set."""
    name = Path(data).expanduser().resolve().name
    return data if data in SYNTHETIC else f"folder-{name}" if name.startswith(("synthetic", "animals")) else name


def _labelled(folder: celeba.Folder, crop: Crop) -> FaceSet:
    width, height = cache.common_size(folder.paths) or (celeba.FRAME_WIDTH, 218)
    if width > height:
        fail(folder.root, None, f"its images are {width}x{height}, wider than high", "Give upright or square ones, aligned as CelebA's are")
    landmarks = folder.landmarks
    if landmarks is not None:
        landmarks = crop.points(landmarks * (width / celeba.FRAME_WIDTH), width, height).astype(np.float32)
    return FaceSet(
        name_of(str(folder.root.resolve())), None, folder.attributes, folder.attribute_names, folder.identities, landmarks, folder.landmark_source,
        folder.files, crop, fingerprint="", publishable=False, partition=folder.partition,
    )  # fmt: skip


@lru_cache(maxsize=2)  # `beforehand`, then `load`
def _sampled(name: str, crop: Crop, n: int, seed: int) -> FaceSet:
    from lib import synthetic

    if not isinstance(n, int) or n < 1:
        raise DataError(f"synthetic faces: n is {n!r}. Give the number of faces, an integer of at least 1.")
    check_seed(seed)
    try:
        faces = synthetic.sample(seed, range(n), balanced=name == "synthetic-balanced")
        synthetic.render(faces[:1], crop.size)
    except ValueError as error:
        raise DataError(f"synthetic faces: {error}. Give a value in that range.") from error
    attributes, identities, points = synthetic.attributes(faces), faces.identity, synthetic.landmarks5(faces, crop.size)
    files = tuple(f"{i + 1:06d}.png" for i in range(n))
    fingerprint = hashlib.sha256(f"{name}\n{seed}\n{n}\n{crop.size}\n{synthetic.VERSION}\n".encode()).hexdigest()
    return FaceSet(
        name, None, attributes.numpy(), tuple(synthetic.ATTRIBUTES), identities.numpy(), points.numpy(), "exact",
        files, crop, fingerprint, publishable=True, faces=faces,
    )  # fmt: skip


def to_uint8(x) -> np.ndarray:
    """Float tensor in [-1,1] -> uint8 array of the same shape, rounded to nearest: the inverse of u / 127.5 - 1."""
    return ((x + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()

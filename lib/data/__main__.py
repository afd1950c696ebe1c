"""`python -m lib.data synthetic --n 20000 --out DIR` writes synthetic faces in CelebA's layout; `python -m lib.data check DIR` checks a folder."""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from lib import synthetic
from lib.data import cache, celeba
from lib.data.crop import Crop
from lib.data.errors import DataError, fail
from lib.data.faceset import load, sample_synthetic, to_uint8

LANDMARK_COLUMNS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"


def write_synthetic(out: Path, n: int, size: int = 64, seed: int = 0, balanced: bool = False, label_noise: float = 0.0) -> None:
    """Write n synthetic faces as size x size png files with all four label files of CelebA's layout.

    The attribute list holds the labels with label_noise (share of flipped labels). The partition is identity-disjoint: of the identities in
    ascending order the first 80 % train, 10 % validate, 10 % test. Landmarks are decimals in the 178-wide frame.
    DataError if `out` is a file or a folder that is not empty, or the renderer does not take n, size or label_noise.
    """
    faces = sample_synthetic(n, size, seed, balanced, label_noise)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        fail(out, None, "the folder is not empty" if out.is_dir() else "this is a file", "Give a new or empty folder; nothing was written")
    (out / "img_align_celeba").mkdir(parents=True)
    names = [f"{i + 1:06d}.png" for i in range(n)]
    for start in tqdm(range(0, n, 256), desc=str(out), mininterval=5):
        rows = to_uint8(synthetic.render(faces[start : start + 256], size)).transpose(0, 2, 3, 1)
        for name, row in zip(names[start : start + 256], rows, strict=True):
            Image.fromarray(row).save(out / "img_align_celeba" / name)
    labels = synthetic.labels(faces).numpy().astype(int) * 2 - 1
    ids = synthetic.identities(faces).numpy()
    rank = np.unique(ids, return_inverse=True)[1] / len(np.unique(ids))
    partition = np.digitize(rank, (0.8, 0.9))
    points = synthetic.landmarks5(faces, size).double().numpy() * (celeba.FRAME_WIDTH / size)  # undone by the reader
    _write(out / "list_attr_celeba.txt", [str(n), " ".join(synthetic.ATTRIBUTES)], names, labels)
    _write(out / "list_landmarks_align_celeba.txt", [str(n), LANDMARK_COLUMNS], names, np.char.mod("%.4f", points.reshape(n, 10)))
    _write(out / "identity_CelebA.txt", [], names, ids[:, None])
    _write(out / "list_eval_partition.txt", [], names, partition[:, None])


def _write(path: Path, header: list[str], names: list[str], values: np.ndarray) -> None:
    rows = [f"{name} {' '.join(map(str, row))}" for name, row in zip(names, values, strict=True)]
    path.write_text("\n".join(header + rows) + "\n")


def check(root: Path, size: int) -> str:
    """A summary of a folder after reading it as training would, images included. DataError for a folder that training would refuse: for
    the first fault of its lists, or for every image that cannot be used, one a line."""
    folder = celeba.read_folder(root)
    width, height = expected = cache.common_size(folder.paths) or (celeba.FRAME_WIDTH, 218)
    try:
        faces = load(str(root.absolute()), size)
    except DataError:
        unusable = ((path, cache.decode(path, Crop(size), expected)) for path in folder.paths)
        if lines := [f"{path}: {problem}" for path, problem in unusable if isinstance(problem, str)]:
            raise DataError("\n".join((*lines, f"{len(lines)} of {len(folder.paths)} images cannot be used. {cache.REMEDY}."))) from None
        raise
    counts = Counter(Counter(faces.identities.tolist()).values())
    partition = "none" if faces.partition is None else np.bincount(faces.partition, minlength=3).tolist()
    lines = [
        f"{root}: {len(faces)} images of {width}x{height}, all decoded",
        f"crop: box {faces.crop.box(width, height)}, {faces.crop}",
        f"identities: {sum(counts.values())} ({', '.join(f'{v} with {k}' for k, v in sorted(counts.items()))} images)",
        f"partition (train, validation, test): {partition}",
        f"landmarks: {faces.landmark_source}",
        f"fingerprint: {faces.fingerprint}",
        f"attributes: {len(faces.attribute_names)}, share of images that have them:",
        *(f"  {name:22s} {faces.attributes[:, k].mean():.3f}" for k, name in enumerate(faces.attribute_names)),
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("synthetic", help="write synthetic faces in CelebA's layout")
    write.add_argument("--n", type=int, default=20000, help="number of faces (default 20000)")
    write.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    write.add_argument("--seed", type=int, default=0)
    write.add_argument("--balanced", action="store_true", help="attributes drawn independently, each with probability 1/2")
    write.add_argument("--label-noise", type=float, default=0.0, help="share of labels to flip (default 0)")
    checked = commands.add_parser("check", help="check a folder in CelebA's layout and print a summary")
    checked.add_argument("folder", type=Path)
    for command in (write, checked):
        command.add_argument("--size", type=int, default=64, help="side of the images, or of the crop, in pixels (default 64)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "check":
            print(check(options.folder, options.size))
        else:
            write_synthetic(options.out, options.n, options.size, options.seed, options.balanced, options.label_noise)
            print(f"{options.n} faces written to {options.out}")
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

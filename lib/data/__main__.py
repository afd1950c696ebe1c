"""`python -m lib.data synthetic --n 20000 --out DIR` writes drawn faces in CelebA's layout; `python -m lib.data check DIR`
checks a folder as training would read it."""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from lib.data import cache, celeba
from lib.data.crop import Crop
from lib.data.errors import DataError, fail
from lib.data.faceset import FaceSet, load

LANDMARKS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"


def write_folder(faces: FaceSet, out: Path) -> None:
    """Write faces with landmarks as png files with the four lists of CelebA's layout: landmarks in its 178-wide frame, a
    partition of identities into 80 % training, 10 % validation, 10 % test."""
    n = len(faces)
    (out / "img_align_celeba").mkdir(parents=True)
    for name, image in zip(faces.files, faces.images, strict=True):
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(out / "img_align_celeba" / name)
    people, rank = np.unique(faces.identities, return_inverse=True)
    points = (faces.landmarks.astype(float) * (celeba.FRAME_WIDTH / faces.size)).reshape(n, 10)
    tables = {
        "list_attr_celeba.txt": ([str(n), " ".join(faces.attribute_names)], faces.attributes.astype(int) * 2 - 1),
        "list_landmarks_align_celeba.txt": ([str(n), LANDMARKS], np.char.mod("%.4f", points)),
        "identity_CelebA.txt": ([], faces.identities[:, None]),
        "list_eval_partition.txt": ([], np.digitize(rank / len(people), (0.8, 0.9))[:, None]),
    }
    for file, (header, values) in tables.items():
        rows = [f"{name} {' '.join(map(str, row))}" for name, row in zip(faces.files, values, strict=True)]
        (out / file).write_text("\n".join(header + rows) + "\n")


def check(root: Path, size: int) -> str:
    """A summary of a folder, read as training would, pictures included. Raises DataError for a folder that training would
    refuse: for the first fault of its lists, or for every picture that cannot be used, one a line."""
    folder = celeba.read_folder(root)
    expected = cache.common_size(folder.paths)
    try:
        faces = load(str(root.absolute()), size)
    except DataError:
        decoded = ((path, cache.decode(path, Crop(size), expected)) for path in folder.paths)
        if lines := [f"{path}: {problem}" for path, problem in decoded if isinstance(problem, str)]:
            raise DataError("\n".join((*lines, f"{len(lines)} of {len(folder.paths)} images cannot be used. {cache.REMEDY}."))) from None
        raise
    per_person = sorted(Counter(Counter(faces.identities.tolist()).values()).items())
    partition = "none" if faces.partition is None else np.bincount(faces.partition, minlength=3).tolist()
    lines = [
        f"{root}: {len(faces)} images, all decoded; {faces.crop}",
        f"identities: {sum(v for _, v in per_person)} ({', '.join(f'{v} with {k}' for k, v in per_person)} images)",
        f"partition (train, validation, test): {partition}; landmarks: {faces.landmark_source}",
        f"attributes: {len(faces.attribute_names)}, share of images that have them:",
        *(f"  {name:22s} {faces.attributes[:, k].mean():.3f}" for k, name in enumerate(faces.attribute_names)),
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code: 0, or 1 for a folder that training would refuse."""
    parser = argparse.ArgumentParser(prog="python -m lib.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("synthetic", help="write drawn faces in CelebA's layout")
    write.add_argument("--n", type=int, default=20_000, help="number of faces (default 20000)")
    write.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    write.add_argument("--seed", type=int, default=0)
    checked = commands.add_parser("check", help="check a folder in CelebA's layout and print a summary")
    checked.add_argument("folder", type=Path)
    for command in (write, checked):
        command.add_argument("--size", type=int, default=64, help="side of the images, or of the crop, in pixels (default 64)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "check":
            print(check(options.folder, options.size))
        else:
            out = options.out
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                problem = "the folder is not empty" if out.is_dir() else "this is a file"
                fail(out, None, problem, "Give a new or empty folder; nothing was written")
            write_folder(load("synthetic", options.size, n=options.n, seed=options.seed), out)
            print(f"{options.n} faces written to {out}")
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

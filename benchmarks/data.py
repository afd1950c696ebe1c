"""Batches from the cache against a loader of JPEG files: `python -m benchmarks data --json results/benchmarks/data.json`.

Synthetic faces are written into a temporary folder as 178x218 JPEG files in CelebA's layout. `jpeg`: torch's DataLoader with worker processes, every
image decoded, cropped, resized, mirrored at random and normalised when it is needed, as public training code does. `cache`: lib.data.Batches on the
memory-mapped uint8 images that this study decodes once. Parity: the same faces from both within 1e-5. Processor time includes the workers'.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import common
from benchmarks.common import rounded, spread
from lib.data import Batches, load
from lib.data.__main__ import write_synthetic

CLOSE = 1e-5
WIDTH, HEIGHT = 178, 218
TICK = os.sysconf("SC_CLK_TCK")


def write_jpegs(folder: Path, n: int) -> None:
    """n synthetic faces as 178x218 JPEG files in CelebA's layout, the square face between repeated border rows."""
    write_synthetic(folder, n, WIDTH)
    margin = (HEIGHT - WIDTH) // 2
    for png in sorted((folder / "img_align_celeba").glob("*.png")):
        rows = np.pad(np.asarray(Image.open(png)), ((margin, margin), (0, 0), (0, 0)), mode="edge")
        Image.fromarray(rows).save(png.with_suffix(".jpg"), quality=90)
        png.unlink()
    for table in folder.glob("*.txt"):
        table.write_text(table.read_text().replace(".png", ".jpg"))


class Faces(Dataset):
    """The files, as public training code reads them."""

    def __init__(self, folder: Path, size: int, flip: bool = True):
        self.files = sorted(folder.glob("*.jpg"))
        mirror = [transforms.RandomHorizontalFlip()] if flip else []
        last = [transforms.CenterCrop(WIDTH), transforms.Resize(size), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
        self.transform = transforms.Compose(mirror + last)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, k: int) -> torch.Tensor:
        return self.transform(Image.open(self.files[k]))


def endless(loader: DataLoader):
    """(batches without end, the processor seconds of the workers so far)."""
    iterator = iter(loader)
    workers = [w.pid for w in getattr(iterator, "_workers", [])]

    def batches():
        nonlocal iterator
        while True:
            yield from iterator
            iterator = iter(loader)  # persistent workers: the same processes

    def seconds() -> float:
        stats = [Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split() for pid in workers]
        return sum(int(s[11]) + int(s[12]) for s in stats) / TICK

    return batches(), seconds


def measure(args, folder: Path) -> tuple[dict, bool]:
    """The entry, and whether both paths give the same faces."""
    device, about = torch.device(args.device), common.machine(args.device)
    write_jpegs(folder / "set", args.n)
    faces = load(str(folder / "set"), args.size, cache_dir=folder / "cache")
    ours = Batches(faces, np.arange(len(faces)), faces.attribute_names, args.batch, 0, flip=True, device=device)
    files = folder / "set" / "img_align_celeba"
    some, same = Faces(files, args.size, flip=False), Batches(faces, np.arange(len(faces)), faces.attribute_names, args.batch, 0)(0)
    off = float((torch.stack([some[int(k)] for k in same.index]) - same.x).abs().max())
    out: dict[str, dict] = {}
    paths = [("jpeg", w) for w in args.workers]
    for name, workers in paths:
        options = {"persistent_workers": True} if workers else {}
        loader = DataLoader(Faces(files, args.size), args.batch, shuffle=True, drop_last=True, num_workers=workers, **options)
        batches, others = endless(loader)
        step = iter(range(10**9))

        def jpeg(batches=batches, others=others) -> dict:
            cpu, wall = time.process_time() + others(), time.perf_counter()
            for _ in range(args.jpeg_batches):
                next(batches).to(device)
            return {"images": (time.process_time() + others() - cpu, time.perf_counter() - wall)}

        def cache(step=step) -> dict:
            def work() -> None:
                for _ in range(args.cache_batches):
                    ours(next(step))

            return {"images": common.timed(work, device)}

        took = common.turns({"jpeg": jpeg, "cache": cache}, args.pairs)
        counts = {"jpeg": args.jpeg_batches * args.batch, "cache": args.cache_batches * args.batch}
        each = {n: [(t["images"][0] / counts[n], t["images"][1] / counts[n]) for t in took[n]] for n in took}
        out[f"{name}, {workers} workers"] = {
            "ratio": common.ratios(each["jpeg"], each["cache"]),
            "images_per_second": {n: spread([1 / t[1] for t in each[n]]) for n in each},
            "images_per_processor_second": {n: spread([1 / t[0] for t in each[n]]) for n in each},
        }
        del batches, loader
    entry = {"size": args.size, "batch": args.batch, "files": args.n, "machine": about, "against": out, "parity": {"images": rounded(off)}}
    return entry, off <= CLOSE


def main(argv: list[str]) -> int:
    """The command line."""
    options = common.parser("data", __doc__, papers=())
    options.add_argument("--vs", choices=["eager"], default="eager", help="the loader of files")
    options.add_argument("--size", type=int, default=64)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--workers", type=int, nargs="+", default=[2], help="worker processes of the loader; several numbers: one after the other")
    options.add_argument("--n", type=int, default=800, help="files to write")
    options.add_argument("--pairs", type=int, default=5, help="turns of each way that count")
    options.add_argument("--jpeg-batches", type=int, default=100, help="batches in a turn of the loader")
    options.add_argument("--cache-batches", type=int, default=1000, help="batches in a turn of the cache")
    args = options.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        entry, agree = measure(args, Path(folder))
    return int(not common.recorded("data", agree, args.json, f"{entry['size']}px batch {entry['batch']} {args.device}", entry))

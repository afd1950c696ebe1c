"""Do simple fills score on real faces what they are known to score, and what does ATI-GAN's R beside them?

`python -m benchmarks.inpainting FOLDER --size 128 --train 0 --json results/benchmarks/inpainting.json`

Composite PSNR and SSIM of the fills that need no network, under the protocol of ATI-GAN's Table 1, on all test faces of a folder in CelebA's
layout. KNOWN holds figures measured earlier on 150 test faces of another sample of CelebA; agreement within half a decibel says that hole,
crop and score are what they should be. `--mask center`: with the hole in the middle, the paper's other description of it.

`--train N`: R as ATI-GAN trains it in N iterations, after `--first K` updates on its L1 loss alone, and R on that loss throughout, with profile
`cpu`'s settings; and by how much each differs from ridge regression on the same faces. A training that was interrupted goes on. No judge is
needed: of rare attributes a few thousand faces make none that could be trusted.
"""

import argparse
import json
import platform
from pathlib import Path

import numpy as np

from lib import engine, inpainting, judges, metrics, runs
from lib.data import load, make_split
from lib.data.cache import default_dir
from lib.hole import composite
from lib.papers import atigan
from lib.params import configure

# composite PSNR in dB, by size and place of the hole
KNOWN = {
    (128, "nose"): {"grey": 20.85, "mean face": 23.53, "harmonic": 24.42, "ridge regression": 26.47},
    (128, "center"): {"grey": 20.46, "mean face": 23.26, "harmonic": 24.35, "ridge regression": 26.29},
    (64, "nose"): {"grey": 21.06, "mean face": 23.90, "harmonic": 24.22, "ridge regression": 26.78},
}


def networks(faces, split, mask: str, steps: int, first: int) -> dict[str, dict]:
    """R as trained with critic and G, and R alone, by name: fill, the settings it had, seconds of training."""
    whole, out, begun = configure(atigan, "cpu", {"size": faces.size, "mask": mask, "n_iter": steps, "r_first": first}), {}, []
    what = {"profile": "cpu", "seed": 0, "device": "cpu"}
    for name, cfg in {"R": whole, "R, L1 only": atigan.ablations(whole)["R, L1 only"]}.items():
        folder = default_dir() / "inpainting" / runs.run_id(runs.identity(atigan, cfg, faces, split, **what))  # newer code trains anew
        run = runs.start(atigan, cfg, faces, split, **what, run_dir=str(folder))
        models = engine.train(atigan, cfg, faces, split, run, begun=begun)
        run.complete()
        begun.append(folder)  # the updates of R alone are the same
        trained = {"iterations": steps, "first": first, "batch": cfg.batch, "width": cfg.r_width}
        trained |= {"seconds": round(run.record["seconds"]), "run": run.id}
        out[name] = {"fill": atigan.fill(models), "trained": trained}
    return out


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inpainting", description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--mask", choices=["nose", "center"], default="nose")
    parser.add_argument("--ssim", type=int, default=300, help="test faces of which SSIM is taken as well, at most")
    parser.add_argument("--train", type=int, default=0, help="iterations of ATI-GAN; 0: the fills without a network only")
    parser.add_argument("--first", type=int, default=0, help="updates of R alone before them")
    parser.add_argument("--json", type=Path, default=None, help="file to add the figures to")
    args = parser.parse_args()
    faces = load(args.folder, args.size)
    split, box = make_split(faces, "random"), atigan.box_of(atigan.Config(size=args.size, mask=args.mask))
    x = judges.as_images(faces, inpainting.test_faces(split, len(split.test)))
    some = np.sort(np.random.default_rng(metrics.SEED).permutation(len(x))[: args.ssim])
    out = {"set": faces.name, "size": args.size, "fingerprint": faces.fingerprint, "hole": vars(box), "fitted to": inpainting.RIDGE_FACES}
    out |= {"split": split.rule, "python": platform.python_version(), "fills": {}}
    learned = networks(faces, split, args.mask, args.train, args.first) if args.train else {}
    each = {}
    for name, fill in (inpainting.controls(faces, split, box) | {name: found["fill"] for name, found in learned.items()}).items():
        y = composite(x, inpainting.filled(fill, x), box)
        each[name] = metrics.psnr(y, x)
        psnr, ssim = metrics.mean(each[name]), metrics.mean(metrics.ssim(y[some], x[some]))
        known = KNOWN.get((args.size, args.mask), {}).get(name)
        out["fills"][name] = {"psnr": psnr._asdict(), "ssim": ssim._asdict(), "known_psnr": known}
        if name in learned:
            out["fills"][name] |= {"trained": learned[name]["trained"]}
            out["fills"][name] |= {"psnr_above_ridge": metrics.mean(each[name] - each["ridge regression"])._asdict()}
        gap = "" if known is None else f", known {known:.2f}, difference {psnr.value - known:+.2f}"
        interval = f"[{psnr.ci_low:.2f}, {psnr.ci_high:.2f}]"
        print(f"{name:22s} {psnr.value:.2f} dB {interval} n = {psnr.n}, SSIM {ssim.value:.3f} n = {ssim.n}{gap}", flush=True)
    if args.json:
        record = json.loads(args.json.read_text()) if args.json.exists() else {}
        record[f"{faces.name} at {args.size}" + (", central hole" if args.mask == "center" else "")] = out
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Are the attributes of the synthetic faces visible? `python -m benchmarks.visibility --n 20000 --json results/benchmarks/visibility.json`

Trains the study's own judges on the balanced set and asks, on faces of people they never saw: balanced accuracy per attribute; for pairs of a
face and its exact counterfactual, how often the verdict on the attribute flips as it should and how often the other verdicts stay; whether
pairs differ outside `region` (they must not); and the identity network's AUC on the natural set.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch

from lib import judges, metrics, synthetic
from lib.data import load, make_split


def flips(faces, split, judge: judges.Judge, attribute: str, pairs: int) -> dict[str, float]:
    """Of `pairs` test faces and their counterfactuals: share of verdicts that flip to the new label, share of other verdicts that stay, and
    the largest difference outside the region (of a [-1, 1] range)."""
    index = split.test[np.linspace(0, len(split.test) - 1, pairs).astype(int)]  # spread over all test people: neighbours share few
    before = judges.as_images(faces, index)
    old = torch.from_numpy(faces.column(attribute)[index].astype(np.int64))
    flipped, kept, outside = [], [], 0.0
    others = [i for i, a in enumerate(judge.names) if a != attribute and a not in metrics.ENTAILED.get(attribute, ())]
    for at in range(0, len(index), 64):
        params = faces.faces[torch.from_numpy(index[at : at + 64])]
        changed = synthetic.counterfactual(params, attribute, 1 - old[at : at + 64])
        one, two = synthetic.render(params, faces.size), synthetic.render(changed, faces.size)
        outside = max(outside, float(((one - two).abs() * ~synthetic.region(params, attribute, faces.size)).max()))
        said = [judge.probabilities(x) > 0.5 for x in (before[at : at + 64], two)]
        column = judge.names.index(attribute)
        flipped += list((said[1][:, column] == (1 - old[at : at + 64]).numpy().astype(bool)) & (said[0][:, column] != said[1][:, column]))
        kept += list((said[0][:, others] == said[1][:, others]).mean(1))
    return {"flips": float(np.mean(flipped)), "others_kept": float(np.mean(kept)), "largest_change_outside_region": outside}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.visibility", description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=20_000, help="faces of the balanced set")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=12, help="channels of the judges' first layer")
    parser.add_argument("--steps", type=int, default=1_000, help="SGD steps of the attribute judge, batch 64")
    parser.add_argument("--identity-steps", type=int, default=1_000, help="SGD steps of the identity judge, batch 64")
    parser.add_argument("--pairs", type=int, default=300, help="counterfactual pairs per attribute")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    faces = load("synthetic-balanced", args.size, n=args.n)
    split = make_split(faces, "random")
    judge = judges.attribute_judge(faces, split, args.width, args.steps)
    table = judge.scores.set_index("attribute")
    for attribute in judge.names:
        for name, value in flips(faces, split, judge, attribute, args.pairs).items():
            table.loc[attribute, name] = value
    print(table.round(4).to_string(), flush=True)
    natural = load("synthetic", args.size, n=args.n)
    identity = judges.identity_judge(natural, make_split(natural, "random"), args.width, args.identity_steps)
    print(identity.scores.round(4).to_string())
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        settings = {k: v for k, v in vars(args).items() if k != "json"}
        record = {"settings": settings, "machine": platform.machine(), "torch": torch.__version__, "processor_seconds": round(time.process_time())}
        record |= {"attributes": table.reset_index().to_dict("records"), "identity": identity.scores.to_dict("records")[0]}
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

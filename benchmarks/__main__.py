"""Is it fast, and is it still the same? `python -m benchmarks train --paper sagan --json results/benchmarks/train.json`, and the same with

    train    whole training steps against the plain loop that public code of these papers has; --precision bf16: ours in bf16
    gp       the gradient penalty alone
    infer    an edit, in milliseconds an image
    data     batches from the cache against a loader of JPEG files
    memory   the peak memory of training steps

Two ways are timed in turns in one process; the first turn of each is dropped; the ratio is the median over pairs of turns, its range stands
beside it. Times are of this process's processor and of the clock: on a busy machine believe the first. Exit code 1: the two ways do not give the
same numbers, and then the times mean nothing.
"""

import importlib
import sys

WHAT = ("train", "gp", "infer", "data", "memory")


def main(argv: list[str]) -> int:
    """The command line: the first word chooses, the rest is the benchmark's own. Returns the exit code."""
    if not argv or argv[0] not in WHAT:
        print(f"usage: python -m benchmarks {{{','.join(WHAT)}}} [options]; --help after one of them lists its options\n\n{__doc__}")
        return 0 if argv in (["-h"], ["--help"]) else 2
    return importlib.import_module(f"benchmarks.{argv[0]}").main(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

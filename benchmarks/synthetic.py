"""Speed and memory of the face renderer: `python -m benchmarks.synthetic --json results/benchmarks/synthetic.json`.

Prints faces per second at 32, 64 and 128 pixels (wall clock, and per second of processor time, which a busy machine disturbs less), parameters drawn
per second, and the peak memory of streaming faces through the renderer block by block, which must not grow with their number.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

import torch

from lib import synthetic


def speed(size: int, seconds: float, block: int = 512) -> tuple[float, float]:
    """(faces per second, faces per second of processor time) of sampling and rendering at `size` pixels for about `seconds`."""
    synthetic.render(synthetic.sample(0, range(64)), size)  # fills the caches of noise
    wall, cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        synthetic.render(synthetic.sample(1, range(done, done + block)), size)
        done += block
    return done / (time.perf_counter() - wall), done / (time.process_time() - cpu)


def peak_mib() -> float:
    """Largest resident size of this process so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthetic", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="per size")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    record = {"threads": torch.get_num_threads(), "torch": torch.__version__, "machine": platform.machine(), "cores": os.cpu_count()}
    record["load_average_at_start"] = round(os.getloadavg()[0], 1)
    print(record)
    for size in (32, 64, 128):
        wall, cpu = speed(size, args.seconds)
        record[f"faces_per_second_{size}px"], record[f"faces_per_processor_second_{size}px"] = round(wall), round(cpu)
        print(f"{size:4d} px  {wall:8.0f} faces/s  {cpu:8.0f} faces per second of processor time", flush=True)
    start = time.process_time()
    synthetic.sample(2, range(20000))
    record["parameters_per_processor_second"] = round(20000 / (time.process_time() - start))
    print(f"parameters  {record['parameters_per_processor_second']:8d} faces per second of processor time")
    before = peak_mib()
    for first in range(0, 8192, 512):
        synthetic.render(synthetic.sample(3, range(first, first + 512)), 64)
    record["peak_mib"], record["more_after_8192_faces_mib"] = round(peak_mib()), round(peak_mib() - before)
    print(f"peak memory {record['peak_mib']:8d} MiB after streaming 8,192 faces at 64 px in blocks of 512 ({peak_mib() - before:.0f} MiB more)")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

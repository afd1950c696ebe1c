"""Speed and memory of the face renderer: `python -m benchmarks.synthetic [seconds per size]`.

Prints faces per second at 32, 64 and 128 pixels (wall clock, and per second of processor time, which a busy machine disturbs less), parameters drawn
per second, and the peak memory of streaming faces through the renderer block by block, which must not grow with their number.
"""

import resource
import sys
import time

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


def main(seconds: float = 8.0) -> None:
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for size in (32, 64, 128):
        wall, cpu = speed(size, seconds)
        print(f"{size:4d} px  {wall:8.0f} faces/s  {cpu:8.0f} faces per second of processor time")
    start = time.perf_counter()
    synthetic.sample(2, range(20000))
    print(f"parameters  {20000 / (time.perf_counter() - start):8.0f} faces/s")
    before = peak_mib()
    for first in range(0, 8192, 512):
        synthetic.render(synthetic.sample(3, range(first, first + 512)), 64)
    print(f"peak memory {peak_mib():8.0f} MiB after streaming 8,192 faces at 64 px in blocks of 512 ({peak_mib() - before:.0f} MiB more than before)")


if __name__ == "__main__":
    main(*(float(a) for a in sys.argv[1:2]))

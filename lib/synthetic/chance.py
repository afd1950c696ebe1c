"""Random numbers without generators: a hash of (seed, counter, name), the same in any batch and on any machine."""

import zlib

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def _mix(h: Tensor) -> Tensor:
    """A bijective 32-bit integer hash (constants of Wellons' `lowbias32`) of int64 tensors that hold values below 2**32."""
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & _MASK
    h = ((h ^ (h >> 15)) * 0x846CA68B) & _MASK
    return h ^ (h >> 16)


def uniform(seed: Tensor, counter: Tensor, names: list[str]) -> Tensor:
    """(B, len(names)) float64 in (0, 1): a hash of (seed, counter, name); seed and counter (B,) int64."""
    h = _mix(seed & _MASK)
    for word in (seed >> 32, counter, counter >> 32):
        h = _mix((h + 0x9E3779B9 & _MASK) ^ (word & _MASK))
    keys = torch.tensor([zlib.crc32(name.encode()) for name in names], dtype=torch.int64, device=seed.device)
    h = _mix(_mix(h[:, None] ^ keys[None]) ^ (keys[None] >> 7))
    return (h.double() + 0.5) / 2**32

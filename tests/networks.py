"""What tests of networks share."""

import numpy as np
import torch


def count(net) -> int:
    """How many parameters it has."""
    return sum(p.numel() for p in net.parameters())


def shapes(layers, x, kinds) -> list[tuple[int, ...]]:
    """Shapes, without the batch, after every layer of these kinds of a Sequential."""
    out = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, kinds):
            out.append(tuple(x.shape[1:]))
    return out


def close(a, b, tolerance: float = 1e-9) -> bool:
    """Two numbers agree, relative to the second where that is above 1."""
    a, b = (float(torch.as_tensor(v).detach()) for v in (a, b))
    return abs(a - b) <= tolerance * max(1, abs(b))


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, float)))

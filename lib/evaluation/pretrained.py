"""Networks that need weights from elsewhere, and say so where they cannot be had: LPIPS, FID, Inception Score."""

import io
import pickle
import socket
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache, wraps
from http.client import HTTPException

import numpy as np
import torch
from torch import Tensor

# no network, a broken download, a damaged cached file, a missing package
UNREADABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, HTTPException, ModuleNotFoundError)


def fetched(make: Callable) -> Callable:
    """`make`, called once: what it returns, or 'unavailable: why'. Downloads give up after 5 seconds without an answer
    and say nothing: their messages name folders of this machine."""

    @cache
    @wraps(make)
    def found() -> object | str:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(5)
        try:
            with warnings.catch_warnings(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                return make()
        except UNREADABLE as error:
            return f"unavailable: ImageNet weights are neither cached nor reachable ({type(error).__name__})"
        finally:
            socket.setdefaulttimeout(before)

    return found


@fetched
def lpips_network() -> torch.nn.Module:
    """LPIPS with AlexNet."""
    import lpips  # not above: it takes ten seconds, and most pages need none

    return lpips.LPIPS(net="alex", verbose=False).eval()


@fetched
def inception() -> tuple:
    """torchmetrics' FrechetInceptionDistance and InceptionScore, their networks loaded once."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore

    return FrechetInceptionDistance(normalize=True), InceptionScore(normalize=True)


def lpips_distance(a: Tensor, b: Tensor) -> np.ndarray | str:
    """(B,) LPIPS (AlexNet), or 'unavailable: why'. Images below 64 pixels are enlarged to 64, which AlexNet needs."""
    net = lpips_network()
    if isinstance(net, str):
        return net
    if a.shape[-1] < 64:
        a, b = (torch.nn.functional.interpolate(t, size=64, mode="bilinear") for t in (a, b))
    with torch.no_grad():
        return torch.cat([net(x, y).flatten() for x, y in zip(a.split(64), b.split(64), strict=True)]).numpy()


def _computed(which: int, *parts: tuple[Tensor, dict]) -> float | str:
    """A metric of `inception` over pictures, each part with what else `update` wants to know of it."""
    both = inception()
    if isinstance(both, str):
        return both
    metric = both[which]
    metric.reset()
    for part, fields in parts:
        for x in part.split(64):
            metric.update(((x + 1) / 2).clamp(0, 1), **fields)
    value = metric.compute()
    return float(value[0] if isinstance(value, tuple) else value)


def fid(edited: Tensor, real: Tensor) -> float | str:
    """FID (torchmetrics, Inception pool 2048), or 'unavailable: why'. Biased upwards at small n; no interval."""
    return _computed(0, (real, {"real": True}), (edited, {"real": False}))


def inception_score(edited: Tensor) -> float | str:
    """Inception Score (torchmetrics, 10 splits), or 'unavailable: why'."""
    return _computed(1, (edited, {}))

"""Training batches as a pure function of (seed, step)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lib.data.errors import DataError, fail
from lib.data.faceset import FaceSet


@dataclass(frozen=True)
class Examples:
    """A training pool. index (M,) rows of the FaceSet; a row that is there several times counts as several examples. labels (M, A): values
    in place of the set's own labels, which are then out of reach (-1: unknown). planes (M, C, S, S) uint8: images that go with each
    example, as masks, mirrored with it."""

    index: np.ndarray
    labels: np.ndarray | None = None
    planes: np.ndarray | None = None


@dataclass
class Batch:
    """x (B,3,S,S) float32 in [-1,1]; y (B,A) float32 in {0,1} (-1 where an Examples hides the label); index (B,) int64 rows of the FaceSet;
    rng seeded by (seed, step), on the batch's device, for whatever else the step draws; flipped (B,) bool: which images are mirrored;
    planes (B,C,S,S) float32 in [0,1], or None."""

    x: Tensor
    y: Tensor
    index: Tensor
    rng: torch.Generator | None = None
    flipped: Tensor | None = None
    planes: Tensor | None = None


class Batches:
    """`batches(step)` is the same Batch whenever and wherever it is asked for.

    faces: the set; index: the rows to draw from (a side of a split), or Examples; attributes: names, the columns of y; batch: images per batch.
    sampler "natural": a seeded permutation per epoch, no repeats inside an epoch, a last partial batch is dropped. "balanced": the first
    half of every batch has attributes[0] = 0, the second half 1, each value running through its own permutations.
    flip: mirror each image with probability 1/2. DataError for less than a batch, or a balanced value without images.
    """

    def __init__(self, faces: FaceSet, index, attributes, batch: int, seed: int, sampler: str = "natural", flip: bool = False, device="cpu"):
        pool = index if isinstance(index, Examples) else Examples(index)
        index = np.array(pool.index, np.int64)
        if batch < 1 or (sampler == "balanced" and batch % 2):
            raise DataError(f"Batches: a {sampler} batch of {batch} images. Give a positive number, an even one for the balanced sampler.")
        if len(index) < batch:
            fail(faces.name, None, f"{len(index)} images to train on, less than a batch of {batch}", "Use more, or a smaller batch")
        self.batch, self.seed, self.sampler, self.flip = batch, seed, sampler, flip
        self.device = torch.device(device)
        labels = np.stack([faces.column(name) for name in attributes], 1)[index] if pool.labels is None else pool.labels
        values = labels[:, 0]
        if sampler == "balanced" and not np.isin(values, (0, 1)).all():
            fail(faces.name, None, f"{attributes[0]} has hidden labels, which cannot be balanced", "Use the natural sampler")
        self._strata = [np.flatnonzero(values == v) for v in (0, 1)] if sampler == "balanced" else [np.arange(len(index))]
        for value, stratum in enumerate(self._strata):
            if not len(stratum):
                fail(faces.name, None, f"no image of the split has {attributes[0]} = {value}", "Use the natural sampler or another attribute")
        self._order = lru_cache(maxsize=4)(self._permuted)  # of two values, the epochs on both sides of a boundary
        self._labels = torch.from_numpy(labels).to(self.device, torch.float32)
        self._images, self._index, self._planes = faces.images, index, pool.planes

    def _permuted(self, stratum: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 2, stratum, epoch]).permutation(self._strata[stratum])

    def rows(self, step: int) -> np.ndarray:
        """(B,) int64 positions inside the split's index that batch `step` holds."""
        if self.sampler == "natural":
            epoch, k = divmod(step, len(self._strata[0]) // self.batch)
            return self._order(0, epoch)[k * self.batch : (k + 1) * self.batch]
        half, parts = self.batch // 2, []
        for stratum, members in enumerate(self._strata):  # one endless row of permutations per value, cut into half batches
            epochs, offsets = np.divmod(step * half + np.arange(half), len(members))
            parts += [self._order(stratum, epoch)[offsets[epochs == epoch]] for epoch in np.unique(epochs)]
        return np.concatenate(parts)

    def __call__(self, step: int) -> Batch:
        """Batch number `step` >= 0."""
        rows = self.rows(step)
        picked, index = (torch.from_numpy(chosen).to(self.device) for chosen in (rows, self._index[rows]))
        flipped = np.zeros(self.batch, bool)
        if self.flip:
            flipped = np.random.default_rng([self.seed, 3, step]).random(self.batch) < 0.5
        flipped = torch.from_numpy(flipped).to(self.device)

        def mirrored(pixels: np.ndarray) -> Tensor:
            pixels = torch.from_numpy(pixels).to(self.device)
            if self.flip:  # while it is a quarter of the bytes
                pixels = torch.where(flipped[:, None, None, None], pixels.flip(-1), pixels)
            return pixels.to(torch.float32)

        x = mirrored(self._images[self._index[rows]]).div_(127.5).sub_(1)
        planes = None if self._planes is None else mirrored(self._planes[rows]).div_(255)
        rng = torch.Generator(self.device).manual_seed(int(np.random.SeedSequence([self.seed, 4, step]).generate_state(1, np.uint32)[0]))
        return Batch(x, self._labels[picked], index, rng, flipped, planes)

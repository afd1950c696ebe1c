"""Edited faces: which test faces a method edits, what an edit may touch, what the right answer is, and two floors.

Images are (B, 3, S, S) in [-1, 1]. Every method edits the same seeded choice of test faces."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lib import synthetic
from lib.data import FaceSet, Split, to_uint8
from lib.data.regions import BOXES, region_source
from lib.data.splits import require_test_faces
from lib.evaluation.judges import Judges, as_images, blurred

SEED = 20_260_101  # of every bootstrap and every choice of test images
DIRECTIONS = ((1, "+"), (0, "-"))  # target label, sign in tables
BLUR = 0.01  # of the side: the Gaussian under which a success should survive (`Seen.blurred`)


@dataclass(frozen=True)
class Seen:
    """What the judges make of n pictures."""

    a: np.ndarray  # (n, A) probabilities of judge a
    b: np.ndarray
    embedding: np.ndarray  # (n, E)
    features: np.ndarray  # (n, F) of judge b
    blurred_a: np.ndarray  # (n, A) after a mild blur
    blurred_b: np.ndarray


def judged(x: Tensor, judges: Judges) -> Seen:
    """The judges' view of pictures."""
    soft = blurred(x, BLUR * x.shape[-1])
    return Seen(*judges.probabilities(x), judges.identity.embed(x), judges.b.features(x), *judges.probabilities(soft))


@dataclass(eq=False)
class Case:
    """The test faces that are edited in one direction of one attribute; all methods share it. Tensors on the CPU."""

    attribute: str
    target: int
    index: np.ndarray  # (n,) rows of the FaceSet
    people: np.ndarray  # (n,)
    x: Tensor  # the faces
    region: Tensor  # (n, 1, S, S) bool: the pixels an edit may touch
    region_source: str
    truth: Tensor | None  # the exact counterfactual; None for real faces
    real: Tensor  # test faces that have the target label
    _seen: dict = field(default_factory=dict, repr=False)

    @property
    def row(self) -> str:
        """How tables call it: 'Smiling +'."""
        return f"{self.attribute} {'+' if self.target else '-'}"

    def seen(self, pictures: str, judges: Judges) -> Seen:
        """The judges' view of 'x', 'truth' or 'real', computed once."""
        key = pictures, judges.a.id, judges.b.id, judges.identity.id
        if key not in self._seen:
            self._seen[key] = judged(getattr(self, pictures), judges)
        return self._seen[key]


@dataclass(eq=False)
class Edited:
    """What a method made of a Case: y (n, 3, S, S), mask (n, 1, S, S) in [0, 1] or None, milliseconds per image."""

    case: Case
    y: Tensor
    mask: Tensor | None = None
    ms: float = float("nan")

    def __getattr__(self, name: str):
        if name.startswith("_") or "case" not in vars(self):
            raise AttributeError(name)
        return getattr(self.case, name)  # attribute, target, index, x, region, truth, real, row


def test_index(faces: FaceSet, split: Split, attribute: str, label: int, n: int) -> np.ndarray:
    """At most n test faces with that label: the same seeded choice for every method."""
    have = split.test[faces.column(attribute)[split.test] == label]
    return np.sort(np.random.default_rng([SEED, label]).permutation(have)[:n])


def region_of(faces: FaceSet, index: np.ndarray, attribute: str) -> tuple[Tensor, str]:
    """(n, 1, S, S) bool: the pixels an edit may touch, exact on drawn faces, a landmark box on real ones (the whole
    picture for an attribute that has none, as Male); and where it comes from."""
    if faces.faces is not None:
        parts = [synthetic.region(faces.faces[i], attribute, faces.size) for i in torch.from_numpy(index).split(64)]
        return torch.cat(parts), "exact region of the counterfactual"
    if attribute not in BOXES or faces.landmarks is None:
        return torch.ones(len(index), 1, faces.size, faces.size, dtype=torch.bool), "the whole picture, for want of a landmark region"
    return BOXES[attribute](faces, index), f"box around {region_source(faces)}"


def counterfactuals(faces: FaceSet, index: np.ndarray, attribute: str, target: int) -> Tensor | None:
    """(n, 3, S, S): the same drawn faces with the attribute set to target, else equal. None for real faces."""
    if faces.faces is None:
        return None
    changed = [synthetic.counterfactual(faces.faces[i], attribute, target) for i in torch.from_numpy(index).split(64)]
    # test faces come from a uint8 cache, so their counterfactuals are rounded as such a cache would
    drawn = torch.cat([synthetic.render(face, faces.size) for face in changed])
    return torch.from_numpy(to_uint8(drawn)).float() / 127.5 - 1


def test_case(faces: FaceSet, split: Split, attribute: str, target: int, n: int) -> Case:
    """At most n test faces whose label is not the target, and n that do. DataError for fewer than two of either."""
    require_test_faces(faces, split, attribute)
    index, have = test_index(faces, split, attribute, 1 - target, n), test_index(faces, split, attribute, target, n)
    region, source = region_of(faces, index, attribute)
    truth = counterfactuals(faces, index, attribute, target)
    return Case(attribute, target, index, faces.identities[index], as_images(faces, index), region, source, truth, as_images(faces, have))


def test_cases(faces: FaceSet, split: Split, attributes, n: int) -> dict[tuple[str, int], Case]:
    """(attribute, target) -> Case, both directions of every attribute."""
    return {(a, t): test_case(faces, split, a, t, n) for a in attributes for t, _ in DIRECTIONS}


test_index.__test__ = test_case.__test__ = test_cases.__test__ = False  # not tests of ours, whatever pytest thinks


def apply(edit: Callable, case: Case, device: str = "cpu") -> Edited:
    """Edit a case. edit: (attribute, x, target) -> object with .image and .mask."""
    y, mask, ms = run_edit(edit, case.attribute, case.x, case.target, device)
    return Edited(case, y, mask, ms)


def edit_cases(by: dict[str, Callable], cases: dict[object, Case], device: str = "cpu") -> dict[str, dict]:
    """{method: {case's key: Edited}}: all methods, of which `by` has the editors, on the same cases."""
    return {method: {key: apply(edit, case, device) for key, case in cases.items()} for method, edit in by.items()}


def clock(device: str | torch.device) -> float:
    """Seconds of the processor on a CPU, whatever else runs there; of the wall on another device."""
    return time.process_time() if torch.device(device).type == "cpu" else time.perf_counter()


def run_edit(edit: Callable, attribute: str, x: Tensor, target, device: str = "cpu") -> tuple[Tensor, Tensor | None, float]:
    """Edit faces x (n, 3, S, S) in batches of 64: (edited faces, masks or None, milliseconds per image), on the CPU.
    target: a number, or (n, 1) labels."""
    ys, masks, began = [], [], clock(device)
    targets = target.to(device).split(64) if isinstance(target, Tensor) else [target] * len(x.split(64))
    for part, wanted in zip(x.split(64), targets, strict=True):
        result = edit(attribute, part.to(device), wanted)
        ys.append(result.image.cpu())
        masks += [] if result.mask is None else [result.mask.cpu()]
    ms = 1000 * (clock(device) - began) / len(x)
    return torch.cat(ys), torch.cat(masks) if masks else None, ms


def unlabelled_cases(faces: FaceSet, index: np.ndarray, judges: Judges, attributes, n: int) -> dict[tuple, Case]:
    """(attribute, target) -> Case of a set without labels: of a seeded choice of the faces `index` at most n in which
    both judges see the opposite of the target; real: those in which both see it. None where there are no such faces."""
    index, out = np.random.default_rng([SEED, 4]).permutation(index)[:4_000], {}
    a, b = (p > 0.5 for p in judges.probabilities(as_images(faces, index)))
    for attribute in attributes:
        k = judges.column(attribute)
        for target, _ in DIRECTIONS:
            lacks, has = (np.sort(index[(a[:, k] == v) & (b[:, k] == v)][:n]) for v in (1 - target, target))
            if len(lacks) and len(has):
                x, real, region = as_images(faces, lacks), as_images(faces, has), region_of(faces, lacks, attribute)
                out[attribute, target] = Case(attribute, target, lacks, faces.identities[lacks], x, *region, None, real)
    return out


# ------------------------------------------------------------------------------------------------ floors and ceiling


def floors(case: Case, faces: FaceSet, split: Split, judges: Judges) -> dict[str, Edited]:
    """What every method is compared with: `unedited`; `constant G`, which answers every face with one and the same
    picture, the training face whose target both judges are surest of; `mean face`, the mean of the training faces
    that have the target; on drawn faces `counterfactual`, the exact answer."""
    have = split.train[faces.column(case.attribute)[split.train] == case.target][:500]
    pictures = as_images(faces, have)
    i = judges.column(case.attribute)
    sure = np.minimum(*(p[:, i] if case.target else 1 - p[:, i] for p in judges.probabilities(pictures)))
    out = {"unedited": Edited(case, case.x)}
    for name, picture in (("constant G", pictures[int(sure.argmax())]), ("mean face", pictures.mean(0))):
        out[name] = Edited(case, picture.expand_as(case.x))
    return out | ({} if case.truth is None else {"counterfactual": Edited(case, case.truth)})

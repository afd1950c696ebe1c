"""The judges: two attribute classifiers of different build and a face recognition network, trained once per data set.

They are methods with the contract of `lib.papers`, trained by the same loop on the training split only. Two attribute
judges, because one network's verdict on pictures that another network was trained to please is no evidence: an edit is
a success where both see it (`Judges.sees`). Both learn from spoiled faces (`augmented`), so that a few bright pixels do
not decide."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from math import cos, pi
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor, nn

from lib.data import Examples, FaceSet, Split
from lib.data.errors import fail
from lib.data.faceset import SYNTHETIC, outline
from lib.evaluation.resnet import ResNet18
from lib.training import models
from lib.training.config import listed, pick, require, require_each
from lib.training.loop import Stage, Update
from lib.training.models import Job

TITLE = "The judges of edited faces"
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("body", "head")
SECONDS = {"places": 0.25, "resnet18": 0.4, "identity": 0.25}  # processor seconds of an update of profile cpu, one thread, bf16

# Attributes that any of the papers edits or that an edit can spoil; a judge learns those that the data set has.
JUDGED = (
    "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Eyeglasses", "Goatee", "Gray_Hair", "Male", "Mouth_Slightly_Open", "Mustache",
    "No_Beard", "Pale_Skin", "Receding_Hairline", "Sideburns", "Smiling", "Wearing_Hat", "Wearing_Lipstick", "Young",
)  # fmt: skip
# What a 0.3 M parameter classifier reached on 10,000 half-size CelebA faces at 64x64 (identity-disjoint). A judge
# below that is broken.
CELEBA_REFERENCE = {"Smiling": 0.876, "Male": 0.932, "Eyeglasses": 0.964, "Blond_Hair": 0.929, "Mouth_Slightly_Open": 0.847}
SMALL_FACES = 0.02  # how far below that figure a judge of faces under 64 pixels may stay: the reference saw four times as many pixels
NAMES = ("judge a", "judge b", "identity network")  # of the three jobs
TRUSTED = 0.75  # balanced accuracy, of both judges, from which verdicts on an attribute are used at all


# ------------------------------------------------------------------------------------------------ networks


class PlaceNet(nn.Module):
    """Seven 3x3 convolutions with batch norm and ReLU. (B, 3, S, S) in [-1, 1] -> features (B, 16 * 8 width), on a
    4x4 grid.

    Faces are aligned, so what is seen where matters; the grid keeps it, where a ResNet-18's mean over all places
    loses it. The stem's stride brings any S from 64 on to 32x32 .. 63x63 first. """

    def __init__(self, width: int, size: int):
        super().__init__()
        stem = 2 ** max(0, int(np.log2(size / 32)))
        layers, channels = [], 3
        for k, (out, stride) in enumerate(((1, stem), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1))):
            kernel = 3 if k else 2 * int(np.log2(stem)) + 3
            layers += [nn.Conv2d(channels, out * width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out * width), nn.ReLU()]
            channels = out * width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.features = 16 * channels

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def pooled(self, h: Tensor) -> Tensor:
        """(B, 16 * 8 width) -> (B, 8 width): the mean over the grid."""
        return h.unflatten(1, (-1, 16)).mean(2)


class FaceNet(nn.Module):
    """A PlaceNet and a linear layer with batch norm: (B, 3, S, S) in [-1, 1] -> (B, 128), whose direction says who."""

    def __init__(self, width: int, size: int):
        super().__init__()
        places, self.features = PlaceNet(width, size), 128
        self.body = nn.Sequential(places, nn.Linear(places.features, 128, bias=False), nn.BatchNorm1d(128))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


BODIES = {"places": PlaceNet, "resnet18": ResNet18, "identity": FaceNet}


@dataclass(frozen=True)
class Config:
    """One judge."""

    kind: str = "places"  # places and resnet18 judge attributes, identity recognises people
    attributes: str = ""  # that it judges, joined by commas; of an identity network: empty
    people: int = 0  # of an identity network: the training identities with two images or more, its classes
    size: int = 64
    width: int = 16  # channels of the first layer
    batch: int = 64
    steps: int = 6_000
    lr: float = 0.2  # of SGD with Nesterov momentum 0.9 and weight decay 5e-4: up over the first tenth, then down a half cosine
    augment: bool = True  # see `augmented`

    def __post_init__(self):
        pick(BODIES, self.kind, "kind")
        require_each(self, "at least 1", "size", "width", "batch", "steps")
        require(bool(self.attributes) != bool(self.people), "attributes", self.attributes, "given for an attribute judge alone")


PROFILES = {
    "smoke": lambda: SimpleNamespace(width=2, steps=4, batch=16),
    "cpu": lambda: SimpleNamespace(width=16, steps=6_000, batch=64),
    "gpu": lambda: SimpleNamespace(width=32, steps=12_000, batch=64),
    "paper": lambda: SimpleNamespace(width=32, steps=30_000, batch=64),
}


@dataclass
class Nets:
    body: nn.Module
    head: nn.Linear


def build(cfg: Config) -> Nets:
    """The body, and a linear layer to one logit per attribute or one cosine per person."""
    width = 2 * cfg.width if cfg.kind == "resnet18" else cfg.width
    body = BODIES[cfg.kind](width, cfg.size)
    return Nets(body, nn.Linear(body.features, cfg.people or len(listed(cfg.attributes)), bias=not cfg.people))


# ------------------------------------------------------------------------------------------------ training


def augmented(x: Tensor, rng: torch.Generator | None) -> Tensor:
    """Faces (B, 3, S, S) in [-1, 1] as a bad camera would show them; the same shape and range.

    Each is shifted by up to 3/64 of its side (reflected at the border), a third blurred (Gaussian, sigma up to S/50),
    all recoloured (within 20 %), half given noise (up to 0.1), a quarter compressed as JPEG (quality 30 to 95)."""
    n, size = len(x), x.shape[-1]

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, device=x.device, generator=rng) * (high - low) + low

    move = torch.eye(2, 3, device=x.device).repeat(n, 1, 1)
    move[:, :, 2] = torch.cat([uniform(-3 / 32, 3 / 32), uniform(-3 / 32, 3 / 32)], 1).flatten(1)
    x = F.grid_sample(x, F.affine_grid(move, x.shape, align_corners=False), padding_mode="reflection", align_corners=False)
    blurry = blurred(x, float(torch.rand((), device=x.device, generator=rng)) * size / 50)
    x = torch.where(uniform(0, 1) < 1 / 3, blurry, x)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(0.8, 1.2)
    centre = x.mean((1, 2, 3), keepdim=True)
    x = centre + (x - centre) * uniform(0.8, 1.2) + uniform(-0.2, 0.2)
    noise = torch.randn(x.shape, device=x.device, generator=rng)
    x = (x + noise * uniform(-0.1, 0.1).clamp_min(0)).clamp(-1, 1)
    quality = (30 + 65 * torch.rand(n // 4, device=x.device, generator=rng)).long().tolist()
    return torch.cat([jpeg(x[: n // 4], quality), x[n // 4 :]])


def blurred(x: Tensor, sigma: float) -> Tensor:
    """(B, 3, S, S) convolved with a Gaussian of `sigma` pixels, reflected at the border."""
    radius = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=x.device) / max(sigma, 1e-3)) ** 2)
    kernel = (kernel / kernel.sum()).to(x.dtype)
    for shape, pad in (((1, 1, 1, -1), (radius, radius, 0, 0)), ((1, 1, -1, 1), (0, 0, radius, radius))):
        x = F.conv2d(F.pad(x, pad, mode="reflect"), kernel.view(shape).repeat(x.shape[1], 1, 1, 1), groups=x.shape[1])
    return x


def jpeg(x: Tensor, quality: list[int]) -> Tensor:
    """(B, 3, S, S) in [-1, 1] -> the same faces as JPEG of the given qualities shows them."""
    from torchvision.io import decode_jpeg, encode_jpeg  # not above: it takes seconds, and a wrong parameter needs none

    pictures = ((x + 1) * 127.5).round().byte().cpu()
    out = [decode_jpeg(encode_jpeg(p, q)) for p, q in zip(pictures, quality, strict=True)]
    return torch.stack(out).to(x.device).float() / 127.5 - 1 if out else x


def attribute_loss(nets: Nets, batch, cfg: Config, rate: tuple[float, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    """Binary cross-entropy, mean over batch and attributes, rarer values weighted by the fourth root of their rarity
    (rate: each attribute's share)."""
    x = augmented(batch.x, batch.rng) if cfg.augment else batch.x
    share = torch.tensor(rate, device=x.device).clamp(1e-3, 1 - 1e-3)
    weight = torch.where(batch.y > 0.5, (0.5 / share) ** 0.25, (0.5 / (1 - share)) ** 0.25)
    return F.binary_cross_entropy_with_logits(nets.head(nets.body(x)).float(), batch.y, weight=weight), {}


def identity_loss(nets: Nets, batch, cfg: Config, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Softmax over people on unit vectors (scale 16), mean over the batch. label: the class of every row of the set."""
    x = augmented(batch.x, batch.rng) if cfg.augment else batch.x
    cosine = F.normalize(nets.body(x).float(), dim=1) @ F.normalize(nets.head.weight, dim=1).T
    return F.cross_entropy(16 * cosine, label[batch.index.cpu()].to(x.device)), {}


def schedule(cfg: Config) -> Callable[[int], float]:
    """Factor on the rate: up over the first tenth, then down a half cosine."""
    rise = max(1, cfg.steps // 10)
    return lambda step: (step + 1) / rise if step < rise else 0.5 * (1 + cos(pi * (step - rise) / max(1, cfg.steps - rise)))


SGD = partial(torch.optim.SGD, momentum=0.9, weight_decay=5e-4, nesterov=True)  # (parameters, lr)


def stages(cfg: Config) -> list[Stage]:
    """One update a cycle. The loss needs what only the data tell (rarities, who is who), found with its pool."""
    known: dict = {}

    def pool(faces: FaceSet, split: Split, seed: int) -> Examples:
        if cfg.people:
            classes, index = people(faces, split)
            known["label"] = torch.from_numpy(np.searchsorted(classes, faces.identities))
            return Examples(index, np.zeros((len(index), 1), np.float32))
        known["rate"] = tuple(float(faces.column(a)[split.train].mean()) for a in listed(cfg.attributes))
        return Examples(split.train)

    def loss(nets, batch, cfg):
        return (identity_loss if cfg.people else attribute_loss)(nets, batch, cfg, **known)

    update = Update("judge", ("body", "head"), loss, cfg.lr, schedule=schedule(cfg), optimiser=SGD)
    names = listed(cfg.attributes) or ("Male",)  # an identity network has no use for a label
    return [Stage(cfg.kind, cfg.kind, names, (update,), cfg.steps, cfg.batch, flip=True, examples=pool)]


def people(faces: FaceSet, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The training identities with two images or more, ascending, and the rows of these images. DataError for fewer
    than two, or a single person among the test faces."""
    ids, counts = np.unique(faces.identities[split.train], return_counts=True)
    classes = ids[counts >= 2]
    tested = len(np.unique(faces.identities[split.test]))
    if min(len(classes), tested) < 2:
        problem = f"{len(classes)} of {len(ids)} training people have two images or more, {tested} people test"
        fail(faces.name, None, problem, "Identity needs two of each: give more people, or correct identity_CelebA")
    return classes, split.train[np.isin(faces.identities[split.train], classes)]


# ------------------------------------------------------------------------------------------------ verdicts


def as_images(faces: FaceSet, index: np.ndarray) -> Tensor:
    """(len(index), 3, S, S) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(faces.images[index])).float() / 127.5 - 1


@dataclass(frozen=True, eq=False)
class Judge:
    """A trained judge. id: of its model."""

    nets: Nets
    names: tuple[str, ...]
    id: str
    device: str = "cpu"

    @torch.no_grad()
    def _run(self, x: Tensor, function: Callable) -> Tensor:
        out = [function(self.nets.body(part.to(self.device))).cpu() for part in x.split(256)]
        return torch.cat(out) if out else torch.empty(0)

    def probabilities(self, x: Tensor) -> np.ndarray:
        """Attribute judge: (B, 3, S, S) in [-1, 1] -> (B, len(names)) probabilities of each attribute."""
        return self._run(x, lambda h: self.nets.head(h).sigmoid()).numpy()

    def features(self, x: Tensor) -> np.ndarray:
        """Features before the last layer, averaged over the picture: (B, 8 width)."""
        return self._run(x, getattr(self.nets.body, "pooled", lambda h: h)).numpy()

    def embed(self, x: Tensor) -> np.ndarray:
        """Identity network: unit vectors (B, E); their dot product is the identity cosine."""
        return self._run(x, partial(F.normalize, dim=1)).numpy()


@dataclass(frozen=True, eq=False)
class Judges:
    """The attribute judges (a: PlaceNet, b: ResNet-18), the identity network, and the faces that they are scored on."""

    a: Judge
    b: Judge
    identity: Judge
    faces: FaceSet
    split: Split

    @property
    def names(self) -> tuple[str, ...]:
        return self.a.names

    def column(self, attribute: str) -> int:
        """Where an attribute stands among `names`."""
        return self.names.index(attribute)

    def probabilities(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Of judge a and of judge b: each (B, A)."""
        return self.a.probabilities(x), self.b.probabilities(x)

    def sees(self, x: Tensor, attribute: str, target: int) -> tuple[np.ndarray, np.ndarray]:
        """(B,) bool of judge a and of judge b: it sees the target label."""
        i = self.column(attribute)
        return tuple((p[:, i] > 0.5) == bool(target) for p in self.probabilities(x))

    @cached_property
    def scores(self) -> pd.DataFrame:
        """How both attribute judges do on unedited test faces: judge, attribute, accuracy, balanced_accuracy,
        majority_rate, n."""
        x, rows = as_images(self.faces, self.split.test), []
        for name, judge in (("a", self.a), ("b", self.b)):
            verdicts = judge.probabilities(x) > 0.5
            for i, attribute in enumerate(judge.names):
                seen, truth = verdicts[:, i], self.faces.column(attribute)[self.split.test]
                rate = truth.mean()
                # a rare attribute may be absent from a small test split
                balanced = balanced_accuracy_score(truth, seen) if 0 < rate < 1 else float("nan")
                rows.append((name, attribute, (seen == truth).mean(), balanced, max(rate, 1 - rate), len(truth)))
        return pd.DataFrame(rows, columns=["judge", "attribute", "accuracy", "balanced_accuracy", "majority_rate", "n"])

    @cached_property
    def verification(self) -> dict[str, float]:
        """The identity network on up to 2,000 test faces of people it never saw: AUC over all pairs, the cosine that
        1 % of the impostor pairs exceed, and the numbers of pairs."""
        test = self.split.test[:2000]
        vectors, who = self.identity.embed(as_images(self.faces, test)), self.faces.identities[test]
        i, j = np.triu_indices(len(test), 1)
        same, cosine = who[i] == who[j], (vectors @ vectors.T)[i, j]
        return {
            "auc": float(roc_auc_score(same, cosine)) if 0 < same.mean() < 1 else float("nan"),
            "impostor_99": float(np.quantile(cosine[~same], 0.99)),
            "genuine": int(same.sum()),
            "impostor": int((~same).sum()),
            "n": len(test),
        }

    @cached_property
    def trusted(self) -> tuple[str, ...]:
        """Attributes whose edits the judges may decide."""
        return tuple(a for a in self.names if not self.doubts(a))

    def doubts(self, attribute: str) -> str:
        """Why the judges must not decide edits of an attribute: one's balanced accuracy is below TRUSTED or, on real
        faces, its accuracy below CELEBA_REFERENCE. Empty where they may."""
        for r in self.scores[self.scores["attribute"] == attribute].itertuples():
            if not r.balanced_accuracy >= TRUSTED:
                return f"judge {r.judge}'s balanced accuracy on {attribute} is {r.balanced_accuracy:.3f}, below {TRUSTED}"
            if self.faces.faces is None and attribute in CELEBA_REFERENCE:
                reference = CELEBA_REFERENCE[attribute] - (SMALL_FACES if self.faces.size < 64 else 0)
                people = len(np.unique(self.faces.identities[self.split.test]))
                high = binomtest(round(r.accuracy * people), people).proportion_ci(method="wilson").high
                if high < reference:
                    return f"judge {r.judge}'s accuracy on {attribute} is {r.accuracy:.3f} (n = {r.n}), below the reference {reference:.3f}"
        return ""


def jobs(faces: FaceSet, split: Split, profile: str, seed: int = 0, **place) -> dict[str, Job]:
    """The three models that judge a face set: "judge a", "judge b", "identity network".

    On the natural drawn faces the attribute judges learn from the twins of the training faces: the same people in the
    same pictures, with attributes drawn independently, so that none is read off the others. place: further fields of
    Job."""
    names = ",".join(a for a in JUDGED if a in faces.attribute_names)
    settings = vars(pick(PROFILES, profile, "profile")())
    pool = faces
    if faces.name == SYNTHETIC[0]:
        pool = outline(SYNTHETIC[1], faces.size, n=len(faces), seed=int(faces.faces.seed[0]))  # drawn only if it is to be trained on
    classes, rows = people(faces, split)

    def job(pool: FaceSet, images: int, seed: int, **what) -> Job:
        cfg = Config(size=faces.size, **settings | {"batch": min(settings["batch"], images)} | what)
        return Job(sys.modules[__name__], cfg, pool, split, seed, **place)

    return {
        "judge a": job(pool, len(split.train), seed, kind="places", attributes=names),
        "judge b": job(pool, len(split.train), seed + 1, kind="resnet18", attributes=names),
        "identity network": job(faces, len(rows), seed, kind="identity", people=len(classes)),
    }


def judges_of(found: dict[str, Job], faces: FaceSet, split: Split, device: str = "cpu") -> Judges:
    """The trained judges of `jobs`. Raises ModelError if one is not trained."""
    parts = []
    for job in found.values():
        (nets,) = models.load(job, device).values()
        parts.append(Judge(nets, listed(job.cfg.attributes), job.id, device))
    return Judges(*parts, faces, split)

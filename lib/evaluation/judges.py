"""The judges: an attribute classifier and an identity network, trained once per data set on its training split only.

They are scored on held-out real images before use; their scores and their hash travel with every number they produce.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor, nn
from tqdm import tqdm

from lib.data import Batches, FaceSet, Split, load
from lib.data.cache import default_dir, locked
from lib.training.loop import save_atomically
from lib.sources import sources

# Attributes that any of the papers edits or that an edit can spoil; a judge learns those that the data set has.
JUDGED = (
    "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Eyeglasses", "Goatee", "Gray_Hair", "Male", "Mouth_Slightly_Open", "Mustache",
    "No_Beard", "Pale_Skin", "Receding_Hairline", "Sideburns", "Smiling", "Wearing_Hat", "Wearing_Lipstick", "Young",
)  # fmt: skip
# What a 0.3 M parameter classifier reached on 10,000 half-size CelebA faces at 64x64 (identity-disjoint). A judge below that is broken.
CELEBA_REFERENCE = {"Smiling": 0.876, "Male": 0.932, "Eyeglasses": 0.964, "Blond_Hair": 0.929, "Mouth_Slightly_Open": 0.847}
SMALL_FACES = 0.02  # how far below that figure a judge of faces under 64 pixels may stay: the reference saw four times as many pixels
TRUSTED = 0.75  # balanced accuracy from which a verdict on an attribute is used at all


class JudgeTooWeak(RuntimeError):
    """A judge that must not judge: its held-out score is below the reference; the message says which, by how much, and the remedy."""


class PlaceNet(nn.Module):
    """Seven 3x3 convolutions of a given width, each with batch norm and ReLU. (B, 3, S, S) in [-1, 1] -> features (B, 16 * 8 width), on a 4x4 grid.

    Faces are aligned, so what is seen where matters; the grid keeps it, where a ResNet-18's mean over all places loses it. On 32-pixel
    synthetic faces, width 8, after the same 250 steps: 91 % of the verdicts on exact counterfactuals flipped, against its 49 %, at a third of
    its time.
    The stem's stride brings any S from 64 on to 32x32 .. 63x63 first.
    """

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

    def forward(self, x):
        return self.body(x)

    def pooled(self, h):
        """(B, 16 * 8 width) -> (B, 8 width): the mean over the grid."""
        return h.unflatten(1, (-1, 16)).mean(2)


class FaceNet(nn.Module):
    """A PlaceNet and a linear layer to `embedding` numbers with batch norm: (B, 3, S, S) in [-1, 1] -> (B, embedding), whose direction says who.

    On 32-pixel synthetic faces, width 8, after 500 steps: AUC .982 on people it never saw.
    """

    def __init__(self, width: int, size: int, embedding: int = 128):
        super().__init__()
        places = PlaceNet(width, size)
        self.body = nn.Sequential(places, nn.Linear(places.features, embedding, bias=False), nn.BatchNorm1d(embedding))
        self.features = embedding

    def forward(self, x):
        return self.body(x)

    def pooled(self, h):
        """Features as one vector per image: they already are."""
        return h


@dataclass
class Judge:
    """A trained judge. `scores` is a frame (one row per attribute, or one row of verification figures); `id` the hash of its weights."""

    kind: str
    body: nn.Module  # PlaceNet or FaceNet; lib.verification's recognisers have their own
    head: nn.Linear
    names: tuple[str, ...]
    scores: pd.DataFrame
    id: str
    device: torch.device

    @torch.no_grad()
    def _run(self, x: Tensor, function) -> Tensor:
        out = [function(self.body(part.to(self.device, memory_format=torch.channels_last))).cpu() for part in x.split(256)]
        return torch.cat(out) if out else torch.empty(0)

    def probabilities(self, x: Tensor) -> np.ndarray:
        """Attribute judge: (B, 3, S, S) in [-1, 1] -> (B, len(names)) probabilities of each attribute."""
        return self._run(x, lambda h: self.head(h).sigmoid()).numpy()

    def features(self, x: Tensor) -> np.ndarray:
        """Features (B, 8 width) before the last layer, averaged over the picture; of an identity judge its (B, E) embeddings."""
        return self._run(x, self.body.pooled).numpy()

    def embed(self, x: Tensor) -> np.ndarray:
        """Identity judge: unit vectors (B, E); their dot product is the identity cosine."""
        return self._run(x, lambda h: F.normalize(h, dim=1)).numpy()

    def trusted(self) -> tuple[str, ...]:
        """Attributes on which the judge's held-out balanced accuracy is at least TRUSTED."""
        return tuple(self.scores.loc[self.scores["balanced_accuracy"] >= TRUSTED, "attribute"])


def as_images(faces: FaceSet, index: np.ndarray) -> Tensor:
    """(len(index), 3, S, S) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(faces.images[index])).float() / 127.5 - 1


def _key(*parts) -> str:
    source = sources(__name__)["lib/evaluation/judges.py"]
    return hashlib.sha256(json.dumps([*map(str, parts), source]).encode()).hexdigest()[:16]


def _hash(net: nn.Module) -> str:
    """16 hex digits over all weights: which judge said it."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _train(body, head, loss, batches, steps: int, device, what: str) -> None:
    """SGD with momentum, one cycle of learning rates; float32, channels last (faster with batch norm on a CPU)."""
    net = nn.ModuleList([body, head]).to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.2, total_steps=max(steps, 4), pct_start=0.3)
    for step in tqdm(range(steps), desc=what, unit="step", mininterval=5):
        batch = batches(step)
        value = loss(head, body(batch.x.to(memory_format=torch.channels_last)), batch)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        schedule.step()
    if not torch.isfinite(value):
        raise JudgeTooWeak(f"{what}: training diverged (loss {value.item()}). Choose another seed.")
    net.eval()


def _cached(kind: str, key: str, names, body, head, device, cache: Path | None, train, score) -> Judge:
    """Load the judge of that key from `cache` (default: judges/ in the data cache), or train, score and store it; a half-written one is
    never left behind, and of several processes that want the same one the first trains it while the others wait."""
    cache = default_dir() / "judges" if cache is None else cache
    with locked(cache / f"{kind}-{key}.lock"):
        return _load_or_train(kind, key, names, body, head, device, cache, train, score)


def _load_or_train(kind: str, key: str, names, body, head, device, cache: Path, train, score) -> Judge:
    weights, record = cache / f"{kind}-{key}.safetensors", cache / f"{kind}-{key}.json"
    both = nn.ModuleDict({"body": body, "head": head})
    if weights.exists() and record.exists():
        both.load_state_dict(load_file(weights))
        both.to(device, memory_format=torch.channels_last).eval()
        scores = pd.DataFrame(json.loads(record.read_text())).fillna(float("nan"))
        return Judge(kind, body, head, names, scores, _hash(both), torch.device(device))
    train()
    judge = Judge(kind, body, head, names, pd.DataFrame(), _hash(both), torch.device(device))
    judge.scores = score(judge)
    save_atomically(weights, lambda p: save_file({k: v.contiguous() for k, v in both.state_dict().items()}, p))
    save_atomically(record, lambda p: p.write_text(judge.scores.to_json(orient="records")))
    return judge


def attribute_judge(
    faces: FaceSet, split: Split, width: int, steps: int, seed: int = 0, device="cpu", cache: Path | None = None, names: tuple[str, ...] = JUDGED
) -> Judge:
    """The attribute classifier of a data set: a PlaceNet with one logit per attribute of `names` that the set has.

    Binary cross-entropy, rarer values weighted by the fourth root of their rarity; batch 64, random flips. On the natural synthetic set the
    judge learns from the twins of the training faces: the same people in the same pictures, with attributes drawn independently. From the
    faces themselves it would never learn what, say, a woman with a beard looks like, and would read one attribute off the others.
    Scored on the test split, which is natural: accuracy, balanced accuracy, the majority rate beside them, n.
    """
    names = tuple(a for a in names if a in faces.attribute_names)
    key = _key("attribute", torch.device(device).type, faces.fingerprint, split.checksum, width, steps, seed, *names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = PlaceNet(width, faces.size)
        head = nn.Linear(body.features, len(names))
    columns = np.stack([faces.column(a) for a in names], axis=1)

    def train():
        pool = faces
        if faces.name == "synthetic" and set(names) <= set(JUDGED):
            pool = load("synthetic-balanced", faces.size, n=len(faces), seed=int(faces.faces.seed[0]))
        share = [pool.column(a)[split.train].mean() for a in names]
        rate = torch.tensor(share, dtype=torch.float32, device=device).clamp(1e-3, 1 - 1e-3)
        positive, negative = (0.5 / rate) ** 0.25, (0.5 / (1 - rate)) ** 0.25

        def loss(head, h, batch):
            weight = torch.where(batch.y > 0.5, positive, negative)
            return F.binary_cross_entropy_with_logits(head(h), batch.y, weight=weight)

        batches = Batches(pool, split.train, names, min(64, len(split.train)), seed, flip=True, device=device)
        _train(body, head, loss, batches, steps, device, "attribute judge")

    def score(judge):
        said, truth = judge.probabilities(as_images(faces, split.test)) > 0.5, columns[split.test]
        rows = []
        for i, name in enumerate(names):
            both = 0 < truth[:, i].mean() < 1  # a rare attribute may be absent from a small test split
            rows.append(
                {
                    "attribute": name,
                    "accuracy": float((said[:, i] == truth[:, i]).mean()),
                    "balanced_accuracy": float(balanced_accuracy_score(truth[:, i], said[:, i])) if both else float("nan"),
                    "majority_rate": float(max(truth[:, i].mean(), 1 - truth[:, i].mean())),
                    "n": len(truth),
                }
            )
        return pd.DataFrame(rows)

    return _cached("attribute", key, names, body, head, device, cache, train, score)


def identity_judge(faces: FaceSet, split: Split, width: int, steps: int, seed: int = 0, device="cpu", cache: Path | None = None) -> Judge:
    """The identity network: a FaceNet, softmax over the training identities that have two images or more, on unit vectors (scale 16).

    Scored by verification among up to 2,000 test images, whose identities it never saw: AUC over all pairs, with their numbers.
    """
    key = _key("identity", torch.device(device).type, faces.fingerprint, split.checksum, width, steps, seed)
    ids, counts = np.unique(faces.identities[split.train], return_counts=True)
    classes = ids[counts >= 2]
    index = split.train[np.isin(faces.identities[split.train], classes)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = FaceNet(width, faces.size)
        head = nn.Linear(body.features, max(1, len(classes)), bias=False)

    def train():
        if len(classes) < 2:
            raise JudgeTooWeak("identity judge: fewer than two training identities have two images. Give a larger data set.")
        label = torch.from_numpy(np.searchsorted(classes, faces.identities)).to(device)

        def loss(head, h, batch):
            return F.cross_entropy(16 * F.normalize(h, dim=1) @ F.normalize(head.weight, dim=1).T, label[batch.index.to(device)])

        batches = Batches(faces, index, faces.attribute_names[:1], min(64, len(index)), seed, flip=True, device=device)
        _train(body, head, loss, batches, steps, device, "identity judge")

    def score(judge):
        test = split.test[:2000]
        vectors, who = judge.embed(as_images(faces, test)), faces.identities[test]
        i, j = np.triu_indices(len(test), 1)
        same, cosine = who[i] == who[j], (vectors @ vectors.T)[i, j]
        auc = float(roc_auc_score(same, cosine)) if 0 < same.mean() < 1 else float("nan")
        # the cosine that half of the genuine pairs exceed and the one that 1 % of impostor pairs exceed: scales for identity_cosine
        genuine = float(np.median(cosine[same])) if same.any() else float("nan")
        quantiles = {"genuine_median": genuine, "impostor_99": float(np.quantile(cosine[~same], 0.99))}
        return pd.DataFrame([{"auc": auc} | quantiles | {"genuine": int(same.sum()), "impostor": int((~same).sum()), "n": len(test)}])

    return _cached("identity", key, (), body, head, device, cache, train, score)


def require_strength(judge: Judge, faces: FaceSet, attributes: tuple[str, ...]) -> None:
    """Raise JudgeTooWeak if the attribute judge may not decide edits of `attributes`: balanced accuracy below TRUSTED or, on real
    faces, accuracy below CELEBA_REFERENCE (less SMALL_FACES under 64 pixels) by more than its 95 % Wilson interval allows."""
    scores = judge.scores.set_index("attribute")
    for name in attributes:
        value = scores.loc[name, "balanced_accuracy"]
        if not value >= TRUSTED:
            raise JudgeTooWeak(
                f"attribute judge on {faces.name}: balanced accuracy {value:.3f} on {name} is below {TRUSTED}; its verdicts would mean nothing. "
                "Raise judge_steps or judge_width, or give more images."
            )
    if faces.faces is not None:
        return
    for name, at_64 in CELEBA_REFERENCE.items():
        reference = at_64 - (SMALL_FACES if faces.size < 64 else 0)
        if name in scores.index:
            row = scores.loc[name]
            high = binomtest(int(round(row["accuracy"] * row["n"])), int(row["n"])).proportion_ci(method="wilson").high
            if high < reference:
                raise JudgeTooWeak(
                    f"attribute judge on {faces.name}: accuracy {row['accuracy']:.3f} (n = {int(row['n'])}) on {name} is below the "
                    f"reference {reference:.3f}. Raise judge_steps or judge_width."
                )


def record(attribute: Judge, identity: Judge) -> dict:
    """What run.json keeps of the judges: their hashes and scores."""
    return {j.kind: {"id": j.id, "scores": j.scores.to_dict("records")} for j in (attribute, identity)}

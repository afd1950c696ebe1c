"""phi, the network whose features identity losses compare: the first five convolutions of VGG-Face, or `phi-proxy` where its weights are not at hand.

O. M. Parkhi, A. Vedaldi, A. Zisserman: Deep Face Recognition, BMVC 2015. The proxy has the same five convolutions, trained here to tell the
people of the training split apart, and is never called VGG-Face. It is a model like any other, with this module as its method.

phi_l is the map after the l-th convolution and its ReLU, l = 1 .. 5 (conv1_1, conv1_2, conv2_1, conv2_2, conv3_1); phi_0 is the network's input.
"""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from lib.claims import Deviation
from lib.data import DataError, Examples, FaceSet, Split
from lib.evaluation import judges
from lib.training import models
from lib.training.config import pick, require, require_each
from lib.training.loop import Stage, Update

TITLE = "phi-proxy: five convolutions trained for identity"
CITATION = "Stands in for VGG-Face (O. M. Parkhi, A. Vedaldi, A. Zisserman, BMVC 2015)."
NAMES = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
MEAN = (129.1863, 104.7624, 93.5940)  # VGG-Face, R, G, B, on the scale 0 .. 255
POOL = 4  # side of the map that the head sees
WEIGHTS = "STUDY_VGG_FACE"  # environment variable: the file with VGG-Face's weights
VGG_FACE, PROXY = "vgg-face", "phi-proxy"
TRAINING = 1  # raised when a change alters what is trained
KEEPS = ("phi",)  # the networks that what is built on it needs
SECONDS = 0.35  # processor seconds of a cycle of profile cpu, one thread, bf16

DEVIATIONS = (
    Deviation("P1", "VGG-Face: 2.6 million images of 2,622 people, 224 x 224 pixels",
              "the first five convolutions alone, a pooled head, the identities of the study's own training split at its own size",
              "the weights come with no Python package"),  # fmt: skip
)


@dataclass(frozen=True)
class Config:
    """How phi-proxy is trained. Nothing of this is the paper's."""

    size: int = 128
    width: int = 64  # channels of conv1_1, as in VGG-Face
    steps: int = 40_000
    batch: int = 64
    lr: float = 1e-3  # falling to 0
    people: int = 8_192  # training identities that the head names, at most

    def __post_init__(self):
        require_each(self, "at least 1", "width", "steps", "batch")
        require(self.people >= 2, "people", self.people, "at least 2")
        require_each(self, "positive", "lr")


PROFILES = {
    "smoke": lambda: Config(size=32, width=2, steps=3, batch=8, people=16),
    "cpu": lambda: Config(size=64, width=32, steps=4_000, people=2_048),
    "gpu": lambda: Config(size=64, width=32, steps=10_000),
    "paper": Config,
}


def share_of_paper(cfg: Config) -> float:
    """Images shown, over VGG-Face's 2.6 million."""
    return cfg.steps * cfg.batch / 2.6e6


class Phi(nn.Module):
    """Five 3x3 convolutions, padding 1, max-pooling after the second and the fourth. Shapes for width 64 at 128 pixels.

    factor, offset: what turns RGB in [-1, 1] into the network's input, factor x + offset (VGG-Face: 0 .. 255 less the mean). """

    def __init__(self, width: int = 64, name: str = PROXY, factor: float = 1.0, offset: tuple[float, ...] = (0.0, 0.0, 0.0)):
        super().__init__()
        w = width
        channels = (3, w, w, 2 * w, 2 * w, 4 * w)
        self.name, self.factor = name, factor
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, 1, 1) for i, o in zip(channels, channels[1:], strict=False))
        self.register_buffer("offset", torch.tensor(offset).view(1, 3, 1, 1), persistent=False)

    def maps(self, x: Tensor, last: int = 5) -> list[Tensor]:
        """[phi_0, phi_1, .. phi_last]. x: (B, 3, H, H), RGB, [-1, 1]."""
        h = self.factor * x + self.offset
        out = [h]
        for l, conv in enumerate(self.convs[:last], start=1):
            h = conv(h).relu()  #                     1  64 x 128 x 128    2  64 x 128 x 128
            out.append(h)  #                          3 128 x  64 x  64    4 128 x  64 x  64    5 256 x 32 x 32
            if l in (2, 4):
                h = F.max_pool2d(h, 2)
        return out

    def frozen(self) -> "Phi":
        """In eval mode, without gradients, and no part of the weights of a model that only uses it."""
        self.transient = True
        return self.requires_grad_(False).eval()


def over_scale(maps: list[Tensor], at_x: list[Tensor]) -> list[Tensor]:
    """Feature maps over the root mean square of x's in the batch, layer by layer: content losses of the order of 1."""
    return [m / v.detach().square().mean().sqrt().clamp_min(1e-6) for m, v in zip(maps, at_x, strict=True)]


@dataclass
class Nets:
    """phi and the head that names the training people."""

    phi: Phi
    head: nn.Linear


def build(cfg: Config) -> Nets:
    """The head has an output for `people` identities; those that a small set leaves unused learn that they never occur."""
    return Nets(Phi(cfg.width), nn.Linear(4 * cfg.width * POOL**2, cfg.people, bias=False))


def identity_loss(nets: Nets, batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy over the training identities, on unit vectors (scale 16): phi_5 pooled to 4 x 4, standardised over
    the batch (maps after a ReLU all point the same way). Mean over the batch. hit: the share of faces named right."""
    h = F.adaptive_avg_pool2d(nets.phi.maps(batch.x)[5], POOL).flatten(1)
    h = F.normalize((h - h.mean(0)) / (h.std(0) + 1e-5), dim=1)
    logits = 16 * h @ F.normalize(nets.head.weight, dim=1).T
    who = batch.y[:, 0].long()
    value = F.cross_entropy(logits, who)
    return value, {"identity": value.detach(), "hit": (logits.argmax(1) == who).float().mean().detach()}


def named_people(people: int, faces: FaceSet, split: Split, seed: int) -> Examples:
    """All training faces of (at most `people`) persons with two of them or more; label: the person's number."""
    classes, index = judges.people(faces, split)
    classes = classes[:people]
    index = index[np.isin(faces.identities[index], classes)]
    return Examples(index, np.searchsorted(classes, faces.identities[index])[:, None].astype(np.float32))


def stages(cfg: Config) -> list[Stage]:
    """One stage: the proxy learns the training people. The attribute is a placeholder: `named_people` replaces its values."""
    update = Update("phi", ("phi", "head"), identity_loss, lr=cfg.lr, schedule=lambda cycle: 1 - cycle / cfg.steps)
    return [Stage(PROXY, PROXY, ("Male",), (update,), cfg.steps, cfg.batch, flip=True, examples=partial(named_people, cfg.people))]


def features(start: str, width: int = 8, order: str = "RGB") -> Phi:
    """phi of a Config: the trained stand-in in a folder, VGG-Face from its file, or, for an empty name, an untrained stand-in."""
    if start == VGG_FACE:
        return vgg_face(weights_file(), order)
    return (models.opened(sys.modules[__name__], start)[PROXY].phi if start else Phi(width)).frozen()


def weights_file() -> Path:
    """The file that STUDY_VGG_FACE names. Raises DataError, with the remedies, if the variable is unset or the file is not there."""
    given = os.environ.get(WEIGHTS, "")
    if not given or not Path(given).is_file():
        problem = f"{given}: no such file" if given else f"no weights are given, {WEIGHTS} is not set"
        raise DataError(
            f"phi = '{VGG_FACE}': {problem}. Set {WEIGHTS} to a file with VGG-Face's {NAMES[0]} to {NAMES[-1]} (safetensors, or a torch state "
            f"dict), or set phi = '{PROXY}': five convolutions trained for identity on the training split."
        )
    return Path(given)


def vgg_face(file: Path, order: str = "RGB") -> Phi:
    """VGG-Face's first five convolutions from a file of weights, frozen, in eval mode.

    order: of the input channels that the file's port expects (the original Caffe model: BGR); the network built here
    takes RGB. Accepts `conv1_1.weight`, `conv_1_1.weight` and `features.conv_1_1.weight`. Raises DataError for a file
    that cannot be read or lacks a layer. """
    pick(dict.fromkeys(("RGB", "BGR")), order, "phi_order")
    try:
        held = load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # either reader has its own kinds of error; the message must name the file
        raise DataError(f"{file}: not readable as weights ({type(error).__name__}). Give safetensors or a torch state dict of tensors.") from None
    held = {k.removeprefix("features.").replace("conv_", "conv"): v for k, v in held.get("state_dict", held).items()}
    net = Phi(64, VGG_FACE, 127.5, tuple(127.5 - m for m in MEAN))
    for name, own in ((f"{n}.{part}", getattr(c, part)) for c, n in zip(net.convs, NAMES, strict=True) for part in ("weight", "bias")):
        if name not in held or held[name].shape != own.shape:
            problem = f"shape {tuple(held[name].shape)}" if name in held else "no such entry"
            raise DataError(f"{file}: {name}: {problem}, {tuple(own.shape)} is needed. Give the weights of VGG-Face (the 16-layer model).")
        own.data.copy_(held[name].flip(1) if name == "conv1_1.weight" and order == "BGR" else held[name])
    return net.frozen()

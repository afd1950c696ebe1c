"""Trained methods to play with: which are at hand, a face at their size, edits of several attributes, the judges' verdicts.

No control is here (`lib.explorer.controls` has them), and nothing of any paper: a module with an `editor` is asked for by
the names of its parameters.

    method = explorer.load_method(explorer.found()[0][0])
    shown = explorer.edit(method, explorer.drawn(3), {"Eyeglasses": 1.0})
    explorer.panels(shown)  # pictures by name
"""

import importlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from lib import synthetic
from lib.data import Crop, FaceSet, Split, to_uint8
from lib.evaluation import judges
from lib.evaluation.measures import ENTAILED, l1
from lib.explorer.photo import ASTRONAUT, ASTRONAUT_EYES, ExplorerError, align, read_photo
from lib.pages.figures import mask_pixels, pixels, residual_pixels
from lib.sources import StudyError
from lib.training import models
from lib.training.config import listed

RESULTS = models.RESULTS
FIRST, DRAWN = 1_000_000, 120  # drawn faces are numbers FIRST .. of seed 0: no set has so many, so no model saw them
PARTS = ("attribute", "task")  # fields of a Config in which models that edit together may differ
ELSEWHERE = (*PARTS, "attributes", "size", "d_layers", "start")  # fields that say on what a model works, not how
BETWEEN = {  # what a method's own BETWEEN means
    "condition": "In between, the value is the condition itself, which was 0 or 1 in training.",
    "outputs": "It has no strength: in between, its outputs for 0 and for 1 are blended pixel by pixel.",
    "threshold": "It has no strength: the attribute is there above one half and gone below.",
    "input": "It has no strength: one half is the input, into which its output for 0 or for 1 is blended pixel by pixel.",
}
DAMAGED = (OSError, ValueError, KeyError, TypeError, SafetensorError, StudyError)


# ------------------------------------------------------------------------------------------------ trained models


@dataclass(frozen=True)
class Part:
    """A trained model: its folder, <method>/<model id> under results/, its model.json, its Config, and what it edits:
    CelebA's attribute -> what the editor calls it."""

    folder: Path
    record: dict
    cfg: object
    names: dict[str, str]


@dataclass(eq=False)
class Method:
    """A method that can be played: trained models which differ in the attribute alone, so that they edit together.
    nets: {model: Nets}, None before `load_method`, which leaves out damaged models, each with a sentence in `problems`."""

    module: ModuleType
    parts: list[Part]
    nets: dict | None = None
    problems: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.name, self.record = "/".join(self.parts[0].folder.parts[-2:]), self.parts[0].record
        self.size, self.data, self.seed = self.record["data"]["size"], self.record["data"]["name"], self.record["seed"]
        self.drawn = self.data.startswith("synthetic")
        title = self.module.TITLE  # its short name stands in brackets, or before a colon
        self.short = title[title.rindex("(") + 1 : -1].split(",")[0] if title.endswith(")") else title.split(":")[0]
        own = {k: v for k, v in vars(self.parts[0].cfg).items() if k not in ELSEWHERE}
        usual = [vars(profile()) for profile in self.module.PROFILES.values()]
        self.differs = min(({k: v for k, v in own.items() if one.get(k, v) != v} for one in usual), key=len)  # from a profile
        self.modes = self.module.MODES if "mode" in inspect.signature(self.module.editor).parameters else ("",)  # of editing
        self.between = BETWEEN.get(getattr(self.module, "BETWEEN", ""), "")

    @property
    def names(self) -> dict[str, str]:
        return {a: name for part in self.parts for a, name in part.names.items()}

    @property
    def title(self) -> str:
        """For a menu: short name, what differs from its profile, attributes, faces, seed."""
        what = [f"{k} = {v}" for k, v in self.differs.items()] + [f"seed {self.seed}"] * bool(self.seed)
        names = ", ".join(self.names).replace("_", " ") if len(self.names) < 5 else f"{len(self.names)} attributes"
        faces = "drawn faces" if self.drawn else self.data
        return f"{', '.join([self.short, *what])}: {names}; {faces}, {self.size} pixels"


def found(results: Path = RESULTS) -> tuple[list[Method], list[str]]:
    """All methods under `results`, and a sentence for each folder that cannot be used. Drawn faces before others, what is
    closest to a profile before its variants."""
    parts: dict[ModuleType, list[Part]] = {}
    problems: list[str] = []
    for file in sorted(Path(results).glob("*/*/model.json")):
        try:
            module = _module(file.parent.parent.name)
            if module and (part := _part(module, file.parent)):
                parts.setdefault(module, []).append(part)
        except DAMAGED as error:
            problems.append(_damaged(file.parent, error))
    out = [Method(module, group) for module, own in parts.items() for group in _together(module, own)]
    return sorted(out, key=lambda m: (not m.drawn, len(m.differs), m.seed, ".papers." not in m.module.__name__, m.name)), problems


def _damaged(folder: Path, error: Exception) -> str:
    reason = f"its record lacks {error}" if isinstance(error, KeyError) else str(error).split("\n")[0].rstrip(".")
    return f"{'/'.join(folder.parts[-2:])} cannot be used: {reason}."


@cache
def _module(method: str) -> ModuleType | None:
    """lib.papers.<method>.model or lib.baselines.<method>, if it edits attributes."""
    name = f"lib.papers.{method}.model" if find_spec(f"lib.papers.{method}") else f"lib.baselines.{method}"
    module = importlib.import_module(name) if find_spec(name) else None
    return module if hasattr(module, "editor") else None


def _part(module: ModuleType, folder: Path) -> Part | None:
    """The trained model of a folder; None while it is being trained, or if it edits no attribute of faces itself."""
    record = models.read_record(folder / "model.json")
    if record is None:
        raise ValueError("model.json is damaged")
    if record["status"] != "complete":
        return None
    if not (folder / "weights.safetensors").exists():
        raise ValueError("weights.safetensors is missing")
    cfg = module.Config(**record["config"])
    record["data"]["name"], record["data"]["size"], record["data"]["licence"], record["seed"]  # noqa: B018  all are read later
    edits = module.edits(cfg) if hasattr(module, "edits") else {a: a for s in module.stages(cfg) for a in s.attributes}
    return Part(folder, record, cfg, edits) if set(edits) & set(synthetic.ATTRIBUTES) else None


def _together(module: ModuleType, parts: list[Part]) -> list[list[Part]]:
    """Models of one method in groups that edit together: alike in all but PARTS, and none in the place of another."""
    groups: list[tuple[list, set, list[Part]]] = []
    for part in parts:
        same = {k: v for k, v in part.record["config"].items() if k not in PARTS}
        alike = [same, part.record["data"]["fingerprint"], part.record["seed"]]
        own = {stage.model for stage in module.stages(part.cfg)}
        group = next((g for g in groups if g[0] == alike and not g[1] & own), None)
        if group is None:
            groups.append(group := (alike, set(), []))
        group[1].update(own)
        group[2].append(part)
    return [group for *_, group in groups]


def load_method(method: Method) -> Method:
    """Load its networks. Raises ExplorerError if no model of it is whole."""
    if method.nets is None:
        nets, whole = {}, []
        for part in method.parts:
            try:
                nets |= models.opened(method.module, str(part.folder))
                whole.append(part)
            except DAMAGED as error:
                method.problems.append(_damaged(part.folder, error))
        if not whole:
            raise ExplorerError(" ".join(dict.fromkeys(method.problems)))
        method.nets, method.parts = nets, whole
    return method


# ------------------------------------------------------------------------------------------------ faces


@dataclass(frozen=True, eq=False)
class Face:
    """at(size): the face (1, 3, size, size) in [-1, 1]. labels: its attributes in {0, 1}; None where only judges can say.
    state: what the renderer draws it from, if it is a drawn face."""

    at: Callable[[int], Tensor]
    labels: dict[str, int] | None
    title: str
    state: synthetic.Faces | None = None

    def exact(self, size: int, targets: dict[str, float]) -> Tensor | None:
        """The same face with these attributes on (above .5) or off and nothing else changed; None if it is not drawn."""
        state = self.state
        for attribute in [a for a in targets if state is not None and a in synthetic.ATTRIBUTES]:
            state = synthetic.counterfactual(state, attribute, int(targets[attribute] > 0.5))
        return None if state is None else _drawn(state, size)


def _as_x(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(image))[None].float() / 127.5 - 1


def _drawn(state: synthetic.Faces, size: int) -> Tensor:
    return _as_x(to_uint8(synthetic.render(state, size))[0])  # rounded, as the faces are that models learned from


@cache
def _states() -> synthetic.Faces:
    return synthetic.sample(0, range(FIRST, FIRST + DRAWN))


@cache
def drawn(number: int) -> Face:
    """Built-in face number 1 .. DRAWN."""
    state = _states()[number - 1 : number]
    labels = dict(zip(synthetic.ATTRIBUTES, synthetic.attributes(state)[0].tolist(), strict=True))
    return Face(lru_cache(4)(lambda size: _drawn(state, size)), labels, f"drawn face {number}", state)


def lacking(attribute: str, target: int, n: int) -> list[int]:
    """Numbers of the first n drawn faces that lack the target."""
    return [k for k in range(1, DRAWN + 1) if drawn(k).labels.get(attribute) == 1 - target][:n]


@lru_cache(4)
def _gallery(size: int) -> np.ndarray:
    """(DRAWN, 3, size, size) uint8: all drawn faces."""
    return to_uint8(synthetic.render(_states(), size))


def photo(content: bytes, eyes, title: str = "your photo", labels: dict[str, int] | None = None) -> Face:
    """A photo from a file's bytes, and its eyes as `align` takes them. Nothing of it is kept. Raises ExplorerError."""
    image = read_photo(content)
    align(image, eyes, 64)  # bad eyes are refused here, not at the first edit
    return Face(lru_cache(4)(lambda size: _as_x(align(image, eyes, size))), labels, title)


@cache
def astronaut() -> Face:
    """The one photograph that the study may show: an astronaut's portrait by NASA, with labels given by eye."""
    has = ("Bangs", "Brown_Hair", "Mouth_Slightly_Open", "No_Beard", "Smiling", "Wearing_Lipstick", "Young")
    labels = {a: int(a in has) for a in synthetic.ATTRIBUTES}
    return photo(ASTRONAUT.read_bytes(), ASTRONAUT_EYES, "an astronaut (photo: NASA)", labels)


# ------------------------------------------------------------------------------------------------ edits


@dataclass(frozen=True)
class Shown:
    """x, y: input and edit (1, 3, S, S) in [-1, 1]. mask: (1, 1, S, S) in [0, 1], or None. reference: the picture that
    the edit looked at, or None. exact: the right answer, for drawn faces. wanted: what was done. missing: attributes that
    this method does not edit; untouched: those that gave the face back, as a method does that learned the other way alone."""

    x: Tensor
    y: Tensor
    mask: Tensor | None
    reference: Tensor | None
    exact: Tensor | None
    wanted: dict[str, float]
    missing: tuple[str, ...]
    untouched: tuple[str, ...]

    @property
    def nearer(self) -> bool:
        """Whether the edit is nearer to the exact answer than the input was, where these two differ."""
        where = (self.exact != self.x).any(1, keepdim=True)
        return bool(l1(self.y, self.exact, where)[0] < l1(self.x, self.exact, where)[0])


@torch.no_grad()
def edit(method: Method, face: Face, wanted: dict[str, float], mode: str = "", reference: int = 0, seen=None) -> Shown:
    """Edit a face, one attribute after the other in the method's own order; the masks' maximum is kept.

    wanted: attribute -> target in [0, 1], 1 with it. A target that is the face's own label is left alone, so that a face
    of which nothing is asked stays as it is. mode: one of method.modes. reference: number of the drawn face that a mode
    with references looks at; 0: the method draws one itself. seen: the judges who say what a photo has. Raises
    ExplorerError for a photo whose labels a method needs while no judge is there; DataError where it finds no reference.
    """
    y = x = face.at(method.size)
    own = labels_of(face, seen, method.size)
    asked = {a: float(t) for a, t in wanted.items() if own is None or float(t) != own.get(a)}
    done = {a: asked[a] for a in method.names if a in asked}
    mask, look, untouched = None, None, []
    for attribute, target in done.items():
        run, name = _editor(method, attribute, mode, y, own), method.names[attribute]
        result = run(name, y, target)
        if reference and getattr(result, "reference", None) is not None:
            result = run(name, y, target, drawn(reference).at(method.size))
        if target in (0, 1) and torch.equal(result.image, y):
            untouched.append(attribute)
        y, look = result.image.clamp(-1, 1), getattr(result, "reference", None)
        if (new := getattr(result, "mask", None)) is not None:
            mask = new if mask is None else mask.maximum(new)
        own = None if own is None else own | {attribute: int(target > 0.5)}
    missing = tuple(a for a in asked if a not in method.names)
    return Shown(x, y, mask, look, face.exact(method.size, done), done, missing, tuple(untouched))


def _editor(method: Method, attribute: str, mode: str, x: Tensor, own: dict[str, int] | None) -> Callable:
    """The module's editor, given those of these values that it asks for by name; own: the labels of x."""
    have = {"models": method.nets, "trained": method.nets, "mode": mode or method.modes[0]}
    have["cfg"] = next(part.cfg for part in method.parts if attribute in part.names)
    asked = set(inspect.signature(method.module.editor).parameters)
    if asked & {"faces", "split", "labels"}:
        if own is None:
            raise ExplorerError(f"{method.short} must know what the face has before it edits, and no judge is there to say so.")
        have["labels"] = lambda x: x.new_tensor([[own.get(a, 0) for a in method.names]]).expand(len(x), -1)
    if asked & {"faces", "split"}:  # where it looks up labels and references
        names, labels = tuple(synthetic.ATTRIBUTES), synthetic.attributes(_states()).numpy()
        labels = np.concatenate([np.array([[own.get(a, 0) for a in names]], labels.dtype), labels])
        images, rows = np.concatenate([to_uint8(x), _gallery(method.size)]), np.arange(DRAWN + 1)
        files = ("this face", *map(str, rows[1:]))
        have["faces"] = FaceSet("drawn", images, labels, names, rows, None, "none", files, Crop(method.size), "", True)
        have["split"] = Split(rows[:0], rows[:0], rows, "the drawn faces", "")
    return method.module.editor(**{name: have[name] for name in asked & have.keys()})


def panels(shown: Shown) -> dict[str, np.ndarray]:
    """Pictures by name, each (S, S, 3) uint8: before, after; where there are such, exact answer, mask (black 0, white 1)
    and reference; and the change as signed grey, mid-grey where there is none."""
    out = {"before": pixels(shown.x), "after": pixels(shown.y)}
    out |= {} if shown.exact is None else {"exact answer": pixels(shown.exact)}
    out |= {} if shown.mask is None else {"mask": mask_pixels(shown.mask)}
    out |= {"change": residual_pixels(shown.x, shown.y)}
    out |= {} if shown.reference is None else {"reference": pixels(shown.reference)}
    return {name: picture[0] for name, picture in out.items()}


# ------------------------------------------------------------------------------------------------ judges


@lru_cache(8)
def judges_of(data: str, size: int, results: Path = RESULTS) -> judges.Judges | None:
    """The trained judges of a data set (all versions of drawn faces are one) at a size; None where one is missing or
    damaged."""
    have: dict[str, judges.Judge] = {}
    family = "synthetic" if data.startswith("synthetic") else data
    records = {file.parent: models.read_record(file) or {} for file in results.glob("judges/*/model.json")}
    for folder, record in sorted(records.items(), key=lambda item: item[1].get("finished", "")):  # the newest counts
        with suppress(*DAMAGED):  # as if it were not there: the page says that nobody judges
            cfg = judges.Config(**record["config"])
            if record["status"] == "complete" and cfg.size == size and record["data"]["name"].startswith(family):
                (nets,) = models.opened(judges, str(folder)).values()
                have[cfg.kind] = judges.Judge(nets, listed(cfg.attributes), folder.name)
    three = [have.get(kind) for kind in ("places", "resnet18", "identity")]
    return judges.Judges(*three, None, None) if all(three) else None  # no held-out faces: none is scored here


def labels_of(face: Face, seen: judges.Judges | None, size: int) -> dict[str, int] | None:
    """The face's own labels: known ones, or what both judges' mean probability says; None where nobody can say."""
    if face.labels is not None or seen is None:
        return face.labels
    return {a: int(p > 0.5) for a, p in zip(seen.names, np.mean(seen.probabilities(face.at(size)), 0)[0], strict=True)}


@dataclass(frozen=True)
class Verdict:
    """What the judges say. agree: attribute that was asked for -> how many of the two see its target; kept: (verdicts of
    both on other attributes that stayed, of how many); identity: cosine of input and edit."""

    agree: dict[str, int]
    kept: tuple[int, int]
    identity: float


def verdict(seen: judges.Judges, shown: Shown) -> Verdict:
    """The judges on input and edit. What an edit changes by definition does not count as unrelated."""
    agree = {a: sum(int(s[0]) for s in seen.sees(shown.y, a, int(t >= 0.5))) for a, t in shown.wanted.items() if a in seen.names}
    entailed = {b for a in shown.wanted for b in (a, *ENTAILED.get(a, ()))}
    before, after = (np.stack(seen.probabilities(x)) > 0.5 for x in (shown.x, shown.y))  # each (2, 1, A)
    stayed = (before == after)[..., [a not in entailed for a in seen.names]]
    one, two = seen.identity.embed(torch.cat([shown.x, shown.y]))
    return Verdict(agree, (int(stayed.sum()), stayed.size), float(one @ two))

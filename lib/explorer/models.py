"""Trained methods to play with: which are at hand, a face at their size, edits of several attributes, the judges' verdicts.

No control is here (`lib.explorer.controls` has them), and nothing of any paper: a module with an `editor` is asked for by
the names of its parameters.

    method = explorer.load_method("sagan/<model id>")
    shown = explorer.edit(method, explorer.drawn(3), {"Eyeglasses": 1.0})
    explorer.picture(shown)
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from lib import synthetic
from lib.data import Crop, DataError, FaceSet, Split, load, make_split, to_uint8
from lib.evaluation import judges
from lib.evaluation.measures import ENTAILED, l1
from lib.explorer.photo import ASTRONAUT, ASTRONAUT_EYES, ExplorerError, align, read_photo
from lib.pages.figures import mask_pixels, pixels, residual_pixels
from lib.sources import ROOT
from lib.training import models
from lib.training.config import ParameterError, listed

RESULTS = models.RESULTS
FIRST, DRAWN = 1_000_000, 120  # drawn faces are numbers FIRST .. of seed 0: no set has so many, so no model saw them
PARTS = ("attribute", "task")  # fields of a Config in which models that edit together may differ
ELSEWHERE = (*PARTS, "attributes", "size", "d_layers", "start")  # fields that say on what a model works, not how
SHARES = ["edit_success", "counterfactual_gain"]  # metrics that tell the best method
BETWEEN = {  # what a method's own BETWEEN means
    "condition": "Between 0 and 1 the value is the condition itself, which was 0 or 1 in training.",
    "outputs": "It has no strength: between 0 and 1 its outputs for 0 and for 1 are blended pixel by pixel.",
    "threshold": "It has no strength: the attribute is there above .5 and gone below.",
    "input": "It has no strength: .5 is the input, into which its output for 0 or for 1 is blended pixel by pixel.",
}
DAMAGED = (OSError, ValueError, KeyError, TypeError, SafetensorError, models.ModelError, DataError, ParameterError)


# ------------------------------------------------------------------------------------------------ trained models


@dataclass(frozen=True)
class Part:
    """A trained model: place, <method>/<model id> under results/; its folder, its model.json, its Config, and what it edits:
    CelebA's attribute -> what the editor calls it."""

    place: str
    folder: Path
    record: dict
    cfg: object
    names: dict[str, str]


@dataclass(eq=False)
class Method:
    """A method that can be played: trained models which differ in the attribute alone, so that they edit together.

    shares: what evaluations measured, see `measured`. nets: {model: Nets}, None before `load_method`; that leaves out damaged
    models, each with a sentence in `problems`.
    """

    module: ModuleType
    parts: list[Part]
    shares: dict[str, float]
    nets: dict | None = None
    problems: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.name, self.record = self.parts[0].place, self.parts[0].record
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

    @property
    def best_edit(self) -> tuple[str, int]:
        """The attribute and the direction that it does best; before any evaluation its first attribute, put on."""
        attribute, _, sign = max(self.shares, key=self.shares.get, default=f"{next(iter(self.names))} +").rpartition(" ")
        return attribute, int(sign == "+")


def found(results: Path = RESULTS) -> tuple[list[Method], list[str]]:
    """All methods under `results`, and a sentence for each folder that cannot be used. Drawn faces before others, of each
    method what is closest to a profile before its variants, then by what evaluations measured, the best first."""
    parts: dict[ModuleType, list[Part]] = {}
    problems: list[str] = []
    for file in sorted(Path(results).glob("*/*/model.json")):
        place = f"{file.parent.parent.name}/{file.parent.name}"
        try:
            module = _module(file.parent.parent.name)
            part = _part(module, place, file.parent) if module else None
        except DAMAGED as error:
            problems.append(_damaged(place, error))
            continue
        if part and set(part.names) & set(synthetic.ATTRIBUTES):  # a model of animals edits none of them
            parts.setdefault(module, []).append(part)
    shares, out = measured(Path(results)), []
    for module, own in parts.items():
        for group in _together(module, own):
            known = {row: share for part in group for row, share in shares.get(part.place, {}).items() if row[:-2] in part.names}
            out.append(Method(module, group, known))
    out.sort(key=lambda m: (not m.drawn, len(m.differs), m.seed, -np.mean([*m.shares.values()] or [0]), m.name))
    main = list({(m.drawn, m.module): m for m in reversed(out)}.values())
    return sorted(out, key=lambda m: (not m.drawn, m not in main, -np.mean([*m.shares.values()] or [0]))), problems


def _damaged(place: str, error: Exception) -> str:
    reason = f"its record lacks {error}" if isinstance(error, KeyError) else str(error).split("\n")[0].rstrip(".")
    return f"{place} cannot be used: {reason}."


@cache
def _module(method: str) -> ModuleType | None:
    """lib.papers.<method>.model or lib.baselines.<method>, if it edits attributes."""
    for name in (f"lib.papers.{method}.model", f"lib.baselines.{method}"):
        if (ROOT / f"{name.replace('.', '/')}.py").is_file():
            module = importlib.import_module(name)
            return module if hasattr(module, "editor") else None
    return None


def _part(module: ModuleType, place: str, folder: Path) -> Part | None:
    """The trained model of a folder; None while it is being trained, or if it edits nothing itself."""
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
    return Part(place, folder, record, cfg, edits) if edits else None


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


def measured(results: Path) -> dict[str, dict[str, float]]:
    """What complete evaluations say: '<method>/<model id>' -> {'Smiling +': share of faces}. The share is of edits that
    both judges see or, where it is lower, of those that come nearer to the exact answer."""
    out: dict[str, dict[str, float]] = {}
    for file in sorted(results.glob("*/*/run.json")):
        record, table = models.read_record(file) or {}, file.parent / "metrics.csv"
        if record.get("status") == "complete" and isinstance(record.get("models"), dict) and table.exists():
            rows = pd.read_csv(table)
            shares = rows[rows["metric"].isin(SHARES)].groupby(["column", "row"])["value"].min().dropna()  # of both metrics
            for (column, row), share in shares.items():
                for name, place in record["models"].items():
                    if f"{name} ".startswith(f"{column} "):  # a table's SaGAN is the models SaGAN Smiling, SaGAN Eyeglasses
                        out.setdefault(place, {})[row] = float(share)
    return out


def load_method(method: Method | str, results: Path = RESULTS) -> Method:
    """Load the networks of a Method, or of the one that "<method>/<model id>" is a part of. Raises ExplorerError if no
    model of it is whole, or if there is no such model."""
    if isinstance(method, str):
        every = found(results)[0]
        name, method = method, next((m for m in every if any(part.place == method for part in m.parts)), None)
        if method is None:
            raise ExplorerError(f"There is no trained model {name}. There are: {', '.join(m.name for m in every) or 'none'}.")
    if method.nets is None:
        nets, whole = {}, []
        for part in method.parts:
            try:
                nets |= models.opened(method.module, str(part.folder))
                whole.append(part)
            except DAMAGED as error:
                method.problems.append(_damaged(part.place, error))
        if not whole:
            raise ExplorerError(" ".join(dict.fromkeys(method.problems)))
        method.nets, method.parts = nets, whole
    return method


# ------------------------------------------------------------------------------------------------ faces


@dataclass(frozen=True, eq=False)
class Face:
    """at(size): the face (1, 3, size, size) in [-1, 1]. labels: its attributes in {0, 1}; None where only judges can say.
    code: the call that makes it again. state: what the renderer draws it from, if it is a drawn face."""

    at: Callable[[int], Tensor]
    labels: dict[str, int] | None
    title: str
    code: str
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
    """Built-in face number 1 .. DRAWN. Raises ExplorerError for another number."""
    if not 1 <= number <= DRAWN:
        raise ExplorerError(f"There is no drawn face number {number}; they are numbered from 1 to {DRAWN}.")
    state = _states()[number - 1 : number]
    labels = dict(zip(synthetic.ATTRIBUTES, synthetic.attributes(state)[0].tolist(), strict=True))
    return Face(lru_cache(4)(lambda size: _drawn(state, size)), labels, f"drawn face {number}", f"explorer.drawn({number})", state)


def lacking(attribute: str, target: int, n: int) -> list[int]:
    """Numbers of the first n drawn faces that lack the target."""
    return [k for k in range(1, DRAWN + 1) if drawn(k).labels.get(attribute) == 1 - target][:n]


@lru_cache(4)
def _gallery(size: int) -> FaceSet:
    """The drawn faces at `size` pixels, with a black picture before them as row 0."""
    pictures, labels = to_uint8(synthetic.render(_states(), size)), synthetic.attributes(_states()).numpy()
    first, files = slice(0, 1), ("this face", *(f"{k + 1}" for k in range(DRAWN)))
    images, attributes = np.concatenate([0 * pictures[first], pictures]), np.concatenate([0 * labels[first], labels])
    names, rows = tuple(synthetic.ATTRIBUTES), np.arange(DRAWN + 1)
    return FaceSet("drawn", images, attributes, names, rows, None, "none", files, Crop(size), "", True)


@lru_cache(4)
def test_faces(data: str, size: int) -> tuple[FaceSet, np.ndarray]:
    """A data set ("synthetic" or a folder in CelebA's layout) and the rows that test. Raises DataError."""
    faces = load(data, size, n=2_000)
    return faces, make_split(faces).test


test_faces.__test__ = False


def of_set(data: str, number: int, size: int = 64) -> Face:
    """Test face number 1 .. of a data set, read at `size` pixels and, for a model of another size, again. Raises
    DataError, ExplorerError."""
    faces, rows = test_faces(data, size)
    if not 1 <= number <= len(rows):
        raise ExplorerError(f"{faces.name} has no test face number {number}; they are numbered from 1 to {len(rows)}.")
    row = rows[number - 1]
    labels = {a: int(v) for a, v in zip(faces.attribute_names, faces.attributes[row], strict=True)}
    title, code = f"{faces.name}, test face {number} ({faces.files[row]})", f"explorer.of_set({data!r}, {number})"
    state = None if faces.faces is None else faces.faces[torch.tensor([row])]
    return Face(lambda at: _as_x(test_faces(data, at)[0].images[row]), labels, title, code, state)


def photo(source: str | Path | bytes, eyes, title: str = "your photo", labels: dict[str, int] | None = None) -> Face:
    """A photo: a file or its bytes, and its eyes as `align` takes them. Nothing of it is kept. Raises ExplorerError."""
    name = "your-photo.jpg" if isinstance(source, bytes) else str(source)
    try:
        image = read_photo(source if isinstance(source, bytes) else Path(source).read_bytes())
    except OSError as error:
        raise ExplorerError(f"{source}: cannot be read ({error.strerror}).") from None
    align(image, eyes, 64)  # bad eyes are refused here, not at the first edit
    points = tuple((round(float(x), 4), round(float(y), 4)) for x, y in eyes)
    at = lru_cache(4)(lambda size: _as_x(align(image, eyes, size)))
    return Face(at, labels, title, f"explorer.photo({name!r}, eyes={points})")


@cache
def astronaut() -> Face:
    """The one photograph that the study may show: an astronaut's portrait by NASA, with labels given by eye."""
    has = ("Bangs", "Brown_Hair", "Mouth_Slightly_Open", "No_Beard", "Smiling", "Wearing_Lipstick", "Young")
    face = photo(ASTRONAUT, ASTRONAUT_EYES, "an astronaut (photo: NASA)", {a: int(a in has) for a in synthetic.ATTRIBUTES})
    return replace(face, code="explorer.astronaut()")


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
    def gain(self) -> float:
        """How much nearer to the exact answer the edit is than the input was, where these two differ: L1, [0, 1] scale."""
        where = (self.exact != self.x).any(1, keepdim=True)
        return float(l1(self.x, self.exact, where)[0] - l1(self.y, self.exact, where)[0])


@torch.no_grad()
def edit(method: Method, face: Face, wanted: dict[str, float], mode: str = "", reference: int = 0, seen=None) -> Shown:
    """Edit a face, one attribute after the other in the method's own order; the masks' maximum is kept.

    wanted: attribute -> target in [0, 1], 1 with it. A target that is the face's own label is left alone, so that a face
    of which nothing is asked stays as it is. mode: one of method.modes. reference: number of the drawn face that a mode
    with references looks at; 0: the method draws one itself. seen: the Witnesses who say what a photo has. Raises
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
        pool = _gallery(method.size)
        images, attributes, rows = pool.images.copy(), pool.attributes.copy(), np.arange(len(pool))
        images[0], attributes[0] = to_uint8(x)[0], [own.get(a, 0) for a in pool.attribute_names]
        have["faces"] = replace(pool, images=images, attributes=attributes)
        have["split"] = Split(rows[:0], rows[:0], rows, "the drawn faces", "")
    return method.module.editor(**{name: have[name] for name in asked & have.keys()})


def good_face(method: Method, attribute: str, target: int, among: int = 8) -> int:
    """Of the first drawn faces that lack the target, the number of the one whose edit comes nearest to the exact answer."""
    gains = {k: edit(method, drawn(k), {attribute: float(target)}).gain for k in lacking(attribute, target, among)}
    return max(gains, key=gains.get, default=1)


def panels(shown: Shown) -> dict[str, np.ndarray]:
    """Pictures by name, each (S, S, 3) uint8: before, after; where there are such, exact answer, mask (black 0, white 1)
    and reference; and the change as signed grey, mid-grey where there is none."""
    out = {"before": pixels(shown.x), "after": pixels(shown.y)}
    out |= {} if shown.exact is None else {"exact answer": pixels(shown.exact)}
    out |= {} if shown.mask is None else {"mask": mask_pixels(shown.mask)}
    out |= {"change": residual_pixels(shown.x, shown.y)}
    out |= {} if shown.reference is None else {"reference": pixels(shown.reference)}
    return {name: picture[0] for name, picture in out.items()}


def picture(*shown: Shown, side: int = 192) -> Image.Image:
    """The panels of each edit side by side, enlarged smoothly to `side` pixels; edits below each other."""
    rows = [list(panels(one).values()) for one in shown]
    sheet = Image.new("RGB", (side * max(map(len, rows)), side * len(rows)), "white")
    for i, row in enumerate(rows):
        for k, panel in enumerate(row):
            sheet.paste(Image.fromarray(panel).resize((side, side), Image.Resampling.LANCZOS), (side * k, side * i))
    return sheet


# ------------------------------------------------------------------------------------------------ judges


@dataclass(frozen=True, eq=False)
class Witnesses:
    """The judges of a face set: two of attributes, and the identity network (or None). trusted: attributes at which an
    evaluation found both good enough; other: the cosine that 1 % of the pairs of two people reach, NaN before any evaluation."""

    a: judges.Judge
    b: judges.Judge
    identity: judges.Judge | None
    trusted: tuple[str, ...]
    other: float = float("nan")

    def probabilities(self, x: Tensor) -> np.ndarray:
        """(B, 3, S, S) -> (2, B, A): of judge a and of judge b."""
        return np.stack([self.a.probabilities(x), self.b.probabilities(x)])


@lru_cache(8)
def witnesses_of(data: str, size: int, results: Path = RESULTS) -> Witnesses | None:
    """The trained judges of a data set (all versions of drawn faces are one) at a size; None where either attribute judge is
    missing or damaged."""
    have: dict[str, judges.Judge] = {}
    family = "synthetic" if data.startswith("synthetic") else data
    records = {file.parent: models.read_record(file) or {} for file in results.glob("judges/*/model.json")}
    for folder, record in sorted(records.items(), key=lambda item: item[1].get("finished", "")):  # the newest counts
        try:
            cfg, name = judges.Config(**record["config"]), record["data"]["name"]
            if record["status"] == "complete" and cfg.size == size and name.startswith(family):
                (nets,) = models.opened(judges, str(folder)).values()
                have[cfg.kind] = judges.Judge(nets, listed(cfg.attributes), folder.name)
        except DAMAGED:
            continue  # as if it were not there: the page says that nobody judges
    if not {"places", "resnet18"} <= have.keys():
        return None
    a, b, identity = (have.get(kind) for kind in ("places", "resnet18", "identity"))
    for file in sorted(results.glob("*/*/run.json")):
        said = (models.read_record(file) or {}).get("judges", {})
        if identity and [said.get(k, {}).get("id") for k in ("a", "b", "identity")] == [a.id, b.id, identity.id]:
            good = [{s["attribute"] for s in said[k]["scores"] if s["balanced_accuracy"] >= judges.TRUSTED} for k in "ab"]
            return Witnesses(a, b, identity, tuple(n for n in a.names if n in good[0] & good[1]), said["identity"]["scores"]["impostor_99"])
    return Witnesses(a, b, identity, a.names)


def labels_of(face: Face, seen: Witnesses | None, size: int) -> dict[str, int] | None:
    """The face's own labels: known ones, or what both judges' mean probability says; None where nobody can say."""
    if face.labels is not None or seen is None:
        return face.labels
    return {a: int(p > 0.5) for a, p in zip(seen.a.names, seen.probabilities(face.at(size)).mean(0)[0], strict=True)}


@dataclass(frozen=True)
class Verdict:
    """What the judges say. rows: (attribute, probabilities of both before, after, target or None, trusted), those that
    were asked for first; kept: (unrelated verdicts of both judges that stayed, of how many trusted ones); identity: cosine
    of input and edit, or None; other: as Witnesses; nearer: whether the edit came nearer to the exact answer, or None."""

    rows: list[tuple[str, list[float], list[float], float | None, bool]]
    kept: tuple[int, int]
    identity: float | None
    other: float
    nearer: bool | None


def verdict(seen: Witnesses, shown: Shown) -> Verdict:
    """The judges on input and edit. What an edit changes by definition does not count as unrelated."""
    pair, who = torch.cat([shown.x, shown.y]), None
    before, after = seen.probabilities(pair).transpose(1, 2, 0).tolist()  # each (A, 2)
    rows = [(a, p, q, shown.wanted.get(a), a in seen.trusted) for a, p, q in zip(seen.a.names, before, after, strict=True)]
    entailed = {b for a in shown.wanted for b in (a, *ENTAILED.get(a, ()))}
    stayed = [(p > 0.5) == (q > 0.5) for a, *both, _, known in rows if known and a not in entailed for p, q in zip(*both, strict=True)]
    if seen.identity is not None:
        one, two = seen.identity.embed(pair)
        who = float(one @ two)
    nearer = shown.gain > 0 if shown.exact is not None and shown.wanted else None
    return Verdict(sorted(rows, key=lambda row: row[3] is None), (sum(stayed), len(stayed)), who, seen.other, nearer)

"""Trained editors to play with: which runs are at hand, a face brought to their size, edits of several attributes, the judges' verdicts.

No control is here (`lib.explorer_view` has them), and nothing of any paper: a module with an `editor` is asked for by the names of its parameters.

    model = explorer.load_model("sagan/<run id>")
    shown = explorer.edit(model, explorer.drawn(3), {"Eyeglasses": 1.0})
    explorer.picture(shown)

A run is played from `checkpoint.safetensors`, or from `explorer.safetensors`, which is committed: the networks that an edit uses, in half precision.
It has a name of its own so that a fresh copy of the project trains its runs anew instead of loading what it should reproduce.
"""

import dataclasses
import hashlib
import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lib import synthetic
from lib.evaluation import judges
from lib.data import Crop, FaceSet, load, make_split, to_uint8
from lib.data.cache import default_dir
from lib.data.splits import Split
from lib.training.loop import load_weights, networks, save_atomically, weights
from lib.pages.figures import mask_pixels, pixels, residual_pixels
from lib.evaluation.measures import ENTAILED
from lib.training.config import ParameterError, from_params
from lib.explorer.photo import ExplorerError, align, read_photo
from lib.sources import ROOT, sources

RESULTS = ROOT / "results"
SHIPPED = "explorer.safetensors"
MAX_BYTES = 8_000_000  # of a committed file of weights
FIRST, DRAWN = 1_000_000, 120  # the drawn faces are numbers FIRST .. of seed 0: no run has so many, so nobody has seen these people
BETWEEN = {
    "condition": "The value is the condition itself: it goes into the network, which was trained on 0 and 1 alone.",
    "outputs": "The method has no strength: between 0 and 1 its outputs for 0 and for 1 are blended pixel by pixel.",
    "input": "The method has no strength: .5 is the input, and its output for 0 or for 1 is blended in pixel by pixel.",
}


# ------------------------------------------------------------------------------------------------ runs and their models


@dataclass(frozen=True, eq=False)
class Found:
    """A run that can be played. file: its weights; record: run.json; config: config.json."""

    folder: Path
    file: Path
    record: dict
    config: dict

    @property
    def name(self) -> str:
        """<method>/<run id>, which `load_model` takes."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def method(self) -> str:
        return self.record["paper"]

    @property
    def label(self) -> str:
        """For a menu: method, data, profile, size, seed, end of the run id, what differs from the profile, whether the code is newer."""
        r = self.record
        faces = "drawn faces" if r["data"].startswith("synthetic") else r["data"]
        own = f"{short(module_of(self.method))}: {faces}, {r['size']} pixels, profile {r['profile']}, seed {r['seed']}, run {r['run_id'][-8:]}"
        return own + (f", {differs}" if (differs := _differs(self)) else "") + (", trained with older code" if _older(self) else "")


def plays(method: str) -> bool:
    """Whether lib.papers or lib.baselines has a module of that name that edits attributes."""
    return _module(method) is not None


def module_of(method: str) -> ModuleType:
    """lib.papers.<method> or lib.baselines.<method>. Raises ExplorerError if there is none that edits attributes."""
    if (module := _module(method)) is None:
        raise ExplorerError(f"{method}: no method of this study edits attributes under that name.")
    return module


def _module(method: str) -> ModuleType | None:
    for package in ("papers", "baselines"):
        if (ROOT / "lib" / package / f"{method}.py").is_file():
            module = importlib.import_module(f"lib.{package}.{method}")
            return module if hasattr(module, "editor") else None
    return None


def short(module: ModuleType) -> str:
    """The method's short name: what its title has in brackets, or before its colon."""
    title = module.TITLE
    return title[title.rindex("(") + 1 : -1].split(",")[0] if title.endswith(")") else title.split(":")[0]


def _differs(found: Found) -> str:
    """Where a run made for a comparison departs from its profile: 'residual = RIL, labels = 500'."""
    module = module_of(found.method)
    if "beside" not in found.record or found.record["profile"] not in module.PROFILES:
        return ""
    usual = dataclasses.asdict(module.PROFILES[found.record["profile"]]())
    shared = {"attribute", "attributes", "size", "d_layers", "faces"}  # fields that a comparison takes from the run beside it
    changed = {k: v for k, v in found.config["config"].items() if k in usual and k not in shared and usual[k] != v}
    return ", ".join(f"{k} = {v}" for k, v in list(changed.items())[:4])


def places() -> tuple[Path, Path]:
    """Where runs are looked for: the committed ones, and those that the explorer had trained."""
    return RESULTS, default_dir() / "explorer"


def found(*roots: Path) -> tuple[list[Found], list[str]]:
    """All runs on faces under `roots` (default: `places`) that have weights, papers' own runs before those made for a comparison,
    drawn faces before others, by method, newest first; and sentences about folders that look like runs but cannot be used."""
    runs, problems = [], []
    for file in sorted(path for root in roots or places() for path in root.glob("*/*/run.json")):
        try:
            run = _found(file.parent)
        except ExplorerError as error:
            problems.append(str(error))
            continue
        if run and set(names_of(run)) & set(synthetic.ATTRIBUTES):  # a model of animals edits none of them
            runs.append(run)
    newest = sorted(runs, key=lambda r: r.record.get("started", ""), reverse=True)
    return sorted(newest, key=lambda r: ("beside" in r.record, not r.record["publishable"], r.method)), problems


def _found(folder: Path) -> Found | None:
    file = next((folder / name for name in ("checkpoint.safetensors", SHIPPED) if (folder / name).is_file()), None)
    if file is None:
        return None
    try:
        record, config = (json.loads((folder / name).read_text()) for name in ("run.json", "config.json"))
        run = Found(folder, file, record, config)
        if not plays(run.method):  # a network of features, a filler of holes
            return None
        config_of(run)
        run.label  # noqa: B018  a record without what the menu says is no record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExplorerError(f"{folder.parent.name}/{folder.name} cannot be used: {_reason(error)}") from None
    return run


def _reason(error: Exception) -> str:
    return f"{error.args[0]} is missing in its record." if isinstance(error, KeyError) else str(error).split("\n")[0]


def config_of(run: Found):
    """The run's Config, without fields that the method's file no longer has: whether the networks are still the same shows when their weights are
    loaded. Raises ExplorerError for values that the file no longer takes."""
    cls, kept = module_of(run.method).Config, run.config["config"]
    try:
        return from_params(cls(), {k: v for k, v in kept.items() if k in cls.__annotations__})
    except ParameterError as error:
        raise ExplorerError(f"it was made with another version of the method's code ({error})") from None


def _older(run: Found) -> bool:
    """Whether the method's file has changed since the run was trained."""
    file = str(Path(module_of(run.method).__file__).relative_to(ROOT))
    return run.config.get("sources", {}).get(file) != _sources(module_of(run.method).__name__).get(file)


_sources = cache(sources)


def names_of(run: Found) -> dict[str, str]:
    """CelebA's attribute -> what the method's editor calls it."""
    module, cfg = module_of(run.method), config_of(run)
    if hasattr(module, "groups_of"):
        return {group.one: group.name for group in module.groups_of(cfg)}
    names = module.attributes_of(cfg) if hasattr(module, "attributes_of") else module.ATTRIBUTES
    return {a: a for a in names}


def best(runs: list[Found]) -> list[Found]:
    """Of each method one run whose faces may be shown: its own newest before one made for a comparison, the one with most attributes."""
    out = {}
    for run in runs:
        if run.record["publishable"] and not run.record["scratch"]:
            kept = out.setdefault(run.method, run)
            if ("beside" in kept.record) == ("beside" in run.record) and len(names_of(run)) > len(names_of(kept)):
                out[run.method] = run
    return list(out.values())


def of_study(runs: list[Found], data: str, profile: str) -> list[Found]:
    """The runs of one profile on a data set or, for "synthetic", on its other versions ("synthetic-balanced") too."""
    return [run for run in runs if run.record["data"].startswith(Path(data).name) and run.record["profile"] == profile]


@dataclass(eq=False)
class Model:
    """A loaded run. names: as `names_of`. modes: ways of editing that its editor has ("" alone: there is one). between: a key of BETWEEN.
    only: attributes that it can give (1) or take (0) but not both."""

    found: Found
    module: ModuleType
    cfg: object
    nets: dict[str, object]
    names: dict[str, str]
    modes: tuple[str, ...]
    needs_faces: bool
    between: str = ""
    only: dict[str, int] = dataclasses.field(default_factory=dict)
    referenced: tuple[str, ...] = ()  # modes that take a reference picture

    @property
    def size(self) -> int:
        return self.found.record["size"]

    @property
    def title(self) -> str:
        return short(self.module)

    def editor(self, mode: str = "", faces: FaceSet | None = None, split: Split | None = None) -> Callable:
        """(attribute, x, target, ...) -> Edit: the module's editor, given those of these values that it asks for by name."""
        have = {"models": self.nets, "cfg": self.cfg, "faces": faces, "split": split, "mode": mode}
        return self.module.editor(**{name: have[name] for name in inspect.signature(self.module.editor).parameters if name in have})


def load_model(run: Found | str | Path) -> Model:
    """The trained networks of a run: a Found, "<method>/<run id>", or a folder. Raises ExplorerError if there are none, or if the file is
    another run's, another paper's or of another resolution."""
    if not isinstance(run, Found):
        folder = next((p for p in (*(root / run for root in places()), Path(run)) if (p / "run.json").is_file()), None)
        run = _found(folder) if folder else None
        if run is None:
            raise ExplorerError("There is no run of that name with weights. Those that can be played: " + (_listed() or "none."))
    module, cfg = module_of(run.method), config_of(run)
    flat = _weights(run)
    with torch.random.fork_rng(devices=[]):
        nets = {name: module.build(cfg) for name in dict.fromkeys(key.split("/")[0] for key in flat)}
    kept = {key.split(".")[0] for key in flat}
    for name, model in nets.items():
        for net, module_ in networks(model).items():
            module_.requires_grad_(False).eval()
            module_.transient = f"{name}/{net}" not in kept  # no edit uses it: it was not kept, and is not looked for
    have = {f"{name}/{net}" for name, model in nets.items() for net in networks(model)}
    try:
        if not kept <= have:
            raise ValueError(f"networks that this method has not: {', '.join(sorted(kept - have))}")
        load_weights(nets, flat, run.file.name)
    except ValueError:
        raise ExplorerError(f"{run.name}: {run.file.name} does not hold this configuration's networks: it is another paper's or run's.") from None
    asked = inspect.signature(module.editor).parameters
    model = Model(run, module, cfg, nets, names_of(run), getattr(module, "MODES", ("",)) if "mode" in asked else ("",), "faces" in asked)
    _probe(model)
    return model


def _listed() -> str:
    return ", ".join(r.name for r in found()[0])


def _weights(run: Found) -> dict[str, Tensor]:
    """The tensors of a run's file, float32, checked against the run they lie beside."""
    try:
        with safe_open(run.file, "pt") as file:
            about, flat = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, SafetensorError) as error:
        raise ExplorerError(f"{run.name}: {run.file.name} is not a readable file of weights ({str(error).split(chr(10))[0]}).") from None
    if run.file.name == SHIPPED:
        for what, wanted in (("paper", run.method), ("size", str(run.record["size"])), ("run", run.record["run_id"])):
            if about.get(what) != wanted:
                kind = {"paper": "another paper", "size": "another resolution", "run": "another run"}[what]
                raise ExplorerError(f"{run.name}: {SHIPPED} belongs to {kind} ({what} {about.get(what, 'not stated')}, not {wanted}).")
    elif hashlib.sha256(run.file.read_bytes()).hexdigest() != run.record.get("checkpoint_sha256"):
        raise ExplorerError(
            f"{run.name}: checkpoint.safetensors is not the file that its run.json describes: another run's, another paper's or of another "
            "resolution. Put the right one back, or train the run again."
        )
    if not flat or any("/" not in key or "." not in key for key in flat):
        raise ExplorerError(f"{run.name}: {run.file.name} holds no networks of this study.")
    return {key: value.float() if value.is_floating_point() else value for key, value in flat.items()}


def _probe(model: Model) -> None:
    """Find out by trying what the values between 0 and 1 do, which directions were trained, and which modes look at a reference."""
    face = drawn(1)
    x = face.at(model.size)

    def out(attribute: str, target: float, mode: str = model.modes[0]) -> Tensor:
        return edit(model, face, {attribute: target}, mode, even_if_own=True).y

    def close(a: Tensor, b: Tensor) -> bool:
        return bool((a - b).abs().max() < 2e-5)

    for attribute in model.names:
        no, yes = out(attribute, 0.0), out(attribute, 1.0)
        if close(no, yes):
            continue
        if close(no, x) != close(yes, x):
            model.only[attribute] = int(close(no, x))
        if not model.between:
            between = "input" if close(out(attribute, 0.5), x) else "condition"
            model.between = "outputs" if close(out(attribute, 0.25), 0.75 * no + 0.25 * yes) else between
    model.between = model.between or "condition"
    first = next(iter(model.names))
    model.referenced = tuple(m for m in model.modes if edit(model, face, {first: 1.0}, m, even_if_own=True).reference is not None)


# ------------------------------------------------------------------------------------------------ faces


@dataclass(frozen=True, eq=False)
class Face:
    """at(size): the face (1, 3, size, size) in [-1, 1]. labels: its attributes in {0, 1}; None where only the judge can say. code: the call
    that makes it again."""

    at: Callable[[int], Tensor]
    labels: dict[str, int] | None
    title: str
    code: str


@lru_cache(4)
def gallery(size: int) -> FaceSet:
    """The DRAWN built-in faces at `size` pixels."""
    faces = synthetic.sample(0, range(FIRST, FIRST + DRAWN))
    return FaceSet(
        "drawn", to_uint8(synthetic.render(faces, size)), synthetic.attributes(faces).numpy(), tuple(synthetic.ATTRIBUTES),
        synthetic.identities(faces).numpy(), None, "none", tuple(f"{k + 1}" for k in range(DRAWN)), Crop(size), "", True, (), faces,
    )  # fmt: skip


def _as_x(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(image))[None].float() / 127.5 - 1


@cache
def drawn(number: int) -> Face:
    """Built-in face number 1 .. DRAWN. Raises ExplorerError for another number."""
    if not 1 <= number <= DRAWN:
        raise ExplorerError(f"There is no drawn face number {number}; they are numbered from 1 to {DRAWN}.")
    state = synthetic.attributes(synthetic.sample(0, range(FIRST + number - 1, FIRST + number)))[0].tolist()
    labels = dict(zip(synthetic.ATTRIBUTES, state, strict=True))
    return Face(lambda size: _as_x(gallery(size).images[number - 1]), labels, f"drawn face {number}", f"explorer.drawn({number})")


@lru_cache(4)
def test_faces(data: str, size: int) -> tuple[FaceSet, np.ndarray]:
    """A data set ("synthetic" or a folder in CelebA's layout) and the rows that test (no model trained on them). Raises DataError."""
    faces = load(data, size, n=8_000)
    return faces, make_split(faces, "random").test


def of_set(data: str, number: int, size: int) -> Face:
    """Test face number 1 .. of a data set, read at `size` pixels and, for a model of another size, again. Raises DataError, ExplorerError."""
    faces, rows = test_faces(data, size)
    if not 1 <= number <= len(rows):
        raise ExplorerError(f"{faces.name} has no test face number {number}; they are numbered from 1 to {len(rows)}.")
    row = rows[number - 1]
    labels = {a: int(v) for a, v in zip(faces.attribute_names, faces.attributes[row], strict=True)}
    name, code = f"{faces.name}, test face {number} ({faces.files[row]})", f"explorer.of_set({data!r}, {number}, {size})"
    return Face(lambda wanted: _as_x(test_faces(data, wanted)[0].images[row]), labels, name, code)


def photo(source: str | Path | bytes, eyes) -> Face:
    """Your own photo: a file or its bytes, and its eyes as `align` takes them. Nothing of it is kept. Raises ExplorerError."""
    if not isinstance(source, bytes):
        try:
            source, name = Path(source).read_bytes(), str(source)
        except OSError as error:
            raise ExplorerError(f"{source}: cannot be read ({error.strerror}).") from None
    else:
        name = "your-photo.jpg"
    image = read_photo(source)
    align(image, eyes, 64)  # bad eyes are refused here, not at the first edit
    points = tuple((round(float(x), 4), round(float(y), 4)) for x, y in eyes)
    at = lru_cache(4)(lambda size: _as_x(align(image, eyes, size)))
    return Face(at, None, "your photo", f"explorer.photo({name!r}, eyes={points})")


# ------------------------------------------------------------------------------------------------ edits


@dataclass(frozen=True)
class Shown:
    """x, y: input and edit (1, 3, S, S) in [-1, 1]. mask: (1, 1, S, S) in [0, 1], or None. reference: the picture that the edit looked at, or
    None. wanted: what was done. missing: attributes that this method does not edit."""

    x: Tensor
    y: Tensor
    mask: Tensor | None
    reference: Tensor | None
    wanted: dict[str, float]
    missing: tuple[str, ...] = ()


@torch.no_grad()
def edit(
    model: Model, face: Face, wanted: dict[str, float], mode: str = "", reference: int = 0, judge: judges.Judge | None = None, even_if_own=False
) -> Shown:
    """Edit a face, one attribute after the other in the method's own order; the masks' maximum is kept.

    wanted: attribute -> target in [0, 1], 1 with it. A target that is the face's own label is left alone (unless even_if_own), so that a face
    of which nothing is asked stays as it is. mode: one of model.modes. reference: number of the drawn face that a mode with references looks
    at; 0: the method draws one itself. judge: says the labels of a photo. Raises ExplorerError for a photo whose labels a method needs while
    no judge is there; DataError where a method finds no reference.
    """
    x = face.at(model.size)
    own = face.labels if face.labels is not None or judge is None else labels_by(judge, x)
    mode = mode or model.modes[0]
    asked = {a: float(t) for a, t in wanted.items() if even_if_own or own is None or float(t) != own.get(a)}
    done = {a: asked[a] for a in model.names if a in asked}
    y, mask, seen = x, None, None
    for attribute, target in done.items():
        faces, split = _among(model.size, y, own, model) if model.needs_faces else (None, None)
        more = (drawn(reference).at(model.size),) if reference and mode in model.referenced else ()
        result = model.editor(mode, faces, split)(model.names[attribute], y, target, *more)
        y, seen = result.image, getattr(result, "reference", None)
        mask = result.mask if mask is None or result.mask is None else mask.maximum(result.mask)
        own = None if own is None else own | {attribute: int(target > 0.5)}
    return Shown(x, y, mask, seen, done, tuple(a for a in asked if a not in model.names))


def _among(size: int, x: Tensor, labels: dict[str, int] | None, model: Model) -> tuple[FaceSet, Split]:
    """The drawn faces with x put before them as row 0, for editors that look up labels and references in a set."""
    if labels is None:
        raise ExplorerError(f"{model.title} must know what the face has before it edits; for a photo the judge says so, and there is none yet.")
    pool = gallery(size)
    row = np.array([[labels.get(a, 0) for a in pool.attribute_names]], np.uint8)
    images, attributes = np.concatenate([to_uint8(x), pool.images]), np.concatenate([row, pool.attributes])
    files = ("this face", *pool.files)
    rows = np.arange(len(files))
    split = Split(rows[:0], rows, "the drawn faces", "none", "", (), files)
    return dataclasses.replace(pool, images=images, attributes=attributes, identities=rows, files=files, faces=None), split


def panels(shown: Shown) -> dict[str, np.ndarray]:
    """Pictures by name, each (S, S, 3) uint8: input, edited, where there is one reference and mask (black 0, white 1), and the residual as signed
    grey: mid-grey where nothing changed, as in the reports."""
    out = {"input": pixels(shown.x)[0], "edited": pixels(shown.y)[0]}
    if shown.reference is not None:
        out["reference"] = pixels(shown.reference)[0]
    if shown.mask is not None:
        out["mask"] = mask_pixels(shown.mask)[0]
    return out | {"residual": residual_pixels(shown.x, shown.y)[0]}


def picture(shown: Shown, pixel: int = 6) -> Image.Image:
    """The panels side by side, each pixel `pixel` x `pixel` large."""
    row = np.concatenate(list(panels(shown).values()), axis=1)
    return Image.fromarray(row).resize((row.shape[1] * pixel, row.shape[0] * pixel), Image.Resampling.NEAREST)


# ------------------------------------------------------------------------------------------------ judges


def labels_by(judge: judges.Judge, x: Tensor) -> dict[str, int]:
    """The judge's verdicts on one picture."""
    return {a: int(p > 0.5) for a, p in zip(judge.names, judge.probabilities(x)[0], strict=True)}


@dataclass(frozen=True)
class Verdict:
    """What the judges say. rows: (attribute, probability before, after, asked for, trusted); kept: (unrelated verdicts that did not change, of
    how many trusted ones); identity: cosine of input and edit, or None; same, other: the cosine that half the pairs of one person reach, and
    that 1 % of the pairs of two people do."""

    rows: list[tuple[str, float, float, bool, bool]]
    kept: tuple[int, int]
    identity: float | None
    same: float = float("nan")
    other: float = float("nan")


def verdict(attribute: judges.Judge, identity: judges.Judge | None, shown: Shown) -> Verdict:
    """Both judges on input and edit. Attributes that were asked for come first; what an edit changes by definition does not count as unrelated."""
    before, after = attribute.probabilities(torch.cat([shown.x, shown.y]))
    trusted, asked = attribute.trusted(), set(shown.wanted)
    rows = [(a, float(p), float(q), a in asked, a in trusted) for a, p, q in zip(attribute.names, before, after, strict=True)]
    entailed = asked | {b for a in asked for b in ENTAILED.get(a, ())}
    unrelated = [(p > 0.5) == (q > 0.5) for a, p, q, _, t in rows if t and a not in entailed]
    rows.sort(key=lambda row: not row[3])
    if identity is None:
        return Verdict(rows, (sum(unrelated), len(unrelated)), None)
    one, two = identity.embed(torch.cat([shown.x, shown.y]))
    scale = identity.scores.iloc[0]
    return Verdict(rows, (sum(unrelated), len(unrelated)), float(one @ two), float(scale["genuine_median"]), float(scale["impostor_99"]))


def _judge(file: Path, kind: str, size: int, width: int, scores: list[dict]) -> judges.Judge:
    """A judge from its weights and scores. Raises RuntimeError, KeyError or SafetensorError where they are of another architecture."""
    with safe_open(file, "pt") as stored:
        flat = {key: stored.get_tensor(key) for key in stored.keys()}
    rows, classes = flat["head.weight"].shape
    with torch.random.fork_rng(devices=[]):
        body = {"attribute": judges.PlaceNet, "identity": judges.FaceNet}[kind](width, size)
        head = nn.Linear(classes, rows, bias="head.bias" in flat)
    both = nn.ModuleDict({"body": body, "head": head})
    both.load_state_dict(flat)
    both.requires_grad_(False).to(memory_format=torch.channels_last).eval()
    names = tuple(row["attribute"] for row in scores) if kind == "attribute" else ()
    frame = pd.DataFrame(scores).fillna(float("nan"))
    return judges.Judge(kind, body, head, names, frame, judges._hash(both), torch.device("cpu"))


def _owner(run: Found) -> Found:
    """The run beside which this one was trained, or itself."""
    if "beside" not in run.record:
        return run
    for file in run.folder.parent.parent.glob(f"*/{run.record['beside']}/run.json"):
        return Found(file.parent, run.file, json.loads(file.read_text()), json.loads((file.parent / "config.json").read_text()))
    return run


@lru_cache(8)
def _at_hand(folder: Path, kind: str, size: int, data: str, wanted: str, width: int) -> judges.Judge | None:
    abouts = {file: json.loads(_about(file).get("about", "{}")) for file in sorted(folder.glob(f"{kind}-*.safetensors"))}
    for file, about in sorted(abouts.items(), key=lambda item: item[1].get("date", ""), reverse=True):
        if about and (about["size"] != size or (about["id"] != wanted if wanted else about["data"] != data)):
            continue
        scores = about.get("scores") or (json.loads(file.with_suffix(".json").read_text()) if file.with_suffix(".json").exists() else None)
        if not scores or not about and not wanted:  # in the cache the wanted one is known by its hash alone
            continue
        try:
            judge = _judge(file, kind, size, about.get("width", width), scores)
        except (RuntimeError, KeyError, SafetensorError):
            continue  # of another size or version of lib.judges
        if not wanted or judge.id == wanted:
            return judge
    return None


_TRAINED: dict[tuple[str, int], tuple[judges.Judge, judges.Judge]] = {}  # (data, size): judges trained while the explorer is open


@cache
def judges_of(run: Found) -> tuple[judges.Judge | None, judges.Judge | None]:
    """The attribute and the identity judge of a run: its own, else one of the same data and size, committed in results/judges/ or cached; None
    where there is none. Nothing is trained."""
    owner = _owner(run)
    size, data, width = run.record["size"], run.record["data"], owner.config["config"].get("judge_width", 8)
    out = []
    for kind in ("attribute", "identity"):
        wanted = owner.record.get("judges", {}).get(kind, {}).get("id", "")
        tries = [(RESULTS / "judges", wanted), (default_dir() / "judges", wanted), (RESULTS / "judges", "")]
        out.append(next((j for folder, id in tries if (j := _at_hand(folder, kind, size, data, id, width)) is not None), None))
    trained = _TRAINED.get((data, size), (None, None))
    return tuple(j or t for j, t in zip(out, trained, strict=True))


def use_judges(run: Found, both: tuple[judges.Judge, judges.Judge]) -> None:
    """Take these judges for runs of the same data and size that have none."""
    _TRAINED[run.record["data"], run.record["size"]] = both
    judges_of.cache_clear()


def train_judges(run: Found) -> tuple[judges.Judge, judges.Judge]:
    """Both judges as the run's notebook trains them (or from its cache): about a minute at the `cpu` profile. A set that is not at hand raises
    DataError."""
    cfg = config_of(_owner(run))
    faces = load(run.record["data"], run.record["size"], n=getattr(cfg, "faces", 8_000))
    split = make_split(faces, getattr(cfg, "split", "random"))
    budget = {"width": getattr(cfg, "judge_width", 8), "steps": getattr(cfg, "judge_steps", 700)}
    return judges.attribute_judge(faces, split, **budget), judges.identity_judge(faces, split, **budget)


# ------------------------------------------------------------------------------------------------ what is committed


def used(model: Model) -> set[str]:
    """The networks, as '<model>/<net>', that an edit of any attribute calls, in any mode."""
    called, hooks = set(), []
    for name, nets in model.nets.items():
        for net, module in networks(nets).items():
            hooks += [m.register_forward_pre_hook(lambda *_, key=f"{name}/{net}": called.add(key)) for m in module.modules()]
    for attribute in model.names:
        for mode in model.modes:
            for target in (0.0, 1.0):
                edit(model, drawn(1), {attribute: target}, mode, even_if_own=True)
    for hook in hooks:
        hook.remove()
    return called


def ship(results: Path = RESULTS) -> list[str]:
    """Write what is committed so that the explorer works in a fresh copy. Returns a sentence for each change; what is up to date stays.

    explorer.safetensors beside every checkpoint of a complete run on drawn faces (the newest of equal configurations, of the first seed; of runs
    made for a comparison only other methods' with several attributes, no ablations), and those runs' judges in results/judges/, from which the
    judges of no run are removed. Raises ExplorerError for a file over MAX_BYTES.
    """
    said, seen = [], set()
    for run in sorted(found(results)[0], key=lambda run: run.record["seed"]):
        r = run.record
        comparison = "beside" in r and (len(names_of(run)) < 2 or _owner(run).method == run.method)
        what = (run.method, "beside" in r, _differs(run), tuple(names_of(run)), *(r[name] for name in ("data", "profile", "size")))
        if what in seen or comparison or r["status"] != "complete" or not r["publishable"] or r["scratch"]:
            continue
        seen.add(what)
        if run.file.name == SHIPPED:
            continue
        out, sha = run.folder / SHIPPED, r["checkpoint_sha256"]
        if not (out.exists() and _about(out).get("checkpoint_sha256") == sha):
            model = load_model(run)
            keep = used(model)
            flat = {k: _halved(v) for k, v in weights(model.nets).items() if k.split(".")[0] in keep}
            about = {"paper": run.method, "run": r["run_id"], "size": str(r["size"]), "checkpoint_sha256": sha}
            said.append(_write(out, flat, about))
        for judge in judges_of(run):
            file = results / "judges" / f"{judge.kind}-{judge.id}.safetensors" if judge else None
            if file and not file.exists() and judge.id == _owner(run).record.get("judges", {}).get(judge.kind, {}).get("id"):
                about = {"id": judge.id, "data": r["data"], "size": r["size"], "width": _owner(run).config["config"]["judge_width"]}
                about["date"] = r.get("finished", "")
                about["scores"] = json.loads(judge.scores.to_json(orient="records"))
                file.parent.mkdir(parents=True, exist_ok=True)
                both = nn.ModuleDict({"body": judge.body, "head": judge.head})
                said.append(_write(file, {k: v.contiguous() for k, v in both.state_dict().items()}, {"about": json.dumps(about)}))
    recorded = {j["id"] for run in found(results)[0] for j in run.record.get("judges", {}).values()}
    for file in (results / "judges").glob("*.safetensors"):
        if file.stem.rpartition("-")[2] not in recorded:
            file.unlink()
            said.append(f"judges/{file.name}: removed, no run was measured with it")
    return said


def _about(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as stored:
        return stored.metadata() or {}


def _halved(value: Tensor) -> Tensor:
    """Kernels in half precision; biases, scales and running statistics, which are few and may be large, as they are."""
    return (value.half() if value.is_floating_point() and value.dim() > 1 else value).contiguous()


def _write(file: Path, flat: dict[str, Tensor], about: dict[str, str]) -> str:
    save_atomically(file, lambda p: save_file(flat, p, about))
    file.chmod(0o644)
    if file.stat().st_size > MAX_BYTES:
        size = file.stat().st_size / 1e6
        file.unlink()
        raise ExplorerError(f"{file.parent.name}/{file.name} would weigh {size:.1f} MB, over {MAX_BYTES / 1e6:.0f} MB: too much to commit.")
    return f"{file.parent.parent.name}/{file.parent.name}/{file.name}: {file.stat().st_size / 1e6:.1f} MB"

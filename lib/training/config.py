"""Parameters checked before anything runs: strict dataclass configs, and the `parameters` cell of a notebook."""

import ast
import dataclasses
import difflib
import json
import types
import typing
from pathlib import Path

from lib.sources import ROOT, StudyError

FOLDERS = ("data", "domains", "lfw", "results")  # parameters that may name a folder


class ParameterError(StudyError, ValueError):
    """An unknown name, a wrong type or a value out of range; the message names the parameter and the remedy."""


def _matches(value, hint) -> bool:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_matches(value, a) for a in typing.get_args(hint))
    kind = origin or hint or type(None)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def unknown(name: str, valid) -> str:
    """'unknown parameter ...' with the closest valid name, if any is close, and all valid names."""
    close = difflib.get_close_matches(name, list(valid), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"unknown parameter {name!r}.{hint} Valid names: {', '.join(valid)}."


def check(params: dict, hints: dict[str, object], where: str) -> None:
    """Raise ParameterError if `params` holds a name that `hints` lacks, or a value that is not of the hinted type."""
    for name, value in params.items():
        if name not in hints:
            raise ParameterError(f"{where}: {unknown(name, hints)}")
        if not _matches(value, hints[name]):
            kind = getattr(hints[name], "__name__", hints[name])
            raise ParameterError(f"{where}: {name} = {value!r} is a {type(value).__name__}; it must be {kind}.")


def from_params(preset, params: dict):
    """A copy of the frozen dataclass instance `preset` with `params` put in. Raises ParameterError."""
    cls = type(preset)
    hints = {f.name: typing.get_type_hints(cls)[f.name] for f in dataclasses.fields(cls)}
    check(params, hints, cls.__module__.rpartition(".")[2])
    return dataclasses.replace(preset, **{k: float(v) if hints[k] is float else v for k, v in params.items()})


def require(condition: bool, name: str, value, must: str) -> None:
    """Raise ParameterError '`name` = `value`: must be ...' unless the condition holds."""
    if not condition:
        raise ParameterError(f"{name} = {value!r}: it must be {must}.")


RANGES = {f"at least {least}": lambda v, least=least: v >= least for least in (0, 1, 2)}
RANGES |= {"positive": lambda v: v > 0, "in [0, 1)": lambda v: 0 <= v < 1}


def require_each(cfg, must: str, *names: str) -> None:
    """`require` of several fields of a dataclass that they lie in one of RANGES."""
    for name in names:
        require(RANGES[must](getattr(cfg, name)), name, getattr(cfg, name), must)


def pick(options: dict, name: str, what: str):
    """options[name], or a ParameterError that lists the options."""
    if name not in options:
        raise ParameterError(f"{what} = {name!r}: it must be one of {', '.join(options)}.")
    return options[name]


def listed(text: str) -> tuple[str, ...]:
    """'a, b' -> ('a', 'b'); an empty text has none."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def selected(text: str, options, what: str) -> tuple[str, ...]:
    """The options that 'all' or a list like 'a, b' names, in their own order. ParameterError for none or others."""
    wanted = listed(text)
    if wanted == ("all",):
        return tuple(options)
    require(bool(wanted) and set(wanted) <= set(options), what, text, f"all, or among {', '.join(options)} (several joined by commas)")
    return tuple(o for o in options if o in wanted)


def declared(notebook: Path) -> dict[str, tuple[object, object]]:
    """The names a notebook's one cell tagged `parameters` declares: name -> (type, default).

    Papermill only warns about an unknown parameter and checks no type, so the cell's syntax tree is read instead.
    Every line must be `name: type = literal  # help`; anything else raises ParameterError, since papermill injects
    values *after* the cell and a derived value would keep its old value. """
    cells = [c for c in json.loads(notebook.read_text())["cells"] if "parameters" in c["metadata"].get("tags", [])]
    if len(cells) != 1:
        raise ParameterError(f"{notebook}: it must have exactly one cell tagged 'parameters', found {len(cells)}.")
    body = ast.parse("".join(cells[0]["source"])).body
    for node in body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None):
            raise ParameterError(f"{notebook}: parameters cell, line {node.lineno}: only `name: type = literal` is allowed.")
    return {name: (kind, ast.literal_eval(value)) for name, (kind, value) in _annotated(body).items()}


def _annotated(body: list[ast.stmt]) -> dict[str, tuple[object, ast.expr]]:
    """name -> (type, syntax tree of the value) of the lines `name: type = value`; built-in types alone are known."""
    kinds = {t.__name__: t for t in (int, float, str, bool, dict, list)} | {"None": None}
    nodes = [n for n in body if isinstance(n, ast.AnnAssign)]
    return {n.target.id: (eval(ast.unparse(n.annotation), {"__builtins__": kinds}), n.value) for n in nodes}


def fields(file: Path, dataclass: str) -> dict[str, object]:
    """Name -> type of a dataclass's fields, read from its source without importing it (PyTorch takes seconds)."""
    (found,) = [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.ClassDef) and n.name == dataclass]
    return {name: kind for name, (kind, _) in _annotated(found.body).items()}


def notebook_of(name: str) -> Path:
    """notebooks/NN_<name>.ipynb. Raises ParameterError, listing what there is, if there is none."""
    names = {path.stem.partition("_")[2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
    if name not in names:
        raise ParameterError(unknown(name, names).replace("parameter", "notebook"))
    return names[name]


def checked_parameters(name: str, given: list[tuple[str, str]]) -> dict:
    """The parameters that a notebook declares, with the command line's (name, text) put in; fields of the paper's
    Config or of its evaluation's Settings go into `overrides`. Needs no heavy import. Raises ParameterError."""
    notebook = notebook_of(name)
    names = declared(notebook)
    kinds, values = ({n: pair[k] for n, pair in names.items()} for k in (0, 1))
    folder = ROOT / "lib" / "papers" / name
    if folder.is_dir():
        kinds = fields(folder / "model.py", "Config") | fields(folder / "evaluation.py", "Settings") | kinds
    overrides = {}
    for key, text in given:
        place = values if key in names else overrides
        place[key] = from_text(absolute(key, text), kinds.get(key, str))
    check(values | overrides, {n: kinds[n] for n in (*names, *kinds)}, notebook.name)
    if overrides:
        values["overrides"] = values["overrides"] | overrides
    return values


def absolute(key: str, text: str) -> str:
    """A folder that a parameter names, relative to the working folder or to ~, by its whole path: notebooks run in the project's folder. Names
    of built-in sets and of what is no folder stay as they are."""
    if key not in FOLDERS or text in ("", "synthetic", "synthetic-balanced", "animals"):
        return text
    path = Path(text).expanduser().absolute()
    return str(path) if path.is_dir() or key == "results" else text


def from_text(text: str, hint) -> object:
    """A command-line value as the hinted type wants it: JSON where it parses, else the text itself."""
    if hint is str:
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def data_of(paper: str, study: dict) -> str:
    """The faces on which a study runs a paper, as the parameter `data` names them."""
    balanced = study["data"] == "synthetic" and paper in study.get("balanced", ())
    return "synthetic-balanced" if balanced else study["data"]


STUDY = {"data": str, "profile": str, "device": str, "seeds": list, "papers": list, "balanced": list, "parameters": dict, "results": str}


def read_study(file: Path = ROOT / "study.yaml") -> dict:
    """The entries of study.yaml, or of a file like it. Raises ParameterError for what is none."""
    import yaml

    try:
        study = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ParameterError(f"{file}: {error}. Give the path of a study file like study.yaml with --study.") from None
    if not isinstance(study, dict):
        raise ParameterError(f"{file}: not a mapping of names to values; see study.yaml.")
    check(study, STUDY, str(file))
    return study

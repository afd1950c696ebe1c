"""Which source files a notebook depends on, and the error that every room shares. Needs the standard library alone."""

import ast
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class StudyError(Exception):
    """What a reader can mend: the message says what is wrong, where, and what to do. code: a command's exit code."""

    code = 2


def sources(*names: str) -> list[str]:
    """The source files of the named modules and of every `lib` module they import, directly or not."""
    pending, seen = list(names), set()
    while pending:
        base = ROOT / pending.pop().replace(".", "/")
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        key = str(file.relative_to(ROOT))
        if key not in seen and file.exists():
            seen.add(key)
            pending += imported(ast.parse(file.read_text()))
    return sorted(seen)


def imported(tree: ast.AST) -> list[str]:
    """The `lib` modules that a syntax tree imports; with 'lib.x.name' for `from lib.x import name`, maybe a module."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lib":
            found += [node.module] + [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] == "lib"]
    return found


def of_notebook(path: Path) -> list[str]:
    """A notebook and all `sources` that it imports."""
    cells = json.loads(path.read_text())["cells"]
    names = [name for c in cells if c["cell_type"] == "code" for name in imported(ast.parse("".join(c["source"])))]
    return [str(path.relative_to(ROOT)), *sources(*names)]

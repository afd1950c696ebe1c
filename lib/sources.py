"""Which source files a result depends on: followed through imports, hashed without comments and layout. Needs the
standard library alone."""

import ast
import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def sources(*names: str) -> dict[str, str]:
    """Hash per source file of the named modules and of every `lib` module they import, directly or not.

    Comments, docstrings and layout do not count: the hash is over the syntax tree without them.
    """
    pending, seen = list(names), {}
    while pending:
        name = pending.pop()
        base = ROOT / name.replace(".", "/")
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        key = str(file.relative_to(ROOT))
        if key in seen or not file.exists():
            continue
        tree = ast.parse(file.read_text())
        pending += imported(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        seen[key] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]
    return dict(sorted(seen.items()))


def imported(tree: ast.AST) -> list[str]:
    """The `lib` modules that a syntax tree imports; 'lib.x.name' is there for `from lib.x import name` too, as name
    may be a module."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lib":
            found += [node.module] + [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] == "lib"]
    return found


def of_notebook(path: Path) -> dict[str, str]:
    """`sources` of everything a notebook imports, and a hash of the notebook's own cells under its file name."""
    cells = json.loads(path.read_text())["cells"]
    text = ["".join(c["source"]) for c in cells]
    code = [t for t, c in zip(text, cells, strict=True) if c["cell_type"] == "code"]
    names = [name for t in code for name in imported(ast.parse(t))]
    return sources(*names) | {str(path.relative_to(ROOT)): hashlib.sha256("\0".join(text).encode()).hexdigest()[:16]}

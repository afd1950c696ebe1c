"""The one exception for bad input, and the one way its message is written."""

from pathlib import Path
from typing import NoReturn


class DataError(ValueError):
    """Bad input data. Message: `<file>:<line>: what is wrong. Remedy.` (no line where the trouble has none)."""


def fail(where: Path | str, line: int | None, problem: str, remedy: str) -> NoReturn:
    """Raise DataError; problem and remedy are sentences without their full stop."""
    raise DataError(f"{where}:{line}: {problem}. {remedy}." if line is not None else f"{where}: {problem}. {remedy}.")

"""The one exception for bad input, and the one way its message is written."""

from numbers import Integral
from pathlib import Path
from typing import NoReturn

from lib.sources import StudyError


class DataError(StudyError, ValueError):
    """Bad input data. Message: `<file>:<line>: what is wrong. Remedy.` (no line where the trouble has none)."""


def fail(where: Path | str, line: int | None, problem: str, remedy: str) -> NoReturn:
    """Raise DataError; problem and remedy are sentences without their full stop."""
    place, end = where if line is None else f"{where}:{line}", "" if remedy.endswith("?") else "."
    raise DataError(f"{place}: {problem}. {remedy}{end}")


def check_seed(seed: int) -> None:
    """DataError for a seed that some generator in use does not take: renderer and torch count in 64 bits, NumPy from 0."""
    if not isinstance(seed, Integral) or not 0 <= seed < 2**63:
        raise DataError(f"seed is {seed!r}. Give an integer from 0 to {2**63 - 1}.")

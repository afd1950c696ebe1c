"""Which equations of which paper have a test."""

TESTED: dict[str, set[int]] = {}


def equation(paper: str, *numbers: int):
    """Marks a test as the one that recomputes these equations."""
    TESTED.setdefault(paper, set()).update(numbers)
    return lambda test: test

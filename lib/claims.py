"""Claims of the papers and their verdicts, deviations from the papers: plain records. A verdict is computed, never typed."""

import operator
from dataclasses import dataclass

import pandas as pd

OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
VERDICTS = ("reproduced", "partly", "not reproduced", "not tested")


@dataclass(frozen=True)
class Deviation:
    """What the paper says (and where), what we do, why, and its measured effect."""

    id: str
    paper: str
    ours: str
    why: str
    effect: str = "not measured"


@dataclass(frozen=True)
class Test:
    """One inequality: the measure's value, or an end of its interval, against a bound. `measure` is 'metric | row | column' of metrics.csv."""

    measure: str
    op: str
    bound: float
    at: str = "value"  # or ci_low, ci_high

    __test__ = False  # not a pytest class

    def __post_init__(self):
        if self.op not in OPERATORS or self.at not in ("value", "ci_low", "ci_high"):
            raise ValueError(f"{self.measure}: {self.at} {self.op} is no inequality of this study.")


@dataclass(frozen=True)
class Claim:
    """A claim, where the paper makes it, the criterion in words, and the same criterion as inequalities."""

    id: str
    claim: str
    source: str
    criterion: str
    tests: tuple[Test, ...]


def measures(metrics: pd.DataFrame) -> dict[str, pd.Series]:
    """'metric | row | column' -> the row of a metrics frame. Rows without a value (unavailable) are left out."""
    rows = metrics[metrics["value"].notna()]
    return {f"{r.metric} | {r.row} | {r.column}": r for _, r in rows.iterrows()}


def verdicts(claims: tuple[Claim, ...], metrics: pd.DataFrame) -> pd.DataFrame:
    """Decide every claim from the metrics alone: columns id, claim, source, criterion, measured, n, verdict.

    reproduced: every inequality was measured and holds. partly: at least one holds, but another fails or was not measured.
    not reproduced: some were measured and none holds. not tested: none was measured.
    n is the smallest sample behind the measured values.
    """
    have, out = measures(metrics), []
    for claim in claims:
        found = [(t, have[t.measure]) for t in claim.tests if t.measure in have]
        held = [OPERATORS[t.op](row[t.at], t.bound) for t, row in found]
        if not found:
            verdict = "not tested"
        elif not any(held):
            verdict = "not reproduced"
        else:
            verdict = "reproduced" if all(held) and len(found) == len(claim.tests) else "partly"
        said = [f"{t.measure.replace(' | ', ', ')}: {row['value']:.3g}" for t, row in found]
        parts = [f"{text} {'holds' if ok else 'fails'}" for text, ok in zip(said, held, strict=True)]
        missing = len(claim.tests) - len(found)
        if missing:
            parts.append(f"{missing} of {len(claim.tests)} not measured")
        n = min((int(row["n"]) for _, row in found), default=0)
        out.append((claim.id, claim.claim, claim.source, claim.criterion, "; ".join(parts), n, verdict))
    return pd.DataFrame(out, columns=["id", "claim", "source", "criterion", "measured", "n", "verdict"])

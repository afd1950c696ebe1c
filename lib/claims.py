"""Claims and their verdicts, deviations from the papers: plain records. A verdict is computed, never typed."""

import operator
from dataclasses import dataclass

import pandas as pd

OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
VERDICTS = ("reproduced", "partly", "not reproduced", "undecided", "not tested")
COLUMNS = ["id", "claim", "source", "criterion", "verdict", "measured", "reason", "n"]


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
    """One inequality: the measure's value, or an end of its interval, against a bound; with `high`, a band [bound, high].
    measure: 'metric | row | column' of metrics.csv. table: its table there, needed where several have the measure."""

    measure: str
    op: str
    bound: float
    at: str = "value"  # or ci_low, ci_high
    table: str = ""
    high: float | None = None  # of a band, with op "in"

    __test__ = False  # not a pytest class

    @property
    def parts(self) -> list[str]:
        """Metric, row and column of the measure."""
        return self.measure.split(" | ")

    def holds(self, value: float) -> bool:
        """Whether a value meets it. NaN never does."""
        return self.bound <= value <= self.high if self.op == "in" else bool(OPERATORS[self.op](value, self.bound))

    def outcome(self, row) -> str:
        """'holds', 'fails' or 'open' for a row of metrics.csv.

        It fails only where the whole 95 % interval lies on the failing side; where the interval reaches over the
        bound it is open. A value without an interval (a count, a rank) decides alone. """
        if self.holds(row[self.at]):
            return "holds"
        ends = [row[end] for end in ("ci_low", "ci_high") if pd.notna(row[end])]
        if not ends:
            return "fails"
        inside = any(map(self.holds, ends)) or (self.op == "in" and min(ends) < self.bound and max(ends) > self.high)
        return "open" if inside else "fails"

    def words(self, row) -> str:
        """What was measured, how sure it is, and what was asked."""
        metric, place, column = self.parts
        share = unit(metric)
        value, low, high = (f"{round(100 * row[c]) + 0:d}" if share and pd.notna(row[c]) else f"{row[c]:.4g}" for c in ("value", "ci_low", "ci_high"))
        value += f" {share}" * bool(share) + f" [{low}, {high}]" * pd.notna(row["ci_low"])
        bound = " to ".join(f"{100 * b:.3g} {share}" if share else f"{b:.4g}" for b in (self.bound, self.high) if b is not None)
        end = {"value": "", "ci_low": "lower end ", "ci_high": "upper end "}[self.at]
        required, n = bound if self.op == "in" else f"{self.op} {bound}", f", n = {row['n']:.0f}" if row["n"] > 1 else ""
        return f"{measure(metric)} of {place.replace('_', ' ')}, {column}: {value}{n}; required {end}{required}"


SHARES = {
    "edit_success", "edit_success_a", "edit_success_b", "success_blurred", "unrelated_kept", "counterfactual_gain", "flip_accuracy", "d_accuracy",
    "identity_kept", "judge_accuracy", "judge_balanced_accuracy", "male_changed", "domain_accuracy", "reference_match",
    "mask_roi_mass", "judges_disagree", "unedited_floor", "unrelated_accuracy", "d_share", "share_of_paper", "landmark_outside",
    "judge_majority_rate",
}  # fmt: skip
WORDS = {  # what a page calls a measure, where its name alone puzzles
    "edit_success_a": "judge a alone", "edit_success_b": "judge b alone", "success_blurred": "success after a blur",
    "counterfactual_gain": "nearer to the exact answer", "counterfactual_gain_db": "nearer by (dB)",
    "counterfactual_psnr": "PSNR to the exact answer", "psnr": "PSNR", "ssim": "SSIM", "frechet_judge": "Frechet distance",
    "change_inside_l1": "change inside the region", "change_outside_l1": "change outside the region",
    "own_label_l1": "change towards its own label", "male_changed": "gender verdict changed", "mask_iou": "mask IoU",
    "mask_mean": "mean of the mask", "mask_share": "mask above 0.1", "mask_saturated": "mask above 0.9", "mask_roi_mass": "mask inside the region",
    "g_inside_l1": "change by G inside the hole", "g_outside_l1": "change by G outside it", "outside_hole_l1": "change outside the hole",
    "d_share": "D's share of R's gradient", "share_of_paper": "share of the reference length", "lpips": "LPIPS", "spearman": "Spearman's rho",
    "photographs": "photographs (1) or drawings (0)", "landmark_outside": "landmark outside the hole",
}  # fmt: skip


def unit(metric: str) -> str:
    """How a metric is shown: shares in '%', differences of shares in 'points', others as they are ('')."""
    name, _, of = metric.partition(" ")
    apart = name == "beyond_floor" or name in SHARES and of in ("difference", "drop", "spread")
    return "points" if apart else "%" if name in SHARES and of in ("", "best") else ""


def measure(metric: str) -> str:
    """A metric's name for readers: 'mask_share difference' -> 'mask above 0.1, difference'; other texts lose their _."""
    name, _, of = metric.partition(" ")
    return WORDS[name] + f", {of}" * bool(of) if name in WORDS else metric.replace("_", " ")


@dataclass(frozen=True)
class Precondition:
    """Something without which a claim cannot be decided, in words and as tests. It is written before any run."""

    words: str
    tests: tuple[Test, ...]


def works(*methods: str, rows: tuple[str, ...] = ("all",), table: str = "comparisons") -> Precondition:
    """Both judges see the target in at least 60 % of the edits of every method in every row: what does not edit keeps
    everything else."""
    tests = tuple(Test(f"edit_success | {r} | {m}", ">=", 0.6, table=table) for r in rows for m in methods)
    return Precondition(f"edits of {', '.join(methods)} succeed by both judges at least 60 %", tests)


def trusted(attributes: tuple[str, ...]) -> Precondition:
    """The judges know the attributes whose edits they judge."""
    words = "both judges' balanced accuracy on the edited attributes is at least .75"
    at = [f"judge_balanced_accuracy | {a} | judge {j}" for a in attributes for j in "ab"]
    return Precondition(words, tuple(Test(measure, ">=", 0.75, table="judges") for measure in at))


@dataclass(frozen=True)
class Claim:
    """A claim, where the paper makes it, the criterion in words and as inequalities, and what must hold for it to be decided."""

    id: str
    claim: str
    source: str
    criterion: str
    tests: tuple[Test, ...]
    needs: tuple[Precondition, ...] = ()


def measures(metrics: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    """(table, 'metric | row | column') -> the row of a metrics frame. Rows without a value are left out."""
    rows = metrics[metrics["value"].notna()]
    return {(r.table, f"{r.metric} | {r.row} | {r.column}"): r for _, r in rows.iterrows()}


def lookup(test: Test, known: dict[tuple[str, str], pd.Series]) -> pd.Series | None:
    """The row that a test is about, or None if it was not measured. Raises ValueError if several tables have it and
    the test names none."""
    rows = [row for (table, measure), row in known.items() if measure == test.measure and test.table in ("", table)]
    if len(rows) > 1:
        raise ValueError(f"{test.measure}: measured in the tables {', '.join(str(r['table']) for r in rows)}; the claim must name one.")
    return rows[0] if rows else None


def verdicts(claims: tuple[Claim, ...], metrics: pd.DataFrame) -> pd.DataFrame:
    """Decide every claim from the metrics alone: a frame with COLUMNS. n is the smallest sample behind the measured
    values.

    not tested: nothing was measured. undecided: a precondition fails or was not measured, the intervals reach over the
    bounds, or what holds is not all of it; `reason` says which. reproduced: every inequality was measured and holds.
    not reproduced: every one was measured and fails with its whole interval. partly: some hold, others fail.
    """
    known, out = measures(metrics), []
    for claim in claims:
        rows = [(test, lookup(test, known)) for test in claim.tests]
        measured = [(test, row) for test, row in rows if row is not None]
        outcomes = [test.outcome(row) for test, row in measured]
        missing = len(rows) - len(measured)
        verdict, reason = _verdict(outcomes, missing, _lacking(claim, known))
        parts = [f"{test.words(row)}: {outcome}" for (test, row), outcome in zip(measured, outcomes, strict=True)]
        if missing and measured:
            parts.append(f"{missing} of {len(rows)} not measured")
        n = min((int(row["n"]) for _, row in measured), default=0)
        out.append((claim.id, claim.claim, claim.source, claim.criterion, verdict, "; ".join(parts), reason, n))
    return pd.DataFrame(out, columns=COLUMNS)


def _verdict(outcomes: list[str], missing: int, lacking: str) -> tuple[str, str]:
    holds, fails, unsettled = (outcomes.count(o) for o in ("holds", "fails", "open"))
    if not outcomes:
        return "not tested", ""
    if lacking:
        return "undecided", lacking
    if holds == len(outcomes) and not missing:
        return "reproduced", ""
    if holds and fails:
        return "partly", ""
    if fails and not holds and not unsettled and not missing:
        return "not reproduced", ""
    return "undecided", "the interval includes the bound" if unsettled else "not all of it was measured"


def _lacking(claim: Claim, known: dict) -> str:
    """The first precondition that does not hold or was not measured, in words; empty if all do."""
    for need in claim.needs:
        rows = [(test, lookup(test, known)) for test in need.tests]
        for test, row in rows:
            if row is None:
                left = dict.fromkeys(place if place != "all" else column for _, place, column in (t.parts for t, r in rows if r is None))
                return f"{need.words}: not measured for {', '.join(left).replace('_', ' ')}"
            if not test.holds(row[test.at]):
                return f"{need.words}: {test.words(row)}"
    return ""

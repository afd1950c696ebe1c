"""Verdicts: each kind of claim on made-up rows that hold, fail, are borderline, are missing, or lack a precondition."""

import pandas as pd
import pytest

from lib.claims import COLUMNS, Claim, Precondition, Test, verdicts
from lib.papers.bridgegan import evaluation as bridgegan
from lib.papers.diat import evaluation as diat
from lib.papers.sagan import evaluation as sagan
from lib.papers.sggan import evaluation as sggan

A, B = Test("edit_success | a | x", ">=", 0.5), Test("psnr | b | x", "<", 20.0, "ci_high")
COLUMNS_OF_METRICS = ["table", "metric", "row", "column", "value", "ci_low", "ci_high", "n"]


def row(measure, value, low=float("nan"), high=float("nan"), n=96, table="t"):
    metric, place, column = measure.split(" | ")
    return (table, metric, place, column, value, low, high, n)


def decide(tests, *rows, needs=()):
    frame = pd.DataFrame(rows, columns=COLUMNS_OF_METRICS)
    return verdicts((Claim("C", "c", "s", "k", tests, needs),), frame).iloc[0]


holds, fails, near = (row("edit_success | a | x", *v) for v in ((0.8, 0.7, 0.9), (0.2, 0.1, 0.3), (0.45, 0.35, 0.55)))
other_holds, other_fails = row("psnr | b | x", 15.0, 14.0, 16.0), row("psnr | b | x", 25.0, 24.0, 26.0)


@pytest.mark.parametrize(
    ("tests", "rows", "verdict"),
    [
        ((A,), (), "not tested"),
        ((A,), (row("edit_success | a | x", float("nan")),), "not tested"),
        ((A,), (holds,), "reproduced"),
        ((A,), (fails,), "not reproduced"),
        ((A,), (near,), "undecided"),  # the interval reaches over the bound
        ((A, B), (holds, other_holds), "reproduced"),
        ((A, B), (holds, other_fails), "partly"),
        ((A, B), (holds,), "undecided"),  # the other inequality was not measured
        ((A, B), (fails, other_fails), "not reproduced"),
        ((A, B), (fails,), "undecided"),
        ((A, B), (near, other_fails), "undecided"),
        ((A,), (row("edit_success | a | x", 0.4),), "not reproduced"),  # a figure without an interval decides alone
    ],
)
def test_verdicts(tests, rows, verdict):
    assert decide(tests, *rows)["verdict"] == verdict


def test_a_precondition_that_fails_or_is_missing_leaves_a_claim_undecided():
    need = (Precondition("the edit succeeds", (Test("edit_success | a | x", ">=", 0.6),)),)
    assert decide((B,), other_holds, holds, needs=need)["verdict"] == "reproduced"
    failed = decide((B,), other_holds, fails, needs=need)
    assert failed["verdict"] == "undecided" and failed["reason"].startswith("the edit succeeds: edit success of a, x: 20 %")
    missing = decide((B,), other_holds, needs=need)
    assert missing["verdict"] == "undecided" and missing["reason"] == "the edit succeeds: not measured for a"
    assert decide((B,), needs=need)["verdict"] == "not tested"


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ((0.5, 0.45, 0.55), "reproduced"),
        ((0.1, 0.0, 0.2), "not reproduced"),
        ((0.9, 0.8, 1.0), "not reproduced"),
        ((0.35, 0.2, 0.5), "undecided"),
        ((0.9, 0.3, 1.0), "undecided"),
    ],
)
def test_a_band_is_one_test(value, verdict):
    band = Test("edit_success | a | x", "in", 0.4, high=0.6)
    assert decide((band,), row("edit_success | a | x", *value))["verdict"] == verdict


def test_a_measure_of_two_tables_must_name_one():
    first, second = row("edit_success | a | x", 0.9, 0.85, 0.95, table="Fig. 4"), row("edit_success | a | x", 0.1, 0.05, 0.15, table="Fig. 6")
    with pytest.raises(ValueError, match="measured in the tables Fig. 4, Fig. 6; the claim must name one"):
        decide((A,), first, second)
    for table, verdict in (("Fig. 4", "reproduced"), ("Fig. 6", "not reproduced")):
        assert decide((Test("edit_success | a | x", ">=", 0.5, table=table),), first, second)["verdict"] == verdict


def test_what_was_measured_is_said_in_words():
    found = decide((A, B), holds)
    assert list(found.index) == COLUMNS
    assert found["measured"] == "edit success of a, x: 80 % [70, 90], n = 96; required >= 50 %: holds; 1 of 2 not measured"
    assert found["n"] == 96 and "PSNR of b, x: 25 [24, 26], n = 96; required upper end < 20: fails" in decide((B,), other_fails)["measured"]


def rows_for(tests, by: float) -> dict:
    """Metric rows that lie `by` on the good side of their tests' bounds."""
    values = {}
    for t in tests:
        inside = t.op == "in" and by > 0
        values[t.table or "t", t.measure] = (t.bound + t.high) / 2 if inside else t.bound + (by if t.op.startswith(">") else -by)
    return {(table, m): row(m, value, value, value, table=table) for (table, m), value in values.items()}


@pytest.mark.parametrize("claim", [*sagan.CLAIMS, *diat.CLAIMS, *sggan.CLAIMS, *bridgegan.CLAIMS], ids=lambda c: f"{c.id}: {c.claim}")
def test_every_claim_can_hold_fail_and_stay_open(claim):
    needs = rows_for([t for need in claim.needs for t in need.tests], 1e-3)
    for by, verdict in ((0.2, "reproduced"), (-0.2, "not reproduced")):
        assert decide(claim.tests, *(needs | rows_for(claim.tests, by)).values(), needs=claim.needs)["verdict"] == verdict
    assert decide(claim.tests, needs=claim.needs)["verdict"] == "not tested"
    own = rows_for(claim.tests, 0.2)
    if needs.keys() - own.keys():
        assert decide(claim.tests, *own.values(), needs=claim.needs)["verdict"] == "undecided"

"""results/paper_values.csv: well formed, complete, and consistent with itself wherever the papers print a number twice."""

import re
from pathlib import Path

import pandas as pd
import pytest

from lib.claims import SHARES
from lib.evaluation.measures import PROTOCOLS
from lib.pages import comparison

FILE = Path(__file__).parents[1] / "results" / "paper_values.csv"
COLUMNS = ["paper", "table", "row", "column", "value", "unit", "note"]
KEY = COLUMNS[:4]
UNITS = {"%", "dB", "px", "s", "days", "GB", "images/s", "count", "weight", "1"}

FACE = [
    "Young", "Mouth Slightly Open", "Smiling", "Black Hair", "Blond Hair", "Brown Hair", "Gray Hair", "Receding Hairline", "Bangs", "Male",
    "No Beard", "Mustache", "Goatee", "Sideburns",
]  # fmt: skip
SEVEN = ["StarGAN", "STGAN", "SMIT", "Ours (Label-based)", "ELEGANT", "HomoGAN", "Ours (Reference-based)"]
FIVE = ["ResidualGAN", "StarGAN", "SG-GAN(ALL)", "SG-GAN(5000)", "SG-GAN(500)"]
SG = ["Gender", "Smile", "Hair Color"]
# Every printed table of results: its rows and columns in printed order.
TABLES = {
    ("atigan", "Table 1"): (["SIIWGAN", "SIIDGM", "CE", "GL", "GntInp", "GMCNN", "GL+LID", "Ours"], ["PSNR", "SSIM"]),
    ("bridgegan", "Table 1"): (SEVEN, FACE),
    ("bridgegan", "Table 2"): (SEVEN, FACE),
    ("bridgegan", "Table 3"): (
        ["StarGAN-V2 (Label-based)", "Ours (Label-based)", "StarGAN-V2 (Reference-based)", "Ours (Reference-based)"],
        ["dog2cat", "wild2cat", "cat2dog", "wild2dog", "cat2wild", "dog2wild"],
    ),
    ("sggan", "Table 2"): ([*FIVE, "CelebA"], [f"{edit} / {judged}" for edit in ("Gender", "Hair Color") for judged in (*SG, "Background")]),
    ("sggan", "Table 3"): (["RIL", "Refined RIL"], SG),
}
# Totals of the rows, then of the columns, summed from a second transcription: together they give away a swapped or mistyped cell.
TOTALS = {
    ("atigan", "Table 1"): ([20.12, 20.307, 22.223, 24.126, 24.74, 25.404, 26.513, 32.746], [188.71, 7.469]),
    ("bridgegan", "Table 1"): (
        [973.7, 1129.1, 384.2, 1216.6, 372.8, 420.2, 756.4],
        [403.1, 539.0, 490.5, 498.4, 453.7, 401.8, 283.2, 335.7, 517.8, 464.7, 327.9, 154.4, 178.5, 204.3],
    ),
    ("bridgegan", "Table 2"): (
        [363.41, 225.58, 169.95, 199.77, 964.38, 244.77, 159.45],
        [81.30, 61.01, 71.95, 106.21, 159.29, 87.28, 242.46, 99.15, 104.24, 147.42, 189.10, 307.78, 314.71, 355.41],
    ),
    ("bridgegan", "Table 3"): ([186.43, 155.20, 199.90, 160.06], [63.73, 64.34, 186.23, 178.15, 103.02, 106.12]),
    ("sggan", "Table 2"): (
        [620.82, 696.07, 706.68, 695.21, 681.83, 777.50],
        [576.90, 521.09, 589.37, 440.0, 551.65, 528.01, 576.09, 395.0],
    ),
    ("sggan", "Table 3"): ([63.79, 264.84], [112.03, 106.34, 110.26]),
}


@pytest.fixture(scope="module")
def frame():
    return pd.read_csv(FILE, keep_default_na=False)


def grid(frame, paper, table):
    part = frame[(frame["paper"] == paper) & (frame["table"] == table)]
    return part.pivot(index="row", columns="column", values="value").loc[list(dict.fromkeys(part["row"])), list(dict.fromkeys(part["column"]))]


def test_the_file_is_well_formed(frame):
    assert list(frame.columns) == COLUMNS and frame["value"].dtype == float and frame["value"].notna().all()
    assert (frame[[*KEY, "unit"]] != "").all(axis=None) and set(frame["unit"]) == UNITS
    assert frame[frame.duplicated(KEY, keep=False)].empty, "no number is listed twice"
    assert frame.loc[frame["paper"] != frame["paper"].shift(), "paper"].tolist() == ["atigan", "bridgegan", "diat", "sagan", "sggan"]
    assert pd.read_csv(FILE)[COLUMNS[:6]].notna().all(axis=None), "a plain reader takes no name for a missing value"


@pytest.mark.parametrize(("paper", "table"), TABLES)
def test_tables_are_complete_and_in_printed_order(frame, paper, table):
    part = frame[(frame["paper"] == paper) & (frame["table"] == table)]
    rows, columns = TABLES[paper, table]
    assert list(zip(part["row"], part["column"], strict=True)) == [(r, c) for r in rows for c in columns]


@pytest.mark.parametrize(("paper", "table"), TOTALS)
def test_totals_of_rows_and_columns(frame, paper, table):
    cells = grid(frame, paper, table)
    rows, columns = TOTALS[paper, table]
    assert cells.sum(axis=1).tolist() == pytest.approx(rows, abs=1e-6)
    assert cells.sum(axis=0).tolist() == pytest.approx(columns, abs=1e-6)


def test_readme_defines_every_column_and_every_metric_of_the_committed_runs():
    text = (FILE.parent / "README.md").read_text(encoding="utf-8")
    defined = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", text, flags=re.M)
    names = {name for cell in defined for name in re.findall(r"`([^`]+)`", cell)}
    columns = "metric ci_low ci_high n protocol paper_value id claim source criterion measured verdict reason stage cycle".split()
    assert {*COLUMNS, *columns, *PROTOCOLS, *comparison.HIGHER, *comparison.LOWER, *SHARES} - names == set()

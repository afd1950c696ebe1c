"""Metric rows as tables to read: value with interval and n, paper value beside ours."""

import re
from html import escape
from pathlib import Path

import pandas as pd
from IPython.display import HTML

PAPER_VALUES = Path(__file__).resolve().parents[2] / "results" / "paper_values.csv"
PERCENT = {
    "edit_success", "unedited_floor", "identity_kept", "unrelated_kept", "flip_accuracy", "unrelated_accuracy", "d_accuracy", "judge_accuracy",
    "judge_balanced_accuracy", "judge_majority_rate", "human_success", "catch_accuracy", "landmark_outside",
    "reference_match", "domain_accuracy",
}  # fmt: skip


def show(frame: pd.DataFrame, links: dict[str, str] | None = None) -> HTML:
    """A frame as an HTML table without row numbers, no text cut short. links: texts that become links wherever they stand."""
    with pd.option_context("display.max_colwidth", None):
        text = frame.to_html(index=False, na_rep="", border=0, float_format=lambda v: f"{v:.4g}")
    for words, page in (links or {}).items():
        text = re.sub(rf"(?<![\w-]){re.escape(escape(words))}(?![\w-])", f'<a href="{escape(page)}">{escape(words)}</a>', text)
    return HTML(text)


def deviations(paper) -> pd.DataFrame:
    """A paper file's DEVIATIONS."""
    return pd.DataFrame([(d.id, d.paper, d.ours, d.why, d.effect) for d in paper.DEVIATIONS], columns=["id", "the paper", "here", "why", "effect"])


def facts(entries: dict) -> pd.DataFrame:
    """Names and values, one line each."""
    return pd.DataFrame(entries.items(), columns=["fact", "value"])


def number(metric: str, value: float) -> str:
    """A value as a table shows it: shares of verdicts in %, small distances with three digits."""
    if metric in PERCENT:
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def cell(row) -> str:
    """'value [low, high]', or 'unavailable' for a row without a value (its protocol says why)."""
    if pd.isna(row["value"]):
        return "unavailable"
    text = number(row["metric"], row["value"])
    if pd.isna(row["ci_low"]):
        return text
    return f"{text} [{number(row['metric'], row['ci_low'])}, {number(row['metric'], row['ci_high'])}]"


def compare(metrics: pd.DataFrame, wanted: list[str], table: str = "") -> pd.DataFrame:
    """One line per (row, method), one column per wanted metric, as text with 95 % intervals; n is the number of test faces.

    metrics: rows with the columns of metrics.csv; table: only that table's. Metrics that no row has are left out.
    """
    rows = metrics[metrics["metric"].isin(wanted)]
    rows = rows[rows["table"] == table] if table else rows
    if rows.empty:
        return pd.DataFrame(columns=["row", "method", "n"])
    rows = rows.assign(text=[cell(r) for _, r in rows.iterrows()])
    keys = ["row", "column"]
    wide = rows.pivot_table(index=keys, columns="metric", values="text", aggfunc="first", sort=False)
    wide = wide[[m for m in wanted if m in wide.columns]].fillna("")
    wide.insert(0, "n", rows.groupby(keys, sort=False)["n"].max().astype(int).reindex(wide.index))
    return wide.reset_index().rename(columns={"column": "method"}).rename_axis(columns=None)


def unavailable(metrics: pd.DataFrame) -> pd.DataFrame:
    """The metrics that could not be computed, and why."""
    rows = metrics[metrics["value"].isna()]
    return rows[["metric", "protocol"]].drop_duplicates().rename(columns={"protocol": "why"}).reset_index(drop=True)


def printed(paper: str, table: str = "") -> pd.DataFrame:
    """What the paper prints (results/paper_values.csv), all of it or one table's rows."""
    values = pd.read_csv(PAPER_VALUES)
    values = values[values["paper"] == paper]
    return (values[values["table"] == table] if table else values).reset_index(drop=True)


def against_paper(paper: str, ours: dict[str, object]) -> pd.DataFrame:
    """The paper's printed settings beside ours. ours: {'row, column' as in paper_values.csv: our value}. An unknown key raises KeyError."""
    values = printed(paper)
    values.index = values["row"] + ", " + values["column"]
    missing = [k for k in ours if k not in values.index]
    if missing:
        raise KeyError(f"results/paper_values.csv has no {paper} row {missing[0]!r}; it has: {'; '.join(values.index[:40])}")
    rows = [(key, values.loc[[key], "table"].iloc[0], values.loc[[key], "value"].iloc[0], value) for key, value in ours.items()]
    return pd.DataFrame(rows, columns=["quantity", "where printed", "paper", "here"])


def attribute_shares(faces, split, attributes) -> pd.DataFrame:
    """Per attribute its share among the training and the test faces, and the number of test faces with and without it."""
    rows = []
    for a in attributes:
        train, test = faces.column(a)[split.train], faces.column(a)[split.test]
        rows.append((a, f"{100 * train.mean():.1f} %", f"{100 * test.mean():.1f} %", int(test.sum()), int((1 - test).sum())))
    return pd.DataFrame(rows, columns=["attribute", "training faces", "test faces", "test with", "test without"])


def training_cost(record: dict) -> pd.DataFrame:
    """Per stage what its training cost, from run.json."""
    rows = []
    for name, stage in record["stages"].items():
        seen = {f"images seen by {update}": n for update, n in stage["images_seen"].items()}
        rows.append({"stage": name, "cycles": stage["cycles"], **seen, "seconds": stage["seconds"], "cycles per second": stage["cycles_per_second"]})
    return pd.DataFrame(rows)


def history(folder: Path) -> pd.DataFrame:
    """history.csv of a run's folder."""
    return pd.read_csv(folder / "history.csv")


def verdicts(claims: pd.DataFrame) -> pd.DataFrame:
    """The claims as the report's first table shows them."""
    return claims[["id", "claim", "source", "criterion", "verdict", "measured", "n"]]

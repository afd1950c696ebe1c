"""Metric rows as tables to read: value with interval and n, the printed number beside ours, verdicts, what training
cost."""

import re
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import HTML

from lib.claims import Deviation, measure, unit

PAPER_VALUES = Path(__file__).resolve().parents[2] / "results" / "paper_values.csv"
WORDS = {  # an attribute put on, and taken off, as a reader says it; any other attribute is "on" or "off"
    "Eyeglasses": ("glasses on", "glasses off"), "Smiling": ("smile on", "smile off"), "Mouth_Slightly_Open": ("mouth open", "mouth closed"),
    "No_Beard": ("beard off", "beard on"), "Mustache": ("moustache on", "moustache off"), "Male": ("to male", "to female"),
    "Young": ("younger", "older"), "Black_Hair": ("hair black", "hair not black"), "Blond_Hair": ("hair blond", "hair not blond"),
    "Brown_Hair": ("hair brown", "hair not brown"), "Gray_Hair": ("hair gray", "hair not gray"),
    "Wearing_Hat": ("hat on", "hat off"), "Wearing_Lipstick": ("lipstick on", "lipstick off"),
}  # fmt: skip
CHIPS = {v: v for v in ("reproduced", "partly", "undecided")} | {"not reproduced": "failed", "not tested": "untested"}  # CSS classes


def direction(attribute: str, target: int) -> str:
    """An edit in words: ("Eyeglasses", 1) -> "glasses on"."""
    name = attribute.replace("_", " ")
    return WORDS.get(attribute, (f"{name} on", f"{name} off"))[0 if target else 1]


def spoken(text: object) -> str:
    """A text of metrics.csv for readers: 'Eyeglasses +' -> 'glasses on', wherever it stands."""
    names = "|".join(name.replace("_", "[_ ]") for name in WORDS)
    return re.sub(rf"\b({names}|\w+) ([+-])(?=$|[,:;)]| \()", lambda m: direction(m[1].replace(" ", "_"), m[2] == "+"), str(text))


def show(frame: pd.DataFrame) -> HTML:
    """A frame as an HTML table without row numbers, names of columns as words, `code` as code, no column that says
    only "all"; a sentence for a frame without rows."""
    if frame.empty:
        return HTML("<p>Not measured yet: this needs models or faces that this run did not have.</p>")
    if "case" in frame and {*frame["case"]} == {"all"}:
        frame = frame.drop(columns="case")
    frame = frame.rename(columns=lambda name: measure(str(name)))
    with pd.option_context("display.max_colwidth", None):
        table = frame.to_html(index=False, na_rep="", border=0, float_format=lambda v: f"{v:.4g}" if abs(v) < 1e4 else f"{v:.0f}")
    return HTML(re.sub("`([^`<]+)`", r"<code>\1</code>", table))


def deviations(paper) -> pd.DataFrame:
    """A paper file's DEVIATIONS; without the column of effects where none was measured."""
    out = pd.DataFrame([vars(d) for d in paper.DEVIATIONS]).set_axis(["id", "the paper", "here", "why", "effect"], axis=1)
    return out if (out["effect"] != Deviation.effect).any() else out.drop(columns="effect")


def facts(entries: dict) -> pd.DataFrame:
    """Names and values, one line each."""
    return pd.DataFrame(entries.items(), columns=["fact", "value"])


def number(metric: str, value: float, digits: int = 1) -> str:
    """A value as a table shows it: shares in %, their differences in points, others with three digits, no power of ten."""
    if share := unit(metric):
        return f"{round(100 * value, digits) + 0.0:.{digits}f} {share}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return np.format_float_positional(round(value, 5), 3, fractional=False, trim="-")


def cell(row) -> str:
    """'value [low, high]', or 'unavailable' for a row without a value (its protocol says why). The unit stands once, and
    whole numbers are where the interval of a share is wider than two points."""
    if pd.isna(row["ci_low"]):
        return "unavailable" if pd.isna(row["value"]) else number(row["metric"], row["value"])
    digits = int(row["ci_high"] - row["ci_low"] < 0.02)
    text, low, high = (number(row["metric"], row[key], digits) for key in ("value", "ci_low", "ci_high"))
    return f"{text} [{low.split()[0]}, {high.split()[0]}]"


def compare(metrics: pd.DataFrame, wanted: list[str], table: str = "") -> pd.DataFrame:
    """One line per row ("case") and method, one column per wanted metric, as text with 95 % intervals; n is the number of test
    faces.

    metrics: rows with the columns of metrics.csv; table: only that table's. Metrics that no row has are left out.
    """
    rows = metrics[metrics["metric"].isin(wanted)]
    rows = rows[rows["table"] == table] if table else rows
    if rows.empty:
        return pd.DataFrame(columns=["case", "method", "n"])
    wide = _wide(rows, ["row", "column"], "metric").rename(columns={"row": "case", "column": "method"})
    cases = wide["case"].map(spoken).str.replace("_", " ")
    return wide.assign(case=cases)[["case", "method", "n", *(m for m in wanted if m in wide)]]


def _wide(rows: pd.DataFrame, keys: list[str], columns: str) -> pd.DataFrame:
    """Metric rows as text, a line for each value of `keys` and a column for each of `columns`, after n, the largest."""
    texts = rows.assign(text=[cell(r) for _, r in rows.iterrows()])
    wide = texts.pivot_table(index=keys, columns=columns, values="text", aggfunc="first", sort=False).fillna("")
    wide.insert(0, "n", rows.groupby(keys)["n"].max().astype(int))
    return wide.reset_index().rename_axis(columns=None)


def judges(scores: pd.DataFrame) -> pd.DataFrame:
    """One line an attribute of `measures.judge_rows`: accuracy and balanced accuracy of either judge, how often the commoner
    value would be right; last, the identity network's AUC."""
    ends = {"judge_accuracy": "", "judge_balanced_accuracy": ", balanced", "auc": ", AUC"}
    names = [f"{r.column}{ends[r.metric]}" if r.metric in ends else "always the commoner value" for r in scores.itertuples()]
    return _wide(scores.assign(attribute=scores["row"].str.replace("_", " "), name=names), ["attribute"], "name")


def unavailable(metrics: pd.DataFrame) -> pd.DataFrame:
    """The metrics that could not be computed, and why."""
    rows = metrics[metrics["value"].isna()]
    return rows[["metric", "protocol"]].drop_duplicates().rename(columns={"protocol": "why"}).reset_index(drop=True)


def printed(paper: str, table: str = "") -> pd.DataFrame:
    """What the paper prints (results/paper_values.csv), all of it or one table's rows."""
    values = pd.read_csv(PAPER_VALUES)
    values = values[values["paper"] == paper]
    return (values[values["table"] == table] if table else values).reset_index(drop=True)


def with_printed(rows: list[dict], paper: str, table: str, place: Callable[[dict], tuple[str, str] | None]) -> list[dict]:
    """Metric rows with `paper_value` put in, on their own scale (a printed 86 % is 0.86).

    place: metric row -> (row, column) of that table in results/paper_values.csv; None for what is no cell of it.
    """
    values = printed(paper, table).set_index(["row", "column"])
    out = []
    for r in rows:
        known = values.loc[[at]].iloc[0] if (at := place(r)) in values.index else None
        out.append(r if known is None else r | {"paper_value": known["value"] / (100 if known["unit"] == "%" else 1)})
    return out


def against_printed(paper: str, table: str, rows: pd.DataFrame, place: Callable[[dict], tuple[str, str] | None]) -> pd.DataFrame:
    """A table of results as the paper sets it: its rows in printed order, each printed line under ours where we
    measured it; what only we have (floors, further methods) stands at the end.

    rows: metric rows; place: metric row -> (row, column) where it belongs in the table, or None. Ours come with their
    95 % intervals.
    """
    theirs = {(r.row, r.column): f"{r.value:g}{' %' * (r.unit == '%')}" for r in printed(paper, table).itertuples()}
    ours = {place(dict(r)): cell(r) for _, r in rows.iterrows()}
    ours.pop(None, None)
    methods, columns = (list(dict.fromkeys(at[k] for at in [*theirs, *ours])) for k in (0, 1))
    out = []
    for method in methods:
        for source, known in (("here", ours), ("printed", theirs)):
            texts = {c.replace("_", " "): known.get((method, c), "") for c in columns}
            if any(texts.values()):
                out.append({"method": method, "": source} | texts)
    return pd.DataFrame(out)


def against_paper(paper: str, ours: dict[str, object]) -> pd.DataFrame:
    """The paper's printed settings beside ours. ours: {'row, column' as in paper_values.csv: our value}. An unknown key
    raises KeyError."""
    values = printed(paper)
    values.index = values["row"] + ", " + values["column"]
    if missing := [k for k in ours if k not in values.index]:
        raise KeyError(f"results/paper_values.csv has no {paper} row {missing[0]!r}; it has: {'; '.join(values.index[:40])}")
    rows = [(key, values.loc[[key], "table"].iloc[0], values.loc[[key], "value"].iloc[0], value) for key, value in ours.items()]
    return pd.DataFrame(rows, columns=["quantity", "where printed", "paper", "here"])


def attribute_shares(faces, split, attributes) -> pd.DataFrame:
    """Per attribute its share among training and test faces, and the number of test faces with and without it."""
    rows = []
    for a in attributes:
        train, test = faces.column(a)[split.train], faces.column(a)[split.test]
        rows.append((a, f"{100 * train.mean():.1f} %", f"{100 * test.mean():.1f} %", int(test.sum()), int((1 - test).sum())))
    return pd.DataFrame(rows, columns=["attribute", "training faces", "test faces", "test with", "test without"])


def trained_for(share: float) -> str:
    """How every finding begins. share: of the reference length, in [0, 1]."""
    return f"Each model was trained once, for {100 * share:.2g} % of the reference length."


def finding(rows: pd.DataFrame, method: str, table: str, share: float) -> str:
    """What a method's edits came to, for the index: success by both judges over the directions of its main table, exact answers and
    masks where there are any, how long it was trained. rows: metric rows. share: of the paper's training, in [0, 1]. Empty: no rows."""
    own = rows[(rows["table"] == table) & (rows["column"] == method) & rows["row"].astype(str).str.fullmatch(r"\w+ [+-]") & rows["value"].notna()]
    names = ("edit_success", "counterfactual_gain", "counterfactual_psnr", "change_outside_l1", "mask_iou")
    hits, gains, whole, outside, masks = (own[own["metric"] == name].set_index("row") for name in names)
    if hits.empty:
        return ""
    low, high = (hits.loc[row] for row in (hits["value"].idxmin(), hits["value"].idxmax()))
    ends = " to ".join(f"{100 * r['value']:.0f} % [{100 * r['ci_low']:.0f}, {100 * r['ci_high']:.0f}] ({spoken(r.name)})" for r in (low, high))
    words = f"{trained_for(share)} Both judges see the requested attribute in {ends} of {method}'s edits, "
    words += f"in at least 80 % in {(hits['value'] >= 0.8).sum()} of {len(hits)} directions."
    if len(gains):
        near, floor = gains["ci_low"] > 0.5, rows.query("table == @table and column == 'unedited' and metric == @names[2]").set_index("row")["value"]
        far = ", ".join(map(spoken, near.index[~near]))
        words += f" Inside the attribute's region most edits come closer to the exact answer in {near.sum()} of {len(near)} directions"
        words += f"{f' (not shown for {far})' * bool(far)}; the whole picture does in {(whole['value'] > floor.reindex(whole.index)).sum()}."
    less, more = 100 * outside["value"].min(), 100 * outside["value"].max()
    words += f" Outside the region, pixels change on average by {less:.2g} to {more:.2g} % of the brightness range." if len(outside) else ""
    less, more = masks["value"].min(), masks["value"].max()
    return words + (f" Masks and exact regions overlap by {less:.2f} to {more:.2f} (IoU; 1 is complete)." if len(masks) else "")


def training_cost(records: dict[str, dict | list[dict]]) -> pd.DataFrame:
    """What training cost, a line per name: models, cycles, images seen by each update, processor hours. records: {what
    the table calls the method: its model.json, or those of all its models}."""
    rows = []
    for name, own in records.items():
        own = own if isinstance(own, list) else [own]
        stages = [stage for record in own for stage in record["stages"].values()]
        line = {"method": name, "models": len(own), "cycles": f"{sum(s['cycles'] for s in stages):,}"}
        line["processor hours"] = f"{sum(s.get('processor_seconds', s['seconds']) for s in stages) / 3600:.2f}"
        images = sum((Counter(s["images_seen"]) for s in stages), Counter())
        rows.append(line | {f"images seen by {update}": f"{n:,}" for update, n in images.items()})
    return pd.DataFrame(rows).fillna("")


def verdicts(claims: pd.DataFrame) -> HTML:
    """The claims (columns of claims.csv) as a short table; criterion and measured values are folded under each claim."""
    lines = []
    for r in claims.itertuples():
        parts = re.split("; (?!required )", r.measured) if isinstance(r.measured, str) and r.measured else []
        why = "" if pd.isna(r.reason) or not r.reason else f"<p>Undecided: {escape(spoken(r.reason))}.</p>"
        listed = f"<ul>{''.join(f'<li>{escape(spoken(p))}</li>' for p in parts)}</ul>" if parts else "<p>Nothing that it needs was measured.</p>"
        fold = f"<summary>criterion and measurements</summary><p>{escape(r.criterion)}</p>{listed}{why}"
        claim = f"{escape(r.claim)} <small>({escape(r.source)})</small><details>{fold}</details>"
        chip = f'<span class="v {CHIPS[r.verdict]}">{r.verdict}</span>'
        lines.append(f"<tr><td>{r.id}</td><td>{claim}</td><td>{chip}</td></tr>")
    head = '<tr><th scope="col"></th><th scope="col">the paper claims</th><th scope="col">here</th></tr>'
    rule = "A requirement holds where the value meets it, fails where value and interval miss it, else it is open. Partly: one holds, another fails."
    rule += " Not reproduced: all fail. Undecided: anything else, or a condition set beforehand is not met. Not tested: nothing was measured."
    return HTML(f'<table class="verdicts"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table><p><small>{rule}</small></p>')

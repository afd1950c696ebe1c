"""What all runs say together, read from run.json, metrics.csv and claims.csv of every run under results/.

What belongs to the study is what study.yaml says; any other run enters no mean. A method is a name in the column
`column` of metrics.csv, together with the paper in whose run it was measured: the same name in two papers' runs was
trained twice and is two lines.
"""

import importlib
import json
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.figure import Figure
from PIL import Image

from lib.claims import VERDICTS, unit
from lib.data.faceset import name_of
from lib.evaluation.measures import over_seeds
from lib.pages import tables
from lib.sources import StudyError
from lib.training.config import data_of, from_params
from lib.training.models import read_record
from lib.training.runs import of_record

REFERENCES = ("unedited", "real faces", "own label", "constant G", "mean face", "counterfactual")  # floors and ceiling, not methods
HIGHER = ("edit_success", "counterfactual_gain", "unrelated_kept", "identity_cosine", "counterfactual_psnr", "mask_iou")
LOWER = ("change_outside_l1", "ms_per_image")  # a Frechet distance depends on the number of faces
STUDY, FACES, OTHER, EARLIER = "study", "other faces", "not of the study", "made by an earlier version"  # what a run is
FACTS = "paper run_id title citation finding data profile seed size share_of_paper hardware status reason started finished models".split()


class NothingToCompare(StudyError):
    """There is no complete run of the data and profile that were asked for; the message lists those there are."""


def modules(paper: str) -> tuple:
    """The modules model and evaluation of a paper."""
    return tuple(importlib.import_module(f"lib.papers.{paper}.{part}") for part in ("model", "evaluation"))


def short(paper: str) -> str:
    """A paper's method, as its title ends: "sagan" -> "SaGAN"."""
    return modules(paper)[0].TITLE.rpartition("(")[2].removesuffix(")")


def runs(results: Path, study: dict) -> tuple[pd.DataFrame, list[str]]:
    """Every run under `results`/<paper>/<run id>/run.json, with the facts of its record, its `kind`, its folder and the
    name of its page; and a sentence about each that is damaged, which stops nobody."""
    rows, broken = [], []
    for file in sorted(results.glob("*/*/run.json")):
        try:
            record = json.loads(file.read_text())
            if "beside" in record:  # an earlier version's: trained for another run's page
                continue
            facts = {name: record.get(name) for name in FACTS}
            missing = [name for name in ("paper", "run_id", "data", "profile", "seed", "status") if facts[name] is None]
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}")
            for name, column in (("metrics", "value"), ("claims", "verdict")) if facts["status"] == "complete" else ():
                pd.read_csv(file.parent / f"{name}.csv")[column]
            if (card := file.parent / "figures" / "card.png").exists():
                Image.open(card).verify()
            page = f"{facts['paper']}-{facts['run_id']}.html"
            rows.append(facts | {"kind": kind_of(record, study), "folder": file.parent, "page": page})
        except (OSError, ValueError, TypeError, AttributeError, KeyError, SyntaxError) as error:
            broken.append(f"{file}: not a run that can be read ({error}). Delete the run's folder or run it again.")
    frame = pd.DataFrame(rows, columns=[*FACTS, "kind", "folder", "page"])
    frame = frame.rename(columns={"run_id": "run", "share_of_paper": "share"})
    return frame.sort_values("finished", na_position="first", kind="stable"), broken


def kind_of(record: dict, study: dict) -> str:
    """Whether a run belongs to the study, is like it on other faces, is something else, or was made by an earlier
    version (it has no models). The Config and Settings that the study's runs have are kept in study["expected"]."""
    paper, profile, known = record["paper"], study["profile"], study.setdefault("expected", {})
    if "models" not in record:
        return EARLIER
    own = paper in study["papers"] and record["profile"] == profile
    if own and record["data"] != name_of(data_of(paper, study)):
        return FACES
    if not own or record["seed"] not in study["seeds"]:
        return OTHER
    if paper not in known:
        model, evaluation = modules(paper)
        presets = {"config": model.PROFILES[profile](), "settings": evaluation.SETTINGS[profile]}
        given = study.get("parameters", {}).get(paper, {}).items()
        fields = {what: {k: v for k, v in given if k in vars(preset)} for what, preset in presets.items()}
        known[paper] = {what: of_record(from_params(preset, fields[what])) for what, preset in presets.items()}
    return STUDY if all(record.get(what) == value for what, value in known[paper].items()) else OTHER


def select(results: Path, study: dict, data: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The newest complete run per paper and seed, of the study or, with `data` (a name or a folder), on those other
    faces; and all their metric rows, with paper, run, seed and `name`, the method as tables show it. Raises
    NothingToCompare."""
    every, _ = runs(results, study)
    every = every[every["status"] == "complete"]
    found = every[(every["kind"] == FACES) & (every["data"] == name_of(data))] if data else every[every["kind"] == STUDY]
    if found.empty:
        have = "; ".join(sorted({f"{r.paper} on {r.data}, {r.profile} ({r.kind})" for r in every.itertuples()})) or "none at all"
        asked = f"on {name_of(data)}" if data else "of the study"
        raise NothingToCompare(f"{results}: no complete run {asked}. There are: {have}.")
    found = found.groupby(["paper", "seed"], as_index=False).last()
    frames = [pd.read_csv(r.folder / "metrics.csv").assign(paper=r.paper, run=r.run, seed=r.seed) for r in found.itertuples()]
    rows = pd.concat(frames, ignore_index=True).drop_duplicates(["run", "table", "metric", "row", "column"])
    papers = edits(rows).groupby("column")["paper"].nunique()  # names that several have need the paper to be told apart
    pairs = zip(rows["column"], rows["paper"], strict=True)
    return found, rows.assign(name=[f"{c} (in {short(p)}'s run)" if papers.get(c, 1) > 1 else c for c, p in pairs])


def elsewhere(results: Path, study: dict) -> pd.DataFrame:
    """The leaderboards of the runs on other faces, one under the other, data and size in front; empty without any."""
    every, _ = runs(results, study)
    frames = []
    for name in every.loc[(every["kind"] == FACES) & (every["status"] == "complete"), "data"].unique():
        found, rows = select(results, study, name)
        board = leaderboard(rows)
        board.insert(0, "faces", f"{name}, {found['size'].iloc[0]} px")
        frames.append(board)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def edits(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a value about one attribute and direction ('Eyeglasses +'), of methods: no floor or ceiling, and of a
    run those methods whose success stands in its main table, the first; each value once, from the first table with it."""
    is_edit = rows["row"].astype(str).str.fullmatch(r"\w+ [+-]")
    found = rows[is_edit & rows["value"].notna() & ~rows["column"].isin(REFERENCES)]
    hits = found[found["metric"] == "edit_success"]
    main = hits[hits["table"] == hits["run"].map(hits.groupby("run")["table"].first())].set_index(["run", "column"]).index
    return found[found.set_index(["run", "column"]).index.isin(main)].drop_duplicates(["run", "row", "column", "metric"])


def leaderboard(rows: pd.DataFrame, attributes: tuple[str, ...] = ()) -> pd.DataFrame:
    """One line per method: the mean of every metric over the attribute directions it was measured on in every seed
    (those of `attributes`, if given), then over seeds, with the 95 % interval between them. Means over different
    directions are not on one footing, `by_direction` is."""
    found = edits(rows)
    if attributes:
        found = found[found["row"].str[:-2].isin(attributes)]
    out = []
    for name, group in found.groupby("name", sort=False):
        directions = group.loc[group["metric"] == "edit_success", "row"].nunique()
        line = {"method": name, "directions": directions, "seeds": group["seed"].nunique()}
        for metric in (*HIGHER, *LOWER):
            seeds = group[group["metric"] == metric].pivot_table(index="row", columns="seed", values="value").dropna().mean()
            if seeds.notna().any():
                line[metric] = tables.cell({"metric": metric} | over_seeds(seeds.to_numpy(), unit(metric) == "%")._asdict())
        out.append(line)
    return pd.DataFrame(out).fillna("")


def by_direction(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Methods by attribute directions, the mean over seeds of one metric; empty where a method lacks that edit."""
    found = edits(rows)
    found = found[found["metric"] == metric].assign(row=lambda f: f["row"].map(tables.spoken))
    return found.pivot_table(index="name", columns="row", values="value", aggfunc="mean", sort=False).rename_axis(index=None, columns=None)


def training(results: Path, found: pd.DataFrame) -> pd.DataFrame:
    """What the training of every model of those runs cost, a line per paper and method, and the share of the paper's
    reference length. A model that several runs use is counted with each of them."""
    lines = []
    for r in found.itertuples():
        records: dict[str, list] = {}
        for place in r.models.values():
            if (record := read_record(results / place / "model.json")) and "stages" in record:
                records.setdefault(place.split("/")[0], []).append(record)
        for method, own in records.items():
            share = f"{100 * r.share:.2g} %" if method == r.paper else ""
            cost = tables.training_cost({method: own}).filter(regex="^(?!images)").iloc[0].to_dict()
            lines.append({"in the run of": short(r.paper), "seed": r.seed} | cost | {"share of the reference length": share})
    return pd.DataFrame(lines).fillna("")


def speed(results: Path) -> tuple[pd.DataFrame, Markdown]:
    """What `python -m benchmarks.speed` measured, a line per method, and on which machine; empty without its record."""
    record = read_record(results / "benchmarks" / "speed.json") or {"machine": {}}
    words = "Measured on {cpu} with PyTorch {torch}, one thread.".format_map(record["machine"]) if record["machine"] else ""
    return pd.DataFrame([{"method": name} | row for name, row in record.items() if name != "machine"]).fillna(""), Markdown(words)


# ---------------------------------------------------------------------------------------------- claims


def over_all(verdicts: list[str]) -> str:
    """One verdict from those of several seeds: that of the seeds which decided it if they agree, else partly; undecided,
    or not tested, where none did."""
    decided = {v for v in verdicts if v not in ("not tested", "undecided")}
    if not decided:
        return "undecided" if "undecided" in verdicts else "not tested"
    return decided.pop() if len(decided) == 1 else "partly"


def ledger(found: pd.DataFrame) -> pd.DataFrame:
    """Every claim of those runs, a line per paper and faces: what claims.csv has, with paper, faces, seeds and runs.
    Runs that differ in nothing but the seed are one line, which says what each of them measured."""
    columns = ["paper", "id", "claim", "source", "criterion", "faces", "seeds", "measured", "reason", "n", "verdict", "run"]
    frames = []
    for r in found.itertuples():
        about = {"paper": r.paper, "run": r.run, "seed": r.seed, "faces": f"{r.data}, {r.size} px"}
        frames.append(pd.read_csv(r.folder / "claims.csv", keep_default_na=False).assign(**about))
    out = []
    for _, one in pd.concat(frames).groupby(["paper", "faces", "id"], sort=False):
        one = one.sort_values("seed")
        line = one.iloc[0].to_dict() | {"seeds": len(one)}
        if len(one) > 1:
            said = [f"seed {r.seed}, {r.verdict}: {r.measured}" for r in one.itertuples()]
            why = "; ".join(f"seed {r.seed}: {r.reason}" for r in one.itertuples() if r.reason)
            line |= {"measured": "; ".join(said), "reason": why, "n": one["n"].min(), "run": ", ".join(one["run"])}
            line["verdict"] = over_all(list(one["verdict"]))
        out.append(line)
    return pd.DataFrame(out).reindex(columns=columns)


def counts(claims: pd.DataFrame) -> pd.DataFrame:
    """Verdicts per paper and faces, of a `ledger`."""
    table = claims.groupby(["paper", "faces", "verdict"]).size().unstack(fill_value=0).reindex(columns=VERDICTS, fill_value=0)
    return table.reset_index().assign(paper=lambda f: f["paper"].map(short)).rename_axis(columns=None)


def sentence(claims: pd.DataFrame) -> str:
    """The totals of a `ledger` in words."""
    total, runs_ = claims["verdict"].value_counts(), set(", ".join(claims["paper"] + "/" + claims["run"]).split(", "))
    parts = ", ".join(f"{int(total.get(v, 0))} {v}" for v in VERDICTS)
    several = " A claim that several seeds tested is counted once." if (claims["seeds"] > 1).any() else ""
    return f"{len(claims)} claims from {len(runs_)} {'run' if len(runs_) == 1 else 'runs'}: {parts}.{several}"


def by_paper(found: pd.DataFrame, claims: pd.DataFrame) -> list[tuple[Markdown, pd.DataFrame]]:
    """Per paper a heading with links to the pages of its runs, and its lines of a `ledger`."""
    out = []
    for paper, own in claims.groupby("paper", sort=False):
        mine = found[found["paper"] == paper]
        heading = f"## {mine['title'].iloc[0]}\n\nThe pages that show how: {links(mine, '../reports')}."
        out.append((Markdown(heading), own))
    return out


def links(found: pd.DataFrame, folder: str) -> str:
    """Markdown links to the pages of runs; names of data folders may hold #, ? and %."""
    return ", ".join(f"[seed {r.seed}]({folder}/{quote(r.page)})" for r in found.itertuples())


MARKS = ("<!-- findings: written by python -m lib.run claims -->", "<!-- end of findings -->")


def findings(found: pd.DataFrame, study: dict) -> str:
    """Markdown for the README: the pictures of the papers' cards, and a row a paper of the study with its question, what
    we found, its verdicts and its page. found: of `select`."""
    claims, pictures = ledger(found), []
    lines = ["| paper | what it claims | what we found | verdicts | page |", "| --- | --- | --- | --- | --- |"]
    for paper in study["papers"]:
        own, (model, evaluation) = found[found["paper"] == paper], modules(paper)
        said, verdicts = "Not tested yet: its models are not trained.", ""
        if len(own):
            said, total = own["finding"].iloc[0] or "", claims.loc[claims["paper"] == paper, "verdict"].value_counts()
            verdicts = ", ".join(f"{total[v]} {v}" for v in VERDICTS if v in total)
            if (own["folder"].iloc[0] / "figures" / "card.png").exists():
                source, alt = f"results/{paper}/{own['run'].iloc[0]}/figures/card.png", f"Faces, our edits, exact answers: {model.TITLE}"
                pictures.append(f'**{model.TITLE}**<br><img src="{source}" width="420" alt="{alt}">\n')
        cells = [model.TITLE, evaluation.QUESTION, said, verdicts, links(own, "reports")]
        lines.append("| " + " | ".join(c.replace("|", r"\|").replace("\n", " ") for c in cells) + " |")
    return "\n".join([*pictures, *lines])


def into_readme(text: str, readme: Path) -> None:
    """Put `text` between the README's two MARKS. Raises ValueError if they are not there."""
    whole = readme.read_text()
    if not all(whole.count(mark) == 1 for mark in MARKS):
        raise ValueError(f"{readme}: it must have the lines {MARKS[0]!r} and {MARKS[1]!r} once each, around the generated findings.")
    before, rest = whole.split(MARKS[0])
    readme.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


# ---------------------------------------------------------------------------------------------- figures


def heatmap(table: pd.DataFrame, label: str) -> Figure:
    """A table of shares, methods by directions, printed in the cells; empty where a method does not make that edit."""
    figure = Figure(figsize=(3.4 + 0.46 * table.shape[1], 1.9 + 0.34 * len(table)), layout="constrained")
    axis = figure.subplots()
    text = {"annot": True, "fmt": ".0f", "annot_kws": {"fontsize": 8}, "cbar_kws": {"label": f"{label} (%)"}}
    sns.heatmap(100 * table, ax=axis, vmin=0, vmax=100, cmap="crest", **text)
    axis.set_xticks(np.arange(table.shape[1]) + 0.5, table.columns, rotation=60, ha="right", fontsize=8)
    axis.tick_params(axis="y", rotation=0, labelsize=8)
    return figure


def pareto(rows: pd.DataFrame) -> Figure:
    """Edit success against change outside the region, one point per method (mean over its directions); upper left is
    better. The line joins the methods that no other one beats on both."""
    points = edits(rows).pivot_table(index="name", columns="metric", values="value")
    points = points.reindex(columns=["edit_success", "change_outside_l1"]).dropna().sort_values("change_outside_l1")
    front = points[points["edit_success"].cummax() <= points["edit_success"]]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(front["change_outside_l1"], 100 * front["edit_success"], color="0.75", lw=1, zorder=1)
    palette = sns.color_palette("colorblind", len(points))
    for marker, color, (name, point) in zip("osD^vP*X<>hdp8H" * 3, palette, points.iterrows(), strict=False):
        axis.scatter(point["change_outside_l1"], 100 * point["edit_success"], color=color, marker=marker, s=55, label=name, zorder=2)
    axis.set(xlabel="change outside the region (mean absolute, [0, 1] scale)", ylabel="edit success (%)", ylim=(0, 103))
    axis.set_xlim(left=0)
    if len(points):
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    sns.despine(ax=axis)
    return figure

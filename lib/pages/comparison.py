"""What all runs say together, read from results/ alone: leaderboard, claims ledger, ranks. Nothing is trained or measured here.

A `method` is a name in the column `column` of metrics.csv, together with the paper in whose run it was measured: StarGAN in SaGAN's run and
StarGAN in BridgeGAN's run were trained differently and are two lines.

Seeds are put together only where nothing else differs: configuration, data and source files. Then means over them have an interval between them,
and a claim is decided over all of them. Which comparisons were trained beside a method may differ: they decide nothing about the method itself.
"""

import hashlib
import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from scipy.stats import friedmanchisquare, studentized_range, t

from lib.pages import tables
from lib.claims import VERDICTS
from lib.evaluation.measures import Value
from lib.training.runs import RunError

REFERENCES = ("unedited", "counterfactual")  # floor and ceiling, not methods
CONTROLS = ("constant G", "identity G", "real faces", "none", "RIL", "SG-GAN(joint)", "StarGAN(joint)")  # SG-GAN's, and Fig. 4's second names
HIGHER = ("edit_success", "unrelated_kept", "identity_cosine", "counterfactual_psnr", "mask_iou")
LOWER = ("change_outside_l1", "frechet_judge", "ms_per_image")
OWN = {  # a paper's own method, trained at full length
    "atigan": ("ATI-GAN",), "diat": ("DIAT-A",), "sagan": ("SaGAN",), "sggan": ("SG-GAN(ALL)",),
    "bridgegan": ("BridgeGAN (label)", "BridgeGAN (reference)"),
}  # fmt: skip
BESIDE = ("ablations", "arms")  # fields of a Config that only say which other configurations are trained beside it


class NothingToCompare(RunError):
    """There is no complete run of the data and profile that were asked for; the message lists those there are."""


def runs(results: Path) -> pd.DataFrame:
    """Every complete run that stands for itself (not those trained beside one): paper, run, data, profile, seed, configuration (a hash of all
    that decides what is trained but the seed), size, share of the paper's training, seconds, attribute judge's hash, hardware, date, folder."""
    rows = []
    for file in sorted(results.glob("*/*/run.json")):
        r = json.loads(file.read_text())
        if r["status"] != "complete" or "beside" in r or "judges" not in r:
            continue
        rows.append(
            {
                "paper": r["paper"], "run": r["run_id"], "data": r["data"], "profile": r["profile"], "seed": r["seed"],
                "configuration": _configuration(file.parent / "config.json", r["run_id"]), "size": r["size"],
                "share": r["share_of_paper"], "seconds": r["seconds"], "judge": r["judges"]["attribute"]["id"],
                "hardware": r["trained"]["hardware"].get("gpu") or r["trained"]["hardware"]["cpu"],
                "date": r["finished"][:10], "finished": r["finished"], "folder": file.parent,
            }
        )  # fmt: skip
    columns = "paper run data profile seed configuration size share seconds judge hardware date finished folder".split()
    return pd.DataFrame(rows, columns=columns)


def _configuration(file: Path, otherwise: str) -> str:
    """What the runs of several seeds must have in common, as a hash of config.json without the seed and without what is trained beside."""
    if not file.exists():
        return otherwise
    what = {name: value for name, value in json.loads(file.read_text()).items() if name != "seed"}
    what["config"] = {name: value for name, value in what.get("config", {}).items() if name not in BESIDE}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]


def newest(found: pd.DataFrame) -> pd.DataFrame:
    """The seeds of one configuration per (paper, data, profile): of the one that finished last. `set_aside` says which runs that leaves out."""
    what = ["paper", "data", "profile"]
    found = found.sort_values(["finished", "run"])
    last = found.groupby(what)["configuration"].transform("last")
    return found[found["configuration"] == last].groupby([*what, "seed"], as_index=False).last()


def set_aside(results: Path, found: pd.DataFrame) -> str:
    """A sentence about the complete runs on the data and in the profiles of `found` that it leaves out."""
    every = runs(results)
    here = every.set_index(["data", "profile"]).index.isin(found.set_index(["data", "profile"]).index)
    others = every[here & ~every["folder"].isin(found["folder"])]
    names = ", ".join(f"{r.paper} {r.run} (seed {r.seed})" for r in others.itertuples())
    return f"Left out, as runs of another configuration of the same paper finished later: {names}." if names else "No complete run is left out."


def measurements(found: pd.DataFrame) -> pd.DataFrame:
    """All metric rows of those runs, with paper, run, seed and judge beside them, and `name`, the method as tables show it."""
    frames = []
    for r in found.itertuples():
        rows = pd.read_csv(r.folder / "metrics.csv")
        frames.append(rows.assign(paper=r.paper, run=r.run, seed=r.seed, judge=r.judge))
    if not frames:
        return pd.DataFrame()
    rows = pd.concat(frames, ignore_index=True).drop_duplicates(["run", "metric", "row", "column"])
    both = rows[rows["metric"] == "edit_success"].groupby("column")["paper"].nunique()
    shared = set(both[both > 1].index) - set(REFERENCES)  # such names need the paper to be told apart
    rows["name"] = [f"{c} (in {p}'s run)" if c in shared else c for c, p in zip(rows["column"], rows["paper"], strict=True)]
    return rows


def select(results: Path, data: str = "", profile: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of one data set (its name, or the folder it was read from) and profile (empty: of all) and their measurements. Raises
    NothingToCompare."""
    every, data = runs(results), Path(data).name
    found = newest(every[every["data"].isin([data] if data else every["data"]) & every["profile"].isin([profile] if profile else every["profile"])])
    if found.empty:
        have = "; ".join(sorted({f"{r.data}, {r.profile}" for r in every.itertuples()})) or "none at all"
        raise NothingToCompare(f"{results}: no complete run of data {data or 'any'}, profile {profile or 'any'}. There are: {have}.")
    return found, measurements(found)


def elsewhere(results: Path, data: str) -> pd.DataFrame:
    """The leaderboards of the runs on other faces, one under the other, with data, size and profile in front; empty if there are none."""
    others = newest(runs(results))
    others, frames = others[others["data"] != Path(data).name], []
    for (name, size, profile), found in others.groupby(["data", "size", "profile"]):
        board = leaderboard(measurements(found))
        for at, (column, value) in enumerate({"data": name, "size": size, "profile": profile}.items()):
            board.insert(at, column, value)
        frames.append(board)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def over_seeds(values: np.ndarray) -> Value:
    """Mean over seeds with the 95 % t interval between them; a single seed has none (nan). n is the number of seeds."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return Value(float(values[0]), float("nan"), float("nan"), 1)
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Value(float(values.mean()), float(values.mean()) - half, float(values.mean()) + half, len(values))


def edits(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows about one attribute and direction ('Eyeglasses +'), with a value, of methods: no floor, ceiling, control or ablation."""
    is_edit = rows["row"].astype(str).str.fullmatch(r"\w+ [+-]")
    found = rows[is_edit & rows["value"].notna() & ~rows["column"].isin(REFERENCES + CONTROLS) & (rows["table"] != "ablations")]
    return found[found["column"].isin(found.loc[found["metric"] == "edit_success", "column"])]  # the others are differences of two methods


def leaderboard(rows: pd.DataFrame, attributes: tuple[str, ...] = ()) -> pd.DataFrame:
    """One line per method: the mean of every metric over the attribute directions it was measured on (those of `attributes`, if given), then
    over seeds, with the 95 % interval between them. The number of directions stands beside it: means over different directions are not on one
    footing, `by_direction` is. A direction that was not measured in every seed of a method does not count in its mean."""
    found = edits(rows)
    if attributes:
        found = found[found["row"].str[:-2].isin(attributes)]
    out = []
    for name, group in found.groupby("name", sort=False):
        line = {"method": name, "directions": group.loc[group["metric"] == "edit_success", "row"].nunique(), "seeds": group["seed"].nunique()}
        for metric in (*HIGHER, *LOWER):
            seeds = group[group["metric"] == metric].pivot_table(index="row", columns="seed", values="value").dropna().mean()
            if seeds.notna().any():
                v = over_seeds(seeds.to_numpy())
                text = tables.number(metric, v.value)
                line[metric] = text if np.isnan(v.ci_low) else f"{text} [{tables.number(metric, v.ci_low)}, {tables.number(metric, v.ci_high)}]"
        out.append(line)
    return pd.DataFrame(out).fillna("")


def by_direction(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Methods by attribute directions, the mean over seeds of one metric; empty where a method does not make that edit."""
    found = edits(rows)
    found = found[found["metric"] == metric]
    return found.pivot_table(index="name", columns="row", values="value", aggfunc="mean", sort=False).rename_axis(index=None, columns=None)


def training(rows: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """What the training of every method cost: images seen per update, seconds, and the share of the paper's schedule for the paper's own."""
    cost = rows[(rows["table"] == "training") & rows["metric"].isin(["images_seen", "train_seconds"])]
    if cost.empty:
        return pd.DataFrame(columns=["method"])
    label = np.where(cost["metric"] == "images_seen", "images seen by " + cost["row"], "seconds")
    wide = cost.assign(what=label).pivot_table(index=["name", "paper"], columns="what", values="value", aggfunc="mean", sort=False).reset_index()
    wide[wide.columns[2:]] = wide[wide.columns[2:]].map(lambda v: "" if pd.isna(v) else f"{v:,.0f}")
    share = found.groupby("paper")["share"].mean()
    own = [name in OWN.get(p, ()) for name, p in zip(wide["name"], wide["paper"], strict=True)]
    wide.insert(2, "share of that paper's training", [f"{100 * share[p]:.2g} %" if mine else "" for mine, p in zip(own, wide["paper"], strict=True)])
    return wide.rename(columns={"name": "method", "paper": "in the run of"}).rename_axis(columns=None)


def common_block(rows: pd.DataFrame, metric: str = "edit_success", least: int = 3) -> pd.DataFrame:
    """The largest full block of `by_direction`: at least `least` methods, all measured on the same directions (most cells wins)."""
    table, best = by_direction(rows, metric), pd.DataFrame()
    for _, directions in table.notna().iterrows():
        block = table.loc[:, directions].dropna()
        if len(block) >= least and block.size > best.size:
            best = block
    return best


def ranks(block: pd.DataFrame, higher: bool = True) -> tuple[pd.Series, float, float]:
    """Mean rank per method over the directions (1 is best), Friedman's p, and Nemenyi's critical difference at 5 %: two methods whose mean
    ranks are closer are not told apart. Directions of one model are not independent, so the test is too sure of itself. Fewer than three
    methods or two directions have ranks but neither p nor difference (nan)."""
    k, n = block.shape
    order = block.rank(ascending=not higher).mean(axis=1).sort_values() if k else pd.Series(dtype=float)
    if k < 3 or n < 2:
        return order, float("nan"), float("nan")
    difference = float(studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n)))
    return order, float(friedmanchisquare(*block.to_numpy()).pvalue), difference


def rank_words(block: pd.DataFrame) -> str:
    """The rank test in a sentence."""
    _, p, difference = ranks(block)
    if np.isnan(difference):
        return "Fewer than three methods share two attribute directions or more: there is nothing to rank."
    return f"Friedman p = {p:.2g}, {len(block)} methods over {block.shape[1]} directions; critical difference {difference:.2f} ranks."


# ---------------------------------------------------------------------------------------------- claims


def decided(found: pd.DataFrame) -> pd.DataFrame:
    """Every claim of every one of those runs, as its claims.csv has it, with paper, run, seed, configuration and faces; behind what was measured
    stands the interval that metrics.csv has for it."""
    there = [r for r in found.itertuples() if (r.folder / "claims.csv").exists()]
    about = [{"paper": r.paper, "run": r.run, "seed": r.seed, "configuration": r.configuration, "faces": f"{r.data}, {r.size} px"} for r in there]
    frames = [pd.read_csv(r.folder / "claims.csv").assign(**more) for r, more in zip(there, about, strict=True)]
    for r, claims in zip(there, frames, strict=True):
        claims["measured"] = _with_intervals(claims["measured"], pd.read_csv(r.folder / "metrics.csv"))
    columns = "paper id claim source criterion faces measured n verdict run seed configuration".split()
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _with_intervals(measured: pd.Series, rows: pd.DataFrame) -> list[str]:
    """'metric, row, column: value holds; ...' with ' [low, high]' behind every value whose row has an interval."""
    rows = rows.dropna(subset=["value", "ci_low", "ci_high"])
    known = {(f"{r.metric}, {r.row}, {r.column}", f"{r.value:.3g}"): f" [{r.ci_low:.3g}, {r.ci_high:.3g}]" for r in rows.itertuples()}

    def one(part: str) -> str:
        what, _, said = part.rpartition(": ")
        value, _, verdict = said.partition(" ")
        return f"{what}: {value}{known.get((what, value), '')} {verdict}" if what and verdict else part

    return ["; ".join(map(one, str(text).split("; "))) for text in measured]


def pages(found: pd.DataFrame) -> dict[str, str]:
    """Where the page of each of those runs is, seen from notebooks/ and from reports/."""
    return {r.run: f"../reports/{r.paper}-{r.run}.html" for r in found.itertuples()}


def over_all(verdicts: list[str]) -> str:
    """One verdict from those of several seeds, of which those that did not test it do not count: reproduced, or not reproduced, if every seed
    says so, else partly."""
    tested = {v for v in verdicts if v != "not tested"}
    return "not tested" if not tested else tested.pop() if len(tested) == 1 else "partly"


def ledger(found: pd.DataFrame) -> pd.DataFrame:
    """Every claim of those runs: paper, id, claim, where the paper makes it, criterion, the faces, seeds, what was measured, n (the least), verdict,
    run. Runs that differ in nothing but the seed are one line, which says what each of them measured."""
    columns = ["paper", "id", "claim", "source", "criterion", "faces", "seeds", "measured", "n", "verdict", "run"]
    out = []
    for _, one in decided(found).groupby(["paper", "configuration", "id"], sort=False):
        line = one.iloc[0].to_dict() | {"seeds": len(one)}
        if len(one) > 1:
            each = one.sort_values("seed")
            said = [f"seed {r.seed}, {r.verdict}: {r.measured}" for r in each.itertuples()]
            line |= {"measured": "; ".join(said), "n": each["n"].min(), "verdict": over_all(list(each["verdict"])), "run": ", ".join(each["run"])}
        out.append(line)
    return pd.DataFrame(out, columns=columns)


def counts(claims: pd.DataFrame) -> pd.DataFrame:
    """Verdicts per paper and faces, of a `ledger`."""
    table = claims.groupby(["paper", "faces", "verdict"]).size().unstack(fill_value=0).reindex(columns=VERDICTS, fill_value=0)
    return table.reset_index().rename_axis(columns=None)


MARKS = ("<!-- findings: written by python -m lib.run claims -->", "<!-- end of findings -->")


def findings(found: pd.DataFrame) -> str:
    """Markdown for the README: one line per run with its verdicts, and the totals. `found`: the frame of `runs`, any data and profiles."""
    claims, rows = decided(found), []
    for r in found.itertuples():
        mine = claims.loc[claims["run"].eq(r.run) & claims["paper"].eq(r.paper), "verdict"].value_counts()
        page = f"[{r.paper}](reports/{r.paper}-{r.run}.html)"
        rows.append([page, f"{r.data}, {r.size} px", r.profile, r.seed, f"{100 * r.share:.2g} %", *(int(mine.get(v, 0)) for v in VERDICTS)])
    head = ["run", "faces", "profile", "seed", "share of the paper's training", *VERDICTS]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([sentence(ledger(found)), "", *lines])


def into_readme(text: str, readme: Path) -> None:
    """Put `text` between the README's two MARKS. Raises ValueError if they are not there."""
    whole = readme.read_text()
    if not all(whole.count(mark) == 1 for mark in MARKS):
        raise ValueError(f"{readme}: it must have the lines {MARKS[0]!r} and {MARKS[1]!r} once each, around the generated findings.")
    before, rest = whole.split(MARKS[0])
    readme.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


METHODS = ("StarGAN", "CycleGAN", "ResGAN", "ResidualGAN", "STGAN", "SMIT", "ELEGANT", "HomoGAN", "CNIA", "semantic inpainting", "baseline")
METHODS += (" methods",)


def about_others(claims: pd.DataFrame) -> pd.DataFrame:
    """The claims whose text or criterion names another method."""
    text = claims["claim"] + " " + claims["criterion"]
    named = text.str.contains("|".join(METHODS), case=False, regex=True)
    return claims.loc[named, ["paper", "id", "claim", "verdict", "measured"]]


def of_paper(claims: pd.DataFrame, paper: str) -> pd.DataFrame:
    """One paper's claims; one line that says so where no run of it is there."""
    mine = claims[claims["paper"] == paper].drop(columns="paper")
    return mine if len(mine) else pd.DataFrame({"claims": ["no complete run of this paper"]})


def sentence(claims: pd.DataFrame) -> str:
    """The totals of a `ledger` in words."""
    total = claims["verdict"].value_counts()
    parts = ", ".join(f"{int(total.get(v, 0))} {v}" for v in VERDICTS)
    trained = claims.drop_duplicates(["paper", "run"])["seeds"].sum()
    several = " Claims that several seeds tested are counted once." if (claims["seeds"] > 1).any() else ""
    stated = len(claims.drop_duplicates(["paper", "id"]))
    what = f"{len(claims)} claims" if stated == len(claims) else f"{len(claims)} verdicts on {stated} claims,"
    return f"{what} from {trained} runs: {parts}.{several}"


# ---------------------------------------------------------------------------------------------- figures


def heatmap(table: pd.DataFrame, label: str) -> Figure:
    """A table of shares, methods by directions, printed in the cells; empty where a method does not make that edit."""
    figure = Figure(figsize=(2.6 + 0.46 * table.shape[1], 1.4 + 0.34 * len(table)), layout="constrained")
    axis = figure.subplots()
    text = {"fontsize": 7}
    sns.heatmap(100 * table, annot=True, fmt=".0f", vmin=0, vmax=100, cmap="crest", ax=axis, annot_kws=text, cbar_kws={"label": f"{label} (%)"})
    axis.set_xticks(np.arange(table.shape[1]) + 0.5, table.columns, rotation=60, ha="right", fontsize=7)
    axis.tick_params(axis="y", rotation=0, labelsize=8)
    return figure


def pareto(rows: pd.DataFrame, attributes: tuple[str, ...] = ()) -> Figure:
    """Edit success against change outside the region, one point per method (mean over its directions); upper left is better. The line joins
    the methods that no other one beats on both."""
    found = edits(rows)
    if attributes:
        found = found[found["row"].str[:-2].isin(attributes)]
    points = found[found["metric"].isin(["edit_success", "change_outside_l1"])].pivot_table(index="name", columns="metric", values="value")
    points = points.dropna().sort_values("change_outside_l1")
    front = points[points["edit_success"].cummax() <= points["edit_success"]]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(front["change_outside_l1"], 100 * front["edit_success"], color="0.75", lw=1, zorder=1)
    palette = sns.color_palette("colorblind", len(points))
    for marker, color, (name, point) in zip("osD^vP*X<>hdp8H" * 3, palette, points.iterrows(), strict=False):
        axis.scatter(point["change_outside_l1"], 100 * point["edit_success"], color=color, marker=marker, s=55, label=name, zorder=2)
    axis.set_xlabel("change outside the region (mean absolute, [0, 1] scale)")
    axis.set_ylabel("edit success (%)")
    axis.set_ylim(0, 103)
    axis.set_xlim(left=0)
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    sns.despine(ax=axis)
    return figure


def rank_plot(block: pd.DataFrame, label: str) -> Figure:
    """Mean ranks as dots, the critical difference from the best one shaded; an empty picture that says so where nothing is to be ranked."""
    mean_ranks, _, difference = ranks(block)
    if np.isnan(difference):
        figure = Figure(figsize=(5, 0.6))
        figure.text(0.5, 0.5, "nothing to rank", ha="center", va="center", color="0.4")
        return figure
    figure = Figure(figsize=(6.5, 0.9 + 0.34 * len(mean_ranks)), layout="constrained")
    axis = figure.subplots()
    best = float(mean_ranks.iloc[0])
    axis.axvspan(best, best + difference, color=matplotlib.colormaps["crest"](0.1), alpha=0.25, lw=0)
    axis.scatter(mean_ranks, range(len(mean_ranks)), color="0.2", zorder=2)
    axis.set_yticks(range(len(mean_ranks)), mean_ranks.index, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(f"mean rank by {label}; shaded: within the critical difference of the best", fontsize=8)
    sns.despine(ax=axis)
    return figure

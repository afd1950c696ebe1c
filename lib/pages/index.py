"""reports/index.html: a card a paper, and in a fold every run there is."""

from pathlib import Path
from urllib.parse import quote

import jinja2
import pandas as pd
from markupsafe import Markup
from PIL import Image

from lib.claims import VERDICTS
from lib.pages import SUMMARIES, comparison
from lib.pages.comparison import EARLIER, FACES, STUDY
from lib.pages.figures import data_uri
from lib.pages.report import TEMPLATES, frame, save
from lib.pages.tables import CHIPS
from lib.training.config import read_study

TITLE = "Five face-editing papers, put to the test"


def write(results: Path, reports: Path, study: dict | None = None) -> Path:
    """Write `reports`/index.html and return its path. study: the entries of study.yaml, read unless given.

    A paper's card shows its newest complete runs of the study: picture (figures/card.png), finding from run.json,
    the paper's own question, verdicts over all seeds, links to its pages, those on other faces included. Runs outside the study,
    earlier versions' and broken records stand in the fold.
    """
    results, reports = Path(results), Path(reports)
    study = study or read_study()
    every, broken = comparison.runs(results, study)
    pages = {p.name for p in reports.glob("*.html")}
    papers = list(dict.fromkeys([*study["papers"], *every["paper"]]))
    questions = dict.fromkeys(papers, "") | {paper: comparison.modules(paper)[1].QUESTION for paper in study["papers"]}
    more = [(f"{name}.html", words) for name, words in SUMMARIES.items() if f"{name}.html" in pages]
    more += [(quote(p), f"The faces: {p[5:-5].rpartition('-')[0].replace('synthetic', 'drawn')}") for p in sorted(pages) if p.startswith("data-")]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined)
    page = frame(TITLE)
    page["style"] = Markup(page["style"])
    text = environment.get_template("runs.html.j2").render(
        page=page, broken=broken, more=more, cards=[_card(p, questions[p], every[every["paper"] == p], pages) for p in papers],
        runs=every.astype(object).where(every.notna(), None).iloc[::-1].to_dict("records"), pages=pages,
    )  # fmt: skip
    return save(reports / "index.html", text)


def _card(paper: str, question: str, own: pd.DataFrame, pages: set[str]) -> dict:
    complete = own[own["status"] == "complete"]
    shown = complete[complete["kind"] == STUDY].groupby("seed", as_index=False).last()
    first = (shown if len(shown) else own.iloc[::-1]).iloc[0] if len(own) else pd.Series(dtype=object)
    others = complete[complete["kind"] == FACES].groupby(["data", "seed"], as_index=False).last()
    links, earlier = {}, complete[complete["kind"] == EARLIER].sort_values(["data", "seed"], ascending=[False, True])
    for r in [*shown.itertuples(), *others.itertuples()] or earlier.itertuples():
        if r.page in pages:
            links.setdefault("drawn faces" if r.data.startswith("synthetic") else r.data, []).append((quote(r.page), f"seed {r.seed}"))
    total = comparison.ledger(shown)["verdict"].value_counts() if len(shown) else {}
    card = first.get("folder", Path()) / "figures" / "card.png"
    return {
        "key": paper,
        "title": first.get("title") or paper,
        "trained": len(shown) + len(others) > 0,
        "citation": first.get("citation") or "",
        "question": question,
        "finding": first.get("finding") if len(shown) else "",
        "picture": data_uri(Image.open(card).convert("RGB"), "webp", quality=85) if len(shown) and card.exists() else "",
        "chips": [(CHIPS[v], f"{total[v]} {v}") for v in VERDICTS if v in total],
        "links": links,
    }

"""Executed notebooks -> HTML pages that open from disk.

A page loads nothing: pictures are data URIs, mathematics is drawn (`formulas`), and its content-security policy allows
one script, our own (`template/slider.js`), by its hash: no other runs, whatever an output holds.
"""

import base64
import hashlib
import html
import re
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

from lib.data.cache import save_atomically
from lib.pages import formulas
from lib.sources import StudyError

TEMPLATES = Path(__file__).parent / "template"
SCRIPT = "\n" + (TEMPLATES / "slider.js").read_text(encoding="utf-8")
MAX_BYTES = 4_000_000
WITHHELD = "Pictures of this data set may not be published; render them locally with --with-images."
NUMBER = re.compile(r"[-+−±]?\d[\d,.\u202f\u00a0]*(e[-+]?\d+)?\s*(%|points)?\s*([±\[(]|$)", re.IGNORECASE)  # '4 % moustaches are' is none
INTERVAL = re.compile(r"([^\[\]]+) (\[[^\[\]]+\])")  # value and interval
NOTE = '<p class="note">{}</p>'
LIVE = "Live in JupyterLab: this control asks the model itself and is not part of this page."
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PICTURES = ("image/png", "image/webp")


class ReportError(StudyError):
    """A notebook from which no honest page can be made; the message names file, place and remedy."""


def render(notebook: Path, out: Path, *, title: str, provenance: dict, images: bool = True, home: str = "index.html",
           question: str = "", finding: str = "") -> Path:  # fmt: skip
    """Write `notebook` (executed, .ipynb) as one self-contained HTML page to `out` and return `out`.

    title: of the window, and the heading where the notebook begins with none. provenance: name -> value, for the fold at
    the page's end. images=False keeps no output but prints and the outputs of cells tagged `no-faces` (curves, tables,
    drawings); one sentence stands for the others. home: where the index stands, seen from `out`. question, finding: a
    sentence each, for the page's head. Cells tagged `lead` (the main figure) come first. Tags honoured besides:
    remove_cell, remove_input, remove_output. Widgets leave a note. Same notebook, same bytes. Raises ReportError for a
    formula that cannot be drawn, anything that would be loaded from outside the page, and a page over 4 MB.
    """
    nb = nbformat.read(notebook, as_version=4)
    cells = _Cells(notebook, images)
    for cell in nb.cells:
        cell.metadata.setdefault("tags", [])
    order = sorted(enumerate(nb.cells), key=lambda numbered: "lead" not in numbered[1].metadata.tags)
    nb.cells = [cells.prepared(cell, i) for i, cell in order if "remove_cell" not in cell.metadata.tags]
    nb.metadata.pop("widgets", None)
    page = frame(title) | {
        "heading": cells.title or title,
        "script": SCRIPT,
        "home": home,
        "question": question,
        "finding": finding,
        "provenance": list(provenance.items()),
        "contents": [heading for heading in cells.contents if heading[0] <= 3],
        "withheld": None if images else WITHHELD,
    }
    config = Config({"CoalesceStreamsPreprocessor": {"enabled": True}})
    exporter = HTMLExporter(config, template_name=TEMPLATES.name, extra_template_basedirs=[str(TEMPLATES.parent)])
    text, _ = exporter.from_notebook_node(nb, {"page": page, "metadata": {"name": notebook.stem}})
    if not images:  # the last gate: looks at the finished page itself, whatever the steps before believed
        soup = BeautifulSoup(text, "html.parser")
        for tag in [*soup.select("main > section.no-faces"), *soup.select("head"), soup.find_all("script")[-1]]:
            tag.decompose()
        if soup.find(["img", "image", "picture", "canvas", "video"]) or "data:image" in str(soup).lower():
            said = "a picture was left on a page that must not show any; the page was not written"
            raise ReportError(f"{notebook}: {said}.")
    size = len(text.encode())
    if size > MAX_BYTES:
        raise ReportError(f"{notebook}: the page weighs {size / 1e6:.1f} MB, over {MAX_BYTES / 1e6:.0f} MB. Show fewer or smaller pictures.")
    return save(out, text)


# ---- the page ----


def frame(title: str) -> dict:
    """What every page begins with: title, content-security policy, style sheet."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    csp = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return {"title": title, "csp": csp, "style": "\n" + (TEMPLATES / "style.css").read_text(encoding="utf-8")}


def save(out: Path, text: str) -> Path:
    """Write a page whole or not at all. Raises OSError that names `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    save_atomically(out, lambda part: part.write_text(text, encoding="utf-8"))
    return out


# ---- cells -> HTML ----


class _Cells(IPythonRenderer):
    """The cells of one notebook made ready for the template: every output becomes text/html, text/plain or a stream,
    formulas are drawn."""

    def __init__(self, notebook: Path, images: bool):
        super().__init__(escape=False, embed_images=True, path=str(notebook.parent), exclude_anchor_links=True)
        self.notebook, self.images = notebook, images
        self.title, self.contents, self.drawn = "", [], set()  # the page's title; (level, anchor, text); glyphs of formulas

    def prepared(self, cell, i: int):
        tags = cell.metadata.tags
        show = self.images or "no-faces" in tags
        try:
            if cell.cell_type == "markdown":
                cell.source = self.markdown(cell.source)
                if not show:
                    cell.source = re.sub(r"<img\b[^>]*>", NOTE.format(WITHHELD), cell.source)
            elif cell.cell_type == "code":
                injected = "injected-parameters" in tags
                cell.metadata.study_summary = "parameters" if "parameters" in tags else "parameters of this run" if injected else "code"
                if injected:  # of a path only its last part, and not where the results went
                    kept = [line for line in cell.source.split("\n") if not line.startswith(("results =", "out ="))]
                    cell.source = re.sub(r"""(?m)^(\w+ = )(["'])[^"']*/([^"'/]+)/?\2""", r"\1\2\3\2", "\n".join(kept))
                prints = "lead" not in tags  # the head is for the figure, not for what was printed on the way
                cell.outputs = [] if "remove_output" in tags else self.outputs(cell.outputs, show, prints)
        except (ReportError, formulas.FormulaError) as err:
            raise ReportError(f"{self.notebook}: cell {i}: {err}") from err
        return cell

    def outputs(self, outputs: list, show: bool, prints: bool) -> list:
        """Those that are shown: prints name no folder of this machine; neighbours with the same note have it once."""
        kept = []
        for output in outputs:
            if output.output_type == "stream":
                output.text = output.text.replace(str(TEMPLATES.parents[2]), ".").replace(str(Path.home()), "~")
                if not prints or not output.text.strip():
                    continue
            else:
                body = self.body(output) if show else NOTE.format(WITHHELD)
                if kept and body == kept[-1].get("data", {}).get("text/html") and body.startswith(NOTE[:10]):
                    continue
                output.data = nbformat.from_dict(body if isinstance(body, dict) else {"text/html": body})
            kept.append(output)
        return kept

    def body(self, output) -> str | dict:
        """An output as HTML; plain text stays a dict."""
        data, metadata = output.data, output.get("metadata", {})
        if WIDGET_VIEW in data:
            return NOTE.format(LIVE)
        alt = f"Figure: {self.contents[-1][2] if self.contents else self.title}"
        if "text/html" in data:
            return _clean(data["text/html"], alt)
        if "text/markdown" in data:
            return self.markdown(data["text/markdown"])
        for mime in PICTURES:
            if mime in data:
                said = html.escape(metadata.get(mime, {}).get("alt") or alt)
                return f'<img src="data:{mime};base64,{"".join(data[mime].split())}" alt="{said}">'
        if "text/plain" in data:
            return {"text/plain": data["text/plain"]}
        return NOTE.format(f"An output of type {html.escape(', '.join(data) or 'unknown')} is shown in JupyterLab only.")

    def markdown(self, source: str) -> str:
        return _clean(MarkdownWithMath(renderer=self).render(source))

    def heading(self, text: str, level: int, **attrs) -> str:
        """With an anchor of its own. The notebook's first heading becomes the page's, which the head shows."""
        soup = BeautifulSoup(text, "html.parser")
        for formula in soup.find_all("svg"):
            formula.replace_with(formula["aria-label"])
        plain = re.sub(r"\s+", " ", soup.get_text()).strip()
        if level == 1 and not self.title and not self.contents:
            self.title = plain
            return ""
        taken = {anchor for _, anchor, _ in self.contents}
        slug = re.sub(r"[^\w]+", "-", plain.lower()).strip("-") or "section"
        anchor = next(a for a in [slug, *(f"{slug}-{n}" for n in range(2, len(taken) + 3))] if a not in taken)
        level = max(level, 2)  # the page's title is the only h1
        self.contents.append((level, anchor, plain))
        return f'<h{level} id="{html.escape(anchor)}">{text}</h{level}>\n'

    def block_math(self, body: str) -> str:
        return formulas.svg(body, block=True, drawn=self.drawn)

    def inline_math(self, body: str) -> str:
        return formulas.svg(body, block=False, drawn=self.drawn)


def _clean(text: str, alt: str = "Figure") -> str:
    """HTML made well-formed; raises ReportError if it would load anything from outside the page."""
    soup = BeautifulSoup(text, "html.parser")
    for tag in soup.find_all(["script", "iframe", "base", "meta"]):
        tag.decompose()
    for tag in soup.find_all(True):
        loads = [tag.get(name) for name in ("src", "srcset", "poster", "background", "data", "xlink:href") if tag.get(name)]
        loads += [tag["href"]] if tag.name != "a" and tag.get("href") else []
        style = tag.get("style", "") + (tag.get_text() if tag.name == "style" else "")
        loads += [url for pair in re.findall(r"""url\(\s*["']?([^"')]*)|@import\s*([^;]*)""", style, re.IGNORECASE) for url in pair if url]
        for url in loads:
            if not url.strip().lower().startswith(("data:", "#")):
                raise ReportError(f"the page would have to load {url[:100]!r}. Show the picture itself, or link a file beside the notebook.")
        if tag.name == "img" and not tag.get("alt"):
            tag["alt"] = alt
    for table in soup.find_all("table"):
        _align_numbers(table)
    for tag in soup.find_all("style", string=re.compile(r"\.dataframe")):
        tag.decompose()  # pandas' own sheet sets every heading to the right
    return str(soup)


def _align_numbers(table) -> None:
    """Numbers and their headings to the right (class "num"), words to the left."""
    rows = [row.find_all(["td", "th"], recursive=False) for row in table.find_all("tr")]
    for cell in (cell for cells in rows for cell in cells):
        if cell.name == "td" and NUMBER.match(cell.get_text().strip()):
            cell["class"] = [*cell.get("class", []), "num"]
            if interval := INTERVAL.fullmatch(cell.get_text().strip()):  # in a narrow column it goes below the value, else beside it
                cell.string = " ".join(part.replace(" ", "\u00a0") for part in interval.groups())
    for cells in rows:
        for column, cell in enumerate(cells):
            below = [row[column] for row in rows if len(row) == len(cells) and row[column].name == "td"]
            if cell.name == "th" and any("num" in cell.get("class", []) for cell in below):
                cell["class"] = [*cell.get("class", []), "num"]

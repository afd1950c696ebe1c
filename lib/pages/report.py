"""Executed notebooks -> HTML pages that open from disk, and the page that lists all runs.

A page loads nothing: pictures are data URIs, mathematics is MathML made here, and its content-security policy allows one
script, our own (`template/slider.js`), by its hash. A page of a data set that may not be published holds no picture of it.
"""

import base64
import copy
import csv
import hashlib
import html
import io
import json
import os
import re
import unicodedata
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import jinja2
import nbformat
from bs4 import BeautifulSoup, NavigableString
from fontTools import subset
from latex2mathml.converter import convert_to_element
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters.ansi import strip_ansi
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

TEMPLATES = Path(__file__).parent / "template"
MAX_BYTES = 4_000_000
WITHHELD = "Pictures of this data set may not be published; render them locally with --with-images."
NUMBER = re.compile(r"[-+−±]?\d[\d,.\u202f\u00a0]*(e[-+]?\d+)?\s*%?\s*([±\[(]|$)", re.IGNORECASE)  # with its interval; '4 % moustaches are' is none
NOTE = '<p class="note">{}</p>'
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
VERDICTS = {"reproduced": "reproduced", "partly": "partly", "not reproduced": "failed", "not tested": "untested"}  # verdict -> CSS class

SUMMARIES = {  # pages that only read results/
    "comparison": "The five papers side by side",
    "claims": "Every claim of the five papers",
    "explorer": "Faces to play with",
    "speed": "How fast it is",
}
PAPERS = {  # in the order of the notebooks; key -> (title, citation)
    "atigan": (
        "ATI-GAN: Local Facial Attribute Transfer through Inpainting",
        "R. Durall, F.-J. Pfreundt, J. Keuper. arXiv:2002.03040, 2020.",
    ),
    "diat": ("DIAT: Deep Identity-aware Transfer of Facial Attributes", "M. Li, W. Zuo, D. Zhang. arXiv:1610.05586, 2016."),
    "sagan": (
        "SaGAN: Generative Adversarial Network with Spatial Attention for Face Attribute Editing",
        "G. Zhang, M. Kan, S. Shan, X. Chen. ECCV 2018.",
    ),
    "sggan": (
        "SG-GAN: Sparsely Grouped Multi-task Generative Adversarial Networks for Facial Attribute Manipulation",
        "J. Zhang, Y. Shu, S. Xu, G. Cao, F. Zhong, M. Liu, X. Qin. ACM Multimedia 2018, arXiv:1805.07509.",
    ),
    "bridgegan": (
        "BridgeGAN: Bridging the Gap between Label- and Reference-based Synthesis in Multi-attribute Image-to-Image Translation",
        "Q. Huang, Z. Zheng, X. Hu, L. Sun, Q. Li. ICCV 2021, arXiv:2110.05055 (the supplement).",
    ),
}


class ReportError(RuntimeError):
    """A notebook or record from which no honest page can be made; the message names file, place and remedy."""


def render(notebook: Path, out: Path, *, title: str, provenance: dict, images: bool = True, home: str = "index.html") -> Path:
    """Write `notebook` (executed, .ipynb) as one self-contained HTML page to `out` and return `out`.

    provenance: name -> value, shown in this order in the page's head; dicts and lists are spelled out, None is a dash.
    images=False keeps no pixel of any picture except in cells tagged `no-faces` (curves, tables, drawings): pictures, HTML
    and markdown with pictures, attachments and text that looks like pixels give way to one sentence.
    home: where the list of runs stands, seen from `out` ("../index.html" for a page in a folder below it).
    Cell tags honoured besides: remove_cell, remove_input, remove_output. Widgets leave a note. Same notebook, same bytes.
    Raises ReportError for an unreadable, unexecuted or failed notebook (also for an error swallowed by an Output widget), a
    formula that cannot be typeset, anything that would be loaded from outside the page, and a page over 4 MB.
    """
    notebook, out = Path(notebook), Path(out)
    try:
        nb = nbformat.read(notebook, as_version=4)
    except Exception as err:  # nbformat raises many kinds: file, JSON, version, schema
        raise ReportError(f"{notebook}: not a readable notebook: {str(err).splitlines()[0]}") from err
    _refuse_failed(nb, notebook)
    contents: list[tuple[int, str, str]] = []
    nb.cells = [_prepared(cell, i, nb, notebook, images, contents, title) for i, cell in enumerate(nb.cells) if "remove_cell" not in _tags(cell)]
    nb.metadata.pop("widgets", None)

    page = _page(title)
    page["style"] += _math_font("".join(_texts(nb)))
    page |= {
        "script": _script(),
        "home": home,
        "provenance": [(name, _spelled(value)) for name, value in provenance.items()],
        "contents": [heading for heading in contents if heading[0] <= 3],
        "withheld": None if images else WITHHELD,
    }
    config = Config()
    config.HTMLExporter.template_name = TEMPLATES.name
    config.TemplateExporter.extra_template_basedirs = [str(TEMPLATES.parent)]
    text, _ = HTMLExporter(config=config).from_notebook_node(nb, {"page": page, "metadata": {"name": notebook.stem}})

    if not images:
        _assert_no_picture(text, notebook)
    size = len(text.encode())
    if size > MAX_BYTES:
        raise ReportError(f"{notebook}: the page weighs {size / 1e6:.1f} MB, over {MAX_BYTES / 1e6:.0f} MB. Largest outputs: {_largest(nb)}.")
    return _write(out, text)


def index(results: Path, reports: Path) -> Path:
    """Write `reports`/index.html: every run under `results`/<paper>/<run_id>/run.json, newest first, and return its path.

    A complete run links to `reports`/<paper>-<run_id>.html where that file exists; its claims.csv is counted by verdict.
    Runs made beside another one are on that one's page. Papers without a run are named as such; summaries and pages about face
    sets (`reports`/data-*.html) are linked where they exist.
    Raises ReportError naming the file for a broken run.json or claims.csv.
    """
    results, reports = Path(results), Path(reports)
    runs: dict[str, list[dict]] = {key: [] for key in PAPERS}
    titles = {key: title for key, (title, _) in PAPERS.items()}
    for path in sorted(results.glob("*/*/run.json")):
        key = path.parent.parent.name
        record = _record(path)
        if "beside" in record:  # another method or configuration, trained for a run that shows it
            continue
        titles.setdefault(key, record["title"])
        runs.setdefault(key, []).append((record["started"], record["run_id"], _row(record, path.parent, reports / f"{key}-{record['run_id']}.html")))
    papers = [
        {
            "key": key,
            "title": titles[key],
            "citation": PAPERS[key][1] if key in PAPERS else "",
            "runs": [row for _, _, row in sorted(found, key=lambda run: run[:2], reverse=True)],
        }
        for key, found in runs.items()
    ]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined)
    page = _page("Five face-editing papers, reproduced")
    page["style"] = Markup(page["style"])
    data = [(p.name, p.stem.removeprefix("data-")) for p in sorted(reports.glob("data-*.html"))]
    together = [(f"{name}.html", title) for name, title in SUMMARIES.items() if (reports / f"{name}.html").exists()]
    text = environment.get_template("runs.html.j2").render(page=page, papers=papers, data=data, together=together)
    return _write(reports / "index.html", text)


# ---- the page ----


def _script() -> str:
    return "\n" + (TEMPLATES / "slider.js").read_text(encoding="utf-8")


def _page(title: str) -> dict:
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    csp = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; font-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"title": title, "csp": csp, "style": "\n" + (TEMPLATES / "style.css").read_text(encoding="utf-8")}


def _texts(nb) -> list[str]:
    return [text for cell in nb.cells for text in [cell.source, *(output.get("data", {}).get("text/html", "") for output in cell.get("outputs", []))]]


def _math_font(text: str) -> str:
    """@font-face with just the letters and signs of the formulas in `text`: stretched brackets need a font with a MATH table."""
    formulas = "".join(re.findall(r"<math.*?</math>", text, re.DOTALL))
    if not formulas:
        return ""
    letters = set(html.unescape(re.sub(r"<[^>]*>", "", formulas)))
    if "<msqrt" in formulas or "<mroot" in formulas:
        letters.add("√")
    letters |= {_styled(letter, "ITALIC") for letter in letters} | {"ℎ"}  # browsers show a single-letter name in mathematical italics
    options = subset.Options(flavor="woff", layout_features=[], name_IDs=[1, 2], notdef_outline=True, recalc_timestamp=False)
    font = subset.load_font(TEMPLATES / "math.woff", options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=map(ord, letters))
    subsetter.subset(font)
    file = io.BytesIO()
    subset.save_font(font, file, options)
    data = base64.b64encode(file.getvalue()).decode()
    return f'@font-face{{font-family:"Study Math";src:url(data:font/woff;base64,{data})format("woff")}}\n'


def _write(out: Path, text: str) -> Path:
    part = out.with_name(f"{out.name}.{os.getpid()}.part")  # two jobs may end together, and each makes the index anew
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(out)) from None
    return out


def _spelled(value) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_spelled(item)}" for name, item in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(_spelled(item) for item in value) or "–"
    return str(value)


def _largest(nb) -> str:
    sizes = []
    for cell in nb.cells:
        texts = [cell.source, *("".join(output.get("data", {}).values()) or output.get("text", "") for output in cell.get("outputs", []))]
        sizes += [(len(text), cell.metadata.study_place) for text in texts]
    return ", ".join(f"{place} with {size / 1e6:.1f} MB" for size, place in sorted(sizes, reverse=True)[:3])


# ---- what must not be shown as a result ----


def _tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def _refuse_failed(nb, notebook: Path) -> None:
    remedy = "Mend the run and execute it again; no report is made of a failed notebook."
    for i, cell in enumerate(nb.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                raise ReportError(f"{notebook}: cell {i}: {output.ename}: {output.evalue.rstrip('.')}. {remedy}")
        if cell.get("metadata", {}).get("papermill", {}).get("exception"):
            raise ReportError(f"{notebook}: cell {i} ended in an exception. {remedy}")
        if cell.execution_count is None:
            raise ReportError(f"{notebook}: cell {i} was not executed. Run the notebook from top to bottom first.")
    if nb.metadata.get("papermill", {}).get("exception"):
        raise ReportError(f"{notebook}: papermill recorded an exception. {remedy}")
    for model in _widget_state(nb).values():
        for output in model.get("state", {}).get("outputs", []) or []:
            if output.get("output_type") == "error":
                raise ReportError(f"{notebook}: an Output widget swallowed {output.get('ename')}: {str(output.get('evalue')).rstrip('.')}. {remedy}")


def _widget_state(nb) -> dict:
    return nb.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})


# ---- cells -> HTML ----


def _prepared(cell, i: int, nb, notebook: Path, images: bool, contents: list, title: str):
    """The cell with every output reduced to one of text/html, text/plain or a stream, ready for the template."""
    place = f"cell {i}"
    cell = copy.deepcopy(cell)
    cell.metadata.study_place = place
    cell.metadata.tags = _tags(cell)
    show = images or "no-faces" in cell.metadata.tags
    try:
        if cell.cell_type == "markdown":
            cell.source = _markdown(cell.source, cell.get("attachments", {}), notebook.parent, contents, title)
            if not show:
                cell.source = _without_pictures(cell.source)
        elif cell.cell_type == "code":
            tags = cell.metadata.tags
            injected = "injected-parameters" in tags
            cell.metadata.study_open = injected or "parameters" in tags
            cell.metadata.study_summary = "Parameters and their defaults" if "parameters" in tags else "Code"
            if injected:
                cell.source = _without_folders(cell.source)
                cell.metadata.study_summary = "Parameters set for this run (they override the defaults)"
            if not show and _like_pixels(cell.source):
                cell.source = f"# {WITHHELD}"
            outputs = [] if "remove_output" in tags else _merged(cell.outputs)
            heading = contents[-1][2] if contents else title
            outputs = [new for output in outputs for new in _output(output, nb, notebook.parent, show, f"Figure: {heading}")]
            cell.outputs = [new for i, new in enumerate(outputs) if i == 0 or not _is_note(new) or new.data != outputs[i - 1].get("data")]
    except ReportError as err:
        raise ReportError(f"{notebook}: {place}: {err}") from err
    return cell


def _without_folders(source: str) -> str:
    """Injected parameters as a page shows them: of a path only its last part, and not where the results went."""
    kept = [line for line in source.split("\n") if not line.startswith(("run_dir =", "out ="))]
    return "\n".join(re.sub(r"""^(\w+ = )(["'])[^"']*/([^"'/]+)/?\2""", r"\1\2\3\2", line) for line in kept)


def _merged(outputs: list) -> list:
    """Neighbouring prints joined, all messages (stderr) of the cell in one, progress bars reduced to their last state."""
    merged: list = []
    for output in outputs:
        name = output.get("name")
        earlier = merged if name == "stderr" else merged[-1:]
        same = next((other for other in earlier if name and other.get("name") == name), None)
        if same is not None:
            same.text += output.text
        else:
            merged.append(output)
    for output in merged:
        if output.output_type == "stream":
            output.text = output.text.replace(str(TEMPLATES.parent.parent), ".").replace(str(Path.home()), "~")  # no folders of this machine
            lines = output.text.replace("\r\n", "\n").split("\n")
            output.text = "\n".join(next((part for part in reversed(line.split("\r")) if part.strip()), "") for line in lines).strip("\n")
    return [output for output in merged if output.output_type != "stream" or output.text]


def _output(output, nb, folder: Path, show: bool, alt: str) -> list:
    """At most one output in place of `output`, its data a single text/html or text/plain."""
    if output.output_type == "stream":
        if not show:
            output.text = WITHHELD if _like_pixels(output.text) else strip_ansi(output.text)
        return [output]
    if WIDGET_VIEW in output.data:
        if _is_progress(output.data[WIDGET_VIEW].get("model_id"), _widget_state(nb)):
            return []
        return [_html_output(output, NOTE.format("Live in JupyterLab: this control asks the model itself and is not part of this page."))]
    data, metadata = output.data, output.get("metadata", {})
    pictures = [mime for mime in ("image/svg+xml", "image/png", "image/webp", "image/jpeg", "image/gif") if mime in data]
    if not show and any(mime not in ("text/html", "text/markdown", "text/latex", "text/plain") for mime in data):
        return [_html_output(output, NOTE.format(WITHHELD))]
    if "text/html" in data:
        body = _clean(data["text/html"], alt) if show else data["text/html"]
    elif "text/markdown" in data:
        body = _markdown(data["text/markdown"], {}, folder, [], "")
    elif pictures:
        body = _picture(pictures[0], data[pictures[0]], metadata, alt)
    elif "text/latex" in data:
        body = _markdown(data["text/latex"], {}, folder, [], "")
    elif "text/plain" in data:
        text = data["text/plain"]
        if not show:
            text = WITHHELD if _like_pixels(text) else strip_ansi(text)
        output.data = nbformat.from_dict({"text/plain": text})
        return [output]
    else:
        body = NOTE.format(f"An output of type {html.escape(', '.join(data) or 'unknown')} is shown in JupyterLab only.")
    return [_html_output(output, body if show else _without_pictures(body, whole=True))]


def _is_note(output) -> bool:
    return output.get("data", {}).get("text/html", "").startswith(NOTE[:16])


def _html_output(output, body: str):
    output.data = nbformat.from_dict({"text/html": body})
    return output


def _is_progress(model_id: str | None, state: dict) -> bool:
    model = state.get(model_id, {})
    children = [child.removeprefix("IPY_MODEL_") for child in model.get("state", {}).get("children", []) or []]
    return "Progress" in model.get("model_name", "") or any(_is_progress(child, state) for child in children)


def _picture(mime: str, data: str, metadata: dict, alt: str) -> str:
    own = metadata.get(mime, {}) if isinstance(metadata.get(mime), dict) else {}
    alt = own.get("alt") or metadata.get("alt") or alt
    # An SVG shown through <img> can neither run scripts nor clash with the ids of the next one.
    payload = base64.b64encode(data.encode()).decode() if mime == "image/svg+xml" else "".join(data.split())
    size = "".join(f' {name}="{int(own[name])}"' for name in ("width", "height") if own.get(name))
    return f'<img src="data:{mime};base64,{payload}" alt="{html.escape(alt)}"{size}>'


def _clean(text: str, alt: str = "") -> str:
    """HTML made well-formed, without scripts and frames; raises ReportError if it would load anything from outside the page."""
    soup = BeautifulSoup(text, "html.parser")
    for tag in soup.find_all(["script", "iframe", "frame", "object", "embed", "applet", "link", "meta", "base", "form", "template", "portal"]):
        tag.decompose()
    for node in soup.find_all(string=lambda s: type(s) is not NavigableString and s.parent.name != "style"):
        node.extract()  # comments, CDATA, declarations
    for tag in soup.find_all(True):
        for name in [name for name in tag.attrs if name.startswith("on")]:
            del tag[name]
        loads = [tag.get(name) for name in ("src", "srcset", "poster", "background", "data", "xlink:href") if tag.get(name)]
        href = tag.get("href") or ""
        if tag.name != "a" and href:
            loads.append(href)
        elif re.match(r"\s*(javascript|data|vbscript):", href, re.IGNORECASE):
            del tag["href"]
        style = tag.get("style", "") + (tag.get_text() if tag.name == "style" else "")
        loads += [url for pair in re.findall(r"""url\(\s*["']?([^"')]*)|@import\s*([^;]*)""", style, re.IGNORECASE) for url in pair if url]
        for url in loads:
            if not url.strip().lower().startswith(("data:", "#")):
                raise ReportError(f"the page would have to load {url[:100]!r}. Show the picture itself, or link a file beside the notebook.")
        if tag.name == "img" and not tag.get("alt"):
            tag["alt"] = alt or "Figure"
    for table in soup.find_all("table"):
        _align_numbers(table)
    for tag in soup.find_all("style", string=re.compile(r"\.dataframe")):
        tag.decompose()  # pandas' own sheet sets every heading to the right
    return str(soup)


def _align_numbers(table) -> None:
    """Numbers and their headings to the right (class "num"), words to the left."""
    rows = [row.find_all(["td", "th"], recursive=False) for row in table.find_all("tr")]
    for cells in rows:
        for cell in cells:
            if cell.name == "td" and NUMBER.match(cell.get_text().strip()):
                cell["class"] = [*cell.get("class", []), "num"]
    for cells in rows:
        for column, cell in enumerate(cells):
            below = [row[column] for row in rows if len(row) == len(cells) and row[column].name == "td"]
            if cell.name == "th" and any("num" in cell.get("class", []) for cell in below):
                cell["class"] = [*cell.get("class", []), "num"]


class _Markdown(IPythonRenderer):
    """Markdown with MathML, unique heading anchors, and the headings noted in `contents` as (level, anchor, text)."""

    def __init__(self, attachments: dict, folder: Path, contents: list, title: str):
        super().__init__(escape=False, attachments=attachments, embed_images=True, path=str(folder), exclude_anchor_links=True)
        self.contents, self.title = contents, title

    def heading(self, text: str, level: int, **attrs) -> str:
        plain = re.sub(r"\s+", " ", BeautifulSoup(text, "html.parser").get_text()).strip()
        if level == 1 and plain == self.title:
            return ""  # the page's head shows it
        taken = {anchor for _, anchor, _ in self.contents}
        slug = re.sub(r"[^\w]+", "-", plain.lower()).strip("-") or "section"
        anchor = next(a for a in [slug, *(f"{slug}-{n}" for n in range(2, len(taken) + 3))] if a not in taken)
        level = max(level, 2)  # the page's title is the only h1
        self.contents.append((level, anchor, plain))
        return f'<h{level} id="{html.escape(anchor)}">{text}</h{level}>\n'

    def block_math(self, body: str) -> str:
        return mathml(body, block=True)

    def inline_math(self, body: str) -> str:
        return mathml(body, block=False)

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True)


def _markdown(source: str, attachments: dict, folder: Path, contents: list, title: str) -> str:
    return _clean(MarkdownWithMath(renderer=_Markdown(attachments, folder, contents, title)).render(source))


# ---- no faces ----

TEXT_TAGS = set(
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i kbd li mark ol p pre "
    "q s samp section small span strong sub summary sup table tbody td tfoot th thead tr u ul var "
    "math mi mn mo mtext mspace mrow mfrac msqrt mroot mstyle msub msup msubsup munder mover munderover mtable mtr mtd mpadded mphantom".split()
)
TEXT_ATTRIBUTES = set(
    "id class href colspan rowspan scope display displaystyle scriptlevel accent accentunder stretchy fence form largeop "
    "movablelimits minsize maxsize linethickness lspace rspace width height depth mathvariant".split()
)


def _like_pixels(text: str) -> bool:
    """Whether a text could hold a picture: a data URI, a long base64 or escaped-bytes run, block characters, over 1000 numbers."""
    return (
        "data:image" in text.lower()
        or re.search(r"[A-Za-z0-9+/_=-]{120}|(?:[A-Za-z0-9+/]{70,}\s+){3}", text) is not None
        or len(re.findall(r"\\x[0-9a-fA-F]{2}", text)) > 30
        or len(re.findall(r"[\u2580-\u259f\u2800-\u28ff]", text)) > 400
        or len(re.findall(r"\d+\.?\d*(?:e[+-]?\d+)?", text)) > 1000
    )


def _without_pictures(text: str, whole: bool = False) -> str:
    """HTML reduced to text elements; what is more gives way to the sentence, each by itself or (whole) all at once.

    A list of what may stay, not of what must go: an unknown element or attribute is as gone as <img>.
    """
    note = NOTE.format(WITHHELD)
    soup = BeautifulSoup(text, "html.parser")
    for tag in soup.find_all("style"):
        tag.decompose()
    for node in soup.find_all(string=lambda s: type(s) is not NavigableString):
        node.extract()
    if _like_pixels(soup.get_text(" ")):
        return note
    strangers = [tag for tag in soup.find_all(True) if tag.name not in TEXT_TAGS]
    if strangers and whole:
        return note
    for tag in strangers:
        if not tag.decomposed:
            tag.insert_before(BeautifulSoup(note, "html.parser"))
            tag.decompose()
    for tag in soup.find_all(True):
        tag.attrs = {name: value for name, value in tag.attrs.items() if name in TEXT_ATTRIBUTES and "data:" not in str(value).lower()}
    return str(soup)


def _assert_no_picture(text: str, notebook: Path) -> None:
    """The last gate: looks at the finished page itself, whatever the steps before believed."""
    soup = BeautifulSoup(text, "html.parser")
    for tag in [*soup.select("main > section.no-faces"), *soup.select("head")]:
        tag.decompose()
    script = soup.find_all("script")[-1]
    if script.string != _script():
        raise ReportError(f"{notebook}: the page's own script is not where it should be; the page was not written.")
    script.decompose()
    known = TEXT_TAGS | {"html", "body", "header", "footer", "main", "nav"}
    left = soup.find(lambda tag: tag.name not in known or tag.get("src") or tag.get("style"))
    if left is not None or re.search(r"data:image|;base64,", str(soup), re.IGNORECASE):
        raise ReportError(f"{notebook}: a picture was left on a page that must not show any ({str(left)[:80]}); the page was not written.")


# ---- mathematics ----

ARITY = {"mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3}
LIMITS = ("max", "min", "sup", "inf", "lim")
ACCENTS = {"^": ("ˆ", "false"), "~": ("˜", "false"), "¯": ("¯", "false"), "→": ("→", "false"), "―": ("¯", "true")}
UNICODE_STYLE = {
    "double-struck": "DOUBLE-STRUCK",
    "script": "SCRIPT",
    "fraktur": "FRAKTUR",
    "bold": "BOLD",
    "bold-italic": "BOLD ITALIC",
    "bold-script": "BOLD SCRIPT",
    "bold-fraktur": "BOLD FRAKTUR",
    "sans-serif": "SANS-SERIF",
    "monospace": "MONOSPACE",
}


def mathml(tex: str, block: bool) -> str:
    r"""LaTeX (without its dollars) as MathML that browsers show without help; `\tag{n}` stands at the right margin.

    Raises ReportError naming the formula if a command, an argument or a brace is missing or unknown.
    """
    source = tex
    tex = tex.replace("{,}", r"\text{,}")  # 10{,}000
    tex = re.sub(r"\\mathrm\s*(?:\{([A-Za-z])\}|\s([A-Za-z])(?![A-Za-z]))", r"\\text{\1\2}", tex)  # the converter drops the style of one letter
    tag = re.search(r"\\tag\{([^{}]*)\}", tex)
    tex = re.sub(r"\\tag\{[^{}]*\}|\\label\{[^{}]*\}|\\(?:nonumber|notag)\b", "", tex)
    tex = re.sub(r"\\(begin|end)\{(?:aligned|split|align|eqnarray\*?|alignat\*?)\}", r"\\\1{align*}", tex)
    tex = re.sub(r"\\(begin|end)\{(?:gathered|gather\*?|multline\*?)\}", r"\\\1{matrix}", tex)
    tex = re.sub(r"\\(begin|end)\{(?:equation\*?|displaymath|math)\}", "", tex)
    tex = re.sub(r"\\operatorname\*?\{\s*arg\s*\\?[,;! ]?\s*(max|min)\s*\}|\\arg\s*\\(max|min)(?![a-z])", r"\\arg\1\2 ", tex)
    if len(re.findall(r"(?<!\\)\{", tex)) != len(re.findall(r"(?<!\\)\}", tex)):
        raise ReportError(f"formula with unbalanced braces: {source.strip()}")
    try:
        math = convert_to_element(tex.strip(), display="block" if block else "inline")
        _browser_ready(math)
    except ReportError as err:
        raise ReportError(f"formula that cannot be shown ({err}): {source.strip()}") from None
    except Exception as err:  # the converter's errors share no base class
        raise ReportError(f"formula that cannot be shown ({type(err).__name__} {err}): {source.strip()}".replace(" )", ")")) from None
    math.attrib.pop("xmlns", None)
    text = ElementTree.tostring(math, encoding="unicode", short_empty_elements=False)
    if block:
        number = f"<span>({html.escape(tag[1])})</span>" if tag else ""
        return f'<div class="math">{text}{number}</div>\n'
    return f'<span class="math long">{text}</span>' if len(text) > 2500 else text


def _browser_ready(math: ElementTree.Element) -> None:
    """What the converter leaves and browsers do not know: letter styles as attributes, aligned columns, TeX's spacing."""
    for element in math.iter():
        element.text = re.sub(r"\\([_%&#$ ])", r"\1", html.unescape(element.text or ""))
    for parent in math.iter():
        word = None  # \mathrm{BCE}: three upright letters are one name
        for child in list(parent):
            upright = child.tag == "mi" and child.get("mathvariant") == "normal"
            if upright and word is not None:
                word.text += child.text
                parent.remove(child)
            else:
                word = child if upright and parent.tag in ("mrow", "math", "mtd") else None
    for element in math.iter():
        text = element.text
        if element.tag in ("mi", "mo") and (text.startswith("\\") and len(text) > 1 or text == "&"):
            raise ReportError(f"unknown: {text}")
        if element.tag in ARITY and len(element) != ARITY[element.tag]:
            raise ReportError(f"an argument is missing or too many in {element.tag}")
        style = element.attrib.pop("mathvariant", None)
        if style == "normal" and element.tag == "mi" and len(text) == 1:
            element.set("mathvariant", "normal")  # the one value that browsers know
        elif style in UNICODE_STYLE:
            element.text = "".join(_styled(letter, UNICODE_STYLE[style]) for letter in text)
        if element.tag == "mi" and text == "~":
            element.tag, element.text = "mo", "∼"
        elif element.tag == "mo" and len(element):
            element.tag = "mrow"  # \mathop
        elif element.tag == "mo" and len(text) > 1 and text.isalpha() and text not in LIMITS:
            element.tag = "mi"  # \operatorname{sg}: a name, not a sign with space around
        elif element.tag == "msub" and math.get("display") == "block" and element[0].text.split("\u2009")[-1] in LIMITS:
            element.tag = "munder"
        elif element.tag == "mover" and element[1].text in ACCENTS:
            accent = element[1]
            accent.text, accent.attrib["stretchy"] = ACCENTS[accent.text]
            element.set("accent", "true")
        elif element.tag == "mo" and "minsize" in element.attrib:
            element.attrib.update(lspace="0", rspace="0")  # \big(
        if column := element.attrib.pop("columnalign", None):
            element.set("class", column[0])
        for name in ("columnspacing", "rowspacing", "columnlines", "rowlines"):
            element.attrib.pop(name, None)
    for parent in [element for element in math.iter() if element.tag in ("math", "mrow", "mtd", "mstyle", "msqrt")]:
        before = None
        for child in list(parent):
            solid = before is not None and before.tag not in ("mo", "mspace")
            if child.tag == "mo" and child.text in ("−", "+", "±") and before is not None and before.tag == "mo" and before.text not in (*")]}‖|",):
                child.set("form", "prefix")  # a sign after "=" or "(" belongs to what follows
            if child.tag == "mi" and len(child.text) > 1 and child.text.isalpha() and solid:
                parent.insert(list(parent).index(child), ElementTree.Element("mspace", width="0.167em"))
            name = before is not None and before.tag == "mi" and len(before.text) > 1 and before.text.isalpha()
            if name and child.tag not in ("mo", "mspace") and not (len(child) and child[0].tag == "mo"):
                parent.insert(list(parent).index(child), ElementTree.Element("mspace", width="0.167em"))
            before = child


def _styled(letter: str, style: str) -> str:
    match = re.fullmatch(r"(?:LATIN|GREEK) (CAPITAL|SMALL) LETTER (\w+)|(DIGIT) (\w+)", unicodedata.name(letter, ""))
    if not match:
        return letter
    kind, name = match[1] or match[3], match[2] or match[4]
    for candidate in (f"MATHEMATICAL {style} {kind} {name}", f"{style} {kind} {name}"):
        try:
            return unicodedata.lookup(candidate)
        except KeyError:
            continue
    return letter


# ---- the list of runs ----


def _record(path: Path) -> dict:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise ReportError(f"{path}: not a readable run record: {err}. Delete the run's folder or run it again.") from err
    if not isinstance(record, dict):
        raise ReportError(f"{path}: the run record is no JSON object. Delete the run's folder or run it again.")
    missing = [name for name in ("status", "title", "run_id", "profile", "data", "seed", "started") if name not in record]
    if missing:
        raise ReportError(f"{path}: the run record lacks {', '.join(missing)}. Delete the run's folder or run it again.")
    if record["status"] not in ("running", "complete", "failed"):
        raise ReportError(f"{path}: unknown status {record['status']!r}; running, complete or failed was expected.")
    return record


def _row(record: dict, folder: Path, report: Path) -> dict:
    complete = record["status"] == "complete"
    linked = complete and report.exists()
    reason = record.get("reason") or "no reason recorded"
    state = {"running": "not finished", "failed": f"failed: {reason}", "complete": "no claims recorded"}[record["status"]]
    share, hardware = record.get("share_of_paper"), record.get("hardware") or {}
    return {
        "run_id": record["run_id"],
        "link": report.name if linked else None,
        "state": state,
        "verdicts": _verdicts(folder / "claims.csv") if complete else [],
        "data": record["data"],
        "profile": record["profile"],
        "seed": record["seed"],
        "share": "–" if share is None else f"{100 * share:.2g} %",
        "time": _duration(record.get("seconds")),
        "hardware": _spelled(
            [f"{hardware[name]}{unit}" for name, unit in (("device", ""), ("gpu", ""), ("cpu", ""), ("cores", " cores")) if hardware.get(name)]
        ),
        "date": _date(record["started"]),
    }


def _verdicts(path: Path) -> list[tuple[str, str, int]]:
    """(CSS class, verdict, count) for the verdicts that occur; [] without a file."""
    if not path.exists():
        return []
    counts = dict.fromkeys(VERDICTS, 0)
    with path.open(encoding="utf-8", newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            if row.get("verdict") not in counts:
                raise ReportError(f"{path}:{line}: verdict {row.get('verdict')!r}; one of {', '.join(counts)} was expected.")
            counts[row["verdict"]] += 1
    return [(VERDICTS[name], name, count) for name, count in counts.items() if count]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _date(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text

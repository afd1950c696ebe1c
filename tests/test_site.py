"""The committed pages as a reader finds them: every link leads somewhere, every picture is described, nothing asks for a network."""

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

from browser import open_page

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "reports").glob("*.html"))


def broken(page: Path, links: list[str], anchors: dict[Path, set[str]]) -> list[str]:
    """The links of a page that lead to no file of the site, or to no place in the file. Addresses in the network are not asked for."""
    out = []
    for link in links:
        parts = urlsplit(link)
        if parts.scheme in ("http", "https", "mailto"):
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not target.exists() or parts.fragment and target in anchors and unquote(parts.fragment) not in anchors[target]:
            out.append(link)
    return out


def test_every_committed_page_is_whole(chromium):
    """Walked with the network blocked, at the width of a phone: links, pictures and their descriptions, size, errors, requests."""
    assert [p.name for p in PAGES if p.name == "index.html"] == ["index.html"]
    anchors, links = {}, {}
    for file in PAGES:
        with open_page(file, chromium=chromium, width=390) as opened:
            page = opened.page
            assert not opened.errors and not opened.blocked, file.name
            anchors[file] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)"))
            links[file] = page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))")
            hidden = page.evaluate("[...document.images].filter(i => !i.alt && !i.closest('.study-slider')).map(i => i.outerHTML.slice(0, 120))")
            assert not hidden, f"{file.name}: pictures without a description: {hidden}"
            assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, f"{file.name} scrolls sideways on a phone"
        assert file.stat().st_size <= 4 * 2**20, file.name
    for file in PAGES:
        assert not broken(file, links[file], anchors), file.name
    listed = {unquote(urlsplit(link).path) for link in links[next(p for p in PAGES if p.name == "index.html")]}
    assert {p.name for p in PAGES} - {"index.html"} <= listed, "a page that the index does not list"


def test_a_picture_is_seen_without_scrolling(chromium):
    """On the index and on the page of every run that may show its faces; what an earlier version made is as it was."""
    records = [json.loads(file.read_text()) for file in ROOT.glob("results/*/*/run.json")]
    shown = [f"{r['paper']}-{r['run_id']}.html" for r in records if "models" in r and r["publishable"]]
    for file in [p for p in PAGES if p.name in shown or shown and p.name == "index.html"]:
        with open_page(file, chromium=chromium) as opened:
            tops = opened.page.evaluate("[...document.images].map(i => i.getBoundingClientRect()).filter(b => b.width > 90).map(b => b.top)")
            assert min(tops) < 800, f"{file.name}: the first picture begins {min(tops):.0f} pixels down"

"""Reports as a reader meets them: opened from disk in a browser with the network blocked, and refused where they must be."""

import base64
import io
import json
import re
import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
from browser import browser, open_page
from bs4 import BeautifulSoup
from nbformat import v4
from PIL import Image

from lib.pages import report
from lib.pages import sliders as widgets
from lib.pages.report import WIDGET_STATE, WIDGET_VIEW, WITHHELD, ReportError, index, mathml, render

TITLE = "SaGAN: spatial attention"
PROVENANCE = {
    "run": "synthetic-smoke-s3-1a2b3c4d",
    "seed": 3,
    "share of the paper's training": 0.0125,
    "hardware": {"device": "cpu", "cores": 2},
    "none": None,
}
FORMULAS = r"""The discriminator sees $I$, $\hat I$ and $\tilde I=\epsilon I+(1-\epsilon)\hat I$ with $\epsilon\sim U(0,1)$; it costs \$3.

$$\mathcal{L}_D=\underbrace{-\mathbb{E}_{I}\left[D_{src}(I)\right]+\mathbb{E}_{\hat I}\left[D_{src}(\hat I)\right]}_{\mathcal{L}^{D}_{adv}}
+\lambda_{gp}\,\mathbb{E}_{\tilde I}\left[\left(\|\nabla_{\tilde I}D_{src}(\tilde I)\|_2-1\right)^2\right] \tag{12}$$

\begin{equation}
\hat I = G(I,c) = F_m(I,c)\cdot b + I\cdot(1-b) \label{eq:4}
\end{equation}

\begin{align}
\mathcal{L}_{rec} &= \lambda_1 \mathbb{E}\left[\|I - G(G(I,c),c^g)\|_1\right]\\
\mathcal{L}_{cls} &= -\frac{1}{N}\sum_{i=1}^{N} y_i\log\sigma(z_i),\qquad
\operatorname{sg}(x)=\begin{cases}x & \text{forward}\\ 0 & \text{backward}\end{cases}
\end{align}

$$\theta^\star=\operatorname*{arg\,min}_\theta \max_{\mathbf w}
\sqrt{\frac{a_1^2+b}{\bar c}} < \left\|\frac{x'-\dot x}{2}\right\|_F^2 \in \mathbb{R}^{3\times H\times W}$$
"""


def picture(height: int = 40, width: int = 60, shade: int = 0, kind: str = "PNG") -> bytes:
    """A noisy picture: its bytes cannot be mistaken for anything else on the page."""
    pixels = np.random.default_rng(shade).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def face(glasses: float, smile: float = 0.0, size: int = 32) -> np.ndarray:
    """(size,size,3) uint8; the upper half darkens with `glasses`, the lower half reddens with `smile`."""
    pixels = np.full((size, size, 3), 200, np.uint8)
    pixels[: size // 2] = int(200 - 180 * glasses)
    pixels[size // 2 :, :, 1:] = int(200 - 180 * smile)
    return pixels


def code(source: str, *outputs, tags=(), **metadata):
    return v4.new_code_cell(source, outputs=list(outputs), execution_count=1, metadata={"tags": list(tags), **metadata})


def shown(data: dict, metadata: dict | None = None, kind: str = "display_data"):
    return v4.new_output(kind, data, metadata=metadata or {}, **({"execution_count": 1} if kind == "execute_result" else {}))


def stream(text: str, name: str = "stdout"):
    return v4.new_output("stream", name=name, text=text)


def saved(path, *cells, **metadata):
    nb = v4.new_notebook(cells=list(cells), metadata={"language_info": {"name": "python"}, **metadata})
    for i, cell in enumerate(nb.cells):
        cell.id = f"cell-{i}"
    nbformat.write(nb, path)
    return path


def text_of(path) -> str:
    return path.read_text(encoding="utf-8")


STEPS = np.linspace(0, 1, 5)
LABELS = [f"{step:.2f}" for step in STEPS]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """One executed notebook with everything that a paper's notebook shows."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "layout.png").write_bytes(picture(shade=7))
    table = pd.DataFrame(np.round(np.random.default_rng(0).normal(size=(4, 24)), 3))
    strip = widgets.slider([face(step) for step in STEPS], LABELS, "Eyeglasses", "A face whose eyeglasses appear").data
    rows = widgets.slider([[face(step, smile) for step in STEPS] for smile in (0, 1)], LABELS, "Two faces", "Two faces").data
    grid = widgets.pad(
        [[face(x, y) for x in STEPS] for y in (0, 0.5, 1)], LABELS, ["none", "half", "full"], "Glasses and smile", "A grid of faces"
    ).data
    widget_state = {
        "bar": {"model_name": "HBoxModel", "state": {"children": ["IPY_MODEL_fill"]}},
        "fill": {"model_name": "FloatProgressModel", "state": {}},
        "live": {"model_name": "VBoxModel", "state": {"children": []}},
    }
    return saved(
        folder / "paper.ipynb",
        v4.new_markdown_cell(f"# {TITLE}\n\nOne model per attribute."),
        v4.new_markdown_cell("## Objective\n\n" + FORMULAS),
        v4.new_markdown_cell("## Parameters\n\n| name | meaning |\n|---|---|\n| $b$ | mask |\n\n![the layout](layout.png)"),
        code('profile: str = "cpu"  # cpu or gpu', tags=["parameters"]),
        code('profile = "smoke"', tags=["injected-parameters"]),
        code("secret_setup()", stream("not for readers"), tags=["remove_cell"]),
        v4.new_markdown_cell("## Results\n\n### Curves"),
        code(
            "figures.curves(run)",
            stream("  0%|    |\r 50%|##  |\r100%|####|\n", "stderr"),
            stream("step 1\n"),
            stream("step 2\n"),
            shown({"image/png": b64(picture(shade=1)), "text/plain": "<Figure size>"}, {"image/png": {"alt": "critic gap over the steps"}}),
            shown({"image/svg+xml": '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><rect width="9" height="9"/></svg>'}),
            shown({WIDGET_VIEW: {"model_id": "bar"}, "text/plain": "  0%|"}),
        ),
        v4.new_markdown_cell("### Curves"),
        code("tables.table(2, run)", shown({"text/html": table._repr_html_(), "text/plain": str(table)}, kind="execute_result")),
        code("show_strips()", shown({"text/html": strip}), shown({"text/html": rows}), shown({"text/html": grid})),
        code("explorer", shown({WIDGET_VIEW: {"model_id": "live"}, "text/plain": "VBox()"})),
        widgets={WIDGET_STATE: {"state": widget_state, "version_major": 2, "version_minor": 0}},
    )


@pytest.fixture(scope="module")
def page_file(notebook, tmp_path_factory):
    out = tmp_path_factory.mktemp("reports") / "sagan-run.html"
    assert render(notebook, out, title=TITLE, provenance=PROVENANCE) == out
    return out


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


def overflow(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


# ---- what a reader sees ----


def test_page_is_complete_without_network(page_file, chromium):
    with open_page(page_file, chromium=chromium) as opened:
        page = opened.page
        assert opened.blocked == [] and opened.errors == []
        sizes = page.evaluate("[...document.querySelectorAll('math')].map(m => { const b = m.getBoundingClientRect(); return [b.width, b.height]; })")
        assert len(sizes) == 9 and all(width > 4 and height > 4 for width, height in sizes)
        pictures = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.alt])")
        assert len(pictures) == 7 and all(width > 0 and alt for width, alt in pictures[:5])  # layout, png, svg, slider, two rows, pad
        assert [alt for _, alt in pictures[:3]] == ["the layout", "critic gap over the steps", "Figure: Curves"]
        assert page.title() == TITLE and page.locator("h1").all_inner_texts() == [TITLE]
        assert page.locator(".provenance tr").all_inner_texts() == [
            "run\tsynthetic-smoke-s3-1a2b3c4d", "seed\t3", "share of the paper's training\t0.0125", "hardware\tdevice: cpu, cores: 2", "none\t–",
        ]  # fmt: skip
        assert page.locator(".contents a").all_inner_texts() == ["Objective", "Parameters", "Results", "Curves", "Curves"]
        targets = page.evaluate("[...document.querySelectorAll('.contents a')].map(a => document.querySelectorAll(a.hash).length)")
        assert targets == [1] * 5
        assert page.locator("a[href='index.html']").count() == 2
        assert overflow(page) <= 0


def test_formulas_are_typeset_as_printed(page_file, chromium):
    with open_page(page_file, chromium=chromium) as opened:
        page = opened.page
        page.evaluate("() => document.fonts.ready")
        assert page.evaluate("document.fonts.size") == 1 and page.evaluate("[...document.fonts][0].status") == "loaded"
        main = page.locator("main").inner_text()
        assert "ℒ" in main and "𝔼" in main and "∇" in main and "(12)" in main and "it costs $3" in main
        assert "\\" not in re.sub(r"\s", "", page.locator("main > section.md").nth(1).inner_text())
        assert page.locator("munder munder mo", has_text="⏟").count() == 1
        tall = page.evaluate("[...document.querySelectorAll('mo')].filter(m => m.textContent == '[').map(m => m.getBoundingClientRect().height)")
        assert max(tall) > 1.5 * min(tall)  # brackets grow around what they hold
        radical = page.locator("msqrt").bounding_box()
        inside = page.locator("msqrt > *").first.bounding_box()
        assert radical["width"] > inside["width"] + 3


def test_messages_code_and_hidden_cells(page_file, chromium):
    with open_page(page_file, chromium=chromium) as opened:
        page = opened.page
        assert page.locator("details.source").count() == 6
        assert page.locator("details.source[open]").all_inner_texts()[0].startswith("Parameters and their defaults")
        assert "these" not in page.locator("main").inner_text() and 'profile = "smoke"' in page.locator("details.source[open]").nth(1).inner_text()
        assert not page.locator("text=figures.curves").is_visible()
        page.locator("details.source summary").nth(2).focus()
        page.keyboard.press("Enter")
        assert page.locator("text=figures.curves").is_visible()
        assert page.locator("pre.out").first.text_content() == "100%|####|"
        assert page.locator("pre.out").nth(1).text_content() == "step 1\nstep 2"
        assert page.locator("p.note").all_inner_texts() == ["Live in JupyterLab: this control asks the model itself and is not part of this page."]
    assert "not for readers" not in text_of(page_file) and "secret_setup" not in text_of(page_file)


def pixel(page, locator, x: float = 0.5, y: float = 0.5) -> tuple[int, ...]:
    """The colour at the relative place in a screenshot of the element."""
    shot = Image.open(io.BytesIO(locator.screenshot())).convert("RGB")
    return shot.getpixel((int(x * (shot.width - 1)), int(y * (shot.height - 1))))


def test_slider_moves_by_keyboard(page_file, chromium):
    with open_page(page_file, chromium=chromium) as opened:
        page = opened.page
        figure = page.locator("figure.study-slider").first
        handle, pane = figure.locator("input[type=range]"), figure.locator(".study-pane")
        assert pane.bounding_box()["width"] >= 160
        assert figure.locator("img").get_attribute("alt") == "A face whose eyeglasses appear"
        before = pixel(page, pane, y=0.25)
        handle.focus()
        page.keyboard.press("ArrowRight")
        assert figure.locator("output").inner_text() == "0.25" and handle.get_attribute("aria-valuetext") == "0.25"
        middle = pixel(page, pane, y=0.25)
        page.keyboard.press("End")
        assert figure.locator("output").inner_text() == "1.00"
        after = pixel(page, pane, y=0.25)
        assert before[0] > 190 and after[0] < 40 and 130 < middle[0] < 180  # 200, 155 and 20 were drawn
        assert abs(pixel(page, pane, y=0.75)[0] - 200) < 12  # the other half stays
        two = page.locator("figure.study-slider").nth(1)
        two.locator("input").focus()
        page.keyboard.press("End")
        assert two.locator(".study-pane").count() == 2
        assert pixel(page, two.locator(".study-pane").nth(0), y=0.75)[1] > 180 and pixel(page, two.locator(".study-pane").nth(1), y=0.75)[1] < 40
        assert opened.errors == [] and opened.blocked == []


def test_pad_moves_along_both_axes_and_by_dragging(page_file, chromium):
    with open_page(page_file, chromium=chromium) as opened:
        page = opened.page
        figure = page.locator("figure.study-slider").nth(2)
        pane, across, down = figure.locator(".study-pane"), figure.locator("input").nth(0), figure.locator("input").nth(1)
        assert pixel(page, pane, y=0.25)[0] > 180 and pixel(page, pane, y=0.75)[1] > 180
        across.focus()
        page.keyboard.press("End")
        assert pixel(page, pane, y=0.25)[0] < 40 and pixel(page, pane, y=0.75)[1] > 180
        down.focus()
        page.keyboard.press("ArrowRight")
        assert figure.locator("output").all_inner_texts() == ["1.00", "half"]
        page.keyboard.press("End")
        assert pixel(page, pane, y=0.25)[0] < 40 and pixel(page, pane, y=0.75)[1] < 40
        box = pane.bounding_box()
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 2, box["y"] + 2, steps=4)
        page.mouse.up()
        assert figure.locator("output").all_inner_texts() == ["0.00", "none"]
        assert opened.errors == []


def test_without_scripts_a_slider_is_a_labelled_filmstrip(page_file, chromium):
    with open_page(page_file, chromium=chromium, scripts=False) as opened:
        page = opened.page
        assert page.locator("input").count() == 0
        figure = page.locator("figure.study-slider").first
        strip = figure.locator("img").bounding_box()
        assert strip["width"] >= 5 * 96 and strip["height"] >= 96
        shades = [pixel(page, figure.locator("img"), x=(i + 0.5) / 5, y=0.25)[0] for i in range(5)]
        assert shades == sorted(shades, reverse=True) and shades[0] - shades[-1] > 150
        for i, label in enumerate(LABELS):  # each label stands under its frame
            box = figure.get_by_text(label, exact=True).bounding_box()
            assert abs(box["x"] + box["width"] / 2 - strip["x"] - strip["width"] * (i + 0.5) / 5) < 3
        grid = page.locator("figure.study-slider").nth(2)
        whole = grid.locator("img").bounding_box()
        for i, label in enumerate(["none", "half", "full"]):
            box = grid.get_by_text(label, exact=True).bounding_box()
            assert abs(box["y"] + box["height"] / 2 - whole["y"] - whole["height"] * (i + 0.5) / 3) < 6


@pytest.mark.parametrize("scripts", [True, False])
def test_phone_width_never_scrolls_sideways(page_file, chromium, scripts):
    with open_page(page_file, chromium=chromium, width=390, height=800, scripts=scripts) as opened:
        page = opened.page
        if scripts:
            assert overflow(page) <= 0
        page.mouse.wheel(400, 0)  # without scripts: try, and see that nothing moved
        page.wait_for_timeout(100)
        assert page.locator("h1").bounding_box()["x"] >= 0
        out = page.locator(".out", has=page.locator("table.dataframe"))
        assert out.bounding_box()["width"] <= 390 < out.locator("table").bounding_box()["width"]  # the table scrolls inside its box
        assert page.locator("main img").first.bounding_box()["width"] <= 390


def test_numbers_stand_right_and_words_left(tmp_path, chromium):
    frame = pd.DataFrame({"method": ["SaGAN", "unedited"], "success": ["93.1 % [90, 95]", "unavailable"], "n": [100, 8]})
    frame["why"] = ["4 % moustaches are one face in a batch", "12 (of 13)"]
    out = render(saved(tmp_path / "n.ipynb", code("t", shown({"text/html": frame._repr_html_()}))), tmp_path / "n.html", title="t", provenance={})
    with open_page(out, chromium=chromium) as opened:
        ask = "[...document.querySelectorAll('.out th, .out td')].map(c => [c.innerText, getComputedStyle(c).textAlign])"
        cells = opened.page.evaluate(ask)
    assert dict(cells) == {"": "left", "method": "left", "success": "right", "n": "right", "0": "left", "1": "left", "SaGAN": "left"} | {
        "93.1 % [90, 95]": "right", "100": "right", "unedited": "left", "unavailable": "left", "8": "right",
        "why": "right", "4 % moustaches are one face in a batch": "left", "12 (of 13)": "right",
    }  # fmt: skip


def test_messages_of_a_cell_stand_together(tmp_path):
    outputs = [stream("a\n", "stderr"), stream("one\n"), stream("b\n", "stderr"), stream("two\n"), shown({"text/plain": "x"}), stream("three\n")]
    page = text_of(render(saved(tmp_path / "n.ipynb", code("t", *outputs)), tmp_path / "n.html", title="t", provenance={}))
    texts = [pre.get_text() for pre in BeautifulSoup(page, "html.parser").select("pre.out")]
    assert texts == ["a\nb", "one\ntwo", "x", "three"]


def test_a_page_in_a_folder_below_points_back(tmp_path):
    page = text_of(
        render(saved(tmp_path / "n.ipynb", v4.new_markdown_cell("x")), tmp_path / "b" / "n.html", title="t", provenance={}, home="../index.html")
    )
    assert page.count('href="../index.html"') == 2 and 'href="index.html"' not in page


# ---- nothing foreign runs or loads ----


def test_scripts_in_outputs_do_not_run(tmp_path, chromium):
    hostile = '<b id=shown>shown</b><script>window.ran=1</script><img src="data:,x" onerror="window.ran=2"><a href="javascript:window.ran=3">go</a>'
    path = saved(
        tmp_path / "n.ipynb", code("x", shown({"text/html": hostile}), shown({"application/javascript": "window.ran=4", "text/plain": "js"}))
    )
    out = render(path, tmp_path / "n.html", title="t", provenance={})
    with open_page(out, chromium=chromium) as opened:
        opened.page.locator("text=go").click()
        assert opened.page.locator("#shown").is_visible() and opened.page.evaluate("window.ran") is None
    # the policy holds by itself, even for what would slip past the cleaning
    kept = text_of(out)
    attack = '<script>window.ran=5</script><img src="data:,x" onerror="window.ran=6"><script src="evil.js"></script>'
    attack += '<img src="https://example.org/a.png"></main>'
    out.write_text(kept.replace("</main>", attack), encoding="utf-8")
    (tmp_path / "evil.js").write_text("window.ran=7")
    with open_page(out, chromium=chromium) as opened:
        opened.page.wait_for_timeout(100)
        assert opened.page.evaluate("window.ran") is None and opened.blocked == []
        assert len([error for error in opened.errors if "Content Security Policy" in error]) >= 4


def test_browser_helper_sees_requests_and_errors(tmp_path, chromium):
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="https://example.org/a.png"><script>console.error("seen"); throw new Error("thrown")</script>')
    with open_page(bad, chromium=chromium) as opened:
        assert opened.blocked == ["https://example.org/a.png"]
        assert any("seen" in error for error in opened.errors) and any("thrown" in error for error in opened.errors)


@pytest.mark.parametrize(
    "body",
    [
        '<img src="https://example.org/a.png">',
        '<img src="missing.png">',
        '<img srcset="//example.org/a.png 2x" src="data:,">',
        '<p style="background:url(https://example.org/a.png)">x</p>',
        "<style>@import 'https://example.org/a.css';</style>",
        '<svg><image href="https://example.org/a.png"/></svg>',
        '<video poster="https://example.org/a.png"></video>',
    ],
)
def test_what_would_be_loaded_is_refused(tmp_path, body):
    path = saved(tmp_path / "n.ipynb", v4.new_markdown_cell("fine"), code("x", shown({"text/html": body})))
    with pytest.raises(ReportError, match=r"n\.ipynb: cell 1: the page would have to load"):
        render(path, tmp_path / "n.html", title="t", provenance={})
    assert not (tmp_path / "n.html").exists()


def test_markdown_picture_that_is_missing_is_refused(tmp_path):
    path = saved(tmp_path / "n.ipynb", v4.new_markdown_cell("![x](nowhere.png)"))
    with pytest.raises(ReportError, match=r"cell 0: .*nowhere\.png"):
        render(path, tmp_path / "n.html", title="t", provenance={})


def test_titles_and_provenance_are_text(tmp_path):
    out = render(saved(tmp_path / "n.ipynb", v4.new_markdown_cell("x")), tmp_path / "n.html", title="<b>t</b>", provenance={"<i>": "</td><script>"})
    assert "<b>t" not in text_of(out) and "&lt;b&gt;t" in text_of(out) and "&lt;i&gt;" in text_of(out) and text_of(out).count("<script>") == 1


# ---- no faces ----

FACE = picture(48, 48, shade=99)
FACE_64 = b64(FACE)
FACE_URI = f"data:image/png;base64,{FACE_64}"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{FACE_URI}"/></svg>'
RECTS = "<svg>" + "".join(f'<rect x="{i}" y="0" width="1" height="1" fill="#0a0b{i:02x}"/>' for i in range(99)) + "</svg>"
PIXEL_TABLE = "<table><tr>" + "".join(f'<td style="background:#0a0b{i:02x}"> </td>' for i in range(99)) + "</tr></table>"
NUMBERS = str(np.random.default_rng(0).integers(100, 255, 2000).tolist())
CARRIERS = {
    "png": {"image/png": FACE_64, "text/plain": "<Figure size 640x480>"},
    "jpeg": {"image/jpeg": FACE_64},
    "webp": {"image/webp": FACE_64},
    "gif": {"image/gif": FACE_64},
    "svg": {"image/svg+xml": SVG},
    "bmp": {"image/bmp": FACE_64, "text/html": "<b>a picture</b>"},
    "pdf": {"application/pdf": FACE_64},
    "json": {"application/json": {"picture": FACE_64}, "text/plain": "<JSON>"},
    "plotly": {"application/vnd.plotly.v1+json": {"z": FACE_64}, "text/html": "<div>chart</div>"},
    "video": {"video/mp4": FACE_64},
    "html img": {"text/html": f'<p>before</p><img src="{FACE_URI}">'},
    "html IMG": {"text/html": f"<DIV><IMG SRC='{FACE_URI.replace('data:image', 'DATA:Image')}'></DIV>"},
    "html deep": {"text/html": f'<details><summary>s</summary><table><tr><td><img src="{FACE_URI}"></td></tr></table></details>'},
    "html unclosed": {"text/html": f'<table><tr><td><img src="{FACE_URI}" '},
    "html svg": {"text/html": SVG},
    "html rects": {"text/html": RECTS},
    "html style": {"text/html": f'<p style="background:url({FACE_URI})">x</p>'},
    "html sheet": {"text/html": f"<style>p{{background:url({FACE_URI})}}</style><p>x</p>"},
    "html colours": {"text/html": PIXEL_TABLE},
    "html object": {"text/html": f'<object data="{FACE_URI}"></object>'},
    "html video": {"text/html": f'<video poster="{FACE_URI}"></video>'},
    "html input": {"text/html": f'<input type="image" src="{FACE_URI}">'},
    "html picture": {"text/html": f'<picture><source srcset="{FACE_URI}"><b>x</b></picture>'},
    "html table background": {"text/html": f'<table background="{FACE_URI}"><tr><td>1</td></tr></table>'},
    "html link": {"text/html": f'<a href="{FACE_URI}">the face</a>'},
    "html attribute": {"text/html": f'<p title="{FACE_64}" data-face="{FACE_64}">x</p>'},
    "html script": {"text/html": f'<script>var face="{FACE_64}"</script><p>x</p>'},
    "html comment": {"text/html": f"<!-- {FACE_64} --><p>x</p>"},
    "html cdata": {"text/html": f'<p>x</p><![CDATA[<img src="{FACE_URI}">]]>'},
    "html template": {"text/html": f'<template><img src="{FACE_URI}"></template>x'},
    "html noscript": {"text/html": f'<noscript><img src="{FACE_URI}"></noscript>x'},
    "html textarea": {"text/html": f"<textarea></textarea><img src='{FACE_URI}'>"},
    "html escaped": {"text/html": f"<pre>&lt;img src='{FACE_URI}'&gt;</pre>"},
    "html mathml": {"text/html": f'<math><mglyph src="{FACE_URI}"/><annotation-xml><img src="{FACE_URI}"></annotation-xml></math>'},
    "html mathml href": {"text/html": f'<math href="{FACE_URI}"><mi>x</mi></math>'},
    "markdown": {"text/markdown": f"![face]({FACE_URI})"},
    "latex": {"text/latex": f"![face]({FACE_URI})"},
    "plain": {"text/plain": f"<img src='{FACE_URI}'>"},
    "plain bytes": {"text/plain": repr(FACE)},
    "plain numbers": {"text/plain": NUMBERS},
    "slider": {"text/html": widgets.slider([face(0), face(1)], ["0", "1"], "Glasses", "A face").data},
    "pad": {"text/html": widgets.pad([[face(0), face(1)]] * 2, ["0", "1"], ["0", "1"], "Glasses", "A face").data},
}


def assert_faceless(page: str) -> None:
    body = page[page.index("<body") :]
    assert not any(FACE_64[i : i + 40] in page for i in range(0, len(FACE_64) - 40, 20))
    assert repr(FACE)[10:40] not in page and NUMBERS[100:140] not in page
    assert "data:" not in body.lower() and "url(" not in body.lower() and "0a0b" not in body
    assert not re.search(r"<(img|svg|canvas|picture|video|object|embed|iframe|input|image|style|link|mglyph|rect)\b", body, re.IGNORECASE)
    assert " style=" not in body and " src=" not in body


# Nothing visible is lost with these, so nothing needs to be said in their place.
SILENT = {"html colours", "html comment", "html cdata", "html attribute", "html link", "html style", "html sheet"}
SILENT |= {"html table background", "html mathml href"}


@pytest.mark.parametrize("kind", ["display_data", "execute_result"])
def test_no_output_carries_a_face(tmp_path, kind):
    path = saved(tmp_path / "n.ipynb", *[code("x", shown(data, kind=kind)) for data in CARRIERS.values()])
    page = text_of(render(path, tmp_path / "n.html", title="t", provenance={}, images=False))
    sections = BeautifulSoup(page, "html.parser").select("main > section")
    assert len(sections) == len(CARRIERS)
    for name, section in zip(CARRIERS, sections, strict=True):
        assert (WITHHELD in section.get_text()) == (name not in SILENT), name
        try:
            assert_faceless(f"<body>{section}")
        except AssertionError as err:
            raise AssertionError(f"{name} let pixels through") from err
    assert_faceless(page)


@pytest.mark.parametrize(
    "source",
    [
        "![face](attachment:face.png)",
        f"![face]({FACE_URI})",
        f'text <img src="{FACE_URI}"> text',
        f'<div>\n<img src="{FACE_URI}">\n</div>',
        "![face](face.png)",
        '<img src="face.png">',
        f"`{FACE_URI}`",
        f"[the face]({FACE_URI})",
        f"<svg>\n<image href='{FACE_URI}'/></svg>",
        f"[face]: {FACE_URI}\n\n![face][face]",
        f"<style>p{{background:url({FACE_URI})}}</style>\n\ntext",
        f"# A title with ![face]({FACE_URI})",
    ],
)
def test_no_markdown_carries_a_face(tmp_path, source):
    (tmp_path / "face.png").write_bytes(FACE)
    cell = v4.new_markdown_cell(source)
    cell.attachments = {"face.png": {"image/png": FACE_64}}
    page = text_of(render(saved(tmp_path / "n.ipynb", cell), tmp_path / "n.html", title="t", provenance={}, images=False))
    assert_faceless(page)


def test_no_stream_source_raw_cell_or_widget_carries_a_face(tmp_path):
    state = {"w": {"model_name": "ImageModel", "state": {"value": FACE_64}, "buffers": [{"data": FACE_64, "path": ["value"], "encoding": "base64"}]}}
    raw = v4.new_raw_cell(f'<img src="{FACE_URI}">', metadata={"raw_mimetype": "text/html"})
    lines = "\n".join(re.findall(".{1,76}", FACE_64))
    path = saved(
        tmp_path / "n.ipynb",
        raw,
        code("print(face)", stream(FACE_URI), stream(repr(FACE), "stderr"), stream(NUMBERS)),
        code("print(mime)", stream(lines)),
        code(f'face = "{FACE_64}"', stream("\x1b[48;2;10;11;12m \x1b[0m\n" * 5)),
        code("image", shown({WIDGET_VIEW: {"model_id": "w"}, "text/plain": "Image()"})),
        widgets={WIDGET_STATE: {"state": state, "version_major": 2, "version_minor": 0}},
    )
    page = text_of(render(path, tmp_path / "n.html", title="t", provenance={}, images=False))
    assert_faceless(page)
    assert lines[:60] not in page and "48;2" not in page and "background" not in page[page.index("<body") :]


def test_figures_tagged_no_faces_stay(notebook, tmp_path, chromium):
    nb = nbformat.read(notebook, as_version=4)
    shutil.copy(notebook.parent / "layout.png", tmp_path / "layout.png")
    nb.cells[7].metadata.tags = ["no-faces"]
    path = tmp_path / "n.ipynb"
    nbformat.write(nb, path)
    out = render(path, tmp_path / "n.html", title=TITLE, provenance=PROVENANCE, images=False)
    page = text_of(out)
    assert b64(picture(shade=1)) in page and b64(picture(shade=7))[200:260] not in page and "image/webp" not in page
    with open_page(out, chromium=chromium) as opened:
        assert opened.errors == [] and opened.blocked == []
        assert opened.page.locator("img").count() == 2 and opened.page.locator("header p.note").inner_text() == WITHHELD
        assert opened.page.locator("math").count() == 9 and opened.page.locator("table.dataframe td").count() == 96  # tables and formulas are text
        assert opened.page.locator("main p.note", has_text=WITHHELD).count() == 2  # layout.png; the strips' cell says it once


def test_the_last_gate_looks_at_the_finished_page(tmp_path, monkeypatch):
    path = saved(tmp_path / "n.ipynb", code("x", shown(CARRIERS["html img"])))
    monkeypatch.setattr(report, "_without_pictures", lambda text, whole=False: text)
    with pytest.raises(ReportError, match="a picture was left"):
        render(path, tmp_path / "n.html", title="t", provenance={}, images=False)
    assert not (tmp_path / "n.html").exists()


def test_with_images_the_same_outputs_stay(tmp_path):
    for name in ("png", "jpeg", "webp", "html img", "html deep", "markdown"):
        page = text_of(render(saved(tmp_path / "n.ipynb", code("x", shown(CARRIERS[name]))), tmp_path / "n.html", title="t", provenance={}))
        assert FACE_64 in page and WITHHELD not in page, name


# ---- refusals ----


def broken(kind: str) -> dict:
    error = v4.new_output("error", ename="ValueError", evalue="loss is nan", traceback=["x"])
    cells, metadata = [v4.new_markdown_cell("x"), code("1")], {}
    if kind == "error":
        cells[1].outputs = [error]
    elif kind == "cell exception":
        cells[1].metadata.papermill = {"exception": True}
    elif kind == "notebook exception":
        metadata["papermill"] = {"exception": True}
    elif kind == "not executed":
        cells[1].execution_count = None
    elif kind == "swallowed":
        state = {"m": {"model_name": "OutputModel", "state": {"outputs": [dict(error)]}}}
        metadata["widgets"] = {WIDGET_STATE: {"state": state, "version_major": 2, "version_minor": 0}}
    return {"cells": cells, "metadata": metadata}


@pytest.mark.parametrize(
    "kind, message",
    [
        ("error", r"cell 1: ValueError: loss is nan"),
        ("cell exception", r"cell 1 ended in an exception"),
        ("notebook exception", r"papermill recorded an exception"),
        ("not executed", r"cell 1 was not executed"),
        ("swallowed", r"an Output widget swallowed ValueError: loss is nan"),
    ],
)
def test_failed_notebooks_get_no_page(tmp_path, kind, message):
    made = broken(kind)
    path = saved(tmp_path / "n.ipynb", *made["cells"], **made["metadata"])
    with pytest.raises(ReportError, match=message) as caught:
        render(path, tmp_path / "n.html", title="t", provenance={})
    assert str(path) in str(caught.value) and not (tmp_path / "n.html").exists()
    sound = broken("none")
    render(saved(path, *sound["cells"], **sound["metadata"]), tmp_path / "n.html", title="t", provenance={})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 3}'])
def test_unreadable_notebook_is_named(tmp_path, content):
    path = tmp_path / "n.ipynb"
    path.write_text(content)
    with pytest.raises(ReportError, match=r"n\.ipynb: not a readable notebook"):
        render(path, tmp_path / "n.html", title="t", provenance={})


def test_a_page_over_four_megabytes_names_its_largest_outputs(tmp_path):
    heavy, light = b64(np.random.default_rng(0).bytes(3_100_000)), b64(picture())
    path = saved(tmp_path / "n.ipynb", code("small", shown({"image/png": light})), code("big", shown({"image/png": heavy})))
    with pytest.raises(ReportError, match=r"weighs 4\.\d MB, over 4 MB\. Largest outputs: cell 1 with 4\.1 MB, cell 0"):
        render(path, tmp_path / "n.html", title="t", provenance={})


def test_two_renders_are_the_same_bytes(notebook, page_file, tmp_path):
    again = render(notebook, tmp_path / "again.html", title=TITLE, provenance=PROVENANCE)
    assert again.read_bytes() == page_file.read_bytes()
    other = render(notebook, tmp_path / "other.html", title=TITLE, provenance=PROVENANCE | {"seed": 4})
    assert other.read_bytes() != page_file.read_bytes()


def test_a_page_without_pictures_is_small(tmp_path):
    path = saved(tmp_path / "n.ipynb", v4.new_markdown_cell("## Objective\n\n" + FORMULAS), code("table", stream("a number: 3")))
    assert render(path, tmp_path / "n.html", title=TITLE, provenance=PROVENANCE).stat().st_size < 60_000


# ---- formulas ----


@pytest.mark.parametrize("tex", [r"\foo{x}", r"\frac{a}", r"\frac{a", r"a}", r"x^", r"\left( x", r"\begin{align} a", r"a & b", r"x_1_2", r"\sqrt"])
def test_a_broken_formula_is_named(tmp_path, tex):
    with pytest.raises(ReportError, match="formula") as caught:
        mathml(tex, block=True)
    assert tex in str(caught.value)
    with pytest.raises(ReportError, match=r"n\.ipynb: cell 0: formula") as caught:
        render(saved(tmp_path / "n.ipynb", v4.new_markdown_cell(f"$${tex}$$")), tmp_path / "n.html", title="t", provenance={})


@pytest.mark.parametrize(
    "tex, expected",
    [
        (r"\mathcal{L}", "<mi>ℒ</mi>"),
        (r"\mathcal L", "<mi>ℒ</mi>"),
        (r"\mathbb{E}", "<mi>𝔼</mi>"),
        (r"\mathbf w", "<mi>𝐰</mi>"),
        (r"\boldsymbol{\theta}", "<mi>𝜽</mi>"),
        (r"\mathbb{1}", "<mn>𝟙</mn>"),
        (r"\mathrm{BCE}", "<mi>BCE</mi>"),
        (r"\mathrm{d}x", "<mtext>d</mtext><mi>x</mi>"),
        (r"\mathrm{ab}c", "<mi>ab</mi></mrow><mi>c</mi>"),
        (r"a\sim b", "<mo>∼</mo>"),
        (r"a<b", "<mo>&lt;</mo>"),
        (r"\text{a < b \& c\_d}", "a &lt; b &amp; c_d".replace(" ", "\u00a0")),
        (r"x=-1", '<mo>=</mo><mo form="prefix">−</mo>'),
        (r"x-1", "<mo>−</mo>"),
        (r"(x)-1", "</mo><mo>−</mo>"),
        (r"\hat I", '<mover accent="true"><mi>I</mi><mo stretchy="false">ˆ</mo></mover>'),
        (r"\operatorname{sg}(x)", "<mi>sg</mi><mo"),
        (r"a\log b", '<mi>a</mi><mspace width="0.167em"></mspace><mi>log</mi><mspace width="0.167em"></mspace><mi>b</mi>'),
        (r"\max_x", "<munder><mo>max</mo>"),
        (r"\arg\min_x", "<munder><mo"),
        (r"10{,}000", "<mn>10</mn><mtext>,</mtext><mn>000</mn>"),
        (r"a \tag{3}", "<span>(3)</span>"),
        (r"\begin{aligned} a&=b\\ c&=d\end{aligned}", '<mtd class="r"><mi>a</mi></mtd><mtd class="l">'),
    ],
)
def test_formula_as_browsers_need_it(tex, expected):
    assert expected in mathml(tex, block=True)


def test_all_formulas_of_a_notebook_share_one_small_font(page_file):
    fonts = re.findall(r"font/woff;base64,([A-Za-z0-9+/=]+)", text_of(page_file))
    assert len(fonts) == 1 and len(fonts[0]) < 40_000


# ---- sliders ----


def test_slider_html_is_inert_and_one_sprite():
    markup = widgets.slider([face(step) for step in STEPS], LABELS, 'A "title" <b>', "alt & more").data
    assert markup.count("data:image/webp;base64,") == 1 and "<script" not in markup and not re.search(r"\son\w+=", markup)
    assert "&lt;b&gt;" in markup and "alt &amp; more" in markup
    sprite = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", markup)[1])))
    assert sprite.size == (5 * 32, 32) and sprite.format == "WEBP"
    shades = [sprite.convert("L").getpixel((32 * i + 16, 8)) for i in range(5)]
    assert np.abs(np.array(shades) - [200, 155, 110, 65, 20]).max() < 8


def test_large_sprites_are_kept_small():
    noise = np.random.default_rng(0).integers(0, 255, (9, 128, 128, 3), dtype=np.uint8)
    smooth = np.repeat(np.linspace(0, 255, 128, dtype=np.uint8)[None, :, None], 128, 0).repeat(3, 2)[None].repeat(9, 0)
    assert len(widgets.slider(noise, list("123456789"), "t", "a").data) < 400_000
    assert len(widgets.slider(smooth, list("123456789"), "t", "a").data) < 60_000


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: widgets.slider(np.zeros((2, 8, 8, 3)), ["a", "b"], "t", "a"), "type float64; give uint8"),
        (lambda: widgets.slider(np.zeros((2, 3, 8, 8), np.uint8), ["a", "b"], "t", "a"), r"shape \(2, 3, 8, 8\)"),
        (lambda: widgets.slider([face(0, size=8), face(0, size=9)], ["a", "b"], "t", "a"), "one size"),
        (lambda: widgets.slider([face(0), face(1)], ["a"], "t", "a"), "labels: 1 texts for 2 frames"),
        (lambda: widgets.slider([face(0)], ["a"], "t", "a"), "at least 2 frames"),
        (lambda: widgets.slider([face(0), face(1)], ["a", "b"], "t", " "), "alt text"),
        (lambda: widgets.slider(np.zeros((200, 4, 100, 3), np.uint8), [""] * 200, "t", "a"), "16383 pixels"),
        (lambda: widgets.pad([face(0), face(1)], ["a", "b"], ["a"], "t", "a"), r"give \(Y,X,H,W,3\)"),
        (lambda: widgets.pad([[face(0), face(1)]] * 2, ["a", "b"], ["a"], "t", "a"), "y_labels: 1 texts for 2 frames"),
    ],
)
def test_bad_frames_get_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- the list of runs ----


def a_run(
    results, run_id: str, paper: str = "sagan", status: str = "complete", claims: str | None = "", started: str = "2026-11-20T10:00:00", **more
):
    folder = results / paper / run_id
    folder.mkdir(parents=True)
    record = {"status": status, "reason": None, "paper": paper, "title": f"Title of {paper}", "run_id": run_id, "profile": "cpu", "seed": 3}
    record |= {"data": "synthetic", "publishable": True, "started": started, "finished": None, "commit": "3f2e1d0", "dirty": False}
    record |= {"versions": {"torch": "2.14"}, "hardware": {"device": "cpu", "cpu": "Xeon", "cores": 2}, "fingerprint": "ab"}
    record |= {"images_seen": {"G": 10}, "share_of_paper": 0.0125, "seconds": 754.0} | more
    (folder / "run.json").write_text(json.dumps(record))
    if claims is not None:
        (folder / "claims.csv").write_text("id,claim,source,criterion,measured,n,verdict\n" + claims)
    return folder


CLAIMS = (
    'C1,"a, b",Fig. 3,x > 1,2,100,reproduced\nC2,b,Fig. 4,x > 1,0,100,not reproduced\nC3,c,Table 1,x,1,9,reproduced\nC4,d,Table 2,x,,,not tested\n'
)


def test_index_lists_every_run_newest_first(tmp_path, chromium):
    results, reports = tmp_path / "results", tmp_path / "reports"
    reports.mkdir()
    a_run(results, "older", claims=CLAIMS)
    a_run(results, "newer", claims=CLAIMS.replace("not reproduced", "partly"), started="2026-11-21T09:00:00", share_of_paper=None, seconds=20)
    a_run(results, "broke", status="failed", reason="NaN in d_adv <at> step 7", claims=None, started="2026-11-19T09:00:00")
    a_run(results, "unrendered", paper="diat", claims=CLAIMS)
    a_run(results, "all", paper="comparison", claims=None)
    for name in ("sagan-older", "sagan-newer", "sagan-broke", "comparison-all"):
        (reports / f"{name}.html").write_text("<!DOCTYPE html><title>r</title>", encoding="utf-8")
    assert index(results, reports) == reports / "index.html"
    with open_page(reports / "index.html", chromium=chromium) as opened:
        page = opened.page
        assert opened.errors == [] and opened.blocked == []
        assert page.locator("section.paper").count() == 6  # five papers and the comparison
        assert page.locator("h2").last.inner_text() == "Title of comparison"
        assert page.locator("#sagan h2").inner_text().startswith("SaGAN: ")
        assert page.locator("#sagan tbody th").all_inner_texts() == ["newer", "older", "broke"]
        assert page.locator("a").evaluate_all("links => links.map(a => a.getAttribute('href'))") == [
            "sagan-newer.html",
            "sagan-older.html",
            "comparison-all.html",
        ]
        cells = page.locator("#sagan tbody tr").nth(1).locator("td").all_inner_texts()
        assert cells == [
            "2 reproduced 1 not reproduced 1 not tested",
            "synthetic",
            "cpu",
            "3",
            "1.2 %",
            "13 min",
            "cpu, Xeon, 2 cores",
            "2026-11-20 10:00",
        ]
        newest = page.locator("#sagan tbody tr").nth(0).locator("td").all_inner_texts()
        assert newest[0] == "2 reproduced 1 partly 1 not tested" and newest[4:6] == ["–", "20 s"]
        assert page.locator("#sagan tbody tr").nth(2).locator("td").first.inner_text() == "failed: NaN in d_adv <at> step 7"
        assert page.locator("#atigan .note").inner_text() == "No run yet." and page.locator("#diat a").count() == 0
        for href in ("sagan-newer.html", "sagan-older.html", "comparison-all.html"):
            page.locator(f"a[href='{href}']").click()
            assert page.title() == "r"
            page.go_back()
    with open_page(reports / "index.html", chromium=chromium, width=390) as opened:
        assert overflow(opened.page) <= 0
    first = (reports / "index.html").read_bytes()
    index(results, reports)
    assert (reports / "index.html").read_bytes() == first


def test_index_of_nothing_names_the_papers(tmp_path):
    page = text_of(index(tmp_path / "results", tmp_path / "reports"))
    assert page.count("No run yet.") == 5 and page.count("<h2>") == 5


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "not a readable run record"),
        ("[1]", "no JSON object"),
        ('{"status": "complete"}', "lacks title, run_id"),
        ('{"status": 1', "not a readable"),
    ],
)
def test_broken_run_record_is_named(tmp_path, content, message):
    folder = a_run(tmp_path / "results", "r")
    (folder / "run.json").write_text(content)
    with pytest.raises(ReportError, match=message) as caught:
        index(tmp_path / "results", tmp_path / "reports")
    assert str(folder / "run.json") in str(caught.value)


def test_unknown_status_and_verdict_are_named(tmp_path):
    folder = a_run(tmp_path / "results", "r", status="odd")
    with pytest.raises(ReportError, match="unknown status 'odd'"):
        index(tmp_path / "results", tmp_path / "reports")
    shutil.rmtree(folder)
    a_run(tmp_path / "results", "r", claims=CLAIMS + "C9,e,Fig. 1,x,1,1,maybe\n")
    with pytest.raises(ReportError, match=r"claims\.csv:6: verdict 'maybe'"):
        index(tmp_path / "results", tmp_path / "reports")

"""The explorer's controls for JupyterLab and Voila, and its frames for a page without a kernel. What they do is in `lib.explorer`.

Every handler is guarded: ipywidgets would swallow an exception or hide it in a log, here it becomes a sentence in the page, and what was shown stays.
While a picture is computed, ipywidgets keeps only the newest value of a slider: dragging leaves no queue of stale frames.
"""

import atexit
import base64
import dataclasses
import io
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML, display
from PIL import Image

from lib.explorer.models import models as explorer
from lib.pages import sliders as widgets
from lib.data import DataError
from lib.explorer.models import DRAWN, ExplorerError, Face, Model, Shown, Verdict
from lib.training.config import ParameterError
from lib.sources import ROOT

NONE = "none"
START = "sagan"  # what is shown first, where it is there: a method that predicts a mask as well
SOURCES = (("a drawn face", "drawn"), ("a face of a data set", "set"), ("your own photo", "photo"))
EXPLAINED = {
    "input": "the face before", "edited": "after the edit", "mask": "white: where the method lets itself change the picture",
    "residual": "the change itself; grey: none", "reference": "the face whose attribute is taken over",
}  # fmt: skip
FIRST_CHOICE = ("Eyeglasses", "Smiling", "Mouth_Slightly_Open", "Male", "No_Beard", "Bangs")  # what the static frames show, where a method has it
EXPECTED = (DataError, ParameterError)

STYLE = """<style>
.study-explorer{--study-soft:var(--jp-ui-font-color2,#5b6472);--study-line:var(--jp-border-color2,#dde1e8);--study-fill:var(--jp-brand-color1,#1a56b0);
max-width:1180px}
.study-explorer .widget-html-content{line-height:1.45}
.study-explorer p{margin:.3em 0}
.study-explorer .study-row{display:flex;flex-wrap:wrap;gap:.7rem;margin:.2rem 0 .4rem}
.study-explorer figure{margin:0;flex:1 1 120px;max-width:160px}
.study-explorer figure img{display:block;width:100%;aspect-ratio:1;image-rendering:pixelated;border-radius:4px}
.study-explorer figcaption{font-size:.85em;line-height:1.25;color:var(--study-soft)}
.study-explorer figcaption b{color:var(--jp-ui-font-color1,#1d2330);display:block}
.study-explorer .study-method{border-top:1px solid var(--study-line);padding-top:.4rem;margin-bottom:.8rem}
.study-explorer .study-bars{display:grid;grid-template-columns:repeat(auto-fill,minmax(225px,1fr));gap:.05rem 1.1rem;font-size:.85em}
.study-explorer .study-bar{display:grid;grid-template-columns:9.2em 1fr 2.4em;gap:.4em;align-items:center}
.study-explorer .study-bar.asked,.study-explorer .study-bar.who{font-weight:600}
.study-explorer .study-track{position:relative;height:.7em;background:var(--study-line);border-radius:3px}
.study-explorer .study-track i{position:absolute;left:0;top:0;bottom:0;border-radius:3px;background:var(--study-soft)}
.study-explorer .study-bar.asked i,.study-explorer .study-bar.who i{background:var(--study-fill)}
.study-explorer .study-bar.missed i,.study-explorer .study-bar.spoiled i{background:#b5451f}
.study-explorer .study-track s{position:absolute;top:-.15em;bottom:-.15em;width:1px;background:currentColor;opacity:.55}
.study-explorer .study-track u{position:absolute;top:-.15em;bottom:-.15em;width:3px;margin-left:-1px;background:currentColor;border-radius:1px}
.study-explorer .study-say[role=alert]{border-left:3px solid #b5451f;padding:.3rem .7rem;background:rgba(181,69,31,.1)}
.study-explorer .study-sliders{max-height:520px;overflow-y:auto}
.study-explorer .study-own{color:var(--study-soft);font-size:.85em}
.study-photo p{margin:.3em 0;line-height:1.45}
</style>"""


class EyePicker(anywidget.AnyWidget):
    """A file chooser and a picture to click on. content: the picture, at most 1,000 pixels long; eyes: [] or [x, y, x, y] as shares of width and
    height; problem: why a file was refused before it was sent."""

    _esm = Path(__file__).parent / "eyes.js"
    content = traitlets.CBytes(b"").tag(sync=True)
    eyes = traitlets.List([]).tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)


class Explorer:
    """All controls; `box` is the widget to show. runs: what to offer (default: all that are found)."""

    def __init__(self, runs: Sequence[explorer.Found] | None = None):
        self.given, self.models, self.quiet = runs, {}, False
        self.left: Model | None = None
        self.right: Model | None = None
        self.face: Face = explorer.drawn(1)
        self.opened = ""  # the data set that was opened
        self.results: list[tuple[Model, Shown, Verdict | None]] = []
        self.frames = 0  # pictures drawn so far
        self.sliders: dict[str, ipywidgets.FloatSlider] = {}
        self.owns: dict[str, ipywidgets.HTML] = {}
        self._controls()
        self.refresh()

    # ---- layout

    def _controls(self) -> None:
        wide, text = ipywidgets.Layout(width="min(560px, 96%)"), {"description_width": "105px"}
        self.method = ipywidgets.Dropdown(description="method", layout=wide, style=text)
        self.other = ipywidgets.Dropdown(description="compare with", layout=wide, style=text)
        self.way = ipywidgets.Dropdown(description="way of editing", options=[""], style=text)
        self.other_way = ipywidgets.Dropdown(description="way of editing", options=[""], style=text)
        self.source = ipywidgets.ToggleButtons(options=SOURCES, style={"button_width": "150px"})
        self.number = ipywidgets.IntSlider(1, 1, DRAWN, description="face number", style=text)
        self.data = ipywidgets.Text("synthetic", description="data set", style=text, placeholder="synthetic, or a folder in CelebA's layout")
        self.open = ipywidgets.Button(description="open", tooltip="read the data set")
        self.photo = EyePicker()
        self.find = ipywidgets.Button(description="find the eyes")
        self.reference = ipywidgets.IntSlider(0, 0, DRAWN, description="reference", style=text)
        self.reference_note = ipywidgets.HTML("number of the drawn face whose attribute is taken over; 0: the method draws one that has it")
        self.say, self.stage, self.about = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
        self.sliders_box = ipywidgets.VBox()
        self.sliders_box.add_class("study-sliders")
        self.again = ipywidgets.Button(description="start again", tooltip="every slider back to the face's own labels")
        self.copy = ipywidgets.Button(description="copy as code cell")
        self.code = ipywidgets.Textarea(layout=ipywidgets.Layout(width="min(700px, 96%)", height="130px", display="none"))
        self.save = ipywidgets.HTML()
        self.judge_button = ipywidgets.Button(description="train the judges", layout=ipywidgets.Layout(display="none"))
        self.untrained = ipywidgets.Dropdown(description="not trained yet", layout=wide, style=text)
        self.train = ipywidgets.Button(description="train it", tooltip="profile cpu, on drawn faces")
        self.stop = ipywidgets.Button(description="stop", layout=ipywidgets.Layout(display="none"))
        self.progress = ipywidgets.FloatProgress(min=0, max=1, layout=ipywidgets.Layout(display="none", width="300px"))
        self.step = ipywidgets.HTML()
        intro = (
            "<p>Each method learned from labelled faces to change one attribute of a face and nothing else. Choose a trained method and a face, "
            "move a slider, and see what it does: <b>0</b> asks for a face without the attribute, <b>1</b> for one with it. A slider that stands "
            "where it started leaves its attribute alone.</p>"
        )
        self.set_row, self.photo_row = _row([self.data, self.open]), ipywidgets.VBox([self.photo, self.find])
        self.reference_row = _row([self.reference, self.reference_note])
        self.train_row = _row([self.untrained, self.train, self.stop])
        left = ipywidgets.VBox([self.about, self.sliders_box, self.reference_row], layout=ipywidgets.Layout(flex="0 1 425px", min_width="330px"))
        right = ipywidgets.VBox([self.stage], layout=ipywidgets.Layout(flex="1 1 360px", min_width="330px"))
        self.box = ipywidgets.VBox(
            [
                ipywidgets.HTML(STYLE + intro), _row([self.method, self.way]), _row([self.other, self.other_way]), _row([self.source, self.number]),
                self.set_row, self.photo_row, self.say, _row([left, right], "flex-start"),
                _row([self.again, self.copy, self.save, self.judge_button]), self.code, self.train_row, _row([self.progress, self.step]),
            ]
        )  # fmt: skip
        self.box.add_class("study-explorer")
        for control in (self.method, self.other):
            control.observe(self._guarded(self._choose), "value")
        for control in (self.way, self.other_way, self.reference):
            control.observe(self._guarded(self.draw), "value")
        for control in (self.source, self.number):
            control.observe(self._guarded(self._take), "value")
        self.open.on_click(self._guarded(self._open))
        self.photo.observe(self._guarded(self._photo), "eyes")
        self.photo.observe(self._guarded(self._photo), "content")
        self.photo.observe(self._guarded(self._refused), "problem")
        self.find.on_click(self._guarded(self._find))
        self.again.on_click(self._guarded(self._reset))
        self.copy.on_click(self._guarded(self._copy))
        self.train.on_click(self._guarded(self._train))
        self.judge_button.on_click(self._guarded(self._train_judges))
        self.find.layout.display = "" if find_spec("dlib") else "none"

    # ---- errors and notes

    def _guarded(self, handler: Callable) -> Callable:
        def run(change=None) -> None:
            if self.quiet:
                return
            try:
                self._note("")
                handler(change)
            except Exception as error:  # shown: in a callback nobody else would say it
                self._note(str(error) if isinstance(error, EXPECTED) else f"That failed: {type(error).__name__}: {error}", alert=True)

        return run

    def _note(self, text: str, alert: bool = False) -> None:
        kind = "alert" if alert else "status"
        self.say.value = f'<div class="study-say" role="{kind}">{escape(text)}</div>' if text else ""

    def _silently(self, control, **values) -> None:
        """Set traits of a control without its handler running."""
        before, self.quiet = self.quiet, True
        try:
            for name, value in values.items():
                setattr(control, name, value)
        finally:
            self.quiet = before

    # ---- methods

    def refresh(self) -> None:
        """Look for runs and offer them; keep what is chosen."""
        runs, problems = (list(self.given), []) if self.given is not None else explorer.found()
        self.runs = {run.name: run for run in runs}
        options = [(run.label, run.name) for run in runs]
        trained = {run.method for run in runs if "beside" not in run.record}
        missing = [p.stem for p in sorted((ROOT / "lib" / "papers").glob("*.py")) if p.stem != "__init__" and p.stem not in trained]
        before, beside = (m.found.name if m and m.found.name in self.runs else None for m in (self.left, self.right))
        options = options or [("no trained method yet", NONE)]
        first = next((run.name for run in runs if run.method == START), options[0][1])
        self._silently(self.method, options=options, value=before or first)
        self._silently(self.other, options=[("nothing", NONE), *options], value=beside or NONE)
        self._silently(self.untrained, options=[(explorer.short(explorer.module_of(p)), p) for p in missing], value=missing[0] if missing else None)
        self.train_row.layout.display = "" if missing else "none"
        self._visible()
        if not runs:
            self._note("No trained method was found in results/. Train one below: at the profile cpu that takes some ten to twenty minutes.")
        elif before is None:
            self._guarded(self._choose)()
        if problems:
            self._note(" ".join(problems), alert=True)

    def _load(self, name: str) -> Model:
        if name not in self.models:
            self.models[name] = explorer.load_model(self.runs[name])
        return self.models[name]

    def _choose(self, _=None) -> None:
        try:
            left = self._load(self.method.value)
            right = None if self.other.value == NONE else self._load(self.other.value)
        except Exception:
            self._silently(self.other, value=self.right.found.name if self.right else NONE)
            if self.left:  # what was shown stays, and the menus say so
                self._silently(self.method, value=self.left.found.name)
            raise
        self.left, self.right = left, right
        for model, way in ((left, self.way), (right, self.other_way)):
            if model and tuple(way.options) != model.modes:
                self._silently(way, options=model.modes, value=model.modes[0])
        names = list(dict.fromkeys([*left.names, *(right.names if right else ())]))
        own = self._own()
        for a in names:
            if a not in self.sliders:
                self._slider(a, own.get(a, 0))
        self.sliders_box.children = [ipywidgets.HBox([self.sliders[a], self.owns[a]]) for a in names]
        self._visible()
        self.draw()

    def _slider(self, attribute: str, value: float) -> None:
        slider = ipywidgets.FloatSlider(
            value, min=0, max=1, step=0.05, description=attribute.replace("_", " "), readout_format=".2f", style={"description_width": "140px"},
            layout=ipywidgets.Layout(width="340px"),
        )  # fmt: skip
        slider.observe(self._guarded(self.draw), "value")
        self.sliders[attribute], self.owns[attribute] = slider, ipywidgets.HTML()

    def _visible(self) -> None:
        """Show the controls that mean something now."""
        referenced = [m for m, way in ((self.left, self.way), (self.right, self.other_way)) if m and way.value in m.referenced]
        for control, shown in (
            (self.way, self.left and len(self.left.modes) > 1), (self.other_way, self.right and len(self.right.modes) > 1),
            (self.reference_row, referenced), (self.set_row, self.source.value == "set"), (self.photo_row, self.source.value == "photo"),
            (self.number, self.source.value != "photo"),
        ):  # fmt: skip
            control.layout.display = "" if shown else "none"

    # ---- faces

    def _take(self, _=None) -> None:
        self._visible()
        kind = self.source.value
        if kind == "photo":
            return self._photo()
        size = self.left.size if self.left else 32
        if kind == "drawn":
            self._silently(self.number, max=DRAWN)
            self._use(explorer.drawn(self.number.value))
        elif self.opened:
            self._silently(self.number, max=len(explorer.test_faces(self.opened, size)[1]))
            self._use(explorer.of_set(self.opened, self.number.value, size))
        else:
            self._note("Press open: the test faces of the built-in set, or of a folder in CelebA's layout whose path you give.")

    def _open(self, _) -> None:
        self._note("Reading the faces; the first time this takes a while.")
        explorer.test_faces(self.data.value.strip(), self.left.size if self.left else 32)
        self.opened = self.data.value.strip()
        self._note("")
        self._take()

    def _photo(self, _=None) -> None:
        if not self.photo.content:
            return self._note("Choose a picture, then click on its eyes: first the one on the left side, then the other. It stays on this machine.")
        explorer.read_photo(self.photo.content)  # says at once what is wrong with it
        if len(self.photo.eyes) != 4:
            return self._note("Now click on the centre of both eyes in the picture.")
        self._use(explorer.photo(self.photo.content, (self.photo.eyes[:2], self.photo.eyes[2:])))

    def _refused(self, change) -> None:
        if change["new"]:
            raise ExplorerError(change["new"].replace("\u200b", "").strip())

    def _find(self, _) -> None:
        if not self.photo.content:
            raise ExplorerError("Choose a picture first.")
        eyes = explorer.find_eyes(explorer.read_photo(self.photo.content))
        self.photo.eyes = [value for eye in eyes for value in eye]

    def _use(self, face: Face) -> None:
        if self.left:
            face.at(self.left.size)  # a face that cannot be shown does not replace the one that is
        self.face = face
        self._reset()

    def _own(self) -> dict[str, int]:
        """The face's own labels: known ones, or the judge's verdicts."""
        if self.face.labels is not None or self.left is None:
            return self.face.labels or {}
        judge = explorer.judges_of(self.left.found)[0]
        return explorer.labels_by(judge, self.face.at(self.left.size)) if judge else {}

    def _reset(self, _=None) -> None:
        own = self._own()
        for a, slider in self.sliders.items():
            self._silently(slider, value=float(own.get(a, 0)))
        if self.left:
            self.draw()

    # ---- the picture

    def draw(self, _=None) -> None:
        """Edit, judge, show: everything that a slider changes, in two messages to the page."""
        if not self.left:
            return
        own, judged = self._own(), False
        wanted = {a: s.value for a, s in self.sliders.items() if a in self.left.names or self.right and a in self.right.names}
        wanted = {a: t for a, t in wanted.items() if t != own.get(a, 0)}
        face = self.face if self.face.labels is not None or not own else dataclasses.replace(self.face, labels=own)
        results = []
        for model, way in ((self.left, self.way), (self.right, self.other_way)):
            if model:
                attribute, identity = explorer.judges_of(model.found)
                shown = explorer.edit(model, face, wanted, way.value, self.reference.value)
                results.append((model, shown, explorer.verdict(attribute, identity, shown) if attribute else None))
                judged = judged or attribute is not None
        self.results, self.frames = results, self.frames + 1
        self.stage.value = "".join(map(self._method_html, results))
        self.save.value = _save_link(results)
        for a, note in self.owns.items():
            state = "asked for" if a in wanted else "as it is"
            note.value = f'<span class="study-own">{state}</span>'
        self.about.value = f'<p class="study-own">{escape(self._explained())}</p>'
        self.judge_button.layout.display = "none" if judged else ""
        self._visible()

    def _explained(self) -> str:
        texts = []
        for model in (self.left, self.right):
            if model:
                text = f"{model.title}: {explorer.BETWEEN[model.between]}"
                for value, verb in ((1, "gives but does not take"), (0, "takes but does not give")):
                    if some := [a.replace("_", " ") for a, v in model.only.items() if v == value]:
                        text += f" It {verb}: {', '.join(some)}."
                texts.append(text)
        return " ".join(dict.fromkeys(texts))

    def _method_html(self, result: tuple[Model, Shown, Verdict | None]) -> str:
        model, shown, said = result
        done = ", ".join(f"{a.replace('_', ' ')} {t:.2f}" for a, t in shown.wanted.items()) or "nothing asked for"
        pictures = "".join(
            f'<figure class="study-{name}"><img alt="{escape(self._alt(name, model, done))}" src="{_uri(image)}">'
            f"<figcaption><b>{name}</b>{EXPLAINED[name]}</figcaption></figure>"
            for name, image in explorer.panels(shown).items()
        )
        missing = "" if not shown.missing else f"<p>{model.title} does not edit {', '.join(shown.missing).replace('_', ' ')}.</p>"
        no_mask = "<p class='study-own'>This method predicts no mask: it may change every pixel.</p>"
        note = no_mask if shown.mask is None and shown.wanted else ""
        bars = _bars(said) if said else "<p>No judge for these faces is at hand, so nobody says whether the edit succeeded. Train one below.</p>"
        head = f"<p><b>{escape(model.title)}</b> on {escape(self.face.title)}: {escape(done)}</p>"
        return f'<div class="study-method">{head}<div class="study-row">{pictures}</div>{missing}{note}{bars}</div>'

    def _alt(self, name: str, model: Model, done: str) -> str:
        words = {"input": self.face.title, "edited": f"{self.face.title} edited by {model.title}: {done}"}
        return words.get(name, f"{name} of the edit by {model.title}: {EXPLAINED[name]}")

    # ---- keeping it

    def _copy(self, _) -> None:
        self.code.value, self.code.layout.display = self.as_code(), ""
        self._note("Copy these lines into a cell of a notebook: select them with Ctrl+A, then Ctrl+C.")

    def as_code(self) -> str:
        """Python that shows the same pictures."""
        if not self.left:
            raise ExplorerError("There is nothing to copy yet.")
        lines = ["from lib import explorer", "", f"face = {self.face.code}"]
        for (model, shown, said), way in zip(self.results, (self.way, self.other_way), strict=False):
            more = f", mode={way.value!r}" if way.value else ""
            more += f", reference={self.reference.value}" if self.reference.value and way.value in model.referenced else ""
            more += ", judge=explorer.judges_of(model.found)[0]" if self.face.labels is None and said else ""
            lines += [f"model = explorer.load_model({model.found.name!r})"]
            lines += [f"display(explorer.picture(explorer.edit(model, face, {shown.wanted!r}{more})))"]
        return "\n".join(lines)

    # ---- training

    def _train(self, _) -> None:
        paper = self.untrained.value
        command = [sys.executable, "-m", "lib.run", paper, "-p", "profile", "cpu"]
        self._background(command, f"{paper} is trained and measured", lambda: any(r.method == paper for r in explorer.found()[0]))

    def _train_judges(self, _) -> None:
        program = "import sys; from lib import explorer; explorer.train_judges(explorer.load_model(sys.argv[1]).found)"
        name = self.left.found.name
        self._background([sys.executable, "-c", program, name], "The judges are trained", lambda: False, self._with_judges)

    def _with_judges(self) -> None:
        explorer.use_judges(self.left.found, explorer.train_judges(self.left.found))  # from the cache now
        self._reset()

    def _background(self, command: list[str], what: str, ready: Callable[[], bool], then: Callable | None = None) -> None:
        """Run a command in a process of its own; its progress bars become ours. ready: whether what was wanted is there before the end."""
        for control in (self.train, self.judge_button):
            control.disabled = True
        self.progress.value, self.progress.layout.display, self.stop.layout.display = 0.0, "", ""
        self.train_row.layout.display = ""
        self.step.value = escape(what)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        atexit.register(process.send_signal, signal.SIGINT)  # what lib.run and its kernel stop at, and go on from
        self.stop.on_click(lambda _: process.send_signal(signal.SIGINT))
        thread = threading.Thread(target=self._follow, args=(process, what, ready, then), daemon=True)
        thread.start()

    def _follow(self, process: subprocess.Popen, what: str, ready: Callable[[], bool], then: Callable | None) -> None:
        tail, looked, offered = "", time.monotonic(), False
        for piece in iter(lambda: process.stdout.read1(4096), b""):
            tail = (tail + piece.decode(errors="replace"))[-4000:]
            if state := progress_of(tail):
                name, done, total = state
                self.progress.value, self.step.value = done / max(total, 1), escape(f"{what}: {name}, {done} of {total}")
            if not offered and time.monotonic() - looked > 5:
                looked, offered = time.monotonic(), ready()
                if offered:
                    self.refresh()
                    self._note("The new method is in the menu. What goes on below is its evaluation, which can be stopped.")
        code = process.wait()
        self.progress.layout.display = self.stop.layout.display = "none"
        self.train.disabled = self.judge_button.disabled = False
        if code == 0:
            self.step.value = f"{escape(what)}: done."
            self._guarded(lambda _: (self.refresh(), then() if then else None))()
        else:
            last = next((line for line in reversed(re.split(r"[\r\n]+", tail)) if line.strip()), "no reason given")
            self.step.value = f"{escape(what)}: it ended before its time ({escape(last.strip()[:300])}). The same button goes on from where it was."


def _row(children: list, align: str = "center") -> ipywidgets.HBox:
    """Controls side by side, below each other where the page is narrow."""
    return ipywidgets.HBox(children, layout=ipywidgets.Layout(flex_flow="row wrap", align_items=align))


def progress_of(text: str) -> tuple[str, int, int] | None:
    """The last of tqdm's lines in a program's output: (what, done, total)."""
    found = re.findall(r"([^\r\n:|]+):\s+\d+%\|[^|\r\n]*\|\s*(\d+)/(\d+)", text)
    return (found[-1][0].strip(), int(found[-1][1]), int(found[-1][2])) if found else None


def _png(image: np.ndarray | Image.Image) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def _uri(image) -> str:
    return "data:image/png;base64," + base64.b64encode(_png(image)).decode()


def _save_link(results: Sequence[tuple[Model, Shown, Verdict | None]]) -> str:
    rows = [explorer.picture(shown, 4) for _, shown, _ in results]
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return f'<a download="edit.png" href="{_uri(sheet)}" style="text-decoration:underline">save the picture</a>'


def _bar(name: str, kind: str, before: float | None, after: float, words: str, scale: str = "") -> str:
    mark = "" if before is None else f'<u style="left:{100 * before:.0f}%"></u>'
    return (
        f'<div class="study-bar {kind}" data-name="{escape(name)}" data-value="{after:.4f}" role="img" aria-label="{escape(words)}" '
        f'title="{escape(words)}">'
        f"<span>{escape(name.replace('_', ' '))}</span>"
        f'<span class="study-track"><i style="width:{100 * min(1, max(0, after)):.0f}%"></i><s style="left:50%"></s>{mark}{scale}</span>'
        f"<span>{after:.2f}</span></div>"
    )


def _bars(said: Verdict) -> str:
    """The verdicts as bars: what was asked for, the person, everything else."""
    asked, others = [], []
    for name, before, after, was_asked, trusted in said.rows:
        doubt = "" if trusted else "; it is unsure of this one"
        words = f"{name.replace('_', ' ')}: the judge says {after:.2f} after the edit, {before:.2f} before{doubt}"
        kind = "asked" if was_asked else "spoiled" if trusted and (before > 0.5) != (after > 0.5) else ""
        (asked if was_asked else others).append(_bar(name, kind, before, after, words))
    if said.identity is not None:
        words = f"Same person: cosine {said.identity:.2f}; half of one person's pairs reach {said.same:.2f}, 1 % of two people's {said.other:.2f}"
        scale = f'<u style="left:{100 * said.other:.0f}%"></u>'
        asked.append(_bar("same person", "who", None, said.identity, words, scale))
    same, of = said.kept
    first = f'<div class="study-bars">{"".join(asked)}</div>' if asked else ""
    person = "" if said.identity is None else f" The person's mark, {said.other:.2f}: what 1 % of the pairs of two different people reach."
    return (
        f"<p>A judge, a network of its own, looks at the picture: from 0, surely without, to 1, surely with; the line is .5, the mark where it "
        f"stood before.{person}</p>{first}<p>Everything else should stay: {same} of {of} other verdicts did.</p>"
        f'<div class="study-bars">{"".join(others)}</div>'
    )


# ------------------------------------------------------------------------------------------------ frames for a page without a kernel


def two_of(model: Model) -> list[str]:
    """Two attributes of a model, those that other methods have too before others."""
    ranked = sorted(model.names, key=lambda a: FIRST_CHOICE.index(a) if a in FIRST_CHOICE else len(FIRST_CHOICE))
    return ranked[:2]


def frames(model: Model, steps: int = 9, side: int = 5) -> list[HTML]:
    """For a page: for up to two attributes a slider over four drawn faces, two without the attribute, two with it; for both a pad on one face."""
    chosen, out = two_of(model), []
    for a in chosen:
        faces = [face for label in (0, 1) for face in _with(a, label, 2)]
        before = [explorer.panels(explorer.edit(model, face, {}))["input"] for face in faces]
        grid = [[x, *(_edited(model, face, {a: t}) for t in np.linspace(0, 1, steps))] for x, face in zip(before, faces, strict=True)]
        title = f"{model.title}: {a.replace('_', ' ')}, the input, then from without (0) to with (1)"
        alt = f"Four drawn faces, the last two with {a.replace('_', ' ')}, edited by {model.title} at {steps} values from without to with it"
        out.append(widgets.slider(np.array(grid), ["input", *(f"{t:.3g}" for t in np.linspace(0, 1, steps))], title, alt))
    if len(chosen) == 2:
        across, down = chosen
        ends, face = np.linspace(0, 1, side), _with(across, 0, 1)[0]
        grid = [[_edited(model, face, {across: s, down: t}) for s in ends] for t in ends]
        words = [a.replace("_", " ") for a in chosen]
        title = f"{model.title}: {words[0]} across, {words[1]} down"
        alt = f"One drawn face edited by {model.title}: {words[0]} grows from left to right, {words[1]} from top to bottom"
        out.append(widgets.pad(np.array(grid), *([f"{w} {t:.2f}" for t in ends] for w in words), title, alt))
    return out


def _with(attribute: str, label: int, n: int) -> list[Face]:
    faces = (explorer.drawn(k) for k in range(1, DRAWN + 1))
    return [face for face in faces if face.labels.get(attribute, 0) == label][:n]


def _edited(model: Model, face: Face, wanted: dict[str, float]) -> np.ndarray:
    return explorer.panels(explorer.edit(model, face, wanted, even_if_own=True))["edited"]


def page(runs: Sequence[explorer.Found], wanted: bool) -> None:
    """Display for every method its frames under a heading, with the sentence about strength and the run they come from; unless they are wanted, only
    where they can be seen."""
    if not wanted:
        display(HTML("<p>These frames are in <code>reports/explorer.html</code>, which <code>python -m lib.run explorer</code> makes.</p>"))
        return
    for run in explorer.best(runs):
        model = explorer.load_model(run)
        display(HTML(f"<h3>{escape(model.title)}</h3><p>{explorer.BETWEEN[model.between]} Run: {escape(run.name)}.</p>"))
        display(*frames(model))


def listed(runs: Sequence[explorer.Found]) -> pd.DataFrame:
    """One line per run: method, run, attributes, file and its size."""
    lines = []
    for r in runs:
        names, size = ", ".join(explorer.names_of(r)).replace("_", " "), round(r.file.stat().st_size / 1e6, 1)
        lines.append((explorer.short(explorer.module_of(r.method)), r.name, names, r.file.name, size))
    return pd.DataFrame(lines, columns=["method", "run", "attributes", "file", "MB"])

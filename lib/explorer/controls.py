"""The explorer's controls for JupyterLab and Voila, and its frames for a page without a kernel. What they do is in
`lib.explorer.models`.

Every handler is guarded: ipywidgets would swallow an exception or hide it in a log, here it becomes a sentence in the
page, and what was shown stays. While a picture is computed, ipywidgets keeps only the newest value of a slider.
"""

import base64
import io
from collections.abc import Callable
from html import escape
from itertools import product
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import pandas as pd
import traitlets
from IPython.display import HTML, display
from PIL import Image

from lib.data import DataError
from lib.explorer import models as explorer
from lib.explorer.models import DRAWN, RESULTS, Face, Method, Shown, Verdict, Witnesses
from lib.explorer.photo import ExplorerError, read_photo
from lib.pages import figures, sliders
from lib.pages.tables import direction
from lib.training.config import ParameterError

SOURCES = (("a drawn face", "drawn"), ("an astronaut", "astronaut"), ("your own photo", "photo"), ("a data set", "set"))
FOLDS = ("The judges, the mask and the change", "Another face, or your own photo", "Another method, or two side by side", "Keep it")
EXPLAINED = figures.KEY | {"before": "the face", "after": "the edit", "reference": "the face whose attribute is taken over"}
EXPECTED = (DataError, ParameterError)
TOGETHER = 6  # attributes on the page without a kernel, those that most methods edit first

STYLE = Path(__file__).parent / "explorer.css"
INTRO = (
    "<p>Move a slider: <b>0</b> asks for a face without the attribute, <b>1</b> for one with it; where the slider started, the "
    "attribute is left alone.</p>"
)


class EyePicker(anywidget.AnyWidget):
    """A file chooser and a picture to click on. content: the picture, at most 1,000 pixels long; eyes: [] or [x, y, x, y]
    as shares of width and height; problem: [why a file was refused before it was sent, when]."""

    _esm = Path(__file__).parent / "eyes.js"
    content = traitlets.CBytes(b"").tag(sync=True)
    eyes = traitlets.List([]).tag(sync=True)
    problem = traitlets.List([]).tag(sync=True)


class Explorer:
    """All controls; `box` is the widget to show. results: the folder of trained models."""

    def __init__(self, results: str | Path = RESULTS):
        self.results, self.quiet = Path(results or RESULTS), False
        self.left: Method | None = None
        self.right: Method | None = None
        self.face: Face = explorer.drawn(1)
        self.opened = ""  # the data set that was opened
        self.shown: list[tuple[Method, Shown, Verdict | None]] = []
        self.sliders: dict[str, ipywidgets.FloatSlider] = {}
        every, self.problems = explorer.found(self.results)
        self.found = {run.name: run for run in every}
        self._controls()
        self._guarded(self._begin)()

    # ---- layout

    def _controls(self) -> None:
        wide, text = ipywidgets.Layout(width="min(640px, 96%)"), {"description_width": "105px"}
        self.method = ipywidgets.Dropdown(description="method", layout=wide, style=text)
        self.other = ipywidgets.Dropdown(description="compare with", layout=wide, style=text)
        self.way = ipywidgets.Dropdown(description="way of editing", options=[""], style=text)
        self.other_way = ipywidgets.Dropdown(description="way of editing", options=[""], style=text)
        self.reference = ipywidgets.IntSlider(0, 0, DRAWN, description="reference", style=text)
        note = ipywidgets.HTML("the drawn face whose attribute is taken over; 0: one that the method draws")
        self.source = ipywidgets.ToggleButtons(options=SOURCES, style={"button_width": "130px"})
        self.number = ipywidgets.IntSlider(1, 1, DRAWN, description="face number", style=text)
        self.data = ipywidgets.Text("", description="folder", style=text, placeholder="in CelebA's layout")
        self.open = ipywidgets.Button(description="open", tooltip="read the data set")
        self.photo = EyePicker()
        self.say, self.stage, self.details, self.about, self.save = (ipywidgets.HTML() for _ in range(5))
        self.again = ipywidgets.Button(description="start again", tooltip="every slider back to the face's own labels")
        self.copy = ipywidgets.Button(description="copy as code cell")
        self.code = ipywidgets.Textarea(layout=ipywidgets.Layout(width="min(700px, 96%)", height="130px", display="none"))
        self.sliders_box, self.set_row, self.reference_row = _row(), _row(self.data, self.open), _row(self.reference, note)
        self.sliders_box.add_class("study-sliders")
        ways = [self.method, self.way, self.other, self.other_way, self.reference_row, self.about]
        faces, keep = [self.source, self.number, self.set_row, self.photo], [_row(self.again, self.copy, self.save), self.code]
        folds = [ipywidgets.VBox(part) for part in ([self.details], faces, ways, keep)]
        accordion = ipywidgets.Accordion(folds, titles=FOLDS, selected_index=None)
        self.box = ipywidgets.VBox([ipywidgets.HTML(f"<style>{STYLE.read_text()}</style>{INTRO}"), self.stage, self.sliders_box, self.say, accordion])
        self.box.add_class("study-explorer")
        for handler, trait, *controls in (
            (self._choose, "value", self.method, self.other), (self.draw, "value", self.way, self.other_way, self.reference),
            (self._take, "value", self.source, self.number), (self._photo, ["eyes", "content"], self.photo),
            (self._refused, "problem", self.photo),
        ):  # fmt: skip
            for control in controls:
                control.observe(self._guarded(handler), trait)
        for button, handler in ((self.open, self._open), (self.again, self._reset), (self.copy, self._copy)):
            button.on_click(self._guarded(handler))
        self._visible()

    def _visible(self) -> None:
        """Show the controls that mean something now."""
        kind, referenced = self.source.value, any(shown.reference is not None for _, shown, _ in self.shown)
        for control, shown in (
            (self.way, self.left and len(self.left.modes) > 1), (self.other_way, self.right and len(self.right.modes) > 1),
            (self.reference_row, referenced), (self.set_row, kind == "set"), (self.photo, kind == "photo"),
            (self.number, kind in ("drawn", "set")),
        ):  # fmt: skip
            control.layout.display = "" if shown else "none"

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

    def _begin(self, _=None) -> None:
        """The best method whose models are whole, on a face that suits its best edit."""
        problems = list(self.problems)
        for name, run in list(self.found.items()):
            try:
                explorer.load_method(run)
                break
            except ExplorerError as error:
                problems.append(str(error))
                del self.found[name]
        if not self.found:
            self.box.children = [self.say]
            raise ExplorerError(" ".join(["No trained model was found in results/. make train trains them.", *problems]))
        options = [(run.title, name) for name, run in self.found.items()]
        self._silently(self.method, options=options, value=options[0][1])
        self._silently(self.other, options=[("nothing", ""), *options], value="")
        self._choose()
        attribute, target = self.left.best_edit
        if self.left.drawn and attribute in self.left.names:
            self._silently(self.number, value=explorer.good_face(self.left, attribute, target))
            self._use(explorer.drawn(self.number.value))
            self.sliders[attribute].value = float(target)
        if problems:
            self._note(" ".join([*problems, *self.left.problems]), alert=True)

    def _choose(self, _=None) -> None:
        try:
            left, right = (explorer.load_method(self.found[name]) if name else None for name in (self.method.value, self.other.value))
        except Exception:  # what was shown stays, and the menus say so
            if self.left:
                self._silently(self.method, value=self.left.name)
            self._silently(self.other, value=self.right.name if self.right else "")
            raise
        self.left, self.right = left, right
        for method, way in ((left, self.way), (right, self.other_way)):
            if method and tuple(way.options) != method.modes:
                self._silently(way, options=method.modes, value=method.modes[0])
        own, first = self._own(), left.best_edit[0]
        names = dict.fromkeys([*[a for a in left.names if a == first], *left.names, *(right.names if right else ())])
        for a in names:
            if a not in self.sliders:
                self._slider(a, float(own.get(a, 0)))
        self.sliders_box.children = [self.sliders[a] for a in names]
        self.draw()
        if problems := [*left.problems, *(right.problems if right else ())]:
            self._note(" ".join(problems), alert=True)

    def _slider(self, attribute: str, value: float) -> None:
        self.sliders[attribute] = slider = ipywidgets.FloatSlider(
            value, min=0, max=1, step=0.05, description=attribute.replace("_", " "), readout_format=".2f",
            style={"description_width": "125px"}, layout=ipywidgets.Layout(width="min(285px, 96%)"),
        )  # fmt: skip
        slider.observe(self._guarded(self.draw), "value")

    # ---- faces

    def _take(self, _=None) -> None:
        kind = self.source.value
        self._visible()
        if kind in ("astronaut", "photo"):
            self._suit_photographs()
        if kind == "photo":
            self._photo()
        elif kind == "astronaut":
            self._use(explorer.astronaut())
        elif kind == "drawn":
            self._silently(self.number, max=DRAWN)
            self._use(explorer.drawn(self.number.value))
        elif self.opened:
            self._silently(self.number, max=len(explorer.test_faces(self.opened, self.left.size)[1]))
            self._use(explorer.of_set(self.opened, self.number.value, self.left.size))
        else:
            self._note("Give the path of a folder in CelebA's layout and press open: its test faces can then be edited.")

    def _suit_photographs(self) -> None:
        """Take a method that learned from photographs, if the one that is chosen did not and there is one."""
        real = next((name for name, run in self.found.items() if not run.drawn), None)
        if real and self.left and self.left.drawn:
            self._silently(self.method, value=real)
            self._choose()

    def _open(self, _) -> None:
        self._note("Reading the faces; the first time this takes a while.")
        explorer.test_faces(self.data.value.strip(), self.left.size)
        self.opened = self.data.value.strip()
        self._note("")
        self._take()

    def _photo(self, _=None) -> None:
        if not self.photo.content:
            return self._note("Choose a picture, then click on its eyes. It stays on this machine.")
        read_photo(self.photo.content)  # says at once what is wrong with it
        if len(self.photo.eyes) != 4:
            return self._note("Now click on the centre of both eyes in the picture.")
        self._use(explorer.photo(self.photo.content, (self.photo.eyes[:2], self.photo.eyes[2:])))

    def _refused(self, change) -> None:
        if change["new"]:
            raise ExplorerError(change["new"][0])

    def _use(self, face: Face) -> None:
        face.at(self.left.size)  # a face that cannot be shown does not replace the one that is
        self.face = face
        self._reset()

    def _seen(self, method: Method) -> Witnesses | None:
        return explorer.witnesses_of(method.data, method.size, self.results)

    def _own(self) -> dict[str, int]:
        """The face's own labels: known ones, or the judges' verdicts."""
        return explorer.labels_of(self.face, self._seen(self.left), self.left.size) or {}

    def _reset(self, _=None) -> None:
        own = self._own()
        for a, slider in self.sliders.items():
            self._silently(slider, value=float(own.get(a, 0)))
        self.draw()

    # ---- the picture

    def draw(self, _=None) -> None:
        """Edit, judge, show: everything that a slider changes, in a few messages to the page."""
        own, shown, problems = self._own(), [], []
        values = {a: s.value for a, s in self.sliders.items() if s in self.sliders_box.children}
        wanted = {a: value for a, value in values.items() if value != own.get(a, 0)}
        for method, way in ((self.left, self.way), (self.right, self.other_way)):
            if method:
                seen = self._seen(method)
                try:
                    edited = explorer.edit(method, self.face, wanted, way.value, self.reference.value, seen)
                except EXPECTED as error:
                    problems.append(str(error))
                    continue
                shown.append((method, edited, explorer.verdict(seen, edited) if seen else None))
        if not shown:
            raise ExplorerError(" ".join(problems))
        self.shown = shown
        first = shown[0][1]
        big = [_picture("before", explorer.panels(first)["before"], self.face.title, self.face.title)]
        big += [self._after(*one) for one in shown]
        self.stage.value = f'<div class="study-row study-big">{"".join(big)}</div>'
        self.details.value = "".join(self._details(*one) for one in shown)
        self.about.value = f"<p>{escape(_about([method for method, *_ in shown], self.face))}</p>"
        sheet = _uri(explorer.picture(*(edited for _, edited, _ in shown)))
        self.save.value = f'<a download="edit.png" href="{sheet}" style="text-decoration:underline">save the picture</a>'
        self._visible()
        if problems:
            self._note(" ".join(problems), alert=True)

    def _after(self, method: Method, shown: Shown, said: Verdict | None) -> str:
        done = f"{method.short}: {', '.join(_asked(a, t) for a, t in shown.wanted.items()) or 'nothing asked for'}"
        alt = f"{self.face.title} edited by {done}"
        return _picture("after", explorer.panels(shown)["after"], done, alt, _sentence(method, shown, said))

    def _details(self, method: Method, shown: Shown, said: Verdict | None) -> str:
        small = {name: image for name, image in explorer.panels(shown).items() if name not in ("before", "after")}
        pictures = "".join(_picture(name, image, name, f"{name} of the edit by {method.short}", EXPLAINED[name]) for name, image in small.items())
        none = "" if shown.mask is not None else "<p>This method predicts no mask: it may change every pixel.</p>"
        return f'<p><b>{escape(method.short)}</b></p><div class="study-row">{pictures}</div>{none}{_bars(said) if said else ""}'

    # ---- keeping it

    def _copy(self, _) -> None:
        self.code.value, self.code.layout.display = self.as_code(), ""
        self._note("Copy these lines into a cell of a notebook: select them with Ctrl+A, then Ctrl+C.")

    def as_code(self) -> str:
        """Python that shows the same pictures."""
        ways = {id(self.left): self.way.value, id(self.right): self.other_way.value}
        lines = ["from lib.explorer import models as explorer", "", f"face = {self.face.code}"]
        for k, (method, shown, said) in enumerate(self.shown):
            more = f", mode={ways[id(method)]!r}" if ways[id(method)] else ""
            more += f", reference={self.reference.value}" if self.reference.value and shown.reference is not None else ""
            more += ", seen=explorer.witnesses_of(method.data, method.size)" if self.face.labels is None and said else ""
            lines += [f"method = explorer.load_method({method.name!r})"]
            lines += [f"edit_{k} = explorer.edit(method, face, {shown.wanted!r}{more})"]
        edits = ", ".join(f"edit_{k}" for k in range(len(self.shown)))
        return "\n".join([*lines, f"display(explorer.picture({edits}))"])


# ------------------------------------------------------------------------------------------------ HTML


def _row(*children) -> ipywidgets.HBox:
    """Controls side by side, below each other where the page is narrow."""
    return ipywidgets.HBox(children, layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"))


def _asked(attribute: str, target: float) -> str:
    """'glasses on'; between 0 and 1 with the value."""
    return direction(attribute, round(target)) if target in (0, 1) else f"{attribute.replace('_', ' ')} {target:.2f}"


def _uri(image: np.ndarray | Image.Image) -> str:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, "png", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _picture(kind: str, image: np.ndarray, title: str, alt: str, note: str = "") -> str:
    image = f'<img alt="{escape(alt)}" src="{_uri(image)}">'
    return f'<figure class="study-{kind.replace(" ", "-")}">{image}<figcaption><b>{escape(title)}</b>{escape(note)}</figcaption></figure>'


def _sentence(method: Method, shown: Shown, said: Verdict | None) -> str:
    """What came of the edit, in words."""
    parts = [f"{method.short} does not edit {a.replace('_', ' ')}." for a in shown.missing]
    parts += [f"{method.short} was not trained for {_asked(a, shown.wanted[a])}: the face stays." for a in shown.untouched]
    if not shown.wanted:
        return " ".join(parts)
    if said is None:
        return " ".join([*parts, "No trained judges of these faces are at hand, so nobody says whether the edit succeeded."])
    how_many = ("neither judge sees", "one of two judges sees", "both judges see")
    for a, _, after, target, _ in said.rows:
        if target is not None and a not in shown.untouched:
            seen = sum((p > 0.5) == (target >= 0.5) for p in after)
            parts.append(f"{how_many[seen].capitalize()} {direction(a, target >= 0.5)}.")
    same, of = said.kept
    parts.append(f"{same} of {of} other verdicts stay.")
    if said.identity is not None:
        against = "" if np.isnan(said.other) else f"; two people reach {said.other:.2f} in 1 pair of 100"
        parts.append(f"Likeness to the person: {said.identity:.2f} (1: equal{against}).")
    if said.nearer is not None:
        parts.append("Nearer to the exact answer than before." if said.nearer else "No nearer to the exact answer than before.")
    return " ".join(parts)


def _bars(said: Verdict) -> str:
    """Both judges' probabilities as bars: what was asked for, then everything else."""
    out = []
    for name, before, after, target, trusted in said.rows:
        moved = any((p > 0.5) != (q > 0.5) for p, q in zip(before, after, strict=True))
        reached = target is not None and all((q > 0.5) == (target >= 0.5) for q in after)
        kind = ("asked" if reached else "asked missed") if target is not None else "spoiled" if moved and trusted else ""
        label = name.replace("_", " ")
        words = f"{label}: judge a {after[0]:.2f} (before {before[0]:.2f}), judge b {after[1]:.2f} (before {before[1]:.2f})"
        words += "" if trusted else "; they are unsure of this one"
        track = "".join(f'<i style="width:{100 * q:.0f}%"></i>' for q in after) + f'<u style="left:{50 * sum(before):.0f}%"></u>'
        out.append(
            f'<div class="study-bar {kind}" data-name="{escape(name)}" data-value="{min(after):.4f}" role="img" aria-label="{escape(words)}" '
            f'title="{escape(words)}"><span>{escape(label)}</span><span class="study-track">{track}</span>'
            f"<span>{after[0]:.2f} {after[1]:.2f}</span></div>"
        )
    text = "Two judges, networks that no method was trained with, look at the picture: from 0, surely without, to 1, surely with. The mark: before."
    return f'<p>{text}</p><div class="study-bars">{"".join(out)}</div>'


# ------------------------------------------------------------------------------------------------ the page without a kernel


def frames(methods: list[Method], attribute: str, target: int, face: Face, steps: int = 4) -> HTML | None:
    """One slider over all methods that edit the attribute (of one size), side by side on the same face: the face as it
    is, then `steps` values up to the target; where the face is drawn, the exact answer beside them. None without any."""
    values = [abs(1 - target - k / steps) for k in range(1, steps + 1)]
    rows = {}
    for method in methods:
        shown = [explorer.edit(method, face, {attribute: value}) for value in values]
        if not shown[-1].untouched:  # it learned the other way alone
            rows[method.short] = [figures.pixels(x)[0] for x in (shown[0].x, *(one.y for one in shown))]
    if not rows:
        return None
    exact = face.exact(methods[0].size, {attribute: target})
    if exact is not None:
        rows["exact answer"] = [next(iter(rows.values()))[0], *[figures.pixels(exact)[0]] * steps]
    words = direction(attribute, target)
    title = f"{words[0].upper()}{words[1:]}: {face.title}"
    alt = f"{face.title}, {words}, at {steps} values up to {target}, by {', '.join(rows)}"
    return sliders.slider(np.array(list(rows.values())), ["before", *(f"{v:.2f}" for v in values)], title, alt, list(rows), steps)


def page(results: str | Path = RESULTS) -> None:
    """Display the sliders of the page without a kernel, each method as its profile has it: those that learned from drawn faces
    on the first drawn face that lacks the target, picked for nothing else; those of photographs on the astronaut."""
    every = explorer.found(Path(results or RESULTS))[0]
    for heading, drawn in (("On a drawn face", True), ("On a photograph", False)):
        first = list({method.module: method for method in reversed(every) if method.drawn == drawn}.values())[::-1]
        methods = [method for method in first if method.size == max(m.size for m in first) and _whole(method)]
        names = [a for method in methods for a in method.names]
        if names:
            display(HTML(f"<h3>{heading}</h3>"))
        most = sorted(dict.fromkeys(names), key=lambda a: -names.count(a))[:TOGETHER]
        for attribute, target in product(most, (1, 0)):
            own = [method for method in methods if attribute in method.names]
            faces = [explorer.drawn(k) for k in explorer.lacking(attribute, target, 1)] if drawn else [explorer.astronaut()]
            if faces and faces[0].labels.get(attribute) == 1 - target and (html := frames(own, attribute, target, faces[0])):
                display(html)
        display(HTML(f"<p>{escape(_about(methods, explorer.drawn(1) if drawn else explorer.astronaut()))}</p>"))


def _whole(method: Method) -> bool:
    """Whether any model of it can be loaded; what cannot is said where everything is listed."""
    try:
        return bool(explorer.load_method(method))
    except ExplorerError:
        return False


def _about(methods: list[Method], face: Face) -> str:
    """What values between 0 and 1 mean, on which faces a method learned, and what its weights may be used for."""
    texts: dict[str, list[str]] = {}
    for method in methods:
        licence = "" if method.drawn else f"The weights were {method.record['data']['licence']}."
        blind = "It learned from drawn faces alone: what it makes of a photograph says little." if method.drawn and not face.state else ""
        for text in filter(None, (method.between, licence, blind)):
            texts.setdefault(text, []).append(method.short)
    return " ".join(f"{', '.join(names)}: {text}" for text, names in texts.items())


def listed(results: str | Path = RESULTS) -> pd.DataFrame:
    """One line per method that can be played, with its weights and their licence; then one per folder that cannot be used."""
    every, problems = explorer.found(Path(results or RESULTS))
    lines = []
    for method in every:
        size = sum((part.folder / "weights.safetensors").stat().st_size for part in method.parts) / 1e6
        lines.append((method.title, method.name, f"{size:.1f}", method.record["data"]["licence"]))
    return pd.DataFrame(lines + [(text, "", "", "") for text in problems], columns=["method", "model", "MB", "licence of the weights"])

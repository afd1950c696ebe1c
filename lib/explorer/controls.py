"""The explorer's controls for JupyterLab and Voila, and its frames for a page without a kernel. What they do is in
`lib.explorer.models`.

Every handler is guarded: ipywidgets would swallow an exception or hide it in a log, here it becomes a sentence in the
page, and what was shown stays. While a picture is computed, ipywidgets keeps only the newest value of a slider.
"""

from collections.abc import Callable
from contextlib import suppress
from html import escape
from itertools import product
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import traitlets
from IPython.display import HTML, display
from PIL import Image

from lib.evaluation.judges import Judges
from lib.explorer import models as explorer
from lib.explorer.models import DRAWN, RESULTS, Face, Method, Shown, Verdict
from lib.explorer.photo import ExplorerError, read_photo
from lib.pages import figures, sliders
from lib.pages.tables import direction
from lib.sources import StudyError

SOURCES = (("a drawn face", "drawn"), ("an astronaut", "astronaut"), ("your own photo", "photo"))
FOLDS = ("The mask and the change", "Another face, or your own photo", "Another method, or two side by side")
EXPLAINED = figures.KEY | {"before": "the face", "after": "the edit", "reference": "the face whose attribute is taken over"}
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
        self.shown: list[tuple[Method, Shown, Verdict | None]] = []
        self.sliders: dict[str, ipywidgets.FloatSlider] = {}
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
        self.photo = EyePicker()
        self.say, self.stage, self.details, self.about = (ipywidgets.HTML() for _ in range(4))
        self.again = ipywidgets.Button(description="start again", tooltip="every slider back to the face's own labels")
        self.sliders_box, self.reference_row = _row(), _row(self.reference, note)
        self.sliders_box.add_class("study-sliders")
        ways = [self.method, self.way, self.other, self.other_way, self.reference_row, self.about]
        folds = [ipywidgets.VBox(part) for part in ([self.details], [self.source, self.number, self.photo], ways)]
        accordion = ipywidgets.Accordion(folds, titles=FOLDS, selected_index=None)
        self.box = ipywidgets.VBox(
            [ipywidgets.HTML(f"<style>{STYLE.read_text()}</style>{INTRO}"), self.stage, self.sliders_box, self.again, self.say, accordion]
        )
        self.box.add_class("study-explorer")
        for handler, trait, *controls in (
            (self._choose, "value", self.method, self.other), (self.draw, "value", self.way, self.other_way, self.reference),
            (self._take, "value", self.source, self.number), (self._photo, ["eyes", "content", "problem"], self.photo),
        ):  # fmt: skip
            for control in controls:
                control.observe(self._guarded(handler), trait)
        self.again.on_click(self._guarded(self._reset))

    def _visible(self) -> None:
        """Show the controls that mean something now."""
        kind, referenced = self.source.value, any(shown.reference is not None for _, shown, _ in self.shown)
        for control, shown in (
            (self.way, len(self.left.modes) > 1), (self.other_way, self.right and len(self.right.modes) > 1),
            (self.reference_row, referenced), (self.photo, kind == "photo"), (self.number, kind == "drawn"),
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
                known = isinstance(error, StudyError)
                self._note(str(error) if known else f"That failed: {type(error).__name__}: {error}", alert=True)

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
        """The first method whose models are whole, with its first edit, of a drawn face that it brings nearer to the
        exact answer."""
        every, problems = explorer.found(self.results)
        self.found = {run.name: run for run in every}
        for run in every:
            try:
                explorer.load_method(run)
                break
            except ExplorerError as error:
                problems.append(str(error))
                del self.found[run.name]
        if not self.found:
            self.box.children = [self.say]
            raise ExplorerError(" ".join(["No trained model was found in results/. make train trains them.", *problems]))
        options = [(run.title, name) for name, run in self.found.items()]
        self._silently(self.method, options=options, value=options[0][1])
        self._silently(self.other, options=[("nothing", ""), *options], value="")
        self._choose()
        first = next(iter(self.left.names))
        if numbers := explorer.lacking(first, 1, 8):
            good = next((k for k in numbers if explorer.edit(self.left, explorer.drawn(k), {first: 1.0}).nearer), numbers[0])
            self._silently(self.number, value=good)
            self._use(explorer.drawn(good))
            self.sliders[first].value = 1.0
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
        own, names = self._own(), dict.fromkeys([*left.names, *(right.names if right else ())])
        for a in names:
            if a not in self.sliders:
                self.sliders[a] = slider = ipywidgets.FloatSlider(
                    float(own.get(a, 0)), min=0, max=1, step=0.05, description=a.replace("_", " "), readout_format=".2f",
                    style={"description_width": "125px"}, layout=ipywidgets.Layout(width="min(285px, 96%)"),
                )  # fmt: skip
                slider.observe(self._guarded(self.draw), "value")
        self.sliders_box.children = [self.sliders[a] for a in names]
        self.draw()
        if problems := [*left.problems, *(right.problems if right else ())]:
            self._note(" ".join(problems), alert=True)

    # ---- faces

    def _take(self, _=None) -> None:
        kind = self.source.value
        self._visible()
        if kind == "drawn":
            return self._use(explorer.drawn(self.number.value))
        real = next((name for name, run in self.found.items() if not run.drawn), None)
        if real and self.left.drawn:  # a method that learned from photographs suits them better
            self._silently(self.method, value=real)
            self._choose()
        if kind == "photo":
            return self._photo()
        self._use(explorer.astronaut())

    def _photo(self, change=None) -> None:
        if change and change["name"] == "problem":  # the browser refused the file
            raise ExplorerError(change["new"][0])
        if not self.photo.content:
            return self._note("Choose a picture, then click on its eyes. It stays on this machine.")
        read_photo(self.photo.content)  # says at once what is wrong with it
        if len(self.photo.eyes) != 4:
            return self._note("Now click on the centre of both eyes in the picture.")
        self._use(explorer.photo(self.photo.content, (self.photo.eyes[:2], self.photo.eyes[2:])))

    def _use(self, face: Face) -> None:
        face.at(self.left.size)  # a face that cannot be shown does not replace the one that is
        self.face = face
        self._reset()

    def _seen(self, method: Method) -> Judges | None:
        return explorer.judges_of(method.data, method.size, self.results)

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
        wanted = {a: s.value for a, s in self.sliders.items() if s in self.sliders_box.children and s.value != own.get(a, 0)}
        for method, way in ((self.left, self.way), (self.right, self.other_way)):
            if method:
                seen = self._seen(method)
                try:
                    edited = explorer.edit(method, self.face, wanted, way.value, self.reference.value, seen)
                except StudyError as error:
                    problems.append(str(error))
                    continue
                shown.append((method, edited, explorer.verdict(seen, edited) if seen else None))
        if not shown:
            raise ExplorerError(" ".join(problems))
        self.shown = shown
        first = shown[0][1]
        big = [_picture("before", explorer.panels(first)["before"], self.face.title, self.face.title)]
        for method, edited, said in shown:
            done = f"{method.short}: {', '.join(_asked(a, t) for a, t in edited.wanted.items()) or 'nothing asked for'}"
            alt, note = f"{self.face.title} edited by {done}", _sentence(method, edited, said)
            big.append(_picture("after", explorer.panels(edited)["after"], done, alt, note))
        self.stage.value = f'<div class="study-row study-big">{"".join(big)}</div>'
        self.details.value = "".join(_details(method, edited) for method, edited, _ in shown)
        self.about.value = f"<p>{escape(_about([method for method, *_ in shown], self.face))}</p>"
        self._visible()
        if problems:
            self._note(" ".join(problems), alert=True)


# ------------------------------------------------------------------------------------------------ HTML


def _row(*children) -> ipywidgets.HBox:
    """Controls side by side, below each other where the page is narrow."""
    return ipywidgets.HBox(children, layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"))


def _asked(attribute: str, target: float) -> str:
    """'glasses on'; between 0 and 1 with the value."""
    return direction(attribute, round(target)) if target in (0, 1) else f"{attribute.replace('_', ' ')} {target:.2f}"


def _picture(kind: str, image: np.ndarray, title: str, alt: str, note: str = "") -> str:
    shown = f'<img alt="{escape(alt)}" src="{figures.data_uri(Image.fromarray(image), "png", compress_level=1)}">'
    return f'<figure class="study-{kind.replace(" ", "-")}">{shown}<figcaption><b>{escape(title)}</b>{escape(note)}</figcaption></figure>'


def _details(method: Method, shown: Shown) -> str:
    small = {name: image for name, image in explorer.panels(shown).items() if name not in ("before", "after")}
    pictures = "".join(_picture(name, image, name, f"{name} of the edit by {method.short}", EXPLAINED[name]) for name, image in small.items())
    none = "" if shown.mask is not None else "<p>This method predicts no mask: it may change every pixel.</p>"
    return f'<p><b>{escape(method.short)}</b></p><div class="study-row">{pictures}</div>{none}'


def _sentence(method: Method, shown: Shown, said: Verdict | None) -> str:
    """What came of the edit, in words."""
    parts = [f"{method.short} does not edit {a.replace('_', ' ')}." for a in shown.missing]
    parts += [f"{method.short} was not trained for {_asked(a, shown.wanted[a])}: the face stays." for a in shown.untouched]
    if not shown.wanted:
        return " ".join(parts)
    if said is None:
        return " ".join([*parts, "No trained judges of these faces are at hand, so nobody says whether the edit succeeded."])
    how_many = ("neither judge sees", "one of two judges sees", "both judges see")
    for a, seen in said.agree.items():
        if a not in shown.untouched:
            parts.append(f"{how_many[seen].capitalize()} {direction(a, shown.wanted[a] >= 0.5)}.")
    parts.append("{} of {} other verdicts stay.".format(*said.kept))
    parts.append(f"Likeness to the person: {said.identity:.2f} (1: equal).")
    if shown.exact is not None:
        parts.append("Nearer to the exact answer than before." if shown.nearer else "No nearer to the exact answer than before.")
    return " ".join(parts)


# ------------------------------------------------------------------------------------------------ the page without a kernel


def frames(methods: list[Method], attribute: str, target: int, face: Face, steps: int = 4) -> HTML | None:
    """One slider over all methods that edit the attribute (of one size), side by side on the same face: from the face
    as it is over `steps` values to the target; before them that face, behind them the exact answer if it is drawn. None
    without any."""
    values = [abs(1 - target - k / steps) for k in range(1, steps + 1)]
    rows = {}
    for method in methods:
        shown = [explorer.edit(method, face, {attribute: value}) for value in values]
        if not shown[-1].untouched:  # it learned the other way alone
            rows.setdefault("before", [figures.pixels(shown[0].x)[0]] * (steps + 1))
            rows[method.short] = [figures.pixels(x)[0] for x in (shown[0].x, *(one.y for one in shown))]
    if not rows:
        return None
    if (exact := face.exact(methods[0].size, {attribute: target})) is not None:
        rows["exact answer"] = [figures.pixels(exact)[0]] * (steps + 1)
    words = direction(attribute, target)
    title = f"{words[0].upper()}{words[1:]}: {face.title}"
    alt = f"{face.title}, {words}, at {steps} values up to {target}, by {', '.join(rows)}"
    labels = ["before", *(f"{100 * k // steps} %" for k in range(1, steps)), "edited"]
    return sliders.slider(np.array(list(rows.values())), labels, title, alt, list(rows), steps)


def page(results: str | Path = RESULTS) -> None:
    """Display the sliders of the page without a kernel, each method as its profile has it: those that learned from drawn faces
    on the first drawn face that lacks the target, picked for nothing else; those of photographs on the astronaut."""
    every, _ = explorer.found(results or RESULTS)
    for heading, drawn in (("On a drawn face", True), ("On a photograph", False)):
        first = list({method.module: method for method in reversed(every) if method.drawn == drawn}.values())[::-1]
        methods = []
        for method in first:
            with suppress(ExplorerError):  # the controls say which
                methods += [explorer.load_method(method)] if method.size == max(m.size for m in first) else []
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


def _about(methods: list[Method], face: Face) -> str:
    """What values between 0 and 1 mean, on which faces a method learned, and what its weights may be used for."""
    texts: dict[str, list[str]] = {}
    for method in methods:
        licence = "" if method.drawn else f"The weights were {method.record['data']['licence']}."
        blind = "It learned from drawn faces alone: what it makes of a photograph says little." if method.drawn and not face.state else ""
        for text in filter(None, (method.between, licence, blind)):
            texts.setdefault(text, []).append(method.short)
    return " ".join(f"{', '.join(names)}: {text}" for text, names in texts.items())

"""The explorer: every method plays, damaged models and bad photos get a sentence, and it works in JupyterLab, in Voila and as a
page without a kernel."""

import base64
import dataclasses
import importlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import browser, open_page
from nbformat import v4, write
from PIL import Image

from lib import synthetic
from lib.data import load, make_split
from lib.evaluation import judges
from lib.explorer import controls, photo
from lib.explorer import models as explorer
from lib.explorer.photo import ExplorerError
from lib.pages import report
from lib.sources import ROOT
from lib.training import models
from lib.training.models import Job

TINY = {  # method -> fields of the models that are trained
    "sagan": [{"attribute": "Eyeglasses"}, {"attribute": "Smiling"}], "atigan": [{}], "sggan": [{}], "stargan": [{}], "bridgegan": [{}],
    "diat": [{"task": "eyeglasses_removal"}], "resgan": [{"attribute": "Eyeglasses"}], "cyclegan": [{"attribute": "Eyeglasses"}],
    "starganv2": [{}], "stgan": [{}],
}  # fmt: skip


def module_of(method: str):
    return importlib.import_module(f"lib.papers.{method}.model" if (ROOT / "lib" / "papers" / method).is_dir() else f"lib.baselines.{method}")


def trained(faces, split, results: Path, method: str, **fields) -> Path:
    """A model trained for a few updates; its folder."""
    module = module_of(method)
    job = Job(module, dataclasses.replace(module.PROFILES["smoke"](), **fields), faces, split, results=results)
    models.train(job)
    return job.folder


@pytest.fixture(scope="module")
def natural(own_cache):
    faces = load("synthetic", 32, n=600)
    return faces, make_split(faces)


@pytest.fixture(scope="module")
def results(tmp_path_factory, natural):
    """A folder with a tiny model of every method, and the judges."""
    root = tmp_path_factory.mktemp("results")
    for method, every in TINY.items():
        for fields in every:
            trained(*natural, root, method, **fields)
    for job in judges.jobs(*natural, "smoke", results=root).values():
        models.train(job)
    return root


@pytest.fixture
def methods(results):
    return {m.name.split("/")[0]: m for m in explorer.found(results)[0]}


# ---------------------------------------------------------------------------------------------- trained models


def test_every_method_with_an_editor_is_found(results, methods):
    files = [*(ROOT / "lib" / "papers").glob("*/model.py"), *(ROOT / "lib" / "baselines").glob("*.py")]
    have = {f.parent.name if f.name == "model.py" else f.stem for f in files if "\ndef editor(" in f.read_text()}
    assert have == set(TINY) == methods.keys() and not explorer.found(results)[1]
    sagan = methods["sagan"]
    assert sagan.short == "SaGAN" and set(sagan.names) == {"Eyeglasses", "Smiling"}, "two models edit together"
    assert sagan.title.endswith("; drawn faces, 32 pixels") and all(method.between for method in methods.values())


@pytest.mark.parametrize("name", TINY)
def test_every_method_plays(results, methods, name):
    method, face = explorer.load_method(methods[name]), explorer.drawn(2)
    x = face.at(method.size)
    own = {a: face.labels[a] for a in method.names}
    assert torch.equal(explorer.edit(method, face, own).y, x), "what the face has already is left alone"
    two = {a: 1.0 - own[a] for a in list(method.names)[:2]}
    for mode in method.modes:
        shown = explorer.edit(method, face, two, mode)
        assert shown.y.shape == x.shape and shown.y.abs().max() <= 1 and shown.wanted == two and not shown.missing
        assert (shown.reference is not None) == (name == "bridgegan" and mode != "label")
        assert set(explorer.panels(shown)) >= {"before", "after", "exact answer", "change"}
    assert (shown.mask is not None) == (name == "sagan")
    assert explorer.edit(method, face, {"No_Such": 1.0}).missing == ("No_Such",)
    said = explorer.verdict(explorer.judges_of(method.data, method.size, results), shown)
    assert said.agree.keys() <= set(two) and 0 <= said.kept[0] <= said.kept[1] and -1 <= said.identity <= 1


def test_what_a_method_cannot_do_is_known(methods):
    face = explorer.drawn(2)
    assert face.labels["Eyeglasses"] == 0
    assert explorer.edit(explorer.load_method(methods["diat"]), face, {"Eyeglasses": 1.0}).untouched == ("Eyeglasses",)
    bridge = explorer.load_method(methods["bridgegan"])
    first = next(iter(bridge.names))
    shown = explorer.edit(bridge, face, {first: 1.0 - face.labels[first]}, "reference", reference=7)
    assert torch.equal(shown.reference, explorer.drawn(7).at(32))
    for name in ("bridgegan", "stargan"):  # a photo without a judge
        with pytest.raises(ExplorerError, match="must know what the face has"):
            explorer.edit(explorer.load_method(methods[name]), dataclasses.replace(face, labels=None), {next(iter(methods[name].names)): 1.0})


def test_the_exact_answer_and_how_near_an_edit_comes(methods):
    face = explorer.drawn(explorer.lacking("Smiling", 1, 1)[0])
    exact = face.exact(32, {"Smiling": 1.0})
    assert torch.equal(face.exact(32, {}), face.at(32)) and not torch.equal(exact, face.at(32))
    shown = explorer.edit(explorer.load_method(methods["sagan"]), face, {"Smiling": 1.0})
    assert dataclasses.replace(shown, y=exact).nearer and not dataclasses.replace(shown, y=shown.x).nearer
    assert explorer.astronaut().exact(32, {"Smiling": 0.0}) is None


def test_a_damaged_model_is_one_sentence_and_the_rest_goes_on(natural, tmp_path):
    good, bad = (trained(*natural, tmp_path, "sagan", attribute=a) for a in ("Eyeglasses", "Smiling"))
    record = json.loads((good / "model.json").read_text())
    begun, unknown = record | {"status": "training"}, record | {"config": record["config"] | {"no_such": 1}}
    for name, text in {"copy0": "{", "begun": json.dumps(begun), "other": json.dumps(unknown)}.items():
        (shutil.copytree(good, tmp_path / "sagan" / name) / "model.json").write_text(text)
    (bad / "weights.safetensors").write_bytes(b"no weights")
    every, problems = explorer.found(tmp_path)
    assert len(every) == 1 and len(problems) == 2 and "model.json is damaged" in problems[0] and "no_such" in problems[1]
    view = controls.Explorer(tmp_path)
    assert list(view.left.names) == ["Eyeglasses"] and bad.name in view.left.problems[0]
    assert bad.name in view.say.value and "no_such" in view.say.value and "study-after" in view.stage.value
    (good / "weights.safetensors").write_bytes(b"no weights")
    assert "make train" in controls.Explorer(tmp_path).say.value


def test_committed_weights_play():
    every, problems = explorer.found()
    assert not problems
    for method in every:
        explorer.load_method(method)
        assert not method.problems


# ---------------------------------------------------------------------------------------------- photos


def snapshot(turn: float = 0.0, side: int = 256) -> tuple[bytes, tuple]:
    """A drawn face, turned by some degrees, in a larger picture that stands for a photo; and its eyes as shares of it."""
    faces = synthetic.sample(0, range(2_000_003, 2_000_004))
    face = Image.fromarray(((synthetic.render(faces, side)[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
    image = Image.new("RGB", (600, 500), (120, 140, 150))
    image.paste(face.rotate(turn, resample=Image.Resampling.BICUBIC), (200, 120))
    angle = np.deg2rad(-turn)
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    eyes = (synthetic.landmarks5(faces, side)[0, :2].numpy() - side / 2) @ spin.T + side / 2 + (200, 120)
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue(), tuple((float(x / 600), float(y / 500)) for x, y in eyes)


def test_eyes_land_where_they_belong():
    image = Image.new("RGB", (900, 700), "white")
    for x, y in ((400, 300), (520, 360)):  # two black eyes on white, tilted
        image.paste("black", (x - 12, y - 12, x + 12, y + 12))
    dark = 255.0 - photo.align(image, ((400 / 900, 300 / 700), (520 / 900, 360 / 700)), 128).mean(0)
    for (x, y), half in zip(photo.EYES, (slice(0, 64), slice(64, 128)), strict=True):
        rows, columns = np.mgrid[0:128, 0:128]
        weight = np.zeros_like(dark)
        weight[:, half] = dark[:, half]
        centre = ((columns + 0.5) * weight).sum() / weight.sum(), ((rows + 0.5) * weight).sum() / weight.sum()
        assert np.allclose(centre, (x * 128 / 178, (y - 20) * 128 / 178), atol=0.4), centre


def png(size, mode="RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "png", **options)
    return buffer.getvalue()


def test_bad_photos_get_a_sentence():
    good = ((0.4, 0.5), (0.6, 0.5))
    for content, words in (
        (b"not a picture", "not a picture"), (png((64, 64))[:60], "not a picture"), (png((9000, 9000), "1"), "huge"),
        (png((20_000, 20_000), "1"), "huge"), (png((16, 16)), "tiny"), (b"", "not a picture"),
    ):  # fmt: skip
        with pytest.raises(ExplorerError, match=words):
            explorer.photo(content, good)
    for eyes, words in (
        (None, "not given"), (((0.4, 0.5),), "not given"), (((0.6, 0.5), (0.4, 0.5)), "on the left"), (((0.4, 0.5), (0.41, 0.5)), "too few"),
        (((0.4, 0.5), (1.4, 0.5)), "outside"), (((0.4, 0.5), (float("nan"), 0.5)), "not given"),
    ):  # fmt: skip
        with pytest.raises(ExplorerError, match=words):
            explorer.photo(png((200, 200)), eyes)
    exif = Image.new("RGB", (6, 4)).getexif()
    exif[0x0112] = 6  # turned by a quarter
    assert photo.read_photo(png((60, 40), exif=exif)).size == (40, 60)


# ---------------------------------------------------------------------------------------------- the controls, without a browser


@pytest.fixture
def view(results):
    return controls.Explorer(results)


def images_of(html: str) -> list[np.ndarray]:
    parts = html.split("data:image/png;base64,")[1:]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(p.split('"')[0])))) for p in parts]


def test_it_opens_on_an_edit_and_a_slider_changes_the_edit_alone(view):
    first = next(iter(view.left.names))
    assert not view.say.value and view.sliders[first].value == 1.0 and view.face.labels[first] == 0
    assert "other verdicts stay" in view.stage.value and "exact answer" in view.stage.value and "study-change" in view.details.value
    view.again.click()
    before = images_of(view.stage.value)
    assert np.array_equal(*before) and "nothing asked for" in view.stage.value
    view.sliders[first].value = 0.5
    after = images_of(view.stage.value)
    assert np.array_equal(before[0], after[0]) and not np.array_equal(before[1], after[1])


def named(view, method: str) -> str:
    return next(name for _, name in view.method.options if name.startswith(method))


def test_two_methods_stand_side_by_side_on_the_same_sliders(view):
    view.method.value = named(view, "sagan")
    view.again.click()
    view.sliders["Eyeglasses"].value = 0.35
    view.other.value = named(view, "sggan")
    assert view.sliders["Eyeglasses"].value == 0.35 and len(images_of(view.stage.value)) == 3, "nothing is lost"
    assert [m.short for m, *_ in view.shown] == ["SaGAN", "SG-GAN"] and view.shown[0][1].wanted == {"Eyeglasses": 0.35}
    view.sliders["Male"].value = 1 - view.face.labels["Male"]
    assert view.shown[1][1].wanted.keys() == {"Male"}
    assert "SaGAN does not edit Male" in view.stage.value and "SG-GAN does not edit Eyeglasses" in view.stage.value
    assert "condition itself" in view.about.value and "blended pixel by pixel" in view.about.value


def test_photographs_are_edited_and_bad_input_loses_nothing(view):
    content, eyes = snapshot(5)
    view.method.value, view.source.value = named(view, "sagan"), "astronaut"
    assert view.face.labels["Smiling"] == 1 and "learned from drawn faces alone" in view.about.value
    view.source.value = "photo"
    assert "Choose a picture" in view.say.value
    view.photo.content = content
    assert "click on the centre of both eyes" in view.say.value and view.face.title.startswith("an astronaut")
    view.photo.eyes = [v for eye in eyes for v in eye]
    assert view.face.title == "your photo" and not view.say.value
    view.sliders["Smiling"].value = 0.5
    kept = view.stage.value
    assert "your photo" in kept
    for content, words in ((b"nonsense", "not a picture"), (png((9000, 9000), "1"), "huge")):
        view.photo.content = content
        assert words in view.say.value and 'role="alert"' in view.say.value and view.stage.value == kept
    view.photo.problem = ["This file is not a picture that can be read.", 1]
    assert 'role="alert"' in view.say.value and view.stage.value == kept and view.face.title == "your photo"


def test_weights_of_real_faces_say_what_they_may_be_used_for(view, natural, tmp_path):
    folder = trained(*natural, tmp_path, "resgan", attribute="Smiling")
    record = json.loads((folder / "model.json").read_text())
    record["data"] |= {"name": "celeba", "publishable": False, "licence": models.LICENCE[False]}
    (folder / "model.json").write_text(json.dumps(record))
    view = controls.Explorer(tmp_path)
    view.source.value = "astronaut"
    assert "non-commercial" in view.about.value and "No trained judges" not in view.stage.value
    view.sliders["Smiling"].value = 0.0
    assert "No trained judges" in view.stage.value


def test_an_unexpected_error_is_seen(view, monkeypatch):
    monkeypatch.setattr(explorer, "edit", lambda *_: 1 / 0)
    next(iter(view.sliders.values())).value = 0.5
    assert "That failed: ZeroDivisionError" in view.say.value


# ---------------------------------------------------------------------------------------------- the page without a kernel


def test_the_page_moves_from_disk_with_the_network_blocked(tmp_path, monkeypatch, results):
    outputs = []
    monkeypatch.setattr(controls, "display", lambda html: outputs.append(v4.new_output("display_data", {"text/html": html.data})))
    monkeypatch.setattr(controls, "TOGETHER", 2)
    controls.page(results)
    cell = v4.new_code_cell("page", outputs=outputs, execution_count=1, id="page")
    write(v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "python"}}), tmp_path / "n.ipynb")
    file = report.render(tmp_path / "n.ipynb", tmp_path / "explorer.html", title="Faces", provenance={})
    with open_page(file) as opened:
        figure = opened.page.locator("figure.study-slider").first
        assert "glasses on" in figure.inner_text().lower() and "SaGAN" in figure.inner_text() and "exact answer" in figure.inner_text()
        before = figure.locator(".study-stage").screenshot()
        figure.locator("input[type=range]").press("Home")
        assert figure.locator(".study-stage").screenshot() != before and not opened.blocked and not opened.errors


# ---------------------------------------------------------------------------------------------- in a browser


PIXELS = """img => { const c = document.createElement('canvas'); c.width = img.naturalWidth; c.height = img.naturalHeight;
c.getContext('2d').drawImage(img, 0, 0); return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data); }"""


def pixels_of(page, what: str) -> np.ndarray:
    return np.array(page.locator(f".study-explorer .study-{what} img").first.evaluate(PIXELS), float)


def played(page) -> None:
    """What a reader does in either place: a slider by keyboard, many presses at once, a photo, and what is none."""
    page.set_default_timeout(60_000)
    stage = page.locator(".study-explorer .study-big")
    slider = page.locator(".study-sliders .widget-slider").first
    name = slider.locator("label").inner_text()
    stage.locator("img").nth(1).wait_for()
    before, after = pixels_of(page, "before"), pixels_of(page, "after")
    for _ in range(8):  # faster than pictures are made: the last value counts
        slider.locator("[role=slider]").press("ArrowLeft")
    stage.get_by_text(f"{name} 0.60").first.wait_for()
    assert np.array_equal(pixels_of(page, "before"), before) and not np.array_equal(pixels_of(page, "after"), after)
    content, eyes = snapshot(8)
    page.get_by_text("Another face, or your own photo").click()
    page.get_by_role("button", name="your own photo").click()
    chooser = page.locator(".study-photo input[type=file]")
    chooser.set_input_files({"name": "me.png", "mimeType": "image/png", "buffer": content})
    image = page.locator(".study-photo-stage img")
    page.get_by_text("Click on the centre of the eye on the left").wait_for()
    image.scroll_into_view_if_needed()
    for x, y in eyes:
        box = image.bounding_box()
        image.click(position={"x": box["width"] * x, "y": box["height"] * y})
    stage.get_by_text("your photo").first.wait_for()
    mine = pixels_of(page, "before")
    assert np.corrcoef(mine, before)[0, 1] < 0.95
    for content, words in ((b"no picture at all", "not a picture"), (png((9000, 9000), "1"), "huge")):
        chooser.set_input_files({"name": "bad.png", "mimeType": "image/png", "buffer": content})
        page.locator(".study-say[role=alert]").get_by_text(words).wait_for()
        assert np.array_equal(pixels_of(page, "before"), mine)


@pytest.fixture(scope="module")
def home(tmp_path_factory, results):
    """A folder with the notebook, which looks at the tiny models; and the environment of a server."""
    folder = tmp_path_factory.mktemp("home")
    text = (ROOT / "notebooks" / "95_explorer.ipynb").read_text()
    (folder / "explorer.ipynb").write_text(text.replace('results: str = \\"\\"', f'results: str = \\"{results}\\"'))
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    return folder, os.environ | own | {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_PATH": str(ROOT / "lib" / "explorer" / "jupyter")}


@contextmanager
def opened_in(home, command: list[str], address: str, width: int = 1280):
    """A page of a server, whose command and address say PORT."""
    folder, env = home
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    with browser() as chromium, (folder / f"log-{port}").open("w") as log:
        command = [sys.executable, "-m", *(part.replace("PORT", port) for part in command), "--no-browser", f"--port={port}"]
        server = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
        try:
            for _ in range(900):
                assert server.poll() is None, Path(log.name).read_text()[-2000:]
                with socket.socket() as s:
                    if s.connect_ex(("127.0.0.1", int(port))) == 0:
                        break
                time.sleep(0.1)
            with open_page(f"http://127.0.0.1:{port}/{address}", chromium=chromium, width=width) as opened:
                opened.page.set_default_timeout(120_000)
                yield opened
        finally:
            server.terminate()
            server.wait(20)


def test_in_jupyterlab(home):
    pytest.importorskip("jupyterlab")
    options = ["--ServerApp.token=", "--ServerApp.password=", "--allow-root", f"--notebook-dir={home[0]}"]
    options += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"]
    with opened_in(home, ["jupyterlab", *options], "lab/tree/explorer.ipynb?reset") as opened:
        idle = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        opened.page.wait_for_function(idle)
        opened.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        played(opened.page)
        opened.page.wait_for_function(idle)
        opened.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        # JupyterLab asks its server for things that come and go; what the widgets run is in the page already
        errors = [error for error in opened.errors if not error.startswith("Failed to load resource")]
        assert not errors and '"output_type": "error"' not in (home[0] / "explorer.ipynb").read_text()


def test_in_voila(home):
    pytest.importorskip("voila", reason="Voila is not installed: pip install -e '.[explore]'")
    options = [str(home[0] / "explorer.ipynb"), "--Voila.ip=127.0.0.1", "--template=study"]
    with opened_in(home, ["voila", *options], "", width=800) as opened:
        picture = opened.page.locator(".study-explorer .study-after img")
        picture.wait_for()
        box = picture.bounding_box()
        assert box["y"] + box["height"] < 900 and box["width"] > 250, "a large picture stands on the first screen"
        played(opened.page)
        assert not opened.errors and not opened.blocked
        assert opened.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth + 1"), "nothing runs out of the page"

"""The explorer: every method plays, wrong files and photos get a sentence, and it works in JupyterLab, in Voila and as a page without a kernel."""

import base64
import dataclasses
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import browser, open_page
from PIL import Image

from benchmarks.explorer import untrained
from lib import run, synthetic
from lib.explorer.models import models as explorer
from lib.explorer.models import controls as explorer_view
from lib.explorer.models import photo
from lib.pages import report
from lib.explorer.models import ExplorerError
from lib.sources import ROOT

METHODS = ("sagan", "atigan", "diat", "sggan", "bridgegan", "stargan", "cyclegan", "resgan")
BETWEEN = {"sagan": "condition", "atigan": "condition", "stargan": "condition", "bridgegan": "condition", "diat": "outputs", "sggan": "outputs",
           "cyclegan": "input", "resgan": "input"}  # fmt: skip


def make_run(root: Path, method: str, run_id: str = "synthetic-smoke-s0-00000000", size: int = 32, **record) -> Path:
    return untrained(root, method, size, "smoke", run_id, **record)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    for method in METHODS:
        make_run(root, method)
    return root


@pytest.fixture(scope="module")
def runs(results):
    return {r.method: r for r in explorer.found(results)[0]}


# ---------------------------------------------------------------------------------------------- runs and models


def test_every_method_with_an_editor_is_found(results, runs):
    (results / "phi" / "one").mkdir(parents=True)
    (results / "phi" / "one" / "checkpoint.safetensors").touch()
    for name in ("run.json", "config.json"):
        (results / "phi" / "one" / name).write_text('{"paper": "phi"}')
    have = {p.stem for package in ("papers", "baselines") for p in (ROOT / "lib" / package).glob("*.py") if "def editor(" in p.read_text()}
    assert have == set(METHODS) == runs.keys() and not explorer.found(results)[1]
    assert all(r.label.startswith(explorer.short(explorer.module_of(r.method))) for r in runs.values())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_plays(runs, method):
    model, face = explorer.load_model(runs[method]), explorer.drawn(2)
    x = face.at(model.size)
    assert model.between == BETWEEN[method]
    own = {a: face.labels[a] for a in model.names}
    assert torch.equal(explorer.edit(model, face, own).y, x), "what the face has already is left alone"
    two = {a: 1.0 - own[a] for a in list(model.names)[:2]}
    for mode in model.modes:
        shown = explorer.edit(model, face, two, mode)
        assert shown.y.shape == x.shape and shown.y.abs().max() <= 1 and shown.wanted == two and not shown.missing
        assert (shown.reference is not None) == (mode in model.referenced)
        assert set(explorer.panels(shown)) >= {"input", "edited", "residual"}
    assert (shown.mask is not None) == (method == "sagan")
    assert explorer.edit(model, face, {"No_Such": 1.0}).missing == ("No_Such",)


def test_the_reference_is_the_one_that_was_picked(runs):
    model, face = explorer.load_model(runs["bridgegan"]), explorer.drawn(2)
    assert model.referenced == ("reference", "between") and model.modes[0] == "label"
    first = next(iter(model.names))
    shown = explorer.edit(model, face, {first: 1.0 - face.labels[first]}, "reference", reference=7)
    assert torch.equal(shown.reference, explorer.drawn(7).at(32))
    with pytest.raises(ExplorerError, match="must know what the face has"):  # a photo without a judge
        explorer.edit(model, dataclasses.replace(face, labels=None), {first: 1.0})


def test_one_way_models_say_so(runs):
    assert explorer.load_model(runs["diat"]).only == {"Eyeglasses": 0, "Male": 0, "Young": 1}


def test_what_is_shipped_edits_alike_is_small_and_does_not_replace_a_checkpoint(tmp_path, monkeypatch):
    folders = [make_run(tmp_path, method) for method in ("sagan", "atigan", "diat")]
    make_run(tmp_path, "stargan", "folder-smoke-s0-1", publishable=False)
    face, before = explorer.drawn(4), {}
    for folder in folders:
        model = explorer.load_model(folder)
        before[folder] = {a: explorer.edit(model, face, {a: 1.0 - face.labels[a]}).y for a in model.names}
    assert len(explorer.ship(tmp_path)) == 3 and not explorer.ship(tmp_path), "what is up to date stays"
    assert sorted(p.parent for p in tmp_path.rglob(explorer.SHIPPED)) == sorted(folders)
    for folder in folders:
        assert (folder / explorer.SHIPPED).stat().st_size < 0.6 * (folder / "checkpoint.safetensors").stat().st_size
        (folder / "checkpoint.safetensors").unlink()
        model = explorer.load_model(folder)
        assert model.found.file.name == explorer.SHIPPED
        for a, y in before[folder].items():
            assert (explorer.edit(model, face, {a: 1.0 - face.labels[a]}).y - y).abs().mean() < 0.01, (folder, a)
    monkeypatch.setattr(explorer, "MAX_BYTES", 1000)
    make_run(tmp_path, "resgan")
    with pytest.raises(ExplorerError, match="too much to commit"):
        explorer.ship(tmp_path)


def test_committed_weights_are_small_of_drawn_faces_and_play():
    tracked = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    files = [ROOT / p for p in tracked if p.endswith(".safetensors")]
    assert all(f.name == explorer.SHIPPED or f.parent.name == "judges" for f in files)
    for file in (f for f in files if f.exists()):
        assert file.stat().st_size <= explorer.MAX_BYTES, file
        if file.name == explorer.SHIPPED:
            record = json.loads((file.parent / "run.json").read_text())
            assert record["publishable"] and not record["scratch"] and record["data"].startswith("synthetic"), file
            found = explorer.Found(file.parent, file, record, json.loads((file.parent / "config.json").read_text()))
            explorer.load_model(found)


def test_wrong_weights_get_a_sentence(tmp_path, results):
    own = make_run(tmp_path, "sagan")
    explorer.ship(tmp_path)
    big = make_run(tmp_path, "sagan", "synthetic-smoke-s0-big", size=64)
    explorer.ship(tmp_path)

    def sentence(folder):
        with pytest.raises(ExplorerError) as error:
            explorer.load_model(folder)
        return str(error.value)

    right = (own / "checkpoint.safetensors").read_bytes()
    (own / "checkpoint.safetensors").write_bytes((results / "stargan" / own.name / "checkpoint.safetensors").read_bytes())
    assert "another paper's" in sentence(own)
    (own / "checkpoint.safetensors").write_bytes(b"no weights")
    assert "not a readable file of weights" in sentence(own)
    (own / "checkpoint.safetensors").unlink()
    explorer.load_model(own)
    (own / explorer.SHIPPED).write_bytes((big / explorer.SHIPPED).read_bytes())
    assert "another resolution" in sentence(own)
    make_run(tmp_path, "cyclegan")
    explorer.ship(tmp_path)
    (own / explorer.SHIPPED).write_bytes((tmp_path / "cyclegan" / own.name / explorer.SHIPPED).read_bytes())
    assert "another paper" in sentence(own)
    (own / "checkpoint.safetensors").write_bytes(right)
    assert explorer.load_model(own).title == "SaGAN"
    record = json.loads((own / "run.json").read_text())
    other = record | {"checkpoint_sha256": hashlib.sha256((tmp_path / "cyclegan" / own.name / "checkpoint.safetensors").read_bytes()).hexdigest()}
    (own / "run.json").write_text(json.dumps(other))
    (own / "checkpoint.safetensors").write_bytes((tmp_path / "cyclegan" / own.name / "checkpoint.safetensors").read_bytes())
    assert "does not hold this configuration's networks" in sentence(own)
    (own / "run.json").write_text("{")
    assert any(own.name in problem for problem in explorer.found(tmp_path)[1])
    assert "no run of that name" in sentence("nothing/at-all")


# ---------------------------------------------------------------------------------------------- photos


def snapshot(turn: float = 0.0, side: int = 256) -> tuple[bytes, tuple]:
    """A drawn face pasted, turned by some degrees, into a larger picture that stands for a photo; and its eyes as shares of width and height."""
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


def test_a_photo_is_aligned_by_its_eyes():
    faces = synthetic.sample(0, range(2_000_003, 2_000_004))
    for size in (32, 64):
        truth = ((synthetic.render(faces, size)[0] + 1) * 127.5).numpy()
        lies = synthetic.landmarks5(faces, size)[0, :2].numpy()
        wanted = np.array(photo.EYES) * (size / 178) - (0, 20 * size / 178)
        middle = slice(size // 4, 3 * size // 4)
        for turn in (0, 12, -25):
            content, eyes = snapshot(turn)
            got = photo.align(photo.read_photo(content), eyes, size).astype(float)
            # a drawn face's eyes do not lie exactly where the mean face's do: bring the truth there as well, by whole pixels at most
            assert np.abs(lies - wanted).max() < 0.06 * size
            assert np.corrcoef(got[:, middle, middle].ravel(), truth[:, middle, middle].ravel())[0, 1] > 0.8, (size, turn)


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


def png(size, mode="RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "png")
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
    with pytest.raises(ExplorerError, match="cannot be read"):
        explorer.photo("no-such-file.png", good)


def test_a_photo_stands_as_its_camera_note_says():
    image = Image.new("RGB", (60, 40), "red")
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", exif=exif)
    assert photo.read_photo(buffer.getvalue()).size == (40, 60)


def test_dlib_finds_eyes_where_it_is_installed(monkeypatch):
    image = Image.new("RGB", (100, 100))
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ExplorerError, match="Click on the eyes"):
        photo.find_eyes(image)
    corners = [(70, 40), (60, 40), (30, 42), (40, 42), (50, 60)]
    box = types.SimpleNamespace(area=lambda: 9)
    shape = types.SimpleNamespace(part=lambda k: types.SimpleNamespace(x=corners[k][0], y=corners[k][1]))
    boxes = [box]
    fake = types.SimpleNamespace(get_frontal_face_detector=lambda: lambda *_: boxes, shape_predictor=lambda _: lambda *_: shape)
    monkeypatch.setitem(sys.modules, "dlib", fake)
    monkeypatch.setitem(sys.modules, "face_recognition_models", types.SimpleNamespace(pose_predictor_five_point_model_location=lambda: ""))
    assert photo.find_eyes(image) == ((0.35, 0.42), (0.65, 0.4))
    boxes.clear()
    with pytest.raises(ExplorerError, match="No face was found"):
        photo.find_eyes(image)


# ---------------------------------------------------------------------------------------------- the controls, without a browser


class ReadingJudge:
    """Sees eyeglasses in dark pictures and nothing else."""

    names, id = ("Eyeglasses", "Smiling", "Goatee"), "0"

    def probabilities(self, x):
        dark = torch.sigmoid(-20 * x.mean((1, 2, 3)))
        return torch.stack([dark, torch.full_like(dark, 0.9), torch.zeros_like(dark)], 1).numpy()

    def trusted(self):
        return self.names


@pytest.fixture
def view(runs, monkeypatch):
    monkeypatch.setattr(explorer, "judges_of", lambda run: (ReadingJudge(), None))
    return explorer_view.Explorer([runs[m] for m in ("sagan", "sggan", "bridgegan")])


def images_of(html: str) -> list[np.ndarray]:
    parts = html.split("data:image/png;base64,")[1:]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(p.split('"')[0])))) for p in parts]


def test_a_slider_changes_the_edit_and_only_it(view):
    before = images_of(view.stage.value)
    assert not view.say.value and np.array_equal(before[0], before[1]) and "nothing asked for" in view.stage.value
    view.sliders["Eyeglasses"].value = 1 - explorer.drawn(1).labels["Eyeglasses"]
    after = images_of(view.stage.value)
    assert np.array_equal(before[0], after[0]) and not np.array_equal(before[1], after[1])
    assert 'data-name="Eyeglasses"' in view.stage.value and "asked" in view.stage.value and "other verdicts" in view.stage.value
    view.again.click()
    assert all(np.array_equal(a, b) for a, b in zip(before, images_of(view.stage.value), strict=True))


def test_two_methods_stand_side_by_side_on_the_same_sliders(view):
    view.sliders["Eyeglasses"].value = 0.35
    view.other.value = next(name for label, name in view.other.options if name.startswith("sggan"))
    assert view.sliders["Eyeglasses"].value == 0.35, "nothing is lost"
    assert [m.title for m, *_ in view.results] == ["SaGAN", "SG-GAN"] and view.results[0][1].wanted == {"Eyeglasses": 0.35}
    theirs = next(a for a in view.right.names if a not in view.left.names)
    view.sliders[theirs].value = 1 - explorer.drawn(1).labels[theirs]
    assert view.results[1][1].wanted.keys() == {theirs}
    assert f"SaGAN does not edit {theirs.replace('_', ' ')}" in view.stage.value and "SG-GAN does not edit Eyeglasses" in view.stage.value
    assert "condition itself" in view.about.value and "blended pixel by pixel" in view.about.value


def test_the_code_cell_makes_the_same_picture(view, results, monkeypatch):
    view.sliders["Eyeglasses"].value = 0.4
    view.copy.click()
    monkeypatch.setattr(explorer, "places", lambda: (results,))
    shown = []
    exec(view.code.value, {"display": shown.append})
    assert np.array_equal(np.asarray(shown[0]), np.asarray(explorer.picture(view.results[0][1])))


def test_a_photo_is_edited_and_bad_input_loses_nothing(view):
    content, eyes = snapshot(5)
    view.source.value = "photo"
    assert "Choose a picture" in view.say.value
    view.photo.content = content
    assert "click on the centre of both eyes" in view.say.value and view.face.title == "drawn face 1"
    view.photo.eyes = [v for eye in eyes for v in eye]
    assert view.face.title == "your photo" and not view.say.value
    view.sliders["Mouth_Slightly_Open"].value = 1.0
    kept = view.stage.value
    assert "your photo" in kept and "judge=" in view.as_code()
    for content, words in ((b"nonsense", "not a picture"), (png((9000, 9000), "1"), "huge")):
        view.photo.content = content
        assert words in view.say.value and 'role="alert"' in view.say.value and view.stage.value == kept
    view.photo.problem = "This file is not a picture that can be read."
    assert 'role="alert"' in view.say.value and view.stage.value == kept
    view.source.value, view.data.value = "set", "no/such/folder"
    view.open.click()
    assert "no such folder" in view.say.value and view.stage.value == kept and view.face.title == "your photo"


def test_a_broken_run_leaves_the_one_that_works(runs, results, tmp_path):
    folder = make_run(tmp_path, "resgan")
    (folder / "checkpoint.safetensors").write_bytes(b"no weights")
    broken = explorer.found(tmp_path)[0][0]
    view = explorer_view.Explorer([runs["sagan"], broken])
    kept, chosen = view.stage.value, view.method.value
    view.method.value = broken.name
    assert "not a readable file" in view.say.value and view.stage.value == kept and view.method.value == chosen


def test_an_unexpected_error_is_seen(view, monkeypatch):
    monkeypatch.setattr(explorer, "edit", lambda *_: 1 / 0)
    view.sliders["Eyeglasses"].value = 0.5
    assert "That failed: ZeroDivisionError" in view.say.value


def test_nothing_trained_yet_offers_training_and_shows_its_progress(monkeypatch, tmp_path):
    monkeypatch.setattr(explorer, "places", lambda: (tmp_path,))
    view = explorer_view.Explorer()
    assert "No trained method" in view.say.value and len(view.untrained.options) == 5 and not view.stage.value
    program = (
        "import sys,time\n"
        "for k in range(4): sys.stderr.write(f'\\rEyeglasses:  {25*k}%|##   | {k}/4 [00:01<00:03]'); sys.stderr.flush(); time.sleep(.2)\n"
        "sys.exit(int(sys.argv[1]))"
    )
    for code, words in (("0", "done"), ("3", "ended before its time")):
        view._background([sys.executable, "-c", program, code], "sagan", lambda: False)
        seen = set()
        for _ in range(200):
            seen.add(view.progress.value)
            if words in view.step.value:
                break
            time.sleep(0.05)
        assert words in view.step.value and 0.75 in seen and not view.train.disabled
    assert explorer_view.progress_of("a: 10%|# | 1/10 [x]\rb (D): 50%|## | 3/6 [y]") == ("b (D)", 3, 6) and explorer_view.progress_of("none") is None


# ---------------------------------------------------------------------------------------------- the page without a kernel


def test_the_page_moves_from_disk_with_the_network_blocked(tmp_path, monkeypatch, runs):
    """Frames of two untrained methods through the report, as `python -m lib.run explorer` makes them."""
    from nbformat import v4, write

    outputs = []
    for method in ("sagan", "sggan"):
        for html in explorer_view.frames(explorer.load_model(runs[method]), steps=5, side=3):
            outputs.append(v4.new_output("display_data", {"text/html": html.data}))
    cell = v4.new_code_cell("frames", outputs=outputs, execution_count=1)
    cell.id = "frames"
    write(v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "python"}}), tmp_path / "n.ipynb")
    page_file = report.render(tmp_path / "n.ipynb", tmp_path / "explorer.html", title="Faces", provenance={})
    assert page_file.stat().st_size < report.MAX_BYTES
    with open_page(page_file) as opened:
        page = opened.page
        assert page.locator("figure.study-slider").count() == 6 and page.locator("figure[data-kind=pad]").count() == 2
        assert all(len(alt) > 20 for alt in page.locator("figure.study-slider img").evaluate_all("all => all.map(i => i.alt).filter(a => a)"))
        for figure in (page.locator("figure[data-kind=slider]").first, page.locator("figure[data-kind=pad]").first):
            knob = figure.locator("input[type=range]").last
            before = figure.locator(".study-stage").screenshot()
            knob.focus()
            knob.press("End")
            assert figure.locator(".study-stage").screenshot() != before
        assert not opened.blocked and not opened.errors


def test_the_committed_page_moves(tmp_path):
    page_file = ROOT / "reports" / "explorer.html"
    if not page_file.exists():
        pytest.skip("reports/explorer.html is not there: python -m lib.run explorer makes it")
    assert page_file.stat().st_size < 4_000_000
    with open_page(page_file) as opened:
        knob = opened.page.locator("input[type=range]").first
        stage = opened.page.locator(".study-stage").first
        before = stage.screenshot()
        knob.focus()
        knob.press("End")
        assert stage.screenshot() != before and not opened.blocked and not opened.errors


def test_the_command_line_knows_the_explorer():
    assert "explorer" in run.NAMES and run.parameters("explorer", [("profile", "cpu")])["frames"] is False


# ---------------------------------------------------------------------------------------------- in a browser


PIXELS = """img => { const c = document.createElement('canvas'); c.width = img.naturalWidth; c.height = img.naturalHeight;
c.getContext('2d').drawImage(img, 0, 0); return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data); }"""


def pixels_of(page, what: str) -> np.ndarray:
    return np.array(page.locator(f".study-explorer .study-{what} img").first.evaluate(PIXELS), float)


def move(page, attribute: str, key: str) -> None:
    """Press a key on the slider of an attribute, as somebody without a mouse does."""
    name = attribute.replace("_", " ")
    knob = page.locator(".study-sliders .widget-slider").filter(has_text=name).locator("[role=slider]")
    knob.focus()
    knob.press(key)


def played(page) -> None:
    """What a reader does in either place: a slider by keyboard, many presses at once, a photo, and what is no photo."""
    page.set_default_timeout(60_000)
    stage = page.locator(".study-explorer .study-method")
    stage.locator("img").first.wait_for()
    menu = page.locator(".study-explorer select").first
    label = next(text for text in menu.locator("option").all_inner_texts() if text.startswith("SaGAN"))  # the committed one, if there is one
    menu.select_option(label=label)
    stage.get_by_text("SaGAN on drawn face 1").wait_for()
    judged = stage.locator(".study-bar[data-name=Eyeglasses]").count() > 0
    before, same = pixels_of(page, "edited"), pixels_of(page, "input")
    assert np.array_equal(before, same)
    move(page, "Eyeglasses", "End")
    stage.get_by_text("Eyeglasses 1.00").first.wait_for()
    after = pixels_of(page, "edited")
    assert np.array_equal(pixels_of(page, "input"), same) and np.abs(after - before).max() > 8
    if judged and "profile smoke" not in label:
        assert float(stage.locator(".study-bar[data-name=Eyeglasses]").get_attribute("data-value")) > 0.5
    for _ in range(12):  # faster than pictures are made: the last value counts
        move(page, "Eyeglasses", "ArrowLeft")
    stage.get_by_text("Eyeglasses 0.40").first.wait_for()
    content, eyes = snapshot(8)
    page.get_by_role("button", name="your own photo").click()
    chooser = page.locator(".study-photo input[type=file]")
    chooser.set_input_files({"name": "me.png", "mimeType": "image/png", "buffer": content})
    image = page.locator(".study-photo-stage img")
    image.wait_for()
    page.get_by_text("Click on the centre of the eye on the left").wait_for()
    image.scroll_into_view_if_needed()
    for x, y in eyes:
        box = image.bounding_box()
        image.click(position={"x": box["width"] * x, "y": box["height"] * y})
    stage.get_by_text("your photo").first.wait_for()
    assert np.corrcoef(pixels_of(page, "input"), same)[0, 1] < 0.95
    mine = pixels_of(page, "input")
    move(page, "Smiling" if page.locator(".study-sliders").get_by_text("Smiling").count() else "Eyeglasses", "Home")
    for content, words in ((b"no picture at all", "not a picture"), (png((9000, 9000), "1"), "huge")):
        chooser.set_input_files({"name": "bad.png", "mimeType": "image/png", "buffer": content})
        page.locator(".study-say[role=alert]").get_by_text(words).wait_for()
        assert np.array_equal(pixels_of(page, "input"), mine)
    with page.expect_download() as saved:
        page.get_by_text("save the picture").click()
    assert Image.open(saved.value.path()).height == 4 * round(len(mine) ** 0.5 / 2)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An environment with a cache of its own in which one more, untrained, run lies: so there is always something to play."""
    folder = tmp_path_factory.mktemp("home")
    make_run(folder / "cache" / "explorer", "sagan", "synthetic-smoke-s0-11111111", started="2000")
    own = {"STUDY_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    own |= {
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_PATH": str(ROOT / "lib" / "explorer" / "jupyter"),
    }
    return folder, os.environ | own


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def served(command: list[str], port: int, env: dict, cwd: Path):
    """A server that answers on the port."""
    log = (cwd / f"log-{port}").open("w")
    server = subprocess.Popen(command, env=env, cwd=cwd, stdout=log, stderr=log)
    for _ in range(900):
        assert server.poll() is None, (cwd / f"log-{port}").read_text()[-2000:]
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.1)
    raise AssertionError("the server did not start")


def swallowed(notebook: Path) -> list:
    """Errors in a saved notebook's outputs and in its widgets' state."""
    nb = json.loads(notebook.read_text())
    outputs = [o for c in nb["cells"] for o in c.get("outputs", [])]
    state = nb["metadata"].get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    outputs += [o for model in state.values() for o in model["state"].get("outputs", []) or []]
    return [o for o in outputs if o["output_type"] == "error"]


def test_in_jupyterlab(home):
    pytest.importorskip("jupyterlab")
    folder, env = home
    (folder / "lab").mkdir()
    notebook = folder / "lab" / "explorer.ipynb"
    notebook.write_bytes((ROOT / "notebooks" / "95_explorer.ipynb").read_bytes())
    port = free_port()
    options = ["--no-browser", f"--port={port}", "--ServerApp.token=", "--ServerApp.password=", "--allow-root", f"--notebook-dir={folder / 'lab'}"]
    options += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"]
    with browser() as chromium:
        server = served([sys.executable, "-m", "jupyterlab", *options], port, env, folder)
        try:
            with open_page(f"http://127.0.0.1:{port}/lab/tree/explorer.ipynb?reset", chromium=chromium) as opened:
                page = opened.page
                page.set_default_timeout(90_000)
                idle = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
                page.wait_for_function(idle)
                page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
                played(page)
                page.wait_for_function(idle)
                page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
                assert not opened.errors and not swallowed(notebook)
        finally:
            server.terminate()
            server.wait(20)


def test_in_voila(home):
    pytest.importorskip("voila", reason="Voila is not installed: pip install -e '.[explore]'")
    folder, env = home
    port = free_port()
    options = [str(ROOT / "notebooks" / "95_explorer.ipynb"), "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1", "--template=study"]
    with browser() as chromium:
        server = served([sys.executable, "-m", "voila", *options], port, env, folder)
        try:
            with open_page(f"http://127.0.0.1:{port}/", chromium=chromium, width=800) as opened:
                opened.page.set_default_timeout(120_000)
                opened.page.locator(".study-explorer .study-method img").first.wait_for()
                played(opened.page)
                assert not opened.errors and not opened.blocked
                assert opened.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth + 1"), "nothing runs out of the page"
        finally:
            server.terminate()
            server.wait(20)

"""notebooks/00_data.ipynb on the built-in faces and on a folder, its pages with and without pictures; data_views and the renderer's controls."""

import dataclasses
import re

import nbformat
import numpy as np
import papermill as pm
import pytest
import torch
from bs4 import BeautifulSoup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from lib import synthetic
from lib.pages import faces as data_views
from lib.pages import figures
from lib.pages import report
from lib.training import runs
from lib.pages import tables
from lib.pages import sliders as widgets
from lib.data import Crop, DataError, FaceSet, load, split_most_images, split_random
from lib.data import __main__ as data_command
from lib.data.regions import EYE_MARGIN, MEAN_LANDMARKS

NOTEBOOK = runs.ROOT / "notebooks" / "00_data.ipynb"
NUMBERS = ("rates-figure", "phi-figure", "people", "crop")  # cells whose figures show no face
PICTURES = ("contact", "attributes", "counterfactual", "landmarks", "animals", "strips", "light")


def face_set(attributes: dict, identities, **changes) -> FaceSet:
    """A set of noise pictures with the given columns."""
    n = len(identities)
    fields = {
        "name": "made", "images": np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), np.uint8), "identities": np.array(identities),
        "attributes": np.array(list(attributes.values()), np.uint8).T, "attribute_names": tuple(attributes), "landmarks": None,
        "landmark_source": "none", "files": tuple(f"{i}.png" for i in range(n)), "crop": Crop(32), "fingerprint": "f", "publishable": False,
    }  # fmt: skip
    return FaceSet(**fields | changes)


# ---- the notebook ----


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("STUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.delenv("MPLBACKEND", raising=False)
    yield
    patch.undo()


def run(folder, **parameters):
    out = folder / "notebook.ipynb"
    pm.execute_notebook(
        str(NOTEBOOK), str(out), parameters={"size": 32, "out": str(folder / "figures")} | parameters, cwd=str(NOTEBOOK.parent),
        progress_bar=False, shutdown_kernel="immediate",
    )  # fmt: skip
    nb = nbformat.read(out, 4)
    state = nb.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert any(m["model_name"] == "ToggleButtonModel" for m in state.values()), "the controls were made"
    assert not [o for m in state.values() for o in m["state"].get("outputs", []) if o["output_type"] == "error"]
    return out, {cell.id: cell for cell in nb.cells}


def page(notebook, images: bool) -> BeautifulSoup:
    out = notebook.with_name(f"page-{images}.html")
    return BeautifulSoup(report.render(notebook, out, title="The faces", provenance={"data": "a set"}, images=images).read_text(), "html.parser")


def column(cell, place: int) -> list[str]:
    """Texts of one column of the table that a cell shows."""
    rows = BeautifulSoup(cell.outputs[-1].data["text/html"], "html.parser").find("tbody").find_all("tr")
    return [row.find_all("td")[place].get_text() for row in rows]


def described(soup) -> list:
    pictures = soup.find_all("img")
    assert all(len(i["alt"]) > 20 for i in pictures)
    return pictures


def test_the_pages_of_the_built_in_faces(cache, tmp_path):
    notebook, cells = run(tmp_path, faces=300)
    faces = load("synthetic", 32, n=300)
    assert column(cells["rates"], 0) == list(synthetic.ATTRIBUTES)
    assert column(cells["rates"], 1) == [str(k) for k in faces.attributes.sum(0)]
    assert column(cells["rates"], 2) == [f"{100 * share:.1f} %" for share in faces.attributes.mean(0)]
    assert column(cells["rates"], 5) == [f"{100 * share:.1f} %" for share in synthetic.CELEBA_RATES.values()]
    assert column(cells["splits"], 5) == [s.checksum[:16] for s in (split_most_images(faces), split_random(faces, 0))]
    assert faces.fingerprint in column(cells["load"], 1)
    kept = {p.name: Image.open(p).text["Faces"] for p in (tmp_path / "figures").iterdir()}
    assert kept == dict.fromkeys(("contact.png", "attributes.png", "counterfactuals.png", "landmarks.png", "animals.png"), "yes") | dict.fromkeys(
        ("rates.png", "correlations.png", "people.png", "crop.png"), "no"
    )
    soup = page(notebook, images=True)
    assert len(described(soup)) == len(kept) + 3 and len(soup.select("figure.study-slider")) == 3
    assert data_views.SYNTHETIC_ONLY not in soup.get_text() and report.WITHHELD not in soup.get_text()
    assert "Live in JupyterLab" not in soup.get_text(), "the controls' cell is not part of the page"


def test_the_pages_of_a_folder_publish_numbers_only(cache, tmp_path):
    """Synthetic faces written as a folder in CelebA's layout stand for real ones."""
    folder = tmp_path / "celeba"
    assert data_command.main(["synthetic", "--n", "200", "--out", str(folder), "--size", "32", "--seed", "3"]) == 0
    notebook, cells = run(tmp_path, data=str(folder))
    shares = load("synthetic", 32, n=200, seed=3).attributes.mean(0)
    assert column(cells["rates"], 2) == [f"{100 * share:.1f} %" for share in shares]
    assert {p.name for p in (tmp_path / "figures").rglob("*.png")} == {"rates.png", "correlations.png", "people.png", "crop.png"}
    assert not any("no-faces" in cells[name].metadata.get("tags", []) for name in PICTURES)
    shown, bare = page(notebook, images=True), page(notebook, images=False)
    assert len(described(shown)) == len(NUMBERS) + 3  # contact sheet, attributes, landmarks
    expected = [cells[name].outputs[-1].data["image/png"].replace("\n", "") for name in NUMBERS]
    assert [i["src"].partition("base64,")[2] for i in described(bare)] == expected
    for name in ("contact", "attributes", "landmarks"):
        assert cells[name].outputs[-1].data["image/webp"][:400] not in str(bare)
    assert "data:image/webp" not in str(bare) and bare.get_text().count(report.WITHHELD) >= 3
    assert bare.get_text().count(data_views.SYNTHETIC_ONLY) == 4 and "may not be passed on" in bare.get_text()


# ---- numbers ----


def test_rates_with_images_and_with_people_as_the_unit():
    alone = face_set({"Male": [1, 1, 1, 0, 0, 0, 0, 0, 0, 0], "Odd": [1] * 10}, range(10))
    rates = data_views.rates(alone).set_index("attribute")
    male, odd = rates.loc["Male"], rates.loc["Odd"]
    assert male.faces == 3 and male.share == 0.3 and male.celeba == 0.417
    assert (male.ci_low, male.ci_high) == pytest.approx((0.1078, 0.6032), abs=1e-4)  # Wilson, 3 of 10
    assert male.people == pytest.approx(1.96 * np.sqrt(0.3 * 0.7 / 9))  # one image each: the sample's standard error
    assert odd.share == 1 and odd.people == 0 and np.isnan(odd.celeba)
    twins = data_views.rates(face_set({"Male": [1, 1, 0, 0]}, [7, 7, 9, 9])).iloc[0]
    assert twins.people == pytest.approx(1.96 * 0.5)  # two people who disagree: one image of each would tell as much
    assert np.isnan(data_views.rates(face_set({"Male": [1, 0]}, [7, 7])).people[0])
    text = data_views.rates_table(data_views.rates(alone))
    assert text.iloc[0].tolist() == ["Male", 3, "30.0 %", "[10.8,\u00a060.3]", "±\u00a029.9", "41.7 %", "-11.7"]
    assert text.iloc[1].tolist()[5:] == ["", ""]


def test_correlations_beside_celebas():
    faces = face_set({"Young": [1, 1, 1, 1], "Wearing_Lipstick": [0, 0, 1, 1], "Male": [1, 1, 0, 0], "Own": [1, 0, 1, 0]}, range(4))
    ours, celeba = data_views.correlations(faces)
    assert list(ours) == ["Young", "Male", "Wearing_Lipstick"], "in the renderer's order, shared ones only"
    assert ours.loc["Male", "Wearing_Lipstick"] == pytest.approx(-1) and celeba.loc["Male", "Wearing_Lipstick"] == -0.79
    assert ours.loc["Young"].isna().all() and celeba.loc["Young", "Male"] == -0.29
    (row,) = data_views.largest_differences(ours, celeba).to_numpy().tolist()  # pairs with a constant attribute have no phi
    assert row == ["Male", "Wearing_Lipstick", -1.0, -0.79, -0.21]
    strange = face_set({"A": [0, 1, 1], "B": [0, 1, 0]}, range(3))
    ours, celeba = data_views.correlations(strange)
    assert ours.loc["A", "B"] == pytest.approx(0.5) and celeba.isna().all(axis=None)
    assert data_views.largest_differences(ours, celeba).empty
    data_views.correlation_figure(ours, celeba).savefig("/dev/null", format="png")


def test_the_built_in_faces_correlate_as_celebas_do():
    state = synthetic.attributes(synthetic.sample(0, range(20_000))).numpy()
    faces = face_set(dict(zip(synthetic.ATTRIBUTES, state.T, strict=True)), [0] * len(state), images=np.zeros((1, 3, 32, 32), np.uint8))
    worst = data_views.largest_differences(*data_views.correlations(faces), k=1)
    assert abs(worst["difference"][0]) < 0.12


def test_splits_and_people():
    faces = face_set({"Male": [0] * 20}, np.repeat(range(10), 2))
    most, random = data_views.splits(faces, 5).itertuples(index=False)
    assert most[2:4] == ("16 of 8 people", "4 of 2 people") and most[5] == split_most_images(faces).checksum[:16]
    assert random[5] == split_random(faces, 5).checksum[:16]
    lonely = data_views.splits(face_set({"Male": [0, 1]}, [1, 1]), 0)
    assert lonely["rule"].str.contains("leaves a side empty").all() and (lonely["checksum begins"] == "").all()
    bars = data_views.identity_figure(face_set({"Male": [0] * 5}, [1, 1, 2, 2, 3])).axes[0].patches
    assert [bar.get_height() for bar in bars] == [0, 1, 2]
    facts = data_views.facts(faces)
    assert facts["people"] == "10 people; images of each: mean 2.0, median 2, max 2" and facts["publishable"] == "no"
    assert "mean of 100 official" in facts["attribute boxes"] and len(tables.facts(facts)) == 10


# ---- pictures ----


def pixels_of(figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_a_sheet_puts_every_picture_in_its_place():
    red, green = (np.broadcast_to(np.array(c, np.uint8), (8, 8, 3)).copy() for c in ((255, 0, 0), (0, 255, 0)))
    page = pixels_of(data_views.sheet([("", [red, None, green]), ("", [green])]))
    step = data_views.TILE + 2
    assert page.shape == (2 * step, 3 * step, 3)
    middles = page[data_views.TILE // 2 :: step, data_views.TILE // 2 :: step].tolist()
    white = [255, 255, 255]
    assert middles == [[[255, 0, 0], white, [0, 255, 0]], [[0, 255, 0], white, white]]
    labelled = pixels_of(data_views.sheet([("Male", [red])], ["with"]))
    assert labelled.shape == (22 + 24 + step, step, 3) and labelled[22 + 24 + 40, 40].tolist() == [255, 0, 0]
    assert labelled[:22].min() < 128 and labelled[22:44].min() < 64, "both labels are written"


def test_people_are_chosen_once_and_in_turn():
    faces = face_set({"Male": [1, 1, 0, 1, 1, 1]}, [4, 4, 2, 3, 1, 3])
    assert data_views.choose(faces, "Male", 1, 9).tolist() == [0, 3, 4]
    assert data_views.choose(faces, "Male", 1, 2, skip=2).tolist() == [4, 0] == data_views.choose(faces, "Male", 1, 2, skip=5).tolist()
    assert data_views.choose(faces, "Male", 0, 3).tolist() == [2]
    with pytest.raises(DataError, match="Mael.*Did you mean Male"):
        data_views.choose(faces, "Mael", 0, 3)
    sheet = pixels_of(data_views.attribute_sheet(faces, 2))  # one face without: a white place, then two with
    assert (sheet[60:100, 100:190] == 255).all() and (sheet[60:100, 10:90] != 255).any() and (sheet[60:100, 200:290] != 255).any()


def test_counterfactual_rows_hold_face_answer_and_region(tmp_path):
    faces = load("synthetic-balanced", data_views.TILE, n=60, cache_dir=tmp_path)  # drawn as large as it is shown: no pixel is resampled
    sheet = pixels_of(data_views.counterfactual_sheet(faces)).astype(int)
    tile = data_views.TILE
    for place in (synthetic.ATTRIBUTES.index(a) for a in ("Eyeglasses", "Wearing_Hat", "Mouth_Slightly_Open")):
        y = 22 + place * (tile + 26) + 24
        tiles = [sheet[y : y + tile, j * (tile + 2) : j * (tile + 2) + tile] for j in range(6)]
        for before, after, region in (tiles[:3], tiles[3:]):
            changed, white = np.abs(before - after).max(2), region.max(2) > 0
            assert 20 < white.sum() < white.size * 0.7 and changed[white].max() > 30
            assert changed[~white].max() == 0
    lonely = dataclasses.replace(faces, attributes=np.zeros_like(faces.attributes))  # nobody has anything: nothing can be removed
    assert (pixels_of(data_views.counterfactual_sheet(lonely))[46:140, 3 * (tile + 2) : 4 * (tile + 2)] == 255).all()


def test_a_sweep_moves_one_parameter_or_two(faces):
    some = faces.faces[:2]
    frames, labels = data_views.sweep(some, "yaw", steps=3)
    low = dataclasses.replace(some, yaw=torch.tensor([-1.0, -1.0]))
    assert frames.shape == (2, 3, 96, 96, 3) and labels == [["yaw -1.00", "yaw 0.00", "yaw 1.00"]]
    assert np.abs(frames[:, 0].astype(int) - figures.pixels(synthetic.render(low, 96))).max() <= 1
    grid, (across, down) = data_views.sweep(some, "tone", "light_x", steps=2)
    corner = dataclasses.replace(some[:1], tone=torch.tensor([1.0]), light_x=torch.tensor([-1.0]))
    assert grid.shape == (2, 2, 96, 96, 3) and across == ["tone 0.00", "tone 1.00"] and down == ["light_x -1.00", "light_x 1.00"]
    assert np.abs(grid[0, 1].astype(int) - figures.pixels(synthetic.render(corner, 96))[0]).max() <= 1
    assert np.abs(grid[0, 0].astype(int) - grid[0, 1]).max() > 20


def test_the_crop_is_drawn_where_the_rule_puts_it(faces):
    for own in (faces, face_set({"Male": [0, 1]}, [1, 2])):
        crop, eyes, mouth, lower = (p.get_bbox().extents for p in data_views.crop_figure(own).axes[0].patches[:4])
        assert crop.tolist() == [0, 20, 178, 198]
        (x0, y0), (x1, y1) = MEAN_LANDMARKS[:2]
        assert eyes == pytest.approx([x0 - EYE_MARGIN[0], y0 - EYE_MARGIN[1], x1 + EYE_MARGIN[0], y1 + EYE_MARGIN[1]], abs=1)
        assert mouth[1] > lower[1] == pytest.approx(MEAN_LANDMARKS[2][1], abs=1) and lower[3] == 198
        assert len(data_views.landmark_figure(own).axes) == (8 if own.faces is not None else 2)
    marks = data_views.landmark_figure(faces).axes[0].lines[0].get_xydata()
    assert marks == pytest.approx(faces.landmarks[0])


@pytest.mark.parametrize(
    ("publishable", "with_images", "expected"),
    [(True, False, {"n.png", "f.png"}), (False, False, {"n.png"}), (False, True, {"n.png", "private/f.png"})],
)
def test_a_store_keeps_no_face_that_may_not_be_published(tmp_path, publishable, with_images, expected):
    store = data_views.Store(str(tmp_path / "out"), publishable, with_images)
    figure = data_views.sheet([("", [np.zeros((8, 8, 3), np.uint8)])])
    store.figure(figure, "n", False)
    store.figure(figure, "f", True)
    assert {p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.rglob("*.png")} == expected
    data_views.Store("", publishable, with_images).figure(figure, "n", False)
    assert len(list(tmp_path.rglob("*.png"))) == len(expected)


# ---- controls ----


def controls(box) -> dict:
    found, todo = {}, [box]
    while todo:
        widget = todo.pop()
        todo += getattr(widget, "children", ())
        name = getattr(widget, "description", "") or type(widget).__name__
        found[name] = widget
    return found


def test_the_renderers_controls_draw_what_they_say(monkeypatch):
    faces = synthetic.sample(0, range(4))
    c = controls(widgets.renderer(faces, 32))
    picture, state = c["Image"], lambda: {a for a in synthetic.ATTRIBUTES if c[a.replace("_", " ")].value}
    first = picture.value
    assert state() == {a for a, on in zip(synthetic.ATTRIBUTES, faces.state[0].tolist(), strict=True) if on}
    colour = next(a for a in ("Blond_Hair", "Gray_Hair") if a not in state())
    c[colour.replace("_", " ")].value = True
    assert state() & set(synthetic.HAIR_COLOURS) == {colour} and picture.value != first, "another hair colour gives way"
    coloured = picture.value
    c["parameter"].value = "yaw"
    assert picture.value == coloured, "choosing a parameter moves nothing"
    assert float(re.match(r"[-\d.]+", c["Label"].value)[0]) == pytest.approx(faces.yaw[0].item(), abs=0.006)
    c["low to high"].value = 1.0
    assert picture.value != coloured and c["Label"].value.startswith("1.00 in [-1, 1]: head turned") and colour in state()
    c["start again"].click()
    assert picture.value == first and c["low to high"].value == pytest.approx((faces.yaw[0].item() + 1) / 2)
    c["face"].value = 2
    assert picture.value != first and state() == {a for a, on in zip(synthetic.ATTRIBUTES, faces.state[2].tolist(), strict=True) if on}
    assert {name for _, name in c["parameter"].options} == set(synthetic.ranges())

    def broken(*_):
        raise ValueError("no picture")

    monkeypatch.setattr(synthetic, "render", broken)
    with pytest.raises(ValueError, match="no picture"):
        c["low to high"].value = 0.0

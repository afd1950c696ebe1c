"""notebooks/00_data.ipynb on the built-in faces and on a folder, its pages with and without pictures; the views behind it."""

import dataclasses

import nbformat
import numpy as np
import papermill as pm
import pytest
from bs4 import BeautifulSoup
from test_data import as_folder

from lib import synthetic
from lib.data import Crop, DataError, FaceSet, eye_box, load, lower_face, make_split, mouth_box
from lib.pages import faces as views
from lib.pages import figures, report
from lib.sources import ROOT

NOTEBOOK = ROOT / "notebooks" / "00_data.ipynb"


def face_set(attributes: dict, identities, **changes) -> FaceSet:
    """A set of noise pictures with the given columns."""
    drawn = load("synthetic", 32, n=8)
    n = len(identities)
    fields = {
        "name": "made", "images": np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), np.uint8), "identities": np.array(identities),
        "attributes": np.array(list(attributes.values()), np.uint8).T, "attribute_names": tuple(attributes), "landmarks": None, "faces": None,
        "landmark_source": "none", "files": tuple(f"{i}.png" for i in range(n)), "crop": Crop(32), "publishable": False,
    }  # fmt: skip
    return dataclasses.replace(drawn, **fields | changes)


# ---- the notebook ----


def run(folder, monkeypatch, **parameters):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    out = folder / "notebook.ipynb"
    pm.execute_notebook(
        str(NOTEBOOK), str(out), parameters={"size": 32} | parameters, cwd=str(NOTEBOOK.parent), progress_bar=False,
        shutdown_kernel="immediate",
    )  # fmt: skip
    return out, {cell.id: cell for cell in nbformat.read(out, 4).cells}


def page(notebook, images: bool) -> BeautifulSoup:
    out = notebook.with_name(f"page-{images}.html")
    return BeautifulSoup(report.render(notebook, out, title="The faces", provenance={"data": "a set"}, images=images).read_text(), "html.parser")


def column(cell, place: int) -> list[str]:
    """Texts of one column of the table that a cell shows."""
    rows = BeautifulSoup(cell.outputs[-1].data["text/html"], "html.parser").find("tbody").find_all("tr")
    return [row.find_all("td")[place].get_text() for row in rows]


def test_the_page_of_the_built_in_faces(monkeypatch, tmp_path):
    notebook, cells = run(tmp_path, monkeypatch, faces=300)
    faces = load("synthetic", 32, n=300)
    assert column(cells["rates"], 0) == list(synthetic.ATTRIBUTES)
    assert column(cells["rates"], 1) == [str(k) for k in faces.attributes.sum(0)]
    assert column(cells["rates"], 5) == [f"{100 * share:.1f} %" for share in synthetic.CELEBA_RATES.values()]
    split = make_split(faces)
    assert column(cells["splits"], 1) == [str(len(rows)) for rows in (split.train, split.validation, split.test)]
    assert faces.fingerprint in column(cells["set"], 1)
    soup = page(notebook, images=True)
    assert len(soup.find_all("img")) == 6 + 3 == len([i for i in soup.find_all("img") if len(i["alt"]) > 20])
    assert len(soup.select("figure.study-slider")) == 3
    assert views.SYNTHETIC_ONLY not in soup.get_text() and report.WITHHELD not in soup.get_text()


def test_the_page_of_a_folder_publishes_numbers_only(monkeypatch, tmp_path):
    """Synthetic faces written as a folder in CelebA's layout stand for real ones."""
    faces = load("synthetic", 32, n=200, seed=3)
    notebook, cells = run(tmp_path, monkeypatch, data=str(as_folder(faces, tmp_path / "celeba")))
    assert column(cells["rates"], 2) == [f"{100 * share:.1f} %" for share in faces.attributes.mean(0)]
    shown, bare = page(notebook, images=True), page(notebook, images=False)
    expected = cells["phi-figure"].outputs[-1].data["image/png"].replace("\n", "")  # the figure that shows no face
    assert [i["src"].partition("base64,")[2] for i in bare.find_all("img")] == [expected]
    assert len(shown.find_all("img")) == 1 + 3  # contact sheet, attributes, landmarks
    assert "data:image/webp" not in str(bare) and bare.get_text().count(report.WITHHELD) >= 3
    assert bare.get_text().count(views.SYNTHETIC_ONLY) == 3 and "may not be passed on" in bare.get_text()


# ---- numbers ----


def test_rates_with_images_and_with_people_as_the_unit():
    alone = face_set({"Male": [1, 1, 1, 0, 0, 0, 0, 0, 0, 0], "Odd": [1] * 10}, range(10))
    rates = views.rates(alone).set_index("attribute")
    male, odd = rates.loc["Male"], rates.loc["Odd"]
    assert male.faces == 3 and male.share == 0.3 and male.celeba == 0.417
    assert (male.ci_low, male.ci_high) == pytest.approx((0.1078, 0.6032), abs=1e-4)  # Wilson, 3 of 10
    assert male.people == pytest.approx(1.96 * np.sqrt(0.3 * 0.7 / 9))  # one image each: the sample's standard error
    assert odd.share == 1 and odd.people == 0 and np.isnan(odd.celeba)
    twins = views.rates(face_set({"Male": [1, 1, 0, 0]}, [7, 7, 9, 9])).iloc[0]
    assert twins.people == pytest.approx(1.96 * 0.5)  # two people who disagree: one image of each would tell as much
    text = views.rates_table(views.rates(alone))
    assert text.iloc[0].tolist() == ["Male", 3, "30.0 %", "[10.8,\u00a060.3]", "±\u00a029.9", "41.7 %", "-11.7"]


def test_correlations_beside_celebas():
    faces = face_set({"Young": [1, 1, 1, 1], "Wearing_Lipstick": [0, 0, 1, 1], "Male": [1, 1, 0, 0], "Own": [1, 0, 1, 0]}, range(4))
    ours, celeba = views.correlations(faces)
    assert list(ours) == ["Young", "Male", "Wearing_Lipstick"], "in the renderer's order, shared ones only"
    assert ours.loc["Male", "Wearing_Lipstick"] == pytest.approx(-1) and celeba.loc["Male", "Wearing_Lipstick"] == -0.79
    assert np.isnan(ours.loc["Young", "Male"]), "an attribute that every face has correlates with none"


def test_the_built_in_faces_correlate_as_celebas_do():
    state = synthetic.attributes(synthetic.sample(0, range(20_000))).numpy()
    images = np.zeros((1, 3, 32, 32), np.uint8)
    faces = face_set(dict(zip(synthetic.ATTRIBUTES, state.T, strict=True)), [0] * len(state), images=images)
    ours, celeba = views.correlations(faces)
    assert np.nanmax(np.abs(ours - celeba)) < 0.12


# ---- pictures ----


def pictures_of(figure, tile: int = figures.TILE) -> list[list[np.ndarray]]:
    """The enlarged pictures of a montage of square ones, row by row."""
    canvas, (axis,) = figure.axes[0].images[0].get_array(), figure.axes
    tops = [round(tick - tile / 2) for tick in axis.get_yticks()]
    return [[canvas[i : i + tile, k : k + tile] for k in range(0, canvas.shape[1], tile + figures.GAP)] for i in tops]


def test_people_are_chosen_once_and_in_turn():
    faces = face_set({"Male": [1, 1, 0, 1, 1, 1]}, [4, 4, 2, 3, 1, 3])
    assert views.choose(faces, "Male", 1, 9).tolist() == [0, 3, 4]
    assert views.choose(faces, "Male", 1, 2, skip=2).tolist() == [4, 0] == views.choose(faces, "Male", 1, 2, skip=5).tolist()
    with pytest.raises(DataError, match="Mael.*Did you mean Male"):
        views.choose(faces, "Mael", 0, 3)
    white = [[(p == 255).all() for p in row] for row in pictures_of(views.attribute_sheet(faces, 2))]
    assert white == [[False, True, False, False]], "one face without, then two with"


def test_counterfactual_rows_hold_face_answer_and_region(tmp_path):
    faces = load("synthetic-balanced", views.TILE, n=60, cache_dir=tmp_path)  # drawn as large as it is shown: no pixel is resampled
    rows = np.array(pictures_of(views.counterfactual_sheet(faces))).astype(int)
    for place in (synthetic.ATTRIBUTES.index(a) for a in ("Eyeglasses", "Wearing_Hat", "Mouth_Slightly_Open")):
        for before, after, region in (rows[place, :3], rows[place, 3:]):
            changed, white = np.abs(before - after).max(2), region.max(2) > 0
            assert 20 < white.sum() < white.size * 0.7 and changed[white].max() > 30 and changed[~white].max() == 0


def test_boxes_and_landmarks_are_drawn_where_the_rules_put_them(faces):
    axis = views.landmark_figure(faces).axes[0]
    assert axis.lines[0].get_xydata() == pytest.approx(faces.landmarks[0])
    for rule, patch in zip((eye_box, mouth_box, lower_face), axis.patches, strict=True):
        assert rule(faces, [0]).sum() == patch.get_width() * patch.get_height()

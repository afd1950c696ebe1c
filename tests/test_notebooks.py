"""The committed notebooks keep their rules, run under papermill, and leave reports that open with no network and no
face that may not be shown."""

import ast
import base64
import io
import json
import re
import shutil
import subprocess

import nbformat
import papermill as pm
import pytest
from browser import open_page
from PIL import Image
from test_data import as_folder

from lib import run
from lib.data import load
from lib.sources import ROOT
from lib.training.config import declared, fields
from lib.training.runs import facts

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAPERS = [p.stem[3:] for p in NOTEBOOKS if p.stem[3:] in run.PAPERS]
COMMON = {"data", "profile", "seed", "device", "precision", "results", "training", "with_images", "overrides"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_only_calls(path):
    nb = nbformat.read(path, 4)
    nbformat.validate(nb)
    code = [c for c in nb.cells if c.cell_type == "code"]
    assert 3 <= len(code) <= 32
    ids = [c.id for c in nb.cells]
    assert len(set(ids)) == len(ids) and all(not i.isdigit() for i in ids), "give every cell a fixed, telling id"
    for cell in code:
        where = f"{path.name}, cell {cell.id}"
        assert not cell.outputs and cell.execution_count is None, f"{where}: strip it with nbstripout --keep-id"
        assert len(cell.source.splitlines()) <= 12, where
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.While | ast.Lambda), f"{where}: calls only"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(("/", "../", "~")), f"{where}: a path literal"
    assert "papermill" not in nb.metadata


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_agree_with_the_config(path):
    names = declared(path)
    if path.stem[3:] not in run.PAPERS:
        return  # no paper's notebook; `declared` has checked its cell
    assert COMMON <= names.keys()
    folder = ROOT / "lib" / "papers" / path.stem[3:]
    known = fields(folder / "model.py", "Config") | fields(folder / "evaluation.py", "Settings")
    for name in names.keys() - COMMON - {*run.BESIDE}:
        assert known[name] is names[name][0], name


def test_every_paper_has_a_notebook():
    assert sorted(PAPERS) == sorted(run.PAPERS)


def check_run(folder):
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "complete" and record["models"]
    for name in ("metrics.csv", "claims.csv"):
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "tables").glob("*.csv")) and list((folder / "figures").glob("*.png"))
    return record


def check_page(page, words, faces: bool):
    """It opens alone, shows formulas, describes every picture, and says the words."""
    text = page.read_text()
    for sign in ("Traceback", "/tmp/", str(ROOT), "http://", "The verdicts stand here when"):
        assert sign not in text.replace("http://www.w3.org", ""), sign
    with open_page(page) as opened:
        assert not opened.blocked and not opened.errors
        assert opened.page.locator("svg[role=img]").count() >= 5
        widths = opened.page.locator("img").evaluate_all("all => all.map(i => i.naturalWidth)")
        # a slider's first frame speaks for all of them
        described = "all => all.map(i => i.alt || i.closest('.study-slider')?.querySelector('img')?.alt || '')"
        alts = opened.page.locator("img").evaluate_all(described)
        assert all(w > 0 for w in widths) and all(len(a) > 10 for a in alts)
        sliders = opened.page.locator("input[type=range]")
        assert (len(widths) >= 5 and sliders.count() >= 1) if faces else sliders.count() == 0
        for word in ("not tested", *words):
            assert opened.page.get_by_text(word).count() > 0, word


WORDS = ("D1", "unavailable")  # a deviation, a figure that could not be computed


@pytest.mark.parametrize("paper", PAPERS)
def test_the_command_line_runs_a_folder_of_faces_and_shows_none(paper, tmp_path):
    """Drawn faces written as a folder in CelebA's layout stand for real ones: such a set may not be published. Landmarks
    are there only for the two papers that need them."""
    folder = as_folder(load("synthetic-balanced", 32, n=400), tmp_path / "celeba")
    if paper not in ("atigan", "diat"):
        (folder / "list_landmarks_align_celeba.txt").unlink()
    given = {"profile": "smoke", "data": str(folder), "results": str(tmp_path / "results"), "split": "random"}
    options = [text for item in given.items() for text in ("-p", *item)]
    assert run.main([paper, *options, "--reports", str(tmp_path / "reports")]) == 0
    (out,) = (tmp_path / "results" / "scratch" / paper).glob("*/run.json")
    record = check_run(out.parent)
    assert not record["publishable"] and record["images"] == 400 and record["data"] == "celeba"
    shown = {p.name: Image.open(p).text["Faces"] for p in out.parent.rglob("*.png")}
    assert shown and set(shown.values()) == {"no"}, shown
    (page,) = (tmp_path / "reports" / "scratch").glob(f"{paper}-*.html")
    check_page(page, WORDS, faces=False)
    assert "data:image/webp" not in page.read_text() and "may not be published" in page.read_text()


def test_plain_papermill_runs_a_notebook_from_its_own_folder(tmp_path):
    """One paper's: every other notebook has the same cells for what differs here, and is run on a folder above."""
    notebook, out = ROOT / "notebooks" / "30_sagan.ipynb", tmp_path / "out.ipynb"
    parameters = {"profile": "smoke", "data": "synthetic-balanced", "results": str(tmp_path / "results")}
    pm.execute_notebook(str(notebook), str(out), parameters=parameters, cwd=str(notebook.parent), progress_bar=False, shutdown_kernel="immediate")
    (found,) = (tmp_path / "results" / "scratch" / "sagan").glob("*/run.json")
    record = check_run(found.parent)
    shown = {p.stem for p in (found.parent / "figures").iterdir()}
    assert record["publishable"] and len([name for name in shown if name.startswith("fig_")]) >= 3, shown
    state = nbformat.read(out, 4).metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    assert state and not [o for m in state.values() for o in m["state"].get("outputs", []) if o["output_type"] == "error"]
    shutil.copy(out, found.parent / "notebook.ipynb")
    page = run.publish(found.parent, "sagan-x", record["title"], facts(record), True, True, tmp_path / "reports")
    check_page(page, WORDS, faces=True)


def test_a_wrong_type_under_plain_papermill_is_said_in_words(tmp_path):
    with pytest.raises(pm.PapermillExecutionError, match="seed = '1' is a str; it must be int"):
        pm.execute_notebook(str(ROOT / "notebooks" / "30_sagan.ipynb"), str(tmp_path / "out.ipynb"), parameters={"profile": "smoke", "seed": "1"},
                            cwd=str(ROOT), progress_bar=False, shutdown_kernel="immediate")  # fmt: skip


def test_a_failed_run_says_why_and_has_no_page(tmp_path, capfd):
    given = {"profile": "smoke", "data": "synthetic-balanced", "results": tmp_path / "results"}
    given |= {"lr": "1e30", "g_steps": 40, "attribute": "Eyeglasses"}
    options = [text for name, value in given.items() for text in ("-p", name, str(value))]
    assert run.main(["sagan", *options, "--reports", str(tmp_path / "reports")]) == 1
    (found,) = (tmp_path / "results" / "scratch" / "sagan").glob("*/run.json")
    record = json.loads(found.read_text())
    assert record["status"] == "failed" and "in stage Eyeglasses, cycle" in record["reason"]
    assert (found.parent / "notebook.ipynb").exists() and not list((tmp_path / "reports").rglob("sagan-*.html"))
    assert "failed: TrainingDiverged" in capfd.readouterr().err


def test_committed_runs_of_sets_that_may_not_be_published_show_no_face():
    tracked = subprocess.run(["git", "ls-files", "results", "reports"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    records = [ROOT / p for p in tracked if p.endswith("run.json")]
    for record in records:
        kept = json.loads(record.read_text())
        assert kept["status"] == "complete" and not kept["scratch"], record
        if kept["publishable"]:
            continue
        pictures = [ROOT / p for p in tracked if p.endswith((".png", ".webp", ".jpg")) and (ROOT / p).is_relative_to(record.parent)]
        assert all(Image.open(p).text["Faces"] == "no" for p in pictures), record
        if "beside" in kept:  # shown on another run's page
            continue
        page = ROOT / "reports" / f"{kept['paper']}-{kept['run_id']}.html"
        inside = re.findall(r"data:image/(\w+);base64,([\w+/=]+)", page.read_text())
        assert inside and all(kind == "png" and Image.open(io.BytesIO(base64.b64decode(data))).text["Faces"] == "no" for kind, data in inside), page
    assert not [p for p in tracked if p.endswith((".ipynb", ".pt", ".done")) and p.startswith("results")]
    for path in (ROOT / p for p in tracked if p.endswith((".json", ".csv", ".html", ".md"))):
        assert not re.search(r"/(home|root|tmp|Users)/", path.read_text()), f"{path}: a folder of somebody's machine"

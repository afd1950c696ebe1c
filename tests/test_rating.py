"""Table 2 as a judge and as people see it: cells, floors, intervals; the form keeps, resumes and refuses answers; and it works in a browser."""

import csv
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import ipywidgets
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from browser import open_page
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from lib.evaluation import measures as metrics
from lib.papers.atigan.model import evaluation as rating
from lib.training import runs
from lib.data import DataError
from lib.papers.atigan.hole import Box
from lib.papers.atigan.model import ATTRIBUTES, TABLE_2

BOX = Box(14, 28, 9, 23, 32)
NAMES = ("Eyeglasses", "Mustache")
ANSWERED = ("rater", "trial", "answer")


def paint(x, c):
    """An edit that writes the wanted labels into the corner of the picture, where `ReadingJudge` finds them, and darkens the hole."""
    y = x.clone()
    y[:, :, 14:28, 9:23] -= 0.2
    y[:, 0, 0, : c.shape[1]] = c * 2 - 1
    return SimpleNamespace(image=y, inpainted=x)


class ReadingJudge:
    """Sees in a picture the labels that `paint` wrote, except that it never sees a moustache on every third face; unpainted faces have none."""

    id, names = "reader", ATTRIBUTES

    def probabilities(self, y):
        p = ((y[:, 0, 0, : len(self.names)] == 1).float()).numpy()
        p[::3, 1] = 0
        return p


@pytest.fixture(scope="module")
def done(faces, split):
    return rating.transfers(paint, faces, split, ATTRIBUTES, BOX, 20)


@pytest.fixture(scope="module")
def study(done):
    return rating.make_trials(done, 8)


def test_transfers_turn_one_label_and_keep_the_others(done, faces):
    assert list(done) == [(a, t) for a in ATTRIBUTES for t in (1, 0)]
    for (a, target), t in done.items():
        e = t.edited
        own = np.stack([faces.column(b)[e.index] for b in ATTRIBUTES], 1)
        asked = ((e.y[:, 0, 0, :4] + 1) / 2).numpy()
        changed = asked != own
        assert (changed.sum(1) == 1).all() and changed[:, ATTRIBUTES.index(a)].all() and (asked[:, ATTRIBUTES.index(a)] == target).all()
        assert e.region.shape == (len(e.x), 1, 32, 32) and e.region.sum() == 196 * len(e.x) and torch.equal(t.inpainted, e.x)
        assert e.truth.shape == e.y.shape and len(e.index) <= 20


def test_cells_floors_and_distances(done, faces, split):
    rows = rating.rows(done, TABLE_2, faces, split, ReadingJudge(), "atigan", "Table 2", "ATI-GAN")
    frame = pd.DataFrame(rows)
    success = frame[frame["metric"] == "edit_success"].set_index(["row", "column"])
    assert success.loc[("Not-Smiling -> Smiling, All", "ATI-GAN"), "value"] == 1
    assert success.loc[("Not-Smiling -> Smiling, All", "unedited"), "value"] == 0
    assert success.loc[("Not-Smiling -> Smiling, All", "inpainted"), "value"] == 0
    assert success.loc[("Smiling -> Not-Smiling, All", "unedited"), "value"] == 1
    e = done["Mustache", 1].edited
    seen = np.arange(len(e.index)) % 3 != 0
    male = faces.column("Male")[e.index] == 1
    for who, mine in (("Men", male), ("Women", ~male)):
        cell = success.loc[(f"Not-Mustache -> Mustache, {who}", "ATI-GAN")]
        assert cell["value"] == pytest.approx(seen[mine].mean()) and cell["n"] == mine.sum()
        wilson = metrics.wilson(int(seen[mine].sum()), int(mine.sum()))
        assert (cell["ci_low"], cell["ci_high"]) == (wilson.ci_low, wilson.ci_high)
    assert success.loc[("Not-Mustache -> Mustache, Men", "ATI-GAN"), "paper_value"] == 0.98
    assert success["paper_value"].notna().sum() == 9
    far = frame[frame["metric"] == "edit_success distance"].set_index("row")["value"]
    # printed 50 %, ours 100 %: outside 10 points and outside the Wilson interval of the expected number of images
    n = round(200 * float((faces.column("Eyeglasses")[split.test] == 1).mean()))
    high = max(0.6, metrics.wilson(round(0.5 * n), n).ci_high)
    assert far["Eyeglasses -> Not-Eyeglasses, All"] == pytest.approx(1 - high) and far["Not-Smiling -> Smiling, All"] >= 0
    gap = frame[frame["metric"] == "edit_success difference"].set_index("row")
    assert gap.loc["Mustache added: Men - Women", "value"] == pytest.approx(seen[male].mean() - seen[~male].mean())
    assert gap.loc["Eyeglasses, All: add - remove", "value"] == 0 and {"Smiling, All: add - remove", "Mustache, Men: add - remove"} < set(gap.index)
    rho = frame[frame["metric"] == "spearman"].set_index("column")["value"]
    printed = {("Smiling", 0): 86, ("Smiling", 1): 88, ("Eyeglasses", 0): 50, ("Eyeglasses", 1): 82, ("Young", 0): 85, ("Young", 1): 70}
    printed |= {("Mustache", 0): 33, ("Mustache", 1): 98}
    share = [(faces.column(a)[split.train] == t).mean() for a, t in printed]
    assert rho["paper"] == pytest.approx(spearmanr(list(printed.values()), share).statistic)
    table = rating.table_2(frame, TABLE_2, "atigan", "Table 2", "ATI-GAN")
    assert len(table) == 9 and list(table["printed"][:3]) == ["86 %", "88 %", "50 %"]


def test_the_printed_interval_knows_how_few_faces_there_were(faces, split):
    rare = rating.printed_interval(0.33, TABLE_2[6], faces, split)
    n = round(200 * float(((faces.column("Mustache") == 1) & (faces.column("Male") == 1))[split.test].mean()))
    assert rare.n == n and rare.value == 0.33 and (rare.ci_low, rare.ci_high) == metrics.wilson(round(0.33 * n), n)[1:3]


def test_locality_and_comparison(done, faces, split):
    rows = {(r["metric"], r["row"]): r["value"] for r in rating.locality_rows(done, ATTRIBUTES, "t", "m")}
    assert rows["change_inside_l1", "Smiling"] == pytest.approx(0.1, abs=1e-3)  # 0.2 on the [-1, 1] scale
    assert rows["change_outside_l1", "Smiling"] < 0.003 and rows["change_ratio", "Smiling"] > 30
    nothing = rating.transfers(lambda x, c: SimpleNamespace(image=x, inpainted=x), faces, split, ATTRIBUTES, BOX, 20)
    rows = rating.against({"A": done, "nothing": nothing}, "A", ReadingJudge(), "t", "all")
    found = {(r["metric"], r["column"]): r["value"] for r in rows}
    assert found["edit_success", "nothing"] < found["edit_success", "A"]
    assert found["edit_success difference", "A - nothing"] == pytest.approx(found["edit_success", "A"] - found["edit_success", "nothing"])
    assert found["change_outside_l1 difference", "A - nothing"] == found["change_outside_l1", "A"] > 0


def test_difference_of_two_groups():
    a, b = np.r_[np.ones(80), np.zeros(20)], np.r_[np.ones(40), np.zeros(60)]
    d = rating.difference(a > 0, b > 0)
    assert d.value == pytest.approx(0.4) and 0.25 < d.ci_low < 0.3 and 0.5 < d.ci_high < 0.55 and d.n == 100
    assert np.isnan(rating.difference(a[:0], b).value)


# ---------------------------------------------------------------------------------------------- people


def test_trials_are_balanced_and_one_in_five_is_a_catch(study, done):
    frame = pd.DataFrame([vars(t) for t in study.trials])
    assert frame["id"].is_unique and len(study.pictures) == len(frame)
    for (a, target), part in frame.groupby(["attribute", "target"]):
        edits, catch = part[part["kind"] == "edit"], part[part["kind"] == "catch"]
        assert len(edits) == min(8, len(done[a, target].edited.y)) and len(catch) / len(part) == pytest.approx(0.2, abs=0.05)
        assert (edits["expected"] == target).all() and set(catch["expected"]) == {0, 1}
        for k, row in edits.iterrows():
            assert (study.pictures[k] == metrics.to_uint8(done[a, target].edited.y[row["place"]]).transpose(1, 2, 0)).all()
    assert len(rating.make_trials(done, 200).trials) > len(study.trials)
    assert rating.make_trials(done, 8).set == study.set != rating.make_trials(done, 7).set


def test_every_rater_has_an_order_of_their_own(study):
    one, two = rating.order(study, "ann"), rating.order(study, "bob")
    assert sorted(one) == sorted(two) == list(range(len(study.trials))) and one != two == rating.order(study, "bob")
    seen = [study.trials[i].attribute for i in one]
    assert list(dict.fromkeys(seen)) == list(ATTRIBUTES) and seen == sorted(seen, key=ATTRIBUTES.index)


def parts(form):
    """The form's controls by what they are."""
    top, question, picture, buttons, progress = form.children
    (who, start), (yes, no, back) = top.children, buttons.children
    return SimpleNamespace(who=who, start=start, question=question, picture=picture, yes=yes, no=no, back=back, progress=progress)


def test_the_form_keeps_and_resumes(study, tmp_path):
    file = tmp_path / "new" / "ratings.csv"
    form = parts(rating.form(study, file))
    assert form.yes.disabled and form.picture.layout.visibility == "hidden"
    form.start.click()
    assert form.progress.value == "Please type a name first." and not file.exists()
    form.who.value = "ann"
    form.start.click()
    first = form.picture.value
    todo = [study.trials[i] for i in rating.order(study, "ann")]
    assert todo[0].attribute.replace("_", " ") in form.question.value and form.back.disabled and form.who.disabled
    for button in (form.yes, form.no, form.no):
        button.click()
    assert form.progress.value == f"3 of {len(todo)} answered" and form.picture.value != first
    form.back.click()
    form.yes.click()  # changes the third answer
    given = rating.read(study, file)
    assert list(zip(*given[list(ANSWERED)].T.to_numpy(), strict=True)) == [("ann", t.id, a) for t, a in zip(todo, (1, 0, 1), strict=False)]
    again = parts(rating.form(study, file))
    again.who.value = " ann "
    again.start.click()
    assert again.progress.value.startswith("3 of") and again.picture.value == form.picture.value
    for _ in todo[3:]:
        again.yes.click()
    assert "last face" in again.question.value and again.yes.disabled and len(rating.read(study, file)) == len(todo)
    other = parts(rating.form(study, file))
    other.who.value = "bob"
    other.start.click()
    assert other.progress.value.startswith("0 of")


def write(study, file, rater, say):
    """Answers to all trials: say(trial) -> 0 or 1."""
    for trial in study.trials:
        rating.append(study, file, rater, trial.id, say(trial))


def test_answers_become_rates_and_kappa(study, done, faces, split, tmp_path):
    file = tmp_path / "ratings.csv"
    silent = rating.human_rows(study, file, done, TABLE_2, faces, "Table 2", "ATI-GAN")
    assert len(silent) == 9 and all(r["value"] is None and r["protocol"].startswith("unavailable") for r in silent)
    rng = np.random.default_rng(0)
    noise = {t.id: rng.random() for t in study.trials}
    write(study, file, "ann", lambda t: t.expected if t.kind == "catch" or noise[t.id] < 0.8 else 1 - t.expected)
    write(study, file, "bob", lambda t: t.expected if t.kind == "catch" or noise[t.id] < 0.6 else 1 - t.expected)
    write(study, file, "sleepy", lambda t: 1)
    rows = rating.human_rows(study, file, done, TABLE_2, faces, "Table 2", "ATI-GAN")
    found = {(r["metric"], r["row"], r["column"]): r for r in rows}
    catch = [found["catch_accuracy", "catch trials", f"rater {k}"]["value"] for k in (1, 2, 3)]
    assert catch[:2] == [1, 1] and catch[2] == pytest.approx(np.mean([t.expected for t in study.trials if t.kind == "catch"])) and catch[2] < 0.8
    given = rating.read(study, file)
    wide = given[given["trial"].isin([t.id for t in study.trials if t.kind == "edit"])].pivot(index="trial", columns="rater", values="answer")
    assert found["kappa", "edited faces", "raters 1 and 2"]["value"] == pytest.approx(cohen_kappa_score(wide["ann"], wide["bob"]))
    for cell in TABLE_2:
        e = done[cell[2], cell[3]].edited
        mine = rating.members(cell, e.index, faces)
        shown = [t for t in study.trials if t.kind == "edit" and (t.attribute, t.target) == (cell[2], cell[3]) and mine[t.place]]
        row = found["human_success", rating.column_of(cell), "ATI-GAN"]
        if not shown:
            assert row["value"] is None
            continue
        expected = np.mean([((noise[t.id] < 0.8) + (noise[t.id] < 0.6)) / 2 for t in shown])  # the sleepy rater is left out
        assert row["value"] == pytest.approx(expected) and row["n"] == len(shown) and row["protocol"].startswith("2 of 3 raters")
    both = pd.DataFrame(rows + rating.rows(done, TABLE_2, faces, split, ReadingJudge(), "atigan", "Table 2", "ATI-GAN"))
    assert rating.table_2(both, TABLE_2, "atigan", "Table 2", "ATI-GAN")["people"].str.contains("%").sum() >= 8


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("other", "ann", "Smiling+0", "1"), "an answer to the pictures other"),
        (("", "ann", "Smiling+999", "1"), "no answer to a question"),
        (("", "ann", "Smiling+0", "2"), "no answer to a question"),
        (("", "", "Smiling+0", "1"), "no answer to a question"),
    ],
)
def test_foreign_answers_are_refused_with_their_line(study, tmp_path, line, message):
    file = tmp_path / "ratings.csv"
    rating.append(study, file, "ann", study.trials[0].id, 1)
    with file.open("a", newline="") as lines:
        csv.writer(lines).writerow((line[0] or study.set, *line[1:]))
    with pytest.raises(DataError, match=f"ratings.csv:3: .*{message}"):
        rating.read(study, file)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="ratings.csv:1: the columns"):
        rating.read(study, file)


NOTEBOOK = """
import pickle
from pathlib import Path
from lib.papers.atigan.model import evaluation as rating
rating.form(pickle.loads(Path({study!r}).read_bytes()), Path({file!r}))
"""


def test_the_form_in_jupyterlab(study, tmp_path):
    """A rater in a real browser: name, three answers, one of them taken back, the cells run again, and the form goes on where it was."""
    pytest.importorskip("jupyterlab")
    import pickle

    file, stored = tmp_path / "ratings.csv", tmp_path / "study.pickle"
    stored.write_bytes(pickle.dumps(study))
    cell = nbformat.v4.new_code_cell(NOTEBOOK.format(study=str(stored), file=str(file)))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), tmp_path / "form.ipynb")
    home = {"JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "PYTHONPATH": str(runs.ROOT)}
    options = ["--no-browser", "--port=0", "--ServerApp.token=", "--ServerApp.password=", "--allow-root", f"--notebook-dir={tmp_path}"]
    options += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"]
    log = (tmp_path / "log").open("w")
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=os.environ | home, stdout=log, stderr=log)
    try:
        url = server_address(tmp_path / "runtime", server)
        with open_page(f"{url}lab/tree/form.ipynb?reset") as opened:
            page = opened.page
            page.set_default_timeout(90_000)
            run_all(page)
            form = page.locator(".study-rating")
            form.locator("input[type=text]").fill("ann")
            form.get_by_role("button", name="start").click()
            form.get_by_text(f"0 of {len(study.trials)} answered").wait_for()
            assert form.locator("img").evaluate("i => i.naturalWidth") == 320
            for k, name in enumerate(("1: yes", "0: no", "1: yes"), start=1):
                form.get_by_role("button", name=name).click()
                form.get_by_text(f"{k} of {len(study.trials)} answered").wait_for()
            form.get_by_role("button", name="back").click()
            form.get_by_text(f"2 of {len(study.trials)} answered").wait_for()
            form.get_by_role("button", name="0: no").click()
            form.get_by_text(f"3 of {len(study.trials)} answered").wait_for()
            assert list(rating.read(study, file)["answer"]) == [1, 0, 0]
            run_all(page)  # a new form over the same file
            form.locator("input[type=text]:enabled").fill("ann")
            form.get_by_role("button", name="start").click()
            form.get_by_text(f"3 of {len(study.trials)} answered").wait_for()
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def server_address(runtime, server) -> str:
    """The address of the server that has just been started."""
    for _ in range(600):
        for found in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(found.read_text())["url"]
            except json.JSONDecodeError:
                pass  # being written
        assert server.poll() is None, "the server ended"
        time.sleep(0.1)
    raise AssertionError("the server did not start within a minute")


def run_all(page) -> None:
    """Run the notebook's cells in JupyterLab and wait for the form."""
    page.wait_for_function("() => window.jupyterapp && window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.locator(".study-rating input[type=text]:enabled").wait_for()


def test_widgets_are_plain_ipywidgets(study, tmp_path):
    assert isinstance(rating.form(study, tmp_path / "r.csv"), ipywidgets.VBox)

"""Parameters are refused before anything runs, with the name, the remedy and the valid names."""

import subprocess
import sys

import nbformat
import pytest

from lib import run
from lib.data import load
from lib.papers.sagan import model as sagan
from lib.sources import ROOT
from lib.training.config import ParameterError, checked_parameters, declared, fields, from_params, from_text, listed, selected


def notebook(tmp_path, *sources):
    cells = [nbformat.v4.new_code_cell(s, metadata={"tags": ["parameters"]}) for s in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "x.ipynb")
    return tmp_path / "x.ipynb"


def test_a_config_is_strict():
    assert from_params(sagan.PROFILES["smoke"](), {"g_steps": 7, "lr": 1}).lr == 1.0
    for params, message in (
        ({"g_step": 7}, "unknown parameter 'g_step'. Did you mean 'g_steps'"),
        ({"g_steps": "7"}, "g_steps = '7' is a str; it must be int"),
        ({"g_steps": True}, "it must be int"),
        ({"g_steps": 2.5}, "it must be int"),
        ({"g_steps": 0}, "at least 1"),
    ):
        with pytest.raises(ParameterError, match=message):
            from_params(sagan.PROFILES["smoke"](), params)


def test_profiles_are_what_they_say():
    paper, cpu = sagan.PROFILES["paper"](), sagan.PROFILES["cpu"]()
    assert (paper.size, paper.width, paper.batch, paper.d_per_g, paper.lr, paper.sampler) == (128, 32, 16, 3, 2e-4, "natural")
    same = {"blocks", "lambda_1", "lambda_2", "lambda_gp", "batch", "lr", "beta_1", "beta_2", "init_std", "d_per_g"}
    assert all(getattr(cpu, name) == getattr(paper, name) for name in same) and (cpu.size, cpu.width) == (64, 16)
    assert sagan.share_of_paper(paper) == 1 and 0.1 < sagan.share_of_paper(cpu) < 0.5


def test_declared_reads_only_literals(tmp_path):
    assert declared(notebook(tmp_path, "a: int = 1  # help\nb: str = 'x'\nc: dict = {}")) == {"a": (int, 1), "b": (str, "x"), "c": (dict, {})}
    bad = {"line 1: only": ("a = 1",), "malformed": ("a: int = 1\nb: int = a * 2",), "found 0": (), "found 2": ("a: int = 1",) * 2}
    for message, sources in bad.items():
        with pytest.raises((ParameterError, ValueError), match=message):
            declared(notebook(tmp_path, *sources))


def test_text_becomes_what_the_type_wants():
    assert from_text("3", int) == 3 and from_text("1e-3", float) == 1e-3 and from_text("007", str) == "007"
    assert from_text("true", bool) is True and from_text("False", bool) is False and from_text("abc", int) == "abc"
    assert from_text('{"a": 1}', dict) == {"a": 1}


def test_the_command_line_refuses_and_places_values():
    values = checked_parameters("sagan", [("seed", "3"), ("g_steps", "9"), ("attribute", "Smiling"), ("test_images", "7")])
    assert values["seed"] == 3 and values["overrides"] == {"g_steps": 9, "attribute": "Smiling", "test_images": 7}
    for given, message in (
        ([("sed", "3")], "unknown parameter 'sed'. Did you mean 'seed'"),
        ([("seed", "x")], "seed = 'x' is a str; it must be int"),
        ([("with_images", "1")], "it must be bool"),
        ([("lr", "fast")], "lr = 'fast' is a str; it must be float"),
    ):
        with pytest.raises(ParameterError, match=message):
            checked_parameters("sagan", given)
    with pytest.raises(ParameterError, match="unknown notebook 'sagen'. Did you mean 'sagan'"):
        checked_parameters("sagen", [])


@pytest.mark.parametrize("module", ["lib.run", "lib.train"])
def test_a_wrong_parameter_is_refused_before_anything_heavy_is_imported(module):
    call = "m.main(['sagan', '-p', 'nonsense', '1'])"
    code = f"import sys, {module} as m; print({call}, 'torch' in sys.modules, 'papermill' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["2", "False", "False"] and "unknown parameter 'nonsense'" in done.stderr


def test_fields_are_read_without_an_import():
    found = fields(ROOT / "lib" / "papers" / "sagan" / "model.py", "Config")
    assert found == {name: kind for name, kind in sagan.Config.__annotations__.items()} and found["lr"] is float


def test_bad_input_ends_with_one_line_and_code_2(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    load("synthetic", 32, n=600)  # its progress bar is no part of an error
    capsys.readouterr()
    for argv, message in (
        (["sagan", "-p", "sead", "1"], "Did you mean 'seed'"),
        (["sagan", "-p", "attribute", "Glasses"], "Eyeglasses, Mouth_Slightly_Open"),
        (["sagan", "-p", "data", str(tmp_path / "none")], "none"),
        (["sagan", "-p", "g_steps", "many"], "it must be int"),
        (["sagan", "-p", "device", "gpu"], "it must be cpu, or cuda"),
        (["sagan", "-p", "seed", "-1"], "from 0 to"),
        (["sagan", "-p", "profile", "smoke", "-p", "lfw", str(tmp_path)], "have never seen a photograph"),
        (["sagan", "-p", "profile", "smoke", "-p", "results", str(tmp_path / "file" / "run")], "cannot be written"),
        (["bridgegan", "-p", "profile", "smoke", "-p", "domains", str(tmp_path)], "Give a folder that holds train/ and val/"),
        (["data", "-p", "size", "big"], "it must be int"),
        (["data", "-p", "size", "32", "-p", "faces", "3", "-p", "split", "most"], "split = 'most': it must be one of official, random"),
    ):
        assert run.main(argv) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and message in err and err.count("\n") == 1, err


def test_folders_are_found_from_where_the_command_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("faces", "synthetic", "lfw"):
        (tmp_path / name).mkdir()
    given = [("data", "faces"), ("lfw", "~/lfw"), ("results", "new/place")]
    values = checked_parameters("diat", given)
    assert {name: values.get(name, values["overrides"].get(name)) for name, _ in given} == {
        "data": str(tmp_path / "faces"), "lfw": str(tmp_path / "lfw"), "results": str(tmp_path / "new" / "place")
    }  # fmt: skip
    assert checked_parameters("diat", [("data", "synthetic")])["data"] == "synthetic"  # the built-in one
    assert checked_parameters("diat", [("data", "./synthetic")])["data"] == str(tmp_path / "synthetic")
    assert checked_parameters("diat", [("data", "celeba")])["data"] == "celeba"  # refused by its reader, in the words that were given


def test_lists_of_names():
    assert listed(" a, b ,") == ("a", "b") and listed("") == ()
    assert selected("all", ("a", "b"), "task") == ("a", "b") == selected("b, a", ("a", "b"), "task")
    for text in ("", "c", "a, c", "all, a"):
        with pytest.raises(ParameterError, match="task = .*: it must be all, or among a, b"):
            selected(text, ("a", "b"), "task")

"""environment.yml, pyproject.toml and the tools agree."""

import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lib.sources import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_takes_everything_from_pyproject():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = [d for d in dependencies if isinstance(d, str)]
    (pip,) = [d["pip"] for d in dependencies if isinstance(d, dict)]
    assert [d.split("=")[0] for d in conda] == ["python", "pip"]
    assert conda[0].split("=")[1] in SpecifierSet(PROJECT["requires-python"])
    (editable,) = pip
    requirement = Requirement(editable.removeprefix("-e ").replace(".[", "x["))
    assert editable.startswith("-e .[") and requirement.extras <= set(PROJECT["optional-dependencies"])


def test_packages_that_the_study_is_built_on_are_declared():
    declared = {Requirement(d).name for d in PROJECT["dependencies"]}
    assert {"torch", "jupyterlab", "papermill", "nbconvert", "seaborn", "pandas", "lpips", "torchmetrics", "ipywidgets"} <= declared
    assert Requirement(next(d for d in PROJECT["dependencies"] if d.startswith("torch>"))).specifier.contains("2.11")

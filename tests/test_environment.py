"""environment.yml, pyproject.toml and the tools agree."""

import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lib.sources import ROOT


def test_environment_yml_takes_everything_from_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = [d for d in dependencies if isinstance(d, str)]
    (pip,) = [d["pip"] for d in dependencies if isinstance(d, dict)]
    names = [d.split("=")[0] for d in conda]
    assert names == ["python", "pip"]
    assert conda[0].split("=")[1] in SpecifierSet(project["requires-python"])
    (editable,) = pip
    requirement = Requirement(editable.removeprefix("-e ").replace(".[", "x["))
    assert editable.startswith("-e .[") and requirement.extras <= set(project["optional-dependencies"])


def test_packages_that_the_study_is_built_on_are_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {Requirement(d).name for d in project["dependencies"]}
    assert {"torch", "jupyterlab", "papermill", "nbconvert", "seaborn", "pandas", "lpips", "torchmetrics", "ipywidgets"} <= declared
    assert Requirement(next(d for d in project["dependencies"] if d.startswith("torch>"))).specifier.contains("2.11")

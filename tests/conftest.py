"""What several test files share: a small set of synthetic faces, a run folder, the real faces where they are at hand."""

import os
from pathlib import Path

import pytest
import torch

from lib.training import runs
from lib.data import load, make_split
from lib.papers.sagan import model as sagan


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests leave nothing in the project's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("STUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def faces(own_cache):
    """600 synthetic faces at 32 pixels."""
    return load("synthetic-balanced", 32, n=600)


@pytest.fixture(scope="session")
def split(faces):
    return make_split(faces, "random")


@pytest.fixture
def open_run(faces, split):
    """(folder, **fields of Config) -> a Run of the smoke profile in that folder, and its Config. Its lock is released at the end."""
    opened = []

    def start(folder: Path, seed: int = 0, force: bool = False, **fields):
        cfg = sagan.Config(**vars(sagan.smoke()) | {"attribute": "Eyeglasses"} | fields)
        run = runs.start(sagan, cfg, faces, split, profile="smoke", seed=seed, run_dir=str(folder), force=force)
        opened.append(run.folder)
        return run, cfg

    yield start
    for folder in opened:
        runs.release(folder)


@pytest.fixture(scope="session")
def real_faces():
    """The folder of real face sets named by STUDY_DATA."""
    folder = os.environ.get("STUDY_DATA")
    if not folder:
        pytest.skip("STUDY_DATA is not set: no real faces to test on")
    return Path(folder)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)

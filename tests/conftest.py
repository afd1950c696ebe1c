"""What several test files share: a small set of drawn faces, tiny models to train, the real faces where they are at hand."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from browser import browser

from lib.data import load, make_split
from lib.papers.sagan import model as sagan
from lib.training.models import Job


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
def job(faces, split, tmp_path):
    """(**fields of SaGAN's Config) -> a tiny Job whose model goes to tmp_path, or to `results`."""

    def make(seed: int = 0, results: Path | None = None, **fields) -> Job:
        cfg = replace(sagan.PROFILES["smoke"](), **{"attribute": "Eyeglasses"} | fields)
        return Job(sagan, cfg, faces, split, seed, results=results or tmp_path)

    return make


@pytest.fixture
def into(tmp_path):
    """(name) -> a fresh folder to train into."""

    def make(name: str = "model") -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        return tmp_path / name

    return make


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


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running

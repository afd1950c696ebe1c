"""Two processes train as one does on the whole batch; what goes wrong in one ends all; what they leave is an ordinary run."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import parallel_child as toy
import pytest
import torch

from lib import engine, parallel, runs
from lib.data import Batch
from lib.papers import sagan
from lib.params import ParameterError
from lib.runs import ROOT


def torchrun(*args, n=2, timeout=400):
    """Run a program in n processes; returns (exit code, output). A hang would last parallel.PATIENCE, longer than the time allowed here."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n}", *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_two_processes_train_as_one_does_and_a_broken_one_ends_both(tmp_path, faces, split, at_root):
    alone = toy.Record(tmp_path / "alone")
    engine.train(SimpleNamespace(build=toy.build, stages=toy.stages), None, faces, split, alone, log_every=1)
    code, text = torchrun("tests/parallel_child.py", tmp_path / "two", "break")
    assert code != 0 and "broken on purpose" in text, text
    assert (tmp_path / "two/averaged/resume.pt").exists() and not (tmp_path / "two/averaged/weights.pt").exists()
    code, text = torchrun("tests/parallel_child.py", tmp_path / "two")  # goes on where the broken one was
    assert code == 0, text
    one, two, apart = (torch.load(tmp_path / f / "weights.pt", weights_only=True) for f in ("alone", "two/averaged", "two/apart"))
    largest = max(float((two[k] - one[k]).abs().max()) for k in one)
    assert one.keys() == two.keys() and all(t.dtype == torch.float64 for t in one.values())
    assert largest < 1e-12 < 1e-6 < max(float((apart[k] - one[k]).abs().max()) for k in one)
    curves = [pd.read_csv(tmp_path / f / "history.csv") for f in ("alone", "two/averaged")]
    assert len(curves[0]) == toy.CYCLES
    pd.testing.assert_frame_equal(*curves, rtol=1e-6)


def test_random_numbers_and_images_are_shares_of_the_whole():
    def draws(n):
        rng = torch.Generator().manual_seed(5)
        size = {"generator": rng}
        return torch.rand(n, 2, **size), torch.randn((n, 3), **size), torch.randint(9, (n,), **size), torch.randint(2, 9, (n, 1), **size)

    whole = draws(12)
    for rank in range(3):
        with parallel.ShareOfRandomness(rank, 3):
            assert torch.rand(4).shape == (4,)  # no generator: not a batch's draw
            assert all(torch.equal(a, b[rank::3]) for a, b in zip(draws(4), whole, strict=True))
            assert sorted(torch.randperm(4, generator=torch.Generator()).tolist()) == [0, 1, 2, 3]
            with pytest.raises(NotImplementedError, match="bernoulli with a generator"):
                torch.bernoulli(torch.full((4,), 0.5), generator=torch.Generator())
    batch = Batch(torch.arange(12.0), torch.arange(12.0)[:, None], torch.arange(12), torch.Generator(), torch.zeros(12, dtype=torch.bool))
    part = parallel.share(batch, 1, 3)
    assert part.index.tolist() == part.x.tolist() == [1, 4, 7, 10] and part.y.shape == (4, 1) and part.rng is batch.rng and part.planes is None


def test_batches_that_cannot_be_shared_out_are_refused(monkeypatch, capsys):
    (stage,) = toy.stages(None)  # 8 images, balanced
    parallel.check_shares([stage], 4)
    with pytest.raises(ParameterError, match="processes = 8: .* divides every batch .*; stage only has balanced batches of 8"):
        parallel.check_shares([stage], 8)
    few = replace(stage, updates=(replace(stage.updates[0], images=4), *stage.updates[1:]))
    with pytest.raises(ParameterError, match="processes = 4: it must be 1: . of stage only takes the first images of a batch"):
        parallel.check_shares([few], 4)
    for name, value in {"RANK": "0", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    assert parallel.main(["sagan", "-p", "profile", "smoke", "-p", "data", "synthetic-balanced"]) == 2
    assert "error: processes = 3: it must be a number of processes that divides every batch" in capsys.readouterr().err
    assert parallel.main(["diat", "-p", "profile", "smoke", "-p", "data", "synthetic-balanced"]) == 2
    assert "paper = 'diat': it must be a paper whose networks its Config alone describes" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert parallel.own_device("cpu") == "cpu"
    with pytest.raises(ParameterError, match="processes = 3: it must be at most the number of GPUs of this machine, 2"):
        parallel.own_device("cuda")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert parallel.own_device("cuda") == "cuda:0"


def test_the_command_line_says_how_it_is_started(monkeypatch, capsys):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(SystemExit):
        parallel.main(["sagan"])
    assert "start it with torchrun" in capsys.readouterr().err


def test_a_run_trained_by_two_processes_is_an_ordinary_run(tmp_path, open_run, faces, split, at_root, monkeypatch):
    given = {"data": faces.name, "profile": "smoke", "attribute": "Eyeglasses", "g_steps": 2, "run_dir": tmp_path / "run"}
    code, text = torchrun("-m", "lib.parallel", "sagan", *(word for name, value in given.items() for word in ("-p", name, value)))
    assert code == 0 and "trained; python -m lib.run sagan" in text, text
    before = json.loads((tmp_path / "run/run.json").read_text())
    assert before["trained"]["hardware"]["processes"] == 2 and before["status"] == "running"
    left = {p.name for p in (tmp_path / "run").iterdir()}
    assert left == {"run.json", "config.json", "history.csv", "checkpoint.safetensors", "lock"}
    run, cfg = open_run(tmp_path / "run", g_steps=2)  # the same configuration, so it is not refused
    assert run.id == before["run_id"]
    monkeypatch.setattr(sagan, "d_loss", None)  # would fail if it trained
    engine.train(sagan, cfg, faces, split, run)
    assert "processes 2" in runs.facts(run.record)["hardware"]

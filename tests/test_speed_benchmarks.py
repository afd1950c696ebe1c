"""The benchmarks fail where the numbers differ, count what they say they count, and their page reads only what they left."""

import json

import nbformat
import pytest
import torch

from benchmarks import __main__ as benchmarks
from benchmarks import common, gp, train
from lib import run, speed
from lib.blocks import LeakyReLU
from lib.comparison import NothingToCompare

SMALL = ["--profile", "smoke", "--size", "32", "--pairs", "2", "--batch", "4"]


def test_flops_by_hand():
    conv, line = torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Linear(7, 2)
    x, y = torch.randn(2, 3, 8, 8), torch.randn(4, 7)
    forward = 2 * 2 * 5 * 64 * 3 * 9
    assert common.flops(lambda: conv(x)) == forward and common.flops(lambda: line(y)) == 2 * 4 * 7 * 2
    assert common.flops(lambda: conv(x).sum().backward()) == 2 * forward  # no gradient for the input
    assert common.flops(lambda: torch.relu(x)) == 0


def test_turns_alternate_and_drop_the_first():
    order = []
    took = common.turns({n: lambda n=n: order.append(n) or {"part": (len(order), 0)} for n in "ab"}, 3)
    assert order == list("abababab") and [t["part"][0] for t in took["a"]] == [3, 5, 7] and [t["part"][0] for t in took["b"]] == [4, 6, 8]
    r = common.ratios([(4.0, 8.0), (6.0, 1.0), (9.0, 3.0)], [(2.0, 2.0), (2.0, 1.0), (1.0, 1.0)])
    assert r == {"processor": {"median": 3.0, "low": 2.0, "high": 9.0, "n": 3}, "wall": {"median": 3.0, "low": 1.0, "high": 4.0, "n": 3}}


def test_training_is_measured_and_kept_beside_others(tmp_path, capsys):
    file = tmp_path / "train.json"
    file.write_text('{"another": {}}')
    assert benchmarks.main(["train", "--paper", "sagan", *SMALL, "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    entry = record["sagan 32px batch 4 smoke cpu"]
    assert record.keys() == {"another", "sagan 32px batch 4 smoke cpu"} and entry["cycle"] == "3 D+1 G" and entry["step"] == "eager"
    assert entry["ratio"]["processor"]["n"] == 2 and 0.2 < entry["ratio"]["processor"]["median"] < 5
    assert 1.05 < entry["tflop_per_cycle"]["eager"] / entry["tflop_per_cycle"]["ours"] < 1.5
    assert entry["parity"]["gradients_float64"] <= 1e-9 and entry["parity"]["losses"] <= 1e-3
    assert "sagan: parity holds" in capsys.readouterr().out


def test_steps_in_bf16_are_measured_against_the_plain_loop_in_float32(tmp_path, monkeypatch, capsys):
    file = tmp_path / "train-bf16.json"
    assert benchmarks.main(["train", "--paper", "sagan", *SMALL, "--precision", "bf16", "--json", str(file)]) == 0
    entry = json.loads(file.read_text())["sagan 32px batch 4 smoke cpu bf16"]
    assert entry["precision"] == "bf16" and 0 < entry["parity"]["losses"] <= 2e-2 and "sagan: parity holds" in capsys.readouterr().out
    monkeypatch.setattr(train, "plain_of", lambda *args: Louder(*args, by=1.03))
    assert benchmarks.main(["train", "--paper", "sagan", *SMALL, "--precision", "bf16"]) == 1
    assert "sagan: parity FAILS" in capsys.readouterr().out


def test_a_step_with_other_numbers_fails(monkeypatch, capsys):
    monkeypatch.setattr(train, "plain_of", lambda *args: Louder(*args))
    assert benchmarks.main(["train", "--paper", "sagan", *SMALL]) == 1
    assert "sagan: parity FAILS" in capsys.readouterr().out


class Louder(train.Plain):
    """A plain way whose losses are too large, by a thousandth."""

    def __init__(self, paper, what, device, by=1.001):
        self.by = by
        super().__init__(paper, what.nets, train.networks(what.nets), what.stage, what.cfg, device)

    def loss(self, update):
        total, parts = super().loss(update)
        return total * self.by, parts


def test_the_penalty_saves_a_third_and_a_wrong_activation_fails(monkeypatch, capsys, tmp_path):
    file = tmp_path / "gp.json"
    assert benchmarks.main(["gp", "--paper", "stargan", "bridgegan", *SMALL, "--json", str(file)]) == 0
    for entry in json.loads(file.read_text()).values():
        assert 1.4 < entry["ratio_of_flops"] < 1.6  # six passes against four
    monkeypatch.setattr(LeakyReLU, "forward", lambda self, x: x * torch.where(x > 0, 1.0, 2 * self.slope))
    assert gp.main(["--paper", "stargan", *SMALL]) == 1 and "stargan: parity FAILS" in capsys.readouterr().out


def test_edits_of_two_kinds_are_timed(tmp_path):
    file = tmp_path / "infer.json"
    given = ["--paper", "sagan", "diat", "--profile", "smoke", "--size", "32", "--pairs", "1", "--batch", "1", "4", "--repeat", "1"]
    assert benchmarks.main(["infer", *given, "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    assert record["sagan 32px smoke cpu"]["milliseconds_per_image"].keys() == {"batch 1", "batch 4"}
    assert record["sagan 32px smoke cpu"]["milliseconds_per_image"]["batch 4"].keys() == {"plain"}  # instance norm
    assert record["diat 32px smoke cpu"]["milliseconds_per_image"]["batch 4"].keys() == {"plain", "channels last"}


def test_loading_is_compared_on_the_same_faces(tmp_path):
    file = tmp_path / "data.json"
    given = ["--n", "16", "--size", "32", "--batch", "8", "--jpeg-batches", "2", "--cache-batches", "4", "--pairs", "1", "--workers", "0"]
    assert benchmarks.main(["data", *given, "--json", str(file)]) == 0
    (entry,) = json.loads(file.read_text()).values()
    assert entry["parity"]["images"] <= 1e-5 and entry["against"]["jpeg, 0 workers"]["ratio"]["wall"]["median"] > 1


def test_an_unknown_benchmark_lists_those_there_are(capsys):
    assert benchmarks.main(["speed"]) == 2 and "{train,gp,infer,data,memory}" in capsys.readouterr().out


def value(v):
    return {"median": v, "low": 0.9 * v, "high": 1.2 * v, "n": 3}


def both(v):
    return {"processor": value(v), "wall": value(2 * v)}


@pytest.fixture
def measured(tmp_path):
    """A folder of results as the benchmarks leave them, with one GPU entry."""
    cpu = {"device": "cpu", "cpu": "A CPU", "cores": 2, "threads": 1, "memory_gb": 8, "torch": "2.0", "load_average": 1.5}
    gpu = cpu | {"device": "cuda", "gpu": "A GPU", "load_average": 0.1}
    setting = {"paper": "SaGAN", "profile": "paper", "size": 64, "batch": 16, "machine": cpu}
    step = {
        "cycle": "3 D+1 G", "step": "eager", "ratio": both(1.5),
        "seconds_per_cycle": {"processor": {"ours": value(9.0)}, "wall": {"ours": value(7.0)}},
        "tflop_per_cycle": {"ours": 0.4, "eager": 0.5}, "tflop_per_second": 0.04, "parity": {"gradients_float64": 1e-16, "losses": 1e-5},
    }  # fmt: skip
    loader = {"ratio": both(15.0), "images_per_second": {"jpeg": value(1e3), "cache": value(3e4)}}
    files = {
        "train": {"a": setting | step, "b": setting | step | {"paper": "StarGAN", "machine": gpu}},
        "train-bf16": {"a": setting | step | {"paper": "DIAT-A", "precision": "bf16"}},
        "gp": {"a": setting | {"ratio": both(1.6), "ratio_of_flops": 1.5, "milliseconds": {"ours": value(8)}, "parity": {"gradients_float64": 0.0}}},
        "infer": {"a": setting | {"gflop_per_image": 2.0, "milliseconds_per_image": {f"batch {b}": {"plain": both(5.0)} for b in (1, 64)}}},
        "data": {"a": {"size": 64, "batch": 16, "machine": cpu, "against": {"jpeg, 2 workers": loader}}},
        "memory": {"a": setting | {"peak_mib": {"eager": 900, "ours": 800}, "of_which_steps_mib": {"eager": 300, "ours": 200}}},
    }  # fmt: skip
    for name, entries in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(entries))
    return tmp_path


def test_tables_believe_the_processor_on_a_processor_and_the_clock_on_a_gpu(measured):
    table = speed.training(measured).set_index("method")
    assert table.loc["SaGAN", "times faster"] == "1.5 [1.35, 1.8]" and table.loc["StarGAN", "times faster"] == "3 [2.7, 3.6]"
    assert table.loc["SaGAN", "seconds a cycle"].startswith("9 ") and table.loc["StarGAN", "seconds a cycle"].startswith("7 ")
    assert table.loc["SaGAN", "fewer FLOPs"] == "1.25"
    assert table["precision"].to_dict() == {"SaGAN": "float32", "StarGAN": "float32", "DIAT-A": "bf16"}
    assert speed.loading(measured)["times faster"].tolist() == ["30 [27, 36]"]
    assert speed.inference(measured).loc[0, "batch 64, ms an image"] == "5 [4.5, 6]"
    assert speed.memory(measured).loc[0, "here"] == 800 and speed.penalty(measured).loc[0, "fewer FLOPs"] == 1.5
    assert set(speed.machines(measured)["device"]) == {"A CPU, 1 of 2 cores", "A GPU"}
    for figure in (speed.ratio_figure(measured), speed.inference_figure(measured)):
        assert figure.axes[0].get_xlabel()
    named = {t.get_text() for t in speed.ratio_figure(measured).axes[0].get_legend().get_texts()}
    assert named == {"training cycle", "gradient penalty", "training cycle in bf16"}
    (measured / "train-bf16.json").unlink()
    assert set(speed.training(measured)["precision"]) == {"float32"} and len(speed.ratio_figure(measured).axes[0].get_legend().get_texts()) == 2


def test_a_benchmark_without_a_file_leaves_a_figure_that_says_so(measured):
    (measured / "infer.json").unlink()
    (said,) = speed.inference_figure(measured).texts
    assert said.get_text() == "not measured yet" and len(speed.inference(measured)) == 0
    assert not speed.ratio_figure(measured).texts  # the others stay


def test_without_measurements_the_page_says_how_to_make_some(tmp_path, monkeypatch, capsys):
    with pytest.raises(NothingToCompare, match="python -m benchmarks train"):
        speed.entries("train", tmp_path)
    monkeypatch.setattr(speed, "machines", lambda folder: speed.entries("train", tmp_path))
    assert run.main(["speed", "--reports", str(tmp_path / "reports")]) == 2 and "no measurements" in capsys.readouterr().err


def test_the_notebook_only_reads():
    cells = nbformat.read(run.notebook_of("speed"), 4).cells
    code = "\n".join(c.source for c in cells if c.cell_type == "code")
    assert "benchmarks" not in code and code.count("speed.") >= 7

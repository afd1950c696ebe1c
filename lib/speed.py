"""What the benchmarks measured, as tables and figures: reads results/benchmarks/, times nothing. The files come from `python -m benchmarks`."""

import json
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lib.comparison import NothingToCompare
from lib.provenance import ROOT

FOLDER = ROOT / "results" / "benchmarks"
FILES = ("train", "train-bf16", "gp", "infer", "data", "memory")


def entries(name: str, folder: Path = FOLDER) -> list[dict]:
    """The entries of one benchmark's file, or none. Raises NothingToCompare where no benchmark has left a file."""
    if not any((folder / f"{n}.json").exists() for n in FILES):
        raise NothingToCompare(f"{folder.name}/: no measurements. Make some: python -m benchmarks train --json {folder.name}/train.json")
    file = folder / f"{name}.json"
    return list(json.loads(file.read_text()).values()) if file.exists() else []


def clock(entry: dict) -> str:
    """Which time to believe: on a GPU the wall's, on a processor that others use too the time that this process had."""
    return "wall" if entry["machine"]["device"].startswith("cuda") else "processor"


def words(value: dict) -> str:
    """'median [low, high]' of a number's turns."""
    return f"{value['median']:.3g} [{value['low']:.3g}, {value['high']:.3g}]"


def hardware(entry: dict) -> str:
    """The device in a word or two."""
    machine = entry["machine"]
    return machine.get("gpu") or f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores"


def machines(folder: Path = FOLDER) -> pd.DataFrame:
    """On what the benchmarks ran, and how busy it was: one line per benchmark and machine."""
    rows = []
    for name in FILES:
        for entry in entries(name, folder):
            m = entry["machine"]
            rows.append((name, hardware(entry), m["torch"], f"{m['memory_gb']} GB", m["load_average"]))
    frame = pd.DataFrame(rows, columns=["benchmark", "device", "torch", "memory", "load"])
    loads = frame.groupby(["benchmark", "device", "torch", "memory"], sort=False)["load"]
    return loads.agg(lambda v: f"{v.min():g} to {v.max():g}").rename("load average at the start").reset_index()


def _setting(entry: dict) -> dict:
    return {"method": entry["paper"], "size": entry["size"], "batch": entry["batch"], "profile": entry["profile"]}


def training(folder: Path = FOLDER) -> pd.DataFrame:
    """Training cycles against the plain loop in float32, one line per method, setting and precision of ours."""
    rows = []
    for e in entries("train", folder) + entries("train-bf16", folder):
        k, flop = clock(e), e["tflop_per_cycle"]
        rows.append(
            _setting(e)
            | {
                "precision": e.get("precision", "float32"), "cycle": e["cycle"], "step": e["step"],
                "times faster": words(e["ratio"][k]), "n": e["ratio"][k]["n"], "in wall time": words(e["ratio"]["wall"]),
                "seconds a cycle": words(e["seconds_per_cycle"][k]["ours"]), "TFLOP a cycle": flop["ours"],
                "fewer FLOPs": f"{flop['eager'] / flop['ours']:.3g}", "TFLOP/s": e["tflop_per_second"],
                "largest difference of a gradient": f"{e['parity']['gradients_float64']:.1g}",
                "of a loss": f"{e['parity']['losses']:.1g}",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def penalty(folder: Path = FOLDER) -> pd.DataFrame:
    """The gradient penalty with and without zero chain, one line per critic."""
    rows = []
    for e in entries("gp", folder):
        k = clock(e)
        rows.append(
            _setting(e)
            | {
                "times faster": words(e["ratio"][k]), "n": e["ratio"][k]["n"], "fewer FLOPs": e["ratio_of_flops"],
                "milliseconds": words(e["milliseconds"]["ours"]), "largest difference of a gradient": f"{e['parity']['gradients_float64']:.1g}",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def inference(folder: Path = FOLDER) -> pd.DataFrame:
    """Milliseconds an image, one line per method and way, one column per batch."""
    rows = []
    for e in entries("infer", folder):
        batches = e["milliseconds_per_image"]
        for way in next(iter(batches.values())):
            line = {"method": e["paper"], "size": e["size"], "profile": e["profile"], "way": way, "GFLOP an image": e["gflop_per_image"]}
            rows.append(line | {f"{batch}, ms an image": words(ways[way][clock(e)]) for batch, ways in batches.items()})
    return pd.DataFrame(rows)


def loading(folder: Path = FOLDER) -> pd.DataFrame:
    """Images a second from JPEG files and from the cache. In wall time: the loader's workers run beside this process."""
    rows = []
    for e in entries("data", folder):
        for against, v in e["against"].items():
            speed = {f"{n}, images/s": words(v["images_per_second"][n]) for n in ("jpeg", "cache")}
            busy = words(v["ratio"]["processor"])
            setting = {"size": e["size"], "batch": e["batch"], "loader": against}
            rows.append(setting | speed | {"times faster": words(v["ratio"]["wall"]), "n": v["ratio"]["wall"]["n"], "in processor time": busy})
    return pd.DataFrame(rows)


def memory(folder: Path = FOLDER) -> pd.DataFrame:
    """Peak memory in MiB of a process that trains, one line per method."""
    rows = []
    for e in entries("memory", folder):
        peak, steps = e["peak_mib"], e["of_which_steps_mib"]
        rows.append(
            _setting(e)
            | {"plain loop": peak["eager"], "here": peak["ours"], "steps alone, plain": steps["eager"], "steps alone, here": steps["ours"]}
        )
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------------------------------- figures


def not_measured() -> Figure:
    """What stands for a figure whose benchmark has left no file."""
    figure = Figure(figsize=(7.2, 0.6))
    figure.text(0.01, 0.5, "not measured yet", va="center")
    return figure


def ratio_figure(folder: Path = FOLDER) -> Figure:
    """How many times faster, as medians with ranges: training cycles and the gradient penalty alone; 1 is the plain loop."""
    rows, kinds = [], ("training cycle", "gradient penalty", "training cycle in bf16")
    for found, what in ((entries("train", folder), kinds[0]), (entries("gp", folder), kinds[1]), (entries("train-bf16", folder), kinds[2])):
        for e in found:
            label = f"{e['paper']}, {e['size']} px, batch {e['batch']}" + ("" if e["profile"] == "paper" else f", {e['profile']}")
            label += ", compiled" if e.get("compiled") else ""
            rows.append({"label": label, "what": what} | e["ratio"][clock(e)])
    if not rows:
        return not_measured()
    frame = pd.DataFrame(rows).sort_values(["what", "median"], ascending=[False, True]).reset_index(drop=True)
    figure = Figure(figsize=(7.2, 1.2 + 0.3 * len(frame)), layout="constrained")
    axis, colors = figure.subplots(), dict(zip(kinds, sns.color_palette("colorblind"), strict=False))
    axis.hlines(frame.index, frame["low"], frame["high"], colors=frame["what"].map(colors), lw=2)
    sns.scatterplot(frame, x="median", y=frame.index, hue="what", style="what", palette=colors, s=60, ax=axis, zorder=3)
    axis.axvline(1, color="0.6", lw=1)
    axis.set_yticks(frame.index, frame["label"])
    axis.set(xlabel="times faster than the plain loop (median, range)", ylabel="", xlim=(min(0.9, frame["low"].min()), None))
    axis.legend(title=None, frameon=False, loc="lower right")
    sns.despine(figure, left=True)
    return figure


def inference_figure(folder: Path = FOLDER) -> Figure:
    """Milliseconds an image per method at each batch, on a logarithmic axis."""
    rows = []
    for e in entries("infer", folder):
        for batch, ways in e["milliseconds_per_image"].items():
            for way, value in ways.items():
                label = f"{e['paper']}, {e['size']} px" + ("" if way == "plain" else f", {way}")
                rows.append({"label": label, "batch": batch, "ms": value[clock(e)]["median"]})
    if not rows:
        return not_measured()
    frame = pd.DataFrame(rows).sort_values("ms")
    figure = Figure(figsize=(7.2, 1.2 + 0.3 * frame["label"].nunique()), layout="constrained")
    axis = figure.subplots()
    sns.stripplot(frame, x="ms", y="label", hue="batch", palette="colorblind", size=8, jitter=False, ax=axis)
    axis.set(xscale="log", xlabel="milliseconds an image", ylabel="")
    axis.grid(axis="y", color="0.9")
    axis.legend(title=None, frameon=False)
    sns.despine(figure, left=True)
    return figure


def facts(folder: Path = FOLDER) -> dict[str, str]:
    """What stands behind the page."""
    found = machines(folder)
    return {"measurements": ", ".join(sorted(set(found["benchmark"]))), "hardware": "; ".join(sorted(set(found["device"])))}

"""How long a slider takes to show a new picture: `python -m benchmarks.explorer --json results/benchmarks/explorer.json`.

Networks of every method at 64 pixels, as wide as its `cpu` profile has them and untrained (the time does not depend on what they learned), with both
judges. In the kernel: from a slider's new value to the new picture, its residual, its bars and the link to save it, ready to be sent. In a browser
(JupyterLab in headless Chromium, where both are installed): from the key press to the new picture in the page, and how many pictures are made
while a key is held down faster than they come.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import nn

from lib import explorer, explorer_view, judges
from lib.engine import weights
from lib.provenance import ROOT
from lib.runs import hardware, write_json

METHODS = ("sagan", "atigan", "diat", "sggan", "bridgegan", "stargan", "cyclegan", "resgan")
AIM = 100.0  # milliseconds


def untrained(root: Path, method: str, size: int, profile: str = "cpu", run_id: str = "synthetic-cpu-s0-untrained", **record) -> Path:
    """A run folder of a method with weights that were never trained: what the explorer needs of one. Returns the folder."""
    module = explorer.module_of(method)
    cfg = dataclasses.replace(module.PROFILES[profile](), size=size)
    torch.manual_seed(len(method))
    nets = {model: module.build(cfg) for model in dict.fromkeys(stage.model for stage in module.stages(cfg))}
    for value in weights(nets).values():  # as they start, some hardly change a picture
        value.mul_(2)
    folder = root / method / run_id
    folder.mkdir(parents=True)
    file = folder / "checkpoint.safetensors"
    save_file(weights(nets), file)
    known = {"status": "complete", "paper": method, "title": module.TITLE, "run_id": run_id, "profile": profile, "data": "synthetic", "size": size}
    known |= {"seed": 0, "publishable": True, "scratch": False, "started": "2026", "checkpoint_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    (folder / "run.json").write_text(json.dumps(known | record))
    (folder / "config.json").write_text(json.dumps({"paper": method, "config": dataclasses.asdict(cfg)}))
    return folder


def untrained_judges(size: int, width: int = 8) -> tuple[judges.Judge, judges.Judge]:
    """Both judges as wide as the `cpu` profile's, untrained."""
    names = judges.JUDGED
    scores = pd.DataFrame([{"attribute": a, "balanced_accuracy": 1.0} for a in names])
    scale = pd.DataFrame([{"genuine_median": 0.8, "impostor_99": 0.5}])
    out = []
    for kind, body, n, frame in (("attribute", judges.PlaceNet, len(names), scores), ("identity", judges.FaceNet, 300, scale)):
        net = body(width, size).eval()
        out.append(judges.Judge(kind, net, nn.Linear(net.features, n), names, frame, "untrained", torch.device("cpu")))
    return tuple(out)


def in_the_kernel(run: explorer.Found, moves: int) -> dict:
    """Milliseconds from a slider's value to everything ready to be sent: median and 95th percentile over `moves`, after 10 to warm up."""
    view = explorer_view.Explorer([run])
    slider = view.sliders[next(iter(view.left.names))]
    took = []
    for k in range(moves + 10):
        began = time.perf_counter()
        slider.value = 0.05 + 0.9 * ((7 * k) % 19) / 19
        took.append(1000 * (time.perf_counter() - began))
    assert view.frames >= moves + 10 and not view.say.value, view.say.value
    return {"median_ms": round(statistics.median(took[10:]), 1), "p95_ms": round(float(np.quantile(took[10:], 0.95)), 1)}


WATCH = """() => new Promise(done => {
  const knob = document.querySelector('.study-sliders [role=slider]'), times = [];
  const picture = () => document.querySelector('.study-edited img').src;
  let left = 30, began = 0, shown = picture();
  const look = () => {
    if (began && picture() !== shown) { shown = picture(); times.push(performance.now() - began); began = 0; setTimeout(press, 150); }
    requestAnimationFrame(look);
  };
  const press = () => {
    if (!left--) return done(times);
    began = performance.now();
    knob.dispatchEvent(new KeyboardEvent('keydown', { key: left % 2 ? 'ArrowRight' : 'ArrowLeft', bubbles: true, cancelable: true }));
  };
  look(); press();
})"""
DRAG = """() => new Promise(done => {
  const knob = document.querySelector('.study-sliders [role=slider]'), seen = new Set();
  const picture = () => document.querySelector('.study-edited img').src;
  const first = picture(); let presses = 0, last = performance.now();
  const look = () => {
    const now = picture();
    if (now !== first && !seen.has(now)) { seen.add(now); last = performance.now(); }
    requestAnimationFrame(look);
  };
  look();
  const began = performance.now();
  const timer = setInterval(() => {
    knob.dispatchEvent(new KeyboardEvent('keydown', { key: presses % 18 < 9 ? 'ArrowLeft' : 'ArrowRight', bubbles: true, cancelable: true }));
    if (++presses === 36) {
      clearInterval(timer); const end = performance.now();
      setTimeout(() => done({ presses, pictures: seen.size, seconds: (end - began) / 1000, late_ms: last - end }), 3000);
    }
  }, 10);
})"""


def in_a_browser(cache: Path) -> dict:
    """The same seen from the page, for SaGAN. Raises ImportError or FileNotFoundError where JupyterLab, Playwright or a Chromium is missing."""
    import jupyterlab  # noqa: F401
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    chromium = os.environ.get("CHROMIUM") or next((path for path in map(shutil.which, names) if path), None)
    if not chromium:
        raise FileNotFoundError("no Chromium")
    code = "from benchmarks import explorer as b; from lib import explorer, explorer_view\n"
    code += "both = b.untrained_judges(64); explorer.judges_of = lambda run: both\n"
    code += f"view = explorer_view.Explorer(explorer.found(__import__('pathlib').Path({str(cache)!r}))[0][:1]); view.box"
    folder = cache / "notebooks"
    folder.mkdir()
    import nbformat

    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata=kernel), folder / "b.ipynb")
    env = os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_RUNTIME_DIR": str(cache / "runtime"), "JUPYTER_CONFIG_DIR": str(cache / "config")}
    options = ["--no-browser", "--port=0", "--ServerApp.token=", "--ServerApp.password=", "--allow-root", f"--notebook-dir={folder}"]
    options += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"]
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = None
        for _ in range(1200):
            if found := list((cache / "runtime").glob("jpserver-*.json")):
                address = json.loads(found[0].read_text())["url"]
                break
            time.sleep(0.1)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            page = browser.new_page()
            page.set_default_timeout(180_000)
            page.goto(f"{address}lab/tree/b.ipynb?reset")
            page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
            page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
            page.locator(".study-edited img").wait_for()
            knob = page.locator(".study-sliders [role=slider]").first
            for _ in range(2):  # to the middle, where either key moves it
                knob.focus()
                knob.press("PageUp")
            page.locator(".study-method").get_by_text("0.50").first.wait_for()
            page.evaluate(WATCH)  # to warm up
            times, drag = page.evaluate(WATCH), page.evaluate(DRAG)
            browser.close()
    finally:
        server.terminate()
        server.wait(30)
    held = {"presses": drag["presses"], "seconds": round(drag["seconds"], 2), "pictures": drag["pictures"]}
    held["last_picture_late_ms"] = round(drag["late_ms"])
    return {"median_ms": round(statistics.median(times), 1), "p95_ms": round(float(np.quantile(times, 0.95)), 1), "held_key": held}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explorer", description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--moves", type=int, default=40, help="of the slider, per method")
    parser.add_argument("--no-browser", action="store_true", help="measure in the kernel alone")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    record = {"size": args.size, "aim_ms": AIM, "hardware": hardware("cpu"), "torch": torch.__version__}
    record["load_average_at_start"] = list(os.getloadavg())
    both = untrained_judges(args.size)
    explorer.judges_of = lambda run: both
    with tempfile.TemporaryDirectory() as folder:
        root, record["kernel"] = Path(folder), {}
        for method in METHODS:
            untrained(root / "runs", method, args.size)
            run = next(r for r in explorer.found(root / "runs")[0] if r.method == method)
            record["kernel"][method] = in_the_kernel(run, args.moves)
            print(f"{method:10s} {record['kernel'][method]}", flush=True)
        if not args.no_browser:
            untrained(root / "browser", "sagan", args.size)
            try:
                record["jupyterlab_sagan"] = in_a_browser(root / "browser")
            except (ImportError, FileNotFoundError) as error:
                record["jupyterlab_sagan"] = f"unavailable: {error}"
            print(record["jupyterlab_sagan"])
    record["load_average_at_end"] = list(os.getloadavg())
    if args.json:
        write_json(args.json, record)


if __name__ == "__main__":
    main()

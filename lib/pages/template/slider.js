"use strict";
// Turns each filmstrip (lib/pages/sliders.py) into a window over its sprite, moved by range inputs or by dragging.
for (const figure of document.querySelectorAll("figure.study-slider")) {
  const { kind, rows, columns, width, height } = figure.dataset;
  const strip = figure.querySelector(".study-strip");
  const sprite = figure.querySelector("img");
  const isPad = kind === "pad";
  const axes = isPad ? { x: JSON.parse(figure.dataset.x), y: JSON.parse(figure.dataset.y) } : { x: JSON.parse(figure.dataset.x) };
  const names = JSON.parse(figure.dataset.y);
  const inputs = {};

  const scale = Math.max(1, Math.ceil(160 / width));
  const stage = document.createElement("div");
  stage.className = "study-stage";
  const pictures = [];
  for (let row = 0; row < (isPad ? 1 : rows); row++) {
    const pane = document.createElement("div");
    pane.className = "study-pane";
    pane.style.width = width * scale + "px";
    pane.style.aspectRatio = width + " / " + height;
    const picture = sprite.cloneNode();
    picture.removeAttribute("width");
    picture.removeAttribute("height");
    picture.style.width = columns * 100 + "%";
    picture.style.height = rows * 100 + "%";
    if (row > 0) picture.alt = "";
    pane.append(picture);
    if (!isPad && names[row]) {
      const part = document.createElement("div");
      part.style.width = width * scale + "px";
      part.append(pane, names[row]);
      stage.append(part);
    } else stage.append(pane);
    pictures.push(picture);
  }

  const controls = document.createElement("div");
  controls.className = "study-controls";
  for (const [axis, labels] of Object.entries(axes)) {
    const line = document.createElement("label");
    const input = document.createElement("input");
    const output = document.createElement("output");
    if (isPad) line.append(axis === "x" ? "↔" : "↕");
    Object.assign(input, { type: "range", min: 0, max: labels.length - 1, step: 1, value: figure.dataset.start || 0 });
    input.setAttribute("aria-label", figure.querySelector("figcaption").textContent + (isPad ? (axis === "x" ? ", across" : ", down") : ""));
    input.addEventListener("input", show);
    line.append(input, output);
    controls.append(line);
    inputs[axis] = { input, output, labels };
  }

  function show() {
    for (const { input, output, labels } of Object.values(inputs)) {
      output.value = labels[input.value];
      input.setAttribute("aria-valuetext", labels[input.value]);
    }
    pictures.forEach((picture, row) => {
      picture.style.left = -100 * inputs.x.input.value + "%";
      picture.style.top = -100 * (isPad ? inputs.y.input.value : row) + "%";
    });
  }

  function drag(event) {
    if (event.type === "pointermove" && !(event.buttons & 1)) return;
    const pane = event.target.closest(".study-pane");
    if (!pane) return;
    const box = pane.getBoundingClientRect();
    const part = { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
    for (const axis of Object.keys(inputs)) {
      const { input, labels } = inputs[axis];
      input.value = Math.max(0, Math.min(labels.length - 1, Math.floor(part[axis] * labels.length)));
    }
    event.preventDefault();
    show();
  }
  stage.style.touchAction = isPad ? "none" : "pan-y";
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);

  show();
  strip.replaceWith(stage, controls);
  figure.classList.add("study-live");
}

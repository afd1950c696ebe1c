"use strict";
// Turns each filmstrip (lib/pages/sliders.py) into windows over its sprite, moved by a range input or by dragging.
for (const figure of document.querySelectorAll("figure.study-slider")) {
  const { rows, columns, width, height } = figure.dataset;
  const strip = figure.querySelector(".study-strip");
  const sprite = figure.querySelector("img");
  const labels = JSON.parse(figure.dataset.labels);
  const names = JSON.parse(figure.dataset.names);

  const full = width * Math.max(1, Math.ceil(160 / width)) + "px";
  // all in one row where they fit, two side by side on a phone
  const shown = rows > 1 ? `min(${full}, max(9.5rem, calc(${100 / rows}% - .5rem)), calc(50% - .25rem))` : full;
  const stage = document.createElement("div");
  stage.className = "study-stage";
  const pictures = [];
  for (let row = 0; row < rows; row++) {
    const pane = document.createElement("div");
    pane.className = "study-pane";
    pane.style.width = names[row] ? "100%" : shown;
    pane.style.aspectRatio = width + " / " + height;
    const picture = sprite.cloneNode();
    picture.removeAttribute("width");
    picture.removeAttribute("height");
    picture.style.width = columns * 100 + "%";
    picture.style.height = rows * 100 + "%";
    picture.style.top = -100 * row + "%";
    if (row > 0) picture.alt = "";
    pane.append(picture);
    if (names[row]) {
      const part = document.createElement("div");
      part.style.width = shown;
      part.append(pane, names[row]);
      stage.append(part);
    } else stage.append(pane);
    pictures.push(picture);
  }

  const controls = document.createElement("label");
  controls.className = "study-controls";
  const input = document.createElement("input");
  const output = document.createElement("output");
  Object.assign(input, { type: "range", min: 0, max: labels.length - 1, step: 1, value: figure.dataset.start });
  input.setAttribute("aria-label", figure.querySelector("figcaption").textContent);
  input.addEventListener("input", show);
  controls.append(input, output);

  function show() {
    output.value = labels[input.value];
    input.setAttribute("aria-valuetext", labels[input.value]);
    for (const picture of pictures) picture.style.left = -100 * input.value + "%";
  }

  function drag(event) {
    if (event.type === "pointermove" && !(event.buttons & 1)) return;
    const pane = event.target.closest(".study-pane");
    if (!pane) return;
    const box = pane.getBoundingClientRect();
    const place = Math.floor(((event.clientX - box.left) / box.width) * labels.length);
    input.value = Math.max(0, Math.min(labels.length - 1, place));
    event.preventDefault();
    show();
  }
  stage.style.touchAction = "pan-y";
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("pointermove", drag);

  show();
  strip.replaceWith(stage, controls);
  figure.classList.add("study-live");
}

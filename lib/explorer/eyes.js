// Choose a photo and click on its two eyes. The picture is made smaller here, in the browser, before the kernel gets it.
const LONGEST = 1000; // pixels of the longer side that are sent
const MOST = 40e6; // pixels of a picture that is opened at all
const START = [[0.4, 0.42], [0.6, 0.42]]; // where the marks stand before anybody has moved them
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function render({ model, el }) {
  el.classList.add("study-photo");
  el.innerHTML = `
    <p><label>A picture of one face, seen from the front: <input type="file" accept="image/*"></label></p>
    <div hidden>
      <p role="status"></p>
      <div class="study-photo-stage" style="position:relative;display:inline-block;line-height:0;cursor:crosshair;max-width:100%">
        <img alt="Your photo, to click on both eyes" style="max-width:100%;max-height:320px" draggable="false">
      </div>
    </div>`;
  const [file, rest, hint, stage, image] = ["input", "div", "p[role]", ".study-photo-stage", "img"].map((part) => el.querySelector(part));
  let eyes, moved;

  const marks = ["left eye", "right eye"].map((name, which) => {
    const mark = document.createElement("button");
    mark.type = "button";
    mark.setAttribute("aria-label", name + " in the picture; arrow keys move it, faster with shift");
    mark.style.cssText =
      "position:absolute;width:18px;height:18px;margin:-9px 0 0 -9px;padding:0;border:2px solid #fff;border-radius:50%;" +
      "box-shadow:0 0 0 2px #1a56b0;background:transparent;cursor:move";
    mark.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      place(which, ...step.map((s, k) => eyes[which][k] + s / (event.shiftKey ? 40 : 200)));
    });
    stage.append(mark);
    return mark;
  });

  function show() {
    marks.forEach((mark, k) => Object.assign(mark.style, { left: 100 * eyes[k][0] + "%", top: 100 * eyes[k][1] + "%" }));
    hint.textContent = !moved[0]
      ? "Click on the centre of the eye on the left side of the picture."
      : !moved[1]
        ? "Now click on the eye on the right side."
        : "Both eyes are set. Click again, or use the arrow keys on a mark, to move the nearer one.";
  }

  function place(which, ...at) {
    eyes[which] = at.map((v) => Math.min(1, Math.max(0, v)));
    moved[which] = true;
    show();
    if (moved[0] && moved[1]) {
      model.set("eyes", eyes.flat());
      model.save_changes();
    }
  }

  stage.addEventListener("click", (event) => {
    if (event.target !== image) return;
    const box = image.getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const far = (eye) => Math.hypot((eye[0] - at[0]) * box.width, (eye[1] - at[1]) * box.height);
    place(!moved[0] ? 0 : !moved[1] ? 1 : far(eyes[0]) <= far(eyes[1]) ? 0 : 1, ...at);
  });

  function refuse(why) {
    model.set("problem", [why, Date.now()]); // the same sentence twice is news too
    model.save_changes();
    file.value = "";
  }

  file.addEventListener("change", async () => {
    if (!file.files[0]) return;
    const address = URL.createObjectURL(file.files[0]);
    const opened = new Image();
    opened.src = address;
    try {
      await opened.decode();
    } catch {
      return refuse("This file is not a picture that can be read. Give a PNG, JPEG or WebP file.");
    } finally {
      URL.revokeObjectURL(address);
    }
    const [wide, high] = [opened.naturalWidth, opened.naturalHeight];
    if (wide * high > MOST) return refuse(`This picture is huge: ${wide} x ${high} pixels, over 40 million. Make it smaller and try again.`);
    const scale = Math.min(1, LONGEST / Math.max(wide, high));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [wide, high].map((side) => Math.max(1, Math.round(side * scale)));
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(opened, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(async (blob) => {
      if (!blob) return refuse(`This picture cannot be made smaller by this browser: ${wide} x ${high} pixels.`);
      image.src = canvas.toDataURL(blob.type, 0.95);
      [eyes, moved] = [START.map((eye) => [...eye]), [false, false]];
      model.set("eyes", []);
      model.set("content", new DataView(await blob.arrayBuffer()));
      model.save_changes();
      rest.hidden = false;
      show();
    }, Math.max(wide, high) <= 256 ? "image/png" : "image/jpeg", 0.95);
  });
}

export default { render };

// Choose a photo and click on its two eyes. The picture is made smaller here, in the browser, before anything is sent to the kernel.
const LONGEST = 1000; // pixels of the longer side that are sent
const MOST = 40e6; // pixels of a picture that is opened at all

function render({ model, el }) {
  el.classList.add("study-photo");
  el.innerHTML = `
    <p><label>1. Choose a picture of one face, seen from the front: <input type="file" accept="image/*"></label></p>
    <div class="study-photo-rest" hidden>
      <p class="study-photo-hint" role="status"></p>
      <div class="study-photo-stage" style="position:relative;display:inline-block;line-height:0;cursor:crosshair;max-width:100%">
        <img alt="Your photo, to click on both eyes" style="max-width:100%;max-height:320px" draggable="false">
      </div>
      <p>Or type where they are, in per cent of width and height from the top left corner:<br><span class="study-photo-typed"></span></p>
    </div>`;
  const file = el.querySelector("input[type=file]");
  const rest = el.querySelector(".study-photo-rest");
  const hint = el.querySelector(".study-photo-hint");
  const stage = el.querySelector(".study-photo-stage");
  const image = el.querySelector("img");
  const names = ["left eye", "right eye"];
  let eyes = [null, null];

  const marks = names.map((name, which) => {
    const mark = document.createElement("button");
    mark.type = "button";
    mark.setAttribute("aria-label", name + " in the picture; arrow keys move it");
    mark.style.cssText =
      "position:absolute;width:18px;height:18px;margin:-9px 0 0 -9px;padding:0;border:2px solid #fff;border-radius:50%;" +
      "box-shadow:0 0 0 2px #1a56b0;background:transparent;cursor:move";
    mark.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      place(which, eyes[which][0] + step[0] / 200, eyes[which][1] + step[1] / 200);
    });
    stage.append(mark);
    return mark;
  });
  const typed = names.map((name, which) =>
    ["across", "down"].map((axis, k) => {
      const label = document.createElement("label");
      const input = document.createElement("input");
      Object.assign(input, { type: "number", min: 0, max: 100, step: 0.5 });
      input.style.width = "5em";
      input.setAttribute("aria-label", `${name}, ${axis}, per cent`);
      label.append(`${name}, ${axis} `, input, " ");
      input.addEventListener("change", () => {
        const at = typed[which].map((field) => (field.value === "" ? NaN : field.value / 100));
        if (at.every((v) => !Number.isNaN(v))) place(which, ...at);
      });
      el.querySelector(".study-photo-typed").append(label);
      return input;
    }),
  );

  function show() {
    eyes.forEach((eye, which) => {
      marks[which].hidden = !eye;
      marks[which].style.display = eye ? "block" : "none";
      typed[which].forEach((field, k) => (field.value = eye ? (100 * eye[k]).toFixed(1) : ""));
      if (eye) Object.assign(marks[which].style, { left: 100 * eye[0] + "%", top: 100 * eye[1] + "%" });
    });
    hint.textContent = !eyes[0]
      ? "2. Click on the centre of the eye on the left side of the picture."
      : !eyes[1]
        ? "3. Now click on the eye on the right side."
        : "Both eyes are set. Click again, or use the arrow keys on a mark, to move the nearer one.";
  }

  function place(which, x, y) {
    eyes[which] = [Math.min(1, Math.max(0, x)), Math.min(1, Math.max(0, y))];
    show();
    if (eyes[0] && eyes[1]) {
      model.set("eyes", eyes.flat());
      model.save_changes();
    }
  }

  image.addEventListener("click", (event) => {
    const box = image.getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const far = (eye) => Math.hypot((eye[0] - at[0]) * box.width, (eye[1] - at[1]) * box.height);
    place(!eyes[0] ? 0 : !eyes[1] ? 1 : far(eyes[0]) <= far(eyes[1]) ? 0 : 1, ...at);
  });

  function refuse(why) {
    model.set("problem", "");
    model.set("problem", why + " \u200b".repeat((refuse.times = (refuse.times || 0) + 1) % 2)); // the same sentence twice is news too
    model.save_changes();
    file.value = "";
  }

  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    if (!chosen) return;
    const address = URL.createObjectURL(chosen);
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
    [canvas.width, canvas.height] = [Math.max(1, Math.round(wide * scale)), Math.max(1, Math.round(high * scale))];
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(opened, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(async (blob) => {
      if (!blob) return refuse(`This picture cannot be made smaller by this browser: ${wide} x ${high} pixels.`);
      image.src = canvas.toDataURL(blob.type, 0.95);
      eyes = [null, null];
      model.set("eyes", []);
      model.set("content", new DataView(await blob.arrayBuffer()));
      model.save_changes();
      rest.hidden = false;
      show();
    }, Math.max(wide, high) <= 256 ? "image/png" : "image/jpeg", 0.95);
  });

  model.on("change:eyes", () => {
    const given = model.get("eyes");
    if (given.length === 4) eyes = [given.slice(0, 2), given.slice(2)];
    if (!rest.hidden) show();
  });
}

export default { render };

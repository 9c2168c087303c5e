// The board: a picture to start from, with a mask painted over it. value {file: {path}, mask: data URI | null, line}, small enough to
// be handed in with every run; picture {src, w, h} is what is drawn here. Painting works with a pen, a finger, or the keys.

const find = (name) => element.querySelector(name);
const canvas = find("canvas");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const at = { x: 0.5, y: 0.5, down: false, rubs: false };
const COLOUR = "#f0379b";

function put(more) {
  props.value = { ...(props.value || {}), ...more };
}

function say(line, failed = false) {
  find(".line").textContent = line || "";
  element.dataset.state = failed ? "failed" : "idle";
}

function radius() {
  return (Number(find(".width").value) / 200) * Math.min(canvas.width, canvas.height);
}

function point() {
  const tip = find(".tip");
  const size = (200 * radius()) / canvas.width;
  Object.assign(tip.style, { left: `${100 * at.x}%`, top: `${100 * at.y}%`, width: `${size}%` });
}

function stroke(x, y) {
  pen.globalCompositeOperation = at.rubs ? "destination-out" : "source-over";
  pen.strokeStyle = pen.fillStyle = COLOUR;
  pen.lineWidth = 2 * radius();
  pen.lineCap = "round";
  pen.beginPath();
  pen.moveTo(at.x * canvas.width, at.y * canvas.height);
  pen.lineTo(x * canvas.width + 0.01, y * canvas.height);
  pen.stroke();
  pen.globalCompositeOperation = "source-over";
}

function painted() {
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 3; i < data.length; i += 4) if (data[i] > 127) return true;
  return false;
}

// White where there is paint, black elsewhere.
function mask() {
  if (!painted()) return null;
  const sheet = document.createElement("canvas");
  [sheet.width, sheet.height] = [canvas.width, canvas.height];
  const drawn = sheet.getContext("2d");
  drawn.drawImage(canvas, 0, 0);
  drawn.globalCompositeOperation = "source-in";
  drawn.fillStyle = "#fff";
  drawn.fillRect(0, 0, sheet.width, sheet.height);
  drawn.globalCompositeOperation = "destination-over";
  drawn.fillStyle = "#000";
  drawn.fillRect(0, 0, sheet.width, sheet.height);
  return sheet.toDataURL("image/png");
}

function keep() {
  put({ mask: mask() });
}

function wipe() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
}

function repaint(uri) {
  wipe();
  if (!uri) return;
  const image = new Image();
  image.onload = () => {
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < pixels.data.length; i += 4) pixels.data.set([240, 55, 155, pixels.data[i]], i);
    pen.putImageData(pixels, 0, 0);
  };
  image.src = uri;
}

function show() {
  const picture = (props.value || {}).file ? props.picture : null;
  for (const name of [".sheet", ".tools", ".hint"]) find(name).hidden = !picture;
  find(".drop").hidden = Boolean(picture);
  if (!picture) return;
  find("img").src = picture.src;
  [canvas.width, canvas.height] = [picture.w, picture.h];
  find(".sheet").style.aspectRatio = `${picture.w} / ${picture.h}`;
  repaint((props.value || {}).mask);
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  at.down = true;
  [at.x, at.y] = place(event);
  stroke(at.x, at.y);
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = place(event);
  if (at.down) stroke(x, y);
  [at.x, at.y] = [x, y];
  point();
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { if (at.down) keep(); at.down = false; });
for (const [name, hidden] of [["pointerenter", false], ["pointerleave", true], ["focus", false], ["blur", true]]) {
  canvas.addEventListener(name, () => { find(".tip").hidden = hidden; point(); });
}
canvas.addEventListener("keydown", (event) => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (way) [at.x, at.y] = [at.x + way[0] / 24, at.y + way[1] / 24].map((value) => Math.min(Math.max(value, 0), 1));
  else if (event.key === " ") { stroke(at.x, at.y); keep(); } else return;
  event.preventDefault();
  point();
});
find(".width").addEventListener("input", point);
find(".rub").addEventListener("click", (event) => {
  at.rubs = !at.rubs;
  event.target.setAttribute("aria-pressed", String(at.rubs));
});
find(".clear").addEventListener("click", () => { wipe(); keep(); });
find(".invert").addEventListener("click", () => {
  pen.globalCompositeOperation = "xor";
  pen.fillStyle = COLOUR;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.globalCompositeOperation = "source-over";
  keep();
});
find(".remove").addEventListener("click", () => { props.value = null; say(""); show(); });
takes(find(".drop"), (told) => {
  say(told.line || "Reading …", Boolean(told.line));
  if (told.path) trigger("upload", { path: told.path });
});

show();
watch(["value", "picture"], () => {
  const value = props.value || {};
  say(value.line, value.state === "failed");
  show();
});

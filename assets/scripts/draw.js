// What the scripts of several tabs draw with, out of the nodes of nodes.js: axes, lines, rough pictures.

const fixed = (value, digits = 2) =>
  value === null || value === undefined || !Number.isFinite(value) ? "–" : value.toFixed(digits).replace("-", "−");

// The line under a view: how the work stands.
function say(status) {
  const line = element.querySelector(".g-line");
  if (!line) return;
  element.dataset.state = (status && status.state) || "idle";
  element.style.setProperty("--part", (status && status.part) || 0);
  line.textContent = (status && status.line) || "";
}

// A grid {h, w, c, v: hundredths} as pixels; `mix` makes [r, g, b, a] in 0…255 of the channels at a cell.
function paint(canvas, { h, w }, mix) {
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d");
  const image = context.createImageData(w, h);
  for (let i = 0; i < h * w; i++) image.data.set(mix(i, h * w), 4 * i);
  context.putImageData(image, 0, 0);
}

const byte = (value) => Math.max(0, Math.min(255, Math.round((value + 1) * 127.5)));
const colours = (grid) => (i, n) => [0, 1, 2].map((c) => byte(grid.v[c * n + i] / 100)).concat(255);

// Round numbers from low to high, about `count` of them.
function ticks(low, high, count = 5) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

const short = (value) => typeset(value && Math.abs(value) < 0.001 ? value.toExponential(0) : String(Number(value.toPrecision(3))));

// An empty chart in `parent`: {svg, x(value), y(value)}; axes {low, high, name, log?}; equal: a unit is as long on both.
function axes(parent, name, x, y, { width = 460, height = 320, left = 58, bottom = 46, equal = false } = {}) {
  parent.replaceChildren();
  width = Math.max(300, Math.min(1.5 * width, parent.clientWidth || width)); // letters keep their size on a phone
  if (equal) height = 14 + bottom + ((width - 14 - left) * (y.high - y.low)) / (x.high - x.low);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart" }, parent);
  draw("title", {}, svg, name);
  const inner = { left, right: width - 14, top: 14, bottom: height - bottom };
  const scale = (axis, from, to) => {
    const of = axis.log ? Math.log10 : (value) => value;
    const [low, high] = [of(axis.low), of(axis.high)];
    return (value) => from + ((of(value) - low) / (high - low || 1)) * (to - from);
  };
  const at = { svg, inner, x: scale(x, inner.left, inner.right), y: scale(y, inner.bottom, inner.top) };
  const marks = (axis) => axis.ticks || (axis.log ? decades(axis) : ticks(axis.low, axis.high));
  for (const value of marks(x)) {
    draw("line", { x1: at.x(value), x2: at.x(value), y1: inner.top, y2: inner.bottom, class: "rule" }, svg);
    draw("text", { x: at.x(value), y: inner.bottom + 17, class: "tick", "text-anchor": "middle" }, svg, (x.text || short)(value));
  }
  for (const value of marks(y)) {
    draw("line", { x1: inner.left, x2: inner.right, y1: at.y(value), y2: at.y(value), class: "rule" }, svg);
    draw("text", { x: inner.left - 7, y: at.y(value) + 4, class: "tick", "text-anchor": "end" }, svg, (y.text || short)(value));
  }
  const middle = (inner.top + inner.bottom) / 2;
  draw("text", { x: (inner.left + inner.right) / 2, y: height - 8, class: "name", "text-anchor": "middle" }, svg, x.name);
  draw("text", { x: 14, y: middle, class: "name", "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, svg, y.name);
  return at;
}

function decades(axis) {
  const found = [];
  for (let k = Math.ceil(Math.log10(axis.low) - 1e-9); 10 ** k <= axis.high * 1.0001; k++) found.push(10 ** k);
  return found;
}

// Several lines over the same places: series [{name, values, kind}], drawn into axes; names stand where the lines end.
function lines(at, places, series) {
  for (const { name, values, kind } of series) {
    const points = values.map((value, i) => [places[i], value]).filter(([, value]) => Number.isFinite(value) && value !== null);
    const path = points.map(([a, b]) => `${at.x(a).toFixed(1)},${at.y(b).toFixed(1)}`).join(" ");
    const line = draw("polyline", { points: path, class: `line ${kind || ""}` }, at.svg);
    draw("title", {}, line, name);
  }
}

// A key to the lines of a chart.
function legend(parent, series) {
  const row = make("div", "legend", parent);
  for (const { name, kind } of series) {
    const entry = make("span", "", row);
    const sample = draw("svg", { viewBox: "0 0 26 8", class: "sample", "aria-hidden": "true" }, entry);
    draw("line", { x1: 1, x2: 25, y1: 4, y2: 4, class: `line ${kind || ""}` }, sample);
    make("span", "", entry, name);
  }
}

function slider(parent, label, { min, max, step, value }, change) {
  const row = make("label", "slide", parent);
  make("span", "of", row, label);
  const input = make("input", "", row);
  Object.assign(input, { type: "range", min, max, step, value });
  input.addEventListener("input", () => change(Number(input.value)));
  make("output", "", row);
  return input;
}

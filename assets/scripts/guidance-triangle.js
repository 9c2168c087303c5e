// The triangle of 0, ε₀ and ε_c in its own plane, with the guided prediction on the line through both. Dragging asks nobody: all
// steps are here. props.value: {status, forming, triangle: {gamma, long, prompt, seed, picture, steps: [{step, t, nsr, a, d, h, off,
//   empty, cond, pull} | {…, only}]}}

const MOST = 15; // of w, the CFG scale
const root = element.querySelector(".g-view");
const parts = {};
const now = { key: null, step: 0, w: 1 };

function frame() {
  if (parts.plane) return;
  root.replaceChildren();
  parts.halves = make("div", "halves wide", root);
  parts.left = make("div", "", parts.halves);
  parts.plane = make("div", "plane", parts.left);
  parts.scale = slider(parts.left, "γ", { min: -1, max: MOST - 1, step: 0.1, value: 0 }, (gamma) => turn(gamma + 1));
  parts.presets = make("div", "presets", parts.left);
  parts.moment = slider(parts.left, "Step", { min: 1, max: 1, step: 1, value: 1 }, (step) => { now.step = step - 1; redraw(); });
  parts.right = make("div", "seen", parts.halves);
  parts.figures = make("div", "pair", parts.right);
  for (const [name, text] of [["x0", "x₀ at this γ, roughly"], ["pull", "|ε_c − ε₀|: where the words pull"]]) {
    const figure = make("figure", "", parts.figures);
    parts[name] = make("canvas", name, figure);
    parts[name].setAttribute("role", "img");
    parts[name].setAttribute("aria-label", text);
    formula(make("figcaption", "", figure), text);
  }
  parts.about = make("p", "about", parts.right);
  parts.numbers = make("table", "numbers", parts.right);
  parts.formed = make("img", "formed", root);
}

const current = () => (props.value && props.value.triangle && props.value.triangle.steps[now.step]) || null;
const both = (w) => `γ ${fixed(w - 1, 1)} = CFG scale ${fixed(w, 1)}`;

function turn(w) {
  now.w = Math.max(0, Math.min(MOST, Math.round(w * 10) / 10));
  redraw();
}

function plane(step) {
  const [width, height, pad] = [560, 400, 46];
  const ends = [0, step.a, step.a + MOST * step.d];
  const [left, right] = [Math.min(...ends), Math.max(...ends)];
  const unit = Math.min((width - 2 * pad) / (right - left), (height - 2 * pad) / step.h);
  const x = (u) => width / 2 + (u - (left + right) / 2) * unit;
  const y = (v) => height - pad - v * unit;
  parts.plane.replaceChildren();
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "drawing" }, parts.plane);
  draw("title", {}, svg, "The plane through 0, ε₀ and ε_c");
  const place = (w) => [x(step.a + w * step.d), y(step.h)];
  const [origin, empty, cond, guided] = [[x(0), y(0)], place(0), place(1), place(now.w)];
  draw("line", { x1: place(0)[0], y1: empty[1], x2: place(MOST)[0], y2: empty[1], class: "way" }, svg);
  for (let w = 0; w <= MOST; w++) draw("line", { x1: place(w)[0], x2: place(w)[0], y1: empty[1] - 4, y2: empty[1] + 4, class: "notch" }, svg);
  draw("polygon", { points: [origin, empty, cond].map((p) => p.join()).join(" "), class: "face" }, svg);
  for (const [end, kind] of [[empty, "plain"], [cond, "plain"], [guided, "guided"]])
    draw("line", { x1: origin[0], y1: origin[1], x2: end[0], y2: end[1], class: kind }, svg);
  const run = place(1 + props.value.triangle.gamma);
  draw("title", {}, draw("circle", { cx: run[0], cy: run[1], r: 13, class: "ring" }, svg), `where this run is: ${props.value.triangle.long}`);
  for (const [point, kind] of [[origin, "zero"], [empty, "end"], [cond, "end"]]) draw("circle", { cx: point[0], cy: point[1], r: 5, class: kind }, svg);
  draw("text", { x: origin[0] + 10, y: origin[1] + 16, class: "at" }, svg, "0");
  draw("text", { x: empty[0] - 6, y: empty[1] - 14, class: "at", "text-anchor": "end" }, svg, "ε₀");
  const words = draw("text", { x: cond[0] + 2, y: cond[1] - 14, class: "at" }, svg, "ε");
  draw("tspan", { dy: 4, "font-size": 12 }, words, "c");
  const far = now.w > 1.6 ? guided[0] : cond[0] + 40;
  draw("text", { x: Math.min(far, width - 8), y: guided[1] + 30, class: "at accent", "text-anchor": far > width - 150 ? "end" : "start" }, svg, `ε, ${both(now.w)}`);
  const knob = draw("circle", { cx: guided[0], cy: guided[1], r: 9, class: "knob", tabindex: 0, role: "slider" }, svg);
  const aria = { valuemin: -1, valuemax: MOST - 1, valuenow: (now.w - 1).toFixed(1), valuetext: both(now.w), label: "guidance γ" };
  for (const [key, value] of Object.entries(aria)) knob.setAttribute(`aria-${key}`, value);
  const moved = (event) => {
    const shown = parts.plane.querySelector("svg"); // each turn draws another one
    if (!shown) return;
    const box = shown.getBoundingClientRect();
    turn((((event.clientX - box.left) / box.width) * width - x(step.a)) / unit / step.d);
  };
  svg.addEventListener("pointerdown", (event) => {
    if (!step.d) return;
    event.preventDefault();
    moved(event);
    const hands = [["pointermove", moved], ["pointerup", () => end()], ["pointercancel", () => end()]];
    const end = () => hands.forEach(([name, act]) => window.removeEventListener(name, act));
    hands.forEach(([name, act]) => window.addEventListener(name, act));
  });
  knob.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 0.1, ArrowUp: 0.1, ArrowLeft: -0.1, ArrowDown: -0.1, PageUp: 1, PageDown: -1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    turn(now.w + by);
    parts.plane.querySelector(".knob").focus();
  });
}

function numbers(step) {
  const angle = (w) => Math.atan2(step.h, step.a + w * step.d);
  const degrees = (p, q) => `${fixed((Math.abs(angle(p) - angle(q)) * 180) / Math.PI, 2)}°`;
  const length = (w) => fixed(Math.hypot(step.a + w * step.d, step.h), 2);
  const rows = [
    ["‖ε₀‖", length(0)], ["‖ε_c‖", length(1)], ["‖ε_c − ε₀‖", fixed(step.d, 3)], ["‖ε‖", length(now.w)],
    ["angle of ε₀ and ε_c", degrees(0, 1)], ["angle of ε₀ and ε", degrees(0, now.w)],
    ["the run's own ε is off the line by", `${step.off === 0 ? "0" : typeset(step.off.toExponential(0))} ‖ε‖`],
  ];
  parts.numbers.replaceChildren();
  const body = make("tbody", "", parts.numbers);
  for (const [name, value] of rows) {
    const line = make("tr", "", body);
    formula(make("th", "", line), name).scope = "row";
    make("td", "", line, value);
  }
}

function redraw() {
  const step = current();
  if (!step) return;
  const { steps, long, prompt, seed } = props.value.triangle;
  parts.moment.max = steps.length;
  parts.moment.value = now.step + 1;
  parts.moment.nextSibling.textContent = `${step.step} of ${steps.length}, t = ${fixed(step.t, 0)}, σ/α = ${short(step.nsr)}`;
  parts.scale.value = now.w - 1;
  parts.scale.nextSibling.textContent = both(now.w);
  parts.about.textContent = `${prompt || "(no words)"} · seed ${seed} · run at ${long}`;
  root.classList.toggle("alone", Boolean(step.only));
  if (step.only) {
    parts.plane.replaceChildren();
    make("p", "notes", parts.plane, "This step is outside the interval: the network was asked once, and there is no triangle.");
    parts.numbers.replaceChildren();
    return;
  }
  plane(step);
  numbers(step);
  const { empty, cond, pull } = step;
  paint(parts.x0, empty, (i, n) => [0, 1, 2].map((c) => byte((empty.v[c * n + i] + now.w * (cond.v[c * n + i] - empty.v[c * n + i])) / 100)).concat(255));
  paint(parts.pull, pull, (i) => [99, 102, 241, Math.round(2.55 * pull.v[i])]);
}

function presets(run) {
  parts.presets.replaceChildren();
  for (const [gamma, text] of [[-1, "ε₀: γ −1"], [0, "ε_c: γ 0"], [6, "usual: γ 6"], [run, `this run: γ ${fixed(run, 1).replace(/\.0$/, "")}`]]) {
    const button = formula(make("button", "", parts.presets), text);
    button.type = "button";
    button.addEventListener("click", () => turn(gamma + 1));
  }
}

function show() {
  const value = props.value || {};
  frame();
  say(value.status);
  const triangle = value.triangle;
  parts.halves.hidden = !triangle;
  parts.formed.hidden = Boolean(triangle) || !value.forming;
  if (value.forming && !triangle) Object.assign(parts.formed, { src: value.forming, alt: "a rough preview" });
  root.hidden = !triangle && !value.forming;
  if (!triangle) return;
  const key = JSON.stringify([triangle.prompt, triangle.seed, triangle.gamma, triangle.steps.length, triangle.picture]);
  if (key !== now.key) {
    Object.assign(now, { key, step: Math.floor(triangle.steps.length * 0.4), w: 1 + triangle.gamma });
    presets(triangle.gamma);
  }
  redraw();
}

show();
watch("value", show);

// Network, perfect denoiser, their difference and the perfect denoiser's own run at every step, from props.value:
//   {frames: [[src, src, src, src]], steps: [{k, t, nsr, entropy, apart, reach, first, share, near, alone}], moves, left,
//    ends: [{src, beside, near}], nearest: {row: {src, name, licence}}, decided, usual, copy, open, named, idle, status}
// where near and alone are [row, distance]. props.step: the step that is shown, 0 for one of the first third.

const root = element.querySelector(".perfect");
const VIEWS = ["Network", "Perfect", "Difference", "Alone"];
let parts = null, at = 0;

function build() {
  root.replaceChildren();
  parts = { at: null };
  const left = make("div", "views", root);
  parts.images = VIEWS.map((name) => {
    const figure = make("figure", name.toLowerCase(), left);
    const image = make("img", "", figure);
    image.alt = `${name} at this step`;
    parts[name] = make("figcaption", "", figure);
    return image;
  });
  const side = make("div", "side", root);
  parts.slider = slider(side, "step", { min: 1, max: 1, step: 1, value: 1 }, (value) => { at = value - 1; remember({ step: props.value.steps[at].k }); frame(); });
  parts.told = make("p", "told", side);
  parts.near = make("div", "near", side);
  parts.ends = make("div", "ends", root);
  parts.charts = ["entropy", "far"].map(() => make("div", "chart-box", root));
}

const known = (row) => props.value.nearest[row];

function pictured(parent, row, text) {
  const figure = make("figure", "", parent), one = known(row);
  Object.assign(make("img", "", figure), { src: one.src, alt: one.name });
  make("figcaption", "", figure, `${one.name} · ${text} · ${one.licence}`);
}

function frame() {
  const { frames, steps, moves, decided, usual, copy, named } = props.value;
  const step = steps[at];
  frames[at].forEach((source, index) => { if (parts.images[index].getAttribute("src") !== source) parts.images[index].src = source; });
  parts.slider.value = at + 1;
  parts.slider.parentElement.querySelector("output").textContent = `${step.k} of ${moves}`;
  parts.Network.textContent = "Network: what it takes the picture for";
  parts.Perfect.textContent = `Perfect, on the same x: ${(100 * step.share).toFixed(step.share > 0.995 ? 0 : 1)} % of it is one training picture`;
  parts.Difference.textContent = `Difference: ${fixed(step.apart)} root mean square`;
  parts.Alone.textContent = `Perfect in a run of its own, from the same noise: ${fixed(step.alone[1])} from the nearest training picture`;
  const doubt = step.entropy > 0.01 ? `as open as ${Math.exp(step.entropy).toFixed(step.entropy > 2 ? 0 : 1)} equal choices` : "decided";
  const moment = decided === null ? "" : at >= decided ? " The decision has fallen." : ` It falls at step ${steps[decided].k}.`;
  parts.told.textContent = `t = ${step.t}, σ/α = ${fixed(step.nsr)}. Entropy of the weights ${fixed(step.entropy)} nats: ${doubt}.${moment} `
    + `${named ? `It knows only the pictures of ${named}. ` : ""}The network's x0 lies ${fixed(step.near[1])} from the nearest training picture, `
    + `${fixed(step.reach)} times as far as from the second (a copy: below ${fixed(copy)}; training pictures lie ${fixed(usual)} apart).`;
  parts.near.replaceChildren();
  pictured(parts.near, step.first, "most of the perfect x0");
  pictured(parts.near, step.near[0], "nearest to the network's x0");
  for (const { here, axes: scale } of parts.marks) for (const name of ["x1", "x2"]) here.setAttribute(name, scale.x(step.k));
}

// Where both runs end, each beside the training picture next to it.
function ends() {
  const { ends: both, usual, left } = props.value;
  parts.ends.replaceChildren();
  both.forEach(({ src, beside, near: [row, far] }, index) => {
    const box = make("section", index ? "alone" : "network", parts.ends), pair = make("div", "pair", box), one = known(row);
    for (const [source, alt] of [[src, index ? "What the perfect denoiser makes" : "What the network makes"], [beside, one.name]])
      Object.assign(make("img", "", pair), { src: source, alt });
    make("h4", "", box, index ? "The perfect denoiser makes a training picture" : "The network makes");
    make("p", "far", box, `${fixed(far)} from the nearest training picture`);
    const noise = index && left ? ` The run ends at σ = ${digits(left)}: that much noise is left.` : "";
    make("p", "note", box, `Beside it: ${one.name} · ${one.licence}.${index ? noise : ` Training pictures lie ${fixed(usual)} apart.`}`);
  });
}

function chart(box, name, low, series, extra) {
  const { steps, moves } = props.value;
  const most = Math.max(low, ...series.flatMap((one) => one.values).filter(finite));
  const scale = axes(box, name, { low: 1, high: Math.max(2, moves), name: "step" }, { low: 0, high: most * 1.06, name: extra.unit }, { width: 560, height: 270 });
  draw("line", { x1: scale.inner.left, x2: scale.inner.right, y1: scale.y(extra.at), y2: scale.y(extra.at), class: "line dashed" }, scale.svg);
  draw("text", { x: scale.inner.right, y: scale.y(extra.at) + 16, class: "tick", "text-anchor": "end" }, scale.svg, extra.told);
  const here = draw("line", { y1: scale.inner.top, y2: scale.inner.bottom, class: "here" }, scale.svg);
  lines(scale, steps.map((step) => step.k), series);
  legend(box, series);
  return { here, axes: scale };
}

// The step of the decision: its name stands half way up, where the entropy has left, on the side that has room.
function fallen({ svg, inner, x }, k) {
  const at = x(k), room = at < inner.right - 90, y = (inner.top + inner.bottom) / 2;
  draw("line", { x1: at, x2: at, y1: inner.top, y2: inner.bottom, class: "line dashed thin" }, svg);
  draw("text", { x: at + (room ? 6 : -6), y, class: "tick", "text-anchor": room ? "start" : "end" }, svg, "decided");
}

function charts() {
  const { steps, open, decided, usual } = props.value, most = Math.log(open);
  const [first, second] = parts.charts;
  const all = (of) => steps.map(of);
  const entropy = chart(first, "Entropy of the perfect denoiser's weights at every step", Math.max(most, 1), [
    { name: "entropy of the weights", kind: "", values: all((step) => step.entropy) },
  ], { unit: "nats", at: most, told: `ln ${Math.round(open)}: everything is open` });
  if (decided !== null) fallen(entropy.axes, steps[decided].k);
  const far = chart(second, "How far x0 is from the nearest training picture, and the network's from the perfect one, at every step", usual, [
    { name: "network's x0 from the nearest training picture", kind: "", values: all((step) => step.near[1]) },
    { name: "that of the perfect denoiser's own run", kind: "third", values: all((step) => step.alone[1]) },
    { name: "network's x0 from the perfect one, on the same x", kind: "second", values: all((step) => step.apart) },
  ], { unit: "root mean square distance", at: usual, told: `${fixed(usual)}: training pictures among themselves` });
  parts.marks = [entropy, far];
}

// The frame of a step; without one, a third of the way, where the decision is near.
const placed = (step) => {
  const { steps } = props.value;
  return step ? Math.max(0, steps.findLastIndex((one) => one.k <= step)) : Math.floor(steps.length / 3);
};

function show() {
  const value = props.value || {};
  if (value.steps && value.steps.length && value.frames) {
    if (!parts) build();
    const shown = parts.of === value.steps.length ? at + 1 : 0;
    parts.slider.max = parts.of = value.steps.length;
    at = shown ? at : placed(props.step);
    charts();
    ends();
    frame();
  }
  root.classList.toggle("empty", !parts);
  say(value.status || { line: value.idle || "" });
}

show();
watch("value", show);
recall("step", (step) => { if (parts) { at = placed(step); frame(); } });

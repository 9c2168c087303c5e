// Guidance by a classifier beside classifier-free, from one noise, step by step. props.value: {status, notes, forming, classifier:
//   {prompt, label, seed, free: {long}, judged: {long}, pictures, nfe, steps: [{step, t, nsr, sure, free, judged, alike, gradient, pull}]}}

const root = element.querySelector(".g-view");
const parts = {};
const now = { key: null, step: 0 };

function figure(parent, name, text) {
  const node = make("figure", "", parent);
  const picture = make(name === "img" ? "img" : "canvas", "", node);
  formula(make("figcaption", "", node), text);
  return picture;
}

function frame() {
  if (parts.notes) return;
  root.replaceChildren();
  parts.notes = make("p", "notes", root);
  parts.all = make("div", "", root);
  parts.moment = slider(parts.all, "Step", { min: 1, max: 1, step: 1, value: 1 }, (step) => { now.step = step - 1; redraw(); });
  parts.pair = make("div", "versus", parts.all);
  for (const [name, direction] of [["free", "ε_c − ε₀, as colours"], ["judged", "−σ ∇ log p(y | x) at the same x"]]) {
    const side = make("section", "", parts.pair);
    parts[`${name}Name`] = make("h4", "", side);
    const row = make("div", "row", side);
    parts[`${name}Picture`] = figure(row, "img", "finished");
    parts[`${name}X0`] = figure(row, "canvas", "x₀ at this step, roughly");
    parts[`${name}Way`] = figure(row, "canvas", direction);
    parts[`${name}Told`] = make("p", "about", side);
  }
  parts.alike = make("p", "about strong", parts.all);
  parts.chart = make("div", "curve", parts.all);
  parts.key = make("div", "", parts.all);
  parts.formed = make("img", "formed", root);
}

function redraw() {
  const { steps, label } = props.value.classifier;
  const step = steps[now.step];
  parts.moment.max = steps.length;
  parts.moment.value = now.step + 1;
  parts.moment.nextSibling.textContent = `${step.step} of ${steps.length}, t = ${fixed(step.t, 0)}, σ/α = ${short(step.nsr)}`;
  for (const [name, way] of [["free", step.pull], ["judged", step.gradient]]) {
    paint(parts[`${name}X0`], step[name].x0, colours(step[name].x0));
    parts[`${name}Way`].parentElement.hidden = !way;
    if (way) paint(parts[`${name}Way`], way, colours(way));
    parts[`${name}Told`].textContent = `p(${label} | x) = ${fixed(step.sure[name === "free" ? 0 : 1], 3)} · ε was pushed by ${short(100 * step[name].share)} % of ‖ε₀‖`;
  }
  formula(parts.alike, step.alike
    ? `Both directions at the same x: cos = ${fixed(step.alike.cosine, 3)}; ‖ε_c − ε₀‖ = ${short(step.alike.pull)}, ‖σ ∇ log p‖ = ${short(step.alike.push)}. With an exact classifier they would be the same.`
    : "");
  const places = steps.map((_, i) => i + 1);
  const series = [{ name: "classifier-free", values: steps.map((s) => s.sure[0]), kind: "first" },
    { name: "by the classifier", values: steps.map((s) => s.sure[1]), kind: "second" }];
  const at = axes(parts.chart, "How sure the classifier is at every step",
    { low: 1, high: places.length, name: "step", ticks: places.length > 16 ? undefined : places },
    { low: 0, high: 1, name: "p(y | x)" }, { width: 760, height: 220 });
  draw("line", { x1: at.x(now.step + 1), x2: at.x(now.step + 1), y1: at.inner.top, y2: at.inner.bottom, class: "here" }, at.svg);
  lines(at, places, series);
  parts.key.replaceChildren();
  legend(parts.key, series);
}

function show() {
  const value = props.value || {};
  frame();
  say(value.status);
  parts.notes.textContent = (value.notes || []).join(" ");
  parts.notes.hidden = !(value.notes || []).length;
  const found = value.classifier;
  parts.all.hidden = !found;
  parts.formed.hidden = Boolean(found) || !value.forming;
  if (value.forming && !found) Object.assign(parts.formed, { src: value.forming, alt: "a rough preview" });
  root.hidden = !found && !value.forming && !(value.notes || []).length;
  if (!found) return;
  const key = JSON.stringify([found.prompt, found.label, found.seed, found.free, found.judged, found.pictures]);
  if (key !== now.key) Object.assign(now, { key, step: Math.floor(found.steps.length * 0.5) });
  ["free", "judged"].forEach((name, i) => {
    const words = name === "free" ? `Classifier-free: ${found.prompt || "(no words)"}` : `Classifier: ${found.label}`;
    parts[`${name}Name`].textContent = `${words} · ${found[name].long} · ${found.nfe[i]} NFE`;
    Object.assign(parts[`${name}Picture`], { src: found.pictures[i], alt: words });
  });
  redraw();
}

show();
watch("value", show);

// A live training on drawn points, from props.value: {charts, grid: {side, span}, cells, fields: [{nsr, t, alpha, said, exact, error,
//   agreement}], made: {points, on}, best: {points, on}, idle, status}; coordinates in hundredths, x and y in turn.
// props.level: which of the fields is shown.

const root = element.querySelector(".points");
let parts = null, at = props.level;

const pairs = (list) => Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i] / 100, list[2 * i + 1] / 100]);
const percent = (of) => `${(100 * of[0]).toFixed(0)} %${finite(of[1]) && of[2] > of[1] ? ` [${(100 * Math.max(0, of[1])).toFixed(0)}, ${(100 * Math.min(1, of[2])).toFixed(0)}]` : ""}`;
const within2 = (of) => `${digits(of[0])}${finite(of[1]) && of[2] > of[1] ? ` [${digits(Math.max(-1, of[1]))}, ${digits(of[2])}]` : ""}`;

function plane(parent, name, span) {
  const svg = draw("svg", { viewBox: `${-span} ${-span} ${2 * span} ${2 * span}`, class: "plane", role: "img" }, parent);
  draw("title", {}, svg, name);
  return svg;
}

function build() {
  root.replaceChildren();
  parts = {};
  const both = make("div", "planes", root);
  const field = make("section", "", both), made = make("section", "", both);
  make("h4", "", field, "The learnt field beside the exact one");
  parts.field = make("div", "", field);
  parts.slider = slider(field, "noise σ/α", { min: 0, max: props.value.fields.length - 1, step: 1, value: at }, (value) => { at = value; remember({ level: at }); arrows(); });
  legend(field, [{ name: "learnt −ε", kind: "" }, { name: "exact −ε", kind: "second" }]);
  parts.told = make("p", "told", field);
  make("h4", "", made, "Points made of noise");
  parts.made = make("div", "", made);
  parts.share = make("p", "told", made);
  parts.panels = make("div", "panels", root);
}

function arrows() {
  const { grid, cells, fields } = props.value, field = fields[at];
  parts.slider.value = at;
  parts.slider.parentElement.querySelector("output").textContent = digits(field.nsr);
  parts.field.replaceChildren();
  const svg = plane(parts.field, "Arrows of −ε at one noise level", grid.span * 1.06);
  for (const [x, y] of pairs(cells)) draw("circle", { cx: field.alpha * x, cy: -field.alpha * y, r: 0.03, class: "seed" }, svg);
  const said = pairs(field.said), exact = pairs(field.exact);
  const step = (2 * grid.span) / (grid.side - 1);
  const longest = Math.max(...exact.map(([x, y]) => Math.hypot(x, y)), 1e-9);
  for (const [list, kind] of [[exact, "second"], [said, ""]]) {
    list.forEach(([u, v], i) => {
      const x = -grid.span + step * Math.floor(i / grid.side), y = -grid.span + step * (i % grid.side);
      const size = Math.min(1.6, Math.hypot(u, v) / longest) / Math.max(1e-9, Math.hypot(u, v)) * step * 1.1;
      draw("line", { x1: x, y1: -y, x2: x + u * size, y2: -(y + v * size), class: `arrow ${kind}` }, svg);
      draw("circle", { cx: x, cy: -y, r: 0.016, class: `foot ${kind}` }, svg);
    });
  }
  parts.told.textContent = `t = ${field.t}. On noisy points of this level the learnt ε agrees with the exact one to ${within2(field.agreement)} `
    + `(1: the same directions, 0: unrelated) and is off by ${within2(field.error.map((share) => (finite(share) ? Math.sqrt(Math.max(0, share)) : share)))} of its length.`;
}

function cloud() {
  const { grid, cells, made, best } = props.value;
  parts.made.replaceChildren();
  const svg = plane(parts.made, "Samples and drawn points", grid.span);
  for (const [x, y] of pairs(cells)) draw("circle", { cx: x, cy: -y, r: 0.06, class: "seed" }, svg);
  for (const [x, y] of pairs(made.points)) draw("circle", { cx: x, cy: -y, r: 0.022, class: "sample-dot" }, svg);
  parts.share.textContent = `${percent(made.on)} of ${made.points.length / 2} samples lie on a drawn point (within three widths of it); a perfect network's: ${percent(best.on)}.`;
}

function show() {
  const value = props.value || {};
  if (value.fields) {
    if (!parts) build();
    arrows();
    cloud();
    anew(parts.panels, value.charts, () => {
      const open = [...parts.panels.querySelectorAll("details")].map((node) => node.open);
      parts.panels.replaceChildren();
      charted(parts.panels, value.charts, open);
    });
  }
  root.classList.toggle("empty", !parts);
  say(value.status || { line: value.idle || "" });
}

show();
watch("value", show);
recall("level", (level) => { at = level; if (parts) arrows(); });
onWidth(show);

// When guidance acts and how much of it is taken back. props.value:
//   {status, forming, ruler: {marks: [{t, nsr, on}], guided, of, nfe, full}, effects: [{name, src, nfe, clipped, spread, line}], conditional}

const root = element.querySelector(".g-view");
const parts = {};
const KINDS = ["first", "second", "third", "fourth"];

function frame() {
  if (parts.ruler) return;
  root.replaceChildren();
  parts.ruler = make("div", "moments", root);
  parts.counted = make("p", "about", root);
  parts.tiles = make("div", "row", root);
  parts.chart = make("div", "curve", root);
  parts.key = make("div", "", root);
}

function ruler(value) {
  parts.ruler.replaceChildren();
  if (!value) return;
  parts.ruler.setAttribute("role", "img");
  parts.ruler.setAttribute("aria-label", `${value.guided} of ${value.of} steps are guided`);
  for (const mark of value.marks) {
    const cell = make("div", mark.on ? "on" : "", parts.ruler);
    make("span", "", cell, short(mark.nsr));
    cell.title = `t = ${fixed(mark.t, 0)}, σ/α = ${short(mark.nsr)}: ${mark.on ? "guided" : "not guided"}`;
  }
  parts.counted.textContent = `σ/α at each step, from noise to picture. ${value.guided} of ${value.of} steps are guided: `
    + `${value.nfe} network evaluations instead of ${value.full}.`;
}

function tiles(found, forming) {
  const shown = forming ? [...found, { name: "…", src: forming }] : found;
  while (parts.tiles.children.length > shown.length) parts.tiles.lastChild.remove();
  shown.forEach((one, i) => {
    let figure = parts.tiles.children[i];
    if (!figure) {
      figure = make("figure", "", parts.tiles);
      make("img", "", figure).decoding = "sync";
      make("figcaption", "", figure);
    }
    const image = figure.firstChild;
    if (image.getAttribute("src") !== one.src) image.src = one.src;
    image.alt = one.name;
    const words = figure.lastChild;
    words.replaceChildren();
    make("b", "", words, one.name);
    if (!one.nfe) return;
    make("span", "", words, `${one.nfe} network evaluations`);
    make("span", "", words, `latents spread ${fixed(one.spread)}`);
    make("span", "", words, `${fixed(100 * one.clipped, 1)} % of values clipped`);
  });
}

function curve(found, conditional) {
  parts.key.replaceChildren();
  if (!found.length) { parts.chart.replaceChildren(); return; }
  const series = found.map((one, i) => ({ name: one.name, values: one.line, kind: KINDS[i] }));
  series.push({ name: "with the words alone (γ = 0), at the x of the first", values: conditional, kind: "dashed" });
  const all = series.flatMap((one) => one.values).filter((v) => v !== null);
  const places = found[0].line.map((_, i) => i + 1);
  const at = axes(parts.chart, "Standard deviation of the predicted x₀ at every step",
    { low: 1, high: places.length, name: "step", ticks: places.length > 16 ? undefined : places },
    { low: 0, high: Math.max(...all) * 1.08, name: "spread of predicted x₀" }, { width: 760, height: 250 });
  lines(at, places, series);
  legend(parts.key, series);
}

function show() {
  const value = props.value || {};
  frame();
  say(value.status);
  ruler(value.ruler);
  tiles(value.effects || [], value.status && value.status.state === "running" ? value.forming : null);
  curve(value.effects || [], value.conditional || []);
}

show();
watch("value", show);

// What is lost when parts are switched off, from props.value: {gallery: [{name, src, loss: [value, low, high], change: [value, low, high]}],
//   of, t, charts, status}: pictures side by side, each with the change of the loss under it, then curves.

const root = element.querySelector(".switched");
const signed = (value) => `${value > 0 ? "+" : ""}${digits(value)}`;

// The change with its interval on a scale that all share; the line is no change.
function scale(parent, { change: [value, low, high] }, [from, to]) {
  const at = (x) => 4 + (192 * (x - from)) / (to - from || 1);
  const svg = draw("svg", { viewBox: "0 0 200 20", class: "scale", "aria-hidden": "true" }, parent);
  draw("line", { x1: at(0), x2: at(0), y1: 0, y2: 20, class: "rule" }, svg);
  draw("line", { x1: at(0), x2: at(value), y1: 10, y2: 10, class: "line" }, svg);
  if (finite(low) && high > low) draw("line", { x1: at(low), x2: at(high), y1: 10, y2: 10, class: "line whisker" }, svg);
  draw("circle", { cx: at(value), cy: 10, r: 4, class: "spot" }, svg);
}

function card(box, one, reach) {
  const figure = make("figure", "", box);
  const frame = make("div", "frame", figure);
  if (one.src) Object.assign(make("img", "", frame), { src: one.src, alt: one.name });
  else make("span", "", frame, "still to be made");
  make("figcaption", "", figure, one.name);
  const [value, low, high] = one.change || one.loss;
  const range = finite(low) && high > low ? ` [${[low, high].map(one.change ? signed : digits).join(", ")}]` : "";
  make("p", "change", figure, one.change ? `loss ${signed(value)}${range}` : `loss ${digits(value)}${range}`);
  if (one.change) scale(figure, one, reach);
}

function show() {
  const { status, ...made } = props.value || {};
  anew(root, made, () => drawAll(made));
  say(status);
}

function drawAll({ gallery = [], charts = [], of, t }) {
  const open = [...root.querySelectorAll("details")].map((node) => node.open);
  root.replaceChildren();
  if (gallery.length) {
    make("p", "note", root, `Loss: mean |v − v̂|² at t = ${Math.round(t)} over ${of}; its change against the whole network on the same noise, 95 % intervals.`);
    const ends = gallery.flatMap((one) => one.change || []).filter(finite).concat(0);
    const box = make("div", "gallery", root);
    for (const one of gallery) card(box, one, [Math.min(...ends), Math.max(...ends)]);
  }
  charted(make("div", "panels", root), charts, open);
}

show();
watch("value", show);
onWidth(show);

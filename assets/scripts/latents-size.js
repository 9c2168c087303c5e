// What a picture costs as pixels and as latents. props.sizes: [{side, pixels, latents, pixel_tokens, latent_tokens, factor, …}] for every
// place of the slider; props.value: {status, counted: [{side, pixels, latents, …_attention, decoder}], timed: [{side, kind, seconds}]}

const root = element.querySelector(".g-view");
const parts = {};
const now = { at: null };
const count = (number) => number.toLocaleString("en");
const UNITS = ["", "k", "M", "G", "T", "P", "E"];

// 275 G: three digits and a unit of a thousand.
function large(number) {
  const power = Math.max(0, Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, number)) / 3 + 1e-9)));
  return `${Number((number / 1000 ** power).toPrecision(3))} ${UNITS[power]}`;
}

function frame() {
  root.replaceChildren();
  const sizes = props.sizes;
  now.at = sizes.findIndex((one) => one.side === 512);
  parts.pick = slider(root, "side", { min: 0, max: sizes.length - 1, step: 1, value: now.at }, (index) => { now.at = index; redraw(); });
  parts.pick.setAttribute("aria-label", "Side of the picture");
  parts.boxes = make("div", "l-boxes", root);
  parts.table = make("table", "numbers", make("div", "scroll", root));
  parts.curves = make("div", "halves", root);
  parts.attention = make("div", "curve", parts.curves);
  parts.flops = make("div", "curve", parts.curves);
  parts.key = make("div", "", root);
  make("p", "about", root, "Attention is a straight line on these axes: its slope is 2 in tokens and 4 in the side.");
}

// Two squares whose areas are as the numbers of values.
function boxes(one) {
  parts.boxes.replaceChildren();
  const small = 150 / Math.sqrt(one.factor);
  const cells = Math.sqrt(one.latent_tokens);
  const svg = draw("svg", { viewBox: "0 0 200 154", role: "img", class: "l-areas" }, parts.boxes);
  draw("title", {}, svg, "Two squares whose areas are as the numbers of values");
  draw("rect", { x: 2, y: 2, width: 150, height: 150, class: "l-area" }, svg);
  draw("rect", { x: 168, y: 152 - small, width: small, height: small, class: "l-area second" }, svg);
  const words = make("div", "", parts.boxes);
  for (const [name, text] of [["pixels", `3·${one.side}·${one.side} = ${count(one.pixels)} numbers`],
    ["latents", `${one.latents / one.latent_tokens}·${cells}·${cells} = ${count(one.latents)} numbers`], ["factor", `${short(one.factor)} times fewer`]]) {
    make("p", `l-count ${name}`, words, text);
  }
}

function rows(one) {
  const value = props.value || {};
  const counted = (value.counted || []).find((found) => found.side === one.side);
  const timed = (kind) => (value.timed || []).find((found) => found.side === one.side && found.kind === kind);
  const made = [
    ["numbers", one.pixels, one.latents, count],
    ["tokens n, if every position is one", one.pixel_tokens, one.latent_tokens, count],
    ["attention weights of one head, n² × 4 bytes", one.pixel_weights, one.latent_weights, (v) => `${large(v)}B`],
  ];
  if (counted) {
    made.push(["operations of one call of this U-Net", counted.pixels, counted.latents, (v) => `${large(v)}FLOP`]);
    made.push(["of them in attention", counted.pixel_attention, counted.latent_attention, (v) => `${large(v)}FLOP`]);
    made.push(["to decode the finished picture, once", 0, counted.decoder, (v) => `${large(v)}FLOP`]);
    made.push(["a picture of 20 calls", 20 * counted.pixels, 20 * counted.latents + counted.decoder, (v) => `${large(v)}FLOP`]);
  }
  const [a, b] = [timed("pixels"), timed("latents")];
  if (a || b) made.push(["seconds of one call here, measured", a && a.seconds, b && b.seconds, (v) => `${short(v)} s`]);
  return made;
}

function table(one) {
  parts.table.replaceChildren();
  const head = make("tr", "", make("thead", "", parts.table));
  for (const name of [`${one.side} × ${one.side}`, "pixels", "latents", "ratio"]) make("th", "", head, name).scope = "col";
  const body = make("tbody", "", parts.table);
  for (const [name, pixels, latents, text] of rows(one)) {
    const line = make("tr", "", body);
    make("th", "", line, name).scope = "row";
    make("td", "", line, pixels === undefined ? "not timed" : pixels ? text(pixels) : "–");
    make("td", "", line, latents === undefined ? "not timed" : text(latents));
    const ratio = pixels / latents;
    make("td", "", line, pixels && latents ? (ratio < 100 ? short(ratio) : count(Math.round(ratio))) : "–");
  }
}

function chart(parent, name, title, points) {
  const all = points.flatMap((one) => one.values.map(([, v]) => v));
  const sides = props.sizes.map((one) => one.side);
  const at = axes(parent, title, { low: sides[0], high: sides[sides.length - 1], name: "side in pixels", log: true, ticks: [64, 128, 256, 512, 1024], text: String },
    { low: Math.min(...all), high: Math.max(...all), name, log: true, text: large }, { width: 520, height: 300, left: 66 });
  for (const one of points) lines(at, one.values.map(([x]) => x), [{ ...one, values: one.values.map(([, v]) => v) }]);
  const side = props.sizes[now.at].side;
  draw("line", { x1: at.x(side), x2: at.x(side), y1: at.inner.top, y2: at.inner.bottom, class: "here" }, at.svg);
}

function redraw() {
  const one = props.sizes[now.at];
  const value = props.value || {};
  parts.pick.value = now.at;
  parts.pick.nextSibling.textContent = `${one.side} × ${one.side} pixels, ${Math.sqrt(one.latent_tokens)} × ${Math.sqrt(one.latent_tokens)} cells`;
  root.dataset.side = one.side;
  boxes(one);
  table(one);
  const both = (list, pixels, latents) => [
    { name: "pixels", kind: "first", values: list.map((row) => [row.side, row[pixels]]) },
    { name: "latents", kind: "second", values: list.map((row) => [row.side, row[latents]]) },
  ];
  chart(parts.attention, "attention weights in bytes", "Attention weights of one head against the side: slope 4", both(props.sizes, "pixel_weights", "latent_weights"));
  parts.flops.hidden = !(value.counted || []).length;
  if (!parts.flops.hidden) chart(parts.flops, "FLOP of one call", "Operations of one call against the side", both(value.counted, "pixels", "latents"));
  parts.key.replaceChildren();
  legend(parts.key, [{ name: "on pixels", kind: "first" }, { name: "on latents", kind: "second" }]);
}

function show() {
  say((props.value || {}).status);
  if (!parts.pick) frame();
  redraw();
}

show();
watch("value", show);

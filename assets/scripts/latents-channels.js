// A picture between encoder and decoder: its channels as maps with histograms, changed here, decoded there. props.value: {status, id,
//   original, back, error: {src, gain, psnr}, numbers, factor, pixels, cells, channels: [{map, mean, std, density}], training, without, reach}
// props.edited: what came of the last change: {id, edits, picture, src, gain, psnr}; props.most: the greatest scale and shift.

const root = element.querySelector(".g-view");
const parts = {};
const now = { id: null, edits: [], asked: 0 };
const LOW = [24, 70, 160], MIDDLE = [240, 240, 238], HIGH = [190, 80, 10]; // as in the film's latents
const REACH = 3; // a map's colours reach from −3 to 3
const plain = (c) => ({ takes: c, scale: 1, shift: 0 });
const touched = () => now.edits.some(({ takes, scale, shift }, c) => takes !== c || scale !== 1 || shift !== 0);

function tint(value) {
  const at = Math.max(-1, Math.min(1, value / REACH));
  return MIDDLE.map((middle, i) => Math.round(middle + Math.abs(at) * ((at < 0 ? LOW : HIGH)[i] - middle))).concat(255);
}

function figure(parent, title) {
  const node = make("figure", "", parent);
  const image = make("img", "", node);
  const words = make("figcaption", "", node);
  make("b", "", words, title);
  return { node, image, told: make("span", "", words), title };
}

function fill(one, src, told) {
  one.node.hidden = !src;
  if (!src) return;
  if (one.image.getAttribute("src") !== src) one.image.src = src;
  one.image.alt = one.title;
  one.told.textContent = told;
}

function frame(value) {
  root.replaceChildren();
  parts.told = make("p", "about", root);
  const top = make("div", "l-top", root);
  const row = make("div", "row l-pictures", top);
  parts.original = figure(row, "the picture x");
  parts.back = figure(row, "decoded D(E(x))");
  parts.error = figure(row, "what differs");
  const result = make("div", "row l-pictures l-result", top);
  parts.changed = figure(result, "from the changed channels");
  parts.change = figure(result, "what the change did");
  parts.presets = make("div", "presets", root);
  const presets = [
    ["Swap 1 and 2", () => now.edits.map((edit, c) => ({ ...edit, takes: [1, 0][c] ?? c }))],
    ["Turn the signs", () => now.edits.map((edit) => ({ ...edit, scale: -edit.scale }))],
    ["Half of everything", () => now.edits.map((edit) => ({ ...edit, scale: edit.scale / 2 }))],
    ["As it was", () => now.edits.map((_, c) => plain(c))],
  ];
  for (const [name, edits] of presets) {
    const button = make("button", "", parts.presets, name);
    button.type = "button";
    button.addEventListener("click", () => set(edits()));
  }
  parts.cards = value.channels.map((_, c) => card(make("section", "l-card", parts.grid || (parts.grid = make("div", "l-channels", root))), c));
  legend(root, [{ name: "N(0, 1)", kind: "dashed" }, ...(value.training ? [{ name: `training pictures, std ${value.training.map((one) => fixed(one.std)).join(", ")}`, kind: "second" }] : [])]);
  make("h4", "", root, "Without one channel");
  parts.without = make("div", "row l-pictures", root);
  parts.left = value.channels.map((_, c) => figure(parts.without, `channel ${c + 1} is 0`));
}

function card(node, c) {
  const one = { name: make("h5", "", node, `channel ${c + 1}`), map: make("canvas", "l-map", node), chart: make("div", "l-histogram", node) };
  one.map.setAttribute("role", "img");
  one.told = make("p", "about", node);
  const from = make("label", "l-from", node);
  make("span", "", from, "from");
  one.takes = make("select", "", from);
  now.edits.forEach((_, k) => Object.assign(make("option", "", one.takes, `channel ${k + 1}`), { value: k }));
  one.takes.addEventListener("change", () => set(now.edits.map((edit, k) => (k === c ? { ...edit, takes: Number(one.takes.value) } : edit))));
  const [scale, shift] = props.most || [3, 3];
  const change = (name) => (value) => set(now.edits.map((edit, k) => (k === c ? { ...edit, [name]: value } : edit)));
  one.scale = slider(node, "scale", { min: -scale, max: scale, step: 0.1, value: 1 }, change("scale"));
  one.shift = slider(node, "shift", { min: -shift, max: shift, step: 0.1, value: 0 }, change("shift"));
  one.zero = make("button", "l-zero", node, "Zero");
  one.zero.type = "button";
  one.zero.addEventListener("click", () => set(now.edits.map((edit, k) => (k === c ? { ...edit, scale: 0, shift: 0 } : edit))));
  return one;
}

// ------------------------------------------------------------------------------------------------------- changing

function set(edits) {
  now.edits = edits.map((edit) => ({ ...edit, scale: Math.round(edit.scale * 100) / 100 }));
  redraw();
  clearTimeout(now.asked); // one question a moment, however fast a slider is dragged
  now.asked = setTimeout(() => trigger("edit", { edits: now.edits }), 120);
}

// Where the values of a histogram go when they are scaled and shifted: every bin is spread over the place it comes to.
function moved(density, { scale, shift }, reach) {
  const width = (2 * reach) / density.length;
  const made = density.map(() => 0);
  const bin = (value) => Math.max(0, Math.min(density.length - 1, Math.floor((value + reach) / width)));
  density.forEach((share, i) => {
    const ends = [i, i + 1].map((k) => scale * (k * width - reach) + shift).sort((a, b) => a - b);
    for (let k = 0; k < 8; k++) made[bin(ends[0] + ((k + 0.5) / 8) * (ends[1] - ends[0]))] += share / 8;
  });
  return made;
}

const TALL = 0.8; // densities above are cut: N(0, 1) reaches 0.4

function histogram(parent, density, training, reach, name) {
  parent.replaceChildren();
  const [width, height, foot] = [Math.max(120, parent.clientWidth || 200), 96, 18];
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart" }, parent);
  draw("title", {}, svg, name);
  const x = (value) => ((value + reach) / (2 * reach)) * width;
  const y = (value) => height - foot - (Math.min(TALL, value) / TALL) * (height - foot - 4);
  const bin = width / density.length;
  density.forEach((value, i) => draw("rect", { x: i * bin, y: y(value), width: bin - 0.5, height: y(0) - y(value), class: "l-bar" }, svg));
  const places = density.map((_, i) => ((i + 0.5) * 2 * reach) / density.length - reach);
  const at = { x, y, svg };
  lines(at, places, [{ name: "N(0, 1)", kind: "dashed", values: places.map((v) => Math.exp((-v * v) / 2) / Math.sqrt(2 * Math.PI)) }]);
  if (training) lines(at, places, [{ name: "all training pictures", kind: "second", values: training }]);
  draw("line", { x1: 0, x2: width, y1: y(0), y2: y(0), class: "rule" }, svg);
  for (const tick of [-4, -2, 0, 2, 4]) draw("text", { x: x(tick), y: height - 4, class: "tick", "text-anchor": "middle" }, svg, short(tick));
}

function redraw() {
  const value = props.value;
  now.edits.forEach((edit, c) => {
    const one = parts.cards[c], from = value.channels[edit.takes], { map } = from;
    paint(one.map, map, (i) => tint((edit.scale * map.v[i]) / 100 + edit.shift));
    const [mean, std] = [edit.scale * from.mean + edit.shift, Math.abs(edit.scale) * from.std];
    one.told.textContent = `mean ${fixed(mean)}, std ${fixed(std)}`;
    one.map.setAttribute("aria-label", `channel ${c + 1} as a map: mean ${fixed(mean)}, standard deviation ${fixed(std)}`);
    const same = edit.scale === 1 && edit.shift === 0;
    histogram(one.chart, same ? from.density : moved(from.density, edit, value.reach), value.training && value.training[c].density, value.reach,
      `Histogram of channel ${c + 1} beside N(0, 1)`);
    one.takes.value = edit.takes;
    for (const [name, sign] of [["scale", "×"], ["shift", "+"]]) {
      one[name].value = edit[name];
      one[name].nextSibling.textContent = `${sign} ${fixed(edit[name], 1)}`;
    }
  });
  outcome();
}

function outcome() {
  const found = props.edited;
  const fits = found && found.id === now.id && touched();
  parts.changed.node.classList.toggle("l-old", Boolean(fits) && JSON.stringify(found.edits) !== JSON.stringify(now.edits));
  fill(parts.changed, fits && found.picture, "");
  fill(parts.change, fits && found.src, `× ${fits && found.gain} · PSNR ${fits && fixed(found.psnr, 1)} dB against D(E(x))`);
}

// ------------------------------------------------------------------------------------------------------- what comes

function show() {
  const value = props.value || {};
  say(value.status);
  root.hidden = !value.channels;
  if (!value.channels) return;
  if (now.id !== value.id) {
    Object.assign(now, { id: value.id, edits: value.channels.map((_, c) => plain(c)) });
    parts.grid = null;
    frame(value);
    redraw();
  }
  const count = (number) => number.toLocaleString("en");
  const [channels, h, w] = value.cells;
  parts.told.textContent = `3·${value.pixels[1]}·${value.pixels[0]} = ${count(value.numbers[0])} numbers become ${channels}·${h}·${w} = `
    + `${count(value.numbers[1])}: ${value.factor} times fewer. Each cell stands for ${value.pixels[0] / w}×${value.pixels[1] / h} pixels.`;
  fill(parts.original, value.original, "");
  fill(parts.back, value.back, `PSNR ${fixed(value.error.psnr, 1)} dB`);
  fill(parts.error, value.error.src, `× ${value.error.gain}, grey is 0`);
  parts.left.forEach((one, c) => {
    const found = value.without[c];
    fill(one, found && found.picture, found && `PSNR ${fixed(found.psnr, 1)} dB against D(E(x))`);
  });
  outcome();
}

show();
watch("value", show);
watch("edited", show);
new ResizeObserver(([entry]) => {
  const width = Math.round(entry.contentRect.width);
  if (!now.id || !width || width === now.width) return;
  now.width = width;
  redraw();
}).observe(root);

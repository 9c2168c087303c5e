// Frames between two ends, scrubbed here: every lane is a sheet with all its frames. props.value: {status, kind, shares, names, scale,
//   lanes: [{way, sheet: {src, w, h, columns}, frames, length: [root mean square of each frame's numbers]}]}

const root = element.querySelector(".g-view");
const parts = {};
const now = { begun: null, at: 0, lanes: [] };
const KINDS = { linear: "first", spherical: "second", "pixels, linear": "dashed" };
const WHAT = { noises: "length of the noise, √(mean of x²)", prompts: "length of the text states", pictures: "length of what is decoded" };

function frame(value) {
  root.replaceChildren();
  parts.lanes = make("div", "l-lanes", root);
  parts.scrub = slider(root, "s", { min: 0, max: value.shares.length - 1, step: 1, value: now.at }, (index) => { now.at = index; redraw(); });
  parts.scrub.setAttribute("aria-label", "Place between the two ends");
  const ends = make("div", "l-ends", root);
  for (const name of value.names) make("span", "", ends, name || "(no words)");
  parts.strips = make("div", "l-strips", root);
  parts.chart = make("div", "curve", root);
  parts.key = make("div", "", root);
  now.lanes = [];
}

function lane(index, value) {
  const way = value.lanes[index].way;
  const node = make("figure", "", parts.lanes);
  const one = { way, canvas: make("canvas", "", node), image: null };
  const words = make("figcaption", "", node);
  make("b", "", words, way);
  one.told = make("span", "", words);
  one.canvas.setAttribute("role", "img");
  one.strip = make("div", "l-strip", parts.strips);
  make("span", "", one.strip, way);
  one.tiles = value.shares.map((_, i) => {
    const button = make("button", "", one.strip);
    button.type = "button";
    button.tabIndex = -1; // the slider is for the keyboard
    button.setAttribute("aria-label", `${way}, frame ${i + 1}`);
    button.addEventListener("click", () => { now.at = i; redraw(); });
    return make("canvas", "", button);
  });
  return one;
}

function tile(canvas, one, index) {
  const { sheet, frames } = one.now;
  const ready = one.image && one.image.complete && one.image.naturalWidth && index < frames;
  canvas.classList.toggle("l-empty", !ready);
  if (!ready) return;
  if (canvas.width !== sheet.w || canvas.height !== sheet.h) [canvas.width, canvas.height] = [sheet.w, sheet.h];
  const [x, y] = [(index % sheet.columns) * sheet.w, Math.floor(index / sheet.columns) * sheet.h];
  canvas.getContext("2d").drawImage(one.image, x, y, sheet.w, sheet.h, 0, 0, sheet.w, sheet.h);
}

function redraw() {
  const value = props.value;
  parts.scrub.value = now.at;
  parts.scrub.nextSibling.textContent = `s = ${fixed(value.shares[now.at], 3)}, frame ${now.at + 1} of ${value.shares.length}`;
  root.dataset.at = now.at;
  for (const one of now.lanes) {
    tile(one.canvas, one, now.at);
    one.tiles.forEach((canvas, i) => canvas.parentElement.classList.toggle("l-chosen", i === now.at));
    one.canvas.setAttribute("aria-label", `${one.way}, frame ${now.at + 1}`);
    one.told.textContent = `length ${fixed(one.now.length[now.at])}`;
  }
  curve(value);
}

function curve(value) {
  const known = value.lanes.filter((one) => one.length.every((v) => v !== null));
  if (!known.length) return;
  const all = known.flatMap((one) => one.length);
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const pad = Math.max(0.05, 0.1 * (most - least));
  const at = axes(parts.chart, "How long what lies between is", { low: 0, high: 1, name: "s" },
    { low: Math.max(0, least - pad), high: most + pad, name: "length" }, { width: 760, height: 220 });
  draw("line", { x1: at.x(value.shares[now.at]), x2: at.x(value.shares[now.at]), y1: at.inner.top, y2: at.inner.bottom, class: "here" }, at.svg);
  const series = known.map((one) => ({ name: one.way, values: one.length, kind: KINDS[one.way] }));
  lines(at, value.shares, series);
  parts.key.replaceChildren();
  legend(parts.key, series.map((one) => ({ ...one, name: `${one.name}: ${WHAT[value.kind]}` })));
}

function show() {
  const value = props.value || {};
  say(value.status);
  root.hidden = !(value.lanes || []).length;
  if (root.hidden) return;
  const begun = JSON.stringify([value.kind, value.names, value.shares, value.lanes[0].length]);
  if (begun !== now.begun || value.lanes.length < now.lanes.length) {
    Object.assign(now, { begun, at: Math.floor(value.shares.length / 2) });
    frame(value);
  }
  value.lanes.forEach((told, index) => {
    const one = now.lanes[index] || (now.lanes[index] = lane(index, value));
    const fresh = !one.now || one.now.sheet.src !== told.sheet.src;
    one.now = told;
    if (!fresh) return;
    const image = new Image();
    image.onload = () => {
      one.image = image;
      one.tiles.forEach((canvas, i) => tile(canvas, one, i));
      redraw();
    };
    image.src = told.sheet.src;
  });
  redraw();
}

show();
watch("value", show);

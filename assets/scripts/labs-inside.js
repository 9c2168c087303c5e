// The U-Net as a map to click, a picture of the run, and what the chosen part puts out. props.value: {idle, map: {parts: [{name, title, kind, way, row,
//   shape, parameters, multiply_adds}], skips: [{name, title, source, target, row, shape}], rows}, frames: [src], steps: [{t, nsr}], status}
// props.chosen: [part, step]; props.look: what that part puts out there; props.heat: where the clicked position looks;
// props.pixel_down and pixel_right: that position as shares of height and width, −1 where none was clicked.

const root = element.querySelector(".inside");
const SHORT = { conv: "conv", time: "time", resnet: "res", attention: "attn", downsample: "↓ ½", upsample: "↑ 2" };
const SAYS = {
  conv: "A convolution between the latents and the first or last features.", time: "Tells every residual block the time t.",
  resnet: "GroupNorm, SiLU and a 3×3 convolution, twice, around a shortcut; in between it hears the time.",
  attention: "Self-attention among the positions, cross-attention to the words, then a feed-forward layer, the same at every position.",
  downsample: "A convolution with stride 2: half the height and width.", upsample: "Each pixel four times, then a convolution.",
};
const BOX = { w: 50, h: 44, gap: 10 };
const now = { chosen: null, step: 1, at: null };
let parts = null, drawn = null;

const thousands = (value) => (value >= 1e9 ? `${(value / 1e9).toPrecision(3)} billion` : value >= 1e6 ? `${(value / 1e6).toPrecision(3)} million` : value.toLocaleString("en"));
const sized = (shape) => (shape.length === 3 ? `${shape[0]} channels of ${shape[1]}×${shape[2]}` : `${shape[0]} numbers`);
const map = () => drawn;
const listed = () => [...map().parts, ...map().skips];
const found = (name) => map() && listed().find((one) => one.name === name);
const step = () => Math.min(now.step, (props.value.frames || []).length) - 1;

function build() {
  root.replaceChildren();
  parts = { spots: {} };
  parts.wide = make("p", "note", root, "The map is wider than this screen: slide it sideways.");
  parts.board = make("div", "u-board", root);
  const under = make("div", "under", root);
  const left = make("div", "seen", under);
  parts.picture = make("div", "picture", left);
  parts.image = make("img", "", parts.picture);
  parts.heat = make("canvas", "heat", parts.picture);
  parts.cross = make("i", "cross", parts.picture);
  parts.caption = make("p", "note", left);
  parts.picture.tabIndex = 0;
  parts.picture.addEventListener("click", clicked);
  parts.picture.addEventListener("keydown", moved);
  const right = make("div", "told", under);
  parts.title = make("h4", "", right);
  parts.says = make("p", "note", right);
  parts.numbers = make("p", "numbers", right);
  parts.grid = make("div", "channels", right);
  parts.charts = make("div", "panels", root);
}

// ------------------------------------------------------------------------------------------------------- the map

function drawMap() {
  const { parts: all, skips, rows } = map();
  const inRow = (way, row) => all.filter((part) => part.way === way && part.row === row && part.kind !== "time");
  const widths = [...Array(rows).keys()].map((row) => ["down", "up"].map((way) => inRow(way, row).length));
  const most = [0, 1].map((side) => Math.max(...widths.map((pair) => pair[side])));
  const pitch = BOX.w + BOX.gap, middle = all.filter((part) => part.way === "middle");
  const arcs = Math.max(...[...Array(rows).keys()].map((row) => skips.filter((skip) => skip.row === row).length));
  const high = BOX.h + 30 + 9 * arcs, left = 104;
  const width = left + Math.max((most[0] + most[1]) * pitch + 110, middle.length * pitch + 60), height = 58 + (rows + 1) * high;
  parts.board.replaceChildren();
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", class: "u-net", style: `min-width:${Math.min(width, 760)}px;max-width:${Math.max(900, 1.25 * width)}px` }, parts.board);
  draw("title", {}, svg, "The U-Net: way down on the left, middle below, way up on the right");
  const at = {};
  const top = (row) => 58 + row * high + 9 * arcs;
  for (let row = 0; row < rows; row++) {
    const first = all.find((part) => part.row === row && part.kind === "resnet");
    if (first) ["size", "sub"].forEach((kind, i) => draw("text", { x: 4, y: top(row) + 19 + 17 * i, class: kind }, svg, i ? `${first.shape[1]}×${first.shape[2]}` : `level ${row + 1}`));
    inRow("down", row).forEach((part, i) => { at[part.name] = [left + i * pitch, top(row)]; });
    const up = inRow("up", row);
    up.forEach((part, i) => { at[part.name] = [width - (up.length - i) * pitch, top(row)]; });
  }
  draw("text", { x: 4, y: top(rows) + 19, class: "size" }, svg, "middle");
  const narrow = parts.board.clientWidth < Math.min(width, 760); // then the middle stands where the map begins, and is seen
  const centre = narrow ? left : (width + left - middle.length * pitch) / 2;
  middle.forEach((part, i) => { at[part.name] = [centre + i * pitch, top(rows)]; });
  for (const part of all.filter((one) => one.kind === "time")) at[part.name] = [(width + left - BOX.w) / 2, 4];
  const order = all.filter((part) => part.kind !== "time");
  for (let i = 1; i < order.length; i++) arrow(svg, at[order[i - 1].name], at[order[i].name]);
  for (let row = 0; row < rows; row++) {
    skips.filter((skip) => skip.row === row).forEach((skip, i) => arc(svg, skip, at[skip.source], at[skip.target], 9 + 9 * i));
  }
  const whole = Math.max(...all.map((part) => part.multiply_adds));
  for (const part of all) box(svg, part, at[part.name], part.multiply_adds / whole);
  draw("text", { x: (width + left) / 2 + BOX.w / 2 + 8, y: 31, class: "sub" }, svg, "to every residual block");
  draw("text", { x: (width + left) / 2 - BOX.w / 2 - 8, y: 31, class: "sub", "text-anchor": "end" }, svg, "t");
}

function cut() {
  if (parts) parts.wide.hidden = parts.board.scrollWidth <= parts.board.clientWidth + 1;
}

function arrow(svg, [x1, y1], [x2, y2]) {
  const same = y1 === y2, h = BOX.h / 2;
  const path = same ? `M${x1 + BOX.w},${y1 + h}H${x2}` : y2 > y1 ? `M${x1 + BOX.w / 2},${y1 + BOX.h}V${y1 + BOX.h + 9}H${x2 + BOX.w / 2}V${y2}` : `M${x1 + BOX.w / 2},${y1}V${y2 + BOX.h + 9}H${x2 + BOX.w / 2}V${y2 + BOX.h}`;
  draw("path", { d: path, class: "flow" }, svg);
}

function spot(svg, one, kind) {
  const node = draw("g", { class: kind, role: "button", tabindex: -1, "aria-label": `${one.title}, ${sized(one.shape)}`, "data-name": one.name }, svg);
  draw("title", {}, node, `${one.title}: ${sized(one.shape)}${one.parameters ? `, ${thousands(one.parameters)} parameters, ${thousands(one.multiply_adds)} multiply-adds` : ""}`);
  node.addEventListener("click", () => choose(one.name));
  node.addEventListener("keydown", keyed);
  parts.spots[one.name] = node;
  return node;
}

function arc(svg, skip, [x1, y1], [x2, y2], lift) {
  const node = spot(svg, skip, "skip");
  const d = `M${x1 + BOX.w / 2},${y1}V${y1 - lift}H${x2 + BOX.w / 2}V${y2}`;
  draw("path", { d, class: "reach" }, node);
  draw("path", { d, class: "wire" }, node);
}

function box(svg, part, [x, y], share) {
  const node = spot(svg, part, `part ${part.kind}`);
  draw("rect", { x, y, width: BOX.w, height: BOX.h, rx: 8, class: "body" }, node);
  const fill = Math.max(2, share * (BOX.h - 4));
  draw("rect", { x: x + 2, y: y + BOX.h - 2 - fill, width: BOX.w - 4, height: fill, rx: 4, class: "work" }, node);
  draw("text", { x: x + BOX.w / 2, y: y + 19, "text-anchor": "middle", class: "what" }, node, SHORT[part.kind]);
  draw("text", { x: x + BOX.w / 2, y: y + 35, "text-anchor": "middle", class: "sub" }, node, part.shape[0]);
}

function choose(name) {
  mark(name);
  trigger("pick", { name });
}

// Arrow keys walk through the parts as they are computed, then through the skips.
function keyed(event) {
  if (["Enter", " "].includes(event.key)) { event.preventDefault(); return choose(event.currentTarget.dataset.name); }
  const names = listed().map((one) => one.name), here = names.indexOf(event.currentTarget.dataset.name);
  const to = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: names.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const next = names[(to + names.length) % names.length];
  for (const [name, node] of Object.entries(parts.spots)) node.setAttribute("tabindex", name === next ? 0 : -1);
  parts.spots[next].focus();
}

function mark(name) {
  now.chosen = name;
  for (const [other, node] of Object.entries(parts.spots)) {
    node.classList.toggle("chosen", other === name);
    node.setAttribute("aria-pressed", String(other === name));
    node.setAttribute("tabindex", other === name ? 0 : -1);
  }
  const seen = parts.board.getBoundingClientRect(), spot = parts.spots[name] && parts.spots[name].getBoundingClientRect();
  if (spot && (spot.left < seen.left || spot.right > seen.right)) parts.board.scrollLeft += (spot.left + spot.right - seen.left - seen.right) / 2;
  tell();
}

// ------------------------------------------------------------------------------------------------------- the part

function tell() {
  const one = found(now.chosen);
  if (!one) return;
  const skip = one.name.startsWith("skip:");
  parts.title.textContent = one.title[0].toUpperCase() + one.title.slice(1);
  parts.says.textContent = skip ? `Carries what ${found(one.source).title} put out across to this block, which joins it to its own input.` : SAYS[one.kind];
  const all = map().parts.reduce((sum, part) => sum + part.multiply_adds, 0);
  parts.numbers.textContent = `${skip ? "carries" : "puts out"} ${sized(one.shape)}`
    + (skip ? "" : ` · ${thousands(one.parameters)} parameters · ${thousands(one.multiply_adds)} multiply-adds (${((100 * one.multiply_adds) / all).toPrecision(2)} % of all)`);
  const look = props.look && props.look.part === now.chosen ? props.look : null;
  parts.grid.replaceChildren();
  parts.charts.replaceChildren();
  if (look) activations(look);
  picture();
}

function activations(look) {
  parts.numbers.textContent += ` · at this step: mean ${fixed(look.mean)}, standard deviation ${fixed(look.std)}`;
  if (look.grid) {
    const image = Object.assign(make("img", "", parts.grid), { src: look.grid, alt: `${look.shown.length} channels of ${look.channels}` });
    const line = make("p", "note", parts.grid);
    const usual = `${look.shown.length === look.channels ? "All" : `The ${look.shown.length} strongest of`} ${look.channels} channels: blue below 0, orange above, each to its own greatest value.`;
    line.textContent = usual;
    image.addEventListener("mousemove", (event) => {
      const { width, height } = image.getBoundingClientRect(), rows = Math.ceil(look.shown.length / look.columns);
      const column = Math.floor((event.offsetX / width) * look.columns), row = Math.floor((event.offsetY / height) * rows);
      const one = look.shown[row * look.columns + column];
      line.textContent = one ? `Channel ${one[0]}: root mean square ${fixed(one[1], 3)}.` : usual;
    });
    image.addEventListener("mouseleave", () => { line.textContent = usual; });
  }
  charted(parts.charts, look.norms);
}

// ------------------------------------------------------------------------------------------------------- the picture

function picture() {
  const { frames, steps } = props.value;
  const there = Boolean(frames && frames.length), attends = (found(now.chosen) || {}).kind === "attention";
  parts.picture.hidden = !there;
  if (!there) { parts.caption.textContent = "Press Run: the picture of the chosen step stands here."; return; }
  const k = Math.max(0, step());
  if (parts.image.getAttribute("src") !== frames[k]) parts.image.src = frames[k];
  parts.image.alt = `What the network takes the picture for at step ${k + 1}`;
  parts.picture.classList.toggle("attends", attends);
  parts.picture.setAttribute("role", attends ? "application" : "img");
  parts.picture.setAttribute("aria-label", attends ? "The picture: click, or move with the arrow keys, to see where a position looks" : parts.image.alt);
  const heat = now.at && props.heat && attends && props.heat.part === now.chosen && props.heat.step === k + 1 ? props.heat : null;
  parts.heat.hidden = parts.cross.hidden = !heat;
  const told = `Step ${k + 1} of ${frames.length}, t = ${steps[k].t}: what the network takes the picture for.`;
  if (!heat) { parts.caption.textContent = told + (attends ? " Click into it: where does that position look?" : ""); return; }
  paint(parts.heat, heat, (i) => [10, 12, 30, Math.round(0.8 * (255 - heat.v[i]))]); // a spotlight shows on every colour
  Object.assign(parts.cross.style, { top: `${100 * heat.at[0]}%`, left: `${100 * heat.at[1]}%` });
  parts.caption.textContent = `${told} The cross looks where it is light (mean of ${heat.heads} heads, ${heat.w}×${heat.h} positions): at most ${(100 * heat.most).toPrecision(2)} % on one, ${(100 * heat.even).toPrecision(2)} % if it looked everywhere alike.`;
}

function ask(down, right) {
  if (!parts.picture.classList.contains("attends")) return;
  now.at = [down, right].map((value) => Number(Math.min(0.999, Math.max(0, value)).toFixed(3)));
  remember({ pixel_down: now.at[0], pixel_right: now.at[1] });
  attend();
}

const attend = () => trigger("attend", { down: now.at[0], right: now.at[1] });

// The position that a link or an earlier click chose, asked again where the part or the step is another.
function again() {
  const there = parts && now.at && (found(now.chosen) || {}).kind === "attention" && props.look;
  if (there && props.look.part === now.chosen && !parts.picture.hidden && parts.heat.hidden) attend();
}

function placed() {
  const at = [props.pixel_down, props.pixel_right];
  now.at = at.every((value) => value >= 0) ? at : null;
}

function clicked(event) {
  const box = parts.picture.getBoundingClientRect();
  ask((event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width);
}

function moved(event) {
  const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!by || !parts.picture.classList.contains("attends")) return;
  event.preventDefault();
  const [, h, w] = found(now.chosen).shape, [down, right] = now.at || [0.5, 0.5];
  ask(down + by[0] / h, right + by[1] / w);
}

// ------------------------------------------------------------------------------------------------------- all of it

function show() {
  const value = props.value || {};
  say(value.status || { line: value.idle || "" });
  [, now.step] = props.chosen;
  if (value.map && !drawn) {
    drawn = value.map;
    build();
    drawMap();
    cut();
    mark(props.chosen[0]);
  } else if (parts) tell();
}

function follow() {
  [, now.step] = props.chosen;
  if (parts) mark(props.chosen[0]);
}

placed();
show();
watch("value", show);
watch("chosen", follow);
watch("look", () => { if (parts) tell(); again(); });
watch("heat", () => { if (parts) tell(); });
for (const side of ["pixel_down", "pixel_right"]) recall(side, () => { placed(); if (parts) tell(); again(); });
onWidth(cut);
if (!drawn) trigger("open");

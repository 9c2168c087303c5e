// The training latents as points, a run among them, and whose pictures are nearest. props.value: {status, missing, cloud: {x, y: hundredths,
//   groups: {style: {names, of}}, shares}, ends: [left, right, down, up], path: {x, x0: [[x, y]], t}, here, own, prompt, nearest, usual}
// props.look: the training picture whose point was clicked.

const root = element.querySelector(".g-view");
const parts = {};
const now = { group: "style", only: null, width: 0 };
const COLOURS = ["#4f46e5", "#d97706", "#059669", "#be185d", "#0891b2", "#7c3aed", "#65a30d", "#dc2626", "#0f766e", "#a16207"];

function frame() {
  root.replaceChildren();
  parts.told = make("p", "about", root);
  const both = make("div", "l-atlas", root);
  const left = make("div", "", both);
  parts.choice = make("div", "choice", left);
  parts.board = make("div", "l-board", left);
  for (const side of ["up", "left", "right", "down"]) parts[side] = make("img", `l-end ${side}`, parts.board);
  parts.canvas = make("canvas", "l-cloud", parts.board);
  parts.canvas.tabIndex = 0;
  parts.canvas.addEventListener("click", clicked);
  parts.canvas.addEventListener("keydown", pressed);
  parts.names = make("div", "legend l-names", left);
  parts.way = make("div", "legend", left);
  const right = make("div", "l-side", both);
  parts.look = make("div", "", right);
  parts.nearest = make("div", "", right);
}

// ------------------------------------------------------------------------------------------------------- the board

// The cloud's place on the canvas: equal scale on both axes, so that distances are distances.
function placed(cloud) {
  const { x: run, x0 } = props.value.path || { x: [], x0: [] };
  const path = run.concat(x0);
  const xs = cloud.x.concat(path.map(([x]) => x)), ys = cloud.y.concat(path.map(([, y]) => y));
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const { width, height } = parts.canvas;
  const scale = 0.92 * Math.min(width / (right - left || 1), height / (high - low || 1));
  return {
    x: (x) => width / 2 + (x - (left + right) / 2) * scale,
    y: (y) => height / 2 - (y - (low + high) / 2) * scale,
  };
}

function board() {
  const { cloud, path, here } = props.value;
  const ratio = window.devicePixelRatio || 1;
  const side = parts.canvas.clientWidth;
  if (!side) return;
  [parts.canvas.width, parts.canvas.height] = [Math.round(side * ratio), Math.round(side * ratio * 0.86)];
  const context = parts.canvas.getContext("2d");
  const at = placed(cloud);
  const of = cloud.groups[now.group] ? cloud.groups[now.group].of : [];
  cloud.x.forEach((x, i) => {
    const dim = now.only !== null && of[i] !== now.only;
    context.globalAlpha = dim ? 0.06 : 0.55;
    context.fillStyle = COLOURS[(of[i] || 0) % COLOURS.length];
    context.beginPath();
    context.arc(at.x(x), at.y(cloud.y[i]), (dim ? 1.5 : 2.2) * ratio, 0, 7);
    context.fill();
  });
  context.globalAlpha = 1;
  const ink = getComputedStyle(root).color;
  if (path) {
    trace(context, at, path.x0, { ink, dash: [5 * ratio, 4 * ratio], width: 1.6 * ratio });
    trace(context, at, path.x, { ink, dash: [], width: 2.6 * ratio });
    for (const point of path.x) dot(context, at, point, 3 * ratio, ink, ink);
  }
  if (path) dot(context, at, path.x[0], 6 * ratio, getComputedStyle(parts.canvas).backgroundColor, ink, 2.5 * ratio);
  if (now.at < cloud.x.length) dot(context, at, [cloud.x[now.at], cloud.y[now.at]], 6 * ratio, "transparent", ink, 2 * ratio);
  if (here) dot(context, at, here, 8 * ratio, "#facc15", ink, 2.5 * ratio);
  parts.canvas.setAttribute("role", "application"); // else a screen reader keeps the arrow keys for itself
  parts.canvas.setAttribute("aria-label", `${cloud.x.length} training pictures on two axes${path ? ", and a run of " + (path.x.length - 1) + " steps among them" : ""}; arrow keys go from one to the next`);
}

function trace(context, at, points, { ink, dash, width }) {
  Object.assign(context, { strokeStyle: ink, lineWidth: width, lineJoin: "round" });
  context.setLineDash(dash);
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(at.x(x), at.y(y)) : context.moveTo(at.x(x), at.y(y))));
  context.stroke();
  context.setLineDash([]);
}

function dot(context, at, [x, y], radius, fill, line, width = 0) {
  context.beginPath();
  context.arc(at.x(x), at.y(y), radius, 0, 7);
  Object.assign(context, { fillStyle: fill, strokeStyle: line, lineWidth: width });
  context.fill();
  if (width) context.stroke();
}

function clicked(event) {
  const { cloud } = props.value;
  const box = parts.canvas.getBoundingClientRect();
  const ratio = parts.canvas.width / box.width;
  const [x, y] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  const at = placed(cloud);
  const far = cloud.x.map((value, i) => Math.hypot(at.x(value) - x, at.y(cloud.y[i]) - y));
  const i = far.indexOf(Math.min(...far));
  if (far[i] < 24 * ratio) chosen(i);
}

// Arrows go to the nearest point on that side, from the one seen last, first of all from the middle.
const SIDES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function pressed(event) {
  const side = SIDES[event.key], { cloud } = props.value;
  if (!side) return;
  event.preventDefault();
  const middle = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
  const [x, y] = now.at === undefined ? [middle(cloud.x), middle(cloud.y)] : [cloud.x[now.at], cloud.y[now.at]];
  let best = Infinity, next;
  cloud.x.forEach((value, i) => {
    const away = [value - x, cloud.y[i] - y];
    const along = away[0] * side[0] + away[1] * side[1], across = Math.abs(away[0] * side[1] - away[1] * side[0]);
    if (along > 0 && across <= along && along + across < best) [best, next] = [along + across, i];
  });
  if (next !== undefined) chosen(next);
}

function chosen(i) {
  now.at = i;
  board();
  trigger("select", { i });
}

// ------------------------------------------------------------------------------------------------------- around it

function keys(cloud) {
  const groups = Object.keys(cloud.groups);
  if (!groups.includes(now.group)) now.group = groups[0];
  anew(parts.choice, [groups, now.group], () => choices(groups));
  const { names } = cloud.groups[now.group] || { names: [] };
  anew(parts.names, [names, now.only], () => kinds(names));
}

function choices(groups) {
  parts.choice.replaceChildren();
  for (const name of groups.length > 1 ? groups : []) {
    const button = make("button", "", parts.choice, `coloured by ${name}`);
    Object.assign(button, { type: "button", ariaPressed: String(name === now.group) });
    button.addEventListener("click", () => { Object.assign(now, { group: name, only: null }); redraw(); });
  }
}

function kinds(names) {
  parts.names.replaceChildren();
  names.forEach((name, i) => {
    const button = make("button", "l-name", parts.names);
    button.type = "button";
    button.setAttribute("aria-pressed", String(now.only === i));
    make("i", "", button).style.background = COLOURS[i % COLOURS.length];
    make("span", "", button, name || "–");
    button.addEventListener("click", () => { now.only = now.only === i ? null : i; redraw(); });
  });
}

function origin(parent, one, title) {
  const node = make("div", "l-origin", parent);
  Object.assign(make("img", "", node), { src: one.src, alt: one.label });
  const words = make("div", "", node);
  make("b", "", words, title ? `${title}: ${one.label}` : one.label);
  make("span", "", words, [one.style, one.far === undefined ? "" : `distance ${fixed(one.far)}`].filter(Boolean).join(" · "));
  const line = make("span", "", words);
  line.append("by ");
  linked(line, one.artist, one.home);
  line.append(" · ");
  linked(line, one.licence, one.terms);
  make("span", "l-package", words, one.package);
}

function linked(parent, text, href) {
  if (!String(href).startsWith("https://")) return make("span", "", parent, text);
  return Object.assign(make("a", "", parent, text), { href, target: "_blank", rel: "noopener noreferrer" });
}

function neighbours(value) {
  parts.nearest.replaceChildren();
  if (!value.nearest) return;
  make("h4", "", parts.nearest, "Nearest training pictures");
  const own = make("div", "l-origin l-own", parts.nearest);
  Object.assign(make("img", "", own), { src: value.own, alt: "the picture" });
  make("p", "about", own, `The picture${value.prompt ? ` of “${value.prompt}”` : ""}. Training pictures have their own nearest neighbour at ${fixed(value.usual)} (median).`);
  for (const one of value.nearest) origin(parts.nearest, one);
}

function redraw() {
  const value = props.value;
  keys(value.cloud);
  board();
}

function show() {
  const value = props.value || {};
  say(value.status);
  if (value.missing) {
    root.textContent = value.missing;
    return;
  }
  root.hidden = !value.cloud;
  if (root.hidden) return;
  if (!parts.canvas) frame();
  const { cloud, path } = value;
  parts.told.textContent = `${cloud.x.length.toLocaleString("en")} training pictures. The two axes hold ${fixed(cloud.shares[0], 1)} % and ${fixed(cloud.shares[1], 1)} % of `
    + "all variance; the small pictures lie two standard deviations along each.";
  ["left", "right", "down", "up"].forEach((side, i) => {
    parts[side].hidden = !value.ends;
    if (value.ends) Object.assign(parts[side], { src: value.ends[i], alt: `two standard deviations ${side}` });
  });
  parts.way.replaceChildren();
  if (path) legend(parts.way, [{ name: "xₜ, from noise (ring) to picture (yellow)", kind: "l-ink" }, { name: "the predicted x₀ on the way", kind: "l-ink l-dash" }]);
  redraw();
  neighbours(value);
}

function look() {
  if (!parts.look || !props.look) return;
  parts.look.replaceChildren();
  origin(parts.look, props.look, "Clicked");
}

show();
watch("value", show);
watch("look", look);
new ResizeObserver(([entry]) => {
  const width = Math.round(entry.contentRect.width);
  if (!parts.canvas || !width || width === now.width) return;
  now.width = width;
  board();
}).observe(root);

// CLIP's matrix with a temperature, names that fit a picture, a training. props.value: {matrix: {cosines, tau, losses: {mean, total}, pictures, captions}} or {zero: {src, guesses: [[name, cosine, probability]], count, tau}} or {charts, shares: {n, v}}; status
// props.tau: the temperature that is chosen, 0 for the learnt one; props.matrix: the kind of table that is shown.

const root = element.querySelector(".lab");
const KINDS = { cosine: "cosine s", rows: "softmax of each row", columns: "softmax of each column" };
const now = { tau: null, kind: null, of: null };
let nodes = null;

const softmax = (values) => {
  const most = Math.max(...values), raised = values.map((value) => Math.exp(value - most)), sum = raised.reduce((a, b) => a + b, 0);
  return raised.map((value) => value / sum);
};
const turned = (rows) => rows[0].map((_, j) => rows.map((row) => row[j]));
const shares = (cosines, tau) => ({
  rows: cosines.map((row) => softmax(row.map((value) => value / tau))),
  columns: turned(turned(cosines).map((column) => softmax(column.map((value) => value / tau)))),
});
const missed = (table) => -table.reduce((sum, row, i) => sum + Math.log(Math.max(row[i], 1e-300)), 0) / table.length;

// ------------------------------------------------------------------------------------------------------- the matrix

function build(made) {
  root.replaceChildren();
  nodes = { cells: [] };
  const bar = make("div", "m-bar", root);
  nodes.kinds = Object.entries(KINDS).map(([kind, label]) => {
    const button = make("button", "", bar, label);
    button.type = "button";
    button.addEventListener("click", () => { now.kind = kind; remember({ matrix: kind }); fill(); });
    return [kind, button];
  });
  nodes.slider = slider(root, "temperature τ", { min: -3, max: 0.5, step: 0.01, value: Math.log10(now.tau) }, (value) => {
    now.tau = Number((10 ** value).toPrecision(3));
    remember({ tau: now.tau });
    fill();
  });
  const both = make("div", "m-both", root);
  const table = make("table", "matrix", make("div", "scroll", both));
  const head = make("tr", "", table);
  make("th", "", head);
  for (const caption of made.captions) make("span", "", make("th", "caption", head), caption);
  made.cosines.forEach((row, i) => {
    const line = make("tr", "", table);
    Object.assign(make("img", "", make("th", "", line)), { src: made.pictures[i], alt: made.captions[i], title: made.captions[i] });
    nodes.cells.push(row.map((_, j) => make("td", i === j ? "own" : "", line)));
  });
  nodes.losses = make("div", "m-losses", both);
}

function fill() {
  const made = props.value.matrix, n = made.cosines.length, tables = shares(made.cosines, now.tau);
  nodes.slider.parentElement.querySelector("output").textContent = `${digits(now.tau)}${Math.abs(now.tau / made.tau - 1) < 0.012 ? " (as learnt)" : ""}`;
  for (const [kind, button] of nodes.kinds) button.setAttribute("aria-pressed", String(kind === now.kind));
  const table = now.kind === "cosine" ? made.cosines : tables[now.kind];
  const flat = made.cosines.flat(), [low, high] = now.kind === "cosine" ? [Math.min(...flat), Math.max(...flat)] : [0, 1];
  table.forEach((row, i) => row.forEach((value, j) => {
    const part = (value - low) / (high - low || 1), cell = nodes.cells[i][j];
    cell.textContent = fixed(value, 2).replace(/^−(0\.0+)$/, "$1");
    cell.style.background = `color-mix(in srgb, var(--color-accent) ${Math.round(85 * part)}%, var(--background-fill-secondary))`;
    cell.style.color = part > 0.85 ? "white" : "";
  }));
  const rows = missed(tables.rows), columns = missed(turned(tables.columns));
  nodes.losses.replaceChildren();
  for (const [name, label, value, none] of [
    ["rows", "rows: −1/N Σᵢ log softmaxⱼ(sᵢⱼ/τ)ᵢ", rows, null], ["columns", "columns: −1/N Σⱼ log softmaxᵢ(sᵢⱼ/τ)ⱼ", columns, null],
    ["mean", "CLIP's loss: (rows + columns)/2", (rows + columns) / 2, `ln ${n} = ${fixed(Math.log(n), 3)} · at the learnt τ: ${fixed(made.losses.mean, 3)}`],
    ["total", "the document's: rows + columns", rows + columns, `2·ln ${n} = ${fixed(2 * Math.log(n), 3)} · at the learnt τ: ${fixed(made.losses.total, 3)}`],
  ]) {
    const line = make("p", name, nodes.losses);
    make("span", "", line, label);
    make("b", "", line, digits(value));
    if (none) make("small", "", line, `nothing learnt: ${none}`);
  }
}

// Temperature and kind as a link or this page's visitor had them.
function choose() {
  now.tau = now.tau || props.tau || props.value.matrix.tau;
  now.kind = now.kind || props.matrix;
}

function chosenAnew() {
  Object.assign(now, { tau: null, kind: null });
  if (!nodes) return;
  choose();
  nodes.slider.value = Math.log10(now.tau);
  fill();
}

function matrix(made) {
  const key = JSON.stringify(made.captions) + made.tau;
  if (now.of !== key || !nodes) {
    now.of = key;
    choose();
    build(made);
  }
  fill();
}

// ------------------------------------------------------------------------------------------------------- names

function names(made) {
  root.replaceChildren();
  const box = make("div", "z-both", root);
  Object.assign(make("img", "", box), { src: made.src, alt: "the picture, as it is seen" });
  const list = make("div", "z-list", box);
  make("p", "note", list, `The ${made.guesses.length === made.count ? "" : `${made.guesses.length} most probable of `}${made.count} names at τ = ${digits(made.tau)}; their cosine in brackets.`);
  for (const [name, cosine, probability] of made.guesses) {
    const row = make("div", "bar-row", list);
    make("span", "of", row, name);
    make("i", "", make("div", "track", row)).style.width = `${100 * probability}%`;
    make("span", "value", row, `${digits(100 * probability)} % (${fixed(cosine)})`);
  }
}

// ------------------------------------------------------------------------------------------------------- a training

function course({ charts, shares: { n, v } }) {
  const open = [...root.querySelectorAll("details")].map((node) => node.open);
  root.replaceChildren();
  const panels = make("div", "panels", root);
  charted(panels, charts, open);
  const box = make("section", "panel", panels);
  make("h4", "", box, "The matrix of the held-out pairs");
  make("p", "note", box, `How probable each of ${n} captions (across) is for each picture (down), from white, 0, to full colour, 1: it should become a diagonal.`);
  const canvas = make("canvas", "shares", box);
  paint(canvas, { h: n, w: n }, (i) => [79, 70, 229, v[i]]);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "The matrix of the held-out pairs");
}

function show() {
  const value = props.value || {};
  if (value.matrix) matrix(value.matrix);
  if (value.zero) anew(root, value.zero, () => names(value.zero));
  if (value.shares) anew(root, [value.charts, value.shares], () => course(value));
  say(value.status);
}

show();
watch("value", show);
recall("tau", chosenAnew);
recall("matrix", chosenAnew);
onWidth(show);

// The sweep: a grid of pictures that fills row by row, and every scale as a point between likeness and difference. props.value:
//   {status, notes, rows: [{gamma, name, cfg, long}], prompts, seeds, cells: {"g,p": [src]}, forming: [g, p], points, trained, classes}

const MEASURES = {
  score: ["CLIP score (fits the words)", 1],
  probability: ["p(class) by the classifier", 3],
  spread: ["standard deviation of the latents", 2],
};
let measure = null;

const root = element.querySelector(".g-view");
const parts = {};

function frame() {
  if (parts.table) return;
  root.replaceChildren();
  parts.notes = make("p", "notes", root);
  parts.both = make("div", "halves", root);
  parts.table = make("table", "tiles", make("div", "scroll", parts.both));
  parts.side = make("div", "side", parts.both);
  parts.choice = make("div", "choice", parts.side);
  parts.choice.setAttribute("role", "group");
  parts.choice.setAttribute("aria-label", "What is drawn upwards");
  parts.chart = make("div", "", parts.side);
  parts.about = make("p", "about", root);
  parts.numbers = make("table", "numbers", make("div", "scroll", root));
}

function grid(value) {
  const { rows = [], prompts = [], seeds = [], cells = {} } = value;
  const key = JSON.stringify([rows, prompts, seeds]);
  if (parts.table.dataset.key !== key) {
    parts.table.dataset.key = key;
    parts.table.replaceChildren();
    if (!rows.length) return;
    make("caption", "", parts.table, "A row a scale, a column a seed. Click a picture to see its triangle (but for γ −1 and 0).");
    const head = make("thead", "", parts.table);
    const first = make("tr", "", head);
    make("td", "", first);
    for (const prompt of prompts) Object.assign(make("th", "", first, prompt), { colSpan: seeds.length, scope: "colgroup" });
    const second = make("tr", "seeds", head);
    make("td", "", second);
    for (const prompt of prompts) for (const seed of seeds) make("th", "", second, seed).title = `seed ${seed}: ${prompt}`;
    const body = make("tbody", "", parts.table);
    rows.forEach((row, g) => {
      const line = make("tr", "", body);
      const name = make("th", "", line);
      name.scope = "row";
      make("b", "", name, row.name);
      make("span", "", name, row.cfg);
      prompts.forEach((prompt, p) => seeds.forEach((seed, i) => {
        const button = make("button", "", make("td", "", line));
        button.type = "button";
        button.setAttribute("aria-label", `${prompt}, seed ${seed}, ${row.long}`);
        button.addEventListener("click", () => trigger("select", { g, p, i }));
      }));
    });
  }
  const bodies = parts.table.querySelectorAll("tbody tr");
  rows.forEach((row, g) => prompts.forEach((prompt, p) => {
    const buttons = [...bodies[g].querySelectorAll("button")].slice(p * seeds.length, (p + 1) * seeds.length);
    const forming = value.forming && value.forming[0] === g && value.forming[1] === p;
    buttons.forEach((button, i) => {
      const source = (cells[`${g},${p}`] || [])[i];
      button.disabled = !source || forming;
      button.classList.toggle("forming", Boolean(forming));
      const image = button.firstChild || (source && make("img", "", button));
      if (image && source && image.getAttribute("src") !== source) Object.assign(image, { src: source, alt: "", decoding: "sync" });
    });
  }));
}

function choices(points) {
  const known = Object.keys(MEASURES).filter((name) => points.some((point) => point[name] && point[name][0] !== null));
  if (!known.includes(measure)) measure = known[0] || null;
  if (parts.choice.dataset.key === known.join()) return;
  parts.choice.dataset.key = known.join();
  parts.choice.replaceChildren();
  if (known.length < 2) return;
  for (const name of known) {
    const button = make("button", "", parts.choice, { score: "CLIP score", probability: "class", spread: "spread" }[name]);
    Object.assign(button, { type: "button", ariaPressed: String(name === measure) });
    button.addEventListener("click", () => {
      measure = name;
      for (const other of parts.choice.children) other.ariaPressed = String(other === button);
      chart((props.value || {}).points || []);
    });
  }
}

function range(values, least) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = Math.max((high - low) * 0.1, least);
  return [low - pad, high + pad];
}

function chart(points) {
  anew(parts.chart, [measure, points], () => drawChart(points));
}

function drawChart(points) {
  const seen = measure ? points.filter((point) => point[measure] && point.diversity[0] !== null) : [];
  if (!seen.length) { parts.chart.replaceChildren(); return; }
  // Below γ = 0 the words are avoided: so far off that all others would stand in a corner. Such points wait at the edge.
  const inner = seen.filter((point) => point.gamma >= 0), measured = inner.length > 1 ? inner : seen;
  const ends = (name) => measured.flatMap((point) => point[name]).filter((value) => value !== null);
  const [left, right] = range(ends("diversity"), 0.01);
  const [low, high] = range(ends(measure), 0.01);
  const at = axes(parts.chart, "What each scale came to: likeness against difference",
    { low: Math.max(0, left), high: right, name: "difference between seeds: 1 − cos of features" },
    { low, high, name: MEASURES[measure][0] }, { width: 440, height: 340 });
  const held = (value, least, most) => Math.min(Math.max(value, least), most);
  const place = (p) => [at.x(held(p.diversity[0], Math.max(0, left), right)), at.y(held(p[measure][0], low, high))];
  draw("polyline", { points: measured.map((p) => `${at.x(p.diversity[0])},${at.y(p[measure][0])}`).join(" "), class: "line way" }, at.svg);
  for (const point of measured) {
    const [d, s] = [point.diversity, point[measure]];
    if (d[1] !== null) draw("line", { x1: at.x(d[1]), x2: at.x(d[2]), y1: at.y(s[0]), y2: at.y(s[0]), class: "bar" }, at.svg);
    if (s[1] !== null) draw("line", { x1: at.x(d[0]), x2: at.x(d[0]), y1: at.y(s[1]), y2: at.y(s[2]), class: "bar" }, at.svg);
  }
  const taken = seen.map(place).map(([x, y]) => ({ x: x - 8, y: y - 8, w: 16, h: 16 }));
  for (const point of seen) {
    const [x, y] = place(point), off = !measured.includes(point);
    const dot = draw("circle", { cx: x, cy: y, r: 6, class: off ? "dot off" : "dot", tabindex: 0, role: "img" }, at.svg);
    const told = `${point.long}: ${MEASURES[measure][0]} ${fixed(point[measure][0], MEASURES[measure][1])}, difference ${fixed(point.diversity[0], 3)}`;
    dot.setAttribute("aria-label", told);
    draw("title", {}, dot, told);
    for (const event of ["mouseenter", "focus"]) dot.addEventListener(event, () => mark(point.gamma, true));
    for (const event of ["mouseleave", "blur"]) dot.addEventListener(event, () => mark(point.gamma, false));
    label(at, taken, x, y, off ? `${point.name}, off the chart` : point.name);
  }
}

// A name beside its point, where nothing else stands.
function label(at, taken, x, y, text) {
  const w = 9 * text.length, h = 16;
  const places = [[x + 10, y - 8], [x - 10 - w, y - 8], [x - w / 2, y - 28], [x - w / 2, y + 11], [x + 8, y - 26], [x + 8, y + 10],
    [x - 8 - w, y - 26], [x - 8 - w, y + 10]];
  const free = ([a, b]) => a > at.inner.left && a + w < at.inner.right + 12 && b > 0 && b + h < at.inner.bottom &&
    !taken.some((box) => a < box.x + box.w && box.x < a + w && b < box.y + box.h && box.y < b + h);
  const [a, b] = places.find(free) || places[0];
  taken.push({ x: a, y: b, w, h });
  draw("text", { x: a, y: b + 13, class: "at" }, at.svg, text);
}

function mark(gamma, on) {
  const rows = (props.value || {}).rows || [];
  const g = rows.findIndex((row) => row.gamma === gamma);
  const line = parts.table.querySelectorAll("tbody tr")[g];
  if (line) line.classList.toggle("marked", on);
}

function numbers(points, classes) {
  parts.numbers.replaceChildren();
  parts.about.textContent = "";
  if (!points.length) return;
  const columns = [["CLIP score", "score", 1], ["p(class)", "probability", 3], ["difference", "diversity", 3], ["spread", "spread", 2]]
    .filter(([, name]) => points.some((point) => point[name] && point[name][0] !== null));
  parts.about.textContent = "Value [95 % interval over seeds]. Spread: standard deviation of the finished latents."
    + (Number.isFinite((props.value || {}).trained) ? ` Of the training pictures it is ${fixed(props.value.trained, 2)}.` : "")
    + (classes.length ? ` Class: ${classes.join(", ")}.` : "");
  const head = make("tr", "", make("thead", "", parts.numbers));
  for (const name of ["γ", "CFG", ...columns.map(([title]) => title)]) make("th", "", head, name).scope = "col";
  const body = make("tbody", "", parts.numbers);
  for (const point of points) {
    const line = make("tr", "", body);
    make("th", "", line, fixed(point.gamma, 1).replace(/\.0$/, "")).scope = "row";
    make("td", "", line, point.cfg.replace("CFG ", ""));
    for (const [, name, digits] of columns) {
      const [value, low, high] = point[name] || [];
      const cell = make("td", "", line, fixed(value, digits));
      if (low !== null && low !== undefined) make("small", "", cell, ` [${fixed(low, digits)}, ${fixed(high, digits)}]`);
    }
  }
}

function show() {
  const value = props.value || {};
  frame();
  parts.notes.textContent = (value.notes || []).join(" ");
  parts.notes.hidden = !(value.notes || []).length;
  parts.both.hidden = !(value.rows || []).length;
  grid(value);
  const points = value.points || [];
  choices(points);
  chart(points);
  anew(parts.numbers, [points, value.classes, value.trained], () => numbers(points, value.classes || []));
  say(value.status);
}

show();
watch("value", show);

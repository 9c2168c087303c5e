// Charts of measured curves, bars, tables and rows of pictures, each from props.value:
//   {charts: [{title, note, x, y, series: [{name, kind, points: [[x, value, low, high]]}]}], bars, pictures, idle, status,
//    strips: [{name, images}], changes: [{label, doc, better, before, after, change: [value, low, high], verdict, noticed, foreseen}],
//    tables: [{title, note, head, rows}]}

function bars(box, made) {
  make("h4", "", box, made.title);
  make("p", "note", box, made.unit);
  const most = Math.max(made.most || Math.max(...made.bars.map((bar) => bar[3] || bar[1])), 1e-9);
  for (const [name, value, low, high] of made.bars) {
    const row = make("div", "bar-row", box);
    make("span", "of", row, name);
    const track = make("div", "track", row);
    make("i", "", track).style.width = `${(100 * value) / most}%`;
    if (finite(low)) Object.assign(make("b", "", track).style, { left: `${(100 * Math.max(0, low)) / most}%`, width: `${(100 * (high - Math.max(0, low))) / most}%` });
    make("span", "value", row, `${digits(value)}${finite(low) ? ` [${digits(low)}, ${digits(high)}]` : ""}`);
  }
}

function pictures(root, worlds) {
  const box = make("div", "worlds", root);
  for (const world of worlds) {
    const figure = make("figure", "", box);
    for (const [row, sources] of world.rows.entries()) {
      const line = make("div", "strip", figure);
      for (const source of sources) Object.assign(make("img", "", line), { src: source, alt: row ? "after the VAE" : world.name });
    }
    const near = make("div", "strip", figure);
    for (const { src, name, away } of world.near) {
      const one = make("div", "near", near);
      Object.assign(make("img", "", one), { src, alt: `nearest training picture: ${name}`, title: name });
      make("small", "", one, `${digits(away)} away`);
    }
    make("figcaption", "", figure, `${world.name}: as they are, through the VAE and back, and the nearest training picture of each`);
  }
}

function strips(root, made) {
  const box = make("div", "strips", root);
  for (const one of made) {
    const figure = make("figure", "", box);
    make("figcaption", "", figure, one.name);
    const line = make("div", "", figure);
    for (const source of one.images) Object.assign(make("img", "", line), { src: source, alt: one.name });
  }
}

// A metric before and after on one scale, what became of it, and what was foreseen.
function change(root, one) {
  const box = make("div", "change", root);
  box.dataset.verdict = one.verdict;
  const head = make("div", "of", box);
  Object.assign(make("b", "", head, one.label), { title: one.doc });
  make("small", "", head, one.better === "low" ? "low is good" : "high is good");
  const ends = [...one.before, ...one.after].filter(finite), room = (Math.max(...ends) - Math.min(...ends) || 1) * 0.06;
  const [low, high] = [Math.min(...ends) - room, Math.max(...ends) + room];
  const svg = draw("svg", { viewBox: "0 0 300 44", role: "img", preserveAspectRatio: "none" }, box);
  const at = (value) => 6 + (288 * (value - low)) / (high - low);
  for (const [row, [value, from, to], kind] of [[13, one.before, "second"], [31, one.after, ""]]) {
    draw("line", { x1: at(from ?? value), x2: at(to ?? value), y1: row, y2: row, class: `line whisker ${kind}` }, svg);
    draw("line", { x1: at(value) - 2.5, x2: at(value) + 2.5, y1: row, y2: row, class: `line now ${kind}` }, svg);
  }
  const said = ([value, from, to]) => `${digits(value)}${finite(from) ? ` [${digits(from)}, ${digits(to)}]` : ""}`;
  const numbers = make("div", "numbers", box);
  make("span", "second", numbers, `before ${said(one.before)}`);
  make("span", "", numbers, `after ${said(one.after)}`);
  const end = make("div", "end", box);
  make("b", "", end, one.noticed ? `notices: ${one.verdict}` : one.verdict).title = `change ${said(one.change)}`;
  if (one.foreseen !== null) make("small", one.noticed === one.foreseen ? "right" : "wrong", end, one.noticed === one.foreseen ? "✓ as you said" : `✗ you said it would${one.foreseen ? "" : " not"}`);
}

const picked = {}; // by the title of a table: which of its columns a narrow page shows

function table(root, made) {
  make("h4", "", root, made.title);
  make("p", "note", root, made.note);
  const pick = make("select", "column", root);
  pick.setAttribute("aria-label", "Column shown");
  pick.tabIndex = 0; // so that `anew` gives the focus back
  for (const word of made.head.slice(1)) make("option", "", pick, word);
  const body = make("table", "measured", make("div", "scroll", root));
  const head = make("tr", "", make("thead", "", body));
  for (const word of made.head) make("th", "", head, word);
  for (const cells of made.rows) {
    const row = make("tr", "", body);
    const whole = (cell) => cell.replace(/\[.*?\]/g, (range) => range.replaceAll(" ", "\u00a0")); // an interval stays on its line
    for (const cell of cells) make("td", "", row, whole(cell));
  }
  const choose = () => {
    for (const row of body.querySelectorAll("tr")) [...row.cells].forEach((cell, index) => cell.classList.toggle("picked", index === 1 + pick.selectedIndex));
  };
  const measured = made.head.findIndex((_, index) => made.rows.some((cells) => cells[index].includes("[")));
  pick.selectedIndex = picked[made.title] ?? Math.max(0, measured - 1);
  pick.addEventListener("change", () => { picked[made.title] = pick.selectedIndex; choose(); });
  choose();
}

function show() {
  let value = props.value || {};
  if (value.of && props.chosen && value.of !== props.chosen) value = { idle: `Press Measure.` };
  const root = element.querySelector(".lab");
  if (!root) return;
  const { status, ...made } = value;
  anew(root, made, () => drawAll(root, made));
  say(status || { line: value.idle || "" });
}

function drawAll(root, { charts = [], bars: counted = [], changes = [], tables = [], ...made }) {
  const open = [...root.querySelectorAll("details")].map((node) => node.open);
  root.replaceChildren();
  root.classList.toggle("empty", !charts.length && !counted.length && Boolean(made.idle));
  for (const one of tables) table(make("section", "panel", root), one); // before pictures that grow row by row
  if (made.strips) strips(root, made.strips);
  if (changes.length) {
    const box = make("div", "changes", root);
    for (const one of changes) change(box, one);
  }
  const panels = make("div", "panels", root);
  charted(panels, charts, open);
  for (const bar of counted) bars(make("section", "panel", panels), bar);
  if (made.pictures) pictures(root, made.pictures);
}

show();
watch(["value", "chosen"], show);
onWidth(show);

// A live training on a handful of pictures, from props.value: {charts, strip: {names, steps, cells: [[src]], near: [[src, distance]]},
//   guided: {gammas, names, rows: [{name, cells: [{src, right, far}]}]}, idle, status}; right and far are [value, low, high]

const root = element.querySelector(".few");

const share = (of) => `${(100 * of[0]).toFixed(0)} %`;
const range = (of) => (finite(of[1]) && of[2] > of[1] ? ` [${(100 * Math.max(0, of[1])).toFixed(0)}, ${(100 * Math.min(1, of[2])).toFixed(0)}]` : "");

function image(parent, source, words) {
  const node = make("img", "", parent);
  Object.assign(node, { src: source, alt: words, title: words });
  return node;
}

function strip(parent, { names, steps, cells, near }) {
  const box = make("section", "", parent);
  make("h4", "", box, "Samples as they improve");
  make("p", "note", box, "γ = 0, from the same noise each time; the network that also hears the empty prompt");
  const table = make("table", "pictures", make("div", "scroll", box));
  const head = make("tr", "", table);
  make("th", "", head, "after");
  for (const step of steps) make("th", "", head, String(step));
  make("th", "", head, "nearest training picture");
  names.forEach((name, row) => {
    const line = make("tr", "", table);
    make("th", "", line, name);
    cells.forEach((cell, i) => image(make("td", "", line), cell[row], `${name} after ${steps[i]} steps`));
    if (!near[row]) return;
    const cell = make("td", "near", line);
    image(cell, near[row][0], `the training picture nearest to the last sample for ${name}`);
    make("span", "", cell, `${near[row][1]} away`);
  });
}

function guided(parent, { gammas, names, rows }) {
  const box = make("section", "", parent);
  make("h4", "", box, "Guidance on both");
  make("p", "note", box, `Each cell: ${names.join(", ")}. Below it the share of samples whose nearest training picture bears the name asked for, and how far that picture is`);
  const table = make("table", "pictures", make("div", "scroll", box));
  const head = make("tr", "", table);
  make("th", "", head, "");
  for (const gamma of gammas) make("th", "", head, `γ = ${digits(gamma)}${gamma === -1 ? ": empty prompt" : gamma === 0 ? ": caption alone" : ""}`);
  for (const row of rows) {
    const line = make("tr", "", table);
    make("th", "", line, row.name);
    row.cells.forEach((cell, i) => {
      const at = make("td", "", line), four = make("div", "four", at);
      cell.src.forEach((source, k) => image(four, source, `${names[k]} at γ ${gammas[i]}, ${row.name}`));
      make("p", "told", at, `${share(cell.right)}${range(cell.right)} right, ${digits(cell.far[0])} [${digits(cell.far[1])}, ${digits(cell.far[2])}] away`);
    });
  }
}

function show() {
  const value = props.value || {};
  root.classList.toggle("empty", !value.strip);
  anew(root, [value.charts, value.strip, value.guided], () => {
    const open = [...root.querySelectorAll("details")].map((node) => node.open);
    root.replaceChildren();
    if (!value.strip) return;
    charted(make("div", "panels", root), value.charts || [], open);
    if (value.strip.steps.length) strip(root, value.strip);
    if (value.guided) guided(root, value.guided);
  });
  say(value.status || { line: value.idle || "" });
}

show();
watch("value", show);
onWidth(show);

// Three drawings of the samplers tab, each from its own props.value: a race on log-log axes, a grid of pictures, a fan of paths.
// Words go in as textContent only; addresses come from the server and begin with "?".

const few = (number) => typeset(Math.abs(number) < 0.001 && number ? number.toExponential(1) : String(Number(number.toPrecision(3))));
const certain = (value, between, said) => said(value) + (between ? ` [${between.map(said).join(", ")}]` : "");
const linked = (parent, address) => {
  const node = make("a", "", parent);
  if (address && address.startsWith("?")) node.href = address;
  node.target = "_blank";
  return node;
};

// What a job says of itself, under every drawing.
function status(root, value) {
  const line = root.querySelector(":scope > .line") || make("div", "line", root);
  line.setAttribute("role", "status");
  const said = value.status || {};
  element.dataset.state = said.state || "idle";
  element.style.setProperty("--part", said.part || 0);
  line.textContent = said.state === "done" ? value.told || "" : said.line || value.idle || "";
  root.append(line);
}

// ------------------------------------------------------------------------------------------------------- a race

const MARGIN = { left: 58, right: 14, top: 12, bottom: 42 };

function decades(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) found.push(power);
  return found;
}


function logChart(panel, lines, floor, title, said, opens) {
  const width = Math.max(280, panel.clientWidth);
  const height = Math.round(Math.max(250, Math.min(430, 0.66 * width)));
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title }, panel);
  const points = lines.flatMap((line) => line.points).filter((point) => point.error > 0);
  if (!points.length) return;
  const xs = points.map((point) => Math.log10(point.nfe));
  const ys = points.flatMap((point) => [point.error, ...(point.between || [])]).concat(floor || []).filter((y) => y > 0).map(Math.log10);
  const pad = (values) => [Math.min(...values) - 0.12, Math.max(...values) + 0.12];
  const [x0, x1] = pad(xs), [y0, y1] = pad(ys);
  const x = (nfe) => MARGIN.left + ((Math.log10(nfe) - x0) / (x1 - x0)) * (width - MARGIN.left - MARGIN.right);
  const y = (error) => MARGIN.top + ((y1 - Math.log10(error)) / (y1 - y0)) * (height - MARGIN.top - MARGIN.bottom);
  const grid = draw("g", { class: "grid" }, svg);
  for (const power of decades(10 ** x0, 10 ** x1)) {
    for (const digit of [1, 2, 5]) {
      const at = digit * 10 ** power;
      if (Math.log10(at) < x0 || Math.log10(at) > x1) continue;
      draw("line", { x1: x(at), x2: x(at), y1: MARGIN.top, y2: height - MARGIN.bottom }, grid);
      draw("text", { x: x(at), y: height - MARGIN.bottom + 17, "text-anchor": "middle" }, grid, at);
    }
  }
  const narrow = y1 - y0 < 2;
  for (const power of decades(10 ** y0, 10 ** y1)) {
    for (const digit of narrow ? [1, 2, 5] : [1]) {
      const at = digit * 10 ** power;
      if (Math.log10(at) < y0 || Math.log10(at) > y1) continue;
      draw("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(at), y2: y(at) }, grid);
      const name = narrow ? few(at) : `10${raised(power)}`;
      draw("text", { x: MARGIN.left - 7, y: y(at) + 4, "text-anchor": "end" }, grid, name);
    }
  }
  draw("text", { x: (MARGIN.left + width) / 2, y: height - 6, "text-anchor": "middle", class: "title" }, svg, "network evaluations (NFE)");
  if (floor) {
    const [chance, low, high] = floor, side = { x1: MARGIN.left, x2: width - MARGIN.right };
    const end = low > 0 ? y(low) : height - MARGIN.bottom;
    draw("rect", { class: "floor", x: side.x1, width: side.x2 - side.x1, y: y(high), height: end - y(high) }, svg);
    draw("line", { class: "floor", ...side, y1: y(chance), y2: y(chance) }, svg);
    draw("text", { class: "floor", x: side.x1 + 6, y: y(high) - 6 }, svg, "chance alone");
  }
  for (const line of lines) {
    const group = draw("g", { class: "series", style: `--tint: ${line.colour}`, "data-name": line.name }, svg);
    const path = line.points.filter((point) => point.error > 0).map((point) => `${x(point.nfe)},${y(point.error)}`);
    draw("polyline", { points: path.join(" "), class: line.dashed ? "dashed" : "" }, group);
    if (line.fit && line.fit.line[0][1] > 0 && line.fit.line[1][1] > 0) {
      const [[a, b], [c, d]] = line.fit.line;
      draw("line", { class: "fit", x1: x(a), y1: y(b), x2: x(c), y2: y(d) }, group);
    }
    for (const point of line.points.filter((one) => one.error > 0)) {
      if (point.between) draw("line", { class: "whisker", x1: x(point.nfe), x2: x(point.nfe), y1: y(point.between[0]), y2: y(point.between[1]) }, group);
      const words = `${line.label}, ${point.steps} steps: ${point.nfe} NFE, error ${certain(point.error, point.between, few)}`;
      const anchor = draw("a", { "aria-label": `${words}. A click opens ${opens} in Denoise.`, target: "_blank" }, group);
      if (point.link.startsWith("?")) anchor.setAttribute("href", point.link);
      draw("circle", { cx: x(point.nfe), cy: y(point.error), r: 4.5 }, anchor);
      draw("circle", { cx: x(point.nfe), cy: y(point.error), r: 11, class: "reach" }, anchor);
      for (const event of ["pointerenter", "focus"]) anchor.addEventListener(event, () => said(`${words} · click to open ${opens} in Denoise`, line.name));
      for (const event of ["pointerleave", "blur"]) anchor.addEventListener(event, () => said("", ""));
    }
  }
}

function legend(panel, lines, said) {
  const list = make("ul", "legend", panel);
  for (const line of lines) {
    const item = make("li", "", list);
    item.style.setProperty("--tint", line.colour);
    make("b", line.dashed ? "dashed" : "", item);
    make("span", "label", item, line.label);
    if (line.fit) make("span", "order", item, `order ${certain(line.fit.order, line.fit.between, (one) => one.toFixed(2))} (declared ${line.declared})`);
    item.addEventListener("pointerenter", () => said("", line.name));
    item.addEventListener("pointerleave", () => said("", ""));
  }
}

function table(root, lines, opens) {
  const details = make("details", "numbers", root);
  make("summary", "", details, "As numbers");
  const rows = make("table", "", details);
  const head = make("tr", "", rows);
  for (const word of ["sampler", "steps", "NFE", "error", ""]) make("th", "", head, word);
  for (const line of lines) {
    for (const point of line.points) {
      const row = make("tr", "", rows);
      for (const word of [line.label, point.steps, point.nfe, certain(point.error, point.between, few)]) make("td", "", row, word);
      Object.assign(linked(make("td", "", row), point.link), { textContent: "open in Denoise", title: `Opens ${opens}` });
    }
  }
}

function panel(root, name, title, note, lines, floor, opens) {
  const box = make("section", `panel ${name}`, root);
  make("h4", "", box, title);
  const reading = make("p", "reading", box, note);
  const said = (words, chosen) => {
    reading.textContent = words || note;
    for (const node of box.querySelectorAll(".series")) node.classList.toggle("faint", Boolean(chosen) && node.dataset.name !== chosen);
  };
  const chart = make("div", "chart", box);
  logChart(chart, lines, floor, title, said, opens);
  legend(box, lines, said);
  make("p", "opens", box, `A click on a point opens ${opens} in Denoise.`);
  table(box, lines, opens);
}

function showRace(root, value) {
  anew(root, [value.on, value.lines, value.apart, value.floor, value.left], () => drawRace(root, value));
  status(root, value);
}

function drawRace(root, value) {
  const open = [...root.querySelectorAll("details")].map((node) => node.open);
  root.replaceChildren();
  const panels = make("div", "panels", root);
  const lines = value.lines || [], apart = value.apart || [];
  panels.classList.toggle("two", lines.length > 0 && apart.length > 0);
  const name = value.on === "model" ? "z" : "x";
  const against = `‖${name} − ${name}*‖ / ‖${name}*‖, ${name}* ${value.on === "model" ? "the latents of " : ""}a very fine solve from the same noise`;
  const opens = value.on === "model" ? "this very run" : "a picture of this model by the same sampler and steps, not the mixture's points,";
  if (lines.length) panel(panels, "still", "Deterministic: error against NFE", against, lines, null, opens);
  if (!lines.length && !apart.length) make("div", "empty", panels);
  if (apart.length) panel(panels, "moved", "Stochastic: distance of the made points from the data", "mean Wasserstein distance along 16 directions", apart, value.floor, opens);
  if (value.left) make("p", "left", root, value.left);
  root.querySelectorAll("details").forEach((node, index) => (node.open = Boolean(open[index])));
}

// ------------------------------------------------------------------------------------------------------- a grid of pictures

function skeleton(root, axes) {
  root.replaceChildren();
  const [xs, ys, zs] = axes.map((axis) => (axis ? axis.labels : [""]));
  zs.forEach((z, k) => {
    const block = make("section", "block", root);
    if (z) make("h4", "", block, z);
    const scroll = make("div", "scroll", block);
    const cells = make("div", "cells", scroll);
    cells.style.setProperty("--columns", xs.length);
    cells.classList.toggle("rows", Boolean(axes[1]));
    if (axes[0]) {
      if (axes[1]) make("span", "corner", cells);
      for (const label of xs) make("span", "head", cells, label);
    }
    ys.forEach((y, j) => {
      if (axes[1]) make("span", "side", cells, y);
      xs.forEach((x, i) => {
        const cell = make("figure", "cell", cells);
        cell.dataset.key = [i, j, k].join(",");
        make("img", "", linked(cell, "")).hidden = true;
        make("figcaption", "", cell, "");
      });
    });
  });
}

function showPictures(root, value) {
  if (!value.axes) {
    root.replaceChildren();
    make("div", "empty", root);
    delete root.dataset.made;
  } else {
    const made = JSON.stringify(value.axes);
    if (root.dataset.made !== made) {
      skeleton(root, value.axes);
      root.dataset.made = made;
    }
    for (const figure of root.querySelectorAll(".cell")) fillCell(figure, value);
  }
  status(root, value);
}

function fillCell(figure, value) {
  const cell = value.cells[figure.dataset.key];
  const rough = value.forming && value.forming.key === figure.dataset.key ? value.forming : null;
  const image = figure.querySelector("img"), anchor = figure.querySelector("a"), caption = figure.querySelector("figcaption");
  const source = cell ? cell.src : rough ? rough.src : "";
  image.hidden = !source;
  if (source && image.getAttribute("src") !== source) image.src = source;
  image.alt = cell ? cell.alt || "" : rough ? "a rough preview" : "";
  figure.classList.toggle("forming", Boolean(rough) && !cell);
  figure.classList.toggle("done", Boolean(cell && cell.src));
  if (cell && cell.link && cell.link.startsWith("?")) {
    anchor.href = cell.link;
    anchor.title = "Open in Denoise";
  } else anchor.removeAttribute("href");
  caption.textContent = cell ? cell.fault || `${cell.nfe} NFE · ${cell.seconds} s` : "";
}

// ------------------------------------------------------------------------------------------------------- a fan of paths

function showFan(root, value) {
  root.replaceChildren();
  const plane = make("div", "plane", root), side = 420, reach = 2.4;
  const at = ([x, y]) => `${(side / 2) * (1 + x / reach)},${(side / 2) * (1 - y / reach)}`;
  const svg = draw("svg", { viewBox: `0 0 ${side} ${side}`, role: "img", "aria-label": `Eight runs from one point at eta ${value.eta}; they end ${value.spread} apart.` }, plane);
  for (const point of value.cloud) {
    const [cx, cy] = at(point).split(",");
    draw("circle", { cx, cy, r: 1.5, class: "data" }, svg);
  }
  value.tracks.forEach((track, index) => {
    draw("polyline", { points: track.map(at).join(" "), class: "track", style: `--turn: ${index * 45}` }, svg);
    const [cx, cy] = at(track[track.length - 1]).split(",");
    draw("circle", { cx, cy, r: 5, class: "end", style: `--turn: ${index * 45}` }, svg);
  });
  const [cx, cy] = at(value.tracks[0][0]).split(",");
  draw("circle", { cx, cy, r: 6, class: "start" }, svg);
  const told = make("div", "told", root);
  make("p", "big", told, `η = ${value.eta}: the eight ends lie ${value.spread} apart`);
  make("p", "", told, value.eta === 0 ? "Without fresh noise all eight runs are one and the same: DDIM is deterministic." : "One starting point (the ring), eight different draws of fresh noise.");
  const bars = make("div", "bars", told);
  bars.setAttribute("role", "img");
  bars.setAttribute("aria-label", `Spread over 64 starts: ${value.spreads.map(([eta, spread]) => `${spread} at eta ${eta}`).join(", ")}`);
  const most = Math.max(...value.spreads.map(([, spread]) => spread));
  for (const [eta, spread] of value.spreads) {
    const bar = make("div", eta === value.near ? "bar near" : "bar", bars);
    const fill = make("i", "", bar);
    fill.style.height = `${(100 * spread) / most}%`;
    make("span", "", bar, eta);
  }
  make("p", "small", told, "Spread of the ends over 64 starting points, against η");
}

// -------------------------------------------------------------------------------------------------------

const DRAWINGS = { race: showRace, pictures: showPictures, fan: showFan };

function show() {
  for (const [name, drawing] of Object.entries(DRAWINGS)) {
    const root = element.querySelector(`.${name}`);
    if (root && props.value) drawing(root, props.value);
  }
}

show();
watch("value", show);
const drawn = element.querySelector(".race");
if (drawn) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - width) < 2) return;
    width = entry.contentRect.width;
    show();
  }).observe(drawn);
}

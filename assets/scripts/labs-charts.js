// Charts of measured curves with their numbers: {title, note, x, y, series: [{name, kind, points: [[x, value, low, high]]}]}

const finite = (value) => value !== null && Number.isFinite(value);
const digits = (value) => (finite(value) ? typeset(value && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(3)))) : "–");

// The scale that all curves of a chart need.
function span(axis, values, pad) {
  const seen = values.filter((value) => finite(value) && (!axis.log || value > 0));
  let low = finite(axis.low) ? axis.low : Math.min(...seen), high = finite(axis.high) ? axis.high : Math.max(...seen);
  if (!seen.length) [low, high] = [axis.log ? 0.1 : 0, 1];
  if (axis.log) {
    if (high / low < 3) [low, high] = [low / 2, high * 2];
    return { ...axis, low: low / (1 + pad), high: high * (1 + pad) };
  }
  const room = (high - low || 1) * pad;
  return { ...axis, low: finite(axis.low) ? axis.low : low - room, high: finite(axis.high) ? axis.high : high + room };
}

const within = (axis, value) => Math.min(axis.high, Math.max(axis.low, value));

// On log axes of little width whole powers of ten are too few.
function marked(axis) {
  if (!axis.log || Math.log10(axis.high / axis.low) > 2.5) return axis;
  const found = [];
  for (let power = Math.floor(Math.log10(axis.low)); 10 ** power <= axis.high; power++)
    for (const digit of [1, 2, 5]) if (digit * 10 ** power >= axis.low && digit * 10 ** power <= axis.high) found.push(Number((digit * 10 ** power).toPrecision(3)));
  return { ...axis, ticks: found };
}

function curve(box, made) {
  const points = made.series.flatMap((one) => one.points);
  const x = marked(span(made.x, points.map((p) => p[0]), 0.03));
  const y = marked(span(made.y, points.flatMap((p) => p.slice(1)), made.y.log ? 0.15 : 0.06));
  const at = axes(make("div", "plot", box), made.title, x, y, { width: 470, height: 300, left: 64, equal: made.equal });
  for (const one of made.series) {
    const kind = one.kind.replace("dots", "").trim(), dotted = one.kind.includes("dots");
    const good = one.points.filter((p) => finite(p[1]) && (!y.log || p[1] > 0) && (!x.log || p[0] > 0));
    const place = (p) => [at.x(p[0]), at.y(within(y, p[1]))];
    for (const p of good) {
      if (!finite(p[2]) || p[3] <= p[2]) continue;
      const low = y.log ? Math.max(p[2], y.low) : p[2];
      draw("line", { x1: at.x(p[0]), x2: at.x(p[0]), y1: at.y(within(y, low)), y2: at.y(within(y, p[3])), class: `line whisker ${kind}` }, at.svg);
    }
    if (!dotted) draw("polyline", { points: good.map((p) => place(p).map((v) => v.toFixed(1)).join(",")).join(" "), class: `line ${kind}` }, at.svg);
    if (good.length > 30 && !dotted || kind.includes("dashed") || kind.includes("thin")) continue;
    for (const p of good) {
      const [cx, cy] = place(p);
      const dot = draw("circle", { cx, cy, r: dotted ? 3.5 : 4, class: `spot ${kind}` }, at.svg);
      const range = finite(p[2]) && p[3] > p[2] ? ` [${digits(p[2])}, ${digits(p[3])}]` : "";
      draw("title", {}, dot, `${one.name}: ${digits(p[1])}${range} at ${made.x.name} ${digits(p[0])}`);
    }
  }
  legend(box, made.series.filter((one) => one.name).map((one) => ({ ...one, kind: one.kind.replace("dots", "dotted") })));
}

function numbers(box, made, open) {
  const details = make("details", "numbers", box);
  details.open = open;
  make("summary", "", details, "As numbers");
  const table = make("table", "", make("div", "scroll", details));
  const head = make("tr", "", table);
  for (const word of ["curve", made.x.name, made.y.name, "95 % interval"]) make("th", "", head, word);
  for (const one of made.series.filter((each) => each.name)) {
    for (const p of one.points) {
      const row = make("tr", "", table);
      const range = finite(p[2]) && p[3] > p[2] ? `${digits(p[2])} to ${digits(p[3])}` : "–";
      for (const word of [one.name, digits(p[0]), digits(p[1]), range]) make("td", "", row, word);
    }
  }
}

// Charts side by side; a list of numbers that was open stays so.
function charted(panels, charts, open = []) {
  const boxes = charts.map(() => make("section", "panel", panels)); // all of them before any is measured
  charts.forEach((chart, index) => {
    make("h4", "", boxes[index], chart.title);
    make("p", "note", boxes[index], chart.note);
    curve(boxes[index], chart);
    numbers(boxes[index], chart, open[index] || false);
  });
}

// Draw again when the width changes.
function onWidth(again) {
  let wide = 0;
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - wide) < 2) return;
    wide = entry.contentRect.width;
    again();
  }).observe(element);
}

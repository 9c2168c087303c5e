// Charts of measured curves, bars and rows of pictures, each from props.value:
//   {charts: [{title, note, x, y, series: [{name, kind, points: [[x, value, low, high]]}]}], bars, pictures, idle, status}

function bars(box, made) {
  make("h4", "", box, made.title);
  make("p", "note", box, made.unit);
  const most = Math.max(...made.bars.map((bar) => bar[3] || bar[1]), 1e-9);
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
    make("figcaption", "", figure, `${world.name}: above as they are, below through the VAE and back`);
  }
}

function show() {
  let value = props.value || {};
  if (value.of && props.chosen && value.of !== props.chosen) value = { idle: `Press Measure.` };
  const root = element.querySelector(".lab");
  if (!root) return;
  const open = [...root.querySelectorAll("details")].map((node) => node.open);
  root.replaceChildren();
  const charts = value.charts || [], made = value.bars || [];
  root.classList.toggle("empty", !charts.length && !made.length && Boolean(value.idle));
  const panels = make("div", "panels", root);
  charted(panels, charts, open);
  for (const bar of made) bars(make("section", "panel", panels), bar);
  if (value.pictures) pictures(root, value.pictures);
  say(value.status || { line: value.idle || "" });
}

show();
watch(["value", "chosen"], show);
onWidth(show);

// Accuracy and diversity against the scale, and the pictures of one scale. props.value: {status, name, forming, charts, strips:
//   [{scale, kind, title, long, nfe, pictures, right, seen}]}; props.scale: the scale whose pictures are shown, −1: the last one

const root = element.querySelector(".g-view");
root.classList.add("lab");
const parts = {};
const now = { scale: props.scale ?? -1 };

function frame() {
  if (parts.panels) return;
  root.replaceChildren();
  parts.panels = make("div", "panels", root);
  parts.choice = make("div", "choice", root);
  Object.assign(parts.choice, { role: "group", ariaLabel: "Scale whose pictures are shown" });
  parts.walls = make("div", "versus", root);
  parts.formed = make("img", "formed", root);
}

const scalesOf = (strips) => [...new Set(strips.map((one) => one.scale))];

function choose(scale) {
  now.scale = scale;
  remember({ scale });
  walls(props.value.strips || []);
}

function walls(strips) {
  const scales = scalesOf(strips);
  const at = scales.includes(now.scale) ? now.scale : scales.at(-1);
  anew(parts.choice, [scales, at], () => choices(scales, at));
  const shown = strips.filter((one) => one.scale === at);
  const { name } = props.value || {};
  anew(parts.walls, [name, shown], () => drawWalls(shown, name));
}

function choices(scales, at) {
  parts.choice.replaceChildren();
  if (!scales.length) return;
  make("span", "", parts.choice, "Pictures at scale w =");
  for (const scale of scales) {
    const button = make("button", "", parts.choice, short(scale));
    Object.assign(button, { type: "button", ariaPressed: String(scale === at) });
    button.addEventListener("click", () => choose(scale));
  }
}

function drawWalls(shown, name) {
  parts.walls.replaceChildren();
  for (const one of shown) {
    const side = make("section", "", parts.walls);
    make("h4", "", side, `${one.title} · ${one.long} · ${one.nfe} NFE`);
    const wall = make("div", "wall", side);
    one.pictures.forEach((source, i) => {
      const by = [one.right[i] && "classifier", one.seen && one.seen[i] && "CLIP"].filter(Boolean);
      const said = by.length === 2 ? "both" : by[0] || (one.seen ? "neither" : "not seen");
      const figure = make("figure", one.right[i] ? "right" : "", wall);
      Object.assign(make("img", "", figure), { src: source, decoding: "sync", alt: `picture ${i + 1}, ${name} seen by: ${said}` });
      make("figcaption", "", figure, said);
    });
    make("p", "about", side, `Who sees ${name} before all other classes? The classifier in ${count(one.right)}`
      + (one.seen ? `, CLIP in ${count(one.seen)}.` : "."));
  }
}

const count = (found) => `${found.filter(Boolean).length} of ${found.length}`;

function show() {
  const value = props.value || {}, charts = value.charts || [], strips = value.strips || [];
  frame();
  say(value.status);
  root.hidden = !charts.length && !value.forming;
  parts.formed.hidden = !value.forming;
  if (value.forming) Object.assign(parts.formed, { src: value.forming, alt: "a rough preview" });
  anew(parts.panels, charts, () => {
    const open = [...parts.panels.querySelectorAll("details")].map((one) => one.open);
    parts.panels.replaceChildren();
    charted(parts.panels, charts, open);
  });
  walls(strips);
}

show();
watch("value", show);
recall("scale", (scale) => { now.scale = scale; if (parts.choice) walls((props.value || {}).strips || []); });
onWidth(show);

// Network, perfect denoiser and their difference at every step, from props.value:
//   {frames: [[src, src, src]], steps: [{t, nsr, entropy, apart, reach, first, share, near}], nearest: {row: {src, name, licence}},
//    decided, usual, copy, open, named, idle, status}

const root = element.querySelector(".perfect");
let parts = null, at = 0, touched = false;

function build() {
  root.replaceChildren();
  parts = { at: null };
  const left = make("div", "views", root);
  parts.images = ["Network", "Perfect", "Difference"].map((name) => {
    const figure = make("figure", "", left);
    const image = make("img", "", figure);
    image.alt = `${name} at this step`;
    parts[name] = make("figcaption", "", figure, name);
    return image;
  });
  const side = make("div", "side", root);
  parts.slider = slider(side, "step", { min: 1, max: 1, step: 1, value: 1 }, (value) => { at = value - 1; touched = true; frame(); });
  parts.told = make("p", "told", side);
  parts.near = make("div", "near", side);
  parts.chart = make("div", "chart-box", root);
}

function frame() {
  const { frames, steps, nearest, decided, usual, copy, named } = props.value;
  const step = steps[at];
  frames[at].forEach((source, index) => { if (parts.images[index].getAttribute("src") !== source) parts.images[index].src = source; });
  parts.slider.value = at + 1;
  parts.slider.parentElement.querySelector("output").textContent = `${at + 1} of ${steps.length}`;
  parts.Network.textContent = "Network: what it takes the picture for";
  parts.Perfect.textContent = `Perfect: ${(100 * step.share).toFixed(step.share > 0.995 ? 0 : 1)} % of it is one training picture`;
  parts.Difference.textContent = `Difference: ${fixed(step.apart)} root mean square`;
  const doubt = step.entropy > 0.01 ? `as open as ${Math.exp(step.entropy).toFixed(step.entropy > 2 ? 0 : 1)} equal choices` : "decided";
  const moment = decided === null ? "" : at >= decided ? " The decision has fallen." : ` It falls at step ${decided + 1}.`;
  parts.told.textContent = `t = ${step.t}, σ/α = ${fixed(step.nsr)}. Entropy of the weights ${fixed(step.entropy)} nats: ${doubt}.${moment} `
    + `${named ? `It knows only the pictures of ${named}. ` : ""}The network's x0 lies ${fixed(step.near[0][1])} from the nearest training picture, `
    + `${fixed(step.reach)} times as far as from the second (a copy: below ${fixed(copy)}; training pictures lie ${fixed(usual)} apart).`;
  parts.near.replaceChildren();
  const shown = [[step.first, "most of the perfect x0"], [step.near[0][0], "nearest to the network's x0"]];
  for (const [row, why] of shown) {
    const figure = make("figure", "", parts.near);
    const known = nearest[row];
    if (!known) continue;
    Object.assign(make("img", "", figure), { src: known.src, alt: known.name });
    make("figcaption", "", figure, `${known.name} · ${why} · ${known.licence}`);
  }
  if (parts.here) for (const name of ["x1", "x2"]) parts.here.setAttribute(name, parts.axes.x(at + 1));
}

function chart() {
  const { steps, open, decided } = props.value;
  const most = Math.log(open);
  const scale = axes(parts.chart, "Entropy of the perfect denoiser's weights at every step",
    { low: 1, high: Math.max(2, steps.length), name: "step" }, { low: 0, high: Math.max(most, 1) * 1.06, name: "nats" }, { width: 760, height: 270 });
  parts.axes = scale;
  draw("line", { x1: scale.inner.left, x2: scale.inner.right, y1: scale.y(most), y2: scale.y(most), class: "line dashed" }, scale.svg);
  draw("text", { x: scale.inner.right, y: scale.y(most) + 16, class: "tick", "text-anchor": "end" }, scale.svg, `ln ${Math.round(open)}: everything is open`);
  parts.here = draw("line", { y1: scale.inner.top, y2: scale.inner.bottom, class: "here" }, scale.svg);
  const places = steps.map((_, index) => index + 1);
  const series = [{ name: "entropy of the weights", kind: "", values: steps.map((step) => step.entropy) },
    { name: "distance of network and perfect x0", kind: "second", values: steps.map((step) => step.apart) }];
  lines(scale, places, series);
  if (decided !== null) draw("text", { x: scale.x(decided + 1), y: scale.y(0) - 8, class: "tick" }, scale.svg, "▾ decided");
  legend(parts.chart, series);
}

function show() {
  const value = props.value || {};
  if (value.steps && value.steps.length && value.frames) {
    const fresh = !parts || parts.slider.max !== String(value.steps.length) || !touched;
    if (!parts) build();
    if (fresh) { parts.slider.max = value.steps.length; at = Math.min(at, value.steps.length - 1); if (!touched) at = Math.floor(value.steps.length / 3); }
    chart();
    frame();
  } else if (!parts) root.classList.add("empty");
  root.classList.toggle("empty", !parts);
  say(value.status || { line: value.idle || "" });
}

show();
watch("value", show);

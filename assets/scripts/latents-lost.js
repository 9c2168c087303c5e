// What the autoencoder leaves out, by spatial frequency. props.value: {status, original, back, error: {src, gain, psnr}, side, cell,
//   frequency, power: {original, back, error}, the mean of a wave in each ring; bands: [{low, high, share, kept, error}], own}

const root = element.querySelector(".g-view");
const SERIES = [["the picture", "original", "first"], ["decoded", "back", "second"], ["what differs", "error", "fourth"]];

function figure(parent, src, title, told) {
  const node = make("figure", "", parent);
  Object.assign(make("img", "", node), { src, alt: title });
  const words = make("figcaption", "", node);
  make("b", "", words, title);
  make("span", "", words, told);
}

const wave = (f) => (f === 0 ? "0" : f >= 1 ? "½" : `1/${Math.round(1 / f)}`);

function curve(parent, value) {
  const all = SERIES.flatMap(([, name]) => value.power[name]).filter((v) => v > 0);
  const f = value.frequency;
  const places = [1 / 128, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2].filter((v) => v >= f[0] * 0.99);
  const powers = { low: Math.min(...all) / 1.5, high: Math.max(...all) * 1.5, name: "mean power of a wave", log: true, text: (v) => `10${sup(Math.round(Math.log10(v)))}` };
  const at = axes(parent, "Power by spatial frequency", { low: f[0], high: 0.5, name: "cycles a pixel: coarse → fine", log: true, ticks: places, text: wave },
    powers, { width: 760, height: 320 });
  const edge = at.x(1 / (2 * value.cell));
  draw("line", { x1: edge, x2: edge, y1: at.inner.top, y2: at.inner.bottom, class: "here" }, at.svg);
  const series = SERIES.map(([name, key, kind]) => ({ name, kind, values: value.power[key].map((v) => (v > 0 ? v : null)) }));
  lines(at, f, series);
  legend(make("div", "", parent), series);
  make("p", "about", parent, `The upright line: waves of ${2 * value.cell} pixels. Finer ones have less than two cells each.`);
}

function sup(number) {
  return String(number).replace("-", "⁻").replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
}

function table(parent, bands) {
  const node = make("table", "numbers", make("div", "scroll", parent));
  make("caption", "", node, "Kept: energy of the decoded picture over that of the picture. Error: energy of the difference over that of the picture.");
  const head = make("tr", "", make("thead", "", node));
  for (const name of ["waves of", "share of the picture", "kept", "error"]) make("th", "", head, name).scope = "col";
  const body = make("tbody", "", node);
  for (const band of bands) {
    const line = make("tr", "", body);
    make("th", "", line, band.low ? `${fixed(1 / Math.min(band.high, 0.7), 0)}–${fixed(1 / band.low, 0)} pixels` : `over ${fixed(1 / band.high, 0)} pixels`).scope = "row";
    for (const value of [band.share, band.kept, band.error]) make("td", "", line, value === null ? "–" : `${short(value)} %`);
  }
}

function show() {
  const value = props.value || {};
  say(value.status);
  root.hidden = !value.original;
  if (root.hidden) return;
  root.replaceChildren();
  const row = make("div", "row l-pictures", root);
  figure(row, value.original, "the picture", `${value.side} pixels a side`);
  figure(row, value.back, "decoded", `PSNR ${fixed(value.error.psnr, 1)} dB`);
  figure(row, value.error.src, "what differs", `× ${value.error.gain}, grey is 0`);
  if (value.own) {
    const [psnr, low, high] = value.own.psnr;
    make("p", "about strong", root, `This picture: ${fixed(value.error.psnr, 1)} dB. ${value.own.count} pictures of the model's own world: ${fixed(psnr, 1)} dB `
      + `[${fixed(low, 1)}, ${fixed(high, 1)}]; they have been through the decoder once before, so nothing finer was left in them.`);
  }
  curve(make("div", "curve", root), value);
  table(root, value.bands);
}

show();
watch("value", show);

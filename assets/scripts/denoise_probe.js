// A known noise at every t: sheets of tiles, one a time, and the error of the answer as a curve.
//   value {state, line};   probe {numbers: [{t, alpha, sigma, mse}], sheets: {x, true, said, left}}

const find = (selector) => element.querySelector(selector);
const shown = { probe: null, images: {}, at: 0 };

const short = (number) => String(Number(number.toPrecision(3))).replace("-", "−");

function paint(canvas, sheet, image) {
  if (!image.complete || !image.naturalWidth) return;
  [canvas.width, canvas.height] = [sheet.w, sheet.h];
  const [x, y] = [(shown.at % sheet.columns) * sheet.w, Math.floor(shown.at / sheet.columns) * sheet.h];
  canvas.getContext("2d").drawImage(image, x, y, sheet.w, sheet.h, 0, 0, sheet.w, sheet.h);
}

function draw() {
  const { probe, images } = shown;
  if (!probe) return;
  const now = probe.numbers[shown.at];
  for (const canvas of element.querySelectorAll("[data-sheet]")) {
    const name = canvas.dataset.sheet;
    paint(canvas, probe.sheets[name], images[name]);
    canvas.setAttribute("aria-label", `${canvas.parentElement.innerText.trim()} at t = ${Math.round(now.t)}`);
  }
  find("output").textContent = `t = ${Math.round(now.t)}, α = ${short(now.alpha)}, σ = ${short(now.sigma)}: mean (ε − ε̂)² = ${short(now.mse)}`;
  drawCurve(probe.numbers);
}

function drawCurve(numbers) {
  const canvas = find(".curve");
  const [ratio, width, height, left, bottom] = [window.devicePixelRatio || 1, canvas.clientWidth, 150, 46, 26];
  if (!width) return;
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const style = getComputedStyle(element);
  const [ink, accent] = [style.getPropertyValue("--body-text-color-subdued"), style.getPropertyValue("--color-accent")];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const most = Math.max(1, ...numbers.map((one) => one.mse)) * 1.05;
  const x = (t) => left + ((width - left - 10) * t) / Math.max(1, numbers[numbers.length - 1].t);
  const y = (mse) => (height - bottom) * (1 - mse / most) + 4;
  pen.font = "12px system-ui, sans-serif";
  [pen.fillStyle, pen.strokeStyle, pen.lineWidth] = [ink, ink, 1];
  for (const [text, level] of [["1", 1], ["0", 0]]) {
    pen.fillText(text, left - 14, y(level) + 4);
    pen.setLineDash(level ? [4, 4] : []);
    pen.beginPath();
    pen.moveTo(left, y(level));
    pen.lineTo(width - 10, y(level));
    pen.stroke();
  }
  pen.setLineDash([]);
  pen.fillText("what answering 0 costs; above it the answer is worse than none", left + 8, y(1) - 5 > 10 ? y(1) - 5 : y(1) + 14);
  pen.fillText("MSE", 2, y(0.5) + 4);
  pen.fillText("t = 0, clean", left, height - 6);
  const end = "noise";
  pen.fillText(end, width - 12 - pen.measureText(end).width, height - 6);
  [pen.strokeStyle, pen.fillStyle, pen.lineWidth] = [accent, accent, 2];
  pen.beginPath();
  numbers.forEach((one) => pen.lineTo(x(one.t), y(one.mse)));
  pen.stroke();
  numbers.forEach((one, index) => {
    pen.beginPath();
    pen.arc(x(one.t), y(one.mse), index === shown.at ? 6 : 2.5, 0, 7);
    pen.fill();
  });
}

function arrived() {
  const probe = props.probe;
  if (!find(".probe") || !probe || !probe.numbers) return;
  shown.probe = probe;
  shown.at = Math.floor(probe.numbers.length / 2);
  shown.images = Object.fromEntries(Object.entries(probe.sheets).map(([name, sheet]) => {
    const image = new Image();
    image.onload = draw;
    image.src = sheet.src;
    return [name, image];
  }));
  find(".found").hidden = false;
  find(".scrub").max = probe.numbers.length - 1;
  find(".scrub").value = shown.at;
  draw();
}

function told() {
  if (!find(".probe")) return;
  const value = props.value || {};
  element.dataset.state = value.state || "idle";
  find(".line").textContent = value.line || "";
}

find(".scrub").addEventListener("input", (event) => {
  shown.at = Number(event.target.value);
  draw();
});
new ResizeObserver(draw).observe(find(".probe"));
told();
arrived();
watch("value", told);
watch("probe", arrived);

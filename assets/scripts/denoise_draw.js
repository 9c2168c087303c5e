// What the film of denoise.js shows: the tab puts it in front of that file, whose state (lanes, now) it reads.

// ---------------------------------------------------------------------------------------------------------- drawing

function paint(canvas, sheet, index) {
  const ready = sheet && sheet.image.complete && sheet.image.naturalWidth;
  const count = ready ? sheet.columns * Math.round(sheet.image.naturalHeight / sheet.h) : 0;
  canvas.classList.toggle("empty", !ready || index >= count);
  if (!ready || index >= count) return false;
  if (canvas.width !== sheet.w || canvas.height !== sheet.h) [canvas.width, canvas.height] = [sheet.w, sheet.h];
  canvas.classList.toggle("cells", sheet.w < 100);
  const [x, y] = [(index % sheet.columns) * sheet.w, Math.floor(index / sheet.columns) * sheet.h];
  canvas.getContext("2d").drawImage(sheet.image, x, y, sheet.w, sheet.h, 0, 0, sheet.w, sheet.h);
  return true;
}

function blank(canvas) {
  canvas.classList.add("empty");
  canvas.width = canvas.width; // clears it
}

function sheetOf(lane, view) {
  if (now.mode === "latents") return lane.latents[view];
  return lane.pictures[view] || lane.rough[view];
}

const frameOf = (lane) => lane.film.frames[Math.min(now.at, lane.film.frames.length - 1)];
const isLast = (lane) => now.at >= lane.film.frames.length - 1;

function show(canvas, lane, view, what) {
  const frame = frameOf(lane);
  const one = now.mode === "pictures" ? lane.single[view + frame.k] : null;
  const asks = !isLast(lane) || view === "x" || view === "x0";
  if (!(one && paint(canvas, one, 0)) && !(asks && paint(canvas, sheetOf(lane, view), now.at))) blank(canvas);
  const about = asks ? `${what} at step ${frame.k} of ${lane.film.steps}, t = ${short(frame.t)}` : `no ${what}: the run is over`;
  canvas.setAttribute("aria-label", about);
}

function drawLane(name) {
  const lane = lanes[name];
  const canvas = find(`.lane[data-lane=${name}] canvas`);
  const sheet = lane.pictures.x0 || lane.rough.x0;
  if (!lane.film || !sheet || !sheet.image.complete || !canvas.clientWidth) return;
  const [ratio, height, width] = [window.devicePixelRatio || 1, 48, canvas.clientWidth];
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const count = lane.film.frames.length;
  const slots = Math.max(1, Math.min(count, Math.floor(width / height)));
  const context = canvas.getContext("2d");
  for (let slot = 0; slot < slots; slot += 1) {
    const index = slots === 1 ? 0 : Math.round((slot * (count - 1)) / (slots - 1));
    const [x, y] = [(index % sheet.columns) * sheet.w, Math.floor(index / sheet.columns) * sheet.h];
    const wide = Math.min(canvas.width / slots, (sheet.w * canvas.height) / sheet.h); // a tile keeps its shape in a wide slot
    const left = ((slot + 0.5) * canvas.width) / slots - wide / 2;
    const edge = Math.min(sheet.w, (sheet.h * wide) / canvas.height); // of a narrow one it fills the middle
    context.globalAlpha = name === "b" && lane.film.frames[index].k < lane.film.branch ? 0.35 : 1;
    context.drawImage(sheet.image, x + (sheet.w - edge) / 2, y, edge, sheet.h, left, 0, wide, canvas.height);
  }
}

function request() {
  if (now.pending) return;
  now.pending = true;
  requestAnimationFrame(draw);
}

function draw() {
  now.pending = false;
  const lane = lanes[now.lane];
  if (!root() || !lane.film) return;
  const frame = frameOf(lane);
  root().dataset.k = frame.k;
  root().dataset.lane = now.lane;
  root().classList.toggle("clickable", !lane.film.small && now.mode === "pictures");
  for (const [view, what] of [["x", "the noisy picture"], ["x0", "the predicted clean picture"], ["eps", "the predicted noise"]]) {
    show(find(`.equation [data-view=${view}] canvas`), lane, view, what);
  }
  find("[data-sign=alpha]").textContent = short(frame.alpha);
  find("[data-sign=sigma]").textContent = short(frame.sigma);
  const scrub = find(".scrub");
  scrub.max = lane.film.frames.length - 1;
  scrub.value = now.at;
  scrub.setAttribute("aria-valuetext", `step ${frame.k} of ${lane.film.steps}`);
  const place = (now.at + 0.5) / lane.film.frames.length;
  find(".mark").style.left = `${100 * place}%`;
  drawNumbers(lane, frame);
  drawHand(lane, frame);
  drawHalves(lane, frame);
  drawPair(frame);
  if (now.reveal) find(".pair").scrollIntoView({ block: "nearest" }); // both futures are asked for from far below
  now.reveal = false;
  drawBeside(lane, frame);
  root().classList.toggle("previewed", Boolean(now.preview));
  if (now.preview) drawPreview();
  root().dataset.drawn = now.drawn += 1;
}

// The same step of the same run in the lab of the perfect denoiser, which counts steps from 1.
function drawBeside(lane, frame) {
  const link = find(".beside"), { beside, steps } = lane.film;
  link.hidden = !beside.startsWith("?");
  if (!link.hidden) link.href = `${beside}&view.step=${Math.min(frame.k + 1, steps)}`;
}

// Of a run that has no film yet only a rough x̂_0 is known: what stood beside it belongs to another run.
function drawPreview() {
  for (const view of ["x", "eps"]) blank(find(`.equation [data-view=${view}] canvas`));
  find("[data-sign=alpha]").textContent = "α";
  find("[data-sign=sigma]").textContent = "σ";
  root().classList.add("previewed");
  const canvas = find(".equation [data-view=x0] canvas");
  [canvas.width, canvas.height] = [now.preview.naturalWidth, now.preview.naturalHeight];
  canvas.classList.remove("empty");
  canvas.classList.add("cells");
  canvas.getContext("2d").drawImage(now.preview, 0, 0);
  canvas.setAttribute("aria-label", "a rough preview of the clean picture");
}

// ---------------------------------------------------------------------------------------------------------- numbers

function short(number) {
  if (number === null || number === undefined) return "∞";
  const size = Math.abs(number);
  return typeset(size !== 0 && (size < 1e-3 || size >= 1e5) ? number.toExponential(1) : String(Number(number.toPrecision(4))));
}

function drawNumbers(lane, frame) {
  const norm = frame.norm;
  const rows = [
    ["step", `${frame.k} of ${lane.film.steps}`],
    ["t", frame.t < 0 ? "clean" : short(frame.t)],
    ["α signal", short(frame.alpha)],
    ["σ noise", short(frame.sigma)],
    ["SNR α²/σ²", frame.snr === null ? "∞" : `${short(frame.snr)}${frame.db === null ? "" : ` = ${frame.db.toFixed(1).replace("-", "−")} dB`}`],
    ["log-SNR", frame.snr === 0 ? "−∞" : short(frame.logsnr)],
    ["‖x_t‖", short(norm.x)],
    ["‖x̂_0‖", norm.x0 === undefined ? "–" : short(norm.x0)],
    ["‖ε̂‖", norm.eps === undefined ? "–" : short(norm.eps)],
    ["NFE, evaluations so far", String(frame.nfe)],
  ];
  const list = find(".numbers");
  if (list.children.length !== rows.length) {
    list.replaceChildren();
    rows.forEach(() => {
      const cell = make("div", "", list);
      make("dt", "", cell);
      make("dd", "", cell);
    });
  }
  rows.forEach(([name, value], index) => {
    const [term, said] = list.children[index].children;
    if (term.dataset.name !== name) {
      term.dataset.name = name;
      formula(term, name);
    }
    if (said.textContent !== value) said.textContent = value;
  });
}

// -------------------------------------------------------------------------------------------------- one step by hand

const TERM = {
  x0: ["towards the clean picture", "x̂₀"],
  eps: ["along the noise", "ε̂"],
  noise: ["fresh noise", "z"],
  correction: ["what other predictions add", ""],
  next: ["the next x", ""],
};

function fillTerms(box, list) {
  while (box.children.length > list.length) box.lastChild.remove();
  while (box.children.length < list.length) {
    const figure = make("figure", "", box);
    make("b", "sign", figure).setAttribute("aria-hidden", "true");
    make("canvas", "", figure).setAttribute("role", "img");
    const caption = make("figcaption", "", figure);
    make("b", "", caption);
    make("span", "", caption);
    make("span", "norm", caption);
  }
  list.forEach((term, index) => {
    const figure = box.children[index];
    const [symbol, what, norm] = figure.querySelectorAll("figcaption > *");
    figure.querySelector(".sign").textContent = term.sign;
    [symbol.textContent, what.textContent, norm.textContent] = [term.symbol, term.what, term.norm];
    const canvas = figure.querySelector("canvas");
    if (!paint(canvas, term.sheet, now.at)) blank(canvas);
    canvas.setAttribute("aria-label", `${term.what}: ${term.symbol}, ${term.norm}`);
  });
}

function drawHand(lane, frame) {
  const box = find(".hand");
  const hand = frame.hand;
  box.classList.toggle("over", !hand);
  if (!box.open) return;
  if (!hand) {
    find(".hand .formula").textContent = "The run is over: there is no next step.";
    for (const name of [".terms", ".check", ".why"]) find(`.hand ${name}`).replaceChildren();
    return;
  }
  const terms = hand.terms.map((term, index) => ({
    sign: index ? "+" : "",
    symbol: term.name === "correction" ? "correction" : `${short(term.weight)} · ${TERM[term.name][1]}`,
    what: TERM[term.name][0],
    norm: `norm ${short(term.norm)}`,
    sheet: lane.hand[term.name],
  }));
  terms.push({ sign: "=", symbol: frame.next.t < 0 ? "x, clean" : `x at t = ${short(frame.next.t)}`, what: TERM.next[0], norm: `norm ${short(hand.norm)}`,
    sheet: lane.hand.next });
  const corrected = hand.terms.some((term) => term.name === "correction");
  find(".hand .formula").textContent =
    `x′ = α′ · x̂₀ + √(σ′² − std²) · ε̂ + std · z${corrected ? " + correction" : ""}     with α′ = ${short(frame.next.alpha)}, ` +
    `σ′ = ${short(frame.next.sigma)}, std = ${short(hand.std)}`;
  fillTerms(find(".hand .terms"), terms);
  const grows = frame.alpha ? frame.next.alpha / frame.alpha : Infinity;
  const check = find(".hand .check");
  check.textContent = `The sum differs from the x that the sampler made by ${short(hand.error)} of its norm: ${verdict(hand.error, grows)}`;
  check.dataset.error = hand.error;
  check.dataset.fits = hand.error <= 1e-6 * Math.max(1, grows);
  const label = lane.film.branch !== null && frame.k >= lane.film.branch ? lane.film.after : lane.film.sampler;
  find(".hand .why").textContent = why(label, hand, corrected, lane.film.strength);
}

function verdict(error, grows) {
  if (error <= 1e-6) return "equal to within 10⁻⁶.";
  if (error > 1e-6 * grows) return "more than 10⁻⁶!";
  return `the rounding of float32, which this sampler's own arithmetic magnifies here by up to α′/α = ${short(grows)}.`;
}

function why(label, hand, corrected, strength) {
  const noise = hand.std ? "The noise z is drawn anew from its seed and step." : "std = 0: no fresh noise, so this step is deterministic.";
  const grey = "Grey is 0, and all tiles share one scale: the pictures add as the numbers do.";
  const strong = strength > 1 ? ` Only the correction is drawn ${strength} times as strong, so that it shows.` : "";
  if (!corrected) return `${label}: exactly these terms. Euler, DDIM, Euler a and DDPM are this one formula with another std. ${noise} ${grey}`;
  const from = hand.back ? "from the predictions of earlier steps" : "from trial predictions inside this step";
  return `${label} takes Euler's step and adds a correction ${from}. ${noise} ${grey}${strong}`;
}

function drawHalves(lane, frame) {
  const box = find(".halves");
  box.hidden = !lane.film.guided;
  if (box.hidden || !box.open) return;
  const gamma = lane.film.gamma;
  find(".halves .formula").textContent =
    `ε̂ = (1 + γ) · ε̂(words) − γ · ε̂(no words)     with ${lane.film.scale}`;
  const norm = (name) => (frame.norm[name] === undefined ? "not asked at this step" : `norm ${short(frame.norm[name])}`);
  const own = (view) => (isLast(lane) ? null : sheetOf(lane, view));
  fillTerms(find(".halves .terms"), [
    { sign: "", symbol: `${short(1 + gamma)} · ε̂(words)`, what: "what the prompt makes of it", norm: norm("cond"), sheet: own("cond") },
    { sign: "−", symbol: `${short(gamma)} · ε̂(no words)`, what: "without it, or with the negative prompt", norm: norm("uncond"), sheet: own("uncond") },
    { sign: "=", symbol: "ε̂", what: "guided", norm: norm("eps"), sheet: own("eps") },
  ]);
  find(".halves .why").textContent = "Both are asked of the same x together; that counts as two network evaluations.";
  if (lane.film.small && !lane.pictures.cond && !lane.asked.halves) {
    lane.asked.halves = true;
    trigger("develop", { id: lane.film.id, views: ["cond", "uncond"] });
  }
}

// -------------------------------------------------------------------------------------------------------- two futures

function drawPair(frame) {
  const both = Boolean(lanes.a.film && lanes.b.film);
  find(".pair").hidden = !both;
  find(".which").hidden = !both;
  find(".lane[data-lane=b]").hidden = !both;
  if (!both) return;
  for (const name of ["a", "b"]) {
    show(find(`[data-pair=${name}]`), lanes[name], "x0", "the predicted clean picture");
    const film = lanes[name].film;
    find(`[data-said=${name}]`).textContent = `${film.after} · ${film.scale} · ${film.prompt || "no words"}`;
    find(`.lane[data-lane=${name}]`).classList.toggle("chosen", name === now.lane);
  }
  const other = lanes.b.film;
  const far = other.apart[Math.min(now.at, other.apart.length - 1)];
  find(".apart").textContent = frame.k < other.branch
    ? `Up to step ${other.branch} both are the same run.`
    : frame.k === other.branch
      ? `Step ${other.branch}: both see the same x, and from here on they go their own ways.`
      : `Since step ${other.branch} they have moved apart: ‖x − x′‖ is ${short(far)} of ‖x‖.`;
}

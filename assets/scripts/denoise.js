// The film of a run, scrubbed in the page: every frame is a tile of a sheet that is here already, and nobody is asked for it.
//   value     {state, line, part, rough}                                       where the work stands
//   film      {id, frames: [{k, t, …, hand}], rough, latents, hand: sheets}     one run; other: the future of a branch
//   pictures  {id, x, x0, eps}: sheets of decoded frames; others: of the other future; extra: views and frames asked for later
// A sheet is {src, w, h, columns}. Words written by strangers go in as textContent only.

const find = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const root = () => find(".film");
const newLane = () => ({ film: null, pictures: {}, rough: {}, latents: {}, hand: {}, single: {}, asked: {} });
const lanes = { a: newLane(), b: newLane() };
const now = { at: 0, lane: "a", mode: "pictures", since: null, from: 0, preview: null, pending: false, drawn: 0, said: "", reveal: false };

function loaded(sheet) {
  const image = new Image();
  image.onload = request;
  image.src = sheet.src;
  return { ...sheet, image };
}

const loadedAll = (sheets) => Object.fromEntries(Object.entries(sheets || {}).map(([name, sheet]) => [name, loaded(sheet)]));

// --------------------------------------------------------------------------------------------------------- what comes

function take(name, film, pictures) {
  const lane = lanes[name];
  const fresh = film && (!lane.film || lane.film.id !== film.id);
  if (fresh) {
    Object.assign(lane, newLane(), { film, rough: loadedAll(film.rough), latents: loadedAll(film.latents), hand: loadedAll(film.hand) });
    if (name === "a") {
      Object.assign(lanes.b, newLane());
      Object.assign(now, { lane: "a", at: 0 });
    }
    const first = film.frames.findIndex((frame) => frame.k >= (film.branch || 0));
    now.at = name === "a" ? Math.max(0, film.frames.length - 2) : first; // the last step: after it there is no noise to show
    now.reveal = name === "b";
    stop();
  }
  if (pictures && lane.film && pictures.id === lane.film.id) {
    for (const [view, sheet] of Object.entries(pictures)) {
      if (view !== "id" && (!lane.pictures[view] || lane.pictures[view].src !== sheet.src)) lane.pictures[view] = loaded(sheet);
    }
  }
}

function arrived() {
  if (!root()) return;
  take("a", props.film, props.pictures);
  if (props.other && lanes.a.film && props.other.of === lanes.a.film.id) take("b", props.other, props.others);
  for (const lane of Object.values(lanes)) {
    const extra = props.extra;
    if (!extra || !lane.film || extra.id !== lane.film.id) continue;
    for (const [view, sheet] of Object.entries(extra.views || {})) lane.pictures[view] = loaded(sheet);
    for (const [key, sheet] of Object.entries(extra.single || {})) lane.single[key] = loaded(sheet);
  }
  root().classList.toggle("ready", Boolean(lanes.a.film));
  redraw();
}

function told() {
  if (!root()) return;
  const value = props.value || {};
  element.dataset.state = value.state || "idle";
  element.style.setProperty("--part", value.part || 0);
  if (value.state === "done" && value.line) now.said = value.line; // what came of the run; work on demand ends without a line
  find(".line").textContent = value.state === "done" && !value.line ? now.said : value.line || "";
  if (value.rough && value.state === "running") {
    const image = new Image();
    image.onload = () => {
      now.preview = image;
      drawPreview();
    };
    image.src = value.rough;
  } else if (value.state !== "stopped") {
    now.preview = null;
    if (value.state === "failed") request();
  }
}

function redraw() {
  drawLane("a");
  drawLane("b");
  request();
}

// ---------------------------------------------------------------------------------------------------- hands and keys

function go(index) {
  const film = lanes[now.lane].film;
  if (!film) return;
  now.preview = null;
  now.at = Math.max(0, Math.min(film.frames.length - 1, index));
  request();
}

function stop() {
  now.since = null;
  if (find(".play")) find(".play").textContent = "Play";
}

function play() {
  const film = lanes[now.lane].film;
  if (!film) return;
  if (now.since !== null) return stop();
  now.from = now.at >= film.frames.length - 2 ? 0 : now.at;
  now.since = performance.now();
  find(".play").textContent = "Pause";
  const tick = (time) => {
    if (now.since === null || !element.isConnected) return;
    const to = now.from + Math.floor(((time - now.since) / 1000) * Number(find(".speed").value));
    if (to !== now.at) go(to);
    if (to >= film.frames.length - 1) return stop();
    requestAnimationFrame(tick);
  };
  go(now.from);
  requestAnimationFrame(tick);
}

function step(by) {
  stop();
  go(now.at + by);
}

function pressed(event) {
  if (!lanes[now.lane].film || event.altKey || event.ctrlKey || event.metaKey) return;
  const own = event.target.tagName || "";
  if (event.key === " " && !["BUTTON", "SELECT", "SUMMARY"].includes(own)) play();
  else if (event.key === "ArrowLeft" && own !== "SELECT") step(-1);
  else if (event.key === "ArrowRight" && own !== "SELECT") step(1);
  else if (event.key === "Home" && own !== "SELECT") step(-1e9);
  else if (event.key === "End" && own !== "SELECT") step(1e9);
  else return;
  event.preventDefault();
}

function pointed(event) {
  const film = lanes[now.lane].film;
  if (!film || (event.type === "pointermove" && !event.buttons)) return;
  const box = find(".lanes").getBoundingClientRect();
  stop();
  go(Math.floor(((event.clientX - box.left) / box.width) * film.frames.length));
}

function ask(event) {
  const lane = lanes[now.lane];
  const figure = event.target.closest("figure[data-view]");
  if (!figure || !lane.film || lane.film.small || now.mode === "latents") return;
  const [view, k] = [figure.dataset.view, frameOf(lane).k];
  if (lane.single[view + k] || (isLast(lane) && view === "eps")) return;
  trigger("develop", { id: lane.film.id, views: [view], k });
}

function choose(lane) {
  now.lane = lane;
  find(".future").value = lane;
  request();
}

// Whether any of the film can be seen: on another tab it has no place at all.
function inView() {
  const box = root().getBoundingClientRect();
  return box.height > 0 && box.bottom > 0 && box.top < window.innerHeight;
}

function begin() {
  find(".play").addEventListener("click", play);
  find(".back").addEventListener("click", () => step(-1));
  find(".on").addEventListener("click", () => step(1));
  find(".scrub").addEventListener("input", (event) => {
    stop();
    go(Number(event.target.value));
  });
  find(".mode").addEventListener("change", (event) => {
    now.mode = event.target.value;
    find(".legend").hidden = now.mode !== "latents";
    request();
  });
  find(".future").addEventListener("change", (event) => choose(event.target.value));
  find(".equation").addEventListener("click", ask);
  all("details").forEach((one) => one.addEventListener("toggle", () => {
    lanes[now.lane].asked = {}; // what could not be had before is asked for once more
    request();
  }));
  all(".lane").forEach((lane) => lane.addEventListener("click", () => choose(lane.dataset.lane)));
  find(".lanes").addEventListener("pointerdown", pointed);
  find(".lanes").addEventListener("pointermove", pointed);
  root().addEventListener("keydown", pressed);
  const anywhere = (event) => {
    if (!element.isConnected) document.removeEventListener("keydown", anywhere);
    else if (event.key === " " && event.target === document.body && inView()) pressed(event);
  };
  document.addEventListener("keydown", anywhere);
  new ResizeObserver(redraw).observe(find(".lanes"));
}

begin();
told();
arrived();
watch("value", told);
watch(["film", "pictures", "other", "others", "extra"], arrived);

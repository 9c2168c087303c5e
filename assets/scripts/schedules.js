// Three small drawings of the schedules tab, each from its own props.value: the rulers of the spacings, a picture noised under
// two schedules, the heat-map of the time embedding. Words go in as textContent only.

const ENDS = ["first σ/α", "last σ/α"];
const few = (number) => (number === null ? "∞" : Number(number.toPrecision(4)).toString().replace("-", "−"));

// ------------------------------------------------------------------------------------------------------- rulers

function told(name, level, index, count) {
  if (level.nsr === 0) return `${name}, the end: clean, σ = 0`;
  const lam = level.lam === null ? "−∞" : few(level.lam);
  const place = `${name}, level ${index + 1} of ${count}`;
  return `${place}: t = ${few(level.t)}, σ/α = ${few(level.nsr)}, λ = ${lam}, α = ${few(level.alpha)}, σ = ${few(level.sigma)}`;
}

function positions(level, value) {
  const overT = (value.times - level.t) / (value.times + 1);
  const pure = level.nsr === null ? 0 : 1;
  return [overT, level.lam === null ? pure : (level.lam - value.low) / (value.high - value.low) * 0.94 + 0.01];
}

function axis(root, value) {
  const row = make("div", "row axis", root);
  row.setAttribute("aria-hidden", "true");
  make("span", "name", row, "");
  const overT = make("div", "ruler", row);
  for (const t of [1000, 750, 500, 250, 0].map((share) => Math.round((share / 1000) * value.times))) {
    make("i", "", overT, t).style.left = `${100 * positions({ t, lam: 0, nsr: 1 }, value)[0]}%`;
  }
  const overLam = make("div", "ruler", row);
  const step = Math.max(1, Math.ceil((value.high - value.low) / 7));
  for (let lam = Math.ceil(value.low / step) * step; lam <= value.high - 0.3 * step; lam += step) {
    make("i", "", overLam, few(lam)).style.left = `${100 * positions({ t: 0, lam, nsr: 1 }, value)[1]}%`;
  }
  make("i", "", overLam, "∞").style.left = "99%";
  for (const word of ENDS) make("span", "number", row, word);
}

function ruled(root, row, value, line) {
  const node = make("div", "row", root);
  make("span", "name", node, row.name).title = row.about;
  if (row.fault) {
    make("span", "fault", node, row.fault);
    return;
  }
  const rulers = ["t", "λ"].map((over) => {
    const ruler = make("div", "ruler", node);
    ruler.dataset.over = over;
    return ruler;
  });
  const marks = row.levels.map((level) =>
    rulers.map((ruler, which) => {
      const mark = make("b", level.nsr === 0 ? "clean" : "", ruler);
      mark.style.left = `${100 * positions(level, value)[which]}%`;
      return mark;
    }),
  );
  const noisy = row.levels.filter((level) => level.nsr !== 0);
  make("span", "number", node, few(noisy[0].nsr)).dataset.of = ENDS[0];
  make("span", "number", node, few(noisy[noisy.length - 1].nsr) + (noisy.length < row.levels.length ? " → 0" : "")).dataset.of = ENDS[1];
  let chosen = -1;
  const choose = (index) => {
    if (chosen >= 0) marks[chosen].forEach((mark) => mark.classList.remove("chosen"));
    chosen = Math.max(0, Math.min(row.levels.length - 1, index));
    marks[chosen].forEach((mark) => mark.classList.add("chosen"));
    line.textContent = told(row.name, row.levels[chosen], chosen, row.levels.length);
  };
  node.tabIndex = 0;
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", `${row.name}: ${row.about} ${row.levels.length - 1} steps from σ/α ${few(noisy[0].nsr)}.`);
  node.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    choose(chosen + move);
  });
  rulers.forEach((ruler, which) =>
    ruler.addEventListener("pointermove", (event) => {
      const box = ruler.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width;
      const far = row.levels.map((level) => Math.abs(positions(level, value)[which] - at));
      choose(far.indexOf(Math.min(...far)));
    }),
  );
}

function showRulers(root, value) {
  root.replaceChildren();
  const heads = make("div", "row heads", root);
  for (const [name, word] of [["name", ""], ["over", "over t: noise → data"], ["over", "over λ = log(α/σ): noise → data"]]) {
    make("span", name, heads, word);
  }
  const rows = make("div", "rows", root);
  const line = make("div", "line", root, "");
  line.setAttribute("role", "status");
  value.rows.forEach((row) => ruled(rows, row, value, line));
  axis(root, value);
  root.append(line);
  if (value.fault) {
    line.textContent = value.fault;
    line.classList.add("wrong");
  } else line.textContent = "Move over a row, or focus it and use the arrow keys, to read a level.";
  if (value.link) make("a", "open", root, "Make a picture with your levels in Denoise").href = value.link;
}

// ------------------------------------------------------------------------------------------------------- a noised picture

function picture(root, name, src, alt) {
  const figure = make("figure", name, root);
  const image = make("img", "", figure);
  image.src = src;
  image.alt = alt;
  return make("figcaption", "", figure);
}

function showNoised(root, value) {
  root.replaceChildren();
  const given = make("div", "given", root);
  for (const one of value.given) {
    const caption = picture(given, "small", one.src, `${one.name}: ${one.about}`);
    make("strong", "", caption, one.name);
    make("span", "", caption, ` ${one.about}`);
  }
  const panes = make("div", "panes", root);
  for (const pane of value.panes) {
    const caption = picture(panes, "pane", pane.src, `${pane.name}: ${pane.equation}`);
    make("strong", "", caption, pane.name);
    make("span", "equation", caption, pane.equation);
    make("span", "numbers", caption, pane.numbers);
  }
}

// ------------------------------------------------------------------------------------------------------- the embedding of t

function feature(t, i, dim) {
  const half = dim / 2;
  const angle = t * 10000 ** (-(i % half) / half);
  return i < half ? Math.cos(angle) : Math.sin(angle);
}

function showHeat(root, value) {
  root.replaceChildren();
  const frame = make("div", "frame", root);
  const image = make("img", "", frame);
  image.src = value.src;
  image.alt = `Heat-map of the time embedding: ${value.times} times as rows, ${value.dim} features as columns, cosines left, sines right.`;
  image.classList.toggle("crisp", value.times <= 200);
  if (value.t < value.times) make("div", "mark", frame).style.top = `${(100 * (value.t + 0.5)) / value.times}%`;
  make("div", "feet", root, `t runs down from 0 to ${value.times - 1}; features 0 to ${value.dim - 1} from left to right; blue −1, white 0, red 1`);
  const line = make("div", "line", root, `The marked row is PE(${value.t}).`);
  line.setAttribute("role", "status");
  frame.addEventListener("pointermove", (event) => {
    const box = image.getBoundingClientRect();
    const at = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
    const t = at((event.clientY - box.top) / box.height, value.times);
    const i = at((event.clientX - box.left) / box.width, value.dim);
    const name = i < value.dim / 2 ? `cos(t·f${i})` : `sin(t·f${i - value.dim / 2})`;
    line.textContent = `t = ${t}, feature ${i}: ${name} = ${feature(t, i, value.dim).toFixed(4).replace("-", "−")}`;
  });
}

// -------------------------------------------------------------------------------------------------------

const DRAWINGS = { rulers: showRulers, noised: showNoised, heat: showHeat };

function show() {
  for (const [name, draw] of Object.entries(DRAWINGS)) {
    const root = element.querySelector(`.${name}`);
    if (root && props.value) draw(root, props.value);
    else if (root) trigger("open"); // pictures are asked for when their page is first shown
  }
}

show();
watch("value", show);

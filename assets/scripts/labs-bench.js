// The Claim Bench: cards with a box to predict in, from props.value:
//   {cards: [{id, row, theme, says, asks, unit, note, how, paper, slow, link}], running, finding: {id, ...}, status}
// props.claim: the card that is marked, "" for none. What was predicted and found stays in this tab of the browser until it is closed.

const KEY = "diffusion-studio-claims";
const root = element.querySelector(".bench");
const kept = (() => {
  try { return JSON.parse(sessionStorage.getItem(KEY)) || {}; } catch { return {}; }
})();
const guesses = kept.guesses || {}, found = kept.found || {};
const nodes = {};
let running = "";

const keep = () => {
  try { sessionStorage.setItem(KEY, JSON.stringify({ guesses, found })); } catch { /* a browser that keeps nothing */ }
};
// A guess as a number: "50 %" is 0.5, as shares are measured from 0 to 1; "1,000 s" a thousand, "0,5" a half, "1/8" an eighth.
function read(text) {
  const plain = (text || "").trim().replace("−", "-").replace(/^-?[1-9]\d{0,2}(,\d{3})+(?!\d)/, (all) => all.replaceAll(",", "")).replace(",", ".");
  const [, over, under, percent] = /^(-?[\d.]+(?:e[-+]?\d+)?)(?:\s*\/\s*([\d.]+))?\s*(%)?/i.exec(plain) || [];
  return over === undefined ? NaN : Number(over) / (under ? Number(under) : 1) / (percent ? 100 : 1);
}

// Whether a guess is what is shown of a value: two or three digits of it, or nothing for next to nothing.
const same = (guess, value) => [2, 3].some((count) => guess === Number(value.toPrecision(count))) || Math.max(Math.abs(guess), Math.abs(value)) < 1e-6;

// Words with x_t, x_{t−1} and ᾱ^2 as one writes them; everything goes in as text.
function words(node, text) {
  for (const part of text.split(/([_^]\{[^}]*\}|_[A-Z]{2,}|[_^][\wθε])/)) {
    const small = /^([_^])\{?([^}]*)\}?$/.exec(part);
    if (small && part.length > 1) make(small[1] === "_" ? "sub" : "sup", "", node, small[2]);
    else node.append(part);
  }
  return node;
}

const number = (value) => typeset(value && (value >= 1e5 || value < 1e-3) ? value.toExponential(0) : String(Number(value.toPrecision(2))));

function build(cards) {
  root.replaceChildren();
  nodes.tally = make("p", "tally", root);
  let group = null, theme = "";
  for (const card of cards) {
    if (card.theme !== theme) {
      theme = card.theme;
      make("h3", "", root, theme);
      group = make("div", "cards", root);
    }
    nodes[card.id] = one(group, card);
    fill(card.id);
  }
  tally();
  seek(props.claim);
}

// The card that a link is about stands out.
function mark(id) {
  for (const [name, { box }] of Object.entries(nodes)) if (box) box.classList.toggle("marked", name === id);
}

function seek(id) {
  mark(id);
  if (nodes[id]) nodes[id].box.scrollIntoView({ block: "center" });
}

function one(group, card) {
  const box = make("article", "card", group);
  box.dataset.id = card.id;
  const head = make("header", "", box);
  const row = make("a", "row", head, card.row);
  Object.assign(row, { href: `?v=1&tab=labs&view.claim=${card.id}`, title: "The link to this card" });
  row.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    mark(card.id);
    remember({ claim: card.id });
  });
  const verdict = make("span", "verdict", head, "");
  words(make("blockquote", "", box), card.says);
  if (card.note) words(make("p", "note", box), card.note);
  words(make("p", "asks", box), card.asks);
  const line = make("div", "ask", box);
  const guess = make("input", "", line);
  Object.assign(guess, { type: "text", inputMode: "decimal", maxLength: 20, placeholder: "your guess", value: guesses[card.id] || "" });
  guess.setAttribute("aria-label", `Your guess: ${card.asks}`);
  guess.addEventListener("input", () => { guesses[card.id] = guess.value; keep(); compare(card.id); });
  const button = make("button", "go", line, "Measure");
  button.type = "button";
  button.addEventListener("click", () => trigger(running === card.id ? "halt" : "measure", { id: card.id }));
  guess.addEventListener("keydown", (event) => { if (event.key === "Enter" && !button.disabled && running !== card.id) button.click(); });
  make("span", "cost", line, card.slow ? "up to a minute or two" : "a moment");
  if (card.link.startsWith("?")) Object.assign(make("a", "look", line, "Look at it"), { href: card.link, target: "_blank", title: "Opens the studio where this can be seen" });
  const progress = make("div", "progress", box);
  const result = make("div", "result", box);
  const how = make("details", "", box);
  make("summary", "", how, "How it is measured");
  words(make("p", "", how), card.how);
  const paper = make("a", "", make("p", "", how), `arXiv ${card.paper}`);
  Object.assign(paper, { href: `https://arxiv.org/abs/${card.paper}`, target: "_blank", rel: "noopener", title: "The paper" });
  return { box, verdict, guess, button, progress, result, how };
}

function fill(id) {
  const node = nodes[id], finding = found[id];
  if (!node) return;
  node.result.replaceChildren();
  node.box.dataset.verdict = finding ? finding.verdict : "";
  node.verdict.textContent = finding ? finding.verdict : "not measured yet";
  if (!finding) return;
  words(make("p", "value", node.result), finding.shown);
  node.hit = make("p", "hit", node.result);
  words(make("p", "told", node.result), finding.told);
  const foot = make("p", "foot", node.result, `${finding.seconds}${finding.replay ? ` · ${finding.replay}` : ""}`);
  if (finding.link && finding.link.startsWith("?")) {
    foot.append(" · ");
    Object.assign(make("a", "", foot, "see it in Denoise"), { href: finding.link, target: "_blank" });
  }
  compare(id);
}

// The guess beside what was found; a factor says more than a difference where the scale is wide.
function compare(id) {
  const finding = found[id], node = nodes[id], guess = read(guesses[id]);
  if (!finding || !node.hit) return;
  if (!Number.isFinite(guess) || finding.value === null) { node.hit.textContent = ""; return; }
  const { value, low, high } = finding;
  const inside = same(guess, value) || (guess >= Math.min(low ?? value, value) && guess <= Math.max(high ?? value, value));
  const ratio = guess && value && Math.sign(guess) === Math.sign(value) ? Math.max(guess / value, value / guess) : NaN;
  const far = Number.isFinite(ratio) ? `off by a factor of ${number(ratio)}` : `off by ${number(Math.abs(guess - value))}`;
  node.hit.textContent = `You said ${guesses[id].trim()}: ${inside ? "right" : far}.`;
}

function tally() {
  const cards = Object.values(nodes).filter((node) => node.box);
  const by = (verdict) => cards.filter((node) => node.box.dataset.verdict === verdict).length;
  const all = by("confirmed") + by("refuted") + by("can't tell here");
  nodes.tally.textContent = `${all} of ${cards.length} measured: ${by("confirmed")} confirmed, ${by("refuted")} refuted, ${by("can't tell here")} cannot be told here.`;
}

function show() {
  const value = props.value || {};
  if (value.cards && !root.children.length) build(value.cards);
  if (!nodes.tally) return;
  if (value.finding && value.finding.id in nodes && !value.running) {
    found[value.finding.id] = value.finding;
    keep();
    fill(value.finding.id);
    tally();
  }
  const last = running;
  running = value.running || "";
  const state = value.status || {};
  for (const [id, node] of Object.entries(nodes)) {
    if (!node.box) continue;
    const here = id === running;
    node.box.classList.toggle("running", here);
    node.button.textContent = here ? "Stop" : found[id] ? "Measure again" : "Measure";
    node.button.disabled = Boolean(running) && !here;
    node.progress.style.setProperty("--part", here ? state.part || 0 : 0);
    node.progress.textContent = here ? state.line || "" : id === last && ["stopped", "failed"].includes(state.state) ? state.line : "";
  }
  element.dataset.state = state.state || "idle";
}

show();
watch("value", show);
recall("claim", seek);
if (!root.children.length) trigger("open");

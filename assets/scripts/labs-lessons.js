// The lessons, their worksheets and answer keys, from props.value:
//   {lessons: [{name, title, minutes, about, begin, steps: [{heading, asks, open: no number answers it, claims, answer: {claim} stands for its number}]}],
//    words: what is said around them, keyed, key: {claim: {number, told}}, running, status}
// props.sheet: the paper that lies open, worksheet-2 or key-2, "" for none.

const root = element.querySelector(".lessons");
let sheet = null; // {name, answers}: what lies open for printing
const keys = {}; // by lesson, as far as they were measured here
const drawn = new Map(); // what each box was last drawn from

// Draw a box anew only where what it shows has changed: a button that is being pressed stays.
function draw(name, state, fill) {
  const mark = JSON.stringify(state);
  if (drawn.get(name) === mark) return;
  drawn.set(name, mark);
  const box = root.querySelector(`:scope > .${name}`) || make("div", name, root);
  box.replaceChildren();
  fill(box);
}

const button = (parent, label, act, kind = "") => {
  const node = make("button", kind, parent, label);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
};

// Paper lies below the cards: on a phone far below.
function unfold(lesson, answers) {
  lay({ name: lesson.name, answers });
  remember({ sheet: `${answers ? "key" : "worksheet"}-${lesson.name}` });
}

function lay(made) {
  sheet = made;
  show();
  root.querySelector(".sheet")?.scrollIntoView({ block: "start" });
}

// What a link says of the paper.
function called(text) {
  const [, kind, name] = /^(worksheet|key)-(.+)$/.exec(text || "") || [];
  return name ? { name, answers: kind === "key" } : null;
}

const missing = (lesson) => lesson.steps.some((step) => step.claims.some((claim) => !(claim in (keys[lesson.name] || {}))));

function cards(box, { lessons, words, running, keyed }) {
  for (const lesson of lessons) {
    const card = make("article", "card", box);
    make("span", "minutes", card, `${lesson.minutes} ${words.minutes}`);
    make("h3", "", card, lesson.title);
    make("p", "", card, lesson.about);
    const row = make("div", "row", card);
    button(row, words.begin, () => studio.turn_to(lesson.begin), "go");
    button(row, words.worksheet, () => unfold(lesson, false));
    const here = running && keyed === lesson.name;
    button(row, here ? words.stop : words.key, () => {
      if (here) { trigger("halt"); return; }
      unfold(lesson, true);
      if (!keys[lesson.name]) trigger("measure", { lesson: lesson.name });
    }).disabled = Boolean(running) && !here;
  }
}

function paper(desk, lesson, { words, running, keyed }) {
  const box = make("section", "sheet", desk);
  const bar = make("div", "row", box), here = running && keyed === lesson.name;
  button(bar, words.print, () => window.print(), "go");
  if (sheet.answers && (here || missing(lesson)))
    button(bar, here ? words.stop : words.measure, () => trigger(here ? "halt" : "measure", { lesson: lesson.name })).disabled = Boolean(running) && !here;
  button(bar, words.close, () => { sheet = null; remember({ sheet: "" }); show(); });
  make("h2", "", box, `${lesson.title}: ${(sheet.answers ? words.key : words.worksheet).toLowerCase()}`);
  if (!sheet.answers) make("p", "who", box, `${words.name.padEnd(44)}${words.date}`);
  else if (missing(lesson)) make("p", "note", box, words.unmeasured);
  const key = keys[lesson.name] || {}, guesses = studio.guesses.all(), reasons = studio.reasons.all();
  lesson.steps.forEach((step, index) => {
    const part = make("div", "part", box);
    make("h3", "", part, `${index + 1}. ${step.heading}`);
    formula(make("p", "asks", part), step.asks);
    const place = `${lesson.name}.${index + 1}`, guess = guesses[place], reason = reasons[place];
    if (sheet.answers) answers(part, step, key, words);
    const blank = step.open ? [[words.words, reason], [""]] : [[words.predict, guess], [words.measured], [words.because, reason], [""]];
    const own = [[words.predicted, guess], [words.explained, reason]].filter(([, text]) => text);
    for (const [label, text] of sheet.answers ? own : blank) line(part, label, text);
  });
}

// What is written by hand, or was written already.
function line(part, label, text) {
  const row = make("p", "blank", part);
  make("span", "", row, label);
  make("b", "", row, text || "");
}

// The sentence of the answer with the numbers as they were measured, and where each of them comes from.
function answers(part, step, key, words) {
  const told = make("p", "answer", part);
  for (const piece of step.answer.split(/(\{\w+\})/)) {
    const claim = /^\{(\w+)\}$/.exec(piece)?.[1];
    if (!claim) formula(make("span", "", told), piece);
    else make("b", key[claim]?.number ? "value" : "", told, key[claim] ? key[claim].number || words.failed : "…");
  }
  for (const claim of step.claims) {
    if (key[claim] && !key[claim].number) make("p", "note", part, key[claim].told);
    Object.assign(make("a", "how", part, words.how), { href: `?v=1&tab=labs&view.claim=${claim}`, target: "_blank" });
  }
}

function show() {
  const { lessons, words, keyed, key, running, status } = props.value || {};
  if (!lessons) return;
  if (keyed && key) keys[keyed] = key;
  if (!running && keyed && !Object.keys(key || {}).length) delete keys[keyed]; // to be asked for again
  const listed = { lessons, words, running, keyed };
  const first = !root.children.length;
  if (first) sheet = called(props.sheet);
  draw("cards", listed, (box) => cards(box, listed));
  const open = sheet && lessons.find((lesson) => lesson.name === sheet.name);
  const said = open && [sheet, open, keys[open.name], running, keyed, studio.guesses.all(), studio.reasons.all()];
  draw("desk", said, (box) => { if (open) paper(box, open, listed); });
  if (first && open) root.querySelector(".sheet").scrollIntoView({ block: "start" });
  say(status);
}

show();
watch("value", show);
recall("sheet", (text) => lay(called(text)));
if (!root.children.length) trigger("open");

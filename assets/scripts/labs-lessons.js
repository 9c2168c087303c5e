// The lessons, their worksheets and answer keys, from props.value:
//   {lessons: [{name, title, minutes, about, begin, steps: [{heading, asks, open: no number answers it, claims}]}], words: what is said around them, keyed,
//    key: {claim: finding}, running, status}

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
  sheet = { name: lesson.name, answers };
  show();
  root.querySelector(".sheet").scrollIntoView({ block: "start" });
}

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

function paper(desk, lesson, words) {
  const box = make("section", "sheet", desk);
  const bar = make("div", "row", box);
  button(bar, words.print, () => window.print(), "go");
  button(bar, words.close, () => { sheet = null; show(); });
  make("h2", "", box, `${lesson.title}: ${(sheet.answers ? words.key : words.worksheet).toLowerCase()}`);
  if (!sheet.answers) make("p", "who", box, `${words.name.padEnd(44)}${words.date}`);
  const key = keys[lesson.name] || {}, guesses = studio.guesses.all(), reasons = studio.reasons.all();
  lesson.steps.forEach((step, index) => {
    const part = make("div", "part", box);
    make("h3", "", part, `${index + 1}. ${step.heading}`);
    make("p", "asks", part, step.asks);
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

function answers(part, step, key, words) {
  for (const claim of step.claims) {
    const found = key[claim];
    make("p", "value", part, found ? found.shown : words.unmeasured);
    if (found) make("p", "told", part, found.told);
  }
  if (!step.claims.length) make("p", "told", part, words.own);
}

function show() {
  const { lessons, words, keyed, key, running, status } = props.value || {};
  if (!lessons) return;
  if (keyed && key) keys[keyed] = key;
  if (!running && keyed && !Object.keys(key || {}).length) delete keys[keyed]; // to be asked for again
  const listed = { lessons, words, running, keyed };
  draw("cards", listed, (box) => cards(box, listed));
  const open = sheet && lessons.find((lesson) => lesson.name === sheet.name);
  const said = open && [sheet, open, keys[open.name], studio.guesses.all(), studio.reasons.all()];
  draw("desk", said, (box) => { if (open) paper(box, open, words); });
  say(status);
}

show();
watch("value", show);
if (!root.children.length) trigger("open");

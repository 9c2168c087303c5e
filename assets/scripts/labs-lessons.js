// The lessons, their worksheets and answer keys, from props.value:
//   {lessons: [{name, title, minutes, about, begin, steps: [{heading, asks, claims}]}], keyed, key: {claim: finding}, running, status}

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

function cards(box, lessons, running, keyed) {
  for (const lesson of lessons) {
    const card = make("article", "card", box);
    make("span", "minutes", card, `${lesson.minutes} minutes`);
    make("h3", "", card, lesson.title);
    make("p", "", card, lesson.about);
    const row = make("div", "row", card);
    button(row, "Begin", () => studio.turn_to(lesson.begin), "go");
    button(row, "Worksheet", () => { sheet = { name: lesson.name, answers: false }; show(); });
    const here = running && keyed === lesson.name;
    button(row, here ? "Stop" : "Answer key", () => {
      if (here) { trigger("halt"); return; }
      sheet = { name: lesson.name, answers: true };
      show();
      if (!keys[lesson.name]) trigger("measure", { lesson: lesson.name });
    }).disabled = Boolean(running) && !here;
  }
}

function paper(desk, lesson) {
  const box = make("section", "sheet", desk);
  const bar = make("div", "row", box);
  button(bar, "Print", () => window.print(), "go");
  button(bar, "Close", () => { sheet = null; show(); });
  make("h2", "", box, `${lesson.title}: ${sheet.answers ? "answer key" : "worksheet"}`);
  if (!sheet.answers) make("p", "who", box, "Name                                        Date");
  const key = keys[lesson.name] || {}, guesses = studio.guesses.all();
  lesson.steps.forEach((step, index) => {
    const part = make("div", "part", box);
    make("h3", "", part, `${index + 1}. ${step.heading}`);
    if (step.asks) make("p", "asks", part, step.asks);
    if (sheet.answers) answers(part, step, key);
    else lines(part, step, guesses[`${lesson.name}.${index + 1}`]);
  });
}

function lines(part, step, guess) {
  for (const [label, text] of step.asks ? [["I predict", guess], ["Measured"], ["Because"]] : [["In my words"]]) {
    const line = make("p", "blank", part);
    make("span", "", line, label);
    make("b", "", line, text || "");
  }
}

function answers(part, step, key) {
  for (const claim of step.claims) {
    const found = key[claim];
    make("p", "value", part, found ? found.shown : "not measured yet");
    if (found) make("p", "told", part, found.told);
  }
  if (!step.claims.length) make("p", "told", part, "In one's own words: compare what was seen.");
}

function show() {
  const { lessons, keyed, key, running, status } = props.value || {};
  if (!lessons) return;
  if (keyed && key) keys[keyed] = key;
  if (!running && keyed && !Object.keys(key || {}).length) delete keys[keyed]; // to be asked for again
  draw("cards", [lessons, running, keyed], (box) => cards(box, lessons, running, keyed));
  const open = sheet && lessons.find((lesson) => lesson.name === sheet.name);
  const said = open && [sheet, open, keys[open.name], studio.guesses.all()];
  draw("desk", said, (box) => { if (open) paper(box, open); });
  say(status);
}

show();
watch("value", show);
if (!root.children.length) trigger("open");

// The bar of a lesson, over any tab, and the boxes to write into. props.value: {place, title, heading, asks, at, steps,
//   turns: [before, after], words: what it says around them}, or {} without one.

const root = element.querySelector(".dock");

function show() {
  const value = props.value || {}, inside = root.contains(document.activeElement);
  studio.lesson.place = value.place || "";
  document.body.classList.toggle("in-lesson", Boolean(value.place));
  anew(root, value, () => drawStep(value));
  const heading = root.querySelector("h3");
  if (inside && heading && !root.contains(document.activeElement)) heading.focus(); // at the first step nothing goes back
}

function drawStep({ place, title, heading, asks, at, steps, turns, words: said }) {
  root.replaceChildren();
  if (!place) return;
  const bar = make("div", "bar", root);
  const words = make("div", "names", bar);
  make("span", "title", words, `${title} · ${at} ${said.of} ${steps}`);
  make("h3", "", words, heading).tabIndex = -1;
  const buttons = make("div", "turns", bar);
  const button = (label, act, on = true) => {
    const node = make("button", "", buttons, label);
    Object.assign(node, { type: "button", disabled: !on });
    node.addEventListener("click", act);
    return node;
  };
  const fold = button(said.fold, () => folded(!document.body.classList.contains("lesson-folded")));
  const folded = (on) => {
    document.body.classList.toggle("lesson-folded", on);
    fold.textContent = on ? said.unfold : said.fold;
    fold.setAttribute("aria-expanded", String(!on));
  };
  folded(false);
  button(said.back, () => studio.turn_to(turns[0]), Boolean(turns[0]));
  button(turns[1] ? said.next : said.done, () => (turns[1] ? studio.turn_to(turns[1]) : studio.turn_to("?v=1&tab=labs&view.page=lessons"))).classList.add("next");
  button(said.leave, () => { props.value = {}; history.replaceState(null, "", location.pathname); show(); });
  const box = (kind, tag, label, kept, more) => {
    const row = make("label", `writes ${kind}`, root);
    make("span", "", row, label);
    const field = Object.assign(make(tag, "", row), { value: kept.all()[place] || "", ...more });
    field.addEventListener("input", () => kept.set(place, field.value));
  };
  if (asks) box("asks", "input", asks, studio.guesses, { type: "text", maxLength: 200, placeholder: said.guess });
  box("explains", "textarea", asks ? said.because : said.words, studio.reasons, { rows: 2, maxLength: 1000, placeholder: asks ? said.why : said.tell });
}

show();
watch("value", show);

// The bar of a lesson, over any tab. props.value: {place, title, heading, asks, at, steps, turns: [before, after]}, or {} without one.

const root = element.querySelector(".dock");

function show() {
  const { place, title, heading, asks, at, steps, turns } = props.value || {};
  studio.lesson.place = place || "";
  document.body.classList.toggle("in-lesson", Boolean(place));
  root.replaceChildren();
  if (!place) return;
  const bar = make("div", "bar", root);
  const words = make("div", "names", bar);
  make("span", "title", words, `${title} · ${at} of ${steps}`);
  make("h3", "", words, heading);
  const buttons = make("div", "turns", bar);
  const button = (label, act, on = true) => {
    const node = make("button", "", buttons, label);
    Object.assign(node, { type: "button", disabled: !on });
    node.addEventListener("click", act);
    return node;
  };
  const fold = button("Fold", () => folded(!document.body.classList.contains("lesson-folded")));
  const folded = (on) => {
    document.body.classList.toggle("lesson-folded", on);
    fold.textContent = on ? "Unfold" : "Fold";
    fold.setAttribute("aria-expanded", String(!on));
  };
  folded(false);
  button("Back", () => studio.turn_to(turns[0]), Boolean(turns[0]));
  button(turns[1] ? "Next" : "Done", () => (turns[1] ? studio.turn_to(turns[1]) : studio.turn_to("?v=1&tab=labs&view.page=lessons"))).classList.add("next");
  button("Leave", () => { props.value = {}; history.replaceState(null, "", location.pathname); show(); });
  if (!asks) return;
  const row = make("label", "asks", root);
  make("span", "", row, asks);
  const guess = make("input", "", row);
  Object.assign(guess, { type: "text", maxLength: 200, placeholder: "your prediction", value: studio.guesses.all()[place] || "" });
  guess.addEventListener("input", () => studio.guesses.set(place, guess.value));
}

show();
watch("value", show);

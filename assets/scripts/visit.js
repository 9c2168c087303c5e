// The pictures of this visit, newest first, kept in the page and nowhere else. value {add: [{src, recipe, words, seed, start}], press}
// brings new ones; a click hands a recipe back, with the picture that it started from.

const MOST = 24;
const kept = [];
const row = element.querySelector(".row");

function add(one) {
  if (kept.includes(one.recipe)) return;
  const button = document.createElement("button");
  button.type = "button";
  button.title = one.words;
  button.setAttribute("aria-label", `Back to: ${one.words || "no words"}, seed ${one.seed}`);
  const image = document.createElement("img");
  image.alt = "";
  image.src = one.src;
  button.append(image);
  button.addEventListener("click", () => trigger("select", { recipe: one.recipe, start: one.start }));
  row.prepend(button);
  kept.unshift(one.recipe);
  while (kept.length > MOST) {
    kept.pop();
    row.lastChild.remove();
  }
}

watch("value", () => {
  for (const one of (props.value || {}).add || []) add(one);
  element.querySelector(".visit").hidden = !kept.length;
});

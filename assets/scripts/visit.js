// The pictures of this visit, newest first, kept in this window of the browser and nowhere else: they outlive a reload and a new
// server, not the window. value {add: [{src, recipe, words, seed, start}], press} brings new ones; a click hands a recipe back, with
// the picture that it started from.

const MOST = 24;
const KEY = "diffusion-studio-visit";
const row = element.querySelector(".row");
const kept = [];

function add(one) {
  if (kept.some((other) => other.recipe === one.recipe)) return;
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
  kept.unshift(one);
  while (kept.length > MOST) {
    kept.pop();
    row.lastChild.remove();
  }
}

function show(ones) {
  for (const one of ones) add(one);
  element.querySelector(".visit").hidden = !kept.length;
}

function before() {
  try { return JSON.parse(sessionStorage.getItem(KEY)).reverse(); } catch { return []; }
}

show(before());
watch("value", () => {
  show((props.value || {}).add || []);
  try { sessionStorage.setItem(KEY, JSON.stringify(kept)); } catch { /* a browser that keeps nothing, or no more */ }
});

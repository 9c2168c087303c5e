// What the model reads of the prompt: its pieces with their ids, while it is typed and this view is open. value as words.reading has it.
// Words written by strangers go in as textContent only.

const find = (name) => element.querySelector(name);
const box = () => document.querySelector("#prompt textarea");
let asked = null;
let timer = 0;

function ask() {
  const text = box() ? box().value : "";
  if (text === asked || !element.offsetParent) return;
  asked = text;
  trigger("input", { text });
}

function chip(parent, text, id, name, title) {
  const one = make("span", `piece ${name}`, parent, "");
  one.setAttribute("role", "listitem");
  if (title) one.title = title;
  make("b", "", one, text);
  make("i", "", one, String(id));
  return one;
}

function show() {
  const value = props.value || {};
  if (!value.pieces || !find(".pieces")) return;
  const pieces = find(".pieces");
  pieces.replaceChildren();
  chip(pieces, "start", value.begin, "mark", "every prompt begins with this");
  for (const one of value.pieces) {
    const chosen = chip(pieces, one.text, one.id, `${one.joined ? "joined" : ""} ${one.lost ? "lost" : ""}`, one.piece);
    if (one.weight !== 1) make("em", "", chosen, `× ${one.weight}`);
  }
  chip(pieces, "end", value.end, "mark", "and ends with this");
  if (value.pads) chip(pieces, `padding × ${value.pads}`, value.pad, "mark", "filled up to the length that the model reads");
  const plural = value.count === 1 ? "piece" : "pieces";
  find(".count").textContent = `${value.count} ${plural} of at most ${value.length - 2}; the number under each is its id, all that the network gets.`;
  find(".lost").hidden = !value.dropped;
  find(".lost").textContent = `Dropped, because it does not fit: ${value.dropped}`;
  const names = value.unseen.map((word) => `“${word}”`).join(", ");
  find(".unseen").hidden = !value.unseen.length && value.known > 0;
  find(".unseen").textContent = !value.known
    ? "This model brings no list of the words that it was trained on, so nothing can be said about which of these it knows."
    : value.complete
      ? `Never seen in training: ${names}. No caption has ${value.unseen.length === 1 ? "this word" : "these words"}; the model has only the pieces to go by.`
      : `Not among the English names that this model was trained on: ${names}. Whether it met them in another language, its list does not say.`;
  find(".weights").hidden = !value.weighted;
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(ask, 180);
}

document.addEventListener("prompt", later); // typed, or set by an example, a link or a recipe
new ResizeObserver(later).observe(element); // opened
show();
watch("value", show);

// The makers of nodes that every drawing is made with. Words go in as text only, whoever wrote them.
window.make = (tag, name, parent, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};

window.draw = (tag, attributes, parent, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};

// Draw a part of the page anew, unless it is made of the same and as wide as before: so focus and selection outlive what a running work
// shows. Where it has to be drawn, the focus goes to the node that says the same as the one which had it, else to the one in its place.
window.anew = (root, made, build) => {
  const key = JSON.stringify([made, root.clientWidth]);
  if (root.made === key) return;
  root.made = key;
  const nodes = () => [...root.querySelectorAll("a, button, input, textarea, summary, [tabindex]")];
  const says = (node) => `${node.tagName} ${node.getAttribute("aria-label") || node.textContent}`;
  const held = document.activeElement, before = nodes(), at = before.indexOf(held);
  build();
  if (at < 0) return;
  const alike = (node) => says(node) === says(held), after = nodes();
  const found = after.filter(alike)[before.filter(alike).indexOf(held)] || after[at];
  if (found) found.focus({ preventScroll: true });
};

// A number as JavaScript writes it, as one writes it by hand: 3.1e-7 as 3.1·10⁻⁷, -1 as −1.
window.raised = (power) => String(Number(power)).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
window.typeset = (text) => text.replace(/e([+-]\d+)$/, (_, power) => `·10${raised(power)}`).replace("-", "−");

// A formula of ours in a line of text: what stands behind an underscore is set below, as in "ε_c".
window.formula = (node, text) => {
  node.replaceChildren(...text.split(/_(\w)/).map((part, i) => (i % 2 ? make("sub", "", null, part) : part)));
  return node;
};

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

// A formula of ours in a line of text: what stands behind an underscore is set below, as in "ε_c".
window.formula = (node, text) => {
  node.replaceChildren(...text.split(/_(\w)/).map((part, i) => (i % 2 ? make("sub", "", null, part) : part)));
  return node;
};

// A picture is dropped, and what it says of itself is listed: value {program, understood: [[name, value]], notes, differs, text} or
// {line}. All of it was written by strangers, and goes in as textContent only.

const find = (name) => element.querySelector(name);

function list(name, sentences) {
  const block = find(name);
  block.hidden = !sentences.length;
  block.querySelector("ul").replaceChildren(...sentences.map((sentence) => {
    const item = document.createElement("li");
    item.textContent = sentence;
    return item;
  }));
}

function rows(pairs) {
  find(".understood").replaceChildren(...pairs.flatMap(([name, value]) => {
    const [term, said] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    said.textContent = value || "(empty)";
    return [term, said];
  }));
}

function show() {
  const value = props.value || {};
  if (!find(".found") || !Object.keys(value).length) return;
  element.dataset.state = value.state || "done";
  const { program = "", understood = [], notes = [], differs = [], text = "" } = value;
  find(".found").hidden = Boolean(value.line);
  const made = understood.length ? `Written by ${program}. The settings are set as follows; press Generate for the picture.` : "";
  find(".line").textContent = value.line || made || "No recipe could be read; your settings are as they were.";
  rows(understood);
  list(".notes", notes);
  list(".differs", differs);
  find("details").hidden = !text;
  find("pre").textContent = text;
}

takes(find(".drop"), (told) => {
  find(".line").textContent = told.line || "Reading …";
  if (told.path) trigger("upload", { path: told.path });
});
show();
watch("value", show);

// The stage: pictures while they form and when they are finished, in one place, from props.value:
//   {state, line, part, pictures: [{src | file, alt, title, text, name}], notes}
// Words written by strangers go in as textContent only; nothing here ever becomes HTML. "Start from it" hands a finished
// picture's place on the server back.

function newTile(root) {
  const figure = make("figure", "tile", root);
  make("img", "", figure).decoding = "sync"; // no blank frame between two previews
  const caption = make("figcaption", "", figure);
  make("span", "words", caption);
  make("span", "made", caption);
  make("a", "save", caption, "Save PNG");
  const again = make("button", "again", caption, "Start from it");
  again.type = "button";
  again.addEventListener("click", () => trigger("select", { path: again.dataset.path }));
  return figure;
}

function fillTile(figure, picture) {
  const image = figure.querySelector("img");
  const address = picture.file ? picture.file.url : picture.src;
  if (image.getAttribute("src") !== address) image.src = address;
  image.alt = picture.alt || "";
  figure.querySelector("figcaption").hidden = !picture.text;
  figure.querySelector(".words").textContent = picture.title || "";
  figure.querySelector(".made").textContent = picture.text || "";
  const save = figure.querySelector(".save");
  save.hidden = !picture.name;
  const again = figure.querySelector(".again");
  again.hidden = !picture.file;
  again.dataset.path = picture.file ? picture.file.path : "";
  if (picture.name) {
    save.href = address;
    save.download = picture.name;
  }
}

function fill(tiles, pictures) {
  tiles.dataset.count = pictures.length;
  while (tiles.children.length > pictures.length) tiles.lastChild.remove();
  while (tiles.children.length < pictures.length) newTile(tiles);
  pictures.forEach((picture, index) => fillTile(tiles.children[index], picture));
}

function show() {
  const value = props.value || {};
  const tiles = element.querySelector(".tiles");
  const line = element.querySelector(".line");
  if (!tiles || !line) return;
  element.dataset.state = value.state || "idle";
  element.style.setProperty("--part", value.part || 0);
  if (value.pictures) fill(tiles, value.pictures); // without any, what was there stays
  line.textContent = [value.line || "", ...(value.notes || [])].join(" ");
}

show();
watch("value", show);

// Where words look: the predicted picture under a shade that is thin where attention is strong, one tile a word, any layer at once.
//   value {state, line};   looks {k, t, src, words, layers: [{name, w, h, maps (base64), share, range}]};   without {of, list: [{src, change}]}

const find = (selector) => element.querySelector(selector);
const shown = { looks: null, image: null };

function shade(map, w, h) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(w, h);
  const bytes = atob(map);
  for (let i = 0; i < w * h; i += 1) pixels.data.set([16, 20, 40, 225 - Math.round((bytes.charCodeAt(i) * 225) / 255)], 4 * i);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function draw() {
  const { looks, image } = shown;
  if (!looks || !image || !image.complete || !image.naturalWidth) return;
  const layer = looks.layers[Number(find(".layer").value) || 0];
  const tiles = find(".tiles");
  while (tiles.children.length > looks.words.length) tiles.lastChild.remove();
  while (tiles.children.length < looks.words.length) {
    const figure = make("figure", "", tiles);
    make("canvas", "", figure).setAttribute("role", "img");
    const caption = make("figcaption", "", figure);
    make("b", "", caption);
    make("span", "share", caption);
    make("img", "", figure).alt = "";
    make("span", "change", figure);
  }
  looks.words.forEach((word, index) => {
    const figure = tiles.children[index];
    const canvas = figure.querySelector("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    context.imageSmoothingEnabled = true;
    context.drawImage(shade(layer.maps[index], layer.w, layer.h), 0, 0, canvas.width, canvas.height);
    const [least, most] = layer.range[index].map((value) => (100 * value).toFixed(1));
    const share = `${(100 * layer.share[index]).toFixed(1)} % of the attention, ${least} to ${most} from place to place`;
    canvas.setAttribute("aria-label", `where ${word} is read: ${share}`);
    figure.querySelector("b").textContent = word;
    figure.querySelector(".share").textContent = share;
    figure.classList.toggle("rest", index === looks.words.length - 1);
    const without = (shown.without || [])[index];
    const [picture, change] = [figure.querySelector("img"), figure.querySelector(".change")];
    picture.hidden = change.hidden = !without;
    if (without) {
      picture.src = without.src;
      picture.alt = `the predicted picture without the word ${word}`;
      change.textContent = `without it x̂₀ changes by ${(100 * without.change).toFixed(1)} % of its norm`;
    }
  });
}

function arrived() {
  const looks = props.looks;
  if (!find(".looks") || !looks || !looks.words) return;
  const chosen = find(".layer").value;
  find(".layer").replaceChildren(...looks.layers.map((layer, index) => new Option(layer.name, String(index))));
  if (chosen && Number(chosen) < looks.layers.length) find(".layer").value = chosen;
  find(".pick").hidden = find(".legend").hidden = false;
  find(".when").textContent = `At step ${looks.k}, t = ${Math.round(looks.t)}.`;
  Object.assign(shown, { looks, image: new Image(), without: props.without && props.without.of === looks.of ? props.without.list : null });
  shown.image.onload = draw;
  shown.image.src = looks.src;
}

function told() {
  if (!find(".looks")) return;
  const value = props.value || {};
  element.dataset.state = value.state || "idle";
  find(".line").textContent = value.line || "";
}

find(".layer").addEventListener("change", draw);
told();
arrived();
watch("value", told);
watch(["looks", "without"], arrived);

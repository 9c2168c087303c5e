// Ways to double a side, from props.value: {tiles: [{name, told, images: [src]}], charts}.

const root = element.querySelector(".doubling");

function show() {
  const { tiles = [], charts = [] } = props.value || {};
  const open = [...root.querySelectorAll("details")].map((node) => node.open);
  root.replaceChildren();
  const row = make("div", "tiles", root);
  for (const { name, told, images } of tiles) {
    const figure = make("figure", "", row), pair = make("div", "pair", figure);
    images.forEach((src, index) => Object.assign(make("img", "", pair), { src, alt: `${index ? "a disc" : "a constant"}: ${name}` }));
    const caption = make("figcaption", "", figure);
    make("b", "", caption, name);
    make("span", "", caption, told);
  }
  charted(make("div", "panels", root), charts, open);
}

show();
watch("value", show);
onWidth(show);

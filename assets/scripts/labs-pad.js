// A grid to draw points on, with finger, mouse or keys. props.points: [[column, row], …] as the server has them; props.shapes: names;
// props.side: cells a side; props.most: points. A finished stroke is handed back as {points}, a chosen shape as {shape}.

const SIDE = props.side, BESIDE = 1.6; // cells between two points of a stroke, at least
const root = element.querySelector(".pad");
let points = [], cursor = [SIDE / 2, SIDE / 2], stroke = null, erasing = false;
let sent = "", handed = []; // drawings that were handed over: the echo of one must not undo what was drawn since

const bar = make("div", "pad-bar", root);
const board = draw("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, class: "board", tabindex: 0, role: "application",
  "aria-label": "Drawing: arrow keys move the cross, Space sets or takes away a point, Delete clears all" }, root);
draw("path", { d: `M${SIDE / 2} 0V${SIDE}M0 ${SIDE / 2}H${SIDE}`, class: "rule" }, board);
const dots = draw("g", { class: "dots" }, board);
const cross = draw("path", { class: "cross" }, board);
const told = make("p", "pad-told", root);
told.setAttribute("role", "status");

const button = (label, act) => {
  const node = make("button", "", bar, label);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
};
for (const shape of props.shapes) button(shape[0].toUpperCase() + shape.slice(1), () => trigger("draw", { shape }));
const eraser = button("Erase", () => { erasing = !erasing; eraser.setAttribute("aria-pressed", String(erasing)); });
eraser.setAttribute("aria-pressed", "false");
button("Clear", () => { points = []; finish(); });

const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const text = (list) => JSON.stringify(list);

function show() {
  dots.replaceChildren();
  for (const [column, row] of points) draw("circle", { cx: column + 0.5, cy: SIDE - row - 0.5, r: 0.85 }, dots);
  const [x, y] = [cursor[0] + 0.5, SIDE - cursor[1] - 0.5];
  cross.setAttribute("d", `M${x - 1.6} ${y}h3.2M${x} ${y - 1.6}v3.2`);
  told.textContent = points.length ? `${points.length} of at most ${props.most} points` : "Draw with the finger or the mouse; arrow keys and Space do it too.";
}

function finish() {
  sent = text(points);
  handed.push(sent);
  show();
  trigger("draw", { points });
}

function put(cell) {
  if (erasing) points = points.filter((one) => far(one, cell) > 2.5);
  else if (points.length < props.most && !points.some((one) => far(one, cell) < BESIDE)) points.push(cell);
}

function cell(event) {
  const box = board.getBoundingClientRect();
  const held = (value) => Math.max(0, Math.min(SIDE - 1, Math.floor(value)));
  return [held(((event.clientX - box.left) / box.width) * SIDE), held(SIDE - ((event.clientY - box.top) / box.height) * SIDE)];
}

board.addEventListener("pointerdown", (event) => {
  board.setPointerCapture(event.pointerId);
  stroke = cursor = cell(event);
  put(stroke);
  show();
});
board.addEventListener("pointermove", (event) => {
  if (!stroke) return;
  const to = cell(event), pieces = Math.max(1, Math.ceil(far(stroke, to)));
  for (let k = 1; k <= pieces; k++) put([0, 1].map((i) => Math.round(stroke[i] + ((to[i] - stroke[i]) * k) / pieces)));
  stroke = cursor = to;
  show();
});
for (const end of ["pointerup", "pointercancel"]) board.addEventListener(end, () => { if (stroke) { stroke = null; finish(); } });

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
board.addEventListener("keydown", (event) => {
  const move = MOVES[event.key], step = event.shiftKey ? 8 : 2;
  if (move) {
    cursor = cursor.map((value, i) => Math.max(0, Math.min(SIDE - 1, value + step * move[i])));
    show();
  } else if (event.key === " " || event.key === "Enter") {
    const kept = points.filter((one) => far(one, cursor) > 1);
    if (kept.length < points.length) points = kept;
    else if (points.length < props.most) points.push([...cursor]);
    finish();
  } else if (event.key === "Delete") { points = []; finish(); } else return;
  event.preventDefault();
});

// What comes back of older strokes is known here already; anything else is a shape, a link or a reset.
function hear() {
  const now = text(props.points || []);
  if (stroke || (now !== sent && handed.includes(now))) return;
  handed = [];
  points = (props.points || []).map((one) => [...one]);
  show();
}

hear();
watch("points", hear);

// What a canvas shows of its value, kept by widgets that nobody sees, for links, reloads and Reset (studio/widgets/kept.py): remember({step: 3})
// hands it over once the hand rests; recall("step", took) calls took(value) with what a link, a reload or Reset set, which props hold.

let resting = null, waiting = {};
const handed = {};

function remember(values) {
  Object.assign(waiting, values);
  clearTimeout(resting);
  resting = setTimeout(() => {
    for (const [name, value] of Object.entries(waiting)) (handed[name] ||= []).push(value);
    trigger("remember", waiting);
    waiting = {};
  }, 250);
}

// What comes back of what was handed over is known here already, and must not undo what was chosen since.
function recall(name, took) {
  watch(name, () => {
    const value = props[name], own = handed[name] || [];
    if (name in waiting || own.slice(0, -1).includes(value)) return;
    handed[name] = [];
    if (value !== own.at(-1)) took(value);
  });
}

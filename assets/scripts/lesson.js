// The step of a lesson that is open, for page.js's neighbours: its place (2.3) and the query that the next turn brings to the server.
window.studio.lesson = { place: "", query: "" };

// Turn to another step: the address follows, so that a reload or a link comes back to it.
window.studio.turn_to = (query) => {
  if (!query.startsWith("?")) return;
  studio.lesson.query = query;
  history.replaceState(null, "", query);
  document.querySelector("#lesson-turn").click();
};

// What was written in this browser, by place: what was predicted, and how it was explained.
const written = (key, most) => ({
  all() { try { return JSON.parse(localStorage.getItem(key)) || {}; } catch { return {}; } },
  set(place, text) {
    try { localStorage.setItem(key, JSON.stringify({ ...this.all(), [place]: text.slice(0, most) })); } catch { /* a browser that keeps nothing */ }
  },
});
window.studio.guesses = written("diffusion-studio-lessons", 200);
window.studio.reasons = written("diffusion-studio-reasons", 1000);

// A worksheet that lies open is all that is printed.
matchMedia("print").addEventListener("change", ({ matches }) => {
  document.documentElement.classList.toggle("printing", matches && Boolean(document.querySelector(".sheet")));
});

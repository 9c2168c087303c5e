// The step of a lesson that is open, for page.js's neighbours: its place (2.3) and the query that the next turn brings to the server.
window.studio.lesson = { place: "", query: "" };

// Turn to another step: the address follows, so that a reload or a link comes back to it.
window.studio.turn_to = (query) => {
  if (!query.startsWith("?")) return;
  studio.lesson.query = query;
  history.replaceState(null, "", query);
  document.querySelector("#lesson-turn").click();
};

// What was predicted in this browser, by place.
window.studio.guesses = {
  key: "diffusion-studio-lessons",
  all() { try { return JSON.parse(localStorage.getItem(this.key)) || {}; } catch { return {}; } },
  set(place, text) {
    try { localStorage.setItem(this.key, JSON.stringify({ ...this.all(), [place]: text.slice(0, 400) })); } catch { /* a browser that keeps nothing */ }
  },
};

// A worksheet that lies open is all that is printed.
matchMedia("print").addEventListener("change", ({ matches }) => {
  document.documentElement.classList.toggle("printing", matches && Boolean(document.querySelector(".sheet")));
});

// What belongs to the page as a whole, before any tab is there: hiding by link, larger type, light and dark, panels, keeping.
// The server (page.py) hands in names only; words that a stranger wrote never become HTML here.
window.studio = (() => {
  const root = document.documentElement;
  const query = new URLSearchParams(location.search);
  const hide = (query.get("hide") || "").split(",").filter((name) => /^[a-z_]+$/.test(name));
  const style = document.createElement("style");
  const hidden = hide.map((name) => `.set-${name}`).join(", "); // and the frames around nothing else
  style.textContent = hidden && `.gradio-container :is(${hidden}, .form:not(:has(> :not(${hidden})))) { display: none !important; }`;
  document.head.append(style);

  let open = false; // nothing is kept before what was kept is back on the page, or what a link says is there
  let pressed = null; // whoever presses a button of a tab before that means what the link says: the last press waits for it
  document.addEventListener("click", (event) => {
    const button = !open && event.target.closest && event.target.closest("#tabs button:not([role=tab], .label-wrap)"); // what unfolds, may
    if (!button) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    pressed = button;
  }, true);
  const place = () => [...document.querySelectorAll("[role=tab][aria-selected=true]")].filter((tab) => tab.offsetParent).map((tab) => tab.dataset.tabId);

  const settings = {}; // of every widget: two tabs that keep theirs at the same time must not undo each other
  let looks = {}; // as it was turned last: what is kept at the same time must not turn it back
  const look = ({ projector, dark }) => {
    looks = { projector: Boolean(projector), ...(typeof dark === "boolean" ? { dark } : {}) };
    root.classList.toggle("projector", Boolean(projector));
    if (typeof dark === "boolean") document.body.classList.toggle("dark", dark);
    for (const [name, on] of [["projector", projector], ["dark", document.body.classList.contains("dark")]]) {
      const button = document.querySelector(`#${name}`);
      if (button) button.setAttribute("aria-pressed", String(Boolean(on)));
    }
  };

  const panel = (name) => {
    const shown = document.body.dataset.panel === name ? "" : name;
    document.body.dataset.panel = shown;
    for (const each of ["share", "notation"]) {
      const button = document.querySelector(`#${each}-button`);
      if (button) button.setAttribute("aria-expanded", String(each === shown));
    }
    return shown;
  };
  document.addEventListener("keydown", (event) => {
    const shown = document.body.dataset.panel;
    if (event.key !== "Escape" || !shown) return;
    panel(shown);
    document.querySelector(`#${shown}-button`)?.focus();
  });

  // A file that misses every place for files would make the browser leave the studio for it. A picture on Prompt has its recipe read.
  // Words may still be dragged from one box to another.
  const files = (event) => event.dataTransfer.types.includes("Files");
  document.addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!files(event)) return;
    const taken = event.defaultPrevented, dropped = event.dataTransfer.files;
    event.preventDefault();
    if (taken || !dropped.length || place()[0] !== "prompt") return;
    const fold = document.querySelector("#take .label-wrap");
    if (!fold.classList.contains("open")) fold.click();
    const read = () => {
      const input = document.querySelector("#reader input[type=file]");
      if (!input) return requestAnimationFrame(read); // what is folded is not there yet
      input.files = dropped;
      input.dispatchEvent(new Event("change"));
    };
    read();
  });

  // The words that a tab begins with are there to be replaced: whoever comes to them for the first time finds them marked.
  const met = new WeakSet();
  for (const arrival of ["focusin", "click"]) {
    document.addEventListener(arrival, ({ target: box }) => {
      if (!box.matches?.("#prompt textarea, #film-prompt textarea") || met.has(box)) return;
      box.select();
      if (arrival === "click") met.add(box);
    });
  }
  document.addEventListener("input", ({ target: box }) => met.add(box));

  let soon;
  const renew = () => {
    clearTimeout(soon);
    soon = setTimeout(() => document.querySelector("#share-renew").click(), 200);
  };

  return {
    panel,
    renew,
    // What the page begins with: what was kept, and whether this is the same visit after a reload or a restart of the server.
    begin(kept) {
      const saved = kept || {};
      const reloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
      look(saved);
      return { ...saved, again: reloaded && saved.query === location.search };
    },
    ready() {
      open = true;
      if (pressed) setTimeout(() => pressed.click(), 50); // what was set has reached its widgets by then
    },
    get open() { return open; },
    async keep(kept, names, values) {
      if (!open) return kept;
      await new Promise((done) => setTimeout(done, 50)); // a tab that was just chosen is marked by then
      if (document.body.dataset.panel === "share") renew();
      names.forEach((name, i) => { settings[name] = values[i]; });
      return { ...kept, ...looks, query: location.search, place: place(), settings: { ...kept.settings, ...settings } };
    },
    turn(kept, name) {
      const dark = document.body.classList.contains("dark");
      const next = { ...kept, ...looks, settings: { ...kept.settings, ...settings }, ...(name === "dark" ? { dark: !dark } : { projector: !root.classList.contains("projector") }) };
      look(next);
      return next;
    },
    place,
  };
})();

// A place where a picture is dropped, chosen or pasted: `takes(label, done)` uploads it and calls done({path}) or done({line}).

const TYPES = ["image/png", "image/jpeg", "image/webp"];

function takes(label, done) {
  const input = label.querySelector("input");
  async function send(files) {
    const file = files && files[0];
    input.value = "";
    if (!file) return;
    if (!TYPES.includes(file.type)) return done({ line: "This cannot be read as a picture; PNG, JPEG or WebP, please." });
    label.classList.add("busy");
    try {
      done({ path: (await upload(file)).path });
    } catch (error) {
      done({ line: "The upload did not arrive: the file may have at most 15 MB, and the studio must be running. Try again." });
    }
    label.classList.remove("busy");
  }
  input.addEventListener("change", () => send(input.files));
  label.addEventListener("dragover", (event) => { event.preventDefault(); label.classList.add("over"); });
  label.addEventListener("dragleave", () => label.classList.remove("over"));
  label.addEventListener("drop", (event) => {
    event.preventDefault();
    label.classList.remove("over");
    send(event.dataTransfer.files);
  });
  label.addEventListener("paste", (event) => send(event.clipboardData.files));
}

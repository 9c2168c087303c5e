// The code of a link for phones. props.value: {code: address of the picture or "", told}
function show() {
  const { code, told } = props.value || {};
  const image = element.querySelector("img");
  image.hidden = !code;
  if (code) image.src = code;
  element.querySelector(".told").textContent = told || "";
}

show();
watch("value", show);

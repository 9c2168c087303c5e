// Hands a file {name, data} to the browser, once for each time that it arrives.
watch("value", () => {
  const file = props.value;
  if (!file || !file.data || !file.data.startsWith("data:")) return;
  const link = document.createElement("a");
  link.href = file.data;
  link.download = file.name;
  element.append(link);
  link.click();
  link.remove();
});

"use strict";

// A button at each block that copies what is to be typed: no prompt, and nothing that is printed.
function textOf(block) {
  const copy = block.cloneNode(true);
  for (const printed of copy.querySelectorAll(".go")) {
    const after = printed.nextSibling;
    if (after?.nodeType === Node.TEXT_NODE) after.data = after.data.replace(/^\n/, "");
    printed.remove();
  }
  for (const prompt of copy.querySelectorAll(".gp")) prompt.remove();
  return copy.textContent;
}

// A browser gives the clipboard to pages of https and of this machine alone; elsewhere it is asked the old way.
async function put(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "copied";
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

for (const block of document.querySelectorAll("div.highlight > pre")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy this block");
  button.addEventListener("click", async () => {
    try {
      await put(textOf(block));
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  block.parentElement.append(button);
}

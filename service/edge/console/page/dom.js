// Elements: made in one call, and filled. No string ever becomes markup.

/** An element: attributes that are functions listen, `true` stands alone, null and false are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.replace(/^on/, ""), value);
    else if (name === "value") made.value = value;
    else if (value !== null && value !== false && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return made;
}

/** Put children in the place of those that an element has. */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
}

/** A field with its label in front of it. */
export function field(label, control, attributes = {}) {
  return element("label", { ...attributes, class: `field ${attributes.class ?? ""}` }, element("span", {}, label), control);
}

/** A choice of [value, text] pairs. */
export function choice(options, value, onchange, attributes = {}) {
  const made = element("select", { onchange: () => onchange?.(made.value), ...attributes },
    options.map(([each, text]) => element("option", { value: each }, text)));
  if (value !== undefined && value !== null) made.value = value;
  return made;
}

export function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

/** A number with its name, for what is told at a glance; `set` changes it. */
export function tile(name, explained = "") {
  const value = element("b", {}, "–");
  const note = element("small", {}, "");
  const made = element("div", { class: "tile", title: explained || null }, element("span", {}, name), value, note);
  made.set = (text, told = "") => {
    if (value.textContent !== text) value.textContent = text;
    if (note.textContent !== told) note.textContent = told;
  };
  return made;
}

/** Ask before what cannot be undone; whether it is wanted. */
export function ask(title, told, doing) {
  const dialog = document.getElementById("ask-dialog");
  dialog.querySelector("h2").textContent = title;
  dialog.querySelector("p").textContent = told;
  dialog.querySelector("[value=yes]").textContent = doing;
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.querySelector("[value=no]").focus();
  return new Promise((resolve) => {
    dialog.onclose = () => !dialog.open && resolve(dialog.returnValue === "yes");
  });
}

/** Hand a file to whoever looks. */
export function download(name, content, type = "application/octet-stream") {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = element("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** A number in few digits: 0.0123, 12.3, 1,234. */
export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size >= 1) return value.toFixed(2);
  return Number(value.toPrecision(2)).toString();
}

/** A time in seconds as a person says it: 3 ms, 1.2 s, 5 min, 2 days. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1) return `${short(seconds * 1000)} ms`;
  for (const [size, unit] of [[86_400, "days"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
}

/** Bytes as 1.2 MB. */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (bytes >= 1000 && unit < 3) [bytes, unit] = [bytes / 1000, unit + 1];
  return `${short(bytes)} ${units[unit]}`;
}

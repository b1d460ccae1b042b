"use strict";

const root = document.documentElement;
const search = document.getElementById("search");
const articles = [...document.querySelectorAll("article.operation")];
const groups = [...document.querySelectorAll("section.group")];
const links = [...document.querySelectorAll("nav li")];

// Theme: the system's, until it is chosen here.
function remembered(theme) {
  try {
    if (theme) localStorage.setItem("theme", theme);
    return localStorage.getItem("theme");
  } catch {
    return theme;  // a browser that keeps nothing
  }
}
if (remembered()) root.dataset.theme = remembered();
document.getElementById("theme").addEventListener("click", () => {
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  remembered(root.dataset.theme);
});

// Search: an operation is shown that has all of the words.
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = new Set();
  for (const article of articles) {
    article.hidden = !words.every((word) => article.dataset.words.includes(word));
    if (!article.hidden) shown.add(`#${article.id}`);
  }
  for (const link of links) link.hidden = !shown.has(link.firstElementChild.getAttribute("href"));
  for (const part of [...groups, ...document.querySelectorAll("nav section")]) {
    const inner = [...part.querySelectorAll("article.operation, li")];
    part.hidden = words.length > 0 && inner.every((each) => each.hidden);
  }
  document.getElementById("nothing").hidden = shown.size > 0;
}
search.addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
    event.preventDefault();
    search.focus();
  }
});

// Trials: an example is filled in, and sent to the server that the page came from.
for (const form of document.querySelectorAll("form")) {
  const choice = form.querySelector("select");
  const text = form.querySelector("textarea");
  choice?.addEventListener("change", () => {
    const chosen = choice.selectedOptions[0].dataset;
    if (text && chosen.body) text.value = chosen.body;
    for (const [name, value] of Object.entries(JSON.parse(chosen.names))) form.elements[name].value = value;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let path = form.dataset.path;
    const query = new URLSearchParams();
    const headers = text ? { "Content-Type": "application/json" } : {};
    for (const field of form.querySelectorAll("input[data-in]")) {
      if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
      else if (field.value && field.dataset.in === "header") headers[field.name] = field.value;
      else if (field.value) query.set(field.name, field.value);
    }
    const target = path.slice(1) + (query.size ? `?${query}` : "");
    const sent = { method: form.dataset.method, headers };
    if (text) sent.body = text.value;
    const output = form.querySelector("output");
    const [told, shown] = output.children;
    output.hidden = false;
    shown.textContent = "";
    told.textContent = "…";
    const begun = performance.now();
    try {
      const answer = await fetch(target, sent);
      const type = answer.headers.get("content-type") ?? "";
      const content = /json|text/.test(type) ? await answer.text() : `${(await answer.arrayBuffer()).byteLength} bytes`;
      told.innerHTML = "";
      const status = document.createElement("span");
      status.className = `status s${String(answer.status)[0]}`;
      status.textContent = answer.status;
      told.append(status, ` ${type} · ${Math.round(performance.now() - begun)} ms`);
      shown.textContent = type.includes("json") ? pretty(content) : content;
    } catch (error) {
      told.textContent = String(error);
    }
  });
}

function pretty(content) {
  try {
    // Whole numbers stay as they were sent: what has long ones in it is not laid out.
    return /[[:,\s]-?\d{16,}[\],}\s]/.test(content) ? content : JSON.stringify(JSON.parse(content), null, 2);
  } catch {
    return content;
  }
}

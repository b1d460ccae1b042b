// The shell: which view is shown, light or dark, the key, and whether the server is reached.

import { key, signals, useKey } from "./api.js";
import { decoded } from "./decoded.js";
import { element, fill } from "./dom.js";
import { watch } from "./pulse.js";
import { rememberTheme, themeOf } from "./theme.js";
import { showGenerate } from "./views/generate.js";
import { showOverview } from "./views/overview.js";
import { showSession } from "./views/session.js";
import { showStream } from "./views/stream.js";
import { showWhy } from "./views/why.js";

const VIEWS = { overview: showOverview, stream: showStream, generate: showGenerate, session: showSession, why: showWhy };
const main = document.getElementById("main");
const trouble = document.getElementById("trouble");
let leave = null;
/** Whether who was asked for a key closed the question: then they are not asked again until they say so. */
let hasDeclined = false;

/** The view that the address names, and what stands behind it: #/session/ID. */
function place() {
  const [, view = "", ...rest] = location.hash.split("/");
  return [view in VIEWS ? view : "overview", rest.map(decoded).join("/")];
}

async function show() {
  const [view, rest] = place();
  leave?.();
  leave = null;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  fill(main, element("p", { class: "faint" }, "Loading …"));
  document.title = `${document.querySelector("nav a[aria-current]").textContent} · Ostinato`;
  leave = VIEWS[view](main, rest) ?? null;
}

addEventListener("hashchange", () => {
  if (location.hash.startsWith("#/") || !location.hash) {
    show();
    main.focus({ preventScroll: true });
  }
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

document.getElementById("theme").addEventListener("click", () => rememberTheme(themeOf() === "dark" ? "light" : "dark"));

const dialog = document.getElementById("key-dialog");
document.getElementById("key").addEventListener("click", () => askForKey());

function askForKey() {
  if (dialog.open) return;
  hasDeclined = false;
  dialog.returnValue = "";
  dialog.querySelector("input").value = "";
  dialog.showModal();
}

dialog.addEventListener("close", () => {
  const shown = dialog.querySelector("input").value.trim();
  dialog.querySelector("input").value = "";
  hasDeclined = !shown && dialog.returnValue !== "forget";
  if (dialog.returnValue === "forget") useKey("");
  else if (dialog.returnValue === "use" && shown) useKey(shown);
});

signals.addEventListener("key", (event) => {
  document.getElementById("key").classList.toggle("set", Boolean(key()));
  if (event.detail.needed) {
    document.getElementById("key-told").textContent = key()
      ? "The key that was used is not one of this server's: it was revoked, or mistyped."
      : "It is kept in this tab until you close it, and sent to nobody but this server.";
    if (!hasDeclined) askForKey();
  } else {
    show();
  }
});

signals.addEventListener("reach", (event) => {
  trouble.hidden = event.detail.isReached;
  trouble.textContent = event.detail.isReached ? "" : "The server does not answer. It is asked again and again, and this page continues when it is back.";
});

document.getElementById("key").classList.toggle("set", Boolean(key()));
watch();
show();

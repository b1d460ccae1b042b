// Find out why: a request is typed, and here are its answer, and the curl and the Python that make it.

import { ROOT, call, key, recent, send, words } from "../api.js";
import { beginning } from "../beginning.js";
import { curlOf, pythonOf } from "../code.js";
import { decoded } from "../decoded.js";
import { button, choice, duration, element, field, fill } from "../dom.js";

const JSON_TYPE = "application/json";
const FIRST = ["generate", "predict", "showModel"];
const MAX_SHOWN = 100_000;

export function showWhy(main, wanted) {
  return beginning(main, "Find out why", async (signal) => {
    const document = await call("GET", "openapi.json", undefined, { isQuiet: true });
    if (!signal.aborted) build(main, operationsOf(document), wanted);
  });
}

/** What the page can send: operations that read JSON, or nothing. */
function operationsOf(document) {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => !("101" in operation.responses) && (!operation.requestBody || operation.requestBody.content[JSON_TYPE]))
      .map(([method, operation]) => ({
        id: operation.operationId, method: method.toUpperCase(), path, summary: operation.summary, group: operation.tags[0],
        parameters: operation.parameters ?? [], takesBody: Boolean(operation.requestBody),
        bodies: operation.requestBody?.content[JSON_TYPE].examples ?? {},
      })));
}

function examplesOf(operation) {
  const named = operation.parameters.filter((each) => each.in === "path").map((each) => each.examples ?? {});
  return Object.keys(Object.keys(operation.bodies).length ? operation.bodies : named[0] ?? {});
}

function build(main, operations, wanted) {
  const method = choice(["GET", "POST", "PUT", "DELETE"].map((each) => [each, each]), "GET", () => code());
  const path = element("input", { type: "text", spellcheck: "false", autocomplete: "off", oninput: () => code(), class: "mono" });
  const body = element("textarea", { rows: 8, spellcheck: "false", oninput: () => code() });
  const bodyField = field("Body (JSON)", body);
  const told = element("p", { "aria-live": "polite", class: "faint" }, "Press Send, or Ctrl and Enter.");
  const shown = element("pre", { tabindex: "0", role: "region", "aria-label": "The answer" });
  const curl = element("pre", { tabindex: "0", role: "region", "aria-label": "curl" });
  const python = element("pre", { tabindex: "0", role: "region", "aria-label": "Python" });
  const past = element("ul", { class: "recent" });

  const groups = Map.groupBy ? Map.groupBy(operations, ({ group }) => group) : new Map([["Routes", operations]]);
  const operation = element("select", { onchange: () => choose() }, [...groups].map(([group, members]) =>
    element("optgroup", { label: group }, members.map((each) => element("option", { value: each.id }, `${each.summary} (${each.method} ${each.path})`)))));
  const example = element("select", { onchange: () => take() });
  const exampleField = field("Example for", example);
  const chosen = () => operations.find(({ id }) => id === operation.value);

  function choose(model = example.value) {
    const names = examplesOf(chosen());
    fill(example, names.map((name) => element("option", { value: name }, name)));
    if (names.includes(model)) example.value = model;
    exampleField.hidden = !names.length;
    take();
  }

  function take() {
    const { bodies, parameters, path: pattern, method: verb, takesBody } = chosen();
    const first = (examples) => examples?.[example.value]?.value ?? Object.values(examples ?? {})[0]?.value ?? "";
    method.value = verb;
    path.value = pattern.replace(/\{(.*?)\}/g, (_, name) =>
      encodeURIComponent(first(parameters.find((each) => each.name === name && each.in === "path")?.examples)));
    body.value = takesBody ? laidOut(first(bodies) || {}) : "";
    code();
  }

  const asked = () => {
    const hasBody = method.value !== "GET" && body.value.trim() !== "";
    const relative = path.value.replace(/^\//, "");
    return { method: method.value, path: relative, url: new URL(relative, ROOT).href, root: ROOT.href, body: hasBody ? body.value : "", hasKey: Boolean(key()) };
  };

  function code() {
    bodyField.hidden = method.value === "GET";
    curl.textContent = curlOf(asked());
    python.textContent = pythonOf(asked());
  }

  async function post() {
    const request = asked();
    told.className = "faint";
    told.textContent = "…";
    try {
      if (new URL(request.url).origin !== ROOT.origin) throw new Error("The console asks this server alone.");
      const { status, headers, answer, seconds } = await send(request.method, request.path, request.body || undefined);
      const type = headers.get("content-type") ?? "";
      const text = /json|text/.test(type) ? await answer.text() : `${(await answer.arrayBuffer()).byteLength} bytes`;
      told.className = "";
      fill(told, element("span", { class: `pill ${status < 400 ? "good" : "bad"}` }, status), ` ${type} · ${duration(seconds)}`,
        headers.get("x-request-id") ? [" · request ", element("code", {}, headers.get("x-request-id"))] : null);
      const whole = type.includes("json") && !type.includes("event-stream") ? pretty(text) : text;
      shown.textContent = whole.length > MAX_SHOWN ? `${whole.slice(0, MAX_SHOWN)}\n… and ${whole.length - MAX_SHOWN} characters more` : whole;
    } catch (error) {
      told.className = "told bad";
      told.textContent = words(error);
    }
    showRecent();
  }

  function showRecent() {
    fill(past, recent.length ? recent.map((each) => element("li", {}, button(
      `${each.status} ${each.method} ${decoded(each.path)} · ${duration(each.seconds)}`,
      () => {
        [method.value, path.value, body.value] = [each.method, `/${each.path.replace(/^\//, "")}`, each.body ? laidOut(each.body) : ""];
        code();
        path.focus();
      }))) : element("li", { class: "faint" }, "Nothing yet. What you do in the other views is listed here."));
  }

  const form = element("form", {
    class: "panel",
    onsubmit: (event) => { event.preventDefault(); post(); },
    onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); post(); } },
  },
  element("div", { class: "fields" }, field("What to ask", operation, { class: "wide" }), exampleField),
  element("div", { class: "fields request" }, field("Method", method), field("Path", path, { class: "wide" })),
  bodyField,
  element("p", { class: "actions" }, element("button", { type: "submit", class: "first" }, "Send")));

  fill(main,
    element("div", { class: "head" }, element("h1", {}, "Find out why"),
      element("p", { class: "faint" }, "Type a request; see the answer, and the code that makes it. ", element("a", { href: new URL("docs", ROOT).href }, "All routes"))),
    element("div", { class: "side" },
      form,
      element("section", { class: "panel" }, element("h2", {}, "The answer"), told, shown),
      element("section", { class: "panel codes" }, coded("curl", curl), coded("Python", python)),
      element("section", { class: "panel" }, element("h2", {}, "What this page asked"), past)));

  const begin = FIRST.find((id) => operations.some((each) => each.id.startsWith(id) && (!wanted || examplesOf(each).includes(wanted))));
  const first = operations.find((each) => begin && each.id.startsWith(begin) && (!wanted || examplesOf(each).includes(wanted))) ?? operations[0];
  operation.value = first.id;
  choose(wanted);
  showRecent();
}

function coded(title, place) {
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(place.textContent);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  }, { "aria-label": `Copy the ${title}` });
  return element("div", {}, element("h3", {}, title, copy), place);
}

/** JSON with a member a line, and lists on one. */
function laidOut(value) {
  if (typeof value === "string") {
    if (/\d{16,}/.test(value)) return value; // whole numbers stay as they were
    try {
      value = JSON.parse(value);
    } catch {
      return value;
    }
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) return JSON.stringify(value);
  const members = Object.entries(value).map(([name, each]) => `  ${JSON.stringify(name)}: ${JSON.stringify(each)}`);
  return members.length ? `{\n${members.join(",\n")}\n}` : "{}";
}

function pretty(text) {
  return laidOut(text);
}

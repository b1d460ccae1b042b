// Sessions: the list, and one of them from near: what it is, its state over time, and what can be done with it.

import { Refusal, asksForKey, call, model, named, passes, refusal, send, signals, words } from "../api.js";
import { claim, exchangesOf, forget, forgetAll, keepExchange, keepState, statesOf } from "../album.js";
import { ask, button, download, element, field, fill, short, size } from "../dom.js";
import { HeatMap } from "../heat_map.js";
import { madeUp, streams } from "../manifest.js";
import { mostTelling, readFile } from "../safetensors.js";
import { SessionTable, age, loadSessions, lookAnew } from "./session_list.js";

const PERIOD_MS = 1500;
const AGAIN_MS = 1000;
const MAX_UNITS = 64;

signals.addEventListener("key", lookAnew);
signals.addEventListener("key", ({ detail }) => detail.changed && forgetAll());

export function showSession(main, rest) {
  const [id, tenant] = rest.split("/");
  return id ? showOne(main, id, tenant) : showAll(main);
}

function showAll(main) {
  let isGone = false;
  const wanted = element("input", { type: "text", spellcheck: "false", autocomplete: "off", placeholder: "session id" });
  const list = element("div", { class: "scroll" });
  const [table, sessions] = [new SessionTable(), []];
  let cursor = "";
  const more = button("More", () => load());
  async function load() {
    try {
      const page = await loadSessions({ limit: 100, cursor });
      if (isGone) return;
      sessions.push(...page.sessions);
      table.show(sessions);
      const none = page.refused ?? (sessions.length ? "" : "There is no live session. Stream an example, and one will be here.");
      fill(list, none ? element("p", { class: "faint" }, none) : table.place);
      cursor = page.next_cursor ?? "";
      more.hidden = !cursor;
    } catch (error) {
      if (isGone) return;
      fill(list, element("p", { class: "told bad" }, words(error)));
      if (passes(error)) setTimeout(() => isGone || load(), AGAIN_MS);
    }
  }
  fill(main, element("h1", {}, "Sessions"),
    element("form", { class: "panel fields", onsubmit: (event) => { event.preventDefault(); if (wanted.value.trim()) location.hash = `#/session/${named(wanted.value.trim())}`; } },
      field("Look at a session by its id", wanted, { class: "wide" }), element("button", { type: "submit", class: "first" }, "Look")),
    element("section", { class: "panel" }, element("h2", {}, "Live sessions"), list, more));
  more.hidden = true;
  load();
  return () => { isGone = true; };
}

function showOne(main, id, tenant) {
  const query = tenant ? `?tenant=${named(tenant)}` : "";
  const path = (action = "") => `v1/sessions/${named(id)}${action && `/${action}`}${query}`;
  const told = element("p", { class: "told", "aria-live": "polite", hidden: true });
  const say = (text, mood = "") => {
    told.textContent = text;
    told.className = `told ${mood}`;
    told.hidden = !text;
  };
  const facts = element("dl", {});
  const last = element("div", {});
  const tensor = element("select", { onchange: () => drawStates() });
  const map = new HeatMap({
    label: "The state over time: a column for each look, a row for each unit", isSigned: true,
    describe: (row, column, value) => `unit ${units[row]}, after ${short(seen[column])} steps: ${short(value)}`,
  });
  const stateNote = element("p", { class: "faint" }, "");
  const inputs = element("textarea", { rows: 2, spellcheck: "false" });
  let [session, manifest, isGone, timer, units, seen] = [null, null, false, 0, [], []];

  async function look() {
    try {
      session = await call("GET", path(), undefined, { isQuiet: true });
      if (isGone) return;
      claim(id, `${tenant ?? ""} ${session.opened_at}`);
      if (!manifest) {
        ({ manifest } = await model(session.model, session.version));
        if (streams(manifest)) inputs.value = JSON.stringify(madeUp(manifest, manifest.framing ? Math.min(manifest.framing.hop, 64) : 1));
        stepForm.hidden = !streams(manifest);
      }
      showFacts();
      await lookAtState();
    } catch (error) {
      if (isGone) return;
      if (error instanceof Refusal && [404, 410].includes(error.status)) return gone(error);
      say(words(error), "bad");
    }
    return undefined;
  }

  function gone(error) {
    clearInterval(timer);
    say(words(error), "bad");
    for (const control of main.querySelectorAll("button, select, textarea")) control.disabled = true;
  }

  async function lookAtState() {
    const known = statesOf(id).at(-1);
    if (!known || known.steps !== session.steps) {
      const { answer } = await send("GET", path("state"), undefined, { isQuiet: true });
      const refused = await refusal(answer);
      if (refused) {
        stateNote.textContent = `${words(refused)} The heat map needs it.`;
        return;
      }
      const buffer = await answer.arrayBuffer();
      keepState(id, Number(readFile(buffer).metadata.steps ?? session.steps), buffer);
    }
    drawStates();
  }

  function drawStates() {
    const states = statesOf(id);
    if (isGone || !states.length) return;
    const files = states.map(({ buffer }) => readFile(buffer));
    const newest = files.at(-1);
    if (!tensor.options.length) {
      fill(tensor, newest.tensors.map(({ name, shape, dtype }) => element("option", { value: name }, `${name} [${shape.join(", ")}] ${dtype}`)));
      tensor.value = mostTelling(newest.tensors);
    }
    const columns = files.map((file) => file.tensors.find(({ name }) => name === tensor.value)?.numbers() ?? []);
    const count = columns.at(-1).length;
    const stride = Math.max(1, Math.ceil(count / MAX_UNITS));
    units = Array.from({ length: Math.ceil(count / stride) }, (_, index) => index * stride);
    seen = states.map(({ steps }) => steps);
    map.show(units.map((unit) => columns.map((column) => column[unit])));
    stateNote.textContent = `${states.length} look${states.length > 1 ? "s" : ""}, from step ${short(seen[0])} to ${short(seen.at(-1))}`
      + (stride > 1 ? `; one unit in ${stride} of ${short(count)}` : `; ${short(count)} units`)
      + ". Each look is a state that this tab has read; what happened between two is not seen.";
    showLast(newest.metadata.last_output);
  }

  function showFacts() {
    const row = (name, value) => value === undefined || value === null ? [] : [element("dt", {}, name), element("dd", {}, value)];
    fill(facts, row("Model", `${session.model}/${session.version}`), row("Steps", short(session.steps)), row("Tenant", tenant ?? "the key's own"),
      row("Age", `${age(session.opened_at)} (opened ${new Date(session.opened_at).toLocaleString()})`),
      row("Expires", session.expires_at ? `${new Date(session.expires_at).toLocaleString()}, unless it is stepped` : "never"),
      row("Last step is of", session.last_at), row("Read up to", session.source !== undefined ? `${session.offset} of ${session.source || "its source"}` : undefined));
  }

  function showLast(output) {
    const sent = exchangesOf(id);
    fill(last,
      element("p", {}, "Last output: ", output ? element("code", {}, output.length > 400 ? `${output.slice(0, 400)} …` : output) : "none yet"),
      sent.length ? element("ol", { class: "steps" }, sent.map((each) => element("li", {},
        element("b", {}, each.num > 1 ? `Steps ${short(each.first)} to ${short(each.first + each.num - 1)}` : `Step ${short(each.first)}`),
        element("code", {}, cut(each.inputs)), element("span", { "aria-label": "gave" }, "→"), element("code", {}, cut(each.outputs)))))
        : element("p", { class: "faint" }, "Inputs are not kept by the server. Those that this tab sends are listed here."));
  }

  /** Do something, and say what came of it. */
  async function attempt(doing, done) {
    try {
      const made = await doing();
      say(done(made), "");
      await look();
    } catch (error) {
      say(words(error), "bad");
    }
  }

  const upload = element("input", {
    type: "file", accept: ".safetensors", class: "unseen", tabindex: "-1", "aria-label": "A state file",
    onchange: async () => {
      const [file] = upload.files;
      upload.value = "";
      if (!file || !(await ask(`Set ${id} to ${file.name}?`, "Its state now is lost, unless you have downloaded it.", "Set it"))) return;
      await attempt(async () => {
        const { answer } = await send("PUT", path("state"), await file.arrayBuffer(), { type: "application/octet-stream" });
        const refused = await refusal(answer);
        if (refused) throw refused;
        forget(id);
        return answer.json();
      }, (made) => `It is at step ${made.steps} now.${made.bits_may_differ ? ` ${made.bits_may_differ}.` : ""}`);
    },
  });

  const stepForm = element("form", {
    class: "panel", hidden: true,
    onsubmit: (event) => {
      event.preventDefault();
      attempt(async () => {
        const rows = JSON.parse(inputs.value);
        const made = await call("POST", path("step"), { inputs: rows, seq: session.steps });
        keepExchange(id, made.seq, Array.isArray(rows) ? rows : [rows], made.outputs);
        return made;
      }, (made) => `Step ${made.steps}: ${cut(made.outputs)}`);
    },
  }, element("h2", {}, "Step it"), field("Inputs: a list of rows (JSON)", inputs), element("p", { class: "actions" }, element("button", { type: "submit" }, "Send the step")));

  fill(main,
    element("div", { class: "head" }, element("h1", {}, id), element("p", {}, element("a", { href: "#/session" }, "All sessions"))),
    told,
    element("div", { class: "actions panel" },
      button("Download its state", () => attempt(async () => {
        const { answer } = await send("GET", path("state"));
        const refused = await refusal(answer);
        if (refused) throw refused;
        const bytes = await answer.arrayBuffer();
        download(`${id}.safetensors`, bytes);
        return bytes;
      }, (bytes) => `${id}.safetensors, ${size(bytes.byteLength)}`)),
      button("Put a state …", () => upload.click()), upload,
      button("Fork", () => attempt(() => call("POST", path("fork"), {}), (made) => {
        location.hash = `#/session/${named(made.session_id)}${tenant ? `/${named(tenant)}` : ""}`;
        return `${made.session_id} is a copy of it.`;
      })),
      button("Reset …", async () => {
        if (await ask(`Reset ${id}?`, "It goes back to its initial state, with 0 steps. Its state now is lost, unless you have downloaded it.", "Reset it")) {
          await attempt(() => call("POST", path("reset"), {}), () => { forget(id); return "It is at its initial state."; });
        }
      }),
      button("Close …", async () => {
        if (await ask(`Close ${id}?`, "The session ends, and its state is lost. That cannot be undone.", "Close it")) {
          await attempt(() => call("DELETE", path()), () => "It is closed.");
        }
      }, { class: "danger" })),
    element("div", { class: "side" },
      element("section", { class: "panel" }, element("h2", {}, "What it is"), facts),
      element("section", { class: "panel" }, element("h2", {}, "Last inputs and outputs"), last),
      element("section", { class: "panel wide" }, element("h2", {}, "Its state over time"), field("Tensor", tensor), map.place, stateNote),
      stepForm));
  timer = setInterval(() => !document.hidden && !asksForKey() && look(), PERIOD_MS);
  look();
  return () => {
    isGone = true;
    clearInterval(timer);
    map.close();
  };
}

function cut(value) {
  const text = JSON.stringify(value);
  return text.length > 160 ? `${text.slice(0, 160)} …` : text;
}

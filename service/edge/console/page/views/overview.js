// Overview: what is served, whether it is well, what it does just now, and where to go from here.

import { Refusal, asksForKey, call, model, models, named, words } from "../api.js";
import { Chart } from "../chart.js";
import { duration, element, fill, short, tile } from "../dom.js";
import { TASKS, generates, proof, streams } from "../manifest.js";
import { beats, history, pulse } from "../pulse.js";
import { SessionTable, loadSessions } from "./session_list.js";

const PERIOD_MS = 3000;
const STATES = {
  ready: ["good", "Ready"], starting: ["warn", "Starting"], failed: ["bad", "Not ready"],
  store_unavailable: ["bad", "The store does not answer"], draining: ["warn", "Draining: it is about to end"],
};

export function showOverview(main) {
  const hero = element("section", { class: "hero", "aria-live": "polite" });
  const figures = {
    steps: tile("Steps a second", "rows x steps that graphs computed"),
    step: tile("A step takes", "from a request's last byte to its answer, half of them; and 99 of 100"),
    sessions: tile("Sessions", "live in the store, of all tenants"),
    batch: tile("Batch", "rows of an iteration, on average"),
    refused: tile("Refused", "requests, frames and rows a second"),
    store: tile("Store", "where the sessions are"),
  };
  const why = element("p", { class: "told", hidden: true });
  const places = Array.from({ length: 4 }, () => element("div", {}));
  const titles = ["Steps a second", "What a step takes, ms", "Where time goes, ms (99 of 100)", "Rows of an iteration"];
  const modelPanel = element("section", { class: "panel" }, element("h2", {}, "Models"), element("p", { class: "faint" }, "Loading …"));
  const list = {
    table: new SessionTable(), note: element("p", { class: "faint" }, "Loading …"),
    more: element("p", { hidden: true }, element("a", { href: "#/session" }, "All sessions")),
  };
  list.table.place.hidden = true;
  const sessionPanel = element("section", { class: "panel" }, element("h2", {}, "Live sessions"), element("div", { class: "scroll" }, list.table.place), list.note, list.more);
  fill(main, element("h1", { class: "unseen" }, "Overview"), hero,
    element("div", { class: "tiles" }, Object.values(figures)), why,
    modelPanel,
    element("div", { class: "grid charts" }, places.map((place, index) =>
      element("section", { class: "panel" }, element("h2", {}, titles[index]), place))),
    sessionPanel);

  const time = { isTime: true, fromZero: true, height: 150 };
  const charts = [
    new Chart(places[0], [{ label: "steps", colour: "accent" }, { label: "generated", colour: "other" }], time),
    new Chart(places[1], [{ label: "half", colour: "accent", spanGaps: true }, { label: "99 of 100", colour: "warn", spanGaps: true }], { ...time, unit: "ms" }),
    new Chart(places[2], [{ label: "queue", colour: "warn", spanGaps: true }, { label: "run", colour: "accent", spanGaps: true }, { label: "commit", colour: "other", spanGaps: true }], { ...time, unit: "ms" }),
    new Chart(places[3], [{ label: "rows", colour: "accent", spanGaps: true }], time),
  ];
  const drawn = [["steps", "generated"], ["stepMedian", "stepTail"], ["queueTail", "runTail", "commitTail"], ["batch"]];
  const clean = (column) => column.map((value) => (Number.isFinite(value) ? value : null));

  function beat() {
    charts.forEach((chart, index) => chart.show([[...history.at], ...drawn[index].map((name) => clean(history[name]))]));
    why.hidden = !pulse.why;
    why.textContent = pulse.why;
    const { scrape } = pulse;
    if (!scrape) return;
    const last = (name) => history[name].at(-1) ?? NaN;
    figures.steps.set(short((last("steps") || 0) + (last("generated") || 0)), "just now");
    const tail = history.stepTail.findLast(Number.isFinite);
    const half = history.stepMedian.findLast(Number.isFinite);
    figures.step.set(half === undefined ? "–" : `${short(half)} ms`, tail === undefined ? "no step yet" : `99 of 100 under ${short(tail)} ms`);
    figures.sessions.set(short(scrape.sum("ostinato_sessions_stored")), `${short(scrape.sum("ostinato_sessions_live"))} in memory`);
    figures.batch.set(short(history.batch.findLast(Number.isFinite)), `${short(scrape.sum("ostinato_queue_depth"))} rows wait`);
    figures.refused.set(`${short(last("refused"))}/s`, `${short(scrape.sum("ostinato_rejected_total"))} since the start`);
    const info = scrape.of("ostinato_build_info")[0]?.labels ?? {};
    figures.store.set(scrape.sum("ostinato_store_up") ? "answers" : "down", info.store ? `${info.store}://` : "");
    fill(facts, [
      info.release && `release ${info.release}`,
      `${short(scrape.sum("ostinato_workers") || 1)} worker${scrape.sum("ostinato_workers") > 1 ? "s" : ""}`,
      `up ${duration(Date.now() / 1000 - scrape.sum("ostinato_process_start_time_seconds"))}`,
      info.onnxruntime && `onnxruntime ${info.onnxruntime}`,
    ].filter(Boolean).join(" · "));
  }
  const facts = element("p", { class: "faint" });

  const manifests = new Map();
  let shown = "";
  async function look() {
    try {
      const [ready, listed] = await Promise.all([readiness(), models()]);
      for (const each of listed.models) {
        const version = each.versions.at(-1);
        const known = `${each.model}/${version}`;
        if (version && !manifests.has(known)) manifests.set(known, (await model(each.model)).manifest);
      }
      // What says the same stays the same element: a click or the focus on it is not lost.
      const said = JSON.stringify([ready, listed.models]);
      if (said !== shown) {
        showHero(hero, ready, listed.models, manifests, facts);
        showModels(modelPanel, listed.models, manifests, ready);
        shown = said;
      }
      showSessions(list, await loadSessions({ limit: 8 }));
    } catch (error) {
      if (!(error instanceof Refusal)) return;
      shown = "";
      fill(hero, element("p", { class: "told bad" }, words(error)));
    }
  }

  beats.addEventListener("beat", beat);
  const timer = setInterval(() => !document.hidden && !asksForKey() && look(), PERIOD_MS);
  beat();
  look();
  return () => {
    clearInterval(timer);
    beats.removeEventListener("beat", beat);
    charts.forEach((chart) => chart.close());
  };
}

/** /readyz answers 503 with a body that tells more than a refusal does. */
async function readiness() {
  try {
    return await call("GET", "readyz", undefined, { isQuiet: true });
  } catch (error) {
    if (error instanceof Refusal && error.problem.status) return error.problem;
    throw error;
  }
}

function showHero(hero, ready, listed, manifests, facts) {
  const [mood, title] = STATES[ready.status] ?? ["warn", ready.status];
  const served = listed.filter((each) => each.versions.length);
  const failed = listed.flatMap((each) => each.failed.map(({ version }) => `${each.model}/${version}`));
  const names = served.map((each) => each.model).join(", ");
  const sentence = served.length
    ? `${served.length} model${served.length > 1 ? "s are" : " is"} served: ${names}.`
    : "No model is served.";
  const wants = (test) => served.find((each) => test(manifests.get(`${each.model}/${each.versions.at(-1)}`)));
  const streamed = wants(streams);
  const written = wants(generates);
  fill(hero,
    element("p", { class: `state ${mood}` }, element("i", { class: "dot", "aria-hidden": "true" }), title),
    element("p", { class: "sentence" }, sentence, " ", ready.reason ?? ""),
    failed.length ? element("p", { class: "bad" }, `Not served: ${failed.join(", ")}. The reason is with the model below.`) : null,
    element("p", { class: "actions" },
      streamed ? element("a", { class: "first", href: `#/stream/${named(streamed.model)}` }, "Stream an example through a model") : null,
      written ? element("a", { class: streamed ? "second" : "first", href: `#/generate/${named(written.model)}` }, "Have a model write") : null,
      element("a", { class: "second", href: "#/why" }, "Send a request")),
    facts);
}

function showModels(panel, listed, manifests, ready) {
  const cards = listed.map((each) => {
    const manifest = manifests.get(`${each.model}/${each.versions.at(-1)}`);
    const missing = (ready.models ?? []).filter(({ model, status }) => model === each.model && status === "missing");
    return element("li", { class: "model" },
      element("h3", {}, each.model, " ",
        each.versions.map((version) => element("span", { class: "pill good" }, `${version} served`)), " ",
        each.failed.map(({ version }) => element("span", { class: "pill bad" }, `${version} not served`))),
      manifest?.description ? element("p", {}, manifest.description) : null,
      manifest ? element("p", { class: "faint" }, `${TASKS[manifest.task] ?? manifest.task} · ${proof(manifest)}`) : null,
      each.failed.map(({ version, reason }) => element("p", { class: "bad" }, element("b", {}, `${each.model}/${version}: `), reason)),
      missing.map(({ version, sessions }) => element("p", { class: "warn" }, `${sessions} sessions wait for version ${version}, which is not in the repository.`)),
      element("p", { class: "actions" },
        streams(manifest) ? element("a", { href: `#/stream/${named(each.model)}` }, "Stream") : null,
        generates(manifest) ? element("a", { href: `#/generate/${named(each.model)}` }, "Generate") : null,
        each.versions.length ? element("a", { href: `#/why/${named(each.model)}` }, "Try a request") : null));
  });
  fill(panel, element("h2", {}, "Models"), cards.length ? element("ul", { class: "models" }, cards) : element("p", { class: "faint" }, "There is none in the repository."));
}

function showSessions(list, page) {
  list.table.show(page.sessions);
  list.table.place.hidden = !page.sessions.length;
  list.note.textContent = page.refused ?? (page.sessions.length ? "" : "There is none. Stream an example, and one will be here.");
  list.more.hidden = !page.next_cursor;
}

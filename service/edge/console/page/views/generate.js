// Generate: something is typed or drawn, and symbols appear as they are made, with what each looked at.

import { Refusal, call, model, models, named, refusal, send, words } from "../api.js";
import { beginning } from "../beginning.js";
import { button, choice, element, field, fill, short } from "../dom.js";
import { eventsOf } from "../events.js";
import { HeatMap } from "../heat_map.js";
import { generates } from "../manifest.js";
import { Pad } from "../pad.js";

const METHODS = [["greedy", "one by one: the most likely"], ["beam", "beams: several at once, with scores"], ["sample", "drawn by chance"]];

export function showGenerate(main, wanted) {
  return beginning(main, "Generate", (signal) => begin(main, wanted, signal));
}

async function begin(main, wanted, signal) {
  const listed = (await models()).models.filter((each) => each.versions.length && ["encoder_decoder", "generator"].includes(each.task));
  if (signal.aborted) return;
  if (!listed.length) {
    fill(main, element("h1", {}, "Generate"), element("p", { class: "told" }, "No model that is served writes. ",
      element("a", { href: "#/stream" }, "Stream through one"), ", or serve an encoder-decoder or a generator."));
    return;
  }
  const name = listed.some((each) => each.model === wanted) ? wanted : listed[0].model;
  const { manifest } = await model(name);
  if (!signal.aborted && generates(manifest)) build(main, listed, name, manifest, signal);
}

function build(main, listed, name, manifest, signal) {
  const source = sourceOf(manifest);
  const method = choice(METHODS, "greedy", () => options());
  const numBeams = element("input", { type: "number", min: 1, max: 20, value: 4 });
  const temperature = element("input", { type: "number", min: 0.1, max: 5, step: 0.1, value: 1 });
  const limit = manifest.limits?.max_output_steps || Infinity;
  const mostSteps = element("input", { type: "number", min: 1, max: Number.isFinite(limit) ? limit : null, value: Math.min(100, limit) });
  const seed = element("input", { type: "number", min: 0, placeholder: "by chance" });
  const [beamField, warmField, seedField] = [field("Beams", numBeams), field("Temperature", temperature), field("Seed", seed)];
  const made = element("div", { class: "made", "aria-live": "polite", role: "log", "aria-label": "What is written" });
  const told = element("p", { class: "faint" }, "");
  const beams = element("div", { class: "scroll" });
  const attention = element("section", { class: "panel", hidden: true });
  const write = element("button", { type: "submit", class: "first" }, "Write");
  let map = null;
  let running = null;

  function options() {
    beamField.hidden = method.value !== "beam";
    warmField.hidden = seedField.hidden = method.value !== "sample";
  }

  function body() {
    const asked = { method: method.value, return_attention: Boolean(manifest.decoder?.attention) };
    const input = source.read();
    if (input !== null) asked.inputs = [input];
    if (method.value === "beam") Object.assign(asked, { num_beams: Number(numBeams.value), num_return: Number(numBeams.value) });
    if (method.value === "sample") {
      asked.temperature = Number(temperature.value);
      if (seed.value !== "") asked.seed = Number(seed.value);
    }
    if (mostSteps.value !== "") asked.max_steps = Number(mostSteps.value);
    return asked;
  }

  async function run() {
    running?.abort();
    const own = running = new AbortController();
    signal.addEventListener("abort", () => own.abort());
    fill(made);
    fill(beams);
    attention.hidden = true;
    told.className = "faint";
    told.textContent = "…";
    try {
      const asked = body();
      if (asked.method === "beam") show(await call("POST", `v1/models/${named(name)}/generate`, asked, { signal: own.signal }), asked);
      else await follow(asked, own.signal);
    } catch (error) {
      if (own.signal.aborted) return;
      told.className = "told bad";
      told.textContent = words(error);
    }
  }

  async function follow(asked, aborted) {
    const { answer } = await send("POST", `v1/models/${named(name)}/generate`, JSON.stringify({ ...asked, stream: true }), { signal: aborted });
    const refused = await refusal(answer);
    if (refused) throw refused;
    for await (const { event, data } of eventsOf(answer.body)) {
      if (event === "error") throw new Refusal(data.status, data);
      if (event === "done") show(data, asked);
      else if (data.output !== "") {
        made.lastChild?.classList.remove("new");
        made.append(element("span", { class: "new", title: data.log_prob === undefined ? null : `probability ${short(Math.exp(data.log_prob))}` }, String(data.output)));
      }
    }
  }

  function show(answer, asked) {
    const all = asked.num_return > 1;
    const first = (value) => (all ? value?.[0]?.[0] : value?.[0]);
    const [output, score, reason] = [first(answer.outputs), first(answer.scores), first(answer.finish_reasons)];
    const symbols = symbolsOf(output, manifest);
    fill(made, symbols.map((symbol) => element("span", {}, String(symbol))));
    told.className = "faint";
    told.textContent = [
      score === null || score === undefined ? "" : `log-probability ${short(score)} (probability ${short(Math.exp(score))})`,
      reason === "length" ? "cut at the limit of steps" : "",
      answer.seed === undefined ? "" : `seed ${answer.seed}`,
      symbols.length ? "" : "nothing: the stop was the first symbol",
    ].filter(Boolean).join(" · ");
    if (all) {
      fill(beams, element("table", {},
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Beam"), element("th", { scope: "col" }, "Output"), element("th", { scope: "col", class: "number" }, "Score"))),
        element("tbody", {}, answer.outputs[0].map((each, place) => element("tr", {}, element("td", {}, place + 1),
          element("td", { class: "mono" }, symbolsOf(each, manifest).join(" ")), element("td", { class: "number" }, short(answer.scores[0][place])))))));
    }
    const weights = first(answer.attention);
    if (weights?.length && weights[0].length) drawAttention(weights, symbols, asked.inputs?.[0]);
  }

  function drawAttention(weights, symbols, input) {
    const read = sourceSymbols(input, manifest, weights[0].length);
    map?.close();
    map = new HeatMap({
      label: `Attention: a row for each of ${weights.length} symbols, a column for each of ${read.length} places of the source`, height: 420,
      describe: (row, column, value) => `${symbols[row] ?? "stop"} looks at ${read[column]} by ${(100 * value).toFixed(1)} %`,
    });
    fill(attention, element("h2", {}, "What each symbol looked at"), axes(read, "column"),
      element("div", { class: "matrix" }, axes(weights.map((_, row) => symbols[row] ?? "⏹"), "rows"), map.frame), map.told);
    attention.hidden = false;
    map.show(weights);
  }

  const form = element("form", { class: "panel", onsubmit: (event) => { event.preventDefault(); run(); } },
    element("div", { class: "fields" },
      field("Model", choice(listed.map((each) => [each.model, each.model]), name, (value) => { location.hash = `#/generate/${named(value)}`; })),
      field("How", method), field("Symbols at most", mostSteps), beamField, warmField, seedField),
    source.place,
    element("p", { class: "actions" }, write, button("Stop", () => { running?.abort(); told.textContent = "Stopped; the server's lanes are free again."; })));
  fill(main,
    element("div", { class: "head" }, element("h1", {}, "Generate"), element("p", { class: "faint" }, manifest.description || "")),
    element("div", { class: "side" }, form,
      element("section", { class: "panel" }, element("h2", {}, "What it writes"), made, told, beams)),
    attention);
  options();
  signal.addEventListener("abort", () => {
    map?.close();
    source.close?.();
  });
}

function axes(names, kind) {
  return element("div", { class: `axis ${kind}`, "aria-hidden": "true" }, names.length > 40 ? [] : names.map((each) => element("span", {}, String(each))));
}

/** The control for what a model reads: text, a picture, codes, numbers, or nothing. */
function sourceOf(manifest) {
  const [input] = manifest.inputs;
  const readsText = manifest.vocabularies?.source || (manifest.task === "generator" && manifest.vocabularies?.target);
  if (readsText) {
    const text = element("input", { type: "text", spellcheck: "false", autocomplete: "off", value: manifest.task === "generator" ? "" : "knighted", maxlength: 1000 });
    return { place: field(manifest.task === "generator" ? "Begin with (or nothing)" : "A word or text", text, { class: "wide" }), read: () => text.value };
  }
  if (!input) return { place: element("p", { class: "faint" }, "It writes from nothing."), read: () => null };
  const sizes = input.shape.filter((axis) => typeof axis === "number");
  if (!input.shape.includes("S") && sizes.length >= 2) {
    const pad = new Pad(input);
    return { place: pad.place, read: () => pad.numbers(), close: () => pad.close() };
  }
  const numbers = element("textarea", { rows: 3, spellcheck: "false" });
  numbers.value = input.dtype.includes("int") ? "[0, 1, 2]" : JSON.stringify([input.features.map(() => 0.5), input.features.map(() => 0.25)]);
  return { place: field(input.dtype.includes("int") ? "Codes (JSON)" : `Rows of ${input.features.join(", ")} (JSON)`, numbers), read: () => JSON.parse(numbers.value) };
}

function symbolsOf(output, manifest) {
  if (Array.isArray(output)) return output;
  const separator = manifest.vocabularies?.target?.separator ?? "";
  return output === "" || output === undefined ? [] : separator ? output.split(separator) : [...output];
}

function sourceSymbols(input, manifest, count) {
  const separator = manifest.vocabularies?.source?.separator ?? "";
  const parts = typeof input === "string" ? (separator ? input.split(separator) : [...input]) : [];
  return Array.from({ length: count }, (_, place) => parts[place] ?? `place ${place + 1}`);
}

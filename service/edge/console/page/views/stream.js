// Stream: rows or sound through a session of a model, step by step, with what it foretells beside what came.

import { model, models, named, signals, words } from "../api.js";
import { beginning } from "../beginning.js";
import { button, choice, element, field, fill, short, tile } from "../dom.js";
import { Lane } from "../lane.js";
import { hears, soundRate, streams } from "../manifest.js";
import { Run } from "../run.js";
import { exampleSound, microphone, soundOf } from "../sound.js";
import { exampleFor, exampleSource, madeUpSource, tableSource } from "../sources.js";
import { SoundChart } from "./sound_chart.js";
import { StreamChart } from "./stream_chart.js";

const SPEEDS = [["1", "1 step a second"], ["5", "5 steps a second"], ["20", "20 steps a second"], ["200", "200 steps a second"], ["Infinity", "as fast as it goes"]];
const WINDOWS = [["200", "the last 200 steps"], ["2000", "the last 2,000 steps"], ["Infinity", "all steps"]];
const SOUND_WINDOWS = [["10", "the last 10 seconds"], ["60", "the last minute"], ["Infinity", "all of it"]];

/** The run of this tab: it goes on while other views are looked at. */
let current = null;
/** The file that was taken last, and the model that it was read for: `{model, source}`. */
let taken = null;

signals.addEventListener("key", ({ detail }) => {
  if (!detail.changed) return;
  current?.run.close(); // it began with the key before
  [current, taken] = [null, null];
});

export function showStream(main, wanted) {
  return beginning(main, "Stream", (signal) => begin(main, wanted, signal));
}

async function begin(main, wanted, signal) {
  const listed = (await models()).models.filter((each) => each.task === "recurrent" && each.versions.length);
  const name = listed.find((each) => each.model === wanted)?.model ?? current?.run.main.model ?? listed[0]?.model;
  if (signal.aborted) return;
  if (!name) {
    fill(main, element("h1", {}, "Stream"), element("p", { class: "told" }, "No model with sessions is served. ", element("a", { href: "#/generate" }, "Have one write"), ", or serve a recurrent model."));
    return;
  }
  const { manifest, version } = await model(name);
  if (signal.aborted) return;
  if (current && current.run.main.model !== name) {
    current.run.close();
    current = null;
  }
  new StreamView(main, listed, manifest, version, signal);
}

class StreamView {
  constructor(main, listed, manifest, version, signal) {
    Object.assign(this, { main, listed, manifest, version, signal, chart: null, isBack: false });
    const name = manifest.name;
    this.isSound = hears(manifest);
    this.rate = soundRate(manifest);
    const versions = listed.find((each) => each.model === name).versions;
    this.versionChoice = choice(versions.map((each) => [each, each]), current?.run.main.version ?? version, () => this.restart());
    const others = listed.flatMap((each) => each.versions.map((its) => `${each.model}/${its}`)).filter((each) => each !== `${name}/${version}`);
    this.otherChoice = choice([["", "nothing"], ...others.map((each) => [each, each])], current?.other ?? "", () => this.restart());
    this.sourceChoice = choice(this.sourcesOf(), current?.sourceKind, () => this.restart());
    this.speed = choice(this.isSound ? [[String(this.rate), "as it sounds"], [String(4 * this.rate), "four times as fast"], ["Infinity", "as fast as it goes"]] : SPEEDS,
      current ? String(current.run.speed) : this.isSound ? String(this.rate) : "20", (value) => { if (current) current.run.speed = Number(value); });
    this.seen = choice(this.isSound ? SOUND_WINDOWS : WINDOWS, this.isSound ? "10" : "200", (value) => { this.chart.window = Number(value); this.chart.draw(); });
    this.playButton = button("Play", () => this.toggle(), { class: "first" });
    this.stepButton = button("Step", () => current?.run.stepOnce());
    this.resetButton = button("Reset", () => current?.run.reset());
    this.file = element("input", { type: "file", accept: this.isSound ? "audio/*,.wav" : ".csv,.tsv,.txt,text/csv", "aria-label": this.isSound ? "A sound from a file" : "A CSV from a file", onchange: () => this.take(this.file.files[0]) });
    this.told = element("p", { class: "told", role: "status", hidden: true });
    this.about = element("p", { class: "faint" }, "");
    this.place = element("div", { class: "chart" });
    this.scrub = element("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Look back to a step", oninput: () => this.lookBack() });
    this.scrubTold = element("p", { class: "faint", "aria-live": "polite" }, "");
    this.forkButton = button("Fork from here", () => this.fork(), { disabled: true });
    this.whatIf = choice([["", "nothing"], ...manifest.inputs[0].features.map((feature, place) => [String(place), feature])], "");
    this.whatValue = element("input", { type: "number", step: "any", value: 0 });
    const hasTruth = Boolean((manifest.feedback && Object.keys(manifest.feedback).length));
    this.tiles = {
      steps: tile(this.isSound ? "Heard" : "Steps"), session: tile("Session"),
      ...(hasTruth && { error: tile("Off by, so far", "mean absolute error of the forecast of the step before"), naive: tile("The last value is off by", "persistence: the forecast of who knows nothing"), gain: tile("Compared with it") }),
      ...(this.isSound && { spans: tile(`Spans of “${manifest.outputs[0].features[0]}”`) }),
    };
    this.linked = element("a", { href: "#/session", title: "Look at the session" });
    this.build();
    if (!streams(manifest)) {
      this.say("This model takes several inputs, nested ones, or a context, which this view does not feed. Use Find out why.", "warn");
      return;
    }
    signal.addEventListener("abort", () => this.leave());
    if (current) this.attach();
    else this.restart();
  }

  sourcesOf() {
    if (this.isSound) return [["example", "an example: “go forward ten meters”"], ["file", "a file of yours"], ["microphone", "the microphone"]];
    const example = exampleFor(this.manifest);
    return [...(example ? [["example", `an example: ${example.name}`]] : []), ["made-up", "made-up rows"], ["file", "a CSV of yours"]];
  }

  build() {
    const name = this.manifest.name;
    const drop = element("div", {
      class: "drop",
      ondragover: (event) => { event.preventDefault(); drop.classList.add("over"); },
      ondragleave: () => drop.classList.remove("over"),
      ondrop: (event) => { event.preventDefault(); drop.classList.remove("over"); this.take(event.dataTransfer.files[0]); },
    }, this.isSound ? "Drop a WAV here, or choose one: " : "Drop a CSV here, or choose one: ", this.file);
    fill(this.main,
      element("div", { class: "head" }, element("h1", {}, "Stream"), element("p", { class: "faint" }, this.manifest.description || "")),
      element("section", { class: "panel", "aria-label": "What is streamed" },
        element("div", { class: "fields" },
          field("Model", choice(this.listed.map((each) => [each.model, each.model]), name, (value) => { location.hash = `#/stream/${named(value)}`; })),
          field("Version", this.versionChoice), field("Source", this.sourceChoice), this.isSound ? null : field("Compare with", this.otherChoice), drop)),
      this.told,
      element("section", { class: "panel", "aria-label": "The run" },
        element("div", { class: "transport" }, this.playButton, this.stepButton, this.resetButton, field("Speed", this.speed), field("Show", this.seen)),
        this.about, this.place,
        element("div", { class: "scrub" }, this.scrub, this.forkButton, this.scrubTold,
          this.isSound ? null : element("details", {}, element("summary", {}, "What if …"),
            element("div", { class: "fields" }, field("from there on, this column", this.whatIf), field("were", this.whatValue))))),
      element("div", { class: "tiles" }, Object.values(this.tiles)));
  }

  say(text, mood = "") {
    this.told.textContent = text;
    this.told.className = `told ${mood}`;
    this.told.hidden = !text;
  }

  /** A run anew, by what is chosen now. */
  async restart(source = null) {
    if (!source && this.sourceChoice.value === "file" && taken?.model !== this.manifest.name) {
      this.sourceChoice.value = current?.sourceKind ?? this.sourcesOf()[0][0];
      this.say("Choose a file, or drop one here.");
      this.file.click();
      return;
    }
    const turn = this.turn = {};
    const isOver = () => this.signal.aborted || this.turn !== turn;
    this.detach();
    current?.run.close();
    current = null;
    for (const control of [this.playButton, this.stepButton, this.resetButton, this.forkButton]) control.disabled = true;
    try {
      const kind = this.sourceChoice.value;
      const chosen = await model(this.manifest.name, this.versionChoice.value);
      const fed = source ?? await this.source(kind);
      if (isOver()) {
        fed.close?.();
        return;
      }
      const told = (mood) => this.tellMood(mood);
      const lanes = [new Lane(chosen.model, chosen.version, chosen.manifest, told)];
      if (this.otherChoice.value) lanes.push(await this.otherLane(told));
      if (isOver()) {
        fed.close?.();
        return;
      }
      const run = new Run(lanes, fed, Number(this.speed.value));
      current = { run, sourceKind: kind, other: this.otherChoice.value };
      this.say("");
      await run.open();
      if (!isOver()) this.attach();
      if (fed.isLive && current?.run === run) run.play();
    } catch (error) {
      if (!isOver()) this.say(words(error), "bad");
    }
  }

  async otherLane(told) {
    const [name, version] = this.otherChoice.value.split("/");
    const { manifest, version: its } = await model(name, version);
    const features = (each) => each.inputs[0].features.join();
    if (!streams(manifest) || features(manifest) !== features(this.manifest)) {
      this.otherChoice.value = "";
      throw new Error(`${name}/${version} takes other columns than ${this.manifest.name}, so the two cannot be compared.`);
    }
    return new Lane(name, its, manifest, told);
  }

  source(kind) {
    if (kind === "file") {
      if (taken.source.changes) taken.source.changes = [];
      return taken.source;
    }
    if (this.isSound && kind === "microphone") return microphone(this.rate);
    if (this.isSound) return exampleSound(this.rate);
    if (kind === "example") return exampleSource(this.manifest, exampleFor(this.manifest));
    return madeUpSource(this.manifest);
  }

  /** A file that was dropped or chosen. */
  async take(file) {
    if (!file) return;
    try {
      const source = this.isSound ? await soundOf(await file.arrayBuffer(), file.name, this.rate) : tableSource(await file.text(), this.manifest, file.name);
      this.sourceChoice.value = "file";
      taken = { model: this.manifest.name, source };
      await this.restart(source);
    } catch (error) {
      this.say(words(error), "bad");
    }
  }

  attach() {
    const { run } = current;
    this.resetButton.disabled = false;
    this.chart = this.isSound ? new SoundChart(run, this.place) : new StreamChart(run, this.place);
    this.chart.window = Number(this.seen.value);
    this.changed = () => this.show();
    run.addEventListener("change", this.changed);
    this.show();
  }

  detach() {
    this.chart?.close();
    this.chart = null;
    if (this.changed) current?.run.removeEventListener("change", this.changed);
  }

  leave() {
    this.detach();
    if (current?.run.source.isLive) current.run.source.close();
  }

  tellMood(mood) {
    if (mood === "waiting") this.say("The connection is lost, or the server is busy. It continues by itself where it was.", "warn");
    else if (this.told.className === "told warn") this.say("");
  }

  toggle() {
    const { run } = current;
    if (run.isPlaying) run.pause();
    else {
      if (this.isBack) this.present();
      run.play();
    }
  }

  show() {
    const { run } = current;
    const { main } = run;
    this.playButton.textContent = run.isPlaying ? "Pause" : "Play";
    this.playButton.disabled = run.isAtEnd && !run.isPlaying;
    this.stepButton.disabled = run.isPlaying || run.isAtEnd;
    if (run.error) this.say(words(run.error), "bad");
    this.about.textContent = [run.source.told, run.note, run.fanNote && `No look ahead: ${run.fanNote}.`].filter(Boolean).join(" · ");
    this.scrub.max = run.position;
    if (!this.isBack) this.scrub.value = run.position;
    this.scrub.disabled = !run.position;
    this.forkButton.disabled = !run.position;
    this.scrubTold.textContent = this.isBack ? this.scrubTold.textContent : run.position ? "Move this back to look at a step that lies behind." : "Press Play, or Step.";
    const of = run.source.isLive ? "" : `of ${short(run.source.count)}`;
    if (this.isSound) this.tiles.steps.set(`${(run.position / this.rate).toFixed(1)} s`, of && `of ${(run.source.count / this.rate).toFixed(1)} s`);
    else this.tiles.steps.set(short(run.position), `${of}${run.isAtEnd ? ", the end" : ""}`);
    this.tiles.session.set(main.id ? "" : "–", main.name);
    if (main.id && this.linked.textContent !== main.id) {
      this.linked.textContent = main.id;
      this.linked.setAttribute("href", `#/session/${named(main.id)}`);
      this.tiles.session.querySelector("b").after(this.linked);
    }
    if (this.tiles.error) this.showErrors(run);
    if (this.tiles.spans) {
      const spans = this.chart?.spans() ?? [];
      const last = spans.at(-1);
      this.tiles.spans.set(String(spans.length), last ? `the last from ${last.from.toFixed(1)} to ${last.to.toFixed(1)} s` : "none so far");
    }
  }

  showErrors(run) {
    const [main, other] = run.lanes;
    const off = (lane) => (lane.scored ? lane.error / lane.scored : NaN);
    const naive = main.scored ? main.naive / main.scored : NaN;
    this.tiles.error.set(short(off(main)), other ? `${other.name}: ${short(off(other))}` : main.scored ? `over ${short(main.scored)} steps` : "no step with truth yet");
    this.tiles.naive.set(short(naive), "persistence");
    const gain = naive ? 100 * (off(main) / naive - 1) : NaN;
    this.tiles.gain.set(Number.isNaN(gain) ? "–" : `${gain > 0 ? "+" : ""}${gain.toFixed(1)} %`, Number.isNaN(gain) ? "" : gain < 0 ? "better than persistence" : "worse than persistence");
    this.tiles.gain.querySelector("b").className = gain < 0 ? "better" : gain > 0 ? "worse" : "";
  }

  lookBack() {
    const { run } = current;
    if (run.isPlaying) run.pause();
    const step = Number(this.scrub.value);
    this.isBack = step < run.position;
    if (!this.isBack) return this.present();
    this.chart.mark(step);
    this.scrubTold.textContent = `Step ${step.toLocaleString("en")}: ${this.chart.describe(step)}. Fork to continue from here in a session of its own.`;
    return undefined;
  }

  present() {
    this.isBack = false;
    this.chart.mark(null);
    this.show();
  }

  async fork() {
    const { run } = current;
    const step = Number(this.scrub.value);
    const change = this.whatIf.value === "" ? null : { place: Number(this.whatIf.value), value: Number(this.whatValue.value) };
    this.present();
    await run.goBack(step, change);
  }
}

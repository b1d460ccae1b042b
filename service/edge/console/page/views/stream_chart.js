// The chart of a run: truth and forecasts as they come, the fan ahead, and a mark where one looks back.

import { Chart } from "../chart.js";
import { thin } from "../columns.js";
import { element, fill, short } from "../dom.js";

const COLOURS = ["accent", "other", "hot", "cold"];
const AHEAD = 26;

/** Draws a run into `place`; `window` is how many steps are seen, Infinity = all. */
export class StreamChart {
  constructor(run, place) {
    Object.assign(this, { run, place, window: 200, range: [0, 1] });
    const { main, lanes } = run;
    this.isForecast = Boolean(main.foretold);
    const lines = this.isForecast
      ? [
        { label: "lower", band: "accent" }, { label: main.foretold.told ? `between ${main.foretold.told}` : "upper" },
        { label: "truth", colour: "truth", spanGaps: false }, { label: `forecast`, colour: "accent" },
        { label: "ahead", colour: "accent", dash: [6, 4] },
        { label: "before going back", colour: "faint", dash: [2, 4] },
        ...lanes.slice(1).map((lane) => ({ label: lane.name, colour: "other" })),
      ]
      : lanes.flatMap((lane, index) => lane.labels.map((label, place) => ({
        label: lanes.length > 1 ? `${lane.name} ${label}` : label, colour: COLOURS[(place + 2 * index) % COLOURS.length], dash: index ? [6, 4] : undefined, spanGaps: true,
      })));
    this.chart = new Chart(place, lines, { height: place.clientWidth < 500 ? 230 : 300, range: () => this.range, legend: false });
    this.key = element("ul", { class: "legend" }, legend(run).map(([kind, text]) => element("li", {}, element("i", { class: kind, "aria-hidden": "true" }), text)),
      this.past = element("li", { hidden: true }, element("i", { class: "line dotted", "aria-hidden": "true" }), "the forecast before going back"));
    place.after(this.key);
    this.changed = () => this.draw();
    run.addEventListener("change", this.changed);
    this.draw();
  }

  draw() {
    const { run } = this;
    const end = run.position + (this.isForecast ? 1 : 0);
    const from = Math.max(0, run.position - this.window);
    const fan = run.fan?.at === run.position || (run.isPlaying && run.fan) ? run.fan : null;
    const width = 2 * Math.max(200, this.place.clientWidth);
    const seen = Number.isFinite(this.window) ? this.window : Math.max(200, run.position);
    this.range = [from, Math.max(from + seen, run.position) + (this.isForecast ? AHEAD : 0)];
    if (!this.isForecast) {
      const columns = run.lanes.flatMap((lane) => lane.lines);
      const { x, series } = thin(columns, columns.map(() => "line"), from, end, width);
      this.chart.show([x, ...series]);
      return;
    }
    const [main, ...others] = run.lanes;
    this.past.hidden = !run.ghost;
    const ghost = run.ghost?.column ?? run.truth;
    const columns = [main.lower, main.upper, run.truth, main.lines[0], ghost, ...others.map((lane) => lane.lines[0])];
    const kinds = ["lower", "upper", ...columns.slice(2).map(() => "line")];
    const { x, series } = thin(columns, kinds, from, end, width);
    const [lower, upper, truth, middle, before, ...theirs] = series;
    const ahead = x.map(() => null);
    // What was foretold before going back is seen from there on, as far as it went.
    const shownBefore = run.ghost ? x.map((at, index) => (at >= run.ghost.from ? before[index] : null)) : x.map(() => null);
    if (fan) {
      const last = fan.at - 1;
      fan.middle.forEach((value, index) => {
        const at = fan.at + index;
        const known = x.lastIndexOf(at);
        if (known >= 0) {
          ahead[known] = value;
          return;
        }
        if (at <= last) return;
        x.push(at);
        lower.push(fan.lower[index] ?? null);
        upper.push(fan.upper[index] ?? null);
        truth.push(null);
        middle.push(null);
        ahead.push(value);
        shownBefore.push(run.ghost && at >= run.ghost.from && at < run.ghost.column.length ? finite(run.ghost.column.get(at)) : null);
        for (const each of theirs) each.push(null);
      });
    }
    this.chart.show([x, lower, upper, truth, middle, ahead, shownBefore, ...theirs]);
  }

  /** What stands at a step, in words. */
  describe(step) {
    const { run } = this;
    const values = this.isForecast
      ? [["truth", run.truth.get(step)], ["forecast", run.main.lines[0].get(step)]]
      : run.main.labels.map((label, place) => [label, run.main.lines[place].get(step)]);
    return values.map(([name, value]) => `${name} ${short(value)}`).join(", ");
  }

  mark(step) {
    this.chart.markAt(step);
  }

  close() {
    this.run.removeEventListener("change", this.changed);
    this.chart.close();
    this.key.remove();
    fill(this.place);
  }
}

const finite = (value) => (Number.isNaN(value) ? null : value);

function legend(run) {
  const { main, lanes } = run;
  if (!main.foretold) {
    return lanes.flatMap((lane, index) => lane.labels.map((label, place) =>
      [`line ${COLOURS[(place + 2 * index) % COLOURS.length]}`, lanes.length > 1 ? `${label} of ${lane.name}` : label]));
  }
  return [
    ["line truth", `what came (${main.foretold.target})`], ["line accent", "the forecast of the step before"], ["line dashed", "the steps ahead"],
    main.foretold.told || main.manifest.calibration ? ["band", main.foretold.told ? `${main.foretold.told} of what may come` : "80 % of what may come"] : null,
    ...lanes.slice(1).map((lane) => ["line other", lane.name]),
  ].filter(Boolean);
}

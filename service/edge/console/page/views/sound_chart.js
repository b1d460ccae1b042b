// The timeline of a sound: its wave as it is heard, and what the model says of it, on one axis of time.

import { element } from "../dom.js";
import { changes, colour, veil } from "../theme.js";

const HEIGHT = 220;
const STRETCH_SECONDS = 0.01;
const SHOWN_SECONDS = 10;
const LIKELY = 0.5;

export class SoundChart {
  constructor(run, place) {
    Object.assign(this, { run, place, window: SHOWN_SECONDS, marked: null, isAsked: false });
    this.stretch = Math.round(run.source.rate * STRETCH_SECONDS);
    this.canvas = element("canvas", { role: "img", "aria-label": "The sound that was heard, and how likely the model's first output is over time" });
    place.append(this.canvas);
    this.legend = element("ul", { class: "legend" },
      element("li", {}, element("i", { class: "line faint", "aria-hidden": "true" }), "the sound"),
      element("li", {}, element("i", { class: "line accent", "aria-hidden": "true" }), run.main.labels[0]),
      element("li", {}, element("i", { class: "band", "aria-hidden": "true" }), `${run.main.labels[0]} above ${100 * LIKELY} %`));
    place.after(this.legend);
    this.most = new Float32Array(4096);
    this.known = 0;
    this.changed = () => this.draw();
    run.addEventListener("change", this.changed);
    changes.addEventListener("change", this.changed);
    this.sized = new ResizeObserver(this.changed);
    this.sized.observe(place);
    this.draw();
  }

  /** The loudest sample of each hundredth of a second, as far as was sent. */
  envelope() {
    const count = Math.floor(this.run.position / this.stretch);
    if (count < this.known) this.known = 0;
    if (count > this.most.length) {
      const larger = new Float32Array(2 * count);
      larger.set(this.most);
      this.most = larger;
    }
    for (let index = this.known; index < count; index += 1) {
      let most = 0;
      for (const sample of this.run.source.samples.subarray(index * this.stretch, (index + 1) * this.stretch)) most = Math.max(most, Math.abs(sample));
      this.most[index] = most;
    }
    this.known = count;
    return count;
  }

  draw() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      this.paint();
    });
  }

  paint() {
    const width = Math.floor(this.place.clientWidth);
    if (!width) return;
    const ratio = devicePixelRatio;
    [this.canvas.width, this.canvas.height] = [width * ratio, HEIGHT * ratio];
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${HEIGHT}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const { rate } = this.run.source;
    const heard = this.run.position / rate;
    // A short file is seen whole.
    const all = this.run.source.isLive ? Infinity : Math.max(1, this.run.source.count / rate);
    const span = Math.min(all, Number.isFinite(this.window) ? this.window : Math.max(SHOWN_SECONDS, heard));
    const from = Math.max(0, heard - span);
    const x = (seconds) => ((seconds - from) / span) * width;
    this.paintSpeech(context, x, from, heard);
    this.paintWave(context, x, from);
    this.paintAxis(context, x, from, span);
    if (this.marked !== null) {
      context.fillStyle = colour("warn");
      context.fillRect(x(this.marked / rate) - 1, 0, 2, HEIGHT - 22);
    }
  }

  paintWave(context, x, from) {
    const count = this.envelope();
    const first = Math.floor(from / STRETCH_SECONDS);
    // At most two lines for each pixel.
    const skip = Math.max(1, Math.floor((count - first) / (2 * this.place.clientWidth)));
    const middle = 60;
    const loudest = Math.max(0.05, this.most.subarray(0, count).reduce((most, value) => Math.max(most, value), 0));
    context.fillStyle = colour("faint");
    for (let index = first; index < count; index += skip) {
      let most = 0;
      for (let each = index; each < Math.min(count, index + skip); each += 1) most = Math.max(most, this.most[each]);
      const tall = Math.max(1, (most / loudest) * 52);
      context.fillRect(x(index * STRETCH_SECONDS), middle - tall, Math.max(1, x(STRETCH_SECONDS) - x(0) - 0.4), 2 * tall);
    }
  }

  paintSpeech(context, x, from, heard) {
    const { main, source } = this.run;
    const line = main.lines[0];
    const hop = main.manifest.framing.hop;
    const [top, tall] = [128, 66];
    const y = (value) => top + tall * (1 - Math.min(1, Math.max(0, value)));
    context.strokeStyle = colour("line");
    for (const value of [0, 0.5, 1]) {
      context.beginPath();
      context.moveTo(x(from), y(value) + 0.5);
      context.lineTo(x(heard), y(value) + 0.5);
      context.stroke();
    }
    context.fillStyle = veil("accent", 0.18);
    context.strokeStyle = colour("accent");
    context.lineWidth = 2;
    context.beginPath();
    let hasBegun = false;
    for (let step = Math.floor((from * source.rate) / hop) * hop + hop - 1; step < line.length; step += hop) {
      const value = line.get(step);
      if (Number.isNaN(value)) continue;
      const at = (step + 1) / source.rate;
      if (value > LIKELY) context.fillRect(x(at - hop / source.rate), 0, x(hop / source.rate) - x(0), top + tall);
      if (hasBegun) context.lineTo(x(at), y(value));
      else context.moveTo(x(at), y(value));
      hasBegun = true;
    }
    context.stroke();
    context.lineWidth = 1;
  }

  paintAxis(context, x, from, span) {
    context.fillStyle = colour("faint");
    context.font = "12px system-ui, sans-serif";
    const step = span > 60 ? 10 : span > 20 ? 5 : 1;
    for (let second = Math.ceil(from / step) * step; second <= from + span; second += step) context.fillText(`${second} s`, x(second) + 3, HEIGHT - 6);
  }

  /** What is said of a moment, in words. */
  describe(step) {
    const { main, source } = this.run;
    const hop = main.manifest.framing.hop;
    const value = main.lines[0].get(Math.max(0, Math.floor(step / hop)) * hop - 1);
    return `${(step / source.rate).toFixed(2)} s: ${main.labels[0]} ${Number.isNaN(value) ? "–" : value.toFixed(2)}`;
  }

  /** The seconds at which something began and ended, as far as was heard. */
  spans() {
    const { main, source } = this.run;
    const hop = main.manifest.framing.hop;
    const found = [];
    for (let step = hop - 1; step < main.lines[0].length; step += hop) {
      const at = (step + 1) / source.rate;
      const is = main.lines[0].get(step) > LIKELY;
      const open = found.at(-1);
      if (is && (!open || open.ended)) found.push({ from: at - hop / source.rate, to: at, ended: false });
      else if (is) open.to = at;
      else if (open) open.ended = true;
    }
    return found;
  }

  mark(step) {
    this.marked = step;
    this.draw();
  }

  close() {
    this.run.removeEventListener("change", this.changed);
    changes.removeEventListener("change", this.changed);
    this.sized.disconnect();
    this.legend.remove();
    this.canvas.remove();
  }
}

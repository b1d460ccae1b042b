// Charts: uPlot in the colours of the page, as wide as its place, redrawn once a frame however often it is told to.

import { short } from "./dom.js";
import { changes, colour, veil } from "./theme.js";

const HEIGHT = 170;

/** A chart of lines.
 *
 * `lines`: `{label, colour, dash, width, band}` each; a band is filled between a line and the one behind it.
 * `options`: `height`, `isTime` (x in seconds since 1970), `unit`, `axis` (words for a place on x).
 */
export class Chart {
  constructor(place, lines, options = {}) {
    Object.assign(this, { place, lines, options, data: [[], ...lines.map(() => [])], plot: null, isAsked: false, mark: null });
    this.rebuild = () => this.build();
    this.sized = new ResizeObserver(() => requestAnimationFrame(() => this.resize()));
    this.sized.observe(place);
    changes.addEventListener("change", this.rebuild);
    this.build();
  }

  build() {
    this.plot?.destroy();
    const { height = HEIGHT, isTime = false, unit = "", axis } = this.options;
    const grid = { stroke: colour("line"), width: 1 };
    const axisStyle = { stroke: colour("faint"), grid, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const series = this.lines.map((line) => ({
      label: line.label,
      stroke: line.colour ? colour(line.colour) : "transparent",
      width: line.width ?? 1.75,
      dash: line.dash,
      points: { show: false },
      spanGaps: line.spanGaps ?? false,
      value: (_, value) => (value === null || value === undefined ? "–" : `${short(value)}${unit && ` ${unit}`}`),
    }));
    const bands = this.lines.flatMap((line, index) =>
      line.band ? [{ series: [index + 2, index + 1], fill: veil(line.band, 0.2) }] : []);
    this.plot = new uPlot({
      width: Math.max(200, this.place.clientWidth),
      height,
      series: [{ value: (_, x) => (x === null || x === undefined ? "–" : isTime ? clock(x) : axis ? axis(x) : short(x)) }, ...series],
      bands,
      scales: { x: { time: isTime, range: this.options.range } , y: { range: (_, least, most) => padded(least, most, this.options.fromZero) } },
      axes: [
        { ...axisStyle, size: 28, space: 70, values: (_, ticks) => ticks.map((tick) => (!this.data[0].length ? "" : isTime ? clock(tick) : axis ? axis(tick) : short(tick))) },
        { ...axisStyle, size: 48, values: (_, ticks) => ticks.map((tick) => short(tick)) },
      ],
      legend: { show: this.options.legend ?? true, live: true },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      hooks: { draw: [(plot) => this.drawMark(plot)] },
    }, this.data, this.place);
  }

  /** Show these columns, the x first; drawn with the next frame. */
  show(data) {
    this.data = data;
    this.redraw();
  }

  /** A line across at x; null takes it away. */
  markAt(x) {
    this.mark = x;
    this.redraw();
  }

  redraw() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      this.plot?.setData(this.data);
    });
  }

  drawMark(plot) {
    if (this.mark === null) return;
    const x = plot.valToPos(this.mark, "x", true);
    const { left, top, width, height } = plot.bbox;
    if (x < left || x > left + width) return;
    const { ctx } = plot;
    ctx.save();
    ctx.strokeStyle = colour("warn");
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
    ctx.restore();
  }

  resize() {
    const width = this.place.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: this.plot.height });
  }

  close() {
    this.sized.disconnect();
    changes.removeEventListener("change", this.rebuild);
    this.plot?.destroy();
    this.plot = null;
  }
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

function padded(least, most, fromZero) {
  if (least === null || most === null || !Number.isFinite(least)) return [0, 1];
  if (fromZero) least = Math.min(0, least);
  const margin = (most - least || Math.abs(most) || 1) * 0.06;
  return [fromZero && least === 0 ? 0 : least - margin, most + margin];
}

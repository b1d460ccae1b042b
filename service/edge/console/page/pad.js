// The pad: a picture drawn by hand, or taken from a file, in the few numbers that a model reads.

import { button, element } from "./dom.js";
import { changes, colour } from "./theme.js";

const SCALE = 220;

/** What is drawn for an input of a fixed size: `[height, width]`, or with channels in front or behind.
 *
 * Numbers go from the least to the most of the training, or from 0 to 1 where nothing is told of it.
 */
export class Pad {
  constructor(input) {
    const sizes = input.shape.filter((axis) => typeof axis === "number");
    const has = sizes.length >= 3;
    this.first = has && sizes[0] <= 4;
    [this.rows, this.columns] = has ? (this.first ? sizes.slice(1, 3) : sizes.slice(0, 2)) : sizes;
    this.channels = has ? (this.first ? sizes[0] : sizes[2]) : 0;
    this.least = input.statistics ? Math.min(...input.statistics.minimum) : 0;
    this.most = input.statistics ? Math.max(...input.statistics.maximum) : 1;
    this.ink = new Float32Array(this.rows * this.columns);
    const unit = SCALE / Math.max(this.rows, this.columns);
    this.canvas = element("canvas", {
      class: "pad", width: this.columns * unit, height: this.rows * unit, tabindex: "0", role: "img",
      "aria-label": `A pad of ${this.rows} by ${this.columns} pixels. Draw with the pointer, or go with the arrow keys and ink with space.`,
      onpointerdown: (event) => { this.canvas.setPointerCapture(event.pointerId); this.stroke(event); },
      onpointermove: (event) => event.buttons && this.stroke(event),
      onkeydown: (event) => this.press(event),
    });
    this.at = [Math.floor(this.rows / 2), Math.floor(this.columns / 2)];
    const file = element("input", { type: "file", accept: "image/*", "aria-label": "A picture from a file", onchange: () => this.take(file.files[0]) });
    this.place = element("div", {}, element("p", { class: "faint" }, `Draw a picture (${this.rows} × ${this.columns} pixels):`), this.canvas,
      element("p", { class: "actions" }, button("Clear", () => this.clear()), file));
    this.redraw = () => this.draw();
    changes.addEventListener("change", this.redraw);
    this.draw();
  }

  close() {
    changes.removeEventListener("change", this.redraw);
  }

  /** What the model is sent, nested as its input is. */
  numbers() {
    const value = (row, column) => Number((this.least + (this.most - this.least) * this.ink[row * this.columns + column]).toFixed(4));
    const range = (count) => [...Array(count).keys()];
    const plane = range(this.rows).map((row) => range(this.columns).map((column) => value(row, column)));
    if (!this.channels) return plane;
    if (this.first) return range(this.channels).map(() => plane);
    return plane.map((row) => row.map((each) => range(this.channels).map(() => each)));
  }

  stroke(event) {
    const box = this.canvas.getBoundingClientRect();
    const y = ((event.clientY - box.top) / box.height) * this.rows - 0.5;
    const x = ((event.clientX - box.left) / box.width) * this.columns - 0.5;
    // A round brush of about a pixel and a half, soft at its edge.
    const reach = Math.max(0.9, Math.max(this.rows, this.columns) / 16);
    for (let row = Math.floor(y - reach); row <= y + reach + 1; row += 1) {
      for (let column = Math.floor(x - reach); column <= x + reach + 1; column += 1) {
        const near = Math.max(0, Math.min(1, 1.4 * (1 - Math.hypot(row - y, column - x) / (reach + 0.6))));
        this.dab(row, column, near);
      }
    }
    this.draw();
  }

  dab(row, column, ink) {
    if (row < 0 || column < 0 || row >= this.rows || column >= this.columns) return;
    const place = row * this.columns + column;
    this.ink[place] = Math.max(this.ink[place], ink);
  }

  press(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step) {
      this.at = [Math.max(0, Math.min(this.rows - 1, this.at[0] + step[0])), Math.max(0, Math.min(this.columns - 1, this.at[1] + step[1]))];
    } else if (event.key === " ") {
      this.dab(...this.at, 1);
    } else {
      return;
    }
    event.preventDefault();
    this.draw();
  }

  async take(file) {
    if (!file) return;
    const picture = await createImageBitmap(file);
    const small = new OffscreenCanvas(this.columns, this.rows);
    const context = small.getContext("2d");
    context.drawImage(picture, 0, 0, this.columns, this.rows);
    const { data } = context.getImageData(0, 0, this.columns, this.rows);
    this.ink = Float32Array.from({ length: this.ink.length }, (_, place) => (data[4 * place] + data[4 * place + 1] + data[4 * place + 2]) / 765);
    this.draw();
  }

  clear() {
    this.ink.fill(0);
    this.draw();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    const [ground, ink] = [colour("raised"), colour("ink")];
    context.fillStyle = ground;
    context.fillRect(0, 0, width, height);
    const [tall, wide] = [height / this.rows, width / this.columns];
    context.fillStyle = ink;
    this.ink.forEach((value, place) => {
      context.globalAlpha = value;
      context.fillRect((place % this.columns) * wide, Math.floor(place / this.columns) * tall, wide + 0.5, tall + 0.5);
    });
    context.globalAlpha = 1;
    context.strokeStyle = colour("accent");
    context.strokeRect(this.at[1] * wide + 0.5, this.at[0] * tall + 0.5, wide - 1, tall - 1);
  }
}

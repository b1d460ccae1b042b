// Heat maps: a matrix in colours that answers pointer and keyboard with what stands in a cell.

import { element } from "./dom.js";
import { changes, colour } from "./theme.js";

const rgb = (name) => colour(name).match(/[\d.]+/g).slice(0, 3).map(Number);

/** A matrix that can be looked at cell by cell.
 *
 * `label`: what it is, for who does not see it. `describe(row, column, value)`: a cell in words.
 * `isSigned`: whether numbers lie to both sides of 0, in two colours; else they grow from nothing to one colour.
 */
export class HeatMap {
  constructor({ label, describe, isSigned = false, height = 220 }) {
    Object.assign(this, { describe, isSigned, height, rows: [], at: [0, 0], isLookedAt: false });
    this.canvas = element("canvas", {
      class: "heat", tabindex: "0", role: "img", "aria-label": `${label}. The arrow keys go from cell to cell.`,
      onpointermove: (event) => this.point(event), onpointerdown: (event) => this.point(event),
      onpointerleave: () => this.leave(), onkeydown: (event) => this.move(event), onfocus: () => this.look(), onblur: () => this.leave(),
    });
    this.told = element("p", { class: "faint mono", "aria-live": "polite" }, "Point at a cell, or use the arrow keys.");
    this.frame = element("div", {}, this.canvas);
    this.place = element("div", {}, this.frame, this.told);
    this.redraw = () => this.draw();
    // With the next frame: what is drawn changes the size that is observed.
    this.sized = new ResizeObserver(() => requestAnimationFrame(this.redraw));
    this.sized.observe(this.frame);
    changes.addEventListener("change", this.redraw);
  }

  /** Show rows of numbers, `[rows][columns]`. */
  show(rows) {
    this.rows = rows;
    this.draw();
    if (this.isLookedAt) this.look();
  }

  draw() {
    const { canvas, rows } = this;
    const [numRows, numColumns] = [rows.length, rows[0]?.length ?? 0];
    const width = Math.floor(this.frame.clientWidth);
    if (!numColumns || !width) return;
    const shown = Math.min(this.height, Math.max(80, numRows * 26));
    [canvas.width, canvas.height] = [width, shown];
    canvas.style.width = `${width}px`;
    canvas.style.height = `${shown}px`;
    let most = 0;
    for (const row of rows) for (const value of row) if (Math.abs(value) > most) most = Math.abs(value);
    // A pixel a cell, then enlarged: however many cells there are, it is one image.
    const small = new OffscreenCanvas(numColumns, numRows);
    const context = small.getContext("2d");
    const image = context.createImageData(numColumns, numRows);
    const [ground, hot, cold] = [rgb("raised"), rgb(this.isSigned ? "hot" : "accent"), rgb("cold")];
    let place = 0;
    for (const row of rows) {
      for (let column = 0; column < numColumns; column += 1) {
        const value = row[column];
        const strength = most ? Math.sqrt(Math.min(1, Math.abs(value) / most)) : 0;
        const tint = value < 0 ? cold : hot;
        for (let part = 0; part < 3; part += 1) {
          image.data[place + part] = Number.isFinite(value) ? ground[part] + (tint[part] - ground[part]) * strength : ground[part];
        }
        image.data[place + 3] = 255;
        place += 4;
      }
    }
    context.putImageData(image, 0, 0);
    const drawn = canvas.getContext("2d");
    drawn.imageSmoothingEnabled = false;
    drawn.drawImage(small, 0, 0, width, shown);
    if (this.isLookedAt) {
      const [row, column] = this.at;
      drawn.strokeStyle = colour("ink");
      drawn.lineWidth = 2;
      drawn.strokeRect((column * width) / numColumns, (row * shown) / numRows, Math.max(3, width / numColumns), Math.max(3, shown / numRows));
    }
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const columns = this.rows[0]?.length ?? 0;
    this.at = [
      Math.floor(((event.clientY - box.top) / box.height) * this.rows.length),
      Math.floor(((event.clientX - box.left) / box.width) * columns),
    ];
    this.look();
  }

  move(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    this.at = [this.at[0] + step[0], this.at[1] + step[1]];
    this.look();
  }

  look() {
    if (!this.rows.length) return;
    this.isLookedAt = true;
    const clip = (value, most) => Math.max(0, Math.min(most - 1, value));
    this.at = [clip(this.at[0], this.rows.length), clip(this.at[1], this.rows[0].length)];
    const [row, column] = this.at;
    this.told.textContent = this.describe(row, column, this.rows[row][column]);
    this.draw();
  }

  leave() {
    this.isLookedAt = false;
    this.draw();
  }

  close() {
    this.sized.disconnect();
    changes.removeEventListener("change", this.redraw);
  }
}

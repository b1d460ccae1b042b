// Sources: what a run feeds its sessions with, step by step.

import { madeUp } from "./manifest.js";
import { readTable, rowsFor } from "./table.js";
import { ROOT } from "./api.js";

const NUM_MADE_UP = 2000;

/** Rows of a table, or made-up ones; `change` has one feature be something else from a step on. */
export class RowSource {
  constructor(rows, told) {
    Object.assign(this, { all: rows, told, changes: [], isLive: false });
  }

  get count() {
    return this.all.length;
  }

  rows(from, to) {
    const rows = this.all.slice(from, to);
    if (!this.changes.length) return rows;
    return rows.map((row, index) => {
      const changed = [...row];
      for (const { step, place, value } of this.changes) if (from + index >= step) changed[place] = value;
      return changed;
    });
  }

  /** What a feature comes to at a step, NaN where it is missing. */
  value(step, place) {
    return this.all[step]?.[place] ?? NaN;
  }

  change(step, place, value) {
    this.changes.push({ step, place, value });
  }
}

export const madeUpSource = (manifest, count = NUM_MADE_UP) =>
  new RowSource(madeUp(manifest, count), `${count} made-up rows within what the model takes: no real data, and no truth`);

export function tableSource(text, manifest, name) {
  const { rows, notes } = rowsFor(readTable(text), manifest.inputs[0]);
  return new RowSource(rows, [`${name}: ${rows.length.toLocaleString("en")} rows`, ...notes].join("; "));
}

/** Examples that come with the console, and whether a model takes them. */
const TABLES = [{ file: "beijing_pm25.csv", name: "Air quality in Beijing, six weeks by the hour", features: ["pm2.5", "DEWP", "TEMP", "PRES"] }];

export const exampleFor = (manifest) => TABLES.find(({ features }) => features.every((each) => manifest.inputs[0].features.includes(each)));

export async function exampleSource(manifest, { file, name }) {
  const answer = await fetch(new URL(`console/examples/${file}`, ROOT));
  return tableSource(await answer.text(), manifest, name);
}

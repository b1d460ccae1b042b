// A lane: one version that runs a session on what a run is fed with, and what it answered.

import { ofSession, openSession, putState, stateOf } from "./api.js";
import { keepExchange, keepState } from "./album.js";
import { Column } from "./columns.js";
import { forecast } from "./manifest.js";
import { StepSocket } from "./step_socket.js";

const MAX_LINES = 4;
const REPLAY_STEPS = 500;

/** The outputs of an answer, a flat row each; of several outputs those of the first. */
export function flatRows(outputs) {
  const rows = Array.isArray(outputs) ? outputs : Object.values(outputs)[0];
  return rows.map((row) => (Array.isArray(row) ? row.flat(Infinity) : [row]));
}

/** The step behind which each output was made, where not each step has one; of several outputs those of the first. */
function endsOf({ output_steps: steps }) {
  return Array.isArray(steps) ? steps : Object.values(steps ?? {})[0];
}

export class Lane {
  constructor(model, version, manifest, told) {
    Object.assign(this, { model, version, manifest, id: "", steps: 0, snapshots: [] });
    this.foretold = forecast(manifest);
    this.socket = new StepSocket(model, told);
    this.clear();
  }

  get name() {
    return `${this.model}/${this.version}`;
  }

  /** Forget what was answered: `lines` by the step that they speak of; errors against what came. */
  clear() {
    const { foretold } = this;
    const features = this.manifest.outputs[0].features;
    this.labels = foretold ? [foretold.target] : features.slice(0, MAX_LINES);
    this.lines = this.labels.map(() => new Column());
    this.lower = new Column();
    this.upper = new Column();
    Object.assign(this, { error: 0, naive: 0, scored: 0, anomalies: 0, outputs: new Column() });
  }

  async open() {
    const { session_id: id } = await openSession(this.model, { version: this.version });
    Object.assign(this, { id, steps: 0, snapshots: [] });
  }

  /** Apply rows, the next ones, and keep what they are answered. */
  async step(rows) {
    if (!this.id) await this.open();
    const answer = await this.socket.step(this.id, this.steps, rows);
    this.take(this.steps, answer);
    this.steps += rows.length;
    keepExchange(this.id, answer.seq, rows, answer.outputs);
  }

  take(seq, answer) {
    const rows = flatRows(answer.outputs);
    const ends = endsOf(answer);
    rows.forEach((row, index) => {
      const step = ends ? ends[index] - 1 : seq + index;
      if (this.foretold) {
        const { middle, lower, upper } = this.foretold;
        this.lines[0].set(step + 1, row[middle]);
        if (lower >= 0) {
          this.lower.set(step + 1, row[lower]);
          this.upper.set(step + 1, row[upper]);
        }
      } else {
        this.lines.forEach((line, place) => line.set(step, row[place]));
      }
    });
    for (const each of answer.events ?? []) if (each.event === "anomaly_began") this.anomalies += 1;
  }

  /** Count what the forecasts of steps were off by, and what the value before would have been. */
  score(from, to, truth) {
    if (!this.foretold) return;
    for (let step = Math.max(1, from); step < to; step += 1) {
      const [came, before, said] = [truth.get(step), truth.get(step - 1), this.lines[0].get(step)];
      if (Number.isNaN(came + before + said)) continue;
      this.error += Math.abs(said - came);
      this.naive += Math.abs(before - came);
      this.scored += 1;
    }
  }

  /** Keep the state as it is now, for going back; at most a few, evenly spread. */
  async snapshot(most) {
    const buffer = await stateOf(this.id, { isQuiet: true });
    this.snapshots.push({ step: this.steps, buffer });
    keepState(this.id, this.steps, buffer);
    if (this.snapshots.length > most) this.snapshots = this.snapshots.filter((_, index) => index % 2 === 1);
  }

  /** Go on in a session of its own from a step that lies behind; the session until now stays as it is.
   *
   * From the present it is a fork. From the past it is a new session, set to the last state that was kept until then,
   * and stepped through the same rows from there; `same` tells how many of its answers were the same to the bit.
   */
  async goBack(step, source) {
    if (step === this.steps) {
      const { session_id: id } = await ofSession("POST", this.id, "fork", {});
      return { id, how: "the session was forked where it was", replayed: 0, same: 0 };
    }
    const kept = this.snapshots.findLast((each) => each.step <= step);
    const { session_id: id } = await openSession(this.model, { version: this.version });
    if (kept) await putState(id, kept.buffer);
    let [at, same, replayed] = [kept?.step ?? 0, 0, 0];
    const from = at;
    while (at < step) {
      const rows = source.rows(at, Math.min(at + REPLAY_STEPS, step));
      const answer = await this.socket.step(id, at, rows);
      const known = this.foretold ? 1 : 0;
      const ends = endsOf(answer);
      flatRows(answer.outputs).forEach((row, index) => {
        const place = ends ? ends[index] - 1 : at + index;
        const number = (this.foretold ? row[this.foretold.middle] : row[0]) ?? NaN;
        replayed += 1;
        if (Object.is(this.lines[0].get(place + known), number)) same += 1;
      });
      at += rows.length;
    }
    const begun = kept ? `set to the state kept at step ${from}` : "begun again";
    return { id, how: `a new session was ${begun} and stepped through ${step - from} rows again`, replayed, same };
  }

  /** Go on in the session that `goBack` made. */
  goOn(id, step) {
    Object.assign(this, { id, steps: step, snapshots: this.snapshots.filter((each) => each.step <= step) });
  }

  /** Forget the answers behind a step, after going back to it. */
  cut(step) {
    const known = this.foretold ? step + 1 : step;
    for (const column of [...this.lines, this.lower, this.upper]) column.cut(known);
    Object.assign(this, { error: 0, naive: 0, scored: 0 });
  }

  /** Begin anew: in a new session where this one has ended, or never began. */
  async reset() {
    const done = this.id && await ofSession("POST", this.id, "reset", {}).then(() => true, (error) => {
      if (![404, 410].includes(error.status)) throw error;
      return false;
    });
    if (!done) await this.open();
    this.steps = 0;
    this.snapshots = [];
    this.clear();
  }

  close() {
    this.socket.close();
  }
}

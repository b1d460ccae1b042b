// A run: one source through the sessions of one or two lanes, at a chosen speed; it can be paused, stepped, and gone back in.

import { Refusal, ofSession, passes } from "./api.js";
import { Column } from "./columns.js";
import { flatRows } from "./lane.js";

const PERIOD_MS = 50;
const MOST_AT_ONCE = 500;
const FAN_MS = 500;
const HORIZON = 24;
const MAX_SNAPSHOTS = 24;
const SNAPSHOT_STEPS = 64;

const rest = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

/** Told of "change" whenever something is new; `speed` in steps a second, Infinity = as fast as it goes. */
export class Run extends EventTarget {
  constructor(lanes, source, speed) {
    super();
    Object.assign(this, { lanes, source, speed, position: 0, truth: new Column(), fan: null, fanNote: "", ghost: null, error: null, note: "" });
    Object.assign(this, { isPlaying: false, turn: Promise.resolve(), spacing: SNAPSHOT_STEPS, keepsStates: true, fannedAt: 0 });
    /** Steps of a chunk at least: of samples a frame. */
    this.atLeast = lanes[0].manifest.framing?.hop ?? 1;
  }

  get main() {
    return this.lanes[0];
  }

  get isAtEnd() {
    return !this.source.isLive && this.position >= this.source.count;
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }

  /** Do one thing after the other; what fails is told, and ends the play. */
  inTurn(doing) {
    this.turn = this.turn.then(doing).catch((error) => {
      this.error = error;
      this.isPlaying = false;
      this.tell();
    });
    return this.turn;
  }

  open() {
    return this.inTurn(async () => {
      await Promise.all(this.lanes.map((lane) => lane.open()));
      this.tell();
    });
  }

  play() {
    if (this.isPlaying || this.isAtEnd) return;
    Object.assign(this, { isPlaying: true, error: null });
    this.tell();
    this.keepOn();
  }

  pause() {
    this.isPlaying = false;
    this.tell();
    if (this.position) this.inTurn(() => this.lookAhead());
  }

  async keepOn() {
    let due = performance.now();
    const own = this.loop = {};
    while (this.isPlaying && this.loop === own) {
      const wanted = Math.max(this.atLeast, Math.min(MOST_AT_ONCE, Math.round((this.speed * PERIOD_MS) / 1000)));
      await this.inTurn(() => this.advance(wanted));
      if (performance.now() - this.fannedAt > FAN_MS) await this.inTurn(() => this.lookAhead());
      if (this.isAtEnd) {
        this.isPlaying = false;
        await this.inTurn(() => this.lookAhead());
      }
      due = Math.max(due + (1000 * wanted) / this.speed, performance.now() - 200);
      await rest(Math.max(0, due - performance.now()));
    }
    this.tell();
  }

  /** Apply the next step, or the next frame of samples. */
  stepOnce() {
    this.error = null;
    return this.inTurn(async () => {
      await this.advance(this.atLeast);
      await this.lookAhead();
    });
  }

  async advance(count) {
    const from = this.position;
    const to = Math.min(from + count, this.source.count);
    if (to <= from) return;
    // Where one of two has failed, the other is ahead, and waits.
    await Promise.all(this.lanes.map((lane) => lane.steps < to && lane.step(this.source.rows(lane.steps, to))));
    const place = this.main.foretold?.feature ?? 0;
    for (let step = from; step < to; step += 1) this.truth.set(step, this.source.value(step, place));
    for (const lane of this.lanes) lane.score(from, to, this.truth);
    this.position = to;
    await this.keepStates();
    this.tell();
  }

  async keepStates() {
    if (!this.keepsStates || this.position - (this.main.snapshots.at(-1)?.step ?? 0) < this.spacing) return;
    try {
      await Promise.all(this.lanes.map((lane) => lane.snapshot(MAX_SNAPSHOTS)));
      // The longer the run, the further apart: half of them went, and the next come as seldom as those that are left.
      const [first, second] = this.main.snapshots;
      if (second) this.spacing = Math.max(this.spacing, second.step - first.step);
    } catch (error) {
      if (error.status !== 403 && !passes(error)) throw error;
      this.keepsStates = error.status !== 403; // without the right to read states, going back runs through all rows again
    }
  }

  /** What comes next, as the main lane's session foretells it; nothing where it does not. */
  async lookAhead() {
    const { main } = this;
    this.fannedAt = performance.now();
    if (!main.foretold || this.fanNote || !this.position) return;
    const calibrated = Boolean(main.manifest.calibration);
    const body = { horizon: HORIZON, ...(calibrated && { level: [80] }) };
    const forecast = (content) => ofSession("POST", main.id, "forecast", content, { isQuiet: this.isPlaying });
    try {
      const answer = await forecast(body).catch((error) => {
        if (!/known_future/.test(error.field ?? "")) throw error;
        return forecast({ ...body, known_future: this.knownFuture() });
      });
      const rows = flatRows(answer.outputs);
      const { middle, lower, upper } = main.foretold;
      const [interval] = Object.values(answer.intervals ?? {});
      const band = lower >= 0 ? [rows.map((row) => row[lower]), rows.map((row) => row[upper])]
        : Array.isArray(interval?.lower) ? [interval.lower, interval.upper] : [[], []];
      this.fan = { at: this.position, middle: rows.map((row) => row[middle]), lower: band[0], upper: band[1] };
    } catch (error) {
      if (!(error instanceof Refusal) || error.status >= 429) return; // the next look may see more
      this.fan = null;
      this.fanNote = error.message;
    }
    this.tell();
  }

  /** The features that are not foretold, as the source has them in the steps to come. */
  knownFuture() {
    const { features } = this.main.manifest.inputs[0];
    const rows = this.source.rows(this.position, this.position + HORIZON - 1);
    const known = features.map((name, place) => [name, place]).filter(([, place]) => place !== this.main.foretold.feature);
    this.note = "The look ahead is told the other columns of the rows to come, which it cannot do without.";
    return Object.fromEntries(known.map(([name, place]) => [name, rows.map((row) => row[place])]));
  }

  /** Go on from a step that lies behind, in new sessions; what was foretold until now stays as a ghost. */
  goBack(step, change = null) {
    this.isPlaying = false;
    this.error = null;
    return this.inTurn(async () => {
      const told = await Promise.all(this.lanes.map((lane) => lane.goBack(step, this.source)));
      this.lanes.forEach((lane, place) => lane.goOn(told[place].id, step));
      if (this.source.changes) this.source.changes = this.source.changes.filter((each) => each.step < step);
      this.ghost = { from: step, column: this.main.lines[0].copy() };
      if (change) this.source.change(step, change.place, change.value);
      for (const lane of this.lanes) lane.cut(step);
      this.truth.cut(step);
      for (const lane of this.lanes) lane.score(0, step, this.truth);
      Object.assign(this, { position: step, fan: null, fanNote: "" });
      const { how, replayed, same } = told[0];
      this.note = `From step ${step}: ${how}${replayed ? `; ${same} of ${replayed} answers were the same to the bit` : ""}.`;
      this.tell();
      await this.lookAhead();
    });
  }

  reset() {
    this.isPlaying = false;
    this.error = null;
    return this.inTurn(async () => {
      await Promise.all(this.lanes.map((lane) => lane.reset()));
      this.source.changes = [];
      Object.assign(this, { position: 0, truth: new Column(), fan: null, fanNote: "", ghost: null, note: "The session is at its initial state.", spacing: SNAPSHOT_STEPS });
      this.tell();
    });
  }

  close() {
    this.isPlaying = false;
    this.source.close?.();
    for (const lane of this.lanes) lane.close();
  }
}

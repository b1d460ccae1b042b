// The socket: a WebSocket of steps that is made anew when it is lost, and sends what was not answered again, by its seq.

import { ROOT, Refusal, key, model, named } from "./api.js";

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 4000;
const LOOK_AFTER = 2;
/** Nothing was applied, or nobody knows: with `seq` the same may be sent again. */
const AGAIN = new Set(["overloaded", "rate_limited", "starting", "draining", "state_store_unavailable", "deadline_exceeded", "too_many_connections"]);
const POLICY = 1008;
const TOO_BIG = 1009;

/** Steps of one session at a time; `told` hears "live" and "waiting". */
export class StepSocket {
  constructor(model, told = () => {}) {
    Object.assign(this, { model, told, socket: null, pending: null, wait: FIRST_WAIT_MS, failures: 0, isClosed: false });
    Object.assign(this, { number: 0, again: 0 });
  }

  /** The answer to a chunk; raises Refusal where it is not applied. The connection may be lost and made anew meanwhile. */
  step(sessionId, seq, inputs) {
    return new Promise((resolve, reject) => {
      const id = (this.number += 1); // an answer that comes twice must not be taken for the next one's
      this.pending = { id, text: JSON.stringify({ id, session_id: sessionId, seq, inputs }), resolve, reject };
      if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(this.pending.text);
      else if (!this.socket) this.connect();
    });
  }

  connect() {
    const address = new URL(`v1/models/${named(this.model)}/stream`, ROOT);
    address.protocol = address.protocol.replace("http", "ws");
    const shown = key() ? ["ostinato", `ostinato-key.${key()}`] : ["ostinato"];
    const socket = this.socket = new WebSocket(address, shown);
    socket.onopen = () => {
      this.told("live");
      if (this.pending) socket.send(this.pending.text);
    };
    socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    socket.onclose = ({ code }) => this.lose(socket, code);
  }

  take(answer) {
    if (!this.pending || (answer.id ?? this.pending.id) !== this.pending.id) return;
    Object.assign(this, { wait: FIRST_WAIT_MS, failures: 0 });
    const { error } = answer;
    if (error && AGAIN.has(error.code)) {
      const { text } = this.pending;
      this.told("waiting");
      clearTimeout(this.again);
      this.again = setTimeout(() => {
        if (this.pending?.text === text && this.socket?.readyState === WebSocket.OPEN) this.socket.send(text);
      }, 1000 * (error.retry_after_seconds ?? 1));
      return;
    }
    const { resolve, reject } = this.pending;
    this.pending = null;
    this.told("live");
    if (error) reject(new Refusal(error.status, error));
    else resolve(answer);
  }

  async lose(socket, code) {
    if (this.socket !== socket) return;
    this.socket = null;
    clearTimeout(this.again); // who connects anew sends it
    if (code === TOO_BIG && this.pending) {
      this.pending.reject(new Error("These rows are larger than the server takes in one message."));
      this.pending = null;
    }
    if (this.isClosed || !this.pending) return; // the next step connects
    this.told("waiting");
    this.failures += 1;
    if (code === POLICY || this.failures >= LOOK_AFTER) await this.findWhy();
    if (!this.pending || this.isClosed) return;
    setTimeout(() => this.pending && !this.socket && !this.isClosed && this.connect(), this.wait);
    this.wait = Math.min(2 * this.wait, LONGEST_WAIT_MS);
  }

  /** A browser tells nothing of a handshake that was refused: a plain request hears why. */
  async findWhy() {
    try {
      await model(this.model);
    } catch (error) {
      if (error instanceof Refusal && error.status < 500) {
        this.pending?.reject(error);
        this.pending = null;
      }
    }
  }

  close() {
    this.isClosed = true;
    this.pending?.reject(new Error("It was stopped."));
    this.pending = null;
    this.socket?.close();
  }
}

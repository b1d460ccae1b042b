// The API: every request of the page goes through here, with the key of this tab, and is remembered for "Find out why".

/** What stands in front of /v1, whatever a proxy puts before it. */
export const ROOT = new URL(".", document.baseURI);
const STORED = "ostinato-key";
const MAX_RECENT = 30;

/** Told of "key" (one is needed, or another is used) and "reach" (the server is reached, or not any more). */
export const signals = new EventTarget();
export const recent = [];
let isReached = true;

/** An answer that refuses, with the members of its problem document. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.error || `the server answered ${status}`);
    Object.assign(this, { status, code: problem.code ?? "", field: problem.field ?? "", problem });
  }
}

/** Nobody answered. */
export class Unreachable extends Error {}

const HINTS = {
  unauthenticated: "Press Key at the top and paste one.",
  forbidden: "Use a key that has this right.",
  unknown_session: "Check the id; a session that ended long ago is unknown.",
  session_expired: "Open a new one.",
  session_closed: "Open a new one.",
  session_exists: "Choose another id, or use that session.",
  seq_conflict: "Somebody else has stepped this session: look at it again and continue from there.",
  overloaded: "The server is busy; nothing was applied. Try again in a moment.",
  rate_limited: "The key has asked for more than it may; nothing was applied. Wait a moment.",
  starting: "The server is starting; try again in a moment.",
  draining: "This server is about to end; another takes its place.",
  state_store_unavailable: "The store of the sessions does not answer; this continues when it is back.",
  too_large: "Send less at a time.",
  run_failed: "The network has no finite answer to this input; the session is as it was.",
};

const PASSING = ["starting", "draining", "overloaded", "state_store_unavailable"];

/** Whether the same may be answered soon. */
export const passes = (error) => error instanceof Unreachable || PASSING.includes(error.code);

/** An error as a person reads it. */
export function words(error) {
  if (!(error instanceof Refusal)) return String(error.message || error);
  const sentence = error.message.charAt(0).toUpperCase() + error.message.slice(1);
  const place = error.field ? ` (at ${error.field})` : "";
  return `${sentence}${place}${/[.!?]$/.test(sentence) && !place ? "" : "."} ${HINTS[error.code] ?? ""}`.trim();
}

export function key() {
  return sessionStorage.getItem(STORED) ?? "";
}

/** Whether somebody is asked for a key just now: until then nothing is asked of the server by itself. */
export const asksForKey = () => document.getElementById("key-dialog").open;

export function useKey(value) {
  if (value) sessionStorage.setItem(STORED, value);
  else sessionStorage.removeItem(STORED);
  recent.length = 0;
  signals.dispatchEvent(new CustomEvent("key", { detail: { changed: true } }));
}

function reach(isSo) {
  if (isSo !== isReached) signals.dispatchEvent(new CustomEvent("reach", { detail: { isReached: isSo } }));
  isReached = isSo;
}

/** One request: `{status, headers, answer, seconds}`, whatever the status; raises Unreachable. */
export async function send(method, path, body, { type = "application/json", signal, isQuiet = false } = {}) {
  const headers = body === undefined ? {} : { "Content-Type": type };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  const asked = { method, path, body: typeof body === "string" ? body : undefined, at: Date.now() };
  const begun = performance.now();
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), { method, headers, body, signal, credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    reach(false);
    throw new Unreachable("The server does not answer; it is asked again.");
  }
  reach(true);
  const seconds = (performance.now() - begun) / 1000;
  if (!isQuiet) {
    recent.unshift({ ...asked, status: answer.status, seconds });
    recent.length = Math.min(recent.length, MAX_RECENT);
  }
  if (answer.status === 401) signals.dispatchEvent(new CustomEvent("key", { detail: { needed: true } }));
  return { status: answer.status, headers: answer.headers, answer, seconds };
}

/** What refuses an answer; null where it does not. */
export async function refusal(answer) {
  if (answer.ok) return null;
  const text = await answer.text();
  try {
    return new Refusal(answer.status, JSON.parse(text));
  } catch {
    return new Refusal(answer.status, { detail: text.slice(0, 200) || answer.statusText });
  }
}

/** The JSON that answers a request; raises Refusal and Unreachable. */
export async function call(method, path, content, options = {}) {
  const { answer } = await send(method, path, content === undefined ? undefined : JSON.stringify(content), options);
  const refused = await refusal(answer);
  if (refused) throw refused;
  return answer.status === 204 ? null : answer.json();
}

/** The same of an answer that is text, or bytes. */
export async function take(path, as, options = {}) {
  const { answer } = await send("GET", path, undefined, options);
  const refused = await refusal(answer);
  if (refused) throw refused;
  return as === "text" ? answer.text() : answer.arrayBuffer();
}

export const named = encodeURIComponent;

export const models = () => call("GET", "v1/models", undefined, { isQuiet: true });

export function model(name, version = "") {
  const query = version ? `?version=${named(version)}` : "";
  return call("GET", `v1/models/${named(name)}${query}`, undefined, { isQuiet: true });
}

export const openSession = (model, options = {}) => call("POST", `v1/models/${named(model)}/sessions`, options);

export const ofSession = (method, id, action = "", content = undefined, options = {}) =>
  call(method, `v1/sessions/${named(id)}${action && `/${action}`}`, content, options);

export const stateOf = (id, options) => take(`v1/sessions/${named(id)}/state`, "bytes", options);

export async function putState(id, bytes) {
  const { answer } = await send("PUT", `v1/sessions/${named(id)}/state`, bytes, { type: "application/octet-stream" });
  const refused = await refusal(answer);
  if (refused) throw refused;
  return answer.json();
}

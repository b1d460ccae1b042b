// The album: states of sessions that this tab has seen, by their steps, for heat maps over time and for going back.

const MAX_KEPT = 240;
const MAX_BYTES = 48 * 1024 * 1024;
const MAX_INPUTS = 5;
const pages = new Map();

function pageOf(id) {
  if (!pages.has(id)) pages.set(id, { states: [], exchanges: [] });
  return pages.get(id);
}

/** What is kept under an id is of the session that is called so now, by its `mark`; what was kept of another goes. */
export function claim(id, mark) {
  if (pageOf(id).mark !== undefined && pageOf(id).mark !== mark) pages.delete(id);
  pageOf(id).mark = mark;
}

/** Keep a state file of a session; where there are many every second one goes, the newest stays. */
export function keepState(id, steps, buffer) {
  const page = pageOf(id);
  // A session that was reset or set back has another past.
  page.states = page.states.filter((state) => state.steps < steps);
  page.states.push({ steps, buffer });
  const bytes = page.states.reduce((total, state) => total + state.buffer.byteLength, 0);
  if (page.states.length > MAX_KEPT || bytes > MAX_BYTES) {
    const { length } = page.states;
    page.states = page.states.filter((_, index) => (length - 1 - index) % 2 === 0);
  }
}

/** The states of a session that are kept, the oldest first: `{steps, buffer}`. */
export const statesOf = (id) => pageOf(id).states;

/** Keep what a session was sent last by this tab, and what it answered: step by step where each has an answer. */
export function keepExchange(id, seq, inputs, outputs) {
  const page = pageOf(id);
  const isEach = Array.isArray(outputs) && outputs.length === inputs.length;
  const made = isEach
    ? inputs.map((row, index) => ({ first: seq + index + 1, num: 1, inputs: row, outputs: outputs[index] })).slice(-MAX_INPUTS).reverse()
    : [{ first: seq + 1, num: inputs.length, inputs: inputs.slice(-MAX_INPUTS), outputs }];
  page.exchanges = [...made, ...page.exchanges].slice(0, MAX_INPUTS);
}

export const exchangesOf = (id) => pageOf(id).exchanges;

export const forget = (id) => pages.delete(id);

export const forgetAll = () => pages.clear();

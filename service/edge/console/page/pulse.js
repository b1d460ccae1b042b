// The pulse: /metrics every two seconds while the page is seen, kept for five minutes for the charts of the overview.

import { Refusal, asksForKey, signals, take, words } from "./api.js";
import { Scrape, mean, quantile, rate } from "./metrics.js";

const PERIOD_MS = 2000;
const KEPT = 150;
const ROUTES_OF_STEPS = /\/(step|stream|infer)$|^\/step$/;
const ofSteps = (labels) => ROUTES_OF_STEPS.test(labels.route ?? "");

/** Columns of the charts, the newest last; `at` in seconds since 1970. */
export const history = {
  at: [], steps: [], generated: [], stepMedian: [], stepTail: [], queueTail: [], runTail: [], batch: [], commitTail: [], refused: [],
};
export const beats = new EventTarget();
/** The newest scrape, and why there is none: a sentence, or nothing. */
export const pulse = { scrape: null, why: "" };

const MILLI = 1000;

function measure(before, now) {
  history.at.push(now.at / 1000);
  history.steps.push(rate(before, now, "ostinato_steps_total"));
  history.generated.push(rate(before, now, "ostinato_generated_steps_total"));
  history.stepMedian.push(MILLI * quantile(before, now, "ostinato_request_seconds", 0.5, ofSteps));
  history.stepTail.push(MILLI * quantile(before, now, "ostinato_request_seconds", 0.99, ofSteps));
  history.queueTail.push(MILLI * quantile(before, now, "ostinato_queue_seconds", 0.99));
  history.runTail.push(MILLI * quantile(before, now, "ostinato_run_seconds", 0.99));
  history.batch.push(mean(before, now, "ostinato_iteration_batch_size"));
  history.commitTail.push(MILLI * quantile(before, now, "ostinato_commit_seconds", 0.99));
  history.refused.push(rate(before, now, "ostinato_rejected_total"));
  if (history.at.length > KEPT) for (const column of Object.values(history)) column.shift();
}

async function beat() {
  try {
    const now = new Scrape(await take("metrics", "text", { isQuiet: true }), Date.now());
    if (pulse.scrape) measure(pulse.scrape, now);
    Object.assign(pulse, { scrape: now, why: "" });
  } catch (error) {
    // Those without the right to metrics look at all else.
    pulse.why = error instanceof Refusal && error.status === 403
      ? "These figures need a key with the right “metrics”; this one has none. All else is shown."
      : words(error);
    if (error instanceof Refusal) pulse.scrape = null;
  }
  beats.dispatchEvent(new Event("beat"));
}

/** Begin, for as long as the page is open. */
export function watch() {
  const again = async () => {
    if (!document.hidden && !asksForKey()) await beat();
    setTimeout(again, PERIOD_MS);
  };
  signals.addEventListener("key", (event) => event.detail.changed && (pulse.why = ""));
  again();
}

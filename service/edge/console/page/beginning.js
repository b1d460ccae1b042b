// The beginning of a view: what it needs is asked for until it is there, and why it is not yet is told.

import { passes, words } from "./api.js";
import { element, fill } from "./dom.js";

const AGAIN_MS = 1000;

/** Have `begin(signal)` build a view under a title, again while what keeps it passes; what ends it. */
export function beginning(main, title, begin) {
  const stop = new AbortController();
  const attempt = () => {
    if (stop.signal.aborted) return;
    begin(stop.signal).catch((error) => {
      if (stop.signal.aborted) return;
      fill(main, element("h1", {}, title), element("p", { class: "told bad", role: "status" }, words(error)));
      if (passes(error)) setTimeout(attempt, AGAIN_MS);
    });
  };
  attempt();
  return () => stop.abort();
}

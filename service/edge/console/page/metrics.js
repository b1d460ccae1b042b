// Metrics: the text of /metrics as numbers, and what two scrapes say of the time between them. Pure.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** A scrape: samples by name, each `{labels, value}`. */
export class Scrape {
  constructor(text, at) {
    this.at = at;
    this.samples = new Map();
    for (const line of text.split("\n")) {
      const found = LINE.exec(line);
      if (!found) continue;
      const labels = {};
      for (const [, name, value] of (found[2] ?? "").matchAll(LABEL)) labels[name] = value;
      if (!this.samples.has(found[1])) this.samples.set(found[1], []);
      this.samples.get(found[1]).push({ labels, value: Number(found[3]) });
    }
  }

  /** The samples of a name whose labels `pick` takes. */
  of(name, pick = () => true) {
    return (this.samples.get(name) ?? []).filter((sample) => pick(sample.labels));
  }

  sum(name, pick) {
    return this.of(name, pick).reduce((total, sample) => total + sample.value, 0);
  }

  /** Cumulated counts of a histogram by their upper bounds, all series that are taken together. */
  buckets(name, pick) {
    const counts = new Map();
    for (const { labels, value } of this.of(`${name}_bucket`, pick)) {
      const bound = Number(labels.le.replace("+Inf", "Infinity"));
      counts.set(bound, (counts.get(bound) ?? 0) + value);
    }
    return counts;
  }
}

/** How much a counter grew in a second; 0 where a process began anew. */
export function rate(before, now, name, pick) {
  return Math.max(0, now.sum(name, pick) - before.sum(name, pick)) / Math.max(1e-3, (now.at - before.at) / 1000);
}

/** A quantile of what a histogram saw between two scrapes, as Prometheus' histogram_quantile; NaN where it saw nothing. */
export function quantile(before, now, name, share, pick) {
  const earlier = before.buckets(name, pick);
  const bounds = [...now.buckets(name, pick)]
    .map(([bound, count]) => [bound, Math.max(0, count - (earlier.get(bound) ?? 0))])
    .sort((one, other) => one[0] - other[0]);
  const total = bounds.at(-1)?.[1] ?? 0;
  if (!total) return NaN;
  const rank = share * total;
  let [lower, below] = [0, 0];
  for (const [bound, count] of bounds) {
    if (count >= rank) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (rank - below)) / Math.max(count - below, 1e-12);
    }
    [lower, below] = [bound, count];
  }
  return lower;
}

/** The mean of what a histogram saw between two scrapes; NaN where it saw nothing. */
export function mean(before, now, name, pick) {
  const count = now.sum(`${name}_count`, pick) - before.sum(`${name}_count`, pick);
  return count > 0 ? (now.sum(`${name}_sum`, pick) - before.sum(`${name}_sum`, pick)) / count : NaN;
}

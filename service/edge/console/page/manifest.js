// Manifests: what a version takes and gives, in the words of the views. Pure.

export const TASKS = {
  recurrent: "sessions, step by step",
  encoder_decoder: "reads a whole, writes another",
  generator: "writes from a beginning",
  sequence: "whole sequences",
};

/** Whether it has sessions that one flat input a step goes into: what the view Stream can feed. */
export function streams(manifest) {
  return manifest?.task === "recurrent" && manifest.inputs.length === 1 && !manifest.context?.length
    && manifest.inputs[0].shape.filter((axis) => typeof axis === "number").length <= 1;
}

export const generates = (manifest) => ["encoder_decoder", "generator"].includes(manifest?.task);

/** Whether its steps are samples of a sound: a single number each, and an answer once in many. */
export function hears(manifest) {
  return streams(manifest) && Boolean(manifest.framing) && manifest.inputs[0].features.length === 1 && manifest.framing.hop >= 16;
}

/** How many samples a second it was made for: a constant of the graph tells, or 16,000. */
export function soundRate(manifest) {
  const told = (manifest.constants ?? []).map(({ value }) => value).find((value) => value >= 4000 && value <= 192_000);
  return told ?? 16_000;
}

/** What its outputs say of the next step: `{target, feature, middle, lower, upper}`, places of features; null = nothing.
 *
 * `lower` and `upper` are the outermost quantiles, -1 where there are none.
 */
export function forecast(manifest) {
  const outputs = manifest.outputs.flatMap((output) => output.features);
  const [fed] = Object.entries(manifest.feedback ?? {});
  if (!fed || !manifest.inputs.length) return null;
  const [made, target] = fed;
  const feature = manifest.inputs[0].features.indexOf(target);
  const middle = outputs.indexOf(made);
  if (feature < 0 || middle < 0) return null;
  const quantiles = outputs
    .map((name, place) => ({ place, found: /^(.*)_p(\d+(?:\.\d+)?)$/.exec(name) }))
    .filter(({ found }) => found && made.startsWith(`${found[1]}_p`))
    .map(({ place, found }) => ({ place, probability: Number(found[2]) }))
    .sort((one, other) => one.probability - other.probability);
  const hasBand = quantiles.length >= 2;
  return {
    target, feature, middle,
    lower: hasBand ? quantiles[0].place : -1,
    upper: hasBand ? quantiles.at(-1).place : -1,
    told: hasBand ? `${quantiles[0].probability} % to ${quantiles.at(-1).probability} %` : "",
  };
}

/** How it was proved, in a sentence. */
export function proof(manifest) {
  const { parity, promise } = manifest;
  if (!parity) return "no proof is in its manifest";
  const told = [[parity.batch_sizes.length, "batch size"], [parity.lengths.length, "length"], [parity.num_chunkings, "cut"]];
  const sizes = told.filter(([count]) => count).map(([count, what]) => `${count} ${what}${count > 1 ? "s" : ""}`).join(", ");
  const near = parity.max_difference ? `within ${Number(parity.max_difference.toPrecision(2))} of its network` : "equal to its network";
  return `${near} over ${sizes}; live = offline to the bit (${promise ? { any: "in any batch", fixed: "at one shape", alone: "run alone" }[promise.holds] : "found at load"})`;
}

const mulberry = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
};

/** Rows made up within what a version takes: slow waves with a little noise, the same each time. */
export function madeUp(manifest, count) {
  const [input] = manifest.inputs;
  const random = mulberry(7);
  const isWhole = input.dtype.includes("int");
  const columns = input.features.map((feature, place) => {
    const codes = input.categories?.[feature]?.length ?? input.num_codes;
    const range = input.ranges?.[feature];
    if (codes || range?.whole) {
      const [least, most] = codes ? [0, codes - 1] : [range.least, range.most];
      return Array.from({ length: count }, () => least + Math.floor(random() * (most - least + 1)));
    }
    const told = input.statistics;
    const [mean, spread] = told ? [told.mean[place], told.std[place]] : [0, 1];
    const [least, most] = told ? [told.minimum[place], told.maximum[place]] : [range?.least ?? -Infinity, range?.most ?? Infinity];
    return Array.from({ length: count }, (_, step) => {
      const wave = Math.sin(step / (9 + 2 * place)) + 0.5 * Math.sin(step / (31 + 3 * place)) + 0.3 * (random() - 0.5);
      const value = Math.min(most, Math.max(least, mean + spread * wave));
      return isWhole ? Math.round(value) : Number(value.toFixed(4));
    });
  });
  return Array.from({ length: count }, (_, step) => columns.map((column) => column[step]));
}

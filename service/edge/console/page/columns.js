// Columns of numbers that grow, and what of them is drawn: never more points than a screen has. Pure.

/** A column of doubles that grows at its end; NaN is no number. */
export class Column {
  constructor(capacity = 1024) {
    this.numbers = new Float64Array(capacity).fill(NaN);
    this.length = 0;
  }

  set(index, value) {
    if (index >= this.numbers.length) {
      const larger = new Float64Array(Math.max(2 * this.numbers.length, index + 1)).fill(NaN);
      larger.set(this.numbers);
      this.numbers = larger;
    }
    this.numbers[index] = value ?? NaN;
    this.length = Math.max(this.length, index + 1);
  }

  get(index) {
    return index >= 0 && index < this.length ? this.numbers[index] : NaN;
  }

  /** Forget what stands behind the first `length`. */
  cut(length) {
    if (length >= this.length) return;
    this.numbers.fill(NaN, length, this.length);
    this.length = length;
  }

  copy() {
    const made = new Column(Math.max(1, this.length));
    made.numbers.set(this.numbers.subarray(0, this.length));
    made.length = this.length;
    return made;
  }
}

/** What of columns is drawn between two places: `{x, series}`, at most `points` of each.
 *
 * Where there are more, each stretch gives two points: of a line its least and its most, so that no peak is lost; of the
 * lower edge of a band the least twice, of the upper one the most. `kinds`: "line", "lower" or "upper" of each.
 */
export function thin(columns, kinds, from, to, points) {
  const count = Math.max(0, to - from);
  const stretch = Math.max(1, Math.ceil((2 * count) / Math.max(2, points)));
  if (stretch <= 2) {
    const x = Array.from({ length: count }, (_, index) => from + index);
    return { x, series: columns.map((column) => x.map((index) => shown(column.get(index)))) };
  }
  const x = [];
  const series = columns.map(() => []);
  for (let start = from; start < to; start += stretch) {
    const end = Math.min(start + stretch, to);
    x.push(start, start + Math.max(1, Math.floor((end - start) / 2)));
    columns.forEach((column, place) => {
      let [least, most] = [Infinity, -Infinity];
      for (let index = start; index < end; index += 1) {
        const value = column.get(index);
        if (value < least) least = value;
        if (value > most) most = value;
      }
      if (least === Infinity) series[place].push(null, null);
      else if (kinds[place] === "lower") series[place].push(least, least);
      else if (kinds[place] === "upper") series[place].push(most, most);
      else series[place].push(least, most);
    });
  }
  return { x, series };
}

const shown = (value) => (Number.isNaN(value) ? null : value);

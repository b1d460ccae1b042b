// Tables: a CSV as rows of what a model takes. Pure.

const MISSING = new Set(["", "na", "n/a", "nan", "null", "none", "-", "?"]);

/** A table's names and cells, as text; the separator is the one that the first line has most of. */
export function readTable(text) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/).filter((line) => line.trim() !== "");
  if (!lines.length) throw new Error("The file is empty.");
  const separator = [",", ";", "\t"].map((each) => [lines[0].split(each).length, each]).sort((one, other) => other[0] - one[0])[0][1];
  const cells = lines.map((line) => split(line, separator));
  const hasNames = cells[0].some((cell) => cell !== "" && !isNumber(cell, separator) && !MISSING.has(cell.toLowerCase()));
  return { names: hasNames ? cells[0] : null, cells: hasNames ? cells.slice(1) : cells, separator };
}

function split(line, separator) {
  if (!line.includes('"')) return line.split(separator).map((cell) => cell.trim());
  const cells = [];
  let [cell, isQuoted] = ["", false];
  for (let place = 0; place < line.length; place += 1) {
    const sign = line[place];
    if (sign === '"' && isQuoted && line[place + 1] === '"') { cell += '"'; place += 1; }
    else if (sign === '"') isQuoted = !isQuoted;
    else if (sign === separator && !isQuoted) { cells.push(cell.trim()); cell = ""; }
    else cell += sign;
  }
  return [...cells, cell.trim()];
}

const plain = (cell, separator) => (separator === "," ? cell : cell.replace(",", "."));
const isNumber = (cell, separator) => cell !== "" && Number.isFinite(Number(plain(cell, separator)));

/** The rows of a table for a model's input, and `notes` of what was made of it; raises with the place that does not fit. */
export function rowsFor(table, input) {
  const { names, cells, separator } = table;
  const notes = [];
  const columns = input.features.map((feature, place) => {
    const column = names ? names.findIndex((name) => name.toLowerCase() === feature.toLowerCase()) : place;
    if (column < 0 && !input.missing) {
      throw new Error(`The file has no column “${feature}”. The model takes ${input.features.join(", ")}; the file has ${names.join(", ")}.`);
    }
    if (column < 0) notes.push(`no column “${feature}”: it is missing in each step`);
    return column;
  });
  if (!names && cells[0].length !== input.features.length) {
    throw new Error(`The file has no names and ${cells[0].length} columns; the model takes ${input.features.length}: ${input.features.join(", ")}.`);
  }
  const words = new Set([...MISSING, ...(input.missing_words ?? []).map((word) => word.toLowerCase())]);
  const rows = cells.map((row, line) => columns.map((column, place) => {
    const cell = column < 0 ? "" : row[column] ?? "";
    const feature = input.features[place];
    const code = (input.categories?.[feature] ?? []).indexOf(cell);
    if (code >= 0) return code;
    if (isNumber(cell, separator)) return Number(plain(cell, separator));
    if (words.has(cell.toLowerCase())) {
      if (input.missing) return null;
      throw new Error(`Row ${line + 1} has no “${feature}”, and this model knows no missing values.`);
    }
    throw new Error(`Row ${line + 1}: “${cell}” is no number, and no word that the model knows for “${feature}”.`);
  }));
  return { rows, notes };
}

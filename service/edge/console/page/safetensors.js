// Safetensors: a session's state file as arrays of numbers. Pure.

const READERS = {
  F64: [8, (view, at) => view.getFloat64(at, true)],
  F32: [4, (view, at) => view.getFloat32(at, true)],
  F16: [2, (view, at) => half(view.getUint16(at, true))],
  I64: [8, (view, at) => Number(view.getBigInt64(at, true))],
  I32: [4, (view, at) => view.getInt32(at, true)],
  I16: [2, (view, at) => view.getInt16(at, true)],
  I8: [1, (view, at) => view.getInt8(at)],
  U8: [1, (view, at) => view.getUint8(at)],
  BOOL: [1, (view, at) => view.getUint8(at)],
};
const HEADER_LENGTH_BYTES = 8;

/** A file's `{metadata, tensors}`: each tensor `{name, dtype, shape, count, numbers()}`. */
export function readFile(buffer) {
  const view = new DataView(buffer);
  const length = Number(view.getBigUint64(0, true));
  const { __metadata__: metadata = {}, ...parts } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, HEADER_LENGTH_BYTES, length)));
  const begin = HEADER_LENGTH_BYTES + length;
  const tensors = Object.entries(parts).map(([name, { dtype, shape, data_offsets: [from] }]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const numbers = () => {
      const [width, read] = READERS[dtype];
      return Float64Array.from({ length: count }, (_, index) => read(view, begin + from + index * width));
    };
    return { name, dtype, shape, count, numbers };
  });
  return { metadata, tensors };
}

/** The tensor that says most of a recurrent state at a glance: floats, neither one number nor thousands. */
export function mostTelling(tensors) {
  const floats = tensors.filter(({ dtype, count }) => dtype.startsWith("F") && count > 1);
  const fits = floats.filter(({ count }) => count >= 4 && count <= 1024);
  return (fits.find(({ name }) => /^(h|hidden|state)/.test(name)) ?? fits[0] ?? floats[0] ?? tensors[0])?.name;
}

function half(bits) {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * 2 ** -14 * (fraction / 1024);
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

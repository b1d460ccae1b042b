// Addresses as a person reads them. Pure.

/** The text behind an encoded one; one that was not encoded stays as it is. */
export function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// The theme: the system's until it is chosen here; and the colours of the style sheet, for what is drawn.

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
export const changes = new EventTarget();

export function themeOf() {
  return root.dataset.theme ?? (dark.matches ? "dark" : "light");
}

export function rememberTheme(theme) {
  root.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // a browser that keeps nothing
  }
  changes.dispatchEvent(new Event("change"));
}

try {
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
} catch {
  // likewise
}
dark.addEventListener("change", () => changes.dispatchEvent(new Event("change")));

const probe = document.createElement("i");
probe.hidden = true;
document.body.append(probe);

/** A colour of the style sheet by its name, as `rgb(...)`, of the theme that is shown now. */
export function colour(name) {
  probe.className = `colour-${name}`;
  return getComputedStyle(probe).color;
}

/** The same, let through by so much. */
export function veil(name, share) {
  const [red, green, blue] = colour(name).match(/[\d.]+/g);
  return `rgba(${red}, ${green}, ${blue}, ${share})`;
}

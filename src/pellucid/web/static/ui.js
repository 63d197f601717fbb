// Building the page. Text becomes text nodes and never HTML, so a class named <script> is shown as that.

/** An element: el("p", {class: "quiet", onclick: f}, "text", child, [children]); null and false are left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Put these children in place of what is there. */
export function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
  return node;
}

/** A table of rows of texts; the first column is text, the others numbers. */
export function table(head, rows, caption) {
  return el("div", {class: "wide", tabindex: "0", role: "region", "aria-label": caption || head.join(", ")},
    el("table", {},
      el("thead", {}, el("tr", {}, head.map((name) => el("th", {scope: "col"}, name)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell)))))));
}

/** A number as people read it: 4 significant digits, thousands apart, powers of ten where it is tiny or huge. */
export function figure(value, digits = 4) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value; // "nan", "inf"
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(digits)));
}

/** Seconds as people read them. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** The record's numbers: "nan", "inf" and "-inf" come as strings, for JSON has none. */
export function number(value) {
  if (typeof value === "string") return {nan: NaN, inf: Infinity, "-inf": -Infinity}[value] ?? NaN;
  return value === null || value === undefined ? NaN : value;
}

/** A colour of the page by its name, as the theme has it now: "--c1". */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Call f when light becomes dark, or the other way round: canvases have to be drawn anew. */
export function onTheme(f) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", f);
}

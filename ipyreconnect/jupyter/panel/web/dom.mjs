// Helpers for all modules: making elements, and formatting numbers, times and durations.

/**
 * Make an element: h("div", { class: "x", title: "y" }, child, "text"). Texts are never parsed as markup.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, unknown>} properties attributes; "onclick" etc. are listeners; null and false are
 *   left out
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (value === true) element.setAttribute(name, "");
    else if ((value ?? false) !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/**
 * Set an element's text if it differs: setting it always costs a layout.
 *
 * @param {Element} element
 * @param {string} text
 */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Make a small button.
 *
 * @param {string} text
 * @param {Record<string, unknown>} properties
 */
export const button = (text, properties) =>
  h("button", { type: "button", class: "ipr-toggle", ...properties }, text);

/**
 * Make a button that is on or off; it is off.
 *
 * @param {string} text
 * @param {Record<string, unknown>} properties
 */
export const toggle = (text, properties) => button(text, { "aria-pressed": "false", ...properties });

/** @param {Element} toggle */
export const isOn = (toggle) => toggle.getAttribute("aria-pressed") === "true";

/**
 * @param {Element} toggle
 * @param {boolean} on
 */
export const setOn = (toggle, on) => toggle.setAttribute("aria-pressed", String(on));

/** @param {number} number */
const two = (number) => String(number).padStart(2, "0");

/**
 * The time of day: "09:05:07".
 *
 * @param {Date} date
 */
export const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;

/**
 * 1 -> "1 line", 1234 -> "1,234 lines".
 *
 * @param {number} number
 * @param {string} one
 */
export const count = (number, one) => `${number.toLocaleString()} ${one}${number === 1 ? "" : "s"}`;

/** @type {[string, number][]} */
const UNITS = [
  ["y", 365 * 86400],
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

/**
 * 5 -> "5 s", 75 -> "1 min 15 s", 7300 -> "2 h 1 min", 200000 -> "2 d 7 h".
 *
 * @param {number} seconds
 */
export function span(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  const first = UNITS.findIndex(([, size]) => rest >= size);
  if (first < 0) return "0 s";
  const parts = [];
  for (const [name, size] of UNITS.slice(first, first + 2)) {
    const number = Math.floor(rest / size);
    if (number) parts.push(`${number} ${name}`);
    rest %= size;
  }
  return parts.join(" ");
}

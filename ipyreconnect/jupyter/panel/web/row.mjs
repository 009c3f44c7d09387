// One row of the log. Its elements are made once and reused for other lines. Does not talk to the kernel.

import { clock, count, h, say, span } from "./dom.mjs";
import { hasControls, pieces } from "./text.mjs";

/** @import { Line } from "./pages.mjs" */

/**
 * @typedef {"clock" | "delta" | "off"} Times the time of day, since the line before, or nothing
 */

/**
 * @typedef {object} Marks what is marked in the rows
 * @property {number} id the number of the search
 * @property {RegExp | null} pattern what is searched for, a global regular expression
 * @property {number} current the number of the line with the hit that was stepped to, or -1
 */

/**
 * How rows look.
 *
 * @typedef {object} Look
 * @property {Times} times
 * @property {Marks} marks
 * @property {string} key looks with the same key differ in marks.current only
 */

const MARKED = 1000; // places that are marked in one text

/** @type {Record<string, [string, string]>} */
const DELIVERIES = {
  q: ["queued", "waiting to be sent"],
  s: ["sent", "sent: handed to the network, not acknowledged yet"],
  a: ["acknowledged", "acknowledged: the peer’s machine has it"],
  u: ["unconfirmed", "unconfirmed: the connection was lost before the peer’s machine acknowledged it"],
};

/** @type {Record<string, [string, string]>} */
const DIRECTIONS = { "<": ["in", "received"], ">": ["out", "sent"], "*": ["note", "note"] };

/**
 * Set the text of an element. It is never parsed as markup.
 *
 * @param {Element} element
 * @param {string} text
 * @param {RegExp | null} pattern what is marked in it; a match never reaches across a control character
 */
export function fill(element, text, pattern = null) {
  if (!pattern && !hasControls(text)) {
    if (element.childElementCount) element.replaceChildren(text);
    else say(element, text);
    return;
  }
  element.replaceChildren(...partsOf(text, pattern).filter((part) => part !== ""));
}

/**
 * @param {string} text
 * @param {RegExp | null} pattern
 */
function partsOf(text, pattern) {
  /** @type {(Node | string)[]} */
  const parts = [];
  let room = MARKED;
  for (const [shown, meant] of pieces(text)) {
    if (shown !== meant) parts.push(h("span", { class: "ipr-control" }, shown));
    else if (pattern) room -= mark(shown, pattern, room, parts);
    else parts.push(shown);
  }
  return parts;
}

/**
 * Append a text to `parts` with at most `room` matches marked, and return how many those are.
 *
 * @param {string} text
 * @param {RegExp} pattern
 * @param {number} room
 * @param {(Node | string)[]} parts
 */
function mark(text, pattern, room, parts) {
  let from = 0;
  let marked = 0;
  for (const match of room ? text.matchAll(pattern) : []) {
    if (!match[0]) continue;
    parts.push(text.slice(from, match.index), h("mark", {}, match[0]));
    from = match.index + match[0].length;
    if (++marked === room) break;
  }
  parts.push(text.slice(from));
  return marked;
}

/** @param {number} seconds since the epoch */
function clockWithMilliseconds(seconds) {
  const date = new Date(seconds * 1000);
  return `${clock(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/**
 * 0.25 -> "+250 ms", 1.5 -> "+1.50 s", 75 -> "+75.0 s", 100 -> "+1 min 40 s".
 *
 * @param {number} seconds
 */
function delta(seconds) {
  if (seconds < 0.9995) return `+${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 99.95) return `+${seconds.toFixed(seconds < 9.995 ? 2 : 1)} s`;
  return `+${span(seconds)}`;
}

/**
 * Return the time to show before a line.
 *
 * @param {Line} line
 * @param {Times} times
 */
export function timeOf(line, times) {
  if (times === "delta") return line.before == null ? "" : delta(line.time - line.before);
  return times === "off" ? "" : clockWithMilliseconds(line.time);
}

/**
 * Describe what is missing of a line.
 *
 * @param {Line} line
 */
export const more = (line) => count(line.cut, "more character");

/**
 * Return the kind of a note by its first word; it only selects the colour.
 *
 * @param {string} text
 */
export function noteKind(text) {
  if (/^connected/.test(text)) return "up";
  if (/^(connecting|resolving|stopp|waiting)/.test(text)) return "calm";
  return "down";
}

/**
 * @param {Line} line
 * @param {string} direction
 */
function classesOf(line, direction) {
  const classes = ["ipr-row", `ipr-${direction}`];
  if (line.cut) classes.push("ipr-cut");
  if (line.dir === "*") classes.push(`ipr-note-${noteKind(line.text)}`);
  return classes.join(" ");
}

const PART = {
  class: "ipr-part",
  role: "img",
  "aria-label": "a part of a longer line",
  title: "a part of a longer line",
};

/** The elements of one row. */
export class Row {
  time = h("span", { class: "ipr-time" });
  arrow = h("span", { class: "ipr-arrow", role: "img" });
  text = h("span", { class: "ipr-text" });
  more = h("button", { class: "ipr-more", type: "button", hidden: true });
  part = h("span", { ...PART, hidden: true }, "⋯");
  mark = h("span", { class: "ipr-mark" });
  body = h("span", { class: "ipr-body" }, this.text, this.more, this.part);
  el = h("div", { class: "ipr-row" }, this.time, this.arrow, this.body, this.mark);
  at = -1;
  /** @type {Line | undefined} */
  line = undefined;
  #key = "";
  #current = false;
  /** @type {{ text: string, pattern: RegExp | null } | null} */
  #filled = null;

  /**
   * Show a line, or that it is being loaded.
   *
   * @param {number} at
   * @param {Line | undefined} line
   * @param {Look} look
   */
  show(at, line, look) {
    this.at = at;
    const changed = this.line !== line || this.#key !== look.key || !line;
    if (changed) this.#draw(line, look);
    const current = line !== undefined && line.n === look.marks.current;
    if (changed || current !== this.#current) this.#setCurrent(current, look.marks.pattern);
  }

  /**
   * @param {Line | undefined} line
   * @param {Look} look
   */
  #draw(line, look) {
    this.line = line;
    this.#key = look.key;
    this.#setDelivery(DELIVERIES[line?.mark ?? ""]);
    if (line) this.#drawLine(line, look);
    else this.#drawNothing();
  }

  #drawNothing() {
    this.el.className = "ipr-row ipr-loading";
    say(this.time, "");
    this.#fill("", null);
    this.more.hidden = this.part.hidden = true;
  }

  /**
   * @param {Line} line
   * @param {Look} look
   */
  #drawLine(line, { times, marks }) {
    const [direction, spoken] = DIRECTIONS[line.dir] || DIRECTIONS["<"];
    this.el.className = classesOf(line, direction);
    this.arrow.setAttribute("aria-label", spoken);
    say(this.time, timeOf(line, times));
    this.time.title = times === "off" ? "" : new Date(line.time * 1000).toLocaleString();
    this.#fill(line.text, marks.pattern);
    this.part.hidden = !line.part;
    this.more.hidden = !line.cut;
    if (!line.cut) return;
    const number = line.cut.toLocaleString();
    // In a narrow log only the number is shown.
    this.more.replaceChildren(
      `+${number}`,
      h("span", { class: "ipr-words" }, more(line).slice(number.length)),
    );
    this.more.title = `Show all of this line: ${more(line)}`;
    this.more.setAttribute("aria-label", more(line));
  }

  /**
   * Highlight the current hit: scroll the text to it, or highlight the button if the hit is in the part that
   * was cut off.
   *
   * @param {boolean} on
   * @param {RegExp | null} pattern
   */
  #setCurrent(on, pattern) {
    this.#current = on;
    this.el.classList.toggle("ipr-current", on);
    const hit = on ? this.text.querySelector("mark") : null;
    this.el.classList.toggle("ipr-beyond", on && pattern !== null && !hit);
    if (hit) {
      const text = this.text.getBoundingClientRect();
      const place = hit.getBoundingClientRect();
      if (place.left >= text.left && place.right <= text.right) return;
      this.text.classList.add("ipr-moved");
      this.text.scrollLeft += place.left - text.left - text.width / 3;
    } else if (this.text.classList.contains("ipr-moved")) {
      this.text.scrollLeft = 0;
      this.text.classList.remove("ipr-moved");
    }
  }

  /**
   * Set the text if it has changed: otherwise the text that the user has selected in it would be lost.
   *
   * @param {string} text
   * @param {RegExp | null} pattern
   */
  #fill(text, pattern) {
    if (this.#filled?.text === text && this.#filled.pattern === pattern) return;
    this.#filled = { text, pattern };
    fill(this.text, text, pattern);
  }

  /** @param {[string, string] | undefined} delivery */
  #setDelivery(delivery) {
    this.mark.className = delivery ? `ipr-mark ipr-${delivery[0]}` : "ipr-mark";
    this.mark.title = delivery ? delivery[1] : "";
    if (delivery) {
      this.mark.setAttribute("role", "img");
      this.mark.setAttribute("aria-label", delivery[0]);
    } else {
      this.mark.removeAttribute("role");
      this.mark.removeAttribute("aria-label");
    }
  }
}

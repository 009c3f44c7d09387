// Lines and spaces for the tests, and the elements' document that some modules need.

import { parseHTML } from "linkedom";
import { Space } from "../../ipyreconnect/jupyter/panel/web/pages.mjs";

/** @import { Line, Rows } from "../../ipyreconnect/jupyter/panel/web/pages.mjs" */

/**
 * Make a received line.
 *
 * @param {Partial<Line>} [changes]
 * @returns {Line}
 */
export function line(changes = {}) {
  const at = changes.at ?? 0;
  return {
    at,
    n: at,
    dir: "<",
    mark: "-",
    part: false,
    cut: 0,
    time: 0,
    before: null,
    text: `line ${at}`,
    ...changes,
  };
}

/**
 * Make a space in which the lines first ≤ at < end are, and of which these are here.
 *
 * @param {number} first
 * @param {number} end
 * @param {Line[]} lines
 * @param {"lines" | "hits"} [kind]
 */
export function space(first, end, lines = [], kind = "lines") {
  const made = new Space(kind);
  made.first = first;
  made.end = end;
  made.pages.put(lines);
  return made;
}

/**
 * Make the lines from ≤ at < to.
 *
 * @param {number} from
 * @param {number} to
 */
export const linesOf = (from, to) => Array.from({ length: to - from }, (_, i) => line({ at: from + i }));

/**
 * Pack lines as the kernel does.
 *
 * @param {Partial<Rows>} rows
 * @param {string[]} texts
 * @param {number[]} times
 * @returns {[Rows, DataView[]]}
 */
export function packed(rows, texts, times) {
  const defaults = { a: 0, n: texts.length, dir: "<".repeat(texts.length), mark: "-".repeat(texts.length) };
  // The times begin at an odd place, as they do in a message.
  const bytes = new Uint8Array(1 + 8 * times.length);
  bytes.set(new Uint8Array(Float64Array.from(times).buffer), 1);
  const buffers = [
    new DataView(new TextEncoder().encode(texts.join("\n")).buffer),
    new DataView(bytes.buffer, 1),
  ];
  return [{ ...defaults, part: [], cut: {}, before: null, ...rows }, buffers];
}

/** Give the modules a document, as much of one as a few elements need. */
export function makeDocument() {
  const { document } = parseHTML("<html><body></body></html>");
  Object.assign(globalThis, { document });
  return document;
}

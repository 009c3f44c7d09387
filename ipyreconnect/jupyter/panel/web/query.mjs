// The query of a search: what is marked in the rows, and its progress in words. Only values: no DOM access,
// no messages.

import { count } from "./dom.mjs";

/** @import { Space } from "./pages.mjs" */

/** @typedef {{ text: string, regex: boolean, case: boolean }} Wish what the user typed and chose */

/**
 * What the kernel reports of a search; `behind`: how many lines are not searched yet.
 *
 * @typedef {{ id: number, first: number, end: number, behind: number, error: string }} Found
 */

const MUCH = 20_000; // lines; if more are not searched yet, the progress is shown in per cent

/** A search and its progress. */
export class Query {
  error = ""; // why it failed
  behind; // lines that are not searched yet
  searched = -1; // the end of the lines that are searched
  lost = false; // whether the kernel does not know it
  asked = 0; // when the kernel was last asked, ms

  /**
   * @param {number} id
   * @param {Wish} wish
   * @param {number} until the end of the lines now; hits in later ones are new
   */
  constructor(id, wish, until) {
    this.id = id;
    this.wish = wish;
    this.until = until;
    this.behind = wish.text ? 1 : 0;
  }

  /** Whether lines that existed when it began are not searched yet. */
  get catchingUp() {
    return this.searched < this.until;
  }

  /** @param {Wish} wish */
  isFor({ text, regex, case: matchCase }) {
    const mine = this.wish;
    return mine.text === text && mine.regex === regex && mine.case === matchCase;
  }

  /**
   * Take a report from the kernel.
   *
   * @param {Found} found
   * @param {Space} all
   */
  take(found, all) {
    this.searched = all.end - found.behind;
    this.behind = found.behind;
    this.error = found.error;
  }
}

/**
 * Return the pattern that marks the hits in the rows. Which lines are hits is decided by the kernel.
 *
 * @param {Wish} wish
 * @returns {RegExp | null} null if nothing can be marked: the expression is valid in Python only, or matching
 *   it might not end
 */
export function markingPattern({ text, regex, case: matchCase }) {
  if (!text || (regex && !isTame(text))) return null;
  try {
    return new RegExp(regex ? text : text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), matchCase ? "gu" : "giu");
  } catch {
    return null;
  }
}

/**
 * A repetition with its suffix (lazy or possessive), the beginning of a group, or any other character.
 */
const TOKENS = /(?:[*+]|\{\d*,\d*\}|\{\d+\})[?+]?|\(\??|./gs;
const REPETITION = /^(?:[*+]|\{\d*,\d*\}|\{\d+\})/;
const VARIATION = /^(?:[*+?|]|\{\d*,\d*\}|\{\d+\})/;
const ENDLESS = /^(?:[*+]|\{\d*,\})/;
const MOST_ENDLESS = 2; // unbounded repetitions: with two, matching takes the square of the length

/**
 * Whether matching a regular expression takes a bounded time. JavaScript cannot stop a match that takes for
 * ever, as the kernel can. So a group that contains repetitions or alternatives must not be repeated, groups
 * must not be referred to, and few repetitions may be unbounded.
 *
 * @param {string} source
 */
export function isTame(source) {
  // Mark references; replace other escapes and sets by a single character.
  const text = source
    .replace(/\\[1-9]/g, "\0")
    .replace(/\\[^0]/gs, "x")
    .replace(/\[\^?\]?[^\]]*\]/g, "x");
  if (text.includes("\0") || text.includes("(?P=")) return false;
  const tokens = text.match(TOKENS) ?? [];
  return tokens.filter((token) => ENDLESS.test(token)).length <= MOST_ENDLESS && !repeatsVaried(tokens);
}

/**
 * Whether a group that contains repetitions or alternatives is repeated.
 *
 * @param {string[]} tokens
 */
function repeatsVaried(tokens) {
  // Whether the expression, and each group that is open, contains repetitions or alternatives.
  const open = [false];
  let wasVaried = false; // whether such a group has just been closed
  for (const token of tokens) {
    if (wasVaried && REPETITION.test(token)) return true;
    wasVaried = token === ")" && open.length > 1 && open.pop() === true;
    if (wasVaried || VARIATION.test(token)) open[open.length - 1] = true;
    if (token.startsWith("(")) open.push(false);
  }
  return false;
}

/**
 * Describe the progress and the result of a search.
 *
 * @param {Query} query
 * @param {Space} hits
 * @param {Space} all
 * @param {number} ordinal the hit that was stepped to, or -1
 */
export function verdictOf(query, hits, all, ordinal) {
  if (!query.wish.text) return "";
  if (query.error) return query.error;
  return [foundWords(query, hits, ordinal), progressWords(query, all)].filter(Boolean).join(", ");
}

/**
 * @param {Query} query
 * @param {Space} hits
 * @param {number} ordinal
 */
function foundWords({ catchingUp }, { first, end }, ordinal) {
  if (!end) return catchingUp ? "" : count(0, "hit");
  const place = ordinal >= 0 ? `${(ordinal + 1).toLocaleString()} of ` : "";
  const kept = first ? ` (${(end - first).toLocaleString()} still kept)` : "";
  return `${place}${count(end, "hit")}${kept}`;
}

/**
 * @param {Query} query
 * @param {Space} all
 */
function progressWords({ behind, catchingUp }, all) {
  if (behind <= MUCH) return catchingUp ? "searching …" : "";
  const share = all.isEmpty ? 1 : 1 - behind / (all.end - all.first);
  return `${Math.floor(100 * Math.max(0, share))} % searched`;
}

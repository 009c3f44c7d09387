// What is searched for: how it is marked in the rows, and how far the kernel is, in words. Only values: knows
// no elements and no kernel.

import { count } from "./dom.mjs";

/** @import { Space } from "./pages.mjs" */

/** @typedef {{ text: string, regex: boolean, case: boolean }} Wish what the user typed and chose */

/**
 * What the kernel tells of a search; of the lines, `behind` are not searched yet.
 *
 * @typedef {{ id: number, first: number, end: number, behind: number, error: string }} Found
 */

const MUCH = 20_000; // lines: while more are not searched yet, it says how many per cent are

/** A search, and how far it is. */
export class Query {
  error = ""; // why it can't be done
  behind; // lines that are not searched yet
  searched = -1; // the end of the lines that are
  lost = false; // whether the kernel does not know of it
  asked = 0; // when the kernel was last asked, ms

  /**
   * @param {number} id
   * @param {Wish} wish
   * @param {number} until the end of the lines that there are now: hits in later ones are news
   */
  constructor(id, wish, until) {
    this.id = id;
    this.wish = wish;
    this.until = until;
    this.behind = wish.text ? 1 : 0;
  }

  /** Whether it still looks through the lines that were there when it began. */
  get catchingUp() {
    return this.searched < this.until;
  }

  /** @param {Wish} wish */
  isFor({ text, regex, case: matchCase }) {
    const mine = this.wish;
    return mine.text === text && mine.regex === regex && mine.case === matchCase;
  }

  /**
   * Take what the kernel says.
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
 * Return the pattern that marks in the rows what is searched for. It only marks: which lines are hits is the
 * kernel's word.
 *
 * @param {Wish} wish
 * @returns {RegExp | null} null: nothing is marked, as with an expression that only Python understands or
 *   that might not end
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
 * A repetition, with the sign behind it that makes it lazy or possessive; the beginning of a group; any other
 * character.
 */
const TOKENS = /(?:[*+]|\{\d*,\d*\}|\{\d+\})[?+]?|\(\??|./gs;
const REPETITION = /^(?:[*+]|\{\d*,\d*\}|\{\d+\})/;
const VARIATION = /^(?:[*+?|]|\{\d*,\d*\}|\{\d+\})/;
const ENDLESS = /^(?:[*+]|\{\d*,\})/;
const MOST_ENDLESS = 2; // repetitions without a bound: they take the square of a text's length

/**
 * Whether a regular expression can be looked for in a row without a risk: nothing here could end a match that
 * takes for ever, as the kernel can. So it has no repetition of what repeats or has a choice, no reference to
 * a group, and few repetitions without a bound.
 *
 * @param {string} source
 */
export function isTame(source) {
  // References stand out; other escapes and sets are single characters.
  const text = source
    .replace(/\\[1-9]/g, "\0")
    .replace(/\\[^0]/gs, "x")
    .replace(/\[\^?\]?[^\]]*\]/g, "x");
  if (text.includes("\0") || text.includes("(?P=")) return false;
  const tokens = text.match(TOKENS) ?? [];
  return tokens.filter((token) => ENDLESS.test(token)).length <= MOST_ENDLESS && !repeatsVaried(tokens);
}

/**
 * Whether a group is repeated in which something repeats, or is a choice.
 *
 * @param {string[]} tokens
 */
function repeatsVaried(tokens) {
  // Of each group that is open, the whole first: whether something in it repeats, or is a choice.
  const open = [false];
  let wasVaried = false; // whether such a group has just ended
  for (const token of tokens) {
    if (wasVaried && REPETITION.test(token)) return true;
    wasVaried = token === ")" && open.length > 1 && open.pop() === true;
    if (wasVaried || VARIATION.test(token)) open[open.length - 1] = true;
    if (token.startsWith("(")) open.push(false);
  }
  return false;
}

/**
 * Say how far a search is and what it has found.
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

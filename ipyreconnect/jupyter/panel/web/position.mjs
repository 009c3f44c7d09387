// The position of the view in the log. It is kept as `top`, the fractional number of the line at the pane's
// upper edge, which wheel and keys change exactly; the scrollbar is too coarse for that. Only arithmetic, no
// DOM access.

/** @import { Space } from "./pages.mjs" */

// Rows laid out above the first visible one: when lines wrap, their heights must be known before they scroll
// in.
const LEAD = 6;

/** @param {number[]} numbers */
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Which lines are visible, and how scrolling changes that. */
export class Position {
  top = 0;
  follow = true; // whether the newest line stays visible
  wrap = false; // whether lines wrap, and so may be higher than `line`
  height = 0; // px of the pane
  line = 18; // px of a row that does not wrap

  /** @param {Space} space */
  constructor(space) {
    this.space = space;
  }

  /** How many rows fit into the pane, if none wraps. */
  get rows() {
    return Math.ceil(this.height / this.line) || 0;
  }

  /** The top at which the last line is at the lower edge, if no row wraps. */
  get last() {
    return Math.max(this.space.first, this.space.end - this.height / this.line);
  }

  /** Whether all lines fit into the pane, if none wraps. */
  get showsAll() {
    return this.last <= this.space.first;
  }

  /**
   * Limit a top to the lines that exist.
   *
   * @param {number} top
   */
  clamp(top) {
    const most = this.wrap ? Math.max(this.space.first, this.space.end - 1) : this.last;
    return Math.min(Math.max(top, this.space.first), most);
  }

  /**
   * Adjust the top to the lines that exist now, and return which ones to lay out.
   *
   * @returns {[number, number]} from ≤ at < to
   */
  range() {
    const { first, end } = this.space;
    this.top = this.clamp(this.follow ? this.last : this.top);
    const top = Math.floor(this.top);
    const to = this.follow ? end : Math.min(end, top + this.rows + 2);
    if (!this.wrap) return [Math.max(first, top), to];
    // If the end is visible, lines that wrap are placed from there upwards, so enough of them are needed.
    const from = Math.min((this.follow ? end : top) - LEAD, end - this.rows - 1);
    return [Math.max(first, from), to];
  }

  /**
   * Return how far up to shift rows that do not wrap, px.
   *
   * @param {number} from the first line that is laid out
   */
  offset(from) {
    return (this.top - from) * this.line;
  }

  /**
   * Return how far up to shift rows that wrap, px, and correct the top if the last line is at the lower
   * edge: only now that the rows are measured is it known.
   *
   * @param {number} from the first line that is laid out
   * @param {number[]} heights of the rows, px
   * @returns {{ offset: number, atEnd: boolean }}
   */
  wrappedOffset(from, heights) {
    const total = sum(heights);
    const index = Math.floor(this.top) - from;
    const above = sum(heights.slice(0, index)) + (this.top % 1) * (heights[index] || this.line);
    const atEnd = from + heights.length === this.space.end && total - above <= this.height;
    if (!this.follow && !atEnd) return { offset: above, atEnd };
    const offset = Math.max(0, total - this.height);
    let rest = offset;
    let i = 0;
    while (i < heights.length && rest >= heights[i]) rest -= heights[i++];
    this.top = from + i + (i < heights.length ? rest / heights[i] : 0);
    return { offset, atEnd };
  }

  /**
   * Scroll, as far as there are lines.
   *
   * @param {number} pixels
   * @param {(at: number) => number} heightOf the height of a row that is laid out, px
   * @returns {"not" | "moved" | "to the end"} where lines wrap, only `wrappedOffset` can tell whether this
   *   was the end
   */
  move(pixels, heightOf) {
    if (this.wrap && this.follow && pixels > 0) return "not";
    const before = this.top;
    this.top = this.clamp(this.wrap ? this.#movedWrapped(pixels, heightOf) : this.top + pixels / this.line);
    if (pixels > 0 && !this.wrap && this.top >= this.last) {
      return this.top === before && this.follow ? "not" : "to the end";
    }
    return this.top === before ? "not" : "moved";
  }

  /**
   * @param {number} pixels
   * @param {(at: number) => number} heightOf
   */
  #movedWrapped(pixels, heightOf) {
    const { first, end } = this.space;
    let at = Math.floor(this.top);
    let y = (this.top % 1) * heightOf(at) + pixels;
    while (y < 0 && at > first) y += heightOf(--at);
    while (at < end - 1 && y >= heightOf(at)) y -= heightOf(at++);
    return at + Math.max(0, Math.min(0.999999, y / heightOf(at)));
  }
}

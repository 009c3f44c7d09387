// Where in its lines the log stands. The truth is `top`, the fractional number of the line at the pane's
// upper edge: wheel and keys move it exactly, whatever the scrollbar can express. Only numbers: knows no
// elements.

/** @import { Space } from "./pages.mjs" */

// Rows laid out above the first visible one: when lines wrap, their heights must be known before they scroll in.
const LEAD = 6;

/** @param {number[]} numbers */
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

export class Position {
  top = 0;
  follow = true; // whether the newest line stays in sight
  wrap = false; // whether lines wrap, and so may be higher than `line`
  height = 0; // px of the pane
  line = 18; // px of a row that does not wrap

  /** @param {Space} space */
  constructor(space) {
    this.space = space;
  }

  /** How many rows have room, when none wraps. */
  get rows() {
    return Math.ceil(this.height / this.line) || 0;
  }

  /** The largest sensible top, when every row is one line high. */
  get last() {
    return Math.max(this.space.first, this.space.end - this.height / this.line);
  }

  /** Whether all lines have room, if none wraps. */
  get showsAll() {
    return this.last <= this.space.first;
  }

  /**
   * Return the nearest top that there is.
   *
   * @param {number} top
   */
  clamp(top) {
    const most = this.wrap ? Math.max(this.space.first, this.space.end - 1) : this.last;
    return Math.min(Math.max(top, this.space.first), most);
  }

  /**
   * Adjust the top to the lines that there are now.
   *
   * @returns {[number, number]} the lines to lay out, from ≤ at < to
   */
  range() {
    const { first, end } = this.space;
    this.top = this.clamp(this.follow ? this.last : this.top);
    const top = Math.floor(this.top);
    const to = this.follow ? end : Math.min(end, top + this.rows + 2);
    if (!this.wrap) return [Math.max(first, top), to];
    // Lines that wrap are laid out from the end upwards when the end is in sight, so there must be enough of
    // them.
    const from = Math.min((this.follow ? end : top) - LEAD, end - this.rows - 1);
    return [Math.max(first, from), to];
  }

  /**
   * Return by how many pixels rows that do not wrap are moved up, the first of them being the line `from`.
   *
   * @param {number} from
   */
  offset(from) {
    return (this.top - from) * this.line;
  }

  /**
   * Return by how many pixels rows that wrap are moved up, now that they are measured, and adjust the top
   * where the last line is at the lower edge.
   *
   * @param {number} from the first line that is laid out
   * @param {number[]} heights px
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
   * Move by so many pixels, as far as there are lines.
   *
   * @param {number} pixels
   * @param {(at: number) => number} heightOf the height of a row that is laid out, px
   * @returns {"not" | "moved" | "to the end"} where lines wrap, only the layout knows whether this was the
   *   end
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

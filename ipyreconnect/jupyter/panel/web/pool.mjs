// The pool of row elements: as many as are visible, reused while the log scrolls. Does not talk to the
// kernel.

import { h } from "./dom.mjs";
import { Row } from "./row.mjs";

/** @import { Space } from "./pages.mjs" */
/** @import { Look } from "./row.mjs" */

const MARKING = 150; // ms that marking what is searched for may take in one frame

/** The rows of a viewport. */
export class Pool {
  el = h("div", { class: "ipr-rows" });
  /** @type {Row[]} */
  #rows = [];

  constructor() {
    // What is clipped at the edge shows on hover.
    this.el.addEventListener("pointerover", (event) => {
      const text = /** @type {HTMLElement | null} */ (
        /** @type {Element} */ (event.target).closest(".ipr-text")
      );
      if (text) text.title = text.scrollWidth > text.clientWidth ? (text.textContent ?? "") : "";
    });
  }

  /** The visible rows, in order. */
  get shown() {
    return this.#rows.filter((row) => !row.el.hidden);
  }

  /**
   * The visible row that contains an element.
   *
   * @param {Node} node
   */
  rowOf(node) {
    return this.shown.find((row) => row.el.contains(node));
  }

  /**
   * Show the lines from ≤ at < to; lines that were visible before keep their elements.
   *
   * @param {Space} space
   * @param {number} from
   * @param {number} to
   * @param {Look} look its pattern is removed if marking takes too long
   * @returns {boolean} whether the focus was on an element that is hidden now
   */
  show(space, from, to, look) {
    const wanted = to - from;
    const hadFocus = this.el.contains(document.activeElement);
    this.#grow(wanted);
    this.#rotate(from);
    const began = performance.now();
    this.#rows.forEach((row, i) => {
      if (look.marks.pattern && performance.now() - began > MARKING) look.marks.pattern = null;
      row.el.hidden = i >= wanted;
      if (i < wanted) row.show(from + i, space.pages.get(from + i), look);
      else row.at = from + i;
    });
    return hadFocus && this.#lostFocus();
  }

  /**
   * Return the heights of the first rows, px.
   *
   * @param {number} count
   * @param {number} usual for a row that has none yet
   */
  heights(count, usual) {
    return this.#rows.slice(0, count).map((row) => row.el.offsetHeight || usual);
  }

  /**
   * Return the height of the row that shows a line, px.
   *
   * @param {number} at
   * @param {number} usual for one that has none
   */
  heightOf(at, usual) {
    const row = this.#rows[at - this.#rows[0]?.at];
    return row && !row.el.hidden ? row.el.offsetHeight || usual : usual;
  }

  /** Forget which lines the rows show: the next ones are of another space. */
  forget() {
    for (const row of this.#rows) row.at = -1;
  }

  /** @param {number} wanted */
  #grow(wanted) {
    while (this.#rows.length < wanted) {
      const row = new Row();
      this.#rows.push(row);
      this.el.append(row.el);
    }
  }

  /**
   * Move rows from one end to the other, so that the lines that stay visible keep their rows.
   *
   * @param {number} from
   */
  #rotate(from) {
    const rows = this.#rows;
    if (!rows.length || rows[0].at < 0) return;
    const shift = from - rows[0].at;
    if (shift > 0 && shift < rows.length) {
      const above = rows.splice(0, shift);
      this.el.append(...above.map((row) => row.el));
      rows.push(...above);
    } else if (shift < 0 && -shift < rows.length) {
      const below = rows.splice(shift);
      this.el.prepend(...below.map((row) => row.el));
      rows.unshift(...below);
    }
  }

  /** Whether the focus is no longer on a visible element of a row. */
  #lostFocus() {
    const active = document.activeElement;
    return !active || !this.el.contains(active) || active.closest("[hidden]") !== null;
  }
}

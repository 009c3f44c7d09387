// The selection in the log, kept by line and character. The browser's own selection is bound to elements,
// which show other lines once the log scrolls; so it is read when the user changes it, and set again after
// each paint. Does not talk to the kernel.

/** @typedef {{ at: number, offset: number }} Place a line, and how many of its characters stand before it */
/**
 * @typedef {[Place, Place]} Ends where a selection begins and ends; it may go backwards
 */
/** @typedef {{ at: number, el: HTMLElement, text: Element }} ShownRow */

/**
 * @param {Place} one
 * @param {Place} other
 */
const same = (one, other) => one.at === other.at && one.offset === other.offset;

/**
 * @param {Place} one
 * @param {Place} other
 */
const precedes = (one, other) => one.at < other.at || (one.at === other.at && one.offset <= other.offset);

/**
 * Return the ends in the order of the lines.
 *
 * @param {Ends} ends
 * @returns {Ends}
 */
export const inOrder = ([one, other]) => (precedes(one, other) ? [one, other] : [other, one]);

/**
 * Return the visible place that is nearest to a place.
 *
 * @param {Place} place
 * @param {{ at: number, text: { textContent: string | null } }[]} shown the visible rows: at least one,
 *   without gaps
 * @returns {Place}
 */
export function nearest({ at, offset }, shown) {
  const first = shown[0];
  const last = shown[shown.length - 1];
  if (at < first.at) return { at: first.at, offset: 0 };
  const row = at > last.at ? last : shown[at - first.at];
  return {
    at: row.at,
    offset: Math.min(at > last.at ? Number.POSITIVE_INFINITY : offset, row.text.textContent?.length ?? 0),
  };
}

/**
 * Return what is selected now that the page's selection may have changed.
 *
 * @param {Ends} found the page's selection
 * @param {Ends | null} kept what was selected before
 * @param {Ends | null} shown its nearest visible places: what the page was made to select
 * @param {{ fresh: boolean, pressed: boolean }} mouse whether its button has just begun a new selection;
 *   whether it is down
 * @returns {Ends | null} `kept` itself if nothing has changed
 */
export function changedEnds(found, kept, shown, { fresh, pressed }) {
  const [beginStays, endStays] = found.map((place, i) => shown !== null && same(place, shown[i]));
  if (beginStays && endStays) return kept;
  const old = fresh ? null : kept;
  // An end that the user has not moved stays, however far out of sight it is. The mouse moves only the second
  // one, even if the browser begins a new selection because nothing that was selected is visible any more.
  const begin = (old && (beginStays || pressed) ? old : found)[0];
  const end = (old && endStays ? old : found)[1];
  return same(begin, end) ? null : [begin, end];
}

/**
 * Return how many characters of an element precede a point in it.
 *
 * @param {Element} element
 * @param {Node} node
 * @param {number} offset
 */
export function offsetIn(element, node, offset) {
  const part = document.createRange();
  part.selectNodeContents(element);
  part.setEnd(node, offset);
  return part.toString().length;
}

/** The selection of a log, and the listeners that keep it. */
export class LogSelection {
  /** @type {Ends | null} */
  #kept = null;
  #pressed = false; // whether the mouse selects
  #fresh = false; // whether it has just begun a new selection
  #inner;
  #rows;
  #onChange;

  /**
   * @param {object} options
   * @param {HTMLElement} options.inner the element that holds the rows
   * @param {() => ShownRow[]} options.rows the visible rows, in order
   * @param {() => void} options.onChange called when something else is selected, or nothing
   * @param {AbortSignal} options.signal ends with the view
   */
  constructor({ inner, rows, onChange, signal }) {
    this.#inner = inner;
    this.#rows = rows;
    this.#onChange = onChange;
    document.addEventListener("selectionchange", () => this.take(), { signal });
    inner.addEventListener("pointerdown", (event) => this.#press(event));
    for (const name of ["pointerup", "pointercancel"])
      document.addEventListener(name, () => this.#release(), { signal });
  }

  /**
   * The first and the last selected place.
   *
   * @returns {Ends | null}
   */
  get ends() {
    return this.#kept && inOrder(this.#kept);
  }

  /** Whether the user is selecting with the mouse now. */
  get pressed() {
    return this.#pressed;
  }

  /**
   * @param {Place} begin
   * @param {Place} end
   */
  set(begin, end) {
    this.#kept = [begin, end];
    this.restore();
    this.#onChange();
  }

  clear() {
    if (!this.#kept) return;
    this.#kept = null;
    pageSelection().removeAllRanges();
    this.#onChange();
  }

  /** Read what the user has selected since the last call. */
  take() {
    const selection = pageSelection();
    const rows = this.#rows();
    let ends = null;
    if (this.#isOurs(selection) && rows.length) {
      const mouse = { fresh: this.#fresh, pressed: this.#pressed };
      ends = changedEnds(endsOf(selection, rows), this.#kept, this.#shown(rows), mouse);
      if (ends && ends === this.#kept) return;
      this.#fresh = false;
    }
    if (!ends && !this.#kept) return;
    this.#kept = ends;
    this.restore();
    this.#onChange();
  }

  /** Select the same text again, now that the rows show other lines. */
  restore() {
    const rows = this.#rows();
    const wanted = rows.length ? this.#shown(rows) : null;
    if (!wanted) return;
    const selection = pageSelection();
    if (this.#isOurs(selection)) {
      const [begin, end] = endsOf(selection, rows);
      if (same(begin, wanted[0]) && same(end, wanted[1])) return;
    }
    selection.setBaseAndExtent(...nodeAt(wanted[0], rows), ...nodeAt(wanted[1], rows));
  }

  /**
   * The visible places nearest to the ends.
   *
   * @param {ShownRow[]} rows
   * @returns {Ends | null}
   */
  #shown(rows) {
    return this.#kept && [nearest(this.#kept[0], rows), nearest(this.#kept[1], rows)];
  }

  /** @param {Selection} selection */
  #isOurs({ rangeCount, anchorNode, focusNode }) {
    return rangeCount > 0 && (this.#inner.contains(anchorNode) || this.#inner.contains(focusNode));
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (event.button) return;
    this.take();
    this.#pressed = true;
    this.#fresh = !event.shiftKey;
    const target = /** @type {Node} */ (event.target);
    const row = event.shiftKey && this.#kept && this.#rows().find(({ el }) => el.contains(target));
    if (!row || !this.#kept) return;
    // JupyterLab handles the click itself if the page has no selected text, which is so while everything that
    // is selected is out of sight. So the row is selected first; the browser then decides how much of it.
    const [begin] = this.#kept;
    this.#kept = [begin, { at: row.at, offset: row.at < begin.at ? 0 : Number.POSITIVE_INFINITY }];
    this.restore();
  }

  #release() {
    if (!this.#pressed) return;
    this.take();
    this.#pressed = false;
    if (!this.#kept) this.#onChange();
  }
}

const pageSelection = () => /** @type {Selection} */ (document.getSelection());

/**
 * Return the page's selection as places in the log.
 *
 * @param {Selection} selection
 * @param {ShownRow[]} rows
 * @returns {Ends}
 */
const endsOf = ({ anchorNode, anchorOffset, focusNode, focusOffset }, rows) => [
  placeOf(/** @type {Node} */ (anchorNode), anchorOffset, rows),
  placeOf(/** @type {Node} */ (focusNode), focusOffset, rows),
];

/**
 * Return the place of a point of the page; the nearest one if it is above or below the rows.
 *
 * @param {Node} node
 * @param {number} offset
 * @param {ShownRow[]} rows
 * @returns {Place}
 */
function placeOf(node, offset, rows) {
  for (const { at, text } of rows) {
    const part = document.createRange();
    part.selectNodeContents(text);
    const side = part.comparePoint(node, offset);
    if (side <= 0) return { at, offset: side ? 0 : offsetIn(text, node, offset) };
  }
  return nearest({ at: Number.POSITIVE_INFINITY, offset: 0 }, rows);
}

/**
 * Return the point of the page at a visible place.
 *
 * @param {Place} place
 * @param {ShownRow[]} rows
 * @returns {[Node, number]}
 */
function nodeAt({ at, offset }, rows) {
  const { text } = rows[at - rows[0].at];
  const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
  let rest = offset;
  while (walker.nextNode()) {
    const node = /** @type {Text} */ (walker.currentNode);
    if (rest <= node.length) return [node, rest];
    rest -= node.length;
  }
  return [text, text.childNodes.length];
}

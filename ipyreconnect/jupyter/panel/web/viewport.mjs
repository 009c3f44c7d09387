// The viewport of the log: a pane with rows for the visible lines only, of as many millions as there are,
// which scrolls by wheel, keys and scrollbar. Does not talk to the kernel: `onPaint` reports which lines are
// visible, so that the missing ones are fetched.

import { h } from "./dom.mjs";
import { Pool } from "./pool.mjs";
import { Position } from "./position.mjs";
import { Scrollbar } from "./scrollbar.mjs";
import { LogSelection } from "./selection.mjs";

/** @import { Space } from "./pages.mjs" */
/** @import { Marks, Times } from "./row.mjs" */

const USUAL = 18; // px of a row before it is measured
const FLICK = 250; // ms within which the wheel that has moved the log to its end does not move the page
// ms after a selection is gone until the log follows again: a second click may select again.
const RESUME = 600;

/** The viewport of a log. */
export class Viewport {
  /** @type {Times} */
  times = "clock";
  /** @type {Marks} */
  marks = { id: 0, pattern: null, current: -1 };
  known = false; // whether the kernel has told which lines there are
  seenEnd = 0; // the end when it ceased to follow; later lines are new
  pool = new Pool();
  #probe = h("div", { class: "ipr-probe" }); // as high as a row in the user's font
  #pane = h("div", { class: "ipr-pane" }, this.pool.el, this.#probe);
  scroller = h("div", {
    class: "ipr-scroll",
    role: "log",
    "aria-live": "off", // rows are reused, so a live region of its own reports what is new
    tabindex: "0",
    "data-lm-suppress-shortcuts": "true",
  });
  #frame = 0;
  #downward = false; // whether the last move was towards the end
  #wheeled = 0; // when the wheel last moved the log
  #held = false; // whether it followed, and holds still for a selection
  #resuming = 0;
  #resized = new ResizeObserver(() => this.#measure());
  #scrollbar;
  #options;

  /**
   * @param {Space} space the lines to show
   * @param {object} options
   * @param {AbortSignal} options.signal ends with the view
   * @param {(follow: boolean) => void} options.onFollow called when it begins or ceases to follow the newest
   *   line
   * @param {() => void} options.onResize called when its size has changed
   * @param {() => void} options.onSelect called when something else is selected, or nothing
   * @param {(from: number, to: number) => void} options.onPaint called when the lines from ≤ at < to have
   *   been drawn
   */
  constructor(space, options) {
    this.#options = options;
    const { signal, onSelect } = options;
    this.position = new Position(space);
    this.selection = new LogSelection({
      inner: this.pool.el,
      rows: () => this.pool.shown,
      onChange: () => {
        onSelect();
        this.#holdForSelection();
      },
      signal,
    });
    this.#scrollbar = new Scrollbar({
      scroller: this.scroller,
      onPull: (share, atEnd) => this.#pull(share, atEnd),
      onRelease: () => this.draw(),
      signal,
    });
    this.scroller.append(this.#pane, this.#scrollbar.spacer);
    this.scroller.addEventListener("wheel", (event) => this.#wheel(event), { passive: false, signal });
    for (const element of [this.scroller, this.#probe]) this.#resized.observe(element);
  }

  get space() {
    return this.position.space;
  }

  /** How many lines have come since it ceased to follow. */
  get fresh() {
    return Math.max(0, this.space.end - this.seenEnd);
  }

  /** Whether it follows, or holds still for a selection only and will follow again. */
  get follows() {
    return this.position.follow || this.#held;
  }

  /** The number of the first visible line; where lines wrap, some rows above it are laid out too. */
  get firstNumber() {
    const top = Math.floor(this.position.top);
    return this.pool.shown.find((row) => row.line && row.at >= top)?.line?.n;
  }

  /**
   * Whether a line is laid out.
   *
   * @param {number} n
   */
  shows(n) {
    return this.pool.shown.some((row) => row.line?.n === n);
  }

  /** Draw everything at the next frame. */
  draw() {
    if (this.#frame || this.#options.signal.aborted) return;
    this.#frame = requestAnimationFrame(() => this.#paint());
  }

  /** Stop timers and observers. */
  close() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#resuming);
    this.#resized.disconnect();
  }

  /**
   * Show the lines of another space.
   *
   * @param {Space} space
   */
  show(space) {
    this.selection.clear();
    this.position.space = space;
    this.pool.forget();
    this.seenEnd = space.end;
    this.draw();
  }

  /** Select all lines. */
  selectAll() {
    const { first, end } = this.space;
    this.selection.set({ at: first, offset: 0 }, { at: end - 1, offset: Number.POSITIVE_INFINITY });
  }

  // -- moving -----------------------------------------------------------------------------------------------

  /**
   * Follow the newest line, or not.
   *
   * @param {boolean} on
   */
  follow(on) {
    this.#downward = false;
    this.#setFollow(on);
    this.draw();
  }

  /**
   * Scroll.
   *
   * @param {number} pixels
   * @returns {boolean} whether it could scroll
   */
  move(pixels) {
    if (!this.known) return false;
    const { position } = this;
    const moved = position.move(pixels, (at) => this.pool.heightOf(at, position.line));
    if (moved === "not") return false;
    this.follow(moved === "to the end");
    this.#downward = pixels > 0;
    return true;
  }

  /**
   * Scroll to a line.
   *
   * @param {number} top
   */
  go(top) {
    const { position } = this;
    position.top = position.clamp(top);
    // If all lines are visible, the newest one stays so.
    this.follow(position.follow && !position.wrap && position.showsAll);
  }

  /**
   * Make a line visible: in the middle, unless it is visible already.
   *
   * @param {number} at
   */
  reveal(at) {
    const { follow, top, height, line } = this.position;
    if (follow || at < top || at > top + height / line - 2) this.center(at);
    else this.draw();
  }

  /** @param {number} at */
  center(at) {
    const { height, line } = this.position;
    this.go(at - Math.floor(height / line / 2));
  }

  /** @param {boolean} on */
  #setFollow(on) {
    this.#held = false;
    clearTimeout(this.#resuming);
    if (this.position.follow === on) return;
    this.position.follow = on;
    if (!on) this.seenEnd = this.space.end;
    this.#options.onFollow(on);
  }

  /** Stop following while text is selected: who selects text wants it to stay. */
  #holdForSelection() {
    clearTimeout(this.#resuming);
    if (this.selection.ends && this.position.follow) {
      this.follow(false);
      this.#held = true;
    } else if (!this.selection.ends && this.#held) {
      this.#resuming = window.setTimeout(() => this.selection.pressed || this.follow(true), RESUME);
    }
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    if (event.ctrlKey || !event.deltaY || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    const { line, height } = this.position;
    /** @type {Record<number, number>} */
    const units = { [WheelEvent.DOM_DELTA_LINE]: 3 * line, [WheelEvent.DOM_DELTA_PAGE]: height };
    const now = performance.now();
    const moved = this.move(event.deltaY * (units[event.deltaMode] ?? 1));
    if (moved) this.#wheeled = now;
    // The rest of a flick must not scroll the page.
    if (moved || now - this.#wheeled < FLICK) event.preventDefault();
  }

  /**
   * @param {number} share
   * @param {boolean} atEnd
   */
  #pull(share, atEnd) {
    if (!this.known || !this.position.height) return;
    const { first } = this.space;
    this.position.top = first + share * (this.position.last - first);
    this.follow(atEnd);
  }

  // -- drawing ----------------------------------------------------------------------------------------------

  #measure() {
    const { position } = this;
    position.height = this.scroller.clientHeight;
    this.#pane.style.height = `${position.height}px`;
    position.line = this.#probe.offsetHeight || USUAL;
    if (!position.height) return;
    this.#scrollbar.resized();
    this.#options.onResize();
    this.draw();
  }

  #paint() {
    this.#frame = 0;
    const { position, space, times, marks } = this;
    if (!this.known || !position.height || !this.scroller.isConnected) return;
    const [from, to] = position.range();
    this.selection.take();
    const lostFocus = this.pool.show(space, from, to, {
      times,
      marks,
      key: `${times} ${marks.id} ${space.kind}`,
    });
    // The focused button has scrolled out of sight; keep the focus, so that the keys still scroll the log.
    if (lostFocus) this.scroller.focus({ preventScroll: true });
    this.selection.restore();
    this.#place(from, to);
    this.#placeThumb();
    this.#options.onPaint(from, to);
  }

  /**
   * Shift the rows so that `top` is at the pane's upper edge or, when following, the last line at the lower
   * one.
   *
   * @param {number} from
   * @param {number} to
   */
  #place(from, to) {
    const { position, pool } = this;
    let up = position.offset(from);
    if (position.wrap) {
      const { offset, atEnd } = position.wrappedOffset(from, pool.heights(to - from, position.line));
      if (atEnd && this.#downward) this.#setFollow(true);
      up = offset;
    }
    pool.el.style.transform = `translateY(${-up}px)`;
  }

  #placeThumb() {
    const { top, last, height, line } = this.position;
    const { first, end } = this.space;
    const share = last > first ? Math.min(1, (top - first) / (last - first)) : 0;
    this.#scrollbar.place((end - first) * line, height, share);
  }
}

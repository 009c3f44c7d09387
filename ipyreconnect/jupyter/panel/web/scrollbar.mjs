// The scrollbar of the log. Browsers limit an element's height (Chromium to 33.5 M px, which is 1.6 M rows),
// so the spacer that makes the log scroll is at most 8 M px high, and the thumb's position is scaled.

import { h } from "./dom.mjs";

const TALLEST = 8_000_000; // px of the spacer

/** The scrollbar of a viewport. */
export class Scrollbar {
  spacer = h("div", { class: "ipr-spacer" });
  #scroller;
  #expected = 0; // the scrollTop that was set here
  #dragging = false; // the user holds the thumb

  /**
   * @param {object} options
   * @param {HTMLElement} options.scroller the element that scrolls
   * @param {(share: number, atEnd: boolean) => void} options.onPull called when the user has moved the thumb
   * @param {() => void} options.onRelease called when the user lets go of it
   * @param {AbortSignal} options.signal ends with the view
   */
  constructor({ scroller, onPull, onRelease, signal }) {
    this.#scroller = scroller;
    scroller.addEventListener("scroll", () => this.#pull(onPull), { passive: true, signal });
    scroller.addEventListener("pointerdown", (event) => {
      this.#dragging = event.target === scroller && event.offsetX >= scroller.clientWidth;
    });
    const release = (/** @type {Event} */ event) => {
      const moves = event.type === "pointermove" && /** @type {PointerEvent} */ (event).buttons;
      if (!this.#dragging || moves) return;
      this.#dragging = false;
      onRelease();
    };
    for (const name of ["pointerup", "pointercancel", "pointermove"]) {
      document.addEventListener(name, release, { signal, passive: true });
    }
  }

  /**
   * Move the thumb to the position of the view, unless the user holds it.
   *
   * @param {number} content the height of all rows together, px
   * @param {number} pane the height of the pane, px
   * @param {number} share the position, from 0 (first line) to 1 (last line)
   */
  place(content, pane, share) {
    if (this.#dragging) return;
    const room = Math.min(TALLEST, Math.max(pane, content)) - pane;
    const style = `${room}px`;
    if (this.spacer.style.height !== style) this.spacer.style.height = style;
    if (Math.abs(this.#scroller.scrollTop - share * room) >= 1) this.#scroller.scrollTop = share * room;
    this.#expected = this.#scroller.scrollTop;
  }

  /** Note that the size of the pane has changed: the next scroll event is taken for the user's. */
  resized() {
    this.#expected = -1;
  }

  /** @param {(share: number, atEnd: boolean) => void} onPull */
  #pull(onPull) {
    const { scrollTop, scrollHeight, clientHeight, isConnected } = this.#scroller;
    if (!isConnected || !clientHeight || Math.abs(scrollTop - this.#expected) < 1.5) return;
    this.#expected = scrollTop;
    const room = scrollHeight - clientHeight;
    if (room > 0) onPull(scrollTop / room, room - scrollTop < 2);
  }
}

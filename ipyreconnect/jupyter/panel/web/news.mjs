// Messages over the rows and for screen readers: that there are no lines yet, and that new ones have come.

import { count, h, say } from "./dom.mjs";
import { shownText } from "./text.mjs";

/** @import { Space } from "./pages.mjs" */
/** @import { Position } from "./position.mjs" */

const SUMMARY = 4000; // ms between two sentences of the live region
const LONGEST = 120; // characters of a line in such a sentence

/**
 * Return the text of the button that leads to the newest line; empty if that is visible or followed.
 *
 * @param {Position} position
 * @param {number} fresh how many lines are new
 */
export function newsText(position, fresh) {
  const { follow, wrap, showsAll, top, last, space } = position;
  if (follow || (!wrap && showsAll) || (!fresh && top >= last - 1)) return "";
  return fresh ? `↓ ${count(fresh, space.kind === "hits" ? "new hit" : "new line")}` : "↓ newest";
}

/** The messages of a log. */
export class News {
  empty = h("div", { class: "ipr-empty" }, "waiting for the kernel…");
  summary = h("div", { class: "ipr-hidden", role: "status", "aria-live": "polite" });
  #told = -1; // the end of the lines that screen readers were told of
  #timer;

  /**
   * @param {object} options
   * @param {() => void} options.onPress called to go to the newest line
   * @param {() => { all: Space, follow: boolean, hidden: boolean } | null} options.state what there is; null
   *   before the first tick
   */
  constructor({ onPress, state }) {
    this.button = h("button", { class: "ipr-news", type: "button", hidden: true, onclick: onPress });
    this.#timer = window.setInterval(() => {
      const now = state();
      if (now) this.#tell(now);
    }, SUMMARY);
  }

  close() {
    clearInterval(this.#timer);
  }

  /**
   * Begin to report new lines: those after these.
   *
   * @param {Space} all
   */
  begin({ end }) {
    this.#told = end;
    say(this.empty, "");
  }

  /**
   * @param {Position} position
   * @param {number} fresh
   * @param {string} emptyText shown if there are no lines
   */
  show(position, fresh, emptyText) {
    const text = newsText(position, fresh);
    this.button.hidden = !text;
    if (text) say(this.button, text);
    say(this.empty, position.space.isEmpty ? emptyText : "");
  }

  /**
   * Tell screen readers how many lines are new.
   *
   * @param {{ all: Space, follow: boolean, hidden: boolean }} state
   */
  #tell({ all, follow, hidden }) {
    if (all.end > this.#told && !hidden) {
      // If it does not follow, the newest line is not visible, even if it is in the cache.
      const newest = follow ? all.pages.get(all.end - 1) : null;
      const text = newest ? `, the last: ${shownText(newest.text).slice(0, LONGEST)}` : "";
      say(this.summary, count(all.end - this.#told, "new line") + text);
    }
    this.#told = all.end;
  }
}

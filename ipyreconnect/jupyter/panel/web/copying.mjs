// Copying of selected log text, which may be out of sight or not fetched yet.

import { count } from "./dom.mjs";
import { more, timeOf } from "./row.mjs";
import { copied, shownText } from "./text.mjs";

/** @import { Line, Space } from "./pages.mjs" */
/** @import { Times } from "./row.mjs" */
/** @import { Ends } from "./selection.mjs" */
/** @import { Viewport } from "./viewport.mjs" */

/** @typedef {{ text: string, count: number }} Copy a text, and the number of its lines */

const MOST = 10_000; // lines; the cache can hold these, and more are better saved to a file

/**
 * Return the selected text.
 *
 * @param {Space} space
 * @param {Ends} ends from top to bottom
 * @param {Times} times
 * @returns {Copy | null} null while some of the lines are not fetched yet
 */
export function copyOf(space, [low, high], times) {
  const lines = [];
  for (let at = low.at; at <= high.at; at++) {
    const line = space.pages.get(at);
    if (!line && at >= space.first) return null;
    if (!line) continue; // it was forgotten before it was fetched
    const text = selectedPart(line, low, high);
    if (text !== null) lines.push({ line, text });
  }
  // A single line is copied as its text, several with their times and directions.
  if (lines.length === 1) return { text: lines[0].text, count: 1 };
  const whole = lines.map(({ line, text }) => `${timeOf(line, times)} ${line.dir} ${text}`.trimStart());
  return { text: whole.join("\n"), count: lines.length };
}

/**
 * Return the selected part of a line, or null if the selection only touches its edge.
 *
 * @param {Line} line
 * @param {Ends[0]} low
 * @param {Ends[1]} high
 */
function selectedPart(line, low, high) {
  const { length } = shownText(line.text);
  const from = line.at === low.at ? Math.min(low.offset, length) : 0;
  const to = line.at === high.at ? Math.min(high.offset, length) : length;
  if (low.at < high.at && from === to && (line.at === high.at || from)) return null;
  return copied(line.text, from, to) + (line.cut && to === length ? ` … ${more(line)}` : "");
}

/** Handles the copying in a viewport. */
export class Copying {
  #waiting = false; // whether lines are fetched that are to be copied then
  #viewport;
  #notice;

  /**
   * @param {Viewport} viewport
   * @param {(text: string, bad: boolean) => void} notice shows a message to the user
   */
  constructor(viewport, notice) {
    this.#viewport = viewport;
    this.#notice = notice;
    viewport.scroller.addEventListener("copy", (event) => this.#copy(event));
  }

  /**
   * The selected lines, first ≤ at < end, if they can be copied.
   *
   * @returns {[number, number] | null}
   */
  get lines() {
    const { ends } = this.#viewport.selection;
    return ends && ends[1].at - ends[0].at < MOST ? [ends[0].at, ends[1].at + 1] : null;
  }

  /** Forget what was to be copied. */
  cancel() {
    this.#waiting = false;
  }

  /** Copy what is waited for, if all of it is here now. */
  async goOn() {
    const copy = this.#waiting ? this.#selected() : null;
    if (!copy) return;
    this.#waiting = false;
    try {
      await navigator.clipboard.writeText(copy.text);
      this.#tell(copy);
    } catch {
      // Browsers allow writing to the clipboard only just after a key was pressed, and only in its event if
      // the page came without TLS.
      this.#notice(`${count(copy.count, "line")} are ready to be copied: copy again`, true);
    }
  }

  /** @param {ClipboardEvent} event */
  #copy(event) {
    const { selection } = this.#viewport;
    selection.take();
    if (!selection.ends) return;
    event.preventDefault();
    if (!this.lines) {
      const number = selection.ends[1].at - selection.ends[0].at + 1;
      return this.#notice(`${count(number, "line")} are too many to copy; save writes them to a file`, true);
    }
    const copy = this.#selected();
    this.#waiting = !copy;
    if (!copy) return this.#viewport.draw();
    if (!copy.count) return;
    event.clipboardData?.setData("text/plain", copy.text);
    this.#tell(copy);
  }

  #selected() {
    const { space, selection, times } = this.#viewport;
    return selection.ends && copyOf(space, selection.ends, times);
  }

  /**
   * Say how many lines were copied, if not all of them are visible.
   *
   * @param {Copy} copy
   */
  #tell(copy) {
    if (copy.count > this.#viewport.position.rows) this.#notice(`${count(copy.count, "line")} copied`, false);
  }
}

// What is copied of the log when the user has selected text in it, which may be out of sight, or not even
// here.

import { count } from "./dom.mjs";
import { more, timeOf } from "./row.mjs";
import { copied, shownText } from "./text.mjs";

/** @import { Line, Space } from "./pages.mjs" */
/** @import { Times } from "./row.mjs" */
/** @import { Ends } from "./selection.mjs" */
/** @import { Viewport } from "./viewport.mjs" */

/** @typedef {{ text: string, count: number }} Copy the text, and of how many lines it is */

const MOST = 10_000; // lines: the cache has room for them, and for more a file is the better place

/**
 * Return the text of what is selected.
 *
 * @param {Space} space
 * @param {Ends} ends from top to bottom
 * @param {Times} times
 * @returns {Copy | null} null while some of the lines are not here
 */
export function copyOf(space, [low, high], times) {
  const lines = [];
  for (let at = low.at; at <= high.at; at++) {
    const line = space.pages.get(at);
    if (!line && at >= space.first) return null;
    if (!line) continue; // it was forgotten before it was asked for
    const text = selectedPart(line, low, high);
    if (text !== null) lines.push({ line, text });
  }
  // Of one line its text; of several what one sees: who said what, and when.
  if (lines.length === 1) return { text: lines[0].text, count: 1 };
  const whole = lines.map(({ line, text }) => `${timeOf(line, times)} ${line.dir} ${text}`.trimStart());
  return { text: whole.join("\n"), count: lines.length };
}

/**
 * Return the selected part of a line; null for a line that is only touched at its edge.
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

export class Copying {
  #waiting = false; // for lines that are not here; as soon as they are, they are copied
  #viewport;
  #notice;

  /**
   * @param {Viewport} viewport
   * @param {(text: string, bad: boolean) => void} notice called to tell the user something
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

  /** Copy nothing any more. */
  cancel() {
    this.#waiting = false;
  }

  /** Copy what was asked for before, if all of it is here now. */
  async goOn() {
    const copy = this.#waiting ? this.#selected() : null;
    if (!copy) return;
    this.#waiting = false;
    try {
      await navigator.clipboard.writeText(copy.text);
      this.#tell(copy);
    } catch {
      // Only a key that was just pressed may write to the clipboard; and where the page came without TLS,
      // only that event.
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
   * Say how much it was where one cannot see that.
   *
   * @param {Copy} copy
   */
  #tell(copy) {
    if (copy.count > this.#viewport.position.rows) this.#notice(`${count(copy.count, "line")} copied`, false);
  }
}

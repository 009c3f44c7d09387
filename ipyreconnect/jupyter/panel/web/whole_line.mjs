// The dialog that shows a long line in full; the log shows only its beginning.

import { button, count, h } from "./dom.mjs";
import { decodeText } from "./pages.mjs";
import { fill } from "./row.mjs";
import { offsetIn } from "./selection.mjs";
import { copied } from "./text.mjs";

/** @import { Link } from "./link.mjs" */

// Longer texts are not searched with an expression that may take the square of their length.
const SEARCHED = 10_000;

/** @typedef {{ id: number, n: number, forgotten: boolean, cut: number }} LineMessage */

/** Asks for whole lines and shows them. */
export class WholeLine {
  // The last request: a double click makes two, and a dialog closed in between must not open again.
  #asked = 0;
  #root;
  #link;
  #refuse;

  /**
   * @param {HTMLElement} root the element that the dialog is put into
   * @param {Link} link
   * @param {(reason: string) => void} refuse called when it can't be shown
   */
  constructor(root, link, refuse) {
    this.#root = root;
    this.#link = link;
    this.#refuse = refuse;
  }

  /** @param {number} n the number of the line */
  ask(n) {
    this.#link.ask({ m: "line", id: ++this.#asked, n }, this.#refuse);
  }

  /**
   * Show the kernel's answer.
   *
   * @param {LineMessage} content
   * @param {DataView[]} buffers
   * @param {RegExp | null} pattern what is marked in it
   * @param {boolean} slow whether the pattern may take long
   */
  show(content, buffers, pattern, slow) {
    if (content.id !== this.#asked) return;
    const whole = content.forgotten ? "this line is forgotten" : decodeText(buffers[0]);
    const text = h("pre", { tabindex: "0" });
    fill(text, whole, slow && whole.length > SEARCHED ? null : pattern);
    text.addEventListener("copy", (event) => copyFrom(text, whole, event));
    const dialog = h(
      "dialog",
      {
        class: "ipyreconnect ipr-whole",
        "aria-label": `line ${content.n}`,
        "data-lm-suppress-shortcuts": "true",
      },
      h(
        "header",
        {},
        h("b", {}, `line ${content.n.toLocaleString()}`),
        content.cut
          ? h(
              "span",
              {},
              `${count(content.cut, "character")} beyond this are in client.transcript[${content.n}]`,
            )
          : null,
        button("close", { onclick: () => dialog.close() }),
      ),
      text,
    );
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "a") return;
      document.getSelection()?.selectAllChildren(text);
      event.preventDefault();
    });
    this.#root.append(dialog);
    dialog.showModal();
    text.querySelector("mark")?.scrollIntoView({ block: "center" });
  }
}

/**
 * @param {Element} element
 * @param {string} text what it shows
 * @param {ClipboardEvent} event
 */
function copyFrom(element, text, event) {
  const range = document.getSelection()?.getRangeAt(0);
  if (!range) return;
  const from = offsetIn(element, range.startContainer, range.startOffset);
  const to = offsetIn(element, range.endContainer, range.endOffset);
  event.clipboardData?.setData("text/plain", copied(text, from, to));
  event.preventDefault();
}

// The send box: sends what is typed to the kernel, and puts it back when it could not be sent.

import { h, say, setOn, toggle } from "./dom.mjs";
import { Link, showLife } from "./link.mjs";

/** @import { RenderProps } from "@anywidget/types" */

const HINT = "a line to send; Enter sends it, ↑ ↓ bring back earlier ones";
const MASKED_HINT = "a masked line; Enter sends it";
const LONGEST = 200; // lines in the history

/** The lines that were sent, without repetitions. */
export class History {
  /** @type {string[]} */
  #lines = [];

  /** @param {string} line */
  add(line) {
    this.#lines = [...this.#lines.filter((earlier) => earlier !== line), line].slice(-LONGEST);
  }

  get length() {
    return this.#lines.length;
  }

  /**
   * Return the last line (1), the one before (2) …
   *
   * @param {number} back
   */
  get(back) {
    return this.#lines[this.#lines.length - back];
  }
}

const sentLines = new History(); // shared by the views of one send box; masked lines never enter

/** The view of a send box. */
class SendBox {
  #input = h("input", {
    type: "text",
    class: "ipr-line",
    "aria-label": "line to send",
    placeholder: HINT,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
  });
  #mask = toggle("mask", {
    title: "Mask the next line: here, in the log, and wherever it comes back",
    onclick: () => this.#setMask(!this.#masked),
  });
  #error = h("div", { class: "ipr-error", role: "alert", hidden: true });
  #root = h(
    "div",
    { class: "ipyreconnect ipr-send ipr-needs-kernel" },
    h(
      "div",
      { class: "ipr-sendrow" },
      h("span", { class: "ipr-prompt", "aria-hidden": "true" }, "→"),
      this.#input,
      this.#mask,
      h("button", { type: "button", class: "ipr-push", onclick: () => this.#submit() }, "Send"),
    ),
    this.#error,
  );

  #back = 0; // how far back in the history the user is
  #draft = ""; // what stood in the box before that
  #masked = false;
  #sent = 0;
  /** @type {Map<number, string>} lines that the kernel has not answered yet; a masked one is empty */
  #pending = new Map();
  #link;

  /** @param {RenderProps} props */
  constructor({ model, el, signal }) {
    el.append(this.#root);
    el.classList.add("ipyreconnect-part");
    this.#link = new Link({
      model,
      signal,
      el,
      onTick: ({ connected }) => {
        this.#root.classList.toggle("ipr-offline", !connected);
        if (connected) this.#complain("");
      },
      onMessage: (content) => content.m === "sent" && this.#answered(content),
      onLife: (life) => showLife(this.#root, life),
    });
    this.#input.addEventListener("keydown", (event) => this.#press(event));
    // The error was about another line.
    this.#input.addEventListener("input", () => this.#complain(""));
    this.#input.addEventListener("paste", (event) => this.#paste(event));
    this.#link.start();
  }

  /** @param {string} text */
  #complain(text) {
    this.#error.hidden = !text;
    say(this.#error, text);
  }

  /**
   * Mask the next line, or not. A masked line is not displayed, not kept in the history, and not put back if
   * it could not be sent.
   *
   * @param {boolean} on
   */
  #setMask(on) {
    this.#masked = on;
    // The type is not "password", as browsers would offer to save it.
    this.#input.style.setProperty("-webkit-text-security", on ? "disc" : "none");
    this.#root.classList.toggle("ipr-masked", on);
    setOn(this.#mask, on);
    this.#input.placeholder = on ? MASKED_HINT : HINT;
    this.#input.focus();
  }

  #submit() {
    const text = this.#input.value;
    const masked = this.#masked;
    const id = ++this.#sent;
    this.#complain("");
    const asked = this.#link.ask({ m: "send", id, text, masked }, (reason) => this.#complain(reason));
    if (!asked) return; // and keep what was typed
    this.#pending.set(id, masked ? "" : text);
    if (text && !masked) sentLines.add(text);
    this.#draft = "";
    this.#clear();
    this.#setMask(false);
  }

  /** @param {{ id: number, error: string }} content */
  #answered({ id, error }) {
    const text = this.#pending.get(id);
    this.#pending.delete(id);
    this.#complain(error);
    // Put back what could not be sent, unless the user has typed something else.
    if (error && text && !this.#input.value) this.#input.value = text;
  }

  #clear() {
    this.#input.value = "";
    this.#back = 0;
  }

  /**
   * Show an earlier line of the history, or a later one.
   *
   * @param {1 | -1} step
   */
  #recall(step) {
    const back = Math.min(sentLines.length, Math.max(0, this.#back + step));
    if (this.#masked || back === this.#back) return;
    const input = this.#input;
    if (this.#back === 0) this.#draft = input.value;
    this.#back = back;
    input.value = back ? sentLines.get(back) : this.#draft;
    input.setSelectionRange(input.value.length, input.value.length);
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = /** @type {Record<string, () => unknown>} */ ({
      Enter: () => event.shiftKey || this.#submit(),
      ArrowUp: () => this.#recall(1),
      ArrowDown: () => this.#recall(-1),
      Escape: () => {
        this.#clear();
        this.#complain("");
      },
    })[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** @param {ClipboardEvent} event */
  #paste(event) {
    const text = event.clipboardData?.getData("text").replace(/[\r\n]+$/, "") ?? "";
    const lines = text.split(/\r\n|\r|\n/);
    if (lines.length === 1) return;
    // A text field would join the lines to one that nobody meant.
    event.preventDefault();
    this.#complain(
      `the clipboard has ${lines.length} lines, and a line is sent at a time: %%send sends several`,
    );
  }
}

/** @param {RenderProps} props */
export function renderSend(props) {
  new SendBox(props);
}

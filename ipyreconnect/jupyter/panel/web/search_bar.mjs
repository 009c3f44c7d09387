// The search bar: its fields, buttons and messages. Does not know the lines.

import { button, h, isOn, say, setOn, toggle } from "./dom.mjs";

/** @import { Wish } from "./query.mjs" */

const LONGEST_QUERY = 1000; // characters, the kernel's limit
const TYPING = 150; // ms without a key after which it searches

/** The search bar of a log. */
export class SearchBar {
  #needle = h("input", {
    type: "text",
    class: "ipr-needle",
    "aria-label": "search all lines",
    placeholder: "search all lines",
    maxlength: String(LONGEST_QUERY),
    autocomplete: "off",
    spellcheck: "false",
  });
  #regex = option("regex", ".*", "Regular expression");
  #case = option("case", "Aa", "Capital letters matter");
  #filter = option("filter", "only hits", "Show only the lines that have it");
  #verdict = h("span", { class: "ipr-verdict", role: "status" });
  #round = h("span", { class: "ipr-round", role: "status", title: "The search went round the end" });
  #typing = 0;
  #previous;
  #next;

  /**
   * @param {object} on
   * @param {() => void} on.change called when the query has changed
   * @param {(direction: 1 | -1) => void} on.enter called to search at once, and to go to the next hit or the
   *   one before
   * @param {(direction: 1 | -1) => void} on.step called to go to the next hit or the one before
   * @param {(filter: boolean) => void} on.filter called to show only the hits, or all lines
   * @param {(open: boolean) => void} on.open called to open or close the search
   */
  constructor(on) {
    const step = (
      /** @type {1 | -1} */ direction,
      /** @type {string} */ text,
      /** @type {string} */ title,
      /** @type {string} */ label,
    ) => button(text, { title, "aria-label": label, onclick: () => on.step(direction) });
    this.#previous = step(-1, "↑", "The hit before (Shift+Enter)", "previous hit");
    this.#next = step(1, "↓", "The next hit (Enter)", "next hit");
    this.el = h(
      "div",
      { class: "ipr-bar ipr-search", role: "search", hidden: true, "data-lm-suppress-shortcuts": "true" },
      this.#needle,
      this.#regex,
      this.#case,
      this.#verdict,
      h("span", { class: "ipr-arrows" }, this.#round, this.#previous, this.#next),
      h("span", { class: "ipr-space" }),
      this.#filter,
      button("×", {
        title: "End the search (Esc)",
        "aria-label": "end the search",
        onclick: () => on.open(false),
      }),
    );
    /** The button that opens it, to be put elsewhere. */
    this.opener = button("search", {
      title: "Search all lines (/)",
      "aria-expanded": "false",
      onclick: () => on.open(this.el.hidden === true),
    });
    this.#needle.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = window.setTimeout(on.change, TYPING);
    });
    for (const choice of [this.#regex, this.#case]) {
      choice.addEventListener("click", () => {
        setOn(choice, !isOn(choice));
        on.change();
      });
    }
    this.#filter.addEventListener("click", () => on.filter(!isOn(this.#filter)));
    this.el.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.isComposing) return; // these keys belong to the input method
      if (event.key === "Escape") on.open(false);
      if (event.key !== "Enter" || event.target !== this.#needle) return;
      clearTimeout(this.#typing);
      on.enter(event.shiftKey ? -1 : 1);
    });
  }

  /**
   * What to search for; nothing while the bar is closed.
   *
   * @returns {Wish}
   */
  get wish() {
    return {
      text: this.el.hidden ? "" : this.#needle.value,
      regex: isOn(this.#regex),
      case: isOn(this.#case),
    };
  }

  /** @param {boolean} open */
  open(open) {
    this.el.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
    if (!open) return;
    this.#needle.focus();
    this.#needle.select();
  }

  /** @param {boolean} on */
  showFilter(on) {
    setOn(this.#filter, on);
  }

  /**
   * Show whether the last step has wrapped around.
   *
   * @param {boolean} on
   */
  showRound(on) {
    this.#round.replaceChildren(...(on ? ["↻", h("span", { class: "ipr-hidden" }, "wrapped")] : []));
  }

  /**
   * @param {string} text
   * @param {{ bad: boolean, hasHits: boolean }} state
   */
  showVerdict(text, { bad, hasHits }) {
    say(this.#verdict, text);
    this.#verdict.title = text;
    this.#verdict.classList.toggle("ipr-bad", bad);
    for (const choice of [this.#previous, this.#next, this.#filter]) choice.disabled = !hasHits;
  }
}

/**
 * @param {string} name
 * @param {string} text
 * @param {string} title
 */
function option(name, text, title) {
  return toggle(text, { class: `ipr-toggle ipr-${name}`, title, "aria-label": title });
}

// The bar below the log: the number of lines, the state of the kernel, the user's options, and notices.

import { button, count, h, say, setOn, toggle } from "./dom.mjs";

/** @import { Space } from "./pages.mjs" */
/** @import { Times } from "./row.mjs" */

/** @type {Record<Times, string>} */
const TIMES = { clock: "time", delta: "Δ time", off: "time" };

/** The bar of a log. */
export class Bar {
  life = h("span", { class: "ipr-life", role: "status" });
  #count = h("span", { class: "ipr-count" });
  #times;
  #wrap;
  #follow;

  /**
   * @param {{ follow: () => void, wrap: () => void, times: () => void }} on called when the user presses a
   *   button
   * @param {...Node} more elements before the buttons
   */
  constructor(on, ...more) {
    this.#times = choice("times", "time", "Times: of the day, since the line before, none (t)", on.times);
    this.#wrap = choice("wrap", "wrap", "Wrap long lines (w)", on.wrap);
    this.#follow = choice("follow", "follow", "Follow the newest line (End)", on.follow);
    const space = h("span", { class: "ipr-space" });
    this.el = h(
      "div",
      { class: "ipr-bar" },
      this.#count,
      this.life,
      space,
      ...more,
      this.#times,
      this.#wrap,
      this.#follow,
    );
  }

  /** @param {Space} all */
  showCount({ first, end }) {
    say(this.#count, count(end, "line") + (first ? `, the oldest ${first.toLocaleString()} forgotten` : ""));
  }

  /** @param {boolean} on */
  showFollow(on) {
    setOn(this.#follow, on);
  }

  /** @param {boolean} on */
  showWrap(on) {
    setOn(this.#wrap, on);
  }

  /** @param {Times} times */
  showTimes(times) {
    say(this.#times, TIMES[times]);
    setOn(this.#times, times !== "off");
  }
}

/**
 * @param {string} name
 * @param {string} text
 * @param {string} title
 * @param {() => void} act
 */
function choice(name, text, title, act) {
  return toggle(text, { class: `ipr-toggle ipr-toggle-${name}`, title, onclick: act });
}

/**
 * Make the menu for saving.
 *
 * @param {(format: "txt" | "jsonl") => void} save called when the user has chosen
 */
export function saveMenu(save) {
  const summary = h(
    "summary",
    { class: "ipr-toggle", title: "Write the lines to a file beside the notebook" },
    "save",
  );
  const menu = h("details", { class: "ipr-menu" }, summary);
  const saveAs = (/** @type {"txt" | "jsonl"} */ format, /** @type {string} */ text) =>
    button(text, {
      onclick: () => {
        menu.open = false;
        save(format);
      },
    });
  menu.append(h("div", { class: "ipr-choices" }, saveAs("txt", "as text"), saveAs("jsonl", "as JSON lines")));
  menu.addEventListener("focusout", (event) => {
    if (!menu.contains(/** @type {Node | null} */ (event.relatedTarget))) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation();
    menu.open = false;
    summary.focus();
  });
  return menu;
}

/** A message to the user, shown until it is dismissed. */
export class Notice {
  el = h("div", { class: "ipr-notice", role: "status", hidden: true });

  /**
   * @param {string} text
   * @param {boolean} bad
   */
  show(text, bad) {
    this.el.hidden = !text;
    this.el.classList.toggle("ipr-bad", bad);
    this.el.replaceChildren(text, button("dismiss", { onclick: () => this.show("", false) }));
  }
}

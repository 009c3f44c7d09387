// The ribbon: the states of the last ten minutes as one coloured line.

import { h, span } from "./dom.mjs";

/** @typedef {[number, string]} Change how many seconds ago a state began, and which */
/** @typedef {{ word: string, from: number, to: number }} Stretch a state, from and to so many seconds ago */

const LENGTH = 600; // seconds

/**
 * Return the stretches of the last ten minutes.
 *
 * @param {Change[]} changes the oldest first
 * @param {number} passed seconds since the report
 * @returns {Stretch[]}
 */
export function stretchesOf(changes, passed) {
  const begins = changes.map(([began]) => Math.min(LENGTH, began + passed));
  return changes
    .map(([, word], i) => ({ word, from: begins[i], to: begins[i + 1] ?? 0 }))
    .filter(({ from, to }) => from > to);
}

/**
 * Return a CSS gradient; transparent where nothing is known.
 *
 * @param {Stretch[]} stretches
 */
export function gradientOf(stretches) {
  if (!stretches.length) return "none";
  const place = (/** @type {number} */ seconds) => `${(100 * (1 - seconds / LENGTH)).toFixed(2)}%`;
  const blank = ["transparent 0%", `transparent ${place(stretches[0].from)}`];
  const parts = stretches.flatMap(({ word, from, to }) => [
    `var(--ipr-strip-${word}) ${place(from)}`,
    `var(--ipr-strip-${word}) ${place(to)}`,
  ]);
  return `linear-gradient(to right, ${[...blank, ...parts].join(", ")})`;
}

/**
 * Describe how long each state has lasted.
 *
 * @param {Stretch[]} stretches
 */
export function summaryOf(stretches) {
  /** @type {Map<string, number>} */
  const lasted = new Map();
  for (const { word, from, to } of stretches) lasted.set(word, (lasted.get(word) ?? 0) + from - to);
  const words = [...lasted].map(([word, seconds]) => `${word} ${span(seconds)}`);
  return `the last ${span(Math.max(stretches[0]?.from ?? 0, 1))}: ${words.join(", ")}`;
}

/** The ribbon. */
export class Ribbon {
  el = h("div", { class: "ipr-ribbon", role: "img" });

  /**
   * @param {Change[]} changes
   * @param {number} passed seconds since that was so
   */
  show(changes, passed) {
    const stretches = stretchesOf(changes, passed);
    this.el.style.background = gradientOf(stretches);
    this.el.title = summaryOf(stretches);
    this.el.setAttribute("aria-label", this.el.title);
  }
}

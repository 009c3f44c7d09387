// The health of the peer: the verdict (alive, silent, dying …), the facts behind it, and a plot of round-trip
// times. The kernel reports it every two seconds; in between, only the ages grow.

import { count, h, say, span } from "./dom.mjs";

/**
 * `Health` in Python; times are in seconds.
 *
 * @typedef {object} Health
 * @property {string} verdict
 * @property {number | null} rtt
 * @property {number | null} last_data
 * @property {number | null} last_ack
 * @property {number | null} dead_in
 * @property {number} probes
 * @property {number} probes_of
 * @property {number} unacknowledged
 * @property {number} retransmits
 */

/**
 * @typedef {[number, number]} Trip when, and the round-trip time, in seconds; when is on the page's clock
 */

const ROUND_TRIPS = 60;
const FEWEST = 3; // round-trip times that make a plot
const SHORTEST = 30; // seconds that the plot shows at least
const WIDTH = 96; // px
const HEIGHT = 16; // px

/**
 * 0.0123 -> "12 ms".
 *
 * @param {number} seconds
 */
const milliseconds = (seconds) => `${Number((1000 * seconds).toPrecision(2))} ms`;

/**
 * Ages below the interval of the reports mean nothing.
 *
 * @param {number} seconds
 */
const ago = (seconds) => (seconds < 3 ? "just now" : `${span(seconds)} ago`);

/**
 * Return the verdict in words, and the mood that selects its colour.
 *
 * @param {Health} health
 * @param {number} passed seconds since the report
 * @returns {[string, "well" | "soso" | "bad"]}
 */
export function verdictWords({ verdict, dead_in: deadIn }, passed) {
  if (verdict === "alive") return ["alive", "well"];
  if (verdict === "stalled") return ["alive but not reading", "soso"];
  if (verdict === "dead") return ["dead", "bad"];
  if (verdict !== "dying") return [verdict, "soso"];
  return [
    deadIn == null ? "not answering" : `silent, dead in ${Math.max(0, deadIn - passed).toFixed(0)} s`,
    "bad",
  ];
}

/**
 * Return the facts behind the verdict, the most important first, as the end may be clipped.
 *
 * @param {Health} health
 * @param {number} passed seconds since that was so
 */
export function factWords(health, passed) {
  const [, mood] = verdictWords(health, passed);
  const usual = usualFacts(health, passed, mood !== "bad");
  const worrying = worryingFacts(health);
  return (mood === "well" ? [...usual, ...worrying] : [...worrying, ...usual.reverse()]).join(" · ");
}

/**
 * @param {Health} health
 * @param {number} passed
 * @param {boolean} withRoundTrip
 */
function usualFacts({ rtt, last_data: lastData, last_ack: lastAck }, passed, withRoundTrip) {
  const facts = [];
  if (rtt != null && withRoundTrip) facts.push(`round trip ${milliseconds(rtt)}`);
  if (lastData != null) facts.push(`data ${ago(lastData + passed)}`);
  if (lastAck != null) facts.push(`acknowledged ${ago(lastAck + passed)}`);
  return facts;
}

/** @param {Health} health */
function worryingFacts({ probes, probes_of: probesOf, unacknowledged, retransmits }) {
  const facts = [];
  if (probes) facts.push(`probes ${probes} of ${probesOf} unanswered`);
  if (unacknowledged) facts.push(`${count(unacknowledged, "byte")} unacknowledged`);
  if (retransmits) facts.push(`sent again ${count(retransmits, "time")}`);
  return facts;
}

/** The line of the header that shows the health. */
export class HealthLine {
  #verdict = h("span", { class: "ipr-verdict-word" });
  #facts = h("span", { class: "ipr-facts" });
  #plot = h("canvas", { class: "ipr-plot", role: "img", width: String(WIDTH), height: String(HEIGHT) });
  el = h("div", { class: "ipr-health ipr-unknown" }, this.#verdict, this.#facts, this.#plot);
  /** @type {Health | null} */
  #health = null;
  /** @type {Trip[]} */
  #trips = [];
  #at = 0; // when the kernel reported it

  /**
   * Begin with a report and the round-trip times that the kernel has kept.
   *
   * @param {Health | null} health
   * @param {Trip[]} trips
   * @param {number} now seconds
   */
  begin(health, trips, now) {
    this.#health = health;
    this.#at = now;
    this.#trips = trips;
  }

  /**
   * Take a new report.
   *
   * @param {Health | null} health
   * @param {number} now seconds
   */
  update(health, now) {
    this.#health = health;
    this.#at = now;
    const rtt = health?.rtt;
    if (rtt != null) this.#trips = [...this.#trips, /** @type {Trip} */ ([now, rtt])].slice(-ROUND_TRIPS);
  }

  /**
   * @param {boolean} gone whether the kernel is gone, and nothing is known
   * @param {number} now seconds
   */
  show(gone, now) {
    const health = gone ? null : this.#health;
    // It is hidden but keeps its place: the log below must not jump with every loss.
    this.el.classList.toggle("ipr-unknown", !health);
    if (!health) return;
    const passed = now - this.#at;
    const [words, mood] = verdictWords(health, passed);
    say(this.#verdict, words);
    this.el.dataset.mood = mood;
    const facts = this.#facts;
    say(facts, factWords(health, passed));
    facts.title = facts.scrollWidth > facts.clientWidth ? (facts.textContent ?? "") : "";
    this.#plot.hidden = this.#trips.length < FEWEST;
    if (!this.#plot.hidden) draw(this.#plot, this.#trips, now);
  }
}

/**
 * @param {HTMLCanvasElement} plot
 * @param {Trip[]} trips
 * @param {number} now seconds
 */
function draw(plot, trips, now) {
  const context = plot.getContext("2d");
  if (!context) return;
  const scale = window.devicePixelRatio || 1;
  if (plot.width !== WIDTH * scale) Object.assign(plot, { width: WIDTH * scale, height: HEIGHT * scale });
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, WIDTH, HEIGHT);
  const values = trips.map(([, seconds]) => seconds);
  const most = Math.max(...values);
  const whole = Math.max(SHORTEST, now - trips[0][0]);
  const x = (/** @type {number} */ when) => WIDTH - 3 - ((now - when) / whole) * (WIDTH - 5);
  // The axis starts at zero, so that noise looks like noise.
  const y = (/** @type {number} */ seconds) => HEIGHT - 2 - (seconds / (1.3 * most || 1)) * (HEIGHT - 4);
  context.strokeStyle = context.fillStyle = getComputedStyle(plot).color;
  context.lineWidth = 1.25;
  context.lineJoin = "round";
  context.beginPath();
  for (const [when, seconds] of trips) context.lineTo(x(when), y(seconds));
  context.stroke();
  context.beginPath();
  const [when, seconds] = trips[trips.length - 1];
  context.arc(x(when), y(seconds), 1.8, 0, 2 * Math.PI);
  context.fill();
  const range = `${milliseconds(Math.min(...values))} to ${milliseconds(most)}`;
  plot.title = `round trip over the last ${span(now - trips[0][0])}: ${range}`;
  plot.setAttribute("aria-label", plot.title);
}

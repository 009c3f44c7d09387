// The search: sends the query, takes the kernel's results, and steps from hit to hit. The kernel does the
// searching; this side caches only the hits that were looked at.

import { Space } from "./pages.mjs";
import { markingPattern, Query, verdictOf } from "./query.mjs";
import { SearchBar } from "./search_bar.mjs";

/** @import { Link } from "./link.mjs" */
/** @import { Found } from "./query.mjs" */
/** @import { Viewport } from "./viewport.mjs" */

/** @typedef {1 | -1} Direction forwards or backwards */

const PATIENCE = 4000; // ms after which a search that the kernel does not know of is asked for again

/**
 * The user's steps from hit to hit. Each begins where the one before has led to, so they are done one at a
 * time.
 */
class Steps {
  ordinal = -1; // the hit that was stepped to
  busy = false; // whether the kernel has been asked for the next one
  /** @type {Direction[]} */
  queue = [];
  /** @type {Direction | 0} */
  wanted = 0; // a step to make as soon as there is a hit
  /** @type {Direction | 0} */
  mayTurn = 0; // the direction in which it may wrap around, once
  turned = false; // whether it has wrapped around
}

/** The search in a log. */
export class Search {
  hits = new Space("hits");
  #query = new Query(0, { text: "", regex: false, case: false }, 0);
  #steps = new Steps();
  #left = 0; // the top before only the hits were shown
  #link;
  #viewport;
  #all;
  #refuse;

  /**
   * @param {object} options
   * @param {Link} options.link
   * @param {Viewport} options.viewport
   * @param {Space} options.all all lines
   * @param {(reason: string) => void} options.refuse called when something fails
   */
  constructor({ link, viewport, all, refuse }) {
    this.#link = link;
    this.#viewport = viewport;
    this.#all = all;
    this.#refuse = refuse;
    this.bar = new SearchBar({
      change: () => this.#find(),
      enter: (direction) => this.#enter(direction),
      step: (direction) => this.step(direction),
      filter: (on) => this.#showHits(on),
      open: (on) => this.open(on),
    });
  }

  /** Whether only the hits are shown. */
  get #filtering() {
    return this.#viewport.space.kind === "hits";
  }

  /** Whether a regular expression is searched for. */
  get isRegex() {
    return this.#query.wish.regex;
  }

  /** The text of an empty log. */
  get emptyText() {
    if (!this.#filtering) return "no line yet";
    return this.#query.error || (this.#query.behind ? "searching …" : "no line has it");
  }

  /** The top among all lines. */
  get top() {
    return this.#filtering ? (this.#viewport.firstNumber ?? this.#left) : this.#viewport.position.top;
  }

  /** @param {boolean} on */
  open(on) {
    this.bar.open(on);
    if (!on) {
      this.#showHits(false);
      this.#viewport.scroller.focus();
    }
    this.#find();
  }

  /**
   * Take the kernel's report of the search of this view.
   *
   * @param {Found | undefined} found
   */
  take(found) {
    const query = this.#query;
    if (!query.wish.text) return;
    query.lost = found?.id !== query.id;
    if (!found || query.lost) return this.askAgain();
    this.hits.first = found.first;
    this.hits.end = Math.max(this.hits.end, found.end);
    // Hits in lines that existed when the search began are not new.
    if (query.catchingUp && this.#filtering) this.#viewport.seenEnd = this.hits.end;
    query.take(found, this.#all);
    if (this.#steps.wanted && !this.hits.isEmpty) this.step(this.#steps.wanted);
    // Later hits must not move the view: the user may be reading.
    else if (!query.catchingUp) this.#steps.wanted = 0;
    this.#showVerdict();
  }

  /**
   * Send the query again if the kernel has forgotten it, as it does with a view that was silent for long; but
   * not while it is hidden.
   */
  askAgain() {
    const { lost, asked } = this.#query;
    if (lost && !this.#link.hidden && performance.now() - asked > PATIENCE) this.#ask();
  }

  /**
   * Go to the next hit after the current one, or after the first visible line. The kernel finds it.
   *
   * @param {Direction} direction
   */
  step(direction) {
    if (!this.#query.wish.text) return this.open(true);
    const steps = this.#steps;
    steps.wanted = 0;
    if (steps.busy) return void steps.queue.push(direction);
    steps.busy = this.#link.ask(this.#near(this.#startOf(direction), direction), this.#refuse);
    steps.mayTurn = direction;
  }

  /**
   * Take the hit that the kernel has found for a step.
   *
   * @param {number} id of the search
   * @param {[number, number] | null} hit its ordinal and its line
   */
  arrive(id, hit) {
    const steps = this.#steps;
    if (id !== this.#query.id) return;
    if (!hit && !this.hits.isEmpty && steps.mayTurn) return this.#turn(steps.mayTurn);
    steps.busy = false;
    this.bar.showRound(hit !== null && steps.turned);
    steps.turned = false;
    if (!hit) return;
    const [ordinal, line] = hit;
    steps.ordinal = ordinal;
    this.#viewport.marks.current = line;
    const next = steps.queue.shift();
    if (next) return this.step(next);
    this.#viewport.reveal(this.#filtering ? ordinal : line);
    this.#showVerdict();
  }

  /** Start a search if the fields have changed. The kernel continues it as lines come. */
  #find() {
    const { wish } = this.bar;
    if (this.#query.isFor(wish)) return;
    this.#query = new Query(this.#query.id + 1, wish, this.#all.end);
    this.#steps = new Steps();
    this.hits = new Space("hits");
    this.#viewport.marks = { id: this.#query.id, pattern: markingPattern(wish), current: -1 };
    if (this.#filtering) this.#viewport.show(this.hits);
    this.#ask();
    this.bar.showRound(false);
    this.#showVerdict();
    this.#viewport.draw();
  }

  #ask() {
    const { id, wish } = this.#query;
    this.#query.asked = performance.now();
    this.#link.ask({ m: "find", id, ...wish }, (reason) => {
      this.#query.error = reason;
    });
  }

  /** @param {Direction} direction */
  #enter(direction) {
    this.#find();
    if (this.hits.end) this.step(direction);
    else if (this.#query.catchingUp) this.#steps.wanted = direction;
  }

  /**
   * Return the line where a step begins.
   *
   * @param {Direction} direction
   */
  #startOf(direction) {
    const { marks, firstNumber } = this.#viewport;
    if (marks.current >= 0) return marks.current;
    const top = firstNumber ?? this.#all.first;
    return direction > 0 ? top - 1 : top;
  }

  /**
   * Wrap around: continue from the other end, once.
   *
   * @param {Direction} direction
   */
  #turn(direction) {
    this.#link.post(this.#near(direction > 0 ? this.#all.first - 1 : this.#all.end, direction));
    this.#steps.mayTurn = 0;
    this.#steps.turned = true;
  }

  /**
   * @param {number} n
   * @param {Direction} direction
   */
  #near(n, direction) {
    return { m: "near", id: this.#query.id, n, direction };
  }

  #showVerdict() {
    const text = verdictOf(this.#query, this.hits, this.#all, this.#steps.ordinal);
    this.bar.showVerdict(text, { bad: Boolean(this.#query.error), hasHits: this.hits.end > 0 });
  }

  /**
   * Show only the hits, or all lines again; what is visible stays visible if it can.
   *
   * @param {boolean} on
   */
  #showHits(on) {
    this.bar.showFilter(on);
    if (on === this.#filtering) return;
    const viewport = this.#viewport;
    const { position } = viewport;
    const { current } = viewport.marks;
    if (on) this.#left = position.top;
    const seen = viewport.firstNumber ?? this.#left;
    const wasShown = viewport.shows(current);
    viewport.show(on ? this.hits : this.#all);
    if (position.follow) return;
    if (wasShown) viewport.center(on ? this.#steps.ordinal : current);
    else if (on) this.#link.post(this.#near(seen - 1, 1));
    else position.top = position.clamp(seen);
  }
}

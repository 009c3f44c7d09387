// The link between one view and the kernel. It says hello, acknowledges the ticks that ask for it once they
// are painted, and tells by the age of the last message whether the kernel is alive. channel.py is the
// kernel's side and explains the protocol.

import { clock } from "./dom.mjs";

/** @import { AnyModel } from "@anywidget/types" */

/**
 * @typedef {"new" | "live" | "late" | "gone"} LifeState "late": alive, but too busy to do what the user asks
 *   for
 */
/** @typedef {{ state: LifeState, since: Date }} Life */
/** @typedef {{ m: string, view?: string, [key: string]: any }} Message */

/**
 * @typedef {object} LinkOptions
 * @property {AnyModel} model
 * @property {AbortSignal} signal ends with the view
 * @property {HTMLElement} el the view's element
 * @property {(hidden: boolean) => Record<string, unknown>} [want] what this view wants to be sent
 * @property {(content: any, buffers: DataView[]) => void} onTick draws a new state
 * @property {(content: any) => void} [onBeat] called every two seconds while nothing changes
 * @property {(content: any, buffers: DataView[]) => void} [onMessage] gets all other messages for this view
 * @property {(life: Life) => void} [onLife] called when the kernel stops or begins to answer
 */

const SILENCE = 9000; // ms without a message (the kernel sends one every 2 s) after which it counts as gone
const KEEP = 8000; // ms within which a view that had nothing to acknowledge shows that it is still there
const RETRIES = [2000, 4000, 8000, 16000, 30000]; // ms between hellos to a kernel that does not answer
const CHECK = 1000; // ms between two looks at the clock
const PAINTED = 1000; // ms after which a tick is acknowledged though no frame was drawn
const NO_KERNEL = "the kernel does not answer: nothing was done";

/** The link of one view. */
export class Link {
  view = crypto.getRandomValues(new Uint32Array(2)).join("-");
  /** @type {LifeState} */
  life = "new";
  #heard = Date.now(); // when the kernel last sent a message
  #spoke = 0; // when this view last sent a message
  #checked = Date.now();
  #retries = 0;
  #seq = 0; // the last tick that was painted
  #wanted = ""; // what the kernel was last told that this view wants
  #left = false; // whether this view said goodbye
  #unseen = false; // whether the view is scrolled out of sight
  #options;

  /** @param {LinkOptions} options */
  constructor(options) {
    this.#options = options;
    const { model, signal } = options;
    model.on("msg:custom", (content, buffers) => this.#receive(content, buffers || []));
    const timer = window.setInterval(() => this.#check(), CHECK);
    signal.addEventListener("abort", () => {
      clearInterval(timer);
      this.#leave();
    });
  }

  /** Say hello to the kernel, and report from now on whether the view is visible. */
  start() {
    const { el, signal } = this.#options;
    this.#tell("hello");
    el.addEventListener("keydown", keepKey, { signal });
    const seen = new IntersectionObserver((entries) => {
      this.#unseen = !entries[entries.length - 1].isIntersecting;
      this.refresh();
    });
    seen.observe(el);
    signal.addEventListener("abort", () => seen.disconnect());
    document.addEventListener("visibilitychange", () => this.refresh(), { signal });
  }

  /** Whether the view is not visible now. */
  get hidden() {
    return document.hidden || this.#unseen;
  }

  /**
   * Send a message to the kernel.
   *
   * @param {Message} content
   */
  post(content) {
    if (this.#left) return;
    try {
      this.#spoke = Date.now();
      this.#options.model.send({ ...content, view: this.view });
    } catch {
      // The kernel is gone, which the age of its last message will show.
    }
  }

  /**
   * Send what the user asks for, unless the kernel is gone; then `refuse` gets the reason.
   *
   * @param {Message} content
   * @param {(reason: string) => void} refuse
   * @returns {boolean} whether it was sent
   */
  ask(content, refuse) {
    const gone = this.life === "gone" || isGone(this.#options.el);
    if (gone) refuse(NO_KERNEL);
    else this.post(content);
    return !gone;
  }

  /** Tell the kernel what this view wants if that has changed. */
  refresh() {
    if (this.life !== "new" && JSON.stringify(this.#wants()) !== this.#wanted) this.#tell("ack");
  }

  #wants() {
    return { ...this.#options.want?.(this.hidden), unseen: this.hidden };
  }

  /** @param {"hello" | "ack"} kind */
  #tell(kind) {
    const want = this.#wants();
    this.#wanted = JSON.stringify(want);
    this.post(kind === "hello" ? { m: kind, want } : { m: kind, seq: this.#seq, want });
  }

  #leave() {
    this.post({ m: "bye" });
    this.#left = true;
  }

  /**
   * @param {Message} content
   * @param {DataView[]} buffers
   */
  #receive(content, buffers) {
    if (!this.#isForUs(content)) return;
    const { onBeat, onMessage } = this.#options;
    this.#heard = Date.now();
    this.#retries = 0;
    if (content.m === "tick" || content.m === "beat") this.#setLife(content.late ? "late" : "live");
    if (content.m === "tick") this.#takeTick(content, buffers);
    else if (content.m === "beat") onBeat?.(content);
    else if (content.m === "end") this.#leave();
    else onMessage?.(content, buffers);
  }

  /** @param {Message | null} content */
  #isForUs(content) {
    return !this.#options.signal.aborted && content !== null && (content.view ?? this.view) === this.view;
  }

  /**
   * @param {Message} content
   * @param {DataView[]} buffers
   */
  #takeTick(content, buffers) {
    this.#options.onTick(content, buffers);
    this.#whenPainted(() => {
      this.#seq = Math.max(this.#seq, content.seq);
      if (content.asks) this.#tell("ack");
    });
  }

  /**
   * Call `act` after the next paint, so that a slow browser slows the kernel down; at once in a hidden tab,
   * which paints nothing.
   *
   * @param {() => void} act
   */
  #whenPainted(act) {
    let done = false;
    const once = () => {
      if (!done && !this.#options.signal.aborted) act();
      done = true;
    };
    if (document.hidden) return once();
    requestAnimationFrame(() => setTimeout(once));
    setTimeout(once, PAINTED);
  }

  /** @param {LifeState} state */
  #setLife(state) {
    if (state === this.life) return;
    this.life = state;
    this.#options.onLife?.({ state, since: new Date(this.#heard) });
  }

  #check() {
    const now = Date.now();
    // The machine slept, or the tab was throttled: the silence means nothing until the kernel has had time to
    // answer.
    const slept = now - this.#checked > 4 * CHECK;
    this.#checked = now;
    if (slept && this.life !== "gone") {
      this.#heard = Math.max(this.#heard, now - SILENCE + 4 * CHECK);
      this.#tell("hello");
    } else if (this.#isSilent(now)) {
      this.#retry(now);
    } else if (Math.floor(now / KEEP) > Math.floor(this.#spoke / KEEP)) {
      // All views do this at the same moment, as each message makes the kernel's indicator busy for a while.
      this.#tell(this.life === "new" ? "hello" : "ack");
    }
  }

  /** @param {number} now */
  #isSilent(now) {
    return this.#options.el.closest(".jupyter-widgets-disconnected") || now - this.#heard > SILENCE;
  }

  /** @param {number} now */
  #retry(now) {
    if (this.life !== "new") this.#setLife("gone");
    if (now - this.#spoke < RETRIES[Math.min(this.#retries, RETRIES.length - 1)]) return;
    this.#retries += 1;
    this.#tell("hello");
  }
}

/**
 * Hide a key that was pressed in the panel from the notebook, which would cut the cell for an x. Keys with
 * Ctrl or Cmd are left to the notebook, except those that edit text in a field and the one that runs the
 * cell.
 *
 * @param {KeyboardEvent} event
 */
function keepKey(event) {
  const command = (event.ctrlKey || event.metaKey) && event.key !== "Enter";
  const saves = event.key?.toLowerCase() === "s";
  const inField = /** @type {Element} */ (event.target).matches("input");
  if (!command || (inField && !saves)) event.stopPropagation();
}

/**
 * Whether the panel around an element shows that the kernel is gone.
 *
 * @param {Element} el
 */
const isGone = (el) => Boolean(el.closest(".ipyreconnect-gone"));

/**
 * Show on the whole panel whether the kernel is alive.
 *
 * @param {Element} el any element of the panel
 * @param {Life} life
 * @returns {string} the same in words; empty while it is alive
 */
export function showLife(el, { state, since }) {
  const root = el.closest(".ipyreconnect-panel") || el;
  root.classList.toggle("ipyreconnect-gone", state === "gone");
  root.classList.toggle("ipyreconnect-late", state === "late");
  if (state === "gone") return `kernel gone since ${clock(since)}`;
  return state === "late" ? "kernel busy, controls wait" : "";
}

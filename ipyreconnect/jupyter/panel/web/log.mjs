// The entry of the log widget: it connects the parts (lines from the kernel, viewport, search, bar) with each
// other. log_view.py is the kernel's side and documents the messages.

import { Bar, Notice, saveMenu } from "./bar.mjs";
import { Copying } from "./copying.mjs";
import { h, say } from "./dom.mjs";
import { bindKeys } from "./keys.mjs";
import { Link, showLife } from "./link.mjs";
import { News } from "./news.mjs";
import { decodeRows, Fetcher, Space } from "./pages.mjs";
import { Search } from "./search.mjs";
import { Viewport } from "./viewport.mjs";
import { WholeLine } from "./whole_line.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Life } from "./link.mjs" */
/** @import { Rows } from "./pages.mjs" */
/** @import { Found } from "./query.mjs" */
/** @import { Times } from "./row.mjs" */

/** @typedef {{ height: string, label: string }} Traits */
/** @typedef {{ first: number, end: number, tail: Rows | null, found: Record<string, Found> }} Tick */
/**
 * What the next view of the same log takes over.
 *
 * @typedef {object} Memory
 * @property {number} top
 * @property {boolean} follow
 * @property {boolean} wrap
 * @property {Times} times
 * @property {string} height of the pane, as the user has dragged it; empty: as the trait says
 */

const UNMEASURED = 30; // rows to ask for while the height of the pane is not known

/** @type {Record<Times, Times>} */
const NEXT_TIMES = { clock: "delta", delta: "off", off: "clock" };

/** The view of a log. */
class Log {
  #all = new Space("lines");
  #height = ""; // of the pane, before the user dragged it
  #notice = new Notice();
  #refuse = (/** @type {string} */ reason) => this.#notice.show(reason, true);
  /** @type {AnyModel<Traits>} */
  #model;
  #link;
  #fetcher;
  #viewport;
  #search;
  #copying;
  #wholeLine;
  #bar;
  #news;
  #root;

  /**
   * @param {RenderProps<Traits>} props
   * @param {Memory | null} memory
   */
  constructor({ model, el, signal }, memory) {
    this.#model = model;
    this.#link = new Link({
      model,
      signal,
      el,
      want: (hidden) => this.#want(hidden),
      onTick: (content, buffers) => this.#takeTick(content, buffers),
      onBeat: () => this.#search.askAgain(),
      onMessage: (content, buffers) => this.#takeAnswer(content, buffers),
      onLife: (life) => this.#showLife(life),
    });
    this.#viewport = new Viewport(this.#all, {
      signal,
      onFollow: (follow) => {
        this.#bar.showFollow(follow);
        this.#link.refresh();
      },
      onResize: () => this.#link.refresh(),
      onSelect: () => this.#copying.cancel(),
      onPaint: (from, to) => this.#painted(from, to),
    });
    const viewport = this.#viewport;
    this.#fetcher = new Fetcher(
      (request) => this.#link.post(request),
      (ms) => setTimeout(() => viewport.draw(), ms),
    );
    this.#copying = new Copying(viewport, (text, bad) => this.#notice.show(text, bad));
    this.#search = new Search({ link: this.#link, viewport, all: this.#all, refuse: this.#refuse });
    this.#news = new News({ onPress: () => viewport.follow(true), state: () => this.#state() });
    const follow = () => viewport.follow(!viewport.position.follow);
    const wrap = () => this.#setWrap(!viewport.position.wrap);
    const times = () => this.#setTimes(NEXT_TIMES[viewport.times]);
    this.#bar = new Bar(
      { follow, wrap, times },
      this.#search.bar.opener,
      saveMenu((format) => this.#save(format)),
    );
    this.#root = h(
      "div",
      { class: "ipyreconnect ipr-log" },
      h("div", { class: "ipr-frame" }, viewport.scroller, this.#news.empty, this.#news.button),
      this.#search.bar.el,
      this.#bar.el,
      this.#notice.el,
      this.#news.summary,
    );
    this.#wholeLine = new WholeLine(this.#root, this.#link, this.#refuse);
    el.append(this.#root);
    el.classList.add("ipyreconnect-part");
    bindKeys(viewport, {
      openSearch: () => this.#search.open(true),
      step: (direction) => this.#search.step(direction),
      toggleWrap: wrap,
      nextTimes: times,
    });
    viewport.pool.el.addEventListener("click", (event) =>
      this.#showMore(/** @type {Element} */ (event.target)),
    );
    model.on("change:height", () => this.#applyTraits());
    model.on("change:label", () => this.#applyTraits());
    this.#applyTraits();
    this.#recall(memory);
    this.#link.start();
  }

  /**
   * End it.
   *
   * @returns {Memory} what the next view of this log begins with
   */
  close() {
    const { position, times, follows, scroller } = this.#viewport;
    const { height } = scroller.style;
    const dragged = height === this.#height ? "" : height;
    const memory = { top: this.#search.top, follow: follows, wrap: position.wrap, times, height: dragged };
    this.#viewport.close();
    this.#news.close();
    return memory;
  }

  /** @param {Memory | null} memory */
  #recall(memory) {
    const { position, scroller } = this.#viewport;
    position.top = memory?.top ?? 0;
    position.follow = memory?.follow ?? true;
    this.#bar.showFollow(position.follow);
    this.#setWrap(memory?.wrap ?? false);
    this.#setTimes(memory?.times ?? "clock");
    if (memory?.height) scroller.style.height = memory.height;
  }

  #applyTraits() {
    const { scroller } = this.#viewport;
    scroller.style.height = this.#model.get("height");
    this.#height = scroller.style.height;
    scroller.setAttribute("aria-label", this.#model.get("label") || "connection log");
  }

  // -- from and to the kernel -------------------------------------------------------------------------------

  /** @param {boolean} hidden */
  #want(hidden) {
    const { follow, rows } = this.#viewport.position;
    return { follow, rows: hidden ? 0 : (rows || UNMEASURED) + 2 };
  }

  /**
   * @param {Tick} content
   * @param {DataView[]} buffers
   */
  #takeTick(content, buffers) {
    const viewport = this.#viewport;
    // The numbers only grow, unless it is another kernel.
    this.#all.first = content.first;
    this.#all.end = content.end;
    if (!viewport.known) {
      viewport.known = true;
      viewport.seenEnd = content.end;
      this.#news.begin(this.#all);
    }
    if (content.tail) this.#all.pages.put(decodeRows(content.tail, buffers));
    this.#search.take(content.found?.[this.#link.view]);
    viewport.draw();
  }

  /**
   * @param {any} content
   * @param {DataView[]} buffers
   */
  #takeAnswer(content, buffers) {
    const { marks } = this.#viewport;
    if (content.m === "rows") this.#takeRows(content, buffers);
    else if (content.m === "near") this.#search.arrive(content.id, content.at);
    else if (content.m === "saved") this.#notice.show(content.error || content.text, Boolean(content.error));
    else this.#wholeLine.show(content, buffers, marks.pattern, this.#search.isRegex);
  }

  /**
   * @param {any} content
   * @param {DataView[]} buffers
   */
  #takeRows(content, buffers) {
    const space = this.#fetcher.spaceOf(content, this.#all);
    if (!space) return;
    space.take(content, buffers);
    this.#viewport.draw();
  }

  /** @param {Life} life */
  #showLife(life) {
    say(this.#bar.life, showLife(this.#root, life));
    this.#viewport.draw();
  }

  /** @param {"txt" | "jsonl"} format */
  #save(format) {
    this.#link.ask({ m: "save", id: 0, format, hits: this.#viewport.space.kind === "hits" }, this.#refuse);
  }

  /**
   * Show the whole line whose button was pressed.
   *
   * @param {Element} target
   */
  #showMore(target) {
    const line = target.closest(".ipr-more") && this.#viewport.pool.rowOf(target)?.line;
    if (line) this.#wholeLine.ask(line.n);
  }

  // -- what it looks like -----------------------------------------------------------------------------------

  /**
   * @param {number} from
   * @param {number} to
   */
  #painted(from, to) {
    const { position, space, fresh, scroller } = this.#viewport;
    const { lines } = this.#copying;
    if (lines) space.pages.use(...lines);
    space.pages.use(from, to);
    this.#fetcher.fetch(space, from, to, { ahead: !position.follow, also: lines });
    this.#copying.goOn();
    this.#bar.showCount(this.#all);
    this.#news.show(position, fresh, this.#search.emptyText);
    scroller.classList.toggle("ipr-at-end", position.follow);
  }

  /** What screen readers may be told; null before the first tick. */
  #state() {
    if (!this.#viewport.known) return null;
    return { all: this.#all, follow: this.#viewport.position.follow, hidden: this.#link.hidden };
  }

  /** @param {boolean} on */
  #setWrap(on) {
    this.#viewport.position.wrap = on;
    this.#root.classList.toggle("ipr-wrapped", on);
    this.#bar.showWrap(on);
    this.#viewport.draw();
  }

  /** @param {Times} times */
  #setTimes(times) {
    this.#viewport.times = times;
    this.#root.classList.toggle("ipr-timeless", times === "off");
    this.#bar.showTimes(times);
    this.#viewport.draw();
  }
}

// A module is loaded once per model, so this outlives a view that is removed because its cell is scrolled far
// away or its output is rendered again.
/** @type {Memory | null} */
let memory = null;

export default {
  /** @param {RenderProps<Traits>} props */
  render(props) {
    const log = new Log(props, memory);
    return () => {
      memory = log.close();
    };
  },
};

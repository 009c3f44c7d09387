// The log: rows for the lines that are in sight, and only those, out of as many millions as there are. It keeps pages of what it was
// shown and asks the kernel for the rest; log_view.py describes the messages.
//
// The truth is `top`, a fractional line number: wheel and keys move it exactly. The scrollbar only stands for it: browsers
// cap an element's height (Chromium at 33.5 M px, 1.6 M rows), so the spacer is at most 8 M px high and the thumb's position is scaled.

const SPACER = 8_000_000; // px
const PAGE = 256; // lines, the unit of the cache and of requests
const PAGES = 96; // kept: 25 000 lines
const AHEAD = 96; // rows beyond the visible ones that are asked for before they are needed
const LEAD = 6; // rows laid out above the first visible one: when lines wrap, their heights must be known before they scroll in
const WINDOW = 512; // lines, the kernel's limit for one answer
const LONGEST_QUERY = 1000; // characters, the kernel's limit
const PATIENCE = 4000; // ms after which an unanswered request is asked again
const REFRESH = 400; // ms between looks at rows whose delivery is not settled yet
const MARKING = 150; // ms that marking what is searched for may take in one frame
const MARKED = 1000; // places that are marked in one text
const SEARCHED = 10_000; // characters of a whole line that a regular expression is looked for in: two repetitions take the square of it
const SUMMARY = 4000; // ms between two sentences of the live region
const RESUME = 600; // ms after which a log that held still for a selection goes on: a second click may come that selects again
const COPIED = 10_000; // lines that are copied at most: the cache has room for them, and a file is the better place for more

const MARKS = {
  q: ["queued", "waiting to be sent"],
  s: ["sent", "sent: handed to the network, not acknowledged yet"],
  a: ["acknowledged", "acknowledged: the peer’s machine has it"],
  u: ["unconfirmed", "unconfirmed: the connection was lost before the peer’s machine acknowledged it"],
};
const DIRECTIONS = { "<": ["in", "received"], ">": ["out", "sent"], "*": ["note", "note"] };
const decoder = new TextDecoder();
const modulo = (a, b) => ((a % b) + b) % b;

/** The lines that the kernel has shown us, in pages; the pages looked at least recently go first. */
class Pages {
  pages = new Map();

  get(n) {
    return this.pages.get(Math.floor(n / PAGE))?.[modulo(n, PAGE)];
  }

  put(rows) {
    for (const row of rows) {
      const number = Math.floor(row.at / PAGE);
      let page = this.pages.get(number);
      if (!page) this.pages.set(number, (page = []));
      page[modulo(row.at, PAGE)] = row;
    }
  }

  /** Mark the pages of these lines as used, and forget the oldest ones beyond the limit. */
  use(a, b) {
    for (let number = Math.floor(a / PAGE); number <= Math.floor(b / PAGE); number++) {
      const page = this.pages.get(number);
      if (!page) continue;
      this.pages.delete(number);
      this.pages.set(number, page);
    }
    for (const number of this.pages.keys()) {
      if (this.pages.size <= PAGES) break;
      this.pages.delete(number);
    }
  }

  clear() {
    this.pages.clear();
  }
}

/** Turn the kernel's rows (see encode_rows in log_view.py) into objects. */
function decodeRows(rows, buffers) {
  const texts = rows.n ? decoder.decode(buffers[0]).split("\n") : [];
  const view = buffers[1];
  const times = rows.n ? new Float64Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)) : [];
  const parts = new Set(rows.part);
  return texts.map((text, i) => ({
    at: rows.a + i, // where it stands: its line number, or among the hits its ordinal
    n: rows.numbers ? rows.numbers[i] : rows.a + i,
    dir: rows.dir[i],
    mark: rows.mark[i],
    part: parts.has(i),
    cut: rows.cut[i] || 0,
    time: times[i],
    before: i ? times[i - 1] : rows.before,
    text,
  }));
}

/**
 * Put a text with control characters written out (between U+0001 and U+0002) into an element: text nodes and spans, never markup.
 * pattern: what is searched for, a global regular expression, or null.
 */
function fill(element, text, pattern = null) {
  if (!pattern && !text.includes("\x01")) {
    if (element.childElementCount) element.replaceChildren(text);
    else say(element, text);
    return;
  }
  const parts = [];
  let marked = 0;
  const plain = (piece) => {
    let from = 0;
    for (const match of pattern && marked < MARKED ? piece.matchAll(pattern) : []) {
      if (!match[0]) continue;
      if (++marked > MARKED) break;
      parts.push(piece.slice(from, match.index), h("mark", {}, match[0]));
      from = match.index + match[0].length;
    }
    parts.push(piece.slice(from));
  };
  for (const [shown, meant] of pieces(text)) {
    if (shown === meant) plain(shown);
    else parts.push(h("span", { class: "ipr-control" }, shown));
  }
  element.replaceChildren(...parts.filter((part) => part !== ""));
}

/**
 * Whether a regular expression can be looked for in a row without a risk: nothing here could end a search that takes for ever, as can
 * the kernel's. So no repetition of what repeats or has a choice, no reference to a group, and at most two without a bound.
 */
function tame(source) {
  const text = source.replace(/\\[1-9]/g, "\0").replace(/\\[^0]/gs, "x").replace(/\[\^?\]?[^\]]*\]/g, "x");
  if (text.includes("\0") || text.includes("(?P=")) return false;
  const groups = [false]; // whether something in it repeats, or is a choice
  let closed = false;
  let endless = 0;
  for (let i = 0; i < text.length; i++) {
    const rest = text.slice(i);
    const repeats = /^(?:[*+]|\{\d*,\d*\}|\{\d+\})/.exec(rest)?.[0];
    if (repeats) {
      if (closed) return false;
      if (/[*+]|,\}/.test(repeats)) endless += 1;
      groups[groups.length - 1] = true;
      i += repeats.length - 1;
      if (text[i + 1] === "?" || text[i + 1] === "+") i += 1;
      continue;
    }
    closed = false;
    if (text[i] === "(") groups.push(false);
    else if (text[i] === ")" && groups.length > 1) {
      closed = groups.pop();
      if (closed) groups[groups.length - 1] = true;
    } else if (text[i] === "|" || (text[i] === "?" && text[i - 1] !== "(")) groups[groups.length - 1] = true;
  }
  return endless <= 2;
}

const clockMs = (seconds) => {
  const date = new Date(seconds * 1000);
  return `${clock(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
};
function delta(seconds) {
  if (seconds < 0.9995) return `+${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 99.95) return `+${seconds.toFixed(seconds < 9.995 ? 2 : 1)} s`;
  return `+${span(seconds)}`;
}

const more = (row) => count(row.cut, "more character");

/** What stands before a row: the time of the day, or since the line before. */
function timeOf(row, times) {
  if (times === "delta") return row.before == null ? "" : delta(row.time - row.before);
  return times === "off" ? "" : clockMs(row.time);
}

/** One row of the pool: elements made once, filled again and again. */
class Row {
  constructor() {
    this.time = h("span", { class: "ipr-time" });
    this.arrow = h("span", { class: "ipr-arrow", role: "img" });
    this.text = h("span", { class: "ipr-text" });
    this.more = h("button", { class: "ipr-more", type: "button", hidden: true });
    this.part = h("span", { class: "ipr-part", role: "img", "aria-label": "a part of a longer line", title: "a part of a longer line", hidden: true }, "⋯");
    this.mark = h("span", { class: "ipr-mark" });
    const body = h("span", { class: "ipr-body" }, this.text, this.more, this.part);
    this.el = h("div", { class: "ipr-row" }, this.time, this.arrow, body, this.mark);
    this.row = undefined;
    this.at = -1;
  }

  show(at, row, look) {
    this.at = at;
    if (this.row !== row || this.look !== look.key || !row) this.tell(row, look);
    const current = Boolean(row) && row.n === look.current;
    if (current !== this.current) this.setCurrent(current, look);
  }

  tell(row, look) {
    const { times } = look;
    this.current = undefined;
    this.row = row;
    this.look = look.key;
    this.setMark(MARKS[row?.mark]);
    if (!row) {
      this.el.className = "ipr-row ipr-loading";
      say(this.time, "");
      this.fill("", null);
      this.more.hidden = this.part.hidden = true;
      return;
    }
    const [direction, spoken] = DIRECTIONS[row.dir] || DIRECTIONS["<"];
    const classes = ["ipr-row", `ipr-${direction}`];
    if (row.cut) classes.push("ipr-cut");
    if (row.dir === "*") classes.push(`ipr-note-${noteKind(row.text)}`);
    this.el.className = classes.join(" ");
    this.arrow.setAttribute("aria-label", spoken);
    say(this.time, timeOf(row, times));
    this.time.title = times === "off" ? "" : new Date(row.time * 1000).toLocaleString();
    this.fill(row.text, look.pattern);
    this.part.hidden = !row.part;
    this.more.hidden = !row.cut;
    if (!row.cut) return;
    // In a narrow log the number must do.
    this.more.replaceChildren(`+${row.cut.toLocaleString()}`, h("span", { class: "ipr-words" }, row.cut === 1 ? " more character" : " more characters"));
    this.more.title = `Show all of this line: ${more(row)}`;
    this.more.setAttribute("aria-label", more(row));
  }

  /** Show in the row of the hit that was stepped to where it is: the text moves, or the button stands for what it does not have. */
  setCurrent(on, look) {
    this.current = on;
    this.el.classList.toggle("ipr-current", on);
    const mark = on ? this.text.querySelector("mark") : null;
    this.el.classList.toggle("ipr-beyond", on && Boolean(look.pattern) && !mark);
    if (mark) {
      const [text, place] = [this.text, mark].map((element) => element.getBoundingClientRect());
      if (place.left >= text.left && place.right <= text.right) return;
      this.text.classList.add("ipr-moved");
      this.text.scrollLeft += place.left - text.left - text.width / 3;
    } else if (this.text.classList.contains("ipr-moved")) {
      this.text.scrollLeft = 0;
      this.text.classList.remove("ipr-moved");
    }
  }

  /** A row that is told anew, for its mark or by each tick, keeps its elements, and so what the user selects in it. */
  fill(text, pattern) {
    if (this.filled?.text === text && this.filled.pattern === pattern) return;
    this.filled = { text, pattern };
    fill(this.text, text, pattern);
  }

  setMark(mark) {
    this.mark.className = `ipr-mark${mark ? ` ipr-${mark[0]}` : ""}`;
    this.mark.title = mark ? mark[1] : "";
    for (const [name, value] of [["role", "img"], ["aria-label", mark?.[0]]]) {
      if (mark) this.mark.setAttribute(name, value);
      else this.mark.removeAttribute(name);
    }
  }
}

/** What happened, by the first word of our own note: only for its colour. */
function noteKind(text) {
  if (/^connected/.test(text)) return "up";
  if (/^(connecting|resolving|stopp|waiting)/.test(text)) return "calm";
  return "down";
}

// A module is loaded once a model: what a view knew when it was taken away (a cell scrolled far off, an output rendered again) is here
// for the next one.
let remembered = null;

function render({ model, el, signal }) {
  const state = {
    top: 0,
    follow: true,
    wrap: false,
    times: "clock",
    height: "", // as the user has dragged it
    ...remembered,
  };
  // Two spaces to move in: all lines by their numbers, and the hits of a search by their ordinals.
  const all = { pages: new Pages(), first: 0, end: 0 };
  let hits = { pages: new Pages(), first: 0, end: 0 };
  let space = all;
  let known = false; // whether a tick has told what there is
  let query = { id: 0, text: "", regex: false, case: false, pattern: null, behind: 0, error: "", asked: 0 };
  let left = 0; // where the user was among all lines before he saw only the hits
  let current = -1; // the line of the hit that was stepped to
  let height = 0; // px of the pane
  let line = 18; // px of a row that does not wrap
  let frame = 0;
  let expected = 0; // the scrollTop that we set ourselves
  let dragging = false; // the user holds the scrollbar's thumb: hands off it
  let downward = false; // the last move was towards the end
  let moved = 0; // when the wheel last moved the log
  let inFlight = null;
  let requests = 0;
  let looked = 0; // when unsettled deliveries were last asked for
  let toldEnd = 0; // how far the live region has told
  let seenEnd = 0; // the end when follow was let go: what came since is "new"
  const pool = [];

  // -- what it is made of -------------------------------------------------------------------------------------------
  const inner = h("div", { class: "ipr-rows" });
  const probe = h("div", { class: "ipr-probe" }); // as high as a row, in whatever the user's font is
  const pane = h("div", { class: "ipr-pane" }, inner, probe);
  const spacer = h("div", { class: "ipr-spacer" });
  const label = () => model.get("label") || "connection log";
  const scroller = h(
    "div",
    {
      class: "ipr-scroll",
      role: "log",
      // Rows of a virtual list are no news: the live region below says what is.
      "aria-live": "off",
      "aria-label": label(),
      tabindex: "0",
      "data-lm-suppress-shortcuts": "true",
    },
    pane,
    spacer,
  );
  const news = h("button", { class: "ipr-news", type: "button", hidden: true, onclick: () => follow(true) });
  const empty = h("div", { class: "ipr-empty" }, "waiting for the kernel…");
  const summary = h("div", { class: "ipr-hidden", role: "status", "aria-live": "polite" });
  const lines = h("span", { class: "ipr-count" });
  const life = h("span", { class: "ipr-life", role: "status" });
  const toggle = (name, text, title, pressed, act) =>
    h("button", { class: `ipr-toggle ipr-toggle-${name}`, type: "button", title, "aria-pressed": String(pressed), onclick: act }, text);
  const followButton = toggle("follow", "follow", "Follow the newest line (End)", true, () => follow(!state.follow));
  const wrapButton = toggle("wrap", "wrap", "Wrap long lines (w)", false, () => setWrap(!state.wrap));
  const timesButton = toggle("times", "time", "Times: of the day, since the line before, none (t)", true, () => nextTimes());
  const bar = h("div", { class: "ipr-bar" }, lines, life, h("span", { class: "ipr-space" }), timesButton, wrapButton, followButton);
  const root = h("div", { class: "ipyreconnect ipr-log" }, h("div", { class: "ipr-frame" }, scroller, empty, news), bar, summary);
  el.append(root);
  el.classList.add("ipyreconnect-part");

  // -- the link -----------------------------------------------------------------------------------------------------
  const link = openLink({
    model,
    signal,
    el,
    want: () => ({ follow: state.follow, rows: link.hidden ? 0 : (visibleRows() || 30) + 2, unseen: link.hidden }),
    onTick(content, buffers) {
      // The kernel's numbers only grow; a smaller one would be another kernel's.
      all.first = content.first;
      all.end = content.end;
      if (!known) {
        known = true;
        seenEnd = toldEnd = all.end;
        say(empty, "");
      }
      if (content.tail) all.pages.put(decodeRows(content.tail, buffers));
      takeFound(content.found?.[link.view]);
      draw();
    },
    onBeat: () => askAgain(),
    onMessage(content, buffers) {
      if (content.m === "rows") {
        if (content.id !== inFlight?.id && content.hits) return; // of a search that was given up
        if (content.id === inFlight?.id) inFlight = null;
        const into = content.hits ? hits : all;
        into.first = content.first;
        into.end = Math.max(into.end, content.end);
        into.pages.put(decodeRows(content.rows, buffers));
        draw();
      } else if (content.m === "near") {
        if (content.id === query.id) arrive(content.at);
      } else if (content.m === "saved") {
        notice(content.error || content.text, Boolean(content.error));
      } else if (content.m === "line") {
        showWhole(content, buffers);
      }
    },
    onLife(news) {
      say(life, showLife(root, news));
      draw();
    },
  });

  // -- geometry -----------------------------------------------------------------------------------------------------
  const visibleRows = () => Math.ceil(height / line) || 0;
  /** The largest sensible top, when every row is one line high. */
  const last = () => Math.max(space.first, space.end - height / line);
  const clamp = (top) => Math.min(Math.max(top, space.first), state.wrap ? Math.max(space.first, space.end - 1) : last());

  function draw() {
    if (!frame && !signal.aborted) frame = requestAnimationFrame(paint);
  }

  function paint() {
    frame = 0;
    if (!known || !height || !el.isConnected) return;
    if (state.follow) state.top = last();
    state.top = clamp(state.top);
    const { first, end, pages } = space;
    const start = Math.max(first, (state.follow && state.wrap ? end : Math.floor(state.top)) - (state.wrap ? LEAD : 0));
    const stop = Math.min(end, Math.floor(state.top) + visibleRows() + 2);
    // Lines that wrap are laid out from the end upwards when the end is in sight, so there must be enough of them.
    const from = state.wrap ? Math.max(first, Math.min(start, end - visibleRows() - 1)) : start;
    const to = state.follow ? end : stop;
    selection.take();
    layRows(from, to);
    selection.restore();
    place(from, to);
    if (selection.ends && copyable()) pages.use(selection.ends[0].at, selection.ends[1].at);
    pages.use(from, to);
    fetchMissing(from, to);
    if (copying) copyWhenHere();
    placeThumb();
    showNumbers();
  }

  /** Bring the pool to show the lines from..to in order; rows that stay in sight keep their elements. */
  function layRows(from, to) {
    const wanted = to - from;
    const focused = inner.contains(document.activeElement);
    while (pool.length < wanted) {
      const row = new Row();
      pool.push(row);
      inner.append(row.el);
    }
    if (pool.length && pool[0].at >= 0) {
      const shift = from - pool[0].at;
      if (shift > 0 && shift < pool.length) {
        const gone = pool.splice(0, shift);
        inner.append(...gone.map((row) => row.el));
        pool.push(...gone);
      } else if (shift < 0 && -shift < pool.length) {
        const gone = pool.splice(shift);
        inner.prepend(...gone.map((row) => row.el));
        pool.unshift(...gone);
      }
    }
    const look = { times: state.times, pattern: query.pattern, current, key: `${state.times} ${query.id} ${space === hits}` };
    const began = performance.now();
    pool.forEach((row, i) => {
      if (look.pattern && performance.now() - began > MARKING) look.pattern = query.pattern = null; // too slow: marks nothing more
      row.el.hidden = i >= wanted;
      if (i < wanted) row.show(from + i, space.pages.get(from + i), look);
      else row.at = from + i;
    });
    // A button that scrolled out of sight takes the focus with it; the keys shall go on moving the log.
    const active = document.activeElement;
    if (focused && (!inner.contains(active) || active.closest("[hidden]"))) scroller.focus({ preventScroll: true });
  }

  /** Move the rows so that `top` is at the pane's upper edge or, when following, the last line at the lower one. */
  function place(from, to) {
    if (!state.wrap) {
      inner.style.transform = `translateY(${-(state.top - from) * line}px)`;
      return;
    }
    const heights = pool.slice(0, to - from).map((row) => row.el.offsetHeight || line);
    const total = heights.reduce((sum, value) => sum + value, 0);
    const index = Math.floor(state.top) - from;
    const above = heights.slice(0, index).reduce((sum, value) => sum + value, 0) + (state.top % 1) * (heights[index] || line);
    const atEnd = to === space.end && total - above <= height;
    if (atEnd && downward) setFollow(true);
    const offset = state.follow || atEnd ? Math.max(0, total - height) : above;
    inner.style.transform = `translateY(${-offset}px)`;
    if (state.follow || atEnd) {
      // The true top is known only now that the rows are measured.
      let rest = offset;
      let i = 0;
      while (i < heights.length && rest >= heights[i]) rest -= heights[i++];
      state.top = from + i + (i < heights.length ? rest / heights[i] : 0);
    }
  }

  function placeThumb() {
    if (dragging) return;
    const total = Math.min(SPACER, Math.max(height, (space.end - space.first) * line));
    const style = `${total - height}px`;
    if (spacer.style.height !== style) spacer.style.height = style;
    const room = last() - space.first;
    const wish = room > 0 ? Math.min(1, (state.top - space.first) / room) * (total - height) : 0;
    if (Math.abs(scroller.scrollTop - wish) >= 1) scroller.scrollTop = wish;
    expected = scroller.scrollTop;
  }

  // -- moving -------------------------------------------------------------------------------------------------------
  function setFollow(on) {
    held = false;
    clearTimeout(resuming);
    if (state.follow === on) return;
    state.follow = on;
    if (!on) seenEnd = space.end;
    followButton.setAttribute("aria-pressed", String(on));
    link.refresh();
  }

  function follow(on) {
    downward = false;
    setFollow(on);
    draw();
  }

  /** Move by so many pixels; say whether there was room to move. */
  function move(pixels) {
    if (!known) return false;
    const before = state.top;
    if (state.wrap && state.follow && pixels > 0) return false;
    state.top = clamp(state.wrap ? movedWrapped(pixels) : state.top + pixels / line);
    const atEnd = pixels > 0 && !state.wrap && state.top >= last();
    if (state.top === before && !(atEnd && !state.follow)) return false;
    follow(atEnd);
    // Where lines wrap, only the layout knows whether this was the end.
    downward = pixels > 0;
    return true;
  }

  function movedWrapped(pixels) {
    const { first, end } = space;
    const heightOf = (at) => {
      const row = pool[at - pool[0]?.at];
      return row && !row.el.hidden ? row.el.offsetHeight || line : line;
    };
    let n = Math.floor(state.top);
    let y = (state.top % 1) * heightOf(n) + pixels;
    while (y < 0 && n > first) y += heightOf(--n);
    while (n < end - 1 && y >= heightOf(n)) y -= heightOf(n++);
    return n + Math.max(0, Math.min(0.999999, y / heightOf(n)));
  }

  function go(top, following = false) {
    state.top = clamp(top);
    // Where all lines are in sight there is nothing to let go of.
    follow(following || (state.follow && !state.wrap && last() <= space.first));
  }

  scroller.addEventListener(
    "wheel",
    (event) => {
      if (event.ctrlKey || !event.deltaY || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
      const unit = event.deltaMode === 1 ? line * 3 : event.deltaMode === 2 ? height : 1;
      if (move(event.deltaY * unit)) {
        moved = performance.now();
        event.preventDefault();
      } else if (performance.now() - moved < 250) {
        event.preventDefault(); // the same flick must not run on into the page
      }
    },
    { passive: false, signal },
  );
  scroller.addEventListener(
    "scroll",
    () => {
      if (!known || !height || !el.isConnected || Math.abs(scroller.scrollTop - expected) < 1.5) return;
      expected = scroller.scrollTop;
      const room = scroller.scrollHeight - scroller.clientHeight;
      if (room <= 0) return;
      state.top = space.first + (scroller.scrollTop / room) * (last() - space.first);
      follow(room - scroller.scrollTop < 2);
    },
    { passive: true, signal },
  );
  scroller.addEventListener("pointerdown", (event) => {
    dragging = event.target === scroller && event.offsetX >= scroller.clientWidth;
  });
  const released = (event) => {
    if (dragging && (event.type !== "pointermove" || !event.buttons)) {
      dragging = false;
      draw();
    }
  };
  for (const name of ["pointerup", "pointercancel", "pointermove"]) document.addEventListener(name, released, { signal, passive: true });

  scroller.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey) {
      // All lines, and not the whole page with all its menus.
      if (event.key === "a") selection.set({ at: space.first, offset: 0 }, { at: space.end - 1, offset: Infinity });
      else if (event.key === "f") openSearch(true);
      else return;
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    if (event.altKey || (event.key === " " && event.target !== scroller)) return; // the blank presses a button in a row
    const page = Math.max(line, height - 2 * line);
    const keys = {
      ArrowUp: () => move(-line),
      ArrowDown: () => move(line),
      PageUp: () => move(-page),
      PageDown: () => move(page),
      " ": () => move(event.shiftKey ? -page : page),
      Home: () => go(space.first),
      End: () => follow(true),
      "/": () => openSearch(true),
      n: () => step(1),
      N: () => step(-1),
      w: () => setWrap(!state.wrap),
      t: () => nextTimes(),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });

  // -- what is selected ---------------------------------------------------------------------------------------------
  let copying = false; // as soon as all of it is here
  let held = false; // it followed, and holds still for the selection
  let resuming = 0;
  const selection = keepSelection({
    inner,
    signal,
    rows: () => pool.filter((row) => !row.el.hidden),
    onChange() {
      copying = false;
      clearTimeout(resuming);
      // Who selects text wants it to stay: the log holds still until the selection is gone.
      if (!selection.ends && held) resuming = setTimeout(() => selection.pressed || follow(true), RESUME);
      else if (selection.ends && state.follow) {
        follow(false);
        held = true;
      }
    },
  });

  const copyable = () => selection.ends[1].at - selection.ends[0].at < COPIED;

  /** What is selected, and how many lines that is; nothing while the kernel has still to tell some of it. */
  function selected() {
    const { first, pages } = space;
    const [low, high] = selection.ends;
    const lines = [];
    for (let at = low.at; at <= high.at; at++) {
      const row = pages.get(at);
      if (!row && at >= first) return null;
      if (!row) continue; // it was forgotten before it was asked for
      const length = [...pieces(row.text)].reduce((sum, [shown]) => sum + shown.length, 0);
      const from = at === low.at ? Math.min(low.offset, length) : 0;
      const to = at === high.at ? Math.min(high.offset, length) : length;
      // A line that is only touched at its edge is not selected.
      if (low.at < high.at && from === to && (at === high.at || from)) continue;
      const cut = row.cut && to === length ? ` … ${more(row)}` : "";
      lines.push({ row, text: copied(row.text, from, to) + cut });
    }
    // Of one line its text; of several what one sees: who said what, and when.
    const whole = lines.map(({ row, text }) => `${timeOf(row, state.times)} ${row.dir} ${text}`.trimStart());
    return { text: lines.length === 1 ? lines[0].text : whole.join("\n"), count: lines.length };
  }

  scroller.addEventListener("copy", (event) => {
    selection.take();
    if (!selection.ends) return;
    event.preventDefault();
    const number = selection.ends[1].at - selection.ends[0].at + 1;
    if (!copyable()) return notice(`${count(number, "line")} are too many to copy; save writes them to a file`, true);
    const found = selected();
    copying = !found;
    if (copying) return draw();
    if (!found.count) return;
    event.clipboardData.setData("text/plain", found.text);
    tellCopied(found);
  });

  async function copyWhenHere() {
    const found = selected();
    if (!found) return;
    copying = false;
    try {
      await navigator.clipboard.writeText(found.text);
      tellCopied(found);
    } catch (error) {
      // Only a key that was just pressed may write to the clipboard; and where the page came without TLS, only that event.
      notice(`${count(found.count, "line")} are ready to be copied: copy again`, true);
    }
  }

  /** Say how much it was where one cannot see that. */
  function tellCopied(found) {
    if (found.count > visibleRows()) notice(`${count(found.count, "line")} copied`, false);
  }

  // -- rows from the kernel -----------------------------------------------------------------------------------------
  function fetchMissing(from, to) {
    const now = performance.now();
    const waiting = inFlight && now - inFlight.at < PATIENCE;
    let range = missing(from, to);
    const needed = Boolean(range);
    // One request at a time; but what is in sight does not wait for what was only asked for in advance.
    if (waiting && (inFlight.needed || !needed)) return;
    if (!range && !state.follow) range = missing(Math.max(space.first, from - AHEAD), Math.min(space.end, to + AHEAD));
    if (!range && selection.ends && copyable()) range = missing(Math.max(space.first, selection.ends[0].at), selection.ends[1].at + 1);
    if (!range) range = unsettled(from, to, now);
    if (!range) return;
    inFlight = { id: ++requests, at: now, needed, hits: space === hits };
    link.post({ m: "rows", id: inFlight.id, a: range[0], b: range[1], hits: space === hits });
    setTimeout(draw, PATIENCE + 50);
  }

  /** The pages around the first and last line that we do not have, as a range; null when all are here. */
  function missing(a, b) {
    const { first, end, pages } = space;
    let low = a;
    while (low < b && pages.get(low)) low++;
    if (low >= b) return null;
    let high = b;
    while (high > low && pages.get(high - 1)) high--;
    const start = Math.max(first, Math.floor(low / PAGE) * PAGE);
    return [start, Math.min(end, Math.ceil(high / PAGE) * PAGE, start + WINDOW)];
  }

  /** Sent lines in sight whose fate may have changed since. */
  function unsettled(from, to, now) {
    const open = (at) => "qs".includes(space.pages.get(at)?.mark ?? "-");
    let low = from;
    while (low < to && !open(low)) low++;
    if (low >= to) return null;
    const wait = REFRESH - (now - looked);
    if (wait > 0) {
      setTimeout(draw, wait + 10);
      return null;
    }
    looked = now;
    return [low, to];
  }

  // What is clipped at the edge shows on hover.
  inner.addEventListener("pointerover", (event) => {
    const text = event.target.closest(".ipr-text");
    if (text) text.title = text.scrollWidth > text.clientWidth ? text.textContent : "";
  });
  inner.addEventListener("click", (event) => {
    const button = event.target.closest(".ipr-more");
    const row = button && pool.find((candidate) => candidate.more === button);
    if (row?.row) link.ask({ m: "line", id: ++wished, n: row.row.n }, refused);
  });

  let wished = 0; // a double click asks twice, and what is closed before the second answer must not open again
  function showWhole(content, buffers) {
    if (content.id !== wished) return;
    const text = h("pre", { tabindex: "0" });
    const whole = content.forgotten ? "this line is forgotten" : decoder.decode(buffers[0]);
    fill(text, whole, query.regex && whole.length > SEARCHED ? null : query.pattern);
    const dialog = h(
      "dialog",
      { class: "ipyreconnect ipr-whole", "aria-label": `line ${content.n}`, "data-lm-suppress-shortcuts": "true" },
      h(
        "header",
        {},
        h("b", {}, `line ${content.n.toLocaleString()}`),
        content.cut ? h("span", {}, `${count(content.cut, "character")} beyond this are in client.transcript[${content.n}]`) : null,
        h("button", { type: "button", class: "ipr-toggle", onclick: () => dialog.close() }, "close"),
      ),
      text,
    );
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "a") return;
      document.getSelection().selectAllChildren(text);
      event.preventDefault();
    });
    text.addEventListener("copy", (event) => {
      const range = document.getSelection().getRangeAt(0);
      const [from, to] = [offsetIn(text, range.startContainer, range.startOffset), offsetIn(text, range.endContainer, range.endOffset)];
      event.clipboardData.setData("text/plain", copied(whole, from, to));
      event.preventDefault();
    });
    root.append(dialog);
    dialog.showModal();
    text.querySelector("mark")?.scrollIntoView({ block: "center" });
  }

  // -- searching and saving -----------------------------------------------------------------------------------------
  const needle = h("input", {
    type: "text",
    class: "ipr-needle",
    "aria-label": "search all lines",
    placeholder: "search all lines",
    maxlength: String(LONGEST_QUERY),
    autocomplete: "off",
    spellcheck: "false",
  });
  const option = (name, text, title) =>
    h("button", { type: "button", class: `ipr-toggle ipr-${name}`, title, "aria-label": title, "aria-pressed": "false" }, text);
  const regexButton = option("regex", ".*", "Regular expression");
  const caseButton = option("case", "Aa", "Capital letters matter");
  const filterButton = option("filter", "only hits", "Show only the lines that have it");
  const verdict = h("span", { class: "ipr-verdict", role: "status" });
  const round = h("span", { class: "ipr-round", role: "status", title: "The search went round the end" });
  const previous = h("button", { type: "button", class: "ipr-toggle", title: "The hit before (Shift+Enter)", "aria-label": "previous hit", onclick: () => step(-1) }, "↑");
  const next = h("button", { type: "button", class: "ipr-toggle", title: "The next hit (Enter)", "aria-label": "next hit", onclick: () => step(1) }, "↓");
  const closing = h("button", { type: "button", class: "ipr-toggle", title: "End the search (Esc)", "aria-label": "end the search", onclick: () => openSearch(false) }, "×");
  const searchBar = h(
    "div",
    { class: "ipr-bar ipr-search", role: "search", hidden: true, "data-lm-suppress-shortcuts": "true" },
    needle, regexButton, caseButton, verdict, h("span", { class: "ipr-arrows" }, round, previous, next), h("span", { class: "ipr-space" }), filterButton, closing,
  );
  bar.before(searchBar);
  const searchButton = h("button", { type: "button", class: "ipr-toggle", title: "Search all lines (/)", "aria-expanded": "false", onclick: () => openSearch(searchBar.hidden) }, "search");
  const saveMenu = h("details", { class: "ipr-menu" }, h("summary", { class: "ipr-toggle", title: "Write the lines to a file beside the notebook" }, "save"));
  const saveAs = (format, text) =>
    h("button", { type: "button", class: "ipr-toggle", onclick: () => { saveMenu.open = false; link.ask({ m: "save", id: 0, format, hits: space === hits }, refused); } }, text);
  saveMenu.append(h("div", { class: "ipr-choices" }, saveAs("txt", "as text"), saveAs("jsonl", "as JSON lines")));
  saveMenu.addEventListener("focusout", (event) => {
    if (!saveMenu.contains(event.relatedTarget)) saveMenu.open = false;
  });
  saveMenu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !saveMenu.open) return;
    event.stopPropagation();
    saveMenu.open = false;
    saveMenu.firstElementChild.focus();
  });
  timesButton.before(searchButton, saveMenu);
  const told = h("div", { class: "ipr-notice", role: "status", hidden: true });
  bar.after(told);

  const pressed = (button) => button.getAttribute("aria-pressed") === "true";
  function notice(text, bad) {
    told.hidden = !text;
    told.classList.toggle("ipr-bad", bad);
    told.replaceChildren(text, h("button", { type: "button", class: "ipr-toggle", onclick: () => notice("") }, "dismiss"));
  }

  const refused = (why) => notice(why, true);

  function openSearch(on) {
    searchBar.hidden = !on;
    searchButton.setAttribute("aria-expanded", String(on));
    if (on) {
      needle.focus();
      needle.select();
    } else {
      showHits(false);
      scroller.focus();
    }
    find();
  }

  /** Search for what the fields say; the kernel counts, and goes on as lines come. */
  function find() {
    const text = searchBar.hidden ? "" : needle.value;
    const wish = { text, regex: pressed(regexButton), case: pressed(caseButton) };
    if (["text", "regex", "case"].every((key) => wish[key] === query[key])) return;
    let pattern = null;
    try {
      // The kernel's word counts; this only marks the places in the rows in sight.
      const escaped = wish.regex ? text : text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      if (text && (!wish.regex || tame(text))) pattern = new RegExp(escaped, wish.case ? "gu" : "giu");
    } catch (error) {
      // A regular expression that only Python understands: hits are counted and shown, but not marked. So it is with a wild one.
    }
    query = { ...wish, id: query.id + 1, pattern, behind: text ? 1 : 0, error: "", asked: 0, until: all.end, searched: -1, steps: [], stepping: false };
    hits = { pages: new Pages(), first: 0, end: 0 };
    current = -1;
    if (inFlight?.hits) inFlight = null;
    if (space !== all) {
      selection.clear();
      space = hits;
    }
    ask();
    sayRound(false);
    showVerdict();
    draw();
  }

  function ask() {
    query.asked = performance.now();
    link.ask({ m: "find", id: query.id, text: query.text, regex: query.regex, case: query.case }, (why) => (query.error = why));
  }

  /** Search anew where the kernel has forgotten it, as this view could not be heard for long; but not while nobody looks. */
  function askAgain() {
    if (query.lost && !link.hidden && performance.now() - query.asked > PATIENCE) ask();
  }

  /** Take what the kernel says of our search. */
  function takeFound(found) {
    if (!query.text) return;
    query.lost = !found || found.id !== query.id;
    if (query.lost) return askAgain();
    hits.first = found.first;
    hits.end = Math.max(hits.end, found.end);
    // What was found in lines that had come before is no new hit.
    if (query.searched < query.until && space === hits) seenEnd = hits.end;
    query.searched = all.end - found.behind;
    query.behind = found.behind;
    query.error = found.error;
    if (query.wanted && hits.end > hits.first) step(query.wanted);
    else if (query.searched >= query.until) query.wanted = 0; // nobody wants to be taken away from a log that runs, later on
    showVerdict();
  }

  function showVerdict() {
    const { end, first } = hits;
    const share = all.end > all.first ? 1 - query.behind / (all.end - all.first) : 1;
    const catching = query.searched < query.until;
    const progress = query.behind > 20_000 ? `${Math.floor(100 * Math.max(0, share))} % searched` : catching ? "searching …" : "";
    const kept = first ? ` (${(end - first).toLocaleString()} still kept)` : "";
    const place = query.ordinal >= 0 && end ? `${(query.ordinal + 1).toLocaleString()} of ` : "";
    const found = end || !catching ? `${place}${count(end, "hit")}${kept}` : "";
    say(verdict, !query.text ? "" : query.error || [found, progress].filter(Boolean).join(", "));
    verdict.title = verdict.textContent;
    verdict.classList.toggle("ipr-bad", Boolean(query.error));
    for (const button of [previous, next, filterButton]) button.disabled = !end;
  }

  /** Go to the next hit after the one we are at, or after what is in sight; the kernel knows where it is. */
  function step(direction) {
    if (!query.text) return openSearch(true);
    query.wanted = 0;
    // Each step starts where the one before has led to, however fast the keys are.
    if (query.stepping) return void query.steps.push(direction);
    const top = inSight() ?? all.first;
    const from = current >= 0 ? current : direction > 0 ? top - 1 : top;
    query.stepping = link.ask({ m: "near", id: query.id, n: from, direction }, refused);
    query.direction = direction;
  }

  const sayRound = (on) => round.replaceChildren(...(on ? ["↻", h("span", { class: "ipr-hidden" }, "wrapped")] : []));

  function arrive(at) {
    if (!at && hits.end > hits.first && query.direction) {
      // Round the corner, once: from the other end.
      link.post({ m: "near", id: query.id, n: query.direction > 0 ? all.first - 1 : all.end, direction: query.direction });
      query.direction = 0;
      query.round = true;
      return;
    }
    query.stepping = false;
    sayRound(at && query.round);
    query.round = false;
    if (!at) return;
    [query.ordinal, current] = at;
    if (query.steps.length) return step(query.steps.shift());
    const target = space === hits ? query.ordinal : current;
    const rows = height / line;
    // In the middle, unless it is in sight already.
    if (state.follow || target < state.top || target > state.top + rows - 2) go(target - Math.floor(rows / 2));
    else draw();
    showVerdict();
  }

  /** The number of the first line in sight; where lines wrap, some rows above it are laid out too. */
  function inSight() {
    return pool.find((row) => row.row && !row.el.hidden && row.at >= Math.floor(state.top))?.row.n;
  }

  /** Show only the hits, or all lines again; what is in sight stays in sight as far as it can. */
  function showHits(on) {
    const wanted = on ? hits : all;
    filterButton.setAttribute("aria-pressed", String(on));
    if (space === wanted) return;
    if (on) left = state.top;
    const seen = inSight() ?? left;
    const here = pool.some((row) => row.row?.n === current && !row.el.hidden);
    selection.clear();
    space = wanted;
    inFlight = null;
    for (const row of pool) row.at = -1;
    seenEnd = space.end;
    if (!state.follow) {
      if (here) go((on ? query.ordinal : current) - Math.floor(height / line / 2));
      else if (!on) state.top = clamp(seen);
      else link.post({ m: "near", id: query.id, n: seen - 1, direction: 1 });
    }
    draw();
  }

  let typing = 0;
  needle.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(find, 150);
  });
  for (const button of [regexButton, caseButton]) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(!pressed(button)));
      find();
    });
  }
  filterButton.addEventListener("click", () => showHits(!pressed(filterButton)));
  searchBar.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.isComposing) return; // these keys are the input method's
    if (event.key === "Escape") openSearch(false);
    else if (event.key === "Enter" && event.target === needle) {
      clearTimeout(typing);
      find();
      if (hits.end) step(event.shiftKey ? -1 : 1);
      else if (query.searched < query.until) query.wanted = event.shiftKey ? -1 : 1; // as soon as there is one
    }
  });

  // -- what the bar says --------------------------------------------------------------------------------------------
  function setWrap(on) {
    state.wrap = on;
    root.classList.toggle("ipr-wrapped", on);
    wrapButton.setAttribute("aria-pressed", String(on));
    draw();
  }

  const TIMES = { clock: "time", delta: "Δ time", off: "time" };
  function nextTimes() {
    setTimes({ clock: "delta", delta: "off", off: "clock" }[state.times]);
  }
  function setTimes(times) {
    state.times = times;
    root.classList.toggle("ipr-timeless", times === "off");
    say(timesButton, TIMES[times]);
    timesButton.setAttribute("aria-pressed", String(times !== "off"));
    draw();
  }

  function showNumbers() {
    say(lines, count(all.end, "line") + (all.first ? `, the oldest ${all.first.toLocaleString()} forgotten` : ""));
    const fresh = space.end - seenEnd;
    news.hidden = state.follow || (fresh <= 0 && state.top >= last() - 1) || (!state.wrap && last() <= space.first);
    if (!news.hidden) say(news, fresh > 0 ? `↓ ${count(fresh, space === hits ? "new hit" : "new line")}` : "↓ newest");
    say(empty, space.end > space.first ? "" : space === all ? "no line yet" : query.error || (query.behind ? "searching …" : "no line has it"));
    scroller.classList.toggle("ipr-at-end", state.follow);
  }

  const telling = setInterval(() => {
    const { end } = all;
    if (known && end > toldEnd && !link.hidden) {
      const newest = state.follow ? all.pages.get(end - 1) : null; // else it is not in sight, though a tick may have brought it
      const text = newest ? `, the last: ${newest.text.replace(/[\x01\x02]/g, "").slice(0, 120)}` : "";
      say(summary, count(end - toldEnd, "new line") + text);
    }
    toldEnd = end;
  }, SUMMARY);

  // -- its size -----------------------------------------------------------------------------------------------------
  const resized = new ResizeObserver(() => {
    height = scroller.clientHeight;
    pane.style.height = `${height}px`;
    line = probe.offsetHeight || 18;
    if (height) {
      expected = -1;
      link.refresh();
      draw();
    }
  });
  for (const element of [scroller, probe]) resized.observe(element);
  let given = ""; // the height before the user dragged it
  const applyTraits = () => {
    scroller.style.height = model.get("height");
    given = scroller.style.height;
    scroller.setAttribute("aria-label", label());
  };
  model.on("change:height", applyTraits);
  model.on("change:label", applyTraits);
  applyTraits();
  if (state.height) scroller.style.height = state.height;
  setWrap(state.wrap);
  setTimes(state.times);
  followButton.setAttribute("aria-pressed", String(state.follow));
  link.start();

  return () => {
    const top = space === all ? state.top : inSight() ?? left;
    remembered = { ...state, top, follow: state.follow || held, height: scroller.style.height === given ? "" : scroller.style.height };
    cancelAnimationFrame(frame);
    clearTimeout(resuming);
    clearInterval(telling);
    resized.disconnect();
  };
}

export default { render };

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
const PATIENCE = 4000; // ms after which an unanswered request is asked again
const REFRESH = 400; // ms between looks at rows whose delivery is not settled yet
const SUMMARY = 4000; // ms between two sentences of the live region

const MARKS = {
  q: ["queued", "waiting to be sent"],
  s: ["sent", "sent: handed to the network, not acknowledged yet"],
  a: ["acknowledged", "acknowledged: the peer’s machine has it"],
  u: ["unconfirmed", "unconfirmed: the connection was lost before the peer’s machine acknowledged it"],
};
const DIRECTIONS = { "<": ["in", "received"], ">": ["out", "sent"], "*": ["note", ""] };
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
      const number = Math.floor(row.n / PAGE);
      let page = this.pages.get(number);
      if (!page) this.pages.set(number, (page = []));
      page[modulo(row.n, PAGE)] = row;
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
    n: rows.a + i,
    dir: rows.dir[i],
    mark: rows.mark[i],
    part: parts.has(i),
    cut: rows.cut[i] || 0,
    time: times[i],
    before: i ? times[i - 1] : rows.before,
    text,
  }));
}

/** Put a text with control characters written out (between U+0001 and U+0002) into an element: text nodes and spans, never markup. */
function fill(element, text) {
  if (!text.includes("\x01")) {
    say(element, text);
    return;
  }
  const pieces = [];
  for (const piece of text.split("\x01")) {
    const end = piece.indexOf("\x02");
    if (end < 0) pieces.push(piece);
    else pieces.push(h("span", { class: "ipr-control" }, piece.slice(0, end)), piece.slice(end + 1));
  }
  element.replaceChildren(...pieces);
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

/** One row of the pool: elements made once, filled again and again. */
class Row {
  constructor() {
    this.time = h("span", { class: "ipr-time" });
    this.arrow = h("span", { class: "ipr-arrow", "aria-hidden": "true" });
    this.text = h("span", { class: "ipr-text" });
    this.more = h("button", { class: "ipr-more", type: "button", tabindex: "-1", hidden: true });
    this.mark = h("span", { class: "ipr-mark" });
    this.el = h("div", { class: "ipr-row" }, this.time, this.arrow, this.text, this.more, this.mark);
    this.key = "";
    this.row = undefined;
    this.n = -1;
  }

  show(n, row, times) {
    this.n = n;
    if (this.row === row && this.times === times && row) return;
    this.row = row;
    this.times = times;
    if (!row) {
      this.el.className = "ipr-row ipr-loading";
      say(this.time, "");
      say(this.text, "");
      this.more.hidden = true;
      this.mark.className = "ipr-mark";
      return;
    }
    const [direction, spoken] = DIRECTIONS[row.dir] || DIRECTIONS["<"];
    this.el.className = `ipr-row ipr-${direction}${row.part ? " ipr-part" : ""}${row.dir === "*" ? ` ipr-note-${noteKind(row.text)}` : ""}`;
    this.el.setAttribute("aria-label", spoken ? `${spoken}: ${row.text}` : row.text);
    say(this.time, times === "delta" ? (row.before == null ? "" : delta(row.time - row.before)) : times === "off" ? "" : clockMs(row.time));
    this.time.title = times === "off" ? "" : new Date(row.time * 1000).toLocaleString();
    fill(this.text, row.text);
    this.more.hidden = !row.cut;
    if (row.cut) say(this.more, `… ${count(row.cut, "more character")}`);
    const mark = MARKS[row.mark];
    this.mark.className = `ipr-mark${mark ? ` ipr-${mark[0]}` : ""}`;
    this.mark.title = mark ? mark[1] : "";
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
    ...remembered,
  };
  let first = 0;
  let end = 0;
  let known = false; // whether a tick has told first and end
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
  const pages = new Pages();
  const pool = [];

  // -- what it is made of -------------------------------------------------------------------------------------------
  const inner = h("div", { class: "ipr-rows" });
  const pane = h("div", { class: "ipr-pane" }, inner);
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
    want: () => ({ follow: state.follow, rows: link.hidden ? 0 : visibleRows() + 2, unseen: link.hidden }),
    onTick(content, buffers) {
      // The kernel's numbers only grow; a smaller one would be another kernel's.
      first = content.first;
      end = content.end;
      if (!known) {
        known = true;
        seenEnd = toldEnd = end;
        say(empty, "");
      }
      if (content.tail) pages.put(decodeRows(content.tail, buffers));
      draw();
    },
    onMessage(content, buffers) {
      if (content.m === "rows") {
        if (content.id === inFlight?.id) inFlight = null;
        first = content.first;
        end = Math.max(end, content.end);
        pages.put(decodeRows(content.rows, buffers));
        draw();
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
  const last = () => Math.max(first, end - height / line);
  const clamp = (top) => Math.min(Math.max(top, first), state.wrap ? Math.max(first, end - 1) : last());

  function draw() {
    if (!frame && !signal.aborted) frame = requestAnimationFrame(paint);
  }

  function paint() {
    frame = 0;
    if (!known || !height || !el.isConnected) return;
    if (state.follow) state.top = last();
    state.top = clamp(state.top);
    const start = Math.max(first, (state.follow && state.wrap ? end : Math.floor(state.top)) - (state.wrap ? LEAD : 0));
    const stop = Math.min(end, Math.floor(state.top) + visibleRows() + 2);
    // Lines that wrap are laid out from the end upwards when the end is in sight, so there must be enough of them.
    const from = state.wrap ? Math.max(first, Math.min(start, end - visibleRows() - 1)) : start;
    const to = state.follow ? end : stop;
    layRows(from, to);
    place(from, to);
    pages.use(from, to);
    fetchMissing(from, to);
    placeThumb();
    showNumbers();
  }

  /** Bring the pool to show the lines from..to in order; rows that stay in sight keep their elements, and so the user's selection. */
  function layRows(from, to) {
    const wanted = to - from;
    while (pool.length < wanted) {
      const row = new Row();
      pool.push(row);
      inner.append(row.el);
    }
    if (pool.length && pool[0].n >= 0) {
      const shift = from - pool[0].n;
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
    pool.forEach((row, i) => {
      row.el.hidden = i >= wanted;
      if (i < wanted) row.show(from + i, pages.get(from + i), state.times);
      else row.n = from + i;
    });
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
    const atEnd = to === end && total - above <= height;
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
    const total = Math.min(SPACER, Math.max(height, (end - first) * line));
    const style = `${total - height}px`;
    if (spacer.style.height !== style) spacer.style.height = style;
    const room = last() - first;
    const wish = room > 0 ? Math.min(1, (state.top - first) / room) * (total - height) : 0;
    if (Math.abs(scroller.scrollTop - wish) >= 1) scroller.scrollTop = wish;
    expected = scroller.scrollTop;
  }

  // -- moving -------------------------------------------------------------------------------------------------------
  function setFollow(on) {
    if (state.follow === on) return;
    state.follow = on;
    if (!on) seenEnd = end;
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
    const heightOf = (n) => {
      const row = pool[n - pool[0]?.n];
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
    follow(following);
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
      state.top = first + (scroller.scrollTop / room) * (last() - first);
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
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(line, height - 2 * line);
    const keys = {
      ArrowUp: () => move(-line),
      ArrowDown: () => move(line),
      PageUp: () => move(-page),
      PageDown: () => move(page),
      " ": () => move(event.shiftKey ? -page : page),
      Home: () => go(first),
      End: () => follow(true),
      w: () => setWrap(!state.wrap),
      t: () => nextTimes(),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });

  // Who selects text wants it to stay: the log holds still until the selection is gone.
  document.addEventListener(
    "selectionchange",
    () => {
      const selection = document.getSelection();
      if (state.follow && selection && !selection.isCollapsed && inner.contains(selection.anchorNode)) follow(false);
    },
    { signal },
  );

  // -- rows from the kernel -----------------------------------------------------------------------------------------
  function fetchMissing(from, to) {
    const now = performance.now();
    const waiting = inFlight && now - inFlight.at < PATIENCE;
    let range = missing(from, to);
    const needed = Boolean(range);
    // One request at a time; but what is in sight does not wait for what was only asked for in advance.
    if (waiting && (inFlight.needed || !needed)) return;
    if (!range && !state.follow) range = missing(Math.max(first, from - AHEAD), Math.min(end, to + AHEAD));
    if (!range) range = unsettled(from, to, now);
    if (!range) return;
    inFlight = { id: ++requests, at: now, needed };
    link.post({ m: "rows", id: inFlight.id, a: range[0], b: range[1] });
    setTimeout(draw, PATIENCE + 50);
  }

  /** The pages around the first and last line that we do not have, as a range; null when all are here. */
  function missing(a, b) {
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
    const open = (n) => "qs".includes(pages.get(n)?.mark ?? "-");
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

  inner.addEventListener("click", (event) => {
    const button = event.target.closest(".ipr-more");
    const row = button && pool.find((candidate) => candidate.more === button);
    if (row) link.post({ m: "line", id: 0, n: row.n });
  });

  function showWhole(content, buffers) {
    const text = h("pre", { tabindex: "0" });
    fill(text, content.forgotten ? "this line is forgotten" : decoder.decode(buffers[0]));
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
    root.append(dialog);
    dialog.showModal();
  }

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
    say(lines, count(end, "line") + (first ? `, the oldest ${first.toLocaleString()} forgotten` : ""));
    const fresh = end - seenEnd;
    news.hidden = state.follow || (fresh <= 0 && state.top >= last() - 1);
    if (!news.hidden) say(news, fresh > 0 ? `↓ ${count(fresh, "new line")}` : "↓ newest");
    say(empty, end > first ? "" : "no line yet");
    scroller.classList.toggle("ipr-at-end", state.follow);
  }

  const telling = setInterval(() => {
    if (known && end > toldEnd && !link.hidden) {
      const newest = pages.get(end - 1);
      const text = newest ? `: ${newest.text.replace(/[\x01\x02]/g, "").slice(0, 120)}` : "";
      say(summary, `${count(end - toldEnd, "new line")}, the last${text}`);
    }
    toldEnd = end;
  }, SUMMARY);

  // -- its size -----------------------------------------------------------------------------------------------------
  const resized = new ResizeObserver(() => {
    height = scroller.clientHeight;
    pane.style.height = `${height}px`;
    const style = getComputedStyle(inner);
    line = parseFloat(style.getPropertyValue("line-height")) || 18;
    if (height) {
      expected = -1;
      link.refresh();
      draw();
    }
  });
  resized.observe(scroller);
  const applyTraits = () => {
    scroller.style.height = model.get("height");
    scroller.setAttribute("aria-label", label());
  };
  model.on("change:height", applyTraits);
  model.on("change:label", applyTraits);
  applyTraits();
  setWrap(state.wrap);
  setTimes(state.times);
  followButton.setAttribute("aria-pressed", String(state.follow));
  link.start();

  return () => {
    remembered = state;
    cancelAnimationFrame(frame);
    clearInterval(telling);
    resized.disconnect();
  };
}

export default { render };

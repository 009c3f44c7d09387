// The link between one view and the kernel: says hello, acknowledges ticks that ask for it once they are painted, and knows by the
// age of the last word whether the kernel still lives. publisher.py is the other end and explains the flow. Put in front of each
// part's own script.

const SILENCE = 9000; // ms without a word (the kernel speaks every 2 s) after which it counts as gone
const KEEP = 8000; // ms within which a view that had nothing to acknowledge shows that it is still there
const KNOCK = [2000, 4000, 8000, 16000, 30000]; // ms between hellos to a kernel that does not answer
const CHECK = 1000;
const NO_KERNEL = "the kernel does not answer: nothing was done";

/**
 * model: anywidget's model. signal: ends with the view. el: the view's element.
 * want(): what this view wants to be told. onTick(content, buffers): draws. onBeat(content): every two seconds. onMessage(content,
 * buffers): anything else for this view.
 * onLife({state: "new" | "live" | "late" | "gone", since: Date}): whether the kernel lives.
 */
function openLink({ model, signal, el, want, onTick, onBeat = () => {}, onMessage = () => {}, onLife = () => {} }) {
  const view = crypto.getRandomValues(new Uint32Array(2)).join("-");
  let heard = Date.now(); // when the kernel last spoke
  let spoke = 0; // when we last spoke
  let checked = Date.now();
  let knocks = 0;
  let seq = 0; // the last tick that was painted
  let life = "new";
  let said = ""; // what the kernel last knew of our wants
  let left = false; // we said goodbye

  const post = (content) => {
    if (left) return;
    try {
      spoke = Date.now();
      model.send({ ...content, view });
    } catch (error) {
      // A kernel that is gone; the age of its last word tells the user.
    }
  };
  const tell = (kind) => {
    const wants = want();
    said = JSON.stringify(wants);
    post(kind === "hello" ? { m: "hello", want: wants } : { m: "ack", seq, want: wants });
  };
  const leave = () => {
    post({ m: "bye" });
    left = true;
  };
  const live = (state) => {
    if (state === life) return;
    life = state;
    onLife({ state, since: new Date(heard) });
  };
  // After the paint, so that a slow browser slows the kernel; a tab that is not shown paints nothing and answers at once.
  const painted = (then) => {
    let done = false;
    const once = () => {
      if (!done && !signal.aborted) then();
      done = true;
    };
    if (document.hidden) return once();
    requestAnimationFrame(() => setTimeout(once));
    setTimeout(once, 1000);
  };

  model.on("msg:custom", (content, buffers) => {
    if (signal.aborted || !content || (content.view !== undefined && content.view !== view)) return;
    heard = Date.now();
    knocks = 0;
    if (content.m === "end") {
      leave();
    } else if (content.m === "tick") {
      live(content.late ? "late" : "live");
      onTick(content, buffers || []);
      painted(() => {
        seq = Math.max(seq, content.seq);
        if (content.asks) tell("ack");
      });
    } else if (content.m === "beat") {
      live(content.late ? "late" : "live");
      onBeat(content);
    } else {
      onMessage(content, buffers || []);
    }
  });

  const check = () => {
    const now = Date.now();
    // A machine that slept, or a throttled tab: silence proves nothing before the kernel had time to answer.
    const slept = now - checked > 4 * CHECK;
    checked = now;
    if (slept && life !== "gone") {
      heard = Math.max(heard, now - SILENCE + 4 * CHECK);
      tell("hello");
    } else if (el.closest(".jupyter-widgets-disconnected") || now - heard > SILENCE) {
      if (life !== "new") live("gone");
      if (now - spoke >= KNOCK[Math.min(knocks, KNOCK.length - 1)]) {
        knocks += 1;
        tell("hello");
      }
    } else if (Math.floor(now / KEEP) > Math.floor(spoke / KEEP)) {
      // All views at the same moment: each word makes the kernel's indicator busy for a while.
      tell(life === "new" ? "hello" : "ack");
    }
  };
  const timer = setInterval(check, CHECK);
  signal.addEventListener("abort", () => {
    clearInterval(timer);
    leave();
  });
  const seen = new IntersectionObserver((entries) => {
    link.unseen = !entries[entries.length - 1].isIntersecting;
    link.refresh();
  });
  const link = {
    view,
    unseen: false,
    post,
    /** Ask the kernel for what the user wants, and say whether it was asked: one that is gone is not, and `tell` gets the reason. */
    ask(content, tell) {
      const gone = life === "gone" || isGone(el);
      if (gone) tell(NO_KERNEL);
      else post(content);
      return !gone;
    },
    get life() {
      return life;
    },
    /** Tell the kernel when what this view wants has changed. */
    refresh() {
      if (life !== "new" && JSON.stringify(want()) !== said) tell("ack");
    },
    start() {
      tell("hello");
      el.addEventListener("keydown", keepKey, { signal });
      seen.observe(el);
      signal.addEventListener("abort", () => seen.disconnect());
      document.addEventListener("visibilitychange", () => link.refresh(), { signal });
    },
    /** Whether nobody can see this view now. */
    get hidden() {
      return document.hidden || link.unseen;
    },
  };
  return link;
}

/**
 * Keep a key that was pressed in the panel from the notebook, which would cut the cell for an x. What it does for keys with Ctrl or Cmd
 * it may, but not for those that edit the text in a field, nor run the cell anew.
 */
function keepKey(event) {
  const command = (event.ctrlKey || event.metaKey) && event.key !== "Enter";
  const saves = event.key?.toLowerCase() === "s";
  if (!command || (event.target.matches("input") && !saves)) event.stopPropagation();
}

/** Make an element: h("div", {class: "x", title: "y"}, child, "text"). Text is only ever text. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set an element's text, only where it differs: an equal write would still cost a layout. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const two = (number) => String(number).padStart(2, "0");
const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
const count = (number, one, many = one + "s") => `${number.toLocaleString()} ${number === 1 ? one : many}`;

/** 5 -> "5 s", 75 -> "1 min 15 s", 7300 -> "2 h 1 min", 200000 -> "2 d 7 h", 40000000 -> "1 y 97 d". */
function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const units = [["y", 365 * 86400], ["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => whole >= size);
  if (first < 0) return "0 s";
  const parts = [];
  let rest = whole;
  for (const [name, size] of units.slice(first, first + 2)) {
    const number = Math.floor(rest / size);
    if (number || !parts.length) parts.push(`${number} ${name}`);
    rest -= number * size;
  }
  return parts.join(" ");
}

/** Whether the panel around an element shows that the kernel is gone. */
const isGone = (el) => Boolean(el.closest(".ipyreconnect-gone"));

/** Show on every part of the panel whether the kernel lives: one glance must do. */
function showLife(el, { state, since }) {
  const root = el.closest(".ipyreconnect-panel") || el;
  root.classList.toggle("ipyreconnect-gone", state === "gone");
  root.classList.toggle("ipyreconnect-late", state === "late");
  return state === "gone" ? `kernel gone since ${clock(since)}` : state === "late" ? "kernel busy, controls wait" : "";
}

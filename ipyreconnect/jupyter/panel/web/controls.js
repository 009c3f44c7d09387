// The controls of a panel that stock widgets can't give: the header (state, countdown), the keepalive fields and the send box.
// They hold no truth of their own: they say what the user wants and show what the kernel answers. controls.py is the other side.

const PHASES = {
  resolving: "looking up the name",
  dialing: "dialing",
  tls: "agreeing on TLS",
  starttls: "asking for STARTTLS",
  script: "running the on-connect script",
};
const DAY = 86400;
const EXPIRES_SOON = 14 * DAY;
const HISTORY = 200;
const STRIP = 600; // seconds
const ROUND_TRIPS = 60;

const milliseconds = (seconds) => `${Number((1000 * seconds).toPrecision(2))} ms`;
// The kernel tells it every two seconds: less is no news, only the age of its word.
const ago = (seconds) => (seconds < 3 ? "just now" : `${span(seconds)} ago`);

/** The time of the day so many seconds ago, with the day where that may be another one. */
function moment(seconds) {
  const when = new Date(Date.now() - seconds * 1000);
  const day = seconds > 0.75 * DAY ? when.toLocaleDateString([], { day: "numeric", month: "short" }) + " " : "";
  return day + clock(when);
}
const now = () => performance.now() / 1000;

// -- header -----------------------------------------------------------------------------------------------------------

function renderHeader({ model, el, signal }) {
  const dot = h("span", { class: "ipr-dot", "aria-hidden": "true" });
  const word = h("span", {}, "…");
  const badge = h("span", { class: "ipr-badge" }, dot, word);
  const spoken = h("span", { class: "ipr-hidden", role: "status" });
  const name = h("span", { class: "ipr-name" });
  const address = h("span", { class: "ipr-address" });
  const lock = h("span", { class: "ipr-lock", role: "img", tabindex: "0", hidden: true });
  // A key that is held down must not press the button that takes the place of this one.
  const push = (text, title, wish) =>
    h("button", { type: "button", class: "ipr-push", title, onclick: () => ask(wish), onkeydown: (event) => event.repeat && event.preventDefault() }, text);
  const connect = push("Connect", "Connect, and stay connected", "connect");
  const reconnect = push("Reconnect now", "Cut the wait short, or drop this connection and dial anew", "reconnect");
  const stop = push("Stop", "Close the connection and stay away", "stop");
  const buttons = h("div", { class: "ipr-buttons", hidden: true }, connect, reconnect, stop);
  const detail = h("span", { class: "ipr-detail" });
  const life = h("span", { class: "ipr-life", role: "status" });
  const second = h("div", { class: "ipr-second" }, detail, life);
  const trouble = h("span", {});
  const strip = h(
    "div",
    { class: "ipr-trouble", role: "alert", hidden: true },
    trouble,
    h("button", { type: "button", class: "ipr-toggle", title: "Hide this", onclick: () => dismiss() }, "dismiss"),
  );
  const verdict = h("span", { class: "ipr-verdict-word" });
  const plot = h("canvas", { class: "ipr-plot", role: "img", width: "96", height: "16" });
  const facts = h("span", { class: "ipr-facts" });
  const health = h("div", { class: "ipr-health ipr-unknown" }, verdict, facts, plot);
  const ribbon = h("div", { class: "ipr-ribbon", role: "img" });
  const root = h(
    "div",
    { class: "ipyreconnect ipr-header", role: "group", "aria-label": "connection" },
    h("div", { class: "ipr-first" }, badge, name, address, lock),
    buttons,
    spoken,
    second,
    health,
    strip,
    ribbon,
  );
  el.append(root);
  el.classList.add("ipyreconnect-part");

  let state = null;
  let at = 0; // when that was so, on our own clock: the kernel's may be another machine's
  let healthAt = 0;
  let trips = []; // [when, round-trip time] in seconds
  let timer = 0;
  let silentSince = new Date();
  let announced = ""; // the state that screen readers were told
  let unheard = ""; // what a kernel that is gone could not be told

  const link = openLink({
    model,
    signal,
    el,
    want: () => ({ unseen: link.hidden }),
    onTick(content) {
      state = content;
      at = now();
      trips = content.round_trips.map(([ago, seconds]) => [at - ago, seconds]);
      show();
    },
    onBeat(content) {
      if (!state) return;
      state.health = content.health;
      healthAt = now();
      if (content.health?.rtt != null) trips = [...trips, [healthAt, content.health.rtt]].slice(-ROUND_TRIPS);
      showHealth();
      showRibbon();
    },
    onLife(news) {
      silentSince = news.since;
      unheard = "";
      const words = showLife(root, news);
      say(life, news.state === "late" ? words : "");
      show();
    },
  });

  function show() {
    if (!state) return;
    root.dataset.state = state.state;
    const gone = link.life === "gone";
    // What was true when the kernel last spoke is no news of the connection: it went with the kernel.
    say(word, gone ? "kernel gone" : state.state);
    say(name, state.name);
    root.setAttribute("aria-label", `connection ${state.name}`);
    name.hidden = !state.named;
    say(address, state.address);
    address.title = state.peer && !state.address.includes(state.peer) ? `${state.address} is ${state.peer}` : state.address;
    showLock();
    healthAt = at;
    showHealth();
    showRibbon();
    say(detail, gone ? `since ${clock(silentSince)}; until then ${state.state}` : sentence());
    holdRoom();
    root.classList.toggle("ipr-gave-up", state.state === "stopped" && state.stopped == null && Boolean(state.reason));
    strip.hidden = !(unheard || state.trouble);
    say(trouble, unheard || state.trouble);
    offer();
    if (!gone) announce();
    clearInterval(timer);
    timer = 0;
    // The countdown is drawn here, from one absolute moment: the kernel need not speak for it.
    const pace = gone ? 0 : state.state === "waiting" && state.retry_in != null ? 100 : state.state === "connected" ? 1000 : 0;
    if (pace) {
      timer = setInterval(() => {
        if (link.hidden) return;
        say(detail, sentence());
        showHealth();
      }, pace);
    }
  }

  /** Tell screen readers that the connection is there or lost, and why; not each try. */
  function announce() {
    if (["connecting", "stopping", announced].includes(state.state)) return;
    announced = state.state;
    const word = state.state === "waiting" ? "not connected" : state.state;
    const reason = announced !== "connected" && state.stopped == null && state.reason;
    say(spoken, `${state.name} ${word}${reason ? `: ${reason}` : ""}`);
  }

  /** Offer what makes sense now; Connect and Reconnect now share one place. The focus stays among the buttons. */
  function offer() {
    const stopped = ["stopped", "stopping"].includes(state.state);
    const focused = document.activeElement;
    buttons.hidden = false;
    connect.hidden = !stopped;
    reconnect.hidden = stopped;
    stop.disabled = stopped;
    if (buttons.contains(focused) && (focused.hidden || focused.disabled)) (stopped ? connect : reconnect).focus({ preventScroll: true });
  }

  function ask(wish) {
    link.ask({ m: wish }, (error) => (unheard = error));
    show();
  }

  function dismiss() {
    unheard = "";
    link.post({ m: "dismiss" });
    show();
  }

  /** While it tries and waits in turn, the room of the longest sentence stays: the log below must not jump with each try. */
  function holdRoom() {
    const trying = ["connecting", "waiting"].includes(state.state);
    second.style.minHeight = trying ? `${second.offsetHeight}px` : "";
  }

  function sentence() {
    const passed = now() - at;
    const attempt = state.attempt > 1 || (state.attempt === 1 && state.connections) ? ` (try ${state.attempt})` : "";
    const reason = state.reason ? `${state.reason}: ` : "";
    if (state.state === "connected") {
      const up = state.up + passed;
      const loss = state.loss ? ` · last loss: ${state.loss}` : "";
      return `since ${moment(up)}, for ${span(up)}${loss}`;
    }
    if (state.state === "waiting") {
      if (state.retry_in == null) return `${reason}waiting`;
      const left = state.retry_in - passed;
      // The attempt that comes next has the number after those that were made.
      return `${reason}next try ${left > 0.05 ? `in ${left < 60 ? `${left.toFixed(1)} s` : span(left)}` : "now"} (try ${state.attempt + 1})`;
    }
    if (state.state === "connecting") return `${reason}${PHASES[state.phase] || "dialing"} …${attempt}`;
    if (state.state === "stopping") return "saying goodbye …";
    if (state.stopped != null) return `at ${moment(state.stopped + passed)}`;
    return state.reason || "not connected yet";
  }

  /** The peer's health in words, with what they rest on. */
  function showHealth() {
    const known = state.health;
    // Its room stays: the log below must not jump with every loss.
    health.classList.toggle("ipr-unknown", !known || link.life === "gone");
    if (!known || link.life === "gone") return;
    const passed = now() - healthAt;
    const [word, mood] = {
      alive: ["alive", "well"],
      silent: ["silent", "soso"],
      stalled: ["alive but not reading", "soso"],
      dying: [known.dead_in == null ? "not answering" : `silent, dead in ${Math.max(0, known.dead_in - passed).toFixed(0)} s`, "bad"],
      dead: ["dead", "bad"],
    }[known.verdict] || [known.verdict, "soso"];
    say(verdict, word);
    health.dataset.mood = mood;
    const usual = [];
    if (known.rtt != null && mood !== "bad") usual.push(`round trip ${milliseconds(known.rtt)}`);
    if (known.last_data != null) usual.push(`data ${ago(known.last_data + passed)}`);
    if (known.last_ack != null) usual.push(`acknowledged ${ago(known.last_ack + passed)}`);
    const worrying = [];
    if (known.probes) worrying.push(`probes ${known.probes} of ${known.probes_of} unanswered`);
    if (known.unacknowledged) worrying.push(`${count(known.unacknowledged, "byte")} unacknowledged`);
    if (known.retransmits) worrying.push(`sent again ${count(known.retransmits, "time")}`);
    // What the verdict rests on comes first: the end may be clipped.
    say(facts, (mood === "well" ? [...usual, ...worrying] : [...worrying, ...usual.reverse()]).join(" · "));
    facts.title = facts.scrollWidth > facts.clientWidth ? facts.textContent : "";
    showPlot();
  }

  function showPlot() {
    plot.hidden = trips.length < 3;
    if (plot.hidden) return;
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [96, 16];
    if (plot.width !== width * scale) Object.assign(plot, { width: width * scale, height: height * scale });
    const context = plot.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const values = trips.map(([, seconds]) => seconds);
    const most = Math.max(...values);
    const least = Math.min(...values);
    // From zero, so that noise looks like noise.
    const y = (value) => height - 2 - (value / (1.3 * most || 1)) * (height - 4);
    const whole = Math.max(30, now() - trips[0][0]);
    const x = (when) => width - 3 - ((now() - when) / whole) * (width - 5);
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
    plot.title = `round trip over the last ${span(now() - trips[0][0])}: ${milliseconds(least)} to ${milliseconds(most)}`;
    plot.setAttribute("aria-label", plot.title);
  }

  /** Ten minutes of states as one coloured line. */
  function showRibbon() {
    const passed = now() - at;
    const parts = [];
    const lasted = {};
    state.strip.forEach(([began, word], i) => {
      const from = Math.min(STRIP, began + passed);
      const to = i + 1 < state.strip.length ? Math.min(STRIP, state.strip[i + 1][0] + passed) : 0;
      if (from <= to) return;
      const place = (seconds) => `${(100 * (1 - seconds / STRIP)).toFixed(2)}%`;
      const color = `var(--ipr-strip-${word})`;
      parts.push(`${color} ${place(from)}`, `${color} ${place(to)}`);
      lasted[word] = (lasted[word] || 0) + from - to;
    });
    const whole = Math.max(...state.strip.map(([began]) => Math.min(STRIP, began + passed)), 0);
    const blank = `transparent ${(100 * (1 - whole / STRIP)).toFixed(2)}%`;
    ribbon.style.background = parts.length ? `linear-gradient(to right, transparent 0%, ${blank}, ${parts.join(", ")})` : "none";
    const words = Object.entries(lasted).map(([word, seconds]) => `${word} ${span(seconds)}`);
    ribbon.title = `the last ${span(Math.max(whole, 1))}: ${words.join(", ")}`;
    ribbon.setAttribute("aria-label", ribbon.title);
  }

  function showLock() {
    const tls = state.tls;
    const version = tls?.version.replace("TLSv", "TLS ");
    const connected = state.state === "connected" || tls;
    const wanted = state.wants_tls;
    let kind = "plain";
    let text = "not encrypted";
    const facts = [];
    if (!state.verify && wanted) {
      kind = "unverified";
      text = tls ? `${version}, NOT VERIFIED` : "will NOT be VERIFIED";
      facts.push("Nobody has checked the server's certificate: anyone on the way can read and change what is sent.");
    } else if (tls) {
      kind = "secure";
      text = version;
      facts.push("The server's certificate is verified.");
    } else if (wanted) {
      kind = "wanted";
      text = "TLS once connected";
      facts.push("Will be encrypted, and the server's certificate verified.");
    } else {
      facts.push("Everything is sent as plain text.");
    }
    if (tls) {
      facts.push(`${version}, ${tls.cipher}`);
      if (tls.expires) {
        const left = tls.expires - Date.now() / 1000;
        const date = new Date(tls.expires * 1000).toLocaleDateString([], { day: "numeric", month: "long", year: "numeric" });
        facts.push(left > 0 ? `certificate valid until ${date} (${span(left)})` : `certificate expired on ${date}`);
        if (left < EXPIRES_SOON && kind === "secure") {
          kind = "soon";
          text += left > 0 ? `, certificate ends in ${span(left)}` : ", certificate expired";
        }
      }
    }
    lock.className = `ipr-lock ipr-lock-${kind}`;
    say(lock, text);
    lock.title = facts.join("\n");
    lock.setAttribute("aria-label", `${text}. ${facts.join(". ")}`);
    lock.hidden = !connected && !wanted && kind === "plain";
  }

  signal.addEventListener("abort", () => clearInterval(timer));
  link.start();
}

// -- settings ---------------------------------------------------------------------------------------------------------

const PRESETS = [
  ["weblog", { idle: 5, interval: 3, count: 3, enabled: true }, "5/3/3: a dead peer is noticed within 14 s"],
  ["gentle", { idle: 30, interval: 5, count: 3, enabled: true }, "30/5/3: a dead peer is noticed within 45 s"],
  ["off", { enabled: false }, "Never probe: a dead peer may go unnoticed for hours"],
];
const KEYS = ["idle", "interval", "count"];
const bound = (keepalive) => `a dead peer is noticed within ${span(keepalive.idle + keepalive.interval * keepalive.count)}`;
const UNBOUND = "a dead peer may go unnoticed for hours";
const short = (seconds) => `${Number(seconds.toPrecision(3))} s`;

/** When the tries after a loss are made. */
function plan({ delay, factor, max, attempts }) {
  const end = attempts ? `, given up after ${count(attempts, "failure")} in a row` : "";
  if (!(factor > 1) || max <= delay) return `after a loss a try every ${short(delay)}${end || " until it is back"}`;
  const waits = [delay, delay * factor, delay * factor * factor].filter((wait) => wait < max).map(short);
  return `after a loss tries after ${waits.join(", ")}${waits.length === 3 ? " …" : ""}, then every ${short(max)}${end}`;
}

/**
 * One row of fields that are applied together. fields: [key, label, hint, unit, attributes]. sentence(state): what is so.
 * preview(values, state): what would be so. objection(values): why values that are each right are not so together. fixed(state):
 * whether nothing can be applied. The user's values stay in the fields until they are accepted or given up (Escape).
 */
function settingsRow({ name, kind, fields, extras = [], link, sentence, preview, objection = () => "", fixed = () => false }) {
  let dirty = false;
  let asked = 0;
  let error = "";
  let state = null;
  const inputs = {};
  const labels = fields.map(([key, label, hint, unit, attributes]) => {
    const input = h("input", { type: "number", "aria-label": `${label} (${hint})`, title: hint, disabled: true, ...attributes });
    // Who turns the wheel wants the page to move: a focused field would take it for a new value.
    input.addEventListener("wheel", () => input.blur(), { passive: true });
    input.addEventListener("input", () => {
      dirty = true;
      error = "";
      show();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && dirty) enter();
      if (event.key !== "Escape") return;
      dirty = false;
      error = "";
      show();
    });
    inputs[key] = input;
    return h("label", { class: "ipr-field" }, h("span", {}, label), input, h("span", {}, unit));
  });
  const outcome = h("span", { class: "ipr-outcome", role: "status" });
  const el = h(
    "div",
    { class: "ipr-settings-row", role: "group", "aria-label": name },
    h("span", { class: "ipr-title" }, name),
    h("div", { class: "ipr-settings-fields" }, ...labels, ...extras, outcome),
  );

  const typed = () => Object.fromEntries(fields.map(([key]) => [key, inputs[key].value]));
  const values = () => Object.fromEntries(fields.map(([key]) => [key, inputs[key].valueAsNumber]));
  /** Why what is typed can't be applied, as far as can be seen here: the kernel has the last word. */
  function wrong() {
    const field = fields.find(([key]) => !inputs[key].validity.valid || !inputs[key].value);
    if (!field) return objection(values());
    const { min, max, step } = inputs[field[0]];
    return `${field[1]} must be a ${step === "1" ? "whole " : ""}number from ${min} to ${max}`;
  }
  function enter() {
    if (Object.values(typed()).every(Boolean)) return apply({ enabled: true });
    error = wrong(); // a field that is empty, or whose text is no number, has nothing to ask the kernel
    show();
  }
  function apply(values) {
    error = "";
    asked += 1;
    link().ask({ m: kind, id: `${kind} ${asked}`, ...typed(), ...values }, (text) => {
      error = text;
      show();
    });
  }
  function show(news) {
    if (news) {
      state = news;
      if (error === NO_KERNEL) error = "";
    }
    if (!state) return;
    if (!dirty) {
      for (const [key] of fields) {
        inputs[key].disabled = fixed(state); // until the first word of the kernel: fields are applied together
        const value = String(Number(Number(state[kind][key]).toPrecision(6)));
        if (inputs[key].value !== value) inputs[key].value = value;
      }
    }
    el.classList.toggle("ipr-refused", Boolean(error));
    say(outcome, error || (dirty ? wrong() || `Enter applies: ${preview(values(), state)}` : sentence(state, outcome)));
  }
  function answered(content) {
    if (content.id !== `${kind} ${asked}`) return;
    error = content.error;
    dirty = Boolean(error);
    show(error ? null : content);
  }
  return { el, apply, show, answered };
}

function renderSettings({ model, el, signal }) {
  const presets = PRESETS.map(([name, values, title]) =>
    h("button", { type: "button", class: "ipr-toggle", title, "aria-pressed": "false", onclick: () => keepalive.apply(values) }, name),
  );
  const seconds = (max) => ({ min: "1", max, step: "1" });
  const keepalive = settingsRow({
    name: "keepalive",
    kind: "keepalive",
    link: () => link,
    fields: [
      ["idle", "idle", "seconds of silence before the first probe", "s", seconds("32767")],
      ["interval", "interval", "seconds between two probes", "s", seconds("32767")],
      ["count", "count", "unanswered probes after which the peer is dead", "", seconds("127")],
    ],
    extras: [h("span", { class: "ipr-presets", role: "group", "aria-label": "presets" }, ...presets)],
    preview: bound,
    fixed: (state) => Boolean(state.without),
    sentence({ keepalive: wanted, in_force: force, without }, outcome) {
      const values = force && (force.enabled ? KEYS.map((key) => force[key]).join("/") : "off");
      outcome.title = force ? `read back from the socket: ${values}` : "";
      if (without) return without;
      if (!force) return `from the next connection on: ${wanted.enabled ? bound(wanted) : UNBOUND}`;
      if (!force.enabled) return `off: ${UNBOUND}`;
      const same = wanted.enabled && KEYS.every((key) => wanted[key] === force[key]);
      return `in force${same ? "" : ` is ${values}`}: ${bound(force)}`;
    },
  });
  const retry = settingsRow({
    name: "retry",
    kind: "retry",
    link: () => link,
    fields: [
      ["delay", "after", "seconds to wait after a loss or a failed try", "s", { min: "0.01", max: "86400", step: "any" }],
      ["factor", "times", "what the wait is multiplied with after each further failure", "", { min: "1", max: "100", step: "any" }],
      ["max", "up to", "seconds that the wait never grows beyond", "s", { min: "0.01", max: "86400", step: "any" }],
    ],
    preview: (values, { retry }) => plan({ ...retry, ...values }),
    objection: ({ delay, max }) => (max < delay ? `up to ${short(max)} is below the first wait, ${short(delay)}` : ""),
    sentence: (state) => plan(state.retry),
  });
  const root = h("div", { class: "ipyreconnect ipr-settings ipr-needs-kernel" }, keepalive.el, retry.el);
  el.append(root);
  el.classList.add("ipyreconnect-part");

  const link = openLink({
    model,
    signal,
    el,
    want: () => ({ unseen: link.hidden }),
    onTick(state) {
      show(state);
    },
    onMessage(content) {
      if (content.m !== "applied") return;
      keepalive.answered(content);
      retry.answered(content);
      if (!content.error) show(content);
    },
    onLife: (news) => showLife(root, news),
  });

  function show(state) {
    const wanted = state.keepalive;
    keepalive.show(state);
    retry.show(state);
    keepalive.el.classList.toggle("ipr-off", !wanted.enabled || Boolean(state.without));
    PRESETS.forEach(([, preset], i) => {
      const same = preset.enabled ? wanted.enabled && KEYS.every((key) => wanted[key] === preset[key]) : !wanted.enabled;
      presets[i].setAttribute("aria-pressed", String(same && !state.without));
      presets[i].disabled = Boolean(state.without);
    });
  }
  link.start();
}

// -- send box ---------------------------------------------------------------------------------------------------------

const HINT = "a line to send; Enter sends it, ↑ ↓ bring back earlier ones";
let history = []; // shared by the views of one send box; masked lines never enter

function renderSend({ model, el, signal }) {
  const input = h("input", {
    type: "text",
    class: "ipr-line",
    "aria-label": "line to send",
    placeholder: HINT,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
  });
  const mask = h("button", { type: "button", class: "ipr-toggle", "aria-pressed": "false", title: "Mask the next line: here, in the log, and wherever it comes back", onclick: () => setMask(!masked) }, "mask");
  const button = h("button", { type: "button", class: "ipr-push", onclick: () => submit() }, "Send");
  const error = h("div", { class: "ipr-error", role: "alert", hidden: true });
  const root = h(
    "div",
    { class: "ipyreconnect ipr-send ipr-needs-kernel" },
    h("div", { class: "ipr-sendrow" }, h("span", { class: "ipr-prompt", "aria-hidden": "true" }, "→"), input, mask, button),
    error,
  );
  el.append(root);
  el.classList.add("ipyreconnect-part");

  let at = 0; // how far back in the history
  let draft = "";
  let masked = false;
  let ids = 0;
  const pending = new Map();

  const link = openLink({
    model,
    signal,
    el,
    want: () => ({ unseen: link.hidden }),
    onTick(content) {
      root.classList.toggle("ipr-offline", !content.connected);
      if (content.connected) complain("");
    },
    onMessage(content) {
      if (content.m !== "sent") return;
      const text = pending.get(content.id);
      pending.delete(content.id);
      complain(content.error);
      // What could not be sent stands in the box again, unless the user has gone on typing.
      if (content.error && text && !input.value) input.value = text;
    },
    onLife: (news) => showLife(root, news),
  });

  function complain(text) {
    error.hidden = !text;
    say(error, text || "");
  }
  /** A line of secrets is not shown, not kept in the history, and not brought back when it could not be sent. */
  function setMask(on) {
    masked = on;
    // Not "password": browsers would offer to remember it.
    input.style.setProperty("-webkit-text-security", on ? "disc" : "none");
    root.classList.toggle("ipr-masked", on);
    mask.setAttribute("aria-pressed", String(on));
    input.placeholder = on ? "a masked line; Enter sends it" : HINT;
    input.focus();
  }
  function submit() {
    const text = input.value;
    const id = ++ids;
    complain("");
    if (!link.ask({ m: "send", id, text, masked }, complain)) return; // what was typed stays
    pending.set(id, masked ? "" : text);
    if (text && !masked) history = history.filter((line) => line !== text).concat(text).slice(-HISTORY);
    at = 0;
    draft = "";
    input.value = "";
    setMask(false);
  }
  function recall(step) {
    const next = Math.min(history.length, Math.max(0, at + step));
    if (next === at) return;
    if (at === 0) draft = input.value;
    at = next;
    input.value = at ? history[history.length - at] : draft;
    input.setSelectionRange(input.value.length, input.value.length);
  }
  input.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      Enter: () => !event.shiftKey && submit(),
      ArrowUp: () => masked || recall(1),
      ArrowDown: () => masked || recall(-1),
      Escape: () => ((input.value = ""), (at = 0), complain("")),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  input.addEventListener("input", () => complain("")); // what was wrong was said of another line
  input.addEventListener("paste", (event) => {
    const text = event.clipboardData.getData("text").replace(/[\r\n]+$/, "");
    const lines = text.split(/\r\n|\r|\n/);
    if (lines.length > 1) {
      // A text field would glue the lines together, which is nobody's line.
      event.preventDefault();
      complain(`the clipboard has ${lines.length} lines, and a line is sent at a time: %%send sends several`);
    }
  });
  link.start();
}

export default {
  render(context) {
    const kinds = { header: renderHeader, settings: renderSettings, send: renderSend };
    return kinds[context.model.get("kind")](context);
  },
};

// The controls of a panel that stock widgets can't give: the header (state, countdown), the keepalive fields and the send box.
// They hold no truth of their own: they say what the user wants and show what the kernel answers. controls.py is the other side.

const STATES = {
  connected: "connected",
  connecting: "connecting",
  waiting: "waiting",
  stopped: "stopped",
  stopping: "stopping",
};
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

const now = () => performance.now() / 1000;

// -- header -----------------------------------------------------------------------------------------------------------

function renderHeader({ model, el, signal }) {
  const dot = h("span", { class: "ipr-dot", "aria-hidden": "true" });
  const word = h("span", {}, "…");
  const badge = h("span", { class: "ipr-badge", role: "status" }, dot, word);
  const name = h("span", { class: "ipr-name" });
  const address = h("span", { class: "ipr-address" });
  const lock = h("span", { class: "ipr-lock", tabindex: "0" });
  const detail = h("span", { class: "ipr-detail" });
  const life = h("span", { class: "ipr-life", role: "status" });
  const trouble = h("span", {});
  const strip = h(
    "div",
    { class: "ipr-trouble", role: "alert", hidden: true },
    trouble,
    h("button", { type: "button", class: "ipr-toggle", title: "Hide this", onclick: () => link.post({ m: "dismiss" }) }, "dismiss"),
  );
  const root = h(
    "div",
    { class: "ipyreconnect ipr-header", role: "group", "aria-label": "connection" },
    h("div", { class: "ipr-first" }, badge, name, address, lock),
    h("div", { class: "ipr-second" }, detail, life),
    strip,
  );
  el.append(root);
  el.classList.add("ipyreconnect-part");

  let state = null;
  let at = 0; // when that was so, on our own clock: the kernel's may be another machine's
  let timer = 0;

  const link = openLink({
    model,
    signal,
    el,
    want: () => ({ unseen: link.hidden }),
    onTick(content) {
      state = content;
      at = now();
      show();
    },
    onLife(news) {
      say(life, showLife(root, news));
      show();
    },
  });

  function show() {
    if (!state) return;
    root.dataset.state = state.state;
    const gone = link.life === "gone";
    say(word, STATES[state.state] || state.state);
    say(name, state.name);
    name.hidden = !state.name || state.address.includes(state.name);
    say(address, state.address);
    address.title = state.peer && !state.address.includes(state.peer) ? `${state.address} is ${state.peer}` : state.address;
    showLock();
    say(detail, gone ? "" : sentence());
    strip.hidden = !state.trouble;
    say(trouble, state.trouble);
    clearInterval(timer);
    timer = 0;
    // The countdown is drawn here, from one absolute moment: the kernel need not speak for it.
    const pace = gone ? 0 : state.state === "waiting" && state.retry_in != null ? 100 : state.state === "connected" ? 1000 : 0;
    if (pace) timer = setInterval(() => link.hidden || say(detail, sentence()), pace);
  }

  function sentence() {
    const passed = now() - at;
    const attempt = state.attempt > 1 || (state.attempt === 1 && state.connections) ? ` (try ${state.attempt})` : "";
    const reason = state.reason ? `${state.reason}: ` : "";
    if (state.state === "connected") {
      const up = state.up + passed;
      const since = new Date(Date.now() - up * 1000);
      const day = up > 0.75 * DAY ? since.toLocaleDateString([], { day: "numeric", month: "short" }) + " " : "";
      const loss = state.connections > 1 && state.reason ? ` · last loss: ${state.reason}` : "";
      return `since ${day}${clock(since)}, for ${span(up)}${loss}`;
    }
    if (state.state === "waiting") {
      if (state.retry_in == null) return `${reason}waiting`;
      const left = state.retry_in - passed;
      // The attempt that comes next has the number after those that were made.
      return `${reason}next try ${left > 0.05 ? `in ${left < 60 ? `${left.toFixed(1)} s` : span(left)}` : "now"} (try ${state.attempt + 1})`;
    }
    if (state.state === "connecting") return `${reason}${PHASES[state.phase] || "dialing"} …${attempt}`;
    if (state.state === "stopping") return "saying goodbye …";
    if (!state.reason) return state.connections ? "" : "not connected yet";
    return state.connections ? `last loss: ${state.reason}` : state.reason;
  }

  function showLock() {
    const tls = state.tls;
    const connected = state.state === "connected" || tls;
    const wanted = state.wants_tls;
    let kind = "plain";
    let text = "not encrypted";
    const facts = [];
    if (!state.verify && wanted) {
      kind = "unverified";
      text = tls ? `${tls.version}, NOT VERIFIED` : "will NOT be VERIFIED";
      facts.push("Nobody has checked the server's certificate: anyone on the way can read and change what is sent.");
    } else if (tls) {
      kind = "secure";
      text = tls.version;
      facts.push("The server's certificate is verified.");
    } else if (wanted) {
      kind = "secure";
      text = "TLS";
      facts.push("Will be encrypted, and the server's certificate verified.");
    } else {
      facts.push("Everything is sent as plain text.");
    }
    if (tls) {
      facts.push(`${tls.version}, ${tls.cipher}`);
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

// -- keepalive --------------------------------------------------------------------------------------------------------

const PRESETS = [
  ["weblog", { idle: 5, interval: 3, count: 3, enabled: true }, "5/3/3: a dead peer is noticed within 14 s"],
  ["gentle", { idle: 30, interval: 5, count: 3, enabled: true }, "30/5/3: a dead peer is noticed within 45 s"],
  ["off", { enabled: false }, "Never probe: a dead peer may go unnoticed for hours"],
];

function renderKeepalive({ model, el, signal }) {
  const field = (name, label, title, unit) => {
    const input = h("input", { type: "number", min: "1", max: name === "count" ? "127" : "32767", step: "1", "aria-label": `${label} (${title})`, title });
    input.addEventListener("change", () => apply({ ...typed(), enabled: true }));
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") {
        dirty = false;
        show();
      }
    });
    input.addEventListener("input", () => {
      dirty = true;
      say(outcome, preview());
    });
    return [input, h("label", { class: "ipr-field" }, label, input, unit)];
  };
  const [idle, idleLabel] = field("idle", "idle", "seconds of silence before the first probe", "s");
  const [interval, intervalLabel] = field("interval", "interval", "seconds between two probes", "s");
  const [number, numberLabel] = field("count", "count", "unanswered probes after which the peer is dead", "");
  const presets = PRESETS.map(([name, values, title]) =>
    h("button", { type: "button", class: "ipr-toggle", title, "aria-pressed": "false", onclick: () => apply({ ...typed(), ...values }) }, name),
  );
  const outcome = h("span", { class: "ipr-outcome", role: "status" });
  const root = h(
    "div",
    { class: "ipyreconnect ipr-keepalive ipr-needs-kernel", role: "group", "aria-label": "keepalive" },
    h("span", { class: "ipr-title" }, "keepalive"),
    idleLabel,
    intervalLabel,
    numberLabel,
    h("span", { class: "ipr-presets", role: "group", "aria-label": "presets" }, ...presets),
    outcome,
  );
  el.append(root);
  el.classList.add("ipyreconnect-part");

  let state = null;
  let dirty = false; // the fields hold something that is not applied yet
  let asked = 0;

  const link = openLink({
    model,
    signal,
    el,
    want: () => ({ unseen: link.hidden }),
    onTick(content) {
      state = content;
      show();
    },
    onMessage(content) {
      if (content.m !== "applied" || content.id !== asked) return;
      dirty = Boolean(content.error);
      state = { ...state, ...content.state, error: content.error };
      show();
    },
    onLife: (news) => showLife(root, news),
  });

  const typed = () => ({ idle: idle.value, interval: interval.value, count: number.value });
  function preview() {
    const [i, v, c] = [idle, interval, number].map((input) => Number(input.value));
    return [i, v, c].every((value) => Number.isInteger(value) && value > 0) ? `Enter applies: a dead peer noticed within ${span(i + v * c)}` : "";
  }
  function apply(values) {
    asked += 1;
    if (state) state.error = "";
    link.post({ m: "apply", id: asked, ...values });
  }

  function show() {
    if (!state) return;
    const wanted = state.wanted;
    if (!dirty) {
      for (const [input, value] of [[idle, wanted.idle], [interval, wanted.interval], [number, wanted.count]]) {
        if (input.value !== String(value)) input.value = value;
      }
    }
    root.classList.toggle("ipr-off", !wanted.enabled);
    PRESETS.forEach(([, preset], i) => {
      const same = preset.enabled
        ? wanted.enabled && ["idle", "interval", "count"].every((key) => wanted[key] === preset[key])
        : !wanted.enabled;
      presets[i].setAttribute("aria-pressed", String(same));
    });
    root.classList.toggle("ipr-refused", Boolean(state.error));
    if (dirty && !state.error) return;
    const force = state.in_force;
    const bound = force && force.enabled ? `a dead peer is noticed within ${span(force.idle + force.interval * force.count)}` : "";
    const asWanted = force && force.enabled === wanted.enabled && (!force.enabled || ["idle", "interval", "count"].every((k) => force[k] === wanted[k]));
    const values = force && (force.enabled ? `${force.idle}/${force.interval}/${force.count}` : "off");
    say(
      outcome,
      state.error ||
        (!force
          ? wanted.enabled
            ? `from the next connection on: a dead peer is noticed within ${span(wanted.idle + wanted.interval * wanted.count)}`
            : "from the next connection on: a dead peer may go unnoticed for hours"
          : force.enabled
            ? `${asWanted ? "in force" : `in force is ${values}`}: ${bound}`
            : "off: a dead peer may go unnoticed for hours"),
    );
    outcome.title = force ? `read back from the socket: ${values}` : "";
  }
  link.start();
}

// -- send box ---------------------------------------------------------------------------------------------------------

let history = []; // shared by the views of one send box

function renderSend({ model, el, signal }) {
  const input = h("input", {
    type: "text",
    class: "ipr-line",
    "aria-label": "line to send",
    placeholder: "a line to send; Enter sends it, ↑ ↓ bring back earlier ones",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
  });
  const button = h("button", { type: "button", class: "ipr-push", onclick: () => submit() }, "Send");
  const error = h("div", { class: "ipr-error", role: "alert", hidden: true });
  const root = h(
    "div",
    { class: "ipyreconnect ipr-send ipr-needs-kernel" },
    h("div", { class: "ipr-sendrow" }, h("span", { class: "ipr-prompt", "aria-hidden": "true" }, "→"), input, button),
    error,
  );
  el.append(root);
  el.classList.add("ipyreconnect-part");

  let at = 0; // how far back in the history
  let draft = "";
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
  function submit() {
    const text = input.value;
    const id = ++ids;
    complain("");
    pending.set(id, text);
    link.post({ m: "send", id, text });
    if (text) history = history.filter((line) => line !== text).concat(text).slice(-HISTORY);
    at = 0;
    draft = "";
    input.value = "";
    input.focus();
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
    // The notebook has plans of its own for Enter and the arrows.
    event.stopPropagation();
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      Enter: () => !event.shiftKey && submit(),
      ArrowUp: () => recall(1),
      ArrowDown: () => recall(-1),
      Escape: () => ((input.value = ""), (at = 0), complain("")),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
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
    const kinds = { header: renderHeader, keepalive: renderKeepalive, send: renderSend };
    return kinds[context.model.get("kind")](context);
  },
};

// The settings: fields for the keepalive and the retries. The kernel applies what the user types, or refuses
// it, and what is shown is what it answers.

import { count, h, say, setOn, span, toggle } from "./dom.mjs";
import { Link, showLife } from "./link.mjs";

/** @import { RenderProps } from "@anywidget/types" */

/**
 * @typedef {object} KeepAlive
 * @property {boolean} enabled
 * @property {number} idle seconds of silence before the first probe
 * @property {number} interval seconds between two probes
 * @property {number} count unanswered probes after which the peer is dead
 */

/**
 * @typedef {object} Retry
 * @property {number} delay seconds before the first try
 * @property {number} factor
 * @property {number} max seconds that no wait exceeds
 * @property {number | null} attempts failures in a row after which it gives up
 */

/**
 * @typedef {object} Settings
 * @property {KeepAlive} keepalive as the user wants it
 * @property {KeepAlive | null} in_force as it was read back from the socket
 * @property {string} without why there is no keepalive at all
 * @property {Retry} retry
 */

/**
 * @typedef {object} Field
 * @property {string} key
 * @property {string} label
 * @property {string} hint
 * @property {string} unit
 * @property {string} min
 * @property {string} max
 * @property {string} step "any", or "1" for whole numbers
 */

/** @type {("idle" | "interval" | "count")[]} */
const KEYS = ["idle", "interval", "count"];

/** @type {{ name: string, keepalive: Partial<KeepAlive>, title: string }[]} */
const PRESETS = [
  {
    name: "weblog",
    keepalive: { idle: 5, interval: 3, count: 3, enabled: true },
    title: "5/3/3: a dead peer is noticed within 14 s",
  },
  {
    name: "gentle",
    keepalive: { idle: 30, interval: 5, count: 3, enabled: true },
    title: "30/5/3: a dead peer is noticed within 45 s",
  },
  {
    name: "off",
    keepalive: { enabled: false },
    title: "Never probe: a dead peer may go unnoticed for hours",
  },
];

const WHOLE = { min: "1", max: "32767", step: "1" };
const SECONDS = { min: "0.01", max: "86400", step: "any" };

/** @type {Field[]} */
const KEEPALIVE_FIELDS = [
  { key: "idle", label: "idle", hint: "seconds of silence before the first probe", unit: "s", ...WHOLE },
  { key: "interval", label: "interval", hint: "seconds between two probes", unit: "s", ...WHOLE },
  {
    key: "count",
    label: "count",
    hint: "unanswered probes after which the peer is dead",
    unit: "",
    ...WHOLE,
    max: "127",
  },
];

/** @type {Field[]} */
const RETRY_FIELDS = [
  {
    key: "delay",
    label: "after",
    hint: "seconds to wait after a loss or a failed try",
    unit: "s",
    ...SECONDS,
  },
  {
    key: "factor",
    label: "times",
    hint: "what the wait is multiplied with after each further failure",
    unit: "",
    min: "1",
    max: "100",
    step: "any",
  },
  { key: "max", label: "up to", hint: "seconds that the wait never grows beyond", unit: "s", ...SECONDS },
];

const UNBOUND = "a dead peer may go unnoticed for hours";

/**
 * Say how soon a dead peer is noticed.
 *
 * @param {Pick<KeepAlive, "idle" | "interval" | "count">} keepalive
 */
const bound = ({ idle, interval, count: probes }) =>
  `a dead peer is noticed within ${span(idle + interval * probes)}`;

/** @param {number} seconds */
const short = (seconds) => `${Number(seconds.toPrecision(3))} s`;

/**
 * @param {Partial<KeepAlive>} one
 * @param {KeepAlive} other
 */
function sameKeepAlive(one, other) {
  if (!one.enabled || !other.enabled) return one.enabled === other.enabled;
  return KEYS.every((key) => one[key] === other[key]);
}

/**
 * Describe the keepalive.
 *
 * @param {Settings} settings
 */
export function keepaliveWords({ keepalive, in_force: force, without }) {
  if (without) return without;
  if (!force) return `from the next connection on: ${keepalive.enabled ? bound(keepalive) : UNBOUND}`;
  if (!force.enabled) return `off: ${UNBOUND}`;
  const differs = sameKeepAlive(keepalive, force) ? "" : ` is ${valuesOf(force)}`;
  return `in force${differs}: ${bound(force)}`;
}

/**
 * "5/3/3".
 *
 * @param {KeepAlive} keepalive
 */
const valuesOf = (keepalive) => (keepalive.enabled ? KEYS.map((key) => keepalive[key]).join("/") : "off");

/**
 * Describe the tries after a loss.
 *
 * @param {Retry} retry
 */
export function retryWords({ delay, factor, max, attempts }) {
  const end = attempts ? `, given up after ${count(attempts, "failure")} in a row` : "";
  if (!(factor > 1) || max <= delay)
    return `after a loss a try every ${short(delay)}${end || " until it is back"}`;
  const waits = [delay, delay * factor, delay * factor * factor].filter((wait) => wait < max).map(short);
  const more = waits.length === 3 ? " …" : "";
  return `after a loss tries after ${waits.join(", ")}${more}, then every ${short(max)}${end}`;
}

/**
 * @typedef {object} GroupOptions
 * @property {string} name
 * @property {"keepalive" | "retry"} kind
 * @property {Field[]} fields
 * @property {Node[]} [extras] elements after the fields
 * @property {(settings: Settings) => string} sentence describes the settings in force
 * @property {(settings: Settings) => string} [title] gives details
 * @property {(values: any, settings: Settings) => string} preview describes the settings as they would be
 * @property {(values: any) => string} [objection] says why values that are valid each are not valid together
 * @property {(settings: Settings) => boolean} [fixed] whether they cannot be changed
 * @property {() => Link} link
 */

/**
 * Fields that are applied together. They keep the user's values until these are accepted or dropped (Escape).
 */
class Group {
  #dirty = false; // whether the user has typed something that is not accepted yet
  #asked = 0;
  #error = "";
  #unheard = false; // whether the error is that the kernel does not answer
  /** @type {Settings | null} */
  #settings = null;
  #outcome = h("span", { class: "ipr-outcome", role: "status" });
  #options;
  #inputs;

  /** @param {GroupOptions} options */
  constructor(options) {
    this.#options = options;
    const { name, fields, extras = [] } = options;
    this.#inputs = new Map(fields.map((field) => [field.key, this.#input(field)]));
    const labels = fields.map(({ key, label, unit }) =>
      h("label", { class: "ipr-field" }, h("span", {}, label), this.#inputs.get(key), h("span", {}, unit)),
    );
    this.el = h(
      "div",
      { class: "ipr-settings-row", role: "group", "aria-label": name },
      h("span", { class: "ipr-title" }, name),
      h("div", { class: "ipr-settings-fields" }, ...labels, ...extras, this.#outcome),
    );
  }

  /**
   * Ask the kernel to apply the values of the fields, and some more.
   *
   * @param {Record<string, unknown>} values
   */
  apply(values) {
    const { kind, link } = this.#options;
    this.#error = "";
    this.#asked += 1;
    link().ask({ m: kind, id: this.#id, ...this.#typed, ...values }, (reason) => this.#refuse(reason, true));
  }

  /**
   * Take the kernel's answer to what was applied.
   *
   * @param {Settings & { id: string, error: string }} content
   */
  answered(content) {
    if (content.id !== this.#id) return;
    this.#dirty = Boolean(content.error);
    this.#refuse(content.error);
    if (!content.error) this.take(content);
  }

  /**
   * Show the settings as they are now.
   *
   * @param {Settings} settings
   */
  take(settings) {
    this.#settings = settings;
    this.#refuse(this.#unheard ? "" : this.#error);
  }

  get #id() {
    return `${this.#options.kind} ${this.#asked}`;
  }

  /**
   * What is in the fields, as text.
   *
   * @returns {Record<string, string>}
   */
  get #typed() {
    return Object.fromEntries([...this.#inputs].map(([key, input]) => [key, input.value]));
  }

  /**
   * What is in the fields, as numbers.
   *
   * @returns {Record<string, number>}
   */
  get #values() {
    return Object.fromEntries([...this.#inputs].map(([key, input]) => [key, input.valueAsNumber]));
  }

  /** @param {Field} field */
  #input({ label, hint, min, max, step }) {
    const named = { "aria-label": `${label} (${hint})`, title: hint };
    const input = h("input", { type: "number", ...named, disabled: true, min, max, step });
    // The wheel is meant to scroll the page, but a focused field would change its value.
    input.addEventListener("wheel", () => input.blur(), { passive: true });
    input.addEventListener("input", () => this.#edited(true));
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && this.#dirty) this.#enter();
      if (event.key === "Escape") this.#edited(false);
    });
    return input;
  }

  /** @param {boolean} dirty */
  #edited(dirty) {
    this.#dirty = dirty;
    this.#refuse("");
  }

  #enter() {
    if (Object.values(this.#typed).every(Boolean)) return this.apply({ enabled: true });
    // A field is empty or not a number: there is nothing to send.
    this.#refuse(this.#fault());
  }

  /**
   * Show why the values were not applied, or that they were (empty).
   *
   * @param {string} error
   * @param {boolean} unheard whether the kernel does not answer
   */
  #refuse(error, unheard = false) {
    this.#error = error;
    this.#unheard = unheard;
    this.#show();
  }

  /** Why the values are wrong, as far as can be seen here; the kernel decides. */
  #fault() {
    for (const { key, label, min, max, step } of this.#options.fields) {
      const input = this.#inputs.get(key);
      if (input?.validity.valid && input.value) continue;
      return `${label} must be a ${step === "1" ? "whole " : ""}number from ${min} to ${max}`;
    }
    return this.#options.objection?.(this.#values) ?? "";
  }

  #show() {
    const settings = this.#settings;
    if (!settings) return;
    if (!this.#dirty) this.#fill(settings);
    this.el.classList.toggle("ipr-refused", Boolean(this.#error));
    this.#outcome.title = this.#options.title?.(settings) ?? "";
    say(this.#outcome, this.#error || this.#words(settings));
  }

  /** @param {Settings} settings */
  #words(settings) {
    const { preview, sentence } = this.#options;
    if (!this.#dirty) return sentence(settings);
    return this.#fault() || `Enter applies: ${preview(this.#values, settings)}`;
  }

  /** @param {Settings} settings */
  #fill(settings) {
    const { kind, fixed } = this.#options;
    const values = /** @type {Record<string, unknown>} */ (settings[kind]);
    for (const [key, input] of this.#inputs) {
      input.disabled = fixed?.(settings) ?? false;
      const value = String(Number(Number(values[key]).toPrecision(6)));
      if (input.value !== value) input.value = value;
    }
  }
}

/** The view of the settings. */
class SettingsFields {
  #presets = PRESETS.map(({ name, title, keepalive }) =>
    toggle(name, { title, onclick: () => this.#keepalive.apply(keepalive) }),
  );
  #keepalive = new Group({
    name: "keepalive",
    kind: "keepalive",
    link: () => this.#link,
    fields: KEEPALIVE_FIELDS,
    extras: [h("span", { class: "ipr-presets", role: "group", "aria-label": "presets" }, ...this.#presets)],
    preview: bound,
    fixed: ({ without }) => Boolean(without),
    sentence: keepaliveWords,
    title: ({ in_force: force }) => (force ? `read back from the socket: ${valuesOf(force)}` : ""),
  });
  #retry = new Group({
    name: "retry",
    kind: "retry",
    link: () => this.#link,
    fields: RETRY_FIELDS,
    preview: (values, { retry }) => retryWords({ ...retry, ...values }),
    objection: ({ delay, max }) =>
      max < delay ? `up to ${short(max)} is below the first wait, ${short(delay)}` : "",
    sentence: ({ retry }) => retryWords(retry),
  });
  /** @type {Link} */
  #link;

  /** @param {RenderProps} props */
  constructor({ model, el, signal }) {
    const root = h(
      "div",
      { class: "ipyreconnect ipr-settings ipr-needs-kernel" },
      this.#keepalive.el,
      this.#retry.el,
    );
    el.append(root);
    el.classList.add("ipyreconnect-part");
    this.#link = new Link({
      model,
      signal,
      el,
      onTick: (settings) => this.#show(settings),
      onMessage: (content) => content.m === "applied" && this.#answered(content),
      onLife: (life) => showLife(root, life),
    });
    this.#link.start();
  }

  /** @param {Settings & { id: string, error: string }} content */
  #answered(content) {
    this.#keepalive.answered(content);
    this.#retry.answered(content);
    if (!content.error) this.#show(content);
  }

  /** @param {Settings} settings */
  #show(settings) {
    const { keepalive, without } = settings;
    this.#keepalive.take(settings);
    this.#retry.take(settings);
    this.#keepalive.el.classList.toggle("ipr-off", !keepalive.enabled || Boolean(without));
    PRESETS.forEach((preset, i) => {
      setOn(this.#presets[i], !without && sameKeepAlive(preset.keepalive, keepalive));
      this.#presets[i].disabled = Boolean(without);
    });
  }
}

/** @param {RenderProps} props */
export function renderSettings(props) {
  new SettingsFields(props);
}

// The header of a panel: which connection this is, its state, and the buttons that change it. It holds no
// state of its own: it sends what the user asks for and shows what the kernel reports. header.py is the
// kernel's side.

import { button, clock, h, say, span } from "./dom.mjs";
import { Padlock } from "./encryption.mjs";
import { HealthLine } from "./health.mjs";
import { Link, showLife } from "./link.mjs";
import { Ribbon } from "./ribbon.mjs";

/** @import { RenderProps } from "@anywidget/types" */
/** @import { Tls } from "./encryption.mjs" */
/** @import { Health, Trip } from "./health.mjs" */
/** @import { Life } from "./link.mjs" */
/** @import { Change } from "./ribbon.mjs" */

/**
 * What the kernel reports of a connection. Times are relative to the report, in seconds, as the kernel may
 * have another clock.
 *
 * @typedef {object} Connection
 * @property {string} name
 * @property {boolean} named whether the user gave it that name
 * @property {string} address
 * @property {string} peer
 * @property {string} state "connected", "waiting" …
 * @property {string} phase of connecting
 * @property {string} reason why it is not connected
 * @property {string} loss why the connection before this one ended
 * @property {number} attempt
 * @property {number | null} retry_in
 * @property {number | null} up how long it has been connected
 * @property {number | null} stopped how long ago the user stopped it
 * @property {number} connections how many there were
 * @property {boolean} wants_tls
 * @property {boolean} verify
 * @property {Tls | null} tls
 * @property {string} trouble why the last command failed
 * @property {Change[]} strip
 * @property {Health | null} health
 * @property {Trip[]} round_trips how long ago, and how long they took
 */

/** @type {Record<string, string>} */
const PHASES = {
  resolving: "looking up the name",
  dialing: "dialing",
  tls: "agreeing on TLS",
  starttls: "asking for STARTTLS",
  script: "running the on-connect script",
};
const DAY = 86400;

const now = () => performance.now() / 1000;

/**
 * The time of day so many seconds ago, with the date where that may be another day.
 *
 * @param {number} seconds
 */
function moment(seconds) {
  const when = new Date(Date.now() - seconds * 1000);
  if (seconds <= 0.75 * DAY) return clock(when);
  return `${when.toLocaleDateString([], { day: "numeric", month: "short" })} ${clock(when)}`;
}

/**
 * Describe the state of a connection, and what happens next.
 *
 * @param {Connection} connection
 * @param {number} passed seconds since the report
 */
export function sentenceOf(connection, passed) {
  const { state, reason, stopped } = connection;
  if (state === "connected") return upWords(connection, passed);
  const because = reason ? `${reason}: ` : "";
  if (state === "waiting") return `${because}${waitingWords(connection, passed)}`;
  if (state === "connecting") return `${because}${connectingWords(connection)}`;
  if (state === "stopping") return "saying goodbye …";
  return stopped == null ? reason || "not connected yet" : `at ${moment(stopped + passed)}`;
}

/**
 * @param {Connection} connection
 * @param {number} passed
 */
function upWords({ up, loss }, passed) {
  const seconds = (up ?? 0) + passed;
  return `since ${moment(seconds)}, for ${span(seconds)}${loss ? ` · last loss: ${loss}` : ""}`;
}

/**
 * @param {Connection} connection
 * @param {number} passed
 */
function waitingWords({ retry_in: retryIn, attempt }, passed) {
  if (retryIn == null) return "waiting";
  const left = retryIn - passed;
  const when = left > 0.05 ? `in ${left < 60 ? `${left.toFixed(1)} s` : span(left)}` : "now";
  return `next try ${when} (try ${attempt + 1})`; // the number of the next one
}

/** @param {Connection} connection */
function connectingWords({ phase, attempt, connections }) {
  const again = attempt > 1 || (attempt === 1 && connections > 0);
  return `${PHASES[phase] || "dialing"} …${again ? ` (try ${attempt})` : ""}`;
}

/**
 * Return what screen readers say of a connection: whether it is up, and if not, why.
 *
 * @param {Connection} connection
 */
export function announcementOf({ name, state, reason, stopped }) {
  const why = state !== "connected" && stopped == null && reason ? `: ${reason}` : "";
  return `${name} ${state === "waiting" ? "not connected" : state}${why}`;
}

/**
 * Return how often the countdown and the ages are redrawn, ms; 0: never.
 *
 * @param {Connection} connection
 * @param {boolean} gone
 */
function paceOf({ state, retry_in: retryIn }, gone) {
  if (gone) return 0;
  if (state === "waiting" && retryIn != null) return 100;
  return state === "connected" ? 1000 : 0;
}

/** The view of a header. */
class Header {
  #word = h("span", {}, "…");
  #spoken = h("span", { class: "ipr-hidden", role: "status" });
  #name = h("span", { class: "ipr-name" });
  #address = h("span", { class: "ipr-address" });
  #padlock = new Padlock();
  #connect = this.#push("Connect", "Connect, and stay connected", "connect");
  #reconnect = this.#push(
    "Reconnect now",
    "Cut the wait short, or drop this connection and dial anew",
    "reconnect",
  );
  #stop = this.#push("Stop", "Close the connection and stay away", "stop");
  #buttons = h("div", { class: "ipr-buttons", hidden: true }, this.#connect, this.#reconnect, this.#stop);
  #detail = h("span", { class: "ipr-detail" });
  #life = h("span", { class: "ipr-life", role: "status" });
  #second = h("div", { class: "ipr-second" }, this.#detail, this.#life);
  #health = new HealthLine();
  #trouble = h("span", {});
  #troubleStrip = h(
    "div",
    { class: "ipr-trouble", role: "alert", hidden: true },
    this.#trouble,
    button("dismiss", { title: "Hide this", onclick: () => this.#dismiss() }),
  );
  #ribbon = new Ribbon();
  #root = h(
    "div",
    { class: "ipyreconnect ipr-header", role: "group", "aria-label": "connection" },
    h(
      "div",
      { class: "ipr-first" },
      h("span", { class: "ipr-badge" }, h("span", { class: "ipr-dot", "aria-hidden": "true" }), this.#word),
      this.#name,
      this.#address,
      this.#padlock.el,
    ),
    this.#buttons,
    this.#spoken,
    this.#second,
    this.#health.el,
    this.#troubleStrip,
    this.#ribbon.el,
  );

  /** @type {Connection | null} */
  #connection = null;
  #at = 0; // when the kernel reported it, in seconds on the page's clock
  #timer = 0;
  #silentSince = new Date();
  #announced = ""; // the state that screen readers were last told
  #unheard = ""; // why the kernel could not be asked for something
  #link;

  /** @param {RenderProps} props */
  constructor({ model, el, signal }) {
    el.append(this.#root);
    el.classList.add("ipyreconnect-part");
    this.#link = new Link({
      model,
      signal,
      el,
      onTick: (content) => this.#take(content),
      onBeat: (content) => this.#beat(content.health),
      onLife: (life) => this.#showLife(life),
    });
    signal.addEventListener("abort", () => clearInterval(this.#timer));
    this.#link.start();
  }

  get #gone() {
    return this.#link.life === "gone";
  }

  /**
   * @param {string} text
   * @param {string} title
   * @param {string} wish
   */
  #push(text, title, wish) {
    return h(
      "button",
      {
        type: "button",
        class: "ipr-push",
        title,
        onclick: () => this.#ask(wish),
        // A key that is held down must not press the button that replaces this one.
        onkeydown: (/** @type {KeyboardEvent} */ event) => event.repeat && event.preventDefault(),
      },
      text,
    );
  }

  /** @param {Connection} connection */
  #take(connection) {
    this.#connection = connection;
    this.#at = now();
    const trips = connection.round_trips.map(
      ([ago, seconds]) => /** @type {Trip} */ ([this.#at - ago, seconds]),
    );
    this.#health.begin(connection.health, trips, this.#at);
    this.#show();
  }

  /** @param {Health | null} health */
  #beat(health) {
    if (!this.#connection) return;
    this.#health.update(health, now());
    this.#health.show(this.#gone, now());
    this.#ribbon.show(this.#connection.strip, now() - this.#at);
  }

  /** @param {Life} life */
  #showLife(life) {
    this.#silentSince = life.since;
    this.#unheard = "";
    const words = showLife(this.#root, life);
    say(this.#life, life.state === "late" ? words : "");
    this.#show();
  }

  /** @param {string} wish */
  #ask(wish) {
    this.#link.ask({ m: wish }, (reason) => {
      this.#unheard = reason;
    });
    this.#show();
  }

  #dismiss() {
    this.#unheard = "";
    this.#link.post({ m: "dismiss" });
    this.#show();
  }

  // -- drawing ----------------------------------------------------------------------------------------------

  #show() {
    const connection = this.#connection;
    if (!connection) return;
    this.#showName(connection);
    this.#padlock.show({ ...connection, connected: connection.state === "connected" });
    this.#health.show(this.#gone, now());
    this.#ribbon.show(connection.strip, now() - this.#at);
    this.#showDetail(connection);
    this.#showTrouble(connection);
    this.#offer(connection);
    if (!this.#gone) this.#announce(connection);
    this.#countOn(connection);
  }

  /** @param {Connection} connection */
  #showName({ state, name, named, address, peer }) {
    this.#root.dataset.state = state;
    // The last known state says nothing any more: the connection ended with the kernel.
    say(this.#word, this.#gone ? "kernel gone" : state);
    say(this.#name, name);
    this.#name.hidden = !named;
    this.#root.setAttribute("aria-label", `connection ${name}`);
    say(this.#address, address);
    this.#address.title = peer && !address.includes(peer) ? `${address} is ${peer}` : address;
  }

  /** @param {Connection} connection */
  #showDetail(connection) {
    const { state } = connection;
    const sentence = sentenceOf(connection, now() - this.#at);
    say(this.#detail, this.#gone ? `since ${clock(this.#silentSince)}; until then ${state}` : sentence);
    // Between tries, keep the height of the longest sentence: the log below must not jump with each of them.
    const trying = state === "connecting" || state === "waiting";
    this.#second.style.minHeight = trying ? `${this.#second.offsetHeight}px` : "";
  }

  /** @param {Connection} connection */
  #showTrouble({ state, stopped, reason, trouble }) {
    this.#root.classList.toggle("ipr-gave-up", state === "stopped" && stopped == null && Boolean(reason));
    const text = this.#unheard || trouble;
    this.#troubleStrip.hidden = !text;
    say(this.#trouble, text);
  }

  /**
   * Show the buttons that make sense now. Connect and Reconnect share one place, and the focus stays with it.
   *
   * @param {Connection} connection
   */
  #offer({ state }) {
    const stopped = state === "stopped" || state === "stopping";
    const focused = document.activeElement;
    this.#buttons.hidden = false;
    this.#connect.hidden = !stopped;
    this.#reconnect.hidden = stopped;
    this.#stop.disabled = stopped;
    if (this.#buttons.contains(focused) && focused?.matches("[hidden], :disabled")) {
      (stopped ? this.#connect : this.#reconnect).focus({ preventScroll: true });
    }
  }

  /**
   * Tell screen readers of a connection or a loss, but not of each try.
   *
   * @param {Connection} connection
   */
  #announce(connection) {
    if (["connecting", "stopping", this.#announced].includes(connection.state)) return;
    this.#announced = connection.state;
    say(this.#spoken, announcementOf(connection));
  }

  /**
   * Redraw the countdown and the ages by the page's clock, without messages from the kernel.
   *
   * @param {Connection} connection
   */
  #countOn(connection) {
    clearInterval(this.#timer);
    this.#timer = 0;
    const pace = paceOf(connection, this.#gone);
    if (!pace) return;
    this.#timer = window.setInterval(() => {
      if (this.#link.hidden) return;
      say(this.#detail, sentenceOf(connection, now() - this.#at));
      this.#health.show(this.#gone, now());
    }, pace);
  }
}

/** @param {RenderProps} props */
export function renderHeader(props) {
  new Header(props);
}

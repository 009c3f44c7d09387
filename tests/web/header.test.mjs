// What the header says of a connection.

import assert from "node:assert/strict";
import test from "node:test";
import { encryptionWords } from "../../ipyreconnect/jupyter/panel/web/encryption.mjs";
import { announcementOf, sentenceOf } from "../../ipyreconnect/jupyter/panel/web/header.mjs";
import { factWords, HealthLine, verdictWords } from "../../ipyreconnect/jupyter/panel/web/health.mjs";
import { gradientOf, stretchesOf, summaryOf } from "../../ipyreconnect/jupyter/panel/web/ribbon.mjs";
import { makeDocument } from "./lines.mjs";

/** @import { Encryption } from "../../ipyreconnect/jupyter/panel/web/encryption.mjs" */
/** @import { Connection } from "../../ipyreconnect/jupyter/panel/web/header.mjs" */
/** @import { Health } from "../../ipyreconnect/jupyter/panel/web/health.mjs" */

makeDocument();

/**
 * @param {Partial<Connection>} changes
 * @returns {Connection}
 */
const connection = (changes) => ({
  name: "mail",
  named: true,
  address: "localhost:143",
  peer: "",
  state: "stopped",
  phase: "",
  reason: "",
  loss: "",
  attempt: 0,
  retry_in: null,
  up: null,
  stopped: null,
  connections: 0,
  wants_tls: false,
  verify: true,
  tls: null,
  trouble: "",
  strip: [],
  health: null,
  round_trips: [],
  ...changes,
});

/**
 * @param {Partial<Connection>} changes
 * @param {number} [passed]
 */
const sentence = (changes, passed = 0) => sentenceOf(connection(changes), passed);

test("a connection that waits counts down to its next try, and numbers it", () => {
  const waiting = { state: "waiting", retry_in: 5, attempt: 3, reason: "refused" };
  assert.equal(sentence(waiting), "refused: next try in 5.0 s (try 4)");
  assert.equal(sentence(waiting, 4.9), "refused: next try in 0.1 s (try 4)");
  assert.equal(sentence(waiting, 5), "refused: next try now (try 4)");
  assert.equal(sentence({ ...waiting, retry_in: 90 }), "refused: next try in 1 min 30 s (try 4)");
  assert.equal(sentence({ state: "waiting", reason: "no network" }), "no network: waiting");
});

test("a connection that is being made says what it does, and the try only where it is not the first", () => {
  const first = { state: "connecting", phase: "tls", attempt: 1 };
  assert.equal(sentence(first), "agreeing on TLS …");
  assert.equal(sentence({ ...first, connections: 1 }), "agreeing on TLS … (try 1)");
  assert.equal(sentence({ ...first, attempt: 2, reason: "refused" }), "refused: agreeing on TLS … (try 2)");
  assert.equal(sentence({ ...first, phase: "new in the kernel" }), "dialing …");
});

test("a connection that is up says since when, and why the one before ended", () => {
  const up = { state: "connected", up: 60 };
  assert.match(sentence(up, 15), /^since \d\d:\d\d:\d\d, for 1 min 15 s$/);
  assert.match(sentence({ ...up, loss: "reset" }), / · last loss: reset$/);
  assert.match(sentence({ ...up, up: 86_400 }), /^since .*\d.* \d\d:\d\d:\d\d, for 1 d$/);
});

test("a connection that is stopped says when, or why, or that it was never made", () => {
  assert.equal(sentence({ state: "stopping" }), "saying goodbye …");
  assert.match(sentence({ stopped: 5 }), /^at \d\d:\d\d:\d\d$/);
  assert.equal(sentence({ reason: "refused" }), "refused");
  assert.equal(sentence({}), "not connected yet");
});

test("screen readers hear that it is lost and why, but of a stop by the user no reason", () => {
  assert.equal(announcementOf(connection({ state: "connected", reason: "old" })), "mail connected");
  assert.equal(
    announcementOf(connection({ state: "waiting", reason: "reset" })),
    "mail not connected: reset",
  );
  assert.equal(announcementOf(connection({ stopped: 1, reason: "reset" })), "mail stopped");
});

/**
 * @param {Partial<Health>} changes
 * @returns {Health}
 */
const health = (changes = {}) => ({
  verdict: "alive",
  rtt: null,
  last_data: null,
  last_ack: null,
  dead_in: null,
  probes: 0,
  probes_of: 3,
  unacknowledged: 0,
  retransmits: 0,
  ...changes,
});

test("each verdict has its words and its mood", () => {
  assert.deepEqual(verdictWords(health(), 0), ["alive", "well"]);
  assert.deepEqual(verdictWords(health({ verdict: "silent" }), 0), ["silent", "soso"]);
  assert.deepEqual(verdictWords(health({ verdict: "stalled" }), 0), ["alive but not reading", "soso"]);
  assert.deepEqual(verdictWords(health({ verdict: "dead" }), 0), ["dead", "bad"]);
  assert.deepEqual(verdictWords(health({ verdict: "dying" }), 0), ["not answering", "bad"]);
});

test("a dying peer's time counts down, and never below zero", () => {
  assert.deepEqual(verdictWords(health({ verdict: "dying", dead_in: 7 }), 3), ["silent, dead in 4 s", "bad"]);
  assert.deepEqual(verdictWords(health({ verdict: "dying", dead_in: 7 }), 30), [
    "silent, dead in 0 s",
    "bad",
  ]);
});

test("what the verdict rests on comes first", () => {
  const facts = { rtt: 0.0123, last_data: 1, last_ack: 5, probes: 2, unacknowledged: 1, retransmits: 3 };
  assert.equal(
    factWords(health(facts), 0),
    "round trip 12 ms · data just now · acknowledged 5 s ago · " +
      "probes 2 of 3 unanswered · 1 byte unacknowledged · sent again 3 times",
  );
  assert.equal(
    factWords(health({ ...facts, verdict: "dying" }), 0),
    "probes 2 of 3 unanswered · 1 byte unacknowledged · sent again 3 times · " +
      "acknowledged 5 s ago · data just now",
  );
});

test("the age of what the kernel told grows until it tells anew, whatever else is drawn", () => {
  const shown = new HealthLine();
  const text = () => shown.el.querySelector(".ipr-facts")?.textContent;
  shown.begin(health({ last_data: 1 }), [], 100);
  shown.show(false, 110);
  assert.equal(text(), "data 11 s ago");
  shown.update(health({ last_data: 4 }), 112);
  shown.show(false, 112);
  assert.equal(text(), "data 4 s ago");
  shown.show(false, 113);
  assert.equal(text(), "data 5 s ago");
});

test("nothing is known of the health where the kernel is gone", () => {
  const shown = new HealthLine();
  shown.begin(health(), [], 0);
  shown.show(false, 0);
  assert.equal(shown.el.classList.contains("ipr-unknown"), false);
  shown.show(true, 0);
  assert.equal(shown.el.classList.contains("ipr-unknown"), true);
});

test("the last ten minutes are stretches of states, and grow older", () => {
  /** @type {[number, string][]} */
  const changes = [
    [900, "stopped"],
    [300, "connecting"],
    [290, "connected"],
  ];
  assert.deepEqual(stretchesOf(changes, 0), [
    { word: "stopped", from: 600, to: 300 },
    { word: "connecting", from: 300, to: 290 },
    { word: "connected", from: 290, to: 0 },
  ]);
  assert.deepEqual(stretchesOf(changes, 305), [
    { word: "connecting", from: 600, to: 595 },
    { word: "connected", from: 595, to: 0 },
  ]);
  assert.deepEqual(stretchesOf([[0, "stopped"]], 0), []);
});

test("they are drawn from the left, and told with how long each has lasted", () => {
  const stretches = stretchesOf(
    [
      [300, "waiting"],
      [150, "connected"],
      [100, "waiting"],
    ],
    0,
  );
  assert.equal(
    gradientOf(stretches.slice(0, 1)),
    "linear-gradient(to right, transparent 0%, transparent 50.00%, var(--ipr-strip-waiting) 50.00%, var(--ipr-strip-waiting) 75.00%)",
  );
  assert.equal(gradientOf([]), "none");
  assert.equal(summaryOf(stretches), "the last 5 min: waiting 4 min 10 s, connected 50 s");
});

const TLS = { version: "TLSv1.3", cipher: "AES", expires: null };

/** @param {Partial<Encryption>} changes */
const encryption = (changes) =>
  encryptionWords({ tls: null, wants_tls: true, verify: true, connected: true, ...changes }, 1_000_000);

test("the padlock tells plain text, TLS to come, TLS, and TLS that nobody has verified", () => {
  const told = (/** @type {Partial<Encryption>} */ changes) => {
    const { kind, text } = encryption(changes);
    return [kind, text];
  };
  assert.deepEqual(told({ wants_tls: false }), ["plain", "not encrypted"]);
  assert.deepEqual(told({}), ["wanted", "TLS once connected"]);
  assert.deepEqual(told({ tls: TLS }), ["secure", "TLS 1.3"]);
  assert.deepEqual(told({ verify: false }), ["unverified", "will NOT be VERIFIED"]);
  assert.deepEqual(told({ tls: TLS, verify: false }), ["unverified", "TLS 1.3, NOT VERIFIED"]);
});

test("a certificate that ends within two weeks is told, and one that has ended", () => {
  const told = (/** @type {number} */ left) => encryption({ tls: { ...TLS, expires: 1_000_000 + left } });
  assert.equal(told(15 * 86_400).text, "TLS 1.3");
  assert.deepEqual([told(86_400).kind, told(86_400).text], ["soon", "TLS 1.3, certificate ends in 1 d"]);
  assert.equal(told(-1).text, "TLS 1.3, certificate expired");
  assert.match(told(86_400).facts.at(-1) ?? "", /^certificate valid until .* \(1 d\)$/);
  assert.equal(encryption({ tls: { ...TLS, expires: 1 }, verify: false }).kind, "unverified");
});

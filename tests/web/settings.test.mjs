// What the settings say, and the history of the send box.

import assert from "node:assert/strict";
import test from "node:test";
import { History } from "../../ipyreconnect/jupyter/panel/web/send.mjs";
import { keepaliveWords, retryWords } from "../../ipyreconnect/jupyter/panel/web/settings.mjs";

const KEEPALIVE = { enabled: true, idle: 5, interval: 3, count: 3 };
const OFF = { ...KEEPALIVE, enabled: false };
const RETRY = { delay: 1, factor: 2, max: 60, attempts: null };

/**
 * @param {typeof KEEPALIVE} keepalive
 * @param {typeof KEEPALIVE | null} inForce
 */
const keepalive = (keepalive, inForce) =>
  keepaliveWords({ keepalive, in_force: inForce, without: "", retry: RETRY });

test("the keepalive says how soon a dead peer is noticed, and from when on", () => {
  assert.equal(keepalive(KEEPALIVE, null), "from the next connection on: a dead peer is noticed within 14 s");
  assert.equal(keepalive(KEEPALIVE, KEEPALIVE), "in force: a dead peer is noticed within 14 s");
  assert.equal(keepalive(OFF, null), "from the next connection on: a dead peer may go unnoticed for hours");
  assert.equal(keepalive(OFF, OFF), "off: a dead peer may go unnoticed for hours");
});

test("where the system gave other values than were asked for, those are told", () => {
  assert.equal(
    keepalive(KEEPALIVE, { ...KEEPALIVE, idle: 10 }),
    "in force is 10/3/3: a dead peer is noticed within 19 s",
  );
  assert.equal(keepalive(OFF, KEEPALIVE), "in force is 5/3/3: a dead peer is noticed within 14 s");
});

test("where there is no keepalive at all, the reason is told", () => {
  assert.equal(
    keepaliveWords({ keepalive: KEEPALIVE, in_force: null, without: "no TCP", retry: RETRY }),
    "no TCP",
  );
});

test("the tries after a loss are told by their waits", () => {
  assert.equal(retryWords(RETRY), "after a loss tries after 1 s, 2 s, 4 s …, then every 60 s");
  assert.equal(retryWords({ ...RETRY, max: 3 }), "after a loss tries after 1 s, 2 s, then every 3 s");
  assert.equal(retryWords({ ...RETRY, factor: 1 }), "after a loss a try every 1 s until it is back");
  assert.equal(retryWords({ ...RETRY, max: 1 }), "after a loss a try every 1 s until it is back");
  assert.equal(
    retryWords({ ...RETRY, factor: 1, attempts: 3 }),
    "after a loss a try every 1 s, given up after 3 failures in a row",
  );
});

test("the history brings back the last lines, each once, and at most 200", () => {
  const history = new History();
  for (const line of ["a", "b", "a"]) history.add(line);
  assert.deepEqual([history.length, history.get(1), history.get(2)], [2, "a", "b"]);
  for (let i = 0; i < 300; i++) history.add(`line ${i}`);
  assert.deepEqual([history.length, history.get(1), history.get(200)], [200, "line 299", "line 100"]);
});

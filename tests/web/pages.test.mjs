// The cache of lines, and what is asked for.

import assert from "node:assert/strict";
import test from "node:test";
import { decodeRows, Fetcher, Pages } from "../../ipyreconnect/jupyter/panel/web/pages.mjs";
import { line, linesOf, packed, space } from "./lines.mjs";

/** @import { Space } from "../../ipyreconnect/jupyter/panel/web/pages.mjs" */

test("rows become lines with their numbers, times and texts", () => {
  const [rows, buffers] = packed(
    { a: 7, dir: "<>", mark: "-a", part: [1], cut: { 0: 5 }, before: 0.5 },
    ["é", ""],
    [1.5, 2],
  );
  assert.deepEqual(
    decodeRows(rows, buffers),
    [
      line({ at: 7, dir: "<", mark: "-", cut: 5, time: 1.5, before: 0.5, text: "é" }),
      line({ at: 7, n: 8, dir: ">", mark: "a", part: true, time: 2, before: 1.5, text: "" }),
    ].map((one, i) => ({ ...one, at: 7 + i })),
  );
});

test("hits stand at their ordinals and keep their line numbers", () => {
  const [rows, buffers] = packed({ a: 3, numbers: [10, 99] }, ["x", "y"], [0, 0]);
  assert.deepEqual(
    decodeRows(rows, buffers).map(({ at, n }) => [at, n]),
    [
      [3, 10],
      [4, 99],
    ],
  );
});

test("no rows are no lines, whatever the buffers hold", () => {
  assert.deepEqual(decodeRows(packed({}, [], [])[0], []), []);
});

test("a line is found by its place, also where places are below zero", () => {
  const pages = new Pages();
  pages.put([-257, -256, -1, 0, 255, 256].map((at) => line({ at })));
  for (const at of [-257, -256, -1, 0, 255, 256]) assert.equal(pages.get(at)?.at, at);
  assert.equal(pages.get(1), undefined);
});

test("the cache keeps 96 pages, and those that were used last", () => {
  const pages = new Pages();
  for (let page = 0; page < 100; page++) pages.put([line({ at: page * 256 })]);
  pages.use(0, 0);
  assert.equal(pages.get(0)?.at, 0);
  assert.equal(pages.get(256), undefined);
  assert.equal(pages.get(4 * 256), undefined);
  assert.equal(pages.get(5 * 256)?.at, 5 * 256);
});

test("what is missing is asked for in whole pages, at most 512 lines at once", () => {
  assert.deepEqual(space(0, 10_000).missing(300, 310), [256, 512]);
  assert.deepEqual(space(0, 10_000).missing(500, 520), [256, 768]);
  assert.deepEqual(space(0, 10_000).missing(0, 5000), [0, 512]);
});

test("what is missing stays within what there is", () => {
  assert.deepEqual(space(300, 400).missing(250, 450), [300, 400]);
  assert.equal(space(300, 400).missing(400, 500), null);
  assert.equal(space(0, 0).missing(0, 10), null);
});

test("lines that are here are not asked for", () => {
  assert.equal(space(0, 600, linesOf(0, 600)).missing(10, 500), null);
  assert.deepEqual(space(0, 600, linesOf(0, 256)).missing(10, 300), [256, 512]);
  assert.deepEqual(space(0, 600, linesOf(256, 600)).missing(10, 300), [0, 256]);
});

test("only lines that wait for the network are unsettled", () => {
  const lines = ["-", "a", "u", "s", "q"].map((mark, at) => line({ at, mark }));
  assert.equal(space(0, 5, lines).unsettled(0, 5), 3);
  assert.equal(space(0, 5, lines).unsettled(0, 3), 3);
  assert.equal(space(0, 9, lines).unsettled(4, 9), 4);
});

/** A fetcher whose clock stands still until it is moved. */
function fetching() {
  /** @type {[number, number][]} */
  const asked = [];
  /** @type {number[]} */
  const retries = [];
  const clock = { now: 1000 };
  const fetcher = new Fetcher(
    ({ a, b }) => asked.push([a, b]),
    (ms) => retries.push(ms),
    () => clock.now,
  );
  const fetch = (/** @type {Space} */ from, /** @type {[number, number]} */ range, options = {}) =>
    fetcher.fetch(from, ...range, { ahead: false, also: null, ...options });
  return { asked, retries, clock, fetcher, fetch };
}

test("one request is under way at a time, and is repeated when it stays unanswered", () => {
  const { asked, clock, fetch, retries } = fetching();
  const all = space(0, 10_000);
  fetch(all, [0, 20]);
  fetch(all, [5000, 5020]);
  assert.deepEqual(asked, [[0, 256]]);
  assert.deepEqual(retries, [4050]);
  clock.now += 4050;
  fetch(all, [5000, 5020]);
  assert.deepEqual(asked[1], [4864, 5120]);
});

test("an answer makes room for the next request", () => {
  const { asked, fetcher, fetch } = fetching();
  const all = space(0, 10_000);
  fetch(all, [0, 20]);
  const [rows] = packed({}, [], []);
  assert.equal(fetcher.spaceOf({ id: 1, first: 0, end: 0, hits: false, rows }, all), all);
  fetch(all, [5000, 5020]);
  assert.equal(asked.length, 2);
});

test("visible lines do not wait for those that were asked for in advance", () => {
  const { asked, fetch } = fetching();
  const all = space(0, 10_000, linesOf(0, 256));
  fetch(all, [200, 220], { ahead: true });
  assert.deepEqual(asked, [[256, 512]]);
  fetch(all, [5000, 5020], { ahead: true });
  assert.deepEqual(asked[1], [4864, 5120]);
});

test("a log that follows asks for nothing in advance, but for what is selected", () => {
  const { asked, fetch } = fetching();
  const all = space(0, 10_000, linesOf(0, 256));
  fetch(all, [200, 220]);
  assert.deepEqual(asked, []);
  fetch(all, [200, 220], { also: [2000, 2001] });
  assert.deepEqual(asked, [[1792, 2048]]);
});

test("visible lines that wait for the network are looked at every 400 ms", () => {
  const { asked, retries, clock, fetcher, fetch } = fetching();
  const all = space(0, 3, [line({ at: 0 }), line({ at: 1, mark: "s" }), line({ at: 2 })]);
  const [rows] = packed({}, [], []);
  fetch(all, [0, 3]);
  assert.deepEqual(asked, [[1, 3]]);
  fetcher.spaceOf({ id: 1, first: 0, end: 3, hits: false, rows }, all);
  clock.now += 100;
  fetch(all, [0, 3]);
  assert.equal(asked.length, 1);
  assert.equal(retries.at(-1), 310);
  clock.now += 300;
  fetch(all, [0, 3]);
  assert.deepEqual(asked[1], [1, 3]);
});

test("other lines do not wait for an answer to what is shown no more, and it changes nothing", () => {
  const { asked, fetcher, fetch } = fetching();
  const [all, hits] = [space(0, 1000), space(0, 1000, [], "hits")];
  fetch(hits, [0, 20]);
  fetch(all, [0, 20]);
  assert.equal(asked.length, 2);
  const [rows] = packed({}, [], []);
  assert.equal(fetcher.spaceOf({ id: 1, first: 0, end: 9, hits: true, rows }, all), null);
  assert.equal(fetcher.spaceOf({ id: 2, first: 0, end: 9, hits: false, rows }, all), all);
});

test("an answer that comes late still brings lines, as their numbers have not changed", () => {
  const { fetcher } = fetching();
  const all = space(0, 1000);
  const [rows, buffers] = packed({ a: 5 }, ["x"], [0]);
  const answer = { id: 99, first: 2, end: 1000, hits: false, rows };
  fetcher.spaceOf(answer, all)?.take(answer, buffers);
  assert.deepEqual([all.first, all.end, all.pages.get(5)?.text], [2, 1000, "x"]);
});

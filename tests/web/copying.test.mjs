// What is copied of what is selected.

import assert from "node:assert/strict";
import test from "node:test";
import { copyOf } from "../../ipyreconnect/jupyter/panel/web/copying.mjs";
import { line, linesOf, space } from "./lines.mjs";

/** @import { Ends } from "../../ipyreconnect/jupyter/panel/web/selection.mjs" */

const END = Number.POSITIVE_INFINITY;

/**
 * @param {number} at
 * @param {number} offset
 * @param {number} toAt
 * @param {number} toOffset
 * @returns {Ends}
 */
const ends = (at, offset, toAt, toOffset) => [
  { at, offset },
  { at: toAt, offset: toOffset },
];

test("of one line its text is copied, or the part that is selected", () => {
  const all = space(0, 1, [line({ text: "hello" })]);
  assert.deepEqual(copyOf(all, ends(0, 0, 0, END), "off"), { text: "hello", count: 1 });
  assert.deepEqual(copyOf(all, ends(0, 1, 0, 3), "clock"), { text: "el", count: 1 });
});

test("of several lines is copied what one sees: when, who, what", () => {
  const lines = [line({ at: 0, text: "a" }), line({ at: 1, dir: ">", text: "b", time: 0.5, before: 0.25 })];
  const all = space(0, 2, lines);
  assert.deepEqual(copyOf(all, ends(0, 0, 1, END), "off"), { text: "< a\n> b", count: 2 });
  assert.deepEqual(copyOf(all, ends(0, 0, 1, END), "delta"), { text: "< a\n+250 ms > b", count: 2 });
});

test("a line that is only touched at its edge is not copied", () => {
  const all = space(0, 3, linesOf(0, 3));
  assert.equal(copyOf(all, ends(0, 6, 1, END), "off")?.text, "line 1");
  assert.equal(copyOf(all, ends(0, 0, 1, 0), "off")?.text, "line 0");
  assert.deepEqual(copyOf(all, ends(0, 6, 1, 0), "off"), { text: "", count: 0 });
});

test("an empty line between two others is copied", () => {
  const all = space(0, 3, [
    line({ at: 0, text: "a" }),
    line({ at: 1, text: "" }),
    line({ at: 2, text: "c" }),
  ]);
  assert.deepEqual(copyOf(all, ends(0, 0, 2, END), "off"), { text: "< a\n< \n< c", count: 3 });
});

test("a line that is cut says so, where its end is selected", () => {
  const all = space(0, 1, [line({ text: "hello", cut: 7 })]);
  assert.equal(copyOf(all, ends(0, 0, 0, END), "off")?.text, "hello … 7 more characters");
  assert.equal(copyOf(all, ends(0, 0, 0, 4), "off")?.text, "hell");
});

test("nothing is copied while a line is not here yet", () => {
  assert.equal(copyOf(space(0, 3, [line({ at: 0 }), line({ at: 2 })]), ends(0, 0, 2, END), "off"), null);
});

test("a line that is forgotten is left out, but not one that is forgotten only by the kernel", () => {
  assert.deepEqual(copyOf(space(2, 4, linesOf(1, 4)), ends(0, 0, 3, END), "off"), {
    text: "< line 1\n< line 2\n< line 3",
    count: 3,
  });
});

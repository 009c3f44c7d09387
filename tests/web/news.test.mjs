// The button that leads to the newest line.

import assert from "node:assert/strict";
import test from "node:test";
import { newsText } from "../../ipyreconnect/jupyter/panel/web/news.mjs";
import { Position } from "../../ipyreconnect/jupyter/panel/web/position.mjs";
import { space } from "./lines.mjs";

/**
 * A position with room for ten rows.
 *
 * @param {number} end
 * @param {Partial<Position>} changes
 * @param {"lines" | "hits"} [kind]
 */
const position = (end, changes, kind) =>
  Object.assign(new Position(space(0, end, [], kind)), { height: 100, line: 10, follow: false, ...changes });

test("who follows the newest line needs no button", () => {
  assert.equal(newsText(position(1000, { follow: true, top: 990 }), 0), "");
});

test("new lines are counted, and so are new hits", () => {
  assert.equal(newsText(position(1000, { top: 5 }), 1), "↓ 1 new line");
  assert.equal(newsText(position(1000, { top: 5 }, "hits"), 12), "↓ 12 new hits");
});

test("without new lines it is there only where the end is not in sight", () => {
  assert.equal(newsText(position(1000, { top: 5 }), 0), "↓ newest");
  assert.equal(newsText(position(1000, { top: 989 }), 0), "");
});

test("where all lines are in sight there is no button, unless they wrap", () => {
  assert.equal(newsText(position(9, { top: 0 }), 3), "");
  assert.equal(newsText(position(9, { top: 0, wrap: true }), 3), "↓ 3 new lines");
});

// Where in its lines the log stands. A row is 10 px high here, and ten rows have room.

import assert from "node:assert/strict";
import test from "node:test";
import { Position } from "../../ipyreconnect/jupyter/panel/web/position.mjs";
import { space } from "./lines.mjs";

/**
 * @param {number} end
 * @param {Partial<Position>} [changes]
 * @param {number} [first]
 */
function position(end, changes = {}, first = 0) {
  const made = new Position(space(first, end));
  return Object.assign(made, { height: 100, line: 10, follow: false, ...changes });
}

const TEN = () => 10;
const TWENTY = () => 20;

test("the newest lines are laid out while it follows", () => {
  const log = position(1000, { follow: true });
  assert.deepEqual(log.range(), [990, 1000]);
  assert.equal(log.top, 990);
});

test("where it does not follow, two rows more than have room are laid out", () => {
  assert.deepEqual(position(1000, { top: 500.5 }).range(), [500, 512]);
});

test("the top stays within the lines that there are", () => {
  assert.deepEqual(position(1000, { top: 5 }, 200).range(), [200, 212]);
  assert.deepEqual(position(1000, { top: 5000 }).range(), [990, 1000]);
  assert.deepEqual(position(3, { top: 2 }).range(), [0, 3]);
  assert.deepEqual(position(0).range(), [0, 0]);
});

test("where lines wrap, some above are laid out too, and near the end as many as have room", () => {
  assert.deepEqual(position(1000, { top: 500, wrap: true }).range(), [494, 512]);
  assert.deepEqual(position(1000, { top: 998, wrap: true }).range(), [989, 1000]);
  assert.deepEqual(position(1000, { follow: true, wrap: true }).range(), [989, 1000]);
});

test("it moves by pixels, as far as there are lines", () => {
  const log = position(1000, { top: 500 });
  assert.equal(log.move(25, TEN), "moved");
  assert.equal(log.top, 502.5);
  assert.equal(log.move(-10_000, TEN), "moved");
  assert.equal(log.top, 0);
  assert.equal(log.move(-1, TEN), "not");
});

test("a move to the end says so, also where it is there already and does not follow", () => {
  const log = position(1000, { top: 985 });
  assert.equal(log.move(100, TEN), "to the end");
  assert.equal(log.top, 990);
  assert.equal(log.move(1, TEN), "to the end");
  log.follow = true;
  assert.equal(log.move(1, TEN), "not");
});

test("where lines wrap, it moves by their heights", () => {
  const log = position(1000, { top: 500, wrap: true });
  log.move(30, TWENTY);
  assert.equal(log.top, 501.5);
  log.move(-50, TWENTY);
  assert.equal(log.top, 499);
  log.move(-1e6, TWENTY);
  assert.equal(log.top, 0);
});

test("where lines wrap and it follows, there is no way down", () => {
  assert.equal(position(1000, { follow: true, wrap: true }).move(5, TEN), "not");
});

test("rows are moved up by what is above the top", () => {
  assert.equal(position(1000, { top: 500.5 }).offset(500), 5);
  assert.deepEqual(position(1000, { top: 500.5, wrap: true }).wrappedOffset(499, [30, 20, 10, 60, 60]), {
    offset: 40,
    atEnd: false,
  });
});

test("where lines wrap and it follows, the last line is at the lower edge, and the top is what that makes it", () => {
  const log = position(4, { follow: true, wrap: true });
  assert.equal(log.wrappedOffset(0, [30, 40, 40, 40]).offset, 50);
  assert.equal(log.top, 1.5);
});

test("where lines wrap, what is below the end is never in sight", () => {
  const log = position(4, { top: 3, wrap: true });
  assert.deepEqual(log.wrappedOffset(0, [40, 40, 40, 40]), { offset: 60, atEnd: true });
  assert.equal(log.top, 1.5);
});

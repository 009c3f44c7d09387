// What is selected, while the rows show other lines.

import assert from "node:assert/strict";
import test from "node:test";
import { changedEnds, inOrder, nearest } from "../../ipyreconnect/jupyter/panel/web/selection.mjs";

/** @import { Ends, Place } from "../../ipyreconnect/jupyter/panel/web/selection.mjs" */

const IDLE = { fresh: false, pressed: false };
const PRESSED = { fresh: false, pressed: true };

/** The lines 10, 11 and 12 are in sight, with five characters each. */
const ROWS = [10, 11, 12].map((at) => ({ at, text: { textContent: "12345" } }));

/**
 * @param {number} at
 * @param {number} offset
 * @returns {Place}
 */
const place = (at, offset) => ({ at, offset });

/**
 * @param {Ends | null} ends
 * @returns {Ends | null}
 */
const shown = (ends) => ends && [nearest(ends[0], ROWS), nearest(ends[1], ROWS)];

test("the ends are told from top to bottom, whichever way the user went", () => {
  assert.deepEqual(inOrder([place(5, 1), place(3, 9)]), [place(3, 9), place(5, 1)]);
  assert.deepEqual(inOrder([place(3, 9), place(3, 2)]), [place(3, 2), place(3, 9)]);
  assert.deepEqual(inOrder([place(3, 2), place(3, 9)]), [place(3, 2), place(3, 9)]);
});

test("the place nearest to one that is out of sight is at the edge of what is in sight", () => {
  assert.deepEqual(nearest(place(2, 3), ROWS), place(10, 0));
  assert.deepEqual(nearest(place(99, 3), ROWS), place(12, 5));
  assert.deepEqual(nearest(place(11, 3), ROWS), place(11, 3));
  assert.deepEqual(nearest(place(11, Number.POSITIVE_INFINITY), ROWS), place(11, 5));
});

test("what the user selects is kept", () => {
  assert.deepEqual(changedEnds([place(10, 1), place(11, 2)], null, null, IDLE), [place(10, 1), place(11, 2)]);
});

test("a selection of nothing is none", () => {
  assert.equal(changedEnds([place(10, 1), place(10, 1)], null, null, IDLE), null);
  const kept = /** @type {Ends} */ ([place(10, 1), place(11, 2)]);
  assert.equal(
    changedEnds([place(11, 3), place(11, 3)], kept, shown(kept), { fresh: true, pressed: true }),
    null,
  );
});

test("a selection of which the ends are out of sight is still the same", () => {
  const kept = /** @type {Ends} */ ([place(2, 3), place(99, 1)]);
  assert.equal(changedEnds([place(10, 0), place(12, 5)], kept, shown(kept), IDLE), kept);
});

test("the end that the user has not moved stays where it was, out of sight", () => {
  const kept = /** @type {Ends} */ ([place(2, 3), place(11, 1)]);
  assert.deepEqual(changedEnds([place(10, 0), place(12, 4)], kept, shown(kept), IDLE), [
    place(2, 3),
    place(12, 4),
  ]);
  const upwards = /** @type {Ends} */ ([place(11, 1), place(2, 3)]);
  assert.deepEqual(changedEnds([place(12, 4), place(10, 0)], upwards, shown(upwards), IDLE), [
    place(12, 4),
    place(2, 3),
  ]);
});

test("the mouse moves the second end only, though the browser begins anew", () => {
  const kept = /** @type {Ends} */ ([place(2, 3), place(5, 1)]);
  assert.deepEqual(changedEnds([place(11, 2), place(12, 4)], kept, shown(kept), PRESSED), [
    place(2, 3),
    place(12, 4),
  ]);
});

test("a new press of the mouse begins a new selection", () => {
  const kept = /** @type {Ends} */ ([place(2, 3), place(11, 1)]);
  const mouse = { fresh: true, pressed: true };
  assert.deepEqual(changedEnds([place(10, 0), place(12, 4)], kept, shown(kept), mouse), [
    place(10, 0),
    place(12, 4),
  ]);
});

// What is searched for: marked in the rows, and in words.

import assert from "node:assert/strict";
import test from "node:test";
import { isTame, markingPattern, Query, verdictOf } from "../../ipyreconnect/jupyter/panel/web/query.mjs";
import { space } from "./lines.mjs";

const TEXT = { text: "x", regex: false, case: false };

test("a text is marked as it is, with its signs", () => {
  assert.deepEqual("a.b*c A.B*C axb".match(markingPattern({ ...TEXT, text: "a.b*" }) ?? ""), [
    "a.b*",
    "A.B*",
  ]);
  assert.deepEqual("a.b A.B".match(markingPattern({ ...TEXT, text: "a.b", case: true }) ?? ""), ["a.b"]);
});

test("a regular expression is marked where a browser understands it", () => {
  assert.deepEqual("a1 a23 b4".match(markingPattern({ text: "a\\d+", regex: true, case: true }) ?? ""), [
    "a1",
    "a23",
  ]);
  for (const text of ["(?P<x>a)", "(", "a(?i)b", "\\Z"]) {
    assert.equal(markingPattern({ text, regex: true, case: false }), null, text);
  }
});

test("nothing is marked where nothing is searched for", () => {
  assert.equal(markingPattern({ ...TEXT, text: "" }), null);
});

for (const source of [
  "abc",
  "a+b*",
  "a{2,}b+",
  "(ab)+",
  "(?:ab){3}c*",
  "[(+*]+x",
  "\\(+\\)+",
  "a|b",
  "x?y?z?",
  "(a)(b)|c",
  "[]+]+",
  "[^]]+",
  "a{2}{",
  ")+",
]) {
  test(`the expression ${source} is tame`, () => assert.equal(isTame(source), true));
}
for (const source of [
  "(a+)+",
  "(a|b)*",
  "(a?)+",
  "((ab)*)*",
  "((a|b))+",
  "(a{2})+",
  "a+b+c+",
  "a{1,}b{2,}c*",
  "(a)\\1",
  "(?P<x>a)(?P=x)",
  "(a+)+?",
  "(?:a|b){2,}",
]) {
  test(`the expression ${source} might not end`, () => assert.equal(isTame(source), false));
}

test("wild expressions are not marked", () => {
  assert.equal(markingPattern({ text: "(a+)+$", regex: true, case: false }), null);
  assert.notEqual(markingPattern({ text: "(a+)+$", regex: false, case: false }), null);
});

/**
 * Say what the bar says.
 *
 * @param {{ behind?: number, error?: string, hits?: [number, number], all?: [number, number], ordinal?:
 *   number, text?: string }} [state]
 */
function verdict({ behind = 0, error = "", hits = [0, 0], all = [0, 1000], ordinal = -1, text = "x" } = {}) {
  const lines = space(...all);
  const query = new Query(1, { ...TEXT, text }, lines.end);
  query.take({ id: 1, first: 0, end: 0, behind, error }, lines);
  return verdictOf(query, space(...hits, [], "hits"), lines, ordinal);
}

test("a search that is through says how many hits there are", () => {
  assert.equal(verdict(), "0 hits");
  assert.equal(verdict({ hits: [0, 1] }), "1 hit");
  assert.equal(verdict({ hits: [0, 1234] }), `${(1234).toLocaleString()} hits`);
  assert.equal(verdict({ hits: [10, 30] }), "30 hits (20 still kept)");
});

test("the hit that was stepped to is counted from one", () => {
  assert.equal(verdict({ hits: [0, 7], ordinal: 0 }), "1 of 7 hits");
  assert.equal(verdict({ hits: [0, 7], ordinal: 6 }), "7 of 7 hits");
});

test("a search that is under way says so, and of many lines how far it is", () => {
  assert.equal(verdict({ behind: 10 }), "searching …");
  assert.equal(verdict({ behind: 10, hits: [0, 3] }), "3 hits, searching …");
  assert.equal(verdict({ behind: 75_000, all: [0, 100_000], hits: [0, 3] }), "3 hits, 25 % searched");
  assert.equal(verdict({ behind: 30_000, all: [80_000, 100_000] }), "0 % searched");
});

test("what is wrong with a search is said instead, and of nothing nothing", () => {
  assert.equal(verdict({ error: "bad", hits: [0, 3] }), "bad");
  assert.equal(verdict({ text: "", error: "bad" }), "");
});

test("lines that come later do not make it search again", () => {
  const all = space(0, 100);
  const query = new Query(1, TEXT, all.end);
  assert.equal(query.catchingUp, true);
  all.end = 150;
  query.take({ id: 1, first: 0, end: 0, behind: 50, error: "" }, all);
  assert.equal(query.catchingUp, false);
  assert.equal(verdictOf(query, space(0, 2, [], "hits"), all, -1), "2 hits");
});

test("the same wish is the same search", () => {
  const query = new Query(1, TEXT, 0);
  assert.equal(query.isFor({ ...TEXT }), true);
  for (const change of [{ text: "y" }, { regex: true }, { case: true }]) {
    assert.equal(query.isFor({ ...TEXT, ...change }), false);
  }
});

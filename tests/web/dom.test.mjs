// Elements, and the words for numbers, times and durations.

import assert from "node:assert/strict";
import test from "node:test";
import {
  button,
  clock,
  count,
  h,
  isOn,
  say,
  setOn,
  span,
  toggle,
} from "../../ipyreconnect/jupyter/panel/web/dom.mjs";
import { makeDocument } from "./lines.mjs";

makeDocument();

test("an element has the attributes that are given, without those that are false or nothing", () => {
  const element = h("div", {
    class: "x",
    hidden: true,
    title: null,
    lang: undefined,
    draggable: false,
    tabindex: 0,
  });
  const names = [...element.getAttributeNames()].sort();
  assert.deepEqual(
    names.map((name) => [name, element.getAttribute(name)]),
    [
      ["class", "x"],
      ["hidden", ""],
      ["tabindex", "0"],
    ],
  );
});

test("an element's children are elements and texts, never markup", () => {
  assert.equal(h("p", {}, "<b>", null, h("i", {}, "&"), undefined).outerHTML, "<p>&lt;b&gt;<i>&amp;</i></p>");
});

test("a listener is called", () => {
  let clicks = 0;
  button("go", { onclick: () => clicks++ }).dispatchEvent(
    new /** @type {any} */ (document).defaultView.Event("click"),
  );
  assert.equal(clicks, 1);
});

test("a text that is there already is not set again", () => {
  const element = h("p", {}, "text");
  const node = element.firstChild;
  say(element, "text");
  assert.equal(element.firstChild, node);
  say(element, "other");
  assert.equal(element.textContent, "other");
});

test("a toggle is off, until it is set", () => {
  const element = toggle("wrap", {});
  assert.equal(isOn(element), false);
  setOn(element, true);
  assert.equal(isOn(element), true);
  assert.equal(element.getAttribute("aria-pressed"), "true");
});

test("the time of day has two digits each", () => {
  assert.equal(clock(new Date(2026, 0, 2, 3, 4, 5)), "03:04:05");
});

test("one is told from many", () => {
  assert.equal(count(1, "line"), "1 line");
  assert.equal(count(0, "line"), "0 lines");
  assert.equal(count(1234, "line"), `${(1234).toLocaleString()} lines`);
});

for (const [seconds, words] of /** @type {[number, string][]} */ ([
  [-1, "0 s"],
  [0.9, "0 s"],
  [5, "5 s"],
  [60, "1 min"],
  [75, "1 min 15 s"],
  [3600, "1 h"],
  [3601, "1 h"],
  [7300, "2 h 1 min"],
  [200_000, "2 d 7 h"],
  [40_000_000, "1 y 97 d"],
])) {
  test(`${seconds} s are ${words}`, () => assert.equal(span(seconds), words));
}

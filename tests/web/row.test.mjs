// One line on the screen: a document of linkedom stands for the browser's.

import assert from "node:assert/strict";
import test from "node:test";
import { fill, more, noteKind, Row, timeOf } from "../../ipyreconnect/jupyter/panel/web/row.mjs";
import { line, makeDocument } from "./lines.mjs";

/** @import { Look } from "../../ipyreconnect/jupyter/panel/web/row.mjs" */

const document = makeDocument();
/** @type {Look} */
const LOOK = { times: "clock", marks: { id: 0, pattern: null, current: -1 }, key: "clock 0 lines" };

/**
 * @param {string} text
 * @param {RegExp | null} [pattern]
 */
function filled(text, pattern) {
  const element = document.createElement("span");
  fill(element, text, pattern);
  return element.innerHTML;
}

test("a text is text, never markup", () => {
  assert.equal(filled("<b>&</b>"), "&lt;b&gt;&amp;&lt;/b&gt;");
  assert.equal(filled("<i>", /i/gu), "&lt;<mark>i</mark>&gt;");
});

test("control characters stand out", () => {
  assert.equal(filled("a\x01ESC\x02b"), 'a<span class="ipr-control">ESC</span>b');
});

test("all places are marked, but no empty one, and none across a control character", () => {
  assert.equal(filled("abab", /b/gu), "a<mark>b</mark>a<mark>b</mark>");
  assert.equal(filled("ab", /x*/gu), "ab");
  assert.equal(filled("a\x01ESC\x02b", /a.*b/gu), 'a<span class="ipr-control">ESC</span>b');
  assert.equal(filled("a\x01ESC\x02E", /E/gu), 'a<span class="ipr-control">ESC</span><mark>E</mark>');
});

test("at most a thousand places are marked", () => {
  assert.equal(filled("x".repeat(1500), /x/gu).match(/<mark>/g)?.length, 1000);
  assert.equal(filled(`${"x".repeat(999)}\x01ESC\x02xxx`, /x/gu).match(/<mark>/g)?.length, 1000);
});

test("the time of a line is that of the day, since the line before, or none", () => {
  const noon = new Date(2026, 0, 2, 12, 3, 4, 5).getTime() / 1000;
  assert.equal(timeOf(line({ time: noon }), "clock"), "12:03:04.005");
  assert.equal(timeOf(line({ time: noon }), "off"), "");
  assert.equal(timeOf(line({ time: noon }), "delta"), "");
});

for (const [seconds, words] of /** @type {[number, string][]} */ ([
  [-1, "+0 ms"],
  [0.0004, "+0 ms"],
  [0.25, "+250 ms"],
  [0.9994, "+999 ms"],
  [1, "+1.00 s"],
  [9.99, "+9.99 s"],
  [10, "+10.0 s"],
  [99.9, "+99.9 s"],
  [100, "+1 min 40 s"],
])) {
  test(`${seconds} s after the line before is ${words}`, () => {
    assert.equal(timeOf(line({ time: 1000 + seconds, before: 1000 }), "delta"), words);
  });
}

test("the first word of a note is its kind", () => {
  assert.equal(noteKind("connected to x"), "up");
  assert.equal(noteKind("waiting 5 s"), "calm");
  assert.equal(noteKind("stopped"), "calm");
  assert.equal(noteKind("the peer closed the connection"), "down");
});

test("a row shows who said what, and what became of it", () => {
  const row = new Row();
  row.show(5, line({ at: 5, dir: ">", mark: "a", text: "hello" }), LOOK);
  assert.equal(row.el.className, "ipr-row ipr-out");
  assert.equal(row.text.textContent, "hello");
  assert.equal(row.arrow.getAttribute("aria-label"), "sent");
  assert.equal(row.mark.className, "ipr-mark ipr-acknowledged");
  assert.equal(row.mark.getAttribute("aria-label"), "acknowledged");
  row.show(5, line({ at: 5, text: "hi" }), LOOK);
  assert.equal(row.el.className, "ipr-row ipr-in");
  assert.equal(row.mark.hasAttribute("role"), false);
});

test("a row without its line says nothing, and can be filled again", () => {
  const row = new Row();
  row.show(5, line({ at: 5, text: "hello", cut: 3 }), LOOK);
  row.show(6, undefined, LOOK);
  assert.equal(row.el.className, "ipr-row ipr-loading");
  assert.deepEqual([row.text.textContent, row.time.textContent, row.more.hidden], ["", "", true]);
  row.show(6, line({ at: 6, text: "hi" }), LOOK);
  assert.equal(row.text.textContent, "hi");
});

test("a row keeps its elements where only the delivery has changed: text that is selected in it stays so", () => {
  const row = new Row();
  const look = { ...LOOK, marks: { id: 1, pattern: /l+/gu, current: -1 }, key: "clock 1 lines" };
  row.show(5, line({ at: 5, dir: ">", mark: "s", text: "hello" }), look);
  const before = [...row.text.childNodes];
  row.show(5, line({ at: 5, dir: ">", mark: "a", text: "hello" }), look);
  assert.equal(row.mark.className, "ipr-mark ipr-acknowledged");
  assert.equal(before.length, 3);
  for (const [i, node] of before.entries()) assert.equal(row.text.childNodes[i], node);
});

test("a line that is cut says how much is missing", () => {
  const row = new Row();
  row.show(5, line({ at: 5, cut: 1 }), LOOK);
  assert.equal(row.more.textContent, "+1 more character");
  row.show(5, line({ at: 5, cut: 20 }), LOOK);
  assert.equal(row.more.textContent, "+20 more characters");
  assert.equal(row.more.title, "Show all of this line: 20 more characters");
  assert.equal(row.more.hidden, false);
  assert.equal(more(line({ cut: 20 })), "20 more characters");
});

test("the hit that was stepped to stands out, and the button does where the hit is beyond the row", () => {
  const row = new Row();
  const marks = { id: 1, pattern: /absent/gu, current: 5 };
  row.show(0, line({ at: 0, n: 5, text: "hello", cut: 9 }), { ...LOOK, marks, key: "clock 1 hits" });
  assert.deepEqual(
    ["ipr-current", "ipr-beyond"].map((name) => row.el.classList.contains(name)),
    [true, true],
  );
  marks.current = 6;
  row.show(0, row.line, { ...LOOK, marks, key: "clock 1 hits" });
  assert.deepEqual(
    ["ipr-current", "ipr-beyond"].map((name) => row.el.classList.contains(name)),
    [false, false],
  );
});

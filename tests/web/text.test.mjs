// Control characters: shown by their names, copied as they are written in a program.

import assert from "node:assert/strict";
import test from "node:test";
import { copied, hasControls, pieces, shownText } from "../../ipyreconnect/jupyter/panel/web/text.mjs";

const ESC = "\x01ESC\x02";

test("a text without control characters is one piece", () => {
  assert.deepEqual([...pieces("plain")], [["plain", "plain"]]);
  assert.deepEqual([...pieces("")], []);
  assert.equal(hasControls("plain"), false);
});

test("a control character is shown by its name and copied as an escape", () => {
  assert.deepEqual(
    [...pieces(`a${ESC}[1m`)],
    [
      ["a", "a"],
      ["ESC", "\\x1b"],
      ["[1m", "[1m"],
    ],
  );
  assert.equal(hasControls(ESC), true);
  assert.equal(shownText(`a${ESC}[1m`), "aESC[1m");
});

for (const [name, written] of [
  ["NUL", "\\x00"],
  ["US", "\\x1f"],
  ["DEL", "\\x7f"],
  ["85", "\\x85"],
  ["U+200B", "\\u200b"],
  ["U+E0041", "\\U000e0041"],
]) {
  test(`${name} is copied as ${written}`, () => assert.equal(copied(`\x01${name}\x02`, 0, 99), written));
}

test("a tab is copied as itself, not as its sign", () => {
  assert.equal(copied("a\x01⇥\x02\tb", 0, 99), "a\tb");
});

test("a part is copied by what is shown of it; a name that is only touched counts as a whole", () => {
  const text = `ab${ESC}cd`; // shown as abESCcd
  assert.equal(copied(text, 0, 2), "ab");
  assert.equal(copied(text, 1, 3), "b\\x1b");
  assert.equal(copied(text, 4, 6), "\\x1bc");
  assert.equal(copied(text, 5, 7), "cd");
  assert.equal(copied(text, 3, 3), "");
});

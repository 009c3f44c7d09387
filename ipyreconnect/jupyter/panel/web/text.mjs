// The text of a line as the kernel sends it: control and invisible characters arrive as their names between
// U+0001 and U+0002 (see `spell_out` in rows.py). They are displayed by these names, and copied as escape
// sequences.

const NAMES = [
  ..."NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI".split(" "),
  ..."DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" "),
];

/**
 * "ESC" -> "\x1b", "U+200B" -> "\u200b".
 *
 * @param {string} name
 */
function escaped(name) {
  if (name === "⇥") return ""; // the tab itself follows
  const code = codeOf(name);
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** @param {string} name */
function codeOf(name) {
  if (name === "DEL") return 0x7f;
  return NAMES.includes(name) ? NAMES.indexOf(name) : Number.parseInt(name.replace("U+", ""), 16);
}

/**
 * Split a text into pieces [as displayed, as copied], which differ for control characters only.
 *
 * @param {string} text
 * @returns {Generator<[string, string]>}
 */
export function* pieces(text) {
  for (const piece of text.split("\x01")) {
    const end = piece.indexOf("\x02");
    if (end >= 0) yield [piece.slice(0, end), escaped(piece.slice(0, end))];
    const plain = piece.slice(end + 1);
    if (plain) yield [plain, plain];
  }
}

/**
 * Whether a text contains control characters.
 *
 * @param {string} text
 */
export const hasControls = (text) => text.includes("\x01");

/**
 * Return a text as displayed.
 *
 * @param {string} text
 */
export const shownText = (text) => text.replaceAll("\x01", "").replaceAll("\x02", "");

/**
 * Return what a selection of a text copies.
 *
 * @param {string} text
 * @param {number} from its beginning, in characters as displayed
 * @param {number} to its end
 */
export function copied(text, from, to) {
  let at = 0;
  let out = "";
  for (const [shown, meant] of pieces(text)) {
    const begin = Math.max(0, from - at);
    const end = Math.min(shown.length, to - at);
    if (begin < end) out += shown === meant ? shown.slice(begin, end) : meant;
    at += shown.length;
  }
  return out;
}

// What the user selects in the log, kept by line and character: the browser's own selection stays with the rows' elements, which show
// other lines once the log moves. Knows rows and their texts, and no kernel. Put in front of the log's script.

const NAMES = "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");

/** How a control character, which is shown by its name (see `visible` in log_view.py), is copied: as it is written in a program. */
function escaped(name) {
  if (name === "⇥") return ""; // the tab itself follows
  const code = name === "DEL" ? 0x7f : NAMES.includes(name) ? NAMES.indexOf(name) : parseInt(name.replace("U+", ""), 16);
  const hex = code.toString(16);
  return code < 0x100 ? `\\x${hex.padStart(2, "0")}` : code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** A row's text in pieces [what is shown, what is copied]; the two differ for a control character only. */
function* pieces(text) {
  for (const piece of text.split("\x01")) {
    const end = piece.indexOf("\x02");
    if (end >= 0) yield [piece.slice(0, end), escaped(piece.slice(0, end))];
    const plain = piece.slice(end + 1);
    if (plain) yield [plain, plain];
  }
}

/** What is copied of a row's text between two places in what is shown of it. */
function copied(text, from, to) {
  let at = 0;
  let out = "";
  for (const [shown, meant] of pieces(text)) {
    const [begin, end] = [Math.max(0, from - at), Math.min(shown.length, to - at)];
    if (begin < end) out += shown === meant ? shown.slice(begin, end) : meant;
    at += shown.length;
  }
  return out;
}

/** How many characters of an element stand before a point in it. */
function offsetIn(element, node, offset) {
  const part = document.createRange();
  part.selectNodeContents(element);
  part.setEnd(node, offset);
  return part.toString().length;
}

/**
 * inner: the element that holds the rows. rows(): those that are shown, in order, each with its place `at` and the elements `el` and `text`.
 * onChange(): something else is selected, or nothing.
 */
function keepSelection({ inner, rows, onChange, signal }) {
  let picked = null; // where it begins and where it ends: a line's place, and how many of its characters stand before that
  let pressed = false; // the mouse selects
  let fresh = false; // it has just begun a new selection
  const same = (one, other) => one.at === other.at && one.offset === other.offset;

  /** Where in the log a point of the page is; of all that is above or below what is shown, it is the nearest place. */
  function pointAt(node, offset) {
    const shown = rows();
    for (const { at, text } of shown) {
      const part = document.createRange();
      part.selectNodeContents(text);
      const side = part.comparePoint(node, offset);
      if (side <= 0) return { at, offset: side ? 0 : offsetIn(text, node, offset) };
    }
    return nearest({ at: Infinity });
  }

  /** The place nearest to another one that is shown. */
  function nearest({ at, offset }) {
    const shown = rows();
    const [first, last] = [shown[0], shown[shown.length - 1]];
    if (at < first.at) return { at: first.at, offset: 0 };
    const row = at > last.at ? last : shown[at - first.at];
    return { at: row.at, offset: Math.min(at > last.at ? Infinity : offset, row.text.textContent.length) };
  }

  /** The point of the page where a place is that is shown. */
  function nodeAt({ at, offset }) {
    const { text } = rows().find((row) => row.at === at);
    const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
    let rest = offset;
    while (walker.nextNode()) {
      if (rest <= walker.currentNode.length) return [walker.currentNode, rest];
      rest -= walker.currentNode.length;
    }
    return [text, text.childNodes.length];
  }

  const points = (selection) => [pointAt(selection.anchorNode, selection.anchorOffset), pointAt(selection.focusNode, selection.focusOffset)];
  const isOurs = (selection) => Boolean(selection.rangeCount) && (inner.contains(selection.anchorNode) || inner.contains(selection.focusNode));

  /** Take over what the user has selected since. */
  function take() {
    const selection = document.getSelection();
    let found = null;
    if (isOurs(selection) && rows().length) {
      found = points(selection);
      const known = picked?.map(nearest);
      const kept = found.map((point, i) => Boolean(known) && same(point, known[i]));
      if (kept[0] && kept[1]) return;
      // An end that the user has not moved is still where it was, however far out of sight; and the mouse moves only the second one,
      // though the browser begins anew where nothing that is selected was in sight any more.
      if (!fresh) found = found.map((point, i) => (kept[i] || (pressed && picked && !i) ? picked[i] : point));
      fresh = false;
      if (same(...found)) found = null;
    }
    if (!found && !picked) return;
    picked = found;
    restore();
    onChange();
  }

  /** Select what was selected, once the rows show other lines. */
  function restore() {
    if (!picked || !rows().length) return;
    const selection = document.getSelection();
    const wanted = picked.map(nearest);
    if (isOurs(selection) && points(selection).every((point, i) => same(point, wanted[i]))) return;
    selection.setBaseAndExtent(...nodeAt(wanted[0]), ...nodeAt(wanted[1]));
  }

  document.addEventListener("selectionchange", take, { signal });
  inner.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    take();
    pressed = true;
    fresh = !event.shiftKey;
    const row = event.shiftKey && picked && rows().find(({ el }) => el.contains(event.target));
    if (!row) return;
    // JupyterLab takes the click for its own where no text is selected, as is so of the page's while all that is selected is out of
    // sight. So the row is selected before; how much of it is left to the browser.
    picked = [picked[0], { at: row.at, offset: row.at < picked[0].at ? 0 : Infinity }];
    restore();
  });
  const released = () => {
    if (!pressed) return;
    take();
    pressed = false;
    if (!picked) onChange();
  };
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, released, { signal });

  return {
    take,
    restore,
    /** The first and the last selected place, or null. */
    get ends() {
      const [one, other] = picked || [];
      return picked && (one.at < other.at || (one.at === other.at && one.offset <= other.offset) ? [one, other] : [other, one]);
    },
    /** Whether the mouse selects just now. */
    get pressed() {
      return pressed;
    },
    set(...ends) {
      picked = ends;
      restore();
      onChange();
    },
    clear() {
      if (!picked) return;
      picked = null;
      document.getSelection().removeAllRanges();
      onChange();
    },
  };
}

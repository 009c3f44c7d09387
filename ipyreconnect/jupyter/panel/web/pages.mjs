// The cache of lines that the kernel has sent, and the requests for missing ones. log_view.py documents the
// messages. No DOM access.

const PAGE = 256; // lines, the unit of the cache and of requests
const PAGES = 96; // kept: 25 000 lines
const AHEAD = 96; // lines beyond the visible ones that are asked for before they are needed
const WINDOW = 512; // lines, the kernel's limit for one answer
const PATIENCE = 4000; // ms after which an unanswered request is repeated
const REFRESH = 400; // ms between looks at the visible lines whose delivery is not settled yet

/**
 * @typedef {object} Line
 * @property {number} at its place in its space: the line number, or the ordinal of the hit
 * @property {number} n its line number
 * @property {string} dir "<" received, ">" sent, "*" a note
 * @property {string} mark the delivery status of a sent line: q(ueued), s(ent), a(cknowledged),
 *   u(nconfirmed); else "-"
 * @property {boolean} part whether it is a part of a longer line
 * @property {number} cut how many characters at its end were left out
 * @property {number} time seconds since the epoch
 * @property {number | null} before the time of the line before it
 * @property {string} text
 */

/**
 * Lines as encode_rows of rows.py packs them; their texts and times are in two buffers.
 *
 * @typedef {object} Rows
 * @property {number} a
 * @property {number} n
 * @property {string} dir
 * @property {string} mark
 * @property {number[]} part
 * @property {Record<number, number>} cut
 * @property {number | null} before
 * @property {number[]} [numbers]
 */

/** @typedef {{ id: number, first: number, end: number, hits: boolean, rows: Rows }} RowsMessage */

const decoder = new TextDecoder();

/**
 * Decode a text from the kernel.
 *
 * @param {DataView} buffer
 */
export const decodeText = (buffer) => decoder.decode(buffer);

/** @param {DataView} buffer */
function decodeTimes(buffer) {
  const { byteOffset, byteLength } = buffer;
  // A copy, as an array of doubles must begin at a multiple of eight.
  return new Float64Array(buffer.buffer.slice(byteOffset, byteOffset + byteLength));
}

/**
 * @param {Rows} rows
 * @param {DataView[]} buffers
 * @returns {Line[]}
 */
export function decodeRows(rows, buffers) {
  if (!rows.n) return [];
  const times = decodeTimes(buffers[1]);
  const parts = new Set(rows.part);
  return decodeText(buffers[0])
    .split("\n")
    .map((text, i) => ({
      at: rows.a + i,
      n: rows.numbers ? rows.numbers[i] : rows.a + i,
      dir: rows.dir[i],
      mark: rows.mark[i],
      part: parts.has(i),
      cut: rows.cut[i] || 0,
      time: times[i],
      before: i ? times[i - 1] : rows.before,
      text,
    }));
}

/** @param {number} at */
const pageOf = (at) => Math.floor(at / PAGE);
/** @param {number} at */
const placeIn = (at) => at - pageOf(at) * PAGE;

/** A cache of lines in pages; when it is full, the pages that were used least recently are dropped. */
export class Pages {
  /** @type {Map<number, Line[]>} */
  #pages = new Map();

  /**
   * @param {number} at
   * @returns {Line | undefined}
   */
  get(at) {
    return this.#pages.get(pageOf(at))?.[placeIn(at)];
  }

  /** @param {Line[]} lines */
  put(lines) {
    for (const line of lines) {
      const number = pageOf(line.at);
      let page = this.#pages.get(number);
      if (!page) {
        page = [];
        this.#pages.set(number, page);
      }
      page[placeIn(line.at)] = line;
    }
  }

  /**
   * Mark the pages of the lines a ≤ at ≤ b as used now, and drop the oldest pages beyond the limit.
   *
   * @param {number} a
   * @param {number} b
   */
  use(a, b) {
    for (let number = pageOf(a); number <= pageOf(b); number++) {
      const page = this.#pages.get(number);
      if (!page) continue;
      this.#pages.delete(number);
      this.#pages.set(number, page);
    }
    for (const number of this.#pages.keys()) {
      if (this.#pages.size <= PAGES) break;
      this.#pages.delete(number);
    }
  }
}

/**
 * What a viewport can show: all lines by their numbers, or the hits of a search by their ordinals, with first
 * ≤ at < end.
 */
export class Space {
  pages = new Pages();
  first = 0;
  end = 0;

  /** @param {"lines" | "hits"} kind */
  constructor(kind) {
    this.kind = kind;
  }

  get isEmpty() {
    return this.end <= this.first;
  }

  /**
   * Add the lines of an answer from the kernel.
   *
   * @param {RowsMessage} content
   * @param {DataView[]} buffers
   */
  take(content, buffers) {
    this.first = content.first;
    this.end = Math.max(this.end, content.end);
    this.pages.put(decodeRows(content.rows, buffers));
  }

  /**
   * Return which lines to request so that a ≤ at < b are in the cache: whole pages, from the first missing
   * line on, as many as the kernel sends in one answer.
   *
   * @param {number} a
   * @param {number} b
   * @returns {[number, number] | null} null if none is missing
   */
  missing(a, b) {
    let low = Math.max(a, this.first);
    let high = Math.min(b, this.end);
    while (low < high && this.pages.get(low)) low++;
    if (low >= high) return null;
    while (this.pages.get(high - 1)) high--;
    const start = Math.max(this.first, pageOf(low) * PAGE);
    return [start, Math.min(this.end, Math.ceil(high / PAGE) * PAGE, start + WINDOW)];
  }

  /**
   * Return the first of the lines a ≤ at < b whose delivery status may still change, or b.
   *
   * @param {number} a
   * @param {number} b
   */
  unsettled(a, b) {
    const settled = (/** @type {number} */ at) => !"qs".includes(this.pages.get(at)?.mark ?? "-");
    let at = a;
    while (at < b && settled(at)) at++;
    return at;
  }
}

/**
 * Requests lines from the kernel: one request at a time, except that a request for visible lines does not
 * wait for one that was made in advance.
 */
export class Fetcher {
  /** @type {{ id: number, at: number, space: Space, urgent: boolean } | null} */
  #inFlight = null;
  #requests = 0;
  #looked = 0; // when unsettled deliveries were last asked for
  #send;
  #retryIn;
  #now;

  /**
   * @param {(request: { m: "rows", id: number, a: number, b: number, hits: boolean }) => void} send
   * @param {(ms: number) => void} retryIn called when `fetch` should be called again, even if no answer has
   *   come
   * @param {() => number} now ms, monotonic
   */
  constructor(send, retryIn, now = () => performance.now()) {
    this.#send = send;
    this.#retryIn = retryIn;
    this.#now = now;
  }

  /**
   * Request the missing lines that are needed most.
   *
   * @param {Space} space
   * @param {number} from the first visible line
   * @param {number} to the end of the visible lines
   * @param {{ ahead: boolean, also: [number, number] | null }} options whether to ask for the lines around
   *   them in advance, and lines out of sight that are wanted too
   */
  fetch(space, from, to, { ahead, also }) {
    const now = this.#now();
    const visible = space.missing(from, to);
    if (this.#waitsFor(space, now) && (this.#inFlight?.urgent || !visible)) return;
    const range =
      visible ??
      (ahead ? space.missing(from - AHEAD, to + AHEAD) : null) ??
      (also && space.missing(...also)) ??
      this.#unsettled(space, from, to, now);
    if (!range) return;
    this.#inFlight = { id: ++this.#requests, at: now, space, urgent: Boolean(visible) };
    this.#send({ m: "rows", id: this.#requests, a: range[0], b: range[1], hits: space.kind === "hits" });
    this.#retryIn(PATIENCE + 50);
  }

  /**
   * Return the space that an answer belongs to.
   *
   * @param {RowsMessage} content
   * @param {Space} all
   * @returns {Space | null} null if it belongs to a search that was given up
   */
  spaceOf(content, all) {
    if (content.id !== this.#inFlight?.id) return content.hits ? null : all;
    const { space } = this.#inFlight;
    this.#inFlight = null;
    return space;
  }

  /**
   * @param {Space} space
   * @param {number} now
   */
  #waitsFor(space, now) {
    return this.#inFlight?.space === space && now - this.#inFlight.at < PATIENCE;
  }

  /**
   * Return the visible sent lines whose delivery status may have changed since the last look.
   *
   * @param {Space} space
   * @param {number} from
   * @param {number} to
   * @param {number} now
   * @returns {[number, number] | null}
   */
  #unsettled(space, from, to, now) {
    const at = space.unsettled(from, to);
    if (at >= to) return null;
    const wait = REFRESH - (now - this.#looked);
    if (wait > 0) {
      this.#retryIn(wait + 10);
      return null;
    }
    this.#looked = now;
    return [at, to];
  }
}

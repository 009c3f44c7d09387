// The padlock in the header: whether the connection is encrypted and verified, and why.

import { h, say, span } from "./dom.mjs";

/** @typedef {{ version: string, cipher: string, expires: number | null }} Tls seconds since the epoch */
/** @typedef {{ tls: Tls | null, wants_tls: boolean, verify: boolean, connected: boolean }} Encryption */
/** @typedef {{ kind: string, text: string, facts: string[] }} Words */

const EXPIRES_SOON = 14 * 86400; // seconds

/** @param {Tls} tls */
const versionOf = ({ version }) => version.replace("TLSv", "TLS ");

/**
 * @param {Encryption} encryption
 * @param {number} now seconds since the epoch
 * @returns {Words}
 */
export function encryptionWords({ tls, wants_tls: wanted, verify }, now) {
  const words = tlsWords(tls, wanted, verify);
  if (!tls) return words;
  words.facts.push(`${versionOf(tls)}, ${tls.cipher}`);
  if (tls.expires) addExpiry(words, tls.expires, tls.expires - now);
  return words;
}

/**
 * @param {Tls | null} tls
 * @param {boolean} wanted
 * @param {boolean} verify
 * @returns {Words}
 */
function tlsWords(tls, wanted, verify) {
  if (!verify && wanted) {
    const fact =
      "Nobody has checked the server's certificate: anyone on the way can read and change what is sent.";
    return {
      kind: "unverified",
      text: tls ? `${versionOf(tls)}, NOT VERIFIED` : "will NOT be VERIFIED",
      facts: [fact],
    };
  }
  if (tls) return { kind: "secure", text: versionOf(tls), facts: ["The server's certificate is verified."] };
  if (wanted) {
    const fact = "Will be encrypted, and the server's certificate verified.";
    return { kind: "wanted", text: "TLS once connected", facts: [fact] };
  }
  return { kind: "plain", text: "not encrypted", facts: ["Everything is sent as plain text."] };
}

/**
 * @param {Words} words
 * @param {number} expires seconds since the epoch
 * @param {number} left seconds
 */
function addExpiry(words, expires, left) {
  /** @type {Intl.DateTimeFormatOptions} */
  const format = { day: "numeric", month: "long", year: "numeric" };
  const date = new Date(expires * 1000).toLocaleDateString([], format);
  words.facts.push(
    left > 0 ? `certificate valid until ${date} (${span(left)})` : `certificate expired on ${date}`,
  );
  if (left >= EXPIRES_SOON || words.kind !== "secure") return;
  words.kind = "soon";
  words.text += left > 0 ? `, certificate ends in ${span(left)}` : ", certificate expired";
}

/** The padlock. */
export class Padlock {
  el = h("span", { class: "ipr-lock", role: "img", tabindex: "0", hidden: true });

  /** @param {Encryption} encryption */
  show(encryption) {
    const { kind, text, facts } = encryptionWords(encryption, Date.now() / 1000);
    this.el.className = `ipr-lock ipr-lock-${kind}`;
    say(this.el, text);
    this.el.title = facts.join("\n");
    this.el.setAttribute("aria-label", `${text}. ${facts.join(". ")}`);
    // That it will not be encrypted is of no interest before it is connected.
    this.el.hidden = kind === "plain" && !encryption.connected;
  }
}

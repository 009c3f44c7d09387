"""One line of a transcript as a value, its text, and how it stands in a record; knows no transcript."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable

from ..errors import SettingsError
from .delivery import STATUSES, Delivery

__all__ = [
    "HAS_BREAK",
    "Line",
    "decode",
    "encode_line",
    "from_json",
    "has_break",
    "has_own_end",
    "in_one_line",
    "is_torn",
    "one_line",
    "to_json",
    "visible",
]

DIRECTIONS = ("<", ">", "*")
"""Received, sent, and what happened."""
LARGEST_NUMBER = 2**53
"""Of a line in a record: beyond it, JSON's numbers are not exact."""
BEGINNING = '{"number": '
"""Of each line of a record."""

# Blanks other than the space, and the joiners that scripts and emoji need, do a terminal no harm.
_KEPT = frozenset("\u200c\u200d")


def decode(data: bytes, encoding: str | None) -> str:
    """Return `data` as text: by `encoding` (UTF-8 when None) and, where it does not fit, as ISO-8859-1, which
    takes every byte. Any thread.
    """
    try:
        return data.decode(encoding or "utf-8")
    except UnicodeError:
        return data.decode("iso-8859-1")


def visible(text: str) -> str:
    r"""Write every character that a terminal would obey as its escape: ESC becomes \x1b.

    That is every control character (C0, C1, DEL), the marks that turn the writing direction, line and
    paragraph separators, lone surrogates and unassigned code points. Any thread.
    """
    if text.isprintable():
        return text
    return "".join(
        c
        if c.isprintable() or c in _KEPT or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode()
        for c in text
    )


def in_one_line(text: str) -> str:
    """Return `text` without line breaks, and with nothing in it that a terminal would obey. Any thread."""
    return text if text.isprintable() else visible(" ".join(text.split()))


_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""What `str.splitlines`, an editor or a terminal may take for the end of a line."""


def one_line(text: str) -> str:
    r"""Return `text` with each line break in it written as its escape, such as \n. Any thread."""
    if text.isprintable():
        return text
    return _BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


HAS_BREAK = (
    "a line break in a line would send more than one command: send each line by itself, or bytes as they are"
)


def has_break(line: bytes, eol: bytes = b"") -> bool:
    """Say whether the peer would take `line` for more than one, where `eol` ends each. Any thread."""
    return b"\n" in line or b"\r" in line or (eol not in _USUAL_EOLS and (line + eol).find(eol) < len(line))


_USUAL_EOLS = (b"\r\n", b"\n", b"\r", b"")


def has_own_end(eol: bytes) -> str:
    """Return why a text is refused that holds the connection's own line end."""
    return (
        f"the line end {eol!r} in a line would send more than one command: "
        "send each line by itself, or bytes as they are"
    )


def encode_line(
    text: str, encoding: str | None, redacted: Callable[[str], str] | None = None, eol: bytes = b""
) -> bytes:
    """Return the bytes of a line to send, by `encoding` (UTF-8 when None), without a line end. Any thread.

    redacted: returns what may be shown of a text; a refusal quotes none with a secret in it. eol: what ends
    the lines of the connection, and must not stand within one.
    Raises SettingsError for a line break, also one that only the encoding makes, and for what the encoding
    does not know.
    """
    if "\n" in text or "\r" in text:
        raise SettingsError(HAS_BREAK)
    code = encoding or "utf-8"
    try:
        data = text.encode(code)
    except UnicodeError as error:
        wrong = text[error.start : error.end] if isinstance(error, UnicodeEncodeError) else text
        why = "cannot be sent as"
    else:
        broken = encoding is not None and has_break(data)
        if not broken:
            if eol not in _USUAL_EOLS and has_break(data, eol):
                raise SettingsError(has_own_end(eol))
            return data
        wrong = next((character for character in text if has_break(character.encode(code))), text)
        why = "has the bytes of a line break in"
    # Here, as an exception keeps the one during which it was raised, and that one holds the text.
    secret = redacted is not None and redacted(text) != text
    what = "a line with a secret in it" if secret else repr(wrong)
    raise SettingsError(f"{what} {why} {code}: choose another encoding, or send bytes")


class Line:
    """One line of a transcript. Immutable; any thread.

    data: the bytes without the line end. time: seconds since the Unix epoch. direction: "<" received, ">"
    sent, "*" something that happened. number: counted from 0 over the whole life of the transcript, never
    used twice. truncated: a fragment of an over-long or unfinished line, or the beginning of what was too
    long to keep. delivery: the fate of a sent line that is kept whole, else None.
    """

    __slots__ = ("_encoding", "data", "delivery", "direction", "number", "time", "truncated")

    def __init__(
        self,
        data: bytes,
        time: float = 0.0,
        direction: str = "<",
        number: int = 0,
        truncated: bool = False,
        encoding: str | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self.data = data
        self.time = time
        self.direction = direction
        self.number = number
        self.truncated = truncated
        self.delivery = delivery
        self._encoding = encoding

    @property
    def text(self) -> str:
        """The line as text, by the connection's encoding, or as ISO-8859-1 where it does not fit."""
        # What happened is our own text, whatever the peer's encoding is.
        return decode(self.data, None if self.direction == "*" else self._encoding)

    def __repr__(self) -> str:
        return f"<Line {self.number} {self.direction} {self.text!r}{' truncated' if self.truncated else ''}>"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Line):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[bytes, float, str, int, bool]:
        return (self.data, self.time, self.direction, self.number, self.truncated)


def to_json(line: Line) -> str:
    """Return `line` as one JSON object in ASCII; bytes that are not UTF-8 stand as ISO-8859-1 under
    "latin1". Any thread.
    """
    row: dict[str, object] = {"number": line.number, "time": line.time, "direction": line.direction}
    try:
        row["text"] = line.data.decode()
    except UnicodeDecodeError:
        row["latin1"] = line.data.decode("iso-8859-1")
    if line.truncated:
        row["truncated"] = True
    if line.delivery is not None:
        row["delivery"] = line.delivery.status
    return json.dumps(row)


def from_json(text: str, encoding: str | None = None) -> Line:
    """Return the line that `to_json` wrote; `encoding` is for its text. Any thread.

    Raises ValueError when it wrote no such thing.
    """
    try:
        row = json.loads(text)
        data = row["text"].encode() if "text" in row else row["latin1"].encode("iso-8859-1")
        number, time, direction = int(row["number"]), float(row["time"]), row["direction"]
        status = row.get("delivery")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValueError("not a line of a record") from None
    if not 0 <= number <= LARGEST_NUMBER or direction not in DIRECTIONS or status not in (None, *STATUSES):
        raise ValueError("not a line of a record")
    delivery = None
    if status is not None and direction == ">":
        delivery = Delivery(data)
        delivery.status = status
        delivery.number = number
    return Line(data, time, direction, number, bool(row.get("truncated")), encoding, delivery)


def is_torn(text: str) -> bool:
    """Say whether `text` is no more than the beginning of what `to_json` writes. Any thread."""
    begun = text.removesuffix("\n")[: len(BEGINNING)]
    if not begun or not BEGINNING.startswith(begun):
        return False
    try:
        json.loads(text)
    except ValueError:
        return True
    return False

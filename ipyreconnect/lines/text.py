"""Text and bytes of a line: decoding, encoding, and what of it may be shown. Values only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

from ..errors import SettingsError

__all__ = [
    "EOLS",
    "HAS_BREAK",
    "counted",
    "decode",
    "encode_line",
    "has_break",
    "has_own_end",
    "in_one_line",
    "one_line",
    "visible",
    "without_end",
]

EOLS: Final[Mapping[str, bytes]] = {"crlf": b"\r\n", "lf": b"\n", "cr": b"\r", "none": b""}
"""The line ends that go by a name; all of CR and LF only, which no text to be sent may hold."""
_NAMED_EOLS = tuple(EOLS.values())

# Blanks other than the space, and the joiners that scripts and emoji need, do a terminal no harm.
_KEPT = frozenset("\u200c\u200d")


def decode(data: bytes, encoding: str | None) -> str:
    """Return `data` as text: by `encoding` (None means UTF-8) or, where that does not fit, as ISO-8859-1, in
    which every byte is a character. Any thread.
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


def without_end(line: bytes) -> bytes:
    """Return `line` without the LF or CRLF at its end, if there is one. Any thread."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def counted(count: int, noun: str) -> str:
    """Return a number of things in words, such as "1 line" or "1234 lines". Any thread."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


HAS_BREAK = (
    "a line break in a line would send more than one command: send each line by itself, or bytes as they are"
)


def has_break(line: bytes, eol: bytes = b"") -> bool:
    """Say whether the peer would take `line` for more than one, where `eol` ends each. Any thread."""
    return b"\n" in line or b"\r" in line or (eol not in _NAMED_EOLS and (line + eol).find(eol) < len(line))


def has_own_end(eol: bytes) -> str:
    """Return why a text is refused that has the connection's own line end in it. Any thread."""
    return (
        f"the line end {eol!r} in a line would send more than one command: "
        "send each line by itself, or bytes as they are"
    )


def encode_line(
    text: str, encoding: str | None, redacted: Callable[[str], str] | None = None, eol: bytes = b""
) -> bytes:
    """Return the bytes of a line to send, without a line end. Any thread.

    Args:
        text: of one line.
        encoding: by which it is encoded; None means UTF-8.
        redacted: returns what may be shown of a text; a refusal quotes none with a secret in it.
        eol: what ends the lines of the connection, and must not stand within one.

    Raises:
        SettingsError: there is a line break in it, also one that only the encoding makes, or a character that
            the encoding lacks.
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
            if eol not in _NAMED_EOLS and has_break(data, eol):
                raise SettingsError(has_own_end(eol))
            return data
        wrong = next((character for character in text if has_break(character.encode(code))), text)
        why = "has the bytes of a line break in"
    # Here, as an exception keeps the one during which it was raised, and that one holds the text.
    secret = redacted is not None and redacted(text) != text
    what = "a line with a secret in it" if secret else repr(wrong)
    raise SettingsError(f"{what} {why} {code}: choose another encoding, or send bytes")

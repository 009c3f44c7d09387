"""Lines of a transcript in the form in which the browser gets them: texts as UTF-8, times as float64."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from ...lines.line import Line

__all__ = ["encode_rows", "spell_out"]

ROW_CHARS = 1000
"""A row has this many characters of a longer line; the rest is fetched when the user asks for all of it."""

# Characters that draw nothing, move the writing point, or turn the direction of what follows: a peer could
# hide text with them. The joiners U+200C and U+200D stay: scripts and emoji need them.
_INVISIBLE = (
    *range(0x80, 0xA0),
    0xAD,
    0x061C,
    0x180E,
    0x200B,
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
    *range(0x13430, 0x13440),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B),
    *range(0xE0000, 0xE0080),  # a whole text can be hidden in these: they are ASCII over again
)
# By their ASCII names: the signs that Unicode has for them (U+2400 …) are missing in most fonts.
_NAMES = (
    *("NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI"),
    *(
        "DLE",
        "DC1",
        "DC2",
        "DC3",
        "DC4",
        "NAK",
        "SYN",
        "ETB",
        "CAN",
        "EM",
        "SUB",
        "ESC",
        "FS",
        "GS",
        "RS",
        "US",
    ),
)
_VISIBLE = {
    **{code: f"\x01{name}\x02" for code, name in enumerate(_NAMES)},
    0x09: "\x01⇥\x02\t",
    0x7F: "\x01DEL\x02",
    **{code: f"\x01{code:02X}\x02" if code < 0x100 else f"\x01U+{code:04X}\x02" for code in _INVISIBLE},
}


def spell_out(text: str) -> str:
    """Return `text` with each control or invisible character written out between U+0001 and U+0002; a tab
    stays behind its sign.
    """
    # Most lines are printable, and this question costs 30 ns where a translation costs 5 µs.
    return text if text.isprintable() else text.translate(_VISIBLE)


def mark_of(line: Line) -> str:
    """Return the delivery status of a sent line as one letter: q(ueued), s(ent), a(cknowledged),
    u(nconfirmed); "-" for every other line.
    """
    status = getattr(line.delivery, "status", None)
    return str(getattr(status, "value", status))[0] if status else "-"


def encode_rows(
    lines: Sequence[Line], budget: int, before: float | None = None
) -> tuple[dict[str, Any], list[bytes]]:
    """Return the JSON part and the two buffers of some lines.

    Args:
        lines: the lines.
        budget: characters for all the texts together; where they are more, each is cut to an equal share, and
            the row says how much is missing.
        before: the time of the line that precedes the first one (Unix time).

    """
    texts = [line.text for line in lines]
    share = ROW_CHARS
    if sum(min(len(text), share) for text in texts) > budget:
        share = max(64, budget // len(texts))
    cut = {index: len(text) - share for index, text in enumerate(texts) if len(text) > share}
    content: dict[str, Any] = {
        "a": lines[0].number if lines else 0,
        "n": len(lines),
        "dir": "".join(line.direction for line in lines),
        "mark": "".join(map(mark_of, lines)),
        "part": [index for index, line in enumerate(lines) if line.truncated],
        "cut": cut,
        "before": before,
    }
    return content, [
        "\n".join(spell_out(text[:share]) for text in texts).encode("utf-8", "replace"),
        array("d", [line.time for line in lines]).tobytes(),
    ]

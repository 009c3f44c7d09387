"""Lines as text for people: one line as rows, a long one cut, a number of lines in words."""

from __future__ import annotations

from ...lines.line import Line
from ...lines.text import visible

__all__ = ["count_of_lines", "rendered", "shortened"]

LONGEST = 4000
"""Characters of one line that are shown: about two screens. The transcript keeps the rest."""


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text, cut after `longest` characters with the number of the others."""
    return text if len(text) <= longest else f"{text[:longest]} … {len(text) - longest} more characters"


def rendered(line: Line, text: str | None = None) -> list[str]:
    """Return the rows that show one line, with its direction in front: `< ` received, `> ` sent, `* ` event.

    A line that carries announced bytes has several rows, the further ones indented.

    Args:
        line: the line.
        text: what to show instead of the line's own text.

    """
    text = shortened(line.text if text is None else text)
    first, *more = (visible(row.removesuffix("\r")) for row in text.split("\n"))
    if more and not more[-1]:
        more.pop()
    cut = " …" if line.truncated else ""
    rows = [f"{line.direction} {first}", *(f"  {row}" for row in more)]
    rows[-1] += cut
    return rows


def count_of_lines(count: int) -> str:
    """Return a number of lines in words: "1 line", "1,234 lines"."""
    return f"{count:,} line{'' if count == 1 else 's'}"

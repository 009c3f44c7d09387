"""Lines as text for people: one line as rows, a long one cut, a number of lines in words."""

from __future__ import annotations

from ...lines.line import Line
from ...lines.text import visible

__all__ = ["count_of_lines", "rendered", "shortened"]

LONGEST = 4000
"""Characters of one line that are shown: about two screens. The transcript has the rest."""


def shortened(text: str, longest: int = LONGEST) -> str:
    """Cut a text after `longest` characters and say how many more there are."""
    return text if len(text) <= longest else f"{text[:longest]} … {len(text) - longest} more characters"


def rendered(line: Line, text: str | None = None) -> list[str]:
    """Give the rows that show one line: `< ` before what was received, `> ` sent, `* ` what happened.

    A line that carries announced bytes has several rows, the further ones indented. text: what to show
    instead of the line's own text.
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

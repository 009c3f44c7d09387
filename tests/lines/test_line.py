"""A line is a value."""

from __future__ import annotations

from ipyreconnect.lines.line import Line


def test_a_line_is_a_value() -> None:
    """Lines compare and hash by what they are, print as their text, and tell in a repr what they are."""
    line = Line("é".encode(), 1.0, ">", 3, True)
    assert line == Line("é".encode(), 1.0, ">", 3, True)
    assert len({line, Line("é".encode(), 1.0, ">", 3, True), Line(b"e", 1.0, ">", 3, True)}) == 2
    assert line != "é"
    assert (str(line), repr(line)) == ("é", "<Line 3 > 'é' truncated>")

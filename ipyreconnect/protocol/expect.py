"""Expectations: a pattern that waits for a line, and the match that it finds. Waits for nothing itself.

An expectation looks at each received line once, in order, from a line number on: first at those that are
there, then as they come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..errors import SettingsError
from .transcript import Line, Transcript, decode

__all__ = ["Expectation", "Match", "Pattern", "compile_pattern"]

Pattern = str | bytes | re.Pattern[str] | re.Pattern[bytes]


def compile_pattern(pattern: Pattern) -> re.Pattern[Any]:
    """Return `pattern` compiled; a bytes pattern looks at the line's bytes, a str pattern at its text.

    Raises SettingsError when it is no regular expression.
    """
    if isinstance(pattern, re.Pattern):
        return pattern
    if not isinstance(pattern, str | bytes):
        raise SettingsError(
            f"a pattern is str, bytes or a compiled regular expression, not {type(pattern).__name__}"
        )
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"not a regular expression: {pattern!r} ({error})") from None


class Match:
    """A line that was awaited. Behaves like a `re.Match` on it, but with •••• for what is hidden; where a
    group begins and ends is counted in the line as it came.

    line: the `Line` that matches. lines: the received lines since the last send, up to and with it.
    """

    __slots__ = ("_lines", "_match", "_origin", "_transcript", "line")

    def __init__(self, line: Line, match: re.Match[Any], transcript: Transcript, origin: int) -> None:
        self.line = line
        self._match = match
        self._transcript = transcript
        self._origin = origin
        self._lines: list[Line] | None = None

    @property
    def lines(self) -> list[Line]:
        """The received lines since the last send, up to and with the one that matches; without those
        forgotten meanwhile.
        """
        if self._lines is None:
            lines = self._transcript.lines(self._origin, self.line.number + 1)
            self._lines = [line for line in lines if line.direction == "<"]
        return self._lines

    @property
    def text(self) -> str:
        """The whole matching line as text."""
        return self.line.text

    @property
    def string(self) -> Any:
        """What the pattern was applied to, as in `re.Match`."""
        return self._shown(self._match.string)

    @property
    def re(self) -> re.Pattern[Any]:
        """The pattern, as in `re.Match`."""
        return self._match.re

    def group(self, *groups: int | str) -> Any:
        """Return groups, as `re.Match.group`."""
        return self._shown(self._match.group(*groups))

    def groups(self, default: Any = None) -> tuple[Any, ...]:
        """Return all groups, as `re.Match.groups`."""
        groups: tuple[Any, ...] = self._shown(self._match.groups(default))
        return groups

    def groupdict(self, default: Any = None) -> dict[str, Any]:
        """Return the named groups, as `re.Match.groupdict`."""
        return {name: self._shown(value) for name, value in self._match.groupdict(default).items()}

    def start(self, group: int | str = 0) -> int:
        """Return where a group begins, as `re.Match.start`."""
        return self._match.start(group)

    def end(self, group: int | str = 0) -> int:
        """Return where a group ends, as `re.Match.end`."""
        return self._match.end(group)

    def span(self, group: int | str = 0) -> tuple[int, int]:
        """Return where a group begins and ends, as `re.Match.span`."""
        return self._match.span(group)

    def __getitem__(self, group: int | str) -> Any:
        return self._shown(self._match[group])

    def _shown(self, value: Any) -> Any:
        """Return a text, bytes or a tuple of them without what is hidden."""
        if not self._transcript.hides:
            return value
        if isinstance(value, str):
            return self._transcript.redacted_text(value)
        if isinstance(value, tuple):
            return tuple(map(self._shown, value))
        return self._transcript.redacted(value) if isinstance(value, bytes) else value

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __repr__(self) -> str:
        return f"<Match {self.line.text!r}>"


class Expectation:
    """A pattern that waits for a line.

    pattern: compiled. origin: the number of the line from which on it looks (and from which `Match.lines`
    counts). outcome: None while it waits; then the `Match`, or the exception to raise.
    """

    __slots__ = ("_search", "bytes", "cursor", "origin", "outcome", "pattern")

    def __init__(self, pattern: re.Pattern[Any], origin: int = 0) -> None:
        self.pattern = pattern
        self._search = pattern.search
        self.bytes = isinstance(pattern.pattern, bytes)
        self.origin = origin
        self.cursor = origin
        self.outcome: Match | Exception | None = None

    def arm(self, number: int) -> None:
        """Look only from line `number` on."""
        self.origin = self.cursor = number

    def look(self, number: int, lines: list[bytes], encoding: str | None) -> tuple[int, re.Match[Any]] | None:
        """Look at `lines`, whose first has `number`; return the number of the first that matches, with the
        match, or None.
        """
        skip = self.cursor - number
        if skip > 0:
            lines = lines[skip:]
            number += skip
        search = self._search
        for offset, data in enumerate(lines):
            found = search(data if self.bytes else decode(data, encoding))
            if found:
                self.cursor = number + offset + 1
                return number + offset, found
        self.cursor = max(self.cursor, number + len(lines))
        return None

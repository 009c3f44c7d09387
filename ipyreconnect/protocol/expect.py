"""Expectations: a pattern that waits for a line, and the match that it finds. Waits for nothing itself.

An expectation looks at each received line once, in order, from a line number on: first at those that are
there, then as they come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import Overrun
from .framing import Fragment
from .line import Line, decode
from .search import LineSearch, Pattern, compile_pattern
from .transcript import Transcript

__all__ = ["QUOTED", "Expectation", "Match", "Pattern", "compile_pattern", "last_lines"]

QUOTED = 3
QUOTED_CHARACTERS = 80
"""Lines that a reason quotes, and characters of each: an answer and what led to it, in one line."""
MANY = 64
"""So many lines at once are a flood: worth a look whether any of them can match at all."""


def last_lines(texts: Sequence[str]) -> str:
    """Say in one line which were the last lines that came, as they may be shown."""
    if not texts:
        return "no line came at all"
    quoted = [repr(text[:QUOTED_CHARACTERS]) for text in texts[-QUOTED:]]
    return f"the last {'line was' if len(quoted) == 1 else 'lines were'} {', '.join(quoted)}"


class Match:
    """A line that was awaited. Behaves like a `re.Match` on it, but with •••• for what is hidden; where a
    group begins and ends is counted in the line as it came. Any thread.

    line: the received line that matches, or its number, its bytes as they came, and its time: most are never
    looked at, and making one takes a good part of a round trip. origin: from which number on `lines` counts.
    """

    __slots__ = ("_line", "_lines", "_match", "_origin", "_transcript")

    def __init__(
        self,
        line: Line | tuple[int, bytes, float],
        match: re.Match[Any],
        transcript: Transcript,
        origin: int,
    ) -> None:
        self._line = line
        self._match = match
        self._transcript = transcript
        self._origin = origin
        self._lines: list[Line] | None = None

    @property
    def line(self) -> Line:
        """The line that matches."""
        line = self._line
        if not isinstance(line, Line):
            number, data, time = line
            cut = isinstance(data, Fragment)
            transcript = self._transcript
            line = Line(transcript.redacted(data), time, "<", number, cut, transcript.encoding)
            self._line = line
        return line

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

    def expand(self, template: Any) -> Any:
        """Return `template` with its references to groups filled in, as `re.Match.expand`."""
        return self._shown(self._match.expand(template))

    @property
    def lastindex(self) -> int | None:
        """The number of the last group that matched, as in `re.Match`."""
        return self._match.lastindex

    @property
    def lastgroup(self) -> str | None:
        """The name of the last group that matched, as in `re.Match`."""
        return self._match.lastgroup

    @property
    def pos(self) -> int:
        """Where the search began, as in `re.Match`."""
        return self._match.pos

    @property
    def endpos(self) -> int:
        """Where the search would have ended, as in `re.Match`."""
        return self._match.endpos

    @property
    def regs(self) -> tuple[tuple[int, int], ...]:
        """Where each group begins and ends, as in `re.Match`."""
        return self._match.regs

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

    pattern: compiled. origin: the number of the line from which on `Match.lines` counts. cursor: the number
    of the line that is looked at next. ruled_out: from which number up to which no line matches, found out
    beforehand. outcome: None while it waits; then the `Match`, or the exception to raise. Looking is for the
    one that has the connection's turn; `outcome` may be read in any thread.
    """

    __slots__ = ("_search", "bytes", "cursor", "origin", "outcome", "pattern", "ruled_out")

    def __init__(self, pattern: re.Pattern[Any], origin: int = 0) -> None:
        self.pattern = pattern
        self._search = pattern.search
        self.bytes = type(pattern.pattern) is bytes
        self.origin = origin
        self.cursor = origin
        self.ruled_out = (0, 0)
        self.outcome: Match | Exception | None = None

    def arm(self, number: int) -> None:
        """Look only from line `number` on."""
        self.origin = self.cursor = number

    def rule_out(self, transcript: Transcript, start: int, stop: int) -> Iterator[None]:
        """Look at the received lines from `start` up to `stop` beforehand, some thousand before each yield,
        up to the first that matches; what was forgotten is passed over. In any thread, without the turn.
        """
        looking = Expectation(self.pattern, start)
        while looking.cursor < stop:
            try:
                for number, lines in transcript.received(max(looking.cursor, transcript.first), stop):
                    if found := looking.look(number, lines, transcript.encoding):
                        self.ruled_out = start, found[0]
                        return
                    self.ruled_out = start, looking.cursor
                    yield
                looking.cursor = stop
            except Overrun:  # once more, with what is left
                looking.cursor = max(looking.cursor, transcript.first)
        self.ruled_out = start, stop

    def look(
        self, number: int, lines: list[bytes], encoding: str | None
    ) -> tuple[int, bytes, re.Match[Any]] | None:
        """Look at `lines`, whose first has `number`, but at none before the cursor; return the first that
        matches, as its number, its bytes and the match, or None.
        """
        skip = self.cursor - number
        if skip > 0:
            lines = lines[skip:]
            number += skip
        search = self._search
        if len(lines) >= MANY and LineSearch(self.pattern, encoding).rules_out(b"\n".join(lines)):
            self.cursor = number + len(lines)
            return None
        for data in lines:
            number += 1
            if found := search(data if self.bytes else decode(data, encoding)):
                self.cursor = number
                return number - 1, data, found
        if number > self.cursor:
            self.cursor = number
        return None

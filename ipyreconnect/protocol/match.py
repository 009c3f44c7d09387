"""What was found: the line, the groups, and all lines up to it. A value."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from ..lines.line import Line
from ..lines.transcript import Transcript
from ..logical import Fragment
from ..mask import MASK, mask_in

__all__ = ["Match", "found_at"]


class Match:
    """A line that was awaited. Behaves like a `re.Match` on it, but with •••• for what is hidden, also where
    a group is a part of that; where a group begins and ends is counted in the line as it came, and `re` is
    the expression as it was given. Any thread.

    Args:
        line: the received line that matches, or its number, its bytes as they came, and its time: most are
            never looked at, and making one takes a good part of a round trip.
        origin: from which number on `lines` counts.
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
            lines = self._transcript.lines(self._origin, self.line.number + 1, for_readers=True)
            self._lines = list(lines)
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
        values = tuple(map(self._group, groups or (0,)))
        return values if len(values) > 1 else values[0]

    def groups(self, default: Any = None) -> tuple[Any, ...]:
        """Return all groups, as `re.Match.groups`."""
        return tuple(self._group(number, default) for number in range(1, self._match.re.groups + 1))

    def groupdict(self, default: Any = None) -> dict[str, Any]:
        """Return the named groups, as `re.Match.groupdict`."""
        return {name: self._group(name, default) for name in self._match.re.groupindex}

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
        """Return `template` with its references to groups filled in, as `re.Match.expand`; where a group is a
        part of what is hidden, all of it is.
        """
        for number in range(self._match.re.groups + 1):
            if self._group(number) != self._shown(self._match[number]):
                return self._mask
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
        return self._group(group)

    def _group(self, group: int | str, default: Any = None) -> Any:
        """Return a group without what is hidden in the line, be it only a part of that."""
        match = self._match
        value, (start, end) = match[group], match.span(group)
        if value is None or not self._transcript.hides:
            return default if value is None else value
        string = match.string
        for begins, ends in reversed(self._hidden()):
            begins, ends = max(begins, start), min(ends, end)
            if begins < ends:
                value = string[start:begins] + self._mask + value[ends - start :]
        return value

    def _hidden(self) -> list[tuple[int, int]]:
        """Return where in the line that was matched each hidden stretch begins and ends."""
        string = self._match.string
        if isinstance(string, bytes):
            return self._transcript.hidden(string)
        data = string.encode("utf-8", "surrogatepass")
        stretches = self._transcript.hidden(data)
        return [(_characters(data[:start]), _characters(data[:end])) for start, end in stretches]

    @property
    def _mask(self) -> Any:
        return MASK if isinstance(self._match.string, str) else mask_in(self._transcript.encoding)

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

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy as plain values, masked as they are shown, with all lines of the answer. Where the
        expression holds a secret, its groups alone are kept.
        """
        match = self._match
        values = [self._group(number) for number in range(match.re.groups + 1)]
        is_part = any(value != self._shown(match[number]) for number, value in enumerate(values))
        pattern = match.re
        if self._shown(pattern.pattern) != pattern.pattern:
            pattern = _with_groups(pattern, values).re
        found = _Found(
            pattern,
            self.string,
            values,
            *(match.regs, match.pos, match.endpos, match.lastindex, match.lastgroup),
            self._mask if is_part else None,
        )
        return _restored, (self.line, self.lines, found, self._origin)


class _Found:
    """What `re.Match` says of a match, as plain values: one of those can be neither pickled nor made."""

    def __init__(
        self,
        pattern: re.Pattern[Any],
        string: Any,
        values: list[Any],
        regs: tuple[tuple[int, int], ...],
        pos: int,
        endpos: int,
        lastindex: int | None,
        lastgroup: str | None,
        mask: Any,
    ) -> None:
        self.re, self.string, self.regs, self.pos, self.endpos = pattern, string, regs, pos, endpos
        self.lastindex, self.lastgroup = lastindex, lastgroup
        self._values = values
        self._mask = mask  # instead of all that has groups in it: one is a part of what is hidden

    def _number(self, group: int | str) -> int:
        number = self.re.groupindex.get(group, -1) if isinstance(group, str) else operator.index(group)
        if not 0 <= number < len(self._values):
            raise IndexError("no such group")
        return number

    def __getitem__(self, group: int | str) -> Any:
        return self._values[self._number(group)]

    def span(self, group: int | str = 0) -> tuple[int, int]:
        return self.regs[self._number(group)]

    def start(self, group: int | str = 0) -> int:
        return self.span(group)[0]

    def end(self, group: int | str = 0) -> int:
        return self.span(group)[1]

    def expand(self, template: Any) -> Any:
        return _with_groups(self.re, self._values).expand(template) if self._mask is None else self._mask


def found_at(
    pattern: re.Pattern[Any],
    text: Any,
    spans: tuple[int, tuple[tuple[int, int], ...], int | None, str | None],
) -> Any:
    """Return what `re.Match` says of a match that was found elsewhere, in a process of its own."""
    _, regs, lastindex, lastgroup = spans
    values = [text[start:end] if start >= 0 else None for start, end in regs]
    return _Found(pattern, text, values, regs, 0, len(text), lastindex, lastgroup, None)


def _restored(line: Line, lines: list[Line], found: _Found, origin: int) -> Match:
    """Return the match that `Match.__reduce__` took apart."""
    match = Match(line, cast("re.Match[Any]", found), Transcript(), origin)
    match._lines = lines
    return match


def _with_groups(pattern: re.Pattern[Any], values: Sequence[Any]) -> re.Match[Any]:
    """Return a match whose groups are called as those of `pattern`, and hold `values`, the whole first."""
    names = {number: name for name, number in pattern.groupindex.items()}
    whole, *groups = (None if value is None else rf"[\s\S]{{{len(value)}}}" for value in values)
    source = ""
    for number, group in enumerate(groups, 1):
        named = f"(?P<{names[number]}>{group or ''})" if number in names else f"({group or ''})"
        source += named if group is not None else f"(?:(?!){named})?"  # which takes no part in it
    source = f"(?={whole}{source}){whole}"
    joined = values[0][:0].join(value for value in values if value is not None)
    found = re.match(source if isinstance(joined, str) else source.encode(), joined)
    assert found is not None
    return found


def _characters(data: bytes) -> int:
    """Return how many characters these bytes of a text are, of which the last may be cut."""
    try:
        return len(data.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError:
        return len(data.decode("utf-8", "replace"))

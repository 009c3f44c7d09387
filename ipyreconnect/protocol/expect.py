"""Expectations: a pattern that waits for a line, the match that it finds, and all those of a client. Nothing
here waits itself.

An expectation looks at each received line once, in order, from a line number on: first at those that are
there, then as they come.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from ..errors import ConnectionLost, Overrun
from ..lines.effort import is_quick
from ..lines.framing import Fragment, beginning
from ..lines.line import Line
from ..lines.search import LineSearch, Pattern, compile_pattern
from ..lines.text import decode
from ..lines.transcript import Transcript
from ..settings import MASK, mask_in

__all__ = [
    "QUOTED",
    "Expectation",
    "Expectations",
    "Match",
    "Pattern",
    "compile_pattern",
    "found_at",
    "last_lines",
]

QUOTED = 3
QUOTED_CHARACTERS = 80
"""Lines that a reason quotes, and characters of each: an answer and what led to it, in one line."""
SHORT = 20
"""Characters of a line over which no expression takes long."""
MANY = 64
"""So many lines at once are a flood: worth a look whether any of them can match at all."""


def last_lines(texts: Sequence[str]) -> str:
    """Say in one line which were the last lines that came, as they may be shown."""
    if not texts:
        return "no line came at all"
    quoted = [repr(text[:QUOTED_CHARACTERS]) for text in texts[-QUOTED:]]
    return f"the last {'line was' if len(quoted) == 1 else 'lines were'} {', '.join(quoted)}"


class Match:
    """A line that was awaited. Behaves like a `re.Match` on it, but with •••• for what is hidden, also where
    a group is a part of that; where a group begins and ends is counted in the line as it came, and `re` is
    the expression as it was given. Any thread.

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


class Expectation:
    """A pattern that waits for a line.

    pattern: compiled. whole: whether it looks into all of a logical line, with what was announced in it (of a
    line that came in fragments, into each of them), instead of its beginning alone. origin: the number of the
    line from which on `Match.lines` counts. cursor: the number of the line that is looked at next. ruled_out:
    from which number up to which no line matches, found out beforehand. outcome: None while it waits; then
    the `Match`, or the exception to raise. unsent: the line that it belongs to was still in the queue when
    nobody waited any longer. is_slow: whether a line has come over which it may take long: from that on it is
    looked for elsewhere. cancel: ends that. Looking is for the one that has the connection's turn; `outcome`
    may be read in any thread.
    """

    __slots__ = (
        "_search",
        "bytes",
        "cancel",
        "cursor",
        "is_slow",
        "origin",
        "outcome",
        "pattern",
        "ruled_out",
        "unsent",
        "whole",
    )

    def __init__(self, pattern: re.Pattern[Any], origin: int = 0, *, whole: bool = False) -> None:
        self.pattern = pattern
        self.whole = whole
        self._search = pattern.search
        self.bytes = type(pattern.pattern) is bytes
        self.origin = origin
        self.cursor = origin
        self.ruled_out = (0, 0)
        self.outcome: Match | Exception | None = None
        self.unsent = False
        self.is_slow = False
        self.cancel: Callable[[], None] | None = None

    def arm(self, number: int) -> None:
        """Look only from line `number` on."""
        self.origin = self.cursor = number

    def rule_out(self, transcript: Transcript, start: int, stop: int) -> Iterator[None]:
        """Look at the received lines from `start` up to `stop` beforehand, some thousand before each yield,
        up to the first that matches; what was forgotten is passed over. In any thread, without the turn.
        """
        looking = Expectation(self.pattern, start, whole=self.whole)
        while looking.cursor < stop:
            try:
                for number, lines in transcript.received(max(looking.cursor, transcript.first), stop):
                    if found := looking.look(number, lines, transcript.encoding):
                        self.ruled_out = start, found[0]
                        return
                    if looking.is_slow:
                        self.ruled_out = start, looking.cursor
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
        if self.is_slow:
            return None
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
            compared = data if type(data) is bytes or self.whole else beginning(data)
            if compared is None:
                continue
            text = compared if self.bytes else decode(compared, encoding)
            if len(text) > SHORT and not is_quick(self.pattern, text):
                if LineSearch(self.pattern, encoding).rules_out(compared):
                    continue
                self.is_slow = True
                self.cursor = number - 1
                return None
            if found := search(text):
                self.cursor = number
                return number - 1, data, found
        if number > self.cursor:
            self.cursor = number
        return None


class Expectations:
    """All that is awaited of one client's connections, and from where on: from the last send or match on,
    whichever was later. With the turn only.

    pending: those that wait. mark: the number of the line from which on the next one looks. last_send: from
    which on its `Match.lines` counts. last_asked: the number after the last line that the user's code sent.
    slow: those that have become slow, and are to be looked for elsewhere.
    """

    __slots__ = (
        "_asked",
        "_asked_from",
        "_encoding",
        "_loss",
        "_lost_at",
        "_transcript",
        "last_asked",
        "last_send",
        "mark",
        "pending",
        "slow",
    )

    def __init__(self, transcript: Transcript, encoding: str | None) -> None:
        self._transcript = transcript
        self._encoding = encoding
        self.pending: list[Expectation] = []
        self.slow: list[Expectation] = []
        self.mark = 0
        self.last_send = 0
        self.last_asked = 0
        self._asked = False  # a line was sent that no match has answered yet
        self._loss: str | None = None  # the reason of one that left a question unanswered, until it is told
        self._asked_from = 0
        self._lost_at = 0

    @property
    def looks_from(self) -> int:
        """The number of the line from which on `expect` looks."""
        return self.mark if self._loss is None else self._asked_from

    def begin(self) -> None:
        """Look at nothing that came before: the client starts, or its user's next line waits to be sent."""
        self.mark = self.last_send = self._transcript.end
        self._asked = False
        self._loss = None

    def pass_over(self, number: int) -> None:
        """Look at no line before `number`: what came and left until then was somebody else's affair. Those
        that wait look at what has come since.
        """
        self.mark = self.last_send = max(self.mark, number)
        for expectation in tuple(self.pending):
            self.expect(expectation)
            if expectation.outcome is not None:
                self.pending.remove(expectation)

    def sent(self, number: int) -> None:
        """Note that the user's line before `number` is sent: it is what the next match answers."""
        self.mark = self.last_send = self.last_asked = number
        self._asked = True
        self._loss = None

    def add(self, expectation: Expectation, number: int) -> None:
        """Have `expectation` look at all lines that come, from `number` on."""
        expectation.arm(number)
        self.pending.append(expectation)

    def expect(self, expectation: Expectation, *, may_look: bool = True) -> None:
        """Look for `expectation` in what is there, if it may; where its outcome is not set then, it may be
        `pending`.
        """
        if self._loss is not None:
            # The answer may have come before the loss. If not, it never will, however long anybody waits.
            expectation.arm(self._asked_from)
            if not self._look_through(expectation, self._lost_at):
                expectation.outcome = ConnectionLost(
                    f"{self._loss}, before a line matched; expect again to look at what has come since"
                )
                self._loss = None
                self.mark = max(self.mark, self._lost_at)
            return
        expectation.arm(self.mark)
        expectation.origin = self.last_send
        if may_look:
            self._look_through(expectation, self._transcript.end)

    def forget(self, expectation: Expectation) -> None:
        """Look for it no longer: its time is over, or its waiter was interrupted."""
        if expectation in self.pending:
            self.pending.remove(expectation)
        if expectation.cancel is not None:
            expectation.cancel()

    def met(self, expectation: Expectation, number: int, data: bytes, time: float, match: Any) -> None:
        """Note that line `number` was found elsewhere to meet it; `time` is when (Unix time, s)."""
        expectation.cursor = number + 1
        kept = self._transcript[number : number + 1]
        self._met(expectation, kept[0] if kept else (number, data, time), match)
        self.forget(expectation)

    def failed(self, expectation: Expectation, error: Exception) -> None:
        """Note that it cannot be looked for."""
        expectation.outcome = error
        self.forget(expectation)

    def look(self, number: int, lines: list[bytes], time: float) -> None:
        """Show all that wait the lines that have just come; `number` is the first one's, `time` theirs (Unix
        time, s).
        """
        for expectation in tuple(self.pending):
            slow = expectation.is_slow
            found = expectation.look(number, lines, self._encoding)
            if expectation.is_slow and not slow:
                self.slow.append(expectation)
            elif found:
                self.pending.remove(expectation)
                number_found, data, match = found
                self._met(expectation, (number_found, data, time), match)

    def lost(self, reason: str, number: int, *, tells: bool) -> None:
        """Fail all that wait: their connection is lost. number: of the line that says so. tells: whether who
        asks for the answer to the last send later is told so too, once.
        """
        told = any(expectation.origin >= self.last_send for expectation in self.pending)
        if self._asked and tells and not told:
            self._loss = reason
            self._asked_from = self.mark
            self._lost_at = number
        self._asked = False
        self.fail(reason)

    def fail(self, reason: str) -> None:
        """Fail all that wait."""
        for expectation in self.pending:
            expectation.outcome = ConnectionLost(reason)  # one for each: they are raised in several threads
            if expectation.cancel is not None:
                expectation.cancel()
        self.pending.clear()

    def _look_through(self, expectation: Expectation, stop: int) -> bool:
        first, after = expectation.ruled_out
        if first <= expectation.cursor < after:
            expectation.cursor = after
        transcript = self._transcript
        start = max(expectation.cursor, transcript.first)
        if start < stop:
            for number, lines in transcript.received(start, stop):
                if found := expectation.look(number, lines, self._encoding):
                    self._met(expectation, transcript[found[0]], found[2])
                    return True
                if expectation.is_slow:
                    self.slow.append(expectation)
                    return False
        expectation.cursor = max(expectation.cursor, transcript.end)
        return False

    def _met(
        self, expectation: Expectation, line: Line | tuple[int, bytes, float], match: re.Match[Any]
    ) -> None:
        expectation.outcome = Match(line, match, self._transcript, expectation.origin)
        # Up to and with the line, as the expectation has it now.
        if self.mark < expectation.cursor:
            self.mark = expectation.cursor
        self._asked = False
        self._loss = None

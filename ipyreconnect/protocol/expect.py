"""Expectations: a pattern that waits for a line, the match that it finds, and all those of a client. Nothing
here waits itself.

An expectation looks at each received line once, in order, from a line number on: first at those that are
there, then as they come.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConnectionLost, Overrun
from ..lines.effort import SHORT, is_quick
from ..lines.line import Line
from ..lines.search import LineSearch, Pattern, compile_pattern
from ..lines.text import decode
from ..lines.transcript import Transcript
from ..logical import beginning
from .answers import Answers
from .match import Match

__all__ = ["QUOTED", "Expectation", "Expectations", "Pattern", "compile_pattern", "last_lines"]

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
        up to the first that matches; what was forgotten is passed over. In any thread, without the lock.
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


@dataclass(frozen=True, slots=True)
class Search:
    """The expectation is to be looked for elsewhere: its expression may take long over a line."""

    expectation: Expectation


class Expectations:
    """All that is awaited of one client's connections, and from where on: from the last send or match on,
    whichever was later. With the connection's lock held.

    pending: those that wait. mark: the number of the line from which on the next one looks. last_send: from
    which on its `Match.lines` counts. last_asked: the number after the last line that the user's code sent.
    """

    __slots__ = (
        "_answers",
        "_asked",
        "_asked_from",
        "_encoding",
        "_loss",
        "_lost_at",
        "_post",
        "_transcript",
        "last_asked",
        "last_send",
        "mark",
        "pending",
    )

    def __init__(
        self,
        transcript: Transcript,
        encoding: str | None,
        post: Callable[[Search], object],
        answers: Answers | None = None,
    ) -> None:
        self._transcript = transcript
        self._answers = Answers(encoding) if answers is None else answers
        self._encoding = encoding
        self.pending: list[Expectation] = []
        self._post = post
        self.mark = 0
        self.last_send = 0
        self.last_asked = 0
        self._asked = False  # a line was sent that no match has answered yet
        self._loss: str | None = (
            None  # the reason of one that left a question unanswered, until a caller gets it
        )
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
        """Look at no line before `number`: what came and left until then was for others. Those
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
                self._post(Search(expectation))
            elif found:
                self.pending.remove(expectation)
                number_found, data, match = found
                self._met(expectation, (number_found, data, time), match)

    def lost(self, reason: str, number: int, *, tells: bool) -> None:
        """Fail all that wait: their connection is lost. number: of the line that says so. tells: whether who
        asks for the answer to the last send later is told so too, once.
        """
        is_notified = any(expectation.origin >= self.last_send for expectation in self.pending)
        if self._asked and tells and not is_notified:
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
            for number, lines in self._free(start, stop):
                if found := expectation.look(number, lines, self._encoding):
                    self._met(expectation, transcript[found[0]], found[2])
                    return True
                if expectation.is_slow:
                    self._post(Search(expectation))
                    return False
        withheld = self._answers.first_withheld
        expectation.cursor = max(expectation.cursor, transcript.end if withheld is None else withheld)
        return False

    def _free(self, start: int, stop: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the received lines that were nobody's answer, as `Transcript.received` does, up to the first
        of which that is not known yet.
        """
        answers = self._answers
        withheld = answers.first_withheld
        runs = self._transcript.received(start, stop if withheld is None else min(stop, withheld))
        if not answers.owns:
            yield from runs
            return
        for number, lines in runs:
            yield from answers.free(number, lines)

    def _met(
        self, expectation: Expectation, line: Line | tuple[int, bytes, float], match: re.Match[Any]
    ) -> None:
        expectation.outcome = Match(line, match, self._transcript, expectation.origin)
        # Up to and with the line, as the expectation has it now.
        if self.mark < expectation.cursor:
            self.mark = expectation.cursor
        self._asked = False
        self._loss = None

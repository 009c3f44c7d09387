"""Looks for what an expectation waits for, where its expression may take for ever: on a thread and in a
process of its own. Nobody else waits for that; who waits for the line gives up whenever he likes.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import ConnectionLost, Overrun
from ..lines.effort import TooSlow, is_quick
from ..lines.framing import beginning
from ..lines.search import LineSearch
from ..lines.text import decode
from ..network.driver import Driver
from ..network.matcher import Matcher
from ..protocol.expect import Expectation
from ..protocol.match import found_at

__all__ = ["SlowSearch", "search_one"]

LONGEST = 24 * 3600.0
"""Seconds after which a process that searches ends, though nobody has ended it: its kernel is dead then."""

Found = tuple[int, bytes, float | None, Any]


def search_one(pattern: re.Pattern[Any], text: str | bytes, timeout: float) -> re.Match[Any] | None:
    """Return the match of `pattern` in `text`, as `re` finds it, or None; in a process of its own where that
    may be slow. Raises TooSlow when `timeout` seconds are over. Any thread but the I/O thread.
    """
    if is_quick(pattern, text):
        return pattern.search(text)
    matcher = Matcher(pattern, min(timeout, LONGEST))
    try:
        spans = matcher.first([text])
    finally:
        matcher.close()
    return None if spans is None else found_at(pattern, text, spans)


class SlowSearch:
    """The search for one expectation, from the line on where it was found that it may be slow."""

    def __init__(self, expectation: Expectation, driver: Driver) -> None:
        self._expectation = expectation
        self._driver = driver
        self._transcript = driver.connection.transcript
        self._matcher: Matcher | None = None
        self._lock = threading.Lock()  # guards the process's beginning and end
        self._over = False
        expectation.cancel = self.cancel

    def begin(self) -> None:
        """Begin, if the expectation is still waited for: else nobody would end it. With the turn.

        Where no thread is to be had, the expectation fails.
        """
        if self._expectation not in self._driver.connection.expectations.pending:
            return
        try:
            threading.Thread(target=self._run, name="ipyreconnect-search", daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            self._fail(f"cannot search: {error}")

    def cancel(self) -> None:
        """End it: nobody waits any more. Any thread; waits for nothing."""
        with self._lock:
            self._over = True
            if self._matcher is not None:
                self._matcher.kill()

    def _run(self) -> None:
        try:
            self._look(self._expectation.cursor)
        except OSError as error:  # no process is to be had
            text = f"cannot search: {error.strerror}"
            self._driver.post(lambda: self._fail(text))
        finally:
            with self._lock:
                matcher, self._matcher = self._matcher, None
            if matcher is not None:
                matcher.close()

    def _fail(self, why: str) -> None:
        if self._expectation.outcome is None:
            self._driver.connection.expectations.failed(self._expectation, ConnectionLost(why))

    def _look(self, cursor: int) -> None:
        """Look at the received lines from `cursor` on, as they come, up to the first that matches."""
        for number, line in self._lines(cursor):
            try:
                match = None if self._over else self._search(line)
            except TooSlow:  # it was ended
                return
            if match is not None:
                self._found(number, line, match)
                return

    def _lines(self, cursor: int) -> Iterator[tuple[int, bytes]]:
        """Yield the received lines from `cursor` on, with their numbers, as they come, until it is ended."""
        transcript = self._transcript
        while not self._over:
            end = transcript.end
            if cursor >= end:
                self._driver.wait(self._news(cursor), None)
                continue
            try:
                for first, lines in transcript.received(max(cursor, transcript.first), end):
                    yield from enumerate(lines, first)
                    cursor = first + len(lines)
                cursor = end
            except Overrun:  # once more, with what is left
                cursor = max(cursor, transcript.first)

    def _news(self, cursor: int) -> Callable[[], bool]:
        return lambda: self._over or self._transcript.end > cursor

    def _search(self, line: bytes) -> Any:
        expectation = self._expectation
        compared = line if expectation.whole else beginning(line)
        if compared is None:
            return None
        text = compared if expectation.bytes else decode(compared, self._transcript.encoding)
        pattern = expectation.pattern
        if is_quick(pattern, text):
            return pattern.search(text)
        if LineSearch(pattern, self._transcript.encoding).rules_out(compared):
            return None
        spans = self._begun_matcher().first([text])
        return None if spans is None else found_at(pattern, text, spans)

    def _begun_matcher(self) -> Matcher:
        """Return the process that searches. Raises TooSlow where the search was ended."""
        with self._lock:
            if self._over:
                raise TooSlow
            if self._matcher is None:
                self._matcher = Matcher(self._expectation.pattern, LONGEST)
            return self._matcher

    def _found(self, number: int, line: bytes, match: Any) -> None:
        def take_over() -> None:
            if self._expectation.outcome is None:
                now = time.monotonic() + self._driver.connection.wall_offset
                self._driver.connection.expectations.met(self._expectation, number, line, now, match)

        self._driver.post(take_over)

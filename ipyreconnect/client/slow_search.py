"""Searches for a regular expression that may take very long, on a thread and in a process of its own. Nothing
waits for it, and a caller that waits for the line can give up at any time.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import ConnectionLost, Overrun
from ..lines.effort import TooSlow, is_quick
from ..lines.search import LineSearch
from ..lines.text import decode
from ..logical import beginning
from ..network.driver import Driver
from ..network.matcher import PATIENCE, Matcher
from ..protocol.expect import Expectation
from ..protocol.match import found_at

__all__ = ["PATIENCE", "Matcher", "SlowSearch", "search_one"]

LONGEST = 24 * 3600.0
"""Seconds after which a searching process ends by itself: then the process that started it is dead."""

Found = tuple[int, bytes, float | None, Any]


def search_one(pattern: re.Pattern[Any], text: str | bytes, timeout: float) -> re.Match[Any] | None:
    """Search like `re.search`, in a process of its own if that may be slow. Not for the I/O thread.

    Args:
        pattern: The compiled regular expression.
        text: Where it is searched for.
        timeout: Seconds that it may take.

    Returns:
        The match, None if there is none.

    Raises:
        TooSlow: The time is over.
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
    """The search for one expectation, from the line on over which it may take long."""

    def __init__(self, expectation: Expectation, driver: Driver) -> None:
        self._expectation = expectation
        self._driver = driver
        self._transcript = driver.connection.transcript
        self._matcher: Matcher | None = None
        self._lock = threading.Lock()  # guards the start and the end of the process
        self._over = False
        expectation.cancel = self.cancel

    def begin(self) -> None:
        """Start the search. Call with the connection's lock held.

        It starts only if something still waits for the expectation: otherwise nothing would ever end it. If
        no thread can be started, the expectation fails.
        """
        if self._expectation not in self._driver.connection.expectations.pending:
            return
        try:
            threading.Thread(target=self._run, name="ipyreconnect-search", daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            self._fail(f"cannot search: {error}")

    def cancel(self) -> None:
        """End the search: nothing waits for it any more. Safe to call from any thread."""
        with self._lock:
            self._over = True
            if self._matcher is not None:
                self._matcher.kill()

    def _run(self) -> None:
        try:
            self._search_lines(self._expectation.cursor)
        except OSError as error:  # no process could be started
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

    def _search_lines(self, cursor: int) -> None:
        """Search the received lines from number `cursor` on, as they come, up to the first match."""
        for number, line in self._lines(cursor):
            try:
                match = None if self._over else self._search(line)
            except TooSlow:  # the search was cancelled
                return
            if match is not None:
                self._found(number, line, match)
                return

    def _lines(self, cursor: int) -> Iterator[tuple[int, bytes]]:
        """Yield the received lines from number `cursor` on with their numbers, until it is cancelled."""
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
            except Overrun:  # go on with the oldest line that is kept
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
        spans = self._running_matcher().first([text])
        return None if spans is None else found_at(pattern, text, spans)

    def _running_matcher(self) -> Matcher:
        """Return the searching process; raise TooSlow if the search was cancelled."""
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

"""Search a whole transcript, piece by piece, and go on as it grows; it has no thread, clock or widget.

A plain text is searched for here, which takes as long as reading the lines. A regular expression may take for
ever: it is searched for in a process of its own (network/matcher.py).
"""

from __future__ import annotations

import re
import threading
import warnings
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from ...client.slow_search import PATIENCE, Matcher
from ...errors import Overrun, SettingsError
from ...lines.effort import TooSlow
from ...lines.line import Line
from ...lines.search import decode_lines, needles_of
from ...lines.transcript import Transcript

__all__ = ["Finder", "Query"]

PIECE = 10_000
"""Lines searched in one go, some milliseconds: so often a search reports how far it is, or can be ended."""
TEXT = 1024 * 1024
"""Characters handed to the other process at a time, and the rest of a run of lines."""
SPARSE = 20
"""Where fewer than one line in this many is likely to match, only those are handed over, one by one."""
KEPT_HITS = 1_000_000
"""Hits that can be shown and stepped to: 8 MiB. Older ones are counted; a narrower search finds them."""


@dataclass(frozen=True)
class Query:
    """What is searched for.

    Attributes:
        text: what a line must contain.
        regex: whether that is a regular expression.
        case: whether capital letters matter.

    """

    text: str
    regex: bool = False
    case: bool = False

    def compile(self) -> re.Pattern[str]:
        """Return it as a pattern.

        Raises:
            SettingsError: says what is wrong with it.

        """
        # A warning that an expression may mean something else in a later Python would be printed by a thread
        # of ours, into whatever cell ran last. A filter, as other threads undo what silences for a while.
        warnings.filterwarnings("ignore", category=FutureWarning, module=re.escape(__name__) + "$")
        try:
            text = self.text if self.regex else re.escape(self.text)
            return re.compile(text, 0 if self.case else re.IGNORECASE)
        except (re.error, RecursionError, OverflowError) as error:
            raise SettingsError(f"not a regular expression: {error}") from None


class Finder:
    """The hits of one query in one transcript, by *ordinal*: their number, counted from 0 for ever.

    For one thread at a time, but `first`, `end`, `window` and `near` may be called on another one. To be
    closed.

    Args:
        transcript: what is searched.
        query: what for.
        patience: seconds that a regular expression may take for some lines.

    Raises:
        SettingsError: the query is not a regular expression.

    """

    def __init__(self, transcript: Transcript, query: Query, patience: float = PATIENCE) -> None:
        self._transcript = transcript
        self._pattern = query.compile()
        self._regex = query.regex
        self._patience = patience
        needles = needles_of(self._pattern) if query.regex else ()
        likely = "|".join(re.escape(needle.decode()) for needle in needles)
        self._likely = re.compile(likely, re.IGNORECASE) if needles else None
        """Found in every line that matches, and quickly: most lines need not be handed over."""
        self._lock = threading.Lock()  # guards the two that follow
        self._matcher: Matcher | None = None
        self._closed = False
        self._state: tuple[int, array[int]] = (0, array("q"))
        """How many hits were dropped, and the line numbers of those that are kept; replaced as a whole."""
        self.scanned = transcript.first
        """The number of the line that is searched next."""

    @property
    def end(self) -> int:
        """How many hits there have been."""
        dropped, hits = self._state
        return dropped + len(hits)

    @property
    def first(self) -> int:
        """The ordinal of the oldest hit whose line is still kept."""
        dropped, hits = self._state
        return dropped + bisect_left(hits, self._transcript.first)

    @property
    def behind(self) -> int:
        """How many lines are still to be searched."""
        return self._transcript.end - max(self.scanned, self._transcript.first)

    def advance(self) -> bool:
        """Search the next piece; return whether there is more.

        Raises:
            SettingsError: the expression takes too long, or no process can be started for it. The search is
                over then.

        """
        start = max(self.scanned, self._transcript.first)
        stop = min(start + PIECE, self._transcript.end)
        try:
            if self._regex:
                found = array("q", self._matched(start, stop))
            else:
                found = array("q", self._transcript.hits(self._pattern, start=start, stop=stop))
        except Overrun:
            # The lines were forgotten meanwhile: it goes on behind them.
            found = array("q")
        except TooSlow:
            raise SettingsError(
                f"given up: this expression takes more than {self._patience:g} s for some lines"
                f" from {start:,} to {stop:,}; make it simpler"
            ) from None
        except OSError as error:
            raise SettingsError(f"no process can be started to search: {error}") from None
        dropped, hits = self._state
        hits.extend(found)
        if len(hits) > 2 * KEPT_HITS:  # seldom, as it copies them all
            self._state = dropped + len(hits) - KEPT_HITS, hits[-KEPT_HITS:]
        self.scanned = stop
        return stop < self._transcript.end

    def close(self) -> None:
        """End the search at once, also while another thread works on it. Any thread."""
        with self._lock:
            self._closed = True
            matcher, self._matcher = self._matcher, None
        if matcher is not None:
            matcher.close()

    def _matched(self, start: int, stop: int) -> Iterator[int]:
        """Yield the numbers of the lines start ≤ number < stop that match, in order."""
        if self._likely is not None:
            likely = list(self._transcript.hits(self._likely, start=start, stop=stop))
            if len(likely) * SPARSE < stop - start:
                some = [line for number in likely for line in self._transcript[number : number + 1]]
                yield from (some[index].number for index in self._among([line.text for line in some]))
                return
            self._likely = None  # they are common here: to search for them first would only take longer
        numbers: list[int] = []
        texts: list[str] = []
        size = 0
        for first, run in self._runs(start, stop):
            numbers += range(first, first + len(run))
            texts += run
            size += sum(map(len, run))
            if size >= TEXT:
                yield from (numbers[index] for index in self._among(texts))
                numbers, texts, size = [], [], 0
        yield from (numbers[index] for index in self._among(texts))

    def _among(self, texts: list[str]) -> list[int]:
        if not texts:
            return []
        with self._lock:
            if self._closed:
                raise TooSlow
            if self._matcher is None:
                self._matcher = Matcher(self._pattern, self._patience)
            matcher = self._matcher
        return matcher.among(texts)

    def _runs(self, start: int, stop: int) -> Iterator[tuple[int, list[str]]]:
        """Yield the texts of the lines start ≤ number < stop as they are shown, run by run, each run with the
        number of its first line.
        """
        transcript = self._transcript
        expected = start
        for number, lines in transcript.received(start, stop):
            # What lies between the runs was sent, or is an event.
            yield from ((line.number, [line.text]) for line in transcript[expected:number])
            yield number, self._texts(lines)
            expected = number + len(lines)
        yield from ((line.number, [line.text]) for line in transcript[expected:stop])

    def _texts(self, lines: list[bytes]) -> list[str]:
        transcript = self._transcript
        if transcript.hides:
            lines = [transcript.redacted(line) for line in lines]
        return decode_lines(lines, transcript.encoding)

    def window(self, a: int, b: int) -> tuple[int, list[Line]]:
        """Return the kept lines of the hits with ordinals a ≤ ordinal < b, and the ordinal of the first of
        them.
        """
        dropped, hits = self._state
        low = max(a - dropped, bisect_left(hits, self._transcript.first), 0)
        lines: list[Line] = []
        for number in hits[low : max(low, b - dropped)]:
            kept = self._transcript[number : number + 1]
            if kept:
                lines += kept
            elif not lines:
                low += 1
        return dropped + low, lines

    def lines(self) -> Iterator[Line]:
        """Yield the lines of all hits that are still kept, one by one: they may be a million."""
        _, hits = self._state
        for number in hits[bisect_left(hits, self._transcript.first) :]:
            yield from self._transcript[number : number + 1]

    def near(self, number: int, direction: int) -> tuple[int, int] | None:
        """Return ordinal and line number of the nearest hit.

        Args:
            number: the line from which it is counted.
            direction: 1 for the next hit after it, -1 for the last one before it.

        Returns:
            None when there is none that way.

        """
        dropped, hits = self._state
        if direction > 0:
            index = bisect_right(hits, number)
        else:
            index = bisect_left(hits, number) - 1
        if not bisect_left(hits, self._transcript.first) <= index < len(hits):
            return None
        return dropped + index, hits[index]

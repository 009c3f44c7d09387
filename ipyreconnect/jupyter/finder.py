"""Search a whole transcript, piece by piece, and go on as it grows; has no thread, no clock and no widget."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from ipyreconnect.errors import Overrun, SettingsError
from ipyreconnect.protocol.transcript import Line, Transcript, decode

__all__ = ["Finder", "Query"]

PIECE = 10_000
"""Lines looked at in one go: about 5 ms, so that nobody waits for the interpreter lock for longer."""
KEPT_HITS = 1_000_000
"""Hits that can be shown and stepped to: 8 MiB. Older ones are counted; a narrower search finds them."""

# Encodings in which a line feed is a byte of its own, and no byte changes the meaning of later ones.
_BYTEWISE = (None, "utf-8", "ascii", "iso-8859-1", "iso8859-1", "latin-1", "cp1252")


@dataclass(frozen=True)
class Query:
    """What is looked for.

    text: what a line must contain. regex: it is a regular expression. case: capital letters matter.
    """

    text: str
    regex: bool = False
    case: bool = False

    def compile(self) -> re.Pattern[str]:
        """Return it as a pattern. Raises SettingsError, saying what is wrong with it."""
        try:
            text = self.text if self.regex else re.escape(self.text)
            return re.compile(text, 0 if self.case else re.IGNORECASE)
        except (re.error, RecursionError, OverflowError) as error:
            raise SettingsError(f"not a regular expression: {error}") from None


class Finder:
    """The hits of one query in one transcript, by *ordinal*: the how-manieth hit it is, counted from 0 for
    ever.

    For one thread at a time, but `first`, `end`, `window` and `near` may be asked from another one. Raises
    SettingsError for a query that is none.
    """

    def __init__(self, transcript: Transcript, query: Query) -> None:
        self._transcript = transcript
        self._pattern = query.compile()
        self._regex = query.regex
        self._state: tuple[int, array[int]] = (0, array("q"))
        """How many hits were dropped, and the lines' numbers of those that are kept; replaced as a whole."""
        self.scanned = transcript.first
        """The number of the line that is looked at next."""

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
        """How many lines are still to be looked at."""
        return self._transcript.end - max(self.scanned, self._transcript.first)

    def advance(self) -> bool:
        """Look at the next piece; return whether there is more."""
        start = max(self.scanned, self._transcript.first)
        stop = min(start + PIECE, self._transcript.end)
        try:
            found = array("q", self._found(start, stop))
        except Overrun:
            # Forgotten while we looked: what comes next is where it goes on.
            found = array("q")
        dropped, hits = self._state
        hits.extend(found)
        if len(hits) > 2 * KEPT_HITS:  # seldom, as it copies them all
            self._state = dropped + len(hits) - KEPT_HITS, hits[-KEPT_HITS:]
        self.scanned = stop
        return stop < self._transcript.end

    def _found(self, start: int, stop: int) -> Iterator[int]:
        """Yield the numbers of the lines a ≤ number < b that match, in order."""
        look = self._pattern.search
        expected = start
        for number, lines in self._transcript.received(start, stop):
            # What lies between the runs was sent, or is a note of ours.
            yield from (line.number for line in self._transcript[expected:number] if look(line.text))
            yield from (number + index for index in self._among(lines))
            expected = number + len(lines)
        yield from (line.number for line in self._transcript[expected:stop] if look(line.text))

    def _among(self, lines: list[bytes]) -> Iterator[int]:
        """Yield the indices of the lines that match."""
        look = self._pattern.search
        encoding = self._transcript.encoding
        if encoding in _BYTEWISE:
            try:
                text = b"\n".join(lines).decode(encoding or "utf-8")
            except UnicodeDecodeError:
                pass  # some line is not UTF-8, and shows as ISO-8859-1
            else:
                # Decoding all at once is several times faster than line by line, and most have no hit at all.
                if self._regex or look(text):
                    yield from (index for index, line in enumerate(text.split("\n")) if look(line))
                return
        yield from (index for index, line in enumerate(lines) if look(decode(line, encoding)))

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

    def near(self, number: int, direction: int) -> tuple[int, int] | None:
        """Return ordinal and line number of the next hit after `number` (1), or of the last one before it
        (-1).

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

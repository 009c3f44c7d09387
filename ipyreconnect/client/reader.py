"""Where one reader of the received lines is, and what it reads next; who reads is not its affair."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator, Iterator
from operator import length_hint
from typing import Generic, TypeVar, cast

from ..errors import Overrun
from ..lines.line import Line
from ..lines.transcript import Runs, Transcript
from ..network.driver import Driver, Follower
from ..protocol.state import State
from .ownership import Owner, Ownership
from .waiting import until

__all__ = ["Reader"]

LARGEST_PART = 4096
"""Lines that a follower takes at a time: fewer where they take it long, as it is to be told soon of what it
has missed."""
SLOW_PART = 0.02
QUICK_PART = 0.005
"""Seconds: who needs longer than the one for its lines is given fewer, who needs less than the other is given
more."""
FEW = 256
"""Lines as bytes that are worth being handed out together; fewer wait for the next run's."""
TASKS_TURN = 0.005
"""Seconds that an `async for` reads on before the other tasks of its event loop have their turn."""

T = TypeVar("T")


class Source(Generic[T]):
    """The received lines of a transcript from line `next` on, some at a time: as many as their reader needs a
    moment for. Who is slow has the newest that there are, not what it has taken long ago.

    as_bytes: whether they are bytes; else they are `Line`s. One thread at a time.
    """

    __slots__ = ("_as_bytes", "_received", "_runs", "_size", "_transcript", "along", "next")

    def __init__(self, transcript: Transcript, start: int, as_bytes: bool) -> None:
        self._transcript = transcript
        self._as_bytes = as_bytes
        self.next = start
        # How many lines before that came from the peer; None: that is not known.
        self._received = transcript.received_before(start)
        self._runs: Iterator[list[T]] = iter(())
        self._size = 1
        self.along: Runs = []
        """What the driver has read meanwhile and has cut into lines already: it is taken from here."""

    def pass_over_the_forgotten(self) -> None:
        """Begin with the oldest line that is kept, if nobody has asked for what is forgotten."""
        if (first := self._transcript.first) > self.next:
            self.next, self._received = first, self._transcript.received_before(first)

    def took(self, seconds: float) -> None:
        """Take more lines at a time if those before were gone through quickly, fewer if slowly."""
        if seconds > SLOW_PART:
            self._size = max(1, self._size // 4)
            self._runs = iter(())
            self.along = []
        elif seconds < QUICK_PART and self._size < LARGEST_PART:
            self._size *= 2

    @property
    def reads_along(self) -> bool:
        """Whether its reader is so quick that the driver cuts the lines for it."""
        return self._as_bytes and self._size == LARGEST_PART

    def read_along(self) -> list[T] | None:
        """Return the next run of what was read along, if it can be handed out as it is. It is a flood's short
        way: without what `read` does beside that, it takes some hundredths less.
        """
        if not self.along:
            return None
        number, lines = self.along[0]
        if number != self.next or len(lines) > LARGEST_PART or self._transcript.hides:
            return None
        del self.along[0]
        self.next = number + len(lines)
        self._count(len(lines))
        return cast("list[T]", lines)

    def read(self) -> list[T]:
        """Return the next lines, some thousand at most; none where there are none yet. Raises Overrun where
        they are forgotten: see `go_on`.
        """
        while True:
            for lines in self._runs:
                if lines:
                    return lines
            if self.next >= self._transcript.end:
                return []
            if self._received is None:  # as it was still to come when this reader was made
                self._received = self._transcript.received_before(self.next)
            self._runs = self._bytes_of_lines() if self._as_bytes else self._line_objects()

    def go_on(self) -> int:
        """Go on with the oldest line whose bytes are there; return how many of the peer's lines are lost."""
        wanted, received = self.next, self._received
        self.next, self._received = self._transcript.oldest_kept
        # Of lines that were forgotten before this reader was made, nobody knows how many were the peer's.
        if received is None:
            return min(self.next - wanted, self._received)
        return self._received - received

    @property
    def _end(self) -> int:
        """Up to which line is read now."""
        end = self._transcript.end
        return end if self._size == LARGEST_PART else min(end, self.next + self._size)

    def _count(self, lines: int) -> None:
        if self._received is not None:
            self._received += lines

    def _bytes_of_lines(self) -> Iterator[list[T]]:
        end = self._end
        together: list[bytes] = []
        try:
            for number, lines in self._received_up_to(end):
                self.next = number + len(lines)
                self._count(len(lines))
                together = together + lines if together else lines
                if len(together) >= FEW:
                    yield self._shown(together)
                    together = []
        except Overrun:
            yield self._shown(together)  # first what was read before
            raise
        self.next = max(self.next, end)
        yield self._shown(together)

    def _received_up_to(self, end: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the received lines up to `end`; those that were read along are cut already."""
        along, self.along = self.along, []
        for number, lines in along:
            if number == self.next:  # else there is something before them that was not read along
                yield number, lines
        yield from self._transcript.received(self.next, end)

    def _shown(self, lines: list[bytes]) -> list[T]:
        if self._transcript.hides:
            lines = [self._transcript.redacted(line) for line in lines]
        return cast("list[T]", lines)

    def _line_objects(self) -> Iterator[list[T]]:
        end = self._end
        while self.next < end:
            stop = min(end, self.next + LARGEST_PART)
            lines: list[Line] = []
            try:
                lines.extend(self._transcript.lines(self.next, stop, strict=True, for_readers=True))
            except Overrun:
                if lines:
                    self.next = lines[-1].number + 1
                    yield self._received_of(lines)  # first what was read before
                raise
            self.next = stop
            yield self._received_of(lines)

    def _received_of(self, lines: list[Line]) -> list[T]:
        self._count(len(lines))
        return cast("list[T]", lines)


class Reader(Generic[T]):
    """One reader of the received lines: what it has in hand, and whether the receiving waits for it.

    where: what messages call the server. start: as for `Client.follow`.
    """

    def __init__(
        self, driver: Driver, transcript: Transcript, where: str, as_bytes: bool, start: int | None
    ) -> None:
        self._driver = driver
        self._transcript = transcript
        self._from_first = start is None  # at the beginning nobody has asked for what is forgotten already
        if start is None:
            start = driver.connection.expectations.mark
        self._source: Source[T] = Source(transcript, start, as_bytes)
        self._place = Follower(start, yields=True)
        self._lines: list[T] = []
        self._began = self._had_turn = 0.0
        self._closed = self._following = self._forgotten = False
        self._ended = 0  # how often the connection was, when this reader began
        self.hand: Iterator[T] = iter(())
        """Goes through the lines that were taken, whoever asks for them."""
        self.ownership = Ownership(where)

    # -- whether it is waited for

    def begin(self) -> None:
        """Have the receiving wait for this reader, when it is far behind; harmless when it does."""
        if self._following:
            return
        self._ended = self._driver.ended
        self._join()
        if self._from_first:
            self._from_first = False
            self._source.pass_over_the_forgotten()

    def _join(self) -> None:
        """Be waited for from now on: what is not forgotten yet will not be."""
        self._following = True
        self._driver.begin_following(self._place)

    def end(self) -> None:
        """Have nobody wait for this reader any more. Any thread, finalizers too."""
        self._following = False
        self._driver.end_following(self._place)

    def close(self) -> None:
        """Have nothing more to read. Any thread."""
        self._closed = True
        self._lines.clear()
        self.end()  # which also wakes who waits for news

    def release(self, owner: Owner) -> None:
        """Note that a loop was left. Any thread, finalizers too."""
        self.ownership.release(owner)
        self._end_if_forgotten()

    def forget(self) -> None:
        """Note that no further loop can begin. Any thread, finalizers too.

        It is told, as this object may refer to itself, and would hold up the receiving until the collector
        finds it.
        """
        self._forgotten = True
        self._end_if_forgotten()

    def _end_if_forgotten(self) -> None:
        if self._forgotten and self._following and not self.ownership.owners:
            self.end()

    # -- reading

    def parts(self) -> Generator[Iterator[T], None, None]:
        """Yield the lines as they come, a few at a time, until the client is stopped. Loops of one owner may
        be nested: each goes on with what the others have left of a part.
        """
        owner = self.ownership.claim(threading.get_ident())
        goes_on = False
        try:
            self.begin()
            yield from self._parts()
        except (Overrun, GeneratorExit):
            goes_on = True  # the next loop is waited for as this one was, while somebody has this reader
            raise
        finally:
            self.release(owner)
            if not goes_on:
                self.end()

    def _parts(self) -> Generator[Iterator[T], None, None]:
        while True:
            if length_hint(self.hand):
                yield self.hand
            elif not self.take():
                return
            elif not self._lines:
                yield from self._wait_for_more()

    def _wait_for_more(self) -> Generator[Iterator[T], None, None]:
        """Wait until there is something to take; yield what was read along, while the reader is quick."""
        source = self._source
        if not source.reads_along:
            self._driver.read_until(self.news)
            return
        self._driver.read_until(self.news, source.along)
        while not self._closed and (lines := source.read_along()) is not None:
            self._hand_out(lines)
            yield self.hand
            if time.monotonic() - self._began > SLOW_PART:
                return

    async def take_in_turn(self) -> bool:
        """Do what `take` does, or wait until there is something to take; the event loop's other tasks have
        their turn every few milliseconds.
        """
        self._measure()
        if time.monotonic() - self._had_turn > TASKS_TURN:
            await asyncio.sleep(0)
            self._had_turn = time.monotonic()
        if not self.take():
            self.end()
            return False
        if not self._lines:
            await until(self._driver, self.news, None)
            self._had_turn = time.monotonic()
        return True

    def news(self) -> bool:
        """Say whether there is something to do."""
        return self._transcript.end > self._source.next or self._closed or self._stopped

    @property
    def _stopped(self) -> bool:
        # Another thread may connect anew at once: then it was stopped all the same.
        driver = self._driver
        return driver.connection.state is State.STOPPED or driver.ended != self._ended

    def take(self) -> bool:
        """Take the next lines in hand, none when there are none yet; return whether it goes on: at the end,
        it does not. Raises Overrun where lines were forgotten before they were read.
        """
        self._measure()
        stopped = self._stopped  # asked first: what came before it is still read
        lines = self._read()
        self._hand_out(lines)
        return not (self._closed or (stopped and not lines))

    def _measure(self) -> None:
        """Note how long the lines in hand have taken."""
        if self._lines:
            self._lines = []
            self._source.took(time.monotonic() - self._began)

    def _read(self) -> list[T]:
        while not self._closed:
            try:
                return self._source.read()
            except Overrun:
                self._go_on_with_the_oldest()
        return []

    def _go_on_with_the_oldest(self) -> None:
        """Go on behind what was forgotten. Raises Overrun, unless nothing of that was the peer's."""
        source = self._source
        wanted = source.next
        if not self._closed:
            self._join()  # what is there must not go before the next loop
        lost = source.go_on()
        self._place.next = source.next
        if lost:
            raise Overrun(
                f"lines {wanted} to {source.next - 1} were forgotten before they were read: read faster, or "
                f"let the transcript keep more; it goes on with line {source.next}",
                lost,
            )

    def _hand_out(self, lines: list[T]) -> None:
        """Have these lines given out."""
        self._lines = lines
        self.hand = iter(lines)
        if self._closed:  # meanwhile
            lines.clear()
        self._driver.followed(self._place, self._source.next, self.hand if lines else None)
        self._began = self._place.read_at

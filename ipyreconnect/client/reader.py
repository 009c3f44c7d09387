"""Reads the received lines in batches, and has the receiving wait for a reader that is far behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator, Iterator
from operator import length_hint
from typing import Generic, TypeVar, cast

from ..errors import Overrun
from ..lines.line import Line
from ..lines.store import Runs
from ..lines.transcript import Transcript
from ..network.driver import Driver
from ..network.flow_control import ReaderPosition
from ..protocol.state import State
from .ownership import Owner, Ownership
from .waiting import until

__all__ = ["Reader"]

LARGEST_BATCH = 4096
"""Lines in a batch at most. A slow reader gets smaller ones, so that it soon learns what it has missed."""
SLOW_BATCH = 0.02
FAST_BATCH = 0.005
"""Seconds. A reader that takes longer than SLOW_BATCH for a batch gets a smaller one next, one that takes
less than FAST_BATCH a larger one."""
WORTH_A_BATCH = 256
"""Lines as bytes that are worth a batch of their own; fewer are joined with those of the next run."""
YIELD_EVERY = 0.005
"""Seconds that an `async for` reads before it lets the other tasks of its event loop run."""

T = TypeVar("T")


class Source(Generic[T]):
    """Reads the received lines of a transcript, batch by batch. One thread at a time may use it.

    The size of the batches adapts to the reader: a slow reader takes few lines at a time, so that what it
    reads is recent.

    Args:
        transcript: Where the lines are.
        start: The number of the line to begin with.
        as_bytes: Whether to read bytes instead of `Line`s.

    Attributes:
        next: The number of the line to read next.
        line_sink: Where the driver puts lines that it has cut while this reader waited; read from here first.
    """

    __slots__ = ("_as_bytes", "_received", "_runs", "_size", "_transcript", "line_sink", "next")

    def __init__(self, transcript: Transcript, start: int, as_bytes: bool) -> None:
        self._transcript = transcript
        self._as_bytes = as_bytes
        self.next = start
        # How many of the lines before that came from the peer; None if it is not known.
        self._received = transcript.received_before(start)
        self._runs: Iterator[list[T]] = iter(())
        self._size = 1
        self.line_sink: Runs = []

    def start_at_oldest(self) -> None:
        """Begin with the oldest line that is kept, if the start is forgotten already."""
        if (first := self._transcript.first) > self.next:
            self.next, self._received = first, self._transcript.received_before(first)

    def adapt(self, seconds: float) -> None:
        """Adapt the size of the batches to the seconds that the reader has taken for the last one."""
        if seconds > SLOW_BATCH:
            self._size = max(1, self._size // 4)
            self._runs = iter(())
            self.line_sink = []
        elif seconds < FAST_BATCH and self._size < LARGEST_BATCH:
            self._size *= 2

    @property
    def is_fast(self) -> bool:
        """Whether the reader is so fast that the driver is to cut lines for it."""
        return self._as_bytes and self._size == LARGEST_BATCH

    def read_line_sink(self) -> list[T] | None:
        """Return the next run of lines from `line_sink`, if it can be used unchanged.

        A shortcut for floods: it saves some per cent compared with `read`.
        """
        if not self.line_sink:
            return None
        number, lines = self.line_sink[0]
        if number != self.next or len(lines) > LARGEST_BATCH or self._transcript.hides:
            return None
        del self.line_sink[0]
        self.next = number + len(lines)
        self._count(len(lines))
        return cast("list[T]", lines)

    def read(self) -> list[T]:
        """Return the next lines, some thousand at most; an empty list if there are none yet.

        Raises:
            Overrun: They are forgotten; see `skip_forgotten`.
        """
        while True:
            for lines in self._runs:
                if lines:
                    return lines
            if self.next >= self._transcript.end:
                return []
            if self._received is None:  # the line had not come yet when this was made
                self._received = self._transcript.received_before(self.next)
            self._runs = self._bytes_of_lines() if self._as_bytes else self._line_objects()

    def skip_forgotten(self) -> int:
        """Go on with the oldest line that is stored; return how many of the peer's lines are lost."""
        wanted, received = self.next, self._received
        self.next, self._received = self._transcript.oldest_kept
        # Of lines forgotten before this reader was made, it is not known how many were the peer's.
        if received is None:
            return min(self.next - wanted, self._received)
        return self._received - received

    @property
    def _end(self) -> int:
        """The number of the line before which the next run ends."""
        end = self._transcript.end
        return end if self._size == LARGEST_BATCH else min(end, self.next + self._size)

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
                if len(together) >= WORTH_A_BATCH:
                    yield self._shown(together)
                    together = []
        except Overrun:
            yield self._shown(together)  # first what has been read
            raise
        self.next = max(self.next, end)
        yield self._shown(together)

    def _received_up_to(self, end: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the received lines up to `end`, those in `line_sink` first."""
        cut, self.line_sink = self.line_sink, []
        for number, lines in cut:
            if number == self.next:  # otherwise lines before them are missing in `line_sink`
                yield number, lines
        yield from self._transcript.received(self.next, end)

    def _shown(self, lines: list[bytes]) -> list[T]:
        if self._transcript.hides:
            lines = [self._transcript.redacted(line) for line in lines]
        return cast("list[T]", lines)

    def _line_objects(self) -> Iterator[list[T]]:
        end = self._end
        while self.next < end:
            stop = min(end, self.next + LARGEST_BATCH)
            lines: list[Line] = []
            try:
                lines.extend(self._transcript.lines(self.next, stop, strict=True, for_readers=True))
            except Overrun:
                if lines:
                    self.next = lines[-1].number + 1
                    yield self._received_of(lines)  # first what has been read
                raise
            self.next = stop
            yield self._received_of(lines)

    def _received_of(self, lines: list[Line]) -> list[T]:
        self._count(len(lines))
        return cast("list[T]", lines)


class Reader(Generic[T]):
    """One reader of the received lines, with the batch that it reads from.

    While it is registered, and reads, the receiving waits for it when it is far behind (back-pressure).

    Args:
        driver: Does the receiving.
        transcript: Where the lines are.
        where: How messages name the server.
        as_bytes: Whether to read bytes instead of `Line`s.
        start: The number of the first line; None: from the last send or match on.

    Attributes:
        batch: Iterates over the lines that were read; whoever reads takes them from here.
        ownership: Who reads.
    """

    def __init__(
        self, driver: Driver, transcript: Transcript, where: str, as_bytes: bool, start: int | None
    ) -> None:
        self._driver = driver
        self._transcript = transcript
        self._from_first = start is None  # then it is no loss that the first lines are forgotten already
        if start is None:
            start = driver.connection.expectations.mark
        self._source: Source[T] = Source(transcript, start, as_bytes)
        self._position = ReaderPosition(start, yields=True)
        self._lines: list[T] = []
        self._began = self._yielded_at = 0.0
        self._closed = self._registered = self._abandoned = False
        self._ended = 0  # how often the connection had ended when this reader was registered
        self.batch: Iterator[T] = iter(())
        self.ownership = Ownership(where)

    # -- registration

    def register(self) -> None:
        """Register this reader for back-pressure; does nothing if it is registered already."""
        if self._registered:
            return
        self._ended = self._driver.ended
        self._begin_following()
        if self._from_first:
            self._from_first = False
            self._source.start_at_oldest()

    def _begin_following(self) -> None:
        """From now on, what this reader has not read is kept for it."""
        self._registered = True
        self._driver.register_reader(self._position)

    def unregister(self) -> None:
        """Unregister this reader for back-pressure. Safe to call from any thread, and from finalizers."""
        self._registered = False
        self._driver.unregister_reader(self._position)

    def close(self) -> None:
        """End the reading. Safe to call from any thread."""
        self._closed = True
        self._lines.clear()
        self.unregister()  # which also wakes a thread or task that waits for lines

    def release(self, owner: Owner) -> None:
        """End a loop of this owner. Safe to call from any thread, and from finalizers."""
        self.ownership.release(owner)
        self._unregister_if_abandoned()

    def abandon(self) -> None:
        """Note that no further loop can begin. Safe to call from any thread, and from finalizers.

        This object may be part of a reference cycle: without this call it would hold up the receiving until
        the garbage collector finds it.
        """
        self._abandoned = True
        self._unregister_if_abandoned()

    def _unregister_if_abandoned(self) -> None:
        if self._abandoned and self._registered and not self.ownership.owners:
            self.unregister()

    # -- reading

    def batches(self) -> Generator[Iterator[T], None, None]:
        """Yield iterators over the lines as they come, until the client is stopped.

        Loops of one owner may be nested: each goes on with what the others have left of a batch.
        """
        owner = self.ownership.claim(threading.get_ident())
        stays_registered = False
        try:
            self.register()
            yield from self._batches()
        except (Overrun, GeneratorExit):
            stays_registered = True  # for the next loop; see `abandon`
            raise
        finally:
            self.release(owner)
            if not stays_registered:
                self.unregister()

    def _batches(self) -> Generator[Iterator[T], None, None]:
        while True:
            if length_hint(self.batch):
                yield self.batch
            elif not self.read_batch():
                return
            elif not self._lines:
                yield from self._wait_for_more()

    def _wait_for_more(self) -> Generator[Iterator[T], None, None]:
        """Wait until there is something to read; while the reader is fast, yield what the driver has cut."""
        source = self._source
        if not source.is_fast:
            self._driver.read_until(self.has_news)
            return
        self._driver.read_until(self.has_news, source.line_sink)
        while not self._closed and (lines := source.read_line_sink()) is not None:
            self._set_batch(lines)
            yield self.batch
            if time.monotonic() - self._began > SLOW_BATCH:
                return

    async def aread_batch(self) -> bool:
        """Do what `read_batch` does, and wait if there is nothing to read yet.

        Lets the other tasks of the event loop run every YIELD_EVERY seconds.
        """
        self._adapt()
        if time.monotonic() - self._yielded_at > YIELD_EVERY:
            await asyncio.sleep(0)
            self._yielded_at = time.monotonic()
        if not self.read_batch():
            self.unregister()
            return False
        if not self._lines:
            await until(self._driver, self.has_news, None)
            self._yielded_at = time.monotonic()
        return True

    def has_news(self) -> bool:
        """Return whether there is something to read, or the end."""
        return self._transcript.end > self._source.next or self._closed or self._stopped

    @property
    def _stopped(self) -> bool:
        # Another thread may have connected again since; it was stopped all the same.
        driver = self._driver
        return driver.connection.state is State.STOPPED or driver.ended != self._ended

    def read_batch(self) -> bool:
        """Read the next batch, which is empty if there are no lines yet.

        Returns:
            Whether the reading goes on; False at the end.

        Raises:
            Overrun: Lines were forgotten before they were read.
        """
        self._adapt()
        stopped = self._stopped  # asked first, so that what came before the stop is still read
        lines = self._read()
        self._set_batch(lines)
        return not (self._closed or (stopped and not lines))

    def _adapt(self) -> None:
        """Adapt the size of the batches to the time that the last one has taken."""
        if self._lines:
            self._lines = []
            self._source.adapt(time.monotonic() - self._began)

    def _read(self) -> list[T]:
        while not self._closed:
            try:
                return self._source.read()
            except Overrun:
                self._skip_forgotten()
        return []

    def _skip_forgotten(self) -> None:
        """Go on with the oldest line; raise Overrun if lines of the peer were lost."""
        source = self._source
        wanted = source.next
        if not self._closed:
            self._begin_following()  # what is left is to be kept for the next loop
        lost = source.skip_forgotten()
        self._position.next = source.next
        if lost:
            raise Overrun(
                f"lines {wanted} to {source.next - 1} were forgotten before they were read: read faster, or "
                f"let the transcript keep more; it goes on with line {source.next}",
                lost,
            )

    def _set_batch(self, lines: list[T]) -> None:
        """Have these lines read next."""
        self._lines = lines
        self.batch = iter(lines)
        if self._closed:  # by another thread meanwhile
            lines.clear()
        self._driver.advanced(self._position, self._source.next, self.batch if lines else None)
        self._began = self._position.read_at

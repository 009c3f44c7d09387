"""Those who read what is received as it comes: `Client.follow` and `Client.on_line`. They send nothing."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from . import notifier
from .errors import Overrun
from .network.driver import Follower
from .origin import Origin
from .protocol.line import Line
from .protocol.state import State
from .protocol.transcript import Runs

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Follow", "Listener"]

FOLLOW_STEP = 4096
"""Lines that a follower turns into objects at a time."""
FEW = 256
"""Lines as bytes that are worth being handed out together; fewer wait for the next run's."""
LARGEST_PART = 4096
SLOW_PART = 0.1
"""Lines that a follower is handed at a time: fewer where they took it longer than so many seconds."""
LISTENER_STEP = 1000
"""Lines that one on_line listener is told before the others have their turn."""
LISTENER_PATIENCE = 0.1
"""Seconds that listeners are still told, after a stop, of what had been received before."""
COMPLAIN_EVERY = 1.0
"""Seconds between two complaints about a listener that fails: one about each line would flood a notebook."""

log = logging.getLogger("ipyreconnect")
T = TypeVar("T")


class Follow(Generic[T]):
    """The received lines, as they come; made by `Client.follow`, iterated with `for`, `next`, or `async for`.

    There is one row of lines, however it is iterated: what one loop has left, the next one goes on with.
    """

    def __init__(self, client: Client, as_bytes: bool, start: int | None) -> None:
        self._awaits = False
        self._reader: Reader[T] = Reader(client, as_bytes, start)
        self._lines: Iterator[T] = iter(())
        self._awaited: Iterator[T] = iter(())

    def __iter__(self) -> Iterator[T]:
        if not self._reader.reads:  # yet, or any more: an interrupt ends a loop, say
            # A chain hands out the lines of a part without a step of Python for each, which is half the cost.
            # Nothing in it refers to this object, so that whoever leaves a loop leaves nothing behind.
            self._lines = chain.from_iterable(self._reader.parts())
        return self._lines

    def __next__(self) -> T:
        return next(iter(self))

    def __aiter__(self) -> Follow[T]:
        return self

    async def __anext__(self) -> T:
        reader = self._reader
        if not self._awaits:
            self._awaits = True
            reader.begin()
        while True:
            for line in self._awaited:
                return line
            if (part := reader.take()) is None:
                reader.end()
                raise StopAsyncIteration
            self._awaited = iter(part)
            if not part:
                await reader.client._until(reader.news, None)

    def close(self) -> None:
        """End the iteration, also one that another thread waits in; a loop that is left needs no close."""
        self._reader.close()

    async def aclose(self) -> None:
        """Do what `close` does: so that a block of `contextlib.aclosing` ends an `async for` that is left."""
        self.close()

    def __del__(self) -> None:
        if self._awaits:
            self._reader.end()


class Reader(Generic[T]):
    """Where one reader of the received lines is, and what it reads next."""

    def __init__(self, client: Client, as_bytes: bool, start: int | None) -> None:
        self.client = client
        self._driver = client._driver
        self._transcript = client.transcript
        self._as_bytes = as_bytes
        self._next = client._connection.expectations.mark if start is None else start
        self._from_first = start is None  # at the beginning nobody has asked for what is forgotten already
        self._place = Follower(self._next)
        self._runs: Iterator[list[T]] = iter(())
        self._along: Runs = []
        self._lines: list[T] = []
        self._at = 0  # how many of them are given out
        self._part: list[T] = []
        self._size = 1
        self._began = 0.0
        self._closed = self._following = False
        self._ended = 0  # how often the connection was, when this reader began
        self.reads = False
        """Whether a loop has begun, and has not ended."""

    def begin(self) -> None:
        """Have the receiving wait for this reader, when it is far behind."""
        self._ended = self._driver.ended
        self._join()
        if self._from_first:
            self._from_first = False
            self._next = max(self._next, self._transcript.first)

    def _join(self) -> None:
        """Be waited for from now on: what is not forgotten yet will not be."""
        self._following = True
        self._driver.begin_following(self._place)

    def end(self) -> None:
        """Have nobody wait for this reader any more."""
        self._following = False
        self._driver.end_following(self._place)

    def close(self) -> None:
        """Have nothing more to read. Any thread."""
        self._closed = True
        self._part.clear()
        self.end()  # which also wakes who waits for news

    def parts(self) -> Generator[list[T], None, None]:
        """Yield the lines as they come, a few at a time, until the client is stopped."""
        self.reads = True
        overrun = False
        try:
            self.begin()
            while (part := self.take()) is not None:
                if part:
                    yield part
                else:
                    self._driver.read_until(self.news, self._along if self._as_bytes else None)
                    if self._size == LARGEST_PART:
                        yield from self._read_along()
        except Overrun:
            overrun = True  # the next loop is waited for as this one was, while somebody has this reader
            raise
        finally:
            self.reads = False
            if not overrun:
                self.end()

    def __del__(self) -> None:
        if self._following:
            self.end()

    def _read_along(self) -> Generator[list[T], None, None]:
        """Yield what was read along, run by run, while the reader is quick: without what `take` does beside
        that, a flood takes some hundredths less.
        """
        given, along = 0, cast("list[tuple[int, list[T]]]", self._along)
        for number, lines in along:
            if number != self._next or len(lines) > LARGEST_PART or self._closed or self._transcript.hides:
                break
            self._driver.followed(self._place, number)
            self._began = self._place.read_at
            self._part = lines
            self._next = number + len(lines)
            given += 1
            yield lines
            if time.monotonic() - self._began > SLOW_PART:
                break
        del along[:given]

    def news(self) -> bool:
        """Say whether there is something to do."""
        return self._transcript.end > self._next or self._closed or self._stopped

    @property
    def _stopped(self) -> bool:
        # Another thread may connect anew at once: then it was stopped all the same.
        return self.client._connection.state is State.STOPPED or self._driver.ended != self._ended

    def take(self) -> list[T] | None:
        """Return the next lines, none when there are none yet, None at the end.

        As many as the reader takes a moment for: who is slow must be seen to read, line by line.
        """
        now = time.monotonic()
        if self._part:
            if now - self._began > SLOW_PART:
                self._size = max(1, self._size // 4)
            elif self._size < LARGEST_PART:
                self._size *= 2
        stopped = self._stopped  # asked first: what came before it is still read
        if self._at == len(self._lines):
            self._lines = self._read()
            self._at = 0
        whole = not self._at and len(self._lines) <= self._size
        self._part = self._lines if whole else self._lines[self._at : self._at + self._size]
        self._driver.followed(self._place, self._next - (len(self._lines) - self._at))
        self._at += len(self._part)
        self._began = now
        return None if self._closed or (stopped and not self._part) else self._part

    def _read(self) -> list[T]:
        """Return the next lines that are there, some thousand at most."""
        while not self._closed and (lines := self._try_to_read()) is not None:
            if lines:
                return lines
        return []

    def _try_to_read(self) -> list[T] | None:
        """Return the lines of the next run, which may hold none; None when there is no other yet."""
        try:
            for lines in self._runs:
                return lines
        except Overrun:
            if not self._closed:
                self._join()  # the next loop goes on with the oldest that is there, which must not go
            self._next = max(self._next, self._transcript.oldest)
            raise
        if self._next >= self._transcript.end:
            return None
        self._runs = self._bytes_of_lines() if self._as_bytes else self._line_objects()
        return []

    def _bytes_of_lines(self) -> Iterator[list[T]]:
        end = self._transcript.end
        together: list[bytes] = []
        try:
            for number, lines in self._received(end):
                self._next = number + len(lines)
                together = together + lines if together else lines
                if len(together) >= FEW:
                    yield self._shown(together)
                    together = []
        except Overrun:
            yield self._shown(together)  # first what was read before
            raise
        self._next = max(self._next, end)
        yield self._shown(together)

    def _received(self, end: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the received lines up to `end`; those that were read along are cut already."""
        along, self._along = self._along, []
        for number, lines in along:
            if number == self._next:  # else there is something before them that was not read along
                yield number, lines
        yield from self._transcript.received(self._next, end)

    def _shown(self, lines: list[bytes]) -> list[T]:
        if self._transcript.hides:
            lines = [self._transcript.redacted(line) for line in lines]
        return cast("list[T]", lines)

    def _line_objects(self) -> Iterator[list[T]]:
        end = self._transcript.end
        while self._next < end:
            stop = min(end, self._next + FOLLOW_STEP)
            lines: list[Line] = []
            try:
                lines.extend(self._transcript.lines(self._next, stop, strict=True))
            except Overrun:
                if lines:
                    self._next = lines[-1].number + 1
                    yield self._received_of(lines)  # first what was read before
                raise
            self._next = stop
            yield self._received_of(lines)

    def _received_of(self, lines: list[Line]) -> list[T]:
        return cast("list[T]", [line for line in lines if line.direction == "<"])


class Listener:
    """One on_line listener: how far it has been told, and whether it is to be called."""

    def __init__(self, client: Client, listener: Callable[[Line], object]) -> None:
        self._client = client
        self._listener = listener
        self._origin = Origin()
        self._next = client.transcript.end
        self._posted = False
        self._ends: float | None = None
        self._failures = 0
        self._complains_at = -math.inf
        self.gone = False

    def poke(self) -> None:
        """Have the listener told what is new. With the turn, on whatever thread."""
        if not self._posted and self._client.transcript.end > self._next:
            self._posted = True
            notifier.post(self._run)

    def _run(self) -> None:
        """Tell some lines where the listener was registered: what it prints, and its failures, go there."""
        self._origin.call(self._tell_some)

    def _tell_some(self) -> None:
        """Tell a number of lines, then let the other callbacks of the process have their turn."""
        client, transcript = self._client, self._client.transcript
        if (missed := transcript.oldest - self._next) > 0:
            self._next = transcript.oldest
            self._say(f"{missed} lines were forgotten before {self._name} was told of them: it is too slow")
        stop = min(transcript.end, self._next + LISTENER_STEP)
        try:
            for line in transcript.lines(self._next, stop, strict=True):
                if self.gone or self._is_over():
                    break
                self._next = line.number + 1
                if line.direction == "<":
                    self._tell(line)
        except Overrun:
            stop = self._next  # the next run says what was missed
        self._next = stop
        if self._ends is not None and self._is_over():
            left, self._next = transcript.end - stop, transcript.end
            if left > 0 and not self.gone:
                log.warning(
                    "%s was not told of the last %d lines: %s was stopped", self._name, left, client.name
                )
        if transcript.end > self._next and not self.gone:
            notifier.post(self._run)
        else:
            self._posted = False
            self.poke()

    def _tell(self, line: Line) -> None:
        try:
            self._listener(line)
        except BaseException:  # a SystemExit of one must not end the others
            self._failures += 1
            now = time.monotonic()
            if now < self._complains_at:
                return
            self._complains_at = now + COMPLAIN_EVERY
            log.exception(
                "%s failed at line %d (failure %d); it is told the next ones",
                self._name,
                line.number,
                self._failures,
            )

    def _is_over(self) -> bool:
        """Say whether the client was stopped, and what it had received was told for long enough."""
        if self._client._connection.state is not State.STOPPED:
            self._ends = None
            return False
        if self._ends is None:
            self._ends = time.monotonic() + LISTENER_PATIENCE
        return time.monotonic() > self._ends

    def _say(self, text: str) -> None:
        client = self._client
        client._driver.post(lambda: client._connection.note(text, time.monotonic()))

    @property
    def _name(self) -> str:
        return getattr(self._listener, "__qualname__", None) or repr(self._listener)

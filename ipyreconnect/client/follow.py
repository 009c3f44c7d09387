"""Those who read what is received as it comes: `Client.follow` and `Client.on_line`. They send nothing."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from operator import length_hint
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar, cast

from ..errors import CallerError, Overrun
from ..lines.line import Line
from ..lines.transcript import Runs
from ..network.driver import Follower
from ..protocol.state import State
from .origin import Origin

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Follow", "Listeners"]

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
LISTENER_STEP = 1000
"""Lines that listeners are told before the client's observers have their turn."""
LISTENER_PATIENCE = 0.1
"""Seconds that listeners are still told, after a stop, of what had been received before."""
COMPLAIN_EVERY = 1.0
"""Seconds between two complaints about a listener that fails: one about each line would flood a notebook."""

log = logging.getLogger("ipyreconnect")
T = TypeVar("T")
Owner = int | weakref.ref["asyncio.Task[object]"]
"""Who reads: the thread of that ident, or an asyncio task."""


class Follow(Generic[T]):
    """The received lines, as they come; made by `Client.follow`, iterated with `for`, `next`, or `async for`.

    There is one row of lines, however it is iterated: what one loop has left, the next one goes on with. It
    belongs to one thread, or task, at a time: until that has left its loop, another one's attempt to read
    raises CallerError.
    """

    def __init__(self, client: Client, as_bytes: bool, start: int | None) -> None:
        self._reader: Reader[T] = Reader(client, as_bytes, start)
        if client._connection.state is not State.STOPPED:
            self._reader.begin()  # what comes before the first loop is kept for it, too

    def __iter__(self) -> Iterator[T]:
        # A chain hands out the lines of a part without a step of Python for each, which is half the cost.
        # Each loop has its own, which goes when the loop is left: from then on others may read.
        return chain.from_iterable(Loop(self._reader))

    def __next__(self) -> T:
        reader = self._reader
        if not reader.owners:
            for line in reader.hand:
                return line
        for part in reader.parts():
            for line in part:
                return line
        raise StopIteration

    def __aiter__(self) -> Awaited[T]:
        return Awaited(self._reader)

    async def __anext__(self) -> T:
        return await anext(Awaited(self._reader))

    def close(self) -> None:
        """End the iteration, also one that another thread waits in; a loop that is left needs no close."""
        self._reader.close()

    async def aclose(self) -> None:
        """Do what `close` does: so that a block of `contextlib.aclosing` ends an `async for` that is left."""
        self.close()

    def __del__(self) -> None:
        self._reader.forget()


class Loop(Generic[T]):
    """One `for` over a `Follow`, part by part; for a chain, which threads may share though they must not.

    A chain forgets what it goes through when that raises, also while another thread is in it, whose loop then
    ends in silence; and if it is a generator that runs, the interpreter may crash. So nothing is raised here.
    """

    def __init__(self, reader: Reader[T]) -> None:
        self._reader = reader
        self._parts = reader.parts()
        self._inside = threading.Lock()

    def __iter__(self) -> Loop[T]:
        return self

    def __next__(self) -> Iterator[T]:
        if not self._inside.acquire(blocking=False):
            return iter(self._reader.refuse, None)
        try:
            return next(self._parts)
        finally:
            self._inside.release()


class Awaited(Generic[T]):
    """One `async for` over a `Follow`."""

    def __init__(self, reader: Reader[T]) -> None:
        self._reader = reader
        self._owner: Owner | None = None
        self._inside = False

    def __aiter__(self) -> Awaited[T]:
        return self

    async def __anext__(self) -> T:
        reader = self._reader
        if self._owner is None:
            task = asyncio.current_task()
            self._owner = reader.claim(threading.get_ident() if task is None else weakref.ref(task))
            reader.begin()
        while True:
            for line in reader.hand:
                return line
            if self._inside:  # another task is
                reader.refuse()
            self._inside = True
            try:
                goes_on = await reader.take_in_turn()
            finally:
                self._inside = False
            if not goes_on:
                self._release()
                raise StopAsyncIteration

    def _release(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            self._reader.release(owner)

    def __del__(self) -> None:
        self._release()


class Reader(Generic[T]):
    """Where one reader of the received lines is, and what it reads next."""

    def __init__(self, client: Client, as_bytes: bool, start: int | None) -> None:
        self.client = client
        self._driver = client._driver
        self._transcript = client.transcript
        self._as_bytes = as_bytes
        self._next = client._connection.expectations.mark if start is None else start
        # How many lines before that came from the peer; None: that is not known.
        self._received = self._transcript.received_before(self._next)
        self._from_first = start is None  # at the beginning nobody has asked for what is forgotten already
        self._place = Follower(self._next, yields=True)
        self._runs: Iterator[list[T]] = iter(())
        self._along: Runs = []
        self._lines: list[T] = []
        self._size = 1
        self._began = self._had_turn = 0.0
        self._closed = self._following = self._forgotten = False
        self._ended = 0  # how often the connection was, when this reader began
        self.hand: Iterator[T] = iter(())
        """Goes through the lines that were taken, whoever asks for them."""
        self.owners: list[Owner] = []
        """Whose the loops are that have begun and have not been left: all those of one."""

    # -- whose it is

    def claim(self, owner: Owner) -> Owner:
        """Begin a loop; return whose it is, for `release`. Raises CallerError where another's has not been
        left.
        """
        owners = self.owners
        owners.append(owner)
        while (first := owners[0]) != owner:  # of two at once, the quicker one's
            if _is_there(first):
                owners.remove(owner)
                self.refuse()
            self.release(first)
        return owner

    def refuse(self) -> NoReturn:
        """Raise the CallerError for who would read beside whose it is."""
        owner = next(iter(self.owners), None)
        name = "another thread" if owner is None else _name_of(owner)
        raise CallerError(
            f"this follow() of {self.client.address.display} is being read by {name}, and has one reader at "
            "a time: give each its own, by another call of follow()"
        )

    def release(self, owner: Owner) -> None:
        """Note that a loop was left. Any thread, finalizers too."""
        try:
            self.owners.remove(owner)
        except ValueError:  # its thread or task has ended without leaving it, and another one has begun
            pass
        self._end_if_forgotten()

    def forget(self) -> None:
        """Note that no further loop can begin. Any thread, finalizers too.

        It is told, as this object may refer to itself, and would hold up the receiving until the collector
        finds it.
        """
        self._forgotten = True
        self._end_if_forgotten()

    def _end_if_forgotten(self) -> None:
        if self._forgotten and self._following and not self.owners:
            self.end()

    # -- whether it is waited for

    def begin(self) -> None:
        """Have the receiving wait for this reader, when it is far behind; harmless when it does."""
        if self._following:
            return
        self._ended = self._driver.ended
        self._join()
        if self._from_first:
            self._from_first = False
            if (first := self._transcript.first) > self._next:
                self._next, self._received = first, self._transcript.received_before(first)

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

    # -- reading

    def parts(self) -> Generator[Iterator[T], None, None]:
        """Yield the lines as they come, a few at a time, until the client is stopped. Loops of one owner may
        be nested: each goes on with what the others have left of a part.
        """
        owner = self.claim(threading.get_ident())
        goes_on = False
        try:
            self.begin()
            while True:
                if length_hint(self.hand):
                    yield self.hand
                elif not self.take():
                    return
                elif not self._lines:
                    quick = self._as_bytes and self._size == LARGEST_PART
                    self._driver.read_until(self.news, self._along if quick else None)
                    if quick:
                        yield from self._read_along()
        except (Overrun, GeneratorExit):
            goes_on = True  # the next loop is waited for as this one was, while somebody has this reader
            raise
        finally:
            self.release(owner)
            if not goes_on:
                self.end()

    def _read_along(self) -> Generator[Iterator[T], None, None]:
        """Yield what was read along, run by run, while the reader is quick: without what `take` does beside
        that, a flood takes some hundredths less.
        """
        while self._along:
            number, lines = cast("tuple[int, list[T]]", self._along[0])
            if number != self._next or len(lines) > LARGEST_PART or self._closed or self._transcript.hides:
                break
            del self._along[0]
            self._hand_out(lines, number + len(lines))
            self._count(len(lines))
            yield self.hand
            if time.monotonic() - self._began > SLOW_PART:
                break

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
            await self.client._until(self.news, None)
            self._had_turn = time.monotonic()
        return True

    def news(self) -> bool:
        """Say whether there is something to do."""
        return self._transcript.end > self._next or self._closed or self._stopped

    @property
    def _stopped(self) -> bool:
        # Another thread may connect anew at once: then it was stopped all the same.
        return self.client._connection.state is State.STOPPED or self._driver.ended != self._ended

    def take(self) -> bool:
        """Take the next lines in hand, none when there are none yet; return whether it goes on: at the end,
        it does not.

        As many as the reader needs a moment for: who is slow has the newest that there are, not what it has
        taken long ago.
        """
        self._measure()
        stopped = self._stopped  # asked first: what came before it is still read
        lines = self._read()
        self._hand_out(lines, self._next)
        return not (self._closed or (stopped and not lines))

    def _hand_out(self, lines: list[T], number: int) -> None:
        """Have these lines given out, up to line `number`."""
        self._lines = lines
        self.hand = iter(lines)
        self._next = number
        if self._closed:  # meanwhile
            lines.clear()
        self._driver.followed(self._place, number, self.hand if lines else None)
        self._began = self._place.read_at

    def _measure(self) -> None:
        """Take more lines at a time if those in hand were gone through quickly, fewer if slowly."""
        if self._lines:
            self._lines = []
            took = time.monotonic() - self._began
            if took > SLOW_PART:
                self._size = max(1, self._size // 4)
                self._runs = iter(())
                self._along = []
            elif took < QUICK_PART and self._size < LARGEST_PART:
                self._size *= 2

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
            self._go_on_with_the_oldest()
            return []
        if self._next >= self._transcript.end:
            return None
        if self._received is None:  # as it was still to come when this reader was made
            self._received = self._transcript.received_before(self._next)
        self._runs = self._bytes_of_lines() if self._as_bytes else self._line_objects()
        return []

    def _go_on_with_the_oldest(self) -> None:
        """Go on behind what was forgotten. Raises Overrun, unless nothing of that was the peer's."""
        wanted, received = self._next, self._received
        if not self._closed:
            self._join()  # what is there must not go before the next loop
        self._next, self._received = self._transcript.oldest_kept
        self._place.next = self._next
        lost = self._next - wanted
        # Of lines that were forgotten before this reader was made, nobody knows how many were the peer's.
        lost = min(lost, self._received) if received is None else self._received - received
        if lost:
            raise Overrun(
                f"lines {wanted} to {self._next - 1} were forgotten before they were read: read faster, or "
                f"let the transcript keep more; it goes on with line {self._next}",
                lost,
            )

    @property
    def _end(self) -> int:
        """Up to which line is read now."""
        end = self._transcript.end
        return end if self._size == LARGEST_PART else min(end, self._next + self._size)

    def _count(self, lines: int) -> None:
        if self._received is not None:
            self._received += lines

    def _bytes_of_lines(self) -> Iterator[list[T]]:
        end = self._end
        together: list[bytes] = []
        try:
            for number, lines in self._received_up_to(end):
                self._next = number + len(lines)
                self._count(len(lines))
                together = together + lines if together else lines
                if len(together) >= FEW:
                    yield self._shown(together)
                    together = []
        except Overrun:
            yield self._shown(together)  # first what was read before
            raise
        self._next = max(self._next, end)
        yield self._shown(together)

    def _received_up_to(self, end: int) -> Iterator[tuple[int, list[bytes]]]:
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
        end = self._end
        while self._next < end:
            stop = min(end, self._next + LARGEST_PART)
            lines: list[Line] = []
            try:
                lines.extend(self._transcript.lines(self._next, stop, strict=True, for_readers=True))
            except Overrun:
                if lines:
                    self._next = lines[-1].number + 1
                    yield self._received_of(lines)  # first what was read before
                raise
            self._next = stop
            yield self._received_of(lines)

    def _received_of(self, lines: list[Line]) -> list[T]:
        self._count(len(lines))
        return cast("list[T]", lines)


class Listeners:
    """The on_line listeners of one client, told of each line in the order in which they were registered; and
    how far they have been told.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._place = Follower(client.transcript.end)
        self._received = 0  # how many lines before that came from the peer
        self._listeners: dict[object, Listener] = {}
        self._posted = False
        self._ends: float | None = None

    def add(self, key: object, listener: Callable[[Line], object], origin: Origin) -> None:
        """Have `listener` told of each line from now on, once, however often that is asked for; `key` stands
        for it, and `origin` for where it was registered. With the turn.
        """
        if key in self._listeners:
            return
        transcript = self._client.transcript
        if not self._listeners:
            self._place.next = transcript.end
            self._received = transcript.received_before(transcript.end) or 0
            self._client._driver.begin_hearing(self._place)
        # Replaced, never changed: they may be being told.
        self._listeners = {**self._listeners, key: Listener(listener, origin, transcript.end)}

    def remove(self, key: object) -> None:
        """Have it told no more; harmless when it is unknown. With the turn."""
        if key in self._listeners:
            self._listeners[key].gone = True
            self._listeners = {each: made for each, made in self._listeners.items() if each != key}
            if not self._listeners:
                self._client._driver.end_hearing(self._place)

    def poke(self) -> None:
        """Have them told what is new. With the turn, on whatever thread."""
        # In the child of a fork, nothing is called that was posted.
        if (
            self._client.transcript.end > self._place.next
            and self._listeners
            and not (self._posted and self._client.notifier.is_busy)
        ):
            self._posted = True
            self._client.notifier.post(self._run)

    def _run(self) -> None:
        """Tell a number of lines, then let the client's other callbacks have their turn."""
        client, transcript, place = self._client, self._client.transcript, self._place
        if transcript.oldest > place.next:
            self._pass_over()
        stop = min(transcript.end, place.next + LISTENER_STEP)
        try:
            for line in transcript.lines(place.next, stop, strict=True, for_readers=True):
                if not self._listeners or self._is_over():
                    break
                place.next = line.number + 1
                self._received += 1
                for listener in self._listeners.values():
                    listener.tell(line)
        except Overrun:
            stop = place.next  # the next run says what was missed
        place.next = stop
        if self._ends is not None and self._is_over():
            left, place.next = transcript.end - stop, transcript.end
            if left > 0 and self._listeners:
                log.warning("%s not told of the last %d lines: %s was stopped", self._were, left, client.name)
        if transcript.end > place.next and self._listeners:
            client.notifier.post(self._run)
        else:
            self._posted = False
            client._driver.followed(place, place.next)
            self.poke()

    def _pass_over(self) -> None:
        """Go on with the oldest line that is kept, and say in the log how many were missed."""
        before = self._received
        self._place.next, self._received = self._client.transcript.oldest_kept
        if missed := self._received - before:
            slow = "it is" if len(self._listeners) == 1 else "one of them is"
            text = f"{missed} lines were forgotten before {self._were} told of them: {slow} too slow"
            client = self._client
            client._driver.post(lambda: client._connection.note(text, time.monotonic()))

    @property
    def _were(self) -> str:
        names = [listener.name for listener in self._listeners.values()]
        return f"{', '.join(names)} {'was' if len(names) == 1 else 'were'}"

    def _is_over(self) -> bool:
        """Say whether the client was stopped, and what it had received was told for long enough."""
        if self._client._connection.state is not State.STOPPED:
            self._ends = None
            return False
        if self._ends is None:
            self._ends = time.monotonic() + LISTENER_PATIENCE
        return time.monotonic() > self._ends


class Listener:
    """One of them: what is called, from line `start` on, until it is `gone`."""

    def __init__(self, call: Callable[[Line], object], origin: Origin, start: int) -> None:
        self._call = call
        self._origin = origin
        self._start = start
        self._failures = 0
        self._complains_at = -math.inf
        self.gone = False

    def tell(self, line: Line) -> None:
        """Call it, if the line is for it."""
        if not self.gone and line.number >= self._start:
            self._origin.call(self._tell, line)

    def _tell(self, line: Line) -> None:
        """Call it where it was registered: what it prints, and its failures, go there."""
        try:
            self._call(line)
        except BaseException:  # a SystemExit of one must not end the others
            self._failures += 1
            now = time.monotonic()
            if now < self._complains_at:
                return
            self._complains_at = now + COMPLAIN_EVERY
            log.exception(
                "%s failed at line %d (failure %d); it is told the next ones",
                self.name,
                line.number,
                self._failures,
            )

    @property
    def name(self) -> str:
        """What messages call it."""
        return getattr(self._call, "__qualname__", None) or repr(self._call)


def _is_there(owner: Owner) -> bool:
    """Say whether a thread or task has not ended."""
    if isinstance(owner, int):
        return owner in sys._current_frames()
    task = owner()
    return task is not None and not task.done()


def _name_of(owner: Owner) -> str:
    if isinstance(owner, int):
        names = [each.name for each in threading.enumerate() if each.ident == owner]
        return f"the thread {names[0]}" if names else "another thread"
    task = owner()
    return "another task" if task is None else f"the task {task.get_name()}"

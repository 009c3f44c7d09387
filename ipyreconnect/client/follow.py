"""The loops over received lines: what `Client.follow` returns. Sends nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

from ..lines.transcript import Transcript
from ..network.driver import Driver
from ..protocol.state import State
from .ownership import Owner, current_owner
from .reader import Reader

__all__ = ["Follow"]

T = TypeVar("T")


class Follow(Generic[T]):
    """Iterates over received lines as they come, with `for`, `next` or `async for`; made by `Client.follow`.

    All loops over one object share its position: a loop goes on where the one before was left. One thread or
    task at a time may read: until its loop ends, any other one's attempt raises CallerError.
    """

    def __init__(
        self, driver: Driver, transcript: Transcript, where: str, as_bytes: bool, start: int | None
    ) -> None:
        self._reader: Reader[T] = Reader(driver, transcript, where, as_bytes, start)
        if driver.connection.state is not State.STOPPED:
            self._reader.register()  # what comes before the first loop is kept for it, too

    def __iter__(self) -> Iterator[T]:
        # A chain yields the lines of a batch without running Python code for each, which is half the cost.
        # Each loop has a chain of its own, which is collected when the loop ends: then others may read.
        return chain.from_iterable(Loop(self._reader))

    def __next__(self) -> T:
        reader = self._reader
        if not reader.ownership.owners:
            for line in reader.batch:
                return line
        for batch in reader.batches():
            for line in batch:
                return line
        raise StopIteration

    def __aiter__(self) -> Awaited[T]:
        return Awaited(self._reader)

    async def __anext__(self) -> T:
        return await anext(Awaited(self._reader))

    def close(self) -> None:
        """End the iteration, also for a thread or task that waits in it; a loop that was left needs none."""
        self._reader.close()

    async def aclose(self) -> None:
        """Do what `close` does; for `contextlib.aclosing`."""
        self.close()

    def __del__(self) -> None:
        self._reader.abandon()


class Loop(Generic[T]):
    """One `for` loop over a `Follow`, batch by batch; iterated by a chain, which threads may share in error.

    When its iterator raises, a chain drops it even while another thread is inside: that thread's loop would
    end silently, and if the iterator is a running generator, the interpreter may crash. So a second thread
    gets an iterator that raises, instead of an exception here.
    """

    def __init__(self, reader: Reader[T]) -> None:
        self._reader = reader
        self._batches = reader.batches()
        self._inside = threading.Lock()

    def __iter__(self) -> Loop[T]:
        return self

    def __next__(self) -> Iterator[T]:
        if not self._inside.acquire(blocking=False):
            return iter(self._reader.ownership.refuse, None)
        try:
            return next(self._batches)
        finally:
            self._inside.release()


class Awaited(Generic[T]):
    """One `async for` loop over a `Follow`."""

    def __init__(self, reader: Reader[T]) -> None:
        self._reader = reader
        self._owner: Owner | None = None
        self._inside = False

    def __aiter__(self) -> Awaited[T]:
        return self

    async def __anext__(self) -> T:
        reader = self._reader
        if self._owner is None:
            self._owner = reader.ownership.claim(current_owner())
            reader.register()
        while True:
            for line in reader.batch:
                return line
            if not await self._read_batch():
                self._release()
                raise StopAsyncIteration

    async def _read_batch(self) -> bool:
        """Read the next lines; return whether the loop goes on."""
        if self._inside:  # another task is, which shares this iterator
            self._reader.ownership.refuse()
        self._inside = True
        try:
            return await self._reader.aread_batch()
        finally:
            self._inside = False

    def _release(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            self._reader.release(owner)

    def __del__(self) -> None:
        self._release()

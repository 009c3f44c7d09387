"""The received lines as they come: what `Client.follow` returns, to be iterated over. Sends nothing."""

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
    """The received lines, as they come; made by `Client.follow`, iterated with `for`, `next`, or `async for`.

    There is one row of lines, however it is iterated: what one loop has left, the next one goes on with. It
    belongs to one thread, or task, at a time: until that has left its loop, another one's attempt to read
    raises CallerError.
    """

    def __init__(
        self, driver: Driver, transcript: Transcript, where: str, as_bytes: bool, start: int | None
    ) -> None:
        self._reader: Reader[T] = Reader(driver, transcript, where, as_bytes, start)
        if driver.connection.state is not State.STOPPED:
            self._reader.begin()  # what comes before the first loop is kept for it, too

    def __iter__(self) -> Iterator[T]:
        # A chain hands out the lines of a part without a step of Python for each, which is half the cost.
        # Each loop has its own, which goes when the loop is left: from then on others may read.
        return chain.from_iterable(Loop(self._reader))

    def __next__(self) -> T:
        reader = self._reader
        if not reader.ownership.owners:
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
            return iter(self._reader.ownership.refuse, None)
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
            self._owner = reader.ownership.claim(current_owner())
            reader.begin()
        while True:
            for line in reader.hand:
                return line
            if not await self._take():
                self._release()
                raise StopAsyncIteration

    async def _take(self) -> bool:
        """Take the next lines; return whether it goes on."""
        if self._inside:  # another task is
            self._reader.ownership.refuse()
        self._inside = True
        try:
            return await self._reader.take_in_turn()
        finally:
            self._inside = False

    def _release(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            self._reader.release(owner)

    def __del__(self) -> None:
        self._release()

"""Threads and coroutines that wait for something to happen to a connection."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable

from . import interrupts
from .interrupts import Shield, guard
from .lock import Strand

__all__ = ["Waiter", "Waiters"]

_monotonic = time.monotonic


class Waiter:
    """A condition that is waited for, and how its waiter is woken.

    Attributes:
        done: the condition; called with the lock held, often, so it must be quick.
        wake: called once, with the lock held, as soon as `done` returns true; must not wait.
    """

    __slots__ = ("done", "wake")

    def __init__(self, done: Callable[[], bool], wake: Callable[[], None]) -> None:
        self.done = done
        self.wake = wake


class Waiters:
    """All who wait for one connection.

    Attributes:
        waiting: those that have not been woken; read and changed with the lock held.
    """

    __slots__ = ("_strand", "waiting")

    def __init__(self, strand: Strand) -> None:
        self._strand = strand
        self.waiting: list[Waiter] = []

    def watch(self, waiter: Waiter) -> None:
        """Wake `waiter` when its condition holds, at once if it does already. Any thread."""
        # The step that this call is ends with `wake`.
        self._strand.call(lambda: self.waiting.append(waiter))

    def unwatch(self, waiter: Waiter) -> None:
        """Forget `waiter`; harmless when it was woken. With the lock held."""
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    def wake(self) -> None:
        """Wake those whose condition holds. With the lock held."""
        for waiter in tuple(self.waiting):
            if waiter.done():
                self.waiting.remove(waiter)
                waiter.wake()

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Block until `done()` is true, for at most `timeout` seconds (None: for ever).

        Any thread but the I/O thread. Ctrl-C ends it at once and leaves the connection as it was.

        Args:
            done: the condition, see `Waiter`.
            timeout: seconds.

        Returns:
            Whether `done()` was true.
        """
        ends = None if timeout is None else _monotonic() + timeout
        shield = guard()
        try:
            return self.wait_until(done, ends, shield)
        finally:
            if shield is not None:
                shield.lift()

    def wait_until(self, done: Callable[[], bool], ends: float | None, shield: Shield | None) -> bool:
        """Do as `wait`, until `ends` (monotonic, s); for a caller that lifts the shield itself."""
        lock = _thread.allocate_lock()
        lock.acquire()
        waiter = Waiter(done, lock.release)
        call = self._strand.call_shielded
        try:
            if call(lambda: self._is_done_or_watched(waiter), shield):
                return True
            interrupts.acquire(lock, ends, shield)
        except BaseException:
            self._strand.post(lambda: self.unwatch(waiter))
            raise
        return call(lambda: self._was_woken_or_is_done(waiter), None)

    def forget(self) -> None:
        """Forget all of them: in a forked child, their threads do not exist."""
        self.waiting.clear()

    def _is_done_or_watched(self, waiter: Waiter) -> bool:
        if waiter.done():
            return True
        self.waiting.append(waiter)
        return False

    def _was_woken_or_is_done(self, waiter: Waiter) -> bool:
        if waiter not in self.waiting:
            return True  # it was woken, though the condition may hold no more
        self.waiting.remove(waiter)
        return waiter.done()

"""A mutex with a work queue (a *strand*): if it is taken, the work is queued and the holder runs it.

Everything that happens to a connection is a piece of work that runs while the connection's lock is held.
Whoever brings work (the I/O thread with a readable socket, a user's thread with a line to send, a timer)
takes the lock if it is free and runs the work at once. Otherwise the work is queued, and the holder runs it
before it lets go. So no thread waits for a busy connection, a line is sent without a second hand-over between
threads, and a flood cannot starve a send.

Knows nothing of what the work is: a subclass says what each step begins and ends with.
"""

from __future__ import annotations

import _thread
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import CallerError
from . import interrupts
from .interrupts import Shield, guard

__all__ = ["Strand"]

T = TypeVar("T")


class _Job(Generic[T]):
    """A piece of work that another thread runs while its caller waits for the result."""

    __slots__ = ("_errors", "_finished", "_results", "_work")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        self._finished = _thread.allocate_lock()
        self._finished.acquire()

    def run(self) -> None:
        """Do the work. The thread that holds the strand's lock."""
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._errors.append(error)
        finally:
            self._finished.release()

    def wait(self, shield: Shield | None) -> None:
        """Wait until it was run; with a shield, an interrupt ends the waiting."""
        interrupts.acquire(self._finished, None, shield)

    def wait_to_the_end(self) -> None:
        """Wait until a job that has begun was run, whatever interrupts come.

        The interrupt that brings the caller here may have come after `wait` took the lock, which is released
        only once: a job that has an outcome is not waited for.
        """
        if not self._results and not self._errors:
            self._finished.acquire()

    @property
    def result(self) -> T:
        """What the work returned; raises what it raised. Once only."""
        if self._errors:
            raise self._errors.pop()  # kept nowhere else, for its traceback will refer to this frame
        return self._results[0]


class Strand(ABC):
    """The lock and the queue of one connection; a subclass says what a step of it needs."""

    __slots__ = ("_lock", "_owns_lock", "_queue")

    def __init__(self) -> None:
        # A list: an empty deque takes 760 bytes, of each of a thousand idle connections.
        self._queue: list[Callable[[], object]] = []
        self._renew_lock()

    # -- what a subclass provides ----------------------------------------------------------------------------

    @property
    @abstractmethod
    def _where(self) -> str:
        """The peer's name in messages."""

    @abstractmethod
    def _begin_step(self) -> None:
        """Do what each step begins with. Called with the lock held, as the methods below."""

    @abstractmethod
    def _settle(self) -> None:
        """Do what each step ends with."""

    @abstractmethod
    def _settle_piece(self) -> None:
        """Do what must be done before the next piece of work, whose caller may count upon it."""

    @abstractmethod
    def _went_wrong(self, error: Exception) -> None:
        """Deal with an error of a piece of work that nobody waits for."""

    # -- for whoever brings work -----------------------------------------------------------------------------

    @property
    def holds_lock(self) -> bool:
        """Whether the calling thread holds the lock; then only `post` is possible.

        So it is in a finalizer or a signal handler that came in the middle of a step, and in a user's
        framing, which is a part of one.
        """
        return self._owns_lock()

    @property
    def queued(self) -> int:
        """How many pieces of work wait for the thread that holds the lock."""
        return len(self._queue)

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` with the lock held and return its result; waits for at most one step.

        Any thread. Ctrl-C is raised while another thread holds the lock, or else after the step.

        Raises:
            CallerError: the calling thread holds the lock already, see `holds_lock`.
            BaseException: whatever `work` raises.
        """
        shield = guard()
        if shield is None:
            return self.call_shielded(work, None)
        try:
            return self.call_shielded(work, shield)
        finally:
            shield.lift()

    def call_shielded(self, work: Callable[[], T], shield: Shield | None) -> T:
        """Do as `call`, for a caller that has made the shield (see `guard`) and lifts it itself."""
        if self._owns_lock():
            raise CallerError(
                f"the connection to {self._where} is in the middle of something, which cannot go on before "
                "this call returns: a finalizer, a signal handler or a framing can only stop it"
            )
        if not self._lock.acquire(False):
            return self._have_run(work, shield)
        try:
            self._begin_step()
            if self._queue:
                self._empty_queue()
            try:
                return work()
            finally:
                self._settle()
        finally:
            self._lock.release()
            if self._queue:
                self._pump()

    def post(self, work: Callable[[], object]) -> None:
        """Have `work` run with the lock held, soon; waits for nothing.

        Any thread, also from finalizers and signal handlers.
        """
        shield = guard()
        try:
            self._queue.append(work)
            self._pump()
        finally:
            if shield is not None:
                shield.lift()

    # -- for the subclass ------------------------------------------------------------------------------------

    def _try(self, work: Callable[[], object], patience: float) -> None:
        """Run `work` with the lock held if that is free within `patience` seconds; else drop it."""
        if self._lock.acquire(True, patience):
            try:
                self._begin_step()
                if self._queue:
                    self._empty_queue()
                try:
                    work()
                except Exception as error:  # noqa: BLE001 - see _went_wrong
                    self._went_wrong(error)
                self._settle()
            finally:
                self._lock.release()
                if self._queue:
                    self._pump()

    def _begin_anew(self) -> None:
        """Forget the work and whoever held the lock: in a forked child, that thread does not exist."""
        self._renew_lock()
        self._queue.clear()

    # -- within ----------------------------------------------------------------------------------------------

    def _renew_lock(self) -> None:
        # Reentrant only because it knows its owner from the very moment that it is taken: a signal handler or
        # a finalizer comes between any two steps. It is never taken twice.
        self._lock = threading.RLock()
        self._owns_lock: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]

    def _have_run(self, work: Callable[[], T], shield: Shield | None) -> T:
        """Queue `work` for the thread that holds the lock, and wait for its result."""
        job = _Job(work)
        run = job.run
        self._queue.append(run)
        self._pump()
        try:
            job.wait(shield)
        except BaseException:
            try:
                self._queue.remove(run)
            except ValueError:  # it has begun
                job.wait_to_the_end()
            raise
        return job.result

    def _pump(self) -> None:
        # Whoever holds the lock looks at the queue again after releasing it, so nothing is left there.
        while self._queue and not self._owns_lock() and self._lock.acquire(False):
            try:
                self._begin_step()
                self._empty_queue()
                self._settle()
            finally:
                self._lock.release()

    def _empty_queue(self) -> None:
        queue = self._queue
        while True:
            try:
                work = queue.pop(0)
            except IndexError:
                return
            try:
                work()
            except Exception as error:  # noqa: BLE001 - see _went_wrong
                self._went_wrong(error)
            self._settle_piece()

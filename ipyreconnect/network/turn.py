"""Lets one thread at a time work on a connection, and nobody wait who only brings work. Knows nothing of what
the work is.

All that happens to a connection is a piece of work that runs with the connection's *turn*. Whoever brings
work (the I/O thread with a readable socket, a user's thread with a line to send, a timer) takes the turn if
it is free and does it at once; otherwise the work goes to the inbox, and whoever has the turn does it before
letting go. So nobody waits for a busy connection, a line leaves without a second hop between threads, and a
flood cannot starve a send.
"""

from __future__ import annotations

import _thread
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from ..errors import CallerError
from . import interrupts
from .interrupts import Shield, guard

__all__ = ["Turns"]

T = TypeVar("T")


class Turns(ABC):
    """The turn and the inbox; whoever has a connection says what a step of it needs."""

    __slots__ = ("_has_turn", "_inbox", "_turn")

    def __init__(self) -> None:
        # A list: an empty deque takes 760 bytes, of each of a thousand idle connections.
        self._inbox: list[Callable[[], object]] = []
        self._renew_turn()

    @property
    @abstractmethod
    def _where(self) -> str:
        """How messages call the peer."""

    @abstractmethod
    def _begin_turn(self) -> None:
        """Do what each turn begins with."""

    @abstractmethod
    def _settle(self) -> None:
        """Do what each turn ends with."""

    @abstractmethod
    def _settle_piece(self) -> None:
        """Do what must be done before the next piece of work, which may have come from somebody who counts
        upon it.
        """

    @abstractmethod
    def _went_wrong(self, error: Exception) -> None:
        """Deal with an error of a piece of work that nobody waits for."""

    def call(self, work: Callable[[], T]) -> T:
        """Do `work` with the turn and return what it returns, or raise what it raises. Any thread; waits for
        a step at most.

        Raises CallerError where that step is the caller's own, which cannot go on before this returns: see
        `has_turn`.
        """
        shield = guard()
        if shield is None:
            return self._call(work)
        try:
            return self._call(work, shield)
        finally:
            shield.lift()

    @property
    def has_turn(self) -> bool:
        """Whether the caller has the turn: it is a finalizer or a signal handler that came in the middle of a
        step, or a user's framing, which is a part of one. Then only `post` is possible.
        """
        return self._has_turn()

    def post(self, work: Callable[[], object]) -> None:
        """Have `work` done with the turn, soon; waits for nothing. Any thread, finalizers and signal handlers
        too.
        """
        shield = guard()
        try:
            self._inbox.append(work)
            self._pump()
        finally:
            if shield is not None:
                shield.lift()

    def _call(self, work: Callable[[], T], shield: Shield | None = None) -> T:
        """Do what `call` does; an interrupt is let through while another thread has the turn, if `shield` is
        given.
        """
        if self._has_turn():
            raise CallerError(
                f"the connection to {self._where} is in the middle of something, which cannot go on before "
                "this call returns: a finalizer, a signal handler or a framing can only stop it"
            )
        if self._turn.acquire(False):
            try:
                self._begin_turn()
                if self._inbox:
                    self._empty_inbox()
                try:
                    return work()
                finally:
                    self._settle()
            finally:
                self._turn.release()
                if self._inbox:
                    self._pump()
        results: list[T] = []
        errors: list[BaseException] = []
        finished = _thread.allocate_lock()
        finished.acquire()

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
                errors.append(error)
            finally:
                finished.release()

        self._inbox.append(run)
        self._pump()
        try:
            interrupts.acquire(finished, None, shield)
        except BaseException:
            try:
                self._inbox.remove(run)
            except ValueError:
                # It has begun. The interrupt may have come when its end was just seen: that is told once.
                if not results and not errors:
                    finished.acquire()
            raise
        if errors:
            raise errors.pop()  # popped, for its traceback will know this frame
        return results[0]

    def _try(self, work: Callable[[], object], patience: float) -> None:
        """Do `work` with the turn, if that comes within `patience` seconds; else it is not done."""
        if self._turn.acquire(True, patience):
            try:
                self._begin_turn()
                if self._inbox:
                    self._empty_inbox()
                try:
                    work()
                except Exception as error:  # noqa: BLE001 - see _went_wrong
                    self._went_wrong(error)
                self._settle()
            finally:
                self._turn.release()
                if self._inbox:
                    self._pump()

    def _renew_turn(self) -> None:
        # Reentrant only because it knows its owner from the very moment that it is taken: a signal handler or
        # a finalizer comes between any two steps. It is never taken twice.
        self._turn = threading.RLock()
        self._has_turn: Callable[[], bool] = self._turn._is_owned  # type: ignore[attr-defined]

    def _pump(self) -> None:
        # Whoever has the turn looks at the inbox again after letting go, so nothing is left there.
        while self._inbox and not self._has_turn() and self._turn.acquire(False):
            try:
                self._begin_turn()
                self._empty_inbox()
                self._settle()
            finally:
                self._turn.release()

    def _empty_inbox(self) -> None:
        inbox = self._inbox
        while True:
            try:
                work = inbox.pop(0)
            except IndexError:
                return
            try:
                work()
            except Exception as error:  # noqa: BLE001 - see _went_wrong
                self._went_wrong(error)
            self._settle_piece()

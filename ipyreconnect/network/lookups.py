"""Look names up, each once at a time, on threads that nobody waits for: getaddrinfo(3) cannot be stopped."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from .loop import Loop
from .sockets import SockAddr

__all__ = ["LATE_ANSWER_KEPT", "MAX_LOOKUPS", "Answer", "Candidate", "Resolver", "outdate_lookups", "resolve"]

MAX_LOOKUPS: Final = 64
"""Threads that look up names at the same time; further names wait for one of them."""


LATE_ANSWER_KEPT: Final = 30.0
"""Seconds for which an answer that came after everybody had gone waits for the next try: a name service that
always takes longer than the time-out would otherwise never be of use."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Say where a connection can be tried: an address family and an address of the socket module."""

    family: int
    sockaddr: SockAddr


Resolver = Callable[[str, int], Sequence[Candidate]]
"""Looks up (host, port); may block, runs on a thread of its own; raises OSError where there is no address."""


Answer = Sequence[Candidate] | Exception


def resolve(host: str, port: int, *, flags: int = 0) -> list[Candidate]:
    """Look a name up with the system's resolver, in the order of its preference (RFC 6724).

    :param flags: those of getaddrinfo, such as AI_NUMERICHOST
    :raises OSError: socket.gaierror, there is no address
    :raises UnicodeError: this cannot be a host name

    Blocks, for minutes when the name service is mute; any thread but the I/O thread.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [Candidate(family, sockaddr) for family, _, _, _, sockaddr in found]


class _Waiter:
    """Somebody who waits for an answer on the I/O thread, until it comes or `callback` is taken away."""

    __slots__ = ("callback", "loop")

    def __init__(self, loop: Loop, callback: Callable[[Answer], None]) -> None:
        self.loop = loop
        # Taken away without the lock, so that a forked child can, whose copy of the lock nobody may release.
        self.callback: Callable[[Answer], None] | None = callback

    def tell(self, answer: Answer) -> None:
        self.loop.call_soon(partial(self._hand_over, answer))

    def _hand_over(self, answer: Answer) -> None:
        if self.callback is not None:
            self.callback(answer)


@dataclass(frozen=True, slots=True)
class _Question:
    resolver: Resolver
    host: str
    port: int
    network: int
    """Over which network it is asked: how often that had changed. The name server before may be mute now."""

    def ask(self) -> Answer:
        try:
            return self.resolver(self.host, self.port)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            return error.with_traceback(None)  # which would keep the frames' variables alive


class _Lookups:
    """The look-ups of the process: a thread for each name that is asked for, none when idle."""

    def __init__(self) -> None:
        self.network = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything, as a forked child must: nobody there will answer, or release the lock."""
        self._lock = threading.Lock()
        self._waiting: dict[_Question, list[_Waiter]] = {}
        self._queue: deque[_Question] = deque()
        self._threads = 0
        self._late: dict[_Question, tuple[float, Answer]] = {}

    def ask(self, question: _Question, loop: Loop, callback: Callable[[Answer], None]) -> _Waiter:
        """Have `callback` called on the I/O thread with the answer. Any thread."""
        waiter = _Waiter(loop, callback)
        with self._lock:
            when, answer = self._late.pop(question, (0.0, None))
            if answer is not None and time.monotonic() - when < LATE_ANSWER_KEPT:
                waiter.tell(answer)
                return waiter
            if (others := self._waiting.get(question)) is not None:
                # One that hangs for hours is joined again and again: those who gave up are forgotten here.
                others[:] = [other for other in others if other.callback is not None]
                others.append(waiter)
                return waiter
            self._waiting[question] = [waiter]
            self._queue.append(question)
            if self._threads >= MAX_LOOKUPS:
                return waiter
            self._threads += 1
        try:
            # A daemon; concurrent.futures has none: its threads are joined when the interpreter ends.
            name = f"ipyreconnect-resolve-{question.host}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # no more threads for this process
            with self._lock:
                self._threads -= 1
                if not self._threads:
                    self._queue.remove(question)
                    self._tell(question, error)
        return waiter

    def _work(self) -> None:
        while (question := self._next()) is not None:
            answer = question.ask()
            with self._lock:
                self._tell(question, answer)

    def _next(self) -> _Question | None:
        with self._lock:
            while self._queue:
                question = self._queue.popleft()
                if any(waiter.callback is not None for waiter in self._waiting[question]):
                    return question
                del self._waiting[question]  # everybody has gone
            self._threads -= 1
            return None

    def _tell(self, question: _Question, answer: Answer) -> None:
        waiters = [waiter for waiter in self._waiting.pop(question) if waiter.callback is not None]
        for waiter in waiters:
            waiter.tell(answer)
        if not waiters and not isinstance(answer, Exception):
            now = time.monotonic()
            for old in [old for old, (when, _) in self._late.items() if now - when >= LATE_ANSWER_KEPT]:
                del self._late[old]
            self._late[question] = (now, answer)


_lookups: Final = _Lookups()


def outdate_lookups() -> None:
    """Ask anew from now on, whatever hangs: the network has changed. The I/O thread."""
    _lookups.network += 1

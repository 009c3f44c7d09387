"""Looks up names, each once at a time, on threads for which nothing waits: getaddrinfo(3) cannot be stopped.

It can hang for minutes. So its threads are daemons, which never keep the interpreter from ending, and there
is one for a name, however many wait for it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from ..forking import Stage, in_child
from .loop import Loop
from .sockets import SockAddr

__all__ = [
    "LATE_ANSWER_KEPT",
    "MAX_LOOKUPS",
    "Answer",
    "Candidate",
    "Lookup",
    "Resolver",
    "look_up",
    "outdate_lookups",
    "resolve",
]

MAX_LOOKUPS: Final = 64
"""Threads that look up names at the same time; further names wait for one of them."""

LATE_ANSWER_KEPT: Final = 30.0
"""Seconds for which an answer that came when nobody waited any more is kept for the next try: a name service
that always takes longer than the time-out would otherwise never be of use."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where a connection can be tried: an address family, and an address as the socket module takes it."""

    family: int
    sockaddr: SockAddr


Resolver = Callable[[str, int], Sequence[Candidate]]
"""Looks up (host, port); may block, runs on a thread of its own; raises OSError where there is no address."""

Answer = Sequence[Candidate] | Exception
"""The addresses, or why there are none."""


def resolve(host: str, port: int, *, flags: int = 0) -> list[Candidate]:
    """Look up a name with the system's resolver; the addresses are in the order of its preference (RFC 6724).

    Blocks, for minutes if the name service does not answer; any thread but the I/O thread.

    Args:
        host: the name, or an address.
        port: the port.
        flags: those of getaddrinfo, such as AI_NUMERICHOST.

    Raises:
        OSError: socket.gaierror, there is no address.
        UnicodeError: this cannot be a host name.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [Candidate(family, sockaddr) for family, _, _, _, sockaddr in found]


class Lookup:
    """One asker's wait for an answer; made by `look_up`."""

    __slots__ = ("_callback", "_loop")

    def __init__(self, loop: Loop, callback: Callable[[Answer], None]) -> None:
        self._loop = loop
        self._callback: Callable[[Answer], None] | None = callback

    def cancel(self) -> None:
        """Have the answer given to others only. The I/O thread; harmless when it was given."""
        # Without the lock, as a forked child must do it too, where nobody releases its copy of the lock.
        self._callback = None

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._callback is None

    def give(self, answer: Answer) -> None:
        """Have the callback called with the answer, on the I/O thread. Any thread."""
        self._loop.call_soon(partial(self._call, answer))

    def _call(self, answer: Answer) -> None:
        if self._callback is not None:
            self._callback(answer)


@dataclass(frozen=True, slots=True)
class _Question:
    """What is looked up. Askers with equal questions get one answer.

    Attributes:
        network: how often the network had changed when it was asked. After a change the question is asked
            anew: the name server of the network before may never answer.
    """

    resolver: Resolver
    host: str
    port: int
    network: int

    def ask(self) -> Answer:
        """Return the answer. Blocks."""
        try:
            return self.resolver(self.host, self.port)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be notified
            return error.with_traceback(None)  # which would keep the frames' variables alive


class _Lookups:
    """The look-ups of the process: a thread for each name that is asked for, none when idle.

    Attributes:
        network: how often the network has changed.
    """

    def __init__(self) -> None:
        self.network = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything, as a forked child must: no thread there will answer, or release the lock."""
        self._lock = threading.Lock()
        self._waiting: dict[_Question, list[Lookup]] = {}
        self._queue: deque[_Question] = deque()
        self._threads = 0
        self._late: dict[_Question, tuple[float, Answer]] = {}

    def ask(self, question: _Question, lookup: Lookup) -> None:
        """Have `lookup` given the answer to `question`. Any thread."""
        with self._lock:
            when, answer = self._late.pop(question, (0.0, None))
            if answer is not None and time.monotonic() - when < LATE_ANSWER_KEPT:
                lookup.give(answer)
                return
            if (others := self._waiting.get(question)) is not None:
                # One that hangs for hours is joined again and again: those who gave up are removed here.
                others[:] = [other for other in others if not other.is_cancelled]
                others.append(lookup)
                return
            self._waiting[question] = [lookup]
            self._queue.append(question)
            if self._threads >= MAX_LOOKUPS:
                return
            self._threads += 1
        self._begin_thread(question)

    def _begin_thread(self, question: _Question) -> None:
        try:
            # A daemon; concurrent.futures has none: its threads are joined when the interpreter ends.
            name = f"ipyreconnect-resolve-{question.host}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # no more threads for this process
            with self._lock:
                self._threads -= 1
                if not self._threads:
                    self._queue.remove(question)
                    self._answer(question, error)

    def _work(self) -> None:
        while (question := self._next()) is not None:
            answer = question.ask()
            with self._lock:
                self._answer(question, answer)

    def _next(self) -> _Question | None:
        with self._lock:
            while self._queue:
                question = self._queue.popleft()
                if not all(lookup.is_cancelled for lookup in self._waiting[question]):
                    return question
                del self._waiting[question]
            self._threads -= 1
            return None

    def _answer(self, question: _Question, answer: Answer) -> None:
        lookups = [lookup for lookup in self._waiting.pop(question) if not lookup.is_cancelled]
        for lookup in lookups:
            lookup.give(answer)
        if not lookups and not isinstance(answer, Exception):
            now = time.monotonic()
            for old in [old for old, (when, _) in self._late.items() if now - when >= LATE_ANSWER_KEPT]:
                del self._late[old]
            self._late[question] = (now, answer)


_lookups: Final = _Lookups()
in_child(Stage.LOOKUPS, _lookups.begin_anew)


def look_up(
    resolver: Resolver, host: str, port: int, loop: Loop, callback: Callable[[Answer], None]
) -> Lookup:
    """Begin to look up a name; does not block. Any thread.

    Args:
        resolver: looks it up, on a thread of its own.
        host: the name.
        port: the port.
        loop: the loop of the I/O thread.
        callback: called on the I/O thread with the answer, unless the look-up is cancelled before.
    """
    lookup = Lookup(loop, callback)
    _lookups.ask(_Question(resolver, host, port, _lookups.network), lookup)
    return lookup


def outdate_lookups() -> None:
    """Ask anew from now on, also what is being asked: the network has changed. The I/O thread."""
    _lookups.network += 1

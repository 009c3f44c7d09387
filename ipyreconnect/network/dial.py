"""Looks up a server's addresses and connects to the first that answers; never blocks the I/O thread.

One attempt, which is not repeated here. Connecting follows RFC 8305 (happy eyeballs): the address families
take turns, and the next address is tried 250 ms after the one before, sooner where there are many, or at once
when that one fails. The first that answers wins, and the others are closed.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from ..address import Address
from ..errors import AttemptFailed
from .lookups import Answer, Candidate, Lookup, Resolver, look_up, resolve
from .loop import EVENT_WRITE, Loop, Timer
from .sockets import (
    abort,
    describe,
    drop,
    join_names,
    more_exact,
    prepare,
    reason_for,
    shortage,
)

__all__ = ["DIAL_TIMEOUT", "Dial"]

DIAL_TIMEOUT: Final = 10.0
"""Seconds for look-up and connecting together: a user is watching, and the next try gets another ten."""

STAGGER: Final = 0.25
"""Seconds until the next address is tried beside those that have not answered yet (RFC 8305, 5)."""

LEAST_STAGGER: Final = 0.01
"""Seconds that this takes at least (RFC 8305, 8)."""

TURNS_WITHIN: Final = 0.75
"""The part of the time-out within which each address of a name is tried, however many there are."""

MAX_CONNECTING: Final = 64
"""Addresses of one name whose answer is awaited at the same time; of more, the first that was tried is given
up. Each has at least 0.64 s, twice a round trip to the other side of the world."""

AGAIN_EVERY: Final = 1.0
"""Seconds from one `Dial.again` to the next that tries anything: networks change in bursts."""

_IN_PROGRESS: Final = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK})


class Dial:
    """One attempt, from an address to a connected socket, or to the reason why there is none."""

    def __init__(
        self,
        loop: Loop,
        address: Address,
        done: Callable[[socket.socket | AttemptFailed], None],
        phase: Callable[[str], None],
        *,
        timeout: float = DIAL_TIMEOUT,
        resolver: Resolver | None = None,
    ) -> None:
        """Begin at once, on the I/O thread. Any thread.

        Args:
            loop: the loop of the I/O thread.
            address: the server's.
            done: called once, on the I/O thread and never from in here, with the connected socket, which is
                then the callee's, or with the reason; not called after `cancel`.
            phase: called on the I/O thread with ``resolving`` (only for a name) and ``dialing``.
            timeout: seconds for everything.
            resolver: looks up names instead of `resolve`.
        """
        self._loop = loop
        self._address = address
        self._done = done
        self._phase = phase
        self._timeout = timeout
        self._resolver = resolver or resolve
        self._finished = False
        self._lookup: Lookup | None = None
        self._candidates: list[Candidate] = []
        self._todo: deque[Candidate] = deque()
        self._again: Timer | None = None
        self._again_at = 0.0
        self._stagger = STAGGER
        self._connecting: dict[socket.socket, str] = {}
        self._mute: list[str] = []  # given up in favour of others
        self._failures: list[tuple[str, OSError]] = []
        self._next_turn: Timer | None = None
        # None first, as the attempt may be over before the timer is assigned.
        self._deadline: Timer | None = None
        self._deadline = loop.call_at(time.monotonic() + timeout, self._time_out)
        loop.call_soon(self._start)

    def cancel(self) -> None:
        """Stop at once, and close what was opened; `done` is not called. Harmless when it is over.

        The I/O thread, or a forked child's only one: closing the child's copies does not touch the parent's.
        """
        self._finished = True
        for timer in (self._deadline, self._next_turn, self._again):
            if timer is not None:
                timer.cancel()
        if self._lookup is not None:
            self._lookup.cancel()
        self._todo.clear()
        for sock in self._connecting:
            self._loop.unregister(sock)
            drop(sock)
        self._connecting.clear()

    def again(self) -> None:
        """Try each address once more beside those that have not answered, or look up the name once more.

        To be called when the network has changed: a SYN that was sent over the old one may never arrive, and
        is sent again only 4 s later.

        The I/O thread, after `outdate_lookups`; harmless when it is over.
        """
        begun = self._lookup is not None or self._candidates
        if self._finished or not begun or self._address.path or self._again is not None:
            return
        self._again = self._loop.call_at(max(self._again_at, time.monotonic()), self._try_again)

    # -- on the I/O thread -----------------------------------------------------------------------------------

    def _try_again(self) -> None:
        self._again = None
        self._again_at = time.monotonic() + AGAIN_EVERY
        if self._lookup is not None:
            self._lookup.cancel()
            self._ask()
            return
        self._todo.clear()
        self._todo.extend(self._candidates)
        self._try_next()

    def _finish(self, result: socket.socket | AttemptFailed) -> None:
        self.cancel()
        self._done(result)

    def _fail(self, reason: str, *, final: bool = False) -> None:
        self._finish(AttemptFailed(reason, final))

    def _start(self) -> None:
        if self._finished:
            return
        if self._address.path:
            self._dial([Candidate(socket.AF_UNIX, self._address.path)])
            return
        host, port = self._address.host, self._address.port
        try:
            # Returns at once for a numeric address; only a name needs a thread.
            numeric = resolve(host, port, flags=socket.AI_NUMERICHOST)
        except UnicodeError as error:
            self._refuse_name(error)
            return
        except OSError:
            numeric = []
        if numeric:
            self._dial(numeric)
            return
        self._phase("resolving")
        if not self._finished:
            self._ask()

    def _ask(self) -> None:
        self._lookup = look_up(
            self._resolver, self._address.host, self._address.port, self._loop, self._resolved
        )

    def _refuse_name(self, error: Exception) -> None:
        self._fail(f"'{self._address.host}' is not a host name: {error}", final=True)

    def _resolved(self, answer: Answer) -> None:
        self._lookup = None
        if isinstance(answer, OSError):
            self._fail(reason_for(shortage() or answer, self._address.host))
        elif isinstance(answer, UnicodeError):
            self._refuse_name(answer)
        elif isinstance(answer, Exception):
            self._fail(f"cannot look up '{self._address.host}': {answer}")
        elif not answer:
            self._fail(f"no address found for '{self._address.host}'")
        else:
            self._dial(answer)

    def _dial(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = _in_turn(candidates)
        room = TURNS_WITHIN * self._timeout / max(1, len(self._candidates))
        self._stagger = max(LEAST_STAGGER, min(STAGGER, room))
        self._todo.extend(self._candidates)
        self._phase("dialing")
        if not self._finished:
            self._try_next()

    def _try_next(self) -> None:
        """Try the next address, or the one after it where that one fails at once."""
        began = time.monotonic()
        if self._next_turn is not None:
            began = min(began, self._next_turn.when)
            self._next_turn.cancel()
            self._next_turn = None
        while self._todo and self._has_room:
            if self._try(self._todo.popleft()):
                self._begin_turn(began)
                return
            if self._finished:
                return
        if not self._connecting:
            self._fail("; ".join(filter(None, (_timed_out(self._mute), _summary(self._failures)))))

    @property
    def _has_room(self) -> bool:
        """Whether there is a file descriptor for one more address, or none to wait for until there is."""
        return not self._connecting or shortage() is None

    def _begin_turn(self, began: float) -> None:
        """Wait for the answers of those that are being tried, until it is the next one's turn.

        Args:
            began: when the present turn should have begun (monotonic, s): where the thread is late, the next
            ones
                catch up, or a busy computer would leave the last ones without a turn.
        """
        if len(self._connecting) > MAX_CONNECTING:
            self._give_up(next(iter(self._connecting)))
        if self._todo:
            when = max(began + self._stagger, time.monotonic() + LEAST_STAGGER)
            self._next_turn = self._loop.call_at(when, self._try_next)

    def _give_up(self, sock: socket.socket) -> None:
        """Wait no longer for the answer of this address."""
        self._mute.append(self._connecting.pop(sock))
        self._loop.unregister(sock)
        drop(sock)

    def _try(self, candidate: Candidate) -> bool:
        """Begin to connect; return whether an answer is still to come."""
        where = describe(candidate.sockaddr)
        try:
            sock = socket.socket(candidate.family, socket.SOCK_STREAM)
        except OSError as error:
            self._failures.append((where, error))
            return False
        try:
            prepare(sock)
            number = sock.connect_ex(candidate.sockaddr)
            # Not a Unix socket's EAGAIN: the server's queue is full, and nothing notifies us when it is not.
            if number in _IN_PROGRESS and not (number == errno.EAGAIN and self._address.path):
                self._loop.register(sock, EVENT_WRITE, partial(self._answered, sock))
                self._connecting[sock] = where
                return True
            if number:
                raise OSError(number, os.strerror(number))
        except OSError as error:
            drop(sock)
            self._failures.append((where, more_exact(error, candidate.family, candidate.sockaddr)))
            return False
        self._connected(sock, where)
        return False

    def _answered(self, sock: socket.socket, mask: int) -> None:
        where = self._connecting.pop(sock, None)
        if where is None:  # closed by another's answer in the same round of the loop
            return
        self._loop.unregister(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._failures.append((where, OSError(number, os.strerror(number))))
            drop(sock)
        else:
            self._connected(sock, where)
        if not self._finished:
            self._try_next()

    def _connected(self, sock: socket.socket, where: str) -> None:
        try:
            own = not self._address.path and sock.getsockname() == sock.getpeername()
        except OSError as error:  # accepted and reset in the meantime
            self._failures.append((where, error))
            drop(sock)
            return
        if own:
            # TCP's simultaneous open: nobody listens, and the kernel chose for this end the very port that it
            # connects to (RFC 9293, 3.5). Reset, so that the port is free again for the server.
            self._failures.append((where, OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))))
            abort(sock)
            return
        self._finish(sock)

    def _time_out(self) -> None:
        if self._lookup is not None:
            self._fail(
                f"timed out looking up '{self._address.host}': "
                f"no answer from the name service for {self._timeout:g} s"
            )
            return
        called = [*self._mute, *self._connecting.values()] or [self._address.display]
        self._fail("; ".join(filter(None, (_timed_out(called), _summary(self._failures)))))


def _in_turn(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return each address once, the families taking turns, the preferred one first (RFC 8305, 4)."""
    families: dict[int, deque[Candidate]] = {}
    for candidate in dict.fromkeys(candidates):
        families.setdefault(candidate.family, deque()).append(candidate)
    ordered: list[Candidate] = []
    while families:
        for family, queue in list(families.items()):
            ordered.append(queue.popleft())
            if not queue:
                del families[family]
    return ordered


def _timed_out(called: Sequence[str]) -> str:
    """Return that these addresses did not answer; "" for none."""
    return f"timed out connecting to {join_names(dict.fromkeys(called))}" if called else ""


def _summary(failures: Sequence[tuple[str, OSError]]) -> str:
    """Return each distinct failure once, with all the addresses that it concerns."""
    alike: dict[tuple[type[OSError], int | None, str | None], list[tuple[str, OSError]]] = {}
    for where, error in failures:
        alike.setdefault((type(error), error.errno, error.strerror), []).append((where, error))
    return "; ".join(
        reason_for(group[0][1], join_names(dict.fromkeys(where for where, _ in group)))
        for group in alike.values()
    )

"""The leader: a thread that waits for an answer, or for the next line, and reads the socket itself meanwhile.

The I/O thread looks away from that socket then, so that what is received needs no hand-over between threads.
For the first moment the waiting thread keeps the lock with which it has sent its question, which costs half
as much; after that it is the *leader*, and takes the lock for each read. Everybody else who waits sleeps, and
is woken (see waiting.py).
"""

from __future__ import annotations

import _thread
import math
import select
import socket
import time
from collections.abc import Callable

from ..lines.store import Runs
from ..protocol.connection import Connection
from . import interrupts, sockets
from .flow_control import FlowControl
from .interrupts import Shield, guard
from .lock import Strand
from .transport import PROMPT, Transport
from .waiting import Waiters

__all__ = ["Leader"]

LEASE = 0.02
"""Seconds that the I/O thread looks away from a socket that another thread has just read: who asks once
mostly asks again, and neither a row of questions nor a reader's reading is to change the selector each time.
A line that nobody waits for is read that much later at most."""
LONG_MOMENT = 0.02
"""Seconds that a read may take that blocks for its answer, as with a prompt peer: some 10 ms where that is
slower this time. Who has less time asks first whether there is something to read."""
LONGEST_POLL = 1e9
"""Milliseconds; poll(2) takes an int. Whoever waits for longer than eleven days does so in pieces."""

_get_ident = _thread.get_ident
_monotonic = time.monotonic


class Leader:
    """Who reads one connection's socket: the I/O thread, or a thread that waits.

    Attributes:
        thread: the leader's identifier; 0: there is none.
        lease_ends: until when the I/O thread looks away though there is no leader (monotonic, s); 0: it does
            not.
        was_prompt: whether the last answer came within a moment: then the next one is waited for by reading.
    """

    __slots__ = (
        "_connection",
        "_discarded",
        "_done",
        "_flow",
        "_poller",
        "_strand",
        "_transport",
        "_waiters",
        "_wake_pair",
        "_woken",
        "lease_ends",
        "thread",
        "was_prompt",
    )

    def __init__(
        self,
        strand: Strand,
        connection: Connection,
        transport: Transport,
        flow: FlowControl,
        waiters: Waiters,
    ) -> None:
        self._strand = strand
        self._connection = connection
        self._transport = transport
        self._flow = flow
        self._waiters = waiters
        self.thread = 0
        self.lease_ends = 0.0
        self.was_prompt = False
        self._done: Callable[[], bool] | None = None
        self._poller: select.poll | None = None
        self._wake_pair: tuple[socket.socket, socket.socket] | None = None
        self._woken = False  # whether a byte lies in it
        self._discarded: list[tuple[socket.socket, bool]] = []

    # -- for the thread that waits ---------------------------------------------------------------------------

    def read_until(self, done: Callable[[], bool], line_sink: Runs | None = None) -> None:
        """Block until `done()` is true, reading the socket meanwhile; see `call_and_wait`."""
        self.call_and_wait(_nothing, done, math.inf, _nothing, line_sink)

    def call_and_wait(
        self,
        work: Callable[[], None],
        done: Callable[[], bool],
        ends: float,
        give_up: Callable[[], None],
        line_sink: Runs | None = None,
    ) -> None:
        """Do `work`, then block until it is done, reading the socket meanwhile for a quick answer.

        Any thread but the I/O thread. Ctrl-C ends the waiting.

        Args:
            work: called with the lock held.
            done: whether there is nothing more to wait for; once true, it stays true. Called with the lock
                held and without, and must be quick.
            ends: until when to wait (monotonic, s).
            give_up: called soon, with the lock held, if the waiting was in vain or interrupted.
            line_sink: gets the lines that were read by this thread.
        """
        shield = guard()
        try:
            finished = False
            try:
                finished = self._ask(work, done, ends, line_sink, shield) or done()
                if not finished and _monotonic() < ends:
                    self._waiters.wait_until(done, ends, shield)
            finally:
                if not finished and not done():
                    # Posted: after an interrupt, another thread's step may be what takes so long.
                    self._strand.post(give_up)
        finally:
            if shield is not None:
                shield.lift()

    def _ask(
        self,
        work: Callable[[], None],
        done: Callable[[], bool],
        ends: float,
        line_sink: Runs | None,
        shield: Shield | None,
    ) -> bool:
        """Do `work`, then read as long as this thread may; return whether `done()` was true at once."""
        me = _get_ident()
        leads = False

        def begin() -> bool:  # on another thread, if that holds the lock
            nonlocal leads
            work()
            if not done() and _get_ident() == me:
                self._read_quickly(ends, line_sink)
            if done():
                return True
            leads = self._take_lead(me, done)
            return False

        try:
            finished = self._strand.call_shielded(begin, shield)
            if leads:
                self._lead(ends, line_sink, shield)
        finally:
            # Also where another thread has begun, and an interrupt came then.
            if leads and self.thread == me:
                self._strand.call_shielded(self._leave, None)
        return finished

    def _lead(self, ends: float, line_sink: Runs | None, shield: Shield | None) -> None:
        """Read until that has brought what is waited for, until time is over, or until the socket is gone."""
        poller, me = self._poller, _get_ident()
        while poller is not None and self._poller is poller:
            left = (ends - _monotonic()) * 1000
            if left <= 0:
                return
            if self._connection.inbox.has_buffered or _poll(poller, left, shield):
                self._strand.call_shielded(lambda: self._read_as_leader(line_sink), None)
                if self.thread != me:
                    return

    # -- with the lock held, on the thread that waits --------------------------------------------------------

    def _may_read(self) -> bool:
        """Return whether a thread that waits may read the socket itself; makes the poller for it."""
        sock, loop = self._transport.sock, self._transport.loop
        if sock is None or self.thread or loop is None or not loop.shared:
            return False
        if self._connection.inbox.is_framing:
            return False
        if self._flow.paused and self._flow.reconsider():
            return False
        if self._poller is None:
            self._poller = select.poll()
            self._poller.register(sock, select.POLLIN)
            if self._wake_pair is not None:  # of the connection before
                self._poller.register(self._wake_pair[0], select.POLLIN)
        return True

    def _read_quickly(self, ends: float, line_sink: Runs | None) -> None:
        """Send what is to be sent, and read the answer if it comes within a moment, without releasing the
        lock meanwhile: that is half of what a leader costs.

        A peer that was prompt last time is waited for by the read itself, which spares the question whether
        there is something to read. That takes some milliseconds where it is slower this time, so it is done
        only once, and not where `ends` is near.
        """
        if not self._may_read():
            return
        now = _monotonic()
        self.lease_ends = now + LEASE
        transport, poller = self._transport, self._poller
        transport.push(0)
        if transport.sock is None or poller is None or not self._connection.lifecycle.is_open:
            return
        if self._connection.inbox.has_buffered:
            self._flow.receive(line_sink)
        elif self.was_prompt and now < ends - LONG_MOMENT:
            self.was_prompt = self._flow.receive(line_sink, wait=True)
        elif poller.poll(PROMPT):
            self._flow.receive(line_sink)
            self.was_prompt = bool(transport.no_wait)

    def _take_lead(self, leader: int, done: Callable[[], bool]) -> bool:
        """Have the thread `leader` read from now on, if it may, and can be woken meanwhile; return whether it
        does.
        """
        if not self._may_read() or self._poller is None:
            return False
        if self._wake_pair is None:
            try:
                self._wake_pair = socket.socketpair()
            except OSError:  # too many open files: the I/O thread will do
                return False
            for end in self._wake_pair:
                end.setblocking(False)
            self._poller.register(self._wake_pair[0], select.POLLIN)
        self.thread = leader
        self._done = done
        return True

    def _read_as_leader(self, line_sink: Runs | None) -> None:
        """Read once, and leave the lead if that has brought what is waited for."""
        flow = self._flow
        if self._transport.sock is not None and not flow.paused:
            flow.receive(line_sink)
        self._take_wake_up()
        if flow.paused or self._connection.inbox.is_framing:
            self._leave()
        elif self._done is not None and self._done():
            if self._transport.sock is not None:
                self.lease_ends = _monotonic() + LEASE
            self._leave()

    def _leave(self) -> None:
        self.thread = 0
        self._done = None
        discarded, self._discarded = self._discarded, []
        for sock, orderly in discarded:
            _close(sock, orderly)
        if self.lease_ends:
            self._take_wake_up()
        else:
            self._close_wake_pair()

    def _take_wake_up(self) -> None:
        if self._woken and self._wake_pair is not None:
            self._woken = False
            try:
                self._wake_pair[0].recv(64)
            except BlockingIOError:
                pass

    # -- with the lock held, on any thread -------------------------------------------------------------------

    @property
    def is_elsewhere(self) -> bool:
        """Whether a thread other than the calling one leads."""
        return bool(self.thread) and self.thread != _get_ident()

    def wake(self) -> None:
        """Have the leader look at what it waits for, at what is buffered, or for its socket."""
        if self._wake_pair is not None:
            self._woken = True
            try:
                self._wake_pair[1].send(b"\0")
            except BlockingIOError:
                pass

    def wake_if_done(self) -> None:
        """Wake the leader if another thread's step has brought what it waits for."""
        if self.is_elsewhere and (self._done is None or self._done()):
            self.wake()

    def end_lease(self) -> None:
        """Have the I/O thread read again."""
        self.lease_ends = 0.0
        if not self.thread:
            self._close_wake_pair()

    def discard(self, sock: socket.socket, *, orderly: bool) -> None:
        """Close the socket, once no leader waits on it.

        Args:
            sock: what is to be closed.
            orderly: whether what was not acknowledged may still arrive; see `sockets.abort`.
        """
        if self.is_elsewhere:
            # It may be waiting on this very descriptor, whose number must not be used again before it has
            # left.
            self._discarded.append((sock, orderly))
            self.wake()
        else:
            _close(sock, orderly)

    @property
    def has_discarded(self) -> bool:
        """Whether a socket is still to be closed."""
        return bool(self._discarded)

    @property
    def can_be_woken(self) -> bool:
        """Whether there is what a leader is woken by, which costs two file descriptors."""
        return self._wake_pair is not None

    def socket_opened(self) -> None:
        """Know nothing of the peer yet."""
        self.was_prompt = False

    def socket_released(self) -> None:
        """Have a leader end its reading, and let go of what belongs to the socket."""
        self._poller = None
        self.end_lease()

    def forget(self) -> None:
        """Forget the leader: in a forked child, that thread does not exist."""
        self.thread = 0
        self._done = None
        self.lease_ends = 0.0
        for sock, _ in self._discarded:
            sockets.drop(sock)
        self._discarded = []
        self._close_wake_pair()

    def _close_wake_pair(self) -> None:
        """Let go of what only a leader needs: an idle connection holds one file descriptor, not three."""
        if self._wake_pair is not None:
            for end in self._wake_pair:
                end.close()
            self._wake_pair = None
        self._woken = False
        self._poller = None


def _poll(poller: select.poll, left: float, shield: Shield | None) -> object:
    """Wait for what the poller knows, at most `left` milliseconds, without the lock; with a shield, an
    interrupt ends it.
    """
    if shield is None:
        return poller.poll(min(left, LONGEST_POLL))
    try:
        shield.open()
        return poller.poll(min(left, interrupts.PATIENCE * 1000))
    finally:
        shield.close()


def _close(sock: socket.socket, orderly: bool) -> None:
    if orderly:
        sockets.drop(sock)
    else:
        sockets.abort(sock)


def _nothing() -> None:
    pass

"""The socket of one connection: reads, writes, and asks the kernel about it. Decides nothing.

What is read goes straight into the connection, and what it wants to send straight to the kernel. All methods
are called with the connection's lock held, unless they say otherwise.
"""

from __future__ import annotations

import errno
import mmap
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ConnectionLost
from ..protocol.connection import Connection
from ..protocol.kernel_rules import longest_retransmission, user_timeout
from ..protocol.tcp_info import TcpInfo, unanswered
from ..settings import KeepAlive
from . import sockets
from .lock import Strand
from .loop import EVENT_READ, EVENT_WRITE, Loop
from .sockets import SockAddr

__all__ = ["PROMPT", "Opened", "Transport"]

PROMPT = 1
"""Milliseconds for which a read may block that expects its answer at once; see `sockets.let_wait`."""
SCRATCH = 2 * 1024 * 1024
"""Bytes that one read of ciphertext takes at most: many TLS records for each hand-over of the interpreter's
lock, and the sender is woken seldom. Half of it costs a reader a tenth of its speed, and twice as much a
twentieth."""

_scratch = threading.local()
_monotonic = time.monotonic


@dataclass(frozen=True, slots=True)
class Opened:
    """What there is to say of a socket that was just connected.

    Attributes:
        peer: the peer's address as the kernel gives it, for display.
        local: this end's address, likewise.
        keepalive: the keepalive in force; None for a Unix socket, which has none.
    """

    peer: str
    local: str
    keepalive: KeepAlive | None


class Transport:
    """The socket, and what the I/O thread waits for on it.

    Attributes:
        sock: the connected socket; None while there is none.
        loop: the loop that waits for it; None while there is no socket.
        interest: what the I/O thread waits for on it, of EVENT_READ and EVENT_WRITE; 0: for nothing.
        local: the socket's own address, as the socket module gives it.
        no_wait: the flag for each call on the socket that is not to block; 0 where no call does.
    """

    __slots__ = ("_connection", "_on_ready", "_strand", "interest", "local", "loop", "no_wait", "sock")

    def __init__(self, strand: Strand, connection: Connection, on_ready: Callable[[int], None]) -> None:
        """Make it without a socket.

        Args:
            strand: the connection's lock.
            connection: takes what is read, and gives what is to be sent.
            on_ready: called on the I/O thread, without the lock, with what the socket is ready for.
        """
        self._strand = strand
        self._connection = connection
        self._on_ready = on_ready
        self.interest = 0
        self.sock: socket.socket | None = None
        self.loop: Loop | None = None
        self.local: SockAddr = None
        self.no_wait = 0

    # -- opening and releasing -------------------------------------------------------------------------------

    def open(self, sock: socket.socket, loop: Loop, keepalive: KeepAlive) -> Opened:
        """Take over a connected socket.

        Raises:
            OSError: it was lost already, or the kernel refuses an option; nothing is taken over then.
        """
        local = sock.getsockname()
        peer = sockets.describe(sock.getpeername())
        self._apply(sock, keepalive, user_timeout(keepalive))
        in_force = None if sock.family == sockets.AF_UNIX else sockets.read_keepalive(sock)
        self.no_wait = sockets.let_wait(sock, PROMPT)
        self.sock, self.loop, self.local = sock, loop, local
        self.interest = 0
        return Opened(peer, sockets.describe(local), in_force)

    def release(self, close: Callable[[socket.socket], None]) -> None:
        """Give the socket up, and have it closed by `close` when the I/O thread does not wait for it."""
        sock, loop = self.sock, self.loop
        self.sock = self.loop = self.local = None
        self.interest = 0
        if sock is None or loop is None:
            return

        def forget() -> None:
            loop.unregister(sock)
            close(sock)

        if loop.shared or loop.is_io_thread():
            forget()
        else:
            # It may be waiting on this very descriptor, and select(2) fails when that is closed.
            loop.call_soon(forget)

    def forget(self) -> None:
        """Close a forked child's copy of the socket, without a byte on the wire."""
        sock, self.sock = self.sock, None
        self.loop = self.local = None
        self.interest = 0
        if sock is not None:
            sockets.drop(sock)

    # -- what the I/O thread waits for -----------------------------------------------------------------------

    def push(self, wanted: int) -> None:
        """Send what is to be sent, and have the I/O thread wait for `wanted` (0 or EVENT_READ) and for room
        in the kernel, if that is full. The caller performs the connection's effects afterwards.
        """
        if self._connection.outbox.outgoing:
            if self.interest & ~wanted & EVENT_READ:
                # Before the line is sent, or the I/O thread would be woken by the answer that a leader is
                # about to read.
                self._attend(wanted)
            if self.flush():
                wanted |= EVENT_WRITE
        if wanted != self.interest:
            self._attend(wanted)

    def look_away(self) -> None:
        """Have the I/O thread ignore even the end of the connection, of which the selector notifies it again
        and again; `push` ends that.
        """
        if self.sock is not None and self.loop is not None:
            self.loop.unregister(self.sock)
            self.interest = 0

    def _attend(self, wanted: int) -> None:
        sock, loop = self.sock, self.loop
        if sock is None or loop is None:
            return
        if not loop.shared and not loop.is_io_thread():
            loop.call_soon(lambda: self._strand.post(_nothing))  # there, the step's end comes here again
            return
        loop.attend(sock, wanted, self._on_ready)
        self.interest = wanted

    # -- reading and writing ---------------------------------------------------------------------------------

    def read(self, *, wait: bool = False, failure: OSError | None = None) -> bool:
        """Read once, or process what is still buffered.

        Args:
            wait: block for about `PROMPT` milliseconds if nothing is there, where the system can.
            failure: why writing has failed, if it has: more exact than the end of the file.

        Returns:
            Whether that brought bytes.
        """
        sock, connection = self.sock, self._connection
        if sock is None:
            return False
        if connection.inbox.has_buffered:
            connection.go_on(_monotonic())
            return True
        flags = 0 if wait else self.no_wait
        try:
            if connection.inbox.is_in_place:
                size = sock.recv_into(connection.transcript.room(), 0, flags)
                if size:
                    connection.committed(size, _monotonic())
                    return True
            else:
                try:
                    scratch: memoryview = _scratch.view
                except AttributeError:
                    scratch = _scratch.view = _new_scratch()
                size = sock.recv_into(scratch, connection.inbox.reads_at_most(SCRATCH), flags)
                if size:
                    connection.received(scratch[:size], _monotonic())
                    return True
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            connection.fail(self.loss(error), _monotonic())
            return False
        self._end_of_file(failure)
        return False

    def _end_of_file(self, failure: OSError | None) -> None:
        if failure is not None and failure.errno == errno.ECONNRESET:
            # The kernel reports a reset once; after that, the end of a stream that the peer never ended.
            self._connection.fail(self.loss(failure), _monotonic())
        else:
            self._connection.received_eof(_monotonic())

    def read_rest(self, failure: OSError | None = None) -> None:
        """Read what is left of a connection that has ended, and why it has; `failure` as for `read`."""
        sock = self.sock
        while sock is not None and self.sock is sock and self._connection.lifecycle.is_open:
            if not self.read(failure=failure):
                break

    def flush(self) -> bool:
        """Hand to the kernel what it takes of what is to be sent; return whether something is left."""
        sock, outbox, no_wait = self.sock, self._connection.outbox, self.no_wait
        try:
            while sock is not None:
                if not outbox.hand_over(sock.send(outbox.next_outgoing(), no_wait)):
                    break
        except (BlockingIOError, InterruptedError):
            return True
        except OSError as error:
            # What the peer said before it closed may still be there to read, and says more than the failure
            # to write.
            self.read_rest(error)
            self._connection.fail(self.loss(error), _monotonic())
        return False

    def finish(self) -> None:
        """Send what is left, then the end of the stream."""
        left = bool(self._connection.outbox.outgoing) and self.flush()
        if self.sock is not None and not left:
            sockets.shut(self.sock)

    def send_alert(self) -> bool:
        """Send TLS's reason why the handshake has failed, and return whether that was possible: nothing else
        can be on its way.
        """
        sock = self.sock
        try:
            return sock is not None and sock.send(self._connection.outbox.next_outgoing(), self.no_wait) > 0
        except OSError:
            return False

    # -- what the kernel knows -------------------------------------------------------------------------------

    @property
    def has_hung_up(self) -> bool:
        """Whether the connection has failed, or has ended in both directions."""
        return self.sock is not None and sockets.has_hung_up(self.sock)

    def tcp_info(self) -> TcpInfo | None:
        """Return the kernel's account of the connection; None where it gives none."""
        raw = sockets.tcp_info(self.sock) if self.sock is not None else None
        return TcpInfo.unpack(raw) if raw is not None else None

    def acknowledged(self, info: TcpInfo | None) -> int | None:
        """Return how many bytes of the outgoing stream the peer has acknowledged; None: not known.

        Args:
            info: what `tcp_info` has returned.
        """
        if info is not None and info.acknowledged is not None:
            return info.acknowledged
        sock, handed_over = self.sock, self._connection.outbox.handed_over
        if sock is None:
            return None
        if sock.family == sockets.AF_UNIX:
            return handed_over  # the peer's kernel is ours
        waiting = sockets.outq(sock)
        return None if waiting is None else max(0, handed_over - waiting)

    def loss(self, error: OSError) -> ConnectionLost:
        """Return the loss of the connection that the kernel has reported as `error`."""
        return ConnectionLost(self._reason_for(error), ending=sockets.ending_of(error))

    def _reason_for(self, error: OSError) -> str:
        silence = ""
        if error.errno in sockets.SILENT and (info := self.tcp_info()) is not None:
            silence = unanswered(info)
        return sockets.reason_for(error, self._connection.settings.where, silence=silence)

    # -- options ---------------------------------------------------------------------------------------------

    def apply(self, keepalive: KeepAlive, user_timeout: int) -> None:
        """Have the kernel probe the peer, and give up, by these rules; the connection fails where it refuses.

        Args:
            keepalive: when it probes.
            user_timeout: milliseconds that sent data may stay unacknowledged; 0: the system's own rule.
        """
        if self.sock is None:
            return
        try:
            self._apply(self.sock, keepalive, user_timeout)
        except OSError as error:
            self._connection.fail(ConnectionLost(self._reason_for(error)), _monotonic())

    def change_keepalive(
        self, keepalive: KeepAlive, before: KeepAlive, info: TcpInfo | None
    ) -> KeepAlive | None:
        """Change the keepalive of the live socket.

        Args:
            keepalive: what is wanted.
            before: what is in force when that is refused.
            info: what `tcp_info` has returned.

        Returns:
            What the kernel gives back as in force; None without a TCP socket.

        Raises:
            OSError: the kernel refuses it.
        """
        sock, connection = self.sock, self._connection
        if sock is None or sock.family == sockets.AF_UNIX:
            return None
        try:
            self._apply(sock, keepalive, connection.watch.user_timeout(keepalive, info))
            return sockets.read_keepalive(sock)
        except OSError:
            self._apply(sock, before, connection.watch.user_timeout(before, info))
            raise

    def _apply(self, sock: socket.socket, keepalive: KeepAlive, user_timeout: int) -> None:
        sockets.apply_keepalive(sock, keepalive, user_timeout)
        limited = sockets.set_longest_retransmission(sock, longest_retransmission(keepalive))
        self._connection.watch.limit_pauses(limited)


def _new_scratch() -> memoryview:
    """Return memory for one thread's reads, of which only what is read into becomes real."""
    try:
        return memoryview(mmap.mmap(-1, SCRATCH, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except AttributeError:  # Windows, which knows no fork from which it is to be private
        return memoryview(mmap.mmap(-1, SCRATCH))


def _nothing() -> None:
    pass

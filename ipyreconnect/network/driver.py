"""Runs one connection: does what its protocol asks for on the operating system, one thread at a time (see
turn.py). Decides nothing.

**The leader.** A thread that waits for an answer, or for the next line, reads the socket itself meanwhile,
and the I/O thread looks away from that socket: what is received needs no hand-over between threads then. For
the first moment it keeps the turn with which it has sent its question, which is half the price; after
that it is the *leader*, and takes the turn for each read. Everybody else who waits is woken by a lock.
"""

from __future__ import annotations

import _thread
import errno
import logging
import math
import mmap
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from operator import length_hint
from typing import Any, Protocol, TypeVar

from ..address import Address
from ..errors import AttemptFailed, CallerError, ConnectionLost, SettingsError
from ..lines.transcript import Runs, Transcript
from ..protocol.configuration import Settings
from ..protocol.connection import Connection
from ..protocol.expect import Expectation
from ..protocol.health import Health
from ..protocol.judging import RULE_PATIENCE
from ..protocol.kernel_rules import longest_retransmission, user_timeout
from ..protocol.state import Effect, Phase, State
from ..protocol.status import Status
from ..protocol.tcp_info import TcpInfo, unanswered
from ..settings import KeepAlive, Retry
from . import changes, interrupts, sockets
from .dial import Dial
from .interrupts import Shield, guard
from .loop import EVENT_READ, EVENT_WRITE, Loop, Timer, acquire_loop, release_loop, serves
from .matcher import Matchers
from .netwatch import address_gone
from .turn import Turns

__all__ = ["Driver", "Follower", "Sink", "Waiter"]

SCRATCH = 2 * 1024 * 1024
"""Bytes that one read of ciphertext takes at most: many TLS records a hand-over of the interpreter lock, and
the sender woken seldom. Half of it costs a follower a tenth of its speed, and twice as much a twentieth."""
FOLLOW_SHARE = 4
"""A follower may be behind by this part of what the transcript keeps before the receiving waits for it."""
FOLLOW_PATIENCE = 0.1
"""Seconds without reading after which nobody waits for a follower: its pace is its own affair."""
RECORD_PATIENCE = 2.0
"""Seconds without writing after which nobody waits for a record: a disk may be slow for a moment, and is to
lose nothing then. For so long, too, is kept, beyond what the transcript keeps, what a quick follower reads
next: that holds up nobody."""
SLOW_READS = 2
"""A follower that has read so often in a row only after its patience is none of the quick ones: a single time
may be the machine's fault."""
LEASE = 0.02
"""Seconds that the I/O thread looks away from a socket that another thread has just read: who asks once
mostly asks again, and neither a row of questions nor a follower's reading is to change the selector each
time. A line that nobody waits for is read that much later at most."""
MOMENT = 1
"""Milliseconds that an answer is waited for with the turn: so long at most do others wait for that. Some 10
where the peer has just answered within one: see `_read_quickly`."""
LONG_MOMENT = 0.02
"""Seconds that such a reading may take: who has less time asks first."""
TCP_CLOSE = 7
"""The state of a socket whose connection has ended (include/net/tcp_states.h)."""
LONGEST_POLL = 1e9
"""Milliseconds; poll(2) takes an int. Whoever waits for longer than eleven days does so in pieces."""
TURN_PATIENCE = 0.001
"""Seconds that the I/O thread waits for the turn to serve a socket that is ready, before it looks after the
others and comes back to it: without it the selector would spin."""

log = logging.getLogger("ipyreconnect")
T = TypeVar("T")
_scratch = threading.local()
_get_ident = _thread.get_ident
_monotonic = time.monotonic
_wall_clock = time.time
_AF_UNIX = getattr(socket, "AF_UNIX", None)


class Sink(Protocol):
    """Who is told. Called with the turn, so on any thread: each only sets a flag, posts, or wakes
    somebody.
    """

    def changed(self, statuses: list[Status]) -> None:
        """Tell that the status changed, to each of these in turn."""

    def poke(self) -> None:
        """Tell that something may have changed."""

    def run_function(self, session: int) -> None:
        """Have the on-connect function run, as the session of that number."""

    def search(self, expectation: Expectation) -> None:
        """Have it looked for elsewhere, as its expression may take long."""

    def work(self, job: Callable[[], None]) -> None:
        """Have code of the user's run, after what was given before, on a thread of this client's."""


class Waiter:
    """Somebody who waits until `done()`; woken once, by `wake`."""

    __slots__ = ("done", "wake")

    def __init__(self, done: Callable[[], bool], wake: Callable[[], None]) -> None:
        self.done = done
        self.wake = wake


class Follower:
    """How far a reader of the received lines has come: the number of the line that it takes next, when it
    last read (monotonic, s), and whether it waits for more: then there is nothing to wait for it for.

    yields: whether it is waited for only while it keeps reading and nobody else needs the socket; else, as a
    record, for as long as RECORD_PATIENCE. Its methods may be called on any thread.
    """

    __slots__ = ("_left", "_part", "_slow_reads", "has_all", "next", "read_at", "yields")

    def __init__(self, start: int, *, yields: bool = False) -> None:
        self.next = start
        self.yields = yields
        self.has_all = False
        self._part: object = None
        self._left = 0
        self.begin(_monotonic())

    def begin(self, now: float) -> None:
        """Have it waited for, until it is seen to be slow."""
        self.read_at = now
        self._slow_reads = 0  # in a row

    def took(self, number: int, end: int, now: float, part: object = None) -> None:
        """Note that it has read up to line `number`, where the next line gets the number `end`. It still has
        to go through `part`, an iterator that tells how many are left; None: through nothing.
        """
        self._has_read(now)
        self._part = None
        self._left = 0 if part is None else length_hint(part) - 1  # the first of them is read with this
        self._part = part
        self.next = number
        self.has_all = part is None and number >= end

    def look(self, end: int, now: float) -> None:
        """See how far it has come by itself, where the next line gets the number `end`."""
        if self.has_all:
            if self.next < end:
                self.has_all = False
                self.read_at = now  # its patience begins: it may have waited for an hour
        elif (part := self._part) is not None and (left := length_hint(part)) < self._left:
            self._left = left
            self._has_read(now)

    def needs_more(self, end: int) -> bool:
        """Say whether it has nothing to read, where the next line gets the number `end`."""
        return self._part is None and self.next >= end

    def _has_read(self, now: float) -> None:
        if self.has_all or now - self.read_at <= FOLLOW_PATIENCE:
            self._slow_reads = 0
        else:
            self._slow_reads += 1
        self.read_at = now

    @property
    def is_waited_for_until(self) -> float:
        """When nobody waits for it any more (monotonic, s)."""
        if not self.yields:
            return self.read_at + RECORD_PATIENCE
        # Who reads now and then does not keep reading.
        return -math.inf if self._slow_reads else self.read_at + FOLLOW_PATIENCE

    @property
    def is_kept_for_until(self) -> float:
        """When what it reads next may be forgotten (monotonic, s)."""
        if self.yields and self._slow_reads >= SLOW_READS:
            return -math.inf
        return self.read_at + RECORD_PATIENCE


class Driver(Turns):
    """One client's way to the operating system; see the module's first lines."""

    __slots__ = (
        "__weakref__",
        "_address",
        "_armed",
        "_condemned",
        "_dial",
        "_dials",
        "_followers",
        "_hearers",
        "_interest",
        "_leader",
        "_leader_done",
        "_lease_ends",
        "_leased",
        "_local",
        "_loop",
        "_no_wait",
        "_pause_timer",
        "_paused",
        "_poller",
        "_prompt",
        "_sink",
        "_sock",
        "_thread",
        "_timer",
        "_waiters",
        "_wake_pair",
        "_woken",
        "connection",
        "ended",
        "keepalive",
    )

    def __init__(
        self,
        address: Address,
        settings: Settings,
        keepalive: KeepAlive,
        retry: Retry,
        transcript: Transcript,
        sink: Sink,
    ) -> None:
        if address.path and _AF_UNIX is None:
            raise SettingsError("Python has no Unix sockets on this system: give a host and a port")
        super().__init__()
        self.connection = Connection(settings, keepalive, retry, transcript, random.random)
        self.keepalive = keepalive
        self._address = address
        self._sink = sink
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        self._sock: socket.socket | None = None
        self._no_wait = 0  # the flag for each call on the socket that is not to wait
        self._prompt = False  # whether the last answer came within a moment
        self._interest = 0
        self._dial: Dial | None = None
        self._dials = 0
        self._timer: Timer | None = None
        self._armed = float("inf")
        self._waiters: list[Waiter] = []
        self._local: Any = None
        self._followers: list[Follower] = []
        self._hearers: tuple[Follower, ...] = ()  # readers whom nobody waits for
        self.connection.needed = partial(_needed, self._followers)
        self._paused = False
        self._pause_timer: Timer | None = None
        self._leader = 0
        self._leader_done: Callable[[], bool] | None = None
        self._leased = False
        self._lease_ends = 0.0
        self._woken = False
        self._poller: select.poll | None = None
        self._wake_pair: tuple[socket.socket, socket.socket] | None = None
        self._condemned: list[tuple[socket.socket, bool]] = []
        self.ended = 0
        """How often all was closed and done."""

    # -- the turn --------------------------------------------------------------------------------------------

    def _begin_turn(self) -> None:
        # Each time, as the wall clock may be set, and runs on while the computer sleeps.
        self.connection.wall_offset = _wall_clock() - _monotonic()

    def _settle_piece(self) -> None:
        if self.connection.effects:
            self._perform()

    def _went_wrong(self, error: Exception) -> None:
        """A fault of ours must neither hang the user nor go unseen: the connection is dropped, and says
        so.
        """
        log.error("unexpected error in the connection to %s", self._address, exc_info=error)
        self.connection.fail(
            ConnectionLost(f"internal error, please report it: {type(error).__name__}: {error}"),
            _monotonic(),
        )

    def _settle(self) -> None:
        """After each piece of work: do what the protocol asks for, send, arm the timer, tell."""
        connection = self.connection
        if connection.effects:
            self._perform()
        if connection.frames_wanted:
            self._have_framed()
        if connection.to_judge:
            self._have_judged()
        if connection.expectations.slow:
            slow, connection.expectations.slow = connection.expectations.slow, []
            for expectation in slow:
                self._sink.search(expectation)
        if self._sock is not None:
            self._push()
        if connection.held and not connection.is_framing:
            self._have_held_taken()
        if connection.socket_options is not None:
            self._apply_options()
        deadline = connection.deadline
        if deadline < self._armed:
            self._arm(deadline)
        if connection.changes:
            changes, connection.changes = connection.changes, []
            self._sink.changed(changes)
        if connection.session_wanted:
            connection.session_wanted = False
            self._sink.run_function(connection.session)
        self._wake_waiters()
        if (
            self._leader
            and self._leader != _get_ident()
            and (self._leader_done is None or self._leader_done())
        ):
            self._wake_leader()
        self._sink.poke()

    def _have_framed(self) -> None:
        """With the turn: give the user's framing what it is to do; its lines come back as work."""
        job = self.connection.take_frames()
        if job is None:
            return

        def run() -> None:
            lines: list[bytes] = []
            error: CallerError | None = None
            try:
                lines = job.run()
            except CallerError as raised:
                error = raised.with_traceback(None)
            self.post(lambda: self.connection.framed(job, lines, error, _monotonic()))

        self._sink.work(run)

    def _have_judged(self) -> None:
        """With the turn: have lines judged over which an expression may take long."""
        job = self.connection.take_job()
        if job is None:
            return

        def run() -> None:
            with Matchers(RULE_PATIENCE) as matchers:
                verdicts = job.run(matchers.search)
            self.post(lambda: self.connection.judged(job, verdicts, _monotonic()))

        self._sink.work(run)

    def _wake_waiters(self) -> None:
        """Wake those whose condition holds. With the turn."""
        for waiter in tuple(self._waiters):
            if waiter.done():
                self._waiters.remove(waiter)
                waiter.wake()

    def _push(self) -> None:
        """Send what waits, and have the I/O thread wait for what is to be waited for now."""
        # The pause is decided anew, as somebody may need the socket now.
        looks_away = (
            self._leased
            or self._leader
            or self.connection.is_framing
            or (self._paused and self._reconsider_pause())
        )
        wanted = 0 if looks_away else EVENT_READ
        if self.connection.outgoing:
            if self._interest & ~wanted & EVENT_READ:
                # Before the line leaves, or the I/O thread would be woken by the answer that a leader is
                # about to read.
                self._attend(wanted)
            if self._flush():
                wanted |= EVENT_WRITE
            if self.connection.effects:
                self._perform()
        if wanted != self._interest and self._sock is not None:
            self._attend(wanted)

    # -- what the protocol asks for --------------------------------------------------------------------------

    def _perform(self) -> None:
        connection = self.connection
        while connection.effects:
            effects, connection.effects = connection.effects, []
            for effect in effects:
                now = _monotonic()
                if effect is Effect.DROP:
                    acknowledged = self._acknowledged(self._account())
                    self._release_socket(orderly=connection.has_alert and self._send_alert())
                    connection.dropped(acknowledged, now)
                elif effect is Effect.DIAL:
                    self._begin_dial()
                elif effect is Effect.FINISH:
                    left = bool(connection.outgoing) and self._flush()
                    if self._sock is not None and not left:
                        sockets.shut(self._sock)
                elif effect is Effect.CLOSE:
                    acknowledged = self._acknowledged(self._account())
                    # What is not acknowledged by now is reported as unconfirmed, so it must not arrive later.
                    self._release_socket(
                        orderly=acknowledged is None or connection.all_acknowledged(acknowledged)
                    )
                    connection.dropped(acknowledged, now)
                elif effect is Effect.END:
                    connection.stopped(now)
                    self._end()

    def _begin_dial(self) -> None:
        if self._loop is None:
            try:
                self._loop = acquire_loop(self)
            except (OSError, RuntimeError, MemoryError) as error:  # too many open files, or threads: no I/O
                release_loop(self)
                self.connection.give_up(f"cannot start the I/O thread: {error}", _monotonic())
                return
            self._thread = self._loop.thread
            changes.subscribe(self, self._loop)
        self._dials += 1
        dial = self._dials
        self._dial = Dial(
            self._loop, self._address, lambda outcome: self._dialed(dial, outcome), self._progress
        )

    def _progress(self, phase: str) -> None:
        self.post(lambda: self.connection.progress(Phase(phase), _monotonic()))

    def _dialed(self, dial: int, outcome: socket.socket | AttemptFailed) -> None:
        def take_over() -> None:
            now = _monotonic()
            if self._dial is None or self._dials != dial:
                if isinstance(outcome, socket.socket):
                    sockets.abort(outcome)
                return
            self._dial = None
            if isinstance(outcome, AttemptFailed):
                self.connection.fail(outcome, now)
                return
            if _opens_files(self.connection.settings.context) and (error := sockets.shortage()) is not None:
                # No authority would be found, which would end it for good, as if nobody knew the server's.
                sockets.abort(outcome)
                self.connection.fail(AttemptFailed(sockets.reason_for(error, self._where)), now)
                return
            try:
                self._local = outcome.getsockname()
                # What a Unix socket was bound to may have been renamed since: its path is the user's.
                peer = self._address.path or sockets.describe(outcome.getpeername())
                local = sockets.describe(self._local)
                self._keep_alive(outcome, self.keepalive, user_timeout(self.keepalive))
                in_force = None if outcome.family == _AF_UNIX else sockets.read_keepalive(outcome)
                self._no_wait = sockets.let_wait(outcome, MOMENT)
            except OSError as error:
                self._local = None
                sockets.abort(outcome)
                self.connection.fail(AttemptFailed(sockets.reason_for(error, self._where)), now)
                return
            self._sock = outcome
            self._prompt = False
            self._interest = 0
            self.connection.dialed(peer or self._address.display, local, in_force, now)

        self.post(take_over)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = float("inf")
        if not self._leader:
            self._close_wake_pair()
        if self._loop is not None:
            loop, self._loop = self._loop, None
            changes.unsubscribe(self, loop)
            release_loop(self)
        self.ended += 1

    # -- the socket ------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return self.connection.settings.where

    def _attend(self, wanted: int) -> None:
        """Have the I/O thread wait for `wanted`; while a leader reads, it looks away."""
        sock, loop = self._sock, self._loop
        if sock is None or loop is None:
            return
        if not loop.shared and not loop.is_io_thread():
            loop.call_soon(lambda: self.post(_nothing))  # there, `_settle` comes here again
            return
        loop.attend(sock, wanted, self._ready)
        self._interest = wanted

    def _ready(self, mask: int) -> None:
        """On the I/O thread: the socket is ready."""
        self._try(lambda: self._step(mask), TURN_PATIENCE)

    def _step(self, mask: int) -> None:
        sock = self._sock
        if sock is None:
            return
        # While the receiving waits for a reader, only the end of the connection is told, and then there is
        # nothing to wait for any more; or what was asked for before.
        if self.connection.is_framing:
            if self._loop is not None and sockets.has_hung_up(sock):
                # That is told again and again; `_push` registers it anew when it is to be read.
                self._loop.unregister(sock)
                self._interest = 0
        elif mask & EVENT_READ and (not self._paused or sockets.has_hung_up(sock)):
            self._paused = False
            self._read_some(sock)

    def _read_some(self, sock: socket.socket, along: Runs | None = None, *, wait: bool = False) -> bool:
        """Read once, the lines into `along` as well, and let readers catch up that are far behind; return
        whether that brought bytes.
        """
        connection = self.connection
        if connection.is_framing:
            return False
        flags = 0 if wait else self._no_wait
        if along is None:
            brought = self._read(sock, flags)
        else:
            connection.along = along
            try:
                brought = self._read(sock, flags)
            finally:
                connection.along = None
        while not (self._followers and self._reconsider_pause()) and along is None and connection.held:
            self._wake_waiters()  # an on-connect function reads along by being asked
            connection.go_on(_monotonic())
        return brought

    def _have_held_taken(self) -> None:
        """With the turn: have what was held back taken over, by a leader where there is one, who need not
        wait for the socket; who has the lease, or a reader that is waited for, comes back by itself.
        """
        if self._leader and self._leader != _get_ident() and not self._paused:
            self._wake_leader()
        elif not (self._leader or self._leased or self._paused):
            self.post(self._go_on)

    def _go_on(self) -> None:
        """With the turn: take over what was held back, unless a pause has begun."""
        if self._sock is not None and self.connection.held and not self._paused:
            self._read_some(self._sock)

    def _read(self, sock: socket.socket, flags: int, failure: OSError | None = None) -> bool:
        """Read once; return whether that brought bytes. `failure` is why writing failed, if it did."""
        connection = self.connection
        if connection.held:
            connection.go_on(_monotonic())
            return True
        try:
            if connection.receives_in_place:
                size = sock.recv_into(connection.transcript.room(), 0, flags)
                if size:
                    connection.committed(size, _monotonic())
                    return True
            else:
                try:
                    scratch: memoryview = _scratch.view
                except AttributeError:
                    scratch = _scratch.view = _new_scratch()
                size = sock.recv_into(scratch, connection.reads_at_most(SCRATCH), flags)
                if size:
                    connection.received(scratch[:size], _monotonic())
                    return True
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            connection.fail(self._loss(error), _monotonic())
            return False
        if failure is not None and failure.errno == errno.ECONNRESET:
            # The kernel tells of a reset once, then of an end that nobody has said.
            connection.fail(self._loss(failure), _monotonic())
        else:
            connection.received_eof(_monotonic())
        return False

    def _flush(self) -> bool:
        """Hand to the kernel what it takes of what waits; return whether something is left."""
        sock, connection, no_wait = self._sock, self.connection, self._no_wait
        try:
            while sock is not None:
                if not connection.handed_over(sock.send(connection.next_outgoing(), no_wait)):
                    break
        except (BlockingIOError, InterruptedError):
            return True
        except OSError as error:
            # What the peer said before it closed may still be there to read, and says more than the failure
            # to write.
            self._read_last(error)
        return False

    def _send_alert(self) -> bool:
        """Say why the handshake has failed, if that is possible; nothing else can be on its way."""
        sock = self._sock
        try:
            return sock is not None and sock.send(self.connection.next_outgoing(), self._no_wait) > 0
        except OSError:
            return False

    def _read_last(self, error: OSError) -> None:
        self._read_rest(error)
        self.connection.fail(self._loss(error), _monotonic())

    def _loss(self, error: OSError) -> ConnectionLost:
        return ConnectionLost(self._reason(error), ending=sockets.ending_of(error))

    def _reason(self, error: OSError) -> str:
        if error.errno in sockets.SILENT and (info := self._account()) is not None:
            return sockets.reason_for(error, self._where, silence=unanswered(info))
        return sockets.reason_for(error, self._where)

    def _account(self) -> TcpInfo | None:
        """Return the kernel's account of the socket, where there is one."""
        raw = sockets.tcp_info(self._sock) if self._sock is not None else None
        return TcpInfo.unpack(raw) if raw is not None else None

    def _acknowledged(self, info: TcpInfo | None) -> int | None:
        """Return how much of the outgoing stream the peer has acknowledged, where the system tells."""
        if info is not None and info.acknowledged is not None:
            return info.acknowledged
        sock, handed_over = self._sock, self.connection.handed_over_bytes
        if sock is None:
            return None
        if sock.family == _AF_UNIX:
            return handed_over  # the peer's kernel is ours
        waiting = sockets.outq(sock)
        return None if waiting is None else max(0, handed_over - waiting)

    def look(self) -> Health:
        """Look at the connection's health now. With the turn."""
        connection = self.connection
        if self._sock is not None:
            # First: what takes long from here on (this thread may not get to run for seconds) makes nobody
            # look silent.
            now = _monotonic()
            if connection.seems_silent(now) and not self._paused:
                self._read_some(self._sock)
            info = self._account()
            if info is not None and info.state == TCP_CLOSE:
                self._read_rest()
            connection.looked(info, now, self._acknowledged(info))
        return connection.health

    def _read_rest(self, failure: OSError | None = None) -> None:
        """Read what is left of a connection that has ended, and why it has."""
        sock, connection = self._sock, self.connection
        while sock is not None and self._sock is sock and not connection.effects:
            if not self._read(sock, self._no_wait, failure):
                break

    def is_to_dial(self) -> bool:
        """Whether it dials anew now that the network has changed. The I/O thread."""
        local = self._local
        return self.connection.state is State.WAITING or (local is not None and address_gone(local))

    def network_changed(self, spread: float) -> None:
        """The network changed, or the computer has slept; who is to dial for it does so within `spread`
        seconds. The I/O thread.
        """
        local = self._local
        gone = local is not None and address_gone(local)
        if (dial := self._dial) is not None:
            dial.again()

        def act() -> None:
            now = _monotonic()
            if gone and self._sock is not None and self._local is local:
                self.connection.address_gone(sockets.describe(local), now, spread)
            else:
                self.connection.network_changed(now, spread)

        self.post(act)

    def _release_socket(self, *, orderly: bool) -> None:
        if self._dial is not None:
            dial, self._dial = self._dial, None
            if self._loop is not None:
                self._loop.call_soon(dial.cancel)
        sock, self._sock = self._sock, None
        self._local = None
        if sock is None:
            return
        loop = self._loop
        self._interest = 0
        self._leased = self._paused = False
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
        self._poller = None
        if not self._leader:
            self._close_wake_pair()
        if loop is not None and not loop.shared and not loop.is_io_thread():
            # It may be waiting on this very descriptor, and select(2) fails when that is closed.
            loop.call_soon(partial(_forget, loop, sock, orderly))
            return
        if loop is not None:
            loop.unregister(sock)
        if self._leader and self._leader != _get_ident():
            # It may be waiting on this very descriptor, whose number must not be used again before it has
            # left.
            self._condemned.append((sock, orderly))
            self._wake_leader()
        else:
            _close(sock, orderly)

    def _apply_options(self) -> None:
        """Keep the kernel's own rules in step with the watchdog's."""
        options, self.connection.socket_options = self.connection.socket_options, None
        if options is not None and self._sock is not None:
            try:
                self._keep_alive(self._sock, *options)
            except OSError as error:
                self.connection.fail(ConnectionLost(self._reason(error)), _monotonic())
                self._perform()

    def _keep_alive(self, sock: socket.socket, keepalive: KeepAlive, user_timeout: int) -> None:
        """Set all that decides how the kernel asks the peer, and when it gives up."""
        sockets.apply_keepalive(sock, keepalive, user_timeout)
        self.connection.pauses_limited = sockets.set_longest_retransmission(
            sock, longest_retransmission(keepalive)
        )

    # -- the timer -------------------------------------------------------------------------------------------

    def _arm(self, deadline: float) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        if self._loop is not None:
            changes.look_for_sleep(self._loop)
        self.post(self._due)

    def _due(self) -> None:
        self._timer = None
        self._armed = float("inf")
        connection = self.connection
        now = _monotonic()
        if self._leased:
            self._leased = now < self._lease_ends
            if self._leased:
                self._arm(self._lease_ends)
            elif not self._leader:
                self._close_wake_pair()
        connection.due(now)
        if now >= connection.wants_look:
            self.look()

    # -- waiting ---------------------------------------------------------------------------------------------

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `done()`, at most `timeout` seconds (None: for ever); return whether it was.

        `done` is called with the turn and must be quick. Any thread but the I/O thread; Ctrl-C ends it at
        once and leaves the connection as it was.
        """
        ends = None if timeout is None else _monotonic() + timeout
        shield = guard()
        try:
            return self._sleep_until(done, ends, shield)
        finally:
            if shield is not None:
                shield.lift()

    def read_until(self, done: Callable[[], bool], along: Runs | None = None) -> None:
        """Wait until `done()`, reading the socket meanwhile: what is received then needs no hand-over between
        threads, and `along` is given its lines. Any thread but the I/O thread; see `call_and_wait`.
        """
        self.call_and_wait(_nothing, done, math.inf, _nothing, along)

    def call_and_wait(
        self,
        work: Callable[[], None],
        done: Callable[[], bool],
        ends: float,
        give_up: Callable[[], None],
        along: Runs | None = None,
    ) -> None:
        """Do `work` with the turn, then wait until `done()` or `ends` (monotonic, s) as `wait` does, reading
        the socket meanwhile for a quick answer; `give_up` is called with the turn when that was in vain, or
        interrupted. along: is given the lines that were read so.

        `done` may be called without the turn too: once true, it stays true.
        """
        me = _get_ident()
        finished = leads = False

        def begin() -> bool:  # on another thread, if that has the turn
            nonlocal leads
            work()
            if done():
                return True
            if self._can_lead():
                if _get_ident() == me:
                    self._read_quickly(ends, along)
                    if done():
                        return True
                leads = self._can_lead() and self._take_lead(me, done)
            return False

        shield = guard()
        try:
            try:
                try:
                    finished = self._call(begin, shield)
                    if leads:
                        self._lead(ends, shield, along)
                finally:
                    # Also where another thread has begun, and an interrupt came then.
                    if leads and self._leader == me:
                        self._call(self._leave_lead)
                if not finished and not done() and _monotonic() < ends:
                    self._sleep_until(done, ends, shield)
            finally:
                if not finished and not done():
                    # Posted: after an interrupt, another thread's step may be what takes so long.
                    self.post(give_up)
        finally:
            if shield is not None:
                shield.lift()

    def _sleep_until(self, done: Callable[[], bool], ends: float | None, shield: Shield | None) -> bool:
        lock = _thread.allocate_lock()
        lock.acquire()
        waiter = Waiter(done, lock.release)
        try:
            if self._call(lambda: self._done_or_watched(waiter), shield):
                return True
            interrupts.acquire(lock, ends, shield)
        except BaseException:
            self.post(lambda: self.unwatch(waiter))
            raise
        return self._call(lambda: self._woken_or_done(waiter))

    def _done_or_watched(self, waiter: Waiter) -> bool:
        if waiter.done():
            return True
        self._waiters.append(waiter)
        return False

    def _woken_or_done(self, waiter: Waiter) -> bool:
        if waiter not in self._waiters:
            return True  # it was; that may be past already
        self._waiters.remove(waiter)
        return waiter.done()

    # -- followers -------------------------------------------------------------------------------------------

    def begin_following(self, place: Follower) -> None:
        """Have the receiving wait for a reader while it is far behind, at once if it is so now. Any thread;
        may be repeated.
        """

        def begin() -> None:
            place.begin(_monotonic())
            if place not in self._followers:
                self._followers.append(place)
            self._reconsider_pause()

        self.call(begin)

    def followed(self, place: Follower, number: int, part: object = None) -> None:
        """Note that a reader has read up to line `number`; see `Follower.took`. Any thread; cheap unless the
        receiving waits for a reader.
        """
        place.took(number, self.connection.transcript.end, _monotonic(), part)
        if self._paused:
            self.post(self._reconsider_pause)

    def end_following(self, place: Follower) -> None:
        """Forget a reader. Any thread, finalizers too."""

        def forget() -> None:
            if place in self._followers:  # or its beginning was interrupted, or it has ended before
                self._followers.remove(place)
                self._reconsider_pause()

        self.post(forget)

    def begin_hearing(self, place: Follower) -> None:
        """Have nobody's slowness hold up a reader that is told of the lines, and never waited for. With the
        turn.
        """
        self._hearers = (*self._hearers, place)

    def end_hearing(self, place: Follower) -> None:
        """Forget such a reader. With the turn."""
        self._hearers = tuple(each for each in self._hearers if each is not place)

    def _reconsider_pause(self) -> bool:
        """Decide whether the receiving waits for a reader; return whether it does."""
        # Before the readers are looked at: one that reads on meanwhile sees it, and has this decided again.
        self._paused = True
        transcript = self.connection.transcript
        recent, end, now = transcript.recent(FOLLOW_SHARE), transcript.end, _monotonic()
        until = math.inf
        for place in self._followers:
            place.look(end, now)
            if place.next < recent:
                waited_until = place.is_waited_for_until
                if now < waited_until < until and not (place.yields and self._is_needed(place, end)):
                    until = waited_until
        self._paused = until < math.inf and self._sock is not None
        if self.connection.reading is self._paused:
            self.connection.set_reading(not self._paused, _monotonic())
        if self._paused:
            self._leased = False  # or nobody would read until it is over, though the pause has ended before
        if self._paused and self._pause_timer is None and self._loop is not None:
            # One, however often it is paused meanwhile: who reads on moves what it waits for, not the timer.
            self._pause_timer = self._loop.call_at(until, lambda: self.post(self._pause_over))
        return self._paused

    def _is_needed(self, slow: Follower, end: int) -> bool:
        """Whether anybody but the reader `slow` needs what the socket brings, where the next line gets the
        number `end`: other readers do when they have all that there is.
        """
        return self.connection.needs_to_receive or any(
            place is not slow and place.needs_more(end) for place in (*self._followers, *self._hearers)
        )

    def _pause_over(self) -> None:
        self._pause_timer = None
        self._reconsider_pause()

    def watch(self, waiter: Waiter) -> None:
        """Wake `waiter` when it is done, at once if it is already. Any thread."""
        self.call(lambda: self._waiters.append(waiter))

    def unwatch(self, waiter: Waiter) -> None:
        """Wake `waiter` no more. With the turn."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _can_lead(self) -> bool:
        """Whether a thread that waits may read the socket itself."""
        loop = self._loop
        if self._sock is None or self._leader or loop is None or not loop.shared:
            return False
        if self.connection.is_framing:
            return False
        if self._paused and self._reconsider_pause():
            return False
        if self._poller is None:
            self._poller = select.poll()
            self._poller.register(self._sock, select.POLLIN)
            if self._wake_pair is not None:  # of the connection before
                self._poller.register(self._wake_pair[0], select.POLLIN)
        return True

    def _take_lead(self, leader: int, done: Callable[[], bool]) -> bool:
        """Have the thread `leader` read from now on, if it can be woken meanwhile."""
        if self._poller is None:
            return False
        if self._wake_pair is None:
            try:
                self._wake_pair = socket.socketpair()
            except OSError:  # too many open files: the I/O thread will do
                return False
            for end in self._wake_pair:
                end.setblocking(False)
            self._poller.register(self._wake_pair[0], select.POLLIN)
        self._leader = leader
        self._leader_done = done
        return True

    def _read_quickly(self, ends: float, along: Runs | None) -> None:
        """With the turn: send what waits, and read the answer if it comes within a moment, without giving the
        turn back meanwhile: that is half of what a leader costs.

        A peer that was prompt last time is waited for by the reading itself, which spares the question
        whether there is something to read. That takes some milliseconds where it is slower this time, so
        only once, and not where `ends` (monotonic, s) is near.
        """
        now = _monotonic()
        self._leased = True
        self._push()
        sock, poller = self._sock, self._poller
        if sock is None or poller is None:
            return
        if self.connection.held:
            self._read_some(sock, along)
        elif self._prompt and now < ends - LONG_MOMENT:
            self._prompt = self._read_some(sock, along, wait=True)
        elif poller.poll(MOMENT):
            self._read_some(sock, along)
            self._prompt = bool(self._no_wait)
        self._lease(now)

    def _lead(self, ends: float, shield: Shield | None, along: Runs | None) -> None:
        """Read until that has brought what is waited for, until time is over, or until the socket is gone."""
        poller = self._poller
        while poller is not None and self._poller is poller:
            left = (ends - _monotonic()) * 1000
            if left <= 0:
                return
            if self.connection.held:
                ready: object = True
            elif shield is None:
                ready = poller.poll(min(left, LONGEST_POLL))
            else:
                try:
                    shield.open()
                    ready = poller.poll(min(left, interrupts.PATIENCE * 1000))
                finally:
                    shield.close()
            if ready:
                self._call(lambda: self._lead_step(along))
                if self._leader != _get_ident():
                    return

    def _lead_step(self, along: Runs | None) -> None:
        """With the turn: read, and give up the lead when that brought what is waited for."""
        if self._sock is not None and not self._paused:
            self._read_some(self._sock, along)
        self._forget_wake()
        if self._paused or self.connection.is_framing:
            self._leave_lead()
        elif self._leader_done is not None and self._leader_done():
            if self._sock is not None:
                self._lease(_monotonic())
            self._leave_lead()

    def _lease(self, now: float) -> None:
        """Have the I/O thread look away for a moment longer."""
        self._leased = True
        self._lease_ends = ends = now + LEASE
        if self._armed > ends:
            self._arm(ends)

    def _leave_lead(self) -> None:
        self._leader = 0
        self._leader_done = None
        condemned, self._condemned = self._condemned, []
        for sock, orderly in condemned:
            _close(sock, orderly)
        if self._leased:
            self._forget_wake()
        else:
            self._close_wake_pair()

    def _forget_wake(self) -> None:
        if self._woken and self._wake_pair is not None:
            self._woken = False
            try:
                self._wake_pair[0].recv(64)
            except BlockingIOError:
                pass

    def _wake_leader(self) -> None:
        if self._wake_pair is not None:
            self._woken = True
            try:
                self._wake_pair[1].send(b"\0")
            except BlockingIOError:
                pass

    def _close_wake_pair(self) -> None:
        """Let go of what only a leader needs: an idle connection holds one file descriptor, not three."""
        if self._wake_pair is not None:
            for end in self._wake_pair:
                end.close()
            self._wake_pair = None
        self._woken = False
        self._poller = None

    # -- settings that change on the live socket -------------------------------------------------------------

    def set_keepalive(self, keepalive: KeepAlive) -> KeepAlive | None:
        """Change the keepalive, also of the live socket; return what is in force as the kernel gives it back.
        With the turn.

        Raises OSError when the kernel refuses it; then what was in force stays.
        """
        sock, info = self._sock, self._account()
        in_force = None
        if sock is not None and sock.family != _AF_UNIX:
            try:
                self._keep_alive(sock, keepalive, self.connection.user_timeout(keepalive, info))
                in_force = sockets.read_keepalive(sock)
            except OSError:
                self._keep_alive(sock, self.keepalive, self.connection.user_timeout(self.keepalive, info))
                raise
        self.keepalive = keepalive
        self.connection.keepalive_changed(keepalive, in_force, info, _monotonic())
        return in_force

    # -- the process -----------------------------------------------------------------------------------------

    @property
    def at_rest(self) -> bool:
        """Whether nothing is left of any connection. With the turn."""
        return self._loop is None and not self._condemned and not self.connection.effects

    def ends(self, thread: threading.Thread) -> bool:
        """Say whether the I/O thread `thread` serves nobody any more."""
        return not serves(thread)

    @property
    def loop_thread(self) -> threading.Thread | None:
        """The I/O thread that this connection needs, or was the last to need."""
        return self._thread

    def at_exit(self) -> None:
        """Stop; the loop waits for as long as an orderly end takes."""
        # Posted: what ended the process may have torn a step of this very thread, a signal's handler say.
        self.post(lambda: self.connection.stop(_monotonic()))

    def after_fork(self) -> None:
        """In the child: let go of the parent's connection without a byte on the wire."""
        self._renew_turn()
        self._inbox.clear()
        self._waiters.clear()
        for sock in (self._sock, *(sock for sock, _ in self._condemned)):
            if sock is not None:
                sock.close()
        if self._dial is not None:
            self._dial.cancel()
        self._sock = self._dial = self._timer = self._pause_timer = self._loop = self._thread = None
        self._armed = float("inf")
        self._interest = self._leader = 0
        self._condemned = []
        self._followers.clear()
        self._leader_done = None
        self._leased = self._paused = self._woken = False
        self._local = None
        self._close_wake_pair()
        # Nobody is told: a child would hardly want threads that call the parent's observers.
        self.connection.forked()
        self.connection.changes.clear()
        self.connection.effects.clear()


def _new_scratch() -> memoryview:
    """Return memory for one thread's reads, of which only what is read into becomes real."""
    try:
        return memoryview(mmap.mmap(-1, SCRATCH, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except AttributeError:  # Windows, which knows no fork from which it is to be private
        return memoryview(mmap.mmap(-1, SCRATCH))


def _opens_files(context: ssl.SSLContext | None) -> bool:
    """Say whether OpenSSL looks for authorities in a folder, during each handshake: it has none in memory."""
    if context is None or context.verify_mode is not ssl.CERT_REQUIRED:
        return False
    return not context.cert_store_stats()["x509_ca"]


def _needed(followers: list[Follower], end: int) -> float:
    """Return the number of the first line that one of them is about to read, if it is neither slow nor
    forgotten; see `Transcript.begin_writing`. With the turn.
    """
    now = _monotonic()
    first = math.inf
    for place in followers:
        place.look(end, now)
        if place.next < first and now < place.is_kept_for_until:
            first = place.next
    return first


def _forget(loop: Loop, sock: socket.socket, orderly: bool) -> None:
    loop.unregister(sock)
    _close(sock, orderly)


def _close(sock: socket.socket, orderly: bool) -> None:
    if orderly:
        sockets.drop(sock)
    else:
        sockets.abort(sock)


def _nothing() -> None:
    pass

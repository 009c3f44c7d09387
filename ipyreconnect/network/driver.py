"""Runs one connection: does what its protocol asks for on the operating system, one thread at a time (see
lock.py). Decides nothing.

The driver's parts each have a room of their own: the socket (transport.py), the pace of the receiving
(flow_control.py), the thread that reads while it waits (leader.py), and those who wait (waiting.py).
"""

from __future__ import annotations

import _thread
import logging
import math
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from ..address import Address
from ..errors import AttemptFailed, CallerError, ConnectionLost, SettingsError
from ..lines.store import Runs
from ..lines.transcript import Transcript
from ..protocol.configuration import Settings
from ..protocol.connection import Connection
from ..protocol.events import ApplyOptions, Event, Frame, Judge, RunFunction, StatusChanged
from ..protocol.expect import Expectation, Search
from ..protocol.health import Health
from ..protocol.judging import RULE_PATIENCE
from ..protocol.state import Effect, Phase, State
from ..protocol.status import Status
from ..settings import KeepAlive, Retry
from . import changes, sockets
from .dial import Dial
from .flow_control import FlowControl, ReaderPosition
from .leader import Leader
from .lock import Strand
from .loop import EVENT_READ, Loop, Timer, acquire_loop, release_loop, serves
from .matcher import Matchers
from .netwatch import address_gone
from .transport import Transport
from .waiting import Waiter, Waiters

__all__ = ["Driver", "ReaderPosition", "Sink", "Waiter"]

LOCK_PATIENCE = 0.001
"""Seconds that the I/O thread waits for the lock to serve a socket that is ready, before it looks after the
others and comes back to it: without it the selector would spin."""

log = logging.getLogger("ipyreconnect")
_get_ident = _thread.get_ident
_monotonic = time.monotonic
_wall_clock = time.time


class Sink(Protocol):
    """Who is notified of what happens to the connection.

    Called with the lock held, so on any thread: each method only sets a flag, posts, or wakes somebody.
    """

    def changed(self, statuses: list[Status]) -> None:
        """Take note that the status changed, to each of these in turn."""

    def poke(self) -> None:
        """Take note that something may have changed."""

    def run_function(self, session: int) -> None:
        """Have the on-connect function run, as the session of that number."""

    def search(self, expectation: Expectation) -> None:
        """Have it looked for elsewhere, as its expression may take long."""

    def work(self, job: Callable[[], None]) -> None:
        """Have code of the user's run, after what was given before, on a thread of this client's."""


class Driver(Strand):
    """One client's way to the operating system; see the module's first lines.

    Attributes:
        connection: the protocol; read and changed with the lock held.
        keepalive: the keepalive that is asked of the kernel.
        transport, flow, leader, waiters: the parts; for reading with the lock held.
        ended: how often everything was closed and done.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_armed",
        "_dial",
        "_dials",
        "_loop",
        "_sink",
        "_statuses",
        "_thread",
        "_timer",
        "connection",
        "ended",
        "flow",
        "keepalive",
        "leader",
        "transport",
        "waiters",
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
        if address.path and sockets.AF_UNIX is None:
            raise SettingsError("Python has no Unix sockets on this system: give a host and a port")
        super().__init__()
        self.connection = Connection(settings, keepalive, retry, transcript, random.random)
        self.keepalive = keepalive
        self.waiters = Waiters(self)
        self.transport = Transport(self, self.connection, self._ready)
        self.flow = FlowControl(self, self.connection, self.transport, self.waiters)
        self.leader = Leader(self, self.connection, self.transport, self.flow, self.waiters)
        self.ended = 0
        self._address = address
        self._sink = sink
        self._statuses: list[Status] = []  # of which nobody was told yet
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        self._dial: Dial | None = None
        self._dials = 0
        self._timer: Timer | None = None
        self._armed = math.inf  # when it fires

    # -- the step --------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return self.connection.settings.where

    def _begin_step(self) -> None:
        # Each time, as the wall clock may be set, and runs on while the computer sleeps.
        self.connection.wall_offset = _wall_clock() - _monotonic()

    def _settle_piece(self) -> None:
        if self.connection.events:
            self._perform()

    def _went_wrong(self, error: Exception) -> None:
        """Drop the connection, and say so: a fault of ours must neither hang the user nor go unseen."""
        log.error("unexpected error in the connection to %s", self._address, exc_info=error)
        self.connection.fail(
            ConnectionLost(f"internal error, please report it: {type(error).__name__}: {error}"),
            _monotonic(),
        )

    def _settle(self) -> None:
        """Do what the protocol asks for, send, arm the timer, and notify, after each piece of work."""
        connection = self.connection
        if connection.events:
            self._perform()
        if self.transport.sock is not None:
            self._push()
        if connection.inbox.has_buffered and not connection.inbox.is_framing:
            self._have_buffered_received()
        if (deadline := connection.deadline) < self._armed:
            self._arm(deadline)
        self._notify()

    def _push(self) -> None:
        """Send what is to be sent, and have the I/O thread wait for what is to be waited for now."""
        leader, flow, connection, transport = self.leader, self.flow, self.connection, self.transport
        wanted = EVENT_READ
        if flow.paused and flow.reconsider():  # decided anew, as somebody may need the socket now
            if leader.lease_ends:
                leader.end_lease()  # or nobody would read until it is over, though the pause has ended before
            wanted = 0
        elif leader.lease_ends:
            if leader.lease_ends < self._armed:
                self._arm(leader.lease_ends)
            wanted = 0
        elif leader.thread or connection.inbox.is_framing:
            wanted = 0
        if connection.outbox.outgoing or wanted != transport.interest:
            transport.push(wanted)
            if connection.events:
                self._perform()

    def _have_buffered_received(self) -> None:
        """Have what is still buffered processed: by a leader where there is one, who need not wait for the
        socket; who has the lease, or a reader that is waited for, comes back by itself.
        """
        leader = self.leader
        if leader.is_elsewhere and not self.flow.paused:
            leader.wake()
        elif not (leader.thread or leader.lease_ends or self.flow.paused):
            self.post(self.flow.receive_buffered)

    def _notify(self) -> None:
        """Say what has happened in this step to all whom it concerns."""
        waiters = self.waiters
        if self._statuses:
            statuses, self._statuses = self._statuses, []
            self._sink.changed(statuses)
        if waiters.waiting:
            waiters.wake()
        if self.leader.thread:
            self.leader.wake_if_done()
        self._sink.poke()

    # -- work for other threads ------------------------------------------------------------------------------

    def _begin_framing(self) -> None:
        """Give the user's framing what it is to do; its lines come back as work."""
        job = self.connection.inbox.take_framing_job()
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

    def _begin_judging(self) -> None:
        """Have lines judged over which an expression may take long; the verdicts come back as work."""
        job = self.connection.take_job()
        if job is None:
            return

        def run() -> None:
            with Matchers(RULE_PATIENCE) as matchers:
                verdicts = job.run(matchers.search)
            self.post(lambda: self.connection.judged(job, verdicts, _monotonic()))

        self._sink.work(run)

    # -- what the protocol asks for --------------------------------------------------------------------------

    def _perform(self) -> None:
        connection = self.connection
        while connection.events:
            for event in connection.take_events():
                if isinstance(event, Effect):
                    _PERFORM[event](self)
                else:
                    self._act_on(event)

    def _act_on(self, event: Event) -> None:
        match event:
            case StatusChanged():
                self._statuses.append(event.status)  # told together, at the end of the step
            case ApplyOptions():  # the kernel's own rules keep in step with the watchdog's
                self.transport.apply(event.keepalive, event.user_timeout)
            case Search():
                if event.expectation.outcome is None:  # else nobody waits for it any more
                    self._sink.search(event.expectation)
            case Frame():
                self._begin_framing()
            case Judge():
                self._begin_judging()
            case RunFunction():
                self._sink.run_function(event.session)

    def _drop(self) -> None:
        acknowledged = self.transport.acknowledged(self.transport.tcp_info())
        self._release_socket(orderly=self.connection.has_alert and self.transport.send_alert())
        self.connection.dropped(acknowledged, _monotonic())

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
            self._loop,
            self._address,
            lambda outcome: self.post(lambda: self._dialed(dial, outcome)),
            self._progress,
        )

    def _finish(self) -> None:
        self.transport.finish()

    def _close(self) -> None:
        acknowledged = self.transport.acknowledged(self.transport.tcp_info())
        # What is not acknowledged by now is reported as unconfirmed, so it must not arrive later.
        outbox = self.connection.outbox
        self._release_socket(orderly=acknowledged is None or outbox.all_acknowledged(acknowledged))
        self.connection.dropped(acknowledged, _monotonic())

    def _end(self) -> None:
        self.connection.stopped(_monotonic())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = math.inf
        self.leader.end_lease()
        if self._loop is not None:
            loop, self._loop = self._loop, None
            changes.unsubscribe(self, loop)
            release_loop(self)
        self.ended += 1

    def _release_socket(self, *, orderly: bool) -> None:
        if self._dial is not None:
            dial, self._dial = self._dial, None
            if self._loop is not None:
                self._loop.call_soon(dial.cancel)
        if self.transport.sock is not None:
            self.flow.end_pause()
            self.leader.socket_released()
            self.transport.release(lambda sock: self.leader.discard(sock, orderly=orderly))

    # -- dialing ---------------------------------------------------------------------------------------------

    def _progress(self, phase: str) -> None:
        self.post(lambda: self.connection.progress(Phase(phase), _monotonic()))

    def _dialed(self, dial: int, outcome: socket.socket | AttemptFailed) -> None:
        """Take over what the attempt of the number `dial` has come to."""
        if self._dial is None or self._dials != dial:  # it was given up meanwhile
            if isinstance(outcome, socket.socket):
                sockets.abort(outcome)
            return
        self._dial = None
        if isinstance(outcome, AttemptFailed):
            self.connection.fail(outcome, _monotonic())
        else:
            self._open(outcome)

    def _open(self, sock: socket.socket) -> None:
        now = _monotonic()
        try:
            if _opens_files(self.connection.settings.context) and (error := sockets.shortage()) is not None:
                # No authority would be found, and the server's would look unknown, which would be final.
                raise error
            assert self._loop is not None  # as long as there was a dial
            opened = self.transport.open(sock, self._loop, self.keepalive)
        except OSError as error:
            sockets.abort(sock)
            self.connection.fail(AttemptFailed(sockets.reason_for(error, self._where)), now)
            return
        self.leader.socket_opened()
        # What a Unix socket was bound to may have been renamed since: its path is the user's.
        peer = self._address.path or opened.peer or self._address.display
        self.connection.dialed(peer, opened.local, opened.keepalive, now)

    # -- the socket ------------------------------------------------------------------------------------------

    def _ready(self, mask: int) -> None:
        """Serve the socket, which is ready. The I/O thread."""
        self._try(lambda: self.flow.receive_ready(mask), LOCK_PATIENCE)

    def poll_health(self) -> Health:
        """Look at the connection's health now. With the lock held."""
        connection, transport = self.connection, self.transport
        if transport.sock is not None:
            # First, so that no peer looks silent because of what takes long from here on: this thread may not
            # get to run for seconds.
            now = _monotonic()
            if connection.watch.seems_silent(now) and not self.flow.paused:
                self.flow.receive()
            info = transport.tcp_info()
            if info is not None and info.has_ended:
                transport.read_rest()
            connection.looked(info, now, transport.acknowledged(info))
        return connection.watch.health

    def set_keepalive(self, keepalive: KeepAlive) -> KeepAlive | None:
        """Change the keepalive, also of the live socket. With the lock held.

        Returns:
            What is in force, as the kernel gives it back; None without a TCP socket.

        Raises:
            OSError: the kernel refuses it; then what was in force stays.
        """
        info = self.transport.tcp_info()
        in_force = self.transport.change_keepalive(keepalive, self.keepalive, info)
        self.keepalive = keepalive
        self.connection.keepalive_changed(keepalive, in_force, info, _monotonic())
        return in_force

    # -- the network -----------------------------------------------------------------------------------------

    def is_to_dial(self) -> bool:
        """Return whether it dials anew now that the network has changed. The I/O thread."""
        local = self.transport.local
        return self.connection.state is State.WAITING or (local is not None and address_gone(local))

    def network_changed(self, spread: float) -> None:
        """Take note that the network changed, or that the computer has slept. The I/O thread.

        Args:
            spread: who is to dial for it does so within so many seconds.
        """
        local = self.transport.local
        gone = local is not None and address_gone(local)
        if (dial := self._dial) is not None:
            dial.again()

        def act() -> None:
            now = _monotonic()
            if gone and self.transport.local is local:
                self.connection.address_gone(sockets.describe(local), now, spread)
            else:
                self.connection.network_changed(now, spread)

        self.post(act)

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
        self._armed = math.inf
        now = _monotonic()
        if self.leader.lease_ends and now >= self.leader.lease_ends:
            self.leader.end_lease()
        self.connection.due(now)
        if now >= self.connection.wants_look:
            self.poll_health()

    # -- for those who wait, and who read --------------------------------------------------------------------

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Block until `done()` is true, for at most `timeout` seconds; see `Waiters.wait`."""
        return self.waiters.wait(done, timeout)

    def watch(self, waiter: Waiter) -> None:
        """Wake `waiter` when its condition holds, at once if it does already. Any thread."""
        self.waiters.watch(waiter)

    def unwatch(self, waiter: Waiter) -> None:
        """Forget `waiter`; harmless when it was woken. With the lock held."""
        self.waiters.unwatch(waiter)

    def read_until(self, done: Callable[[], bool], line_sink: Runs | None = None) -> None:
        """Block until `done()` is true, reading the socket meanwhile; see `Leader.call_and_wait`."""
        self.leader.read_until(done, line_sink)

    def call_and_wait(
        self, work: Callable[[], None], done: Callable[[], bool], ends: float, give_up: Callable[[], None]
    ) -> None:
        """Do `work`, then block until it is done, reading the socket; see `Leader.call_and_wait`."""
        self.leader.call_and_wait(work, done, ends, give_up)

    def register_reader(self, position: ReaderPosition) -> None:
        """Have the receiving wait for a reader while it is far behind; see `FlowControl`. Any thread."""
        self.flow.register_reader(position)

    def advanced(self, position: ReaderPosition, number: int, part: object = None) -> None:
        """Note that a reader has read on; see `FlowControl.advanced`. Any thread."""
        self.flow.advanced(position, number, part)

    def unregister_reader(self, position: ReaderPosition) -> None:
        """Wait no longer for a reader. Any thread, also from finalizers."""
        self.flow.unregister_reader(position)

    def register_listener(self, position: ReaderPosition) -> None:
        """Let no slow reader hold up one that is notified of the lines. With the lock held."""
        self.flow.register_listener(position)

    def unregister_listener(self, position: ReaderPosition) -> None:
        """Forget such a reader. With the lock held."""
        self.flow.unregister_listener(position)

    # -- the process -----------------------------------------------------------------------------------------

    @property
    def at_rest(self) -> bool:
        """Whether nothing is left of any connection. With the lock held."""
        return self._loop is None and not self.leader.has_discarded and not self.connection.events

    def has_ended(self, thread: threading.Thread) -> bool:
        """Return whether the I/O thread `thread` serves no connection any more."""
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
        """Let go of the parent's connection without a byte on the wire. In the child."""
        self._begin_anew()
        self.transport.forget()
        self.leader.forget()
        self.flow.forget()
        self.waiters.forget()
        if self._dial is not None:
            self._dial.cancel()
        self._dial = self._timer = self._loop = self._thread = None
        self._armed = math.inf
        # Nobody is notified: a child would hardly want threads that call the parent's observers.
        self.connection.forked()
        self.connection.take_events()
        self._statuses.clear()


def _nothing(_: Driver) -> None:
    """Do nothing: the wait for the next attempt takes only the timer, which is armed at each step's end."""


_PERFORM: Final[dict[Effect, Callable[[Driver], None]]] = {
    Effect.DROP: Driver._drop,
    Effect.DIAL: Driver._begin_dial,
    Effect.FINISH: Driver._finish,
    Effect.CLOSE: Driver._close,
    Effect.WAIT: _nothing,
    Effect.END: Driver._end,
}
"""How the protocol's effects are brought about."""


def _opens_files(context: ssl.SSLContext | None) -> bool:
    """Return whether OpenSSL looks for authorities in a folder, as it has none in memory."""
    if context is None or context.verify_mode is not ssl.CERT_REQUIRED:
        return False
    return not context.cert_store_stats()["x509_ca"]

"""One client's connection as a value machine: what was received and the time come in, what to send and what
to do come out.

It lives as long as its client, over all reconnections. It opens no socket and reads no clock. The driver
calls one method for each thing that happens (always with the connection's lock held), then does what stands
in `events`, sends what the outbox gives and calls `due` at `deadline`.

The work is done by parts, each with a state of its own: the outbox (what leaves), the inbox (what comes), the
opening (TLS, STARTTLS and the on-connect script), the watch (whether the peer lives), the replies, and the
lifecycle (states and waits). They return what they have found, or raise. exchange.py brings together those
that have to do with lines; only the connection moves the lifecycle.

`now` is the monotonic clock in seconds; `wall_offset` (kept up by the driver) makes of it the Unix time that
the transcript shows.
"""

from __future__ import annotations

from ..errors import AttemptFailed, CallerError, ConnectionLost, Ending, NotConnected
from ..lines.delivery import Delivery
from ..lines.text import counted, in_one_line
from ..profile.base import TLSMode
from ..profile.conversation import Reader
from ..settings import KeepAlive
from .answers import PATIENCE, Asked
from .events import Event
from .exchange import Exchange
from .expect import Expectation
from .lifecycle import Cause
from .state import NEVER, Input, Phase, State
from .status import Status
from .tcp_info import TcpInfo

__all__ = ["Connection"]

# Named once: an enum looks for its member each time, which takes 0.1 µs in Python 3.11.
_CONNECTED, _CONNECTING, _STOPPED, _STOPPING, _WAITING = (
    State.CONNECTED,
    State.CONNECTING,
    State.STOPPED,
    State.STOPPING,
    State.WAITING,
)


class Connection(Exchange):
    """See the module's first lines. Everything here is called with the connection's lock held."""

    __slots__ = ()

    # -- what the driver asks --------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the client is in the table of states."""
        return self.lifecycle.state

    @property
    def status(self) -> Status:
        """What users see of the state."""
        return self.lifecycle.status

    @property
    def deadline(self) -> float:
        """When `due` is to be called at the latest (monotonic, s); infinite: nothing is waited for."""
        # One by one, as each step asks for it: min() takes three times as long.
        outbox = self.outbox
        earliest = outbox.look_at
        if (at := self.watch.look_at) < earliest:
            earliest = at
        if (at := self.heartbeats.due_at) < earliest:
            earliest = at
        if (at := self._opening.ends) < earliest:
            earliest = at
        if (at := self.inbox.ends) < earliest:
            earliest = at
        if (at := self.lifecycle.retry_at) < earliest:
            earliest = at
        if (at := outbox.ends) < earliest:
            earliest = at
        if (at := self.answers.late_ends) < earliest:
            earliest = at
        return earliest

    def take_events(self) -> list[Event]:
        """Return what is to be done, in order; the next call gives what has come since."""
        events = self.events[:]
        self.events.clear()
        return events

    @property
    def wants_look(self) -> float:
        """When the kernel's account of the socket is to be looked at (monotonic, s); infinite: no need."""
        return min(self.outbox.look_at, self.watch.look_at)

    @property
    def needs_to_receive(self) -> bool:
        """Whether what the peer says is waited for by more than those who only read: a slow reader is not to
        hold up the receiving then.
        """
        return (
            bool(self.replies.rules or self.expectations.pending)
            or self.heartbeats.due_at < NEVER
            or self.state is _CONNECTING
        )

    @property
    def has_alert(self) -> bool:
        """Whether what waits to be sent tells the peer why the TLS handshake has failed."""
        return self.inbox.pipe is not None and self.status.tls is None and bool(self.outbox.outgoing)

    # -- the user's wishes -----------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin connecting, from stopped or, without waiting longer, from waiting.

        Raises:
            SettingsError: another client writes the transcript

        """
        if self.state is _STOPPED:
            settings = self.settings
            self.transcript.begin_writing(self, settings.encoding, self.needed, settings.longest_line)
            self.lifecycle.begin()
            self.expectations.begin()
        self._enter(Input.START, now)

    def retry_now(self, now: float) -> None:
        """Connect anew without a wait; a live connection is dropped for it."""
        if self.state is _CONNECTED:
            self.lifecycle.dropped_to_reconnect()
        self._enter(Input.RETRY, now)

    def stop(self, now: float) -> None:
        """End; legal in every state."""
        state, wall = self.state, now + self.wall_offset
        if state is _CONNECTED:
            self.watch.stop()
            self.outbox.say_goodbye(now)
        self.lifecycle.stopped_by_user(wall)
        if state is _WAITING:
            self.transcript.append_note(self.lifecycle.reason.text, wall)
        self._enter(Input.STOP, now)

    def send(
        self,
        data: bytes,
        line: bytes,
        delivery: Delivery,
        now: float,
        *,
        expectation: Expectation | None = None,
        queue: bool = False,
        session: int = 0,
    ) -> None:
        """Send `data`, which the transcript shows as `line`; `expectation` is in place before it leaves.

        Args:
            data: the line's bytes, with its end
            line: what the transcript shows of it
            delivery: follows it from here on
            now: monotonic (s)
            expectation: is looked for from this line on
            queue: whether it may wait for a connection
            session: the number of the on-connect function's session that sends it; 0: the user does

        Raises:
            NotConnected: there is no connection, and it may not wait for one; nothing was sent
            OutboxFull: too much waits already; nothing was sent
            ConnectionLost: the session is over; nothing was sent

        """
        state = self.lifecycle.state
        if session:
            self.check_session(session)
            while self._cut_unread(now):  # what came before it stands before it
                pass
        if session or state is _CONNECTED:
            outbox = self.outbox
            if outbox.outgoing or len(data) > self.settings.queue_bytes:
                outbox.check_room(len(data))
            self._write_line(data, line, delivery, now, expectation, in_script=session != 0)
        elif queue and state is not _STOPPED and state is not _STOPPING:
            self.outbox.enqueue(data, line, delivery, expectation, now)
            self.expectations.begin()
        else:
            raise NotConnected(self.lifecycle.not_connected(now))

    def expect(self, expectation: Expectation, now: float) -> None:
        """Look for `expectation` from the last send or match on; its outcome is set now, or when a line
        comes.
        """
        self.expectations.expect(expectation, may_look=not self._in_script)
        if expectation.outcome is not None:
            return
        if self.lifecycle.is_stopped:
            expectation.outcome = NotConnected(self.lifecycle.not_connected(now))
        else:
            self.expectations.pending.append(expectation)

    def ask(
        self, line: bytes, shown: bytes, payload: bytes | None, reader: Reader | None, now: float
    ) -> Asked:
        """Ask the peer: now, or when it is this question's turn.

        Args:
            line: what is asked, without a line end
            shown: what the transcript shows of it
            payload: bytes that belong to it
            reader: reads the answer, where the asker says where it ends; None: the protocol knows
            now: monotonic (s)

        Returns:
            The question, whose outcome is set now or later

        Raises:
            NotConnected: there is no connection; nothing was sent
            OutboxFull: too much waits already; nothing was sent
            SettingsError: the payload does not fit the line, or the tag is in use; nothing was sent

        """
        if self.lifecycle.state is not _CONNECTED:
            raise NotConnected(self.lifecycle.not_connected(now))
        prepared = self.answers.conversation.prepare(line, payload)
        self.outbox.check_room(len(prepared.wire) + len(prepared.payload or b""))
        if prepared.line != line:
            shown = self.transcript.redacted(prepared.line)
        asked = Asked(prepared, shown, reader)
        self.answers.ask(asked)
        self._go_on_asking(now)
        return asked

    def stop_asking(self, asked: Asked, now: float) -> None:
        """Nobody waits for the answer any longer; see `Answers.give_up`."""
        self.answers.give_up(asked, now)

    def _answer_late(self, now: float) -> None:
        """An answer that others wait for does not come."""
        awaited = self.answers.late_question()
        if self.answers.let_go(now):
            self.note(f"no answer to {awaited!r} came within {PATIENCE:g} s; the next question is sent", now)
            self._go_on_asking(now)
        else:
            self.fail(ConnectionLost(f"no answer to {awaited!r} came within {PATIENCE:g} s"), now)

    def forget(self, expectation: Expectation) -> None:
        """Look for it no longer: its time is over, or its waiter was interrupted."""
        self.expectations.forget(expectation)
        self.outbox.forget(expectation)

    def note(self, text: str, now: float) -> None:
        """Put something that happened into the log."""
        self.transcript.append_note(text, now + self.wall_offset)

    def forked(self) -> None:
        """Let go, as a copy in a child process: the connection is the parent's."""
        reason = "the process was forked: the connection stays with its parent"
        self.lifecycle.forked(reason)
        self._let_go()
        self.outbox.forked()
        self.transcript.take_unfinished()
        self.transcript.end_writing()
        self.unconfirmed = ()
        self.expectations.fail(reason)
        self.answers.lost(reason)

    def keepalive_changed(
        self, keepalive: KeepAlive, in_force: KeepAlive | None, info: TcpInfo | None, now: float
    ) -> None:
        """Judge by `keepalive` from now on.

        Args:
            keepalive: the user's
            in_force: what the kernel gave back for the live socket; None: there is none
            info: its account of that, by which the user time-out was set
            now: monotonic (s)

        """
        self.watch.change_keepalive(keepalive, info, now)
        if in_force is not None:
            self.lifecycle.show(keepalive=in_force)

    # -- what the network brings -----------------------------------------------------------------------------

    def progress(self, phase: Phase, now: float) -> None:
        """Note how far connecting has come."""
        if self.state is _CONNECTING:
            self.lifecycle.show(phase=phase)

    def dialed(self, peer: str, local: str, keepalive: KeepAlive | None, now: float) -> None:
        """Take over a connected socket.

        Args:
            peer: its address and port, as messages show them
            local: the same of this end
            keepalive: in force, as the kernel gave it back
            now: monotonic (s)

        """
        if self.state is not _CONNECTING:
            return
        self.lifecycle.note(peer=peer, local=local, keepalive=keepalive, tls=None)
        self._ends.began(self.transcript.end, self._traffic.received, now)
        self.outbox.begin()
        self.watch.begin(now)
        mode = self._opening.begin(now)
        if mode is TLSMode.IMPLICIT:
            self._begin_tls(now)
        elif mode is TLSMode.STARTTLS:
            self.inbox.begin_dialogue()
            self.lifecycle.show(phase=Phase.STARTTLS)
        else:
            try:
                self._begin_framing(now)
            except CallerError as error:
                self.fail(error, now)

    def received_eof(self, now: float) -> None:
        """The peer sends no more."""
        pipe = self.inbox.pipe
        if pipe is not None and self.state is _CONNECTING:
            pipe.feed_eof()
            self.go_on(now)
        if pipe is not None and not pipe.closed_by_peer and self.state is _CONNECTED:
            how, ending = " without close_notify: the end may be cut off", Ending.CUT
        else:
            how, ending = "", Ending.CLOSED
        self.fail(ConnectionLost(f"closed by {self.settings.where}{how}", ending=ending), now)

    def fail(self, error: Exception, now: float) -> None:
        """An attempt failed, or the connection is lost, for the reason that `error` gives."""
        lifecycle = self.lifecycle
        while self.inbox.has_buffered and lifecycle.is_live:
            self.go_on(now)  # what the peer has said comes before its end
        if lifecycle.state is _STOPPING:
            self._enter(Input.FAIL, now)
        elif lifecycle.is_live:
            if self.inbox.frames_first(error, now):
                self._opening.ends = NEVER
                return
            ending = error.ending if isinstance(error, ConnectionLost) else Ending.OTHER
            reason = self._reason(str(error), ending, now)
            is_final = isinstance(error, AttemptFailed) and error.final and self.status.connection == 0
            # A proxy with nobody behind it lasts, too.
            was_stable = lifecycle.lasted(now) and not self._ends.was_mute(
                ending, self._traffic.received, now
            )
            self._enter(lifecycle.failed(reason, is_final=is_final, was_stable=was_stable), now)

    def give_up(self, reason: str, now: float) -> None:
        """The attempt cannot even begin, and no other could."""
        self.lifecycle.explain(reason)
        self._enter(Input.GIVE_UP, now)

    def looked(self, info: TcpInfo | None, now: float, acknowledged: int | None) -> None:
        """Take over what the kernel knows.

        Args:
            info: its account of the socket; None: there is none
            now: monotonic (s)
            acknowledged: bytes of the stream that the peer has acknowledged; None: nobody can tell

        """
        outbox, watch, lifecycle = self.outbox, self.watch, self.lifecycle
        outbox.looked(acknowledged, now)
        if lifecycle.state is _STOPPING:
            watch.look_at = NEVER
            if outbox.has_said_goodbye(acknowledged, now):
                self._enter(Input.CLOSED, now)
            return
        up = lifecycle.state is _CONNECTED
        unacknowledged = outbox.unacknowledged(acknowledged)
        try:
            watch.look(info, unacknowledged, now, may_read=not self.inbox.is_framing)
        except ConnectionLost as error:
            self.fail(error, now)
            return
        if up and watch.health.verdict is not lifecycle.status.verdict:
            lifecycle.show(health=watch.health)

    def network_changed(self, now: float, spread: float = 0.0) -> None:
        """Act upon a change of network or a sleep: probe the peer, or try again without waiting, at some
        moment within `spread` seconds.
        """
        self.watch.probe(now)
        self.lifecycle.network_changed(now, now + self.wall_offset, spread)
        if self.state is _WAITING:
            self.due(now)

    def address_gone(self, local: str, now: float, spread: float = 0.0) -> None:
        """End the connection, as this computer has lost its address; try again soon, within `spread` seconds
        where many do.
        """
        self.lifecycle.hurry(spread)
        self.fail(ConnectionLost(f"our address {local} is gone"), now)

    def dropped(self, acknowledged: int | None, now: float) -> None:
        """The socket is closed; `acknowledged` is the last that was known of the stream."""
        lifecycle, pipe = self.lifecycle, self.inbox.pipe
        wall = now + self.wall_offset
        for number, lines in self.inbox.close(wall):
            # An answer may end with its connection instead of with a line end.
            self.expectations.look(number, lines, wall)
        lost = self.outbox.close(acknowledged)
        if self.status.connected_since is not None:
            self.unconfirmed = lost
        if pipe is not None:
            self._opening.tls_ended(pipe, in_handshake=self.status.tls is None)
        self._let_go()
        reason = lifecycle.reason.text
        fate = _fate(lost, known=acknowledged is not None)
        number = self.transcript.append_note(f"{reason}{fate}{lifecycle.comes_next(now)}", wall)
        self.expectations.lost(reason, number, tells=self.state is not _STOPPED)
        self.answers.lost(reason)
        lifecycle.show(connected_since=None, tls=None, keepalive=None, health=None)

    def stopped(self, now: float) -> None:
        """All is closed: say what will never be sent."""
        reason = self.lifecycle.reason
        why = "the client was stopped" if reason.cause is Cause.USER else reason.text
        self.outbox.drop_queue(why, now + self.wall_offset)
        self.expectations.fail(why)
        self.transcript.end_writing()

    def due(self, now: float) -> None:
        """Do what the time asks for; `looked` is the driver's own to call."""
        outbox, lifecycle = self.outbox, self.lifecycle
        if now >= self.inbox.ends:
            self._inbox_late(now)
        if now >= self._opening.ends:
            self._opening_late(now)
        if now >= lifecycle.retry_at:
            lifecycle.retry_at = NEVER
            self._enter(Input.RETRY, now)
        if now >= outbox.ends:
            if outbox.is_goodbye_late(now):
                self._enter(Input.CLOSED, now)
            outbox.expire(now, now + self.wall_offset)
            if outbox.gets_room():
                self._go_on_with_script(now)
        if now >= self.heartbeats.due_at:
            line = self.watch.beat(now, may_beat=self.answers.may_beat)
            if line is not None and self._write_quietly(line, now, is_heartbeat=True):
                self.watch.beat_sent(now)
        if now >= self.answers.late_ends:
            self._answer_late(now)

    # -- the lifecycle ---------------------------------------------------------------------------------------

    def _enter(self, happened: Input, now: float) -> None:
        self.lifecycle.enter(happened, now, now + self.wall_offset)

    def _reason(self, reason: str, ending: Ending, now: float) -> str:
        """Return why the connection ended, with what the peer said last."""
        traffic, opening = self._traffic, self._opening
        in_script = opening.quotes  # which repeats the last lines itself
        reason = self._ends.reason(
            reason,
            ending,
            self.transcript,
            self.inbox.unfinished,
            traffic.received,
            (traffic.received_at, traffic.sent_at),
            now,
            now + self.wall_offset,
            quotes=not in_script,
        )
        if in_script:
            reason = str(opening.fail(reason))
        # What a user's function raised may quote a secret, and what the server said.
        return in_one_line(self.transcript.redacted_text(reason))

    def _let_go(self) -> None:
        """Forget all that belongs to one connection."""
        self.watch.end()
        self.inbox.let_go()
        self._opening.let_go()
        self.outbox.let_go()
        self.replies.end()

    def _up(self, now: float) -> None:
        """The connection is made."""
        lifecycle, wall = self.lifecycle, now + self.wall_offset
        if not lifecycle.is_up(now, wall):
            return
        rest = b""
        if self.inbox.unread is not None:
            self._opening.mark, rest = self.inbox.end_function()
        if self._opening.is_running:
            # What the script has read and sent is its own affair.
            self.expectations.pass_over(self._opening.mark)
        self._opening.end()
        self._traffic.received_at = now
        status = self.status
        peer = (
            status.peer if status.peer == self.settings.where else f"{self.settings.where} at {status.peer}"
        )
        how = doubt = ""
        if status.tls is not None:
            # First, where no narrow window cuts it off.
            doubt = "" if status.tls.verified else "CERTIFICATE NOT VERIFIED: "
            how = f" ({status.tls.version}, {status.tls.cipher})"
        self.transcript.append_note(f"{doubt}connected to {peer}{how}", wall)
        self.watch.is_up(now)
        if rest:
            self._act_on(self.inbox.take(rest, now, wall), now)
        # Not into TLS that has failed meanwhile, which is told next: the queue is the next connection's then.
        outbox = self.outbox
        while not outbox.has_failed and (entry := outbox.next_queued()) is not None:
            self._write_line(entry.data, entry.shown, entry.delivery, now, entry.expectation)


def _fate(lost: tuple[Delivery, ...], *, known: bool) -> str:
    """Say how much was not acknowledged; known: whether the system tells what was."""
    if not lost:
        return ""
    size = sum(len(delivery.data) for delivery in lost)
    fate = "never acknowledged" if known else "of which this system does not tell what was acknowledged"
    return f"; {counted(len(lost), 'line')} ({size} bytes) {fate}"

"""One client's connection as a value machine: what was received and the time come in, what to send and what
to do come out.

It lives as long as its client, over all reconnections. It opens no socket and reads no clock. The driver
calls one method for each thing that happens (always with the connection's lock held), then does what stands
in `effects`, sends what `outgoing` gives and calls `due` at `deadline`.

The work is done by parts, each with a state of its own: the outbox (what leaves), the inbox (what comes), the
opening (TLS, STARTTLS and the on-connect script), the watch (whether the peer lives), the replies, and the
lifecycle (states and waits). They return what they have found, or raise; only the connection acts upon that.
Who hears which received line is decided here, too.

`now` is the monotonic clock in seconds; `wall_offset` (kept up by the driver) makes of it the Unix time that
the transcript shows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

from ..errors import AttemptFailed, CallerError, ConnectionLost, Ending, NotConnected
from ..lines.delivery import Delivery
from ..lines.framing import Foreign, beginning
from ..lines.text import counted, has_break, in_one_line, without_end
from ..lines.transcript import Runs, Transcript, nothing_needed
from ..profile.base import TLSMode
from ..settings import Heartbeat, KeepAlive, Retry
from .configuration import Settings
from .events import Filled, Framed, Lines, PlainText, Received, Secured
from .expect import Expectation, Expectations
from .health import Health
from .heartbeats import Heartbeats
from .inbox import MAKING_PATIENCE, Inbox
from .judging import Job, Rules, Verdict
from .last_words import Ends
from .lifecycle import Cause, Lifecycle
from .opening import Opening
from .outbox import Outbox
from .replies import KEEPS_UP_NO_MORE, TOOK_LONG, Replies
from .state import Effect, Input, Phase, State
from .status import Status
from .tcp_info import TcpInfo
from .traffic import Traffic
from .unread import Unread
from .user_framing import FRAMING_PATIENCE, FramingJob
from .watch import Watch

__all__ = ["Connection"]

NEVER = math.inf
"""The time of what is not waited for."""
# Named once: an enum looks for its member each time, which takes 0.1 µs in Python 3.11.
_CONNECTED, _CONNECTING, _STOPPED, _STOPPING, _WAITING = (
    State.CONNECTED,
    State.CONNECTING,
    State.STOPPED,
    State.STOPPING,
    State.WAITING,
)


class Connection:
    """See the module's first lines. Everything here is called with the connection's lock held.

    Attributes:
        settings: what was said when the client was made
        transcript: takes all lines
        expectations: what is awaited of the lines
        unconfirmed: the lines of the last connection that the peer did not acknowledge
        wall_offset: Unix time minus monotonic time (s), as the driver keeps it up
        line_sink: if set, received lines are appended here too
        needed: tells from which line on readers still need the transcript's lines

    """

    __slots__ = (
        "_ends",
        "_heartbeats",
        "_inbox",
        "_lifecycle",
        "_opening",
        "_outbox",
        "_replies",
        "_traffic",
        "_watch",
        "along",
        "expectations",
        "needed",
        "session_wanted",
        "settings",
        "transcript",
        "unconfirmed",
        "wall_offset",
    )

    def __init__(
        self,
        settings: Settings,
        keepalive: KeepAlive,
        retry: Retry,
        transcript: Transcript,
        chance: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.transcript = transcript
        self.expectations = Expectations(transcript, settings.encoding)
        self.unconfirmed: tuple[Delivery, ...] = ()
        self.wall_offset = 0.0
        self.along: Runs | None = None
        self.needed: Callable[[int], float] = nothing_needed
        self.session_wanted = False
        self._traffic = traffic = Traffic()
        self._lifecycle = Lifecycle(settings.where, retry, chance)
        self._outbox = Outbox(settings, transcript, traffic)
        self._inbox = Inbox(settings, transcript, traffic)
        self._opening = Opening(settings, transcript)
        self._heartbeats = Heartbeats(settings, traffic)
        self._watch = Watch(settings, keepalive, traffic, self._heartbeats)
        self._replies = Replies(transcript, settings.encoding)
        self._ends = Ends(
            settings.where,
            settings.profile.goodbye,
            # To TLS on a Unix socket there is no such simple way: it has no name to verify.
            plain=settings.tls is TLSMode.NONE and settings.profile.name != "unix",
            encoding=settings.encoding,
        )

    # -- what the driver asks --------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the client is in the table of states."""
        return self._lifecycle.state

    @property
    def status(self) -> Status:
        """What users see of the state."""
        return self._lifecycle.status

    @property
    def deadline(self) -> float:
        """When `due` is to be called at the latest (monotonic, s); infinite: nothing is waited for."""
        # One by one, as each step asks for it: min() takes three times as long.
        outbox = self._outbox
        earliest = outbox.look_at
        if (at := self._watch.look_at) < earliest:
            earliest = at
        if (at := self._heartbeats.due_at) < earliest:
            earliest = at
        if (at := self._opening.ends) < earliest:
            earliest = at
        if (at := self._inbox.ends) < earliest:
            earliest = at
        if (at := self._lifecycle.retry_at) < earliest:
            earliest = at
        if (at := outbox.farewell_at) < earliest:
            earliest = at
        if (at := outbox.expires_at) < earliest:
            earliest = at
        return earliest

    @property
    def wants_look(self) -> float:
        """When the kernel's account of the socket is to be looked at (monotonic, s); infinite: no need."""
        return min(self._outbox.look_at, self._watch.look_at)

    @property
    def needs_to_receive(self) -> bool:
        """Whether what the peer says is waited for by more than those who only read: a slow reader is not to
        hold up the receiving then.
        """
        return (
            bool(self._replies.rules or self.expectations.pending)
            or self._heartbeats.due_at < NEVER
            or self.state is _CONNECTING
        )

    def seems_silent(self, now: float) -> bool:
        """Return whether it would count now that nothing was received: see `Watch.seems_silent`."""
        return self.state is _CONNECTED and self._watch.seems_silent(now)

    @property
    def has_alert(self) -> bool:
        """Whether what waits to be sent tells the peer why the TLS handshake has failed."""
        return self._inbox.pipe is not None and self.status.tls is None and bool(self._outbox.outgoing)

    # -- the user's wishes -----------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin connecting, from stopped or, without waiting longer, from waiting.

        Raises:
            SettingsError: another client writes the transcript

        """
        if self.state is _STOPPED:
            settings = self.settings
            self.transcript.begin_writing(self, settings.encoding, self.needed, settings.longest_line)
            self._lifecycle.begin()
            self.expectations.begin()
        self._enter(Input.START, now)

    def retry_now(self, now: float) -> None:
        """Connect anew without a wait; a live connection is dropped for it."""
        if self.state is _CONNECTED:
            self._lifecycle.dropped_to_reconnect()
        self._enter(Input.RETRY, now)

    def stop(self, now: float) -> None:
        """End; legal in every state."""
        state, wall = self.state, now + self.wall_offset
        if state is _CONNECTED:
            self._heartbeats.due_at = NEVER
            self._outbox.say_goodbye(now)
        self._lifecycle.stopped_by_user(wall)
        if state is _WAITING:
            self.transcript.append_note(self._lifecycle.reason.text, wall)
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
        state = self._lifecycle.state
        if session:
            self.check_session(session)
            while self._cut_unread(now):  # what came before it stands before it
                pass
        if session or state is _CONNECTED:
            self._outbox.check_room(len(data))
            self._write_line(data, line, delivery, now, expectation, in_script=session != 0)
        elif queue and state is not _STOPPED and state is not _STOPPING:
            self._outbox.enqueue(data, line, delivery, expectation, now)
            self.expectations.begin()
        else:
            raise NotConnected(self._lifecycle.not_connected(now))

    def expect(self, expectation: Expectation, now: float) -> None:
        """Look for `expectation` from the last send or match on; its outcome is set now, or when a line
        comes.
        """
        self.expectations.expect(expectation, may_look=not self._in_script)
        if expectation.outcome is not None:
            return
        if self._lifecycle.is_stopped:
            expectation.outcome = NotConnected(self._lifecycle.not_connected(now))
        else:
            self.expectations.pending.append(expectation)

    def forget(self, expectation: Expectation) -> None:
        """Look for it no longer: its time is over, or its waiter was interrupted."""
        self.expectations.forget(expectation)
        self._outbox.forget(expectation)

    def note(self, text: str, now: float) -> None:
        """Put something that happened into the log."""
        self.transcript.append_note(text, now + self.wall_offset)

    def hurry(self, now: float) -> None:
        """Look at the acknowledgements soon: somebody waits for one."""
        self._outbox.hurry(now)

    def forked(self) -> None:
        """Let go, as a copy in a child process: the connection is the parent's."""
        reason = "the process was forked: the connection stays with its parent"
        self._lifecycle.forked(reason)
        self._let_go()
        self._outbox.forked()
        self.transcript.take_unfinished()
        self.transcript.end_writing()
        self.unconfirmed = ()
        self.expectations.fail(reason)

    # -- settings of the live connection ---------------------------------------------------------------------

    @property
    def retry(self) -> Retry:
        """How long to wait before each attempt."""
        return self._lifecycle.retry

    def set_retry(self, retry: Retry) -> None:
        """Wait by `retry` from the next failure on."""
        self._lifecycle.retry = retry

    @property
    def replies(self) -> Rules:
        """Patterns, and the lines that answer those in which they are found."""
        return self._replies.rules

    @replies.setter
    def replies(self, rules: Rules) -> None:
        self._replies.rules = rules

    def add_reply(self, pattern: re.Pattern[bytes], template: bytes) -> None:
        """Answer each line in which `pattern` is found from now on, before the rules that are there."""
        self._replies.rules = ((pattern, template), *self._replies.rules)

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
        self._watch.change_keepalive(keepalive, info, now)
        if in_force is not None:
            self._lifecycle.show(keepalive=in_force)

    def set_heartbeat(self, heartbeat: Heartbeat | None, now: float) -> None:
        """Send `heartbeat` from now on, on the live connection too; None: none any more.

        The first one leaves a period later. Another line than before has to be answered once before its
        silence says anything.
        """
        if heartbeat != self._heartbeats.heartbeat:
            self._watch.change_heartbeat(heartbeat, now, up=self.state is _CONNECTED)

    @property
    def heartbeat_answered(self) -> bool:
        """Whether a heartbeat like the present one was ever answered at this address."""
        self._watch.note_answer()
        return self._heartbeats.is_answered

    def set_silence(self, silence: float | None, now: float) -> None:
        """Take so many seconds without anything received for a loss, counted from now on; None: never."""
        self._watch.change_silence(silence, now, up=self.state is _CONNECTED)

    # -- what the network brings -----------------------------------------------------------------------------

    def progress(self, phase: Phase, now: float) -> None:
        """Note how far connecting has come."""
        if self.state is _CONNECTING:
            self._lifecycle.show(phase=phase)

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
        self._lifecycle.note(peer=peer, local=local, keepalive=keepalive, tls=None)
        self._ends.began(self.transcript.end, self._traffic.received, now)
        self._outbox.begin()
        self._watch.begin(now)
        mode = self._opening.begin(now)
        if mode is TLSMode.IMPLICIT:
            self._begin_tls(now)
        elif mode is TLSMode.STARTTLS:
            self._inbox.begin_dialogue()
            self._lifecycle.show(phase=Phase.STARTTLS)
        else:
            try:
                self._begin_framing(now)
            except CallerError as error:
                self.fail(error, now)

    def committed(self, size: int, now: float) -> None:
        """Take over `size` bytes that were received into the transcript's room."""
        traffic = self._traffic
        traffic.received += size
        traffic.received_at = now
        runs: Runs | None = [] if self._has_listeners else None
        if self.transcript.commit(size, now + self.wall_offset, runs):
            self._hear(runs, now)

    def received(self, data: memoryview, now: float) -> None:
        """Take over bytes from the socket that are not the transcript's own: ciphertext, or to be framed."""
        self._take(self._inbox.receive(data, now, now + self.wall_offset), now)

    def go_on(self, now: float) -> None:
        """Take over more of what was received in TLS, about as much as the transcript takes at once."""
        self._take(self._inbox.go_on(now, now + self.wall_offset), now)

    def received_eof(self, now: float) -> None:
        """The peer sends no more."""
        pipe = self._inbox.pipe
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
        lifecycle = self._lifecycle
        while self._inbox.has_buffered and lifecycle.is_live:
            self.go_on(now)  # what the peer has said comes before its end
        if lifecycle.state is _STOPPING:
            self._enter(Input.FAIL, now)
        elif lifecycle.is_live:
            if self._inbox.frames_first(error, now):
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
        self._lifecycle.explain(reason)
        self._enter(Input.GIVE_UP, now)

    def handed_over(self, size: int) -> bool:
        """The kernel took `size` bytes of `outgoing`; return whether something is left."""
        if self._outbox.hand_over(size):
            return True
        self._opening.has_room()
        return False

    def looked(self, info: TcpInfo | None, now: float, acknowledged: int | None) -> None:
        """Take over what the kernel knows.

        Args:
            info: its account of the socket; None: there is none
            now: monotonic (s)
            acknowledged: bytes of the stream that the peer has acknowledged; None: nobody can tell

        """
        outbox, watch, lifecycle = self._outbox, self._watch, self._lifecycle
        outbox.looked(acknowledged, now)
        if lifecycle.state is _STOPPING:
            watch.look_at = NEVER
            if outbox.has_said_goodbye(acknowledged, now):
                self._enter(Input.CLOSED, now)
            return
        up = lifecycle.state is _CONNECTED
        unacknowledged = outbox.unacknowledged(acknowledged)
        try:
            watch.look(info, unacknowledged, now, up=up, may_read=not self._inbox.is_framing)
        except ConnectionLost as error:
            self.fail(error, now)
            return
        if up and watch.health.verdict is not lifecycle.status.verdict:
            lifecycle.show(health=watch.health)

    def network_changed(self, now: float, spread: float = 0.0) -> None:
        """Act upon a change of network or a sleep: probe the peer, or try again without waiting, at some
        moment within `spread` seconds.
        """
        self._watch.probe(now)
        self._lifecycle.network_changed(now, now + self.wall_offset, spread)
        if self.state is _WAITING:
            self.due(now)

    def address_gone(self, local: str, now: float, spread: float = 0.0) -> None:
        """End the connection, as this computer has lost its address; try again soon, within `spread` seconds
        where many do.
        """
        self._lifecycle.hurry(spread)
        self.fail(ConnectionLost(f"our address {local} is gone"), now)

    def dropped(self, acknowledged: int | None, now: float) -> None:
        """The socket is closed; `acknowledged` is the last that was known of the stream."""
        lifecycle, pipe = self._lifecycle, self._inbox.pipe
        wall = now + self.wall_offset
        for number, lines in self._inbox.close(wall):
            # An answer may end with its connection instead of with a line end.
            self.expectations.look(number, lines, wall)
        lost = self._outbox.close(acknowledged)
        if self.status.connected_since is not None:
            self.unconfirmed = lost
        if pipe is not None:
            self._opening.tls_ended(pipe, in_handshake=self.status.tls is None)
        self._let_go()
        reason = lifecycle.reason.text
        fate = _fate(lost, known=acknowledged is not None)
        number = self.transcript.append_note(f"{reason}{fate}{lifecycle.comes_next(now)}", wall)
        self.expectations.lost(reason, number, tells=self.state is not _STOPPED)
        lifecycle.show(connected_since=None, tls=None, keepalive=None, health=None)

    def stopped(self, now: float) -> None:
        """All is closed: say what will never be sent."""
        reason = self._lifecycle.reason
        why = "the client was stopped" if reason.cause is Cause.USER else reason.text
        self._outbox.drop_queue(why, now + self.wall_offset)
        self.expectations.fail(why)
        self.transcript.end_writing()

    def due(self, now: float) -> None:
        """Do what the time asks for; `looked` is the driver's own to call."""
        outbox, lifecycle = self._outbox, self._lifecycle
        if now >= self._inbox.ends:
            self._inbox_late(now)
        if now >= self._opening.ends:
            self._opening_late(now)
        if now >= lifecycle.retry_at:
            lifecycle.retry_at = NEVER
            self._enter(Input.RETRY, now)
        if now >= outbox.farewell_at:
            outbox.farewell_at = NEVER
            self._enter(Input.CLOSED, now)
        outbox.expire(now, now + self.wall_offset)
        if now >= self._heartbeats.due_at:
            line = self._watch.beat(now)
            if line is not None and self._write_quietly(line, now):
                self._watch.beat_sent(now)

    # -- the lifecycle ---------------------------------------------------------------------------------------

    def _enter(self, happened: Input, now: float) -> None:
        self._lifecycle.enter(happened, now, now + self.wall_offset)

    def _reason(self, reason: str, ending: Ending, now: float) -> str:
        """Return why the connection ended, with what the peer said last."""
        traffic, opening = self._traffic, self._opening
        in_script = opening.quotes  # which repeats the last lines itself
        reason = self._ends.reason(
            reason,
            ending,
            self.transcript,
            self._inbox.unfinished,
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
        self._watch.end()
        self._inbox.let_go()
        self._opening.let_go()
        self._outbox.let_go()
        self._replies.end()
        self.session_wanted = False

    def _up(self, now: float) -> None:
        """The connection is made."""
        lifecycle, wall = self._lifecycle, now + self.wall_offset
        if not lifecycle.is_up(now, wall):
            return
        rest = b""
        if self._inbox.unread is not None:
            self._opening.mark, rest = self._inbox.end_function()
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
        self._watch.is_up(now)
        if rest:
            self._act_on(self._inbox.take(rest, now, wall), now)
        # Not into TLS that has failed meanwhile, which is told next: the queue is the next connection's then.
        outbox = self._outbox
        while not outbox.has_failed and (entry := outbox.next_queued()) is not None:
            self._write_line(entry.data, entry.shown, entry.delivery, now, entry.expectation)

    # -- the opening -----------------------------------------------------------------------------------------

    def _begin_tls(self, now: float) -> None:
        self._lifecycle.show(phase=Phase.TLS)
        try:
            pipe = self._opening.begin_tls(now, now + self.wall_offset)
            self._inbox.begin_tls(pipe)
            self._outbox.pipe = pipe
            pipe.handshake()
        except (AttemptFailed, ConnectionLost) as error:
            self.fail(error, now)
        finally:
            self._outbox.collect()

    def _begin_framing(self, now: float) -> None:
        """The bytes flow, encrypted or not: frame them from here on, and run the script."""
        self._opening.ends = NEVER
        # A function reads bytes, too.
        if self.settings.has_function or self._inbox.begin_framing(now):
            self._begin_script(now)

    def _begin_script(self, now: float) -> None:
        if self.settings.script:
            self._lifecycle.show(phase=Phase.SCRIPT)
            self._opening.begin_script(now)
            self._go_on_with_script(now)
        elif self.settings.has_function:
            self._opening.begin_function()
            self._inbox.begin_function()
            self.session_wanted = True
            self._lifecycle.show(phase=Phase.SCRIPT)
        else:
            self._up(now)

    def _go_on_with_script(self, now: float) -> None:
        """Send what the script says, as far as there is room, and see whether it has ended."""
        opening, outbox = self._opening, self._outbox
        while (step := opening.next_line) is not None:
            data = step.data + self.settings.eol
            if outbox.is_full(len(data)):
                break
            opening.take_line()
            self._write_line(data, step.shown, Delivery(step.shown), now, in_script=True)
            opening.claim_lines()
        if opening.error is not None:
            self.fail(opening.error, now)
        elif opening.has_script and opening.is_done(outbox.handed_over, now):
            self._up(now)

    def _drive_starttls(self, text: PlainText, now: float) -> None:
        for answer in self._opening.answers(text.lines):
            self._write_quietly(answer, now)
        if self._opening.is_agreed(text.rest):
            self._begin_tls(now)

    def _opening_late(self, now: float) -> None:
        outbox = self._outbox
        error = self._opening.late(outbox.handed_over, is_stuck=bool(outbox.outgoing), now=now)
        if error is not None:
            self.fail(error, now)
        else:
            self._go_on_with_script(now)

    # -- the on-connect function -----------------------------------------------------------------------------

    @property
    def session(self) -> int:
        """The number of the on-connect function's present session, or of the last one."""
        return self._opening.session

    @property
    def _in_script(self) -> bool:
        """Whether what comes is for the on-connect script or function, and for nobody else."""
        return self._opening.is_running and self._lifecycle.state is _CONNECTING

    def check_session(self, session: int) -> None:
        """Raise ConnectionLost when the on-connect function's session of that number is over."""
        if session != self._opening.session or not self._in_script:
            reason = self._lifecycle.reason.text
            raise ConnectionLost(reason or f"the session with {self.settings.where} is over")

    def script_ended(self, session: int, error: Exception | None, now: float) -> None:
        """The on-connect function has returned, or raised `error`."""
        if session == self._opening.session and self._in_script:
            try:
                if error is not None:
                    self.fail(error, now)
                else:
                    self._up(now)
            except CallerError as raised:  # the user's framing
                self.fail(raised, now)

    def unread(self, session: int) -> Unread:
        """Return what the on-connect function's session of that number has still to read; raises
        ConnectionLost when it is over.
        """
        self.check_session(session)
        assert self._inbox.unread is not None
        return self._inbox.unread

    def read_line(self, session: int, now: float) -> tuple[int, bytes, float] | None:
        """Return the next line for the on-connect function, as its number, its bytes and its Unix time, if it
        is there. Raises ConnectionLost when the session is over.
        """
        unread = self.unread(session)
        line = unread.read_line()
        if line is None and not isinstance(unread.framer, Foreign):
            self._hear(unread.cut(now + self.wall_offset, one=True), now)
            line = unread.read_line()
        return line

    def pass_over(self, session: int, size: int, now: float) -> tuple[int, float]:
        """Have the on-connect function read so many bytes of plain lines, which it has had a look at; return
        the number and the Unix time of the last one. Raises ConnectionLost when the session is over.
        """
        runs: Runs = []
        last = self.unread(session).pass_over(size, now + self.wall_offset, runs)
        self._hear(runs, now)
        return last

    def take_framed(self, session: int, size: int, lines: list[bytes], now: float) -> None:
        """Take over what the user's framing has made, on the function's thread, of the first `size` bytes."""
        self._hear(self.unread(session).take_framed(size, lines, now + self.wall_offset), now)

    def read_bytes(self, session: int, size: int, now: float) -> bytes | None:
        """Return the next `size` bytes for the on-connect function, if they are there; until then no line is
        cut. Raises ConnectionLost when the session is over.
        """
        unread = self.unread(session)
        unread.wanted = size
        runs: Runs = []
        data = unread.read(size, now + self.wall_offset, runs)
        if data is not None:
            unread.wanted = 0
            self._hear(runs, now)
        return data

    def want_no_bytes(self, session: int, now: float) -> None:
        """Note that the on-connect function waits for bytes no longer, though they have not come."""
        if session == self._opening.session:
            self._inbox.want_no_bytes(now)

    def _cut_unread(self, now: float) -> bool:
        """Show lines that have come, though the function has not read them; return whether there may be more
        of them.
        """
        runs = self._inbox.cut_unread(now + self.wall_offset)
        if runs:
            self._hear(runs, now)
        return bool(runs)

    # -- the user's framing ----------------------------------------------------------------------------------

    def framed(self, job: FramingJob, lines: list[bytes], error: CallerError | None, now: float) -> None:
        """Take over the lines that the user's framing has made, or why it failed."""
        inbox = self._inbox
        was_made = inbox.framing is not None and inbox.framing.is_made
        framing = inbox.framing_job_done(job)
        if framing is None:
            return
        self._watch.reads_since = now
        if error is not None:
            inbox.end_framing()
            self.fail(error, now)
        elif not was_made:
            inbox.ends = NEVER
            self._begin_script(now)
        else:
            if lines:
                self._append(lines, now)
            if job.is_last and framing.failing is not None:
                inbox.end_framing()
                self.fail(framing.failing, now)

    def _inbox_late(self, now: float) -> None:
        """Do what follows where the user's code has not taken what was received in its time."""
        inbox = self._inbox
        inbox.ends = NEVER
        framing = inbox.framing
        if framing is None:
            if self._cut_unread(now):
                inbox.ends = now  # the rest when others have had their turn
        elif framing.failing is not None:
            name = framing.framer.name
            self.note(f"the framing {name} did not take what came last within {FRAMING_PATIENCE:g} s", now)
            inbox.end_framing()
            self.fail(framing.failing, now)
        else:
            self.fail(
                CallerError(f"the framing {framing.framer.name} was not made within {MAKING_PATIENCE:.0f} s"),
                now,
            )

    # -- receiving -------------------------------------------------------------------------------------------

    def _take(self, received: Iterator[Received], now: float) -> None:
        """Act upon what the inbox brings, and upon its failure."""
        try:
            self._act_on(received, now)
        except (AttemptFailed, ConnectionLost, CallerError) as error:
            self._outbox.collect()
            self.fail(error, now)
        else:
            self._outbox.collect()

    def _act_on(self, received: Iterator[Received], now: float) -> None:
        for event in received:
            if isinstance(event, Filled):
                self.committed(event.size, now)
            elif isinstance(event, Framed):
                self._append(event.lines, now)
            elif isinstance(event, Lines):
                self._hear(event.runs, now)
            elif isinstance(event, Secured):
                self._lifecycle.note(tls=event.info)
                self._opening.secured(event.info, now + self.wall_offset)
                self._begin_framing(now)
            elif isinstance(event, PlainText):
                self._drive_starttls(event, now)
            elif self.state is not _STOPPING:
                # Its FIN may be long in coming: asyncio's waits up to 30 s for our close_notify.
                raise ConnectionLost(f"closed by {self.settings.where}", ending=Ending.CLOSED)

    def _append(self, lines: list[bytes], now: float) -> None:
        """Take over lines that a framer has made."""
        runs: Runs | None = [] if self._has_listeners else None
        self.transcript.append_received(lines, now + self.wall_offset, runs)
        self._hear(runs, now)

    @property
    def _has_listeners(self) -> bool:
        """Whether anybody waits for lines."""
        return (
            bool(self.expectations.pending or self._replies.rules)
            or self.along is not None
            or self._lifecycle.state is _CONNECTING
            or self._heartbeats.awaited is not None
        )

    def _hear(self, runs: Runs | None, now: float) -> None:
        """Show the lines that have just come, if anybody waits for lines, to whom that is."""
        self._outbox.expect_acknowledgement(now)
        if runs is None:
            return
        if self.along is not None:
            self.along += runs
        for number, lines in runs:
            if self._opening.has_script:
                number, lines = self._hear_in_script(number, lines, now)
            if self.expectations.pending and not self._in_script:
                self.expectations.look(number, lines, now + self.wall_offset)
            if self._replies.rules and self._lifecycle.state is not _STOPPING:
                self._answer(lines, now)
            if self._heartbeats.awaited is not None:
                self._watch.hear(lines)

    def _hear_in_script(self, number: int, lines: list[bytes], now: float) -> tuple[int, list[bytes]]:
        """Show the script lines that have just come; return those that stand behind its end."""
        opening = self._opening
        for index, line in enumerate(lines):
            if not opening.has_script:
                return number + index, lines[index:]
            opening.mark = number + index + 1
            if (compared := beginning(line)) is not None:
                self._judge(compared, now)
        return number + len(lines), []

    # -- replies, and lines over which an expression may take long -------------------------------------------

    def _answer(self, lines: list[bytes], now: float) -> None:
        """Answer received lines by the first rule that is for each."""
        replies = self._replies
        for line in lines:
            if (compared := beginning(line)) is None:
                continue
            if not replies.are_quick(compared):
                self._judge(compared, now)
            elif (found := replies.find(compared)) is not None:
                self._send_reply(*found, now)

    def _judge(self, line: bytes, now: float) -> None:
        """Answer a line, and give it to the script; elsewhere where an expression may take long over it, or
        over one before.
        """
        replies = self._replies
        judged = replies.judge(line, self._opening.awaits)
        if judged is not None:
            self._obey(judged[0], line, judged[1], now)
        elif replies.has_too_many_lines:
            replies.end()
            patterns = [pattern for pattern, _ in replies.rules]
            replies.switch_off(patterns, KEEPS_UP_NO_MORE, now + self.wall_offset)
            if self._opening.has_script:
                self.fail(self._opening.fail(f"the expression {KEEPS_UP_NO_MORE}"), now)

    def judged(self, job: Job, verdicts: list[Verdict], now: float) -> None:
        """Do what was found of the lines of a job: answer them, and go on with the script."""
        for line, verdict in self._replies.finish(job, verdicts):
            if self.state is _STOPPING:
                return
            self._obey(job, line, verdict, now)

    def _obey(self, job: Job, line: bytes, verdict: Verdict, now: float) -> None:
        """Do what follows from what was found of a line."""
        opening = self._opening
        if verdict.slow:
            self._replies.switch_off(verdict.slow, TOOK_LONG, now + self.wall_offset)
        if verdict.rule is not None and verdict.reply is not None and self.state is not _STOPPING:
            self._send_reply(verdict.rule, verdict.reply, now)
        if job.step is not None and opening.has_script:
            if verdict.step is None:
                self.fail(opening.fail(f"the expression {TOOK_LONG}; make it simpler"), now)
            else:
                opening.hear(line, now, met=verdict.step)
                self._go_on_with_script(now)

    def _send_reply(self, pattern: re.Pattern[bytes], reply: bytes, now: float) -> None:
        """Send the reply of a rule."""
        if has_break(reply, self.settings.eol):
            # What the peer has put into it must not become a command.
            rule = self._replies.shown(pattern)
            why = f"a line break that came with {self.settings.where}'s line"
            self._outbox.refuse(f"the reply to {rule!r} has {why}: it is not sent", now + self.wall_offset)
        else:
            self._write_quietly(reply + self.settings.eol, now)

    # -- sending ---------------------------------------------------------------------------------------------

    def _write_line(
        self,
        data: bytes,
        line: bytes,
        delivery: Delivery,
        now: float,
        expectation: Expectation | None = None,
        in_script: bool = False,
    ) -> None:
        failure = self._outbox.write(data, line, delivery, now, now + self.wall_offset)
        assert delivery.number is not None
        following = delivery.number + 1
        if not in_script:
            self.expectations.sent(following)
        if expectation is not None:
            self.expectations.add(expectation, following)
        if failure is not None:
            self.fail(failure, now)

    def _write_quietly(self, data: bytes, now: float) -> bool:
        """Send a line of our own accord: in the log, and with a delivery, but without a change to where the
        next `expect` starts. Return whether that found room.
        """
        if not self._outbox.check_own_room(len(data), now + self.wall_offset):
            return False
        line = self.transcript.redacted(without_end(data))
        self._write_line(data, line, Delivery(line), now, in_script=True)
        return True

    # -- what the driver asks of the parts ----------------------------------------------------------------

    @property
    def effects(self) -> list[Effect]:
        """What is to be done, in order."""
        return self._lifecycle.effects

    @effects.setter
    def effects(self, effects: list[Effect]) -> None:
        self._lifecycle.effects = effects

    @property
    def changes(self) -> list[Status]:
        """The statuses that nobody has been told, in order."""
        return self._lifecycle.changes

    @changes.setter
    def changes(self, changes: list[Status]) -> None:
        self._lifecycle.changes = changes

    @property
    def frames_wanted(self) -> bool:
        """Whether `take_frames` has something."""
        return self._inbox.has_framing_job

    def take_frames(self) -> FramingJob | None:
        """Return what the user's framing is to do now."""
        return self._inbox.take_framing_job()

    @property
    def to_judge(self) -> bool:
        """Whether `take_job` has something."""
        return self._replies.has_job

    def take_job(self) -> Job | None:
        """Return lines that are to be judged now."""
        return self._replies.take_job(self._opening.awaits)

    @property
    def socket_options(self) -> tuple[KeepAlive, int] | None:
        """What is to be applied to the socket."""
        return self._watch.socket_options

    @socket_options.setter
    def socket_options(self, options: tuple[KeepAlive, int] | None) -> None:
        self._watch.socket_options = options

    @property
    def pauses_limited(self) -> bool:
        """Whether the kernel took `longest_retransmission`."""
        return self._watch.pauses_limited

    @pauses_limited.setter
    def pauses_limited(self, are_limited: bool) -> None:
        self._watch.pauses_limited = are_limited

    @property
    def outgoing(self) -> list[memoryview | bytes]:
        """What waits to be handed to the kernel."""
        return self._outbox.outgoing

    def next_outgoing(self) -> memoryview | bytes:
        """Return the next bytes for the kernel, where there is something `outgoing`."""
        return self._outbox.next_outgoing()

    @property
    def handed_over_bytes(self) -> int:
        """Bytes of the outgoing stream that the kernel took."""
        return self._outbox.handed_over

    @property
    def backlog(self) -> tuple[int, int]:
        """Lines and bytes that wait to be handed to the kernel."""
        return self._outbox.backlog

    def all_acknowledged(self, acknowledged: int) -> bool:
        """Whether the peer has all that was written."""
        return self._outbox.all_acknowledged(acknowledged)

    @property
    def held(self) -> bool:
        """Whether decrypted data may be left."""
        return self._inbox.has_buffered

    @held.setter
    def held(self, is_held: bool) -> None:
        self._inbox.has_buffered = is_held

    @property
    def is_framing(self) -> bool:
        """Whether the user's framing is at work."""
        return self._inbox.is_framing

    @property
    def receives_in_place(self) -> bool:
        """Whether the bytes from the socket are the transcript's bytes."""
        return self._inbox.is_in_place

    def reads_at_most(self, room: int) -> int:
        """Return how many bytes of the `room` for them are to be read at once."""
        return self._inbox.reads_at_most(room)

    def user_timeout(self, keepalive: KeepAlive, info: TcpInfo | None) -> int:
        """Return TCP_USER_TIMEOUT in ms for the live socket."""
        return self._watch.user_timeout(keepalive, info)

    @property
    def reading(self) -> bool:
        """Whether the receiving goes on."""
        return self._watch.is_reading

    def set_reading(self, reading: bool, now: float) -> None:
        """Note whether the receiving goes on."""
        self._watch.set_reading(reading, now)

    @property
    def health(self) -> Health:
        """What is thought of the peer."""
        return self._watch.health

    @property
    def heartbeat(self) -> Heartbeat | None:
        """The user's."""
        return self._heartbeats.heartbeat

    @property
    def silence(self) -> float | None:
        """Seconds without anything received that are a loss; None: never."""
        return self._watch.silence


def _fate(lost: tuple[Delivery, ...], *, known: bool) -> str:
    """Say how much was not acknowledged; known: whether the system tells what was."""
    if not lost:
        return ""
    size = sum(len(delivery.data) for delivery in lost)
    fate = "never acknowledged" if known else "of which this system does not tell what was acknowledged"
    return f"; {counted(len(lost), 'line')} ({size} bytes) {fate}"

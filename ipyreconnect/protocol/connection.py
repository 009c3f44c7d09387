"""One client's connection as a value machine: what was received and the time come in, what to send and what
to do come out.

It lives as long as its client, over all reconnections. It owns the state, the TLS pipe, the transcript's
writing end, the ledger of deliveries, the expectations and the queue; it opens no socket and reads no clock.
The driver calls one method for each thing that happens (always with the turn, see network/turn.py), then
does what stands in `effects`, sends what `outgoing` gives and calls `due` at `deadline`.

`now` is the monotonic clock in seconds; `wall_offset` (kept up by the driver) makes of it the Unix time that
the transcript shows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import AttemptFailed, CallerError, ConnectionLost, Ending, NotConnected, OutboxFull
from ..lines.delivery import UNCONFIRMED, Delivery
from ..lines.framing import LINE_LIMIT, Announced, Foreign, Framer, Raw, beginning, make_framer
from ..lines.text import decode, has_break, in_one_line
from ..lines.transcript import Runs, Transcript, nothing_needed
from ..profile.base import TLSMode
from ..settings import Heartbeat, KeepAlive, Retry
from .configuration import QUEUE_LINES, Settings
from .expect import Expectation, Expectations
from .health import UNKNOWN
from .judging import RULE_PATIENCE, Job, Judging, Later, Rules, Verdict, quick_limit, search_now
from .kernel_rules import longest_retransmission, user_timeout
from .last_words import Ends
from .ledger import Ledger
from .resumption import Resumption
from .script import ScriptRun, Send
from .starttls import StartTLS
from .state import Effect, Input, Phase, State, transition
from .status import Status
from .tcp_info import TcpInfo
from .tls import TLSPipe, instead_of_tls
from .unread import PlainLines, Unread
from .watchdog import LATE, LONGEST_PAUSE, Watchdog

__all__ = ["Connection"]

NEVER = math.inf
"""The time of what is not waited for."""
HANDSHAKE_PATIENCE = 10.0
"""Seconds that the peer has for TLS, and for STARTTLS: a mute one must not hold an attempt for ever."""
SCRIPT_PATIENCE = 30.0
"""Seconds that each awaited line of an on-connect script has."""
FAREWELL_PATIENCE = 0.2
"""Seconds that a stop waits for the peer to acknowledge what was sent last; what it has not by then is
reported and never arrives later."""
QUEUE_PATIENCE = 60.0
"""Seconds that a line waits for a connection: an answer to something that was asked a minute ago
surprises."""
WATCH_GRID = 0.5
"""Seconds: looks that have time are put off to the next multiple of it, so that a thousand idle connections
wake the thread together."""
FAREWELL_LOOK = 0.001
"""Seconds between looks while the last acknowledgement is awaited."""
CHANGES_APART = 0.5
"""Seconds between tries that a change of network sets off: where containers come and go there are many. The
next one after a change is no later than that."""
FIRST_LOOK = 0.01
LONGEST_LOOK = 0.5
"""Seconds between looks at the acknowledgements, while some are awaited: doubling from the first to the
longest."""
LIVELY = 1.0
"""Seconds after something was received for which nobody needs to look whether there is more: no verdict
follows from so short a silence, but of a heartbeat or a `silence` of that order."""
LONGEST_PLAIN_LINE = 64 * 1024
"""Bytes of a line in the dialogue of STARTTLS; real ones take fewer than a thousand."""
FRAMING_PATIENCE = 2.0
"""Seconds that a lost connection waits for the user's framing to take what came before the end."""
SHOW_UNREAD_AFTER = 0.1
"""Seconds after which the log shows lines that an on-connect function has not read."""
PLAIN_LINE = 32 * 1024
"""Bytes of a line that the transcript frames as well as a framer does."""
PLAIN_STEP = 16 * 1024
"""The plaintext of one TLS record."""
JOIN_BELOW = 16 * 1024
JOIN_UP_TO = 256 * 1024
"""Bytes: what is smaller is joined with what follows, up to this much for one call of send."""
SHOWN = 60
"""Characters of a line that a message quotes."""
# Named once: an enum looks for its member each time, which takes 0.1 µs in Python 3.11.
_CONNECTED, _CONNECTING, _STOPPED, _STOPPING = (
    State.CONNECTED,
    State.CONNECTING,
    State.STOPPED,
    State.STOPPING,
)


@dataclass(frozen=True, slots=True)
class FramingJob:
    """What the user's framing of one connection is to do, on a thread of its client.

    data: what it is fed with; none: it is only made. last: whether no more will come.
    """

    framer: Foreign
    data: bytes
    last: bool

    def run(self) -> list[bytes]:
        """Do it; return the lines. Raises CallerError for whatever the user's code raises."""
        try:
            self.framer.make()
            lines = self.framer.feed(self.data) if self.data else []
            return lines + self.framer.finish() if self.last else lines
        except CallerError:
            raise
        except BaseException as error:  # a user's code may raise anything, SystemExit too
            raise CallerError(
                f"the framing {self.framer.name} failed: {type(error).__name__}: {error}"
            ) from error


@dataclass(slots=True)
class _Queued:
    data: bytes
    line: bytes
    delivery: Delivery
    expectation: Expectation | None
    since: float


class Connection:
    """See the module's first lines. Everything here is called with the turn only."""

    __slots__ = (
        "_answer",
        "_answered",
        "_applied",
        "_awaited",
        "_beat_at",
        "_beat_mark",
        "_chance",
        "_changed_at",
        "_changed_meanwhile",
        "_ends",
        "_failing",
        "_failures",
        "_farewell_at",
        "_framer",
        "_frames",
        "_framing",
        "_hurry",
        "_judging",
        "_ledger",
        "_look_at",
        "_look_pause",
        "_making",
        "_phase_ends",
        "_pipe",
        "_plain_rest",
        "_probe_begins",
        "_queue",
        "_queue_size",
        "_refused",
        "_replies",
        "_replies_quick",
        "_resumption",
        "_retry_at",
        "_said",
        "_script",
        "_script_left",
        "_script_mark",
        "_script_sent",
        "_sent_at",
        "_starttls",
        "_state",
        "_unread",
        "_up_at",
        "_watch_at",
        "_watchdog",
        "_written",
        "along",
        "changes",
        "effects",
        "expectations",
        "frames_wanted",
        "health",
        "heartbeat",
        "held",
        "keepalive",
        "last_received",
        "needed",
        "outgoing",
        "pauses_limited",
        "reading",
        "reads_since",
        "received_bytes",
        "retry",
        "session",
        "session_wanted",
        "settings",
        "silence",
        "socket_options",
        "status",
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
        self.keepalive = keepalive
        self.retry = retry
        self.transcript = transcript
        self._replies: Rules = ()
        self._replies_quick = 0  # bytes of a line for which all of them are quick
        self._judging: Judging | None = None  # lines that are judged elsewhere
        self.status = Status()
        self.changes: list[Status] = []
        self.effects: list[Effect] = []
        self.unconfirmed: tuple[Delivery, ...] = ()
        self.wall_offset = 0.0
        self.received_bytes = 0
        self.last_received: float | None = None
        self.session = 0
        self.session_wanted = False
        self.expectations = Expectations(transcript, settings.encoding)
        self._chance = chance
        self._state = _STOPPED
        self._ledger = Ledger()
        self._pipe: TLSPipe | None = None
        self._resumption = Resumption(settings.resumes)
        self._ends = Ends(
            settings.where,
            settings.profile.goodbye,
            # To TLS on a Unix socket there is no such simple way: it has no name to verify.
            plain=settings.tls is TLSMode.NONE and settings.profile.name != "unix",
            encoding=settings.encoding,
        )
        self._sent_at: float | None = None  # when the last line left; None: none has yet
        self._framer: Framer | None = None
        self._frames: list[bytes] = []  # what a user's framing has still to be fed with
        self._framing = False  # whether it is at work
        self._making = False  # whether it is being made, so that the connection can go on
        self._failing: Exception | None = None  # why the connection is lost, once all was framed
        self.frames_wanted = False  # whether `take_frames` has something
        self._unread: Unread | None = None  # what is cut for the on-connect function, as it reads
        self._starttls: StartTLS | None = None
        self._plain_rest = b""  # the unfinished line of the dialogue of STARTTLS
        self._script: ScriptRun | None = None
        self.outgoing: list[memoryview | bytes] = []  # what waits to be handed to the kernel
        self._written = 0  # bytes of the outgoing stream so far
        self._queue: list[_Queued] = []
        self._queue_size = 0
        self._refused = False  # whether the last line of our own accord was not sent
        self._failures = 0
        self._up_at = 0.0
        self._phase_ends = NEVER
        self._retry_at = NEVER
        self._farewell_at = NEVER
        self._look_at = NEVER
        self._look_pause = FIRST_LOOK
        self.heartbeat: Heartbeat | None = None
        self._beat_at = NEVER
        self._answered = False  # whether such a heartbeat was ever answered at this address
        self._answer: re.Pattern[Any] | None = None  # finds what answers it; None: whatever is received
        self._awaited: re.Pattern[Any] | None = None  # the same while the first answer is looked for
        self._beat_mark: int | None = None  # bytes received when the first that is unanswered had left
        self.silence: float | None = None
        self._watch_at = NEVER
        self._watchdog: Watchdog | None = None
        self._applied: tuple[KeepAlive, int] | None = None
        self._probe_begins = False
        self._changed_at = float("-inf")
        self._changed_meanwhile = False  # the network, since the attempt began
        self._hurry = NEVER  # seconds that the next wait has at most
        self.health = UNKNOWN
        self.socket_options: tuple[KeepAlive, int] | None = None
        self.pauses_limited = False  # whether the kernel took `longest_retransmission`
        self.reading = True
        self.reads_since = 0.0  # when it last began to, after it was held up
        self.along: Runs | None = None  # takes the lines of a follower's own reading
        self.needed = nothing_needed
        self.held = False
        """Whether more may have been received than was taken over: `go_on` takes it. So those who read along
        have their turn in between, though many TLS records are read from the socket at once.
        """
        self._said = ""
        self._script_mark = 0
        self._script_left: list[Send] = []  # what its outbox has no room for yet
        self._script_sent = 0  # bytes of the stream that had left when more of the script was written last

    # -- what the driver asks --------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the client is in the table of states."""
        return self._state

    @property
    def replies(self) -> Rules:
        """Patterns, and the lines that answer those in which they are found."""
        return self._replies

    @replies.setter
    def replies(self, rules: Rules) -> None:
        self._replies = rules
        self._replies_quick = quick_limit(rules)

    @property
    def needs_to_receive(self) -> bool:
        """Whether what the peer says is waited for by more than those who only read: a slow reader is not to
        hold up the receiving then.
        """
        return (
            bool(self.replies or self.expectations.pending)
            or self._beat_at < NEVER
            or self._state is _CONNECTING
        )

    @property
    def deadline(self) -> float:
        """When `due` is to be called at the latest (monotonic, s); infinite: nothing is waited for."""
        # One by one, as each step asks for it: min() takes three times as long.
        earliest = self._look_at
        if self._watch_at < earliest:
            earliest = self._watch_at
        if self._phase_ends < earliest:
            earliest = self._phase_ends
        if self._retry_at < earliest:
            earliest = self._retry_at
        if self._farewell_at < earliest:
            earliest = self._farewell_at
        if self._beat_at < earliest:
            earliest = self._beat_at
        return min(earliest, self._queue[0].since + QUEUE_PATIENCE) if self._queue else earliest

    @property
    def wants_look(self) -> float:
        """When the kernel's account of the socket is to be looked at (monotonic, s); infinite: no need."""
        return min(self._look_at, self._watch_at)

    def seems_silent(self, now: float) -> bool:
        """Whether it would count now that nothing was received for a while: then first of all what has come
        must be read, as nobody may have done that. A thread that leads may be in a signal handler or a
        debugger, and the process may have been stopped.
        """
        every = self._watchdog.heartbeat if self._watchdog is not None else None
        if every is None and self._beat_mark is not None and self.heartbeat is not None:
            every = self.heartbeat.every  # nobody is judged by it before an answer is seen
        if self.last_received is None or (every is None and self.silence is None):
            return False
        least = min(LIVELY, every or LIVELY, self.silence or LIVELY)
        return self.reading and self._state is _CONNECTED and now - self.last_received >= least / 2

    @property
    def receives_in_place(self) -> bool:
        """Whether the bytes from the socket are the transcript's bytes, so that they can be received right
        into it.
        """
        return self._pipe is None and self._framer is None and self._unread is None and self._starttls is None

    @property
    def is_framing(self) -> bool:
        """Whether the user's framing is at work, or has to be first: until then nothing is read."""
        return self._framing or self._failing is not None

    def reads_at_most(self, room: int) -> int:
        """Return how many bytes of the `room` for them are to be read at once: ciphertext can be held back, a
        raw read is one line, and of what is to be framed no more than readers can follow.
        """
        if self._pipe is not None or isinstance(self._framer, Raw):
            return room
        return min(room, self.transcript.most_at_once)

    def next_outgoing(self) -> memoryview | bytes:
        """Return the next bytes for the kernel, where there is something `outgoing`; small pieces are joined,
        as each call of the kernel costs more than they do.
        """
        out = self.outgoing
        if len(out) > 1 and len(out[0]) < JOIN_BELOW:
            size = count = 0
            while count < len(out) and size < JOIN_UP_TO:
                size += len(out[count])
                count += 1
            out[:count] = [b"".join(out[:count])]
        return out[0]

    @property
    def has_alert(self) -> bool:
        """Whether what waits to be sent tells the peer why the TLS handshake has failed."""
        return self._pipe is not None and self.status.tls is None and bool(self.outgoing)

    @property
    def handed_over_bytes(self) -> int:
        """Bytes of the outgoing stream that the kernel took."""
        return self._ledger.sent

    @property
    def backlog(self) -> tuple[int, int]:
        """Lines and bytes that wait to be handed to the kernel."""
        return self._ledger.lines_queued + len(self._queue), self._ledger.size_unsent + self._queue_size

    def all_acknowledged(self, acknowledged: int) -> bool:
        """Whether the peer has all that was written, when it has acknowledged the stream up to there."""
        return acknowledged >= self._written

    # -- the user's wishes -----------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin connecting, from stopped or, without waiting longer, from waiting.

        Raises SettingsError when another client writes the transcript.
        """
        if self._state is _STOPPED:
            self.transcript.begin_writing(
                self, self.settings.encoding, self.needed, self.settings.longest_line
            )
            self._failures = 0
            self.expectations.begin()
            self.status = replace(self.status, reason="", loss="", attempt=0)
        self._enter(Input.START, now)

    def retry_now(self, now: float) -> None:
        """Connect anew without a wait; a live connection is dropped for it."""
        if self._state is _CONNECTED:
            self._said = f"connection to {self.settings.where} dropped to reconnect"
            self._failures = 0
            self.status = replace(self.status, reason=self._said, loss=self._said, attempt=0)
        self._enter(Input.RETRY, now)

    def stop(self, now: float) -> None:
        """End; legal in every state."""
        if self._state is _CONNECTED:
            self._farewell_at = now + FAREWELL_PATIENCE
            self._look_at = now
            self._beat_at = NEVER
            if self._pipe is not None:
                self._pipe.close()
                self._collect()
        if self._state not in (_STOPPED, _STOPPING):
            self._said = "stopped"
            self.status = replace(self.status, stopped_at=now + self.wall_offset)
        if self._state is State.WAITING:
            self.transcript.append_note(self._said, now + self.wall_offset)
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

        session: the number of the on-connect function's session that sends it; 0: the user does.
        Raises NotConnected (unless `queue`) and OutboxFull, and then nothing was sent.
        """
        if session:
            self.check_session(session)
            while self._cut_unread(now):  # what came before it stands before it
                pass
        if session or self._state is _CONNECTED:
            ledger = self._ledger
            if ledger.unsent or len(data) > self.settings.queue_bytes:
                lines, size = ledger.lines_queued, ledger.size_unsent
                advice = "the peer reads nothing, or too slowly: wait, or stop the connection"
                self._check_room(lines, size, len(data), advice)
            self._write_line(data, line, delivery, now, expectation, in_script=session != 0)
        elif queue and self._state is not _STOPPED and self._state is not _STOPPING:
            self._check_room(
                len(self._queue), self._queue_size, len(data), "no connection yet: wait until it is back"
            )
            self._queue.append(_Queued(data, line, delivery, expectation, now))
            self._queue_size += len(data)
            self.expectations.begin()
        else:
            raise NotConnected(self._not_connected(now))

    def check_session(self, session: int) -> None:
        """Raise ConnectionLost when the on-connect function's session of that number is over."""
        if session != self.session or not self._in_script:
            raise ConnectionLost(self._said or f"the session with {self.settings.where} is over")

    def expect(self, expectation: Expectation, now: float) -> None:
        """Look for `expectation` from the last send or match on; its outcome is set now, or when a line
        comes.
        """
        self.expectations.expect(expectation, may_look=not self._in_script)
        if expectation.outcome is not None:
            return
        if self._state in (_STOPPED, _STOPPING):
            expectation.outcome = NotConnected(self._not_connected(now))
        else:
            self.expectations.pending.append(expectation)

    def forget(self, expectation: Expectation) -> None:
        """Look for it no longer: its time is over, or its waiter was interrupted."""
        self.expectations.forget(expectation)
        for entry in self._queue:
            if entry.expectation is expectation:
                entry.expectation = None  # the line itself is still sent
                expectation.unsent = True

    def user_timeout(self, keepalive: KeepAlive, info: TcpInfo | None) -> int:
        """Return TCP_USER_TIMEOUT in ms for the live socket, of which `info` is the kernel's account."""
        was_stalled = self._watchdog is not None and self._watchdog.was_stalled
        return user_timeout(keepalive, info, was_stalled=was_stalled)

    def keepalive_changed(
        self, keepalive: KeepAlive, in_force: KeepAlive | None, info: TcpInfo | None, now: float
    ) -> None:
        """Judge by `keepalive` from now on; `in_force` is what the kernel gave back for the live socket, and
        `info` its account, by which the user time-out was set.
        """
        self.keepalive = keepalive
        if self._watchdog is not None:
            self._watchdog.keepalive = keepalive
            self._watchdog.longest_pause = self._longest_pause
            self._watch_at = now
            self._applied = (keepalive, self.user_timeout(keepalive, info))
        if in_force is not None:
            self._set(keepalive=in_force)

    def add_reply(self, pattern: re.Pattern[bytes], template: bytes) -> None:
        """Answer each line in which `pattern` is found from now on, before the rules that are there."""
        self.replies = ((pattern, template), *self.replies)

    def set_retry(self, retry: Retry) -> None:
        """Wait by `retry` from the next failure on."""
        self.retry = retry

    def set_heartbeat(self, heartbeat: Heartbeat | None, now: float) -> None:
        """Send `heartbeat` from now on, on the live connection too; None: none any more.

        The first one leaves a period later. Another line than before has to be answered once before its
        silence says anything.
        """
        if heartbeat == self.heartbeat:
            return
        self._note_answer()
        before, self.heartbeat = self.heartbeat, heartbeat
        if (
            heartbeat is None
            or before is None
            or (heartbeat.line, heartbeat.answered) != (before.line, before.answered)
        ):
            self._answered = False
            self._answer = self._answer_to(heartbeat) if heartbeat is not None else None
        if self._state is _CONNECTED:
            self._begin_to_beat(now)

    @property
    def heartbeat_answered(self) -> bool:
        """Whether a heartbeat like the present one was ever answered at this address."""
        self._note_answer()
        return self._answered

    def set_silence(self, silence: float | None, now: float) -> None:
        """Take so many seconds without anything received for a loss, counted from now on; None: never."""
        self.silence = silence
        self.reads_since = now
        if self._state is _CONNECTED:
            self._watch_at = now

    def set_reading(self, reading: bool, now: float) -> None:
        """Note whether the receiving goes on, or is held up for a slow reader of ours: then nothing follows
        from it that nothing is received.
        """
        self.reading = reading
        self.reads_since = now

    def forked(self) -> None:
        """Let go, as a copy in a child process: the connection is the parent's."""
        self._state = _STOPPED
        self._let_go()
        self._retry_at = NEVER
        for entry in self._queue:
            entry.delivery.status = UNCONFIRMED  # its parent sends it
        self._queue.clear()
        self._queue_size = 0
        self._ledger.close()  # what becomes of them, the parent knows
        self.transcript.take_unfinished()
        self.transcript.end_writing()
        self.unconfirmed = ()
        self.expectations.fail(reason := "the process was forked: the connection stays with its parent")
        self.status = Status(reason=reason, connection=self.status.connection)

    def note(self, text: str, now: float) -> None:
        """Put something that happened into the log."""
        self.transcript.append_note(text, now + self.wall_offset)

    def hurry(self, now: float) -> None:
        """Look at the acknowledgements soon: somebody waits for one."""
        if not self._ledger.settled:
            self._look_pause = 0.001
            self._look_at = now

    # -- what the network brings -----------------------------------------------------------------------------

    def progress(self, phase: Phase, now: float) -> None:
        """Note how far connecting has come."""
        if self._state is _CONNECTING:
            self._set(phase=phase)

    def dialed(self, peer: str, local: str, keepalive: KeepAlive | None, now: float) -> None:
        """Take over a connected socket."""
        if self._state is not _CONNECTING:
            return
        self.status = replace(self.status, peer=peer, local=local, keepalive=keepalive, tls=None)
        self._ends.began(self.transcript.end, self.received_bytes, now)
        self._ledger = Ledger()
        self.outgoing.clear()
        self._written = 0
        self.reading = True
        self._phase_ends = now + HANDSHAKE_PATIENCE
        self._begin_watch(now)
        self._applied = (self.keepalive, user_timeout(self.keepalive))
        if self.settings.tls is TLSMode.IMPLICIT:
            self._begin_tls(now)
        elif self.settings.tls is TLSMode.STARTTLS and self.settings.dialect is not None:
            self._starttls = StartTLS(self.settings.dialect, self.settings.where)
            self._set(phase=Phase.STARTTLS)
        else:
            try:
                self._secured(now)
            except CallerError as error:  # the user's framing
                self.fail(error, now)

    def committed(self, size: int, now: float) -> None:
        """Take over `size` bytes that were received into the transcript's room."""
        self.received_bytes += size
        self.last_received = now
        runs: Runs | None = [] if self._looks else None
        if self.transcript.commit(size, now + self.wall_offset, runs):
            self._look_at_new(runs, now)

    def received(self, data: memoryview, now: float) -> None:
        """Take over bytes from the socket that are not the transcript's own: ciphertext, or to be framed."""
        if self._pipe is not None:
            self._pipe.feed(data)
            self.go_on(now)
            return
        try:
            self._plain(bytes(data), now)
        except CallerError as error:
            self.fail(error, now)

    def go_on(self, now: float) -> None:
        """Take over more of what was received in TLS, about as much as the transcript takes at once."""
        try:
            self._decrypt(now)
        except (AttemptFailed, ConnectionLost, CallerError) as error:
            self.fail(error, now)

    def received_eof(self, now: float) -> None:
        """The peer sends no more."""
        if self._pipe is not None and self._state is _CONNECTING:
            self._pipe.feed_eof()
            self.go_on(now)
        truncated = self._pipe is not None and not self._pipe.closed_by_peer and self._state is _CONNECTED
        how = " without close_notify: the end may be cut off" if truncated else ""
        ending = Ending.CUT if truncated else Ending.CLOSED
        self.fail(ConnectionLost(f"closed by {self.settings.where}{how}", ending=ending), now)

    def fail(self, error: Exception, now: float) -> None:
        """An attempt failed, or the connection is lost, for the reason that `error` gives."""
        while self.held and self._state in (_CONNECTING, _CONNECTED):
            self.go_on(now)  # what the peer has said comes before its end
        if self._state is _STOPPING:
            self._enter(Input.FAIL, now)
            return
        if self._state not in (_CONNECTING, _CONNECTED):
            return
        if isinstance(self._framer, Foreign) and not self._making and not isinstance(error, CallerError):
            # First what came before the end, which may be the answer.
            if self._failing is None:
                self._failing = error
                self.frames_wanted = True
                self._phase_ends = now + FRAMING_PATIENCE
            return
        ending = error.ending if isinstance(error, ConnectionLost) else Ending.OTHER
        script = self._script if self._script is not None and self._script.awaiting is not None else None
        # A script quotes the last lines itself.
        reason = self._reason(str(error), ending, now, quotes=script is None)
        if script is not None:
            reason = str(script.fail(reason))
        # What a user's function raised may quote a secret, and what the server said.
        reason = in_one_line(self.transcript.redacted_text(reason))
        final = isinstance(error, AttemptFailed) and error.final and self.status.connection == 0
        if (
            self._state is _CONNECTED
            and now - self._up_at >= self.retry.stable
            and not self._ends.was_mute(ending, self.received_bytes, now)
        ):
            # A connection that does not last counts as one more failure in the row: a server that accepts and
            # closes must not be called for ever, or without growing waits.
            self._failures = 0
            self.status = replace(self.status, attempt=0)
        self._failures += 1
        tries = self.retry.attempts
        if not final and tries is not None and self.status.attempt >= tries:
            final = True
            reason = f"{reason}; gave up after {tries} {'try' if tries == 1 else 'tries'}"
        loss = reason if self._state is _CONNECTED else self.status.loss
        self.status = replace(self.status, reason=reason, loss=loss)
        self._said = reason
        self._enter(Input.GIVE_UP if final else Input.FAIL, now)

    def _reason(self, reason: str, ending: Ending, now: float, *, quotes: bool) -> str:
        """Return why the connection ended, with what the peer said last."""
        if self._unread is not None:
            unfinished = self._unread.uncut
        else:
            held = getattr(self._framer, "unfinished", b"")
            unfinished = self.transcript.unfinished or held or self._plain_rest
        silent_since = (self.last_received, self._sent_at)
        wall = now + self.wall_offset
        return self._ends.reason(
            reason,
            ending,
            self.transcript,
            unfinished,
            self.received_bytes,
            silent_since,
            now,
            wall,
            quotes=quotes,
        )

    def give_up(self, reason: str, now: float) -> None:
        """The attempt cannot even begin, and no other could."""
        self.status = replace(self.status, reason=reason)
        self._said = reason
        self._enter(Input.GIVE_UP, now)

    # -- what a user's framing does

    def take_frames(self) -> FramingJob | None:
        """Return what the user's framing is to do now, on a thread of the client's; None: nothing, or it is
        at work. What comes of it is given to `framed`.
        """
        framer = self._framer
        if self._framing or not isinstance(framer, Foreign):
            return None
        self.frames_wanted = False
        data = b"".join(self._frames)
        self._frames.clear()
        self._framing = True
        return FramingJob(framer, data, self._failing is not None)

    def framed(self, job: FramingJob, lines: list[bytes], error: CallerError | None, now: float) -> None:
        """Take over the lines that the user's framing has made, or why it failed."""
        if job.framer is not self._framer:
            return  # of a connection before
        self._framing = False
        self.frames_wanted = bool(self._frames) or (self._failing is not None and not job.last)
        self.reads_since = now
        if error is not None:
            self._give_framing_up()
            self._making = False
            self.fail(error, now)
            return
        if self._making:
            self._making = False
            self._framing_made(now)
            return
        if lines:
            runs: Runs | None = [] if self._looks else None
            self.transcript.append_received(lines, now + self.wall_offset, runs)
            self._look_at_new(runs, now)
        if job.last and self._failing is not None:
            failing = self._failing
            self._give_framing_up()
            self.fail(failing, now)

    def _give_framing_up(self) -> None:
        """Have the user's framing do no more on this connection."""
        self._framer = self._failing = None
        self._framing = self.frames_wanted = False
        self._frames.clear()

    # -- what an on-connect function reads

    def unread(self, session: int) -> Unread:
        """Return what the on-connect function's session of that number has still to read; raises
        ConnectionLost when it is over.
        """
        self.check_session(session)
        assert self._unread is not None
        return self._unread

    def read_line(self, session: int, now: float) -> tuple[int, bytes, float] | None:
        """Return the next line for the on-connect function, as its number, its bytes and its Unix time, if it
        is there. Raises ConnectionLost when the session is over.
        """
        unread = self.unread(session)
        line = unread.read_line()
        if line is None and not isinstance(unread.framer, Foreign):
            self._look_at_new(unread.cut(now + self.wall_offset, one=True), now)
            line = unread.read_line()
        return line

    def pass_over(self, session: int, size: int, now: float) -> tuple[int, float]:
        """Have the on-connect function read so many bytes of plain lines, which it has had a look at; return
        the number and the Unix time of the last one. Raises ConnectionLost when the session is over.
        """
        runs: Runs = []
        last = self.unread(session).pass_over(size, now + self.wall_offset, runs)
        self._look_at_new(runs, now)
        return last

    def take_framed(self, session: int, size: int, lines: list[bytes], now: float) -> None:
        """Take over what the user's framing has made, on the function's thread, of the first `size` bytes."""
        runs = self.unread(session).take_framed(size, lines, now + self.wall_offset)
        self._look_at_new(runs, now)

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
            self._look_at_new(runs, now)
        return data

    def want_no_bytes(self, session: int, now: float) -> None:
        """Note that the on-connect function waits for bytes no longer, though they have not come."""
        if self._unread is not None and session == self.session:
            self._unread.wanted = 0
            self._phase_ends = min(self._phase_ends, now + SHOW_UNREAD_AFTER)

    def _cut_unread(self, now: float) -> bool:
        """Cut and show lines that have come, though the function has not read them; return whether there may
        be more of them.
        """
        unread = self._unread
        if unread is None or unread.wanted or isinstance(unread.framer, Foreign):
            return False
        runs = unread.cut(now + self.wall_offset)
        self._look_at_new(runs, now)
        return bool(runs)

    def script_ended(self, session: int, error: Exception | None, now: float) -> None:
        """The on-connect function has returned, or raised `error`."""
        if session == self.session and self._in_script:
            if error is None:
                try:
                    self._up(now)
                except CallerError as raised:  # the user's framing
                    self.fail(raised, now)
            else:
                self.fail(error, now)

    def handed_over(self, size: int) -> bool:
        """The kernel took `size` bytes of `outgoing`; return whether something is left."""
        self._ledger.hand_over(size)
        out = self.outgoing
        head = out[0]
        if size == len(head):
            del out[0]
            if self._script_left and not out:
                self._phase_ends = 0.0  # over: `due` goes on with the script
            return bool(out)
        out[0] = memoryview(head)[size:]
        return True

    def looked(self, info: TcpInfo | None, now: float, acknowledged: int | None) -> None:
        """Take over the kernel's account of the socket (None: there is none), and how much of the stream the
        peer has acknowledged (None: nobody can tell).
        """
        self._look_at = self._watch_at = NEVER
        if acknowledged is None:
            self._ledger.forget_sent(QUEUE_LINES)
        moved = acknowledged is not None and self._ledger.acknowledge(acknowledged)
        if self._state is _STOPPING:
            if acknowledged is None or (acknowledged >= self._written and not self.outgoing):
                self._enter(Input.CLOSED, now)
            else:
                self._look_at = now + FAREWELL_LOOK
            return
        if acknowledged is not None and not self._ledger.settled:
            self._look_pause = FIRST_LOOK if moved else min(2 * self._look_pause, LONGEST_LOOK)
            self._look_at = now + self._look_pause
        if self._watchdog is not None:
            self._watch(self._watchdog, info, acknowledged, now)

    @property
    def _longest_pause(self) -> float:
        """Seconds between two questions of the kernel at the most."""
        limited = self.pauses_limited and self.keepalive.enabled
        return longest_retransmission(self.keepalive) / 1000 if limited else LONGEST_PAUSE

    def _watch(self, watchdog: Watchdog, info: TcpInfo | None, acknowledged: int | None, now: float) -> None:
        unacknowledged = max(0, self._ledger.sent - acknowledged) if acknowledged is not None else 0
        up = self._state is _CONNECTED
        self._note_answer()
        received_at = self.last_received
        if received_at is not None and received_at < self.reads_since:
            received_at = self.reads_since
        reading = self.reading and not self.is_framing
        look = watchdog.look(
            info, now, unacknowledged=unacknowledged, received_at=received_at, reading=reading
        )
        if up:
            self.health = look.health
        if look.dead:
            self.fail(ConnectionLost(f"{self.settings.where} {look.reason}"), now)
            return
        self._watch_at = _on_grid(look.next_look, now)
        if up and self.silence is not None and received_at is not None:
            ends = self._silence_ends(self.silence, received_at, now)
            if now >= ends:
                why = f"silence={self.silence:g} makes that a loss (nothing is sent to ask)"
                told = f"{self.settings.where} has sent nothing for {self.silence:g} s: {why}"
                self.fail(ConnectionLost(told), now)
                return
            self._watch_at = min(self._watch_at, ends)
        wanted = (look.keepalive, look.user_timeout)
        if wanted != self._applied or self._probe_begins:
            self._applied = self.socket_options = wanted
            self._probe_begins = False
        if up and look.health.verdict is not self.status.verdict:
            self._set(health=look.health)

    def _silence_ends(self, silence: float, received_at: float, now: float) -> float:
        """Return when it is a loss that nothing was received for `silence` seconds."""
        ends = received_at + silence
        if self.reading and not self.is_framing and now - ends <= min(LATE, silence):
            return ends
        # Nobody read, or nobody looked for a while, as the process was stopped: who sends may have been so
        # as well, where it is on the same computer.
        self.reads_since = now
        return now + silence

    def network_changed(self, now: float, spread: float = 0.0) -> None:
        """Act upon a change of network or a sleep: probe the peer, or try again without waiting, at some
        moment within `spread` seconds.
        """
        if self._watchdog is not None:
            self._watchdog.probe(now)
            self._probe_begins = True
            self._watch_at = now
        if self._state is _CONNECTING:
            self._changed_meanwhile = True
        elif self._state is State.WAITING and self._retry_at < NEVER:
            at = max(now, self._changed_at + CHANGES_APART)
            if spread:
                at += spread * self._chance()
            if at < self._retry_at:
                # It may be the last one, the one that matters: postponed, never ignored.
                self._changed_at = self._retry_at = at
                self._set(retry_at=at + self.wall_offset)
            self.due(now)

    def address_gone(self, local: str, now: float, spread: float = 0.0) -> None:
        """End the connection, as this computer has lost its address. The next try is soon, for another
        address may be there already, but not at once: most likely it is still to come.
        """
        soonest = CHANGES_APART / 2
        self._hurry = soonest + max(CHANGES_APART - soonest, spread) * self._chance()
        self.fail(ConnectionLost(f"our address {local} is gone"), now)
        self._hurry = NEVER

    def dropped(self, acknowledged: int | None, now: float) -> None:
        """The socket is closed; `acknowledged` is the last that was known of the stream."""
        wall = now + self.wall_offset
        if acknowledged is not None:
            self._ledger.acknowledge(acknowledged)
        runs: Runs = []
        if self._plain_rest:
            self.transcript.append_aside(self._plain_rest, wall)
        if self._unread is not None:
            self._unread.finish(wall, calls=not isinstance(self._unread.framer, Foreign))
        if isinstance(self._framer, Foreign):
            if unframed := sum(map(len, self._frames)):
                self.transcript.append_note(f"{unframed} bytes were not framed by {self._framer.name}", wall)
        elif self._framer is not None:
            self.transcript.append_received(self._framer.finish(), wall, runs)
        self.transcript.flush(wall, runs)
        for number, lines in runs:
            # An answer may end with its connection instead of with a line end.
            self.expectations.look(number, lines, wall)
        lost = self._ledger.close()
        if self.status.connected_since is not None:
            self.unconfirmed = lost
        if self._pipe is not None:
            # After a failed handshake a whole one is to be made: the session may be what failed.
            self._resumption.ended(self._pipe, in_handshake=self.status.tls is None)
        self._let_go()
        text = f"{self._said}{_fate(lost, told=acknowledged is not None)}{self._comes_next(now)}"
        number = self.transcript.append_note(text, wall)
        self.expectations.lost(self._said, number, tells=self._state is not _STOPPED)
        self._set(connected_since=None, tls=None, keepalive=None, health=None)

    def _let_go(self) -> None:
        """Forget all that belongs to a connection alone: who reads, what is to be sent, and its deadlines."""
        self._note_answer()
        self._awaited = self._beat_mark = None
        self._pipe = self._framer = self._starttls = self._script = self._unread = None
        self._plain_rest = b""
        self._give_framing_up()
        self._making = False
        self._judging = None
        self.held = False
        self._script_left = []
        self.session_wanted = False
        self.outgoing.clear()
        self._phase_ends = self._look_at = self._farewell_at = self._beat_at = self._watch_at = NEVER
        self._watchdog = self._applied = self.socket_options = None
        self.health = UNKNOWN

    def stopped(self, now: float) -> None:
        """All is closed: tell what will never be sent."""
        self._drop_queue("the client was stopped" if self._said == "stopped" else self._said, now)
        self.transcript.end_writing()

    def due(self, now: float) -> None:
        """Do what the time asks for; `looked` is the driver's own to call."""
        if now >= self._phase_ends:
            self._phase_ends = NEVER
            self._out_of_time(now)
        if now >= self._retry_at:
            self._retry_at = NEVER
            self._enter(Input.RETRY, now)
        if now >= self._farewell_at:
            self._farewell_at = NEVER
            self._enter(Input.CLOSED, now)
        while self._queue and now >= self._queue[0].since + QUEUE_PATIENCE:
            self._expire(self._queue.pop(0), f"waited {QUEUE_PATIENCE:.0f} s for a connection", now)
        if now >= self._beat_at:
            self._beat(now)

    # -- inside ----------------------------------------------------------------------------------------------

    def _enter(self, happened: Input, now: float) -> None:
        before = self._state
        self._state, effects = transition(before, happened)
        if not effects and self._state is before:
            return
        self.effects.extend(effects)
        self._retry_at = NEVER
        if Effect.DIAL in effects:
            self._changed_meanwhile = False
            self._set(
                state=_CONNECTING,
                phase=Phase.RESOLVING,
                attempt=self.status.attempt + 1,
                retry_at=None,
                stopped_at=None,
            )
        elif Effect.WAIT in effects:
            wait = self.retry.wait(max(1, self._failures), self._chance())
            if self._changed_meanwhile and before is _CONNECTING:
                # Its failure belongs to the network as it was.
                wait = min(wait, CHANGES_APART)
            wait = min(wait, self._hurry)
            self._retry_at = now + wait
            self._set(state=State.WAITING, phase=None, retry_at=self._retry_at + self.wall_offset)
        elif self._state is not _CONNECTED:
            self._set(state=self._state, phase=None, retry_at=None)

    def _set(self, **changes: Any) -> None:
        self.status = replace(self.status, **changes)
        self.changes.append(self.status)

    def _comes_next(self, now: float) -> str:
        if self._state is State.WAITING and self._retry_at < NEVER:
            return f"; try {self.status.attempt + 1} in {self._retry_at - now:.1f} s"
        return "; stopped" if self._state is _STOPPED and self._said != "stopped" else ""

    def _not_connected(self, now: float) -> str:
        text = f"not connected to {self.settings.where}"
        if self._state is State.WAITING and self._retry_at < NEVER:
            wait = max(0.0, self._retry_at - now)
            return f"{text}: {self.status.reason}; waiting for try {self.status.attempt + 1} in {wait:.1f} s"
        if self._state is _CONNECTING:
            phase = self.status.phase.value if self.status.phase else "dialing"
            yet = "" if self.status.connection else " yet"
            return f"{text}{yet}: connecting ({phase}), try {self.status.attempt}"
        return f"{text}: {'stopping' if self._state is _STOPPING else 'stopped; connect first'}"

    def _check_room(self, lines: int, size: int, more: int, advice: str) -> None:
        if more > self.settings.queue_bytes:
            raise OutboxFull(
                f"{more} bytes at once are more than may wait to be sent ({self.settings.queue_bytes}); "
                "send them in pieces, or give the client a greater queue_limit"
            )
        if self._is_full(lines, size, more):
            what = "1 line" if lines == 1 else f"{lines} lines"
            wait = "waits" if lines == 1 else "wait"
            raise OutboxFull(f"{what} ({size} bytes) {wait} to be sent to {self.settings.where}; {advice}")

    def _is_full(self, lines: int, size: int, more: int) -> bool:
        """Say whether `more` bytes are too many, where so many lines and bytes wait already."""
        settings = self.settings
        return lines >= settings.queue_lines or (lines > 0 and size + more > settings.queue_bytes)

    # -- connecting

    def _begin_watch(self, now: float) -> None:
        self._watchdog = Watchdog(self.keepalive, now, longest_pause=self._longest_pause)
        self._watch_at = now

    def _begin_tls(self, now: float) -> None:
        assert self.settings.context is not None
        self._phase_ends = now + HANDSHAKE_PATIENCE
        self._set(phase=Phase.TLS)
        try:
            self._pipe = TLSPipe(
                self.settings.context,
                self.settings.server_name,
                self._resumption.session(now + self.wall_offset),
                where=self.settings.where,
                instead=instead_of_tls(self.settings.tls, self.settings.dialect),
            )
            self._pipe.handshake()
        except (AttemptFailed, ConnectionLost) as error:
            self.fail(error, now)
            return
        finally:
            self._collect()

    def _secured(self, now: float) -> None:
        """The bytes flow, encrypted or not: frame them from here on, and run the script."""
        self._phase_ends = NEVER
        if self._pipe is not None:
            info = self._pipe.info()
            self._resumption.secured(info, now + self.wall_offset)
            self.status = replace(self.status, tls=info)
        if not self.settings.has_function:  # which reads bytes, too
            self._framer = self._make_framer()
            if isinstance(self._framer, Foreign):
                # On a thread of its own, where it may take its time.
                self._making = self.frames_wanted = True
                self._phase_ends = now + SCRIPT_PATIENCE
                return
        self._framing_made(now)

    def _framing_made(self, now: float) -> None:
        """Go on when there is a framer: run the script."""
        self._phase_ends = NEVER
        if self.settings.script:
            self._set(phase=Phase.SCRIPT)
            greeted = self.settings.tls is TLSMode.STARTTLS
            self._script = ScriptRun(self.settings.script, SCRIPT_PATIENCE, greeted=greeted)
            self._script_mark = self.transcript.end
            self._drive_script(self._script.start(now), now)
        elif self.settings.has_function:
            self.session += 1
            self.session_wanted = True
            plain = self.transcript.longest_line
            self._unread = Unread(
                lambda: self._make_framer() or PlainLines(plain, self.settings.encoding),
                self.transcript,
                self.settings.longest_line or LINE_LIMIT,
                self.transcript.byte_limit,
            )
            self._set(phase=Phase.SCRIPT)
        else:
            self._up(now)

    def _make_framer(self) -> Framer | None:
        settings = self.settings
        limit = settings.longest_line or LINE_LIMIT
        return make_framer(settings.framing, settings.profile, limit, settings.encoding)

    def _up(self, now: float) -> None:
        unread, self._unread = self._unread, None
        rest = b""
        if unread is not None:
            self._script_mark = unread.mark
            self._framer, rest = unread.framer, unread.unfed
            if isinstance(self._framer, PlainLines):
                # The transcript cuts such lines itself, and goes on with the one that has begun.
                if self._framer.is_over:
                    self.transcript.go_on_with_fragments()
                self._framer, rest = None, unread.uncut
        if self.settings.script or self.settings.has_function:
            # What the script has read and sent is its own affair.
            self.expectations.pass_over(self._script_mark)
        self._script = None
        self._phase_ends = NEVER
        self._up_at = now
        self._state, _ = transition(self._state, Input.UP)
        status = self.status
        wall = now + self.wall_offset
        self.last_received = now
        how = doubt = ""
        if status.tls is not None:
            # First, where no narrow window cuts it off.
            doubt = "" if status.tls.verified else "CERTIFICATE NOT VERIFIED: "
            how = f" ({status.tls.version}, {status.tls.cipher})"
        self._set(state=self._state, phase=None, connected_since=wall, connection=status.connection + 1)
        peer = (
            status.peer if status.peer == self.settings.where else f"{self.settings.where} at {status.peer}"
        )
        self.transcript.append_note(f"{doubt}connected to {peer}{how}", wall)
        if self.heartbeat is not None:
            self._begin_to_beat(now)
        self._watch_at = now
        if rest:
            self._plain(rest, now)
        # Not into TLS that has failed meanwhile, which is told next: the queue is the next connection's then.
        while self._queue and (self._pipe is None or not self._pipe.failed):
            entry = self._queue.pop(0)
            self._queue_size -= len(entry.data)
            self._write_line(entry.data, entry.line, entry.delivery, now, entry.expectation)

    def _out_of_time(self, now: float) -> None:
        where = self.settings.where
        if self._unread is not None:
            if self._cut_unread(now):
                self._phase_ends = now  # the rest when others have had their turn
        elif self._failing is not None:
            failing = self._failing
            if isinstance(self._framer, Foreign):
                why = f"the framing {self._framer.name} did not take what came last within"
                self.transcript.append_note(f"{why} {FRAMING_PATIENCE:g} s", now + self.wall_offset)
            self._give_framing_up()
            self.fail(failing, now)
        elif self._making and isinstance(self._framer, Foreign):
            self._making = False
            self.fail(
                CallerError(f"the framing {self._framer.name} was not made within {SCRIPT_PATIENCE:.0f} s"),
                now,
            )
        elif self._script is not None:
            if self._script_left and self.outgoing and self._ledger.sent == self._script_sent:
                self._script.fail(f"{where} took nothing of what was sent for {SCRIPT_PATIENCE:.0f} s")
            self._drive_script([] if self._script_left else self._script.due(now), now)
        elif self.status.phase is Phase.TLS:
            self.fail(
                AttemptFailed(
                    f"{where} did not finish the TLS handshake within "
                    f"{HANDSHAKE_PATIENCE:.0f} s; does it speak TLS?"
                ),
                now,
            )
        else:
            self.fail(
                AttemptFailed(f"{where} did not answer STARTTLS within {HANDSHAKE_PATIENCE:.0f} s"), now
            )

    def _drive_starttls(self, lines: list[bytes], now: float) -> None:
        dialogue = self._starttls
        assert dialogue is not None
        for line in lines:
            for answer in dialogue.receive_line(line):
                self._write_quietly(answer, now)
        if dialogue.done:
            dialogue.check_nothing_follows(self._plain_rest)
            self._starttls = None
            self._begin_tls(now)

    def _drive_script(self, steps: list[Send], now: float) -> None:
        script = self._script
        if script is None:
            return
        had_to_wait = bool(self._script_left)
        self._script_left += steps
        written = 0
        for step in self._script_left:
            data = step.data + self.settings.eol
            if self._is_full(self._ledger.lines_queued, self._ledger.size_unsent, len(data)):
                break
            self._write_line(data, step.shown, Delivery(step.shown), now, in_script=True)
            self._script_mark = self.transcript.end
            written += 1
        del self._script_left[:written]
        if script.error is not None:
            self.fail(script.error, now)
        elif self._script_left:
            if not had_to_wait or self._ledger.sent != self._script_sent:
                self._script_sent = self._ledger.sent
                self._phase_ends = now + SCRIPT_PATIENCE
        elif script.done:
            self._up(now)
        else:
            if had_to_wait:
                script.extend(now)
            self._phase_ends = NEVER if script.deadline is None else script.deadline

    # -- receiving

    def _decrypt(self, now: float) -> None:
        pipe = self._pipe
        assert pipe is not None
        try:
            if self._state is _CONNECTING and self.status.phase is Phase.TLS:
                if not pipe.handshake():
                    return
                self._collect()
                self._secured(now)
            self.held = False
            if self._framer is not None or self._unread is not None:
                taken, most = 0, self.transcript.most_at_once
                if isinstance(self._framer, Raw):
                    most = max(most, PLAIN_STEP)
                buffer = memoryview(bytearray(min(PLAIN_STEP, most)))
                while self._pipe is pipe and (size := pipe.read_into(buffer[: most - taken])):
                    self._plain(bytes(buffer[:size]), now)
                    taken += size
                    if taken == most:
                        self.held = self._pipe is pipe
                        break
            else:
                while self._pipe is pipe and not self.held:
                    room = self.transcript.room()
                    size = pipe.read_into(room)
                    if size:
                        self.committed(size, now)
                    if size == len(room):
                        self.held = self._pipe is pipe
                    elif not pipe.failed:  # that was all; else the failure is told next
                        break
        finally:
            # An alert, a key update or the handshake's next flight.
            self._collect()
        if pipe.closed_by_peer and self._pipe is pipe and self._state is not _STOPPING:
            # Its FIN may be long in coming: asyncio's waits up to 30 s for our close_notify.
            self.fail(ConnectionLost(f"closed by {self.settings.where}", ending=Ending.CLOSED), now)

    def _plain(self, data: bytes, now: float) -> None:
        """Take over plaintext: framed, or as it came where it is plain lines, which is far quicker."""
        if self._unread is not None or self._starttls is not None:
            self.received_bytes += len(data)
            self.last_received = now
            if self._starttls is not None:
                self._hear_in_plain(data, now)
            elif self._unread is not None:
                if cut := self._unread.add(data, now + self.wall_offset):
                    self._look_at_new(cut, now)
                self._phase_ends = min(self._phase_ends, now + SHOW_UNREAD_AFTER)
            return
        framer = self._framer
        size = len(data)
        if isinstance(framer, Foreign):
            self.received_bytes += size
            self.last_received = now
            self._frames.append(data)
            self.frames_wanted = True
            return
        if framer is not None:
            longest = min(PLAIN_LINE, self.transcript.longest_line)
            size = framer.plain(data, longest) if isinstance(framer, Announced) else 0
        view = memoryview(data)
        at = 0
        while at < size and self._framer is framer:
            room = self.transcript.room()
            step = min(len(room), size - at)
            room[:step] = view[at : at + step]
            at += step
            self.committed(step, now)
        if framer is None or size == len(data) or self._framer is not framer:
            return
        self.received_bytes += len(data) - size
        self.last_received = now
        if framed := framer.feed(data[size:]):
            runs: Runs | None = [] if self._looks else None
            self.transcript.append_received(framed, now + self.wall_offset, runs)
            self._look_at_new(runs, now)

    def _hear_in_plain(self, data: bytes, now: float) -> None:
        """Take over lines of the dialogue that leads to TLS. Somebody on the way may have written them: they
        are for nobody else.
        """
        *lines, rest = (self._plain_rest + data).split(b"\n")
        lines = [line.removesuffix(b"\r") for line in lines]
        self._plain_rest = rest
        for line in lines:
            self.transcript.append_aside(line, now + self.wall_offset)
        try:
            # Together, however they came: nothing may stand behind the server's consent.
            self._drive_starttls(lines, now)
            if len(rest) > LONGEST_PLAIN_LINE:
                protocol = (self.settings.dialect or "").upper()
                raise AttemptFailed(
                    f"{self.settings.where} answers STARTTLS with a line of more than "
                    f"{LONGEST_PLAIN_LINE // 1024} KiB; does it speak {protocol}?"
                )
        except AttemptFailed as error:
            self.fail(error, now)

    @property
    def _in_script(self) -> bool:
        """Whether what comes is for the on-connect script or function, and for nobody else."""
        return self._state is _CONNECTING and self.status.phase is Phase.SCRIPT

    @property
    def _looks(self) -> bool:
        """Whether anybody waits for lines."""
        return (
            bool(self.expectations.pending or self.replies)
            or self.along is not None
            or self._state is _CONNECTING
            or self._awaited is not None
        )

    def _look_at_new(self, runs: Runs | None, now: float) -> None:
        """Show the lines that have just come, if anybody waits for lines, to whom that is."""
        if now + FIRST_LOOK < self._look_at < NEVER and self._ledger.awaiting:
            # What was received most likely acknowledges something.
            self._look_at = now + FIRST_LOOK
        if runs is None:
            return
        if self.along is not None:
            self.along += runs
        for number, lines in runs:
            if self.expectations.pending and not self._in_script:
                self.expectations.look(number, lines, now + self.wall_offset)
            if self._script is None and self._replies and self._state is not _STOPPING:
                for line in lines:
                    if (compared := beginning(line)) is not None:
                        self._reply(compared, now)
            if self._awaited is not None:
                self._look_for_answer(self._awaited, lines)
            if self._script is not None:
                for index, line in enumerate(lines):
                    if self._script is None:
                        break
                    self._script_mark = number + index + 1
                    if (compared := beginning(line)) is not None:
                        self._judge(compared, now)

    def _show_script(self, line: bytes, now: float, met: bool | None = None) -> None:
        """Give the script a line; met: whether it was found elsewhere that its step is met."""
        if self._script is not None:
            text = decode(line, self.settings.encoding)
            steps = self._script.line(text, now, self.transcript.redacted_text(text), met=met)
            self._drive_script(steps, now)

    # -- lines over which an expression may take long

    def _job(self, *lines: bytes) -> Job:
        step = self._script.awaiting if self._script is not None else None
        return Job(lines, self._replies, None if step is None else step.pattern, self.settings.encoding)

    def _judge(self, line: bytes, now: float) -> None:
        """Answer a line, and give it to the script; elsewhere where an expression may take long over it, or
        over one before.
        """
        if self._judging is None or not self._judging.waits:
            job = self._job(line)
            try:
                verdicts = job.run(search_now)
            except Later:
                pass
            else:
                self._obey(job, line, verdicts[0], now)
                return
        if self._judging is None:
            self._judging = Judging()
        self._judging.put(line)
        if self._judging.is_too_much:
            self._judging = None
            why = "cannot keep up with what is received"
            self._switch_off([pattern for pattern, _ in self._replies], why, now)
            if self._script is not None:
                self.fail(self._script.fail(f"the expression {why}"), now)

    @property
    def to_judge(self) -> bool:
        """Whether `take_job` has something."""
        return self._judging is not None and self._judging.waits and self._judging.is_idle

    def take_job(self) -> Job | None:
        """Return lines that are to be judged now, on a thread of the client's; None: there are none, or it is
        being done. What comes of it is given to `judged`.
        """
        return None if self._judging is None else self._judging.take(self._job)

    def judged(self, job: Job, verdicts: list[Verdict], now: float) -> None:
        """Do what was found of these lines: answer them, and go on with the script."""
        judging = self._judging
        for line, verdict in zip(judging.finish(job, verdicts) if judging else (), verdicts, strict=False):
            if self._state is _STOPPING or self._judging is not judging:
                return
            self._obey(job, line, verdict, now)

    def _obey(self, job: Job, line: bytes, verdict: Verdict, now: float) -> None:
        """Do what follows from what was found of a line."""
        took = f"took more than {RULE_PATIENCE:g} s for a line"
        if verdict.slow:
            self._switch_off(verdict.slow, took, now)
        if verdict.rule is not None and verdict.reply is not None and self._state is not _STOPPING:
            self._send_reply(verdict.rule, verdict.reply, now)
        if job.step is not None and self._script is not None:
            if verdict.step is None:
                self.fail(self._script.fail(f"the expression {took}; make it simpler"), now)
            else:
                self._show_script(line, now, verdict.step)

    def _switch_off(self, slow: list[re.Pattern[Any]], why: str, now: float) -> None:
        """Have these rules answer nothing any more, and say so."""
        for pattern, _ in self._replies:
            if pattern in slow:
                shown = self.transcript.redacted_text(pattern.pattern.decode("utf-8", "backslashreplace"))
                note = f"the reply rule {shown!r} {why}: it is switched off"
                self.transcript.append_note(note, now + self.wall_offset)
        self.replies = tuple(rule for rule in self._replies if rule[0] not in slow)

    def _reply(self, line: bytes, now: float) -> None:
        """Answer a received line by the first rule that is for it."""
        if len(line) > self._replies_quick or (self._judging is not None and self._judging.waits):
            self._judge(line, now)
            return
        for pattern, template in self._replies:
            if found := pattern.search(line):
                self._send_reply(pattern, found.expand(template), now)
                return

    def _send_reply(self, pattern: re.Pattern[bytes], reply: bytes, now: float) -> None:
        """Send the reply of a rule."""
        if has_break(reply, self.settings.eol):
            # What the peer has put into it must not become a command.
            # Masked before it is quoted, which would write an escaped secret in another way.
            rule = self.transcript.redacted_text(pattern.pattern.decode("utf-8", "backslashreplace"))
            why = f"a line break that came with {self.settings.where}'s line"
            self._refuse(f"the reply to {rule!r} has {why}: it is not sent", now)
        else:
            self._write_quietly(reply + self.settings.eol, now)

    # -- sending

    def _write_line(
        self,
        data: bytes,
        line: bytes,
        delivery: Delivery,
        now: float,
        expectation: Expectation | None = None,
        in_script: bool = False,
    ) -> None:
        number = self.transcript.append_sent(line, now + self.wall_offset, delivery)
        delivery.number = number
        self._sent_at = now
        if not in_script:
            self.expectations.sent(number + 1)
        if expectation is not None:
            self.expectations.add(expectation, number + 1)
        failure = None
        if self._pipe is None:
            self.outgoing.append(data)
            self._written += len(data)
        else:
            try:
                self._pipe.write(data)
            except ConnectionLost as error:
                failure = error
            self._collect()
        # What TLS did not take ends where nothing is ever acknowledged.
        self._ledger.add(self._written if failure is None else self._written + 1, len(data), delivery)
        if not self.outgoing:
            self._ledger.hand_over(0)  # no bytes at all, which TLS makes no record of
        if self._look_at > now + FIRST_LOOK:
            self._look_pause = FIRST_LOOK
            self._look_at = now + FIRST_LOOK
        if failure is not None:
            self.fail(failure, now)

    def _write_quietly(self, data: bytes, now: float) -> bool:
        """Send a line of our own accord: logged, accounted for, and moving nobody's mark. Return whether that
        found room.
        """
        line = self.transcript.redacted(data.removesuffix(b"\n").removesuffix(b"\r"))
        lines, size = self._ledger.lines_queued, self._ledger.size_unsent
        try:
            self._check_room(lines, size, len(data), "replies and heartbeats are not sent meanwhile")
        except OutboxFull as error:
            self._refuse(str(error), now)
            return False
        self._refused = False
        self._write_line(data, line, Delivery(line), now, in_script=True)
        return True

    def _refuse(self, why: str, now: float) -> None:
        """Say why a line of our own accord is not sent; once, however many there are in a row."""
        if not self._refused:
            self._refused = True
            self.transcript.append_note(why, now + self.wall_offset)

    def _collect(self) -> None:
        if self._pipe is not None and (data := self._pipe.take()):
            self.outgoing.append(data)
            self._written += len(data)

    # -- the heartbeat

    def _answer_to(self, beat: Heartbeat) -> re.Pattern[Any] | None:
        """Return what finds the answer to a heartbeat; None: whatever is received next is one."""
        if isinstance(beat.answered, bool):
            profile = self.settings.profile
            return profile.heartbeat_answer if beat.line == profile.heartbeat else None
        return re.compile(beat.answered)

    def _begin_to_beat(self, now: float) -> None:
        """Send the heartbeat on this connection, the first one a period from now."""
        beat = self.heartbeat
        self._beat_at = NEVER if beat is None else now + beat.every
        self._awaited = self._beat_mark = None
        if self._watchdog is not None:
            self._watchdog.expect_answers(beat.every if beat is not None and self._answered else None, now)
            self._watch_at = now

    def _beat(self, now: float) -> None:
        beat = self.heartbeat
        assert beat is not None
        if isinstance(beat.line, bytes):
            line = beat.line
        elif self._sent_at is not None and now < (at := self._sent_at + beat.every):
            self._beat_at = at  # another line has left meanwhile
            return
        else:
            line = beat.line.encode(self.settings.encoding or "utf-8") + self.settings.eol
        self._beat_at = now + beat.every
        self._note_answer()
        if self._write_quietly(line, now) and self._watchdog is not None and beat.answered:
            self._watchdog.beat(now)
            if self._beat_mark is not None:
                self._watch_at = now  # the answer to the one before may lie there unread
            elif not self._answered:
                self._beat_mark = self.received_bytes
                self._awaited = self._answer

    def _look_for_answer(self, pattern: re.Pattern[Any], lines: list[bytes]) -> None:
        """Look whether one of the lines that have come answers the heartbeat."""
        in_bytes = isinstance(pattern.pattern, bytes)
        for line in lines:
            compared = beginning(line)
            if compared is None:
                continue
            try:
                found = search_now(
                    pattern, compared if in_bytes else decode(compared, self.settings.encoding)
                )
            except Later:  # nobody is judged for a line that could not be looked at
                continue
            if found:
                self._was_answered()
                return

    def _note_answer(self) -> None:
        """Note an answer that is one whatever it is: nobody has looked at it when it came."""
        if (
            self._beat_mark is not None
            and self._answer is None
            and self.received_bytes > self._beat_mark
            and self.last_received is not None
        ):
            self._was_answered()

    def _was_answered(self) -> None:
        """From now on it counts when no heartbeat is."""
        self._answered = True
        self._awaited = self._beat_mark = None
        if self.heartbeat is not None and self._watchdog is not None and self.last_received is not None:
            self._watchdog.expect_answers(self.heartbeat.every, self.last_received)
            self._watch_at = self.last_received

    # -- the queue

    def _expire(self, entry: _Queued, why: str, now: float) -> None:
        self._queue_size -= len(entry.data)
        entry.delivery.status = UNCONFIRMED
        if entry.expectation is not None:
            entry.expectation.outcome = ConnectionLost(f"not sent: {why}")
        shown = decode(entry.line, self.settings.encoding)[:SHOWN]
        self.transcript.append_note(f"not sent, {why}: {shown}", now + self.wall_offset)

    def _drop_queue(self, why: str, now: float) -> None:
        while self._queue:
            self._expire(self._queue.pop(0), why, now)
        self.expectations.fail(why)


def _on_grid(at: float | None, now: float) -> float:
    """Return when to look if it may be a little later than `at`; None: never."""
    if at is None:
        return NEVER
    return at if at - now < 2 * WATCH_GRID else math.ceil(at / WATCH_GRID) * WATCH_GRID


def _fate(lost: tuple[Delivery, ...], *, told: bool) -> str:
    """Say how much was not acknowledged; told: whether the system tells what was."""
    if not lost:
        return ""
    size = sum(len(delivery.data) for delivery in lost)
    lines = "1 line" if len(lost) == 1 else f"{len(lost)} lines"
    fate = "never acknowledged" if told else "of which this system does not tell what was acknowledged"
    return f"; {lines} ({size} bytes) {fate}"

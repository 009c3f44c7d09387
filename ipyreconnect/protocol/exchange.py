"""What is exchanged with the peer on one client's connection: who hears which received line, and what is sent
of our own accord. It brings together the parts that have to do with lines; see connection.py, which says what
becomes of the connection.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from ..errors import AttemptFailed, CallerError, ConnectionLost, Ending
from ..lines.delivery import Delivery
from ..lines.framing import Foreign
from ..lines.store import Runs, nothing_needed
from ..lines.text import has_break, without_end
from ..lines.transcript import Transcript
from ..logical import beginning
from ..profile.base import TLSMode
from ..profile.conversation import Question
from ..settings import KeepAlive, Retry
from .answers import Answers, Asked, Heard
from .configuration import Settings
from .events import Event, Filled, Framed, Lines, PlainText, Received, RunFunction, Secured
from .expect import Expectation, Expectations
from .heartbeats import Heartbeats
from .inbox import MAKING_PATIENCE, Inbox
from .judging import Job, Verdict
from .last_words import Ends
from .lifecycle import Lifecycle
from .opening import Opening
from .outbox import FIRST_LOOK, Outbox
from .replies import KEEPS_UP_NO_MORE, TOOK_LONG, Replies
from .state import NEVER, Phase, State
from .traffic import Traffic
from .unread import Unread
from .user_framing import FRAMING_PATIENCE, FramingJob
from .watch import Watch

__all__ = ["Exchange"]

_CONNECTED, _CONNECTING, _STOPPING = State.CONNECTED, State.CONNECTING, State.STOPPING


PAYLOAD_SHOWN = b"(a payload of %d bytes)"
"""What the log shows of a payload that is sent when the server is ready for it."""


class Exchange(ABC):
    """The lines that go both ways; see the module's first lines. Everything here is called with the
    connection's lock held.

    Attributes:
        settings: what was said when the client was made
        transcript: takes all lines
        events: what the driver is to do, in order, until `take_events`
        answers: who asks what, and which lines answer it
        expectations: what is awaited of the lines
        lifecycle: the state, of which this only reads
        outbox, inbox, replies, heartbeats, watch: the parts, each with a state of its own
        unconfirmed: the lines of the last connection that the peer did not acknowledge
        wall_offset: Unix time minus monotonic time (s), as the driver keeps it up
        line_sink: if set, received lines are appended here too
        needed: tells from which line on readers still need the transcript's lines

    """

    __slots__ = (
        "_ends",
        "_opening",
        "_traffic",
        "answers",
        "events",
        "expectations",
        "heartbeats",
        "inbox",
        "lifecycle",
        "line_sink",
        "needed",
        "outbox",
        "replies",
        "settings",
        "transcript",
        "unconfirmed",
        "wall_offset",
        "watch",
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
        self.events: list[Event] = []
        self.answers = Answers(settings.encoding)
        self.expectations = Expectations(transcript, settings.encoding, self.events.append, self.answers)
        self.unconfirmed: tuple[Delivery, ...] = ()
        self.wall_offset = 0.0
        self.line_sink: Runs | None = None
        self.needed: Callable[[int], float] = nothing_needed
        self._traffic = traffic = Traffic()
        self.lifecycle = Lifecycle(settings.where, retry, chance, self.events)
        self.outbox = Outbox(settings, transcript, traffic)
        self.inbox = Inbox(settings, transcript, traffic, self.events)
        self._opening = Opening(settings, transcript)
        self.heartbeats = Heartbeats(settings, traffic)
        self.watch = Watch(settings, keepalive, traffic, self.heartbeats, self.events)
        self.replies = Replies(transcript, settings.encoding, self.events)
        self._ends = Ends(
            settings.where,
            settings.profile.goodbye,
            # To TLS on a Unix socket there is no such simple way: it has no name to verify.
            plain=settings.tls is TLSMode.NONE and settings.profile.name != "unix",
            encoding=settings.encoding,
        )

    @abstractmethod
    def fail(self, error: Exception, now: float) -> None:
        """The attempt failed, or the connection is lost, for the reason that `error` gives."""

    @abstractmethod
    def _up(self, now: float) -> None:
        """The connection is made."""

    # -- receiving -------------------------------------------------------------------------------------------

    def committed(self, size: int, now: float) -> None:
        """Take over `size` bytes that were received into the transcript's room."""
        traffic = self._traffic
        traffic.received += size
        traffic.received_at = now
        runs: Runs | None = [] if self.expectations.pending or self._has_listeners else None
        if self.transcript.commit(size, now + self.wall_offset, runs):
            self._hear(runs, now)

    def received(self, data: memoryview, now: float) -> None:
        """Take over bytes from the socket that are not the transcript's own: ciphertext, or to be framed."""
        self._take(self.inbox.receive(data, now, now + self.wall_offset), now)

    def go_on(self, now: float) -> None:
        """Take over more of what was received in TLS, about as much as the transcript takes at once."""
        self._take(self.inbox.go_on(now, now + self.wall_offset), now)

    def _take(self, received: Iterator[Received], now: float) -> None:
        """Act upon what the inbox brings, and upon its failure."""
        try:
            self._act_on(received, now)
        except (AttemptFailed, ConnectionLost, CallerError) as error:
            self.outbox.collect()
            self.fail(error, now)
        else:
            self.outbox.collect()

    def _act_on(self, received: Iterator[Received], now: float) -> None:
        for event in received:
            if isinstance(event, Filled):
                self.committed(event.size, now)
            elif isinstance(event, Framed):
                self._append(event.lines, now)
            elif isinstance(event, Lines):
                self._hear(event.runs, now)
            elif isinstance(event, Secured):
                self.lifecycle.note(tls=event.info)
                self._opening.secured(event.info, now + self.wall_offset)
                self._begin_framing(now)
            elif isinstance(event, PlainText):
                self._drive_starttls(event, now)
            elif self.lifecycle.state is not _STOPPING:
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
            bool(self.expectations.pending or self.replies.rules)
            or self.line_sink is not None
            or self.answers.is_awaited
            or self.lifecycle.state is _CONNECTING
            or self.heartbeats.awaited is not None
        )

    def _hear(self, runs: Runs | None, now: float) -> None:
        """Show the lines that have just come, if anybody waits for lines, to whom that is."""
        if now + FIRST_LOOK < self.outbox.look_at:
            self.outbox.expect_acknowledgement(now)
        if runs is None:
            return
        if self.line_sink is not None:
            self.line_sink += runs
        opening = self._opening
        for number, lines in runs:
            free = self._hear_answers(number, lines, now) if self.answers.is_awaited else None
            if opening.has_script:
                number, lines = self._hear_in_script(number, lines, now)
            if self.expectations.pending and not (opening.is_running and self._in_script):
                if free is None:
                    self.expectations.look(number, lines, now + self.wall_offset)
                else:
                    self._expect_in(free)
            if self.replies.rules and self.lifecycle.state is not _STOPPING:
                self._answer(lines, now)
            if self.heartbeats.awaited is not None:
                self.watch.hear(lines)

    def _expect_in(self, free: list[Heard]) -> None:
        """Show lines that are nobody's answer to whoever expects one."""
        for heard in free:
            self.expectations.look(heard.number, [heard.line], heard.time)

    def _hear_answers(self, number: int, lines: list[bytes], now: float) -> list[Heard]:
        """Give the lines to whoever asked; return those that are nobody's answer."""
        wall = now + self.wall_offset
        free: list[Heard] = []
        for index, line in enumerate(lines):
            shown, question = self.answers.received(number + index, line, now, wall)
            free += shown
            if question is not None:
                payload = self.answers.conversation.payload(question)
                self._write_line(payload, PAYLOAD_SHOWN % len(payload), Delivery(b""), now, asked=question)
        self._go_on_asking(now)
        return free

    def _go_on_asking(self, now: float) -> None:
        """Send the questions whose turn it is."""
        while self.lifecycle.state is _CONNECTED and (asked := self.answers.next()) is not None:
            self._write_line(asked.prepared.wire, asked.shown, Delivery(asked.shown), now, asked=asked)

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

    # -- the opening: TLS, STARTTLS, the on-connect script ---------------------------------------------------

    def _begin_tls(self, now: float) -> None:
        self.lifecycle.show(phase=Phase.TLS)
        try:
            pipe = self._opening.begin_tls(now, now + self.wall_offset)
            self.inbox.begin_tls(pipe)
            self.outbox.pipe = pipe
            pipe.handshake()
        except (AttemptFailed, ConnectionLost) as error:
            self.fail(error, now)
        finally:
            self.outbox.collect()

    def _begin_framing(self, now: float) -> None:
        """The bytes flow, encrypted or not: frame them from here on, and run the script."""
        self._opening.ends = NEVER
        make = self.settings.profile.conversation
        if make is not None:
            # The greeting was in plain text where the encryption began later.
            self.answers.begin(make(), eol=self.settings.eol, greeted=self.settings.tls is TLSMode.STARTTLS)
        # A function reads bytes, too.
        if self.settings.has_function or self.inbox.begin_framing(now):
            self._begin_script(now)

    def _begin_script(self, now: float) -> None:
        if self.settings.script:
            self.lifecycle.show(phase=Phase.SCRIPT)
            self._opening.begin_script(now)
            self._go_on_with_script(now)
        elif self.settings.has_function:
            session = self._opening.begin_function()
            self.inbox.begin_function()
            self.lifecycle.show(phase=Phase.SCRIPT)
            self.events.append(RunFunction(session))
        else:
            self._up(now)

    def _go_on_with_script(self, now: float) -> None:
        """Send what the script says, as far as there is room, and see whether it has ended."""
        opening, outbox = self._opening, self.outbox
        while (step := opening.next_line) is not None:
            data = step.data + self.settings.eol
            if outbox.is_full(len(data)):
                outbox.ask_for_room()
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
        outbox = self.outbox
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
        return self._opening.is_running and self.lifecycle.state is _CONNECTING

    def check_session(self, session: int) -> None:
        """Raise ConnectionLost when the on-connect function's session of that number is over."""
        if session != self._opening.session or not self._in_script:
            reason = self.lifecycle.reason.text
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
        assert self.inbox.unread is not None
        return self.inbox.unread

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
            self.inbox.want_no_bytes(now)

    def _cut_unread(self, now: float) -> bool:
        """Show lines that have come, though the function has not read them; return whether there may be more
        of them.
        """
        runs = self.inbox.cut_unread(now + self.wall_offset)
        if runs:
            self._hear(runs, now)
        return bool(runs)

    # -- the user's framing ----------------------------------------------------------------------------------

    def framed(self, job: FramingJob, lines: list[bytes], error: CallerError | None, now: float) -> None:
        """Take over the lines that the user's framing has made, or why it failed."""
        inbox = self.inbox
        was_made = inbox.framing is not None and inbox.framing.is_made
        framing = inbox.framing_job_done(job)
        if framing is None:
            return
        self.watch.reads_since = now
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
        inbox = self.inbox
        inbox.ends = NEVER
        framing = inbox.framing
        if framing is None:
            if self._cut_unread(now):
                inbox.ends = now  # the rest when others have had their turn
        elif framing.failing is not None:
            why = f"the framing {framing.framer.name} did not take what came last within"
            self.transcript.append_note(f"{why} {FRAMING_PATIENCE:g} s", now + self.wall_offset)
            inbox.end_framing()
            self.fail(framing.failing, now)
        else:
            self.fail(
                CallerError(f"the framing {framing.framer.name} was not made within {MAKING_PATIENCE:.0f} s"),
                now,
            )

    # -- replies, and lines over which an expression may take long -------------------------------------------

    def _answer(self, lines: list[bytes], now: float) -> None:
        """Answer received lines by the first rule that is for each."""
        replies = self.replies
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
        replies = self.replies
        judged = replies.judge(line, self._opening.awaits)
        if judged is not None:
            self._obey(judged[0], line, judged[1], now)
        elif replies.has_too_many_lines:
            replies.end()
            patterns = [pattern for pattern, _ in replies.rules]
            replies.switch_off(patterns, KEEPS_UP_NO_MORE, now + self.wall_offset)
            if self._opening.has_script:
                self.fail(self._opening.fail(f"the expression {KEEPS_UP_NO_MORE}"), now)

    def take_job(self) -> Job | None:
        """Return lines that are to be judged now."""
        return self.replies.take_job(self._opening.awaits)

    def judged(self, job: Job, verdicts: list[Verdict], now: float) -> None:
        """Do what was found of the lines of a job: answer them, and go on with the script."""
        for line, verdict in self.replies.finish(job, verdicts):
            if self.lifecycle.state is _STOPPING:
                return
            self._obey(job, line, verdict, now)

    def _obey(self, job: Job, line: bytes, verdict: Verdict, now: float) -> None:
        """Do what follows from what was found of a line."""
        opening = self._opening
        if verdict.slow:
            self.replies.switch_off(verdict.slow, TOOK_LONG, now + self.wall_offset)
        if verdict.rule is not None and verdict.reply is not None and self.lifecycle.state is not _STOPPING:
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
            rule = self.replies.shown(pattern)
            why = f"a line break that came with {self.settings.where}'s line"
            self.outbox.refuse(f"the reply to {rule!r} has {why}: it is not sent", now + self.wall_offset)
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
        asked: Asked | Question | None = None,
        is_heartbeat: bool = False,
    ) -> None:
        """Write a line; asked: the question that it is, or whose payload it is."""
        if isinstance(asked, Asked):
            self.answers.left(asked)
        elif asked is None and self.answers.is_known:
            self.answers.sent(data, is_heartbeat=is_heartbeat)
        outbox, expectations = self.outbox, self.expectations
        following = outbox.write(data, line, delivery, now, now + self.wall_offset) + 1
        if not in_script and asked is None:
            expectations.sent(following)
        if expectation is not None:
            expectations.add(expectation, following)
        if outbox.failure is not None:
            self.fail(outbox.failure, now)

    def _write_quietly(self, data: bytes, now: float, *, is_heartbeat: bool = False) -> bool:
        """Send a line of our own accord: in the log, and with a delivery, but without a change to where the
        next `expect` starts. Return whether that found room.
        """
        if not self.outbox.check_own_room(len(data), now + self.wall_offset):
            return False
        line = self.transcript.redacted(without_end(data))
        self._write_line(data, line, Delivery(line), now, in_script=True, is_heartbeat=is_heartbeat)
        return True

"""Whether the peer of one client's connection lives: the watchdog, the application's heartbeat, the user's
`silence`, and the options of the socket that follow from them. Asks the kernel for nothing itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..errors import ConnectionLost
from ..settings import Heartbeat, KeepAlive
from .configuration import Settings
from .events import ApplyOptions, Event
from .health import UNKNOWN
from .heartbeats import Heartbeats
from .kernel_rules import longest_retransmission, user_timeout
from .state import NEVER
from .tcp_info import TcpInfo
from .traffic import Traffic
from .watchdog import LATE, LONGEST_PAUSE, Watchdog

__all__ = ["Watch"]

WATCH_GRID = 0.5
"""Seconds: looks that have time are put off to the next multiple of it, so that a thousand idle connections
wake the thread together."""
LIVELY = 1.0
"""Seconds after something was received for which nobody needs to look whether there is more: no verdict
follows from so short a silence, but of a heartbeat or a `silence` of that order."""


class Watch:
    """What is thought of the peer; see the module's first lines. Times are monotonic (s).

    Attributes:
        keepalive: the user's
        silence: seconds without anything received that are a loss; None: never
        look_at: when the kernel's account of the socket is to be looked at next
        health: as the last look has found it
        is_reading: whether the receiving goes on; it is held up for a slow reader of ours
        reads_since: when it last began to, after it was held up

    """

    __slots__ = (
        "_applied",
        "_events",
        "_heartbeats",
        "_is_up",
        "_pauses_limited",
        "_probe_begins",
        "_settings",
        "_traffic",
        "_watchdog",
        "health",
        "is_reading",
        "keepalive",
        "look_at",
        "reads_since",
        "silence",
    )

    def __init__(
        self,
        settings: Settings,
        keepalive: KeepAlive,
        traffic: Traffic,
        heartbeats: Heartbeats,
        events: list[Event],
    ) -> None:
        self._events = events
        self._settings = settings
        self._traffic = traffic
        self._heartbeats = heartbeats
        self.keepalive = keepalive
        self.silence: float | None = None
        self.look_at = NEVER
        self.health = UNKNOWN
        self.is_reading = True
        self.reads_since = 0.0
        self._is_up = False
        self._pauses_limited = False  # whether the kernel took `longest_retransmission`
        self._watchdog: Watchdog | None = None
        self._applied: tuple[KeepAlive, int] | None = None
        self._probe_begins = False

    # -- one connection --------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Watch a new socket, to which the user's keepalive was applied."""
        self.is_reading = True
        self._watchdog = Watchdog(self.keepalive, now, longest_pause=self._longest_pause)
        self._applied = (self.keepalive, user_timeout(self.keepalive))
        self.look_at = now

    def is_up(self, now: float) -> None:
        """Send and judge by the heartbeat, and by the user's `silence`, from now on."""
        self._is_up = True
        if self._heartbeats.heartbeat is not None:
            self._begin_heartbeat(now)
        self.look_at = now

    def stop(self) -> None:
        """Send no more heartbeats: the user stops the connection."""
        self._is_up = False
        self._heartbeats.due_at = NEVER

    def end(self) -> None:
        """Watch nothing: there is no connection any more."""
        self._is_up = False
        self._heartbeats.note_answer()
        self._heartbeats.end()
        self.look_at = NEVER
        self._watchdog = self._applied = None
        self.health = UNKNOWN

    # -- settings --------------------------------------------------------------------------------------------

    def user_timeout(self, keepalive: KeepAlive, info: TcpInfo | None) -> int:
        """Return TCP_USER_TIMEOUT in ms for the live socket, of which `info` is the kernel's account."""
        was_stalled = self._watchdog is not None and self._watchdog.was_stalled
        return user_timeout(keepalive, info, was_stalled=was_stalled)

    def change_keepalive(self, keepalive: KeepAlive, info: TcpInfo | None, now: float) -> None:
        """Judge by `keepalive` from now on; `info` is the kernel's account, by which the user time-out was
        set.
        """
        self.keepalive = keepalive
        if self._watchdog is not None:
            self._watchdog.keepalive = keepalive
            self._watchdog.longest_pause = self._longest_pause
            self._applied = (keepalive, self.user_timeout(keepalive, info))
            self.look_at = now

    def limit_pauses(self, are_limited: bool) -> None:
        """Note whether the kernel took `longest_retransmission` for the socket."""
        self._pauses_limited = are_limited

    @property
    def heartbeat(self) -> Heartbeat | None:
        """The user's heartbeat; None: none is sent."""
        return self._heartbeats.heartbeat

    @property
    def heartbeat_answered(self) -> bool:
        """Whether a heartbeat like the present one was ever answered at this address."""
        self.note_answer()
        return self._heartbeats.is_answered

    def set_heartbeat(self, heartbeat: Heartbeat | None, now: float) -> None:
        """Send `heartbeat` from now on, on the live connection too; None: none any more.

        The first one leaves a period later. Another line than before has to be answered once before its
        silence says anything.
        """
        if heartbeat == self._heartbeats.heartbeat:
            return
        self.note_answer()
        self._heartbeats.change(heartbeat)
        if self._is_up:
            self._begin_heartbeat(now)

    def set_silence(self, silence: float | None, now: float) -> None:
        """Take so many seconds without anything received for a loss, counted from now on; None: never."""
        self.silence = silence
        self.reads_since = now
        if self._is_up:
            self.look_at = now

    def set_reading(self, is_reading: bool, now: float) -> None:
        """Note whether the receiving goes on: while it is held up, silence means nothing."""
        self.is_reading = is_reading
        self.reads_since = now

    # -- the heartbeat ---------------------------------------------------------------------------------------

    def _begin_heartbeat(self, now: float) -> None:
        """Have the heartbeat sent, the first one a period from now."""
        self._heartbeats.begin(now)
        self._expect_answers(now)

    def beat(self, now: float, *, may_beat: bool) -> bytes | None:
        """Return the line of the heartbeat that is due.

        Args:
            now: monotonic (s)
            may_beat: whether the conversation allows text now; bytes are sent regardless

        Returns:
            None: none is due, after all, or may be sent

        """
        line = self._heartbeats.next_line(now, may_beat=may_beat)
        if line is not None:
            self.note_answer()
        return line

    def beat_sent(self, now: float) -> None:
        """Note that the heartbeat has left."""
        beat = self._heartbeats.heartbeat
        if self._watchdog is None or beat is None or not beat.answered:
            return
        self._watchdog.beat(now)
        if self._heartbeats.sent():
            self.look_at = now  # the answer to the one before may lie there unread

    def hear(self, lines: Iterable[bytes]) -> None:
        """Look whether one of the received lines answers the heartbeat."""
        if self._heartbeats.hear(lines):
            self._was_answered()

    def note_answer(self) -> None:
        """Note an answer to the heartbeat that nobody has looked at."""
        if self._heartbeats.note_answer():
            self._was_answered()

    def _was_answered(self) -> None:
        """From now on it counts when no heartbeat is."""
        if self._traffic.received_at is not None:
            self._expect_answers(self._traffic.received_at)

    def _expect_answers(self, now: float) -> None:
        if self._watchdog is not None:
            self._watchdog.expect_answers(self._heartbeats.judges_by, now)
            self.look_at = now

    # -- looks -----------------------------------------------------------------------------------------------

    def seems_silent(self, now: float) -> bool:
        """Return whether it would count now that nothing was received for a while: then first of all what has
        come must be read, as nobody may have done that. A thread that leads may be in a signal handler or a
        debugger, and the process may have been stopped.
        """
        every = self._watchdog.heartbeat if self._watchdog is not None else None
        if every is None:
            every = self._heartbeats.listens_every
        received_at = self._traffic.received_at
        if received_at is None or (every is None and self.silence is None):
            return False
        least = min(LIVELY, every or LIVELY, self.silence or LIVELY)
        return self._is_up and self.is_reading and now - received_at >= least / 2

    def probe(self, now: float) -> None:
        """Doubt the peer, because the network has changed or the machine slept."""
        if self._watchdog is not None:
            self._watchdog.probe(now)
            self._probe_begins = True
            self.look_at = now

    def look(self, info: TcpInfo | None, unacknowledged: int, now: float, *, may_read: bool) -> None:
        """Judge the peer; the result is in `health`.

        Args:
            info: the kernel's account of the socket; None: there is none
            unacknowledged: bytes that were handed to the kernel and not acknowledged
            now: monotonic (s)
            may_read: whether what comes is read, as far as that is the protocol's affair

        Raises:
            ConnectionLost: the peer is dead, or silent for longer than the user puts up with

        """
        self.look_at = NEVER
        if self._watchdog is None:
            return
        self.note_answer()
        received_at = self._traffic.received_at
        if received_at is not None and received_at < self.reads_since:
            received_at = self.reads_since
        reading = self.is_reading and may_read
        look = self._watchdog.look(
            info, now, unacknowledged=unacknowledged, received_at=received_at, reading=reading
        )
        if self._is_up:
            self.health = look.health
        if look.dead:
            raise ConnectionLost(f"{self._settings.where} {look.reason}")
        self.look_at = _on_grid(look.next_look, now)
        if self._is_up and self.silence is not None and received_at is not None:
            self._check_silence(self.silence, received_at, now, reading)
        wanted = (look.keepalive, look.user_timeout)
        if wanted != self._applied or self._probe_begins:
            self._applied = wanted
            self._events.append(ApplyOptions(*wanted))
            self._probe_begins = False

    def _check_silence(self, silence: float, received_at: float, now: float, reading: bool) -> None:
        """Raise ConnectionLost where nothing was received for so long; else look again when that would be."""
        ends = received_at + silence
        if not reading or now - ends > min(LATE, silence):
            # Nobody read, or nobody looked for a while, as the process was stopped: who sends may have been
            # so as well, where it is on the same computer.
            self.reads_since = now
            ends = now + silence
        if now >= ends:
            raise ConnectionLost(
                f"{self._settings.where} has sent nothing for {silence:g} s: "
                f"silence={silence:g} makes that a loss (nothing is sent to ask)"
            )
        self.look_at = min(self.look_at, ends)

    @property
    def _longest_pause(self) -> float:
        """Seconds between two questions of the kernel at the most."""
        limited = self._pauses_limited and self.keepalive.enabled
        return longest_retransmission(self.keepalive) / 1000 if limited else LONGEST_PAUSE


def _on_grid(at: float | None, now: float) -> float:
    """Return when to look if it may be a little later than `at`; None: never."""
    if at is None:
        return NEVER
    return at if at - now < 2 * WATCH_GRID else math.ceil(at / WATCH_GRID) * WATCH_GRID

"""Judge from the kernel's account of a connection whether its peer lives; asks the kernel for nothing itself.

Why the kernel's own means are not enough: keepalive is suspended while anything is unacknowledged, so one
line in flight hides a dead peer for a quarter of an hour, and TCP_USER_TIMEOUT, which mends that, starts
anew with each line written and kills a live peer that is slow to read. The watchdog looks at both at once.

A peer is dead when nothing at all was heard from it for T = idle + interval × count, and the kernel has
been asking in vain for the last interval × count of these. The second half is what spares the living: while
a closed window is probed at growing intervals, or after a jump of the clock, silence alone means nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from ..settings import KeepAlive
from .health import Health, Look, Verdict
from .kernel_rules import probing, user_timeout
from .tcp_info import TcpInfo, unanswered

__all__ = ["Watchdog"]

LOOK_EVERY: Final = 0.5
"""Seconds between two looks while an answer is awaited: a verdict is then late by no more."""

PATIENCE: Final = 1.0
"""Seconds beyond the round trip until an answer counts as overdue: a single lost packet is normal."""

VERDICT_AFTER: Final = 2.5
"""Seconds until a peer that was probed because of a change of network counts as dead: within the promised 3,
and longer than a link that flaps for 0.5 s plus the next probe, 1 s later."""

LATE: Final = 2.0
"""Seconds by which a look may come late before the time in between counts as unobserved: the process was
stopped, or the whole machine, and the clock may have jumped."""

LONGEST_PAUSE: Final = 120.0
"""Seconds that Linux waits at the most between two retransmissions or window probes (TCP_RTO_MAX), unless
told otherwise."""

LAST_CALL: Final = 1.9
"""Seconds before the end of T in which an idle peer is asked once more: the kernel's own last question may be
as old as an interval, and an outage shorter than T − 2 s shall cut nothing."""

# Once an answer is overdue, an idle peer is asked as often as that in one interval: three lost packets are no
# death, either.
_MORE_OFTEN: Final = 3


# The kernel counts in jiffies: what is said to be younger than this may be as old as that.
_TICK: Final = 0.012

# The kernel sends a probe late by up to an eighth of its time (the granularity of its timer wheel). Looking
# after that spares a second look; nobody needs to wait half a minute for it.
_PROBE_LATE: Final = 1 / 8
_LONGEST_GRACE: Final = 30.0

# One lost packet is no death: the kernel must have asked twice, or as often as the user's count wants.
_QUESTIONS: Final = 2

# Whoever is heard, yet acknowledges nothing although it was sent again as often as that, will not.
_IN_VAIN: Final = 5

# Nothing was heard for that many intervals of the application's heartbeat.
_HEARTBEATS: Final = 2

# Seconds by which a look may come late before what a short heartbeat has to say counts as unobserved: looks
# that have time are put off by half of it (WATCH_GRID).
_LATE_FOR_BEATS: Final = 1.0


def _patience(info: TcpInfo) -> float:
    """Return after how many seconds an answer is overdue."""
    return PATIENCE + (info.rtt + 4 * info.rttvar) / 1e6


class Watchdog:
    """Watch one connection: `look` when it is up, at each `next_look`, and whenever somebody wants to know.

    What each look asks for has to be applied to the socket before the next one. I/O thread only.

    Args:
        keepalive: the user's
        now: the monotonic clock, seconds
        heartbeat: seconds between the application's heartbeats that are answered; None: there are none
        longest_pause: seconds between two questions of the kernel at the most: `longest_retransmission` where
            the system takes it

    """

    def __init__(
        self,
        keepalive: KeepAlive,
        now: float,
        *,
        heartbeat: float | None = None,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self.longest_pause = longest_pause
        """May be changed, together with the keepalive."""
        self._keepalive = keepalive
        self._heartbeat = heartbeat
        self._now = now
        self._planned: float | None = None  # the next look
        self._asking_since: float | None = None  # reckoned
        self._seen_since = now  # … and when a look first saw it
        self._probing_since: float | None = None
        self._asked_before = 0  # questions that were open when the probing began
        self._probing_begins = False
        self._blocked: tuple[float, int | None] | None = None  # since when, and what was acknowledged then
        self._in_flight: tuple[float, int | None] | None = None  # the same of data in flight
        self._recovering_since: float | None = None
        self.was_stalled = False
        """Whether the peer's window was closed for more than a moment at any look."""
        self._received_at = now
        self._beat_at: float | None = None  # the first heartbeat since something was received
        self._bytes_acked: int | None = None  # at the last look

    @property
    def keepalive(self) -> KeepAlive:
        """The user's; a new one counts from the next look on, which should be at once."""
        return self._keepalive

    @keepalive.setter
    def keepalive(self, keepalive: KeepAlive) -> None:
        self._keepalive = keepalive
        if not keepalive.enabled:
            self._probing_since = None

    def probe(self, now: float) -> None:
        """Doubt the peer, because the network has changed or the machine slept: a verdict follows within 3 s.

        Look at once; and apply what the look asks for even if that is in force: setting it is what makes the
        kernel ask. With keepalive off it does nothing. While the kernel cannot ask, because it waits to
        repeat something in flight, there is no hasty verdict, and the usual one follows.
        """
        if self._keepalive.enabled:
            self._probing_since = now
            self._probing_begins = True

    @property
    def heartbeat(self) -> float | None:
        """Seconds between the application's heartbeats, by whose answers the peer is judged; None: it is not
        judged by any.
        """
        return self._heartbeat

    def expect_answers(self, heartbeat: float | None, now: float) -> None:
        """Judge by the answers to the application's heartbeats, one in so many seconds, from now on; None: no
        longer.
        """
        self._heartbeat = heartbeat
        self._received_at = now
        self._beat_at = None

    def beat(self, now: float) -> None:
        """Take note that the application's heartbeat was sent."""
        if self._beat_at is None:
            self._beat_at = now

    def look(
        self,
        info: TcpInfo | None,
        now: float,
        *,
        unacknowledged: int = 0,
        received_at: float | None = None,
        reading: bool = True,
    ) -> Look:
        """Judge.

        Args:
            info: the kernel's account; None where there is none: only the heartbeat counts then
            now: the monotonic clock, seconds
            unacknowledged: bytes that were handed to the kernel and not acknowledged
            received_at: when the application last received something, or began to read again, on that clock;
                what the kernel has for it was read before this look
            reading: whether the application reads at present

        """
        now = max(now, self._now)
        late = 0.0 if self._planned is None else now - self._planned
        self._now = now
        look = self._judge(info, now, late if late > LATE else 0.0, unacknowledged)
        if self._heartbeat is not None and not look.dead:
            # Nobody can answer what stands behind much else before all that is read.
            moves = info is not None and unacknowledged > 0 and info.bytes_acked != self._bytes_acked
            stopped = late > min(LATE, max(self._heartbeat, _LATE_FOR_BEATS))
            asked = reading and not stopped and not moves
            look = self._listen(look, self._heartbeat, now, received_at, asked)
        self._bytes_acked = None if info is None else info.bytes_acked
        self._planned = look.next_look
        return look

    # -- TCP

    def _judge(self, info: TcpInfo | None, now: float, late: float, unacknowledged: int) -> Look:
        """Judge by what the kernel says."""
        keepalive = self._keepalive
        if info is None:
            health = Health(probes_of=keepalive.count, unacknowledged=unacknowledged)
            return Look(health, None, keepalive, user_timeout(keepalive))
        asked_for = self._asked_for(info, now, late)
        ignored_for = self._ignored_for(info, now)
        is_stalled = self._stalled(info, now)
        is_overdue = asked_for >= _patience(info) or (ignored_for > 0 and info.retransmits >= _IN_VAIN)
        dead_in, reason = self._dead_in(info, now, asked_for, ignored_for)
        verdict = self._verdict(info, dead_in, is_overdue=is_overdue, is_stalled=is_stalled)
        is_dead = verdict is Verdict.DEAD
        if info.has_ended:
            reason = "is gone: the system has ended the connection"
        health = Health(
            verdict=verdict,
            dead_in=dead_in if verdict is Verdict.DYING else None,
            rtt=info.rtt / 1e6 if info.rtt else None,
            last_data=info.last_data_recv / 1000,
            last_ack=info.last_ack_recv / 1000,
            probes=self._probes_shown(info),
            probes_of=keepalive.count,
            unacknowledged=unacknowledged,
            retransmits=info.retransmits,
        )
        own_rule = user_timeout(keepalive, info, was_stalled=self.was_stalled)
        return Look(
            health=health,
            next_look=None if is_dead else self._next_look(info, now, dead_in),
            keepalive=self._hurry(info, asked_for),
            user_timeout=0 if self._recovers(info, now) else own_rule,
            reason=reason if is_dead else "",
        )

    def _verdict(
        self, info: TcpInfo, dead_in: float | None, *, is_overdue: bool, is_stalled: bool
    ) -> Verdict:
        if info.has_ended or (dead_in is not None and dead_in <= 0):
            return Verdict.DEAD
        if is_overdue and dead_in is not None:
            return Verdict.DYING
        if is_stalled:
            return Verdict.STALLED
        keepalive = self._keepalive
        usual = max(keepalive.idle, keepalive.interval) + self._grace(info) + LOOK_EVERY
        return Verdict.SILENT if is_overdue or info.silence >= usual else Verdict.ALIVE

    def _probes_shown(self, info: TcpInfo) -> int:
        """Return which of the user's probes is unanswered: those that are sent out of turn do not count."""
        keepalive = self._keepalive
        in_turn = 1 + int(max(info.silence - keepalive.idle, 0.0) / keepalive.interval)
        return min(info.probes, keepalive.count, in_turn)

    def _asked_for(self, info: TcpInfo, now: float, late: float) -> float:
        """Return for how many seconds the kernel has been asking in vain; 0 when it is not asking."""
        if not info.asking:
            self._asking_since = None
            return 0.0
        heard_at = now - info.silence
        if self._asking_since is None or heard_at > self._asking_since + _TICK:
            # Seen for the first time. When it began is known at the least, and never guessed too long ago.
            since = now - info.retransmitting_for
            if info.probes:
                first, then = self._first_question(info), float(self._keepalive.interval)
                if info.blocked:
                    # Window probes: each pause is twice the one before, and the first began with the answer.
                    pause = info.rto / 1e6 * 2.0 ** (info.backoff - info.probes)
                    first, then = min(pause, first) * (1 + _PROBE_LATE), self.longest_pause
                since = min(since, max(heard_at + first, now - info.probes * then))
            self._asking_since = max(since, heard_at)
            self._seen_since = now
        else:
            self._asking_since = min(self._asking_since + late, now)
            self._seen_since = min(self._seen_since + late, now)
        return now - self._asking_since

    def _ignored_for(self, info: TcpInfo, now: float) -> float:
        """Return for how many seconds the peer has not acknowledged what is in flight, though it was heard
        after it should have; 0: it does not do that.

        So it is where large packets vanish on the way (RFC 2923, 2.1), and for a while where many do.
        """
        if not info.unacked or info.blocked:
            self._in_flight = None
            return 0.0
        if self._in_flight is None or self._in_flight[1] != info.bytes_acked:
            self._in_flight = (now, info.bytes_acked)
        since = self._in_flight[0]
        heard = info.retransmits > 0 and now - info.silence > since + _patience(info)
        return now - since if heard else 0.0

    def _recovers(self, info: TcpInfo, now: float) -> bool:
        """Tell whether the peer was heard while what was lost is being sent again.

        The kernel counts TCP_USER_TIMEOUT from the beginning of that, whatever is acknowledged meanwhile
        (tcp_write_timeout, retrans_stamp): a link that loses much would be cut in the middle of a transfer.
        """
        if not info.recovering:
            self._recovering_since = None
            return False
        if self._recovering_since is None:
            self._recovering_since = now
        return now - info.silence > self._recovering_since + _TICK

    def _stalled(self, info: TcpInfo, now: float) -> bool:
        """Tell whether the peer does not read; a transfer at full speed looks like that only for moments."""
        if not info.blocked:
            self._blocked = None
            return False
        if self._blocked is None or self._blocked[1] != info.bytes_acked:
            self._blocked = (now, info.bytes_acked)
        stalled = info.snd_wnd == 0 or now - self._blocked[0] >= LOOK_EVERY
        self.was_stalled = self.was_stalled or stalled
        return stalled

    def _dead_in(
        self, info: TcpInfo, now: float, asked_for: float, ignored_for: float
    ) -> tuple[float | None, str]:
        """Return in how many seconds the peer is dead unless it answers, and why; None: nothing is asked."""
        keepalive = self._keepalive
        silence = info.silence
        soon, why = self._probed(info, now)
        if not info.asking or not keepalive.enabled:
            return soon, why
        enough = float(keepalive.interval * keepalive.count)
        least = enough / 2 if info.blocked else min(enough, PATIENCE)
        enough = max(enough - max(self._first_question(info) - keepalive.idle, 0.0), least)
        # A question that was asked late, by a timer or a look, may be a moment old: leave time to answer it.
        answerable = self._seen_since + LOOK_EVERY + (info.rtt + 4 * info.rttvar) / 1e6 - now
        left = max(keepalive.bound - silence, enough - asked_for, answerable)
        if info.questions < min(_QUESTIONS, keepalive.count):
            left = max(left, LOOK_EVERY)
        if soon is not None and soon < left:
            return soon, why
        if ignored_for and info.retransmits >= _IN_VAIN and keepalive.bound - ignored_for < left:
            return keepalive.bound - ignored_for, (
                f"has acknowledged nothing for {ignored_for:.1f} s ({info.retransmits} retransmissions), "
                "though it sends: large packets seem to get lost"
            )
        return left, unanswered(info)

    def _hurry(self, info: TcpInfo, asked_for: float) -> KeepAlive:
        """Return what is to be in force: more than the user's while the peer is asked out of turn.

        So it is after a change of network, when an answer is overdue, and for the last time.
        """
        keepalive = self._keepalive
        left = keepalive.bound - info.silence
        if not keepalive.enabled or left <= LOOK_EVERY:
            return keepalive  # the kernel would not ask but give up: its time-out ends a little before T
        if self._probing_since is not None:
            return probing(keepalive)
        if not info.probes or info.unacked or info.blocked or keepalive.interval == 1:
            return keepalive
        if left <= LAST_CALL:
            return probing(keepalive)
        overdue = asked_for >= _patience(info)
        return probing(keepalive, math.ceil(keepalive.interval / _MORE_OFTEN)) if overdue else keepalive

    def _probed(self, info: TcpInfo, now: float) -> tuple[float | None, str]:
        """Return the same for a peer that is probed because of a change of network."""
        if self._probing_begins:
            self._probing_begins = False
            self._asked_before = info.probes + info.retransmits
        elif self._probing_since is not None and now - info.silence > self._probing_since + _TICK:
            self._probing_since = None  # it was heard
        if self._probing_since is None or info.blocked:
            return None, ""
        since = now - self._probing_since
        left = VERDICT_AFTER - since
        if left <= 0 and info.probes + info.retransmits - self._asked_before < _QUESTIONS:
            return None, ""  # the kernel did not get to ask
        return left, f"has not answered for {since:.1f} s since the network changed"

    def _first_question(self, info: TcpInfo) -> float:
        """Return how many seconds after an answer the kernel asks again, at the latest.

        After a probe its keepalive timer runs on for an interval, answered or not; window probes have their
        own.
        """
        if info.blocked:
            return self.longest_pause
        return float(max(self._keepalive.idle, self._keepalive.interval))

    def _grace(self, info: TcpInfo) -> float:
        """Return how many seconds after the time for it a probe is sure to be sent, and answered."""
        keepalive = self._keepalive
        grace = LOOK_EVERY
        if not info.blocked:
            grace = min(max(grace, keepalive.idle * _PROBE_LATE), _LONGEST_GRACE)
            grace = min(grace, max(LOOK_EVERY, keepalive.interval * keepalive.count / 2))
        return grace

    def _next_look(self, info: TcpInfo, now: float, dead_in: float | None) -> float | None:
        if not self._keepalive.enabled:
            return None
        silence = info.silence
        asking = info.asking and (silence >= PATIENCE or info.retransmits > 0)
        if self._probing_since is not None or asking:
            return now + (LOOK_EVERY if dead_in is None else min(LOOK_EVERY, max(dead_in, _TICK)))
        due = max(self._keepalive.idle, self._keepalive.interval) + self._grace(info) - silence
        if due > 0:
            return now + max(due, _TICK)
        # The probe is late, or the window is closed and the kernel bides its time.
        pause = min(self._keepalive.idle * _PROBE_LATE, self._keepalive.bound - silence)
        return now + (LOOK_EVERY if info.blocked else max(LOOK_EVERY, pause))

    # -- the application's heartbeat

    def _listen(self, look: Look, every: float, now: float, received_at: float | None, asked: bool) -> Look:
        """Judge by what the application receives: a peer's kernel may answer for a program that hangs."""
        self._note_received(now, received_at, asked)
        health = look.health
        left = _HEARTBEATS * every - (now - self._received_at)
        if self._beat_at is None:
            due = now + max(left, every / 2)
        else:
            left = max(left, self._beat_at + every - now)  # whoever was asked late may answer late
            if left <= 0:
                health = replace(health, verdict=Verdict.DEAD, dead_in=None)
                return replace(look, health=health, next_look=None, reason=self._hangs(now))
            health = _unanswered_beat(health, now - self._beat_at, every, left)
            due = now + max(left, _TICK)
        next_look = due if look.next_look is None else min(look.next_look, due)
        return replace(look, health=health, next_look=next_look)

    def _note_received(self, now: float, received_at: float | None, asked: bool) -> None:
        if not asked:
            # Nobody sent heartbeats, nobody read the answers, or the peer is still at what was sent before:
            # nothing follows, and counting starts anew.
            self._received_at = now
            self._beat_at = None
        elif received_at is not None and received_at > self._received_at:
            self._received_at = received_at
            if self._beat_at is not None and self._beat_at <= received_at:
                self._beat_at = None

    def _hangs(self, now: float) -> str:
        quiet = now - self._received_at
        digits = 0 if quiet >= 3 else 1
        return f"has sent nothing for {quiet:.{digits}f} s, in spite of heartbeats: its program hangs"


def _unanswered_beat(health: Health, waited: float, every: float, left: float) -> Health:
    """Return the health of a peer that has not answered a heartbeat for `waited` seconds.

    Args:
        health: as it is without regard to that
        waited: since the heartbeat was sent
        every: seconds between two of them
        left: seconds until the peer counts as dead

    """
    if health.dead_in is not None:
        return replace(health, dead_in=min(left, health.dead_in))
    if waited > every / 2:
        return replace(health, verdict=Verdict.DYING, dead_in=left)
    if waited > PATIENCE and health.verdict is Verdict.ALIVE:
        return replace(health, verdict=Verdict.SILENT)
    return health

"""Prove the watchdog on literal accounts of a kernel, and on timelines of one that is modelled here."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ipyreconnect.protocol.health import Health, Look, Verdict
from ipyreconnect.protocol.kernel_rules import longest_retransmission, probing, user_timeout
from ipyreconnect.protocol.tcp_info import TcpInfo
from ipyreconnect.protocol.watchdog import LONGEST_PAUSE, Watchdog
from ipyreconnect.settings import KeepAlive

ESTABLISHED, CLOSED = 1, 7
RTT = 0.02


class Kernel:
    """One end of a TCP connection as Linux runs it: keepalive, retransmissions, window probes, user time-out.

    `lateness` makes the keepalive timer late by that share, as the kernel's timer wheel does. `rto_max` is
    the longest time between two retransmissions or window probes, 120 s before Linux 6.15.
    """

    def __init__(self, keepalive: KeepAlive, *, lateness: float = 0.03, rto_max: float | None = None) -> None:
        self.now = 0.0
        self.state = ESTABLISHED
        self.cable = True
        self.window = True  # the peer's …
        self.known_window = True  # … and what we know of it
        self.heard = self.data_heard = self.sent = 0.0
        self.acked = 1
        self.queue = self.flight = 0
        self.probes = self.retransmits = self.backoff = 0
        self.rto = 0.204
        self.first_sent = self.probing_since = None  # type: float | None
        self.lateness = lateness
        self.rto_max = rto_max or longest_retransmission(keepalive) / 1000 or LONGEST_PAUSE
        self.user_timeout = user_timeout(keepalive) / 1000
        self.retransmit_at = self.window_probe_at = None  # type: float | None
        self.answers: list[tuple[float, str]] = []
        self.keepalive = keepalive
        self.set(keepalive)

    # -- what the world does

    def cut(self) -> None:
        self.cable = False
        self.answers.clear()

    def plug(self) -> None:
        self.cable = True

    def close_window(self) -> None:
        self.window = False
        self.known_window = self.known_window and not self.cable

    def open_window(self) -> None:
        self.window = True
        if self.cable:
            self.answers.append((self.now + RTT / 2, "window"))

    def receive(self) -> None:
        if self.cable:
            self.heard = self.data_heard = self.now

    # -- what the program does

    def set(self, keepalive: KeepAlive) -> None:
        """Set TCP_KEEPINTVL, TCP_KEEPCNT, then TCP_KEEPIDLE, which arms the timer anew."""
        self.keepalive = keepalive
        self.keepalive_at = self.late(max(keepalive.idle - (self.now - self.heard), 0.001))

    def late(self, wait: float) -> float:
        return self.now + wait * (1 + self.lateness)

    def write(self, size: int = 10) -> None:
        if self.state != ESTABLISHED:
            return
        if self.queue or not self.known_window:
            self.queue += size
            if self.window_probe_at is None and not self.flight:
                self.window_probe_at = self.now + self.rto
            return
        if not self.flight:
            self.first_sent = self.now
            self.retransmit_at = self.now + self.rto
        self.flight += size
        self.sent = self.now
        self.ask("ack")

    def ask(self, answer: str) -> None:
        if self.cable:
            self.answers.append((self.now + RTT, answer))

    # -- time

    def advance(self, until: float) -> None:
        while self.state == ESTABLISHED:
            events: list[tuple[float, Callable[[], None]]] = [
                (at, timer)
                for at, timer in (
                    (self.keepalive_at if self.keepalive.enabled else None, self.keepalive_timer),
                    (self.retransmit_at, self.retransmit_timer),
                    (self.window_probe_at, self.window_timer),
                    (min(self.answers)[0] if self.answers else None, self.answer),
                )
                if at is not None
            ]
            at, timer = min(events, key=lambda event: event[0], default=(until + 1, self.answer))
            if at > until:
                break
            self.now = max(self.now, at)
            timer()
        self.now = until

    def answer(self) -> None:
        self.answers.sort()
        _, what = self.answers.pop(0)
        self.heard = self.now
        self.known_window = self.window
        self.probes = 0
        if what == "ack":
            self.acked += self.flight
            self.flight = self.retransmits = 0
            self.rto = 0.204
            self.retransmit_at = self.first_sent = None
        if self.window and self.queue and not self.flight:
            size, self.queue = self.queue, 0
            self.window_probe_at = self.probing_since = None
            self.backoff = 0
            self.write(size)
        elif self.queue and not self.flight and self.window_probe_at is None:
            self.window_probe_at = self.now + self.rto

    def keepalive_timer(self) -> None:
        elapsed = self.now - self.heard
        if self.flight or self.queue:
            self.keepalive_at = self.late(self.keepalive.idle)
        elif elapsed < self.keepalive.idle:
            self.keepalive_at = self.late(max(self.keepalive.idle - elapsed, 0.001))
        elif (
            self.probes and elapsed >= self.user_timeout
            if self.user_timeout
            else self.probes >= self.keepalive.count
        ):
            self.state = CLOSED
        else:
            self.probes += 1
            self.ask("probe")
            self.keepalive_at = self.late(self.keepalive.interval)

    def retransmit_timer(self) -> None:
        assert self.first_sent is not None
        if self.user_timeout and self.now - self.first_sent >= self.user_timeout:
            self.state = CLOSED
            return
        self.retransmits += 1
        self.sent = self.now
        self.ask("ack")
        self.rto = min(2 * self.rto, self.rto_max)
        self.retransmit_at = self.now + self.rto

    def window_timer(self) -> None:
        if self.probing_since is None:
            self.probing_since = self.now
        elif self.user_timeout and self.now - self.probing_since >= self.user_timeout:
            self.state = CLOSED
            return
        self.probes += 1
        self.backoff += 1
        self.ask("probe")
        self.window_probe_at = self.now + min(0.204 * 2**self.backoff, self.rto_max)

    def info(self) -> TcpInfo:
        return TcpInfo(
            state=self.state,
            retransmits=self.retransmits,
            probes=self.probes,
            backoff=self.backoff,
            rto=int(self.rto * 1e6),
            unacked=1 if self.flight else 0,
            last_data_sent=int((self.now - self.sent) * 1000),
            last_data_recv=int((self.now - self.data_heard) * 1000),
            last_ack_recv=int((self.now - self.heard) * 1000),
            rtt=int(RTT * 1e6),
            rttvar=1000,
            bytes_acked=self.acked,
            bytes_received=0,
            notsent=self.queue,
            snd_wnd=65536 if self.known_window else 0,
        )


@dataclass
class Run:
    """A program with a watchdog on a modelled kernel; `play` lets time pass and things happen."""

    keepalive: KeepAlive
    kernel: Kernel
    latency: float = 0.0
    looks: list[tuple[float, Look]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watchdog = Watchdog(self.keepalive, 0.0, longest_pause=self.kernel.rto_max)
        self.in_force = self.keepalive
        self.look()

    @property
    def dead_at(self) -> float | None:
        at, look = self.looks[-1]
        return at if look.dead else None

    @property
    def last(self) -> Look:
        return self.looks[-1][1]

    def look(self) -> Look:
        kernel = self.kernel
        look = self.watchdog.look(kernel.info(), kernel.now)
        kernel.user_timeout = look.user_timeout / 1000
        if look.keepalive != self.in_force:
            self.in_force = look.keepalive
            kernel.set(look.keepalive)
        self.looks.append((kernel.now, look))
        return look

    def probe(self) -> None:
        """The network has changed."""
        self.watchdog.probe(self.kernel.now)
        self.in_force = KeepAlive.off()  # so that it is set again
        self.look()

    def play(self, until: float, *happens: tuple[float, Callable[[], object]]) -> Run:
        """Let things happen at their times, look whenever it is time to, and stop when the peer is dead."""
        events = sorted(happens, key=lambda event: event[0])
        while not self.last.dead:
            due = self.last.next_look
            at = min(until, *(event[0] for event in events[:1]), until if due is None else due + self.latency)
            self.kernel.advance(at)
            if events and events[0][0] <= at:
                events.pop(0)[1]()
            elif due is not None and due + self.latency <= at:
                self.look()
            else:
                break
        return self


def run(
    keepalive: KeepAlive, *, latency: float = 0.0, lateness: float = 0.03, rto_max: float | None = None
) -> Run:
    return Run(keepalive, Kernel(keepalive, lateness=lateness, rto_max=rto_max), latency)


USUAL = KeepAlive(5, 3, 3)
OTHERS = [
    KeepAlive(1, 1, 1),
    KeepAlive(5, 1, 1),
    KeepAlive(1, 1, 10),
    KeepAlive(10, 5, 1),
    KeepAlive(60, 20, 3),
]


def test_the_kernels_account_is_read_by_its_offsets() -> None:
    """Every field comes from where linux/tcp.h has it."""
    buffer = bytearray(280)
    for at, value in {0: 1, 1: 4, 2: 2, 3: 3, 4: 4}.items():
        buffer[at] = value
    fields = {8: 204000, 24: 5, 44: 6, 52: 7, 56: 8, 68: 9, 72: 10, 144: 13, 228: 14}
    for at, value in fields.items():
        struct.pack_into("=I", buffer, at, value)
    struct.pack_into("=QQ", buffer, 120, 1 << 40, (1 << 40) + 1)
    info = TcpInfo.unpack(bytes(buffer))
    assert info == TcpInfo(1, 2, 3, 4, 204000, 5, 6, 7, 8, 9, 10, 1 << 40, (1 << 40) + 1, 13, 14, ca_state=4)
    assert info.acknowledged == (1 << 40) - 1


def test_an_older_kernels_account_is_shorter() -> None:
    """What an old kernel does not tell is None, and too little is refused."""
    info = TcpInfo.unpack(bytes(228))
    assert (info.bytes_acked, info.bytes_received, info.snd_wnd) == (0, 0, None)
    assert info.acknowledged == 0
    info = TcpInfo.unpack(bytes(104))
    assert (info.bytes_acked, info.bytes_received, info.notsent, info.snd_wnd) == (None, None, 0, None)
    assert info.acknowledged is None
    with pytest.raises(ValueError, match="at least 76 bytes, not 75"):
        TcpInfo.unpack(bytes(75))


def test_the_kernels_options_follow_the_keepalive() -> None:
    """TCP_USER_TIMEOUT is just below T; pauses between questions are so short that enough fit into T."""
    assert user_timeout(KeepAlive(5, 3, 3)) == 13_900
    assert user_timeout(KeepAlive.off()) == 0
    assert user_timeout(KeepAlive(5, 3, 3), TcpInfo(last_data_recv=13_999, last_ack_recv=20_000)) == 13_900
    assert longest_retransmission(KeepAlive(5, 3, 3)) == 3_000
    assert longest_retransmission(KeepAlive(1, 1, 1)) == 1_000
    assert longest_retransmission(KeepAlive(2, 5, 3)) == 2_000
    assert longest_retransmission(KeepAlive(60, 1, 10)) == 5_000
    assert longest_retransmission(KeepAlive(7200, 75, 9)) == 120_000
    assert longest_retransmission(KeepAlive.off()) == 0


@pytest.mark.parametrize(
    "info",
    [
        TcpInfo(snd_wnd=0, notsent=100),
        TcpInfo(snd_wnd=0, notsent=100, unacked=1),
        TcpInfo(last_data_recv=14_000, last_ack_recv=14_000),
    ],
    ids=["window closed", "window just closed", "silent for T before it was asked"],
)
def test_the_kernels_rule_is_off_where_it_would_kill_the_living(info: TcpInfo) -> None:
    """It counts unanswered what was answered, or as a death what was not asked for."""
    assert user_timeout(USUAL, info) == 0


@pytest.mark.parametrize("keepalive", [USUAL, *OTHERS], ids=str)
def test_asking_out_of_turn_keeps_t(keepalive: KeepAlive) -> None:
    """While a peer is asked every second, the kernel gives it up no sooner than it would, and not for the
    questions that are out already.
    """
    in_force = probing(keepalive)
    assert (in_force.idle, in_force.interval) == (1, 1)
    assert in_force.bound == min(max(keepalive.bound, keepalive.count + 2), 128)
    assert in_force.count > keepalive.count
    assert longest_retransmission(in_force) == 1000 or keepalive.bound > 14


def assert_noticed(play: Run, more: float = 0.0) -> None:
    """The peer was found dead between T and T + 1 s after the last that was heard of it."""
    assert play.dead_at is not None
    silence = play.dead_at - play.kernel.heard
    # The kernel itself may be first by as much as its time-out is below T.
    assert play.keepalive.bound - 0.11 <= silence <= play.keepalive.bound + 1.0 + more
    assert play.last.reason


@pytest.mark.parametrize("keepalive", [USUAL, *OTHERS], ids=str)
@pytest.mark.parametrize("cut", [0.01, 1.3, 5.0, 7.77, 100.2, 314.15])
@pytest.mark.parametrize("lateness", [0.0, 0.03, 0.12])
def test_a_cut_while_idle_is_noticed(keepalive: KeepAlive, cut: float, lateness: float) -> None:
    """Whenever the cable is pulled from an idle connection, T later it is known."""
    play = run(keepalive, lateness=lateness, latency=0.02)
    assert_noticed(play.play(2000.0, (cut, play.kernel.cut)))


@pytest.mark.parametrize("keepalive", [USUAL, *OTHERS], ids=str)
@pytest.mark.parametrize("cut", [0.5, 33.3])
@pytest.mark.parametrize("after", [0.0, 0.2, 3.0, 4.9, 5.1, 9.0, 13.0, 13.9])
def test_a_line_written_at_any_time_after_the_cut_hides_nothing(
    keepalive: KeepAlive, cut: float, after: float
) -> None:
    """A line in flight, or written 3, 9 or 13 s after the cut, does not put the verdict off."""
    play = run(keepalive)
    assert_noticed(play.play(2000.0, (cut, play.kernel.cut), (cut + after, play.kernel.write)))


@pytest.mark.parametrize("every", [0.3, 1.0, 4.0])
def test_lines_written_again_and_again_hide_nothing(every: float) -> None:
    """Neither does a user who goes on typing."""
    play = run(USUAL)
    kernel = play.kernel
    writes = [(every * number, kernel.write) for number in range(1, 200)]
    assert_noticed(play.play(100.0, (20.05, kernel.cut), *writes))


def test_a_feed_that_breaks_off_is_noticed() -> None:
    """A peer that only ever sends is noticed missing T after its last data."""
    play = run(USUAL)
    kernel = play.kernel
    feed = [(0.2 * number, kernel.receive) for number in range(200)]
    assert_noticed(play.play(100.0, (25.05, kernel.cut), *feed))


def test_the_user_sees_it_coming() -> None:
    """Alive, then dying with the seconds that are left and the probes that went unanswered, then dead."""
    play = run(USUAL, lateness=0.02)
    play.play(60.0, (0.5, play.kernel.cut))
    assert play.looks[1][1].health.verdict is Verdict.ALIVE
    dying = [(at, look.health) for at, look in play.looks if look.health.verdict is Verdict.DYING]
    assert dying[0][0] == pytest.approx(6.1, abs=0.2)
    for at, health in dying:
        assert health.dead_in == pytest.approx(14.0 - at, abs=0.02)
        assert health.last_ack == pytest.approx(at, abs=0.01)
        assert health.probes_of == 3
    assert [probes for probes, _ in itertools.groupby(health.probes for _, health in dying)] == [1, 2, 3]
    assert play.last.health.dead_in is None
    assert play.last.health.probes == 3
    assert play.last.reason.startswith("has not answered for 14.0 s (")


def test_an_idle_connection_costs_next_to_nothing() -> None:
    """One look per idle time at the most, however late the kernel's timers are."""
    for keepalive, lateness in itertools.product(
        (USUAL, KeepAlive(1, 1, 5), KeepAlive(60, 20, 3), KeepAlive(100, 75, 9)), (0.0, 0.06, 0.12)
    ):
        time = 1000.0 * keepalive.idle
        play = run(keepalive, lateness=lateness).play(time)
        assert play.dead_at is None
        assert len(play.looks) <= time / keepalive.idle + 2
        assert {look.health.verdict for _, look in play.looks} == {Verdict.ALIVE}


def test_a_busy_connection_costs_no_more() -> None:
    """Nor does one on which lines come and go."""
    play = run(USUAL)
    kernel = play.kernel
    traffic = [(0.09 * number, kernel.write if number % 3 else kernel.receive) for number in range(1, 5000)]
    play.play(440.0, *traffic)
    assert play.dead_at is None
    assert len(play.looks) <= 440 / 5 + 2


@pytest.mark.parametrize("rto_max", [3.0, 120.0])
def test_a_live_peer_that_does_not_read_is_kept(rto_max: float) -> None:
    """A closed window of 250 s is no death, to watchdog and kernel alike; afterwards every byte arrives."""
    play = run(USUAL, rto_max=rto_max)
    kernel = play.kernel
    kernel.close_window()
    play.play(250.0, (1.0, lambda: kernel.write(1 << 20)))
    assert play.dead_at is None
    assert kernel.state == ESTABLISHED
    stalled = [look for at, look in play.looks if at > 8]
    assert {look.health.verdict for look in stalled} == {Verdict.STALLED}
    assert {look.user_timeout for look in stalled} == {0}
    play.play(260.0, (250.5, kernel.open_window))
    assert kernel.acked == (1 << 20) + 1
    assert play.last.user_timeout == 0
    assert play.look().health.verdict is Verdict.ALIVE


@pytest.mark.parametrize("keepalive", [USUAL, KeepAlive(5, 1, 1), KeepAlive(60, 20, 3)], ids=str)
@pytest.mark.parametrize("cut", [0.5, 1.0, 4.0, 60.0, 247.0])
def test_a_peer_that_dies_with_its_window_closed_is_noticed(keepalive: KeepAlive, cut: float) -> None:
    """A full send buffer hides no death, where the kernel can be told to ask often enough."""
    play = run(keepalive)
    kernel = play.kernel
    kernel.close_window()
    assert_noticed(play.play(2000.0, (0.1, kernel.write), (cut, kernel.cut)))


def test_an_older_kernel_that_asks_seldom_is_not_judged_by_one_lost_probe() -> None:
    """Where window probes are a minute apart, the first lost one is no death, the second is."""
    play = run(USUAL, rto_max=120.0)
    kernel = play.kernel
    kernel.close_window()
    play.play(280.0, (0.1, kernel.write), (60.0, kernel.cut), (100.0, kernel.plug))
    assert play.dead_at is None
    play.play(1000.0, (300.0, kernel.cut))
    assert play.dead_at is not None
    assert kernel.probes >= 2


def test_a_window_too_small_for_the_next_segment_is_closed_as_well() -> None:
    """Data that waits while nothing is in flight waits for the peer; for a moment that means nothing, after
    more than that the kernel is not to count its time-out any more.
    """
    watchdog = Watchdog(USUAL, 0.0)
    waiting = TcpInfo(notsent=9000, snd_wnd=400, bytes_acked=5)
    sending = TcpInfo(notsent=9000, unacked=3, snd_wnd=40000)
    look = watchdog.look(waiting, 1.0)
    assert (look.user_timeout, look.health.verdict) == (0, Verdict.ALIVE)
    assert watchdog.look(sending, 1.1).user_timeout == 13_900
    watchdog.look(waiting, 1.2)
    assert watchdog.look(waiting, 2.0).health.verdict is Verdict.STALLED
    moved = TcpInfo(notsent=9000, snd_wnd=400, bytes_acked=6)
    assert watchdog.look(moved, 3.0).health.verdict is Verdict.ALIVE
    assert watchdog.look(sending, 4.0).user_timeout == 0


@pytest.mark.parametrize(
    ("info", "blocked"),
    [
        (TcpInfo(notsent=100, snd_wnd=65_536, snd_mss=1448), False),
        (TcpInfo(notsent=200_000, snd_wnd=65_536, snd_mss=1448), False),
        (TcpInfo(notsent=200_000, snd_wnd=1447, snd_mss=1448), True),
        (TcpInfo(notsent=100, snd_wnd=99, snd_mss=1448), True),
        (TcpInfo(notsent=100, snd_wnd=0, snd_mss=1448), True),
        (TcpInfo(notsent=100, snd_wnd=None), True),
        (TcpInfo(notsent=0, snd_wnd=0, snd_mss=1448), False),
    ],
)
def test_what_cannot_leave_this_computer_is_not_held_back_by_the_peer(info: TcpInfo, blocked: bool) -> None:
    """Where the peer has room and nothing is in flight, it is this end's link that is down."""
    assert info.blocked is blocked


def test_a_line_that_cannot_leave_hides_no_dead_link() -> None:
    """A line written after the own link went down does not put the verdict off: 2.5 s after the change."""
    watchdog = Watchdog(USUAL, 0.0)
    watchdog.look(TcpInfo(), 1.0)
    watchdog.probe(2.0)
    stuck = TcpInfo(notsent=15, snd_wnd=65_536, snd_mss=1448, last_data_recv=1000, last_ack_recv=1000)
    assert not watchdog.look(stuck, 2.0).dead
    later = replace(stuck, probes=3, backoff=3, last_data_recv=3500, last_ack_recv=3500)
    assert watchdog.look(later, 4.5).reason == "has not answered for 2.5 s since the network changed"


@pytest.mark.parametrize("begin", [10.0, 11.7, 13.3, 15.05])
@pytest.mark.parametrize("length", [0.5, 5.0, 9.0, 11.1, 11.9])
@pytest.mark.parametrize("keepalive", [USUAL, KeepAlive(10, 5, 1), KeepAlive(60, 20, 3)], ids=str)
def test_an_outage_shorter_than_t_cuts_nothing(keepalive: KeepAlive, begin: float, length: float) -> None:
    """With nothing in flight a connection outlives a silence of up to T − 2 s, and keeps its keepalive."""
    play = run(keepalive)
    kernel = play.kernel
    end = begin + keepalive.bound * length / 14 + (0.1 if length == 11.9 else 0.0)
    play.play(400.0, (begin, kernel.receive), (begin, kernel.cut), (end, kernel.plug))
    assert play.dead_at is None
    assert play.look().health.verdict is Verdict.ALIVE
    assert kernel.keepalive == keepalive


@pytest.mark.parametrize("keepalive", [USUAL, KeepAlive(60, 20, 3)], ids=str)
def test_lost_probes_are_no_death(keepalive: KeepAlive) -> None:
    """Over a link that loses every packet but a few, a live peer is asked more often, and kept; and as seldom
    as before once it has answered.
    """
    play = run(keepalive)
    kernel = play.kernel
    ask, asked = kernel.ask, itertools.count(1)
    kernel.ask = lambda answer: ask(answer) if next(asked) % 7 == 0 else None  # type: ignore[method-assign]
    play.play(20.0 * keepalive.bound)
    assert play.dead_at is None
    assert next(asked) > 50
    assert {look.keepalive for _, look in play.looks if not look.health.probes} == {keepalive}


def test_a_changed_keepalive_counts_at_once() -> None:
    """A new T holds for the connection that is already silent."""
    play = run(KeepAlive(60, 20, 3))
    kernel = play.kernel

    def change() -> None:
        play.keepalive = play.watchdog.keepalive = USUAL
        play.look()

    play.play(500.0, (0.5, kernel.cut), (2.0, change))
    assert_noticed(play)


def test_with_keepalive_off_nobody_is_cut_and_nobody_looks() -> None:
    """Who turned keepalive off gets no verdict, but an honest description."""
    play = run(KeepAlive.off())
    kernel = play.kernel
    play.play(1000.0, (0.5, kernel.cut), (1.0, kernel.write), (2.0, play.probe))
    assert (play.dead_at, play.last.next_look, play.last.keepalive) == (None, None, KeepAlive.off())
    assert play.last.user_timeout == 0
    assert play.look().health.verdict is Verdict.SILENT


def ignoring(retransmits: int, at: float, silence: float = 0.2) -> TcpInfo:
    """What was sent at 1.0 is not acknowledged, though the peer was heard."""
    return TcpInfo(
        unacked=1,
        retransmits=retransmits,
        rto=3_000_000,
        last_data_sent=500,
        last_data_recv=int(silence * 1000),
        last_ack_recv=int((at - 1.0) * 1000),
        rtt=20_000,
        bytes_acked=100,
        snd_wnd=65536,
    )


def test_who_is_heard_and_never_acknowledges_is_given_up_after_t() -> None:
    """Where large packets vanish no line gets through any more: the user sees it coming, and why."""
    watchdog = Watchdog(USUAL, 0.0, longest_pause=3.0)
    for at, retransmits in ((1.0, 0), (1.5, 1), (2.0, 2), (2.5, 3), (5.0, 4)):
        look = watchdog.look(ignoring(retransmits, at), at)
    assert look.health.verdict is Verdict.ALIVE
    assert look.user_timeout == 0  # the kernel would take it for dead, at its own time
    look = watchdog.look(ignoring(5, 7.0), 7.0)
    assert look.health.verdict is Verdict.DYING
    assert look.health.dead_in == pytest.approx(8.0)
    assert look.next_look == 7.5
    look = watchdog.look(ignoring(7, 15.1), 15.1)
    assert look.dead
    assert look.reason == (
        "has acknowledged nothing for 14.1 s (7 retransmissions), though it sends: "
        "large packets seem to get lost"
    )


def test_who_acknowledges_late_over_a_bad_link_is_kept() -> None:
    """Few retransmissions in a long time prove nothing, and each acknowledgement counts anew."""
    watchdog = Watchdog(USUAL, 0.0, longest_pause=3.0)
    for at, retransmits in ((1.0, 0), (4.0, 1), (8.0, 2), (12.0, 3), (20.0, 4)):
        look = watchdog.look(ignoring(retransmits, at), at)
        assert look.health.verdict is Verdict.ALIVE
    assert look.user_timeout == 0
    look = watchdog.look(replace(ignoring(5, 21.0), bytes_acked=200), 21.0)
    assert (look.health.verdict, look.user_timeout) == (Verdict.ALIVE, 0)
    look = watchdog.look(replace(ignoring(0, 22.0), unacked=0, bytes_acked=300), 22.0)
    assert (look.health.verdict, look.user_timeout) == (Verdict.ALIVE, 13_900)


def test_a_link_that_loses_much_is_spared_the_kernels_rule() -> None:
    """The kernel counts from the first loss, whatever came since; who is not heard is not spared."""
    watchdog, mute = Watchdog(USUAL, 0.0, longest_pause=3.0), Watchdog(USUAL, 0.0, longest_pause=3.0)
    for at in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0):
        info = TcpInfo(
            unacked=3, ca_state=3, last_ack_recv=100, last_data_recv=9000, rtt=20_000, snd_wnd=65536
        )
        look = watchdog.look(replace(info, bytes_acked=int(at * 100)), at)
        silence = int(at * 1000)
        unheard = mute.look(replace(info, last_ack_recv=silence, last_data_recv=silence), at)
    assert (look.health.verdict, look.user_timeout) == (Verdict.ALIVE, 0)
    assert (unheard.health.verdict, unheard.user_timeout) == (Verdict.DYING, 13_900)
    look = watchdog.look(replace(info, ca_state=0, bytes_acked=700), 6.5)
    assert look.user_timeout == 13_900


def test_a_connection_that_the_kernel_has_ended_is_dead() -> None:
    """Also while reading is paused, when nobody would notice a reset."""
    look = Watchdog(USUAL, 0.0).look(TcpInfo(state=CLOSED), 1.0)
    assert look.dead
    assert look.next_look is None
    assert look.reason == "is gone: the system has ended the connection"


# -- changes of network


@pytest.mark.parametrize("write", [None, 0.0, 0.3])
@pytest.mark.parametrize("at", [10.0, 11.7, 13.3, 15.05])
def test_a_change_of_network_brings_a_verdict_within_3_s(at: float, write: float | None) -> None:
    """A peer that is out of reach after a change is dead within 3 s, also with a line in flight."""
    play = run(USUAL)
    kernel = play.kernel
    happens: list[tuple[float, Callable[[], object]]] = [(at, kernel.cut), (at + 0.015, play.probe)]
    if write is not None:
        happens.append((at + write, kernel.write))
    play.play(100.0, *happens)
    assert play.dead_at is not None
    assert 2.4 <= play.dead_at - at <= 3.015
    assert "since the network changed" in play.last.reason


@pytest.mark.parametrize("at", [10.0, 11.7, 13.3, 15.05])
@pytest.mark.parametrize("write", [None, 0.0, 0.2, 1.0])
@pytest.mark.parametrize("length", [0.0, 0.1, 0.5, 0.9])
def test_a_flap_cuts_nothing(at: float, write: float | None, length: float) -> None:
    """A link that is gone for half a second gives no verdict, and the user's keepalive is back soon."""
    play = run(USUAL)
    kernel = play.kernel
    happens: list[tuple[float, Callable[[], object]]] = [
        (at, kernel.cut),
        (at + 0.01, play.probe),
        (at + length + 0.02, kernel.plug),
        (at + length + 0.03, play.probe),
    ]
    if write is not None:
        happens.append((at + write, kernel.write))
    play.play(at + 3.0, *happens)
    assert play.dead_at is None
    assert play.last.health.verdict is Verdict.ALIVE
    assert play.last.keepalive == kernel.keepalive == USUAL
    assert any(look.keepalive == KeepAlive(1, 1, 13) for _, look in play.looks)


def test_many_changes_of_network_cut_no_live_peer() -> None:
    """A storm of changes while the peer answers costs looks, and nothing else."""
    play = run(USUAL)
    play.play(60.0, *[(10.0 + 0.37 * number, play.probe) for number in range(100)])
    assert play.dead_at is None
    assert play.last.health.verdict is Verdict.ALIVE
    assert play.kernel.keepalive == USUAL


def test_many_changes_of_network_hide_no_dead_peer() -> None:
    """Nor does a storm put off the usual verdict."""
    play = run(USUAL)
    assert_noticed(
        play.play(60.0, (9.0, play.kernel.cut), *[(9.1 + 0.9 * number, play.probe) for number in range(100)])
    )


def test_a_change_of_network_does_not_cut_a_live_peer_that_does_not_read() -> None:
    """Through a closed window the kernel cannot ask at will: no hasty verdict."""
    for rto_max in (3.0, 120.0):
        play = run(USUAL, rto_max=rto_max)
        kernel = play.kernel
        kernel.close_window()
        play.play(200.0, (0.1, kernel.write), *[(20.0 + 7 * number, play.probe) for number in range(9)])
        assert play.dead_at is None
        assert kernel.state == ESTABLISHED
        assert play.last.health.verdict is Verdict.STALLED


def test_a_change_of_network_does_not_cut_a_peer_that_was_not_asked() -> None:
    """A line in flight that the kernel repeats seldom by now: the change may have mended the way."""
    play = run(USUAL, rto_max=120.0)
    kernel = play.kernel
    cut = [(10.0, kernel.receive), (10.0, kernel.cut), (10.1, kernel.write)]
    play.play(100.0, *cut, (17.5, kernel.plug), (17.51, play.probe))
    assert play.dead_at is None
    assert kernel.acked > 1


# -- clocks


def test_a_jump_of_the_clock_is_no_death() -> None:
    """After an hour of sleep that the clock counts, the peer is asked before it is judged."""
    watchdog = Watchdog(USUAL, 0.0)
    assert (
        watchdog.look(TcpInfo(last_data_recv=1000, last_ack_recv=1000), 1.0).health.verdict is Verdict.ALIVE
    )
    silence = 3_601_000
    asked = TcpInfo(last_data_recv=silence, last_ack_recv=silence, probes=1)
    look = watchdog.look(asked, 3601.0)
    assert not look.dead
    assert look.next_look == pytest.approx(3601.5)
    answered = TcpInfo(last_data_recv=silence + 500, last_ack_recv=300)
    assert watchdog.look(answered, 3601.5).health.verdict is Verdict.ALIVE


def test_time_in_which_nobody_looked_is_not_held_against_the_peer() -> None:
    """While the process was stopped, with a line in flight, the asking does not count; afterwards it does."""
    watchdog = Watchdog(USUAL, 0.0)

    def look(at: float) -> Look:
        silence = int(at * 1000)
        return watchdog.look(
            TcpInfo(unacked=1, rto=408_000, retransmits=1, last_data_recv=silence, last_ack_recv=silence), at
        )

    look(2.0)
    assert not look(62.0).dead
    assert look(64.0).health.verdict is Verdict.DYING
    assert not look(66.0).dead
    assert not look(68.0).dead
    assert look(70.5).dead


def test_a_clock_that_goes_back_is_harmless() -> None:
    """A look at an earlier time is a look now."""
    watchdog = Watchdog(USUAL, 100.0)
    watchdog.look(TcpInfo(), 100.0)
    assert watchdog.look(TcpInfo(), 50.0).next_look == pytest.approx(105.6, abs=0.1)


# -- health


def test_health_tells_the_kernels_figures_in_seconds_and_bytes() -> None:
    """What the user sees is in the user's units."""
    info = TcpInfo(
        rtt=25_000, rttvar=2_000, last_data_recv=1_500, last_ack_recv=250, unacked=2, retransmits=1, rto=10**6
    )
    health = Watchdog(USUAL, 0.0).look(info, 10.0, unacknowledged=1234).health
    assert (health.rtt, health.last_data, health.last_ack) == (0.025, 1.5, 0.25)
    assert (health.unacknowledged, health.retransmits, health.probes) == (1234, 1, 0)
    assert (health.verdict, health.dead_in) == ("alive", None)


def test_a_slow_link_is_not_called_dying_for_its_slowness() -> None:
    """An answer is overdue only beyond the round trip that the link has."""
    for rtt, verdict in ((20_000, Verdict.DYING), (1_500_000, Verdict.ALIVE)):
        watchdog = Watchdog(USUAL, 0.0)
        flight = {"unacked": 1, "rtt": rtt}
        watchdog.look(TcpInfo(**flight), 0.0)
        assert (
            watchdog.look(TcpInfo(last_data_recv=1200, last_ack_recv=1200, **flight), 1.2).health.verdict
            is verdict
        )


def test_one_lost_packet_worries_nobody() -> None:
    """A retransmission within the first second is normal."""
    watchdog = Watchdog(USUAL, 0.0)
    watchdog.look(TcpInfo(unacked=1), 0.0)
    info = TcpInfo(unacked=1, retransmits=1, rto=408_000, last_data_recv=300, last_ack_recv=300)
    assert watchdog.look(info, 0.3).health.verdict is Verdict.ALIVE


# -- heartbeats


QUIET = TcpInfo(last_data_recv=10**9, last_ack_recv=100)


def quiet(watchdog: Watchdog, start: float, stop: float, *, reading: bool = True) -> list[Look]:
    """Look twice a second while nothing has been received since 3.0."""
    times = [start + number / 2 for number in range(int(2 * (stop - start)) + 1)]
    return [watchdog.look(QUIET, at, received_at=3.0, reading=reading) for at in times]


def test_a_program_that_hangs_is_found_by_its_missing_answers() -> None:
    """A kernel that answers for a stopped program does not hide it for longer than two intervals."""
    watchdog = Watchdog(USUAL, 0.0, heartbeat=10.0)
    assert {look.health.verdict for look in quiet(watchdog, 3.0, 13.0)} == {Verdict.ALIVE}
    watchdog.beat(13.0)
    looks = quiet(watchdog, 13.0, 23.0)
    verdicts = [look.health.verdict for look in looks]
    assert verdicts == [Verdict.ALIVE] * 3 + [Verdict.SILENT] * 8 + [Verdict.DYING] * 9 + [Verdict.DEAD]
    assert [look.health.dead_in for look in looks[-3:]] == [1.0, 0.5, None]
    assert looks[-2].next_look == 23.0
    assert looks[-1].reason == "has sent nothing for 20 s, in spite of heartbeats: its program hangs"


def test_a_dying_peer_dies_of_what_comes_first() -> None:
    """The seconds left are those of the probes or of the heartbeats, whichever are fewer."""
    watchdog = Watchdog(USUAL, 0.0, heartbeat=10.0)
    quiet(watchdog, 3.0, 13.0)
    watchdog.beat(13.0)
    quiet(watchdog, 13.0, 19.0)
    health = Health()
    for at in (19.5, 20.0, 20.5):
        info = TcpInfo(probes=1, last_data_recv=10**6, last_ack_recv=int((at - 14.0) * 1000))
        health = watchdog.look(info, at, received_at=3.0).health
        assert health.verdict is not Verdict.DEAD
    assert (health.verdict, health.dead_in) == (Verdict.DYING, 2.5)


def test_an_answer_to_a_heartbeat_is_a_sign_of_life() -> None:
    """Whatever is received starts the count anew."""
    watchdog = Watchdog(USUAL, 0.0, heartbeat=10.0)
    for number in range(1, 50):
        watchdog.beat(10.0 * number)
        for after in (1.0, 6.0):
            at = 10.0 * number + after
            assert not watchdog.look(QUIET, at, received_at=at - 5.5).dead


def test_who_was_asked_late_may_answer_late() -> None:
    """A heartbeat that was put off by the user's own lines leaves the peer a whole interval to answer."""
    watchdog = Watchdog(USUAL, 0.0, heartbeat=10.0)
    assert not quiet(watchdog, 3.0, 40.0)[-1].dead
    watchdog.beat(40.5)
    assert not quiet(watchdog, 40.5, 50.0)[-1].dead
    assert quiet(watchdog, 50.5, 50.5)[-1].dead


def beaten(acked: Callable[[float], int], waiting: Callable[[float], int]) -> float | None:
    """Send heartbeats every 10 s, look twice a second, and return when the peer was dead, if within 200 s."""
    watchdog = Watchdog(USUAL, 0.0, heartbeat=10.0)
    for number in range(6, 400):
        at = number / 2
        if at % 10 == 0:
            watchdog.beat(at)
        info = TcpInfo(last_data_recv=10**9, last_ack_recv=100, bytes_acked=acked(at))
        if watchdog.look(info, at, unacknowledged=waiting(at), received_at=3.0).dead:
            return at
    return None


def test_a_peer_that_reads_what_came_before_the_heartbeat_is_not_cut() -> None:
    """Who is still at megabytes that were sent before cannot answer: who acknowledges nothing more hangs."""
    assert beaten(lambda at: int(at) // 9, lambda at: 10**6) is None
    assert beaten(lambda at: min(int(at), 100), lambda at: 10**6) == 120.0


def test_what_the_heartbeat_itself_moves_is_no_sign_of_life() -> None:
    """The kernel of a program that hangs acknowledges each heartbeat, and hides nothing by it."""
    assert beaten(lambda at: 6 * int(at // 10), lambda at: 0) == 23.0
    assert beaten(lambda at: 6 * int((at - 0.5) // 10), lambda at: 6 * (at % 10 == 0)) == 23.0


def test_nothing_follows_from_silence_while_nobody_reads() -> None:
    """While reading is paused, counting does not begin."""
    watchdog = Watchdog(USUAL, 0.0, heartbeat=10.0)
    watchdog.beat(11.0)
    assert not quiet(watchdog, 3.0, 60.0, reading=False)[-1].dead
    watchdog.beat(61.0)
    assert not quiet(watchdog, 60.5, 79.5)[-1].dead
    assert quiet(watchdog, 80.0, 80.0)[-1].dead


def test_nothing_follows_from_silence_while_the_process_was_stopped() -> None:
    """Who could not send heartbeats, nor read, begins to count anew."""
    watchdog = Watchdog(USUAL, 0.0, heartbeat=10.0)
    quiet(watchdog, 3.0, 12.0)
    watchdog.beat(11.0)
    assert not quiet(watchdog, 60.0, 60.0)[-1].dead
    watchdog.beat(61.0)
    assert not quiet(watchdog, 60.5, 79.5)[-1].dead
    assert quiet(watchdog, 80.0, 80.0)[-1].dead


@pytest.mark.parametrize(("every", "late"), [(0.5, 1.01), (1.0, 1.01), (1.9, 1.91), (60.0, 2.01)])
def test_a_short_heartbeat_says_nothing_after_a_short_stop(every: float, late: float) -> None:
    """A process that was stopped for longer than the peer had to answer begins to count anew."""
    watchdog = Watchdog(USUAL, 0.0, heartbeat=every)
    watchdog.look(QUIET, 0.0, received_at=0.0)
    watchdog.beat(every)
    planned = watchdog.look(QUIET, every, received_at=0.0).next_look
    assert planned is not None
    back = planned + late
    look = watchdog.look(QUIET, back, received_at=0.0)
    assert not look.dead
    watchdog.beat(back)
    dead_at = back
    while not look.dead:
        assert look.next_look is not None
        dead_at = look.next_look
        look = watchdog.look(QUIET, dead_at, received_at=0.0)
    assert dead_at == pytest.approx(back + 2 * every)


def test_who_is_not_asked_is_not_judged() -> None:
    """Heartbeats count from the moment when their answers are expected, until they are not any more."""
    watchdog = Watchdog(USUAL, 0.0)
    assert watchdog.heartbeat is None
    watchdog.beat(11.0)
    assert not quiet(watchdog, 3.0, 60.0)[-1].dead
    watchdog.expect_answers(10.0, 60.0)
    watchdog.beat(61.0)
    assert not quiet(watchdog, 60.5, 79.5)[-1].dead
    watchdog.expect_answers(None, 79.5)
    assert not quiet(watchdog, 80.0, 200.0)[-1].dead
    watchdog.expect_answers(10.0, 200.0)
    watchdog.beat(201.0)
    assert not quiet(watchdog, 200.5, 219.5)[-1].dead
    assert quiet(watchdog, 220.0, 220.0)[-1].dead


def test_without_tcp_the_heartbeat_alone_counts() -> None:
    """A Unix socket has no account of the kernel: looks are for the heartbeat only."""
    assert Watchdog(USUAL, 0.0).look(None, 1.0).next_look is None
    watchdog = Watchdog(USUAL, 0.0, heartbeat=10.0)
    look = watchdog.look(None, 1.0, received_at=1.0, unacknowledged=7)
    assert (look.health.verdict, look.health.unacknowledged, look.health.rtt) == (Verdict.ALIVE, 7, None)
    watchdog.beat(11.0)
    assert look.next_look == 21.0
    assert watchdog.look(None, 21.0, received_at=1.0).dead


# -- anything that may happen


KEEPALIVES = st.builds(
    KeepAlive, idle=st.integers(1, 20), interval=st.integers(1, 8), count=st.integers(1, 6)
)
TIMES = st.floats(0.0, 90.0)


@settings(max_examples=300)
@example(
    keepalive=KeepAlive(1, 1, 1),
    lateness=0.0,
    # A change of network comes just between a question and its answer, and makes the kernel ask anew.
    happens=[(0.0, "close_window"), (0.0, "write"), (55.203125, "open_window"), (79.703125, "probe")],
)
@given(
    keepalive=KEEPALIVES,
    lateness=st.floats(0.0, 0.12),
    happens=st.lists(
        st.tuples(TIMES, st.sampled_from(["write", "receive", "close_window", "open_window", "probe"])),
        max_size=30,
    ),
)
def test_no_live_peer_is_ever_cut(
    keepalive: KeepAlive, lateness: float, happens: list[tuple[float, str]]
) -> None:
    """Whatever is written, received, stalled and changed: while the cable is in, nobody dies."""
    play = run(keepalive, lateness=lateness)
    play.play(
        300.0, *[(at, play.probe if what == "probe" else getattr(play.kernel, what)) for at, what in happens]
    )
    assert play.dead_at is None
    assert play.kernel.state == ESTABLISHED


@settings(max_examples=300)
@given(
    keepalive=KEEPALIVES,
    lateness=st.floats(0.0, 0.12),
    happens=st.lists(
        st.tuples(TIMES, st.sampled_from(["write", "receive", "close_window", "open_window"])), max_size=30
    ),
    cut=TIMES,
)
def test_no_dead_peer_goes_unnoticed(
    keepalive: KeepAlive, lateness: float, happens: list[tuple[float, str]], cut: float
) -> None:
    """Whatever is written before and after the cut: T later, and a second, it is known."""
    play = run(keepalive, lateness=lateness)
    play.play(1000.0, (cut, play.kernel.cut), *[(at, getattr(play.kernel, what)) for at, what in happens])
    # What the kernel asks late, nobody leaves unanswered sooner: its timers are late, and an interval that is
    # longer than the idle time puts off the first question.
    first = max(keepalive.idle, keepalive.interval)
    assert_noticed(play, more=lateness * first + first - keepalive.idle + 0.02)

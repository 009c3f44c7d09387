"""Play connections as values: bytes, wishes and times go in; bytes, effects and outcomes come out. No
sockets.
"""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipyreconnect.errors import (
    AttemptFailed,
    ConnectionLost,
    NotConnected,
    OutboxFull,
    ReconnectError,
    ScriptFailed,
    SettingsError,
)
from ipyreconnect.lines.delivery import Delivery
from ipyreconnect.lines.search import Pattern, compile_pattern
from ipyreconnect.lines.transcript import Transcript
from ipyreconnect.profile.base import PROFILES, TLSMode
from ipyreconnect.protocol.connection import Connection
from ipyreconnect.protocol.kernel_rules import probing, user_timeout
from ipyreconnect.protocol.script import Step, parse_script
from ipyreconnect.protocol.state import Effect, Phase, State
from ipyreconnect.protocol.tcp_info import TcpInfo
from ipyreconnect.settings import TLS, Heartbeat, KeepAlive, Retry
from tests.playing import WALL, Play, awaited, found, lost
from tests.servers.certificates import Certificates, Pair

# -- connecting and retrying


def test_a_connection_comes_up_step_by_step() -> None:
    """Each step is a status of its own, and the log says at last that it is connected, and to whom."""
    play = Play().up(5.0)
    assert [(status.state, status.phase) for status in play.statuses] == [
        (State.CONNECTING, Phase.RESOLVING),
        (State.CONNECTING, Phase.DIALING),
        (State.CONNECTED, None),
    ]
    status = play.status
    assert (status.attempt, status.connection, status.connected_since) == (1, 1, WALL + 5.0)
    assert (status.peer, status.local, status.keepalive) == ("10.0.0.1:1", "10.0.0.2:40000", KeepAlive())
    assert play.log == ["* connected to server:1 at 10.0.0.1:1"]
    assert play.lines[0].time == WALL + 5.0


def test_a_failed_attempt_says_why_and_what_comes_next() -> None:
    """A refused attempt waits for 2 s, says so in the log with the number of the next try, and
    tries again.
    """
    play = Play()
    play.start(10.0)
    play.refused(10.5)
    assert play.state == "waiting"
    assert play.status.reason == "refused by server:1"
    assert play.status.retry_at == WALL + 12.5
    assert play.log == ["* refused by server:1; try 2 in 2.0 s"]
    play.until(12.499)
    assert play.state == "waiting"
    play.until(12.5)
    assert (play.state, play.status.attempt) == ("connecting", 2)
    status = play.status
    assert status.retry_at is None
    assert play.effects == [Effect.DIAL, Effect.DROP, Effect.WAIT, Effect.DIAL]


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 1.8), (0.5, 2.0), (0.999, 2.1996)])
def test_the_wait_is_blurred_by_a_tenth(chance: float, wait: float) -> None:
    """Chance makes the wait up to 10 % shorter or longer."""
    play = Play(chance=lambda: chance)
    play.start()
    play.refused(1.0)
    assert play.status.retry_at == pytest.approx(WALL + 1.0 + wait)


def test_waits_grow_until_a_connection_was_stable() -> None:
    """With a factor each wait is longer, up to the most; only a connection that lasted 10 s starts anew."""
    play = Play(retry=Retry(delay=2, factor=2, max=10, jitter=0))
    play.start()

    def wait_after(fail: Callable[[float], None], now: float) -> float:
        fail(now)
        assert play.status.retry_at is not None
        wait = play.status.retry_at - WALL - now
        play.until(now + wait + 0.001)
        return wait

    assert [wait_after(play.refused, now) for now in (0.0, 10.0, 20.0)] == [2, 4, 8]
    play.dialed(30.0)
    assert wait_after(play.lost, 39.9) == pytest.approx(10)
    play.dialed(60.0)
    assert wait_after(play.lost, 70.0) == 2
    play.dialed(80.0)
    assert wait_after(play.lost, 81.0) == 4


def test_attempts_are_numbered_from_the_last_stable_connection() -> None:
    """The tries that the log announces count on over connections that do not last, and anew after one that
    does.
    """
    play = Play(retry=Retry(jitter=0)).up()
    play.lost(1.0)
    assert play.log[-1] == "* reset by server:1; try 2 in 2.0 s"
    play.until(3.0)
    play.dialed(3.0)
    play.lost(13.0)
    assert play.log[-1] == "* reset by server:1; try 1 in 2.0 s"


def test_attempts_end_it() -> None:
    """After so many failures in a row the client gives up, and says so."""
    play = Play(retry=Retry(attempts=2, jitter=0))
    play.start()
    play.refused(0.0)
    play.until(2.0)
    play.refused(2.0)
    assert play.state == "stopped"
    assert play.status.reason == "refused by server:1; gave up after 2 tries"
    assert play.log[-1] == "* refused by server:1; gave up after 2 tries; stopped"
    assert play.connection.deadline == math.inf


def test_a_server_that_accepts_and_closes_is_not_called_for_ever() -> None:
    """Connections that do not last count as failures, so that attempts end them, too."""
    play = Play(retry=Retry(attempts=3, jitter=0))
    play.start()
    now = 0.0
    for _ in range(3):
        assert play.state == "connecting"
        play.dialed(now)
        assert play.state == "connected"
        play.eof(now)
        now += 2.0
        play.until(now)
    assert play.state == "stopped"
    assert play.status.connection == 3
    assert play.status.reason == "closed by server:1; gave up after 3 tries"


def test_the_last_loss_is_told_apart_from_the_tries_that_failed_since() -> None:
    """Why the connection was lost stays known while tries are refused, and until the next loss."""
    play = Play(retry=Retry(jitter=0))
    play.start()
    play.refused()
    assert play.status.loss == ""
    play.until(2.0)
    play.dialed(2.0)
    play.eof(3.0)
    play.until(5.0)
    play.refused(5.0)
    assert (play.status.loss, play.status.reason) == ("closed by server:1", "refused by server:1")
    play.until(7.0)
    play.dialed(7.0)
    assert (play.state, play.status.loss) == ("connected", "closed by server:1")
    play.lost(8.0)
    assert play.status.loss == "reset by server:1"
    play.stop(9.0)
    play.start(10.0)
    assert play.status.loss == ""


def test_attempts_do_not_end_what_was_stable() -> None:
    """The loss of a connection that lasted is no failed attempt: with one attempt it still tries
    once more.
    """
    play = Play(retry=Retry(attempts=1)).up()
    play.lost(100.0)
    assert play.state == "waiting"


def test_what_cannot_be_mended_stops_a_client_that_was_never_connected() -> None:
    """A final failure, such as a bad certificate, ends a new client, and is retried by one that was
    connected.
    """
    new, old = Play(), Play().up()
    new.start()
    new.refused(final=True)
    assert (new.state, new.status.reason) == ("stopped", "refused by server:1")
    old.lost(20.0)
    old.until(22.2)
    old.refused(22.2, final=True)
    assert old.state == "waiting"


def test_reconnecting_drops_a_live_connection() -> None:
    """Reconnect now: the connection is dropped and the next attempt begins at once, as the first of a row."""
    play = Play().up()
    play.connection.retry_now(3.0)
    play.settle(3.0)
    assert play.effects[-2:] == [Effect.DROP, Effect.DIAL]
    assert (play.state, play.status.attempt) == ("connecting", 1)
    assert play.log[-1] == "* connection to server:1 dropped to reconnect"


def test_reconnecting_cuts_the_wait_short() -> None:
    """Reconnect now, and connect, begin the next attempt without waiting longer."""
    for wish in (Connection.retry_now, Connection.start):
        play = Play()
        play.start()
        play.refused(1.0)
        wish(play.connection, 1.1)
        play.settle(1.1)
        assert (play.state, play.status.attempt) == ("connecting", 2)


# -- a change of network


def changed(play: Play, now: float) -> None:
    play.connection.network_changed(now)
    play.settle(now)


def test_a_change_of_network_makes_the_next_try_now() -> None:
    """A network that comes back cuts the wait short, however long it was to be."""
    play = Play(retry=Retry(delay=60.0))
    play.start()
    play.refused(1.0)
    changed(play, 5.0)
    assert (play.state, play.status.attempt, play.effects[-1]) == ("connecting", 2, Effect.DIAL)


def test_changes_in_a_burst_make_two_tries_a_second_and_the_last_one_counts() -> None:
    """The link comes back, then the address, then the route: none of it is ignored or acted upon later than
    after half a second, and nobody is stormed.
    """
    play = Play(retry=Retry(delay=60.0))
    play.start()
    play.refused(1.0)
    changed(play, 5.0)
    play.refused(5.1)
    for now in (5.2, 5.3, 5.4):
        changed(play, now)
        assert (play.state, play.status.retry_at) == ("waiting", WALL + 5.5)
    play.until(5.49)
    assert play.state == "waiting"
    play.until(5.5)
    assert (play.state, play.status.attempt) == ("connecting", 3)
    play.refused(5.6)
    assert play.connection.deadline == pytest.approx(65.6)
    changed(play, 5.7)
    assert play.status.retry_at == WALL + 6.0


@pytest.mark.parametrize(("chance", "at"), [(0.0, 5.0), (0.5, 5.25), (0.999, 5.4995)])
def test_many_clients_dial_at_moments_of_their_own(chance: float, at: float) -> None:
    """A thousand clients of a server that is back are spread over half a second, by chance."""
    play = Play(retry=Retry(delay=60.0, jitter=0), chance=lambda: chance)
    play.start()
    play.refused(1.0)
    play.connection.network_changed(5.0, 0.5)
    play.settle(5.0)
    play.until(at - 0.001)
    assert play.state == ("waiting" if chance else "connecting")
    play.until(at + 0.001)
    assert (play.state, play.status.attempt) == ("connecting", 2)


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 0.25), (0.5, 0.375), (0.999, 0.49975)])
def test_who_has_lost_the_address_tries_again_within_half_a_second(chance: float, wait: float) -> None:
    """Who changes from one network to another is connected over the new one, however long a wait would be;
    the wait after the next failure is as it was set.
    """
    play = Play(retry=Retry(delay=60.0, jitter=0), chance=lambda: chance).up()
    play.connection.address_gone("10.0.0.2:40000", 20.0)
    play.settle(20.0)
    assert (play.state, play.status.reason) == ("waiting", "our address 10.0.0.2:40000 is gone")
    assert play.status.retry_at == pytest.approx(WALL + 20.0 + wait)
    play.until(21.0)
    play.refused(21.0)
    assert play.status.retry_at == pytest.approx(WALL + 81.0)


def test_a_change_during_an_attempt_is_remembered() -> None:
    """An attempt that began before the network changed says nothing about the one there is now."""
    play = Play(retry=Retry(delay=60.0))
    play.start()
    changed(play, 3.0)
    play.refused(10.0)
    assert play.status.retry_at == WALL + 10.5
    play.until(11.0)
    play.refused(12.0)
    assert play.status.retry_at == WALL + 72.0


def test_a_change_never_makes_a_wait_longer() -> None:
    """A try that is due sooner than changes may ask for one stays where it is."""
    play = Play(retry=Retry(delay=0.2))
    play.start()
    play.refused(1.0)
    changed(play, 1.1)
    play.refused(1.2)
    changed(play, 1.3)
    assert play.status.retry_at == pytest.approx(WALL + 1.4)


def test_a_change_asks_a_live_peer() -> None:
    """A connection that is up is doubted, not dropped: its peer is asked at once."""
    play = Play().up()
    play.connection.looked(TcpInfo(), 1.0, 0)
    changed(play, 2.0)
    assert (play.state, play.connection.wants_look) == ("connected", 2.0)
    play.connection.looked(TcpInfo(last_data_recv=2000, last_ack_recv=2000), 2.0, 0)
    assert play.connection.socket_options == (probing(KeepAlive()), user_timeout(KeepAlive()))
    play.connection.looked(TcpInfo(last_data_recv=2500, last_ack_recv=5), 2.5, 0)
    assert play.connection.socket_options == (KeepAlive(), user_timeout(KeepAlive()))
    assert play.state == "connected"


# -- stopping in every state


def tls_settings(certificates: Certificates, mode: TLSMode = TLSMode.IMPLICIT, **tls: Any) -> dict[str, Any]:
    return {
        "tls": mode,
        "context": TLS(**({"cafile": certificates.cafile} | tls)).context(),
        "server_name": "localhost",
    }


def in_every_state(certificates: Certificates) -> dict[str, Play]:
    """Return a play in each state and phase."""
    plays = {
        "stopped": Play(),
        "resolving": Play(),
        "dialing": Play(),
        "tls": Play(**tls_settings(certificates)),
        "starttls": Play(profile="imap", **tls_settings(certificates, TLSMode.STARTTLS)),
        "script": Play(script=parse_script("hello\n< there")),
        "function": Play(has_function=True),
        "connected": Play(),
        "full": Play(),
        "waiting": Play(),
        "stopping": Play(),
    }
    for name, play in plays.items():
        if name == "stopped":
            continue
        play.start()
        if name == "dialing":
            play.connection.progress(Phase.DIALING, 0.0)
        elif name == "waiting":
            play.refused()
        elif name != "resolving":
            play.dialed()
        if name in ("full", "stopping"):
            play.stuck = True
            play.send(b"x" * 4_000_000)
        if name == "stopping":
            play.stop(0.0)
    phases = {"tls": Phase.TLS, "starttls": Phase.STARTTLS, "script": Phase.SCRIPT, "function": Phase.SCRIPT}
    for name, phase in phases.items():
        assert plays[name].status.phase is phase
    return plays


def test_stop_ends_every_state(certificates: Certificates) -> None:
    """Whatever it is doing, it is stopped a fifth of a second later, with nothing left to do or to send."""
    for name, play in in_every_state(certificates).items():
        play.stop(1.0)
        at_once = name not in ("connected", "full", "stopping")
        assert play.state == ("stopped" if at_once else "stopping"), name
        play.until(1.2)
        assert play.state == "stopped", name
        assert play.connection.deadline == math.inf, name
        assert not play.connection.outgoing, name
        status = play.status
        assert (status.retry_at, status.phase, status.connected_since) == (None, None, None), name
        assert (status.stopped_at is None) == (name == "stopped"), name
        ends = [effect for effect in play.effects if effect is Effect.END]
        assert len(ends) == (name != "stopped"), name
        play.stop(2.0)
        assert play.effects.count(Effect.END) == len(ends), name


def test_a_stop_is_in_the_log_once(certificates: Certificates) -> None:
    """Each stop of a running client leaves one line in the log."""
    for name, play in in_every_state(certificates).items():
        play.stop(1.0)
        play.stop(1.0)
        play.until(1.2)
        stopped = [line for line in play.log if line.startswith("* stopped")]
        assert len(stopped) == (name != "stopped"), name


def test_late_news_do_nothing_to_a_stopped_client(certificates: Certificates) -> None:
    """What the network, a timer or a script's thread still brings after a stop changes nothing."""
    for play in in_every_state(certificates).values():
        play.stop(1.0)
        play.until(1.2)
        status, effects, log = play.status, list(play.effects), play.log
        connection = play.connection
        connection.progress(Phase.DIALING, 2.0)
        connection.dialed("10.0.0.1:1", "10.0.0.2:2", KeepAlive(), 2.0)
        connection.fail(ConnectionLost("late"), 2.0)
        connection.received_eof(2.0)
        connection.script_ended(1, None, 2.0)
        connection.retry_now(2.0)
        connection.network_changed(2.0)
        play.at(100.0)
        assert (play.status, play.effects, play.log) == (status, effects, log)


def test_a_stop_waits_for_the_last_acknowledgement() -> None:
    """A line sent just before the stop is acknowledged when the peer is quick enough: nothing is reported."""
    play = Play().up()
    delivery = play.send(b"bye", 1.0)
    play.stop(1.0)
    assert play.effects[-1] is Effect.FINISH
    play.until(1.05)
    assert play.state == "stopping"
    play.acknowledged = 5
    play.until(1.06)
    assert (play.state, delivery.status) == ("stopped", "acknowledged")
    assert play.effects[-2:] == [Effect.CLOSE, Effect.END]
    assert play.log[-1] == "* stopped"


def test_a_stop_reports_what_was_never_acknowledged() -> None:
    """After a fifth of a second a stop says how much the peer did not acknowledge, and which
    lines those are.
    """
    play = Play().up()
    first, second = play.send(b"one", 1.0), play.send(b"second", 1.0)
    play.stop(1.0)
    play.acknowledged = 5
    play.until(1.2)
    assert (first.status, second.status) == ("acknowledged", "unconfirmed")
    assert play.connection.unconfirmed == (second,)
    assert play.log[-1] == "* stopped; 1 line (6 bytes) never acknowledged"


def test_connecting_again_goes_on_with_numbers_and_log() -> None:
    """A client that is connected anew after a stop keeps its log, its line numbers and its count of
    connections.
    """
    play = Play().up()
    play.stop(1.0)
    play.until(1.2)
    end = play.connection.transcript.end
    play.up(5.0)
    assert play.lines[end].number == end
    assert play.status.connection == 2
    assert (play.status.attempt, play.status.reason) == (1, "")


def test_a_second_connect_changes_nothing(certificates: Certificates) -> None:
    """Connecting what is connected, being connected or stopping leaves it as it is."""
    for name, play in in_every_state(certificates).items():
        if name not in ("stopped", "waiting"):
            state, effects = play.state, list(play.effects)
            play.start(0.1)
            assert (play.state, play.effects) == (state, effects), name


# -- sending


def test_a_line_is_queued_sent_and_acknowledged_in_turn() -> None:
    """A line is sent when its last byte is with the kernel, and acknowledged when the peer has that byte."""
    play = Play().up()
    one, two = play.send(b"one", takes=0), play.send(b"two", takes=0)
    assert (one.status, two.status) == ("queued", "queued")
    play.settle(0.0, takes=5)
    assert (one.status, two.status) == ("sent", "queued")
    play.acknowledged = 4
    play.until(1.0)
    assert one.status == "sent"
    play.acknowledged = 5
    play.until(2.0)
    assert (one.status, two.status) == ("acknowledged", "sent")
    assert play.wire == b"one\r\ntwo\r\n"


def test_a_line_that_leaves_late_is_acknowledged_all_the_same() -> None:
    """A line that the kernel takes long after it was sent, as the peer was slow, is still looked after."""
    play = Play().up()
    delivery = play.send(b"x" * 1_000_000, takes=1000)
    play.stuck = True
    play.until(60.0)
    assert delivery.status == "queued"
    play.stuck = False
    play.settle(60.0)
    assert delivery.status == "sent"
    play.acknowledged = 1_000_002
    play.until(60.6)
    assert delivery.status == "acknowledged"


def test_looks_at_acknowledgements_get_rarer_and_end() -> None:
    """A line that nobody acknowledges is looked at twice a second at most; nothing is, once all is
    acknowledged.
    """
    play = Play().up()
    play.until(100.0)
    quiet = play.connection.deadline
    play.send(b"x", 100.0)
    looks = []
    while (deadline := play.connection.deadline) < 110.0:
        looks.append(deadline)
        play.at(deadline)
    assert 10 < len(looks) < 40
    play.acknowledged = 3
    play.until(120.0)
    later = play.connection.deadline
    assert later - 120.0 >= quiet - 100.0 - 1.0


def test_where_nobody_tells_of_acknowledgements_memory_stays_bounded() -> None:
    """On a system that does not tell what was acknowledged, sent lines are forgotten but for the last."""
    play = Play().up()
    play.acknowledged = None
    for number in range(25_000):
        play.send(b"%d" % number)
        if number % 1000 == 0:
            play.until(number / 1000)
    play.until(30.0)
    play.lost(31.0)
    assert len(play.connection.unconfirmed) == 10_000
    assert play.connection.unconfirmed[-1].data == b"24999"
    said = "10000 lines (50000 bytes) of which this system does not tell what was acknowledged"
    assert play.log[-1] == f"* reset by server:1; {said}; try 1 in 2.0 s"


def test_what_was_not_acknowledged_is_unconfirmed_after_a_loss() -> None:
    """After a loss the lines that the peer never acknowledged are known and counted, and nothing is sent
    twice.
    """
    play = Play().up()
    lines = [play.send(line) for line in (b"one", b"two")] + [play.send(b"three", takes=0)]
    play.acknowledged = 5
    play.lost(3.0)
    assert [line.status for line in lines] == ["acknowledged", "unconfirmed", "unconfirmed"]
    assert play.connection.unconfirmed == tuple(lines[1:])
    assert play.log[-1] == "* reset by server:1; 2 lines (8 bytes) never acknowledged; try 2 in 2.0 s"
    play.until(5.5)
    play.dialed(5.5)
    assert play.wire == b""


def test_empty_bytes_are_sent_at_once(certificates: Certificates) -> None:
    """Bytes that are none leave nothing behind that would wait for ever, neither plain nor in TLS."""
    secure = Play(**tls_settings(certificates))
    handshake(secure, certificates.good())
    for play in (Play().up(), secure):
        delivery = Delivery(b"")
        play.connection.send(b"", b"", delivery, 1.0)
        play.settle(1.0)
        assert delivery.status == "sent"


def test_a_full_outbox_says_so() -> None:
    """Beyond 4 MiB or 10 000 lines towards a peer that does not read, nothing more is taken, and
    it says why.
    """
    by_size, by_lines = Play().up(), Play().up()
    by_size.send(b"x" * ((4 << 20) - 2), takes=0)
    with pytest.raises(
        OutboxFull, match=r"^1 line \(4194304 bytes\) waits to be sent to server:1; the peer "
    ):
        by_size.send(b"y", takes=0)
    for _ in range(10_000):
        by_lines.send(b"y", takes=0)
    with pytest.raises(OutboxFull, match=r"^10000 lines \(30000 bytes\) wait"):
        by_lines.send(b"y", takes=0)
    end = by_lines.connection.transcript.end
    by_lines.settle(0.0)
    by_lines.send(b"again")
    assert by_lines.connection.transcript.end == end + 1


@pytest.mark.parametrize(("size", "shown"), [(400, b"****"), (40, b"*" * 400)])
def test_however_a_line_is_masked_it_waits_as_it_is_sent(size: int, shown: bytes) -> None:
    """The outbox holds as many bytes as it says, also of lines that the log shows shorter or longer."""
    play, wire = Play(queue_bytes=1000).up(), b"x" * size
    for _ in range(1000 // size):
        play.connection.send(wire, shown, Delivery(shown), 0.0)
    with pytest.raises(OutboxFull, match=rf"\({1000 // size * size} bytes\) wait to be sent"):
        play.connection.send(wire, shown, Delivery(shown), 0.0)
    assert play.connection.backlog == (1000 // size, 1000 // size * size)
    play.settle(0.0)
    assert play.connection.backlog == (0, 0)


def test_a_line_that_is_longer_than_the_outbox_is_refused_whole() -> None:
    """Of what may never wait as a whole nothing is sent, and the user is told what to do."""
    play = Play().up()
    with pytest.raises(OutboxFull, match=r"^4194305 bytes at once .* in pieces, or .* queue_limit$"):
        play.send(b"x" * ((4 << 20) - 1))
    play.send(b"x" * ((4 << 20) - 2))
    assert len(play.wire) == 4 << 20


def test_small_lines_leave_together_and_in_order() -> None:
    """Many small lines are joined for the kernel, and whatever it takes at a time, they stay whole and in
    order.
    """
    play = Play().up()
    for number in range(1000):
        play.send(b"%d" % number, takes=0)
    play.send(b"x" * 50_000, takes=0)
    play.send(b"end", takes=0)
    while play.connection.outgoing:
        play.settle(0.0, takes=777)
    expected = b"".join(b"%d\r\n" % number for number in range(1000)) + b"x" * 50_000 + b"\r\nend\r\n"
    assert play.wire == expected


def not_connected(certificates: Certificates) -> dict[str, str]:
    texts = {}
    for name, play in in_every_state(certificates).items():
        if name in ("connected", "full"):
            continue
        with pytest.raises(NotConnected) as raised:
            play.send(b"x", 0.5)
        texts[name] = str(raised.value)
    return texts


def test_sending_while_not_connected_says_what_it_is_doing(certificates: Certificates) -> None:
    """Not connected: the message names the state, the phase and when the next try is."""
    assert not_connected(certificates) == {
        "stopped": "not connected to server:1: stopped; connect first",
        "resolving": "not connected to server:1 yet: connecting (resolving), try 1",
        "dialing": "not connected to server:1 yet: connecting (dialing), try 1",
        "tls": "not connected to server:1 yet: connecting (tls), try 1",
        "starttls": "not connected to server:1 yet: connecting (starttls), try 1",
        "script": "not connected to server:1 yet: connecting (script), try 1",
        "function": "not connected to server:1 yet: connecting (script), try 1",
        "waiting": "not connected to server:1: refused by server:1; waiting for try 2 in 1.5 s",
        "stopping": "not connected to server:1: stopping",
    }


def test_a_connection_that_is_lost_is_not_one_that_never_was() -> None:
    """While it is dialed again, a send says nothing of "yet"."""
    play = Play().up()
    play.lost(20.0)
    play.until(22.0)
    with pytest.raises(NotConnected, match=r"^not connected to server:1: connecting \(resolving\), try 1$"):
        play.send(b"x")


# -- the queue


def test_a_queued_line_leaves_when_the_connection_is_back() -> None:
    """A line queued while offline is sent after the next connection is made, in order, with its
    expectation.
    """
    play = Play()
    play.start()
    play.refused()
    expectation = awaited("^answer")
    first, second = play.send(b"one", queue=True), play.send(b"two", queue=True, expect=expectation)
    assert (first.status, first.number) == ("queued", None)
    play.until(2.2)
    play.dialed(2.2)
    assert play.wire == b"one\r\ntwo\r\n"
    assert (first.status, second.status) == ("sent", "sent")
    assert play.log[-2:] == ["> one", "> two"]
    play.receive(b"answer\r\n")
    assert found(expectation).line.data == b"answer"


def test_queued_lines_wait_for_the_script() -> None:
    """A queued line leaves only when the on-connect script has run."""
    play = Play(script=parse_script("login\n< ^ok"))
    play.start()
    play.send(b"queued", queue=True)
    play.dialed()
    assert play.wire == b"login\r\n"
    play.receive(b"ok\r\n")
    assert play.wire == b"login\r\nqueued\r\n"


def test_a_queued_line_expires_loudly() -> None:
    """After 60 s offline a queued line is given up: unconfirmed, in the log, and whoever awaits its answer is
    told.
    """
    play = Play(retry=Retry(delay=100, jitter=0))
    play.start()
    play.refused(1.0)
    expectation = awaited("x")
    delivery = play.send(b"old", 2.0, queue=True, expect=expectation)
    young = play.send(b"young", 30.0, queue=True)
    play.until(61.999)
    assert delivery.status == "queued"
    play.until(62.0)
    assert (delivery.status, young.status) == ("unconfirmed", "queued")
    assert lost(expectation) == "not sent: waited 60 s for a connection"
    assert play.log[-1] == "* not sent, waited 60 s for a connection: old"


def test_a_stop_gives_the_queue_up() -> None:
    """What was queued when the client is stopped is never sent, and reported."""
    play = Play()
    play.start()
    delivery = play.send(b"queued", queue=True)
    play.stop(1.0)
    assert delivery.status == "unconfirmed"
    assert play.log[-1] == "* not sent, the client was stopped: queued"
    play.up(2.0)
    assert play.wire == b""


def test_a_forgotten_expectation_of_a_queued_line_is_never_met() -> None:
    """Whose time is over before the queued line leaves takes no line away from those who come later."""
    play = Play()
    play.start()
    expectation = awaited("answer")
    play.send(b"queued", queue=True, expect=expectation)
    play.connection.forget(expectation)
    play.dialed()
    assert play.wire == b"queued\r\n"
    play.receive(b"answer\r\n")
    assert expectation.outcome is None
    assert found(play.expect("answer")).line.data == b"answer"


def test_the_queue_is_bounded() -> None:
    """Offline, 10 000 lines or 4 MiB are kept; one more is refused."""
    play = Play()
    play.start()
    for _ in range(10_000):
        play.send(b"x", queue=True)
    with pytest.raises(OutboxFull, match="no connection yet"):
        play.send(b"x", queue=True)


@pytest.mark.parametrize("state", ["stopped", "stopping"])
def test_nothing_is_queued_for_a_client_that_is_stopped(certificates: Certificates, state: str) -> None:
    """There is no connection to wait for when nobody wants one."""
    play = in_every_state(certificates)[state]
    with pytest.raises(NotConnected):
        play.send(b"x", queue=True)


# -- expecting


def test_an_answer_that_came_before_the_call_is_found() -> None:
    """Expect looks from the last send on, so an answer that was quicker than the call is not missed."""
    play = Play().up()
    play.receive(b"old answer\r\n")
    play.send(b"ask")
    play.receive(b"* note\r\nthe answer\r\n")
    match = found(play.expect("answer"))
    assert match.line.data == b"the answer"
    assert [line.text for line in match.lines] == ["* note", "the answer"]


def test_the_next_expect_looks_behind_the_last_match() -> None:
    """Of two matching lines the second call gives the second, whether or not they came together."""
    play = Play().up()
    play.receive(b"a 1\r\na 2\r\n")
    assert [found(play.expect("^a")).text for _ in range(2)] == ["a 1", "a 2"]
    third = play.expect("^a")
    assert third.outcome is None
    play.receive(b"a 3\r\n")
    assert found(third).text == "a 3"


def test_an_expectation_is_in_place_before_its_line_leaves() -> None:
    """With send and expect in one, nothing that was received before counts as the answer."""
    play = Play().up()
    play.receive(b"ok early\r\n")
    expectation = awaited("^ok")
    play.send(b"ask", expect=expectation)
    assert expectation.outcome is None
    play.receive(b"ok late\r\n")
    assert found(expectation).text == "ok late"


def test_a_line_in_pieces_is_one_line() -> None:
    """A line matches when it is whole, wherever the network cut it."""
    play = Play().up()
    expectation = play.expect("^one two$")
    for piece in (b"one", b" tw", b"o\r"):
        play.receive(piece)
        assert expectation.outcome is None
    play.receive(b"\n")
    assert found(expectation).line.data == b"one two"


@pytest.mark.parametrize("pattern", ["caf(é)", b"caf(\xc3\xa9)", re.compile("CAF(É)", re.IGNORECASE)])
def test_a_pattern_may_be_text_bytes_or_compiled(pattern: Pattern) -> None:
    """Text patterns look at the text, bytes at the bytes, compiled ones as they were compiled."""
    play = Play().up()
    expectation = play.expect(pattern)
    play.receive("a café\r\n".encode())
    assert found(expectation)[1] in ("é", "é".encode())


def test_a_bad_pattern_is_one_clear_line() -> None:
    """What is no regular expression is refused in one line that repeats it."""
    with pytest.raises(SettingsError, match=r"^not a regular expression: '\(' \(.*\)$"):
        compile_pattern("(")


def test_expectations_of_many_are_all_met() -> None:
    """Each of those who wait for the same line gets it."""
    play = Play().up()
    expectations = [play.expect("x") for _ in range(3)]
    play.receive(b"x\r\n")
    assert len({found(expectation).line.number for expectation in expectations}) == 1


def test_a_forgotten_expectation_takes_nothing() -> None:
    """Whose time is over takes no line away from those who come later."""
    play = Play().up()
    expectation = play.expect("x")
    play.connection.forget(expectation)
    play.receive(b"x\r\n")
    assert expectation.outcome is None
    assert found(play.expect("x")).text == "x"


def test_an_answer_that_ends_with_its_connection_is_found() -> None:
    """Who answers and closes, without a line end (finger, whois), has answered; others are told the loss."""
    play = Play().up()
    expectations = [play.expect("^OK"), play.expect("more")]
    play.receive(b"OK answer")
    assert expectations[0].outcome is None
    play.eof(1.0)
    match = found(expectations[0])
    assert (match.text, match.line.truncated) == ("OK answer", True)
    assert lost(expectations[1]) == "closed by server:1"


def test_a_loss_tells_everybody_who_waits() -> None:
    """At the moment of the loss each expectation is over, with its reason."""
    play = Play().up()
    expectations = [play.expect("x"), play.expect("y")]
    play.lost(1.0)
    assert [lost(each) for each in expectations] == ["reset by server:1"] * 2
    assert expectations[0].outcome is not expectations[1].outcome


def test_an_unanswered_send_is_told_of_its_loss_once() -> None:
    """Whoever asks for the answer only after the loss is told once that it will not come, then waits for new
    lines.
    """
    play = Play().up()
    play.send(b"ask")
    play.lost(1.0)
    play.until(3.5)
    play.dialed(3.5)
    told = lost(play.expect("answer", 4.0))
    assert told == "reset by server:1, before a line matched; expect again to look at what has come since"
    again = play.expect("hello", 5.0)
    assert again.outcome is None
    play.receive(b"hello\r\n", 6.0)
    assert found(again).text == "hello"


def test_who_has_queued_another_line_expects_its_answer() -> None:
    """With the next line the loss of the one before is past: neither that nor its late answer is found."""
    play = Play().up()
    play.send(b"ask")
    play.receive(b"answer to ask\r\n")
    play.lost(1.0)
    play.send(b"ask more", 2.0, queue=True)
    expectation = play.expect("answer", 2.5)
    assert expectation.outcome is None
    play.until(3.5)
    play.dialed(3.5)
    assert play.wire == b"ask more\r\n"
    play.receive(b"answer to more\r\n", 4.0)
    assert found(expectation).text == "answer to more"


def test_an_answer_that_came_before_the_loss_is_found_after_it() -> None:
    """The answer to the last line is found even when its connection is lost by then."""
    play = Play(script=parse_script("login\n< ^in"))
    play.start()
    play.dialed()
    play.receive(b"in\r\n")
    play.send(b"ask")
    play.receive(b"answer\r\n")
    play.lost(1.0)
    play.until(3.5)
    play.dialed(3.5)
    play.receive(b"in again\r\n", 4.0)
    match = found(play.expect("answer", 5.0))
    assert [line.text for line in match.lines] == ["answer"]


def test_a_loss_that_was_told_is_not_told_again() -> None:
    """Whoever awaited the answer when the connection was lost knows it; the next call waits for new lines."""
    play = Play().up()
    expectation = awaited("answer")
    play.send(b"ask", expect=expectation)
    play.lost(1.0)
    assert lost(expectation)
    assert play.expect("hello", 2.0).outcome is None


def test_another_s_expectation_does_not_hide_the_loss() -> None:
    """Somebody else who waits for something since long is no reason to keep the loss from who sent the last
    line.
    """
    play = Play().up()
    other = play.expect("news")
    play.send(b"ask")
    play.lost(1.0)
    assert lost(other)
    assert lost(play.expect("answer", 2.0))


def test_a_loss_is_nothing_to_those_who_sent_nothing() -> None:
    """Without an unanswered line, expecting after a loss, a refusal or a new start waits for
    lines to come.
    """
    play = Play().up()
    play.send(b"ask")
    play.receive(b"answer\r\n")
    found(play.expect("answer"))
    play.lost(1.0)
    assert play.expect("x", 2.0).outcome is None
    play.stop(3.0)
    play.start(4.0)
    play.refused(4.0)
    assert play.expect("x", 5.0).outcome is None


def test_expecting_from_a_stopped_client_fails_at_once() -> None:
    """Nothing will come any more: who expects something of a stopped client is told so."""
    play = Play()
    assert isinstance(play.expect("x").outcome, NotConnected)
    play.up()
    play.receive(b"x\r\n")
    play.stop(1.0)
    play.until(1.2)
    assert found(play.expect("x")).text == "x"
    outcome = play.expect("x").outcome
    assert isinstance(outcome, NotConnected)
    assert str(outcome) == "not connected to server:1: stopped; connect first"


def test_a_stop_tells_those_who_wait() -> None:
    """Whoever waits for a line when the client is stopped is told so."""
    play = Play().up()
    expectation = play.expect("x")
    play.stop(1.0)
    play.until(1.2)
    assert lost(expectation) == "stopped"


# -- what it says by itself


def test_a_reply_answers_without_moving_the_user_s_place() -> None:
    """PING is answered with what it carried; the answer to the user's own line is still found."""
    play = Play(replies=((rb"^PING (.*)", rb"PONG \1"),)).up()
    play.send(b"ask")
    play.receive(b"answer\r\nPING :42\r\nPINGS\r\n")
    assert play.wire == b"ask\r\nPONG :42\r\n"
    assert "> PONG :42" in play.log
    assert found(play.expect("answer")).text == "answer"


@pytest.mark.parametrize("together", [True, False])
def test_each_line_is_answered_in_turn_by_the_first_rule_that_is_for_it(together: bool) -> None:
    """However the network cuts the questions, the answers come in their order, and one for each."""
    play = Play(replies=((rb"PASS", rb"secret"), (rb"USER", rb"me"), (rb"\?", rb"what"))).up()
    lines = [b"USER?\r\n", b"PASS?\r\n", b"AGE?\r\n"]
    for piece in [b"".join(lines)] if together else lines:
        play.receive(piece)
    assert play.wire == b"me\r\nsecret\r\nwhat\r\n"
    play.connection.add_reply(re.compile(rb"^AGE"), b"42")
    play.receive(b"AGE?\r\n")
    assert play.wire.endswith(b"what\r\n42\r\n")


@pytest.mark.parametrize("rest", [b"a\rQUIT", b"a\nQUIT", b"$7\r\na\r\nQUIT"])
def test_a_peer_cannot_make_a_reply_two_commands(rest: bytes) -> None:
    """A reply that repeats a line break of the peer's is not sent, and the log says why, once."""
    play = Play(replies=((rb"(?s)^PING (.*)", rb"PONG \1"),), framing="raw").up()
    for number in range(3):
        play.receive(b"PING " + rest, float(number))
    assert play.wire == b""
    why = (
        r"""* the reply to '(?s)^PING (.*)' has a line break that came with server:1's line: it is not sent"""
    )
    assert [line for line in play.log if line.startswith("*")][1:] == [why]
    play.receive(b"PING b")
    assert play.wire == b"PONG b\r\n"


def test_replies_do_not_fill_the_outbox_for_ever() -> None:
    """A peer that asks without reading gets no more answers than the outbox holds; the log says so."""
    play = Play(replies=((rb"^PING", rb"PONG"),), queue_lines=10).up()
    for _ in range(20):
        play.receive(b"PING\r\n", takes=0)
    assert play.log.count("> PONG") == 10
    said = "* 10 lines (60 bytes) wait to be sent to server:1; replies and heartbeats are not sent meanwhile"
    assert [line for line in play.log if line.startswith("* 10 lines")] == [said]


def test_a_heartbeat_beats() -> None:
    """A heartbeat is sent every so many seconds, with the line end, and moves nobody's place."""
    play = Play(heartbeat=Heartbeat("NOOP", every=10.0)).up()
    play.send(b"ask", 1.0)
    for now in (10.9, 11.1, 21.1):
        play.receive(b"x\r\n", now - 0.05)
        play.until(now)
    assert play.wire == b"ask\r\nNOOP\r\nNOOP\r\n"
    assert found(play.expect("x")).line.number < play.connection.transcript.end


def sent_at(play: Play, end: float, line: str = "NOOP") -> list[float]:
    """Let the time pass, and return when that line was sent."""
    play.until(end)
    return [each.time - WALL for each in play.lines if each.direction == ">" and each.text == line]


def test_no_heartbeat_is_sent_within_its_period_after_any_other_line() -> None:
    """What the user sends, and what is replied by itself, keeps the connection as well."""
    play = Play(replies=((rb"^PING", b"PONG"),), heartbeat=Heartbeat("NOOP", every=10.0)).up()
    play.send(b"one", 1.0)
    play.send(b"two", 4.0)
    assert sent_at(play, 13.99) == []
    assert sent_at(play, 25.0) == [14.0, 24.0]
    play.receive(b"PING\r\n", 33.5)
    assert sent_at(play, 54.0) == [14.0, 24.0, 43.5, 53.5]


def test_a_heartbeat_of_bytes_is_sent_whatever_else_is() -> None:
    """Its writer knows when: IDLE has to be renewed, though other lines leave."""
    play = Play(heartbeat=Heartbeat(b"DONE\r\nb IDLE\r\n", every=10.0)).up()
    for now in (9.0, 19.0, 29.0):
        play.until(now)
        play.send(b"other", now)
    assert sent_at(play, 30.0, "DONE\r\nb IDLE") == [10.0, 20.0, 30.0]


@pytest.mark.parametrize("answered", [True, False, "^PONG", b"^PONG"])
def test_a_peer_that_answers_no_heartbeat_is_kept(answered: bool | str | bytes) -> None:
    """No silence says anything before one was answered: who sends nothing ever is no program that hangs."""
    play = Play(heartbeat=Heartbeat("#keepalive", every=10.0, answered=answered)).up()
    assert len(sent_at(play, 1000.0, "#keepalive")) == 100
    assert (play.state, play.connection.health.verdict) == ("connected", "alive")
    assert not play.connection.heartbeat_answered


def test_a_peer_that_has_answered_one_and_then_none_hangs() -> None:
    """After two periods without a word it is lost, and from the beginning of the next connection on."""
    play = Play(heartbeat=Heartbeat("NOOP", every=10.0), retry=Retry(jitter=0)).up()
    play.until(10.0)
    play.receive(b"OK\r\n", 10.5)
    assert play.connection.heartbeat_answered
    play.until(30.49)
    assert play.state == "connected"
    play.until(30.5)
    hangs = "server:1 has sent nothing for 20 s, in spite of heartbeats: its program hangs"
    assert (play.state, play.status.reason) == ("waiting", hangs)
    play.until(32.5)
    play.dialed(32.5)
    play.until(52.49)
    assert play.state == "connected"
    play.until(52.5)
    assert (play.state, play.status.reason) == ("waiting", hangs)


def test_an_answer_just_before_the_end_counts_for_the_next_connection() -> None:
    """It is the address that has answered, not the connection, and nobody need have looked meanwhile."""
    play = Play(heartbeat=Heartbeat("NOOP", every=10.0), retry=Retry(jitter=0)).up()
    play.until(10.0)
    play.receive(b"OK\r\n", 10.5)
    play.lost(10.6)
    assert play.connection.heartbeat_answered
    play.until(12.6)
    play.dialed(12.6)
    play.until(32.6)
    assert play.state == "waiting"


def test_what_came_before_the_heartbeat_is_no_answer_to_it() -> None:
    """A greeting answers nothing, nor does what is received in the moment before the first heartbeat."""
    play = Play(heartbeat=Heartbeat("NOOP", every=10.0)).up()
    play.receive(b"* OK\r\n", 1.0)
    play.receive(b"* 1 EXISTS\r\n", 10.0)
    play.until(500.0)
    assert (play.state, play.connection.heartbeat_answered) == ("connected", False)


def test_silence_of_what_is_never_answered_says_nothing() -> None:
    """With answered=False even who was heard after each heartbeat may fall silent."""
    play = Play(heartbeat=Heartbeat("#keepalive", every=10.0, answered=False)).up()
    for now in (11.0, 21.0, 31.0):
        play.until(now)
        play.receive(b"a line of the feed\r\n", now)
    play.until(1000.0)
    assert (play.state, play.connection.heartbeat_answered) == ("connected", False)


@pytest.mark.parametrize(
    ("answered", "encoding", "answer"),
    [
        (r"^PONG \w+$", None, b"PONG gr\xc3\xbcn\r\n"),
        (r"^pong ü", "iso-8859-1", b"pong \xfc\r\n"),
        (rb"^\+?PONG", None, b"+PONG\r\n"),
        (re.compile(r"^pong$", re.IGNORECASE), None, b"Pong\r\n"),
    ],
)
def test_only_what_looks_like_its_answer_is_one(
    answered: str | bytes | re.Pattern[str], encoding: str | None, answer: bytes
) -> None:
    """Where an expression says what answers a heartbeat, a feed's lines say nothing; its answer does, in
    however many pieces it comes, and whatever comes with it.
    """
    for cut in range(len(answer)):
        play = Play(heartbeat=Heartbeat("ping", every=10.0, answered=answered), encoding=encoding).up()
        for now in (11.0, 21.0):
            play.until(now)
            play.receive(b"the feed says PONG\r\n" * 3, now)
        play.until(200.0)
        assert (play.state, play.connection.heartbeat_answered) == ("connected", False)
        play.receive(b"feed\r\n" + answer[:cut], 201.0)
        play.receive(answer[cut:] + b"feed\r\n", 201.1)
        assert play.connection.heartbeat_answered
        play.until(221.0)
        assert play.state == "connected"
        play.until(221.2)
        assert play.state == "waiting"


@pytest.mark.parametrize(
    ("profile", "other", "answer"),
    [
        ("nats", b"MSG a 1 5\r\nPONG!\r\n", b"PONG\r\n"),
        ("redis", b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\n+PONG\r\n", b"+PONG\r\n"),
        ("irc", b":irc.test 451 * PING :You have not registered\r\n", b":irc.test PONG irc.test :x\r\n"),
        ("gpsd", b'{"class":"TPV","mode":1}\r\n', b'{"class":"VERSION","release":"3.22"}\r\n'),
        ("pop3", b"* no status\r\n", b"-ERR Unknown command.\r\n"),
        ("nntp", b"no status\r\n", b"401 MODE-READER\r\n"),
    ],
)
def test_a_profile_knows_the_answer_to_its_heartbeat(profile: str, other: bytes, answer: bytes) -> None:
    """What else the server sends does not answer the protocol's own heartbeat, but one of the user's."""
    own = PROFILES[profile].heartbeat
    assert own is not None
    for line, expected in ((own, False), ("anything", True)):
        play = Play(profile=profile, heartbeat=Heartbeat(line, every=10.0)).up()
        play.until(10.0)
        play.receive(other, 10.1)
        assert play.connection.heartbeat_answered is expected
        play.receive(answer, 10.2)
        assert play.connection.heartbeat_answered


def test_a_heartbeat_can_be_changed_on_the_live_connection() -> None:
    """It ends, begins, and is another one at once: the first a period after that."""
    play = Play().up()
    play.connection.set_heartbeat(Heartbeat("one", every=10.0), 100.0)
    assert sent_at(play, 125.0, "one") == [110.0, 120.0]
    play.connection.set_heartbeat(Heartbeat("two", every=2.0), 125.0)
    assert sent_at(play, 129.5, "two") == [127.0, 129.0]
    play.connection.set_heartbeat(Heartbeat("two", every=2.0), 129.5)  # the same: nothing is put off
    assert sent_at(play, 131.5, "two") == [127.0, 129.0, 131.0]
    play.connection.set_heartbeat(None, 131.5)
    assert sent_at(play, 500.0, "two") == [127.0, 129.0, 131.0]
    assert sent_at(play, 500.0, "one") == [110.0, 120.0]
    assert play.state == "connected"


def test_a_heartbeat_that_is_taken_away_judges_nobody() -> None:
    """A peer that owes an answer is not lost for it any more; with another line it begins anew."""
    play = Play(heartbeat=Heartbeat("NOOP", every=10.0)).up()
    play.until(10.0)
    play.receive(b"OK\r\n", 10.5)
    play.until(29.0)
    play.connection.set_heartbeat(None, 29.0)
    play.until(100.0)
    play.connection.set_heartbeat(Heartbeat("other", every=10.0), 100.0)
    play.until(200.0)
    assert (play.state, play.connection.heartbeat_answered) == ("connected", False)


def test_another_period_alone_needs_no_other_answer() -> None:
    """The server has shown that it answers this line: only the seconds change."""
    play = Play(heartbeat=Heartbeat("NOOP", every=100.0)).up()
    play.until(100.0)
    play.receive(b"OK\r\n", 100.5)
    play.connection.set_heartbeat(Heartbeat("NOOP", every=5.0), 101.0)
    assert play.connection.heartbeat_answered
    play.until(110.99)
    assert play.state == "connected"
    play.until(111.0)
    assert play.state == "waiting"


def test_a_heartbeat_that_is_set_while_there_is_no_connection_waits_for_one() -> None:
    """It begins with the next connection."""
    play = Play(retry=Retry(jitter=0)).up()
    play.lost(20.0)
    play.connection.set_heartbeat(Heartbeat("NOOP", every=10.0), 20.5)
    play.until(22.0)
    play.dialed(22.0)
    assert sent_at(play, 43.0) == [32.0, 42.0]


class Answering:
    """A peer that answers each heartbeat after `delay` seconds, until its program hangs at `hangs`."""

    def __init__(self, every: float, delay: float, hangs: float = math.inf) -> None:
        self.play = Play(heartbeat=Heartbeat("NOOP", every=every)).up()
        self._delay = delay
        self._hangs = hangs
        self._asked = 0

    def _answers(self) -> list[float]:
        """Return when those answers come that have not come yet."""
        beats = [line.time - WALL for line in self.play.lines if line.text == "NOOP"]
        return [at + self._delay for at in beats[self._asked :] if at + self._delay < self._hangs]

    def until(self, end: float) -> None:
        """Let the time pass, with what the peer sends in it."""
        while (answers := self._answers()) and answers[0] <= end:
            self.play.until(answers[0])
            self._asked += 1
            self.play.receive(b"OK\r\n", answers[0])
        if answers or self.play.connection.deadline > end:
            self.play.until(end)
            return
        self.play.at(max(self.play.connection.deadline, self.play.now))
        self.until(end)

    def stopped_until(self, end: float) -> None:
        """Let the time pass while nothing of ours runs; then what has come is read."""
        while (answers := self._answers()) and answers[0] <= end:
            self._asked += 1
            self.play.receive(b"OK\r\n", end)
        self.play.at(end)


@settings(max_examples=100)
@given(
    every=st.floats(0.1, 30.0),
    delay=st.floats(0.001, 0.9),  # at the least what a Unix time of today can tell apart
    happens=st.lists(
        st.tuples(st.floats(0.0, 3.0), st.sampled_from(["send", "feed", "stop", "period"])), max_size=12
    ),
)
def test_who_answers_in_time_is_never_lost(
    every: float, delay: float, happens: list[tuple[float, str]]
) -> None:
    """Whatever is sent, received, changed and stopped meanwhile, a peer that answers each heartbeat within a
    period stays; and none is sent within one after another line.
    """
    peer, now = Answering(every, delay * every), 0.0
    play = peer.play
    for after, what in [*happens, (5.0, "feed")]:
        now += after * every
        (peer.stopped_until if what == "stop" else peer.until)(now)
        if what == "send":
            play.send(b"line", now)
        elif what == "feed":
            play.receive(b"feed\r\n", now)
        elif what == "period":
            play.connection.set_heartbeat(Heartbeat("NOOP", every=every * 1.001), now)
        assert play.state == "connected"
    sent = [(line.time, line.text) for line in play.lines if line.direction == ">"]
    assert all(at - before >= every - 1e-6 for (before, _), (at, text) in pairwise(sent) if text == "NOOP")


@given(
    every=st.floats(0.1, 30.0),
    delay=st.floats(0.001, 0.9),  # at the least what a Unix time of today can tell apart
    hangs=st.floats(2.0, 8.0),
    lines=st.lists(st.floats(0.0, 8.0), max_size=6),
)
def test_who_answers_no_more_is_lost(every: float, delay: float, hangs: float, lines: list[float]) -> None:
    """Two periods after the last word, or one after a heartbeat that other lines have put off."""
    peer = Answering(every, delay * every, hangs * every)
    last_sent = 0.0
    for at in sorted(lines):
        peer.until(at * every)
        if peer.play.state == "connected":
            peer.play.send(b"line", last_sent := at * every)
    peer.until(max(hangs * every, last_sent) + 2 * every + 1.0)
    assert (peer.play.state != "connected") is peer.play.connection.heartbeat_answered


def test_a_heartbeat_that_found_no_room_asks_nothing() -> None:
    """A peer that does not read, whose outbox is full, cannot be missing an answer to what was never sent."""
    play = Play(heartbeat=Heartbeat("NOOP", every=10.0), queue_lines=10).up()
    play.until(10.0)
    play.receive(b"OK\r\n", 10.5)
    assert play.connection.heartbeat_answered
    for number in range(10):
        play.send(b"%d" % number, 11.0, takes=0)
    play.stuck = True
    play.until(100.0)
    assert play.state == "connected"


# -- silence


SILENT = "server:1 has sent nothing for 10 s: silence=10 makes that a loss (nothing is sent to ask)"


def test_silence_is_a_loss() -> None:
    """Nothing received for so many seconds, from the connection or the last byte on: it is lost, and nothing
    was sent; the next connection is judged alike.
    """
    play = Play(silence=10.0, retry=Retry(jitter=0)).up()
    play.until(9.99)
    assert play.state == "connected"
    play.receive(b"a line\r\n", 9.99)
    play.until(15.0)
    play.receive(b"half of", 15.0)
    play.until(24.99)
    assert play.state == "connected"
    play.until(25.0)
    assert (play.state, play.status.reason, play.wire) == ("waiting", SILENT, b"")
    assert play.connection.socket_options is None  # of a socket that is gone
    play.until(27.0)
    play.dialed(27.0)
    play.until(37.0)
    assert (play.state, play.log[-1]) == ("waiting", f"* {SILENT}; try 1 in 2.0 s")


def test_what_is_sent_breaks_no_silence() -> None:
    """Only what is received counts, and neither a line nor a heartbeat of ours."""
    play = Play(silence=10.0, heartbeat=Heartbeat("NOOP", every=3.0)).up()
    play.send(b"ask", 2.0)
    play.until(9.99)
    assert play.state == "connected"
    play.until(10.0)
    assert play.status.reason == SILENT


def test_silence_is_looked_for_once_in_its_time_however_much_comes() -> None:
    """What is received moves no timer: that looks when it is due, and again when the rest is over."""
    play = Play(silence=10.0).up()
    play.until(1.0)
    for number in range(1000):
        play.receive(b"line\r\n", 1.0 + number / 1000)
        assert play.connection.deadline == 10.0
    play.until(10.0)
    assert play.connection.deadline == 1.999 + 10.0


def test_no_silence_counts_while_nobody_reads() -> None:
    """While the receiving is held up for a slow reader of ours the peer may send and is not heard; it has the
    whole time again when that is over.
    """
    play = Play(silence=10.0).up()
    play.connection.set_reading(False, 1.0)
    play.until(100.0)
    assert play.state == "connected"
    play.connection.set_reading(True, 101.0)
    play.until(110.99)
    assert play.state == "connected"
    play.until(111.0)
    assert play.status.reason == SILENT


def test_no_silence_counts_while_the_process_was_stopped() -> None:
    """Who comes back after a minute has heard nobody in it: whoever sends is given the whole time again."""
    play = Play(silence=10.0).up()
    play.until(5.0)
    play.at(65.0)
    play.until(74.99)
    assert play.state == "connected"
    play.until(75.0)
    assert play.status.reason == SILENT


def test_silence_can_be_changed_on_the_live_connection() -> None:
    """It counts from then on, or no longer."""
    play = Play().up()
    play.until(1000.0)
    play.connection.set_silence(10.0, 1000.0)
    play.until(1009.99)
    assert play.state == "connected"
    play.connection.set_silence(None, 1009.99)
    play.until(2000.0)
    assert play.state == "connected"
    play.connection.set_silence(10.0, 2000.0)
    play.until(2010.0)
    assert play.status.reason == SILENT


def test_a_script_has_its_own_patience() -> None:
    """Silence counts from the moment when the connection is there, whatever its on-connect script took."""
    play = Play(silence=3.0, script=parse_script("< ready"))
    play.start()
    play.dialed()
    play.until(20.0)
    assert play.state == "connecting"
    play.receive(b"ready\r\n", 20.0)
    play.until(22.99)
    assert play.state == "connected"
    play.until(23.0)
    assert play.state == "waiting"


def test_what_has_come_is_read_before_anybody_is_judged() -> None:
    """Where it would count that nothing was received, that is to be looked at first; else it is not."""
    plain, beats, silence = (
        Play().up(),
        Play(heartbeat=Heartbeat("x", every=4.0)).up(),
        Play(silence=9.0).up(),
    )
    beats.until(3.9)
    assert not beats.connection.seems_silent(100.0)  # no silence says anything yet
    beats.until(4.0)
    assert beats.connection.seems_silent(100.0)  # but the first answer may lie there
    beats.receive(b"OK\r\n", 4.1)
    beats.until(8.0)
    assert not plain.connection.seems_silent(100.0)
    assert [silence.connection.seems_silent(now) for now in (0.4, 0.6, 100.0)] == [False, True, True]
    assert [beats.connection.seems_silent(now) for now in (4.2, 4.7, 100.0)] == [False, True, True]
    silence.connection.set_reading(False, 1.0)
    assert not silence.connection.seems_silent(100.0)
    silence.stop(2.0)
    beats.lost(8.0)
    assert not beats.connection.seems_silent(100.0)


def test_a_heartbeat_of_bytes_is_sent_as_it_is() -> None:
    """A heartbeat given as bytes gets no line end."""
    play = Play(heartbeat=Heartbeat(b"\0", every=10.0)).up()
    play.until(10.0)
    assert play.wire == b"\0"


# -- text and framing


def test_text_is_utf8_or_else_latin_1() -> None:
    """A line that is not UTF-8 is read as ISO-8859-1; with an encoding, everything is read by that."""
    line = b"gr\xc3\xbc\xc3\x9fe\r\ngr\xfc\xdfe\r\n"
    both, one = Play().up(), Play(encoding="iso-8859-1", transcript=Transcript(encoding="iso-8859-1")).up()
    both.receive(line)
    one.receive(line)
    assert [found(both.expect("^gr")).text for _ in range(2)] == ["grüße", "grüße"]
    assert [found(one.expect("^gr")).text for _ in range(2)] == ["gr\xc3\xbc\xc3\x9fe", "grüße"]


def test_an_unfinished_line_is_kept_as_a_fragment() -> None:
    """What was received of a line when its connection is lost is kept, and marked."""
    play = Play().up()
    play.receive(b"whole\r\nhal")
    play.lost(1.0)
    assert [(line.text, line.truncated) for line in play.lines[1:3]] == [("whole", False), ("hal", True)]
    play.until(3.5)
    play.dialed(3.5)
    play.receive(b"f\r\n", 4.0)
    assert (play.lines[-1].text, play.lines[-1].truncated) == ("f", False)


def test_announced_bytes_are_one_line() -> None:
    """With the framing of the protocol, a line that announces bytes is one with them, and found as one."""
    play = Play(profile="imap").up()
    expectation = play.expect("literal", whole=True)
    play.receive(b"* 1 FETCH (BODY[] {9}\r\na liter")
    assert expectation.outcome is None
    play.receive(b"al)\r\nplain\r\n")
    assert found(expectation).line.data == b"* 1 FETCH (BODY[] {9}\r\na literal)"
    assert found(play.expect("plain")).line.data == b"plain"


def test_raw_framing_gives_what_each_read_brought() -> None:
    """With raw framing each read is one line, unchanged."""
    play = Play(framing="raw").up()
    for data in (b"\x00\n", b"\r\n", b"x"):
        play.receive(data)
    assert [line.data for line in play.lines[1:]] == [b"\x00\n", b"\r\n", b"x"]


class Pairs:
    """A user's framing: two bytes a line; it breaks on a "!"."""

    def __init__(self) -> None:
        self.held = b""

    def feed(self, data: bytes) -> list[bytes]:
        if b"!" in data:
            raise ValueError("no exclamation marks")
        self.held += data
        whole = len(self.held) // 2 * 2
        lines, self.held = [self.held[at : at + 2] for at in range(0, whole, 2)], self.held[whole:]
        return lines


def test_a_user_s_framing_cuts_the_lines() -> None:
    """Any object that is fed with bytes and gives lines is a framing; a class makes one for each
    connection.
    """
    play = Play(framing=Pairs).up()
    play.receive(b"abc")
    play.receive(b"d")
    assert [line.data for line in play.lines[1:]] == [b"ab", b"cd"]
    play.receive(b"e")
    play.lost(1.0)
    play.until(3.5)
    play.dialed(3.5)
    play.receive(b"xy")
    assert play.lines[-1].data == b"xy"


def test_a_framing_that_fails_is_the_reason_of_a_loss() -> None:
    """A framing that raises ends the connection with what it raised as the reason, and it is tried again."""
    play = Play(framing=Pairs()).up()
    play.receive(b"a!")
    assert play.state == "waiting"
    assert play.status.reason == "the framing Pairs failed: ValueError: no exclamation marks"


def test_a_framing_that_cannot_be_made_anew_is_the_reason_of_a_failed_attempt() -> None:
    """A framing class that fails at a later connection is told as the user's, and not as our mistake."""
    made: list[Pairs] = []

    def once() -> Pairs:
        if made:
            raise RuntimeError("only once")
        made.append(Pairs())
        return made[0]

    play = Play(framing=once).up()
    play.lost(20.0)
    play.until(22.2)
    play.dialed(22.2)
    assert play.state == "waiting"
    assert play.status.reason == "the framing once cannot be made: RuntimeError: only once"


# -- on-connect scripts and functions


def test_a_script_runs_before_it_counts_as_connected() -> None:
    """The script's lines are sent, its answers awaited, and only then is the client connected."""
    play = Play(script=parse_script("< ^hello\nlogin\n< ^ok\nhi"))
    play.start()
    play.dialed()
    assert (play.state, play.status.phase, play.wire) == ("connecting", Phase.SCRIPT, b"")
    play.receive(b"hello\r\n")
    assert play.wire == b"login\r\n"
    play.receive(b"noise\r\nok\r\n")
    assert (play.state, play.wire) == ("connected", b"login\r\nhi\r\n")


def test_the_script_s_dialogue_is_its_own() -> None:
    """After a script, expect looks at what came behind it, also of what came together with its
    last answer.
    """
    play = Play(script=parse_script("login\n< ^ok"))
    play.start()
    play.dialed()
    play.receive(b"ok, welcome\r\nok, news\r\n")
    match = found(play.expect("^ok"))
    assert match.text == "ok, news"
    assert [line.text for line in match.lines] == ["ok, news"]


def test_a_script_that_gets_no_answer_is_a_failed_attempt() -> None:
    """After 30 s without the awaited line the attempt has failed, and says what was awaited and what came."""
    play = Play(script=parse_script("login\n< ^ok"))
    play.start()
    play.dialed()
    play.receive(b"no\r\n")
    play.until(29.9)
    assert play.state == "connecting"
    play.until(30.0)
    assert play.state == "waiting"
    assert play.status.reason == (
        "on-connect script, line 2, waiting for '^ok': no such line came within 30 s; the last line was 'no'"
    )


def test_a_script_that_loses_its_connection_says_where_it_was() -> None:
    """A connection lost during the script: the reason tells which line was awaited, and why it
    cannot come.
    """
    play = Play(script=parse_script("login\n< ^ok"))
    play.start()
    play.dialed()
    play.eof(1.0)
    assert play.status.reason == (
        "on-connect script, line 2, waiting for '^ok': closed by server:1; no line came at all"
    )


def test_what_a_function_leaves_unread_is_there_once_whatever_the_framing() -> None:
    """A user's framing gets it all, to be in step; lines that it leaves alone are answered once."""

    class Bang:
        """Ends lines with CRLF, too, and joins one that ends with a backslash with the next one."""

        def __init__(self) -> None:
            self.held = b""

        def feed(self, data: bytes) -> list[bytes]:
            *lines, self.held = (self.held + data).replace(b"\\\r\n", b"\\\0").split(b"\r\n")
            return [line.replace(b"\\\0", b"\\\n") for line in lines]

    play = Play(has_function=True, framing=Bang, replies=((rb"^PING (.*)", rb"PONG \1"),))
    play.start()
    play.dialed()
    play.receive(b"hello\r\nPING a\r\ntwo\\\r\nhalves\r\ntwo\r\nthr")
    play.connection.script_ended(1, None, 1.0)
    play.settle(1.0)
    play.receive(b"ee\r\n", 2.0)
    assert play.state == "connected"
    assert play.wire == b"PONG a\r\n"
    received = [line.data for line in play.lines if line.direction == "<"]
    assert received == [b"hello", b"PING a", b"two\\\nhalves", b"two", b"three"]


def test_a_reason_is_one_line_that_no_terminal_obeys() -> None:
    """What a function raises may quote the server, with escapes and line breaks: the reason, the log and the
    error of a send hold neither.
    """
    play = Play(has_function=True)
    play.start()
    play.dialed()
    play.connection.script_ended(1, ScriptFailed("it says \x1b[2J\x1b]0;owned\x07\r\nline\u202e 2"), 1.0)
    play.settle(1.0)
    assert play.status.reason == r"it says \x1b[2J\x1b]0;owned\x07 line\u202e 2"
    assert play.log == [rf"* {play.status.reason}; try 2 in 2.0 s"]
    with pytest.raises(NotConnected) as raised:
        play.send(b"x")
    assert str(raised.value).isprintable()


def test_a_script_that_is_longer_than_the_outbox_is_sent_as_that_drains() -> None:
    """No line of a long script is left out: what the outbox has no room for follows, and only then does the
    awaited line have its 30 s.
    """
    script = "\n".join(f"SET {number}" for number in range(25))
    play = Play(script=parse_script(f"{script}\n< ^ok\nhi"), queue_lines=10)
    play.stuck = True
    play.start()
    play.dialed()
    play.until(20.0)
    assert len(play.log) == 10
    play.stuck = False
    play.until(20.5)
    assert play.wire.decode().split("\r\n") == [*script.split("\n"), ""]
    play.until(49.9)
    assert play.state == "connecting"
    play.receive(b"ok\r\n", 49.9)
    assert play.state == "connected"
    assert play.log == [
        *(f"> {line}" for line in script.split("\n")),
        "< ok",
        "> hi",
        "* connected to server:1 at 10.0.0.1:1",
    ]


@pytest.mark.parametrize("takes", [0, 3])
def test_a_script_that_the_peer_does_not_take_is_a_failed_attempt(takes: int) -> None:
    """A peer that takes nothing of a script for 30 s fails the attempt, whatever it says meanwhile."""
    play = Play(script=parse_script("one\ntwo\nthree"), queue_lines=1)
    play.stuck = True
    play.start()
    play.dialed()
    play.until(20.0)
    play.stuck = False
    play.receive(b"talk\r\n", 20.0, takes=takes)
    play.stuck = True
    ends = 60.0 if takes else 30.0
    play.until(ends - 0.1)
    assert play.state == "connecting"
    play.until(ends)
    assert play.state == "waiting"
    assert play.status.reason == (
        "on-connect script: server:1 took nothing of what was sent for 30 s; no line came at all"
    )


def test_a_function_is_asked_for_at_each_connection() -> None:
    """The on-connect function is to be run for each connection, as a session of its own."""
    play = Play(has_function=True)
    play.start()
    play.dialed()
    assert play.connection.session_wanted
    assert (play.state, play.connection.session) == ("connecting", 1)
    play.connection.script_ended(1, None, 1.0)
    play.settle(1.0)
    assert play.state == "connected"
    play.lost(20.0)
    play.until(22.2)
    play.dialed(22.2)
    assert play.connection.session == 2


def test_what_a_function_raises_is_why_the_attempt_failed() -> None:
    """The reason of the failed attempt is what the on-connect function raised."""
    play = Play(has_function=True)
    play.start()
    play.dialed()
    play.connection.script_ended(1, ScriptFailed("on-connect function: KeyError: 'x'"), 1.0)
    play.settle(1.0)
    assert (play.state, play.status.reason) == ("waiting", "on-connect function: KeyError: 'x'")


def test_a_function_of_an_earlier_session_is_not_heard() -> None:
    """A function that outlives its connection neither ends the next session nor sends on it."""
    play = Play(has_function=True)
    play.start()
    play.dialed()
    play.lost(1.0)
    play.until(3.5)
    play.dialed(3.5)
    play.connection.script_ended(1, None, 4.0)
    assert play.state == "connecting"
    with pytest.raises(ConnectionLost):
        play.connection.send(b"x\r\n", b"x", Delivery(b"x"), 4.0, session=1)
    play.connection.send(b"x\r\n", b"x", Delivery(b"x"), 4.0, session=2)
    play.settle(4.0)
    assert play.wire == b"x\r\n"


def test_the_function_s_dialogue_is_its_own() -> None:
    """After a function, expect looks from the line on that the function has left."""
    play = Play(has_function=True)
    play.start()
    play.dialed()
    play.receive(b"ok 1\r\nok 2\r\n")
    assert play.connection.read_line(1, 0.5) == (0, b"ok 1", WALL + 0.5)
    play.connection.script_ended(1, None, 1.0)
    play.settle(1.0)
    assert found(play.expect("^ok")).text == "ok 2"


def test_framing_begins_behind_what_a_function_has_left() -> None:
    """The bytes of a line that is not complete when the function returns are framed with what follows."""
    play = Play(profile="imap", has_function=True)
    play.start()
    play.dialed()
    play.receive(b"* 1 FETCH {5}")
    play.connection.script_ended(1, None, 1.0)
    play.receive(b"\r\n12345)\r\n")
    assert play.lines[-1].data == b"* 1 FETCH {5}\r\n12345)"


@pytest.mark.parametrize("early", [False, True], ids=["while the script runs", "before it"])
def test_who_waits_for_a_line_is_not_given_the_script_s(early: bool) -> None:
    """What the script reads is its own affair, also where somebody waits while it runs; what comes behind it,
    in the same read or later, is for them.
    """
    play = Play(script=parse_script("< ready\na login\n< a OK"))
    play.start()
    expectations = [play.expect("OK"), play.expect("more")] if early else []
    play.dialed()
    play.receive(b"* OK ready\r\n")
    expectations = expectations or [play.expect("OK"), play.expect("more")]
    play.receive(b"a OK logged in\r\n1 OK behind it\r\n")
    assert play.state == "connected"
    assert found(expectations[0]).text == "1 OK behind it"
    play.receive(b"2 and more\r\n")
    assert found(expectations[1]).text == "2 and more"


# -- TLS and STARTTLS, in memory


class TLSServer:
    """The other side of TLS: OpenSSL as a server, fed with what the connection sends."""

    def __init__(self, pair: Pair, *, tls12: bool = False, context: ssl.SSLContext | None = None) -> None:
        self.context = context or pair.server_context(tls12=tls12)
        self.begin()

    def begin(self) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = self.context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.finished = self.closed = False
        self.received = b""

    def turn(self, play: Play, now: float = 0.0) -> bool:
        """Take what was sent, and answer; return whether there was anything to say."""
        sent, play.wire = play.wire, b""
        self.incoming.write(sent)
        try:
            if not self.finished:
                self.object.do_handshake()
                self.finished = True
            while data := self.object.read(1 << 16):
                self.received += data
            self.closed = True
        except ssl.SSLWantReadError:
            pass
        answer = self.outgoing.read()
        play.receive(answer, now)
        return bool(sent or answer)

    def say(self, play: Play, data: bytes, now: float = 0.0) -> None:
        self.object.write(data)
        play.receive(self.outgoing.read(), now)


def handshake(play: Play, pair: Pair, now: float = 0.0, **options: Any) -> TLSServer:
    """Connect with TLS from the first byte on; return the other side."""
    server = TLSServer(pair, **options)
    play.start(now)
    play.dialed(now)
    while server.turn(play, now):
        pass
    return server


@pytest.mark.parametrize("tls12", [False, True], ids=["TLSv1.3", "TLSv1.2"])
def test_lines_go_both_ways_in_tls(certificates: Certificates, tls12: bool) -> None:
    """In TLS, too, lines are sent, answered and acknowledged: by the bytes of the ciphertext."""
    play = Play(**tls_settings(certificates))
    server = handshake(play, certificates.good(), tls12=tls12)
    assert play.status.tls is not None
    assert (play.status.tls.version, play.status.tls.verified) == ("TLSv1.2" if tls12 else "TLSv1.3", True)
    assert re.fullmatch(r"\* connected to server:1 at 10.0.0.1:1 \(TLSv1\.[23], \S+\)", play.log[-1])
    expectation = awaited("^answer")
    delivery = play.send(b"ask", 1.0, expect=expectation)
    written = play.connection.handed_over_bytes
    server.turn(play, 1.0)
    assert server.received == b"ask\r\n"
    server.say(play, b"answer\r\n", 1.0)
    assert found(expectation).text == "answer"
    play.acknowledged = written - 1
    play.until(3.0)
    assert delivery.status == "sent"
    play.acknowledged = written
    play.until(4.0)
    assert delivery.status == "acknowledged"


@pytest.mark.parametrize("framing", ["lines", "announced"])
def test_in_tls_readers_have_their_turn_before_anything_is_forgotten(
    certificates: Certificates, framing: str
) -> None:
    """What one read brought is taken over a small part of the transcript at a time, the rest is held back."""
    transcript = Transcript(bytes=64 * 1024)
    play = Play(transcript=transcript, **tls_settings(certificates), framing=framing)
    server = handshake(play, certificates.good())
    begin = transcript.end
    sent = [b"%d" % number for number in range(20_000)]
    server.object.write(b"\r\n".join(sent) + b"\r\n")
    play.connection.received(memoryview(server.outgoing.read()), 1.0)
    at, got = begin, []
    while True:
        came = list(transcript.lines(at, transcript.end, strict=True))
        assert sum(len(line.data) + 2 for line in came) <= 2 * transcript.most_at_once
        got += [line.data for line in came]
        at = transcript.end
        if not play.connection.held:
            break
        play.connection.go_on(1.0)
    assert got == sent
    assert transcript.first > begin


@pytest.mark.parametrize("end", [Play.lost, Play.eof], ids=["lost", "eof"])
def test_what_was_held_back_comes_before_the_loss(
    certificates: Certificates, end: Callable[[Play, float], None]
) -> None:
    """A connection that ends while something is held back has said that all the same."""
    play = Play(transcript=Transcript(bytes=1 << 20), **tls_settings(certificates))
    server = handshake(play, certificates.good())
    sent = [b"%d" % number for number in range(30_000)]
    server.object.write(b"\n".join(sent) + b"\n")
    play.connection.received(memoryview(server.outgoing.read()), 1.0)
    assert play.connection.held
    end(play, 2.0)
    assert play.state == "waiting"
    assert [line.data for line in play.lines if line.direction == "<"] == sent
    assert play.lines[-1].direction == "*"


NO_RECORD = b"HTTP/1.1 500 no TLS any more\r\n"


def test_what_is_queued_is_not_written_into_tls_that_has_failed(certificates: Certificates) -> None:
    """The line that ends the script came with what ends the connection: the queue waits for the next one."""
    play = Play(script=parse_script("< ^OK"), **tls_settings(certificates))
    server = handshake(play, certificates.good())
    deliveries = [play.send(line, 1.0, queue=True) for line in (b"a", b"b")]
    server.object.write(b"OK\r\n")
    play.receive(server.outgoing.read() + NO_RECORD, 1.0)
    assert play.state == "waiting"
    assert [delivery.status for delivery in deliveries] == ["queued", "queued"]
    assert not any(line.direction == ">" for line in play.lines)


def test_what_tls_does_not_take_is_unconfirmed(certificates: Certificates) -> None:
    """A reply to a line that came with what ends the connection never leaves, and is said to be lost."""
    play = Play(replies=((b"^PING", b"PONG"),), **tls_settings(certificates))
    server = handshake(play, certificates.good())
    server.object.write(b"PING\r\n")
    play.receive(server.outgoing.read() + NO_RECORD, 1.0)
    assert play.state == "waiting"
    assert [line.data for line in play.connection.unconfirmed] == [b"PONG"]


def test_an_unverified_certificate_is_loud(certificates: Certificates) -> None:
    """Without verification it connects to anybody, and says so in the log and the status."""
    play = Play(**tls_settings(certificates, verify=False))
    handshake(play, certificates.wrong_name())
    assert play.state == "connected"
    assert play.log[-1].startswith(
        "* CERTIFICATE NOT VERIFIED: connected to server:1 at 10.0.0.1:1 (TLSv1.3, "
    )
    assert play.status.tls is not None
    assert not play.status.tls.verified


@pytest.mark.parametrize("tls12", [False, True], ids=["TLSv1.3", "TLSv1.2"])
def test_a_resumed_session_is_still_verified(certificates: Certificates, tls12: bool) -> None:
    """A reconnection takes up the TLS session of the one before, and counts as verified as that was."""
    play = Play(resumes=True, **tls_settings(certificates))
    first = handshake(play, certificates.good(), tls12=tls12)
    first.say(play, b"hello\r\n")
    assert play.status.tls is not None
    assert not play.status.tls.resumed
    play.lost(20.0)
    play.until(22.2)
    first.begin()
    play.dialed(22.2)
    while first.turn(play, 22.2):
        pass
    assert play.state == "connected"
    assert (play.status.tls.resumed, play.status.tls.verified) == (True, True)


def test_a_bad_certificate_is_never_resumed(certificates: Certificates) -> None:
    """After a verified connection, a server with a bad certificate is refused all the same, and
    tried again.
    """
    play = Play(resumes=True, **tls_settings(certificates))
    server = handshake(play, certificates.good())
    server.say(play, b"hello\r\n")
    play.lost(20.0)
    play.until(22.2)
    impostor = TLSServer(certificates.wrong_name())
    play.dialed(22.2)
    while impostor.turn(play, 22.2):
        pass
    assert play.state == "waiting"
    assert "certificate of localhost does not verify" in play.status.reason


def test_a_mute_tls_server_is_given_up(certificates: Certificates) -> None:
    """A server that does not go on with the handshake for 10 s has failed."""
    play = Play(**tls_settings(certificates))
    play.start()
    play.dialed()
    play.until(9.9)
    assert play.status.phase is Phase.TLS
    play.until(10.0)
    assert play.state == "waiting"
    assert play.status.reason == "server:1 did not finish the TLS handshake within 10 s; does it speak TLS?"


def test_a_server_that_speaks_no_tls_is_quoted(certificates: Certificates) -> None:
    """Where the answer is no TLS, the reason quotes it and says what to try."""
    play = Play(**tls_settings(certificates))
    play.start()
    play.dialed()
    play.receive(b"220 mail.example.org ESMTP\r\n")
    assert "does not speak TLS (it says '220 mail.example.org ESMTP')" in play.status.reason


@pytest.mark.parametrize("politely", [True, False])
def test_the_end_of_tls_is_told_from_a_cut(certificates: Certificates, politely: bool) -> None:
    """A TLS connection that ends without close_notify may be cut off, and the reason says so."""
    play = Play(**tls_settings(certificates))
    server = handshake(play, certificates.good())
    if politely:
        with pytest.raises(ssl.SSLWantReadError):
            server.object.unwrap()
        play.receive(server.outgoing.read(), 1.0)
        assert play.status.reason == "closed by server:1"
    else:
        play.eof(1.0)
        assert play.status.reason == "closed by server:1 without close_notify: the end may be cut off"
    assert play.state == "waiting"


def test_a_stop_says_goodbye_in_tls(certificates: Certificates) -> None:
    """A stop sends close_notify, and is over when the peer has acknowledged that."""
    play = Play(**tls_settings(certificates))
    server = handshake(play, certificates.good())
    play.stop(1.0)
    server.turn(play, 1.0)
    assert server.closed
    play.acknowledged = play.connection.handed_over_bytes
    play.until(1.01)
    assert play.state == "stopped"


def starttls(certificates: Certificates, script: tuple[Step, ...] = ()) -> Play:
    """Return a play whose server was just asked for TLS."""
    play = Play(profile="imap", **tls_settings(certificates, TLSMode.STARTTLS), script=script)
    play.start()
    play.dialed()
    play.receive(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n")
    assert play.wire == b"s2 STARTTLS\r\n"
    play.wire = b""
    return play


def test_starttls_leads_to_tls(certificates: Certificates) -> None:
    """After the server's consent the connection is verified TLS, and its lines are framed from there on."""
    play = starttls(certificates)
    play.receive(b"s2 OK go\r\n")
    assert play.status.phase is Phase.TLS
    server = TLSServer(certificates.good())
    while server.turn(play):
        pass
    assert play.state == "connected"
    assert play.status.tls is not None
    server.say(play, b"* {3}\r\n\r\n\r x\r\n")
    assert play.lines[-1].data == b"* {3}\r\n\r\n\r x"


def test_a_script_that_waits_for_a_second_greeting_is_told(certificates: Certificates) -> None:
    """The script that logs in over implicit TLS waits in vain behind STARTTLS, and its user learns why."""
    play = starttls(certificates, parse_script("< ^\\* OK"))
    play.receive(b"s2 OK go\r\n")
    server = TLSServer(certificates.good())
    while server.turn(play):
        pass
    play.until(31.0)
    assert play.status.reason.endswith("no line came at all: after STARTTLS no server greets again")


@pytest.mark.parametrize("injected", [b"s3 OK injected\r\n", b"half", b"x" * 70_000 + b"\r\n", b"\r\n"])
def test_what_stands_behind_the_consent_is_an_attack(certificates: Certificates, injected: bytes) -> None:
    """Whatever comes in plain text together with the consent to STARTTLS ends the attempt, and
    is not obeyed.
    """
    play = starttls(certificates)
    # As after a long session: then one read takes all of it.
    while len(play.connection.transcript.room()) < 100_000:
        play.connection.transcript.append_note("x" * 10_000, WALL)
    data = b"s2 OK go\r\n" + injected
    assert not play.connection.receives_in_place
    play.connection.received(memoryview(data), 0.0)
    play.settle(0.0)
    assert play.state == "waiting"
    assert re.search("sent [0-9]+ bytes in plain text .* injected", play.status.reason)


def test_starttls_of_a_mute_server_is_given_up(certificates: Certificates) -> None:
    """A server that does not answer STARTTLS within 10 s has failed."""
    play = starttls(certificates)
    play.until(10.0)
    assert play.state == "waiting"
    assert play.status.reason == "server:1 did not answer STARTTLS within 10 s"


def test_a_certificate_that_fails_after_starttls_sends_nothing(certificates: Certificates) -> None:
    """A bad certificate after STARTTLS stops a new client; the script was not begun."""
    play = Play(
        profile="imap",
        script=parse_script("a login me secret"),
        **tls_settings(certificates, TLSMode.STARTTLS),
    )
    play.start()
    play.dialed()
    play.receive(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n")
    play.receive(b"s2 OK go\r\n")
    play.wire = play.wire.removeprefix(b"s2 STARTTLS\r\n")
    server = TLSServer(certificates.wrong_name())
    while server.turn(play):
        pass
    assert play.state == "stopped"
    assert not any("login" in line for line in play.log)


def test_a_keepalive_that_is_set_anew_takes_nothing_from_a_peer_that_is_asked() -> None:
    """Setting what is in force already leaves the kernel's options as the watchdog wants them, though the
    driver has just set others.
    """
    play = Play().up()
    play.connection.looked(TcpInfo(), 1.0, 0)
    changed(play, 2.0)
    asked = TcpInfo(last_data_recv=2000, last_ack_recv=2000)
    play.connection.looked(asked, 2.0, 0)
    play.connection.socket_options = None
    play.connection.keepalive_changed(KeepAlive(), KeepAlive(), asked, 2.1)
    play.connection.looked(asked, 2.1, 0)
    assert play.connection.socket_options == (probing(KeepAlive()), user_timeout(KeepAlive()))


# -- fork


def test_a_forked_copy_sends_nothing_of_what_its_parent_sends() -> None:
    """What waits for a connection is the parent's to send: a child that connects must not send it, too."""
    play = Play()
    play.start()
    delivery = play.send(b"PAY 100", queue=True)
    play.connection.forked()
    assert delivery.status == "unconfirmed"
    assert play.connection.deadline == math.inf
    play.up()
    assert play.wire == b""


def test_a_forked_copy_lets_go() -> None:
    """In a child process the connection is stopped, whoever waited is told, and nothing more is
    to be done.
    """
    play = Play().up()
    play.send(b"x", takes=0)
    expectation = play.expect("x")
    play.connection.forked()
    assert play.state == "stopped"
    assert "stays with its parent" in play.status.reason
    assert "stays with its parent" in lost(expectation)
    assert play.connection.deadline == math.inf
    assert not play.connection.outgoing
    assert not play.connection.effects


def test_all_errors_have_one_base() -> None:
    """Whatever a connection raises on purpose is a ReconnectError."""
    for error in (ConnectionLost, NotConnected, OutboxFull, ScriptFailed, AttemptFailed):
        assert issubclass(error, ReconnectError)


# -- stopping


def test_nothing_is_said_behind_the_farewell() -> None:
    """While a stop waits for the last acknowledgement, neither an automatic reply nor a heartbeat is sent."""
    play = Play(replies=((rb"^PING", b"PONG"),), heartbeat=Heartbeat("NOOP", every=10.0)).up()
    play.send(b"bye", 9.95)
    wire = play.wire
    play.stop(9.95)
    play.receive(b"PING\r\n", 9.96)
    play.at(10.05)
    assert play.state == "stopping"
    assert play.wire == wire


def test_what_waited_is_told_why_it_is_not_sent() -> None:
    """The log says that the client gave up, where nobody has stopped it."""
    play = Play(retry=Retry(attempts=1))
    play.start()
    play.send(b"x", queue=True)
    play.refused()
    assert play.log[-1] == "* not sent, refused by server:1; gave up after 1 try: x"


# -- small transcripts


@pytest.mark.parametrize("limits", [(100, 1 << 20), (100_000, 16 * 1024)])
def test_lines_that_a_small_transcript_forgets_at_once_are_still_answered(limits: tuple[int, int]) -> None:
    """Of one read that brings more framed lines than are kept, each is looked at."""
    play = Play(transcript=Transcript(*limits), profile="nats", replies=((rb"^PING", b"PONG"),)).up()
    expectation = play.expect("^MSG a 1 5$")
    play.receive(b"MSG a 1 5\r\nFIRST\r\nPING\r\n" + b"MSG a 1 4\r\nmore\r\n" * 5000)
    assert found(expectation).line.data == b"MSG a 1 5\r\nFIRST"
    assert play.wire == b"PONG\r\n"


def test_a_new_connection_reads() -> None:
    """A stop while nobody read leaves nothing behind that makes the next connection look as if nobody did."""
    play = Play().up()
    play.connection.set_reading(False, 0.0)
    play.stop(1.0)
    play.until(2.0)
    play.up(3.0)
    assert play.connection.reading

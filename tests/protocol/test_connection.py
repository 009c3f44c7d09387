"""Play connections as values: connecting, waits, stops and forks. Bytes, wishes and times go in; bytes,
effects and outcomes come out. No sockets.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from ipyreconnect.errors import (
    AttemptFailed,
    ConnectionLost,
    NotConnected,
    OutboxFull,
    ReconnectError,
    ScriptFailed,
)
from ipyreconnect.protocol.connection import Connection
from ipyreconnect.protocol.events import ApplyOptions, RunFunction
from ipyreconnect.protocol.kernel_rules import probing, user_timeout
from ipyreconnect.protocol.state import Effect, Phase, State
from ipyreconnect.protocol.tcp_info import TcpInfo
from ipyreconnect.settings import Heartbeat, KeepAlive, Retry
from tests.playing import WALL, Play, lost
from tests.playing_tls import in_every_state
from tests.servers.certificates import Certificates

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


def test_a_change_of_network_makes_the_next_try_now() -> None:
    """A network that comes back cuts the wait short, however long it was to be."""
    play = Play(retry=Retry(delay=60.0))
    play.start()
    play.refused(1.0)
    play.change_network(5.0)
    assert (play.state, play.status.attempt, play.effects[-1]) == ("connecting", 2, Effect.DIAL)


def test_changes_in_a_burst_make_two_tries_a_second_and_the_last_one_counts() -> None:
    """The link comes back, then the address, then the route: none of it is ignored or acted upon later than
    after half a second, and nobody is stormed.
    """
    play = Play(retry=Retry(delay=60.0))
    play.start()
    play.refused(1.0)
    play.change_network(5.0)
    play.refused(5.1)
    for now in (5.2, 5.3, 5.4):
        play.change_network(now)
        assert (play.state, play.status.retry_at) == ("waiting", WALL + 5.5)
    play.until(5.49)
    assert play.state == "waiting"
    play.until(5.5)
    assert (play.state, play.status.attempt) == ("connecting", 3)
    play.refused(5.6)
    assert play.connection.deadline == pytest.approx(65.6)
    play.change_network(5.7)
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
    play.change_network(3.0)
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
    play.change_network(1.1)
    play.refused(1.2)
    play.change_network(1.3)
    assert play.status.retry_at == pytest.approx(WALL + 1.4)


def test_a_change_asks_a_live_peer() -> None:
    """A connection that is up is doubted, not dropped: its peer is asked at once."""
    play = Play().up()
    play.connection.looked(TcpInfo(), 1.0, 0)
    play.change_network(2.0)
    assert (play.state, play.connection.wants_look) == ("connected", 2.0)
    play.connection.looked(TcpInfo(last_data_recv=2000, last_ack_recv=2000), 2.0, 0)
    play.settle(2.0)
    assert play.options[-1] == (probing(KeepAlive()), user_timeout(KeepAlive()))
    play.connection.looked(TcpInfo(last_data_recv=2500, last_ack_recv=5), 2.5, 0)
    play.settle(2.5)
    assert play.options[-1] == (KeepAlive(), user_timeout(KeepAlive()))
    assert play.state == "connected"


# -- stopping in every state


def test_stop_ends_every_state(certificates: Certificates) -> None:
    """Whatever it is doing, it is stopped a fifth of a second later, with nothing left to do or to send."""
    for name, play in in_every_state(certificates).items():
        play.stop(1.0)
        at_once = name not in ("connected", "full", "stopping")
        assert play.state == ("stopped" if at_once else "stopping"), name
        play.until(1.2)
        assert play.state == "stopped", name
        assert play.connection.deadline == math.inf, name
        assert not play.connection.outbox.outgoing, name
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


# -- fork


def test_what_a_lost_socket_was_to_do_is_void() -> None:
    """Options that wait for a socket, and a function that is to run on it, are forgotten with that."""
    play = Play().up()
    play.connection.looked(TcpInfo(), 1.0, 0)
    play.connection.network_changed(2.0)
    play.connection.looked(TcpInfo(last_data_recv=2000, last_ack_recv=2000), 2.0, 0)
    assert any(isinstance(event, ApplyOptions) for event in play.connection.events)
    play.lost(2.0)
    assert (play.state, play.options) == ("waiting", [])
    play = Play(has_function=True)
    play.start()
    play.connection.dialed("10.0.0.1:1", "10.0.0.2:40000", KeepAlive(), 0.0)
    assert any(isinstance(event, RunFunction) for event in play.connection.events)
    play.lost(0.0)
    assert (play.state, play.sessions) == ("waiting", [])


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
    assert not play.connection.outbox.outgoing
    assert not play.connection.events


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

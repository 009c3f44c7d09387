"""Play connections as values: the heartbeat, silence and the keepalive."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipyreconnect.profile.base import PROFILES
from ipyreconnect.protocol.kernel_rules import probing, user_timeout
from ipyreconnect.protocol.script import parse_script
from ipyreconnect.protocol.tcp_info import TcpInfo
from ipyreconnect.settings import Heartbeat, KeepAlive, Retry
from tests.playing import WALL, Play, found

# -- the heartbeat


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
    assert (play.state, play.connection.watch.health.verdict) == ("connected", "alive")
    assert not play.connection.watch.heartbeat_answered


def test_a_peer_that_has_answered_one_and_then_none_hangs() -> None:
    """After two periods without a word it is lost, and from the beginning of the next connection on."""
    play = Play(heartbeat=Heartbeat("NOOP", every=10.0), retry=Retry(jitter=0)).up()
    play.until(10.0)
    play.receive(b"OK\r\n", 10.5)
    assert play.connection.watch.heartbeat_answered
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
    assert play.connection.watch.heartbeat_answered
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
    assert (play.state, play.connection.watch.heartbeat_answered) == ("connected", False)


def test_silence_of_what_is_never_answered_says_nothing() -> None:
    """With answered=False even who was heard after each heartbeat may fall silent."""
    play = Play(heartbeat=Heartbeat("#keepalive", every=10.0, answered=False)).up()
    for now in (11.0, 21.0, 31.0):
        play.until(now)
        play.receive(b"a line of the feed\r\n", now)
    play.until(1000.0)
    assert (play.state, play.connection.watch.heartbeat_answered) == ("connected", False)


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
        assert (play.state, play.connection.watch.heartbeat_answered) == ("connected", False)
        play.receive(b"feed\r\n" + answer[:cut], 201.0)
        play.receive(answer[cut:] + b"feed\r\n", 201.1)
        assert play.connection.watch.heartbeat_answered
        play.until(221.0)
        assert play.state == "connected"
        play.until(221.2)
        assert play.state == "waiting"


@pytest.mark.parametrize(
    ("profile", "greeting", "other", "answer"),
    [
        ("nats", b"INFO {}\r\n", b"MSG a 1 5\r\nPONG!\r\n", b"PONG\r\n"),
        ("redis", b"", b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\n+PONG\r\n", b"+PONG\r\n"),
        ("irc", b"", b":irc.test 451 * PING :You have not registered\r\n", b":irc.test PONG irc.test :x\r\n"),
        ("gpsd", b"", b'{"class":"TPV","mode":1}\r\n', b'{"class":"VERSION","release":"3.22"}\r\n'),
        ("pop3", b"+OK\r\n", b"* no status\r\n", b"-ERR Unknown command.\r\n"),
        ("nntp", b"200 hello\r\n", b"no status\r\n", b"401 MODE-READER\r\n"),
    ],
)
def test_a_profile_knows_the_answer_to_its_heartbeat(
    profile: str, greeting: bytes, other: bytes, answer: bytes
) -> None:
    """What else the server sends does not answer the protocol's own heartbeat, but one of the user's."""
    own = PROFILES[profile].heartbeat
    assert own is not None
    for line, expected in ((own, False), ("anything", True)):
        play = Play(profile=profile, heartbeat=Heartbeat(line, every=10.0)).up()
        play.receive(greeting, 0.1)
        play.until(10.0)
        play.receive(other, 10.1)
        assert play.connection.watch.heartbeat_answered is expected
        play.receive(answer, 10.2)
        assert play.connection.watch.heartbeat_answered


def test_a_heartbeat_can_be_changed_on_the_live_connection() -> None:
    """It ends, begins, and is another one at once: the first a period after that."""
    play = Play().up()
    play.connection.watch.set_heartbeat(Heartbeat("one", every=10.0), 100.0)
    assert sent_at(play, 125.0, "one") == [110.0, 120.0]
    play.connection.watch.set_heartbeat(Heartbeat("two", every=2.0), 125.0)
    assert sent_at(play, 129.5, "two") == [127.0, 129.0]
    play.connection.watch.set_heartbeat(Heartbeat("two", every=2.0), 129.5)  # the same: nothing is put off
    assert sent_at(play, 131.5, "two") == [127.0, 129.0, 131.0]
    play.connection.watch.set_heartbeat(None, 131.5)
    assert sent_at(play, 500.0, "two") == [127.0, 129.0, 131.0]
    assert sent_at(play, 500.0, "one") == [110.0, 120.0]
    assert play.state == "connected"


def test_a_heartbeat_that_is_taken_away_judges_nobody() -> None:
    """A peer that owes an answer is not lost for it any more; with another line it begins anew."""
    play = Play(heartbeat=Heartbeat("NOOP", every=10.0)).up()
    play.until(10.0)
    play.receive(b"OK\r\n", 10.5)
    play.until(29.0)
    play.connection.watch.set_heartbeat(None, 29.0)
    play.until(100.0)
    play.connection.watch.set_heartbeat(Heartbeat("other", every=10.0), 100.0)
    play.until(200.0)
    assert (play.state, play.connection.watch.heartbeat_answered) == ("connected", False)


def test_another_period_alone_needs_no_other_answer() -> None:
    """The server has shown that it answers this line: only the seconds change."""
    play = Play(heartbeat=Heartbeat("NOOP", every=100.0)).up()
    play.until(100.0)
    play.receive(b"OK\r\n", 100.5)
    play.connection.watch.set_heartbeat(Heartbeat("NOOP", every=5.0), 101.0)
    assert play.connection.watch.heartbeat_answered
    play.until(110.99)
    assert play.state == "connected"
    play.until(111.0)
    assert play.state == "waiting"


def test_a_heartbeat_that_is_set_while_there_is_no_connection_waits_for_one() -> None:
    """It begins with the next connection."""
    play = Play(retry=Retry(jitter=0)).up()
    play.lost(20.0)
    play.connection.watch.set_heartbeat(Heartbeat("NOOP", every=10.0), 20.5)
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
            play.connection.watch.set_heartbeat(Heartbeat("NOOP", every=every * 1.001), now)
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
    assert (peer.play.state != "connected") is peer.play.connection.watch.heartbeat_answered


def test_a_heartbeat_that_found_no_room_asks_nothing() -> None:
    """A peer that does not read, whose outbox is full, cannot be missing an answer to what was never sent."""
    play = Play(heartbeat=Heartbeat("NOOP", every=10.0), queue_lines=10).up()
    play.until(10.0)
    play.receive(b"OK\r\n", 10.5)
    assert play.connection.watch.heartbeat_answered
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
    assert not play.connection.events  # for a socket that is gone
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
    play.connection.watch.set_reading(False, 1.0)
    play.until(100.0)
    assert play.state == "connected"
    play.connection.watch.set_reading(True, 101.0)
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
    play.connection.watch.set_silence(10.0, 1000.0)
    play.until(1009.99)
    assert play.state == "connected"
    play.connection.watch.set_silence(None, 1009.99)
    play.until(2000.0)
    assert play.state == "connected"
    play.connection.watch.set_silence(10.0, 2000.0)
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
    assert not beats.connection.watch.seems_silent(100.0)  # no silence says anything yet
    beats.until(4.0)
    assert beats.connection.watch.seems_silent(100.0)  # but the first answer may lie there
    beats.receive(b"OK\r\n", 4.1)
    beats.until(8.0)
    assert not plain.connection.watch.seems_silent(100.0)
    assert [silence.connection.watch.seems_silent(now) for now in (0.4, 0.6, 100.0)] == [False, True, True]
    assert [beats.connection.watch.seems_silent(now) for now in (4.2, 4.7, 100.0)] == [False, True, True]
    silence.connection.watch.set_reading(False, 1.0)
    assert not silence.connection.watch.seems_silent(100.0)
    silence.stop(2.0)
    beats.lost(8.0)
    assert not beats.connection.watch.seems_silent(100.0)


def test_a_heartbeat_of_bytes_is_sent_as_it_is() -> None:
    """A heartbeat given as bytes gets no line end."""
    play = Play(heartbeat=Heartbeat(b"\0", every=10.0)).up()
    play.until(10.0)
    assert play.wire == b"\0"


# -- the keepalive


def test_a_keepalive_that_is_set_anew_takes_nothing_from_a_peer_that_is_asked() -> None:
    """Setting what is in force already leaves the kernel's options as the watchdog wants them, though the
    driver has just set others.
    """
    play = Play().up()
    play.connection.looked(TcpInfo(), 1.0, 0)
    play.change_network(2.0)
    asked = TcpInfo(last_data_recv=2000, last_ack_recv=2000)
    play.connection.looked(asked, 2.0, 0)
    play.settle(2.0)
    play.options.clear()
    play.connection.keepalive_changed(KeepAlive(), KeepAlive(), asked, 2.1)
    play.connection.looked(asked, 2.1, 0)
    play.settle(2.1)
    assert play.options[-1] == (probing(KeepAlive()), user_timeout(KeepAlive()))

"""Play the ends of connections: what the peer said last, how long it was silent, and what is advised."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyreconnect.errors import Ending
from ipyreconnect.lines.line import Line
from ipyreconnect.lines.transcript import Transcript
from ipyreconnect.profile.base import PROFILES
from ipyreconnect.protocol.last_words import QUOTED, Ends, farewell_answered, goodbye_in

WALL: Final = 1_000_000.0
"""Unix time at which the monotonic clock shows 0."""

ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x50"
"""What a TLS server answers to plain text: internal error."""


class Peer:
    """One peer, whose connections are played into a transcript."""

    def __init__(self, profile: str = "tcp", *, plain: bool = True, encoding: str | None = None) -> None:
        self.transcript = Transcript()
        self.transcript.begin_writing(self, encoding)
        goodbye = PROFILES[profile].goodbye
        self.ends = Ends("server:1", goodbye, plain=plain, encoding=encoding)
        self.received = 0
        self.heard: float | None = None
        self.sent: float | None = None

    def begin(self, now: float = 0.0) -> Peer:
        self.ends.began(self.transcript.end, self.received, now)
        self.heard = now
        return self

    def says(self, data: bytes, now: float = 0.0) -> Peer:
        self.transcript.room()[: len(data)] = data
        self.transcript.commit(len(data), WALL + now)
        self.received += len(data)
        self.heard = now
        return self

    def is_told(self, line: bytes, now: float = 0.0) -> Peer:
        self.transcript.append_sent(line, WALL + now)
        self.sent = now
        return self

    def end(
        self, ending: Ending = Ending.CLOSED, now: float = 0.0, reason: str = "closed by server:1"
    ) -> str:
        said = self.ends.reason(
            reason,
            ending,
            self.transcript,
            self.transcript.unfinished,
            self.received,
            (self.heard, self.sent),
            now,
            WALL + now,
        )
        self.transcript.flush(WALL + now)
        return said

    def was_mute(self, ending: Ending, now: float) -> bool:
        return self.ends.was_mute(ending, self.received, now)


@pytest.mark.parametrize(
    ("profile", "before", "words"),
    [
        ("imap", "* OK hi", "* BYE Disconnected for inactivity."),
        ("imaps", "* OK hi", "* BYE Courier-IMAP server shut down by signal."),
        ("smtp", "220 mx", "421 4.4.2 mx Error: timeout exceeded"),
        ("submission", "220 mx", "554 mx ESMTP not accepting messages"),
        ("pop3", "+OK ready", "-ERR Too many invalid bad commands."),
        ("pop3s", "+OK ready", "-ERR Disconnected for inactivity."),
        ("nntp", "200 news", "503 must have a unique fully-qualified domain name."),
        ("nntps", "200 news", "400 Time is out"),
        ("irc", ":h NOTICE * :hi", "ERROR :Closing Link: 127.0.0.1 (Registration timed out)"),
        ("nats", "INFO {} ", "-ERR 'Stale Connection'"),
        ("redis", "+OK", "-ERR max number of clients reached"),
        ("rediss", "+OK", "-DENIED Redis is running in protected mode"),
        ("tcp", "220 ready", "421 Timeout."),
        ("tcp", "+OK", 'BYE (TRYLATER) "Shutting down"'),
        ("tcp", "hello", "Port already in use"),
        ("unix", "hello", "Vty connection is timed out."),
        ("tls", "Password:", "Login timed out after 60 seconds."),
    ],
)
@pytest.mark.parametrize("ending", [Ending.CLOSED, Ending.RESET])
def test_the_last_words_are_in_the_reason(profile: str, before: str, words: str, ending: Ending) -> None:
    """Why a server throws a client out stands in its last line, and nobody has to look for it."""
    peer = Peer(profile).begin().says(f"{before}\r\n{words}\r\n".encode())
    assert peer.end(ending) == f"closed by server:1; it said '{words}'"


def test_last_words_without_a_line_end_count() -> None:
    """Who is in a hurry to close may leave the line end out."""
    assert "'* BYE now'" in Peer("imap").begin().says(b"* OK hi\r\n* BYE now").end()


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("smtp", [b"554 no such user", b"250 reset"]),
        ("nats", [b"-ERR 'Permissions Violation'", b"PONG"]),
        ("pop3", [b"-ERR no such message"]),
        ("redis", [b"-ERR unknown command"]),
        ("imap", [b"* OK hi"]),
        ("imap", [b"a NO * BYE is no goodbye here"]),
        ("imap", [b"* BYE", *[b"* 1 EXISTS"] * 5]),
        ("tcp", [b"the door is closed", b"$GPGGA,1"]),
        ("tcp", [b"$GPGGA,1"]),
        ("tcp", [b""]),
        ("tcp", []),
    ],
)
def test_an_answer_of_before_is_no_goodbye(profile: str, said: list[bytes]) -> None:
    """A refusal of something else, or the last line of a feed, is not why the connection ended."""
    assert Peer(profile).begin().says(b"".join(line + b"\r\n" for line in said)).end() == "closed by server:1"


def test_a_goodbye_is_found_before_what_answers_the_farewell() -> None:
    """IMAP's BYE comes before the answer to LOGOUT, and empty lines say nothing."""
    peer = Peer("imap").begin().is_told(b"a LOGOUT").says(b"* BYE see you\r\na OK done\r\n\r\n")
    assert peer.end() == "closed by server:1; it said '* BYE see you'"


def test_what_an_unknown_protocol_said_long_ago_is_not_quoted() -> None:
    """A line counts where it came just before the end."""
    for line in (b"421 busy\r\n", b"421 busy"):
        assert "421" in Peer().begin().says(line, 1.0).end(now=2.9)
        assert Peer().begin().says(line, 1.0).end(now=3.1) == "closed by server:1"


def test_the_words_of_an_earlier_connection_are_not_quoted() -> None:
    """Each connection has its own last words."""
    peer = Peer("imap").begin().says(b"* BYE first\r\n")
    assert "first" in peer.end()
    peer.begin(10.0)
    assert peer.end(now=10.0) == "closed by server:1"


def test_only_an_end_by_the_peer_is_explained_by_it() -> None:
    """A cable that was pulled has nothing to do with what was said before."""
    peer = Peer("smtp").begin().says(b"421 wait\r\n")
    assert peer.end(Ending.OTHER, reason="timed out: no answer from server:1") == (
        "timed out: no answer from server:1"
    )


@given(st.binary(max_size=2000))
def test_whatever_is_quoted_is_short_and_of_one_line(data: bytes) -> None:
    """A peer can make of a reason no more than a line, of which no terminal obeys a byte."""
    said = Peer("irc").begin().says(b"ERROR " + data.replace(b"\n", b"") + b"\n").end()
    assert said.isprintable()
    assert said.startswith("closed by server:1; it said 'ERROR")
    assert len(said) <= QUOTED + 40


def test_a_secret_is_not_quoted() -> None:
    """A server that repeats a password in its last line does not bring it into the reason."""
    peer = Peer("smtp").begin()
    peer.transcript.hide(b"hunter2")
    assert "'535" not in peer.end()
    peer.begin()
    for data in (b"421 who is hunter2?\r\n", b"421 who is hunter2?"):
        said = peer.says(data).end()
        assert "'421 who is ••••?'" in said
        peer.begin()


def test_the_encoding_is_the_connections() -> None:
    """Words in another encoding are words."""
    peer = Peer("irc", encoding="koi8-r").begin().says("ERROR :привет\r\n".encode("koi8-r"))
    assert "'ERROR :привет'" in peer.end()


# -- a proper end in TLS

CUT: Final = "closed by server:1 without close_notify: the end may be cut off"


@pytest.mark.parametrize(
    ("profile", "told", "said"),
    [
        ("imaps", b"h LOGOUT", b"* BYE LOGOUT received\r\nh OK Completed\r\n"),
        ("smtps", b"QUIT", b"221 2.0.0 Bye\r\n"),
        ("smtps", b"NOOP", b"421 4.4.2 too slow\r\n"),
        ("pop3s", b"quit", b"+OK Logging out.\r\n"),
        ("nntps", b"QUIT", b"205 Bye!\r\n"),
        ("ircs", b"QUIT :done", b"ERROR :Closing Link\r\n"),
        ("rediss", b"QUIT", b"+OK\r\n"),
        ("tls", b"LOGOUT", b'OK "Logout completed."\r\n'),
        ("tls", b"NOOP", b"221 Goodbye.\r\n"),
    ],
)
def test_a_goodbye_makes_no_alarm_of_a_missing_close_notify(profile: str, told: bytes, said: bytes) -> None:
    """What both have said goodbye to is not cut off, though many servers leave TLS's own end out."""
    reason = Peer(profile, plain=False).begin().is_told(told).says(said).end(Ending.CUT, reason=CUT)
    assert reason.partition(";")[0] == "closed by server:1"


@pytest.mark.parametrize(
    ("profile", "told", "said"),
    [
        ("imaps", b"a FETCH 1 BODY[]", b"* 1 FETCH (BODY[] {300}\r\n* BYE\r\n"[:20]),
        ("imaps", b"h LOGOUT", b""),
        ("imaps", b"h LOGOUT", b"* BY"),
        ("smtps", b"QUIT", b"221 2.0.0 B"),
        ("pop3s", b"RETR 1", b"+OK\r\nQUIT\r\n"),
        ("tls", b"GET x", b"450 the file is closed\r\n"),
    ],
)
def test_a_cut_without_a_goodbye_stays_an_alarm(profile: str, told: bytes, said: bytes) -> None:
    """Somebody on the way can cut a connection, but write no goodbye into it."""
    said_of_it = Peer(profile, plain=False).begin().is_told(told).says(said).end(Ending.CUT, reason=CUT)
    assert said_of_it.startswith(CUT)


def test_a_fragment_is_no_goodbye() -> None:
    """What stands in the middle of a long line has the peer not said to us."""
    lines = [Line(b"QUIT", 0.0, ">", 0), Line(b"* BYE", 0.0, "<", 1, truncated=True)]
    assert not farewell_answered(lines)
    assert farewell_answered([lines[0], Line(b"+OK", 0.0, "<", 1), Line(b"lost", 0.0, "*", 2)])
    assert not farewell_answered([])
    assert goodbye_in([], None, 0.0) is None


# -- TLS that was not asked for


@pytest.mark.parametrize("alert", [ALERT, b"\x15\x03\x01\x00\x02\x02\x0a", b"\x15\x03\x03\x00\x02\x01\x00"])
def test_an_alert_in_answer_to_plain_text_advises_tls(alert: bytes) -> None:
    """Seven unreadable bytes become the advice to try TLS, in a shell's words and in Python's."""
    said = Peer("imap").begin().is_told(b"a NOOP").says(alert).end()
    assert said == (
        "closed by server:1; it answered with a TLS alert, so it speaks TLS: try --tls (in Python tls=True)"
    )
    assert "--tls" not in Peer("imap", plain=False).begin().is_told(b"a NOOP").says(alert).end()


def test_a_reset_in_answer_to_plain_text_advises_tls() -> None:
    """A TLS proxy resets what does not begin with TLS; who sent nothing or got an answer is not advised."""
    assert "try --tls (in Python tls=True)" in Peer().begin().is_told(b"NOOP", 1.0).end(Ending.RESET, 1.0)
    assert "--tls" not in Peer().begin().end(Ending.RESET, 1.0)
    assert "--tls" not in Peer().begin().is_told(b"NOOP", 1.0).end(Ending.CLOSED, 1.0)
    assert "--tls" not in Peer().begin().is_told(b"NOOP").says(b"220 hi\r\n").end(Ending.RESET)
    assert "--tls" not in Peer(plain=False).begin().is_told(b"NOOP", 1.0).end(Ending.RESET, 1.0)
    again = Peer().begin().is_told(b"NOOP", 1.0)
    again.end(Ending.RESET, 1.0)
    assert "--tls" not in again.begin(5.0).end(Ending.RESET, 6.0)  # nothing was sent on this one


# -- the same silence again


def idle(peer: Peer, began: float, silence: float, greeting: bytes = b"200 hi\r\n") -> str:
    peer.begin(began)
    if greeting:
        peer.says(greeting, began + 0.1)
    return peer.end(now=began + 0.1 + silence)


def test_the_same_idle_time_again_and_again_is_told() -> None:
    """A server that closes without a word, each time after the same silence, has an idle time-out."""
    peer = Peer("nntp")
    said = [
        idle(peer, began, silence) for began, silence in ((0, 50.0), (100, 50.2), (200, 49.9), (300, 50.0))
    ]
    assert said[:2] == ["closed by server:1"] * 2
    for text in said[2:]:
        assert "; each time after " in text
        assert "s of silence: that is its idle time-out, it seems; a heartbeat more often" in text
    assert "after 49.9 s" in said[2]


@pytest.mark.parametrize("silences", [(10.0, 20.0, 10.0), (0.2, 0.2, 0.2), (5.0, 5.3, 5.6)])
def test_unlike_or_no_silences_are_no_idle_time(silences: tuple[float, ...]) -> None:
    """Three ends are no rule where they differ, nor where the server closes as soon as it is called."""
    peer = Peer("nntp")
    assert [idle(peer, 100.0 * number, silence) for number, silence in enumerate(silences)][-1] == (
        "closed by server:1"
    )


def test_a_server_that_minds_our_silence_alone_is_told_too() -> None:
    """A feed never falls silent, but its server may close on who never says anything."""
    peer = Peer("nntp")
    said = ""
    for began, last in ((0.0, 299.0), (1000.0, 1270.5), (2000.0, 2291.0)):
        peer.begin(began).is_told(b"LISTEN", began + 1.0).says(b"news\r\n", last)
        said = peer.end(now=began + 301.0)
    assert "; each time after 300.0 s of nothing from here: that is its idle time-out" in said


def test_connections_without_a_byte_may_have_nobody_behind_them() -> None:
    """A proxy whose server is down closes after the same time, too."""
    peer = Peer("imap")
    said = [idle(peer, began, 3.0, b"") for began in (0.0, 10.0, 20.0)][-1]
    assert said.endswith(
        "; each time after 3.1 s without a byte: its idle time-out, or a proxy with nobody behind it"
    )


def test_last_words_say_more_than_the_clock() -> None:
    """Where the server says why, nothing is guessed."""
    peer = Peer("imap")
    said = [idle(peer, began, 60.0, b"* OK hi\r\n* BYE idle\r\n") for began in (0.0, 100.0, 200.0)]
    assert said == ["closed by server:1; it said '* BYE idle'"] * 3


# -- what was no connection


@pytest.mark.parametrize(
    ("profile", "ending", "now", "mute"),
    [
        ("imap", Ending.CLOSED, 20.0, True),
        ("redis", Ending.CLOSED, 20.0, True),
        ("imap", Ending.RESET, 127.0, True),
        ("imap", Ending.CLOSED, 200.0, False),
        ("imap", Ending.OTHER, 20.0, False),
        ("tcp", Ending.CLOSED, 20.0, False),
        ("tcp", Ending.RESET, 20.0, True),
        ("tls", Ending.RESET, 10.0, True),
        ("tls", Ending.CUT, 10.0, True),
        ("tls", Ending.CLOSED, 10.0, False),
    ],
)
def test_without_a_byte_it_was_no_connection(profile: str, ending: Ending, now: float, mute: bool) -> None:
    """What a proxy accepts for a server that is not there does not count as one that was stable."""
    assert Peer(profile).begin().was_mute(ending, now) is mute
    assert not Peer(profile).begin().says(b"x").was_mute(ending, now)

"""Play connections as values: on-connect scripts and functions, TLS and STARTTLS."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable

import pytest

from ipyreconnect.errors import (
    ConnectionLost,
    NotConnected,
    ScriptFailed,
)
from ipyreconnect.lines.delivery import Delivery
from ipyreconnect.lines.transcript import Transcript
from ipyreconnect.profile.base import TLSMode
from ipyreconnect.protocol.script import Step, parse_script
from ipyreconnect.protocol.state import Phase
from tests.playing import WALL, Play, awaited, found
from tests.playing_tls import TLSServer, handshake, tls_settings
from tests.servers.certificates import Certificates

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
    assert play.sessions == [1]
    assert (play.state, play.connection.session) == ("connecting", 1)
    play.connection.script_ended(1, None, 1.0)
    play.settle(1.0)
    assert play.state == "connected"
    play.lost(20.0)
    play.until(22.2)
    play.dialed(22.2)
    assert (play.connection.session, play.sessions) == (2, [1, 2])


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
    written = play.connection.outbox.handed_over
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
        if not play.connection.inbox.has_buffered:
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
    assert play.connection.inbox.has_buffered
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
    play.acknowledged = play.connection.outbox.handed_over
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
    assert not play.connection.inbox.is_in_place
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
